/* Days of the calendar as numbers: days since 1970-01-01, in whatever zone the caller means. */
#ifndef TB_GAPS_DAY_H
#define TB_GAPS_DAY_H

#include "base/buf.h"

#define TB_DAY_S 86400
#define TB_YEAR_FIRST 1980 /* zones are right from here … */
#define TB_YEAR_LAST 2099  /* … to here */
#define TB_DAY_TEXT 16

typedef int32_t tb_day;

typedef struct tb_date {
	int year, month, day; /* month and day from 1 */
} tb_date;

tb_day tb_day_of(int year, int month, int day); /* the date must exist */
tb_date tb_day_date(tb_day day);
int tb_day_weekday(tb_day day); /* 0 is Monday */
/* 0: there is no such day in that year. */
int tb_date_exists(int year, int month, int day);
/* "2026-01-31", from TB_YEAR_FIRST to TB_YEAR_LAST; 0 when it isn't that. */
int tb_day_parse(tb_span text, tb_day *ret_day);
void tb_day_text(char out[TB_DAY_TEXT], tb_day day);
/* Easter Sunday of the Gregorian calendar. */
tb_day tb_easter(int year);
/* Digits of text, all of them: 0 when there are none, others, or more than nine. */
int tb_digits(tb_span text, int *ret_value);
int64_t tb_floor_div(int64_t value, int64_t by);

#endif
