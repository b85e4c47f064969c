/* Events that the broker's journal still holds. */
#include "workers/tb/events.h"

#include <stdio.h>

#define STAT_NS (2 * TB_NS_PER_S)
#define FETCH_NS (10 * TB_NS_PER_S)
#define FETCH_SIZE (4u << 20)

tb_rc tb_live_streams(tb_bus *bus, tb_arena *arena, tb_live_stream **ret_streams, size_t *ret_count, tb_err *err)
{
	Tb__StatReply *reply;
	tb_arena_reset(arena);
	tb_rc rc = tb_bus_stat(bus, STAT_NS, arena, &reply, err);
	if (rc != TB_OK)
		return rc;
	tb_live_stream *streams = tb_alloc_zero(reply->n_streams, sizeof(*streams));
	for (size_t i = 0; i < reply->n_streams; i++) {
		snprintf(streams[i].name, sizeof(streams[i].name), "%s", reply->streams[i]->name);
		streams[i].first_held = reply->streams[i]->first_held;
		streams[i].durable = reply->streams[i]->durable;
	}
	*ret_streams = streams;
	*ret_count = reply->n_streams;
	return TB_OK;
}

struct live_range {
	uint64_t *next, to;
	tb_archived_event_fn each;
	void *context;
};

static tb_rc give_frame(const struct live_range *range, const tb_frame *frame, tb_err *err)
{
	tb_archived_event event = { .number = frame->first, .stamp_ns = frame->time_ns, .epoch = frame->epoch,
		                        .flags = frame->flags };
	tb_span body = frame->body;
	tb_rc rc = TB_OK;
	for (; rc == TB_OK && tb_events_next(&body, &event.canonical) > 0; event.number++) {
		if (event.number < *range->next || event.number > range->to)
			continue;
		*range->next = event.number + 1;
		rc = range->each(range->context, &event, err);
	}
	return rc;
}

static tb_rc give_frames(const struct live_range *range, const char *stream, tb_span frames, tb_err *err)
{
	tb_rc rc = TB_OK;
	while (rc == TB_OK && frames.size > 0) {
		tb_frame frame;
		rc = tb_frame_read(&frames, &frame, err);
		if (rc == TB_OK && (frame.kind != TB_KIND_EVENTS || frame.stream != tb_stream_hash(stream)))
			rc = tb_fail(err, TB_ECORRUPT, "the broker answered with something else than events of the stream %s",
			             stream);
		if (rc == TB_OK)
			rc = give_frame(range, &frame, err);
	}
	return rc;
}

tb_rc tb_live_events(tb_bus *bus, tb_arena *arena, const char *stream, uint64_t *next, uint64_t to,
                     tb_archived_event_fn each, void *context, tb_err *err)
{
	Tb__FetchRequest request = TB__FETCH_REQUEST__INIT;
	Tb__FetchReply *reply;
	tb_answer answer = { 0 };
	request.stream = (char *)(uintptr_t)stream;
	request.from = *next;
	request.to = to == UINT64_MAX ? 0 : to;
	request.bytes_max = FETCH_SIZE;
	tb_arena_reset(arena);
	tb_rc rc = tb_bus_fetch(bus, &request, FETCH_NS, arena, &reply, &answer, err);
	if (rc != TB_OK)
		return rc;
	rc = give_frames(&(struct live_range){ next, to, each, context }, stream, answer.frames, err);
	tb_answer_drop(&answer);
	return rc;
}
