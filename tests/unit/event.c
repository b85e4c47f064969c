#include "leaks.h"
#include "wire/event.h"
#include "wire/event_fields.h"
#include "wire/frame.h"

#include <criterion/criterion.h>
#include <math.h>
#include <openssl/sha.h>

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

TestSuite(event, .init = make_arena, .fini = free_arena);

#define NOW UINT64_C(1800000000000000000)
#define ARROW "\xe2\x86\x92"

static tb_event sample_ghost(void)
{
	tb_event event;
	tb_event_default(&event, TB_EVENT_GHOST);
	event.body.ghost.trigger = "price_spike";
	event.body.ghost.pair = "BTC" ARROW "ETH";
	event.body.ghost.bit_phase = 4;
	return event;
}

static tb_event sample_orbit(void)
{
	static const char *const pairs[] = { "ETH->USDC", "BTC" ARROW "ETH", "A->B" };
	tb_event event;
	tb_event_default(&event, TB_EVENT_ORBIT);
	event.body.orbit.orbit_type = "orbit_cycle";
	event.body.orbit.pairs = pairs;
	event.body.orbit.pair_count = 3;
	event.body.orbit.bit_phase = 8;
	return event;
}

static tb_event sample_flip(void)
{
	tb_event event;
	tb_event_default(&event, TB_EVENT_FLIP);
	event.body.flip.flip_type = "bit_flip";
	event.body.flip.pair = "BTC" ARROW "USDC";
	event.body.flip.bit_phase = 8;
	return event;
}

static tb_event sample_delta(void)
{
	tb_event event;
	tb_event_default(&event, TB_EVENT_DELTA);
	event.time_ns = 1;
	event.body.delta.key = (tb_bytes){ "key", 3 };
	return event;
}

static tb_event sample_bar(void)
{
	tb_event event;
	tb_event_default(&event, TB_EVENT_BAR);
	event.body.bar.symbol = "USDCOP";
	event.body.bar.close = "4321.90";
	event.body.bar.price_source = "live";
	return event;
}

/* Packs, checks and gives the event that comes out. */
static tb_event through(const tb_event *event)
{
	tb_buf bytes = { 0 };
	tb_reject reject = { 0 };
	tb_event got;
	cr_assert_eq(tb_event_pack(&bytes, event, NOW, &reject, NULL), TB_OK, "%s: %s", reject.field, reject.detail);
	tb_span canonical = tb_arena_copy(arena, tb_buf_span(&bytes));
	tb_buf_drop(&bytes);
	cr_assert_eq(tb_event_check(canonical, arena, &got, &reject, NULL), TB_OK, "%s: %s", reject.field, reject.detail);
	return got;
}

static void assert_refused(const tb_event *event, const char *code, const char *field)
{
	tb_buf bytes = { 0 };
	tb_reject reject = { 0 };
	tb_err err = { 0 };
	tb_buf_append(&bytes, "before", 6);
	cr_assert_eq(tb_event_pack(&bytes, event, NOW, &reject, &err), TB_EINVAL, "%s should refuse it", code);
	cr_assert_eq(bytes.size, 6);
	cr_assert_str_eq(reject.code, code, "%s: %s (%s), not %s", reject.field, reject.detail, reject.code, code);
	cr_assert_str_eq(reject.field, field);
	cr_assert_not_null(strstr(err.text, reject.detail));
	cr_assert_eq(tb_event_pack(&bytes, event, NOW, NULL, NULL), TB_EINVAL);
	tb_buf_drop(&bytes);
}

Test(event, defaults_are_filled_in_by_kind_and_type)
{
	tb_event ghost = sample_ghost(), orbit = sample_orbit(), flip = sample_flip();
	tb_event got = through(&ghost);
	cr_assert_eq(got.time_ns, NOW);
	cr_assert_str_eq(got.body.ghost.event_type, "ghost_trigger");
	cr_assert_eq(got.body.ghost.confidence, 0.5);
	cr_assert_null(got.body.ghost.outcome);
	cr_assert_eq(through(&orbit).body.orbit.confidence, 0.7);
	orbit.body.orbit.orbit_type = "weight_update";
	cr_assert_eq(through(&orbit).body.orbit.confidence, 0.8);
	cr_assert_eq(through(&flip).body.flip.confidence, 0.9);
	cr_assert_str_eq(through(&flip).body.flip.flip_pattern, "11111111->00000000");
	flip.body.flip.flip_type = "memory_update";
	cr_assert_eq(through(&flip).body.flip.confidence, 0.8);
	cr_assert_null(through(&flip).body.flip.flip_pattern);
}

