#include "workers/signal/signal.h"

#include "wire/event_json.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define QUESTIONS_MAX 1024
#define LIMIT_MAX 10000
#define WAIT_MAX_MS 60000
#define TEXT_MAX 4096

struct question { /* one that waits */
	tb_question *asker;
	signal_filter wanted;
	uint64_t until_ns; /* monotonic */
};

static void answer_error(tb_question *asker, const char *text)
{
	tb_auto(tb_buf_drop) tb_buf answer = { 0 };
	tb_buf_print(&answer, "{\"error\":");
	tb_json_text(&answer, tb_span_text(text));
	tb_buf_print(&answer, "}");
	tb_question_answer(asker, tb_buf_span(&answer));
}

/* 1: it was answered. */
static int try_answer(signal_state *state, tb_question *asker, const signal_filter *filter, int empty_too)
{
	tb_auto(tb_buf_drop) tb_buf answer = { 0 };
	tb_err err;
	size_t count;
	tb_buf_print(&answer, "{\"records\":[");
	if (records_list(state, filter, &answer, &count, &err) != TB_OK) {
		answer_error(asker, err.text);
		return 1;
	}
	if (count == 0 && !empty_too)
		return 0;
	tb_buf_print(&answer, "],\"last\":%llu}", (unsigned long long)state->durable);
	tb_question_answer(asker, tb_buf_span(&answer));
	return 1;
}

static int read_text(json_t *object, const char *name, char *to, size_t size)
{
	json_t *value = json_object_get(object, name);
	if (value == NULL)
		return 1;
	if (!json_is_string(value) || json_string_length(value) >= size)
		return 0;
	memcpy(to, json_string_value(value), json_string_length(value) + 1);
	return 1;
}

static int read_number(json_t *object, const char *name, uint64_t max, uint64_t *value)
{
	json_t *number = json_object_get(object, name);
	if (number == NULL)
		return 1;
	if (!json_is_integer(number) || json_integer_value(number) < 0)
		return 0;
	*value = (uint64_t)json_integer_value(number);
	if (*value > max)
		*value = max;
	return 1;
}

static const char *read_question(tb_span text, signal_filter *ret_filter, uint64_t *ret_wait_ms)
{
	if (text.size > TEXT_MAX)
		return "the question is too long";
	json_t *object = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
	*ret_filter = (signal_filter){ 0 };
	uint64_t limit = 1000;
	*ret_wait_ms = 0;
	int good = json_is_object(object) && read_text(object, "topic", ret_filter->topic, sizeof(ret_filter->topic)) &&
	           read_text(object, "stream", ret_filter->stream, sizeof(ret_filter->stream)) &&
	           read_text(object, "backup", ret_filter->backup, sizeof(ret_filter->backup)) &&
	           read_number(object, "since", UINT64_MAX, &ret_filter->since) &&
	           read_number(object, "limit", LIMIT_MAX, &limit) && read_number(object, "wait_ms", WAIT_MAX_MS, ret_wait_ms);
	ret_filter->limit = limit;
	json_decref(object);
	return good ? NULL : "expected an object like {\"topic\":\"BACKUP_READY\",\"stream\":\"book\",\"since\":17,\"wait_ms\":30000}";
}

static void asked(void *self, tb_question *asker, tb_span text)
{
	signal_state *state = self;
	signal_filter wanted;
	uint64_t wait_ms;
	const char *wrong = read_question(text, &wanted, &wait_ms);
	if (wrong != NULL) {
		answer_error(asker, wrong);
		return;
	}
	int wait = wait_ms > 0 && state->question_count < QUESTIONS_MAX;
	if (try_answer(state, asker, &wanted, !wait))
		return;
	state->questions[state->question_count++] = (struct question){
		.asker = asker, .wanted = wanted,
		.until_ns = tb_mono_ns(state->env->clock) + wait_ms * TB_NS_PER_MS,
	};
}

tb_rc questions_open(signal_state *state, tb_err *err)
{
	if (state->env->dir == NULL)
		return TB_OK; /* no address of its own: only topics */
	tb_auto(tb_buf_drop) tb_buf url = { 0 };
	state->questions = tb_alloc_zero(QUESTIONS_MAX, sizeof(*state->questions));
	tb_rc rc = tb_bus_address(state->env->dir, "signals", &url, err);
	if (rc == TB_OK)
		rc = tb_server_listen(tb_buf_text(&url), QUESTIONS_MAX, asked, state, &state->server, err);
	if (rc != TB_OK)
		return rc;
	struct epoll_event event = { .events = EPOLLIN };
	if (epoll_ctl(state->env->wake_fd, EPOLL_CTL_ADD, tb_server_fd(state->server), &event) != 0)
		return tb_fail_errno(err, errno, "can't watch for questions");
	return TB_OK;
}

void questions_poll(signal_state *state)
{
	if (state->server != NULL)
		tb_server_poll(state->server);
}

void questions_tell(signal_state *state, uint64_t mono_ns)
{
	size_t kept = 0;
	for (size_t i = 0; i < state->question_count; i++) {
		struct question *question = &state->questions[i];
		int over = question->until_ns <= mono_ns;
		if ((over || question->wanted.since < state->durable) && try_answer(state, question->asker, &question->wanted, over))
			continue;
		if (question->wanted.since < state->durable)
			question->wanted.since = state->durable; /* none of those matches: they needn't be looked at again */
		state->questions[kept++] = *question;
	}
	state->question_count = kept;
}

uint64_t questions_wait_ns(const signal_state *state, uint64_t mono_ns)
{
	uint64_t wait_ns = TB_NS_PER_S;
	for (size_t i = 0; i < state->question_count; i++) {
		uint64_t until = state->questions[i].until_ns;
		uint64_t left = until > mono_ns ? until - mono_ns : 0;
		wait_ns = left < wait_ns ? left : wait_ns;
	}
	return wait_ns;
}

void questions_close(signal_state *state)
{
	tb_server_close(state->server);
	free(state->questions);
}
