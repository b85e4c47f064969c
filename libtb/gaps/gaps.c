#include "gaps/gaps.h"

#include <math.h>
#include <stdlib.h>

#define NS 1000000000

static const struct {
	const char *name;
	uint64_t up_to_s;
} severities[TB_SEVERITY_COUNT] = {
	{ "LOW", 15 * 60 }, { "MEDIUM", 60 * 60 }, { "HIGH", 240 * 60 }, { "CRITICAL", UINT64_MAX },
};

static const char *const type_names[TB_GAP_TYPE_COUNT] = { "business_hour_gap", "session_gap", "boundary_gap" };
static const char *const extra_names[TB_EXTRA_COUNT] = { "holiday", "outside_hours", "closed_day", "outside_period" };

const char *tb_severity_name(tb_severity severity)
{
	return severities[severity].name;
}

const char *tb_gap_type_name(tb_gap_type type)
{
	return type_names[type];
}

const char *tb_extra_name(tb_extra extra)
{
	return extra_names[extra];
}

tb_severity tb_severity_of(uint64_t duration_s)
{
	tb_severity severity = TB_SEVERITY_LOW;
	while (duration_s > severities[severity].up_to_s)
		severity++;
	return severity;
}

/* Which slots have a bar */

static int compare_times(const void *a, const void *b)
{
	const int64_t *left = a, *right = b;
	return *left < *right ? -1 : *left > *right;
}

static tb_extra extra_of(const tb_calendar *calendar, const tb_schedule *schedule, int64_t utc_s)
{
	int64_t utc_day = tb_floor_div(utc_s, TB_DAY_S);
	if (utc_day < schedule->from - 2 || utc_day > schedule->to + 2)
		return TB_EXTRA_OUTSIDE_PERIOD; /* whatever the zone */
	tb_day day = (tb_day)tb_floor_div(tb_zone_local(calendar->zone, utc_s), TB_DAY_S);
	if (day < schedule->from || day > schedule->to)
		return TB_EXTRA_OUTSIDE_PERIOD;
	if (tb_schedule_holiday(schedule, day))
		return TB_EXTRA_HOLIDAY;
	return tb_calendar_has_weekday(calendar, tb_day_weekday(day)) ? TB_EXTRA_OUTSIDE_HOURS : TB_EXTRA_CLOSED_DAY;
}

static void place_bar(const tb_calendar *calendar, const tb_schedule *schedule, int64_t time_ns, uint8_t *present,
                      tb_gap_report *report)
{
	int64_t utc_s = tb_floor_div(time_ns, NS);
	const tb_session *session = tb_schedule_at(schedule, utc_s);
	uint64_t slot = session ? (uint64_t)(utc_s - session->open_s) / (uint64_t)schedule->interval_s : 0;
	if (session == NULL || slot >= session->count) {
		report->extra[extra_of(calendar, schedule, utc_s)]++;
		return;
	}
	if (time_ns != (session->open_s + (int64_t)slot * schedule->interval_s) * NS)
		report->off_grid++;
	report->present += !present[session->first + slot];
	present[session->first + slot] = 1;
}

static void place_bars(const tb_calendar *calendar, const tb_schedule *schedule, tb_bars *bars, uint8_t *present,
                       tb_gap_report *report)
{
	if (bars->count > 0)
		qsort(bars->times_ns, bars->count, sizeof(*bars->times_ns), compare_times);
	for (size_t i = 0; i < bars->count; i++)
		if (i > 0 && bars->times_ns[i] == bars->times_ns[i - 1])
			report->duplicates++;
		else
			place_bar(calendar, schedule, bars->times_ns[i], present, report);
	report->rows = bars->count;
}

/* Gaps */

static tb_gap_type type_of(const tb_schedule *schedule, const tb_gap *gap)
{
	if (gap->first == 0 || gap->last == schedule->slot_count - 1)
		return TB_GAP_BOUNDARY;
	return gap->whole_sessions > 0 ? TB_GAP_SESSION : TB_GAP_BUSINESS_HOUR;
}

