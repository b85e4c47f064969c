/* A bank that is lost, or old: what is rebuilt from the tier is what a bank holds that was never lost. */
#include "reset_room.h"

#include <sodium.h>

#define TURNS_MAX 4000

static const tb_stream *book(void)
{
	return stream_find(room.self, tb_stream_hash(BOOK));
}

/* ---- what a bank holds, as text */

static void print_bytes(tb_buf *to, const char *what, tb_span bytes)
{
	char hex[65];
	uint8_t hash[32];
	crypto_generichash(hash, sizeof(hash), bytes.data, bytes.size, NULL, 0);
	tb_hex(hex, hash, sizeof(hash));
	tb_buf_print(to, "%s %zu %s\n", what, bytes.size, hex);
}

static void print_db(tb_buf *to, tb_txn *txn, tb_db db, const char *name)
{
	tb_cursor *cursor;
	tb_span key, value;
	tb_buf_print(to, "%s:\n", name);
	must(tb_cursor_open(txn, db, &cursor, &room.err));
	for (tb_rc rc = tb_cursor_seek(cursor, (tb_span){ 0 }, &key, &value, &room.err); rc == TB_OK;
	     rc = tb_cursor_next(cursor, &key, &value, &room.err)) {
		print_bytes(to, "  key", key);
		print_bytes(to, "  value", value);
	}
	tb_cursor_close(cursor);
}

static void print_stream(tb_buf *to, const tb_stream *stream)
{
	const uint64_t numbers[] = { stream->applied, stream->effective_ns, stream->stamp_ns, stream->keys,
		                         stream->reset_begin, stream->reset_epoch, stream->beside_keys, stream->segment_from,
		                         stream->segment_bytes, stream->rejected_count, stream->chain, stream->manifested,
		                         stream->stored, (uint64_t)stream->blocked };
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		tb_buf_print(to, "number %zu: %llu\n", i, (unsigned long long)numbers[i]);
	print_bytes(to, "sum", tb_span_of(stream->sum.bytes, sizeof(stream->sum)));
	print_bytes(to, "sum beside", tb_span_of(stream->beside_sum.bytes, sizeof(stream->beside_sum)));
	print_bytes(to, "manifest", tb_span_of(stream->manifest_hash, TB_HASH_SIZE));
}

static tb_rc note_found(void *context, uint64_t number, tb_err *err)
{
	(void)err;
	cr_assert(number > 0 && number < HISTORY_MAX);
	((uint8_t *)context)[number]++;
	return TB_OK;
}

/* In their order: that in which the index finds them is nobody's. */
static void print_found(tb_buf *to, tb_txn *txn, const tb_stream *stream, const uint8_t *hash)
{
	uint8_t found[HISTORY_MAX] = { 0 };
	must(tb_event_index_find(stream->index, txn, hash, note_found, found, &room.err));
	for (unsigned i = 0; i < HISTORY_MAX; i++)
		if (found[i] > 0)
			tb_buf_print(to, " %u x%u", i, found[i]);
	tb_buf_print(to, "\n");
}

/* Of every event that was published. */
static void print_index(tb_buf *to, tb_txn *txn, const tb_stream *stream)
{
	uint64_t from, last;
	tb_event_index_covers(stream->index, &from, &last);
	tb_buf_print(to, "index of %llu..%llu\n", (unsigned long long)from, (unsigned long long)last);
	tb_span rest = tb_buf_span(&line.journal);
	tb_frame frame;
	while (rest.size > 0) {
		must(tb_frame_read(&rest, &frame, &room.err));
		tb_span body = frame.body, canonical;
		for (uint64_t number = frame.first; tb_events_next(&body, &canonical) == 1; number++) {
			uint8_t hash[TB_HASH];
			tb_event_hash(canonical, hash);
			tb_buf_print(to, "%llu:", (unsigned long long)number);
			print_found(to, txn, stream, hash);
		}
	}
}

static void print_bank(tb_buf *to)
{
	tb_collector *collector = room.self;
	const tb_stream *stream = book();
	tb_txn *txn;
	must(tb_bank_read(room.env.bank, &txn, &room.err));
	print_stream(to, stream);
	print_db(to, txn, stream->state, "state");
	print_db(to, txn, stream->beside, "beside");
	print_db(to, txn, collector->heads_db, "heads");
	print_db(to, txn, collector->moved_db, "moved");
	print_db(to, txn, collector->segments_db, "segments");
	print_db(to, txn, collector->backups_db, "backups");
	print_index(to, txn, stream);
	tb_txn_abort(txn);
}

