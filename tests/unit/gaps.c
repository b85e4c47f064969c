#include "gaps_room.h"

#include "leaks.h"

TestSuite(gaps, .fini = fail_on_leaks);

typedef struct room {
	tb_calendar calendar;
	tb_schedule schedule;
	tb_bars bars;
	tb_gap_report report;
} room;

static room open_room(const char *calendar, const char *from, const char *to)
{
	room room = { .calendar = shipped_calendar(calendar) };
	room.schedule = schedule_of(&room.calendar, from, to);
	return room;
}

static void add_s(room *room, int64_t utc_s)
{
	cr_assert_eq(tb_bars_add(&room->bars, utc_s * (int64_t)TB_NS_PER_S, NULL), TB_OK);
}

/* All slots but those from first on. */
static void fill_but(room *room, uint32_t first, uint32_t count)
{
	for (uint32_t slot = 0; slot < room->schedule.slot_count; slot++)
		if (slot < first || slot >= first + count)
			add_s(room, tb_schedule_slot_s(&room->schedule, slot));
}

static const tb_gap_report *find(room *room)
{
	tb_gaps_find(&room->calendar, &room->schedule, &room->bars, &room->report);
	return &room->report;
}

static void close_room(room *room)
{
	tb_gap_report_drop(&room->report);
	tb_bars_drop(&room->bars);
	tb_schedule_drop(&room->schedule);
	tb_calendar_drop(&room->calendar);
}

Test(gaps, severities_change_behind_3_12_and_48_bars)
{
	static const struct {
		uint32_t bars;
		tb_severity severity;
	} cases[] = { { 1, TB_SEVERITY_LOW },    { 3, TB_SEVERITY_LOW },   { 4, TB_SEVERITY_MEDIUM }, { 12, TB_SEVERITY_MEDIUM },
		          { 13, TB_SEVERITY_HIGH }, { 48, TB_SEVERITY_HIGH }, { 49, TB_SEVERITY_CRITICAL } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		room room = open_room("co-fx", "2026-01-05", "2026-01-05");
		fill_but(&room, 5, cases[i].bars);
		const tb_gap_report *report = find(&room);
		cr_assert_eq(report->gap_count, 1);
		cr_assert_eq(report->gaps[0].severity, cases[i].severity, "%u bars", cases[i].bars);
		cr_assert_eq(report->gaps[0].duration_s, cases[i].bars * 300);
		cr_assert_eq(report->severities[cases[i].severity], 1);
		close_room(&room);
	}
}

Test(gaps, a_gap_goes_over_a_sessions_end_and_over_days_without)
{
	room room = open_room("co-fx", "2026-01-08", "2026-01-14"); /* Thursday; Monday the 12th is a holiday */
	fill_but(&room, 60 + 58, 4); /* Friday's last two, Tuesday's first two */
	const tb_gap_report *report = find(&room);
	cr_assert_eq(report->gap_count, 1);
	cr_assert_eq(report->gaps[0].first_s, instant("2026-01-09T17:50:00Z"));
	cr_assert_eq(report->gaps[0].last_s, instant("2026-01-13T13:05:00Z"));
	cr_assert_eq(report->gaps[0].sessions, 2);
	cr_assert_eq(report->gaps[0].severity, TB_SEVERITY_MEDIUM);
	cr_assert_eq(report->split_count, 2);
	cr_assert_eq(report->split_severities[TB_SEVERITY_LOW], 2);
	close_room(&room);
}

Test(gaps, a_bar_in_between_ends_it)
{
	room room = open_room("co-fx", "2026-01-05", "2026-01-05");
	fill_but(&room, 10, 21);
	add_s(&room, instant("2026-01-05T14:40:00Z")); /* slot 20 */
	const tb_gap_report *report = find(&room);
	cr_assert_eq(report->gap_count, 2);
	cr_assert_eq(report->longest, 10);
	cr_assert_eq(report->missing, 20);
	close_room(&room);
}

