#include "run/options.h"

#include <stdio.h>
#include <stdlib.h>

static int flag_parse(const char *text, uint64_t *ret_value)
{
	int on = strcmp(text, "true") == 0;
	if (!on && strcmp(text, "false") != 0)
		return 0;
	*ret_value = (uint64_t)on;
	return 1;
}

static void flag_text(tb_buf *to, uint64_t value)
{
	tb_buf_print(to, "%s", value ? "true" : "false");
}

static void uint_text(tb_buf *to, uint64_t value)
{
	tb_buf_print(to, "%llu", (unsigned long long)value);
}

static const struct {
	const char *what; /* it is not … */
	const char *within; /* between what and range */
	const char *hint;
	int (*parse)(const char *text, uint64_t *ret_value);
	void (*print)(tb_buf *to, uint64_t value);
} types[] = {
	[TB_OPT_TEXT] = { "one", " of ", NULL, NULL, NULL },
	[TB_OPT_FLAG] = { "true or false", " of ", NULL, flag_parse, flag_text },
	[TB_OPT_UINT] = { "a whole number", " in ", NULL, tb_uint_parse, uint_text },
	[TB_OPT_SIZE] = { "a size", " in ", "sizes are written as 512, 64KiB, 8MiB or 2GiB", tb_size_parse, tb_size_text },
	[TB_OPT_SPAN] = { "a length of time", " in ", "lengths of time are written as 250us, 1ms, 30s, 5min, 1h or 7d",
	                  tb_span_parse, tb_span_text_ns },
};

static void *field_of(const tb_options *options, const tb_opt *row)
{
	return (char *)options->target + row->offset;
}

/* Reads "LOW..HIGH" in the row's own units. 0: it isn't that. */
static int range_parse(const tb_opt *row, uint64_t *ret_low, uint64_t *ret_high)
{
	const char *dots = strstr(row->range, "..");
	char low[32];
	if (dots == NULL || (size_t)(dots - row->range) >= sizeof(low))
		return 0;
	snprintf(low, sizeof(low), "%.*s", (int)(dots - row->range), row->range);
	return types[row->type].parse(low, ret_low) && types[row->type].parse(dots + 2, ret_high) && *ret_low <= *ret_high;
}

static int is_choice(const char *choices, const char *text)
{
	size_t size = strlen(text);
	for (const char *at = choices;; at++) {
		size_t width = strcspn(at, "|");
		if (width == size && memcmp(at, text, size) == 0)
			return 1;
		at += width;
		if (*at == '\0')
			return 0;
	}
}

/* May the row have this text? value: what it means, 0 of a text. */
static int value_parse(const tb_opt *row, const char *text, uint64_t *ret_value)
{
	uint64_t value = 0, low, high;
	if (row->type == TB_OPT_TEXT) {
		if (row->range != NULL && !is_choice(row->range, text))
			return 0;
	} else {
		if (!types[row->type].parse(text, &value))
			return 0;
		if (row->range != NULL && (!range_parse(row, &low, &high) || value < low || value > high))
			return 0;
	}
	*ret_value = value;
	return 1;
}

static void value_store(const tb_options *options, const tb_opt *row, const char *text, uint64_t value)
{
	void *field = field_of(options, row);
	if (row->type == TB_OPT_TEXT) {
		char *copy = tb_strdup(text);
		free(*(char **)field);
		*(char **)field = copy;
	} else if (row->type == TB_OPT_FLAG) {
		*(int *)field = (int)value;
	} else {
		*(uint64_t *)field = value;
	}
}

static tb_rc refuse_value(const tb_opt *row, const char *text, tb_opt_source source, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	tb_opt_spell(&name, row->name, source);
	tb_fail(err, TB_EINVAL, "%s: \"%.100s\" is not %s%s%.100s", tb_buf_text(&name), text, types[row->type].what,
	        row->range ? types[row->type].within : "", row->range ? row->range : "");
	if (types[row->type].hint != NULL)
		tb_hint(err, "%s", types[row->type].hint);
	return TB_EINVAL;
}

static tb_rc row_set(tb_options *options, int index, const char *text, tb_opt_source source, tb_err *err)
{
	const tb_opt *row = &options->rows[index];
	uint64_t value;
	if (row->cli_only && (source == TB_FROM_FILE || source == TB_FROM_ENV))
		return tb_fail(err, TB_EINVAL, "%s can be set on the command line only", row->name);
	if (!value_parse(row, text, &value))
		return refuse_value(row, text, source, err);
	if (source < options->sources[index])
		return TB_OK;
	value_store(options, row, text, value);
	options->sources[index] = source;
	return TB_OK;
}

static void check_table(const tb_opt *row, tb_rc rc, const tb_err *err)
{
	uint64_t low, high;
	int has_bounds = row->range != NULL && row->type != TB_OPT_TEXT;
	if (rc == TB_OK && (!has_bounds || range_parse(row, &low, &high)))
		return;
	fprintf(stderr, "tradebank: the table of options is wrong at %s: %s\n", row->name,
	        rc == TB_OK ? "its range" : err->text);
	abort();
}

void tb_options_init(tb_options *options, const tb_opt *rows, void *target)
{
	*options = (tb_options){ .rows = rows, .target = target };
	while (rows[options->count].name != NULL)
		options->count++;
	options->sources = tb_alloc_zero((size_t)options->count, sizeof(*options->sources));
	for (int i = 0; i < options->count; i++) {
		tb_err err;
		tb_rc rc = TB_OK;
		if (rows[i].type == TB_OPT_TEXT)
			*(char **)field_of(options, &rows[i]) = NULL;
		else
			value_store(options, &rows[i], NULL, 0);
		if (rows[i].fallback != NULL)
			rc = row_set(options, i, rows[i].fallback, TB_FROM_DEFAULT, &err);
		check_table(&rows[i], rc, &err);
	}
}

