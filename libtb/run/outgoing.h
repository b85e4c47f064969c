/* The outgoing queue of a worker: what it has to put, in its bank and in memory.
 *
 * Database "outgoing": by sequence (u64 big-endian): u32 size of the PutRequest, the PutRequest, the frames. A record is
 * deleted in the first transaction after its answer; a crash in between puts it again, which the broker drops. */
#ifndef TB_RUN_OUTGOING_H
#define TB_RUN_OUTGOING_H

#include "bus/bus.h"
#include "run/worker.h"

typedef struct tb_outgoing tb_outgoing;

/* Makes its database where needed. */
tb_rc tb_outgoing_open(tb_bank *bank, const uint8_t member[TB_MEMBER], tb_group group, tb_outgoing **ret_outgoing,
                       tb_err *err);
void tb_outgoing_free(tb_outgoing *outgoing);

void tb_outgoing_journal(tb_outgoing *outgoing, const uint8_t journal_id[16]);
/* The generation of the group's lease (groups with one holder), or of a stream's. 0: not held, puts stay back. */
void tb_outgoing_lease(tb_outgoing *outgoing, uint64_t stream, uint64_t generation);

/* Within the turn's transaction. */
tb_rc tb_outgoing_add(tb_outgoing *outgoing, tb_txn *txn, const tb_put *put, tb_err *err);
void tb_outgoing_add_volatile(tb_outgoing *outgoing, const tb_put *put, tb_held *frames);
/* Forgets everything that is queued. */
tb_rc tb_outgoing_clear(tb_outgoing *outgoing, tb_txn *txn, tb_err *err);
/* Forgets what is queued under that stream's lease: it was made by a bank that is discarded. */
tb_rc tb_outgoing_forget(tb_outgoing *outgoing, tb_txn *txn, uint64_t stream, tb_err *err);
/* Deletes what was answered since the last turn. */
tb_rc tb_outgoing_sweep(tb_outgoing *outgoing, tb_txn *txn, tb_err *err);
/* No committed durable put waits for its answer (those that stay back don't count). */
int tb_outgoing_settled(const tb_outgoing *outgoing);
/* Something in memory waits to be put. */
int tb_outgoing_waits(const tb_outgoing *outgoing);

/* After the commit: puts, oldest first, until all are answered or one can't be now. TB_EFENCED: ret_stream's lease (0:
 * the group's) is another's now; it is marked as not held. TB_EFULL, TB_ENOSPACE, TB_EBUSY: try again in a while.
 * TB_EUNREACHABLE, TB_ETIMEOUT, TB_EINTERRUPTED as the bus says. Anything else is final. */
tb_rc tb_outgoing_flush(tb_outgoing *outgoing, tb_bus *bus, tb_arena *arena, uint64_t timeout_ns, uint64_t *ret_stream,
                        tb_err *err);
/* The transaction was not committed: forget what it queued. */
void tb_outgoing_abort(tb_outgoing *outgoing);
void tb_outgoing_commit(tb_outgoing *outgoing);

#endif
