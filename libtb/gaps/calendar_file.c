/* A calendar's file: YAML, read event by event, so that each complaint has its line. */
#include "gaps/calendar.h"

#include <stdio.h>
#include <yaml.h>

#define DEPTH_MAX 4
#define PATH_SIZE 128
#define TEXT_MAX 200u

typedef struct reading {
	tb_calendar *calendar;
	const char *path;
	tb_disk *disk;
	const char *beside;
	yaml_parser_t parser;
	yaml_event_t event; /* the present one */
	char at[PATH_SIZE]; /* the keys on the way to the present value, each behind a '.' */
	char ics[TEXT_MAX + 1];
	unsigned given; /* bits: rows of `values` that were */
	int open_given, close_given;
} reading;

static tb_rc fail_line(const reading *from, size_t line, const char *what, const char *text, tb_err *err)
{
	return tb_fail(err, TB_EINVAL, "%.120s:%zu: %s%s%.60s%s", from->path, line, what, text ? " '" : "", text ? text : "",
	               text ? "'" : "");
}

static tb_rc fail_here(const reading *from, const char *what, const char *text, tb_err *err)
{
	return fail_line(from, from->event.start_mark.line + 1, what, text, err);
}

static tb_rc next_event(reading *from, tb_err *err)
{
	yaml_event_delete(&from->event);
	if (yaml_parser_parse(&from->parser, &from->event))
		return TB_OK;
	return fail_line(from, from->parser.problem_mark.line + 1, "this is not YAML:",
	                 from->parser.problem ? from->parser.problem : "it can't be read", err);
}

/* Values */

static const struct {
	const char *name;
	int seconds;
} units[] = { { "s", 1 }, { "min", 60 }, { "h", 3600 }, { "d", TB_DAY_S } };

static tb_rc take_interval(reading *from, const char *text, tb_err *err)
{
	size_t digits = strspn(text, "0123456789");
	int count;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (strcmp(text + digits, units[i].name) == 0 && tb_digits(tb_span_of(text, digits), &count) && count > 0 &&
		    count <= TB_DAY_S / units[i].seconds) {
			from->calendar->interval_s = count * units[i].seconds;
			return TB_OK;
		}
	return fail_here(from, "an interval is from 1s to 1d, such as 5min, and not", text, err);
}

static tb_rc take_name(reading *from, const char *text, tb_err *err)
{
	(void)err;
	from->calendar->name = tb_strdup(text);
	return TB_OK;
}

static tb_rc take_zone(reading *from, const char *text, tb_err *err)
{
	tb_err why;
	if (tb_zone_find(text, &from->calendar->zone, &why) != TB_OK) {
		fail_here(from, "there is no time zone", text, err);
		tb_hint(err, "%s", why.hint);
		return TB_EINVAL;
	}
	snprintf(from->calendar->zone_name, sizeof(from->calendar->zone_name), "%s", text);
	return TB_OK;
}

static tb_rc take_ics(reading *from, const char *text, tb_err *err)
{
	if (from->beside == NULL || strchr(text, '/') != NULL || *text == '\0')
		return fail_here(from, "an .ics file is named without folders and lies beside the calendar's, not", text, err);
	snprintf(from->ics, sizeof(from->ics), "%s", text);
	return TB_OK;
}

static int read_weekday(tb_span text, int *ret_weekday)
{
	static const char names[] = "montuewedthufrisatsun";
	for (int i = 0; i < 7; i++)
		if (tb_span_equal(text, tb_span_of(names + 3 * i, 3))) {
			*ret_weekday = i;
			return 1;
		}
	return 0;
}

/* "mon" or "mon-fri", also over the week's end. */
static int read_weekdays(tb_span text, unsigned *days)
{
	int first, last;
	if (text.size == 3 && read_weekday(text, &first)) {
		*days |= 1u << first;
		return 1;
	}
	if (text.size != 7 || text.data[3] != '-' || !read_weekday(tb_span_of(text.data, 3), &first) ||
	    !read_weekday(tb_span_of(text.data + 4, 3), &last))
		return 0;
	for (int i = first;; i = (i + 1) % 7) {
		*days |= 1u << i;
		if (i == last)
			return 1;
	}
}

static tb_session_rule *present_session(reading *from)
{
	return &from->calendar->sessions[from->calendar->session_count - 1];
}

