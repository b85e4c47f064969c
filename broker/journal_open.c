#include "broker/journal_files.h"

#include "base/planted.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define FILE_SIZE_USUAL (64u * 1024 * 1024)
#define FILE_SIZE_MIN 4096u
#define FILE_SIZE_MAX (UINT64_C(1) << 40)
#define PIECE (1024u * 1024)

static tb_rc lock_take(tb_journal *journal, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_buf_print(&path, "%s/lock", journal->dir);
	journal->lock = open(tb_buf_text(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (journal->lock < 0)
		return tb_fail_errno(err, errno, "can't open %s", tb_buf_text(&path));
	if (flock(journal->lock, LOCK_EX | LOCK_NB) == 0)
		return TB_OK;
	if (errno != EWOULDBLOCK)
		return tb_fail_errno(err, errno, "can't lock %s", tb_buf_text(&path));
	tb_fail(err, TB_EBUSY, "another process has the journal in %s open", journal->dir);
	tb_hint(err, "one broker to a journal: is one running already?");
	return TB_EBUSY;
}

/* Is this the name of a journal's file, with that behind it? */
static int name_read(const char *name, const char *suffix, uint64_t *ret_offset)
{
	char again[64];
	uint64_t offset = strtoull(name, NULL, 16);
	snprintf(again, sizeof(again), "%016llx.tbj%s", (unsigned long long)offset, suffix);
	if (strcmp(name, again) != 0)
		return 0;
	*ret_offset = offset;
	return 1;
}

struct listing {
	uint64_t *offsets;
	size_t count;
	tb_buf leftovers; /* uint64_t each */
};

static void listing_drop(struct listing *listing)
{
	free(listing->offsets);
	tb_buf_drop(&listing->leftovers);
}

static tb_rc listing_add(void *context, const char *name, int is_dir, tb_err *err)
{
	(void)err;
	struct listing *listing = context;
	uint64_t offset;
	if (is_dir)
		return TB_OK;
	if (name_read(name, TB_JOURNAL_TEMPORARY, &offset))
		tb_buf_append(&listing->leftovers, &offset, sizeof(offset));
	if (!name_read(name, "", &offset))
		return TB_OK;
	listing->offsets = tb_realloc(listing->offsets, (listing->count + 1) * sizeof(*listing->offsets));
	listing->offsets[listing->count++] = offset;
	return TB_OK;
}

/* A file with a temporary name was in the making when the process ended: nothing was ever acknowledged from it. */
static tb_rc remove_leftovers(tb_journal *journal, const struct listing *listing, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = TB_OK;
	for (size_t at = 0; rc == TB_OK && at < listing->leftovers.size; at += sizeof(uint64_t)) {
		uint64_t offset;
		memcpy(&offset, listing->leftovers.data + at, sizeof(offset));
		tb_journal_path(&path, journal->dir, offset, TB_JOURNAL_TEMPORARY);
		rc = journal->disk->unlink(journal->disk, tb_buf_text(&path), err);
	}
	return rc;
}

static int offset_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* The head of one file, and that it is as long as it was made. */
static tb_rc file_judge(tb_journal *journal, tb_file *file, const char *path, tb_journal_file *entry,
                        uint64_t *ret_nominal, tb_err *err)
{
	uint8_t id[TB_JOURNAL_ID];
	tb_rc rc = tb_journal_head_read(journal->disk, file, path, entry->offset, id, ret_nominal, err);
	if (rc == TB_OK)
		rc = journal->disk->size(journal->disk, file, &entry->size, err);
	if (rc != TB_OK)
		return rc;
	if (entry->size < *ret_nominal)
		return tb_journal_damaged(err, path, entry->offset, entry->offset + entry->size,
		                          "the file ends there, and is shorter than it was made");
	if (entry == journal->files)
		memcpy(journal->id, id, sizeof(id));
	if (memcmp(journal->id, id, sizeof(id)) != 0)
		return tb_journal_damaged(err, path, entry->offset, entry->offset,
		                          "the file belongs to another journal than the oldest one here");
	return TB_OK;
}

/* Each file goes on where the one before ended. Of the older ones that is all opening looks at. */
static tb_rc older_judge(tb_journal *journal, size_t index, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	tb_journal_file *entry = &journal->files[index];
	const char *path = tb_journal_path(&name, journal->dir, entry->offset, "");
	tb_file *file;
	uint64_t nominal, next = entry[1].offset;
	tb_rc rc = journal->disk->open(journal->disk, path, TB_DISK_READ, &file, err);
	if (rc != TB_OK)
		return rc;
	rc = file_judge(journal, file, path, entry, &nominal, err);
	journal->disk->close(journal->disk, file);
	if (rc == TB_OK && entry->size < next - entry->offset)
		rc = tb_journal_damaged(err, path, entry->offset, entry->offset + entry->size,
		                        "the file ends there, and the next one begins later: what was between is missing");
	return rc;
}

/* What stands behind the first record that isn't whole. */
struct behind {
	uint64_t not_zero; /* bytes */
	uint64_t end;      /* of the last of them */
	uint64_t record;   /* the record that knows most as synced, and how far */
	uint64_t synced;
};

static void behind_look(struct behind *behind, const uint8_t *piece, size_t size, size_t readable, uint64_t offset)
{
	tb_journal_record record;
	for (size_t i = 0; i < size; i++) {
		if (piece[i] == 0)
			continue;
		behind->not_zero++;
		behind->end = offset + i + 1;
	}
	for (size_t i = 0; i < size && readable - i >= TB_JOURNAL_BATCH_HEAD; i += 8) {
		if (!tb_journal_record_read(piece + i, offset + i, &record) || record.synced < behind->synced)
			continue;
		behind->record = offset + i;
		behind->synced = record.synced;
	}
}

/* In pieces that overlap by a head. */
static tb_rc look_on(const tb_journal_walk *walk, struct behind *ret_behind, tb_err *err)
{
	uint8_t *piece = tb_alloc(PIECE + TB_JOURNAL_BATCH_HEAD);
	struct behind behind = { 0 };
	tb_rc rc = TB_OK;
	for (uint64_t at = walk->at; rc == TB_OK && at < walk->end; at += PIECE) {
		size_t got;
		rc = walk->disk->read(walk->disk, walk->file, at - walk->file_offset, piece, PIECE + TB_JOURNAL_BATCH_HEAD,
		                      &got, err);
		if (rc == TB_OK)
			behind_look(&behind, piece, got < PIECE ? got : PIECE, got, at);
	}
	free(piece);
	if (rc == TB_OK)
		*ret_behind = behind;
	return rc;
}

/* Where records end: a clean end, a torn tail or damage? why is what is wrong with the record that would come next. */
static tb_rc tail_judge(const tb_journal_walk *walk, const tb_err *why, struct behind *ret_behind, tb_err *err)
{
	tb_rc rc = look_on(walk, ret_behind, err);
	if (rc != TB_OK)
		return rc;
	int first = walk->at == walk->file_offset + TB_JOURNAL_FILE_HEAD;
	if (!first && ret_behind->synced <= walk->doubtful)
		return TB_OK;
	if (err != NULL)
		*err = *why;
	if (first)
		tb_hint(err, "the file was used only after its checkpoint was synced, so this is no torn tail: copy the whole "
		             "journal directory to another disk before anything else");
	else
		tb_hint(err, "the batch at offset %llu knows everything up to %llu as synced, so this is no torn tail: copy "
		             "the whole journal directory to another disk before anything else",
		        (unsigned long long)ret_behind->record, (unsigned long long)ret_behind->synced);
	return TB_ECORRUPT;
}

/* Zeros over what was torn, and again what may never have reached the disk although it could be read. */
static tb_rc tail_settle(const tb_journal_walk *walk, const struct behind *behind, tb_err *err)
{
	tb_disk *disk = walk->disk;
	tb_rc rc = TB_OK;
	if (behind->not_zero > 0)
		rc = tb_journal_write_zeros(disk, walk->file, walk->at - walk->file_offset, behind->end - walk->at, err);
	if (rc == TB_OK && walk->held.size > 0 && !TB_PLANTED(2))
		rc = disk->write(disk, walk->file, walk->held_from - walk->file_offset, walk->held.data, walk->held.size, err);
	if (rc == TB_OK)
		rc = disk->sync(disk, walk->file, err);
	return rc;
}

static tb_rc replay_last(tb_journal *journal, tb_journal_walk *walk, const tb_journal_replay *replay,
                         struct behind *ret_behind, tb_err *err)
{
	for (;;) {
		tb_err why;
		tb_rc rc = tb_journal_walk_next(walk, &why);
		if (rc == TB_ECORRUPT)
			return tail_judge(walk, &why, ret_behind, err);
		if (rc == TB_OK)
			rc = tb_journal_walk_tell(walk, replay, &why);
		if (rc != TB_OK && err != NULL)
			*err = why;
		if (rc != TB_OK)
			return rc;
		if (journal->begun == 0)
			journal->begun = walk->at;
	}
}

static tb_rc last_walk(tb_journal *journal, tb_journal_walk *walk, const tb_journal_replay *replay,
                       tb_journal_opened *opened, tb_err *err)
{
	struct behind behind;
	tb_rc rc = replay_last(journal, walk, replay, &behind, err);
	if (rc == TB_OK)
		rc = tail_settle(walk, &behind, err);
	if (rc != TB_OK)
		return rc;
	opened->cut_at = behind.not_zero ? walk->at : 0;
	opened->cut_bytes = behind.not_zero;
	opened->rewritten = walk->held.size;
	journal->tail = walk->at;
	journal->check = walk->check;
	return TB_OK;
}

static tb_rc last_open(tb_journal *journal, const tb_journal_replay *replay, tb_journal_opened *opened, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	tb_journal_file *entry = &journal->files[journal->file_count - 1];
	const char *path = tb_journal_path(&name, journal->dir, entry->offset, "");
	uint64_t nominal;
	tb_rc rc = journal->disk->open(journal->disk, path, TB_DISK_WRITE, &journal->last, err);
	if (rc == TB_OK)
		rc = file_judge(journal, journal->last, path, entry, &nominal, err);
	if (rc != TB_OK)
		return rc;
	journal->full_at = entry->offset + nominal;
	tb_auto(tb_journal_walk_drop) tb_journal_walk walk;
	tb_journal_walk_init(&walk, journal->disk, journal->last, path, entry->offset, entry->offset + entry->size);
	return last_walk(journal, &walk, replay, opened, err);
}

/* A new name that could be read may never have reached the disk either: the directory is synced before anything
 * relies on it. */
static tb_rc files_find(tb_journal *journal, tb_err *err)
{
	tb_auto(listing_drop) struct listing listing = { 0 };
	tb_disk *disk = journal->disk;
	tb_rc rc = disk->list(disk, journal->dir, listing_add, &listing, err);
	if (rc == TB_OK)
		rc = remove_leftovers(journal, &listing, err);
	if (rc == TB_OK)
		rc = disk->sync_dir(disk, journal->dir, err);
	if (rc != TB_OK || listing.count == 0)
		return rc;
	qsort(listing.offsets, listing.count, sizeof(*listing.offsets), offset_compare);
	journal->files = tb_alloc_zero(listing.count, sizeof(*journal->files));
	journal->file_count = listing.count;
	for (size_t i = 0; i < listing.count; i++)
		journal->files[i].offset = listing.offsets[i];
	for (size_t i = 0; rc == TB_OK && i + 1 < listing.count; i++)
		rc = older_judge(journal, i, err);
	return rc;
}

static tb_rc journal_begin(tb_journal *journal, const tb_journal_replay *replay, tb_journal_opened *opened, tb_err *err)
{
	tb_rc rc = tb_disk_make_path(journal->disk, journal->dir, err);
	if (rc == TB_OK)
		rc = lock_take(journal, err);
	if (rc == TB_OK)
		rc = files_find(journal, err);
	if (rc != TB_OK)
		return rc;
	opened->made = journal->file_count == 0;
	return opened->made ? TB_OK : last_open(journal, replay, opened, err);
}

tb_rc tb_journal_open(const tb_journal_options *options, const tb_journal_replay *replay, tb_journal **ret_journal,
                      tb_journal_opened *ret_opened, tb_err *err)
{
	assert(options->dir != NULL && options->disk != NULL);
	uint64_t file_size = options->file_size != 0 ? options->file_size : FILE_SIZE_USUAL;
	if (file_size < FILE_SIZE_MIN || file_size > FILE_SIZE_MAX)
		return tb_fail(err, TB_EINVAL, "a journal's files can't have %llu bytes: %u to %llu",
		               (unsigned long long)file_size, FILE_SIZE_MIN, (unsigned long long)FILE_SIZE_MAX);
	tb_journal *journal = tb_alloc_zero(1, sizeof(*journal));
	journal->disk = options->disk;
	journal->dir = tb_strdup(options->dir);
	journal->lock = -1;
	journal->file_size = file_size;
	memcpy(journal->id, options->new_id, TB_JOURNAL_ID);
	tb_journal_opened opened = { 0 };
	tb_rc rc = journal_begin(journal, replay, &opened, err);
	if (rc != TB_OK) {
		tb_journal_close(journal);
		return rc;
	}
	*ret_journal = journal;
	*ret_opened = opened;
	return TB_OK;
}
