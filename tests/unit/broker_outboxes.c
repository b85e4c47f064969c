#include "unit/broker_room.h"

TestSuite(broker_outboxes, .init = room_begin, .fini = room_end);

static uint64_t epoch, last; /* of the stream */
static uint8_t journal[16];

/* An opening: what the outbox says of itself. Numbers are places + shift. */
struct opening {
	char outbox;
	uint64_t epoch;
	uint64_t first, last; /* places held */
	uint64_t shift, ground, delivered;
	int journal; /* it knows this broker's journal */
};

static int ask_for(const struct opening *opening)
{
	Tb__HelloRequest request = TB__HELLO_REQUEST__INIT;
	request.stream = (char *)(uintptr_t) "book";
	request.outbox = id16(opening->outbox);
	request.epoch = opening->epoch;
	request.first = opening->first <= opening->last ? opening->first + opening->shift : 0;
	request.last = opening->last + opening->shift;
	request.take_over = 1;
	request.shift = opening->shift;
	request.ground = opening->ground;
	request.delivered = opening->delivered;
	request.renewal = id16('R');
	if (opening->journal)
		request.journal_id = binary(journal, 16);
	return send_request(TB_KIND_HELLO, &request.base, (tb_span){ 0 });
}

static int open_outbox(const struct opening *opening)
{
	int asker = ask_for(opening);
	commit();
	return asker;
}

static void expect_terms(const struct opening *opening, uint64_t first, uint64_t place, int renewed)
{
	Tb__HelloReply *reply = hello_reply(open_outbox(opening));
	expect_code(reply->status, TB_OK);
	epoch = reply->epoch;
	memcpy(journal, reply->journal_id.data, sizeof(journal));
	cr_assert(reply->first == first && reply->place == place && reply->renewed == renewed, "%lu at %lu, %d", reply->first,
	          reply->place, reply->renewed);
}

static void expect_refused(const struct opening *opening, tb_rc rc, const char *text)
{
	Tb__HelloReply *reply = hello_reply(open_outbox(opening));
	expect_code(reply->status, rc);
	cr_assert(strstr(reply->status->text, text), "%s", reply->status->text);
}

/* So many more events, of the present epoch. */
static void go_on(uint32_t count)
{
	publish("book", epoch, last + 1, count);
	commit();
	last += count;
	cr_assert_eq(told("book")->durable, last);
}

Test(broker_outboxes, one_that_was_never_answered_begins_behind_the_stream_wherever_it_numbered_itself)
{
	make_stream("book", 10);
	expect_terms(&(struct opening){ .outbox = 'p', .first = 1, .last = 7 }, 11, 1, 0);
	expect_terms(&(struct opening){ .outbox = 'q', .first = 1, .last = 40 }, 11, 1, 0);
	expect_terms(&(struct opening){ .outbox = 'r', .first = 1, .last = 0 }, 11, 1, 0);
}

Test(broker_outboxes, what_came_of_each_is_known_over_openings_lives_and_files)
{
	struct opening o = { .outbox = 'o', .first = 1, .last = 8 }, p = { .outbox = 'p', .first = 1, .last = 9 };
	expect_terms(&o, 1, 1, 0);
	go_on(6);
	expect_terms(&p, 7, 1, 0);
	go_on(4);
	o.ground = o.last = 8;
	expect_terms(&o, 11, 7, 0);
	go_on(1);
	p.ground = 9;
	expect_terms(&p, 12, 5, 0);
	room_reopen();
	expect_terms(&p, 12, 5, 0);
	go_on(2);
	expect_terms(&o, 14, 8, 0);
	room.options.journal.file_size = 4096;
	room_reopen();
	expect_terms(&o, 14, 8, 0);
	for (int i = 0; i < 40; i++) /* checkpoints */
		go_on(1);
	room_reopen();
	o.ground = o.last = 60;
	expect_terms(&o, 54, 48, 0);
	expect_terms(&p, 54, 7, 0);
}

Test(broker_outboxes, nothing_is_lost_when_an_answer_was)
{
	struct opening o = { .outbox = 'o', .first = 1, .last = 8 };
	expect_terms(&o, 1, 1, 0);
	expect_terms(&o, 1, 1, 0);
	go_on(3);
	o.ground = 5;
	expect_terms(&o, 4, 4, 0);
	expect_terms(&o, 4, 4, 0);
}

