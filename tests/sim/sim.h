/* The simulator: a whole instance in one process and one thread, under a virtual clock and seeded faults.
 *
 *   tb-sim --seeds A..B [--steps N] [--verbose]
 *   tb-sim-planted --planted K …       the same with bug K of libtb/base/planted.h built in and awake
 *
 * A run is a seed. It holds
 *   host.c     the broker's core, its journal on a disk that breaks (tests/fault/fault_disk.h)
 *   workers.c  one collector or two, two sealers, one storer, one signal: the loop of libtb/run/loop.h on real banks that are
 *              never synced, with a bus that ends here
 *   outboxes.c what becomes of an outbox when its engine dies: lost, an older copy put back, pages lost with the power
 *   engines.c  publishers: outboxes on a memory file system, and the pump that their background thread runs
 *   line.c     what is on its way between engines and broker
 *   orders.c   an operator who orders backups
 * and takes steps: each a turn of one of them, a message that arrives, a request, or a fault. No time passes but the
 * clock's here, and chance is the seed's (also libsodium's), so a seed always does the same.
 *
 * Faults, each switched on by the seed for the run or not: frames and answers on the line lost, doubled, late, out of
 * order, or all of them for a while; requests lost, done twice, done late, their answers lost; workers killed at any
 * request and between turns, or stalled for longer than their leases last; engines killed; the broker killed at any
 * call to its disk, and its host's power cut there, with any part of what wasn't synced lost; syncs that fail; the
 * repository's disk the same; a real clock that jumps; banks lost with their processes. With two collectors streams move
 * whenever one is gone or stalled for longer than its leases last, and come back to a bank that is behind by then.
 *
 * A kill is exact: from that moment each request fails with a code that is final to the loop, so nothing is committed
 * behind it; then the loop is closed and opened again.
 *
 * While it runs: numbers told as durable or stored never go back, also over restarts and power cuts; nobody is told of
 * events that were never accepted; a put under a lease that has gone to another is fenced; no worker ends and no
 * publisher fails but by a fault; queues stay bounded.
 *
 * Then everything heals (but one sealer, or one of two collectors, may stay dead, whose leases have to lapse) and has to come to rest in time:
 * all events durable and stored, no frame open, no backup running. At the end (check.c): the archive's events are those
 * that were accepted, once and in order; verify finds nothing in every byte; restores to any event give the state that
 * the events make (model.c); each backup has one READY record in the signal's bank and one event in tb.signals.
 *
 * In a few runs a sealer lies: it names an object that it doesn't put. Then nothing can come to rest, as the storer
 * refuses the manifest each time; but what is in the repository has to be sound all the same. */
#ifndef TB_TESTS_SIM_H
#define TB_TESTS_SIM_H

#include "broker/broker.h"
#include "bus/bus.h"
#include "bus/publisher_pump.h"
#include "fault/fault_disk.h"
#include "frames.pb-c.h"
#include "run/config.h"
#include "run/loop.h"
#include "store/manifest.h"
#include "tb/events.h"

#define SIM_ENGINES 3
#define SIM_WORKERS 6
#define SIM_SIGNAL 4 /* which of them */
#define SIM_ORDERS 256
#define SIM_KEYS 24

/* How likely, in 10,000. Zero in a run that has the fault switched off, and while everything heals. */
struct sim_rates {
	uint32_t line_drop, line_repeat, line_late, line_cut;
	uint32_t request_lost, answer_lost, request_repeated, request_late;
	uint32_t worker_kill, worker_stall, bank_lost, engine_kill;
	uint32_t broker_kill, broker_power, broker_sync;
	uint32_t outbox; /* of an engine's deaths: what becomes of its outbox */
	uint32_t tier_power, tier_sync;
	uint32_t clock_jump;
};

struct sim_op { /* a delta */
	uint16_t key;
	uint8_t remove;
	uint32_t value_seed, value_size;
};

enum sim_kind { SIM_OTHER, SIM_DELTA, SIM_BEGIN, SIM_COMMIT };

struct sim_event { /* as it was accepted */
	uint64_t check; /* of its canonical bytes */
	uint64_t op_first;
	uint32_t op_count;
	enum sim_kind kind;
	uint32_t opening; /* of the outbox: a reset doesn't outlive it */
	int may_be_lost;  /* it wasn't known to be durable when its outbox was struck */
};

struct sim_engine {
	tb_bus bus; /* first */
	char name[32], path[128];
	uint64_t hash;
	tb_outbox *outbox;
	tb_outbox_opened opened;
	tb_pump *pump;
	uint64_t down_until, cut_until; /* killed; nothing gets through */
	struct sim_event *events;
	uint64_t count, room;
	struct sim_op *ops;
	uint64_t op_count, op_room;
	uint64_t told_durable, told_stored; /* highest that the broker told anybody */
	uint64_t pump_durable;
	uint32_t openings;
	int struck;            /* its outbox was: numbers aren't the events' places any more */
	uint32_t copied;       /* copies of it that were made */
	int synced;            /* what the disk has for sure is noted, of this opening */
	uint8_t boot_id[16];
	uint64_t *order;       /* in the end: which event has which number */
	uint64_t quota; /* events that it publishes at most */
	uint32_t value_max;
};

struct sim_worker {
	tb_bus bus; /* first */
	const tb_worker *kind;
	const char *name;
	char bank[128], key[128];
	tb_worker_env env;
	tb_loop *loop;
	int dead;          /* was killed: nothing it asks for arrives any more */
	int spared;        /* holds a frame whose leases are nearly used up */
	uint64_t kill_in;  /* requests until it is killed; 0: it isn't */
	int kill_after;    /* that one still arrives */
	uint64_t down_until, stalled_until;
	tb_buf late;       /* a request that arrives later */
	int late_is_orphan; /* of a process that is gone */
};

