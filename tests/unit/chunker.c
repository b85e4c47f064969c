#include "store/chunker.h"

#include "base/bytes.h"
#include "store_fixture.h"
#include "tb/events.h"

struct state { /* keys in order, values of the given size filled with a byte */
	char (*keys)[16];
	uint8_t *fills;
	size_t count;
};

static struct state state_make(size_t count)
{
	struct state state = { tb_alloc_zero(count, 16), tb_alloc_zero(count, 1), count };
	for (size_t i = 0; i < count; i++)
		snprintf(state.keys[i], 16, "key:%08zu", i * 10);
	return state;
}

static void state_free(struct state *state)
{
	free(state->keys);
	free(state->fills);
}

struct cut {
	uint64_t check;
	size_t size;
	char first[16];
};

/* Cuts the state, with `more` in its place if not NULL. */
static size_t cut_all(const struct state *state, size_t value_size, const char *more, struct cut *cuts, size_t max)
{
	tb_chunker chunker = { 0 };
	uint8_t *value = tb_alloc_zero(1, value_size);
	size_t count = 0;
	for (size_t i = 0; i <= state->count; i++) {
		for (int twice = more != NULL && i < state->count && strcmp(more, state->keys[i]) < 0; twice >= 0; twice--) {
			const char *key = twice ? more : i < state->count ? state->keys[i] : NULL;
			if (twice)
				more = NULL;
			memset(value, i < state->count ? state->fills[i] : 0, value_size);
			tb_span content = tb_span_of(value, value_size);
			if (key == NULL || tb_chunker_ends(&chunker, tb_span_text(key), content)) {
				cr_assert_lt(count, max);
				cuts[count] = (struct cut){ tb_check64(chunker.content.data, chunker.content.size), chunker.content.size, "" };
				memcpy(cuts[count++].first, chunker.first_key.data, chunker.first_key.size);
				tb_chunker_clear(&chunker);
			}
			if (key != NULL)
				tb_chunker_add(&chunker, tb_span_text(key), content);
		}
	}
	free(value);
	tb_chunker_drop(&chunker);
	return count;
}

enum { MAX = 256 };

static size_t changed(const struct cut *before, size_t before_count, const struct cut *after, size_t after_count)
{
	size_t count = 0;
	for (size_t i = 0; i < after_count; i++) {
		int found = 0;
		for (size_t j = 0; j < before_count; j++)
			found |= before[j].check == after[i].check;
		count += !found;
	}
	return count;
}

Test(chunker, a_changed_value_keeps_every_boundary_and_moves_its_chunk_alone)
{
	struct state state = state_make(100000);
	struct cut before[MAX], after[MAX];
	size_t count = cut_all(&state, 200, NULL, before, MAX);
	cr_assert_gt(count, 10);
	for (size_t i = 7; i < state.count; i += 9999) {
		state.fills[i] ^= 0xff;
		cr_assert_eq(cut_all(&state, 200, NULL, after, MAX), count);
		for (size_t j = 0; j < count; j++)
			cr_assert_str_eq(before[j].first, after[j].first);
		cr_assert_eq(changed(before, count, after, count), 1);
		state.fills[i] ^= 0xff;
	}
	state_free(&state);
}

Test(chunker, an_inserted_key_moves_only_chunks_beside_it)
{
	struct state state = state_make(100000);
	struct cut before[MAX], after[MAX];
	size_t count = cut_all(&state, 200, NULL, before, MAX);
	size_t moved = 0, rounds = 0;
	for (size_t i = 7; i < state.count; i += 4999, rounds++) {
		char key[16];
		snprintf(key, sizeof(key), "key:%08zu", i * 10 + 5);
		size_t with = cut_all(&state, 200, key, after, MAX);
		size_t here = changed(before, count, after, with);
		cr_assert(here >= 1 && here <= 3, "%zu chunks moved by one key", here);
		moved += here;
	}
	cr_assert_lt(moved, 2 * rounds);
	state_free(&state);
}