Test(broker_outboxes, an_older_copy_gets_another_id_and_what_it_accepted_since_is_all_new)
{
	struct opening o = { .outbox = 'o', .first = 1, .last = 20 };
	expect_terms(&o, 1, 1, 0);
	go_on(20);
	o.last = o.ground = 12;
	expect_terms(&o, 21, 13, 1);
	o.last = 15; /* accepted before the answer came, which was lost */
	expect_terms(&o, 21, 13, 1);
	go_on(2);
	struct opening renewed = { .outbox = 'R', .first = 13, .last = 15, .shift = 8, .ground = 15 };
	expect_terms(&renewed, 23, 15, 0);
	expect_terms(&o, 23, 13, 1);
}

Test(broker_outboxes, what_was_forgotten_behind_many_others_is_not_guessed)
{
	struct opening o = { .outbox = 'o', .first = 1, .last = 8 };
	expect_terms(&o, 1, 1, 0);
	go_on(6);
	for (char other = 'A'; other < 'A' + 40; other++)
		if (other != 'R')
			expect_terms(&(struct opening){ .outbox = other, .first = 1, .last = 0 }, 7, 1, 0);
	o = (struct opening){ .outbox = 'o', .epoch = 1, .first = 1, .last = 9, .ground = 8, .delivered = 6, .journal = 1 };
	expect_refused(&o, TB_EUNSUPPORTED, "numbered 7..8");
	o.delivered = 8;
	expect_terms(&o, 7, 9, 0);
}

Test(broker_outboxes, numbers_stay_when_the_journal_is_lost)
{
	struct opening o = { .outbox = 'o', .epoch = 9, .first = 1, .last = 8, .ground = 8, .delivered = 8 };
	expect_terms(&o, 1, 1, 0);
	go_on(5);
	struct opening p = { .outbox = 'p', .epoch = 4, .first = 3, .last = 8, .ground = 7, .delivered = 2, .shift = 1 };
	expect_refused(&p, TB_EUNSUPPORTED, "numbered 4..5");
	p.delivered = 4;
	expect_terms(&p, 6, 5, 0);
	struct opening q = { .outbox = 'q', .epoch = 4, .first = 9, .last = 9, .ground = 9, .delivered = 9 };
	expect_refused(&q, TB_EUNSUPPORTED, "events 6..8 of stream book are held by nobody");
}

Test(broker_outboxes, numbers_that_make_no_sense_are_refused)
{
	struct opening o = { .outbox = 'o', .first = 1, .last = 8, .ground = 9 };
	expect_refused(&o, TB_EINVAL, "no sense");
	o = (struct opening){ .outbox = 'o', .first = 10, .last = 8 };
	expect_terms(&(struct opening){ .outbox = 'o', .first = 1, .last = 0 }, 1, 1, 0);
	o = (struct opening){ .outbox = 'o', .first = 0, .last = 8, .shift = 5 };
	expect_refused(&o, TB_EINVAL, "no sense");
	o = (struct opening){ .outbox = 'o', .first = 1, .last = UINT64_MAX / 2 };
	expect_refused(&o, TB_EINVAL, "no sense");
	o = (struct opening){ .outbox = 'o', .first = 1, .last = 1, .ground = 1, .delivered = UINT64_MAX };
	expect_refused(&o, TB_EINVAL, "no sense");
}

Test(broker_outboxes, of_two_that_open_at_the_same_moment_only_the_later_one_is_let_in)
{
	make_stream("book", 10);
	int former = ask_for(&(struct opening){ .outbox = 'p', .first = 1, .last = 2 });
	int later = ask_for(&(struct opening){ .outbox = 'q', .first = 1, .last = 2 });
	commit();
	expect_code(hello_reply(later)->status, TB_OK);
	Tb__HelloReply *reply = hello_reply(former);
	expect_code(reply->status, TB_EFENCED);
	cr_assert_eq(reply->window_frames, 0);
}

Test(broker_outboxes, who_is_fenced_is_told_how_far_its_own_events_have_come)
{
	expect_terms(&(struct opening){ .outbox = 'o', .first = 1, .last = 8 }, 1, 1, 0);
	uint64_t own = epoch;
	go_on(6);
	expect_terms(&(struct opening){ .outbox = 'p', .first = 1, .last = 8 }, 7, 1, 0);
	go_on(3);
	Tb__HelloRequest request = TB__HELLO_REQUEST__INIT;
	request.stream = (char *)(uintptr_t) "book";
	request.outbox = id16('o');
	request.renewal = id16('R');
	request.epoch = own;
	request.first = 1;
	request.last = request.ground = 8;
	int asker = send_request(TB_KIND_HELLO, &request.base, (tb_span){ 0 });
	commit();
	Tb__HelloReply *reply = hello_reply(asker);
	expect_code(reply->status, TB_EFENCED);
	cr_assert_eq(reply->durable, 6);
}
