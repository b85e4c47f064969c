/* How events are shown: a JSON line each, or a line for people. */
#include "wire/event_json.h"
#include "workers/tb/events.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_SHOWN 60 /* bytes of a text, for people */

/* Memory banks */

struct bank_head {
	tb_event_kind kind;
	uint32_t bit_phase;
	uint8_t head[TB_HASH];
	char pair[]; /* NUL-terminated */
};

static int compare_heads(const void *a, const void *b)
{
	const struct bank_head *left = a, *right = b;
	if (left->kind != right->kind)
		return left->kind < right->kind ? -1 : 1;
	if (left->bit_phase != right->bit_phase)
		return left->bit_phase < right->bit_phase ? -1 : 1;
	return strcmp(left->pair, right->pair);
}

static struct bank_head *head_new(tb_event_kind kind, uint32_t bit_phase, const char *pair)
{
	struct bank_head *head = tb_alloc_zero(1, sizeof(*head) + strlen(pair) + 1);
	head->kind = kind;
	head->bit_phase = bit_phase;
	memcpy(head->pair, pair, strlen(pair));
	return head;
}

/* The head of the event's bank, moved to it. NULL: it has no bank, or there are too many of them to know. */
static const uint8_t *move_head(tb_bank_heads *heads, const tb_event *event, const uint8_t backup_hash[TB_HASH])
{
	const char *pair;
	uint32_t bit_phase;
	if (heads->count >= TB_BANK_HEADS_MAX || !tb_event_bank(event, &pair, &bit_phase))
		return NULL;
	struct bank_head *head = head_new(event->kind, bit_phase, pair);
	struct bank_head **found = tsearch(head, &heads->tree, compare_heads);
	if (found == NULL || *found != head)
		free(head);
	else
		heads->count++;
	if (found == NULL)
		return NULL;
	tb_memory_signature((*found)->head, backup_hash, (*found)->head);
	return (*found)->head;
}

void tb_event_view_drop(tb_event_view *view)
{
	tdestroy(view->heads.tree, free);
	tb_arena_free(view->arena);
	tb_buf_drop(&view->text);
}

/* Which ones */

void tb_pair_stored(const char *pair, tb_buf *to)
{
	while (*pair != '\0') {
		int arrow = strncmp(pair, "->", 2) == 0;
		tb_buf_append_span(to, arrow ? tb_span_text("→") : tb_span_of(pair, 1));
		pair += arrow ? 2 : 1;
	}
}

static int has_pair(const tb_event *event, const char *pair)
{
	switch (event->kind) {
	case TB_EVENT_GHOST:
		return event->body.ghost.pair != NULL && strcmp(event->body.ghost.pair, pair) == 0;
	case TB_EVENT_FLIP:
		return event->body.flip.pair != NULL && strcmp(event->body.flip.pair, pair) == 0;
	case TB_EVENT_ORBIT:
		for (size_t i = 0; i < event->body.orbit.pair_count; i++)
			if (strcmp(event->body.orbit.pairs[i], pair) == 0)
				return 1;
		return 0;
	default:
		return 0;
	}
}

static int is_wanted(const tb_event_view *view, const tb_event *event)
{
	if (view->kinds != 0 && !(view->kinds >> event->kind & 1))
		return 0;
	return view->pair == NULL || has_pair(event, view->pair);
}

/* For people */

static void put_bytes(tb_buf *to, const void *data, size_t size)
{
	tb_span bytes = tb_span_of(data, size < TEXT_SHOWN ? size : TEXT_SHOWN);
	if (!tb_text_valid(tb_span_of(data, size))) {
		tb_buf_print(to, "(%zu bytes)", size);
		return;
	}
	while (bytes.size > 0 && bytes.size < size && (bytes.data[bytes.size] & 0xc0) == 0x80)
		bytes.size--; /* not in the middle of a character */
	tb_json_text(to, bytes);
	if (bytes.size < size)
		tb_buf_print(to, "… (%zu bytes)", size);
}

static void put_text(tb_buf *to, const char *name, const char *text)
{
	if (text == NULL)
		return;
	tb_buf_print(to, " %s ", name);
	put_bytes(to, text, strlen(text));
}

static void put_delta(tb_buf *to, const tb_delta *delta)
{
	put_bytes(to, delta->key.data, delta->key.size);
	if (delta->remove) {
		tb_buf_print(to, " deleted");
		return;
	}
	tb_buf_print(to, " = ");
	put_bytes(to, delta->value.data, delta->value.size);
}

static void put_orbit(tb_buf *to, const tb_orbit *orbit)
{
	tb_buf_print(to, "%s", orbit->orbit_type);
	for (size_t i = 0; i < orbit->pair_count && i < 8; i++)
		tb_buf_print(to, " %s", orbit->pairs[i]);
	tb_buf_print(to, " phase %u", orbit->bit_phase);
}

static void put_bar(tb_buf *to, const tb_bar *bar)
{
	put_bytes(to, bar->symbol, strlen(bar->symbol));
	put_text(to, "open", bar->open);
	put_text(to, "high", bar->high);
	put_text(to, "low", bar->low);
	put_text(to, "close", bar->close);
	put_text(to, "volume", bar->volume);
	put_text(to, "price", bar->price);
}