void tb_options_drop(tb_options *options)
{
	if (options == NULL)
		return;
	for (int i = 0; i < options->count; i++)
		if (options->rows[i].type == TB_OPT_TEXT) {
			char **field = field_of(options, &options->rows[i]);
			free(*field);
			*field = NULL;
		}
	free(options->sources);
	*options = (tb_options){ 0 };
}

/* The row of that name, the first `size` letters of it; '.' is written as joint. -1: none. */
static int row_find(const tb_options *options, const char *name, size_t size, char joint)
{
	for (int i = 0; i < options->count; i++) {
		const char *row = options->rows[i].name;
		size_t same = 0;
		while (same < size && row[same] != '\0' && name[same] == (row[same] == '.' ? joint : row[same]))
			same++;
		if (same == size && row[same] == '\0')
			return i;
	}
	return -1;
}

tb_rc tb_options_set(tb_options *options, const char *name, const char *text, tb_opt_source source, tb_err *err)
{
	int index = row_find(options, name, strlen(name), '.');
	if (index < 0)
		return tb_opt_unknown((const tb_opt *const[]){ options->rows, NULL }, name, TB_FROM_FILE, TB_ENOTFOUND, err);
	return row_set(options, index, text, source, err);
}

tb_rc tb_options_env(tb_options *options, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	tb_rc rc = TB_OK;
	for (int i = 0; i < options->count && rc == TB_OK; i++) {
		tb_buf_clear(&name);
		tb_opt_spell(&name, options->rows[i].name, TB_FROM_ENV);
		const char *text = options->rows[i].cli_only ? NULL : getenv(tb_buf_text(&name));
		if (text != NULL && *text != '\0')
			rc = row_set(options, i, text, TB_FROM_ENV, err);
	}
	return rc;
}

typedef struct reading {
	tb_options *options;
	int argc, next; /* next: the first argument not yet read */
	char **argv;
} reading;

/* Sets a row from what stands behind its name: joined to it, or the next argument, or nothing for a flag. */
static tb_rc take_value(reading *from, int index, const char *joined, tb_err *err)
{
	const tb_opt *row = &from->options->rows[index];
	if (joined == NULL && row->type == TB_OPT_FLAG)
		joined = "true";
	if (joined == NULL && from->next < from->argc)
		joined = from->argv[from->next++];
	if (joined != NULL)
		return row_set(from->options, index, joined, TB_FROM_FLAG, err);
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	tb_opt_spell(&name, row->name, TB_FROM_FLAG);
	return tb_fail(err, TB_EINVAL, "%s wants a value behind it", tb_buf_text(&name));
}

static tb_rc take_long(reading *from, const char *text, tb_err *err)
{
	size_t size = strcspn(text, "=");
	int index = row_find(from->options, text, size, '-');
	if (index >= 0)
		return take_value(from, index, text[size] == '=' ? text + size + 1 : NULL, err);
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	tb_buf_append(&name, text, size);
	const tb_opt *const tables[] = { from->options->rows, NULL };
	return tb_opt_unknown(tables, tb_buf_text(&name), TB_FROM_FLAG, TB_EINVAL, err);
}

static int letter_find(const tb_options *options, char letter)
{
	for (int i = 0; i < options->count; i++)
		if (options->rows[i].letter == letter)
			return i;
	return -1;
}

static tb_rc take_letters(reading *from, const char *letters, tb_err *err)
{
	tb_rc rc = TB_OK;
	for (; *letters != '\0' && rc == TB_OK; letters++) {
		int index = letter_find(from->options, *letters);
		if (index < 0)
			return tb_fail(err, TB_EINVAL, "there is no option -%c", *letters);
		if (from->options->rows[index].type != TB_OPT_FLAG)
			return take_value(from, index, letters[1] != '\0' ? letters + 1 : NULL, err);
		rc = take_value(from, index, NULL, err);
	}
	return rc;
}

tb_rc tb_options_args(tb_options *options, int argc, char **argv, int *ret_operands, tb_err *err)
{
	reading from = { options, argc, 1, argv };
	int operands = 0, ended = 0;
	while (from.next < argc) {
		char *arg = argv[from.next++];
		tb_rc rc = TB_OK;
		if (ended || arg[0] != '-' || arg[1] == '\0')
			argv[++operands] = arg;
		else if (arg[1] != '-')
			rc = take_letters(&from, arg + 1, err);
		else if (arg[2] != '\0')
			rc = take_long(&from, arg + 2, err);
		else
			ended = 1;
		if (rc != TB_OK)
			return rc;
	}
	*ret_operands = operands;
	return TB_OK;
}

tb_opt_source tb_options_source(const tb_options *options, const char *name)
{
	int index = row_find(options, name, strlen(name), '.');
	return index < 0 ? TB_FROM_DEFAULT : options->sources[index];
}

void tb_options_text(const tb_options *options, const tb_opt *row, tb_buf *to)
{
	const void *field = field_of(options, row);
	if (row->type != TB_OPT_TEXT)
		types[row->type].print(to, row->type == TB_OPT_FLAG ? *(const int *)field != 0 : *(const uint64_t *)field);
	else if (*(char *const *)field != NULL)
		tb_buf_append_span(to, tb_span_text(*(char *const *)field));
}
