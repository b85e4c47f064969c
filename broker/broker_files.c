#include "broker/broker_state.h"

#include <stdlib.h>

#define SMALL_PUT (1u << 20)
#define ORDER_ROOM 1024u /* in the journal, for one that is carried on */

static uint64_t limit_reserve(const tb_broker *broker)
{
	uint64_t eighth = broker->options.journal_limit / 8, two = 2 * broker->options.journal.file_size;
	return eighth > two ? eighth : two;
}

static tb_mark *mark_add(tb_broker *broker, uint64_t offset, uint64_t stamp_ns, size_t count)
{
	broker->marks = tb_realloc(broker->marks, (broker->mark_count + 1) * sizeof(*broker->marks));
	tb_mark *mark = &broker->marks[broker->mark_count++];
	*mark = (tb_mark){ .offset = offset, .stamp_ns = stamp_ns, .count = count };
	mark->durable = tb_alloc_zero(count, sizeof(*mark->durable));
	return mark;
}

/* One file's checkpoint. Streams are never removed, so each of them is known by now. */
static tb_rc mark_read(void *self, uint64_t offset, const tb_frame *frame, uint64_t stamp_ns, tb_err *err)
{
	tb_broker *broker = self;
	ProtobufCMessage *message = NULL;
	(void)offset;
	tb_rc rc = tb_body_read(broker->turn, frame, &tb__checkpoint__descriptor, &message, err);
	if (rc != TB_OK)
		return rc;
	const Tb__Checkpoint *checkpoint = (const Tb__Checkpoint *)message;
	uint64_t begin = tb_journal_file_offset(broker->journal, broker->mark_count);
	tb_mark *mark = mark_add(broker, begin, stamp_ns, broker->stream_count);
	for (size_t i = 0; i < checkpoint->n_streams; i++) {
		const tb_stream *stream = tb_stream_named(broker, checkpoint->streams[i]->name);
		if (stream == NULL)
			return tb_fail(err, TB_ECORRUPT, "an older file of the journal knows stream %s, a newer one doesn't",
			               checkpoint->streams[i]->name);
		mark->durable[stream->index] = checkpoint->streams[i]->durable;
	}
	tb_arena_reset(broker->turn);
	return TB_OK;
}

tb_rc tb_files_open(tb_broker *broker, tb_err *err)
{
	tb_journal_replay each = { broker, mark_read };
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < tb_journal_file_count(broker->journal); i++)
		rc = tb_journal_checkpoint(broker->journal, i, &each, err);
	if (rc == TB_OK)
		rc = tb_files_rotate(broker, err);
	if (rc == TB_OK && broker->mark_count == 0) { /* without any file there is nothing to run on */
		*err = broker->stuck;
		return broker->stuck.rc;
	}
	tb_files_check_room(broker);
	return rc;
}

void tb_files_close(tb_broker *broker)
{
	for (size_t i = 0; i < broker->mark_count; i++)
		free(broker->marks[i].durable);
	free(broker->marks);
}

static void mark_present(tb_broker *broker)
{
	uint64_t offset = tb_journal_file_offset(broker->journal, broker->mark_count);
	tb_mark *mark = mark_add(broker, offset, broker->stamp_ns, broker->stream_count);
	for (uint32_t i = 0; i < broker->stream_count; i++)
		mark->durable[i] = broker->streams[i]->durable;
	broker->file_begun = tb_journal_next(broker->journal);
}

static uint64_t file_end(const tb_broker *broker)
{
	return broker->marks[broker->mark_count - 1].offset + broker->options.journal.file_size;
}

/* A little before the journal would say so: when there is no room for a next file, what is left of the present one is
 * for puts that make room, and is allocated already. */
static int rotation_due(const tb_broker *broker)
{
	if (broker->mark_count == 0 || tb_journal_due(broker->journal))
		return 1;
	uint64_t next = tb_journal_next(broker->journal);
	return next > broker->file_begun && next + broker->options.journal.file_size / 8 >= file_end(broker);
}

static tb_rc rotate(tb_broker *broker, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf checkpoint = { 0 };
	uint64_t now = tb_real_ns(broker->options.clock);
	if (now > broker->stamp_ns)
		broker->stamp_ns = now;
	tb_checkpoint_write(broker, &checkpoint);
	tb_rc rc = tb_journal_rotate(broker->journal, tb_buf_span(&checkpoint), broker->stamp_ns, err);
	if (rc != TB_OK)
		return rc;
	mark_present(broker);
	tb_index_rotate(broker);
	return TB_OK;
}

tb_rc tb_files_rotate(tb_broker *broker, tb_err *err)
{
	tb_err why = { 0 };
	if (!rotation_due(broker)) {
		broker->stuck.rc = TB_OK;
		return TB_OK;
	}
	uint64_t bytes = tb_journal_bytes(broker->journal) + broker->options.journal.file_size;
	if (bytes > broker->options.journal_limit)
		tb_fail(&why, TB_EFULL, "the journal is at its limit of %llu bytes",
		        (unsigned long long)broker->options.journal_limit);
	else
		rotate(broker, &why);
	broker->stuck = why;
	tb_files_check_room(broker);
	if (why.rc == TB_OK || why.rc == TB_EFULL || why.rc == TB_ENOSPACE)
		return TB_OK;
	*err = why;
	return why.rc;
}

/* Who was held up goes on when there is room again. */
static void room_again(tb_broker *broker)
{
	for (uint32_t i = 0; i < broker->stream_count; i++) {
		tb_stream *stream = broker->streams[i];
		if (stream->held_up)
			tb_stream_tell(broker, stream, TB_TELL_AGAIN);
		stream->held_up = 0;
	}
}

