/* The catalog from the tier itself: what lies there under a name that is right. Nothing is opened, so no key is needed;
 * what was altered is for verify to find. What is recorded already stays as it is. */
#include "store/catalog_parts.h"

#include "base/bytes.h"
#include "store/tier.h"
#include "wire/frame.h"

#include <stdio.h>

struct rebuild {
	tb_txn *txn;
	tb_tier *tier;
	uint64_t now_ns;
	tb_arena *arena;
	tb_catalog_rebuilt counts;
};

/* "objects/ab/ab…": 64 hex digits in small letters. 0: another name. */
static int object_of_path(const char *path, uint8_t ret_name[TB_OBJECT_NAME])
{
	char again[TB_OBJECT_PATH];
	const char *hex = strrchr(path, '/');
	if (hex == NULL || strlen(hex + 1) != 2 * TB_OBJECT_NAME || !tb_unhex(ret_name, TB_OBJECT_NAME, hex + 1))
		return 0;
	tb_object_path(ret_name, again);
	return strcmp(again, path) == 0;
}

static tb_rc see_object(void *context, const char *path, uint64_t size, tb_err *err)
{
	struct rebuild *rebuild = context;
	uint8_t name[TB_OBJECT_NAME];
	int has = 0;
	if (!object_of_path(path, name))
		return TB_OK;
	tb_rc rc = tb_catalog_has_object(rebuild->txn, name, &has, err);
	if (rc != TB_OK || has)
		return rc;
	rebuild->counts.objects++;
	return tb_catalog_object(rebuild->txn, name, size, rebuild->now_ns, err);
}

/* A file whose name isn't what it says of itself is passed over. */
static Tb__Manifest *manifest_of_path(struct rebuild *rebuild, const char *path, tb_span file)
{
	char again[TB_MANIFEST_PATH];
	Tb__Manifest *manifest;
	if (tb_manifest_peek(file, rebuild->arena, &manifest, NULL) != TB_OK ||
	    tb_stream_check(manifest->stream, NULL) != TB_OK || tb_backup_type_find(manifest->type) == NULL)
		return NULL;
	tb_manifest_path(manifest->stream, manifest->to, manifest->type, manifest->backup, again);
	return strcmp(again, path) == 0 ? manifest : NULL;
}

static tb_rc see_manifest(void *context, const char *path, uint64_t size, tb_err *err)
{
	struct rebuild *rebuild = context;
	tb_auto(tb_buf_drop) tb_buf file = { 0 };
	uint8_t hash[TB_HASH_SIZE];
	int is_new = 0;
	(void)size;
	tb_arena_reset(rebuild->arena);
	if (rebuild->tier->get(rebuild->tier, path, TB_MANIFEST_MAX, &file, NULL) != TB_OK)
		return TB_OK;
	Tb__Manifest *manifest = manifest_of_path(rebuild, path, tb_buf_span(&file));
	if (manifest == NULL)
		return TB_OK;
	tb_manifest_hash(tb_buf_span(&file), hash);
	tb_rc rc = tb_catalog_found(rebuild->txn, manifest, path, hash, rebuild->now_ns, &is_new, err);
	rebuild->counts.manifests += (uint64_t)is_new;
	return rc;
}

tb_rc tb_catalog_rebuild(tb_txn *txn, tb_tier *tier, uint64_t now_ns, tb_catalog_rebuilt *ret_rebuilt, tb_err *err)
{
	struct rebuild rebuild = { .txn = txn, .tier = tier, .now_ns = now_ns, .arena = tb_arena_new() };
	tb_rc rc = tier->list(tier, "objects", see_object, &rebuild, err);
	if (rc == TB_OK)
		rc = tier->list(tier, "manifests", see_manifest, &rebuild, err);
	tb_arena_free(rebuild.arena);
	if (rc == TB_OK)
		*ret_rebuilt = rebuild.counts;
	return rc;
}
