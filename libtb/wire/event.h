/* Events to and from canonical bytes: validation, packing, hashes. proto/events.proto has the canonical rule. */
#ifndef TB_WIRE_EVENT_H
#define TB_WIRE_EVENT_H

#include "base/arena.h"
#include "base/err.h"
#include "tb/events.h"

/* Why an event is refused, for a reject's record: {code, field, detail}. Codes are stable words. */
typedef struct tb_reject {
	char code[32];   /* "bit_phase", "static_price", "key_size", "value_size", "text", "time", "confidence", … */
	char field[64];
	char detail[160];
} tb_reject;

/* Are these bytes valid UTF-8 without NUL? */
int tb_text_valid(tb_span bytes);

/* Validate, fill defaults in (time from now_ns, confidence, flip_pattern, → in pairs) and append the canonical bytes to
 * `to`. TB_EINVAL with the reject's sentence in err (and ret_reject, may be NULL) when a rule is broken: nothing is
 * appended. Deterministic: equal events give equal bytes. */
tb_rc tb_event_pack(tb_buf *to, const tb_event *event, uint64_t now_ns, tb_reject *ret_reject, tb_err *err);

/* Canonical bytes back into an event, everything in the arena or borrowed from bytes. TB_ECORRUPT: not an Event, or one
 * that nobody packs so (an unknown field, another order, a longer varint, a field set to what is said by leaving it
 * out). Does not apply the rules of tb_event_validate. */
tb_rc tb_event_unpack(tb_span canonical, tb_arena *arena, tb_event *ret_event, tb_err *err);

/* The rules (legal bit_phase, live price not static, sizes, confidence 0..1, text UTF-8, …). What the collector runs on
 * everything that comes from the bus, and tb_event_pack on what an engine gives, after it has filled the defaults in:
 * here they must stand already. */
tb_rc tb_event_validate(const tb_event *event, tb_reject *ret_reject, tb_err *err);

/* Unpacked and validated: TB_OK means that packing the event again gives the same bytes. TB_ECORRUPT with the reject's
 * code "canonical", or TB_EINVAL with the rule's. */
tb_rc tb_event_check(tb_span canonical, tb_arena *arena, tb_event *ret_event, tb_reject *ret_reject, tb_err *err);

#define TB_HASH 32
/* backup_hash = SHA-256 of the canonical bytes. */
void tb_event_hash(tb_span canonical, uint8_t ret_hash[TB_HASH]);
/* memory_signature = SHA-256(previous head of the bank, 32 bytes, zeros at first, then backup_hash). */
void tb_memory_signature(const uint8_t head[TB_HASH], const uint8_t backup_hash[TB_HASH], uint8_t ret_head[TB_HASH]);

/* The memory bank that an event belongs to: (kind, pair, bit_phase). An orbit's pair is the first of its path. 0 when
 * the kind has no bank (deltas, bars, …). The pair borrows from event. */
int tb_event_bank(const tb_event *event, const char **ret_pair, uint32_t *ret_bit_phase);

const char *tb_event_kind_name(tb_event_kind kind); /* "ghost", "delta", …; "unknown" */
tb_event_kind tb_event_kind_of(const char *name);   /* TB_EVENT_NONE when there is none */

#endif
