#include "store/restore.h"

#include "base/clock.h"

#include <stdio.h>

#define PROGRESS_NS (250 * TB_NS_PER_MS)

struct restore {
	const tb_restore_options *options;
	tb_archive *archive;
	tb_restore_plan plan;
	tb_sink sink;
	tb_state state;
	tb_restored restored;
	tb_restore_progress progress;
	uint64_t started_ns, told_ns;
};

tb_rc tb_restore_go_on(const tb_restore_options *options, tb_err *err)
{
	if (options->stopped == NULL || !options->stopped(options->context))
		return TB_OK;
	return tb_fail(err, TB_EINTERRUPTED, "stopped on request: the target is as it was before");
}

static void tell_progress(struct restore *restore, int last)
{
	if (restore->options->progress == NULL)
		return;
	uint64_t now_ns = tb_mono_ns(tb_clock_system());
	if (!last && now_ns - restore->told_ns < PROGRESS_NS)
		return;
	restore->told_ns = now_ns;
	restore->options->progress(restore->options->context, &restore->progress);
}

/* What the repository should hold and doesn't is damage, whichever way it shows. */
static tb_rc read_object(struct restore *restore, const Tb__ObjectRef *object, tb_content content, tb_buf *ret_plain,
                         tb_err *err)
{
	tb_rc rc = tb_restore_go_on(restore->options, err);
	if (rc == TB_OK)
		rc = tb_archive_object(restore->archive, object, content, ret_plain, err);
	if (rc == TB_OK) {
		restore->restored.bytes_read += object->size_stored;
		restore->restored.objects++;
		restore->progress.bytes_done += object->size_stored;
		tell_progress(restore, 0);
	}
	if (rc != TB_ENOTFOUND)
		return rc;
	if (err != NULL)
		err->rc = TB_ECORRUPT;
	return TB_ECORRUPT;
}

/* Where it happened, before what happened. */
static tb_rc name_place(tb_err *err, tb_rc rc, const char *place)
{
	if (err == NULL || rc != TB_ECORRUPT)
		return rc;
	tb_err why = *err;
	tb_fail(err, rc, "%s: %s", place, why.text);
	if (why.hint[0] != '\0')
		tb_hint(err, "%s", why.hint);
	return rc;
}

static tb_rc compare_sum(struct restore *restore, tb_span recorded, const char *id, uint64_t from, uint64_t to,
                         tb_err *err)
{
	if (recorded.size != sizeof(tb_sum))
		return TB_OK;
	restore->restored.sum_checked = 1;
	if (memcmp(recorded.data, restore->state.present.sum.bytes, sizeof(tb_sum)) == 0)
		return TB_OK;
	return tb_fail(err, TB_ECORRUPT, "the state at event %llu of stream %s isn't the one that %s, events %llu..%llu, "
	               "recorded: their sums differ", tb_ull(to), restore->plan.stream, id, tb_ull(from), tb_ull(to));
}

static tb_rc compare_full(struct restore *restore, tb_err *err)
{
	const Tb__Manifest *full = restore->plan.full;
	ProtobufCBinaryData sum = restore->plan.full_private->sum;
	return compare_sum(restore, tb_span_of(sum.data, sum.len), full->backup, full->from, full->to, err);
}

static tb_rc load_chunks(struct restore *restore, tb_err *err)
{
	const Tb__Manifest *full = restore->plan.full;
	const Tb__ManifestPrivate *private = restore->plan.full_private;
	tb_auto(tb_buf_drop) tb_buf plain = { 0 };
	tb_auto(tb_buf_drop) tb_buf last_key = { 0 };
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < full->n_objects; i++) {
		const Tb__ChunkPrivate *bounds = private->n_chunks != 0 ? private->chunks[i] : NULL;
		rc = read_object(restore, full->objects[i], TB_CONTENT_CHUNK, &plain, err);
		if (rc == TB_OK)
			rc = tb_state_chunk(&restore->state, tb_buf_span(&plain), bounds, &last_key, err);
	}
	return rc;
}

static tb_rc load_base(struct restore *restore, tb_err *err)
{
	const Tb__Manifest *full = restore->plan.full;
	char place[120];
	if (full == NULL)
		return TB_OK;
	snprintf(place, sizeof(place), "backup %s at event %llu", full->backup, tb_ull(full->to));
	restore->restored.time_ns = full->time_to_ns;
	tb_rc rc = name_place(err, load_chunks(restore, err), place);
	if (rc == TB_OK && full->from > full->to)
		rc = compare_full(restore, err);
	return rc;
}

