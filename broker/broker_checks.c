#include "broker/broker_state.h"

#include "base/bytes.h"

/* Bodies: those that bear content or lists of it, and those that say something. */
#define LARGE TB_FRAME_BODY_MAX
#define SMALL 65536u
#define HEALTH_ALL (8u << 20) /* of all members: it goes out in one answer */
#define TOPIC_MAX 256u

/* What stands wrong in a frame that is whole. */
static tb_rc read_body(const tb_put *put, const tb_frame *frame, const ProtobufCMessageDescriptor *descriptor,
                       ProtobufCMessage **ret_message, tb_err *err)
{
	tb_err why;
	if (tb_body_read(put->arena, frame, descriptor, ret_message, &why) == TB_OK)
		return TB_OK;
	return tb_fail(err, TB_EINVAL, "%s", why.text);
}

/* The stream that a frame is of. A head that says none is of the stream under whose lease the put is done. */
static tb_rc stream_of(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_stream **ret_stream, tb_err *err)
{
	if (frame->stream == 0 && put->stream != NULL)
		frame->stream = put->stream->hash;
	tb_stream *stream = tb_stream_find(broker, frame->stream);
	if (stream == NULL)
		return tb_fail(err, TB_ENOTFOUND, "there is no stream %016llx", (unsigned long long)frame->stream);
	if (put->stream != NULL && stream != put->stream)
		return tb_fail(err, TB_EINVAL, "a frame of stream %s is put under the lease of stream %s", stream->name,
		               put->stream->name);
	*ret_stream = stream;
	return TB_OK;
}

/* Where this put has brought the stream so far. */
static tb_stream *view_of(const tb_put *put, tb_stream *stream)
{
	if (stream->put == put->serial)
		return stream;
	stream->put = put->serial;
	stream->put_cut = stream->cut;
	stream->put_chain = stream->chain;
	stream->put_last = stream->gathered;
	stream->put_order = 0;
	return stream;
}

static tb_rc check_stream(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err)
{
	tb_stream *stream;
	(void)ret_verdict;
	return stream_of(broker, put, frame, &stream, err);
}

static tb_rc check_nothing(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err)
{
	(void)broker, (void)put, (void)frame, (void)ret_verdict, (void)err;
	return TB_OK;
}

static tb_rc check_reject(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err)
{
	(void)broker, (void)ret_verdict, (void)err;
	frame->flags = (uint16_t)put->request->group;
	return TB_OK;
}

