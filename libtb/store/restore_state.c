#include "store/restore.h"

#include "wire/event.h"

#include <stdlib.h>

/* Of deltas that aren't applied yet, so many are kept at most: it bounds the memory, and one transaction's work. */
#define OPS_MAX 65536u
#define OPS_ROOM (OPS_MAX + TB_DELTAS_MAX) /* one event may bring so many at once */
#define COPY_BYTES (16u << 20)             /* in a transaction */

struct tb_state_op {
	tb_span key, value;
	uint32_t order;
	int remove;
};

static const char *beside_path(const tb_state *state, tb_buf *path)
{
	tb_buf_print(path, "%s/beside", state->path);
	return tb_buf_text(path);
}

static tb_rc end_write(tb_txn *txn, tb_rc rc, tb_err *err)
{
	if (rc == TB_OK)
		return tb_txn_commit(txn, err);
	tb_txn_abort(txn);
	return rc;
}

static tb_rc empty_entries(tb_entries *entries, tb_err *err)
{
	tb_txn *txn;
	entries->sum = (tb_sum){ 0 };
	entries->keys = 0;
	tb_rc rc = entries->bank != NULL ? tb_bank_write(entries->bank, &txn, err) : TB_ENOTFOUND;
	if (rc != TB_OK)
		return rc == TB_ENOTFOUND ? TB_OK : rc;
	rc = tb_txn_db(txn, "state", &entries->db, err);
	if (rc == TB_OK)
		rc = tb_txn_empty(txn, entries->db, err);
	return end_write(txn, rc, err);
}

static tb_rc open_entries(tb_entries *entries, const char *path, tb_err *err)
{
	tb_rc rc = tb_bank_open(path, TB_BANK_SCRATCH, 0, &entries->bank, err);
	return rc == TB_OK ? empty_entries(entries, err) : rc;
}

tb_rc tb_state_open(tb_state *state, const char *path, tb_err *err)
{
	*state = (tb_state){ .path = tb_strdup(path), .arena = tb_arena_new() };
	state->ops = tb_alloc(OPS_ROOM * sizeof(*state->ops));
	tb_rc rc = open_entries(&state->present, path, err);
	if (rc != TB_OK)
		tb_state_close(state);
	return rc;
}

void tb_state_close(tb_state *state)
{
	if (state == NULL || state->path == NULL)
		return;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_bank_close(state->present.bank);
	tb_bank_close(state->beside.bank);
	tb_disk_remove_tree(tb_disk_system(), beside_path(state, &path), NULL);
	tb_arena_free(state->arena);
	free(state->ops);
	free(state->path);
	*state = (tb_state){ 0 };
}

static void swap_entries(tb_state *state)
{
	tb_entries present = state->beside;
	state->beside = state->present;
	state->present = present;
	state->swapped = !state->swapped;
}

tb_rc tb_state_reset(tb_state *state, tb_err *err)
{
	if (state->swapped)
		swap_entries(state);
	state->reset_open = 0;
	state->op_count = state->event_count = 0;
	tb_rc rc = empty_entries(&state->present, err);
	return rc == TB_OK ? empty_entries(&state->beside, err) : rc;
}

static int span_is(tb_span span, ProtobufCBinaryData data)
{
	return tb_span_equal(span, tb_span_of(data.data, data.len));
}

static tb_rc append_entries(tb_state *state, tb_txn *txn, tb_span plain, const Tb__ChunkPrivate *bounds, tb_span *last,
                            tb_err *err)
{
	tb_span key, value;
	int more, first = 1;
	while ((more = tb_chunk_next(&plain, last, &key, &value)) > 0) {
		if (first && bounds != NULL && !span_is(key, bounds->first_key))
			return tb_fail(err, TB_ECORRUPT, "a chunk begins with another key than its manifest says");
		first = 0;
		tb_rc rc = tb_txn_append(txn, state->present.db, key, value, err);
		if (rc != TB_OK)
			return rc;
		tb_sum_add(&state->present.sum, key, value);
		state->present.keys++;
	}
	if (more < 0)
		return tb_fail(err, TB_ECORRUPT, "a chunk's entries aren't whole, or their keys don't ascend");
	if (bounds != NULL && !first && !span_is(*last, bounds->last_key))
		return tb_fail(err, TB_ECORRUPT, "a chunk ends with another key than its manifest says");
	return TB_OK;
}

