/* A market that doesn't exist: pairs whose prices and volatilities wander, the same for the same seed. */
#ifndef EXAMPLES_MARKET_H
#define EXAMPLES_MARKET_H

#include <stdint.h>

#define MARKET_PAIRS 6

typedef struct market_pair {
	const char *name; /* "BTC→ETH" */
	const char *base, *quote;
	double price, volatility;
	double change; /* of the last step, e.g. 0.012: up by 1.2 % */
	double volume;
} market_pair;

typedef struct market {
	uint64_t random;
	market_pair pairs[MARKET_PAIRS];
} market;

void market_init(market *self, uint64_t seed);

/* Moves one pair and returns it; it belongs to the market. */
const market_pair *market_step(market *self);

/* 64 bits of chance, and a number from 0 to just below 1. */
uint64_t market_random(market *self);
double market_chance(market *self);

#endif
