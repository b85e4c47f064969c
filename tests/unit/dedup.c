/* What a collector stored once it doesn't send again, and what it applies it indexes. */
#include "collector_room.h"

#include "workers/collector/plan_parts.h"
#include "workers/storer/storer.h"

TestSuite(dedup, .init = collector_begin, .fini = room_end);

#define ENTRIES 9u
#define ENTRY_SIZE (900u * 1024) /* so large that a few make a chunk */

static size_t cuts, chunks, questions;
static uint64_t next_id, next_number;

/* Names are the storer's business; here they say what was sealed: plan, then place. */
static tb_frame sealed(const Tb__Chunk *chunk)
{
	tb_frame frame = sealed_chunk(chunk);
	struct noted_frame noted = { .frame = frame };
	Tb__Sealed *message = (Tb__Sealed *)(uintptr_t)message_of(&noted, &tb__sealed__descriptor);
	memcpy(message->name.data + 2, chunk->plan.data, 16);
	return frame_of(TB_KIND_SEALED, BOOK, chunk->index, &message->base);
}

static void seal_all(void)
{
	turn_begin(0);
	for (; chunks < noted_count(TB_KIND_CHUNK); chunks++) {
		tb_frame frame = sealed(chunk_at(chunks));
		give(&frame, next_id++);
	}
	for (; cuts < noted_count(TB_KIND_CUT); cuts++) {
		tb_frame frame = sealed_cut(message_of(noted_at(TB_KIND_CUT, cuts), &tb__cut__descriptor));
		give(&frame, next_id++);
	}
	turn_end();
}

static void begin(void)
{
	cuts = chunks = questions = 0;
	next_id = 1000;
	next_number = 1;
	start(BOOK, 1);
}

/* Bytes that no other entry has. */
static void put_entry(unsigned key, unsigned version)
{
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 }, body = { 0 };
	char name[16];
	tb_event event;
	uint8_t *value = tb_alloc_zero(1, ENTRY_SIZE);
	snprintf((char *)value, 64, "entry %u, version %u", key, version);
	snprintf(name, sizeof(name), "entry:%02u", key);
	tb_event_default(&event, TB_EVENT_DELTA);
	event.time_ns = BASE_NS;
	event.body.delta.key = (tb_bytes){ name, strlen(name) };
	event.body.delta.value = (tb_bytes){ value, ENTRY_SIZE };
	must(tb_event_pack(&canonical, &event, BASE_NS, NULL, &room.err));
	free(value);
	tb_events_append(&body, tb_buf_span(&canonical));
	tb_frame frame = { .kind = TB_KIND_EVENTS, .count = 1, .stream = tb_stream_hash(BOOK), .epoch = 1,
		               .first = next_number++, .time_ns = BASE_NS, .body = tb_buf_span(&body) };
	turn_with(&frame, 0);
}

static void fill(void)
{
	for (unsigned key = 0; key < ENTRIES; key++)
		put_entry(key, 1);
}

static const Tb__ManifestFrame *manifest_frame_of(const char *backup)
{
	for (size_t i = 0; manifest_frame_at(i) != NULL; i++)
		if (strcmp(manifest_frame_at(i)->backup, backup) == 0)
			return manifest_frame_at(i);
	return NULL;
}

/* Until it waits for the storer, or has its manifest. */
static void run(const char *backup)
{
	for (int i = 0; i < 60 && manifest_frame_of(backup) == NULL; i++)
		seal_all();
}

static void order(const char *backup)
{
	tb_frame frame = order_of(BOOK, backup);
	turn_with(&frame, next_id++);
}

static const Tb__Ask *next_question(void)
{
	cr_assert_lt(questions, noted_count(TB_KIND_ASK), "the storer isn't asked");
	return message_of(noted_at(TB_KIND_ASK, questions++), &tb__ask__descriptor);
}

static uint64_t answer(const Tb__Ask *ask, size_t missing_count, uint32_t *missing)
{
	Tb__Present present = TB__PRESENT__INIT;
	present.plan = ask->plan;
	present.n_missing = missing_count;
	present.missing = missing;
	tb_frame frame = frame_of(TB_KIND_PRESENT, BOOK, 0, &present.base);
	turn_with(&frame, next_id);
	return next_id++;
}

static const Tb__Manifest *finish(const char *backup)
{
	const Tb__ManifestFrame *frame = manifest_frame_of(backup);
	cr_assert_not_null(frame, "there is no manifest of %s", backup);
	tb_frame stored = stored_of(frame);
	turn_with(&stored, next_id++);
	return manifest_of(frame);
}

static int names_same(const Tb__Manifest *a, const Tb__Manifest *b, size_t index)
{
	return memcmp(a->objects[index]->name.data, b->objects[index]->name.data, TB_OBJECT_NAME) == 0 &&
	       a->objects[index]->size_stored == b->objects[index]->size_stored &&
	       a->objects[index]->size_plain == b->objects[index]->size_plain;
}

