/* The broker's journal: what a restart brings back, rotation, files that go, and what happens when there is no room. */
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

TestSuite(broker_replay, .init = set_up, .fini = tear_down);

static void room_begin_again(void)
{
	room_close();
	tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
	room_open();
}

static void use_small_files(void)
{
	room.options.journal.file_size = 8192;
	room.options.journal_keep_ns = 1;
	room_begin_again();
}

static struct put_by under(const struct take_by *collector, const char *stream)
{
	struct put_by by = { .group = TB_GROUP_COLLECTOR, .member = collector->member, .stream = stream };
	for (size_t i = 0; collector->streams[i] != NULL; i++)
		if (strcmp(collector->streams[i], stream) == 0)
			by.generation = collector->generations[i];
	return by;
}

/* What of the status is in the journal, as text. */
static const char *durable_state(tb_buf *to)
{
	Tb__StatReply *stat = stat_now();
	tb_buf_clear(to);
	for (size_t i = 0; i < stat->n_streams; i++) {
		const Tb__StreamStat *s = stat->streams[i];
		tb_buf_print(to, "%s epoch %llu durable %llu stored %llu cut %llu chain %llu first %llu stamp %llu backup %s\n",
		             s->name, (unsigned long long)s->epoch, (unsigned long long)s->durable,
		             (unsigned long long)s->stored, (unsigned long long)s->cut, (unsigned long long)s->chain,
		             (unsigned long long)s->first_held, (unsigned long long)s->durable_stamp_ns, s->backup_running);
	}
	for (size_t i = 0; i < stat->n_groups; i++) {
		const Tb__GroupStat *g = stat->groups[i];
		tb_buf_print(to, "group %u open %llu rejected %llu\n", g->group, (unsigned long long)g->open,
		             (unsigned long long)g->rejected);
	}
	tb_buf_print(to, "bytes %llu held up '%s'\n", (unsigned long long)stat->journal_bytes, stat->held_up);
	return tb_buf_text(to);
}

static void expect_same_after_reopening(const char *when)
{
	tb_auto(tb_buf_drop) tb_buf before = { 0 }, after = { 0 };
	durable_state(&before);
	room_reopen();
	cr_assert_str_eq(durable_state(&after), tb_buf_text(&before), "%s", when);
	cr_assert_eq(room.opened.cut_bytes, 0);
}

Test(broker_replay, a_new_journal_is_made_and_found_again)
{
	cr_assert(room.opened.made);
	room_reopen();
	cr_assert(!room.opened.made);
	cr_assert_eq(stat_now()->n_streams, 0);
}

Test(broker_replay, one_broker_a_journal)
{
	tb_broker *other;
	tb_journal_opened opened;
	tb_broker_options options = room.options;
	tb_broker_out out = { &room, room_answer, room_topic };
	options.journal.dir = room.dir;
	options.journal.disk = tb_disk_system();
	options.clock = &room.clock;
	cr_assert_eq(tb_broker_open(&options, &out, &other, &opened, &room.err), TB_EBUSY);
}

Test(broker_replay, everything_that_was_answered_is_there_after_a_restart)
{
	make_stream("book", 100);
	make_stream("tape", 7);
	struct take_by collector = lease_streams_to('c');
	struct put_by by = under(&collector, "book"), client = { 0 };
	by.finished_to = 20;
	add_cut(&frames, "book", 1, 40);
	add_manifest(&frames, "book", 1);
	put_now(&by, &frames);
	add_order(&frames, "tape", "INC_1");
	put_now(&client, &frames);
	lease_group_to(TB_GROUP_STORER, 's');
	expect_same_after_reopening("at the end");
	struct take_by storer = { .group = TB_GROUP_STORER, .member = 's', .generation = 1 };
	struct taken taken = take_now(&storer);
	cr_assert_eq(taken.count, 1);
	cr_assert_eq(taken.frames[0].kind, TB_KIND_MANIFEST);
	taken = take_now(&collector);
	cr_assert_eq(taken.reply->n_grants + taken.reply->n_revoked, 0);
	cr_assert_eq(taken.frames[0].kind, TB_KIND_ORDER);
	by.finished_to = 0;
	add_cut(&frames, "book", 41, 50);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
}

