#include "wire/event_fields.h"
#include "wire/event_json.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>

struct reading {
	tb_arena *arena;
	tb_err *err;
	const char *part; /* the body, "" before it */
};

static tb_rc refuse(const struct reading *reading, const char *name, const char *why)
{
	const char *point = *reading->part != '\0' ? "." : "";
	return tb_fail(reading->err, TB_EINVAL, "%s%s%s: %s", reading->part, point, name, why);
}

static tb_rc read_text(const struct reading *reading, const char *name, const json_t *value, const char **ret_text)
{
	if (!json_is_string(value))
		return refuse(reading, name, "a string is expected");
	tb_span text = tb_span_of(json_string_value(value), json_string_length(value));
	if (memchr(text.data, '\0', text.size) != NULL)
		return refuse(reading, name, "a text can't hold NUL");
	*ret_text = tb_arena_text(reading->arena, text);
	return TB_OK;
}

static tb_rc read_base64(const struct reading *reading, const char *name, tb_span text, tb_bytes *ret_bytes)
{
	uint8_t *bytes = tb_arena_alloc(reading->arena, text.size / 4 * 3 + 1);
	size_t size;
	if (sodium_base642bin(bytes, text.size / 4 * 3 + 1, (const char *)text.data, text.size, NULL, &size, NULL,
	                      sodium_base64_VARIANT_ORIGINAL) != 0)
		return refuse(reading, name, "it is not base64 with its padding");
	*ret_bytes = (tb_bytes){ bytes, size };
	return TB_OK;
}

/* Bytes are a string under the field's name, or base64 under that name and _b64. */
static tb_rc read_bytes(const struct reading *reading, const char *name, int base64, const json_t *value,
                        tb_bytes *ret_bytes)
{
	if (!json_is_string(value))
		return refuse(reading, name, "a string is expected");
	tb_span text = tb_span_of(json_string_value(value), json_string_length(value));
	if (base64)
		return read_base64(reading, name, text, ret_bytes);
	text = tb_arena_copy(reading->arena, text);
	*ret_bytes = (tb_bytes){ text.data, text.size };
	return TB_OK;
}

static tb_rc read_whole(const struct reading *reading, const tb_field *field, const json_t *value, void *at)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return refuse(reading, field->name, "a whole number that is not negative is expected");
	uint64_t number = (uint64_t)json_integer_value(value);
	if (field->type != TB_FIELD_U32)
		*(uint64_t *)at = number;
	else if (number <= UINT32_MAX)
		*(uint32_t *)at = (uint32_t)number;
	else
		return refuse(reading, field->name, "the number is too large");
	return TB_OK;
}

static tb_rc read_double(const struct reading *reading, const tb_field *field, const json_t *value, double *ret_number)
{
	if (!json_is_number(value))
		return refuse(reading, field->name, "a number is expected");
	double number = json_number_value(value);
	/* In an event a negative one asks for the default, which a line does by leaving it out. */
	if (field->rule == TB_RULE_CONFIDENCE && number < 0)
		return refuse(reading, field->name, "it is not within 0 to 1");
	*ret_number = number;
	return TB_OK;
}

static tb_rc read_bool(const struct reading *reading, const tb_field *field, const json_t *value, int *ret_bool)
{
	if (field->words == NULL && json_is_boolean(value)) {
		*ret_bool = json_is_true(value);
		return TB_OK;
	}
	if (field->words == NULL)
		return refuse(reading, field->name, "true or false is expected");
	for (int i = 0; i < 2; i++)
		if (json_is_string(value) && strcmp(json_string_value(value), field->words[i]) == 0) {
			*ret_bool = i;
			return TB_OK;
		}
	char why[64];
	snprintf(why, sizeof(why), "\"%s\" or \"%s\" is expected", field->words[0], field->words[1]);
	return refuse(reading, field->name, why);
}

static tb_rc read_object(const struct reading *reading, const tb_message *message, json_t *object, void *base);

