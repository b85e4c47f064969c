#include "workers/collector/rebuild_parts.h"

#include "base/planted.h"

static tb_rc lay_entries(tb_turn *turn, tb_stream *stream, tb_span plain, tb_err *err)
{
	tb_span last = { 0 }, key, value;
	int more;
	while ((more = tb_chunk_next(&plain, &last, &key, &value)) > 0) {
		tb_rc rc = tb_txn_append(turn->txn, stream->state, key, value, err);
		if (rc == TB_EINVAL)
			return tb_fail(err, TB_ECORRUPT, "a chunk's keys don't go on from the one before");
		if (rc != TB_OK)
			return rc;
		tb_sum_add(&stream->sum, key, value);
		stream->keys++;
	}
	return more == 0 ? TB_OK : tb_fail(err, TB_ECORRUPT, "a chunk's entries aren't whole, or their keys don't ascend");
}

tb_rc lay_chunk(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__ObjectRef *object, tb_span plain,
                tb_err *err)
{
	tb_rc rc = lay_entries(turn, stream, plain, err);
	if (rc == TB_OK)
		rc = dedup_note(collector, turn, stream->rebuild->full, object, plain, err);
	stream->rebuild_chunk++;
	stream->dirty = 1;
	return rc;
}

struct laying {
	tb_collector *collector;
	tb_turn *turn;
	tb_stream *stream;
	uint64_t replay_from;
};

static tb_rc lay_event(void *context, const tb_archived_event *event, tb_err *err)
{
	struct laying *laying = context;
	return apply_archived(laying->collector, laying->turn, laying->stream, event, laying->replay_from, err);
}

/* Until the backup's own event the state is a mixture, and no sum means anything. */
static tb_rc compare_sum(const tb_stream *stream, const tb_read_entry *segment, tb_err *err)
{
	const tb_rebuild *rebuild = stream->rebuild;
	const Tb__ManifestPrivate *recorded = segment->private_part;
	if ((rebuild->full != NULL && segment->manifest->to < rebuild->full->to) || TB_PLANTED(21))
		return TB_OK;
	if (recorded->sum.len == sizeof(tb_sum) && memcmp(recorded->sum.data, stream->sum.bytes, sizeof(tb_sum)) == 0 &&
	    recorded->keys == stream->keys)
		return TB_OK;
	return tb_fail(err, TB_ECORRUPT, "the state at event %llu of stream %s isn't the one that segment %s recorded: their "
	               "sums differ", tb_ull(segment->manifest->to), stream->name, segment->manifest->backup);
}

static tb_rc lay_heads(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__ManifestPrivate *private_part,
                       tb_err *err)
{
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < private_part->n_heads; i++)
		rc = apply_head(collector, turn, stream, private_part->heads[i], err);
	return rc;
}

static tb_rc lay_events(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_read_entry *segment,
                        tb_err *err)
{
	const Tb__Manifest *full = stream->rebuild->full;
	struct laying laying = { collector, turn, stream, full != NULL ? full->from : 1 };
	int more;
	laying.replay_from += TB_PLANTED(21);
	tb_rc rc = tb_segment_events(tb_buf_span(&segment->plain), segment->manifest, lay_event, &laying, err);
	if (rc == TB_OK)
		rc = apply_flush(collector, turn, stream, err); /* what waits borrows from the segment */
	stream->applied = segment->manifest->to;
	if (rc == TB_OK)
		rc = index_step(turn, stream, &more, err);
	return rc;
}

tb_rc lay_segment(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_read_entry *segment, tb_err *err)
{
	const Tb__Manifest *manifest = segment->manifest;
	if (manifest->from != stream->applied + 1)
		return tb_fail(err, TB_ECORRUPT, "events %llu..%llu of stream %s are in no segment", tb_ull(stream->applied + 1),
		               tb_ull(manifest->from - 1), stream->name);
	tb_rc rc = lay_events(collector, turn, stream, segment, err);
	if (rc == TB_OK)
		rc = lay_heads(collector, turn, stream, segment->private_part, err);
	if (rc == TB_OK)
		rc = compare_sum(stream, segment, err);
	if (rc == TB_OK && manifest->to > stream->rebuild->finished)
		rc = segment_await(collector, turn, stream, manifest, err);
	stream->effective_ns = manifest->time_to_ns;
	stream->stamp_ns = manifest->stamp_to_ns;
	stream->dirty = 1;
	return rc;
}
