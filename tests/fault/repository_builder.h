/* A small repository of one stream, and a model that knows its state at every event. For tests of archive, restore and
 * verify: the model keeps what each event does and works the rest out by brute force.
 *
 * Events are puts and deletes of a dozen keys, some other kinds, and some that were rejected; in a repository with
 * resets also several deltas at once, and resets that are committed, discarded, or never committed. Their times repeat,
 * go back, and now and then run days ahead. Full backups are fuzzy: each key as it was at another moment of
 * replay_from..to. */
#ifndef TESTS_REPOSITORY_BUILDER_H
#define TESTS_REPOSITORY_BUILDER_H

#include "store/archive.h"
#include "store/bank.h"
#include "store/catalog.h"
#include "store/chunker.h"
#include "store/manifest.h"
#include "unit/store_fixture.h"
#include "wire/event.h"
#include "wire/frame.h"

#include <openssl/sha.h>

#define STREAM "book"
#define MODEL_KEYS 12u
#define MODEL_EVENTS 64u
#define BASE_NS UINT64_C(1700000000000000000)
#define SECOND_NS UINT64_C(1000000000)

/* The model */

enum model_op { OP_PUT, OP_DELETE, OP_OTHER, OP_REJECTED, OP_DELTAS, OP_BEGIN, OP_COMMIT };

static int model_resets; /* the repository is one with resets */

/* Committed: 15..24 and 46..49, the second after a begin at 31 that it discards. Discarded by an epoch: 52..54; the
 * commit at 57 comes too late. */
static inline enum model_op model_reset_op(uint64_t number)
{
	static const struct {
		uint64_t number;
		enum model_op op;
	} rows[] = {
		{ 6, OP_DELTAS },  { 14, OP_DELTAS }, { 15, OP_BEGIN },  { 19, OP_DELTAS },   { 24, OP_COMMIT },
		{ 28, OP_DELTAS }, { 31, OP_BEGIN },  { 36, OP_DELTAS }, { 41, OP_DELTAS },   { 46, OP_BEGIN },
		{ 48, OP_DELTAS }, { 49, OP_COMMIT }, { 52, OP_BEGIN },  { 53, OP_DELTAS },   { 57, OP_REJECTED },
		{ 58, OP_DELTAS },
	};
	for (size_t i = 0; model_resets && i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].number == number)
			return rows[i].op;
	return OP_OTHER;
}

static inline uint64_t model_epoch(uint64_t number)
{
	return model_resets && number >= 55 ? 2 : 1;
}

static inline enum model_op model_op(uint64_t number)
{
	if (model_reset_op(number) != OP_OTHER)
		return model_reset_op(number);
	if (number % 11 == 0)
		return OP_REJECTED;
	if (number % 13 == 0)
		return OP_OTHER;
	return number % 5 == 0 ? OP_DELETE : OP_PUT;
}

static inline size_t model_key_index(uint64_t number)
{
	return (size_t)(number * 7 + number / 9) % MODEL_KEYS;
}

/* Several deltas at once: the third is a delete. */
#define MODEL_ITEMS 4u

static inline size_t model_item_index(uint64_t number, size_t item)
{
	return (model_key_index(number) + item * 5) % MODEL_KEYS;
}

/* In order; the last one isn't text. */
static inline tb_span model_key(size_t index)
{
	static char keys[MODEL_KEYS][16];
	if (index == MODEL_KEYS - 1)
		return tb_span_of("\xff\x00key", 5);
	snprintf(keys[index], sizeof(keys[index]), "key:%02zu", index);
	return tb_span_text(keys[index]);
}

/* Some are empty, some no text, some long. */
static inline tb_span model_value(uint64_t number)
{
	static char values[MODEL_EVENTS + 1][400];
	char *value = values[number];
	if (number % 17 == 0)
		return tb_span_of("", 0);
	if (number % 7 == 0)
		return tb_span_of("\x80\x81\"=\n", 5);
	snprintf(value, sizeof(values[0]), "value \"%llu\" %0*d", (unsigned long long)number, number % 19 == 0 ? 300 : 1,
	         0);
	return tb_span_text(value);
}

