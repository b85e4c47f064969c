#include "tb/publish.h"

#include "base/clock.h"
#include "base/disk.h"
#include "bus/publisher_parts.h"
#include "fake_line.h"
#include "wire/event.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define LONG (20 * TB_NS_PER_S)

static char directory[64];
static char path[96];
static tb_publisher_options options;
static tb_publisher *publisher;
static tb_buf arrived; /* the canonical bytes that reached the broker, one after the other */

static void arrive(void *self, uint64_t number, tb_span event)
{
	(void)self, (void)number;
	tb_buf_append_span(&arrived, event);
}

static tb_rc try_open(tb_err *err)
{
	return tb_publisher_open(&options, &publisher, err);
}

static void open_publisher(void)
{
	tb_err err = { 0 };
	cr_assert_eq(try_open(&err), TB_OK, "%s", err.text);
}

static void set_up(void)
{
	snprintf(directory, sizeof(directory), "/tmp/tb-publisher-XXXXXX");
	cr_assert(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/book.outbox", directory);
	options = (tb_publisher_options){ .stream = "book",
		                              .outbox = path,
		                              .outbox_size = 65536,
		                              .events_url = "inproc://events",
		                              .topics_url = "inproc://topics",
		                              .request_url = "inproc://broker" };
	fake.model = (model_broker){ .run_id = "life 1", .window_frames = 8, .window_bytes = 1 << 20, .accepted = arrive };
}

static void tear_down(void)
{
	tb_buf_drop(&arrived);
	tb_disk_remove_tree(tb_disk_system(), directory, NULL);
}

TestSuite(publisher, .init = set_up, .fini = tear_down, .timeout = 60);

static void set_away(int away)
{
	pthread_mutex_lock(&fake.lock);
	fake.away = away;
	pthread_mutex_unlock(&fake.lock);
}

static uint64_t put_one(void)
{
	uint64_t number;
	tb_err err = { 0 };
	cr_assert_eq(tb_publish_put(publisher, "order:17", 8, "0.56854", 7, &number, &err), TB_OK, "%s", err.text);
	return number;
}

static tb_publisher_figures figures(void)
{
	tb_publisher_figures all;
	tb_publisher_figures_get(publisher, &all);
	return all;
}

static void expect_durable(void)
{
	tb_err err = { 0 };
	cr_assert_eq(tb_publisher_wait(publisher, 0, TB_DURABLE, LONG, &err), TB_OK, "%s", err.text);
}

Test(publisher, numbers_events_and_carries_them_to_the_broker)
{
	open_publisher();
	for (uint64_t i = 1; i <= 1000; i++)
		cr_assert_eq(put_one(), i);
	expect_durable();
	tb_publisher_figures all = figures();
	cr_assert(all.accepted == 1000 && all.durable == 1000 && all.epoch == 1 && all.connected);
	cr_assert(all.frames_sent > 0 && all.outbox_size == 65536);
	tb_publisher_close(publisher);
	cr_assert_eq(fake.model.durable, 1000);
}

Test(publisher, what_arrives_is_what_was_published)
{
	tb_auto(tb_buf_drop) tb_buf expected = { 0 };
	tb_event event;
	open_publisher();
	tb_event_default(&event, TB_EVENT_GHOST);
	event.time_ns = 1723161253937085768;
	event.body.ghost.trigger = "price_spike";
	event.body.ghost.event_type = "ghost_trigger";
	event.body.ghost.pair = "BTC->ETH";
	event.body.ghost.bit_phase = 4;
	cr_assert_eq(tb_event_pack(&expected, &event, 1, NULL, NULL), TB_OK);
	cr_assert_eq(tb_publish(publisher, &event, NULL, NULL), TB_OK);
	cr_assert_eq(tb_publish_canonical(publisher, expected.data, expected.size, NULL, NULL), TB_OK);
	expect_durable();
	tb_publisher_close(publisher);
	cr_assert_eq(arrived.size, 2 * expected.size);
	cr_assert_arr_eq(arrived.data, expected.data, expected.size);
	cr_assert_arr_eq(arrived.data + expected.size, expected.data, expected.size);
}

Test(publisher, an_event_that_breaks_a_rule_takes_no_number)
{
	tb_err err = { 0 };
	open_publisher();
	put_one();
	cr_assert_eq(tb_publish_put(publisher, "", 0, "x", 1, NULL, &err), TB_EINVAL);
	cr_assert_neq(err.text[0], '\0');
	cr_assert_eq(tb_publish_canonical(publisher, "\x08", 1, NULL, &err), TB_EINVAL);
	cr_assert_eq(tb_publish_canonical(publisher, "", 0, NULL, NULL), TB_EINVAL);
	cr_assert_eq(put_one(), 2);
	cr_assert_eq(tb_publish_delete(publisher, "order:17", 8, NULL, NULL), TB_OK);
	cr_assert_eq(figures().accepted, 3);
	tb_publisher_close(publisher);
}

Test(publisher, stored_is_waited_for_like_durable)
{
	open_publisher();
	for (int i = 0; i < 10; i++)
		put_one();
	fake.model.stored_behind = 0;
	cr_assert_eq(tb_publisher_wait(publisher, 0, TB_STORED, LONG, NULL), TB_OK);
	cr_assert_eq(tb_publisher_wait(publisher, 4, TB_ACCEPTED, 0, NULL), TB_OK);
	cr_assert_eq(tb_publisher_wait(publisher, 11, TB_ACCEPTED, 0, NULL), TB_EINVAL);
	cr_assert_eq(tb_publisher_wait(publisher, 11, TB_DURABLE, LONG, NULL), TB_EINVAL);
	tb_publisher_close(publisher);
}

Test(publisher, while_the_broker_is_away_events_are_accepted_and_they_go_out_later)
{
	open_publisher();
	put_one();
	expect_durable();
	tb_publisher_close(publisher);

	set_away(1);
	open_publisher();
	for (int i = 0; i < 20; i++)
		put_one();
	tb_err err;
	cr_assert_eq(tb_publisher_wait(publisher, 0, TB_DURABLE, 0, &err), TB_ETIMEOUT);
	cr_assert(strstr(err.text, "21") && err.hint[0]);
	cr_assert(!figures().connected && figures().durable == 1);
	tb_publisher_close(publisher);

	open_publisher();
	put_one();
	set_away(0);
	expect_durable();
	tb_publisher_close(publisher);
	cr_assert_eq(fake.model.durable, 22);
}

static unsigned hellos(void)
{
	pthread_mutex_lock(&fake.lock);
	unsigned count = fake.hellos;
	pthread_mutex_unlock(&fake.lock);
	return count;
}

Test(publisher, a_connection_that_was_lost_and_made_again_unseen_asks_for_a_window_at_once)
{
	open_publisher();
	put_one();
	expect_durable();
	unsigned before = hellos();
	pthread_mutex_lock(&fake.lock);
	fake.redials++;
	pthread_mutex_unlock(&fake.lock);
	uint64_t deadline = tb_mono_ns(tb_clock_system()) + LONG;
	while (hellos() == before) {
		cr_assert_lt(tb_mono_ns(tb_clock_system()), deadline, "it doesn't ask");
		sched_yield();
	}
	put_one();
	expect_durable();
	tb_publisher_close(publisher);
}

Test(publisher, a_new_outbox_goes_on_where_the_stream_stands)
{
	fake.model.durable = 41;
	open_publisher();
	cr_assert_eq(put_one(), 42);
	expect_durable();
	tb_publisher_close(publisher);
}

Test(publisher, a_full_outbox_says_so_and_goes_on_when_the_broker_is_back)
{
	tb_rc rc;
	open_publisher();
	set_away(1);
	uint64_t accepted = 0;
	while ((rc = tb_publish_put(publisher, "key", 3, "value", 5, NULL, NULL)) == TB_OK)
		accepted++;
	cr_assert_eq(rc, TB_EFULL);
	set_away(0);
	expect_durable();
	while (tb_publish_put(publisher, "key", 3, "value", 5, NULL, NULL) == TB_EFULL)
		sched_yield();
	expect_durable();
	tb_publisher_close(publisher);
	cr_assert_eq(fake.model.durable, accepted + 1);
}

Test(publisher, a_fenced_one_stops_accepting)
{
	tb_err err;
	open_publisher();
	put_one();
	expect_durable();
	pthread_mutex_lock(&fake.lock);
	fake.refuse = TB_EFENCED;
	fake.model.epoch++;
	pthread_mutex_unlock(&fake.lock);
	put_one();
	cr_assert_eq(tb_publisher_wait(publisher, 2, TB_DURABLE, LONG, &err), TB_EFENCED);
	cr_assert_eq(tb_publish_put(publisher, "key", 3, "value", 5, NULL, &err), TB_EFENCED);
	cr_assert_eq(tb_publisher_wait(publisher, 1, TB_DURABLE, 0, NULL), TB_OK);
	tb_publisher_close(publisher);
}

Test(publisher, opening_fails_with_a_lasting_failure_that_is_known_at_once)
{
	tb_err err;
	fake.refuse = TB_EFENCED;
	cr_assert_eq(try_open(&err), TB_EFENCED);
	fake.refuse = TB_OK;
	open_publisher();
	tb_publisher *other = publisher;
	cr_assert_eq(try_open(&err), TB_EBUSY);
	tb_publisher_close(other);
}

Test(publisher, what_is_missing_from_the_options_is_named)
{
	tb_err err;
	options.stream = "a/b";
	cr_assert_eq(try_open(&err), TB_EINVAL);
	options.stream = NULL;
	cr_assert_eq(try_open(&err), TB_EINVAL);
	options.stream = "book";
	options.topics_url = NULL;
	cr_assert_eq(try_open(&err), TB_EINVAL);
	cr_assert(strstr(err.text, "addresses"));
	options.outbox = NULL;
	cr_assert_eq(try_open(&err), TB_EINVAL);
	cr_assert(strstr(err.text, "outbox"));
	tb_publisher_close(NULL);
}

Test(publisher, an_instances_directory_is_enough)
{
	options = (tb_publisher_options){ .stream = "book", .dir = directory, .outbox_size = 65536 };
	open_publisher();
	cr_assert_eq(put_one(), 1);
	tb_publisher_close(publisher);
	snprintf(path, sizeof(path), "%s/outbox/book.outbox", directory);
	cr_assert_eq(access(path, F_OK), 0);
}

Test(publisher, goes_on_with_a_broker_that_starts_again_and_loses_a_third)
{
	open_publisher();
	pthread_mutex_lock(&fake.lock);
	fake.lose_one_in = 3;
	pthread_mutex_unlock(&fake.lock);
	for (uint64_t i = 1; i <= 3000; i++) {
		while (tb_publish_put(publisher, "key", 3, "value", 5, NULL, NULL) == TB_EFULL)
			sched_yield();
		if (i % 1000 != 0)
			continue;
		pthread_mutex_lock(&fake.lock);
		model_restart(&fake.model);
		pthread_mutex_unlock(&fake.lock);
	}
	expect_durable();
	tb_publisher_close(publisher);
	cr_assert_eq(fake.model.durable, 3000);
}

Test(publisher, what_a_busy_line_does_not_take_goes_later)
{
	open_publisher();
	pthread_mutex_lock(&fake.lock);
	fake.busy = 3;
	pthread_mutex_unlock(&fake.lock);
	put_one();
	expect_durable();
	pthread_mutex_lock(&fake.lock);
	cr_assert_eq(fake.busy, 0);
	pthread_mutex_unlock(&fake.lock);
	tb_publisher_close(publisher);
}

Test(publisher, large_events_go_too_and_their_memory_is_given_back)
{
	static char value[3 << 20];
	options.outbox_size = 16 << 20;
	fake.model.window_bytes = 8 << 20;
	open_publisher();
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(tb_publish_put(publisher, "k", 1, value, sizeof(value), NULL, NULL), TB_OK);
		put_one();
		expect_durable();
	}
	tb_publisher_close(publisher);
	cr_assert_eq(fake.model.durable, 4);
}

static void *wait_for_it(void *result)
{
	*(tb_rc *)result = tb_publisher_wait(publisher, 0, TB_DURABLE, 3600 * TB_NS_PER_S, NULL);
	return NULL;
}

Test(publisher, closing_ends_the_waits_for_it)
{
	pthread_t thread;
	tb_rc rc = TB_OK;
	open_publisher();
	set_away(1);
	put_one();
	cr_assert_eq(pthread_create(&thread, NULL, wait_for_it, &rc), 0);
	while (atomic_load(&publisher->waiters) == 0)
		sched_yield();
	tb_publisher_close(publisher);
	pthread_join(thread, NULL);
	cr_assert_eq(rc, TB_EINTERRUPTED);
}
