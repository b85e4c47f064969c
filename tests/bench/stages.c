/* How far and how fast events come, stage by stage, and what memory each process takes for it: starts an instance in a
 * directory of its own, publishes to it from this process, orders a full backup halfway, and waits until all is stored.
 *
 *   bench-stages [--file LINES] [--events N] [--keys N] [--value SIZE] [--items N] [--bin DIR] [--dir DIR] [--json]
 *
 * --file: JSON lines as `tb publish` reads them. Without it a load of its own: 70 % deltas over skewed keys, the others
 * ghosts, orbits and flips; with --value deltas alone, of values that can't be compressed, --items of them an event.
 *
 * What counts as memory says parts/processes.h; looked at each 2 ms. Exit code 1: a process took more than --bound, was restarted, or a stage's last number
 * isn't that of the last event. */
#include "banks.pb-c.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/disk.h"
#include "bus/bus.h"
#include "run/options.h"
#include "bench/parts/processes.h"
#include "store/bank.h"
#include "tb/publish.h"
#include "wire/event.h"
#include "wire/event_json.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STREAM "bench"
#define LOOK_EVERY (2 * TB_NS_PER_MS)
#define FILES_EVERY 50  /* looks */
#define STAGES_EVERY 10 /* looks */
#define PATIENCE (1800 * TB_NS_PER_S)

struct config {
	uint64_t events, keys, value, items, bound;
	char *file, *bin, *dir;
	int json, no_backup;
};

#define AT(field) offsetof(struct config, field)
static const tb_opt rows[] = {
	{ "file", 'f', TB_OPT_TEXT, AT(file), NULL, NULL, "LINES", "Events as JSON lines; else a load of its own.", 1 },
	{ "events", 'n', TB_OPT_UINT, AT(events), "1000000", "1..1000000000", "N", "Events, or at most so many lines.", 1 },
	{ "keys", 'k', TB_OPT_UINT, AT(keys), "100000", "1..1000000000", "N", "Keys of the load of its own.", 1 },
	{ "value", 'v', TB_OPT_SIZE, AT(value), "0", "0..16MiB", "SIZE", "Deltas only, with values of that size.", 1 },
	{ "items", 'i', TB_OPT_UINT, AT(items), "1", "1..65536", "N", "Deltas of an event, with --value.", 1 },
	{ "bound", 'b', TB_OPT_SIZE, AT(bound), "64MB", "1MiB..1TiB", "SIZE", "What a process may take.", 1 },
	{ "bin", 0, TB_OPT_TEXT, AT(bin), NULL, NULL, "DIR", "Where the programs lie; beside this one's directory.", 1 },
	{ "dir", 'd', TB_OPT_TEXT, AT(dir), "/tmp", NULL, "DIR", "Where the instance is made, and removed at the end.", 1 },
	{ "no-backup", 0, TB_OPT_FLAG, AT(no_backup), NULL, NULL, NULL, "No full backup halfway.", 1 },
	{ "json", 'j', TB_OPT_FLAG, AT(json), NULL, NULL, NULL, "Print JSON.", 1 },
	{ 0 },
};

enum stage { ACCEPTED, DURABLE, APPLIED, STORED, STAGES };
static const char *const stage_names[STAGES] = { "accepted", "durable", "applied", "stored" };

struct watch { /* the watching thread's, until it has ended */
	const char *dir;
	bench_processes processes;
	uint64_t begun_ns;
	_Atomic uint64_t reached[STAGES];
	uint64_t reached_ns[STAGES]; /* when that number was first seen */
	tb_bus *bus;
	tb_arena *arena;
	tb_bank *bank; /* the collector's; NULL: not there yet */
	atomic_int end;
};

struct source { /* of events, twice the same */
	const struct config *config;
	FILE *file;
	char *line;
	size_t line_room;
	uint64_t next; /* from 1 */
	tb_arena *arena;
	uint8_t *values;
};

static char instance[1024]; /* what is removed at the end */
static pid_t up_pid;

static void leave(void)
{
	if (up_pid > 0) {
		kill(up_pid, SIGTERM);
		waitpid(up_pid, NULL, 0);
	}
	up_pid = 0;
	if (instance[0] != '\0')
		tb_disk_remove_tree(tb_disk_system(), instance, NULL);
}

static void must(tb_rc rc, const tb_err *err)
{
	if (rc == TB_OK)
		return;
	fprintf(stderr, "bench-stages: %s\n", err->text);
	exit(tb_rc_exit(rc));
}

