/* Inside the outbox: what opening and running share. See outbox.h for the bytes. */
#ifndef TB_BUS_OUTBOX_RING_H
#define TB_BUS_OUTBOX_RING_H

#include "base/bytes.h"
#include "bus/outbox.h"
#include "wire/frame.h"

#include <endian.h>
#include <stdatomic.h>

#define OUTBOX_HEAD 4096u
#define OUTBOX_MARKS 4096u
#define OUTBOX_MARKS_STEP 512u
#define OUTBOX_HINT 5120u
#define OUTBOX_RING 8192u
#define OUTBOX_SKIP UINT64_C(0xffffffff)
#define OUTBOX_RECORD 24u
#define OUTBOX_FLAGS (TB_EVENTS_INSIDE | TB_EVENTS_APART)

struct tb_outbox {
	int fd;
	uint8_t *map;
	uint8_t *ring;
	uint64_t size; /* of the ring */
	uint8_t head[OUTBOX_HEAD];

	/* the writer's */
	_Alignas(64) uint64_t at; /* position of the next record */
	uint64_t place;           /* at modulo size */
	uint64_t tail_seen;
	uint32_t flags;    /* of the next record */
	/* told by the writer */
	_Atomic uint64_t last; /* these are places; numbers outside have the shift added */
	_Atomic uint64_t end; /* position behind the last record */
	_Atomic uint64_t wanted; /* bytes that the writer had no room for; 0: none */

	/* the reader's */
	_Alignas(64) uint64_t sequence;
	uint64_t durable, stored; /* numbers */
	/* told by the reader */
	_Atomic uint64_t first;
	_Atomic uint64_t tail; /* its position */
	_Atomic uint64_t shift;
	uint64_t apart; /* place */
};

static inline _Atomic uint64_t *outbox_word(uint8_t *at)
{
	return (_Atomic uint64_t *)(void *)at;
}
static inline void outbox_store(uint8_t *at, uint64_t value)
{
	atomic_store_explicit(outbox_word(at), htole64(value), memory_order_release);
}
static inline uint64_t outbox_load(uint8_t *at)
{
	return le64toh(atomic_load_explicit(outbox_word(at), memory_order_acquire));
}
static inline uint64_t outbox_record_size(uint64_t payload)
{
	return OUTBOX_RECORD + ((payload + 7) & ~UINT64_C(7));
}

uint64_t outbox_record_check(uint64_t place, uint32_t flags, tb_span payload);
uint64_t outbox_hint_check(uint64_t last);
void outbox_write_hint(tb_outbox *outbox, uint64_t last);

typedef struct outbox_record {
	uint64_t at, next; /* positions of it and behind it */
	uint64_t place;
	uint32_t flags;
	tb_span payload;
} outbox_record;

/* The record at `at`, or behind a skip there, that ends at `end` at most. 0 when there is none; not checked. */
int outbox_record_at(tb_outbox *outbox, uint64_t at, uint64_t end, outbox_record *ret_record);
int outbox_record_whole(const outbox_record *record);

/* Write first, tail, durable and stored into both slots. */
void outbox_write_marks(tb_outbox *outbox, uint64_t first, uint64_t tail);
/* Nothing before that place is held any more. */
void outbox_drop_before(tb_outbox *outbox, uint64_t place);
/* Nothing that stands in the free part may be taken for a record that follows the last one. */
void outbox_wipe_free(tb_outbox *outbox);

#endif
