/* Clocks come in as a parameter, so that a test can own them. */
#ifndef TB_BASE_CLOCK_H
#define TB_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define TB_NS_PER_S UINT64_C(1000000000)
#define TB_NS_PER_MS UINT64_C(1000000)

typedef struct tb_clock {
	void *self;
	uint64_t (*real_ns)(void *self); /* since 1970, UTC; may jump */
	uint64_t (*mono_ns)(void *self); /* never goes back; for intervals */
} tb_clock;

const tb_clock *tb_clock_system(void);

static inline uint64_t tb_real_ns(const tb_clock *clock)
{
	return clock->real_ns(clock->self);
}
static inline uint64_t tb_mono_ns(const tb_clock *clock)
{
	return clock->mono_ns(clock->self);
}

/* "2026-01-02T03:04:05.123456789Z"; room for 32 bytes is enough. */
#define TB_TIME_TEXT_SIZE 40
void tb_time_text(char out[TB_TIME_TEXT_SIZE], uint64_t ns);

/* RFC 3339 (any fraction up to nine digits, Z or an offset), or a plain count of nanoseconds. 0 when it is neither. */
int tb_time_parse(const char *text, uint64_t *ret_ns);

#endif
