#include "wire/event.h"
#include "wire/event_fields.h"
#include "wire/event_rules.h"
#include "wire/frame.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* Where the walk through an event is, and where a refusal goes. */
struct walk {
	tb_reject *reject; /* may be NULL */
	tb_err *err;
	const char *message;
	size_t item; /* 1 and up in a list, else 0 */
};

static tb_rc refuse(const struct walk *walk, const char *field, const char *code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static tb_rc refuse(const struct walk *walk, const char *field, const char *code, const char *format, ...)
{
	tb_reject reject = { 0 };
	int size = snprintf(reject.field, sizeof(reject.field), "%s", walk->message);
	if (walk->item != 0)
		size += snprintf(reject.field + size, sizeof(reject.field) - (size_t)size, "[%zu]", walk->item - 1);
	snprintf(reject.field + size, sizeof(reject.field) - (size_t)size, "%s%s", size && *field ? "." : "", field);
	va_list args;
	va_start(args, format);
	vsnprintf(reject.detail, sizeof(reject.detail), format, args);
	va_end(args);
	return tb_reject_set(walk->reject, walk->err, TB_EINVAL, code, reject.field, reject.detail);
}

tb_rc tb_reject_set(tb_reject *ret_reject, tb_err *err, tb_rc rc, const char *code, const char *field,
                    const char *detail)
{
	if (ret_reject != NULL) {
		snprintf(ret_reject->code, sizeof(ret_reject->code), "%s", code);
		snprintf(ret_reject->field, sizeof(ret_reject->field), "%s", field);
		snprintf(ret_reject->detail, sizeof(ret_reject->detail), "%s", detail);
	}
	return tb_fail(err, rc, "event refused: %s%s%s (%s)", field, *field ? ": " : "", detail, code);
}

tb_rc tb_reject_size(tb_reject *ret_reject, tb_err *err, size_t size)
{
	char detail[80];
	snprintf(detail, sizeof(detail), "it has %zu bytes, over the limit of %u", size, TB_EVENT_MAX);
	return tb_reject_set(ret_reject, err, TB_EINVAL, "event_size", "", detail);
}

int tb_text_valid(tb_span bytes)
{
	return tb_utf8_valid(bytes) && (bytes.size == 0 || memchr(bytes.data, '\0', bytes.size) == NULL);
}

static const char *word_of(const tb_field *field, const char *text)
{
	for (const char *const *word = field->words; *word != NULL; word++)
		if (strcmp(*word, text) == 0)
			return *word;
	return NULL;
}

static tb_rc check_word(const struct walk *walk, const tb_field *field, const char *text)
{
	if (word_of(field, text) == NULL)
		return refuse(walk, field->name, field->name, "\"%.40s\" is not one of those known", text);
	if (field->rule == TB_RULE_SOURCE && strcmp(text, "static") == 0)
		return refuse(walk, field->name, "static_price", "a static price is never accepted as live");
	return TB_OK;
}

/* "A→B": one arrow at least, something on both of its sides, and not the ASCII arrow, which packing replaces. */
static tb_rc check_pair(const struct walk *walk, const tb_field *field, const char *text)
{
	const char *arrow = strstr(text, TB_ARROW);
	if (arrow == NULL || arrow == text || arrow[sizeof(TB_ARROW) - 1] == '\0')
		return refuse(walk, field->name, "pair", "\"%.40s\" is not a pair such as BTC" TB_ARROW "ETH", text);
	if (strstr(text, TB_ARROW_ASCII) != NULL)
		return refuse(walk, field->name, "canonical", "\"%.40s\" has the arrow -> instead of " TB_ARROW, text);
	return TB_OK;
}

static tb_rc check_text(const struct walk *walk, const tb_field *field, const char *text, uint64_t max)
{
	if (text == NULL)
		return refuse(walk, field->name, "missing", "it must be given");
	size_t size = strnlen(text, max + 1);
	if (size > max)
		return refuse(walk, field->name, "text_size", "it is longer than the limit of %zu bytes", (size_t)max);
	if (size == 0 && field->type == TB_FIELD_TEXT && field->min > 0)
		return refuse(walk, field->name, "missing", "it is empty");
	if (!tb_utf8_valid(tb_span_of(text, size)))
		return refuse(walk, field->name, "text", "it is not valid UTF-8");
	switch (field->rule) {
	case TB_RULE_PAIR:
		return check_pair(walk, field, text);
	case TB_RULE_WORD:
	case TB_RULE_SOURCE:
		return check_word(walk, field, text);
	default:
		return TB_OK;
	}
}

static tb_rc check_bytes(const struct walk *walk, const tb_field *field, const uint8_t *base)
{
	const tb_bytes *bytes = (const tb_bytes *)(base + field->at);
	if (!tb_field_present(field, base)) {
		if (bytes->size != 0)
			return refuse(walk, field->name, "delete_value", "a delete has no value");
		return TB_OK;
	}
	if (bytes->size >= field->min && bytes->size <= field->max)
		return TB_OK;
	char code[sizeof(((tb_reject *)0)->code)];
	snprintf(code, sizeof(code), "%s_size", field->name);
	return refuse(walk, field->name, code, "it has %zu bytes, %llu to %llu are allowed", bytes->size,
	              (unsigned long long)field->min, (unsigned long long)field->max);
}

static tb_rc check_whole(const struct walk *walk, const tb_field *field, uint64_t value)
{
	if (field->rule == TB_RULE_PHASE && !tb_bit_phase_legal((uint32_t)value))
		return refuse(walk, field->name, "bit_phase", "%llu is not legal: 4, 8, 16, 32 and 42 are",
		              (unsigned long long)value);
	if (value >= field->min && value <= field->max)
		return TB_OK;
	const char *code = field->rule == TB_RULE_TIME ? "time" : field->name;
	return refuse(walk, field->name, code, "%llu is not within %llu to %llu", (unsigned long long)value,
	              (unsigned long long)field->min, (unsigned long long)field->max);
}

static tb_rc check_double(const struct walk *walk, const tb_field *field, double value)
{
	if (field->rule == TB_RULE_CONFIDENCE && !(value >= 0 && value <= 1))
		return refuse(walk, field->name, "confidence", "%g is not within 0 to 1", value);
	if (!isfinite(value))
		return refuse(walk, field->name, "number", "it is not a finite number");
	return TB_OK;
}

static tb_rc check_message(struct walk *walk, const tb_message *message, const void *base);

static tb_rc check_texts(const struct walk *walk, const tb_field *field, const char *const *texts, size_t count)
{
	uint64_t max = field->rule == TB_RULE_PAIR ? TB_PAIR_MAX : TB_TEXT_MAX;
	tb_rc rc = TB_OK;
	for (size_t i = 0; i < count && rc == TB_OK; i++)
		rc = check_text(walk, field, texts[i], max);
	return rc;
}

static tb_rc check_sorted(const struct walk *walk, const tb_field *field, const tb_meta *items, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		int order = strcmp(items[i - 1].key, items[i].key);
		const char *key = items[i].key;
		if (order == 0)
			return refuse(walk, field->name, "metadata_key", "the key \"%.40s\" is there twice", key);
		if (order > 0)
			return refuse(walk, field->name, "canonical", "the key \"%.40s\" is not in order", key);
	}
	return TB_OK;
}

