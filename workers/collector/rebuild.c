/* A stream's part of the bank, made anew from a tier: when the bank was lost, or another collector went on without it.
 *
 * It becomes what the lost bank held at the last segment that is stored: the state from the newest full backup and the
 * events behind its replay_from, checked against each sum that was recorded; the index of hashes from all segments; the
 * chains' heads from their manifests; the stored chunks from that backup. From there on the journal is replayed, and
 * what the other bank had cut by then is cut again in the same places (segment.c).
 *
 * The bank's record of the stream says that it is being rebuilt and how far it is, in the same transaction as what was
 * laid: a kill in between costs nothing, and nobody takes the half for a bank. A turn lays some megabytes, so leases are
 * renewed, and the other streams go on. One stream at a time is rebuilt. At its end the lease is let go: the next grant
 * brings again what was open, and is compared with the new bank like with any other.
 *
 * Everything that has a manifest has to be in the tier before: then which backups were made is known from there, and
 * where segments without a manifest end is told by their SEALED frames. So it waits for the storer.
 *
 * What the tier can't give now (an identity, the tier itself) is tried again; the old bank stays until then. A backup
 * that is damaged is passed over for an older one. */
#include "workers/collector/rebuild_parts.h"

#include "base/log.h"
#include "run/tier_access.h"

#include <stdio.h>
#include <stdlib.h>

#define TURN_BYTES (8u << 20) /* plain, laid in a turn: about */
#define ENTRY_BYTES 8192u     /* what reading a manifest counts */
#define ROWS_CLEARED 50000u   /* in a turn */
#define RETRY_SOON (TB_NS_PER_S / 5)
#define RETRY_LATER (5 * TB_NS_PER_S)
#define RETRY_DAMAGED (60 * TB_NS_PER_S) /* all of it is read again */

static void close_archive(tb_collector *collector, tb_stream *stream)
{
	tb_rebuild *rebuild = stream->rebuild;
	tb_archive_close(rebuild->archive);
	tb_arena_free(rebuild->arena);
	tb_arena_free(rebuild->entry_arena);
	free(rebuild->entries);
	rebuild->archive = NULL;
	rebuild->arena = rebuild->entry_arena = NULL;
	rebuild->entries = NULL;
	rebuild->entry_count = rebuild->next = 0;
	rebuild->base = NULL;
	rebuild->full = NULL;
	rebuild->before_chain = 0;
	rebuild->open = 0;
	if (collector->rebuilding == stream)
		collector->rebuilding = NULL;
}

void rebuild_drop(tb_collector *collector, tb_stream *stream)
{
	if (stream->rebuild == NULL)
		return;
	close_archive(collector, stream);
	free(stream->rebuild);
	stream->rebuild = NULL;
}

void rebuild_want(tb_collector *collector, tb_stream *stream, const Tb__Grant *grant, const char *why)
{
	rebuild_drop(collector, stream);
	tb_rebuild *rebuild = stream->rebuild = tb_alloc_zero(1, sizeof(*rebuild));
	rebuild->finished = grant->finished;
	rebuild->chain = grant->chain;
	if (grant->manifest_hash.len == TB_HASH_SIZE)
		memcpy(rebuild->manifest_hash, grant->manifest_hash.data, TB_HASH_SIZE);
	rebuild->base_below = SIZE_MAX;
	snprintf(rebuild->why, sizeof(rebuild->why), "%s", why);
	tb_log(TB_LOG_WARN, "stream %s: %s; it is to be rebuilt", stream->name, why);
}

int rebuild_tell(const tb_collector *collector, const tb_stream *stream, tb_buf *to)
{
	const tb_rebuild *rebuild = stream->rebuild;
	size_t all = rebuild->entry_count + (rebuild->full != NULL ? rebuild->full->n_objects : 0);
	size_t done = rebuild->next + (size_t)stream->rebuild_chunk;
	if (rebuild->stuck)
		tb_buf_print(to, "stream %s isn't taken: %s", stream->name, rebuild->why);
	else if (collector->rebuilding != stream)
		tb_buf_print(to, "stream %s: rebuilding: %s", stream->name, rebuild->why);
	else
		tb_buf_print(to, "stream %s: rebuilding: %zu %%", stream->name, all > 0 ? 100 * done / all : 0);
	return rebuild->stuck;
}