Test(broker_replay, the_period_given_at_the_start_is_journalled)
{
	room.options.period = tb_span_text("period 1");
	room_reopen();
	room.options.period = (tb_span){ 0 };
	room_reopen();
	struct take_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	struct taken taken = take_now(&sealer);
	cr_assert(tb_span_equal(tb_span_of(taken.reply->period.data, taken.reply->period.len), tb_span_text("period 1")));
	room.options.period = tb_span_text("period 2");
	room_reopen();
	taken = take_now(&sealer);
	cr_assert(tb_span_equal(tb_span_of(taken.reply->period.data, taken.reply->period.len), tb_span_text("period 2")));
}

/* ---- random operations */

static uint64_t dice_state;

static uint64_t dice(uint64_t sides)
{
	dice_state ^= dice_state << 13;
	dice_state ^= dice_state >> 7;
	dice_state ^= dice_state << 17;
	return dice_state % sides;
}

static const char *const names[] = { "book", "tape", "wire" };

static struct take_by random_collector, random_storer;

static void do_publish(const char *name)
{
	const Tb__StreamStat *stat = stream_stat(name);
	if (stat == NULL || !stat->connected) {
		connect_engine(name, name[0]);
		stat = stream_stat(name);
	}
	uint64_t next = stat->durable + 1;
	for (uint64_t i = dice(6); i-- > 0; next += 10)
		publish(name, stat->epoch, next, 10);
	publish(name, stat->epoch, next + dice(3), 1 + (uint32_t)dice(20)); /* may be wrong */
	commit();
}

static void do_reconnect(const char *name)
{
	connect_engine(name, name[0]);
}

static void do_lease(const char *name)
{
	(void)name;
	random_collector = lease_streams_to('c');
	random_storer = lease_group_to(TB_GROUP_STORER, 's');
}

static void do_cut(const char *name)
{
	const Tb__StreamStat *stat = stream_stat(name);
	struct put_by by = under(&random_collector, name);
	if (stat == NULL || stat->cut == stat->durable)
		return;
	add_cut(&frames, name, stat->cut + 1, stat->cut + 1 + dice(stat->durable - stat->cut));
	put_now(&by, &frames);
}

static void do_manifest(const char *name)
{
	const Tb__StreamStat *stat = stream_stat(name);
	struct put_by by = under(&random_collector, name);
	if (stat == NULL)
		return;
	add_manifest(&frames, name, stat->chain + dice(3));
	by.finished_to = stat->stored + dice(stat->cut - stat->stored + 1);
	put_now(&by, &frames);
}

static void do_order(const char *name)
{
	struct put_by client = { 0 };
	char backup[32];
	snprintf(backup, sizeof(backup), "FUL_%u", (unsigned)dice(1000));
	add_order(&frames, name, backup);
	put_now(&client, &frames);
}

static void do_seal(const char *name)
{
	struct take_by sealer = { .group = TB_GROUP_SEALER, .member = 'e', .bytes_max = 1 };
	struct taken taken = take_now(&sealer);
	if (taken.count == 0)
		return;
	struct put_by by = { .group = TB_GROUP_SEALER, .member = 'e', .finished = &taken.reply->leased[0]->id, .count = 1 };
	(void)name;
	add_bytes(&frames, TB_KIND_OBJECT, NULL, dice(2000));
	tb_frame sealed = { .kind = TB_KIND_SEALED, .count = 1, .stream = taken.frames[0].stream };
	tb_frame_write(&frames, &sealed);
	put_now(&by, &frames);
}

static void do_store(const char *name)
{
	struct taken taken = take_now(&random_storer);
	for (size_t i = 0; i < taken.count; i++) {
		struct put_by by = { .group = TB_GROUP_STORER, .member = 's', .generation = random_storer.generation,
			                 .finished = &taken.reply->leased[i]->id, .count = 1 };
		if (taken.frames[i].kind == TB_KIND_MANIFEST)
			add_bytes(&frames, TB_KIND_STORED, name, 10);
		put_now(&by, &frames);
	}
}

