/* What every tier promises, whatever it is made of: each claim is tried on each driver. */
#include "store/tier.h"

#include "fault/fault_disk.h"
#include "unit/store_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

static tb_rc open_directory(int create, tb_tier **ret_tier, tb_err *why)
{
	return tb_tier_open(tb_disk_system(), below("tier"), create, ret_tier, why);
}

static tb_rc open_file_url(int create, tb_tier **ret_tier, tb_err *why)
{
	char url[300];
	snprintf(url, sizeof(url), "file://%s/", below("deep/tier"));
	return tb_tier_open(tb_disk_system(), url, create, ret_tier, why);
}

static const struct driver {
	const char *name;
	tb_rc (*open)(int create, tb_tier **ret_tier, tb_err *why);
} drivers[] = {
	{ "directory", open_directory },
	{ "file url", open_file_url },
};
#define DRIVERS (sizeof(drivers) / sizeof(drivers[0]))

/* Runs the body with an empty tier of each driver. */
#define each_tier(tier)                                                                            \
	for (size_t row_ = 0; row_ < DRIVERS; row_++)                                                  \
		for (tb_tier *tier = fresh(row_); tier != NULL; tb_tier_close(tier), tier = NULL)

static tb_tier *fresh(size_t row)
{
	tb_tier *tier;
	must(drivers[row].open(1, &tier, &err));
	return tier;
}

TestSuite(tier, .init = dir_make, .fini = dir_remove);

static void put(tb_tier *tier, const char *name, const char *text)
{
	must(tier->put(tier, name, tb_span_text(text), &err));
}

static int holds(tb_tier *tier, const char *name, const char *text)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	uint64_t size;
	return tier->get(tier, name, 1000, &bytes, &err) == TB_OK && tier->stat(tier, name, &size, &err) == TB_OK &&
	       tb_span_equal(tb_buf_span(&bytes), tb_span_text(text)) && size == strlen(text);
}

static tb_rc print_name(void *context, const char *name, uint64_t size, tb_err *why)
{
	(void)why;
	tb_buf_print(context, "%s:%d ", name, (int)size);
	return TB_OK;
}

static void lists(tb_tier *tier, const char *prefix, const char *expected)
{
	tb_auto(tb_buf_drop) tb_buf names = { 0 };
	must(tier->list(tier, prefix, print_name, &names, &err));
	cr_assert_str_eq(tb_buf_text(&names), expected, "%s", tier->url);
}

Test(tier, what_was_put_is_there_after_reopening)
{
	each_tier(tier) {
		put(tier, "objects/ab/abcd", "bytes");
		put(tier, "tradebank.json", "");
	}
	for (size_t i = 0; i < DRIVERS; i++) {
		tb_tier *tier;
		must(drivers[i].open(0, &tier, &err));
		cr_assert(holds(tier, "objects/ab/abcd", "bytes"));
		cr_assert(holds(tier, "tradebank.json", ""));
		tb_tier_close(tier);
	}
}

Test(tier, a_place_that_is_not_there_is_not_made_by_a_reader)
{
	for (size_t i = 0; i < DRIVERS; i++) {
		tb_tier *tier;
		cr_assert_eq(drivers[i].open(0, &tier, &err), TB_ENOTFOUND);
	}
}

Test(tier, what_is_not_there_is_not_found)
{
	each_tier(tier) {
		tb_buf bytes = { 0 };
		uint64_t size;
		put(tier, "objects/ab/abcd", "bytes");
		static const char *const names[] = { "objects/ab/abce", "objects/ac/abcd", "none", "objects/ab", "objects" };
		for (int i = 0; i < 5; i++) {
			cr_assert_eq(tier->get(tier, names[i], 100, &bytes, &err), TB_ENOTFOUND, "%s", names[i]);
			cr_assert_eq(tier->stat(tier, names[i], &size, &err), TB_ENOTFOUND, "%s", names[i]);
			must(tier->remove(tier, names[i], &err));
		}
		cr_assert(holds(tier, "objects/ab/abcd", "bytes"));
	}
}

