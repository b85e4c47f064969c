/* What is heard from the broker's topics, and the engine's line: frames out, answers in. */
#include "bus/listen.h"
#include "bus/socket.h"

#include <stdlib.h>

#define TOPICS_MESSAGES 8192
#define LINE_MESSAGES 512

struct tb_topics {
	tb_socket *socket;
	char *url;
	int fd, interrupt_fd;
};

void tb_topics_close(tb_topics *topics)
{
	if (topics == NULL)
		return;
	tb_socket_close(topics->socket);
	free(topics->url);
	free(topics);
}

tb_rc tb_topics_dial(const char *url, int interrupt_fd, tb_topics **ret_topics, tb_err *err)
{
	static const tb_socket_options options = { .receive_max = TB_BUS_MESSAGE_MAX, .messages = TOPICS_MESSAGES };
	tb_topics *topics = tb_alloc_zero(1, sizeof(*topics));
	topics->interrupt_fd = interrupt_fd;
	topics->url = tb_strdup(url);
	tb_rc rc = tb_socket_open(TB_SUB, topics->url, &options, &topics->socket, err);
	if (rc == TB_OK)
		rc = tb_socket_fd(topics->socket, &topics->fd, err);
	if (rc == TB_OK)
		rc = tb_socket_dial(topics->socket, err);
	if (rc == TB_OK)
		*ret_topics = topics;
	else
		tb_topics_close(topics);
	return rc;
}

tb_rc tb_topics_add(tb_topics *topics, const char *prefix, tb_err *err)
{
	return tb_socket_subscribe(topics->socket, tb_span_text(prefix), err);
}

/* The next message that has a topic, borrowed from the socket; 0 when none is there now. What has no NUL is nobody's
 * message. */
static int topics_receive(tb_topics *topics, tb_span *ret_topic, tb_span *ret_body)
{
	tb_span message;
	while (tb_socket_receive(topics->socket, &message)) {
		const uint8_t *end = message.size > 0 ? memchr(message.data, '\0', message.size) : NULL;
		if (end == NULL)
			continue;
		size_t size = (size_t)(end - message.data);
		*ret_topic = tb_span_of(message.data, size);
		*ret_body = tb_span_of(end + 1, message.size - size - 1);
		return 1;
	}
	return 0;
}

tb_rc tb_topics_next(tb_topics *topics, uint64_t timeout_ns, tb_buf *buf, tb_span *ret_topic, tb_span *ret_body,
                     tb_err *err)
{
	uint64_t deadline = tb_deadline_after(timeout_ns);
	tb_span topic, body;
	tb_rc rc = TB_OK;
	while (rc == TB_OK && !topics_receive(topics, &topic, &body))
		rc = tb_socket_wait(topics->socket, topics->fd, topics->interrupt_fd, deadline);
	if (rc == TB_EINTERRUPTED)
		return tb_fail_interrupted(err, topics->url);
	if (rc != TB_OK)
		return tb_fail(err, rc, "nothing was heard from %s in time", topics->url);
	tb_buf_clear(buf);
	tb_buf_append_span(buf, topic);
	tb_buf_append_span(buf, body);
	*ret_topic = tb_span_of(buf->data, topic.size);
	*ret_body = tb_span_of(buf->data + topic.size, body.size);
	return TB_OK;
}

struct tb_line {
	tb_socket *events;
	char *events_url;
	tb_topics *topics;
};

void tb_line_close(tb_line *line)
{
	if (line == NULL)
		return;
	tb_socket_close(line->events);
	tb_topics_close(line->topics);
	free(line->events_url);
	free(line);
}

/* The topic with its NUL, or a stream would hear those whose names begin with its own. */
static tb_rc line_open(tb_line *line, const char *topics_url, const char *topic, tb_err *err)
{
	static const tb_socket_options options = { .receive_max = TB_BUS_MESSAGE_MAX, .messages = LINE_MESSAGES };
	tb_rc rc = tb_topics_dial(topics_url, -1, &line->topics, err);
	if (rc == TB_OK)
		rc = tb_socket_subscribe(line->topics->socket, tb_span_of(topic, strlen(topic) + 1), err);
	if (rc == TB_OK)
		rc = tb_socket_open(TB_PUB, line->events_url, &options, &line->events, err);
	if (rc == TB_OK)
		rc = tb_socket_dial(line->events, err);
	return rc;
}

tb_rc tb_line_dial(const char *events_url, const char *topics_url, const char *topic, tb_line **ret_line, tb_err *err)
{
	tb_line *line = tb_alloc_zero(1, sizeof(*line));
	line->events_url = tb_strdup(events_url);
	tb_rc rc = line_open(line, topics_url, topic, err);
	if (rc == TB_OK)
		*ret_line = line;
	else
		tb_line_close(line);
	return rc;
}

int tb_line_fd(tb_line *line)
{
	return line->topics->fd;
}

int tb_line_connected(tb_line *line)
{
	tb_socket_redial(line->events);
	tb_socket_redial(line->topics->socket);
	return tb_socket_connected(line->events) && tb_socket_connected(line->topics->socket);
}

unsigned tb_line_pipe(const tb_line *line)
{
	return tb_socket_connected(line->events) ? tb_socket_met(line->events) : 0;
}

/* PUB would take a frame without a connection, and drop it: better to be told. */
tb_rc tb_line_send(tb_line *line, tb_span frame, tb_err *err)
{
	if (!tb_socket_connected(line->events))
		return tb_fail(err, TB_EBUSY, "%s is not connected", line->events_url);
	return tb_socket_send(line->events, &frame, 1, err);
}

tb_rc tb_line_hear(tb_line *line, tb_buf *buf, tb_span *ret_body, tb_err *err)
{
	tb_span topic, body;
	if (!topics_receive(line->topics, &topic, &body))
		return tb_fail(err, TB_ENOTFOUND, "nothing was heard");
	tb_buf_clear(buf);
	tb_buf_append_span(buf, body);
	*ret_body = tb_buf_span(buf);
	return TB_OK;
}