Test(event, ascii_arrows_mean_the_same_pair)
{
	tb_event ghost = sample_ghost(), orbit = sample_orbit();
	tb_auto(tb_buf_drop) tb_buf one = { 0 }, other = { 0 };
	cr_assert_eq(tb_event_pack(&one, &ghost, NOW, NULL, NULL), TB_OK);
	ghost.body.ghost.pair = "BTC->ETH";
	cr_assert_eq(tb_event_pack(&other, &ghost, NOW, NULL, NULL), TB_OK);
	cr_assert(tb_span_equal(tb_buf_span(&one), tb_buf_span(&other)));
	tb_event got = through(&orbit);
	cr_assert_str_eq(got.body.orbit.pairs[0], "ETH" ARROW "USDC");
	cr_assert_str_eq(got.body.orbit.pairs[1], "BTC" ARROW "ETH");
	cr_assert_str_eq(got.body.orbit.pairs[2], "A" ARROW "B");
}

Test(event, equal_content_gives_equal_bytes_and_an_equal_hash)
{
	char key[] = "key", other_key[] = "key";
	tb_event a = sample_delta(), b = sample_delta();
	tb_meta sorted[] = { { "a", "1" }, { "b", "2" } }, turned[] = { { "b", "2" }, { "a", "1" } };
	a.metadata = sorted;
	b.metadata = turned;
	a.metadata_count = b.metadata_count = 2;
	a.body.delta.key = (tb_bytes){ key, 3 };
	b.body.delta.key = (tb_bytes){ other_key, 3 };
	tb_auto(tb_buf_drop) tb_buf one = { 0 }, other = { 0 };
	cr_assert_eq(tb_event_pack(&one, &a, 1, NULL, NULL), TB_OK);
	cr_assert_eq(tb_event_pack(&other, &b, 2, NULL, NULL), TB_OK);
	cr_assert(tb_span_equal(tb_buf_span(&one), tb_buf_span(&other)));
	uint8_t hash[TB_HASH], again[TB_HASH], plain[TB_HASH];
	tb_event_hash(tb_buf_span(&one), hash);
	tb_event_hash(tb_buf_span(&other), again);
	cr_assert_arr_eq(hash, again, TB_HASH);
	SHA256(one.data, one.size, plain);
	cr_assert_arr_eq(hash, plain, TB_HASH);
	one.data[1] ^= 1;
	tb_event_hash(tb_buf_span(&one), again);
	cr_assert_arr_neq(hash, again, TB_HASH);
}

Test(event, canonical_bytes_and_hash_are_these_for_ever)
{
	tb_event delta = sample_delta();
	delta.body.delta.value = (tb_bytes){ "v", 1 };
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 }, hex = { 0 };
	cr_assert_eq(tb_event_pack(&bytes, &delta, 0, NULL, NULL), TB_OK);
	tb_buf_hex(&hex, bytes.data, bytes.size);
	cr_assert_str_eq(tb_buf_text(&hex), "09" "0100000000000000" "6a08" "0a036b6579" "1a0176");
	uint8_t hash[TB_HASH], head[TB_HASH] = { 0 };
	tb_event_hash(tb_buf_span(&bytes), hash);
	tb_buf_clear(&hex);
	tb_buf_hex(&hex, hash, TB_HASH);
	cr_assert_str_eq(tb_buf_text(&hex), "b1022d95c4ae83256e5f7702e34fcab3e60797aac5c010db2eb9e995d33f49c9");
	tb_memory_signature(head, hash, head);
	tb_buf_clear(&hex);
	tb_buf_hex(&hex, head, TB_HASH);
	cr_assert_str_eq(tb_buf_text(&hex), "23c688c579eb7e1bf3bf6162de677a2b8fb4a48d707d751560cbf60d934b9ff8");
}

Test(event, sixteen_in_one_nanosecond_are_sixteen_by_their_place)
{
	tb_event delta = sample_delta();
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 }, body = { 0 };
	cr_assert_eq(tb_event_pack(&bytes, &delta, NOW, NULL, NULL), TB_OK);
	for (int i = 0; i < 16; i++)
		tb_events_append(&body, tb_buf_span(&bytes));
	tb_frame frame = { .kind = TB_KIND_EVENTS, .count = 16, .first = 1, .body = tb_buf_span(&body) };
	cr_assert_eq(tb_events_check(&frame, NULL), TB_OK);
	tb_span rest = frame.body, canonical;
	uint8_t heads[17][TB_HASH] = { { 0 } }, hash[TB_HASH];
	for (int i = 1; i <= 16; i++) {
		cr_assert_eq(tb_events_next(&rest, &canonical), 1);
		tb_event_hash(canonical, hash);
		tb_memory_signature(heads[i - 1], hash, heads[i]);
		for (int before = 0; before < i; before++)
			cr_assert_arr_neq(heads[before], heads[i], TB_HASH);
	}
}

