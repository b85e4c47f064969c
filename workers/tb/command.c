/* From a command line to a verb's call, and from its result to an exit code. */
#include "workers/tb/tb.h"

#include <stdio.h>
#include <stdlib.h>

#define OWN_ROWS_MAX 24

struct common {
	char *dir;
	int json, help;
};

const tb_opt tb_common_rows[] = {
	{ "dir", 'd', TB_OPT_TEXT, offsetof(struct common, dir), NULL, NULL, "DIR",
	  "The instance's directory; also TB_DIR in the environment.", 0 },
	{ "json", 'j', TB_OPT_FLAG, offsetof(struct common, json), NULL, NULL, NULL,
	  "Print JSON: one object, or one a line.", 1 },
	{ "help", 'h', TB_OPT_FLAG, offsetof(struct common, help), NULL, NULL, NULL, "This text.", 1 },
	{ 0 },
};

enum { COMMON_COUNT = sizeof(tb_common_rows) / sizeof(*tb_common_rows) }; /* with the one that ends them */

/* A verb's own rows and everybody's as one table over one block: the common struct, then the verb's. */
struct merged {
	tb_opt rows[OWN_ROWS_MAX + COMMON_COUNT];
	void *block;
	tb_options options;
};

static struct common *common_of(const struct merged *merged)
{
	return merged->block;
}

static void *own_of(const struct merged *merged)
{
	return (char *)merged->block + sizeof(struct common);
}

static void merged_init(struct merged *merged, const tb_verb *verb)
{
	size_t count = 0;
	for (const tb_opt *row = verb->rows; row != NULL && row->name != NULL && count < OWN_ROWS_MAX; row++) {
		merged->rows[count] = *row;
		merged->rows[count++].offset += sizeof(struct common);
	}
	memcpy(merged->rows + count, tb_common_rows, sizeof(tb_common_rows));
	merged->block = tb_alloc_zero(1, sizeof(struct common) + verb->options_size);
	tb_options_init(&merged->options, merged->rows, merged->block);
}

static void merged_drop(struct merged *merged)
{
	tb_options_drop(&merged->options);
	free(merged->block);
}

static void print_help(const tb_verb *verb, const tb_opt *rows)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_buf_print(&text, "usage: tb %s%s%s\n\n%s\n", verb->name, *verb->usage ? " " : "", verb->usage, verb->summary);
	if (verb->run == NULL)
		tb_buf_print(&text, "This verb is not in this version.\n");
	tb_buf_byte(&text, '\n');
	tb_options_help(rows, &text);
	tb_buf_print(&text, "\nexample: %s\n", verb->example);
	fputs(tb_buf_text(&text), stdout);
}

static void print_absent(tb_buf *to)
{
	size_t column = 0;
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++) {
		if (verb->run != NULL)
			continue;
		if (column == 0 || column + 1 + strlen(verb->name) > 78) {
			tb_buf_print(to, "\n ");
			column = 1;
		}
		tb_buf_print(to, " %s", verb->name);
		column += 1 + strlen(verb->name);
	}
}

static void print_overview(FILE *to)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_buf_print(&text, "usage: tb VERB [OPTION]...\n\n");
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++)
		if (verb->run != NULL)
			tb_buf_print(&text, "  %-9s %s\n", verb->name, verb->summary);
	tb_buf_print(&text, "\nnot in this version:");
	print_absent(&text);
	tb_buf_print(&text, "\n\n--dir DIR or TB_DIR names the instance. `tb VERB --help` shows an example.\n");
	fputs(tb_buf_text(&text), to);
}

char *tb_args_join(const char *name, int *argc, char **argv)
{
	tb_auto(tb_buf_drop) tb_buf joined = { 0 };
	size_t size = strlen(name);
	int kept = 1, at = 1, first = 0;
	while (at < *argc && strcmp(argv[at], "--") != 0) {
		char *arg = argv[at++];
		int named = strncmp(arg, "--", 2) == 0 && strncmp(arg + 2, name, size) == 0;
		char *value = NULL;
		if (named && arg[2 + size] == '=')
			value = arg + 3 + size;
		else if (named && arg[2 + size] == '\0' && at < *argc)
			value = argv[at++];
		if (value == NULL) {
			argv[kept++] = arg;
			continue;
		}
		if (first == 0)
			first = kept++;
		tb_buf_print(&joined, joined.size ? ",%s" : "%s", value);
	}
	while (at < *argc)
		argv[kept++] = argv[at++];
	*argc = kept;
	if (first == 0)
		return NULL;
	tb_auto(tb_buf_drop) tb_buf whole = { 0 };
	tb_buf_print(&whole, "--%s=%s", name, tb_buf_text(&joined));
	return argv[first] = tb_strdup(tb_buf_text(&whole));
}

static tb_rc refuse_operand(const tb_verb *verb, const char *operand, tb_err *err)
{
	tb_fail(err, TB_EINVAL, "'%.100s' is too much here", operand);
	tb_hint(err, "usage: tb %s %s", verb->name, verb->usage);
	return TB_EINVAL;
}

