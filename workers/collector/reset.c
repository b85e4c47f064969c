#include "workers/collector/collector.h"

#include "base/log.h"

/* Empties the database beside the state. LMDB walks it, in this turn's transaction: with tens of millions of keys that
 * takes a second or so in which nothing else of the collector moves. It happens once a reset, and in pieces it would
 * need a third database and a record of how far it is. */
static tb_rc empty_beside(tb_turn *turn, tb_stream *stream, tb_err *err)
{
	stream->reset_begin = stream->reset_epoch = stream->beside_keys = 0;
	stream->beside_sum = (tb_sum){ 0 };
	stream->dirty = 1;
	return tb_txn_empty(turn->txn, stream->beside, err);
}

/* Deltas of this turn that wait go where they were meant to, before that changes. */
static tb_rc discard(tb_collector *collector, tb_turn *turn, tb_stream *stream, const char *why, tb_err *err)
{
	tb_log(TB_LOG_WARN, "stream %s: the reset begun at event %llu is discarded: %s", stream->name,
	       (unsigned long long)stream->reset_begin, why);
	tb_rc rc = apply_flush(collector, turn, stream, err);
	return rc == TB_OK ? empty_beside(turn, stream, err) : rc;
}

tb_rc reset_see(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint16_t flags, uint64_t epoch, tb_err *err)
{
	if (stream->reset_begin == 0 || !tb_events_discard(flags, epoch, stream->reset_epoch))
		return TB_OK;
	return discard(collector, turn, stream, "its publisher went before the commit", err);
}

tb_rc reset_begin(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t number, uint64_t epoch,
                  tb_err *err)
{
	tb_rc rc = stream->reset_begin != 0 ? discard(collector, turn, stream, "another one begins", err)
	                                    : apply_flush(collector, turn, stream, err);
	if (rc != TB_OK)
		return rc;
	stream->reset_begin = number;
	stream->reset_epoch = epoch;
	stream->dirty = 1;
	return TB_OK;
}

/* The two databases change places, and what was the state is let go. */
tb_rc reset_commit(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	tb_rc rc = apply_flush(collector, turn, stream, err);
	if (rc != TB_OK)
		return rc;
	tb_db state = stream->beside;
	stream->beside = stream->state;
	stream->state = state;
	stream->swapped = !stream->swapped;
	stream->sum = stream->beside_sum;
	stream->keys = stream->beside_keys;
	return empty_beside(turn, stream, err);
}