Test(tier, the_same_again_is_fine_and_other_bytes_are_refused)
{
	each_tier(tier) {
		put(tier, "a/b", "bytes");
		put(tier, "a/b", "bytes");
		cr_assert_eq(tier->put(tier, "a/b", tb_span_text("Bytes"), &err), TB_EREFUSED);
		cr_assert_eq(tier->put(tier, "a/b", tb_span_text("byte"), &err), TB_EREFUSED);
		cr_assert_eq(tier->put(tier, "a/b", tb_span_text("bytes!"), &err), TB_EREFUSED);
		cr_assert_eq(tier->put(tier, "a", tb_span_text(""), &err), TB_EREFUSED);
		cr_assert(holds(tier, "a/b", "bytes"));
		lists(tier, "", "a/b:5 ");
	}
}

Test(tier, what_is_larger_than_it_may_be_is_not_read)
{
	each_tier(tier) {
		tb_buf bytes = { 0 };
		put(tier, "a", "12345");
		must(tier->get(tier, "a", 5, &bytes, &err));
		cr_assert_eq(tier->get(tier, "a", 4, &bytes, &err), TB_ECORRUPT);
		tb_buf_drop(&bytes);
	}
}

static int is_held(tb_tier *tier, const char *name, tb_span bytes)
{
	tb_err err;
	int same = -1;
	must(tier->holds(tier, name, bytes, &same, &err));
	return same;
}

Test(tier, what_it_holds_is_told_to_the_last_byte)
{
	each_tier(tier) {
		tb_buf large = { 0 };
		int same = -1;
		for (uint32_t i = 0; i < 150000; i++)
			tb_buf_append(&large, &i, sizeof(i));
		must(tier->put(tier, "a/large", tb_buf_span(&large), &err));
		put(tier, "a/none", "");
		cr_assert_eq(is_held(tier, "a/large", tb_buf_span(&large)), 1);
		cr_assert_eq(is_held(tier, "a/none", tb_span_text("")), 1);
		cr_assert_eq(is_held(tier, "a/none", tb_span_text("x")), 0);
		cr_assert_eq(is_held(tier, "a/large", tb_span_of(large.data, large.size - 1)), 0);
		for (size_t at = 0; at < large.size; at += 9973) {
			large.data[at] ^= 1;
			cr_assert_eq(is_held(tier, "a/large", tb_buf_span(&large)), 0);
			large.data[at] ^= 1;
		}
		large.data[large.size - 1] ^= 1;
		cr_assert_eq(is_held(tier, "a/large", tb_buf_span(&large)), 0);
		cr_assert_eq(tier->holds(tier, "a/other", tb_buf_span(&large), &same, &err), TB_ENOTFOUND);
		cr_assert_eq(tier->holds(tier, "../a", tb_buf_span(&large), &same, &err), TB_EINVAL);
		cr_assert_eq(same, -1);
		tb_buf_drop(&large);
	}
}

Test(tier, removing_is_for_good_and_twice_is_fine)
{
	each_tier(tier) {
		put(tier, "a/b", "bytes");
		put(tier, "a/c", "bytes");
		must(tier->remove(tier, "a/b", &err));
		must(tier->remove(tier, "a/b", &err));
		lists(tier, "", "a/c:5 ");
		put(tier, "a/b", "other");
		cr_assert(holds(tier, "a/b", "other"));
	}
}

Test(tier, names_are_listed_below_a_prefix_in_byte_order_of_whole_paths)
{
	static const char *const names[] = { "a/b", "a-b", "a.b", "a0", "a/b-c/d", "a/b.x", "A/z", "ab/c", "a/b0" };
	each_tier(tier) {
		lists(tier, "", "");
		for (int i = 0; i < 9; i++)
			put(tier, names[i], "x");
		lists(tier, "", "A/z:1 a-b:1 a.b:1 a/b:1 a/b-c/d:1 a/b.x:1 a/b0:1 a0:1 ab/c:1 ");
		lists(tier, "a", "a/b:1 a/b-c/d:1 a/b.x:1 a/b0:1 ");
		lists(tier, "a/b-c", "a/b-c/d:1 ");
		lists(tier, "none", "");
		lists(tier, "a/none", "");
	}
}

