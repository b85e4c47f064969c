#include "base/clock.h"
#include "base/disk.h"
#include "bus/listen.h"
#include "bus/socket.h"
#include "leaks.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LONG_NS (60 * TB_NS_PER_S) /* a bound against hanging, never waited out */
#define SHORT_NS (20 * TB_NS_PER_MS)
#define QUESTIONS 8

static char directory[32], url[64], events_url[64], topics_url[64];

static void make_directory(void)
{
	snprintf(directory, sizeof(directory), "/tmp/tb-bus-XXXXXX");
	cr_assert(mkdtemp(directory));
	snprintf(url, sizeof(url), "ipc://%s/broker.ipc", directory);
	snprintf(events_url, sizeof(events_url), "ipc://%s/events.ipc", directory);
	snprintf(topics_url, sizeof(topics_url), "ipc://%s/topics.ipc", directory);
}

static void remove_directory(void)
{
	tb_disk_remove_tree(tb_disk_system(), directory, NULL);
	fail_on_leaks();
}

/* nng never frees all of a listener that has fallen deaf, so leaks are not looked for where that is tried. */
static void make_directory_and_expect_leaks(void)
{
	make_directory();
	leaks_expected = 1;
}

static const char *path_of(const char *ipc_url)
{
	return ipc_url + strlen("ipc://");
}

TestSuite(requests, .init = make_directory, .fini = remove_directory);
TestSuite(server, .init = make_directory, .fini = remove_directory);
TestSuite(topics, .init = make_directory, .fini = remove_directory);
TestSuite(line, .init = make_directory, .fini = remove_directory);
TestSuite(deaf, .init = make_directory_and_expect_leaks, .fini = remove_directory);

/* Waits until fd is readable, or fails the test. */
static void await(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	cr_assert_eq(poll(&poller, 1, (int)(LONG_NS / TB_NS_PER_MS)), 1);
}

/* ---- a server that this test drives, and askers in threads of their own */

struct desk {
	tb_server *server;
	tb_question *open[QUESTIONS];
	char texts[QUESTIONS][32]; /* how they begin */
	size_t sizes[QUESTIONS];
	int count;
};

static void receive_question(void *self, tb_question *question, tb_span text)
{
	struct desk *desk = self;
	cr_assert_lt(desk->count, QUESTIONS);
	int size = text.size < 31 ? (int)text.size : 31;
	snprintf(desk->texts[desk->count], sizeof(desk->texts[0]), "%.*s", size, (const char *)text.data);
	desk->sizes[desk->count] = text.size;
	desk->open[desk->count++] = question;
}

static void desk_open(struct desk *desk, unsigned questions_max)
{
	desk->count = 0;
	cr_assert_eq(tb_server_listen(url, questions_max, receive_question, desk, &desk->server, NULL), TB_OK);
}

static void desk_await(struct desk *desk, int count)
{
	while (desk->count < count) {
		await(tb_server_fd(desk->server));
		tb_server_poll(desk->server);
	}
}

static void desk_answer(struct desk *desk, int index)
{
	char text[48];
	int size = snprintf(text, sizeof(text), "re: %s", desk->texts[index]);
	tb_question_answer(desk->open[index], tb_span_of(text, (size_t)size));
}

struct asker {
	pthread_t thread;
	tb_bus *bus; /* NULL: one of its own */
	char text[32];
	size_t size; /* what it asks: the text and zeros behind it */
	tb_rc rc;
	int done_fd; /* readable when it has ended */
};

