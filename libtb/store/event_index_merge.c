#include "store/event_index_parts.h"

#include "base/bytes.h"

#include <stdlib.h>

#define RUNS_MIN 8u  /* of a level are merged when there are so many */
#define RUNS_MAX 16u /* at once: those that gathered while a merge of that level went on */

struct source {
	uint64_t id;
	uint8_t key[TB_INDEX_KEY]; /* of the block at hand */
	uint8_t block[TB_INDEX_BLOCK_SIZE];
	size_t at, size; /* bytes; at == size: none at hand */
	uint64_t head;   /* the first 8 bytes of the entry at hand, as a number */
	uint64_t taken;
	int ended;
};

/* One slice of one merge. Blocks are copied: writing moves what the bank shows. */
struct merge {
	tb_event_index *index;
	tb_txn *txn;
	uint64_t target;
	uint64_t moved;
	uint8_t out[TB_INDEX_BLOCK_SIZE];
	size_t out_size;
	struct source sources[RUNS_MAX];
	size_t count;
};

/* ---- which */

static tb_index_run *find_run(tb_event_index *index, uint64_t id)
{
	for (size_t i = 0; i < index->run_count; i++)
		if (index->runs[i].id == id)
			return &index->runs[i];
	return NULL;
}

static int is_target(const tb_event_index *index, uint64_t id)
{
	for (size_t i = 0; i < index->run_count; i++)
		if (index->runs[i].into == id)
			return 1;
	return 0;
}

static int is_free(const tb_event_index *index, const tb_index_run *run)
{
	return run->into == 0 && !is_target(index, run->id);
}

/* The target of the merge that goes on at that level, or 0. */
static uint64_t going_on(const tb_event_index *index, uint64_t level)
{
	for (size_t i = 0; i < index->run_count; i++)
		if (index->runs[i].level == level && index->runs[i].into != 0)
			return index->runs[i].into;
	return 0;
}

static size_t count_free(const tb_event_index *index, uint64_t level)
{
	size_t count = 0;
	for (size_t i = 0; i < index->run_count; i++)
		count += index->runs[i].level == level && is_free(index, &index->runs[i]);
	return count;
}

static uint64_t highest_level(const tb_event_index *index)
{
	uint64_t level = 0;
	for (size_t i = 0; i < index->run_count; i++)
		if (index->runs[i].level > level)
			level = index->runs[i].level;
	return level;
}

/* The lowest level with something to do: there runs gather fastest. */
static int find_due(const tb_event_index *index, uint64_t *ret_level, uint64_t *ret_target)
{
	for (uint64_t level = 0, highest = highest_level(index); level <= highest; level++) {
		uint64_t target = going_on(index, level);
		if (target == 0 && count_free(index, level) < RUNS_MIN)
			continue;
		*ret_level = level;
		*ret_target = target;
		return 1;
	}
	return 0;
}

static tb_rc begin_merge(tb_event_index *index, tb_txn *txn, uint64_t level, uint64_t *ret_target, tb_err *err)
{
	tb_index_run *target = tb_index_run_add(index, 0);
	uint64_t id = target->id, entries = 0;
	size_t sources = 0;
	tb_rc rc = TB_OK;
	target->level = UINT64_MAX; /* not one of its own sources */
	for (size_t i = 0; rc == TB_OK && i < index->run_count && sources < RUNS_MAX; i++) {
		tb_index_run *run = &index->runs[i];
		if (run->level != level || !is_free(index, run))
			continue;
		run->into = id;
		entries += run->entries;
		sources++;
		rc = tb_index_run_write(index, txn, run, err);
	}
	target->level = tb_index_level(entries);
	if (rc == TB_OK)
		rc = tb_index_run_write(index, txn, target, err);
	*ret_target = id;
	return rc;
}

/* ---- entries on their way */

static void at_entry(struct source *source)
{
	if (source->at < source->size)
		source->head = tb_get64_be(source->block + source->at);
}