/* Broker's stamp: of the frame, but the model makes frames of three events. */
static inline uint64_t model_stamp(uint64_t number)
{
	return BASE_NS + (number - 1) / 3 * 10 * SECOND_NS;
}

static inline uint64_t model_time(uint64_t number)
{
	if (number % 16 == 3)
		return model_stamp(number) + UINT64_C(86401) * SECOND_NS; /* more than a day ahead: doesn't count */
	if (number % 6 == 4)
		return model_stamp(number) - 1000 * SECOND_NS; /* back */
	return BASE_NS + number / 2 * 4 * SECOND_NS; /* in pairs */
}

static inline uint64_t model_effective(uint64_t number)
{
	uint64_t effective = 0;
	for (uint64_t i = 1; i <= number; i++) {
		uint64_t time = model_time(i);
		if (model_op(i) != OP_REJECTED && time <= model_stamp(i) + UINT64_C(86400) * SECOND_NS && time > effective)
			effective = time;
	}
	return effective;
}

/* The number of the put that gave the key its value, 0: it isn't there. */
static inline uint64_t model_put_of(size_t index, uint64_t at)
{
	uint64_t put = 0, beside = 0, begin = 0, *to = &put;
	for (uint64_t i = 1; i <= at; i++) {
		enum model_op op = model_op(i);
		if (begin == 0 || op == OP_BEGIN || model_epoch(i) != model_epoch(begin)) {
			begin = op == OP_BEGIN ? i : 0;
			beside = 0;
			to = begin != 0 ? &beside : &put;
		}
		if (op == OP_COMMIT) {
			put = beside;
			begin = 0;
			to = &put;
		}
		if (op <= OP_DELETE && model_key_index(i) == index)
			*to = op == OP_PUT ? i : 0;
		for (size_t item = 0; op == OP_DELTAS && item < MODEL_ITEMS; item++)
			if (model_item_index(i, item) == index)
				*to = item != 2 ? i : 0;
	}
	return put;
}

static inline uint64_t model_keys(uint64_t at)
{
	uint64_t keys = 0;
	for (size_t i = 0; i < MODEL_KEYS; i++)
		keys += model_put_of(i, at) != 0;
	return keys;
}

static inline void model_digest(uint64_t at, uint8_t ret_digest[32])
{
	tb_buf text = { 0 };
	for (size_t i = 0; i < MODEL_KEYS; i++) {
		uint64_t put = model_put_of(i, at);
		if (put == 0)
			continue;
		tb_buf_append_span(&text, model_key(i));
		tb_buf_byte(&text, '=');
		tb_buf_append_span(&text, model_value(put));
		tb_buf_byte(&text, '\n');
	}
	tb_buf_reserve(&text, 1);
	SHA256(text.data, text.size, ret_digest);
	tb_buf_drop(&text);
}

static inline tb_sum model_sum(uint64_t at)
{
	tb_sum sum = { 0 };
	for (size_t i = 0; i < MODEL_KEYS; i++)
		if (model_put_of(i, at) != 0)
			tb_sum_add(&sum, model_key(i), model_value(model_put_of(i, at)));
	return sum;
}

static inline tb_delta model_delta(size_t index, uint64_t number, int remove)
{
	tb_span key = model_key(index), value = model_value(number);
	tb_delta delta = { .key = { key.data, key.size }, .remove = remove };
	if (!remove)
		delta.value = (tb_bytes){ value.data, value.size };
	return delta;
}

static inline tb_event_kind model_kind(uint64_t number)
{
	switch (model_op(number)) {
	case OP_OTHER:
		return TB_EVENT_OPAQUE;
	case OP_DELTAS:
		return TB_EVENT_DELTAS;
	case OP_BEGIN:
	case OP_COMMIT:
		return TB_EVENT_RESET;
	default:
		return model_resets && number == 57 ? TB_EVENT_RESET : TB_EVENT_DELTA;
	}
}

