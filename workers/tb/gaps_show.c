/* The report of tb gaps: one JSON object, or tables for people. */
#include "workers/tb/gaps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MOMENT 64

static const char *const weekdays[] = { "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun" };

/* "2026-01-02T09:30:00-05:00" by the calendar's wall clock. */
static const char *local_text(const tb_gaps_run *run, int64_t utc_s, char out[MOMENT])
{
	int64_t local_s = tb_zone_local(run->calendar.zone, utc_s), day = tb_floor_div(local_s, TB_DAY_S);
	int in_day = (int)(local_s - day * TB_DAY_S), offset = (int)(local_s - utc_s) / 60;
	char date[TB_DAY_TEXT];
	tb_day_text(date, (tb_day)day);
	snprintf(out, MOMENT, "%sT%02d:%02d:%02d%c%02d:%02d", date, in_day / 3600, in_day / 60 % 60, in_day % 60,
	         offset < 0 ? '-' : '+', abs(offset) / 60, abs(offset) % 60);
	return out;
}

static const char *utc_text(int64_t utc_s, char out[MOMENT])
{
	char text[TB_TIME_TEXT_SIZE];
	tb_time_text(text, (uint64_t)utc_s * TB_NS_PER_S);
	snprintf(out, MOMENT, "%.19sZ", text);
	return out;
}

static json_t *minutes_json(uint64_t seconds)
{
	return seconds % 60 == 0 ? json_integer((json_int_t)(seconds / 60)) : json_real((double)seconds / 60);
}

static json_t *completeness_json(uint64_t present, uint64_t expected)
{
	double value = tb_completeness(present, expected);
	return value < 0 ? json_null() : json_real(value);
}

static json_t *day_json(tb_day day)
{
	char text[TB_DAY_TEXT];
	tb_day_text(text, day);
	return json_string(text);
}

static void set_count(json_t *object, const char *name, uint64_t count)
{
	json_object_set_new(object, name, json_integer((json_int_t)count));
}

static json_t *severities_json(const uint64_t counts[TB_SEVERITY_COUNT])
{
	json_t *object = json_object();
	for (int i = 0; i < TB_SEVERITY_COUNT; i++)
		set_count(object, tb_severity_name((tb_severity)i), counts[i]);
	return object;
}

static json_t *types_json(const uint64_t counts[TB_GAP_TYPE_COUNT])
{
	json_t *object = json_object();
	for (int i = 0; i < TB_GAP_TYPE_COUNT; i++)
		set_count(object, tb_gap_type_name((tb_gap_type)i), counts[i]);
	return object;
}

/* Rules */

static void put_days(tb_buf *to, unsigned days)
{
	for (int i = 0; i < 7; i++)
		if (days >> i & 1)
			tb_buf_print(to, "%s%s", to->size > 0 ? "," : "", weekdays[i]);
}

static json_t *session_json(const tb_session_rule *rule, int interval_s)
{
	tb_auto(tb_buf_drop) tb_buf days = { 0 }, clock = { 0 };
	int last_s = (rule->close_s - interval_s) % TB_DAY_S;
	put_days(&days, rule->days);
	tb_buf_print(&clock, "%02d:%02d-%02d:%02d inclusive", rule->open_s / 3600, rule->open_s / 60 % 60, last_s / 3600,
	             last_s / 60 % 60);
	return json_pack("{s:s, s:s}", "days", tb_buf_text(&days), "session_local", tb_buf_text(&clock));
}

static json_t *rules_json(const tb_calendar *calendar)
{
	json_t *sessions = json_array();
	for (size_t i = 0; i < calendar->session_count; i++)
		json_array_append_new(sessions, session_json(&calendar->sessions[i], calendar->interval_s));
	return json_pack("{s:s, s:s?, s:o, s:s, s:o, s:s, s:{s:s, s:s, s:s, s:s}, s:s}", "calendar",
	                 calendar->name ? calendar->name : "", "session_local",
	                 calendar->session_count == 1
	                     ? json_string_value(json_object_get(json_array_get(sessions, 0), "session_local")) : NULL,
	                 "interval_minutes", minutes_json((uint64_t)calendar->interval_s), "timezone", calendar->zone_name,
	                 "sessions", sessions, "merge", "consecutive expected bars, across session ends", "severity_minutes",
	                 "LOW", "<=15", "MEDIUM", "<=60", "HIGH", "<=240", "CRITICAL", ">240", "duration",
	                 "missing bars x interval (market time)");
}