static tb_rc stop_at_second(void *context, const char *name, uint64_t size, tb_err *why)
{
	(void)name;
	(void)size;
	return ++*(int *)context == 2 ? tb_fail(why, TB_EINTERRUPTED, "enough") : TB_OK;
}

Test(tier, a_listing_ends_when_it_is_told_to)
{
	each_tier(tier) {
		int count = 0;
		put(tier, "a/1", "");
		put(tier, "a/2", "");
		put(tier, "b/3", "");
		cr_assert_eq(tier->list(tier, "", stop_at_second, &count, &err), TB_EINTERRUPTED);
		cr_assert_eq(count, 2);
	}
}

Test(tier, names_that_break_the_rules_are_refused)
{
	char longest[514];
	memset(longest, 'n', sizeof(longest));
	longest[513] = '\0';
	const char *const bad[] = { "", "/a", "a/", "a//b", "../a", "a/../b", ".", ".tmp-x", "a/.b", "a b", "a\nb", "\xc3\xa4",
		                        "a\\b", "a:b", longest };
	each_tier(tier) {
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			tb_buf bytes = { 0 };
			uint64_t size;
			cr_assert_eq(tier->put(tier, bad[i], tb_span_text("x"), &err), TB_EINVAL, "%s", bad[i]);
			cr_assert_eq(tier->get(tier, bad[i], 10, &bytes, &err), TB_EINVAL);
			cr_assert_eq(tier->stat(tier, bad[i], &size, &err), TB_EINVAL);
			cr_assert_eq(tier->remove(tier, bad[i], &err), TB_EINVAL);
		}
		lists(tier, "", "");
	}
}

Test(tier, a_large_object_comes_back_whole)
{
	each_tier(tier) {
		tb_buf bytes = { 0 }, large = { 0 };
		for (uint32_t i = 0; i < 1000000; i++)
			tb_buf_append(&large, &i, sizeof(i));
		must(tier->put(tier, "objects/ff/large", tb_buf_span(&large), &err));
		must(tier->get(tier, "objects/ff/large", large.size, &bytes, &err));
		cr_assert(tb_span_equal(tb_buf_span(&bytes), tb_buf_span(&large)));
		tb_buf_drop(&bytes);
		tb_buf_drop(&large);
	}
}

Test(tier, addresses_that_are_not_served_are_told)
{
	tb_tier *tier;
	cr_assert_eq(tb_tier_open(tb_disk_system(), "s3://bucket/prefix", 1, &tier, &err), TB_EUNSUPPORTED);
	cr_assert_eq(tb_tier_open(tb_disk_system(), "ftp://host/x", 1, &tier, &err), TB_EINVAL);
	cr_assert_eq(tb_tier_open(tb_disk_system(), "file://", 1, &tier, &err), TB_EINVAL);
	cr_assert_eq(tb_tier_open(tb_disk_system(), "", 1, &tier, &err), TB_EINVAL);
	tb_tier_close(NULL);
}

/* Of directories alone */

/* The real disk, but the n-th write, sync, rename or sync of a directory fails. */
static tb_disk breaking;
static int calls_left, calls;

