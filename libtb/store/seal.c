#include "store/seal.h"

#include "base/bytes.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

#define MAGIC "TBOBJCT"
#define FORMAT 1
#define TAG crypto_aead_xchacha20poly1305_ietf_ABYTES
#define OBJECT_KEY crypto_aead_xchacha20poly1305_ietf_KEYBYTES

enum { AT_FORMAT = 7, AT_CONTENT = 8, AT_COMPRESSION = 9, AT_ZERO = 10, AT_SIZE = 16, AT_PERIOD = 24, AT_BOX = 40 };
enum { PLAIN = 0, ZSTD = 1 };

_Static_assert(AT_BOX + OBJECT_KEY + crypto_box_SEALBYTES == TB_OBJECT_HEAD, "the box ends the head");

static const uint8_t nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES]; /* zero: an object key is used once */

struct tb_sealer {
	ZSTD_CCtx *zstd;
};

tb_sealer *tb_sealer_new(int level)
{
	tb_sealer *sealer = tb_alloc(sizeof(*sealer));
	sealer->zstd = ZSTD_createCCtx();
	if (sealer->zstd == NULL)
		abort(); /* as tb_alloc does */
	ZSTD_CCtx_setParameter(sealer->zstd, ZSTD_c_compressionLevel, level);
	return sealer;
}

void tb_sealer_free(tb_sealer *sealer)
{
	if (sealer == NULL)
		return;
	ZSTD_freeCCtx(sealer->zstd);
	free(sealer);
}

/* Sealing */

/* The bytes to encrypt, behind the head, which stands at `head`: compressed where that is smaller. */
static tb_rc put_content(tb_sealer *sealer, tb_span plain, tb_buf *object, size_t head, tb_err *err)
{
	size_t bound = ZSTD_compressBound(plain.size);
	tb_buf_reserve(object, bound + TAG);
	uint8_t *at = object->data + object->size;
	size_t size = ZSTD_compress2(sealer->zstd, at, bound, plain.data, plain.size);
	if (ZSTD_isError(size))
		return tb_fail(err, TB_EIO, "can't compress %zu bytes: %s", plain.size, ZSTD_getErrorName(size));
	object->data[head + AT_COMPRESSION] = size < plain.size ? ZSTD : PLAIN;
	if (size >= plain.size) {
		size = plain.size;
		if (size > 0)
			memcpy(at, plain.data, size);
	}
	object->size += size;
	return TB_OK;
}

static tb_rc put_head(tb_content content, uint64_t size, const tb_period *period, const uint8_t key[OBJECT_KEY],
                      tb_buf *object, tb_err *err)
{
	uint8_t head[TB_OBJECT_HEAD] = MAGIC;
	head[AT_FORMAT] = FORMAT;
	head[AT_CONTENT] = (uint8_t)content;
	tb_put64(head + AT_SIZE, size);
	memcpy(head + AT_PERIOD, period->id, TB_PERIOD_ID);
	if (crypto_box_seal(head + AT_BOX, key, OBJECT_KEY, period->public_key) != 0)
		return tb_fail(err, TB_EKEY, "can't seal: the period's public key is not a usable one");
	tb_buf_append(object, head, sizeof(head));
	return TB_OK;
}

static void encrypt(tb_buf *object, size_t head, const uint8_t key[OBJECT_KEY])
{
	uint8_t *at = object->data + head + TB_OBJECT_HEAD;
	unsigned long long size;
	crypto_aead_xchacha20poly1305_ietf_encrypt(at, &size, at, object->size - head - TB_OBJECT_HEAD, object->data + head,
	                                           TB_OBJECT_HEAD, NULL, nonce, key);
	object->size = head + TB_OBJECT_HEAD + (size_t)size;
}

tb_rc tb_seal_append(tb_sealer *sealer, tb_content content, tb_span plain, const tb_period *period, tb_buf *to,
                     uint8_t ret_name[TB_OBJECT_NAME], tb_err *err)
{
	if (plain.size > TB_PLAIN_MAX)
		return tb_fail(err, TB_EINVAL, "can't seal %zu bytes as one object: at most %u", plain.size, TB_PLAIN_MAX);
	size_t head = to->size;
	uint8_t key[OBJECT_KEY];
	randombytes_buf(key, sizeof(key));
	tb_rc rc = put_head(content, plain.size, period, key, to, err);
	if (rc == TB_OK)
		rc = put_content(sealer, plain, to, head, err);
	if (rc == TB_OK)
		encrypt(to, head, key);
	sodium_memzero(key, sizeof(key));
	if (rc != TB_OK) {
		to->size = head;
		return rc;
	}
	tb_object_name(tb_span_of(to->data + head, to->size - head), ret_name);
	return TB_OK;
}

tb_rc tb_seal(tb_sealer *sealer, tb_content content, tb_span plain, const tb_period *period, tb_buf *ret_object,
              uint8_t ret_name[TB_OBJECT_NAME], tb_err *err)
{
	tb_buf_clear(ret_object);
	tb_rc rc = tb_seal_append(sealer, content, plain, period, ret_object, ret_name, err);
	if (rc != TB_OK)
		tb_buf_drop(ret_object);
	return rc;
}

/* Opening */

