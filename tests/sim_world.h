/* A whole instance in one thread: the broker's core, all workers in their loops, engines and an operator, with a clock
 * that only moves when somebody waits. What can go wrong does, by a seed: requests and answers are lost, a process dies
 * before or after any request or in the middle of a turn, the broker is started anew. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "broker/broker.h"
#include "leaks.h"
#include "model_events.h"
#include "run/config.h"
#include "run/loop.h"
#include "store/archive.h"
#include "store/instance.h"
#include "store/verify.h"
#include "workers/collector/collector.h"
#include "workers/sealer/sealer.h"
#include "workers/signal/signal.h"
#include "workers/storer/storer.h"

#include <stdlib.h>

#define must(call) cr_assert_eq((call), TB_OK, "seed %llu: %s: %s", (unsigned long long)world.seed, #call, world.err.text)
#define STREAMS 3
#define PROCESSES 5
#define BACKUPS_MAX 64

struct process {
	tb_bus bus; /* first: it is found by it */
	const tb_worker *worker;
	tb_worker dying; /* the same, but a turn may end in the middle */
	const char *bank, *key;
	const void *options;
	tb_worker_env env;
	tb_loop *loop; /* NULL: it is dead */
};

struct engine {
	const char *stream;
	uint64_t epoch, accepted; /* epoch 0: it has to say hello */
};

static struct sim_world {
	uint64_t seed, chance;
	unsigned trouble; /* of 1000 chances, how many go wrong; 0: nothing does any more */
	char dir[64];
	tb_clock clock;
	uint64_t real_ns, mono_ns;
	tb_disk disk; /* doesn't sync: it is processes that die here, not the machine */
	tb_broker *broker;
	unsigned lives;
	uintptr_t asker, answered; /* the request that is waited for, and the one that has its answer */
	tb_buf answer;
	struct process processes[PROCESSES];
	struct engine engines[STREAMS];
	struct { char id[TB_BACKUP_ID]; const char *stream; } backups[BACKUPS_MAX]; /* that were ordered */
	size_t backup_count;
	tb_arena *arena;
	tb_err err;
} world;

/* ---- chance and time */

static inline uint64_t chance(uint64_t below)
{
	world.chance += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
	uint64_t x = world.chance;
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (x ^ x >> 31) % below;
}

static inline int goes_wrong(unsigned weight)
{
	return chance(1000) < world.trouble * weight;
}

static inline uint64_t world_real(void *self)
{
	return ((struct sim_world *)self)->real_ns;
}

static inline uint64_t world_mono(void *self)
{
	return ((struct sim_world *)self)->mono_ns;
}

static inline void pass(uint64_t ns)
{
	world.real_ns += ns;
	world.mono_ns += ns;
}

static inline tb_rc no_sync(tb_disk *disk, tb_file *file, tb_err *err)
{
	(void)disk, (void)file, (void)err;
	return TB_OK;
}

static inline tb_rc no_sync_dir(tb_disk *disk, const char *path, tb_err *err)
{
	(void)disk, (void)path, (void)err;
	return TB_OK;
}

static inline const char *below(const char *name)
{
	static char paths[8][160];
	static int next;
	char *path = paths[next++ % 8];
	snprintf(path, sizeof(paths[0]), "%s/%s", world.dir, name);
	return path;
}

/* ---- the broker */

static inline void world_answer(void *self, void *asker, tb_span answer)
{
	(void)self;
	if ((uintptr_t)asker != world.asker)
		return; /* it was given up */
	world.answered = world.asker;
	tb_buf_clear(&world.answer);
	tb_buf_append_span(&world.answer, answer);
}

/* Engines ask, here. */
static inline void world_topic(void *self, tb_span topic, tb_span body)
{
	(void)self, (void)topic, (void)body;
}

static inline void broker_open(void)
{
	tb_auto(tb_buf_drop) tb_buf period = { 0 };
	tb_broker_out out = { &world, world_answer, world_topic };
	tb_journal_opened opened;
	must(tb_disk_read_file(&world.disk, below("keys/period.rec"), 4096, &period, &world.err));
	tb_broker_options options = {
		.journal = { .dir = below("journal"), .disk = &world.disk, .file_size = 1u << 20 },
		.journal_keep_ns = 1, .clock = &world.clock, .period = tb_buf_span(&period),
	};
	memcpy(options.journal.new_id, "a journal's id..", 16);
	snprintf((char *)options.run_id, sizeof(options.run_id), "life %u", ++world.lives);
	must(tb_broker_open(&options, &out, &world.broker, &opened, &world.err));
	for (size_t i = 0; i < STREAMS; i++)
		world.engines[i].epoch = 0; /* their windows are gone with it */
}

