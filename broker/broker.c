#include "broker/broker_state.h"

#include "base/bytes.h"

#include <sodium.h>
#include <stdlib.h>

#define UPKEEP_NS TB_NS_PER_S
#define BUFFER_KEPT (1u << 20)

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
	return value ? value : fallback;
}

static tb_broker_options options_filled(const tb_broker_options *given)
{
	tb_broker_options options = *given;
	options.journal.file_size = or_default(given->journal.file_size, UINT64_C(64) << 20);
	options.journal_limit = or_default(given->journal_limit, UINT64_C(4) << 30);
	if (options.journal_limit < 4 * options.journal.file_size)
		options.journal_limit = 4 * options.journal.file_size;
	options.journal_keep_ns = or_default(given->journal_keep_ns, 3600 * TB_NS_PER_S);
	options.lease_ns = or_default(given->lease_ns, 10 * TB_NS_PER_S);
	options.silence_ns = or_default(given->silence_ns, 10 * TB_NS_PER_S);
	options.window_frames = (uint32_t)or_default(given->window_frames, 64);
	options.window_bytes = or_default(given->window_bytes, 4u << 20);
	options.publishers_max = (uint32_t)or_default(given->publishers_max, 128);
	options.volatile_max = or_default(given->volatile_max, 48u << 20);
	options.waiting_max = (uint32_t)or_default(given->waiting_max, 1024);
	options.streams_max = (uint32_t)or_default(given->streams_max, 1000);
	return options;
}

static tb_broker *broker_new(const tb_broker_options *options, const tb_broker_out *out)
{
	tb_broker *broker = tb_alloc_zero(1, sizeof(*broker));
	broker->options = options_filled(options);
	broker->out = *out;
	broker->streams = tb_alloc_zero(TB_STREAMS_MAX, sizeof(tb_stream *));
	broker->tell = tb_alloc_zero(TB_STREAMS_MAX, sizeof(tb_stream *));
	broker->turn = tb_arena_new();
	broker->started_ns = tb_real_ns(options->clock);
	/* So that a volatile frame of an earlier life isn't taken for one of this. */
	broker->volatile_next = (uint64_t)(tb_get32(options->run_id) & 0x7fffffff) << 32;
	for (unsigned i = 0; i < TB_GROUP_COUNT; i++)
		broker->groups[i].row = tb_group_find(i);
	tb_index_rotate(broker);
	return broker;
}

static tb_rc replay_frame(void *self, uint64_t offset, const tb_frame *frame, uint64_t stamp_ns, tb_err *err)
{
	tb_broker *broker = self;
	broker->stamp_ns = stamp_ns;
	tb_rc rc = tb_apply(broker, frame, offset, err);
	tb_arena_reset(broker->turn);
	return rc;
}

/* Who held a lease before the restart has its time to come back. */
static void welcome_holder(tb_broker *broker, tb_group_state *group, uint64_t generation, const uint8_t *id)
{
	if (generation != 0 && tb_member_find(group, id) == NULL)
		tb_member_add(group, id)->seen_ns = tb_broker_mono(broker);
}

static void welcome_holders(tb_broker *broker)
{
	for (unsigned i = 1; i < TB_GROUP_COUNT; i++) {
		tb_group_state *group = &broker->groups[i];
		welcome_holder(broker, group, group->generation, group->member);
		if (group->row->lease != TB_LEASE_STREAM)
			continue;
		for (uint32_t s = 0; s < broker->stream_count; s++)
			welcome_holder(broker, group, broker->streams[s]->generation, broker->streams[s]->member);
	}
}

static tb_rc keep_period(tb_broker *broker, tb_span period, tb_err *err)
{
	if (period.size == 0 || tb_span_equal(period, tb_buf_span(&broker->period)))
		return TB_OK;
	tb_gather(broker, &(tb_frame){ .kind = TB_KIND_PERIOD, .count = 1, .body = period }, (tb_span){ 0 });
	return tb_broker_commit(broker, err);
}