Test(gaps, their_types_are_told_apart)
{
	static const struct {
		uint32_t first, count;
		tb_gap_type type;
		uint32_t whole;
	} cases[] = {
		{ 0, 1, TB_GAP_BOUNDARY, 0 },   { 179, 1, TB_GAP_BOUNDARY, 0 },      { 1, 178, TB_GAP_SESSION, 1 },
		{ 60, 60, TB_GAP_SESSION, 1 },  { 61, 59, TB_GAP_BUSINESS_HOUR, 0 }, { 0, 180, TB_GAP_BOUNDARY, 3 },
		{ 50, 60, TB_GAP_BUSINESS_HOUR, 0 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		room room = open_room("co-fx", "2026-01-05", "2026-01-07");
		fill_but(&room, cases[i].first, cases[i].count);
		const tb_gap_report *report = find(&room);
		cr_assert_eq(report->gap_count, 1);
		cr_assert_eq(report->gaps[0].type, cases[i].type, "case %zu", i);
		cr_assert_eq(report->gaps[0].whole_sessions, cases[i].whole, "case %zu", i);
		cr_assert_eq(report->missing_sessions, cases[i].whole);
		close_room(&room);
	}
}

Test(gaps, the_period_is_what_was_asked_and_not_first_row_to_last)
{
	room room = open_room("co-fx", "2026-01-05", "2026-01-09");
	add_s(&room, instant("2026-01-07T15:00:00Z"));
	const tb_gap_report *report = find(&room);
	cr_assert_eq(report->expected, 300);
	cr_assert_eq(report->missing, 299);
	cr_assert_eq(report->gap_count, 2);
	cr_assert_eq(report->types[TB_GAP_BOUNDARY], 2);
	close_room(&room);
}

/* Counts would give 60 of 60 here. */
Test(gaps, rows_that_repeat_or_lie_elsewhere_hide_nothing)
{
	room room = open_room("co-fx", "2026-01-09", "2026-01-13");
	fill_but(&room, 10, 50);
	for (int i = 0; i < 20; i++)
		add_s(&room, instant("2026-01-09T13:00:00Z")); /* again */
	for (int i = 0; i < 20; i++)
		add_s(&room, instant("2026-01-12T13:00:00Z") + i * 300); /* a holiday */
	for (int i = 0; i < 10; i++)
		add_s(&room, instant("2026-01-09T18:00:00Z") + i * 300); /* after hours */
	add_s(&room, instant("2026-01-10T15:00:00Z")); /* a Saturday */
	add_s(&room, instant("2026-01-14T15:00:00Z")); /* the day after */
	add_s(&room, instant("1970-01-01T00:00:00Z"));
	const tb_gap_report *report = find(&room);
	cr_assert_eq(report->expected, 120);
	cr_assert_eq(report->present, 70);
	cr_assert_eq(report->missing, 50);
	cr_assert_eq(report->duplicates, 20);
	cr_assert_eq(report->extra[TB_EXTRA_HOLIDAY], 20);
	cr_assert_eq(report->extra[TB_EXTRA_OUTSIDE_HOURS], 10);
	cr_assert_eq(report->extra[TB_EXTRA_CLOSED_DAY], 1);
	cr_assert_eq(report->extra[TB_EXTRA_OUTSIDE_PERIOD], 2);
	close_room(&room);
}

Test(gaps, a_bar_counts_for_the_slot_that_its_time_floors_to)
{
	room room = open_room("co-fx", "2026-01-05", "2026-01-05");
	cr_assert_eq(tb_bars_add(&room.bars, instant("2026-01-05T13:05:00Z") * (int64_t)TB_NS_PER_S - 1, NULL), TB_OK);
	cr_assert_eq(tb_bars_add(&room.bars, instant("2026-01-05T18:00:00Z") * (int64_t)TB_NS_PER_S - 1, NULL), TB_OK);
	add_s(&room, instant("2026-01-05T18:00:00Z"));
	const tb_gap_report *report = find(&room);
	cr_assert_eq(report->present, 2);
	cr_assert_eq(report->off_grid, 2);
	cr_assert_eq(report->gaps[0].first, 1);
	cr_assert_eq(report->gaps[0].last, 58);
	close_room(&room);
}

Test(gaps, a_slot_with_several_bars_is_present_once)
{
	room room = open_room("co-fx", "2026-01-05", "2026-01-05");
	for (int i = 0; i < 5; i++)
		add_s(&room, instant("2026-01-05T13:00:00Z") + i * 60);
	const tb_gap_report *report = find(&room);
	cr_assert_eq(report->present, 1);
	cr_assert_eq(report->missing, 59);
	cr_assert_eq(report->duplicates, 0);
	cr_assert_eq(report->off_grid, 4);
	close_room(&room);
}

Test(gaps, completeness_is_never_1_while_something_is_missing)
{
	cr_assert_float_eq(tb_completeness(41921, 44160), 0.949298, 1e-12);
	cr_assert_float_eq(tb_completeness(9999999, 10000000), 0.999999, 1e-12);
	cr_assert_float_eq(tb_completeness(10, 10), 1, 0);
	cr_assert_float_eq(tb_completeness(0, 10), 0, 0);
	cr_assert_float_eq(tb_completeness(0, 0), -1, 0);
}

Test(gaps, quality_has_its_thresholds_and_a_critical_gap_decides)
{
	static const struct {
		uint64_t present, critical;
		const char *quality;
	} cases[] = { { 980, 0, "excellent" }, { 979, 0, "good" },       { 950, 0, "good" },      { 949, 0, "acceptable" },
		          { 900, 0, "acceptable" }, { 899, 0, "poor" },       { 800, 0, "poor" },      { 799, 0, "critical" },
		          { 0, 0, "critical" },     { 999, 1, "critical" },   { 1000, 0, "excellent" } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		tb_gap_report report = { .expected = 1000, .present = cases[i].present };
		report.severities[TB_SEVERITY_CRITICAL] = cases[i].critical;
		cr_assert_str_eq(tb_gap_quality(&report), cases[i].quality, "case %zu", i);
	}
	tb_gap_report closed = { 0 };
	cr_assert_null(tb_gap_quality(&closed));
}

Test(gaps, a_closed_period_expects_nothing)
{
	room room = open_room("co-fx", "2026-01-10", "2026-01-11");
	add_s(&room, instant("2026-01-10T15:00:00Z"));
	const tb_gap_report *report = find(&room);
	cr_assert_eq(report->expected, 0);
	cr_assert_eq(report->gap_count, 0);
	cr_assert_eq(report->extra[TB_EXTRA_CLOSED_DAY], 1);
	close_room(&room);
}

Test(gaps, years_are_counted_apart)
{
	room room = open_room("co-fx", "2025-12-30", "2026-01-05");
	fill_but(&room, 0, 6);
	const tb_gap_report *report = find(&room);
	cr_assert_eq(report->year_count, 2);
	cr_assert_eq(report->years[0].expected, 120);
	cr_assert_eq(report->years[0].present, 114);
	cr_assert_eq(report->years[1].expected, 120);
	cr_assert_eq(report->years[1].present, 120);
	cr_assert_eq(report->trading_days, 4);
	close_room(&room);
}

/* Zones that were mixed up */

Test(gaps, wall_times_labelled_utc_are_put_right_and_others_left)
{
	room room = open_room("co-fx", "2026-01-05", "2026-01-05");
	add_s(&room, instant("2026-01-05T08:00:00Z")); /* Bogota's wall */
	add_s(&room, instant("2026-01-05T12:55:00Z")); /* its last */
	add_s(&room, instant("2026-01-05T13:05:00Z")); /* is within the session as it is */
	add_s(&room, instant("2026-01-05T20:00:00Z")); /* is outside either way */
	add_s(&room, instant("2026-01-12T08:00:00Z")); /* a holiday has hours, too */
	cr_assert_eq(tb_bars_repair(&room.bars, &room.calendar), 3);
	static const char *const expected[] = { "2026-01-05T13:00:00Z", "2026-01-05T17:55:00Z", "2026-01-05T13:05:00Z",
		                                    "2026-01-05T20:00:00Z", "2026-01-12T13:00:00Z" };
	for (size_t i = 0; i < 5; i++)
		cr_assert_eq(room.bars.times_ns[i], instant(expected[i]) * (int64_t)TB_NS_PER_S, "%s", expected[i]);
	close_room(&room);
}

Test(gaps, a_time_within_hours_either_way_is_left_as_it_says)
{
	tb_calendar calendar = calendar_of(NEW_YORK);
	tb_bars bars = { 0 };
	int64_t as_said = instant("2026-01-05T15:00:00Z") * (int64_t)TB_NS_PER_S;
	int64_t wall = instant("2026-01-05T10:00:00Z") * (int64_t)TB_NS_PER_S;
	cr_assert_eq(tb_bars_add(&bars, as_said, NULL), TB_OK);
	cr_assert_eq(tb_bars_add(&bars, wall, NULL), TB_OK);
	cr_assert_eq(tb_bars_repair(&bars, &calendar), 1);
	cr_assert_eq(bars.times_ns[0], as_said);
	cr_assert_eq(bars.times_ns[1], as_said);
	tb_bars_drop(&bars);
	tb_calendar_drop(&calendar);
}

/* Ranges and patterns */

Test(gaps, ranges_are_pieces_that_one_call_may_fetch)
{
	room room = open_room("co-fx", "2026-01-05", "2026-01-05");
	tb_range *ranges;
	fill_but(&room, 10, 25);
	find(&room);
	cr_assert_eq(tb_gap_ranges(&room.schedule, &room.report, 10, instant("2026-06-01T00:00:00Z"), &ranges), 3);
	static const struct {
		const char *start, *end;
		uint32_t points;
	} expected[] = { { "2026-01-05T13:50:00Z", "2026-01-05T14:35:00Z", 10 },
		             { "2026-01-05T14:40:00Z", "2026-01-05T15:25:00Z", 10 },
		             { "2026-01-05T15:30:00Z", "2026-01-05T15:50:00Z", 5 } };
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(ranges[i].points, expected[i].points);
		cr_assert_eq(ranges[i].start_s, instant(expected[i].start));
		cr_assert_eq(ranges[i].end_s, instant(expected[i].end));
		cr_assert_eq(ranges[i].priority, 95);
	}
	free(ranges);
	close_room(&room);
}

