/* Stands in for the sockets: the publisher's line and bus end in a model broker in this process. Included by one file
 * of a program, whose definitions then take the place of the library's. */
#ifndef TESTS_FAKE_LINE_H
#define TESTS_FAKE_LINE_H

#include "model_broker.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FAKE_TOLD_MAX 4096

static struct {
	pthread_mutex_t lock;
	model_broker model;
	int away;          /* nobody answers */
	unsigned redials;  /* connections that were lost and made again between two looks */
	unsigned hellos;   /* that were answered */
	int busy;          /* so many frames are not taken for now */
	tb_rc refuse;      /* hello is refused so */
	unsigned lose_one_in; /* 0: none */
	unsigned chance;
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct tb_line {
	int fd;
	tb_buf told[FAKE_TOLD_MAX];
	size_t at, count;
};

static int fake_lost(void)
{
	fake.chance = fake.chance * 1103515245u + 12345u;
	return fake.away || (fake.lose_one_in != 0 && (fake.chance >> 16) % fake.lose_one_in == 0);
}

tb_rc tb_line_dial(const char *events_url, const char *topics_url, const char *topic, tb_line **ret_line, tb_err *err)
{
	(void)events_url, (void)topics_url, (void)topic, (void)err;
	tb_line *line = tb_alloc_zero(1, sizeof(*line));
	line->fd = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
	*ret_line = line;
	return TB_OK;
}

int tb_line_fd(tb_line *line)
{
	return line->fd;
}

int tb_line_connected(tb_line *line)
{
	(void)line;
	pthread_mutex_lock(&fake.lock);
	int away = fake.away;
	pthread_mutex_unlock(&fake.lock);
	return !away;
}

unsigned tb_line_pipe(const tb_line *line)
{
	(void)line;
	pthread_mutex_lock(&fake.lock);
	unsigned pipe = fake.away ? 0 : 1 + fake.redials;
	pthread_mutex_unlock(&fake.lock);
	return pipe;
}

tb_rc tb_line_send(tb_line *line, tb_span frame, tb_err *err)
{
	pthread_mutex_lock(&fake.lock);
	if (line->count == FAKE_TOLD_MAX || (fake.busy > 0 && fake.busy-- > 0)) {
		pthread_mutex_unlock(&fake.lock);
		return tb_fail(err, TB_EBUSY, "full");
	}
	tb_buf *told = &line->told[(line->at + line->count) % FAKE_TOLD_MAX];
	if (!fake_lost() && model_event(&fake.model, frame, told) && !fake_lost()) {
		line->count++;
		eventfd_write(line->fd, 1);
	}
	pthread_mutex_unlock(&fake.lock);
	return TB_OK;
}

tb_rc tb_line_hear(tb_line *line, tb_buf *buf, tb_span *ret_body, tb_err *err)
{
	eventfd_t one;
	if (line->count == 0)
		return tb_fail(err, TB_ENOTFOUND, "nothing");
	eventfd_read(line->fd, &one);
	tb_buf_swap(buf, &line->told[line->at]);
	line->at = (line->at + 1) % FAKE_TOLD_MAX;
	line->count--;
	*ret_body = tb_buf_span(buf);
	return TB_OK;
}

void tb_line_close(tb_line *line)
{
	if (line == NULL)
		return;
	for (size_t i = 0; i < FAKE_TOLD_MAX; i++)
		tb_buf_drop(&line->told[i]);
	close(line->fd);
	free(line);
}

static tb_rc fake_answer(tb_span request, tb_buf *ret_answer, tb_err *err)
{
	ProtobufCMessage *message;
	tb_arena *arena = tb_arena_new();
	tb_rc rc = tb_control_read(&request, TB_KIND_HELLO, &tb__hello_request__descriptor, arena, &message, err);
	if (rc == TB_OK) {
		Tb__Status status = TB__STATUS__INIT;
		Tb__HelloReply reply = TB__HELLO_REPLY__INIT;
		if (fake.refuse == TB_OK)
			model_hello(&fake.model, (const Tb__HelloRequest *)message, &reply);
		status.code = fake.refuse;
		reply.status = &status;
		fake.hellos++;
		tb_buf_clear(ret_answer);
		tb_control_write(ret_answer, TB_KIND_ANSWER, &reply.base);
	}
	tb_arena_free(arena);
	return rc;
}

static tb_rc fake_request(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err)
{
	(void)bus, (void)timeout_ns;
	pthread_mutex_lock(&fake.lock);
	tb_rc rc = fake_lost() ? tb_fail(err, TB_EUNREACHABLE, "nobody answers there") : fake_answer(request, ret_answer, err);
	pthread_mutex_unlock(&fake.lock);
	return rc;
}

static void fake_bus_close(tb_bus *bus)
{
	free(bus);
}

tb_rc tb_bus_dial(const char *url, int interrupt_fd, tb_bus **ret_bus, tb_err *err)
{
	(void)url, (void)interrupt_fd, (void)err;
	tb_bus *bus = tb_alloc(sizeof(*bus));
	*bus = (tb_bus){ .request = fake_request, .close = fake_bus_close };
	*ret_bus = bus;
	return TB_OK;
}

#endif
