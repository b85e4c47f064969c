#include "bus/publisher_pump_state.h"

#include "base/planted.h"
#include "frames.pb-c.h"

#include <stdlib.h>
#include <sys/random.h>

#define FRAME_KEPT (1024u * 1024) /* a buffer that grew larger is given back */
#define PACK_WAIT TB_NS_PER_MS
#define PATIENCE_MAX (2 * TB_NS_PER_S)
#define AGAIN_WAIT (20 * TB_NS_PER_MS)
#define SILENCE_MAX TB_NS_PER_S /* with frames on their way: a broker that knows the stream answers each heartbeat */
#define BEAT_IDLE TB_NS_PER_S
#define BEAT_BUSY (100 * TB_NS_PER_MS)

tb_pump *tb_pump_new(const char *stream, tb_outbox *outbox, const tb_outbox_opened *opened, const tb_clock *clock)
{
	tb_pump *pump = tb_alloc_zero(1, sizeof(*pump));
	pump->stream = stream;
	pump->hash = tb_stream_hash(stream);
	pump->outbox = outbox;
	pump->opened = *opened;
	pump->clock = clock;
	pump->arena = tb_arena_new();
	pump->durable = opened->durable;
	pump->stored = opened->stored;
	pump->epoch = tb_outbox_epoch(outbox);
	pump->seen = opened->last;
	pump->hello_wait = PUMP_HELLO_WAIT_MIN;
	pump->patience = PUMP_PATIENCE_MIN;
	if (getrandom(pump->renewal, sizeof(pump->renewal), 0) != (ssize_t)sizeof(pump->renewal))
		tb_fail(&pump->failure, TB_EIO, "no random bytes for the outbox of the stream %s", stream);
	return pump;
}

void tb_pump_free(tb_pump *pump)
{
	if (pump == NULL)
		return;
	tb_buf_drop(&pump->frame);
	tb_buf_drop(&pump->beat);
	tb_arena_free(pump->arena);
	free(pump);
}

/* Packing */

void pump_pack_from(tb_pump *pump, uint64_t number, uint64_t cursor)
{
	tb_buf_clear(&pump->frame);
	if (pump->frame.capacity > FRAME_KEPT)
		tb_buf_drop(&pump->frame);
	pump->first = number;
	pump->count = 0;
	pump->from = cursor;
	pump->cursor = cursor;
	pump->full = 0;
}

/* Small events share a frame up to here. */
static size_t packed_max(const tb_pump *pump)
{
	return pump->window_bytes < TB_FRAME_PACKED ? (size_t)pump->window_bytes : TB_FRAME_PACKED;
}

/* Does it go along with what is packed already? Flags are the frame's: what is apart begins one, and all of it is inside
 * of a reset, or nothing. */
static int fits(const tb_pump *pump, tb_span event, uint32_t flags)
{
	return pump->frame.size + tb_events_entry_size(event.size) <= packed_max(pump) &&
	       flags == (pump->flags & ~TB_EVENTS_APART);
}

static int pack_one(tb_pump *pump)
{
	tb_span event;
	uint32_t flags;
	uint64_t cursor = pump->cursor;
	tb_rc rc = tb_outbox_read(pump->outbox, pump->first + pump->count, &cursor, &event, &flags, &pump->failure);
	if (rc != TB_OK)
		return 0;
	if (pump->count > 0 && !fits(pump, event, flags)) {
		pump->full = 1;
		return 0;
	}
	if (pump->count == 0) {
		tb_frame_begin(&pump->frame);
		pump->flags = flags;
		pump->begun = pump_now(pump);
	}
	tb_events_append(&pump->frame, event);
	pump->cursor = cursor;
	pump->count++;
	return 1;
}

static void pack(tb_pump *pump)
{
	pump->seen = tb_outbox_last(pump->outbox);
	while (!pump->full && pump->first + pump->count <= pump->seen && pack_one(pump))
		pump->full = pump->frame.size >= packed_max(pump);
}

/* Flights */

static struct pump_flight *oldest_flight(tb_pump *pump)
{
	return pump->flight_count ? &pump->flights[pump->flight_at] : NULL;
}

static void land_oldest(tb_pump *pump)
{
	pump->flight_bytes -= pump->flights[pump->flight_at].bytes;
	pump->flight_at = (pump->flight_at + 1) % PUMP_WINDOW_MAX;
	pump->flight_count--;
}

void pump_forget_flights(tb_pump *pump)
{
	pump->flight_at = pump->flight_count = pump->flight_bytes = 0;
}

