#include "workers/signal/signal.h"

#include "base/log.h"
#include "base/planted.h"
#include "store/manifest.h"
#include "wire/event.h"

#include <stdio.h>
#include <stdlib.h>

#define STAT_TIMEOUT (5 * TB_NS_PER_S)

static void signal_close(void *self)
{
	questions_close(self);
	free(self);
}

static tb_rc signal_open(tb_worker_env *env, void **ret_self, tb_err *err)
{
	signal_state *state = tb_alloc_zero(1, sizeof(*state));
	state->env = env;
	tb_txn *txn = NULL;
	tb_rc rc = tb_bank_write(env->bank, &txn, err);
	if (rc == TB_OK) {
		rc = records_open(state, txn, err);
		if (rc == TB_OK)
			rc = tb_txn_commit(txn, err);
		else
			tb_txn_abort(txn);
	}
	if (rc == TB_OK)
		rc = questions_open(state, err);
	if (rc != TB_OK) {
		signal_close(state);
		return rc;
	}
	*ret_self = state;
	return TB_OK;
}

static const Tb__StreamStat *find_signals(const Tb__StatReply *stat)
{
	for (size_t i = 0; i < stat->n_streams; i++)
		if (strcmp(stat->streams[i]->name, SIGNALS) == 0)
			return stat->streams[i];
	return NULL;
}

/* A bank that doesn't know the newest signals would give their numbers to others. From the grant on nobody else puts
 * any, so what the broker has now is all there is. */
static tb_rc check_bank(signal_state *state, tb_turn *turn, tb_err *err)
{
	Tb__StatReply *stat;
	if (state->checked == turn->generation)
		return TB_OK;
	tb_rc rc = tb_bus_stat(state->env->bus, STAT_TIMEOUT, turn->arena, &stat, err);
	if (rc != TB_OK)
		return rc;
	const Tb__StreamStat *signals = find_signals(stat);
	rc = rebuild_records(state, turn, signals != NULL ? signals->durable : 0, signals != NULL ? signals->first_held : 0,
	                     err);
	if (rc == TB_OK)
		state->checked = turn->generation;
	return rc;
}

static int is_passing(tb_rc rc)
{
	return rc == TB_EUNREACHABLE || rc == TB_ETIMEOUT || rc == TB_EINTERRUPTED || rc == TB_EBUSY;
}

static void fill_ready(signal_state *state, tb_turn *turn, const Tb__Stored *stored, const tb_backup_type *type,
                       Tb__BackupReady *ready)
{
	ready->number = state->last + 1;
	ready->backup = stored->backup;
	ready->stream = stored->stream;
	ready->type = (char *)(uintptr_t)type->word;
	ready->event = stored->to;
	ready->time_ns = stored->time_ns;
	ready->bytes = stored->bytes_stored;
	ready->bytes_plain = stored->bytes_plain;
	ready->records = stored->records;
	ready->n_stored = stored->n_tiers;
	ready->stored = stored->tiers;
	ready->manifest = stored->path;
	ready->created_ns = turn->now_ns;
}

/* The record as the next event of tb.signals, finishing what told of it. */
static tb_rc put_event(tb_turn *turn, const Tb__BackupReady *ready, tb_span packed, uint64_t id, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 }, frames = { 0 };
	tb_event event;
	tb_event_default(&event, TB_EVENT_SIGNAL);
	event.time_ns = ready->created_ns;
	event.priority = 2;
	event.body.signal.type = "BACKUP_READY";
	event.body.signal.stream = ready->stream;
	event.body.signal.record = (tb_bytes){ packed.data, packed.size };
	tb_rc rc = tb_event_pack(&canonical, &event, turn->now_ns, NULL, err);
	if (rc != TB_OK)
		return rc;
	size_t at = tb_frame_begin(&frames);
	tb_events_append(&frames, tb_buf_span(&canonical));
	tb_frame_end(&frames, at, &(tb_frame){
		.kind = TB_KIND_EVENTS, .count = 1, .stream = tb_stream_hash(SIGNALS), .epoch = 1, .first = ready->number,
		.time_ns = turn->now_ns,
	});
	return tb_turn_put(turn, &(tb_put){ .frames = tb_buf_span(&frames), .finished = &id, .finished_count = 1 }, err);
}

