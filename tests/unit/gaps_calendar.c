#include "gaps_room.h"

#include "leaks.h"

TestSuite(gaps_calendar, .fini = fail_on_leaks);

static void done(tb_calendar *calendar, tb_schedule *schedule)
{
	tb_schedule_drop(schedule);
	tb_calendar_drop(calendar);
}

/* Days */

Test(gaps_calendar, days_are_numbered_and_back)
{
	cr_assert_eq(tb_day_of(1970, 1, 1), 0);
	cr_assert_eq(tb_day_of(2000, 3, 1), 11017);
	cr_assert_eq(tb_day_of(2026, 11, 20), 20777);
	for (tb_day number = tb_day_of(1979, 12, 1); number < tb_day_of(2101, 2, 1); number++) {
		tb_date date = tb_day_date(number);
		cr_assert_eq(tb_day_of(date.year, date.month, date.day), number);
		cr_assert(tb_date_exists(date.year, date.month, date.day));
	}
	cr_assert_eq(tb_day_weekday(day("2026-11-20")), 4);
	cr_assert_eq(tb_day_weekday(day("2026-11-23")), 0);
}

Test(gaps_calendar, only_days_that_exist_are_read)
{
	static const char *const wrong[] = { "", "2026-1-02", "2026-02-29", "2100-01-01", "1979-12-31", "2026-00-10", "2026-13-10",
		                                 "2026-01-00", "2026/01/02", "2026-01-02 ", "2026-01-32", "20a6-01-02", "-026-01-02" };
	tb_day value = 77;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		cr_assert_not(tb_day_parse(tb_span_text(wrong[i]), &value), "%s", wrong[i]);
	cr_assert_eq(value, 77);
	cr_assert(tb_day_parse(tb_span_text("2024-02-29"), &value));
}

Test(gaps_calendar, easter_is_when_the_church_says)
{
	static const char *const sundays[] = { "1981-04-19", "2000-04-23", "2008-03-23", "2011-04-24", "2019-04-21", "2020-04-12",
		                                   "2021-04-04", "2022-04-17", "2023-04-09", "2024-03-31", "2025-04-20", "2026-04-05",
		                                   "2030-04-21", "2038-04-25", "2049-04-18", "2076-04-19", "2099-04-12" };
	for (size_t i = 0; i < sizeof(sundays) / sizeof(*sundays); i++) {
		tb_day sunday = day(sundays[i]);
		cr_assert_eq(tb_easter(tb_day_date(sunday).year), sunday, "%s", sundays[i]);
	}
}

/* Colombia */

static FILE *open_vectors(void)
{
	const char *shared = getenv("TB_SHARED");
	char path[4096];
	if (shared != NULL)
		snprintf(path, sizeof(path), "%s/vectors/co_holidays_2020_2030.csv", shared);
	else
		snprintf(path, sizeof(path), "%.*s../../../shared/vectors/co_holidays_2020_2030.csv",
		         (int)(strrchr(__FILE__, '/') - __FILE__ + 1), __FILE__);
	FILE *file = fopen(path, "r");
	if (file == NULL) {
		fprintf(stderr, "SKIPPED: no vectors at %s; set TB_SHARED\n", path);
		cr_skip("no vectors at %s", path);
	}
	return file;
}

Test(gaps_calendar, colombian_holidays_of_eleven_years_are_the_known_ones)
{
	tb_calendar calendar = shipped_calendar("co-fx");
	tb_schedule schedule = schedule_of(&calendar, "2020-01-01", "2030-12-31");
	FILE *file = open_vectors();
	char line[256], date[TB_DAY_TEXT];
	size_t count = 0;
	cr_assert_not_null(fgets(line, sizeof(line), file)); /* the header */
	while (fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\r\n")] = '\0';
		cr_assert_lt(count, schedule.holiday_count);
		const tb_holiday *holiday = &schedule.holidays[count++];
		tb_day_text(date, holiday->day);
		cr_assert_eq(strncmp(line, date, 10), 0, "%s, and not %s", line, date);
		cr_assert_str_eq(strchr(line + 11, ',') + 1, holiday->name);
	}
	cr_assert_eq(count, 196);
	cr_assert_eq(count, schedule.holiday_count);
	fclose(file);
	done(&calendar, &schedule);
}

