/* Everything together, in one thread, with everything going wrong. TB_SEEDS=n runs n of them, TB_SEED=n that one. */
#include "sim_world.h"

#include "tb/restore.h"

#include <openssl/sha.h>

static int archived_is_published(const char *stream, uint64_t last);

struct reading {
	uint64_t next;
};

static tb_rc see_event(void *context, const tb_archived_event *event, tb_err *err)
{
	struct reading *reading = context;
	tb_auto(tb_buf_drop) tb_buf body = { 0 };
	(void)err;
	cr_assert_eq(event->number, reading->next++);
	pack_event(&body, event->number);
	tb_span rest = tb_buf_span(&body), canonical;
	cr_assert_eq(tb_events_next(&rest, &canonical), 1);
	cr_assert(tb_span_equal(canonical, event->canonical), "event %llu", (unsigned long long)event->number);
	cr_assert_eq(event->rejected, kind_of(event->number) == BROKEN);
	cr_assert_eq(event->effective_ns, model_effective(event->number));
	return TB_OK;
}

static tb_archive *open_archive(void)
{
	tb_key *identity;
	tb_archive *archive;
	must(tb_key_read(&world.disk, below("keys/identity.key"), TB_KEY_IDENTITY, &identity, &world.err));
	must(tb_archive_open(&world.disk, below("repository"), identity, NULL, &archive, &world.err));
	tb_key_free(identity);
	return archive;
}

static int archived_is_published(const char *stream, uint64_t last)
{
	struct reading reading = { .next = 1 };
	uint64_t seen = 0;
	tb_archive *archive = open_archive();
	must(tb_archive_events(archive, stream, 1, UINT64_MAX, see_event, &reading, &seen, &world.err));
	tb_archive_close(archive);
	return seen == last;
}

static void model_digest(uint64_t at, uint8_t ret_digest[32])
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 }, value = { 0 };
	for (unsigned i = 0; i < KEYS; i++) {
		char key[16];
		snprintf(key, sizeof(key), "key:%02u", i);
		uint64_t number = model_put(key, at);
		if (number == 0)
			continue;
		value_of(number, &value);
		tb_buf_print(&text, "%s=", key);
		tb_buf_append_span(&text, tb_buf_span(&value));
		tb_buf_byte(&text, '\n');
	}
	SHA256(text.data, text.size, ret_digest);
}

static void check_restored(tb_restore_options *options, const char *stream)
{
	tb_restored restored;
	uint8_t digest[32];
	options->repository = below("repository");
	options->identity = below("keys/identity.key");
	options->catalog = below("banks/storer");
	options->stream = stream;
	options->target = "null:";
	options->scratch = world.dir;
	must(tb_restore(options, &restored, &world.err));
	model_digest(restored.event, digest);
	cr_assert_eq(memcmp(restored.digest, digest, 32), 0, "seed %llu: stream %s at event %llu, from %s",
	             (unsigned long long)world.seed, stream, (unsigned long long)restored.event, restored.backup);
}

static void see_finding(void *context, const tb_finding *finding)
{
	(void)context;
	if (!finding->harmless)
		fprintf(stderr, "%s %s: %s\n", finding->code, finding->path, finding->detail);
}

static void check_verified(void)
{
	tb_verified verified;
	tb_archive *archive = open_archive();
	tb_verify_options options = { .full = 1, .catalog = below("banks/storer"), .finding = see_finding };
	must(tb_verify(archive, &options, &verified, &world.err));
	cr_assert_eq(verified.findings, 0, "seed %llu", (unsigned long long)world.seed);
	tb_archive_close(archive);
}

/* Each backup once in tb.signals. */
struct signals {
	unsigned seen[BACKUPS_MAX];
	uint64_t count;
};

