#include "store/bank.h"

#include "store_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(bank, .init = dir_make, .fini = dir_remove);

static tb_bank *bank_open(int flags)
{
	tb_bank *bank;
	must(tb_bank_open(below("bank"), flags, 0, &bank, &err));
	return bank;
}

static tb_txn *writing(tb_bank *bank)
{
	tb_txn *txn;
	must(tb_bank_write(bank, &txn, &err));
	return txn;
}

static tb_txn *reading(tb_bank *bank)
{
	tb_txn *txn;
	must(tb_bank_read(bank, &txn, &err));
	return txn;
}

static tb_db db_of(tb_txn *txn, const char *name)
{
	tb_db db;
	must(tb_txn_db(txn, name, &db, &err));
	return db;
}

static void put(tb_txn *txn, tb_db db, const char *key, const char *value)
{
	must(tb_txn_put(txn, db, tb_span_text(key), tb_span_text(value), &err));
}

static int holds(tb_txn *txn, tb_db db, const char *key, const char *value)
{
	tb_span found;
	return tb_txn_get(txn, db, tb_span_text(key), &found, &err) == TB_OK && tb_span_equal(found, tb_span_text(value));
}

Test(bank, what_was_committed_is_there_after_reopening)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	tb_txn *txn = writing(bank);
	put(txn, db_of(txn, "state"), "a", "1");
	must(tb_txn_commit(txn, &err));
	tb_bank_close(bank);
	bank = bank_open(TB_BANK_READONLY);
	txn = reading(bank);
	cr_assert(holds(txn, db_of(txn, "state"), "a", "1"));
	tb_txn_abort(txn);
	tb_bank_close(bank);
}

Test(bank, what_begins_alike_is_deleted_by_and_by_and_nothing_else)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	tb_txn *txn = writing(bank);
	tb_db db = db_of(txn, "rows");
	tb_span prefix = tb_span_text("12345678");
	const char *keys[] = { "12345677z", "12345678", "12345678a", "12345678b", "12345679" };
	for (size_t i = 0; i < 5; i++)
		put(txn, db, keys[i], "x");
	for (uint64_t round = 0; round < 3; round++) {
		uint64_t most = 2, count;
		must(tb_txn_delete_below(txn, db, prefix, &most, &err));
		must(tb_txn_count(txn, db, &count, &err));
		cr_assert_eq(most, round == 0 ? 0 : round == 1 ? 1 : 2);
		cr_assert_eq(count, round == 0 ? 3 : 2);
	}
	cr_assert(holds(txn, db, keys[0], "x") && holds(txn, db, keys[4], "x"));
	must(tb_txn_commit(txn, &err));
	tb_bank_close(bank);
}

Test(bank, what_was_aborted_is_not_there_and_its_database_can_be_made_again)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	tb_db db;
	for (int round = 0; round < 3; round++) {
		tb_txn *txn = writing(bank);
		put(txn, db_of(txn, "state"), "a", "1");
		tb_txn_abort(txn);
		txn = reading(bank);
		cr_assert_eq(tb_txn_db(txn, "state", &db, &err), TB_ENOTFOUND);
		tb_txn_abort(txn);
	}
	tb_txn *txn = writing(bank);
	put(txn, db_of(txn, "other"), "b", "2");
	put(txn, db_of(txn, "state"), "a", "1");
	must(tb_txn_commit(txn, &err));
	txn = reading(bank);
	cr_assert(holds(txn, db_of(txn, "state"), "a", "1"));
	cr_assert(holds(txn, db_of(txn, "other"), "b", "2"));
	cr_assert(!holds(txn, db_of(txn, "other"), "a", "1"));
	tb_txn_abort(txn);
	tb_bank_close(bank);
}

Test(bank, a_reader_sees_the_state_at_its_beginning)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	tb_txn *txn = writing(bank);
	put(txn, db_of(txn, "state"), "a", "1");
	must(tb_txn_commit(txn, &err));
	tb_txn *before = reading(bank);
	txn = writing(bank);
	put(txn, db_of(txn, "state"), "a", "2");
	must(tb_txn_commit(txn, &err));
	cr_assert(holds(before, db_of(before, "state"), "a", "1"));
	tb_txn_abort(before);
	tb_txn *after = reading(bank);
	cr_assert(holds(after, db_of(after, "state"), "a", "2"));
	tb_txn_abort(after);
	tb_bank_close(bank);
}

Test(bank, a_database_made_after_a_reader_began_is_not_there_for_it)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	tb_txn *reader = reading(bank);
	tb_db db;
	tb_txn *txn = writing(bank);
	put(txn, db_of(txn, "new"), "a", "1");
	cr_assert_eq(tb_txn_db(reader, "new", &db, &err), TB_ENOTFOUND);
	must(tb_txn_commit(txn, &err));
	cr_assert_eq(tb_txn_db(reader, "new", &db, &err), TB_ENOTFOUND);
	tb_txn_abort(reader);
	reader = reading(bank);
	cr_assert(holds(reader, db_of(reader, "new"), "a", "1"));
	tb_txn_abort(reader);
	tb_bank_close(bank);
}