/* ---- losing it */

static void give_again(void)
{
	for (size_t i = 0; i < line.given_count; i++)
		if (!was_finished(line.given[i].id))
			turn_with(&line.given[i].frame, line.given[i].id);
	if (line.order_id != 0)
		turn_with(&line.order, line.order_id);
}

static void grant_now(void)
{
	Tb__Grant grant = grant_again(BOOK, ++line.generation);
	turn_begin(0);
	give_grant(&grant);
	turn_end();
	if (book()->rebuild == NULL && !book()->rebuilding && !book()->blocked)
		give_again();
}

/* The events that it hasn't, as far as it wants them. */
static void replay(void)
{
	for (size_t i = 0; i < line.frame_count; i++) {
		tb_span rest = tb_span_of(line.journal.data + line.frames[i].at, line.journal.size - line.frames[i].at);
		tb_frame frame;
		must(tb_frame_read(&rest, &frame, &room.err));
		if (frame.first != book()->applied + 1)
			continue;
		frame.body = tb_arena_copy(room.kept, frame.body);
		turn_with(&frame, 0);
	}
}

static void die(void)
{
	worker_restart();
	grant_now();
}

/* Until it has all events again. It is killed now and then, one time in `kills`; 0: never. */
static void recover(uint64_t kills)
{
	for (int turns = 0; book()->applied < line.last || book()->rebuild != NULL || book()->generation == 0; turns++) {
		cr_assert(turns < TURNS_MAX, "it doesn't go on after event %d of %d: %s", (int)book()->applied, (int)line.last,
		          book()->why);
		pass(TB_NS_PER_S / 4);
		turn_idle();
		if (book()->generation == 0)
			grant_now();
		if (kills > 0 && draw(kills) == 0)
			die();
		if (book()->rebuild == NULL && book()->generation != 0)
			replay();
		if (draw(3) == 0)
			work_once();
	}
}

static void lose_bank(uint64_t kills)
{
	send_frame();
	worker_close();
	must(tb_disk_remove_tree(tb_disk_system(), below_room("bank"), &room.err));
	worker_open();
	grant_now();
	recover(kills);
}

/* ---- histories */

static void say_at_random(void)
{
	static const enum made_kind kinds[] = { MADE_DELTA, MADE_DELTA, MADE_DELTA, MADE_DELTAS, MADE_DELTAS,
		                                    MADE_BEGIN, MADE_COMMIT, MADE_OTHER, MADE_BROKEN };
	struct made made = { .kind = kinds[draw(sizeof(kinds) / sizeof(kinds[0]))] };
	made.count = made.kind == MADE_DELTA || made.kind == MADE_BROKEN ? 1 : made.kind == MADE_DELTAS ? 1 + draw(12) : 0;
	for (size_t i = 0; i < made.count; i++)
		made.changes[i] = (struct change){ draw(PLACES), draw(4) == 0 ? 0 : ++line.values };
	add_event(&made);
}

static void happen_at_random(void)
{
	switch (draw(16)) {
	case 0:
		new_epoch();
		break;
	case 1:
		send_frame();
		order_full();
		break;
	case 2:
	case 3:
		send_frame();
		cut_now();
		break;
	case 4:
		send_frame();
		for (uint64_t count = draw(12); count > 0 && work_once(); count--)
			;
		break;
	case 5:
	case 6:
		send_frame();
		break;
	default:
		say_at_random();
		work_once();
	}
}

static void happen_until(uint64_t last)
{
	while (line.last < last)
		happen_at_random();
}

static void print_difference(const char *after, const char *before)
{
	while (*after != '\0' && *before != '\0') {
		size_t a = strcspn(after, "\n"), b = strcspn(before, "\n");
		if (a != b || memcmp(after, before, a) != 0)
			fprintf(stderr, "after:  %.*s\nbefore: %.*s\n", (int)a, after, (int)b, before);
		after += a + (after[a] != '\0');
		before += b + (before[b] != '\0');
	}
}

static void check_same(const char *what)
{
	tb_auto(tb_buf_drop) tb_buf before = { 0 }, after = { 0 };
	work_off();
	print_bank(&before);
	lose_bank(0);
	print_bank(&after);
	print_difference(tb_buf_text(&after), tb_buf_text(&before));
	cr_assert_str_eq(tb_buf_text(&after), tb_buf_text(&before), "%s", what);
}

