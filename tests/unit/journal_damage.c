#include "unit/journal_room.h"

TestSuite(journal_damage, .init = room_begin, .fini = room_end);

Test(journal_damage, each_flipped_bit_in_an_older_file_is_found_by_its_scan)
{
	uint64_t offsets[6];
	make_three_files(offsets);
	uint64_t used = tb_journal_file_offset(room.journal, 1);
	tb_buf bytes = file_get(0);
	for (size_t bit = 0; bit < used * 8; bit++) {
		bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		file_put(0, "", bytes.data, bytes.size);
		bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_eq(tb_journal_scan(room.journal, 0, NULL, &room.err), TB_ECORRUPT, "bit %zu", bit);
	}
	file_put(0, "", bytes.data, bytes.size);
	cr_assert_eq(tb_journal_scan(room.journal, 0, NULL, &room.err), TB_OK);
	tb_buf_drop(&bytes);
}

Test(journal_damage, a_file_of_another_history_is_found_by_the_scan_of_the_one_before)
{
	room_make();
	append_well(1, 1, 50);
	tb_buf other = file_get(0);
	tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
	room_forget();
	room_make();
	append_well(2, 1, 50);
	rotate_well(10);
	file_put(0, "", other.data, other.size);
	tb_buf_drop(&other);
	cr_assert_eq(tb_journal_scan(room.journal, 0, NULL, &room.err), TB_ECORRUPT);
}

Test(journal_damage, a_file_left_in_the_making_is_removed)
{
	room_make();
	append_well(1, 1, 50);
	file_put(0x1000, ".tmp", "half", 4);
	file_put(0x2000, ".txt", "somebody's notes", 16);
	room_forget();
	room_open_well();
	expect_told(1);
	cr_assert_not(file_is_there(0x1000, ".tmp"));
	cr_assert(file_is_there(0x2000, ".txt"));
}

Test(journal_damage, a_file_that_ends_before_the_next_begins_is_damage)
{
	room_make();
	append_well(1, 1, 5000);
	rotate_well(2);
	append_well(3, 1, 5000);
	rotate_well(4);
	char path[128];
	path_of(path, tb_journal_file_offset(room.journal, 1), "");
	cr_assert_eq(truncate(path, FILE_SIZE), 0);
	room_forget();
	cr_assert_eq(room_open(), TB_ECORRUPT);
	cr_assert_not_null(strstr(room.err.text, path));
}

Test(journal_damage, a_file_of_another_journal_is_damage)
{
	room_make();
	append_well(1, 1, 50);
	rotate_well(2);
	uint64_t second = tb_journal_file_offset(room.journal, 1);
	tb_buf bytes = file_get(second);
	bytes.data[8] ^= 1;
	tb_put64(bytes.data + 56, tb_check64(bytes.data, 56));
	file_put(second, "", bytes.data, bytes.size);
	tb_buf_drop(&bytes);
	room_forget();
	cr_assert_eq(room_open(), TB_ECORRUPT);
}

Test(journal_damage, a_newer_format_is_refused_as_such)
{
	room_make();
	append_well(1, 1, 50);
	tb_buf bytes = file_get(0);
	bytes.data[7] = 2;
	tb_put64(bytes.data + 56, tb_check64(bytes.data, 56));
	file_put(0, "", bytes.data, bytes.size);
	room_forget();
	cr_assert_eq(room_open(), TB_EUNSUPPORTED);
	cr_assert_not_null(strstr(room.err.text, "version 2"));
	tb_buf after = file_get(0);
	cr_assert(tb_span_equal(tb_buf_span(&bytes), tb_buf_span(&after)));
	tb_buf_drop(&bytes);
	tb_buf_drop(&after);
}

/* A file with its checkpoint and batches of frames 1, 2 and 3; returns its bytes. */
static tb_buf make_three_batches(size_t sizes[3], uint64_t *ret_last, uint64_t *ret_end)
{
	room_make();
	for (uint64_t i = 0; i < 3; i++) {
		*ret_last = tb_journal_next(room.journal) - TB_JOURNAL_BATCH_HEAD;
		append_well(i + 1, 1, sizes[i]);
	}
	*ret_end = tb_journal_next(room.journal) - TB_JOURNAL_BATCH_HEAD;
	return file_get(0);
}

