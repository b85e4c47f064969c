#include "run/options.h"

#include <ctype.h>

#define NAME_LENGTH_MAX 64u
#define HELP_COLUMN 28u
#define HELP_WIDTH 80u

/* Largest first: the first that divides is the one to print. */
typedef struct unit {
	const char *name;
	uint64_t factor;
} unit;

static const unit size_units[] = {
	{ "PiB", UINT64_C(1) << 50 },
	{ "PB", UINT64_C(1000000000000000) },
	{ "TiB", UINT64_C(1) << 40 },
	{ "TB", UINT64_C(1000000000000) },
	{ "GiB", UINT64_C(1) << 30 },
	{ "GB", UINT64_C(1000000000) },
	{ "MiB", UINT64_C(1) << 20 },
	{ "MB", UINT64_C(1000000) },
	{ "KiB", UINT64_C(1) << 10 },
	{ "KB", UINT64_C(1000) },
	{ "", 1 },
	{ "B", 1 },
	{ NULL, 0 },
};

static const unit span_units[] = {
	{ "y", UINT64_C(365) * 86400 * 1000000000 },
	{ "d", UINT64_C(86400) * 1000000000 },
	{ "h", UINT64_C(3600) * 1000000000 },
	{ "min", UINT64_C(60) * 1000000000 },
	{ "s", UINT64_C(1000000000) },
	{ "ms", UINT64_C(1000000) },
	{ "us", UINT64_C(1000) },
	{ "ns", 1 },
	{ NULL, 0 },
};

/* Where the digits end; NULL: there are none, or they don't fit. */
static const char *read_digits(const char *text, uint64_t *ret_value)
{
	uint64_t value = 0;
	const char *at = text;
	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(value, 10u, &value) || __builtin_add_overflow(value, *at - '0', &value))
			return NULL;
	if (at == text)
		return NULL;
	*ret_value = value;
	return at;
}

static int quantity_parse(const unit *units, const char *text, uint64_t *ret_value)
{
	uint64_t count, value;
	const char *name = read_digits(text, &count);
	if (name == NULL)
		return 0;
	while (units->name != NULL && strcmp(units->name, name) != 0)
		units++;
	if (units->name == NULL && (count != 0 || *name != '\0'))
		return 0;
	if (__builtin_mul_overflow(count, units->factor, &value))
		return 0;
	*ret_value = value;
	return 1;
}

static void quantity_text(const unit *units, tb_buf *to, uint64_t value)
{
	if (value == 0) {
		tb_buf_byte(to, '0');
		return;
	}
	while (value % units->factor != 0)
		units++; /* ends at the unit of one */
	tb_buf_print(to, "%llu%s", (unsigned long long)(value / units->factor), units->name);
}

int tb_uint_parse(const char *text, uint64_t *ret_value)
{
	uint64_t value;
	const char *end = read_digits(text, &value);
	if (end == NULL || *end != '\0')
		return 0;
	*ret_value = value;
	return 1;
}

int tb_size_parse(const char *text, uint64_t *ret_bytes)
{
	return quantity_parse(size_units, text, ret_bytes);
}

int tb_span_parse(const char *text, uint64_t *ret_ns)
{
	return quantity_parse(span_units, text, ret_ns);
}

void tb_size_text(tb_buf *to, uint64_t bytes)
{
	quantity_text(size_units, to, bytes);
}

void tb_span_text_ns(tb_buf *to, uint64_t ns)
{
	quantity_text(span_units, to, ns);
}

/* How each source writes names. */
static const struct {
	const char *word;
	const char *prefix;
	char joint; /* for '.' and '-'; 0: as they are */
	int capitals;
} sources[] = {
	[TB_FROM_DEFAULT] = { "default", "", 0, 0 },
	[TB_FROM_FILE] = { "file", "", 0, 0 },
	[TB_FROM_ENV] = { "environment", "TB_", '_', 1 },
	[TB_FROM_FLAG] = { "command line", "--", '-', 0 },
};

const char *tb_options_source_name(tb_opt_source source)
{
	return sources[source].word;
}

void tb_opt_spell(tb_buf *to, const char *name, tb_opt_source source)
{
	tb_buf_append_span(to, tb_span_text(sources[source].prefix));
	for (; *name != '\0'; name++) {
		int letter = (unsigned char)*name;
		if (sources[source].joint && (letter == '.' || letter == '-'))
			letter = sources[source].joint;
		tb_buf_byte(to, (uint8_t)(sources[source].capitals ? toupper(letter) : letter));
	}
}

