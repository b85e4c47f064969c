/* What workers take: leases, generations, waiting. */
#include "broker_room.h"

#include <sodium.h>

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

TestSuite(broker_leases, .init = set_up, .fini = tear_down);

static struct put_by under(const struct take_by *lease)
{
	return (struct put_by){ .group = lease->group, .member = lease->member,
		                    .generation = lease->group == TB_GROUP_COLLECTOR ? lease->generations[0] : lease->generation,
		                    .stream = lease->group == TB_GROUP_COLLECTOR ? lease->streams[0] : NULL };
}

/* A stream with events 1..100 and a collector for it. */
static struct take_by make_collector(void)
{
	make_stream("book", 100);
	return lease_streams_to('c');
}

static void put_cut(const struct take_by *collector, uint64_t from, uint64_t to)
{
	struct put_by by = under(collector);
	add_cut(&frames, "book", from, to);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
}

static void order(const char *backup)
{
	struct put_by client = { 0 };
	add_order(&frames, "book", backup);
	cr_assert_eq(put_now(&client, &frames), TB_OK);
}

/* ---- groups that lease frames */

Test(broker_leases, each_frame_goes_to_one_sealer_oldest_first)
{
	struct take_by collector = make_collector();
	struct take_by e = { .group = TB_GROUP_SEALER, .member = 'e', .bytes_max = 1 }, f = e;
	f.member = 'f';
	for (uint64_t i = 0; i < 3; i++)
		put_cut(&collector, 1 + 10 * i, 10 + 10 * i);
	struct taken first = take_now(&e), second = take_now(&f), third = take_now(&e);
	cr_assert_eq(first.count + second.count + third.count, 3);
	cr_assert_lt(first.reply->leased[0]->id, second.reply->leased[0]->id);
	cr_assert_lt(second.reply->leased[0]->id, third.reply->leased[0]->id);
	cr_assert_eq(first.reply->leased[0]->attempts, 1);
	cr_assert_eq(take_now(&e).count, 0);
}

Test(broker_leases, a_silent_sealers_frames_go_to_another)
{
	struct take_by collector = make_collector(), e = { .group = TB_GROUP_SEALER, .member = 'e' }, f = e;
	f.member = 'f';
	put_cut(&collector, 1, 10);
	uint64_t id = take_now(&e).reply->leased[0]->id;
	pass_ticking(9);
	cr_assert_eq(take_now(&f).count, 0);
	pass_ticking(2);
	struct taken taken = take_now(&f);
	cr_assert_eq(taken.count, 1);
	cr_assert_eq(taken.reply->leased[0]->attempts, 2);
	struct put_by late = { .group = TB_GROUP_SEALER, .member = 'e', .finished = &id, .count = 1 };
	cr_assert_eq(put_now(&late, NULL), TB_OK); /* the first result wins */
	cr_assert(!put_was_repeated());
	late.member = 'f';
	cr_assert_eq(put_now(&late, NULL), TB_OK);
	cr_assert(put_was_repeated());
}

Test(broker_leases, a_frame_isnt_held_for_ever_by_one_who_lives)
{
	struct take_by collector = make_collector(), e = { .group = TB_GROUP_SEALER, .member = 'e' };
	put_cut(&collector, 1, 10);
	cr_assert_eq(take_now(&e).count, 1);
	for (int i = 0; i < 6; i++) {
		pass_ticking(9);
		cr_assert_eq(take_now(&e).count, 0);
	}
	pass_ticking(9);
	struct taken taken = take_now(&e);
	cr_assert_eq(taken.count, 1);
	cr_assert_eq(taken.reply->leased[0]->attempts, 2);
}

