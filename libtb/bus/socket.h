/* One socket of the bus, and waiting for it. Private to this room: it keeps nng out of everything but bus_nng.c. */
#ifndef TB_BUS_SOCKET_H
#define TB_BUS_SOCKET_H

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

enum tb_protocol { TB_REQ, TB_REP, TB_PUB, TB_SUB };

typedef struct tb_socket tb_socket;

typedef struct tb_socket_options {
	size_t receive_max; /* bytes of a message; a larger one costs the sender the connection */
	int messages;       /* that may wait in its queue, for PUB and SUB */
	int keep_oldest;    /* SUB: a full queue drops what comes, not what it has */
} tb_socket_options;

/* It neither dials nor listens yet. url: see bus/address.h; borrowed for its life. */
tb_rc tb_socket_open(enum tb_protocol protocol, const char *url, const tb_socket_options *options,
                     tb_socket **ret_socket, tb_err *err);
void tb_socket_close(tb_socket *socket); /* NULL is fine. Whoever uses it in another thread must be through. */

/* Dial in the background, again and again. */
tb_rc tb_socket_dial(tb_socket *socket, tb_err *err);
int tb_socket_connected(const tb_socket *socket); /* what dials: its connection is up */
/* A dialer of nng 1.5 gives up for good, without a word, when its peer on ipc:// goes before it has greeted: a broker that
 * is killed at that moment. So what has been without a connection for a while is dialed anew: after FIRST, and ever more
 * patiently, as a busy broker may be slow to greet. Cheap: for who waits. */
#define TB_REDIAL_FIRST_NS (200 * TB_NS_PER_MS)
#define TB_REDIAL_NS (2 * TB_NS_PER_S)
/* Over a network a connection may take its time, but not the minutes that the kernel waits when a host is gone. */
#define TB_REDIAL_FAR_NS (10 * TB_NS_PER_S)
void tb_socket_redial(tb_socket *socket);
/* Listen; unlisten cuts the connections that came that way, and listen may follow it. */
tb_rc tb_socket_listen(tb_socket *socket, tb_err *err);
void tb_socket_unlisten(tb_socket *socket);
int tb_socket_listens(const tb_socket *socket);
tb_rc tb_socket_also(tb_socket *socket, const char *url, tb_err *err); /* listen at one more address */
/* Who is in that group may connect by the path, too, now and whenever it is listened on anew. Its directory is the
 * caller's. */
tb_rc tb_socket_admit(tb_socket *socket, gid_t group, tb_err *err);
/* Connections to the further address that were turned away: they showed no certificate that holds here. */
uint64_t tb_socket_turned_away(const tb_socket *socket);
/* Connections so far: of what dials, or through the present address of what listens. */
unsigned tb_socket_met(const tb_socket *socket);

/* Nothing of these waits. Send: TB_EBUSY when the queue is full. Receive: 0 when nothing is there; a message is borrowed
 * until the next call. */
tb_rc tb_socket_subscribe(tb_socket *socket, tb_span prefix, tb_err *err);
tb_rc tb_socket_send(tb_socket *socket, const tb_span *parts, size_t count, tb_err *err);
int tb_socket_receive(tb_socket *socket, tb_span *ret_message);
tb_rc tb_socket_fd(tb_socket *socket, int *ret_fd, tb_err *err); /* readable when a message may be there */

/* ---- waiting (wait.c) */

uint64_t tb_deadline_after(uint64_t timeout_ns); /* on the system's monotonic clock; UINT64_MAX stays */
/* Until fd is readable (TB_OK), interrupt_fd is (TB_EINTERRUPTED; -1: none), or the deadline is over (TB_ETIMEOUT).
 * Writes no sentence. */
tb_rc tb_wait_readable(int fd, int interrupt_fd, uint64_t deadline);
/* The same, with an eye on the connection of what dials. */
tb_rc tb_socket_wait(tb_socket *socket, int fd, int interrupt_fd, uint64_t deadline);
tb_rc tb_fail_interrupted(tb_err *err, const char *url);
/* An eventfd or timerfd that doesn't block. Clear: 1 when it was raised. */
void tb_event_raise(int fd);
int tb_event_clear(int fd);

#endif