static tb_rc apply_event(void *context, const tb_archived_event *event, tb_err *err)
{
	struct restore *restore = context;
	if (event->number < restore->plan.replay_from || event->number > restore->plan.event)
		return TB_OK;
	restore->restored.time_ns = event->effective_ns;
	restore->restored.events += !event->rejected;
	restore->progress.events += !event->rejected;
	return tb_state_event(&restore->state, event, err);
}

static tb_rc apply_segment(struct restore *restore, const tb_segment_row *row, tb_err *err)
{
	Tb__Manifest manifest = tb_row_manifest(&restore->plan, row);
	Tb__ObjectRef object = TB__OBJECT_REF__INIT;
	object.name = (ProtobufCBinaryData){ sizeof(row->object), (uint8_t *)row->object };
	object.size_stored = row->size_stored;
	object.size_plain = row->size_plain;
	tb_auto(tb_buf_drop) tb_buf plain = { 0 };
	tb_rc rc = read_object(restore, &object, TB_CONTENT_SEGMENT, &plain, err);
	if (rc == TB_OK)
		rc = tb_segment_events(tb_buf_span(&plain), &manifest, apply_event, restore, err);
	if (rc == TB_OK)
		rc = tb_state_flush(&restore->state, err); /* deltas borrow from plain */
	return rc;
}

/* Before the backup's own event the state is a mixture, and no sum means anything. */
static tb_rc check_sums(struct restore *restore, const tb_segment_row *row, tb_err *err)
{
	const Tb__Manifest *full = restore->plan.full;
	if (row->to > restore->plan.event || (full != NULL && row->to < full->to))
		return TB_OK;
	tb_rc rc = TB_OK;
	if (row->has_sum)
		rc = compare_sum(restore, tb_span_of(row->sum.bytes, sizeof(row->sum)), row->id, row->from, row->to, err);
	if (rc == TB_OK && full != NULL && row->to == full->to)
		rc = compare_full(restore, err);
	return rc;
}

static tb_rc lay_segment(struct restore *restore, const tb_segment_row *row, tb_err *err)
{
	char place[160];
	snprintf(place, sizeof(place), "segment %s, events %llu..%llu", row->id, tb_ull(row->from), tb_ull(row->to));
	tb_rc rc = name_place(err, apply_segment(restore, row, err), place);
	if (rc == TB_OK)
		rc = check_sums(restore, row, err);
	if (rc != TB_OK)
		restore->plan.broken_to = row->to;
	return rc;
}

static tb_rc build(struct restore *restore, tb_err *err)
{
	tb_restored *restored = &restore->restored;
	restored->bytes_read = restored->objects = restored->events = restored->time_ns = 0;
	restored->sum_checked = 0;
	restore->progress = (tb_restore_progress){ .bytes_all = restore->plan.bytes_all };
	tb_rc rc = tb_state_reset(&restore->state, err);
	if (rc == TB_OK)
		rc = load_base(restore, err);
	for (size_t i = 0; rc == TB_OK && i < restore->plan.row_count; i++)
		rc = lay_segment(restore, &restore->plan.rows[i], err);
	return rc;
}

/* What would be read, as if it had been. The time is known where a segment or the backup ends at the event. */
static void foretell(struct restore *restore)
{
	const tb_restore_plan *plan = &restore->plan;
	tb_restored *restored = &restore->restored;
	restored->bytes_read = plan->bytes_all;
	restored->objects = plan->objects;
	restored->events = plan->row_count != 0 ? plan->event + 1 - plan->replay_from : 0;
	restored->time_ns = 0;
	if (plan->row_count != 0 && plan->rows[plan->row_count - 1].to == plan->event)
		restored->time_ns = plan->rows[plan->row_count - 1].time_to_ns;
	else if (plan->row_count == 0 && plan->full != NULL)
		restored->time_ns = plan->full->time_to_ns;
}

static tb_rc go_way(struct restore *restore, const tb_archive_entry *base, tb_err *err)
{
	tb_rc rc = tb_plan_way(&restore->plan, base, err);
	if (rc != TB_OK)
		return rc;
	snprintf(restore->restored.backup, sizeof(restore->restored.backup), "%s", base != NULL ? base->id : "");
	if (!restore->options->dry_run)
		return build(restore, err);
	foretell(restore);
	return TB_OK;
}

/* The newest full backup behind *index that isn't later than the event; NULL: from the first event. */
static const tb_archive_entry *next_base(const tb_restore_plan *plan, size_t *index)
{
	if (plan->only != NULL)
		return plan->only;
	while (*index > 0) {
		const tb_archive_entry *entry = &plan->entries[--*index];
		if (tb_archive_is(entry, "FUL") && entry->last <= plan->event)
			return entry;
	}
	return NULL;
}

