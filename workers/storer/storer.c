/* The storer: objects and manifests onto the primary tier, objects before the manifests that name them. It holds no
 * key: names are hashes of what it stores, and it reads back what it wrote. */
#include "workers/storer/storer.h"

#include "base/log.h"
#include "base/planted.h"
#include "frames.pb-c.h"
#include "run/config.h"
#include "store/catalog.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct storer {
	tb_worker_env *env;
	tb_tier *tier;
	uint8_t repository[TB_REPOSITORY_ID];
	uint64_t held; /* manifests that were not taken in this life */
	char why[300]; /* the last of them */
	uint64_t refreshed; /* generation under which the catalog was compared with the tier */
} storer;

static void storer_close(void *self)
{
	storer *s = self;
	tb_tier_close(s->tier);
	free(s);
}

/* ---- the catalog */

static tb_rc refresh_catalog(storer *s, tb_txn *txn, tb_err *err)
{
	tb_catalog_rebuilt rebuilt = { 0 };
	tb_rc rc = tb_catalog_rebuild(txn, s->tier, tb_real_ns(s->env->clock), &rebuilt, err);
	if (rc == TB_OK && rebuilt.objects + rebuilt.manifests > 0)
		tb_log(TB_LOG_WARN, "the catalog didn't know %llu objects and %llu manifests of the repository: it does now",
		       (unsigned long long)rebuilt.objects, (unsigned long long)rebuilt.manifests);
	return rc;
}

/* A bank that is new is filled from the tier, before anything else is done: all of it, or it is new the next time. */
static tb_rc fill_catalog(storer *s, tb_txn *txn, tb_err *err)
{
	tb_db meta;
	tb_span value;
	tb_rc rc = tb_txn_db(txn, "meta", &meta, err);
	if (rc == TB_OK)
		rc = tb_txn_get(txn, meta, tb_span_text("catalog"), &value, err);
	if (rc != TB_ENOTFOUND)
		return rc;
	rc = refresh_catalog(s, txn, err);
	return rc == TB_OK ? tb_txn_put(txn, meta, tb_span_text("catalog"), tb_span_text("whole"), err) : rc;
}

