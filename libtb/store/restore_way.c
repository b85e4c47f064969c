/* One way to an event: a backup's manifest and those of the segments behind it, and whether they fit together. */
#include "store/restore.h"

#include <stdlib.h>

static void copy_sum(const Tb__ManifestPrivate *private, tb_segment_row *row)
{
	row->has_sum = private->sum.len == sizeof(row->sum.bytes);
	if (row->has_sum)
		memcpy(row->sum.bytes, private->sum.data, sizeof(row->sum.bytes));
}

static tb_rc read_row_sum(tb_restore_plan *plan, const Tb__Manifest *manifest, tb_arena *arena, tb_segment_row *row,
                          tb_err *err)
{
	Tb__ManifestPrivate *private;
	row->has_sum = 0;
	if (manifest->private_box.len == 0)
		return TB_OK;
	tb_rc rc = tb_archive_private(plan->archive, manifest, arena, &private, err);
	if (rc == TB_OK)
		copy_sum(private, row);
	return rc;
}

/* One that could be read has one object, and sizes of names and hashes that fit. */
static void fill_row(tb_restore_plan *plan, const Tb__Manifest *manifest, tb_segment_row *row)
{
	row->from = manifest->from;
	row->to = manifest->to;
	row->chain = manifest->chain;
	row->time_from_ns = manifest->time_from_ns;
	row->time_to_ns = manifest->time_to_ns;
	memset(row->before, 0, sizeof(row->before));
	if (manifest->before.len != 0)
		memcpy(row->before, manifest->before.data, sizeof(row->before));
	memcpy(row->object, manifest->objects[0]->name.data, sizeof(row->object));
	row->size_stored = manifest->objects[0]->size_stored;
	row->size_plain = manifest->objects[0]->size_plain;
	row->rejected_count = manifest->n_rejected;
	row->rejected = (uint64_t *)tb_arena_copy(plan->arena, tb_span_of(manifest->rejected, manifest->n_rejected *
	                                          sizeof(*manifest->rejected))).data;
}

static tb_rc read_row(tb_restore_plan *plan, const tb_archive_entry *entry, tb_arena *arena, tb_segment_row *row,
                      tb_err *err)
{
	Tb__Manifest *manifest;
	tb_rc rc = tb_plan_manifest(plan, entry, arena, &manifest, row->hash, err);
	if (rc != TB_OK)
		return rc;
	memcpy(row->id, entry->id, sizeof(row->id));
	fill_row(plan, manifest, row);
	return read_row_sum(plan, manifest, arena, row, err);
}

/* Numbers dense, the chain forward; and where two manifests are neighbours in it, the later one bears the other's
 * hash. */
static tb_rc check_neighbours(const tb_restore_plan *plan, const tb_segment_row *before, const tb_segment_row *row,
                              tb_err *err)
{
	if (row->from > before->to + 1)
		return tb_fail(err, TB_ECORRUPT, "events %llu..%llu of stream %s are in no segment", tb_ull(before->to + 1),
		               tb_ull(row->from - 1), plan->stream);
	if (row->from <= before->to)
		return tb_fail(err, TB_ECORRUPT, "segments %s and %s of stream %s both hold event %llu", before->id, row->id,
		               plan->stream, tb_ull(row->from));
	if (row->chain <= before->chain ||
	    (row->chain == before->chain + 1 && memcmp(row->before, before->hash, TB_HASH_SIZE) != 0))
		return tb_fail(err, TB_ECORRUPT, "the chain of stream %s is broken at manifest %llu: segment %s, events "
		               "%llu..%llu, isn't what followed %s", plan->stream, tb_ull(row->chain), row->id,
		               tb_ull(row->from), tb_ull(row->to), before->id);
	return TB_OK;
}

static tb_rc check_named(const tb_restore_plan *plan, const tb_segment_row *row, const tb_head *head, const char *by,
                         tb_err *err)
{
	if (row->chain != head->chain || memcmp(row->hash, head->manifest_hash, TB_HASH_SIZE) == 0)
		return TB_OK;
	return tb_fail(err, TB_ECORRUPT, "segment %s of stream %s, events %llu..%llu, isn't the one that %s names", row->id,
	               plan->stream, tb_ull(row->from), tb_ull(row->to), by);
}

static tb_rc check_backup_link(const tb_restore_plan *plan, const tb_segment_row *row, tb_err *err)
{
	const Tb__Manifest *full = plan->full;
	if (full == NULL)
		return TB_OK;
	int fits = 1;
	if (row->chain + 1 == full->chain)
		fits = full->before.len == TB_HASH_SIZE && memcmp(full->before.data, row->hash, TB_HASH_SIZE) == 0;
	else if (row->chain == full->chain + 1)
		fits = memcmp(row->before, plan->full_hash, TB_HASH_SIZE) == 0;
	else if (row->chain == full->chain)
		fits = 0;
	if (fits)
		return TB_OK;
	return tb_fail(err, TB_ECORRUPT, "the chain of stream %s is broken between backup %s and segment %s", plan->stream,
	               full->backup, row->id);
}

