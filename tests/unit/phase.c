/* Bit phases, flip patterns and hashes, against vectors where there are any. */
#include "leaks.h"
#include "wire/event.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>

TestSuite(phase, .fini = fail_on_leaks);

/* Facts from outside the tree: in the directory that TB_SHARED names, or beside the source. */
static json_t *load_vectors(const char *name)
{
	char path[4096];
	const char *shared = getenv("TB_SHARED");
	if (shared != NULL)
		snprintf(path, sizeof(path), "%s/vectors/%s", shared, name);
	else
		snprintf(path, sizeof(path), "%.*s../shared/vectors/%s",
		         (int)(strlen(__FILE__) - strlen("tests/unit/phase.c")), __FILE__, name);
	json_t *vectors = json_load_file(path, 0, NULL);
	if (vectors == NULL) {
		fprintf(stderr, "SKIPPED: no vectors at %s; set TB_SHARED\n", path);
		cr_skip("no vectors at %s", path);
	}
	return vectors;
}

static json_int_t whole(const json_t *row, const char *name)
{
	return json_integer_value(json_object_get(row, name));
}

Test(phase, patterns_are_those_of_the_vectors)
{
	json_t *vectors = load_vectors("bitflip_vectors.json"), *row;
	size_t i;
	char pattern[TB_FLIP_PATTERN_MAX];
	json_array_foreach(vectors, i, row) {
		cr_assert_eq(tb_flip_pattern(pattern, (uint64_t)whole(row, "value"), (uint32_t)whole(row, "bits"), NULL), TB_OK);
		cr_assert_str_eq(pattern, json_string_value(json_object_get(row, "pattern")));
	}
	cr_assert_gt(i, 0);
	json_decref(vectors);
}

Test(phase, values_are_those_of_the_vectors)
{
	static const struct {
		const char *name;
		uint32_t bit_phase;
	} phases[] = { { "phi4", 4 }, { "phi8", 8 }, { "phi32", 32 }, { "phi42", 42 } };
	json_t *vectors = load_vectors("bitphase_vectors.json"), *row;
	size_t i;
	json_array_foreach(vectors, i, row) {
		const char *hex = json_string_value(json_object_get(row, "sha256"));
		for (size_t p = 0; p < 4; p++) {
			if (json_object_get(row, phases[p].name) == NULL)
				continue;
			uint64_t value;
			tb_rc rc = hex ? tb_bit_phase_of_hash(hex, phases[p].bit_phase, &value, NULL)
			               : tb_bit_phase_of_id((uint64_t)whole(row, "strategy_id"), phases[p].bit_phase, &value, NULL);
			cr_assert_eq(rc, TB_OK);
			cr_assert_eq(value, (uint64_t)whole(row, phases[p].name));
		}
	}
	cr_assert_gt(i, 0);
	json_decref(vectors);
}

Test(phase, a_hash_gives_its_first_digits_as_a_value_of_a_phase_and_an_id_its_bits)
{
	static const struct {
		uint32_t bit_phase;
		int of_hash, of_id;
		uint64_t hash_value, id_value;
	} rows[] = {
		{ 4, 1, 1, 0xf, 0xc },
		{ 8, 1, 1, 0xfe, 0xab },
		{ 16, 0, 0, 0, 0 },
		{ 32, 0, 1, 0, 0x23456789 },
		{ 42, 1, 1, 0x3edcba98765, 0x123456789 },
	};
	const char *hash = "fedcba98765432100123456789abcdeffedcba98765432100123456789abcdef";
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint64_t value = 0;
		cr_expect_eq(tb_bit_phase_of_hash(hash, rows[i].bit_phase, &value, NULL), rows[i].of_hash ? TB_OK : TB_EINVAL);
		cr_expect_eq(value, rows[i].hash_value, "%u bits of the hash", rows[i].bit_phase);
		value = 0;
		cr_expect_eq(tb_bit_phase_of_id(0x123456789abc, rows[i].bit_phase, &value, NULL),
		             rows[i].of_id ? TB_OK : TB_EINVAL);
		cr_expect_eq(value, rows[i].id_value, "%u bits of the id", rows[i].bit_phase);
	}
}

Test(phase, hashes_are_those_of_the_vectors)
{
	json_t *vectors = load_vectors("hash_vectors.json"), *row;
	size_t i;
	json_array_foreach(vectors, i, row) {
		uint8_t hash[TB_HASH];
		char hex[2 * TB_HASH + 1];
		tb_event_hash(tb_span_text(json_string_value(json_object_get(row, "preimage"))), hash);
		tb_hex(hex, hash, TB_HASH);
		cr_assert_str_eq(hex, json_string_value(json_object_get(row, "sha256")));
	}
	cr_assert_gt(i, 0);
	json_decref(vectors);
}

Test(phase, patterns_have_their_limits)
{
	char pattern[TB_FLIP_PATTERN_MAX];
	cr_assert_eq(tb_flip_pattern(pattern, 16, 4, NULL), TB_EINVAL);
	cr_assert_eq(tb_flip_pattern(pattern, 0, 0, NULL), TB_EINVAL);
	cr_assert_eq(tb_flip_pattern(pattern, 0, 65, NULL), TB_EINVAL);
	cr_assert_eq(tb_flip_pattern(pattern, UINT64_MAX, 64, NULL), TB_OK);
	cr_assert_eq(strlen(pattern), 130);
}

Test(phase, volatility_chooses_and_other_phases_have_no_value)
{
	static const struct {
		double volatility;
		uint32_t bit_phase;
	} rows[] = { { 0, 4 }, { 0.0999, 4 }, { 0.1, 8 }, { 0.2, 16 }, { 0.3, 32 }, { 0.39, 32 }, { 0.4, 42 }, { 9, 42 } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		cr_assert_eq(tb_bit_phase_of_volatility(rows[i].volatility), rows[i].bit_phase);
	uint64_t value = 7;
	char hex[65];
	memset(hex, 'a', 64);
	hex[64] = '\0';
	cr_assert_eq(tb_bit_phase_of_hash(hex, 16, &value, NULL), TB_EINVAL);
	cr_assert_eq(tb_bit_phase_of_id(1, 16, &value, NULL), TB_EINVAL);
	hex[63] = 'g';
	cr_assert_eq(tb_bit_phase_of_hash(hex, 4, &value, NULL), TB_EINVAL);
	cr_assert_eq(tb_bit_phase_of_hash("", 4, &value, NULL), TB_EINVAL);
	cr_assert_eq(value, 7);
}
