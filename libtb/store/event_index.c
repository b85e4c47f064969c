#include "store/event_index_parts.h"

#include "base/bytes.h"

#include <stdlib.h>

#define FIRST_LEVEL (8u * TB_INDEX_BLOCK) /* entries of a run that is still as small as can be */
#define LEVEL_FACTOR 8u
#define LEVELS_MAX 32u /* 64 bits of entries don't fill them */
#define RUN_RECORD 24u
#define COVERS_RECORD 16u

/* ---- entries */

void tb_index_entry_fill(tb_index_entry *entry, const uint8_t *hash, uint64_t number)
{
	memcpy(entry->bytes, hash, TB_INDEX_HASH);
	tb_put64_be(entry->bytes + TB_INDEX_HASH, number);
}

static int compare_entries(const void *a, const void *b)
{
	uint64_t left = tb_get64_be(a), right = tb_get64_be(b);
	if (left != right)
		return left < right ? -1 : 1;
	return memcmp(a, b, TB_INDEX_ENTRY);
}

/* ---- blocks */

static void block_key(uint8_t key[TB_INDEX_KEY], const tb_event_index *index, uint64_t run, tb_span entry)
{
	tb_put64_be(key, index->stream);
	tb_put64_be(key + 8, run);
	memset(key + 16, 0, TB_INDEX_ENTRY);
	if (entry.size > 0)
		memcpy(key + 16, entry.data, entry.size);
}

tb_rc tb_index_block_put(const tb_event_index *index, tb_txn *txn, uint64_t run, tb_span entries, tb_err *err)
{
	uint8_t key[TB_INDEX_KEY];
	block_key(key, index, run, tb_span_of(entries.data + entries.size - TB_INDEX_ENTRY, TB_INDEX_ENTRY));
	return tb_txn_put(txn, index->blocks_db, tb_span_of(key, sizeof(key)), entries, err);
}

tb_rc tb_index_block_check(const tb_event_index *index, uint64_t run, tb_span key, tb_span entries, tb_err *err)
{
	if (key.size == TB_INDEX_KEY && (tb_get64_be(key.data) != index->stream || tb_get64_be(key.data + 8) != run))
		return TB_ENOTFOUND;
	if (key.size != TB_INDEX_KEY || entries.size == 0 || entries.size > TB_INDEX_BLOCK_SIZE ||
	    entries.size % TB_INDEX_ENTRY != 0 ||
	    memcmp(key.data + 16, entries.data + entries.size - TB_INDEX_ENTRY, TB_INDEX_ENTRY) != 0)
		return tb_fail(err, TB_ECORRUPT, "a block of the event index is damaged (stream %016llx, run %llu)",
		               (unsigned long long)index->stream, (unsigned long long)run);
	return TB_OK;
}

tb_rc tb_index_block_seek(const tb_event_index *index, tb_cursor *cursor, uint64_t run, tb_span from, tb_span *ret_key,
                          tb_span *ret_entries, tb_err *err)
{
	uint8_t wanted[TB_INDEX_KEY];
	tb_span key, entries;
	block_key(wanted, index, run, from);
	tb_rc rc = tb_cursor_seek(cursor, tb_span_of(wanted, sizeof(wanted)), &key, &entries, err);
	if (rc == TB_OK)
		rc = tb_index_block_check(index, run, key, entries, err);
	if (rc != TB_OK)
		return rc;
	*ret_key = key;
	*ret_entries = entries;
	return TB_OK;
}

/* ---- runs */

uint64_t tb_index_level(uint64_t entries)
{
	uint64_t level = 0;
	for (uint64_t size = FIRST_LEVEL; size < entries && size <= UINT64_MAX / LEVEL_FACTOR; size *= LEVEL_FACTOR)
		level++;
	return level;
}

static tb_span run_key(uint8_t key[16], const tb_event_index *index, uint64_t id)
{
	tb_put64_be(key, index->stream);
	tb_put64_be(key + 8, id);
	return tb_span_of(key, 16);
}

static tb_index_run *append_run(tb_event_index *index, const tb_index_run *run)
{
	if (index->run_count == index->run_room) {
		index->run_room = index->run_room ? index->run_room * 2 : 32;
		index->runs = tb_realloc(index->runs, index->run_room * sizeof(*index->runs));
	}
	index->runs[index->run_count] = *run;
	return &index->runs[index->run_count++];
}