/* Parts of the report */

static json_t *extras_json(const tb_gap_report *report)
{
	json_t *object = json_object();
	for (int i = 0; i < TB_EXTRA_COUNT; i++)
		if (report->extra[i] > 0)
			set_count(object, tb_extra_name((tb_extra)i), report->extra[i]);
	return object;
}

static json_t *years_json(const tb_gap_report *report)
{
	json_t *object = json_object();
	for (size_t i = 0; i < report->year_count; i++) {
		const tb_gap_year *year = &report->years[i];
		char name[16];
		json_t *figures = json_object();
		snprintf(name, sizeof(name), "%d", year->year);
		set_count(figures, "expected", year->expected);
		set_count(figures, "present", year->present);
		set_count(figures, "missing", year->expected - year->present);
		json_object_set_new(figures, "completeness", completeness_json(year->present, year->expected));
		json_object_set_new(object, name, figures);
	}
	return object;
}

static json_t *holidays_json(const tb_schedule *schedule)
{
	json_t *list = json_array();
	for (size_t i = 0; i < schedule->holiday_count; i++) {
		json_t *pair = json_array();
		json_array_append_new(pair, day_json(schedule->holidays[i].day));
		json_t *name = json_string(schedule->holidays[i].name);
		json_array_append_new(pair, name ? name : json_string("")); /* an .ics file may not be UTF-8 */
		json_array_append_new(list, pair);
	}
	return list;
}

static json_t *gap_json(const tb_gaps_run *run, size_t index)
{
	const tb_gap *gap = &run->report.gaps[index];
	char first[MOMENT], last[MOMENT], first_utc[MOMENT], last_utc[MOMENT];
	json_t *object = json_pack("{s:I, s:s, s:s, s:s, s:s}", "n", (json_int_t)index + 1, "first_missing",
	                           local_text(run, gap->first_s, first), "last_missing", local_text(run, gap->last_s, last),
	                           "first_missing_utc", utc_text(gap->first_s, first_utc), "last_missing_utc",
	                           utc_text(gap->last_s, last_utc));
	set_count(object, "missing_bars", gap->last - gap->first + 1);
	json_object_set_new(object, "minutes", minutes_json(gap->duration_s));
	json_object_set_new(object, "severity", json_string(tb_severity_name(gap->severity)));
	json_object_set_new(object, "type", json_string(tb_gap_type_name(gap->type)));
	set_count(object, "sessions", gap->sessions);
	set_count(object, "whole_sessions", gap->whole_sessions);
	return object;
}

static json_t *gaps_json(const tb_gaps_run *run)
{
	json_t *list = json_array();
	for (size_t i = 0; i < run->report.gap_count; i++)
		json_array_append_new(list, gap_json(run, i));
	return list;
}

static size_t find_ranges(const tb_gaps_run *run, tb_range **ret_ranges)
{
	return tb_gap_ranges(&run->schedule, &run->report, (uint32_t)run->options->points,
	                     (int64_t)(tb_real_ns(run->call->clock) / TB_NS_PER_S), ret_ranges);
}

/* A range's id is what it covers, so it is the same in each report: "20260102T143000Z-20260102T144500Z". */
static void range_id(const tb_range *range, tb_buf *to)
{
	const int64_t moments[] = { range->start_s, range->end_s };
	for (int i = 0; i < 2; i++) {
		int64_t day = tb_floor_div(moments[i], TB_DAY_S);
		int in_day = (int)(moments[i] - day * TB_DAY_S);
		tb_date date = tb_day_date((tb_day)day);
		tb_buf_print(to, "%s%04d%02d%02dT%02d%02d%02dZ", i ? "-" : "", date.year, date.month, date.day, in_day / 3600,
		             in_day / 60 % 60, in_day % 60);
	}
}

