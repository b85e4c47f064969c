#include "bus/publisher_parts.h"

#include "wire/event.h"

#include <errno.h>
#include <sys/eventfd.h>

#define SCRATCH_KEPT (1024u * 1024)

static void wake(tb_publisher *publisher)
{
	eventfd_write(publisher->wake_fd, 1);
}

static tb_reset_step step_of(const tb_event *event)
{
	if (event->kind != TB_EVENT_RESET)
		return TB_RESET_NONE;
	return event->body.reset.commit ? TB_RESET_COMMIT : TB_RESET_BEGIN;
}

static tb_rc put(tb_publisher *publisher, tb_span canonical, tb_reset_step step, uint64_t *ret_number, tb_err *err)
{
	uint8_t *payload;
	tb_rc rc = tb_outbox_reserve(publisher->outbox, canonical.size, &payload, err);
	if (rc == TB_EFULL)
		wake(publisher);
	if (rc != TB_OK)
		return rc;
	memcpy(payload, canonical.data, canonical.size);
	uint64_t number = tb_outbox_commit(publisher->outbox, canonical.size, step);
	if (ret_number != NULL)
		*ret_number = number;
	/* An exchange on both sides: either the thread sees the event before it sleeps, or this sees it asleep. */
	if (atomic_exchange_explicit(&publisher->asleep, 0, memory_order_acq_rel))
		wake(publisher);
	return TB_OK;
}

tb_rc publisher_tell_failure(const tb_publisher *publisher, tb_err *err)
{
	if (err != NULL)
		*err = publisher->failure;
	return publisher->failure.rc;
}

static tb_rc put_gated(tb_publisher *publisher, tb_span canonical, tb_reset_step step, uint64_t *ret_number, tb_err *err)
{
	pthread_mutex_lock(&publisher->lock);
	int failed = atomic_load_explicit(&publisher->gate, memory_order_relaxed) & GATE_FAILED;
	tb_rc rc = failed ? publisher_tell_failure(publisher, err) : put(publisher, canonical, step, ret_number, err);
	pthread_mutex_unlock(&publisher->lock);
	return rc;
}

static tb_rc accept_event(tb_publisher *publisher, tb_span canonical, tb_reset_step step, uint64_t *ret_number,
                          tb_err *err)
{
	if (canonical.size > TB_EVENT_MAX)
		return tb_fail(err, TB_EINVAL, "an event of %zu bytes is over the limit of %u", canonical.size, TB_EVENT_MAX);
	if (atomic_load_explicit(&publisher->gate, memory_order_acquire) != GATE_OPEN)
		return put_gated(publisher, canonical, step, ret_number, err);
	return put(publisher, canonical, step, ret_number, err);
}

tb_rc tb_publish(tb_publisher *publisher, const tb_event *event, uint64_t *ret_number, tb_err *err)
{
	tb_buf *scratch = &publisher->scratch;
	tb_buf_clear(scratch);
	tb_rc rc = tb_event_pack(scratch, event, tb_real_ns(publisher->clock), NULL, err);
	if (rc == TB_OK)
		rc = accept_event(publisher, tb_buf_span(scratch), step_of(event), ret_number, err);
	if (scratch->capacity > SCRATCH_KEPT)
		tb_buf_drop(scratch);
	return rc;
}

tb_rc tb_publish_put(tb_publisher *publisher, const void *key, size_t key_size, const void *value, size_t value_size,
                     uint64_t *ret_number, tb_err *err)
{
	tb_event event;
	tb_event_default(&event, TB_EVENT_DELTA);
	event.body.delta.key = (tb_bytes){ key, key_size };
	event.body.delta.value = (tb_bytes){ value, value_size };
	return tb_publish(publisher, &event, ret_number, err);
}

tb_rc tb_publish_delete(tb_publisher *publisher, const void *key, size_t key_size, uint64_t *ret_number, tb_err *err)
{
	tb_event event;
	tb_event_default(&event, TB_EVENT_DELTA);
	event.body.delta.key = (tb_bytes){ key, key_size };
	event.body.delta.remove = 1;
	return tb_publish(publisher, &event, ret_number, err);
}

tb_rc tb_publish_canonical(tb_publisher *publisher, const void *canonical, size_t size, uint64_t *ret_number, tb_err *err)
{
	tb_event event;
	tb_span bytes = tb_span_of(canonical, size);
	if (size == 0 || size > TB_EVENT_MAX)
		return tb_fail(err, TB_EINVAL, "an event has 1 to %u bytes, not %zu", TB_EVENT_MAX, size);
	tb_arena_reset(publisher->arena);
	tb_rc rc = tb_event_check(bytes, publisher->arena, &event, NULL, err);
	if (rc != TB_OK) {
		if (err != NULL)
			err->rc = TB_EINVAL;
		return TB_EINVAL;
	}
	return accept_event(publisher, bytes, step_of(&event), ret_number, err);
}

