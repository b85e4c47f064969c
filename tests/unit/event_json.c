#include "wire/event_json.h"

#include "event_samples.h"
#include "leaks.h"

#include <criterion/criterion.h>
#include <jansson.h>

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

TestSuite(event_json, .init = make_arena, .fini = free_arena);

#define ARROW "\xe2\x86\x92"

static tb_event read_line(const char *line)
{
	tb_event event;
	tb_err err = { 0 };
	cr_assert_eq(tb_event_from_json(tb_span_text(line), arena, &event, &err), TB_OK, "%s: %s", line, err.text);
	return event;
}

static void assert_refused(const char *line, const char *why)
{
	tb_event event;
	tb_err err = { 0 };
	cr_assert_eq(tb_event_from_json(tb_span_text(line), arena, &event, &err), TB_EINVAL, "%s", line);
	cr_assert_not_null(strstr(err.text, why), "%s: \"%s\" does not say \"%s\"", line, err.text, why);
}

static void assert_bytes(tb_bytes bytes, const char *expected, size_t size)
{
	cr_assert_eq(bytes.size, size);
	cr_assert_arr_eq(bytes.data, expected, size);
}

Test(event_json, the_lines_of_the_manual_are_read)
{
	tb_event event = read_line("{\"time_ns\":1723161253937085768,\"delta\":{\"key\":\"b|61737.63000000\",\"value\":\"0.56854\"}}");
	cr_assert_eq(event.time_ns, UINT64_C(1723161253937085768));
	cr_assert_eq(event.kind, TB_EVENT_DELTA);
	assert_bytes(event.body.delta.key, "b|61737.63000000", 16);
	assert_bytes(event.body.delta.value, "0.56854", 7);
	cr_assert(read_line("{\"delta\":{\"key\":\"order:17\",\"op\":\"delete\"}}").body.delta.remove);
	assert_bytes(read_line("{\"delta\":{\"key\":\"blob\",\"value_b64\":\"AAEC\"}}").body.delta.value, "\0\1\2", 3);

	event = read_line("{\"deltas\":[{\"key\":\"cash\",\"value\":\"100\"},{\"key\":\"position:BTC\",\"op\":\"delete\"}]}");
	cr_assert_eq(event.body.deltas.count, 2);
	assert_bytes(event.body.deltas.items[0].value, "100", 3);
	cr_assert(event.body.deltas.items[1].remove);
	cr_assert_eq(read_line("{\"reset\":\"begin\"}").body.reset.commit, 0);
	cr_assert_eq(read_line("{\"reset\":\"commit\"}").body.reset.commit, 1);

	event = read_line("{\"ghost\":{\"event_type\":\"ghost_trigger\",\"trigger\":\"price_spike\",\"pair\":\"BTC" ARROW
	                  "ETH\",\"bit_phase\":4,\"outcome\":\"+0.5\",\"confidence\":0.8}}");
	cr_assert_str_eq(event.body.ghost.outcome, "+0.5");
	cr_assert_eq(event.body.ghost.confidence, 0.8);
	event = read_line("{\"orbit\":{\"orbit_type\":\"orbit_cycle\",\"pairs\":[\"BTC" ARROW "ETH\",\"ETH" ARROW "USDC\"],"
	                  "\"bit_phase\":4,\"confidence\":0.7,\"outcome\":{\"success\":true,\"profit\":0.01,\"volume\":1.0}}}");
	cr_assert_eq(event.body.orbit.pair_count, 2);
	cr_assert_eq(event.body.orbit.outcome.has, TB_HAS_SUCCESS | TB_HAS_PROFIT | TB_HAS_VOLUME);
	event = read_line("{\"flip\":{\"flip_type\":\"bit_flip\",\"pair\":\"BTC" ARROW "USDC\",\"bit_phase\":8,\"flip_value\":0,"
	                  "\"flip_pattern\":\"11111111->00000000\",\"confidence\":0.9}}");
	cr_assert_str_eq(event.body.flip.flip_pattern, "11111111->00000000");
	event = read_line("{\"bar\":{\"symbol\":\"USDCOP\",\"open\":\"4321.5\",\"high\":\"4322\",\"low\":\"4321\","
	                  "\"close\":\"4321.9\",\"volume\":\"0\",\"price_source\":\"live\"}}");
	cr_assert_str_eq(event.body.bar.open, "4321.5");
	event = read_line("{\"opaque\":{\"source\":\"kraken\",\"data\":\"any text\"}}");
	assert_bytes(event.body.opaque.data, "any text", 8);
}

