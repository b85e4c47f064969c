#include "bus/address.h"
#include "bus/publisher_parts.h"

#include "base/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define OUTBOX_DEFAULT (UINT64_C(65) << 20) /* twice the largest event, and what it is wrapped in */
#define FIRST_ANSWER_WAIT (2 * TB_NS_PER_S)

static tb_rc read_boot_id(uint8_t ret_id[16], tb_err *err)
{
	static const char file[] = "/proc/sys/kernel/random/boot_id";
	char text[64] = { 0 }, digits[64] = { 0 };
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	int errnum = errno;
	if (fd >= 0)
		close(fd);
	if (got < 0)
		return tb_fail_errno(err, errnum, "can't read %s", file);
	size_t count = 0;
	for (const char *c = text; *c != '\0' && *c != '\n'; c++)
		if (*c != '-')
			digits[count++] = *c;
	return tb_unhex(ret_id, 16, digits) ? TB_OK : tb_fail(err, TB_EIO, "%s holds no boot id", file);
}

static tb_rc find_outbox(const tb_publisher_options *options, tb_buf *ret_path, tb_err *err)
{
	if (options->outbox != NULL) {
		tb_buf_print(ret_path, "%s", options->outbox);
		return TB_OK;
	}
	if (options->dir == NULL)
		return tb_fail(err, TB_EINVAL, "a publisher needs the path of an outbox, or an instance's directory");
	tb_buf_print(ret_path, "%s/outbox", options->dir);
	tb_rc rc = tb_disk_make_path(tb_disk_system(), tb_buf_text(ret_path), err);
	tb_buf_print(ret_path, "/%s.outbox", options->stream);
	return rc;
}

static tb_rc open_outbox(tb_publisher *publisher, const tb_publisher_options *options, tb_err *err)
{
	uint8_t boot_id[16];
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = tb_stream_check(options->stream, err);
	if (rc == TB_OK)
		rc = find_outbox(options, &path, err);
	if (rc == TB_OK)
		rc = read_boot_id(boot_id, err);
	if (rc == TB_OK)
		rc = tb_outbox_open(tb_buf_text(&path), options->stream,
		                    options->outbox_size ? options->outbox_size : OUTBOX_DEFAULT, boot_id, &publisher->outbox,
		                    &publisher->opened, err);
	if (rc != TB_OK)
		return rc;
	publisher->durable = publisher->opened.durable;
	publisher->stored = publisher->opened.stored;
	publisher->epoch = tb_outbox_epoch(publisher->outbox);
	return TB_OK;
}

static tb_rc find_url(const tb_publisher_options *options, const char *given, const char *name, tb_buf *ret_url, tb_err *err)
{
	if (given == NULL && options->dir != NULL)
		return tb_bus_address(options->dir, name, ret_url, err);
	if (given == NULL)
		return tb_fail(err, TB_EINVAL, "a publisher needs the broker's three addresses, or an instance's directory");
	tb_address_print(ret_url, given, options->host_keys);
	return TB_OK;
}

static tb_rc dial(tb_publisher *publisher, const tb_publisher_options *options, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf events = { 0 }, topics = { 0 }, requests = { 0 }, topic = { 0 };
	tb_rc rc = find_url(options, options->events_url, "events", &events, err);
	if (rc == TB_OK)
		rc = find_url(options, options->topics_url, "topics", &topics, err);
	if (rc == TB_OK)
		rc = find_url(options, options->request_url, "broker", &requests, err);
	if (rc != TB_OK)
		return rc;
	tb_buf_print(&topic, "durable/%s", options->stream);
	rc = tb_line_dial(tb_buf_text(&events), tb_buf_text(&topics), tb_buf_text(&topic), &publisher->line, err);
	if (rc == TB_OK)
		rc = tb_bus_dial(tb_buf_text(&requests), publisher->stop_fd, &publisher->bus, err);
	return rc;
}

static tb_rc start_thread(tb_publisher *publisher, tb_err *err)
{
	publisher->pump = tb_pump_new(publisher->stream, publisher->outbox, &publisher->opened, publisher->clock);
	int errnum = pthread_create(&publisher->thread, NULL, publisher_run, publisher);
	if (errnum != 0)
		return tb_fail_errno(err, errnum, "can't start a thread");
	publisher->thread_runs = 1;
	return TB_OK;
}

