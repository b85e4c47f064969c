#include "broker/journal_files.h"

#include "base/bytes.h"
#include "base/planted.h"

#include <stdlib.h>
#include <unistd.h>

/* Up to here a batch is copied behind its head, to be one write. */
#define SMALL_BATCH 65536u
#define ZEROS_AHEAD (1024u * 1024)
#define GROW_BY 65536u

void tb_journal_close(tb_journal *journal)
{
	if (journal == NULL)
		return;
	journal->disk->close(journal->disk, journal->reader);
	journal->disk->close(journal->disk, journal->last);
	if (journal->lock >= 0)
		close(journal->lock);
	tb_buf_drop(&journal->scratch);
	free(journal->files);
	free(journal->dir);
	free(journal);
}

const uint8_t *tb_journal_id(const tb_journal *journal)
{
	return journal->id;
}

uint64_t tb_journal_next(const tb_journal *journal)
{
	return journal->tail + TB_JOURNAL_BATCH_HEAD;
}

int tb_journal_due(const tb_journal *journal)
{
	/* A checkpoint larger than a file does not make the file full by itself, or it would never end. */
	return journal->last == NULL || (journal->tail >= journal->full_at && journal->tail > journal->begun);
}

size_t tb_journal_file_count(const tb_journal *journal)
{
	return journal->file_count;
}

uint64_t tb_journal_file_offset(const tb_journal *journal, size_t index)
{
	return journal->files[index].offset;
}

uint64_t tb_journal_bytes(const tb_journal *journal)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < journal->file_count; i++)
		bytes += journal->files[i].size;
	return bytes;
}

/* After a failed write or sync nobody knows what is on the disk, and a second sync may lie: only opening anew helps. */
static tb_rc journal_stop(tb_journal *journal, const tb_err *why, tb_err *err)
{
	journal->stopped = *why;
	if (why->rc != TB_ENOSPACE)
		journal->stopped.rc = TB_EIO;
	if (err != NULL)
		*err = journal->stopped;
	return journal->stopped.rc;
}

static tb_rc check_goes_on(const tb_journal *journal, tb_err *err)
{
	if (journal->stopped.rc == TB_OK)
		return TB_OK;
	tb_fail(err, TB_EIO, "the journal in %s has stopped: %s", journal->dir, journal->stopped.text);
	tb_hint(err, "see to the disk, then start the broker again: opening settles what is on it");
	return TB_EIO;
}

/* A batch that can't be read again would make the journal impossible to open. */
static tb_rc check_frames(tb_span frames, uint32_t count, tb_err *err)
{
	if (frames.size > TB_JOURNAL_BATCH_MAX)
		return tb_fail(err, TB_EINVAL, "a batch of %zu bytes is larger than the %u the journal takes", frames.size,
		               TB_JOURNAL_BATCH_MAX);
	uint32_t found = 0;
	for (; frames.size > 0; found++) {
		tb_frame frame;
		tb_err why;
		if (tb_frame_read(&frames, &frame, &why) != TB_OK)
			return tb_fail(err, TB_EINVAL, "a batch for the journal is not made of frames: %s", why.text);
	}
	if (found == 0 || found != count)
		return tb_fail(err, TB_EINVAL, "a batch for the journal has %u frames and not %u", found, count);
	return TB_OK;
}

static tb_journal_record record_of(const tb_journal *journal, tb_span frames, uint32_t count, uint64_t stamp_ns,
                                   uint64_t offset)
{
	return (tb_journal_record){
		.count = count, .offset = offset, .body_size = frames.size, .before = journal->check, .synced = journal->tail,
		.stamp_ns = stamp_ns, .body_check = tb_check64(frames.data, frames.size),
	};
}

/* A batch may run over the file's end. A failure here is none of the journal: nothing of the batch was written. */
static tb_rc make_room(tb_journal *journal, uint64_t size, tb_err *err)
{
	tb_journal_file *file = &journal->files[journal->file_count - 1];
	uint64_t needed = journal->tail - file->offset + size;
	if (needed <= file->size)
		return TB_OK;
	uint64_t grown = needed + GROW_BY - needed % GROW_BY;
	tb_rc rc = journal->disk->allocate(journal->disk, journal->last, grown, err);
	if (rc == TB_OK)
		file->size = grown;
	return rc;
}

/* With its padding: behind the tail the file reads as zeros, but when an opening failed after it had zeroed a torn tail,
 * they may be in the cache alone. */