Test(bank, many_databases_come_and_go_beside_a_reader)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	for (int i = 0; i < 60; i++) {
		char name[24];
		snprintf(name, sizeof(name), "index-%d", i);
		tb_txn *reader = reading(bank);
		tb_txn *txn = writing(bank);
		put(txn, db_of(txn, name), "name", name);
		if (i % 3 == 0)
			tb_txn_abort(txn);
		else
			must(tb_txn_commit(txn, &err));
		tb_txn_abort(reader);
	}
	tb_bank_close(bank);
	bank = bank_open(TB_BANK_READONLY);
	tb_txn *txn = reading(bank);
	for (int i = 0; i < 60; i++) {
		char name[24];
		tb_db db;
		snprintf(name, sizeof(name), "index-%d", i);
		cr_assert_eq(tb_txn_db(txn, name, &db, &err), i % 3 == 0 ? TB_ENOTFOUND : TB_OK);
		cr_assert(i % 3 == 0 || holds(txn, db, "name", name));
	}
	tb_txn_abort(txn);
	tb_bank_close(bank);
}

Test(bank, absence_is_an_answer_without_a_sentence)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	tb_txn *txn = writing(bank);
	tb_db db = db_of(txn, "state");
	tb_cursor *cursor;
	tb_span key, value;
	tb_err quiet = { 0 };
	cr_assert_eq(tb_txn_get(txn, db, tb_span_text("a"), &value, &quiet), TB_ENOTFOUND);
	cr_assert_eq(tb_txn_delete(txn, db, tb_span_text("a"), &quiet), TB_ENOTFOUND);
	must(tb_cursor_open(txn, db, &cursor, &err));
	cr_assert_eq(tb_cursor_seek(cursor, (tb_span){ 0 }, &key, &value, &quiet), TB_ENOTFOUND);
	cr_assert_eq(tb_cursor_last(cursor, &key, &value, &quiet), TB_ENOTFOUND);
	cr_assert_eq(quiet.rc, TB_OK);
	tb_cursor_close(cursor);
	tb_txn_abort(txn);
	tb_bank_close(bank);
}

Test(bank, cursors_walk_both_ways_and_seek_the_first_key_not_before)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER | TB_BANK_SCRATCH);
	tb_txn *txn = writing(bank);
	tb_db db = db_of(txn, "state");
	tb_cursor *cursor;
	tb_span key, value;
	for (const char *at = "bdf"; *at; at++)
		must(tb_txn_append(txn, db, tb_span_of(at, 1), tb_span_of(at, 1), &err));
	must(tb_cursor_open(txn, db, &cursor, &err));
	must(tb_cursor_seek(cursor, tb_span_text("c"), &key, &value, &err));
	cr_assert(tb_span_equal(key, tb_span_text("d")) && tb_span_equal(value, tb_span_text("d")));
	must(tb_cursor_next(cursor, &key, &value, &err));
	cr_assert(tb_span_equal(key, tb_span_text("f")));
	cr_assert_eq(tb_cursor_next(cursor, &key, &value, &err), TB_ENOTFOUND);
	must(tb_cursor_seek(cursor, (tb_span){ 0 }, &key, &value, &err));
	cr_assert(tb_span_equal(key, tb_span_text("b")));
	cr_assert_eq(tb_cursor_prev(cursor, &key, &value, &err), TB_ENOTFOUND);
	must(tb_cursor_last(cursor, &key, &value, &err));
	cr_assert(tb_span_equal(key, tb_span_text("f")));
	must(tb_cursor_prev(cursor, &key, &value, &err));
	cr_assert(tb_span_equal(key, tb_span_text("d")));
	tb_cursor_close(cursor);
	must(tb_txn_commit(txn, &err));
	must(tb_bank_sync(bank, &err));
	tb_bank_close(bank);
}

Test(bank, append_wants_keys_behind_the_last)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	tb_txn *txn = writing(bank);
	tb_db db = db_of(txn, "state");
	must(tb_txn_append(txn, db, tb_span_text("b"), tb_span_text("1"), &err));
	cr_assert_eq(tb_txn_append(txn, db, tb_span_text("a"), tb_span_text("1"), &err), TB_EINVAL);
	cr_assert_eq(tb_txn_append(txn, db, tb_span_text("b"), tb_span_text("2"), &err), TB_EINVAL);
	tb_txn_abort(txn);
	tb_bank_close(bank);
}