struct sim_order {
	char id[TB_BACKUP_ID];
	struct sim_engine *engine;
	int given; /* the broker said so; 0: nobody knows */
};

struct sim_message {
	struct sim_message *next;
	uint64_t due_ns;
	struct sim_engine *engine;
	int to_broker;
	tb_buf bytes;
};

struct sim {
	uint64_t seed, chance, sodium_chance;
	uint64_t steps, step_max;
	int healing, verbose;
	int recorded; /* for tests/crash: no faults, the system's disk, banks that are synced */
	uint64_t mono_ns, real_ns;
	int values_small;
	int two_collectors;
	int lies, lied; /* a sealer will name an object, or has named one, that it doesn't put */
	uint64_t tick_ns; /* the most that a step takes */
	tb_clock clock;
	char dir[64];
	struct sim_rates rates;

	struct fault_disk journal, tier;
	int tier_struck; /* a fault is set up there */
	tb_broker *broker;
	tb_broker_options broker_options;
	char journal_dir[128];
	tb_buf period;
	uint64_t broker_due;
	int broker_power; /* what is set up there takes the power away, and not only the process */
	uint64_t stream_generation[SIM_ENGINES + 1]; /* newest granted; the last is that of tb.signals */
	uint64_t group_generation[TB_GROUP_COUNT];

	struct sim_engine engines[SIM_ENGINES];
	size_t engine_count;
	struct sim_worker workers[SIM_WORKERS];
	struct sim_message *messages;
	size_t message_count;
	struct sim_order orders[SIM_ORDERS];
	size_t order_count;
	int order_open; /* the last one: nobody knows whether it arrived */
	uint64_t order_due;
	tb_bus operator;

	tb_collector_config collector;
	tb_sealer_config sealer;
	tb_storer_config storer;
	tb_signal_config signal;
	tb_arena *arena; /* of a step */
	uint64_t counts[16];
	int failed;
	char why[1024];
};
extern struct sim sim;

enum sim_count {
	SIM_BANKS, SIM_KILLS, SIM_BROKER_DEATHS, SIM_POWER_CUTS, SIM_LOST, SIM_EVENTS, SIM_BACKUPS, SIM_RESTORES, SIM_OUTBOXES
};

/* chance.c */
void sim_seed(uint64_t seed);
uint64_t sim_any(void);
uint64_t sim_below(uint64_t most); /* 0..most-1 */
int sim_strikes(uint32_t of_10000);
int sim_read_seeds(const char *text, uint64_t *ret_first, uint64_t *ret_last); /* "A..B", or "A" */
void sim_chance_install(void); /* before libsodium starts */
void sim_fill(uint64_t seed, uint8_t *to, size_t size); /* bytes that a seed makes, whatever the run's chance */

/* world.c */
void sim_begin(uint64_t seed, uint64_t steps);
void sim_run(void);
void sim_steps(void); /* of that the steps, until everything rests */
void sim_close(void); /* broker and workers */
void sim_end(void);
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2))); /* the first one counts */
void sim_say(const char *format, ...) __attribute__((format(printf, 1, 2)));  /* with --verbose */
const char *sim_below_dir(const char *name);

/* host.c */
void host_open(void);
void host_close(void);
void host_turn(void);
void host_arm(void); /* sets a fault up, perhaps */
void host_event(tb_span bytes);
/* 0: no answer comes, and none ever will. */
int host_request(tb_span request, tb_buf *ret_answer);

/* line.c */
void line_send(struct sim_engine *engine, int to_broker, tb_span bytes);
int line_deliver(void); /* one that is due; 0: none */
void line_clear(int to_broker);

/* requests.c: a bus whose other end is the host, with the faults that requests meet. */
tb_rc sim_ask(tb_span request, tb_buf *ret_answer, tb_err *err);
/* One that does arrive, and what has to hold of it and its answer. 0: no answer comes. */
int sim_arrive(tb_span request, tb_buf *ret_answer);
/* A sealer's put without the object that it tells of. */
tb_span sim_without_object(tb_span request, tb_buf *bytes);
tb_rc sim_bus_request(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err);

/* engines.c */
void engine_begin(struct sim_engine *engine, size_t index);
void engine_turn(struct sim_engine *engine);
void engine_heard(struct sim_engine *engine, tb_span told);
void engine_end(struct sim_engine *engine);

/* outboxes.c: the engine is dead. undelivered: so many of the last events it accepted */
void outbox_strike(struct sim_engine *engine, uint64_t undelivered);
void outbox_copy(struct sim_engine *engine); /* now and then one is made, to be put back */
void outbox_synced(struct sim_engine *engine); /* the file as it is now survives a power cut */

/* workers.c */
void worker_begin(struct sim_worker *worker, size_t index);
void worker_turn(struct sim_worker *worker);
void worker_close(struct sim_worker *worker);
void worker_end(struct sim_worker *worker);
tb_rc worker_request(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err);

/* orders.c */
void orders_turn(void);
void orders_close(void); /* those that nobody knows of are asked again until somebody does */

/* model.c: the state that events 1..to of an engine make. */
void model_digest(const struct sim_engine *engine, uint64_t to, uint8_t ret_digest[32], uint64_t *ret_keys);
void model_key(uint16_t key, char ret_text[16]);

/* check.c */
int check_quiet(void); /* has everything come to rest? */
void check_all(void);  /* everything is closed */

#endif
