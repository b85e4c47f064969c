/* A collector in a room with sealer, storer and a real repository around it, events that are made up as they are
 * needed, and a model that notes the state at each of them. */
#ifndef TESTS_RESET_ROOM_H
#define TESTS_RESET_ROOM_H

#include "tb/restore.h"
#include "unit/collector_room.h"

#include <openssl/evp.h>

#define PLACES 40u /* keys */
#define HISTORY_MAX 1024u
#define CHANGES_MAX PLACES

enum made_kind { MADE_DELTA, MADE_DELTAS, MADE_BEGIN, MADE_COMMIT, MADE_OTHER, MADE_BROKEN, MADE_LOST };

struct change {
	size_t place;
	uint32_t put; /* which value; 0: the key is removed */
};

struct made { /* an event */
	enum made_kind kind;
	struct change changes[CHANGES_MAX];
	size_t count;
};

static struct {
	/* the model */
	uint32_t state[PLACES], beside[PLACES], at[HISTORY_MAX][PLACES]; /* the value of each key */
	int open;
	uint64_t begin, open_epoch, last, rejected[HISTORY_MAX];
	size_t rejected_count;
	uint32_t values;
	/* the frame being filled */
	tb_buf body;
	uint64_t first, epoch;
	uint16_t flags;
	/* the stream's frames, for segments */
	tb_buf journal;
	struct {
		uint64_t first;
		size_t at;
	} frames[HISTORY_MAX];
	size_t frame_count;
	/* the workers around */
	tb_tier *tier;
	tb_sealer *sealer;
	tb_period period;
	size_t done; /* of what the collector has put */
	uint64_t ids, generation;
	struct {
		tb_frame frame;
		uint64_t id;
	} given[NOTED_MAX]; /* answers of sealer and storer */
	size_t given_count;
	tb_frame order;
	uint64_t order_id; /* 0: none is on its way */
	char order_backup[TB_BACKUP_ID];
	unsigned orders;
	int storer_forgets; /* one in so many questions is answered with a missing object; 0: none */
	uint64_t chance;
} line;

static inline uint64_t draw(uint64_t below)
{
	line.chance = line.chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (line.chance >> 33) % below;
}

/* ---- the model */

static inline const char *place_key(size_t place)
{
	static char keys[PLACES][16];
	snprintf(keys[place], sizeof(keys[place]), "key:%02zu", place);
	return keys[place];
}

/* Some are empty, most fill some pages: the whole state is a few chunks. */
static inline tb_span value_bytes(uint32_t put, tb_buf *to)
{
	size_t size = put % 7 == 0 ? 0 : put % 5 == 0 ? 150000 : 1000 + put * 7919 % 60000;
	char word[24];
	snprintf(word, sizeof(word), "value %-16u", put);
	tb_buf_clear(to);
	while (to->size < size)
		tb_buf_append(to, word, 22);
	to->size = size;
	return tb_buf_span(to);
}

static inline void model_discard(void)
{
	line.open = 0;
	memset(line.beside, 0, sizeof(line.beside));
}

static inline void model_commit(void)
{
	if (!line.open) {
		line.rejected[line.rejected_count++] = line.last;
		return;
	}
	memcpy(line.state, line.beside, sizeof(line.state));
	model_discard();
}

static inline void model_event(const struct made *made)
{
	line.last++;
	int apart = (line.flags & TB_EVENTS_APART) && line.last == line.first;
	if (line.open && (apart || (line.open_epoch != line.epoch && !(line.flags & TB_EVENTS_INSIDE))))
		model_discard();
	cr_assert(line.last < HISTORY_MAX);
	uint32_t *to = line.open ? line.beside : line.state;
	int delta = made->kind == MADE_DELTA || made->kind == MADE_DELTAS;
	int orphan = delta && !line.open && (line.flags & TB_EVENTS_INSIDE);
	if (orphan)
		line.rejected[line.rejected_count++] = line.last;
	if (delta && !orphan)
		for (size_t i = 0; i < made->count; i++)
			to[made->changes[i].place] = made->changes[i].put;
	if (made->kind == MADE_BEGIN) {
		model_discard();
		line.open = 1;
		line.begin = line.last;
		line.open_epoch = line.epoch;
	}
	if (made->kind == MADE_COMMIT)
		model_commit();
	if (made->kind == MADE_BROKEN || made->kind == MADE_LOST)
		line.rejected[line.rejected_count++] = line.last;
	memcpy(line.at[line.last], line.state, sizeof(line.state));
}

