/* tb watch: signals and health as they are announced, events as they become durable. */
#include "workers/tb/watch.h"

#include "frames.pb-c.h"
#include "workers/tb/events.h"

#include <stdio.h>
#include <stdlib.h>

#define LISTEN_NS (TB_NS_PER_S / 2)
#define ASK_EVERY_NS (2 * TB_NS_PER_S)  /* announcements may be lost: records are not */
#define LOOK_EVERY_NS (TB_NS_PER_S)     /* the same of the doorbell for events */
#define LOOK_LEAST_NS (20 * TB_NS_PER_MS)
#define AT_ONCE 1000

#define AT(field) offsetof(struct watch_options, field)
const tb_opt tb_watch_rows[] = {
	{ "stream", 's', TB_OPT_TEXT, AT(stream), NULL, NULL, "S", "Only messages of that stream.", 1 },
	{ "since", 0, TB_OPT_TEXT, AT(since), NULL, NULL, "N", "First those with a higher number that are there already.",
	  1 },
	{ "count", 'n', TB_OPT_UINT, AT(count), NULL, NULL, "N", "End after so many.", 1 },
	{ "timeout", 't', TB_OPT_SPAN, AT(timeout_ns), NULL, NULL, NULL, "End after that time.", 1 },
	{ 0 },
};

struct following {
	char name[130];
	uint64_t next;
};

struct watching {
	const tb_call *call;
	const struct watch_options *options;
	int signals, health;
	uint32_t kinds; /* of events, bits 1 << kind */
	uint64_t since, count;
	tb_topics *topics;

	uint64_t last;     /* highest signal number that is dealt with */
	uint64_t heard;    /* highest announced */
	uint64_t asked_ns; /* when the signal worker was asked last */

	tb_bus *bus;
	tb_arena *arena;
	tb_event_view view;
	struct following *streams;
	size_t stream_count;
	uint64_t looked_ns;
	int rung; /* something became durable since */
};

static int is_enough(const struct watching *watching)
{
	return watching->options->count != 0 && watching->count >= watching->options->count;
}

/* Topics */

/* All events, whatever their kind. */
static const char events_topic[] = "events";

static tb_rc fail_topic(const char *topic, tb_err *err)
{
	const char *names[32] = { "BACKUP_READY", "health", events_topic };
	size_t count = 3;
	for (int kind = TB_EVENT_GHOST; kind <= TB_EVENT_SIGNAL; kind++)
		names[count++] = tb_event_kind_name((tb_event_kind)kind);
	return tb_name_unknown("topic", topic, names, "tb watch ", err);
}

static tb_rc read_topic(struct watching *watching, const char *topic, tb_err *err)
{
	tb_event_kind kind = tb_event_kind_of(topic);
	if (tb_signal_topic_check(topic, NULL) == TB_OK)
		watching->signals = 1;
	else if (strcmp(topic, "health") == 0)
		watching->health = 1;
	else if (strcmp(topic, events_topic) == 0)
		watching->kinds = UINT32_MAX;
	else if (kind != TB_EVENT_NONE)
		watching->kinds |= 1u << kind;
	else
		return fail_topic(topic, err);
	return TB_OK;
}

static tb_rc read_options(struct watching *watching, tb_err *err)
{
	const tb_call *call = watching->call;
	const struct watch_options *options = call->options;
	tb_rc rc = tb_since_read(options->since, &watching->since, err);
	watching->signals = call->operand_count == 0;
	for (int i = 0; rc == TB_OK && i < call->operand_count; i++)
		rc = read_topic(watching, call->operands[i], err);
	if (rc == TB_OK && options->since != NULL && watching->kinds != 0 && options->stream == NULL)
		return tb_fail(err, TB_EINVAL, "numbers of events mean something within a stream only: --since needs --stream");
	if (rc == TB_OK && options->since != NULL && watching->kinds != 0 && watching->signals)
		return tb_fail(err, TB_EINVAL, "numbers of events and of signals aren't the same: --since is for one of them");
	return rc;
}

static tb_rc subscribe(struct watching *watching, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf url = { 0 };
	const struct {
		int wanted;
		const char *prefix;
	} rows[] = {
		{ watching->signals, "json/BACKUP_READY/" },
		{ watching->health, "health" },
		{ watching->kinds != 0, "durable/" },
	};
	tb_rc rc = tb_bus_address(watching->call->dir, "topics", &url, err);
	if (rc == TB_OK)
		rc = tb_topics_dial(tb_buf_text(&url), -1, &watching->topics, err);
	for (size_t i = 0; rc == TB_OK && i < sizeof(rows) / sizeof(*rows); i++)
		if (rows[i].wanted)
			rc = tb_topics_add(watching->topics, rows[i].prefix, err);
	return rc;
}

/* Signals */

static tb_rc ask(struct watching *watching, uint64_t limit, json_t **ret_answer, tb_err *err)
{
	tb_signals_asked asked = { .topic = "BACKUP_READY", .stream = watching->options->stream, .since = watching->last,
		                       .limit = limit };
	watching->asked_ns = tb_mono_ns(watching->call->clock);
	return tb_signals_ask(watching->call, &asked, ret_answer, err);
}

