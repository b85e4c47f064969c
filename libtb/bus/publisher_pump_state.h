/* Inside the pump: its state, and what its two files do for each other. */
#ifndef TB_BUS_PUMP_STATE_H
#define TB_BUS_PUMP_STATE_H

#include "bus/bus.h"
#include "bus/publisher_pump.h"

#define PUMP_WINDOW_MAX 1024u /* frames; a broker that grants more is taken at this */
#define PUMP_ID_MAX 32u
#define PUMP_PATIENCE_MIN (200 * TB_NS_PER_MS)
#define PUMP_HELLO_WAIT_MIN (10 * TB_NS_PER_MS)

/* A frame that was sent and is not durable yet. */
struct pump_flight {
	uint64_t first, cursor;
	uint64_t count;
	size_t bytes;
};

enum pump_offer { OFFER_NOTHING, OFFER_EVENTS, OFFER_BEAT };

struct tb_pump {
	const char *stream;
	tb_outbox *outbox;
	tb_outbox_opened opened;
	const tb_clock *clock;
	tb_arena *arena;
	uint64_t hash;

	uint64_t durable, stored, epoch, epoch_first;
	int confirmed, granted;
	int unsynced; /* terms that a power cut would take back */
	uint8_t renewal[16];
	uint8_t run_id[PUMP_ID_MAX];
	size_t run_id_size;
	uint64_t window_frames, window_bytes;
	uint64_t hello_due, hello_said, hello_wait;
	tb_err trouble, failure;

	/* the frame being packed: events first .. first + count - 1, from `from` in the outbox to `cursor` */
	tb_buf frame;
	uint64_t first, count, from, cursor;
	uint32_t flags;
	uint64_t begun; /* when its first event was seen */
	int full;
	uint64_t seen;

	struct pump_flight flights[PUMP_WINDOW_MAX]; /* a ring */
	size_t flight_at, flight_count, flight_bytes;
	uint64_t moved, patience; /* when durable went on, or the first of the flights left */
	uint64_t sent_last;       /* highest number ever sent */
	uint64_t heard;           /* when the broker was heard, or something new left while nothing was on its way */
	uint64_t again_number, again_at;

	tb_buf beat;
	uint64_t beat_at;
	enum pump_offer offer;
	uint64_t frames_sent, went_back;
};

static inline uint64_t pump_now(const tb_pump *pump)
{
	return tb_mono_ns(pump->clock);
}

/* Go on packing at that number; cursor: where it is in the outbox, or 0. */
void pump_pack_from(tb_pump *pump, uint64_t number, uint64_t cursor);
/* What is on its way doesn't count any more. */
void pump_forget_flights(tb_pump *pump);
/* The window is lost: hello is due as soon as it may be. */
void pump_ask_again(tb_pump *pump);

#endif
