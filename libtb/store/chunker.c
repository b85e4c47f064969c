#include "store/chunker.h"

#include "base/bytes.h"
#include "tb/events.h"

static size_t varint_size(uint64_t value)
{
	size_t size = 1;
	for (; value >= 0x80; value >>= 7)
		size++;
	return size;
}

static size_t entry_size(tb_span key, tb_span value)
{
	return varint_size(key.size) + key.size + varint_size(value.size) + value.size;
}

/* Large entries are likelier to begin a chunk than small ones, so that bytes, not entries, decide the average. */
static int is_boundary(tb_span key, size_t entry)
{
	unsigned __int128 spread = (unsigned __int128)tb_check64(key.data, key.size) * (TB_CHUNK_AVERAGE - TB_CHUNK_MIN);
	return (uint64_t)(spread >> 64) < entry;
}

int tb_chunker_ends(const tb_chunker *chunker, tb_span key, tb_span value)
{
	size_t size = chunker->content.size, entry = entry_size(key, value);
	if (size == 0)
		return 0;
	if (size + entry > TB_CHUNK_MAX)
		return 1;
	return size >= TB_CHUNK_MIN && is_boundary(key, entry);
}

void tb_chunker_add(tb_chunker *chunker, tb_span key, tb_span value)
{
	tb_buf *content = &chunker->content;
	tb_buf_reserve(content, entry_size(key, value));
	tb_put_varint(content, key.size);
	tb_buf_append_span(content, key);
	tb_put_varint(content, value.size);
	tb_buf_append_span(content, value);
	if (chunker->entries++ == 0)
		tb_buf_append_span(&chunker->first_key, key);
	tb_buf_clear(&chunker->last_key);
	tb_buf_append_span(&chunker->last_key, key);
}

void tb_chunker_clear(tb_chunker *chunker)
{
	tb_buf_clear(&chunker->content);
	tb_buf_clear(&chunker->first_key);
	tb_buf_clear(&chunker->last_key);
	chunker->entries = 0;
}

void tb_chunker_drop(tb_chunker *chunker)
{
	if (chunker == NULL)
		return;
	tb_buf_drop(&chunker->content);
	tb_buf_drop(&chunker->first_key);
	tb_buf_drop(&chunker->last_key);
	chunker->entries = 0;
}

/* Size and that many bytes; 0 when they aren't there. */
static int take_sized(tb_span *rest, uint64_t least, uint64_t most, tb_span *ret_bytes)
{
	uint64_t size;
	if (!tb_get_varint(rest, &size) || size < least || size > most || size > rest->size)
		return 0;
	*ret_bytes = tb_span_of(rest->data, (size_t)size);
	*rest = tb_span_of(rest->data + size, rest->size - (size_t)size);
	return 1;
}

int tb_chunk_next(tb_span *chunk, tb_span *last, tb_span *ret_key, tb_span *ret_value)
{
	tb_span rest = *chunk, key, value;
	if (rest.size == 0)
		return 0;
	if (!take_sized(&rest, 1, TB_KEY_MAX, &key) || !take_sized(&rest, 0, TB_VALUE_MAX, &value))
		return -1;
	if (last->size > 0 && tb_span_compare(*last, key) >= 0)
		return -1;
	*chunk = rest;
	*last = *ret_key = key;
	*ret_value = value;
	return 1;
}
