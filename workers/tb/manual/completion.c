/* Completion for bash: tables of verbs, options and what stands behind them, as functions, in which completion.bash, which
 * follows them in the installed file, looks things up. */
#include "workers/tb/manual/manual.h"

#include "wire/event.h"

#include <stdio.h>

/* What completes a value, by what help calls it. */
static const struct {
	const char *value, *by;
} values[] = {
	{ "DIR", "dir" },   { "PATH", "dir" }, { "R", "dir" },           { "FILE", "file" },     { "S", "stream" },
	{ "NAME", "stream" }, { "ID", "backup" }, { "K", "kind" }, { "TARGET", "target" }, { "TOPIC", "topic" },
};

static const char *by_of(const char *value)
{
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		if (strcmp(values[i].value, value) == 0)
			return values[i].by;
	return "any";
}

static void put_names(tb_buf *to, const tb_opt *row, const char *between)
{
	tb_opt_spell(to, row->name, TB_FROM_FLAG);
	if (row->letter != '\0')
		tb_buf_print(to, "%s-%c", between, row->letter);
}

static void put_options(tb_buf *to, const tb_opt *rows)
{
	for (; rows != NULL && rows->name != NULL; rows++) {
		tb_buf_byte(to, ' ');
		put_names(to, rows, " ");
	}
}

static void put_words(tb_buf *to, const char *range)
{
	tb_buf_print(to, "words");
	for (; *range != '\0'; range += strcspn(range, "|") + (range[strcspn(range, "|")] == '|'))
		tb_buf_print(to, " %.*s", (int)strcspn(range, "|"), range);
}

/* restore:--stream | restore:-s) echo 'stream' ;; */
static void put_value(tb_buf *to, const char *of, const tb_opt *row)
{
	tb_auto(tb_buf_drop) tb_buf between = { 0 };
	if (tb_opt_value(row) == NULL)
		return;
	tb_buf_print(&between, " | %s:", of);
	tb_buf_print(to, "\t%s:", of);
	put_names(to, row, tb_buf_text(&between));
	tb_buf_print(to, ") echo '");
	if (row->range != NULL && strchr(row->range, '|') != NULL)
		put_words(to, row->range);
	else
		tb_buf_print(to, "%s", by_of(tb_opt_value(row)));
	tb_buf_print(to, "' ;;\n");
}

static void put_values(tb_buf *to, const char *of, const tb_opt *rows)
{
	for (; rows != NULL && rows->name != NULL; rows++)
		put_value(to, of, rows);
}

/* A usage's words that are no option or its value: small letters are typed as they are, capitals are a value. */
static void put_operands(tb_buf *to, const char *usage)
{
	int option = 0;
	while (*usage != '\0') {
		char word[32];
		usage += strspn(usage, " []|.");
		size_t size = strcspn(usage, " []|.");
		snprintf(word, sizeof(word), "%.*s", (int)size, usage);
		usage += size;
		if (size > 0 && word[0] != '-' && !option) {
			int literal = word[0] >= 'a' && word[0] <= 'z';
			tb_buf_print(to, literal ? " %s" : " @%s", literal ? word : by_of(word));
		}
		option = word[0] == '-' && *usage == ' ';
	}
}

static void put_verb_lines(tb_buf *to)
{
	tb_buf_print(to, "_tb_verbs='help");
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++)
		if (verb->run != NULL)
			tb_buf_print(to, " %s", verb->name);
	tb_buf_print(to, "'\n\n# Of a verb, or of a program: its options.\n_tb_options()\n{\n\tcase $1 in\n");
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++) {
		if (verb->run == NULL)
			continue;
		tb_buf_print(to, "\t%s) echo '", verb->name);
		put_options(to, verb->rows);
		put_options(to, tb_common_rows);
		tb_buf_print(to, "' ;;\n");
	}
}

static void put_program_lines(tb_buf *to)
{
	for (const tb_program *program = tb_programs; program->name != NULL; program++) {
		tb_buf_print(to, "\t%s) echo '", program->name);
		put_options(to, program->options);
		for (const tb_opt *const *table = program->settings; table != NULL && *table != NULL; table++)
			put_options(to, *table);
		tb_buf_print(to, "' ;;\n");
	}
	tb_buf_print(to, "\tesac\n}\n\n");
}

static void put_value_lines(tb_buf *to)
{
	tb_buf_print(to, "# VERB:OPTION: what stands behind it; nothing for a flag.\n_tb_value()\n{\n\tcase $1 in\n");
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++)
		if (verb->run != NULL)
			put_values(to, verb->name, verb->rows);
	for (const tb_program *program = tb_programs; program->name != NULL; program++) {
		put_values(to, program->name, program->options);
		for (const tb_opt *const *table = program->settings; table != NULL && *table != NULL; table++)
			put_values(to, program->name, *table);
	}
	put_values(to, "*", tb_common_rows);
	tb_buf_print(to, "\tesac\n}\n\n");
}

static void put_operand_lines(tb_buf *to)
{
	tb_buf_print(to, "# Of a verb: its operands, a word or an @ and what completes it.\n_tb_operands()\n{\n\tcase $1 in\n");
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++) {
		tb_auto(tb_buf_drop) tb_buf operands = { 0 };
		put_operands(&operands, verb->usage);
		if (verb->run != NULL && verb->operands_max > 0 && operands.size > 0)
			tb_buf_print(to, "\t%s) echo '%s' ;;\n", verb->name, tb_buf_text(&operands) + 1);
	}
	tb_buf_print(to, "\tesac\n}\n\n");
}

static void put_kind_line(tb_buf *to)
{
	tb_buf_print(to, "_tb_kinds='");
	for (int kind = TB_EVENT_GHOST; kind <= TB_EVENT_SIGNAL; kind++)
		tb_buf_print(to, kind == TB_EVENT_GHOST ? "%s" : " %s", tb_event_kind_name((tb_event_kind)kind));
	tb_buf_print(to, "'\n");
}

void tb_completion_bash(tb_buf *to)
{
	tb_buf_print(to, "# Completion of tb and its programs, for bash.\n\n");
	put_kind_line(to);
	put_verb_lines(to);
	put_program_lines(to);
	put_value_lines(to);
	put_operand_lines(to);
	tb_buf_print(to, "complete -F _tb tb");
	for (const tb_program *program = tb_programs; program->name != NULL; program++)
		tb_buf_print(to, " %s", program->name);
	tb_buf_print(to, "\n\n");
}
