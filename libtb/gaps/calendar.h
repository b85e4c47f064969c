/* Market calendars: when is which bar expected?
 *
 * A calendar is a file (deploy/calendars has those that are shipped):
 *
 *	name: Colombian FX
 *	zone: America/Bogota         # of all times below
 *	interval: 5min               # of the bars: s, min, h or d
 *	sessions:
 *	  - days: mon-fri            # also "sun, tue-thu"
 *	    open: "08:00"            # bars that open at or after this …
 *	    close: "13:00"           # … and before that; not later than open: on the next day; "24:00" is midnight
 *	holidays:                    # no session begins on them; each has a name, for reports
 *	  fixed: { 01-01: New Year }           # month-day, each year
 *	  next-monday: { 01-06: Epiphany }     # on the Monday after, unless the day is one
 *	  easter: { -2: Good Friday }          # days from Easter Sunday
 *	  dates: { 2026-07-03: Observed }      # once
 *	  ics: holidays.ics                    # whole-day events of an iCalendar file, beside the calendar's
 *
 * A session begins on its days by the wall clock, and its bars follow each other by the interval from its open on; so
 * daylight saving moves them as it moves the clock. Sessions may not overlap. */
#ifndef TB_GAPS_CALENDAR_H
#define TB_GAPS_CALENDAR_H

#include "base/disk.h"
#include "gaps/day.h"
#include "gaps/zone.h"

#define TB_CALENDAR_SIZE_MAX (1u << 20)
#define TB_ICS_SIZE_MAX (4u << 20)
#define TB_SESSION_RULES_MAX 64u
#define TB_HOLIDAY_RULES_MAX 65536u
#define TB_SLOTS_MAX 16000000u /* of a period */

typedef struct tb_session_rule {
	unsigned days;          /* bit 0 is Monday */
	int open_s, close_s;    /* of the wall clock, from midnight of its day; close_s > open_s, up to 48 h */
} tb_session_rule;

typedef enum tb_holiday_kind { TB_HOLIDAY_FIXED, TB_HOLIDAY_NEXT_MONDAY, TB_HOLIDAY_EASTER, TB_HOLIDAY_DATE } tb_holiday_kind;

typedef struct tb_holiday_rule {
	tb_holiday_kind kind;
	int month, day; /* fixed and next Monday */
	int offset;     /* days from Easter, or the date itself as a tb_day */
	char *name;
} tb_holiday_rule;

typedef struct tb_calendar { /* { 0 } is none */
	char *name;
	char zone_name[TB_ZONE_NAME];
	const tb_zone *zone;
	int interval_s;
	tb_session_rule sessions[TB_SESSION_RULES_MAX];
	size_t session_count;
	tb_holiday_rule *holidays;
	size_t holiday_count;
} tb_calendar;

/* A calendar's text. `beside` is the folder of its .ics file; NULL: it may have none. TB_EINVAL names `path`, the line
 * and what is wrong. */
tb_rc tb_calendar_read(tb_span text, const char *path, tb_disk *disk, const char *beside, tb_calendar *ret_calendar,
                       tb_err *err);
/* The same from a file; TB_ENOTFOUND. */
tb_rc tb_calendar_load(tb_disk *disk, const char *path, tb_calendar *ret_calendar, tb_err *err);
void tb_calendar_drop(tb_calendar *calendar);

/* Adds the whole-day events of an iCalendar file, recurring ones as often as they recur in the years that there are.
 * TB_EINVAL: it isn't one, has an event that isn't of whole days, recurs within the day, or too often. */
tb_rc tb_calendar_ics(tb_calendar *calendar, tb_span text, const char *path, tb_err *err);
/* Takes the name. 0: there are too many. */
int tb_calendar_add_holiday(tb_calendar *calendar, tb_holiday_kind kind, tb_date date, int offset, const char *name);

/* Is that moment of the wall clock within session hours, whatever holiday it is? */
int tb_calendar_in_hours(const tb_calendar *calendar, int64_t local_s);
/* Does a session begin on that weekday (0: Monday)? */
int tb_calendar_has_weekday(const tb_calendar *calendar, int weekday);

typedef struct tb_holiday {
	tb_day day;
	char *name; /* of several on one day: joined by " / ", in the calendar's order */
} tb_holiday;

typedef struct tb_session {
	tb_day day;      /* it begins on */
	int64_t open_s;  /* instant of its first slot */
	uint32_t first;  /* index of that slot among all */
	uint32_t count;  /* slots; at least one */
} tb_session;

typedef struct tb_schedule { /* of a period: { 0 } is none */
	tb_day from, to; /* sessions that begin on these days or between */
	int interval_s;
	tb_session *sessions; /* in the order of time, not overlapping */
	size_t session_count;
	uint32_t slot_count;
	tb_holiday *holidays; /* a row a day, whatever weekday */
	size_t holiday_count;
} tb_schedule;

/* TB_EINVAL: the period is empty, or has more than TB_SLOTS_MAX slots. */
tb_rc tb_schedule_make(const tb_calendar *calendar, tb_day from, tb_day to, tb_schedule *ret_schedule, tb_err *err);
void tb_schedule_drop(tb_schedule *schedule);
const tb_holiday *tb_schedule_holiday(const tb_schedule *schedule, tb_day day); /* NULL: it is none */
/* The session of a slot, by its index; and the slot's instant. */
const tb_session *tb_schedule_session(const tb_schedule *schedule, uint32_t slot);
int64_t tb_schedule_slot_s(const tb_schedule *schedule, uint32_t slot);
/* The session that was the last to open at that instant; NULL: none had. */
const tb_session *tb_schedule_at(const tb_schedule *schedule, int64_t utc_s);

#endif
