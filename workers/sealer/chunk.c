#include "workers/sealer/sealer.h"

#include "base/bytes.h"

#define CONTENT_TAG 0x2a /* of Chunk.content: field 5, length-delimited */
#define SHORT_MAX 5      /* bytes of a tag or size: no reader of these messages takes longer ones */

/* A field, of those that a Chunk has: a number or bytes. *ret_bytes is set for bytes. */
static int next_field(tb_span *from, uint64_t *ret_tag, tb_span *ret_bytes)
{
	uint64_t value;
	const uint8_t *begin = from->data;
	if (!tb_get_varint(from, ret_tag) || from->data - begin > SHORT_MAX || (*ret_tag & 5) != 0)
		return 0;
	begin = from->data;
	if (!tb_get_varint(from, &value))
		return 0;
	if ((*ret_tag & 7) == 0)
		return 1;
	if (value > from->size || from->data - begin > SHORT_MAX)
		return 0;
	*ret_bytes = tb_span_of(from->data, (size_t)value);
	*from = tb_span_of(from->data + value, from->size - (size_t)value);
	return 1;
}

Tb__Chunk *sealer_read_chunk(tb_span body, tb_arena *arena)
{
	tb_auto(tb_buf_drop) tb_buf others = { 0 };
	tb_span rest = body, content = { 0 }, bytes = { 0 };
	uint64_t tag;
	while (rest.size > 0) {
		const uint8_t *begin = rest.data;
		if (!next_field(&rest, &tag, &bytes))
			return NULL;
		if (tag == CONTENT_TAG)
			content = bytes;
		else
			tb_buf_append(&others, begin, (size_t)(rest.data - begin));
	}
	Tb__Chunk *chunk = tb__chunk__unpack(tb_arena_allocator(arena), others.size, others.data);
	if (chunk != NULL)
		chunk->content = (ProtobufCBinaryData){ content.size, (uint8_t *)(uintptr_t)content.data };
	return chunk;
}
