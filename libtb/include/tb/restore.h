/* Restoring: a stream's state at an exact event, from a repository and an identity alone. Needs no running process. */
#ifndef TB_RESTORE_H
#define TB_RESTORE_H

#include "tb/errors.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tb_moment { TB_AT_LATEST, TB_AT_EVENT, TB_AT_TIME, TB_AT_BACKUP } tb_moment;

typedef struct tb_restore_progress {
	uint64_t bytes_done, bytes_all; /* of stored objects */
	uint64_t events;                /* applied so far */
} tb_restore_progress;

/* Told one entry of the state; borrowed. Another code than TB_OK ends the restore with it. */
typedef tb_rc (*tb_entry_fn)(void *context, const void *key, size_t key_size, const void *value, size_t value_size,
                             tb_err *err);

typedef struct tb_restore_options {
	const char *repository; /* path or file:///path */
	const char *identity;   /* path of the identity's key file or recovery kit */
	const char *stream;
	tb_moment moment;
	uint64_t event;     /* TB_AT_EVENT; 0: before the first */
	uint64_t time_ns;   /* TB_AT_TIME: the highest event whose effective time isn't later */
	const char *backup; /* TB_AT_BACKUP: its id */
	const char *target; /* "json:-", "json:FILE", "lmdb:DIR", "null:" */
	int force;          /* replace an existing target */
	int dry_run;        /* only say what would be read */
	const char *catalog; /* NULL, or the instance's remembered heads: banks/storer of its directory */
	const char *scratch; /* directory for the state while it is built; NULL: beside the target, or TMPDIR */
	void (*progress)(void *context, const tb_restore_progress *progress); /* may be NULL; a few times a second */
	int (*stopped)(void *context); /* may be NULL; asked often: not 0 ends the restore with TB_EINTERRUPTED */
	void *context; /* of both */
	tb_entry_fn entry; /* may be NULL; told each entry in byte order of the keys, once all was verified and applied, and
	                    * before the target is in its place */
	void *entry_context;
} tb_restore_options;

typedef struct tb_restored {
	uint64_t event;     /* the number it was restored to */
	uint64_t time_ns;   /* its effective time; 0: none */
	uint64_t keys;
	uint64_t bytes;     /* of keys and values */
	uint64_t bytes_read; /* of stored objects */
	uint64_t objects, events; /* read, applied */
	uint64_t seconds_ns; /* it took */
	uint8_t digest[32]; /* SHA-256 over key = value \n in byte order of the keys */
	int sum_checked;    /* a recorded state sum lay on the way and was equal */
	char backup[64];    /* the backup it started from; empty: from the first event */
	char passed_over[64]; /* a newer backup that is damaged and was done without; empty: none */
	uint64_t remembered_last; /* with a catalog: the highest number it remembers as stored (0: none) */
} tb_restored;

/* All or nothing: the target is written only when everything was read, verified and applied; a failure leaves it as it
 * was. TB_ENOTFOUND: stream, backup, or an event beyond what is stored (the sentence says what there is). TB_ECORRUPT:
 * something needed is missing or altered (an older backup is tried before that is said, unless a backup was asked for:
 * passed_over tells), or the repository ends before what the catalog remembers and the latest was
 * asked for. TB_EKEY: the identity doesn't open it. TB_EBUSY: the target exists. TB_EINTERRUPTED: it was told to stop,
 * and has cleaned up like after any other failure. */
tb_rc tb_restore(const tb_restore_options *options, tb_restored *ret_restored, tb_err *err);

#ifdef __cplusplus
}
#endif
#endif
