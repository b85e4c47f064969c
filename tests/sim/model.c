/* The model: a state is what the events make, one behind the other. */
#include "sim.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

struct state {
	struct {
		int there;
		uint32_t seed, size;
	} keys[SIM_KEYS];
};

/* In byte order as in the order of their numbers. */
void model_key(uint16_t key, char ret_text[16])
{
	snprintf(ret_text, 16, "key-%05u", key);
}

static void apply(struct state *state, const struct sim_engine *engine, const struct sim_event *event)
{
	for (uint32_t i = 0; i < event->op_count; i++) {
		const struct sim_op *op = &engine->ops[event->op_first + i];
		state->keys[op->key].there = !op->remove;
		state->keys[op->key].seed = op->value_seed;
		state->keys[op->key].size = op->value_size;
	}
}

static struct state state_at(const struct sim_engine *engine, uint64_t to)
{
	struct state state = { 0 }, beside = { 0 };
	uint64_t open = 0; /* number of the begin */
	for (uint64_t i = 0; i < to; i++) {
		const struct sim_event *event = &engine->events[engine->order[i]];
		if (open && event->opening != engine->events[engine->order[open - 1]].opening)
			open = 0;
		if (event->kind == SIM_BEGIN) {
			open = i + 1;
			beside = (struct state){ 0 };
		} else if (event->kind == SIM_COMMIT && open) {
			state = beside;
			open = 0;
		} else if (event->kind == SIM_DELTA) {
			apply(open ? &beside : &state, engine, event);
		}
	}
	return state;
}

void model_digest(const struct sim_engine *engine, uint64_t to, uint8_t ret_digest[32], uint64_t *ret_keys)
{
	struct state state = state_at(engine, to);
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	EVP_DigestInit_ex(hash, EVP_sha256(), NULL);
	*ret_keys = 0;
	for (uint16_t key = 0; key < SIM_KEYS; key++) {
		char text[16];
		if (!state.keys[key].there)
			continue;
		uint8_t *value = tb_alloc(state.keys[key].size + 8);
		sim_fill(state.keys[key].seed, value, state.keys[key].size);
		model_key(key, text);
		EVP_DigestUpdate(hash, text, strlen(text));
		EVP_DigestUpdate(hash, "=", 1);
		EVP_DigestUpdate(hash, value, state.keys[key].size);
		EVP_DigestUpdate(hash, "\n", 1);
		free(value);
		++*ret_keys;
	}
	EVP_DigestFinal_ex(hash, ret_digest, NULL);
	EVP_MD_CTX_free(hash);
}
