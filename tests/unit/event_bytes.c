/* The canonical bytes: that they are protobuf's, and what reading makes of bytes that aren't. */
#include "event_samples.h"
#include "events.pb-c.h"
#include "leaks.h"
#include "wire/event.h"

#include <criterion/criterion.h>

static tb_arena *arena;

static void make_arena(void)
{
	arena = tb_arena_new();
}

static void free_arena(void)
{
	tb_arena_free(arena);
	fail_on_leaks();
}

TestSuite(event_bytes, .init = make_arena, .fini = free_arena);

#define SET(to, field, value) ((to)->has_##field = 1, (to)->field = (value))
#define SET_IF(condition, to, field, value) ((to)->has_##field = (condition) != 0, (to)->field = (value))

static char *text(const char *borrowed)
{
	return (char *)(uintptr_t)borrowed;
}

static ProtobufCBinaryData binary(tb_bytes bytes)
{
	return (ProtobufCBinaryData){ bytes.size, (uint8_t *)(uintptr_t)bytes.data };
}

static Tb__Outcome *outcome_to_pb(const tb_outcome *from)
{
	if (from->has == 0)
		return NULL;
	Tb__Outcome *to = tb_arena_alloc(arena, sizeof(*to));
	tb__outcome__init(to);
	SET_IF(from->has & TB_HAS_SUCCESS, to, success, from->success);
	SET_IF(from->has & TB_HAS_PROFIT, to, profit, from->profit);
	SET_IF(from->has & TB_HAS_VOLUME, to, volume, from->volume);
	SET_IF(from->has & TB_HAS_EFFICIENCY, to, efficiency, from->efficiency);
	return to;
}

static Tb__Delta *delta_to_pb(const tb_delta *from)
{
	Tb__Delta *to = tb_arena_alloc(arena, sizeof(*to));
	tb__delta__init(to);
	SET(to, key, binary(from->key));
	SET_IF(from->remove, to, remove, 1);
	SET_IF(!from->remove, to, value, binary(from->value));
	to->category = text(from->category);
	return to;
}

static Tb__Ghost *ghost_to_pb(const tb_ghost *from)
{
	Tb__Ghost *to = tb_arena_alloc(arena, sizeof(*to));
	tb__ghost__init(to);
	to->event_type = text(from->event_type);
	to->trigger = text(from->trigger);
	to->pair = text(from->pair);
	SET(to, bit_phase, from->bit_phase);
	to->outcome = text(from->outcome);
	SET(to, confidence, from->confidence);
	return to;
}

static Tb__Orbit *orbit_to_pb(const tb_orbit *from)
{
	Tb__Orbit *to = tb_arena_alloc(arena, sizeof(*to));
	tb__orbit__init(to);
	to->orbit_type = text(from->orbit_type);
	to->n_pairs = from->pair_count;
	to->pairs = (char **)(uintptr_t)from->pairs;
	SET(to, bit_phase, from->bit_phase);
	SET(to, confidence, from->confidence);
	to->outcome = outcome_to_pb(&from->outcome);
	SET_IF(from->has_performance_score, to, performance_score, from->performance_score);
	return to;
}

static Tb__Flip *flip_to_pb(const tb_flip *from)
{
	Tb__Flip *to = tb_arena_alloc(arena, sizeof(*to));
	tb__flip__init(to);
	to->flip_type = text(from->flip_type);
	to->pair = text(from->pair);
	SET(to, bit_phase, from->bit_phase);
	SET(to, flip_value, from->flip_value);
	to->flip_pattern = text(from->flip_pattern);
	SET(to, confidence, from->confidence);
	to->outcome = outcome_to_pb(&from->outcome);
	return to;
}

static Tb__Bar *bar_to_pb(const tb_bar *from)
{
	Tb__Bar *to = tb_arena_alloc(arena, sizeof(*to));
	tb__bar__init(to);
	to->symbol = text(from->symbol);
	to->open = text(from->open);
	to->high = text(from->high);
	to->low = text(from->low);
	to->close = text(from->close);
	to->volume = text(from->volume);
	to->price = text(from->price);
	to->price_source = text(from->price_source);
	return to;
}

