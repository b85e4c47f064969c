#include "workers/collector/collector.h"

#include "base/bytes.h"
#include "base/log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define FIGURES_MAX 96 /* streams in a heartbeat, which has to stay small */

tb_span collector_key(uint8_t bytes[16], const tb_stream *stream, uint64_t number)
{
	tb_put64_be(bytes, stream->id);
	tb_put64_be(bytes + 8, number);
	return tb_span_of(bytes, 16);
}

void collector_frame(tb_buf *to, enum tb_kind kind, const tb_stream *stream, uint64_t first,
                     const ProtobufCMessage *message)
{
	size_t at = tb_frame_begin(to);
	tb_buf_reserve(to, protobuf_c_message_get_packed_size(message));
	to->size += protobuf_c_message_pack(message, to->data + to->size);
	tb_frame_end(to, at, &(tb_frame){
		.kind = kind, .count = 1, .stream = stream->id, .epoch = stream->generation, .first = first,
	});
}

tb_rc collector_put(tb_turn *turn, tb_stream *stream, tb_span frames, const uint64_t *finished, size_t finished_count,
                    uint64_t finished_to, tb_err *err)
{
	tb_put put = {
		.stream = stream->id, .frames = frames, .finished = finished, .finished_count = finished_count,
		.finished_to = finished_to,
	};
	return tb_turn_put(turn, &put, err);
}

/* ---- opening */

static tb_rc load_secret(tb_collector *collector, tb_txn *txn, tb_err *err)
{
	tb_db meta;
	tb_span value;
	tb_rc rc = tb_txn_db(txn, "meta", &meta, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_txn_get(txn, meta, tb_span_text("chunk-secret"), &value, err);
	if (rc == TB_OK && value.size == sizeof(collector->chunk_secret)) {
		memcpy(collector->chunk_secret, value.data, value.size);
		return TB_OK;
	}
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	randombytes_buf(collector->chunk_secret, sizeof(collector->chunk_secret));
	return tb_txn_put(txn, meta, tb_span_text("chunk-secret"),
	                  tb_span_of(collector->chunk_secret, sizeof(collector->chunk_secret)), err);
}

static tb_rc open_databases(tb_collector *collector, tb_txn *txn, tb_err *err)
{
	const struct {
		const char *name;
		tb_db *db;
	} rows[] = {
		{ "streams", &collector->streams_db }, { "segments", &collector->segments_db }, { "heads", &collector->heads_db },
		{ "moved", &collector->moved_db },     { "backups", &collector->backups_db },
		{ "chunks", &collector->chunks_db },   { "links", &collector->links_db },
	};
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < sizeof(rows) / sizeof(rows[0]); i++)
		rc = tb_txn_db(txn, rows[i].name, rows[i].db, err);
	if (rc == TB_OK)
		rc = load_secret(collector, txn, err);
	if (rc == TB_OK)
		rc = stream_load_all(collector, txn, err);
	return rc;
}

static void collector_close(void *self)
{
	tb_collector *collector = self;
	stream_free_all(collector);
	tb_sealer_free(collector->sealer);
	tb_key_free(collector->key);
	sodium_memzero(collector->chunk_secret, sizeof(collector->chunk_secret));
	free(collector);
}

static tb_rc collector_open(tb_worker_env *env, void **ret_self, tb_err *err)
{
	tb_collector *collector = tb_alloc_zero(1, sizeof(*collector));
	collector->env = env;
	collector->config = env->options;
	collector->sealer = tb_sealer_new(1);
	tb_txn *txn = NULL;
	tb_rc rc = env->key != NULL ? tb_key_read(env->disk, env->key, TB_KEY_COLLECTOR, &collector->key, err)
	                            : tb_fail(err, TB_EKEY, "no key file is given; name it with --key");
	if (rc == TB_OK)
		rc = tb_bank_write(env->bank, &txn, err);
	if (rc == TB_OK) {
		rc = open_databases(collector, txn, err);
		if (rc == TB_OK)
			rc = tb_txn_commit(txn, err);
		else
			tb_txn_abort(txn);
	}
	if (rc != TB_OK) {
		collector_close(collector);
		return rc;
	}
	*ret_self = collector;
	return TB_OK;
}

