/* A stream's manifests, chain, numbers and heads. The catalog was read first, then the head, then the names: what the
 * earlier one tells of must be in the later one, whatever the storer does meanwhile. */
#include "store/verify_parts.h"

#include <stdio.h>
#include <stdlib.h>

static tb_check_stream *stream_at(tb_check *check, uint32_t stream)
{
	return &check->streams[stream];
}

static void add_objects(tb_check *check, const Tb__Manifest *manifest, uint32_t stream, uint32_t row)
{
	for (size_t i = 0; i < manifest->n_objects; i++) {
		const Tb__ObjectRef *object = manifest->objects[i];
		if (check->object_count == check->object_capacity) {
			check->object_capacity = check->object_capacity ? 2 * check->object_capacity : 256;
			check->objects = tb_realloc(check->objects, check->object_capacity * sizeof(*check->objects));
		}
		tb_check_object *added = &check->objects[check->object_count++];
		*added = (tb_check_object){ .size_stored = object->size_stored, .size_plain = object->size_plain,
		                            .stream = stream, .row = row };
		memcpy(added->name, object->name.data, sizeof(added->name));
	}
}

static int is_segment(const tb_check_row *row)
{
	return tb_archive_is(&row->entry, "SEG");
}

static void fill_row(tb_check_row *row, const Tb__Manifest *manifest)
{
	row->readable = 1;
	row->from = manifest->from;
	row->to = manifest->to;
	row->chain = manifest->chain;
	row->before_size = manifest->before.len;
	if (manifest->before.len == TB_HASH_SIZE)
		memcpy(row->before, manifest->before.data, TB_HASH_SIZE);
	if (manifest->period.len == TB_PERIOD_ID)
		memcpy(row->period, manifest->period.data, TB_PERIOD_ID);
}

/* Of one that can't be read its name still tells the last number, and the one before it in the list the first. */
static void note_unreadable(tb_check *check, uint32_t stream, uint32_t at, tb_rc rc, const tb_err *why)
{
	tb_check_row *row = tb_check_row_at(check, stream, at);
	char path[TB_MANIFEST_PATH];
	tb_check_row_path(check, stream, at, path);
	row->bad = 1;
	row->to = row->entry.last;
	const char *code = rc == TB_EKEY ? "manifest signature" : rc == TB_ENOTFOUND ? "manifest missing" :
		"manifest damaged";
	tb_check_damage(check, code, path, stream, at, "%s", why->text);
}

static tb_rc read_row(tb_check *check, uint32_t stream, uint32_t at, tb_arena *arena, tb_err *err)
{
	tb_check_row *row = tb_check_row_at(check, stream, at);
	Tb__Manifest *manifest;
	tb_err why = { .text = "" };
	tb_rc rc = tb_archive_manifest(check->archive, stream_at(check, stream)->name, &row->entry, arena, &manifest,
	                               row->hash, &why);
	check->counts.manifests++;
	if (rc == TB_OK) {
		fill_row(row, manifest);
		add_objects(check, manifest, stream, at);
		return TB_OK;
	}
	if (!tb_check_is_damage(rc)) {
		if (err != NULL)
			*err = why;
		return rc;
	}
	note_unreadable(check, stream, at, rc, &why);
	return TB_OK;
}

static tb_rc read_rows(tb_check *check, uint32_t index, tb_err *err)
{
	tb_check_stream *stream = stream_at(check, index);
	tb_archive_entry *entries;
	size_t count;
	tb_rc rc = tb_archive_list(check->archive, stream->name, &entries, &count, err);
	if (rc == TB_ENOTFOUND)
		return TB_OK; /* only a head or the catalog tells of it */
	if (rc != TB_OK)
		return rc;
	stream->rows = tb_alloc_zero(count, sizeof(*stream->rows));
	stream->row_count = count;
	for (size_t i = 0; i < count; i++)
		stream->rows[i].entry = entries[i];
	free(entries);
	tb_arena *arena = tb_arena_new();
	for (size_t i = 0; rc == TB_OK && i < count; i++) {
		rc = read_row(check, index, (uint32_t)i, arena, err);
		tb_arena_reset(arena);
	}
	tb_arena_free(arena);
	return rc;
}

/* Numbers */

static void add_gap(tb_check_stream *stream, uint64_t from, uint64_t to)
{
	stream->gaps = tb_realloc(stream->gaps, (stream->gap_count + 1) * sizeof(*stream->gaps));
	stream->gaps[stream->gap_count++] = (tb_check_gap){ .from = from, .to = to };
}

static void note_overlap(tb_check *check, uint32_t index, uint32_t at, uint64_t before)
{
	char path[TB_MANIFEST_PATH];
	tb_check_row_path(check, index, at, path);
	tb_check_row *row = tb_check_row_at(check, index, at);
	row->bad = 1;
	tb_check_damage(check, "segment gap", path, index, at,
	                "it begins at event %llu, but the segment before it goes to %llu",
	                tb_ull(row->from), tb_ull(before));
}

