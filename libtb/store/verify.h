/* Verification: does the repository still say and hold what was signed?
 *
 * quick  names, sizes, presence, signatures, chains, heads (and the remembered heads, with a catalog)
 * full   also every byte of every object against its name
 * Each finding names what is wrong, and the backups and event numbers that it hits. Whether a wrapped key really opens
 * is known only with its identity.
 *
 * Memory: about 110 bytes an object that manifests name, and 250 a manifest. */
#ifndef TB_STORE_VERIFY_H
#define TB_STORE_VERIFY_H

#include "store/archive.h"

typedef struct tb_finding {
	const char *code;   /* "object missing", "object damaged", "object size", "manifest damaged", "manifest missing",
	                       "manifest signature", "chain broken", "head missing", "head damaged", "rolled back",
	                       "segment gap", "key missing", "key damaged"; harmless: "orphan", "stray name" */
	const char *path;   /* in the repository; may be empty */
	const char *stream; /* may be empty */
	const char *backup; /* id; may be empty */
	const char *type;   /* of the backup */
	uint64_t from, to;  /* event numbers that can't be restored because of it; 0..0: none */
	const char *detail;
	int harmless;       /* noticed, but nothing is lost by it: an orphan, a temporary name */
} tb_finding;

typedef struct tb_verify_options {
	int full;
	const char *catalog; /* NULL, or the instance's */
	const char *stream;  /* NULL: all */
	const tb_key *identity; /* NULL, or whose keys are tried */
	void (*finding)(void *context, const tb_finding *finding);
	void (*progress)(void *context, uint64_t bytes_done, uint64_t bytes_all);
	void *context;
} tb_verify_options;

typedef struct tb_verified {
	uint64_t streams, manifests, objects, bytes, orphans;
	uint64_t findings; /* that are damage */
	uint64_t seconds_ns;
} tb_verified;

/* Findings come at the end of the work, when all that bears on what can still be restored is known. With options.stream
 * orphans aren't looked for: other streams' objects would be among them. TB_OK also when there is damage:
 * look at findings. TB_EKEY: the identity is of another repository. */
tb_rc tb_verify(tb_archive *archive, const tb_verify_options *options, tb_verified *ret_verified, tb_err *err);

#endif
