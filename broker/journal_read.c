#include "broker/journal_files.h"

static uint64_t file_end(const tb_journal *journal, size_t index)
{
	return index + 1 < journal->file_count ? journal->files[index + 1].offset : journal->tail;
}

/* A file opened anew, so that a walk's callback may read and append as it likes. */
struct visit {
	tb_disk *disk;
	tb_file *file;
	tb_buf path;
	tb_journal_walk walk;
};

static void visit_drop(struct visit *visit)
{
	tb_journal_walk_drop(&visit->walk);
	visit->disk->close(visit->disk, visit->file);
	tb_buf_drop(&visit->path);
}

static tb_rc visit_begin(struct visit *visit, tb_journal *journal, size_t index, tb_err *err)
{
	if (index >= journal->file_count)
		return tb_fail(err, TB_ENOTFOUND, "the journal in %s has %zu files, and none with number %zu", journal->dir,
		               journal->file_count, index);
	uint64_t offset = journal->files[index].offset, nominal;
	uint8_t id[TB_JOURNAL_ID];
	const char *path = tb_journal_path(&visit->path, journal->dir, offset, "");
	tb_rc rc = visit->disk->open(visit->disk, path, TB_DISK_READ, &visit->file, err);
	if (rc == TB_OK)
		rc = tb_journal_head_read(visit->disk, visit->file, path, offset, id, &nominal, err);
	if (rc == TB_OK)
		tb_journal_walk_init(&visit->walk, visit->disk, visit->file, path, offset, file_end(journal, index));
	return rc;
}

/* The last record of one file and the first of the next have to belong together. */
static tb_rc check_next_file(tb_journal *journal, size_t index, uint64_t check, tb_err *err)
{
	tb_auto(visit_drop) struct visit next = { .disk = journal->disk };
	tb_rc rc = visit_begin(&next, journal, index, err);
	if (rc == TB_OK)
		rc = tb_journal_walk_expect(&next.walk, check, err);
	return rc;
}

tb_rc tb_journal_scan(tb_journal *journal, size_t index, const tb_journal_replay *each, tb_err *err)
{
	tb_auto(visit_drop) struct visit visit = { .disk = journal->disk };
	tb_rc rc = visit_begin(&visit, journal, index, err);
	while (rc == TB_OK && visit.walk.at < visit.walk.end) {
		rc = tb_journal_walk_next(&visit.walk, err);
		if (rc == TB_OK)
			rc = tb_journal_walk_tell(&visit.walk, each, err);
	}
	/* The callback may have dropped files, so that another one stands at the index. */
	if (rc == TB_OK && index + 1 < journal->file_count && visit.walk.end == journal->files[index + 1].offset)
		rc = check_next_file(journal, index + 1, visit.walk.check, err);
	return rc;
}

tb_rc tb_journal_checkpoint(tb_journal *journal, size_t index, const tb_journal_replay *each, tb_err *err)
{
	tb_auto(visit_drop) struct visit visit = { .disk = journal->disk };
	tb_rc rc = visit_begin(&visit, journal, index, err);
	if (rc == TB_OK)
		rc = tb_journal_walk_next(&visit.walk, err);
	if (rc == TB_OK)
		rc = tb_journal_walk_tell(&visit.walk, each, err);
	return rc;
}

/* The file that holds offset. */
static tb_rc find_file(const tb_journal *journal, uint64_t offset, size_t *ret_index, tb_err *err)
{
	if (journal->file_count == 0 || offset < journal->files[0].offset)
		return tb_fail(err, TB_ENOTFOUND, "the journal in %s no longer holds offset %llu: it begins at %llu",
		               journal->dir, (unsigned long long)offset,
		               (unsigned long long)(journal->file_count ? journal->files[0].offset : 0));
	size_t low = 0, high = journal->file_count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		*(journal->files[middle].offset <= offset ? &low : &high) = middle;
	}
	*ret_index = low;
	return TB_OK;
}

static tb_rc reader_open(tb_journal *journal, size_t index, const char *path, tb_file **ret_file, tb_err *err)
{
	uint64_t offset = journal->files[index].offset;
	if (index + 1 == journal->file_count) {
		*ret_file = journal->last;
		return TB_OK;
	}
	if (journal->reader == NULL || journal->reader_offset != offset) {
		tb_file *file;
		tb_rc rc = journal->disk->open(journal->disk, path, TB_DISK_READ, &file, err);
		if (rc != TB_OK)
			return rc;
		journal->disk->close(journal->disk, journal->reader);
		journal->reader = file;
		journal->reader_offset = offset;
	}
	*ret_file = journal->reader;
	return TB_OK;
}

/* Read up to size bytes to the end of `to`, but none from end on, nor behind the end of the file. */
static tb_rc read_more(tb_disk *disk, tb_file *file, uint64_t place, uint64_t end, size_t size, tb_buf *to, tb_err *err)
{
	if (place >= end)
		return TB_OK;
	size = size < end - place ? size : end - place;
	tb_buf_reserve(to, size);
	size_t got;
	tb_rc rc = disk->read(disk, file, place, to->data + to->size, size, &got, err);
	if (rc == TB_OK)
		to->size += got;
	return rc;
}

/* The head first, and then as much as it says. */
static tb_rc read_frame(tb_disk *disk, tb_file *file, uint64_t place, uint64_t end, tb_buf *to, tb_err *err)
{
	size_t before = to->size;
	tb_frame frame;
	tb_rc rc = read_more(disk, file, place, end, TB_FRAME_HEAD, to, err);
	if (rc == TB_OK)
		rc = tb_frame_read_head(tb_span_of(to->data + before, to->size - before), &frame, err);
	if (rc == TB_OK)
		rc = read_more(disk, file, place + TB_FRAME_HEAD, end, frame.body.size, to, err);
	tb_span bytes = tb_span_of(to->data + before, to->size - before);
	if (rc == TB_OK)
		rc = tb_frame_read(&bytes, &frame, err);
	if (rc != TB_OK)
		to->size = before;
	return rc;
}

tb_rc tb_journal_read(tb_journal *journal, uint64_t offset, tb_buf *to, tb_err *err)
{
	size_t index = 0;
	tb_rc rc = find_file(journal, offset, &index, err);
	if (rc != TB_OK)
		return rc;
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	uint64_t begin = journal->files[index].offset;
	const char *path = tb_journal_path(&name, journal->dir, begin, "");
	tb_file *file;
	rc = reader_open(journal, index, path, &file, err);
	if (rc != TB_OK)
		return rc;
	tb_err why;
	rc = read_frame(journal->disk, file, offset - begin, file_end(journal, index) - begin, to, &why);
	if (rc == TB_ECORRUPT)
		return tb_journal_damaged(err, path, begin, offset, why.text);
	if (rc != TB_OK && err != NULL)
		*err = why;
	return rc;
}
