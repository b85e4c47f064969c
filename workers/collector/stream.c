#include "workers/collector/collector.h"

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>

tb_stream *stream_find(tb_collector *collector, uint64_t id)
{
	for (tb_stream *stream = collector->streams; stream != NULL; stream = stream->next)
		if (stream->id == id)
			return stream;
	return NULL;
}

static tb_rc open_states(tb_txn *txn, tb_stream *stream, tb_err *err)
{
	char state[32], beside[32];
	snprintf(state, sizeof(state), "state:%016llx", (unsigned long long)stream->id);
	snprintf(beside, sizeof(beside), "beside:%016llx", (unsigned long long)stream->id);
	tb_rc rc = tb_txn_db(txn, state, &stream->state, err);
	return rc == TB_OK ? tb_txn_db(txn, beside, &stream->beside, err) : rc;
}

static tb_rc add_stream(tb_collector *collector, tb_txn *txn, const char *name, tb_stream **ret_stream, tb_err *err)
{
	tb_rc rc = tb_stream_check(name, err);
	if (rc != TB_OK)
		return rc;
	tb_stream *stream = tb_alloc_zero(1, sizeof(*stream));
	snprintf(stream->name, sizeof(stream->name), "%s", name);
	stream->id = tb_stream_hash(name);
	stream->segment_from = 1;
	rc = open_states(txn, stream, err);
	if (rc == TB_OK)
		rc = tb_event_index_open(txn, stream->id, &stream->index, err);
	if (rc != TB_OK) {
		free(stream);
		return rc;
	}
	stream->next = collector->streams;
	collector->streams = stream;
	*ret_stream = stream;
	return TB_OK;
}

void stream_free_all(tb_collector *collector)
{
	while (collector->streams != NULL) {
		tb_stream *stream = collector->streams;
		collector->streams = stream->next;
		plan_drop(collector, stream);
		rebuild_drop(collector, stream);
		apply_drop(stream);
		index_drop(stream);
		free(stream->rejected);
		free(stream);
	}
}

static void load_segment(tb_stream *stream, const Tb__CollectorStream *record)
{
	stream->segment_from = record->segment_from;
	stream->segment_bytes = record->segment_bytes;
	stream->segment_time_from_ns = record->segment_time_from_ns;
	stream->segment_stamp_from_ns = record->segment_stamp_from_ns;
	stream->rejected_count = stream->rejected_room = record->n_segment_rejected;
	stream->rejected = tb_alloc(record->n_segment_rejected * sizeof(uint64_t));
	for (size_t i = 0; i < record->n_segment_rejected; i++)
		stream->rejected[i] = record->segment_rejected[i];
	if (stream->segment_bytes > 0)
		stream->segment_due_ns = 1; /* whatever was open is due now */
}

static void load_reset(tb_stream *stream, const Tb__CollectorStream *record)
{
	stream->swapped = record->swapped;
	if (record->swapped) {
		tb_db state = stream->beside;
		stream->beside = stream->state;
		stream->state = state;
	}
	stream->reset_begin = record->reset_begin;
	stream->reset_epoch = record->reset_epoch;
	if (record->beside_sum.len != 0)
		memcpy(stream->beside_sum.bytes, record->beside_sum.data, sizeof(stream->beside_sum.bytes));
	stream->beside_keys = record->beside_keys;
}

static void load_rebuild(tb_stream *stream, const Tb__CollectorStream *record)
{
	stream->recut_to = record->recut_to;
	stream->rebuilding = record->rebuilding;
	stream->clearing = record->clearing;
	stream->rebuild_chunk = record->rebuild_chunk;
	snprintf(stream->rebuild_base, sizeof(stream->rebuild_base), "%s", record->rebuild_base);
}

static tb_rc load_one(tb_collector *collector, tb_txn *txn, const Tb__CollectorStream *record, tb_err *err)
{
	tb_stream *stream;
	if (record->sum.len != sizeof(stream->sum.bytes) || record->manifest_hash.len > TB_HASH_SIZE ||
	    (record->beside_sum.len != 0 && record->beside_sum.len != sizeof(stream->beside_sum.bytes)))
		return tb_fail(err, TB_ECORRUPT, "the bank's record of stream %s is damaged", record->name);
	tb_rc rc = add_stream(collector, txn, record->name, &stream, err);
	if (rc != TB_OK)
		return rc;
	stream->applied = record->applied;
	stream->effective_ns = record->effective_ns;
	stream->stamp_ns = record->stamp_ns;
	memcpy(stream->sum.bytes, record->sum.data, sizeof(stream->sum.bytes));
	stream->keys = record->keys;
	load_reset(stream, record);
	load_segment(stream, record);
	load_rebuild(stream, record);
	stream->chain = record->chain;
	if (record->manifest_hash.len > 0)
		memcpy(stream->manifest_hash, record->manifest_hash.data, record->manifest_hash.len);
	stream->manifested = record->manifested;
	stream->stored = record->stored;
	return TB_OK;
}