static void expect_zeros_from(uint64_t place)
{
	tb_buf bytes = file_get(0);
	cr_assert_geq(bytes.size, FILE_SIZE);
	for (size_t i = place; i < bytes.size; i++)
		cr_assert_eq(bytes.data[i], 0);
	tb_buf_drop(&bytes);
}

Test(journal_damage, a_flipped_bit_is_damage_before_the_synced_point_and_cut_behind_it)
{
	uint64_t last, end;
	tb_buf bytes = make_three_batches((size_t[]){ 21, 5, 38 }, &last, &end);
	for (size_t bit = 0; bit < FILE_SIZE * 8; bit += bit / 8 < end ? 1 : 11) {
		size_t at = bit / 8;
		bytes.data[at] ^= (uint8_t)(1 << bit % 8);
		file_put(0, "", bytes.data, bytes.size);
		bytes.data[at] ^= (uint8_t)(1 << bit % 8);
		room_forget();
		tb_rc rc = room_open();
		cr_assert_eq(rc, at < last ? TB_ECORRUPT : TB_OK, "bit %zu: %s", bit, rc ? room.err.text : "");
		if (rc != TB_OK) {
			cr_assert_not_null(strstr(room.err.text, "0000000000000000.tbj is damaged at offset "));
			continue;
		}
		expect_told(at < end ? 2 : 3);
		cr_assert_eq(room.opened.cut_at, at < end ? last : end);
		cr_assert_gt(room.opened.cut_bytes, 0);
		expect_zeros_from(at < end ? last : end);
	}
	tb_buf_drop(&bytes);
}

Test(journal_damage, a_file_cut_short_is_damage)
{
	uint64_t last, end;
	tb_buf bytes = make_three_batches((size_t[]){ 21, 5, 38 }, &last, &end);
	for (size_t size = 0; size <= bytes.size; size++) {
		file_put(0, "", bytes.data, size);
		room_forget();
		cr_assert_eq(room_open(), size < bytes.size ? TB_ECORRUPT : TB_OK, "length %zu", size);
	}
	tb_buf_drop(&bytes);
}

/* Beyond its nominal size a file grows by its last batch, and there a cut is a torn tail. */
Test(journal_damage, a_file_cut_short_in_what_runs_over_is_cut_there)
{
	uint64_t last, end;
	tb_buf bytes = make_three_batches((size_t[]){ 21, 5, 5000 }, &last, &end);
	for (size_t size = FILE_SIZE; size <= bytes.size; size += size < end + 10 ? 1 : 4999) {
		file_put(0, "", bytes.data, size);
		room_forget();
		room_open_well();
		expect_told(size < end ? 2 : 3);
		cr_assert_eq(room.opened.cut_at, size < end ? last : 0);
		if (size % 97 != 0)
			continue;
		append_well(size < end ? 3 : 4, 1, 6000);
		room_open_well();
		expect_told(size < end ? 3 : 4);
	}
	tb_buf_drop(&bytes);
}

Test(journal_damage, a_record_that_does_not_follow_the_one_before_is_damage)
{
	uint64_t last, end;
	tb_buf one = make_three_batches((size_t[]){ 21, 5, 38 }, &last, &end);
	tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
	room_forget();
	room_make();
	append_well(1, 1, 21);
	append_well(9, 1, 5);
	append_well(3, 1, 38);
	tb_buf other = file_get(0);
	memcpy(one.data + last, other.data + last, other.size - last);
	file_put(0, "", one.data, one.size);
	tb_buf_drop(&one);
	tb_buf_drop(&other);
	room_forget();
	cr_assert_eq(room_open(), TB_ECORRUPT);
}