/* ---- what doesn't go on */

static void put_off(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t after_ns, int stuck,
                    const tb_err *why)
{
	tb_rebuild *rebuild = stream->rebuild;
	tb_err now = *why;
	if (strncmp(rebuild->why, now.text, sizeof(rebuild->why) - 1) != 0)
		tb_log_err(stuck ? TB_LOG_ERROR : TB_LOG_INFO, "rebuilding a stream waits", &now);
	snprintf(rebuild->why, sizeof(rebuild->why), "%s", now.text);
	rebuild->stuck = stuck;
	rebuild->retry_ns = turn->mono_ns + after_ns;
	close_archive(collector, stream);
}

static void begin_anew(tb_collector *collector, tb_stream *stream)
{
	stream_blank(stream);
	stream->rebuilding = stream->clearing = 1;
	stream->rebuild_chunk = 0;
	stream->rebuild_base[0] = '\0';
	close_archive(collector, stream);
}

/* Damage: an older backup leads there as well. Without one all there is to do is to say so. */
static void pass_over(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_err *why)
{
	tb_rebuild *rebuild = stream->rebuild;
	size_t below = rebuild->base != NULL ? (size_t)(rebuild->base - rebuild->entries) : SIZE_MAX;
	if (rebuild->base != NULL)
		tb_log_err(TB_LOG_ERROR, "rebuilding passes over a backup", why);
	else
		put_off(collector, turn, stream, RETRY_DAMAGED, 1, why);
	rebuild->base_below = below;
	begin_anew(collector, stream);
}

/* What reading gave: gone on from, or tried again. Returns 1 to go on. */
static int is_read(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_rc rc, const tb_err *why)
{
	if (rc == TB_OK)
		return 1;
	if (rc == TB_ECORRUPT || rc == TB_ENOTFOUND)
		pass_over(collector, turn, stream, why);
	else
		put_off(collector, turn, stream, RETRY_LATER, 1, why);
	return 0;
}

/* ---- opening the tier */

static tb_rc open_archive(tb_collector *collector, tb_rebuild *rebuild, tb_err *err)
{
	const tb_collector_config *config = collector->config;
	tb_rc rc = tb_tier_access(collector->env, config->rebuild_identity, config->rebuild_repository, &rebuild->archive, err);
	if (rc == TB_OK &&
	    (memcmp(tb_archive_instance(rebuild->archive), tb_key_instance(collector->key), TB_PUBLIC_KEY) != 0 ||
	     memcmp(tb_archive_repository(rebuild->archive), tb_key_repository(collector->key), TB_REPOSITORY_ID) != 0))
		rc = tb_fail(err, TB_EKEY, "the identity is of another instance than this collector's key");
	return rc;
}

