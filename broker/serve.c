#include "broker/serve.h"

#include "base/log.h"
#include "bus/listen.h"
#include "run/process.h"

#include <poll.h>
#include <stdlib.h>

/* What a batch takes before it is committed. */
#define TURN_MESSAGES 1024
#define TURN_BYTES ((size_t)8 * 1024 * 1024)
#define TRIM_EVERY (10 * TB_NS_PER_S)
#define COUNT_EVERY TB_NS_PER_S

enum { INLET, OUTLET, SERVER, SOCKETS };

struct tb_serve {
	const tb_clock *clock;
	tb_broker_out out;
	tb_broker *broker;
	tb_inlet *inlet;
	tb_outlet *outlet;
	tb_server *server;
	struct { unsigned reopened; int deaf; } logged[SOCKETS]; /* what was last said of each */
	int asked; /* requests have come since the last tick */
	uint64_t tick_due;
	uint64_t trim_due;
	uint64_t count_due;
	uint64_t turned_away; /* connections, so far */
	tb_err failure; /* of a commit in the middle of a turn */
};

static void answer(void *self, void *asker, tb_span text)
{
	(void)self;
	tb_question_answer(asker, text);
}

static void topic(void *self, tb_span name, tb_span body)
{
	tb_serve *serve = self;
	if (serve->outlet != NULL)
		tb_outlet_send(serve->outlet, name, body);
}

static void request(void *self, tb_question *question, tb_span text)
{
	tb_serve *serve = self;
	serve->asked = 1;
	tb_broker_request(serve->broker, question, text);
	if (tb_broker_gathered(serve->broker) >= TURN_BYTES && serve->failure.rc == TB_OK)
		tb_broker_commit(serve->broker, &serve->failure);
}

tb_serve *tb_serve_new(const tb_clock *clock)
{
	tb_serve *serve = tb_alloc_zero(1, sizeof(*serve));
	serve->clock = clock;
	serve->out = (tb_broker_out){ serve, answer, topic };
	return serve;
}

const tb_broker_out *tb_serve_out(tb_serve *serve)
{
	return &serve->out;
}

/* Topics before events before requests: whoever says hello can be heard and told. */
tb_rc tb_serve_listen(tb_serve *serve, const tb_serve_urls *urls, tb_broker *broker, tb_err *err)
{
	serve->broker = broker;
	tb_rc rc = tb_outlet_listen(urls->topics, &serve->outlet, err);
	if (rc == TB_OK && urls->topics_also != NULL)
		rc = tb_outlet_also(serve->outlet, urls->topics_also, err);
	if (rc == TB_OK)
		rc = tb_inlet_listen(urls->events, &serve->inlet, err);
	if (rc == TB_OK && urls->events_also != NULL)
		rc = tb_inlet_also(serve->inlet, urls->events_also, err);
	if (rc == TB_OK)
		rc = tb_server_listen(urls->request, TB_SERVE_REQUESTS, request, serve, &serve->server, err);
	if (rc == TB_OK && urls->request_also != NULL)
		rc = tb_server_also(serve->server, urls->request_also, err);
	return rc;
}

tb_rc tb_serve_admit(tb_serve *serve, gid_t group, tb_err *err)
{
	tb_rc rc = tb_outlet_admit(serve->outlet, group, err);
	if (rc == TB_OK)
		rc = tb_inlet_admit(serve->inlet, group, err);
	return rc == TB_OK ? tb_server_admit(serve->server, group, err) : rc;
}

static void drain_events(tb_serve *serve)
{
	tb_span message;
	for (int i = 0; i < TURN_MESSAGES && tb_broker_gathered(serve->broker) < TURN_BYTES; i++) {
		if (!tb_inlet_next(serve->inlet, &message))
			return;
		tb_broker_event(serve->broker, message);
	}
}

