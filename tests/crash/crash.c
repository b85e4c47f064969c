/* tb-crash: records runs and explores what a power cut could leave of each. See crash.h. */
#include "crash.h"

#include "base/log.h"
#include "store/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef TB_PLANT
int tb_planted;
#endif

#define CUT_STATES_MIN 4
#define CPU_MAX_NS (300 * TB_NS_PER_MS)

struct call {
	uint64_t first, last, steps, states, deep;
	int planted, print;
};

struct figures {
	uint64_t operations, cuts, states, deep, failing;
	struct crash_times times;
};

/* Hashes of what was checked, open addressing. */
struct known {
	uint64_t *at;
	size_t count, room;
};

static int usage(void)
{
	fputs("usage: tb-crash --seeds A..B [--steps N] [--states N] [--deep N] [--planted K] [--print 1]\n"
	      "  --steps N    of each run (default 250)\n"
	      "  --states N   of each run at most (default 400)\n"
	      "  --deep N     one state of N is also run until it rests (default 25)\n"
	      "  --print 1    the files of each state that fails\n"
	      "  --planted K  bug K of libtb/base/planted.h is awake; ends at the first state that finds it\n",
	      stderr);
	return 2;
}

static int read_call(int argc, char **argv, struct call *call)
{
	*call = (struct call){ .first = 1, .last = 4, .steps = 250, .states = 400, .deep = 25 };
	for (int i = 1; i + 1 < argc; i += 2) {
		const char *name = argv[i], *value = argv[i + 1];
		uint64_t number = strtoull(value, NULL, 10);
		if (strcmp(name, "--seeds") == 0 ? !sim_read_seeds(value, &call->first, &call->last) : number == 0)
			return 0;
		if (strcmp(name, "--steps") == 0)
			call->steps = number;
		else if (strcmp(name, "--states") == 0)
			call->states = number;
		else if (strcmp(name, "--deep") == 0)
			call->deep = number;
		else if (strcmp(name, "--planted") == 0)
			call->planted = (int)number;
		else if (strcmp(name, "--print") == 0)
			call->print = 1;
		else if (strcmp(name, "--seeds") != 0)
			return 0;
	}
	return argc % 2 == 1;
}

/* ---- states that were checked already */

static int known_add(struct known *known, uint64_t hash)
{
	if (2 * (known->count + 1) > known->room) {
		struct known larger = { .room = known->room ? known->room * 2 : 4096 };
		larger.at = tb_alloc_zero(larger.room, sizeof(*larger.at));
		for (size_t i = 0; i < known->room; i++)
			if (known->at[i] != 0)
				known_add(&larger, known->at[i]);
		free(known->at);
		*known = larger;
	}
	size_t at = hash % known->room;
	for (; known->at[at] != 0; at = (at + 1) % known->room)
		if (known->at[at] == hash)
			return 0;
	known->at[at] = hash;
	known->count++;
	return 1;
}

/* ---- a run */

static void tell(struct crash_told *ret_told)
{
	ret_told->made = sim.period.size > 0;
	for (size_t i = 0; i < sim.order_count && i < 64; i++)
		ret_told->given |= (uint64_t)(sim.orders[i].given != 0) << i;
	for (size_t i = 0; i < sim.engine_count; i++) {
		ret_told->accepted[i] = sim.engines[i].count;
		ret_told->durable[i] = sim.engines[i].told_durable;
		ret_told->stored[i] = sim.engines[i].told_stored;
	}
}

static int record(const struct call *call, uint64_t seed, struct crash_log *log, struct crash_told *ret_last)
{
	char dir[64];
	snprintf(dir, sizeof(dir), "/dev/shm/tb-sim-%d", (int)getpid());
	crash_record_begin(log, dir, tell);
	sim.recorded = 1;
	sim_begin(seed, call->steps);
	if (!sim.failed)
		sim_steps();
	crash_record_end();
	tell(ret_last);
	sim_close();
	for (size_t i = 0; i < sim.engine_count; i++) {
		tb_pump_free(sim.engines[i].pump);
		tb_outbox_close(sim.engines[i].outbox);
		sim.engines[i].pump = NULL;
		sim.engines[i].outbox = NULL;
	}
	return !sim.failed;
}

/* ---- its states */

struct exploration {
	const struct call *call;
	uint64_t seed;
	const struct crash_log *log;
	const struct crash_told *last;
	struct crash_disk *disk;
	struct known known;
	struct figures *figures;
};