/* TB_EBUSY: the storer isn't there yet. */
static tb_rc check_head(const tb_rebuild *rebuild, const tb_stream *stream, tb_err *err)
{
	tb_head head = { .chain = 0 };
	tb_rc rc = tb_archive_head(rebuild->archive, stream->name, &head, err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	if (head.chain < rebuild->chain)
		return tb_fail(err, TB_EBUSY, "manifest %llu of stream %s isn't stored yet: the repository has %llu of them",
		               tb_ull(rebuild->chain), stream->name, tb_ull(head.chain));
	if (head.chain > rebuild->chain || memcmp(head.manifest_hash, rebuild->manifest_hash, TB_HASH_SIZE) != 0)
		return tb_fail(err, TB_EREFUSED, "the repository's manifest %llu of stream %s isn't the broker's %llu",
		               tb_ull(head.chain), stream->name, tb_ull(rebuild->chain));
	return TB_OK;
}

static void find_target(tb_rebuild *rebuild)
{
	rebuild->target = 0;
	for (size_t i = 0; i < rebuild->entry_count; i++)
		if (tb_archive_is(&rebuild->entries[i], "SEG"))
			rebuild->target = rebuild->entries[i].last;
}

/* The newest backup that isn't passed over; or the one with which it was begun. */
static void find_base(tb_rebuild *rebuild, const tb_stream *stream)
{
	rebuild->base = NULL;
	for (size_t i = 0; i < rebuild->entry_count && i < rebuild->base_below; i++) {
		const tb_archive_entry *entry = &rebuild->entries[i];
		if (tb_archive_is(entry, "FUL") && (!stream->rebuilding || stream->clearing ||
		                                    strcmp(entry->id, stream->rebuild_base) == 0))
			rebuild->base = entry;
	}
}

static tb_rc read_base(tb_rebuild *rebuild, const tb_stream *stream, tb_err *err)
{
	uint8_t hash[TB_HASH_SIZE];
	if (rebuild->base == NULL)
		return TB_OK;
	tb_rc rc = tb_archive_manifest(rebuild->archive, stream->name, rebuild->base, rebuild->arena, &rebuild->full, hash,
	                               err);
	if (rc == TB_OK && (rebuild->full->from == 0 || rebuild->full->period.len != TB_PERIOD_ID))
		rc = tb_fail(err, TB_ECORRUPT, "backup %s isn't one to begin with", rebuild->base->id);
	return rc;
}

static tb_rc list_entries(tb_rebuild *rebuild, const tb_stream *stream, tb_err *err)
{
	tb_rc rc = tb_archive_list(rebuild->archive, stream->name, &rebuild->entries, &rebuild->entry_count, err);
	if (rc != TB_OK)
		return rc;
	find_target(rebuild);
	find_base(rebuild, stream);
	if (rebuild->target < rebuild->finished)
		return tb_fail(err, TB_EREFUSED, "the repository ends at event %llu of stream %s, but %llu was stored",
		               tb_ull(rebuild->target), stream->name, tb_ull(rebuild->finished));
	return TB_OK;
}

/* From here on the old bank's part is gone. */
static tb_rc discard(tb_turn *turn, tb_stream *stream, tb_err *err)
{
	tb_rebuild *rebuild = stream->rebuild;
	tb_log(TB_LOG_WARN, "stream %s: what this bank held of it is discarded, and rebuilt up to event %llu", stream->name,
	       tb_ull(rebuild->target));
	stream_blank(stream);
	stream->suspect = 0;
	stream->rebuilding = stream->clearing = 1;
	stream->rebuild_chunk = 0;
	snprintf(stream->rebuild_base, sizeof(stream->rebuild_base), "%s", rebuild->base != NULL ? rebuild->base->id : "");
	return tb_turn_forget(turn, stream->id, err);
}

static tb_rc open_tier(tb_collector *collector, tb_stream *stream, tb_err *err)
{
	tb_rebuild *rebuild = stream->rebuild;
	tb_rc rc = open_archive(collector, rebuild, err);
	if (rc == TB_OK)
		rc = check_head(rebuild, stream, err);
	if (rc == TB_OK)
		rc = list_entries(rebuild, stream, err);
	if (rc == TB_EBUSY || rc == TB_OK)
		return rc;
	tb_err why = *err;
	return tb_fail(err, rc, "%.120s, and can't be rebuilt: %.200s",
	               stream->rebuilding ? "this bank isn't whole" : "this bank doesn't go on from what is stored", why.text);
}

static tb_rc open_step(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	tb_rebuild *rebuild = stream->rebuild;
	tb_err why = { 0 };
	rebuild->arena = tb_arena_new();
	rebuild->entry_arena = tb_arena_new();
	rebuild->target = 0;
	if (rebuild->finished > 0 || rebuild->chain > 0) {
		tb_rc rc = open_tier(collector, stream, &why);
		if (rc != TB_OK) {
			put_off(collector, turn, stream, rc == TB_EBUSY ? RETRY_SOON : RETRY_LATER, rc != TB_EBUSY, &why);
			return TB_OK;
		}
		if (!is_read(collector, turn, stream, read_base(rebuild, stream, &why), &why))
			return TB_OK;
	}
	int same = strcmp(stream->rebuild_base, rebuild->base != NULL ? rebuild->base->id : "") == 0;
	rebuild->open = 1;
	rebuild->stuck = 0;
	return stream->rebuilding && !stream->clearing && same ? TB_OK : discard(turn, stream, err);
}

/* ---- laying */

static tb_rc clear_step(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	const tb_db dbs[] = { collector->heads_db, collector->moved_db, collector->segments_db, collector->links_db };
	uint64_t most = ROWS_CLEARED;
	uint8_t key[16];
	tb_span prefix = tb_span_of(collector_key(key, stream, 0).data, 8);
	tb_rc rc = tb_event_index_clear(stream->index, turn->txn, &most, err);
	for (size_t i = 0; rc == TB_OK && i < sizeof(dbs) / sizeof(dbs[0]); i++)
		rc = tb_txn_delete_below(turn->txn, dbs[i], prefix, &most, err);
	if (rc == TB_OK)
		rc = tb_txn_empty(turn->txn, stream->state, err);
	if (rc == TB_OK)
		rc = tb_txn_empty(turn->txn, stream->beside, err);
	if (rc != TB_OK || most == 0)
		return rc;
	stream->clearing = 0;
	stream->dirty = 1;
	return plan_forget_unstored(collector, turn, stream, err);
}

static tb_rc chunk_step(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t *budget, tb_err *err)
{
	tb_rebuild *rebuild = stream->rebuild;
	const Tb__ObjectRef *object = rebuild->full->objects[stream->rebuild_chunk];
	tb_auto(tb_buf_drop) tb_buf plain = { 0 };
	tb_err why = { 0 };
	tb_rc rc = tb_archive_object(rebuild->archive, object, TB_CONTENT_CHUNK, &plain, &why);
	if (!is_read(collector, turn, stream, rc, &why))
		return TB_OK;
	*budget += plain.size + ENTRY_BYTES;
	rc = lay_chunk(collector, turn, stream, object, tb_buf_span(&plain), err);
	if (rc != TB_ECORRUPT)
		return rc;
	pass_over(collector, turn, stream, err);
	return TB_OK;
}

static tb_rc read_entry(tb_rebuild *rebuild, const tb_stream *stream, const tb_archive_entry *entry, tb_read_entry *read,
                        tb_err *err)
{
	tb_rc rc = tb_archive_manifest(rebuild->archive, stream->name, entry, rebuild->entry_arena, &read->manifest,
	                               read->hash, err);
	if (rc != TB_OK)
		return rc;
	const Tb__Manifest *manifest = read->manifest;
	if (rebuild->before_chain != 0 && manifest->chain == rebuild->before_chain + 1 &&
	    (manifest->before.len != TB_HASH_SIZE || memcmp(manifest->before.data, rebuild->before_hash, TB_HASH_SIZE) != 0))
		return tb_fail(err, TB_ECORRUPT, "the chain of stream %s is broken at manifest %llu", stream->name,
		               tb_ull(manifest->chain));
	rc = tb_archive_private(rebuild->archive, manifest, rebuild->entry_arena, &read->private_part, err);
	if (rc == TB_OK && manifest->n_objects != 1)
		rc = tb_fail(err, TB_ECORRUPT, "the manifest of segment %s isn't one of a segment", manifest->backup);
	if (rc == TB_OK)
		rc = tb_archive_object(rebuild->archive, manifest->objects[0], TB_CONTENT_SEGMENT, &read->plain, err);
	return rc == TB_OK ? tb_segment_check(tb_buf_span(&read->plain), manifest, err) : rc;
}

static tb_rc lay_read(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_read_entry *read, tb_err *err)
{
	tb_rebuild *rebuild = stream->rebuild;
	rebuild->before_chain = read->manifest->chain;
	memcpy(rebuild->before_hash, read->hash, TB_HASH_SIZE);
	rebuild->next++;
	return lay_segment(collector, turn, stream, read, err);
}

static int is_laid(const tb_stream *stream, const tb_archive_entry *entry)
{
	return tb_archive_is(entry, "SEG") ? entry->last <= stream->applied : entry->last < stream->applied;
}

static tb_rc segment_step(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_archive_entry *entry,
                          uint64_t *budget, tb_err *err)
{
	tb_rebuild *rebuild = stream->rebuild;
	tb_read_entry read = { 0 };
	tb_err why = { 0 };
	tb_arena_reset(rebuild->entry_arena);
	tb_rc rc = read_entry(rebuild, stream, entry, &read, &why);
	*budget += read.plain.size + ENTRY_BYTES;
	if (is_read(collector, turn, stream, rc, &why))
		rc = lay_read(collector, turn, stream, &read, err);
	else
		rc = TB_OK;
	tb_buf_drop(&read.plain);
	if (rc != TB_ECORRUPT)
		return rc;
	pass_over(collector, turn, stream, err);
	return TB_OK;
}

/* Of a backup its name says enough: that it was made. */
static tb_rc entry_step(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t *budget, tb_err *err)
{
	tb_rebuild *rebuild = stream->rebuild;
	const tb_archive_entry *entry = &rebuild->entries[rebuild->next];
	if (tb_archive_is(entry, "SEG") && !is_laid(stream, entry))
		return segment_step(collector, turn, stream, entry, budget, err);
	rebuild->next++;
	return is_laid(stream, entry) ? TB_OK : plan_note_stored(collector, turn, stream, entry->id, entry->last, err);
}

/* Nothing waits for what the next grant tells: the lease is let go, and what is open comes with the new one. */
static tb_rc finish(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	const tb_rebuild *rebuild = stream->rebuild;
	stream->rebuilding = 0;
	stream->rebuild_base[0] = '\0';
	stream->rebuild_chunk = 0;
	stream->segment_from = stream->applied + 1;
	stream->chain = rebuild->chain;
	memcpy(stream->manifest_hash, rebuild->manifest_hash, TB_HASH_SIZE);
	stream->manifested = stream->applied;
	stream->stored = rebuild->finished;
	tb_log(TB_LOG_INFO, "stream %s is rebuilt: it goes on after event %llu", stream->name, tb_ull(stream->applied));
	tb_rc rc = stream->chain > 0 ? agree_remember(collector, turn, stream, err) : TB_OK;
	stream_let_go(collector, turn, stream);
	return rc == TB_OK ? stream_write(collector, turn, stream, err) : rc;
}

static tb_rc lay_step(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err)
{
	tb_rebuild *rebuild = stream->rebuild;
	tb_rc rc = TB_OK;
	for (uint64_t laid = 0; rc == TB_OK && rebuild->open && laid < TURN_BYTES;) {
		if (stream->clearing)
			return clear_step(collector, turn, stream, err);
		if (rebuild->full != NULL && stream->rebuild_chunk < rebuild->full->n_objects)
			rc = chunk_step(collector, turn, stream, &laid, err);
		else if (rebuild->next < rebuild->entry_count)
			rc = entry_step(collector, turn, stream, &laid, err);
		else
			return finish(collector, turn, stream, err);
	}
	return rc;
}

tb_rc rebuild_step(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t *ret_wait_ns, tb_err *err)
{
	tb_rebuild *rebuild = stream->rebuild;
	if (rebuild == NULL || stream->generation == 0)
		return TB_OK;
	if ((collector->rebuilding != NULL && collector->rebuilding != stream) || turn->mono_ns < rebuild->retry_ns) {
		*ret_wait_ns = *ret_wait_ns < RETRY_SOON ? *ret_wait_ns : RETRY_SOON;
		return TB_OK;
	}
	collector->rebuilding = stream;
	tb_rc rc = rebuild->open ? lay_step(collector, turn, stream, err) : open_step(collector, turn, stream, err);
	if (rc == TB_OK && stream->dirty)
		rc = stream_write(collector, turn, stream, err);
	*ret_wait_ns = 0;
	return rc;
}
