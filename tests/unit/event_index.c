#include "store/event_index.h"

#include "base/bytes.h"
#include "store_fixture.h"

#define STREAM UINT64_C(0x1122334455667788)
#define OTHER (STREAM + 1)
#define ALL UINT64_MAX

static tb_bank *bank;
static tb_txn *txn;
static tb_event_index *opened; /* the stream's, in the transaction */

static void set_up(void)
{
	dir_make();
	must(tb_bank_open(below("bank"), TB_BANK_WRITER | TB_BANK_SCRATCH, UINT64_C(1) << 30, &bank, &err));
	must(tb_bank_write(bank, &txn, &err));
	must(tb_event_index_open(txn, STREAM, &opened, &err));
}

static void tear_down(void)
{
	tb_event_index_free(opened);
	tb_txn_abort(txn);
	tb_bank_close(bank);
	dir_remove();
}

TestSuite(event_index, .init = set_up, .fini = tear_down);

static void again(int keep)
{
	if (keep)
		must(tb_txn_commit(txn, &err));
	else
		tb_txn_abort(txn);
	tb_event_index_free(opened);
	must(tb_bank_write(bank, &txn, &err));
	must(tb_event_index_open(txn, STREAM, &opened, &err));
}

static uint64_t spread(uint64_t value)
{
	value = (value ^ value >> 31) * UINT64_C(0x9e3779b97f4a7c15);
	return value ^ value >> 29;
}

/* A third of the numbers share their hash with others. */
static uint64_t content_of(uint64_t number)
{
	return number % 3 == 0 ? number / 30 * 30 : number;
}

static void hash_of(uint64_t content, uint8_t hash[TB_INDEX_HASH])
{
	tb_put64(hash, spread(content + 1));
	tb_put64(hash + 8, spread(~content));
}

static tb_rc add_to(tb_event_index *index, uint64_t from, uint64_t to)
{
	size_t count = (size_t)(to - from + 1);
	tb_index_entry *entries = tb_alloc(count * sizeof(*entries));
	for (size_t i = 0; i < count; i++) {
		uint8_t hash[TB_INDEX_HASH];
		hash_of(content_of(from + i), hash);
		tb_index_entry_fill(&entries[i], hash, from + i);
	}
	tb_rc rc = tb_event_index_add(index, txn, entries, from, to, &err);
	free(entries);
	return rc;
}

static void add(uint64_t from, uint64_t to)
{
	must(add_to(opened, from, to));
}

static int merge(uint64_t entries)
{
	int more;
	must(tb_event_index_merge(opened, txn, entries, &more, &err));
	return more;
}

struct found {
	uint64_t number; /* looked for */
	uint64_t count, sum;
	int seen;
};

static tb_rc note(void *context, uint64_t number, tb_err *why)
{
	struct found *found = context;
	(void)why;
	found->count++;
	found->sum += number;
	found->seen |= number == found->number;
	return TB_OK;
}

static struct found find_in(const tb_event_index *index, uint64_t number)
{
	struct found found = { .number = number };
	uint8_t hash[TB_INDEX_HASH];
	hash_of(content_of(number), hash);
	must(tb_event_index_find(index, txn, hash, note, &found, &err));
	return found;
}

/* Each number of 1..last is found once, with all those of its hash, and nothing else is. */
static void check_all(uint64_t last)
{
	for (uint64_t number = 1; number <= last; number++) {
		uint64_t count = 0, sum = 0;
		for (uint64_t other = number / 30 * 30; number % 3 == 0 && other <= last && other < number / 30 * 30 + 30; other += 3)
			if (other != 0)
				count++, sum += other;
		struct found found = find_in(opened, number);
		cr_assert(found.seen, "%llu of %llu isn't found", (unsigned long long)number, (unsigned long long)last);
		cr_assert(number % 3 == 0 ? found.count == count && found.sum == sum : found.count == 1);
	}
	cr_assert_eq(find_in(opened, last + 31).count, 0);
}

Test(event_index, what_was_added_is_found_and_nothing_else)
{
	cr_assert_eq(find_in(opened, 1).count, 0);
	add(1, 1);
	check_all(1);
	add(2, 700);
	add(701, 1000);
	check_all(1000);
	again(1);
	check_all(1000);
}

Test(event_index, all_numbers_of_a_hash_are_found_across_blocks_and_runs)
{
	uint8_t hash[TB_INDEX_HASH] = { 0x42 };
	for (uint64_t from = 1; from <= 1500; from += 500) {
		tb_index_entry entries[500];
		for (uint64_t i = 0; i < 500; i++)
			tb_index_entry_fill(&entries[i], hash, from + i);
		must(tb_event_index_add(opened, txn, entries, from, from + 499, &err));
	}
	struct found found = { .number = 1500 };
	must(tb_event_index_find(opened, txn, hash, note, &found, &err));
	cr_assert_eq(found.count, 1500);
	cr_assert_eq(found.sum, 1500 * 1501 / 2);
	cr_assert(found.seen);
}

