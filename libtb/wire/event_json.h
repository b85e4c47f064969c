/* Events as JSON lines: what `tb publish` reads and `tb events` prints. docs: the operator's manual of `tb publish`. */
#ifndef TB_WIRE_EVENT_JSON_H
#define TB_WIRE_EVENT_JSON_H

#include "wire/event.h"
#include "wire/frame.h"

/* No event needs a longer line: six characters a byte, when all of it is escaped. */
#define TB_JSON_LINE_MAX (6 * (size_t)TB_EVENT_MAX + TB_FRAME_PACKED)

/* One line (without its newline) into an event, everything in the arena. TB_EINVAL: not JSON, not an object, not
 * exactly one body, an unknown field, a field of the wrong type; err names the field. Texts may hold any Unicode; numbers that
 * are prices or sizes are strings. Ints up to 2^63-1. Does not validate (tb_event_pack does). */
tb_rc tb_event_from_json(tb_span line, tb_arena *arena, tb_event *ret_event, tb_err *err);

/* What stands around an event when it is printed. Hashes may be NULL. */
typedef struct tb_event_place {
	const char *stream;
	uint64_t number;
	uint64_t stamp_ns;         /* broker's */
	const uint8_t *backup_hash;
	const uint8_t *memory_signature;
	const char *rejected; /* NULL: it was not */
} tb_event_place;

/* One JSON object without newline: {"stream":…,"number":…,"event_id":"stream/number","time_ns":…,"time":…,
 * "stamp_ns":…,"kind":"ghost","backup_hash":…,"memory_signature":…,  mode, source, priority, tags, metadata where set,
 * and the body under its name with the fields of the line that published it}. Printed so that tb_event_from_json of the
 * body's fields gives the same event again; data and values that are not UTF-8 under …_b64. Doubles with 17 digits at
 * most, the shortest that reads back equal. */
void tb_event_to_json(tb_buf *to, const tb_event *event, const tb_event_place *place);

/* A JSON string with its quotes, of UTF-8; what isn't becomes U+FFFD. Escapes only what JSON demands. */
void tb_json_text(tb_buf *to, tb_span bytes);
void tb_base64(tb_buf *to, tb_span bytes);

#endif