static tb_rc write_record(tb_journal *journal, uint64_t place, const uint8_t *head, tb_span frames, tb_err *err)
{
	tb_disk *disk = journal->disk;
	uint64_t size = tb_journal_record_size(frames.size), padding = size - TB_JOURNAL_BATCH_HEAD - frames.size;
	if (frames.size > SMALL_BATCH) {
		tb_rc rc = disk->write(disk, journal->last, place, head, TB_JOURNAL_BATCH_HEAD, err);
		if (rc == TB_OK)
			rc = disk->write(disk, journal->last, place + TB_JOURNAL_BATCH_HEAD, frames.data, frames.size, err);
		if (rc == TB_OK)
			rc = tb_journal_write_zeros(disk, journal->last, place + size - padding, padding, err);
		return rc;
	}
	tb_buf_clear(&journal->scratch);
	tb_buf_append(&journal->scratch, head, TB_JOURNAL_BATCH_HEAD);
	tb_buf_append_span(&journal->scratch, frames);
	while (journal->scratch.size < size)
		tb_buf_byte(&journal->scratch, 0);
	return disk->write(disk, journal->last, place, journal->scratch.data, journal->scratch.size, err);
}

/* The first write into blocks that are only allocated makes its sync wait for the file system's own journal. So for
 * small batches, where the sync is what costs, zeros are written ahead now and then, under a sync that comes anyway. */
static tb_rc write_ahead(tb_journal *journal, uint64_t place, uint64_t size, tb_err *err)
{
	const tb_journal_file *file = &journal->files[journal->file_count - 1];
	uint64_t end = place + size, to = end + ZEROS_AHEAD < file->size ? end + ZEROS_AHEAD : file->size;
	if (size > SMALL_BATCH || file->offset + end <= journal->zeroed)
		return TB_OK;
	tb_rc rc = tb_journal_write_zeros(journal->disk, journal->last, end, to - end, err);
	if (rc == TB_OK)
		journal->zeroed = file->offset + to;
	return rc;
}

tb_rc tb_journal_append(tb_journal *journal, tb_span frames, uint32_t count, uint64_t stamp_ns, uint64_t *ret_offset,
                        tb_err *err)
{
	tb_rc rc = check_goes_on(journal, err);
	if (rc == TB_OK && journal->last == NULL)
		rc = tb_fail(err, TB_EREFUSED, "the journal in %s is new and waits for its first checkpoint", journal->dir);
	if (rc == TB_OK)
		rc = check_frames(frames, count, err);
	uint64_t size = tb_journal_record_size(frames.size);
	if (rc == TB_OK)
		rc = make_room(journal, size, err);
	if (rc != TB_OK)
		return rc;

	tb_journal_record record = record_of(journal, frames, count, stamp_ns, journal->tail);
	uint8_t head[TB_JOURNAL_BATCH_HEAD];
	tb_journal_record_write(head, &record);
	uint64_t place = journal->tail - journal->files[journal->file_count - 1].offset;
	tb_err why;
	rc = write_record(journal, place, head, frames, &why);
	if (rc == TB_OK)
		rc = write_ahead(journal, place, size, &why);
	if (rc == TB_OK && !TB_PLANTED(15))
		rc = journal->disk->sync(journal->disk, journal->last, &why);
	if (rc != TB_OK)
		return journal_stop(journal, &why, err);
	*ret_offset = tb_journal_next(journal);
	journal->tail += size;
	journal->check = record.check;
	return TB_OK;
}

/* A file in the making, under its temporary name. */
struct next_file {
	tb_file *file;
	uint64_t size; /* on disk */
	uint64_t used; /* head and checkpoint */
	uint64_t check;
};

static tb_rc next_write(tb_journal *journal, struct next_file *next, tb_span checkpoint, uint64_t stamp_ns, tb_err *err)
{
	tb_disk *disk = journal->disk;
	uint8_t head[TB_JOURNAL_FILE_HEAD + TB_JOURNAL_BATCH_HEAD];
	tb_journal_head_write(head, journal->id, journal->tail, journal->file_size);
	tb_journal_record record =
		record_of(journal, checkpoint, 1, stamp_ns, journal->tail + TB_JOURNAL_FILE_HEAD);
	tb_journal_record_write(head + TB_JOURNAL_FILE_HEAD, &record);
	next->check = record.check;
	next->used = TB_JOURNAL_FILE_HEAD + tb_journal_record_size(checkpoint.size);
	next->size = next->used > journal->file_size ? next->used : journal->file_size;
	tb_rc rc = disk->allocate(disk, next->file, next->size, err);
	if (rc == TB_OK)
		rc = disk->write(disk, next->file, 0, head, sizeof(head), err);
	if (rc == TB_OK)
		rc = disk->write(disk, next->file, sizeof(head), checkpoint.data, checkpoint.size, err);
	if (rc == TB_OK)
		rc = disk->sync(disk, next->file, err);
	return rc;
}

