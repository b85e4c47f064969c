/* A directory that goes away again, and a repository's keys in it. For the tests of libtb/store. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "leaks.h"
#include "store/keys.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define NOW UINT64_C(1767323045123456789) /* 2026-01-02T03:04:05 */

#define must(call) cr_assert_eq((call), TB_OK, "%s: %s", #call, err.text)

static tb_err err;
static char dir[64];

static inline const char *below(const char *name)
{
	static char paths[4][256];
	static int next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static inline void dir_make(void)
{
	strcpy(dir, "/tmp/tradebank-test-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	must(tb_keys_init(&err));
}

static inline void dir_remove(void)
{
	tb_disk_remove_tree(tb_disk_system(), dir, NULL);
	fail_on_leaks();
}

struct keys {
	uint8_t repository[TB_REPOSITORY_ID];
	tb_key *instance, *collector, *identity;
	uint8_t record[TB_PERIOD_RECORD];
	tb_period period;
	tb_buf wrap;
	char wrap_path[TB_WRAP_PATH];
};

static inline void keys_make(struct keys *keys)
{
	memset(keys, 0, sizeof(*keys));
	memset(keys->repository, 0x5a, sizeof(keys->repository));
	must(tb_key_make(TB_KEY_INSTANCE, keys->repository, NULL, NOW, &keys->instance, &err));
	must(tb_key_make(TB_KEY_COLLECTOR, keys->repository, keys->instance, NOW, &keys->collector, &err));
	must(tb_key_make(TB_KEY_IDENTITY, keys->repository, keys->instance, NOW, &keys->identity, &err));
	const void *recipient = tb_key_public(keys->identity);
	must(tb_period_make(keys->instance, recipient, 1, NOW, keys->record, &keys->wrap, &err));
	must(tb_period_read(tb_span_of(keys->record, TB_PERIOD_RECORD), tb_key_public(keys->instance), &keys->period, &err));
	tb_wrap_path(keys->period.id, tb_key_public(keys->identity), keys->wrap_path);
}

static inline void keys_drop(struct keys *keys)
{
	tb_key_free(keys->instance);
	tb_key_free(keys->collector);
	tb_key_free(keys->identity);
	tb_buf_drop(&keys->wrap);
}

/* A repository in the directory with the one wrap in it, and the keyring that it gives. */
static inline tb_keyring *keyring_make(struct keys *keys)
{
	tb_tier *tier;
	tb_keyring *keyring;
	must(tb_tier_open(tb_disk_system(), below("keyring"), 1, &tier, &err));
	must(tier->put(tier, keys->wrap_path, tb_buf_span(&keys->wrap), &err));
	must(tb_keyring_open(tier, keys->identity, &keyring, &err));
	tb_tier_close(tier);
	return keyring;
}

/* Calls check with every shorter length of bytes, then with every single bit flipped; each from memory of exactly that
 * size, so that a sanitizer sees a read beyond. */
typedef void (*damaged_fn)(void *context, tb_span damaged, size_t at);

static inline void each_cut(tb_span bytes, damaged_fn check, void *context)
{
	for (size_t size = 0; size < bytes.size; size++) {
		uint8_t *copy = memcpy(tb_alloc(size), bytes.data, size);
		check(context, tb_span_of(copy, size), size);
		free(copy);
	}
}

static inline void each_flip(tb_span bytes, damaged_fn check, void *context)
{
	uint8_t *copy = memcpy(tb_alloc(bytes.size), bytes.data, bytes.size);
	for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		check(context, tb_span_of(copy, bytes.size), bit);
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	free(copy);
}

/* A code that says what is wrong with bytes, and a sentence. */
static inline int is_refusal(tb_rc rc, const tb_err *why)
{
	return (rc == TB_ECORRUPT || rc == TB_EKEY || rc == TB_EUNSUPPORTED) && why->rc == rc && why->text[0] != '\0';
}

#endif