Test(event_json, what_stands_beside_the_body_is_read)
{
	tb_event event = read_line("{\"mode\":\"paper\",\"source\":\"s\",\"priority\":3,\"tags\":[\"a\",\"b\"],"
	                           "\"metadata\":{\"z\":\"1\",\"a\":\"2\"},\"reset\":\"begin\"}");
	cr_assert_str_eq(event.mode, "paper");
	cr_assert_str_eq(event.source, "s");
	cr_assert_eq(event.priority, 3);
	cr_assert_eq(event.tag_count, 2);
	cr_assert_str_eq(event.tags[1], "b");
	cr_assert_eq(event.metadata_count, 2);
	cr_assert_eq(event.time_ns, 0);
	event = read_line("{\"ghost\":{\"trigger\":\"t\",\"pair\":\"A->B\",\"bit_phase\":4,\"outcome\":null}}");
	cr_assert_str_eq(event.body.ghost.event_type, "ghost_trigger");
	cr_assert_eq(event.body.ghost.confidence, TB_CONFIDENCE_DEFAULT);
	cr_assert_null(event.body.ghost.outcome);
}

Test(event_json, integers_are_exact_to_the_last)
{
	cr_assert_eq(read_line("{\"time_ns\":9223372036854775807,\"reset\":\"begin\"}").time_ns, INT64_MAX);
	cr_assert_eq(read_line("{\"time_ns\":1800000000000000001,\"reset\":\"begin\"}").time_ns, UINT64_C(1800000000000000001));
	assert_refused("{\"time_ns\":9223372036854775808,\"reset\":\"begin\"}", "integer");
	assert_refused("{\"time_ns\":-1,\"reset\":\"begin\"}", "time_ns");
	assert_refused("{\"time_ns\":1.5e18,\"reset\":\"begin\"}", "time_ns");
}

Test(event_json, nul_is_a_byte_and_not_a_character_of_a_text)
{
	tb_event event = read_line("{\"delta\":{\"key\":\"a\\u0000b\",\"value\":\"\\u0000\"}}");
	assert_bytes(event.body.delta.key, "a\0b", 3);
	assert_bytes(event.body.delta.value, "\0", 1);
	assert_bytes(read_line("{\"opaque\":{\"data\":\"x\\u0000\"}}").body.opaque.data, "x\0", 2);
	assert_refused("{\"opaque\":{\"source\":\"x\\u0000\",\"data\":\"\"}}", "opaque.source");
	assert_refused("{\"mode\":\"\\u0000\",\"reset\":\"begin\"}", "mode");
	assert_refused("{\"tags\":[\"\\u0000\"],\"reset\":\"begin\"}", "tags");
	assert_refused("{\"metadata\":{\"a\":\"\\u0000\"},\"reset\":\"begin\"}", "metadata");
}

