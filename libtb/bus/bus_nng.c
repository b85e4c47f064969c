/* The file that knows nng: sockets, the asking side of REQ, the answering side of REP. (Addresses
 * and closing are in nng_address.c and nng_close.c.) */
#include "base/clock.h"
#include "bus/address.h"
#include "bus/door.h"
#include "bus/nng_parts.h"

#include <assert.h>
#include <errno.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECONNECT_FIRST_MS 10
#define RECONNECT_LAST_MS 100 /* who waits for a broker that was killed is to be back at once */
/* A lost connection makes nng send a request again at once; this is for a peer that is there and stays silent. */
#define RESEND_MS 60000

/* ---- sockets */

struct tb_socket {
	nng_socket nng;
	const char *url;
	gid_t group; /* who may come in by the path besides its owner, when admits */
	int admits;
	nng_dialer dialer;
	_Atomic uint64_t dialed_ns; /* when it was dialed, or was last connected; 0: it listens */
	nng_listener listener, also;
	int listens, listens_also;
	atomic_int listener_id; /* 0: it dials */
	atomic_int pipe;        /* the newest; 0: it is gone */
	atomic_uint met;
	unsigned redials, redials_met; /* without a connection between them; how many it had met by then */
	nng_msg *lent; /* by the last receive */
};

/* A pipe that its protocol refuses is removed without having been added, and the next may be added before the last is
 * removed: so it is names that are kept, not a count. */
static void pipe_moved(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	tb_socket *socket = arg;
	int id = nng_pipe_id(pipe), listener_id = atomic_load(&socket->listener_id);
	if (event == NNG_PIPE_EV_REM_POST) {
		if (listener_id == 0) /* nng dials again by itself, and is given its time */
			atomic_store(&socket->dialed_ns, tb_mono_ns(tb_clock_system()));
		atomic_compare_exchange_strong(&socket->pipe, &id, 0);
	} else if (listener_id == 0 || nng_listener_id(nng_pipe_listener(pipe)) == listener_id) {
		atomic_store(&socket->pipe, id);
		atomic_fetch_add(&socket->met, 1);
	}
}

