/* What follows from a report: ranges to fetch, and patterns. */
#include "gaps/gaps.h"

#include <stdlib.h>

#define PRIORITY_BASE 50u
#define PRIORITY_IN_SESSION 30u
#define PRIORITY_MAX 100u

struct step {
	int64_t below_s;
	unsigned more;
};

static const struct step by_age[] = { { 24 * 3600, 20 }, { 168 * 3600, 10 } };
static const struct step by_length[] = { { 3600, 15 }, { 4 * 3600, 10 } };

static unsigned step_of(const struct step steps[2], int64_t value_s)
{
	return value_s < steps[0].below_s ? steps[0].more : value_s < steps[1].below_s ? steps[1].more : 0;
}

/* A range begins with a slot that the calendar opens, so always in a session. */
static unsigned priority_of(const tb_range *range, int interval_s, int64_t now_s)
{
	unsigned priority = PRIORITY_BASE + PRIORITY_IN_SESSION;
	priority += step_of(by_age, now_s - (range->end_s + interval_s));
	priority += step_of(by_length, (int64_t)range->points * interval_s);
	return priority < PRIORITY_MAX ? priority : PRIORITY_MAX;
}

static int compare_ranges(const void *a, const void *b)
{
	const tb_range *left = a, *right = b;
	if (left->priority != right->priority)
		return left->priority > right->priority ? -1 : 1;
	return left->start_s < right->start_s ? -1 : left->start_s > right->start_s;
}

size_t tb_gap_ranges(const tb_schedule *schedule, const tb_gap_report *report, uint32_t points_max, int64_t now_s,
                     tb_range **ret_ranges)
{
	size_t count = 0;
	for (size_t i = 0; i < report->gap_count; i++)
		count += (report->gaps[i].last - report->gaps[i].first) / points_max + 1;
	tb_range *ranges = tb_alloc_zero(count + 1, sizeof(*ranges));
	count = 0;
	for (size_t i = 0; i < report->gap_count; i++) {
		const tb_gap *gap = &report->gaps[i];
		for (uint32_t left = gap->last - gap->first + 1, first = gap->first; left > 0;) {
			uint32_t points = left < points_max ? left : points_max;
			tb_range *range = &ranges[count++];
			*range = (tb_range){ tb_schedule_slot_s(schedule, first), tb_schedule_slot_s(schedule, first + points - 1),
				                 points, 0 };
			range->priority = priority_of(range, schedule->interval_s, now_s);
			first += points;
			left -= points;
		}
	}
	qsort(ranges, count, sizeof(*ranges), compare_ranges);
	*ret_ranges = ranges;
	return count;
}

/* Patterns */

static int most_common(const uint64_t *counts, int count)
{
	int most = 0;
	for (int i = 1; i < count; i++)
		if (counts[i] > counts[most])
			most = i;
	return most;
}

static void count_gap(const tb_calendar *calendar, const tb_gap *gap, tb_gap_patterns *patterns)
{
	int64_t local_s = tb_zone_local(calendar->zone, gap->first_s), day = tb_floor_div(local_s, TB_DAY_S);
	patterns->hours[(local_s - day * TB_DAY_S) / 3600]++;
	patterns->weekdays[tb_day_weekday((tb_day)day)]++;
	patterns->missing_s += gap->duration_s;
	patterns->max_s = gap->duration_s > patterns->max_s ? gap->duration_s : patterns->max_s;
	patterns->min_s = patterns->min_s == 0 || gap->duration_s < patterns->min_s ? gap->duration_s : patterns->min_s;
}

void tb_gap_patterns_find(const tb_calendar *calendar, const tb_gap_report *report, tb_gap_patterns *ret_patterns)
{
	tb_gap_patterns patterns = { .common_hour = -1, .common_weekday = -1 };
	for (size_t i = 0; i < report->gap_count; i++)
		count_gap(calendar, &report->gaps[i], &patterns);
	if (report->gap_count > 0) {
		patterns.common_hour = most_common(patterns.hours, 24);
		patterns.common_weekday = most_common(patterns.weekdays, 7);
		patterns.mean_s = (double)patterns.missing_s / (double)report->gap_count;
		patterns.recommendations |= 1u << TB_RECOMMEND_HOUR;
	}
	patterns.common_type = (tb_gap_type)most_common(report->types, TB_GAP_TYPE_COUNT);
	patterns.common_severity = (tb_severity)most_common(report->severities, TB_SEVERITY_COUNT);
	if (report->gap_count > 10)
		patterns.recommendations |= 1u << TB_RECOMMEND_MANY;
	if (report->severities[TB_SEVERITY_CRITICAL] > 0)
		patterns.recommendations |= 1u << TB_RECOMMEND_CRITICAL;
	if (patterns.max_s > 240 * 60)
		patterns.recommendations |= 1u << TB_RECOMMEND_LONG;
	*ret_patterns = patterns;
}

void tb_recommendation_text(const tb_gap_patterns *patterns, const tb_gap_report *report, tb_recommendation which, tb_buf *to)
{
	switch (which) {
	case TB_RECOMMEND_MANY:
		tb_buf_print(to, "there are %zu gaps: look at how the bars are collected", report->gap_count);
		break;
	case TB_RECOMMEND_CRITICAL:
		tb_buf_print(to, "%llu gaps are critical: fill these first",
		             (unsigned long long)report->severities[TB_SEVERITY_CRITICAL]);
		break;
	case TB_RECOMMEND_LONG:
		tb_buf_print(to, "the longest gap is %llu minutes: look for an outage of the source then",
		             (unsigned long long)patterns->max_s / 60);
		break;
	default:
		tb_buf_print(to, "most gaps begin between %02d:00 and %02d:59: watch that hour", patterns->common_hour,
		             patterns->common_hour);
		break;
	}
}