static tb_rc read_texts(const struct reading *reading, const tb_field *field, const json_t *array, const char **texts)
{
	tb_rc rc = TB_OK;
	for (size_t i = 0; i < json_array_size(array) && rc == TB_OK; i++)
		rc = read_text(reading, field->name, json_array_get(array, i), &texts[i]);
	return rc;
}

static tb_rc read_map(const struct reading *reading, const tb_field *field, json_t *object, tb_meta *items)
{
	const char *key;
	json_t *value;
	json_object_foreach(object, key, value) {
		items->key = tb_arena_text(reading->arena, tb_span_text(key));
		tb_rc rc = read_text(reading, field->name, value, &items->value);
		if (rc != TB_OK)
			return rc;
		items++;
	}
	return TB_OK;
}

static tb_rc read_objects(const struct reading *reading, const tb_field *field, const json_t *array, uint8_t *items)
{
	struct reading inner = { reading->arena, reading->err, field->name };
	tb_rc rc = TB_OK;
	for (size_t i = 0; i < json_array_size(array) && rc == TB_OK; i++) {
		uint8_t *item = items + i * field->message->size;
		memset(item, 0, field->message->size);
		rc = read_object(&inner, field->message, json_array_get(array, i), item);
	}
	return rc;
}

static tb_rc read_list(const struct reading *reading, const tb_field *field, json_t *value, uint8_t *base)
{
	int map = field->rule == TB_RULE_MAP;
	if (map ? !json_is_object(value) : !json_is_array(value))
		return refuse(reading, field->name, map ? "an object is expected" : "an array is expected");
	size_t count = map ? json_object_size(value) : json_array_size(value);
	if (count > field->max)
		return refuse(reading, field->name, "there are too many");
	size_t stride = field->type == TB_FIELD_TEXTS ? sizeof(char *) : field->message->size;
	void *items = tb_arena_alloc(reading->arena, count * stride);
	*(const void **)(base + field->at) = items;
	*(size_t *)(base + field->other) = count;
	if (map)
		return read_map(reading, field, value, items);
	if (field->type == TB_FIELD_TEXTS)
		return read_texts(reading, field, value, items);
	return read_objects(reading, field, value, items);
}

static tb_rc read_value(const struct reading *reading, const tb_field *field, int base64, json_t *value, uint8_t *base)
{
	uint8_t *at = base + field->at;
	if (field->when == TB_WHEN_BITS && field->type != TB_FIELD_MESSAGE)
		*(unsigned *)(base + field->other) |= field->bits;
	switch (field->type) {
	case TB_FIELD_TEXT:
		return read_text(reading, field->name, value, (const char **)at);
	case TB_FIELD_BYTES:
		return read_bytes(reading, field->name, base64, value, (tb_bytes *)at);
	case TB_FIELD_BOOL:
		return read_bool(reading, field, value, (int *)at);
	case TB_FIELD_DOUBLE:
		return read_double(reading, field, value, (double *)at);
	case TB_FIELD_MESSAGE:
		return read_object(reading, field->message, value, at);
	case TB_FIELD_TEXTS:
	case TB_FIELD_MESSAGES:
		return read_list(reading, field, value, base);
	default:
		return read_whole(reading, field, value, at);
	}
}

static const tb_field *find_field(const tb_message *message, const char *name, int *ret_base64)
{
	for (size_t i = 0; i < message->field_count; i++) {
		const tb_field *field = &message->fields[i];
		size_t size = strlen(field->name);
		if (strncmp(field->name, name, size) != 0)
			continue;
		*ret_base64 = field->type == TB_FIELD_BYTES && strcmp(name + size, "_b64") == 0;
		if (name[size] == '\0' || *ret_base64)
			return field;
	}
	return NULL;
}