Test(event, a_bank_is_of_kind_pair_and_phase)
{
	const char *pair;
	uint32_t bit_phase;
	tb_event ghost = sample_ghost(), orbit = sample_orbit(), delta = sample_delta();
	cr_assert(tb_event_bank(&ghost, &pair, &bit_phase));
	cr_assert_str_eq(pair, "BTC" ARROW "ETH");
	cr_assert_eq(bit_phase, 4);
	orbit = through(&orbit);
	cr_assert(tb_event_bank(&orbit, &pair, &bit_phase));
	cr_assert_str_eq(pair, "ETH" ARROW "USDC");
	cr_assert_not(tb_event_bank(&delta, &pair, &bit_phase));
	orbit.body.orbit.pair_count = 0;
	cr_assert_not(tb_event_bank(&orbit, &pair, &bit_phase));
}

Test(event, kinds_are_known_by_name)
{
	for (tb_event_kind kind = TB_EVENT_GHOST; kind <= TB_EVENT_SIGNAL; kind++)
		cr_assert_eq(tb_event_kind_of(tb_event_kind_name(kind)), kind);
	cr_assert_str_eq(tb_event_kind_name(TB_EVENT_BAR), "bar");
	cr_assert_str_eq(tb_event_kind_name(TB_EVENT_NONE), "unknown");
	cr_assert_eq(tb_event_kind_of("Bar"), TB_EVENT_NONE);
	tb_event event;
	tb_event_default(&event, TB_EVENT_NONE);
	assert_refused(&event, "kind", "kind");
}

Test(event, only_legal_phases_pass)
{
	tb_event ghost = sample_ghost();
	for (uint32_t phase = 0; phase < 70; phase++) {
		ghost.body.ghost.bit_phase = phase;
		if (phase == 4 || phase == 8 || phase == 16 || phase == 32 || phase == 42)
			through(&ghost);
		else
			assert_refused(&ghost, "bit_phase", "ghost.bit_phase");
	}
}

Test(event, confidence_is_within_0_and_1)
{
	tb_event ghost = sample_ghost();
	static const double bad[] = { -0.1, -2, 1.0000001, INFINITY, -INFINITY, NAN };
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		ghost.body.ghost.confidence = bad[i];
		assert_refused(&ghost, "confidence", "ghost.confidence");
	}
	ghost.body.ghost.confidence = 0;
	cr_assert_eq(through(&ghost).body.ghost.confidence, 0);
	ghost.body.ghost.confidence = 1;
	through(&ghost);
	tb_event orbit = sample_orbit();
	orbit.body.orbit.outcome = (tb_outcome){ .has = TB_HAS_PROFIT, .profit = NAN };
	assert_refused(&orbit, "number", "orbit.profit");
}

Test(event, zero_and_false_of_an_outcome_are_values)
{
	tb_event orbit = sample_orbit();
	orbit.body.orbit.outcome.has = TB_HAS_SUCCESS | TB_HAS_PROFIT;
	orbit.body.orbit.has_performance_score = 2;
	tb_event got = through(&orbit);
	cr_assert_eq(got.body.orbit.outcome.has, TB_HAS_SUCCESS | TB_HAS_PROFIT);
	cr_assert_eq(got.body.orbit.outcome.success, 0);
	cr_assert_eq(got.body.orbit.has_performance_score, 1);
}

Test(event, a_static_price_is_refused_by_its_name)
{
	tb_event bar = sample_bar();
	bar.body.bar.price_source = "static";
	assert_refused(&bar, "static_price", "bar.price_source");
	bar.body.bar.price_source = "guessed";
	assert_refused(&bar, "price_source", "bar.price_source");
	bar.body.bar.price_source = "cached";
	cr_assert_str_eq(through(&bar).body.bar.close, "4321.90");
	cr_assert_null(through(&bar).body.bar.open);
}

