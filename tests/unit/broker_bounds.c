/* The broker and strangers: what comes from outside is bounded, and what isn't taken is counted by its cause. */
#include "broker_room.h"

#include "base/bytes.h"

TestSuite(broker_bounds, .init = room_begin, .fini = room_end);

static uint64_t refusals(const char *cause)
{
	Tb__StatReply *reply = stat_now();
	for (size_t i = 0; i < reply->n_refusals; i++)
		if (strcmp(reply->refusals[i]->cause, cause) == 0)
			return reply->refusals[i]->count;
	return 0;
}

static tb_rc code_of(int asker)
{
	commit();
	return (tb_rc)((Tb__StatReply *)answer_of(asker, &tb__stat_reply__descriptor, NULL))->status->code;
}

static tb_rc ask_bytes(enum tb_kind kind, tb_span body)
{
	tb_auto(tb_buf_drop) tb_buf request = { 0 };
	tb_frame_write(&request, &(tb_frame){ .kind = (uint16_t)kind, .count = 1, .body = body });
	int asker = ++room.asked;
	tb_broker_request(room.broker, (void *)(uintptr_t)asker, tb_buf_span(&request));
	return code_of(asker);
}

Test(broker_bounds, what_is_not_taken_is_counted_by_its_cause)
{
	uint64_t epoch = make_stream("book", 10);
	tb_broker_event(room.broker, tb_span_text("good morning"));
	publish("nobody", 1, 1, 1);
	publish("book", epoch + 1, 11, 1);
	publish("book", epoch, 13, 1);
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	add_order(&frame, "book", "FUL_1");
	tb_broker_event(room.broker, tb_buf_span(&frame));
	ask_bytes(TB_KIND_PUT, tb_span_text("no message"));
	struct put_by client = { 0 };
	tb_buf_clear(&frame);
	add_cut(&frame, "book", 1, 10);
	cr_assert_eq(put_now(&client, &frame), TB_EREFUSED);
	commit();
	cr_assert_eq(refusals("no frames"), 1);
	cr_assert_eq(refusals("unknown streams"), 1);
	cr_assert_eq(refusals("other epochs"), 1);
	cr_assert_eq(refusals("other numbers"), 1);
	cr_assert_eq(refusals("wrong kinds"), 1);
	cr_assert_eq(refusals("senseless requests"), 1);
	cr_assert_eq(refusals("refused requests"), 1);
	struct put_by stranger = { .group = TB_GROUP_COLLECTOR, .member = 'x', .generation = 1, .stream = "book" };
	add_cut(&frame, "book", 1, 10);
	cr_assert_eq(put_now(&stranger, &frame), TB_EFENCED);
	cr_assert_eq(refusals("fenced requests"), 1);
	cr_assert_eq(refusals("refused requests"), 1);
	cr_assert_eq(stat_now()->n_refusals, 8);
	cr_assert_eq(stat_now()->counters_refused, 3); /* what can't have been meant */
}

Test(broker_bounds, a_request_larger_than_what_it_asks_is_not_looked_at)
{
	static uint8_t bytes[2 << 20];
	for (size_t i = 0; i + 1 < sizeof(bytes); i += 2)
		bytes[i] = 15 << 3; /* a field that nobody knows, a number in it */
	for (int kind = TB_KIND_HELLO; kind <= TB_KIND_STAT; kind++)
		cr_assert_eq(ask_bytes(kind, tb_span_of(bytes, sizeof(bytes))), TB_EINVAL);
	cr_assert_eq(refusals("senseless requests"), 5);
}

Test(broker_bounds, a_body_of_countless_fields_is_not_unpacked)
{
	static uint8_t bytes[60000];
	struct put_by client = { 0 };
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	for (size_t i = 0; i + 1 < sizeof(bytes); i += 2)
		bytes[i] = 15 << 3;
	make_stream("book", 10);
	tb_frame_write(&frame, &(tb_frame){ .kind = TB_KIND_ORDER, .count = 1, .body = tb_span_of(bytes, sizeof(bytes)) });
	cr_assert_eq(put_now(&client, &frame), TB_EINVAL);
	tb_frame_write(&frame, &(tb_frame){ .kind = TB_KIND_ORDER, .count = 1, .body = tb_span_of(bytes, 2000) });
	cr_assert_eq(put_now(&client, &frame), TB_ENOTFOUND); /* few enough: an order for no stream */
}

