#include "gaps/gaps.h"

#include <stdlib.h>

#define NS 1000000000

tb_rc tb_bars_add(tb_bars *bars, int64_t time_ns, tb_err *err)
{
	if (bars->count >= TB_BARS_MAX) {
		tb_fail(err, TB_EFULL, "there are more than %u bars", TB_BARS_MAX);
		tb_hint(err, "look at a part of them at a time");
		return TB_EFULL;
	}
	if (bars->count == bars->room) {
		bars->room = bars->room ? 2 * bars->room : 4096;
		bars->times_ns = tb_realloc(bars->times_ns, bars->room * sizeof(*bars->times_ns));
	}
	bars->times_ns[bars->count++] = time_ns;
	return TB_OK;
}

void tb_bars_drop(tb_bars *bars)
{
	free(bars->times_ns);
	*bars = (tb_bars){ 0 };
}

uint64_t tb_bars_repair(tb_bars *bars, const tb_calendar *calendar)
{
	uint64_t repaired = 0;
	for (size_t i = 0; i < bars->count; i++) {
		int64_t as_utc = tb_floor_div(bars->times_ns[i], NS), rest = bars->times_ns[i] - as_utc * NS, instants[2];
		if (tb_calendar_in_hours(calendar, tb_zone_local(calendar->zone, as_utc)) ||
		    !tb_calendar_in_hours(calendar, as_utc) || tb_zone_utc(calendar->zone, as_utc, instants) != 1)
			continue;
		bars->times_ns[i] = instants[0] * NS + rest;
		repaired++;
	}
	return repaired;
}
