/* What the three engines share: their command line, a publisher, and a copy of their own of the state they publish.
 *
 * An engine's life:   engine_open → engine_put, engine_delete, engine_publish … → engine_close
 * The copy is there for one purpose: at checkpoints its digest goes to a file, so that what a restore gives can be held
 * against what the engine itself held at that event. */
#ifndef EXAMPLES_ENGINE_H
#define EXAMPLES_ENGINE_H

#include "market.h"

#include "tb/events.h"
#include "tb/publish.h"

#include <argp.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ENGINE_KEYS_MAX 64
#define ENGINE_KEY_SIZE 64
#define ENGINE_VALUE_SIZE 160
#define ENGINE_CHECKPOINTS 10 /* in a run */
#define ENGINE_SECOND UINT64_C(1000000000)
#define ENGINE_PATIENCE (60 * ENGINE_SECOND) /* with a broker that is away */

typedef struct engine_entry {
	char key[ENGINE_KEY_SIZE], value[ENGINE_VALUE_SIZE];
} engine_entry;

typedef struct engine {
	const char *name;
	const char *dir, *checkpoints_path; /* from the command line */
	uint64_t seed, events, rate;
	tb_publisher *publisher;
	market market;
	FILE *checkpoints;
	engine_entry entries[ENGINE_KEYS_MAX]; /* sorted by key */
	size_t entry_count;
	uint64_t published, first, last, time_ns, started_ns;
} engine;

static volatile sig_atomic_t engine_stop;

static void engine_stopped(int signo)
{
	(void)signo;
	engine_stop = 1;
}

static inline uint64_t engine_clock(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * ENGINE_SECOND + (uint64_t)now.tv_nsec;
}

static inline _Noreturn void engine_fail(const engine *self, const char *what, const tb_err *err)
{
	fprintf(stderr, "%s-engine: %s: %s\n", self->name, what, err->text);
	if (*err->hint != '\0')
		fprintf(stderr, "hint: %s\n", err->hint);
	exit(tb_rc_exit(err->rc));
}

/* ---- the command line */

static inline error_t engine_option(int key, char *text, struct argp_state *state)
{
	engine *self = state->input;
	uint64_t *number = key == 's' ? &self->seed : key == 'e' ? &self->events : key == 'r' ? &self->rate : NULL;
	char *end;
	if (key == 'd')
		self->dir = text;
	else if (key == 'c')
		self->checkpoints_path = text;
	else if (key == ARGP_KEY_END && self->dir == NULL)
		argp_error(state, "--dir DIR is missing");
	else if (number == NULL)
		return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
	else if (*number = strtoull(text, &end, 10), *text < '0' || *text > '9' || *end != '\0')
		argp_error(state, "'%s' is not a whole number", text);
	return 0;
}

static inline void engine_read_args(engine *self, int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "dir", 'd', "DIR", 0, "The instance's directory, where the broker runs", 0 },
		{ "seed", 's', "N", 0, "Of the market: the same seed gives the same events (1)", 0 },
		{ "events", 'e', "N", 0, "Publish about so many, changes of state included (1000)", 0 },
		{ "rate", 'r', "N", 0, "Events a second; 0: as fast as it goes (0)", 0 },
		{ "checkpoints", 'c', "FILE", 0, "Write digests of the state here, a JSON line each", 0 },
		{ 0 },
	};
	static const char doc[] = "Trades on a market that doesn't exist; publishes what happens and what changes.";
	const struct argp argp = { .options = options, .parser = engine_option, .doc = doc };
	argp_parse(&argp, argc, argv, 0, NULL, self);
}

/* ---- publishing */