/* The chunk is made anew by its plan, but a segment's events are nowhere else. */
Test(broker_leases, a_frame_leased_five_times_without_result_is_rejected_but_a_cut_stays)
{
	struct take_by collector = make_collector();
	put_cut(&collector, 1, 10);
	struct put_by by = under(&collector);
	add_chunk(&frames, "book", 'p', 0, 100);
	put_now(&by, &frames);
	tb_frame cut = { 0 };
	for (uint32_t i = 1; i <= 5; i++) {
		struct take_by e = { .group = TB_GROUP_SEALER, .member = 'e' }; /* starts anew each time */
		struct taken taken = take_now(&e);
		cr_assert_eq(taken.count, 2);
		cr_assert_eq(taken.reply->leased[0]->attempts, i);
		cr_assert_eq(taken.reply->leased[1]->attempts, i);
		cut = taken.frames[0];
	}
	cr_assert_eq(cut.kind, TB_KIND_CUT);
	struct take_by e = { .group = TB_GROUP_SEALER, .member = 'e' }, f = { .group = TB_GROUP_SEALER, .member = 'f' };
	put_cut(&collector, 11, 20);
	struct taken taken = take_now(&e);
	cr_assert_eq(taken.count, 1);
	cr_assert_eq(taken.reply->leased[0]->attempts, 1); /* what is untired goes first */
	cr_assert_eq(take_now(&f).reply->leased[0]->attempts, 6);
	Tb__GroupStat *stat = group_stat(TB_GROUP_SEALER);
	cr_assert_eq(stat->rejected, 1);
	cr_assert_eq(stat->open, 2);
	cr_assert_eq(stat->tired, 1);
	cr_assert_eq(stat->volatile_frames, 0);
	room_reopen();
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->rejected, 1);
}

Test(broker_leases, an_answer_that_was_lost_is_handed_out_again_and_is_no_attempt)
{
	struct take_by collector = make_collector(), e = { .group = TB_GROUP_SEALER, .member = 'e', .bytes_max = 1 };
	put_cut(&collector, 1, 10);
	put_cut(&collector, 11, 20);
	uint64_t first = take_now(&e).reply->leased[0]->id;
	struct take_by lost = e;
	uint64_t second = take_now(&lost).reply->leased[0]->id;
	cr_assert_neq(first, second);
	struct taken taken = take_now(&e); /* still names the turn before */
	cr_assert_eq(taken.count, 1);
	cr_assert_eq(taken.reply->leased[0]->id, second);
	cr_assert_eq(taken.reply->leased[0]->attempts, 1);
}

/* ---- groups that lease streams */

Test(broker_leases, a_grant_is_told_after_the_commit)
{
	make_stream("book", 10);
	struct take_by by = { .group = TB_GROUP_COLLECTOR, .member = 'c' };
	int asker = take_frames(&by);
	cr_assert_eq(answered(asker), 0);
	commit();
	struct taken taken = taken_by(asker);
	cr_assert_eq(taken.reply->n_grants, 1);
	Tb__Grant *grant = taken.reply->grants[0];
	cr_assert_str_eq(grant->name, "book");
	cr_assert_eq(grant->generation, 1);
	cr_assert_eq(grant->durable, 10);
	cr_assert_eq(grant->first_held, 1);
	cr_assert_eq(taken.count, 0); /* it isn't known to it yet */
}

Test(broker_leases, a_known_grant_is_not_told_again_and_a_wrong_one_is)
{
	struct take_by by = make_collector();
	cr_assert_eq(take_now(&by).reply->n_grants, 0);
	by.generations[0]++;
	struct taken taken = take_now(&by);
	cr_assert_eq(taken.reply->n_grants, 1);
	cr_assert_eq(taken.reply->grants[0]->generation, 1); /* the same as before */
	cr_assert_eq(taken.count, 0);
}

Test(broker_leases, streams_are_shared_out_evenly)
{
	struct take_by c = { .group = TB_GROUP_COLLECTOR, .member = 'c' }, d = c;
	d.member = 'd';
	take_now(&c);
	take_now(&d);
	make_stream("a", 1);
	make_stream("b", 1);
	make_stream("c", 1);
	struct taken for_c = take_now(&c), for_d = take_now(&d);
	cr_assert_eq(for_c.reply->n_grants, 2);
	cr_assert_eq(for_d.reply->n_grants, 1);
}