static inline void model_event(uint64_t number, tb_buf *canonical)
{
	tb_event event;
	tb_delta items[MODEL_ITEMS];
	tb_event_default(&event, model_kind(number));
	event.time_ns = model_time(number);
	for (size_t i = 0; i < MODEL_ITEMS; i++)
		items[i] = model_delta(model_item_index(number, i), number, i == 2);
	if (event.kind == TB_EVENT_OPAQUE) {
		event.body.opaque.source = "test";
		event.body.opaque.data = (tb_bytes){ "x", 1 };
	} else if (event.kind == TB_EVENT_RESET) {
		event.body.reset.commit = model_op(number) != OP_BEGIN;
	} else if (event.kind == TB_EVENT_DELTAS) {
		event.body.deltas.items = items;
		event.body.deltas.count = MODEL_ITEMS;
	} else {
		event.body.delta = model_delta(model_key_index(number), number, model_op(number) == OP_DELETE);
	}
	must(tb_event_pack(canonical, &event, NOW, NULL, &err));
}

/* The repository */

#define BUILT_MAX 64

struct built { /* a manifest */
	char path[TB_MANIFEST_PATH], id[TB_BACKUP_ID];
	char objects[4][TB_OBJECT_PATH];
	size_t object_count;
	uint64_t from, to, chain;
	int is_full;
	tb_head head;
};

struct repository {
	struct keys keys;
	tb_tier *tier;
	tb_sealer *sealer;
	char url[128], identity[128], catalog[128];
	struct built built[BUILT_MAX];
	size_t built_count;
	uint64_t last; /* number */
	uint8_t before[TB_HASH_SIZE];
	/* For a collector that errs, or lies: */
	int wrong_sums, junk_private, no_private;
	void (*lie)(Tb__Manifest *manifest, Tb__ManifestPrivate *private);
};

static inline void repository_open(struct repository *repository)
{
	memset(repository, 0, sizeof(*repository));
	dir_make();
	keys_make(&repository->keys);
	snprintf(repository->url, sizeof(repository->url), "%s", below("repository"));
	snprintf(repository->identity, sizeof(repository->identity), "%s", below("identity.key"));
	snprintf(repository->catalog, sizeof(repository->catalog), "%s", below("catalog"));
	must(tb_key_write(tb_disk_system(), repository->identity, repository->keys.identity, &err));
	must(tb_tier_open(tb_disk_system(), repository->url, 1, &repository->tier, &err));
	must(tb_repository_make(repository->tier, repository->keys.repository, &err));
	must(repository->tier->put(repository->tier, repository->keys.wrap_path, tb_buf_span(&repository->keys.wrap),
	                           &err));
	repository->sealer = tb_sealer_new(1);
}

static inline void repository_close(struct repository *repository)
{
	tb_sealer_free(repository->sealer);
	tb_tier_close(repository->tier);
	keys_drop(&repository->keys);
	dir_remove();
}

static inline void put_object(struct repository *repository, tb_content content, tb_span plain, struct built *built,
                              Tb__ObjectRef *ref, uint8_t name[TB_OBJECT_NAME])
{
	tb_buf object = { 0 };
	must(tb_seal(repository->sealer, content, plain, &repository->keys.period, &object, name, &err));
	char *path = built->objects[built->object_count++];
	tb_object_path(name, path);
	must(repository->tier->put(repository->tier, path, tb_buf_span(&object), &err));
	*ref = (Tb__ObjectRef)TB__OBJECT_REF__INIT;
	ref->name = (ProtobufCBinaryData){ TB_OBJECT_NAME, name };
	ref->size_plain = plain.size;
	ref->size_stored = object.size;
	tb_buf_drop(&object);
}

