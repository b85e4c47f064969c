#include "bus/publisher_pump.h"

#include "base/disk.h"
#include "model_broker.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MS TB_NS_PER_MS
#define RING (256u * 1024)

static const uint8_t boot[16] = "a boot of today";
static const uint8_t next_boot[16] = "one after it";
static char directory[64];
static char path[96];
static uint64_t now;
static tb_outbox *outbox;
static tb_outbox_opened opened;
static tb_pump *pump;
static model_broker model;
static tb_buf told;
static uint64_t arrived; /* highest number that reached the model broker */

static uint64_t virtual_now(void *self)
{
	(void)self;
	return now;
}
static const tb_clock virtual_clock = { NULL, virtual_now, virtual_now };

static size_t size_of(uint64_t number)
{
	return 1 + (size_t)(number * 2654435761u % 200);
}

static void fill(uint8_t *payload, uint64_t number, size_t size)
{
	for (size_t i = 0; i < size; i++)
		payload[i] = (uint8_t)(number * 31 + i);
}

static void arrive(void *self, uint64_t number, tb_span event)
{
	(void)self;
	cr_assert_eq(number, ++arrived);
	uint8_t *expected = tb_alloc(event.size);
	fill(expected, number, event.size);
	cr_assert_arr_eq(event.data, expected, event.size, "event %lu", number);
	free(expected);
}

static void open_pump(const uint8_t boot_id[16])
{
	cr_assert_eq(tb_outbox_open(path, "book", RING, boot_id, &outbox, &opened, NULL), TB_OK);
	pump = tb_pump_new("book", outbox, &opened, &virtual_clock);
}

static void close_pump(void)
{
	tb_pump_free(pump);
	tb_outbox_close(outbox);
}

