/* Where a stream's events are in the journal. Of a file and a stream every frame that lies 64 KiB or more behind the
 * last noted one is noted; from there frames are walked, one behind the other: the next one stands right behind, or,
 * at the end of a batch, behind the padding and the next batch's head. The present file's index grows with it; older
 * ones are made by a scan when they are asked for, and a few are kept. */
#include "broker/broker_state.h"

#include <stdlib.h>

#define NOTED_EVERY 65536u

struct noted {
	uint64_t first, offset;
};

struct run {
	struct noted *at;
	size_t count, capacity;
};

struct tb_index {
	uint64_t file; /* offset of its file */
	uint64_t used; /* when it was asked last */
	struct run *runs; /* by index of the stream */
	size_t run_count;
};

static void index_free(tb_index *index)
{
	if (index == NULL)
		return;
	for (size_t i = 0; i < index->run_count; i++)
		free(index->runs[i].at);
	free(index->runs);
	free(index);
}

static struct run *run_of(tb_index *index, uint32_t stream)
{
	if (stream >= index->run_count) {
		index->runs = tb_realloc(index->runs, (stream + 1) * sizeof(*index->runs));
		memset(index->runs + index->run_count, 0, (stream + 1 - index->run_count) * sizeof(*index->runs));
		index->run_count = stream + 1;
	}
	return &index->runs[stream];
}

static void note(tb_index *index, const tb_stream *stream, uint64_t first, uint64_t offset)
{
	struct run *run = run_of(index, stream->index);
	if (run->count > 0 && offset - run->at[run->count - 1].offset < NOTED_EVERY)
		return;
	if (run->count == run->capacity) {
		run->capacity = run->capacity ? run->capacity * 2 : 8;
		run->at = tb_realloc(run->at, run->capacity * sizeof(*run->at));
	}
	run->at[run->count++] = (struct noted){ first, offset };
}

void tb_index_add(tb_broker *broker, const tb_stream *stream, uint64_t first, uint64_t offset)
{
	note(broker->index, stream, first, offset);
}

static void keep(tb_broker *broker, tb_index *index)
{
	size_t oldest = 0;
	for (size_t i = 0; i < TB_INDEXES_KEPT; i++) {
		if (broker->indexes[i] == NULL) {
			oldest = i;
			break;
		}
		if (broker->indexes[i]->used < broker->indexes[oldest]->used)
			oldest = i;
	}
	index_free(broker->indexes[oldest]);
	index->used = ++broker->index_used;
	broker->indexes[oldest] = index;
}

void tb_index_rotate(tb_broker *broker)
{
	if (broker->index != NULL && broker->mark_count > 1) {
		broker->index->file = broker->marks[broker->mark_count - 2].offset;
		keep(broker, broker->index);
		broker->index = NULL;
	}
	if (broker->index == NULL)
		broker->index = tb_alloc_zero(1, sizeof(*broker->index));
}

void tb_index_forget(tb_broker *broker, uint64_t below)
{
	for (size_t i = 0; i < TB_INDEXES_KEPT; i++)
		if (broker->indexes[i] != NULL && broker->indexes[i]->file < below) {
			index_free(broker->indexes[i]);
			broker->indexes[i] = NULL;
		}
}

void tb_index_close(tb_broker *broker)
{
	tb_index_forget(broker, UINT64_MAX);
	index_free(broker->index);
}

struct scan {
	tb_broker *broker;
	tb_index *index;
};

static tb_rc scan_frame(void *self, uint64_t offset, const tb_frame *frame, uint64_t stamp_ns, tb_err *err)
{
	struct scan *scan = self;
	(void)stamp_ns;
	(void)err;
	const tb_stream *stream = frame->kind == TB_KIND_EVENTS ? tb_stream_find(scan->broker, frame->stream) : NULL;
	if (stream != NULL)
		note(scan->index, stream, frame->first, offset);
	return TB_OK;
}