Test(gaps, priorities_grow_with_freshness_and_shortness)
{
	static const struct {
		uint32_t bars;
		const char *now;
		unsigned priority;
	} cases[] = {
		{ 11, "2026-06-01T00:00:00Z", 95 },  { 12, "2026-06-01T00:00:00Z", 90 },  { 47, "2026-06-01T00:00:00Z", 90 },
		{ 48, "2026-06-01T00:00:00Z", 80 },  { 49, "2026-01-06T17:00:00Z", 100 }, { 49, "2026-01-06T17:05:00Z", 90 },
		{ 49, "2026-01-12T17:04:59Z", 90 },  { 49, "2026-01-12T17:05:00Z", 80 },  { 11, "2026-01-06T00:00:00Z", 100 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		room room = open_room("co-fx", "2026-01-05", "2026-01-05");
		tb_range *ranges;
		fill_but(&room, 0, cases[i].bars); /* 49 end at 17:05 */
		find(&room);
		cr_assert_eq(tb_gap_ranges(&room.schedule, &room.report, 5000, instant(cases[i].now), &ranges), 1);
		cr_assert_eq(ranges[0].priority, cases[i].priority, "case %zu: %u", i, ranges[0].priority);
		free(ranges);
		close_room(&room);
	}
}

Test(gaps, the_most_urgent_range_comes_first)
{
	room room = open_room("co-fx", "2026-01-05", "2026-01-07");
	tb_range *ranges;
	for (uint32_t slot = 50; slot < 180; slot++) /* 50 missing, 68 there, 2 missing, the rest there */
		if (slot < 118 || slot > 119)
			add_s(&room, tb_schedule_slot_s(&room.schedule, slot));
	find(&room);
	cr_assert_eq(tb_gap_ranges(&room.schedule, &room.report, 5000, instant("2027-01-01T00:00:00Z"), &ranges), 2);
	cr_assert_eq(ranges[0].points, 2);
	cr_assert_eq(ranges[1].points, 50);
	free(ranges);
	close_room(&room);
}

Test(gaps, patterns_say_when_gaps_begin_and_how_long_they_are)
{
	room room = open_room("co-fx", "2026-01-05", "2026-01-06");
	tb_gap_patterns patterns;
	for (uint32_t slot = 0; slot < 120; slot++)
		if (slot != 1 && slot != 3 && (slot < 70 || slot >= 119))
			add_s(&room, tb_schedule_slot_s(&room.schedule, slot));
	const tb_gap_report *report = find(&room);
	tb_gap_patterns_find(&room.calendar, report, &patterns);
	cr_assert_eq(report->gap_count, 3);
	cr_assert_eq(patterns.hours[8], 3);
	cr_assert_eq(patterns.weekdays[0], 2);
	cr_assert_eq(patterns.weekdays[1], 1);
	cr_assert_eq(patterns.common_hour, 8);
	cr_assert_eq(patterns.common_weekday, 0);
	cr_assert_eq(patterns.common_severity, TB_SEVERITY_LOW);
	cr_assert_eq(patterns.min_s, 300);
	cr_assert_eq(patterns.max_s, 49 * 300);
	cr_assert_eq(patterns.missing_s, 51 * 300);
	cr_assert_float_eq(patterns.mean_s, 17 * 300, 1e-9);
	cr_assert_eq(patterns.recommendations, 1u << TB_RECOMMEND_CRITICAL | 1u << TB_RECOMMEND_LONG | 1u << TB_RECOMMEND_HOUR);
	close_room(&room);
}

Test(gaps, more_than_ten_are_recommended_to_be_looked_at)
{
	for (uint32_t gaps = 10; gaps <= 11; gaps++) {
		room room = open_room("co-fx", "2026-01-05", "2026-01-05");
		tb_gap_patterns patterns;
		for (uint32_t slot = 0; slot < 60; slot++)
			if (slot % 2 == 0 || slot >= 2 * gaps)
				add_s(&room, tb_schedule_slot_s(&room.schedule, slot));
		const tb_gap_report *report = find(&room);
		tb_gap_patterns_find(&room.calendar, report, &patterns);
		cr_assert_eq(report->gap_count, gaps);
		cr_assert_eq(patterns.recommendations >> TB_RECOMMEND_MANY & 1, gaps > 10);
		close_room(&room);
	}
}

Test(gaps, recommendations_say_what_they_are_about)
{
	static const char *const texts[TB_RECOMMEND_COUNT] = { "there are 12 gaps", "3 gaps are critical", "gap is 315 minutes",
		                                                   "between 08:00 and 08:59" };
	tb_gap_patterns patterns = { .common_hour = 8, .max_s = 315 * 60 };
	tb_gap_report report = { .gap_count = 12 };
	report.severities[TB_SEVERITY_CRITICAL] = 3;
	for (int i = 0; i < TB_RECOMMEND_COUNT; i++) {
		tb_auto(tb_buf_drop) tb_buf text = { 0 };
		tb_recommendation_text(&patterns, &report, (tb_recommendation)i, &text);
		cr_assert_not_null(strstr(tb_buf_text(&text), texts[i]), "%s", tb_buf_text(&text));
	}
}

Test(gaps, bars_have_a_bound)
{
	tb_bars bars = { .count = TB_BARS_MAX, .room = TB_BARS_MAX };
	tb_err err;
	cr_assert_eq(tb_bars_add(&bars, 0, &err), TB_EFULL);
	cr_assert_eq(bars.count, TB_BARS_MAX);
	cr_assert_neq(err.hint[0], '\0');
}
