#include "workers/collector/collector.h"

#include "base/bytes.h"

/* The chains that the open segment moved, as they stand now; "moved" is empty afterwards. */
static tb_rc take_moved(tb_collector *collector, tb_turn *turn, tb_stream *stream, Tb__ManifestPrivate *private_part,
                        tb_err *err)
{
	tb_cursor *cursor;
	uint8_t from[8];
	tb_put64_be(from, stream->id);
	size_t room = 64, count = 0;
	tb_span *keys = tb_arena_alloc(turn->arena, room * sizeof(*keys));
	Tb__BankHead **heads = tb_arena_alloc(turn->arena, room * sizeof(Tb__BankHead *));
	tb_rc rc = tb_cursor_open(turn->txn, collector->moved_db, &cursor, err);
	if (rc != TB_OK)
		return rc;
	tb_span key, value;
	rc = tb_cursor_seek(cursor, tb_span_of(from, 8), &key, &value, err);
	while (rc == TB_OK && key.size == 24 && memcmp(key.data, from, 8) == 0) {
		if (count == room) {
			tb_span *more_keys = tb_arena_alloc(turn->arena, 2 * room * sizeof(*keys));
			Tb__BankHead **more_heads = tb_arena_alloc(turn->arena, 2 * room * sizeof(Tb__BankHead *));
			memcpy(more_keys, keys, count * sizeof(*keys));
			memcpy(more_heads, heads, count * sizeof(Tb__BankHead *));
			keys = more_keys;
			heads = more_heads;
			room *= 2;
		}
		heads[count] = tb__bank_head__unpack(tb_arena_allocator(turn->arena), value.size, value.data);
		if (heads[count] == NULL) {
			rc = tb_fail(err, TB_ECORRUPT, "the bank's record of a chain of %s is damaged", stream->name);
			break;
		}
		keys[count++] = tb_arena_copy(turn->arena, key);
		rc = tb_cursor_next(cursor, &key, &value, err);
	}
	tb_cursor_close(cursor);
	if (rc == TB_ENOTFOUND)
		rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < count; i++)
		rc = tb_txn_delete(turn->txn, collector->moved_db, keys[i], err);
	private_part->n_heads = count;
	private_part->heads = heads;
	return rc;
}

static tb_rc write_pending(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t from,
                           const Tb__PendingSegment *pending, tb_err *err)
{
	uint8_t key[16];
	size_t size = tb__pending_segment__get_packed_size(pending);
	uint8_t *bytes = tb_arena_alloc(turn->arena, size);
	tb__pending_segment__pack(pending, bytes);
	return tb_txn_put(turn->txn, collector->segments_db, collector_key(key, stream, from), tb_span_of(bytes, size), err);
}

static tb_rc damaged(const tb_stream *stream, tb_err *err)
{
	return tb_fail(err, TB_ECORRUPT, "the bank's record of a segment of %s is damaged", stream->name);
}

/* TB_ENOTFOUND without a sentence: no such segment is on its way. */
static tb_rc read_pending(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t from,
                          Tb__PendingSegment **ret_pending, tb_err *err)
{
	uint8_t key[16];
	tb_span value;
	tb_rc rc = tb_txn_get(turn->txn, collector->segments_db, collector_key(key, stream, from), &value, err);
	if (rc != TB_OK)
		return rc;
	Tb__PendingSegment *pending =
		tb__pending_segment__unpack(tb_arena_allocator(turn->arena), value.size, value.data);
	if (pending == NULL)
		return damaged(stream, err);
	*ret_pending = pending;
	return TB_OK;
}

tb_rc segment_learn_end(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	Tb__PendingSegment *pending;
	if (!segment_is_recut(stream) || stream->recut_end != 0)
		return TB_OK;
	tb_rc rc = read_pending(collector, turn, stream, stream->segment_from, &pending, err);
	if (rc != TB_OK)
		return rc == TB_ENOTFOUND ? TB_OK : rc;
	Tb__Cut *cut = tb__cut__unpack(tb_arena_allocator(turn->arena), pending->cut.len, pending->cut.data);
	if (cut == NULL || cut->to <= stream->applied)
		return damaged(stream, err);
	stream->recut_end = cut->to;
	return TB_OK;
}

