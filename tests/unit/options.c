#include "run/options.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

typedef struct sample {
	char *dir;
	char *sync;
	int json, quiet;
	uint64_t workers, limit, keep;
} sample;

static const tb_opt rows[] = {
	{ "dir", 'd', TB_OPT_TEXT, offsetof(sample, dir), NULL, NULL, "DIR", "The instance's directory.", 1 },
	{ "json", 0, TB_OPT_FLAG, offsetof(sample, json), NULL, NULL, NULL, "Print JSON.", 1 },
	{ "quiet", 'q', TB_OPT_FLAG, offsetof(sample, quiet), "false", NULL, NULL, "Say nothing unasked.", 0 },
	{ "workers", 'w', TB_OPT_UINT, offsetof(sample, workers), "2", "1..64", NULL, "How many work at once.", 0 },
	{ "journal.limit", 'l', TB_OPT_SIZE, offsetof(sample, limit), "4GiB", "1MiB..1TiB", NULL,
	  "How large the journal may become before the broker stops granting windows to publishers.", 0 },
	{ "journal.keep", 0, TB_OPT_SPAN, offsetof(sample, keep), "7d", "1h..1y", "DURATION",
	  "How long a segment stays after every reader has passed it.", 0 },
	{ "journal.sync", 0, TB_OPT_TEXT, offsetof(sample, sync), "batch", "batch|always", NULL, "When to sync.", 0 },
	{ 0 },
};

static const tb_opt other_rows[] = {
	{ "sealer.level", 0, TB_OPT_UINT, 0, "1", "1..19", NULL, "zstd's level.", 0 },
	{ "sealer.passphrase", 0, TB_OPT_TEXT, 0, NULL, NULL, NULL, "Not for files.", 1 },
	{ 0 },
};

static const tb_opt *const known[] = { rows, other_rows, NULL };

static sample got;
static tb_options options;
static tb_err err;
static char dir[] = "/tmp/tb-options-XXXXXX";
static char path[64];

static void set_up(void)
{
	memset(&got, 0xa5, sizeof(got));
	tb_options_init(&options, rows, &got);
}

static void tear_down(void)
{
	tb_options_drop(&options);
#ifdef __SANITIZE_ADDRESS__
	if (__lsan_do_recoverable_leak_check())
		abort(); /* the process ends without the check that would see it */
#endif
}

static void set_up_file(void)
{
	set_up();
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/tb.yaml", dir);
}

static void tear_down_file(void)
{
	unlink(path);
	rmdir(dir);
	tear_down();
}

TestSuite(options, .init = set_up, .fini = tear_down);
TestSuite(options_file, .init = set_up_file, .fini = tear_down_file);

static void assert_failed(tb_rc rc, tb_rc wanted, const char *text, const char *hint)
{
	cr_assert_eq(rc, wanted, "%s", tb_rc_name(rc));
	cr_assert_eq(err.rc, wanted);
	cr_assert_str_eq(err.text, text);
	cr_assert_str_eq(err.hint, hint);
}

static tb_rc read_text(const void *text, size_t size)
{
	FILE *file = fopen(path, "wb");
	cr_assert_not_null(file);
	cr_assert_eq(fwrite(text, 1, size, file), size);
	cr_assert_eq(fclose(file), 0);
	memset(&err, 0, sizeof(err));
	return tb_options_file(&options, path, known, &err);
}

static void assert_file_refused(const char *text, const char *wanted, const char *hint)
{
	char whole[400];
	tb_rc rc = read_text(text, strlen(text));
	snprintf(whole, sizeof(whole), "%s:%s", path, wanted);
	assert_failed(rc, TB_EINVAL, whole, hint);
}

#define ARGS(...) \
	char *argv[] = { "program", __VA_ARGS__, NULL }; \
	int argc = (int)(sizeof(argv) / sizeof(*argv)) - 1, operands = -1; \
	tb_rc rc = tb_options_args(&options, argc, argv, &operands, &err)

