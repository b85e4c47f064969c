#include "broker/journal_files.h"

#include "base/planted.h"
#include "base/bytes.h"

static const uint8_t file_magic[8] = { 'T', 'B', 'J', 'R', 'N', 'L', 0, 1 };
static const uint8_t record_magic[4] = { 'T', 'B', 'B', '1' };
#define VERSION_AT 7
#define OFFSET_MAX (UINT64_MAX / 4) /* so that offset and size never pass the end of numbers */

const char *tb_journal_path(tb_buf *path, const char *dir, uint64_t offset, const char *suffix)
{
	tb_buf_clear(path);
	tb_buf_print(path, "%s/%016llx.tbj%s", dir, (unsigned long long)offset, suffix);
	return tb_buf_text(path);
}

tb_rc tb_journal_damaged(tb_err *err, const char *path, uint64_t file_offset, uint64_t offset, const char *why)
{
	tb_fail(err, TB_ECORRUPT, "%s is damaged at offset %llu (byte %llu of the file): %s", path,
	        (unsigned long long)offset, (unsigned long long)(offset - file_offset), why);
	tb_hint(err, "copy the whole journal directory to another disk before anything else: this one may be failing");
	return TB_ECORRUPT;
}

void tb_journal_head_write(uint8_t head[TB_JOURNAL_FILE_HEAD], const uint8_t *id, uint64_t offset, uint64_t nominal)
{
	memset(head, 0, TB_JOURNAL_FILE_HEAD);
	memcpy(head, file_magic, sizeof(file_magic));
	memcpy(head + 8, id, TB_JOURNAL_ID);
	tb_put64(head + 24, offset);
	tb_put64(head + 32, nominal);
	tb_put64(head + 56, tb_check64(head, 56));
}

/* The check comes before the version: a flipped bit is damage, and not a newer program's file. */
static tb_rc head_judge(const uint8_t *head, const char *path, uint64_t offset, tb_err *err)
{
	if (memcmp(head, file_magic, VERSION_AT) != 0)
		return tb_journal_damaged(err, path, offset, offset, "it doesn't begin as a journal file does");
	if (tb_get64(head + 56) != tb_check64(head, 56))
		return tb_journal_damaged(err, path, offset, offset, "the check of the file's head doesn't hold");
	if (head[VERSION_AT] != file_magic[VERSION_AT]) {
		tb_fail(err, TB_EUNSUPPORTED, "%s is in version %d of the journal's format; this program knows version %d",
		        path, head[VERSION_AT], file_magic[VERSION_AT]);
		tb_hint(err, "start the broker's newer version again: nothing was changed");
		return TB_EUNSUPPORTED;
	}
	if (tb_get64(head + 24) != offset)
		return tb_journal_damaged(err, path, offset, offset, "its head has another offset than its name");
	if (offset > OFFSET_MAX)
		return tb_journal_damaged(err, path, offset, offset, "no journal comes that far");
	return TB_OK;
}

tb_rc tb_journal_head_read(tb_disk *disk, tb_file *file, const char *path, uint64_t offset,
                           uint8_t ret_id[TB_JOURNAL_ID], uint64_t *ret_nominal, tb_err *err)
{
	uint8_t head[TB_JOURNAL_FILE_HEAD];
	size_t got;
	tb_rc rc = disk->read(disk, file, 0, head, sizeof(head), &got, err);
	if (rc == TB_OK && got < sizeof(head))
		rc = tb_journal_damaged(err, path, offset, offset, "it ends within its head");
	if (rc == TB_OK)
		rc = head_judge(head, path, offset, err);
	if (rc != TB_OK)
		return rc;
	memcpy(ret_id, head + 8, TB_JOURNAL_ID);
	*ret_nominal = tb_get64(head + 32);
	return TB_OK;
}

void tb_journal_record_write(uint8_t head[TB_JOURNAL_BATCH_HEAD], tb_journal_record *record)
{
	memcpy(head, record_magic, sizeof(record_magic));
	tb_put32(head + 4, record->count);
	tb_put64(head + 8, record->offset);
	tb_put64(head + 16, record->body_size);
	tb_put64(head + 24, record->before);
	tb_put64(head + 32, record->synced);
	tb_put64(head + 40, record->stamp_ns);
	tb_put64(head + 48, record->body_check);
	record->check = tb_check64(head, 56);
	tb_put64(head + 56, record->check);
}

