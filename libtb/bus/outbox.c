#include "bus/outbox_ring.h"

#include <assert.h>

uint64_t outbox_record_check(uint64_t place, uint32_t flags, tb_span payload)
{
	uint8_t bytes[24];
	tb_put64(bytes, place);
	tb_put32(bytes + 8, (uint32_t)payload.size);
	tb_put32(bytes + 12, flags);
	tb_put64(bytes + 16, tb_check64(payload.data, payload.size));
	return tb_check64(bytes, sizeof(bytes));
}

uint64_t outbox_hint_check(uint64_t last)
{
	uint8_t bytes[8];
	tb_put64(bytes, last);
	return tb_check64(bytes, sizeof(bytes));
}

void outbox_write_hint(tb_outbox *outbox, uint64_t last)
{
	outbox_store(outbox->map + OUTBOX_HINT, last);
	outbox_store(outbox->map + OUTBOX_HINT + 8, outbox_hint_check(last));
}

const uint8_t *tb_outbox_id(const tb_outbox *outbox)
{
	return outbox->head + 8;
}

uint64_t tb_outbox_shift(const tb_outbox *outbox)
{
	return atomic_load_explicit(&outbox->shift, memory_order_relaxed);
}

uint64_t tb_outbox_last(const tb_outbox *outbox)
{
	return atomic_load_explicit(&outbox->last, memory_order_acquire) + tb_outbox_shift(outbox);
}

uint64_t tb_outbox_first(const tb_outbox *outbox)
{
	return atomic_load_explicit(&outbox->first, memory_order_acquire) + tb_outbox_shift(outbox);
}

/* 0: before all that it accepted. */
static uint64_t place_of(const tb_outbox *outbox, uint64_t number)
{
	uint64_t shift = tb_outbox_shift(outbox);
	return number > shift ? number - shift : 0;
}

uint64_t tb_outbox_used(const tb_outbox *outbox)
{
	/* tail first: it never passes an end that was there before it */
	uint64_t tail = atomic_load_explicit(&outbox->tail, memory_order_acquire);
	return atomic_load_explicit(&outbox->end, memory_order_acquire) - tail;
}

uint64_t tb_outbox_size(const tb_outbox *outbox)
{
	return outbox->size;
}

int tb_outbox_wants_room(const tb_outbox *outbox)
{
	return atomic_load_explicit(&outbox->wanted, memory_order_relaxed) != 0;
}

/* The writer's side */

static int has_room(tb_outbox *outbox, uint64_t need)
{
	if (outbox->at + need - outbox->tail_seen <= outbox->size)
		return 1;
	outbox->tail_seen = atomic_load_explicit(&outbox->tail, memory_order_acquire);
	return outbox->at + need - outbox->tail_seen <= outbox->size;
}

static tb_rc refuse_full(tb_outbox *outbox, uint64_t need, tb_err *err)
{
	atomic_store_explicit(&outbox->wanted, need, memory_order_relaxed);
	tb_fail(err, TB_EFULL, "the outbox is full: %llu of %llu bytes hold events that the broker has not confirmed yet",
	        (unsigned long long)tb_outbox_used(outbox), (unsigned long long)outbox->size);
	tb_hint(err, "see whether the broker runs and keeps up (tb status); this event was not taken, try again");
	return TB_EFULL;
}

/* Leave the rest of this lap unused. The place where the next lap begins must not look like a record to whoever follows
 * the skip. */
static void skip_to_end(tb_outbox *outbox)
{
	outbox_store(outbox->ring, 0);
	outbox_store(outbox->ring + outbox->place, OUTBOX_SKIP);
	outbox->at += outbox->size - outbox->place;
	outbox->place = 0;
}