static Tb__Deltas *deltas_to_pb(const tb_event *from)
{
	Tb__Deltas *to = tb_arena_alloc(arena, sizeof(*to));
	tb__deltas__init(to);
	to->n_deltas = from->body.deltas.count;
	to->deltas = tb_arena_alloc(arena, to->n_deltas * sizeof(*to->deltas));
	for (size_t i = 0; i < to->n_deltas; i++)
		to->deltas[i] = delta_to_pb(&from->body.deltas.items[i]);
	return to;
}

static void rest_to_pb(const tb_event *from, Tb__Event *to)
{
	if (from->kind == TB_EVENT_OPAQUE) {
		to->opaque = tb_arena_alloc(arena, sizeof(*to->opaque));
		tb__opaque__init(to->opaque);
		to->opaque->source = text(from->body.opaque.source);
		SET(to->opaque, data, binary(from->body.opaque.data));
	} else if (from->kind == TB_EVENT_RESET) {
		to->reset = tb_arena_alloc(arena, sizeof(*to->reset));
		tb__reset__init(to->reset);
		SET(to->reset, commit, from->body.reset.commit);
	} else if (from->kind == TB_EVENT_LOST) {
		to->lost = tb_arena_alloc(arena, sizeof(*to->lost));
		tb__lost__init(to->lost);
		SET(to->lost, from, from->body.lost.from);
		SET(to->lost, to, from->body.lost.to);
	} else {
		to->signal = tb_arena_alloc(arena, sizeof(*to->signal));
		tb__signal__init(to->signal);
		to->signal->type = text(from->body.signal.type);
		to->signal->stream = text(from->body.signal.stream);
		SET(to->signal, record, binary(from->body.signal.record));
	}
}

static void body_to_pb(const tb_event *from, Tb__Event *to)
{
	to->body_case = (Tb__Event__BodyCase)from->kind;
	switch (from->kind) {
	case TB_EVENT_GHOST:
		to->ghost = ghost_to_pb(&from->body.ghost);
		break;
	case TB_EVENT_ORBIT:
		to->orbit = orbit_to_pb(&from->body.orbit);
		break;
	case TB_EVENT_FLIP:
		to->flip = flip_to_pb(&from->body.flip);
		break;
	case TB_EVENT_DELTA:
		to->delta = delta_to_pb(&from->body.delta);
		break;
	case TB_EVENT_BAR:
		to->bar = bar_to_pb(&from->body.bar);
		break;
	case TB_EVENT_DELTAS:
		to->deltas = deltas_to_pb(from);
		break;
	default:
		rest_to_pb(from, to);
		break;
	}
}

static void event_to_pb(const tb_event *from, Tb__Event *to)
{
	tb__event__init(to);
	SET(to, time_ns, from->time_ns);
	to->mode = text(from->mode);
	to->source = text(from->source);
	SET_IF(from->priority, to, priority, from->priority);
	to->n_tags = from->tag_count;
	to->tags = (char **)(uintptr_t)from->tags;
	to->n_metadata = from->metadata_count;
	to->metadata = tb_arena_alloc(arena, (from->metadata_count + 1) * sizeof(*to->metadata));
	for (size_t i = 0; i < from->metadata_count; i++) {
		to->metadata[i] = tb_arena_alloc(arena, sizeof(Tb__Meta));
		tb__meta__init(to->metadata[i]);
		to->metadata[i]->key = text(from->metadata[i].key);
		to->metadata[i]->value = text(from->metadata[i].value);
	}
	body_to_pb(from, to);
}

static void pack(tb_buf *to, const tb_event *event)
{
	tb_reject reject = { 0 };
	tb_buf_clear(to);
	cr_assert_eq(tb_event_pack(to, event, 0, &reject, NULL), TB_OK, "%s: %s", reject.field, reject.detail);
}