/* Begin the append that power does not let finish, tear it, and open. */
static void tear_append(size_t size, uint64_t from, uint64_t to)
{
	uint64_t offset;
	/* The sync is what fails: the writes have all been made. */
	fault_disk_fail(&room.fault, FAULT_SYNC, 1, TB_EIO);
	room.fault.power = 1;
	cr_assert_eq(append(3, 1, size, &offset), TB_EIO);
	tb_journal_close(room.journal);
	room.journal = NULL;
	fault_disk_crash(&room.fault, from, to);
	room_open_well();
}

static void expect_after_tear(uint64_t tail, size_t record, uint64_t from, uint64_t to)
{
	int whole = from == 0 && to >= record;
	expect_told(whole ? 3 : 2);
	if (!whole) {
		cr_assert_eq(tb_journal_next(room.journal), tail + TB_JOURNAL_BATCH_HEAD);
		cr_assert(room.opened.cut_at == 0 || room.opened.cut_at == tail);
	}
	expect_zeros_from(tb_journal_next(room.journal) - TB_JOURNAL_BATCH_HEAD);
}

static void tear_everywhere(size_t size, size_t step)
{
	size_t record = TB_JOURNAL_BATCH_HEAD + TB_FRAME_HEAD + size;
	for (size_t at = 0; at <= record; at += at < 200 || at + 200 > record ? 1 : step) {
		for (int tail_first = 0; tail_first < 2; tail_first++) {
			room_make();
			append_well(1, 1, 40);
			append_well(2, 1, 41);
			uint64_t tail = tb_journal_next(room.journal) - TB_JOURNAL_BATCH_HEAD;
			uint64_t from = tail_first ? at : 0, to = tail_first ? record : at;
			tear_append(size, from, to);
			expect_after_tear(tail, record, from, to);
			append_well(room.told.count, 1, 33);
			room_open_well();
			cr_assert_eq(room.opened.cut_at, 0);
			tb_journal_close(room.journal);
			room.journal = NULL;
			tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
			room_forget();
		}
	}
}

Test(journal_damage, a_torn_tail_is_cut_and_the_rest_replays)
{
	tear_everywhere(150, 1);
}

Test(journal_damage, a_torn_tail_in_what_runs_over_is_cut_and_the_rest_replays)
{
	tear_everywhere(5000, 41);
}

Test(journal_damage, a_torn_large_batch_is_cut_and_the_rest_replays)
{
	room.file_size = 256 * 1024;
	tear_everywhere(100000, 9973);
}

Test(journal_damage, a_failed_sync_stops_it_for_good)
{
	uint64_t offset;
	room_make();
	append_well(1, 1, 40);
	fault_disk_fail(&room.fault, FAULT_SYNC, 1, TB_EIO);
	cr_assert_eq(append(2, 1, 40, &offset), TB_EIO);
	fault_disk_fail(&room.fault, 0, 0, TB_OK);
	cr_assert_eq(append(2, 1, 40, &offset), TB_EIO);
	cr_assert_eq(rotate(3, 10), TB_EIO);
	cr_assert_not_null(strstr(room.err.text, "has stopped"));
	expect_read(tb_journal_file_offset(room.journal, 0) + 128, 0);
}

Test(journal_damage, a_write_that_finds_no_room_stops_it_and_says_so_once)
{
	uint64_t offset;
	for (size_t through = 0; through < 200; through += 7) {
		room_make();
		append_well(1, 1, 40);
		fault_disk_fail(&room.fault, FAULT_WRITE, 1, TB_ENOSPACE);
		room.fault.through = through;
		cr_assert_eq(append(2, 1, 40, &offset), TB_ENOSPACE);
		cr_assert_eq(append(2, 1, 40, &offset), TB_EIO);
		room_open_well();
		cr_assert(room.told.count == 2 || (room.told.count == 3 && through >= 168));
		append_well(room.told.count, 1, 40);
		tb_journal_close(room.journal);
		room.journal = NULL;
		tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
		room_forget();
	}
}