static const struct {
	const char *text;
	int is;
	uint64_t value;
	const char *back;
} sizes[] = {
	{ "0", 1, 0, "0" },
	{ "512", 1, 512, "512" },
	{ "1B", 1, 1, "1" },
	{ "64KiB", 1, 65536, "64KiB" },
	{ "8MiB", 1, 8388608, "8MiB" },
	{ "2GiB", 1, UINT64_C(2147483648), "2GiB" },
	{ "1024MiB", 1, UINT64_C(1073741824), "1GiB" },
	{ "3KB", 1, 3000, "3KB" },
	{ "5MB", 1, 5000000, "5MB" },
	{ "7GB", 1, UINT64_C(7000000000), "7GB" },
	{ "1TiB", 1, UINT64_C(1099511627776), "1TiB" },
	{ "1000001", 1, 1000001, "1000001" },
	{ "18446744073709551615", 1, UINT64_MAX, "18446744073709551615" },
	{ "18446744073709551616", 0, 0, NULL },
	{ "16383PiB", 1, UINT64_C(16383) << 50, "16383PiB" },
	{ "16384PiB", 0, 0, NULL },
	{ "99999999999999999999999999999999KiB", 0, 0, NULL },
	{ "", 0, 0, NULL },
	{ "KiB", 0, 0, NULL },
	{ "-1", 0, 0, NULL },
	{ "+1", 0, 0, NULL },
	{ " 1", 0, 0, NULL },
	{ "1 ", 0, 0, NULL },
	{ "1 KiB", 0, 0, NULL },
	{ "1.5GiB", 0, 0, NULL },
	{ "0x10", 0, 0, NULL },
	{ "4Gb", 0, 0, NULL },
	{ "4G", 0, 0, NULL },
	{ "1KiBs", 0, 0, NULL },
};

Test(options, sizes_are_read_whole_and_printed_in_their_largest_unit)
{
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint64_t value = 77;
		tb_auto(tb_buf_drop) tb_buf back = { 0 };
		cr_expect_eq(tb_size_parse(sizes[i].text, &value), sizes[i].is, "%s", sizes[i].text);
		cr_expect_eq(value, sizes[i].is ? sizes[i].value : 77, "%s", sizes[i].text);
		tb_size_text(&back, value);
		if (sizes[i].is)
			cr_expect_str_eq(tb_buf_text(&back), sizes[i].back);
	}
}

static const struct {
	const char *text;
	int is;
	uint64_t value;
	const char *back;
} spans[] = {
	{ "0", 1, 0, "0" },
	{ "0s", 1, 0, "0" },
	{ "1ns", 1, 1, "1ns" },
	{ "250us", 1, 250000, "250us" },
	{ "1ms", 1, 1000000, "1ms" },
	{ "30s", 1, UINT64_C(30000000000), "30s" },
	{ "90s", 1, UINT64_C(90000000000), "90s" },
	{ "5min", 1, UINT64_C(300000000000), "5min" },
	{ "60min", 1, UINT64_C(3600000000000), "1h" },
	{ "24h", 1, UINT64_C(86400000000000), "1d" },
	{ "7d", 1, UINT64_C(604800000000000), "7d" },
	{ "1y", 1, UINT64_C(31536000000000000), "1y" },
	{ "584y", 1, UINT64_C(584) * 31536000000000000, "584y" },
	{ "585y", 0, 0, NULL },
	{ "18446744073709551616ns", 0, 0, NULL },
	{ "5", 0, 0, NULL },
	{ "5m", 0, 0, NULL },
	{ "5 s", 0, 0, NULL },
	{ "-5s", 0, 0, NULL },
	{ "s", 0, 0, NULL },
	{ "", 0, 0, NULL },
};

Test(options, lengths_of_time_are_read_whole_and_printed_in_their_largest_unit)
{
	for (size_t i = 0; i < sizeof(spans) / sizeof(*spans); i++) {
		uint64_t value = 77;
		tb_auto(tb_buf_drop) tb_buf back = { 0 };
		cr_expect_eq(tb_span_parse(spans[i].text, &value), spans[i].is, "%s", spans[i].text);
		cr_expect_eq(value, spans[i].is ? spans[i].value : 77, "%s", spans[i].text);
		tb_span_text_ns(&back, value);
		if (spans[i].is)
			cr_expect_str_eq(tb_buf_text(&back), spans[i].back);
	}
}

Test(options, defaults_stand_whatever_the_struct_held)
{
	cr_assert_null(got.dir);
	cr_assert_eq(got.json, 0);
	cr_assert_eq(got.quiet, 0);
	cr_assert_eq(got.workers, 2);
	cr_assert_eq(got.limit, UINT64_C(4) << 30);
	cr_assert_eq(got.keep, UINT64_C(604800000000000));
	cr_assert_str_eq(got.sync, "batch");
	cr_assert_eq(tb_options_source(&options, "journal.limit"), TB_FROM_DEFAULT);
}

