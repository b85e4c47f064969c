#include "bus/publisher_pump_state.h"

#define HELLO_WAIT_MAX TB_NS_PER_S

void pump_ask_again(tb_pump *pump)
{
	uint64_t now = pump_now(pump);
	if (now - pump->hello_said > HELLO_WAIT_MAX)
		pump->hello_wait = PUMP_HELLO_WAIT_MIN;
	pump->granted = 0;
	pump->hello_due = pump->hello_said + pump->hello_wait > now ? pump->hello_said + pump->hello_wait : now;
	pump->hello_wait = pump->hello_wait * 2 < HELLO_WAIT_MAX ? pump->hello_wait * 2 : HELLO_WAIT_MAX;
}

int tb_pump_hello(tb_pump *pump, Tb__HelloRequest *ret_request)
{
	static const uint8_t none[16];
	uint64_t now = pump_now(pump);
	if (pump->failure.rc != TB_OK || pump->granted || now < pump->hello_due)
		return 0;
	pump->hello_said = now;
	const uint8_t *journal = tb_outbox_journal(pump->outbox);
	uint64_t first = tb_outbox_first(pump->outbox), last = tb_outbox_last(pump->outbox);
	uint64_t shift = tb_outbox_shift(pump->outbox);
	tb__hello_request__init(ret_request);
	ret_request->stream = (char *)pump->stream;
	ret_request->outbox = (ProtobufCBinaryData){ 16, (uint8_t *)tb_outbox_id(pump->outbox) };
	ret_request->epoch = pump->epoch;
	ret_request->first = first <= last ? first : 0;
	ret_request->last = last;
	ret_request->take_over = !pump->confirmed;
	ret_request->shift = shift;
	ret_request->ground = (pump->confirmed ? last : pump->opened.ground) - shift;
	ret_request->delivered = pump->durable > shift ? pump->durable - shift : 0;
	ret_request->journal_id = (ProtobufCBinaryData){ memcmp(journal, none, 16) ? 16 : 0, (uint8_t *)journal };
	ret_request->renewal = (ProtobufCBinaryData){ 16, pump->renewal };
	return 1;
}

static tb_rc fail_terms(tb_pump *pump, const Tb__HelloReply *reply)
{
	tb_fail(&pump->failure, TB_ECORRUPT,
	        "the broker wants the stream %s from event %llu on, at place %llu of an outbox that holds %llu to %llu",
	        pump->stream, (unsigned long long)reply->first, (unsigned long long)reply->place,
	        (unsigned long long)(tb_outbox_first(pump->outbox) - tb_outbox_shift(pump->outbox)),
	        (unsigned long long)(tb_outbox_last(pump->outbox) - tb_outbox_shift(pump->outbox)));
	tb_hint(&pump->failure, "keep the outbox file; the broker may have been put back to an older state");
	return TB_ECORRUPT;
}

static tb_rc fail_moved(tb_pump *pump, uint64_t durable, uint64_t last)
{
	tb_fail(&pump->failure, TB_EUNSUPPORTED,
	        "the broker knows events up to %llu of the stream %s, and this process, which holds it, published up to %llu: "
	        "the stream went on elsewhere",
	        (unsigned long long)durable, pump->stream, (unsigned long long)last);
	tb_hint(&pump->failure, "end whoever else publishes it; what isn't delivered yet takes new numbers when this engine "
	                        "starts again");
	return TB_EUNSUPPORTED;
}

static tb_rc fail_hole(tb_pump *pump, uint64_t durable, uint64_t first)
{
	tb_fail(&pump->failure, TB_EUNSUPPORTED,
	        "the broker has the stream %s up to event %llu only, and this outbox holds it from %llu on: lost ranges are "
	        "not in this version",
	        pump->stream, (unsigned long long)durable, (unsigned long long)first);
	tb_hint(&pump->failure, "the broker has lost its journal or was restored from an older one; keep the outbox file");
	return TB_EUNSUPPORTED;
}

/* Of the first answer of an opening: numbers may move. */
static tb_rc judge_terms(tb_pump *pump, const Tb__HelloReply *reply)
{
	uint64_t shift = tb_outbox_shift(pump->outbox), first = tb_outbox_first(pump->outbox) - shift;
	uint64_t last = tb_outbox_last(pump->outbox) - shift;
	if (reply->place < first || reply->place > last + 1 || reply->first < reply->place ||
	    reply->first > reply->durable + 1 || reply->durable > reply->first + last - reply->place)
		return fail_terms(pump, reply);
	return TB_OK;
}

