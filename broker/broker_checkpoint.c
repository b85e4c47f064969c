#include "broker/broker_state.h"

#include <sodium.h>

static ProtobufCBinaryData id_or_none(uint64_t generation, const uint8_t *id)
{
	return generation != 0 ? tb_binary(id, TB_MEMBER_ID) : (ProtobufCBinaryData){ 0 };
}

static void outboxes_write(tb_arena *arena, tb_stream *stream, Tb__StreamState *state)
{
	if (stream->outbox_count > 0)
		stream->outboxes[stream->outbox_count - 1].upto = stream->gathered;
	state->outboxes = tb_arena_alloc(arena, stream->outbox_count * sizeof(*state->outboxes));
	for (; state->n_outboxes < stream->outbox_count; state->n_outboxes++) {
		const tb_outbox_known *known = &stream->outboxes[state->n_outboxes];
		Tb__OutboxState *outbox = state->outboxes[state->n_outboxes] = tb_arena_alloc(arena, sizeof(*outbox));
		tb__outbox_state__init(outbox);
		outbox->id = tb_binary(known->id, TB_ID);
		outbox->first = known->first;
		outbox->place = known->place;
		outbox->upto = known->upto;
	}
}

static Tb__StreamState *stream_write(const tb_broker *broker, tb_stream *stream)
{
	tb_arena *arena = broker->turn;
	Tb__StreamState *state = tb_arena_alloc(arena, sizeof(*state));
	tb__stream_state__init(state);
	state->name = stream->name;
	state->epoch = stream->epoch;
	state->durable = stream->durable;
	state->outbox = tb_binary(stream->outbox, TB_ID);
	state->stored = stream->stored;
	state->cut = stream->cut;
	state->chain = stream->chain;
	state->generation = stream->generation;
	state->member = id_or_none(stream->generation, stream->member);
	if (stream->chain > 0)
		state->manifest_hash = tb_binary(stream->manifest_hash, TB_SUM);
	uint64_t held = tb_first_held(broker, stream);
	state->first_held = held <= stream->durable ? held : 0;
	state->durable_stamp_ns = stream->durable_stamp_ns;
	state->last_order = stream->last_order;
	state->n_epochs = stream->epoch_count;
	state->epochs = tb_arena_alloc(arena, stream->epoch_count * sizeof(*state->epochs));
	for (uint32_t i = 0; i < stream->epoch_count; i++) {
		Tb__EpochStart *start = state->epochs[i] = tb_arena_alloc(arena, sizeof(*start));
		tb__epoch_start__init(start);
		start->epoch = stream->epochs[i].epoch;
		start->first = stream->epochs[i].first;
	}
	outboxes_write(arena, stream, state);
	return state;
}

static Tb__OpenFrame *open_write(tb_broker *broker, const tb_open *open)
{
	Tb__OpenFrame *frame = tb_arena_alloc(broker->turn, sizeof(*frame));
	tb__open_frame__init(frame);
	frame->offset = open->id;
	frame->kind = open->kind;
	frame->stream = open->stream;
	frame->attempts = open->attempts;
	tb_stream *stream = tb_stream_find(broker, open->stream);
	if (stream != NULL && stream->order == open->id)
		frame->backup = stream->last_order;
	return frame;
}

static void opens_write(tb_broker *broker, const tb_opens *opens, Tb__GroupState *state)
{
	for (const tb_open *open = NULL; (open = tb_opens_next(opens, open)) != NULL;)
		state->open[state->n_open++] = open_write(broker, open);
}

static Tb__GroupState *group_write(tb_broker *broker, unsigned number)
{
	tb_group_state *group = &broker->groups[number];
	Tb__GroupState *state = tb_arena_alloc(broker->turn, sizeof(*state));
	tb__group_state__init(state);
	state->group = number;
	state->generation = group->generation;
	state->member = id_or_none(group->generation, group->member);
	state->rejected = group->rejected;
	state->open = tb_arena_alloc(broker->turn, group->open_count * sizeof(*state->open));
	if (group->row == NULL || group->row->lease != TB_LEASE_STREAM) {
		opens_write(broker, &group->open, state);
		return state;
	}
	for (uint32_t i = 0; i < broker->stream_count; i++)
		opens_write(broker, &broker->streams[i]->open, state);
	return state;
}

void tb_checkpoint_write(tb_broker *broker, tb_buf *to)
{
	Tb__Checkpoint checkpoint = TB__CHECKPOINT__INIT;
	Tb__GroupState *groups[TB_GROUP_COUNT];
	for (unsigned i = 0; i < TB_GROUP_COUNT; i++)
		groups[i] = group_write(broker, i);
	checkpoint.n_groups = TB_GROUP_COUNT;
	checkpoint.groups = groups;
	checkpoint.n_streams = broker->stream_count;
	checkpoint.streams = tb_arena_alloc(broker->turn, broker->stream_count * sizeof(*checkpoint.streams));
	for (uint32_t i = 0; i < broker->stream_count; i++)
		checkpoint.streams[i] = stream_write(broker, broker->streams[i]);
	checkpoint.period = tb_binary(broker->period.data, broker->period.size);

	size_t at = tb_frame_begin(to), size = tb__checkpoint__get_packed_size(&checkpoint);
	tb_buf_reserve(to, size);
	to->size += tb__checkpoint__pack(&checkpoint, to->data + to->size);
	tb_frame_end(to, at, &(tb_frame){ .kind = TB_KIND_CHECKPOINT, .count = 1, .time_ns = broker->stamp_ns });
}

