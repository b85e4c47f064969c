/* The listening side of the bus: what the broker, and any worker that answers questions, opens.
 *
 * A listener on ipc:// can fall deaf: a peer that is gone before it was greeted makes nng stop accepting, for good and
 * without a word, while the kernel still lets everybody in. So each listener knocks at its own address every two
 * seconds, and when the knock isn't answered within one it closes and listens again. That cuts the connections that it
 * has; they come back by themselves, and what was lost on them is sent again. The socket's directory must be private
 * (0700), and a path must have one listener only: hold a lock before you listen, as a second one that tries is such a
 * peer.
 *
 * The first address is a path and is its owner's alone; _admit lets the members of a group in, too. Anybody let in may
 * do everything. _turned_away: see bus/socket.h. */
#ifndef TB_BUS_LISTEN_H
#define TB_BUS_LISTEN_H

#include "bus/bus.h"

#include <sys/types.h>

/* Messages that wait to be read: one queue for all publishers together. What doesn't fit is dropped silently, so that
 * the sum of all windows, in frames, must not be above it. */
#define TB_INLET_MESSAGES 8192u
#define TB_INLET_MESSAGE_MAX (TB_FRAME_BODY_MAX + TB_FRAME_HEAD + 1024u)
/* The largest request or answer. */
#define TB_BUS_MESSAGE_MAX (40u * 1024 * 1024)

/* How a listener is. */
typedef struct tb_listening {
	const char *url;
	unsigned reopened; /* how often it had to be opened again */
	int deaf;          /* it could not be opened again; it goes on trying */
	tb_err err;        /* why, when deaf */
} tb_listening;

/* What engines publish: a SUB socket that hears everything. Readable fd: call next until it returns 0; a message is
 * borrowed until the next call. */
typedef struct tb_inlet tb_inlet;
tb_rc tb_inlet_listen(const char *url, tb_inlet **ret_inlet, tb_err *err);
tb_rc tb_inlet_also(tb_inlet *inlet, const char *url, tb_err *err); /* one more address, e.g. tls+tcp:// */
int tb_inlet_fd(const tb_inlet *inlet);
int tb_inlet_next(tb_inlet *inlet, tb_span *ret_message);
tb_rc tb_inlet_admit(tb_inlet *inlet, gid_t group, tb_err *err);
uint64_t tb_inlet_turned_away(const tb_inlet *inlet);
const tb_listening *tb_inlet_listening(const tb_inlet *inlet);
void tb_inlet_close(tb_inlet *inlet);

/* Topics out: a PUB socket. Readable fd: call turn. A slow subscriber loses messages, nobody waits for it. */
typedef struct tb_outlet tb_outlet;
tb_rc tb_outlet_listen(const char *url, tb_outlet **ret_outlet, tb_err *err);
tb_rc tb_outlet_also(tb_outlet *outlet, const char *url, tb_err *err);
int tb_outlet_fd(const tb_outlet *outlet);
void tb_outlet_turn(tb_outlet *outlet);
void tb_outlet_send(tb_outlet *outlet, tb_span topic, tb_span body);
tb_rc tb_outlet_admit(tb_outlet *outlet, gid_t group, tb_err *err);
uint64_t tb_outlet_turned_away(const tb_outlet *outlet);
const tb_listening *tb_outlet_listening(const tb_outlet *outlet);
void tb_outlet_close(tb_outlet *outlet);

/* More of the server in bus.h. */
tb_rc tb_server_also(tb_server *server, const char *url, tb_err *err);
tb_rc tb_server_admit(tb_server *server, gid_t group, tb_err *err);
uint64_t tb_server_turned_away(const tb_server *server);
const tb_listening *tb_server_listening(const tb_server *server);

#endif