static json_t *range_json(const tb_range *range)
{
	tb_auto(tb_buf_drop) tb_buf id = { 0 };
	char start[MOMENT], end[MOMENT];
	range_id(range, &id);
	json_t *object = json_pack("{s:s, s:s, s:s}", "id", tb_buf_text(&id), "start", utc_text(range->start_s, start), "end",
	                           utc_text(range->end_s, end));
	set_count(object, "expected_points", range->points);
	set_count(object, "priority", range->priority);
	set_count(object, "api_calls", 1);
	return object;
}

static json_t *ranges_json(const tb_gaps_run *run)
{
	tb_range *ranges;
	size_t count = find_ranges(run, &ranges);
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, range_json(&ranges[i]));
	free(ranges);
	return list;
}

static json_t *recommendations_json(const tb_gap_patterns *patterns, const tb_gap_report *report)
{
	json_t *list = json_array();
	for (int i = 0; i < TB_RECOMMEND_COUNT; i++) {
		tb_auto(tb_buf_drop) tb_buf text = { 0 };
		if (!(patterns->recommendations >> i & 1))
			continue;
		tb_recommendation_text(patterns, report, (tb_recommendation)i, &text);
		json_array_append_new(list, json_string(tb_buf_text(&text)));
	}
	return list;
}

static json_t *hours_json(const tb_gap_patterns *patterns)
{
	json_t *object = json_object();
	char name[16];
	for (int i = 0; i < 24; i++) {
		snprintf(name, sizeof(name), "%02d", i);
		if (patterns->hours[i] > 0)
			set_count(object, name, patterns->hours[i]);
	}
	return object;
}

static json_t *weekdays_json(const tb_gap_patterns *patterns)
{
	json_t *object = json_object();
	for (int i = 0; i < 7; i++)
		if (patterns->weekdays[i] > 0)
			set_count(object, weekdays[i], patterns->weekdays[i]);
	return object;
}

static void set_common(json_t *object, const tb_gap_patterns *patterns, int any)
{
	json_object_set_new(object, "most_common_hour", any ? json_integer(patterns->common_hour) : json_null());
	json_object_set_new(object, "most_common_weekday",
	                    any ? json_string(weekdays[patterns->common_weekday]) : json_null());
	json_object_set_new(object, "most_common_type", any ? json_string(tb_gap_type_name(patterns->common_type)) : json_null());
	json_object_set_new(object, "most_common_severity",
	                    any ? json_string(tb_severity_name(patterns->common_severity)) : json_null());
}

static json_t *patterns_json(const tb_gaps_run *run)
{
	const tb_gap_report *report = &run->report;
	tb_gap_patterns patterns;
	json_t *object = json_object();
	tb_gap_patterns_find(&run->calendar, report, &patterns);
	set_count(object, "total", report->gap_count);
	json_object_set_new(object, "by_type", types_json(report->types));
	json_object_set_new(object, "by_severity", severities_json(report->severities));
	json_object_set_new(object, "by_hour", hours_json(&patterns));
	json_object_set_new(object, "by_weekday", weekdays_json(&patterns));
	set_common(object, &patterns, report->gap_count > 0);
	json_object_set_new(object, "min_minutes", minutes_json(patterns.min_s));
	json_object_set_new(object, "max_minutes", minutes_json(patterns.max_s));
	json_object_set_new(object, "mean_minutes", json_real(round(patterns.mean_s / 60 * 1000) / 1000));
	json_object_set_new(object, "total_missing_minutes", minutes_json(patterns.missing_s));
	json_object_set_new(object, "recommendations", recommendations_json(&patterns, report));
	return object;
}

/* The whole */

