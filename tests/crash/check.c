/* What has to hold of a state. It is opened where the run was, by the real code, and nothing helps. */
#include "crash.h"

#include "base/bytes.h"
#include "store/archive.h"
#include "store/instance.h"
#include "store/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DEEP_ROUNDS 4000
#define ROUND_NS (20 * TB_NS_PER_MS)

static const uint8_t boot_id[16] = "the boot after";

static uint64_t cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * TB_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Adds up what one opening took, and keeps the longest. */
static void took(uint64_t begun, uint64_t *longest, uint64_t *all)
{
	uint64_t ns = cpu_ns() - begun;
	*longest = ns > *longest ? ns : *longest;
	*all += ns;
}

/* ---- what was promised before the cut becomes what the simulator knows */

static void recall(const struct crash_told *told)
{
	sim.failed = 0;
	sim.broker_due = 0;
	memset(sim.stream_generation, 0, sizeof(sim.stream_generation));
	memset(sim.group_generation, 0, sizeof(sim.group_generation));
	for (size_t i = 0; i < sim.engine_count; i++) {
		sim.engines[i].count = told->accepted[i];
		sim.engines[i].told_durable = told->durable[i];
		sim.engines[i].told_stored = told->stored[i];
	}
	for (size_t i = 0; i < SIM_WORKERS; i++)
		sim.workers[i].down_until = 0;
	for (size_t i = 0; i < sim.order_count; i++)
		sim.orders[i].given = told->given >> i & 1;
	sim.order_open = 0;
}

/* ---- keys: an instance is one when it has its configuration. */

static void open_key(const char *name, tb_key_kind kind)
{
	tb_key *key;
	tb_err err = { 0 };
	if (tb_key_read(tb_disk_system(), sim_below_dir(name), kind, &key, &err) == TB_OK)
		tb_key_free(key);
	else
		sim_fail("%s: %s", name, err.text);
}

static void open_instance(void)
{
	tb_auto(tb_buf_drop) tb_buf period = { 0 };
	uint8_t instance[TB_PUBLIC_KEY], repository[TB_REPOSITORY_ID];
	tb_period read;
	tb_err err = { 0 };
	open_key("keys/instance.key", TB_KEY_INSTANCE);
	open_key("keys/collector.key", TB_KEY_COLLECTOR);
	open_key("keys/identity.key", TB_KEY_IDENTITY);
	tb_rc rc = tb_instance_public_read(tb_disk_system(), sim_below_dir("keys/instance.pub"), instance, repository, &err);
	if (rc == TB_OK)
		rc = tb_disk_read_file(tb_disk_system(), sim_below_dir("keys/period.rec"), 4096, &period, &err);
	if (rc == TB_OK)
		rc = tb_period_read(tb_buf_span(&period), instance, &read, &err);
	if (rc != TB_OK)
		sim_fail("the instance's public part: %s", err.text);
}

/* ---- events */

struct seen {
	const struct sim_engine *engine;
	uint64_t next; /* 1 + the highest seen */
};

static void see_event(struct seen *seen, uint64_t number, tb_span canonical, const char *where)
{
	const struct sim_engine *engine = seen->engine;
	if (number != seen->next)
		sim_fail("%s: %s has event %llu where %llu comes next", engine->name, where, (unsigned long long)number,
		         (unsigned long long)seen->next);
	else if (number > engine->count)
		sim_fail("%s: %s has event %llu, which was never accepted", engine->name, where, (unsigned long long)number);
	else if (tb_check64(canonical.data, canonical.size) != engine->events[number - 1].check)
		sim_fail("%s: %s has another event %llu than was accepted", engine->name, where, (unsigned long long)number);
	seen->next++;
}

static tb_rc see_archived(void *context, const tb_archived_event *event, tb_err *err)
{
	(void)err;
	see_event(context, event->number, event->canonical, "the archive");
	return sim.failed ? TB_EREFUSED : TB_OK;
}

static void see_frames(struct seen *seen, tb_span frames)
{
	tb_frame frame;
	tb_span canonical;
	while (frames.size > 0 && tb_frame_read(&frames, &frame, NULL) == TB_OK)
		for (uint64_t number = frame.first; tb_events_next(&frame.body, &canonical) > 0; number++)
			if (number >= seen->next) /* a frame may begin within what was archived */
				see_event(seen, number, canonical, "the journal");
}