static inline void put_head(struct repository *repository, const struct built *built)
{
	tb_buf file = { 0 };
	char path[TB_MANIFEST_PATH];
	must(tb_head_write(&built->head, repository->keys.collector, &file, &err));
	tb_head_path(STREAM, built->chain, path);
	must(repository->tier->put(repository->tier, path, tb_buf_span(&file), &err));
	tb_buf_drop(&file);
	tb_head_path(STREAM, built->chain - 1, path);
	must(repository->tier->remove(repository->tier, path, &err));
}

/* Fills in what all manifests have, seals the private part, signs, puts the manifest and moves the head. */
static inline void put_manifest(struct repository *repository, struct built *built, Tb__Manifest *manifest,
                                Tb__ManifestPrivate *private)
{
	const tb_backup_type *type = tb_backup_type_find(built->is_full ? "FULL" : "SEGMENT");
	tb_sum sum = model_sum(repository->wrong_sums ? built->to - 1 : built->to);
	uint8_t name[TB_OBJECT_NAME], plain[4096];
	tb_buf box = { 0 }, file = { 0 };
	built->chain = repository->built_count;
	tb_backup_id(type, NOW + built->chain * SECOND_NS, built->id);
	private->sum = (ProtobufCBinaryData){ sizeof(sum.bytes), sum.bytes };
	private->keys = model_keys(built->to);
	manifest->format = TB_MANIFEST_FORMAT;
	manifest->repository = (ProtobufCBinaryData){ TB_REPOSITORY_ID, repository->keys.repository };
	manifest->stream = (char *)STREAM;
	manifest->type = (char *)type->name;
	manifest->backup = built->id;
	manifest->chain = built->chain;
	if (built->chain > 1)
		manifest->before = (ProtobufCBinaryData){ TB_HASH_SIZE, repository->before };
	manifest->from = built->from;
	manifest->to = built->to;
	manifest->time_from_ns = model_effective(built->from - 1);
	manifest->time_to_ns = model_effective(built->to);
	manifest->period = (ProtobufCBinaryData){ TB_PERIOD_ID, repository->keys.period.id };
	if (repository->lie != NULL)
		repository->lie(manifest, private);
	tb_span opened = tb_span_of(plain, tb__manifest_private__pack(private, plain));
	must(tb_seal(repository->sealer, TB_CONTENT_PRIVATE, repository->junk_private ? tb_span_text("\xff") : opened,
	             &repository->keys.period, &box, name, &err));
	if (!repository->no_private)
		manifest->private_box = (ProtobufCBinaryData){ box.size, box.data };
	built->head = (tb_head){ .stream = STREAM, .chain = built->chain, .last = built->to, .made_ns = NOW };
	must(tb_manifest_write(manifest, repository->keys.collector, &file, built->head.manifest_hash, &err));
	tb_manifest_path(STREAM, built->to, type->name, built->id, built->path);
	must(repository->tier->put(repository->tier, built->path, tb_buf_span(&file), &err));
	memcpy(repository->before, built->head.manifest_hash, TB_HASH_SIZE);
	put_head(repository, built);
	tb_buf_drop(&box);
	tb_buf_drop(&file);
}

static inline struct built *new_built(struct repository *repository, int is_full, uint64_t from, uint64_t to)
{
	struct built *built = &repository->built[repository->built_count++];
	*built = (struct built){ .is_full = is_full, .from = from, .to = to };
	return built;
}

/* Frames of the numbers from..to, broken where the stamps change. */
static inline void segment_frames(uint64_t from, uint64_t to, tb_buf *frames)
{
	for (uint64_t number = from; number <= to;) {
		tb_frame frame = { .kind = TB_KIND_EVENTS, .stream = tb_stream_hash(STREAM), .epoch = model_epoch(number), .first = number,
		                   .time_ns = model_stamp(number) };
		size_t at = tb_frame_begin(frames);
		for (; number <= to && model_stamp(number) == frame.time_ns; number++, frame.count++) {
			tb_buf canonical = { 0 };
			model_event(number, &canonical);
			tb_events_append(frames, tb_buf_span(&canonical));
			tb_buf_drop(&canonical);
		}
		tb_frame_end(frames, at, &frame);
	}
}

