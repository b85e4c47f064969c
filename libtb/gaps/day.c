#include "gaps/day.h"

#include <stdio.h>

int64_t tb_floor_div(int64_t value, int64_t by)
{
	return value / by - (value % by < 0);
}

/* Years begin in March here, so that the leap day is their last. */
tb_day tb_day_of(int year, int month, int day)
{
	int from_march = year - (month <= 2);
	int century_4 = (int)tb_floor_div(from_march, 400), in_century_4 = from_march - century_4 * 400;
	int in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	return century_4 * 146097 + in_century_4 * 365 + in_century_4 / 4 - in_century_4 / 100 + in_year - 719468;
}

tb_date tb_day_date(tb_day day)
{
	int shifted = day + 719468, century_4 = (int)tb_floor_div(shifted, 146097);
	int rest = shifted - century_4 * 146097;
	int in_century_4 = (rest - rest / 1460 + rest / 36524 - rest / 146096) / 365;
	int in_year = rest - (365 * in_century_4 + in_century_4 / 4 - in_century_4 / 100);
	int march_month = (5 * in_year + 2) / 153, month = march_month + (march_month < 10 ? 3 : -9);
	return (tb_date){ in_century_4 + century_4 * 400 + (month <= 2), month, in_year - (153 * march_month + 2) / 5 + 1 };
}

int tb_day_weekday(tb_day day)
{
	int64_t since_monday = (int64_t)day + 3; /* 1970-01-01 was a Thursday */
	return (int)(since_monday - tb_floor_div(since_monday, 7) * 7);
}

int tb_date_exists(int year, int month, int day)
{
	if (month < 1 || month > 12 || day < 1 || day > 31)
		return 0;
	tb_date same = tb_day_date(tb_day_of(year, month, day));
	return same.month == month && same.day == day;
}

int tb_digits(tb_span text, int *ret_value)
{
	int value = 0;
	if (text.size == 0 || text.size > 9)
		return 0;
	for (size_t i = 0; i < text.size; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return 0;
		value = value * 10 + (text.data[i] - '0');
	}
	*ret_value = value;
	return 1;
}

int tb_day_parse(tb_span text, tb_day *ret_day)
{
	int year, month, day;
	if (text.size != 10 || text.data[4] != '-' || text.data[7] != '-' || !tb_digits(tb_span_of(text.data, 4), &year) ||
	    !tb_digits(tb_span_of(text.data + 5, 2), &month) || !tb_digits(tb_span_of(text.data + 8, 2), &day))
		return 0;
	if (year < TB_YEAR_FIRST || year > TB_YEAR_LAST || !tb_date_exists(year, month, day))
		return 0;
	*ret_day = tb_day_of(year, month, day);
	return 1;
}

void tb_day_text(char out[TB_DAY_TEXT], tb_day day)
{
	tb_date date = tb_day_date(day);
	snprintf(out, TB_DAY_TEXT, "%04d-%02d-%02d", date.year % 10000, date.month % 100, date.day % 100);
}

/* As Butcher found it in 1876: the cycle of the moon, then the Sunday behind it. */
tb_day tb_easter(int year)
{
	int golden = year % 19, century = year / 100, in_century = year % 100;
	int correction = (century - (century + 8) / 25 + 1) / 3;
	int moon = (19 * golden + century - century / 4 - correction + 15) % 30;
	int sunday = (32 + 2 * (century % 4) + 2 * (in_century / 4) - moon - in_century % 4) % 7;
	int late = (golden + 11 * moon + 22 * sunday) / 451;
	int sum = moon + sunday - 7 * late + 114;
	return tb_day_of(year, sum / 31, sum % 31 + 1);
}