Test(chunker, sizes_are_within_bounds_and_near_the_average)
{
	for (size_t value_size = 0; value_size <= 100000; value_size = value_size * 10 + 10) {
		struct state state = state_make(value_size < 100 ? 1000000 : 50000000 / value_size);
		struct cut cuts[MAX];
		size_t count = cut_all(&state, value_size, NULL, cuts, MAX), all = 0;
		for (size_t i = 0; i < count; i++) {
			cr_assert_leq(cuts[i].size, TB_CHUNK_MAX);
			cr_assert(i == count - 1 || cuts[i].size >= TB_CHUNK_MIN);
			all += cuts[i].size;
		}
		size_t average = all / count;
		cr_assert(average > TB_CHUNK_AVERAGE / 2 && average < TB_CHUNK_AVERAGE * 2, "values of %zu: %zu", value_size, average);
		state_free(&state);
	}
}

Test(chunker, an_entry_larger_than_a_chunk_stands_alone)
{
	tb_chunker chunker = { 0 };
	tb_span large = tb_span_of(tb_alloc_zero(1, TB_CHUNK_MAX), TB_CHUNK_MAX);
	cr_assert(!tb_chunker_ends(&chunker, tb_span_text("a"), large));
	tb_chunker_add(&chunker, tb_span_text("a"), large);
	cr_assert(tb_chunker_ends(&chunker, tb_span_text("b"), tb_span_text("")));
	tb_chunker_clear(&chunker);
	tb_chunker_add(&chunker, tb_span_text("a"), tb_span_text("small"));
	cr_assert(tb_chunker_ends(&chunker, tb_span_text("b"), large));
	tb_chunker_drop(&chunker);
	free((void *)large.data);
}

Test(chunker, entries_come_back_as_they_went_in)
{
	static const char *const keys[] = { "a", "ab", "b", "\xff" };
	static const char *const values[] = { "1", "", "with = and\nlines", "\x01\x02" };
	tb_chunker chunker = { 0 };
	for (int i = 0; i < 4; i++)
		tb_chunker_add(&chunker, tb_span_text(keys[i]), tb_span_text(values[i]));
	cr_assert_eq(chunker.entries, 4);
	cr_assert(tb_span_equal(tb_buf_span(&chunker.first_key), tb_span_text("a")));
	cr_assert(tb_span_equal(tb_buf_span(&chunker.last_key), tb_span_text("\xff")));
	tb_span rest = tb_buf_span(&chunker.content), last = { 0 }, key, value;
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(tb_chunk_next(&rest, &last, &key, &value), 1);
		cr_assert(tb_span_equal(key, tb_span_text(keys[i])) && tb_span_equal(value, tb_span_text(values[i])));
	}
	cr_assert_eq(tb_chunk_next(&rest, &last, &key, &value), 0);
	tb_chunker_drop(&chunker);
}

static int walk(tb_span rest)
{
	tb_span last = { 0 }, key, value;
	int more;
	while ((more = tb_chunk_next(&rest, &last, &key, &value)) > 0)
		cr_assert(key.size >= 1 && key.size <= TB_KEY_MAX && value.size <= TB_VALUE_MAX);
	return more;
}

static void bytes_of(tb_buf *to, const char *key, size_t key_size, const char *value, size_t value_size)
{
	tb_put_varint(to, key_size);
	tb_buf_append(to, key, strnlen(key, key_size));
	tb_put_varint(to, value_size);
	tb_buf_append(to, value, strnlen(value, value_size));
}