/* The next `count` events. */
static inline struct built *add_segment(struct repository *repository, uint64_t count)
{
	struct built *built = new_built(repository, 0, repository->last + 1, repository->last + count);
	uint64_t rejected[MODEL_EVENTS];
	uint8_t name[TB_OBJECT_NAME];
	tb_buf frames = { 0 };
	Tb__Manifest manifest = TB__MANIFEST__INIT;
	Tb__ManifestPrivate private = TB__MANIFEST_PRIVATE__INIT;
	Tb__ObjectRef ref, *refs[1] = { &ref };
	segment_frames(built->from, built->to, &frames);
	put_object(repository, TB_CONTENT_SEGMENT, tb_buf_span(&frames), built, &ref, name);
	manifest.n_objects = 1;
	manifest.objects = refs;
	manifest.rejected = rejected;
	for (uint64_t number = built->from; number <= built->to; number++)
		if (model_op(number) == OP_REJECTED)
			rejected[manifest.n_rejected++] = number;
	put_manifest(repository, built, &manifest, &private);
	repository->last = built->to;
	tb_buf_drop(&frames);
	return built;
}

/* A full backup at the last number. Each key is read when another part of the span has been applied, so the chunks are
 * of no one moment. replay_from = last + 1: they are of the last one. */
static inline struct built *add_full(struct repository *repository, uint64_t replay_from)
{
	struct built *built = new_built(repository, 1, replay_from, repository->last);
	tb_chunker chunkers[3] = { { .entries = 0 } };
	uint8_t names[3][TB_OBJECT_NAME];
	Tb__Manifest manifest = TB__MANIFEST__INIT;
	Tb__ManifestPrivate private = TB__MANIFEST_PRIVATE__INIT;
	Tb__ObjectRef refs[3], *ref_list[3];
	Tb__ChunkPrivate chunks[3], *chunk_list[3];
	for (size_t i = 0; i < MODEL_KEYS; i++) {
		uint64_t read_at = replay_from - 1 + (built->to + 1 - replay_from) * ((i * 5 + 2) % 13) / 12;
		uint64_t put = model_put_of(i, read_at);
		if (put != 0)
			tb_chunker_add(&chunkers[i * 3 / MODEL_KEYS], model_key(i), model_value(put));
	}
	for (size_t i = 0; i < 3; i++) {
		tb_chunker *chunker = &chunkers[i];
		size_t at = manifest.n_objects;
		if (chunker->entries != 0) {
			put_object(repository, TB_CONTENT_CHUNK, tb_buf_span(&chunker->content), built, &refs[at], names[at]);
			chunks[at] = (Tb__ChunkPrivate)TB__CHUNK_PRIVATE__INIT;
			chunks[at].first_key = (ProtobufCBinaryData){ chunker->first_key.size, chunker->first_key.data };
			chunks[at].last_key = (ProtobufCBinaryData){ chunker->last_key.size, chunker->last_key.data };
			ref_list[at] = &refs[at];
			chunk_list[at] = &chunks[at];
			manifest.n_objects = private.n_chunks = at + 1;
		}
	}
	manifest.objects = ref_list;
	private.chunks = chunk_list;
	put_manifest(repository, built, &manifest, &private);
	for (size_t i = 0; i < 3; i++)
		tb_chunker_drop(&chunkers[i]);
	return built;
}

/* What the tests share: events 1..60 in segments of uneven sizes, a full backup at 26 that is fuzzy from 12 on, and one
 * at 44 with nothing to lay over. Manifests: [0] 1..7 [1] 8 [2] 9..20 [3] 21..26 [4] full 12..26 [5] 27..35 [6] 36..44
 * [7] full 45..44 [8] 45..50 [9] 51..60. */