tb_rc tb_state_chunk(tb_state *state, tb_span plain, const Tb__ChunkPrivate *bounds, tb_buf *last_key, tb_err *err)
{
	tb_txn *txn;
	tb_span last = tb_buf_span(last_key);
	tb_rc rc = tb_bank_write(state->present.bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = end_write(txn, append_entries(state, txn, plain, bounds, &last, err), err);
	if (rc != TB_OK || last.data == last_key->data)
		return rc;
	tb_buf_clear(last_key);
	tb_buf_append_span(last_key, last);
	return TB_OK;
}

static void add_op(tb_state *state, const tb_delta *delta)
{
	state->ops[state->op_count] = (tb_state_op){
		.key = tb_span_of(delta->key.data, delta->key.size),
		.value = tb_span_of(delta->value.data, delta->value.size),
		.order = (uint32_t)state->op_count,
		.remove = delta->remove,
	};
	state->op_count++;
}

static int compare_ops(const void *a, const void *b)
{
	const tb_state_op *x = a, *y = b;
	int order = tb_span_compare(x->key, y->key);
	if (order != 0)
		return order;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* The old value is borrowed until the transaction writes: it leaves the sum first. */
static tb_rc apply_op(tb_entries *entries, tb_txn *txn, const tb_state_op *op, tb_err *err)
{
	tb_span old;
	tb_rc rc = tb_txn_get(txn, entries->db, op->key, &old, err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	int was = rc == TB_OK;
	if (op->remove ? !was : was && tb_span_equal(old, op->value))
		return TB_OK;
	if (was)
		tb_sum_subtract(&entries->sum, op->key, old);
	entries->keys -= (uint64_t)was;
	if (op->remove)
		return tb_txn_delete(txn, entries->db, op->key, err);
	tb_sum_add(&entries->sum, op->key, op->value);
	entries->keys++;
	return tb_txn_put(txn, entries->db, op->key, op->value, err);
}

static tb_rc apply_last_ops(tb_state *state, tb_entries *entries, tb_txn *txn, tb_err *err)
{
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < state->op_count; i++) {
		const tb_state_op *op = &state->ops[i];
		if (i + 1 == state->op_count || !tb_span_equal(op->key, op[1].key))
			rc = apply_op(entries, txn, op, err);
	}
	return rc;
}

tb_rc tb_state_flush(tb_state *state, tb_err *err)
{
	tb_rc rc = TB_OK;
	if (state->op_count != 0) {
		tb_txn *txn;
		tb_entries *entries = state->reset_open ? &state->beside : &state->present;
		qsort(state->ops, state->op_count, sizeof(*state->ops), compare_ops);
		rc = tb_bank_write(entries->bank, &txn, err);
		if (rc == TB_OK)
			rc = end_write(txn, apply_last_ops(state, entries, txn, err), err);
	}
	state->op_count = state->event_count = 0;
	tb_arena_reset(state->arena);
	return rc;
}

/* Resets */

/* Deltas that wait were for it alone: there is a flush at its begin. */
static tb_rc discard_reset(tb_state *state, tb_err *err)
{
	state->reset_open = 0;
	state->op_count = 0;
	return empty_entries(&state->beside, err);
}

static tb_rc begin_reset(tb_state *state, uint64_t epoch, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = state->reset_open ? discard_reset(state, err) : tb_state_flush(state, err);
	if (rc == TB_OK && state->beside.bank == NULL)
		rc = open_entries(&state->beside, beside_path(state, &path), err);
	if (rc != TB_OK)
		return rc;
	state->reset_open = 1;
	state->reset_epoch = epoch;
	return TB_OK;
}

static tb_rc commit_reset(tb_state *state, uint64_t number, tb_err *err)
{
	if (!state->reset_open)
		return tb_fail(err, TB_ECORRUPT, "event %llu commits a reset, but none is open", tb_ull(number));
	tb_rc rc = tb_state_flush(state, err);
	if (rc != TB_OK)
		return rc;
	swap_entries(state);
	state->reset_open = 0;
	return empty_entries(&state->beside, err);
}

static tb_rc append_some(tb_cursor *cursor, tb_entries *to, tb_txn *txn, tb_span *key, tb_span *value, tb_err *err)
{
	size_t bytes = 0;
	tb_rc rc = TB_OK;
	while (rc == TB_OK && bytes < COPY_BYTES) {
		bytes += key->size + value->size;
		rc = tb_txn_append(txn, to->db, *key, *value, err);
		if (rc == TB_OK)
			rc = tb_cursor_next(cursor, key, value, err);
	}
	return rc;
}

static tb_rc copy_all(tb_cursor *cursor, tb_entries *to, tb_err *err)
{
	tb_span key, value;
	tb_rc rc = tb_cursor_seek(cursor, (tb_span){ 0 }, &key, &value, err);
	while (rc == TB_OK) {
		tb_txn *txn;
		rc = tb_bank_write(to->bank, &txn, err);
		if (rc != TB_OK)
			return rc;
		rc = append_some(cursor, to, txn, &key, &value, err);
		tb_rc ended = end_write(txn, rc == TB_ENOTFOUND ? TB_OK : rc, err);
		rc = ended == TB_OK ? rc : ended;
	}
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

/* `to` is empty. */
static tb_rc copy_entries(const tb_entries *from, tb_entries *to, tb_err *err)
{
	tb_txn *txn;
	tb_cursor *cursor;
	tb_rc rc = tb_bank_read(from->bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_cursor_open(txn, from->db, &cursor, err);
	if (rc == TB_OK) {
		rc = copy_all(cursor, to, err);
		tb_cursor_close(cursor);
	}
	tb_txn_abort(txn);
	to->sum = from->sum;
	to->keys = from->keys;
	return rc;
}

tb_rc tb_state_settle(tb_state *state, tb_err *err)
{
	tb_rc rc = state->reset_open ? discard_reset(state, err) : TB_OK;
	if (rc == TB_OK && state->swapped) {
		rc = copy_entries(&state->present, &state->beside, err);
		swap_entries(state);
		if (rc == TB_OK)
			rc = empty_entries(&state->beside, err);
	}
	return rc;
}

/* Events */

static void lay_deltas(tb_state *state, const tb_event *event)
{
	for (size_t i = 0; i < event->body.deltas.count; i++)
		add_op(state, &event->body.deltas.items[i]);
}

static tb_rc lay_event(tb_state *state, const tb_event *event, const tb_archived_event *archived, tb_err *err)
{
	switch (event->kind) {
	case TB_EVENT_DELTA:
		add_op(state, &event->body.delta);
		return TB_OK;
	case TB_EVENT_DELTAS:
		lay_deltas(state, event);
		return TB_OK;
	case TB_EVENT_RESET:
		return event->body.reset.commit ? commit_reset(state, archived->number, err)
		                                : begin_reset(state, archived->epoch, err);
	default:
		return TB_OK;
	}
}

tb_rc tb_state_event(tb_state *state, const tb_archived_event *archived, tb_err *err)
{
	tb_event event;
	tb_err why = { .text = "" };
	tb_rc rc = TB_OK;
	if (state->reset_open && tb_events_discard(archived->flags, archived->epoch, state->reset_epoch))
		rc = discard_reset(state, err);
	if (rc != TB_OK || archived->rejected)
		return rc;
	if (rc == TB_OK && (state->event_count == OPS_MAX || state->op_count >= OPS_MAX))
		rc = tb_state_flush(state, err);
	if (rc != TB_OK)
		return rc;
	if (tb_event_unpack(archived->canonical, state->arena, &event, &why) != TB_OK)
		return tb_fail(err, TB_ECORRUPT, "event %llu can't be read: %s", tb_ull(archived->number), why.text);
	state->event_count++;
	return lay_event(state, &event, archived, err);
}