static inline uint64_t model_digest(uint64_t at, uint8_t ret_digest[32])
{
	tb_auto(tb_buf_drop) tb_buf value = { 0 };
	uint64_t keys = 0;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_DigestInit_ex(context, EVP_sha256(), NULL);
	for (size_t i = 0; i < PLACES; i++) {
		if (line.at[at][i] == 0)
			continue;
		tb_span bytes = value_bytes(line.at[at][i], &value);
		EVP_DigestUpdate(context, place_key(i), strlen(place_key(i)));
		EVP_DigestUpdate(context, "=", 1);
		EVP_DigestUpdate(context, bytes.data, bytes.size);
		EVP_DigestUpdate(context, "\n", 1);
		keys++;
	}
	EVP_DigestFinal_ex(context, ret_digest, NULL);
	EVP_MD_CTX_free(context);
	return keys;
}

/* ---- events */

/* Several deltas, the last of which breaks a rule: it has no key. */
static inline void pack_broken(const struct made *made, tb_buf *canonical)
{
	tb_auto(tb_buf_drop) tb_buf items = { 0 };
	const char *key = place_key(made->changes[0].place);
	uint8_t size = (uint8_t)strlen(key), head[9] = { 0x09, 1 };
	tb_buf_append(&items, (uint8_t[]){ 0x0a, size + 4, 0x0a, size }, 4);
	tb_buf_append(&items, key, size);
	tb_buf_append(&items, (uint8_t[]){ 0x1a, 0, 0x0a, 4, 0x0a, 0, 0x1a, 0 }, 8);
	tb_buf_append(canonical, head, sizeof(head));
	tb_buf_append(canonical, (uint8_t[]){ 0x82, 0x01, (uint8_t)items.size }, 3);
	tb_buf_append_span(canonical, tb_buf_span(&items));
}

static inline tb_delta delta_of(const struct change *change)
{
	tb_auto(tb_buf_drop) tb_buf value = { 0 };
	const char *key = place_key(change->place);
	tb_delta delta = { .key = { key, strlen(key) }, .remove = change->put == 0 };
	if (change->put != 0) {
		tb_span copy = tb_arena_copy(room.arena, value_bytes(change->put, &value));
		delta.value = (tb_bytes){ copy.data, copy.size };
	}
	return delta;
}

static inline void pack_made(const struct made *made, tb_buf *canonical)
{
	static const tb_event_kind kinds[] = { TB_EVENT_DELTA, TB_EVENT_DELTAS, TB_EVENT_RESET, TB_EVENT_RESET,
		                                   TB_EVENT_OPAQUE, TB_EVENT_NONE, TB_EVENT_LOST };
	tb_delta deltas[CHANGES_MAX];
	tb_event event;
	if (made->kind == MADE_BROKEN) {
		pack_broken(made, canonical);
		return;
	}
	tb_event_default(&event, kinds[made->kind]);
	event.time_ns = BASE_NS;
	for (size_t i = 0; i < made->count; i++)
		deltas[i] = delta_of(&made->changes[i]);
	if (made->kind == MADE_DELTA)
		event.body.delta = deltas[0];
	if (made->kind == MADE_DELTAS)
		event.body.deltas.items = deltas, event.body.deltas.count = made->count;
	if (event.kind == TB_EVENT_RESET)
		event.body.reset.commit = made->kind == MADE_COMMIT;
	if (event.kind == TB_EVENT_OPAQUE)
		event.body.opaque.source = "test", event.body.opaque.data = (tb_bytes){ "x", 1 };
	if (event.kind == TB_EVENT_LOST)
		event.body.lost.from = event.body.lost.to = 1;
	must(tb_event_pack(canonical, &event, BASE_NS, NULL, &room.err));
}

static inline void add_event(const struct made *made)
{
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 };
	if (line.body.size == 0)
		line.first = line.last + 1;
	pack_made(made, &canonical);
	tb_arena_reset(room.arena);
	tb_events_append(&line.body, tb_buf_span(&canonical));
	model_event(made);
}

/* The frame that was filled, if any, in a turn of its own. */
static inline void send_frame(void)
{
	if (line.body.size == 0) {
		turn_idle();
		return;
	}
	tb_frame frame = { .kind = TB_KIND_EVENTS, .count = (uint32_t)(line.last + 1 - line.first),
		               .stream = tb_stream_hash(BOOK), .epoch = line.epoch, .flags = line.flags, .first = line.first, .time_ns = BASE_NS,
		               .body = tb_arena_copy(room.kept, tb_buf_span(&line.body)) };
	line.flags &= (uint16_t)~TB_EVENTS_APART;
	line.frames[line.frame_count].first = frame.first;
	line.frames[line.frame_count++].at = line.journal.size;
	tb_frame_write(&line.journal, &frame);
	tb_buf_clear(&line.body);
	turn_with(&frame, 0);
}

