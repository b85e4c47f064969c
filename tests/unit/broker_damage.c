/* The broker on a disk that fails or damages what it holds, and at the edges of what it takes. */
#include "broker_room.h"

static tb_buf frames;

static void set_up(void)
{
	room_begin();
}

static void tear_down(void)
{
	tb_buf_drop(&frames);
	room_end();
}

TestSuite(broker_damage, .init = set_up, .fini = tear_down);

/* The journal begins anew in files of 8 KiB, on a disk that fails when it is told to. */
static void use_small_files(void)
{
	room_close();
	tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
	room.options.journal.file_size = 8192;
	room.options.journal_limit = 64 * 8192;
	room.options.journal_keep_ns = 1;
	room.faulty = 1;
	room_open();
}

static struct put_by under(const struct take_by *lease)
{
	return (struct put_by){ .group = lease->group, .member = lease->member, .generation = lease->generations[0],
		                    .stream = lease->streams[0] };
}

static void fill(uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!stream_stat("book")->connected)
			connect_engine("book", 'o');
		const Tb__StreamStat *stat = stream_stat("book");
		tb_broker_event(room.broker, events_frame("book", stat->epoch, stat->durable + 1, 10, 100));
		commit();
	}
}

static void finish_all(const struct take_by *collector)
{
	struct put_by by = under(collector);
	by.finished_to = stream_stat("book")->durable;
	cr_assert_eq(put_now(&by, NULL), TB_OK);
}

/* A byte of the journal's file at that offset, somewhere in these bytes, becomes another. */
static void damage(uint64_t file_offset, const void *bytes, size_t size)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%016llx.tbj", room.dir, (unsigned long long)file_offset);
	tb_auto(tb_buf_drop) tb_buf file = { 0 };
	cr_assert_eq(tb_disk_read_file(tb_disk_system(), path, 64u << 20, &file, NULL), TB_OK);
	uint8_t *at = memmem(file.data, file.size, bytes, size);
	cr_assert_not_null(at);
	FILE *stream = fopen(path, "r+b");
	fseek(stream, at - file.data, SEEK_SET);
	fputc(*at ^ 1, stream);
	fclose(stream);
}

Test(broker_damage, a_limit_below_four_files_is_four_files)
{
	room.options.journal_limit = 1;
	room_reopen();
	cr_assert_eq(stat_now()->journal_limit, 4 * room.options.journal.file_size);
}

Test(broker_damage, a_file_that_can_not_be_removed_goes_at_the_next_look)
{
	use_small_files();
	connect_engine("book", 'o');
	struct take_by collector = lease_streams_to('c');
	fill(40);
	finish_all(&collector);
	uint64_t bytes = stat_now()->journal_bytes;
	fault_disk_fail(&room.fault, FAULT_UNLINK, 1, TB_EIO);
	pass_ticking(1);
	cr_assert_eq(stat_now()->journal_bytes, bytes);
	pass_ticking(1);
	cr_assert_lt(stat_now()->journal_bytes, bytes);
}

Test(broker_damage, an_older_file_that_can_not_be_read_is_told_to_who_wants_its_events)
{
	use_small_files();
	connect_engine("book", 'o');
	fill(40);
	room_reopen();
	fault_disk_fail(&room.fault, FAULT_READ, 1, TB_EIO);
	cr_assert_neq(fetch_reply(fetch("book", 1, 0, 0, 0), NULL)->status->code, TB_OK);
	fault_disk_fail(&room.fault, 0, 0, TB_OK);
	expect_code(fetch_reply(fetch("book", 1, 0, 0, 0), NULL)->status, TB_OK);
}

Test(broker_damage, an_order_that_can_not_be_read_stays_where_it_is)
{
	use_small_files();
	room.options.journal_limit = 16 * 8192;
	room_reopen();
	connect_engine("book", 'o');
	struct take_by collector = lease_streams_to('c');
	struct put_by client = { 0 };
	add_order(&frames, "book", "FUL_damaged");
	cr_assert_eq(put_now(&client, &frames), TB_OK);
	damage(0, "FUL_damaged", 11);
	for (int i = 0; i < 8; i++) {
		fill(5);
		finish_all(&collector);
		pass_ticking(1);
	}
	cr_assert_eq(stream_stat("book")->first_held, 1);
	cr_assert_str_eq(stream_stat("book")->backup_running, "FUL_damaged");
}

Test(broker_damage, a_frame_that_can_not_be_read_is_told_when_there_is_nothing_else)
{
	make_stream("book", 100);
	struct take_by collector = lease_streams_to('c'), sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	struct put_by by = under(&collector);
	Tb__Cut cut = TB__CUT__INIT;
	cut.stream = (char *)(uintptr_t)"book";
	cut.from = 1;
	cut.to = 77;
	uint8_t body[64];
	size_t size = tb__cut__pack(&cut, body);
	add_cut(&frames, "book", 1, 77);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	damage(0, body, size);
	int asker = take_frames(&sealer);
	commit();
	Tb__TakeReply *reply = answer_of(asker, &tb__take_reply__descriptor, NULL);
	expect_code(reply->status, TB_ECORRUPT);
}

Test(broker_damage, what_is_larger_than_the_room_that_is_left_in_an_answer_waits_for_the_next)
{
	make_stream("book", 100);
	struct take_by collector = lease_streams_to('c'), sealer = { .group = TB_GROUP_SEALER, .member = 'e', .bytes_max = 120 };
	struct put_by by = under(&collector);
	for (uint64_t i = 0; i < 2; i++) {
		add_cut(&frames, "book", 1 + 10 * i, 10 + 10 * i);
		cr_assert_eq(put_now(&by, &frames), TB_OK);
	}
	cr_assert_eq(take_now(&sealer).count, 1);
	cr_assert_eq(take_now(&sealer).count, 1);
}

Test(broker_damage, events_of_signals_are_as_many_as_their_frame_says)
{
	struct take_by signal = lease_group_to(TB_GROUP_SIGNAL, 's');
	struct put_by by = { .group = TB_GROUP_SIGNAL, .member = 's', .generation = signal.generation };
	tb_frame_write(&frames, &(tb_frame){ .kind = TB_KIND_EVENTS, .stream = tb_stream_hash("tb.signals"), .count = 2,
	                                     .first = 1, .body = tb_span_text("no events") });
	cr_assert_eq(put_now(&by, &frames), TB_EINVAL);
}

Test(broker_damage, a_period_has_a_record)
{
	struct put_by client = { 0 };
	add_bytes(&frames, TB_KIND_PERIOD, NULL, 0);
	cr_assert_eq(put_now(&client, &frames), TB_EINVAL);
}

/* What nobody takes is bounded: here by frames for a collector that isn't there. */
Test(broker_damage, more_frames_than_workers_can_be_behind_with_are_refused_with_what_to_look_at)
{
	struct put_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	tb_rc rc = TB_OK;
	make_stream("book", 1);
	for (int i = 0; rc == TB_OK; i++) {
		cr_assert_lt(i, 9);
		for (int k = 0; k < 1 << 15; k++)
			add_frame(&frames, TB_KIND_SEALED, "book", NULL);
		rc = put_now(&sealer, &frames);
	}
	cr_assert_eq(rc, TB_EFULL);
	cr_assert_not_null(strstr(put_reply(room.asked)->status->hint, "tb status"));
}