/* The gap's part in each session that it touches. */
static void count_sessions(const tb_schedule *schedule, tb_gap *gap, tb_gap_report *report)
{
	const tb_session *session = tb_schedule_session(schedule, gap->first);
	for (; session < schedule->sessions + schedule->session_count && session->first <= gap->last; session++) {
		uint32_t last = session->first + session->count - 1;
		uint32_t from = session->first > gap->first ? session->first : gap->first, to = last < gap->last ? last : gap->last;
		uint64_t duration_s = (uint64_t)(to - from + 1) * (uint64_t)schedule->interval_s;
		gap->sessions++;
		gap->whole_sessions += from == session->first && to == last;
		report->split_count++;
		report->split_severities[tb_severity_of(duration_s)]++;
	}
	report->missing_sessions += gap->whole_sessions;
}

static void add_gap(const tb_schedule *schedule, uint32_t first, uint32_t last, size_t *room, tb_gap_report *report)
{
	tb_gap gap = { .first = first, .last = last, .first_s = tb_schedule_slot_s(schedule, first),
		           .last_s = tb_schedule_slot_s(schedule, last),
		           .duration_s = (uint64_t)(last - first + 1) * (uint64_t)schedule->interval_s };
	count_sessions(schedule, &gap, report);
	gap.severity = tb_severity_of(gap.duration_s);
	gap.type = type_of(schedule, &gap);
	report->severities[gap.severity]++;
	report->types[gap.type]++;
	report->longest = last - first + 1 > report->longest ? last - first + 1 : report->longest;
	if (report->gap_count == *room)
		report->gaps = tb_realloc(report->gaps, (*room = *room ? 2 * *room : 64) * sizeof(gap));
	report->gaps[report->gap_count++] = gap;
}

static void find_gaps(const tb_schedule *schedule, const uint8_t *present, tb_gap_report *report)
{
	size_t room = 0;
	for (uint32_t slot = 0; slot < schedule->slot_count; slot++) {
		uint32_t first = slot;
		while (slot < schedule->slot_count && !present[slot])
			slot++;
		if (slot > first)
			add_gap(schedule, first, slot - 1, &room, report);
	}
}

static tb_gap_year *year_of(tb_gap_report *report, int year)
{
	if (report->year_count > 0 && report->years[report->year_count - 1].year == year)
		return &report->years[report->year_count - 1];
	report->years = tb_realloc(report->years, (report->year_count + 1) * sizeof(*report->years));
	report->years[report->year_count] = (tb_gap_year){ .year = year };
	return &report->years[report->year_count++];
}

static void count_years(const tb_schedule *schedule, const uint8_t *present, tb_gap_report *report)
{
	for (size_t i = 0; i < schedule->session_count; i++) {
		const tb_session *session = &schedule->sessions[i];
		tb_gap_year *year = year_of(report, tb_day_date(session->day).year);
		year->expected += session->count;
		for (uint32_t slot = 0; slot < session->count; slot++)
			year->present += present[session->first + slot];
		report->trading_days += i == 0 || session[-1].day != session->day;
	}
}

void tb_gaps_find(const tb_calendar *calendar, const tb_schedule *schedule, tb_bars *bars, tb_gap_report *ret_report)
{
	uint8_t *present = tb_alloc_zero(schedule->slot_count + 1, 1);
	tb_gap_report report = { .expected = schedule->slot_count };
	place_bars(calendar, schedule, bars, present, &report);
	report.missing = report.expected - report.present;
	find_gaps(schedule, present, &report);
	count_years(schedule, present, &report);
	free(present);
	*ret_report = report;
}

void tb_gap_report_drop(tb_gap_report *report)
{
	free(report->gaps);
	free(report->years);
	*report = (tb_gap_report){ 0 };
}

/* Figures */

double tb_completeness(uint64_t present, uint64_t expected)
{
	if (expected == 0)
		return -1;
	double millionths = round((double)present / (double)expected * 1e6);
	if (present < expected && millionths > 999999)
		millionths = 999999;
	return millionths / 1e6;
}

static const struct {
	const char *name;
	uint64_t percent; /* at least */
} qualities[] = { { "excellent", 98 }, { "good", 95 }, { "acceptable", 90 }, { "poor", 80 }, { "critical", 0 } };

const char *tb_gap_quality(const tb_gap_report *report)
{
	size_t row = 0;
	if (report->expected == 0)
		return NULL;
	if (report->severities[TB_SEVERITY_CRITICAL] > 0)
		return "critical";
	while (report->present * 100 < report->expected * qualities[row].percent)
		row++;
	return qualities[row].name;
}
