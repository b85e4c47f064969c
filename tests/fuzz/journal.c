/* A journal's files. What was opened once can be read, written, and opened again with the same frames, and nothing is
 * cut then. */
#include "fuzz/fuzz_journal.h"

#define TOLD_MAX 1024

struct told {
	size_t count;
	uint64_t offsets[TOLD_MAX];
};

static struct fuzz_disk disk;

static tb_rc tell(void *self, uint64_t offset, const tb_frame *frame, uint64_t stamp_ns, tb_err *err)
{
	struct told *told = self;
	(void)stamp_ns, (void)err;
	hold(tb_kind_find(frame->kind) != NULL);
	if (told->count < TOLD_MAX)
		told->offsets[told->count] = offset;
	told->count++;
	return TB_OK;
}

static tb_rc open_journal(struct told *told, tb_journal **ret_journal, tb_journal_opened *ret_opened)
{
	tb_journal_options options = { .dir = fuzz_dir(), .file_size = FUZZ_JOURNAL_FILE, .disk = &disk.disk,
		                       .new_id = "a journal's id.." };
	tb_journal_replay replay = { told, tell };
	tb_err err;
	told->count = 0;
	tb_rc rc = tb_journal_open(&options, &replay, ret_journal, ret_opened, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	return rc;
}

static void read_all(tb_journal *journal, const struct told *told)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	struct told scanned = { 0 };
	tb_journal_replay each = { &scanned, tell };
	tb_err err;
	for (size_t i = 0; i < told->count && i < TOLD_MAX; i++)
		hold(tb_journal_read(journal, told->offsets[i], &frame, &err) == TB_OK);
	tb_rc rc = tb_journal_read(journal, told->count > 0 ? told->offsets[0] + 1 : 1, &frame, &err);
	hold(rc == TB_ECORRUPT || rc == TB_ENOTFOUND);
	for (size_t i = 0; i < tb_journal_file_count(journal); i++) {
		rc = tb_journal_scan(journal, i, &each, &err);
		if (rc == TB_OK)
			continue;
		fuzz_refused(rc, &err);
		hold(i + 1 < tb_journal_file_count(journal));
	}
}

static tb_rc append(tb_journal *journal)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	uint64_t offset, next = tb_journal_next(journal);
	tb_frame_write(&frame, &(tb_frame){ .kind = TB_KIND_EVENTS, .count = 1, .body = tb_span_text("an event") });
	tb_err err;
	tb_rc rc = tb_journal_append(journal, tb_buf_span(&frame), 1, 17, &offset, &err);
	if (rc == TB_OK)
		hold(offset == next);
	else
		fuzz_refused(rc, &err);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct told told, again;
	tb_journal *journal;
	tb_journal_opened opened;
	fuzz_disk_init(&disk);
	fuzz_journal_lay(&disk, tb_span_of(data, size));
	if (open_journal(&told, &journal, &opened) == TB_OK) {
		read_all(journal, &told);
		size_t more = append(journal) == TB_OK;
		tb_journal_close(journal);
		hold(open_journal(&again, &journal, &opened) == TB_OK);
		hold(opened.cut_at == 0 && again.count == told.count + more);
		tb_journal_close(journal);
	}
	fuzz_disk_drop(&disk);
	return 0;
}
