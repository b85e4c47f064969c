#include "loop_room.h"

#include <sodium.h>

TestSuite(loop, .fini = loop_end);

/* ---- what workers do here */

static tb_rc put_durable(tb_turn *now, const tb_frame *frame, uint64_t id, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	tb_frame_write(&frames, &(tb_frame){ .kind = TB_KIND_OBJECT, .count = 1, .stream = frame->stream });
	tb_put put = { .frames = tb_buf_span(&frames), .finished = &id, .finished_count = 1 };
	if (it.worker.group == TB_GROUP_COLLECTOR)
		put.stream = frame->stream;
	return tb_turn_put(now, &put, err);
}

static tb_rc put_volatile(tb_turn *now, const tb_frame *frame, uint64_t id, tb_err *err)
{
	(void)frame, (void)err;
	tb_put put = { .finished = &id, .finished_count = 1 };
	tb_turn_put_volatile(now, &put, NULL);
	cr_assert(tb_turn_waits(now));
	return TB_OK;
}

static tb_rc fail_behind_effects(tb_turn *now, const tb_frame *frame, uint64_t id, tb_err *err)
{
	tb_db db;
	must(put_durable(now, frame, id, err));
	must(tb_txn_db(now->txn, "effects", &db, err));
	must(tb_txn_put(now->txn, db, tb_span_text("a"), tb_span_text("1"), err));
	return tb_fail(err, TB_EIO, "the worker fails");
}

static tb_rc lose_the_broker(tb_turn *now, const tb_frame *frame, uint64_t id, tb_err *err)
{
	(void)now, (void)frame, (void)id;
	return tb_fail(err, TB_ETIMEOUT, "a request of the worker's own got no answer");
}

static tb_rc reject_it(tb_turn *now, const tb_frame *frame, uint64_t id, tb_err *err)
{
	return tb_turn_reject(now, frame, id, NULL, "it can't be right", err);
}

static tb_rc reject_under_lease(tb_turn *now, const tb_frame *frame, uint64_t id, tb_err *err)
{
	tb_put under = { .stream = frame->stream, .finished_to = 40 };
	return tb_turn_reject(now, frame, id, &under, "it can't be right", err);
}

static void grant(const char *name, uint64_t stream, uint64_t generation)
{
	tb__grant__init(&broker.grant);
	broker.grant.name = (char *)(uintptr_t)name;
	broker.grant.stream = stream;
	broker.grant.generation = generation;
	broker.grants[0] = &broker.grant;
	broker.reply.grants = broker.grants;
	broker.reply.n_grants = 1;
}

/* ---- opening */

Test(loop, a_member_keeps_its_id)
{
	loop_begin(TB_GROUP_SEALER, 1);
	uint8_t member[TB_MEMBER];
	memcpy(member, room.env.member, TB_MEMBER);
	loop_restart();
	cr_assert_arr_eq(room.env.member, member, TB_MEMBER);
	must(turn());
	cr_assert_eq(broker.take->member.len, TB_MEMBER);
	cr_assert_arr_eq(broker.take->member.data, member, TB_MEMBER);
}

Test(loop, a_worker_that_can_not_be_opened_opens_no_loop)
{
	loop_begin(TB_GROUP_SEALER, 1);
	loop_close();
	it.opens = TB_EKEY;
	cr_assert_eq(tb_loop_open(&it.worker, &room.env, -1, &it.loop, &room.err), TB_EKEY);
	cr_assert_null(it.loop);
}

/* ---- a turn */

Test(loop, the_worker_hears_of_streams_that_go_then_of_those_that_come_then_of_frames)
{
	loop_begin(TB_GROUP_COLLECTOR, 0);
	broker.revoked = 9;
	broker.reply.revoked = &broker.revoked;
	broker.reply.n_revoked = 1;
	grant("book", 5, 3);
	hand_out(77, 10);
	must(turn());
	cr_assert_str_eq(did(), "revoked 9; granted book; handle 77; tick; ");
}

Test(loop, nothing_ticks_before_the_broker_is_known)
{
	loop_begin(TB_GROUP_SEALER, 1);
	broker.silence = TB_EUNREACHABLE;
	must(turn());
	cr_assert_str_eq(did(), "");
	broker.silence = TB_OK;
	must(turn());
	cr_assert_str_eq(did(), "tick; ");
	broker.silence = TB_ETIMEOUT;
	must(turn());
	cr_assert_str_eq(did(), "tick; ", "time goes on also without a broker");
}