Test(event, keys_and_values_are_bounded)
{
	tb_event delta = sample_delta();
	uint8_t *bytes = tb_alloc_zero(TB_EVENT_MAX + 1, 1);
	delta.body.delta.key = (tb_bytes){ bytes, 0 };
	assert_refused(&delta, "key_size", "delta.key");
	delta.body.delta.key.size = TB_KEY_MAX + 1;
	assert_refused(&delta, "key_size", "delta.key");
	delta.body.delta.key.size = TB_KEY_MAX;
	delta.body.delta.value = (tb_bytes){ bytes, TB_VALUE_MAX };
	cr_assert_eq(through(&delta).body.delta.value.size, TB_VALUE_MAX);
	delta.body.delta.value.size++;
	assert_refused(&delta, "value_size", "delta.value");
	delta.body.delta.value.size = 1;
	delta.body.delta.remove = 1;
	assert_refused(&delta, "delete_value", "delta.value");
	delta.body.delta.value.size = 0;
	cr_assert(through(&delta).body.delta.remove);
	delta.body.delta.category = "tepid";
	assert_refused(&delta, "category", "delta.category");

	tb_event opaque;
	tb_event_default(&opaque, TB_EVENT_OPAQUE);
	opaque.body.opaque.data = (tb_bytes){ bytes, TB_EVENT_MAX + 1 };
	assert_refused(&opaque, "data_size", "opaque.data");
	opaque.body.opaque.data.size = TB_EVENT_MAX;
	assert_refused(&opaque, "event_size", "");
	opaque.body.opaque.data.size = TB_EVENT_MAX - 19;
	through(&opaque);
	opaque.body.opaque.data.size++;
	assert_refused(&opaque, "event_size", "");
	tb_reject reject;
	tb_event got;
	cr_assert_eq(tb_event_check(tb_span_of(bytes, TB_EVENT_MAX + 1), arena, &got, &reject, NULL), TB_EINVAL);
	cr_assert_str_eq(reject.code, "event_size");
	free(bytes);
}

Test(event, texts_are_utf8_and_bounded)
{
	tb_event ghost = sample_ghost();
	static const char *const bad[] = { "\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88",
		                           "a\xe2\x86", "\xff", "\xc3(" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		ghost.body.ghost.trigger = bad[i];
		assert_refused(&ghost, "text", "ghost.trigger");
	}
	cr_assert(tb_text_valid(tb_span_text("\xed\x9f\xbf\xf4\x8f\xbf\xbf\xe0\xa0\x80\xf0\x90\x80\x80\xc2\x80")));
	cr_assert(tb_text_valid(tb_span_of(NULL, 0)));
	cr_assert_not(tb_text_valid(tb_span_of("a\0b", 3)));
	ghost.body.ghost.trigger = "";
	assert_refused(&ghost, "missing", "ghost.trigger");
	ghost.body.ghost.trigger = NULL;
	assert_refused(&ghost, "missing", "ghost.trigger");
	char *text = tb_alloc_zero(TB_TEXT_MAX + 2, 1);
	memset(text, 'x', TB_TEXT_MAX + 1);
	ghost.body.ghost.trigger = text;
	assert_refused(&ghost, "text_size", "ghost.trigger");
	text[TB_TEXT_MAX] = '\0';
	through(&ghost);
	ghost.body.ghost.pair = text;
	assert_refused(&ghost, "text_size", "ghost.pair");
	free(text);
	ghost = sample_ghost();
	ghost.mode = "\xff";
	assert_refused(&ghost, "text", "mode");
}

Test(event, pairs_have_two_sides)
{
	tb_event ghost = sample_ghost();
	static const char *const bad[] = { "BTC", ARROW, "BTC" ARROW, ARROW "ETH", "->ETH", "BTC/ETH" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		ghost.body.ghost.pair = bad[i];
		assert_refused(&ghost, "pair", "ghost.pair");
	}
	tb_event orbit = sample_orbit();
	orbit.body.orbit.pair_count = 0;
	assert_refused(&orbit, "count", "orbit.pairs");
	orbit.body.orbit.pair_count = TB_PAIRS_MAX + 1;
	assert_refused(&orbit, "count", "orbit.pairs");
}

Test(event, types_are_those_known)
{
	tb_event ghost = sample_ghost(), orbit = sample_orbit(), flip = sample_flip();
	ghost.body.ghost.event_type = "ghost";
	assert_refused(&ghost, "event_type", "ghost.event_type");
	orbit.body.orbit.orbit_type = "circle";
	assert_refused(&orbit, "orbit_type", "orbit.orbit_type");
	orbit.body.orbit.orbit_type = NULL;
	assert_refused(&orbit, "missing", "orbit.orbit_type");
	flip.body.flip.flip_type = "";
	assert_refused(&flip, "flip_type", "flip.flip_type");
}

