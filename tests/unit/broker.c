/* Publishers and the broker: events, heartbeats, hello; what is told, and when. */
#include "broker_room.h"

TestSuite(broker, .init = room_begin, .fini = room_end);

Test(broker, nothing_is_told_before_the_commit)
{
	int hello = say_hello("book", 'o', 0, 0, 0, 1);
	cr_assert_eq(answered(hello), 0);
	commit();
	expect_code(hello_reply(hello)->status, TB_OK);
	size_t before = room.topic_count;
	publish("book", 1, 1, 10);
	Tb__StatRequest stat = TB__STAT_REQUEST__INIT;
	int asker = send_request(TB_KIND_STAT, &stat.base, (tb_span){ 0 });
	heartbeat("book", 1, 10);
	cr_assert_eq(room.topic_count, before);
	cr_assert_eq(answered(asker), 0);
	commit();
	cr_assert_eq(answered(asker), 1);
	cr_assert_eq(told("book")->durable, 10);
}

Test(broker, a_failed_append_is_final_and_nobody_is_told)
{
	room_close();
	room.faulty = 1;
	room_open();
	make_stream("book", 3);
	size_t before = room.topic_count;
	publish("book", 1, 4, 3);
	Tb__StatRequest stat = TB__STAT_REQUEST__INIT;
	int asker = send_request(TB_KIND_STAT, &stat.base, (tb_span){ 0 });
	fault_disk_fail(&room.fault, FAULT_SYNC, 1, TB_EIO);
	cr_assert_eq(tb_broker_commit(room.broker, &room.err), TB_EIO);
	cr_assert_eq(tb_broker_commit(room.broker, &room.err), TB_EIO);
	cr_assert_eq(answered(asker), 0);
	cr_assert_eq(room.topic_count, before);
}

Test(broker, a_request_that_needs_no_commit_is_answered_at_once)
{
	make_stream("book", 3);
	Tb__StatRequest stat = TB__STAT_REQUEST__INIT;
	int asker = send_request(TB_KIND_STAT, &stat.base, (tb_span){ 0 });
	cr_assert_eq(answered(asker), 1);
}

Test(broker, a_durable_number_comes_with_run_journal_and_epoch)
{
	make_stream("book", 3);
	cr_assert_eq(told("book")->epoch, 1);
	cr_assert_eq(told("book")->durable, 3);
	cr_assert_arr_eq(told("book")->run_id.data, room.options.run_id, 16);
	cr_assert_arr_eq(told("book")->journal_id.data, "a journal's id..", 16);
	cr_assert(!told("book")->again && !told("book")->hello);
}

Test(broker, many_frames_of_a_turn_are_told_once)
{
	uint64_t epoch = connect_engine("book", 'o');
	for (uint64_t i = 0; i < 20; i++)
		publish("book", epoch, 1 + 5 * i, 5);
	commit();
	cr_assert_eq(topic_count("durable/book"), 1);
	cr_assert_eq(told("book")->durable, 100);
}

Test(broker, events_are_accepted_by_number_only)
{
	uint64_t epoch = make_stream("book", 10);
	publish("book", epoch, 12, 5);
	cr_assert(told("book")->again);
	cr_assert_eq(told("book")->durable, 10);
	commit();
	cr_assert_eq(stream_stat("book")->durable, 10);
	publish("book", epoch, 11, 5);
	commit();
	cr_assert_eq(told("book")->durable, 15);
	cr_assert(!told("book")->again);
}

Test(broker, a_repeated_frame_is_dropped_and_not_asked_for_again)
{
	uint64_t epoch = make_stream("book", 10);
	publish("book", epoch, 1, 10);
	publish("book", epoch, 4, 2);
	commit();
	cr_assert_eq(stream_stat("book")->durable, 10);
	cr_assert(!told("book")->again);
	publish("book", epoch, 8, 10); /* straddles: its new part has to be packed anew */
	commit();
	cr_assert_eq(stream_stat("book")->durable, 10);
}

Test(broker, a_straddling_frame_is_asked_for_again)
{
	uint64_t epoch = make_stream("book", 10);
	publish("book", epoch, 8, 10);
	cr_assert(told("book")->again);
}