/* nng starts its threads with the first socket; no signal of the process may land on them. */
static int open_quietly(enum tb_protocol protocol, nng_socket *ret_nng)
{
	static int (*const opens[])(nng_socket *) = {
		[TB_REQ] = nng_req0_open, [TB_REP] = nng_rep0_open, [TB_PUB] = nng_pub0_open, [TB_SUB] = nng_sub0_open
	};
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = opens[protocol](ret_nng);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

tb_rc tb_socket_open(enum tb_protocol protocol, const char *url, const tb_socket_options *options,
                     tb_socket **ret_socket, tb_err *err)
{
	nng_socket nng;
	int error = open_quietly(protocol, &nng);
	if (error != 0)
		return tb_nng_fail(err, error, url, "has no socket");
	nng_socket_set_size(nng, NNG_OPT_RECVMAXSZ, options->receive_max);
	nng_socket_set_ms(nng, NNG_OPT_RECONNMINT, RECONNECT_FIRST_MS);
	nng_socket_set_ms(nng, NNG_OPT_RECONNMAXT, RECONNECT_LAST_MS);
	if (protocol == TB_PUB)
		nng_socket_set_int(nng, NNG_OPT_SENDBUF, options->messages);
	if (protocol == TB_SUB) {
		nng_socket_set_int(nng, NNG_OPT_RECVBUF, options->messages);
		nng_socket_set_bool(nng, NNG_OPT_SUB_PREFNEW, !options->keep_oldest);
	}
	tb_socket *socket = tb_alloc_zero(1, sizeof(*socket));
	socket->nng = nng;
	socket->url = url;
	nng_pipe_notify(nng, NNG_PIPE_EV_ADD_POST, pipe_moved, socket);
	nng_pipe_notify(nng, NNG_PIPE_EV_REM_POST, pipe_moved, socket);
	*ret_socket = socket;
	return TB_OK;
}

/* ---- */

void tb_socket_close(tb_socket *socket)
{
	if (socket == NULL)
		return;
	nng_msg *lent = socket->lent;
	if (tb_nng_close(socket->nng))
		free(socket);
	nng_msg_free(lent);
}

tb_rc tb_socket_dial(tb_socket *socket, tb_err *err)
{
	atomic_store(&socket->dialed_ns, tb_mono_ns(tb_clock_system()));
	tb_rc rc = tb_nng_dialer(socket->nng, socket->url, &socket->dialer, err);
	if (rc != TB_OK)
		return rc;
	int error = nng_dialer_start(socket->dialer, NNG_FLAG_NONBLOCK);
	return error == 0 ? TB_OK : tb_nng_fail(err, error, socket->url, "can't be dialed");
}

static uint64_t redial_patience(tb_socket *socket)
{
	unsigned met = tb_socket_met(socket);
	if (met != socket->redials_met)
		socket->redials = 0;
	socket->redials_met = met;
	if (!tb_address_is_path(socket->url))
		return TB_REDIAL_FAR_NS;
	uint64_t patience = TB_REDIAL_FIRST_NS << (socket->redials < 8 ? socket->redials : 8);
	return patience < TB_REDIAL_NS ? patience : TB_REDIAL_NS;
}

void tb_socket_redial(tb_socket *socket)
{
	uint64_t dialed_ns = atomic_load(&socket->dialed_ns), now = tb_mono_ns(tb_clock_system());
	if (dialed_ns == 0 || tb_socket_connected(socket) || now < dialed_ns + redial_patience(socket))
		return;
	nng_dialer_close(socket->dialer);
	socket->redials++;
	tb_socket_dial(socket, NULL); /* else the next time */
}

int tb_socket_connected(const tb_socket *socket)
{
	return atomic_load(&socket->pipe) != 0;
}

/* nng has made it for its owner alone; it is given away before it is opened to others. */
static tb_rc admit(const tb_socket *socket, tb_err *err)
{
	const char *path = socket->url + strlen("ipc://");
	if (!socket->admits || !tb_address_is_path(socket->url))
		return TB_OK;
	if (chown(path, (uid_t)-1, socket->group) == 0 && chmod(path, 0660) == 0)
		return TB_OK;
	tb_fail_errno(err, errno, "%s can't be opened to the group %u", path, (unsigned)socket->group);
	tb_hint(err, "a process that isn't root's can give its files to groups that it belongs to only");
	return TB_EIO;
}

static tb_rc listen_at(tb_socket *socket, tb_err *err)
{
	int error = nng_listener_start(socket->listener, 0);
	return error == 0 ? admit(socket, err) : tb_nng_fail(err, error, socket->url, "can't be listened on");
}

/* Connections may come from the listener's start on. */
tb_rc tb_socket_listen(tb_socket *socket, tb_err *err)
{
	tb_rc rc = tb_nng_listener(socket->nng, socket->url, &socket->listener, err);
	if (rc != TB_OK)
		return rc;
	atomic_store(&socket->listener_id, nng_listener_id(socket->listener));
	rc = listen_at(socket, err);
	socket->listens = rc == TB_OK;
	if (rc != TB_OK)
		nng_listener_close(socket->listener);
	return rc;
}

tb_rc tb_socket_admit(tb_socket *socket, gid_t group, tb_err *err)
{
	socket->group = group;
	socket->admits = 1;
	return socket->listens ? admit(socket, err) : TB_OK;
}

void tb_socket_unlisten(tb_socket *socket)
{
	if (socket->listens)
		nng_listener_close(socket->listener);
	socket->listens = 0;
}

int tb_socket_listens(const tb_socket *socket)
{
	return socket->listens;
}

tb_rc tb_socket_also(tb_socket *socket, const char *url, tb_err *err)
{
	tb_rc rc = tb_nng_listener(socket->nng, url, &socket->also, err);
	if (rc != TB_OK)
		return rc;
	int error = nng_listener_start(socket->also, 0);
	socket->listens_also = error == 0;
	return error == 0 ? TB_OK : tb_nng_fail(err, error, url, "can't be listened on");
}

uint64_t tb_socket_turned_away(const tb_socket *socket)
{
	if (!socket->listens_also)
		return 0;
	return tb_nng_turned_at_listener(socket->also).by_us;
}

unsigned tb_socket_met(const tb_socket *socket)
{
	return atomic_load(&socket->met);
}

tb_rc tb_socket_subscribe(tb_socket *socket, tb_span prefix, tb_err *err)
{
	int error = nng_socket_set(socket->nng, NNG_OPT_SUB_SUBSCRIBE, prefix.data, prefix.size);
	return error == 0 ? TB_OK : tb_nng_fail(err, error, socket->url, "can't be subscribed to");
}

/* The parts one behind the other. NULL: no memory. */
static nng_msg *message_of(const tb_span *parts, size_t count)
{
	nng_msg *message;
	if (nng_msg_alloc(&message, tb_parts_size(parts, count)) != 0)
		return NULL;
	uint8_t *at = nng_msg_body(message);
	for (size_t i = 0; i < count; i++) {
		if (parts[i].size > 0)
			memcpy(at, parts[i].data, parts[i].size);
		at += parts[i].size;
	}
	return message;
}

static tb_span span_of(nng_msg *message)
{
	return tb_span_of(nng_msg_body(message), nng_msg_len(message));
}

tb_rc tb_socket_send(tb_socket *socket, const tb_span *parts, size_t count, tb_err *err)
{
	nng_msg *message = message_of(parts, count);
	int error = message != NULL ? nng_sendmsg(socket->nng, message, NNG_FLAG_NONBLOCK) : NNG_ENOMEM;
	if (error == 0)
		return TB_OK;
	nng_msg_free(message);
	return tb_nng_fail(err, error, socket->url, "can't be sent to");
}

int tb_socket_receive(tb_socket *socket, tb_span *ret_message)
{
	nng_msg_free(socket->lent);
	socket->lent = NULL;
	if (nng_recvmsg(socket->nng, &socket->lent, NNG_FLAG_NONBLOCK) != 0)
		return 0;
	*ret_message = span_of(socket->lent);
	return 1;
}

tb_rc tb_socket_fd(tb_socket *socket, int *ret_fd, tb_err *err)
{
	int error = nng_socket_get_int(socket->nng, NNG_OPT_RECVFD, ret_fd);
	return error == 0 ? TB_OK : tb_nng_fail(err, error, socket->url, "can't be waited for");
}

/* ---- asking */

struct client {
	tb_bus bus;
	tb_socket *socket;
	char *url;
	int interrupt_fd;
	int done_fd; /* readable when aio is done */
	nng_aio *aio;
};

static void client_done(void *arg)
{
	const struct client *client = arg;
	tb_event_raise(client->done_fd);
}

static void client_close(tb_bus *bus)
{
	struct client *client = (struct client *)bus;
	tb_socket_close(client->socket);
	nng_aio_free(client->aio);
	if (client->done_fd >= 0)
		close(client->done_fd);
	free(client->url);
	free(client);
}

static tb_rc fail_unanswered(const struct client *client, unsigned met_before, tb_err *err)
{
	if (tb_socket_connected(client->socket) || tb_socket_met(client->socket) != met_before)
		return tb_fail(err, TB_ETIMEOUT, "%s was reached, but has not answered in time", client->url);
	tb_nng_turned turned = tb_nng_turned_at_dialer(client->socket->dialer);
	if (turned.by_us > 0) {
		tb_fail(err, TB_EUNREACHABLE, "what listens at %s isn't the broker of this instance: its certificate doesn't hold",
		        client->url);
		tb_hint(err, "correct the address, or copy this host's keys anew, as `tb keys host NAME` made them");
		return TB_EUNREACHABLE;
	}
	if (turned.by_peer > 1 && tb_socket_met(client->socket) == 0) {
		tb_fail(err, TB_EUNREACHABLE, "%s hangs up: what this host shows as its certificate doesn't hold there", client->url);
		tb_hint(err, "this host needs a key and certificate of that instance: `tb keys host NAME` makes them there");
		return TB_EUNREACHABLE;
	}
	tb_fail(err, TB_EUNREACHABLE, "nobody answers at %s", client->url);
	tb_hint(err, "start what should listen there, or correct the address");
	return TB_EUNREACHABLE;
}

/* Until nng is done with the aio. One that is given up is cancelled and over when this returns; one that was done in
 * the meantime counts as done. */
static tb_rc client_await(struct client *client, uint64_t deadline, unsigned met_before, tb_err *err)
{
	tb_rc rc = tb_socket_wait(client->socket, client->done_fd, client->interrupt_fd, deadline);
	if (rc != TB_OK)
		nng_aio_cancel(client->aio);
	nng_aio_wait(client->aio);
	tb_event_clear(client->done_fd);
	int error = nng_aio_result(client->aio);
	if (error == 0)
		return TB_OK;
	if (rc == TB_EINTERRUPTED)
		return tb_fail_interrupted(err, client->url);
	if (rc == TB_ETIMEOUT)
		return fail_unanswered(client, met_before, err);
	return tb_nng_fail(err, error, client->url, "can't be asked");
}

static tb_rc client_exchange(struct client *client, nng_ctx context, nng_msg *request, uint64_t timeout_ns,
                             nng_msg **ret_answer, tb_err *err)
{
	uint64_t deadline = tb_deadline_after(timeout_ns);
	unsigned met_before = tb_socket_met(client->socket);
	nng_aio_set_msg(client->aio, request);
	nng_ctx_send(context, client->aio);
	tb_rc rc = client_await(client, deadline, met_before, err);
	if (rc != TB_OK) {
		nng_msg_free(request); /* it was not sent, and so is still ours */
		return rc;
	}
	nng_ctx_recv(context, client->aio);
	rc = client_await(client, deadline, met_before, err);
	if (rc == TB_OK)
		*ret_answer = nng_aio_get_msg(client->aio);
	return rc;
}

static void give_back(void *lent)
{
	nng_msg_free(lent);
}

/* The context lives as long as the request: closing it is how nng forgets one that nobody waits for any more. */
static tb_rc client_ask(tb_bus *bus, const tb_span *parts, size_t count, uint64_t timeout_ns, tb_answer *ret_answer,
                        tb_err *err)
{
	struct client *client = (struct client *)bus;
	nng_ctx context;
	nng_msg *answer = NULL;
	size_t size = tb_parts_size(parts, count);
	if (size > TB_BUS_MESSAGE_MAX)
		return tb_fail(err, TB_EINVAL, "a request of %zu bytes is too large: %u are allowed", size, TB_BUS_MESSAGE_MAX);
	int error = nng_ctx_open(&context, client->socket->nng);
	if (error != 0)
		return tb_nng_fail(err, error, client->url, "can't be asked");
	nng_ctx_set_ms(context, NNG_OPT_REQ_RESENDTIME, RESEND_MS);
	nng_msg *request = message_of(parts, count);
	tb_rc rc = request != NULL ? client_exchange(client, context, request, timeout_ns, &answer, err)
	                           : tb_nng_fail(err, NNG_ENOMEM, client->url, "can't be asked");
	nng_ctx_close(context);
	if (rc == TB_OK)
		*ret_answer = (tb_answer){ .whole = span_of(answer), .lent = answer, .give_back = give_back };
	return rc;
}

static tb_rc client_open(struct client *client, tb_err *err)
{
	static const tb_socket_options options = { .receive_max = TB_BUS_MESSAGE_MAX };
	client->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (client->done_fd < 0)
		return tb_fail_errno(err, errno, "%s can't be waited for", client->url);
	int error = nng_aio_alloc(&client->aio, client_done, client);
	if (error != 0)
		return tb_nng_fail(err, error, client->url, "can't be asked");
	tb_rc rc = tb_socket_open(TB_REQ, client->url, &options, &client->socket, err);
	return rc == TB_OK ? tb_socket_dial(client->socket, err) : rc;
}

tb_rc tb_bus_dial(const char *url, int interrupt_fd, tb_bus **ret_bus, tb_err *err)
{
	struct client *client = tb_alloc_zero(1, sizeof(*client));
	client->bus = (tb_bus){ .request = tb_bus_request_copied, .ask = client_ask, .close = client_close };
	client->interrupt_fd = interrupt_fd;
	client->url = tb_strdup(url);
	tb_rc rc = client_open(client, err);
	if (rc == TB_OK)
		*ret_bus = &client->bus;
	else
		client_close(&client->bus);
	return rc;
}

/* ---- answering */

/* A context of the socket, which is always receiving, on its way to or with the caller, or sending the answer. */
struct tb_question {
	tb_server *server;
	nng_ctx context;
	nng_aio *aio;
	nng_msg *text; /* while it is with the caller */
	int sending;
	tb_question *next; /* in the queue to the caller */
};

struct tb_server {
	tb_door door;
	int come_fd; /* readable when the queue has something */
	pthread_mutex_t lock;
	tb_question *first, **last; /* under the lock */
	tb_question *questions;
	unsigned count; /* of those that are open */
	tb_question_fn fn;
	void *self;
};

static void queue_put(tb_server *server, tb_question *question)
{
	question->next = NULL;
	pthread_mutex_lock(&server->lock);
	*server->last = question;
	server->last = &question->next;
	pthread_mutex_unlock(&server->lock);
	tb_event_raise(server->come_fd);
}

static tb_question *queue_take(tb_server *server)
{
	tb_event_clear(server->come_fd);
	pthread_mutex_lock(&server->lock);
	tb_question *first = server->first;
	server->first = NULL;
	server->last = &server->first;
	pthread_mutex_unlock(&server->lock);
	return first;
}

/* In a thread of nng: a question has come, or its answer is on its way and the next may come. */
static void question_moved(void *arg)
{
	tb_question *question = arg;
	int error = nng_aio_result(question->aio);
	if (question->sending) {
		if (error != 0)
			nng_msg_free(nng_aio_get_msg(question->aio)); /* the asker is gone */
		question->sending = 0;
		nng_ctx_recv(question->context, question->aio);
	} else if (error == 0) {
		question->text = nng_aio_get_msg(question->aio);
		queue_put(question->server, question);
	} else if (error != NNG_ECLOSED && error != NNG_ECANCELED) {
		nng_ctx_recv(question->context, question->aio);
	}
}

static tb_rc question_open(tb_server *server, tb_question *question, tb_err *err)
{
	question->server = server;
	int error = nng_ctx_open(&question->context, server->door.socket->nng);
	if (error == 0)
		error = nng_aio_alloc(&question->aio, question_moved, question);
	if (error != 0)
		return tb_nng_fail(err, error, server->door.url, "can't be answered on");
	server->count++;
	nng_ctx_recv(question->context, question->aio);
	return TB_OK;
}

static tb_rc server_open(tb_server *server, const char *url, unsigned questions_max, tb_err *err)
{
	static const tb_socket_options options = { .receive_max = TB_BUS_MESSAGE_MAX };
	tb_rc rc = tb_door_open(&server->door, TB_REP, url, &options, err);
	if (rc != TB_OK)
		return rc;
	server->come_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->come_fd < 0)
		return tb_fail_errno(err, errno, "%s can't be waited for", url);
	rc = tb_door_watch(&server->door, server->come_fd, err);
	server->questions = tb_alloc_zero(questions_max, sizeof(*server->questions));
	for (unsigned i = 0; i < questions_max && rc == TB_OK; i++)
		rc = question_open(server, &server->questions[i], err);
	return rc == TB_OK ? tb_socket_listen(server->door.socket, err) : rc;
}