Test(event_bytes, are_what_protobuf_writes_and_come_back)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 }, again = { 0 };
	for (uint64_t seed = 1; seed <= 3000; seed++) {
		chance c = { seed * UINT64_C(0x9e3779b97f4a7c15), arena };
		tb_event event, got;
		Tb__Event message;
		chance_event(&c, (tb_event_kind)(TB_EVENT_GHOST + seed % 10), &event);
		pack(&bytes, &event);
		event_to_pb(&event, &message);
		tb_buf_clear(&again);
		tb_buf_reserve(&again, tb__event__get_packed_size(&message) + 1);
		again.size = tb__event__pack(&message, again.data);
		cr_assert(tb_span_equal(tb_buf_span(&bytes), tb_buf_span(&again)), "seed %llu", (unsigned long long)seed);
		cr_assert_eq(tb_event_check(tb_buf_span(&bytes), arena, &got, NULL, NULL), TB_OK);
		pack(&again, &got);
		cr_assert(tb_span_equal(tb_buf_span(&bytes), tb_buf_span(&again)), "seed %llu", (unsigned long long)seed);
		tb_arena_reset(arena);
	}
}

/* Either refused, or an event whose bytes are exactly these. */
static int check_exact(tb_span bytes)
{
	uint8_t *exact = tb_alloc(bytes.size); /* so that AddressSanitizer sees a step beyond */
	memcpy(exact, bytes.data, bytes.size);
	tb_event event;
	tb_reject reject = { 0 };
	tb_rc rc = tb_event_check(tb_span_of(exact, bytes.size), arena, &event, &reject, NULL);
	if (rc == TB_OK) {
		tb_auto(tb_buf_drop) tb_buf again = { 0 };
		pack(&again, &event);
		cr_assert(tb_span_equal(bytes, tb_buf_span(&again)));
	} else {
		cr_assert(rc == TB_ECORRUPT || rc == TB_EINVAL);
		cr_assert(reject.code[0] != '\0' && reject.detail[0] != '\0');
	}
	free(exact);
	return rc == TB_OK;
}

Test(event_bytes, cut_at_any_length_are_refused)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	for (uint64_t seed = 1; seed <= 40; seed++) {
		chance c = { seed, arena };
		tb_event event;
		chance_event(&c, (tb_event_kind)(TB_EVENT_GHOST + seed % 10), &event);
		pack(&bytes, &event);
		for (size_t size = 0; size < bytes.size && size < 2000; size++)
			cr_assert_not(check_exact(tb_span_of(bytes.data, size)), "seed %d cut at %zu", (int)seed, size);
		tb_arena_reset(arena);
	}
}

Test(event_bytes, with_any_bit_flipped_are_refused_or_another_event)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	for (uint64_t seed = 1; seed <= 40; seed++) {
		chance c = { seed, arena };
		tb_event event;
		chance_event(&c, (tb_event_kind)(TB_EVENT_GHOST + seed % 10), &event);
		pack(&bytes, &event);
		for (size_t bit = 0; bit < bytes.size * 8 && bit < 6000; bit++) {
			bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			check_exact(tb_buf_span(&bytes));
			bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		tb_arena_reset(arena);
	}
}

static void assert_not_canonical(const char *hex)
{
	uint8_t bytes[64];
	size_t size = strlen(hex) / 2;
	tb_event event;
	tb_reject reject = { 0 };
	cr_assert(tb_unhex(bytes, size, hex));
	cr_assert_eq(tb_event_check(tb_span_of(bytes, size), arena, &event, &reject, NULL), TB_ECORRUPT, "%s", hex);
	cr_assert_str_eq(reject.code, "canonical");
	cr_assert_eq(tb_event_unpack(tb_span_of(bytes, size), arena, &event, NULL), TB_ECORRUPT);
}

#define TIME "090100000000000000"