static tb_rc take_days(reading *from, const char *text, tb_err *err)
{
	unsigned days = 0;
	for (const char *at = text;;) {
		at += strspn(at, " ");
		size_t size = strcspn(at, ", ");
		if (!read_weekdays(tb_span_of(at, size), &days))
			return fail_here(from, "days are such as mon-fri or \"sat, sun\", and not", text, err);
		at += size + strspn(at + size, " ");
		if (*at == '\0')
			break;
		at += *at == ',';
	}
	if (present_session(from)->days != 0)
		return fail_here(from, "this is given for the second time:", "days", err);
	present_session(from)->days = days;
	return TB_OK;
}

static tb_rc take_clock(reading *from, const char *text, int *given, int *seconds, tb_err *err)
{
	int hour, minute;
	if (strlen(text) != 5 || text[2] != ':' || !tb_digits(tb_span_of(text, 2), &hour) ||
	    !tb_digits(tb_span_of(text + 3, 2), &minute) || minute > 59 || hour * 60 + minute > 24 * 60)
		return fail_here(from, "a time is such as \"08:00\", in quotes, and not", text, err);
	if ((*given)++)
		return fail_here(from, "a session opens and closes once; given for the second time:", text, err);
	*seconds = (hour * 60 + minute) * 60;
	return TB_OK;
}

static tb_rc take_open(reading *from, const char *text, tb_err *err)
{
	return take_clock(from, text, &from->open_given, &present_session(from)->open_s, err);
}

static tb_rc take_close(reading *from, const char *text, tb_err *err)
{
	return take_clock(from, text, &from->close_given, &present_session(from)->close_s, err);
}

/* Holidays: the key says when, the value what it is called. */

static int read_month_day(const char *key, tb_date *ret_date)
{
	tb_date date = { 0 };
	if (strlen(key) != 5 || key[2] != '-' || !tb_digits(tb_span_of(key, 2), &date.month) ||
	    !tb_digits(tb_span_of(key + 3, 2), &date.day) || !tb_date_exists(2000, date.month, date.day))
		return 0;
	*ret_date = date;
	return 1;
}

static int read_easter(const char *key, int *ret_offset)
{
	int negative = *key == '-', days;
	if (!tb_digits(tb_span_text(key + negative), &days) || days > 200)
		return 0;
	*ret_offset = negative ? -days : days;
	return 1;
}

static const struct {
	const char *at;
	tb_holiday_kind kind;
	const char *wrong;
} holiday_keys[] = {
	{ ".holidays.fixed.", TB_HOLIDAY_FIXED, "a day of each year is such as 12-25, and not" },
	{ ".holidays.next-monday.", TB_HOLIDAY_NEXT_MONDAY, "a day of each year is such as 01-06, and not" },
	{ ".holidays.easter.", TB_HOLIDAY_EASTER, "days from Easter are such as -2, and not" },
	{ ".holidays.dates.", TB_HOLIDAY_DATE, "a date is such as 2026-07-03, and not" },
};

static int read_holiday(tb_holiday_kind kind, const char *key, tb_date *ret_date, int *ret_offset)
{
	if (kind == TB_HOLIDAY_EASTER)
		return read_easter(key, ret_offset);
	if (kind == TB_HOLIDAY_DATE)
		return tb_day_parse(tb_span_text(key), ret_offset);
	return read_month_day(key, ret_date);
}

static tb_rc take_holiday(reading *from, size_t row, const char *text, tb_err *err)
{
	const char *key = from->at + strlen(holiday_keys[row].at);
	tb_date date = { 0 };
	int offset = 0;
	if (!read_holiday(holiday_keys[row].kind, key, &date, &offset))
		return fail_here(from, holiday_keys[row].wrong, key, err);
	if (!tb_calendar_add_holiday(from->calendar, holiday_keys[row].kind, date, offset, text))
		return fail_here(from, "there are too many holidays", NULL, err);
	return TB_OK;
}

static const struct {
	const char *at;
	tb_rc (*take)(reading *from, const char *text, tb_err *err);
	int once;
} values[] = {
	{ ".name", take_name, 1 },       { ".zone", take_zone, 1 },           { ".interval", take_interval, 1 },
	{ ".holidays.ics", take_ics, 1 }, { ".sessions[].days", take_days, 0 }, { ".sessions[].open", take_open, 0 },
	{ ".sessions[].close", take_close, 0 },
};

