#include "bus/door.h"

#include "bus/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

/* Turns, of a second each, in which a knock has to be answered. */
#define KNOCK_PATIENCE 2

tb_rc tb_door_watch(tb_door *door, int fd, tb_err *err)
{
	struct epoll_event event = { .events = EPOLLIN };
	if (epoll_ctl(door->fd, EPOLL_CTL_ADD, fd, &event) != 0)
		return tb_fail_errno(err, errno, "%s can't be waited for", door->url);
	return TB_OK;
}

/* Only listeners on paths fall deaf. */
#define PATH_SCHEME "ipc://"

static tb_rc open_fds(tb_door *door, tb_err *err)
{
	int is_path = tb_address_is_path(door->url);
	struct itimerspec second = { { is_path, 0 }, { is_path, 0 } };
	door->fd = epoll_create1(EPOLL_CLOEXEC);
	door->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (door->fd < 0 || door->timer_fd < 0 || timerfd_settime(door->timer_fd, 0, &second, NULL) != 0)
		return tb_fail_errno(err, errno, "%s can't be waited for", door->url);
	return tb_door_watch(door, door->timer_fd, err);
}

tb_rc tb_door_open(tb_door *door, enum tb_protocol protocol, const char *url, const tb_socket_options *options,
                   tb_err *err)
{
	*door = (tb_door){ .url = tb_strdup(url), .fd = -1, .timer_fd = -1, .knock_fd = -1 };
	door->state.url = door->url;
	tb_rc rc = open_fds(door, err);
	if (rc == TB_OK)
		rc = tb_socket_open(protocol, door->url, options, &door->socket, err);
	return rc;
}

static void knock_end(tb_door *door)
{
	if (door->knock_fd >= 0)
		close(door->knock_fd);
	door->knock_fd = -1;
	door->knocking = 0;
}

/* Not with a socket of nng's: closing one while messages come in can block for good (see tb_socket_close), and this is
 * done every two seconds. Saying first what peers say first is enough. A deaf listener greets, too; one that hears finds
 * a protocol that it doesn't speak, and ends the connection. When no knock can be made, nothing can be said about the
 * listener either. */
static void knock_begin(tb_door *door)
{
	static const uint8_t greeting[] = { 0, 'S', 'P', 0, 0, 0x10, 0, 0 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", door->url + strlen(PATH_SCHEME));
	door->met_before = tb_socket_met(door->socket);
	door->knock_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (door->knock_fd >= 0 && connect(door->knock_fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		send(door->knock_fd, greeting, sizeof(greeting), MSG_NOSIGNAL);
}

/* nng doesn't free all of a listener that fell deaf: some kilobytes are lost each time. */
static void reopen(tb_door *door)
{
	tb_socket_unlisten(door->socket);
	door->state.deaf = tb_socket_listen(door->socket, &door->state.err) != TB_OK;
	door->state.reopened += !door->state.deaf;
}

/* Was it shown out? Anybody admitted since is as good. */
static int knock_heard(tb_door *door)
{
	uint8_t bytes[16];
	ssize_t size;
	if (tb_socket_met(door->socket) != door->met_before)
		return 1;
	while ((size = recv(door->knock_fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		continue;
	return size == 0 || errno == ECONNRESET;
}

void tb_door_turn(tb_door *door)
{
	if (!tb_event_clear(door->timer_fd))
		return;
	if (!tb_socket_listens(door->socket)) {
		reopen(door);
	} else if (door->knock_fd < 0) {
		knock_begin(door);
	} else if (knock_heard(door)) {
		knock_end(door);
	} else if (++door->knocking == KNOCK_PATIENCE) {
		knock_end(door);
		reopen(door);
	}
}

void tb_door_close(tb_door *door)
{
	if (door->url == NULL)
		return;
	knock_end(door);
	tb_socket_close(door->socket);
	if (door->fd >= 0)
		close(door->fd);
	if (door->timer_fd >= 0)
		close(door->timer_fd);
	free(door->url);
}