static void add_announce(tb_buf *frames, const char *prefix, const Tb__BackupReady *ready, tb_span body)
{
	char topic[200];
	snprintf(topic, sizeof(topic), "%sBACKUP_READY/%s", prefix, ready->stream);
	Tb__Announce announce = TB__ANNOUNCE__INIT;
	announce.topic = topic;
	announce.body = (ProtobufCBinaryData){ body.size, (uint8_t *)(uintptr_t)body.data };
	size_t at = tb_frame_begin(frames);
	tb_buf_reserve(frames, tb__announce__get_packed_size(&announce));
	frames->size += tb__announce__pack(&announce, frames->data + frames->size);
	tb_frame_end(frames, at, &(tb_frame){ .kind = TB_KIND_ANNOUNCE, .count = 1, .first = ready->number });
}

/* A put of its own, behind the record's: it is told when the record is durable, and told again if it isn't known to
 * have been. */
static tb_rc put_announcement(tb_turn *turn, const Tb__BackupReady *ready, tb_span packed, tb_span json, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	add_announce(&frames, "", ready, packed);
	add_announce(&frames, "json/", ready, json);
	return tb_turn_put(turn, &(tb_put){ .frames = tb_buf_span(&frames) }, err);
}

static tb_rc finish(tb_turn *turn, uint64_t id, tb_err *err)
{
	return tb_turn_put(turn, &(tb_put){ .finished = &id, .finished_count = 1 }, err);
}

static tb_rc make_record(signal_state *state, tb_turn *turn, const Tb__Stored *stored, const tb_backup_type *type,
                         uint64_t id, tb_err *err)
{
	Tb__BackupReady ready = TB__BACKUP_READY__INIT;
	tb_span packed, json;
	fill_ready(state, turn, stored, type, &ready);
	tb_rc rc = records_add(state, turn, &ready, &packed, &json, err);
	if (rc == TB_OK)
		rc = put_event(turn, &ready, packed, id, err);
	if (rc == TB_OK)
		rc = put_announcement(turn, &ready, packed, json, err);
	if (rc == TB_OK)
		state->last = ready.number;
	return rc;
}

static tb_rc signal_handle(void *self, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	signal_state *state = self;
	Tb__Stored *stored = frame->kind == TB_KIND_STORED
	                             ? tb__stored__unpack(tb_arena_allocator(turn->arena), frame->body.size, frame->body.data)
	                             : NULL;
	const tb_backup_type *type = stored != NULL ? tb_backup_type_find(stored->type) : NULL;
	if (type == NULL || tb_stream_check(stored->stream, NULL) != TB_OK || !tb_backup_id_valid(stored->backup))
		return tb_turn_reject(turn, frame, id, NULL, "not a stored message", err);
	if (turn->generation == 0)
		return TB_OK;
	uint64_t number;
	/* Before anything is queued: what is queued before the bank is known to be right is taken back. */
	tb_rc rc = check_bank(state, turn, err);
	if (is_passing(rc)) {
		turn->generation = 0; /* it is let go, and this frame comes again with the next grant */
		return TB_OK;
	}
	if (rc == TB_OK && strcmp(type->name, "SEGMENT") == 0)
		return finish(turn, id, err); /* segments raise no signal */
	if (rc == TB_OK)
		rc = records_find(state, turn->txn, stored->backup, &number, err);
	if (rc != TB_OK)
		return rc;
	if (number != 0 && !TB_PLANTED(9))
		return finish(turn, id, err); /* one record for each backup, however often it is told */
	return make_record(state, turn, stored, type, id, err);
}

static tb_rc signal_tick(void *self, tb_turn *turn, uint64_t *ret_wait_ns, tb_err *err)
{
	signal_state *state = self;
	/* A frame can't come before the turn after the grant: the broker may be away for now. */
	tb_rc rc = turn->generation != 0 ? check_bank(state, turn, err) : TB_OK;
	if (rc != TB_OK && !is_passing(rc))
		return rc;
	/* This turn's records are not durable yet: what counts is what was queued before it. */
	if (tb_turn_settled(turn) && turn->generation != 0)
		state->durable = state->settled;
	questions_tell(state, turn->mono_ns);
	int soon = state->durable < state->last && turn->generation != 0;
	*ret_wait_ns = soon ? TB_NS_PER_MS : questions_wait_ns(state, turn->mono_ns);
	state->settled = state->last;
	return TB_OK;
}

static void signal_woken(void *self)
{
	questions_poll(self);
}

const tb_worker signal_worker = {
	.name = "signal",
	.summary = "Turns stored backups into durable, numbered BACKUP_READY records and tells subscribers.",
	.group = TB_GROUP_SIGNAL,
	.rows = tb_signal_rows,
	.options_size = sizeof(tb_signal_config),
	.open = signal_open,
	.handle = signal_handle,
	.tick = signal_tick,
	.woken = signal_woken,
	.close = signal_close,
};