static void check_some(const char *what)
{
	for (int i = 0; i < 12; i++)
		check_restore(draw(line.last + 1), what);
	check_restore(line.last, what);
}

static void check_history(uint64_t seed)
{
	char what[40];
	snprintf(what, sizeof(what), "seed %llu", (unsigned long long)seed);
	fprintf(stderr, "%s\n", what);
	line_begin(seed);
	for (uint64_t last = 20; last <= 80; last += 20) {
		happen_until(last);
		lose_bank(draw(2) ? 0 : 3);
		happen_until(last + 5);
		check_same(what);
	}
	work_off();
	check_some(what);
	line_end();
}

/* TB_SEED=N is one history, TB_SEEDS=N that many. */
Test(rebuild, a_rebuilt_bank_is_the_one_that_was_never_lost, .timeout = 3000)
{
	const char *seed = getenv("TB_SEED"), *seeds = getenv("TB_SEEDS");
	uint64_t from = seed != NULL ? strtoull(seed, NULL, 10) : 1;
	uint64_t count = seed != NULL ? 1 : seeds != NULL ? strtoull(seeds, NULL, 10) : 4;
	for (uint64_t i = 0; i < count; i++)
		check_history(from + i);
}

/* ---- one at a time */

static void put_some(uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		struct made made = { .kind = MADE_DELTA, .count = 1 };
		made.changes[0] = (struct change){ draw(PLACES), ++line.values };
		add_event(&made);
	}
	send_frame();
}

static void back_up(void)
{
	order_full();
	work_off();
}

static const char *told(const char **ret_state)
{
	Tb__Health health = TB__HEALTH__INIT;
	health.state = (char *)(uintptr_t)"healthy";
	room.worker->health(room.self, room.kept, &health);
	*ret_state = health.state;
	return health.detail;
}

static void lose_and_wait(void)
{
	worker_close();
	must(tb_disk_remove_tree(tb_disk_system(), below_room("bank"), &room.err));
	worker_open();
	grant_now();
	for (int i = 0; i < 10; i++) {
		pass(TB_NS_PER_S);
		turn_idle();
	}
}

Test(rebuild, without_an_identity_a_stream_is_not_taken_and_it_is_said_why)
{
	const char *state;
	line_begin(1);
	put_some(5);
	work_off();
	rename(below_room("keys/identity.key"), below_room("keys/away"));
	lose_and_wait();
	cr_assert_not_null(strstr(told(&state), "stream book isn't taken"), "%s", told(&state));
	cr_assert_not_null(strstr(told(&state), "identity.key"), "%s", told(&state));
	cr_assert_str_eq(state, "critical");
	cr_assert_eq(book()->applied, 0);
	rename(below_room("keys/away"), below_room("keys/identity.key"));
	recover(0);
	cr_assert_eq(book()->applied, 5);
	told(&state);
	cr_assert_str_eq(state, "healthy");
	line_end();
}

Test(rebuild, identity_and_repository_may_lie_elsewhere)
{
	char identity[160], repository[160];
	const char *state;
	line_begin(1);
	put_some(5);
	work_off();
	room.env.dir = NULL; /* as on a host of its own */
	lose_and_wait();
	cr_assert_not_null(strstr(told(&state), "no identity and repository are named"), "%s", told(&state));
	snprintf(identity, sizeof(identity), "%s", below_room("keys/identity.key"));
	snprintf(repository, sizeof(repository), "%s", below_room("repository"));
	config.rebuild_identity = identity;
	config.rebuild_repository = repository;
	recover(0);
	cr_assert_eq(book()->applied, 5);
	line_end();
}

Test(rebuild, nothing_stored_yet_needs_no_identity)
{
	line_begin(1);
	rename(below_room("keys/identity.key"), below_room("keys/away"));
	put_some(5);
	cut_now();
	put_some(3);
	lose_bank(0);
	rename(below_room("keys/away"), below_room("keys/identity.key"));
	work_off();
	check_restore(8, "from the journal alone");
	line_end();
}

static tb_rc find_newest(void *context, const char *name, uint64_t size, tb_err *err)
{
	struct newest *newest = context;
	(void)size, (void)err;
	if (strstr(name, newest->to != 0 ? "-SEG-" : "-FUL-") != NULL)
		snprintf(newest->name, sizeof(newest->name), "%s", name);
	return TB_OK;
}