Test(gaps_calendar, holidays_fall_where_their_rules_say)
{
	static const struct {
		const char *day;
		int is;
	} days[] = {
		{ "2026-01-01", 1 }, { "2026-01-06", 0 }, { "2026-01-12", 1 }, { "2020-01-06", 1 }, { "2025-01-06", 1 },
		{ "2026-03-23", 1 }, { "2026-04-02", 1 }, { "2026-04-03", 1 }, { "2026-05-18", 1 }, { "2026-06-08", 1 },
		{ "2026-06-15", 1 }, { "2026-06-29", 1 }, { "2026-12-08", 1 }, { "2026-12-24", 0 }, { "2026-12-25", 1 },
		{ "2026-12-31", 0 }, { "2025-06-30", 1 },
	};
	tb_calendar calendar = shipped_calendar("co-fx");
	tb_schedule schedule = schedule_of(&calendar, "2020-01-01", "2026-12-31");
	for (size_t i = 0; i < sizeof(days) / sizeof(*days); i++)
		cr_assert_eq(tb_schedule_holiday(&schedule, day(days[i].day)) != NULL, days[i].is, "%s", days[i].day);
	cr_assert_str_eq(tb_schedule_holiday(&schedule, day("2025-06-30"))->name,
	                 "San Pedro y San Pablo / Sagrado Corazón");
	done(&calendar, &schedule);
}

Test(gaps_calendar, a_colombian_day_has_60_bars_from_8_to_12_55)
{
	tb_calendar calendar = shipped_calendar("co-fx");
	tb_schedule schedule = schedule_of(&calendar, "2026-01-05", "2026-01-05");
	cr_assert_eq(schedule.slot_count, 60);
	cr_assert_eq(tb_schedule_slot_s(&schedule, 0), instant("2026-01-05T13:00:00Z"));
	cr_assert_eq(tb_schedule_slot_s(&schedule, 59), instant("2026-01-05T17:55:00Z"));
	done(&calendar, &schedule);
}

Test(gaps_calendar, weekends_and_holidays_open_nothing)
{
	tb_calendar calendar = shipped_calendar("co-fx");
	tb_schedule weekend = schedule_of(&calendar, "2026-01-10", "2026-01-12"); /* Monday is Reyes Magos */
	cr_assert_eq(weekend.slot_count, 0);
	cr_assert_null(tb_schedule_at(&weekend, instant("2026-01-11T13:00:00Z")));
	done(&calendar, &weekend);
}

/* Others */

Test(gaps_calendar, around_the_clock_is_open_always)
{
	tb_calendar calendar = shipped_calendar("24x7");
	tb_schedule schedule = schedule_of(&calendar, "2024-02-01", "2024-02-29");
	cr_assert_eq(schedule.slot_count, 29 * 288);
	for (uint32_t slot = 0; slot < schedule.slot_count; slot++)
		cr_assert_eq(tb_schedule_slot_s(&schedule, slot), instant("2024-02-01T00:00:00Z") + (int64_t)slot * 300);
	done(&calendar, &schedule);
}

/* 09:30 to 16:00 by the wall: an hour earlier in UTC from the second Sunday of March to the first of November. */
Test(gaps_calendar, new_york_moves_with_daylight_saving)
{
	static const struct {
		const char *day, *open;
	} days[] = {
		{ "2026-03-06", "2026-03-06T14:30:00Z" }, { "2026-03-09", "2026-03-09T13:30:00Z" },
		{ "2026-10-30", "2026-10-30T13:30:00Z" }, { "2026-11-02", "2026-11-02T14:30:00Z" },
	};
	tb_calendar calendar = calendar_of(NEW_YORK);
	for (size_t i = 0; i < sizeof(days) / sizeof(*days); i++) {
		tb_schedule schedule = schedule_of(&calendar, days[i].day, days[i].day);
		cr_assert_eq(schedule.slot_count, 78, "%s", days[i].day);
		cr_assert_eq(tb_schedule_slot_s(&schedule, 0), instant(days[i].open), "%s", days[i].day);
		tb_schedule_drop(&schedule);
	}
	tb_calendar_drop(&calendar);
}

