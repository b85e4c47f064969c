/* The event index, inside: its runs (event_index.c) and how they are merged (event_index_merge.c). */
#ifndef TB_STORE_EVENT_INDEX_PARTS_H
#define TB_STORE_EVENT_INDEX_PARTS_H

#include "store/event_index.h"

#define TB_INDEX_BLOCK 170u /* entries: with LMDB's 16 bytes of head they fill a page */
#define TB_INDEX_BLOCK_SIZE (TB_INDEX_BLOCK * TB_INDEX_ENTRY)
#define TB_INDEX_KEY (16u + TB_INDEX_ENTRY)

typedef struct tb_index_run {
	uint64_t id;
	uint64_t entries;
	uint64_t into;  /* the run that it is being merged into; 0: none */
	uint64_t level; /* runs of a level are merged with each other */
} tb_index_run;

struct tb_event_index {
	uint64_t stream;
	tb_db blocks_db, runs_db;
	tb_index_run *runs; /* by id */
	size_t run_count, run_room;
	uint64_t next_id;
	uint64_t from, to;
};

/* A new run at the end of the list: earlier pointers into it are gone. It is written by tb_index_run_write. */
tb_index_run *tb_index_run_add(tb_event_index *index, uint64_t entries);
tb_rc tb_index_run_write(const tb_event_index *index, tb_txn *txn, const tb_index_run *run, tb_err *err);
/* A run that has no entries any more goes, from bank and list. */
tb_rc tb_index_run_remove(tb_event_index *index, tb_txn *txn, uint64_t id, tb_err *err);
uint64_t tb_index_level(uint64_t entries);

/* A block, its last entry being its name. */
tb_rc tb_index_block_put(const tb_event_index *index, tb_txn *txn, uint64_t run, tb_span entries, tb_err *err);
/* The run's first block whose last entry isn't before `from` (24 bytes, or less of one). TB_ENOTFOUND: there is none,
 * no sentence. */
tb_rc tb_index_block_seek(const tb_event_index *index, tb_cursor *cursor, uint64_t run, tb_span from, tb_span *ret_key,
                          tb_span *ret_entries, tb_err *err);
/* Is this a block of the run? TB_ENOTFOUND: of another one. */
tb_rc tb_index_block_check(const tb_event_index *index, uint64_t run, tb_span key, tb_span entries, tb_err *err);

#endif