struct timespec publisher_deadline(const tb_publisher *publisher, uint64_t timeout_ns)
{
	uint64_t now = tb_mono_ns(publisher->clock);
	uint64_t at = timeout_ns < UINT64_MAX / 2 - now ? now + timeout_ns : UINT64_MAX / 2;
	return (struct timespec){ (time_t)(at / TB_NS_PER_S), (long)(at % TB_NS_PER_S) };
}

static uint64_t promised(tb_publisher *publisher, tb_promise promise)
{
	switch (promise) {
	case TB_ACCEPTED:
		return tb_outbox_last(publisher->outbox);
	case TB_DURABLE:
		return atomic_load(&publisher->durable);
	default:
		return atomic_load(&publisher->stored);
	}
}

static tb_rc fail_waiting(const tb_publisher *publisher, uint64_t number, tb_promise promise, tb_err *err)
{
	static const char *const words[] = { "accepted", "durable", "stored" };
	const char *trouble = publisher->trouble.text;
	tb_fail(err, TB_ETIMEOUT, "event %llu of the stream %s is not %s in the time allowed%s%.200s",
	        (unsigned long long)number, publisher->stream, words[promise], trouble[0] ? ": " : "", trouble);
	tb_hint(err, "%s", publisher->trouble.hint[0] ? publisher->trouble.hint :
	                                                "it stays in the outbox and may still get there; tb status says more");
	return TB_ETIMEOUT;
}

/* With the lock. Whoever asks for a number that is both an old one and a new one gets the later event. */
static uint64_t number_now(const tb_publisher *publisher, uint64_t number)
{
	uint64_t last = tb_outbox_last(publisher->outbox);
	if (number < publisher->moved_first || number > publisher->moved_last)
		return number;
	return number + publisher->moved_by < last ? number + publisher->moved_by : last;
}

/* With the lock. */
static tb_rc await_promise(tb_publisher *publisher, uint64_t number, tb_promise promise, const struct timespec *deadline,
                           tb_err *err)
{
	int timed_out = 0;
	while (promised(publisher, promise) < number_now(publisher, number)) {
		if (atomic_load(&publisher->gate) & GATE_FAILED)
			return publisher_tell_failure(publisher, err);
		if (atomic_load(&publisher->closing))
			return tb_fail(err, TB_EINTERRUPTED, "the publisher of the stream %s is being closed", publisher->stream);
		if (timed_out)
			return fail_waiting(publisher, number, promise, err);
		timed_out = pthread_cond_timedwait(&publisher->changed, &publisher->lock, deadline) == ETIMEDOUT;
	}
	return TB_OK;
}

uint64_t tb_publisher_number(tb_publisher *publisher, uint64_t number)
{
	pthread_mutex_lock(&publisher->lock);
	uint64_t now = number_now(publisher, number);
	pthread_mutex_unlock(&publisher->lock);
	return now;
}

tb_rc tb_publisher_wait(tb_publisher *publisher, uint64_t number, tb_promise promise, uint64_t timeout_ns, tb_err *err)
{
	uint64_t last = tb_outbox_last(publisher->outbox);
	if (number > last)
		return tb_fail(err, TB_EINVAL, "event %llu of the stream %s was not accepted yet: %llu is the last",
		               (unsigned long long)number, publisher->stream, (unsigned long long)last);
	struct timespec deadline = publisher_deadline(publisher, timeout_ns);
	pthread_mutex_lock(&publisher->lock);
	if (number == 0)
		number = tb_outbox_last(publisher->outbox);
	atomic_fetch_add(&publisher->waiters, 1);
	tb_rc rc = await_promise(publisher, number, promise, &deadline, err);
	if (atomic_fetch_sub(&publisher->waiters, 1) == 1 && atomic_load(&publisher->closing))
		pthread_cond_broadcast(&publisher->changed);
	pthread_mutex_unlock(&publisher->lock);
	return rc;
}

void tb_publisher_figures_get(tb_publisher *publisher, tb_publisher_figures *ret_figures)
{
	*ret_figures = (tb_publisher_figures){
		.durable = atomic_load(&publisher->durable),
		.stored = atomic_load(&publisher->stored),
		.epoch = atomic_load(&publisher->epoch),
		.begun = atomic_load(&publisher->begun),
		.accepted = tb_outbox_last(publisher->outbox),
		.outbox_used = tb_outbox_used(publisher->outbox),
		.outbox_size = tb_outbox_size(publisher->outbox),
		.connected = atomic_load(&publisher->connected),
		.frames_sent = atomic_load(&publisher->frames_sent),
		.went_back = atomic_load(&publisher->went_back),
	};
}
