/* Events into the state. Deltas of a turn are gathered by key, the last one wins, and applied in key order: LMDB takes
 * sorted writes several times faster than scattered ones. */
#include "workers/collector/collector.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/planted.h"
#include "wire/event_rules.h"

#include <stdlib.h>

#define DAY_NS (UINT64_C(86400) * TB_NS_PER_S)
#define OPS_FIRST 1024u
/* A segment's object has to fit into a frame, also when nothing of it can be compressed. */
#define SEGMENT_MAX (TB_FRAME_BODY_MAX - TB_OBJECT_HEAD - 64)

struct op {
	uint64_t hash;
	tb_span key;   /* borrowed from the turn's frames */
	tb_span value;
	uint8_t used, remove;
};

struct moved { /* a bank chain that this turn moved */
	tb_event_kind kind;
	uint32_t bit_phase;
	char *pair; /* in the turn's arena */
	uint8_t head[TB_HASH];
	uint64_t count;
};

void apply_drop(tb_stream *stream)
{
	free(stream->ops);
	free(stream->moved);
	stream->ops = NULL;
	stream->moved = NULL;
	stream->op_count = stream->op_room = stream->moved_count = stream->moved_room = 0;
}

static void grow_ops(tb_stream *stream)
{
	size_t room = stream->op_room ? stream->op_room * 2 : OPS_FIRST;
	struct op *ops = tb_alloc_zero(room, sizeof(*ops));
	for (size_t i = 0; i < stream->op_room; i++) {
		if (!stream->ops[i].used)
			continue;
		size_t at = stream->ops[i].hash & (room - 1);
		while (ops[at].used)
			at = (at + 1) & (room - 1);
		ops[at] = stream->ops[i];
	}
	free(stream->ops);
	stream->ops = ops;
	stream->op_room = room;
}

static void add_op(tb_stream *stream, const tb_delta *delta)
{
	if (stream->op_count * 2 >= stream->op_room)
		grow_ops(stream);
	tb_span key = tb_span_of(delta->key.data, delta->key.size);
	uint64_t hash = tb_check64(key.data, key.size);
	size_t at = hash & (stream->op_room - 1);
	while (stream->ops[at].used && (stream->ops[at].hash != hash || !tb_span_equal(stream->ops[at].key, key)))
		at = (at + 1) & (stream->op_room - 1);
	if (!stream->ops[at].used)
		stream->op_count++;
	stream->ops[at] = (struct op){
		.hash = hash, .key = key, .value = tb_span_of(delta->value.data, delta->value.size), .used = 1,
		.remove = delta->remove != 0,
	};
}

static int compare_ops(const void *a, const void *b)
{
	return tb_span_compare(((const struct op *)a)->key, ((const struct op *)b)->key);
}

struct target { /* what deltas change now */
	tb_db db;
	tb_sum *sum;
	uint64_t *keys;
};

static struct target target_of(tb_stream *stream)
{
	if (stream->reset_begin != 0)
		return (struct target){ stream->beside, &stream->beside_sum, &stream->beside_keys };
	return (struct target){ stream->state, &stream->sum, &stream->keys };
}