static ProtobufCBinaryData pack(tb_turn *turn, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = tb_arena_alloc(turn->arena, size);
	protobuf_c_message_pack(message, bytes);
	return (ProtobufCBinaryData){ size, bytes };
}

static void fill_cut(tb_collector *collector, tb_stream *stream, Tb__Cut *cut)
{
	cut->stream = stream->name;
	cut->from = stream->segment_from;
	cut->to = stream->applied;
	cut->n_rejected = stream->rejected_count;
	cut->rejected = stream->rejected;
	cut->generation = stream->generation;
	cut->time_from_ns = stream->segment_time_from_ns;
	cut->time_to_ns = stream->effective_ns;
	cut->stamp_from_ns = stream->segment_stamp_from_ns;
	cut->stamp_to_ns = stream->stamp_ns;
	cut->events = stream->applied - stream->segment_from + 1;
	cut->bytes = stream->segment_bytes;
	cut->period = (ProtobufCBinaryData){ TB_PERIOD_RECORD, collector->period_record };
}

static void begin_next(tb_stream *stream)
{
	stream->recut_end = 0;
	stream->segment_from = stream->applied + 1;
	stream->segment_bytes = 0;
	stream->segment_due_ns = 0;
	stream->rejected_count = 0;
	stream->dirty = 1;
}

static tb_rc make_manifests(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err);

/* What another bank cut: the broker has that cut, and here stands what was made of it. */
static tb_rc cut_again(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__PendingSegment *cut,
                       tb_err *err)
{
	Tb__PendingSegment *pending;
	uint64_t from = stream->segment_from;
	tb_rc rc = read_pending(collector, turn, stream, from, &pending, err);
	if (rc != TB_OK)
		return rc == TB_ENOTFOUND ? damaged(stream, err) : rc;
	pending->cut = cut->cut;
	pending->private_part = cut->private_part;
	pending->foretold = 0;
	rc = write_pending(collector, turn, stream, from, pending, err);
	begin_next(stream);
	if (rc == TB_OK)
		rc = segment_learn_end(collector, turn, stream, err);
	return rc == TB_OK ? make_manifests(collector, turn, stream, err) : rc;
}

/* Where it was cut before, it is cut again, and nowhere else. */
static int is_due(const tb_collector *collector, const tb_stream *stream, int *ret_again)
{
	*ret_again = segment_is_recut(stream);
	if (stream->segment_bytes == 0 || (*ret_again && stream->applied != stream->recut_end))
		return 0;
	return collector->period_known; /* else there is nothing to seal for yet: the segment grows on */
}

tb_rc segment_cut(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	int again;
	if (segment_is_recut(stream) && stream->applied > stream->recut_end)
		return tb_fail(err, TB_ECORRUPT, "a segment of %s was cut at event %llu, which is no frame's last", stream->name,
		               (unsigned long long)stream->recut_end);
	if (!is_due(collector, stream, &again))
		return TB_OK;
	tb_rc rc = apply_flush(collector, turn, stream, err);
	Tb__ManifestPrivate private_part = TB__MANIFEST_PRIVATE__INIT;
	if (rc == TB_OK)
		rc = take_moved(collector, turn, stream, &private_part, err);
	if (rc != TB_OK)
		return rc;
	private_part.sum = (ProtobufCBinaryData){ sizeof(stream->sum.bytes), stream->sum.bytes };
	private_part.keys = stream->keys;
	Tb__Cut cut = TB__CUT__INIT;
	fill_cut(collector, stream, &cut);
	Tb__PendingSegment pending = TB__PENDING_SEGMENT__INIT;
	pending.cut = pack(turn, &cut.base);
	pending.private_part = pack(turn, &private_part.base);
	if (again)
		return cut_again(collector, turn, stream, &pending, err);
	rc = write_pending(collector, turn, stream, cut.from, &pending, err);
	if (rc != TB_OK)
		return rc;
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	collector_frame(&frame, TB_KIND_CUT, stream, cut.from, &cut.base);
	rc = collector_put(turn, stream, tb_buf_span(&frame), NULL, 0, 0, err);
	begin_next(stream);
	return rc;
}