static tb_rc parse(struct merged *merged, tb_call *call, int argc, char **argv, tb_err *err)
{
	int operands;
	tb_rc rc = tb_options_args(&merged->options, argc, argv, &operands, err);
	if (rc == TB_OK)
		rc = tb_options_env(&merged->options, err);
	if (rc == TB_OK && !common_of(merged)->help && operands > call->verb->operands_max)
		rc = refuse_operand(call->verb, argv[1 + call->verb->operands_max], err);
	if (rc != TB_OK)
		return rc;
	call->dir = common_of(merged)->dir;
	call->json = common_of(merged)->json;
	call->options = own_of(merged);
	call->operands = argv + 1;
	call->operand_count = operands;
	return TB_OK;
}

/* Results that nobody got are no results: a full disk behind `>` must not look like success. */
static tb_rc check_output(tb_err *err)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return TB_OK;
	return tb_fail(err, TB_EIO, "can't write to stdout");
}

static int wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return 1;
	return 0;
}

static tb_rc run_verb(tb_call *call, int argc, char **argv, tb_err *err)
{
	struct merged merged;
	if (call->verb->run == NULL && !wants_help(argc, argv))
		return tb_not_yet("this verb", err);
	char *joined = call->verb->repeated != NULL ? tb_args_join(call->verb->repeated, &argc, argv) : NULL;
	merged_init(&merged, call->verb);
	tb_rc rc = TB_OK;
	if (wants_help(argc, argv)) {
		print_help(call->verb, merged.rows);
	} else {
		rc = parse(&merged, call, argc, argv, err);
		if (rc == TB_OK)
			rc = tb_keys_init(err);
		if (rc == TB_OK)
			rc = call->verb->run(call, err);
	}
	tb_err unwritten;
	if (check_output(&unwritten) != TB_OK && rc == TB_OK) {
		*err = unwritten;
		rc = unwritten.rc;
	}
	merged_drop(&merged);
	free(joined);
	return rc;
}

tb_rc tb_name_unknown(const char *what, const char *name, const char *const *names, const char *before, tb_err *err)
{
	const char *nearest = NULL;
	size_t distance = SIZE_MAX;
	for (; *names != NULL; names++)
		if (tb_name_distance(name, *names) < distance) {
			distance = tb_name_distance(name, *names);
			nearest = *names;
		}
	tb_fail(err, TB_EINVAL, "there is no %s '%.100s'", what, name);
	if (nearest != NULL)
		tb_hint(err, "did you mean `%s%s`?", before, nearest);
	return TB_EINVAL;
}

tb_rc tb_not_yet(const char *what, tb_err *err)
{
	tb_fail(err, TB_EUNSUPPORTED, "%s is not in this version", what);
	tb_hint(err, "`tb --help` lists what is");
	return TB_EUNSUPPORTED;
}

void tb_print_failure(const char *verb, const tb_err *err)
{
	fprintf(stderr, "tb%s%s: %s\n", *verb ? " " : "", verb, err->text);
	if (err->hint[0] != '\0')
		fprintf(stderr, "hint: %s\n", err->hint);
}

static int unknown_verb(const char *name)
{
	const char *names[64];
	size_t count = 0;
	tb_err err;
	for (const tb_verb *verb = tb_verbs; verb->name != NULL && count < 63; verb++)
		names[count++] = verb->name;
	names[count] = NULL;
	tb_name_unknown("verb", name, names, "tb ", &err);
	if (err.hint[0] == '\0')
		tb_hint(&err, "`tb --help` lists them");
	tb_print_failure("", &err);
	return tb_rc_exit(err.rc);
}

static int is_one_of(const char *text, const char *a, const char *b, const char *c)
{
	return strcmp(text, a) == 0 || strcmp(text, b) == 0 || strcmp(text, c) == 0;
}

int tb_command(int argc, char **argv)
{
	static char help[] = "--help";
	if (argc < 2) {
		print_overview(stderr);
		return tb_rc_exit(TB_EINVAL);
	}
	if (is_one_of(argv[1], "version", "--version", "-V")) {
		printf("tb %s\n", TB_VERSION);
		return 0;
	}
	int asked = is_one_of(argv[1], "help", "--help", "-h");
	if (asked && argc < 3) {
		print_overview(stdout);
		return 0;
	}
	tb_call call = { .disk = tb_disk_system(), .clock = tb_clock_system(), .verb = tb_verb_find(argv[1 + asked]) };
	if (call.verb == NULL)
		return unknown_verb(argv[1 + asked]);
	if (asked)
		argv[2] = help; /* `tb help VERB` is `tb VERB --help` */
	tb_err err = { 0 };
	tb_rc rc = run_verb(&call, argc - 1, argv + 1, &err);
	if (rc != TB_OK)
		tb_print_failure(call.verb->name, &err);
	return rc == TB_OK ? call.exit : tb_rc_exit(rc);
}
