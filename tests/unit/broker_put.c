/* What workers put: fencing, repeats, rules of each kind, chunks. */
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

TestSuite(broker_put, .init = set_up, .fini = tear_down);

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

Test(broker_put, a_put_is_answered_after_the_sync)
{
	struct take_by collector = make_collector();
	struct put_by by = under(&collector);
	add_cut(&frames, "book", 1, 40);
	int asker = put_frames(&by, &frames);
	cr_assert_eq(answered(asker), 0);
	commit();
	expect_code(put_reply(asker)->status, TB_OK);
	cr_assert(!put_reply(asker)->repeated_put);
	cr_assert_eq(stream_stat("book")->cut, 40);
}

Test(broker_put, cuts_follow_each_other)
{
	struct take_by collector = make_collector();
	struct put_by by = under(&collector);
	put_cut(&collector, 1, 40);
	put_cut(&collector, 1, 40);
	cr_assert(put_was_repeated());
	add_cut(&frames, "book", 42, 50);
	cr_assert_eq(put_now(&by, &frames), TB_EFENCED);
	add_cut(&frames, "book", 40, 50);
	cr_assert_eq(put_now(&by, &frames), TB_EFENCED);
	add_cut(&frames, "book", 41, 101); /* not durable */
	cr_assert_eq(put_now(&by, &frames), TB_EINVAL);
	add_cut(&frames, "book", 41, 40);
	cr_assert_eq(put_now(&by, &frames), TB_EINVAL);
	add_cut(&frames, "book", 41, 50);
	add_cut(&frames, "book", 51, 60);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	cr_assert_eq(stream_stat("book")->cut, 60);
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->open, 3);
}

Test(broker_put, a_put_is_done_whole_or_not_at_all)
{
	struct take_by collector = make_collector();
	struct put_by by = under(&collector);
	add_cut(&frames, "book", 1, 40);
	add_cut(&frames, "book", 42, 50);
	cr_assert_eq(put_now(&by, &frames), TB_EFENCED);
	add_cut(&frames, "book", 1, 40);
	add_bytes(&frames, TB_KIND_OBJECT, NULL, 10);
	cr_assert_eq(put_now(&by, &frames), TB_EREFUSED);
	cr_assert_eq(stream_stat("book")->cut, 0);
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->open, 0);
}

Test(broker_put, manifests_follow_each_other_and_their_hash_is_kept)
{
	struct take_by collector = make_collector();
	struct put_by by = under(&collector);
	add_manifest(&frames, "book", 1);
	add_manifest(&frames, "book", 2);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	add_manifest(&frames, "book", 2);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	cr_assert(put_was_repeated());
	add_manifest(&frames, "book", 4);
	cr_assert_eq(put_now(&by, &frames), TB_EFENCED);
	struct take_by again = lease_streams_to('c');
	Tb__Grant *grant = taken_by(room.asked).reply->grants[0];
	uint8_t hash[32];
	crypto_generichash(hash, 32, id16('c').data, 16, NULL, 0);
	cr_assert_eq(grant->chain, 2);
	cr_assert_eq(grant->generation, again.generations[0]);
	cr_assert_arr_eq(grant->manifest_hash.data, hash, 32);
}

Test(broker_put, a_put_under_an_older_generation_is_fenced)
{
	struct take_by collector = make_collector();
	struct put_by old = under(&collector);
	struct take_by anew = lease_streams_to('c'); /* it restarted */
	cr_assert_eq(anew.generations[0], collector.generations[0] + 1);
	add_cut(&frames, "book", 1, 40);
	cr_assert_eq(put_now(&old, &frames), TB_EFENCED);
	old.generation = anew.generations[0];
	old.member = 'd'; /* not the holder */
	add_cut(&frames, "book", 1, 40);
	cr_assert_eq(put_now(&old, &frames), TB_EFENCED);
	old.stream = NULL;
	add_cut(&frames, "book", 1, 40);
	cr_assert_eq(put_now(&old, &frames), TB_EINVAL);
	put_cut(&anew, 1, 40);
}