static void fail(const char *what)
{
	fprintf(stderr, "bench-stages: %s\n", what);
	exit(6);
}

static uint64_t now(void)
{
	return tb_mono_ns(tb_clock_system());
}

static void pause_ns(uint64_t ns)
{
	nanosleep(&(struct timespec){ .tv_nsec = (long)ns }, NULL);
}

static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

/* ---- events */

static void source_open(struct source *source, const struct config *config)
{
	*source = (struct source){ .config = config, .next = 1, .arena = tb_arena_new() };
	if (config->file != NULL && (source->file = fopen(config->file, "re")) == NULL)
		fail("can't open the file of events");
	source->values = config->value > 0 ? tb_alloc(config->value * config->items) : NULL;
}

static void source_drop(struct source *source)
{
	if (source->file != NULL)
		fclose(source->file);
	free(source->line);
	free(source->values);
	tb_arena_free(source->arena);
}

static int next_line(struct source *source, tb_event *ret_event)
{
	tb_err err;
	ssize_t size = getline(&source->line, &source->line_room, source->file);
	if (size <= 0)
		return 0;
	must(tb_event_from_json(tb_span_of(source->line, (size_t)size), source->arena, ret_event, &err), &err);
	return 1;
}

static tb_bytes text_of(struct source *source, const char *format, uint64_t a, uint64_t b)
{
	char *text = tb_arena_alloc(source->arena, 64);
	int size = snprintf(text, 64, format, (unsigned long long)a, (unsigned long long)b);
	return (tb_bytes){ text, (size_t)size };
}

static uint64_t skewed_key(const struct config *config, uint64_t chance)
{
	double place = (double)(chance >> 11) / 9007199254740992.0;
	return (uint64_t)(place * place * place * (double)config->keys);
}

static tb_delta large_delta(struct source *source, uint64_t item)
{
	uint64_t chance = mix(source->next * 65537 + item), size = source->config->value;
	uint8_t *value = source->values + item * size;
	for (uint64_t at = 0; at + 8 <= size; at += 8)
		tb_put64(value + at, mix(chance + at));
	return (tb_delta){ .key = text_of(source, "large|%llu", mix(chance) % source->config->keys, 0),
	                   .value = { value, size } };
}

static void make_large(struct source *source, tb_event *event)
{
	size_t count = source->config->items;
	tb_delta *items = tb_arena_alloc(source->arena, count * sizeof(*items));
	for (size_t i = 0; i < count; i++)
		items[i] = large_delta(source, i);
	tb_event_default(event, count > 1 ? TB_EVENT_DELTAS : TB_EVENT_DELTA);
	if (count > 1) {
		event->body.deltas.items = items;
		event->body.deltas.count = count;
	} else {
		event->body.delta = items[0];
	}
}

static void make_memory(tb_event *event, uint64_t chance)
{
	static const char *const pairs[] = { "BTC→ETH", "ETH→XRP", "XRP→BTC", "BTC→USDC", "USDC→ETH" };
	static const tb_event_kind kinds[] = { TB_EVENT_GHOST, TB_EVENT_ORBIT, TB_EVENT_FLIP };
	static const uint32_t phases[] = { 4, 8, 16, 32, 42 };
	const char *const *pair = &pairs[chance % 5];
	uint32_t phase = phases[chance / 5 % 5];
	tb_event_default(event, kinds[chance / 25 % 3]);
	if (event->kind == TB_EVENT_GHOST) {
		event->body.ghost.event_type = "ghost_trigger";
		event->body.ghost.trigger = "volatility";
		event->body.ghost.pair = *pair;
		event->body.ghost.bit_phase = phase;
	} else if (event->kind == TB_EVENT_ORBIT) {
		event->body.orbit.orbit_type = "orbit_cycle";
		event->body.orbit.pairs = pair;
		event->body.orbit.pair_count = 1;
		event->body.orbit.bit_phase = phase;
	} else {
		event->body.flip.flip_type = "bit_flip";
		event->body.flip.pair = *pair;
		event->body.flip.bit_phase = phase;
		event->body.flip.flip_value = chance >> 20 & ((UINT64_C(1) << phase) - 1);
	}
}