static void set_up(void)
{
	snprintf(directory, sizeof(directory), "/tmp/tb-pump-XXXXXX");
	cr_assert(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/book.outbox", directory);
	now = 1000 * TB_NS_PER_S;
	model = (model_broker){ .run_id = "life 1", .window_frames = 8, .window_bytes = 1 << 20, .accepted = arrive };
	open_pump(boot);
}

static void tear_down(void)
{
	close_pump();
	tb_buf_drop(&told);
	tb_disk_remove_tree(tb_disk_system(), directory, NULL);
}

TestSuite(pump, .init = set_up, .fini = tear_down);

static tb_rc accept_sized(size_t size)
{
	uint8_t *payload;
	tb_rc rc = tb_outbox_reserve(outbox, size, &payload, NULL);
	if (rc != TB_OK)
		return rc;
	fill(payload, tb_outbox_last(outbox) + 1, size);
	tb_outbox_commit(outbox, size, TB_RESET_NONE);
	return TB_OK;
}

static void accept_some(uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		cr_assert_eq(accept_sized(size_of(tb_outbox_last(outbox) + 1)), TB_OK);
}

static int say_hello(void)
{
	Tb__HelloRequest request;
	Tb__HelloReply reply;
	if (!tb_pump_hello(pump, &request))
		return 0;
	model_hello(&model, &request, &reply);
	tb_pump_answered(pump, &reply);
	return 1;
}

static void refuse_hello(tb_rc rc, uint64_t delivered)
{
	Tb__HelloRequest request;
	Tb__HelloReply refusal = TB__HELLO_REPLY__INIT;
	tb_err err;
	refusal.durable = delivered;
	tb_fail(&err, rc, "said the broker");
	cr_assert(tb_pump_hello(pump, &request));
	tb_pump_unanswered(pump, rc, &refusal, &err);
}

static tb_pump_figures figures(void)
{
	tb_pump_figures all;
	tb_pump_figures_get(pump, &all);
	return all;
}

/* Take the next frame off the pump as if it was sent, without its arriving. */
static int send_next(tb_frame *ret_frame)
{
	tb_span bytes;
	if (!tb_pump_next(pump, &bytes))
		return 0;
	cr_assert_eq(tb_frame_read(&bytes, ret_frame, NULL), TB_OK);
	cr_assert_eq(bytes.size, 0);
	cr_assert_eq(ret_frame->stream, tb_stream_hash("book"));
	tb_pump_sent(pump);
	return 1;
}

static void expect_events(uint64_t first, uint64_t count)
{
	tb_frame frame;
	cr_assert(send_next(&frame));
	cr_assert_eq(frame.kind, TB_KIND_EVENTS);
	cr_assert(frame.first == first && frame.count == count, "%lu+%u", frame.first, frame.count);
}

static void expect_nothing(void)
{
	tb_span bytes;
	cr_assert(!tb_pump_next(pump, &bytes));
}

static void tell(uint64_t durable, int again)
{
	model.durable = durable;
	model_told(&model, again, 0, &told);
	tb_pump_heard(pump, tb_buf_span(&told));
}

static void accept_step(tb_reset_step step)
{
	uint8_t *payload;
	cr_assert_eq(tb_outbox_reserve(outbox, 10, &payload, NULL), TB_OK);
	fill(payload, tb_outbox_last(outbox) + 1, 10);
	tb_outbox_commit(outbox, 10, step);
}

static void expect_marked(uint64_t first, uint64_t count, uint16_t flags)
{
	tb_frame frame;
	cr_assert(send_next(&frame));
	cr_assert(frame.first == first && frame.count == count && frame.flags == flags, "%lu+%u: %u", frame.first,
	          frame.count, frame.flags);
}

static void open_again(void)
{
	close_pump();
	open_pump(boot);
	cr_assert(say_hello());
	now += 2 * MS;
}

/* Hello */

Test(pump, the_first_hello_takes_over_and_later_ones_name_their_epoch)
{
	Tb__HelloRequest request;
	accept_some(3);
	cr_assert(tb_pump_hello(pump, &request));
	cr_assert(request.take_over && request.epoch == 0 && request.first == 1 && request.last == 3);
	cr_assert_str_eq(request.stream, "book");
	cr_assert_arr_eq(request.outbox.data, tb_outbox_id(outbox), 16);
	now += 10 * MS;
	cr_assert(say_hello());
	cr_assert(!say_hello(), "granted");
	model_told(&model, 0, 1, &told);
	tb_pump_heard(pump, tb_buf_span(&told));
	now += 10 * MS;
	cr_assert(tb_pump_hello(pump, &request));
	cr_assert(!request.take_over && request.epoch == 1);
	cr_assert_eq(tb_outbox_epoch(outbox), 1);
}

Test(pump, an_unanswered_hello_is_said_again_ever_more_rarely)
{
	uint64_t wait = 10 * MS;
	for (int i = 0; i < 12; i++) {
		refuse_hello(TB_ETIMEOUT, 0);
		cr_assert_eq(tb_pump_deadline(pump), now + wait);
		now += wait - 1;
		cr_assert(!say_hello());
		now++;
		wait = wait * 2 < TB_NS_PER_S ? wait * 2 : TB_NS_PER_S;
	}
	cr_assert_str_eq(tb_pump_trouble(pump)->text, "said the broker");
	cr_assert(say_hello());
	cr_assert_str_empty(tb_pump_trouble(pump)->text);
}

Test(pump, a_fenced_hello_ends_it)
{
	refuse_hello(TB_EFENCED, 0);
	tb_err err;
	cr_assert_eq(tb_pump_failure(pump, &err), TB_EFENCED);
	cr_assert_str_eq(err.text, "said the broker");
	cr_assert(!say_hello());
	cr_assert_eq(tb_pump_deadline(pump), UINT64_MAX);
}

Test(pump, nothing_is_sent_without_a_window)
{
	accept_some(3);
	expect_nothing();
	model.window_frames = 0;
	say_hello();
	expect_nothing();
	cr_assert_eq(tb_pump_failure(pump, NULL), TB_OK);
	cr_assert_eq(tb_pump_trouble(pump)->rc, TB_EFULL, "%s", tb_pump_trouble(pump)->text);
	model.window_frames = 1;
	now += 10 * MS;
	cr_assert(say_hello());
	expect_events(1, 3);
}

/* How numbers go on: what the outbox holds, what the broker knows, what becomes of it. */
struct judgement {
	const char *what;
	uint64_t confirmed_to; /* delivered and settled in an earlier opening */
	uint64_t held_to;      /* accepted in all earlier openings */
	int other_boot;
	uint64_t accepted_to; /* accepted in this opening, before the broker answers */
	uint64_t come_to;     /* what the broker has of this outbox */
	uint64_t elsewhere;   /* and behind that of others */
	uint64_t sent_from;   /* place of the first that is sent */
};

static const struct judgement judgements[] = {
	{ "a new stream", 0, 0, 0, 0, 0, 0, 1 },
	{ "a new outbox of a known stream", 0, 0, 0, 0, 0, 41, 1 },
	{ "a new outbox that has begun at 1, of a new stream", 0, 0, 0, 5, 0, 0, 1 },
	{ "a new outbox that has begun at 1, of a known stream", 0, 0, 0, 5, 0, 41, 1 },
	{ "the same when the stream is shorter", 0, 0, 0, 5, 0, 2, 1 },
	{ "the same after another opening", 0, 5, 0, 5, 0, 2, 1 },
	{ "all is delivered", 10, 10, 0, 10, 10, 0, 11 },
	{ "some is not", 10, 15, 0, 15, 10, 0, 11 },
	{ "some was delivered without its being told", 10, 15, 0, 15, 13, 0, 14 },
	{ "more was accepted since", 10, 15, 0, 20, 13, 0, 14 },
	{ "all is delivered, and the stream went on elsewhere", 10, 10, 0, 10, 10, 31, 11 },
	{ "some is not, and the stream went on elsewhere", 10, 15, 0, 15, 10, 31, 11 },
	{ "some was delivered untold, and the stream went on elsewhere", 10, 15, 0, 15, 12, 1, 13 },
	{ "accepted behind what went on elsewhere", 10, 10, 0, 12, 10, 31, 11 },
	{ "another boot, all is delivered", 10, 10, 1, 10, 10, 0, 11 },
	{ "another boot, the broker has what was not told", 10, 15, 1, 15, 15, 0, 16 },
	{ "another boot, the broker has more than was left", 10, 15, 1, 15, 23, 0, 16 },
	{ "another boot, the broker has not got all", 10, 15, 1, 15, 13, 0, 14 },
	{ "another boot, accepted behind what the broker has", 10, 15, 1, 18, 15, 0, 16 },
	{ "another boot, accepted what the broker has otherwise", 10, 15, 1, 18, 16, 0, 16 },
	{ "an older copy", 10, 15, 0, 15, 40, 0, 16 },
	{ "an older copy, and more was accepted", 10, 15, 0, 20, 40, 0, 16 },
	{ "an older copy, more was accepted, and the stream went on elsewhere", 10, 15, 0, 20, 17, 40, 16 },
};

static void prepare(const struct judgement *row)
{
	close_pump();
	unlink(path);
	open_pump(boot);
	model.durable = model.first = model.place = 0;
	if (row->confirmed_to) {
		say_hello();
		accept_some(row->confirmed_to);
		tb_outbox_mark(outbox, row->confirmed_to, 0);
	}
	accept_some(row->held_to - tb_outbox_last(outbox));
	if (row->held_to > row->confirmed_to && row->confirmed_to == 0) {
		close_pump();
		open_pump(boot);
	}
	close_pump();
	open_pump(row->other_boot ? next_boot : boot);
	accept_some(row->accepted_to - tb_outbox_last(outbox));
	model.durable = row->come_to + row->elsewhere;
	model.elsewhere = row->elsewhere;
}

/* Everything that the outbox has at those places, under those numbers, in however many frames. */
static void expect_places(uint64_t place, uint64_t place_to, uint64_t number, const char *what)
{
	tb_frame frame;
	tb_span body, event;
	uint8_t expected[256];
	while (place <= place_to) {
		if (!send_next(&frame) || frame.kind != TB_KIND_EVENTS) {
			now += MS;
			continue;
		}
		cr_assert_eq(frame.first, number, "%s: %lu, not %lu", what, frame.first, number);
		for (body = frame.body; tb_events_next(&body, &event) == 1; place++, number++) {
			fill(expected, place, event.size);
			cr_assert_arr_eq(event.data, expected, event.size, "%s: event %lu", what, number);
		}
	}
	cr_assert_eq(place, place_to + 1);
}

Test(pump, what_was_not_delivered_goes_on_behind_all_that_the_broker_has_and_once)
{
	for (size_t i = 0; i < sizeof(judgements) / sizeof(judgements[0]); i++) {
		const struct judgement *row = &judgements[i];
		tb_err err = { 0 };
		prepare(row);
		uint64_t durable = model.durable, count = row->accepted_to + 1 - row->sent_from;
		uint8_t id[16];
		memcpy(id, tb_outbox_id(outbox), sizeof(id));
		cr_assert(say_hello());
		cr_assert_eq(tb_pump_failure(pump, &err), TB_OK, "%s: %s", row->what, err.text);
		cr_assert_eq(tb_outbox_last(outbox), durable + count, "%s: %lu", row->what, tb_outbox_last(outbox));
		int older = row->come_to > row->held_to;
		cr_assert_eq(memcmp(id, tb_outbox_id(outbox), 16) != 0, older, "%s", row->what);
		uint8_t *payload;
		cr_assert_eq(tb_outbox_reserve(outbox, 20, &payload, NULL), TB_OK);
		fill(payload, row->accepted_to + 1, 20);
		tb_outbox_commit(outbox, 20, TB_RESET_NONE);
		expect_places(row->sent_from, row->accepted_to + 1, durable + 1, row->what);
		close_pump();
		open_pump(boot);
		cr_assert_eq(opened.last, durable + count + 1, "%s", row->what);
	}
}

Test(pump, what_takes_new_numbers_is_apart_from_what_came_between)
{
	accept_step(TB_RESET_BEGIN);
	accept_some(4);
	cr_assert(say_hello());
	model.durable = 3;
	model.elsewhere = 0;
	close_pump();
	open_pump(boot);
	model.durable = 10;
	model.elsewhere = 7;
	cr_assert(say_hello());
	now += 2 * MS;
	expect_marked(11, 2, TB_EVENTS_INSIDE | TB_EVENTS_APART);
	open_again(); /* nothing of it came: it is so still */
	expect_marked(11, 2, TB_EVENTS_INSIDE | TB_EVENTS_APART);
}

/* It has accepted 10 events and knows that 6 are durable. */
static void fence(uint64_t delivered)
{
	cr_assert(say_hello());
	accept_some(10);
	tell(6, 0);
	model_told(&model, 0, 1, &told);
	tb_pump_heard(pump, tb_buf_span(&told));
	now += 20 * MS;
	refuse_hello(TB_EFENCED, delivered);
	close_pump();
	open_pump(boot);
}

Test(pump, who_is_fenced_leaves_in_doubt_what_was_not_delivered)
{
	fence(0);
	cr_assert_eq(opened.ground, 6);
	model.durable = 30; /* a copy of this outbox has gone on */
	cr_assert(say_hello());
	cr_assert_eq(tb_outbox_last(outbox), 34);
	expect_places(7, 10, 31, "fenced");
}

/* The word of it doesn't come through when another takes over. */
Test(pump, who_is_fenced_believes_how_far_the_broker_has_taken_its_events)
{
	fence(9);
	cr_assert_eq(opened.ground, 9);
}

Test(pump, who_is_fenced_believes_no_more_than_it_has_accepted)
{
	fence(11);
	cr_assert_eq(opened.ground, 6);
}

Test(pump, who_is_fenced_at_its_first_hello_doubts_nothing_anew)
{
	cr_assert(say_hello());
	accept_some(10);
	tell(6, 0);
	close_pump();
	open_pump(boot);
	cr_assert_eq(opened.ground, 10);
	refuse_hello(TB_EFENCED, 0);
	close_pump();
	open_pump(boot);
	cr_assert_eq(opened.ground, 10);
}

Test(pump, a_broker_that_wants_what_is_held_nowhere_is_a_lasting_failure)
{
	accept_some(20);
	say_hello();
	expect_events(1, 20);
	model.stored = 15;
	tell(20, 0);
	cr_assert_eq(tb_outbox_first(outbox), 16);
	model.durable = 3;
	model_restart(&model);
	model_told(&model, 0, 0, &told);
	tb_pump_heard(pump, tb_buf_span(&told));
	now += 10 * MS;
	cr_assert(say_hello());
	cr_assert_eq(tb_pump_failure(pump, NULL), TB_EUNSUPPORTED);
}

Test(pump, an_answer_by_which_more_is_durable_than_was_accepted_is_a_lasting_failure)
{
	static uint8_t id[16] = "an id";
	for (uint64_t durable = 4; durable <= 6; durable++) {
		Tb__HelloRequest request;
		Tb__HelloReply reply = TB__HELLO_REPLY__INIT;
		close_pump();
		unlink(path);
		open_pump(boot);
		accept_some(5);
		cr_assert(tb_pump_hello(pump, &request));
		reply.run_id = reply.journal_id = (ProtobufCBinaryData){ sizeof(id), id };
		reply.epoch = reply.first = reply.place = 1;
		reply.durable = durable;
		reply.window_frames = 8;
		reply.window_bytes = 65536;
		tb_pump_answered(pump, &reply);
		cr_assert_eq(tb_pump_failure(pump, NULL), durable <= 5 ? TB_OK : TB_ECORRUPT, "%lu", durable);
	}
}

/* Frames */

Test(pump, a_lone_event_leaves_at_once_and_those_behind_it_after_a_millisecond)
{
	say_hello();
	cr_assert(tb_pump_awaits_events(pump));
	accept_some(1);
	expect_events(1, 1);
	accept_some(2);
	expect_nothing();
	cr_assert(!tb_pump_awaits_events(pump));
	cr_assert_eq(tb_pump_deadline(pump), now + MS);
	now += MS / 2;
	accept_some(1);
	expect_nothing();
	now += MS / 2;
	expect_events(2, 3);
	accept_some(1);
	expect_nothing();
	tell(4, 0);
	expect_events(5, 1);
}

Test(pump, a_full_frame_leaves_at_once_and_is_not_larger_than_it_may)
{
	tb_frame frame;
	say_hello();
	accept_some(1);
	expect_events(1, 1);
	accept_some(1500);
	uint64_t next = 2;
	while (send_next(&frame)) {
		cr_assert_eq(frame.first, next);
		cr_assert_leq(tb_frame_size(&frame), TB_FRAME_PACKED);
		cr_assert_gt(tb_frame_size(&frame), TB_FRAME_PACKED - 300);
		next += frame.count;
	}
	cr_assert_eq(figures().frames_sent, 3);
}

Test(pump, no_more_than_the_window_is_on_its_way)
{
	model.window_frames = 3;
	say_hello();
	for (int i = 0; i < 5; i++) {
		accept_some(1);
		tb_frame frame;
		now += MS;
		tb_pump_next(pump, &(tb_span){ 0 });
		now += MS;
		cr_assert_eq(send_next(&frame), i < 3);
	}
	cr_assert_eq(figures().frames_unconfirmed, 3);
	tell(1, 0);
	expect_events(4, 2);
}

Test(pump, a_frame_larger_than_the_window_goes_alone)
{
	model.window_bytes = 4096;
	say_hello();
	accept_sized(100);
	accept_sized(50000);
	accept_sized(100);
	expect_events(1, 1);
	now += 2 * MS;
	expect_nothing();
	tell(1, 0);
	expect_events(2, 1);
	now += 2 * MS;
	expect_nothing();
	tell(2, 0);
	expect_events(3, 1);
}

Test(pump, a_frame_that_was_not_queued_is_packed_again)
{
	tb_span bytes;
	say_hello();
	accept_some(2);
	cr_assert(tb_pump_next(pump, &bytes));
	accept_some(1);
	expect_events(1, 3);
}

Test(pump, goes_back_when_asked_but_not_twice_in_a_moment)
{
	say_hello();
	accept_some(4);
	expect_events(1, 4);
	accept_some(4);
	now += MS;
	expect_nothing();
	now += MS;
	expect_events(5, 4);
	tell(2, 1);
	expect_events(3, 6);
	tell(2, 1);
	now += 19 * MS;
	tell(2, 1);
	expect_nothing();
	now += MS;
	tell(2, 1);
	expect_events(3, 6);
	cr_assert_eq(figures().went_back, 2);
	tell(4, 1);
	expect_events(5, 4);
}

Test(pump, what_arrived_after_all_is_not_sent_again)
{
	model.window_frames = 1;
	say_hello();
	accept_some(10);
	expect_events(1, 10);
	accept_some(5);
	tell(2, 1);
	expect_events(3, 13);
	accept_some(1);
	expect_nothing();
	tell(12, 0);
	expect_nothing();
	cr_assert_eq(figures().frames_unconfirmed, 1);
	tell(15, 0);
	expect_events(16, 1);
	tell(16, 0);
	expect_nothing();
}

Test(pump, what_arrived_before_it_was_packed_anew_is_left_out)
{
	say_hello();
	accept_some(10);
	expect_events(1, 10);
	accept_some(5);
	tell(2, 1);
	tell(9, 0);
	expect_events(10, 6);
}

Test(pump, goes_back_when_nothing_moves_ever_more_patiently)
{
	tb_frame frame;
	say_hello();
	accept_some(4);
	expect_events(1, 4);
	uint64_t wait = 200 * MS;
	for (int i = 0; i < 6; i++) {
		uint64_t since = now;
		for (;;) {
			now = tb_pump_deadline(pump);
			cr_assert(send_next(&frame));
			if (frame.kind == TB_KIND_EVENTS)
				break;
			tell(0, 0);
		}
		cr_assert(frame.first == 1 && frame.count == 4);
		cr_assert_eq(now - since, wait);
		wait = wait * 2 < 2 * TB_NS_PER_S ? wait * 2 : 2 * TB_NS_PER_S;
	}
	cr_assert_eq(figures().went_back, 6);
}

Test(pump, says_hello_when_nobody_is_heard_for_a_second)
{
	tb_frame frame;
	say_hello();
	accept_some(1);
	uint64_t since = now;
	while (figures().granted) {
		send_next(&frame);
		now = tb_pump_deadline(pump);
		cr_assert_leq(now - since, TB_NS_PER_S + 200 * MS);
	}
	cr_assert_geq(now - since, TB_NS_PER_S);
	cr_assert(say_hello());
	expect_events(1, 1);
}

Test(pump, heartbeats_tell_the_last_number_each_second_and_ten_times_as_often_under_way)
{
	tb_frame frame;
	say_hello();
	expect_nothing();
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(tb_pump_deadline(pump), now + TB_NS_PER_S);
		now += TB_NS_PER_S;
		cr_assert(send_next(&frame));
		cr_assert(frame.kind == TB_KIND_HEARTBEAT && frame.first == 0 && frame.epoch == 1);
	}
	accept_some(2);
	expect_events(1, 2);
	now += 100 * MS;
	cr_assert(send_next(&frame));
	cr_assert(frame.kind == TB_KIND_HEARTBEAT && frame.first == 2);
	Tb__Heartbeat *beat = tb__heartbeat__unpack(NULL, frame.body.size, frame.body.data);
	cr_assert(beat && beat->last == 2 && beat->run_id.len == 16);
	cr_assert_arr_eq(beat->run_id.data, model.run_id, 16);
	tb__heartbeat__free_unpacked(beat, NULL);
}

