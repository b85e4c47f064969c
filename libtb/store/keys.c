#include "store/key_parts.h"

#include "base/bytes.h"

#include <assert.h>
#include <sodium.h>

/* The certificate; see keys.h */
#define CERTIFICATE_MAGIC "TBSIGNER"
#define ROLE "collector"
#define ROLE_SIZE 16
enum { AT_SIGNER = 8, AT_REPOSITORY = 40, AT_MADE = 56, AT_ROLE = 64, AT_SIGNATURE = 80 };

_Static_assert(AT_SIGNATURE + TB_SIGNATURE == TB_CERTIFICATE, "the signature ends the certificate");
_Static_assert(crypto_sign_SEEDBYTES == TB_KEY_SEED && crypto_box_SEEDBYTES == TB_KEY_SEED, "one size of seeds");

tb_rc tb_keys_init(tb_err *err)
{
	if (sodium_init() < 0)
		return tb_fail(err, TB_EIO, "libsodium can't start: no source of randomness");
	return TB_OK;
}

tb_rc tb_key_of_seed(tb_key_kind kind, const uint8_t seed[TB_KEY_SEED], tb_key **ret_key, tb_err *err)
{
	tb_key *key = sodium_malloc(sizeof(*key));
	if (key == NULL)
		return tb_fail(err, TB_ENOMEM, "no locked memory for a key");
	memset(key, 0, sizeof(*key));
	key->kind = kind;
	memcpy(key->seed, seed, TB_KEY_SEED);
	if (kind == TB_KEY_IDENTITY)
		crypto_box_seed_keypair(key->public_key, key->secret, seed);
	else
		crypto_sign_seed_keypair(key->public_key, key->secret, seed);
	*ret_key = key;
	return TB_OK;
}

static void certify(tb_key *key, const tb_key *instance, uint64_t now_ns)
{
	uint8_t *at = key->certificate;
	memcpy(at, CERTIFICATE_MAGIC, AT_SIGNER);
	memcpy(at + AT_SIGNER, key->public_key, TB_PUBLIC_KEY);
	memcpy(at + AT_REPOSITORY, key->repository, TB_REPOSITORY_ID);
	tb_put64(at + AT_MADE, now_ns);
	memcpy(at + AT_ROLE, ROLE, sizeof(ROLE));
	tb_key_sign(instance, tb_span_of(at, AT_SIGNATURE), at + AT_SIGNATURE);
}

tb_rc tb_key_make(tb_key_kind kind, const uint8_t repository[TB_REPOSITORY_ID], const tb_key *instance, uint64_t now_ns,
                  tb_key **ret_key, tb_err *err)
{
	assert((instance == NULL) == (kind == TB_KEY_INSTANCE));
	uint8_t seed[TB_KEY_SEED];
	randombytes_buf(seed, sizeof(seed));
	tb_key *key;
	tb_rc rc = tb_key_of_seed(kind, seed, &key, err);
	sodium_memzero(seed, sizeof(seed));
	if (rc != TB_OK)
		return rc;
	memcpy(key->repository, repository, TB_REPOSITORY_ID);
	memcpy(key->instance, instance ? instance->public_key : key->public_key, TB_PUBLIC_KEY);
	if (kind == TB_KEY_COLLECTOR)
		certify(key, instance, now_ns);
	*ret_key = key;
	return TB_OK;
}

void tb_key_free(tb_key *key)
{
	sodium_free(key); /* wipes */
}

const uint8_t *tb_key_public(const tb_key *key)
{
	return key->public_key;
}

const uint8_t *tb_key_instance(const tb_key *key)
{
	return key->instance;
}

const uint8_t *tb_key_repository(const tb_key *key)
{
	return key->repository;
}

const uint8_t *tb_key_certificate(const tb_key *key)
{
	assert(key->kind == TB_KEY_COLLECTOR);
	return key->certificate;
}

void tb_key_sign(const tb_key *key, tb_span bytes, uint8_t ret_signature[TB_SIGNATURE])
{
	assert(key->kind != TB_KEY_IDENTITY);
	crypto_sign_detached(ret_signature, NULL, bytes.data, bytes.size, key->secret);
}

tb_rc tb_key_unbox(const tb_key *identity, tb_span box, uint8_t *ret_plain, tb_err *err)
{
	assert(identity->kind == TB_KEY_IDENTITY);
	if (box.size < crypto_box_SEALBYTES ||
	    crypto_box_seal_open(ret_plain, box.data, box.size, identity->public_key, identity->secret) != 0)
		return tb_fail(err, TB_ECORRUPT, "a box for this identity doesn't open: it was cut short or altered");
	return TB_OK;
}

void tb_recipient_id(const uint8_t public_key[TB_PUBLIC_KEY], char ret_text[TB_ID_TEXT])
{
	uint8_t hash[32];
	crypto_generichash(hash, sizeof(hash), public_key, TB_PUBLIC_KEY, NULL, 0);
	tb_hex(ret_text, hash, (TB_ID_TEXT - 1) / 2);
}

tb_rc tb_signature_check(const uint8_t public_key[TB_PUBLIC_KEY], tb_span bytes, const uint8_t signature[TB_SIGNATURE],
                         tb_err *err)
{
	if (crypto_sign_verify_detached(signature, bytes.data, bytes.size, public_key) != 0)
		return tb_fail(err, TB_EKEY, "the signature does not hold: the bytes were altered, or another key signed them");
	return TB_OK;
}

tb_rc tb_certificate_check(tb_span certificate, const uint8_t instance[TB_PUBLIC_KEY],
                           const uint8_t repository[TB_REPOSITORY_ID], uint8_t ret_signer[TB_PUBLIC_KEY], tb_err *err)
{
	static const char role[ROLE_SIZE] = ROLE;
	const uint8_t *at = certificate.data;
	if (certificate.size != TB_CERTIFICATE || memcmp(at, CERTIFICATE_MAGIC, AT_SIGNER) != 0)
		return tb_fail(err, TB_ECORRUPT, "not a signer's certificate, or cut short");
	if (tb_signature_check(instance, tb_span_of(at, AT_SIGNATURE), at + AT_SIGNATURE, NULL) != TB_OK)
		return tb_fail(err, TB_EKEY, "the signer's certificate is not by this instance's key, or was altered");
	if (memcmp(at + AT_REPOSITORY, repository, TB_REPOSITORY_ID) != 0)
		return tb_fail(err, TB_EKEY, "the signer's certificate is for another repository");
	if (memcmp(at + AT_ROLE, role, ROLE_SIZE) != 0)
		return tb_fail(err, TB_EKEY, "the signer's certificate is for another role");
	memcpy(ret_signer, at + AT_SIGNER, TB_PUBLIC_KEY);
	return TB_OK;
}
