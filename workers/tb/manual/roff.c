#include "workers/tb/manual/manual.h"

#include <ctype.h>

/* One character of UTF-8 as roff writes it, so that no page depends on anybody's locale. Returns its size. */
static size_t put_wide(tb_buf *to, const char *text)
{
	const uint8_t *at = (const uint8_t *)text;
	size_t size = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
	uint32_t code = at[0] & (0xffu >> (size + 1));
	for (size_t i = 1; i < size; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return i; /* not UTF-8 */
		code = code << 6 | (at[i] & 0x3f);
	}
	tb_buf_print(to, "\\[u%04X]", (unsigned)code);
	return size;
}

/* Hyphens and quotes stay what they are typed as, so that examples can be copied; nothing is taken for a request. */
static void put(tb_buf *to, const char *text)
{
	static const struct {
		char from;
		const char *to;
	} escapes[] = { { '\\', "\\e" }, { '-', "\\-" }, { '\'', "\\(aq" }, { '`', "\\(ga" }, { '^', "\\(ha" }, { '~', "\\(ti" } };
	if (*text == '.')
		tb_buf_print(to, "\\&");
	while (*text != '\0') {
		size_t i = 0;
		if ((uint8_t)*text >= 0x80) {
			text += put_wide(to, text);
			continue;
		}
		while (i < sizeof(escapes) / sizeof(*escapes) && escapes[i].from != *text)
			i++;
		if (i < sizeof(escapes) / sizeof(*escapes))
			tb_buf_print(to, "%s", escapes[i].to);
		else
			tb_buf_byte(to, (uint8_t)*text);
		text++;
	}
}

static void put_upper(tb_buf *to, const char *text)
{
	for (; *text != '\0'; text++)
		tb_buf_byte(to, (uint8_t)toupper((unsigned char)*text));
}

static void put_bold(tb_buf *to, const char *text)
{
	tb_buf_print(to, "\\fB");
	put(to, text);
	tb_buf_print(to, "\\fR");
}

static void put_value(tb_buf *to, const char *text)
{
	tb_buf_print(to, "\\fI");
	put(to, text);
	tb_buf_print(to, "\\fR");
}

/* "A sentence. Another one." as it stands behind a name: "a sentence". */
static void put_summary(tb_buf *to, const char *text)
{
	tb_auto(tb_buf_drop) tb_buf copy = { 0 };
	const char *end = strstr(text, ". ");
	size_t size = end != NULL ? (size_t)(end - text) : strlen(text);
	tb_buf_append(&copy, text, size > 0 && text[size - 1] == '.' ? size - 1 : size);
	if (copy.size > 0)
		copy.data[0] = (uint8_t)tolower(copy.data[0]);
	put(to, tb_buf_text(&copy));
}

void roff_title(tb_buf *to, const char *name, int section, const char *summary)
{
	tb_buf_print(to, ".TH ");
	put_upper(to, name);
	tb_buf_print(to, " %d \"\" \"Tradebank " TB_VERSION "\" \"Tradebank\"\n.ad l\n.SH NAME\n", section);
	put(to, name);
	tb_buf_print(to, " \\- ");
	put_summary(to, summary);
	tb_buf_byte(to, '\n');
}

void roff_section(tb_buf *to, const char *heading)
{
	tb_buf_print(to, ".SH %s\n", heading);
}

void roff_subsection(tb_buf *to, const char *heading)
{
	tb_buf_print(to, ".SS ");
	put(to, heading);
	tb_buf_byte(to, '\n');
}

void roff_text(tb_buf *to, const char *text)
{
	tb_buf_print(to, ".PP\n");
	put(to, text);
	tb_buf_byte(to, '\n');
}

void roff_usage(tb_buf *to, const char *program, const char *usage)
{
	tb_buf_print(to, ".PP\n");
	put_bold(to, program);
	if (*usage != '\0') {
		tb_buf_byte(to, ' ');
		put(to, usage);
	}
	tb_buf_byte(to, '\n');
}

void roff_example(tb_buf *to, const char *lines)
{
	tb_buf_print(to, ".PP\n.RS 4\n.EX\n");
	put(to, lines);
	tb_buf_print(to, "\n.EE\n.RE\n");
}

void roff_item(tb_buf *to, const char *term, const char *text)
{
	tb_buf_print(to, ".TP\n");
	put_bold(to, term);
	tb_buf_byte(to, '\n');
	put(to, text);
	tb_buf_byte(to, '\n');
}

static void put_help(tb_buf *to, const tb_opt *row)
{
	tb_auto(tb_buf_drop) tb_buf bounds = { 0 };
	tb_opt_bounds(row, &bounds);
	put(to, row->help);
	if (bounds.size > 0) {
		tb_buf_print(to, " (");
		put(to, tb_buf_text(&bounds));
		tb_buf_byte(to, ')');
	}
	tb_buf_byte(to, '\n');
}

void roff_option(tb_buf *to, const tb_opt *row)
{
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	char letter[] = { '-', row->letter, '\0' };
	tb_buf_print(to, ".TP\n");
	if (row->letter != '\0') {
		put_bold(to, letter);
		tb_buf_print(to, ", ");
	}
	tb_opt_spell(&name, row->name, TB_FROM_FLAG);
	put_bold(to, tb_buf_text(&name));
	if (tb_opt_value(row) != NULL) {
		tb_buf_byte(to, ' ');
		put_value(to, tb_opt_value(row));
	}
	tb_buf_byte(to, '\n');
	put_help(to, row);
}

void roff_setting(tb_buf *to, const tb_opt *row)
{
	tb_auto(tb_buf_drop) tb_buf variable = { 0 };
	tb_opt_spell(&variable, row->name, TB_FROM_ENV);
	tb_buf_print(to, ".TP\n");
	put_bold(to, row->name);
	tb_buf_print(to, ": ");
	put_value(to, tb_opt_value(row) != NULL ? tb_opt_value(row) : "true|false");
	tb_buf_byte(to, '\n');
	put_help(to, row);
	tb_buf_print(to, "Environment: ");
	put_bold(to, tb_buf_text(&variable));
	tb_buf_print(to, ".\n");
}
