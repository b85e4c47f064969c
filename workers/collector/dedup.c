/* Chunks whose content is stored already: they aren't sealed again, the manifest names the object that there is.
 *
 * Content is known by its keyed hash; the key stays in this bank, so that nobody else can tell equal content, or try
 * whether it is some text. Boundaries follow keys, so whatever didn't change gives equal chunks. Rows are of a period:
 * an object can't be opened with another period's key.
 *
 * A row says what once was sent to be stored, not that it is there. So before a manifest that names such an object is
 * signed, the storer is asked. When one is missing its row goes, and the plan begins anew: what was sealed for it so
 * far is remembered, so only what is missing is sealed. */
#include "workers/collector/plan_parts.h"

#include "base/bytes.h"
#include "base/log.h"

#include <sodium.h>

enum { AT_PLAIN = TB_OBJECT_NAME, AT_STORED = AT_PLAIN + 8, ROW_SIZE = AT_STORED + 8 };
enum { ROW_KEY = TB_PERIOD_ID + TB_HASH_SIZE };

static tb_span row_key(uint8_t key[ROW_KEY], const tb_collector *collector, const struct chunk *chunk)
{
	memcpy(key, collector->period.id, TB_PERIOD_ID);
	memcpy(key + TB_PERIOD_ID, chunk->content_hash, TB_HASH_SIZE);
	return tb_span_of(key, ROW_KEY);
}

static void hash_content(const tb_collector *collector, tb_span content, uint8_t ret_hash[TB_HASH_SIZE])
{
	crypto_generichash(ret_hash, TB_HASH_SIZE, content.data, content.size, collector->chunk_secret,
	                   sizeof(collector->chunk_secret));
}

static tb_rc put_row(tb_collector *collector, tb_turn *turn, tb_span key, const uint8_t *name, uint64_t size_plain,
                     uint64_t size_stored, tb_err *err)
{
	uint8_t row[ROW_SIZE];
	memcpy(row, name, TB_OBJECT_NAME);
	tb_put64(row + AT_PLAIN, size_plain);
	tb_put64(row + AT_STORED, size_stored);
	return tb_txn_put(turn->txn, collector->chunks_db, key, tb_span_of(row, ROW_SIZE), err);
}

tb_rc dedup_find(tb_collector *collector, tb_turn *turn, tb_plan *plan, tb_span content, tb_err *err)
{
	struct chunk *chunk = &plan->chunks[plan->chunk_count - 1];
	uint8_t key[ROW_KEY];
	tb_span row;
	hash_content(collector, content, chunk->content_hash);
	tb_rc rc = tb_txn_get(turn->txn, collector->chunks_db, row_key(key, collector, chunk), &row, err);
	if (rc != TB_OK)
		return rc;
	if (row.size != ROW_SIZE || tb_get64(row.data + AT_PLAIN) != content.size)
		return tb_fail(err, TB_ECORRUPT, "the bank's record of a stored chunk is damaged");
	memcpy(chunk->name, row.data, TB_OBJECT_NAME);
	chunk->size_plain = tb_get64(row.data + AT_PLAIN);
	chunk->size_stored = tb_get64(row.data + AT_STORED);
	chunk->sealed = chunk->reused = 1;
	plan->sealed_count++;
	plan->reused_count++;
	return TB_OK;
}

tb_rc dedup_learn(tb_collector *collector, tb_turn *turn, const tb_plan *plan, tb_err *err)
{
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < plan->chunk_count; i++) {
		const struct chunk *chunk = &plan->chunks[i];
		uint8_t key[ROW_KEY];
		if (!chunk->sealed || chunk->reused)
			continue;
		rc = put_row(collector, turn, row_key(key, collector, chunk), chunk->name, chunk->size_plain, chunk->size_stored,
		             err);
	}
	return rc;
}

