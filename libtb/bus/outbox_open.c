#include "bus/outbox_ring.h"

#include "base/planted.h"
#include "wire/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u
#define RING_MIN (UINT64_C(64) * 1024)
#define RING_MAX (UINT64_C(1) << 40)
#define NAME_MAX_SIZE 128u

enum head_at {
	AT_ID = 8,
	AT_RING = 24,
	AT_MADE = 32,
	AT_BOOT = 40,
	AT_EPOCH = 56,
	AT_UNSETTLED = 64,
	AT_SHIFT = 72,
	AT_APART = 80,
	AT_JOURNAL = 88,
	AT_NAME = 104,
	AT_CHECK = 504,
	AT_ZEROS = 512,
};
enum marks_at {
	AT_SEQUENCE = 0,
	AT_FIRST = 8,
	AT_POSITION = 16,
	AT_DURABLE = 24,
	AT_STORED = 32,
	AT_MARKS_CHECK = 40,
};

static const uint8_t magic[8] = { 'T', 'B', 'O', 'U', 'T', 0, 0, 1 };

/* What opening passes from step to step. */
struct opening {
	const char *path, *stream;
	const uint8_t *boot_id;
	tb_outbox *outbox;
	tb_outbox_opened opened;
	int moved; /* what the head says has changed */
	tb_err *err;
};

static tb_rc damaged(const struct opening *opening, const char *what)
{
	tb_fail(opening->err, TB_ECORRUPT, "the outbox %s is damaged: %s", opening->path, what);
	tb_hint(opening->err, "move the file away and keep it: it may hold events that the broker never got; the stream goes "
	                      "on in a new one");
	return TB_ECORRUPT;
}

/* Head */

static tb_rc write_head(tb_outbox *outbox, const char *path, tb_err *err)
{
	tb_put64(outbox->head + AT_CHECK, tb_check64(outbox->head, AT_CHECK));
	ssize_t put = pwrite(outbox->fd, outbox->head, OUTBOX_HEAD, 0);
	if (put < 0)
		return tb_fail_errno(err, errno, "can't write the head of the outbox %s", path);
	return put == OUTBOX_HEAD ? TB_OK : tb_fail(err, TB_EIO, "the head of the outbox %s was written in part", path);
}

static tb_rc fill_head(const struct opening *opening, uint64_t ring)
{
	uint8_t *head = opening->outbox->head;
	size_t name = strlen(opening->stream);
	memcpy(head, magic, sizeof(magic));
	if (getrandom(head + AT_ID, 16, 0) != 16)
		return tb_fail_errno(opening->err, errno, "no random bytes for the outbox %s", opening->path);
	tb_put64(head + AT_RING, ring);
	tb_put64(head + AT_MADE, tb_real_ns(tb_clock_system()));
	memcpy(head + AT_BOOT, opening->boot_id, 16);
	tb_put64(head + AT_UNSETTLED, 1);
	tb_put64(head + AT_NAME, name);
	memcpy(head + AT_NAME + 8, opening->stream, name);
	return TB_OK;
}

static tb_rc check_head(const struct opening *opening)
{
	const uint8_t *head = opening->outbox->head;
	if (memcmp(head, magic, sizeof(magic)) != 0)
		return damaged(opening, "it does not begin as an outbox does");
	static const uint8_t zeros[OUTBOX_HEAD - AT_ZEROS];
	if (tb_get64(head + AT_CHECK) != tb_check64(head, AT_CHECK) || memcmp(head + AT_ZEROS, zeros, sizeof(zeros)) != 0)
		return damaged(opening, "the check over its head does not hold");
	uint64_t ring = tb_get64(head + AT_RING);
	uint64_t name = tb_get64(head + AT_NAME);
	if (ring < RING_MIN || ring > RING_MAX || ring % PAGE != 0 || name > NAME_MAX_SIZE ||
	    tb_get64(head + AT_SHIFT) > UINT64_MAX / 4 || tb_get64(head + AT_UNSETTLED) > UINT64_MAX / 2)
		return damaged(opening, "its head is not possible");
	if (opening->stream == NULL)
		return TB_OK;
	if (name == strlen(opening->stream) && memcmp(head + AT_NAME + 8, opening->stream, name) == 0)
		return TB_OK;
	tb_fail(opening->err, TB_EINVAL, "the outbox %s belongs to the stream %.*s, not to %s", opening->path, (int)name,
	        (const char *)head + AT_NAME + 8, opening->stream);
	tb_hint(opening->err, "give each stream an outbox of its own");
	return TB_EINVAL;
}