static int fold(char letter)
{
	return letter == '.' || letter == '_' ? '-' : tolower((unsigned char)letter);
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Levenshtein's distance, with one row of his table: row[j] is what it takes to make a, as far as read, of b's first j
 * letters. */
size_t tb_name_distance(const char *a, const char *b)
{
	size_t row[NAME_LENGTH_MAX + 1], height = strlen(a), width = strlen(b);
	if (height > NAME_LENGTH_MAX || width > NAME_LENGTH_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= width; j++)
		row[j] = j;
	for (size_t i = 0; i < height; i++) {
		size_t corner = row[0]++;
		for (size_t j = 1; j <= width; j++) {
			size_t changed = corner + (fold(a[i]) != fold(b[j - 1]));
			corner = row[j];
			row[j] = least(changed, least(row[j], row[j - 1]) + 1);
		}
	}
	return row[width] <= 1 + height / 4 ? row[width] : SIZE_MAX;
}

static const tb_opt *find_nearest(const tb_opt *const *tables, const char *name, tb_opt_source source)
{
	const tb_opt *nearest = NULL;
	size_t distance = SIZE_MAX;
	for (; *tables != NULL; tables++)
		for (const tb_opt *row = *tables; row->name != NULL; row++) {
			size_t this = row->cli_only && source != TB_FROM_FLAG ? SIZE_MAX : tb_name_distance(name, row->name);
			if (this < distance) {
				distance = this;
				nearest = row;
			}
		}
	return nearest;
}

tb_rc tb_opt_unknown(const tb_opt *const *tables, const char *name, tb_opt_source source, tb_rc rc, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_opt_spell(&text, name, source);
	tb_fail(err, rc, "there is no option %.100s", tb_buf_text(&text));
	const tb_opt *nearest = find_nearest(tables, name, source);
	if (nearest != NULL) {
		tb_buf_clear(&text);
		tb_opt_spell(&text, nearest->name, source);
		tb_hint(err, "did you mean %s?", tb_buf_text(&text));
	}
	return rc;
}

/* Starts a line if one is begun, and goes to the column where explanations stand. */
static void go_to_help(tb_buf *to, size_t column, int fresh)
{
	if (fresh)
		tb_buf_byte(to, '\n');
	tb_buf_print(to, "%*s", (int)(HELP_COLUMN - (fresh ? 0 : column)), "");
}

static void wrap_words(tb_buf *to, size_t column, const char *text)
{
	go_to_help(to, column, column + 2 > HELP_COLUMN);
	column = HELP_COLUMN;
	while (*text != '\0') {
		size_t size = strcspn(text, " ");
		if (column > HELP_COLUMN && column + 1 + size > HELP_WIDTH) {
			go_to_help(to, column, 1);
			column = HELP_COLUMN;
		} else if (column > HELP_COLUMN) {
			tb_buf_byte(to, ' ');
			column++;
		}
		tb_buf_append(to, text, size);
		column += size;
		text += size + strspn(text + size, " ");
	}
	tb_buf_byte(to, '\n');
}

const char *tb_opt_value(const tb_opt *row)
{
	static const char *const words[] = {
		[TB_OPT_TEXT] = "TEXT", [TB_OPT_FLAG] = NULL,   [TB_OPT_UINT] = "N",
		[TB_OPT_SIZE] = "SIZE", [TB_OPT_SPAN] = "TIME",
	};
	return row->value != NULL ? row->value : words[row->type];
}

void tb_opt_bounds(const tb_opt *row, tb_buf *to)
{
	int defaulted = row->fallback != NULL && (row->type != TB_OPT_FLAG || strcmp(row->fallback, "true") == 0);
	if (row->range != NULL)
		tb_buf_print(to, "%s%s", row->range, defaulted ? ", " : "");
	if (defaulted)
		tb_buf_print(to, "default %s", row->fallback);
}

static void help_row(const tb_opt *row, tb_buf *to)
{
	size_t start = to->size;
	tb_buf_print(to, row->letter ? "  -%c, " : "   %c  ", row->letter ? row->letter : ' ');
	tb_opt_spell(to, row->name, TB_FROM_FLAG);
	if (tb_opt_value(row) != NULL)
		tb_buf_print(to, " %s", tb_opt_value(row));
	tb_auto(tb_buf_drop) tb_buf text = { 0 }, bounds = { 0 };
	tb_opt_bounds(row, &bounds);
	tb_buf_print(&text, bounds.size > 0 ? "%s (%s)" : "%s", row->help, tb_buf_text(&bounds));
	wrap_words(to, to->size - start, tb_buf_text(&text));
}

void tb_options_help(const tb_opt *rows, tb_buf *to)
{
	for (; rows->name != NULL; rows++)
		help_row(rows, to);
}