tb_rc dedup_note(tb_collector *collector, tb_turn *turn, const Tb__Manifest *full, const Tb__ObjectRef *object,
                 tb_span content, tb_err *err)
{
	uint8_t key[ROW_KEY];
	memcpy(key, full->period.data, TB_PERIOD_ID);
	hash_content(collector, content, key + TB_PERIOD_ID);
	return put_row(collector, turn, tb_span_of(key, ROW_KEY), object->name.data, object->size_plain, object->size_stored,
	               err);
}

/* ---- is it there? */

tb_rc dedup_ask(tb_turn *turn, tb_stream *stream, tb_err *err)
{
	tb_plan *plan = stream->plan;
	Tb__Ask ask = TB__ASK__INIT;
	Tb__AskedObject *rows = tb_arena_alloc(turn->arena, plan->reused_count * sizeof(*rows));
	ask.objects = tb_arena_alloc(turn->arena, plan->reused_count * sizeof(*ask.objects));
	for (size_t i = 0; i < plan->chunk_count; i++) {
		struct chunk *chunk = &plan->chunks[i];
		if (!chunk->reused)
			continue;
		Tb__AskedObject *row = &rows[ask.n_objects];
		*row = (Tb__AskedObject)TB__ASKED_OBJECT__INIT;
		row->name = (ProtobufCBinaryData){ TB_OBJECT_NAME, chunk->name };
		row->size_stored = chunk->size_stored;
		ask.objects[ask.n_objects++] = row;
	}
	ask.stream = stream->name;
	ask.plan = (ProtobufCBinaryData){ sizeof(plan->id), plan->id };
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	collector_frame(&frame, TB_KIND_ASK, stream, 0, &ask.base);
	plan->stage = ASKING;
	return collector_put(turn, stream, tb_buf_span(&frame), NULL, 0, 0, err);
}

/* The rows of what is missing: places count reused chunks. */
static tb_rc forget_missing(tb_collector *collector, tb_turn *turn, const tb_plan *plan, const Tb__Present *answer,
                            tb_err *err)
{
	tb_rc rc = TB_OK;
	size_t place = 0, next = 0;
	for (size_t i = 0; rc == TB_OK && i < plan->chunk_count && next < answer->n_missing; i++) {
		uint8_t key[ROW_KEY];
		if (!plan->chunks[i].reused || place++ != answer->missing[next])
			continue;
		next++;
		rc = tb_txn_delete(turn->txn, collector->chunks_db, row_key(key, collector, &plan->chunks[i]), err);
		if (rc == TB_ENOTFOUND)
			rc = TB_OK;
	}
	return rc;
}

static tb_rc begin_anew(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Present *answer,
                        tb_err *err)
{
	char backup[TB_BACKUP_ID];
	uint64_t order_id = stream->plan->order_id;
	memcpy(backup, stream->plan->backup, sizeof(backup));
	tb_log(TB_LOG_WARN, "backup %s of stream %s begins anew: %zu objects that it was to share with earlier backups aren't "
	       "in the repository (tb verify says whom that hits)", backup, stream->name, answer->n_missing);
	tb_rc rc = forget_missing(collector, turn, stream->plan, answer, err);
	if (rc == TB_OK)
		rc = dedup_learn(collector, turn, stream->plan, err);
	plan_drop(collector, stream);
	plan_begin(turn, stream, backup, order_id);
	return rc;
}

tb_rc plan_present(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Present *answer, uint64_t id,
                   tb_err *err)
{
	tb_plan *plan = stream->plan;
	tb_rc rc = TB_OK;
	if (plan != NULL && plan->stage == ASKING && answer->plan.len == sizeof(plan->id) &&
	    memcmp(answer->plan.data, plan->id, sizeof(plan->id)) == 0) {
		plan->stage = SEALING;
		plan->present = 1;
		if (answer->n_missing > 0)
			rc = begin_anew(collector, turn, stream, answer, err);
	}
	return rc == TB_OK ? collector_put(turn, stream, (tb_span){ 0 }, &id, 1, 0, err) : rc;
}
