/* A bank that doesn't know the newest signals, or knows others under their numbers: the events of tb.signals are what
 * counts. Those that the journal holds are read from there each time the lease is granted, the older ones, when they are
 * missing, from the tier, which needs an identity. */
#include "workers/signal/signal.h"

#include "base/log.h"
#include "run/tier_access.h"
#include "wire/event.h"

#define FETCH_BYTES (1u << 20)
#define FETCH_TIMEOUT (5 * TB_NS_PER_S)

struct reading {
	signal_state *state;
	tb_turn *turn;
	uint64_t next;
	tb_arena *arena;
};

static tb_rc take_record(struct reading *reading, uint64_t number, tb_span canonical, tb_err *err)
{
	tb_event event;
	tb_arena_reset(reading->arena);
	tb_rc rc = tb_event_unpack(canonical, reading->arena, &event, err);
	Tb__BackupReady *ready = NULL;
	if (rc == TB_OK && event.kind == TB_EVENT_SIGNAL)
		ready = tb__backup_ready__unpack(tb_arena_allocator(reading->arena), event.body.signal.record.size,
		                                 event.body.signal.record.data);
	if (ready == NULL || ready->number != number || number != reading->next)
		return tb_fail(err, TB_ECORRUPT, "event %llu of stream " SIGNALS " isn't that record",
		               (unsigned long long)number);
	reading->next++;
	return records_replace(reading->state, reading->turn, ready, err);
}

static tb_rc see_archived(void *context, const tb_archived_event *event, tb_err *err)
{
	return take_record(context, event->number, event->canonical, err);
}

static tb_rc read_archive(struct reading *reading, uint64_t to, tb_err *err)
{
	const tb_signal_config *config = reading->state->env->options;
	tb_archive *archive = NULL;
	uint64_t last = 0;
	tb_rc rc = tb_tier_access(reading->state->env, config != NULL ? config->rebuild_identity : NULL,
	                          config != NULL ? config->rebuild_repository : NULL, &archive, err);
	if (rc == TB_OK)
		rc = tb_archive_events(archive, SIGNALS, reading->next, to, see_archived, reading, &last, err);
	if (rc == TB_OK && last < to)
		rc = tb_fail(err, TB_ECORRUPT, "the repository ends at event %llu of stream " SIGNALS ", but %llu was stored",
		             (unsigned long long)last, (unsigned long long)to);
	tb_archive_close(archive);
	if (rc == TB_OK)
		return TB_OK;
	tb_err why = *err;
	tb_fail(err, TB_EUNSUPPORTED, "this bank doesn't know the signals from %llu on, and can't be rebuilt: %.200s",
	        (unsigned long long)reading->next, why.text);
	tb_hint(err, "it needs an identity and the repository (rebuild.identity, rebuild.repository)");
	return TB_EUNSUPPORTED;
}

static tb_rc see_frames(struct reading *reading, tb_span frames, tb_err *err)
{
	tb_frame frame;
	tb_rc rc = TB_OK;
	while (rc == TB_OK && frames.size > 0) {
		rc = tb_frame_read(&frames, &frame, err);
		tb_span body = frame.body, canonical;
		for (uint64_t number = frame.first; rc == TB_OK && tb_events_next(&body, &canonical) == 1; number++)
			if (number >= reading->next)
				rc = take_record(reading, number, canonical, err);
	}
	return rc;
}

static tb_rc read_journal(struct reading *reading, uint64_t to, tb_err *err)
{
	Tb__FetchRequest request = TB__FETCH_REQUEST__INIT;
	request.stream = (char *)(uintptr_t)SIGNALS;
	request.to = to;
	request.bytes_max = FETCH_BYTES;
	tb_rc rc = TB_OK;
	while (rc == TB_OK && reading->next <= to) {
		tb_auto(tb_answer_drop) tb_answer answer = { 0 };
		Tb__FetchReply *reply;
		uint64_t before = request.from = reading->next;
		rc = tb_bus_fetch(reading->state->env->bus, &request, FETCH_TIMEOUT, reading->turn->arena, &reply, &answer, err);
		if (rc == TB_ENOTFOUND)
			rc = tb_fail(err, TB_EBUSY, "the journal let go of signal %llu", (unsigned long long)reading->next);
		if (rc == TB_OK)
			rc = see_frames(reading, answer.frames, err);
		if (rc == TB_OK && reading->next == before)
			rc = tb_fail(err, TB_EBUSY, "the broker has no signal %llu", (unsigned long long)before);
	}
	return rc;
}

/* What was queued may say otherwise than what another holder put. What it was made of isn't finished, and comes again. */
static tb_rc take_back(signal_state *state, tb_turn *turn, uint64_t durable, tb_err *err)
{
	tb_rc rc = tb_turn_forget(turn, 0, err);
	while (rc == TB_OK && state->last > durable)
		rc = records_remove(state, turn, state->last--, err);
	state->settled = state->settled < state->last ? state->settled : state->last;
	state->durable = state->durable < state->last ? state->durable : state->last;
	return rc;
}

static tb_rc read_all(signal_state *state, tb_turn *turn, uint64_t durable, uint64_t first_held, tb_err *err)
{
	struct reading reading = { state, turn, state->last + 1, tb_arena_new() };
	if (first_held < reading.next)
		reading.next = first_held;
	tb_rc rc = TB_OK;
	if (reading.next <= durable && reading.next < first_held)
		rc = read_archive(&reading, first_held - 1, err);
	if (rc == TB_OK)
		rc = read_journal(&reading, durable, err);
	tb_arena_free(reading.arena);
	if (rc == TB_OK && state->last < durable)
		state->last = durable;
	return rc;
}

tb_rc rebuild_records(signal_state *state, tb_turn *turn, uint64_t durable, uint64_t first_held, tb_err *err)
{
	uint64_t before = 0;
	tb_rc rc = records_whole_at(state, turn, &before, err);
	if (rc != TB_OK)
		return rc;
	if (before + 1 >= turn->generation && state->last >= durable) /* nobody else held the lease in between */
		return records_whole_now(state, turn, err);
	if (state->last < durable)
		tb_log(TB_LOG_WARN, "this bank knows signals up to %llu, and there are %llu: they are read again",
		       (unsigned long long)state->last, (unsigned long long)durable);
	rc = take_back(state, turn, durable, err);
	if (rc == TB_OK && durable > 0)
		rc = read_all(state, turn, durable, first_held == 0 ? durable + 1 : first_held, err);
	return rc == TB_OK ? records_whole_now(state, turn, err) : rc;
}