static void *ask(void *arg)
{
	struct asker *asker = arg;
	tb_auto(tb_buf_drop) tb_buf answer = { 0 }, expected = { 0 };
	uint8_t *bytes = tb_alloc_zero(1, asker->size);
	memcpy(bytes, asker->text, sizeof(asker->text));
	tb_span question = tb_span_of(bytes, asker->size);
	asker->rc = asker->bus != NULL ? asker->bus->request(asker->bus, question, LONG_NS, &answer, NULL)
	                               : tb_ask(url, question, LONG_NS, -1, &answer, NULL);
	tb_buf_print(&expected, "re: %s", asker->text);
	if (asker->rc == TB_OK && !tb_span_equal(tb_buf_span(&answer), tb_buf_span(&expected)))
		asker->rc = TB_ECORRUPT;
	free(bytes);
	tb_event_raise(asker->done_fd);
	return NULL;
}

static void asker_start(struct asker *asker, tb_bus *bus, int number)
{
	asker->bus = bus;
	if (asker->size < sizeof(asker->text))
		asker->size = sizeof(asker->text);
	snprintf(asker->text, sizeof(asker->text), "question %d", number);
	asker->done_fd = eventfd(0, EFD_CLOEXEC);
	cr_assert_geq(asker->done_fd, 0);
	cr_assert_eq(pthread_create(&asker->thread, NULL, ask, asker), 0);
}

static void asker_end(struct asker *asker)
{
	cr_assert_eq(pthread_join(asker->thread, NULL), 0);
	close(asker->done_fd);
	cr_assert_eq(asker->rc, TB_OK, "%s: %s", asker->text, tb_rc_name(asker->rc));
}

/* Answers whatever comes until the asker has ended: a question may come more than once, and not each time on a
 * connection that lives. */
static void desk_serve(struct desk *desk, struct asker *asker)
{
	struct pollfd pollers[2] = { { .fd = asker->done_fd, .events = POLLIN },
		                         { .fd = tb_server_fd(desk->server), .events = POLLIN } };
	while (pollers[0].revents == 0) {
		while (desk->count > 0)
			desk_answer(desk, --desk->count);
		cr_assert_gt(poll(pollers, 2, (int)(LONG_NS / TB_NS_PER_MS)), 0);
		tb_server_poll(desk->server);
	}
	asker_end(asker);
}

/* One question asked and answered: the way is open then. What was asked before and given up is answered on the way. */
static void exchange(struct desk *desk, tb_bus *bus)
{
	static int number = 1000;
	struct asker asker = { 0 };
	asker_start(&asker, bus, number++);
	desk_serve(desk, &asker);
}

/* ---- requests */

Test(requests, an_asker_gets_its_answer_again_and_again)
{
	struct desk desk;
	tb_bus *bus;
	desk_open(&desk, 2);
	cr_assert_eq(tb_bus_dial(url, -1, &bus, NULL), TB_OK);
	for (int i = 0; i < 20; i++)
		exchange(&desk, bus);
	tb_bus_close(bus);
	tb_server_close(desk.server);
}

Test(requests, a_large_one_comes_whole_and_one_too_large_is_refused)
{
	struct desk desk;
	struct asker asker = { .size = TB_FRAME_BODY_MAX };
	tb_bus *bus;
	tb_auto(tb_buf_drop) tb_buf request = { 0 }, answer = { 0 };
	desk_open(&desk, 2);
	cr_assert_eq(tb_bus_dial(url, -1, &bus, NULL), TB_OK);
	asker_start(&asker, bus, 1);
	desk_await(&desk, 1);
	cr_assert_eq(desk.sizes[0], TB_FRAME_BODY_MAX);
	desk_answer(&desk, 0);
	asker_end(&asker);
	tb_buf_reserve(&request, TB_BUS_MESSAGE_MAX + 1);
	cr_assert_eq(bus->request(bus, tb_span_of(request.data, TB_BUS_MESSAGE_MAX + 1), LONG_NS, &answer, NULL), TB_EINVAL);
	tb_bus_close(bus);
	tb_server_close(desk.server);
}

