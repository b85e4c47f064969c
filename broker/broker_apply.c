#include "broker/broker_state.h"

#include "base/bytes.h"

#include <sodium.h>
#include <stdio.h>

#define FIELDS_MIN 1024u
#define FIELD_SIZE 32u /* of those that come by the thousand: names of objects */

/* protobuf-c takes some 80 bytes for each field, also for those that nobody knows: a body of small ones would become
 * forty times as large in memory. */
static int fields_bounded(tb_span body)
{
	size_t most = FIELDS_MIN + body.size / FIELD_SIZE;
	for (uint64_t tag, size; body.size > 0; most--) {
		if (most == 0 || !tb_get_varint(&body, &tag))
			return 0;
		switch (tag & 7) {
		case 0:
			if (!tb_get_varint(&body, &size))
				return 0;
			size = 0;
			break;
		case 1:
			size = 8;
			break;
		case 2:
			if (!tb_get_varint(&body, &size))
				return 0;
			break;
		case 5:
			size = 4;
			break;
		default:
			return 0;
		}
		if (size > body.size)
			return 0;
		body = tb_span_of(body.data + size, body.size - size);
	}
	return 1;
}

tb_rc tb_body_read(tb_arena *arena, const tb_frame *frame, const ProtobufCMessageDescriptor *descriptor,
                   ProtobufCMessage **ret_message, tb_err *err)
{
	ProtobufCMessage *message = NULL;
	if (fields_bounded(frame->body))
		message = protobuf_c_message_unpack(descriptor, tb_arena_allocator(arena), frame->body.size, frame->body.data);
	if (message == NULL)
		return tb_fail(err, TB_ECORRUPT, "the body of a frame is not a %s", descriptor->short_name);
	*ret_message = message;
	return TB_OK;
}

tb_opens *tb_group_opens(tb_group_state *group, tb_stream *stream)
{
	if (group->row == NULL || group->row->lease != TB_LEASE_STREAM)
		return &group->open;
	return stream != NULL ? &stream->open : NULL;
}

tb_open *tb_volatile_find(tb_group_state *group, uint64_t id)
{
	return tb_opens_find(&group->loose, id);
}

void tb_volatile_add(tb_broker *broker, const tb_frame *frame, tb_span bytes, uint64_t key)
{
	const tb_kind_row *row = tb_kind_find(frame->kind);
	uint64_t id = TB_VOLATILE_ID | ++broker->volatile_next;
	for (unsigned i = 1; i < TB_GROUP_COUNT; i++) {
		if (!(row->groups & 1u << i))
			continue;
		tb_open *open = tb_opens_add(&broker->groups[i].loose, id, frame->kind, frame->stream);
		uint8_t *copy = tb_alloc(bytes.size);
		memcpy(copy, bytes.data, bytes.size);
		open->bytes = tb_span_of(copy, bytes.size);
		open->key = key;
		broker->volatile_bytes += bytes.size;
	}
}

void tb_volatile_remove(tb_broker *broker, tb_group_state *group, tb_open *open)
{
	broker->volatile_bytes -= open->bytes.size;
	tb_opens_remove(&group->loose, open);
}

static tb_rc no_stream(const tb_frame *frame, tb_err *err)
{
	return tb_fail(err, TB_ECORRUPT, "a frame of kind %u is of a stream that isn't known: %016llx", frame->kind,
	               (unsigned long long)frame->stream);
}

static tb_rc open_for_groups(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	tb_stream *stream = tb_stream_find(broker, frame->stream);
	const tb_kind_row *row = tb_kind_find(frame->kind);
	for (unsigned i = 1; i < TB_GROUP_COUNT; i++) {
		if (!(row->groups & 1u << i))
			continue;
		tb_opens *opens = tb_group_opens(&broker->groups[i], stream);
		if (opens == NULL)
			return no_stream(frame, err);
		tb_opens_add(opens, offset, frame->kind, frame->stream);
		broker->groups[i].open_count++;
	}
	return TB_OK;
}

