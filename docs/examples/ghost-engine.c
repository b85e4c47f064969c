/* The ghost engine: waits for something unusual on a pair, trades on it for a moment, and notes how it went.
 *
 * Publishes a ghost event for each trigger, and its state: position:<asset>, order:ghost:<slot>, strategy:ghost:<pair>,
 * performance:ghost. */
#include "engine.h"

#define ORDERS 8
#define UNUSUAL 0.008

static const char *const assets[] = { "BTC", "ETH", "SOL", "USDC" };
enum { ASSETS = sizeof(assets) / sizeof(*assets) };

typedef struct ghost {
	engine engine;
	double held[ASSETS];
	int open[ORDERS]; /* is the order of that slot open? */
	double total, successful, failed, confidence;
} ghost;

static size_t asset_of(const char *name)
{
	size_t at = 0;
	while (strcmp(assets[at], name) != 0)
		at++;
	return at;
}

static void put_position(ghost *self, size_t asset)
{
	char key[ENGINE_KEY_SIZE];
	snprintf(key, sizeof(key), "position:%s", assets[asset]);
	engine_put(&self->engine, key, "%.8f", self->held[asset]);
}

/* Begins where every run begins: what an earlier one left under our keys is replaced or deleted. */
static void begin(ghost *self)
{
	char key[ENGINE_KEY_SIZE];
	for (int slot = 0; slot < ORDERS; slot++) {
		snprintf(key, sizeof(key), "order:ghost:%d", slot);
		engine_delete(&self->engine, key);
	}
	for (int i = 0; i < MARKET_PAIRS; i++) {
		snprintf(key, sizeof(key), "strategy:ghost:%s", self->engine.market.pairs[i].name);
		engine_put(&self->engine, key, "waiting");
	}
	for (size_t i = 0; i < ASSETS; i++) {
		self->held[i] = i + 1 == ASSETS ? 100000 : 1;
		put_position(self, i);
	}
	engine_put(&self->engine, "performance:ghost", "none yet");
}

/* What is unusual about a pair's last step; NULL: nothing. */
static const char *trigger_of(const market_pair *pair)
{
	if (pair->change > UNUSUAL)
		return "price_spike";
	if (pair->change < -UNUSUAL)
		return "trend_reversal";
	return pair->volume > 10 ? "volume_surge" : NULL;
}

/* An order opens in a free slot and is closed when its slot comes around again. */
static void turn_order(ghost *self, const market_pair *pair, double amount)
{
	char key[ENGINE_KEY_SIZE];
	uint64_t slot = market_random(&self->engine.market) % ORDERS;
	snprintf(key, sizeof(key), "order:ghost:%d", (int)slot);
	if (self->open[slot])
		engine_delete(&self->engine, key);
	else
		engine_put(&self->engine, key, "buy %.8f %s at %.8f", amount, pair->name, pair->price);
	self->open[slot] = !self->open[slot];
}

static void publish_trigger(ghost *self, const market_pair *pair, const char *trigger, double gain, double confidence)
{
	char outcome[32];
	tb_event event;
	snprintf(outcome, sizeof(outcome), "%+.4f", gain);
	tb_event_default(&event, TB_EVENT_GHOST);
	event.priority = strcmp(trigger, "price_spike") == 0 ? 3 : 1;
	event.body.ghost.event_type = "ghost_trigger";
	event.body.ghost.trigger = trigger;
	event.body.ghost.pair = pair->name;
	event.body.ghost.bit_phase = tb_bit_phase_of_volatility(pair->volatility);
	event.body.ghost.outcome = outcome;
	event.body.ghost.confidence = confidence; /* or TB_CONFIDENCE_DEFAULT: 0.5 */
	engine_publish(&self->engine, &event);
}

static void put_performance(ghost *self, double gain, double confidence)
{
	self->total++;
	self->successful += gain > 0;
	self->failed += gain <= 0;
	self->confidence += ((confidence < 0 ? 0.5 : confidence) - self->confidence) / self->total;
	engine_put(&self->engine, "performance:ghost",
	           "{\"total_triggers\":%.0f,\"successful_triggers\":%.0f,\"failed_triggers\":%.0f,"
	           "\"average_confidence\":%.6f}",
	           self->total, self->successful, self->failed, self->confidence);
}

static void step(ghost *self)
{
	market *chance = &self->engine.market;
	const market_pair *pair = market_step(chance);
	const char *trigger = trigger_of(pair);
	if (trigger == NULL)
		return;
	char key[ENGINE_KEY_SIZE];
	double amount = 0.001 * (1 + market_chance(chance));
	double gain = 100 * (pair->change + 0.02 * (market_chance(chance) - 0.5));
	double confidence = pair->volatility < 0.3 ? 0.9 - pair->volatility : TB_CONFIDENCE_DEFAULT;
	publish_trigger(self, pair, trigger, gain, confidence);
	turn_order(self, pair, amount);
	self->held[asset_of(pair->base)] += amount;
	self->held[asset_of(pair->quote)] -= amount * pair->price;
	put_position(self, asset_of(pair->base));
	put_position(self, asset_of(pair->quote));
	snprintf(key, sizeof(key), "strategy:ghost:%s", pair->name);
	engine_put(&self->engine, key, "%s at %.8f, volatility %.4f", trigger, pair->price, pair->volatility);
	put_performance(self, gain, confidence);
}

int main(int argc, char **argv)
{
	static ghost self = { .engine.name = "ghost" };
	engine_open(&self.engine, argc, argv);
	begin(&self);
	while (engine_goes_on(&self.engine))
		step(&self);
	return engine_close(&self.engine);
}
