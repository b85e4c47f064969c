#include "gaps_room.h"

#include "gaps/csv.h"
#include "leaks.h"

TestSuite(gaps_csv, .fini = fail_on_leaks);

static const tb_zone *zone_of(const char *name)
{
	const tb_zone *zone = NULL;
	if (name != NULL)
		cr_assert_eq(tb_zone_find(name, &zone, NULL), TB_OK);
	return zone;
}

static const struct {
	const char *text, *zone, *instant; /* NULL: refused */
} times[] = {
	{ "2026-01-02 13:05:00", "UTC", "2026-01-02T13:05:00Z" },
	{ "2026-01-02T13:05", "UTC", "2026-01-02T13:05:00Z" },
	{ "2026-01-02 08:05:00", "America/Bogota", "2026-01-02T13:05:00Z" },
	{ "2026-07-02 09:30:00", "America/New_York", "2026-07-02T13:30:00Z" },
	{ "2026-01-02 13:05:00+00", NULL, "2026-01-02T13:05:00Z" },
	{ "2026-01-02 13:05:00+00:00", "America/Bogota", "2026-01-02T13:05:00Z" },
	{ "2026-01-02T08:05:00-05:00", NULL, "2026-01-02T13:05:00Z" },
	{ "2026-01-02 18:35:00+0530", NULL, "2026-01-02T13:05:00Z" },
	{ "2026-01-02 13:05:00.999999999Z", NULL, "2026-01-02T13:05:00.999999999Z" },
	{ "2026-01-02 13:05:00.5", "UTC", "2026-01-02T13:05:00.5Z" },
	{ "2026-01-02 13:05:00", NULL, NULL },
	{ "2026-03-08 02:30:00", "America/New_York", NULL },
	{ "2026-11-01 01:30:00", "America/New_York", NULL },
	{ "2026-11-01 01:30:00-05:00", "America/New_York", "2026-11-01T06:30:00Z" },
	{ "2026-02-29 13:05:00", "UTC", NULL },
	{ "2026-01-02 24:00:00", "UTC", NULL },
	{ "2026-01-02 13:60:00", "UTC", NULL },
	{ "2026-01-02 13:05:60", "UTC", NULL },
	{ "2026-01-02", "UTC", NULL },
	{ "2026-01-02 13", "UTC", NULL },
	{ "2026-01-02 13:05:00.", "UTC", NULL },
	{ "2026-01-02 13:05:00.1234567890", "UTC", NULL },
	{ "2026-01-02 13:05:00+", "UTC", NULL },
	{ "2026-01-02 13:05:00+5", "UTC", NULL },
	{ "2026-01-02 13:05:00+16", "UTC", NULL },
	{ "2026-01-02 13:05:00+05:0", "UTC", NULL },
	{ "2026-01-02 13:05:00 UTC", "UTC", NULL },
	{ "2026-01-02 13:05:00Zx", "UTC", NULL },
	{ " 2026-01-02 13:05:00", "UTC", NULL },
	{ "1767359100", "UTC", NULL },
	{ "", "UTC", NULL },
};

Test(gaps_csv, times_are_read_or_refused)
{
	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
		int64_t ns = -7;
		uint64_t expected = 0;
		tb_err err;
		tb_rc rc = tb_bar_time(tb_span_text(times[i].text), zone_of(times[i].zone), &ns, &err);
		cr_assert_eq(rc, times[i].instant ? TB_OK : TB_EINVAL, "%s", times[i].text);
		if (rc == TB_OK)
			cr_assert(tb_time_parse(times[i].instant, &expected));
		cr_assert_eq(ns, rc == TB_OK ? (int64_t)expected : -7, "%s", times[i].text);
	}
}

static tb_rc read_row(const char *header, const char *line, int64_t *ret_ns, tb_buf *symbol, tb_err *err)
{
	tb_csv csv;
	tb_rc rc = tb_csv_header(tb_span_text(header), &csv, err);
	return rc == TB_OK ? tb_csv_row(&csv, tb_span_text(line), zone_of("UTC"), ret_ns, symbol, err) : rc;
}