Test(event_json, a_line_that_is_no_event_is_refused_with_its_reason)
{
	assert_refused("", "not JSON");
	assert_refused("{", "not JSON");
	assert_refused("{\"reset\":\"begin\"} x", "not JSON");
	assert_refused("{\"mode\":\"\xff\",\"reset\":\"begin\"}", "not JSON");
	assert_refused("[]", "object");
	assert_refused("1", "object");
	assert_refused("{}", "no body");
	assert_refused("{\"reset\":\"begin\",\"opaque\":{\"data\":\"\"}}", "one body");
	assert_refused("{\"reset\":\"begin\",\"reset\":\"begin\"}", "duplicate");
	assert_refused("{\"reset\":\"begin\",\"colour\":1}", "colour");
	assert_refused("{\"reset\":\"stop\"}", "reset");
	assert_refused("{\"reset\":1}", "reset");
	assert_refused("{\"delta\":{\"key\":\"k\",\"value\":\"v\",\"values\":\"v\"}}", "delta.values");
	assert_refused("{\"delta\":{\"key\":\"k\",\"value\":\"v\",\"op_b64\":\"v\"}}", "delta.op_b64");
	assert_refused("{\"delta\":{\"key\":\"k\"}}", "delta.value");
	assert_refused("{\"delta\":{\"key\":\"k\",\"value\":null}}", "delta.value");
	assert_refused("{\"delta\":{\"value\":\"v\"}}", "delta.key");
	assert_refused("{\"delta\":{\"key\":\"k\",\"op\":\"delete\",\"value\":\"\"}}", "delta.value");
	assert_refused("{\"delta\":{\"key\":\"k\",\"value\":\"v\",\"value_b64\":\"AA==\"}}", "twice");
	assert_refused("{\"delta\":{\"key\":\"k\",\"value\":1.5}}", "delta.value");
	assert_refused("{\"delta\":{\"key\":\"k\",\"value_b64\":\"A\"}}", "base64");
	assert_refused("{\"delta\":{\"key\":\"k\",\"value_b64\":\"AA\"}}", "base64");
	assert_refused("{\"delta\":{\"key\":\"k\",\"value_b64\":\"AA==AA==\"}}", "base64");
	assert_refused("{\"delta\":[]}", "delta");
	assert_refused("{\"deltas\":{}}", "deltas");
	assert_refused("{\"deltas\":[{\"key\":\"k\"}]}", "deltas.value");
	assert_refused("{\"opaque\":{\"source\":\"x\"}}", "opaque.data");
	assert_refused("{\"bar\":{\"symbol\":\"S\",\"open\":4321.5}}", "bar.open");
	assert_refused("{\"ghost\":{\"bit_phase\":\"4\"}}", "ghost.bit_phase");
	assert_refused("{\"ghost\":{\"bit_phase\":4294967296}}", "ghost.bit_phase");
	assert_refused("{\"ghost\":{\"confidence\":\"0.5\"}}", "ghost.confidence");
	assert_refused("{\"ghost\":{\"confidence\":-1}}", "ghost.confidence");
	assert_refused("{\"orbit\":{\"pairs\":\"A->B\"}}", "orbit.pairs");
	assert_refused("{\"orbit\":{\"outcome\":{\"success\":1}}}", "success");
	assert_refused("{\"orbit\":{\"outcome\":\"+0.5\"}}", "outcome");
	assert_refused("{\"metadata\":[],\"reset\":\"begin\"}", "metadata");
	assert_refused("{\"metadata\":{\"a\":1},\"reset\":\"begin\"}", "metadata");
	assert_refused("{\"tags\":\"a\",\"reset\":\"begin\"}", "tags");
}

Test(event_json, a_line_cut_or_flipped_anywhere_is_refused_or_another_event)
{
	static const char line[] = "{\"time_ns\":17,\"tags\":[\"\xc3\xa9\"],\"metadata\":{\"a\":\"b\"},\"deltas\":[{\"key_b64\":"
	                           "\"AAEC\",\"value\":\"\\u0000\\n\"},{\"key\":\"k\",\"op\":\"delete\",\"category\":\"hot\"}]}";
	size_t size = sizeof(line) - 1;
	tb_event event;
	for (size_t cut = 0; cut < size; cut++) {
		char *exact = tb_alloc(cut);
		memcpy(exact, line, cut);
		cr_assert_eq(tb_event_from_json(tb_span_of(exact, cut), arena, &event, NULL), TB_EINVAL, "cut at %zu", cut);
		free(exact);
	}
	char *flipped = tb_alloc(size);
	for (size_t bit = 0; bit < size * 8; bit++) {
		memcpy(flipped, line, size);
		flipped[bit / 8] = (char)(flipped[bit / 8] ^ 1 << bit % 8);
		tb_rc rc = tb_event_from_json(tb_span_of(flipped, size), arena, &event, NULL);
		cr_assert(rc == TB_OK || rc == TB_EINVAL);
	}
	free(flipped);
}