static const Tb__Manifest *first_backup(void)
{
	begin();
	fill();
	order(BACKUP_A);
	run(BACKUP_A);
	cr_assert_eq(noted_count(TB_KIND_ASK), 0, "nothing is shared, so nothing is asked");
	const Tb__Manifest *first = finish(BACKUP_A);
	cr_assert_gt(first->n_objects, 3);
	cr_assert_eq(first->n_objects, noted_count(TB_KIND_CHUNK));
	return first;
}

Test(dedup, a_second_backup_of_the_same_state_sends_nothing_and_names_the_same)
{
	const Tb__Manifest *first = first_backup();
	order(BACKUP_B);
	run(BACKUP_B);
	cr_assert_eq(noted_count(TB_KIND_CHUNK), first->n_objects);
	cr_assert_null(manifest_frame_of(BACKUP_B), "it was signed before the storer had answered");
	const Tb__Ask *ask = next_question();
	cr_assert_eq(ask->n_objects, first->n_objects);
	uint64_t id = answer(ask, 0, NULL);
	cr_assert(was_finished(id));
	const Tb__Manifest *second = finish(BACKUP_B);
	cr_assert_eq(second->n_objects, first->n_objects);
	for (size_t i = 0; i < first->n_objects; i++) {
		cr_assert(names_same(first, second, i));
		cr_assert_eq(memcmp(ask->objects[i]->name.data, first->objects[i]->name.data, TB_OBJECT_NAME), 0);
		cr_assert_eq(ask->objects[i]->size_stored, first->objects[i]->size_stored);
	}
	cr_assert_eq(noted_count(TB_KIND_ASK), 1);
}

Test(dedup, one_changed_entry_sends_its_chunk_alone)
{
	const Tb__Manifest *first = first_backup();
	put_entry(4, 2);
	order(BACKUP_B);
	run(BACKUP_B);
	cr_assert_eq(noted_count(TB_KIND_CHUNK), first->n_objects + 1);
	const Tb__Ask *ask = next_question();
	cr_assert_eq(ask->n_objects, first->n_objects - 1);
	answer(ask, 0, NULL);
	const Tb__Manifest *second = finish(BACKUP_B);
	size_t changed = 0;
	for (size_t i = 0; i < first->n_objects; i++)
		changed += !names_same(first, second, i);
	cr_assert_eq(changed, 1);
}

Test(dedup, it_is_remembered_across_a_restart)
{
	const Tb__Manifest *first = first_backup();
	Tb__Grant grant = grant_again(BOOK, 2);
	worker_restart();
	turn_begin(0);
	give_grant(&grant);
	turn_end();
	order(BACKUP_B);
	run(BACKUP_B);
	cr_assert_eq(noted_count(TB_KIND_CHUNK), first->n_objects);
	answer(next_question(), 0, NULL);
	finish(BACKUP_B);
}

Test(dedup, what_is_missing_is_sent_again_and_nothing_is_signed_before)
{
	const Tb__Manifest *first = first_backup();
	uint32_t missing[] = { 1, 3 };
	put_entry(0, 2);
	order(BACKUP_B);
	run(BACKUP_B);
	size_t before = noted_count(TB_KIND_CHUNK);
	const Tb__Ask *ask = next_question();
	uint8_t gone[2][TB_OBJECT_NAME];
	for (size_t i = 0; i < 2; i++)
		memcpy(gone[i], ask->objects[missing[i]]->name.data, TB_OBJECT_NAME);
	cr_assert(was_finished(answer(ask, 2, missing)));
	cr_assert_null(manifest_frame_of(BACKUP_B));
	run(BACKUP_B);
	cr_assert_eq(noted_count(TB_KIND_CHUNK), before + 2, "only what is missing is sent again");
	const Tb__Ask *second_ask = next_question();
	cr_assert_eq(second_ask->n_objects, first->n_objects - 2);
	answer(second_ask, 0, NULL);
	const Tb__Manifest *second = finish(BACKUP_B);
	for (size_t i = 0; i < second->n_objects; i++)
		for (size_t j = 0; j < 2; j++)
			cr_assert_neq(memcmp(second->objects[i]->name.data, gone[j], TB_OBJECT_NAME), 0);
}

Test(dedup, a_missing_place_that_there_is_not_is_harmless)
{
	first_backup();
	uint32_t missing[] = { 4000000000u };
	order(BACKUP_B);
	run(BACKUP_B);
	answer(next_question(), 1, missing);
	run(BACKUP_B);
	answer(next_question(), 0, NULL);
	finish(BACKUP_B);
}