Test(gaps_calendar, a_day_around_the_clock_has_23_or_25_hours_where_it_does)
{
	tb_calendar calendar = calendar_of("zone: America/New_York\ninterval: 5min\nsessions:\n"
	                                   "  - { days: mon-sun, open: \"00:00\", close: \"24:00\" }\n");
	static const struct {
		const char *day;
		uint32_t slots;
	} days[] = { { "2026-03-07", 288 }, { "2026-03-08", 276 }, { "2026-11-01", 300 }, { "2026-11-02", 288 } };
	for (size_t i = 0; i < sizeof(days) / sizeof(*days); i++) {
		tb_schedule schedule = schedule_of(&calendar, days[i].day, days[i].day);
		cr_assert_eq(schedule.slot_count, days[i].slots, "%s", days[i].day);
		tb_schedule_drop(&schedule);
	}
	tb_calendar_drop(&calendar);
}

Test(gaps_calendar, clocks_that_are_put_forward_and_back_are_known)
{
	const tb_zone *zone;
	int64_t instants[2];
	cr_assert_eq(tb_zone_find("America/New_York", &zone, NULL), TB_OK);
	cr_assert_eq(tb_zone_utc(zone, instant("2026-03-08T02:30:00Z"), instants), 0);
	cr_assert_eq(instants[0], instant("2026-03-08T07:30:00Z"));
	cr_assert_eq(tb_zone_utc(zone, instant("2026-11-01T01:30:00Z"), instants), 2);
	cr_assert_eq(instants[0], instant("2026-11-01T05:30:00Z"));
	cr_assert_eq(instants[1], instant("2026-11-01T06:30:00Z"));
	cr_assert_eq(tb_zone_utc(zone, instant("2026-07-01T01:30:00Z"), instants), 1);
	cr_assert_eq(instants[0], instant("2026-07-01T05:30:00Z"));
	cr_assert_eq(tb_zone_local(zone, instants[0]), instant("2026-07-01T01:30:00Z"));
}

Test(gaps_calendar, zones_that_are_none_are_refused)
{
	static const char *const names[] = { "", "Moon", "America", "../../etc/passwd", "/etc/localtime", "America/Nowhere",
		                                 "UTC+1:00", "America/New_York ", "EST 5" };
	const tb_zone *zone;
	tb_err err;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		cr_assert_eq(tb_zone_find(names[i], &zone, &err), TB_EINVAL, "%s", names[i]);
}

Test(gaps_calendar, a_session_may_go_over_midnight)
{
	tb_calendar calendar = calendar_of("zone: America/Chicago\ninterval: 1h\nsessions:\n"
	                                   "  - { days: \"sun, mon-thu\", open: \"17:00\", close: \"16:00\" }\n");
	tb_schedule schedule = schedule_of(&calendar, "2026-01-04", "2026-01-10");
	cr_assert_eq(schedule.session_count, 5);
	cr_assert_eq(schedule.slot_count, 5 * 23);
	cr_assert_eq(tb_schedule_slot_s(&schedule, 0), instant("2026-01-04T23:00:00Z"));
	cr_assert_eq(tb_schedule_slot_s(&schedule, 114), instant("2026-01-09T21:00:00Z"));
	cr_assert(tb_calendar_in_hours(&calendar, instant("2026-01-05T03:00:00Z")));
	cr_assert_not(tb_calendar_in_hours(&calendar, instant("2026-01-05T16:30:00Z")));
	cr_assert_not(tb_calendar_in_hours(&calendar, instant("2026-01-04T16:59:59Z")));
	done(&calendar, &schedule);
}