/* Bytes that are missing and bytes that are empty look alike in an event, so the line has to say which it means. */
static tb_rc check_given(const struct reading *reading, const tb_message *message, unsigned given, const void *base)
{
	for (size_t i = 0; i < message->field_count; i++) {
		const tb_field *field = &message->fields[i];
		if (field->type != TB_FIELD_BYTES || (int)(given >> i & 1) == tb_field_present(field, base))
			continue;
		return refuse(reading, field->name, given >> i & 1 ? "a delete has none" : "it must be given");
	}
	return TB_OK;
}

static tb_rc read_object(const struct reading *reading, const tb_message *message, json_t *object, void *base)
{
	if (!json_is_object(object))
		return refuse(reading, message->name, "an object is expected");
	unsigned given = 0;
	const char *name;
	json_t *value;
	json_object_foreach(object, name, value) {
		int base64 = 0;
		const tb_field *field = find_field(message, name, &base64);
		if (field == NULL)
			return refuse(reading, name, "there is no such field");
		if (json_is_null(value))
			continue;
		unsigned bit = 1u << (field - message->fields);
		if (given & bit)
			return refuse(reading, field->name, "it is given twice, as text and as base64");
		given |= bit;
		tb_rc rc = read_value(reading, field, base64, value, base);
		if (rc != TB_OK)
			return rc;
	}
	return check_given(reading, message, given, base);
}

static tb_rc read_body(struct reading *reading, tb_event_kind kind, json_t *value, tb_event *event)
{
	const tb_message *body = tb_event_body(kind);
	if (event->kind != TB_EVENT_NONE)
		return tb_fail(reading->err, TB_EINVAL, "\"%s\" and \"%s\": an event has one body", body->name,
		               tb_event_kind_name(event->kind));
	tb_event fresh;
	tb_event_default(&fresh, kind);
	event->kind = kind;
	event->body = fresh.body;
	reading->part = body->bare ? "" : body->name;
	tb_rc rc = body->bare ? read_value(reading, body->fields, 0, value, (uint8_t *)&event->body)
	                      : read_object(reading, body, value, &event->body);
	reading->part = "";
	return rc;
}

static tb_rc read_member(struct reading *reading, const char *name, json_t *value, tb_event *event)
{
	tb_event_kind kind = tb_event_kind_of(name);
	if (kind != TB_EVENT_NONE)
		return read_body(reading, kind, value, event);
	int base64 = 0;
	const tb_field *field = find_field(&tb_event_head, name, &base64);
	if (field == NULL)
		return refuse(reading, name, "there is no such field");
	return json_is_null(value) ? TB_OK : read_value(reading, field, 0, value, (uint8_t *)event);
}

static tb_rc read_event(struct reading *reading, json_t *object, tb_event *ret_event)
{
	if (!json_is_object(object))
		return tb_fail(reading->err, TB_EINVAL, "not an event: a JSON object is expected");
	tb_event event;
	tb_event_default(&event, TB_EVENT_NONE);
	const char *name;
	json_t *value;
	json_object_foreach(object, name, value) {
		tb_rc rc = read_member(reading, name, value, &event);
		if (rc != TB_OK)
			return rc;
	}
	if (event.kind == TB_EVENT_NONE) {
		tb_fail(reading->err, TB_EINVAL, "not an event: it has no body");
		tb_hint(reading->err, "give one of ghost, orbit, flip, delta, deltas, reset, bar, opaque");
		return TB_EINVAL;
	}
	*ret_event = event;
	return TB_OK;
}

tb_rc tb_event_from_json(tb_span line, tb_arena *arena, tb_event *ret_event, tb_err *err)
{
	if (line.size > TB_JSON_LINE_MAX)
		return tb_fail(err, TB_EINVAL, "a line of %zu bytes is over the limit of %zu", line.size,
		               TB_JSON_LINE_MAX);
	json_error_t error;
	json_t *object = json_loadb((const char *)line.data, line.size,
	                            JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
	if (object == NULL)
		return tb_fail(err, TB_EINVAL, "not JSON: column %d: %s", error.column, error.text);
	struct reading reading = { arena, err, "" };
	tb_rc rc = read_event(&reading, object, ret_event);
	json_decref(object);
	return rc;
}