static void copy_exactly(uint8_t *to, size_t size, ProtobufCBinaryData from)
{
	if (from.len == size)
		memcpy(to, from.data, size);
}

static int outboxes_read(tb_stream *stream, const Tb__StreamState *state)
{
	if (state->n_outboxes > TB_OUTBOXES_KEPT)
		return 0;
	for (size_t i = 0; i < state->n_outboxes; i++) {
		const Tb__OutboxState *outbox = state->outboxes[i];
		if (outbox->id.len != TB_ID || outbox->first == 0 || outbox->place == 0 || outbox->upto > state->durable ||
		    outbox->first > outbox->upto + 1 || outbox->place > TB_NUMBER_MAX)
			return 0;
		tb_outbox_known *known = &stream->outboxes[stream->outbox_count++];
		memcpy(known->id, outbox->id.data, TB_ID);
		known->first = outbox->first;
		known->place = outbox->place;
		known->upto = outbox->upto;
	}
	return 1;
}

static tb_rc stream_read(tb_broker *broker, const Tb__StreamState *state, tb_err *err)
{
	tb_rc rc = tb_stream_possible(broker, state->name, err);
	if (rc != TB_OK)
		return rc;
	if (tb_stream_named(broker, state->name) != NULL || state->n_epochs > TB_EPOCHS_KEPT ||
	    strlen(state->last_order) > TB_ORDER_MAX)
		return tb_fail(err, TB_ECORRUPT, "what a checkpoint says of stream %s can't be", state->name);
	tb_stream *stream = tb_stream_add(broker, state->name);
	stream->epoch = state->epoch;
	stream->gathered = stream->durable = state->durable;
	stream->durable_stamp_ns = state->durable_stamp_ns;
	stream->stored = state->stored;
	stream->cut = state->cut;
	stream->chain = state->chain;
	stream->generation = state->generation;
	memcpy(stream->last_order, state->last_order, strlen(state->last_order) + 1);
	copy_exactly(stream->outbox, TB_ID, state->outbox);
	copy_exactly(stream->member, TB_MEMBER_ID, state->member);
	copy_exactly(stream->manifest_hash, TB_SUM, state->manifest_hash);
	for (size_t i = 0; i < state->n_epochs; i++) {
		stream->epochs[i].epoch = state->epochs[i]->epoch;
		stream->epochs[i].first = state->epochs[i]->first;
	}
	stream->epoch_count = (uint32_t)state->n_epochs;
	if (!outboxes_read(stream, state))
		return tb_fail(err, TB_ECORRUPT, "what a checkpoint says of the outboxes of stream %s can't be", state->name);
	return TB_OK;
}

static tb_rc open_read(tb_broker *broker, tb_group_state *group, const Tb__OpenFrame *frame, tb_err *err)
{
	tb_stream *stream = tb_stream_find(broker, frame->stream);
	tb_opens *opens = tb_group_opens(group, stream);
	if (opens == NULL || (opens->end > opens->head && opens->frames[opens->end - 1].id >= frame->offset))
		return tb_fail(err, TB_ECORRUPT, "a checkpoint's open frame at %llu can't be", (unsigned long long)frame->offset);
	tb_opens_add(opens, frame->offset, frame->kind, frame->stream)->attempts = frame->attempts;
	group->open_count++;
	if (frame->kind == TB_KIND_ORDER && stream != NULL)
		stream->order = frame->offset;
	return TB_OK;
}

static tb_rc group_read(tb_broker *broker, const Tb__GroupState *state, tb_err *err)
{
	if (state->group >= TB_GROUP_COUNT)
		return tb_fail(err, TB_ECORRUPT, "a checkpoint knows a group %u, and there is none", state->group);
	tb_group_state *group = &broker->groups[state->group];
	group->generation = state->generation;
	group->rejected = state->rejected;
	copy_exactly(group->member, TB_MEMBER_ID, state->member);
	for (size_t i = 0; i < state->n_open; i++) {
		tb_rc rc = open_read(broker, group, state->open[i], err);
		if (rc != TB_OK)
			return rc;
	}
	return TB_OK;
}

tb_rc tb_checkpoint_apply(tb_broker *broker, const Tb__Checkpoint *checkpoint, tb_err *err)
{
	tb_rc rc = TB_OK;
	if (broker->stream_count > 0)
		rc = tb_fail(err, TB_ECORRUPT, "a checkpoint stands in the middle of a journal file");
	for (size_t i = 0; rc == TB_OK && i < checkpoint->n_streams; i++)
		rc = stream_read(broker, checkpoint->streams[i], err);
	for (size_t i = 0; rc == TB_OK && i < checkpoint->n_groups; i++)
		rc = group_read(broker, checkpoint->groups[i], err);
	tb_period_set(broker, tb_span_of(checkpoint->period.data, checkpoint->period.len));
	return rc;
}

void tb_period_set(tb_broker *broker, tb_span period)
{
	tb_buf_clear(&broker->period);
	tb_buf_append_span(&broker->period, period);
	crypto_generichash(broker->period_hash, TB_SUM, period.data, period.size, NULL, 0);
}