static tb_rc read_head(const struct opening *opening)
{
	struct stat info;
	tb_outbox *outbox = opening->outbox;
	if (fstat(outbox->fd, &info) != 0)
		return tb_fail_errno(opening->err, errno, "can't look at %s", opening->path);
	if (!S_ISREG(info.st_mode))
		return tb_fail(opening->err, TB_EINVAL, "%s is not a plain file", opening->path);
	ssize_t got = pread(outbox->fd, outbox->head, OUTBOX_HEAD, 0);
	if (got < 0)
		return tb_fail_errno(opening->err, errno, "can't read the outbox %s", opening->path);
	if (got < (ssize_t)OUTBOX_HEAD)
		return damaged(opening, "it is too short");
	tb_rc rc = check_head(opening);
	if (rc == TB_OK && (uint64_t)info.st_size != OUTBOX_RING + tb_get64(outbox->head + AT_RING))
		return damaged(opening, "it has not the size that its head says");
	return rc;
}

/* The file */

static tb_rc lock_file(const struct opening *opening)
{
	if (flock(opening->outbox->fd, LOCK_EX | LOCK_NB) == 0)
		return TB_OK;
	if (errno != EWOULDBLOCK)
		return tb_fail_errno(opening->err, errno, "can't lock the outbox %s", opening->path);
	tb_fail(opening->err, TB_EBUSY, "the outbox %s is open in another process", opening->path);
	tb_hint(opening->err, "a stream has one publishing process at a time; end the other one first");
	return TB_EBUSY;
}

/* Is the file that we hold the one of that name? Another process may have just put it in place, or taken it away. */
static int holds_name(int fd, const char *path)
{
	struct stat held, named;
	return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_dev == named.st_dev &&
	       held.st_ino == named.st_ino;
}

static tb_rc sync_directory(const char *path, tb_err *err)
{
	char *copy = tb_strdup(path);
	const char *directory = dirname(copy);
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int failed = fd < 0 || fsync(fd) != 0;
	tb_rc rc = failed ? tb_fail_errno(err, errno, "can't sync the directory %s", directory) : TB_OK;
	if (fd >= 0)
		close(fd);
	free(copy);
	return rc;
}

/* All its blocks, so that a full disk shows now and not as a fault in the middle of publishing. */
static tb_rc allocate(const struct opening *opening, uint64_t ring)
{
	int errnum = posix_fallocate(opening->outbox->fd, 0, (off_t)(OUTBOX_RING + ring));
	if (errnum != 0)
		return tb_fail_errno(opening->err, errnum, "can't allocate %llu bytes for the outbox %s",
		                     (unsigned long long)(OUTBOX_RING + ring), opening->path);
	return TB_OK;
}

static tb_rc write_first_marks(const struct opening *opening)
{
	uint8_t slots[2][OUTBOX_MARKS_STEP] = { { 0 } };
	for (uint64_t sequence = 1; sequence <= 2; sequence++) {
		uint8_t *slot = slots[sequence & 1];
		tb_put64(slot + AT_SEQUENCE, sequence);
		tb_put64(slot + AT_FIRST, 1);
		tb_put64(slot + AT_MARKS_CHECK, tb_check64(slot, AT_MARKS_CHECK));
	}
	if (pwrite(opening->outbox->fd, slots, sizeof(slots), OUTBOX_MARKS) != (ssize_t)sizeof(slots))
		return tb_fail_errno(opening->err, errno, "can't write the outbox %s", opening->path);
	return TB_OK;
}

static tb_rc fill_file(const struct opening *opening, const char *beside, uint64_t ring)
{
	tb_outbox *outbox = opening->outbox;
	if (ftruncate(outbox->fd, 0) != 0)
		return tb_fail_errno(opening->err, errno, "can't empty %s", beside);
	tb_rc rc = allocate(opening, ring);
	if (rc == TB_OK)
		rc = fill_head(opening, ring);
	if (rc == TB_OK)
		rc = write_head(outbox, opening->path, opening->err);
	if (rc == TB_OK)
		rc = write_first_marks(opening);
	if (rc == TB_OK && fsync(outbox->fd) != 0)
		return tb_fail_errno(opening->err, errno, "can't sync %s", beside);
	if (rc == TB_OK && rename(beside, opening->path) != 0)
		return tb_fail_errno(opening->err, errno, "can't rename %s", beside);
	return rc == TB_OK ? sync_directory(opening->path, opening->err) : rc;
}

