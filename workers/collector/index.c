/* Hashes of events into the stream's index: gathered while the events of a turn are applied, added at its end, in the
 * same transaction: what is applied is indexed. */
#include "workers/collector/collector.h"

#include "base/bytes.h"

#include <stdlib.h>

#define ROOM_KEPT 4096u
/* Merging keeps step with what comes in, which is merged four to five times in all; without anything new a turn merges
 * what takes some milliseconds. */
#define MERGE_LEAST 32768u
#define MERGE_FOR_EACH 4u

void index_note(tb_stream *stream, const uint8_t backup_hash[TB_HASH], uint64_t number)
{
	if (stream->hash_count == stream->hash_room) {
		stream->hash_room = stream->hash_room ? stream->hash_room * 2 : ROOM_KEPT;
		stream->hashes = tb_realloc(stream->hashes, stream->hash_room * sizeof(*stream->hashes));
	}
	tb_index_entry_fill(&stream->hashes[stream->hash_count++], backup_hash, number);
}

static void forget_hashes(tb_stream *stream)
{
	stream->hash_count = 0;
	if (stream->hash_room <= ROOM_KEPT)
		return;
	free(stream->hashes); /* a large turn's room isn't kept */
	stream->hashes = NULL;
	stream->hash_room = 0;
}

tb_rc index_step(tb_turn *turn, tb_stream *stream, int *ret_more, tb_err *err)
{
	size_t count = stream->hash_count;
	tb_rc rc = TB_OK;
	if (count > 0)
		rc = tb_event_index_add(stream->index, turn->txn, stream->hashes, stream->applied - count + 1, stream->applied,
		                        err);
	forget_hashes(stream);
	if (rc != TB_OK)
		return rc;
	return tb_event_index_merge(stream->index, turn->txn, MERGE_LEAST + MERGE_FOR_EACH * count, ret_more, err);
}

void index_drop(tb_stream *stream)
{
	tb_event_index_free(stream->index);
	free(stream->hashes);
}