static void report(const struct exploration *explored, size_t cut, uint64_t chance, int deep,
                   const struct crash_state *state)
{
	printf("seed %llu, cut behind operation %zu of %zu, chance %llu%s: %s\n", (unsigned long long)explored->seed, cut,
	       explored->log->count, (unsigned long long)chance, deep ? ", until it rests" : "", sim.why);
	if (explored->call->print)
		crash_state_print(state);
}

/* The state behind operation `cut`, unless it was there already. */
static void explore_state(struct exploration *explored, size_t cut, uint64_t chance)
{
	struct figures *figures = explored->figures;
	struct crash_state *state = crash_state_new(explored->disk, chance);
	if (known_add(&explored->known, crash_state_hash(state) | 1)) {
		const struct crash_told *told = cut + 1 < explored->log->count ? &explored->log->ops[cut + 1].told : explored->last;
		int deep = figures->states % explored->call->deep == 0;
		if (!crash_state_lay(state, sim.dir)) {
			fprintf(stderr, "tb-crash: no state can be laid out in %s\n", sim.dir);
			exit(2);
		}
		figures->states++;
		figures->deep += (uint64_t)deep;
		if (!crash_check(told, deep, &figures->times)) {
			figures->failing++;
			report(explored, cut, chance, deep, state);
		}
	}
	crash_state_free(state);
}

static int enough(const struct exploration *explored)
{
	return explored->call->planted > 0 && explored->figures->failing > 0;
}

/* Each cut gets its share of the states, the first two of which are no chance. With few states not every cut is looked at,
 * another part of them in each run. */
static void explore(struct exploration *explored)
{
	size_t count = explored->log->count, stride = CUT_STATES_MIN * count / explored->call->states + 1;
	uint64_t each = explored->call->states * stride / count;
	for (size_t cut = 0; cut < count && !enough(explored); cut++) {
		crash_disk_apply(explored->disk, &explored->log->ops[cut]);
		if ((cut + explored->seed) % stride != 0)
			continue;
		explored->figures->cuts++;
		for (uint64_t i = 0; i < each && !enough(explored); i++)
			explore_state(explored, cut, i < 2 ? i : (explored->seed << 40) + cut * 1024 + i);
	}
}

static void explore_seed(const struct call *call, uint64_t seed, struct figures *figures)
{
	struct crash_log log = { 0 };
	struct crash_told last = { 0 };
	int ran = record(call, seed, &log, &last);
	if (!ran && call->planted == 0) {
		printf("seed %llu: the run itself fails: %s\n", (unsigned long long)seed, sim.why);
		figures->failing++;
	} else { /* a planted bug may end it early */
		struct exploration explored = { .call = call, .seed = seed, .log = &log, .last = &last, .figures = figures };
		figures->operations += log.count;
		explored.disk = crash_disk_new(&log);
		explore(&explored);
		crash_disk_free(explored.disk);
		free(explored.known.at);
	}
	sim_end();
	crash_log_drop(&log);
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

int main(int argc, char **argv)
{
	struct call call;
	if (!read_call(argc, argv, &call))
		return usage();
#ifdef TB_PLANT
	tb_planted = call.planted;
#else
	if (call.planted > 0)
		return fputs("this program has no planted bugs: use tb-crash-planted\n", stderr), 2;
#endif
	setvbuf(stdout, NULL, _IOLBF, 0);
	tb_log_open("tb-crash", (tb_log_level)(TB_LOG_ERROR + 1));
	sim_chance_install();
	if (tb_keys_init(NULL) != TB_OK)
		return fputs("libsodium doesn't start\n", stderr), 2;
	struct figures figures = { 0 };
	for (uint64_t seed = call.first; seed <= call.last && !(call.planted > 0 && figures.failing > 0); seed++)
		explore_seed(&call, seed, &figures);
	const struct crash_times *times = &figures.times;
	printf("%llu runs, %llu operations, %llu cuts, %llu deep; longest opening, in ms of the processor: broker %.1f, a bank "
	       "and its worker %.1f, an outbox %.1f, the repository %.1f, all together %.1f\n",
	       (unsigned long long)(call.last - call.first + 1), (unsigned long long)figures.operations,
	       (unsigned long long)figures.cuts, (unsigned long long)figures.deep, ms(times->broker_ns), ms(times->bank_ns),
	       ms(times->outbox_ns), ms(times->repository_ns), ms(times->all_ns));
	if (times->all_ns > CPU_MAX_NS)
		printf("that is too long: a state has to be open within %.0f ms\n", ms(CPU_MAX_NS));
	printf("explored %llu states, %llu failing\n", (unsigned long long)figures.states, (unsigned long long)figures.failing);
	return figures.failing > 0 || times->all_ns > CPU_MAX_NS;
}