static tb_rc open_catalog(storer *s, tb_err *err)
{
	tb_txn *txn;
	tb_rc rc = tb_bank_write(s->env->bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = fill_catalog(s, txn, err);
	if (rc == TB_OK)
		return tb_txn_commit(txn, err);
	tb_txn_abort(txn);
	return rc;
}

/* ---- opening */

static tb_rc storer_open(tb_worker_env *env, void **ret_self, tb_err *err)
{
	const tb_storer_config *config = env->options;
	storer *s = tb_alloc_zero(1, sizeof(*s));
	s->env = env;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = TB_OK;
	if (config->repository != NULL)
		tb_buf_print(&path, "%s", config->repository);
	else if (env->dir != NULL)
		tb_buf_print(&path, "%s/repository", env->dir);
	else
		rc = tb_fail(err, TB_EINVAL, "no repository is named; say --dir or TB_REPOSITORY");
	if (rc == TB_OK)
		rc = tb_tier_open(env->disk, tb_buf_text(&path), 0, &s->tier, err);
	if (rc == TB_OK)
		rc = tb_repository_read(s->tier, s->repository, err);
	if (rc == TB_OK)
		rc = open_catalog(s, err);
	if (rc != TB_OK) {
		storer_close(s);
		return rc;
	}
	*ret_self = s;
	return TB_OK;
}

static tb_rc finish(tb_turn *turn, uint64_t id, tb_span frames, tb_err *err)
{
	return tb_turn_put(turn, &(tb_put){ .frames = frames, .finished = &id, .finished_count = 1 }, err);
}

/* When its disk is unmounted an empty directory may be left, and what went there would be stored nowhere. */
static tb_rc check_repository(storer *s, tb_err *err)
{
	uint8_t id[TB_REPOSITORY_ID];
	tb_rc rc = tb_repository_read(s->tier, id, err);
	if (rc != TB_OK || memcmp(id, s->repository, sizeof(id)) == 0)
		return rc;
	tb_fail(err, TB_EIO, "%s isn't the repository any more that it was when this process started", s->tier->url);
	tb_hint(err, "is another disk mounted there?");
	return TB_EIO;
}

/* Written, synced, and the same when read back. */
static tb_rc put_checked(storer *s, const char *path, tb_span bytes, tb_err *err)
{
	int same = 0;
	tb_rc rc = check_repository(s, err);
	if (rc == TB_OK)
		rc = s->tier->put(s->tier, path, bytes, err);
	if (rc == TB_OK)
		rc = s->tier->holds(s->tier, path, bytes, &same, err);
	if (rc == TB_OK && !same)
		rc = tb_fail(err, TB_ECORRUPT, "%s reads back other bytes than were written to it", path);
	return rc;
}

static tb_rc store_object(storer *s, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	uint8_t name[TB_OBJECT_NAME];
	char path[TB_OBJECT_PATH];
	tb_content content;
	uint64_t plain_size;
	uint8_t period[TB_PERIOD_ID];
	if (tb_object_head(frame->body, &content, &plain_size, period, err) != TB_OK)
		return tb_turn_reject(turn, frame, id, NULL, "not an object", err);
	tb_object_name(frame->body, name);
	tb_object_path(name, path);
	tb_rc rc = put_checked(s, path, frame->body, err);
	if (rc == TB_OK)
		rc = tb_catalog_object(turn->txn, name, frame->body.size, turn->now_ns, err);
	if (rc == TB_OK)
		rc = finish(turn, id, (tb_span){ 0 }, err);
	return rc;
}

/* Objects come before the manifest that names them; one that isn't there was rejected on its way. */
static tb_rc check_objects(tb_turn *turn, const Tb__ManifestFrame *manifest, tb_err *err)
{
	for (size_t i = 0; i < manifest->n_objects; i++) {
		int has = 0;
		if (manifest->objects[i].len != TB_OBJECT_NAME)
			return tb_fail(err, TB_EINVAL, "manifest %s names an object badly", manifest->path);
		tb_rc rc = tb_catalog_has_object(turn->txn, manifest->objects[i].data, &has, err);
		if (rc == TB_OK && !has && !TB_PLANTED(6)) {
			char hex[2 * TB_OBJECT_NAME + 1];
			tb_hex(hex, manifest->objects[i].data, TB_OBJECT_NAME);
			rc = tb_fail(err, TB_ENOTFOUND, "manifest %s names object %s, which was never stored", manifest->path, hex);
		}
		if (rc != TB_OK)
			return rc;
	}
	return TB_OK;
}

struct heads {
	tb_tier *tier;
	const char *keep;
};

/* Names end in the chain's number, of twenty digits: older ones sort before. What else lies there isn't ours. */
static int is_older_head(const char *name, const char *keep)
{
	size_t size = strlen(keep), before = size - 20;
	return strlen(name) == size && strspn(name + before, "0123456789") == 20 && strcmp(name, keep) < 0;
}

static tb_rc remove_older_head(void *context, const char *name, uint64_t size, tb_err *err)
{
	struct heads *heads = context;
	(void)size;
	return is_older_head(name, heads->keep) ? heads->tier->remove(heads->tier, name, err) : TB_OK;
}

static tb_rc store_head(storer *s, const Tb__ManifestFrame *manifest, tb_err *err)
{
	char path[TB_MANIFEST_PATH], below[TB_MANIFEST_PATH];
	tb_head_path(manifest->stream, manifest->chain, path);
	tb_rc rc = put_checked(s, path, tb_span_of(manifest->head.data, manifest->head.len), err);
	if (rc != TB_OK)
		return rc;
	snprintf(below, sizeof(below), "heads/%s", manifest->stream);
	return s->tier->list(s->tier, below, remove_older_head, &(struct heads){ s->tier, path }, err);
}

static void fill_stored(tb_turn *turn, const Tb__ManifestFrame *manifest, Tb__Stored *stored, char **tiers)
{
	stored->stream = manifest->stream;
	stored->backup = manifest->backup;
	stored->type = manifest->type;
	stored->from = manifest->from;
	stored->to = manifest->to;
	stored->chain = manifest->chain;
	stored->path = manifest->path;
	stored->bytes_plain = manifest->bytes_plain;
	stored->bytes_stored = manifest->bytes_stored;
	stored->records = manifest->records;
	stored->time_ns = manifest->time_ns;
	stored->started_ns = manifest->started_ns;
	stored->stored_ns = turn->now_ns;
	tiers[0] = (char *)(uintptr_t)"local";
	stored->tiers = tiers;
	stored->n_tiers = 1;
}

static tb_rc tell_stored(tb_turn *turn, const tb_frame *frame, uint64_t id, const Tb__ManifestFrame *manifest,
                         tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	Tb__Stored stored = TB__STORED__INIT;
	char *tiers[1];
	fill_stored(turn, manifest, &stored, tiers);
	size_t at = tb_frame_begin(&frames);
	tb_buf_reserve(&frames, tb__stored__get_packed_size(&stored));
	frames.size += tb__stored__pack(&stored, frames.data + frames.size);
	tb_frame_end(&frames, at, &(tb_frame){
		.kind = TB_KIND_STORED, .count = 1, .stream = frame->stream, .first = manifest->chain,
	});
	return finish(turn, id, tb_buf_span(&frames), err);
}

/* Does it say of itself what its stream, type and numbers make of it? Nothing else may be written. */
static int manifest_fits(const Tb__ManifestFrame *manifest)
{
	char path[TB_MANIFEST_PATH];
	if (tb_stream_check(manifest->stream, NULL) != TB_OK || tb_backup_type_find(manifest->type) == NULL ||
	    !tb_backup_id_valid(manifest->backup) || manifest->chain == 0 || manifest->head.len != TB_HEAD_SIZE)
		return 0;
	tb_manifest_path(manifest->stream, manifest->to, manifest->type, manifest->backup, path);
	return strcmp(path, manifest->path) == 0;
}

/* It names what was never stored, or isn't the next of its chain: an operator has to look. It stays open at the broker,
 * which gives it again to the next life of this process, and meanwhile the other streams go on. */
static tb_rc hold(storer *s, const tb_err *why)
{
	tb_log_err(TB_LOG_ERROR, "held", why);
	snprintf(s->why, sizeof(s->why), "%.240s%s", why->text, s->held > 0 ? " (and others)" : "");
	s->held++;
	return TB_OK;
}

static tb_rc record_manifest(tb_turn *turn, const Tb__ManifestFrame *manifest, const uint8_t hash[TB_HASH_SIZE],
                             tb_err *err)
{
	tb_rc rc = check_objects(turn, manifest, err);
	return rc == TB_OK ? tb_catalog_manifest(turn->txn, manifest, hash, turn->now_ns, err) : rc;
}

static int is_unfit(tb_rc rc)
{
	return rc == TB_EINVAL || rc == TB_ENOTFOUND || rc == TB_EREFUSED;
}

/* The catalog first: it knows whether this is the next of its chain, and until the commit nothing of it holds. */
static tb_rc store_manifest(storer *s, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	Tb__ManifestFrame *manifest =
		tb__manifest_frame__unpack(tb_arena_allocator(turn->arena), frame->body.size, frame->body.data);
	if (manifest == NULL || !manifest_fits(manifest))
		return tb_turn_reject(turn, frame, id, NULL, "not a manifest", err);
	uint8_t hash[TB_HASH_SIZE];
	tb_span file = tb_span_of(manifest->manifest.data, manifest->manifest.len);
	tb_manifest_hash(file, hash);
	tb_rc rc = record_manifest(turn, manifest, hash, err);
	if (is_unfit(rc) && s->refreshed != turn->generation) { /* another storer may have gone on from here */
		s->refreshed = turn->generation;
		rc = refresh_catalog(s, turn->txn, err);
		if (rc == TB_OK)
			rc = record_manifest(turn, manifest, hash, err);
	}
	if (is_unfit(rc))
		return hold(s, err);
	if (rc == TB_OK)
		rc = put_checked(s, manifest->path, file, err);
	if (rc == TB_OK)
		rc = store_head(s, manifest, err);
	if (rc == TB_OK)
		rc = tell_stored(turn, frame, id, manifest, err);
	return rc;
}

/* Is it recorded, and there, and of that size? A catalog also remembers what somebody has removed. */
static tb_rc is_present(storer *s, tb_turn *turn, const Tb__AskedObject *object, int *ret_present, tb_err *err)
{
	char path[TB_OBJECT_PATH];
	uint64_t size = 0;
	tb_rc rc = tb_catalog_has_object(turn->txn, object->name.data, ret_present, err);
	if (rc != TB_OK || !*ret_present)
		return rc;
	tb_object_path(object->name.data, path);
	rc = s->tier->stat(s->tier, path, &size, err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	*ret_present = rc == TB_OK && size == object->size_stored;
	return TB_OK;
}

static tb_rc find_missing(storer *s, tb_turn *turn, const Tb__Ask *ask, Tb__Present *present, tb_err *err)
{
	tb_rc rc = TB_OK;
	present->missing = tb_arena_alloc(turn->arena, ask->n_objects * sizeof(*present->missing));
	for (size_t i = 0; rc == TB_OK && i < ask->n_objects; i++) {
		int there = 0;
		if (ask->objects[i]->name.len == TB_OBJECT_NAME)
			rc = is_present(s, turn, ask->objects[i], &there, err);
		if (!there)
			present->missing[present->n_missing++] = (uint32_t)i;
	}
	return rc;
}

/* A collector asks before it signs: what a manifest names has to be there. */
static tb_rc answer_ask(storer *s, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	Tb__Ask *ask = tb__ask__unpack(tb_arena_allocator(turn->arena), frame->body.size, frame->body.data);
	if (ask == NULL)
		return tb_turn_reject(turn, frame, id, NULL, "not a question", err);
	Tb__Present present = TB__PRESENT__INIT;
	present.plan = ask->plan;
	tb_rc rc = find_missing(s, turn, ask, &present, err);
	if (rc != TB_OK)
		return rc;
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	size_t at = tb_frame_begin(&frames);
	tb_buf_reserve(&frames, tb__present__get_packed_size(&present));
	frames.size += tb__present__pack(&present, frames.data + frames.size);
	tb_frame_end(&frames, at, &(tb_frame){ .kind = TB_KIND_PRESENT, .count = 1, .stream = frame->stream });
	return finish(turn, id, tb_buf_span(&frames), err);
}

static tb_rc storer_handle(void *self, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	if (frame->kind == TB_KIND_OBJECT)
		return store_object(self, turn, frame, id, err);
	if (frame->kind == TB_KIND_MANIFEST)
		return store_manifest(self, turn, frame, id, err);
	if (frame->kind == TB_KIND_ASK)
		return answer_ask(self, turn, frame, id, err);
	return tb_turn_reject(turn, frame, id, NULL, "a kind that storers don't take", err);
}

static tb_rc storer_tick(void *self, tb_turn *turn, uint64_t *ret_wait_ns, tb_err *err)
{
	(void)self;
	(void)turn;
	(void)err;
	*ret_wait_ns = TB_NS_PER_S;
	return TB_OK;
}

static void storer_health(void *self, tb_arena *arena, Tb__Health *health)
{
	const storer *s = self;
	(void)arena;
	if (s->held == 0)
		return;
	health->state = (char *)(uintptr_t)"critical";
	health->detail = (char *)(uintptr_t)s->why;
}

const tb_worker storer_worker = {
	.name = "storer",
	.summary = "Writes objects and manifests to the primary tier and keeps the catalog. Holds no key.",
	.group = TB_GROUP_STORER,
	.rows = tb_storer_rows,
	.options_size = sizeof(tb_storer_config),
	.open = storer_open,
	.handle = storer_handle,
	.tick = storer_tick,
	.health = storer_health,
	.close = storer_close,
};
