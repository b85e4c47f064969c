#include "base/bytes.h"
#include "base/disk.h"
#include "bus/outbox.h"

#include "wire/frame.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RING 65536u
#define FILE_SIZE (8192u + RING)
#define AT_RECORDS 8192u

static const uint8_t boot[16] = "a boot of today";
static const uint8_t next_boot[16] = "one after it";
static char directory[64];
static char path[96];

static void make_directory(void)
{
	snprintf(directory, sizeof(directory), "/tmp/tb-outbox-XXXXXX");
	cr_assert(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/book.outbox", directory);
}

static void remove_directory(void)
{
	tb_disk_remove_tree(tb_disk_system(), directory, NULL);
}

TestSuite(outbox, .init = make_directory, .fini = remove_directory);

static tb_rc try_open(const uint8_t boot_id[16], tb_outbox **ret_outbox, tb_outbox_opened *ret_opened)
{
	tb_err err = { 0 };
	tb_rc rc = tb_outbox_open(path, "book", RING, boot_id, ret_outbox, ret_opened, &err);
	cr_assert(rc == TB_OK || err.text[0] != '\0');
	return rc;
}

static tb_outbox *open_box(tb_outbox_opened *ret_opened)
{
	tb_outbox *outbox;
	tb_outbox_opened opened;
	cr_assert_eq(try_open(boot, &outbox, ret_opened ? ret_opened : &opened), TB_OK);
	return outbox;
}

static size_t size_of(uint64_t number)
{
	return 1 + (size_t)(number * 2654435761u % 200);
}

/* What an event with that number looks like in these tests. */
static void fill(uint8_t *payload, uint64_t number, size_t size)
{
	for (size_t i = 0; i < size; i++)
		payload[i] = (uint8_t)(number * 31 + i);
}

static int is_filled(tb_span payload, uint64_t number, size_t size)
{
	if (payload.size != size)
		return 0;
	for (size_t i = 0; i < size; i++)
		if (payload.data[i] != (uint8_t)(number * 31 + i))
			return 0;
	return 1;
}

static tb_rc put_sized(tb_outbox *outbox, size_t size)
{
	uint8_t *payload;
	uint64_t number = tb_outbox_last(outbox) + 1;
	tb_rc rc = tb_outbox_reserve(outbox, size, &payload, NULL);
	if (rc != TB_OK)
		return rc;
	fill(payload, number, size);
	cr_assert_eq(tb_outbox_commit(outbox, size, TB_RESET_NONE), number);
	return TB_OK;
}

static tb_rc put(tb_outbox *outbox)
{
	return put_sized(outbox, size_of(tb_outbox_last(outbox) + 1));
}

static void put_many(tb_outbox *outbox, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		cr_assert_eq(put(outbox), TB_OK);
}

static uint32_t flags; /* of what was read last */
static const uint8_t journal[] = "the one journal.";

static void settle(tb_outbox *outbox, uint64_t epoch, uint64_t first, uint64_t place)
{
	tb_outbox_terms terms = { epoch, first, place, journal, NULL };
	cr_assert_eq(tb_outbox_settle(outbox, &terms, NULL), TB_OK);
}

static void expect_held(tb_outbox *outbox, uint64_t first, uint64_t last)
{
	uint64_t cursor = 0;
	tb_span payload;
	cr_assert_eq(tb_outbox_first(outbox), first);
	cr_assert_eq(tb_outbox_last(outbox), last);
	for (uint64_t number = first; number <= last; number++) {
		cr_assert_eq(tb_outbox_read(outbox, number, &cursor, &payload, &flags, NULL), TB_OK, "event %lu", number);
		cr_assert(is_filled(payload, number, size_of(number)), "event %lu", number);
	}
	cr_assert_eq(tb_outbox_read(outbox, last + 1, &cursor, &payload, &flags, NULL), TB_ENOTFOUND);
	cr_assert_eq(tb_outbox_read(outbox, first - 1, &cursor, &payload, &flags, NULL), TB_ENOTFOUND);
}

/* The file's bytes, changed behind its back. */
static uint8_t *map_bytes(void)
{
	int fd = open(path, O_RDWR);
	uint8_t *bytes = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert(bytes != MAP_FAILED);
	close(fd);
	return bytes;
}

static void make_with(uint64_t count)
{
	tb_outbox *outbox = open_box(NULL);
	put_many(outbox, count);
	tb_outbox_close(outbox);
}

static tb_rc reopen(void)
{
	tb_outbox *outbox;
	tb_outbox_opened opened;
	tb_rc rc = try_open(boot, &outbox, &opened);
	if (rc == TB_OK)
		tb_outbox_close(outbox);
	return rc;
}

Test(outbox, a_new_one_is_private_allocated_and_empty)
{
	tb_outbox_opened opened;
	tb_outbox *outbox = open_box(&opened);
	struct stat info;
	cr_assert_eq(stat(path, &info), 0);
	cr_assert_eq(info.st_mode & 0777, 0600);
	cr_assert_eq(info.st_size, FILE_SIZE);
	cr_assert_geq((uint64_t)info.st_blocks * 512, FILE_SIZE);
	cr_assert(opened.made && !opened.other_boot && opened.unsettled && opened.ground == 0);
	cr_assert(opened.first == 1 && opened.last == 0);
	expect_held(outbox, 1, 0);
	cr_assert_eq(tb_outbox_used(outbox), 0);
	tb_outbox_close(outbox);
}

Test(outbox, numbers_are_dense_and_events_are_there_after_reopening)
{
	make_with(100);
	tb_outbox_opened opened;
	tb_outbox *outbox = open_box(&opened);
	cr_assert(!opened.made && opened.first == 1 && opened.last == 100);
	expect_held(outbox, 1, 100);
	put_many(outbox, 20);
	expect_held(outbox, 1, 120);
	tb_outbox_close(outbox);
}

Test(outbox, is_open_once_and_for_one_stream)
{
	tb_outbox *outbox = open_box(NULL), *other;
	tb_outbox_opened opened;
	cr_assert_eq(try_open(boot, &other, &opened), TB_EBUSY);
	tb_outbox_close(outbox);
	cr_assert_eq(tb_outbox_open(path, "tape", RING, boot, &other, &opened, NULL), TB_EINVAL);
	cr_assert_eq(tb_outbox_open(path, "../tape", RING, boot, &other, &opened, NULL), TB_EINVAL);
}

Test(outbox, one_whose_making_was_interrupted_is_made_anew)
{
	char beside[128];
	snprintf(beside, sizeof(beside), "%s.new", path);
	FILE *file = fopen(beside, "w");
	fputs("half of an outbox", file);
	fclose(file);
	make_with(3);
	cr_assert_eq(access(beside, F_OK), -1);
	cr_assert_eq(reopen(), TB_OK);
}

Test(outbox, identity_and_epoch_stay)
{
	tb_outbox *outbox = open_box(NULL);
	uint8_t id[16];
	memcpy(id, tb_outbox_id(outbox), 16);
	cr_assert_eq(tb_outbox_epoch(outbox), 0);
	settle(outbox, 7, 1, 1);
	tb_outbox_close(outbox);
	tb_outbox_opened opened;
	outbox = open_box(&opened);
	cr_assert(!opened.unsettled);
	cr_assert_arr_eq(tb_outbox_journal(outbox), journal, 16);
	cr_assert_eq(tb_outbox_epoch(outbox), 7);
	cr_assert_arr_eq(tb_outbox_id(outbox), id, 16);
	tb_outbox_close(outbox);
}

Test(outbox, a_full_one_refuses_loses_nothing_and_lets_go_of_durable_events_when_room_is_wanted)
{
	tb_outbox *outbox = open_box(NULL);
	while (put(outbox) == TB_OK)
		;
	uint64_t last = tb_outbox_last(outbox);
	cr_assert_gt(last, 200);
	cr_assert(tb_outbox_wants_room(outbox));
	cr_assert_eq(put_sized(outbox, size_of(last + 1)), TB_EFULL);
	expect_held(outbox, 1, last);
	tb_outbox_mark(outbox, 10, 0);
	expect_held(outbox, 11, last);
	cr_assert_eq(put(outbox), TB_OK);
	tb_outbox_close(outbox);
	outbox = open_box(NULL);
	expect_held(outbox, 11, last + 1);
	tb_outbox_close(outbox);
}

Test(outbox, keeps_durable_events_until_stored_while_there_is_room)
{
	tb_outbox *outbox = open_box(NULL);
	put_many(outbox, 50);
	tb_outbox_mark(outbox, 40, 0);
	expect_held(outbox, 1, 50);
	tb_outbox_mark(outbox, 40, 30);
	expect_held(outbox, 31, 50);
	tb_outbox_mark(outbox, 40, 45);
	expect_held(outbox, 41, 50);
	tb_outbox_mark(outbox, UINT64_MAX, UINT64_MAX);
	expect_held(outbox, 51, 50);
	cr_assert_eq(tb_outbox_used(outbox), 0);
	tb_outbox_close(outbox);
}

Test(outbox, an_event_of_more_than_half_the_ring_is_refused_and_one_of_half_always_fits_an_empty_one)
{
	tb_outbox *outbox = open_box(NULL);
	uint8_t *payload;
	cr_assert_eq(tb_outbox_reserve(outbox, RING / 2 - 23, &payload, NULL), TB_EINVAL);
	for (uint64_t number = 1; number < 400; number++) {
		size_t size = number % 3 ? size_of(number) : RING / 2 - 24;
		cr_assert_eq(put_sized(outbox, size), TB_OK, "event %lu", number);
		tb_outbox_mark(outbox, number, number);
	}
	tb_outbox_close(outbox);
}

Test(outbox, a_reservation_may_be_given_up_or_used_in_part)
{
	tb_outbox *outbox = open_box(NULL);
	uint8_t *payload;
	for (int i = 0; i < 2000; i++) {
		cr_assert_eq(tb_outbox_reserve(outbox, 1 + (size_t)rand() % 3000, &payload, NULL), TB_OK);
		cr_assert_eq(tb_outbox_reserve(outbox, 3000, &payload, NULL), TB_OK);
		uint64_t number = tb_outbox_last(outbox) + 1;
		fill(payload, number, size_of(number));
		tb_outbox_commit(outbox, size_of(number), TB_RESET_NONE);
		tb_outbox_mark(outbox, number, number > 5 ? number - 5 : 0);
	}
	expect_held(outbox, 1996, 2000);
	tb_outbox_close(outbox);
	outbox = open_box(NULL);
	expect_held(outbox, 1996, 2000);
	tb_outbox_close(outbox);
}

Test(outbox, holds_what_a_model_says_over_many_laps_and_openings)
{
	unsigned seed = (unsigned)getpid();
	srand(seed);
	tb_outbox *outbox = open_box(NULL);
	uint64_t durable = 0, stored = 0;
	for (int step = 0; step < 4000; step++) {
		uint64_t last = tb_outbox_last(outbox);
		for (int i = rand() % 20; i > 0 && put(outbox) == TB_OK; i--)
			last++;
		cr_assert_eq(tb_outbox_last(outbox), last, "seed %u step %d", seed, step);
		durable += last > durable ? (uint64_t)rand() % (last - durable + 1) : 0;
		stored += durable > stored ? (uint64_t)rand() % (durable - stored + 1) : 0;
		tb_outbox_mark(outbox, durable, stored);
		uint64_t first = tb_outbox_first(outbox);
		cr_assert(first > stored && first <= durable + 1, "seed %u step %d", seed, step);
		if (rand() % 50 != 0)
			continue;
		tb_outbox_close(outbox);
		tb_outbox_opened opened;
		outbox = open_box(&opened);
		cr_assert(opened.durable == durable && opened.stored == stored, "seed %u step %d", seed, step);
		expect_held(outbox, first, last);
	}
	tb_outbox_close(outbox);
}

Test(outbox, numbers_are_places_and_a_shift_that_the_broker_says)
{
	tb_outbox *outbox = open_box(NULL);
	put_many(outbox, 5);
	settle(outbox, 1, 1000, 1);
	cr_assert(tb_outbox_first(outbox) == 1000 && tb_outbox_last(outbox) == 1004);
	cr_assert_eq(tb_outbox_shift(outbox), 999);
	uint64_t cursor = 0;
	tb_span payload;
	cr_assert_eq(tb_outbox_read(outbox, 1000, &cursor, &payload, &flags, NULL), TB_OK);
	cr_assert(is_filled(payload, 1, size_of(1)) && flags == TB_EVENTS_APART);
	cr_assert_eq(tb_outbox_read(outbox, 1001, &cursor, &payload, &flags, NULL), TB_OK);
	cr_assert(is_filled(payload, 2, size_of(2)) && flags == 0);
	put_many(outbox, 1);
	tb_outbox_mark(outbox, 1002, 1001);
	tb_outbox_close(outbox);
	tb_outbox_opened opened;
	outbox = open_box(&opened);
	cr_assert(opened.first == 1002 && opened.last == 1005 && opened.durable == 1002 && opened.ground == 1005);
	settle(outbox, 2, 2000, 4); /* 3, which was number 1002, is delivered */
	cr_assert(tb_outbox_first(outbox) == 2000 && tb_outbox_last(outbox) == 2002);
	cr_assert_eq(tb_outbox_read(outbox, 2000, &cursor, &payload, &flags, NULL), TB_OK);
	cr_assert(is_filled(payload, 4, size_of(4)) && flags == TB_EVENTS_APART);
	tb_outbox_close(outbox);
}

Test(outbox, a_process_that_dies_between_new_terms_and_letting_go_leaves_the_new_ones)
{
	tb_outbox *outbox = open_box(NULL);
	put_many(outbox, 9);
	uint8_t marks[1024];
	uint8_t *bytes = map_bytes();
	memcpy(marks, bytes + 4096, sizeof(marks));
	settle(outbox, 1, 100, 7);
	tb_outbox_close(outbox);
	memcpy(bytes + 4096, marks, sizeof(marks));
	munmap(bytes, FILE_SIZE);
	tb_outbox_opened opened;
	outbox = open_box(&opened);
	cr_assert(opened.first == 100 && opened.last == 102);
	tb_outbox_close(outbox);
}

Test(outbox, says_from_where_on_the_broker_has_not_answered)
{
	make_with(30);
	tb_outbox *outbox;
	tb_outbox_opened opened;
	cr_assert_eq(try_open(next_boot, &outbox, &opened), TB_OK);
	cr_assert(opened.other_boot && opened.unsettled);
	cr_assert_eq(opened.ground, 0, "a new one had not been confirmed either");
	settle(outbox, 3, 1, 1);
	tb_outbox_close(outbox);

	cr_assert_eq(try_open(boot, &outbox, &opened), TB_OK);
	cr_assert(opened.other_boot && opened.unsettled && opened.ground == 30);
	put_many(outbox, 5);
	tb_outbox_close(outbox);

	outbox = open_box(&opened);
	cr_assert(!opened.other_boot && opened.unsettled && opened.ground == 30 && opened.last == 35);
	settle(outbox, 4, 31, 31);
	put_many(outbox, 2);
	tb_outbox_close(outbox);
	outbox = open_box(&opened);
	cr_assert(!opened.unsettled && opened.ground == 37);
	put_many(outbox, 2);
	tb_outbox_close(outbox);
	outbox = open_box(&opened);
	cr_assert(opened.unsettled && opened.ground == 37 && opened.last == 39);
	settle(outbox, 5, 31, 31);
	cr_assert_eq(tb_outbox_doubt(outbox, 33, NULL), TB_OK);
	cr_assert_eq(tb_outbox_doubt(outbox, 36, NULL), TB_OK);
	tb_outbox_close(outbox);
	outbox = open_box(&opened);
	cr_assert(opened.unsettled && opened.ground == 33);
	tb_outbox_close(outbox);
}

Test(outbox, a_renewed_one_has_another_id_and_nothing_old_behind_its_end)
{
	tb_outbox *outbox = open_box(NULL);
	uint8_t id[16];
	memcpy(id, tb_outbox_id(outbox), 16);
	put_many(outbox, 30);
	uint8_t *bytes = map_bytes();
	uint64_t used = tb_outbox_used(outbox);
	memset(bytes + AT_RECORDS + used, 0xa5, RING - used);
	tb_outbox_terms terms = { 2, 51, 31, journal, (const uint8_t *)"another identity" };
	cr_assert_eq(tb_outbox_settle(outbox, &terms, NULL), TB_OK);
	cr_assert_eq(tb_outbox_sync(outbox, NULL), TB_OK);
	cr_assert_arr_eq(tb_outbox_id(outbox), "another identity", 16);
	cr_assert_arr_neq(tb_outbox_id(outbox), id, 16);
	for (size_t at = used; at < RING; at++)
		cr_assert_eq(bytes[AT_RECORDS + at], 0, "%zu", at);
	munmap(bytes, FILE_SIZE);
	put_many(outbox, 1);
	cr_assert(tb_outbox_first(outbox) == 51 && tb_outbox_last(outbox) == 51);
	tb_outbox_close(outbox);
}

Test(outbox, events_lost_with_the_power_are_skipped_when_the_broker_has_them)
{
	tb_outbox *outbox = open_box(NULL);
	tb_outbox_opened opened;
	put_many(outbox, 30);
	tb_outbox_mark(outbox, 20, 0);
	settle(outbox, 1, 1, 1);
	tb_outbox_close(outbox);
	uint8_t *bytes = map_bytes();
	memset(bytes + AT_RECORDS, 0, RING);
	cr_assert_eq(try_open(next_boot, &outbox, &opened), TB_OK);
	cr_assert(opened.first == 21 && opened.last == 20 && opened.ground == 20 && opened.durable == 20);
	put_many(outbox, 3);
	tb_outbox_close(outbox);
	cr_assert_eq(try_open(next_boot, &outbox, &opened), TB_OK);
	expect_held(outbox, 21, 23);
	tb_outbox_close(outbox);
	munmap(bytes, FILE_SIZE);
}

Test(outbox, a_file_cut_anywhere_is_damaged)
{
	make_with(40);
	int fd = open(path, O_RDWR);
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	cr_assert_eq(tb_disk_read_file(tb_disk_system(), path, FILE_SIZE, &bytes, NULL), TB_OK);
	for (size_t size = 0; size < FILE_SIZE; size += size < 12500 || size > FILE_SIZE - 64 ? 1 : 61) {
		cr_assert_eq(ftruncate(fd, (off_t)size), 0);
		cr_assert_eq(reopen(), TB_ECORRUPT, "at %zu", size);
		cr_assert_eq(pwrite(fd, bytes.data + size, FILE_SIZE - size, (off_t)size), (ssize_t)(FILE_SIZE - size));
	}
	cr_assert_eq(reopen(), TB_OK);
	close(fd);
}

Test(outbox, one_whose_end_is_zeroed_anywhere_in_its_records_is_damaged)
{
	make_with(40);
	uint8_t *bytes = map_bytes();
	tb_auto(tb_buf_drop) tb_buf whole = { 0 };
	tb_buf_append(&whole, bytes, FILE_SIZE);
	size_t used = 0;
	for (uint64_t number = 1; number <= 40; number++)
		used += 24 + ((size_of(number) + 7) & ~(size_t)7);
	used -= (8 - size_of(40) % 8) % 8; /* what fills the last record up to 8 bytes says nothing */
	for (size_t at = 0; at < used; at++) {
		memset(bytes + AT_RECORDS + at, 0, used - at);
		int same = memcmp(bytes + AT_RECORDS, whole.data + AT_RECORDS, used) == 0;
		cr_assert_eq(reopen(), same ? TB_OK : TB_ECORRUPT, "at %zu", at);
		memcpy(bytes + AT_RECORDS + at, whole.data + AT_RECORDS + at, RING - at);
	}
	munmap(bytes, FILE_SIZE);
}

static void flip(uint8_t *bytes, size_t bit)
{
	bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

Test(outbox, any_flipped_bit_of_the_head_is_noticed)
{
	make_with(3);
	uint8_t *bytes = map_bytes();
	for (size_t bit = 0; bit < 4096 * 8; bit++) {
		flip(bytes, bit);
		cr_assert_eq(reopen(), TB_ECORRUPT, "bit %zu", bit);
		flip(bytes, bit);
	}
	cr_assert_eq(reopen(), TB_OK);
	munmap(bytes, FILE_SIZE);
}

/* The head is written anew at each opening after another boot; a page may reach the disk in sectors. */
Test(outbox, of_a_head_that_was_written_anew_any_sectors_may_be_the_old_ones)
{
	uint8_t before[4096], after[4096];
	make_with(3);
	uint8_t *bytes = map_bytes();
	memcpy(before, bytes, sizeof(before));
	tb_outbox *outbox;
	tb_outbox_opened opened;
	cr_assert_eq(try_open(next_boot, &outbox, &opened), TB_OK);
	tb_outbox_close(outbox);
	memcpy(after, bytes, sizeof(after));
	cr_assert_neq(memcmp(before, after, sizeof(before)), 0);
	for (unsigned old = 0; old < 256; old++) {
		for (unsigned sector = 0; sector < 8; sector++)
			memcpy(bytes + 512 * sector, (old >> sector & 1 ? before : after) + 512 * sector, 512);
		cr_assert_eq(reopen(), TB_OK, "sectors %02x", old);
	}
	munmap(bytes, FILE_SIZE);
}

Test(outbox, any_flipped_bit_of_one_slot_of_marks_changes_nothing_and_of_both_is_noticed)
{
	tb_outbox *outbox = open_box(NULL);
	put_many(outbox, 60);
	tb_outbox_mark(outbox, 40, 20);
	while (put(outbox) == TB_OK)
		;
	tb_outbox_mark(outbox, 40, 20);
	uint64_t first = tb_outbox_first(outbox), last = tb_outbox_last(outbox);
	tb_outbox_close(outbox);
	uint8_t *bytes = map_bytes();
	for (size_t bit = 0; bit < 48 * 8; bit++) {
		tb_outbox_opened opened;
		for (size_t slot = 4096; slot <= 4608; slot += 512) {
			flip(bytes + slot, bit);
			outbox = open_box(&opened);
			cr_assert(opened.durable == 40 && opened.stored == 20, "bit %zu", bit);
			expect_held(outbox, first, last);
			tb_outbox_close(outbox);
			flip(bytes + slot, bit);
		}
		flip(bytes + 4096, bit);
		flip(bytes + 4608, bit * 7 % 384);
		cr_assert_eq(reopen(), TB_ECORRUPT, "bit %zu", bit);
		flip(bytes + 4096, bit);
		flip(bytes + 4608, bit * 7 % 384);
	}
	munmap(bytes, FILE_SIZE);
}

Test(outbox, any_flipped_bit_of_a_record_is_noticed)
{
	make_with(12);
	uint8_t *bytes = map_bytes();
	size_t at = AT_RECORDS;
	for (uint64_t number = 1; number <= 12; number++) {
		size_t size = 24 + size_of(number);
		for (size_t bit = at * 8; bit < (at + size) * 8; bit++) {
			flip(bytes, bit);
			cr_assert_eq(reopen(), TB_ECORRUPT, "event %lu bit %zu", number, bit - at * 8);
			flip(bytes, bit);
			cr_assert_eq(reopen(), TB_OK, "event %lu bit %zu", number, bit - at * 8);
		}
		at += (size + 7) & ~(size_t)7;
	}
	munmap(bytes, FILE_SIZE);
}

Test(outbox, any_flipped_bit_of_the_hint_changes_nothing)
{
	make_with(5);
	uint8_t *bytes = map_bytes();
	for (size_t bit = 5120 * 8; bit < 5136 * 8; bit++) {
		flip(bytes, bit);
		tb_outbox *outbox = open_box(NULL);
		expect_held(outbox, 1, 5);
		tb_outbox_close(outbox);
		flip(bytes, bit);
	}
	munmap(bytes, FILE_SIZE);
}

Test(outbox, a_record_that_was_overwritten_while_open_is_not_handed_out)
{
	tb_outbox *outbox = open_box(NULL);
	put_many(outbox, 5);
	uint8_t *bytes = map_bytes();
	bytes[AT_RECORDS + 24] ^= 1;
	uint64_t cursor = 0;
	tb_span payload;
	cr_assert_eq(tb_outbox_read(outbox, 1, &cursor, &payload, &flags, NULL), TB_ECORRUPT);
	tb_outbox_close(outbox);
	munmap(bytes, FILE_SIZE);
}

/* One thread writes, this one reads and lets go. */
#define THREAD_EVENTS 100000u

static void *write_all(void *context)
{
	tb_outbox *outbox = context;
	while (tb_outbox_last(outbox) < THREAD_EVENTS)
		if (put(outbox) != TB_OK)
			sched_yield();
	return NULL;
}

Test(outbox, a_reader_beside_a_writer_sees_each_event_whole)
{
	tb_outbox *outbox = open_box(NULL);
	pthread_t writer;
	cr_assert_eq(pthread_create(&writer, NULL, write_all, outbox), 0);
	uint64_t cursor = 0;
	for (uint64_t number = 1; number <= THREAD_EVENTS; number++) {
		tb_span payload;
		while (tb_outbox_last(outbox) < number)
			sched_yield();
		cr_assert_eq(tb_outbox_read(outbox, number, &cursor, &payload, &flags, NULL), TB_OK);
		cr_assert(is_filled(payload, number, size_of(number)));
		if (number % 16 == 0 || tb_outbox_wants_room(outbox))
			tb_outbox_mark(outbox, number, number - number % 3);
	}
	pthread_join(writer, NULL);
	tb_outbox_close(outbox);
}

/* A child writes as fast as it can, telling each number through a pipe, lets go of old ones, and is killed. */
static void write_until_killed(int pipe_fd)
{
	tb_outbox *outbox = open_box(NULL);
	for (;;) {
		if (put(outbox) != TB_OK)
			_exit(1);
		uint64_t last = tb_outbox_last(outbox);
		if (write(pipe_fd, &last, sizeof(last)) != sizeof(last))
			_exit(1);
		if (last % 7 == 0)
			tb_outbox_mark(outbox, last - last % 5, last - last % 100);
	}
}

static uint64_t kill_after(unsigned reports)
{
	int ends[2];
	uint64_t told = 0, number;
	cr_assert_eq(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		close(ends[0]);
		write_until_killed(ends[1]);
	}
	close(ends[1]);
	for (unsigned i = 0; i < reports && read(ends[0], &number, sizeof(number)) == sizeof(number); i++)
		told = number;
	kill(child, SIGKILL);
	while (read(ends[0], &number, sizeof(number)) == sizeof(number))
		told = number;
	waitpid(child, NULL, 0);
	close(ends[0]);
	return told;
}

Test(outbox, what_a_killed_process_accepted_is_there_dense_and_whole)
{
	unsigned seed = (unsigned)getpid();
	srand(seed);
	for (int round = 0; round < 25; round++) {
		uint64_t told = kill_after((unsigned)rand() % 3000);
		tb_outbox_opened opened;
		tb_outbox *outbox = open_box(&opened);
		cr_assert(opened.last == told || opened.last == told + 1 || told == 0, "seed %u round %d: told %lu, found %lu",
		          seed, round, told, opened.last);
		expect_held(outbox, opened.first, opened.last);
		tb_outbox_close(outbox);
	}
}

Test(outbox, what_is_no_plain_file_is_refused)
{
	tb_outbox *outbox;
	tb_outbox_opened opened;
	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_assert_eq(try_open(boot, &outbox, &opened), TB_EINVAL);
}

Test(outbox, a_ring_has_its_bounds)
{
	tb_outbox *outbox;
	tb_outbox_opened opened;
	cr_assert_eq(tb_outbox_open(path, "book", 4096, boot, &outbox, &opened, NULL), TB_EINVAL);
	cr_assert_eq(tb_outbox_open(path, "book", (UINT64_C(1) << 40) + 1, boot, &outbox, &opened, NULL), TB_EINVAL);
	cr_assert_eq(access(path, F_OK), -1);
}

Test(outbox, one_that_finds_no_room_leaves_nothing)
{
	char beside[128];
	tb_outbox *outbox;
	tb_outbox_opened opened;
	struct rlimit limit = { 32768, 32768 };
	snprintf(beside, sizeof(beside), "%s.new", path);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_assert_neq(tb_outbox_open(path, "book", RING, boot, &outbox, &opened, NULL), TB_OK);
	cr_assert_eq(access(path, F_OK), -1);
	cr_assert_eq(access(beside, F_OK), -1);
}
