#include "broker/broker_state.h"

#define FETCH_MAX (8u << 20)
#define WAIT_MAX (30 * TB_NS_PER_S)

static const Tb__FetchRequest *request_of(const tb_asking *ask)
{
	return (const Tb__FetchRequest *)ask->request;
}

tb_rc tb_fetch_decide(tb_broker *broker, tb_asking *ask, tb_span frames, tb_err *err)
{
	const Tb__FetchRequest *request = request_of(ask);
	(void)frames;
	if (request->from == 0 || (request->to != 0 && request->to < request->from))
		return tb_fail(err, TB_EINVAL, "events %llu to %llu can't be fetched: numbers begin at 1",
		               (unsigned long long)request->from, (unsigned long long)request->to);
	ask->stream = tb_stream_named(broker, request->stream);
	if (ask->stream == NULL)
		return tb_fail(err, TB_ENOTFOUND, "there is no stream %s", request->stream);
	uint64_t wait = request->wait_ms * TB_NS_PER_MS;
	tb_ask_wait(broker, ask, wait < WAIT_MAX ? wait : WAIT_MAX);
	return TB_OK;
}

/* Whole frames into broker->frames, one at least. */
static tb_rc collect(tb_broker *broker, const Tb__FetchRequest *request, tb_stream *stream, tb_err *err)
{
	tb_buf *frames = &broker->frames;
	size_t most = request->bytes_max > 0 && request->bytes_max < FETCH_MAX ? (size_t)request->bytes_max : FETCH_MAX;
	uint64_t to = request->to > 0 && request->to < stream->durable ? request->to : stream->durable;
	uint64_t first = tb_first_held(broker, stream);
	if (request->from < first)
		return tb_fail(err, TB_ENOTFOUND, "the journal holds stream %s from event %llu on, %llu is archived only",
		               stream->name, (unsigned long long)first, (unsigned long long)request->from);
	for (uint64_t next = request->from; next <= to && frames->size < most;) {
		size_t before = frames->size;
		tb_frame frame;
		tb_rc rc = tb_events_read(broker, stream, next, frames, &frame, err);
		if (rc != TB_OK)
			return before > 0 ? TB_OK : rc;
		if (before > 0 && frames->size > most) {
			frames->size = before;
			break;
		}
		next = frame.first + frame.count;
	}
	return TB_OK;
}

int tb_fetch_tell(tb_broker *broker, tb_asking *ask, int final)
{
	const Tb__FetchRequest *request = request_of(ask);
	Tb__FetchReply reply = TB__FETCH_REPLY__INIT;
	Tb__Status status;
	tb_buf_clear(&broker->frames);
	if (ask->err.rc == TB_OK) {
		if (request->from > ask->stream->durable && !final)
			return 0;
		tb_err err;
		if (collect(broker, request, ask->stream, &err) != TB_OK)
			ask->err = err;
		reply.durable = ask->stream->durable;
		reply.first_held = tb_first_held(broker, ask->stream);
	}
	tb_ask_status(ask, &status);
	reply.status = &status;
	reply.journal_id = tb_journal_name(broker);
	tb_ask_answer(broker, ask, &reply.base, tb_buf_span(&broker->frames));
	return 1;
}