Test(requests, nobody_there_and_no_answer_in_time_are_told_apart)
{
	struct desk desk;
	tb_bus *bus;
	tb_err err;
	tb_auto(tb_buf_drop) tb_buf answer = { 0 };
	cr_assert_eq(tb_bus_dial(url, -1, &bus, NULL), TB_OK);
	cr_assert_eq(bus->request(bus, tb_span_text("x"), SHORT_NS, &answer, &err), TB_EUNREACHABLE);
	cr_assert(strstr(err.text, url) && err.hint[0] != '\0', "%s", err.text);
	desk_open(&desk, 4);
	exchange(&desk, bus);
	cr_assert_eq(bus->request(bus, tb_span_text("x"), SHORT_NS, &answer, &err), TB_ETIMEOUT);
	cr_assert_eq(bus->request(bus, tb_span_text("x"), 0, &answer, &err), TB_ETIMEOUT);
	exchange(&desk, bus); /* the questions that nobody waits for may come and be answered all the same */
	tb_bus_close(bus);
	tb_server_close(desk.server);
}

Test(requests, an_interruption_ends_the_wait)
{
	int interrupt_fd = eventfd(0, EFD_CLOEXEC);
	struct desk desk;
	tb_bus *bus;
	tb_auto(tb_buf_drop) tb_buf answer = { 0 };
	uint64_t one = 1;
	cr_assert_eq(tb_bus_dial(url, interrupt_fd, &bus, NULL), TB_OK);
	desk_open(&desk, 2);
	exchange(&desk, bus);
	cr_assert_eq(write(interrupt_fd, &one, sizeof(one)), sizeof(one));
	cr_assert_eq(bus->request(bus, tb_span_text("x"), LONG_NS, &answer, NULL), TB_EINTERRUPTED);
	cr_assert_eq(tb_ask("ipc:///none/at/all.ipc", tb_span_text("x"), LONG_NS, interrupt_fd, &answer, NULL),
	             TB_EINTERRUPTED);
	tb_bus_close(bus);
	tb_server_close(desk.server);
	close(interrupt_fd);
}

Test(requests, one_that_waits_while_the_server_comes_anew_is_answered)
{
	struct desk desk;
	struct asker asker = { 0 };
	tb_bus *bus;
	cr_assert_eq(tb_bus_dial(url, -1, &bus, NULL), TB_OK);
	desk_open(&desk, 2);
	asker_start(&asker, bus, 1);
	for (int life = 0; life < 3; life++) {
		desk_await(&desk, 1);
		tb_server_close(desk.server); /* with the question open */
		desk_open(&desk, 2);
	}
	desk_serve(&desk, &asker);
	tb_bus_close(bus);
	tb_server_close(desk.server);
}

Test(requests, an_address_that_is_none_is_refused)
{
	tb_bus *bus;
	tb_topics *topics;
	tb_server *server;
	tb_err err = { 0 };
	cr_assert_eq(tb_bus_dial("pigeon://here", -1, &bus, &err), TB_EINVAL);
	cr_assert(strstr(err.text, "pigeon"), "%s", err.text);
	cr_assert_eq(tb_topics_dial("pigeon://here", -1, &topics, NULL), TB_EINVAL);
	cr_assert_eq(tb_server_listen("pigeon://here", 1, receive_question, NULL, &server, NULL), TB_EINVAL);
	tb_bus_close(NULL);
	tb_topics_close(NULL);
	tb_line_close(NULL);
	tb_server_close(NULL);
	tb_inlet_close(NULL);
	tb_outlet_close(NULL);
}

/* ---- the server */

Test(server, questions_are_answered_in_any_order)
{
	struct desk desk;
	struct asker askers[QUESTIONS] = { 0 };
	desk_open(&desk, QUESTIONS);
	for (int i = 0; i < QUESTIONS; i++)
		asker_start(&askers[i], NULL, i);
	desk_await(&desk, QUESTIONS);
	for (int i = QUESTIONS - 1; i >= 0; i--)
		desk_answer(&desk, i);
	for (int i = 0; i < QUESTIONS; i++)
		asker_end(&askers[i]);
	tb_server_close(desk.server);
}