static void do_collect(const char *name)
{
	struct taken taken = take_now(&random_collector);
	(void)name;
	learn(&random_collector, &taken);
	for (size_t i = 0; i < taken.count; i++) {
		if (taken.reply->leased[i]->id == 0)
			continue;
		for (size_t s = 0; s < 3; s++) {
			struct put_by by = under(&random_collector, names[s]);
			by.finished = &taken.reply->leased[i]->id;
			by.count = 1;
			if (taken.frames[i].stream == tb_stream_hash(names[s]))
				put_now(&by, NULL);
		}
	}
}

static void do_wait(const char *name)
{
	(void)name;
	pass_ticking(1 + dice(12));
}

static void (*const operations[])(const char *name) = {
	do_publish, do_publish, do_publish, do_reconnect, do_lease, do_cut,     do_cut,
	do_manifest, do_order,  do_seal,    do_seal,      do_store, do_collect, do_wait,
};

static void do_something(void)
{
	operations[dice(sizeof(operations) / sizeof(operations[0]))](names[dice(3)]);
}

static void begin_randomly(uint64_t seed)
{
	dice_state = seed;
	for (size_t i = 0; i < 3; i++)
		do_publish(names[i]);
	do_lease(NULL);
}

Test(broker_replay, the_state_is_the_same_after_reopening_behind_each_of_200_operations)
{
	use_small_files();
	for (uint64_t seed = 1; seed <= 2; seed++) {
		begin_randomly(seed * 7919);
		for (int i = 0; i < 100; i++) {
			char when[64];
			do_something();
			snprintf(when, sizeof(when), "seed %llu, operation %d", (unsigned long long)seed, i);
			expect_same_after_reopening(when);
			do_lease(NULL);
		}
	}
	cr_assert_gt(stat_now()->streams[0]->chain, 0);
	cr_assert_gt(stat_now()->streams[0]->cut, 0);
}

/* Every event that isn't finished can be fetched, whatever happened. */
Test(broker_replay, no_event_goes_before_it_is_finished)
{
	use_small_files();
	begin_randomly(4711);
	for (int i = 0; i < 400; i++) {
		do_something();
		Tb__StatReply *stat = stat_now();
		for (size_t s = 0; s < stat->n_streams; s++) {
			const Tb__StreamStat *stream = stat->streams[s];
			cr_assert_leq(stream->first_held, stream->stored + 1);
			if (stream->first_held > stream->durable)
				continue;
			tb_span bytes;
			expect_code(fetch_reply(fetch(stream->name, stream->first_held, 0, 0, 0), &bytes)->status, TB_OK);
			expect_events(bytes, stream->name, stream->first_held, stream->durable);
		}
	}
}

/* ---- files */

/* So many frames of ten events, 1.2 KB each. */
static void fill(const char *stream, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const Tb__StreamStat *stat = stream_stat(stream);
		if (!stat->connected)
			connect_engine(stream, 'o');
		tb_broker_event(room.broker, events_frame(stream, stream_stat(stream)->epoch, stat->durable + 1, 10, 100));
		commit();
	}
}

static void finish_all(const struct take_by *collector, const char *stream)
{
	struct put_by by = under(collector, stream);
	by.finished_to = stream_stat(stream)->durable;
	cr_assert_eq(put_now(&by, NULL), TB_OK);
}

static struct take_by make_finisher(void)
{
	use_small_files();
	connect_engine("book", 'o');
	return lease_streams_to('c');
}

Test(broker_replay, a_file_goes_only_when_its_events_are_finished)
{
	struct take_by collector = make_finisher();
	room.options.journal_limit = 1u << 20;
	room_reopen();
	fill("book", 20);
	pass_ticking(2);
	cr_assert_eq(stream_stat("book")->first_held, 1);
	uint64_t bytes = stat_now()->journal_bytes;
	cr_assert_geq(bytes, 3 * 8192);
	struct put_by by = under(&collector, "book");
	by.finished_to = 30; /* of the first file: not all */
	cr_assert_eq(put_now(&by, NULL), TB_OK);
	pass_ticking(2);
	cr_assert_eq(stream_stat("book")->first_held, 1);
	finish_all(&collector, "book");
	pass_ticking(2);
	cr_assert_lt(stat_now()->journal_bytes, bytes);
	uint64_t first = stream_stat("book")->first_held;
	cr_assert_gt(first, 100);
	expect_code(fetch_reply(fetch("book", first - 1, 0, 0, 0), NULL)->status, TB_ENOTFOUND);
	cr_assert_eq(fetch_reply(room.asked, NULL)->first_held, first);
	expect_same_after_reopening("after dropping");
}