Test(bank, a_key_too_long_or_empty_is_refused)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	tb_txn *txn = writing(bank);
	tb_db db = db_of(txn, "state");
	char key[512];
	memset(key, 'k', sizeof(key));
	must(tb_txn_put(txn, db, tb_span_of(key, 511), tb_span_text(""), &err));
	cr_assert_eq(tb_txn_put(txn, db, tb_span_of(key, 512), tb_span_text(""), &err), TB_EINVAL);
	cr_assert_eq(tb_txn_put(txn, db, (tb_span){ 0 }, tb_span_text(""), &err), TB_EINVAL);
	tb_txn_abort(txn);
	tb_bank_close(bank);
}

Test(bank, counting_and_emptying)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	tb_txn *txn = writing(bank);
	tb_db db = db_of(txn, "state");
	uint64_t count;
	put(txn, db, "a", "1");
	put(txn, db, "b", "");
	must(tb_txn_delete(txn, db, tb_span_text("a"), &err));
	must(tb_txn_count(txn, db, &count, &err));
	cr_assert_eq(count, 1);
	must(tb_txn_empty(txn, db, &err));
	must(tb_txn_count(txn, db, &count, &err));
	cr_assert_eq(count, 0);
	put(txn, db, "c", "3");
	must(tb_txn_commit(txn, &err));
	cr_assert_gt(tb_bank_bytes(bank), 0);
	tb_bank_close(bank);
}

Test(bank, a_bank_that_is_not_there_is_not_made_by_a_reader)
{
	tb_bank *bank;
	struct stat info;
	cr_assert_eq(tb_bank_open(below("nowhere"), TB_BANK_READONLY, 0, &bank, &err), TB_ENOTFOUND);
	cr_assert_neq(stat(below("nowhere"), &info), 0);
}

Test(bank, a_reader_can_not_write)
{
	tb_bank_close(bank_open(TB_BANK_WRITER));
	tb_bank *bank = bank_open(TB_BANK_READONLY);
	tb_txn *txn;
	cr_assert_eq(tb_bank_write(bank, &txn, &err), TB_EREFUSED);
	tb_bank_close(bank);
}

/* What the call gives in a child process. */
static tb_rc in_a_child(tb_rc (*call)(void))
{
	int status;
	pid_t child = fork();
	if (child == 0)
		child_exit((int)call());
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status), "the child crashed");
	return (tb_rc)WEXITSTATUS(status);
}

static tb_rc open_second(void)
{
	tb_bank *bank;
	tb_rc rc = tb_bank_open(below("bank"), TB_BANK_WRITER, 0, &bank, &err);
	if (rc == TB_OK)
		tb_bank_close(bank);
	return rc;
}

Test(bank, a_second_writer_is_told_and_the_lock_goes_with_its_holder)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	cr_assert_eq(in_a_child(open_second), TB_EBUSY);
	tb_bank_close(bank);
	cr_assert_eq(in_a_child(open_second), TB_OK);
}

static tb_rc read_beside(void)
{
	tb_bank *bank;
	tb_txn *txn;
	tb_db db;
	tb_rc rc = tb_bank_open(below("bank"), TB_BANK_READONLY, 0, &bank, &err);
	if (rc == TB_OK)
		rc = tb_bank_read(bank, &txn, &err);
	if (rc == TB_OK)
		rc = tb_txn_db(txn, "state", &db, &err);
	return rc == TB_OK && !holds(txn, db, "a", "1") ? TB_ECORRUPT : rc;
}

Test(bank, another_process_reads_while_one_writes)
{
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	tb_txn *txn = writing(bank);
	put(txn, db_of(txn, "state"), "a", "1");
	must(tb_txn_commit(txn, &err));
	txn = writing(bank);
	put(txn, db_of(txn, "state"), "a", "2");
	cr_assert_eq(in_a_child(read_beside), TB_OK);
	tb_txn_abort(txn);
	tb_bank_close(bank);
}

Test(bank, a_full_map_is_no_space_and_the_bank_goes_on)
{
	tb_bank *bank;
	static char value[65536];
	must(tb_bank_open(below("bank"), TB_BANK_WRITER, 1 << 20, &bank, &err));
	tb_txn *txn = writing(bank);
	tb_db db = db_of(txn, "state");
	tb_rc rc = TB_OK;
	for (int i = 0; rc == TB_OK && i < 64; i++)
		rc = tb_txn_put(txn, db, tb_span_of(&i, sizeof(i)), tb_span_of(value, sizeof(value)), &err);
	cr_assert_eq(rc, TB_ENOSPACE);
	tb_txn_abort(txn);
	txn = writing(bank);
	put(txn, db_of(txn, "state"), "a", "1");
	must(tb_txn_commit(txn, &err));
	tb_bank_close(bank);
}

