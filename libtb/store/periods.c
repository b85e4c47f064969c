#include "store/keys.h"

#include "base/bytes.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

/* The record; see keys.h */
#define MAGIC "TBPERIOD"
enum { AT_ID = 8, AT_PUBLIC = 24, AT_MADE = 56, AT_REPOSITORY = 64, AT_INSTANCE = 80, AT_ZERO = 112, AT_SIGNATURE = 120 };
#define SECRET crypto_box_SECRETKEYBYTES
#define WRAP_BOX (SECRET + crypto_box_SEALBYTES)

_Static_assert(AT_SIGNATURE + TB_SIGNATURE == TB_PERIOD_RECORD, "the signature ends the record");
_Static_assert(TB_PERIOD_RECORD + WRAP_BOX == TB_WRAP_SIZE, "a wrap is a record and a box");

static void write_record(const tb_key *instance, const uint8_t public_key[TB_PUBLIC_KEY], uint64_t now_ns,
                         uint8_t record[TB_PERIOD_RECORD])
{
	memset(record, 0, TB_PERIOD_RECORD);
	memcpy(record, MAGIC, AT_ID);
	randombytes_buf(record + AT_ID, TB_PERIOD_ID);
	memcpy(record + AT_PUBLIC, public_key, TB_PUBLIC_KEY);
	tb_put64(record + AT_MADE, now_ns);
	memcpy(record + AT_REPOSITORY, tb_key_repository(instance), TB_REPOSITORY_ID);
	memcpy(record + AT_INSTANCE, tb_key_public(instance), TB_PUBLIC_KEY);
	tb_key_sign(instance, tb_span_of(record, AT_SIGNATURE), record + AT_SIGNATURE);
}

static tb_rc write_wraps(const uint8_t record[TB_PERIOD_RECORD], const uint8_t secret[SECRET],
                         const uint8_t (*recipients)[TB_PUBLIC_KEY], size_t count, tb_buf *wraps, tb_err *err)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t box[WRAP_BOX];
		if (crypto_box_seal(box, secret, SECRET, recipients[i]) != 0)
			return tb_fail(err, TB_EKEY, "recipient %zu is not a usable public key", i + 1);
		tb_buf_append(&wraps[i], record, TB_PERIOD_RECORD);
		tb_buf_append(&wraps[i], box, sizeof(box));
	}
	return TB_OK;
}

tb_rc tb_period_make(const tb_key *instance, const uint8_t (*recipients)[TB_PUBLIC_KEY], size_t recipient_count,
                     uint64_t now_ns, uint8_t ret_record[TB_PERIOD_RECORD], tb_buf *ret_wraps, tb_err *err)
{
	uint8_t public_key[TB_PUBLIC_KEY], secret[SECRET], record[TB_PERIOD_RECORD];
	for (size_t i = 0; i < recipient_count; i++)
		tb_buf_clear(&ret_wraps[i]);
	crypto_box_keypair(public_key, secret);
	write_record(instance, public_key, now_ns, record);
	tb_rc rc = write_wraps(record, secret, recipients, recipient_count, ret_wraps, err);
	sodium_memzero(secret, sizeof(secret));
	if (rc == TB_OK)
		memcpy(ret_record, record, sizeof(record));
	return rc;
}

tb_rc tb_period_read(tb_span record, const uint8_t instance[TB_PUBLIC_KEY], tb_period *ret_period, tb_err *err)
{
	const uint8_t *at = record.data;
	if (record.size != TB_PERIOD_RECORD || memcmp(at, MAGIC, AT_ID) != 0)
		return tb_fail(err, TB_ECORRUPT, "not a period's record, or cut short");
	if (instance != NULL && memcmp(at + AT_INSTANCE, instance, TB_PUBLIC_KEY) != 0)
		return tb_fail(err, TB_EKEY, "the period is not of this instance");
	if (tb_signature_check(at + AT_INSTANCE, tb_span_of(at, AT_SIGNATURE), at + AT_SIGNATURE, NULL) != TB_OK)
		return tb_fail(err, TB_EKEY, "the period's record is not signed by the instance, or was altered");
	tb_period period = { .made_ns = tb_get64(at + AT_MADE) };
	memcpy(period.id, at + AT_ID, TB_PERIOD_ID);
	memcpy(period.public_key, at + AT_PUBLIC, TB_PUBLIC_KEY);
	memcpy(period.repository, at + AT_REPOSITORY, TB_REPOSITORY_ID);
	memcpy(period.instance, at + AT_INSTANCE, TB_PUBLIC_KEY);
	*ret_period = period;
	return TB_OK;
}