/* A request may want to be called back earlier than what was due before it. */
static void tick(tb_serve *serve)
{
	if (!serve->asked && tb_mono_ns(serve->clock) < serve->tick_due)
		return;
	serve->asked = 0;
	serve->tick_due = tb_broker_tick(serve->broker);
}

static tb_rc turn(tb_serve *serve, tb_err *err)
{
	drain_events(serve);
	tb_server_poll(serve->server);
	tick(serve);
	if (serve->failure.rc == TB_OK)
		return tb_broker_commit(serve->broker, err);
	*err = serve->failure;
	return serve->failure.rc;
}

static void trim(tb_serve *serve)
{
	uint64_t now = tb_mono_ns(serve->clock);
	if (now < serve->trim_due)
		return;
	serve->trim_due = now + TRIM_EVERY;
	tb_process_trim();
}

/* Whoever shows no certificate of the instance's. */
static void count_turned_away(tb_serve *serve)
{
	uint64_t now = tb_mono_ns(serve->clock);
	if (now < serve->count_due)
		return;
	serve->count_due = now + COUNT_EVERY;
	uint64_t count = tb_inlet_turned_away(serve->inlet) + tb_outlet_turned_away(serve->outlet) +
	                 tb_server_turned_away(serve->server);
	if (serve->turned_away == 0 && count > 0)
		tb_log(TB_LOG_WARN, "turned away somebody without a certificate of this instance; `tb status` counts them");
	serve->turned_away = count;
	tb_broker_turned_away(serve->broker, count);
}

static void log_sockets(tb_serve *serve)
{
	const tb_listening *sockets[SOCKETS] = {
		[INLET] = tb_inlet_listening(serve->inlet),
		[OUTLET] = tb_outlet_listening(serve->outlet),
		[SERVER] = tb_server_listening(serve->server),
	};
	for (int i = 0; i < SOCKETS; i++) {
		if (sockets[i]->reopened != serve->logged[i].reopened)
			tb_log(TB_LOG_WARN, "%s accepted nobody any more and was opened again", sockets[i]->url);
		if (sockets[i]->deaf && !serve->logged[i].deaf)
			tb_log_err(TB_LOG_ERROR, "a socket can't be opened again, trying on", &sockets[i]->err);
		serve->logged[i].reopened = sockets[i]->reopened;
		serve->logged[i].deaf = sockets[i]->deaf;
	}
}

static void wait_for_work(tb_serve *serve, struct pollfd *fds, nfds_t count)
{
	uint64_t now = tb_mono_ns(serve->clock);
	uint64_t left = serve->tick_due > now ? serve->tick_due - now : 0;
	struct timespec wait = { (time_t)(left / TB_NS_PER_S), (long)(left % TB_NS_PER_S) };
	if (ppoll(fds, count, &wait, NULL) < 0)
		fds[0].revents = 0; /* nothing is known of them: look at the sockets, and wait again */
}

tb_rc tb_serve_run(tb_serve *serve, int signal_fd, tb_err *err)
{
	struct pollfd fds[] = {
		{ .fd = signal_fd, .events = POLLIN },
		{ .fd = tb_inlet_fd(serve->inlet), .events = POLLIN },
		{ .fd = tb_outlet_fd(serve->outlet), .events = POLLIN },
		{ .fd = tb_server_fd(serve->server), .events = POLLIN },
	};
	tb_rc rc = TB_OK;
	while (rc == TB_OK && fds[0].revents == 0) {
		rc = turn(serve, err);
		tb_outlet_turn(serve->outlet);
		log_sockets(serve);
		count_turned_away(serve);
		trim(serve);
		if (rc == TB_OK)
			wait_for_work(serve, fds, sizeof(fds) / sizeof(fds[0]));
	}
	return rc == TB_OK ? turn(serve, err) : rc; /* what had come before the signal */
}

void tb_serve_free(tb_serve *serve)
{
	if (serve == NULL)
		return;
	tb_server_close(serve->server);
	tb_inlet_close(serve->inlet);
	tb_outlet_close(serve->outlet);
	free(serve);
}