/* One key: equal writes and deletes of what isn't there change nothing. */
static tb_rc apply_op(tb_turn *turn, const struct target *to, const struct op *op, tb_err *err)
{
	tb_span old;
	tb_rc rc = tb_txn_get(turn->txn, to->db, op->key, &old, err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	int was = rc == TB_OK;
	if (op->remove ? !was : was && tb_span_equal(old, op->value))
		return TB_OK;
	if (was) {
		if (!op->remove || !TB_PLANTED(14))
			tb_sum_subtract(to->sum, op->key, old);
		--*to->keys;
	}
	if (op->remove)
		return tb_txn_delete(turn->txn, to->db, op->key, err);
	tb_sum_add(to->sum, op->key, op->value);
	++*to->keys;
	return tb_txn_put(turn->txn, to->db, op->key, op->value, err);
}

/* A large turn's room isn't kept: there may be many streams. */
static void forget_ops(tb_stream *stream)
{
	stream->op_count = 0;
	if (stream->op_room == OPS_FIRST) {
		memset(stream->ops, 0, stream->op_room * sizeof(*stream->ops));
		return;
	}
	free(stream->ops);
	stream->ops = NULL;
	stream->op_room = 0;
}

static tb_rc flush_ops(tb_turn *turn, tb_stream *stream, tb_err *err)
{
	if (stream->op_count == 0)
		return TB_OK;
	size_t count = 0;
	for (size_t i = 0; i < stream->op_room; i++)
		if (stream->ops[i].used)
			stream->ops[count++] = stream->ops[i];
	qsort(stream->ops, count, sizeof(*stream->ops), compare_ops);
	struct target to = target_of(stream);
	tb_rc rc = TB_OK;
	for (size_t i = TB_PLANTED(10); rc == TB_OK && i < count; i++)
		rc = apply_op(turn, &to, &stream->ops[i], err);
	forget_ops(stream);
	return rc;
}

/* Key of a bank chain: stream, then a hash of kind, phase and pair (a pair may be longer than a key). */
static tb_span head_key(uint8_t bytes[24], const tb_stream *stream, tb_event_kind kind, uint32_t bit_phase, const char *pair)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_buf_print(&text, "%u/%u/%s", (unsigned)kind, bit_phase, pair);
	uint8_t hash[TB_HASH];
	tb_event_hash(tb_buf_span(&text), hash);
	tb_put64_be(bytes, stream->id);
	memcpy(bytes + 8, hash, 16);
	return tb_span_of(bytes, 24);
}

static tb_rc load_head(tb_collector *collector, tb_turn *turn, tb_stream *stream, struct moved *moved, tb_err *err)
{
	uint8_t key[24];
	tb_span value;
	tb_rc rc = tb_txn_get(turn->txn, collector->heads_db,
	                      head_key(key, stream, moved->kind, moved->bit_phase, moved->pair), &value, err);
	if (rc == TB_ENOTFOUND)
		return TB_OK; /* a new bank: zeros */
	if (rc != TB_OK)
		return rc;
	Tb__BankHead *head = tb__bank_head__unpack(tb_arena_allocator(turn->arena), value.size, value.data);
	if (head == NULL || head->head.len != TB_HASH)
		return tb_fail(err, TB_ECORRUPT, "the bank's record of a chain of %s is damaged", stream->name);
	memcpy(moved->head, head->head.data, TB_HASH);
	moved->count = head->count;
	return TB_OK;
}

static tb_rc find_moved(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_event_kind kind, const char *pair,
                        uint32_t bit_phase, struct moved **ret_moved, tb_err *err)
{
	for (size_t i = stream->moved_count; i-- > 0;) {
		struct moved *moved = &stream->moved[i];
		if (moved->kind == kind && moved->bit_phase == bit_phase && strcmp(moved->pair, pair) == 0) {
			*ret_moved = moved;
			return TB_OK;
		}
	}
	if (stream->moved_count == stream->moved_room) {
		stream->moved_room = stream->moved_room ? stream->moved_room * 2 : 16;
		stream->moved = tb_realloc(stream->moved, stream->moved_room * sizeof(*stream->moved));
	}
	struct moved *moved = &stream->moved[stream->moved_count];
	*moved = (struct moved){ .kind = kind, .bit_phase = bit_phase };
	moved->pair = tb_arena_text(turn->arena, tb_span_text(pair));
	tb_rc rc = load_head(collector, turn, stream, moved, err);
	if (rc == TB_OK) {
		stream->moved_count++;
		*ret_moved = moved;
	}
	return rc;
}

static tb_rc move_bank(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_event *event,
                       const uint8_t backup_hash[TB_HASH], tb_err *err)
{
	const char *pair;
	uint32_t bit_phase;
	if (!tb_event_bank(event, &pair, &bit_phase))
		return TB_OK;
	struct moved *moved;
	tb_rc rc = find_moved(collector, turn, stream, event->kind, pair, bit_phase, &moved, err);
	if (rc != TB_OK)
		return rc;
	tb_memory_signature(moved->head, backup_hash, moved->head);
	moved->count++;
	return TB_OK;
}