static tb_rc apply_events(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	tb_stream *stream = tb_stream_find(broker, frame->stream);
	if (stream == NULL)
		return no_stream(frame, err);
	if (frame->first != stream->gathered + 1)
		return tb_fail(err, TB_ECORRUPT, "after event %llu of stream %s comes %llu",
		               (unsigned long long)stream->gathered, stream->name, (unsigned long long)frame->first);
	tb_index_add(broker, stream, frame->first, offset);
	stream->gathered = frame->first + frame->count - 1;
	tb_stream_tell(broker, stream, TB_TELL_NUMBERS);
	if (broker->journal == NULL) { /* replay: it is on disk */
		stream->durable = stream->gathered;
		stream->durable_stamp_ns = broker->stamp_ns;
	}
	return TB_OK;
}

static tb_rc apply_cut(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	ProtobufCMessage *message = NULL;
	tb_stream *stream = tb_stream_find(broker, frame->stream);
	if (stream == NULL)
		return no_stream(frame, err);
	tb_rc rc = tb_body_read(broker->turn, frame, &tb__cut__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	stream->cut = ((Tb__Cut *)message)->to;
	return open_for_groups(broker, frame, offset, err);
}

static tb_rc apply_manifest(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	ProtobufCMessage *message = NULL;
	tb_stream *stream = tb_stream_find(broker, frame->stream);
	if (stream == NULL)
		return no_stream(frame, err);
	tb_rc rc = tb_body_read(broker->turn, frame, &tb__manifest_frame__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	const Tb__ManifestFrame *manifest = (const Tb__ManifestFrame *)message;
	stream->chain = manifest->chain;
	crypto_generichash(stream->manifest_hash, TB_SUM, manifest->manifest.data, manifest->manifest.len, NULL, 0);
	return open_for_groups(broker, frame, offset, err);
}

static tb_rc apply_order(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	ProtobufCMessage *message = NULL;
	tb_stream *stream = tb_stream_find(broker, frame->stream);
	if (stream == NULL)
		return no_stream(frame, err);
	tb_rc rc = tb_body_read(broker->turn, frame, &tb__order__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	stream->order = offset;
	snprintf(stream->last_order, sizeof(stream->last_order), "%s", ((Tb__Order *)message)->backup);
	return open_for_groups(broker, frame, offset, err);
}

static void finish_frame(tb_group_state *group, tb_stream *stream, uint64_t id)
{
	tb_opens *opens = tb_group_opens(group, stream);
	tb_open *open = opens != NULL ? tb_opens_find(opens, id) : NULL;
	if (open == NULL)
		return;
	if (stream != NULL && stream->order == id)
		stream->order = 0;
	tb_opens_remove(opens, open);
	group->open_count--;
}

/* What was ordered is there, and the next may be ordered: whoever hears of the one may ask for the other at once. A body
 * that can't be read says nothing of it, and is for its takers to reject. */
static tb_rc apply_stored(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	ProtobufCMessage *message = NULL;
	tb_stream *stream = tb_stream_find(broker, frame->stream);
	if (stream != NULL && stream->order != 0 &&
	    tb_body_read(broker->turn, frame, &tb__stored__descriptor, &message, NULL) == TB_OK &&
	    strcmp(((Tb__Stored *)message)->backup, stream->last_order) == 0)
		finish_frame(&broker->groups[TB_GROUP_COLLECTOR], stream, stream->order);
	return open_for_groups(broker, frame, offset, err);
}

static tb_rc apply_reject(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	(void)offset;
	if (frame->flags >= TB_GROUP_COUNT)
		return tb_fail(err, TB_ECORRUPT, "a reject is of group %u, which there isn't", frame->flags);
	broker->groups[frame->flags].rejected++;
	return TB_OK;
}

static tb_rc apply_finish(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	(void)offset;
	ProtobufCMessage *message = NULL;
	tb_rc rc = tb_body_read(broker->turn, frame, &tb__finish__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	const Tb__Finish *finish = (const Tb__Finish *)message;
	if (tb_group_find(finish->group) == NULL)
		return tb_fail(err, TB_ECORRUPT, "group %u finishes frames, and there is no such group", finish->group);
	tb_group_state *group = &broker->groups[finish->group];
	tb_stream *stream = tb_stream_find(broker, finish->stream);
	for (size_t i = 0; i < finish->n_frames; i++)
		finish_frame(group, stream, finish->frames[i]);
	if (finish->to > 0 && stream != NULL && finish->to > stream->stored) {
		stream->stored = finish->to;
		tb_stream_tell(broker, stream, TB_TELL_NUMBERS);
	}
	return TB_OK;
}

static tb_rc apply_lease(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	(void)offset;
	ProtobufCMessage *message = NULL;
	tb_rc rc = tb_body_read(broker->turn, frame, &tb__lease__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	const Tb__Lease *lease = (const Tb__Lease *)message;
	tb_stream *stream = tb_stream_find(broker, lease->stream);
	if (tb_group_find(lease->group) == NULL || lease->member.len != TB_MEMBER_ID || (lease->stream != 0 && stream == NULL))
		return tb_fail(err, TB_ECORRUPT, "a lease is of a group, member or stream that there isn't");
	if (stream != NULL) {
		stream->generation = lease->generation;
		memcpy(stream->member, lease->member.data, TB_MEMBER_ID);
		return TB_OK;
	}
	tb_group_state *group = &broker->groups[lease->group];
	group->generation = lease->generation;
	group->handed_to = group->handed_before = 0;
	memcpy(group->member, lease->member.data, TB_MEMBER_ID);
	return TB_OK;
}

static void epoch_add(tb_stream *stream, uint64_t epoch, uint64_t first)
{
	if (stream->epoch_count == TB_EPOCHS_KEPT) {
		stream->epoch_count--;
		memmove(stream->epochs, stream->epochs + 1, stream->epoch_count * sizeof(stream->epochs[0]));
	}
	stream->epochs[stream->epoch_count].epoch = epoch;
	stream->epochs[stream->epoch_count++].first = first;
}

static tb_rc apply_epoch(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	(void)offset;
	ProtobufCMessage *message = NULL;
	tb_rc rc = tb_body_read(broker->turn, frame, &tb__epoch__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	const Tb__Epoch *epoch = (const Tb__Epoch *)message;
	tb_stream *stream = tb_stream_named(broker, epoch->stream);
	if (stream == NULL) {
		rc = tb_stream_possible(broker, epoch->stream, err);
		if (rc != TB_OK)
			return rc;
		stream = tb_stream_add(broker, epoch->stream);
	}
	stream->epoch = epoch->epoch;
	memset(stream->outbox, 0, TB_ID);
	if (epoch->outbox.len == TB_ID) {
		memcpy(stream->outbox, epoch->outbox.data, TB_ID);
		tb_outbox_note(stream, epoch->outbox.data, epoch->first, epoch->place);
	}
	epoch_add(stream, epoch->epoch, epoch->first);
	return TB_OK;
}

static tb_rc apply_period(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	(void)offset;
	(void)err;
	tb_period_set(broker, frame->body);
	return TB_OK;
}

static tb_rc apply_checkpoint(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	(void)offset;
	ProtobufCMessage *message = NULL;
	tb_rc rc = tb_body_read(broker->turn, frame, &tb__checkpoint__descriptor, &message, err);
	if (rc == TB_OK)
		rc = tb_checkpoint_apply(broker, (const Tb__Checkpoint *)message, err);
	return rc;
}

static const struct {
	enum tb_kind kind;
	tb_rc (*apply)(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err);
} rows[] = {
	{ TB_KIND_EVENTS, apply_events },
	{ TB_KIND_CUT, apply_cut },
	{ TB_KIND_OBJECT, open_for_groups },
	{ TB_KIND_SEALED, open_for_groups },
	{ TB_KIND_MANIFEST, apply_manifest },
	{ TB_KIND_STORED, apply_stored },
	{ TB_KIND_ASK, open_for_groups },
	{ TB_KIND_PRESENT, open_for_groups },
	{ TB_KIND_ORDER, apply_order },
	{ TB_KIND_REJECT, apply_reject },
	{ TB_KIND_FINISH, apply_finish },
	{ TB_KIND_LEASE, apply_lease },
	{ TB_KIND_EPOCH, apply_epoch },
	{ TB_KIND_PERIOD, apply_period },
	{ TB_KIND_CHECKPOINT, apply_checkpoint },
};

tb_rc tb_apply(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].kind == frame->kind)
			return rows[i].apply(broker, frame, offset, err);
	return tb_fail(err, TB_ECORRUPT, "a frame of kind %u is not one that is journalled", frame->kind);
}
