#include "unit/journal_room.h"

TestSuite(journal, .init = room_begin, .fini = room_end);

Test(journal, a_new_one_waits_for_its_first_checkpoint)
{
	uint64_t offset;
	room_open_well();
	cr_assert(room.opened.made);
	cr_assert_eq(room.told.count, 0);
	cr_assert_eq(tb_journal_file_count(room.journal), 0);
	cr_assert(tb_journal_due(room.journal));
	cr_assert_eq(append(1, 1, 10, &offset), TB_EREFUSED);
	rotate_well(0);
	cr_assert_not(tb_journal_due(room.journal));
	append_well(1, 1, 10);
}

Test(journal, what_was_appended_replays_in_order_with_offsets_and_stamps)
{
	uint64_t offsets[4];
	room_make();
	offsets[1] = append_well(1, 1, 13);
	offsets[2] = append_well(2, 2, 100);
	offsets[3] = offsets[2] + TB_FRAME_HEAD + 100;
	uint64_t next = tb_journal_next(room.journal);
	room_open_well();
	cr_assert_not(room.opened.made);
	cr_assert_eq(room.opened.cut_at, 0);
	cr_assert_eq(tb_journal_next(room.journal), next);
	expect_told(3);
	for (int i = 1; i < 4; i++)
		cr_assert_eq(room.told.frames[i].offset, offsets[i]);
	cr_assert_eq(room.told.frames[0].stamp_ns, 1000);
	cr_assert_eq(room.told.frames[3].stamp_ns, 1002);
}

Test(journal, its_id_is_kept)
{
	room_make();
	tb_journal_options options = { .dir = room.dir, .disk = &room.fault.disk, .new_id = "another one....." };
	tb_journal_close(room.journal);
	cr_assert_eq(tb_journal_open(&options, NULL, &room.journal, &room.opened, &room.err), TB_OK);
	cr_assert_arr_eq(tb_journal_id(room.journal), "a journal's id..", TB_JOURNAL_ID);
}

Test(journal, a_second_open_is_busy)
{
	room_make();
	tb_journal_options options = { .dir = room.dir, .disk = tb_disk_system() };
	tb_journal *second;
	cr_assert_eq(tb_journal_open(&options, NULL, &second, &room.opened, &room.err), TB_EBUSY);
	cr_assert_not_null(strstr(room.err.text, room.dir));
	room_open_well();
}

Test(journal, an_absurd_file_size_is_refused)
{
	room.file_size = 4095;
	cr_assert_eq(room_open(), TB_EINVAL);
	room.file_size = UINT64_MAX;
	cr_assert_eq(room_open(), TB_EINVAL);
}

Test(journal, a_batch_that_is_not_count_whole_frames_is_not_taken)
{
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	uint64_t offset;
	room_make();
	frame_add(&frames, TB_KIND_EVENTS, 1, 20);
	for (size_t size = 0; size < frames.size; size++)
		cr_assert_eq(tb_journal_append(room.journal, tb_span_of(frames.data, size), 1, 1, &offset, NULL), TB_EINVAL);
	cr_assert_eq(tb_journal_append(room.journal, tb_buf_span(&frames), 2, 1, &offset, NULL), TB_EINVAL);
	frames.data[70] ^= 1;
	cr_assert_eq(tb_journal_append(room.journal, tb_buf_span(&frames), 1, 1, &offset, NULL), TB_EINVAL);
	append_well(1, 1, 20);
	room_open_well();
	expect_told(1);
}

Test(journal, a_file_begins_with_a_checkpoint_and_nothing_else)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	room_open_well();
	frame_add(&frame, TB_KIND_EVENTS, 1, 20);
	cr_assert_eq(tb_journal_rotate(room.journal, tb_buf_span(&frame), 1, &room.err), TB_EINVAL);
	tb_buf_clear(&frame);
	frame_add(&frame, TB_KIND_CHECKPOINT, 1, 20);
	cr_assert_eq(tb_journal_rotate(room.journal, tb_span_of(frame.data, frame.size - 1), 1, &room.err), TB_EINVAL);
	tb_buf_byte(&frame, 0);
	cr_assert_eq(tb_journal_rotate(room.journal, tb_buf_span(&frame), 1, &room.err), TB_EINVAL);
}