Test(event, a_bit_flip_fits_its_phase)
{
	tb_event flip = sample_flip();
	flip.body.flip.flip_value = 255;
	cr_assert_str_eq(through(&flip).body.flip.flip_pattern, "00000000->11111111");
	flip.body.flip.flip_value = 256;
	assert_refused(&flip, "flip_value", "flip.flip_value");
	flip.body.flip.flip_type = "pair_flip";
	cr_assert_eq(through(&flip).body.flip.flip_value, 256);
	flip.body.flip.flip_value = UINT64_C(1) << 63;
	assert_refused(&flip, "flip_value", "flip.flip_value");
}

Test(event, priority_tags_metadata_and_time_are_bounded)
{
	tb_event delta = sample_delta();
	const char *tags[TB_TAGS_MAX + 1];
	tb_meta metadata[] = { { "b", "1" }, { "a", "" }, { "b", "2" } }, empty = { "", "x" }, missing = { NULL, "x" };
	for (size_t i = 0; i <= TB_TAGS_MAX; i++)
		tags[i] = "tag";
	delta.priority = 4;
	assert_refused(&delta, "priority", "priority");
	delta.priority = 3;
	delta.tags = tags;
	delta.tag_count = TB_TAGS_MAX + 1;
	assert_refused(&delta, "count", "tags");
	delta.tag_count = TB_TAGS_MAX;
	delta.metadata = metadata;
	delta.metadata_count = 3;
	assert_refused(&delta, "metadata_key", "metadata");
	delta.metadata_count = 2;
	cr_assert_str_eq(through(&delta).metadata[0].key, "a");
	delta.metadata_count = TB_METADATA_MAX + 1;
	assert_refused(&delta, "count", "metadata");
	delta.metadata_count = 1;
	delta.metadata = &empty;
	assert_refused(&delta, "missing", "metadata[0].key");
	delta.metadata = &missing;
	assert_refused(&delta, "missing", "metadata[0].key");
	delta.metadata_count = 0;
	delta.time_ns = UINT64_C(1) << 63;
	assert_refused(&delta, "time", "time_ns");
	delta.time_ns--;
	cr_assert_eq(through(&delta).time_ns, INT64_MAX);
	delta.time_ns = 0;
	tb_reject reject;
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	cr_assert_eq(tb_event_pack(&bytes, &delta, 0, &reject, NULL), TB_EINVAL);
	cr_assert_str_eq(reject.code, "time");
}

Test(event, each_delta_of_many_keeps_the_rules)
{
	tb_delta items[] = { { .key = { "a", 1 } }, { .key = { "b", 0 } } };
	tb_event event;
	tb_event_default(&event, TB_EVENT_DELTAS);
	assert_refused(&event, "count", "deltas");
	event.body.deltas.items = items;
	event.body.deltas.count = 2;
	assert_refused(&event, "key_size", "deltas[1].key");
	event.body.deltas.count = TB_DELTAS_MAX + 1;
	assert_refused(&event, "count", "deltas");
	tb_event_default(&event, TB_EVENT_LOST);
	event.body.lost.from = 5;
	event.body.lost.to = 4;
	assert_refused(&event, "range", "lost.to");
}

static void assert_not_valid(const tb_event *event, const char *why)
{
	tb_err err = { 0 };
	cr_assert_eq(tb_event_validate(event, NULL, &err), TB_EINVAL);
	cr_assert_not_null(strstr(err.text, why), "%s", err.text);
}

Test(event, what_packing_fills_in_has_to_be_there)
{
	tb_event ghost = sample_ghost(), flip = sample_flip();
	ghost.time_ns = flip.time_ns = 1;
	ghost.body.ghost.pair = "A" ARROW "B->C";
	assert_not_valid(&ghost, "the arrow ->");
	flip.body.flip.confidence = 0.5;
	flip.body.flip.flip_pattern = NULL;
	assert_not_valid(&flip, "has a pattern");
}

Test(event, metadata_without_a_key_is_refused)
{
	tb_event ghost = sample_ghost();
	tb_meta items[2] = { { .key = "b", .value = "1" }, { .key = NULL, .value = "2" } };
	ghost.metadata = items;
	ghost.metadata_count = 2;
	assert_refused(&ghost, "missing", "metadata[1].key");
}

Test(event, a_character_has_the_length_that_it_says)
{
	const uint8_t bytes[] = "a\xc3\xa9";
	cr_assert_eq(tb_utf8_step(bytes, bytes + 3), 1);
	cr_assert_eq(tb_utf8_step(bytes + 1, bytes + 3), 2);
	cr_assert_eq(tb_utf8_step(bytes + 1, bytes + 2), 0);
}