static void init_with(const tb_opt *row)
{
	const tb_opt table[] = { *row, { 0 } };
	tb_options other;
	sample target;
	tb_options_init(&other, table, &target);
}

Test(options, a_default_outside_its_own_range_ends_the_process, .signal = SIGABRT)
{
	init_with(&(tb_opt){ "port", 0, TB_OPT_UINT, offsetof(sample, workers), "0", "1..65535", NULL, "A port.", 0 });
}

Test(options, a_range_that_is_none_ends_the_process, .signal = SIGABRT)
{
	init_with(&(tb_opt){ "port", 0, TB_OPT_UINT, offsetof(sample, workers), NULL, "9..1", NULL, "A port.", 0 });
}

Test(options, both_ends_of_a_range_belong_to_it)
{
	cr_assert_eq(tb_options_set(&options, "workers", "1", TB_FROM_FLAG, &err), TB_OK);
	cr_assert_eq(tb_options_set(&options, "workers", "64", TB_FROM_FLAG, &err), TB_OK);
	cr_assert_eq(tb_options_set(&options, "workers", "0", TB_FROM_FLAG, &err), TB_EINVAL);
	cr_assert_eq(tb_options_set(&options, "workers", "65", TB_FROM_FLAG, &err), TB_EINVAL);
	cr_assert_eq(got.workers, 64);
}

Test(options, a_refusal_names_option_text_and_what_is_allowed)
{
	assert_failed(tb_options_set(&options, "journal.limit", "4Gb", TB_FROM_FLAG, &err), TB_EINVAL,
	              "--journal-limit: \"4Gb\" is not a size in 1MiB..1TiB",
	              "sizes are written as 512, 64KiB, 8MiB or 2GiB");
	assert_failed(tb_options_set(&options, "journal.keep", "1min", TB_FROM_ENV, &err), TB_EINVAL,
	              "TB_JOURNAL_KEEP: \"1min\" is not a length of time in 1h..1y",
	              "lengths of time are written as 250us, 1ms, 30s, 5min, 1h or 7d");
	assert_failed(tb_options_set(&options, "journal.sync", "often", TB_FROM_FILE, &err), TB_EINVAL,
	              "journal.sync: \"often\" is not one of batch|always", "");
	assert_failed(tb_options_set(&options, "quiet", "1", TB_FROM_FILE, &err), TB_EINVAL,
	              "quiet: \"1\" is not true or false", "");
	assert_failed(tb_options_set(&options, "workers", "-1", TB_FROM_FILE, &err), TB_EINVAL,
	              "workers: \"-1\" is not a whole number in 1..64", "");
	cr_assert_eq(got.limit, UINT64_C(4) << 30);
	cr_assert_str_eq(got.sync, "batch");
}

Test(options, a_choice_is_taken_whole_only)
{
	const char *const wrong[] = { "", "bat", "batch|", "batch|always", "alway", "alwayss", "|" };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		cr_expect_eq(tb_options_set(&options, "journal.sync", wrong[i], TB_FROM_FLAG, &err), TB_EINVAL, "%s", wrong[i]);
	cr_assert_eq(tb_options_set(&options, "journal.sync", "always", TB_FROM_FLAG, &err), TB_OK);
	cr_assert_str_eq(got.sync, "always");
}

Test(options, an_unknown_name_is_not_found_and_hints_at_the_nearest)
{
	assert_failed(tb_options_set(&options, "jornal.limt", "1GiB", TB_FROM_FILE, &err), TB_ENOTFOUND,
	              "there is no option jornal.limt", "did you mean journal.limit?");
	assert_failed(tb_options_set(&options, "colour", "red", TB_FROM_FILE, &err), TB_ENOTFOUND,
	              "there is no option colour", "");
}

Test(options, distance_counts_letters_and_gives_up_on_strangers)
{
	char longest[66];
	memset(longest, 'x', sizeof(longest));
	longest[65] = '\0';
	cr_assert_eq(tb_name_distance("restore", "restore"), 0);
	cr_assert_eq(tb_name_distance("restor", "restore"), 1);
	cr_assert_eq(tb_name_distance("restrore", "restore"), 1);
	cr_assert_eq(tb_name_distance("resotre", "restore"), 2);
	cr_assert_eq(tb_name_distance("Journal_Limit", "journal.limit"), 0);
	cr_assert_eq(tb_name_distance("up", "down"), SIZE_MAX);
	cr_assert_eq(tb_name_distance("", "restore"), SIZE_MAX);
	cr_assert_eq(tb_name_distance(longest, longest), SIZE_MAX);
	cr_assert_eq(tb_name_distance(longest + 1, longest + 1), 0);
}

