/* What has to be true in the end. */
#include "sim.h"

#include "banks.pb-c.h"
#include "base/bytes.h"
#include "signals.pb-c.h"
#include "store/archive.h"
#include "store/instance.h"
#include "store/verify.h"
#include "tb/restore.h"
#include "wire/event.h"

#include <stdio.h>
#include <stdlib.h>

#define SIGNALS "tb.signals"
#define RESTORES 4

/* ---- at rest */

static const Tb__StreamStat *stat_of(const Tb__StatReply *stat, const char *name)
{
	for (size_t i = 0; i < stat->n_streams; i++)
		if (strcmp(stat->streams[i]->name, name) == 0)
			return stat->streams[i];
	return NULL;
}

static int engine_rests(const struct sim_engine *engine, const Tb__StatReply *stat)
{
	const Tb__StreamStat *stream = stat_of(stat, engine->name);
	tb_pump_figures figures;
	if (engine->count == 0 || (engine->pump == NULL && sim.recorded)) /* one that stays away */
		return 1;
	if (engine->pump == NULL || stream == NULL)
		return 0;
	tb_pump_figures_get(engine->pump, &figures);
	uint64_t last = engine->struck ? tb_outbox_last(engine->outbox) : engine->count;
	if (figures.durable == last && stream->durable == last && stream->stored == last)
		return 1;
	sim_say("%s: %llu accepted, durable %llu in the broker and %llu in the publisher, cut to %llu, stored to %llu; %llu "
	        "frames on their way, %s",
	        engine->name, (unsigned long long)engine->count, (unsigned long long)stream->durable,
	        (unsigned long long)figures.durable, (unsigned long long)stream->cut, (unsigned long long)stream->stored,
	        (unsigned long long)figures.frames_unconfirmed, figures.granted ? "granted" : "not granted");
	return 0;
}

int check_quiet(void)
{
	Tb__StatReply *stat;
	tb_err err = { 0 };
	if (tb_bus_stat(&sim.operator, TB_NS_PER_S, sim.arena, &stat, &err) != TB_OK)
		sim_say("not at rest: %s", err.text);
	else if (sim.order_open)
		sim_say("not at rest: an order is open");
	if (sim.order_open || err.rc != TB_OK)
		return 0;
	for (size_t i = 0; i < sim.engine_count; i++)
		if (!engine_rests(&sim.engines[i], stat))
			return 0;
	for (size_t i = 0; i < stat->n_streams; i++)
		if (stat->streams[i]->stored != stat->streams[i]->durable || stat->streams[i]->backup_running[0] != '\0') {
			sim_say("not at rest: %s, durable %llu, stored %llu, backup %s", stat->streams[i]->name,
			        (unsigned long long)stat->streams[i]->durable, (unsigned long long)stat->streams[i]->stored,
			        stat->streams[i]->backup_running);
			return 0;
		}
	for (size_t i = 0; i < stat->n_groups; i++)
		if (stat->groups[i]->open > 0 || stat->groups[i]->volatile_frames > 0) {
			sim_say("not at rest: group %u, %llu frames open", stat->groups[i]->group,
			        (unsigned long long)stat->groups[i]->open);
			return 0;
		}
	if (stat->journal_bytes > stat->journal_limit)
		sim_fail("the journal has %llu bytes; its limit is %llu", (unsigned long long)stat->journal_bytes,
		         (unsigned long long)stat->journal_limit);
	for (size_t i = 0; i < stat->n_groups; i++)
		if (stat->groups[i]->rejected > 0)
			sim_fail("%llu frames of group %u were rejected", (unsigned long long)stat->groups[i]->rejected,
			         stat->groups[i]->group);
	return 1;
}

/* ---- the archive */

struct walk {
	const struct sim_engine *engine;
	uint64_t next;
	uint64_t at; /* how many of the accepted events are behind it */
	uint64_t ready[SIM_ORDERS]; /* records of each order, of tb.signals */
};

static tb_rc see_event(void *context, const tb_archived_event *event, tb_err *err)
{
	struct walk *walk = context;
	const struct sim_engine *engine = walk->engine;
	(void)err;
	if (event->number != walk->next)
		sim_fail("the archive of %s has event %llu where %llu comes next", engine->name,
		         (unsigned long long)event->number, (unsigned long long)walk->next);
	else if (event->number > engine->count)
		sim_fail("the archive of %s has event %llu, which was never accepted", engine->name,
		         (unsigned long long)event->number);
	uint64_t check = tb_check64(event->canonical.data, event->canonical.size);
	while (walk->at < engine->count && engine->events[walk->at].may_be_lost && engine->events[walk->at].check != check)
		walk->at++;
	if (!sim.failed && (walk->at == engine->count || engine->events[walk->at].check != check))
		sim_fail("event %llu of %s isn't the one that was accepted", (unsigned long long)event->number, engine->name);
	if (sim.failed)
		return TB_EREFUSED;
	engine->order[walk->next++ - 1] = walk->at++;
	return TB_OK;
}

