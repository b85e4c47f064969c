#include "workers/sealer/sealer.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static tb_buf packed(size_t content_size)
{
	static uint8_t content[300], plan[16] = { 1, 2, 3 }, period[40] = { 9 };
	tb_buf body = { 0 };
	Tb__Chunk chunk = TB__CHUNK__INIT;
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)(i * 7);
	chunk.stream = (char *)(uintptr_t)"book";
	chunk.backup = (char *)(uintptr_t)"FUL_1";
	chunk.plan = (ProtobufCBinaryData){ sizeof(plan), plan };
	chunk.index = 300;
	chunk.content = (ProtobufCBinaryData){ content_size, content };
	chunk.period = (ProtobufCBinaryData){ sizeof(period), period };
	tb_buf_reserve(&body, tb__chunk__get_packed_size(&chunk));
	body.size = tb__chunk__pack(&chunk, body.data);
	return body;
}

static int same(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
	return tb_span_equal(tb_span_of(a.data, a.len), tb_span_of(b.data, b.len));
}

/* What it makes of the bytes is what unpacking makes of them, or nothing. A copy of exactly their size, so that a
 * sanitizer sees whoever reads on. 1: something. */
static int reads_as_unpacked(tb_span bytes)
{
	tb_arena *arena = tb_arena_new();
	uint8_t *copy = malloc(bytes.size + (bytes.size == 0));
	memcpy(copy, bytes.data, bytes.size);
	Tb__Chunk *chunk = sealer_read_chunk(tb_span_of(copy, bytes.size), arena);
	Tb__Chunk *whole = tb__chunk__unpack(tb_arena_allocator(arena), bytes.size, copy);
	if (chunk != NULL) {
		cr_assert_not_null(whole);
		cr_assert_str_eq(chunk->stream, whole->stream);
		cr_assert_str_eq(chunk->backup, whole->backup);
		cr_assert_eq(chunk->index, whole->index);
		cr_assert(same(chunk->plan, whole->plan) && same(chunk->period, whole->period));
		cr_assert(same(chunk->content, whole->content));
	}
	int some = chunk != NULL;
	tb_arena_free(arena);
	free(copy);
	return some;
}

Test(sealer_chunk, its_content_stays_where_it_is)
{
	tb_buf body = packed(300);
	tb_arena *arena = tb_arena_new();
	Tb__Chunk *chunk = sealer_read_chunk(tb_buf_span(&body), arena);
	cr_assert_not_null(chunk);
	cr_assert_eq(chunk->content.len, 300);
	cr_assert(chunk->content.data > body.data && chunk->content.data < body.data + body.size);
	cr_assert_eq(chunk->index, 300);
	cr_assert_eq(chunk->period.len, 40);
	tb_arena_free(arena);
	tb_buf_drop(&body);
}

Test(sealer_chunk, cut_at_every_length_it_is_what_unpacking_gives_or_nothing)
{
	tb_buf body = packed(300);
	size_t some = 0;
	for (size_t size = 0; size <= body.size; size++)
		some += (size_t)reads_as_unpacked(tb_span_of(body.data, size));
	cr_assert_eq(some, 7, "between fields it may end: %zu", some);
	tb_buf_drop(&body);
}

Test(sealer_chunk, with_any_bit_flipped_it_is_what_unpacking_gives_or_nothing)
{
	tb_buf body = packed(20);
	for (size_t bit = 0; bit < body.size * 8; bit++) {
		body.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		reads_as_unpacked(tb_buf_span(&body));
		body.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	cr_assert(reads_as_unpacked(tb_buf_span(&body)));
	tb_buf_drop(&body);
}

Test(sealer_chunk, a_tag_or_size_of_more_than_five_bytes_is_refused_as_unpacking_does)
{
	static const uint8_t tag[] = { 0xaa, 0x80, 0x80, 0x80, 0x80, 0x00, 0x01, 'x' };
	static const uint8_t size[] = { 0x2a, 0x81, 0x80, 0x80, 0x80, 0x80, 0x00, 'x' };
	static const uint8_t five[] = { 0xaa, 0x80, 0x80, 0x80, 0x00, 0x81, 0x80, 0x80, 0x80, 0x00, 'x' };
	cr_assert_not(reads_as_unpacked(tb_span_of(tag, sizeof(tag))));
	cr_assert_not(reads_as_unpacked(tb_span_of(size, sizeof(size))));
	cr_assert(reads_as_unpacked(tb_span_of(five, sizeof(five))));
}
