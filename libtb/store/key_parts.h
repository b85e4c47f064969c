/* A key from within: for keys.c and key_text.c alone. */
#ifndef TB_STORE_KEY_PARTS_H
#define TB_STORE_KEY_PARTS_H

#include "store/keys.h"

#define TB_KEY_SEED 32

struct tb_key {
	tb_key_kind kind;
	uint8_t seed[TB_KEY_SEED];
	uint8_t secret[64]; /* Ed25519: 64 bytes; X25519: the first 32 */
	uint8_t public_key[TB_PUBLIC_KEY];
	uint8_t instance[TB_PUBLIC_KEY];
	uint8_t repository[TB_REPOSITORY_ID];
	uint8_t certificate[TB_CERTIFICATE];
};

/* In locked memory, with both halves from the seed and all else zero. */
tb_rc tb_key_of_seed(tb_key_kind kind, const uint8_t seed[TB_KEY_SEED], tb_key **ret_key, tb_err *err);

#endif