/* Those behind the archive's, up to the last durable one. */
static void see_journalled(struct seen *seen, uint64_t durable)
{
	while (!sim.failed && seen->next <= durable) {
		Tb__FetchRequest request = TB__FETCH_REQUEST__INIT;
		Tb__FetchReply *reply;
		tb_answer answer = { 0 };
		tb_err err = { 0 };
		uint64_t before = seen->next;
		request.stream = (char *)(uintptr_t)seen->engine->name;
		request.from = seen->next;
		request.to = durable;
		request.bytes_max = 1u << 20;
		if (tb_bus_fetch(&sim.operator, &request, TB_NS_PER_S, sim.arena, &reply, &answer, &err) == TB_OK)
			see_frames(seen, answer.frames);
		tb_answer_drop(&answer);
		if (seen->next == before)
			sim_fail("%s: event %llu of %llu durable ones is neither in the archive nor in the journal (%s)",
			         seen->engine->name, (unsigned long long)before, (unsigned long long)durable, err.text);
	}
}

static const Tb__StreamStat *stream_of(const Tb__StatReply *stat, const char *name)
{
	for (size_t i = 0; i < stat->n_streams; i++)
		if (strcmp(stat->streams[i]->name, name) == 0)
			return stat->streams[i];
	return NULL;
}