Test(broker_put, a_group_put_under_an_older_generation_is_fenced)
{
	make_stream("book", 10);
	struct take_by storer = lease_group_to(TB_GROUP_STORER, 's');
	struct put_by by = under(&storer);
	add_bytes(&frames, TB_KIND_STORED, "book", 0);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	by.generation = 0;
	add_bytes(&frames, TB_KIND_STORED, "book", 0);
	cr_assert_eq(put_now(&by, &frames), TB_EFENCED);
	by.generation = storer.generation;
	by.member = 't';
	add_bytes(&frames, TB_KIND_STORED, "book", 0);
	cr_assert_eq(put_now(&by, &frames), TB_EFENCED);
}

Test(broker_put, who_may_put_what)
{
	struct take_by collector = make_collector();
	struct take_by storer = lease_group_to(TB_GROUP_STORER, 's'), signal = lease_group_to(TB_GROUP_SIGNAL, 'g');
	struct put_by by[] = { { 0 }, under(&collector), { .group = TB_GROUP_SEALER, .member = 'e' }, under(&storer),
		                   under(&signal) };
	static const struct {
		enum tb_kind kind;
		const char *who; /* client, collector, sealer, storer, signal */
	} rows[] = {
		{ TB_KIND_CUT, "ncnnn" }, { TB_KIND_CHUNK, "ncnnn" }, { TB_KIND_MANIFEST, "ncnnn" },
		{ TB_KIND_OBJECT, "nncnn" }, { TB_KIND_SEALED, "nncnn" }, { TB_KIND_STORED, "nnncn" },
		{ TB_KIND_ASK, "ncnnn" }, { TB_KIND_PRESENT, "nnncn" },
		{ TB_KIND_ORDER, "ccnnn" }, { TB_KIND_EVENTS, "nnnnc" }, { TB_KIND_ANNOUNCE, "nnnnc" },
		{ TB_KIND_HEALTH, "ccccc" }, { TB_KIND_PERIOD, "cnnnn" }, { TB_KIND_REJECT, "ncccc" },
		{ TB_KIND_FINISH, "nnnnn" }, { TB_KIND_LEASE, "nnnnn" }, { TB_KIND_EPOCH, "nnnnn" },
		{ TB_KIND_CHECKPOINT, "nnnnn" }, { TB_KIND_PUT, "nnnnn" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t who = 0; who < 5; who++) {
			add_bytes(&frames, rows[i].kind, "book", 3);
			tb_rc rc = put_now(&by[who], &frames);
			cr_assert_eq(rc == TB_EREFUSED, rows[i].who[who] == 'n' || (rows[i].kind == TB_KIND_EVENTS && who == 4),
			             "kind %d by %zu: %s", rows[i].kind, who, tb_rc_name(rc));
		}
}

Test(broker_put, another_journal_is_refused_and_named)
{
	Tb__PutRequest put = TB__PUT_REQUEST__INIT;
	put.journal_id = id16('j');
	int asker = send_request(TB_KIND_PUT, &put.base, (tb_span){ 0 });
	expect_code(put_reply(asker)->status, TB_EREFUSED);
	cr_assert_arr_eq(put_reply(asker)->journal_id.data, room.options.journal.new_id, 16);
	Tb__TakeRequest take = TB__TAKE_REQUEST__INIT;
	take.journal_id = id16('j');
	take.group = TB_GROUP_SEALER;
	take.member = id16('e');
	asker = send_request(TB_KIND_TAKE, &take.base, (tb_span){ 0 });
	expect_code(taken_by(asker).reply->status, TB_EREFUSED);
}

Test(broker_put, one_order_a_stream_at_a_time)
{
	struct take_by collector = make_collector();
	struct put_by client = { 0 };
	add_order(&frames, "none", "FUL_1");
	cr_assert_eq(put_now(&client, &frames), TB_ENOTFOUND);
	add_order(&frames, "book", "");
	cr_assert_eq(put_now(&client, &frames), TB_EINVAL);
	order("FUL_1");
	cr_assert_str_eq(stream_stat("book")->backup_running, "FUL_1");
	order("FUL_1");
	cr_assert(put_was_repeated());
	add_order(&frames, "book", "FUL_2");
	cr_assert_eq(put_now(&client, &frames), TB_EBUSY);
	cr_assert_not_null(strstr(put_reply(room.asked)->status->text, "FUL_1"));
	struct taken taken = take_now(&collector);
	cr_assert_eq(taken.frames[0].kind, TB_KIND_ORDER);
	struct put_by by = under(&collector);
	by.finished = &taken.reply->leased[0]->id;
	by.count = 1;
	cr_assert_eq(put_now(&by, NULL), TB_OK);
	cr_assert_str_eq(stream_stat("book")->backup_running, "");
	order("FUL_1"); /* its answer was lost, and it is done already */
	cr_assert(put_was_repeated());
	order("FUL_2");
	cr_assert_str_eq(stream_stat("book")->backup_running, "FUL_2");
}

/* So nobody who hears that it is READY is told that it still runs. */
Test(broker_put, an_order_ends_when_its_backup_is_stored)
{
	make_collector();
	struct take_by storer = lease_group_to(TB_GROUP_STORER, 's');
	Tb__Stored stored = TB__STORED__INIT;
	struct put_by by = under(&storer);
	order("FUL_1");
	for (int i = 0; i < 2; i++) {
		stored.stream = (char *)(uintptr_t)"book";
		stored.backup = (char *)(uintptr_t)(i == 0 ? "SEG_1" : "FUL_1");
		add_frame(&frames, TB_KIND_STORED, "book", &stored.base);
		cr_assert_eq(put_now(&by, &frames), TB_OK);
		cr_assert_str_eq(stream_stat("book")->backup_running, i == 0 ? "FUL_1" : "");
	}
	order("FUL_1"); /* its answer was lost, and it is done already */
	cr_assert(put_was_repeated());
	order("FUL_2");
	room_reopen();
	cr_assert_str_eq(stream_stat("book")->backup_running, "FUL_2");
}

Test(broker_put, a_range_is_finished_once_and_only_forward)
{
	struct take_by collector = make_collector();
	struct put_by by = under(&collector);
	by.finished_to = 50;
	cr_assert_eq(put_now(&by, NULL), TB_OK);
	cr_assert(!put_was_repeated());
	cr_assert_eq(told("book")->stored, 50);
	cr_assert_eq(put_now(&by, NULL), TB_OK);
	cr_assert(put_was_repeated());
	by.finished_to = 20;
	cr_assert_eq(put_now(&by, NULL), TB_OK);
	cr_assert(put_was_repeated());
	by.finished_to = 101;
	cr_assert_eq(put_now(&by, NULL), TB_EINVAL);
	cr_assert_eq(stream_stat("book")->stored, 50);
}

Test(broker_put, a_repeated_put_is_done_once)
{
	struct take_by collector = make_collector();
	put_cut(&collector, 1, 100);
	struct take_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	uint64_t id = take_now(&sealer).reply->leased[0]->id;
	struct put_by by = { .group = TB_GROUP_SEALER, .member = 'e', .finished = &id, .count = 1 };
	for (int i = 0; i < 3; i++) {
		add_bytes(&frames, TB_KIND_OBJECT, "book", 1000);
		add_bytes(&frames, TB_KIND_SEALED, "book", 0);
		int asker = put_frames(&by, &frames);
		add_bytes(&frames, TB_KIND_OBJECT, "book", 1000);
		int same_turn = put_frames(&by, &frames);
		commit();
		expect_code(put_reply(asker)->status, TB_OK);
		cr_assert_eq(put_reply(asker)->repeated_put, i > 0);
		cr_assert(put_reply(same_turn)->repeated_put);
	}
	cr_assert_eq(group_stat(TB_GROUP_STORER)->open, 1);
	cr_assert_eq(group_stat(TB_GROUP_COLLECTOR)->open, 1);
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->open, 0);
}