static void set_source(json_t *object, const tb_gaps_run *run)
{
	const struct gaps_options *options = run->options;
	tb_auto(tb_buf_drop) tb_buf reading = { 0 };
	const char *path = options->csv ? options->csv : options->stream;
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	size_t size = strlen(name);
	if (options->csv != NULL && size > 4 && strcmp(name + size - 4, ".csv") == 0)
		size -= 4;
	json_object_set_new(object, "dataset", json_stringn(name, size));
	json_object_set_new(object, "source", json_string(path));
	tb_buf_print(&reading, "%s%s", options->csv == NULL ? "events' times" : "an offset counts; naive times: ",
	             options->csv == NULL ? "" : options->zone ? options->zone : "none allowed");
	if (options->repair_zone)
		tb_buf_print(&reading, "; outside of sessions re-read as wall time of %s", run->calendar.zone_name);
	json_object_set_new(object, "timestamp_reading", json_string(tb_buf_text(&reading)));
	if (options->repair_zone)
		set_count(object, "zone_repaired_rows", run->repaired);
}

static void set_figures(json_t *object, const tb_gaps_run *run)
{
	const tb_gap_report *report = &run->report;
	const char *quality = tb_gap_quality(report);
	set_count(object, "trading_days", report->trading_days);
	set_count(object, "expected_bars", report->expected);
	set_count(object, run->options->csv ? "rows_in_file" : "rows_in_stream", report->rows);
	set_count(object, "duplicate_instants", report->duplicates);
	set_count(object, "present_bars", report->present);
	set_count(object, "missing_bars", report->missing);
	json_object_set_new(object, "completeness", completeness_json(report->present, report->expected));
	json_object_set_new(object, "quality", quality ? json_string(quality) : json_null());
	json_object_set_new(object, "extra_rows", extras_json(report));
	set_count(object, "off_grid_rows", report->off_grid);
	json_object_set_new(object, "per_year", years_json(report));
	set_count(object, "gaps_total", report->gap_count);
	json_object_set_new(object, "counts", severities_json(report->severities));
	json_object_set_new(object, "types", types_json(report->types));
	set_count(object, "fully_missing_sessions", report->missing_sessions);
	set_count(object, "longest_gap", report->longest);
	json_t *split = json_object();
	set_count(split, "gaps_total", report->split_count);
	json_object_set_new(split, "counts", severities_json(report->split_severities));
	json_object_set_new(object, "split_at_session", split);
}

void tb_gaps_print_json(const tb_gaps_run *run)
{
	json_t *object = json_object(), *period = json_object();
	set_source(object, run);
	json_object_set_new(object, "rules", rules_json(&run->calendar));
	json_object_set_new(period, "first_day", day_json(run->from));
	json_object_set_new(period, "last_day", day_json(run->to));
	json_object_set_new(object, "period", period);
	set_figures(object, run);
	json_object_set_new(object, "holidays", holidays_json(&run->schedule));
	json_object_set_new(object, "gaps", gaps_json(run));
	if (run->options->ranges)
		json_object_set_new(object, "ranges", ranges_json(run));
	if (run->options->patterns)
		json_object_set_new(object, "patterns", patterns_json(run));
	json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15)); /* as short as it was rounded */
	putchar('\n');
	json_decref(object);
}

/* For people */

static void put_summary(const tb_gaps_run *run, tb_buf *to)
{
	const tb_gap_report *report = &run->report;
	if (report->expected == 0) {
		tb_buf_print(to, "no bar is expected: %s is closed all that time\n", run->options->calendar);
		return;
	}
	tb_buf_print(to, "%llu of %llu bars are there on %llu trading days: completeness %.6f, %s\n", tb_ull(report->present),
	             tb_ull(report->expected), tb_ull(report->trading_days), tb_completeness(report->present, report->expected),
	             tb_gap_quality(report));
	tb_buf_print(to, "%zu gaps, %llu bars missing:", report->gap_count, tb_ull(report->missing));
	for (int i = TB_SEVERITY_COUNT - 1; i >= 0; i--)
		tb_buf_print(to, " %llu %s", tb_ull(report->severities[i]), tb_severity_name((tb_severity)i));
	tb_buf_print(to, "\n");
}

