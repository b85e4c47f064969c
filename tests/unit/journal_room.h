/* A journal in a directory of its own, on a disk that can be broken, and frames to put into it: frame n has n as its
 * first number, and is stamped 1000 + n. */
#ifndef TB_TESTS_JOURNAL_ROOM_H
#define TB_TESTS_JOURNAL_ROOM_H

#include "broker/journal.h"

#include "base/bytes.h"
#include "fault/fault_disk.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#define FILE_SIZE 4096u
#define TOLD_MAX 4096

struct told {
	size_t count;
	struct {
		uint64_t offset, first, stamp_ns;
		unsigned kind;
		size_t size;
	} frames[TOLD_MAX];
};

static struct room {
	char dir[64];
	struct fault_disk fault;
	tb_journal *journal;
	tb_journal_opened opened;
	struct told told;
	uint64_t file_size;
	tb_err err;
} room;

static inline void room_begin(void)
{
	snprintf(room.dir, sizeof(room.dir), "/tmp/tb-journal-XXXXXX");
	cr_assert_not_null(mkdtemp(room.dir));
	room.file_size = FILE_SIZE;
	fault_disk_init(&room.fault, tb_disk_system());
}

static inline void room_end(void)
{
	tb_journal_close(room.journal);
	fault_disk_drop(&room.fault);
	tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
#ifdef __SANITIZE_ADDRESS__
	if (__lsan_do_recoverable_leak_check())
		abort();
#endif
}

static inline tb_rc tell(void *self, uint64_t offset, const tb_frame *frame, uint64_t stamp_ns, tb_err *err)
{
	struct told *told = self;
	(void)err;
	cr_assert_lt(told->count, TOLD_MAX);
	told->frames[told->count].offset = offset;
	told->frames[told->count].first = frame->first;
	told->frames[told->count].stamp_ns = stamp_ns;
	told->frames[told->count].kind = frame->kind;
	told->frames[told->count].size = frame->body.size;
	told->count++;
	return TB_OK;
}

static inline tb_journal_replay telling(struct told *told)
{
	told->count = 0;
	return (tb_journal_replay){ told, tell };
}

static inline tb_rc room_open(void)
{
	tb_journal_options options = {
		.dir = room.dir, .file_size = room.file_size, .disk = &room.fault.disk, .new_id = "a journal's id..",
	};
	tb_journal_replay replay = telling(&room.told);
	tb_journal_close(room.journal);
	room.journal = NULL;
	return tb_journal_open(&options, &replay, &room.journal, &room.opened, &room.err);
}

static inline void room_open_well(void)
{
	tb_rc rc = room_open();
	cr_assert_eq(rc, TB_OK, "%s", room.err.text);
}

/* Files were changed behind the fault disk's back: forget what it knows of them. */
static inline void room_forget(void)
{
	tb_journal_close(room.journal);
	room.journal = NULL;
	fault_disk_drop(&room.fault);
	fault_disk_init(&room.fault, tb_disk_system());
}

static inline void frame_add(tb_buf *to, unsigned kind, uint64_t first, size_t size)
{
	tb_frame frame = { .kind = (uint16_t)kind, .count = 1, .stream = 7, .epoch = 1, .first = first, .time_ns = first };
	size_t at = tb_frame_begin(to);
	for (size_t i = 0; i < size; i++)
		tb_buf_byte(to, (uint8_t)(first * 31 + i * 7 + 1));
	tb_frame_end(to, at, &frame);
}

static inline tb_rc append(uint64_t first, uint32_t count, size_t size, uint64_t *ret_offset)
{
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	for (uint32_t i = 0; i < count; i++)
		frame_add(&frames, TB_KIND_EVENTS, first + i, size);
	return tb_journal_append(room.journal, tb_buf_span(&frames), count, 1000 + first, ret_offset, &room.err);
}

static inline uint64_t append_well(uint64_t first, uint32_t count, size_t size)
{
	uint64_t offset, next = tb_journal_next(room.journal);
	tb_rc rc = append(first, count, size, &offset);
	cr_assert_eq(rc, TB_OK, "%s", room.err.text);
	cr_assert_eq(offset, next);
	return offset;
}

static inline tb_rc rotate(uint64_t first, size_t size)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	frame_add(&frame, TB_KIND_CHECKPOINT, first, size);
	return tb_journal_rotate(room.journal, tb_buf_span(&frame), 1000 + first, &room.err);
}

static inline void rotate_well(uint64_t first)
{
	tb_rc rc = rotate(first, 30);
	cr_assert_eq(rc, TB_OK, "%s", room.err.text);
}

static inline void room_make(void)
{
	room_open_well();
	rotate_well(0);
}

/* The checkpoint and then frames 1..last, in order. */
static inline void expect_told(uint64_t last)
{
	cr_assert_eq(room.told.count, last + 1, "%zu frames were told, not %zu", room.told.count, (size_t)last + 1);
	for (uint64_t i = 0; i <= last; i++) {
		cr_assert_eq(room.told.frames[i].first, i);
		cr_assert_eq(room.told.frames[i].kind, i == 0 ? TB_KIND_CHECKPOINT : TB_KIND_EVENTS);
	}
}

static inline void path_of(char path[128], uint64_t offset, const char *suffix)
{
	snprintf(path, 128, "%s/%016llx.tbj%s", room.dir, (unsigned long long)offset, suffix);
}

static inline tb_buf file_get(uint64_t offset)
{
	char path[128];
	tb_buf bytes = { 0 };
	path_of(path, offset, "");
	cr_assert_eq(tb_disk_read_file(tb_disk_system(), path, 64u << 20, &bytes, NULL), TB_OK);
	return bytes;
}

static inline void file_put(uint64_t offset, const char *suffix, const void *data, size_t size)
{
	char path[128];
	path_of(path, offset, suffix);
	FILE *file = fopen(path, "wb");
	cr_assert_not_null(file);
	cr_assert_eq(fwrite(data, 1, size, file), size);
	fclose(file);
}

static inline int file_is_there(uint64_t offset, const char *suffix)
{
	char path[128];
	path_of(path, offset, suffix);
	return access(path, F_OK) == 0;
}

/* Three files; frames 1 and 2 in the first, 11 and 12 in the second, 21 and 22 in the third. */
static inline void make_three_files(uint64_t offsets[6])
{
	room_open_well();
	for (uint64_t file = 0; file < 3; file++) {
		rotate_well(file * 10);
		offsets[2 * file] = append_well(file * 10 + 1, 1, 50 + file);
		offsets[2 * file + 1] = append_well(file * 10 + 2, 1, 60 + file);
	}
}

static inline void expect_read(uint64_t offset, uint64_t first)
{
	tb_auto(tb_buf_drop) tb_buf got = { 0 };
	tb_buf_append(&got, "before", 6);
	cr_assert_eq(tb_journal_read(room.journal, offset, &got, &room.err), TB_OK, "%s", room.err.text);
	cr_assert_arr_eq(got.data, "before", 6);
	tb_span bytes = tb_span_of(got.data + 6, got.size - 6);
	tb_frame frame;
	cr_assert_eq(tb_frame_read(&bytes, &frame, NULL), TB_OK);
	cr_assert_eq(bytes.size, 0);
	cr_assert_eq(frame.first, first);
}

#endif