Test(broker_put, what_the_journal_has_not_come_to_is_not_finished)
{
	uint64_t id = 1u << 30;
	struct put_by by = { .group = TB_GROUP_SEALER, .member = 'e', .finished = &id, .count = 1 };
	cr_assert_eq(put_now(&by, NULL), TB_EINVAL);
}

Test(broker_put, the_signals_stream_comes_with_its_first_event)
{
	struct take_by signal = lease_group_to(TB_GROUP_SIGNAL, 'g');
	struct put_by by = under(&signal);
	tb_buf_append_span(&frames, events_frame("tb.signals", 0, 1, 1, 30));
	tb_buf_append_span(&frames, events_frame("tb.signals", 0, 2, 3, 30));
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	cr_assert_eq(stream_stat("tb.signals")->durable, 4);
	cr_assert_eq(stream_stat("tb.signals")->epoch, 1);
	tb_buf_append_span(&frames, events_frame("tb.signals", 0, 2, 3, 30));
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	cr_assert(put_was_repeated());
	tb_buf_append_span(&frames, events_frame("tb.signals", 0, 6, 1, 30));
	cr_assert_eq(put_now(&by, &frames), TB_EINVAL);
	tb_span bytes;
	fetch_reply(fetch("tb.signals", 1, 4, 0, 0), &bytes);
	expect_events(bytes, "tb.signals", 1, 4);
}

