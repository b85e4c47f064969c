/* The pump: what the publisher's background thread decides. Given the outbox, what was heard and the clock, it says when
 * to say hello and which frame goes out next. No sockets, no thread: whoever turns it owns those.
 *
 * One turn: say hello when one is due, hand over what was heard, then send frames until there is none.
 *
 * Frames are packed from the outbox behind the last one sent. When the broker asks for it, or nothing moves for a while,
 * the pump goes back to the number behind the durable one and packs anew: an old frame may straddle. */
#ifndef TB_BUS_PUBLISHER_PUMP_H
#define TB_BUS_PUBLISHER_PUMP_H

#include "base/clock.h"
#include "bus/outbox.h"
#include "control.pb-c.h"

typedef struct tb_pump tb_pump;

/* Borrows stream, outbox and clock. */
tb_pump *tb_pump_new(const char *stream, tb_outbox *outbox, const tb_outbox_opened *opened, const tb_clock *clock);
void tb_pump_free(tb_pump *pump);

/* Is a hello due? Then ret_request is filled in, borrowing from the pump, and its outcome is to be told: the answer, or
 * rc and err when there was none, and with a TB_EFENCED the broker's refusal (else NULL). The first answer of an opening
 * may move the outbox's next number: keep its writer out while it is told, until tb_pump_confirmed. */
int tb_pump_hello(tb_pump *pump, Tb__HelloRequest *ret_request);
void tb_pump_answered(tb_pump *pump, const Tb__HelloReply *reply);
void tb_pump_unanswered(tb_pump *pump, tb_rc rc, const Tb__HelloReply *refusal, const tb_err *err);
int tb_pump_confirmed(const tb_pump *pump); /* the broker has answered in this opening: numbers are not in doubt */

/* The connection was lost: what was on its way may be gone, and the window with it. */
void tb_pump_cut(tb_pump *pump);
/* Something was heard on the stream's topic. What isn't a TOLD frame that makes sense is ignored. */
void tb_pump_heard(tb_pump *pump, tb_span bytes);

/* The frame to send now, borrowed until the next call; 0: none. Tell when it was queued; else it is packed again. */
int tb_pump_next(tb_pump *pump, tb_span *ret_frame);
void tb_pump_sent(tb_pump *pump);

/* When to turn the pump again though nothing is heard; UINT64_MAX: not at all. */
uint64_t tb_pump_deadline(const tb_pump *pump);
/* Would a newly accepted event make a difference? Else there is no need to be woken by one. */
int tb_pump_awaits_events(const tb_pump *pump);
/* The highest number that the pump has seen in the outbox. */
uint64_t tb_pump_seen(const tb_pump *pump);

/* TB_OK, or what ended it: nothing is sent any more. */
tb_rc tb_pump_failure(const tb_pump *pump, tb_err *err);

typedef struct tb_pump_figures {
	uint64_t durable, stored, epoch, begun; /* begun: the epoch's first number; 0: not answered yet */
	uint64_t frames_sent, went_back;
	uint64_t frames_unconfirmed, bytes_unconfirmed;
	int granted; /* a window of the broker's present life */
} tb_pump_figures;
void tb_pump_figures_get(const tb_pump *pump, tb_pump_figures *ret_figures);

/* Why the last hello had no answer; its text is empty when it had one. */
const tb_err *tb_pump_trouble(const tb_pump *pump);

#endif
