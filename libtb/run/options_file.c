/* tb.yaml: nested maps of scalars, read event by event, so that each complaint has its line. */
#include "base/disk.h"
#include "run/options.h"

#include <yaml.h>

#define FILE_SIZE_MAX (1024u * 1024)
#define DEPTH_MAX 8

typedef struct reading {
	tb_options *options;
	const tb_opt *const *known;
	const char *path;
	tb_span text;
	yaml_parser_t parser;
	yaml_event_t event; /* the present one */
	tb_buf name; /* of the value that is being read: the keys on the way to it, joined by '.' */
	tb_buf seen; /* names that have been given, each with its NUL */
} reading;

/* Puts file and line before what is wrong; keeps its hint. */
static tb_rc fail_at(const reading *from, size_t line, const tb_err *what, tb_err *err)
{
	tb_fail(err, TB_EINVAL, "%.150s:%zu: %.220s", from->path, line, what->text);
	if (what->hint[0] != '\0')
		tb_hint(err, "%s", what->hint);
	return TB_EINVAL;
}

static tb_rc fail_here(const reading *from, const char *what, tb_err *err)
{
	tb_err why;
	tb_fail(&why, TB_EINVAL, "%s", what);
	return fail_at(from, from->event.start_mark.line + 1, &why, err);
}

/* Bytes that aren't text have an offset, all other mistakes a line. */
static size_t mistake_line(const reading *from)
{
	if (from->parser.error != YAML_READER_ERROR)
		return from->parser.problem_mark.line + 1;
	size_t line = 1;
	for (size_t i = 0; i < from->parser.problem_offset && i < from->text.size; i++)
		line += from->text.data[i] == '\n';
	return line;
}

static tb_rc next_event(reading *from, tb_err *err)
{
	yaml_event_delete(&from->event);
	if (yaml_parser_parse(&from->parser, &from->event))
		return TB_OK;
	tb_err why;
	tb_fail(&why, TB_EINVAL, "this is not YAML: %s", from->parser.problem ? from->parser.problem : "it can't be read");
	return fail_at(from, mistake_line(from), &why, err);
}

/* How well do the tables know this name: 2 an option, 1 the beginning of one's name, 0 not. */
static int know_name(const tb_opt *const *tables, const char *name)
{
	size_t size = strlen(name);
	int best = 0;
	for (; *tables != NULL; tables++)
		for (const tb_opt *row = *tables; row->name != NULL; row++) {
			if (row->cli_only || strncmp(row->name, name, size) != 0)
				continue;
			if (row->name[size] == '\0')
				return 2;
			if (row->name[size] == '.')
				best = 1;
		}
	return best;
}

/* A name twice would leave one of its values without effect, in silence. */
static int seen_before(reading *from, const char *name)
{
	for (size_t at = 0; at < from->seen.size; at += strlen((const char *)from->seen.data + at) + 1)
		if (strcmp((const char *)from->seen.data + at, name) == 0)
			return 1;
	tb_buf_append(&from->seen, name, strlen(name) + 1);
	return 0;
}

static int is_own(const reading *from, const char *name)
{
	const tb_opt *row = from->options->rows;
	while (row->name != NULL && strcmp(row->name, name) != 0)
		row++;
	return row->name != NULL;
}

static tb_rc take_value(reading *from, tb_err *err)
{
	const char *name = tb_buf_text(&from->name);
	const char *text = (const char *)from->event.data.scalar.value;
	size_t line = from->event.start_mark.line + 1;
	int nothing = *text == '\0' && from->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	int own = is_own(from, name), known = own ? 2 : know_name(from->known, name);
	tb_err why;
	if (known == 0 || (known == 1 && !nothing)) {
		tb_opt_unknown(from->known, name, TB_FROM_FILE, TB_EINVAL, &why);
		return fail_at(from, line, &why, err);
	}
	if (strlen(text) != from->event.data.scalar.length)
		return fail_here(from, "a value has a NUL in it", err);
	if (seen_before(from, name))
		return fail_here(from, "this is given for the second time", err);
	if (!own || nothing || tb_options_set(from->options, name, text, TB_FROM_FILE, &why) == TB_OK)
		return TB_OK;
	return fail_at(from, line, &why, err);
}

static tb_rc take_key(reading *from, size_t prefix, tb_err *err)
{
	const yaml_event_t *event = &from->event;
	if (event->type != YAML_SCALAR_EVENT)
		return fail_here(from, "the name of an option was expected here", err);
	const char *key = (const char *)event->data.scalar.value;
	if (strlen(key) != event->data.scalar.length)
		return fail_here(from, "a name has a NUL in it", err);
	from->name.size = prefix;
	if (prefix > 0)
		tb_buf_byte(&from->name, '.');
	tb_buf_append(&from->name, key, event->data.scalar.length);
	return next_event(from, err);
}

/* The present event begins the map; afterwards it is the one that ends it. */
static tb_rc take_map(reading *from, int depth, tb_err *err)
{
	size_t prefix = from->name.size;
	tb_rc rc = next_event(from, err);
	while (rc == TB_OK && from->event.type != YAML_MAPPING_END_EVENT) {
		rc = take_key(from, prefix, err);
		if (rc != TB_OK)
			return rc;
		if (from->event.type == YAML_SCALAR_EVENT)
			rc = take_value(from, err);
		else if (from->event.type == YAML_MAPPING_START_EVENT && depth < DEPTH_MAX)
			rc = take_map(from, depth + 1, err);
		else
			rc = fail_here(from, "an option has one plain value: no list, alias or deeper map", err);
		if (rc == TB_OK)
			rc = next_event(from, err);
	}
	return rc;
}

static tb_rc take_file(reading *from, tb_err *err)
{
	tb_rc rc = next_event(from, err); /* the stream's start */
	if (rc == TB_OK)
		rc = next_event(from, err);
	if (rc != TB_OK || from->event.type == YAML_STREAM_END_EVENT)
		return rc; /* nothing but comments */
	rc = next_event(from, err);
	if (rc == TB_OK && from->event.type != YAML_MAPPING_START_EVENT)
		return fail_here(from, "options were expected here, as \"name: value\"", err);
	if (rc == TB_OK)
		rc = take_map(from, 1, err);
	if (rc == TB_OK)
		rc = next_event(from, err); /* the document's end */
	if (rc == TB_OK)
		rc = next_event(from, err);
	if (rc == TB_OK && from->event.type != YAML_STREAM_END_EVENT)
		rc = fail_here(from, "a second document begins here; one is all that is read", err);
	return rc;
}

tb_rc tb_options_file(tb_options *options, const char *path, const tb_opt *const *known, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_rc rc = tb_disk_read_file(tb_disk_system(), path, FILE_SIZE_MAX, &text, err);
	if (rc != TB_OK)
		return rc;
	const tb_opt *const own[] = { options->rows, NULL };
	reading from = { .options = options, .known = known ? known : own, .path = path, .text = tb_buf_span(&text) };
	if (!yaml_parser_initialize(&from.parser))
		return tb_fail(err, TB_ENOMEM, "no memory to read %s", path);
	yaml_parser_set_input_string(&from.parser, text.data, text.size);
	rc = take_file(&from, err);
	yaml_event_delete(&from.event);
	yaml_parser_delete(&from.parser);
	tb_buf_drop(&from.name);
	tb_buf_drop(&from.seen);
	return rc;
}
