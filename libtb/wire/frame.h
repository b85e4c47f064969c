/* Frames: the unit on the wire, in the journal and in segments.
 *
 *   0 u32 magic "TBF1"   4 u16 kind   6 u16 flags   8 u32 body size  12 u32 count
 *  16 u64 stream        24 u64 epoch 32 u64 first  40 u64 time_ns   48 u64 body check  56 u64 head check
 *
 * Little-endian. The head check is over bytes 0..55 and vouches for the size before the body is read; the body check
 * is over the body. Both are against accidents. A frame of EVENTS bears `count` events numbered first, first + 1, …;
 * its body is an EventBatch whose entries are each event's canonical bytes. `time_ns` is the sender's clock until the
 * broker journals the frame, then the broker's stamp. In other kinds `epoch` is the generation it was made under.
 *
 * Flags of EVENTS say what a reset (see events.proto) that is open before the frame means to it. INSIDE: its events were
 * accepted between the begin of a reset and its commit. APART: its first event doesn't go on from what stands before it
 * in the stream, as a new process, or another outbox, begins there. An open reset is discarded by a frame that is APART,
 * and by one of another epoch than the begin's that is not INSIDE. Deltas and commits that are INSIDE where none is open
 * belong to one that was discarded: they are rejected. */
#ifndef TB_WIRE_FRAME_H
#define TB_WIRE_FRAME_H

#include "base/buf.h"
#include "base/err.h"
#include "wire/kinds.h"

#define TB_FRAME_HEAD 64u
#define TB_FRAME_BODY_MAX (33u * 1024 * 1024) /* an event of 32 MiB and its tag */
#define TB_EVENT_MAX (32u * 1024 * 1024)
#define TB_FRAME_PACKED 65536u /* small events share a frame up to here */
#define TB_EVENTS_INSIDE 1u
#define TB_EVENTS_APART 2u

typedef struct tb_frame {
	uint16_t kind;
	uint16_t flags;
	uint32_t count;
	uint64_t stream;
	uint64_t epoch;
	uint64_t first;
	uint64_t time_ns;
	tb_span body; /* borrowed */
} tb_frame;

/* Append head and body. The body may already stand in `to` (see tb_frame_begin). */
void tb_frame_write(tb_buf *to, const tb_frame *frame);

/* To build a body in place: begin keeps room for the head and returns its position in `to`; append the body; end fills
 * the head in (frame->body is ignored: it is what was appended since). */
size_t tb_frame_begin(tb_buf *to);
void tb_frame_end(tb_buf *to, size_t at, const tb_frame *frame);

/* A head alone (no buffer): fills head[0..63]. frame->body is anywhere, or { NULL, size } right behind the head. */
void tb_frame_head(uint8_t head[TB_FRAME_HEAD], const tb_frame *frame);

/* Change time_ns of a frame in place and renew its head check. */
void tb_frame_stamp(uint8_t *head, uint64_t time_ns);

/* The first frame of `from`, which is advanced past it; frame->body borrows from it. TB_ECORRUPT: not a frame, a check
 * does not hold, longer than there is, body over TB_FRAME_BODY_MAX or unknown kind; `from` is unchanged then. */
tb_rc tb_frame_read(tb_span *from, tb_frame *ret_frame, tb_err *err);

/* The head alone, e.g. to learn the size before reading the body: checks magic, head check and body size; body is
 * { NULL, size }. */
tb_rc tb_frame_read_head(tb_span head, tb_frame *ret_frame, tb_err *err);

/* Does a frame of EVENTS discard a reset that was begun under that epoch and is open before it? */
static inline int tb_events_discard(uint16_t flags, uint64_t epoch, uint64_t begin_epoch)
{
	return (flags & TB_EVENTS_APART) || (!(flags & TB_EVENTS_INSIDE) && epoch != begin_epoch);
}

static inline size_t tb_frame_size(const tb_frame *frame)
{
	return TB_FRAME_HEAD + frame->body.size;
}

/* The 64-bit name of a stream in frames: the first 8 bytes, little-endian, of BLAKE2b-256 of its name; never 0. */
uint64_t tb_stream_hash(const char *name);
/* 1..128 of letters, digits, '.', '_', '-', not beginning with '.': it is also a file name. */
tb_rc tb_stream_check(const char *name, tb_err *err);

/* Append one event to a body of EVENTS: tag, size, canonical bytes. */
void tb_events_append(tb_buf *body, tb_span canonical);
size_t tb_events_entry_size(size_t canonical_size);
/* The next event of a body, which is advanced; 1 and its canonical bytes, 0 at the end, -1 when the bytes are not a
 * batch. */
int tb_events_next(tb_span *body, tb_span *ret_canonical);
/* Does the body hold exactly count events? */
tb_rc tb_events_check(const tb_frame *frame, tb_err *err);

#endif