Test(gaps_csv, columns_are_found_by_their_names)
{
	static const struct {
		const char *header, *line, *symbol; /* NULL: refused */
	} rows[] = {
		{ "time,symbol,open", "2026-01-02 13:05:00,A,1", "A" },
		{ "open,symbol,time", "1,A,2026-01-02 13:05:00", "A" },
		{ "\xef\xbb\xbftime,symbol\r", "2026-01-02 13:05:00,A\r", "A" },
		{ "\"time\",\"symbol\"", "\"2026-01-02 13:05:00\",\"A, \"\"B\"\"\"", "A, \"B\"" },
		{ "time", "2026-01-02 13:05:00", "" },
		{ "time,open,", "2026-01-02 13:05:00,,", "" },
		{ "symbol,open", "A,1", NULL },
		{ "time,time", "2026-01-02 13:05:00,2026-01-02 13:05:00", NULL },
		{ "", "", NULL },
		{ "time,symbol", "2026-01-02 13:05:00", NULL },
		{ "time,symbol", "2026-01-02 13:05:00,A,B", NULL },
		{ "time,symbol", "2026-01-02 13:05:00,\"A", NULL },
		{ "time,symbol", "2026-01-02 13:05:00,\"A\"B", NULL },
		{ "time,symbol", "2026-01-02 13:05:00,A\"B", NULL },
		{ "time,symbol", ",A", NULL },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		tb_auto(tb_buf_drop) tb_buf symbol = { 0 };
		int64_t ns = 0;
		tb_err err;
		tb_rc rc = read_row(rows[i].header, rows[i].line, &ns, &symbol, &err);
		cr_assert_eq(rc, rows[i].symbol ? TB_OK : TB_EINVAL, "%s: %s", rows[i].header, rows[i].line);
		if (rc == TB_OK) {
			cr_assert_str_eq(tb_buf_text(&symbol), rows[i].symbol);
			cr_assert_eq(ns, instant("2026-01-02T13:05:00Z") * (int64_t)TB_NS_PER_S);
		}
	}
}

Test(gaps_csv, lines_and_columns_have_bounds)
{
	tb_auto(tb_buf_drop) tb_buf line = { 0 };
	tb_csv csv;
	tb_buf_print(&line, "time");
	for (size_t i = 1; i < TB_CSV_COLUMNS_MAX; i++)
		tb_buf_byte(&line, ',');
	cr_assert_eq(tb_csv_header(tb_buf_span(&line), &csv, NULL), TB_OK);
	cr_assert_eq(csv.columns, TB_CSV_COLUMNS_MAX);
	tb_buf_byte(&line, ',');
	cr_assert_eq(tb_csv_header(tb_buf_span(&line), &csv, NULL), TB_EINVAL);
	tb_buf_clear(&line);
	tb_buf_print(&line, "time,");
	while (line.size <= TB_CSV_LINE_MAX)
		tb_buf_byte(&line, 'x');
	cr_assert_eq(tb_csv_header(tb_buf_span(&line), &csv, NULL), TB_EINVAL);
}

Test(gaps_csv, a_row_cut_or_flipped_is_read_or_refused)
{
	static const char text[] = "\"2026-01-02 13:05:00.25-05:00\",\"A\"\"B\",1.5";
	tb_csv csv = { .columns = 3, .time_at = 0, .symbol_at = 1 };
	char changed[sizeof(text)];
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		for (int bit = -1; bit < 8; bit++) { /* -1: cut there */
			tb_auto(tb_buf_drop) tb_buf symbol = { 0 };
			int64_t ns = -7;
			tb_err err;
			memcpy(changed, text, sizeof(text));
			changed[i] = (char)(changed[i] ^ (bit < 0 ? 0 : 1 << bit));
			tb_rc rc = tb_csv_row(&csv, tb_span_of(changed, bit < 0 ? i : sizeof(text) - 1), zone_of("UTC"), &ns, &symbol, &err);
			cr_assert(rc == TB_OK ? ns > 0 : rc == TB_EINVAL && ns == -7 && err.text[0] != '\0', "%zu %d", i, bit);
			cr_assert(bit >= 0 || i > 37 || rc == TB_EINVAL, "cut at %zu", i);
		}
}

Test(gaps_csv, instants_begin_with_1970)
{
	uint64_t ns = 7;
	cr_assert_not(tb_time_parse("1969-12-31T23:59:59Z", &ns));
	cr_assert_not(tb_time_parse("1970-01-01T00:59:59+01:00", &ns));
	cr_assert_eq(ns, 7);
	cr_assert(tb_time_parse("1970-01-01T01:00:00+01:00", &ns));
	cr_assert_eq(ns, 0);
}
