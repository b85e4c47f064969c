/* The worker loop: what every worker shares. A worker supplies open, handle, tick and close; the loop (loop.c) owns
 * requests, leases, the outgoing queue, rejects and health, the program around it (worker.c) options, signals and
 * shutdown. One loop, one thread a process.
 *
 * A turn: take frames; handle each within one write transaction of the bank; commit; put what the turn queued. Effect,
 * position and the frames to put are one transaction, synced before anything is put; then they are put again and again
 * until answered, and the broker drops repeats: so each step happens once, whoever dies.
 *
 * Any failure of handle, tick or the bank ends the process: its memory may be ahead of its bank, and the bank is what
 * counts. Whoever started it starts it again. A frame that is itself wrong is no failure: the worker finishes it and
 * puts a reject (tb_turn_reject). */
#ifndef TB_RUN_WORKER_H
#define TB_RUN_WORKER_H

#include "base/clock.h"
#include "base/disk.h"
#include "bus/bus.h"
#include "frames.pb-c.h"
#include "run/options.h"
#include "store/bank.h"

#define TB_MEMBER 16

/* What the process was started with. Valid until close. */
typedef struct tb_worker_env {
	const char *dir;  /* the instance's directory, or NULL */
	const char *key;  /* --key, or NULL: the worker's own default below dir */
	tb_bank *bank;
	tb_bus *bus;
	tb_disk *disk;
	const tb_clock *clock;
	const void *options; /* the worker's own struct, as its rows filled it */
	uint8_t member[TB_MEMBER];
	int wake_fd; /* an epoll descriptor: add what shall wake the loop; then `woken` is called */
} tb_worker_env;

/* One turn. */
typedef struct tb_turn {
	tb_worker_env *env;
	tb_txn *txn;      /* write transaction of the bank */
	tb_arena *arena;  /* for this turn only */
	uint64_t now_ns, mono_ns;
	tb_span period;   /* the present period's signed record; empty: not told yet */
	const uint8_t *journal_id; /* 16 bytes */
	const uint8_t *run_id;     /* 16 bytes */
	uint64_t generation; /* of the group's lease, for a group with one holder; a worker that sets it to 0 lets the lease
	                      * go, and gets it anew with what it didn't finish */
	struct tb_outgoing *outgoing;
} tb_turn;

/* What to put: frames (whole, one behind the other), and what is finished with them. It goes out under the lease that
 * is held when it goes: of `stream`, or of the group. */
typedef struct tb_put {
	uint64_t stream; /* under whose lease; 0: the group's or the frames' */
	tb_span frames;
	const uint64_t *finished;
	size_t finished_count;
	uint64_t finished_to; /* events of the stream; 0: none */
} tb_put;

/* Frames that more than one holds: freed with the last holder. */
typedef struct tb_held {
	tb_buf bytes;
	unsigned holders;
} tb_held;
tb_held *tb_held_new(void); /* the caller holds it */
tb_held *tb_held_also(tb_held *held);
void tb_held_release(tb_held *held); /* NULL is fine */

/* Queued in the bank, with the turn's effects: survives this process. */
tb_rc tb_turn_put(tb_turn *turn, const tb_put *put, tb_err *err);
/* Queued in memory: what can be made again. Sent after the bank's. The frames are those of `frames` (NULL: none), not
 * put's; they are held, not copied: they may be large, and must not be changed any more. */
void tb_turn_put_volatile(tb_turn *turn, const tb_put *put, tb_held *frames);
int tb_turn_waits(const tb_turn *turn); /* something queued in memory hasn't been put yet */
/* Finish a frame that can't be right: it is kept as a reject, and the reason logged. */
tb_rc tb_turn_reject(tb_turn *turn, const tb_frame *frame, uint64_t id, const tb_put *under, const char *reason, tb_err *err);
/* Forgets what was queued under the stream's lease: the bank that it was made from is discarded. */
tb_rc tb_turn_forget(tb_turn *turn, uint64_t stream, tb_err *err);
/* Are all earlier durable puts answered? (Of former turns; this one's are not yet on their way.) */
int tb_turn_settled(const tb_turn *turn);
/* A stream's lease is held under this generation: its queued puts may go out. 0: not held: they stay back. */
void tb_turn_lease(tb_turn *turn, uint64_t stream, uint64_t generation);

typedef struct tb_worker {
	const char *name; /* "collector": the program is tb-collector, the bank DIR/banks/collector */
	const char *summary; /* for --help */
	tb_group group;
	const tb_opt *rows;  /* its own options, or NULL */
	size_t options_size; /* of the struct they fill */
	const char *key_file; /* default of --key below DIR, or NULL */
	int stateless;        /* nothing in its bank counts: it goes on after a failed request and with another journal */
	uint64_t take_bytes;  /* bytes a take may bring; 0: 4 MiB */

	tb_rc (*open)(tb_worker_env *env, void **ret_self, tb_err *err);
	tb_rc (*granted)(void *self, tb_turn *turn, const Tb__Grant *grant, tb_err *err); /* groups that lease streams */
	tb_rc (*revoked)(void *self, tb_turn *turn, uint64_t stream, tb_err *err);
	/* Streams held, for the next take. The array lives in the arena. */
	void (*held)(void *self, tb_arena *arena, Tb__Held ***ret_held, size_t *ret_count);
	tb_rc (*handle)(void *self, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err);
	/* After each turn's frames and at least every ret_wait_ns. */
	tb_rc (*tick)(void *self, tb_turn *turn, uint64_t *ret_wait_ns, tb_err *err);
	void (*restarted)(void *self);            /* the broker has another run id: what was volatile is gone */
	void (*woken)(void *self);                /* something in wake_fd is ready */
	void (*refused)(void *self, uint64_t stream, const tb_err *err); /* a put was fenced */
	/* Fill in state, detail and figures for the heartbeat; texts from the arena. */
	void (*health)(void *self, tb_arena *arena, Tb__Health *health);
	void (*close)(void *self);
} tb_worker;

/* What every worker's command line may say. */
#define TB_WORKER_USAGE "--dir DIR | --broker URL [--tls DIR] --key FILE [--bank DIR]"
extern const tb_opt tb_worker_rows[];
/* The program: options, signals, loop. Returns the exit code. */
int tb_worker_main(const tb_worker *worker, int argc, char **argv);

#endif
