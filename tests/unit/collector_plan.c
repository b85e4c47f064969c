#include "collector_room.h"

TestSuite(collector_plan, .init = collector_begin, .fini = room_end);

struct entry {
	char key[24];
	tb_span value;
};

/* A state as restore builds it: chunks, then the deltas of from..to over them. */
struct rebuilt {
	struct entry entries[200];
	size_t count;
};

static void rebuilt_remove(struct rebuilt *state, const char *key)
{
	for (size_t i = 0; i < state->count; i++)
		if (strcmp(state->entries[i].key, key) == 0)
			state->entries[i--] = state->entries[--state->count];
}

static void rebuilt_put(struct rebuilt *state, const char *key, tb_span value)
{
	rebuilt_remove(state, key);
	struct entry *entry = &state->entries[state->count++];
	snprintf(entry->key, sizeof(entry->key), "%s", key);
	entry->value = tb_arena_copy(room.kept, value);
}

static void rebuilt_events(struct rebuilt *state, uint64_t from, uint64_t to)
{
	for (uint64_t number = from; number <= to; number++) {
		enum kind kind = kind_of(number);
		tb_auto(tb_buf_drop) tb_buf value = { 0 };
		value_of(number, &value);
		if (kind == PUT || kind == PUT_SAME)
			rebuilt_put(state, key_of(number), tb_buf_span(&value));
		else if (kind == REMOVE)
			rebuilt_remove(state, key_of(number));
	}
}

static void rebuilt_chunks(struct rebuilt *state, const Tb__Manifest *manifest, const Tb__ManifestPrivate *message)
{
	tb_span last = { 0 };
	cr_assert_eq(message->n_chunks, manifest->n_objects);
	for (size_t i = 0; i < manifest->n_objects; i++) {
		const Tb__Chunk *chunk = NULL;
		for (size_t j = 0; j < noted_count(TB_KIND_CHUNK); j++)
			if (chunk_at(j)->index == i && strcmp(chunk_at(j)->backup, manifest->backup) == 0)
				chunk = chunk_at(j); /* of the newest plan */
		cr_assert_not_null(chunk);
		tb_span rest = tb_span_of(chunk->content.data, chunk->content.len), key, value;
		while (tb_chunk_next(&rest, &last, &key, &value) == 1) {
			char text[24] = "";
			memcpy(text, key.data, key.size < 23 ? key.size : 23);
			rebuilt_put(state, text, value);
		}
		cr_assert_eq(rest.size, 0);
	}
}

static void check_backup(const char *id)
{
	const Tb__ManifestFrame *frame = NULL;
	for (size_t i = 0; manifest_frame_at(i) != NULL; i++)
		if (strcmp(manifest_frame_at(i)->backup, id) == 0)
			frame = manifest_frame_at(i);
	cr_assert_not_null(frame, "there is no manifest of %s", id);
	const Tb__Manifest *manifest = manifest_of(frame);
	const Tb__ManifestPrivate *message = private_of(manifest);
	static struct rebuilt state;
	state.count = 0;
	rebuilt_chunks(&state, manifest, message);
	rebuilt_events(&state, manifest->from, manifest->to);
	tb_sum sum = { 0 };
	for (size_t i = 0; i < state.count; i++)
		tb_sum_add(&sum, tb_span_text(state.entries[i].key), state.entries[i].value);
	cr_assert_eq(state.count, message->keys);
	cr_assert_eq(memcmp(sum.bytes, message->sum.data, sizeof(sum.bytes)), 0);
	check_sum_at(message, manifest->to);
}

static uint64_t next_id = 1000;

/* All that was put and not answered yet is sealed, in one turn. */
static void seal_all(size_t *cuts, size_t *chunks)
{
	turn_begin(0);
	for (; *chunks < noted_count(TB_KIND_CHUNK); ++*chunks) {
		tb_frame sealed = sealed_chunk(chunk_at(*chunks));
		give(&sealed, next_id++);
	}
	for (; *cuts < noted_count(TB_KIND_CUT); ++*cuts) {
		tb_frame sealed = sealed_cut(message_of(noted_at(TB_KIND_CUT, *cuts), &tb__cut__descriptor));
		give(&sealed, next_id++);
	}
	turn_end();
}

