/* From a time to an event: effective times never fall, so segments are searched by halves and one is walked. */
#include "base/clock.h"
#include "store/restore.h"

#include <stdlib.h>

struct search {
	tb_restore_plan *plan;
	uint64_t time_ns;
	const tb_archive_entry **segments;
	size_t count;
	tb_arena *arena;
};

static tb_rc read_segment(struct search *search, size_t index, Tb__Manifest **ret_manifest, tb_err *err)
{
	uint8_t hash[TB_HASH_SIZE];
	tb_arena_reset(search->arena);
	return tb_plan_manifest(search->plan, search->segments[index], search->arena, ret_manifest, hash, err);
}

/* The first segment that ends later than the time; count when none does. */
static tb_rc find_segment(struct search *search, size_t *ret_index, tb_err *err)
{
	size_t low = 0, high = search->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		Tb__Manifest *manifest;
		tb_rc rc = read_segment(search, middle, &manifest, err);
		if (rc != TB_OK)
			return rc;
		if (manifest->time_to_ns > search->time_ns)
			high = middle;
		else
			low = middle + 1;
	}
	*ret_index = low;
	return TB_OK;
}

struct found {
	uint64_t time_ns, first_ns;
	uint64_t last; /* the highest number that isn't later */
};

static tb_rc look_at_event(void *context, const tb_archived_event *event, tb_err *err)
{
	(void)err;
	struct found *found = context;
	if (found->first_ns == 0)
		found->first_ns = event->effective_ns;
	if (event->effective_ns <= found->time_ns)
		found->last = event->number;
	return TB_OK;
}

static tb_rc walk_segment(struct search *search, size_t index, struct found *found, tb_err *err)
{
	Tb__Manifest *manifest;
	tb_auto(tb_buf_drop) tb_buf plain = { 0 };
	tb_rc rc = read_segment(search, index, &manifest, err);
	if (rc != TB_OK)
		return rc;
	found->last = manifest->from - 1;
	rc = tb_archive_object(search->plan->archive, manifest->objects[0], TB_CONTENT_SEGMENT, &plain, err);
	if (rc == TB_OK)
		return tb_segment_events(tb_buf_span(&plain), manifest, look_at_event, found, err);
	if (rc != TB_ENOTFOUND)
		return rc;
	if (err != NULL)
		err->rc = TB_ECORRUPT;
	return TB_ECORRUPT;
}

static tb_rc all_later(const struct search *search, const struct found *found, tb_err *err)
{
	char wanted[TB_TIME_TEXT_SIZE], first[TB_TIME_TEXT_SIZE];
	tb_time_text(wanted, search->time_ns);
	tb_time_text(first, found->first_ns);
	tb_fail(err, TB_ENOTFOUND, "nothing of stream %s is as old as %s: the first event is at %s", search->plan->stream,
	        wanted, first);
	tb_hint(err, "--event 0 is the state before the first event");
	return TB_ENOTFOUND;
}

static tb_rc find_event(struct search *search, uint64_t *ret_event, tb_err *err)
{
	size_t index;
	tb_rc rc = find_segment(search, &index, err);
	if (rc != TB_OK)
		return rc;
	if (index == search->count) {
		*ret_event = search->plan->stored_last;
		return TB_OK;
	}
	struct found found = { .time_ns = search->time_ns };
	rc = walk_segment(search, index, &found, err);
	if (rc != TB_OK)
		return rc;
	if (found.last == 0)
		return all_later(search, &found, err);
	*ret_event = found.last;
	return TB_OK;
}

tb_rc tb_plan_event_at(tb_restore_plan *plan, uint64_t time_ns, uint64_t *ret_event, tb_err *err)
{
	struct search search = { .plan = plan, .time_ns = time_ns, .arena = tb_arena_new() };
	search.segments = tb_alloc(plan->entry_count * sizeof(*search.segments));
	for (size_t i = 0; i < plan->entry_count; i++)
		if (tb_archive_is(&plan->entries[i], "SEG"))
			search.segments[search.count++] = &plan->entries[i];
	tb_rc rc = find_event(&search, ret_event, err);
	free(search.segments);
	tb_arena_free(search.arena);
	return rc;
}