static tb_rc make_manifest(tb_collector *collector, tb_turn *turn, tb_stream *stream, Tb__PendingSegment *pending,
                           tb_err *err)
{
	ProtobufCAllocator *allocator = tb_arena_allocator(turn->arena);
	Tb__Cut *cut = tb__cut__unpack(allocator, pending->cut.len, pending->cut.data);
	Tb__Sealed *sealed = tb__sealed__unpack(allocator, pending->sealed.len, pending->sealed.data);
	Tb__ManifestPrivate *private_part =
		tb__manifest_private__unpack(allocator, pending->private_part.len, pending->private_part.data);
	if (cut == NULL || sealed == NULL || private_part == NULL || cut->period.len != TB_PERIOD_RECORD)
		return damaged(stream, err);
	Tb__ObjectRef object = TB__OBJECT_REF__INIT, *objects[1] = { &object };
	object.name = sealed->name;
	object.size_plain = sealed->size_plain;
	object.size_stored = sealed->size_stored;
	Tb__Manifest manifest = TB__MANIFEST__INIT;
	manifest.type = (char *)(uintptr_t)"SEGMENT";
	char id[TB_BACKUP_ID];
	tb_backup_id(tb_backup_type_find("SEGMENT"), cut->stamp_to_ns, id);
	manifest.backup = id;
	manifest.from = cut->from;
	manifest.to = cut->to;
	manifest.time_from_ns = cut->time_from_ns;
	manifest.time_to_ns = cut->time_to_ns;
	manifest.stamp_from_ns = cut->stamp_from_ns;
	manifest.stamp_to_ns = cut->stamp_to_ns;
	manifest.n_rejected = cut->n_rejected;
	manifest.rejected = cut->rejected;
	manifest.n_objects = 1;
	manifest.objects = objects;
	manifest.records = cut->events;
	manifest.started_ns = cut->stamp_from_ns;
	manifest.period = (ProtobufCBinaryData){ TB_PERIOD_ID, cut->period.data + 8 };
	tb_rc rc = chain_append(collector, turn, stream, &manifest, private_part, &pending->sealed_id, 1, err);
	if (rc == TB_OK)
		stream->manifested = cut->to;
	return rc;
}

/* Manifests are made in the order of the segments, whatever order sealers finish in. */
static tb_rc make_manifests(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	for (;;) {
		Tb__PendingSegment *pending;
		uint64_t from = stream->manifested + 1;
		tb_rc rc = read_pending(collector, turn, stream, from, &pending, err);
		if (rc == TB_ENOTFOUND || (rc == TB_OK && (pending->sealed.len == 0 || pending->foretold)))
			return TB_OK;
		if (rc == TB_OK)
			rc = make_manifest(collector, turn, stream, pending, err);
		if (rc != TB_OK)
			return rc;
		pending->manifested = 1;
		rc = write_pending(collector, turn, stream, from, pending, err);
		if (rc != TB_OK)
			return rc;
	}
}

/* A cut as far as another's frames tell of it. */
static void fill_told(Tb__PendingSegment *pending, tb_turn *turn, uint64_t from, uint64_t to)
{
	Tb__Cut *cut = tb_arena_alloc(turn->arena, sizeof(*cut));
	tb__cut__init(cut);
	cut->from = from;
	cut->to = to;
	pending->cut = pack(turn, &cut->base);
}