Test(broker, again_is_told_once_and_then_every_50_ms)
{
	uint64_t epoch = make_stream("book", 10);
	size_t before = topic_count("durable/book");
	for (int i = 0; i < 64; i++)
		publish("book", epoch, 20, 1);
	cr_assert_eq(topic_count("durable/book"), before + 1);
	pass(49 * TB_NS_PER_MS);
	publish("book", epoch, 20, 1);
	cr_assert_eq(topic_count("durable/book"), before + 1);
	pass(TB_NS_PER_MS);
	publish("book", epoch, 20, 1);
	cr_assert_eq(topic_count("durable/book"), before + 2);
	publish("book", epoch, 11, 1);
	commit();
	publish("book", epoch, 20, 1); /* the first since an accepted one */
	cr_assert(told("book")->again);
	cr_assert_eq(told("book")->durable, 11);
}

Test(broker, again_within_a_turn_waits_for_the_commit)
{
	uint64_t epoch = connect_engine("book", 'o');
	publish("book", epoch, 1, 5);
	publish("book", epoch, 9, 5);
	cr_assert_eq(topic_count("durable/book"), 0);
	commit();
	cr_assert_eq(topic_count("durable/book"), 1);
	cr_assert(told("book")->again);
	cr_assert_eq(told("book")->durable, 5);
}

Test(broker, a_count_that_does_not_match_is_dropped_and_counted)
{
	uint64_t epoch = make_stream("book", 10);
	tb_span bytes = events_frame("book", epoch, 11, 3, 20);
	tb_frame frame;
	tb_span rest = bytes;
	tb_auto(tb_buf_drop) tb_buf wrong = { 0 };
	cr_assert_eq(tb_frame_read(&rest, &frame, NULL), TB_OK);
	uint32_t counts[] = { 0, 2, 4 };
	for (size_t i = 0; i < 3; i++) {
		frame.count = counts[i];
		tb_buf_clear(&wrong);
		tb_frame_write(&wrong, &frame);
		tb_broker_event(room.broker, tb_buf_span(&wrong));
	}
	cr_assert_eq(stream_stat("book")->durable, 10);
	cr_assert_eq(stat_now()->counters_refused, 3);
	tb_broker_event(room.broker, bytes);
	cr_assert_eq(stream_stat("book")->durable, 13);
}

Test(broker, a_message_that_is_cut_or_flipped_is_counted_and_dropped)
{
	uint64_t epoch = connect_engine("book", 'o'), refused = 0;
	tb_span good = events_frame("book", epoch, 1, 2, 5);
	uint8_t *bytes = tb_arena_alloc(room.arena, good.size);
	for (size_t size = 0; size < good.size; size++, refused++)
		tb_broker_event(room.broker, tb_span_of(good.data, size));
	for (size_t bit = 0; bit < good.size * 8; bit++, refused++) {
		memcpy(bytes, good.data, good.size);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		tb_broker_event(room.broker, tb_span_of(bytes, good.size));
	}
	cr_assert_eq(tb_broker_gathered(room.broker), 0);
	cr_assert_eq(stat_now()->counters_refused, refused);
}

Test(broker, only_events_and_heartbeats_come_from_engines)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	make_stream("book", 3);
	add_cut(&frame, "book", 1, 3);
	tb_broker_event(room.broker, tb_buf_span(&frame));
	tb_buf_clear(&frame);
	tb_buf_append_span(&frame, events_frame("book", 1, 4, 1, 20));
	tb_buf_append_span(&frame, events_frame("book", 1, 5, 1, 20));
	tb_broker_event(room.broker, tb_buf_span(&frame)); /* two in one message */
	cr_assert_eq(tb_broker_gathered(room.broker), 0);
	cr_assert_eq(stat_now()->counters_refused, 2);
}

Test(broker, who_publishes_without_hello_is_told_to_say_it)
{
	char topic[64];
	publish("book", 1, 1, 3);
	snprintf(topic, sizeof(topic), "durable/#%016llx", (unsigned long long)tb_stream_hash("book"));
	cr_assert_eq(topic_count(topic), 1);
	publish("book", 1, 4, 3);
	cr_assert_eq(topic_count(topic), 1);
	cr_assert_eq(tb_broker_gathered(room.broker), 0);
}

Test(broker, an_older_epoch_is_told_to_say_hello)
{
	make_stream("book", 3);
	cr_assert_eq(connect_engine("book", 'o'), 2);
	publish("book", 1, 4, 3);
	commit();
	cr_assert(told("book")->hello);
	cr_assert_eq(told("book")->epoch, 2);
	cr_assert_eq(stream_stat("book")->durable, 3);
	heartbeat("book", 1, 3);
	publish("book", 2, 4, 3);
	commit();
	cr_assert_eq(told("book")->durable, 6);
	cr_assert(!told("book")->hello);
}