Test(gaps_calendar, what_a_file_says_wrong_is_refused_with_its_line)
{
	static const struct {
		const char *text, *says;
	} files[] = {
		{ "", "it:1:" },
		{ "- a\n", "it:1:" },
		{ "zone: Moon\n", "it:1: there is no time zone 'Moon'" },
		{ "zone: UTC\nzone: UTC\n", "it:2: this is given for the second time: 'zone'" },
		{ "zone: UTC\ninterval: 5\n", "it:2: an interval" },
		{ "interval: 0min\n", "it:1: an interval" },
		{ "interval: 25h\n", "it:1: an interval" },
		{ "colour: red\n", "it:1: a calendar has nothing that is called 'colour'" },
		{ "zone: [UTC]\n", "it:1: no list" },
		{ "zone: &a UTC\nname: *a\n", "it:2: no list, alias" },
		{ "zone: {a: {b: {c: {d: e}}}}\n", "it:1: no list, alias or deeper map" },
		{ "zone: UTC\n---\nzone: UTC\n", "it:2: a second document" },
		{ "sessions:\n  - mon\n", "it:2: a session was expected" },
		{ "sessions:\n  - { days: mon-fri, open: \"08:00\" }\n", "it:2: a session has days, open and close" },
		{ "sessions:\n  - { days: monday, open: \"08:00\" }\n", "it:2: days are such as" },
		{ "sessions:\n  - { days: \"mon,\", open: \"08:00\" }\n", "it:2: days are such as" },
		{ "sessions:\n  - { days: mon, days: tue, open: \"08:00\" }\n", "it:2: this is given for the second time" },
		{ "sessions:\n  - { days: mon, open: 8:00 }\n", "it:2: a time is such as" },
		{ "sessions:\n  - { days: mon, open: \"08:60\" }\n", "it:2: a time is such as" },
		{ "sessions:\n  - { days: mon, open: \"24:01\" }\n", "it:2: a time is such as" },
		{ "sessions:\n  - { days: mon, open: \"24:00\", close: \"01:00\" }\n", "it:2: a session opens before 24:00" },
		{ "sessions:\n  - { open: \"08:00\", open: \"09:00\" }\n", "it:2: a session opens and closes once" },
		{ "holidays: { fixed: { 02-30: x } }\n", "it:1: a day of each year is such as 12-25, and not '02-30'" },
		{ "holidays: { next-monday: { 1-6: x } }\n", "it:1: a day of each year" },
		{ "holidays: { easter: { good: x } }\n", "it:1: days from Easter" },
		{ "holidays: { easter: { 201: x } }\n", "it:1: days from Easter" },
		{ "holidays: { easter: { 1234567890: x } }\n", "it:1: days from Easter" },
		{ "holidays: { dates: { 2026-02-29: x } }\n", "it:1: a date is such as" },
		{ "holidays: { ics: ../x.ics }\n", "it:1: an .ics file" },
		{ "zone: UTC\ninterval: 5min\n", "it: a calendar needs sessions" },
		{ "interval: 5min\n", "it: a calendar needs zone" },
		{ "zone: UTC\n", "it: a calendar needs interval" },
		{ "zone: UTC\ninterval: 7min\nsessions: [ { days: mon, open: \"08:00\", close: \"09:00\" } ]\n",
		  "it: session 1 is not a whole number" },
		{ AROUND "  \n# and\n", NULL },
		{ "zone: UTC\ninterval: 5min\nsessions: [ { days: mon, open: \"20:00\", close: \"09:00\" }, "
		  "{ days: tue, open: \"08:00\", close: \"09:00\" } ]\n", "it: two sessions overlap" },
	};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		tb_calendar calendar = { 0 };
		tb_err err;
		tb_rc rc = tb_calendar_read(tb_span_text(files[i].text), "it", NULL, NULL, &calendar, &err);
		cr_assert_eq(rc, files[i].says ? TB_EINVAL : TB_OK, "%s", files[i].text);
		if (rc != TB_OK)
			cr_assert_eq(strncmp(err.text, files[i].says, strlen(files[i].says)), 0, "%s: %s", files[i].text, err.text);
		tb_calendar_drop(&calendar);
	}
}

Test(gaps_calendar, a_file_cut_or_flipped_is_read_or_refused)
{
	static const char text[] = "name: A\nzone: UTC\ninterval: 5min\nsessions:\n  - days: mon-fri\n    open: \"08:00\"\n"
	                           "    close: \"13:00\"\nholidays:\n  fixed: { 01-01: a }\n  easter: { -2: b }\n";
	char changed[sizeof(text)];
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		for (int bit = -1; bit < 8; bit++) { /* -1: cut there */
			tb_calendar calendar = { 0 };
			tb_err err;
			memcpy(changed, text, sizeof(text));
			changed[i] = (char)(changed[i] ^ (bit < 0 ? 0 : 1 << bit));
			tb_rc rc = tb_calendar_read(tb_span_of(changed, bit < 0 ? i : sizeof(text) - 1), "it", NULL, NULL, &calendar, &err);
			cr_assert(rc == TB_OK || (rc == TB_EINVAL && strncmp(err.text, "it:", 3) == 0), "%zu %d: %s", i, bit, err.text);
			cr_assert(rc == TB_OK || calendar.zone == NULL);
			tb_calendar_drop(&calendar);
		}
}

