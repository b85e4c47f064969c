/* tb-sim: runs seeds, one behind the other, and says which failed. See sim.h. */
#include "sim.h"

#include "base/log.h"
#include "store/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef TB_PLANT
int tb_planted;
#endif

struct call {
	uint64_t first, last, steps;
	int planted, until_failure;
};

static int usage(void)
{
	fputs("usage: tb-sim --seeds A..B [--steps N] [--planted K] [--verbose]\n"
	      "  --steps N    of each seed, before everything heals (default 4000)\n"
	      "  --planted K  bug K of libtb/base/planted.h is awake; ends at the first seed that finds it\n"
	      "  --verbose    every fault\n",
	      stderr);
	return 2;
}

static int read_call(int argc, char **argv, struct call *call)
{
	*call = (struct call){ .first = 1, .last = 10, .steps = 4000 };
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		if (strcmp(argv[i], "--verbose") == 0)
			sim.verbose = 1;
		else if (strcmp(argv[i], "--seeds") == 0 && sim_read_seeds(value, &call->first, &call->last))
			i++;
		else if (strcmp(argv[i], "--steps") == 0 && (call->steps = strtoull(value, NULL, 10)) > 0)
			i++;
		else if (strcmp(argv[i], "--planted") == 0 && (call->planted = atoi(value)) > 0)
			i++;
		else
			return 0;
	}
	return 1;
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
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
		return fputs("this program has no planted bugs: use tb-sim-planted\n", stderr), 2;
#endif
	setvbuf(stdout, NULL, _IOLBF, 0);
	tb_log_open("tb-sim", sim.verbose ? TB_LOG_WARN : (tb_log_level)(TB_LOG_ERROR + 1));
	sim_chance_install();
	if (tb_keys_init(NULL) != TB_OK)
		return fputs("libsodium doesn't start\n", stderr), 2;
	uint64_t steps = 0, runs = 0, failing = 0, counts[8] = { 0 };
	double begun = seconds();
	for (uint64_t seed = call.first; seed <= call.last; seed++) {
		sim_begin(seed, call.steps);
		sim_run();
		int failed = sim.failed;
		if (failed)
			printf("seed %llu, %llu steps: %s\n", (unsigned long long)seed, (unsigned long long)sim.steps, sim.why);
		for (size_t i = 0; i < 8; i++)
			counts[i] += sim.counts[i];
		steps += sim.steps;
		runs++;
		failing += failed != 0;
		sim_end();
		if (failed && call.planted > 0)
			break;
	}
	double took = seconds() - begun;
	printf("%llu seeds, %llu steps, %.0f a second, %llu failing; %llu kills, %llu banks lost, %llu deaths of the broker, %llu power cuts, "
	       "%llu messages dropped, %llu events, %llu backups, %llu restores\n",
	       (unsigned long long)runs, (unsigned long long)steps, (double)steps / took, (unsigned long long)failing,
	       (unsigned long long)counts[SIM_KILLS], (unsigned long long)counts[SIM_BANKS], (unsigned long long)counts[SIM_BROKER_DEATHS],
	       (unsigned long long)counts[SIM_POWER_CUTS], (unsigned long long)counts[SIM_LOST],
	       (unsigned long long)counts[SIM_EVENTS],
	       (unsigned long long)counts[SIM_BACKUPS], (unsigned long long)counts[SIM_RESTORES]);
	return failing > 0;
}
