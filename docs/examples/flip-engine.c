/* The flip engine: remembers each pair as a few bits, and flips them when the pair turns.
 *
 * Publishes flip events (bit_flip, pair_flip, memory_update), and its state: strategy:flip:<pair>,
 * ml_model:flip:<pair>, performance:flip. */
#include "engine.h"

#define TURNED 0.01

typedef struct flip {
	engine engine;
	uint64_t bits[MARKET_PAIRS];   /* what is remembered of the pair … */
	uint32_t phases[MARKET_PAIRS]; /* … in so many bits */
	int reversed[MARKET_PAIRS];
	uint64_t total, successful, failed;
} flip;

static uint64_t mask_of(uint32_t bits)
{
	return (UINT64_C(1) << bits) - 1;
}

static void put_bits(flip *self, size_t at)
{
	char key[ENGINE_KEY_SIZE];
	snprintf(key, sizeof(key), "ml_model:flip:%s", self->engine.market.pairs[at].name);
	engine_put(&self->engine, key, "%u:%0*" PRIx64, self->phases[at], (int)(self->phases[at] + 3) / 4, self->bits[at]);
}

static void put_direction(flip *self, size_t at)
{
	char key[ENGINE_KEY_SIZE];
	const market_pair *pair = &self->engine.market.pairs[at];
	snprintf(key, sizeof(key), "strategy:flip:%s", pair->name);
	engine_put(&self->engine, key, "%s→%s", self->reversed[at] ? pair->quote : pair->base,
	           self->reversed[at] ? pair->base : pair->quote);
}

static void begin(flip *self)
{
	for (size_t i = 0; i < MARKET_PAIRS; i++) {
		self->phases[i] = tb_bit_phase_of_volatility(self->engine.market.pairs[i].volatility);
		put_bits(self, i);
		put_direction(self, i);
	}
	engine_put(&self->engine, "performance:flip", "none yet");
}

static void publish_flip(flip *self, size_t at, const char *type, const char *pattern, const tb_outcome *outcome)
{
	tb_event event;
	tb_event_default(&event, TB_EVENT_FLIP); /* confidence 0.9, of a memory_update 0.8 */
	event.body.flip.flip_type = type;
	event.body.flip.pair = self->engine.market.pairs[at].name;
	event.body.flip.bit_phase = self->phases[at];
	event.body.flip.flip_value = self->bits[at];
	event.body.flip.flip_pattern = pattern;
	if (outcome != NULL)
		event.body.flip.outcome = *outcome;
	engine_publish(&self->engine, &event);
}

/* Every bit turns over: 0101 becomes 1010. */
static void flip_bits(flip *self, size_t at, const tb_outcome *outcome)
{
	char pattern[TB_FLIP_PATTERN_MAX];
	tb_err err;
	if (tb_flip_pattern(pattern, self->bits[at], self->phases[at], &err) != TB_OK)
		engine_fail(&self->engine, "no pattern", &err);
	self->bits[at] = ~self->bits[at] & mask_of(self->phases[at]);
	publish_flip(self, at, "bit_flip", pattern, outcome);
	put_bits(self, at);
}

/* The volatility asks for another number of bits: what is remembered is learnt anew. */
static void learn(flip *self, size_t at, uint32_t phase)
{
	self->phases[at] = phase;
	self->bits[at] = market_random(&self->engine.market) & mask_of(phase);
	publish_flip(self, at, "memory_update", NULL, NULL);
	put_bits(self, at);
}

static void turn_pair(flip *self, size_t at, const tb_outcome *outcome)
{
	self->reversed[at] = !self->reversed[at];
	publish_flip(self, at, "pair_flip", NULL, outcome);
	put_direction(self, at);
}

static void put_performance(flip *self, int success)
{
	self->total++;
	self->successful += success != 0;
	self->failed += success == 0;
	engine_put(&self->engine, "performance:flip",
	           "{\"total_flips\":%" PRIu64 ",\"successful\":%" PRIu64 ",\"failed\":%" PRIu64 "}", self->total,
	           self->successful, self->failed);
}

static void step(flip *self)
{
	const market_pair *pair = market_step(&self->engine.market);
	size_t at = (size_t)(pair - self->engine.market.pairs);
	uint32_t phase = tb_bit_phase_of_volatility(pair->volatility);
	const tb_outcome outcome = {
		.has = TB_HAS_SUCCESS | TB_HAS_PROFIT, .success = pair->change > 0, .profit = pair->change,
	};
	if (phase != self->phases[at])
		learn(self, at, phase);
	if (pair->change < -TURNED || pair->change > TURNED)
		turn_pair(self, at, &outcome);
	flip_bits(self, at, &outcome);
	put_performance(self, outcome.success);
}

int main(int argc, char **argv)
{
	static flip self = { .engine.name = "flip" };
	engine_open(&self.engine, argc, argv);
	begin(&self);
	while (engine_goes_on(&self.engine))
		step(&self);
	return engine_close(&self.engine);
}