static inline void repository_fill(struct repository *repository, uint64_t second_from)
{
	repository_open(repository);
	add_segment(repository, 7);
	add_segment(repository, 1);
	add_segment(repository, 12);
	add_segment(repository, 6);
	add_full(repository, 12);
	add_segment(repository, 9);
	add_segment(repository, 9);
	add_full(repository, second_from);
	add_segment(repository, 6);
	add_segment(repository, 10);
}

static inline void repository_make(struct repository *repository)
{
	model_resets = 0;
	repository_fill(repository, 45);
}

/* The same with resets: the second backup is made within one, and leans on its begin. */
static inline void repository_make_resets(struct repository *repository)
{
	model_resets = 1;
	repository_fill(repository, 31);
}

/* The catalog, as if the storer had remembered all up to that manifest. */
static inline void repository_remember(struct repository *repository, size_t count)
{
	tb_bank *bank;
	tb_txn *txn;
	must(tb_bank_open(repository->catalog, TB_BANK_WRITER, 0, &bank, &err));
	must(tb_bank_write(bank, &txn, &err));
	for (size_t i = 0; i < count; i++) {
		struct built *built = &repository->built[i];
		Tb__ManifestFrame frame = TB__MANIFEST_FRAME__INIT;
		frame.stream = (char *)STREAM;
		frame.path = built->path;
		frame.backup = built->id;
		frame.chain = built->chain;
		frame.to = built->to;
		must(tb_catalog_manifest(txn, &frame, built->head.manifest_hash, NOW, &err));
	}
	must(tb_txn_commit(txn, &err));
	tb_bank_close(bank);
}

/* Damage: behind the tier's back. */

static inline const char *file_of(const struct repository *repository, const char *path)
{
	static char paths[4][512];
	static int next;
	char *file = paths[next++ % 4];
	snprintf(file, sizeof(paths[0]), "%s/%s", repository->url, path);
	return file;
}

static inline void file_read(const struct repository *repository, const char *path, tb_buf *bytes)
{
	must(tb_disk_read_file(tb_disk_system(), file_of(repository, path), 1u << 20, bytes, &err));
}

static inline void file_write(const struct repository *repository, const char *path, tb_span bytes)
{
	FILE *file = fopen(file_of(repository, path), "wb");
	cr_assert_not_null(file);
	cr_assert_eq(fwrite(bytes.data, 1, bytes.size, file), bytes.size);
	fclose(file);
}

static inline void file_remove(const struct repository *repository, const char *path)
{
	must(tb_disk_system()->unlink(tb_disk_system(), file_of(repository, path), &err));
}

static inline void file_swap(const struct repository *repository, const char *a, const char *b)
{
	tb_buf x = { 0 }, y = { 0 };
	file_read(repository, a, &x);
	file_read(repository, b, &y);
	file_write(repository, a, tb_buf_span(&y));
	file_write(repository, b, tb_buf_span(&x));
	tb_buf_drop(&x);
	tb_buf_drop(&y);
}

static inline void flip_bit(const struct repository *repository, const char *path, size_t bit)
{
	tb_buf bytes = { 0 };
	file_read(repository, path, &bytes);
	bytes.data[bit / 8 % bytes.size] ^= (uint8_t)(1 << bit % 8);
	file_write(repository, path, tb_buf_span(&bytes));
	tb_buf_drop(&bytes);
}

static inline void newest_head(const struct repository *repository, char path[TB_MANIFEST_PATH])
{
	tb_head_path(STREAM, repository->built[repository->built_count - 1].chain, path);
}

/* Back to manifest `count`: everything after it is gone, and the head is the one it was. */
static inline void roll_back(struct repository *repository, size_t count)
{
	char path[TB_MANIFEST_PATH];
	newest_head(repository, path);
	file_remove(repository, path);
	for (size_t i = count; i < repository->built_count; i++)
		file_remove(repository, repository->built[i].path);
	put_head(repository, &repository->built[count - 1]);
}

#endif