static tb_rc see_signal(void *context, const tb_archived_event *event, tb_err *err)
{
	struct signals *signals = context;
	tb_event read;
	tb_arena *arena = tb_arena_new();
	(void)err;
	must(tb_event_check(event->canonical, arena, &read, NULL, &world.err));
	Tb__BackupReady *ready =
		tb__backup_ready__unpack(tb_arena_allocator(arena), read.body.signal.record.size, read.body.signal.record.data);
	cr_assert_not_null(ready);
	cr_assert_eq(ready->number, event->number);
	for (size_t i = 0; i < world.backup_count; i++)
		signals->seen[i] += strcmp(world.backups[i].id, ready->backup) == 0;
	signals->count++;
	tb_arena_free(arena);
	return TB_OK;
}

static void check_signals(void)
{
	struct signals signals = { 0 };
	uint64_t last;
	if (world.backup_count == 0)
		return;
	tb_archive *archive = open_archive();
	must(tb_archive_events(archive, "tb.signals", 1, UINT64_MAX, see_signal, &signals, &last, &world.err));
	tb_archive_close(archive);
	cr_assert_eq(signals.count, world.backup_count, "seed %llu: %llu signals of %zu backups",
	             (unsigned long long)world.seed, (unsigned long long)signals.count, world.backup_count);
	for (size_t i = 0; i < world.backup_count; i++)
		cr_assert_eq(signals.seen[i], 1, "seed %llu: backup %s", (unsigned long long)world.seed, world.backups[i].id);
}

static void check_all(void)
{
	const Tb__StatReply *stat = stat_broker();
	uint64_t durable[STREAMS] = { 0 };
	for (size_t i = 0; i < stat->n_groups; i++)
		cr_assert_eq(stat->groups[i]->rejected, 0, "seed %llu", (unsigned long long)world.seed);
	for (size_t i = 0; i < STREAMS; i++)
		for (size_t j = 0; j < stat->n_streams; j++)
			if (strcmp(stat->streams[j]->name, world.engines[i].stream) == 0)
				durable[i] = stat->streams[j]->durable;
	for (size_t i = 0; i < PROCESSES; i++)
		process_kill(&world.processes[i]); /* the catalog is read by others */
	for (size_t i = 0; i < STREAMS; i++) {
		if (durable[i] == 0)
			continue;
		const char *stream = world.engines[i].stream;
		cr_assert(archived_is_published(stream, durable[i]), "seed %llu", (unsigned long long)world.seed);
		check_restored(&(tb_restore_options){ .moment = TB_AT_LATEST }, stream);
		for (int n = 0; n < 4; n++)
			check_restored(&(tb_restore_options){ .moment = TB_AT_EVENT, .event = chance(durable[i] + 1) }, stream);
	}
	for (size_t i = 0; i < world.backup_count; i++)
		check_restored(&(tb_restore_options){ .moment = TB_AT_BACKUP, .backup = world.backups[i].id },
		               world.backups[i].stream);
	check_verified();
	check_signals();
}

static void live(uint64_t seed, unsigned trouble, unsigned steps)
{
	world_begin(seed);
	world.trouble = trouble;
	large_every = 4;
	large_size = 60000;
	for (unsigned i = 0; i < steps; i++)
		world_step();
	world_settle();
	check_all();
	world_end();
	fail_on_leaks();
}

static uint64_t number_of(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);
	return text != NULL ? strtoull(text, NULL, 10) : fallback;
}

Test(pipeline, without_trouble_everything_comes_to_be_stored_and_restores)
{
	live(number_of("TB_SEED", 1), 0, 600);
}

Test(pipeline, whoever_dies_and_whatever_is_lost_everything_comes_to_be_stored_once_and_restores, .timeout = 200)
{
	uint64_t one = number_of("TB_SEED", 0), count = number_of("TB_SEEDS", 12);
	for (uint64_t seed = 1; one == 0 && seed <= count; seed++)
		live(seed, 1 + (unsigned)(seed % 8) * 5, 800);
	if (one != 0)
		live(one, 1 + (unsigned)(one % 8) * 5, 800);
}