Test(options, a_weaker_source_never_wins_whenever_it_comes)
{
	cr_assert_eq(tb_options_set(&options, "workers", "7", TB_FROM_FLAG, &err), TB_OK);
	cr_assert_eq(tb_options_set(&options, "workers", "6", TB_FROM_ENV, &err), TB_OK);
	cr_assert_eq(tb_options_set(&options, "workers", "5", TB_FROM_FILE, &err), TB_OK);
	cr_assert_eq(got.workers, 7);
	cr_assert_eq(tb_options_source(&options, "workers"), TB_FROM_FLAG);
	cr_assert_eq(tb_options_set(&options, "workers", "many", TB_FROM_FILE, &err), TB_EINVAL);
}

Test(options, the_environment_sets_what_it_names)
{
	setenv("TB_JOURNAL_LIMIT", "2MiB", 1);
	setenv("TB_WORKERS", "", 1);
	setenv("TB_DIR", "/not/for/the/environment", 1);
	setenv("TB_OF_NOBODY", "1", 1);
	cr_assert_eq(tb_options_env(&options, &err), TB_OK);
	cr_assert_eq(got.limit, 2097152);
	cr_assert_eq(tb_options_source(&options, "journal.limit"), TB_FROM_ENV);
	cr_assert_eq(got.workers, 2);
	cr_assert_null(got.dir);
	setenv("TB_WORKERS", "all", 1);
	assert_failed(tb_options_env(&options, &err), TB_EINVAL, "TB_WORKERS: \"all\" is not a whole number in 1..64", "");
}

Test(options, every_way_to_write_an_argument_works)
{
	ARGS("one", "--journal-limit", "2MiB", "-w3", "two", "--journal-keep=2h", "-q", "-d", "-here", "--json", "-");
	cr_assert_eq(rc, TB_OK, "%s", err.text);
	cr_assert_eq(got.limit, 2097152);
	cr_assert_eq(got.workers, 3);
	cr_assert_eq(got.keep, UINT64_C(7200000000000));
	cr_assert_eq(got.quiet, 1);
	cr_assert_eq(got.json, 1);
	cr_assert_str_eq(got.dir, "-here");
	cr_assert_eq(operands, 3);
	cr_assert_str_eq(argv[0], "program");
	cr_assert_str_eq(argv[1], "one");
	cr_assert_str_eq(argv[2], "two");
	cr_assert_str_eq(argv[3], "-");
}

Test(options, letters_can_stand_together_and_the_last_may_have_a_value)
{
	ARGS("-qw", "9", "--quiet=false");
	cr_assert_eq(rc, TB_OK, "%s", err.text);
	cr_assert_eq(got.workers, 9);
	cr_assert_eq(got.quiet, 0);
	cr_assert_eq(operands, 0);
}

Test(options, behind_two_dashes_all_are_operands)
{
	ARGS("-q", "--", "--json", "--", "-w");
	cr_assert_eq(rc, TB_OK);
	cr_assert_eq(operands, 3);
	cr_assert_str_eq(argv[1], "--json");
	cr_assert_str_eq(argv[2], "--");
	cr_assert_str_eq(argv[3], "-w");
	cr_assert_eq(got.json, 0);
}

Test(options, no_arguments_are_no_mistake)
{
	int operands = -1;
	cr_assert_eq(tb_options_args(&options, 0, NULL, &operands, &err), TB_OK);
	cr_assert_eq(operands, 0);
}

Test(options, an_unknown_argument_hints_at_the_nearest)
{
	ARGS("--journal-limits=2GiB");
	assert_failed(rc, TB_EINVAL, "there is no option --journal-limits", "did you mean --journal-limit?");
	cr_assert_eq(operands, -1);
}

Test(options, an_unknown_letter_is_named)
{
	ARGS("-qx");
	assert_failed(rc, TB_EINVAL, "there is no option -x", "");
}

Test(options, a_name_is_written_with_dashes_on_the_command_line)
{
	ARGS("--journal.limit", "2MiB");
	assert_failed(rc, TB_EINVAL, "there is no option --journal-limit", "did you mean --journal-limit?");
}