Test(server, more_askers_than_places_wait_for_their_turn)
{
	struct desk desk;
	struct asker askers[QUESTIONS] = { 0 };
	desk_open(&desk, 1);
	for (int i = 0; i < QUESTIONS; i++)
		asker_start(&askers[i], NULL, i);
	for (int i = 0; i < QUESTIONS; i++) {
		desk_await(&desk, 1);
		cr_assert_eq(desk.count, 1);
		desk_answer(&desk, --desk.count);
	}
	for (int i = 0; i < QUESTIONS; i++)
		asker_end(&askers[i]);
	tb_server_close(desk.server);
}

Test(server, it_is_there_over_tcp_too)
{
	struct desk desk;
	tb_bus *bus;
	char tcp[64];
	desk_open(&desk, 2);
	snprintf(tcp, sizeof(tcp), "tcp://127.0.0.1:%d", 20000 + (int)getpid() % 20000);
	cr_assert_eq(tb_server_also(desk.server, tcp, NULL), TB_OK);
	cr_assert_eq(tb_bus_dial(tcp, -1, &bus, NULL), TB_OK);
	exchange(&desk, bus);
	tb_bus_close(bus);
	tb_server_close(desk.server);
}

/* ---- topics */

static void heard(tb_topics *topics, tb_outlet *outlet, const char *topic, tb_span body, tb_buf *buf)
{
	tb_span got_topic, got_body;
	do /* who joins late misses what was before: said until it is heard */
		tb_outlet_send(outlet, tb_span_text(topic), body);
	while (tb_topics_next(topics, SHORT_NS, buf, &got_topic, &got_body, NULL) != TB_OK);
	cr_assert(tb_span_equal(got_topic, tb_span_text(topic)));
	cr_assert(tb_span_equal(got_body, body));
}

Test(topics, a_message_is_topic_and_body_and_only_wanted_prefixes_are_heard)
{
	tb_outlet *outlet;
	tb_topics *topics;
	tb_auto(tb_buf_drop) tb_buf buf = { 0 };
	tb_span topic, body = tb_span_of("bytes\0with\0nuls", 15);
	cr_assert_eq(tb_outlet_listen(topics_url, &outlet, NULL), TB_OK);
	cr_assert_eq(tb_topics_dial(topics_url, -1, &topics, NULL), TB_OK);
	cr_assert_eq(tb_topics_add(topics, "health", NULL), TB_OK);
	cr_assert_eq(tb_topics_add(topics, "end", NULL), TB_OK);
	heard(topics, outlet, "health/one", body, &buf);
	tb_outlet_send(outlet, tb_span_text("durable/book"), body);
	tb_outlet_send(outlet, tb_span_text("healt"), body);
	tb_outlet_send(outlet, tb_span_text("end"), (tb_span){ 0 });
	do /* an earlier one may have been said twice */
		cr_assert_eq(tb_topics_next(topics, LONG_NS, &buf, &topic, &body, NULL), TB_OK);
	while (tb_span_equal(topic, tb_span_text("health/one")));
	cr_assert(tb_span_equal(topic, tb_span_text("end")));
	cr_assert_eq(body.size, 0);
	tb_topics_close(topics);
	tb_outlet_close(outlet);
}

Test(topics, an_empty_prefix_hears_everything)
{
	tb_outlet *outlet;
	tb_topics *topics;
	tb_auto(tb_buf_drop) tb_buf buf = { 0 };
	cr_assert_eq(tb_outlet_listen(topics_url, &outlet, NULL), TB_OK);
	cr_assert_eq(tb_topics_dial(topics_url, -1, &topics, NULL), TB_OK);
	cr_assert_eq(tb_topics_add(topics, "", NULL), TB_OK);
	heard(topics, outlet, "anything", tb_span_text("body"), &buf);
	tb_topics_close(topics);
	tb_outlet_close(outlet);
}