/* The keyring */

struct opened { /* in locked memory */
	struct opened *next;
	uint8_t id[TB_PERIOD_ID];
	uint8_t public_key[TB_PUBLIC_KEY];
	uint8_t secret[SECRET];
};

struct tb_keyring {
	struct opened *periods;
	size_t count;
	tb_err damaged; /* the first wrap that couldn't be used, if any */
};

void tb_wrap_path(const uint8_t period[TB_PERIOD_ID], const uint8_t recipient[TB_PUBLIC_KEY], char ret_path[TB_WRAP_PATH])
{
	char id[2 * TB_PERIOD_ID + 1], whose[TB_ID_TEXT];
	tb_hex(id, period, TB_PERIOD_ID);
	tb_recipient_id(recipient, whose);
	snprintf(ret_path, TB_WRAP_PATH, "keys/%s/%s", id, whose);
}

static tb_rc check_wrap(const tb_key *identity, tb_span wrap, tb_period *ret_period, tb_err *err)
{
	if (wrap.size != TB_WRAP_SIZE)
		return tb_fail(err, TB_ECORRUPT, "not a period's wrap, or cut short: it has %zu bytes", wrap.size);
	tb_rc rc = tb_period_read(tb_span_of(wrap.data, TB_PERIOD_RECORD), tb_key_instance(identity), ret_period, err);
	if (rc == TB_OK && memcmp(ret_period->repository, tb_key_repository(identity), TB_REPOSITORY_ID) != 0)
		return tb_fail(err, TB_EKEY, "the period is of another repository than the identity");
	return rc;
}

static tb_rc unwrap(const tb_key *identity, tb_span wrap, struct opened *to, tb_err *err)
{
	tb_period period;
	uint8_t public_key[TB_PUBLIC_KEY];
	tb_rc rc = check_wrap(identity, wrap, &period, err);
	if (rc == TB_OK)
		rc = tb_key_unbox(identity, tb_span_of(wrap.data + TB_PERIOD_RECORD, WRAP_BOX), to->secret, err);
	if (rc != TB_OK)
		return rc;
	crypto_scalarmult_base(public_key, to->secret);
	if (memcmp(public_key, period.public_key, TB_PUBLIC_KEY) != 0)
		return tb_fail(err, TB_EKEY, "the wrapped key is not this period's");
	memcpy(to->id, period.id, TB_PERIOD_ID);
	memcpy(to->public_key, period.public_key, TB_PUBLIC_KEY);
	return TB_OK;
}

static tb_rc open_wrap(tb_tier *tier, const tb_key *identity, const char *path, struct opened **ret_opened, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf wrap = { 0 };
	tb_rc rc = tier->get(tier, path, TB_WRAP_SIZE, &wrap, err);
	if (rc != TB_OK)
		return rc;
	struct opened *opened = sodium_malloc(sizeof(*opened));
	if (opened == NULL)
		return tb_fail(err, TB_ENOMEM, "no locked memory for a period's key");
	rc = unwrap(identity, tb_buf_span(&wrap), opened, err);
	char wanted[TB_WRAP_PATH];
	if (rc == TB_OK) {
		tb_wrap_path(opened->id, tb_key_public(identity), wanted);
		if (strcmp(path, wanted) != 0)
			rc = tb_fail(err, TB_ECORRUPT, "it is another period's than its name says");
	}
	if (rc == TB_OK)
		*ret_opened = opened;
	else
		sodium_free(opened);
	return rc;
}

