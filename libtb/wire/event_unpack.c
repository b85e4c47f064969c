#include "base/bytes.h"
#include "wire/event.h"
#include "wire/event_fields.h"
#include "wire/event_rules.h"
#include "wire/frame.h"

/* Reads exactly what packing writes, so that bytes that can be read at all are canonical: each table is walked once in
 * its order; what then is left over is an unknown, repeated or misplaced field; lengths and numbers are shortest; and
 * the fields that stood there must be the ones that packing would write of the struct. */

struct reader {
	tb_arena *arena;
	const tb_field *field; /* the one being read */
};

/* All static functions below return NULL, or why the bytes are not an event. */

static const char *read_varint(tb_span *from, uint64_t *ret_value)
{
	size_t before = from->size;
	if (!tb_get_varint(from, ret_value))
		return "a number is cut short or too long";
	const uint8_t *last = from->data - 1;
	if (*last == 0 && before - from->size > 1)
		return "a number is not in its shortest form";
	return NULL;
}

static const char *read_length(tb_span *from, tb_span *ret_bytes)
{
	uint64_t size;
	const char *why = read_varint(from, &size);
	if (why != NULL)
		return why;
	if (size > from->size)
		return "the bytes end within it";
	*ret_bytes = tb_span_of(from->data, (size_t)size);
	*from = tb_span_of(from->data + size, from->size - (size_t)size);
	return NULL;
}

static int at_field(tb_span from, const tb_field *field)
{
	return from.size != 0 && from.data[0] == field->tag;
}

static const char *read_text(struct reader *reader, tb_span *from, const char **ret_text)
{
	tb_span bytes;
	const char *why = read_length(from, &bytes);
	if (why != NULL)
		return why;
	if (bytes.size != 0 && memchr(bytes.data, '\0', bytes.size) != NULL)
		return "a NUL stands in a text";
	*ret_text = tb_arena_text(reader->arena, bytes);
	return NULL;
}

static const char *read_whole(const tb_field *field, tb_span *from, void *at)
{
	uint64_t value;
	const char *why = read_varint(from, &value);
	if (why != NULL)
		return why;
	if (field->type == TB_FIELD_U64) {
		*(uint64_t *)at = value;
		return NULL;
	}
	if (value > (field->type == TB_FIELD_BOOL ? 1 : UINT32_MAX))
		return "a number is out of range";
	*(uint32_t *)at = (uint32_t)value;
	return NULL;
}

static const char *read_message(struct reader *reader, const tb_message *message, tb_span *from, void *base);

static const char *read_nested(struct reader *reader, const tb_message *message, tb_span *from, void *base)
{
	tb_span bytes;
	const char *why = read_length(from, &bytes);
	if (why == NULL) {
		memset(base, 0, message->size);
		why = read_message(reader, message, &bytes, base);
	}
	if (why == NULL && bytes.size != 0)
		why = "an unknown, repeated or misplaced field";
	return why;
}

static size_t count_items(tb_span from, const tb_field *field)
{
	size_t count = 0;
	tb_span item;
	while (at_field(from, field)) {
		count++;
		from = tb_span_of(from.data + 1, from.size - 1);
		if (read_length(&from, &item) != NULL)
			break;
	}
	return count;
}

static const char *read_list(struct reader *reader, const tb_field *field, tb_span *from, uint8_t *base)
{
	size_t count = count_items(*from, field);
	if (count == 0)
		return NULL;
	if (count > field->max)
		return "there are too many of it";
	size_t stride = field->type == TB_FIELD_TEXTS ? sizeof(char *) : field->message->size;
	uint8_t *items = tb_arena_alloc(reader->arena, count * stride);
	const char *why = NULL;
	for (size_t i = 0; i < count && why == NULL; i++) {
		*from = tb_span_of(from->data + 1, from->size - 1);
		uint8_t *item = items + i * stride;
		why = field->type == TB_FIELD_TEXTS ? read_text(reader, from, (const char **)item)
		                                    : read_nested(reader, field->message, from, item);
	}
	*(const void **)(base + field->at) = items;
	*(size_t *)(base + field->other) = count;
	return why;
}

static const char *read_bytes(tb_span *from, tb_bytes *ret_bytes)
{
	tb_span bytes;
	const char *why = read_length(from, &bytes);
	if (why == NULL)
		*ret_bytes = (tb_bytes){ bytes.data, bytes.size };
	return why;
}

