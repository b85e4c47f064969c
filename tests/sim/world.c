/* A run: what it is made of, its steps, and how it ends. */
#include "sim.h"

#include "store/instance.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HEAL_NS (150 * TB_NS_PER_S)
#define LIE_ROUNDS 400

struct sim sim;

static uint64_t real_now(void *self)
{
	(void)self;
	return sim.real_ns;
}

static uint64_t mono_now(void *self)
{
	(void)self;
	return sim.mono_ns;
}

void sim_fail(const char *format, ...)
{
	va_list args;
	if (sim.failed++ > 0)
		return;
	va_start(args, format);
	vsnprintf(sim.why, sizeof(sim.why), format, args);
	va_end(args);
}

void sim_say(const char *format, ...)
{
	va_list args;
	if (!sim.verbose)
		return;
	printf("%8llu %10.3f s  ", (unsigned long long)sim.steps, (double)sim.mono_ns / (double)TB_NS_PER_S);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

const char *sim_below_dir(const char *name)
{
	static char paths[4][160];
	static unsigned next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof(paths[0]), "%s/%s", sim.dir, name);
	return path;
}

/* ---- beginning */

/* Half of the faults don't come in a run, so that others are seen alone; those that come do so rarely or often. */
static uint32_t rate(uint32_t most)
{
	return sim_below(2) ? 0 : 1 + (uint32_t)sim_below(sim_below(3) ? most / 8 + 1 : most);
}

static void choose_rates(void)
{
	sim.rates = (struct sim_rates){
		.line_drop = rate(2500), .line_repeat = rate(1000), .line_late = rate(4000), .line_cut = rate(40),
		.request_lost = rate(800), .answer_lost = rate(800), .request_repeated = rate(800), .request_late = rate(300),
		.worker_kill = rate(300), .worker_stall = rate(40), .bank_lost = sim_below(2) ? 3000 : 0, .engine_kill = rate(150),
		.outbox = sim_below(2) ? 0 : 2000 + (uint32_t)sim_below(8000),
		.broker_kill = rate(60), .broker_power = rate(60), .broker_sync = rate(60),
		.tier_power = rate(100), .tier_sync = rate(100), .clock_jump = rate(40),
	};
	if (sim.rates.outbox != 0)
		sim.rates.engine_kill += 60;
}

static tb_rc operator_request(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err)
{
	(void)bus, (void)timeout_ns;
	return host_request(request, ret_answer) ? TB_OK : tb_fail(err, TB_EUNREACHABLE, "the broker is away");
}

static void make_instance(void)
{
	tb_auto(tb_buf_drop) tb_buf kit = { 0 };
	tb_err err = { 0 };
	snprintf(sim.dir, sizeof(sim.dir), "/dev/shm/tb-sim-%d", (int)getpid());
	tb_disk_remove_tree(tb_disk_system(), sim.dir, NULL);
	tb_rc rc = tb_instance_make(tb_disk_system(), sim.dir, (tb_span){ 0 }, sim.real_ns, &kit, &err);
	if (rc == TB_OK)
		rc = tb_disk_read_file(tb_disk_system(), sim_below_dir("keys/period.rec"), 4096, &sim.period, &err);
	if (rc != TB_OK)
		sim_fail("no instance in %s: %s", sim.dir, err.text);
}

static void choose_options(void)
{
	static const uint64_t ages_ms[] = { 20, 100, 500, 1000 };
	tb_broker_options *broker = &sim.broker_options;
	snprintf(sim.journal_dir, sizeof(sim.journal_dir), "%s/journal", sim.dir);
	*broker = (tb_broker_options){
		.journal = { .dir = sim.journal_dir, .file_size = UINT64_C(16384) << sim_below(5),
		             .disk = sim.recorded ? tb_disk_system() : &sim.journal.disk },
		.journal_keep_ns = sim_below(2) ? TB_NS_PER_S : TB_NS_PER_MS, .lease_ns = 2 * TB_NS_PER_S,
		.silence_ns = 3 * TB_NS_PER_S, .clock = &sim.clock,
		.window_frames = sim_below(2) ? 4 : 64, .window_bytes = sim_below(2) ? 8192 : 1u << 20,
		.journal_limit = UINT64_C(1) << 30,
	};
	randombytes_buf(broker->journal.new_id, sizeof(broker->journal.new_id));
	sim.collector = (tb_collector_config){
		.segment_size = sim_below(2) ? 8u << 20 : 2048 + sim_below(30000),
		.segment_age_ns = ages_ms[sim_below(4)] * TB_NS_PER_MS, .environment = (char *)(uintptr_t)"sim",
	};
	/* A journal that fills up: its reserve has to be larger than some segments. */
	if (sim_below(4) == 0) {
		broker->journal_limit = UINT64_C(4) << 20;
		sim.collector.segment_size = 2048 + sim_below(30000);
		sim.values_small = 1;
	}
	sim.collector.rebuild_identity = tb_strdup(sim_below_dir("keys/identity.key"));
	sim.collector.rebuild_repository = tb_strdup(sim_below_dir("repository"));
	sim.signal = (tb_signal_config){ sim.collector.rebuild_identity, sim.collector.rebuild_repository };
	sim.two_collectors = sim_below(3) == 0;
	sim.sealer = (tb_sealer_config){ .level = sim_below(2) };
	sim.storer.repository = tb_strdup(sim_below_dir("repository"));
	sim.lies = !sim.recorded && sim_below(25) == 0;
	sim.tick_ns = TB_NS_PER_MS * (1 + sim_below(6));
}