Test(journal_damage, a_full_file_that_can_not_grow_takes_nothing_and_goes_on)
{
	uint64_t offset;
	room_make();
	fault_disk_fail(&room.fault, FAULT_ALLOCATE, 1, TB_ENOSPACE);
	cr_assert_eq(append(1, 1, 2 * FILE_SIZE, &offset), TB_ENOSPACE);
	append_well(1, 1, 40);
	append_well(2, 1, 2 * FILE_SIZE);
	room_open_well();
	expect_told(2);
}

/* The pages of a failed sync can be read, but are not on the disk, and no later sync brings them there. */
Test(journal_damage, what_was_read_but_never_reached_the_disk_is_written_again_by_opening)
{
	uint64_t offset;
	room_make();
	append_well(1, 1, 40);
	fault_disk_fail(&room.fault, FAULT_SYNC, 1, TB_EIO);
	cr_assert_eq(append(2, 2, 40, &offset), TB_EIO);
	room_open_well();
	expect_told(3);
	cr_assert_eq(room.opened.rewritten, TB_JOURNAL_BATCH_HEAD + 2 * (TB_FRAME_HEAD + 40));
	append_well(4, 1, 40);
	tb_journal_close(room.journal);
	room.journal = NULL;
	fault_disk_crash(&room.fault, 0, 0);
	room_open_well();
	expect_told(4);
}

Test(journal_damage, a_new_name_that_was_never_synced_is_synced_by_opening)
{
	room_make();
	append_well(1, 1, 40);
	fault_disk_fail(&room.fault, FAULT_SYNC_DIR, 1, TB_EIO);
	cr_assert_eq(rotate(2, 40), TB_EIO);
	uint64_t offset;
	cr_assert_eq(append(3, 1, 40, &offset), TB_EIO);
	room_open_well();
	cr_assert_eq(room.told.frames[0].first, 2);
	append_well(3, 1, 40);
	tb_journal_close(room.journal);
	room.journal = NULL;
	fault_disk_crash(&room.fault, 0, 0);
	room_open_well();
	cr_assert_eq(room.told.count, 2);
	cr_assert_eq(tb_journal_file_count(room.journal), 2);
}

Test(journal_damage, a_failed_opening_answers_nobody_and_the_next_one_settles_it)
{
	uint64_t last, end;
	tb_buf bytes = make_three_batches((size_t[]){ 21, 5, 38 }, &last, &end);
	bytes.data[end - 8] ^= 1;
	for (unsigned long nth = 1; nth <= 3; nth++) {
		file_put(0, "", bytes.data, bytes.size);
		room_forget();
		fault_disk_cut(&room.fault, nth);
		cr_assert_eq(room_open(), TB_EIO);
		fault_disk_crash(&room.fault, 0, nth * 13);
		room_open_well();
		expect_told(2);
		expect_zeros_from(last);
	}
	tb_buf_drop(&bytes);
}

/* The zeros over a torn tail were in the cache alone: the next opening can't see that the disk has other bytes there. */
Test(journal_damage, what_a_failed_opening_left_on_the_disk_does_no_harm_to_the_next_batch)
{
	uint64_t offset;
	room_make();
	append_well(1, 1, 50);
	fault_disk_fail(&room.fault, FAULT_SYNC, 1, TB_EIO);
	room.fault.power = 1;
	cr_assert_neq(append(2, 1, 1000, &offset), TB_OK);
	tb_journal_close(room.journal);
	room.journal = NULL;
	fault_disk_crash(&room.fault, 0, 600);
	fault_disk_fail(&room.fault, FAULT_SYNC, 1, TB_EIO);
	cr_assert_neq(room_open(), TB_OK);
	room_open_well();
	append_well(2, 1, 51);
	tb_journal_close(room.journal);
	room.journal = NULL;
	fault_disk_crash(&room.fault, 0, 0);
	room_open_well();
	expect_told(2);
}