Test(topics, silence_and_interruption_are_told_apart)
{
	int interrupt_fd = eventfd(0, EFD_CLOEXEC);
	tb_topics *topics;
	tb_auto(tb_buf_drop) tb_buf buf = { 0 };
	tb_span topic, body;
	uint64_t one = 1;
	cr_assert_eq(tb_topics_dial(topics_url, interrupt_fd, &topics, NULL), TB_OK);
	cr_assert_eq(tb_topics_next(topics, SHORT_NS, &buf, &topic, &body, NULL), TB_ETIMEOUT);
	cr_assert_eq(write(interrupt_fd, &one, sizeof(one)), sizeof(one));
	cr_assert_eq(tb_topics_next(topics, LONG_NS, &buf, &topic, &body, NULL), TB_EINTERRUPTED);
	tb_topics_close(topics);
	close(interrupt_fd);
}

/* ---- the engine's line */

static tb_line *line_to(const char *topic)
{
	tb_line *line;
	cr_assert_eq(tb_line_dial(events_url, topics_url, topic, &line, NULL), TB_OK);
	return line;
}

/* Nothing tells of a connection, so it is asked for; bounded by the test's own time. */
static void line_connect(tb_line *line)
{
	while (!tb_line_connected(line))
		poll(NULL, 0, 1);
}

static tb_span next_event(tb_inlet *inlet)
{
	tb_span message;
	while (!tb_inlet_next(inlet, &message))
		await(tb_inlet_fd(inlet));
	return message;
}

static const char *tcp_address(char *text, size_t size, int which)
{
	snprintf(text, size, "tcp://127.0.0.1:%d", 20000 + ((int)getpid() * 4 + which) % 20000);
	return text;
}

Test(line, it_is_there_over_tcp_too)
{
	char events[64], topics[64];
	tb_inlet *inlet;
	tb_outlet *outlet;
	tb_line *line;
	cr_assert_eq(tb_inlet_listen(events_url, &inlet, NULL), TB_OK);
	cr_assert_eq(tb_outlet_listen(topics_url, &outlet, NULL), TB_OK);
	cr_assert_eq(tb_inlet_also(inlet, tcp_address(events, sizeof(events), 1), NULL), TB_OK);
	cr_assert_eq(tb_outlet_also(outlet, tcp_address(topics, sizeof(topics), 2), NULL), TB_OK);
	cr_assert_eq(tb_line_dial(events, topics, "durable/book", &line, NULL), TB_OK);
	line_connect(line);
	cr_assert_eq(tb_line_send(line, tb_span_text("a frame"), NULL), TB_OK);
	cr_assert(tb_span_equal(next_event(inlet), tb_span_text("a frame")));
	tb_line_close(line);
	tb_inlet_close(inlet);
	tb_outlet_close(outlet);
}

Test(line, an_address_that_is_none_is_refused_by_all)
{
	tb_inlet *inlet;
	tb_outlet *outlet;
	tb_line *line;
	cr_assert_neq(tb_inlet_listen("nonsense", &inlet, NULL), TB_OK);
	cr_assert_neq(tb_outlet_listen("nonsense", &outlet, NULL), TB_OK);
	cr_assert_neq(tb_line_dial("nonsense", topics_url, "durable/book", &line, NULL), TB_OK);
	cr_assert_neq(tb_line_dial(events_url, "nonsense", "durable/book", &line, NULL), TB_OK);
}