Test(broker_put, an_announcement_goes_out_with_the_commit)
{
	struct take_by signal = lease_group_to(TB_GROUP_SIGNAL, 'g');
	struct put_by by = under(&signal);
	tb_buf_append_span(&frames, events_frame("tb.signals", 0, 1, 1, 30));
	add_announce(&frames, "BACKUP_READY/book", "ready!");
	put_frames(&by, &frames);
	cr_assert_eq(topic_count("BACKUP_READY/book"), 0);
	commit();
	cr_assert(tb_span_equal(topic_last("BACKUP_READY/book"), tb_span_text("ready!")));
	add_announce(&frames, "durable/book", "lies");
	cr_assert_eq(put_now(&by, &frames), TB_EREFUSED);
	add_announce(&frames, "", "nothing");
	cr_assert_eq(put_now(&by, &frames), TB_EINVAL);
	cr_assert_eq(topic_count("durable/book"), 0);
}

Test(broker_put, the_newest_health_of_each_process_is_kept)
{
	Tb__Health health = TB__HEALTH__INIT;
	for (uint64_t i = 1; i <= 3; i++) {
		struct put_by by = { .group = TB_GROUP_SEALER, .member = i == 2 ? 'f' : 'e' };
		health.handled = i;
		add_frame(&frames, TB_KIND_HEALTH, NULL, &health.base);
		cr_assert_eq(put_now(&by, &frames), TB_OK);
	}
	cr_assert_eq(topic_count("health"), 3);
	Tb__StatReply *stat = stat_now();
	cr_assert_eq(stat->n_health, 2);
	for (size_t i = 0; i < 2; i++) {
		Tb__Health *kept = tb__health__unpack(tb_arena_allocator(room.arena), stat->health[i].len, stat->health[i].data);
		cr_assert_gt(kept->handled, 1);
	}
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->members, 2);
}

Test(broker_put, a_worker_long_gone_is_forgotten)
{
	struct put_by by = { .group = TB_GROUP_SEALER, .member = 'e' };
	Tb__Health health = TB__HEALTH__INIT;
	health.handled = 1;
	add_frame(&frames, TB_KIND_HEALTH, NULL, &health.base);
	put_now(&by, &frames);
	pass_ticking(20);
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->members, 0);
	cr_assert_eq(stat_now()->n_health, 1); /* the last that it said */
	pass(600 * TB_NS_PER_S);
	tick();
	cr_assert_eq(stat_now()->n_health, 0);
}

Test(broker_put, workers_are_bounded)
{
	Tb__TakeRequest request = TB__TAKE_REQUEST__INIT;
	uint8_t id[16] = { 0 };
	request.group = TB_GROUP_SEALER;
	request.member = binary(id, 16);
	for (unsigned i = 0; i <= 1024; i++) {
		memcpy(id, &i, sizeof(i));
		int asker = send_request(TB_KIND_TAKE, &request.base, (tb_span){ 0 });
		expect_code(taken_by(asker).reply->status, i < 1024 ? TB_OK : TB_EBUSY);
	}
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->members, 1024);
}

Test(broker_put, a_frame_without_a_stream_is_of_the_leased_one)
{
	struct take_by collector = make_collector();
	struct put_by by = under(&collector);
	Tb__Cut cut = TB__CUT__INIT;
	cut.from = 1;
	cut.to = 10;
	add_frame(&frames, TB_KIND_CUT, NULL, &cut.base);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	struct take_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	cr_assert_eq(take_now(&sealer).frames[0].stream, tb_stream_hash("book"));
}

Test(broker_put, what_cannot_be_is_refused)
{
	struct put_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	make_stream("book", 10);
	add_bytes(&frames, TB_KIND_SEALED, "none", 0);
	cr_assert_eq(put_now(&sealer, &frames), TB_ENOTFOUND);
	sealer.stream = "none";
	cr_assert_eq(put_now(&sealer, NULL), TB_ENOTFOUND);
	sealer.stream = "book";
	sealer.finished_to = 3;
	cr_assert_eq(put_now(&sealer, NULL), TB_EINVAL);
	uint64_t id = 128;
	struct put_by client = { .finished = &id, .count = 1 };
	cr_assert_eq(put_now(&client, NULL), TB_EINVAL);
}

