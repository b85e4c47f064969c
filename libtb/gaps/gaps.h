/* Which bars are missing? Pure: bars and a schedule come in, a report comes out.
 *
 * expected: every slot of the schedule; present: those with at least one bar whose time floors to the slot; missing: all
 * others. Sets, not counts: rows given twice, on holidays or outside of sessions hide nothing. Missing slots that follow
 * each other in market time are one gap, over a session's end too; a slot that is present ends it, always. */
#ifndef TB_GAPS_GAPS_H
#define TB_GAPS_GAPS_H

#include "gaps/calendar.h"

#define TB_BARS_MAX 20000000u
#define TB_RANGE_POINTS 5000u

typedef struct tb_bars { /* { 0 } are none */
	int64_t *times_ns; /* UTC, in any order */
	size_t count, room;
} tb_bars;

/* TB_EFULL: there are TB_BARS_MAX of them. */
tb_rc tb_bars_add(tb_bars *bars, int64_t time_ns, tb_err *err);
void tb_bars_drop(tb_bars *bars);
/* Mends the fault of wall times that were labelled as UTC: a time outside of session hours that lies within them when it
 * is read as the calendar's wall clock is read so. Returns how many were. */
uint64_t tb_bars_repair(tb_bars *bars, const tb_calendar *calendar);

typedef enum tb_severity { TB_SEVERITY_LOW, TB_SEVERITY_MEDIUM, TB_SEVERITY_HIGH, TB_SEVERITY_CRITICAL, TB_SEVERITY_COUNT } tb_severity;
typedef enum tb_gap_type { TB_GAP_BUSINESS_HOUR, TB_GAP_SESSION, TB_GAP_BOUNDARY, TB_GAP_TYPE_COUNT } tb_gap_type;
typedef enum tb_extra { TB_EXTRA_HOLIDAY, TB_EXTRA_OUTSIDE_HOURS, TB_EXTRA_CLOSED_DAY, TB_EXTRA_OUTSIDE_PERIOD, TB_EXTRA_COUNT } tb_extra;

const char *tb_severity_name(tb_severity severity);   /* "LOW" … */
const char *tb_gap_type_name(tb_gap_type type);       /* "business_hour_gap" … */
const char *tb_extra_name(tb_extra extra);            /* "holiday" … */
tb_severity tb_severity_of(uint64_t duration_s);      /* up to 15 min, 60 min, 4 h, above */

typedef struct tb_gap {
	uint32_t first, last; /* slots, inclusive */
	int64_t first_s, last_s; /* their instants */
	uint64_t duration_s;  /* market time: slots × interval */
	tb_severity severity;
	tb_gap_type type; /* boundary: at an end of the period; else session: holds a whole one */
	uint32_t sessions, whole_sessions; /* it touches; it swallows */
} tb_gap;

typedef struct tb_gap_year {
	int year;
	uint64_t expected, present;
} tb_gap_year;

typedef struct tb_gap_report { /* { 0 } is none */
	uint64_t rows, duplicates, off_grid; /* duplicates: of an instant; the others count instants */
	uint64_t extra[TB_EXTRA_COUNT];
	uint64_t expected, present, missing;
	uint64_t trading_days, missing_sessions; /* sessions without any bar */
	uint32_t longest; /* slots */
	tb_gap *gaps;
	size_t gap_count;
	uint64_t severities[TB_SEVERITY_COUNT], types[TB_GAP_TYPE_COUNT];
	uint64_t split_severities[TB_SEVERITY_COUNT], split_count; /* if no gap went over a session's end */
	tb_gap_year *years;
	size_t year_count;
} tb_gap_report;

/* Sorts the bars. */
void tb_gaps_find(const tb_calendar *calendar, const tb_schedule *schedule, tb_bars *bars, tb_gap_report *ret_report);
void tb_gap_report_drop(tb_gap_report *report);
/* present / expected to six places, never 1 while something is missing; -1: nothing was expected. */
double tb_completeness(uint64_t present, uint64_t expected);
/* "excellent", "good", "acceptable", "poor", "critical"; any critical gap makes it critical. NULL: nothing expected. */
const char *tb_gap_quality(const tb_gap_report *report);

/* What to fetch: each gap in pieces of at most points_max slots, one call each, the most urgent first. */
typedef struct tb_range {
	int64_t start_s, end_s; /* first and last slot */
	uint32_t points;
	unsigned priority; /* up to 100 */
} tb_range;

/* Free with free. now_s: of the clock, for how fresh a range is. */
size_t tb_gap_ranges(const tb_schedule *schedule, const tb_gap_report *report, uint32_t points_max, int64_t now_s,
                     tb_range **ret_ranges);

typedef struct tb_gap_patterns { /* of where gaps begin, by the calendar's wall clock */
	uint64_t hours[24], weekdays[7]; /* 0 is Monday */
	int common_hour, common_weekday; /* -1: there is no gap; of equals the first */
	tb_gap_type common_type;
	tb_severity common_severity;
	uint64_t min_s, max_s, missing_s;
	double mean_s;
	unsigned recommendations; /* bits of tb_recommendation */
} tb_gap_patterns;

typedef enum tb_recommendation { TB_RECOMMEND_MANY, TB_RECOMMEND_CRITICAL, TB_RECOMMEND_LONG, TB_RECOMMEND_HOUR, TB_RECOMMEND_COUNT } tb_recommendation;

void tb_gap_patterns_find(const tb_calendar *calendar, const tb_gap_report *report, tb_gap_patterns *ret_patterns);
/* Appends the sentence. */
void tb_recommendation_text(const tb_gap_patterns *patterns, const tb_gap_report *report, tb_recommendation which, tb_buf *to);

#endif