Test(loop, a_turn_that_fails_has_no_effect_and_its_answer_counts_as_lost)
{
	loop_begin(TB_GROUP_SEALER, 0);
	hand_out(77, 10);
	broker.reply.turn = 12;
	it.handle = fail_behind_effects;
	cr_assert_eq(turn(), TB_EIO);
	cr_assert_eq(room.put_count, 0);
	tb_txn *txn;
	tb_db db;
	must(tb_bank_read(room.env.bank, &txn, &room.err));
	cr_assert_eq(tb_txn_db(txn, "effects", &db, &room.err), TB_ENOTFOUND);
	tb_txn_abort(txn);
	it.handle = NULL;
	must(turn());
	cr_assert_eq(broker.take->turn, 0);
	must(turn());
	cr_assert_eq(broker.take->turn, 12);
	cr_assert_eq(puts_of_work(), 0);
}

Test(loop, an_answer_with_fewer_frames_than_it_says_is_damage)
{
	loop_begin(TB_GROUP_SEALER, 1);
	hand_out(77, 10);
	tb_buf_clear(&broker.frames);
	cr_assert_eq(turn(), TB_ECORRUPT);
	cr_assert_str_eq(did(), "");
}

Test(loop, what_the_broker_refuses_to_hand_out_ends_the_worker)
{
	loop_begin(TB_GROUP_SEALER, 1);
	Tb__Status status = TB__STATUS__INIT;
	status.code = TB_EINVAL;
	broker.reply.status = &status;
	cr_assert_eq(turn(), TB_EINVAL);
}

Test(loop, a_frame_that_is_wrong_is_finished_and_its_beginning_kept_as_a_reject)
{
	loop_begin(TB_GROUP_SEALER, 1);
	hand_out(77, TB_FRAME_PACKED + 1);
	it.handle = reject_it;
	must(turn());
	const struct noted_frame *reject = noted_at(TB_KIND_REJECT, 0);
	cr_assert_not_null(reject);
	cr_assert_eq(reject->frame.body.size, TB_FRAME_PACKED);
	cr_assert_eq(reject->frame.stream, 5);
	cr_assert(was_finished(77));
}

Test(loop, a_reject_goes_out_with_what_is_done_under_the_lease)
{
	loop_begin(TB_GROUP_COLLECTOR, 0);
	grant("book", 5, 3);
	hand_out(77, 10);
	it.handle = reject_under_lease;
	must(turn());
	cr_assert_eq(noted_count(TB_KIND_REJECT), 1);
	cr_assert_eq(room.puts[0]->stream, 5);
	cr_assert_eq(room.puts[0]->generation, 3);
	cr_assert_eq(room.puts[0]->finished_to, 40);
	cr_assert(was_finished(77));
}

/* ---- journals and runs */

Test(loop, an_answer_without_a_journal_or_a_run_is_refused)
{
	loop_begin(TB_GROUP_SEALER, 1);
	broker.reply.journal_id.len = 15;
	cr_assert_eq(turn(), TB_EINVAL);
	broker.reply.journal_id.len = 16;
	broker.reply.run_id.len = 0;
	cr_assert_eq(turn(), TB_EINVAL);
}

Test(loop, a_bank_that_counts_is_not_carried_over_to_another_journal)
{
	loop_begin(TB_GROUP_STORER, 0);
	must(turn());
	cr_assert_eq(broker.take->journal_id.len, 0);
	loop_restart();
	must(turn());
	cr_assert_eq(broker.take->journal_id.len, 16);
	cr_assert_arr_eq(broker.take->journal_id.data, JOURNAL, 16);
	broker.reply.journal_id = binary(OTHER_JOURNAL, 16);
	cr_assert_eq(turn(), TB_EUNSUPPORTED);
	cr_assert_neq(room.err.hint[0], '\0');
}

Test(loop, a_stateless_worker_goes_on_with_another_journal_and_forgets_what_was_for_the_old_one)
{
	loop_begin(TB_GROUP_SEALER, 1);
	hand_out(77, 10);
	it.handle = put_durable;
	room.answer = TB_EFULL;
	must(turn());
	hand_out_nothing();
	room.answer = TB_OK;
	pass(TB_NS_PER_S);
	broker.reply.journal_id = binary(OTHER_JOURNAL, 16);
	must(turn());
	cr_assert_eq(puts_of_work(), 0);
	cr_assert_eq(broker.take->journal_id.len, 0, "it is of any journal");
}

Test(loop, the_worker_is_told_when_the_broker_was_restarted)
{
	loop_begin(TB_GROUP_COLLECTOR, 0);
	must(turn());
	must(turn());
	cr_assert_str_eq(did(), "tick; ");
	broker.reply.run_id = binary("a later run.....", 16);
	must(turn());
	cr_assert_str_eq(did(), "restarted; tick; ");
	must(turn());
	cr_assert_str_eq(did(), "tick; ");
}

/* ---- leases and the period */

