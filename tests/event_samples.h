/* Valid events made by chance from a seed, each field that may be missing missing now and then. */
#ifndef TESTS_EVENT_SAMPLES_H
#define TESTS_EVENT_SAMPLES_H

#include "base/arena.h"
#include "tb/events.h"

typedef struct chance {
	uint64_t state; /* not 0 */
	tb_arena *arena;
} chance;

static inline uint64_t chance_next(chance *c)
{
	c->state ^= c->state << 13;
	c->state ^= c->state >> 7;
	c->state ^= c->state << 17;
	return c->state * UINT64_C(0x2545f4914f6cdd1d);
}

static inline uint64_t chance_below(chance *c, uint64_t limit)
{
	return chance_next(c) % limit;
}

static inline const char *chance_text(chance *c, size_t min, size_t max)
{
	static const char *const parts[] = { "a", "Z", "0", " ", "\"", "\\", "\n", "\x01", "\x7f", "é", "→", "€", "𝄞", "/" };
	size_t size = min + chance_below(c, max - min + 1);
	char *text = tb_arena_alloc(c->arena, size * 4 + 1);
	text[0] = '\0';
	for (size_t i = 0; i < size; i++)
		strcat(text, parts[chance_below(c, sizeof(parts) / sizeof(*parts))]);
	return text;
}

static inline const char *chance_text_or_none(chance *c)
{
	return chance_below(c, 3) ? chance_text(c, 0, 150) : NULL;
}

static inline tb_bytes chance_bytes(chance *c, size_t min, size_t max)
{
	size_t size = min + chance_below(c, max - min + 1);
	uint8_t *bytes = tb_arena_alloc(c->arena, size + 1);
	int ascii = (int)chance_below(c, 2);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(chance_next(c) >> 32) & (ascii ? 0x7f : 0xff);
	return (tb_bytes){ bytes, size };
}

static inline const char *chance_word(chance *c, const char *const *words, size_t count)
{
	return words[chance_below(c, count)];
}
#define CHANCE_WORD(c, ...) \
	chance_word(c, (const char *const[]){ __VA_ARGS__ }, sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *))

static inline double chance_double(chance *c)
{
	static const double some[] = { 0.0, -0.0, 1.0, 0.1, -2.5e-7, 1e300, 5e-324, 123456789012345678.0, 100.0 };
	if (chance_below(c, 2))
		return some[chance_below(c, sizeof(some) / sizeof(*some))];
	return (double)(int64_t)chance_next(c) / (double)(1 + chance_below(c, 1000000));
}

static inline double chance_confidence(chance *c)
{
	return (double)chance_below(c, 1001) / 1000;
}

static inline uint32_t chance_phase(chance *c)
{
	static const uint32_t phases[] = { 4, 8, 16, 32, 42 };
	return phases[chance_below(c, 5)];
}

static inline const char *chance_pair(chance *c)
{
	return CHANCE_WORD(c, "BTC→ETH", "ETH→USDC", "USDC→BTC", "é→€", "A→B→C");
}

static inline tb_outcome chance_outcome(chance *c)
{
	return (tb_outcome){ (unsigned)chance_below(c, 16), (int)chance_below(c, 2), chance_double(c), chance_double(c),
		             chance_double(c) };
}

static inline tb_delta chance_delta(chance *c)
{
	tb_delta delta = { .key = chance_bytes(c, 1, 30), .remove = chance_below(c, 4) == 0 };
	if (!delta.remove)
		delta.value = chance_bytes(c, 0, 200);
	if (chance_below(c, 2))
		delta.category = CHANCE_WORD(c, "hot", "warm", "cold");
	return delta;
}