Test(broker_replay, a_file_stays_while_a_frame_in_it_is_open)
{
	struct take_by collector = make_finisher();
	struct put_by client = { 0 };
	fill("book", 1);
	add_order(&frames, "book", "FUL_1");
	put_now(&client, &frames);
	fill("book", 15);
	finish_all(&collector, "book");
	pass_ticking(2);
	cr_assert_eq(stream_stat("book")->first_held, 1);
	struct taken taken = take_now(&collector);
	cr_assert_eq(taken.frames[0].kind, TB_KIND_ORDER);
	struct put_by by = under(&collector, "book");
	by.finished = &taken.reply->leased[0]->id;
	by.count = 1;
	cr_assert_eq(put_now(&by, NULL), TB_OK);
	pass_ticking(2);
	cr_assert_gt(stream_stat("book")->first_held, 1);
}

Test(broker_replay, a_finished_file_is_kept_for_a_while)
{
	struct take_by collector = make_finisher();
	room.options.journal_keep_ns = 60 * TB_NS_PER_S;
	room.options.journal_limit = 1u << 20;
	room_reopen();
	fill("book", 15);
	finish_all(&collector, "book");
	pass_ticking(55);
	cr_assert_eq(stream_stat("book")->first_held, 1);
	pass_ticking(10);
	cr_assert_gt(stream_stat("book")->first_held, 1);
}

Test(broker_replay, what_is_only_gathered_lets_no_file_go)
{
	struct take_by collector = make_finisher();
	fill("book", 15);
	struct put_by by = under(&collector, "book");
	by.finished_to = stream_stat("book")->durable;
	put_frames(&by, NULL);
	char path[128];
	snprintf(path, sizeof(path), "%s/%016x.tbj", room.dir, 0);
	pass(2 * TB_NS_PER_S);
	tb_broker_tick(room.broker);
	cr_assert_eq(access(path, F_OK), 0);
	commit();
	cr_assert_neq(access(path, F_OK), 0);
}

Test(broker_replay, the_last_file_alone_says_everything)
{
	use_small_files();
	connect_engine("book", 'o');
	struct take_by collector = lease_streams_to('c'), sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	struct put_by by = under(&collector, "book"), reject = { .group = TB_GROUP_SEALER, .member = 'e' }, client = { 0 };
	fill("book", 1);
	add_cut(&frames, "book", 1, 10);
	add_manifest(&frames, "book", 1);
	put_now(&by, &frames);
	add_bytes(&frames, TB_KIND_REJECT, NULL, 10);
	put_now(&reject, &frames);
	add_order(&frames, "book", "FUL_1");
	put_now(&client, &frames);
	tb_frame_write(&frames, &(tb_frame){ .kind = TB_KIND_PERIOD, .count = 1, .body = tb_span_text("period") });
	put_now(&client, &frames);
	take_now(&sealer);
	fill("book", 15);
	cr_assert_eq(group_stat(TB_GROUP_SEALER)->rejected, 1);
	expect_same_after_reopening("behind several checkpoints");
	sealer.turn = 0;
	struct taken taken = take_now(&sealer);
	cr_assert_eq(taken.count, 1);
	cr_assert_eq(taken.reply->leased[0]->attempts, 2);
	cr_assert_eq(taken.reply->period.len, 6);
	add_order(&frames, "book", "FUL_1");
	put_now(&client, &frames);
	cr_assert(put_was_repeated());
	by.generation++;
	add_cut(&frames, "book", 11, 20);
	cr_assert_eq(put_now(&by, &frames), TB_EFENCED);
	by.generation--;
	add_cut(&frames, "book", 11, 20);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
}

Test(broker_replay, events_are_fetched_from_older_files_too)
{
	make_finisher();
	room.options.journal_limit = 1u << 20;
	room_reopen();
	connect_engine("tape", 't');
	for (int i = 0; i < 12; i++) {
		fill("book", 5);
		publish("tape", 1, 1 + 3 * (uint64_t)i, 3);
		commit();
	}
	for (int again = 0; again < 2; again++) {
		tb_span bytes;
		for (uint64_t n = 1; n <= 600; n += 41) {
			expect_code(fetch_reply(fetch("book", n, n + 5, 0, 0), &bytes)->status, TB_OK);
			expect_events(bytes, "book", n, n + 5);
		}
		fetch_reply(fetch("book", 1, 0, 0, 0), &bytes);
		expect_events(bytes, "book", 1, 600);
		fetch_reply(fetch("tape", 2, 0, 0, 0), &bytes);
		expect_events(bytes, "tape", 2, 36);
		room_reopen();
	}
}

