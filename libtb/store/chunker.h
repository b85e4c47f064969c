/* Chunks: a state in key order, cut into pieces by content.
 *
 * Entry: varint key size, key, varint value size, value. A chunk is entries one behind the other, keys ascending and
 * none twice. It ends before an entry of n bytes when it holds at least one, and
 *   it would have more than CHUNK_MAX bytes with it (so a larger entry stands alone), or
 *   it has at least CHUNK_MIN bytes and  floor(check64(key) × (CHUNK_AVERAGE - CHUNK_MIN) / 2^64) < n:
 * on average CHUNK_AVERAGE bytes, whatever the entries' sizes. Only the key's bytes and the entry's size count, so that
 * boundaries follow the keys: a changed value moves its own chunk, an inserted key the chunks around it. */
#ifndef TB_STORE_CHUNKER_H
#define TB_STORE_CHUNKER_H

#include "base/buf.h"
#include "base/err.h"

#define TB_CHUNK_MIN (256u * 1024)
#define TB_CHUNK_AVERAGE (1024u * 1024)
#define TB_CHUNK_MAX (4u * 1024 * 1024)

typedef struct tb_chunker {
	tb_buf content;
	tb_buf first_key, last_key;
	uint64_t entries;
} tb_chunker; /* { 0 } is a new one */

/* Does the chunk end before this entry? Ask before add. An empty chunk never does. */
int tb_chunker_ends(const tb_chunker *chunker, tb_span key, tb_span value);
void tb_chunker_add(tb_chunker *chunker, tb_span key, tb_span value);
void tb_chunker_clear(tb_chunker *chunker);
void tb_chunker_drop(tb_chunker *chunker);

/* The next entry of a chunk, which is advanced. 1, 0 at the end, -1 when the bytes aren't a chunk (sizes out of bounds:
 * 1..TB_KEY_MAX, TB_VALUE_MAX; keys not ascending). *last is the previous key, { 0 } at first, kept by the call: hand it
 * on to the next chunk and a whole backup's keys are checked to ascend. */
int tb_chunk_next(tb_span *chunk, tb_span *last, tb_span *ret_key, tb_span *ret_value);

/* State sum: the sum modulo 2^256 of BLAKE2b-256(u32 key size ‖ key ‖ u32 value size ‖ value), all little-endian. */
typedef struct tb_sum {
	uint8_t bytes[32]; /* little-endian */
} tb_sum;
void tb_sum_add(tb_sum *sum, tb_span key, tb_span value);
void tb_sum_subtract(tb_sum *sum, tb_span key, tb_span value);

#endif