Test(options, a_missing_value_is_named)
{
	ARGS("one", "--journal-limit");
	assert_failed(rc, TB_EINVAL, "--journal-limit wants a value behind it", "");
}

Test(options, what_is_printed_is_what_set_reads)
{
	const char *const texts[][2] = {
		{ "dir", "/a b" },
		{ "quiet", "true" },
		{ "workers", "64" },
		{ "journal.limit", "1500KB" },
		{ "journal.keep", "90min" },
		{ "journal.sync", "always" },
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		tb_auto(tb_buf_drop) tb_buf text = { 0 };
		const tb_opt *row = rows;
		while (strcmp(row->name, texts[i][0]) != 0)
			row++;
		cr_assert_eq(tb_options_set(&options, texts[i][0], texts[i][1], TB_FROM_FLAG, &err), TB_OK, "%s", err.text);
		tb_options_text(&options, row, &text);
		cr_expect_str_eq(tb_buf_text(&text), texts[i][1]);
	}
}

Test(options, a_text_that_is_not_set_prints_as_nothing)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_options_text(&options, &rows[0], &text);
	cr_assert_eq(text.size, 0);
}

Test(options, sources_have_names)
{
	cr_assert_str_eq(tb_options_source_name(TB_FROM_DEFAULT), "default");
	cr_assert_str_eq(tb_options_source_name(TB_FROM_FILE), "file");
	cr_assert_str_eq(tb_options_source_name(TB_FROM_ENV), "environment");
	cr_assert_str_eq(tb_options_source_name(TB_FROM_FLAG), "command line");
}

Test(options, help_has_a_row_each_within_eighty_columns)
{
	tb_auto(tb_buf_drop) tb_buf help = { 0 };
	tb_options_help(rows, &help);
	cr_assert_str_eq(tb_buf_text(&help),
	                 "  -d, --dir DIR             The instance's directory.\n"
	                 "      --json                Print JSON.\n"
	                 "  -q, --quiet               Say nothing unasked.\n"
	                 "  -w, --workers N           How many work at once. (1..64, default 2)\n"
	                 "  -l, --journal-limit SIZE  How large the journal may become before the broker\n"
	                 "                            stops granting windows to publishers. (1MiB..1TiB,\n"
	                 "                            default 4GiB)\n"
	                 "      --journal-keep DURATION\n"
	                 "                            How long a segment stays after every reader has\n"
	                 "                            passed it. (1h..1y, default 7d)\n"
	                 "      --journal-sync TEXT   When to sync. (batch|always, default batch)\n");
}

Test(options, dropping_nothing_is_fine)
{
	tb_options_drop(NULL);
	tb_options_drop(&(tb_options){ 0 });
}

static const char whole_file[] = "# an instance\n"
                                 "workers: 8\n"
                                 "journal:\n"
                                 "  limit: \"2GiB\"\n"
                                 "  keep: 30d\n"
                                 "  sync: always\n"
                                 "sealer: {level: 99}\n"
                                 "quiet: true\n";

Test(options_file, nested_names_are_read_and_others_options_passed_over)
{
	cr_assert_eq(read_text(whole_file, strlen(whole_file)), TB_OK, "%s", err.text);
	cr_assert_eq(got.workers, 8);
	cr_assert_eq(got.limit, UINT64_C(2) << 30);
	cr_assert_eq(got.keep, UINT64_C(30) * 86400 * 1000000000);
	cr_assert_str_eq(got.sync, "always");
	cr_assert_eq(got.quiet, 1);
	cr_assert_eq(tb_options_source(&options, "journal.keep"), TB_FROM_FILE);
	cr_assert_eq(tb_options_source(&options, "dir"), TB_FROM_DEFAULT);
}

Test(options_file, without_a_list_only_the_own_rows_are_known)
{
	cr_assert_eq(read_text(whole_file, strlen(whole_file)), TB_OK);
	tb_rc rc = tb_options_file(&options, path, NULL, &err);
	cr_assert_eq(rc, TB_EINVAL);
	cr_assert_not_null(strstr(err.text, ":7: there is no option sealer.level"));
}