static inline void new_epoch(void)
{
	send_frame();
	line.epoch++;
}

/* The next frames are within a reset, or not. */
static inline void set_inside(int inside)
{
	send_frame();
	line.flags = (uint16_t)((line.flags & TB_EVENTS_APART) | (inside ? TB_EVENTS_INSIDE : 0));
}

/* The next frame's first event is apart from what was before. */
static inline void set_apart(void)
{
	send_frame();
	line.flags |= TB_EVENTS_APART;
}

/* ---- sealer and storer */

static inline size_t frame_at(uint64_t number)
{
	for (size_t i = 0; i < line.frame_count; i++)
		if (line.frames[i].first == number)
			return line.frames[i].at;
	return line.journal.size;
}

static inline void seal_into(tb_content content, tb_span plain, Tb__Sealed *sealed)
{
	tb_auto(tb_buf_drop) tb_buf object = { 0 };
	char path[TB_OBJECT_PATH];
	uint8_t *name = tb_arena_alloc(room.kept, TB_OBJECT_NAME);
	must(tb_seal(line.sealer, content, plain, &line.period, &object, name, &room.err));
	tb_object_path(name, path);
	must(line.tier->put(line.tier, path, tb_buf_span(&object), &room.err));
	sealed->name = (ProtobufCBinaryData){ TB_OBJECT_NAME, name };
	sealed->size_plain = plain.size;
	sealed->size_stored = object.size;
}

static inline tb_frame seal_cut(const Tb__Cut *cut)
{
	Tb__Sealed sealed = TB__SEALED__INIT;
	size_t from = frame_at(cut->from), to = frame_at(cut->to + 1);
	seal_into(TB_CONTENT_SEGMENT, tb_span_of(line.journal.data + from, to - from), &sealed);
	sealed.from = cut->from;
	sealed.to = cut->to;
	return frame_of(TB_KIND_SEALED, BOOK, cut->from, &sealed.base);
}

static inline tb_frame seal_chunk(const Tb__Chunk *chunk)
{
	Tb__Sealed sealed = TB__SEALED__INIT;
	seal_into(TB_CONTENT_CHUNK, tb_span_of(chunk->content.data, chunk->content.len), &sealed);
	sealed.backup = chunk->backup;
	sealed.plan = chunk->plan;
	sealed.index = chunk->index;
	return frame_of(TB_KIND_SEALED, BOOK, chunk->index, &sealed.base);
}

static inline tb_frame store(const Tb__ManifestFrame *manifest)
{
	char head[TB_MANIFEST_PATH];
	tb_head_path(BOOK, manifest->chain, head);
	must(line.tier->put(line.tier, manifest->path, tb_span_of(manifest->manifest.data, manifest->manifest.len),
	                    &room.err));
	must(line.tier->put(line.tier, head, tb_span_of(manifest->head.data, manifest->head.len), &room.err));
	tb_head_path(BOOK, manifest->chain - 1, head);
	must(line.tier->remove(line.tier, head, &room.err));
	if (strcmp(manifest->backup, line.order_backup) == 0)
		line.order_id = 0;
	return stored_of(manifest);
}

static inline tb_frame look_for(const Tb__Ask *ask)
{
	Tb__Present present = TB__PRESENT__INIT;
	uint32_t missing = 0;
	present.plan = ask->plan;
	if (line.storer_forgets != 0 && draw((uint64_t)line.storer_forgets) == 0) {
		missing = (uint32_t)draw(ask->n_objects);
		present.n_missing = 1;
		present.missing = &missing;
	}
	return frame_of(TB_KIND_PRESENT, BOOK, 0, &present.base);
}

/* What the collector put next, done and answered. 0: nothing waits. */
static inline int work_once(void)
{
	while (line.done < room.frame_count) {
		const struct noted_frame *noted = &room.frames[line.done++];
		tb_frame answer;
		if (noted->frame.kind == TB_KIND_CUT)
			answer = seal_cut(message_of(noted, &tb__cut__descriptor));
		else if (noted->frame.kind == TB_KIND_CHUNK)
			answer = seal_chunk(message_of(noted, &tb__chunk__descriptor));
		else if (noted->frame.kind == TB_KIND_MANIFEST)
			answer = store(message_of(noted, &tb__manifest_frame__descriptor));
		else if (noted->frame.kind == TB_KIND_ASK)
			answer = look_for(message_of(noted, &tb__ask__descriptor));
		else
			continue;
		line.given[line.given_count].frame = answer;
		line.given[line.given_count++].id = ++line.ids;
		turn_with(&answer, line.ids);
		return 1;
	}
	return 0;
}