int tb_journal_record_read(const uint8_t head[TB_JOURNAL_BATCH_HEAD], uint64_t offset, tb_journal_record *ret_record)
{
	if (memcmp(head, record_magic, sizeof(record_magic)) != 0 || tb_get64(head + 56) != tb_check64(head, 56))
		return 0;
	tb_journal_record record = {
		.count = tb_get32(head + 4), .offset = tb_get64(head + 8), .body_size = tb_get64(head + 16),
		.before = tb_get64(head + 24), .synced = tb_get64(head + 32), .stamp_ns = tb_get64(head + 40),
		.body_check = tb_get64(head + 48), .check = tb_get64(head + 56),
	};
	if (record.offset != offset || record.synced > offset || record.body_size > TB_JOURNAL_BATCH_MAX)
		return 0;
	*ret_record = record;
	return 1;
}

tb_rc tb_journal_write_zeros(tb_disk *disk, tb_file *file, uint64_t place, uint64_t size, tb_err *err)
{
	static const uint8_t zeros[65536];
	tb_rc rc = TB_OK;
	while (rc == TB_OK && size > 0) {
		size_t piece = size < sizeof(zeros) ? size : sizeof(zeros);
		rc = disk->write(disk, file, place, zeros, piece, err);
		place += piece;
		size -= piece;
	}
	return rc;
}

void tb_journal_walk_init(tb_journal_walk *walk, tb_disk *disk, tb_file *file, const char *path, uint64_t file_offset,
                          uint64_t end)
{
	*walk = (tb_journal_walk){
		.disk = disk, .file = file, .path = path, .file_offset = file_offset, .end = end,
		.at = file_offset + TB_JOURNAL_FILE_HEAD, .held_from = file_offset + TB_JOURNAL_FILE_HEAD,
	};
}

void tb_journal_walk_drop(tb_journal_walk *walk)
{
	tb_buf_drop(&walk->held);
}

static int walk_at_first(const tb_journal_walk *walk)
{
	return walk->at == walk->file_offset + TB_JOURNAL_FILE_HEAD;
}

static tb_rc walk_not_whole(const tb_journal_walk *walk, const char *why, tb_err *err)
{
	return tb_journal_damaged(err, walk->path, walk->file_offset, walk->at, why);
}

static tb_rc walk_head(tb_journal_walk *walk, uint8_t head[TB_JOURNAL_BATCH_HEAD], tb_journal_record *ret_record,
                       tb_err *err)
{
	if (walk->end < walk->at || walk->end - walk->at < TB_JOURNAL_BATCH_HEAD)
		return walk_not_whole(walk, "there is no room for a batch", err);
	size_t got;
	tb_rc rc = walk->disk->read(walk->disk, walk->file, walk->at - walk->file_offset, head, TB_JOURNAL_BATCH_HEAD,
	                            &got, err);
	if (rc != TB_OK)
		return rc;
	if (got < TB_JOURNAL_BATCH_HEAD || !tb_journal_record_read(head, walk->at, ret_record))
		return walk_not_whole(walk, "no head of a batch stands there, or its check doesn't hold", err);
	if (tb_journal_record_size(ret_record->body_size) > walk->end - walk->at)
		return walk_not_whole(walk, "the batch goes past the end", err);
	return TB_OK;
}

/* What a file's first record follows stands in the file before; only in the first file of all is it known. */
static tb_rc walk_check_chain(tb_journal_walk *walk, const tb_journal_record *record, tb_err *err)
{
	if (record->before == walk->check || (walk_at_first(walk) && walk->file_offset != 0))
		return TB_OK;
	if (!walk_at_first(walk))
		walk->doubtful = walk->record.offset;
	return walk_not_whole(walk, "the batch was written behind another one than the one before it", err);
}

static void walk_let_go(tb_journal_walk *walk, uint64_t synced)
{
	if (synced <= walk->held_from)
		return;
	size_t gone = synced - walk->held_from < walk->held.size ? synced - walk->held_from : walk->held.size;
	if (gone < walk->held.size)
		memmove(walk->held.data, walk->held.data + gone, walk->held.size - gone);
	walk->held.size -= gone;
	walk->held_from += gone;
}

