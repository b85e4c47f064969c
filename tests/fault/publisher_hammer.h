/* Publishing, waiting, reading figures and closing from several threads at once. For plain programs, as Criterion can't
 * start under ThreadSanitizer; a failed check ends the process. */
#ifndef TESTS_PUBLISHER_HAMMER_H
#define TESTS_PUBLISHER_HAMMER_H

#include "base/disk.h"
#include "bus/publisher_parts.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define HAMMER_WAITERS 3

static struct {
	tb_publisher *publisher;
	uint64_t last; /* the number to come to */
	atomic_int done;
} hammer;

static void check(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "publisher threads: %s\n", what);
	abort();
}

static void *publish_all(void *context)
{
	uint64_t number = *(uint64_t *)context;
	while (number < hammer.last) {
		uint64_t before = number;
		tb_rc rc = tb_publish_put(hammer.publisher, "order:000017", 12, "61737.6300", 10, &number, NULL);
		check(rc == TB_OK || rc == TB_EFULL, "an event was refused");
		check(number == before + (rc == TB_OK), "numbers are not dense");
		if (rc == TB_EFULL)
			sched_yield();
	}
	return NULL;
}

static void *wait_often(void *context)
{
	tb_promise promise = *(tb_promise *)context;
	while (!atomic_load(&hammer.done)) {
		tb_rc rc = tb_publisher_wait(hammer.publisher, 0, promise, 2 * TB_NS_PER_MS, NULL);
		check(rc == TB_OK || rc == TB_ETIMEOUT, "waiting failed");
	}
	return NULL;
}

static void *read_figures(void *context)
{
	(void)context;
	while (!atomic_load(&hammer.done)) {
		tb_publisher_figures all;
		tb_publisher_figures_get(hammer.publisher, &all);
		check(all.durable <= all.accepted, "more is durable than was accepted");
		check(all.outbox_used <= all.outbox_size, "more is used than there is");
		sched_yield();
	}
	return NULL;
}

static void *wait_for_ever(void *context)
{
	(void)context;
	tb_rc rc = tb_publisher_wait(hammer.publisher, 0, TB_STORED, UINT64_MAX, NULL);
	check(rc == TB_EINTERRUPTED, "closing did not end a wait");
	return NULL;
}

/* The last number must not be stored before. */
static void close_under_a_waiter(void)
{
	pthread_t waiter;
	pthread_create(&waiter, NULL, wait_for_ever, NULL);
	while (atomic_load(&hammer.publisher->waiters) == 0)
		sched_yield();
	tb_publisher_close(hammer.publisher);
	pthread_join(waiter, NULL);
}

/* Events first..last, while others wait and read, and trouble (NULL: nobody) goes on until hammer.done. */
static void hammer_on(uint64_t first, uint64_t last, void *(*trouble)(void *context))
{
	static tb_promise promises[HAMMER_WAITERS] = { TB_ACCEPTED, TB_DURABLE, TB_STORED };
	pthread_t writer, reader, troubler, waiters[HAMMER_WAITERS];
	uint64_t before = first - 1;
	hammer.last = last;
	atomic_store(&hammer.done, 0);
	pthread_create(&writer, NULL, publish_all, &before);
	pthread_create(&reader, NULL, read_figures, NULL);
	if (trouble != NULL)
		pthread_create(&troubler, NULL, trouble, NULL);
	for (int i = 0; i < HAMMER_WAITERS; i++)
		pthread_create(&waiters[i], NULL, wait_often, &promises[i]);
	pthread_join(writer, NULL);
	check(tb_publisher_wait(hammer.publisher, last, TB_DURABLE, 60 * TB_NS_PER_S, NULL) == TB_OK,
	      "not durable in a minute");
	atomic_store(&hammer.done, 1);
	pthread_join(reader, NULL);
	if (trouble != NULL)
		pthread_join(troubler, NULL);
	for (int i = 0; i < HAMMER_WAITERS; i++)
		pthread_join(waiters[i], NULL);
}

#endif