Test(broker, a_heartbeat_is_answered_and_shows_a_lost_tail)
{
	uint64_t epoch = make_stream("book", 10);
	heartbeat("book", epoch, 10);
	cr_assert(!told("book")->again);
	size_t before = topic_count("durable/book");
	heartbeat("book", epoch, 25);
	cr_assert_eq(topic_count("durable/book"), before + 1);
	cr_assert(told("book")->again);
	cr_assert_eq(told("book")->durable, 10);
	cr_assert_eq(stream_stat("book")->accepted, 25);
}

Test(broker, a_heartbeat_behind_gathered_events_shows_no_loss)
{
	uint64_t epoch = make_stream("book", 10);
	publish("book", epoch, 11, 5);
	heartbeat("book", epoch, 15);
	commit();
	cr_assert(!told("book")->again);
	cr_assert_eq(told("book")->durable, 15);
}

Test(broker, a_heartbeat_that_is_none_is_counted)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	uint64_t epoch = make_stream("book", 10);
	tb_frame head = { .kind = TB_KIND_HEARTBEAT, .stream = tb_stream_hash("book"), .epoch = epoch,
		              .body = tb_span_text("this isn't a heartbeat") };
	tb_frame_write(&frame, &head);
	size_t before = room.topic_count;
	tb_broker_event(room.broker, tb_buf_span(&frame));
	cr_assert_eq(room.topic_count, before);
	cr_assert_eq(stat_now()->counters_refused, 1);
}

Test(broker, a_heartbeat_of_another_run_is_told_to_say_hello)
{
	uint64_t epoch = make_stream("book", 10);
	room.options.run_id[1] ^= 1;
	heartbeat("book", epoch, 10);
	cr_assert(told("book")->hello);
}

Test(broker, a_restarted_broker_grants_windows_anew)
{
	uint64_t epoch = make_stream("book", 10);
	room_reopen();
	publish("book", epoch, 11, 5);
	cr_assert(told("book")->hello);
	int asker = say_hello("book", 'o', epoch, 11, 15, 0);
	commit();
	expect_code(hello_reply(asker)->status, TB_OK);
	cr_assert_eq(hello_reply(asker)->epoch, epoch);
	cr_assert_eq(hello_reply(asker)->durable, 10);
	publish("book", epoch, 11, 5);
	commit();
	cr_assert_eq(told("book")->durable, 15);
}

Test(broker, a_silent_publisher_loses_its_window)
{
	uint64_t epoch = make_stream("book", 10);
	cr_assert(stream_stat("book")->connected);
	pass_ticking(9);
	heartbeat("book", epoch, 10);
	pass_ticking(9);
	cr_assert(stream_stat("book")->connected);
	pass_ticking(2);
	cr_assert(!stream_stat("book")->connected);
	publish("book", epoch, 11, 5);
	cr_assert(told("book")->hello);
	cr_assert_eq(tb_broker_gathered(room.broker), 0);
}

Test(broker, stamps_never_go_back)
{
	uint64_t epoch = make_stream("book", 1);
	uint64_t first = stream_stat("book")->durable_stamp_ns;
	cr_assert_eq(first, room.real_ns);
	room.real_ns -= 3600 * TB_NS_PER_S;
	publish("book", epoch, 2, 1);
	commit();
	cr_assert_eq(stream_stat("book")->durable_stamp_ns, first);
	tb_span frames;
	tb_frame frame;
	fetch_reply(fetch("book", 2, 2, 0, 0), &frames);
	cr_assert_eq(tb_frame_read(&frames, &frame, NULL), TB_OK);
	cr_assert_eq(frame.time_ns, first);
}

/* ---- hello */

Test(broker, hello_grants_a_window_and_the_first_epoch)
{
	int asker = say_hello("book", 'o', 0, 0, 0, 1);
	commit();
	Tb__HelloReply *reply = hello_reply(asker);
	expect_code(reply->status, TB_OK);
	cr_assert_eq(reply->epoch, 1);
	cr_assert_eq(reply->durable, 0);
	cr_assert_eq(reply->window_frames, 64);
	cr_assert_eq(reply->window_bytes, 4u << 20);
	cr_assert_eq(reply->journal_id.len, 16);
	cr_assert_eq(reply->run_id.len, 16);
}

Test(broker, the_same_epoch_is_answered_again)
{
	make_stream("book", 10);
	int asker = say_hello("book", 'o', 1, 5, 10, 0);
	commit();
	cr_assert_eq(hello_reply(asker)->epoch, 1);
	cr_assert_eq(hello_reply(asker)->durable, 10);
	cr_assert_eq(connect_engine("book", 'o'), 2); /* takes over */
}