/* ---- leases */

static tb_rc collector_granted(void *self, tb_turn *turn, const Tb__Grant *grant, tb_err *err)
{
	tb_collector *collector = self;
	tb_rc rc = stream_granted(collector, turn, grant, err);
	tb_stream *stream = rc == TB_OK ? stream_find(collector, grant->stream) : NULL;
	if (stream != NULL && stream->blocked)
		tb_log(TB_LOG_ERROR, "stream %s isn't taken: %s", stream->name, stream->why);
	else if (stream != NULL && stream->rebuild == NULL)
		tb_log(TB_LOG_INFO, "stream %s, generation %llu: goes on after event %llu", stream->name,
		       (unsigned long long)stream->generation, (unsigned long long)stream->applied);
	return rc;
}

static tb_rc collector_revoked(void *self, tb_turn *turn, uint64_t id, tb_err *err)
{
	tb_collector *collector = self;
	tb_stream *stream = stream_find(collector, id);
	(void)err;
	if (stream == NULL)
		return TB_OK;
	stream_let_go(collector, turn, stream);
	return TB_OK;
}

static void collector_refused(void *self, uint64_t id, const tb_err *why)
{
	tb_collector *collector = self;
	tb_stream *stream = stream_find(collector, id);
	(void)why;
	if (stream == NULL)
		return;
	stream->generation = 0;
	plan_drop(collector, stream);
	rebuild_drop(collector, stream);
}

/* Why no events are wanted now: the stream isn't taken, or without a period there is nothing to seal for and the segment
 * would grow without end, or where the open segment ends isn't told yet. */
static int wants_none(const tb_collector *collector, const tb_stream *stream)
{
	return stream->blocked || stream->rebuild != NULL || !collector->period_known ||
	       (segment_is_recut(stream) && stream->recut_end == 0);
}

static void collector_held(void *self, tb_arena *arena, Tb__Held ***ret_held, size_t *ret_count)
{
	tb_collector *collector = self;
	size_t count = 0;
	for (tb_stream *stream = collector->streams; stream != NULL; stream = stream->next)
		count += stream->generation != 0;
	Tb__Held *held = tb_arena_alloc(arena, (count + 1) * sizeof(*held));
	Tb__Held **list = tb_arena_alloc(arena, (count + 1) * sizeof(*list));
	size_t at = 0;
	for (tb_stream *stream = collector->streams; stream != NULL; stream = stream->next) {
		if (stream->generation == 0)
			continue;
		held[at] = (Tb__Held)TB__HELD__INIT;
		held[at].stream = stream->id;
		held[at].generation = stream->generation;
		held[at].next = wants_none(collector, stream) ? UINT64_MAX : stream->applied + 1;
		list[at] = &held[at];
		at++;
	}
	*ret_held = list;
	*ret_count = count;
}

/* ---- frames */

/* What a manifest can name. */
static int sealed_fits(const Tb__Sealed *sealed)
{
	return sealed->name.len == TB_OBJECT_NAME && sealed->size_stored > TB_OBJECT_HEAD &&
	       sealed->size_stored <= TB_OBJECT_MAX && sealed->size_plain <= TB_PLAIN_MAX;
}

static tb_rc handle_sealed(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_frame *frame, uint64_t id,
                           tb_err *err)
{
	Tb__Sealed *sealed = tb__sealed__unpack(tb_arena_allocator(turn->arena), frame->body.size, frame->body.data);
	if (sealed == NULL || !sealed_fits(sealed))
		return tb_turn_reject(turn, frame, id, &(tb_put){ .stream = stream->id }, "not a sealed message", err);
	if (sealed->plan.len > 0)
		return plan_sealed(collector, turn, stream, sealed, id, err);
	return segment_sealed(collector, turn, stream, sealed, id, err);
}