static void check_numbers(tb_check *check, uint32_t index)
{
	tb_check_stream *stream = stream_at(check, index);
	uint64_t before = 0;
	for (size_t i = 0; i < stream->row_count; i++) {
		tb_check_row *row = &stream->rows[i];
		if (stream->last < row->entry.last)
			stream->last = row->entry.last;
		if (!is_segment(row))
			continue;
		if (!row->readable)
			row->from = before + 1;
		if (row->from > before + 1)
			add_gap(stream, before + 1, row->from - 1);
		else if (row->from <= before)
			note_overlap(check, index, (uint32_t)i, before);
		before = row->to;
	}
	if (stream->last > before)
		add_gap(stream, before + 1, stream->last); /* a backup tells of events that no segment holds */
}

static void note_gaps(tb_check *check, uint32_t index)
{
	tb_check_stream *stream = stream_at(check, index);
	for (size_t i = 0; i < stream->gap_count; i++) {
		tb_check_gap *gap = &stream->gaps[i];
		if (gap->explained)
			continue;
		tb_damage *damage = tb_check_damage(check, "segment gap", "", index, TB_NO_ROW,
		                                    "events %llu..%llu are in no segment", tb_ull(gap->from), tb_ull(gap->to));
		damage->from = gap->from;
		damage->to = gap->to;
	}
}

/* Chain */

static int compare_chain(const void *a, const void *b)
{
	const tb_check_row *x = *(tb_check_row *const *)a, *y = *(tb_check_row *const *)b;
	return x->chain < y->chain ? -1 : x->chain > y->chain;
}

static tb_check_row **rows_by_chain(const tb_check_stream *stream, size_t *ret_count)
{
	tb_check_row **rows = tb_alloc(stream->row_count * sizeof(*rows));
	size_t count = 0;
	for (size_t i = 0; i < stream->row_count; i++)
		if (stream->rows[i].readable)
			rows[count++] = &stream->rows[i];
	qsort(rows, count, sizeof(*rows), compare_chain);
	*ret_count = count;
	return rows;
}

static void note_broken(tb_check *check, uint32_t index, tb_check_row *row, const char *why)
{
	uint32_t at = (uint32_t)(row - stream_at(check, index)->rows);
	char path[TB_MANIFEST_PATH];
	tb_check_row_path(check, index, at, path);
	row->bad = 1;
	tb_check_damage(check, "chain broken", path, index, at, "manifest %llu of the chain: %s", tb_ull(row->chain), why);
}

static void check_link(tb_check *check, uint32_t index, const tb_check_row *before, tb_check_row *row)
{
	if (before == NULL)
		return;
	if (row->chain == before->chain) {
		note_broken(check, index, row, "there are two with this number");
	} else if (row->chain == before->chain + 1 &&
	           (row->before_size != TB_HASH_SIZE || memcmp(row->before, before->hash, TB_HASH_SIZE) != 0)) {
		note_broken(check, index, row, "the one before it isn't the one that it was made after");
	}
}

/* Numbers that are missing behind `before` and before `after`: what the missing manifests were about. */
static tb_check_gap *gap_between(tb_check_stream *stream, const tb_check_row *before, const tb_check_row *after)
{
	uint64_t least = before != NULL ? before->to : 0, most = after != NULL ? after->to : UINT64_MAX;
	for (size_t i = 0; i < stream->gap_count; i++)
		if (!stream->gaps[i].explained && stream->gaps[i].from > least && stream->gaps[i].to <= most)
			return &stream->gaps[i];
	return NULL;
}

static void note_missing(tb_check *check, uint32_t index, const tb_check_row *before, const tb_check_row *after,
                         uint64_t from,
                         uint64_t to)
{
	tb_check_gap *gap = gap_between(stream_at(check, index), before, after);
	if (gap == NULL) {
		tb_check_damage(check, "manifest missing", "", index, TB_NO_ROW,
		                "manifests %llu..%llu of the chain aren't there", tb_ull(from), tb_ull(to));
		return;
	}
	gap->explained = 1;
	tb_damage *damage = tb_check_damage(check, "manifest missing", "", index, TB_NO_ROW,
	                                    "manifests %llu..%llu of the chain aren't there, with events %llu..%llu",
	                                    tb_ull(from), tb_ull(to), tb_ull(gap->from), tb_ull(gap->to));
	damage->from = gap->from;
	damage->to = gap->to;
}

/* One that can't be read has a finding already, and leaves a hole in the chain: only holes beyond those are missing. */
static uint64_t unreadable_between(const tb_check_stream *stream, const tb_check_row *before, const tb_check_row *after)
{
	uint64_t count = 0, least = before != NULL ? before->to : 0, most = after != NULL ? after->to : UINT64_MAX;
	for (size_t i = 0; i < stream->row_count; i++) {
		const tb_check_row *row = &stream->rows[i];
		count += !row->readable && row->entry.last >= least && row->entry.last <= most;
	}
	return count;
}

static void check_hole(tb_check *check, uint32_t index, const tb_check_row *before, const tb_check_row *after,
                       uint64_t from,
                       uint64_t to)
{
	if (from <= to && to - from + 1 > unreadable_between(stream_at(check, index), before, after))
		note_missing(check, index, before, after, from, to);
}