static void order(const char *backup, uint64_t id)
{
	tb_frame frame = order_of(BOOK, backup);
	turn_with(&frame, id);
}

Test(collector_plan, a_backup_is_made_sealed_and_its_order_finished_when_it_is_stored)
{
	size_t cuts = 0, chunks = 0;
	start(BOOK, 1);
	apply(BOOK, 1, 30);
	order(BACKUP_A, 50);
	for (int i = 0; i < 5; i++)
		seal_all(&cuts, &chunks);
	check_backup(BACKUP_A);
	cr_assert_eq(check_chain(), 2);
	cr_assert_not(was_finished(50));
	tb_frame stored = stored_of(manifest_frame_at(1));
	turn_with(&stored, 51);
	cr_assert(was_finished(50) && was_finished(51));
	order(BACKUP_A, 52);
	cr_assert(was_finished(52), "an order of a backup that is stored is finished at once");
	cr_assert_eq(noted_count(TB_KIND_MANIFEST), 2);
}

Test(collector_plan, a_stream_without_events_has_an_empty_backup)
{
	start(BOOK, 1);
	order(BACKUP_A, 50);
	turn_idle();
	const Tb__Manifest *manifest = manifest_of(manifest_frame_at(0));
	cr_assert(manifest->from == 1 && manifest->to == 0 && manifest->n_objects == 0);
	check_backup(BACKUP_A);
}

/* 4 and 5 put, 3 and 15 remove: whatever the state is, it is what the model says. */
Test(collector_plan, an_empty_state_has_a_backup_without_objects)
{
	size_t cuts = 0, chunks = 0;
	start(BOOK, 1);
	cr_assert_eq(kind_of(2), GHOST);
	tb_frame frame = events(BOOK, 2, 1);
	frame.first = 1; /* one event that isn't a delta */
	turn_with(&frame, 0);
	order(BACKUP_A, 50);
	for (int i = 0; i < 3; i++)
		seal_all(&cuts, &chunks);
	const Tb__Manifest *manifest = manifest_of(manifest_frame_at(1));
	cr_assert_str_eq(manifest->type, "FULL");
	cr_assert(manifest->n_objects == 0 && manifest->to == 1 && manifest->from == 2);
	cr_assert_eq(private_of(manifest)->keys, 0);
}

/* Values so large that each stands in a chunk of its own, so that many turns lie between first and last. */
static tb_frame large(uint64_t number, unsigned key, size_t size)
{
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 }, body = { 0 };
	char name[16];
	tb_event event;
	uint8_t *value = tb_alloc_zero(1, size);
	snprintf(name, sizeof(name), "zz:%02u", key);
	tb_event_default(&event, TB_EVENT_DELTA);
	event.time_ns = BASE_NS;
	event.body.delta.key = (tb_bytes){ name, strlen(name) };
	event.body.delta.value = (tb_bytes){ value, size };
	must(tb_event_pack(&canonical, &event, BASE_NS, NULL, &room.err));
	free(value);
	tb_events_append(&body, tb_buf_span(&canonical));
	tb_span kept = tb_arena_copy(room.kept, tb_buf_span(&body));
	return (tb_frame){ .kind = TB_KIND_EVENTS, .count = 1, .stream = tb_stream_hash(BOOK), .epoch = 1, .first = number,
		               .time_ns = BASE_NS, .body = kept };
}

Test(collector_plan, events_that_come_while_it_reads_make_it_exact)
{
	size_t cuts = 0, chunks = 0;
	uint64_t next = 41;
	start(BOOK, 1);
	apply(BOOK, 1, 40);
	order(BACKUP_A, 50);
	apply(BOOK, next, 9); /* the cursor is behind the first chunk already */
	next += 9;
	for (int i = 0; i < 6; i++, next += 7) {
		apply(BOOK, next, 7);
		seal_all(&cuts, &chunks);
	}
	check_backup(BACKUP_A);
	check_chain();
}

