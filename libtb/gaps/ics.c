/* Holidays from an iCalendar file. What it says that isn't understood is refused: a holiday left out would be a gap. */
#include "gaps/calendar.h"

#include <libical/ical.h>
#include <stdio.h>
#include <strings.h>

#define NESTED_MAX 8

/* libical forgives what doesn't nest and what was cut off. A file is one VCALENDAR, with all that begins in it ended. */
static int nests_well(tb_span text)
{
	tb_span open[NESTED_MAX];
	size_t depth = 0, calendars = 0;
	for (size_t at = 0, end; at < text.size; at = end + 1) {
		const uint8_t *newline = memchr(text.data + at, '\n', text.size - at);
		end = newline ? (size_t)(newline - text.data) : text.size;
		tb_span line = tb_span_of(text.data + at, end - at);
		line.size -= line.size > 0 && line.data[line.size - 1] == '\r';
		if (line.size >= 6 && strncasecmp((const char *)line.data, "BEGIN:", 6) == 0) {
			if (depth == NESTED_MAX || (depth == 0 && calendars++ > 0))
				return 0;
			open[depth++] = tb_span_of(line.data + 6, line.size - 6);
		} else if (line.size >= 4 && strncasecmp((const char *)line.data, "END:", 4) == 0) {
			if (depth == 0 || !tb_span_equal(open[--depth], tb_span_of(line.data + 4, line.size - 4)))
				return 0;
		} else if (depth == 0 && line.size > 0) {
			return 0;
		}
	}
	return depth == 0 && calendars == 1;
}

struct adding {
	tb_calendar *calendar;
	const char *name;
	int full;
};

static void add_span(icalcomponent *event, struct icaltime_span *span, void *context)
{
	struct adding *adding = context;
	tb_day first = (tb_day)tb_floor_div(span->start, TB_DAY_S), end = (tb_day)tb_floor_div(span->end, TB_DAY_S);
	(void)event;
	if (end <= first)
		end = first + 1; /* without an end: that day */
	for (tb_day day = first; day < end && !adding->full; day++)
		adding->full = !tb_calendar_add_holiday(adding->calendar, TB_HOLIDAY_DATE, (tb_date){ 0 }, day, adding->name);
}

static tb_rc check_rules(icalcomponent *event, const char *path, const char *name, tb_err *err)
{
	for (icalproperty *rule = icalcomponent_get_first_property(event, ICAL_RRULE_PROPERTY); rule != NULL;
	     rule = icalcomponent_get_next_property(event, ICAL_RRULE_PROPERTY)) {
		struct icalrecurrencetype recurrence = icalproperty_get_rrule(rule);
		if (recurrence.freq < ICAL_DAILY_RECURRENCE || recurrence.freq > ICAL_YEARLY_RECURRENCE)
			return tb_fail(err, TB_EINVAL, "%.120s: '%.60s' recurs more often than daily", path, name);
	}
	return TB_OK;
}

static tb_rc check_days(icalcomponent *event, const char *path, const char *name, tb_err *err)
{
	struct icaltimetype start = icalcomponent_get_dtstart(event), end = icalcomponent_get_dtend(event);
	if (icalcomponent_get_first_property(event, ICAL_RECURRENCEID_PROPERTY) != NULL)
		return tb_fail(err, TB_EINVAL, "%.120s: '%.60s' moves one day of another event (RECURRENCE-ID), which isn't read",
		               path, name);
	if (icaltime_is_null_time(start) || !start.is_date || (!icaltime_is_null_time(end) && !end.is_date))
		return tb_fail(err, TB_EINVAL, "%.120s: '%.60s' is not of whole days (DTSTART;VALUE=DATE)", path, name);
	if (!tb_date_exists(start.year, start.month, start.day) || start.year < 1900 || start.year > TB_YEAR_LAST ||
	    (!icaltime_is_null_time(end) && (!tb_date_exists(end.year, end.month, end.day) || end.year > TB_YEAR_LAST + 1)))
		return tb_fail(err, TB_EINVAL, "%.120s: '%.60s' is on no day from 1900 to %d", path, name, TB_YEAR_LAST);
	return TB_OK;
}

static tb_rc add_event(tb_calendar *calendar, icalcomponent *event, const char *path, tb_err *err)
{
	const char *summary = icalcomponent_get_summary(event);
	char name[128];
	struct adding adding = { .calendar = calendar, .name = name };
	snprintf(name, sizeof(name), "%.100s", summary ? summary : "");
	if (icalcomponent_get_status(event) == ICAL_STATUS_CANCELLED)
		return TB_OK;
	tb_rc rc = check_days(event, path, name, err);
	if (rc == TB_OK)
		rc = check_rules(event, path, name, err);
	if (rc != TB_OK)
		return rc;
	struct icaltimetype from = icaltime_from_string("19000101"), to = icaltime_from_string("21000101");
	icalcomponent_foreach_recurrence(event, from, to, add_span, &adding);
	return adding.full ? tb_fail(err, TB_EINVAL, "%.120s: there are too many holidays", path) : TB_OK;
}

static tb_rc add_events(tb_calendar *calendar, icalcomponent *root, const char *path, tb_err *err)
{
	int found = 0;
	for (icalcomponent *event = icalcomponent_get_first_component(root, ICAL_VEVENT_COMPONENT); event != NULL;
	     event = icalcomponent_get_next_component(root, ICAL_VEVENT_COMPONENT)) {
		tb_rc rc = add_event(calendar, event, path, err);
		if (rc != TB_OK)
			return rc;
		found++;
	}
	return found ? TB_OK : tb_fail(err, TB_EINVAL, "%.120s: there is no event in it", path);
}

tb_rc tb_calendar_ics(tb_calendar *calendar, tb_span text, const char *path, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf copy = { 0 };
	tb_buf_append_span(&copy, text);
	if (text.size == 0 || memchr(text.data, '\0', text.size) != NULL || !nests_well(text))
		return tb_fail(err, TB_EINVAL, "%.120s: this is not a whole iCalendar file", path);
	icalerror_set_errors_are_fatal(0); /* a bad file must not end the process */
	icalcomponent *root = icalparser_parse_string(tb_buf_text(&copy));
	tb_rc rc;
	if (root == NULL || icalcomponent_isa(root) != ICAL_VCALENDAR_COMPONENT)
		rc = tb_fail(err, TB_EINVAL, "%.120s: this is not an iCalendar file", path);
	else if (icalcomponent_count_errors(root) > 0)
		rc = tb_fail(err, TB_EINVAL, "%.120s: %d of its lines are not understood", path, icalcomponent_count_errors(root));
	else
		rc = add_events(calendar, root, path, err);
	if (root != NULL)
		icalcomponent_free(root);
	return rc;
}