static tb_rc check_cut(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err)
{
	ProtobufCMessage *message = NULL;
	tb_stream *stream;
	tb_rc rc = stream_of(broker, put, frame, &stream, err);
	if (rc == TB_OK)
		rc = read_body(put, frame, &tb__cut__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	const Tb__Cut *cut = (const Tb__Cut *)message;
	uint64_t last = view_of(put, stream)->put_cut;
	if (cut->from == 0 || cut->to < cut->from || cut->to > stream->durable)
		return tb_fail(err, TB_EINVAL, "stream %s, durable to %llu, can't be cut from %llu to %llu", stream->name,
		               (unsigned long long)stream->durable, (unsigned long long)cut->from, (unsigned long long)cut->to);
	if (cut->to <= last) {
		ret_verdict->keep = 0;
		return TB_OK;
	}
	if (cut->from != last + 1)
		return tb_fail(err, TB_EFENCED, "stream %s is cut to %llu: the next cut doesn't begin at %llu", stream->name,
		               (unsigned long long)last, (unsigned long long)cut->from);
	stream->put_cut = cut->to;
	return TB_OK;
}

static tb_rc check_manifest(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err)
{
	ProtobufCMessage *message = NULL;
	tb_stream *stream;
	tb_rc rc = stream_of(broker, put, frame, &stream, err);
	if (rc == TB_OK)
		rc = read_body(put, frame, &tb__manifest_frame__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	uint64_t chain = ((const Tb__ManifestFrame *)message)->chain, last = view_of(put, stream)->put_chain;
	if (chain == 0)
		return tb_fail(err, TB_EINVAL, "a manifest of stream %s has no number in its chain", stream->name);
	if (chain <= last) {
		ret_verdict->keep = 0;
		return TB_OK;
	}
	if (chain != last + 1)
		return tb_fail(err, TB_EFENCED, "the chain of stream %s stands at %llu: manifest %llu isn't the next", stream->name,
		               (unsigned long long)last, (unsigned long long)chain);
	stream->put_chain = chain;
	return TB_OK;
}

static tb_rc order_stream(tb_broker *broker, const tb_put *put, const Tb__Order *order, tb_frame *frame,
                          tb_stream **ret_stream, tb_err *err)
{
	tb_stream *stream = tb_stream_named(broker, order->stream);
	if (stream == NULL)
		return tb_fail(err, TB_ENOTFOUND, "there is no stream %s", order->stream);
	frame->stream = stream->hash;
	return stream_of(broker, put, frame, ret_stream, err);
}

static tb_rc check_order(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err)
{
	ProtobufCMessage *message = NULL;
	tb_stream *stream;
	tb_rc rc = read_body(put, frame, &tb__order__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	const Tb__Order *order = (const Tb__Order *)message;
	rc = order_stream(broker, put, order, frame, &stream, err);
	if (rc != TB_OK)
		return rc;
	size_t size = strlen(order->backup);
	if (size == 0 || size > TB_ORDER_MAX)
		return tb_fail(err, TB_EINVAL, "an order needs a backup id of 1 to %u characters", TB_ORDER_MAX);
	if (strcmp(order->backup, stream->last_order) == 0) {
		ret_verdict->keep = 0;
		return TB_OK;
	}
	if (stream->order != 0 || view_of(put, stream)->put_order) {
		tb_fail(err, TB_EBUSY, "a backup of stream %s is running: %s", stream->name,
		        stream->order != 0 ? stream->last_order : "another of this put");
		tb_hint(err, "wait until it is done; one backup of a stream runs at a time");
		return TB_EBUSY;
	}
	stream->put_order = 1;
	return TB_OK;
}

/* The signal's records. Their stream has no publisher, so it comes into being with the first of them. */
static tb_rc check_signals(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err)
{
	tb_err why;
	if (frame->stream != tb_stream_hash(TB_SIGNALS))
		return tb_fail(err, TB_EREFUSED, "only events of stream %s are put; engines publish theirs", TB_SIGNALS);
	if (frame->count == 0 || frame->first == 0 || frame->first > UINT64_MAX - frame->count ||
	    tb_events_check(frame, &why) != TB_OK)
		return tb_fail(err, TB_EINVAL, "a frame of %u events of stream %s doesn't hold them", frame->count, TB_SIGNALS);
	tb_stream *stream = tb_stream_named(broker, TB_SIGNALS);
	if (stream == NULL) {
		tb_rc rc = tb_stream_possible(broker, TB_SIGNALS, err);
		if (rc != TB_OK)
			return rc;
		tb_epoch_gather(broker, TB_SIGNALS, 1, 1, NULL, 0);
		stream = tb_stream_named(broker, TB_SIGNALS);
	}
	uint64_t last = view_of(put, stream)->put_last, end = frame->first + frame->count - 1;
	frame->epoch = stream->epoch;
	if (end <= last) {
		ret_verdict->keep = 0;
		return TB_OK;
	}
	if (frame->first != last + 1)
		return tb_fail(err, TB_EINVAL, "the next event of stream %s is %llu, not %llu", TB_SIGNALS,
		               (unsigned long long)last + 1, (unsigned long long)frame->first);
	stream->put_last = end;
	return TB_OK;
}

static uint64_t chunk_key(const Tb__Chunk *chunk)
{
	uint8_t parts[16];
	tb_put64(parts, tb_check64(chunk->plan.data, chunk->plan.len));
	tb_put64(parts + 8, chunk->index);
	return tb_check64(parts, sizeof(parts));
}

static tb_rc check_chunk(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err)
{
	ProtobufCMessage *message = NULL;
	tb_stream *stream;
	tb_rc rc = stream_of(broker, put, frame, &stream, err);
	if (rc == TB_OK)
		rc = read_body(put, frame, &tb__chunk__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	const tb_opens *loose = &broker->groups[TB_GROUP_SEALER].loose;
	ret_verdict->key = chunk_key((const Tb__Chunk *)message);
	for (const tb_open *open = NULL; (open = tb_opens_next(loose, open)) != NULL;)
		if (open->key == ret_verdict->key && open->stream == frame->stream)
			ret_verdict->keep = 0;
	return TB_OK;
}

static tb_rc check_health(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err)
{
	ProtobufCMessage *message = NULL;
	(void)broker, (void)ret_verdict;
	return read_body(put, frame, &tb__health__descriptor, &message, err);
}

static tb_rc check_announce(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err)
{
	ProtobufCMessage *message = NULL;
	(void)broker, (void)ret_verdict;
	tb_rc rc = read_body(put, frame, &tb__announce__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	const char *topic = ((const Tb__Announce *)message)->topic;
	if (topic[0] == '\0' || strlen(topic) > TOPIC_MAX)
		return tb_fail(err, TB_EINVAL, "a topic has 1 to %u characters", TOPIC_MAX);
	if (strncmp(topic, "durable/", 8) == 0 || strcmp(topic, "health") == 0)
		return tb_fail(err, TB_EREFUSED, "topic %s: only the broker speaks there", topic);
	return TB_OK;
}

static tb_rc check_period(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err)
{
	(void)put;
	if (frame->body.size == 0)
		return tb_fail(err, TB_EINVAL, "a period's record isn't empty");
	ret_verdict->keep = !tb_span_equal(frame->body, tb_buf_span(&broker->period));
	return TB_OK;
}

/* ---- how they are kept */

static void keep_durable(tb_broker *broker, const tb_put *put, const tb_frame *frame, tb_span bytes,
                         const tb_verdict *verdict)
{
	tb_frame came;
	(void)put, (void)verdict;
	int same = tb_frame_read_head(bytes, &came, NULL) == TB_OK && came.stream == frame->stream &&
	           came.epoch == frame->epoch && came.flags == frame->flags;
	tb_gather(broker, frame, same ? bytes : (tb_span){ 0 });
}

static void keep_chunk(tb_broker *broker, const tb_put *put, const tb_frame *frame, tb_span bytes,
                       const tb_verdict *verdict)
{
	(void)put;
	tb_volatile_add(broker, frame, bytes, verdict->key);
}

static size_t health_total(const tb_broker *broker)
{
	size_t total = 0;
	for (unsigned i = 0; i < TB_GROUP_COUNT; i++)
		for (size_t m = 0; m < broker->groups[i].member_count; m++)
			total += broker->groups[i].members[m].health.size;
	return total;
}

static void keep_health(tb_broker *broker, const tb_put *put, const tb_frame *frame, tb_span bytes,
                        const tb_verdict *verdict)
{
	(void)bytes, (void)verdict;
	if (put->member != NULL) {
		tb_buf_clear(&put->member->health);
		if (health_total(broker) + frame->body.size <= HEALTH_ALL)
			tb_buf_append_span(&put->member->health, frame->body);
	}
	tb_topic_later(broker, tb_span_text("health"), frame->body);
}

static void keep_announce(tb_broker *broker, const tb_put *put, const tb_frame *frame, tb_span bytes,
                          const tb_verdict *verdict)
{
	ProtobufCMessage *message = NULL;
	(void)bytes, (void)verdict;
	if (tb_body_read(put->arena, frame, &tb__announce__descriptor, &message, NULL) != TB_OK)
		return;
	const Tb__Announce *announce = (const Tb__Announce *)message;
	tb_topic_later(broker, tb_span_text(announce->topic), tb_span_of(announce->body.data, announce->body.len));
}

#define CLIENT (1u << TB_GROUP_NONE)
#define COLLECTOR TB_GROUP_BIT(COLLECTOR)
#define SEALER TB_GROUP_BIT(SEALER)
#define STORER TB_GROUP_BIT(STORER)
#define SIGNAL TB_GROUP_BIT(SIGNAL)
#define WORKERS (COLLECTOR | SEALER | STORER | SIGNAL)

static const tb_check checks[] = {
	{ TB_KIND_EVENTS, SIGNAL, 1, SMALL, check_signals, keep_durable },
	{ TB_KIND_CUT, COLLECTOR, 1, LARGE, check_cut, keep_durable },
	{ TB_KIND_CHUNK, COLLECTOR, 1, LARGE, check_chunk, keep_chunk },
	{ TB_KIND_OBJECT, SEALER, 1, LARGE, check_nothing, keep_durable },
	{ TB_KIND_SEALED, SEALER, 1, SMALL, check_stream, keep_durable },
	{ TB_KIND_MANIFEST, COLLECTOR, 1, LARGE, check_manifest, keep_durable },
	{ TB_KIND_STORED, STORER, 1, SMALL, check_stream, keep_durable },
	{ TB_KIND_ASK, COLLECTOR, 1, LARGE, check_stream, keep_durable },
	{ TB_KIND_PRESENT, STORER, 1, LARGE, check_stream, keep_durable },
	{ TB_KIND_ORDER, CLIENT | COLLECTOR, 1, SMALL, check_order, keep_durable },
	{ TB_KIND_REJECT, WORKERS, 1, LARGE, check_reject, keep_durable },
	{ TB_KIND_HEALTH, WORKERS | CLIENT, 0, SMALL, check_health, keep_health },
	{ TB_KIND_ANNOUNCE, SIGNAL, 1, SMALL, check_announce, keep_announce },
	{ TB_KIND_PERIOD, CLIENT, 1, SMALL, check_period, keep_durable },
};

const tb_check *tb_check_find(unsigned kind)
{
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		if (checks[i].kind == kind)
			return &checks[i];
	return NULL;
}
