/* What holds of each event that is accepted, wherever it came from. */
#ifndef TB_FUZZ_EVENTS_H
#define TB_FUZZ_EVENTS_H

#include "fuzz/fuzz.h"
#include "wire/event_json.h"

#include <jansson.h>

/* What is printed of an event, less what stands around it, is the line that publishes it. */
static inline void fuzz_event_line(tb_buf *line, const tb_event *event)
{
	static const char *const around[] = { "stream", "number", "event_id", "time", "stamp_ns", "kind" };
	tb_event_place place = { .stream = "s", .number = 1, .stamp_ns = 1 };
	tb_auto(tb_buf_drop) tb_buf printed = { 0 };
	tb_event_to_json(&printed, event, &place);
	json_t *object = json_loadb((const char *)printed.data, printed.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	hold(object != NULL);
	for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++)
		json_object_del(object, around[i]);
	char *text = json_dumps(object, JSON_REAL_PRECISION(17) | JSON_PRESERVE_ORDER);
	hold(text != NULL);
	tb_buf_append_span(line, tb_span_text(text));
	free(text);
	json_decref(object);
}

/* An event of the rules packs to canonical bytes that are accepted, and its line gives the same bytes. */
static inline void fuzz_event_holds(const tb_event *event, tb_span canonical, tb_arena *arena)
{
	tb_auto(tb_buf_drop) tb_buf again = { 0 }, line = { 0 }, from_line = { 0 };
	tb_event checked, read;
	tb_err err;
	hold(tb_event_pack(&again, event, 1, NULL, &err) == TB_OK);
	hold(tb_span_equal(tb_buf_span(&again), canonical));
	hold(tb_event_check(canonical, arena, &checked, NULL, &err) == TB_OK);
	const char *pair;
	uint32_t phase;
	if (tb_event_bank(&checked, &pair, &phase))
		hold(pair != NULL && tb_bit_phase_legal(phase));
	fuzz_event_line(&line, event);
	if (line.size > TB_JSON_LINE_MAX)
		return;
	hold(tb_event_from_json(tb_buf_span(&line), arena, &read, &err) == TB_OK);
	hold(tb_event_pack(&from_line, &read, 1, NULL, &err) == TB_OK);
	hold(tb_span_equal(tb_buf_span(&from_line), canonical));
}

#endif
