/* The event index: from an event's backup_hash to its numbers; one index a stream, in the collector's bank.
 *
 * Hashes come in no order, and a tree that is filled in no order is slow. So what comes together is sorted and written
 * as a run of its own, and runs of about the same size are merged, eight into one, in slices of bounded work. Equal
 * content isn't identity: several events may have one hash, and all their numbers are found.
 *
 * An entry is the first 16 bytes of the hash and the number, u64 big-endian: entries are in the order of their bytes.
 * Database "index": u64 stream, u64 run (both big-endian), a block's last entry → the block: entries ascending, one
 *   behind the other, at most 170 of them, which is one page.
 * Database "index_runs": u64 stream, u64 run → u64 entries, u64 the run it is being merged into (0: none), u64 level.
 *   Run 0 is none: u64 from, u64 to, the numbers that the index covers.
 *
 * A merge moves entries: what its target has got, its sources have lost, in one transaction. So each entry stands in
 * exactly one run at every moment, a merge that was interrupted just goes on, and the bank needs no room for a copy.
 *
 * An index in memory is ahead of the bank until the transaction commits: drop it when that fails. */
#ifndef TB_STORE_EVENT_INDEX_H
#define TB_STORE_EVENT_INDEX_H

#include "store/bank.h"

#define TB_INDEX_ENTRY 24u
#define TB_INDEX_HASH 16u /* bytes of it that are kept */

typedef struct tb_index_entry {
	uint8_t bytes[TB_INDEX_ENTRY];
} tb_index_entry;

typedef struct tb_event_index tb_event_index;

/* In a write transaction its databases are made; in a read transaction TB_ENOTFOUND, with a sentence: this bank has
 * no index. TB_ECORRUPT. */
tb_rc tb_event_index_open(tb_txn *txn, uint64_t stream, tb_event_index **ret_index, tb_err *err);
void tb_event_index_free(tb_event_index *index); /* NULL is fine */

/* hash: at least TB_INDEX_HASH bytes of an event's backup_hash. */
void tb_index_entry_fill(tb_index_entry *entry, const uint8_t *hash, uint64_t number);
/* Entries of the numbers from..to, in any order; they are sorted in place. `from` goes on where the index ends, or
 * begins it: else TB_EINVAL. */
tb_rc tb_event_index_add(tb_event_index *index, tb_txn *txn, tb_index_entry *entries, uint64_t from, uint64_t to,
                         tb_err *err);
/* Empties it, at most *most rows at once, which goes down by what went; it is empty when something of *most is left. */
tb_rc tb_event_index_clear(tb_event_index *index, tb_txn *txn, uint64_t *most, tb_err *err);
/* Merges runs that are due, moving about `entries` of them. ret_more: some are still due. */
tb_rc tb_event_index_merge(tb_event_index *index, tb_txn *txn, uint64_t entries, int *ret_more, tb_err *err);

/* Each number of that hash, ascending only within a run. Any code but TB_OK ends the search with it. The first 16
 * bytes decide: who wants to be sure looks at the event. */
typedef tb_rc (*tb_index_found_fn)(void *context, uint64_t number, tb_err *err);
tb_rc tb_event_index_find(const tb_event_index *index, tb_txn *txn, const uint8_t *hash, tb_index_found_fn each,
                          void *context, tb_err *err);

/* The numbers it covers; 0..0: none yet. */
void tb_event_index_covers(const tb_event_index *index, uint64_t *ret_from, uint64_t *ret_to);
size_t tb_event_index_runs(const tb_event_index *index);

#endif