static const tb_event_place nowhere = { .stream = "book", .number = 17, .stamp_ns = 18 };

/* What is printed, less what stands around the event, as a line to publish. */
static char *line_again(tb_buf *printed)
{
	static const char *const around[] = { "stream", "number", "event_id", "time", "stamp_ns", "kind" };
	json_error_t error;
	json_t *object = json_loadb((const char *)printed->data, printed->size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
	cr_assert_not_null(object, "%s: %.200s", error.text, tb_buf_text(printed));
	for (size_t i = 0; i < sizeof(around) / sizeof(*around); i++)
		cr_assert_eq(json_object_del(object, around[i]), 0);
	char *line = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17));
	json_decref(object);
	return line;
}

Test(event_json, what_is_printed_publishes_the_same_event_again)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 }, again = { 0 }, printed = { 0 };
	for (uint64_t seed = 1; seed <= 2000; seed++) {
		chance c = { seed * UINT64_C(0x9e3779b97f4a7c15), arena };
		tb_event event;
		chance_event(&c, (tb_event_kind)(TB_EVENT_GHOST + seed % 10), &event);
		tb_buf_clear(&bytes);
		tb_buf_clear(&again);
		tb_buf_clear(&printed);
		cr_assert_eq(tb_event_pack(&bytes, &event, 0, NULL, NULL), TB_OK);
		tb_event_to_json(&printed, &event, &nowhere);
		cr_assert_null(memchr(printed.data, '\n', printed.size));
		char *line = line_again(&printed);
		event = read_line(line);
		free(line);
		cr_assert_eq(tb_event_pack(&again, &event, 0, NULL, NULL), TB_OK);
		cr_assert(tb_span_equal(tb_buf_span(&bytes), tb_buf_span(&again)), "seed %llu: %s", (unsigned long long)seed,
		          tb_buf_text(&printed));
		tb_arena_reset(arena);
	}
}

Test(event_json, megabytes_of_text_come_back_byte_for_byte)
{
	static const char *const parts[] = { "{\"a\":\"\\u20ac\"}", "\xe2\x82\xac", "\t\r\n", "\x7f", "\"", "\\", "plain text " };
	tb_auto(tb_buf_drop) tb_buf data = { 0 }, printed = { 0 };
	for (size_t i = 0; data.size < 5 * 1024 * 1024; i++)
		tb_buf_append(&data, parts[i % 7], strlen(parts[i % 7]));
	tb_event event;
	tb_event_default(&event, TB_EVENT_OPAQUE);
	event.time_ns = 1;
	event.body.opaque.data = (tb_bytes){ data.data, data.size };
	tb_event_to_json(&printed, &event, &nowhere);
	char *line = line_again(&printed);
	event = read_line(line);
	free(line);
	cr_assert(tb_span_equal(tb_span_of(event.body.opaque.data.data, event.body.opaque.data.size), tb_buf_span(&data)));
}

Test(event_json, an_event_prints_with_its_place)
{
	tb_event event = read_line("{\"time_ns\":1723161253937085768,\"priority\":2,\"delta\":{\"key\":\"\xe2\x82\xac\",\"value_b64\":"
	                           "\"/w==\",\"category\":\"hot\"}}");
	uint8_t hash[TB_HASH], signature[TB_HASH];
	memset(hash, 0xab, TB_HASH);
	memset(signature, 0x01, TB_HASH);
	tb_event_place place = { "book", 17, 18, hash, signature, "said no" };
	tb_auto(tb_buf_drop) tb_buf printed = { 0 };
	tb_event_to_json(&printed, &event, &place);
	cr_assert_str_eq(tb_buf_text(&printed),
	                 "{\"stream\":\"book\",\"number\":17,\"event_id\":\"book/17\",\"time_ns\":1723161253937085768,"
	                 "\"time\":\"2024-08-08T23:54:13.937085768Z\",\"stamp_ns\":18,\"kind\":\"delta\",\"backup_hash\":\""
	                 "abababababababababababababababababababababababababababababababab\",\"memory_signature\":\""
	                 "0101010101010101010101010101010101010101010101010101010101010101\",\"rejected\":\"said no\","
	                 "\"priority\":2,\"delta\":{\"key\":\"\xe2\x82\xac\",\"value_b64\":\"/w==\",\"category\":\"hot\"}}");
}

