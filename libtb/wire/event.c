#include "wire/event.h"

#include "wire/event_fields.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

void tb_event_default(tb_event *event, tb_event_kind kind)
{
	memset(event, 0, sizeof(*event));
	event->kind = kind;
	if (kind == TB_EVENT_GHOST) {
		event->body.ghost.event_type = "ghost_trigger";
		event->body.ghost.confidence = TB_CONFIDENCE_DEFAULT;
	} else if (kind == TB_EVENT_ORBIT) {
		event->body.orbit.confidence = TB_CONFIDENCE_DEFAULT;
	} else if (kind == TB_EVENT_FLIP) {
		event->body.flip.confidence = TB_CONFIDENCE_DEFAULT;
	}
}

const char *tb_event_kind_name(tb_event_kind kind)
{
	const tb_message *body = tb_event_body(kind);
	return body ? body->name : "unknown";
}

tb_event_kind tb_event_kind_of(const char *name)
{
	for (tb_event_kind kind = TB_EVENT_GHOST; kind <= TB_EVENT_SIGNAL; kind++)
		if (strcmp(tb_event_body(kind)->name, name) == 0)
			return kind;
	return TB_EVENT_NONE;
}

int tb_event_bank(const tb_event *event, const char **ret_pair, uint32_t *ret_bit_phase)
{
	switch (event->kind) {
	case TB_EVENT_GHOST:
		*ret_pair = event->body.ghost.pair;
		*ret_bit_phase = event->body.ghost.bit_phase;
		return 1;
	case TB_EVENT_ORBIT:
		if (event->body.orbit.pair_count == 0)
			return 0;
		*ret_pair = event->body.orbit.pairs[0];
		*ret_bit_phase = event->body.orbit.bit_phase;
		return 1;
	case TB_EVENT_FLIP:
		*ret_pair = event->body.flip.pair;
		*ret_bit_phase = event->body.flip.bit_phase;
		return 1;
	default:
		return 0;
	}
}

int tb_bit_phase_legal(uint32_t bit_phase)
{
	return bit_phase == 4 || bit_phase == 8 || bit_phase == 16 || bit_phase == 32 || bit_phase == 42;
}

uint32_t tb_bit_phase_of_volatility(double volatility)
{
	static const struct {
		double below;
		uint32_t bit_phase;
	} rows[] = { { 0.1, 4 }, { 0.2, 8 }, { 0.3, 16 }, { 0.4, 32 } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (volatility < rows[i].below)
			return rows[i].bit_phase;
	return 42;
}

tb_rc tb_bit_phase_of_hash(const char *hex, uint32_t bit_phase, uint64_t *ret_value, tb_err *err)
{
	uint8_t hash[TB_HASH];
	if (!tb_unhex(hash, sizeof(hash), hex))
		return tb_fail(err, TB_EINVAL, "not a hash of 64 hexadecimal digits: \"%.80s\"", hex);
	uint64_t digits = 0; /* the first eleven: 44 bits */
	for (int i = 0; i < 6; i++)
		digits = digits << 8 | hash[i];
	digits >>= 4;
	switch (bit_phase) {
	case 4:
		*ret_value = digits >> 40;
		return TB_OK;
	case 8:
		*ret_value = digits >> 36;
		return TB_OK;
	case 42:
		*ret_value = digits & ((UINT64_C(1) << 42) - 1);
		return TB_OK;
	default:
		return tb_fail(err, TB_EINVAL, "a hash has no value of bit phase %u: 4, 8 and 42 are possible",
		               bit_phase);
	}
}

tb_rc tb_bit_phase_of_id(uint64_t id, uint32_t bit_phase, uint64_t *ret_value, tb_err *err)
{
	switch (bit_phase) {
	case 4:
		*ret_value = id & 0xf;
		return TB_OK;
	case 8:
		*ret_value = id >> 4 & 0xff;
		return TB_OK;
	case 32:
	case 42:
		*ret_value = id >> 12 & ((UINT64_C(1) << bit_phase) - 1);
		return TB_OK;
	default:
		return tb_fail(err, TB_EINVAL, "an id has no value of bit phase %u: 4, 8, 32 and 42 are possible",
		               bit_phase);
	}
}

static char *put_binary(char *at, uint64_t value, uint32_t bits)
{
	for (uint32_t i = bits; i-- > 0;)
		*at++ = (char)('0' + (value >> i & 1));
	return at;
}

tb_rc tb_flip_pattern(char out[TB_FLIP_PATTERN_MAX], uint64_t value, uint32_t bits, tb_err *err)
{
	if (bits < 1 || bits > 64)
		return tb_fail(err, TB_EINVAL, "no flip pattern of %u bits: 1 to 64 are possible", bits);
	if (bits < 64 && value >> bits != 0)
		return tb_fail(err, TB_EINVAL, "no flip pattern: %llu does not fit %u bits",
		               (unsigned long long)value, bits);
	char *at = put_binary(out, value, bits);
	*at++ = '-';
	*at++ = '>';
	at = put_binary(at, ~value, bits);
	*at = '\0';
	return TB_OK;
}

/* EVP_sha256() would look its implementation up for each event, which costs three times the hash. */
static EVP_MD *sha256;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void fetch_sha256(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static void hash_bytes(const void *data, size_t size, uint8_t ret_hash[TB_HASH])
{
	pthread_once(&sha256_once, fetch_sha256);
	int done = sha256 != NULL && EVP_Digest(data, size, ret_hash, NULL, sha256, NULL);
	if (!done)
		abort(); /* out of memory, or a libcrypto without SHA-256: nothing could be vouched for */
}

void tb_event_hash(tb_span canonical, uint8_t ret_hash[TB_HASH])
{
	hash_bytes(canonical.data, canonical.size, ret_hash);
}

void tb_memory_signature(const uint8_t head[TB_HASH], const uint8_t backup_hash[TB_HASH], uint8_t ret_head[TB_HASH])
{
	uint8_t both[2 * TB_HASH];
	memcpy(both, head, TB_HASH);
	memcpy(both + TB_HASH, backup_hash, TB_HASH);
	hash_bytes(both, sizeof(both), ret_head);
}