tb_rc tb_broker_open(const tb_broker_options *options, const tb_broker_out *out, tb_broker **ret_broker,
                     tb_journal_opened *ret_opened, tb_err *err)
{
	if (sodium_init() < 0)
		return tb_fail(err, TB_EIO, "libsodium doesn't start");
	tb_broker *broker = broker_new(options, out);
	tb_journal_opened opened;
	tb_journal *journal;
	tb_journal_replay replay = { broker, replay_frame };
	tb_rc rc = tb_journal_open(&broker->options.journal, &replay, &journal, &opened, err);
	if (rc == TB_OK) {
		broker->journal = journal;
		rc = tb_files_open(broker, err);
	}
	if (rc == TB_OK) {
		welcome_holders(broker);
		rc = keep_period(broker, options->period, err);
	}
	if (rc != TB_OK) {
		tb_broker_close(broker);
		return rc;
	}
	broker->options.period = (tb_span){ 0 };
	*ret_opened = opened;
	*ret_broker = broker;
	return TB_OK;
}

void tb_broker_close(tb_broker *broker)
{
	if (broker == NULL)
		return;
	tb_asks_close(broker);
	tb_files_close(broker);
	tb_index_close(broker);
	tb_streams_close(broker);
	for (unsigned i = 0; i < TB_GROUP_COUNT; i++)
		tb_group_drop(&broker->groups[i]);
	tb_journal_close(broker->journal);
	tb_buf *bufs[] = { &broker->period, &broker->batch, &broker->told, &broker->topics, &broker->answer, &broker->frames,
		           &broker->leased };
	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
		tb_buf_drop(bufs[i]);
	tb_arena_free(broker->turn);
	free(broker->streams);
	free(broker->tell);
	free(broker);
}

void tb_gather(tb_broker *broker, const tb_frame *frame, tb_span bytes)
{
	uint64_t offset = tb_journal_next(broker->journal) + broker->batch.size;
	if (bytes.size > 0)
		tb_buf_append_span(&broker->batch, bytes);
	else
		tb_frame_write(&broker->batch, frame);
	broker->batch_count++;
	if (broker->failure.rc == TB_OK)
		tb_apply(broker, frame, offset, &broker->failure);
}

void tb_gather_message(tb_broker *broker, enum tb_kind kind, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *body = tb_arena_alloc(broker->turn, size);
	protobuf_c_message_pack(message, body);
	tb_gather(broker, &(tb_frame){ .kind = kind, .count = 1, .body = tb_span_of(body, size) }, (tb_span){ 0 });
}

void tb_broker_turned_away(tb_broker *broker, uint64_t count)
{
	broker->refused[TB_REFUSED_HOST] = count;
}

size_t tb_broker_gathered(const tb_broker *broker)
{
	return broker->batch.size;
}

void tb_topic_later(tb_broker *broker, tb_span topic, tb_span body)
{
	uint8_t sizes[8];
	tb_put32(sizes, (uint32_t)topic.size);
	tb_put32(sizes + 4, (uint32_t)body.size);
	tb_buf_append(&broker->topics, sizes, sizeof(sizes));
	tb_buf_append_span(&broker->topics, topic);
	tb_buf_append_span(&broker->topics, body);
}

void tb_topics_flush(tb_broker *broker)
{
	const tb_buf *topics = &broker->topics;
	for (size_t at = 0; at < topics->size;) {
		tb_span topic = tb_span_of(topics->data + at + 8, tb_get32(topics->data + at));
		tb_span body = tb_span_of(topic.data + topic.size, tb_get32(topics->data + at + 4));
		broker->out.topic(broker->out.self, topic, body);
		at += 8 + topic.size + body.size;
	}
	tb_buf_clear(&broker->topics);
}

static void stamp_batch(tb_broker *broker, uint64_t stamp_ns)
{
	for (size_t at = 0; at < broker->batch.size;) {
		uint8_t *head = broker->batch.data + at;
		tb_frame_stamp(head, stamp_ns);
		at += TB_FRAME_HEAD + tb_get32(head + 8);
	}
}