Test(gaps_calendar, more_slots_than_anyone_wants_are_refused)
{
	tb_calendar calendar = calendar_of("zone: UTC\ninterval: 1s\nsessions: [ { days: mon-sun, open: \"00:00\", close: \"24:00\" } ]\n");
	tb_schedule schedule = { 0 };
	tb_err err;
	cr_assert_eq(tb_schedule_make(&calendar, day("2026-01-01"), day("2026-12-31"), &schedule, &err), TB_EINVAL);
	cr_assert_null(schedule.sessions);
	cr_assert_eq(tb_schedule_make(&calendar, day("2026-01-02"), day("2026-01-01"), &schedule, &err), TB_EINVAL);
	tb_calendar_drop(&calendar);
}

Test(gaps_calendar, a_holiday_on_29_february_is_in_leap_years_alone)
{
	tb_calendar calendar = calendar_of(AROUND "holidays: { fixed: { 02-29: x } }\n");
	tb_schedule schedule = schedule_of(&calendar, "2025-01-01", "2029-12-31");
	cr_assert_eq(schedule.holiday_count, 1);
	cr_assert_eq(schedule.holidays[0].day, day("2028-02-29"));
	done(&calendar, &schedule);
}

/* 02:30 to 03:00 isn't there on that day. */
Test(gaps_calendar, a_session_that_the_clock_leaves_out_has_no_slots)
{
	tb_calendar calendar = calendar_of("zone: America/New_York\ninterval: 5min\nsessions:\n"
	                                   "  - { days: mon-sun, open: \"02:30\", close: \"03:00\" }\n");
	tb_schedule schedule = schedule_of(&calendar, "2026-03-07", "2026-03-09");
	cr_assert_eq(schedule.session_count, 2);
	cr_assert_eq(schedule.slot_count, 12);
	done(&calendar, &schedule);
}

/* head, then line as often as said. */
static void assert_too_much(const char *head, const char *line, size_t count, const char *says)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_calendar calendar = { 0 };
	tb_err err;
	tb_buf_print(&text, "%s", head);
	for (size_t i = 0; i < count; i++)
		tb_buf_append_span(&text, tb_span_text(line));
	cr_assert_eq(tb_calendar_read(tb_buf_span(&text), "it", NULL, NULL, &calendar, &err), TB_EINVAL);
	cr_assert_not_null(strstr(err.text, says), "%s", err.text);
}

Test(gaps_calendar, a_file_has_bounds)
{
	assert_too_much("sessions:\n", "  - { days: mon, open: \"08:00\", close: \"09:00\" }\n", TB_SESSION_RULES_MAX + 1,
	                "it:66: there are too many sessions");
	assert_too_much("holidays:\n  dates:\n", "    2026-01-02: x\n", TB_HOLIDAY_RULES_MAX + 1, "there are too many holidays");
	assert_too_much("name: ", "x", 201, "it:1: a value is longer than 200 bytes");
	assert_too_much("", "x", 200, "it:1: ");
}

/* Holidays in .ics files */

#define ICS(events) "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n" events "END:VCALENDAR\r\n"
#define EVENT(lines) "BEGIN:VEVENT\r\nUID:1\r\n" lines "END:VEVENT\r\n"

static tb_rc read_ics(const char *text, tb_calendar *calendar, tb_err *err)
{
	*calendar = calendar_of(AROUND);
	return tb_calendar_ics(calendar, tb_span_text(text), "it.ics", err);
}