Test(loop, puts_go_out_under_the_groups_generation_and_stay_back_while_another_holds_it)
{
	loop_begin(TB_GROUP_STORER, 0);
	hand_out(77, 10);
	it.handle = put_durable;
	must(turn());
	cr_assert_eq(puts_of_work(), 0);
	hand_out_nothing();
	broker.reply.generation = 4;
	must(turn());
	cr_assert_eq(puts_of_work(), 1);
	cr_assert_eq(room.puts[0]->generation + room.puts[1]->generation, 4);
	must(turn());
	cr_assert_eq(broker.take->generation, 4);
}

Test(loop, who_is_fenced_from_the_group_asks_for_it_anew_after_a_while)
{
	loop_begin(TB_GROUP_STORER, 0);
	broker.reply.generation = 4;
	hand_out(77, 10);
	it.handle = put_durable;
	room.answer = TB_EFENCED;
	must(turn());
	hand_out_nothing();
	room.answer = TB_OK;
	broker.reply.generation = 6;
	must(turn());
	cr_assert_eq(broker.take->generation, 0);
	cr_assert_eq(broker.take->wait_ms, 100, "the next try's time is waited for");
	cr_assert_eq(puts_of_work(), 0);
	pass(100 * TB_NS_PER_MS);
	must(turn());
	cr_assert_eq(puts_of_work(), 1);
	cr_assert(was_finished(77));
}

Test(loop, the_worker_is_told_of_a_stream_that_it_was_fenced_from)
{
	loop_begin(TB_GROUP_COLLECTOR, 0);
	grant("book", 5, 3);
	hand_out(77, 10);
	it.handle = put_durable;
	room.answer = TB_EFENCED;
	must(turn());
	cr_assert_str_eq(did(), "granted book; handle 77; tick; refused 5; ");
}

Test(loop, the_period_is_kept_and_the_next_take_names_it)
{
	loop_begin(TB_GROUP_SEALER, 1);
	must(turn());
	cr_assert_eq(broker.take->period_known.len, 0);
	broker.reply.period = binary("a period's record", 17);
	must(turn());
	broker.reply.period.len = 0;
	must(turn());
	uint8_t hash[32];
	crypto_generichash(hash, sizeof(hash), (const uint8_t *)"a period's record", 17, NULL, 0);
	cr_assert_eq(broker.take->period_known.len, 32);
	cr_assert_arr_eq(broker.take->period_known.data, hash, 32);
}

/* ---- puts that can't be now */

static void expect_another_try_after_a_while(tb_rc refusal)
{
	loop_begin(TB_GROUP_SEALER, 1);
	hand_out(77, 10);
	it.handle = put_durable;
	room.answer = refusal;
	must(turn());
	hand_out_nothing();
	room.answer = TB_OK;
	must(turn());
	cr_assert_eq(puts_of_work(), 0);
	pass(100 * TB_NS_PER_MS);
	must(turn());
	cr_assert_eq(puts_of_work(), 1);
}

Test(loop, what_the_broker_is_too_full_for_is_put_again_after_a_while)
{
	expect_another_try_after_a_while(TB_EFULL);
}

Test(loop, what_the_brokers_disk_has_no_room_for_is_put_again_after_a_while)
{
	expect_another_try_after_a_while(TB_ENOSPACE);
}

Test(loop, what_the_broker_is_too_busy_for_is_put_again_after_a_while)
{
	expect_another_try_after_a_while(TB_EBUSY);
}

static void expect_another_try_at_once(tb_rc silence)
{
	loop_begin(TB_GROUP_SEALER, 1);
	hand_out(77, 10);
	it.handle = put_durable;
	room.answer = silence;
	must(turn());
	hand_out_nothing();
	room.answer = TB_OK;
	must(turn());
	cr_assert_eq(puts_of_work(), 1);
	cr_assert(was_finished(77));
}

Test(loop, a_put_that_got_no_answer_is_put_again)
{
	expect_another_try_at_once(TB_ETIMEOUT);
}

Test(loop, a_put_that_nobody_was_there_for_is_put_again)
{
	expect_another_try_at_once(TB_EUNREACHABLE);
}

Test(loop, a_put_that_a_signal_interrupted_is_put_again)
{
	expect_another_try_at_once(TB_EINTERRUPTED);
}

Test(loop, a_put_that_the_broker_finds_damaged_ends_the_worker)
{
	loop_begin(TB_GROUP_SEALER, 1);
	hand_out(77, 10);
	it.handle = put_durable;
	room.answer = TB_ECORRUPT;
	cr_assert_eq(turn(), TB_ECORRUPT);
}