/* The run's first block: those before it are merged and gone. */
static tb_rc next_block(struct merge *merge, struct source *source, tb_err *err)
{
	tb_cursor *cursor;
	tb_span key, entries;
	tb_rc rc = tb_cursor_open(merge->txn, merge->index->blocks_db, &cursor, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_index_block_seek(merge->index, cursor, source->id, (tb_span){ 0 }, &key, &entries, err);
	if (rc == TB_OK) {
		memcpy(source->key, key.data, key.size);
		memcpy(source->block, entries.data, entries.size);
		source->at = 0;
		source->size = entries.size;
		at_entry(source);
	}
	tb_cursor_close(cursor);
	source->ended = rc == TB_ENOTFOUND;
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

static int is_before(const struct source *a, const struct source *b)
{
	if (a->head != b->head)
		return a->head < b->head;
	return memcmp(a->block + a->at, b->block + b->at, TB_INDEX_ENTRY) < 0;
}

static struct source *least_source(struct merge *merge)
{
	struct source *least = NULL;
	for (size_t i = 0; i < merge->count; i++) {
		struct source *source = &merge->sources[i];
		if (!source->ended && (least == NULL || is_before(source, least)))
			least = source;
	}
	return least;
}

static tb_rc flush_out(struct merge *merge, tb_err *err)
{
	if (merge->out_size == 0)
		return TB_OK;
	size_t size = merge->out_size;
	merge->out_size = 0;
	return tb_index_block_put(merge->index, merge->txn, merge->target, tb_span_of(merge->out, size), err);
}

static tb_rc move_entry(struct merge *merge, struct source *source, tb_err *err)
{
	memcpy(merge->out + merge->out_size, source->block + source->at, TB_INDEX_ENTRY);
	merge->out_size += TB_INDEX_ENTRY;
	source->at += TB_INDEX_ENTRY;
	source->taken++;
	merge->moved++;
	at_entry(source);
	tb_rc rc = merge->out_size == sizeof(merge->out) ? flush_out(merge, err) : TB_OK;
	if (rc != TB_OK || source->at < source->size)
		return rc;
	rc = tb_txn_delete(merge->txn, merge->index->blocks_db, tb_span_of(source->key, sizeof(source->key)), err);
	return rc == TB_OK ? next_block(merge, source, err) : rc;
}

/* What is left of the block at hand takes the place of the whole one: its last entry, and so its name, is the same. */
static tb_rc leave_rest(struct merge *merge, const struct source *source, tb_err *err)
{
	if (source->ended || source->at == 0)
		return TB_OK;
	return tb_index_block_put(merge->index, merge->txn, source->id,
	                          tb_span_of(source->block + source->at, source->size - source->at), err);
}

/* ---- a slice */

static tb_rc open_sources(struct merge *merge, tb_err *err)
{
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < merge->index->run_count; i++) {
		if (merge->index->runs[i].into != merge->target)
			continue;
		if (merge->count == RUNS_MAX)
			return tb_fail(err, TB_ECORRUPT, "more than %u runs of the event index are merged into one", RUNS_MAX);
		struct source *source = &merge->sources[merge->count++];
		source->id = merge->index->runs[i].id;
		rc = next_block(merge, source, err);
	}
	return rc;
}

static tb_rc settle_source(struct merge *merge, const struct source *source, tb_err *err)
{
	tb_index_run *run = find_run(merge->index, source->id);
	if (source->taken > run->entries || (source->ended && source->taken != run->entries))
		return tb_fail(err, TB_ECORRUPT, "a run of the event index has %llu entries, not %llu as is recorded",
		               (unsigned long long)source->taken, (unsigned long long)run->entries);
	run->entries -= source->taken;
	if (source->ended)
		return tb_index_run_remove(merge->index, merge->txn, source->id, err);
	tb_rc rc = leave_rest(merge, source, err);
	return rc == TB_OK ? tb_index_run_write(merge->index, merge->txn, run, err) : rc;
}

static tb_rc settle(struct merge *merge, tb_err *err)
{
	tb_rc rc = flush_out(merge, err);
	for (size_t i = 0; rc == TB_OK && i < merge->count; i++)
		rc = settle_source(merge, &merge->sources[i], err);
	if (rc != TB_OK)
		return rc;
	tb_index_run *target = find_run(merge->index, merge->target);
	if (target == NULL)
		return tb_fail(err, TB_ECORRUPT, "runs of the event index are merged into one that isn't there");
	target->entries += merge->moved;
	return tb_index_run_write(merge->index, merge->txn, target, err);
}

static tb_rc merge_slice(tb_event_index *index, tb_txn *txn, uint64_t target, uint64_t entries, uint64_t *ret_moved,
                         tb_err *err)
{
	struct merge *merge = tb_alloc_zero(1, sizeof(*merge));
	struct source *least;
	merge->index = index;
	merge->txn = txn;
	merge->target = target;
	tb_rc rc = open_sources(merge, err);
	while (rc == TB_OK && merge->moved < entries && (least = least_source(merge)) != NULL)
		rc = move_entry(merge, least, err);
	if (rc == TB_OK)
		rc = settle(merge, err);
	*ret_moved = merge->moved;
	free(merge);
	return rc;
}

tb_rc tb_event_index_merge(tb_event_index *index, tb_txn *txn, uint64_t entries, int *ret_more, tb_err *err)
{
	uint64_t level, target, moved;
	int more;
	tb_rc rc = TB_OK;
	while ((more = find_due(index, &level, &target)) && entries > 0) {
		if (target == 0)
			rc = begin_merge(index, txn, level, &target, err);
		if (rc == TB_OK)
			rc = merge_slice(index, txn, target, entries, &moved, err);
		if (rc != TB_OK)
			return rc;
		entries -= moved;
	}
	*ret_more = more;
	return TB_OK;
}
