/* The bus as workers and commands see it: requests to the broker, and its topics.
 *
 * A bus is a table of calls, so that a simulation can stand in for the sockets. Everything is idempotent: a request
 * whose answer was lost is sent again, and the broker drops repeats. */
#ifndef TB_BUS_BUS_H
#define TB_BUS_BUS_H

#include "base/arena.h"
#include "base/err.h"
#include "control.pb-c.h"
#include "wire/frame.h"

/* An answer: its bytes, and the frames behind its message, which itself is in the arena. */
typedef struct tb_answer {
	tb_span whole;  /* the answer's bytes: those of `bytes`, or lent */
	tb_span frames; /* borrows from them: what follows the control frame */
	tb_buf bytes;   /* owns */
	void *lent;
	void (*give_back)(void *lent);
} tb_answer;
void tb_answer_drop(tb_answer *answer);

typedef struct tb_bus tb_bus;
struct tb_bus {
	/* One request, one answer, both a control frame and the frames behind it. TB_ETIMEOUT, TB_EUNREACHABLE (nobody
	 * has answered there for the whole time), TB_EINTERRUPTED (the interrupt descriptor became readable). */
	tb_rc (*request)(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err);
	/* The same without copies: a request in parts, and an answer that is lent until it is dropped. NULL: there is only
	 * the call above. A message may be of 33 MiB, and each copy counts. */
	tb_rc (*ask)(tb_bus *bus, const tb_span *parts, size_t count, uint64_t timeout_ns, tb_answer *ret_answer, tb_err *err);
	void (*close)(tb_bus *bus);
};

/* nng REQ to the broker. interrupt_fd: -1, or a descriptor (a signalfd) that ends waiting when readable. Dialing goes
 * on in the background; opening doesn't need the broker. */
tb_rc tb_bus_dial(const char *url, int interrupt_fd, tb_bus **ret_bus, tb_err *err);
void tb_bus_close(tb_bus *bus); /* NULL is fine */
static inline size_t tb_parts_size(const tb_span *parts, size_t count)
{
	size_t size = 0;
	for (size_t i = 0; i < count; i++)
		size += parts[i].size;
	return size;
}
/* `request` of a bus that has `ask`. */
tb_rc tb_bus_request_copied(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err);

/* The verbs. The broker's refusal comes back as its code and sentence. ret_reply lives in the arena; it is also set with a
 * TB_EFENCED that the broker said. */
tb_rc tb_bus_hello(tb_bus *bus, const Tb__HelloRequest *request, uint64_t timeout_ns, tb_arena *arena,
                   Tb__HelloReply **ret_reply, tb_err *err);
tb_rc tb_bus_put(tb_bus *bus, const Tb__PutRequest *request, tb_span frames, uint64_t timeout_ns, tb_arena *arena,
                 Tb__PutReply **ret_reply, tb_err *err);
tb_rc tb_bus_take(tb_bus *bus, const Tb__TakeRequest *request, uint64_t timeout_ns, tb_arena *arena,
                  Tb__TakeReply **ret_reply, tb_answer *ret_answer, tb_err *err);
tb_rc tb_bus_fetch(tb_bus *bus, const Tb__FetchRequest *request, uint64_t timeout_ns, tb_arena *arena,
                   Tb__FetchReply **ret_reply, tb_answer *ret_answer, tb_err *err);
tb_rc tb_bus_stat(tb_bus *bus, uint64_t timeout_ns, tb_arena *arena, Tb__StatReply **ret_reply, tb_err *err);

/* A control message as a frame of that kind, and back (for broker and bus both). */
void tb_control_write(tb_buf *to, enum tb_kind kind, const ProtobufCMessage *message);
tb_rc tb_control_read(tb_span *from, enum tb_kind kind, const ProtobufCMessageDescriptor *descriptor, tb_arena *arena,
                      ProtobufCMessage **ret_message, tb_err *err);

/* Topics: a SUB socket. A message is topic, NUL, body. An empty prefix is everything. */
typedef struct tb_topics tb_topics;
tb_rc tb_topics_dial(const char *url, int interrupt_fd, tb_topics **ret_topics, tb_err *err);
tb_rc tb_topics_add(tb_topics *topics, const char *prefix, tb_err *err);
/* Next message into buf; topic is its text up to the NUL, body what follows. TB_ETIMEOUT, TB_EINTERRUPTED. */
tb_rc tb_topics_next(tb_topics *topics, uint64_t timeout_ns, tb_buf *buf, tb_span *ret_topic, tb_span *ret_body, tb_err *err);
void tb_topics_close(tb_topics *topics);

/* A server of requests, the broker's or small JSON ones: one question, one answer, several open at once. Callbacks run
 * in tb_server_poll, in the caller's thread; a question's text is valid until it is answered. It watches itself and is
 * opened again when it falls deaf: see bus/listen.h, also for what has to be so before it listens. Closing drops the
 * questions that are open; their askers ask again. */
typedef struct tb_server tb_server;
typedef struct tb_question tb_question;
typedef void (*tb_question_fn)(void *self, tb_question *question, tb_span text);
tb_rc tb_server_listen(const char *url, unsigned questions_max, tb_question_fn fn, void *self, tb_server **ret_server,
                       tb_err *err);
int tb_server_fd(tb_server *server); /* readable: call poll */
void tb_server_poll(tb_server *server);
/* Answers now or later; the question is gone then. */
void tb_question_answer(tb_question *question, tb_span text);
void tb_server_close(tb_server *server);
/* The asking side: one JSON question, one answer. */
tb_rc tb_ask(const char *url, tb_span question, uint64_t timeout_ns, int interrupt_fd, tb_buf *ret_answer, tb_err *err);

/* The engine's side of the bus: PUB frames out, answers in. Used by the publisher alone. */
typedef struct tb_line tb_line;
tb_rc tb_line_dial(const char *events_url, const char *topics_url, const char *topic, tb_line **ret_line, tb_err *err);
int tb_line_fd(tb_line *line);       /* readable when something was heard */
int tb_line_connected(tb_line *line); /* both pipes are up */
unsigned tb_line_pipe(const tb_line *line); /* where frames leave: 0: it is down; another number after each loss */
/* Queue one frame; the buffer is copied. TB_EBUSY: nobody is connected, try later. Who has more than 512 frames on their
 * way loses some without a word: keep to the window. */
tb_rc tb_line_send(tb_line *line, tb_span frame, tb_err *err);
/* The next thing heard (body of the topic's message), or TB_ENOTFOUND when there is none now. */
tb_rc tb_line_hear(tb_line *line, tb_buf *buf, tb_span *ret_body, tb_err *err);
void tb_line_close(tb_line *line);

/* Addresses of an instance's directory: DIR/run/<name>.ipc as "ipc://…", where name is broker (requests), events,
 * topics or signals. Absolute, symlinks resolved where the directory exists. TB_EINVAL when longer than a socket path
 * may be (107 bytes), with a hint. */
tb_rc tb_bus_address(const char *dir, const char *name, tb_buf *ret_url, tb_err *err);

#endif