/* The engine's signals are not for our threads, nor for those that the sockets start. */
static tb_rc connect_unsignalled(tb_publisher *publisher, const tb_publisher_options *options, tb_err *err)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	tb_rc rc = dial(publisher, options, err);
	if (rc == TB_OK)
		rc = start_thread(publisher, err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

/* Where numbers are in doubt the broker has some time to say how they go on. Without an answer they go on as the outbox
 * has them; should the broker then know better, that is the publisher's lasting failure. */
static tb_rc await_first_answer(tb_publisher *publisher, tb_err *err)
{
	if (!publisher->opened.unsettled)
		return TB_OK;
	struct timespec deadline = publisher_deadline(publisher, FIRST_ANSWER_WAIT);
	int timed_out = 0;
	pthread_mutex_lock(&publisher->lock);
	while (atomic_load(&publisher->gate) == GATE_DOUBTFUL && !timed_out)
		timed_out = pthread_cond_timedwait(&publisher->changed, &publisher->lock, &deadline) == ETIMEDOUT;
	tb_rc rc = atomic_load(&publisher->gate) & GATE_FAILED ? publisher_tell_failure(publisher, err) : TB_OK;
	pthread_mutex_unlock(&publisher->lock);
	return rc;
}

static tb_publisher *publisher_new(const char *stream)
{
	tb_publisher *publisher = aligned_alloc(64, (sizeof(*publisher) + 63) & ~(size_t)63);
	if (publisher == NULL)
		abort();
	memset(publisher, 0, sizeof(*publisher));
	publisher->stream = tb_strdup(stream);
	publisher->clock = tb_clock_system();
	publisher->arena = tb_arena_new();
	publisher->turn = tb_arena_new();
	publisher->gate = GATE_DOUBTFUL;
	publisher->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	publisher->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&publisher->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&publisher->lock, NULL);
	return publisher;
}

tb_rc tb_publisher_open(const tb_publisher_options *options, tb_publisher **ret_publisher, tb_err *err)
{
	if (options->stream == NULL)
		return tb_fail(err, TB_EINVAL, "a publisher needs the name of its stream");
	tb_publisher *publisher = publisher_new(options->stream);
	tb_rc rc = TB_OK;
	if (publisher->wake_fd < 0 || publisher->stop_fd < 0)
		rc = tb_fail_errno(err, errno, "can't make an event descriptor");
	if (rc == TB_OK)
		rc = open_outbox(publisher, options, err);
	if (rc == TB_OK)
		rc = connect_unsignalled(publisher, options, err);
	if (rc == TB_OK)
		rc = await_first_answer(publisher, err);
	if (rc != TB_OK) {
		tb_publisher_close(publisher);
		return rc;
	}
	*ret_publisher = publisher;
	return TB_OK;
}

static void end_thread(tb_publisher *publisher)
{
	pthread_mutex_lock(&publisher->lock);
	atomic_store(&publisher->closing, 1);
	pthread_cond_broadcast(&publisher->changed);
	while (atomic_load(&publisher->waiters) > 0)
		pthread_cond_wait(&publisher->changed, &publisher->lock);
	pthread_mutex_unlock(&publisher->lock);
	if (publisher->stop_fd >= 0)
		eventfd_write(publisher->stop_fd, 1);
	if (publisher->thread_runs)
		pthread_join(publisher->thread, NULL);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void tb_publisher_close(tb_publisher *publisher)
{
	if (publisher == NULL)
		return;
	end_thread(publisher);
	tb_line_close(publisher->line);
	tb_bus_close(publisher->bus);
	tb_pump_free(publisher->pump);
	tb_outbox_close(publisher->outbox);
	close_fd(publisher->wake_fd);
	close_fd(publisher->stop_fd);
	tb_buf_drop(&publisher->scratch);
	tb_buf_drop(&publisher->heard);
	tb_arena_free(publisher->arena);
	tb_arena_free(publisher->turn);
	pthread_cond_destroy(&publisher->changed);
	pthread_mutex_destroy(&publisher->lock);
	free(publisher->stream);
	free(publisher);
}
