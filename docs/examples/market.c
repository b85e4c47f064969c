#include "market.h"

#include <math.h>

#define VOLATILITY_MIN 0.02
#define VOLATILITY_MAX 0.60
#define PRICE_MIN 1e-6
#define PRICE_MAX 1e9

static const market_pair opening[MARKET_PAIRS] = {
	{ .name = "BTC→ETH", .base = "BTC", .quote = "ETH", .price = 23.1, .volatility = 0.08 },
	{ .name = "ETH→USDC", .base = "ETH", .quote = "USDC", .price = 2671.4, .volatility = 0.15 },
	{ .name = "BTC→USDC", .base = "BTC", .quote = "USDC", .price = 61737.6, .volatility = 0.12 },
	{ .name = "SOL→USDC", .base = "SOL", .quote = "USDC", .price = 152.8, .volatility = 0.25 },
	{ .name = "SOL→BTC", .base = "SOL", .quote = "BTC", .price = 0.00247, .volatility = 0.35 },
	{ .name = "ETH→BTC", .base = "ETH", .quote = "BTC", .price = 0.0433, .volatility = 0.45 },
};

/* xorshift64*: small, and the same everywhere. Its state must not be 0. */
uint64_t market_random(market *self)
{
	self->random ^= self->random >> 12;
	self->random ^= self->random << 25;
	self->random ^= self->random >> 27;
	return self->random * 0x2545f4914f6cdd1dull;
}

double market_chance(market *self)
{
	return (double)(market_random(self) >> 11) / 9007199254740992.0; /* 53 bits */
}

/* Roughly normal, with deviation 1: the sum of twelve. */
static double market_normal(market *self)
{
	double sum = -6;
	for (int i = 0; i < 12; i++)
		sum += market_chance(self);
	return sum;
}

static double between(double low, double value, double high)
{
	return value < low ? low : value > high ? high : value;
}

void market_init(market *self, uint64_t seed)
{
	self->random = seed * 0x9e3779b97f4a7c15ull | 1;
	for (int i = 0; i < MARKET_PAIRS; i++)
		self->pairs[i] = opening[i];
	for (int i = 0; i < 16; i++)
		market_random(self); /* neighbouring seeds drift apart */
}

const market_pair *market_step(market *self)
{
	market_pair *pair = &self->pairs[market_random(self) % MARKET_PAIRS];
	double before = pair->price;
	pair->volatility = between(VOLATILITY_MIN, pair->volatility * exp(0.08 * market_normal(self)), VOLATILITY_MAX);
	pair->price = between(PRICE_MIN, before * exp(0.1 * pair->volatility * market_normal(self)), PRICE_MAX);
	pair->change = pair->price / before - 1;
	pair->volume = market_chance(self) * 100 * pair->volatility;
	return pair;
}
