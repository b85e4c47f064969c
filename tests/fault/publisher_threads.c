/* The publisher under several threads, over a line that loses messages and a model of a broker that goes away and starts
 * again. A plain program, for ThreadSanitizer. Prints what it did; 0 when all of it held. An argument is the number of
 * rounds. */
#include "fake_line.h"
#include "fault/publisher_hammer.h"

#define EVENTS 4000u

static uint64_t arrived;

static void arrive(void *self, uint64_t number, tb_span event)
{
	(void)self, (void)event;
	check(number == ++arrived, "an event arrived out of order");
}

static void *make_trouble(void *context)
{
	(void)context;
	for (unsigned i = 0; !atomic_load(&hammer.done); i++) {
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
	check(tb_publisher_open(&options, &hammer.publisher, &err) == TB_OK, "can't open");
	hammer_on(1, EVENTS, make_trouble);
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
