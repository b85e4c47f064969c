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
	uint64_t now = pump_now(pump);
	if (pump->failure.rc != TB_OK || pump->granted || now < pump->hello_due)
		return 0;
	pump->hello_said = now;
	uint64_t first = tb_outbox_first(pump->outbox);
	uint64_t last = tb_outbox_last(pump->outbox);
	tb__hello_request__init(ret_request);
	ret_request->stream = (char *)pump->stream;
	ret_request->outbox.data = (uint8_t *)tb_outbox_id(pump->outbox);
	ret_request->outbox.len = 16;
	ret_request->epoch = pump->epoch;
	ret_request->first = first <= last ? first : 0;
	ret_request->last = last;
	ret_request->take_over = !pump->confirmed;
	return 1;
}

static tb_rc fail_renumbering(tb_pump *pump, uint64_t durable, uint64_t last)
{
	tb_fail(&pump->failure, TB_EUNSUPPORTED,
	        "the broker knows events up to %llu of the stream %s, this outbox %s%llu, and some of them were never "
	        "delivered: renumbering is not in this version",
	        (unsigned long long)durable, pump->stream, durable > last ? "only up to " : "has others up to ",
	        (unsigned long long)last);
	tb_hint(&pump->failure, "move the outbox file away and keep it (its events from %llu on are not backed up); the "
	                        "stream goes on in a new one",
	        (unsigned long long)pump->durable + 1);
	return TB_EUNSUPPORTED;
}

static tb_rc fail_boot(tb_pump *pump, uint64_t durable)
{
	tb_fail(&pump->failure, TB_EUNSUPPORTED,
	        "the outbox of the stream %s holds events %llu to %llu from before this host's last boot that the broker has "
	        "not got: publishing them again is not in this version",
	        pump->stream, (unsigned long long)durable + 1, (unsigned long long)pump->opened.ground);
	tb_hint(&pump->failure, "move the outbox file away and keep it (those events are not backed up); the stream goes on "
	                        "in a new one");
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

static tb_rc begin_behind(tb_pump *pump, uint64_t durable)
{
	tb_outbox_begin_at(pump->outbox, durable + 1);
	pump->seen = durable;
	return TB_OK;
}

/* The first answer of this opening: nothing was sent before it, so what the broker knows beyond `last` came from
 * elsewhere, or was lost here with the power. */
static tb_rc judge_first(tb_pump *pump, uint64_t durable, uint64_t last)
{
	const tb_outbox_opened *opened = &pump->opened;
	if (last <= pump->durable)
		return durable > last ? begin_behind(pump, durable) : TB_OK;
	if (!opened->unsettled)
		return durable > last ? fail_renumbering(pump, durable, last) : TB_OK;
	if (opened->ground > durable)
		return fail_boot(pump, durable);
	if (durable == opened->ground)
		return TB_OK;
	return last == opened->ground ? begin_behind(pump, durable) : fail_renumbering(pump, durable, last);
}

static tb_rc judge(tb_pump *pump, uint64_t durable)
{
	uint64_t last = tb_outbox_last(pump->outbox);
	tb_rc rc = TB_OK;
	if (!pump->confirmed)
		rc = judge_first(pump, durable, last);
	else if (durable > last)
		rc = fail_renumbering(pump, durable, last);
	uint64_t first = tb_outbox_first(pump->outbox);
	if (rc == TB_OK && durable + 1 < first)
		rc = fail_hole(pump, durable, first);
	return rc;
}

static int grants(tb_pump *pump, const Tb__HelloReply *reply)
{
	if (reply->run_id.len == 0 || reply->run_id.len > PUMP_ID_MAX || reply->durable > UINT64_MAX / 2)
		tb_fail(&pump->trouble, TB_ECORRUPT, "the broker's answer to hello makes no sense");
	else if (reply->window_frames == 0 || reply->window_bytes == 0)
		tb_fail(&pump->trouble, TB_EFULL, "the broker grants no window: its journal has reached its limit");
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
	if (judge(pump, reply->durable) != TB_OK)
		return;
	if ((!pump->confirmed || reply->epoch != pump->epoch) &&
	    tb_outbox_settle(pump->outbox, reply->epoch, &pump->trouble) != TB_OK) {
		pump_ask_again(pump);
		return;
	}
	pump->epoch = reply->epoch;
	pump->confirmed = 1;
	take_window(pump, reply);
}

/* Codes of a hello that asking again won't change. */
static int is_lasting(tb_rc rc)
{
	return rc == TB_EFENCED || rc == TB_EINVAL || rc == TB_EREFUSED || rc == TB_EUNSUPPORTED;
}

void tb_pump_unanswered(tb_pump *pump, tb_rc rc, const tb_err *err)
{
	if (rc == TB_EINTERRUPTED)
		return;
	pump->trouble = *err;
	pump->trouble.rc = rc;
	if (is_lasting(rc))
		pump->failure = pump->trouble;
	else
		pump_ask_again(pump);
}

int tb_pump_confirmed(const tb_pump *pump)
{
	return pump->confirmed;
}
