/* The orbit engine: goes round a cycle of pairs and back to where it began, and weighs its layers by how that went.
 *
 * Publishes orbit events (orbit_cycle, multi_layer_cycle, weight_update), and its state: strategy:orbit:<layer>,
 * portfolio:orbit, performance:orbit. */
#include "engine.h"

#define LAYERS 3
#define PAIRS_MAX 4
#define FEE 0.001

/* The pairs of each layer, as the market names them. */
static const struct {
	const char *name;
	const char *pairs[PAIRS_MAX];
	size_t count;
} layers[LAYERS] = {
	{ "inner", { "BTC→ETH", "ETH→USDC" }, 2 },
	{ "middle", { "SOL→BTC", "BTC→USDC", "SOL→USDC" }, 3 },
	{ "outer", { "SOL→BTC", "BTC→ETH", "ETH→BTC", "BTC→USDC" }, 4 },
};

typedef struct orbit {
	engine engine;
	double weight[LAYERS];
	double score[LAYERS]; /* how many cycles of the layer paid */
	double cash, total, successful, failed, volume, profit;
} orbit;

static void put_layer(orbit *self, int layer, const char *says)
{
	char key[ENGINE_KEY_SIZE];
	snprintf(key, sizeof(key), "strategy:orbit:%s", layers[layer].name);
	engine_put(&self->engine, key, "weight %.4f, score %.0f: %s", self->weight[layer], self->score[layer], says);
}

static void begin(orbit *self)
{
	self->cash = 100000;
	for (int layer = 0; layer < LAYERS; layer++) {
		self->weight[layer] = 1;
		put_layer(self, layer, "waiting");
	}
	engine_put(&self->engine, "portfolio:orbit", "%.8f", self->cash);
	engine_put(&self->engine, "performance:orbit", "none yet");
}

static void default_orbit(tb_event *event, const char *type, const market_pair *pair)
{
	tb_event_default(event, TB_EVENT_ORBIT); /* confidence 0.7, of a weight_update 0.8 */
	event->body.orbit.orbit_type = type;
	event->body.orbit.bit_phase = tb_bit_phase_of_volatility(pair->volatility);
}

static void publish_cycle(orbit *self, int layer, const market_pair *pair, const tb_outcome *outcome)
{
	tb_event event;
	default_orbit(&event, layer == LAYERS - 1 ? "multi_layer_cycle" : "orbit_cycle", pair);
	event.body.orbit.pairs = layers[layer].pairs;
	event.body.orbit.pair_count = layers[layer].count;
	event.body.orbit.outcome = *outcome;
	event.body.orbit.has_performance_score = 1;
	event.body.orbit.performance_score = self->score[layer];
	engine_publish(&self->engine, &event);
}

/* A weight update is no cycle: it has no outcome and doesn't count as one. */
static void update_weight(orbit *self, int layer, const market_pair *pair, double by)
{
	tb_event event;
	char text[32];
	snprintf(text, sizeof(text), "%+.4f", by);
	const tb_meta metadata[] = { { "layer", layers[layer].name }, { "weight", text } };
	self->weight[layer] += by;
	default_orbit(&event, "weight_update", pair);
	event.metadata = metadata;
	event.metadata_count = 2;
	event.body.orbit.pairs = &pair->name;
	event.body.orbit.pair_count = 1;
	engine_publish(&self->engine, &event);
}

static void count(orbit *self, const tb_outcome *outcome)
{
	self->total++;
	self->successful += outcome->success;
	self->failed += !outcome->success;
	self->volume += outcome->volume;
	self->profit += (outcome->profit - self->profit) / self->total;
	self->cash += outcome->profit * outcome->volume;
	engine_put(&self->engine, "portfolio:orbit", "%.8f", self->cash);
	engine_put(&self->engine, "performance:orbit",
	           "{\"total_orbits\":%.0f,\"successful\":%.0f,\"failed\":%.0f,\"total_volume\":%.4f,"
	           "\"average_profit\":%.8f}",
	           self->total, self->successful, self->failed, self->volume, self->profit);
}

static void step(orbit *self)
{
	market *chance = &self->engine.market;
	const market_pair *pair = market_step(chance);
	int layer = (int)(market_random(chance) % LAYERS);
	double fee = FEE * (double)layers[layer].count, profit = pair->change - fee;
	tb_outcome outcome = {
		.has = TB_HAS_SUCCESS | TB_HAS_PROFIT | TB_HAS_VOLUME | TB_HAS_EFFICIENCY, .success = profit > 0,
		.profit = profit, .volume = self->weight[layer] * pair->volume, .efficiency = 1 - fee,
	};
	self->score[layer] += outcome.success;
	publish_cycle(self, layer, pair, &outcome);
	count(self, &outcome);
	if ((uint64_t)self->total % 5 == 0)
		update_weight(self, layer, pair, outcome.success ? 0.1 : -0.1 * self->weight[layer]);
	put_layer(self, layer, outcome.success ? "paid" : "cost");
}

int main(int argc, char **argv)
{
	static orbit self = { .engine.name = "orbit" };
	engine_open(&self.engine, argc, argv);
	begin(&self);
	while (engine_goes_on(&self.engine))
		step(&self);
	return engine_close(&self.engine);
}