static tb_rc take_value(reading *from, tb_err *err)
{
	const char *text = (const char *)from->event.data.scalar.value;
	if (strlen(text) != from->event.data.scalar.length || strlen(text) > TEXT_MAX)
		return fail_here(from, "a value is longer than 200 bytes, or has a NUL in it", NULL, err);
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		if (strcmp(from->at, values[i].at) != 0)
			continue;
		if (values[i].once && from->given >> i & 1)
			return fail_here(from, "this is given for the second time:", from->at + 1, err);
		from->given |= 1u << i;
		return values[i].take(from, text, err);
	}
	for (size_t i = 0; i < sizeof(holiday_keys) / sizeof(*holiday_keys); i++)
		if (strncmp(from->at, holiday_keys[i].at, strlen(holiday_keys[i].at)) == 0)
			return take_holiday(from, i, text, err);
	return fail_here(from, "a calendar has nothing that is called", from->at + (*from->at == '.'), err);
}

/* Sessions */

static tb_rc begin_session(reading *from, tb_err *err)
{
	if (from->calendar->session_count >= TB_SESSION_RULES_MAX)
		return fail_here(from, "there are too many sessions", NULL, err);
	from->calendar->sessions[from->calendar->session_count++] = (tb_session_rule){ 0 };
	from->open_given = from->close_given = 0;
	return TB_OK;
}

static tb_rc end_session(reading *from, tb_err *err)
{
	tb_session_rule *rule = present_session(from);
	if (rule->days == 0 || !from->open_given || !from->close_given)
		return fail_here(from, "a session has days, open and close; one ends here without", NULL, err);
	if (rule->open_s >= TB_DAY_S)
		return fail_here(from, "a session opens before 24:00; one ends here that doesn't", NULL, err);
	rule->close_s += rule->close_s <= rule->open_s ? TB_DAY_S : 0;
	return TB_OK;
}

/* Structure */

static tb_rc take_node(reading *from, int depth, tb_err *err);

static tb_rc take_map(reading *from, int depth, tb_err *err)
{
	size_t prefix = strlen(from->at);
	tb_rc rc = next_event(from, err);
	while (rc == TB_OK && from->event.type != YAML_MAPPING_END_EVENT) {
		const char *key = (const char *)from->event.data.scalar.value;
		if (from->event.type != YAML_SCALAR_EVENT || strlen(key) != from->event.data.scalar.length ||
		    prefix + strlen(key) + 2 > PATH_SIZE)
			return fail_here(from, "a short name was expected here", NULL, err);
		snprintf(from->at + prefix, PATH_SIZE - prefix, ".%s", key);
		rc = next_event(from, err);
		if (rc == TB_OK)
			rc = take_node(from, depth + 1, err);
		if (rc == TB_OK)
			rc = next_event(from, err);
		from->at[prefix] = '\0';
	}
	return rc;
}

/* The only list is that of the sessions. */
static tb_rc take_list(reading *from, int depth, tb_err *err)
{
	tb_rc rc = next_event(from, err);
	snprintf(from->at, PATH_SIZE, ".sessions[]");
	while (rc == TB_OK && from->event.type != YAML_SEQUENCE_END_EVENT) {
		if (from->event.type != YAML_MAPPING_START_EVENT)
			return fail_here(from, "a session was expected here, with days, open and close", NULL, err);
		rc = begin_session(from, err);
		if (rc == TB_OK)
			rc = take_map(from, depth + 1, err);
		if (rc == TB_OK)
			rc = end_session(from, err);
		if (rc == TB_OK)
			rc = next_event(from, err);
	}
	return rc;
}

static tb_rc take_node(reading *from, int depth, tb_err *err)
{
	if (from->event.type == YAML_SCALAR_EVENT)
		return take_value(from, err);
	if (from->event.type == YAML_MAPPING_START_EVENT && depth < DEPTH_MAX)
		return take_map(from, depth, err);
	if (from->event.type == YAML_SEQUENCE_START_EVENT && strcmp(from->at, ".sessions") == 0)
		return take_list(from, depth, err);
	return fail_here(from, "no list, alias or deeper map belongs here, in", from->at + (*from->at == '.'), err);
}

