/* An engine for soak runs: it publishes at a rate until it is told to end (TERM), and may be killed at any moment.
 *
 *   tb-soak-engine DIR STREAM RATE PAGE
 *
 * Event N is a put of key N * 7919 mod KEYS, whose value says N: so whoever knows the numbers knows all. PAGE is a file of
 * five 64-bit numbers, mapped, so that they outlive the process: the highest number accepted, the highest heard to be
 * durable, the same for stored, how often an event wasn't taken because the outbox was full, and the longest time that
 * tb_publish took, in ns. At the start what was accepted by the life before has to be there still. On TERM it waits until
 * all is stored. */
#include "base/clock.h"
#include "tb/publish.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define KEYS 5000u
#define PATIENCE (120 * TB_NS_PER_S)
#define SLICE_NS (2 * TB_NS_PER_MS)

struct page {
	volatile uint64_t accepted, durable, stored, full, longest_ns;
};

static volatile sig_atomic_t ended;

static void end(int signo)
{
	(void)signo;
	ended = 1;
}

static _Noreturn void die(const char *what, const tb_err *err)
{
	fprintf(stderr, "tb-soak-engine: %s: %s\n", what, err->text);
	exit(1);
}

static struct page *page_map(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(struct page)) != 0) {
		perror(path);
		exit(1);
	}
	struct page *page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (page == MAP_FAILED) {
		perror(path);
		exit(1);
	}
	return page;
}

static void note(tb_publisher *publisher, struct page *page)
{
	tb_publisher_figures figures;
	tb_publisher_figures_get(publisher, &figures);
	page->accepted = figures.accepted;
	page->durable = figures.durable;
	page->stored = figures.stored;
}

static tb_rc publish_timed(tb_publisher *publisher, struct page *page, uint64_t number, uint64_t *ret_number, tb_err *err)
{
	char key[32], value[96];
	int key_size = snprintf(key, sizeof(key), "key:%u", (unsigned)(number * 7919 % KEYS));
	int value_size = snprintf(value, sizeof(value), "%020" PRIu64 " buy 0.25 BTC at 61737.63 of the soak run", number);
	uint64_t begun = tb_mono_ns(tb_clock_system());
	tb_rc rc = tb_publish_put(publisher, key, (size_t)key_size, value, (size_t)value_size, ret_number, err);
	uint64_t took = tb_mono_ns(tb_clock_system()) - begun;
	if (took > page->longest_ns)
		page->longest_ns = took;
	return rc;
}

static void publish(tb_publisher *publisher, struct page *page, uint64_t number)
{
	tb_err err;
	uint64_t got;
	while (publish_timed(publisher, page, number, &got, &err) != TB_OK) {
		if (err.rc != TB_EFULL)
			die("can't publish", &err);
		page->full++;
		note(publisher, page);
		tb_publisher_wait(publisher, 0, TB_DURABLE, TB_NS_PER_S, NULL);
		if (ended)
			return;
	}
	if (got != number) {
		fprintf(stderr, "tb-soak-engine: event %" PRIu64 " was numbered %" PRIu64 "\n", number, got);
		exit(1);
	}
	page->accepted = number;
}

/* As many as are due by now, then a short sleep. */
static void run(tb_publisher *publisher, struct page *page, uint64_t rate)
{
	uint64_t begun = tb_mono_ns(tb_clock_system()), done = 0;
	while (!ended) {
		uint64_t due = (tb_mono_ns(tb_clock_system()) - begun) / TB_NS_PER_MS * rate / 1000;
		for (; done < due && !ended; done++)
			publish(publisher, page, page->accepted + 1);
		note(publisher, page);
		nanosleep(&(struct timespec){ .tv_nsec = SLICE_NS }, NULL);
	}
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: tb-soak-engine DIR STREAM RATE PAGE\n");
		return 2;
	}
	tb_err err;
	tb_publisher *publisher;
	struct page *page = page_map(argv[4]);
	char outbox[4096];
	snprintf(outbox, sizeof(outbox), "%s/outbox/%s", argv[1], argv[2]);
	struct sigaction action = { .sa_handler = end };
	sigaction(SIGTERM, &action, NULL);
	tb_publisher_options options = { .stream = argv[2], .dir = argv[1], .outbox = outbox };
	if (tb_publisher_open(&options, &publisher, &err) != TB_OK)
		die("can't open the outbox", &err);
	uint64_t promised = page->accepted, heard = page->durable;
	note(publisher, page);
	if (page->accepted < promised || page->accepted < heard) {
		fprintf(stderr, "tb-soak-engine: LOST: %" PRIu64 " were accepted, %" PRIu64 " are there\n", promised, page->accepted);
		return 1;
	}
	run(publisher, page, strtoull(argv[3], NULL, 10));
	if (tb_publisher_wait(publisher, 0, TB_STORED, PATIENCE, &err) != TB_OK)
		die("not everything is stored", &err);
	note(publisher, page);
	tb_publisher_close(publisher);
	return 0;
}
