/* Banks: LMDB environments with named databases. The only room that knows LMDB.
 *
 * One writer transaction at a time; readers see the state at their beginning and are short (a long one makes the file
 * grow). Values are borrowed until their transaction ends or writes. Keys are 1 to 511 bytes. A bank is opened once a
 * process, never across fork, and belongs to one thread. */
#ifndef TB_STORE_BANK_H
#define TB_STORE_BANK_H

#include "base/buf.h"
#include "base/err.h"

typedef struct tb_bank tb_bank;
typedef struct tb_txn tb_txn;
typedef struct tb_cursor tb_cursor;
typedef unsigned tb_db; /* handle of a named database, valid as long as the bank is open once its transaction committed */

enum tb_bank_flags {
	TB_BANK_WRITER = 1,    /* the one process that writes: holds a lock on path/writer.lock; else TB_EBUSY */
	TB_BANK_READONLY = 2,  /* must exist: else TB_ENOTFOUND */
	TB_BANK_SCRATCH = 4,   /* nothing is synced: for what is thrown away or synced at the end by tb_bank_sync */
};

/* path is a directory, made (0700, not its parents) unless READONLY. map_size: 0 for the default (1 TiB of address space,
 * of which only what is used takes room; less under a limit). */
tb_rc tb_bank_open(const char *path, int flags, uint64_t map_size, tb_bank **ret_bank, tb_err *err);
void tb_bank_close(tb_bank *bank);
tb_rc tb_bank_sync(tb_bank *bank, tb_err *err);
uint64_t tb_bank_bytes(tb_bank *bank); /* used on disk */

tb_rc tb_bank_read(tb_bank *bank, tb_txn **ret_txn, tb_err *err);
tb_rc tb_bank_write(tb_bank *bank, tb_txn **ret_txn, tb_err *err);
tb_rc tb_txn_commit(tb_txn *txn, tb_err *err); /* synced on TB_OK, unless SCRATCH; the txn is gone either way */
void tb_txn_abort(tb_txn *txn);                /* NULL is fine */

/* Opens (write transactions: makes) a named database, at most 4096 of them. Read transactions: TB_ENOTFOUND when it isn't
 * there, or wasn't when they began. What an aborted transaction made is gone, and its handle with it: ask again. */
tb_rc tb_txn_db(tb_txn *txn, const char *name, tb_db *ret_db, tb_err *err);
tb_rc tb_txn_empty(tb_txn *txn, tb_db db, tb_err *err); /* removes all entries */
tb_rc tb_txn_count(tb_txn *txn, tb_db db, uint64_t *ret_count, tb_err *err);

/* TB_ENOTFOUND without a sentence written: it is an answer, not a failure. */
tb_rc tb_txn_get(tb_txn *txn, tb_db db, tb_span key, tb_span *ret_value, tb_err *err);
tb_rc tb_txn_put(tb_txn *txn, tb_db db, tb_span key, tb_span value, tb_err *err);
/* Keys in ascending order behind the last one: much faster. TB_EINVAL when it isn't behind it. */
tb_rc tb_txn_append(tb_txn *txn, tb_db db, tb_span key, tb_span value, tb_err *err);
tb_rc tb_txn_delete(tb_txn *txn, tb_db db, tb_span key, tb_err *err); /* TB_ENOTFOUND, no sentence */
/* Deletes entries whose keys begin with prefix (8 to 64 bytes), at most *most of them, which goes down by what was
 * deleted: 0 afterwards says that there may be more. */
tb_rc tb_txn_delete_below(tb_txn *txn, tb_db db, tb_span prefix, uint64_t *most, tb_err *err);

/* The first entry with key ≥ from (empty: the first of all); then each next one. TB_ENOTFOUND at the end, no sentence. */
tb_rc tb_cursor_open(tb_txn *txn, tb_db db, tb_cursor **ret_cursor, tb_err *err);
tb_rc tb_cursor_seek(tb_cursor *cursor, tb_span from, tb_span *ret_key, tb_span *ret_value, tb_err *err);
tb_rc tb_cursor_next(tb_cursor *cursor, tb_span *ret_key, tb_span *ret_value, tb_err *err);
tb_rc tb_cursor_last(tb_cursor *cursor, tb_span *ret_key, tb_span *ret_value, tb_err *err);
tb_rc tb_cursor_prev(tb_cursor *cursor, tb_span *ret_key, tb_span *ret_value, tb_err *err);
void tb_cursor_close(tb_cursor *cursor); /* before its transaction ends */

#endif