static void put_body(tb_buf *to, const tb_event *event)
{
	switch (event->kind) {
	case TB_EVENT_GHOST:
		tb_buf_print(to, "%s phase %u", event->body.ghost.pair, event->body.ghost.bit_phase);
		put_text(to, "trigger", event->body.ghost.trigger);
		put_text(to, "outcome", event->body.ghost.outcome);
		break;
	case TB_EVENT_ORBIT:
		put_orbit(to, &event->body.orbit);
		break;
	case TB_EVENT_FLIP:
		tb_buf_print(to, "%s %s phase %u", event->body.flip.flip_type, event->body.flip.pair,
		             event->body.flip.bit_phase);
		put_text(to, "pattern", event->body.flip.flip_pattern);
		break;
	case TB_EVENT_DELTA:
		put_delta(to, &event->body.delta);
		break;
	case TB_EVENT_DELTAS:
		tb_buf_print(to, "%zu deltas", event->body.deltas.count);
		break;
	case TB_EVENT_BAR:
		put_bar(to, &event->body.bar);
		break;
	case TB_EVENT_OPAQUE:
		put_bytes(to, event->body.opaque.data.data, event->body.opaque.data.size);
		break;
	case TB_EVENT_RESET:
		tb_buf_print(to, event->body.reset.commit ? "commit" : "begin");
		break;
	case TB_EVENT_LOST:
		tb_buf_print(to, "events %llu to %llu", tb_ull(event->body.lost.from), tb_ull(event->body.lost.to));
		break;
	case TB_EVENT_SIGNAL:
		tb_buf_print(to, "%s %s", event->body.signal.type, event->body.signal.stream);
		break;
	default:
		break;
	}
}

static void show_line(tb_buf *to, const tb_event *event, const tb_event_place *place)
{
	char time[TB_TIME_TEXT_SIZE];
	tb_time_text(time, event->time_ns);
	tb_buf_print(to, "%12llu  %s  %-6s  ", tb_ull(place->number), time, tb_event_kind_name(event->kind));
	if (place->rejected != NULL)
		tb_buf_print(to, "REJECTED (%s)  ", place->rejected);
	put_body(to, event);
}

/* For programs */

static void add_canonical(tb_buf *to, tb_span canonical)
{
	to->size--; /* the closing brace */
	tb_buf_print(to, ",\"canonical_b64\":\"");
	tb_base64(to, canonical);
	tb_buf_print(to, "\"}");
}

/* Bytes that aren't an event: what can be said about them. */
static void show_unreadable(const tb_event_view *view, tb_buf *to, const tb_event_place *place)
{
	if (!view->json) {
		tb_buf_print(to, "%12llu  REJECTED (%s): not an event", tb_ull(place->number), place->rejected);
		return;
	}
	tb_buf_print(to, "{\"stream\":");
	tb_json_text(to, tb_span_text(place->stream));
	tb_buf_print(to, ",\"number\":%llu,\"event_id\":\"%s/%llu\",\"stamp_ns\":%llu,\"backup_hash\":\"",
	             tb_ull(place->number), place->stream, tb_ull(place->number), tb_ull(place->stamp_ns));
	tb_buf_hex(to, place->backup_hash, TB_HASH);
	tb_buf_print(to, "\",\"rejected\":\"%s\"}", place->rejected);
}

static void show(tb_event_view *view, const tb_event *event, const tb_event_place *place, tb_span canonical)
{
	tb_buf *text = &view->text;
	tb_buf_clear(text);
	if (event == NULL)
		show_unreadable(view, text, place);
	else if (view->json)
		tb_event_to_json(text, event, place);
	else
		show_line(text, event, place);
	if (view->json && view->canonical)
		add_canonical(text, canonical);
	tb_buf_byte(text, '\n');
	fwrite(text->data, 1, text->size, stdout);
	view->shown++;
}

tb_rc tb_event_show(void *context, const tb_archived_event *archived, tb_err *err)
{
	tb_event_view *view = context;
	tb_event event;
	tb_reject reject = { 0 };
	uint8_t hash[TB_HASH];
	(void)err;
	tb_arena_reset(view->arena);
	tb_rc rc = tb_event_check(archived->canonical, view->arena, &event, &reject, NULL);
	tb_event_hash(archived->canonical, hash);
	tb_event_place place = { .stream = view->stream, .number = archived->number, .stamp_ns = archived->stamp_ns,
		                     .backup_hash = hash };
	if (rc != TB_OK || archived->rejected)
		place.rejected = reject.code[0] != '\0' ? reject.code : "rejected";
	else if (view->from_first)
		place.memory_signature = move_head(&view->heads, &event, hash);
	int readable = rc == TB_OK || tb_event_unpack(archived->canonical, view->arena, &event, NULL) == TB_OK;
	if (readable ? !is_wanted(view, &event) : view->kinds != 0 || view->pair != NULL)
		return TB_OK;
	show(view, readable ? &event : NULL, &place, archived->canonical);
	return view->limit != 0 && view->shown >= view->limit ? TB_EFULL : TB_OK;
}
