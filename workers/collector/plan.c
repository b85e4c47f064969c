/* Plans: what a backup collects, read in pieces while ingestion goes on, and made exact by the events of that span.
 *
 * A plan notes the number at which it began (replay_from), reads the state one chunk a turn, and ends at a cut. While a
 * reset is open the state stands still, so when one is open at the beginning replay_from is its begin: what it had by
 * then is laid beside again, should it be committed in the span or after it. One that is open at the end was either
 * open at the beginning, too, or begun in the span. A commit in the span changes which database the chunks behind it
 * are read from: whatever was read before or after it, the commit replaces it all when the span is replayed. Chunks
 * are volatile: they are kept here until sealed, a window of them at a time. A plan is memory only: when it is lost, its
 * order comes again and it starts anew under another plan id; what was sealed for the old one is named by nothing. */
#include "workers/collector/plan_parts.h"

#include "base/log.h"
#include "base/planted.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW_BYTES (12u * 1024 * 1024) /* of all plans; beyond it no further chunk is read */
/* So many objects, with the keys at their ends, fit into a manifest's frame. */
#define CHUNKS_MAX 30000u
#define AGAIN_AFTER (30 * TB_NS_PER_S)

static void free_window(tb_collector *collector, struct on_its_way *place)
{
	if (place->frame != NULL)
		collector->chunk_bytes -= place->frame->bytes.size;
	tb_held_release(place->frame);
	place->frame = NULL;
}

void plan_drop(tb_collector *collector, tb_stream *stream)
{
	tb_plan *plan = stream->plan;
	if (plan == NULL)
		return;
	for (size_t i = 0; i < plan->chunk_count; i++) {
		tb_buf_drop(&plan->chunks[i].first_key);
		tb_buf_drop(&plan->chunks[i].last_key);
	}
	for (size_t i = 0; i < WINDOW; i++)
		free_window(collector, &plan->window[i]);
	free(plan->chunks);
	tb_buf_drop(&plan->resume);
	free(plan);
	stream->plan = NULL;
}

void plan_broker_restarted(tb_stream *stream)
{
	if (stream->plan != NULL)
		stream->plan->again = 1;
}

tb_plan *plan_begin(tb_turn *turn, tb_stream *stream, const char *backup, uint64_t order_id)
{
	tb_plan *plan = tb_alloc_zero(1, sizeof(*plan));
	snprintf(plan->backup, sizeof(plan->backup), "%s", backup);
	randombytes_buf(plan->id, sizeof(plan->id));
	plan->order_id = order_id;
	plan->replay_from = stream->reset_begin != 0 ? stream->reset_begin : stream->applied + 1;
	plan->started_ns = turn->now_ns;
	stream->plan = plan;
	return plan;
}

/* TB_ENOTFOUND without a sentence: no manifest of that id was made. */
static tb_rc read_backup(tb_collector *collector, tb_turn *turn, const char *id, Tb__CollectorBackup **ret_backup,
                         tb_err *err)
{
	tb_span value;
	tb_rc rc = tb_txn_get(turn->txn, collector->backups_db, tb_span_text(id), &value, err);
	if (rc != TB_OK)
		return rc;
	*ret_backup = tb__collector_backup__unpack(tb_arena_allocator(turn->arena), value.size, value.data);
	return *ret_backup != NULL ? TB_OK : tb_fail(err, TB_ECORRUPT, "the bank's record of backup %s is damaged", id);
}

static tb_rc write_backup(tb_collector *collector, tb_turn *turn, const char *id, const Tb__CollectorBackup *backup,
                          tb_err *err)
{
	size_t size = tb__collector_backup__get_packed_size(backup);
	uint8_t *bytes = tb_arena_alloc(turn->arena, size + 1);
	tb__collector_backup__pack(backup, bytes);
	return tb_txn_put(turn->txn, collector->backups_db, tb_span_text(id), tb_span_of(bytes, size), err);
}

tb_rc plan_note_stored(tb_collector *collector, tb_turn *turn, tb_stream *stream, const char *id, uint64_t to,
                       tb_err *err)
{
	Tb__CollectorBackup made = TB__COLLECTOR_BACKUP__INIT;
	made.to = to;
	made.stream = stream->id;
	made.stored = 1;
	return write_backup(collector, turn, id, &made, err);
}