static void see_stream(tb_archive *archive, const struct sim_engine *engine, const Tb__StreamStat *stat, uint64_t *ret_durable)
{
	struct seen seen = { engine, 1 };
	uint64_t last, durable = stat != NULL ? stat->durable : 0;
	tb_err err = { 0 };
	tb_rc rc = tb_archive_events(archive, engine->name, 1, UINT64_MAX, see_archived, &seen, &last, &err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		sim_fail("the archive of %s can't be read: %s", engine->name, err.text);
	if (seen.next - 1 < engine->told_stored)
		sim_fail("%s: stored to %llu as was told, the archive has %llu", engine->name,
		         (unsigned long long)engine->told_stored, (unsigned long long)seen.next - 1);
	if (durable > engine->count || seen.next - 1 > durable)
		sim_fail("%s: durable to %llu, archived to %llu, of %llu accepted", engine->name, (unsigned long long)durable,
		         (unsigned long long)seen.next - 1, (unsigned long long)engine->count);
	see_journalled(&seen, durable);
	*ret_durable = durable;
}

/* A head comes behind its manifest: until the storer has gone on, the one before is there, or none. */
static void see_finding(void *context, const tb_finding *finding)
{
	int *unfinished = context;
	if (strncmp(finding->path, "heads/", 6) == 0)
		*unfinished = 1;
	else if (!finding->harmless)
		sim_fail("verify finds: %s %s: %s", finding->code, finding->path, finding->detail ? finding->detail : "");
}

static void see_streams(tb_archive *archive, uint64_t durable[SIM_ENGINES])
{
	Tb__StatReply *stat;
	tb_err err = { 0 };
	if (tb_bus_stat(&sim.operator, TB_NS_PER_S, sim.arena, &stat, &err) != TB_OK) {
		sim_fail("the broker says nothing: %s", err.text);
		return;
	}
	for (size_t i = 0; i < sim.engine_count && !sim.failed; i++)
		see_stream(archive, &sim.engines[i], stream_of(stat, sim.engines[i].name), &durable[i]);
}

/* ret_unfinished: the storer has something to go on with before verify can be content. */
static void open_repository(uint64_t durable[SIM_ENGINES], struct crash_times *times, uint64_t *all, int *ret_unfinished)
{
	tb_key *identity;
	tb_archive *archive;
	tb_verified verified;
	tb_err err = { 0 };
	tb_verify_options options = { .finding = see_finding, .context = ret_unfinished };
	if (access(sim_below_dir("banks/storer/data.mdb"), F_OK) == 0)
		options.catalog = sim_below_dir("banks/storer");
	if (tb_key_read(tb_disk_system(), sim_below_dir("keys/identity.key"), TB_KEY_IDENTITY, &identity, &err) != TB_OK) {
		sim_fail("the identity: %s", err.text);
		return;
	}
	uint64_t begun = cpu_ns();
	tb_rc rc = tb_archive_open(tb_disk_system(), sim_below_dir("repository"), identity, NULL, &archive, &err);
	took(begun, &times->repository_ns, all);
	if (rc == TB_OK) {
		if (tb_verify(archive, &options, &verified, &err) != TB_OK)
			sim_fail("verify can't: %s", err.text);
		see_streams(archive, durable);
		tb_archive_close(archive);
	} else {
		sim_fail("the repository doesn't open: %s", err.text);
	}
	tb_key_free(identity);
}

/* ---- outboxes, as after another boot: this one has its own copy of the file. */

static void see_outbox(const struct sim_engine *engine, tb_outbox *outbox, const tb_outbox_opened *opened)
{
	struct seen seen = { engine, opened->first };
	uint64_t cursor = 0;
	uint32_t flags;
	tb_span payload;
	tb_err err = { 0 };
	for (uint64_t number = opened->first; number <= opened->last && !sim.failed; number++)
		if (tb_outbox_read(outbox, number, &cursor, &payload, &flags, &err) == TB_OK)
			see_event(&seen, number, payload, "the outbox");
		else
			sim_fail("the outbox of %s: %s", engine->name, err.text);
	if (opened->made && engine->count > 0)
		sim_fail("the outbox of %s is gone, and %llu events had been accepted", engine->name,
		         (unsigned long long)engine->count);
	if (opened->durable > engine->told_durable || opened->stored > engine->told_stored)
		sim_fail("the outbox of %s has durable %llu and stored %llu, %llu and %llu were told", engine->name,
		         (unsigned long long)opened->durable, (unsigned long long)opened->stored,
		         (unsigned long long)engine->told_durable, (unsigned long long)engine->told_stored);
}

static void open_outbox(const struct sim_engine *engine, struct crash_times *times, uint64_t *all)
{
	tb_outbox *outbox;
	tb_outbox_opened opened;
	tb_err err = { 0 };
	uint64_t begun = cpu_ns();
	tb_rc rc = tb_outbox_open(engine->path, engine->name, 65536, boot_id, &outbox, &opened, &err);
	took(begun, &times->outbox_ns, all);
	if (rc != TB_OK) {
		sim_fail("the outbox of %s doesn't open: %s", engine->name, err.text);
		return;
	}
	see_outbox(engine, outbox, &opened);
	tb_outbox_close(outbox);
}

/* ---- until everything rests */

static void come_to_rest(void)
{
	sim.healing = 1; /* the engines stay away */
	for (int round = 1; !sim.failed; round++) {
		host_turn();
		for (size_t i = 0; i < SIM_WORKERS && !sim.failed; i++)
			worker_turn(&sim.workers[i]);
		if (round % 4 == 0 && !sim.failed && check_quiet())
			break;
		if (round > DEEP_ROUNDS) {
			sim.verbose = 1;
			check_quiet();
			sim.verbose = 0;
			sim_fail("it doesn't come to rest");
		}
		tb_arena_reset(sim.arena);
		sim.mono_ns += ROUND_NS;
		sim.real_ns += ROUND_NS;
	}
}

static void check_deep(const uint64_t durable[SIM_ENGINES])
{
	come_to_rest();
	sim_close();
	for (size_t i = 0; i < sim.engine_count; i++)
		sim.engines[i].count = durable[i];
	if (!sim.failed)
		check_all();
}

/* ---- all of it */

static void open_all(int deep, struct crash_times *times)
{
	uint64_t durable[SIM_ENGINES] = { 0 }, all = 0, begun = cpu_ns();
	host_open();
	took(begun, &times->broker_ns, &all);
	for (size_t i = 0; i < SIM_WORKERS && !sim.failed; i++) {
		begun = cpu_ns();
		worker_turn(&sim.workers[i]); /* opens it */
		took(begun, &times->bank_ns, &all);
	}
	if (!sim.failed)
		open_repository(durable, times, &all, &deep);
	for (size_t i = 0; i < sim.engine_count && !sim.failed; i++)
		open_outbox(&sim.engines[i], times, &all);
	times->all_ns = all > times->all_ns ? all : times->all_ns;
	if (deep && !sim.failed)
		check_deep(durable);
	sim_close();
}

int crash_check(const struct crash_told *told, int deep, struct crash_times *times)
{
	tb_err err = { 0 };
	recall(told);
	tb_rc rc = tb_instance_check(tb_disk_system(), sim.dir, &err);
	if (rc != TB_OK && told->made)
		sim_fail("%s", err.text);
	if (rc == TB_OK)
		open_instance();
	if (rc == TB_OK && !sim.failed)
		open_all(deep, times);
	tb_arena_reset(sim.arena);
	return !sim.failed;
}