tb_rc tb_wrap_try(tb_tier *tier, const tb_key *identity, const char *path, tb_err *err)
{
	struct opened *opened;
	tb_rc rc = open_wrap(tier, identity, path, &opened, err);
	if (rc == TB_OK)
		sodium_free(opened); /* wipes */
	return rc;
}

struct search {
	tb_tier *tier;
	const tb_key *identity;
	char whose[TB_ID_TEXT];
	tb_keyring *keyring;
};

/* One bad wrap doesn't hide the others. */
static tb_rc try_wrap(void *context, const char *name, uint64_t size, tb_err *err)
{
	(void)size;
	struct search *search = context;
	tb_keyring *keyring = search->keyring;
	const char *last = strrchr(name, '/');
	if (last == NULL || strcmp(last + 1, search->whose) != 0)
		return TB_OK;
	struct opened *opened = NULL;
	tb_err why = { 0 };
	tb_rc rc = open_wrap(search->tier, search->identity, name, &opened, &why);
	if (rc == TB_OK) {
		opened->next = keyring->periods;
		keyring->periods = opened;
		keyring->count++;
	} else if (rc == TB_ENOMEM) {
		return tb_fail(err, rc, "%s", why.text);
	} else if (keyring->damaged.rc == TB_OK) {
		tb_fail(&keyring->damaged, rc, "%s: %s", name, why.text);
	}
	return TB_OK;
}

tb_rc tb_keyring_open(tb_tier *tier, const tb_key *identity, tb_keyring **ret_keyring, tb_err *err)
{
	tb_keyring *keyring = tb_alloc_zero(1, sizeof(*keyring));
	struct search search = { .tier = tier, .identity = identity, .keyring = keyring };
	tb_recipient_id(tb_key_public(identity), search.whose);
	tb_rc rc = tier->list(tier, "keys", try_wrap, &search, err);
	if (rc == TB_OK && keyring->count == 0 && keyring->damaged.rc != TB_OK) {
		rc = tb_fail(err, keyring->damaged.rc, "no key opens %s: %s", tier->url, keyring->damaged.text);
	} else if (rc == TB_OK && keyring->count == 0) {
		rc = tb_fail(err, TB_EKEY, "%s holds no key for this identity (recipient %s)", tier->url, search.whose);
		tb_hint(err, "use the identity or recovery kit of this repository; keys/ in it names who can open it");
	}
	if (rc == TB_OK)
		*ret_keyring = keyring;
	else
		tb_keyring_free(keyring);
	return rc;
}

void tb_keyring_free(tb_keyring *keyring)
{
	if (keyring == NULL)
		return;
	while (keyring->periods != NULL) {
		struct opened *next = keyring->periods->next;
		sodium_free(keyring->periods); /* wipes */
		keyring->periods = next;
	}
	free(keyring);
}

size_t tb_keyring_count(const tb_keyring *keyring)
{
	return keyring->count;
}

static tb_rc no_period(const tb_keyring *keyring, const uint8_t period[TB_PERIOD_ID], tb_err *err)
{
	char id[2 * TB_PERIOD_ID + 1];
	tb_hex(id, period, TB_PERIOD_ID);
	tb_fail(err, TB_EKEY, "this identity has no key for period %s", id);
	if (keyring->damaged.rc != TB_OK)
		tb_hint(err, "%.220s", keyring->damaged.text);
	else
		tb_hint(err, "keys/%s/ in the repository names who can open it", id);
	return TB_EKEY;
}

tb_rc tb_keyring_unbox(const tb_keyring *keyring, const uint8_t period[TB_PERIOD_ID], tb_span box, uint8_t *ret_plain,
                       tb_err *err)
{
	const struct opened *at = keyring->periods;
	while (at != NULL && memcmp(at->id, period, TB_PERIOD_ID) != 0)
		at = at->next;
	if (at == NULL)
		return no_period(keyring, period, err);
	if (box.size < crypto_box_SEALBYTES ||
	    crypto_box_seal_open(ret_plain, box.data, box.size, at->public_key, at->secret) != 0)
		return tb_fail(err, TB_ECORRUPT, "its box doesn't open: it was cut short or altered");
	return TB_OK;
}