/* ---- no room */

Test(broker_replay, at_the_limit_events_are_held_up_and_go_on_by_themselves)
{
	struct take_by collector = make_finisher();
	room.options.journal_limit = 5 * 8192;
	room.options.journal_keep_ns = 3600 * TB_NS_PER_S;
	room_reopen();
	connect_engine("book", 'o');
	collector = lease_streams_to('c');
	uint64_t epoch = stream_stat("book")->epoch, durable = 0;
	while (stat_now()->held_up[0] == '\0') {
		durable += 10;
		tb_broker_event(room.broker, events_frame("book", epoch, durable - 9, 10, 100));
		commit();
		cr_assert_lt(durable, 1000);
	}
	durable = stream_stat("book")->durable;
	publish("book", epoch, durable + 1, 5);
	commit();
	cr_assert_eq(stream_stat("book")->durable, durable);
	cr_assert_eq(told("book")->durable, durable);
	cr_assert(!told("book")->again);
	heartbeat("book", epoch, durable + 5);
	cr_assert(!told("book")->again);
	cr_assert_leq(stat_now()->journal_bytes, 5 * 8192);
	int asker = say_hello("tape", 't', 0, 0, 0, 1);
	expect_code(hello_reply(asker)->status, TB_OK);
	cr_assert_eq(hello_reply(asker)->window_frames, 0);
	finish_all(&collector, "book");
	pass_ticking(2);
	cr_assert_str_eq(stat_now()->held_up, "");
	cr_assert(told("book")->again); /* what was dropped is asked for */
	publish("book", epoch, durable + 1, 5);
	commit();
	cr_assert_eq(stream_stat("book")->durable, durable + 5);
}

/* What a member of the group may have now, finished. */
static void finish_what_is_taken(struct take_by *worker)
{
	uint64_t ids[256];
	struct taken taken = take_now(worker);
	for (size_t i = 0; i < taken.count; i++)
		ids[i] = taken.reply->leased[i]->id;
	struct put_by done = { .group = worker->group, .member = worker->member, .generation = worker->generation,
		                   .finished = ids, .count = taken.count };
	cr_assert_eq(put_now(&done, NULL), TB_OK);
}

Test(broker_replay, at_the_limit_puts_that_finish_something_are_still_taken)
{
	room.options.journal.file_size = 65536;
	room.options.journal_limit = 4 * 65536;
	room.options.journal_keep_ns = 1;
	room_begin_again();
	connect_engine("book", 'o');
	struct take_by collector = lease_streams_to('c');
	fill("book", 2);
	struct put_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	tb_rc rc = TB_OK;
	for (int i = 0; rc == TB_OK; i++) {
		cr_assert_lt(i, 100);
		add_bytes(&frames, TB_KIND_OBJECT, "book", 6000);
		rc = put_now(&sealer, &frames);
	}
	cr_assert_eq(rc, TB_EFULL);
	cr_assert(put_reply(room.asked)->status->hint[0] != '\0');
	cr_assert_leq(stat_now()->journal_bytes, 4 * 65536);
	finish_all(&collector, "book");
	struct take_by storer = lease_group_to(TB_GROUP_STORER, 's');
	finish_what_is_taken(&storer);
	cr_assert_leq(stat_now()->journal_bytes, 4 * 65536);
	pass_ticking(2);
	cr_assert_str_eq(stat_now()->held_up, "");
	add_bytes(&frames, TB_KIND_OBJECT, "book", 6000);
	cr_assert_eq(put_now(&sealer, &frames), TB_OK);
}