/* As on a disk with that much room left, of each file. */
static tb_rc open_within(rlim_t size)
{
	struct rlimit limit = { size, RLIM_INFINITY };
	tb_bank *bank;
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	tb_rc rc = tb_bank_open(below("bank"), TB_BANK_WRITER, 0, &bank, &err);
	if (rc == TB_OK)
		tb_bank_close(bank);
	limit.rlim_cur = RLIM_INFINITY;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	return rc;
}

Test(bank, one_that_there_was_no_room_to_make_is_made_once_there_is)
{
	for (rlim_t size = 0; size < 40 * 1024; size += 4096) {
		cr_assert_neq(open_within(size), TB_OK, "in %llu bytes", (unsigned long long)size);
		tb_bank_close(bank_open(TB_BANK_WRITER));
		must(tb_disk_remove_tree(tb_disk_system(), below("bank"), &err));
	}
}

Test(bank, a_file_that_is_no_bank_is_damage)
{
	tb_bank *bank;
	uint8_t junk[16384];
	memset(junk, 0x11, sizeof(junk));
	cr_assert_eq(mkdir(below("bank"), 0700), 0);
	must(tb_disk_write_file(tb_disk_system(), below("bank/data.mdb"), tb_span_of(junk, sizeof(junk)), 0, &err));
	cr_assert_eq(tb_bank_open(below("bank"), TB_BANK_READONLY, 0, &bank, &err), TB_ECORRUPT);
	cr_assert_eq(tb_bank_open(below("bank"), TB_BANK_WRITER, 0, &bank, &err), TB_ECORRUPT);
}

Test(bank, one_that_was_in_the_making_when_the_power_went_is_made_anew)
{
	uint8_t part[4096] = { 1 };
	cr_assert_eq(mkdir(below("bank"), 0700), 0);
	must(tb_disk_write_file(tb_disk_system(), below("bank/data.mdb.new"), tb_span_of(part, sizeof(part)), 0, &err));
	tb_bank_close(bank_open(TB_BANK_WRITER));
	cr_assert_eq(access(below("bank/data.mdb.new"), F_OK), -1);
	tb_bank_close(bank_open(TB_BANK_READONLY));
}

#ifndef __SANITIZE_ADDRESS__
Test(bank, under_a_limit_of_address_space_it_takes_less)
{
	struct rlimit limit = { UINT64_C(8) << 30, UINT64_C(8) << 30 };
	cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
	tb_bank *bank = bank_open(TB_BANK_WRITER);
	tb_txn *txn = writing(bank);
	put(txn, db_of(txn, "state"), "a", "1");
	must(tb_txn_commit(txn, &err));
	tb_bank_close(bank);
}
#endif

static tb_rc grow(void)
{
	static char value[65536];
	tb_bank *bank;
	must(tb_bank_open(below("bank"), TB_BANK_WRITER, UINT64_C(64) << 20, &bank, &err));
	tb_txn *txn = writing(bank);
	for (int i = 0; i < 64; i++)
		must(tb_txn_put(txn, db_of(txn, "large"), tb_span_of(&i, sizeof(i)), tb_span_of(value, sizeof(value)), &err));
	put(txn, db_of(txn, "state"), "a", "2");
	must(tb_txn_commit(txn, &err));
	tb_bank_close(bank);
	return TB_OK;
}

Test(bank, a_reader_follows_a_bank_that_grows_beyond_what_it_was_opened_with)
{
	tb_bank *bank;
	must(tb_bank_open(below("bank"), TB_BANK_WRITER, 1 << 20, &bank, &err));
	tb_txn *txn = writing(bank);
	put(txn, db_of(txn, "state"), "a", "1");
	must(tb_txn_commit(txn, &err));
	tb_bank_close(bank);
	must(tb_bank_open(below("bank"), TB_BANK_READONLY, 1 << 20, &bank, &err));
	cr_assert_eq(in_a_child(grow), TB_OK);
	txn = reading(bank);
	cr_assert(holds(txn, db_of(txn, "state"), "a", "2"));
	tb_txn_abort(txn);
	tb_bank_close(bank);
}

Test(bank, what_another_process_made_is_opened_by_one_reader_at_a_time)
{
	tb_bank_close(bank_open(TB_BANK_WRITER));
	tb_bank *bank = bank_open(TB_BANK_READONLY);
	cr_assert_eq(in_a_child(grow), TB_OK);
	tb_txn *first = reading(bank), *second = reading(bank);
	tb_db db;
	cr_assert(holds(first, db_of(first, "state"), "a", "2"));
	cr_assert_eq(tb_txn_db(second, "state", &db, &err), TB_EBUSY);
	cr_assert_eq(tb_txn_db(second, "large", &db, &err), TB_EBUSY);
	tb_txn_abort(second);
	tb_txn_abort(first);
	second = reading(bank);
	cr_assert(holds(second, db_of(second, "state"), "a", "2"));
	tb_txn_abort(second);
	tb_bank_close(bank);
}