static inline void broker_restart(void)
{
	tb_broker_close(world.broker);
	broker_open();
}

static inline void broker_turn(void)
{
	tb_broker_tick(world.broker);
	must(tb_broker_commit(world.broker, &world.err));
}

/* 0: no answer within that time. */
static inline int ask_broker(tb_span request, uint64_t timeout_ns)
{
	uint64_t until = world.mono_ns + timeout_ns;
	world.asker++;
	tb_broker_request(world.broker, (void *)world.asker, request);
	must(tb_broker_commit(world.broker, &world.err));
	while (world.answered != world.asker && world.mono_ns < until) {
		pass(20 * TB_NS_PER_MS);
		broker_turn();
	}
	return world.answered == world.asker;
}

/* ---- processes */

static inline tb_rc killed(tb_err *err)
{
	return tb_fail(err, TB_EIO, "killed");
}

static inline tb_rc process_request(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err)
{
	(void)bus;
	if (goes_wrong(1))
		return killed(err);
	if (goes_wrong(1))
		return tb_fail(err, TB_ETIMEOUT, "the request was lost");
	if (goes_wrong(1))
		broker_restart();
	if (goes_wrong(1)) {
		tb_broker_request(world.broker, (void *)++world.asker, request);
		must(tb_broker_commit(world.broker, &world.err));
		world.asker++; /* it is given up, whatever becomes of it */
		return tb_fail(err, TB_EINTERRUPTED, "something else wants attention");
	}
	if (!ask_broker(request, timeout_ns))
		return tb_fail(err, TB_ETIMEOUT, "no answer");
	if (goes_wrong(1))
		return killed(err);
	if (goes_wrong(1))
		return tb_fail(err, TB_ETIMEOUT, "the answer was lost");
	tb_buf_clear(ret_answer);
	tb_buf_append_span(ret_answer, tb_buf_span(&world.answer));
	return TB_OK;
}

static inline struct process *process_of(const tb_turn *turn)
{
	return (struct process *)turn->env->bus;
}

static inline tb_rc dying_tick(void *self, tb_turn *turn, uint64_t *ret_wait_ns, tb_err *err)
{
	tb_rc rc = process_of(turn)->worker->tick(self, turn, ret_wait_ns, err);
	return rc == TB_OK && goes_wrong(1) ? killed(err) : rc;
}

static inline tb_rc dying_handle(void *self, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	tb_rc rc = process_of(turn)->worker->handle(self, turn, frame, id, err);
	return rc == TB_OK && goes_wrong(1) ? killed(err) : rc;
}

static inline void process_kill(struct process *process)
{
	tb_loop_close(process->loop);
	tb_bank_close(process->env.bank);
	process->loop = NULL;
	process->env.bank = NULL;
}

static inline void process_start(struct process *process)
{
	process->env = (tb_worker_env){ .dir = process->worker == &signal_worker ? NULL : world.dir, .key = process->key,
		                            .bus = &process->bus, .disk = &world.disk, .clock = &world.clock,
		                            .options = process->options, .wake_fd = -1 };
	must(tb_bank_open(process->bank, TB_BANK_WRITER | TB_BANK_SCRATCH, UINT64_C(1) << 28, &process->env.bank, &world.err));
	must(tb_loop_open(&process->dying, &process->env, -1, &process->loop, &world.err));
}

/* Whatever ends it, it is started again. */
static inline void process_turn(struct process *process)
{
	if (process->loop == NULL)
		process_start(process);
	tb_err err = { 0 };
	tb_rc rc = tb_loop_turn(process->loop, &err);
	cr_assert(rc == TB_OK || rc == TB_EIO || (world.trouble > 0 && (rc == TB_ETIMEOUT || rc == TB_EINTERRUPTED)),
	          "seed %llu: %s ends: %s", (unsigned long long)world.seed, process->worker->name, err.text);
	if (rc != TB_OK || goes_wrong(1))
		process_kill(process);
}