Test(gaps_calendar, whole_days_of_an_ics_file_are_holidays)
{
	tb_calendar calendar;
	tb_err err;
	cr_assert_eq(read_ics(ICS(EVENT("DTSTART;VALUE=DATE:20260703\r\nSUMMARY:Observed\r\n")
	                          EVENT("DTSTART;VALUE=DATE:20261224\r\nDTEND;VALUE=DATE:20261227\r\nSUMMARY:Christmas\r\n")
	                          EVENT("DTSTART;VALUE=DATE:20200101\r\nRRULE:FREQ=YEARLY\r\nSUMMARY:New Year\r\n")
	                          EVENT("DTSTART;VALUE=DATE:20260601\r\nSTATUS:CANCELLED\r\nSUMMARY:None\r\n")),
	                      &calendar, &err), TB_OK, "%s", err.text);
	tb_schedule schedule = schedule_of(&calendar, "2026-01-01", "2027-01-01");
	static const char *const days[] = { "2026-01-01", "2026-07-03", "2026-12-24", "2026-12-25", "2026-12-26", "2027-01-01" };
	cr_assert_eq(schedule.holiday_count, 6);
	for (size_t i = 0; i < 6; i++)
		cr_assert_eq(schedule.holidays[i].day, day(days[i]), "%s", days[i]);
	cr_assert_str_eq(schedule.holidays[1].name, "Observed");
	done(&calendar, &schedule);
}

Test(gaps_calendar, an_ics_file_that_is_not_understood_is_refused)
{
	static const char *const files[] = {
		"", "x", "BEGIN:VCALENDAR\r\n", ICS(""), ICS("END:VEVENT\r\n"), ICS("BEGIN:VEVENT\r\n"), ICS(EVENT("SUMMARY:no day\r\n")),
		EVENT("DTSTART;VALUE=DATE:20260703\r\n"), /* in no calendar */
		ICS(EVENT("DTSTART:20260703T130000Z\r\n")),
		ICS(EVENT("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=SECONDLY\r\n")),
		ICS(EVENT("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=NEVER\r\n")),
		ICS(EVENT("DTSTART;VALUE=DATE:tomorrow\r\n")),
		ICS(EVENT("DTSTART;VALUE=DATE:18000101\r\n")),
		ICS(EVENT("DTSTART;VALUE=DATE:20260703\r\nRECURRENCE-ID;VALUE=DATE:20260704\r\n")),
		ICS(EVENT("DTSTART;VALUE=DATE:20260703\r\nDTEND:20260704T120000Z\r\n")),
		ICS(EVENT("DTSTART;VALUE=DATE:19800101\r\nDTEND;VALUE=DATE:20990101\r\n")
		    EVENT("DTSTART;VALUE=DATE:19800101\r\nDTEND;VALUE=DATE:20990101\r\n")),
	};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		tb_calendar calendar;
		tb_err err;
		cr_assert_eq(read_ics(files[i], &calendar, &err), TB_EINVAL, "%s", files[i]);
		tb_calendar_drop(&calendar);
	}
}

Test(gaps_calendar, an_ics_file_that_was_cut_is_refused)
{
	static const char text[] = ICS(EVENT("DTSTART;VALUE=DATE:20260703\r\nSUMMARY:a\r\n")
	                               EVENT("DTSTART;VALUE=DATE:20260704\r\nSUMMARY:b\r\n"));
	for (size_t size = 0; size < sizeof(text) - 3; size++) { /* the last newline isn't needed */
		char cut[sizeof(text)];
		tb_calendar calendar;
		tb_err err;
		snprintf(cut, sizeof(cut), "%.*s", (int)size, text);
		cr_assert_eq(read_ics(cut, &calendar, &err), TB_EINVAL, "cut at %zu", size);
		tb_calendar_drop(&calendar);
	}
}

Test(gaps_calendar, an_ics_file_with_a_flipped_bit_is_read_or_refused)
{
	static const char text[] = ICS(EVENT("DTSTART;VALUE=DATE:20260703\r\nRRULE:FREQ=YEARLY;COUNT=3\r\nSUMMARY:a\r\n"));
	for (size_t at = 0; at < sizeof(text) - 1; at++)
		for (int bit = 0; bit < 8; bit++) {
			char flipped[sizeof(text)];
			tb_calendar calendar;
			tb_err err;
			memcpy(flipped, text, sizeof(text));
			flipped[at] = (char)(flipped[at] ^ 1 << bit);
			tb_rc rc = read_ics(flipped, &calendar, &err);
			cr_assert(rc == TB_OK || rc == TB_EINVAL);
			cr_assert(rc != TB_OK || calendar.holiday_count > 0, "%zu %d: its only holiday is left out", at, bit);
			tb_calendar_drop(&calendar);
		}
}
