/* An engine as somebody else writes one, by the public header alone, on any host:
 *   tb-far-engine KEYS|- EVENTS_URL TOPICS_URL REQUEST_URL OUTBOX STREAM COUNT RATE
 * It puts COUNT keys at RATE a second, each with its event's number as value, waits until they are stored, and prints the
 * last number, the frames it sent and how often it had to go back for lost ones. */
#include "tb/publish.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE UINT64_C(90000000000) /* a bound against hanging */

static int fail(const tb_err *err)
{
	fprintf(stderr, "%s\n", err->text);
	return tb_rc_exit(err->rc);
}

static tb_rc publish(tb_publisher *publisher, uint64_t count, uint64_t rate, tb_err *err)
{
	const struct timespec pause = { 0, rate > 0 ? (long)(1000000000 / rate) : 0 };
	tb_publisher_figures figures;
	tb_publisher_figures_get(publisher, &figures);
	uint64_t number = figures.accepted;
	for (uint64_t i = 0; i < count; i++) {
		char key[32], value[32];
		snprintf(key, sizeof(key), "key-%" PRIu64, number % 1000);
		snprintf(value, sizeof(value), "%" PRIu64, number + 1);
		tb_rc rc = tb_publish_put(publisher, key, strlen(key), value, strlen(value), &number, err);
		if (rc != TB_OK)
			return rc;
		if (rate > 0)
			nanosleep(&pause, NULL);
	}
	return tb_publisher_wait(publisher, 0, TB_STORED, PATIENCE, err);
}

int main(int argc, char **argv)
{
	if (argc != 9) {
		fprintf(stderr, "usage: tb-far-engine KEYS|- EVENTS TOPICS REQUEST OUTBOX STREAM COUNT RATE\n");
		return 2;
	}
	const tb_publisher_options options = {
		.host_keys = strcmp(argv[1], "-") != 0 ? argv[1] : NULL,
		.events_url = argv[2], .topics_url = argv[3], .request_url = argv[4], .outbox = argv[5], .stream = argv[6],
		.outbox_size = 8 << 20,
	};
	tb_publisher *publisher;
	tb_publisher_figures figures;
	tb_err err = { 0 };
	if (tb_publisher_open(&options, &publisher, &err) != TB_OK)
		return fail(&err);
	tb_rc rc = publish(publisher, strtoull(argv[7], NULL, 10), strtoull(argv[8], NULL, 10), &err);
	tb_publisher_figures_get(publisher, &figures);
	tb_publisher_close(publisher);
	if (rc != TB_OK)
		return fail(&err);
	printf("%" PRIu64 " events, %" PRIu64 " frames sent, went back %" PRIu64 " times\n", figures.accepted,
	       figures.frames_sent, figures.went_back);
	return 0;
}