void sim_begin(uint64_t seed, uint64_t steps)
{
	int verbose = sim.verbose, recorded = sim.recorded;
	sim = (struct sim){ .seed = seed, .step_max = steps, .verbose = verbose, .recorded = recorded };
	sim_seed(seed);
	sim.mono_ns = 5 * TB_NS_PER_S;
	sim.real_ns = UINT64_C(1700000000) * TB_NS_PER_S;
	sim.clock = (tb_clock){ &sim, real_now, mono_now };
	sim.arena = tb_arena_new();
	sim.operator.request = operator_request;
	make_instance();
	if (!sim.recorded)
		choose_rates();
	fault_disk_init(&sim.journal, tb_disk_system());
	fault_disk_init(&sim.tier, tb_disk_system());
	choose_options();
	host_open();
	sim.engine_count = 1 + sim_below(SIM_ENGINES);
	for (size_t i = 0; i < sim.engine_count; i++)
		engine_begin(&sim.engines[i], i);
	for (size_t i = 0; i < SIM_WORKERS; i++)
		worker_begin(&sim.workers[i], i);
}

void sim_end(void)
{
	host_close();
	for (size_t i = 0; i < sim.engine_count; i++)
		engine_end(&sim.engines[i]);
	for (size_t i = 0; i < SIM_WORKERS; i++)
		worker_end(&sim.workers[i]);
	line_clear(0);
	line_clear(1);
	fault_disk_drop(&sim.journal);
	fault_disk_drop(&sim.tier);
	tb_buf_drop(&sim.period);
	free(sim.storer.repository);
	free(sim.collector.rebuild_identity);
	free(sim.collector.rebuild_repository);
	tb_arena_free(sim.arena);
	tb_disk_remove_tree(tb_disk_system(), sim.dir, NULL);
}

/* ---- steps */

static void pass_time(void)
{
	uint64_t ns = sim_below(sim.tick_ns);
	sim.mono_ns += ns;
	sim.real_ns += ns;
	if (sim_strikes(sim.rates.clock_jump))
		sim.real_ns += sim_below(2) ? sim_below(7200 * TB_NS_PER_S) : UINT64_MAX - sim_below(7200 * TB_NS_PER_S);
}

static void step(void)
{
	uint64_t chance = sim_below(20);
	pass_time();
	if (chance < 8 && line_deliver())
		for (uint64_t more = sim_below(4); more > 0 && line_deliver(); more--)
			;
	else if (chance < 12)
		engine_turn(&sim.engines[sim_below(sim.engine_count)]);
	else if (chance < 15)
		host_turn();
	else if (chance < 16)
		orders_turn();
	else
		worker_turn(&sim.workers[sim_below(SIM_WORKERS)]);
	tb_arena_reset(sim.arena);
}

/* ---- healing */

static void heal(size_t dead)
{
	sim.healing = 1;
	sim.lies = 0;
	sim.rates = (struct sim_rates){ 0 };
	sim.broker_due = 0;
	if (!sim.journal.dark)
		fault_disk_fail(&sim.journal, 0, 0, TB_OK);
	if (!sim.tier.dark)
		fault_disk_fail(&sim.tier, 0, 0, TB_OK);
	for (size_t i = 0; i < sim.engine_count; i++)
		sim.engines[i].down_until = sim.engines[i].cut_until = 0;
	for (size_t i = 0; i < SIM_WORKERS; i++) {
		if (sim.workers[i].down_until != UINT64_MAX)
			sim.workers[i].down_until = 0;
		sim.workers[i].kill_in = 0;
	}
	if (dead < SIM_WORKERS)
		worker_close(&sim.workers[dead]);
}

static void round_of_all(size_t dead)
{
	while (line_deliver() && !sim.failed)
		;
	host_turn();
	for (size_t i = 0; i < sim.engine_count; i++)
		engine_turn(&sim.engines[i]);
	for (size_t i = 0; i < SIM_WORKERS && !sim.failed; i++)
		if (i != dead)
			worker_turn(&sim.workers[i]);
	orders_close();
	tb_arena_reset(sim.arena);
}

/* A sealer, or one of two collectors: the other one is enough. */
static size_t choose_dead(void)
{
	if (sim_below(2))
		return SIM_WORKERS;
	if (sim.two_collectors && sim_below(2))
		return sim_below(2) ? 0 : SIM_WORKERS - 1;
	return 1 + sim_below(2);
}

static void come_to_rest(void)
{
	size_t dead = choose_dead();
	uint64_t until = sim.mono_ns + HEAL_NS, rounds = 0;
	heal(dead);
	sim_say("everything heals%s", dead < SIM_WORKERS ? ", but one worker stays dead" : "");
	while (!sim.failed) {
		round_of_all(dead);
		if (++rounds % 8 == 0 && !sim.failed && (sim.lied ? rounds == LIE_ROUNDS : check_quiet()))
			return;
		uint64_t ns = 5 * TB_NS_PER_MS + sim_below(45 * TB_NS_PER_MS);
		sim.mono_ns += ns;
		sim.real_ns += ns;
		if (sim.mono_ns > until) {
			int verbose = sim.verbose;
			sim.verbose = 1;
			check_quiet();
			sim.verbose = verbose;
			sim_fail("it doesn't come to rest");
		}
	}
}

void sim_steps(void)
{
	while (sim.steps < sim.step_max && !sim.failed)
		step();
	if (!sim.failed)
		come_to_rest();
}

void sim_close(void)
{
	host_close();
	for (size_t i = 0; i < SIM_WORKERS; i++)
		worker_close(&sim.workers[i]);
}

void sim_run(void)
{
	sim_steps();
	sim_close();
	if (!sim.failed)
		check_all();
}
