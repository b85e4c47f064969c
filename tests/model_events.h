/* A stream of made-up events: a number says what its event is, and a model knows the state at each of them by brute
 * force. Some change nothing, some belong to memory banks, some can't be read. */
#ifndef TESTS_MODEL_EVENTS_H
#define TESTS_MODEL_EVENTS_H

#include "store/chunker.h"
#include "wire/event.h"
#include "wire/frame.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define KEYS 24u
#define BASE_NS UINT64_C(1700000000000000000)
#define SECOND_NS UINT64_C(1000000000)

enum kind { PUT, PUT_SAME, REMOVE, REMOVE_NOTHING, GHOST, BROKEN };

static inline enum kind kind_of(uint64_t number)
{
	static const enum kind kinds[] = { PUT, PUT, GHOST, REMOVE, PUT, PUT_SAME, PUT, REMOVE_NOTHING, PUT, GHOST, PUT };
	if (number % 17 == 0)
		return BROKEN;
	return kinds[number % (sizeof(kinds) / sizeof(kinds[0]))];
}

static inline const char *key_of(uint64_t number)
{
	static char keys[4][16];
	static int next;
	char *key = keys[next++ % 4];
	uint64_t spread = kind_of(number) == PUT_SAME ? 0 : number * 7 + number / 5;
	snprintf(key, sizeof(keys[0]), kind_of(number) == REMOVE_NOTHING ? "no:%02u" : "key:%02u", (unsigned)(spread % KEYS));
	return key;
}

static inline uint64_t time_of(uint64_t number)
{
	if (number % 23 == 5)
		return BASE_NS + UINT64_C(90000) * SECOND_NS; /* more than a day ahead: doesn't count */
	return BASE_NS + (number % 7 == 3 ? number - 3 : number) * (SECOND_NS / 1000);
}

static unsigned large_every, large_size; /* a test may want some large values: for several chunks */

static inline void value_of(uint64_t number, tb_buf *to)
{
	tb_buf_clear(to);
	if (kind_of(number) == PUT_SAME)
		tb_buf_print(to, "always the same");
	else
		tb_buf_print(to, "value %llu", (unsigned long long)number);
	if (large_every != 0 && number % large_every == 0)
		tb_buf_print(to, " %0*llu", (int)large_size, (unsigned long long)number);
}

/* Appends it to a body of EVENTS. */
static inline void pack_event(tb_buf *body, uint64_t number)
{
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 }, value = { 0 };
	tb_event event;
	enum kind kind = kind_of(number);
	tb_event_default(&event, kind == GHOST ? TB_EVENT_GHOST : TB_EVENT_DELTA);
	event.time_ns = time_of(number);
	const char *key = key_of(number);
	value_of(number, &value);
	if (kind == GHOST) {
		event.body.ghost.event_type = "ghost_trigger";
		event.body.ghost.trigger = "t";
		event.body.ghost.pair = number % 2 ? "BTC→ETH" : "ETH→BTC";
		event.body.ghost.bit_phase = 8;
	} else {
		event.body.delta.key = (tb_bytes){ key, strlen(key) };
		event.body.delta.remove = kind == REMOVE || kind == REMOVE_NOTHING;
		if (!event.body.delta.remove)
			event.body.delta.value = (tb_bytes){ value.data, value.size };
	}
	cr_assert_eq(tb_event_pack(&canonical, &event, BASE_NS, NULL, NULL), TB_OK);
	if (kind == BROKEN)
		canonical.data[canonical.size - 1] ^= 0xff, canonical.size--;
	tb_events_append(body, tb_buf_span(&canonical));
}

/* The last number up to `at` that put the key; 0: it isn't there. */
static inline uint64_t model_put(const char *key, uint64_t at)
{
	for (uint64_t number = at; number > 0; number--) {
		enum kind kind = kind_of(number);
		if (kind == GHOST || kind == BROKEN || strcmp(key_of(number), key) != 0)
			continue;
		return kind == PUT || kind == PUT_SAME ? number : 0;
	}
	return 0;
}

static inline uint64_t model_sum(uint64_t at, tb_sum *ret_sum)
{
	tb_auto(tb_buf_drop) tb_buf value = { 0 };
	uint64_t keys = 0;
	*ret_sum = (tb_sum){ 0 };
	for (unsigned i = 0; i < KEYS; i++) {
		char key[16];
		snprintf(key, sizeof(key), "key:%02u", i);
		uint64_t number = model_put(key, at);
		if (number == 0)
			continue;
		value_of(number, &value);
		tb_sum_add(ret_sum, tb_span_text(key), tb_buf_span(&value));
		keys++;
	}
	return keys;
}

static inline uint64_t model_effective(uint64_t at)
{
	uint64_t effective = 0;
	for (uint64_t number = 1; number <= at; number++)
		if (kind_of(number) != BROKEN && time_of(number) <= BASE_NS + UINT64_C(86400) * SECOND_NS &&
		    time_of(number) > effective)
			effective = time_of(number);
	return effective;
}

#endif