/* The shortest way first. When its backup is damaged an older one may lead there as well; when a segment is, only one
 * that doesn't need it. What failed first is what is told if all fail. */
static tb_rc find_way(struct restore *restore, tb_err *err)
{
	tb_restore_plan *plan = &restore->plan;
	size_t index = plan->entry_count;
	const tb_archive_entry *base = next_base(plan, &index);
	tb_rc rc = go_way(restore, base, err);
	if (rc != TB_ECORRUPT || base == NULL || plan->only != NULL)
		return rc;
	snprintf(restore->restored.passed_over, sizeof(restore->restored.passed_over), "%s", base->id);
	uint64_t broken_to = plan->broken_to;
	tb_rc again = rc;
	while (again == TB_ECORRUPT && base != NULL) {
		base = next_base(plan, &index);
		if ((base != NULL ? base->last : 0) < broken_to)
			break;
		again = go_way(restore, base, NULL);
		if (plan->broken_to > broken_to)
			broken_to = plan->broken_to;
	}
	return again == TB_OK ? TB_OK : rc;
}

static tb_rc write_target(struct restore *restore, tb_err *err)
{
	tb_restored *restored = &restore->restored;
	tb_rc rc = tb_sink_write(&restore->sink, &restore->state, restored, err);
	if (rc == TB_OK)
		rc = tb_sink_label(&restore->sink, &restore->state, restore->plan.stream, restored, err);
	tb_state_close(&restore->state);
	if (rc == TB_OK)
		rc = tb_sink_finish(&restore->sink, err);
	return rc;
}

static tb_rc restore_state(struct restore *restore, tb_err *err)
{
	if (restore->options->dry_run)
		return find_way(restore, err);
	tb_rc rc = tb_sink_open(&restore->sink, restore->options->scratch, err);
	if (rc == TB_OK)
		rc = tb_state_open(&restore->state, restore->sink.scratch, err);
	if (rc == TB_OK)
		rc = find_way(restore, err);
	if (rc == TB_OK)
		rc = write_target(restore, err);
	tb_state_close(&restore->state);
	tb_sink_close(&restore->sink);
	return rc;
}

static tb_rc restore_from_archive(struct restore *restore, tb_err *err)
{
	tb_restored *restored = &restore->restored;
	tb_restore_plan *plan = &restore->plan;
	tb_rc rc = tb_plan_open(plan, restore->archive, restore->options, err);
	if (rc == TB_OK) {
		restored->event = plan->event;
		restored->remembered_last = plan->has_remembered ? plan->remembered.last : 0;
		rc = restore_state(restore, err);
	}
	tb_plan_drop(plan);
	return rc;
}

static tb_rc open_archive(struct restore *restore, tb_err *err)
{
	tb_disk *disk = tb_disk_system();
	tb_key *identity = NULL;
	tb_rc rc = tb_keys_init(err);
	if (rc == TB_OK)
		rc = tb_key_read(disk, restore->options->identity, TB_KEY_IDENTITY, &identity, err);
	if (rc == TB_OK)
		rc = tb_archive_open(disk, restore->options->repository, identity, NULL, &restore->archive, err);
	tb_key_free(identity);
	return rc;
}

static tb_rc check_options(struct restore *restore, tb_err *err)
{
	const tb_restore_options *options = restore->options;
	if (options->repository == NULL || options->identity == NULL || options->stream == NULL)
		return tb_fail(err, TB_EINVAL, "a restore needs a repository, an identity and a stream");
	tb_rc rc = tb_stream_check(options->stream, err);
	if (rc == TB_OK && !options->dry_run)
		rc = tb_sink_parse(&restore->sink, options->target, options->force, err);
	restore->sink.options = options;
	return rc;
}

tb_rc tb_restore(const tb_restore_options *options, tb_restored *ret_restored, tb_err *err)
{
	struct restore restore = { .options = options, .started_ns = tb_mono_ns(tb_clock_system()) };
	tb_rc rc = check_options(&restore, err);
	if (rc == TB_OK)
		rc = open_archive(&restore, err);
	if (rc == TB_OK)
		rc = restore_from_archive(&restore, err);
	tb_archive_close(restore.archive);
	if (rc != TB_OK)
		return rc;
	tell_progress(&restore, 1);
	restore.restored.seconds_ns = tb_mono_ns(tb_clock_system()) - restore.started_ns;
	*ret_restored = restore.restored;
	return TB_OK;
}