Test(broker_replay, at_the_limit_a_file_that_was_run_over_still_takes_what_makes_room)
{
	room.options.journal.file_size = 65536;
	room.options.journal_limit = 4 * 65536;
	room.options.journal_keep_ns = 1;
	room_begin_again();
	connect_engine("book", 'o');
	struct take_by collector = lease_streams_to('c');
	fill("book", 1);
	/* Of two in a file the second runs over its end; the last file has no room for anything then. */
	struct put_by object = { .group = TB_GROUP_SEALER, .member = 'e' };
	for (int i = 0; i < 4; i++) {
		add_bytes(&frames, TB_KIND_OBJECT, "book", i % 2 == 0 ? 50000 : 60000);
		cr_assert_eq(put_now(&object, &frames), TB_OK);
	}
	cr_assert_str_neq(stat_now()->held_up, "");
	struct put_by by = under(&collector, "book");
	add_cut(&frames, "book", 1, 1);
	cr_assert_eq(put_now(&by, &frames), TB_OK);
	finish_all(&collector, "book");
	struct take_by storer = lease_group_to(TB_GROUP_STORER, 's');
	struct take_by sealer = { .group = TB_GROUP_SEALER, .member = 'e' };
	for (int i = 0; stat_now()->held_up[0] != '\0'; i++) {
		cr_assert_lt(i, 20);
		finish_what_is_taken(&storer);
		finish_what_is_taken(&sealer);
		pass_ticking(2);
	}
}

Test(broker_replay, an_open_order_does_not_hold_the_journal)
{
	struct take_by collector = make_finisher();
	room.options.journal_limit = 24 * 8192;
	room.options.journal_keep_ns = 3600 * TB_NS_PER_S;
	room_reopen();
	connect_engine("book", 'o');
	collector = lease_streams_to('c');
	struct put_by client = { 0 };
	add_order(&frames, "book", "FUL_7");
	cr_assert_eq(put_now(&client, &frames), TB_OK);
	uint64_t most = 0;
	for (int i = 0; i < 60; i++) {
		fill("book", 10);
		finish_all(&collector, "book");
		pass_ticking(2);
		uint64_t bytes = stat_now()->journal_bytes;
		most = bytes > most ? bytes : most;
	}
	cr_assert_leq(most, 18 * 8192); /* files went all the time */
	cr_assert_gt(stream_stat("book")->first_held, 1);
	cr_assert_str_eq(stream_stat("book")->backup_running, "FUL_7");
	add_order(&frames, "book", "FUL_8");
	cr_assert_eq(put_now(&client, &frames), TB_EBUSY);
}

Test(broker_replay, a_full_disk_holds_events_up_and_goes_on_by_itself)
{
	struct take_by collector = make_finisher();
	room_close();
	room.faulty = 1;
	room.options.journal_limit = 1u << 20;
	room_open();
	fill("book", 2);
	uint64_t epoch = stream_stat("book")->epoch, durable = stream_stat("book")->durable;
	for (int i = 0; stat_now()->held_up[0] == '\0'; i++) {
		cr_assert_lt(i, 20);
		fault_disk_fail(&room.fault, FAULT_ALLOCATE, 1, TB_ENOSPACE);
		tb_broker_event(room.broker, events_frame("book", epoch, durable + 1, 10, 100));
		commit();
		durable = stream_stat("book")->durable;
	}
	publish("book", epoch, durable + 1, 5);
	cr_assert_eq(tb_broker_gathered(room.broker), 0);
	finish_all(&collector, "book"); /* for such there is room yet */
	fault_disk_fail(&room.fault, FAULT_ALLOCATE, 1, TB_ENOSPACE);
	pass_ticking(1);
	cr_assert_str_neq(stat_now()->held_up, "");
	pass_ticking(2);
	cr_assert_str_eq(stat_now()->held_up, "");
	cr_assert(told("book")->again);
	fill("book", 1);
}

Test(broker_replay, without_room_for_a_first_file_it_does_not_open)
{
	room_close();
	tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
	tb_broker *broker;
	tb_journal_opened opened;
	tb_broker_options options = room.options;
	tb_broker_out out = { &room, room_answer, room_topic };
	options.journal.dir = room.dir;
	options.journal.disk = &room.fault.disk;
	options.clock = &room.clock;
	fault_disk_fail(&room.fault, FAULT_ALLOCATE, 1, TB_ENOSPACE);
	cr_assert_eq(tb_broker_open(&options, &out, &broker, &opened, &room.err), TB_ENOSPACE);
}
