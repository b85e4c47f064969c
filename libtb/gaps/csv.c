#include "gaps/csv.h"

#include "gaps/day.h"

#define NS 1000000000

/* The next field of a line into `to`, unquoted; moves line behind its comma. ret_more: a comma stood there. */
static tb_rc next_field(tb_span *line, tb_buf *to, int *ret_more, tb_err *err)
{
	size_t at = 0;
	int quoted = line->size > 0 && line->data[0] == '"', closed = !quoted;
	tb_buf_clear(to);
	for (at = (size_t)quoted; at < line->size; at++) {
		uint8_t byte = line->data[at];
		if (quoted && byte == '"') {
			closed = at + 1 >= line->size || line->data[at + 1] != '"';
			if (closed) {
				at++;
				break;
			}
			at++;
		} else if (!quoted && byte == ',') {
			break;
		} else if (!quoted && byte == '"') {
			return tb_fail(err, TB_EINVAL, "there is a quote inside of a field that doesn't begin with one");
		}
		tb_buf_byte(to, byte);
	}
	if (!closed)
		return tb_fail(err, TB_EINVAL, "a quote isn't closed in its line");
	if (at < line->size && line->data[at] != ',')
		return tb_fail(err, TB_EINVAL, "something stands behind a closing quote");
	*ret_more = at < line->size;
	if (line->size > 0)
		*line = tb_span_of(line->data + at + *ret_more, line->size - at - (size_t)*ret_more);
	return TB_OK;
}

typedef tb_rc (*field_fn)(void *context, size_t index, const tb_buf *field, tb_err *err);

static tb_rc each_field(tb_span line, field_fn each, void *context, size_t *ret_count, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf field = { 0 };
	size_t count = 0;
	int more = 1;
	if (line.size > TB_CSV_LINE_MAX)
		return tb_fail(err, TB_EINVAL, "it is longer than %u bytes", TB_CSV_LINE_MAX);
	if (line.size > 0 && line.data[line.size - 1] == '\r')
		line.size--;
	while (more) {
		if (count >= TB_CSV_COLUMNS_MAX)
			return tb_fail(err, TB_EINVAL, "it has more than %u columns", TB_CSV_COLUMNS_MAX);
		tb_rc rc = next_field(&line, &field, &more, err);
		if (rc == TB_OK)
			rc = each(context, count, &field, err);
		if (rc != TB_OK)
			return rc;
		count++;
	}
	*ret_count = count;
	return TB_OK;
}

static tb_rc take_column(void *context, size_t index, const tb_buf *field, tb_err *err)
{
	tb_csv *csv = context;
	size_t *at = NULL;
	if (tb_span_equal(tb_buf_span(field), tb_span_text("time")))
		at = &csv->time_at;
	else if (tb_span_equal(tb_buf_span(field), tb_span_text("symbol")))
		at = &csv->symbol_at;
	if (at != NULL && *at != TB_CSV_NONE)
		return tb_fail(err, TB_EINVAL, "the header names '%.*s' twice", (int)field->size, field->data);
	if (at != NULL)
		*at = index;
	return TB_OK;
}