static tb_rc stop_at_three(void *context, uint64_t number, tb_err *why)
{
	(void)number;
	return ++*(int *)context == 3 ? tb_fail(why, TB_EFULL, "enough") : TB_OK;
}

Test(event_index, a_search_ends_when_its_caller_says)
{
	uint8_t hash[TB_INDEX_HASH];
	int count = 0;
	add(1, 900);
	hash_of(30, hash);
	cr_assert_eq(tb_event_index_find(opened, txn, hash, stop_at_three, &count, &err), TB_EFULL);
	cr_assert_eq(count, 3);
}

Test(event_index, runs_are_merged_and_no_entry_is_lost_or_doubled)
{
	uint64_t last = 0;
	for (unsigned i = 0; i < 120; i++) {
		uint64_t count = 1 + spread(i) % 40;
		add(last + 1, last + count);
		last += count;
		merge(ALL);
		cr_assert_leq(tb_event_index_runs(opened), 16, "%zu runs", tb_event_index_runs(opened));
	}
	check_all(last);
	again(1);
	check_all(last);
	cr_assert_eq(merge(ALL), 0);
}

/* However a merge is cut into slices, and wherever the process ends in between. */
Test(event_index, a_merge_goes_on_where_it_was_interrupted)
{
	uint64_t last = 0;
	unsigned slices = 0;
	for (unsigned i = 0; i < 9; i++, last += 300)
		add(last + 1, last + 300);
	again(1);
	size_t before = tb_event_index_runs(opened);
	while (merge(37)) {
		if (++slices % 3 == 0) {
			again(0); /* lost */
			continue;
		}
		again(1);
		if (slices % 10 == 0)
			check_all(last);
	}
	cr_assert_gt(slices, 50);
	cr_assert_lt(tb_event_index_runs(opened), before);
	again(1);
	check_all(last);
}

Test(event_index, adding_goes_on_beside_a_merge)
{
	uint64_t last = 0;
	for (unsigned i = 0; i < 400; i++, last += 7) {
		add(last + 1, last + 7);
		merge(40);
		if (i % 100 == 99) {
			again(1);
			check_all(last + 7);
		}
	}
	while (merge(5000))
		;
	check_all(last);
}

Test(event_index, a_slice_moves_about_as_much_as_it_may)
{
	uint64_t last = 0;
	unsigned slices = 0;
	for (unsigned i = 0; i < 8; i++, last += 2000)
		add(last + 1, last + 2000);
	for (int more = 1; more; slices++)
		more = merge(1000);
	cr_assert(slices >= 16 && slices <= 17, "%u slices", slices);
	cr_assert_eq(tb_event_index_runs(opened), 1);
	cr_assert_eq(merge(1000), 0);
}

Test(event_index, streams_keep_apart)
{
	tb_event_index *other;
	must(tb_event_index_open(txn, OTHER, &other, &err));
	add(1, 100);
	must(add_to(other, 1000, 1100));
	for (int i = 0; i < 20; i++) {
		add(101 + (uint64_t)i * 10, 110 + (uint64_t)i * 10);
		merge(ALL);
	}
	check_all(300);
	cr_assert_eq(find_in(opened, 1001).count, 0);
	cr_assert(find_in(other, 1001).seen);
	cr_assert_eq(find_in(other, 100).count, 0);
	uint64_t from, to;
	tb_event_index_covers(opened, &from, &to);
	cr_assert(from == 1 && to == 300);
	tb_event_index_covers(other, &from, &to);
	cr_assert(from == 1000 && to == 1100);
	tb_event_index_free(other);
}

Test(event_index, numbers_are_added_without_a_hole)
{
	uint64_t from, to;
	tb_event_index_covers(opened, &from, &to);
	cr_assert(from == 0 && to == 0);
	cr_assert_eq(add_to(opened, 0, 3), TB_EINVAL);
	add(5, 8);
	cr_assert_eq(add_to(opened, 8, 9), TB_EINVAL);
	cr_assert_eq(add_to(opened, 10, 11), TB_EINVAL);
	add(9, 9);
	again(1);
	tb_event_index_covers(opened, &from, &to);
	cr_assert(from == 5 && to == 9);
}

Test(event_index, a_reader_sees_what_was_committed)
{
	add(1, 200);
	again(1);
	add(201, 210);
	tb_txn *writing = txn, *reading;
	tb_event_index *seen;
	must(tb_bank_read(bank, &reading, &err));
	must(tb_event_index_open(reading, STREAM, &seen, &err));
	txn = reading;
	cr_assert(find_in(seen, 200).seen);
	cr_assert_not(find_in(seen, 202).seen);
	txn = writing;
	tb_event_index_free(seen);
	tb_txn_abort(reading);
}