static inline void process_add(size_t at, const tb_worker *worker, const char *bank, const char *key, const void *options)
{
	struct process *process = &world.processes[at];
	process->bus.request = process_request;
	process->worker = worker;
	process->dying = *worker;
	process->dying.tick = dying_tick;
	process->dying.handle = dying_handle;
	process->bank = tb_arena_text(world.arena, tb_span_text(below(bank)));
	process->key = key != NULL ? tb_arena_text(world.arena, tb_span_text(below(key))) : NULL;
	process->options = options;
	process_start(process);
}

/* ---- engines: they publish what the model says, from wherever the broker is */

static inline void engine_hello(struct engine *engine)
{
	tb_auto(tb_buf_drop) tb_buf request = { 0 };
	static uint8_t outbox[16];
	Tb__HelloRequest hello = TB__HELLO_REQUEST__INIT;
	hello.stream = (char *)(uintptr_t)engine->stream;
	outbox[0] = (uint8_t)engine->stream[0];
	hello.outbox = (ProtobufCBinaryData){ sizeof(outbox), outbox };
	hello.first = engine->accepted > 0;
	hello.last = engine->accepted;
	hello.take_over = 1;
	tb_control_write(&request, TB_KIND_HELLO, &hello.base);
	if (!ask_broker(tb_buf_span(&request), TB_NS_PER_S))
		return;
	tb_span bytes = tb_buf_span(&world.answer);
	ProtobufCMessage *message;
	must(tb_control_read(&bytes, TB_KIND_ANSWER, &tb__hello_reply__descriptor, world.arena, &message, &world.err));
	const Tb__HelloReply *reply = (const Tb__HelloReply *)message;
	engine->epoch = reply->epoch;
	engine->accepted = reply->durable;
}

static inline void engine_publish(struct engine *engine, uint32_t count)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	if (engine->epoch == 0)
		engine_hello(engine);
	size_t at = tb_frame_begin(&frame);
	for (uint32_t i = 1; i <= count; i++)
		pack_event(&frame, engine->accepted + i);
	tb_frame_end(&frame, at, &(tb_frame){ .kind = TB_KIND_EVENTS, .count = count, .stream = tb_stream_hash(engine->stream),
	                                      .epoch = engine->epoch, .first = engine->accepted + 1 });
	tb_broker_event(world.broker, tb_buf_span(&frame));
	must(tb_broker_commit(world.broker, &world.err));
	engine_hello(engine); /* for the durable number */
}

/* ---- the operator */

static inline void order_backup(const char *stream)
{
	tb_auto(tb_buf_drop) tb_buf request = { 0 };
	if (world.backup_count == BACKUPS_MAX)
		return;
	Tb__PutRequest put = TB__PUT_REQUEST__INIT;
	Tb__Order order = TB__ORDER__INIT;
	char *id = world.backups[world.backup_count].id;
	tb_backup_id(tb_backup_type_find("FULL"), world.real_ns, id);
	order.stream = (char *)(uintptr_t)stream;
	order.type = (char *)(uintptr_t)"FULL";
	order.backup = id;
	tb_control_write(&request, TB_KIND_PUT, &put.base);
	tb_control_write(&request, TB_KIND_ORDER, &order.base);
	if (!ask_broker(tb_buf_span(&request), TB_NS_PER_S))
		return;
	tb_span bytes = tb_buf_span(&world.answer);
	ProtobufCMessage *message;
	must(tb_control_read(&bytes, TB_KIND_ANSWER, &tb__put_reply__descriptor, world.arena, &message, &world.err));
	if (((const Tb__PutReply *)message)->status->code == TB_OK)
		world.backups[world.backup_count++].stream = stream;
}

static inline const Tb__StatReply *stat_broker(void)
{
	tb_auto(tb_buf_drop) tb_buf request = { 0 };
	Tb__StatRequest stat = TB__STAT_REQUEST__INIT;
	ProtobufCMessage *message;
	tb_control_write(&request, TB_KIND_STAT, &stat.base);
	cr_assert(ask_broker(tb_buf_span(&request), TB_NS_PER_S));
	tb_span bytes = tb_buf_span(&world.answer);
	must(tb_control_read(&bytes, TB_KIND_ANSWER, &tb__stat_reply__descriptor, world.arena, &message, &world.err));
	return (const Tb__StatReply *)message;
}

/* ---- beginning and end */