tb_rc tb_server_listen(const char *url, unsigned questions_max, tb_question_fn fn, void *self, tb_server **ret_server,
                       tb_err *err)
{
	tb_server *server = tb_alloc_zero(1, sizeof(*server));
	pthread_mutex_init(&server->lock, NULL);
	server->last = &server->first;
	server->come_fd = -1;
	server->fn = fn;
	server->self = self;
	tb_rc rc = server_open(server, url, questions_max, err);
	if (rc == TB_OK)
		*ret_server = server;
	else
		tb_server_close(server);
	return rc;
}

int tb_server_fd(tb_server *server)
{
	return server->door.fd;
}

void tb_server_poll(tb_server *server)
{
	tb_door_turn(&server->door);
	for (tb_question *question = queue_take(server), *next; question != NULL; question = next) {
		next = question->next; /* once answered, it may come again at any moment */
		server->fn(server->self, question, span_of(question->text));
	}
}

void tb_question_answer(tb_question *question, tb_span text)
{
	assert(text.size <= TB_BUS_MESSAGE_MAX);
	nng_msg *answer = message_of(&text, 1);
	nng_msg_free(question->text);
	question->text = NULL;
	question->sending = answer != NULL; /* else the asker has to ask again */
	if (answer == NULL) {
		nng_ctx_recv(question->context, question->aio);
		return;
	}
	nng_aio_set_msg(question->aio, answer);
	nng_ctx_send(question->context, question->aio);
}

tb_rc tb_server_also(tb_server *server, const char *url, tb_err *err)
{
	return tb_socket_also(server->door.socket, url, err);
}

tb_rc tb_server_admit(tb_server *server, gid_t group, tb_err *err)
{
	return tb_socket_admit(server->door.socket, group, err);
}

uint64_t tb_server_turned_away(const tb_server *server)
{
	return tb_socket_turned_away(server->door.socket);
}

const tb_listening *tb_server_listening(const tb_server *server)
{
	return &server->door.state;
}

void tb_server_close(tb_server *server)
{
	if (server == NULL)
		return;
	tb_door_close(&server->door); /* ends what the contexts are at; then nothing of them moves any more */
	for (unsigned i = 0; i < server->count; i++) {
		nng_aio_free(server->questions[i].aio);
		nng_msg_free(server->questions[i].text);
	}
	if (server->come_fd >= 0)
		close(server->come_fd);
	pthread_mutex_destroy(&server->lock);
	free(server->questions);
	free(server);
}
