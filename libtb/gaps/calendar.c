/* What a calendar's rules mean for a period: its holidays and sessions. */
#include "gaps/calendar.h"

#include <stdlib.h>

void tb_calendar_drop(tb_calendar *calendar)
{
	for (size_t i = 0; i < calendar->holiday_count; i++)
		free(calendar->holidays[i].name);
	free(calendar->holidays);
	free(calendar->name);
	*calendar = (tb_calendar){ 0 };
}

int tb_calendar_add_holiday(tb_calendar *calendar, tb_holiday_kind kind, tb_date date, int offset, const char *name)
{
	size_t count = calendar->holiday_count;
	if (count >= TB_HOLIDAY_RULES_MAX)
		return 0;
	if ((count & (count - 1)) == 0) /* a power of two: it is full */
		calendar->holidays = tb_realloc(calendar->holidays, (count ? 2 * count : 1) * sizeof(*calendar->holidays));
	calendar->holidays[calendar->holiday_count++] = (tb_holiday_rule){ kind, date.month, date.day, offset, tb_strdup(name) };
	return 1;
}

int tb_calendar_has_weekday(const tb_calendar *calendar, int weekday)
{
	for (size_t i = 0; i < calendar->session_count; i++)
		if (calendar->sessions[i].days >> weekday & 1)
			return 1;
	return 0;
}

int tb_calendar_in_hours(const tb_calendar *calendar, int64_t local_s)
{
	tb_day day = (tb_day)tb_floor_div(local_s, TB_DAY_S);
	for (int back = 0; back <= 1; back++) {
		int64_t in_day = local_s - (int64_t)(day - back) * TB_DAY_S;
		for (size_t i = 0; i < calendar->session_count; i++) {
			const tb_session_rule *rule = &calendar->sessions[i];
			if (rule->days >> tb_day_weekday(day - back) & 1 && in_day >= rule->open_s && in_day < rule->close_s)
				return 1;
		}
	}
	return 0;
}

/* Holidays */

/* The day of the rule in that year; 0: it has none then. */
static int rule_day(const tb_holiday_rule *rule, int year, tb_day *ret_day)
{
	if (rule->kind == TB_HOLIDAY_DATE) {
		*ret_day = rule->offset;
		return tb_day_date(rule->offset).year == year;
	}
	if (rule->kind == TB_HOLIDAY_EASTER) {
		*ret_day = tb_easter(year) + rule->offset;
		return 1;
	}
	if (!tb_date_exists(year, rule->month, rule->day))
		return 0; /* 29 February */
	*ret_day = tb_day_of(year, rule->month, rule->day);
	if (rule->kind == TB_HOLIDAY_NEXT_MONDAY)
		*ret_day += (7 - tb_day_weekday(*ret_day)) % 7;
	return 1;
}

struct found_holiday {
	tb_day day;
	size_t rule;
};

static int compare_found(const void *a, const void *b)
{
	const struct found_holiday *left = a, *right = b;
	if (left->day != right->day)
		return left->day < right->day ? -1 : 1;
	return left->rule < right->rule ? -1 : left->rule > right->rule;
}

static size_t find_holidays(const tb_calendar *calendar, const tb_schedule *schedule, struct found_holiday **ret_found)
{
	struct found_holiday *found = NULL;
	size_t count = 0, room = 0;
	/* A rule's day may lie in the year beside: at most so far as offsets from Easter go. */
	for (int year = tb_day_date(schedule->from).year - 1; year <= tb_day_date(schedule->to).year + 1; year++)
		for (size_t i = 0; i < calendar->holiday_count; i++) {
			tb_day day;
			if (!rule_day(&calendar->holidays[i], year, &day) || day < schedule->from || day > schedule->to)
				continue;
			if (count == room)
				found = tb_realloc(found, (room = room ? 2 * room : 64) * sizeof(*found));
			found[count++] = (struct found_holiday){ day, i };
		}
	if (count > 0)
		qsort(found, count, sizeof(*found), compare_found);
	*ret_found = found;
	return count;
}

static void join_name(tb_holiday *holiday, const char *name)
{
	tb_auto(tb_buf_drop) tb_buf joined = { 0 };
	tb_buf_print(&joined, "%s / %s", holiday->name, name);
	free(holiday->name);
	holiday->name = tb_strdup(tb_buf_text(&joined));
}

static void make_holidays(const tb_calendar *calendar, tb_schedule *schedule)
{
	struct found_holiday *found;
	size_t count = find_holidays(calendar, schedule, &found);
	schedule->holidays = tb_alloc_zero(count + 1, sizeof(*schedule->holidays));
	for (size_t i = 0; i < count; i++) {
		const char *name = calendar->holidays[found[i].rule].name;
		tb_holiday *last = schedule->holidays + schedule->holiday_count - (schedule->holiday_count > 0);
		if (schedule->holiday_count > 0 && last->day == found[i].day)
			join_name(last, name);
		else
			schedule->holidays[schedule->holiday_count++] = (tb_holiday){ found[i].day, tb_strdup(name) };
	}
	free(found);
}

