/* Chance: all of it is the seed's. */
#include "sim.h"

#include <sodium.h>
#include <stdlib.h>

static uint64_t mix(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void sim_seed(uint64_t seed)
{
	sim.chance = seed;
	sim.sodium_chance = ~seed * UINT64_C(0xd1342543de82ef95);
}

uint64_t sim_any(void)
{
	return mix(&sim.chance);
}

uint64_t sim_below(uint64_t most)
{
	return most > 0 ? sim_any() % most : 0;
}

int sim_read_seeds(const char *text, uint64_t *ret_first, uint64_t *ret_last)
{
	char *end;
	*ret_first = *ret_last = strtoull(text, &end, 10);
	if (strncmp(end, "..", 2) == 0)
		*ret_last = strtoull(end + 2, &end, 10);
	return end != text && *end == '\0' && *ret_last >= *ret_first;
}

int sim_strikes(uint32_t of_10000)
{
	return of_10000 > 0 && sim_below(10000) < of_10000;
}

void sim_fill(uint64_t seed, uint8_t *to, size_t size)
{
	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = mix(&seed);
		memcpy(to + i, &word, size - i < 8 ? size - i : 8);
	}
}

/* ---- libsodium's */

static const char *sodium_name(void)
{
	return "sim";
}

static uint32_t sodium_word(void)
{
	return (uint32_t)mix(&sim.sodium_chance);
}

static void sodium_bytes(void *const to, const size_t size)
{
	sim_fill(mix(&sim.sodium_chance), to, size);
}

void sim_chance_install(void)
{
	static struct randombytes_implementation implementation = {
		.implementation_name = sodium_name, .random = sodium_word, .buf = sodium_bytes,
	};
	randombytes_set_implementation(&implementation);
}