tb_index_run *tb_index_run_add(tb_event_index *index, uint64_t entries)
{
	tb_index_run run = { .id = index->next_id++, .entries = entries, .level = tb_index_level(entries) };
	return append_run(index, &run);
}

tb_rc tb_index_run_write(const tb_event_index *index, tb_txn *txn, const tb_index_run *run, tb_err *err)
{
	uint8_t key[16], value[RUN_RECORD];
	tb_put64(value, run->entries);
	tb_put64(value + 8, run->into);
	tb_put64(value + 16, run->level);
	return tb_txn_put(txn, index->runs_db, run_key(key, index, run->id), tb_span_of(value, sizeof(value)), err);
}

tb_rc tb_index_run_remove(tb_event_index *index, tb_txn *txn, uint64_t id, tb_err *err)
{
	uint8_t key[16];
	tb_rc rc = tb_txn_delete(txn, index->runs_db, run_key(key, index, id), err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	for (size_t i = 0; i < index->run_count; i++)
		if (index->runs[i].id == id) {
			index->run_count--;
			memmove(&index->runs[i], &index->runs[i + 1], (index->run_count - i) * sizeof(*index->runs));
			break;
		}
	return TB_OK;
}

/* ---- opening */

static tb_rc read_record(tb_event_index *index, tb_span key, tb_span value, tb_err *err)
{
	uint64_t id = tb_get64_be(key.data + 8);
	if (value.size != (id == 0 ? COVERS_RECORD : RUN_RECORD) || (id != 0 && tb_get64(value.data + 16) > LEVELS_MAX))
		return tb_fail(err, TB_ECORRUPT, "a record of the event index is damaged (stream %016llx, run %llu)",
		               (unsigned long long)index->stream, (unsigned long long)id);
	if (id == 0) {
		index->from = tb_get64(value.data);
		index->to = tb_get64(value.data + 8);
		return TB_OK;
	}
	append_run(index, &(tb_index_run){ .id = id, .entries = tb_get64(value.data), .into = tb_get64(value.data + 8),
	                                   .level = tb_get64(value.data + 16) });
	index->next_id = id + 1;
	return TB_OK;
}

static tb_rc read_runs(tb_event_index *index, tb_txn *txn, tb_err *err)
{
	tb_cursor *cursor;
	uint8_t from[16];
	tb_span key, value;
	tb_rc rc = tb_cursor_open(txn, index->runs_db, &cursor, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_cursor_seek(cursor, run_key(from, index, 0), &key, &value, err);
	while (rc == TB_OK && key.size == 16 && memcmp(key.data, from, 8) == 0) {
		rc = read_record(index, key, value, err);
		if (rc == TB_OK)
			rc = tb_cursor_next(cursor, &key, &value, err);
	}
	tb_cursor_close(cursor);
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

tb_rc tb_event_index_open(tb_txn *txn, uint64_t stream, tb_event_index **ret_index, tb_err *err)
{
	tb_event_index *index = tb_alloc_zero(1, sizeof(*index));
	index->stream = stream;
	index->next_id = 1;
	tb_rc rc = tb_txn_db(txn, "index", &index->blocks_db, err);
	if (rc == TB_OK)
		rc = tb_txn_db(txn, "index_runs", &index->runs_db, err);
	if (rc == TB_OK)
		rc = read_runs(index, txn, err);
	if (rc != TB_OK) {
		tb_event_index_free(index);
		return rc;
	}
	*ret_index = index;
	return TB_OK;
}

tb_rc tb_event_index_clear(tb_event_index *index, tb_txn *txn, uint64_t *most, tb_err *err)
{
	uint8_t prefix[8];
	tb_put64_be(prefix, index->stream);
	tb_rc rc = tb_txn_delete_below(txn, index->blocks_db, tb_span_of(prefix, sizeof(prefix)), most, err);
	if (rc == TB_OK)
		rc = tb_txn_delete_below(txn, index->runs_db, tb_span_of(prefix, sizeof(prefix)), most, err);
	index->run_count = 0;
	index->next_id = 1;
	index->from = index->to = 0;
	return rc;
}

void tb_event_index_free(tb_event_index *index)
{
	if (index == NULL)
		return;
	free(index->runs);
	free(index);
}

void tb_event_index_covers(const tb_event_index *index, uint64_t *ret_from, uint64_t *ret_to)
{
	*ret_from = index->from;
	*ret_to = index->to;
}

size_t tb_event_index_runs(const tb_event_index *index)
{
	return index->run_count;
}

/* ---- adding */

static tb_rc write_blocks(const tb_event_index *index, tb_txn *txn, uint64_t run, const tb_index_entry *entries,
                          size_t count, tb_err *err)
{
	tb_rc rc = TB_OK;
	for (size_t at = 0; rc == TB_OK && at < count; at += TB_INDEX_BLOCK) {
		size_t here = count - at < TB_INDEX_BLOCK ? count - at : TB_INDEX_BLOCK;
		rc = tb_index_block_put(index, txn, run, tb_span_of(entries[at].bytes, here * TB_INDEX_ENTRY), err);
	}
	return rc;
}

static tb_rc write_covers(const tb_event_index *index, tb_txn *txn, tb_err *err)
{
	uint8_t key[16], value[COVERS_RECORD];
	tb_put64(value, index->from);
	tb_put64(value + 8, index->to);
	return tb_txn_put(txn, index->runs_db, run_key(key, index, 0), tb_span_of(value, sizeof(value)), err);
}

tb_rc tb_event_index_add(tb_event_index *index, tb_txn *txn, tb_index_entry *entries, uint64_t from, uint64_t to,
                         tb_err *err)
{
	if (from == 0 || to < from || (index->to != 0 && from != index->to + 1))
		return tb_fail(err, TB_EINVAL, "the event index goes up to %llu: it can't go on with %llu to %llu",
		               (unsigned long long)index->to, (unsigned long long)from, (unsigned long long)to);
	size_t count = (size_t)(to - from + 1);
	qsort(entries, count, sizeof(*entries), compare_entries);
	const tb_index_run *run = tb_index_run_add(index, count);
	tb_rc rc = write_blocks(index, txn, run->id, entries, count, err);
	if (rc == TB_OK)
		rc = tb_index_run_write(index, txn, run, err);
	if (index->from == 0)
		index->from = from;
	index->to = to;
	return rc == TB_OK ? write_covers(index, txn, err) : rc;
}

/* ---- finding */

/* The first entry of the block that isn't before the hash. */
static size_t lower_bound(tb_span block, const uint8_t *hash)
{
	size_t low = 0, high = block.size / TB_INDEX_ENTRY;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (memcmp(block.data + middle * TB_INDEX_ENTRY, hash, TB_INDEX_HASH) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low * TB_INDEX_ENTRY;
}

static tb_rc find_in_run(const tb_event_index *index, tb_cursor *cursor, uint64_t run, const uint8_t *hash,
                         tb_index_found_fn each, void *context, tb_err *err)
{
	tb_span key, block;
	tb_rc rc = tb_index_block_seek(index, cursor, run, tb_span_of(hash, TB_INDEX_HASH), &key, &block, err);
	while (rc == TB_OK) {
		for (size_t at = lower_bound(block, hash); rc == TB_OK && at < block.size; at += TB_INDEX_ENTRY) {
			if (memcmp(block.data + at, hash, TB_INDEX_HASH) != 0)
				return TB_OK;
			rc = each(context, tb_get64_be(block.data + at + TB_INDEX_HASH), err);
		}
		if (rc != TB_OK)
			return rc;
		rc = tb_cursor_next(cursor, &key, &block, err);
		if (rc == TB_OK)
			rc = tb_index_block_check(index, run, key, block, err);
	}
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

tb_rc tb_event_index_find(const tb_event_index *index, tb_txn *txn, const uint8_t *hash, tb_index_found_fn each,
                          void *context, tb_err *err)
{
	tb_cursor *cursor;
	tb_rc rc = tb_cursor_open(txn, index->blocks_db, &cursor, err);
	if (rc != TB_OK)
		return rc;
	for (size_t i = index->run_count; rc == TB_OK && i-- > 0;) /* what is looked for is mostly new */
		rc = find_in_run(index, cursor, index->runs[i].id, hash, each, context, err);
	tb_cursor_close(cursor);
	return rc;
}
