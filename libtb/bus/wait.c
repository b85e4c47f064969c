#include "bus/socket.h"

#include "base/clock.h"

#include <poll.h>
#include <unistd.h>

uint64_t tb_deadline_after(uint64_t timeout_ns)
{
	uint64_t now = tb_mono_ns(tb_clock_system());
	return timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
}

tb_rc tb_wait_readable(int fd, int interrupt_fd, uint64_t deadline)
{
	struct pollfd fds[2] = { { .fd = fd, .events = POLLIN }, { .fd = interrupt_fd, .events = POLLIN } };
	for (;;) {
		uint64_t now = tb_mono_ns(tb_clock_system());
		uint64_t left = deadline > now ? deadline - now : 0;
		struct timespec wait = { (time_t)(left / TB_NS_PER_S), (long)(left % TB_NS_PER_S) };
		if (ppoll(fds, 2, &wait, NULL) > 0)
			return fds[0].revents != 0 ? TB_OK : TB_EINTERRUPTED;
		if (left == 0)
			return TB_ETIMEOUT;
	}
}

tb_rc tb_socket_wait(tb_socket *socket, int fd, int interrupt_fd, uint64_t deadline)
{
	for (;;) {
		tb_socket_redial(socket);
		uint64_t pause = tb_deadline_after(TB_REDIAL_FIRST_NS / 2);
		tb_rc rc = tb_wait_readable(fd, interrupt_fd, pause < deadline ? pause : deadline);
		if (rc != TB_ETIMEOUT || pause >= deadline)
			return rc;
	}
}

tb_rc tb_fail_interrupted(tb_err *err, const char *url)
{
	return tb_fail(err, TB_EINTERRUPTED, "asked to end while waiting for %s", url);
}

void tb_event_raise(int fd)
{
	uint64_t one = 1;
	ssize_t written = write(fd, &one, sizeof(one));
	(void)written; /* it is readable already when this fails */
}

int tb_event_clear(int fd)
{
	uint64_t count;
	return read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count);
}