Test(broker_bounds, a_frame_that_only_says_something_is_small)
{
	struct put_by client = { 0 };
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	add_bytes(&frame, TB_KIND_HEALTH, NULL, 65537);
	cr_assert_eq(put_now(&client, &frame), TB_EINVAL);
	add_bytes(&frame, TB_KIND_ORDER, NULL, 65537);
	cr_assert_eq(put_now(&client, &frame), TB_EINVAL);
}

Test(broker_bounds, nobody_holds_more_streams_than_there_can_be)
{
	static Tb__Held held = TB__HELD__INIT;
	static Tb__Held *rows[5000];
	Tb__TakeRequest take = TB__TAKE_REQUEST__INIT;
	for (size_t i = 0; i < 5000; i++)
		rows[i] = &held;
	take.group = TB_GROUP_COLLECTOR;
	take.member = id16('c');
	take.held = rows;
	take.n_held = 5000;
	cr_assert_eq(code_of(send_request(TB_KIND_TAKE, &take.base, (tb_span){ 0 })), TB_EINVAL);
}

Test(broker_bounds, nobody_finishes_countless_frames_at_once)
{
	static uint64_t finished[70000];
	struct put_by by = { .group = TB_GROUP_SEALER, .member = 'e', .finished = finished, .count = 70000 };
	cr_assert_eq(put_now(&by, NULL), TB_EINVAL);
}

Test(broker_bounds, streams_are_bounded_and_those_there_are_go_on)
{
	room.options.streams_max = 2;
	room_reopen();
	cr_assert_eq(stat_now()->streams_max, 2);
	make_stream("book", 10);
	make_stream("tape", 10);
	int asker = say_hello("more", 'm', 0, 0, 0, 1);
	commit();
	expect_code(hello_reply(asker)->status, TB_EFULL);
	cr_assert_eq(stat_now()->n_streams, 2);
	uint64_t epoch = connect_engine("book", 'p');
	publish("book", epoch, 11, 5);
	commit();
	cr_assert_eq(stream_stat("book")->durable, 15);
	room.options.streams_max = 1; /* lowered below what there is: nothing is lost by that */
	room_reopen();
	cr_assert_eq(stat_now()->n_streams, 2);
}

Test(broker_bounds, a_silent_worker_makes_room_for_another)
{
	Tb__TakeRequest request = TB__TAKE_REQUEST__INIT;
	uint8_t id[16] = { 0 };
	request.group = TB_GROUP_SEALER;
	request.member = binary(id, 16);
	for (unsigned i = 1; i <= 1024; i++) {
		memcpy(id, &i, sizeof(i));
		taken_by(send_request(TB_KIND_TAKE, &request.base, (tb_span){ 0 }));
	}
	pass(11 * TB_NS_PER_S);
	struct take_by e = { .group = TB_GROUP_SEALER, .member = 'e' };
	expect_code(take_now(&e).reply->status, TB_OK);
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->members, 1);
}

Test(broker_bounds, who_does_not_hold_the_signals_announces_nothing)
{
	struct take_by signal = lease_group_to(TB_GROUP_SIGNAL, 'g');
	struct put_by stranger = { .group = TB_GROUP_SIGNAL, .member = 'x', .generation = signal.generation };
	struct put_by own = { .group = TB_GROUP_SIGNAL, .member = 'g', .generation = signal.generation };
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	add_announce(&frame, "BACKUP_READY/book", "lies");
	cr_assert_eq(put_now(&stranger, &frame), TB_EFENCED);
	add_announce(&frame, "health", "lies");
	cr_assert_eq(put_now(&own, &frame), TB_EREFUSED);
	cr_assert_eq(topic_count("BACKUP_READY/book") + topic_count("health"), 0);
}

/* Before anybody was granted it, too: an id of zeros and generation 0 are nobody's. */
Test(broker_bounds, a_lease_that_nobody_holds_is_not_held_by_an_id_of_zeros)
{
	make_stream("book", 10);
	uint8_t zeros[16] = { 0 };
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	Tb__PutRequest request = TB__PUT_REQUEST__INIT;
	request.group = TB_GROUP_SIGNAL;
	request.member = binary(zeros, 16);
	add_announce(&frame, "BACKUP_READY/book", "lies");
	cr_assert_eq(code_of(send_request(TB_KIND_PUT, &request.base, tb_buf_span(&frame))), TB_EFENCED);
	tb_buf_clear(&frame);
	add_cut(&frame, "book", 1, 10);
	request.group = TB_GROUP_COLLECTOR;
	request.stream = tb_stream_hash("book");
	cr_assert_eq(code_of(send_request(TB_KIND_PUT, &request.base, tb_buf_span(&frame))), TB_EFENCED);
	cr_assert_eq(topic_count("BACKUP_READY/book"), 0);
	cr_assert_eq(stream_stat("book")->cut, 0);
	cr_assert_eq(refusals("fenced requests"), 2);
}