Test(chunker, bytes_that_are_no_chunk_are_refused)
{
	static const struct {
		const char *keys[2];
		size_t key_size, value_size;
	} rows[] = {
		{ { "b", "a" }, 1, 1 },             /* descending */
		{ { "a", "a" }, 1, 1 },             /* twice */
		{ { "", "a" }, 0, 1 },              /* an empty key */
		{ { "a", "b" }, TB_KEY_MAX + 1, 1 }, /* sizes out of bounds, or beyond the end */
		{ { "a", "b" }, 1, TB_VALUE_MAX + 1 },
		{ { "a", "b" }, SIZE_MAX, 1 },
		{ { "a", "b" }, 1, SIZE_MAX },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tb_buf bytes = { 0 };
		for (int j = 0; j < 2; j++)
			bytes_of(&bytes, rows[i].keys[j], rows[i].key_size, "v", rows[i].value_size);
		cr_assert_eq(walk(tb_buf_span(&bytes)), -1, "row %zu", i);
		tb_buf_drop(&bytes);
	}
}

static void walk_cut(void *ends, tb_span cut, size_t at)
{
	(void)at;
	*(int *)ends += walk(cut) == 0;
}

static void walk_flipped(void *context, tb_span flipped, size_t at)
{
	(void)context;
	(void)at;
	walk(flipped); /* stays within bounds; that the bytes are the right ones is the object's affair */
}

Test(chunker, a_chunk_cut_anywhere_but_between_entries_is_refused_and_flips_stay_within_bounds)
{
	tb_buf bytes = { 0 };
	int ends = 0;
	bytes_of(&bytes, "alpha", 5, "one", 3);
	bytes_of(&bytes, "beta", 4, "", 0);
	bytes_of(&bytes, "gamma", 5, "three", 5);
	each_cut(tb_buf_span(&bytes), walk_cut, &ends);
	cr_assert_eq(ends, 3); /* nothing, one, and two entries */
	each_flip(tb_buf_span(&bytes), walk_flipped, NULL);
	tb_buf_drop(&bytes);
}

/* Made with Python's hashlib.blake2b(digest_size=32): the sum modulo 2**256, little-endian, over
 * (b"key", b"value"), (b"k2", b""), (b"\x00\xff", b"x" * 300). */
static const char vector[] = "ac310bc7bd4f9d96337433832ce66684d464ce3b3da291fadf44a4b6b63f2ebd";

Test(sum, agrees_with_an_independent_computation)
{
	char xs[300], text[65];
	tb_sum sum = { 0 };
	memset(xs, 'x', sizeof(xs));
	tb_sum_add(&sum, tb_span_text("key"), tb_span_text("value"));
	tb_sum_add(&sum, tb_span_text("k2"), tb_span_text(""));
	tb_sum_add(&sum, tb_span_of("\x00\xff", 2), tb_span_of(xs, sizeof(xs)));
	tb_hex(text, sum.bytes, sizeof(sum.bytes));
	cr_assert_str_eq(text, vector);
}

Test(sum, adding_and_subtracting_is_nothing_in_any_order)
{
	static const char *const keys[] = { "a", "b", "c", "d", "e" };
	tb_sum one = { 0 }, other = { 0 }, zero = { 0 };
	for (int i = 0; i < 5; i++) {
		tb_sum_add(&one, tb_span_text(keys[i]), tb_span_text("v"));
		tb_sum_add(&other, tb_span_text(keys[4 - i]), tb_span_text("v"));
	}
	cr_assert_arr_eq(one.bytes, other.bytes, 32);
	for (int i = 0; i < 5; i++)
		tb_sum_subtract(&one, tb_span_text(keys[(i * 2) % 5]), tb_span_text("v"));
	cr_assert_arr_eq(one.bytes, zero.bytes, 32);
	tb_sum_subtract(&one, tb_span_text("a"), tb_span_text("v"));
	tb_sum_add(&one, tb_span_text("a"), tb_span_text("v"));
	cr_assert_arr_eq(one.bytes, zero.bytes, 32);
}

Test(sum, tells_where_a_key_ends)
{
	tb_sum one = { 0 }, other = { 0 };
	tb_sum_add(&one, tb_span_text("ab"), tb_span_text("c"));
	tb_sum_add(&other, tb_span_text("a"), tb_span_text("bc"));
	cr_assert(memcmp(one.bytes, other.bytes, 32) != 0);
}
