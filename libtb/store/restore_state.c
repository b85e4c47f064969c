#include "store/restore.h"

#include "wire/event.h"

#include <stdlib.h>

/* Of deltas that aren't applied yet, so many are kept at most: it bounds the memory, and one transaction's work. */
#define OPS_MAX 65536u

struct tb_state_op {
	tb_span key, value;
	uint32_t order;
	int remove;
};

tb_rc tb_state_open(tb_state *state, const char *path, tb_err *err)
{
	*state = (tb_state){ .arena = tb_arena_new(), .ops = tb_alloc(OPS_MAX * sizeof(*state->ops)) };
	tb_rc rc = tb_bank_open(path, TB_BANK_SCRATCH, 0, &state->bank, err);
	if (rc == TB_OK)
		rc = tb_state_reset(state, err);
	if (rc != TB_OK)
		tb_state_close(state);
	return rc;
}

void tb_state_close(tb_state *state)
{
	if (state == NULL)
		return;
	tb_bank_close(state->bank);
	tb_arena_free(state->arena);
	free(state->ops);
	*state = (tb_state){ 0 };
}

static tb_rc end_write(tb_txn *txn, tb_rc rc, tb_err *err)
{
	if (rc == TB_OK)
		return tb_txn_commit(txn, err);
	tb_txn_abort(txn);
	return rc;
}

tb_rc tb_state_reset(tb_state *state, tb_err *err)
{
	tb_txn *txn;
	state->sum = (tb_sum){ 0 };
	state->keys = 0;
	state->op_count = state->event_count = 0;
	tb_rc rc = tb_bank_write(state->bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_txn_db(txn, "state", &state->db, err);
	if (rc == TB_OK)
		rc = tb_txn_empty(txn, state->db, err);
	return end_write(txn, rc, err);
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
		tb_rc rc = tb_txn_append(txn, state->db, key, value, err);
		if (rc != TB_OK)
			return rc;
		tb_sum_add(&state->sum, key, value);
		state->keys++;
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
	tb_rc rc = tb_bank_write(state->bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = end_write(txn, append_entries(state, txn, plain, bounds, &last, err), err);
	if (rc != TB_OK || last.data == last_key->data)
		return rc;
	tb_buf_clear(last_key);
	tb_buf_append_span(last_key, last);
	return TB_OK;
}

static tb_rc refuse_kind(const tb_archived_event *archived, const tb_event *event, tb_err *err)
{
	return tb_fail(err, TB_EUNSUPPORTED, "event %llu is of kind %s: restoring past it is not in this version",
	               tb_ull(archived->number), tb_event_kind_name(event->kind));
}

tb_rc tb_state_event(tb_state *state, const tb_archived_event *archived, tb_err *err)
{
	tb_event event;
	tb_err why = { .text = "" };
	if (state->event_count == OPS_MAX) {
		tb_rc rc = tb_state_flush(state, err);
		if (rc != TB_OK)
			return rc;
	}
	if (tb_event_unpack(archived->canonical, state->arena, &event, &why) != TB_OK)
		return tb_fail(err, TB_ECORRUPT, "event %llu can't be read: %s", tb_ull(archived->number), why.text);
	state->event_count++;
	if (event.kind == TB_EVENT_DELTAS || event.kind == TB_EVENT_RESET)
		return refuse_kind(archived, &event, err);
	if (event.kind != TB_EVENT_DELTA)
		return TB_OK;
	const tb_delta *delta = &event.body.delta;
	state->ops[state->op_count] = (tb_state_op){
		.key = tb_span_of(delta->key.data, delta->key.size),
		.value = tb_span_of(delta->value.data, delta->value.size),
		.order = (uint32_t)state->op_count,
		.remove = delta->remove,
	};
	state->op_count++;
	return TB_OK;
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
static tb_rc apply_op(tb_state *state, tb_txn *txn, const tb_state_op *op, tb_err *err)
{
	tb_span old;
	tb_rc rc = tb_txn_get(txn, state->db, op->key, &old, err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	int was = rc == TB_OK;
	if (op->remove ? !was : was && tb_span_equal(old, op->value))
		return TB_OK;
	if (was)
		tb_sum_subtract(&state->sum, op->key, old);
	state->keys -= (uint64_t)was;
	if (op->remove)
		return tb_txn_delete(txn, state->db, op->key, err);
	tb_sum_add(&state->sum, op->key, op->value);
	state->keys++;
	return tb_txn_put(txn, state->db, op->key, op->value, err);
}

static tb_rc apply_last_ops(tb_state *state, tb_txn *txn, tb_err *err)
{
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < state->op_count; i++) {
		const tb_state_op *op = &state->ops[i];
		if (i + 1 == state->op_count || !tb_span_equal(op->key, op[1].key))
			rc = apply_op(state, txn, op, err);
	}
	return rc;
}

tb_rc tb_state_flush(tb_state *state, tb_err *err)
{
	tb_rc rc = TB_OK;
	if (state->op_count != 0) {
		tb_txn *txn;
		qsort(state->ops, state->op_count, sizeof(*state->ops), compare_ops);
		rc = tb_bank_write(state->bank, &txn, err);
		if (rc == TB_OK)
			rc = end_write(txn, apply_last_ops(state, txn, err), err);
	}
	state->op_count = state->event_count = 0;
	tb_arena_reset(state->arena);
	return rc;
}
