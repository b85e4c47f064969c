#include "base/clock.h"
#include "wire/event_fields.h"
#include "wire/event_json.h"

#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

static void put_text(tb_buf *to, const char *text)
{
	tb_buf_append(to, text, strlen(text));
}

static void put_escaped(tb_buf *to, uint8_t byte)
{
	static const char shorts[32] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r' };
	if (byte == '"' || byte == '\\')
		tb_buf_append(to, (uint8_t[]){ '\\', byte }, 2);
	else if (shorts[byte] != 0)
		tb_buf_append(to, (char[]){ '\\', shorts[byte] }, 2);
	else
		tb_buf_print(to, "\\u%04x", byte);
}

void tb_json_text(tb_buf *to, tb_span bytes)
{
	const uint8_t *at = bytes.data, *end = at + bytes.size, *plain = at; /* plain..at goes out as it is */
	tb_buf_reserve(to, bytes.size + 2);
	tb_buf_byte(to, '"');
	while (at < end) {
		int escape = *at < 0x20 || *at == '"' || *at == '\\';
		size_t step = *at < 0x80 ? !escape : tb_utf8_step(at, end);
		at += step;
		if (step != 0)
			continue;
		tb_buf_append(to, plain, (size_t)(at - plain));
		if (escape)
			put_escaped(to, *at);
		else
			put_text(to, REPLACEMENT);
		plain = ++at;
	}
	tb_buf_append(to, plain, (size_t)(at - plain));
	tb_buf_byte(to, '"');
}

void tb_base64(tb_buf *to, tb_span bytes)
{
	size_t size = sodium_base64_encoded_len(bytes.size, sodium_base64_VARIANT_ORIGINAL); /* with a NUL */
	tb_buf_reserve(to, size);
	sodium_bin2base64((char *)to->data + to->size, size, bytes.data, bytes.size, sodium_base64_VARIANT_ORIGINAL);
	to->size += size - 1;
}

/* The fewest digits that read back equal; always with a point or an exponent, or -0.0 would come back as 0. */
static void put_double(tb_buf *to, double value)
{
	char text[40];
	if (!isfinite(value)) { /* of an event that was refused for it */
		put_text(to, "null");
		return;
	}
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	put_text(to, text);
	if (strpbrk(text, ".e") == NULL)
		put_text(to, ".0");
}

static void put_name(tb_buf *to, const char *name, const char *suffix)
{
	if (to->size != 0 && to->data[to->size - 1] != '{')
		tb_buf_byte(to, ',');
	tb_buf_byte(to, '"');
	put_text(to, name);
	put_text(to, suffix);
	put_text(to, "\":");
}

static void put_message(tb_buf *to, const tb_message *message, const uint8_t *base);

static void put_map(tb_buf *to, const tb_meta *items, size_t count)
{
	tb_buf_byte(to, '{');
	for (size_t i = 0; i < count; i++) {
		if (i != 0)
			tb_buf_byte(to, ',');
		tb_json_text(to, tb_span_text(items[i].key));
		tb_buf_byte(to, ':');
		tb_json_text(to, tb_span_text(items[i].value));
	}
	tb_buf_byte(to, '}');
}

static void put_list(tb_buf *to, const tb_field *field, const uint8_t *base)
{
	const uint8_t *items = *(const uint8_t *const *)(base + field->at);
	size_t count = *(const size_t *)(base + field->other);
	tb_buf_byte(to, '[');
	for (size_t i = 0; i < count; i++) {
		if (i != 0)
			tb_buf_byte(to, ',');
		if (field->type == TB_FIELD_TEXTS)
			tb_json_text(to, tb_span_text(((const char *const *)items)[i]));
		else
			put_message(to, field->message, items + i * field->message->size);
	}
	tb_buf_byte(to, ']');
}

