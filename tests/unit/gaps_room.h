/* Calendars for tests of gaps. */
#ifndef TESTS_GAPS_ROOM_H
#define TESTS_GAPS_ROOM_H

#include "base/clock.h"
#include "gaps/gaps.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define AROUND "zone: UTC\ninterval: 5min\nsessions: [ { days: mon-sun, open: \"00:00\", close: \"24:00\" } ]\n"
#define NEW_YORK \
	"zone: America/New_York\ninterval: 5min\nsessions: [ { days: mon-fri, open: \"09:30\", close: \"16:00\" } ]\n"

/* One of those that are shipped, in the tree that this was compiled from. */
static inline tb_calendar shipped_calendar(const char *name)
{
	char path[4096];
	tb_calendar calendar = { 0 };
	tb_err err;
	snprintf(path, sizeof(path), "%.*s../../deploy/calendars/%s.yaml",
	         (int)(strrchr(__FILE__, '/') - __FILE__ + 1), __FILE__, name);
	cr_assert_eq(tb_calendar_load(tb_disk_system(), path, &calendar, &err), TB_OK, "%s", err.text);
	return calendar;
}

static inline tb_calendar calendar_of(const char *text)
{
	tb_calendar calendar = { 0 };
	tb_err err;
	cr_assert_eq(tb_calendar_read(tb_span_text(text), "it", NULL, NULL, &calendar, &err), TB_OK, "%s", err.text);
	return calendar;
}

static inline tb_day day(const char *text)
{
	tb_day value;
	cr_assert(tb_day_parse(tb_span_text(text), &value), "%s", text);
	return value;
}

static inline tb_schedule schedule_of(const tb_calendar *calendar, const char *from, const char *to)
{
	tb_schedule schedule = { 0 };
	tb_err err;
	cr_assert_eq(tb_schedule_make(calendar, day(from), day(to), &schedule, &err), TB_OK, "%s", err.text);
	return schedule;
}

/* Seconds of an instant, as "2026-01-02T13:00:00Z". */
static inline int64_t instant(const char *text)
{
	uint64_t ns;
	cr_assert(tb_time_parse(text, &ns), "%s", text);
	return (int64_t)(ns / TB_NS_PER_S);
}

#endif