Test(line, frames_arrive_in_their_order)
{
	tb_inlet *inlet;
	tb_outlet *outlet;
	tb_err err;
	tb_line *line = line_to("durable/book");
	cr_assert_not(tb_line_connected(line));
	cr_assert_eq(tb_line_send(line, tb_span_text("lost"), &err), TB_EBUSY);
	cr_assert_eq(tb_inlet_listen(events_url, &inlet, NULL), TB_OK);
	cr_assert_eq(tb_outlet_listen(topics_url, &outlet, NULL), TB_OK);
	line_connect(line);
	for (uint32_t i = 0; i < 100; i++)
		cr_assert_eq(tb_line_send(line, tb_span_of(&i, sizeof(i)), NULL), TB_OK);
	for (uint32_t i = 0; i < 100; i++)
		cr_assert(tb_span_equal(next_event(inlet), tb_span_of(&i, sizeof(i))));
	tb_line_close(line);
	tb_inlet_close(inlet);
	tb_outlet_close(outlet);
}

Test(line, the_largest_frame_arrives)
{
	tb_inlet *inlet;
	tb_outlet *outlet;
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	tb_line *line = line_to("durable/book");
	cr_assert_eq(tb_inlet_listen(events_url, &inlet, NULL), TB_OK);
	cr_assert_eq(tb_outlet_listen(topics_url, &outlet, NULL), TB_OK);
	line_connect(line);
	tb_buf_reserve(&frame, TB_FRAME_HEAD + TB_FRAME_BODY_MAX);
	memset(frame.data, 'x', TB_FRAME_HEAD + TB_FRAME_BODY_MAX);
	frame.size = TB_FRAME_HEAD + TB_FRAME_BODY_MAX;
	cr_assert_eq(tb_line_send(line, tb_buf_span(&frame), NULL), TB_OK);
	cr_assert(tb_span_equal(next_event(inlet), tb_buf_span(&frame)));
	tb_line_close(line);
	tb_inlet_close(inlet);
	tb_outlet_close(outlet);
}

Test(line, a_stream_hears_its_own_topic_and_not_one_that_only_begins_like_it)
{
	tb_inlet *inlet;
	tb_outlet *outlet;
	tb_auto(tb_buf_drop) tb_buf buf = { 0 };
	tb_span body;
	tb_line *line = line_to("durable/book");
	cr_assert_eq(tb_inlet_listen(events_url, &inlet, NULL), TB_OK);
	cr_assert_eq(tb_outlet_listen(topics_url, &outlet, NULL), TB_OK);
	cr_assert_eq(tb_line_hear(line, &buf, &body, NULL), TB_ENOTFOUND);
	for (int is_heard = 0; !is_heard;) {
		struct pollfd poller = { .fd = tb_line_fd(line), .events = POLLIN };
		tb_outlet_send(outlet, tb_span_text("durable/bookings"), tb_span_text("theirs"));
		tb_outlet_send(outlet, tb_span_text("durable/book"), tb_span_text("ours"));
		is_heard = poll(&poller, 1, 20) == 1 && tb_line_hear(line, &buf, &body, NULL) == TB_OK;
	}
	do
		cr_assert(tb_span_equal(body, tb_span_text("ours")));
	while (tb_line_hear(line, &buf, &body, NULL) == TB_OK);
	tb_line_close(line);
	tb_inlet_close(inlet);
	tb_outlet_close(outlet);
}

Test(line, it_comes_back_by_itself)
{
	tb_inlet *inlet;
	tb_outlet *outlet;
	tb_line *line = line_to("durable/book");
	cr_assert_eq(tb_line_pipe(line), 0);
	cr_assert_eq(tb_outlet_listen(topics_url, &outlet, NULL), TB_OK);
	cr_assert_eq(tb_inlet_listen(events_url, &inlet, NULL), TB_OK);
	line_connect(line);
	unsigned pipe = tb_line_pipe(line);
	cr_assert_neq(pipe, 0);
	tb_inlet_close(inlet);
	while (tb_line_connected(line))
		poll(NULL, 0, 1);
	cr_assert_eq(tb_line_pipe(line), 0);
	cr_assert_eq(tb_inlet_listen(events_url, &inlet, NULL), TB_OK);
	line_connect(line);
	cr_assert_gt(tb_line_pipe(line), pipe);
	cr_assert_eq(tb_line_send(line, tb_span_text("here again"), NULL), TB_OK);
	cr_assert(tb_span_equal(next_event(inlet), tb_span_text("here again")));
	tb_line_close(line);
	tb_inlet_close(inlet);
	tb_outlet_close(outlet);
}