/* It would be held for as long as the request waits. */
Test(broker_bounds, nothing_stands_behind_a_request_that_bears_no_frames)
{
	make_stream("book", 10);
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	Tb__FetchRequest fetching = TB__FETCH_REQUEST__INIT;
	fetching.stream = (char *)(uintptr_t)"book";
	fetching.from = 11;
	fetching.wait_ms = 30000;
	add_bytes(&frame, TB_KIND_OBJECT, NULL, 1 << 20);
	cr_assert_eq(code_of(send_request(TB_KIND_FETCH, &fetching.base, tb_buf_span(&frame))), TB_EINVAL);
	cr_assert_eq(code_of(send_request(TB_KIND_FETCH, &fetching.base, tb_span_text("x"))), TB_EINVAL);
	cr_assert_eq(refusals("senseless requests"), 2);
}

/* A take of so many bytes, all of them fields that nobody knows, by a member of its own. */
static int take_of(unsigned member, size_t size_all)
{
	static uint8_t body[256 << 10];
	uint8_t id[16] = { 0 };
	tb_auto(tb_buf_drop) tb_buf request = { 0 };
	Tb__TakeRequest take = TB__TAKE_REQUEST__INIT;
	memcpy(id, &member, sizeof(member));
	take.group = TB_GROUP_SEALER;
	take.member = binary(id, 16);
	take.wait_ms = 5000;
	size_t size = tb__take_request__pack(&take, body);
	for (; size + 1 < size_all; size += 2) {
		body[size] = 15 << 3;
		body[size + 1] = 0;
	}
	tb_frame_write(&request, &(tb_frame){ .kind = TB_KIND_TAKE, .count = 1, .body = tb_span_of(body, size) });
	int asker = ++room.asked;
	tb_broker_request(room.broker, (void *)(uintptr_t)asker, tb_buf_span(&request));
	commit();
	return asker;
}

Test(broker_bounds, what_waits_holds_little_memory)
{
	struct take_by small = { .group = TB_GROUP_SEALER, .member = 'e', .wait_ms = 5000 };
	cr_assert_eq(answered(take_of(1, 256 << 10)), 1); /* too much for one */
	int asker = take_frames(&small);
	commit();
	cr_assert_eq(answered(asker), 0);
	room.options.waiting_max = 8;
	room_reopen();
	int first = take_of(2, 8000), waiting = 1;
	cr_assert_eq(answered(first), 0);
	for (unsigned i = 3; i < 10; i++)
		waiting += !answered(take_of(i, 8000));
	cr_assert_leq(waiting, 4); /* too much for all together: 128 KiB on the average */
	pass(6 * TB_NS_PER_S);
	tb_broker_tick(room.broker);
	commit();
	cr_assert_eq(answered(first), 1);
	cr_assert_eq(answered(take_of(2, 8000)), 0); /* there is room again */
}

Test(broker_bounds, health_of_everybody_fits_into_one_answer)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	static char text[60001];
	memset(text, 'x', sizeof(text) - 1);
	Tb__Health health = TB__HEALTH__INIT;
	health.detail = text;
	Tb__PutRequest request = TB__PUT_REQUEST__INIT;
	uint8_t id[16] = { 0 };
	request.group = TB_GROUP_SEALER;
	request.member = binary(id, 16);
	for (unsigned i = 1; i <= 300; i++) {
		memcpy(id, &i, sizeof(i));
		tb_buf_clear(&frame);
		add_frame(&frame, TB_KIND_HEALTH, NULL, &health.base);
		send_request(TB_KIND_PUT, &request.base, tb_buf_span(&frame));
		commit();
	}
	size_t total = 0;
	Tb__StatReply *reply = stat_now();
	for (size_t i = 0; i < reply->n_health; i++)
		total += reply->health[i].len;
	cr_assert_gt(total, 1u << 20);
	cr_assert_leq(total, 8u << 20);
}
