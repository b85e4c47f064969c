#include "base/bytes.h"
#include "base/clock.h"
#include "store/archive.h"

#include <stdlib.h>

#define DAY_NS (UINT64_C(86400) * TB_NS_PER_S)

static tb_rc segment_failure(const Tb__Manifest *manifest, const char *why, uint64_t number, tb_err *err)
{
	return tb_fail(err, TB_ECORRUPT, "segment %s of stream %s, events %llu..%llu, is damaged at event %llu: %s",
	               manifest->backup, manifest->stream, tb_ull(manifest->from),
	               tb_ull(manifest->to), tb_ull(number), why);
}

static const char *frame_fault(const tb_frame *frame, uint64_t stream, uint64_t next, uint64_t to)
{
	if (frame->kind != TB_KIND_EVENTS)
		return "a frame isn't of events";
	if (frame->stream != stream)
		return "a frame is another stream's";
	if (frame->first != next)
		return "its numbers aren't dense";
	if (frame->count == 0 || frame->count > to - next + 1)
		return "a frame doesn't end where the segment does";
	return NULL;
}

static tb_rc check_rejected(const Tb__Manifest *manifest, tb_err *err)
{
	uint64_t least = manifest->from;
	for (size_t i = 0; i < manifest->n_rejected; i++) {
		uint64_t number = manifest->rejected[i];
		if (number < least || number > manifest->to)
			return segment_failure(manifest, "its rejected numbers aren't in order", number, err);
		least = number + 1;
	}
	return TB_OK;
}

tb_rc tb_segment_check(tb_span plain, const Tb__Manifest *manifest, tb_err *err)
{
	uint64_t stream = tb_stream_hash(manifest->stream), next = manifest->from;
	tb_err why = { .text = "" };
	while (plain.size != 0) {
		tb_frame frame;
		if (tb_frame_read(&plain, &frame, &why) != TB_OK)
			return segment_failure(manifest, why.text, next, err);
		const char *fault = frame_fault(&frame, stream, next, manifest->to);
		if (fault == NULL && tb_events_check(&frame, &why) != TB_OK)
			fault = why.text;
		if (fault != NULL)
			return segment_failure(manifest, fault, next, err);
		next += frame.count;
	}
	if (next != manifest->to + 1)
		return segment_failure(manifest, "it ends there", next, err);
	return check_rejected(manifest, err);
}

/* Events bear the engine's time first, always: tag 1, fixed64. */
static uint64_t event_time(tb_span canonical)
{
	return canonical.size >= 9 && canonical.data[0] == 0x09 ? tb_get64(canonical.data + 1) : 0;
}

/* The running maximum; an engine's clock that is more than a day ahead of the broker's doesn't count. */
static uint64_t move_time(uint64_t before_ns, uint64_t event_ns, uint64_t stamp_ns)
{
	if (event_ns > stamp_ns && event_ns - stamp_ns > DAY_NS)
		return before_ns;
	return event_ns > before_ns ? event_ns : before_ns;
}

struct walk {
	const Tb__Manifest *manifest;
	tb_archived_event_fn each;
	void *context;
	uint64_t effective_ns;
	size_t rejected; /* how many rejected numbers are behind us */
};

static tb_rc walk_frame(struct walk *walk, const tb_frame *frame, tb_err *err)
{
	const Tb__Manifest *manifest = walk->manifest;
	tb_archived_event event = { .number = frame->first, .stamp_ns = frame->time_ns, .epoch = frame->epoch,
		                        .flags = frame->flags };
	tb_span body = frame->body;
	tb_rc rc = TB_OK;
	for (; rc == TB_OK && tb_events_next(&body, &event.canonical) > 0; event.number++) {
		event.rejected = walk->rejected < manifest->n_rejected && manifest->rejected[walk->rejected] == event.number;
		if (event.rejected)
			walk->rejected++;
		else
			walk->effective_ns = move_time(walk->effective_ns, event_time(event.canonical), frame->time_ns);
		event.effective_ns = walk->effective_ns;
		rc = walk->each(walk->context, &event, err);
		event.flags &= (uint16_t)~TB_EVENTS_APART;
	}
	return rc;
}

tb_rc tb_segment_events(tb_span plain, const Tb__Manifest *manifest, tb_archived_event_fn each, void *context,
                        tb_err *err)
{
	struct walk walk = { manifest, each, context, manifest->time_from_ns, 0 };
	tb_rc rc = tb_segment_check(plain, manifest, err);
	while (rc == TB_OK && plain.size != 0) {
		tb_frame frame;
		rc = tb_frame_read(&plain, &frame, err);
		if (rc == TB_OK)
			rc = walk_frame(&walk, &frame, err);
	}
	return rc;
}

struct range {
	uint64_t from, to; /* from: the next one wanted */
	tb_archived_event_fn each;
	void *context;
};

static tb_rc give_in_range(void *context, const tb_archived_event *event, tb_err *err)
{
	struct range *range = context;
	if (event->number < range->from || event->number > range->to)
		return TB_OK;
	range->from = event->number + 1;
	return range->each(range->context, event, err);
}

static tb_rc walk_segment(tb_archive *archive, const Tb__Manifest *manifest, struct range *range, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf plain = { 0 };
	tb_rc rc = tb_archive_object(archive, manifest->objects[0], TB_CONTENT_SEGMENT, &plain, err);
	if (rc != TB_ENOTFOUND && rc != TB_ECORRUPT)
		return rc == TB_OK ? tb_segment_events(tb_buf_span(&plain), manifest, give_in_range, range, err) : rc;
	tb_err why = { .text = "" };
	if (err != NULL)
		why = *err;
	return segment_failure(manifest, why.text, manifest->from, err);
}

static tb_rc walk_entry(tb_archive *archive, const char *stream, const tb_archive_entry *entry, struct range *range,
                        tb_arena *arena, tb_err *err)
{
	Tb__Manifest *manifest;
	uint8_t hash[TB_HASH_SIZE];
	tb_rc rc = tb_archive_manifest(archive, stream, entry, arena, &manifest, hash, err);
	if (rc != TB_OK)
		return rc;
	if (manifest->from > range->from)
		return tb_fail(err, TB_ECORRUPT, "events %llu..%llu of stream %s are in no segment of %s",
		               tb_ull(range->from), tb_ull(manifest->from - 1), stream,
		               tb_archive_tier(archive)->url);
	return walk_segment(archive, manifest, range, err);
}

tb_rc tb_archive_events(tb_archive *archive, const char *stream, uint64_t from, uint64_t to, tb_archived_event_fn each,
                        void *context, uint64_t *ret_last, tb_err *err)
{
	tb_archive_entry *entries;
	size_t count;
	tb_rc rc = tb_archive_list(archive, stream, &entries, &count, err);
	if (rc != TB_OK)
		return rc;
	tb_arena *arena = tb_arena_new();
	struct range range = { from ? from : 1, to, each, context };
	for (size_t i = 0; rc == TB_OK && range.from <= to && i < count; i++) {
		if (!tb_archive_is(&entries[i], "SEG") || entries[i].last < range.from)
			continue;
		rc = walk_entry(archive, stream, &entries[i], &range, arena, err);
		tb_arena_reset(arena);
	}
	tb_arena_free(arena);
	free(entries);
	if (rc == TB_OK)
		*ret_last = range.from - 1;
	return rc;
}