Test(dedup, an_answer_to_another_plan_is_finished_and_ignored)
{
	first_backup();
	order(BACKUP_B);
	run(BACKUP_B);
	Tb__Ask other = *next_question();
	uint8_t id[16] = { 0xee };
	other.plan.data = id;
	cr_assert(was_finished(answer(&other, 0, NULL)));
	cr_assert_null(manifest_frame_of(BACKUP_B));
	questions--;
	const Tb__Ask *ask = next_question();
	answer(ask, 0, NULL);
	finish(BACKUP_B);
	cr_assert(was_finished(answer(ask, 0, NULL)), "a second answer comes too late for anything");
}

Test(dedup, a_plan_that_is_lost_while_it_asks_asks_again)
{
	first_backup();
	order(BACKUP_B);
	run(BACKUP_B);
	const Tb__Ask *lost = next_question();
	Tb__Grant grant = grant_again(BOOK, 2);
	worker_restart();
	turn_begin(0);
	give_grant(&grant);
	turn_end();
	order(BACKUP_B);
	answer(lost, 0, NULL);
	run(BACKUP_B);
	cr_assert_null(manifest_frame_of(BACKUP_B));
	const Tb__Ask *ask = NULL;
	while (questions < noted_count(TB_KIND_ASK)) /* the lost one may be put again */
		ask = next_question();
	answer(ask, 0, NULL);
	finish(BACKUP_B);
}

Test(dedup, objects_of_another_period_are_not_shared)
{
	tb_auto(tb_buf_drop) tb_buf wraps = { 0 };
	const Tb__Manifest *first = first_backup();
	tb_key *instance, *identity;
	uint8_t record[TB_PERIOD_RECORD];
	must(tb_key_read(tb_disk_system(), below_room("keys/instance.key"), TB_KEY_INSTANCE, &instance, &room.err));
	must(tb_key_read(tb_disk_system(), below_room("keys/identity.key"), TB_KEY_IDENTITY, &identity, &room.err));
	const void *recipient = tb_key_public(identity);
	must(tb_period_make(instance, recipient, 1, room.real_ns, record, &wraps, &room.err));
	tb_key_free(instance);
	tb_key_free(identity);
	tb_buf_clear(&room.period);
	tb_buf_append(&room.period, record, sizeof(record));
	turn_idle();
	order(BACKUP_B);
	run(BACKUP_B);
	cr_assert_eq(noted_count(TB_KIND_CHUNK), 2 * first->n_objects);
	cr_assert_eq(noted_count(TB_KIND_ASK), 0);
	finish(BACKUP_B);
}

/* ---- the index */

static tb_rc note(void *context, uint64_t number, tb_err *why)
{
	(void)why;
	*(uint64_t *)context = number;
	return TB_OK;
}

/* Each event of the frame is found, also one that was rejected. */
static void check_indexed(const tb_frame *frame)
{
	tb_event_index *index;
	tb_txn *txn;
	tb_span body = frame->body, canonical;
	must(tb_bank_read(room.env.bank, &txn, &room.err));
	must(tb_event_index_open(txn, frame->stream, &index, &room.err));
	for (uint64_t number = frame->first; tb_events_next(&body, &canonical) == 1; number++) {
		uint8_t hash[TB_HASH];
		uint64_t found = 0;
		tb_event_hash(canonical, hash);
		must(tb_event_index_find(index, txn, hash, note, &found, &room.err));
		cr_assert_neq(found, 0, "event %llu isn't found", (unsigned long long)number);
	}
	tb_event_index_free(index);
	tb_txn_abort(txn);
}

Test(dedup, what_is_applied_is_indexed_also_when_it_is_rejected)
{
	begin();
	tb_frame first = events(BOOK, 1, 40);
	turn_with(&first, 0);
	check_indexed(&first);
	Tb__Grant grant = grant_again(BOOK, 2);
	worker_restart();
	turn_begin(0);
	give_grant(&grant);
	tb_frame second = events(BOOK, 41, 40), third = events(BOOK, 81, 3);
	give(&second, 0);
	give(&second, 0); /* again: it was had */
	give(&third, 0);
	turn_end();
	check_indexed(&first);
	check_indexed(&second);
	check_indexed(&third);
}

Test(dedup, while_runs_wait_to_be_merged_the_next_turn_comes_at_once)
{
	begin();
	for (uint64_t number = 1; number <= 40; number++)
		apply(BOOK, number, 1);
	cr_assert_gt(room.wait_ns, 0, "a few small runs are merged within their turn");
	uint64_t next = 41;
	for (int i = 0; i < 8; i++, next += 60000) {
		turn_begin(0);
		for (uint64_t from = next; from < next + 60000; from += 1000) {
			tb_frame frame = events(BOOK, from, 1000);
			give(&frame, 0);
		}
		turn_end();
	}
	int turns = 0;
	cr_assert_eq(room.wait_ns, 0);
	for (; room.wait_ns == 0 && turns < 100; turns++)
		turn_idle();
	cr_assert_lt(turns, 100);
	cr_assert_leq(tb_event_index_runs(stream_find(room.self, tb_stream_hash(BOOK))->index), 14);
}

