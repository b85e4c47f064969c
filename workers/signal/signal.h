/* The signal worker: what became safe, as durable numbered records, told to whoever subscribes.
 *
 *   signal.c     the worker: a stored backup becomes one record of tb.signals, then is announced under its number
 *   records.c    records in the bank, as protobuf and JSON
 *   questions.c  answers by number: what was missed, and waiting for the next one
 *   rebuild.c    a bank that doesn't know the newest records
 *
 * Bank: "signals", "backups"; "meta" has, beside what the loop keeps there, the generation under which it was last found
 * to hold what tb.signals holds. */
#ifndef TB_WORKERS_SIGNAL_H
#define TB_WORKERS_SIGNAL_H

#include "frames.pb-c.h"
#include "run/config.h"
#include "run/worker.h"
#include "signals.pb-c.h"

extern const tb_worker signal_worker;

#define SIGNALS "tb.signals"

typedef struct signal_worker_state {
	tb_worker_env *env;
	tb_db records_db, ids_db, meta_db; /* by number; backup id → number */
	uint64_t checked; /* generation under which the bank was found to go on from where tb.signals ends; 0: none */
	uint64_t last;    /* number of the last record made */
	uint64_t settled; /* of the last one made before this turn */
	uint64_t durable; /* numbers up to here are durable in tb.signals: may be told */
	tb_server *server;
	struct question *questions;
	size_t question_count;
} signal_state;

/* records.c */
tb_rc records_open(signal_state *state, tb_txn *txn, tb_err *err);
/* Writes the record under its number; ret_json from the arena. */
tb_rc records_add(signal_state *state, tb_turn *turn, const Tb__BackupReady *ready, tb_span *ret_ready, tb_span *ret_json,
                  tb_err *err);
/* Under its own number, instead of what is there. */
tb_rc records_replace(signal_state *state, tb_turn *turn, const Tb__BackupReady *ready, tb_err *err);
tb_rc records_remove(signal_state *state, tb_turn *turn, uint64_t number, tb_err *err);
/* The generation under which it was whole last, 0: none; and it is so now. */
tb_rc records_whole_at(signal_state *state, tb_turn *turn, uint64_t *ret_generation, tb_err *err);
tb_rc records_whole_now(signal_state *state, tb_turn *turn, tb_err *err);
/* Has this backup a record already? 0: none. */
tb_rc records_find(signal_state *state, tb_txn *txn, const char *backup, uint64_t *ret_number, tb_err *err);

/* What a question wants. Empty texts match everything. */
typedef struct signal_filter {
	char topic[64], stream[130], backup[64];
	uint64_t since; /* numbers above */
	size_t limit;
} signal_filter;
/* The matching durable records as JSON objects, comma-separated, appended to `to`. */
tb_rc records_list(signal_state *state, const signal_filter *filter, tb_buf *to, size_t *ret_count, tb_err *err);

/* rebuild.c: what tb.signals holds, up to `durable`, is what the bank holds afterwards. TB_EUNSUPPORTED: it can't be. */
tb_rc rebuild_records(signal_state *state, tb_turn *turn, uint64_t durable, uint64_t first_held, tb_err *err);

/* questions.c */
tb_rc questions_open(signal_state *state, tb_err *err);
void questions_poll(signal_state *state);
void questions_tell(signal_state *state, uint64_t mono_ns); /* answer those that can be, and those whose time is over */
uint64_t questions_wait_ns(const signal_state *state, uint64_t mono_ns);
void questions_close(signal_state *state);

#endif
