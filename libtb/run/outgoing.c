#include "run/outgoing.h"

#include "base/bytes.h"
#include "base/planted.h"

#include <stdlib.h>

#define LEASES_MAX 4096

struct lease {
	uint64_t stream, generation;
};

struct volatile_put {
	struct volatile_put *next;
	tb_buf record; /* as in the database, without frames */
	tb_held *frames; /* or NULL */
};

struct tb_outgoing {
	tb_bank *bank;
	tb_group group;
	uint8_t member[TB_MEMBER];
	uint8_t journal_id[16];
	int journal_known;
	uint64_t next;      /* sequence of the next record, this transaction's included */
	uint64_t committed; /* records below are in the bank */
	uint64_t *answered; /* answered, not deleted yet; ascending */
	size_t answered_count, answered_room;
	int unsettled;
	struct lease leases[LEASES_MAX];
	size_t lease_count;
	struct volatile_put *first, **end;
};

tb_held *tb_held_new(void)
{
	tb_held *held = tb_alloc_zero(1, sizeof(*held));
	held->holders = 1;
	return held;
}

tb_held *tb_held_also(tb_held *held)
{
	held->holders++;
	return held;
}

void tb_held_release(tb_held *held)
{
	if (held == NULL || --held->holders > 0)
		return;
	tb_buf_drop(&held->bytes);
	free(held);
}

static tb_span sequence_key(uint8_t bytes[8], uint64_t sequence)
{
	tb_put64_be(bytes, sequence);
	return tb_span_of(bytes, 8);
}

