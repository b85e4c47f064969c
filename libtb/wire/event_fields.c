#include "wire/event_fields.h"

#include "wire/frame.h"

#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))
#define BODY_AT(member) (offsetof(tb_event, body.member) - offsetof(tb_event, body))

/* Larger ones would be legal on the wire, but JSON could not bring them back. */
#define WHOLE_MAX ((uint64_t)INT64_MAX)

#define VARINT(number) .tag = (number) << 3
#define FIXED(number) .tag = (number) << 3 | 1
#define LENGTH(number) .tag = (number) << 3 | 2

/* The commonest rows: a text that may be missing, and one that may not. */
#define TEXT(number, field, where) \
	{ .name = field, LENGTH(number), .type = TB_FIELD_TEXT, .when = TB_WHEN_POINTER, .at = where, \
	  .max = TB_TEXT_MAX }
#define TEXT_MUST(number, field, where) \
	{ .name = field, LENGTH(number), .type = TB_FIELD_TEXT, .at = where, .min = 1, .max = TB_TEXT_MAX }
#define WORD(number, field, where, which) \
	{ .name = field, LENGTH(number), .type = TB_FIELD_TEXT, .rule = TB_RULE_WORD, .at = where, .max = TB_TEXT_MAX, \
	  .words = which }
#define PAIR(number, where) \
	{ .name = "pair", LENGTH(number), .type = TB_FIELD_TEXT, .rule = TB_RULE_PAIR, .at = where, .min = 1, \
	  .max = TB_PAIR_MAX }
#define PHASE(number, where) \
	{ .name = "bit_phase", VARINT(number), .type = TB_FIELD_U32, .rule = TB_RULE_PHASE, .at = where, \
	  .max = UINT32_MAX }
#define CONFIDENCE(number, where) \
	{ .name = "confidence", FIXED(number), .type = TB_FIELD_DOUBLE, .rule = TB_RULE_CONFIDENCE, .at = where }
#define DOUBLE_IF(number, field, where, has, bit) \
	{ .name = field, FIXED(number), .type = TB_FIELD_DOUBLE, .when = TB_WHEN_BITS, .at = where, .other = has, \
	  .bits = bit }
#define OUTCOME(number, where) \
	{ .name = "outcome", LENGTH(number), .type = TB_FIELD_MESSAGE, .when = TB_WHEN_BITS, .at = where, \
	  .other = where + offsetof(tb_outcome, has), \
	  .bits = TB_HAS_SUCCESS | TB_HAS_PROFIT | TB_HAS_VOLUME | TB_HAS_EFFICIENCY, .message = &outcome }
#define WHOLE(number, field, where, least) \
	{ .name = field, VARINT(number), .type = TB_FIELD_U64, .at = where, .min = least, .max = WHOLE_MAX }

static const char *const ghost_types[] = { "ghost_trigger", NULL };
static const char *const orbit_types[] = { "multi_layer_cycle", "orbit_cycle", "weight_update", NULL };
static const char *const flip_types[] = { "bit_flip", "pair_flip", "memory_update", NULL };
static const char *const categories[] = { "hot", "warm", "cold", NULL };
static const char *const price_sources[] = { "live", "cached", "static", NULL };
static const char *const ops[] = { "put", "delete", NULL };
static const char *const reset_ops[] = { "begin", "commit", NULL };

static const tb_field meta_fields[] = {
	{ .name = "key", LENGTH(1), .type = TB_FIELD_TEXT, .at = offsetof(tb_meta, key), .min = 1, .max = TB_TEXT_MAX },
	{ .name = "value", LENGTH(2), .type = TB_FIELD_TEXT, .at = offsetof(tb_meta, value), .max = TB_TEXT_MAX },
};
static const tb_message meta = { "metadata", sizeof(tb_meta), meta_fields, COUNT(meta_fields), 0 };

static const tb_field head_fields[] = {
	{ .name = "time_ns", FIXED(1), .type = TB_FIELD_FIXED64, .rule = TB_RULE_TIME,
	  .at = offsetof(tb_event, time_ns), .min = 1, .max = WHOLE_MAX },
	TEXT(2, "mode", offsetof(tb_event, mode)),
	TEXT(3, "source", offsetof(tb_event, source)),
	{ .name = "priority", VARINT(4), .type = TB_FIELD_U32, .when = TB_WHEN_NONZERO,
	  .at = offsetof(tb_event, priority), .max = 3 },
	{ .name = "tags", LENGTH(5), .type = TB_FIELD_TEXTS, .when = TB_WHEN_ANY, .at = offsetof(tb_event, tags),
	  .other = offsetof(tb_event, tag_count), .max = TB_TAGS_MAX },
	{ .name = "metadata", LENGTH(6), .type = TB_FIELD_MESSAGES, .when = TB_WHEN_ANY, .rule = TB_RULE_MAP,
	  .at = offsetof(tb_event, metadata), .other = offsetof(tb_event, metadata_count), .max = TB_METADATA_MAX,
	  .message = &meta },
};
const tb_message tb_event_head = { "", sizeof(tb_event), head_fields, COUNT(head_fields), 0 };