static void show_signal(struct watching *watching, json_t *record)
{
	uint64_t number = tb_signal_number(record);
	if (number <= watching->last || is_enough(watching))
		return;
	tb_print_json(json_incref(record));
	watching->last = number;
	watching->count++;
}

/* Shows what is recorded beyond the last one. */
static tb_rc catch_up(struct watching *watching, tb_err *err)
{
	size_t got = AT_ONCE;
	while (got == AT_ONCE && !is_enough(watching)) {
		json_t *answer, *record;
		size_t index;
		tb_rc rc = ask(watching, AT_ONCE, &answer, err);
		if (rc != TB_OK)
			return rc;
		json_t *records = json_object_get(answer, "records");
		got = json_array_size(records);
		json_array_foreach(records, index, record) {
			show_signal(watching, record);
		}
		if (got < AT_ONCE && tb_signals_last(answer) > watching->last)
			watching->last = tb_signals_last(answer);
		json_decref(answer);
	}
	return TB_OK;
}

/* The subscription stands already: what is announced from now on is heard, what was before is asked for. */
static tb_rc begin_signals(struct watching *watching, tb_err *err)
{
	json_t *answer;
	watching->last = watching->since;
	if (watching->options->since != NULL)
		return catch_up(watching, err);
	tb_rc rc = ask(watching, 0, &answer, err);
	if (rc == TB_OK) {
		watching->last = tb_signals_last(answer);
		json_decref(answer);
	}
	return rc;
}

static int is_of_stream(const struct watching *watching, const json_t *record)
{
	const char *stream = json_string_value(json_object_get(record, "stream"));
	return watching->options->stream == NULL || (stream != NULL && strcmp(stream, watching->options->stream) == 0);
}

/* An announcement in its turn is shown; behind a hole it is shown when the hole is filled. */
static void hear_signal(struct watching *watching, tb_span body)
{
	json_t *record = json_loadb((const char *)body.data, body.size, JSON_REJECT_DUPLICATES, NULL);
	uint64_t number = tb_signal_number(record);
	if (number == watching->last + 1 && is_of_stream(watching, record))
		show_signal(watching, record);
	else if (number == watching->last + 1)
		watching->last = number;
	else if (number > watching->heard)
		watching->heard = number;
	json_decref(record);
}

static void turn_signals(struct watching *watching)
{
	uint64_t waited = tb_mono_ns(watching->call->clock) - watching->asked_ns;
	if (waited < LOOK_LEAST_NS || (watching->heard <= watching->last && waited < ASK_EVERY_NS))
		return;
	catch_up(watching, NULL); /* it may be away for a while; then it is asked again */
}

/* Health */

static void hear_health(struct watching *watching, tb_span body)
{
	tb_arena_reset(watching->arena);
	const Tb__Health *health = tb__health__unpack(tb_arena_allocator(watching->arena), body.size, body.data);
	if (health == NULL)
		return;
	json_t *applied = json_object();
	for (size_t i = 0; i < health->n_applied; i++)
		json_object_set_new(applied, health->applied[i]->stream, json_integer((json_int_t)health->applied[i]->number));
	tb_print_json(json_pack("{s:s, s:I, s:s, s:s, s:I, s:I, s:o, s:o}", "role", health->role, "pid",
	                        (json_int_t)health->pid, "state", health->state, "detail", health->detail, "handled",
	                        (json_int_t)health->handled, "time_ns", (json_int_t)health->time_ns, "time",
	                        tb_json_time(health->time_ns), "applied", applied));
	watching->count++;
}

/* Events */

static struct following *follow(struct watching *watching, const char *name, uint64_t next)
{
	for (size_t i = 0; i < watching->stream_count; i++)
		if (strcmp(watching->streams[i].name, name) == 0)
			return &watching->streams[i];
	watching->streams = tb_realloc(watching->streams, (watching->stream_count + 1) * sizeof(*watching->streams));
	struct following *stream = &watching->streams[watching->stream_count++];
	snprintf(stream->name, sizeof(stream->name), "%s", name);
	stream->next = next;
	return stream;
}

static tb_rc show_events(struct watching *watching, struct following *stream, const tb_live_stream *live, tb_err *err)
{
	tb_event_view *view = &watching->view;
	tb_rc rc = TB_OK;
	if (live->first_held > stream->next) {
		fprintf(stderr, "tb watch: events %llu to %llu of %s are archived only: `tb events` shows them\n",
		        tb_ull(stream->next), tb_ull(live->first_held - 1), stream->name);
		stream->next = live->first_held;
	}
	view->stream = stream->name;
	view->limit = watching->options->count != 0 ? watching->options->count - watching->count : 0;
	view->shown = 0;
	uint64_t before = 0;
	while (rc == TB_OK && stream->next <= live->durable && stream->next != before) {
		before = stream->next;
		rc = tb_live_events(watching->bus, watching->arena, stream->name, &stream->next, live->durable, tb_event_show,
		                    view, err);
	}
	watching->count += view->shown;
	fflush(stdout);
	return rc == TB_EFULL ? TB_OK : rc;
}

