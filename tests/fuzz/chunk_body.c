/* A chunk as a sealer gets it: read in place it is what unpacking makes of the same bytes, or nothing. What was packed
 * here is read. */
#include "fuzz/fuzz.h"

#include "workers/sealer/sealer.h"

static tb_arena *arena;

static int same(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
	return tb_span_equal(tb_span_of(a.data, a.len), tb_span_of(b.data, b.len));
}

static void compare(const Tb__Chunk *chunk, const Tb__Chunk *whole)
{
	hold(strcmp(chunk->stream, whole->stream) == 0 && strcmp(chunk->backup, whole->backup) == 0);
	hold(chunk->index == whole->index && same(chunk->plan, whole->plan));
	hold(same(chunk->period, whole->period) && same(chunk->content, whole->content));
}

static void read_packed(Tb__Chunk *whole)
{
	tb_auto(tb_buf_drop) tb_buf body = { 0 };
	whole->base.n_unknown_fields = 0;
	tb_buf_reserve(&body, tb__chunk__get_packed_size(whole) + 1);
	body.size = tb__chunk__pack(whole, body.data);
	Tb__Chunk *chunk = sealer_read_chunk(tb_buf_span(&body), arena);
	hold(chunk != NULL);
	compare(chunk, whole);
	hold(chunk->content.len == 0 ||
	     (chunk->content.data > body.data && chunk->content.data + chunk->content.len <= body.data + body.size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tb_span body = tb_span_of(data, size);
	arena = arena ? arena : tb_arena_new();
	const Tb__Chunk *chunk = sealer_read_chunk(body, arena);
	Tb__Chunk *whole = tb__chunk__unpack(tb_arena_allocator(arena), body.size, body.data);
	if (chunk != NULL) {
		hold(whole != NULL);
		compare(chunk, whole);
	}
	if (whole != NULL)
		read_packed(whole);
	tb_arena_reset(arena);
	return 0;
}