/* Later on they may not: they have been told. */
static tb_rc judge_later(tb_pump *pump, const Tb__HelloReply *reply)
{
	uint64_t last = tb_outbox_last(pump->outbox), first = tb_outbox_first(pump->outbox);
	if (reply->durable > last || reply->first - reply->place != tb_outbox_shift(pump->outbox) || reply->renewed)
		return fail_moved(pump, reply->durable, last);
	return reply->durable + 1 < first ? fail_hole(pump, reply->durable, first) : TB_OK;
}

static tb_rc settle(tb_pump *pump, const Tb__HelloReply *reply)
{
	tb_outbox_terms terms = { reply->epoch, reply->first, reply->place, reply->journal_id.data,
		                      reply->renewed ? pump->renewal : NULL };
	tb_rc rc = tb_outbox_settle(pump->outbox, &terms, &pump->trouble);
	pump->unsynced = 1;
	pump->seen = tb_outbox_last(pump->outbox);
	return rc;
}

static int grants(tb_pump *pump, const Tb__HelloReply *reply)
{
	if (reply->window_frames == 0 || reply->window_bytes == 0) /* and says nothing else */
		tb_fail(&pump->trouble, TB_EFULL, "the broker grants no window: its journal has reached its limit");
	else if (reply->run_id.len == 0 || reply->run_id.len > PUMP_ID_MAX || reply->durable > UINT64_MAX / 4 ||
	         reply->journal_id.len != 16 || reply->place == 0)
		tb_fail(&pump->trouble, TB_ECORRUPT, "the broker's answer to hello makes no sense");
	else
		return 1;
	return 0;
}

static void take_window(tb_pump *pump, const Tb__HelloReply *reply)
{
	pump->granted = 1;
	pump->run_id_size = reply->run_id.len;
	memcpy(pump->run_id, reply->run_id.data, reply->run_id.len);
	pump->window_frames = reply->window_frames < PUMP_WINDOW_MAX ? reply->window_frames : PUMP_WINDOW_MAX;
	pump->window_bytes = reply->window_bytes;
	pump->durable = reply->durable;
	pump->stored = reply->stored < reply->durable ? reply->stored : reply->durable;
	tb_outbox_mark(pump->outbox, pump->durable, pump->stored);
	pump_forget_flights(pump);
	pump_pack_from(pump, pump->durable + 1, 0);
	pump->patience = PUMP_PATIENCE_MIN;
	pump->beat_at = pump->heard = pump_now(pump);
	pump->trouble = (tb_err){ 0 };
}

void tb_pump_answered(tb_pump *pump, const Tb__HelloReply *reply)
{
	if (!grants(pump, reply)) {
		pump_ask_again(pump);
		return;
	}
	if ((pump->confirmed ? judge_later(pump, reply) : judge_terms(pump, reply)) != TB_OK)
		return;
	if ((!pump->confirmed || reply->epoch != pump->epoch) && settle(pump, reply) != TB_OK) {
		pump_ask_again(pump);
		return;
	}
	pump->epoch = reply->epoch;
	pump->epoch_first = reply->first;
	pump->confirmed = 1;
	take_window(pump, reply);
}

/* Codes of a hello that asking again won't change. */
static int is_lasting(tb_rc rc)
{
	return rc == TB_EFENCED || rc == TB_EINVAL || rc == TB_EREFUSED || rc == TB_EUNSUPPORTED;
}

/* What the broker took under this process's epoch is delivered, also what it was not told of any more. Before the first
 * answer there is nothing that a copy of the outbox can have but this one hasn't. */
static void doubt_rest(tb_pump *pump, const Tb__HelloReply *refusal)
{
	uint64_t told = refusal != NULL && refusal->durable <= tb_outbox_last(pump->outbox) ? refusal->durable : 0;
	if (pump->confirmed)
		tb_outbox_doubt(pump->outbox, told > pump->durable ? told : pump->durable, NULL);
}

void tb_pump_unanswered(tb_pump *pump, tb_rc rc, const Tb__HelloReply *refusal, const tb_err *err)
{
	if (rc == TB_EINTERRUPTED)
		return;
	pump->trouble = *err;
	pump->trouble.rc = rc;
	if (rc == TB_EFENCED)
		doubt_rest(pump, refusal);
	if (is_lasting(rc))
		pump->failure = pump->trouble;
	else
		pump_ask_again(pump);
}

int tb_pump_confirmed(const tb_pump *pump)
{
	return pump->confirmed;
}
