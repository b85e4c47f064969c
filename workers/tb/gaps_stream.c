/* Bars out of a stream's events. */
#include "workers/tb/events.h"
#include "workers/tb/gaps.h"

#include <stdio.h>

struct bar_reading {
	tb_gaps_run *run;
	tb_arena *arena;
};

/* A rejected event isn't one, and a tick isn't a bar. */
static tb_rc take_event(void *context, const tb_archived_event *archived, tb_err *err)
{
	struct bar_reading *reading = context;
	tb_event event;
	tb_arena_reset(reading->arena);
	if (archived->rejected || tb_event_check(archived->canonical, reading->arena, &event, NULL, NULL) != TB_OK)
		return TB_OK;
	if (event.kind != TB_EVENT_BAR || event.body.bar.price != NULL)
		return TB_OK;
	if (event.time_ns > INT64_MAX)
		return tb_fail(err, TB_EINVAL, "the time of event %llu is beyond all calendars", tb_ull(archived->number));
	const char *symbol = event.body.bar.symbol;
	return tb_gaps_add(reading->run, (int64_t)event.time_ns, tb_span_text(symbol ? symbol : ""), err);
}

tb_rc tb_gaps_read_stream(tb_gaps_run *run, tb_err *err)
{
	struct events_options options = { .stream = run->options->stream, .from = 1, .repo = run->options->repo,
		                              .key = run->options->key };
	tb_call call = *run->call;
	struct bar_reading reading = { run, tb_arena_new() };
	int live = 0;
	call.options = &options;
	tb_rc rc = tb_events_read(&call, take_event, &reading, &live, err);
	tb_arena_free(reading.arena);
	if (rc == TB_OK && !live)
		fprintf(stderr, "tb gaps: only what is archived was read: no broker answers\n");
	return rc;
}