tb_rc segment_await(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Manifest *manifest, tb_err *err)
{
	Tb__PendingSegment pending = TB__PENDING_SEGMENT__INIT;
	fill_told(&pending, turn, manifest->from, manifest->to);
	pending.manifested = 1;
	return write_pending(collector, turn, stream, manifest->from, &pending, err);
}

/* Of a cut that this bank hasn't come to: it says where that ends. Of one that it doesn't know: a second answer to one
 * that is stored already. */
static tb_rc sealed_elsewhere(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Sealed *sealed,
                              uint64_t id, tb_err *err)
{
	Tb__PendingSegment pending = TB__PENDING_SEGMENT__INIT;
	if (sealed->from < stream->segment_from || sealed->to > stream->recut_to || sealed->to < sealed->from)
		return collector_put(turn, stream, (tb_span){ 0 }, &id, 1, 0, err);
	fill_told(&pending, turn, sealed->from, sealed->to);
	pending.sealed = pack(turn, &sealed->base);
	pending.sealed_id = id;
	pending.foretold = 1;
	tb_rc rc = write_pending(collector, turn, stream, sealed->from, &pending, err);
	return rc == TB_OK ? segment_learn_end(collector, turn, stream, err) : rc;
}

static int cut_ends_at(const Tb__PendingSegment *pending, uint64_t to, tb_arena *arena)
{
	Tb__Cut *cut = tb__cut__unpack(tb_arena_allocator(arena), pending->cut.len, pending->cut.data);
	return cut != NULL && cut->to == to;
}

tb_rc segment_sealed(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Sealed *sealed, uint64_t id,
                     tb_err *err)
{
	Tb__PendingSegment *pending;
	tb_rc rc = read_pending(collector, turn, stream, sealed->from, &pending, err);
	if (rc == TB_ENOTFOUND)
		return sealed_elsewhere(collector, turn, stream, sealed, id, err);
	if (rc != TB_OK)
		return rc;
	if (!cut_ends_at(pending, sealed->to, turn->arena)) {
		stream->suspect = 1;
		stream_let_go(collector, turn, stream);
		return TB_OK;
	}
	if (pending->sealed.len > 0 && pending->sealed_id == id)
		return TB_OK; /* given again after a new grant: it is finished with its manifest */
	if (pending->sealed.len > 0)
		return collector_put(turn, stream, (tb_span){ 0 }, &id, 1, 0, err);
	pending->sealed = pack(turn, &sealed->base);
	pending->sealed_id = id;
	rc = write_pending(collector, turn, stream, sealed->from, pending, err);
	if (rc == TB_OK)
		rc = make_manifests(collector, turn, stream, err);
	return rc;
}

/* Is it the segment that was given to be stored? Whatever else is said of it, its events are not finished by that. */
static int is_stored_segment(const Tb__PendingSegment *pending, const Tb__Stored *stored, tb_arena *arena)
{
	return pending->manifested && cut_ends_at(pending, stored->to, arena);
}

tb_rc segment_stored(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_frame *frame,
                     const Tb__Stored *stored, uint64_t id, tb_err *err)
{
	uint8_t key[16];
	Tb__PendingSegment *pending;
	tb_rc rc = read_pending(collector, turn, stream, stored->from, &pending, err);
	if (rc == TB_ENOTFOUND) /* was told before: its events are finished */
		return collector_put(turn, stream, (tb_span){ 0 }, &id, 1, 0, err);
	if (rc != TB_OK)
		return rc;
	if (!is_stored_segment(pending, stored, turn->arena))
		return tb_turn_reject(turn, frame, id, &(tb_put){ .stream = stream->id }, "another segment than was made", err);
	rc = tb_txn_delete(turn->txn, collector->segments_db, collector_key(key, stream, stored->from), err);
	if (rc != TB_OK)
		return rc;
	stream->stored = stored->to;
	stream->dirty = 1;
	rc = agree_forget(collector, turn, stream, stored->chain, err);
	return rc == TB_OK ? collector_put(turn, stream, (tb_span){ 0 }, &id, 1, stored->to, err) : rc;
}