static inline void world_begin(uint64_t seed)
{
	static tb_collector_config collector = { .segment_size = 64u << 10, .segment_age_ns = TB_NS_PER_S };
	static tb_sealer_config sealer = { .level = 1 };
	static tb_storer_config storer;
	static const char *const streams[STREAMS] = { "a", "b", "a-b" };
	tb_auto(tb_buf_drop) tb_buf kit = { 0 };
	collector.environment = (char *)(uintptr_t)"test";
	memset(&world, 0, sizeof(world));
	world.seed = world.chance = seed;
	strcpy(world.dir, "/tmp/tb-sim-XXXXXX");
	cr_assert_not_null(mkdtemp(world.dir));
	must(tb_keys_init(&world.err));
	world.real_ns = BASE_NS;
	world.mono_ns = 5 * TB_NS_PER_S;
	world.clock = (tb_clock){ &world, world_real, world_mono };
	world.disk = *tb_disk_system();
	world.disk.sync = no_sync;
	world.disk.sync_dir = no_sync_dir;
	world.arena = tb_arena_new();
	must(tb_instance_make(&world.disk, world.dir, (tb_span){ 0 }, world.real_ns, &kit, &world.err));
	broker_open();
	process_add(0, &collector_worker, "banks/collector", "keys/collector.key", &collector);
	process_add(1, &sealer_worker, "banks/sealer", "keys/instance.pub", &sealer);
	process_add(2, &sealer_worker, "banks/sealer-2", "keys/instance.pub", &sealer);
	process_add(3, &storer_worker, "banks/storer", NULL, &storer);
	process_add(4, &signal_worker, "banks/signal", NULL, NULL);
	for (size_t i = 0; i < STREAMS; i++)
		world.engines[i].stream = streams[i];
}

static inline void world_end(void)
{
	for (size_t i = 0; i < PROCESSES; i++)
		process_kill(&world.processes[i]);
	tb_broker_close(world.broker);
	tb_buf_drop(&world.answer);
	tb_arena_free(world.arena);
	tb_disk_remove_tree(&world.disk, world.dir, NULL);
}

/* Somebody does something. */
static inline void world_step(void)
{
	uint64_t what = chance(20);
	if (what < 4)
		engine_publish(&world.engines[chance(STREAMS)], 1 + (uint32_t)chance(6));
	else if (what == 4 && chance(4) == 0)
		order_backup(world.engines[chance(STREAMS)].stream);
	else if (what == 5)
		pass(chance(3 * TB_NS_PER_S));
	else
		process_turn(&world.processes[chance(PROCESSES)]);
}

static inline int all_done(void)
{
	const Tb__StatReply *stat = stat_broker();
	int done = 1;
	for (size_t i = 0; i < stat->n_streams; i++)
		done &= stat->streams[i]->stored == stat->streams[i]->durable && stat->streams[i]->backup_running[0] == '\0';
	for (size_t i = 0; i < stat->n_groups; i++)
		done &= stat->groups[i]->open == 0 && stat->groups[i]->volatile_frames == 0;
	tb_arena_reset(world.arena);
	return done;
}

/* No more trouble: everything that is on its way has to come home. */
static inline void world_settle(void)
{
	world.trouble = 0;
	for (int round = 0; round < 400; round++) {
		for (size_t i = 0; i < PROCESSES; i++)
			process_turn(&world.processes[i]);
		if (round % 4 == 3 && all_done())
			return;
	}
	const Tb__StatReply *stat = stat_broker();
	for (size_t i = 0; i < stat->n_streams; i++)
		fprintf(stderr, "%s: durable %llu, cut %llu, chain %llu, stored %llu, running '%s'\n", stat->streams[i]->name,
		        (unsigned long long)stat->streams[i]->durable, (unsigned long long)stat->streams[i]->cut,
		        (unsigned long long)stat->streams[i]->chain, (unsigned long long)stat->streams[i]->stored,
		        stat->streams[i]->backup_running);
	for (size_t i = 0; i < stat->n_groups; i++)
		fprintf(stderr, "group %u: %llu open, %u volatile, %llu rejected\n", stat->groups[i]->group,
		        (unsigned long long)stat->groups[i]->open, (unsigned)stat->groups[i]->volatile_frames,
		        (unsigned long long)stat->groups[i]->rejected);
	cr_assert_fail("seed %llu: it doesn't come to rest", (unsigned long long)world.seed);
}

#endif
