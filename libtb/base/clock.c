#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
	struct timespec now;
	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * TB_NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t system_real(void *self)
{
	(void)self;
	return read_clock(CLOCK_REALTIME);
}

static uint64_t system_mono(void *self)
{
	(void)self;
	return read_clock(CLOCK_MONOTONIC);
}

const tb_clock *tb_clock_system(void)
{
	static const tb_clock clock = { NULL, system_real, system_mono };
	return &clock;
}

void tb_time_text(char out[TB_TIME_TEXT_SIZE], uint64_t ns)
{
	time_t seconds = (time_t)(ns / TB_NS_PER_S);
	struct tm tm;
	gmtime_r(&seconds, &tm);
	size_t size = strftime(out, TB_TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + size, TB_TIME_TEXT_SIZE - size, ".%09" PRIu64 "Z", ns % TB_NS_PER_S);
}

static int parse_count(const char *text, uint64_t *ret_ns)
{
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 19 || text[digits] != '\0')
		return 0;
	*ret_ns = strtoull(text, NULL, 10);
	return 1;
}

/* Nanoseconds of ".123", advancing past it; 0 when there are no or too many digits. */
static int parse_fraction(const char **at, uint64_t *ret_ns)
{
	uint64_t value = 0;
	int digits = 0;
	for ((*at)++; **at >= '0' && **at <= '9'; (*at)++, digits++) {
		if (digits == 9)
			return 0;
		value = value * 10 + (uint64_t)(**at - '0');
	}
	for (int i = digits; i < 9; i++)
		value *= 10;
	*ret_ns = value;
	return digits > 0;
}

static int parse_offset(const char *at, long *ret_seconds)
{
	if ((*at == 'Z' || *at == 'z') && at[1] == '\0') {
		*ret_seconds = 0;
		return 1;
	}
	int hours, minutes, used = 0;
	if ((*at != '+' && *at != '-') || sscanf(at + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || used != 5 ||
	    at[6] != '\0' || hours > 23 || minutes > 59)
		return 0;
	*ret_seconds = (hours * 3600L + minutes * 60L) * (*at == '-' ? -1 : 1);
	return 1;
}

int tb_time_parse(const char *text, uint64_t *ret_ns)
{
	if (parse_count(text, ret_ns))
		return 1;
	struct tm tm = { 0 };
	const char *at = strptime(text, "%Y-%m-%d", &tm);
	if (at == NULL || (*at != 'T' && *at != 't' && *at != ' '))
		return 0;
	at = strptime(at + 1, "%H:%M:%S", &tm);
	if (at == NULL)
		return 0;
	uint64_t fraction = 0;
	long offset;
	if (*at == '.' && !parse_fraction(&at, &fraction))
		return 0;
	if (!parse_offset(at, &offset))
		return 0;
	time_t seconds = timegm(&tm) - offset;
	if (seconds < 0)
		return 0;
	*ret_ns = (uint64_t)seconds * TB_NS_PER_S + fraction;
	return 1;
}