static void go_back(tb_pump *pump)
{
	const struct pump_flight *oldest = oldest_flight(pump);
	if (TB_PLANTED(5))
		return;
	uint64_t number = TB_PLANTED(8) ? oldest->first : pump->durable + 1;
	uint64_t cursor = oldest->first == number ? oldest->cursor : 0;
	pump_forget_flights(pump);
	pump_pack_from(pump, number, cursor);
	pump->moved = pump_now(pump);
	pump->went_back++;
}

static int window_open(const tb_pump *pump)
{
	return pump->flight_count == 0 || (pump->flight_count < pump->window_frames &&
	                                   pump->flight_bytes + pump->frame.size <= pump->window_bytes);
}

/* What was heard */

static void advance(tb_pump *pump, uint64_t durable, uint64_t stored)
{
	if (durable <= pump->durable && stored <= pump->stored)
		return;
	if (durable > pump->durable) {
		pump->durable = durable;
		pump->moved = pump_now(pump);
		pump->patience = PUMP_PATIENCE_MIN;
		pump->hello_wait = PUMP_HELLO_WAIT_MIN;
	}
	if (stored > pump->stored)
		pump->stored = stored < pump->durable ? stored : pump->durable;
	tb_outbox_mark(pump->outbox, pump->durable, pump->stored);
	struct pump_flight *oldest;
	while ((oldest = oldest_flight(pump)) != NULL && oldest->first + oldest->count - 1 <= pump->durable)
		land_oldest(pump);
	/* After going back, what was sent before it may have arrived after all. */
	if (pump->first <= pump->durable)
		pump_pack_from(pump, pump->durable + 1, 0);
}

static void asked_again(tb_pump *pump)
{
	uint64_t now = pump_now(pump);
	if (pump->flight_count == 0 || (pump->again_number == pump->durable + 1 && now - pump->again_at < AGAIN_WAIT))
		return;
	pump->again_number = pump->durable + 1;
	pump->again_at = now;
	go_back(pump);
}

static const Tb__Durable *read_told(tb_pump *pump, tb_span bytes)
{
	ProtobufCMessage *message;
	tb_arena_reset(pump->arena);
	if (tb_control_read(&bytes, TB_KIND_TOLD, &tb__durable__descriptor, pump->arena, &message, NULL) != TB_OK)
		return NULL;
	const Tb__Durable *told = (const Tb__Durable *)message;
	return bytes.size == 0 && told->run_id.len == pump->run_id_size ? told : NULL;
}

void tb_pump_cut(tb_pump *pump)
{
	if (pump->granted && pump->failure.rc == TB_OK)
		pump_ask_again(pump);
}

void tb_pump_heard(tb_pump *pump, tb_span bytes)
{
	if (!pump->granted || pump->failure.rc != TB_OK)
		return;
	const Tb__Durable *told = read_told(pump, bytes);
	if (told == NULL)
		return;
	/* More than was ever accepted here is for hello to judge: only its answer is meant for this outbox. */
	if (told->hello || memcmp(told->run_id.data, pump->run_id, pump->run_id_size) != 0 || told->epoch > pump->epoch ||
	    told->durable > tb_outbox_last(pump->outbox)) {
		pump_ask_again(pump);
		return;
	}
	if (told->epoch != pump->epoch)
		return;
	pump->heard = pump_now(pump);
	advance(pump, told->durable, told->stored);
	if (told->again && told->durable == pump->durable)
		asked_again(pump);
}

/* What is sent */

static int offer_beat(tb_pump *pump, tb_span *ret_frame)
{
	Tb__Heartbeat message = TB__HEARTBEAT__INIT;
	message.last = tb_outbox_last(pump->outbox);
	message.run_id.data = pump->run_id;
	message.run_id.len = pump->run_id_size;
	size_t size = tb__heartbeat__get_packed_size(&message);
	tb_buf_clear(&pump->beat);
	size_t at = tb_frame_begin(&pump->beat);
	tb_buf_reserve(&pump->beat, size);
	pump->beat.size += tb__heartbeat__pack(&message, pump->beat.data + pump->beat.size);
	tb_frame frame = { .kind = TB_KIND_HEARTBEAT, .stream = pump->hash, .epoch = pump->epoch, .first = message.last,
		               .time_ns = tb_real_ns(pump->clock) };
	tb_frame_end(&pump->beat, at, &frame);
	pump->offer = OFFER_BEAT;
	*ret_frame = tb_buf_span(&pump->beat);
	return 1;
}

static int offer_events(tb_pump *pump, tb_span *ret_frame)
{
	tb_frame frame = { .kind = TB_KIND_EVENTS, .flags = (uint16_t)pump->flags, .count = (uint32_t)pump->count,
		               .stream = pump->hash, .epoch = pump->epoch, .first = pump->first, .time_ns = tb_real_ns(pump->clock) };
	tb_frame_end(&pump->frame, 0, &frame);
	pump->offer = OFFER_EVENTS;
	*ret_frame = tb_buf_span(&pump->frame);
	return 1;
}