struct head {
	tb_content content;
	int compression;
	uint64_t size;
	const uint8_t *period, *box;
};

static tb_rc read_head(tb_span object, struct head *ret_head, tb_err *err)
{
	static const uint8_t zero[AT_SIZE - AT_ZERO];
	const uint8_t *at = object.data;
	if (object.size < TB_OBJECT_HEAD + TAG)
		return tb_fail(err, TB_ECORRUPT, "not an object, or cut short: %zu bytes are less than its head", object.size);
	if (memcmp(at, MAGIC, AT_FORMAT) != 0)
		return tb_fail(err, TB_ECORRUPT, "not an object: it does not begin with " MAGIC);
	if (at[AT_FORMAT] > FORMAT)
		return tb_fail(err, TB_EUNSUPPORTED, "the object has format %u; this version reads up to %u", at[AT_FORMAT],
		               FORMAT);
	struct head head = {
		.content = at[AT_CONTENT],
		.compression = at[AT_COMPRESSION],
		.size = tb_get64(at + AT_SIZE),
		.period = at + AT_PERIOD,
		.box = at + AT_BOX,
	};
	if (at[AT_FORMAT] != FORMAT || head.content < TB_CONTENT_SEGMENT || head.content > TB_CONTENT_PRIVATE ||
	    head.compression > ZSTD || memcmp(at + AT_ZERO, zero, sizeof(zero)) != 0 || head.size > TB_PLAIN_MAX)
		return tb_fail(err, TB_ECORRUPT, "damaged object: its head is none that was ever written");
	*ret_head = head;
	return TB_OK;
}

static tb_rc decrypt(const tb_keyring *keyring, const struct head *head, tb_span object, tb_buf *to, tb_err *err)
{
	uint8_t key[OBJECT_KEY];
	tb_rc rc = tb_keyring_unbox(keyring, head->period, tb_span_of(head->box, TB_OBJECT_HEAD - AT_BOX), key, err);
	if (rc != TB_OK)
		return rc;
	unsigned long long size;
	tb_buf_reserve(to, object.size - TB_OBJECT_HEAD - TAG + 1);
	int failed = crypto_aead_xchacha20poly1305_ietf_decrypt(to->data, &size, NULL, object.data + TB_OBJECT_HEAD,
	                                                        object.size - TB_OBJECT_HEAD, object.data,
	                                                        TB_OBJECT_HEAD, nonce, key);
	sodium_memzero(key, sizeof(key));
	if (failed)
		return tb_fail(err, TB_ECORRUPT, "damaged object: it was cut short or altered");
	to->size = (size_t)size;
	return TB_OK;
}

static tb_rc expand(const struct head *head, tb_buf *content, tb_buf *plain, tb_err *err)
{
	if (head->compression == PLAIN) {
		tb_buf_swap(plain, content);
	} else {
		tb_buf_reserve(plain, head->size + 1);
		size_t size = ZSTD_decompress(plain->data, head->size, content->data, content->size);
		if (ZSTD_isError(size))
			return tb_fail(err, TB_ECORRUPT, "damaged object: can't decompress it: %s", ZSTD_getErrorName(size));
		plain->size = size;
	}
	if (plain->size != head->size)
		return tb_fail(err, TB_ECORRUPT, "damaged object: it holds %zu bytes, its head says %llu", plain->size,
		               (unsigned long long)head->size);
	return TB_OK;
}

tb_rc tb_unseal(const tb_keyring *keyring, tb_content content, tb_span object, tb_buf *ret_plain, tb_err *err)
{
	static const char *const words[] = { "", "a segment", "a chunk", "a manifest's private part" };
	struct head head;
	tb_rc rc = read_head(object, &head, err);
	if (rc != TB_OK)
		return rc;
	if (head.content != content)
		return tb_fail(err, TB_ECORRUPT, "wrong object: it holds %s, not %s", words[head.content], words[content]);
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_auto(tb_buf_drop) tb_buf plain = { 0 };
	rc = decrypt(keyring, &head, object, &bytes, err);
	if (rc == TB_OK)
		rc = expand(&head, &bytes, &plain, err);
	if (rc == TB_OK)
		tb_buf_swap(ret_plain, &plain);
	return rc;
}

tb_rc tb_object_head(tb_span object, tb_content *ret_content, uint64_t *ret_plain_size, uint8_t ret_period[TB_PERIOD_ID],
                     tb_err *err)
{
	struct head head;
	tb_rc rc = read_head(object, &head, err);
	if (rc != TB_OK)
		return rc;
	*ret_content = head.content;
	*ret_plain_size = head.size;
	memcpy(ret_period, head.period, TB_PERIOD_ID);
	return TB_OK;
}

void tb_object_name(tb_span object, uint8_t ret_name[TB_OBJECT_NAME])
{
	crypto_generichash(ret_name, TB_OBJECT_NAME, object.data, object.size, NULL, 0);
}

void tb_object_path(const uint8_t name[TB_OBJECT_NAME], char ret_path[TB_OBJECT_PATH])
{
	char hex[2 * TB_OBJECT_NAME + 1];
	tb_hex(hex, name, TB_OBJECT_NAME);
	snprintf(ret_path, TB_OBJECT_PATH, "objects/%.2s/%s", hex, hex);
}