/* The newest manifest of a backup, or of a segment, is other bytes; what was there is in keys/aside. */
static const char *damage_newest(int segment)
{
	static char path[TB_MANIFEST_PATH + 160];
	struct newest newest = { .to = (uint64_t)segment };
	must(line.tier->list(line.tier, "manifests/" BOOK, find_newest, &newest, &room.err));
	snprintf(path, sizeof(path), "%s/repository/%s", room.dir, newest.name);
	cr_assert_eq(rename(path, below_room("keys/aside")), 0);
	FILE *file = fopen(path, "w");
	cr_assert(fputs("damage", file) > 0 && fclose(file) == 0);
	return path;
}

static void make_two_backups(void)
{
	line_begin(1);
	for (int i = 0; i < 2; i++) {
		put_some(20);
		back_up();
	}
	put_some(3);
	work_off();
}

Test(rebuild, a_damaged_backup_is_passed_over_for_an_older_one_or_none)
{
	tb_auto(tb_buf_drop) tb_buf before = { 0 }, after = { 0 };
	make_two_backups();
	print_bank(&before);
	damage_newest(0);
	lose_bank(0);
	print_bank(&after);
	cr_assert_str_eq(tb_buf_text(&after), tb_buf_text(&before));
	line_end();
}

Test(rebuild, a_damaged_segment_is_named_until_it_is_back)
{
	const char *state;
	tb_auto(tb_buf_drop) tb_buf before = { 0 }, after = { 0 };
	make_two_backups();
	print_bank(&before);
	const char *path = damage_newest(1);
	lose_and_wait();
	cr_assert_not_null(strstr(told(&state), "-SEG-"), "%s", told(&state));
	cr_assert_str_eq(state, "critical");
	cr_assert_eq(book()->generation, line.generation); /* it keeps the lease */
	cr_assert_eq(rename(below_room("keys/aside"), path), 0);
	recover(0);
	print_bank(&after);
	cr_assert_str_eq(tb_buf_text(&after), tb_buf_text(&before));
	line_end();
}

Test(rebuild, the_next_backup_shares_the_chunks_of_the_one_before_the_loss)
{
	line_begin(1);
	put_some(40);
	back_up();
	size_t sealed = noted_count(TB_KIND_CHUNK);
	cr_assert_gt(sealed, 0);
	lose_bank(0);
	back_up();
	cr_assert_eq(noted_count(TB_KIND_CHUNK), sealed);
	line_end();
}

/* ---- a bank that is behind */

static void copy_bank(const char *from, const char *to)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	char path[200];
	snprintf(path, sizeof(path), "%s/data.mdb", below_room(from));
	must(tb_disk_read_file(tb_disk_system(), path, UINT64_C(1) << 30, &bytes, &room.err));
	must(tb_disk_make_path(tb_disk_system(), below_room(to), &room.err));
	snprintf(path, sizeof(path), "%s/data.mdb", below_room(to));
	FILE *file = fopen(path, "w");
	cr_assert(fwrite(bytes.data, 1, bytes.size, file) == bytes.size && fclose(file) == 0);
}

/* It had cut what it never put; meanwhile others went on. */
Test(rebuild, an_old_bank_is_discarded_with_what_it_had_queued)
{
	tb_auto(tb_buf_drop) tb_buf before = { 0 }, after = { 0 };
	line_begin(1);
	put_some(10);
	work_off();
	put_some(3);
	pass(TB_NS_PER_S);
	room.answer = TB_ETIMEOUT;
	turn_idle(); /* a cut of 11..13 that isn't put */
	worker_close();
	copy_bank("bank", "old");
	worker_open();
	room.answer = TB_OK;
	grant_now();
	put_some(2);
	work_off();
	put_some(9);
	work_off();
	print_bank(&before);
	worker_close();
	must(tb_disk_remove_tree(tb_disk_system(), below_room("bank"), &room.err));
	copy_bank("old", "bank");
	worker_open();
	size_t cuts = noted_count(TB_KIND_CUT);
	line.generation++;
	grant_now();
	cr_assert_not_null(book()->rebuild);
	recover(0);
	turn_idle();
	print_bank(&after);
	cr_assert_str_eq(tb_buf_text(&after), tb_buf_text(&before));
	cr_assert_eq(noted_count(TB_KIND_CUT), cuts);
	line_end();
}