/* The next one behind `from`, which is moved there. */
static tb_rc next_unstored(tb_collector *collector, tb_turn *turn, const tb_stream *stream, tb_buf *from, tb_err *err)
{
	tb_cursor *cursor;
	tb_span key, value;
	tb_rc rc = tb_cursor_open(turn->txn, collector->backups_db, &cursor, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_cursor_seek(cursor, tb_buf_span(from), &key, &value, err);
	for (; rc == TB_OK; rc = tb_cursor_next(cursor, &key, &value, err)) {
		Tb__CollectorBackup *made =
			tb__collector_backup__unpack(tb_arena_allocator(turn->arena), value.size, value.data);
		if (made == NULL || (made->stream == stream->id && !made->stored))
			break;
	}
	if (rc == TB_OK) {
		tb_buf_clear(from);
		tb_buf_append_span(from, key);
	}
	tb_cursor_close(cursor);
	return rc;
}

tb_rc plan_forget_unstored(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf id = { 0 };
	tb_rc rc;
	while ((rc = next_unstored(collector, turn, stream, &id, err)) == TB_OK) {
		rc = tb_txn_delete(turn->txn, collector->backups_db, tb_buf_span(&id), err);
		if (rc != TB_OK)
			return rc;
	}
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

tb_rc plan_ordered(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Order *order, uint64_t id,
                   tb_err *err)
{
	Tb__CollectorBackup *made;
	if (stream->plan != NULL && strcmp(stream->plan->backup, order->backup) == 0) {
		stream->plan->order_id = id;
		return TB_OK;
	}
	tb_rc rc = read_backup(collector, turn, order->backup, &made, err);
	if (rc == TB_OK && made->stored)
		return collector_put(turn, stream, (tb_span){ 0 }, &id, 1, 0, err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	plan_drop(collector, stream);
	tb_plan *plan = plan_begin(turn, stream, order->backup, id);
	if (rc == TB_OK) {
		plan->stage = MADE;
		return TB_OK;
	}
	tb_log(TB_LOG_INFO, "backup %s of stream %s begins at event %llu", plan->backup, stream->name,
	       (unsigned long long)stream->applied);
	return TB_OK;
}

static struct on_its_way *free_place(const tb_collector *collector, tb_plan *plan)
{
	for (size_t i = 0; collector->chunk_bytes < WINDOW_BYTES && i < WINDOW; i++)
		if (plan->window[i].frame == NULL)
			return &plan->window[i];
	return NULL;
}

static void send_chunk(tb_turn *turn, tb_stream *stream, struct on_its_way *place)
{
	place->sent_ns = turn->mono_ns;
	tb_turn_put_volatile(turn, &(tb_put){ .stream = stream->id }, place->frame);
}

static void add_chunk(tb_plan *plan, tb_chunker *chunker)
{
	if (plan->chunk_count == plan->chunk_room) {
		plan->chunk_room = plan->chunk_room ? plan->chunk_room * 2 : 16;
		plan->chunks = tb_realloc(plan->chunks, plan->chunk_room * sizeof(*plan->chunks));
	}
	struct chunk *chunk = &plan->chunks[plan->chunk_count++];
	*chunk = (struct chunk){ 0 };
	tb_buf_append_span(&chunk->first_key, tb_buf_span(&chunker->first_key));
	tb_buf_append_span(&chunk->last_key, tb_buf_span(&chunker->last_key));
}

static void seal_chunk(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_chunker *chunker,
                       struct on_its_way *place)
{
	tb_plan *plan = stream->plan;
	Tb__Chunk message = TB__CHUNK__INIT;
	message.stream = stream->name;
	message.backup = plan->backup;
	message.plan = (ProtobufCBinaryData){ sizeof(plan->id), plan->id };
	message.index = plan->chunk_count - 1;
	message.content = (ProtobufCBinaryData){ chunker->content.size, chunker->content.data };
	message.period = (ProtobufCBinaryData){ TB_PERIOD_RECORD, collector->period_record };
	place->index = message.index;
	place->frame = tb_held_new();
	collector_frame(&place->frame->bytes, TB_KIND_CHUNK, stream, message.index, &message.base);
	collector->chunk_bytes += place->frame->bytes.size;
	send_chunk(turn, stream, place);
}

static tb_rc emit_chunk(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_chunker *chunker,
                        struct on_its_way *place, tb_err *err)
{
	add_chunk(stream->plan, chunker);
	tb_rc rc = dedup_find(collector, turn, stream->plan, tb_buf_span(&chunker->content), err);
	if (rc != TB_ENOTFOUND)
		return rc;
	seal_chunk(collector, turn, stream, chunker, place);
	return TB_OK;
}

/* A chunk of one large entry, which may be of 16 MiB, isn't held beside others. */
static int has_to_wait(const tb_collector *collector, tb_span value)
{
	return value.size > TB_CHUNK_MAX && collector->chunk_bytes > 0;
}

/* Entries from the resume key on into one chunk; none: it has to wait. ret_end: the state has no more. */
static tb_rc read_chunk(const tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_chunker *chunker, int *ret_end,
                        tb_err *err)
{
	tb_plan *plan = stream->plan;
	tb_cursor *cursor;
	tb_rc rc = tb_cursor_open(turn->txn, stream->state, &cursor, err);
	if (rc != TB_OK)
		return rc;
	tb_span key, value;
	rc = tb_cursor_seek(cursor, tb_buf_span(&plan->resume), &key, &value, err);
	while (rc == TB_OK && !tb_chunker_ends(chunker, key, value) && !has_to_wait(collector, value)) {
		tb_chunker_add(chunker, key, value);
		rc = tb_cursor_next(cursor, &key, &value, err);
	}
	if (rc == TB_OK) {
		tb_buf_clear(&plan->resume);
		tb_buf_append_span(&plan->resume, key);
	}
	tb_cursor_close(cursor);
	*ret_end = rc == TB_ENOTFOUND;
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

/* The state was read to its end: the plan ends at the cut that is made now. */
static tb_rc end_reading(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	tb_plan *plan = stream->plan;
	tb_rc rc = segment_cut(collector, turn, stream, err);
	plan->stage = SEALING;
	plan->to = stream->applied;
	plan->time_to_ns = stream->effective_ns;
	plan->stamp_to_ns = stream->stamp_ns;
	plan->sum = stream->sum;
	plan->keys = stream->keys;
	return rc;
}

/* It would fail the same way however often it begins anew. */
static tb_rc give_up(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	uint64_t order_id = stream->plan->order_id;
	tb_log(TB_LOG_ERROR, "backup %s of stream %s is given up: its state has more than %u chunks", stream->plan->backup,
	       stream->name, CHUNKS_MAX);
	plan_drop(collector, stream);
	return collector_put(turn, stream, (tb_span){ 0 }, &order_id, 1, 0, err);
}

/* ret_more: the next chunk may be read at once. */
static tb_rc read_step(tb_collector *collector, tb_turn *turn, tb_stream *stream, int *ret_more, tb_err *err)
{
	struct on_its_way *place = free_place(collector, stream->plan);
	if (place == NULL)
		return TB_OK;
	if (stream->plan->chunk_count == CHUNKS_MAX)
		return give_up(collector, turn, stream, err);
	tb_chunker chunker = { 0 };
	int end = 0;
	tb_rc rc = read_chunk(collector, turn, stream, &chunker, &end, err);
	if (rc == TB_OK && chunker.entries > 0)
		rc = emit_chunk(collector, turn, stream, &chunker, place, err);
	*ret_more = chunker.entries > 0 && !end;
	tb_chunker_drop(&chunker);
	if (rc == TB_OK && end)
		rc = end_reading(collector, turn, stream, err);
	return rc;
}

static void fill_objects(tb_turn *turn, const tb_plan *plan, Tb__Manifest *manifest, Tb__ManifestPrivate *private_part)
{
	size_t count = plan->chunk_count;
	Tb__ObjectRef *objects = tb_arena_alloc(turn->arena, (count + 1) * sizeof(*objects));
	Tb__ChunkPrivate *chunks = tb_arena_alloc(turn->arena, (count + 1) * sizeof(*chunks));
	manifest->objects = tb_arena_alloc(turn->arena, (count + 1) * sizeof(*manifest->objects));
	private_part->chunks = tb_arena_alloc(turn->arena, (count + 1) * sizeof(*private_part->chunks));
	for (size_t i = 0; i < count; i++) {
		struct chunk *chunk = &plan->chunks[i];
		objects[i] = (Tb__ObjectRef)TB__OBJECT_REF__INIT;
		objects[i].name = (ProtobufCBinaryData){ TB_OBJECT_NAME, chunk->name };
		objects[i].size_plain = chunk->size_plain;
		objects[i].size_stored = chunk->size_stored;
		chunks[i] = (Tb__ChunkPrivate)TB__CHUNK_PRIVATE__INIT;
		chunks[i].first_key = (ProtobufCBinaryData){ chunk->first_key.size, chunk->first_key.data };
		chunks[i].last_key = (ProtobufCBinaryData){ chunk->last_key.size, chunk->last_key.data };
		chunks[i].content_hash = (ProtobufCBinaryData){ TB_HASH_SIZE, chunk->content_hash };
		manifest->objects[i] = &objects[i];
		private_part->chunks[i] = &chunks[i];
	}
	manifest->n_objects = private_part->n_chunks = count;
}

static tb_rc make_manifest(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	tb_plan *plan = stream->plan;
	Tb__Manifest manifest = TB__MANIFEST__INIT;
	Tb__ManifestPrivate private_part = TB__MANIFEST_PRIVATE__INIT;
	fill_objects(turn, plan, &manifest, &private_part);
	private_part.sum = (ProtobufCBinaryData){ sizeof(plan->sum.bytes), plan->sum.bytes };
	private_part.keys = plan->keys;
	manifest.type = (char *)(uintptr_t)"FULL";
	manifest.backup = plan->backup;
	manifest.from = plan->replay_from + (TB_PLANTED(11) && plan->replay_from <= plan->to);
	manifest.to = plan->to;
	manifest.time_from_ns = plan->time_to_ns;
	manifest.time_to_ns = plan->time_to_ns;
	manifest.stamp_from_ns = plan->started_ns;
	manifest.stamp_to_ns = plan->stamp_to_ns;
	manifest.records = plan->keys;
	manifest.started_ns = plan->started_ns;
	manifest.period = (ProtobufCBinaryData){ TB_PERIOD_ID, collector->period.id };
	tb_rc rc = chain_append(collector, turn, stream, &manifest, &private_part, NULL, 0, err);
	if (rc == TB_OK)
		rc = dedup_learn(collector, turn, plan, err);
	if (rc != TB_OK)
		return rc;
	Tb__CollectorBackup made = TB__COLLECTOR_BACKUP__INIT;
	made.to = plan->to;
	made.stream = stream->id;
	plan->stage = MADE;
	tb_log(TB_LOG_INFO, "backup %s of stream %s: %zu chunks, %zu of them stored before, consistent at event %llu",
	       plan->backup, stream->name, plan->chunk_count, plan->reused_count, (unsigned long long)plan->to);
	return write_backup(collector, turn, plan->backup, &made, err);
}

/* What is lost with the broker's memory is put again; not before all that was queued has been put. */
static void send_again(tb_turn *turn, tb_stream *stream)
{
	tb_plan *plan = stream->plan;
	if (tb_turn_waits(turn))
		return;
	for (size_t i = 0; i < WINDOW; i++) {
		struct on_its_way *place = &plan->window[i];
		if (place->frame != NULL && (plan->again || turn->mono_ns - place->sent_ns > AGAIN_AFTER))
			send_chunk(turn, stream, place);
	}
	plan->again = 0;
}

static tb_rc end_sealing(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	if (stream->plan->reused_count > 0 && !stream->plan->present)
		return dedup_ask(turn, stream, err);
	return make_manifest(collector, turn, stream, err);
}

tb_rc plan_step(tb_collector *collector, tb_turn *turn, tb_stream *stream, int *ret_more, tb_err *err)
{
	*ret_more = 0;
	if (stream->plan == NULL || stream->generation == 0 || stream->blocked || !collector->period_known ||
	    segment_is_recut(stream))
		return TB_OK;
	send_again(turn, stream);
	tb_rc rc = TB_OK;
	if (stream->plan->stage == READING)
		rc = read_step(collector, turn, stream, ret_more, err);
	tb_plan *plan = stream->plan;
	if (rc != TB_OK || plan == NULL)
		return rc;
	if (plan->stage == SEALING && plan->sealed_count == plan->chunk_count && stream->manifested >= plan->to)
		rc = end_sealing(collector, turn, stream, err);
	*ret_more = *ret_more && free_place(collector, plan) != NULL;
	return rc;
}

static void note_sealed(tb_collector *collector, tb_plan *plan, const Tb__Sealed *sealed)
{
	for (size_t i = 0; i < WINDOW; i++) {
		struct on_its_way *place = &plan->window[i];
		if (place->frame == NULL || place->index != sealed->index)
			continue;
		struct chunk *chunk = &plan->chunks[sealed->index];
		memcpy(chunk->name, sealed->name.data, TB_OBJECT_NAME);
		chunk->size_plain = sealed->size_plain;
		chunk->size_stored = sealed->size_stored;
		chunk->sealed = 1;
		plan->sealed_count++;
		free_window(collector, place);
	}
}

tb_rc plan_sealed(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Sealed *sealed, uint64_t id,
                  tb_err *err)
{
	tb_plan *plan = stream->plan;
	if (plan != NULL && sealed->plan.len == sizeof(plan->id) && memcmp(sealed->plan.data, plan->id, sizeof(plan->id)) == 0 &&
	    sealed->index < plan->chunk_count && !plan->chunks[sealed->index].sealed)
		note_sealed(collector, plan, sealed);
	return collector_put(turn, stream, (tb_span){ 0 }, &id, 1, 0, err);
}

tb_rc plan_stored(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Stored *stored, uint64_t id,
                  tb_err *err)
{
	Tb__CollectorBackup *made;
	tb_rc rc = read_backup(collector, turn, stored->backup, &made, err);
	if (rc == TB_OK) {
		made->stored = 1;
		rc = write_backup(collector, turn, stored->backup, made, err);
	}
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	uint64_t finished[2] = { id, 0 };
	size_t count = 1;
	if (stream->plan != NULL && strcmp(stream->plan->backup, stored->backup) == 0) {
		finished[count++] = stream->plan->order_id;
		plan_drop(collector, stream);
	}
	return collector_put(turn, stream, (tb_span){ 0 }, finished, count, 0, err);
}