static tb_rc check_items(const struct walk *walk, const tb_field *field, const uint8_t *items, size_t count)
{
	struct walk inner = *walk;
	inner.message = field->name;
	tb_rc rc = TB_OK;
	for (size_t i = 0; i < count && rc == TB_OK; i++) {
		inner.item = i + 1;
		rc = check_message(&inner, field->message, items + i * field->message->size);
	}
	if (rc == TB_OK && field->rule == TB_RULE_MAP)
		rc = check_sorted(walk, field, (const tb_meta *)items, count);
	return rc;
}

static tb_rc check_list(const struct walk *walk, const tb_field *field, const uint8_t *base)
{
	const void *items = *(const void *const *)(base + field->at);
	size_t count = *(const size_t *)(base + field->other);
	if (count < field->min || count > field->max)
		return refuse(walk, field->name, "count", "there are %zu, %llu to %llu are allowed", count,
		              (unsigned long long)field->min, (unsigned long long)field->max);
	if (field->type == TB_FIELD_TEXTS)
		return check_texts(walk, field, items, count);
	return check_items(walk, field, items, count);
}

static tb_rc check_field(struct walk *walk, const tb_field *field, const uint8_t *base)
{
	const uint8_t *at = base + field->at;
	if (field->type == TB_FIELD_BYTES)
		return check_bytes(walk, field, base);
	if (field->type == TB_FIELD_TEXTS || field->type == TB_FIELD_MESSAGES)
		return check_list(walk, field, base);
	if (!tb_field_present(field, base))
		return TB_OK;
	switch (field->type) {
	case TB_FIELD_TEXT:
		return check_text(walk, field, *(const char *const *)at, field->max);
	case TB_FIELD_U32:
		return check_whole(walk, field, *(const uint32_t *)at);
	case TB_FIELD_U64:
	case TB_FIELD_FIXED64:
		return check_whole(walk, field, *(const uint64_t *)at);
	case TB_FIELD_DOUBLE:
		return check_double(walk, field, *(const double *)at);
	case TB_FIELD_MESSAGE:
		return check_message(walk, field->message, at);
	default:
		return TB_OK;
	}
}

static tb_rc check_message(struct walk *walk, const tb_message *message, const void *base)
{
	tb_rc rc = TB_OK;
	for (size_t i = 0; i < message->field_count && rc == TB_OK; i++)
		rc = check_field(walk, &message->fields[i], base);
	return rc;
}

static tb_rc check_flip(const struct walk *walk, const tb_flip *flip)
{
	if (strcmp(flip->flip_type, "bit_flip") != 0)
		return TB_OK;
	if (flip->flip_value >> flip->bit_phase != 0)
		return refuse(walk, "flip_value", "flip_value", "%llu does not fit %u bits",
		              (unsigned long long)flip->flip_value, flip->bit_phase);
	if (flip->flip_pattern == NULL)
		return refuse(walk, "flip_pattern", "canonical", "a bit_flip has a pattern");
	return TB_OK;
}

tb_rc tb_event_validate(const tb_event *event, tb_reject *ret_reject, tb_err *err)
{
	struct walk walk = { ret_reject, err, tb_event_head.name, 0 };
	const tb_message *body = tb_event_body(event->kind);
	if (body == NULL)
		return refuse(&walk, "kind", "kind", "there is no kind %d of events", (int)event->kind);
	tb_rc rc = check_message(&walk, &tb_event_head, event);
	if (rc != TB_OK)
		return rc;
	walk.message = body->bare ? "" : body->name;
	rc = check_message(&walk, body, &event->body);
	if (rc == TB_OK && event->kind == TB_EVENT_FLIP)
		rc = check_flip(&walk, &event->body.flip);
	if (rc == TB_OK && event->kind == TB_EVENT_LOST && event->body.lost.to < event->body.lost.from)
		rc = refuse(&walk, "to", "range", "it ends before it begins");
	return rc;
}