Test(options_file, nothing_in_it_changes_nothing)
{
	const char *const empty[] = {
		"", "# only words\n", "{}\n", "journal:\n  # limit: 1GiB\n", "workers:\n",
	};
	for (size_t i = 0; i < sizeof(empty) / sizeof(*empty); i++)
		cr_expect_eq(read_text(empty[i], strlen(empty[i])), TB_OK, "%s: %s", empty[i], err.text);
	cr_assert_eq(got.workers, 2);
	cr_assert_eq(tb_options_source(&options, "workers"), TB_FROM_DEFAULT);
}

Test(options_file, a_missing_file_is_not_found)
{
	cr_assert_eq(tb_options_file(&options, path, known, &err), TB_ENOTFOUND);
	cr_assert_not_null(strstr(err.text, path));
}

Test(options_file, a_complaint_has_file_and_line)
{
	assert_file_refused("workers: 3\njournal:\n  limit: 4Gb\n", "3: journal.limit: \"4Gb\" is not a size in 1MiB..1TiB",
	                    "sizes are written as 512, 64KiB, 8MiB or 2GiB");
	assert_file_refused("journal:\n\n  limt: 4GiB\n", "3: there is no option journal.limt",
	                    "did you mean journal.limit?");
	assert_file_refused("sealer:\n  levle: 4\n", "2: there is no option sealer.levle", "did you mean sealer.level?");
	assert_file_refused("journal: 7\n", "1: there is no option journal", "");
	assert_file_refused("colour:\n", "1: there is no option colour", "");
	assert_file_refused("workers: 3\nworkers: 4\n", "2: this is given for the second time", "");
	assert_file_refused("journal: {limit: 1GiB}\njournal.limit: 2GiB\n", "2: this is given for the second time", "");
	assert_file_refused("dir: /tmp\n", "1: dir can be set on the command line only", "");
	assert_file_refused("sealer:\n  passphrase: x\n", "2: there is no option sealer.passphrase", "");
}

Test(options_file, only_maps_of_plain_values_are_taken)
{
	const char *const list = "1: an option has one plain value: no list, alias or deeper map";
	assert_file_refused("workers: [1, 2]\n", list, "");
	assert_file_refused("workers: *w\n", list, "");
	assert_file_refused("a: {a: {a: {a: {a: {a: {a: {a: {a: 1}}}}}}}}\n", list, "");
	assert_file_refused("[workers]: 3\n", "1: the name of an option was expected here", "");
	assert_file_refused("just words\n", "1: options were expected here, as \"name: value\"", "");
	assert_file_refused("workers: 3\n---\nworkers: 4\n",
	                    "2: a second document begins here; one is all that is read", "");
	assert_file_refused("journal:\n  sync: \"batch\\0\"\n", "2: a value has a NUL in it", "");
	assert_file_refused("\"workers\\0\": 1\n", "1: a name has a NUL in it", "");
}

Test(options_file, what_is_not_yaml_has_its_line)
{
	assert_file_refused("workers: 3\n\tquiet: true\n",
	                    "2: this is not YAML: found a tab character that violates indentation", "");
	assert_file_refused("workers: 3\n\njournal.sync: b\xff\n", "3: this is not YAML: invalid leading UTF-8 octet", "");
}

Test(options_file, a_file_without_bounds_is_refused)
{
	size_t size = 1024 * 1024 + 1;
	char *text = tb_alloc(size);
	memset(text, '#', size);
	cr_assert_eq(read_text(text, size), TB_EINVAL);
	cr_assert_eq(read_text(text, size - 1), TB_OK, "%s", err.text);
	free(text);
}

/* Any bytes give either options or a complaint with file and line, never anything else. */
static void assert_read_or_refused(const char *text, size_t size)
{
	tb_rc rc = read_text(text, size);
	cr_assert(rc == TB_OK || (rc == TB_EINVAL && strncmp(err.text, path, strlen(path)) == 0), "%s", err.text);
	cr_assert(got.workers >= 1 && got.workers <= 64 && got.limit >= 1048576);
}

Test(options_file, cut_anywhere_it_is_read_or_refused)
{
	for (size_t size = 0; size < sizeof(whole_file); size++)
		assert_read_or_refused(whole_file, size);
}

Test(options_file, with_any_bit_flipped_it_is_read_or_refused)
{
	char text[sizeof(whole_file)];
	for (size_t bit = 0; bit < 8 * (sizeof(whole_file) - 1); bit++) {
		memcpy(text, whole_file, sizeof(text));
		text[bit / 8] ^= (char)(1 << bit % 8);
		assert_read_or_refused(text, sizeof(whole_file) - 1);
	}
}
