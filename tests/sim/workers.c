/* Workers: their loops on real banks, killed at any request. */
#include "sim.h"

#include "workers/collector/collector.h"
#include "workers/sealer/sealer.h"
#include "workers/signal/signal.h"
#include "workers/storer/storer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BANK_MAP (UINT64_C(1) << 30)

extern const tb_worker signal_worker;

static const struct {
	const tb_worker *kind;
	const char *name, *key;
} rows[SIM_WORKERS] = {
	{ &collector_worker, "collector", "keys/collector.key" },
	{ &sealer_worker, "sealer-1", "keys/instance.pub" },
	{ &sealer_worker, "sealer-2", "keys/instance.pub" },
	{ &storer_worker, "storer", NULL },
	{ &signal_worker, "signal", NULL },
	{ &collector_worker, "collector-2", "keys/collector.key" }, /* in some runs */
};

static const void *options_of(const tb_worker *kind)
{
	return kind == &collector_worker ? (const void *)&sim.collector
	     : kind == &sealer_worker    ? (const void *)&sim.sealer
	     : kind == &signal_worker    ? (const void *)&sim.signal
	                                 : (const void *)&sim.storer;
}

static int is_storer(const struct sim_worker *worker)
{
	return worker->kind == &storer_worker;
}

void worker_close(struct sim_worker *worker)
{
	tb_loop_close(worker->loop);
	tb_bank_close(worker->env.bank);
	worker->loop = NULL;
	worker->env.bank = NULL;
}

/* The repository's disk: what was struck there is settled, and the storer with it. */
static int settle_tier(const struct sim_worker *worker)
{
	struct fault_disk *disk = &sim.tier;
	if (!is_storer(worker) || disk->fail_at == 0 || disk->counted < disk->fail_at)
		return 0;
	if (disk->dark) {
		uint64_t unsynced = fault_disk_unsynced(disk);
		fault_disk_crash(disk, 0, sim_below(2) ? sim_below(unsynced + 1) : 0);
		sim.counts[SIM_POWER_CUTS]++;
		sim_say("the repository's disk loses its power");
	}
	fault_disk_fail(disk, 0, 0, TB_OK);
	return 1;
}

static void end_process(struct sim_worker *worker)
{
	worker_close(worker);
	worker->late_is_orphan = 1;
	worker->dead = 0;
	worker->kill_in = 0;
	worker->down_until = sim.mono_ns + sim_below(300 * TB_NS_PER_MS);
	settle_tier(worker);
	sim.counts[SIM_KILLS]++;
	if (!sim_strikes(sim.rates.bank_lost))
		return;
	sim_say("the bank of %s is lost", worker->name);
	tb_disk_remove_tree(tb_disk_system(), worker->bank, NULL);
	sim.counts[SIM_BANKS]++;
}

static void open_worker(struct sim_worker *worker)
{
	tb_err err = { 0 };
	tb_worker_env *env = &worker->env;
	int flags = TB_BANK_WRITER | (sim.recorded ? 0 : TB_BANK_SCRATCH);
	tb_rc rc = tb_bank_open(worker->bank, flags, BANK_MAP, &env->bank, &err);
	if (rc == TB_OK)
		rc = tb_loop_open(worker->kind, env, -1, &worker->loop, &err);
	if (rc == TB_OK)
		return;
	worker->loop = NULL;
	if (!is_storer(worker) || sim.tier.fail_at == 0)
		sim_fail("%s doesn't open: %s", worker->name, err.text);
	end_process(worker);
}

