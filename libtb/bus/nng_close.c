/* nng 1.5 can lose track of a connection that is closed between a message's head and its body, and then waits for its
 * end for good, in the thread that ends connections for all sockets of the process. So sockets are closed beside the
 * caller, who waits for a while; one that isn't closed by then is left behind, and the next ones are hardly waited for. */
#include "base/clock.h"
#include "bus/nng_parts.h"
#include "bus/socket.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CLOSE_PATIENCE (2 * TB_NS_PER_S)
#define CLOSE_PATIENCE_STUCK (50 * TB_NS_PER_MS)

struct closing {
	nng_socket nng;
	int done_fd;
};

static atomic_int closing_stuck;

static void *close_beside(void *arg)
{
	struct closing *closing = arg;
	nng_close(closing->nng);
	tb_event_raise(closing->done_fd); /* behind this the caller may be gone with it */
	return NULL;
}

static int start_closing(struct closing *closing)
{
	pthread_t thread;
	sigset_t all, before;
	closing->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (closing->done_fd < 0)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&thread, NULL, close_beside, closing);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error == 0)
		pthread_detach(thread);
	else
		close(closing->done_fd);
	return error == 0;
}

int tb_nng_close(nng_socket nng)
{
	struct closing *closing = tb_alloc_zero(1, sizeof(*closing));
	closing->nng = nng;
	uint64_t patience = atomic_load(&closing_stuck) ? CLOSE_PATIENCE_STUCK : CLOSE_PATIENCE;
	if (!start_closing(closing)) {
		nng_close(nng);
	} else if (tb_wait_readable(closing->done_fd, -1, tb_deadline_after(patience)) != TB_OK) {
		atomic_store(&closing_stuck, 1);
		return 0;
	} else {
		tb_event_clear(closing->done_fd);
		close(closing->done_fd);
	}
	free(closing);
	return 1;
}