static tb_rc handle_stored(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_frame *frame, uint64_t id,
                           tb_err *err)
{
	Tb__Stored *stored = tb__stored__unpack(tb_arena_allocator(turn->arena), frame->body.size, frame->body.data);
	if (stored == NULL || !tb_backup_id_valid(stored->backup))
		return tb_turn_reject(turn, frame, id, &(tb_put){ .stream = stream->id }, "not a stored message", err);
	if (strcmp(stored->type, "SEGMENT") == 0)
		return segment_stored(collector, turn, stream, frame, stored, id, err);
	return plan_stored(collector, turn, stream, stored, id, err);
}

static tb_rc handle_present(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_frame *frame, uint64_t id,
                            tb_err *err)
{
	Tb__Present *present = tb__present__unpack(tb_arena_allocator(turn->arena), frame->body.size, frame->body.data);
	if (present == NULL)
		return tb_turn_reject(turn, frame, id, &(tb_put){ .stream = stream->id }, "not a present message", err);
	return plan_present(collector, turn, stream, present, id, err);
}

static tb_rc handle_order(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_frame *frame, uint64_t id,
                          tb_err *err)
{
	Tb__Order *order = tb__order__unpack(tb_arena_allocator(turn->arena), frame->body.size, frame->body.data);
	if (order == NULL || !tb_backup_id_valid(order->backup) || strcmp(order->type, "FULL") != 0)
		return tb_turn_reject(turn, frame, id, &(tb_put){ .stream = stream->id }, "not an order that this version knows", err);
	return plan_ordered(collector, turn, stream, order, id, err);
}

static tb_rc collector_handle(void *self, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	tb_collector *collector = self;
	tb_stream *stream = stream_find(collector, frame->stream);
	if (stream == NULL || stream->generation == 0 || stream->blocked || stream->rebuild != NULL)
		return TB_OK; /* not ours (any more, or yet): whoever holds it, under whatever grant, gets it */
	switch (frame->kind) {
	case TB_KIND_EVENTS:
		return apply_frame(collector, turn, stream, frame, err);
	case TB_KIND_SEALED:
		return handle_sealed(collector, turn, stream, frame, id, err);
	case TB_KIND_STORED:
		return handle_stored(collector, turn, stream, frame, id, err);
	case TB_KIND_PRESENT:
		return handle_present(collector, turn, stream, frame, id, err);
	case TB_KIND_ORDER:
		return handle_order(collector, turn, stream, frame, id, err);
	default:
		return tb_turn_reject(turn, frame, id, &(tb_put){ .stream = stream->id }, "a kind that collectors don't take", err);
	}
}

/* ---- ticking */

static tb_rc learn_period(tb_collector *collector, tb_turn *turn, tb_err *err)
{
	if (turn->period.size != TB_PERIOD_RECORD ||
	    (collector->period_known && memcmp(collector->period_record, turn->period.data, TB_PERIOD_RECORD) == 0))
		return TB_OK;
	tb_period period;
	tb_rc rc = tb_period_read(turn->period, tb_key_instance(collector->key), &period, err);
	if (rc != TB_OK)
		return rc;
	collector->period = period;
	memcpy(collector->period_record, turn->period.data, TB_PERIOD_RECORD);
	collector->period_known = 1;
	return TB_OK;
}

/* What is left of the time until the open segment is due. */
static uint64_t segment_wait(const tb_stream *stream, uint64_t mono_ns)
{
	if (stream->segment_bytes == 0 || stream->generation == 0 || stream->blocked || segment_is_recut(stream))
		return UINT64_MAX;
	return stream->segment_due_ns > mono_ns ? stream->segment_due_ns - mono_ns : 0;
}