Test(broker_leases, a_silent_collectors_streams_go_to_another)
{
	struct take_by c = make_collector(), d = c;
	d.member = 'd';
	struct taken taken = take_now(&d);
	cr_assert_eq(taken.reply->n_revoked, 1);
	cr_assert_eq(taken.reply->revoked[0], tb_stream_hash("book"));
	memset(d.streams, 0, sizeof(d.streams));
	d.wait_ms = 4000;
	pass_ticking(8);
	int asker = take_frames(&d);
	commit();
	cr_assert_eq(answered(asker), 0);
	pass_ticking(2); /* a waiting one is granted it as soon as it is free */
	cr_assert_eq(taken_by(asker).reply->n_grants, 1);
	cr_assert_eq(taken_by(asker).reply->grants[0]->generation, 2);
	struct put_by by = under(&c);
	by.finished_to = 10;
	cr_assert_eq(put_now(&by, NULL), TB_EFENCED);
	cr_assert_eq(take_now(&c).reply->n_revoked, 1);
}

Test(broker_leases, a_collector_that_lives_keeps_its_streams)
{
	struct take_by c = make_collector(), d = { .group = TB_GROUP_COLLECTOR, .member = 'd' };
	for (int i = 0; i < 10; i++) {
		c.nothing = 1;
		pass_ticking(9);
		cr_assert_eq(take_now(&c).reply->n_revoked, 0);
		cr_assert_eq(take_now(&d).reply->n_grants, 0);
	}
}

Test(broker_leases, holders_have_their_time_to_come_back_after_a_restart)
{
	struct take_by c = make_collector(), d = { .group = TB_GROUP_COLLECTOR, .member = 'd' };
	pass_ticking(9);
	room_reopen();
	pass_ticking(5);
	cr_assert_eq(take_now(&d).reply->n_grants, 0);
	struct taken taken = take_now(&c);
	cr_assert_eq(taken.reply->n_grants, 0);
	cr_assert_eq(taken.reply->n_revoked, 0);
}

Test(broker_leases, events_come_from_the_number_asked_for)
{
	make_stream("book", 10);
	for (uint64_t i = 11; i <= 40; i += 10)
		publish("book", 1, i, 10);
	commit();
	struct take_by c = lease_streams_to('c');
	c.nexts[0] = 15;
	struct taken taken = take_now(&c);
	cr_assert_eq(taken.count, 3);
	cr_assert_eq(taken.frames[0].first, 11);
	cr_assert_eq(taken.frames[2].first, 31);
	cr_assert_eq(taken.reply->leased[0]->id, 0);
	taken = take_now(&c); /* they aren't leased: asked for again they come again */
	cr_assert_eq(taken.count, 3);
	c.nexts[0] = 41;
	cr_assert_eq(take_now(&c).count, 0);
}

Test(broker_leases, orders_come_first_and_events_in_turns)
{
	make_stream("a", 10);
	make_stream("b", 10);
	struct take_by c = lease_streams_to('c');
	struct put_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' }, client = { 0 };
	for (uint64_t i = 11; i <= 30; i += 10) {
		publish("a", 1, i, 10);
		publish("b", 1, i, 10);
	}
	add_bytes(&frames, TB_KIND_SEALED, "a", 0);
	cr_assert_eq(put_now(&sealer, &frames), TB_OK);
	add_order(&frames, "b", "FUL_1");
	cr_assert_eq(put_now(&client, &frames), TB_OK);
	struct taken taken = take_now(&c);
	cr_assert_eq(taken.count, 8);
	cr_assert_eq(taken.frames[0].kind, TB_KIND_ORDER);
	cr_assert_eq(taken.frames[1].kind, TB_KIND_SEALED);
	for (size_t i = 2; i < 8; i++)
		cr_assert_eq(taken.frames[i].stream, tb_stream_hash(i % 2 ? "b" : "a"));
	c.bytes_max = 1000;
	taken = take_now(&c);
	cr_assert_eq(taken.count, 3); /* 288 bytes each; what was handed out isn't again */
}

Test(broker_leases, frames_of_a_stream_are_handed_out_once_a_generation)
{
	struct take_by c = make_collector();
	c.nexts[0] = 101;
	order("FUL_1");
	cr_assert_eq(take_now(&c).count, 1);
	cr_assert_eq(take_now(&c).count, 0);
	c = lease_streams_to('c');
	c.nexts[0] = 101;
	struct taken taken = take_now(&c);
	cr_assert_eq(taken.count, 1);
	cr_assert_eq(taken.reply->leased[0]->attempts, 2);
}

