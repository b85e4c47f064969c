/* Does a bank go on from where the broker says that its stream stands?
 *
 * Between two grants another collector may have held the stream: then what this bank made and hadn't put may contradict
 * what that one put. It doesn't as long as
 *   the bank has applied everything that is finished;
 *   the newest manifest that the broker has is the one that this bank has under that number;
 *   the last cut that the broker has ends where one of this bank's segments ends, or nothing of the open segment has
 *   been applied: then segments are cut again where they were cut.
 * "links" keeps the hashes of manifests that may not have been put: by stream, number in the chain (u64 big-endian). */
#include "workers/collector/collector.h"

#include "base/planted.h"

tb_rc agree_remember(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	uint8_t key[16];
	return tb_txn_put(turn->txn, collector->links_db, collector_key(key, stream, stream->chain),
	                  tb_span_of(stream->manifest_hash, TB_HASH_SIZE), err);
}

/* A manifest that is stored was put, and all before it. */
tb_rc agree_forget(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t chain, tb_err *err)
{
	uint8_t key[16];
	tb_rc rc = TB_OK;
	while (rc == TB_OK && chain-- > 1)
		rc = tb_txn_delete(turn->txn, collector->links_db, collector_key(key, stream, chain), err);
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

static int is_hash(ProtobufCBinaryData told, const uint8_t *hash)
{
	return told.len == TB_HASH_SIZE && memcmp(told.data, hash, TB_HASH_SIZE) == 0;
}

static tb_rc check_chain(tb_collector *collector, tb_turn *turn, const tb_stream *stream, const Tb__Grant *grant,
                         int *ret_agrees, tb_err *err)
{
	uint8_t key[16];
	tb_span hash;
	*ret_agrees = grant->chain == 0 ||
	              (grant->chain == stream->chain && is_hash(grant->manifest_hash, stream->manifest_hash));
	if (*ret_agrees || grant->chain >= stream->chain)
		return TB_OK;
	tb_rc rc = tb_txn_get(turn->txn, collector->links_db, collector_key(key, stream, grant->chain), &hash, err);
	*ret_agrees = rc == TB_OK && hash.size == TB_HASH_SIZE && is_hash(grant->manifest_hash, hash.data);
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

/* Segments are dense: one ends where the next one begins. */
static tb_rc check_cut(tb_collector *collector, tb_turn *turn, const tb_stream *stream, const Tb__Grant *grant,
                       int *ret_agrees, tb_err *err)
{
	uint8_t key[16];
	tb_span value;
	if (grant->cut >= stream->segment_from) {
		*ret_agrees = stream->applied < stream->segment_from || segment_is_recut(stream);
		return TB_OK;
	}
	*ret_agrees = grant->cut == stream->segment_from - 1 || grant->cut == stream->stored;
	if (*ret_agrees)
		return TB_OK;
	tb_rc rc = tb_txn_get(turn->txn, collector->segments_db, collector_key(key, stream, grant->cut + 1), &value, err);
	*ret_agrees = rc == TB_OK;
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

static tb_rc disagree(tb_agreement *ret_agreement, const char *why)
{
	*ret_agreement = (tb_agreement){ .why = why };
	return TB_OK;
}

tb_rc agree_check(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Grant *grant,
                  tb_agreement *ret_agreement, tb_err *err)
{
	int chain = 0, cut = 0;
	*ret_agreement = (tb_agreement){ .agrees = 1 };
	if (TB_PLANTED(22))
		return TB_OK;
	if (stream->rebuilding)
		return disagree(ret_agreement, "this bank isn't whole yet");
	if (stream->suspect)
		return disagree(ret_agreement, "this bank's segments aren't those that were sealed");
	if (grant->finished > stream->applied)
		return disagree(ret_agreement, "this bank is behind what is stored");
	tb_rc rc = check_chain(collector, turn, stream, grant, &chain, err);
	if (rc == TB_OK && !chain)
		return disagree(ret_agreement, "another bank has made manifests that this one doesn't know");
	if (rc == TB_OK)
		rc = check_cut(collector, turn, stream, grant, &cut, err);
	if (rc == TB_OK && !cut)
		return disagree(ret_agreement, "another bank has cut segments that this one doesn't know");
	if (rc != TB_OK)
		return rc;
	if (grant->cut >= stream->segment_from && grant->cut > stream->recut_to) {
		stream->recut_to = grant->cut;
		stream->dirty = 1;
	}
	return TB_OK;
}