/* Made, written and synced; on failure it is gone again. */
static tb_rc next_make(tb_journal *journal, const char *path, tb_span checkpoint, uint64_t stamp_ns,
                       struct next_file *ret_next, tb_err *err)
{
	tb_disk *disk = journal->disk;
	struct next_file next = { 0 };
	disk->unlink(disk, path, NULL);
	int flags = TB_DISK_WRITE | TB_DISK_CREATE | TB_DISK_EXCLUSIVE | TB_DISK_PRIVATE;
	tb_rc rc = disk->open(disk, path, flags, &next.file, err);
	if (rc != TB_OK)
		return rc;
	rc = next_write(journal, &next, checkpoint, stamp_ns, err);
	if (rc != TB_OK) {
		disk->close(disk, next.file);
		disk->unlink(disk, path, NULL);
		return rc;
	}
	*ret_next = next;
	return TB_OK;
}

/* When it can't be told which file the next opening will take for the last, no more may be written to either. */
static tb_rc next_publish(tb_journal *journal, const char *temporary, const char *path, tb_err *err)
{
	tb_disk *disk = journal->disk;
	tb_err why;
	tb_rc rc = disk->rename(disk, temporary, path, &why);
	if (rc != TB_OK && disk->unlink(disk, temporary, NULL) == TB_OK) {
		if (err != NULL)
			*err = why;
		return rc; /* it still had its old name */
	}
	if (rc == TB_OK && !TB_PLANTED(18))
		rc = disk->sync_dir(disk, journal->dir, &why);
	return rc == TB_OK ? TB_OK : journal_stop(journal, &why, err);
}

static void next_adopt(tb_journal *journal, const struct next_file *next)
{
	journal->disk->close(journal->disk, journal->last);
	journal->last = next->file;
	journal->files = tb_realloc(journal->files, (journal->file_count + 1) * sizeof(*journal->files));
	journal->files[journal->file_count++] = (tb_journal_file){ journal->tail, next->size };
	journal->full_at = journal->tail + journal->file_size;
	journal->tail += next->used;
	journal->begun = journal->tail;
	journal->zeroed = 0;
	journal->check = next->check;
}

static tb_rc check_checkpoint(tb_span bytes, tb_err *err)
{
	tb_frame frame;
	tb_err why;
	if (tb_frame_read(&bytes, &frame, &why) != TB_OK)
		return tb_fail(err, TB_EINVAL, "a checkpoint for the journal is not a frame: %s", why.text);
	if (frame.kind != TB_KIND_CHECKPOINT || bytes.size != 0)
		return tb_fail(err, TB_EINVAL, "a file of the journal begins with one checkpoint, and not with something else");
	return TB_OK;
}

tb_rc tb_journal_rotate(tb_journal *journal, tb_span checkpoint_frame, uint64_t stamp_ns, tb_err *err)
{
	tb_disk *disk = journal->disk;
	tb_rc rc = check_goes_on(journal, err);
	if (rc == TB_OK)
		rc = check_checkpoint(checkpoint_frame, err);
	if (rc != TB_OK)
		return rc;

	tb_auto(tb_buf_drop) tb_buf path = { 0 }, temporary = { 0 };
	tb_journal_path(&path, journal->dir, journal->tail, "");
	tb_journal_path(&temporary, journal->dir, journal->tail, TB_JOURNAL_TEMPORARY);
	struct next_file next;
	rc = next_make(journal, tb_buf_text(&temporary), checkpoint_frame, stamp_ns, &next, err);
	if (rc != TB_OK)
		return rc;

	rc = next_publish(journal, tb_buf_text(&temporary), tb_buf_text(&path), err);
	if (rc == TB_OK)
		next_adopt(journal, &next);
	else
		disk->close(disk, next.file);
	return rc;
}

static void forget_oldest(tb_journal *journal)
{
	if (journal->reader != NULL && journal->reader_offset == journal->files[0].offset) {
		journal->disk->close(journal->disk, journal->reader);
		journal->reader = NULL;
	}
	journal->file_count--;
	memmove(journal->files, journal->files + 1, journal->file_count * sizeof(*journal->files));
}

tb_rc tb_journal_drop(tb_journal *journal, uint64_t offset, tb_err *err)
{
	tb_disk *disk = journal->disk;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	int dropped = 0;
	tb_rc rc = TB_OK;
	/* The oldest first, so that what stays is always without a gap. */
	while (rc == TB_OK && journal->file_count > 1 && journal->files[1].offset <= offset) {
		rc = disk->unlink(disk, tb_journal_path(&path, journal->dir, journal->files[0].offset, ""), err);
		if (rc != TB_OK && rc != TB_ENOTFOUND)
			break;
		rc = TB_OK;
		forget_oldest(journal);
		dropped = 1;
	}
	if (rc == TB_OK && dropped)
		rc = disk->sync_dir(disk, journal->dir, err);
	return rc;
}