Test(broker, another_outbox_begins_behind_the_durable_number)
{
	make_stream("book", 10);
	int asker = say_hello("book", 'p', 0, 0, 0, 1);
	commit();
	expect_code(hello_reply(asker)->status, TB_OK);
	cr_assert_eq(hello_reply(asker)->epoch, 2);
	cr_assert_eq(hello_reply(asker)->durable, 10);
	publish("book", 2, 11, 2);
	commit();
	cr_assert_eq(told("book")->durable, 12);
}

Test(broker, an_outbox_that_comes_back_with_old_events_only_goes_on)
{
	make_stream("book", 10);
	connect_engine("book", 'p');
	publish("book", 2, 11, 10);
	commit();
	int asker = say_hello("book", 'o', 1, 5, 10, 1);
	commit();
	expect_code(hello_reply(asker)->status, TB_OK);
	cr_assert_eq(hello_reply(asker)->epoch, 3);
	cr_assert_eq(hello_reply(asker)->durable, 20);
}

Test(broker, a_hole_that_nobody_holds_is_refused)
{
	make_stream("book", 10);
	int asker = say_hello("book", 'o', 1, 12, 20, 0);
	expect_code(hello_reply(asker)->status, TB_EUNSUPPORTED);
	cr_assert_str_eq(hello_reply(asker)->status->text,
	                 "events 11..11 of stream book are held by nobody; not in this version");
	asker = say_hello("book", 'o', 1, 0, 20, 0); /* holds nothing any more, but had accepted 20 */
	expect_code(hello_reply(asker)->status, TB_EUNSUPPORTED);
	asker = say_hello("new", 'o', 0, 5, 9, 1);
	expect_code(hello_reply(asker)->status, TB_EUNSUPPORTED);
	asker = say_hello("book", 'o', 1, 11, 20, 0);
	expect_code(hello_reply(asker)->status, TB_OK);
}

Test(broker, a_lost_journal_gets_an_epoch_above_the_old_one)
{
	int asker = say_hello("book", 'o', 7, 1, 20, 0);
	commit();
	expect_code(hello_reply(asker)->status, TB_OK);
	cr_assert_eq(hello_reply(asker)->epoch, 8);
	cr_assert_eq(hello_reply(asker)->durable, 0);
}

Test(broker, an_older_process_is_fenced)
{
	make_stream("book", 10);
	connect_engine("book", 'o');
	int asker = say_hello("book", 'o', 1, 1, 10, 0);
	expect_code(hello_reply(asker)->status, TB_EFENCED);
	cr_assert(hello_reply(asker)->status->hint[0] != '\0');
}

Test(broker, names_are_checked)
{
	expect_code(hello_reply(say_hello("tb.signals", 'o', 0, 0, 0, 1))->status, TB_EREFUSED);
	expect_code(hello_reply(say_hello("a/b", 'o', 0, 0, 0, 1))->status, TB_EINVAL);
	expect_code(hello_reply(say_hello("", 'o', 0, 0, 0, 1))->status, TB_EINVAL);
}

Test(broker, no_more_publishers_than_windows)
{
	room.options.publishers_max = 2;
	room_reopen();
	connect_engine("a", 'a');
	connect_engine("b", 'b');
	int asker = say_hello("c", 'c', 0, 0, 0, 1);
	expect_code(hello_reply(asker)->status, TB_EBUSY);
	cr_assert(hello_reply(asker)->status->hint[0] != '\0');
	connect_engine("a", 'a'); /* it has one */
	pass_ticking(11);
	connect_engine("c", 'c');
}

Test(broker, hello_without_a_proper_outbox_is_invalid)
{
	Tb__HelloRequest request = TB__HELLO_REQUEST__INIT;
	request.stream = (char *)(uintptr_t) "book";
	request.outbox = binary("short", 5);
	expect_code(hello_reply(send_request(TB_KIND_HELLO, &request.base, (tb_span){ 0 }))->status, TB_EINVAL);
	request.outbox = id16('o');
	expect_code(hello_reply(send_request(TB_KIND_HELLO, &request.base, (tb_span){ 0 }))->status, TB_EINVAL);
	request.renewal = id16('R');
	request.epoch = UINT64_MAX;
	expect_code(hello_reply(send_request(TB_KIND_HELLO, &request.base, (tb_span){ 0 }))->status, TB_EINVAL);
}

Test(broker, a_stream_may_have_many_epochs)
{
	for (uint64_t i = 1; i <= 100; i++)
		cr_assert_eq(connect_engine("book", 'o'), i);
	room_reopen();
	cr_assert_eq(connect_engine("book", 'o'), 101);
}