/* What is heard */

Test(pump, another_life_of_the_broker_or_its_word_means_hello)
{
	say_hello();
	accept_some(2);
	expect_events(1, 2);
	model_restart(&model);
	tell(1, 0);
	cr_assert_eq(figures().durable, 0, "another life's numbers count only when hello confirms them");
	expect_nothing();
	now += 10 * MS;
	cr_assert(say_hello());
	expect_events(2, 1);
}

Test(pump, a_lost_connection_means_hello_at_once)
{
	say_hello();
	accept_some(2);
	expect_events(1, 2);
	model_restart(&model);
	now += TB_NS_PER_S;
	tb_pump_cut(pump);
	cr_assert(!figures().granted);
	cr_assert_eq(tb_pump_deadline(pump), now);
	cr_assert(say_hello());
	tb_pump_cut(pump);
	tb_pump_cut(pump); /* it is lost once */
	cr_assert_eq(tb_pump_deadline(pump), now + 20 * MS);
	now += 20 * MS;
	cr_assert(say_hello());
	expect_events(1, 2);
}

Test(pump, another_epoch_means_hello_and_an_older_one_nothing)
{
	say_hello();
	accept_some(2);
	expect_events(1, 2);
	model.epoch--;
	tell(2, 0);
	cr_assert(figures().granted && figures().durable == 0);
	model.epoch += 2;
	tell(2, 0);
	cr_assert(!figures().granted && figures().durable == 0);
}