/* Made beside and renamed, so that a file of that name is always whole. */
static tb_rc make_file(struct opening *opening, uint64_t size)
{
	uint64_t ring = (size + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	if (size > RING_MAX || ring < RING_MIN)
		return tb_fail(opening->err, TB_EINVAL, "an outbox has 64 KiB to 1 TiB, not %llu bytes", (unsigned long long)size);
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	tb_buf_print(&name, "%s.new", opening->path);
	const char *beside = tb_buf_text(&name);
	int fd = opening->outbox->fd = open(beside, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return tb_fail_errno(opening->err, errno, "can't make the outbox %s", opening->path);
	tb_rc rc = lock_file(opening);
	if (rc != TB_OK)
		return rc;
	if (!holds_name(fd, beside) || access(opening->path, F_OK) == 0)
		return tb_fail(opening->err, TB_EBUSY, "the outbox %s is being made by another process", opening->path);
	rc = fill_file(opening, beside, ring);
	if (rc != TB_OK && holds_name(fd, beside))
		unlink(beside);
	opening->opened.made = 1;
	return rc;
}

static tb_rc open_file(struct opening *opening, uint64_t size)
{
	int fd = opening->outbox->fd = open(opening->path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return make_file(opening, size);
	if (fd < 0)
		return tb_fail_errno(opening->err, errno, "can't open the outbox %s", opening->path);
	tb_rc rc = lock_file(opening);
	if (rc == TB_OK)
		rc = read_head(opening);
	if (rc == TB_OK)
		rc = allocate(opening, tb_get64(opening->outbox->head + AT_RING));
	return rc;
}

static tb_rc map_file(const struct opening *opening)
{
	tb_outbox *outbox = opening->outbox;
	outbox->size = tb_get64(outbox->head + AT_RING);
	void *map = mmap(NULL, OUTBOX_RING + outbox->size, PROT_READ | PROT_WRITE, MAP_SHARED, outbox->fd, 0);
	if (map == MAP_FAILED)
		return tb_fail_errno(opening->err, errno, "can't map the outbox %s", opening->path);
	madvise(map, OUTBOX_RING + outbox->size, MADV_DONTFORK);
	outbox->map = map;
	outbox->ring = outbox->map + OUTBOX_RING;
	return TB_OK;
}

/* Marks and records */

static const uint8_t *newest_marks(const tb_outbox *outbox)
{
	const uint8_t *newest = NULL;
	for (int i = 0; i < 2; i++) {
		const uint8_t *slot = outbox->map + OUTBOX_MARKS + i * OUTBOX_MARKS_STEP;
		if (tb_get64(slot + AT_MARKS_CHECK) == tb_check64(slot, AT_MARKS_CHECK) &&
		    (newest == NULL || tb_get64(slot) > tb_get64(newest)))
			newest = slot;
	}
	return newest;
}

static tb_rc read_marks(struct opening *opening)
{
	tb_outbox *outbox = opening->outbox;
	const uint8_t *marks = newest_marks(outbox);
	if (marks == NULL)
		return damaged(opening, "neither of its two slots of marks holds");
	outbox->sequence = tb_get64(marks + AT_SEQUENCE);
	outbox->first = tb_get64(marks + AT_FIRST);
	outbox->tail = tb_get64(marks + AT_POSITION);
	outbox->durable = tb_get64(marks + AT_DURABLE);
	outbox->stored = tb_get64(marks + AT_STORED);
	outbox->shift = tb_get64(outbox->head + AT_SHIFT);
	outbox->apart = tb_get64(outbox->head + AT_APART);
	if (outbox->first == 0 || outbox->first > UINT64_MAX / 4 || outbox->tail % 8 != 0 ||
	    outbox->tail > UINT64_MAX / 2 || outbox->durable > UINT64_MAX / 4)
		return damaged(opening, "its marks are not possible");
	return TB_OK;
}

static void follow_records(tb_outbox *outbox)
{
	uint64_t at = outbox->tail;
	uint64_t place = outbox->first;
	outbox_record record;
	while (outbox_record_at(outbox, at, outbox->tail + outbox->size, &record) && record.place == place &&
	       outbox_record_whole(&record)) {
		at = record.next;
		place++;
	}
	outbox->last = place - 1;
	outbox->at = at;
	outbox->end = at;
	outbox->place = at % outbox->size;
	outbox->tail_seen = outbox->tail;
	outbox->flags = TB_EVENTS_APART;
}

void outbox_wipe_free(tb_outbox *outbox)
{
	uint64_t free_bytes = outbox->size - (outbox->at - outbox->tail);
	uint64_t before_end = outbox->size - outbox->place;
	uint64_t here = free_bytes < before_end ? free_bytes : before_end;
	memset(outbox->ring + outbox->place, 0, here);
	memset(outbox->ring, 0, free_bytes - here);
}

/* What stands behind the newest record must not look like one. */
static void end_records(tb_outbox *outbox)
{
	if (outbox->at - outbox->tail < outbox->size)
		outbox_store(outbox->ring + outbox->place, 0);
}

static tb_rc check_hint(struct opening *opening)
{
	const uint8_t *hint = opening->outbox->map + OUTBOX_HINT;
	uint64_t last = opening->outbox->last;
	uint64_t hinted = tb_get64(hint);
	if (tb_get64(hint + 8) != outbox_hint_check(hinted) || hinted <= last)
		return opening->outbox->durable <= tb_outbox_last(opening->outbox) ? TB_OK : damaged(opening, "it lacks events that it had delivered");
	tb_auto(tb_buf_drop) tb_buf what = { 0 };
	tb_buf_print(&what, "event %llu is not what was written there, and %llu follow it", (unsigned long long)last + 1,
	             (unsigned long long)(hinted - last - 1));
	return damaged(opening, tb_buf_text(&what));
}

/* The broker has what the file lost with the power, and all that it didn't: numbers go on behind that. */
static void skip_lost(tb_outbox *outbox)
{
	if (outbox->durable <= tb_outbox_last(outbox))
		return;
	outbox->shift = outbox->durable - outbox->last;
	outbox->apart = outbox->last + 1;
	tb_put64(outbox->head + AT_SHIFT, outbox->shift);
	tb_put64(outbox->head + AT_APART, outbox->apart);
}

/* The places before `apart` were delivered under other numbers; when some of them were lost with the power, the next one
 * is behind all that is left. */
static void let_go_delivered(struct opening *opening)
{
	tb_outbox *outbox = opening->outbox;
	if (outbox->apart > outbox->last + 1) {
		outbox->apart = outbox->last + 1;
		tb_put64(outbox->head + AT_APART, outbox->apart);
		opening->moved = 1;
	}
	outbox_drop_before(outbox, outbox->apart);
}

/* The hint of the time before says nothing any more. */
static void begin_boot(tb_outbox *outbox)
{
	skip_lost(outbox);
	outbox_wipe_free(outbox);
	outbox_write_hint(outbox, outbox->last);
}

/* What is accepted from here on is so without the broker's word, until that comes. */
static tb_rc note_opening(struct opening *opening)
{
	tb_outbox *outbox = opening->outbox;
	uint64_t before = tb_get64(outbox->head + AT_UNSETTLED), doubtful = outbox->last + 1;
	opening->opened.unsettled = before != 0 || opening->opened.other_boot;
	if (before != 0 && before <= doubtful && !opening->opened.other_boot && !opening->moved)
		return TB_OK;
	tb_put64(outbox->head + AT_UNSETTLED, before != 0 && before < doubtful ? before : doubtful);
	memcpy(outbox->head + AT_BOOT, opening->boot_id, 16);
	return write_head(outbox, opening->path, opening->err);
}

static void tell_opened(struct opening *opening)
{
	tb_outbox *outbox = opening->outbox;
	tb_outbox_opened *opened = &opening->opened;
	opened->first = tb_outbox_first(outbox);
	opened->last = tb_outbox_last(outbox);
	opened->durable = outbox->durable;
	opened->stored = outbox->stored;
	opened->ground = tb_get64(outbox->head + AT_UNSETTLED) - 1 + tb_outbox_shift(outbox);
}

static tb_outbox *outbox_new(void)
{
	tb_outbox *outbox = aligned_alloc(64, (sizeof(*outbox) + 63) & ~(size_t)63);
	if (outbox == NULL)
		abort();
	memset(outbox, 0, sizeof(*outbox));
	outbox->fd = -1;
	return outbox;
}

tb_rc tb_outbox_stream(const char *path, char ret_stream[129], tb_err *err)
{
	struct opening opening = { .path = path, .outbox = outbox_new(), .err = err };
	int fd = opening.outbox->fd = open(path, O_RDONLY | O_CLOEXEC);
	tb_rc rc = fd < 0 ? tb_fail_errno(err, errno, "can't open the outbox %s", path) : read_head(&opening);
	if (rc == TB_OK) {
		const uint8_t *head = opening.outbox->head;
		size_t size = tb_get64(head + AT_NAME);
		memcpy(ret_stream, head + AT_NAME + 8, size);
		ret_stream[size] = '\0';
		rc = tb_stream_check(ret_stream, NULL) == TB_OK ? TB_OK : damaged(&opening, "its head names no stream");
	}
	tb_outbox_close(opening.outbox);
	return rc;
}

static tb_rc open_ring(struct opening *opening)
{
	tb_outbox *outbox = opening->outbox;
	opening->opened.other_boot = memcmp(outbox->head + AT_BOOT, opening->boot_id, 16) != 0;
	tb_rc rc = map_file(opening);
	if (rc == TB_OK)
		rc = read_marks(opening);
	if (rc != TB_OK)
		return rc;
	follow_records(outbox);
	if (opening->opened.other_boot)
		begin_boot(outbox);
	else
		rc = check_hint(opening);
	if (rc == TB_OK) {
		let_go_delivered(opening);
		rc = note_opening(opening);
	}
	if (rc != TB_OK)
		return rc;
	end_records(outbox);
	tell_opened(opening);
	return TB_OK;
}

tb_rc tb_outbox_open(const char *path, const char *stream, uint64_t size, const uint8_t boot_id[16],
                     tb_outbox **ret_outbox, tb_outbox_opened *ret_opened, tb_err *err)
{
	tb_rc rc = tb_stream_check(stream, err);
	if (rc != TB_OK)
		return rc;
	struct opening opening = { .path = path, .stream = stream, .boot_id = boot_id, .err = err };
	opening.outbox = outbox_new();
	rc = open_file(&opening, size);
	if (rc == TB_OK)
		rc = open_ring(&opening);
	if (rc != TB_OK) {
		tb_outbox_close(opening.outbox);
		return rc;
	}
	*ret_outbox = opening.outbox;
	*ret_opened = opening.opened;
	return TB_OK;
}

void tb_outbox_close(tb_outbox *outbox)
{
	if (outbox == NULL)
		return;
	if (outbox->map != NULL)
		munmap(outbox->map, OUTBOX_RING + outbox->size);
	if (outbox->fd >= 0)
		close(outbox->fd);
	free(outbox);
}

/* Terms */

uint64_t tb_outbox_epoch(const tb_outbox *outbox)
{
	return tb_get64(outbox->head + AT_EPOCH);
}

const uint8_t *tb_outbox_journal(const tb_outbox *outbox)
{
	return outbox->head + AT_JOURNAL;
}

/* What was delivered before has numbers of its own, which this shift doesn't give. */
static void move_numbers(tb_outbox *outbox, const tb_outbox_terms *terms)
{
	outbox->apart = terms->place;
	atomic_store_explicit(&outbox->shift, terms->first - terms->place, memory_order_relaxed);
	tb_put64(outbox->head + AT_SHIFT, terms->first - terms->place);
	tb_put64(outbox->head + AT_APART, terms->place);
}

tb_rc tb_outbox_settle(tb_outbox *outbox, const tb_outbox_terms *terms, tb_err *err)
{
	int moves = terms->first - terms->place != tb_outbox_shift(outbox) || terms->renewal != NULL;
	tb_put64(outbox->head + AT_EPOCH, terms->epoch);
	tb_put64(outbox->head + AT_UNSETTLED, 0);
	memcpy(outbox->head + AT_JOURNAL, terms->journal_id, 16);
	if (moves && !TB_PLANTED(24))
		move_numbers(outbox, terms);
	if (terms->renewal != NULL) {
		memcpy(outbox->head + AT_ID, terms->renewal, 16);
		outbox_wipe_free(outbox);
	}
	tb_rc rc = write_head(outbox, "of this stream", err);
	if (rc == TB_OK && moves)
		outbox_drop_before(outbox, terms->place);
	return rc;
}

tb_rc tb_outbox_sync(tb_outbox *outbox, tb_err *err)
{
	return fdatasync(outbox->fd) == 0 ? TB_OK : tb_fail_errno(err, errno, "can't sync the outbox of this stream");
}

tb_rc tb_outbox_doubt(tb_outbox *outbox, uint64_t number, tb_err *err)
{
	uint64_t shift = tb_outbox_shift(outbox), doubtful = number > shift ? number - shift + 1 : 1;
	uint64_t before = tb_get64(outbox->head + AT_UNSETTLED);
	if (before != 0 && before <= doubtful)
		return TB_OK;
	tb_put64(outbox->head + AT_UNSETTLED, doubtful);
	return write_head(outbox, "of this stream", err);
}