static const char *read_fixed(tb_span *from, void *at)
{
	if (from->size < 8)
		return "the bytes end within it";
	uint64_t bits = tb_get64(from->data);
	memcpy(at, &bits, sizeof(bits));
	*from = tb_span_of(from->data + 8, from->size - 8);
	return NULL;
}

static const char *read_value(struct reader *reader, const tb_field *field, tb_span *from, uint8_t *base)
{
	uint8_t *at = base + field->at;
	switch (field->type) {
	case TB_FIELD_TEXT:
		return read_text(reader, from, (const char **)at);
	case TB_FIELD_BYTES:
		return read_bytes(from, (tb_bytes *)at);
	case TB_FIELD_FIXED64:
	case TB_FIELD_DOUBLE:
		return read_fixed(from, at);
	case TB_FIELD_MESSAGE:
		return read_nested(reader, field->message, from, at);
	default:
		return read_whole(field, from, at);
	}
}

static const char *read_field(struct reader *reader, const tb_field *field, tb_span *from, uint8_t *base)
{
	reader->field = field;
	if (field->type == TB_FIELD_TEXTS || field->type == TB_FIELD_MESSAGES)
		return read_list(reader, field, from, base);
	int stands = at_field(*from, field);
	if (stands) {
		*from = tb_span_of(from->data + 1, from->size - 1);
		const char *why = read_value(reader, field, from, base);
		if (why != NULL)
			return why;
		if (field->when == TB_WHEN_BITS && field->type != TB_FIELD_MESSAGE)
			*(unsigned *)(base + field->other) |= field->bits;
	}
	reader->field = field; /* not one within it */
	if (stands == tb_field_present(field, base))
		return NULL;
	return stands ? "it stands there with nothing to say" : "it is missing";
}

static const char *read_message(struct reader *reader, const tb_message *message, tb_span *from, void *base)
{
	const char *why = NULL;
	for (size_t i = 0; i < message->field_count && why == NULL; i++)
		why = read_field(reader, &message->fields[i], from, base);
	return why;
}

static const char *read_event(struct reader *reader, tb_span from, tb_event *ret_event)
{
	memset(ret_event, 0, sizeof(*ret_event));
	const char *why = read_message(reader, &tb_event_head, &from, ret_event);
	if (why != NULL)
		return why;
	reader->field = NULL;
	if (from.size == 0)
		return "it has no body";
	uint64_t tag;
	why = read_varint(&from, &tag);
	if (why != NULL)
		return why;
	int is_body = (tag & 7) == 2 && tag >> 3 <= TB_EVENT_SIGNAL;
	const tb_message *body = is_body ? tb_event_body((tb_event_kind)(tag >> 3)) : NULL;
	if (body == NULL)
		return "an unknown, repeated or misplaced field";
	ret_event->kind = (tb_event_kind)(tag >> 3);
	why = read_nested(reader, body, &from, &ret_event->body);
	if (why == NULL && from.size != 0)
		why = "something stands behind its body";
	return why;
}

static tb_rc unpack(tb_span canonical, tb_arena *arena, tb_event *ret_event, tb_reject *ret_reject, tb_err *err)
{
	struct reader reader = { arena, NULL };
	tb_event event;
	const char *why = read_event(&reader, canonical, &event);
	const char *field = reader.field ? reader.field->name : "";
	if (why != NULL)
		return tb_reject_set(ret_reject, err, TB_ECORRUPT, "canonical", field, why);
	*ret_event = event;
	return TB_OK;
}

tb_rc tb_event_unpack(tb_span canonical, tb_arena *arena, tb_event *ret_event, tb_err *err)
{
	return unpack(canonical, arena, ret_event, NULL, err);
}

tb_rc tb_event_check(tb_span canonical, tb_arena *arena, tb_event *ret_event, tb_reject *ret_reject, tb_err *err)
{
	if (canonical.size > TB_EVENT_MAX)
		return tb_reject_size(ret_reject, err, canonical.size);
	tb_event event;
	tb_rc rc = unpack(canonical, arena, &event, ret_reject, err);
	if (rc == TB_OK)
		rc = tb_event_validate(&event, ret_reject, err);
	if (rc == TB_OK)
		*ret_event = event;
	return rc;
}
