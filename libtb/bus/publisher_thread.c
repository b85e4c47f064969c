#include "bus/publisher_parts.h"

#include <poll.h>
#include <sys/eventfd.h>

#define HELLO_TIMEOUT TB_NS_PER_S
#define LINE_BUSY_WAIT TB_NS_PER_MS
#define LINE_DOWN_WAIT (10 * TB_NS_PER_MS)
#define HEARD_MAX 1024 /* in one turn */
#define SENT_MAX 64

static void hear_answer(tb_publisher *publisher, const Tb__HelloReply *reply)
{
	uint64_t shift = tb_outbox_shift(publisher->outbox), last = tb_outbox_last(publisher->outbox);
	tb_pump_answered(publisher->pump, reply);
	uint64_t moved = tb_outbox_shift(publisher->outbox) - shift;
	if (moved == 0)
		return;
	publisher->moved_first = reply->place + shift;
	publisher->moved_last = last;
	publisher->moved_by = moved;
}

static void say_hello(tb_publisher *publisher)
{
	Tb__HelloRequest request;
	Tb__HelloReply *reply = NULL;
	tb_err err = { 0 };
	if (!tb_pump_hello(publisher->pump, &request))
		return;
	tb_arena_reset(publisher->turn);
	tb_rc rc = tb_bus_hello(publisher->bus, &request, HELLO_TIMEOUT, publisher->turn, &reply, &err);
	/* The answer may move numbers. */
	pthread_mutex_lock(&publisher->lock);
	if (rc == TB_OK)
		hear_answer(publisher, reply);
	else
		tb_pump_unanswered(publisher->pump, rc, reply, &err);
	publisher->trouble = *tb_pump_trouble(publisher->pump);
	if (tb_pump_confirmed(publisher->pump))
		atomic_fetch_and(&publisher->gate, ~GATE_DOUBTFUL);
	pthread_cond_broadcast(&publisher->changed);
	pthread_mutex_unlock(&publisher->lock);
}

static void hear(tb_publisher *publisher)
{
	tb_span body;
	for (int i = 0; i < HEARD_MAX && tb_line_hear(publisher->line, &publisher->heard, &body, NULL) == TB_OK; i++)
		tb_pump_heard(publisher->pump, body);
}

/* A broker that was killed is asked for a window as soon as it is back, and not only when it has been silent for long. */
static void watch_pipe(tb_publisher *publisher)
{
	unsigned pipe = tb_line_pipe(publisher->line);
	if (publisher->pipe != 0 && pipe != publisher->pipe)
		tb_pump_cut(publisher->pump);
	publisher->pipe = pipe;
}

/* How long to leave the line alone; 0: it took all there was. */
static uint64_t send_frames(tb_publisher *publisher)
{
	tb_span frame;
	if (!tb_line_connected(publisher->line))
		return LINE_DOWN_WAIT;
	for (int i = 0; i < SENT_MAX && tb_pump_next(publisher->pump, &frame); i++) {
		if (tb_line_send(publisher->line, frame, NULL) != TB_OK)
			return LINE_BUSY_WAIT;
		tb_pump_sent(publisher->pump);
	}
	return 0;
}

static void note_failure(tb_publisher *publisher)
{
	tb_err failure;
	if (tb_pump_failure(publisher->pump, &failure) == TB_OK || atomic_load(&publisher->gate) & GATE_FAILED)
		return;
	pthread_mutex_lock(&publisher->lock);
	publisher->failure = failure;
	atomic_fetch_or(&publisher->gate, GATE_FAILED);
	pthread_cond_broadcast(&publisher->changed);
	pthread_mutex_unlock(&publisher->lock);
}

static void tell_progress(tb_publisher *publisher)
{
	tb_pump_figures figures;
	tb_pump_figures_get(publisher->pump, &figures);
	int moved = figures.durable != atomic_load_explicit(&publisher->durable, memory_order_relaxed) ||
	            figures.stored != atomic_load_explicit(&publisher->stored, memory_order_relaxed);
	atomic_store(&publisher->durable, figures.durable);
	atomic_store(&publisher->stored, figures.stored);
	atomic_store_explicit(&publisher->epoch, figures.epoch, memory_order_relaxed);
	atomic_store_explicit(&publisher->begun, figures.begun, memory_order_relaxed);
	atomic_store_explicit(&publisher->frames_sent, figures.frames_sent, memory_order_relaxed);
	atomic_store_explicit(&publisher->went_back, figures.went_back, memory_order_relaxed);
	atomic_store_explicit(&publisher->connected, figures.granted && tb_line_connected(publisher->line),
	                      memory_order_relaxed);
	if (!moved || atomic_fetch_add(&publisher->waiters, 0) == 0)
		return;
	pthread_mutex_lock(&publisher->lock);
	pthread_cond_broadcast(&publisher->changed);
	pthread_mutex_unlock(&publisher->lock);
}

static void doze(tb_publisher *publisher, uint64_t deadline)
{
	struct pollfd fds[] = { { .fd = publisher->stop_fd, .events = POLLIN },
		                    { .fd = publisher->wake_fd, .events = POLLIN },
		                    { .fd = tb_line_fd(publisher->line), .events = POLLIN } };
	uint64_t now = tb_mono_ns(publisher->clock);
	uint64_t left = deadline > now ? deadline - now : 0;
	struct timespec timeout = { (time_t)(left / TB_NS_PER_S), (long)(left % TB_NS_PER_S) };
	eventfd_t ignored;
	if (ppoll(fds, 3, deadline == UINT64_MAX ? NULL : &timeout, NULL) > 0 && fds[1].revents)
		eventfd_read(publisher->wake_fd, &ignored);
}

static void rest(tb_publisher *publisher, uint64_t leave_alone)
{
	/* Nobody tells when the line is there again. */
	uint64_t deadline = leave_alone != 0 ? tb_mono_ns(publisher->clock) + leave_alone : tb_pump_deadline(publisher->pump);
	if (leave_alone == 0 && tb_pump_awaits_events(publisher->pump)) {
		atomic_exchange_explicit(&publisher->asleep, 1, memory_order_acq_rel);
		if (tb_outbox_last(publisher->outbox) == tb_pump_seen(publisher->pump))
			doze(publisher, deadline);
		atomic_store_explicit(&publisher->asleep, 0, memory_order_relaxed);
	} else {
		doze(publisher, deadline);
	}
}

void *publisher_run(void *context)
{
	tb_publisher *publisher = context;
	pthread_setname_np(pthread_self(), "tb-publisher");
	while (!atomic_load(&publisher->closing)) {
		watch_pipe(publisher);
		say_hello(publisher);
		hear(publisher);
		uint64_t leave_alone = send_frames(publisher);
		note_failure(publisher);
		tell_progress(publisher);
		rest(publisher, leave_alone);
	}
	return NULL;
}
