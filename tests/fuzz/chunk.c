/* Chunks of state: entries in order, which laid into a chunk again read the same. */
#include "fuzz/fuzz.h"

#include "store/chunker.h"
#include "tb/events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tb_chunker again = { 0 };
	tb_span chunk = tb_span_of(data, size), last = { 0 }, key, value;
	tb_sum sum = { { 0 } }, zero = { { 0 } };
	int more;
	while ((more = tb_chunk_next(&chunk, &last, &key, &value)) > 0) {
		hold(key.size >= 1 && key.size <= TB_KEY_MAX && value.size <= TB_VALUE_MAX);
		hold(value.data + value.size == chunk.data && chunk.data + chunk.size == data + size);
		hold(again.entries == 0 || tb_span_compare(tb_buf_span(&again.last_key), key) < 0);
		tb_chunker_ends(&again, key, value);
		tb_chunker_add(&again, key, value);
		tb_sum_add(&sum, key, value);
	}
	hold(more < 0 || chunk.size == 0);
	hold(more < 0 || again.content.size <= size); /* sizes may be longer varints than they need be */
	tb_span rest = tb_buf_span(&again.content);
	for (last = (tb_span){ 0 }; (more = tb_chunk_next(&rest, &last, &key, &value)) > 0; again.entries--)
		tb_sum_subtract(&sum, key, value);
	hold(more == 0 && again.entries == 0);
	hold(memcmp(&sum, &zero, sizeof(sum)) == 0);
	tb_chunker_drop(&again);
	return 0;
}
