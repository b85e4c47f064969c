/* Tiers: places for objects and manifests. One contract for all, one conformance suite (tests/conform/tier.c).
 *
 * Names are relative paths of [a-z A-Z 0-9 . _ -] and '/', at most 512 bytes, no part beginning with '.'. A name is
 * written once and never replaced. */
#ifndef TB_STORE_TIER_H
#define TB_STORE_TIER_H

#include "base/disk.h"

typedef struct tb_tier tb_tier;

/* One name, whole path below the tier, in ascending byte order within a call. */
typedef tb_rc (*tb_tier_entry_fn)(void *context, const char *name, uint64_t size, tb_err *err);

struct tb_tier {
	/* A reader sees the whole object or none; on TB_OK it is synced. The same name with equal bytes: TB_OK, nothing is
	 * written; with other bytes: TB_EREFUSED. */
	tb_rc (*put)(tb_tier *tier, const char *name, tb_span bytes, tb_err *err);
	/* TB_ENOTFOUND; TB_ECORRUPT when it is larger than size_max. */
	tb_rc (*get)(tb_tier *tier, const char *name, size_t size_max, tb_buf *ret_bytes, tb_err *err);
	/* Is it there with exactly these bytes? Read in pieces: the bytes may be many, and are in memory already.
	 * TB_ENOTFOUND. */
	tb_rc (*holds)(tb_tier *tier, const char *name, tb_span bytes, int *ret_same, tb_err *err);
	tb_rc (*stat)(tb_tier *tier, const char *name, uint64_t *ret_size, tb_err *err);               /* TB_ENOTFOUND */
	/* Everything below the directory `prefix` ("" for all), recursively. Parts beginning with '.' don't show: temporary
	 * names of puts are such. Names that break the rules show, but directories of such names aren't entered. A prefix that
	 * isn't there is empty. Putting and removing while it runs is fine. */
	tb_rc (*list)(tb_tier *tier, const char *prefix, tb_tier_entry_fn each, void *context, tb_err *err);
	tb_rc (*remove)(tb_tier *tier, const char *name, tb_err *err); /* one that isn't there: TB_OK */
	void (*close)(tb_tier *tier);
	const char *url; /* as the operator writes it */
};

/* A directory. path or "file:///path". create: makes it when missing, else TB_ENOTFOUND. s3:// is TB_EUNSUPPORTED. */
tb_rc tb_tier_open(tb_disk *disk, const char *url, int create, tb_tier **ret_tier, tb_err *err);
void tb_tier_close(tb_tier *tier); /* NULL is fine */

/* Drivers: url is kept for sentences. */
tb_rc tb_tier_dir_open(tb_disk *disk, const char *path, const char *url, int create, tb_tier **ret_tier, tb_err *err);

tb_rc tb_tier_name_check(const char *name, tb_err *err);

#endif
