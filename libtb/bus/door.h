/* A door: a socket that listens and knows when it has fallen deaf (bus/listen.h tells why). Private to this room. */
#ifndef TB_BUS_DOOR_H
#define TB_BUS_DOOR_H

#include "bus/listen.h"
#include "bus/socket.h"

typedef struct tb_door {
	tb_socket *socket;
	char *url;
	tb_listening state;
	int knock_fd;       /* a connection to our own address; -1: none under way */
	int knocking;       /* turns that it has had */
	unsigned met_before;
	int fd;       /* readable when timer_fd or what was added is */
	int timer_fd; /* each second */
} tb_door;

/* Not listening yet: what hangs on the socket is made ready first. Whatever open says, the door can be closed. */
tb_rc tb_door_open(tb_door *door, enum tb_protocol protocol, const char *url, const tb_socket_options *options,
                   tb_err *err);
tb_rc tb_door_watch(tb_door *door, int fd, tb_err *err); /* the door's fd is readable when this one is */
void tb_door_turn(tb_door *door);                       /* cheap, and does something once a second */
void tb_door_close(tb_door *door);

#endif