Test(event_index, a_bank_without_an_index_says_so)
{
	tb_bank *empty;
	tb_txn *reading;
	tb_event_index *none;
	must(tb_bank_open(below("empty"), TB_BANK_WRITER | TB_BANK_SCRATCH, UINT64_C(1) << 24, &empty, &err));
	must(tb_bank_read(empty, &reading, &err));
	cr_assert_eq(tb_event_index_open(reading, STREAM, &none, &err), TB_ENOTFOUND);
	tb_txn_abort(reading);
	tb_bank_close(empty);
}

/* ---- damage: whatever stands in the bank, it is refused or read, within its bounds */

static tb_span first_of(tb_db db, tb_span *ret_key)
{
	tb_cursor *cursor;
	tb_span key, value;
	must(tb_cursor_open(txn, db, &cursor, &err));
	must(tb_cursor_seek(cursor, (tb_span){ 0 }, &key, &value, &err));
	tb_cursor_close(cursor);
	*ret_key = key;
	return value;
}

struct damaging {
	tb_db db;
	uint8_t key[64];
	size_t key_size;
};

static void try_damaged(void *context, tb_span damaged, size_t at)
{
	struct damaging *damaging = context;
	tb_event_index *index;
	struct found found = { 0 };
	uint8_t hash[TB_INDEX_HASH];
	int more;
	(void)at;
	must(tb_txn_put(txn, damaging->db, tb_span_of(damaging->key, damaging->key_size), damaged, &err));
	tb_rc rc = tb_event_index_open(txn, STREAM, &index, &err);
	if (rc == TB_OK) {
		hash_of(30, hash);
		rc = tb_event_index_find(index, txn, hash, note, &found, &err);
		cr_assert(rc == TB_OK || is_refusal(rc, &err));
		rc = tb_event_index_merge(index, txn, 50, &more, &err);
		tb_event_index_free(index);
	}
	cr_assert(rc == TB_OK || is_refusal(rc, &err), "%s", tb_rc_name(rc));
	again(0);
}

static void damage_first(const char *name)
{
	struct damaging damaging;
	tb_span key, value;
	for (uint64_t i = 0; i < 9; i++)
		add(i * 5 + 1, i * 5 + 5);
	again(1);
	must(tb_txn_db(txn, name, &damaging.db, &err));
	value = first_of(damaging.db, &key);
	memcpy(damaging.key, key.data, key.size);
	damaging.key_size = key.size;
	tb_auto(tb_buf_drop) tb_buf whole = { 0 };
	tb_buf_append_span(&whole, value);
	each_cut(tb_buf_span(&whole), try_damaged, &damaging);
	each_flip(tb_buf_span(&whole), try_damaged, &damaging);
}

Test(event_index, a_damaged_block_is_refused_or_read_within_its_bounds)
{
	damage_first("index");
}

Test(event_index, damage_to_what_it_covers_is_refused_or_read)
{
	damage_first("index_runs");
}

Test(event_index, a_damaged_run_is_refused_or_read)
{
	struct damaging damaging = { .key_size = 16 };
	tb_span value;
	for (uint64_t i = 0; i < 9; i++)
		add(i * 5 + 1, i * 5 + 5);
	merge(10); /* so that some are merged into one */
	again(1);
	must(tb_txn_db(txn, "index_runs", &damaging.db, &err));
	tb_put64_be(damaging.key, STREAM);
	tb_auto(tb_buf_drop) tb_buf whole = { 0 };
	for (uint64_t run = 1; run <= 10; run += 3) {
		tb_put64_be(damaging.key + 8, run);
		if (tb_txn_get(txn, damaging.db, tb_span_of(damaging.key, 16), &value, &err) != TB_OK)
			continue;
		tb_buf_clear(&whole);
		tb_buf_append_span(&whole, value);
		each_cut(tb_buf_span(&whole), try_damaged, &damaging);
		each_flip(tb_buf_span(&whole), try_damaged, &damaging);
	}
}

static void put_run(uint64_t id, uint64_t into, uint64_t level)
{
	uint8_t key[16], value[24];
	tb_db runs;
	tb_put64_be(key, STREAM);
	tb_put64_be(key + 8, id);
	tb_put64(value, 5);
	tb_put64(value + 8, into);
	tb_put64(value + 16, level);
	must(tb_txn_db(txn, "index_runs", &runs, &err));
	must(tb_txn_put(txn, runs, tb_span_of(key, 16), tb_span_of(value, 24), &err));
}

Test(event_index, a_merge_of_more_runs_than_are_merged_at_once_is_refused)
{
	int more;
	for (uint64_t i = 0; i < 17; i++)
		add(i * 5 + 1, i * 5 + 5);
	for (uint64_t id = 1; id <= 17; id++)
		put_run(id, 18, 0);
	again(1);
	cr_assert_eq(tb_event_index_merge(opened, txn, 50, &more, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "more than 16 runs"), "%s", err.text);
}