static const tb_field outcome_fields[] = {
	{ .name = "success", VARINT(1), .type = TB_FIELD_BOOL, .when = TB_WHEN_BITS,
	  .at = offsetof(tb_outcome, success), .other = offsetof(tb_outcome, has), .bits = TB_HAS_SUCCESS },
	DOUBLE_IF(2, "profit", offsetof(tb_outcome, profit), offsetof(tb_outcome, has), TB_HAS_PROFIT),
	DOUBLE_IF(3, "volume", offsetof(tb_outcome, volume), offsetof(tb_outcome, has), TB_HAS_VOLUME),
	DOUBLE_IF(4, "efficiency", offsetof(tb_outcome, efficiency), offsetof(tb_outcome, has), TB_HAS_EFFICIENCY),
};
static const tb_message outcome = { "outcome", sizeof(tb_outcome), outcome_fields, COUNT(outcome_fields), 0 };

static const tb_field ghost_fields[] = {
	WORD(1, "event_type", offsetof(tb_ghost, event_type), ghost_types),
	TEXT_MUST(2, "trigger", offsetof(tb_ghost, trigger)),
	PAIR(3, offsetof(tb_ghost, pair)),
	PHASE(4, offsetof(tb_ghost, bit_phase)),
	TEXT(5, "outcome", offsetof(tb_ghost, outcome)),
	CONFIDENCE(6, offsetof(tb_ghost, confidence)),
};

static const tb_field orbit_fields[] = {
	WORD(1, "orbit_type", offsetof(tb_orbit, orbit_type), orbit_types),
	{ .name = "pairs", LENGTH(2), .type = TB_FIELD_TEXTS, .when = TB_WHEN_ANY, .rule = TB_RULE_PAIR,
	  .at = offsetof(tb_orbit, pairs), .other = offsetof(tb_orbit, pair_count), .min = 1, .max = TB_PAIRS_MAX },
	PHASE(3, offsetof(tb_orbit, bit_phase)),
	CONFIDENCE(4, offsetof(tb_orbit, confidence)),
	OUTCOME(5, offsetof(tb_orbit, outcome)),
	DOUBLE_IF(6, "performance_score", offsetof(tb_orbit, performance_score),
	          offsetof(tb_orbit, has_performance_score), 1),
};

static const tb_field flip_fields[] = {
	WORD(1, "flip_type", offsetof(tb_flip, flip_type), flip_types),
	PAIR(2, offsetof(tb_flip, pair)),
	PHASE(3, offsetof(tb_flip, bit_phase)),
	WHOLE(4, "flip_value", offsetof(tb_flip, flip_value), 0),
	TEXT(5, "flip_pattern", offsetof(tb_flip, flip_pattern)),
	CONFIDENCE(6, offsetof(tb_flip, confidence)),
	OUTCOME(7, offsetof(tb_flip, outcome)),
};

static const tb_field delta_fields[] = {
	{ .name = "key", LENGTH(1), .type = TB_FIELD_BYTES, .at = offsetof(tb_delta, key), .min = 1,
	  .max = TB_KEY_MAX },
	{ .name = "op", VARINT(2), .type = TB_FIELD_BOOL, .when = TB_WHEN_NONZERO, .at = offsetof(tb_delta, remove),
	  .words = ops },
	{ .name = "value", LENGTH(3), .type = TB_FIELD_BYTES, .when = TB_WHEN_KEPT, .at = offsetof(tb_delta, value),
	  .other = offsetof(tb_delta, remove), .max = TB_VALUE_MAX },
	{ .name = "category", LENGTH(4), .type = TB_FIELD_TEXT, .when = TB_WHEN_POINTER, .rule = TB_RULE_WORD,
	  .at = offsetof(tb_delta, category), .max = TB_TEXT_MAX, .words = categories },
};
static const tb_message delta = { "delta", sizeof(tb_delta), delta_fields, COUNT(delta_fields), 0 };