Test(broker_put, hundreds_of_frames_come_and_go_in_any_order)
{
	struct take_by collector = make_collector();
	struct put_by by = { .group = TB_GROUP_SEALER, .member = 'e' };
	for (int round = 0; round < 4; round++) {
		uint64_t ids[100];
		for (uint64_t i = 1; i <= 100; i++)
			add_bytes(&frames, TB_KIND_SEALED, "book", 0);
		cr_assert_eq(put_now(&by, &frames), TB_OK);
		collector.nexts[0] = 101;
		struct taken taken = take_now(&collector);
		cr_assert_eq(taken.count, 100);
		for (size_t i = 0; i < 100; i++)
			ids[i] = taken.reply->leased[i * 37 % 100]->id;
		for (size_t i = 0; i < 100; i++) {
			struct put_by done = under(&collector);
			done.finished = &ids[i];
			done.count = 1;
			cr_assert_eq(put_now(&done, NULL), TB_OK);
			cr_assert(!put_was_repeated());
			put_now(&done, NULL);
			cr_assert(put_was_repeated());
		}
		cr_assert_eq(group_stat(TB_GROUP_COLLECTOR)->open, 0);
	}
}

/* ---- chunks */

Test(broker_put, chunks_are_held_in_memory_and_handed_to_sealers)
{
	struct take_by collector = make_collector(), sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	struct put_by by = under(&collector);
	add_chunk(&frames, "book", 'p', 0, 100);
	add_chunk(&frames, "book", 'p', 1, 100);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	add_chunk(&frames, "book", 'p', 1, 100);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	cr_assert(put_was_repeated());
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->volatile_frames, 2);
	struct taken taken = take_now(&sealer);
	cr_assert_eq(taken.count, 2);
	cr_assert_eq(taken.frames[0].kind, TB_KIND_CHUNK);
	cr_assert_gt(taken.reply->leased[0]->id, UINT64_C(1) << 63);
	struct put_by done = { .group = TB_GROUP_SEALER, .member = 'e', .finished = &taken.reply->leased[0]->id, .count = 1 };
	add_bytes(&frames, TB_KIND_OBJECT, "book", 100);
	cr_assert_eq(put_now(&done, &frames), TB_OK);
	cr_assert(!put_was_repeated());
	add_bytes(&frames, TB_KIND_OBJECT, "book", 100);
	cr_assert_eq(put_now(&done, &frames), TB_OK);
	cr_assert(put_was_repeated());
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->volatile_frames, 1);
	cr_assert_eq(group_stat(TB_GROUP_STORER)->open, 1);
}

Test(broker_put, a_chunk_of_an_earlier_life_is_not_taken_for_one_of_this)
{
	struct take_by collector = make_collector(), sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	struct put_by by = under(&collector);
	add_chunk(&frames, "book", 'p', 0, 100);
	put_now(&by, &frames);
	uint64_t id = take_now(&sealer).reply->leased[0]->id;
	room_reopen();
	add_chunk(&frames, "book", 'p', 1, 100);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	struct put_by done = { .group = TB_GROUP_SEALER, .member = 'e', .finished = &id, .count = 1 };
	cr_assert_eq(put_now(&done, NULL), TB_OK);
	cr_assert(put_was_repeated());
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->volatile_frames, 1);
}

Test(broker_put, chunks_are_bounded)
{
	room.options.volatile_max = 10000;
	room_reopen();
	struct take_by collector = make_collector();
	struct put_by by = under(&collector);
	add_chunk(&frames, "book", 'p', 0, 5000);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	add_chunk(&frames, "book", 'p', 1, 5000);
	cr_assert_eq(put_now(&by, &frames), TB_EFULL);
	cr_assert(put_reply(room.asked)->status->hint[0] != '\0');
	struct take_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	struct taken taken = take_now(&sealer);
	struct put_by done = { .group = TB_GROUP_SEALER, .member = 'e', .finished = &taken.reply->leased[0]->id, .count = 1 };
	put_now(&done, NULL);
	add_chunk(&frames, "book", 'p', 1, 5000);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
}
