#include "base/bytes.h"
#include "wire/event.h"
#include "wire/event_fields.h"
#include "wire/event_rules.h"
#include "wire/frame.h"

#include <assert.h>
#include <stdlib.h>

/* Defaults are filled into a copy of the event; what they point to stands here. */
struct fill {
	char pattern[TB_FLIP_PATTERN_MAX];
	tb_meta metadata[TB_METADATA_MAX];
	const char *pairs[TB_PAIRS_MAX];
	tb_buf text; /* pairs whose arrow was ASCII */
};

static void fill_confidence(double *confidence, double value)
{
	if (*confidence == TB_CONFIDENCE_DEFAULT)
		*confidence = value;
}

static int is_type(const char *type, const char *word)
{
	return type != NULL && strcmp(type, word) == 0;
}

/* A copy with each -> as →; fill->text has room for it. */
static const char *copy_pair(struct fill *fill, const char *pair)
{
	const char *copy = (const char *)fill->text.data + fill->text.size;
	for (const char *arrow; (arrow = strstr(pair, TB_ARROW_ASCII)) != NULL; pair = arrow + strlen(TB_ARROW_ASCII)) {
		tb_buf_append(&fill->text, pair, (size_t)(arrow - pair));
		tb_buf_append(&fill->text, TB_ARROW, strlen(TB_ARROW));
	}
	tb_buf_append(&fill->text, pair, strlen(pair) + 1);
	return copy;
}

static int wants_arrow(const char *pair)
{
	return pair != NULL && strnlen(pair, TB_PAIR_MAX + 1) <= TB_PAIR_MAX && strstr(pair, TB_ARROW_ASCII) != NULL;
}

static void fill_pair(struct fill *fill, const char **pair)
{
	if (!wants_arrow(*pair))
		return;
	tb_buf_reserve(&fill->text, 2 * TB_PAIR_MAX);
	*pair = copy_pair(fill, *pair);
}

static void fill_pairs(struct fill *fill, tb_orbit *orbit)
{
	size_t found = 0;
	for (size_t i = 0; orbit->pair_count <= TB_PAIRS_MAX && i < orbit->pair_count; i++)
		found += wants_arrow(orbit->pairs[i]);
	if (found == 0)
		return;
	tb_buf_reserve(&fill->text, found * 2 * TB_PAIR_MAX);
	for (size_t i = 0; i < orbit->pair_count; i++)
		fill->pairs[i] = wants_arrow(orbit->pairs[i]) ? copy_pair(fill, orbit->pairs[i]) : orbit->pairs[i];
	orbit->pairs = fill->pairs;
}

static void fill_pattern(struct fill *fill, tb_flip *flip)
{
	if (flip->flip_pattern != NULL || !is_type(flip->flip_type, "bit_flip") || !tb_bit_phase_legal(flip->bit_phase))
		return;
	uint64_t before = ~flip->flip_value & ((UINT64_C(1) << flip->bit_phase) - 1);
	if (tb_flip_pattern(fill->pattern, before, flip->bit_phase, NULL) == TB_OK)
		flip->flip_pattern = fill->pattern;
}

static int compare_meta(const void *a, const void *b)
{
	return strcmp(((const tb_meta *)a)->key, ((const tb_meta *)b)->key);
}

static void fill_metadata(struct fill *fill, tb_event *event)
{
	size_t count = event->metadata_count;
	if (count < 2 || count > TB_METADATA_MAX)
		return;
	for (size_t i = 0; i < count; i++)
		if (event->metadata[i].key == NULL)
			return;
	memcpy(fill->metadata, event->metadata, count * sizeof(*event->metadata));
	qsort(fill->metadata, count, sizeof(*fill->metadata), compare_meta);
	event->metadata = fill->metadata;
}

/* What cannot be filled in stays as it is: the rules then say what is wrong with it. */
static void fill_event(struct fill *fill, tb_event *event, uint64_t now_ns)
{
	if (event->time_ns == 0)
		event->time_ns = now_ns;
	fill_metadata(fill, event);
	tb_orbit *orbit = &event->body.orbit;
	tb_flip *flip = &event->body.flip;
	switch (event->kind) {
	case TB_EVENT_GHOST:
		fill_confidence(&event->body.ghost.confidence, 0.5);
		fill_pair(fill, &event->body.ghost.pair);
		break;
	case TB_EVENT_ORBIT:
		fill_confidence(&orbit->confidence, is_type(orbit->orbit_type, "weight_update") ? 0.8 : 0.7);
		orbit->has_performance_score = orbit->has_performance_score != 0;
		fill_pairs(fill, orbit);
		break;
	case TB_EVENT_FLIP:
		fill_confidence(&flip->confidence, is_type(flip->flip_type, "memory_update") ? 0.8 : 0.9);
		fill_pair(fill, &flip->pair);
		fill_pattern(fill, flip);
		break;
	default:
		break;
	}
}

/* Two walks over the tables: one adds the sizes up, one writes into room that is known to suffice. */

static size_t varint_size(uint64_t value)
{
	return (size_t)(70 - __builtin_clzll(value | 1)) / 7;
}

static size_t length_size(size_t size)
{
	return 1 + varint_size(size) + size;
}

static size_t message_size(const tb_message *message, const uint8_t *base);

static size_t list_size(const tb_field *field, const uint8_t *base)
{
	size_t size = 0, count = *(const size_t *)(base + field->other);
	const uint8_t *items = *(const uint8_t *const *)(base + field->at);
	if (field->type == TB_FIELD_TEXTS)
		for (size_t i = 0; i < count; i++)
			size += length_size(strlen(((const char *const *)items)[i]));
	else
		for (size_t i = 0; i < count; i++)
			size += length_size(message_size(field->message, items + i * field->message->size));
	return size;
}