Test(loop, who_leases_frames_takes_none_while_what_it_made_of_the_last_waits)
{
	loop_begin(TB_GROUP_SEALER, 1);
	hand_out(77, 10);
	it.handle = put_volatile;
	room.answer = TB_EFULL;
	must(turn());
	cr_assert_eq(broker.takes, 1);
	must(turn());
	cr_assert_eq(broker.takes, 1);
	pass(100 * TB_NS_PER_MS);
	room.answer = TB_OK;
	must(turn());
	cr_assert_eq(broker.takes, 1);
	cr_assert_eq(puts_of_work(), 1);
	must(turn());
	cr_assert_eq(broker.takes, 2);
}

Test(loop, who_is_held_up_hears_that_it_shall_end)
{
	loop_begin(TB_GROUP_SEALER, 1);
	hand_out(77, 10);
	it.handle = put_volatile;
	room.answer = TB_EFULL;
	must(turn());
	signal_end();
	must(turn());
	cr_assert(tb_loop_stopped(it.loop));
	cr_assert_str_eq(did(), "woken; ");
}

/* ---- interruptions */

Test(loop, a_signal_ends_the_loop_and_other_events_only_wake_the_worker)
{
	loop_begin(TB_GROUP_SEALER, 1);
	must(turn());
	broker.silence = TB_EINTERRUPTED;
	must(turn());
	cr_assert_str_eq(did(), "woken; tick; ");
	cr_assert_not(tb_loop_stopped(it.loop));
	signal_end();
	must(turn());
	cr_assert(tb_loop_stopped(it.loop));
}

Test(loop, a_stateless_worker_goes_on_when_a_request_of_its_own_got_no_answer)
{
	loop_begin(TB_GROUP_SEALER, 1);
	hand_out(77, 10);
	broker.reply.turn = 12;
	it.handle = lose_the_broker;
	signal_end();
	must(turn());
	cr_assert(tb_loop_stopped(it.loop), "a signal may have been why");
	must(turn());
	cr_assert_eq(broker.take->turn, 0, "the frame comes again");
}

Test(loop, a_worker_with_state_ends_when_a_request_of_its_own_got_no_answer)
{
	loop_begin(TB_GROUP_STORER, 0);
	hand_out(77, 10);
	it.handle = lose_the_broker;
	cr_assert_eq(turn(), TB_ETIMEOUT);
}

/* ---- health and waiting */

Test(loop, health_is_told_once_a_second_with_what_the_worker_says)
{
	loop_begin(TB_GROUP_SEALER, 1);
	hand_out(77, 10);
	must(turn());
	must(turn());
	cr_assert_eq(noted_count(TB_KIND_HEALTH), 1);
	const Tb__Health *health = message_of(noted_at(TB_KIND_HEALTH, 0), &tb__health__descriptor);
	cr_assert_str_eq(health->role, "scripted");
	cr_assert_str_eq(health->state, "healthy");
	cr_assert_str_eq(health->detail, "as the worker says");
	cr_assert_eq(health->handled, 1);
	cr_assert_eq(health->pid, (uint64_t)getpid());
	pass(TB_NS_PER_S);
	must(turn());
	cr_assert_eq(noted_count(TB_KIND_HEALTH), 2);
}

Test(loop, a_signal_while_health_is_told_is_heard)
{
	loop_begin(TB_GROUP_SEALER, 1);
	room.answer = TB_EINTERRUPTED;
	signal_end();
	must(turn());
	cr_assert(tb_loop_stopped(it.loop));
}

Test(loop, nobody_is_told_health_while_nobody_answers)
{
	loop_begin(TB_GROUP_SEALER, 1);
	broker.silence = TB_EUNREACHABLE;
	must(turn());
	cr_assert_eq(noted_count(TB_KIND_HEALTH), 0);
	broker.silence = TB_OK;
	must(turn());
	cr_assert_eq(noted_count(TB_KIND_HEALTH), 1);
}

Test(loop, a_take_waits_as_long_as_the_worker_says_but_not_beyond_the_next_heartbeat)
{
	loop_begin(TB_GROUP_SEALER, 1);
	it.wait_ns = 300 * TB_NS_PER_MS + 1;
	must(turn());
	cr_assert_eq(broker.take->wait_ms, 0);
	must(turn());
	cr_assert_eq(broker.take->wait_ms, 301);
	pass(900 * TB_NS_PER_MS);
	must(turn());
	cr_assert_eq(broker.take->wait_ms, 100);
}

Test(loop, a_take_brings_what_the_worker_can_hold)
{
	loop_begin(TB_GROUP_SEALER, 1);
	must(turn());
	cr_assert_eq(broker.take->bytes_max, 4u << 20);
	it.worker.take_bytes = 1000;
	must(turn());
	cr_assert_eq(broker.take->bytes_max, 1000);
}
