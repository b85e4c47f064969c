/* The broker's sockets around its core: one thread, one poll.
 *
 * A turn drains what engines published, up to a bound, and the requests that have come, and commits them as one batch;
 * answers and topics leave with the commit. */
#ifndef TB_BROKER_SERVE_H
#define TB_BROKER_SERVE_H

#include "broker/broker.h"

#include <sys/types.h>

/* Requests that are held at once: those behind them wait in their askers' connections. */
#define TB_SERVE_REQUESTS 256u

/* Addresses; the second of each pair may be NULL. */
typedef struct tb_serve_urls {
	const char *request, *request_also;
	const char *events, *events_also;
	const char *topics, *topics_also;
} tb_serve_urls;

typedef struct tb_serve tb_serve;

tb_serve *tb_serve_new(const tb_clock *clock);
/* Where the core's answers and topics go; before listening, nowhere. The core must be closed before the sockets. */
const tb_broker_out *tb_serve_out(tb_serve *serve);
/* The core is ready: from here on engines and workers reach it. */
tb_rc tb_serve_listen(tb_serve *serve, const tb_serve_urls *urls, tb_broker *broker, tb_err *err);
tb_rc tb_serve_admit(tb_serve *serve, gid_t group, tb_err *err); /* its members may come in by the paths, too */
/* Until signal_fd is readable (TB_OK, everything that came is committed) or a commit fails. Logs what happens to the
 * sockets. */
tb_rc tb_serve_run(tb_serve *serve, int signal_fd, tb_err *err);
void tb_serve_free(tb_serve *serve);

#endif