static tb_rc tick_stream(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t *wait_ns, tb_err *err)
{
	int more = 0, unmerged = 0;
	if (stream->rebuild != NULL || stream->rebuilding)
		return rebuild_step(collector, turn, stream, wait_ns, err);
	tb_rc rc = apply_flush(collector, turn, stream, err);
	if (rc == TB_OK)
		rc = index_step(turn, stream, &unmerged, err);
	if (rc == TB_OK)
		rc = segment_learn_end(collector, turn, stream, err);
	if (rc == TB_OK && segment_wait(stream, turn->mono_ns) == 0)
		rc = segment_cut(collector, turn, stream, err);
	if (rc == TB_OK)
		rc = plan_step(collector, turn, stream, &more, err);
	if (rc == TB_OK && stream->dirty)
		rc = stream_write(collector, turn, stream, err);
	more |= unmerged;
	uint64_t wait = more ? 0 : segment_wait(stream, turn->mono_ns);
	if (!more && wait == 0)
		wait = TB_NS_PER_S / 10; /* due, but there is no period yet to seal for */
	if (wait < *wait_ns)
		*wait_ns = wait;
	return rc;
}

static tb_rc collector_tick(void *self, tb_turn *turn, uint64_t *ret_wait_ns, tb_err *err)
{
	tb_collector *collector = self;
	uint64_t wait_ns = TB_NS_PER_S;
	tb_rc rc = learn_period(collector, turn, err);
	for (tb_stream *stream = collector->streams; rc == TB_OK && stream != NULL; stream = stream->next)
		rc = tick_stream(collector, turn, stream, &wait_ns, err);
	*ret_wait_ns = wait_ns;
	return rc;
}

static void collector_restarted(void *self)
{
	tb_collector *collector = self;
	for (tb_stream *stream = collector->streams; stream != NULL; stream = stream->next)
		plan_broker_restarted(stream);
}

static void tell_blocked(const tb_collector *collector, const tb_stream *stream, tb_arena *arena, Tb__Health *health)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	int stuck = 1;
	if (stream->rebuild != NULL)
		stuck = rebuild_tell(collector, stream, &text);
	else
		tb_buf_print(&text, "stream %s isn't taken: %s", stream->name, stream->why);
	if (!stuck && strcmp(health->state, "critical") == 0)
		return;
	health->state = (char *)(uintptr_t)(stuck ? "critical" : "degraded");
	health->detail = tb_arena_text(arena, tb_buf_span(&text));
}

static void collector_health(void *self, tb_arena *arena, Tb__Health *health)
{
	tb_collector *collector = self;
	Tb__StreamFigure *figures = tb_arena_alloc(arena, FIGURES_MAX * sizeof(*figures));
	health->applied = tb_arena_alloc(arena, FIGURES_MAX * sizeof(*health->applied));
	for (tb_stream *stream = collector->streams; stream != NULL; stream = stream->next) {
		if (stream->blocked || stream->rebuild != NULL)
			tell_blocked(collector, stream, arena, health);
		if (stream->generation == 0 || health->n_applied == FIGURES_MAX)
			continue;
		Tb__StreamFigure *figure = &figures[health->n_applied];
		*figure = (Tb__StreamFigure)TB__STREAM_FIGURE__INIT;
		figure->stream = stream->name;
		figure->number = stream->applied;
		health->applied[health->n_applied++] = figure;
	}
}

const tb_worker collector_worker = {
	.name = "collector",
	.summary = "Applies events to each stream's state, cuts segments, runs backups, signs manifests.",
	.group = TB_GROUP_COLLECTOR,
	.rows = tb_collector_rows,
	.options_size = sizeof(tb_collector_config),
	.key_file = "keys/collector.key",
	.open = collector_open,
	.granted = collector_granted,
	.revoked = collector_revoked,
	.held = collector_held,
	.handle = collector_handle,
	.tick = collector_tick,
	.restarted = collector_restarted,
	.refused = collector_refused,
	.health = collector_health,
	.close = collector_close,
};
