/* tb events: first what is archived, then what the journal still holds. */
#include "workers/tb/events.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AT(field) offsetof(struct events_options, field)
const tb_opt tb_events_rows[] = {
	{ "stream", 's', TB_OPT_TEXT, AT(stream), NULL, NULL, "S", "The stream.", 1 },
	{ "from", 0, TB_OPT_UINT, AT(from), "1", NULL, "N", "The first event.", 1 },
	{ "to", 0, TB_OPT_UINT, AT(to), NULL, NULL, "N", "The last event; without it the newest one.", 1 },
	{ "kind", 'k', TB_OPT_TEXT, AT(kind), NULL, NULL, "K", "Only events of that kind, such as ghost or delta.", 1 },
	{ "pair", 'p', TB_OPT_TEXT, AT(pair), NULL, NULL, "P", "Only events of that pair, such as BTC->ETH.", 1 },
	{ "hash", 0, TB_OPT_TEXT, AT(hash), NULL, NULL, "H", "Events of that backup_hash, of any stream if none is named.", 1 },
	{ "limit", 'n', TB_OPT_UINT, AT(limit), NULL, NULL, "N", "Stop after so many.", 1 },
	{ "canonical", 0, TB_OPT_FLAG, AT(canonical), NULL, NULL, NULL,
	  "With --json: also each event's canonical bytes, whose SHA-256 is its backup_hash.", 1 },
	{ "repo", 0, TB_OPT_TEXT, AT(repo), NULL, NULL, "R", "The repository, instead of the instance's.", 1 },
	{ "key", 0, TB_OPT_TEXT, AT(key), NULL, NULL, "FILE", "The identity or recovery kit, instead of the instance's.",
	  1 },
	{ 0 },
};

struct reading {
	const tb_call *call;
	const struct events_options *options;
	tb_archived_event_fn each;
	void *context;
	tb_archive *archive;
	tb_bus *bus; /* NULL: no broker answers */
	tb_arena *arena;
	uint64_t next, to;
	int known; /* the stream is, to archive or broker */
};

static tb_rc read_archive(struct reading *reading, tb_err *err)
{
	uint64_t last;
	tb_rc rc = tb_archive_events(reading->archive, reading->options->stream, reading->next, reading->to, reading->each,
	                             reading->context, &last, err);
	if (rc == TB_ENOTFOUND)
		return TB_OK; /* nothing is archived yet */
	if (rc != TB_OK)
		return rc;
	reading->known = 1;
	reading->next = last + 1;
	return TB_OK;
}

tb_bus *tb_events_bus(const tb_call *call)
{
	const struct events_options *options = call->options;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_bus *bus;
	if (call->dir == NULL || options->repo != NULL || access(tb_below(&path, call->dir, "run/broker.ipc"), F_OK) != 0)
		return NULL;
	return tb_call_bus(call, &bus, NULL) == TB_OK ? bus : NULL;
}

/* How far the journal goes: 0 when there is no such stream in it, or no broker. One that doesn't answer is none. */
static uint64_t find_durable(struct reading *reading)
{
	tb_live_stream *streams;
	size_t count;
	uint64_t durable = 0;
	if (reading->bus == NULL)
		return 0;
	if (tb_live_streams(reading->bus, reading->arena, &streams, &count, NULL) != TB_OK) {
		tb_bus_close(reading->bus);
		reading->bus = NULL;
		return 0;
	}
	for (size_t i = 0; i < count; i++)
		if (strcmp(streams[i].name, reading->options->stream) == 0) {
			durable = streams[i].durable;
			reading->known = 1;
		}
	free(streams);
	return durable;
}

/* What the journal let go of while the archive was read is archived by now. */
static tb_rc read_live(struct reading *reading, tb_err *err)
{
	uint64_t durable = find_durable(reading), to = durable < reading->to ? durable : reading->to;
	tb_rc rc = TB_OK;
	while (rc == TB_OK && reading->next <= to) {
		uint64_t before = reading->next;
		rc = tb_live_events(reading->bus, reading->arena, reading->options->stream, &reading->next, to, reading->each,
		                    reading->context, err);
		if (rc == TB_ENOTFOUND) {
			tb_err why = *err;
			rc = read_archive(reading, err);
			if (rc == TB_OK && reading->next == before) {
				*err = why;
				return TB_ENOTFOUND;
			}
		} else if (rc == TB_OK && reading->next == before) {
			return tb_fail(err, TB_ECORRUPT, "the broker gives no event %llu, though it has told that it is durable",
			               tb_ull(before));
		}
	}
	return rc;
}

