/* The outbox: an engine's memory-mapped ring file of accepted events.
 *
 * File: one page of head, two slots of marks and a hint, then the ring.
 *      0 head: 8 bytes "TBOUT\0\0\1"; 16 bytes outbox id; u64 ring size; u64 time made; 16 bytes boot id of the last
 *        opening; u64 epoch that the broker gave last; u64 unsettled; u64 shift; u64 apart; 16 bytes id of the broker's
 *        journal; u64 size of the name, name (≤ 128); zeros; at 504 u64 check over 0..503; zeros. Written by one system
 *        call, so that no killed process leaves half of one, and all that changes lies in one sector, so that no power cut
 *        does.
 *   4096 marks, slot 0: u64 sequence; u64 first place held; u64 its ring position; u64 durable number; u64 stored number;
 *        u64 check over the five
 *   4608 marks, slot 1: the same; the valid slot with the higher sequence counts. Both are renewed, one after the
 *        other, before the writer may use the room that they let go of: either one alone tells the truth.
 *   5120 hint: u64 last place, u64 check over it. Two plain stores behind each commit, so it may be torn or one
 *        behind, never ahead: a valid hint beyond what was found on the same boot means that records were damaged.
 *   8192 ring
 * Ring positions only grow; position modulo ring size is the place. A record, 8-aligned, never wraps:
 *      0 u32 size of the payload, not 0 (0xffffffff, with flags 0: skip to the end of the ring)
 *      4 u32 flags, as frames of events bear them (wire/frame.h): 1 inside a reset, 2 the first of an opening; a record
 *        with others is none
 *      8 u64 place      16 u64 check over place, u32 size, u32 flags and the payload's own check
 *     24 payload: canonical bytes
 * The writer fills a record in completely, its first eight bytes last; the eight bytes behind the newest record are zero
 * unless the ring is full. On opening, records are followed from the first mark while each is whole and bears the next
 * place: a process that died in the middle of one leaves no trace of it. The free part may hold anything.
 *
 * A record's place is the count of events that this outbox accepted: 1, 2, 3 …, and never changes. Its number in the stream
 * is place + shift. The broker decides the shift at each opening, as the stream may have gone on elsewhere, and knows by
 * place what it has of each outbox: so what was accepted and not delivered takes new numbers, once, and what was delivered
 * is never sent again. What it has from before the shift's last change is let go; the event at place `apart` is the first
 * behind it, and doesn't go on from what stands before it in the stream.
 *
 * After a crash of the process the pages are intact (the kernel has them). After another boot any subset of them may be
 * missing: records end at the first that isn't whole, and what stands behind it is wiped. `unsettled` is 1 + the last place
 * at the first opening that the broker hasn't answered yet, and 0 once it has: places above were accepted meanwhile. When
 * the broker has more of this outbox than the places below it, the file is an older copy, or lost its end with the power:
 * the broker's are others than those above, so the outbox takes another id, under which they are all new. */
#ifndef TB_BUS_OUTBOX_H
#define TB_BUS_OUTBOX_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

typedef struct tb_outbox tb_outbox;

typedef struct tb_outbox_opened {
	int made;                 /* it is new */
	int other_boot;           /* last opened before the host's last boot */
	int unsettled;            /* the broker hasn't answered an earlier opening: numbers behind `ground` may change */
	uint64_t ground;          /* the last number that was accepted in an opening which the broker had answered */
	uint64_t first, last;     /* numbers held: first..last; last = first - 1 when none */
	uint64_t durable, stored; /* as marked last */
} tb_outbox_opened;

/* Opens or makes; flock'd: TB_EBUSY. TB_EINVAL: it belongs to another stream. TB_ECORRUPT: damaged. size: of a new
 * one's ring. boot_id: 16 bytes, of this boot. */
tb_rc tb_outbox_open(const char *path, const char *stream, uint64_t size, const uint8_t boot_id[16],
                     tb_outbox **ret_outbox, tb_outbox_opened *ret_opened, tb_err *err);
void tb_outbox_close(tb_outbox *outbox);
/* Whose it is, without opening it. TB_ENOTFOUND; TB_ECORRUPT: not an outbox, or damaged. */
tb_rc tb_outbox_stream(const char *path, char ret_stream[129], tb_err *err);

const uint8_t *tb_outbox_id(const tb_outbox *outbox); /* 16 bytes */
uint64_t tb_outbox_epoch(const tb_outbox *outbox);
uint64_t tb_outbox_shift(const tb_outbox *outbox); /* an event's number less its place; any thread */
const uint8_t *tb_outbox_journal(const tb_outbox *outbox); /* 16 bytes, zeros when it knows none */

typedef struct tb_outbox_terms {
	uint64_t epoch;
	uint64_t first, place;     /* the event at that place has that number; those before it are delivered */
	const uint8_t *journal_id; /* 16 bytes */
	const uint8_t *renewal;    /* 16 bytes: the id from now on; NULL: it stays */
} tb_outbox_terms;
/* The broker has answered. Reader's side, while the writer is kept out: numbers may change. Nothing may be sent under these
 * terms before tb_outbox_sync, as a power cut would bring the former ones back. */
tb_rc tb_outbox_settle(tb_outbox *outbox, const tb_outbox_terms *terms, tb_err *err);
tb_rc tb_outbox_sync(tb_outbox *outbox, tb_err *err);
/* Another process publishes the stream, perhaps from a copy: what it accepts from there on isn't what is held here behind
 * `number`. */
tb_rc tb_outbox_doubt(tb_outbox *outbox, uint64_t number, tb_err *err);

/* Writer's side: one thread. Room for size bytes, then commit gives it the next number. TB_EFULL: nothing was taken, the
 * reader is told to let go of durable ones. TB_EINVAL: larger than half the ring. The payload is written in place
 * between the two. */
tb_rc tb_outbox_reserve(tb_outbox *outbox, size_t size, uint8_t **ret_payload, tb_err *err);
typedef enum tb_reset_step { TB_RESET_NONE, TB_RESET_BEGIN, TB_RESET_COMMIT } tb_reset_step;
/* size: 1..the reserved one. step: what the event says of a reset, so that what stands inside of one is marked. */
uint64_t tb_outbox_commit(tb_outbox *outbox, size_t size, tb_reset_step step);
uint64_t tb_outbox_last(const tb_outbox *outbox); /* highest accepted; any thread */

/* Reader's side: one other thread. The payload of `number`, borrowed until the outbox lets go of it; position is a
 * cursor: 0, or what the call for number - 1 left in it, which makes it a step instead of a walk. TB_ENOTFOUND.
 * TB_ECORRUPT: something wrote into the mapping. */
tb_rc tb_outbox_read(tb_outbox *outbox, uint64_t number, uint64_t *cursor, tb_span *ret_payload, uint32_t *ret_flags,
                     tb_err *err);
/* Records up to `stored` are let go, but none beyond `durable`; those up to `durable` while more than half of the ring
 * is used or the writer wants their room. Numbers go back only when the broker has lost what it had. */
void tb_outbox_mark(tb_outbox *outbox, uint64_t durable, uint64_t stored);
int tb_outbox_wants_room(const tb_outbox *outbox); /* the writer was refused: mark again */
uint64_t tb_outbox_used(const tb_outbox *outbox);  /* any thread */
uint64_t tb_outbox_size(const tb_outbox *outbox);
uint64_t tb_outbox_first(const tb_outbox *outbox); /* oldest held, or last + 1; any thread */

#endif