/* Until the collector has nothing to put any more. */
static inline void work_off(void)
{
	send_frame();
	cut_now();
	for (int idle = 0; idle < 3; idle++) {
		if (work_once())
			idle = 0;
		turn_idle();
	}
	cr_assert_eq(line.order_id, 0, "backup %s was never stored", line.order_backup);
}

/* ---- what happens to it */

static inline void order_full(void)
{
	if (line.order_id != 0)
		return;
	snprintf(line.order_backup, sizeof(line.order_backup), "FUL_20260102T030405Z_%016x", ++line.orders);
	line.order_id = ++line.ids;
	line.order = order_of(BOOK, line.order_backup);
	turn_with(&line.order, line.order_id);
}

static inline void restart(void)
{
	send_frame();
	Tb__Grant grant = grant_again(BOOK, ++line.generation);
	worker_restart();
	turn_begin(0);
	give_grant(&grant);
	turn_end();
	if (line.order_id != 0)
		turn_with(&line.order, line.order_id);
}

static inline void line_begin(uint64_t seed)
{
	collector_begin();
	memset(&line, 0, sizeof(line));
	line.chance = seed;
	line.epoch = line.generation = 1;
	line.flags = 0;
	tb_span record = tb_buf_span(&room.period);
	uint8_t instance[TB_PUBLIC_KEY], repository[TB_REPOSITORY_ID];
	must(tb_instance_public_read(tb_disk_system(), below_room("keys/instance.pub"), instance, repository, &room.err));
	must(tb_period_read(record, instance, &line.period, &room.err));
	must(tb_tier_open(tb_disk_system(), below_room("repository"), 0, &line.tier, &room.err));
	must(tb_disk_make_path(tb_disk_system(), below_room("scratch"), &room.err));
	line.sealer = tb_sealer_new(1);
	start(BOOK, line.generation);
}

static inline void line_end(void)
{
	tb_buf_drop(&line.body);
	tb_buf_drop(&line.journal);
	tb_sealer_free(line.sealer);
	tb_tier_close(line.tier);
	room_end();
}

/* ---- restoring */

static inline tb_restore_options restore_to(uint64_t event)
{
	static char repository[160], identity[160], scratch[160];
	snprintf(repository, sizeof(repository), "%s", below_room("repository"));
	snprintf(identity, sizeof(identity), "%s", below_room("keys/identity.key"));
	snprintf(scratch, sizeof(scratch), "%s", below_room("scratch"));
	return (tb_restore_options){ .repository = repository, .identity = identity, .stream = BOOK, .moment = TB_AT_EVENT,
		                         .event = event, .target = "null:", .scratch = scratch };
}

static inline void check_restore(uint64_t event, const char *what)
{
	tb_restored restored;
	tb_restore_options options = restore_to(event);
	uint8_t digest[32];
	uint64_t keys = model_digest(event, digest);
	tb_rc rc = tb_restore(&options, &restored, &room.err);
	cr_assert_eq(rc, TB_OK, "%s: event %d of %d: %s", what, (int)event, (int)line.last, room.err.text);
	cr_assert(restored.keys == keys && memcmp(restored.digest, digest, 32) == 0,
	          "%s: the state at event %d of %d, from %s, is another one", what, (int)event, (int)line.last,
	          restored.backup[0] ? restored.backup : "the first event");
}

struct newest {
	char name[TB_MANIFEST_PATH];
	uint64_t to;
};

static inline tb_rc find_full(void *context, const char *name, uint64_t size, tb_err *err)
{
	struct newest *newest = context;
	const char *file = strrchr(name, '/') + 1;
	(void)size, (void)err;
	if (strstr(file, "-FUL-") == NULL)
		return TB_OK;
	snprintf(newest->name, sizeof(newest->name), "%s", name);
	newest->to = strtoull(file, NULL, 10);
	return TB_OK;
}

/* At every number by the shortest way; then some from each older backup, the newer ones gone; and from the first. */
static inline void check_everywhere(const char *what)
{
	struct newest newest = { .to = 0 };
	for (uint64_t event = 0; event <= line.last; event++)
		check_restore(event, what);
	for (;;) {
		newest.name[0] = '\0';
		must(line.tier->list(line.tier, "manifests/" BOOK, find_full, &newest, &room.err));
		if (newest.name[0] == '\0')
			break;
		must(line.tier->remove(line.tier, newest.name, &room.err));
		for (int i = 0; i < 5; i++)
			check_restore(newest.to + draw(line.last + 1 - newest.to), what);
		check_restore(line.last, what);
	}
}

#endif