tb_rc stream_load_all(tb_collector *collector, tb_txn *txn, tb_err *err)
{
	tb_cursor *cursor;
	tb_rc rc = tb_cursor_open(txn, collector->streams_db, &cursor, err);
	if (rc != TB_OK)
		return rc;
	tb_arena *arena = tb_arena_new();
	tb_span key, value;
	rc = tb_cursor_seek(cursor, (tb_span){ 0 }, &key, &value, err);
	while (rc == TB_OK) {
		Tb__CollectorStream *record =
			tb__collector_stream__unpack(tb_arena_allocator(arena), value.size, value.data);
		rc = record != NULL ? load_one(collector, txn, record, err)
		                    : tb_fail(err, TB_ECORRUPT, "a stream's record in the bank is damaged");
		if (rc == TB_OK)
			rc = tb_cursor_next(cursor, &key, &value, err);
		tb_arena_reset(arena);
	}
	tb_cursor_close(cursor);
	tb_arena_free(arena);
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

tb_rc stream_write(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	Tb__CollectorStream record = TB__COLLECTOR_STREAM__INIT;
	record.name = stream->name;
	record.journal_id = (ProtobufCBinaryData){ 16, (uint8_t *)(uintptr_t)turn->journal_id };
	record.applied = stream->applied;
	record.effective_ns = stream->effective_ns;
	record.stamp_ns = stream->stamp_ns;
	record.sum = (ProtobufCBinaryData){ sizeof(stream->sum.bytes), stream->sum.bytes };
	record.keys = stream->keys;
	record.swapped = stream->swapped;
	record.reset_begin = stream->reset_begin;
	record.reset_epoch = stream->reset_epoch;
	record.beside_sum = (ProtobufCBinaryData){ sizeof(stream->beside_sum.bytes), stream->beside_sum.bytes };
	record.beside_keys = stream->beside_keys;
	record.segment_from = stream->segment_from;
	record.segment_bytes = stream->segment_bytes;
	record.segment_time_from_ns = stream->segment_time_from_ns;
	record.segment_stamp_from_ns = stream->segment_stamp_from_ns;
	record.n_segment_rejected = stream->rejected_count;
	record.segment_rejected = stream->rejected;
	record.chain = stream->chain;
	record.manifest_hash = (ProtobufCBinaryData){ TB_HASH_SIZE, stream->manifest_hash };
	record.manifested = stream->manifested;
	record.stored = stream->stored;
	record.recut_to = stream->recut_to;
	record.rebuilding = stream->rebuilding;
	record.clearing = stream->clearing;
	record.rebuild_base = stream->rebuild_base;
	record.rebuild_chunk = stream->rebuild_chunk;
	size_t size = tb__collector_stream__get_packed_size(&record);
	uint8_t *bytes = tb_arena_alloc(turn->arena, size);
	tb__collector_stream__pack(&record, bytes);
	uint8_t key[8];
	tb_put64_be(key, stream->id);
	stream->dirty = 0;
	return tb_txn_put(turn->txn, collector->streams_db, tb_span_of(key, 8), tb_span_of(bytes, size), err);
}

void stream_blank(tb_stream *stream)
{
	apply_drop(stream);
	stream->applied = stream->effective_ns = stream->stamp_ns = stream->keys = 0;
	stream->sum = stream->beside_sum = (tb_sum){ 0 };
	stream->reset_begin = stream->reset_epoch = stream->beside_keys = 0;
	stream->segment_from = 1;
	stream->segment_bytes = stream->segment_time_from_ns = stream->segment_stamp_from_ns = 0;
	stream->segment_due_ns = 0;
	stream->rejected_count = stream->hash_count = 0;
	stream->chain = stream->manifested = stream->stored = 0;
	memset(stream->manifest_hash, 0, TB_HASH_SIZE);
	stream->recut_to = stream->recut_end = 0;
	stream->dirty = 1;
}

void stream_let_go(tb_collector *collector, tb_turn *turn, tb_stream *stream)
{
	stream->generation = 0;
	plan_drop(collector, stream);
	rebuild_drop(collector, stream);
	tb_turn_lease(turn, stream->id, 0);
}

/* A journal that ends before what was applied is older than the bank, and so is what else it says. */
static int is_older(tb_stream *stream, const Tb__Grant *grant)
{
	stream->blocked = !stream->rebuilding && grant->durable < stream->applied;
	if (stream->blocked)
		snprintf(stream->why, sizeof(stream->why),
		         "the broker's journal ends before what this bank has applied: it is older than the bank");
	return stream->blocked;
}

static tb_rc compare_grant(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Grant *grant,
                           tb_err *err)
{
	tb_agreement agreement = { 0 };
	if (is_older(stream, grant))
		return TB_OK;
	tb_rc rc = agree_check(collector, turn, stream, grant, &agreement, err);
	if (rc == TB_OK && !agreement.agrees)
		rebuild_want(collector, stream, grant, agreement.why);
	return rc;
}

tb_rc stream_granted(tb_collector *collector, tb_turn *turn, const Tb__Grant *grant, tb_err *err)
{
	tb_stream *stream = stream_find(collector, grant->stream);
	tb_rc rc = TB_OK;
	if (stream == NULL) {
		rc = add_stream(collector, turn->txn, grant->name, &stream, err);
		if (rc == TB_OK)
			rc = stream_write(collector, turn, stream, err);
	}
	if (rc != TB_OK)
		return rc;
	plan_drop(collector, stream);
	rebuild_drop(collector, stream);
	stream->generation = grant->generation;
	rc = compare_grant(collector, turn, stream, grant, err);
	int held = !stream->blocked && stream->rebuild == NULL;
	tb_turn_lease(turn, stream->id, held ? stream->generation : 0);
	return rc;
}