/* ---- listeners that have fallen deaf */

/* A peer that is gone before it was greeted. Whether that deafens the listener is a race between its end and the
 * greeting, so it is tried until the listener has been opened again. */
static void knock_and_run(const char *ipc_url)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path_of(ipc_url));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

static void desk_heal(struct desk *desk)
{
	while (tb_server_listening(desk->server)->reopened == 0) {
		await(tb_server_fd(desk->server));
		tb_server_poll(desk->server);
	}
}

static void desk_deafen_and_heal(struct desk *desk)
{
	while (tb_server_listening(desk->server)->reopened == 0) {
		knock_and_run(url);
		await(tb_server_fd(desk->server));
		tb_server_poll(desk->server);
	}
}

Test(deaf, a_server_is_opened_again_and_answers_old_askers_and_new_ones)
{
	struct desk desk;
	struct asker asker = { 0 };
	tb_bus *bus;
	desk_open(&desk, 4);
	cr_assert_str_eq(tb_server_listening(desk.server)->url, url);
	cr_assert_eq(tb_bus_dial(url, -1, &bus, NULL), TB_OK);
	asker_start(&asker, bus, 1);
	desk_await(&desk, 1); /* open while it is deaf, and so asked once more */
	desk_deafen_and_heal(&desk);
	desk_serve(&desk, &asker);
	exchange(&desk, bus);
	exchange(&desk, NULL);
	cr_assert_not(tb_server_listening(desk.server)->deaf);
	tb_bus_close(bus);
	tb_server_close(desk.server);
}

Test(deaf, a_server_whose_path_was_removed_is_opened_again)
{
	struct desk desk;
	desk_open(&desk, 2);
	cr_assert_eq(unlink(path_of(url)), 0);
	desk_heal(&desk);
	exchange(&desk, NULL);
	tb_server_close(desk.server);
}

Test(deaf, one_that_can_not_be_opened_again_says_why_and_goes_on_trying)
{
	struct desk desk;
	char away[64];
	desk_open(&desk, 2);
	snprintf(away, sizeof(away), "%s.away", directory);
	cr_assert_eq(rename(directory, away), 0);
	while (!tb_server_listening(desk.server)->deaf) {
		await(tb_server_fd(desk.server));
		tb_server_poll(desk.server);
	}
	cr_assert(strstr(tb_server_listening(desk.server)->err.text, url));
	cr_assert_eq(rename(away, directory), 0);
	desk_heal(&desk);
	exchange(&desk, NULL);
	tb_server_close(desk.server);
}

Test(deaf, events_and_topics_are_heard_again)
{
	tb_inlet *inlet;
	tb_outlet *outlet;
	tb_span message;
	cr_assert_eq(tb_inlet_listen(events_url, &inlet, NULL), TB_OK);
	cr_assert_eq(tb_outlet_listen(topics_url, &outlet, NULL), TB_OK);
	while (tb_inlet_listening(inlet)->reopened == 0) {
		knock_and_run(events_url);
		await(tb_inlet_fd(inlet));
		cr_assert_not(tb_inlet_next(inlet, &message));
	}
	while (tb_outlet_listening(outlet)->reopened == 0) {
		knock_and_run(topics_url);
		await(tb_outlet_fd(outlet));
		tb_outlet_turn(outlet);
	}
	tb_line *line = line_to("durable/book");
	line_connect(line);
	cr_assert_eq(tb_line_send(line, tb_span_text("event"), NULL), TB_OK);
	cr_assert(tb_span_equal(next_event(inlet), tb_span_text("event")));
	tb_line_close(line);
	tb_inlet_close(inlet);
	tb_outlet_close(outlet);
}
