/* The publisher under several threads, over real sockets and to a real broker, which may be killed and started meanwhile.
 * A plain program, for ThreadSanitizer: publisher-real DIRECTORY [ROUNDS]. Nothing must store what is published. Each round
 * opens the same outbox anew. Prints what it did; 0 when all of it held. */
#include "fault/publisher_hammer.h"

#define EVENTS 20000u

static void play_round(const tb_publisher_options *options, uint64_t round)
{
	tb_err err;
	tb_rc rc = tb_publisher_open(options, &hammer.publisher, &err);
	if (rc != TB_OK)
		fprintf(stderr, "%s\n", err.text);
	check(rc == TB_OK, "can't open");
	tb_publisher_figures figures;
	tb_publisher_figures_get(hammer.publisher, &figures);
	check(figures.accepted == round * EVENTS, "it doesn't go on where it ended");
	hammer_on(figures.accepted + 1, figures.accepted + EVENTS, NULL);
	close_under_a_waiter();
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: publisher-real DIRECTORY [ROUNDS]\n");
		return 2;
	}
	uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 3;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_buf_print(&path, "%s/outbox/book", argv[1]);
	tb_publisher_options options = { .stream = "book", .outbox = tb_buf_text(&path), .outbox_size = 1 << 20,
		                         .dir = argv[1] };
	for (uint64_t round = 0; round < rounds; round++)
		play_round(&options, round);
	printf("%llu rounds of %u events\n", (unsigned long long)rounds, EVENTS);
	return 0;
}