Test(journal_damage, a_rotation_that_fails_leaves_the_present_file_in_use)
{
	static const struct {
		unsigned call;
		tb_rc rc;
	} failures[] = {
		{ FAULT_OPEN, TB_EIO },   { FAULT_ALLOCATE, TB_ENOSPACE }, { FAULT_WRITE, TB_ENOSPACE },
		{ FAULT_SYNC, TB_EIO },   { FAULT_RENAME, TB_ENOSPACE },
	};
	room_make();
	for (uint64_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		fault_disk_fail(&room.fault, failures[i].call, 1, failures[i].rc);
		cr_assert_eq(rotate(99, 10), failures[i].rc);
		append_well(i + 1, 1, 10);
		cr_assert_eq(tb_journal_file_count(room.journal), 1);
	}
	room_open_well();
	expect_told(5);
	rotate_well(6);
	room_open_well();
	cr_assert_eq(room.told.frames[0].first, 6);
}

/* Everything acknowledged, from all files, in order; nothing but perhaps the one that was under way. */
static void expect_history(uint64_t acknowledged, unsigned long nth, unsigned part)
{
	static struct told told;
	tb_journal_replay replay = telling(&told);
	uint64_t seen = 0;
	for (size_t file = 0; file < tb_journal_file_count(room.journal); file++)
		cr_assert_eq(tb_journal_scan(room.journal, file, &replay, &room.err), TB_OK, "%s", room.err.text);
	for (size_t i = 0; i < told.count; i++)
		if (told.frames[i].kind == TB_KIND_EVENTS)
			cr_assert_eq(told.frames[i].first, ++seen, "call %lu, part %u", nth, part);
	cr_assert(seen == acknowledged || seen == acknowledged + 1, "call %lu, part %u: %lu seen, %lu acknowledged", nth,
	          part, (unsigned long)seen, (unsigned long)acknowledged);
}

#define WORK 12

/* Appends and rotates until the disk says no; returns how many appends were acknowledged. */
static uint64_t work(unsigned *seed)
{
	uint64_t done = 0, offset;
	for (; done < WORK; done++) {
		if (tb_journal_due(room.journal) && rotate(done, 50 + (size_t)rand_r(seed) % 50) != TB_OK)
			return done;
		if (append(done + 1, 1, (size_t)rand_r(seed) % 2500, &offset) != TB_OK)
			return done;
	}
	return done;
}

/* Work until the nth call, where the power goes; open what is found then. Returns the appends acknowledged. */
static uint64_t work_and_cut(unsigned long nth, unsigned part)
{
	unsigned seed = part + 1;
	fault_disk_cut(&room.fault, nth);
	uint64_t done = room_open() == TB_OK ? work(&seed) : 0;
	tb_journal_close(room.journal);
	room.journal = NULL;
	uint64_t unsynced = fault_disk_unsynced(&room.fault);
	const uint64_t froms[] = { 0, 0, 0, unsynced / 3 }, tos[] = { 0, unsynced / 2, unsynced, unsynced };
	fault_disk_crash(&room.fault, froms[part], tos[part]);
	room_open_well();
	expect_history(done, nth, part);
	cr_assert(tb_journal_file_count(room.journal) > 0 || done == 0);
	room_forget();
	tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
	return done;
}

Test(journal_damage, a_power_cut_at_any_call_loses_nothing_acknowledged)
{
	for (unsigned part = 0; part < 4; part++) {
		unsigned long nth = 1;
		while (work_and_cut(nth, part) < WORK)
			cr_assert_lt(++nth, 1000);
		cr_assert_gt(nth, 2 * WORK);
	}
}

Test(journal_damage, a_witness_is_seen_wherever_it_stands)
{
	room.file_size = 4u << 20;
	for (size_t before = 0; before <= 72; before += 8) {
		room_make();
		uint64_t at = append_well(1, 1, (1u << 20) - 8 - before - TB_JOURNAL_BATCH_HEAD - TB_FRAME_HEAD);
		append_well(2, 1, 10);
		tb_buf bytes = file_get(0);
		bytes.data[at + 1000] ^= 1;
		file_put(0, "", bytes.data, bytes.size);
		tb_buf_drop(&bytes);
		room_forget();
		cr_assert_eq(room_open(), TB_ECORRUPT, "%zu before", before);
		cr_assert_not_null(strstr(room.err.hint, "no torn tail"));
		tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
		room_forget();
	}
}