tb_rc tb_csv_header(tb_span line, tb_csv *ret_csv, tb_err *err)
{
	tb_csv csv = { .time_at = TB_CSV_NONE, .symbol_at = TB_CSV_NONE };
	if (line.size >= 3 && memcmp(line.data, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
		line = tb_span_of(line.data + 3, line.size - 3);
	tb_rc rc = each_field(line, take_column, &csv, &csv.columns, err);
	if (rc != TB_OK)
		return rc;
	if (csv.time_at == TB_CSV_NONE) {
		tb_fail(err, TB_EINVAL, "the header names no column 'time'");
		tb_hint(err, "the first line names the columns, as in time,symbol,open,high,low,close,volume");
		return TB_EINVAL;
	}
	*ret_csv = csv;
	return TB_OK;
}

struct row {
	const tb_csv *csv;
	const tb_zone *naive;
	int64_t time_ns;
	tb_buf *symbol;
};

static tb_rc take_field(void *context, size_t index, const tb_buf *field, tb_err *err)
{
	struct row *row = context;
	if (index == row->csv->time_at)
		return tb_bar_time(tb_buf_span(field), row->naive, &row->time_ns, err);
	if (index == row->csv->symbol_at) {
		tb_buf_clear(row->symbol);
		tb_buf_append_span(row->symbol, tb_buf_span(field));
	}
	return TB_OK;
}

tb_rc tb_csv_row(const tb_csv *csv, tb_span line, const tb_zone *naive, int64_t *ret_time_ns, tb_buf *ret_symbol, tb_err *err)
{
	struct row row = { .csv = csv, .naive = naive, .symbol = ret_symbol };
	size_t columns;
	tb_rc rc = each_field(line, take_field, &row, &columns, err);
	if (rc != TB_OK)
		return rc;
	if (columns != csv->columns)
		return tb_fail(err, TB_EINVAL, "it has %zu columns, and the header %zu", columns, csv->columns);
	*ret_time_ns = row.time_ns;
	return TB_OK;
}

/* Times */

/* Two digits behind `before`, if it stands there (0: nothing does); takes them. */
static int take_two(tb_span *text, char before, int max, int *ret_value)
{
	size_t skip = before != 0;
	int value;
	if (text->size < skip + 2 || (skip && text->data[0] != before) ||
	    !tb_digits(tb_span_of(text->data + skip, 2), &value) || value > max)
		return 0;
	*ret_value = value;
	*text = tb_span_of(text->data + skip + 2, text->size - skip - 2);
	return 1;
}

/* ".123": up to nine digits, as nanoseconds. */
static int take_fraction(tb_span *text, int64_t *ret_ns)
{
	size_t digits = 0;
	int64_t ns = 0;
	if (text->size == 0 || text->data[0] != '.')
		return 1;
	while (digits + 1 < text->size && text->data[digits + 1] >= '0' && text->data[digits + 1] <= '9')
		digits++;
	if (digits == 0 || digits > 9)
		return 0;
	for (size_t i = 0; i < 9; i++)
		ns = ns * 10 + (i < digits ? text->data[i + 1] - '0' : 0);
	*text = tb_span_of(text->data + digits + 1, text->size - digits - 1);
	*ret_ns = ns;
	return 1;
}

/* "+05", "-05:00", "+0530", "Z", and nothing behind. */
static int take_offset(tb_span text, int *ret_offset_s)
{
	int hours, minutes = 0;
	if (text.size == 1 && (text.data[0] == 'Z' || text.data[0] == 'z')) {
		*ret_offset_s = 0;
		return 1;
	}
	int negative = text.data[0] == '-';
	if (!take_two(&text, negative ? '-' : '+', 15, &hours))
		return 0;
	if (text.size > 0 && !take_two(&text, text.data[0] == ':' ? ':' : 0, 59, &minutes))
		return 0;
	*ret_offset_s = (hours * 3600 + minutes * 60) * (negative ? -1 : 1);
	return text.size == 0;
}

static tb_rc place_naive(int64_t local_s, const tb_zone *naive, tb_span text, int64_t *ret_utc_s, tb_err *err)
{
	int64_t instants[2];
	if (naive == NULL) {
		tb_fail(err, TB_EINVAL, "'%.*s' has no offset", (int)text.size, text.data);
		tb_hint(err, "say the zone of such times, as in --zone UTC or --zone America/Bogota");
		return TB_EINVAL;
	}
	int count = tb_zone_utc(naive, local_s, instants);
	if (count != 1)
		return tb_fail(err, TB_EINVAL, "'%.*s' %s in that zone, where a clock was changed: it needs an offset",
		               (int)text.size, text.data, count == 0 ? "never was" : "was twice");
	*ret_utc_s = instants[0];
	return TB_OK;
}

static int take_clock(tb_span *text, int64_t *ret_s, int64_t *ret_ns)
{
	int hour, minute, second = 0;
	if (!take_two(text, 0, 23, &hour) || !take_two(text, ':', 59, &minute))
		return 0;
	if (text->size > 0 && text->data[0] == ':' && (!take_two(text, ':', 59, &second) || !take_fraction(text, ret_ns)))
		return 0;
	*ret_s = hour * 3600 + minute * 60 + second;
	return 1;
}

tb_rc tb_bar_time(tb_span text, const tb_zone *naive, int64_t *ret_time_ns, tb_err *err)
{
	tb_day day;
	int64_t clock_s, utc_s, ns = 0;
	int offset_s = 0;
	tb_span rest = text;
	int valid = text.size >= 16 && text.size <= 40 && (text.data[10] == ' ' || text.data[10] == 'T') &&
	            tb_day_parse(tb_span_of(text.data, 10), &day);
	if (valid) {
		rest = tb_span_of(text.data + 11, text.size - 11);
		valid = take_clock(&rest, &clock_s, &ns) && (rest.size == 0 || take_offset(rest, &offset_s));
	}
	if (!valid)
		return tb_fail(err, TB_EINVAL, "'%.*s' is not a time such as 2026-01-02 13:05:00 or 2026-01-02T13:05:00-05:00",
		               (int)(text.size < 40 ? text.size : 40), text.size ? (const char *)text.data : "");
	utc_s = (int64_t)day * TB_DAY_S + clock_s - offset_s;
	if (rest.size == 0) {
		tb_rc rc = place_naive(utc_s, naive, text, &utc_s, err);
		if (rc != TB_OK)
			return rc;
	}
	*ret_time_ns = utc_s * NS + ns;
	return TB_OK;
}