static size_t field_size(const tb_field *field, const uint8_t *base)
{
	const uint8_t *at = base + field->at;
	switch (field->type) {
	case TB_FIELD_TEXT:
		return length_size(strlen(*(const char *const *)at));
	case TB_FIELD_BYTES:
		return length_size(((const tb_bytes *)at)->size);
	case TB_FIELD_U32:
		return 1 + varint_size(*(const uint32_t *)at);
	case TB_FIELD_U64:
		return 1 + varint_size(*(const uint64_t *)at);
	case TB_FIELD_BOOL:
		return 2;
	case TB_FIELD_FIXED64:
	case TB_FIELD_DOUBLE:
		return 9;
	case TB_FIELD_MESSAGE:
		return length_size(message_size(field->message, at));
	default:
		return list_size(field, base);
	}
}

static size_t message_size(const tb_message *message, const uint8_t *base)
{
	size_t size = 0;
	for (size_t i = 0; i < message->field_count; i++)
		if (tb_field_present(&message->fields[i], base))
			size += field_size(&message->fields[i], base);
	return size;
}

static uint8_t *put_varint(uint8_t *to, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*to++ = (uint8_t)(value | 0x80);
	*to++ = (uint8_t)value;
	return to;
}

static uint8_t *put_bytes(uint8_t *to, const void *data, size_t size)
{
	to = put_varint(to, size);
	if (size != 0)
		memcpy(to, data, size);
	return to + size;
}

static uint8_t *put_message(uint8_t *to, const tb_message *message, const uint8_t *base);

static uint8_t *put_nested(uint8_t *to, const tb_message *message, const uint8_t *base)
{
	return put_message(put_varint(to, message_size(message, base)), message, base);
}

static uint8_t *put_list(uint8_t *to, const tb_field *field, const uint8_t *base)
{
	size_t count = *(const size_t *)(base + field->other);
	const uint8_t *items = *(const uint8_t *const *)(base + field->at);
	for (size_t i = 0; i < count; i++) {
		*to++ = field->tag;
		if (field->type == TB_FIELD_TEXTS) {
			const char *text = ((const char *const *)items)[i];
			to = put_bytes(to, text, strlen(text));
		} else {
			to = put_nested(to, field->message, items + i * field->message->size);
		}
	}
	return to;
}

static uint8_t *put_field(uint8_t *to, const tb_field *field, const uint8_t *base)
{
	const uint8_t *at = base + field->at;
	if (field->type == TB_FIELD_TEXTS || field->type == TB_FIELD_MESSAGES)
		return put_list(to, field, base);
	*to++ = field->tag;
	switch (field->type) {
	case TB_FIELD_TEXT: {
		const char *text = *(const char *const *)at;
		return put_bytes(to, text, strlen(text));
	}
	case TB_FIELD_BYTES: {
		const tb_bytes *bytes = (const tb_bytes *)at;
		return put_bytes(to, bytes->data, bytes->size);
	}
	case TB_FIELD_U32:
		return put_varint(to, *(const uint32_t *)at);
	case TB_FIELD_U64:
		return put_varint(to, *(const uint64_t *)at);
	case TB_FIELD_BOOL:
		return put_varint(to, *(const int *)at != 0);
	case TB_FIELD_MESSAGE:
		return put_nested(to, field->message, at);
	default: { /* fixed64 and double: eight bytes, little-endian */
		uint64_t bits;
		memcpy(&bits, at, sizeof(bits));
		tb_put64(to, bits);
		return to + sizeof(bits);
	}
	}
}

static uint8_t *put_message(uint8_t *to, const tb_message *message, const uint8_t *base)
{
	for (size_t i = 0; i < message->field_count; i++)
		if (tb_field_present(&message->fields[i], base))
			to = put_field(to, &message->fields[i], base);
	return to;
}

static tb_rc pack_filled(tb_buf *to, const tb_event *event, tb_reject *ret_reject, tb_err *err)
{
	const tb_message *body = tb_event_body(event->kind);
	uint64_t tag = (uint64_t)event->kind << 3 | 2;
	size_t body_size = message_size(body, (const uint8_t *)&event->body);
	size_t size = message_size(&tb_event_head, (const uint8_t *)event) + varint_size(tag) + varint_size(body_size) +
	              body_size;
	if (size > TB_EVENT_MAX)
		return tb_reject_size(ret_reject, err, size);
	tb_buf_reserve(to, size);
	uint8_t *start = to->data + to->size;
	uint8_t *at = put_message(start, &tb_event_head, (const uint8_t *)event);
	at = put_varint(put_varint(at, tag), body_size);
	at = put_message(at, body, (const uint8_t *)&event->body);
	assert(at == start + size);
	to->size += size;
	return TB_OK;
}

tb_rc tb_event_pack(tb_buf *to, const tb_event *event, uint64_t now_ns, tb_reject *ret_reject, tb_err *err)
{
	tb_event whole = *event;
	struct fill fill;
	fill.text = (tb_buf){ 0 };
	fill_event(&fill, &whole, now_ns);
	tb_rc rc = tb_event_validate(&whole, ret_reject, err);
	if (rc == TB_OK)
		rc = pack_filled(to, &whole, ret_reject, err);
	tb_buf_drop(&fill.text);
	return rc;
}