static tb_rc find_next(tb_outgoing *outgoing, tb_txn *txn, tb_db db, tb_err *err)
{
	tb_cursor *cursor;
	tb_rc rc = tb_cursor_open(txn, db, &cursor, err);
	if (rc != TB_OK)
		return rc;
	tb_span key, value;
	rc = tb_cursor_last(cursor, &key, &value, err);
	outgoing->next = rc == TB_OK ? tb_get64_be(key.data) + 1 : 1;
	tb_cursor_close(cursor);
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

tb_rc tb_outgoing_open(tb_bank *bank, const uint8_t member[TB_MEMBER], tb_group group, tb_outgoing **ret_outgoing,
                       tb_err *err)
{
	tb_outgoing *outgoing = tb_alloc_zero(1, sizeof(*outgoing));
	*outgoing = (tb_outgoing){ .bank = bank, .group = group, .unsettled = 1 };
	outgoing->end = &outgoing->first;
	memcpy(outgoing->member, member, TB_MEMBER);
	tb_txn *txn;
	tb_db db;
	tb_rc rc = tb_bank_write(bank, &txn, err);
	if (rc == TB_OK) {
		rc = tb_txn_db(txn, "outgoing", &db, err);
		if (rc == TB_OK)
			rc = find_next(outgoing, txn, db, err);
		if (rc == TB_OK)
			rc = tb_txn_commit(txn, err);
		else
			tb_txn_abort(txn);
	}
	if (rc != TB_OK) {
		free(outgoing);
		return rc;
	}
	outgoing->committed = outgoing->next;
	*ret_outgoing = outgoing;
	return TB_OK;
}

static void pop_volatile(tb_outgoing *outgoing)
{
	struct volatile_put *put = outgoing->first;
	outgoing->first = put->next;
	if (outgoing->first == NULL)
		outgoing->end = &outgoing->first;
	tb_buf_drop(&put->record);
	tb_held_release(put->frames);
	free(put);
}

void tb_outgoing_free(tb_outgoing *outgoing)
{
	if (outgoing == NULL)
		return;
	while (outgoing->first != NULL)
		pop_volatile(outgoing);
	free(outgoing->answered);
	free(outgoing);
}

void tb_outgoing_journal(tb_outgoing *outgoing, const uint8_t journal_id[16])
{
	memcpy(outgoing->journal_id, journal_id, 16);
	outgoing->journal_known = 1;
}

static struct lease *find_lease(tb_outgoing *outgoing, uint64_t stream)
{
	for (size_t i = 0; i < outgoing->lease_count; i++)
		if (outgoing->leases[i].stream == stream)
			return &outgoing->leases[i];
	return NULL;
}

void tb_outgoing_lease(tb_outgoing *outgoing, uint64_t stream, uint64_t generation)
{
	struct lease *lease = find_lease(outgoing, stream);
	if (lease == NULL && outgoing->lease_count < LEASES_MAX) {
		lease = &outgoing->leases[outgoing->lease_count++];
		lease->stream = stream;
	}
	if (lease != NULL)
		lease->generation = generation;
	outgoing->unsettled = 1;
}

static void write_record(tb_buf *to, const tb_put *put)
{
	Tb__PutRequest request = TB__PUT_REQUEST__INIT;
	request.stream = put->stream;
	request.n_finished = put->finished_count;
	request.finished = (uint64_t *)(uintptr_t)put->finished;
	request.finished_to = put->finished_to;
	size_t size = tb__put_request__get_packed_size(&request);
	tb_buf_reserve(to, 4 + size + put->frames.size);
	tb_put32(to->data, (uint32_t)size);
	tb__put_request__pack(&request, to->data + 4);
	to->size = 4 + size;
	tb_buf_append_span(to, put->frames);
}

tb_rc tb_outgoing_add(tb_outgoing *outgoing, tb_txn *txn, const tb_put *put, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf record = { 0 };
	write_record(&record, put);
	tb_db db;
	uint8_t key[8];
	tb_rc rc = tb_txn_db(txn, "outgoing", &db, err);
	if (rc == TB_OK)
		rc = tb_txn_put(txn, db, sequence_key(key, outgoing->next), tb_buf_span(&record), err);
	if (rc == TB_OK)
		outgoing->next++;
	return rc;
}

void tb_outgoing_add_volatile(tb_outgoing *outgoing, const tb_put *put, tb_held *frames)
{
	struct volatile_put *queued = tb_alloc_zero(1, sizeof(*queued));
	tb_put bare = *put;
	bare.frames = (tb_span){ 0 };
	write_record(&queued->record, &bare);
	queued->frames = frames != NULL ? tb_held_also(frames) : NULL;
	*outgoing->end = queued;
	outgoing->end = &queued->next;
}

void tb_outgoing_abort(tb_outgoing *outgoing)
{
	outgoing->next = outgoing->committed;
}

void tb_outgoing_commit(tb_outgoing *outgoing)
{
	if (outgoing->committed != outgoing->next)
		outgoing->unsettled = 1;
	outgoing->committed = outgoing->next;
}

int tb_outgoing_settled(const tb_outgoing *outgoing)
{
	return !outgoing->unsettled;
}

int tb_outgoing_waits(const tb_outgoing *outgoing)
{
	return outgoing->first != NULL;
}

static Tb__PutRequest *read_record(tb_span record, tb_arena *arena, tb_span *ret_frames)
{
	if (record.size < 4)
		return NULL;
	size_t size = tb_get32(record.data);
	if (size > record.size - 4)
		return NULL;
	*ret_frames = tb_span_of(record.data + 4 + size, record.size - 4 - size);
	return tb__put_request__unpack(tb_arena_allocator(arena), size, record.data + 4);
}

tb_rc tb_outgoing_clear(tb_outgoing *outgoing, tb_txn *txn, tb_err *err)
{
	tb_db db;
	tb_rc rc = tb_txn_db(txn, "outgoing", &db, err);
	if (rc == TB_OK)
		rc = tb_txn_empty(txn, db, err);
	while (rc == TB_OK && outgoing->first != NULL)
		pop_volatile(outgoing);
	return rc;
}

static int record_is_of(tb_span record, uint64_t stream)
{
	tb_arena *arena = tb_arena_new();
	tb_span frames;
	Tb__PutRequest *request = read_record(record, arena, &frames);
	int is = request != NULL && request->stream == stream;
	tb_arena_free(arena);
	return is;
}

/* The first record from *sequence on that is of the stream. TB_ENOTFOUND: none. */
static tb_rc find_of_stream(tb_txn *txn, tb_db db, uint64_t stream, uint64_t *sequence, tb_err *err)
{
	tb_cursor *cursor;
	uint8_t from[8];
	tb_span key, value;
	tb_rc rc = tb_cursor_open(txn, db, &cursor, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_cursor_seek(cursor, sequence_key(from, *sequence), &key, &value, err);
	while (rc == TB_OK && !record_is_of(value, stream))
		rc = tb_cursor_next(cursor, &key, &value, err);
	if (rc == TB_OK)
		*sequence = tb_get64_be(key.data);
	tb_cursor_close(cursor);
	return rc;
}

static void forget_volatile(tb_outgoing *outgoing, uint64_t stream)
{
	struct volatile_put **at = &outgoing->first;
	while (*at != NULL) {
		struct volatile_put *put = *at;
		if (!record_is_of(tb_buf_span(&put->record), stream)) {
			at = &put->next;
			continue;
		}
		*at = put->next;
		tb_buf_drop(&put->record);
		free(put);
	}
	outgoing->end = at;
}

tb_rc tb_outgoing_forget(tb_outgoing *outgoing, tb_txn *txn, uint64_t stream, tb_err *err)
{
	tb_db db;
	uint64_t sequence = 0;
	tb_rc rc = tb_txn_db(txn, "outgoing", &db, err);
	while (rc == TB_OK && (rc = find_of_stream(txn, db, stream, &sequence, err)) == TB_OK) {
		uint8_t key[8];
		rc = tb_txn_delete(txn, db, sequence_key(key, sequence++), err);
	}
	forget_volatile(outgoing, stream);
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

tb_rc tb_outgoing_sweep(tb_outgoing *outgoing, tb_txn *txn, tb_err *err)
{
	if (outgoing->answered_count == 0)
		return TB_OK;
	tb_db db;
	tb_rc rc = tb_txn_db(txn, "outgoing", &db, err);
	for (size_t i = 0; rc == TB_OK && i < outgoing->answered_count; i++) {
		uint8_t key[8];
		rc = tb_txn_delete(txn, db, sequence_key(key, outgoing->answered[i]), err);
		if (rc == TB_ENOTFOUND)
			rc = TB_OK;
	}
	if (rc == TB_OK)
		outgoing->answered_count = 0;
	return rc;
}

static int was_answered(const tb_outgoing *outgoing, uint64_t sequence)
{
	size_t low = 0, high = outgoing->answered_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (outgoing->answered[middle] < sequence)
			low = middle + 1;
		else
			high = middle;
	}
	return low < outgoing->answered_count && outgoing->answered[low] == sequence;
}

static void note_answered(tb_outgoing *outgoing, uint64_t sequence)
{
	if (outgoing->answered_count == outgoing->answered_room) {
		outgoing->answered_room = outgoing->answered_room ? outgoing->answered_room * 2 : 64;
		outgoing->answered = tb_realloc(outgoing->answered, outgoing->answered_room * sizeof(uint64_t));
	}
	size_t at = outgoing->answered_count++;
	for (; at > 0 && outgoing->answered[at - 1] > sequence; at--)
		outgoing->answered[at] = outgoing->answered[at - 1];
	outgoing->answered[at] = sequence;
}

/* The next record from *sequence on that still has to go, copied into record. TB_ENOTFOUND: none. */
static tb_rc next_record(tb_outgoing *outgoing, uint64_t *sequence, tb_buf *record, tb_err *err)
{
	tb_txn *txn;
	tb_db db;
	tb_cursor *cursor;
	if (*sequence >= outgoing->committed)
		return TB_ENOTFOUND;
	tb_rc rc = tb_bank_read(outgoing->bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_txn_db(txn, "outgoing", &db, err);
	if (rc == TB_OK)
		rc = tb_cursor_open(txn, db, &cursor, err);
	if (rc == TB_OK) {
		tb_span key, value;
		uint8_t from[8];
		rc = tb_cursor_seek(cursor, sequence_key(from, *sequence), &key, &value, err);
		while (rc == TB_OK && was_answered(outgoing, tb_get64_be(key.data)))
			rc = tb_cursor_next(cursor, &key, &value, err);
		if (rc == TB_OK) {
			*sequence = tb_get64_be(key.data);
			tb_buf_clear(record);
			tb_buf_append_span(record, value);
		}
		tb_cursor_close(cursor);
	}
	tb_txn_abort(txn);
	return rc;
}

/* *ret_put: 0 when it stays back, because its lease isn't held now. */
static tb_rc put_record(tb_outgoing *outgoing, const tb_buf *record, const tb_held *held, tb_bus *bus, tb_arena *arena,
                        uint64_t timeout_ns, int *ret_put, uint64_t *ret_stream, tb_err *err)
{
	tb_span frames;
	Tb__PutRequest *request = read_record(tb_buf_span(record), arena, &frames);
	if (request == NULL)
		return tb_fail(err, TB_ECORRUPT, "a record of the outgoing queue is damaged");
	if (held != NULL)
		frames = tb_buf_span(&held->bytes);
	*ret_put = 1;
	*ret_stream = request->stream;
	if (tb_group_find(outgoing->group)->lease != TB_LEASE_FRAME) {
		const struct lease *lease = find_lease(outgoing, request->stream);
		*ret_put = lease != NULL && lease->generation != 0;
		if (!*ret_put)
			return TB_OK;
		request->generation = lease->generation;
	}
	request->group = outgoing->group;
	request->member = (ProtobufCBinaryData){ TB_MEMBER, outgoing->member };
	if (outgoing->journal_known)
		request->journal_id = (ProtobufCBinaryData){ 16, outgoing->journal_id };
	Tb__PutReply *reply;
	tb_rc rc = tb_bus_put(bus, request, frames, timeout_ns, arena, &reply, err);
	if (rc == TB_EFENCED)
		tb_outgoing_lease(outgoing, request->stream, 0);
	return rc;
}

static tb_rc flush_bank(tb_outgoing *outgoing, tb_bus *bus, tb_arena *arena, uint64_t timeout_ns, uint64_t *ret_stream,
                        tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf record = { 0 };
	uint64_t sequence = 0;
	tb_rc rc;
	if (!outgoing->unsettled)
		return TB_OK;
	while ((rc = next_record(outgoing, &sequence, &record, err)) == TB_OK) {
		int put = 0;
		rc = put_record(outgoing, &record, NULL, bus, arena, timeout_ns, &put, ret_stream, err);
		if (rc != TB_OK && !(TB_PLANTED(7) && rc == TB_ETIMEOUT))
			return rc;
		if (put)
			note_answered(outgoing, sequence);
		sequence++;
	}
	if (rc != TB_ENOTFOUND)
		return rc;
	outgoing->unsettled = 0;
	return TB_OK;
}

tb_rc tb_outgoing_flush(tb_outgoing *outgoing, tb_bus *bus, tb_arena *arena, uint64_t timeout_ns, uint64_t *ret_stream,
                        tb_err *err)
{
	int put;
	tb_rc rc = flush_bank(outgoing, bus, arena, timeout_ns, ret_stream, err);
	while (rc == TB_OK && outgoing->first != NULL) {
		const struct volatile_put *first = outgoing->first;
		rc = put_record(outgoing, &first->record, first->frames, bus, arena, timeout_ns, &put, ret_stream, err);
		if (rc == TB_OK || rc == TB_EFENCED)
			pop_volatile(outgoing); /* who has no lease any more makes it again if it gets one */
	}
	return rc;
}