tb_rc tb_outbox_reserve(tb_outbox *outbox, size_t size, uint8_t **ret_payload, tb_err *err)
{
	assert(size > 0);
	uint64_t need = outbox_record_size(size);
	if (size >= OUTBOX_SKIP || need > outbox->size / 2) {
		tb_fail(err, TB_EINVAL, "an event of %zu bytes is too large for an outbox of %llu", size,
		        (unsigned long long)outbox->size);
		tb_hint(err, "an outbox takes events of up to half its size; make a larger one when this one is empty");
		return TB_EINVAL;
	}
	uint64_t rest = outbox->size - outbox->place;
	uint64_t skip = rest < need ? rest : 0;
	if (!has_room(outbox, skip + need))
		return refuse_full(outbox, skip + need, err);
	if (skip)
		skip_to_end(outbox);
	/* When the ring was full here an old record may still begin at this place. */
	outbox_store(outbox->ring + outbox->place, 0);
	*ret_payload = outbox->ring + outbox->place + OUTBOX_RECORD;
	return TB_OK;
}

/* Of this record; outbox->flags: of the one behind it. A begin stands before the reset that it begins. */
static uint32_t move_flags(tb_outbox *outbox, tb_reset_step step)
{
	uint32_t flags = step == TB_RESET_BEGIN ? outbox->flags & ~TB_EVENTS_INSIDE : outbox->flags;
	outbox->flags &= ~TB_EVENTS_APART;
	if (step == TB_RESET_BEGIN)
		outbox->flags |= TB_EVENTS_INSIDE;
	if (step == TB_RESET_COMMIT)
		outbox->flags &= ~TB_EVENTS_INSIDE;
	return flags;
}

uint64_t tb_outbox_commit(tb_outbox *outbox, size_t size, tb_reset_step step)
{
	assert(size > 0);
	uint8_t *record = outbox->ring + outbox->place;
	uint64_t place = atomic_load_explicit(&outbox->last, memory_order_relaxed) + 1;
	uint64_t need = outbox_record_size(size);
	uint32_t flags = move_flags(outbox, step);
	tb_put64(record + 8, place);
	tb_put64(record + 16, outbox_record_check(place, flags, tb_span_of(record + OUTBOX_RECORD, size)));
	outbox->at += need;
	outbox->place += need;
	if (outbox->place == outbox->size)
		outbox->place = 0;
	if (outbox->at - outbox->tail_seen < outbox->size)
		outbox_store(outbox->ring + outbox->place, 0);
	outbox_store(record, size | (uint64_t)flags << 32);
	atomic_store_explicit(&outbox->end, outbox->at, memory_order_release);
	atomic_store_explicit(&outbox->last, place, memory_order_release);
	outbox_write_hint(outbox, place);
	return place + tb_outbox_shift(outbox);
}

/* The reader's side */

int outbox_record_at(tb_outbox *outbox, uint64_t at, uint64_t end, outbox_record *ret_record)
{
	if (at >= end)
		return 0;
	uint64_t place = at % outbox->size;
	uint64_t word = outbox_load(outbox->ring + place);
	if (word == OUTBOX_SKIP && place != 0) {
		at += outbox->size - place;
		if (at >= end)
			return 0;
		place = 0;
		word = outbox_load(outbox->ring);
	}
	uint64_t size = word & UINT32_MAX, flags = word >> 32;
	if (size == 0 || size > outbox->size || flags > OUTBOX_FLAGS || outbox_record_size(size) > outbox->size - place ||
	    outbox_record_size(size) > end - at)
		return 0;
	uint8_t *record = outbox->ring + place;
	*ret_record = (outbox_record){ at, at + outbox_record_size(size), tb_get64(record + 8), (uint32_t)flags,
		                       tb_span_of(record + OUTBOX_RECORD, size) };
	return 1;
}

int outbox_record_whole(const outbox_record *record)
{
	return tb_get64(record->payload.data - 8) == outbox_record_check(record->place, record->flags, record->payload);
}

static tb_rc fail_overwritten(uint64_t number, tb_err *err)
{
	tb_fail(err, TB_ECORRUPT, "event %llu in the outbox is not what was written there", (unsigned long long)number);
	tb_hint(err, "something in this process wrote over the outbox's memory; the events before it are safe");
	return TB_ECORRUPT;
}

