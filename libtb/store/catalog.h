/* The storer's catalog, in its bank: what is on which tier, and each stream's remembered head.
 *
 * The remembered heads are what makes a repository that was rolled back or cut short noticeable: they live with the
 * instance, outside the repository. A reader in another process may open it while the storer writes. A remembered head's
 * made_ns is when it was remembered; its last number is the highest `to` of the stream's manifests so far. */
#ifndef TB_STORE_CATALOG_H
#define TB_STORE_CATALOG_H

#include "frames.pb-c.h"
#include "store/bank.h"
#include "store/manifest.h"

/* Within the storer's transaction. */
tb_rc tb_catalog_object(tb_txn *txn, const uint8_t name[TB_OBJECT_NAME], uint64_t size, uint64_t now_ns, tb_err *err);
tb_rc tb_catalog_has_object(tb_txn *txn, const uint8_t name[TB_OBJECT_NAME], int *ret_has, tb_err *err);
/* Records the manifest and moves the stream's remembered head to it (chain must be the head's + 1, or it is one
 * that is recorded already: TB_OK, nothing changes). TB_EREFUSED otherwise. */
tb_rc tb_catalog_manifest(tb_txn *txn, const Tb__ManifestFrame *manifest, const uint8_t hash[TB_HASH_SIZE],
                          uint64_t now_ns, tb_err *err);

/* Records what lies on the tier and isn't recorded: objects by their names, manifests by what they say of themselves,
 * which is not verified; and moves remembered heads on to the newest of them, never back. For a catalog that was lost, or
 * that another storer went on without. */
typedef struct tb_catalog_rebuilt {
	uint64_t objects, manifests; /* that weren't recorded */
} tb_catalog_rebuilt;
tb_rc tb_catalog_rebuild(tb_txn *txn, tb_tier *tier, uint64_t now_ns, tb_catalog_rebuilt *ret_rebuilt, tb_err *err);

/* A reader's: the remembered head of a stream in the catalog at path (an instance's banks/storer). TB_ENOTFOUND: no
 * catalog, or no such stream in it. */
tb_rc tb_catalog_head(const char *path, const char *stream, tb_head *ret_head, tb_err *err);
/* All of them, by name. Free with free (NULL when there are none). TB_ENOTFOUND: no catalog. */
tb_rc tb_catalog_heads(const char *path, tb_head **ret_heads, size_t *ret_count, tb_err *err);

#endif