static size_t in_flight(size_t sealed)
{
	size_t bytes = 0;
	for (size_t i = sealed; i < noted_count(TB_KIND_CHUNK); i++)
		bytes += chunk_at(i)->content.len;
	return bytes;
}

Test(collector_plan, only_a_window_of_chunks_is_on_its_way)
{
	size_t cuts = 0, chunks = 0;
	start(BOOK, 1);
	for (unsigned i = 0; i < 12; i++) {
		tb_frame frame = large(i + 1, i, 3 << 20);
		turn_with(&frame, 0);
	}
	order(BACKUP_A, 50);
	for (int turns = 0; turns < 60 && manifest_frame_at(cuts) == NULL; turns++) {
		for (int i = 0; i < 8; i++)
			turn_idle();
		cr_assert_leq(in_flight(chunks), 16u << 20);
		cr_assert_leq(noted_count(TB_KIND_CHUNK) - chunks, 4);
		seal_all(&cuts, &chunks);
	}
	cr_assert_eq(noted_count(TB_KIND_CHUNK), 12);
	const Tb__Manifest *manifest = manifest_of(manifest_frame_at(cuts));
	cr_assert_str_eq(manifest->type, "FULL");
	cr_assert_eq(manifest->n_objects, 12);
}

Test(collector_plan, chunks_are_put_again_when_the_broker_forgot_them_but_never_pile_up)
{
	size_t cuts = 0, chunks = 0;
	start(BOOK, 1);
	apply(BOOK, 1, 30);
	order(BACKUP_A, 50);
	turn_idle();
	cr_assert_eq(noted_count(TB_KIND_CHUNK), 1);
	room.worker->restarted(room.self);
	turn_idle();
	cr_assert_eq(noted_count(TB_KIND_CHUNK), 2);
	turn_idle();
	cr_assert_eq(noted_count(TB_KIND_CHUNK), 2);
	pass(31 * TB_NS_PER_S);
	room.answer = TB_EFULL;
	turn_idle();
	for (int i = 0; i < 20; i++) { /* for ten minutes it can't be put */
		pass(31 * TB_NS_PER_S);
		turn_idle();
	}
	room.answer = TB_OK;
	turn_begin(0);
	turn_end();
	cr_assert_leq(noted_count(TB_KIND_CHUNK), 4);
	for (int i = 0; i < 3; i++)
		seal_all(&cuts, &chunks);
	check_backup(BACKUP_A);
}

Test(collector_plan, a_lost_plan_begins_anew_and_what_was_sealed_for_it_is_finished)
{
	size_t cuts = 0, chunks = 0;
	start(BOOK, 1);
	apply(BOOK, 1, 30);
	order(BACKUP_A, 50);
	tb_frame old = sealed_chunk(chunk_at(0));
	worker_restart();
	Tb__Grant grant = grant_again(BOOK, 2);
	turn_begin(0);
	give_grant(&grant);
	turn_end();
	turn_with(&old, 60);
	cr_assert(was_finished(60));
	order(BACKUP_A, 50);
	chunks = 1;
	for (int i = 0; i < 4; i++)
		seal_all(&cuts, &chunks);
	check_backup(BACKUP_A);
	cr_assert_neq(memcmp(chunk_at(0)->plan.data, chunk_at(1)->plan.data, 16), 0);
}

Test(collector_plan, a_made_backup_waits_for_being_stored_across_a_restart_whatever_comes_first)
{
	for (int stored_first = 0; stored_first < 2; stored_first++) {
		size_t cuts = noted_count(TB_KIND_CUT), chunks = noted_count(TB_KIND_CHUNK);
		const char *backup = stored_first ? BACKUP_B : BACKUP_A;
		uint64_t id = 50 + (uint64_t)stored_first * 10, made = 0;
		Tb__Grant grant = grant_again(BOOK, 1 + 2 * (uint64_t)stored_first);
		turn_begin(0);
		give_grant(&grant);
		turn_end();
		apply(BOOK, 1 + 30 * (uint64_t)stored_first, 30);
		order(backup, id);
		for (int i = 0; i < 4; i++)
			seal_all(&cuts, &chunks);
		while (manifest_frame_at(made) != NULL)
			made++;
		tb_frame stored = stored_of(manifest_frame_at(made - 1));
		worker_restart();
		grant = grant_again(BOOK, 2 + 2 * (uint64_t)stored_first);
		turn_begin(0);
		give_grant(&grant);
		turn_end();
		if (stored_first)
			turn_with(&stored, id + 1);
		order(backup, id);
		if (!stored_first)
			turn_with(&stored, id + 1);
		cr_assert(was_finished(id) && was_finished(id + 1));
		cr_assert_null(manifest_frame_at(made), "it isn't made twice");
		check_backup(backup);
	}
}