static void assert_text(tb_span bytes, const char *expected)
{
	tb_auto(tb_buf_drop) tb_buf printed = { 0 };
	tb_json_text(&printed, bytes);
	cr_assert_str_eq(tb_buf_text(&printed), expected);
}

Test(event_json, strings_escape_only_what_they_must)
{
	assert_text(tb_span_of(NULL, 0), "\"\"");
	assert_text(tb_span_text("a/b \xe2\x86\x92 \x7f\xf0\x9d\x84\x9e"), "\"a/b \xe2\x86\x92 \x7f\xf0\x9d\x84\x9e\"");
	assert_text(tb_span_text("\"\\\b\f\n\r\t\x01\x1f"), "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\"");
	assert_text(tb_span_of("a\0b", 3), "\"a\\u0000b\"");
	assert_text(tb_span_text("x\xff\xe2\x86"), "\"x\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

Test(event_json, base64_has_its_padding)
{
	static const char *const expected[] = { "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" };
	for (size_t size = 0; size <= 6; size++) {
		tb_auto(tb_buf_drop) tb_buf printed = { 0 };
		tb_base64(&printed, tb_span_of("foobar", size));
		cr_assert_str_eq(tb_buf_text(&printed), expected[size]);
	}
}

Test(event_json, doubles_print_the_fewest_digits_that_read_back)
{
	static const struct {
		double value;
		const char *text;
	} rows[] = { { 0.1, "0.1" }, { 1, "1.0" }, { -0.0, "-0.0" }, { 0.3, "0.3" }, { 0.1 + 0.2, "0.30000000000000004" },
		     { 5e-324, "5e-324" }, { 1e300, "1e+300" }, { 0, "0.0" } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		tb_event event;
		tb_event_default(&event, TB_EVENT_ORBIT);
		event.body.orbit.orbit_type = "orbit_cycle";
		event.body.orbit.confidence = rows[i].value;
		char wanted[80];
		snprintf(wanted, sizeof(wanted), "\"confidence\":%s}}", rows[i].text);
		tb_auto(tb_buf_drop) tb_buf printed = { 0 };
		tb_event_to_json(&printed, &event, &nowhere);
		cr_assert_not_null(strstr(tb_buf_text(&printed), wanted), "%s", tb_buf_text(&printed));
	}
}

Test(event_json, a_number_that_is_none_prints_as_null)
{
	tb_auto(tb_buf_drop) tb_buf line = { 0 };
	tb_event event;
	tb_event_default(&event, TB_EVENT_GHOST);
	event.body.ghost.trigger = "t";
	event.body.ghost.event_type = "ghost_trigger";
	event.body.ghost.pair = "A" ARROW "B";
	event.body.ghost.confidence = __builtin_nan("");
	tb_event_place place = { .stream = "book" };
	tb_event_to_json(&line, &event, &place);
	cr_assert_not_null(strstr(tb_buf_text(&line), "\"confidence\":null"), "%s", tb_buf_text(&line));
}

Test(event_json, more_of_a_list_than_there_may_be_is_refused)
{
	tb_auto(tb_buf_drop) tb_buf line = { 0 };
	tb_buf_print(&line, "{\"tags\":[");
	for (int i = 0; i < 1000; i++)
		tb_buf_print(&line, "%s\"t\"", i ? "," : "");
	tb_buf_print(&line, "],\"delta\":{\"key\":\"k\",\"value\":\"v\"}}");
	assert_refused(tb_buf_text(&line), "too many");
}