tb_rc tb_outbox_read(tb_outbox *outbox, uint64_t number, uint64_t *cursor, tb_span *ret_payload, uint32_t *ret_flags,
                     tb_err *err)
{
	uint64_t last = tb_outbox_last(outbox);
	uint64_t first = tb_outbox_first(outbox);
	if (number < first || number > last)
		return tb_fail(err, TB_ENOTFOUND, "event %llu is not in the outbox, which holds %llu to %llu",
		               (unsigned long long)number, (unsigned long long)first, (unsigned long long)last);
	uint64_t end = atomic_load_explicit(&outbox->end, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&outbox->tail, memory_order_relaxed);
	int steps_on = *cursor != 0 && *cursor >= tail;
	uint64_t at = steps_on ? *cursor : tail, wanted = place_of(outbox, number);
	for (uint64_t reached = steps_on ? wanted : place_of(outbox, first);; reached++) {
		outbox_record record;
		if (!outbox_record_at(outbox, at, end, &record) || record.place != reached)
			return fail_overwritten(number, err);
		at = record.next;
		if (reached < wanted)
			continue;
		if (!outbox_record_whole(&record))
			return fail_overwritten(number, err);
		*cursor = at;
		*ret_payload = record.payload;
		*ret_flags = record.flags | (reached == outbox->apart ? TB_EVENTS_APART : 0);
		return TB_OK;
	}
}

static void write_slot(tb_outbox *outbox, uint64_t first, uint64_t tail)
{
	uint64_t sequence = ++outbox->sequence;
	uint64_t fields[5] = { sequence, first, tail, outbox->durable, outbox->stored };
	uint8_t bytes[40];
	uint8_t *slot = outbox->map + OUTBOX_MARKS + (sequence & 1) * OUTBOX_MARKS_STEP;
	for (int i = 0; i < 5; i++) {
		tb_put64(bytes + 8 * i, fields[i]);
		outbox_store(slot + 8 * i, fields[i]);
	}
	outbox_store(slot + 40, tb_check64(bytes, sizeof(bytes)));
}

void outbox_write_marks(tb_outbox *outbox, uint64_t first, uint64_t tail)
{
	write_slot(outbox, first, tail);
	write_slot(outbox, first, tail);
}

static void let_go(tb_outbox *outbox, uint64_t first, uint64_t tail)
{
	outbox_write_marks(outbox, first, tail);
	atomic_store_explicit(&outbox->first, first, memory_order_release);
	atomic_store_explicit(&outbox->tail, tail, memory_order_release);
}

void tb_outbox_mark(tb_outbox *outbox, uint64_t durable, uint64_t stored)
{
	uint64_t last = atomic_load_explicit(&outbox->last, memory_order_acquire);
	uint64_t end = atomic_load_explicit(&outbox->end, memory_order_acquire);
	uint64_t first = atomic_load_explicit(&outbox->first, memory_order_relaxed);
	uint64_t durable_place = place_of(outbox, durable), stored_place = place_of(outbox, stored);
	uint64_t tail = atomic_load_explicit(&outbox->tail, memory_order_relaxed);
	uint64_t wanted = atomic_load_explicit(&outbox->wanted, memory_order_relaxed);
	uint64_t kept_max = wanted > outbox->size / 2 ? outbox->size - wanted : outbox->size / 2;
	int changed = durable != outbox->durable || stored != outbox->stored;
	outbox_record record;
	while (first <= last && first <= durable_place && (first <= stored_place || end - tail > kept_max) &&
	       outbox_record_at(outbox, tail, end, &record) && record.place == first) {
		tail = record.next;
		first++;
		changed = 1;
	}
	atomic_store_explicit(&outbox->wanted, 0, memory_order_relaxed);
	if (!changed)
		return;
	outbox->durable = durable;
	outbox->stored = stored;
	let_go(outbox, first, tail);
}

void outbox_drop_before(tb_outbox *outbox, uint64_t place)
{
	uint64_t first = atomic_load_explicit(&outbox->first, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&outbox->tail, memory_order_relaxed);
	uint64_t end = atomic_load_explicit(&outbox->end, memory_order_acquire);
	outbox_record record;
	if (first >= place)
		return;
	while (first < place && outbox_record_at(outbox, tail, end, &record) && record.place == first) {
		tail = record.next;
		first++;
	}
	let_go(outbox, first, tail);
}