Test(collector_plan, a_chunk_that_nobody_asked_about_is_ignored)
{
	start(BOOK, 1);
	apply(BOOK, 1, 30);
	order(BACKUP_A, 50);
	Tb__Chunk chunk = *chunk_at(0);
	static const uint64_t indexes[] = { 1, 29999, UINT64_MAX };
	for (size_t i = 0; i < 3; i++) {
		chunk.index = indexes[i];
		tb_frame sealed = sealed_chunk(&chunk);
		turn_with(&sealed, 70 + i);
		cr_assert(was_finished(70 + i));
	}
	chunk.plan.len = 3;
	tb_frame sealed = sealed_chunk(&chunk);
	turn_with(&sealed, 73);
	cr_assert(was_finished(73));
}

/* ---- a restart between any two turns */

/* One way through everything that a collector does, in numbered turns; what a turn needs it takes from what was put. */
static int step(unsigned at, uint64_t generation)
{
	tb_frame frame;
	turn_begin(0);
	switch (at) {
	case 0: {
		Tb__Grant grant = grant_again(BOOK, generation);
		give_grant(&grant);
		break;
	}
	case 1: frame = events(BOOK, 1, 12); give(&frame, 0); break;
	case 2: pass(TB_NS_PER_S); break;
	case 3: frame = events(BOOK, 13, 9); give(&frame, 0); break;
	case 4: frame = order_of(BOOK, BACKUP_A); give(&frame, 50); break;
	case 5: frame = events(BOOK, 22, 9); give(&frame, 0); break;
	case 6: pass(TB_NS_PER_S); break;
	default: turn_end(); return 0;
	}
	turn_end();
	return 1;
}

/* As a broker gives it after a grant: events from the next on, the order, whatever isn't finished. */
static void settle(uint64_t applied_to)
{
	size_t cuts = 0, chunks = 0, stored = 0;
	tb_stream *stream = stream_find(room.self, tb_stream_hash(BOOK));
	tb_frame frame = order_of(BOOK, BACKUP_A);
	turn_begin(0);
	give(&frame, 50);
	turn_end();
	if (stream->applied < applied_to)
		apply(BOOK, stream->applied + 1, (uint32_t)(applied_to - stream->applied));
	cut_now();
	for (int i = 0; i < 5; i++) {
		seal_all(&cuts, &chunks);
		for (; manifest_frame_at(stored) != NULL; stored++) {
			frame = stored_of(manifest_frame_at(stored));
			turn_with(&frame, next_id++);
		}
	}
	cr_assert(was_finished(50));
}

static void check_all_there(uint64_t to)
{
	uint64_t finished = 0;
	for (size_t i = 0; i < room.put_count; i++)
		finished = room.puts[i]->finished_to > finished ? room.puts[i]->finished_to : finished;
	cr_assert_eq(finished, to);
	check_chain();
	check_backup(BACKUP_A);
}

/* unput: the process also died before what it had committed was put. */
static void restart_after(unsigned last, int unput)
{
	unsigned at;
	for (at = 0; at < last && step(at, 1); at++)
		;
	if (unput) {
		room.answer = TB_ETIMEOUT;
		step(at, 1);
		room.answer = TB_OK;
	}
	worker_restart();
	step(0, 2);
	settle(30);
	check_all_there(30);
}

Test(collector_plan, a_restart_between_any_two_turns_loses_nothing_and_doubles_nothing, .timeout = 60)
{
	for (unsigned last = 1; last <= 7; last++)
		for (int unput = 0; unput < 2; unput++) {
			restart_after(last, unput);
			room_end();
			collector_begin();
		}
}