Test(broker_leases, what_a_lost_answer_bore_comes_again)
{
	struct take_by c = make_collector();
	c.nexts[0] = 101;
	order("FUL_1");
	struct take_by lost = c;
	uint64_t id = take_now(&lost).reply->leased[0]->id;
	struct taken taken = take_now(&c);
	cr_assert_eq(taken.count, 1);
	cr_assert_eq(taken.reply->leased[0]->id, id);
	cr_assert_eq(taken.reply->leased[0]->attempts, 1);
	cr_assert_eq(take_now(&c).count, 0);
}

Test(broker_leases, a_frame_of_another_stream_is_not_put_under_this_lease)
{
	struct take_by c = make_collector();
	make_stream("tape", 10);
	struct put_by by = under(&c);
	add_cut(&frames, "tape", 1, 10);
	cr_assert_eq(put_now(&by, &frames), TB_EINVAL);
}

/* ---- groups that are leased as a whole */

Test(broker_leases, one_storer_holds_the_group_and_others_stand_by)
{
	make_stream("book", 10);
	struct put_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	struct take_by s = lease_group_to(TB_GROUP_STORER, 's'), t = { .group = TB_GROUP_STORER, .member = 't' };
	for (int i = 0; i < 3; i++)
		add_bytes(&frames, TB_KIND_OBJECT, "book", 100);
	cr_assert_eq(put_now(&sealer, &frames), TB_OK);
	struct taken taken = take_now(&t);
	cr_assert_eq(taken.count, 0);
	cr_assert_eq(taken.reply->generation, 0);
	taken = take_now(&s);
	cr_assert_eq(taken.count, 3);
	cr_assert_eq(taken.reply->generation, 1);
	cr_assert_lt(taken.reply->leased[0]->id, taken.reply->leased[1]->id);
	cr_assert_eq(take_now(&s).count, 0); /* once a generation */
	pass_ticking(11);
	taken = take_now(&t);
	cr_assert_eq(taken.reply->generation, 2);
	cr_assert_eq(take_now(&t).count, 3);
	cr_assert_eq(take_now(&s).reply->generation, 0);
}

Test(broker_leases, a_storer_that_started_anew_gets_a_new_generation)
{
	make_stream("book", 10);
	struct put_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	struct take_by s = lease_group_to(TB_GROUP_STORER, 's');
	add_bytes(&frames, TB_KIND_OBJECT, "book", 100);
	cr_assert_eq(put_now(&sealer, &frames), TB_OK);
	cr_assert_eq(take_now(&s).count, 1);
	s = lease_group_to(TB_GROUP_STORER, 's');
	cr_assert_eq(s.generation, 2);
	struct taken taken = take_now(&s);
	cr_assert_eq(taken.count, 1);
	cr_assert_eq(taken.reply->leased[0]->attempts, 2);
}

Test(broker_leases, a_storers_lost_answer_comes_again)
{
	make_stream("book", 10);
	struct put_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	struct take_by s = lease_group_to(TB_GROUP_STORER, 's');
	s.bytes_max = 1;
	for (int i = 0; i < 3; i++)
		add_bytes(&frames, TB_KIND_OBJECT, "book", 100);
	put_now(&sealer, &frames);
	uint64_t first = take_now(&s).reply->leased[0]->id;
	struct take_by lost = s;
	uint64_t second = take_now(&lost).reply->leased[0]->id;
	cr_assert_eq(take_now(&s).reply->leased[0]->id, second);
	cr_assert_gt(take_now(&s).reply->leased[0]->id, second);
	cr_assert_lt(first, second);
}

Test(broker_leases, the_group_is_asked_for_once_only_by_a_waiting_one)
{
	struct take_by by = { .group = TB_GROUP_STORER, .member = 's', .wait_ms = 3000 };
	int asker = take_frames(&by);
	commit();
	cr_assert_eq(taken_by(asker).reply->generation, 1);
	by.generation = 1;
	asker = take_frames(&by);
	commit();
	cr_assert_eq(answered(asker), 0);
	make_stream("book", 10);
	cr_assert_eq(answered(asker), 0);
	struct put_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	add_bytes(&frames, TB_KIND_OBJECT, "book", 100);
	put_now(&sealer, &frames);
	cr_assert_eq(taken_by(asker).count, 1);
}

