/* What engines publish comes in here, and topics go out. */
#include "bus/door.h"

#include <stdlib.h>

#define OUTLET_MESSAGES 8192

struct tb_inlet {
	tb_door door;
};

struct tb_outlet {
	tb_door door;
};

/* The oldest are kept: they are the next numbers, while what came last is sent again after them anyway. */
static tb_rc inlet_open(tb_inlet *inlet, const char *url, tb_err *err)
{
	static const tb_socket_options options = {
		.receive_max = TB_INLET_MESSAGE_MAX, .messages = TB_INLET_MESSAGES, .keep_oldest = 1
	};
	int fd;
	tb_rc rc = tb_door_open(&inlet->door, TB_SUB, url, &options, err);
	if (rc == TB_OK)
		rc = tb_socket_subscribe(inlet->door.socket, (tb_span){ 0 }, err);
	if (rc == TB_OK)
		rc = tb_socket_fd(inlet->door.socket, &fd, err);
	if (rc == TB_OK)
		rc = tb_door_watch(&inlet->door, fd, err);
	if (rc == TB_OK)
		rc = tb_socket_listen(inlet->door.socket, err);
	return rc;
}

tb_rc tb_inlet_listen(const char *url, tb_inlet **ret_inlet, tb_err *err)
{
	tb_inlet *inlet = tb_alloc_zero(1, sizeof(*inlet));
	tb_rc rc = inlet_open(inlet, url, err);
	if (rc == TB_OK)
		*ret_inlet = inlet;
	else
		tb_inlet_close(inlet);
	return rc;
}

tb_rc tb_inlet_also(tb_inlet *inlet, const char *url, tb_err *err)
{
	return tb_socket_also(inlet->door.socket, url, err);
}

int tb_inlet_fd(const tb_inlet *inlet)
{
	return inlet->door.fd;
}

int tb_inlet_next(tb_inlet *inlet, tb_span *ret_message)
{
	if (tb_socket_receive(inlet->door.socket, ret_message))
		return 1;
	tb_door_turn(&inlet->door);
	return 0;
}

tb_rc tb_inlet_admit(tb_inlet *inlet, gid_t group, tb_err *err)
{
	return tb_socket_admit(inlet->door.socket, group, err);
}

uint64_t tb_inlet_turned_away(const tb_inlet *inlet)
{
	return tb_socket_turned_away(inlet->door.socket);
}

const tb_listening *tb_inlet_listening(const tb_inlet *inlet)
{
	return &inlet->door.state;
}

void tb_inlet_close(tb_inlet *inlet)
{
	if (inlet == NULL)
		return;
	tb_door_close(&inlet->door);
	free(inlet);
}

tb_rc tb_outlet_listen(const char *url, tb_outlet **ret_outlet, tb_err *err)
{
	static const tb_socket_options options = { .receive_max = TB_BUS_MESSAGE_MAX, .messages = OUTLET_MESSAGES };
	tb_outlet *outlet = tb_alloc_zero(1, sizeof(*outlet));
	tb_rc rc = tb_door_open(&outlet->door, TB_PUB, url, &options, err);
	if (rc == TB_OK)
		rc = tb_socket_listen(outlet->door.socket, err);
	if (rc == TB_OK)
		*ret_outlet = outlet;
	else
		tb_outlet_close(outlet);
	return rc;
}

tb_rc tb_outlet_also(tb_outlet *outlet, const char *url, tb_err *err)
{
	return tb_socket_also(outlet->door.socket, url, err);
}

int tb_outlet_fd(const tb_outlet *outlet)
{
	return outlet->door.fd;
}

void tb_outlet_turn(tb_outlet *outlet)
{
	tb_door_turn(&outlet->door);
}

void tb_outlet_send(tb_outlet *outlet, tb_span topic, tb_span body)
{
	const tb_span parts[] = { topic, { (const uint8_t *)"", 1 }, body };
	tb_socket_send(outlet->door.socket, parts, 3, NULL);
}

tb_rc tb_outlet_admit(tb_outlet *outlet, gid_t group, tb_err *err)
{
	return tb_socket_admit(outlet->door.socket, group, err);
}

uint64_t tb_outlet_turned_away(const tb_outlet *outlet)
{
	return tb_socket_turned_away(outlet->door.socket);
}

const tb_listening *tb_outlet_listening(const tb_outlet *outlet)
{
	return &outlet->door.state;
}

void tb_outlet_close(tb_outlet *outlet)
{
	if (outlet == NULL)
		return;
	tb_door_close(&outlet->door);
	free(outlet);
}