void worker_begin(struct sim_worker *worker, size_t index)
{
	*worker = (struct sim_worker){ .bus = { .request = worker_request }, .kind = rows[index].kind, .name = rows[index].name };
	snprintf(worker->bank, sizeof(worker->bank), "%s/banks/%s", sim.dir, worker->name);
	if (rows[index].key != NULL)
		snprintf(worker->key, sizeof(worker->key), "%s/%s", sim.dir, rows[index].key);
	worker->env = (tb_worker_env){
		.key = rows[index].key != NULL ? worker->key : NULL, .bus = &worker->bus, .clock = &sim.clock,
		.disk = is_storer(worker) && !sim.recorded ? &sim.tier.disk : tb_disk_system(), .options = options_of(worker->kind),
		/* Always ready: a loop that would sleep until then goes on at once. */
		.wake_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	worker->down_until = index == SIM_WORKERS - 1 && !sim.two_collectors ? UINT64_MAX : 0;
	if (worker->down_until == 0)
		open_worker(worker);
}

void worker_end(struct sim_worker *worker)
{
	worker_close(worker);
	close(worker->env.wake_fd);
	tb_buf_drop(&worker->late);
}

/* ---- requests */

static tb_rc gone(tb_err *err)
{
	return tb_fail(err, TB_EIO, "the process was killed");
}

/* What was sent before arrives before what is sent now; of a process that is gone it may arrive at any time. */
static void deliver_late(struct sim_worker *worker)
{
	tb_auto(tb_buf_drop) tb_buf answer = { 0 };
	if (worker->late.size == 0)
		return;
	sim_arrive(tb_buf_span(&worker->late), &answer);
	tb_buf_clear(&worker->late);
}

tb_rc worker_request(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err)
{
	struct sim_worker *worker = (struct sim_worker *)bus;
	(void)timeout_ns;
	if (worker->dead)
		return gone(err);
	int killed = worker->kill_in > 0 && --worker->kill_in == 0 && !worker->spared;
	if (killed && !worker->kill_after) {
		worker->dead = 1;
		return gone(err);
	}
	if (!worker->late_is_orphan)
		deliver_late(worker);
	if (worker->late.size == 0 && sim_strikes(sim.rates.request_late)) {
		tb_buf_append_span(&worker->late, request);
		worker->late_is_orphan = 0;
		worker->dead |= killed || (sim.rates.worker_kill > 0 && !worker->spared && sim_below(2));
		return worker->dead ? gone(err) : tb_fail(err, TB_ETIMEOUT, "the request is late");
	}
	tb_auto(tb_buf_drop) tb_buf lie = { 0 };
	if (sim.lies && worker->kind == &sealer_worker && sim_below(20) == 0)
		request = sim_without_object(request, &lie);
	tb_rc rc = sim_ask(request, ret_answer, err);
	tb_frame head;
	if (rc == TB_OK && tb_frame_read_head(request, &head, NULL) == TB_OK && head.kind == TB_KIND_PUT)
		worker->spared = 0;
	worker->dead |= killed;
	return worker->dead ? gone(err) : rc;
}

/* ---- turns */

static void strike(struct sim_worker *worker)
{
	if (worker->spared || worker->kill_in > 0)
		return;
	if (sim_strikes(sim.rates.worker_kill)) {
		worker->kill_in = 1 + sim_below(6);
		worker->kill_after = sim_below(2) == 0;
	}
	if (sim_strikes(sim.rates.worker_stall))
		worker->stalled_until = sim.mono_ns + sim_below(6 * TB_NS_PER_S);
	if (!is_storer(worker) || sim.tier.fail_at > 0)
		return;
	if (sim_strikes(sim.rates.tier_power)) {
		fault_disk_cut(&sim.tier, 1 + sim_below(12));
	} else if (sim_strikes(sim.rates.tier_sync)) {
		fault_disk_fail(&sim.tier, FAULT_CHANGE, 1 + sim_below(12), TB_EIO);
	}
}

void worker_turn(struct sim_worker *worker)
{
	tb_err err = { 0 };
	sim.steps++;
	if (worker->late.size > 0 && sim_below(20) == 0)
		deliver_late(worker);
	if (worker->loop == NULL) {
		if (worker->down_until <= sim.mono_ns)
			open_worker(worker);
		return;
	}
	if (worker->stalled_until > sim.mono_ns && !sim.healing)
		return;
	strike(worker);
	tb_rc rc = tb_loop_turn(worker->loop, &err);
	int struck = is_storer(worker) && sim.tier.fail_at > 0 && sim.tier.counted >= sim.tier.fail_at;
	int lied_to = sim.lied && is_storer(worker) && rc == TB_ENOTFOUND;
	if (rc != TB_OK && !worker->dead && !struck && !lied_to)
		sim_fail("%s ends: %s", worker->name, err.text);
	if (rc != TB_OK || worker->dead || struck) {
		sim_say("%s is gone: %s", worker->name, rc != TB_OK ? err.text : "killed");
		end_process(worker);
	}
}