static uint64_t beat_due(const tb_pump *pump)
{
	return pump->beat_at + (pump->flight_count ? BEAT_BUSY : BEAT_IDLE);
}

static int events_leave(const tb_pump *pump, uint64_t now)
{
	return pump->count > 0 && window_open(pump) &&
	       (pump->flight_count == 0 || pump->full || now - pump->begun >= PACK_WAIT);
}

/* Were the terms lost with the power, what is sent now would be sent again under others. */
static int sync_terms(tb_pump *pump)
{
	if (pump->unsynced && tb_outbox_sync(pump->outbox, &pump->failure) == TB_OK)
		pump->unsynced = 0;
	return !pump->unsynced;
}

int tb_pump_next(tb_pump *pump, tb_span *ret_frame)
{
	uint64_t now = pump_now(pump);
	pump->offer = OFFER_NOTHING;
	if (tb_outbox_wants_room(pump->outbox))
		tb_outbox_mark(pump->outbox, pump->durable, pump->stored);
	if (!pump->granted || pump->failure.rc != TB_OK || !sync_terms(pump))
		return 0;
	if (pump->flight_count && now - pump->heard >= SILENCE_MAX) {
		pump_ask_again(pump);
		return 0;
	}
	if (pump->flight_count && now - pump->moved >= pump->patience) {
		go_back(pump);
		pump->patience = pump->patience * 2 < PATIENCE_MAX ? pump->patience * 2 : PATIENCE_MAX;
	}
	pack(pump);
	if (pump->failure.rc != TB_OK)
		return 0;
	if (events_leave(pump, now))
		return offer_events(pump, ret_frame);
	return now >= beat_due(pump) && offer_beat(pump, ret_frame);
}

static void launch(tb_pump *pump)
{
	if (pump->flight_count == 0)
		pump->moved = pump_now(pump);
	if (pump->flight_count == 0 && pump->first > pump->sent_last)
		pump->heard = pump_now(pump);
	if (pump->first + pump->count - 1 > pump->sent_last)
		pump->sent_last = pump->first + pump->count - 1;
	size_t at = (pump->flight_at + pump->flight_count) % PUMP_WINDOW_MAX;
	pump->flights[at] = (struct pump_flight){ pump->first, pump->from, pump->count, pump->frame.size };
	pump->flight_count++;
	pump->flight_bytes += pump->frame.size;
	pump_pack_from(pump, pump->first + pump->count, pump->cursor);
}

void tb_pump_sent(tb_pump *pump)
{
	if (pump->offer == OFFER_EVENTS)
		launch(pump);
	else if (pump->offer == OFFER_BEAT)
		pump->beat_at = pump_now(pump);
	pump->frames_sent += pump->offer == OFFER_EVENTS;
	pump->offer = OFFER_NOTHING;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t tb_pump_deadline(const tb_pump *pump)
{
	if (pump->failure.rc != TB_OK)
		return UINT64_MAX;
	if (!pump->granted)
		return pump->hello_due;
	uint64_t deadline = beat_due(pump);
	if (pump->flight_count)
		deadline = sooner(deadline, pump->moved + pump->patience);
	if (pump->count > 0 && window_open(pump))
		deadline = sooner(deadline, pump->flight_count && !pump->full ? pump->begun + PACK_WAIT : 0);
	return deadline;
}

int tb_pump_awaits_events(const tb_pump *pump)
{
	return pump->granted && pump->count == 0 && pump->failure.rc == TB_OK;
}

uint64_t tb_pump_seen(const tb_pump *pump)
{
	return pump->seen;
}

tb_rc tb_pump_failure(const tb_pump *pump, tb_err *err)
{
	if (pump->failure.rc != TB_OK && err != NULL)
		*err = pump->failure;
	return pump->failure.rc;
}

void tb_pump_figures_get(const tb_pump *pump, tb_pump_figures *ret_figures)
{
	*ret_figures = (tb_pump_figures){
		.durable = pump->durable,
		.stored = pump->stored,
		.epoch = pump->epoch,
		.begun = pump->epoch_first,
		.frames_sent = pump->frames_sent,
		.went_back = pump->went_back,
		.frames_unconfirmed = pump->flight_count,
		.bytes_unconfirmed = pump->flight_bytes,
		.granted = pump->granted && pump->failure.rc == TB_OK,
	};
}

const tb_err *tb_pump_trouble(const tb_pump *pump)
{
	return &pump->trouble;
}