static int is_zero(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (data[i] != 0)
			return 0;
	return 1;
}

/* Reads the body and its padding to the end of `held`, whose size stays as it is. */
static tb_rc walk_body(tb_journal_walk *walk, const tb_journal_record *record, tb_err *err)
{
	size_t padded = tb_journal_record_size(record->body_size) - TB_JOURNAL_BATCH_HEAD, got;
	tb_buf_reserve(&walk->held, TB_JOURNAL_BATCH_HEAD + padded);
	uint8_t *body = walk->held.data + walk->held.size + TB_JOURNAL_BATCH_HEAD;
	tb_rc rc = walk->disk->read(walk->disk, walk->file, walk->at - walk->file_offset + TB_JOURNAL_BATCH_HEAD, body,
	                            padded, &got, err);
	if (rc != TB_OK)
		return rc;
	if (got < padded || (tb_check64(body, record->body_size) != record->body_check && !TB_PLANTED(12)))
		return walk_not_whole(walk, "the check of the batch's body doesn't hold", err);
	if (!is_zero(body + record->body_size, padded - record->body_size))
		return walk_not_whole(walk, "the batch isn't followed by zeros up to the next", err);
	return TB_OK;
}

tb_rc tb_journal_walk_expect(tb_journal_walk *walk, uint64_t check, tb_err *err)
{
	uint8_t head[TB_JOURNAL_BATCH_HEAD];
	tb_journal_record record;
	tb_rc rc = walk_head(walk, head, &record, err);
	if (rc == TB_OK && record.before != check)
		rc = walk_not_whole(walk, "the batch doesn't go on from the last one of the file before", err);
	return rc;
}

tb_rc tb_journal_walk_next(tb_journal_walk *walk, tb_err *err)
{
	uint8_t head[TB_JOURNAL_BATCH_HEAD];
	tb_journal_record record;
	walk->doubtful = walk->at;
	tb_rc rc = walk_head(walk, head, &record, err);
	if (rc == TB_OK)
		rc = walk_check_chain(walk, &record, err);
	if (rc != TB_OK)
		return rc;
	walk_let_go(walk, record.synced);
	rc = walk_body(walk, &record, err);
	if (rc != TB_OK)
		return rc;
	uint8_t *to = walk->held.data + walk->held.size;
	memcpy(to, head, sizeof(head));
	walk->body = tb_span_of(to + sizeof(head), record.body_size);
	walk->held.size += tb_journal_record_size(record.body_size);
	walk->at += tb_journal_record_size(record.body_size);
	walk->check = record.check;
	walk->record = record;
	return TB_OK;
}

static tb_rc walk_check_frame(const tb_journal_walk *walk, uint64_t offset, const tb_frame *frame, tb_err *err)
{
	int first = walk->record.offset == walk->file_offset + TB_JOURNAL_FILE_HEAD;
	if (first && (frame->kind != TB_KIND_CHECKPOINT || walk->record.count != 1))
		return tb_journal_damaged(err, walk->path, walk->file_offset, offset,
		                          "the file doesn't begin with a checkpoint");
	return TB_OK;
}

tb_rc tb_journal_walk_tell(const tb_journal_walk *walk, const tb_journal_replay *each, tb_err *err)
{
	tb_span rest = walk->body;
	uint32_t count = 0;
	for (; rest.size > 0; count++) {
		uint64_t offset = walk->record.offset + TB_JOURNAL_BATCH_HEAD + (walk->body.size - rest.size);
		tb_frame frame;
		tb_err why;
		tb_rc rc = tb_frame_read(&rest, &frame, &why);
		if (rc != TB_OK)
			return tb_journal_damaged(err, walk->path, walk->file_offset, offset, why.text);
		rc = walk_check_frame(walk, offset, &frame, err);
		if (rc == TB_OK && each != NULL)
			rc = each->frame(each->self, offset, &frame, walk->record.stamp_ns, err);
		if (rc != TB_OK)
			return rc;
	}
	if (count != walk->record.count)
		return tb_journal_damaged(err, walk->path, walk->file_offset, walk->record.offset,
		                          "the batch hasn't as many frames as its head says");
	return TB_OK;
}
