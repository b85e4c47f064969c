/* Keys that are the same in every run: what looks like chance comes from a counter. */
#ifndef TB_FUZZ_KEYS_H
#define TB_FUZZ_KEYS_H

#include "fuzz/fuzz.h"
#include "store/keys.h"

#include <sodium.h>

#define FUZZ_NOW UINT64_C(1767323045123456789)

static uint64_t fuzz_chance;

static inline uint32_t fuzz_chance_next(void)
{
	fuzz_chance = fuzz_chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(fuzz_chance >> 32);
}

static inline void fuzz_chance_fill(void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)bytes)[i] = (uint8_t)fuzz_chance_next();
}

static inline const char *fuzz_chance_name(void)
{
	return "a counter";
}

static struct fuzz_keys {
	uint8_t repository[TB_REPOSITORY_ID];
	tb_key *instance, *collector, *identity;
	uint8_t record[TB_PERIOD_RECORD];
	tb_buf wrap;
	tb_period period;
	char wrap_path[TB_WRAP_PATH];
} fuzz_keys;

/* Made once, before the first input. */
static inline const struct fuzz_keys *fuzz_keys_get(void)
{
	static randombytes_implementation counter = { .implementation_name = fuzz_chance_name, .random = fuzz_chance_next,
		                                          .buf = fuzz_chance_fill };
	struct fuzz_keys *keys = &fuzz_keys;
	fuzz_chance = 0;
	if (keys->instance != NULL)
		return keys;
	hold(randombytes_set_implementation(&counter) == 0);
	hold(tb_keys_init(NULL) == TB_OK);
	memset(keys->repository, 0x5a, sizeof(keys->repository));
	hold(tb_key_make(TB_KEY_INSTANCE, keys->repository, NULL, FUZZ_NOW, &keys->instance, NULL) == TB_OK);
	hold(tb_key_make(TB_KEY_COLLECTOR, keys->repository, keys->instance, FUZZ_NOW, &keys->collector, NULL) == TB_OK);
	hold(tb_key_make(TB_KEY_IDENTITY, keys->repository, keys->instance, FUZZ_NOW, &keys->identity, NULL) == TB_OK);
	const void *recipient = tb_key_public(keys->identity);
	hold(tb_period_make(keys->instance, recipient, 1, FUZZ_NOW, keys->record, &keys->wrap, NULL) == TB_OK);
	hold(tb_period_read(tb_span_of(keys->record, TB_PERIOD_RECORD), NULL, &keys->period, NULL) == TB_OK);
	tb_wrap_path(keys->period.id, tb_key_public(keys->identity), keys->wrap_path);
	return keys;
}

/* A tier that holds one name. */
struct fuzz_tier {
	tb_tier tier;
	const char *name;
	tb_span bytes;
};

static inline tb_rc fuzz_tier_get(tb_tier *tier, const char *name, size_t size_max, tb_buf *ret_bytes, tb_err *err)
{
	const struct fuzz_tier *own = (const struct fuzz_tier *)tier;
	if (strcmp(name, own->name) != 0)
		return tb_fail(err, TB_ENOTFOUND, "there is no %s", name);
	if (own->bytes.size > size_max)
		return tb_fail(err, TB_ECORRUPT, "%s is too large", name);
	tb_buf_clear(ret_bytes);
	tb_buf_append_span(ret_bytes, own->bytes);
	return TB_OK;
}

static inline tb_rc fuzz_tier_list(tb_tier *tier, const char *prefix, tb_tier_entry_fn each, void *context, tb_err *err)
{
	const struct fuzz_tier *own = (const struct fuzz_tier *)tier;
	(void)prefix;
	return each(context, own->name, own->bytes.size, err);
}

static inline struct fuzz_tier fuzz_tier_of(const char *name, tb_span bytes)
{
	return (struct fuzz_tier){ { .get = fuzz_tier_get, .list = fuzz_tier_list, .url = "memory" }, name, bytes };
}

#endif