static tb_rc put_head(tb_collector *collector, tb_turn *turn, tb_span at, const Tb__BankHead *head, tb_span *ret_bytes,
                      tb_err *err)
{
	size_t size = tb__bank_head__get_packed_size(head);
	uint8_t *bytes = tb_arena_alloc(turn->arena, size);
	tb__bank_head__pack(head, bytes);
	*ret_bytes = tb_span_of(bytes, size);
	return tb_txn_put(turn->txn, collector->heads_db, at, *ret_bytes, err);
}

tb_rc apply_head(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__BankHead *head, tb_err *err)
{
	uint8_t key[24];
	tb_span bytes;
	return put_head(collector, turn, head_key(key, stream, (tb_event_kind)head->body, head->bit_phase, head->pair), head,
	                &bytes, err);
}

static tb_rc flush_moved(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < stream->moved_count; i++) {
		struct moved *moved = &stream->moved[i];
		Tb__BankHead head = TB__BANK_HEAD__INIT;
		head.body = moved->kind;
		head.pair = moved->pair;
		head.bit_phase = moved->bit_phase;
		head.head = (ProtobufCBinaryData){ TB_HASH, moved->head };
		head.count = moved->count;
		uint8_t key[24];
		tb_span at = head_key(key, stream, moved->kind, moved->bit_phase, moved->pair), bytes;
		rc = put_head(collector, turn, at, &head, &bytes, err);
		if (rc == TB_OK)
			rc = tb_txn_put(turn->txn, collector->moved_db, at, bytes, err);
	}
	stream->moved_count = 0;
	return rc;
}

tb_rc apply_flush(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	tb_rc rc = flush_ops(turn, stream, err);
	if (rc == TB_OK)
		rc = flush_moved(collector, turn, stream, err);
	return rc;
}

struct rejects { /* of a frame */
	size_t count;
	uint64_t first;
	tb_err why;
};

static void log_rejects(const tb_stream *stream, const struct rejects *rejects)
{
	if (rejects->count > 0)
		tb_log(TB_LOG_WARN, "stream %s: rejected %zu of the events from %llu on: %s", stream->name, rejects->count,
		       (unsigned long long)rejects->first, rejects->why.text);
}

static void reject_event(tb_stream *stream, uint64_t number)
{
	if (stream->rejected_count == stream->rejected_room) {
		stream->rejected_room = stream->rejected_room ? stream->rejected_room * 2 : 16;
		stream->rejected = tb_realloc(stream->rejected, stream->rejected_room * sizeof(uint64_t));
	}
	stream->rejected[stream->rejected_count++] = number;
}

/* TB_OK: it may be applied. Else it is one of the segment's rejected numbers, for the reason in why. */
static tb_rc check_event(tb_turn *turn, const tb_stream *stream, const tb_frame *frame, tb_span canonical,
                         tb_event *ret_event, tb_err *why)
{
	tb_rc rc = tb_event_check(canonical, turn->arena, ret_event, NULL, why);
	if (rc != TB_OK)
		return rc;
	if (ret_event->kind == TB_EVENT_LOST)
		return tb_reject_set(NULL, why, TB_EREFUSED, "lost", "kind", "no publisher decides what is lost");
	if (ret_event->kind == TB_EVENT_RESET && ret_event->body.reset.commit && stream->reset_begin == 0)
		return tb_reject_set(NULL, why, TB_EREFUSED, "reset", "commit", "no reset is open");
	int delta = ret_event->kind == TB_EVENT_DELTA || ret_event->kind == TB_EVENT_DELTAS;
	if (delta && (frame->flags & TB_EVENTS_INSIDE) && stream->reset_begin == 0)
		return tb_reject_set(NULL, why, TB_EREFUSED, "delta", "reset", "the reset that it belongs to was discarded");
	return TB_OK;
}

static tb_rc apply_body(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t epoch, uint64_t number,
                        const tb_event *event, tb_err *err)
{
	if (event->kind == TB_EVENT_RESET)
		return event->body.reset.commit ? reset_commit(collector, turn, stream, err)
		                                : reset_begin(collector, turn, stream, number, epoch, err);
	if (event->kind == TB_EVENT_DELTA)
		add_op(stream, &event->body.delta);
	for (size_t i = 0; event->kind == TB_EVENT_DELTAS && i < event->body.deltas.count; i++)
		add_op(stream, &event->body.deltas.items[i]);
	return TB_OK;
}

