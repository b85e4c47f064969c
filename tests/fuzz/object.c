/* Objects. The first byte's lowest bits: 0 the bytes are an object; 1 they are what is inside one, as it says of itself
 * in a byte each for content, format, compression and a number for its size; 2 they are sealed by tb_seal. */
#include "fuzz/fuzz_frames.h"
#include "fuzz/fuzz_keys.h"

#include "store/seal.h"

static tb_keyring *keyring;
static tb_sealer *sealer;

static void setup(void)
{
	const struct fuzz_keys *keys = fuzz_keys_get();
	if (keyring != NULL)
		return;
	struct fuzz_tier tier = fuzz_tier_of(keys->wrap_path, tb_buf_span(&keys->wrap));
	hold(tb_keyring_open(&tier.tier, keys->identity, &keyring, NULL) == TB_OK);
	sealer = tb_sealer_new(3);
}

/* Everything that a holder of the period's public key could make. */
static void put_object(tb_buf *object, tb_span input)
{
	static const uint8_t nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
	uint8_t head[TB_OBJECT_HEAD] = "TBOBJCT", key[32] = { 7 };
	head[8] = (uint8_t)fuzz_take(&input, 1);
	head[7] = (uint8_t)fuzz_take(&input, 1);
	head[9] = (uint8_t)fuzz_take(&input, 1);
	tb_put64(head + 16, fuzz_take(&input, 4));
	memcpy(head + 24, fuzz_keys.period.id, TB_PERIOD_ID);
	hold(crypto_box_seal(head + 40, key, sizeof(key), fuzz_keys.period.public_key) == 0);
	tb_buf_append(object, head, sizeof(head));
	tb_buf_reserve(object, input.size + crypto_aead_xchacha20poly1305_ietf_ABYTES);
	unsigned long long size;
	crypto_aead_xchacha20poly1305_ietf_encrypt(object->data + object->size, &size, input.data, input.size, head,
	                                           sizeof(head), NULL, nonce, key);
	object->size += size;
}

static void seal_and_unseal(tb_span plain)
{
	tb_auto(tb_buf_drop) tb_buf object = { 0 }, again = { 0 };
	uint8_t name[TB_OBJECT_NAME];
	hold(tb_seal(sealer, TB_CONTENT_CHUNK, plain, &fuzz_keys.period, &object, name, NULL) == TB_OK);
	hold(tb_unseal(keyring, TB_CONTENT_CHUNK, tb_buf_span(&object), &again, NULL) == TB_OK);
	hold(tb_span_equal(tb_buf_span(&again), plain));
}

static void unseal(tb_span object)
{
	tb_auto(tb_buf_drop) tb_buf plain = { 0 };
	uint8_t period[TB_PERIOD_ID];
	uint64_t plain_size;
	tb_content content;
	tb_err err;
	tb_rc rc = tb_object_head(object, &content, &plain_size, period, &err);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		hold(tb_unseal(keyring, TB_CONTENT_CHUNK, object, &plain, NULL) == rc);
		return;
	}
	for (tb_content wanted = TB_CONTENT_SEGMENT; wanted <= TB_CONTENT_PRIVATE; wanted++) {
		rc = tb_unseal(keyring, wanted, object, &plain, &err);
		if (rc != TB_OK)
			fuzz_refused(rc, &err);
		else
			hold(wanted == content && plain.size == plain_size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tb_auto(tb_buf_drop) tb_buf object = { 0 };
	tb_span input = tb_span_of(data, size);
	unsigned way = (unsigned)fuzz_take(&input, 1) % 3;
	setup();
	if (way == 2) {
		seal_and_unseal(input);
		return 0;
	}
	if (way == 1)
		put_object(&object, input);
	else
		tb_buf_append_span(&object, input);
	unseal(tb_buf_span(&object));
	return 0;
}