static tb_rc spend(tb_err *why)
{
	calls++;
	return calls_left-- > 0 ? TB_OK : tb_fail(why, TB_ENOSPACE, "no room");
}
static tb_rc break_write(tb_disk *disk, tb_file *file, uint64_t offset, const void *data, size_t size, tb_err *why)
{
	(void)disk;
	tb_disk *real = tb_disk_system();
	if (spend(why) == TB_OK)
		return real->write(real, file, offset, data, size, why);
	real->write(real, file, offset, data, size / 2, NULL);
	return TB_ENOSPACE;
}
static tb_rc break_sync(tb_disk *disk, tb_file *file, tb_err *why)
{
	(void)disk;
	return spend(why) == TB_OK ? tb_disk_system()->sync(tb_disk_system(), file, why) : TB_ENOSPACE;
}
static tb_rc break_rename(tb_disk *disk, const char *from, const char *to, tb_err *why)
{
	(void)disk;
	return spend(why) == TB_OK ? tb_disk_system()->rename(tb_disk_system(), from, to, why) : TB_ENOSPACE;
}
static tb_rc break_sync_dir(tb_disk *disk, const char *path, tb_err *why)
{
	(void)disk;
	return spend(why) == TB_OK ? tb_disk_system()->sync_dir(tb_disk_system(), path, why) : TB_ENOSPACE;
}

static tb_tier *breaking_tier(void)
{
	tb_tier *tier;
	breaking = *tb_disk_system();
	calls_left = 1000000;
	breaking.write = break_write;
	breaking.sync = break_sync;
	breaking.rename = break_rename;
	breaking.sync_dir = break_sync_dir;
	must(tb_tier_open(&breaking, below("tier"), 1, &tier, &err));
	return tier;
}

Test(tier, a_put_that_fails_anywhere_leaves_the_whole_object_or_none_and_can_be_repeated)
{
	int failed = 1;
	for (int at = 0; failed; at++) {
		char name[32];
		tb_tier *tier = breaking_tier();
		snprintf(name, sizeof(name), "objects/%02d/x", at);
		calls_left = at;
		failed = tier->put(tier, name, tb_span_text("the bytes"), &err) == TB_ENOSPACE;
		cr_assert(!failed || err.rc == TB_ENOSPACE);
		calls_left = 1000000;
		tb_buf bytes = { 0 };
		tb_rc rc = tier->get(tier, name, 100, &bytes, &err);
		cr_assert(rc == TB_ENOTFOUND || (rc == TB_OK && bytes.size == 9));
		must(tier->put(tier, name, tb_span_text("the bytes"), &err));
		cr_assert(holds(tier, name, "the bytes"));
		tb_buf_drop(&bytes);
		tb_tier_close(tier);
		cr_assert_lt(at, 20);
	}
}

Test(tier, every_new_directory_and_every_name_is_synced)
{
	tb_tier *tier = breaking_tier();
	calls = 0;
	put(tier, "objects/ab/x", "bytes"); /* objects, objects/ab; write, sync, rename, directory */
	cr_assert_eq(calls, 6);
	calls = 0;
	put(tier, "objects/ab/y", "bytes");
	cr_assert_eq(calls, 4);
	calls = 0;
	put(tier, "objects/ab/y", "bytes"); /* there already: its name is synced once more */
	cr_assert_eq(calls, 1);
	tb_tier_close(tier);
	tier = breaking_tier();
	calls = 0;
	put(tier, "objects/ab/z", "bytes"); /* another process: who made the directories may not have synced them */
	cr_assert_eq(calls, 6);
	tb_tier_close(tier);
}

Test(tier, what_is_not_ours_in_a_directory_does_not_show)
{
	tb_tier *tier = fresh(0);
	put(tier, "a/b", "bytes");
	cr_assert_eq(mkdir(below("tier/.snapshot"), 0700), 0);
	cr_assert_eq(mkdir(below("tier/lost+found"), 0700), 0);
	must(tb_disk_write_file(tb_disk_system(), below("tier/lost+found/x"), tb_span_text("x"), 0, &err));
	must(tb_disk_write_file(tb_disk_system(), below("tier/a/.tmp-0123"), tb_span_text("x"), 0, &err));
	must(tb_disk_write_file(tb_disk_system(), below("tier/a/a stray"), tb_span_text("x"), 0, &err));
	lists(tier, "", "a/a stray:1 a/b:5 ");
	tb_tier_close(tier);
}