static tb_rc apply_event(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_frame *frame,
                         uint64_t number, tb_span canonical, struct rejects *rejects, tb_err *err)
{
	tb_event event;
	tb_err why;
	uint8_t backup_hash[TB_HASH];
	tb_event_hash(canonical, backup_hash);
	index_note(stream, backup_hash, number);
	if (check_event(turn, stream, frame, canonical, &event, &why) != TB_OK) {
		reject_event(stream, number);
		if (rejects->count++ == 0)
			rejects->first = number, rejects->why = why;
		return TB_OK;
	}
	/* An engine's clock that runs more than a day ahead must not decide about every later moment. */
	if (event.time_ns > stream->effective_ns && event.time_ns <= frame->time_ns + DAY_NS)
		stream->effective_ns = event.time_ns;
	tb_rc rc = apply_body(collector, turn, stream, frame->epoch, number, &event, err);
	return rc == TB_OK ? move_bank(collector, turn, stream, &event, backup_hash, err) : rc;
}

tb_rc apply_archived(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_archived_event *archived,
                     uint64_t replay_from, tb_err *err)
{
	tb_event event;
	uint8_t backup_hash[TB_HASH];
	tb_event_hash(archived->canonical, backup_hash);
	index_note(stream, backup_hash, archived->number);
	if (archived->number < replay_from)
		return TB_OK;
	tb_rc rc = reset_see(collector, turn, stream, archived->flags, archived->epoch, err);
	if (rc != TB_OK || archived->rejected)
		return rc;
	if (tb_event_unpack(archived->canonical, turn->arena, &event, err) != TB_OK ||
	    (event.kind == TB_EVENT_RESET && event.body.reset.commit && stream->reset_begin == 0))
		return tb_fail(err, TB_ECORRUPT, "event %llu of stream %s isn't one that could be applied",
		               (unsigned long long)archived->number, stream->name);
	return apply_body(collector, turn, stream, archived->epoch, archived->number, &event, err);
}

static void begin_segment(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_frame *frame)
{
	stream->segment_from = frame->first;
	stream->segment_time_from_ns = stream->effective_ns;
	stream->segment_stamp_from_ns = frame->time_ns;
	stream->segment_due_ns = turn->mono_ns + collector->config->segment_age_ns;
}

tb_rc apply_frame(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_frame *frame, tb_err *err)
{
	uint64_t last = frame->first + frame->count - 1;
	if (frame->count == 0 || last <= stream->applied)
		return TB_OK; /* had it already */
	if (segment_is_recut(stream) && stream->recut_end == 0)
		return TB_OK; /* where this segment ends isn't told yet: the events come again */
	if (frame->first != stream->applied + 1)
		return tb_fail(err, TB_EINVAL, "the broker gave %s from number %llu on, but %llu comes next", stream->name,
		               (unsigned long long)frame->first, (unsigned long long)stream->applied + 1);
	tb_rc rc = tb_events_check(frame, err);
	if (rc == TB_OK)
		rc = reset_see(collector, turn, stream, frame->flags, frame->epoch, err);
	if (rc == TB_OK && stream->segment_bytes > 0 && stream->segment_bytes + tb_frame_size(frame) > SEGMENT_MAX &&
	    !segment_is_recut(stream))
		rc = segment_cut(collector, turn, stream, err);
	if (rc != TB_OK)
		return rc;
	if (stream->segment_bytes == 0)
		begin_segment(collector, turn, stream, frame);
	struct rejects rejects = { 0 };
	tb_span body = frame->body, canonical;
	uint64_t number = frame->first;
	while (rc == TB_OK && tb_events_next(&body, &canonical) == 1)
		rc = apply_event(collector, turn, stream, frame, number++, canonical, &rejects, err);
	if (rc != TB_OK)
		return rc;
	log_rejects(stream, &rejects);
	stream->applied = last;
	stream->stamp_ns = frame->time_ns;
	stream->segment_bytes += tb_frame_size(frame);
	stream->dirty = 1;
	if (stream->segment_bytes >= collector->config->segment_size || segment_is_recut(stream))
		rc = segment_cut(collector, turn, stream, err);
	return rc;
}
