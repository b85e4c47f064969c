/* The fields of events as rows. Packing, unpacking, the rules and JSON all walk these tables, so a field is described
 * once. For the event files of this room only.
 *
 * A row says where a field stands in its C struct, how it is written, and when it is written. The last is what makes
 * the bytes canonical: a writer writes exactly the fields that are present, in the table's order, and a reader refuses
 * bytes in which another set of fields stands. */
#ifndef TB_WIRE_EVENT_FIELDS_H
#define TB_WIRE_EVENT_FIELDS_H

#include "base/buf.h"
#include "tb/events.h"

enum tb_field_type {       /* in the struct               on the wire */
	TB_FIELD_TEXT,     /* const char *                length, bytes */
	TB_FIELD_BYTES,    /* tb_bytes                    length, bytes */
	TB_FIELD_U32,      /* uint32_t                    varint */
	TB_FIELD_U64,      /* uint64_t                    varint */
	TB_FIELD_FIXED64,  /* uint64_t                    8 bytes */
	TB_FIELD_BOOL,     /* int                         varint 0 or 1 */
	TB_FIELD_DOUBLE,   /* double                      8 bytes */
	TB_FIELD_MESSAGE,  /* a struct in place           length, fields */
	TB_FIELD_TEXTS,    /* const char *const *, count  an entry each */
	TB_FIELD_MESSAGES, /* const struct *, count       an entry each */
};

enum tb_field_when {
	TB_WHEN_ALWAYS,
	TB_WHEN_POINTER, /* it is not NULL */
	TB_WHEN_NONZERO, /* a u32 or bool that is not 0 */
	TB_WHEN_BITS,    /* `bits` are set in the unsigned at `other` */
	TB_WHEN_KEPT,    /* the int at `other` (remove) is 0 */
	TB_WHEN_ANY,     /* lists: the size_t at `other` counts entries */
};

enum tb_field_rule {
	TB_RULE_NONE,
	TB_RULE_PAIR,
	TB_RULE_PHASE,
	TB_RULE_CONFIDENCE,
	TB_RULE_TIME,
	TB_RULE_WORD,   /* one of `words` */
	TB_RULE_SOURCE, /* the same, and not "static" */
	TB_RULE_MAP,    /* entries of keys and values: sorted, no key twice; an object in JSON */
};

typedef struct tb_message tb_message;

typedef struct tb_field {
	const char *name; /* in JSON, and in what a reject says */
	uint8_t tag;      /* number and wire type as on the wire; numbers up to 15 take one byte */
	uint8_t type, when, rule;
	uint16_t at, other; /* offsets in the struct */
	uint16_t bits;
	uint64_t min, max;         /* of the value, of a text's or bytes' size, or of a list's count */
	const char *const *words;  /* NULL-ended; of a bool: how JSON says false and true */
	const tb_message *message; /* of TB_FIELD_MESSAGE and TB_FIELD_MESSAGES */
} tb_field;

struct tb_message {
	const char *name;
	size_t size; /* of the C struct */
	const tb_field *fields;
	size_t field_count;
	int bare; /* in JSON its only field stands without braces and name */
};

/* What stands before the body; its struct is the tb_event itself. */
extern const tb_message tb_event_head;
/* The body of a kind, whose struct is &event->body. NULL: no such kind. */
const tb_message *tb_event_body(tb_event_kind kind);

static inline int tb_field_present(const tb_field *field, const void *base)
{
	const uint8_t *bytes = base;
	switch (field->when) {
	case TB_WHEN_POINTER:
		return *(const void *const *)(bytes + field->at) != NULL;
	case TB_WHEN_NONZERO:
		return *(const uint32_t *)(bytes + field->at) != 0;
	case TB_WHEN_BITS:
		return (*(const unsigned *)(bytes + field->other) & field->bits) != 0;
	case TB_WHEN_KEPT:
		return *(const int *)(bytes + field->other) == 0;
	case TB_WHEN_ANY:
		return *(const size_t *)(bytes + field->other) != 0;
	default:
		return 1;
	}
}

/* Size of the character that begins at `at` (before end), 0 when it is not UTF-8. */
size_t tb_utf8_step(const uint8_t *at, const uint8_t *end);
int tb_utf8_valid(tb_span bytes); /* NUL is a character here */

#endif