Test(tier, directories_behind_links_are_entered_and_loops_end)
{
	tb_tier *tier = fresh(0);
	put(tier, "a/b", "bytes");
	cr_assert_eq(mkdir(below("elsewhere"), 0700), 0);
	cr_assert_eq(symlink("../elsewhere", below("tier/objects")), 0);
	put(tier, "objects/ab/x", "bytes");
	lists(tier, "", "a/b:5 objects/ab/x:5 ");
	cr_assert_eq(symlink("..", below("tier/a/loop")), 0);
	tb_buf names = { 0 };
	cr_assert_neq(tier->list(tier, "", print_name, &names, &err), TB_OK);
	tb_buf_drop(&names);
	tb_tier_close(tier);
}

Test(tier, a_directory_that_went_away_is_not_an_empty_repository)
{
	tb_tier *tier = fresh(0);
	tb_buf bytes = { 0 };
	put(tier, "a/b", "bytes");
	cr_assert_eq(rename(below("tier"), below("unplugged")), 0);
	cr_assert_eq(tier->get(tier, "a/b", 100, &bytes, &err), TB_EIO);
	cr_assert_eq(tier->list(tier, "", print_name, &bytes, &err), TB_EIO);
	cr_assert_eq(tier->list(tier, "a", print_name, &bytes, &err), TB_EIO);
	cr_assert_eq(tier->put(tier, "a/c", tb_span_text("x"), &err), TB_EIO);
	cr_assert_eq(rename(below("unplugged"), below("tier")), 0);
	cr_assert(holds(tier, "a/b", "bytes"));
	put(tier, "a/c", "x");
	tb_tier_close(tier);
}

Test(tier, a_directory_removed_beneath_it_is_made_again)
{
	tb_tier *tier = fresh(0);
	put(tier, "a/b", "bytes");
	must(tb_disk_remove_tree(tb_disk_system(), below("tier/a"), &err));
	tb_rc rc = tier->put(tier, "a/b", tb_span_text("bytes"), &err);
	cr_assert(rc == TB_OK || rc == TB_EIO);
	put(tier, "a/b", "bytes");
	tb_tier_close(tier);
}

Test(tier, a_file_is_no_repository)
{
	tb_tier *tier;
	must(tb_disk_write_file(tb_disk_system(), below("file"), tb_span_text("x"), 0, &err));
	cr_assert_eq(tb_tier_open(tb_disk_system(), below("file"), 0, &tier, &err), TB_EINVAL);
	cr_assert_not_null(strstr(err.text, "not a directory"), "%s", err.text);
}

Test(tier, what_goes_while_it_is_listed_does_not_show)
{
	struct fault_disk fault;
	tb_auto(tb_buf_drop) tb_buf names = { 0 };
	tb_tier *tier = fresh(0);
	put(tier, "a", "x");
	tb_tier_close(tier);
	fault_disk_init(&fault, tb_disk_system());
	must(tb_tier_open(&fault.disk, below("tier"), 0, &tier, &err));
	fault_disk_fail(&fault, FAULT_SIZE, 1, TB_ENOTFOUND);
	must(tier->list(tier, "", print_name, &names, &err));
	cr_assert_str_eq(tb_buf_text(&names), "");
	tb_tier_close(tier);
	fault_disk_drop(&fault);
}

Test(tier, names_too_long_to_be_ours_are_damage)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_auto(tb_buf_drop) tb_buf names = { 0 };
	tb_tier *tier = fresh(0);
	tb_buf_print(&path, "%s", below("tier"));
	for (int i = 0; i < 10; i++)
		tb_buf_print(&path, "/%060d", i);
	must(tb_disk_make_path(tb_disk_system(), tb_buf_text(&path), &err));
	cr_assert_eq(tier->list(tier, "", print_name, &names, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "longer than any"), "%s", err.text);
	tb_tier_close(tier);
}