void tb_files_check_room(tb_broker *broker)
{
	int before = broker->no_room;
	uint64_t most = broker->options.journal_limit - limit_reserve(broker);
	broker->no_room = broker->stuck.rc != TB_OK || tb_journal_bytes(broker->journal) > most;
	if (before && !broker->no_room)
		room_again(broker);
}

int tb_room_for_events(const tb_broker *broker, size_t size)
{
	return broker->batch.size + size <= TB_JOURNAL_BATCH_MAX;
}

tb_rc tb_room_for_put(const tb_broker *broker, size_t size, int makes_room, tb_err *err)
{
	if (broker->batch.size + size > TB_JOURNAL_BATCH_MAX)
		return tb_fail(err, TB_EBUSY, "too much has come at once; put it again");
	if (broker->stuck.rc == TB_OK)
		return TB_OK;
	/* Half of what is left at most: large puts must not take the place of the small ones that make room in the end. */
	uint64_t used = tb_journal_next(broker->journal) + broker->batch.size + TB_JOURNAL_BATCH_HEAD, end = file_end(broker);
	if (makes_room && used < end && size <= (end - used) / 2)
		return TB_OK;
	/* At the limit, small ones run over the end of the file: were they refused, the journal would be full for ever. */
	if (makes_room && broker->stuck.rc == TB_EFULL && size <= SMALL_PUT && used < end + broker->options.journal.file_size)
		return TB_OK;
	tb_fail(err, broker->stuck.rc, "the journal takes no more: %s", broker->stuck.text);
	tb_hint(err, "it goes on by itself when workers have finished what it holds, and when its disk has room");
	return broker->stuck.rc;
}

static uint64_t durable_at(const tb_mark *mark, const tb_stream *stream)
{
	return stream->index < mark->count ? mark->durable[stream->index] : 0;
}

uint64_t tb_first_held(const tb_broker *broker, const tb_stream *stream)
{
	return broker->mark_count > 0 ? durable_at(&broker->marks[0], stream) + 1 : 1;
}

size_t tb_file_of(const tb_broker *broker, const tb_stream *stream, uint64_t number)
{
	size_t low = 0, high = broker->mark_count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		*(durable_at(&broker->marks[middle], stream) < number ? &low : &high) = middle;
	}
	return low;
}

static int opens_before(const tb_opens *opens, uint64_t offset)
{
	const tb_open *oldest = tb_opens_next(opens, NULL);
	return oldest != NULL && oldest->id < offset;
}

/* Is all that lies before this file finished? */
static int finished_before(const tb_broker *broker, const tb_mark *mark)
{
	for (unsigned i = 1; i < TB_GROUP_COUNT; i++)
		if (opens_before(&broker->groups[i].open, mark->offset))
			return 0;
	for (uint32_t i = 0; i < broker->stream_count; i++) {
		const tb_stream *stream = broker->streams[i];
		if (stream->stored < durable_at(mark, stream) || opens_before(&stream->open, mark->offset))
			return 0;
	}
	return 1;
}

static int may_drop(const tb_broker *broker)
{
	const tb_mark *next = &broker->marks[1];
	uint64_t now = tb_real_ns(broker->options.clock);
	int old = now > next->stamp_ns && now - next->stamp_ns >= broker->options.journal_keep_ns;
	int crowded = tb_journal_bytes(broker->journal) > broker->options.journal_limit / 2;
	return (old || crowded) && finished_before(broker, next);
}

/* An order is open until its backup is stored, and would hold every file since: it goes on under a new offset. Who runs
 * it is given it again, and finishes the new one. */
static void carry_order(tb_broker *broker, tb_stream *stream)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_frame frame;
	uint64_t old = stream->order;
	if (tb_journal_read(broker->journal, old, &bytes, NULL) != TB_OK)
		return;
	tb_span span = tb_buf_span(&bytes), rest = span;
	if (tb_frame_read(&rest, &frame, NULL) != TB_OK || frame.kind != TB_KIND_ORDER)
		return;
	tb_gather(broker, &frame, span);
	Tb__Finish finish = TB__FINISH__INIT;
	finish.group = TB_GROUP_COLLECTOR;
	finish.stream = stream->hash;
	finish.n_frames = 1;
	finish.frames = &old;
	tb_gather_message(broker, TB_KIND_FINISH, &finish.base);
}

static void carry_orders(tb_broker *broker)
{
	int crowded = tb_journal_bytes(broker->journal) > broker->options.journal_limit / 2;
	if (!crowded || broker->mark_count < 2)
		return;
	for (uint32_t i = 0; i < broker->stream_count; i++) {
		tb_stream *stream = broker->streams[i];
		if (stream->order != 0 && stream->order < broker->marks[1].offset &&
		    tb_room_for_put(broker, ORDER_ROOM, 1, NULL) == TB_OK)
			carry_order(broker, stream);
	}
}

/* A file that can't be removed now is tried again at the next look; if it stays so, the journal fills and says it. */
void tb_files_drop(tb_broker *broker)
{
	while (broker->mark_count > 1 && may_drop(broker)) {
		uint64_t offset = broker->marks[1].offset;
		if (tb_journal_drop(broker->journal, offset, NULL) != TB_OK && tb_journal_file_offset(broker->journal, 0) < offset)
			break;
		free(broker->marks[0].durable);
		broker->mark_count--;
		memmove(broker->marks, broker->marks + 1, broker->mark_count * sizeof(*broker->marks));
		tb_index_forget(broker, offset);
	}
	carry_orders(broker);
	tb_files_check_room(broker);
}
