/* Requests and the broker: what is none, and fetching events. */
#include "broker_room.h"

TestSuite(broker_requests, .init = room_begin, .fini = room_end);

static void send_bytes(tb_span bytes)
{
	int asker = ++room.asked;
	tb_broker_request(room.broker, (void *)(uintptr_t)asker, bytes);
	commit();
	Tb__StatReply *reply = answer_of(asker, &tb__stat_reply__descriptor, NULL);
	expect_code(reply->status, TB_EINVAL);
}

Test(broker_requests, a_request_that_is_cut_or_flipped_is_answered_invalid)
{
	tb_auto(tb_buf_drop) tb_buf request = { 0 };
	Tb__HelloRequest hello = TB__HELLO_REQUEST__INIT;
	hello.stream = (char *)(uintptr_t) "book";
	hello.outbox = id16('o');
	hello.renewal = id16('R');
	hello.take_over = 1;
	tb_control_write(&request, TB_KIND_HELLO, &hello.base);
	for (size_t size = 0; size < request.size; size++)
		send_bytes(tb_span_of(request.data, size));
	for (size_t bit = 0; bit < request.size * 8; bit++) {
		request.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		send_bytes(tb_buf_span(&request));
		request.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	cr_assert_eq(stat_now()->counters_refused, request.size * 9);
	cr_assert_eq(stat_now()->n_streams, 0);
}

Test(broker_requests, what_is_not_a_request_is_answered_invalid)
{
	send_bytes(events_frame("book", 1, 1, 1, 20));
	tb_auto(tb_buf_drop) tb_buf request = { 0 };
	tb_frame_write(&request, &(tb_frame){ .kind = TB_KIND_PUT, .body = tb_span_text("this is not a put") });
	send_bytes(tb_buf_span(&request));
}

Test(broker_requests, frames_behind_a_put_are_checked_at_every_length_and_bit)
{
	tb_auto(tb_buf_drop) tb_buf frames = { 0 }, wrong = { 0 };
	make_stream("book", 10);
	struct take_by collector = lease_streams_to('c');
	struct put_by by = { TB_GROUP_COLLECTOR, 'c', collector.generations[0], "book", NULL, 0, 0 };
	add_cut(&frames, "book", 1, 10);
	for (size_t size = 1; size < frames.size; size++) {
		tb_buf_append(&wrong, frames.data, size);
		cr_assert_eq(put_now(&by, &wrong), TB_EINVAL, "at %zu", size);
	}
	for (size_t bit = 0; bit < frames.size * 8; bit++) {
		tb_buf_append_span(&wrong, tb_buf_span(&frames));
		wrong.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_eq(put_now(&by, &wrong), TB_EINVAL, "at %zu", bit);
	}
	cr_assert_eq(stream_stat("book")->cut, 0);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	cr_assert_eq(stream_stat("book")->cut, 10);
}

/* ---- fetch */

Test(broker_requests, fetch_brings_whole_frames_in_order)
{
	uint64_t epoch = connect_engine("book", 'o');
	connect_engine("tape", 't');
	for (uint64_t i = 0; i < 30; i++) {
		publish("book", epoch, 1 + 10 * i, 10);
		publish("tape", 1, 1 + 3 * i, 3);
		if (i % 3 == 0)
			commit();
	}
	commit();
	tb_span frames;
	Tb__FetchReply *reply = fetch_reply(fetch("book", 17, 203, 0, 0), &frames);
	expect_code(reply->status, TB_OK);
	cr_assert_eq(reply->durable, 300);
	cr_assert_eq(reply->first_held, 1);
	expect_events(frames, "book", 17, 203);
	for (uint64_t n = 1; n <= 90; n += 7) {
		fetch_reply(fetch("tape", n, n, 0, 0), &frames);
		expect_events(frames, "tape", n, n);
	}
	fetch_reply(fetch("book", 290, 0, 0, 0), &frames);
	expect_events(frames, "book", 290, 300);
}

/* Large enough for several noted places in the index, with others' frames in between, and batches of all sizes. */
Test(broker_requests, fetch_finds_any_number_in_a_long_journal)
{
	uint64_t next[2] = { 1, 1 };
	const char *names[2] = { "book", "tape" };
	connect_engine("book", 'o');
	connect_engine("tape", 't');
	for (uint32_t i = 0; i < 600; i++) {
		size_t which = i % 7 == 0;
		uint32_t count = 1 + i % 11;
		tb_broker_event(room.broker, events_frame(names[which], 1, next[which], count, 50 + i * 37 % 300));
		next[which] += count;
		if (i % 5 == 0)
			commit();
	}
	commit();
	for (int again = 0; again < 2; again++) {
		for (size_t which = 0; which < 2; which++)
			for (uint64_t n = next[which] - 1; n > 40; n -= 37) {
				tb_span frames;
				expect_code(fetch_reply(fetch(names[which], n - 30, n, 0, 0), &frames)->status, TB_OK);
				expect_events(frames, names[which], n - 30, n);
			}
		room_reopen();
	}
}

Test(broker_requests, an_event_that_the_disk_damaged_is_not_handed_out)
{
	uint64_t epoch = make_stream("book", 10);
	publish("book", epoch, 11, 10);
	commit();
	char path[128];
	snprintf(path, sizeof(path), "%s/%016x.tbj", room.dir, 0);
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	cr_assert_eq(tb_disk_read_file(tb_disk_system(), path, 64u << 20, &bytes, NULL), TB_OK);
	uint8_t event[20];
	memset(event, 15, sizeof(event));
	uint8_t *at = memmem(bytes.data, bytes.size, event, sizeof(event));
	cr_assert_not_null(at);
	FILE *file = fopen(path, "r+b");
	fseek(file, at - bytes.data, SEEK_SET);
	fputc('!', file);
	fclose(file);
	tb_span frames;
	expect_code(fetch_reply(fetch("book", 5, 0, 0, 0), &frames)->status, TB_OK); /* as far as it goes */
	expect_events(frames, "book", 5, 10);
	Tb__FetchReply *reply = fetch_reply(fetch("book", 12, 0, 0, 0), &frames);
	expect_code(reply->status, TB_ECORRUPT);
	cr_assert_eq(frames.size, 0);
}

Test(broker_requests, fetch_keeps_to_its_bytes_but_brings_one_frame)
{
	uint64_t epoch = connect_engine("book", 'o');
	for (uint64_t i = 0; i < 10; i++)
		publish("book", epoch, 1 + 10 * i, 10);
	commit();
	tb_span frames, two;
	fetch_reply(fetch("book", 1, 100, 1, 0), &frames);
	expect_events(frames, "book", 1, 10);
	fetch_reply(fetch("book", 1, 100, 2 * frames.size, 0), &two);
	expect_events(two, "book", 1, 20);
	fetch_reply(fetch("book", 1, 100, 3 * frames.size - 1, 0), &two);
	expect_events(two, "book", 1, 20);
}

Test(broker_requests, fetch_waits_for_what_is_not_durable_yet)
{
	uint64_t epoch = make_stream("book", 10);
	int asker = fetch("book", 11, 12, 0, 1000);
	commit();
	cr_assert_eq(answered(asker), 0);
	publish("book", epoch, 11, 1);
	cr_assert_eq(answered(asker), 0);
	commit();
	tb_span frames;
	expect_code(fetch_reply(asker, &frames)->status, TB_OK);
	expect_events(frames, "book", 11, 11);
}

Test(broker_requests, fetch_is_answered_when_its_time_is_over)
{
	make_stream("book", 10);
	int asker = fetch("book", 11, 12, 0, 1000);
	commit();
	pass(999 * TB_NS_PER_MS);
	cr_assert_leq(tb_broker_tick(room.broker), room.mono_ns + TB_NS_PER_MS);
	cr_assert_eq(answered(asker), 0);
	pass(TB_NS_PER_MS);
	tb_broker_tick(room.broker);
	tb_span frames;
	expect_code(fetch_reply(asker, &frames)->status, TB_OK);
	cr_assert_eq(frames.size, 0);
}

Test(broker_requests, fetch_of_what_there_is_not_fails)
{
	make_stream("book", 10);
	expect_code(fetch_reply(fetch("none", 1, 2, 0, 0), NULL)->status, TB_ENOTFOUND);
	expect_code(fetch_reply(fetch("book", 0, 2, 0, 0), NULL)->status, TB_EINVAL);
	expect_code(fetch_reply(fetch("book", 5, 2, 0, 0), NULL)->status, TB_EINVAL);
}

Test(broker_requests, no_more_requests_wait_than_there_is_room_for)
{
	make_stream("book", 10);
	room.options.waiting_max = 2;
	room_reopen();
	int a = fetch("book", 11, 0, 0, 1000), b = fetch("book", 11, 0, 0, 1000), c = fetch("book", 11, 0, 0, 1000);
	cr_assert_eq(answered(a) + answered(b), 0);
	cr_assert_eq(answered(c), 1);
}