/* Streams that are there at first are followed from their end on, new ones from their beginning. */
static tb_rc look_at_streams(struct watching *watching, int first, tb_err *err)
{
	const char *only = watching->options->stream;
	tb_live_stream *streams;
	size_t count;
	tb_rc rc = tb_live_streams(watching->bus, watching->arena, &streams, &count, err);
	if (rc != TB_OK)
		return rc;
	for (size_t i = 0; rc == TB_OK && i < count && !is_enough(watching); i++) {
		uint64_t next = !first ? 1 : watching->options->since != NULL ? watching->since + 1 : streams[i].durable + 1;
		if (only == NULL || strcmp(only, streams[i].name) == 0)
			rc = show_events(watching, follow(watching, streams[i].name, next), &streams[i], err);
	}
	free(streams);
	watching->looked_ns = tb_mono_ns(watching->call->clock);
	watching->rung = 0;
	return rc;
}

static tb_rc turn_events(struct watching *watching, tb_err *err)
{
	uint64_t waited = tb_mono_ns(watching->call->clock) - watching->looked_ns;
	if (waited < LOOK_LEAST_NS || (!watching->rung && waited < LOOK_EVERY_NS))
		return TB_OK;
	tb_rc rc = look_at_streams(watching, 0, err);
	/* A broker that is away for a while goes on with the same numbers. */
	return rc == TB_EUNREACHABLE || rc == TB_ETIMEOUT || rc == TB_ENOTFOUND ? TB_OK : rc;
}

/* All together */

static void hear(struct watching *watching, tb_span topic, tb_span body)
{
	if (topic.size > 5 && memcmp(topic.data, "json/", 5) == 0)
		hear_signal(watching, body);
	else if (tb_span_equal(topic, tb_span_text("health")))
		hear_health(watching, body);
	else
		watching->rung = 1;
}

/* Without one nothing will ever come. */
static tb_rc look_for_broker(struct watching *watching, tb_err *err)
{
	tb_live_stream *streams;
	size_t count;
	tb_rc rc = tb_live_streams(watching->bus, watching->arena, &streams, &count, err);
	if (rc == TB_OK)
		free(streams);
	return rc;
}

static tb_rc begin(struct watching *watching, tb_err *err)
{
	const char *dir;
	tb_rc rc = tb_call_dir(watching->call, &dir, err);
	if (rc == TB_OK)
		rc = subscribe(watching, err);
	if (rc == TB_OK)
		rc = tb_call_bus(watching->call, &watching->bus, err);
	if (rc == TB_OK && watching->signals)
		rc = begin_signals(watching, err);
	if (rc == TB_OK && watching->kinds != 0)
		rc = look_at_streams(watching, 1, err);
	else if (rc == TB_OK && watching->health)
		rc = look_for_broker(watching, err);
	return rc;
}

/* A doorbell that wasn't answered yet, and a hole that wasn't filled, shorten the wait. */
static uint64_t listen_ns(const struct watching *watching, uint64_t left)
{
	uint64_t most = watching->rung || watching->heard > watching->last ? LOOK_LEAST_NS : LISTEN_NS;
	return left < most ? left : most;
}

static tb_rc end_watching(const struct watching *watching, tb_err *err)
{
	const struct watch_options *options = watching->options;
	if (options->count == 0 || is_enough(watching))
		return TB_OK;
	return tb_fail(err, TB_ETIMEOUT, "%llu of %llu messages came in time", tb_ull(watching->count),
	               tb_ull(options->count));
}

static tb_rc watch(struct watching *watching, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf message = { 0 };
	tb_span topic, body;
	uint64_t begun = tb_mono_ns(watching->call->clock);
	uint64_t timeout = watching->options->timeout_ns ? watching->options->timeout_ns : UINT64_MAX;
	tb_rc rc = begin(watching, err);
	while (rc == TB_OK && !is_enough(watching)) {
		uint64_t passed = tb_mono_ns(watching->call->clock) - begun;
		if (passed >= timeout)
			break;
		rc = tb_topics_next(watching->topics, listen_ns(watching, timeout - passed), &message, &topic, &body, err);
		if (rc == TB_OK)
			hear(watching, topic, body);
		else if (rc == TB_ETIMEOUT)
			rc = TB_OK;
		if (rc == TB_OK && watching->signals)
			turn_signals(watching);
		if (rc == TB_OK && watching->kinds != 0)
			rc = turn_events(watching, err);
	}
	return rc == TB_OK ? end_watching(watching, err) : rc;
}

tb_rc verb_watch(tb_call *call, tb_err *err)
{
	struct watching watching = { .call = call, .options = call->options };
	tb_rc rc = read_options(&watching, err);
	if (rc != TB_OK)
		return rc;
	watching.arena = tb_arena_new();
	watching.view = (tb_event_view){ .json = 1, .kinds = watching.kinds, .arena = tb_arena_new() };
	rc = watch(&watching, err);
	tb_topics_close(watching.topics);
	tb_bus_close(watching.bus);
	tb_event_view_drop(&watching.view);
	tb_arena_free(watching.arena);
	free(watching.streams);
	return rc;
}