/* ---- the storer's answer */

static tb_storer_config storer_config;

static void storer_begin(void)
{
	room_begin(&storer_worker, &storer_config, NULL);
}

TestSuite(dedup_storer, .init = storer_begin, .fini = room_end);

static void store(const char *text, Tb__AskedObject *ret_asked)
{
	tb_period period;
	tb_buf object = { 0 };
	uint8_t *name = tb_arena_alloc(room.kept, TB_OBJECT_NAME);
	tb_sealer *sealer = tb_sealer_new(1);
	must(tb_period_read(tb_buf_span(&room.period), NULL, &period, &room.err));
	must(tb_seal(sealer, TB_CONTENT_CHUNK, tb_span_text(text), &period, &object, name, &room.err));
	tb_sealer_free(sealer);
	tb_frame frame = { .kind = TB_KIND_OBJECT, .count = 1, .body = tb_arena_copy(room.kept, tb_buf_span(&object)) };
	*ret_asked = (Tb__AskedObject)TB__ASKED_OBJECT__INIT;
	ret_asked->name = (ProtobufCBinaryData){ TB_OBJECT_NAME, name };
	ret_asked->size_stored = object.size;
	tb_buf_drop(&object);
	turn_begin(1);
	give(&frame, next_id++);
	turn_end();
}

static const Tb__Present *ask_storer(Tb__AskedObject *objects, size_t count, uint64_t id)
{
	static uint8_t plan[] = "a plan";
	Tb__AskedObject *list[16];
	Tb__Ask ask = TB__ASK__INIT;
	for (size_t i = 0; i < count; i++)
		list[i] = &objects[i];
	ask.objects = list;
	ask.n_objects = count;
	ask.stream = (char *)(uintptr_t)BOOK;
	ask.plan = (ProtobufCBinaryData){ sizeof(plan), plan };
	tb_frame frame = frame_of(TB_KIND_ASK, BOOK, 0, &ask.base);
	turn_begin(1);
	give(&frame, id);
	turn_end();
	const struct noted_frame *noted = noted_at(TB_KIND_PRESENT, noted_count(TB_KIND_PRESENT) - 1);
	const Tb__Present *present = message_of(noted, &tb__present__descriptor);
	cr_assert_eq(noted->frame.stream, tb_stream_hash(BOOK));
	cr_assert(present->plan.len == sizeof(plan) && memcmp(present->plan.data, plan, sizeof(plan)) == 0);
	cr_assert(was_finished(id));
	return present;
}

Test(dedup_storer, what_is_recorded_and_there_is_present)
{
	Tb__AskedObject objects[3];
	store("one", &objects[0]);
	store("two", &objects[1]);
	store("three", &objects[2]);
	cr_assert_eq(ask_storer(objects, 3, 70)->n_missing, 0);
	worker_restart();
	cr_assert_eq(ask_storer(objects, 3, 71)->n_missing, 0);
	cr_assert_eq(ask_storer(objects, 0, 72)->n_missing, 0);
}

Test(dedup_storer, what_never_came_was_removed_or_has_another_size_is_missing)
{
	Tb__AskedObject objects[6];
	char path[TB_OBJECT_PATH];
	static uint8_t unknown[TB_OBJECT_NAME] = { 1, 2, 3 };
	for (size_t i = 0; i < 6; i++)
		store((const char *[]){ "a", "b", "c", "d", "e", "f" }[i], &objects[i]);
	objects[1].name.data = unknown;
	tb_object_path(objects[2].name.data, path);
	tb_auto(tb_buf_drop) tb_buf whole = { 0 };
	tb_buf_print(&whole, "repository/%s", path);
	cr_assert_eq(remove(below_room(tb_buf_text(&whole))), 0);
	objects[3].size_stored++;
	objects[4].name.len--;
	const Tb__Present *present = ask_storer(objects, 6, 70);
	cr_assert_eq(present->n_missing, 4);
	for (uint32_t i = 0; i < 4; i++)
		cr_assert_eq(present->missing[i], i + 1);
}

Test(dedup_storer, a_question_that_is_none_is_rejected)
{
	tb_frame frame = { .kind = TB_KIND_ASK, .count = 1, .stream = tb_stream_hash(BOOK), .body = tb_span_text("\xff\xff") };
	turn_begin(1);
	give(&frame, 70);
	turn_end();
	cr_assert(was_finished(70));
	cr_assert_eq(noted_count(TB_KIND_PRESENT), 0);
	cr_assert_eq(noted_count(TB_KIND_REJECT), 1);
}
