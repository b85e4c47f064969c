#include "broker/broker_state.h"

#define EPOCH_MAX (UINT64_C(1) << 62)

/* From a publisher whose window holds, of the stream's present epoch? Others are told to say hello. */
static tb_stream *publisher_of(tb_broker *broker, const tb_frame *frame)
{
	tb_stream *stream = tb_stream_find(broker, frame->stream);
	if (stream == NULL) {
		broker->refused[TB_REFUSED_STREAM]++;
		tb_stream_tell_unknown(broker, frame->stream);
		return NULL;
	}
	if (!stream->window || frame->epoch != stream->epoch) {
		broker->refused[TB_REFUSED_EPOCH]++;
		tb_stream_tell(broker, stream, TB_TELL_NUMBERS | TB_TELL_HELLO);
		return NULL;
	}
	stream->heard_ns = tb_broker_mono(broker);
	return stream;
}

static int events_sound(tb_broker *broker, const tb_frame *frame)
{
	if (frame->count > 0 && frame->first <= UINT64_MAX - frame->count && tb_events_check(frame, NULL) == TB_OK)
		return 1;
	broker->refused[TB_REFUSED_EVENTS]++;
	return 0;
}

/* Not the next number. What was here before needs nothing but the numbers: asking for it again would have it sent twice
 * for ever. */
static unsigned answer_to_wrong(const tb_stream *stream, const tb_frame *frame)
{
	int repeated = frame->first <= stream->gathered && stream->gathered - frame->first + 1 >= frame->count;
	return repeated ? TB_TELL_LIMITED : TB_TELL_AGAIN;
}

static void publish_events(tb_broker *broker, const tb_frame *frame, tb_span bytes)
{
	tb_stream *stream = publisher_of(broker, frame);
	if (stream == NULL)
		return;
	if (broker->no_room) {
		stream->held_up = 1; /* its outbox keeps them; it is asked for them when there is room */
		tb_stream_tell(broker, stream, TB_TELL_LIMITED);
	} else if (frame->first != stream->gathered + 1) {
		broker->refused[TB_REFUSED_NUMBER]++;
		tb_stream_tell(broker, stream, answer_to_wrong(stream, frame));
	} else if (!events_sound(broker, frame) || !tb_room_for_events(broker, bytes.size)) {
		tb_stream_tell(broker, stream, TB_TELL_AGAIN);
	} else {
		stream->again_ns = stream->hello_ns = 0;
		tb_gather(broker, frame, bytes);
		stream->tell &= ~(unsigned)TB_TELL_AGAIN;
	}
}

static void publish_heartbeat(tb_broker *broker, const tb_frame *frame)
{
	ProtobufCMessage *message = NULL;
	if (tb_body_read(broker->turn, frame, &tb__heartbeat__descriptor, &message, NULL) != TB_OK) {
		broker->refused[TB_REFUSED_EVENTS]++;
		return;
	}
	const Tb__Heartbeat *heartbeat = (const Tb__Heartbeat *)message;
	tb_stream *stream = publisher_of(broker, frame);
	if (stream == NULL)
		return;
	unsigned what = TB_TELL_NUMBERS;
	tb_span run = tb_span_of(heartbeat->run_id.data, heartbeat->run_id.len);
	if (run.size > 0 && !tb_span_equal(run, tb_span_of(broker->options.run_id, TB_ID)))
		what |= TB_TELL_HELLO;
	stream->accepted = heartbeat->last;
	int tail_lost = heartbeat->last > stream->durable && stream->gathered == stream->durable;
	if (tail_lost && broker->no_room)
		stream->held_up = 1;
	else if (tail_lost)
		what |= TB_TELL_AGAIN;
	tb_stream_tell(broker, stream, what);
}

void tb_publishers_check(tb_broker *broker)
{
	uint64_t now = tb_broker_mono(broker);
	for (uint32_t i = 0; i < broker->stream_count; i++) {
		tb_stream *stream = broker->streams[i];
		if (!stream->window || now - stream->heard_ns < broker->options.silence_ns)
			continue;
		stream->window = 0;
		broker->windows--;
	}
}

void tb_broker_event(tb_broker *broker, tb_span message)
{
	tb_frame frame;
	tb_span rest = message;
	int sound = tb_frame_read(&rest, &frame, NULL) == TB_OK && rest.size == 0;
	if (sound && frame.kind == TB_KIND_EVENTS) {
		publish_events(broker, &frame, message);
	} else if (sound && frame.kind == TB_KIND_HEARTBEAT) {
		publish_heartbeat(broker, &frame);
		tb_arena_reset(broker->turn);
	} else {
		broker->refused[sound ? TB_REFUSED_KIND : TB_REFUSED_FRAME]++;
	}
}

/* ---- hello */

static tb_rc check_name(const tb_broker *broker, const Tb__HelloRequest *request, tb_err *err)
{
	tb_rc rc = tb_stream_possible(broker, request->stream, err);
	if (rc != TB_OK)
		return rc;
	if (strncmp(request->stream, "tb.", 3) == 0) {
		tb_fail(err, TB_EREFUSED, "stream %s: names that begin with \"tb.\" are Tradebank's own", request->stream);
		tb_hint(err, "give it another name");
		return TB_EREFUSED;
	}
	if (request->outbox.len != TB_ID || request->epoch > EPOCH_MAX)
		return tb_fail(err, TB_EINVAL, "stream %s: its hello bears no outbox id of %d bytes, or no possible epoch",
		               request->stream, TB_ID);
	return TB_OK;
}

static int same_outbox(const tb_stream *stream, const Tb__HelloRequest *request)
{
	return memcmp(stream->outbox, request->outbox.data, TB_ID) == 0;
}