static void batch_clear(tb_broker *broker)
{
	tb_buf_clear(&broker->batch);
	broker->batch_count = 0;
}

/* What was large once doesn't keep its memory; while it is large all the time, making it anew each second costs nothing. */
static void give_back(tb_broker *broker)
{
	tb_buf *bufs[] = { &broker->batch, &broker->told, &broker->topics, &broker->answer, &broker->frames, &broker->leased };
	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
		if (bufs[i]->capacity > BUFFER_KEPT)
			tb_buf_drop(bufs[i]);
	tb_asks_give_back(broker);
}

static tb_rc append_batch(tb_broker *broker, tb_err *err)
{
	uint64_t now = tb_real_ns(broker->options.clock), offset;
	uint64_t stamp = now > broker->stamp_ns ? now : broker->stamp_ns;
	stamp_batch(broker, stamp);
	tb_rc rc =
		tb_journal_append(broker->journal, tb_buf_span(&broker->batch), broker->batch_count, stamp, &offset, err);
	if (rc != TB_OK)
		return rc;
	broker->stamp_ns = stamp;
	broker->changed = 1;
	batch_clear(broker);
	tb_streams_settle(broker);
	return broker->stuck.rc == TB_OK ? tb_files_rotate(broker, err) : TB_OK; /* else upkeep tries again */
}

static tb_rc commit_rounds(tb_broker *broker, tb_err *err)
{
	tb_rc rc = TB_OK;
	/* A waiting take may be granted a lease by what was just committed; it is told of it after the next round. */
	do {
		if (broker->batch_count > 0)
			rc = append_batch(broker, err);
		if (rc == TB_OK)
			tb_asks_again(broker);
		if (rc == TB_OK && broker->failure.rc != TB_OK) {
			*err = broker->failure;
			rc = broker->failure.rc;
		}
	} while (rc == TB_OK && broker->batch_count > 0);
	return rc;
}

/* Only when nothing is gathered: what is finished in the state has to be so on disk before a file goes. */
static void files_upkeep(tb_broker *broker)
{
	if (!broker->files_due || broker->batch_count > 0)
		return;
	broker->files_due = 0;
	tb_files_drop(broker);
	if (broker->stuck.rc != TB_OK)
		tb_files_rotate(broker, &broker->failure);
}

tb_rc tb_broker_commit(tb_broker *broker, tb_err *err)
{
	tb_err own;
	err = err != NULL ? err : &own;
	if (broker->failure.rc != TB_OK) {
		*err = broker->failure;
		return broker->failure.rc;
	}
	if (broker->batch_count == 0 && !broker->changed)
		return TB_OK;
	tb_rc rc = commit_rounds(broker, err);
	if (rc != TB_OK) {
		broker->failure = *err;
		return rc;
	}
	broker->changed = 0;
	tb_tell_flush(broker);
	tb_topics_flush(broker);
	tb_asks_serve(broker);
	files_upkeep(broker);
	tb_arena_reset(broker->turn);
	return TB_OK;
}

static void upkeep(tb_broker *broker)
{
	tb_leases_check(broker);
	tb_publishers_check(broker);
	broker->files_due = 1;
	if (broker->batch_count == 0 && broker->topics.size == 0)
		give_back(broker);
}

uint64_t tb_broker_tick(tb_broker *broker)
{
	uint64_t now = tb_broker_mono(broker);
	if (now >= broker->upkeep_ns) {
		upkeep(broker);
		uint64_t quarter = broker->options.lease_ns / 4 + 1;
		broker->upkeep_ns = now + (quarter < UPKEEP_NS ? quarter : UPKEEP_NS);
	}
	files_upkeep(broker);
	if (broker->batch_count == 0 && tb_asks_deadline(broker) <= now)
		tb_asks_serve(broker);
	tb_arena_reset(broker->turn);
	uint64_t deadline = tb_asks_deadline(broker);
	return deadline < broker->upkeep_ns ? deadline : broker->upkeep_ns;
}