static void put_unused(const tb_gaps_run *run, tb_buf *to)
{
	const tb_gap_report *report = &run->report;
	if (run->options->repair_zone)
		tb_buf_print(to, "%llu rows were re-read as wall time of %s\n", tb_ull(run->repaired), run->calendar.zone_name);
	if (report->duplicates > 0)
		tb_buf_print(to, "%llu rows repeat an instant\n", tb_ull(report->duplicates));
	for (int i = 0; i < TB_EXTRA_COUNT; i++)
		if (report->extra[i] > 0)
			tb_buf_print(to, "%llu rows don't count: %s\n", tb_ull(report->extra[i]), tb_extra_name((tb_extra)i));
}

static void put_gaps(const tb_gaps_run *run, tb_buf *to)
{
	tb_table table = { .columns = 6, .right = 1u << 2 | 1u << 3 };
	char first[MOMENT], last[MOMENT];
	tb_table_row(&table, (const char *const[]){ "FIRST MISSING", "LAST MISSING", "BARS", "MINUTES", "SEVERITY", "TYPE", NULL });
	for (size_t i = 0; i < run->report.gap_count; i++) {
		const tb_gap *gap = &run->report.gaps[i];
		tb_table_cell(&table, "%s", local_text(run, gap->first_s, first));
		tb_table_cell(&table, "%s", local_text(run, gap->last_s, last));
		tb_table_cell(&table, "%u", gap->last - gap->first + 1);
		tb_table_cell(&table, "%.10g", (double)gap->duration_s / 60);
		tb_table_cell(&table, "%s", tb_severity_name(gap->severity));
		tb_table_cell(&table, "%s", tb_gap_type_name(gap->type));
	}
	tb_table_print(&table, to);
	tb_table_drop(&table);
}

static void put_ranges(const tb_gaps_run *run, tb_buf *to)
{
	tb_table table = { .columns = 4, .right = 1u << 2 | 1u << 3 };
	char start[MOMENT], end[MOMENT];
	tb_range *ranges;
	size_t count = find_ranges(run, &ranges);
	tb_table_row(&table, (const char *const[]){ "FETCH FROM", "TO", "BARS", "PRIORITY", NULL });
	for (size_t i = 0; i < count; i++) {
		tb_table_cell(&table, "%s", utc_text(ranges[i].start_s, start));
		tb_table_cell(&table, "%s", utc_text(ranges[i].end_s, end));
		tb_table_cell(&table, "%u", ranges[i].points);
		tb_table_cell(&table, "%u", ranges[i].priority);
	}
	free(ranges);
	tb_buf_byte(to, '\n');
	tb_table_print(&table, to);
	tb_table_drop(&table);
}

static void put_patterns(const tb_gaps_run *run, tb_buf *to)
{
	tb_gap_patterns patterns;
	tb_gap_patterns_find(&run->calendar, &run->report, &patterns);
	tb_buf_print(to, "\nminutes: %.10g to %.10g, %.10g on average, %.10g in all\nbegin in hour:", (double)patterns.min_s / 60,
	             (double)patterns.max_s / 60, round(patterns.mean_s / 6) / 10, (double)patterns.missing_s / 60);
	for (int i = 0; i < 24; i++)
		if (patterns.hours[i] > 0)
			tb_buf_print(to, " %02d: %llu", i, tb_ull(patterns.hours[i]));
	tb_buf_print(to, "\nbegin on:");
	for (int i = 0; i < 7; i++)
		if (patterns.weekdays[i] > 0)
			tb_buf_print(to, " %s: %llu", weekdays[i], tb_ull(patterns.weekdays[i]));
	tb_buf_byte(to, '\n');
	for (int i = 0; i < TB_RECOMMEND_COUNT; i++)
		if (patterns.recommendations >> i & 1) {
			tb_recommendation_text(&patterns, &run->report, (tb_recommendation)i, to);
			tb_buf_byte(to, '\n');
		}
}

void tb_gaps_print(const tb_gaps_run *run)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	put_summary(run, &text);
	put_unused(run, &text);
	if (run->report.gap_count > 0) {
		tb_buf_byte(&text, '\n');
		put_gaps(run, &text);
	}
	if (run->options->ranges && run->report.gap_count > 0)
		put_ranges(run, &text);
	if (run->options->patterns && run->report.gap_count > 0)
		put_patterns(run, &text);
	fwrite(text.data, 1, text.size, stdout);
}