static int compare_holidays(const void *a, const void *b)
{
	const tb_holiday *left = a, *right = b;
	return left->day < right->day ? -1 : left->day > right->day;
}

const tb_holiday *tb_schedule_holiday(const tb_schedule *schedule, tb_day day)
{
	tb_holiday asked = { day, NULL };
	return bsearch(&asked, schedule->holidays, schedule->holiday_count, sizeof(asked), compare_holidays);
}

/* Sessions */

static void add_session(tb_schedule *schedule, size_t *room, const tb_session *session)
{
	if (schedule->session_count == *room)
		schedule->sessions = tb_realloc(schedule->sessions, (*room = *room ? 2 * *room : 256) * sizeof(*session));
	schedule->sessions[schedule->session_count++] = *session;
}

/* Slots of the rule's session on that day; 0 when a change of the clock leaves none. */
static uint64_t open_session(const tb_calendar *calendar, const tb_session_rule *rule, tb_day day, int64_t *ret_open_s)
{
	int64_t midnight = (int64_t)day * TB_DAY_S, open[2], close[2];
	tb_zone_utc(calendar->zone, midnight + rule->open_s, open);
	tb_zone_utc(calendar->zone, midnight + rule->close_s, close);
	*ret_open_s = open[0];
	if (close[0] <= open[0])
		return 0;
	return (uint64_t)(close[0] - open[0] + calendar->interval_s - 1) / (uint64_t)calendar->interval_s;
}

static int compare_sessions(const void *a, const void *b)
{
	const tb_session *left = a, *right = b;
	return left->open_s < right->open_s ? -1 : left->open_s > right->open_s;
}

static tb_rc add_day(const tb_calendar *calendar, tb_schedule *schedule, size_t *room, uint64_t *slots, tb_day day, tb_err *err)
{
	for (size_t i = 0; i < calendar->session_count; i++) {
		const tb_session_rule *rule = &calendar->sessions[i];
		tb_session session = { .day = day };
		if (!(rule->days >> tb_day_weekday(day) & 1))
			continue;
		uint64_t count = open_session(calendar, rule, day, &session.open_s);
		*slots += count;
		if (*slots > TB_SLOTS_MAX) {
			tb_fail(err, TB_EINVAL, "more than %u bars would be expected", TB_SLOTS_MAX);
			tb_hint(err, "ask for a shorter period");
			return TB_EINVAL;
		}
		session.count = (uint32_t)count;
		if (count > 0)
			add_session(schedule, room, &session);
	}
	return TB_OK;
}

static tb_rc make_sessions(const tb_calendar *calendar, tb_schedule *schedule, tb_err *err)
{
	size_t room = 0;
	uint64_t slots = 0;
	for (tb_day day = schedule->from; day <= schedule->to; day++) {
		tb_rc rc = tb_schedule_holiday(schedule, day) ? TB_OK : add_day(calendar, schedule, &room, &slots, day, err);
		if (rc != TB_OK)
			return rc;
	}
	if (schedule->session_count > 0)
		qsort(schedule->sessions, schedule->session_count, sizeof(*schedule->sessions), compare_sessions);
	for (size_t i = 0; i < schedule->session_count; i++) {
		schedule->sessions[i].first = schedule->slot_count;
		schedule->slot_count += schedule->sessions[i].count;
	}
	return TB_OK;
}

tb_rc tb_schedule_make(const tb_calendar *calendar, tb_day from, tb_day to, tb_schedule *ret_schedule, tb_err *err)
{
	tb_schedule schedule = { .from = from, .to = to, .interval_s = calendar->interval_s };
	char first[TB_DAY_TEXT], last[TB_DAY_TEXT];
	if (to < from) {
		tb_day_text(first, from);
		tb_day_text(last, to);
		return tb_fail(err, TB_EINVAL, "no day is from %s on and up to %s", first, last);
	}
	make_holidays(calendar, &schedule);
	tb_rc rc = make_sessions(calendar, &schedule, err);
	if (rc == TB_OK)
		*ret_schedule = schedule;
	else
		tb_schedule_drop(&schedule);
	return rc;
}

void tb_schedule_drop(tb_schedule *schedule)
{
	for (size_t i = 0; i < schedule->holiday_count; i++)
		free(schedule->holidays[i].name);
	free(schedule->holidays);
	free(schedule->sessions);
	*schedule = (tb_schedule){ 0 };
}

const tb_session *tb_schedule_session(const tb_schedule *schedule, uint32_t slot)
{
	size_t low = 0, high = schedule->session_count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (schedule->sessions[middle].first <= slot)
			low = middle;
		else
			high = middle;
	}
	return &schedule->sessions[low];
}

int64_t tb_schedule_slot_s(const tb_schedule *schedule, uint32_t slot)
{
	const tb_session *session = tb_schedule_session(schedule, slot);
	return session->open_s + (int64_t)(slot - session->first) * schedule->interval_s;
}

const tb_session *tb_schedule_at(const tb_schedule *schedule, int64_t utc_s)
{
	size_t low = 0, high = schedule->session_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (schedule->sessions[middle].open_s <= utc_s)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? &schedule->sessions[low - 1] : NULL;
}
