/* Inside the publisher: its caller's side (publisher.c), its background thread (publisher_thread.c),
 * opening and closing (publisher_open.c). */
#ifndef TB_BUS_PUBLISHER_PARTS_H
#define TB_BUS_PUBLISHER_PARTS_H

#include "bus/bus.h"
#include "bus/publisher_pump.h"
#include "tb/publish.h"

#include <pthread.h>
#include <stdatomic.h>

/* What keeps tb_publish from its short way. */
enum publisher_gate { GATE_OPEN = 0, GATE_DOUBTFUL = 1, GATE_FAILED = 2 };

struct tb_publisher {
	char *stream;
	const tb_clock *clock;
	tb_outbox *outbox;
	tb_outbox_opened opened;

	/* the caller's */
	tb_buf scratch;
	tb_arena *arena;

	/* the background thread's */
	pthread_t thread;
	int thread_runs;
	tb_pump *pump;
	tb_line *line;
	unsigned pipe; /* of the line, when it was looked at last */
	tb_bus *bus;
	tb_arena *turn;
	tb_buf heard;
	int wake_fd, stop_fd;

	/* both sides' */
	_Alignas(64) atomic_int gate; /* DOUBTFUL goes for good when numbers are confirmed; FAILED comes for good */
	atomic_int asleep;            /* the thread wants to be woken by the next event */
	atomic_int closing;
	_Alignas(64) _Atomic uint64_t durable, stored;
	_Atomic uint64_t epoch, begun, frames_sent, went_back;
	atomic_int connected;
	atomic_uint waiters;

	pthread_mutex_t lock; /* over the outbox's writing side while the gate is DOUBTFUL, and what follows */
	pthread_cond_t changed;
	tb_err failure, trouble;
	uint64_t moved_first, moved_last, moved_by; /* numbers that were told before the broker answered, and where they went */
};

/* With the lock, when the gate is FAILED. */
tb_rc publisher_tell_failure(const tb_publisher *publisher, tb_err *err);
struct timespec publisher_deadline(const tb_publisher *publisher, uint64_t timeout_ns);
void *publisher_run(void *publisher); /* the thread */

#endif