static inline void chance_head(chance *c, tb_event *event)
{
	event->time_ns = 1 + chance_next(c) % INT64_MAX;
	event->mode = chance_text_or_none(c);
	event->source = chance_text_or_none(c);
	event->priority = (uint32_t)chance_below(c, 4);
	event->tag_count = chance_below(c, 4);
	const char **tags = tb_arena_alloc(c->arena, 4 * sizeof(*tags));
	for (size_t i = 0; i < event->tag_count; i++)
		tags[i] = chance_text(c, 0, 10);
	event->tags = tags;
	event->metadata_count = chance_below(c, 4);
	tb_meta *metadata = tb_arena_alloc(c->arena, 4 * sizeof(*metadata));
	for (size_t i = 0; i < event->metadata_count; i++)
		metadata[i] = (tb_meta){ (const char *[]){ "alpha", "beta", "ß", "→" }[i], chance_text(c, 0, 10) };
	event->metadata = metadata;
}

static inline void chance_orbit(chance *c, tb_orbit *orbit)
{
	const char **pairs = tb_arena_alloc(c->arena, 8 * sizeof(*pairs));
	size_t count = 1 + chance_below(c, 8);
	for (size_t i = 0; i < count; i++)
		pairs[i] = chance_pair(c);
	*orbit = (tb_orbit){ CHANCE_WORD(c, "multi_layer_cycle", "orbit_cycle", "weight_update"), pairs, count,
		             chance_phase(c), chance_confidence(c), chance_outcome(c), (int)chance_below(c, 2),
		             chance_double(c) };
}

static inline void chance_flip(chance *c, tb_flip *flip)
{
	*flip = (tb_flip){ CHANCE_WORD(c, "bit_flip", "pair_flip", "memory_update"), chance_pair(c), chance_phase(c),
		           chance_below(c, 16), chance_text(c, 0, 20), chance_confidence(c), chance_outcome(c) };
	if (strcmp(flip->flip_type, "bit_flip") != 0 && chance_below(c, 2))
		flip->flip_pattern = NULL;
	if (strcmp(flip->flip_type, "bit_flip") != 0)
		flip->flip_value = chance_next(c) % INT64_MAX;
}

static inline void chance_bar(chance *c, tb_bar *bar)
{
	*bar = (tb_bar){ chance_text(c, 1, 10), chance_text_or_none(c), chance_text_or_none(c), chance_text_or_none(c),
		         chance_text_or_none(c), chance_text_or_none(c), chance_text_or_none(c),
		         CHANCE_WORD(c, "live", "cached", NULL) };
}

static inline void chance_event(chance *c, tb_event_kind kind, tb_event *event)
{
	tb_event_default(event, kind);
	chance_head(c, event);
	switch (kind) {
	case TB_EVENT_GHOST:
		event->body.ghost = (tb_ghost){ "ghost_trigger", chance_text(c, 1, 30), chance_pair(c), chance_phase(c),
			                        chance_text_or_none(c), chance_confidence(c) };
		break;
	case TB_EVENT_ORBIT:
		chance_orbit(c, &event->body.orbit);
		break;
	case TB_EVENT_FLIP:
		chance_flip(c, &event->body.flip);
		break;
	case TB_EVENT_DELTA:
		event->body.delta = chance_delta(c);
		break;
	case TB_EVENT_BAR:
		chance_bar(c, &event->body.bar);
		break;
	case TB_EVENT_OPAQUE:
		event->body.opaque = (tb_opaque){ chance_text_or_none(c), chance_bytes(c, 0, 20000) };
		break;
	case TB_EVENT_DELTAS: {
		size_t count = 1 + chance_below(c, 5);
		tb_delta *items = tb_arena_alloc(c->arena, count * sizeof(*items));
		for (size_t i = 0; i < count; i++)
			items[i] = chance_delta(c);
		event->body.deltas.items = items;
		event->body.deltas.count = count;
		break;
	}
	case TB_EVENT_RESET:
		event->body.reset.commit = (int)chance_below(c, 2);
		break;
	case TB_EVENT_LOST:
		event->body.lost.from = 1 + chance_below(c, 1000);
		event->body.lost.to = event->body.lost.from + chance_below(c, UINT64_C(1) << 62);
		break;
	default:
		event->body.signal.type = chance_text(c, 1, 10);
		event->body.signal.stream = chance_text_or_none(c);
		event->body.signal.record = chance_bytes(c, 0, 200);
		break;
	}
}

#endif