static size_t order_find(const char *id)
{
	size_t i = 0;
	while (i < sim.order_count && strcmp(sim.orders[i].id, id) != 0)
		i++;
	return i;
}

static Tb__BackupReady *read_ready(tb_span record)
{
	return tb__backup_ready__unpack(tb_arena_allocator(sim.arena), record.size, record.data);
}

static tb_rc see_signal(void *context, const tb_archived_event *event, tb_err *err)
{
	struct walk *walk = context;
	tb_event unpacked;
	tb_rc rc = tb_event_unpack(event->canonical, sim.arena, &unpacked, err);
	if (rc != TB_OK || unpacked.kind != TB_EVENT_SIGNAL)
		return rc;
	Tb__BackupReady *ready = read_ready(tb_span_of(unpacked.body.signal.record.data, unpacked.body.signal.record.size));
	size_t order = ready != NULL ? order_find(ready->backup) : SIM_ORDERS;
	if (order >= sim.order_count || ready->number != event->number)
		sim_fail("event %llu of " SIGNALS " tells of a backup that nobody ordered, or under another number",
		         (unsigned long long)event->number);
	else
		walk->ready[order]++;
	return TB_OK;
}

static void check_count(uint64_t count, const struct sim_order *order, const char *where)
{
	if (count > 1 || (order->given && count != 1 && !sim.lied))
		sim_fail("backup %s of %s has %llu records in %s", order->id, order->engine->name, (unsigned long long)count,
		         where);
}

static void check_signals(tb_archive *archive)
{
	struct walk walk = { .next = 1 };
	uint64_t last;
	tb_err err = { 0 };
	int any = 0;
	for (size_t i = 0; i < sim.order_count; i++)
		any |= sim.orders[i].given;
	tb_rc rc = any ? tb_archive_events(archive, SIGNALS, 1, UINT64_MAX, see_signal, &walk, &last, &err) : TB_OK;
	if (rc != TB_OK && !(rc == TB_ENOTFOUND && sim.lied))
		sim_fail(SIGNALS " can't be read: %s", err.text);
	for (size_t i = 0; i < sim.order_count; i++)
		check_count(walk.ready[i], &sim.orders[i], SIGNALS);
}

static void check_signal_bank(void)
{
	uint64_t counts[SIM_ORDERS] = { 0 };
	tb_bank *bank;
	tb_txn *txn;
	tb_db db;
	tb_cursor *cursor;
	tb_err err = { 0 };
	tb_span key, value;
	tb_rc rc = tb_bank_open(sim.workers[SIM_SIGNAL].bank, TB_BANK_WRITER | TB_BANK_SCRATCH, 0, &bank, &err);
	if (rc != TB_OK || tb_bank_write(bank, &txn, &err) != TB_OK) {
		sim_fail("the signal's bank doesn't open: %s", err.text);
		return;
	}
	rc = tb_txn_db(txn, "signals", &db, &err);
	if (rc == TB_OK)
		rc = tb_cursor_open(txn, db, &cursor, &err);
	if (rc == TB_OK) {
		rc = tb_cursor_seek(cursor, (tb_span){ 0 }, &key, &value, &err);
		for (; rc == TB_OK; rc = tb_cursor_next(cursor, &key, &value, &err)) {
			Tb__SignalRecord *record =
				tb__signal_record__unpack(tb_arena_allocator(sim.arena), value.size, value.data);
			Tb__BackupReady *ready = record ? read_ready(tb_span_of(record->ready.data, record->ready.len)) : NULL;
			size_t order = ready != NULL ? order_find(ready->backup) : SIM_ORDERS;
			if (order < sim.order_count)
				counts[order]++;
			else
				sim_fail("the signal's bank has a record of a backup that nobody ordered");
		}
		tb_cursor_close(cursor);
	}
	tb_txn_abort(txn);
	tb_bank_close(bank);
	if (rc != TB_ENOTFOUND)
		sim_fail("the signal's bank can't be read: %s", err.text);
	for (size_t i = 0; i < sim.order_count; i++)
		check_count(counts[i], &sim.orders[i], "the signal's bank");
}

