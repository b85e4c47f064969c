#include "workers/signal/signal.h"

#include "banks.pb-c.h"
#include "base/bytes.h"
#include "wire/event_json.h"

static tb_span number_key(uint8_t bytes[8], uint64_t number)
{
	tb_put64_be(bytes, number);
	return tb_span_of(bytes, 8);
}

tb_rc records_open(signal_state *state, tb_txn *txn, tb_err *err)
{
	tb_cursor *cursor;
	tb_rc rc = tb_txn_db(txn, "signals", &state->records_db, err);
	if (rc == TB_OK)
		rc = tb_txn_db(txn, "backups", &state->ids_db, err);
	if (rc == TB_OK)
		rc = tb_txn_db(txn, "meta", &state->meta_db, err);
	if (rc == TB_OK)
		rc = tb_cursor_open(txn, state->records_db, &cursor, err);
	if (rc != TB_OK)
		return rc;
	tb_span key, value;
	rc = tb_cursor_last(cursor, &key, &value, err);
	if (rc == TB_OK)
		state->last = tb_get64_be(key.data);
	tb_cursor_close(cursor);
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

static void text_field(tb_buf *to, const char *name, const char *value)
{
	tb_buf_print(to, ",\"%s\":", name);
	tb_json_text(to, tb_span_text(value));
}

static void write_json(tb_buf *to, const Tb__BackupReady *ready)
{
	char time[TB_TIME_TEXT_SIZE];
	tb_time_text(time, ready->time_ns);
	tb_buf_print(to, "{\"number\":%llu", (unsigned long long)ready->number);
	text_field(to, "backup", ready->backup);
	text_field(to, "stream", ready->stream);
	text_field(to, "type", ready->type);
	tb_buf_print(to, ",\"event\":%llu", (unsigned long long)ready->event);
	text_field(to, "time", time);
	tb_buf_print(to, ",\"bytes\":%llu,\"bytes_plain\":%llu,\"records\":%llu,\"stored\":[", (unsigned long long)ready->bytes,
	             (unsigned long long)ready->bytes_plain, (unsigned long long)ready->records);
	for (size_t i = 0; i < ready->n_stored; i++) {
		tb_buf_print(to, i ? "," : "");
		tb_json_text(to, tb_span_text(ready->stored[i]));
	}
	tb_buf_print(to, "]");
	text_field(to, "manifest", ready->manifest);
	tb_time_text(time, ready->created_ns);
	text_field(to, "created", time);
	tb_buf_print(to, "}");
}

tb_rc records_add(signal_state *state, tb_turn *turn, const Tb__BackupReady *ready, tb_span *ret_ready, tb_span *ret_json,
                  tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf json = { 0 };
	write_json(&json, ready);
	size_t size = tb__backup_ready__get_packed_size(ready);
	uint8_t *packed = tb_arena_alloc(turn->arena, size + 1);
	tb__backup_ready__pack(ready, packed);
	Tb__SignalRecord record = TB__SIGNAL_RECORD__INIT;
	record.ready = (ProtobufCBinaryData){ size, packed };
	record.json = tb_arena_text(turn->arena, tb_buf_span(&json));
	size_t record_size = tb__signal_record__get_packed_size(&record);
	uint8_t *bytes = tb_arena_alloc(turn->arena, record_size + 1);
	tb__signal_record__pack(&record, bytes);
	uint8_t key[8];
	tb_span number = number_key(key, ready->number);
	tb_rc rc = tb_txn_put(turn->txn, state->records_db, number, tb_span_of(bytes, record_size), err);
	if (rc == TB_OK)
		rc = tb_txn_put(turn->txn, state->ids_db, tb_span_text(ready->backup), number, err);
	if (rc != TB_OK)
		return rc;
	*ret_ready = tb_span_of(packed, size);
	*ret_json = tb_span_text(record.json);
	return TB_OK;
}

static Tb__BackupReady *read_ready(tb_span value, tb_arena *arena)
{
	ProtobufCAllocator *allocator = tb_arena_allocator(arena);
	Tb__SignalRecord *record = tb__signal_record__unpack(allocator, value.size, value.data);
	return record != NULL ? tb__backup_ready__unpack(allocator, record->ready.len, record->ready.data) : NULL;
}

tb_rc records_remove(signal_state *state, tb_turn *turn, uint64_t number, tb_err *err)
{
	uint8_t key[8];
	uint64_t known = 0;
	tb_span value;
	tb_rc rc = tb_txn_get(turn->txn, state->records_db, number_key(key, number), &value, err);
	if (rc != TB_OK)
		return rc == TB_ENOTFOUND ? TB_OK : rc;
	Tb__BackupReady *ready = read_ready(value, turn->arena);
	if (ready != NULL)
		rc = records_find(state, turn->txn, ready->backup, &known, err);
	if (rc == TB_OK && known == number)
		rc = tb_txn_delete(turn->txn, state->ids_db, tb_span_text(ready->backup), err);
	return rc == TB_OK ? tb_txn_delete(turn->txn, state->records_db, number_key(key, number), err) : rc;
}

tb_rc records_replace(signal_state *state, tb_turn *turn, const Tb__BackupReady *ready, tb_err *err)
{
	tb_span packed, json;
	tb_rc rc = records_remove(state, turn, ready->number, err);
	return rc == TB_OK ? records_add(state, turn, ready, &packed, &json, err) : rc;
}

#define WHOLE tb_span_text("generation")

tb_rc records_whole_at(signal_state *state, tb_turn *turn, uint64_t *ret_generation, tb_err *err)
{
	tb_span value;
	tb_rc rc = tb_txn_get(turn->txn, state->meta_db, WHOLE, &value, err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	*ret_generation = rc == TB_OK && value.size == 8 ? tb_get64(value.data) : 0;
	return TB_OK;
}

tb_rc records_whole_now(signal_state *state, tb_turn *turn, tb_err *err)
{
	uint8_t now[8];
	tb_put64(now, turn->generation);
	return tb_txn_put(turn->txn, state->meta_db, WHOLE, tb_span_of(now, sizeof(now)), err);
}

tb_rc records_find(signal_state *state, tb_txn *txn, const char *backup, uint64_t *ret_number, tb_err *err)
{
	tb_span value;
	tb_rc rc = tb_txn_get(txn, state->ids_db, tb_span_text(backup), &value, err);
	if (rc == TB_OK)
		*ret_number = tb_get64_be(value.data);
	else if (rc == TB_ENOTFOUND)
		*ret_number = 0;
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

static int matches(const signal_filter *filter, const Tb__BackupReady *ready)
{
	return (filter->topic[0] == '\0' || strcmp(filter->topic, "BACKUP_READY") == 0) &&
	       (filter->stream[0] == '\0' || strcmp(filter->stream, ready->stream) == 0) &&
	       (filter->backup[0] == '\0' || strcmp(filter->backup, ready->backup) == 0);
}

/* One record into the list when it matches; 0 when its bytes are damaged. */
static int list_one(const signal_filter *filter, tb_span value, tb_arena *arena, tb_buf *to, size_t *count)
{
	Tb__SignalRecord *record = tb__signal_record__unpack(tb_arena_allocator(arena), value.size, value.data);
	Tb__BackupReady *ready = read_ready(value, arena);
	if (ready == NULL || record == NULL)
		return 0;
	if (matches(filter, ready)) {
		if ((*count)++ > 0)
			tb_buf_byte(to, ',');
		tb_buf_append_span(to, tb_span_text(record->json));
	}
	return 1;
}

/* A backup has one record at most: right before it, or behind all. */
static tb_rc begin_at_backup(signal_state *state, tb_txn *txn, const signal_filter *filter, uint64_t *ret_since, tb_err *err)
{
	uint64_t number;
	tb_rc rc = records_find(state, txn, filter->backup, &number, err);
	if (rc == TB_OK)
		*ret_since = number > filter->since ? number - 1 : UINT64_MAX;
	return rc;
}

tb_rc records_list(signal_state *state, const signal_filter *filter, tb_buf *to, size_t *ret_count, tb_err *err)
{
	tb_txn *txn;
	tb_cursor *cursor;
	tb_span key, value;
	uint8_t from[8];
	uint64_t since = filter->since;
	*ret_count = 0;
	tb_rc rc = tb_bank_read(state->env->bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	if (filter->backup[0] != '\0') /* by id: no need to walk */
		rc = begin_at_backup(state, txn, filter, &since, err);
	if (rc == TB_OK)
		rc = tb_cursor_open(txn, state->records_db, &cursor, err);
	if (rc != TB_OK) {
		tb_txn_abort(txn);
		return rc;
	}
	tb_arena *arena = tb_arena_new();
	rc = since == UINT64_MAX ? TB_ENOTFOUND : tb_cursor_seek(cursor, number_key(from, since + 1), &key, &value, err);
	while (rc == TB_OK && tb_get64_be(key.data) <= state->durable && *ret_count < filter->limit) {
		rc = list_one(filter, value, arena, to, ret_count) ? tb_cursor_next(cursor, &key, &value, err)
		                                                  : tb_fail(err, TB_ECORRUPT, "a signal's record is damaged");
		tb_arena_reset(arena);
	}
	tb_arena_free(arena);
	tb_cursor_close(cursor);
	tb_txn_abort(txn);
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}
