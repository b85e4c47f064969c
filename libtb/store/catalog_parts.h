/* The catalog, inside. */
#ifndef TB_STORE_CATALOG_PARTS_H
#define TB_STORE_CATALOG_PARTS_H

#include "store/catalog.h"

/* A manifest that lies on the tier: recorded unless it is, and its stream's remembered head is it when it is the newest
 * of its chain. */
tb_rc tb_catalog_found(tb_txn *txn, const Tb__Manifest *manifest, const char *path, const uint8_t hash[TB_HASH_SIZE],
                       uint64_t now_ns, int *ret_new, tb_err *err);

#endif