static void note_end(const struct reading *reading)
{
	if (reading->options->to != 0 && reading->next <= reading->to)
		fprintf(stderr, "tb events: event %llu isn't there: %s goes up to %llu%s\n", tb_ull(reading->to),
		        reading->options->stream, tb_ull(reading->next - 1),
		        reading->bus == NULL ? " in the archive, and no broker answers" : "");
}

static tb_rc read_events(struct reading *reading, tb_err *err)
{
	tb_rc rc = read_archive(reading, err);
	if (rc == TB_OK)
		rc = read_live(reading, err);
	if (rc == TB_OK && !reading->known)
		return tb_fail(err, TB_ENOTFOUND, "there is no stream %s", reading->options->stream);
	if (rc == TB_OK)
		note_end(reading);
	return rc;
}

tb_rc tb_events_read(const tb_call *call, tb_archived_event_fn each, void *context, int *ret_live, tb_err *err)
{
	const struct events_options *options = call->options;
	struct reading reading = {
		.call = call, .options = options, .each = each, .context = context, .next = options->from ? options->from : 1,
		.to = options->to ? options->to : UINT64_MAX,
	};
	tb_rc rc = tb_events_archive(call, &reading.archive, err);
	if (rc != TB_OK)
		return rc;
	reading.arena = tb_arena_new();
	reading.bus = tb_events_bus(call);
	rc = read_events(&reading, err);
	*ret_live = reading.bus != NULL;
	tb_bus_close(reading.bus);
	tb_archive_close(reading.archive);
	tb_arena_free(reading.arena);
	return rc;
}

static tb_rc check_options(const struct events_options *options, tb_err *err)
{
	if (options->stream == NULL && options->hash == NULL) {
		tb_fail(err, TB_EINVAL, "it isn't said of which stream");
		tb_hint(err, "name it with --stream S; `tb list` knows them");
		return TB_EINVAL;
	}
	if (options->kind != NULL && tb_event_kind_of(options->kind) == TB_EVENT_NONE)
		return tb_fail(err, TB_EINVAL, "there is no kind of event '%.100s'", options->kind);
	if (options->to != 0 && options->to < options->from)
		return tb_fail(err, TB_EINVAL, "no event is from %llu on and up to %llu", tb_ull(options->from),
		               tb_ull(options->to));
	return options->stream != NULL ? tb_stream_check(options->stream, err) : TB_OK;
}

tb_rc tb_events_archive(const tb_call *call, tb_archive **ret_archive, tb_err *err)
{
	const struct events_options *options = call->options;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	const char *dir, *key = options->key;
	tb_rc rc = key == NULL ? tb_call_dir(call, &dir, err) : TB_OK;
	if (rc == TB_OK && key == NULL)
		key = tb_below(&path, dir, "keys/identity.key");
	return rc == TB_OK ? tb_call_archive(call, options->repo, key, ret_archive, err) : rc;
}

tb_rc verb_events(tb_call *call, tb_err *err)
{
	const struct events_options *options = call->options;
	tb_auto(tb_buf_drop) tb_buf pair = { 0 };
	tb_rc rc = check_options(options, err);
	if (rc != TB_OK)
		return rc;
	tb_event_view view = { .stream = options->stream, .json = call->json, .canonical = options->canonical,
		                   .limit = options->limit, .from_first = options->from <= 1, .arena = tb_arena_new() };
	int live;
	if (options->kind != NULL)
		view.kinds = 1u << tb_event_kind_of(options->kind);
	if (options->pair != NULL) {
		tb_pair_stored(options->pair, &pair);
		view.pair = tb_buf_text(&pair);
	}
	rc = options->hash != NULL ? tb_events_by_hash(call, &view, err) : tb_events_read(call, tb_event_show, &view, &live, err);
	tb_event_view_drop(&view);
	return rc == TB_EFULL && options->hash == NULL ? TB_OK : rc; /* the limit is reached */
}