Test(journal, a_full_file_is_due_and_its_last_batch_may_run_over)
{
	room_make();
	append_well(1, 1, 3000);
	cr_assert_not(tb_journal_due(room.journal));
	append_well(2, 1, 200000);
	cr_assert(tb_journal_due(room.journal));
	cr_assert_geq(tb_journal_bytes(room.journal), 203000);
	append_well(3, 1, 10);
	room_open_well();
	expect_told(3);
	cr_assert(tb_journal_due(room.journal));
	rotate_well(4);
	cr_assert_not(tb_journal_due(room.journal));
	room_open_well();
	cr_assert_eq(room.told.count, 1);
	cr_assert_eq(room.told.frames[0].first, 4);
}

Test(journal, a_checkpoint_larger_than_a_file_does_not_fill_it)
{
	room_open_well();
	cr_assert_eq(rotate(0, 3 * FILE_SIZE), TB_OK);
	cr_assert_not(tb_journal_due(room.journal));
	room_open_well();
	cr_assert_not(tb_journal_due(room.journal));
	append_well(1, 1, 10);
	cr_assert(tb_journal_due(room.journal));
	room_open_well();
	cr_assert(tb_journal_due(room.journal));
	expect_told(1);
}

Test(journal, frames_are_read_at_their_offsets_in_whatever_file)
{
	static const uint64_t firsts[] = { 1, 2, 11, 12, 21, 22 };
	uint64_t offsets[6];
	make_three_files(offsets);
	for (int again = 0; again < 2; again++) {
		for (int i = 0; i < 6; i++)
			expect_read(offsets[i], firsts[i]);
		for (int i = 5; i >= 0; i--)
			expect_read(offsets[i], firsts[i]);
		room_open_well();
	}
}

Test(journal, reading_and_appending_take_turns)
{
	uint64_t offsets[20];
	room_make();
	for (int i = 0; i < 20; i++) {
		offsets[i] = append_well((uint64_t)i + 1, 1, 100);
		if (tb_journal_due(room.journal))
			rotate_well(0);
		for (int j = 0; j <= i; j++)
			expect_read(offsets[j], (uint64_t)j + 1);
	}
}

Test(journal, between_frames_nothing_is_read)
{
	tb_auto(tb_buf_drop) tb_buf got = { 0 };
	uint64_t offsets[6], next;
	make_three_files(offsets);
	next = tb_journal_next(room.journal);
	for (uint64_t at = 0; at < next + 200; at++) {
		int begins = 0;
		for (size_t i = 0; i < 6; i++)
			begins |= offsets[i] == at;
		for (size_t i = 0; i < tb_journal_file_count(room.journal); i++)
			begins |= tb_journal_file_offset(room.journal, i) + 128 == at;
		cr_assert_eq(tb_journal_read(room.journal, at, &got, &room.err), begins ? TB_OK : TB_ECORRUPT);
		cr_assert_eq(got.size > 0, begins);
		tb_buf_clear(&got);
	}
	cr_assert_eq(tb_journal_read(room.journal, UINT64_MAX, &got, &room.err), TB_ECORRUPT);
}

Test(journal, dropping_removes_whole_files_and_never_the_last)
{
	uint64_t offsets[6];
	tb_auto(tb_buf_drop) tb_buf got = { 0 };
	make_three_files(offsets);
	uint64_t second = tb_journal_file_offset(room.journal, 1), bytes = tb_journal_bytes(room.journal);
	expect_read(offsets[0], 1);
	cr_assert_eq(tb_journal_drop(room.journal, second - 1, &room.err), TB_OK);
	cr_assert_eq(tb_journal_file_count(room.journal), 3);
	cr_assert_eq(tb_journal_drop(room.journal, second, &room.err), TB_OK);
	cr_assert_eq(tb_journal_file_count(room.journal), 2);
	cr_assert_lt(tb_journal_bytes(room.journal), bytes);
	cr_assert_not(file_is_there(0, ""));
	cr_assert_eq(tb_journal_read(room.journal, offsets[1], &got, &room.err), TB_ENOTFOUND);
	expect_read(offsets[2], 11);
	room_open_well();
	cr_assert_eq(tb_journal_file_offset(room.journal, 0), second);
	cr_assert_eq(tb_journal_drop(room.journal, UINT64_MAX, &room.err), TB_OK);
	cr_assert_eq(tb_journal_file_count(room.journal), 1);
	expect_read(offsets[5], 22);
	append_well(23, 1, 10);
	room_open_well();
	cr_assert_eq(room.told.count, 4);
}

