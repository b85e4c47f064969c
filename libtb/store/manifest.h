/* Manifests and heads: what a repository says about itself, signed.
 *
 * Manifest file:  0 8 bytes "TBMANIF\1"  8 u32 size of the message  12 u32 zero  16 message (tb.Manifest of
 *   proto/backup.proto)  then 144 bytes certificate of the signer, 64 bytes signature over everything before it.
 * Its hash is BLAKE2b-256 of the whole file; `before` in the next one of its stream's chain is that hash.
 * Name: manifests/<stream>/<last number, 20 digits>-<type, three letters>-<id>.
 *
 * Head file (heads/<stream>/<chain number, 20 digits>), 424 bytes:  0 8 bytes "TBHEAD\0\1"  8 u64 chain number
 *   16 u64 last number  24 32 hash of the manifest of that chain number  56 u64 time made  64 16 repository id
 *   80 u16 size of the stream's name  82 name (≤ 128), zeros up to 216  216 144 certificate  360 64 signature over all
 *   before. It is the stream's newest; older ones are removed. The last number is the highest `to` of all manifests up to
 *   this one: a backup may end before the newest segment.
 *
 * The last byte of each magic is the format; the signer is a collector. Signatures of different things can't stand in
 * for each other, as what they are over begins with different magics. */
#ifndef TB_STORE_MANIFEST_H
#define TB_STORE_MANIFEST_H

#include "backup.pb-c.h"
#include "base/arena.h"
#include "store/seal.h"

#define TB_MANIFEST_FORMAT 1
#define TB_MANIFEST_MAX (64u * 1024 * 1024)
#define TB_HASH_SIZE 32

/* The types, a row each: "FULL", "FUL", "full". */
typedef struct tb_backup_type {
	const char *name;   /* in manifests */
	const char *prefix; /* of ids and in paths */
	const char *word;   /* in commands and signals */
} tb_backup_type;
const tb_backup_type *tb_backup_type_find(const char *name_prefix_or_word); /* NULL: none */

/* A new id: prefix, '_', UTC time to the second, '_', 16 random hex digits: FUL_20260102T030405Z_0123456789abcdef */
#define TB_BACKUP_ID 48
void tb_backup_id(const tb_backup_type *type, uint64_t now_ns, char ret_id[TB_BACKUP_ID]);
int tb_backup_id_valid(const char *id);

/* ret_file is replaced. TB_EINVAL: the message's parts don't fit together (see tb_manifest_read). */
tb_rc tb_manifest_write(const Tb__Manifest *manifest, const tb_key *signer, tb_buf *ret_file,
                        uint8_t ret_hash[TB_HASH_SIZE], tb_err *err);
/* Checks magic, sizes, certificate, signature, repository, format, and that the message's parts fit together (stream
 * name, type, from ≤ to + 1, object names of 32 bytes, a segment's one object, …). TB_ECORRUPT: not a manifest, cut short,
 * or its parts don't fit; TB_EKEY: not signed by this instance's signer for this repository, or altered since;
 * TB_EUNSUPPORTED: a newer format. The message lives in the arena. */
tb_rc tb_manifest_read(tb_span file, const uint8_t instance[TB_PUBLIC_KEY], const uint8_t repository[TB_REPOSITORY_ID],
                       tb_arena *arena, Tb__Manifest **ret_manifest, tb_err *err);
/* What it says of itself, believed: without a key. TB_ECORRUPT: not a manifest. */
tb_rc tb_manifest_peek(tb_span file, tb_arena *arena, Tb__Manifest **ret_manifest, tb_err *err);
void tb_manifest_hash(tb_span file, uint8_t ret_hash[TB_HASH_SIZE]);
#define TB_MANIFEST_PATH 256
void tb_manifest_path(const char *stream, uint64_t last, const char *type, const char *id, char ret_path[TB_MANIFEST_PATH]);
/* Parses the last part of such a path. 0 when it isn't one. */
int tb_manifest_path_parse(const char *path, char ret_stream[130], uint64_t *ret_last, const tb_backup_type **ret_type,
                           char ret_id[TB_BACKUP_ID]);

typedef struct tb_head {
	char stream[130];
	uint64_t chain, last; /* last: highest `to` so far */
	uint8_t manifest_hash[TB_HASH_SIZE];
	uint64_t made_ns;
} tb_head;
#define TB_HEAD_SIZE (216u + 144u + 64u)
tb_rc tb_head_write(const tb_head *head, const tb_key *signer, tb_buf *ret_file, tb_err *err);
tb_rc tb_head_read(tb_span file, const uint8_t instance[TB_PUBLIC_KEY], const uint8_t repository[TB_REPOSITORY_ID],
                   tb_head *ret_head, tb_err *err);
void tb_head_path(const char *stream, uint64_t chain, char ret_path[TB_MANIFEST_PATH]);

/* tradebank.json at the root of a repository: {"format":1,"id":"<hex>"}. Making one with the same id again is TB_OK, with
 * another TB_EREFUSED. */
tb_rc tb_repository_make(tb_tier *tier, const uint8_t id[TB_REPOSITORY_ID], tb_err *err);
/* TB_ENOTFOUND: no repository there; TB_ECORRUPT; TB_EUNSUPPORTED: a newer format. */
tb_rc tb_repository_read(tb_tier *tier, uint8_t ret_id[TB_REPOSITORY_ID], tb_err *err);

#endif