static void put_value(tb_buf *to, const tb_field *field, const uint8_t *base)
{
	const uint8_t *at = base + field->at;
	switch (field->type) {
	case TB_FIELD_TEXT:
		tb_json_text(to, tb_span_text(*(const char *const *)at));
		break;
	case TB_FIELD_U32:
		tb_buf_print(to, "%" PRIu32, *(const uint32_t *)at);
		break;
	case TB_FIELD_BOOL:
		if (field->words != NULL)
			tb_buf_print(to, "\"%s\"", field->words[*(const int *)at != 0]);
		else
			put_text(to, *(const int *)at ? "true" : "false");
		break;
	case TB_FIELD_DOUBLE:
		put_double(to, *(const double *)at);
		break;
	case TB_FIELD_MESSAGE:
		put_message(to, field->message, at);
		break;
	case TB_FIELD_TEXTS:
	case TB_FIELD_MESSAGES:
		if (field->rule == TB_RULE_MAP)
			put_map(to, *(const tb_meta *const *)at, *(const size_t *)(base + field->other));
		else
			put_list(to, field, base);
		break;
	default:
		tb_buf_print(to, "%" PRIu64, *(const uint64_t *)at);
		break;
	}
}

static void put_field(tb_buf *to, const tb_field *field, const uint8_t *base)
{
	if (field->type != TB_FIELD_BYTES) {
		put_name(to, field->name, "");
		put_value(to, field, base);
		return;
	}
	const tb_bytes *bytes = (const tb_bytes *)(base + field->at);
	tb_span span = tb_span_of(bytes->data, bytes->size);
	int text = tb_utf8_valid(span);
	put_name(to, field->name, text ? "" : "_b64");
	if (text) {
		tb_json_text(to, span);
	} else {
		tb_buf_byte(to, '"');
		tb_base64(to, span);
		tb_buf_byte(to, '"');
	}
}

static void put_fields(tb_buf *to, const tb_message *message, size_t from, const void *base)
{
	for (size_t i = from; i < message->field_count; i++)
		if (tb_field_present(&message->fields[i], base))
			put_field(to, &message->fields[i], base);
}

static void put_message(tb_buf *to, const tb_message *message, const uint8_t *base)
{
	tb_buf_byte(to, '{');
	put_fields(to, message, 0, base);
	tb_buf_byte(to, '}');
}

static void put_hash(tb_buf *to, const char *name, const uint8_t *hash)
{
	if (hash == NULL)
		return;
	put_name(to, name, "");
	tb_buf_byte(to, '"');
	tb_buf_hex(to, hash, TB_HASH);
	tb_buf_byte(to, '"');
}

static void put_place(tb_buf *to, const tb_event *event, const tb_event_place *place)
{
	char time[TB_TIME_TEXT_SIZE];
	tb_time_text(time, event->time_ns);
	put_text(to, "\"stream\":");
	tb_json_text(to, tb_span_text(place->stream));
	tb_buf_print(to, ",\"number\":%" PRIu64 ",\"event_id\":", place->number);
	tb_buf id = { 0 };
	tb_buf_print(&id, "%s/%" PRIu64, place->stream, place->number);
	tb_json_text(to, tb_buf_span(&id));
	tb_buf_drop(&id);
	tb_buf_print(to, ",\"time_ns\":%" PRIu64 ",\"time\":\"%s\",\"stamp_ns\":%" PRIu64 ",\"kind\":\"%s\"",
	             event->time_ns, time, place->stamp_ns, tb_event_kind_name(event->kind));
	put_hash(to, "backup_hash", place->backup_hash);
	put_hash(to, "memory_signature", place->memory_signature);
	if (place->rejected != NULL) {
		put_text(to, ",\"rejected\":");
		tb_json_text(to, tb_span_text(place->rejected));
	}
}

void tb_event_to_json(tb_buf *to, const tb_event *event, const tb_event_place *place)
{
	const tb_message *body = tb_event_body(event->kind);
	tb_buf_byte(to, '{');
	put_place(to, event, place);
	put_fields(to, &tb_event_head, 1, event); /* all but its time, which stands there already */
	put_name(to, body->name, "");
	if (body->bare)
		put_value(to, body->fields, (const uint8_t *)&event->body);
	else
		put_message(to, body, (const uint8_t *)&event->body);
	tb_buf_byte(to, '}');
}