static tb_rc fail_fenced(const tb_stream *stream, uint64_t epoch, tb_err *err)
{
	tb_fail(err, TB_EFENCED, "another process publishes stream %s now: it has epoch %llu, this one had %llu", stream->name,
	        (unsigned long long)stream->epoch, (unsigned long long)epoch);
	tb_hint(err, "end one of the two, or give them different names");
	return TB_EFENCED;
}

/* An older process of the stream asks with the epoch it had. */
static tb_rc check_epoch(const tb_stream *stream, const Tb__HelloRequest *request, tb_err *err)
{
	if (stream == NULL || request->take_over || request->epoch == 0 || request->epoch >= stream->epoch)
		return TB_OK;
	return fail_fenced(stream, request->epoch, err);
}

static tb_rc check_room(const tb_broker *broker, const tb_stream *stream, const char *name, tb_err *err)
{
	if (stream != NULL || broker->stream_count < broker->options.streams_max)
		return TB_OK;
	tb_fail(err, TB_EFULL, "there are %u streams already, and no room for %s", broker->stream_count, name);
	tb_hint(err, "raise the broker's streams.max");
	return TB_EFULL;
}

static tb_rc check_window(const tb_broker *broker, const tb_stream *stream, tb_err *err)
{
	if ((stream != NULL && stream->window) || broker->windows < broker->options.publishers_max)
		return TB_OK;
	tb_fail(err, TB_EBUSY, "%u engines publish already, and the broker takes no more at once", broker->windows);
	tb_hint(err, "raise the broker's publishers.max, or wait: an engine that falls silent makes room");
	return TB_EBUSY;
}

static void window_grant(tb_broker *broker, tb_stream *stream)
{
	if (!stream->window)
		broker->windows++;
	stream->window = 1;
	stream->heard_ns = tb_broker_mono(broker);
	stream->again_ns = stream->hello_ns = 0;
}

static uint64_t next_epoch(const tb_stream *stream, const Tb__HelloRequest *request)
{
	uint64_t present = stream != NULL ? stream->epoch : 0;
	return (present > request->epoch ? present : request->epoch) + 1; /* the outbox may know a lost journal's */
}

tb_rc tb_hello_decide(tb_broker *broker, tb_asking *ask, tb_span frames, tb_err *err)
{
	const Tb__HelloRequest *request = (const Tb__HelloRequest *)ask->request;
	(void)frames;
	tb_terms terms;
	tb_rc rc = check_name(broker, request, err);
	tb_stream *stream = rc == TB_OK ? tb_stream_named(broker, request->stream) : NULL;
	if (rc == TB_OK)
		rc = check_epoch(stream, request, err);
	int opens = stream == NULL || request->take_over || request->epoch != stream->epoch || !same_outbox(stream, request) ||
	            stream->outbox_count == 0;
	if (rc == TB_OK)
		rc = opens ? tb_terms_find(broker, stream, request, &terms, err) : tb_terms_again(stream, request, err);
	if (rc == TB_OK)
		rc = check_room(broker, stream, request->stream, err);
	if (rc == TB_OK)
		rc = check_window(broker, stream, err);
	if (rc != TB_OK || broker->no_room)
		return rc; /* without room it is let in, and granted nothing */
	if (opens) {
		const uint8_t *id = terms.renewed ? request->renewal.data : request->outbox.data;
		tb_epoch_gather(broker, request->stream, next_epoch(stream, request), terms.first, id, terms.place);
		stream = tb_stream_named(broker, request->stream);
	}
	window_grant(broker, stream);
	ask->stream = stream;
	ask->epoch = stream->epoch;
	return TB_OK;
}

static void fill_grant(const tb_broker *broker, const tb_asking *ask, Tb__HelloReply *reply)
{
	const tb_stream *stream = ask->stream;
	const tb_outbox_known *outbox = &stream->outboxes[stream->outbox_count - 1];
	reply->first = outbox->first;
	reply->place = outbox->place;
	reply->renewed = !same_outbox(stream, (const Tb__HelloRequest *)ask->request);
	reply->epoch = stream->epoch;
	reply->durable = stream->durable;
	reply->stored = stream->stored;
	reply->window_frames = broker->options.window_frames;
	reply->window_bytes = broker->options.window_bytes;
}

/* The last number of an epoch that another has followed: all up to there came from who held it. 0: not known any more. */
static uint64_t epoch_end(const tb_stream *stream, uint64_t epoch)
{
	for (uint32_t i = 0; stream != NULL && i + 1 < stream->epoch_count; i++)
		if (stream->epochs[i].epoch == epoch)
			return stream->epochs[i + 1].first - 1;
	return 0;
}

int tb_hello_tell(tb_broker *broker, tb_asking *ask, int final)
{
	const Tb__HelloRequest *request = (const Tb__HelloRequest *)ask->request;
	Tb__HelloReply reply = TB__HELLO_REPLY__INIT;
	Tb__Status status;
	(void)final;
	if (ask->stream != NULL && ask->epoch != ask->stream->epoch) /* another came in within the same batch */
		ask->err.rc = fail_fenced(ask->stream, ask->epoch, &ask->err);
	tb_ask_status(ask, &status);
	reply.status = &status;
	reply.journal_id = tb_journal_name(broker);
	reply.run_id = tb_run_name(broker);
	if (ask->err.rc == TB_OK && ask->stream != NULL)
		fill_grant(broker, ask, &reply);
	if (ask->err.rc == TB_EFENCED)
		reply.durable = epoch_end(tb_stream_named(broker, request->stream), request->epoch);
	tb_ask_answer(broker, ask, &reply.base, (tb_span){ 0 });
	return 1;
}