/* ---- waiting */

Test(broker_leases, a_waiting_take_is_answered_by_a_later_commit)
{
	struct take_by c = make_collector();
	c.nexts[0] = 101;
	c.wait_ms = 3000;
	int asker = take_frames(&c);
	commit();
	cr_assert_eq(answered(asker), 0);
	publish("book", 1, 101, 5);
	cr_assert_eq(answered(asker), 0);
	commit();
	cr_assert_eq(taken_by(asker).count, 1);
	cr_assert_eq(taken_by(asker).frames[0].first, 101);
}

Test(broker_leases, a_waiting_take_is_answered_when_its_time_is_over)
{
	struct take_by c = make_collector();
	c.nexts[0] = 101;
	c.wait_ms = 3000;
	int asker = take_frames(&c);
	commit();
	pass(2999 * TB_NS_PER_MS);
	tick();
	cr_assert_eq(answered(asker), 0);
	pass(TB_NS_PER_MS);
	tick();
	expect_code(taken_by(asker).reply->status, TB_OK);
	cr_assert_eq(taken_by(asker).count, 0);
}

Test(broker_leases, nobody_waits_longer_than_keeps_its_lease)
{
	struct take_by c = make_collector();
	c.nexts[0] = 101;
	c.wait_ms = 60000;
	int asker = take_frames(&c);
	pass_ticking(5);
	cr_assert_eq(answered(asker), 1);
}

Test(broker_leases, who_asks_anew_gives_up_the_request_before)
{
	struct take_by c = make_collector();
	c.nexts[0] = 101;
	c.wait_ms = 3000;
	int before = take_frames(&c), after = take_frames(&c);
	publish("book", 1, 101, 5);
	commit();
	cr_assert_eq(taken_by(before).count, 0);
	cr_assert_eq(taken_by(after).count, 1);
}

Test(broker_leases, a_renewal_is_answered_at_once_and_brings_nothing)
{
	struct take_by c = make_collector();
	c.wait_ms = 3000;
	c.nothing = 1;
	int asker = take_frames(&c);
	cr_assert_eq(answered(asker), 1);
	cr_assert_eq(taken_by(asker).count, 0);
}

Test(broker_leases, the_period_is_told_to_who_does_not_have_it)
{
	struct put_by client = { 0 };
	tb_frame_write(&frames, &(tb_frame){ .kind = TB_KIND_PERIOD, .count = 1, .body = tb_span_text("the signed record") });
	cr_assert_eq(put_now(&client, &frames), TB_OK);
	struct take_by e = { .group = TB_GROUP_SEALER, .member = 'e' };
	struct taken taken = take_now(&e);
	cr_assert_eq(taken.reply->period.len, 17);
	Tb__TakeRequest request = TB__TAKE_REQUEST__INIT;
	uint8_t hash[32];
	crypto_generichash(hash, 32, taken.reply->period.data, 17, NULL, 0);
	request.group = TB_GROUP_SEALER;
	request.member = id16('e');
	request.period_known = binary(hash, 32);
	int asker = send_request(TB_KIND_TAKE, &request.base, (tb_span){ 0 });
	cr_assert_eq(taken_by(asker).reply->period.len, 0);
}

Test(broker_leases, a_take_without_group_or_member_is_invalid)
{
	Tb__TakeRequest request = TB__TAKE_REQUEST__INIT;
	request.member = id16('e');
	expect_code(taken_by(send_request(TB_KIND_TAKE, &request.base, (tb_span){ 0 })).reply->status, TB_EINVAL);
	request.group = 99;
	expect_code(taken_by(send_request(TB_KIND_TAKE, &request.base, (tb_span){ 0 })).reply->status, TB_EINVAL);
	request.group = TB_GROUP_SEALER;
	request.member = binary("short", 5);
	expect_code(taken_by(send_request(TB_KIND_TAKE, &request.base, (tb_span){ 0 })).reply->status, TB_EINVAL);
}