static const tb_field bar_fields[] = {
	TEXT_MUST(1, "symbol", offsetof(tb_bar, symbol)),
	TEXT(2, "open", offsetof(tb_bar, open)),
	TEXT(3, "high", offsetof(tb_bar, high)),
	TEXT(4, "low", offsetof(tb_bar, low)),
	TEXT(5, "close", offsetof(tb_bar, close)),
	TEXT(6, "volume", offsetof(tb_bar, volume)),
	TEXT(7, "price", offsetof(tb_bar, price)),
	{ .name = "price_source", LENGTH(8), .type = TB_FIELD_TEXT, .when = TB_WHEN_POINTER, .rule = TB_RULE_SOURCE,
	  .at = offsetof(tb_bar, price_source), .max = TB_TEXT_MAX, .words = price_sources },
};

static const tb_field opaque_fields[] = {
	TEXT(1, "source", offsetof(tb_opaque, source)),
	{ .name = "data", LENGTH(2), .type = TB_FIELD_BYTES, .at = offsetof(tb_opaque, data), .max = TB_EVENT_MAX },
};

static const tb_field deltas_fields[] = {
	{ .name = "deltas", LENGTH(1), .type = TB_FIELD_MESSAGES, .when = TB_WHEN_ANY, .at = BODY_AT(deltas.items),
	  .other = BODY_AT(deltas.count), .min = 1, .max = TB_DELTAS_MAX, .message = &delta },
};

static const tb_field reset_fields[] = {
	{ .name = "reset", VARINT(1), .type = TB_FIELD_BOOL, .at = BODY_AT(reset.commit), .words = reset_ops },
};

static const tb_field lost_fields[] = {
	WHOLE(1, "from", BODY_AT(lost.from), 1),
	WHOLE(2, "to", BODY_AT(lost.to), 1),
};

static const tb_field signal_fields[] = {
	TEXT_MUST(1, "type", BODY_AT(signal.type)),
	TEXT(2, "stream", BODY_AT(signal.stream)),
	{ .name = "record", LENGTH(3), .type = TB_FIELD_BYTES, .at = BODY_AT(signal.record), .max = TB_EVENT_MAX },
};

#define ROW(kind, type, rows, bare) \
	[kind - TB_EVENT_GHOST] = { type, sizeof(((tb_event *)0)->body), rows, COUNT(rows), bare }
static const tb_message bodies[] = {
	ROW(TB_EVENT_GHOST, "ghost", ghost_fields, 0),
	ROW(TB_EVENT_ORBIT, "orbit", orbit_fields, 0),
	ROW(TB_EVENT_FLIP, "flip", flip_fields, 0),
	ROW(TB_EVENT_DELTA, "delta", delta_fields, 0),
	ROW(TB_EVENT_BAR, "bar", bar_fields, 0),
	ROW(TB_EVENT_OPAQUE, "opaque", opaque_fields, 0),
	ROW(TB_EVENT_DELTAS, "deltas", deltas_fields, 1),
	ROW(TB_EVENT_RESET, "reset", reset_fields, 1),
	ROW(TB_EVENT_LOST, "lost", lost_fields, 0),
	ROW(TB_EVENT_SIGNAL, "signal", signal_fields, 0),
};

const tb_message *tb_event_body(tb_event_kind kind)
{
	return kind >= TB_EVENT_GHOST && kind <= TB_EVENT_SIGNAL ? &bodies[kind - TB_EVENT_GHOST] : NULL;
}

static int follows(const uint8_t *at, const uint8_t *end, size_t count)
{
	if ((size_t)(end - at) <= count)
		return 0;
	for (size_t i = 1; i <= count; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return 1;
}

/* Shortest forms only, no surrogates, nothing above U+10FFFF. */
size_t tb_utf8_step(const uint8_t *at, const uint8_t *end)
{
	uint8_t first = at[0];
	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		return follows(at, end, 1) ? 2 : 0;
	if (first >= 0xe0 && first <= 0xef) {
		if (!follows(at, end, 2) || (first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f))
			return 0;
		return 3;
	}
	if (first >= 0xf0 && first <= 0xf4) {
		if (!follows(at, end, 3) || (first == 0xf0 && at[1] < 0x90) || (first == 0xf4 && at[1] > 0x8f))
			return 0;
		return 4;
	}
	return 0;
}

int tb_utf8_valid(tb_span bytes)
{
	const uint8_t *at = bytes.data, *end = at + bytes.size;
	while (at < end) {
		size_t step = *at < 0x80 ? 1 : tb_utf8_step(at, end);
		if (step == 0)
			return 0;
		at += step;
	}
	return 1;
}