static tb_rc take_document(reading *from, tb_err *err)
{
	tb_rc rc = next_event(from, err); /* the stream's start */
	if (rc == TB_OK)
		rc = next_event(from, err); /* the document's, unless there is nothing */
	if (rc == TB_OK && from->event.type == YAML_DOCUMENT_START_EVENT)
		rc = next_event(from, err);
	if (rc == TB_OK && from->event.type != YAML_MAPPING_START_EVENT)
		return fail_here(from, "a calendar was expected here, as \"name: value\"", NULL, err);
	if (rc == TB_OK)
		rc = take_map(from, 1, err);
	if (rc == TB_OK)
		rc = next_event(from, err); /* the document's end */
	if (rc == TB_OK)
		rc = next_event(from, err);
	if (rc == TB_OK && from->event.type != YAML_STREAM_END_EVENT)
		rc = fail_here(from, "a second document begins here; one is all that is read", NULL, err);
	return rc;
}

/* The whole */

#define WEEK_MINUTES (7 * 24 * 60)

static int overlaps(const tb_calendar *calendar)
{
	uint8_t taken[WEEK_MINUTES] = { 0 };
	for (size_t i = 0; i < calendar->session_count; i++) {
		const tb_session_rule *rule = &calendar->sessions[i];
		for (int day = 0; day < 7; day++)
			for (int minute = rule->open_s / 60; rule->days >> day & 1 && minute < rule->close_s / 60; minute++)
				if (taken[(day * 24 * 60 + minute) % WEEK_MINUTES]++)
					return 1;
	}
	return 0;
}

static tb_rc check_whole(const reading *from, tb_err *err)
{
	const tb_calendar *calendar = from->calendar;
	const char *missing = calendar->zone == NULL ? "zone" : calendar->interval_s == 0 ? "interval" : NULL;
	if (missing != NULL || calendar->session_count == 0)
		return tb_fail(err, TB_EINVAL, "%.120s: a calendar needs %s", from->path, missing ? missing : "sessions");
	for (size_t i = 0; i < calendar->session_count; i++)
		if ((calendar->sessions[i].close_s - calendar->sessions[i].open_s) % calendar->interval_s != 0)
			return tb_fail(err, TB_EINVAL, "%.120s: session %zu is not a whole number of intervals", from->path, i + 1);
	if (overlaps(calendar))
		return tb_fail(err, TB_EINVAL, "%.120s: two sessions overlap", from->path);
	return TB_OK;
}

static tb_rc read_ics(const reading *from, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 }, text = { 0 };
	if (*from->ics == '\0')
		return TB_OK;
	tb_buf_print(&path, "%s/%s", from->beside, from->ics);
	tb_rc rc = tb_disk_read_file(from->disk, tb_buf_text(&path), TB_ICS_SIZE_MAX, &text, err);
	return rc == TB_OK ? tb_calendar_ics(from->calendar, tb_buf_span(&text), tb_buf_text(&path), err) : rc;
}

tb_rc tb_calendar_read(tb_span text, const char *path, tb_disk *disk, const char *beside, tb_calendar *ret_calendar,
                       tb_err *err)
{
	tb_calendar calendar = { 0 };
	reading from = { .calendar = &calendar, .path = path, .disk = disk, .beside = beside };
	if (!yaml_parser_initialize(&from.parser))
		return tb_fail(err, TB_ENOMEM, "no memory to read %.120s", path);
	yaml_parser_set_input_string(&from.parser, text.data, text.size);
	tb_rc rc = take_document(&from, err);
	if (rc == TB_OK)
		rc = check_whole(&from, err);
	if (rc == TB_OK)
		rc = read_ics(&from, err);
	yaml_event_delete(&from.event);
	yaml_parser_delete(&from.parser);
	if (rc == TB_OK)
		*ret_calendar = calendar;
	else
		tb_calendar_drop(&calendar);
	return rc;
}

tb_rc tb_calendar_load(tb_disk *disk, const char *path, tb_calendar *ret_calendar, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 }, folder = { 0 };
	const char *slash = strrchr(path, '/');
	tb_rc rc = tb_disk_read_file(disk, path, TB_CALENDAR_SIZE_MAX, &text, err);
	if (rc != TB_OK)
		return rc;
	if (slash != NULL)
		tb_buf_append(&folder, path, (size_t)(slash - path));
	return tb_calendar_read(tb_buf_span(&text), path, disk, slash ? tb_buf_text(&folder) : ".", ret_calendar, err);
}
