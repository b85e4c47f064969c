/* What tb gaps reads. The first byte: 0 bars in CSV, a header and rows; 1 a calendar's file; 2 an iCalendar file; 3 a
 * bar's time. What is read keeps its bounds, and gives a schedule whose slots follow each other. */
#include "fuzz/fuzz.h"

#include "gaps/csv.h"
#include "gaps/gaps.h"

#define AROUND "zone: UTC\ninterval: 1d\nsessions: [ { days: mon-sun, open: \"00:00\", close: \"24:00\" } ]\n"

static const tb_zone *new_york(void)
{
	const tb_zone *zone;
	hold(tb_zone_find("America/New_York", &zone, NULL) == TB_OK);
	return zone;
}

static void read_time(tb_span input)
{
	const int64_t first = (int64_t)tb_day_of(TB_YEAR_FIRST, 1, 1) - 1, last = (int64_t)tb_day_of(TB_YEAR_LAST + 1, 1, 1) + 1;
	int64_t ns;
	tb_err err;
	tb_rc rc = tb_bar_time(input, new_york(), &ns, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	else
		hold(ns > first * TB_DAY_S * 1000000000 && ns < last * TB_DAY_S * 1000000000);
}

static tb_span take_line(tb_span *input)
{
	const uint8_t *end = input->size > 0 ? memchr(input->data, '\n', input->size) : NULL;
	tb_span line = fuzz_take_bytes(input, end != NULL ? (size_t)(end - input->data) : input->size);
	if (end != NULL)
		fuzz_take(input, 1);
	return line;
}

static void read_csv(tb_span input)
{
	tb_auto(tb_buf_drop) tb_buf symbol = { 0 };
	tb_csv csv;
	tb_err err;
	int64_t ns;
	tb_rc rc = tb_csv_header(take_line(&input), &csv, &err);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		return;
	}
	hold(csv.columns <= TB_CSV_COLUMNS_MAX && csv.time_at < csv.columns);
	hold(csv.symbol_at == TB_CSV_NONE || csv.symbol_at < csv.columns);
	while (input.size > 0) {
		tb_span line = take_line(&input);
		rc = tb_csv_row(&csv, line, new_york(), &ns, &symbol, &err);
		if (rc != TB_OK)
			fuzz_refused(rc, &err);
		hold(symbol.size <= TB_CSV_LINE_MAX);
	}
}

static void make_schedule(const tb_calendar *calendar)
{
	tb_schedule schedule;
	tb_err err;
	tb_rc rc = tb_schedule_make(calendar, tb_day_of(2026, 2, 27), tb_day_of(2026, 3, 9), &schedule, &err);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		return;
	}
	hold(schedule.slot_count <= TB_SLOTS_MAX);
	uint32_t slots = 0;
	for (size_t i = 0; i < schedule.session_count; i++) {
		const tb_session *session = &schedule.sessions[i];
		hold(session->first == slots && session->count > 0);
		hold(i == 0 || session[-1].open_s < session->open_s);
		hold(tb_schedule_at(&schedule, session->open_s) == session);
		hold(tb_schedule_session(&schedule, session->first) == session);
		hold(tb_schedule_holiday(&schedule, session->day) == NULL);
		slots += session->count;
	}
	hold(slots == schedule.slot_count);
	tb_schedule_drop(&schedule);
}

static void read_calendar(tb_span input)
{
	tb_calendar calendar = { 0 };
	tb_err err;
	tb_rc rc = tb_calendar_read(input, "it", NULL, NULL, &calendar, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	else
		make_schedule(&calendar);
	hold(calendar.session_count <= TB_SESSION_RULES_MAX && calendar.holiday_count <= TB_HOLIDAY_RULES_MAX);
	tb_calendar_drop(&calendar);
}

static void read_ics(tb_span input)
{
	tb_calendar calendar = { 0 };
	tb_err err;
	hold(tb_calendar_read(tb_span_text(AROUND), "it", NULL, NULL, &calendar, &err) == TB_OK);
	tb_rc rc = tb_calendar_ics(&calendar, input, "it", &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	else
		make_schedule(&calendar);
	hold(calendar.holiday_count <= TB_HOLIDAY_RULES_MAX);
	tb_calendar_drop(&calendar);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const ways[])(tb_span input) = { read_csv, read_calendar, read_ics, read_time };
	tb_span input = tb_span_of(data, size);
	ways[fuzz_take(&input, 1) % 4](input);
	return 0;
}