Test(pump, more_than_was_accepted_is_judged_by_hello)
{
	say_hello();
	accept_some(2);
	expect_events(1, 2);
	tell(3, 0);
	cr_assert(!figures().granted && figures().durable == 0);
	now += 10 * MS;
	say_hello();
	tb_err err;
	cr_assert_eq(tb_pump_failure(pump, &err), TB_EUNSUPPORTED);
	cr_assert(strstr(err.text, "up to 3") && strstr(err.text, "up to 2") && err.hint[0]);
}

Test(pump, stored_events_are_let_go_of)
{
	say_hello();
	accept_some(20);
	expect_events(1, 20);
	model.stored = 7;
	tell(10, 0);
	cr_assert_eq(tb_outbox_first(outbox), 8);
	model.stored = 100;
	tell(12, 0);
	cr_assert_eq(tb_outbox_first(outbox), 13);
	cr_assert(figures().durable == 12 && figures().stored == 12);
}

Test(pump, what_was_cut_or_flipped_on_its_way_is_ignored)
{
	say_hello();
	accept_some(9);
	expect_events(1, 9);
	model.durable = 5;
	model_told(&model, 0, 0, &told);
	for (size_t size = 0; size < told.size; size++)
		tb_pump_heard(pump, tb_span_of(told.data, size));
	for (size_t bit = 0; bit < told.size * 8; bit++) {
		told.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		tb_pump_heard(pump, tb_buf_span(&told));
		told.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	tb_buf_byte(&told, 0);
	tb_pump_heard(pump, tb_buf_span(&told));
	cr_assert(figures().granted && figures().durable == 0);
	told.size--;
	tb_pump_heard(pump, tb_buf_span(&told));
	cr_assert_eq(figures().durable, 5);
}

/* A lossy line: messages wait for their time, some twice, some never. */
#define WAITING_MAX 4096

struct message {
	uint64_t at;
	int to_broker;
	tb_buf bytes;
};

static struct {
	struct message waiting[WAITING_MAX];
	size_t count;
	unsigned drop, twice; /* percent */
	uint64_t delay;       /* at most; messages overtake each other */
	unsigned seed;
	unsigned random;
} line;

static unsigned chance(unsigned below)
{
	line.random = line.random * 1664525u + 1013904223u;
	return (line.random >> 8) % below;
}

static void line_put(int to_broker, tb_span bytes)
{
	for (int copies = 1 + (chance(100) < line.twice); copies > 0; copies--) {
		if (chance(100) < line.drop || line.count == WAITING_MAX)
			continue;
		struct message *message = &line.waiting[line.count++];
		*message = (struct message){ now + MS / 10 + chance((unsigned)line.delay + 1), to_broker, { 0 } };
		tb_buf_append_span(&message->bytes, bytes);
	}
}

static size_t line_soonest(void)
{
	size_t soonest = 0;
	for (size_t i = 1; i < line.count; i++)
		if (line.waiting[i].at < line.waiting[soonest].at)
			soonest = i;
	return soonest;
}

static void line_deliver(void)
{
	while (line.count > 0) {
		size_t soonest = line_soonest();
		struct message message = line.waiting[soonest];
		if (message.at > now)
			return;
		memmove(&line.waiting[soonest], &line.waiting[soonest + 1],
		        (--line.count - soonest) * sizeof(struct message));
		if (!message.to_broker)
			tb_pump_heard(pump, tb_buf_span(&message.bytes));
		else if (model_event(&model, tb_buf_span(&message.bytes), &told))
			line_put(0, tb_buf_span(&told));
		tb_buf_drop(&message.bytes);
	}
}

static void lossy_hello(void)
{
	Tb__HelloRequest request;
	Tb__HelloReply reply;
	tb_err err = { 0 };
	if (!tb_pump_hello(pump, &request))
		return;
	int heard = chance(100) >= line.drop;
	if (heard)
		model_hello(&model, &request, &reply);
	if (heard && chance(100) >= line.drop)
		tb_pump_answered(pump, &reply);
	else
		tb_pump_unanswered(pump, TB_ETIMEOUT, NULL, &err);
}

/* What must hold of each frame: it follows the one before, or begins anew right behind what is durable; and the window. The
 * next number, if it follows: */
static uint64_t follows;

static void check_frame(const tb_frame *frame)
{
	tb_pump_figures all = figures();
	cr_assert_gt(frame->first, all.durable, "seed %u", line.seed);
	if (frame->first != follows)
		cr_assert_eq(frame->first, all.durable + 1, "seed %u", line.seed);
	follows = frame->first + frame->count;
	cr_assert_leq(all.frames_unconfirmed, model.window_frames, "seed %u", line.seed);
	cr_assert(all.bytes_unconfirmed <= model.window_bytes || all.frames_unconfirmed == 1, "seed %u", line.seed);
	cr_assert(frame->count == 1 || tb_frame_size(frame) <= TB_FRAME_PACKED, "seed %u", line.seed);
}

static void turn(void)
{
	tb_span bytes;
	lossy_hello();
	line_deliver();
	while (tb_pump_next(pump, &bytes)) {
		if (chance(20) == 0)
			break; /* the line is busy */
		tb_frame frame;
		tb_span rest = bytes;
		tb_frame_read(&rest, &frame, NULL);
		tb_pump_sent(pump);
		if (frame.kind == TB_KIND_EVENTS)
			check_frame(&frame);
		line_put(1, bytes);
	}
}

static void wait_for_something(void)
{
	uint64_t soonest = tb_pump_deadline(pump);
	if (line.count > 0 && line.waiting[line_soonest()].at < soonest)
		soonest = line.waiting[line_soonest()].at;
	now = soonest > now ? soonest : now + MS / 20;
}

static void deliver_all(uint64_t count, unsigned restart_one_in)
{
	for (unsigned turns = 0; arrived < count || figures().durable < count; turns++) {
		for (unsigned more = chance(40); more > 0 && tb_outbox_last(outbox) < count; more--)
			if (accept_sized(chance(50) == 0 ? 20000 : size_of(tb_outbox_last(outbox) + 1)) != TB_OK)
				break;
		turn();
		wait_for_something();
		if (restart_one_in != 0 && chance(restart_one_in) == 0)
			model_restart(&model);
		cr_assert_eq(tb_pump_failure(pump, NULL), TB_OK, "seed %u", line.seed);
		cr_assert_lt(turns, 10000000, "seed %u: stuck at %lu", line.seed, arrived);
	}
}

struct weather {
	unsigned drop, twice;
	uint64_t delay;
	uint64_t events;
	unsigned restart_one_in;
};

static const struct weather weathers[] = {
	{ 0, 0, 0, 20000, 0 },         { 0, 0, 5 * MS, 5000, 0 },     { 1, 1, 0, 10000, 0 },
	{ 10, 10, 2 * MS, 5000, 500 }, { 30, 0, 50 * MS, 3000, 0 },   { 50, 50, 300 * MS, 2000, 2000 },
	{ 80, 90, 20 * MS, 1000, 0 },  { 90, 0, 1 * MS, 600, 5000 },  { 99, 0, 10 * MS, 150, 0 },
};

Test(pump, everything_arrives_once_and_in_order_over_a_lossy_line)
{
	unsigned seed = (unsigned)getpid();
	printf("seed %u\n", seed);
	for (size_t i = 0; i < sizeof(weathers) / sizeof(weathers[0]); i++) {
		const struct weather *weather = &weathers[i];
		line.count = 0;
		line.drop = weather->drop;
		line.twice = weather->twice;
		line.delay = weather->delay;
		line.seed = line.random = seed + (unsigned)i;
		tear_down();
		set_up();
		arrived = 0;
		model.window_frames = 1 + chance(16);
		model.window_bytes = 2000 + chance(200000);
		model.stored_behind = chance(100);
		deliver_all(weather->events, weather->restart_one_in);
		cr_assert_eq(arrived, weather->events);
		for (; line.count > 0; line.count--)
			tb_buf_drop(&line.waiting[line.count - 1].bytes);
	}
}

/* Marks */

Test(pump, frames_say_what_stands_inside_a_reset)
{
	accept_some(2);
	accept_step(TB_RESET_BEGIN);
	accept_some(2);
	accept_step(TB_RESET_BEGIN);
	accept_some(1);
	accept_step(TB_RESET_COMMIT);
	accept_step(TB_RESET_COMMIT);
	accept_some(1);
	cr_assert(say_hello());
	expect_marked(1, 3, TB_EVENTS_APART);
	expect_marked(4, 2, TB_EVENTS_INSIDE);
	expect_marked(6, 1, 0);
	expect_marked(7, 2, TB_EVENTS_INSIDE);
	expect_nothing();
	now += 2 * MS;
	expect_marked(9, 2, 0);
}

Test(pump, what_an_earlier_process_accepted_inside_a_reset_is_sent_as_that_and_what_this_one_accepts_is_apart)
{
	accept_step(TB_RESET_BEGIN);
	accept_some(4);
	cr_assert(say_hello());
	model.durable = arrived = 3;
	open_again();
	expect_marked(4, 2, TB_EVENTS_INSIDE);
	accept_some(3);
	expect_nothing();
	now += 2 * MS;
	expect_marked(6, 3, TB_EVENTS_APART);
	accept_some(1);
	expect_nothing();
	now += 2 * MS;
	expect_marked(9, 1, 0);
}

Test(pump, an_outbox_that_is_damaged_while_it_is_open_ends_it)
{
	accept_some(3);
	cr_assert(say_hello());
	FILE *file = fopen(path, "r+");
	cr_assert_not_null(file);
	cr_assert_eq(fseek(file, 8192 + 24, SEEK_SET), 0);
	cr_assert_neq(fputc(0x5a, file), EOF);
	fclose(file);
	tb_frame frame;
	tb_err failure;
	cr_assert_not(send_next(&frame));
	cr_assert_eq(tb_pump_failure(pump, &failure), TB_ECORRUPT);
}