static void make_event(struct source *source, tb_event *event)
{
	uint64_t chance = mix(source->next);
	if (source->config->value > 0) {
		make_large(source, event);
	} else if (chance % 10 >= 7) {
		make_memory(event, mix(chance));
	} else {
		tb_event_default(event, TB_EVENT_DELTA);
		event->body.delta.key = text_of(source, "b|%llu.50", skewed_key(source->config, mix(chance)), 0);
		event->body.delta.value = text_of(source, "%llu.%08llu", chance >> 50, chance >> 10 & 0xffffff);
	}
	event->time_ns = UINT64_C(1700000000000000000) + source->next * 1000;
}

static int source_next(struct source *source, tb_event *ret_event)
{
	tb_arena_reset(source->arena);
	if (source->next > source->config->events || (source->file != NULL && !next_line(source, ret_event)))
		return 0;
	if (source->file == NULL)
		make_event(source, ret_event);
	source->next++;
	return 1;
}

/* How many there are, and their canonical bytes: what is published. */
static uint64_t weigh(const struct config *config, uint64_t *ret_bytes)
{
	struct source source;
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_event event;
	tb_err err;
	source_open(&source, config);
	*ret_bytes = 0;
	while (source_next(&source, &event)) {
		tb_buf_clear(&bytes);
		must(tb_event_pack(&bytes, &event, event.time_ns, NULL, &err), &err);
		*ret_bytes += bytes.size;
	}
	uint64_t count = source.next - 1;
	source_drop(&source);
	if (count == 0)
		fail("there are no events");
	return count;
}

/* ---- watching */

static void reach(struct watch *watch, enum stage stage, uint64_t number)
{
	if (number <= atomic_load(&watch->reached[stage]))
		return;
	watch->reached_ns[stage] = now();
	atomic_store(&watch->reached[stage], number);
}

static void look_at_broker(struct watch *watch)
{
	Tb__StatReply *reply;
	if (tb_bus_stat(watch->bus, TB_NS_PER_S, watch->arena, &reply, NULL) != TB_OK)
		return;
	for (size_t i = 0; i < reply->n_streams; i++) {
		if (strcmp(reply->streams[i]->name, STREAM) != 0)
			continue;
		reach(watch, DURABLE, reply->streams[i]->durable);
		reach(watch, STORED, reply->streams[i]->stored);
	}
}

/* The collector's word in stat is a second old; its bank says it at once. */
static void look_at_bank(struct watch *watch)
{
	char path[1200];
	uint8_t key[8];
	tb_txn *txn;
	tb_db db;
	tb_span value;
	snprintf(path, sizeof(path), "%s/banks/collector", watch->dir);
	if (watch->bank == NULL && tb_bank_open(path, TB_BANK_READONLY, 0, &watch->bank, NULL) != TB_OK)
		return;
	if (tb_bank_read(watch->bank, &txn, NULL) != TB_OK)
		return;
	tb_put64_be(key, tb_stream_hash(STREAM));
	if (tb_txn_db(txn, "streams", &db, NULL) == TB_OK &&
	    tb_txn_get(txn, db, tb_span_of(key, sizeof(key)), &value, NULL) == TB_OK) {
		Tb__CollectorStream *record =
			tb__collector_stream__unpack(tb_arena_allocator(watch->arena), value.size, value.data);
		if (record != NULL)
			reach(watch, APPLIED, record->applied);
	}
	tb_txn_abort(txn);
}

static void *watch_all(void *self)
{
	struct watch *watch = self;
	for (uint64_t looks = 0;; looks++) {
		int last = atomic_load(&watch->end);
		bench_look(&watch->processes, looks % FILES_EVERY == 0 || last, last);
		if (looks % STAGES_EVERY == 0 || last) {
			look_at_broker(watch);
			look_at_bank(watch);
			tb_arena_reset(watch->arena);
		}
		if (last)
			return NULL;
		pause_ns(LOOK_EVERY);
	}
}

/* ---- the run */