static void see_finding(void *context, const tb_finding *finding)
{
	(void)context;
	if (!finding->harmless)
		sim_fail("verify finds: %s %s: %s", finding->code, finding->path, finding->detail ? finding->detail : "");
}

static void check_verify(tb_archive *archive)
{
	tb_verified verified;
	tb_err err = { 0 };
	tb_verify_options options = { .full = 1, .catalog = sim_below_dir("banks/storer"), .finding = see_finding };
	if (tb_verify(archive, &options, &verified, &err) != TB_OK)
		sim_fail("verify can't: %s", err.text);
	else if (verified.findings > 0)
		sim_fail("verify finds damage %llu times", (unsigned long long)verified.findings);
}

/* ---- restores */

static void restore(const struct sim_engine *engine, const char *backup, uint64_t to)
{
	tb_restored restored;
	tb_err err = { 0 };
	uint8_t digest[32];
	uint64_t keys;
	char repository[128], identity[128];
	snprintf(repository, sizeof(repository), "%s", sim_below_dir("repository"));
	snprintf(identity, sizeof(identity), "%s", sim_below_dir("keys/identity.key"));
	tb_restore_options options = {
		.repository = repository, .identity = identity, .stream = engine->name, .event = to, .backup = backup,
		.moment = backup != NULL ? TB_AT_BACKUP : TB_AT_EVENT, .target = "null:", .scratch = sim.dir,
	};
	sim.counts[SIM_RESTORES]++;
	if (tb_restore(&options, &restored, &err) != TB_OK) {
		sim_fail("%s can't be restored to %s %llu: %s", engine->name, backup ? backup : "event", (unsigned long long)to,
		         err.text);
		return;
	}
	model_digest(engine, restored.event, digest, &keys);
	if (restored.keys != keys || memcmp(digest, restored.digest, sizeof(digest)) != 0)
		sim_fail("%s restored to event %llu from %s has %llu keys and another state than the model's %llu keys", engine->name,
		         (unsigned long long)restored.event, restored.backup[0] ? restored.backup : "its first event",
		         (unsigned long long)restored.keys, (unsigned long long)keys);
	if (restored.passed_over[0] != '\0')
		sim_fail("%s was restored without %s", engine->name, restored.passed_over);
}

static void check_engine(tb_archive *archive, struct sim_engine *engine)
{
	engine->order = tb_alloc_zero(engine->count + 1, sizeof(*engine->order));
	struct walk walk = { .engine = engine, .next = 1 };
	uint64_t last;
	tb_err err = { 0 };
	tb_rc rc = tb_archive_events(archive, engine->name, 1, UINT64_MAX, see_event, &walk, &last, &err);
	if (rc == TB_ENOTFOUND && (sim.lied || engine->struck))
		rc = TB_OK; /* nothing of it came so far, or is left */
	if (rc != TB_OK)
		sim_fail("the archive of %s can't be read: %s", engine->name, err.text);
	while (walk.at < engine->count && engine->events[walk.at].may_be_lost)
		walk.at++;
	if (rc == TB_OK && walk.at != engine->count && !sim.lied)
		sim_fail("the archive of %s ends at event %llu of %llu", engine->name, (unsigned long long)walk.next - 1,
		         (unsigned long long)engine->count);
	uint64_t stored = walk.next - 1;
	for (int i = 0; i < RESTORES && stored > 0 && !sim.failed; i++)
		restore(engine, NULL, i == 0 ? stored : sim_below(stored) + 1);
	for (size_t i = 0; i < sim.order_count && !sim.failed; i++)
		if (sim.orders[i].engine == engine && sim.orders[i].given && !sim.lied && sim_below(2))
			restore(engine, sim.orders[i].id, 0);
}

void check_all(void)
{
	tb_key *identity;
	tb_archive *archive;
	tb_err err = { 0 };
	tb_rc rc = tb_key_read(tb_disk_system(), sim_below_dir("keys/identity.key"), TB_KEY_IDENTITY, &identity, &err);
	if (rc == TB_OK)
		rc = tb_archive_open(tb_disk_system(), sim_below_dir("repository"), identity, NULL, &archive, &err);
	if (rc != TB_OK) {
		sim_fail("the repository doesn't open: %s", err.text);
		return;
	}
	check_verify(archive);
	for (size_t i = 0; i < sim.engine_count && !sim.failed; i++)
		if (sim.engines[i].count > 0)
			check_engine(archive, &sim.engines[i]);
	if (!sim.failed)
		check_signals(archive);
	if (!sim.failed)
		check_signal_bank();
	tb_archive_close(archive);
	tb_key_free(identity);
}
