/* A broker that is killed just after it took a connection, before it said a word on it: nng 1.5 would never dial again. */
#include "bus/bus.h"
#include "bus/listen.h"

#include "base/clock.h"
#include "base/disk.h"
#include "leaks.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE 400 /* times a tenth of a second */
#define TENTH (100 * TB_NS_PER_MS)

static char dir[] = "/tmp/tb-redial-XXXXXX";

static void begin(void)
{
	cr_assert_not_null(mkdtemp(dir));
}

static void end(void)
{
	tb_disk_remove_tree(tb_disk_system(), dir, NULL);
	fail_on_leaks();
}

TestSuite(bus_redial, .init = begin, .fini = end);

static const char *url_of(const char *name)
{
	static char urls[4][128];
	static int next;
	char *url = urls[next++ % 4];
	snprintf(url, sizeof(urls[0]), "ipc://%s/%s", dir, name);
	return url;
}

static int listen_mutely(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/%s", dir, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 8), 0);
	return fd;
}

/* Takes a connection, and is gone. */
static void vanish(int fd, const char *name)
{
	char path[128];
	int connection = accept(fd, NULL, NULL);
	cr_assert_geq(connection, 0);
	close(connection);
	close(fd);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
}

Test(bus_redial, topics_are_heard_again)
{
	tb_err err;
	tb_topics *topics;
	tb_outlet *outlet;
	tb_auto(tb_buf_drop) tb_buf heard = { 0 };
	tb_span topic, body;
	int mute = listen_mutely("topics");
	cr_assert_eq(tb_topics_dial(url_of("topics"), -1, &topics, &err), TB_OK, "%s", err.text);
	cr_assert_eq(tb_topics_add(topics, "", &err), TB_OK);
	vanish(mute, "topics");
	cr_assert_eq(tb_outlet_listen(url_of("topics"), &outlet, &err), TB_OK, "%s", err.text);
	tb_rc rc = TB_ETIMEOUT;
	for (int i = 0; rc == TB_ETIMEOUT && i < PATIENCE; i++) {
		tb_outlet_send(outlet, tb_span_text("t"), tb_span_text("b"));
		rc = tb_topics_next(topics, TENTH, &heard, &topic, &body, &err);
	}
	cr_assert_eq(rc, TB_OK, "%s", err.text);
	tb_topics_close(topics);
	tb_outlet_close(outlet);
}

Test(bus_redial, an_engine_reaches_the_broker_again)
{
	tb_err err;
	tb_line *line;
	tb_inlet *inlet;
	tb_outlet *outlet;
	tb_span message = { 0 };
	int mute = listen_mutely("events");
	cr_assert_eq(tb_outlet_listen(url_of("topics"), &outlet, &err), TB_OK, "%s", err.text);
	cr_assert_eq(tb_line_dial(url_of("events"), url_of("topics"), "durable/book", &line, &err), TB_OK, "%s", err.text);
	vanish(mute, "events");
	cr_assert_eq(tb_inlet_listen(url_of("events"), &inlet, &err), TB_OK, "%s", err.text);
	int reached = 0;
	for (int i = 0; !reached && i < PATIENCE; i++) {
		struct pollfd readable = { .fd = tb_inlet_fd(inlet), .events = POLLIN };
		if (tb_line_connected(line))
			tb_line_send(line, tb_span_text("an event"), NULL);
		poll(&readable, 1, 100);
		reached = tb_inlet_next(inlet, &message);
	}
	cr_assert(reached);
	cr_assert(tb_span_equal(message, tb_span_text("an event")));
	tb_line_close(line);
	tb_inlet_close(inlet);
	tb_outlet_close(outlet);
}

static void *ask(void *bus)
{
	tb_auto(tb_buf_drop) tb_buf answer = { 0 };
	tb_rc rc = ((tb_bus *)bus)->request(bus, tb_span_text("?"), PATIENCE * TENTH, &answer, NULL);
	return (void *)(uintptr_t)(rc == TB_OK && tb_span_equal(tb_buf_span(&answer), tb_span_text("!")));
}

static void answer(void *self, tb_question *question, tb_span text)
{
	cr_assert(tb_span_equal(text, tb_span_text("?")));
	tb_question_answer(question, tb_span_text("!"));
	*(int *)self = 1;
}

Test(bus_redial, a_request_under_way_is_answered_by_the_next_broker)
{
	tb_err err;
	tb_bus *bus;
	tb_server *server;
	pthread_t asker;
	int asked = 0;
	void *well;
	int mute = listen_mutely("broker");
	cr_assert_eq(tb_bus_dial(url_of("broker"), -1, &bus, &err), TB_OK, "%s", err.text);
	pthread_create(&asker, NULL, ask, bus);
	vanish(mute, "broker");
	cr_assert_eq(tb_server_listen(url_of("broker"), 4, answer, &asked, &server, &err), TB_OK, "%s", err.text);
	for (int i = 0; !asked && i < PATIENCE; i++) {
		struct pollfd readable = { .fd = tb_server_fd(server), .events = POLLIN };
		poll(&readable, 1, 100);
		tb_server_poll(server);
	}
	pthread_join(asker, &well);
	cr_assert(well != NULL);
	tb_bus_close(bus);
	tb_server_close(server);
}
