#include "broker/broker_state.h"

#include "bus/bus.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TELL_EVERY (50 * TB_NS_PER_MS)

/* The hash is one already. */
static uint32_t slot_of(const tb_broker *broker, uint64_t hash)
{
	uint32_t slot = (uint32_t)(hash % TB_STREAM_SLOTS);
	while (broker->slots[slot] != NULL && broker->slots[slot]->hash != hash)
		slot = (slot + 1) % TB_STREAM_SLOTS;
	return slot;
}

tb_stream *tb_stream_find(const tb_broker *broker, uint64_t hash)
{
	return hash != 0 ? broker->slots[slot_of(broker, hash)] : NULL;
}

tb_stream *tb_stream_named(const tb_broker *broker, const char *name)
{
	tb_stream *stream = tb_stream_find(broker, tb_stream_hash(name));
	return stream != NULL && strcmp(stream->name, name) == 0 ? stream : NULL;
}

tb_rc tb_stream_possible(const tb_broker *broker, const char *name, tb_err *err)
{
	tb_rc rc = tb_stream_check(name, err);
	if (rc != TB_OK)
		return rc;
	const tb_stream *other = tb_stream_find(broker, tb_stream_hash(name));
	if (other != NULL && strcmp(other->name, name) != 0) {
		tb_fail(err, TB_EREFUSED, "stream %s can't be told from %s: their names have the same hash", name, other->name);
		tb_hint(err, "give it another name");
		return TB_EREFUSED;
	}
	if (other == NULL && broker->stream_count == TB_STREAMS_MAX)
		return tb_fail(err, TB_EFULL, "there are %u streams already, and there is no room for %s", TB_STREAMS_MAX, name);
	return TB_OK;
}

tb_stream *tb_stream_add(tb_broker *broker, const char *name)
{
	tb_stream *stream = tb_alloc_zero(1, sizeof(*stream));
	tb_buf topic = { 0 };
	tb_buf_print(&topic, "durable/%s", name);
	tb_buf_text(&topic);
	stream->topic = (char *)topic.data;
	stream->name = tb_strdup(name);
	stream->hash = tb_stream_hash(name);
	stream->index = broker->stream_count;
	broker->streams[broker->stream_count++] = stream;
	broker->slots[slot_of(broker, stream->hash)] = stream;
	return stream;
}

void tb_streams_close(tb_broker *broker)
{
	for (uint32_t i = 0; i < broker->stream_count; i++) {
		tb_stream *stream = broker->streams[i];
		tb_opens_drop(&stream->open);
		free(stream->name);
		free(stream->topic);
		free(stream);
	}
}

static void tell_now(tb_broker *broker, const char *topic, Tb__Durable *durable)
{
	durable->run_id = tb_run_name(broker);
	durable->journal_id = tb_journal_name(broker);
	tb_buf_clear(&broker->told);
	tb_control_write(&broker->told, TB_KIND_TOLD, &durable->base);
	broker->out.topic(broker->out.self, tb_span_text(topic), tb_buf_span(&broker->told));
}

/* One lost frame makes all that follow wrong: without a limit each of them would have its answer. */
static int too_soon(uint64_t *told_ns, uint64_t now)
{
	if (*told_ns != 0 && now - *told_ns < TELL_EVERY)
		return 1;
	*told_ns = now ? now : 1;
	return 0;
}

void tb_stream_tell(tb_broker *broker, tb_stream *stream, unsigned what)
{
	if (broker->journal == NULL)
		return; /* replay: nobody listens yet */
	uint64_t now = what & ~(unsigned)TB_TELL_NUMBERS ? tb_broker_mono(broker) : 0;
	if ((what & (TB_TELL_AGAIN | TB_TELL_LIMITED)) && too_soon(&stream->again_ns, now))
		what &= ~(unsigned)(TB_TELL_AGAIN | TB_TELL_LIMITED);
	if ((what & TB_TELL_HELLO) && too_soon(&stream->hello_ns, now))
		what &= ~(unsigned)TB_TELL_HELLO;
	if (what == 0)
		return;
	if (stream->tell == 0)
		broker->tell[broker->tell_count++] = stream;
	stream->tell |= what;
	if (broker->batch_count == 0)
		tb_tell_flush(broker);
}

void tb_stream_tell_unknown(tb_broker *broker, uint64_t hash)
{
	if (too_soon(&broker->unknown_ns[hash % 64], tb_broker_mono(broker)))
		return;
	char topic[32];
	snprintf(topic, sizeof(topic), "durable/#%016" PRIx64, hash);
	Tb__Durable durable = TB__DURABLE__INIT;
	durable.hello = 1;
	tell_now(broker, topic, &durable);
}

void tb_tell_flush(tb_broker *broker)
{
	for (uint32_t i = 0; i < broker->tell_count; i++) {
		tb_stream *stream = broker->tell[i];
		Tb__Durable durable = TB__DURABLE__INIT;
		durable.epoch = stream->epoch;
		durable.durable = stream->durable;
		durable.stored = stream->stored;
		durable.again = (stream->tell & TB_TELL_AGAIN) != 0;
		durable.hello = (stream->tell & TB_TELL_HELLO) != 0;
		stream->tell = 0;
		tell_now(broker, stream->topic, &durable);
	}
	broker->tell_count = 0;
}

void tb_streams_settle(tb_broker *broker)
{
	for (uint32_t i = 0; i < broker->tell_count; i++) {
		tb_stream *stream = broker->tell[i];
		if (stream->durable == stream->gathered)
			continue;
		stream->durable = stream->gathered;
		stream->durable_stamp_ns = broker->stamp_ns;
	}
}

void tb_epoch_gather(tb_broker *broker, const char *name, uint64_t epoch, uint64_t first, const uint8_t *outbox,
                     uint64_t place)
{
	Tb__Epoch message = TB__EPOCH__INIT;
	message.stream = (char *)(uintptr_t)name;
	message.epoch = epoch;
	message.first = first;
	if (outbox != NULL)
		message.outbox = tb_binary(outbox, TB_ID);
	message.place = place;
	tb_gather_message(broker, TB_KIND_EPOCH, &message.base);
}