static void check_chain(tb_check *check, uint32_t index)
{
	tb_check_stream *stream = stream_at(check, index);
	size_t count;
	tb_check_row **rows = rows_by_chain(stream, &count);
	tb_check_row *before = NULL;
	for (size_t i = 0; i < count; i++) {
		check_link(check, index, before, rows[i]);
		check_hole(check, index, before, rows[i], before ? before->chain + 1 : 1, rows[i]->chain - 1);
		before = rows[i];
	}
	if (stream->head_rc == TB_OK)
		check_hole(check, index, before, NULL, before ? before->chain + 1 : 1, stream->head.chain);
	free(rows);
}

/* Heads */

static uint64_t newest_chain(const tb_check_stream *stream)
{
	uint64_t newest = 0;
	for (size_t i = 0; i < stream->row_count; i++)
		if (stream->rows[i].readable && stream->rows[i].chain > newest)
			newest = stream->rows[i].chain;
	return newest;
}

static void check_named(tb_check *check, uint32_t index, const tb_head *head, const char *code, const char *by)
{
	tb_check_stream *stream = stream_at(check, index);
	for (size_t i = 0; i < stream->row_count; i++) {
		tb_check_row *row = &stream->rows[i];
		if (!row->readable || row->chain != head->chain || memcmp(row->hash, head->manifest_hash, TB_HASH_SIZE) == 0)
			continue;
		char path[TB_MANIFEST_PATH];
		tb_check_row_path(check, index, (uint32_t)i, path);
		row->bad = 1;
		tb_check_damage(check, code, path, index, (uint32_t)i, "manifest %llu of the chain isn't the one that %s names",
		                tb_ull(row->chain), by);
	}
}

static void note_head(tb_check *check, uint32_t index, const char *code, const char *detail)
{
	char path[TB_MANIFEST_PATH + 8];
	snprintf(path, sizeof(path), "heads/%s", stream_at(check, index)->name);
	tb_check_damage(check, code, path, index, TB_NO_ROW, "%s", detail);
}

static tb_rc check_head(tb_check *check, uint32_t index, tb_err *err)
{
	tb_check_stream *stream = stream_at(check, index);
	tb_err why = { .text = "" };
	tb_head now;
	tb_rc rc = tb_archive_head(check->archive, stream->name, &now, &why);
	if (rc == TB_ENOTFOUND || tb_check_is_damage(rc)) {
		note_head(check, index, rc == TB_ENOTFOUND ? "head missing" : "head damaged", why.text);
		return TB_OK;
	}
	if (rc != TB_OK) {
		if (err != NULL)
			*err = why;
		return rc;
	}
	if (newest_chain(stream) > now.chain) {
		char detail[160];
		snprintf(detail, sizeof(detail),
		         "the head names manifest %llu as the newest, but there are manifests up to %llu",
		         tb_ull(now.chain), tb_ull(newest_chain(stream)));
		note_head(check, index, "rolled back", detail);
	}
	check_named(check, index, &now, "chain broken", "the head");
	return TB_OK;
}

static void check_remembered(tb_check *check, uint32_t index)
{
	tb_check_stream *stream = stream_at(check, index);
	if (!stream->has_remembered)
		return;
	const tb_head *remembered = &stream->remembered;
	uint64_t newest = stream->head_rc == TB_OK ? stream->head.chain : newest_chain(stream);
	check_named(check, index, remembered, "rolled back", "the catalog remembers");
	if (remembered->chain <= newest)
		return;
	tb_damage *damage = tb_check_damage(check, "rolled back", "", index, TB_NO_ROW,
	                                    "the repository ends at manifest %llu, event %llu, but manifest %llu, "
	                                    "event %llu, was stored", tb_ull(newest), tb_ull(stream->last),
	                                    tb_ull(remembered->chain),
	                                    tb_ull(remembered->last));
	if (remembered->last <= stream->last)
		return;
	damage->from = stream->last + 1;
	damage->to = remembered->last;
	add_gap(stream, damage->from, damage->to);
	stream->gaps[stream->gap_count - 1].explained = 1;
	stream->last = remembered->last;
}

/* What the head tells of lies beyond what is there: its numbers are lost too. */
static void count_head(tb_check_stream *stream)
{
	if (stream->head_rc != TB_OK || stream->head.last <= stream->last)
		return;
	add_gap(stream, stream->last + 1, stream->head.last);
	stream->last = stream->head.last;
}

tb_rc tb_check_stream_read(tb_check *check, uint32_t index, tb_err *err)
{
	tb_check_stream *stream = stream_at(check, index);
	stream->head_rc = tb_archive_head(check->archive, stream->name, &stream->head, NULL);
	tb_rc rc = read_rows(check, index, err);
	if (rc != TB_OK)
		return rc;
	check_numbers(check, index);
	count_head(stream);
	check_chain(check, index);
	rc = check_head(check, index, err);
	check_remembered(check, index);
	note_gaps(check, index);
	return rc;
}