static tb_rc check_row(const tb_restore_plan *plan, const tb_segment_row *row, tb_err *err)
{
	tb_rc rc = TB_OK;
	if (plan->row_count != 0)
		rc = check_neighbours(plan, row - 1, row, err);
	else if (row->from > plan->replay_from)
		rc = tb_fail(err, TB_ECORRUPT, "events %llu..%llu of stream %s are in no segment", tb_ull(plan->replay_from),
		             tb_ull(row->from - 1), plan->stream);
	if (rc == TB_OK)
		rc = check_backup_link(plan, row, err);
	if (rc == TB_OK && plan->has_head)
		rc = check_named(plan, row, &plan->head, "the head", err);
	if (rc == TB_OK && plan->has_remembered)
		rc = check_named(plan, row, &plan->remembered, "the catalog", err);
	return rc;
}

static tb_rc add_row(tb_restore_plan *plan, const tb_archive_entry *entry, tb_arena *arena, tb_err *err)
{
	if (plan->row_count == plan->row_capacity) {
		plan->row_capacity = plan->row_capacity ? 2 * plan->row_capacity : 64;
		plan->rows = tb_realloc(plan->rows, plan->row_capacity * sizeof(*plan->rows));
	}
	tb_segment_row *row = &plan->rows[plan->row_count];
	tb_rc rc = read_row(plan, entry, arena, row, err);
	if (rc == TB_OK)
		rc = check_row(plan, row, err);
	if (rc != TB_OK) {
		plan->broken_to = entry->last;
		return rc;
	}
	plan->row_count++;
	plan->objects++;
	plan->bytes_all += row->size_stored;
	return TB_OK;
}

static tb_rc read_rows(tb_restore_plan *plan, tb_err *err)
{
	uint64_t next = plan->replay_from;
	tb_arena *arena = tb_arena_new();
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && next <= plan->event && i < plan->entry_count; i++) {
		const tb_archive_entry *entry = &plan->entries[i];
		if (!tb_archive_is(entry, "SEG") || entry->last < next)
			continue;
		rc = add_row(plan, entry, arena, err);
		next = entry->last + 1;
		tb_arena_reset(arena);
	}
	tb_arena_free(arena);
	if (rc != TB_OK || next > plan->event)
		return rc;
	plan->broken_to = plan->event;
	return tb_fail(err, TB_ECORRUPT, "events %llu..%llu of stream %s are in no segment", tb_ull(next),
	               tb_ull(plan->event), plan->stream);
}

static tb_rc check_full(const tb_restore_plan *plan, tb_err *err)
{
	const Tb__Manifest *full = plan->full;
	if (full->from == 0)
		return tb_fail(err, TB_ECORRUPT, "backup %s can't be replayed from event %llu", full->backup,
		               tb_ull(full->from));
	if (plan->full_private->n_chunks != 0 && plan->full_private->n_chunks != full->n_objects)
		return tb_fail(err, TB_ECORRUPT, "backup %s names %zu objects and describes %zu", full->backup, full->n_objects,
		               plan->full_private->n_chunks);
	return TB_OK;
}

static tb_rc read_full(tb_restore_plan *plan, tb_err *err)
{
	tb_rc rc = tb_plan_manifest(plan, plan->base, plan->arena, &plan->full, plan->full_hash, err);
	if (rc == TB_OK)
		rc = tb_archive_private(plan->archive, plan->full, plan->arena, &plan->full_private, err);
	if (rc == TB_OK)
		rc = check_full(plan, err);
	if (rc != TB_OK)
		return rc;
	plan->replay_from = plan->full->from;
	plan->objects = plan->full->n_objects;
	for (size_t i = 0; i < plan->full->n_objects; i++)
		plan->bytes_all += plan->full->objects[i]->size_stored;
	return TB_OK;
}

tb_rc tb_plan_way(tb_restore_plan *plan, const tb_archive_entry *base, tb_err *err)
{
	tb_arena_reset(plan->arena);
	plan->base = base;
	plan->full = NULL;
	plan->full_private = NULL;
	plan->replay_from = 1;
	plan->row_count = 0;
	plan->objects = plan->bytes_all = plan->broken_to = 0;
	tb_rc rc = base != NULL ? read_full(plan, err) : TB_OK;
	return rc == TB_OK ? read_rows(plan, err) : rc;
}

Tb__Manifest tb_row_manifest(const tb_restore_plan *plan, const tb_segment_row *row)
{
	Tb__Manifest manifest = TB__MANIFEST__INIT;
	manifest.stream = (char *)plan->stream;
	manifest.backup = (char *)row->id;
	manifest.from = row->from;
	manifest.to = row->to;
	manifest.time_from_ns = row->time_from_ns;
	manifest.n_rejected = row->rejected_count;
	manifest.rejected = row->rejected;
	return manifest;
}