static inline void engine_pace(const engine *self)
{
	uint64_t due = self->started_ns + (self->rate ? self->published * ENGINE_SECOND / self->rate : 0);
	struct timespec until = { .tv_sec = (time_t)(due / ENGINE_SECOND), .tv_nsec = (long)(due % ENGINE_SECOND) };
	if (self->rate != 0)
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* Times never stand still, so that each event can be asked for by its own. */
static inline void engine_publish(engine *self, tb_event *event)
{
	uint64_t now = engine_clock(CLOCK_REALTIME);
	tb_err err;
	tb_rc rc;
	engine_pace(self);
	self->time_ns = now > self->time_ns ? now : self->time_ns + 1;
	event->time_ns = self->time_ns;
	event->mode = "paper";
	event->source = self->name;
	/* A full outbox took nothing: the broker is away or behind. Wait until what is in there is durable, try again. */
	while ((rc = tb_publish(self->publisher, event, &self->last, &err)) == TB_EFULL)
		if (tb_publisher_wait(self->publisher, 0, TB_DURABLE, ENGINE_PATIENCE, &err) != TB_OK)
			engine_fail(self, "can't publish", &err);
	if (rc != TB_OK)
		engine_fail(self, "can't publish", &err);
	if (self->published++ == 0)
		self->first = self->last;
}

/* ---- state: published as deltas, and kept */

/* The place of key, or where it would be. */
static inline size_t engine_find(const engine *self, const char *key, int *ret_found)
{
	size_t at = 0;
	while (at < self->entry_count && strcmp(self->entries[at].key, key) < 0)
		at++;
	*ret_found = at < self->entry_count && strcmp(self->entries[at].key, key) == 0;
	return at;
}

static inline void engine_put(engine *self, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static inline void engine_put(engine *self, const char *key, const char *format, ...)
{
	int found;
	size_t at = engine_find(self, key, &found);
	engine_entry *entry = &self->entries[at];
	if (!found && self->entry_count == ENGINE_KEYS_MAX)
		abort();
	if (!found) {
		memmove(entry + 1, entry, (self->entry_count++ - at) * sizeof(*entry));
		snprintf(entry->key, sizeof(entry->key), "%s", key);
	}
	va_list args;
	va_start(args, format);
	vsnprintf(entry->value, sizeof(entry->value), format, args);
	va_end(args);
	tb_event event;
	tb_event_default(&event, TB_EVENT_DELTA);
	event.body.delta.key = (tb_bytes){ entry->key, strlen(entry->key) };
	event.body.delta.value = (tb_bytes){ entry->value, strlen(entry->value) };
	engine_publish(self, &event);
}

static inline void engine_delete(engine *self, const char *key)
{
	int found;
	size_t at = engine_find(self, key, &found);
	engine_entry *entry = &self->entries[at];
	if (found)
		memmove(entry, entry + 1, (--self->entry_count - at) * sizeof(*entry));
	tb_event event;
	tb_event_default(&event, TB_EVENT_DELTA);
	event.body.delta.key = (tb_bytes){ key, strlen(key) };
	event.body.delta.remove = 1;
	engine_publish(self, &event);
}

/* SHA-256 over key, '=', value, '\n' in byte order of the keys, as hex. */
static inline void engine_digest(const engine *self, char out[65])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *sha = EVP_MD_CTX_new();
	EVP_DigestInit_ex(sha, EVP_sha256(), NULL);
	for (size_t i = 0; i < self->entry_count; i++) {
		const engine_entry *entry = &self->entries[i];
		EVP_DigestUpdate(sha, entry->key, strlen(entry->key));
		EVP_DigestUpdate(sha, "=", 1);
		EVP_DigestUpdate(sha, entry->value, strlen(entry->value));
		EVP_DigestUpdate(sha, "\n", 1);
	}
	EVP_DigestFinal_ex(sha, digest, NULL);
	EVP_MD_CTX_free(sha);
	for (int i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static inline void engine_checkpoint(const engine *self)
{
	char digest[65];
	if (self->checkpoints == NULL)
		return;
	engine_digest(self, digest);
	fprintf(self->checkpoints, "{\"event\":%" PRIu64 ",\"time_ns\":%" PRIu64 ",\"keys\":%zu,\"sha256\":\"%s\"}\n",
	        self->last, self->time_ns, self->entry_count, digest);
	fflush(self->checkpoints);
}

/* ---- its life */

static inline void engine_open(engine *self, int argc, char **argv)
{
	tb_err err;
	self->seed = 1;
	self->events = 1000;
	engine_read_args(self, argc, argv);
	market_init(&self->market, self->seed);
	if (self->checkpoints_path && (self->checkpoints = fopen(self->checkpoints_path, "w")) == NULL) {
		perror(self->checkpoints_path);
		exit(6);
	}
	signal(SIGINT, engine_stopped);
	signal(SIGTERM, engine_stopped);
	const tb_publisher_options options = { .stream = self->name, .dir = self->dir };
	if (tb_publisher_open(&options, &self->publisher, &err) != TB_OK)
		engine_fail(self, "can't open its stream", &err);
	self->started_ns = engine_clock(CLOCK_MONOTONIC);
}

/* Is there more to do? Between two steps everything that belongs together is published: the moment for a checkpoint. */
static inline int engine_goes_on(engine *self)
{
	static uint64_t next;
	int ends = engine_stop || self->published >= self->events;
	if (ends || self->published >= next) {
		engine_checkpoint(self);
		next += self->events / ENGINE_CHECKPOINTS + 1;
	}
	return !ends;
}

/* Closing early would lose nothing either: what isn't durable yet goes out at the next opening. */
static inline int engine_close(engine *self)
{
	char digest[65];
	tb_err err;
	if (tb_publisher_wait(self->publisher, 0, TB_DURABLE, ENGINE_PATIENCE, &err) != TB_OK)
		engine_fail(self, "can't make sure that all is durable", &err);
	tb_publisher_close(self->publisher);
	if (self->checkpoints != NULL && fclose(self->checkpoints) != 0) {
		perror(self->checkpoints_path);
		return 6;
	}
	double seconds = (double)(engine_clock(CLOCK_MONOTONIC) - self->started_ns) / (double)ENGINE_SECOND;
	engine_digest(self, digest);
	printf("{\"engine\":\"%s\",\"published\":%" PRIu64 ",\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"keys\":%zu,"
	       "\"sha256\":\"%s\",\"seconds\":%.3f}\n",
	       self->name, self->published, self->first, self->last, self->entry_count, digest, seconds);
	return 0;
}

#endif
