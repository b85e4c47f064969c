#include "store/restore.h"

#include "store/catalog.h"

#include <stdlib.h>

/* In a repository that opened with this identity, a manifest whose signature doesn't hold was altered. */
tb_rc tb_plan_manifest(tb_restore_plan *plan, const tb_archive_entry *entry, tb_arena *arena,
                       Tb__Manifest **ret_manifest,
                       uint8_t ret_hash[TB_HASH_SIZE], tb_err *err)
{
	tb_rc rc = tb_archive_manifest(plan->archive, plan->stream, entry, arena, ret_manifest, ret_hash, err);
	if (rc != TB_EKEY && rc != TB_ENOTFOUND)
		return rc;
	if (err != NULL)
		err->rc = TB_ECORRUPT;
	return TB_ECORRUPT;
}

/* What the repository has */

static tb_rc look_at_remembered(tb_restore_plan *plan, const char *catalog, tb_err *err)
{
	if (catalog == NULL)
		return TB_OK;
	tb_rc rc = tb_catalog_head(catalog, plan->stream, &plan->remembered, err);
	plan->has_remembered = rc == TB_OK;
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

/* A head that is damaged or missing stops nobody who knows the number he wants. */
static tb_rc look_at_head(tb_restore_plan *plan, tb_err *err)
{
	tb_rc rc = tb_archive_head(plan->archive, plan->stream, &plan->head, err);
	plan->has_head = rc == TB_OK;
	return rc == TB_ENOTFOUND || rc == TB_ECORRUPT || rc == TB_EKEY ? TB_OK : rc;
}

static uint64_t known_last(const tb_restore_plan *plan)
{
	uint64_t head = plan->has_head ? plan->head.last : 0;
	uint64_t remembered = plan->has_remembered ? plan->remembered.last : 0;
	return head > remembered ? head : remembered;
}

static tb_rc look_at_entries(tb_restore_plan *plan, tb_err *err)
{
	tb_rc rc = tb_archive_list(plan->archive, plan->stream, &plan->entries, &plan->entry_count, err);
	if (rc == TB_ENOTFOUND && (plan->has_head || plan->has_remembered))
		return tb_fail(err, TB_ECORRUPT,
		               "all manifests of stream %s are gone from the repository, but event %llu was stored",
		               plan->stream, tb_ull(known_last(plan)));
	if (rc == TB_OK)
		plan->stored_last = plan->entries[plan->entry_count - 1].last;
	return rc;
}

/* Is the manifest that the head names there, byte for byte? It is among the last ones, if it is. */
static tb_rc find_named_by_head(tb_restore_plan *plan, int *ret_found, tb_err *err)
{
	tb_arena *arena = tb_arena_new();
	int found = 0;
	tb_rc rc = TB_OK;
	for (size_t i = plan->entry_count; rc == TB_OK && !found && i-- > 0;) {
		Tb__Manifest *manifest;
		uint8_t hash[TB_HASH_SIZE];
		rc = tb_plan_manifest(plan, &plan->entries[i], arena, &manifest, hash, err);
		found = rc == TB_OK && memcmp(hash, plan->head.manifest_hash, sizeof(hash)) == 0;
		if (rc == TB_ECORRUPT)
			rc = TB_OK; /* whether it matters is found out by who needs it */
		tb_arena_reset(arena);
	}
	tb_arena_free(arena);
	if (rc == TB_OK)
		*ret_found = found;
	return rc;
}

static tb_rc cut_short(const tb_restore_plan *plan, uint64_t was_stored, tb_err *err)
{
	if (was_stored > plan->stored_last)
		tb_fail(err, TB_ECORRUPT, "the repository ends at event %llu of stream %s, but %llu was stored",
		        tb_ull(plan->stored_last), plan->stream, tb_ull(was_stored));
	else
		tb_fail(err, TB_ECORRUPT, "the newest manifest of stream %s that was stored isn't in the repository",
		        plan->stream);
	tb_hint(err, "restore what is there with --event %llu; another tier may hold the rest", tb_ull(plan->stored_last));
	return TB_ECORRUPT;
}

static tb_rc check_latest(tb_restore_plan *plan, tb_err *err)
{
	if (plan->has_remembered && plan->remembered.chain > (plan->has_head ? plan->head.chain : 0))
		return cut_short(plan, plan->remembered.last, err);
	if (!plan->has_head) {
		tb_fail(err, TB_ECORRUPT, "the head of stream %s is missing or damaged: whether its newest events are there "
		        "can't be told", plan->stream);
		tb_hint(err, "restore what is there with --event %llu", tb_ull(plan->stored_last));
		return TB_ECORRUPT;
	}
	int found;
	tb_rc rc = find_named_by_head(plan, &found, err);
	if (rc == TB_OK && !found)
		rc = cut_short(plan, plan->head.last, err);
	return rc;
}

/* Another history under the same signer isn't an older state of this one. */
static tb_rc check_remembered(const tb_restore_plan *plan, tb_err *err)
{
	if (!plan->has_head || !plan->has_remembered || plan->head.chain != plan->remembered.chain ||
	    memcmp(plan->head.manifest_hash, plan->remembered.manifest_hash, TB_HASH_SIZE) == 0)
		return TB_OK;
	tb_fail(err, TB_ECORRUPT, "the repository's manifest %llu of stream %s isn't the one that was stored",
	        tb_ull(plan->head.chain), plan->stream);
	tb_hint(err, "it was written anew by somebody who can sign; restore from another tier");
	return TB_ECORRUPT;
}

/* The event */

static tb_rc event_of_number(tb_restore_plan *plan, uint64_t event, tb_err *err)
{
	plan->event = event;
	if (event <= plan->stored_last)
		return TB_OK;
	if (event <= known_last(plan))
		return cut_short(plan, known_last(plan), err);
	return tb_fail(err, TB_ENOTFOUND, "event %llu of stream %s isn't stored yet: the newest stored is %llu",
	               tb_ull(event),
	               plan->stream, tb_ull(plan->stored_last));
}

static tb_rc event_of_backup(tb_restore_plan *plan, const char *id, tb_err *err)
{
	const tb_archive_entry *found = NULL;
	for (size_t i = 0; id != NULL && found == NULL && i < plan->entry_count; i++)
		if (strcmp(plan->entries[i].id, id) == 0)
			found = &plan->entries[i];
	if (found == NULL) {
		tb_fail(err, TB_ENOTFOUND, "no backup %s of stream %s in %s", id ? id : "", plan->stream,
		        tb_archive_tier(plan->archive)->url);
		tb_hint(err, "tb list shows the backups there are");
		return TB_ENOTFOUND;
	}
	if (!tb_archive_is(found, "FUL") && !tb_archive_is(found, "SEG"))
		return tb_fail(err, TB_EUNSUPPORTED, "restoring from a backup of type %s is not in this version",
		               found->type->name);
	plan->event = found->last;
	plan->only = tb_archive_is(found, "FUL") ? found : NULL;
	return TB_OK;
}

static tb_rc decide_event(tb_restore_plan *plan, const tb_restore_options *options, tb_err *err)
{
	switch (options->moment) {
	case TB_AT_LATEST:
		plan->event = plan->stored_last;
		return check_latest(plan, err);
	case TB_AT_EVENT:
		return event_of_number(plan, options->event, err);
	case TB_AT_TIME:
		return tb_plan_event_at(plan, options->time_ns, &plan->event, err);
	case TB_AT_BACKUP:
		return event_of_backup(plan, options->backup, err);
	}
	return tb_fail(err, TB_EINVAL, "there is no moment %d", (int)options->moment);
}

/* The head comes first: manifests that it tells of must be in the listing; newer ones may be. */
tb_rc tb_plan_open(tb_restore_plan *plan, tb_archive *archive, const tb_restore_options *options, tb_err *err)
{
	*plan = (tb_restore_plan){ .archive = archive, .stream = options->stream, .arena = tb_arena_new() };
	tb_rc rc = look_at_remembered(plan, options->catalog, err);
	if (rc == TB_OK)
		rc = look_at_head(plan, err);
	if (rc == TB_OK)
		rc = look_at_entries(plan, err);
	if (rc == TB_OK)
		rc = check_remembered(plan, err);
	if (rc == TB_OK)
		rc = decide_event(plan, options, err);
	return rc;
}

void tb_plan_drop(tb_restore_plan *plan)
{
	free(plan->entries);
	free(plan->rows);
	tb_arena_free(plan->arena);
	*plan = (tb_restore_plan){ 0 };
}