static tb_rc index_of(tb_broker *broker, size_t file, tb_index **ret_index, tb_err *err)
{
	uint64_t offset = broker->marks[file].offset;
	if (file + 1 == broker->mark_count) {
		*ret_index = broker->index;
		return TB_OK;
	}
	for (size_t i = 0; i < TB_INDEXES_KEPT; i++)
		if (broker->indexes[i] != NULL && broker->indexes[i]->file == offset) {
			broker->indexes[i]->used = ++broker->index_used;
			*ret_index = broker->indexes[i];
			return TB_OK;
		}
	tb_index *index = tb_alloc_zero(1, sizeof(*index));
	index->file = offset;
	struct scan scan = { broker, index };
	tb_journal_replay each = { &scan, scan_frame };
	tb_rc rc = tb_journal_scan(broker->journal, file, &each, err);
	if (rc != TB_OK) {
		index_free(index);
		return rc;
	}
	keep(broker, index);
	*ret_index = index;
	return TB_OK;
}

static tb_rc lost(const tb_stream *stream, uint64_t number, tb_err *err)
{
	tb_fail(err, TB_ECORRUPT, "event %llu of stream %s can't be read from the journal", (unsigned long long)number,
	        stream->name);
	tb_hint(err, "the journal's disk has damaged it; the engine's outbox may still hold it");
	return TB_ECORRUPT;
}

/* The last noted place at or before number. */
static tb_rc find_noted(tb_broker *broker, const tb_stream *stream, size_t file, uint64_t number, uint64_t *ret_offset,
                        tb_err *err)
{
	tb_index *index;
	tb_rc rc = index_of(broker, file, &index, err);
	if (rc != TB_OK)
		return rc;
	const struct run *run = run_of(index, stream->index);
	size_t low = 0, high = run->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (run->at[middle].first <= number)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return lost(stream, number, err);
	*ret_offset = run->at[low - 1].offset;
	return TB_OK;
}

/* The frame at offset, or the one behind the next batch's head when that is what follows. */
static tb_rc read_here_or_next(tb_journal *journal, uint64_t *offset, tb_buf *to, tb_err *err)
{
	tb_rc rc = tb_journal_read(journal, *offset, to, NULL);
	if (rc == TB_OK)
		return rc;
	*offset = ((*offset + 7) & ~UINT64_C(7)) + TB_JOURNAL_BATCH_HEAD;
	return tb_journal_read(journal, *offset, to, err);
}

static tb_rc walk(tb_broker *broker, tb_stream *stream, uint64_t number, uint64_t offset, uint64_t end, tb_buf *to,
                  tb_frame *ret_frame, tb_err *err)
{
	size_t before = to->size;
	while (offset < end) {
		tb_frame frame;
		tb_rc rc = read_here_or_next(broker->journal, &offset, to, err);
		if (rc == TB_OK)
			rc = tb_frame_read_head(tb_span_of(to->data + before, to->size - before), &frame, err);
		if (rc != TB_OK)
			break;
		int ours = frame.kind == TB_KIND_EVENTS && frame.stream == stream->hash;
		if (ours && frame.first <= number && number - frame.first < frame.count) {
			stream->read_next = frame.first + frame.count;
			stream->read_offset = offset + tb_frame_size(&frame);
			*ret_frame = frame;
			return TB_OK;
		}
		offset += tb_frame_size(&frame);
		to->size = before;
		if (ours && frame.first > number)
			break;
	}
	to->size = before;
	return lost(stream, number, err);
}

tb_rc tb_events_read(tb_broker *broker, tb_stream *stream, uint64_t number, tb_buf *to, tb_frame *ret_frame,
                     tb_err *err)
{
	size_t file = tb_file_of(broker, stream, number);
	uint64_t end = file + 1 < broker->mark_count ? broker->marks[file + 1].offset : tb_journal_next(broker->journal);
	uint64_t offset;
	tb_rc rc = find_noted(broker, stream, file, number, &offset, err);
	if (rc != TB_OK)
		return rc;
	if (stream->read_next == number && stream->read_offset > offset && stream->read_offset < end)
		offset = stream->read_offset;
	return walk(broker, stream, number, offset, end, to, ret_frame, err);
}