/* `tb VERB --dir …`; its stdout is a pipe where ret_out is given, else nowhere. */
static pid_t run_tb(const struct config *config, const char *const *args, int *ret_out)
{
	char program[1100];
	int ends[2] = { -1, -1 };
	snprintf(program, sizeof(program), "%s/tb", config->bin);
	if (ret_out != NULL && pipe2(ends, O_CLOEXEC) != 0)
		fail("there is no pipe");
	pid_t pid = fork();
	if (pid == 0) {
		dup2(ret_out != NULL ? ends[1] : open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
		execv(program, (char *const *)(uintptr_t)args);
		_exit(127);
	}
	if (ret_out != NULL) {
		close(ends[1]);
		*ret_out = ends[0];
	}
	return pid;
}

static void start(const struct config *config, const char *dir)
{
	char line[512] = "";
	int out;
	up_pid = run_tb(config, (const char *const[]){ "tb", "up", "--dir", dir, NULL }, &out);
	FILE *words = fdopen(out, "r");
	while (words != NULL && strncmp(line, "ready ", 6) != 0)
		if (fgets(line, sizeof(line), words) == NULL)
			fail("the instance doesn't start");
	/* The pipe stays open: it says more when it ends. */
}

static pid_t order_backup(const struct config *config, tb_publisher *publisher, const char *dir)
{
	tb_err err;
	must(tb_publisher_wait(publisher, 1, TB_DURABLE, PATIENCE, &err), &err);
	return run_tb(config, (const char *const[]){ "tb", "backup", "--dir", dir, "--type", "full", "--stream", STREAM,
	                                             "--wait", "--timeout", "30min", NULL }, NULL);
}

/* What the outbox has no room for is tried again. */
static void publish_one(tb_publisher *publisher, const tb_event *event, uint64_t *ret_number)
{
	tb_err err;
	tb_rc rc;
	while ((rc = tb_publish(publisher, event, ret_number, &err)) == TB_EFULL)
		pause_ns(TB_NS_PER_MS);
	must(rc, &err);
}

static void publish_all(const struct config *config, struct watch *watch, uint64_t count)
{
	struct source source;
	tb_publisher *publisher;
	tb_event event;
	tb_err err;
	char outbox[1200];
	uint64_t number = 0;
	pid_t backup = 0;
	int status = 0;
	snprintf(outbox, sizeof(outbox), "%s/outbox/" STREAM ".outbox", watch->dir);
	must(tb_publisher_open(&(tb_publisher_options){ .stream = STREAM, .outbox = outbox, .dir = watch->dir }, &publisher, &err),
	     &err);
	source_open(&source, config);
	watch->begun_ns = now();
	while (source_next(&source, &event)) {
		publish_one(publisher, &event, &number);
		if (number == (count + 1) / 2 && !config->no_backup)
			backup = order_backup(config, publisher, watch->dir);
	}
	reach(watch, ACCEPTED, number);
	must(tb_publisher_wait(publisher, 0, TB_STORED, PATIENCE, &err), &err);
	if (backup > 0 && (waitpid(backup, &status, 0) != backup || status != 0))
		fail("the backup failed");
	source_drop(&source);
	tb_publisher_close(publisher);
}

/* ---- what came of it */

static uint64_t tree_bytes;

static int add_file(const char *path, const struct stat *info, int type, struct FTW *place)
{
	(void)path;
	(void)place;
	if (type == FTW_F)
		tree_bytes += (uint64_t)info->st_size;
	return 0;
}

static uint64_t repository_bytes(const char *dir)
{
	char path[1200];
	snprintf(path, sizeof(path), "%s/repository", dir);
	tree_bytes = 0;
	nftw(path, add_file, 16, FTW_PHYS);
	return tree_bytes;
}

struct result {
	const struct config *config;
	const struct watch *watch;
	uint64_t events, bytes, stored_bytes;
};

static double rate(const struct result *result, enum stage stage)
{
	uint64_t took = result->watch->reached_ns[stage] - result->watch->begun_ns;
	return took > 0 ? (double)result->watch->reached[stage] * 1e9 / (double)took : 0;
}

static void print_table(const struct result *result)
{
	printf("%-16s %10s %10s %10s %10s   bound %.1f MB\n", "PROCESS", "PEAK MB", "anonymous", "files", "HWM",
	       (double)result->config->bound / 1e6);
	for (size_t i = 0; i < result->watch->processes.count; i++) {
		const bench_process *process = &result->watch->processes.items[i];
		printf("%-16s %10.1f %10.1f %10.1f %10.1f%s\n", process->name, (double)bench_peak(process) / 1e6,
		       (double)process->anonymous / 1e6, (double)process->files / 1e6, (double)process->hwm / 1e6,
		       bench_peak(process) > result->config->bound ? "   over the bound" : "");
	}
	printf("\n%-16s %10s %10s\n", "STAGE", "LAST", "EVENTS/S");
	for (int stage = 0; stage < STAGES; stage++)
		printf("%-16s %10llu %10.0f\n", stage_names[stage], (unsigned long long)result->watch->reached[stage],
		       rate(result, stage));
	printf("\npublished %llu events, %.3f MB; in the repository %.3f MB: %.3f of it%s\n",
	       (unsigned long long)result->events, (double)result->bytes / 1e6, (double)result->stored_bytes / 1e6,
	       (double)result->stored_bytes / (double)result->bytes, result->config->no_backup ? "" : ", a full backup included");
}

static void print_json(const struct result *result)
{
	printf("{\"events\":%llu,\"published_bytes\":%llu,\"stored_bytes\":%llu,\"bound\":%llu,\"processes\":[",
	       (unsigned long long)result->events, (unsigned long long)result->bytes,
	       (unsigned long long)result->stored_bytes, (unsigned long long)result->config->bound);
	for (size_t i = 0; i < result->watch->processes.count; i++) {
		const bench_process *process = &result->watch->processes.items[i];
		printf("%s{\"name\":\"%s\",\"peak\":%llu,\"anonymous\":%llu,\"files\":%llu,\"hwm\":%llu}", i ? "," : "",
		       process->name, (unsigned long long)bench_peak(process), (unsigned long long)process->anonymous,
		       (unsigned long long)process->files, (unsigned long long)process->hwm);
	}
	printf("],\"stages\":{");
	for (int stage = 0; stage < STAGES; stage++)
		printf("%s\"%s\":{\"last\":%llu,\"events_per_second\":%.0f}", stage ? "," : "", stage_names[stage],
		       (unsigned long long)result->watch->reached[stage], rate(result, stage));
	printf("}}\n");
}

static int judge(const struct result *result)
{
	int good = bench_all_alive(&result->watch->processes);
	if (!good)
		fprintf(stderr, "bench-stages: a process ended before its time\n");
	for (size_t i = 0; i < result->watch->processes.count; i++)
		good &= bench_peak(&result->watch->processes.items[i]) <= result->config->bound;
	for (int stage = 0; stage < STAGES; stage++)
		good &= result->watch->reached[stage] == result->events;
	return good;
}

static void default_bin(struct config *config)
{
	char path[1024];
	ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (config->bin != NULL || size <= 0)
		return;
	path[size] = '\0';
	*strrchr(path, '/') = '\0';
	tb_auto(tb_buf_drop) tb_buf bin = { 0 };
	tb_buf_print(&bin, "%s/../bin", path);
	config->bin = tb_strdup(tb_buf_text(&bin));
}

static void run(const struct config *config, struct result *result)
{
	static struct watch watch;
	pthread_t thread;
	tb_err err;
	tb_auto(tb_buf_drop) tb_buf url = { 0 };
	char dir[1040];
	snprintf(dir, sizeof(dir), "%s/tb", instance);
	*result = (struct result){ .config = config, .watch = &watch };
	result->events = weigh(config, &result->bytes);
	start(config, dir);
	watch.dir = dir;
	watch.arena = tb_arena_new();
	must(tb_bus_address(dir, "broker", &url, &err), &err);
	must(tb_bus_dial(tb_buf_text(&url), -1, &watch.bus, &err), &err);
	if (!bench_find(&watch.processes, up_pid))
		fail("not all of the instance's processes were found");
	pthread_create(&thread, NULL, watch_all, &watch);
	publish_all(config, &watch, result->events);
	atomic_store(&watch.end, 1);
	pthread_join(thread, NULL);
	tb_bus_close(watch.bus);
	tb_bank_close(watch.bank);
	tb_arena_free(watch.arena);
	result->stored_bytes = repository_bytes(dir);
}

int main(int argc, char **argv)
{
	struct config config;
	struct result result;
	tb_options options;
	tb_err err;
	int operands;
	tb_options_init(&options, rows, &config);
	must(tb_options_args(&options, argc, argv, &operands, &err), &err);
	default_bin(&config);
	snprintf(instance, sizeof(instance), "%s/tb-bench-XXXXXX", config.dir);
	if (mkdtemp(instance) == NULL) {
		instance[0] = '\0';
		fail("can't make a directory for the instance");
	}
	atexit(leave);
	run(&config, &result);
	if (config.json)
		print_json(&result);
	else
		print_table(&result);
	int good = judge(&result);
	tb_options_drop(&options);
	return good ? 0 : 1;
}
