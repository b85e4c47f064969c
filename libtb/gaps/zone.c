#include "gaps/zone.h"

#include "gaps/day.h"

#include <libical/ical.h>

static int name_valid(const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/";
	size_t size = strlen(name);
	return size > 0 && size < TB_ZONE_NAME && strspn(name, letters) == size && *name != '/';
}

tb_rc tb_zone_find(const char *name, const tb_zone **ret_zone, tb_err *err)
{
	icaltimezone *zone = NULL;
	if (strcmp(name, "UTC") == 0)
		zone = icaltimezone_get_utc_timezone();
	else if (name_valid(name))
		zone = icaltimezone_get_builtin_timezone(name);
	if (zone == NULL) {
		tb_fail(err, TB_EINVAL, "there is no time zone '%.64s'", name);
		tb_hint(err, "zones have names such as UTC, America/Bogota or America/New_York; they come with Debian's tzdata");
		return TB_EINVAL;
	}
	*ret_zone = (const tb_zone *)zone;
	return TB_OK;
}

static icaltimezone *zone_of(const tb_zone *zone)
{
	return (icaltimezone *)(uintptr_t)zone; /* libical fills its tables as it goes */
}

static int64_t offset_at(const tb_zone *zone, int64_t utc_s)
{
	const int64_t last = (int64_t)tb_day_of(TB_YEAR_LAST + 1, 1, 7) * TB_DAY_S;
	utc_s = utc_s < 0 ? 0 : utc_s > last ? last : utc_s; /* nobody knows more */
	int64_t day = tb_floor_div(utc_s, TB_DAY_S);
	int in_day = (int)(utc_s - day * TB_DAY_S), summer;
	tb_date date = tb_day_date((tb_day)day);
	struct icaltimetype time = icaltime_null_time();
	if (zone_of(zone) == icaltimezone_get_utc_timezone())
		return 0;
	time.year = date.year;
	time.month = date.month;
	time.day = date.day;
	time.hour = in_day / 3600;
	time.minute = in_day / 60 % 60;
	time.second = in_day % 60;
	time.zone = icaltimezone_get_utc_timezone();
	return icaltimezone_get_utc_offset_of_utc_time(zone_of(zone), &time, &summer);
}

int64_t tb_zone_local(const tb_zone *zone, int64_t utc_s)
{
	return utc_s + offset_at(zone, utc_s);
}

int tb_zone_utc(const tb_zone *zone, int64_t local_s, int64_t ret_utc_s[2])
{
	/* No zone is a whole day from UTC, and none changes twice in two days. */
	int64_t before = local_s - offset_at(zone, local_s - TB_DAY_S), after = local_s - offset_at(zone, local_s + TB_DAY_S);
	int count = 0;
	ret_utc_s[0] = before;
	if (tb_zone_local(zone, before) == local_s)
		ret_utc_s[count++] = before;
	if (after != before && tb_zone_local(zone, after) == local_s)
		ret_utc_s[count++] = after;
	return count;
}