Test(event_bytes, that_protobuf_would_take_but_nobody_packs_are_refused)
{
	tb_event event;
	static const char good[] = TIME "6a06" "0a016b" "1a0176";
	uint8_t bytes[sizeof(good) / 2];
	cr_assert(tb_unhex(bytes, sizeof(bytes), good));
	cr_assert_eq(tb_event_check(tb_span_of(bytes, sizeof(bytes)), arena, &event, NULL, NULL), TB_OK);

	assert_not_canonical("");                                        /* nothing */
	assert_not_canonical(TIME);                                      /* no body */
	assert_not_canonical("6a06" "0a016b" "1a0176");                  /* no time */
	assert_not_canonical(TIME "2000" "6a06" "0a016b" "1a0176");      /* a priority of 0 */
	assert_not_canonical(TIME "208100" "6a06" "0a016b" "1a0176");    /* a number longer than needed */
	assert_not_canonical(TIME "6a8600" "0a016b" "1a0176");           /* a length longer than needed */
	assert_not_canonical(TIME "2001" "1200" "6a06" "0a016b1a0176");  /* out of order */
	assert_not_canonical(TIME "3800" "6a06" "0a016b" "1a0176");      /* an unknown field before the body */
	assert_not_canonical(TIME "6a06" "0a016b" "1a0176" "a00600");    /* and behind it */
	assert_not_canonical(TIME "6a08" "0a016b" "1a0176" "2800");      /* and within it */
	assert_not_canonical(TIME "6a06" "0a016b" "1a0176" "6a00");      /* two bodies */
	assert_not_canonical(TIME "6a09" "0a016b" "0a016b" "1a0176");    /* a field twice */
	assert_not_canonical(TIME "6a03" "0a016b");                      /* a put without value */
	assert_not_canonical(TIME "6a08" "0a016b" "1001" "1a0176");      /* a delete with one */
	assert_not_canonical(TIME "6a08" "0a016b" "1000" "1a0176");      /* remove set, and false */
	assert_not_canonical(TIME "6a08" "0a016b" "1002" "1a0176");      /* a bool of 2 */
	assert_not_canonical(TIME "120161" "120161" "6a060a016b1a0176"); /* a text twice */
	assert_not_canonical(TIME "1203610062" "6a060a016b1a0176");      /* a NUL in a text */
	assert_not_canonical(TIME TIME "6a060a016b1a0176");              /* time twice */
	assert_not_canonical(TIME "8a0100");                             /* a reset that does not say which */
}

Test(event_bytes, that_break_a_rule_can_still_be_unpacked)
{
	static const uint8_t bytes[] = { 0x09, 1, 0, 0, 0, 0, 0, 0, 0, 0x72, 11, 0x0a, 1, 'X', 0x42, 6, 's', 't', 'a', 't',
		                         'i', 'c' };
	tb_event event;
	tb_reject reject;
	tb_span canonical = tb_span_of(bytes, sizeof(bytes));
	cr_assert_eq(tb_event_unpack(canonical, arena, &event, NULL), TB_OK);
	cr_assert_str_eq(event.body.bar.price_source, "static");
	cr_assert_eq(tb_event_check(canonical, arena, &event, &reject, NULL), TB_EINVAL);
	cr_assert_str_eq(reject.code, "static_price");
}

Test(event_bytes, never_ask_for_more_than_their_lists_may_hold)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	uint8_t head[] = { 0x09, 1, 0, 0, 0, 0, 0, 0, 0 };
	tb_buf_append(&bytes, head, sizeof(head));
	for (size_t i = 0; i <= TB_TAGS_MAX; i++)
		tb_buf_append(&bytes, "\x2a\0", 2);
	tb_buf_append(&bytes, "\x6a\x06\x0a\x01k\x1a\x01v", 8);
	tb_event event;
	tb_err err;
	cr_assert_eq(tb_event_unpack(tb_buf_span(&bytes), arena, &event, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "too many"));
}

Test(event_bytes, with_an_ascii_arrow_are_not_canonical)
{
	chance c = { 1, arena };
	tb_event event, got;
	tb_reject reject;
	chance_event(&c, TB_EVENT_GHOST, &event);
	event.body.ghost.pair = "A\xe2\x86\x92" "B";
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	pack(&bytes, &event);
	uint8_t *pair = memmem(bytes.data, bytes.size, "A\xe2\x86\x92" "B", 5);
	memcpy(pair, "A->BC", 5);
	cr_assert_eq(tb_event_check(tb_buf_span(&bytes), arena, &got, &reject, NULL), TB_EINVAL);
	cr_assert_str_eq(reject.field, "ghost.pair");
}