Test(journal, a_scan_tells_every_frame_of_a_file_and_a_checkpoint_only_itself)
{
	static struct told told;
	uint64_t offsets[6];
	make_three_files(offsets);
	tb_journal_replay replay = telling(&told);
	for (size_t file = 0; file < 3; file++) {
		told.count = 0;
		cr_assert_eq(tb_journal_scan(room.journal, file, &replay, &room.err), TB_OK, "%s", room.err.text);
		cr_assert_eq(told.count, 3);
		cr_assert_eq(told.frames[0].first, file * 10);
		cr_assert_eq(told.frames[1].offset, offsets[2 * file]);
		cr_assert_eq(told.frames[2].offset, offsets[2 * file + 1]);
		told.count = 0;
		cr_assert_eq(tb_journal_checkpoint(room.journal, file, &replay, &room.err), TB_OK);
		cr_assert_eq(told.count, 1);
		cr_assert_eq(told.frames[0].first, file * 10);
	}
	cr_assert_eq(tb_journal_scan(room.journal, 3, &replay, &room.err), TB_ENOTFOUND);
}

static tb_rc refuse(void *self, uint64_t offset, const tb_frame *frame, uint64_t stamp_ns, tb_err *err)
{
	(void)self, (void)offset, (void)frame, (void)stamp_ns;
	return tb_fail(err, TB_EFENCED, "enough");
}

Test(journal, what_a_callback_says_is_passed_on)
{
	tb_journal_replay replay = { NULL, refuse };
	room_make();
	cr_assert_eq(tb_journal_scan(room.journal, 0, &replay, &room.err), TB_EFENCED);
	tb_journal_options options = { .dir = room.dir, .disk = &room.fault.disk };
	tb_journal_close(room.journal);
	room.journal = NULL;
	cr_assert_eq(tb_journal_open(&options, &replay, &room.journal, &room.opened, &room.err), TB_EFENCED);
	cr_assert_str_eq(room.err.text, "enough");
}

static tb_rc append_rotate_drop(void *self, uint64_t offset, const tb_frame *frame, uint64_t stamp_ns, tb_err *err)
{
	struct told *told = self;
	if (frame->first == 11) {
		append_well(23, 1, 10);
		rotate_well(30);
		cr_assert_eq(tb_journal_drop(room.journal, offset, err), TB_OK);
	}
	return tell(told, offset, frame, stamp_ns, err);
}

Test(journal, a_callback_may_append_rotate_and_drop)
{
	static struct told told;
	uint64_t offsets[6];
	make_three_files(offsets);
	tb_journal_replay replay = { &told, append_rotate_drop };
	cr_assert_eq(tb_journal_scan(room.journal, 1, &replay, &room.err), TB_OK, "%s", room.err.text);
	cr_assert_eq(told.count, 3);
	cr_assert_eq(tb_journal_file_count(room.journal), 3);
}

Test(journal, a_directory_with_a_files_name_is_none_of_its_files)
{
	char path[128];
	room_make();
	append_well(1, 1, 10);
	snprintf(path, sizeof(path), "%s/%016x.tbj", room.dir, 0x100000);
	cr_assert_eq(tb_disk_make_path(tb_disk_system(), path, NULL), TB_OK);
	room_open_well();
	cr_assert_eq(tb_journal_file_count(room.journal), 1);
}
