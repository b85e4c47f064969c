/* Publishing, waiting, reading figures and closing from several threads at once, over a line that loses messages and a
 * broker that goes away and starts again. A plain program, for ThreadSanitizer. Prints what it did; 0 when all of it
 * held. An argument is the number of rounds. */
#include "bus/publisher_parts.h"

#include "base/disk.h"
#include "fake_line.h"

#include <sched.h>
#include <stdio.h>

#define EVENTS 4000u
#define WAITERS 3

static tb_publisher *publisher;
static atomic_int done;
static uint64_t arrived;

static void check(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "publisher_threads: %s\n", what);
	abort();
}

static void arrive(void *self, uint64_t number, tb_span event)
{
	(void)self, (void)event;
	check(number == ++arrived, "an event arrived out of order");
}

static void *publish_all(void *context)
{
	(void)context;
	uint64_t number = 0;
	while (number < EVENTS) {
		tb_rc rc = tb_publish_put(publisher, "order:000017", 12, "61737.6300", 10, &number, NULL);
		check(rc == TB_OK || rc == TB_EFULL, "an event was refused");
		if (rc == TB_EFULL)
			sched_yield();
	}
	check(number == EVENTS, "numbers are not dense");
	return NULL;
}

static void *wait_often(void *context)
{
	tb_promise promise = *(tb_promise *)context;
	while (!atomic_load(&done)) {
		tb_rc rc = tb_publisher_wait(publisher, 0, promise, 2 * TB_NS_PER_MS, NULL);
		check(rc == TB_OK || rc == TB_ETIMEOUT, "waiting failed");
	}
	return NULL;
}

static void *read_figures(void *context)
{
	(void)context;
	while (!atomic_load(&done)) {
		tb_publisher_figures all;
		tb_publisher_figures_get(publisher, &all);
		check(all.durable <= all.accepted, "more is durable than was accepted");
		check(all.outbox_used <= all.outbox_size, "more is used than there is");
		sched_yield();
	}
	return NULL;
}

static void *make_trouble(void *context)
{
	(void)context;
	for (unsigned i = 0; !atomic_load(&done); i++) {
		pthread_mutex_lock(&fake.lock);
		fake.away = i % 5 == 0;
		fake.lose_one_in = i % 3 ? 8 : 0;
		if (i % 7 == 0)
			model_restart(&fake.model);
		pthread_mutex_unlock(&fake.lock);
		struct timespec moment = { 0, 3000000 };
		nanosleep(&moment, NULL);
	}
	return NULL;
}

static void *wait_for_ever(void *context)
{
	(void)context;
	tb_rc rc = tb_publisher_wait(publisher, 0, TB_STORED, UINT64_MAX, NULL);
	check(rc == TB_EINTERRUPTED, "closing did not end a wait");
	return NULL;
}

static void close_under_a_waiter(void)
{
	pthread_t waiter;
	pthread_create(&waiter, NULL, wait_for_ever, NULL);
	while (atomic_load(&publisher->waiters) == 0)
		sched_yield();
	tb_publisher_close(publisher);
	pthread_join(waiter, NULL);
}

static void hammer(void)
{
	static tb_promise promises[WAITERS] = { TB_ACCEPTED, TB_DURABLE, TB_STORED };
	pthread_t writer, reader, trouble, waiters[WAITERS];
	atomic_store(&done, 0);
	pthread_create(&writer, NULL, publish_all, NULL);
	pthread_create(&reader, NULL, read_figures, NULL);
	pthread_create(&trouble, NULL, make_trouble, NULL);
	for (int i = 0; i < WAITERS; i++)
		pthread_create(&waiters[i], NULL, wait_often, &promises[i]);
	pthread_join(writer, NULL);
	check(tb_publisher_wait(publisher, EVENTS, TB_DURABLE, 60 * TB_NS_PER_S, NULL) == TB_OK, "not durable in a minute");
	atomic_store(&done, 1);
	pthread_join(reader, NULL);
	pthread_join(trouble, NULL);
	for (int i = 0; i < WAITERS; i++)
		pthread_join(waiters[i], NULL);
}

static void play_round(const char *directory, int round)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_buf_print(&path, "%s/%d.outbox", directory, round);
	tb_publisher_options options = { .stream = "book",
		                             .outbox = tb_buf_text(&path),
		                             .outbox_size = 65536,
		                             .events_url = "inproc://events",
		                             .topics_url = "inproc://topics",
		                             .request_url = "inproc://broker" };
	tb_err err;
	arrived = 0;
	fake.away = 0;
	fake.lose_one_in = 0;
	fake.model = (model_broker){
		.run_id = "a life", .window_frames = 8, .window_bytes = 1 << 20, .stored_behind = 10, .accepted = arrive
	};
	check(tb_publisher_open(&options, &publisher, &err) == TB_OK, "can't open");
	hammer();
	close_under_a_waiter();
	check(arrived == EVENTS, "not everything arrived");
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 5;
	char directory[] = "/tmp/tb-threads-XXXXXX";
	check(mkdtemp(directory) != NULL, "can't make a directory");
	for (int round = 0; round < rounds; round++)
		play_round(directory, round);
	tb_disk_remove_tree(tb_disk_system(), directory, NULL);
	printf("%d rounds of %u events\n", rounds, EVENTS);
	return 0;
}
