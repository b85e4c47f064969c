#include "base/bytes.h"
#include "store/chunker.h"

#include <sodium.h>

static void entry_hash(tb_span key, tb_span value, uint8_t ret_hash[32])
{
	uint8_t size[4];
	crypto_generichash_state state;
	crypto_generichash_init(&state, NULL, 0, 32);
	tb_put32(size, (uint32_t)key.size);
	crypto_generichash_update(&state, size, sizeof(size));
	crypto_generichash_update(&state, key.data, key.size);
	tb_put32(size, (uint32_t)value.size);
	crypto_generichash_update(&state, size, sizeof(size));
	crypto_generichash_update(&state, value.data, value.size);
	crypto_generichash_final(&state, ret_hash, 32);
}

void tb_sum_add(tb_sum *sum, tb_span key, tb_span value)
{
	uint8_t hash[32];
	entry_hash(key, value, hash);
	sodium_add(sum->bytes, hash, sizeof(hash));
}

void tb_sum_subtract(tb_sum *sum, tb_span key, tb_span value)
{
	uint8_t hash[32];
	entry_hash(key, value, hash);
	sodium_sub(sum->bytes, hash, sizeof(hash));
}
