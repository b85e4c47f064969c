/* The broker's host: the core, its journal's disk, and their deaths. */
#include "sim.h"

#include <sodium.h>
#include <stdlib.h>

struct asking {
	int answered;
	tb_buf *bytes;
};

static void answered(void *self, void *asker, tb_span answer)
{
	struct asking *asking = asker;
	(void)self;
	if (asking->answered++ > 0)
		sim_fail("a request was answered twice");
	tb_buf_clear(asking->bytes);
	tb_buf_append_span(asking->bytes, answer);
}

/* What is told is a promise. */
static void see_told(struct sim_engine *engine, tb_span body)
{
	ProtobufCMessage *message;
	if (tb_control_read(&body, TB_KIND_TOLD, &tb__durable__descriptor, sim.arena, &message, NULL) != TB_OK) {
		sim_fail("what was told of %s can't be read", engine->name);
		return;
	}
	const Tb__Durable *told = (const Tb__Durable *)message;
	if (told->durable < engine->told_durable || told->stored < engine->told_stored)
		sim_fail("stream %s went back: told durable %llu and stored %llu, now %llu and %llu", engine->name,
		         (unsigned long long)engine->told_durable, (unsigned long long)engine->told_stored,
		         (unsigned long long)told->durable, (unsigned long long)told->stored);
	if (told->durable > engine->count || told->stored > told->durable)
		sim_fail("stream %s: told durable %llu and stored %llu of %llu events", engine->name,
		         (unsigned long long)told->durable, (unsigned long long)told->stored, (unsigned long long)engine->count);
	engine->told_durable = told->durable;
	engine->told_stored = told->stored;
}

static void topic(void *self, tb_span name, tb_span body)
{
	(void)self;
	if (name.size < 9 || memcmp(name.data, "durable/", 8) != 0)
		return;
	for (size_t i = 0; i < sim.engine_count; i++) {
		struct sim_engine *engine = &sim.engines[i];
		if (!tb_span_equal(tb_span_of(name.data + 8, name.size - 8), tb_span_text(engine->name)))
			continue;
		see_told(engine, body);
		line_send(engine, 0, body);
	}
}

/* ---- dying */

static void settle_disk(int power)
{
	struct fault_disk *disk = &sim.journal;
	if (power) {
		uint64_t unsynced = fault_disk_unsynced(disk), from = 0, to = 0;
		if (sim_below(2)) { /* some of it had got there */
			from = sim_below(4) ? 0 : sim_below(unsynced + 1);
			to = from + sim_below(unsynced - from + 1);
		}
		fault_disk_crash(disk, from, to);
		sim.counts[SIM_POWER_CUTS]++;
	}
	fault_disk_fail(disk, 0, 0, TB_OK);
	disk->dark = 0;
}

static int is_struck(void)
{
	return sim.journal.dark || (sim.journal.fail_at > 0 && sim.journal.counted >= sim.journal.fail_at);
}

static void die(int power)
{
	tb_broker_close(sim.broker);
	sim.broker = NULL;
	sim.counts[SIM_BROKER_DEATHS]++;
	sim_say("the broker dies%s%s", power ? " with its host's power" : "",
	        sim.journal.dark ? ", in the middle of a call" : is_struck() ? ", as its disk fails" : "");
	settle_disk(power);
	if (sim_below(2))
		line_clear(1);
	sim.broker_due = sim.mono_ns + sim_below(sim_below(4) ? 200 * TB_NS_PER_MS : 5 * TB_NS_PER_S);
	sim.broker_power = 0;
}

/* After each call: did it meet its end? */
static void judge(tb_rc rc, const tb_err *err)
{
	if (rc != TB_OK && !is_struck())
		sim_fail("the broker ends: %s", err->text);
	if (rc != TB_OK || sim.journal.dark)
		die(sim.broker_power);
}

/* The process goes at that call, and its host lives: what it wrote is in the cache. */
static void arm_kill(void)
{
	fault_disk_fail(&sim.journal, FAULT_CHANGE & ~FAULT_WRITE, 1 + sim_below(4), TB_EIO);
	sim.journal.power = 1;
	sim.broker_power = 0;
}

static void arm_power(void)
{
	fault_disk_cut(&sim.journal, 1 + sim_below(6));
	sim.broker_power = 1;
}

static void arm_failure(void)
{
	fault_disk_fail(&sim.journal, FAULT_SYNC | FAULT_WRITE | FAULT_SYNC_DIR, 1 + sim_below(4), TB_EIO);
	sim.journal.through = sim_below(200);
	sim.broker_power = 0;
}

void host_arm(void)
{
	if (is_struck() && !sim.journal.dark)
		fault_disk_fail(&sim.journal, 0, 0, TB_OK); /* nobody minded */
	if (sim.broker == NULL || sim.journal.fail_at > 0)
		return;
	int later = sim_below(2) == 0;
	if (sim_strikes(sim.rates.broker_kill))
		later ? arm_kill() : die(0);
	else if (sim_strikes(sim.rates.broker_power))
		later ? arm_power() : die(1);
	else if (sim_strikes(sim.rates.broker_sync))
		arm_failure();
}

/* It may also end while it opens. */
static void arm_opening(void)
{
	if (sim.rates.broker_kill && sim_below(8) == 0)
		arm_kill();
	else if (sim.rates.broker_power && sim_below(8) == 0)
		arm_power();
	else if (sim.rates.broker_sync && sim_below(8) == 0)
		arm_failure();
}

/* ---- living */

/* What was told before has to be so still. */
static void check_kept(void)
{
	tb_auto(tb_buf_drop) tb_buf answer = { 0 };
	Tb__StatReply *stat;
	tb_err err = { 0 };
	if (tb_bus_stat(&sim.operator, TB_NS_PER_S, sim.arena, &stat, &err) != TB_OK)
		return;
	for (size_t e = 0; e < sim.engine_count; e++) {
		const struct sim_engine *engine = &sim.engines[e];
		uint64_t durable = 0, stored = 0;
		for (size_t i = 0; i < stat->n_streams; i++)
			if (strcmp(stat->streams[i]->name, engine->name) == 0)
				durable = stat->streams[i]->durable, stored = stat->streams[i]->stored;
		if (durable < engine->told_durable || stored < engine->told_stored)
			sim_fail("stream %s lost what was promised: durable %llu and stored %llu were told, %llu and %llu are there",
			         engine->name, (unsigned long long)engine->told_durable, (unsigned long long)engine->told_stored,
			         (unsigned long long)durable, (unsigned long long)stored);
	}
}

void host_open(void)
{
	tb_broker_out out = { &sim, answered, topic };
	tb_journal_opened opened;
	tb_err err = { 0 };
	randombytes_buf(sim.broker_options.run_id, sizeof(sim.broker_options.run_id));
	sim.broker_options.period = tb_buf_span(&sim.period);
	sim.steps++;
	arm_opening();
	tb_rc rc = tb_broker_open(&sim.broker_options, &out, &sim.broker, &opened, &err);
	if (rc != TB_OK) {
		sim.broker = NULL;
		if (!is_struck())
			sim_fail("the broker doesn't open: %s", err.text);
		die(sim.broker_power);
		return;
	}
	if (opened.cut_bytes > 0 || opened.rewritten > 0)
		sim_say("the journal is opened: %llu bytes cut, %llu written again", (unsigned long long)opened.cut_bytes,
		        (unsigned long long)opened.rewritten);
	if (!sim.journal.dark)
		check_kept();
}

void host_close(void)
{
	tb_broker_close(sim.broker);
	sim.broker = NULL;
}

void host_turn(void)
{
	tb_err err = { 0 };
	if (sim.broker == NULL) {
		if (sim.broker_due <= sim.mono_ns)
			host_open();
		return;
	}
	host_arm();
	if (sim.broker == NULL)
		return;
	sim.steps++;
	tb_broker_tick(sim.broker);
	judge(tb_broker_commit(sim.broker, &err), &err);
}

void host_event(tb_span bytes)
{
	if (sim.broker != NULL)
		tb_broker_event(sim.broker, bytes);
}

int host_request(tb_span request, tb_buf *ret_answer)
{
	struct asking asking = { .bytes = ret_answer };
	tb_err err = { 0 };
	if (sim.broker == NULL)
		return 0;
	host_arm();
	if (sim.broker == NULL)
		return 0;
	sim.steps++;
	tb_broker_request(sim.broker, &asking, request);
	if (asking.answered && !sim.journal.dark)
		return 1; /* on the way: whatever happens next */
	judge(tb_broker_commit(sim.broker, &err), &err);
	if (sim.broker == NULL)
		return 0;
	if (!asking.answered)
		sim_fail("a request that may not wait has no answer");
	return asking.answered;
}
