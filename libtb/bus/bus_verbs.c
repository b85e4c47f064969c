#include "bus/bus.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What a socket's path may have, without its NUL. */
#define SOCKET_PATH_MAX 107u

void tb_control_write(tb_buf *to, enum tb_kind kind, const ProtobufCMessage *message)
{
	size_t at = tb_frame_begin(to);
	size_t size = protobuf_c_message_get_packed_size(message);
	tb_buf_reserve(to, size);
	to->size += protobuf_c_message_pack(message, to->data + to->size);
	tb_frame_end(to, at, &(tb_frame){ .kind = (uint16_t)kind, .count = 1 });
}

static const char *kind_name(unsigned kind)
{
	const tb_kind_row *row = tb_kind_find(kind);
	return row != NULL ? row->name : "unknown";
}

tb_rc tb_control_read(tb_span *from, enum tb_kind kind, const ProtobufCMessageDescriptor *descriptor, tb_arena *arena,
                      ProtobufCMessage **ret_message, tb_err *err)
{
	tb_span rest = *from;
	tb_frame frame;
	tb_rc rc = tb_frame_read(&rest, &frame, err);
	if (rc != TB_OK)
		return rc;
	if (frame.kind != kind)
		return tb_fail(err, TB_ECORRUPT, "a frame of kind %s where %s was expected", kind_name(frame.kind),
		               kind_name(kind));
	ProtobufCMessage *message =
		protobuf_c_message_unpack(descriptor, tb_arena_allocator(arena), frame.body.size, frame.body.data);
	if (message == NULL)
		return tb_fail(err, TB_ECORRUPT, "a frame of kind %s whose body is not a message", kind_name(kind));
	*from = rest;
	*ret_message = message;
	return TB_OK;
}

/* A row a verb: what is asked, what the answer is, and where in it the broker's status stands. */
struct verb {
	enum tb_kind kind;
	const char *name;
	const ProtobufCMessageDescriptor *reply;
	size_t status;
};

static const struct verb hello = { TB_KIND_HELLO, "hello", &tb__hello_reply__descriptor, offsetof(Tb__HelloReply, status) };
static const struct verb put = { TB_KIND_PUT, "put", &tb__put_reply__descriptor, offsetof(Tb__PutReply, status) };
static const struct verb take = { TB_KIND_TAKE, "take", &tb__take_reply__descriptor, offsetof(Tb__TakeReply, status) };
static const struct verb fetch = { TB_KIND_FETCH, "fetch", &tb__fetch_reply__descriptor, offsetof(Tb__FetchReply, status) };
static const struct verb stat = { TB_KIND_STAT, "stat", &tb__stat_reply__descriptor, offsetof(Tb__StatReply, status) };

/* A code that this version doesn't know is a refusal all the same. */
static tb_rc check_status(const struct verb *verb, const Tb__Status *status, tb_err *err)
{
	if (status == NULL || status->code == TB_OK)
		return TB_OK;
	tb_rc rc = status->code < TB_RC_COUNT ? (tb_rc)status->code : TB_EUNSUPPORTED;
	if (status->text[0] != '\0')
		tb_fail(err, rc, "%s", status->text);
	else
		tb_fail(err, rc, "the broker refused %s: %s", verb->name, tb_rc_name(rc));
	if (status->hint[0] != '\0')
		tb_hint(err, "%s", status->hint);
	return rc;
}

static tb_rc read_answer(const struct verb *verb, tb_span *answer, tb_arena *arena, ProtobufCMessage **ret_reply, tb_err *err)
{
	tb_err why;
	ProtobufCMessage *reply;
	if (tb_control_read(answer, TB_KIND_ANSWER, verb->reply, arena, &reply, &why) != TB_OK)
		return tb_fail(err, TB_ECORRUPT, "the broker's answer to %s can't be read: %s", verb->name, why.text);
	tb_rc rc = check_status(verb, *(Tb__Status **)((uint8_t *)reply + verb->status), err);
	if (rc == TB_OK || rc == TB_EFENCED)
		*ret_reply = reply;
	return rc;
}

static tb_rc exchange(tb_bus *bus, tb_buf *control, tb_span frames, uint64_t timeout_ns, tb_answer *answer, tb_err *err)
{
	if (bus->ask != NULL)
		return bus->ask(bus, (const tb_span[]){ tb_buf_span(control), frames }, 2, timeout_ns, answer, err);
	tb_buf_append_span(control, frames);
	tb_rc rc = bus->request(bus, tb_buf_span(control), timeout_ns, &answer->bytes, err);
	answer->whole = tb_buf_span(&answer->bytes);
	return rc;
}

static tb_rc ask(tb_bus *bus, const struct verb *verb, const ProtobufCMessage *message, tb_span frames, uint64_t timeout_ns,
                 tb_arena *arena, ProtobufCMessage **ret_reply, tb_answer *ret_answer, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf request = { 0 };
	tb_auto(tb_answer_drop) tb_answer answer = { 0 };
	tb_control_write(&request, verb->kind, message);
	tb_rc rc = exchange(bus, &request, frames, timeout_ns, &answer, err);
	if (rc != TB_OK)
		return rc;
	answer.frames = answer.whole;
	rc = read_answer(verb, &answer.frames, arena, ret_reply, err);
	if (rc != TB_OK || ret_answer == NULL)
		return rc;
	*ret_answer = answer;
	answer = (tb_answer){ 0 };
	return TB_OK;
}

tb_rc tb_bus_request_copied(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err)
{
	tb_auto(tb_answer_drop) tb_answer answer = { 0 };
	tb_rc rc = bus->ask(bus, &request, 1, timeout_ns, &answer, err);
	if (rc != TB_OK)
		return rc;
	tb_buf_clear(ret_answer);
	tb_buf_append_span(ret_answer, answer.whole);
	return TB_OK;
}

void tb_answer_drop(tb_answer *answer)
{
	tb_buf_drop(&answer->bytes);
	if (answer->lent != NULL)
		answer->give_back(answer->lent);
	*answer = (tb_answer){ 0 };
}

tb_rc tb_bus_hello(tb_bus *bus, const Tb__HelloRequest *request, uint64_t timeout_ns, tb_arena *arena,
                   Tb__HelloReply **ret_reply, tb_err *err)
{
	return ask(bus, &hello, &request->base, (tb_span){ 0 }, timeout_ns, arena, (ProtobufCMessage **)ret_reply, NULL, err);
}

tb_rc tb_bus_put(tb_bus *bus, const Tb__PutRequest *request, tb_span frames, uint64_t timeout_ns, tb_arena *arena,
                 Tb__PutReply **ret_reply, tb_err *err)
{
	return ask(bus, &put, &request->base, frames, timeout_ns, arena, (ProtobufCMessage **)ret_reply, NULL, err);
}

tb_rc tb_bus_take(tb_bus *bus, const Tb__TakeRequest *request, uint64_t timeout_ns, tb_arena *arena,
                  Tb__TakeReply **ret_reply, tb_answer *ret_answer, tb_err *err)
{
	return ask(bus, &take, &request->base, (tb_span){ 0 }, timeout_ns, arena, (ProtobufCMessage **)ret_reply, ret_answer,
	           err);
}

tb_rc tb_bus_fetch(tb_bus *bus, const Tb__FetchRequest *request, uint64_t timeout_ns, tb_arena *arena,
                   Tb__FetchReply **ret_reply, tb_answer *ret_answer, tb_err *err)
{
	return ask(bus, &fetch, &request->base, (tb_span){ 0 }, timeout_ns, arena, (ProtobufCMessage **)ret_reply, ret_answer,
	           err);
}

tb_rc tb_bus_stat(tb_bus *bus, uint64_t timeout_ns, tb_arena *arena, Tb__StatReply **ret_reply, tb_err *err)
{
	Tb__StatRequest request = TB__STAT_REQUEST__INIT;
	return ask(bus, &stat, &request.base, (tb_span){ 0 }, timeout_ns, arena, (ProtobufCMessage **)ret_reply, NULL, err);
}

void tb_bus_close(tb_bus *bus)
{
	if (bus != NULL)
		bus->close(bus);
}

tb_rc tb_ask(const char *url, tb_span question, uint64_t timeout_ns, int interrupt_fd, tb_buf *ret_answer, tb_err *err)
{
	tb_bus *bus;
	tb_rc rc = tb_bus_dial(url, interrupt_fd, &bus, err);
	if (rc != TB_OK)
		return rc;
	rc = bus->request(bus, question, timeout_ns, ret_answer, err);
	tb_bus_close(bus);
	return rc;
}

/* The directory with its symlinks resolved, or, where there is none yet, only made absolute. */
static tb_rc absolute(const char *dir, char ret_path[PATH_MAX], tb_err *err)
{
	if (realpath(dir, ret_path) != NULL)
		return TB_OK;
	if (errno != ENOENT)
		return tb_fail_errno(err, errno, "%s can't be resolved", dir);
	char here[PATH_MAX] = "";
	if (dir[0] != '/' && getcwd(here, sizeof(here)) == NULL)
		return tb_fail_errno(err, errno, "the present directory can't be told");
	int size = snprintf(ret_path, PATH_MAX, "%s%s%s", here, dir[0] != '/' ? "/" : "", dir);
	if (size < 0 || size >= PATH_MAX)
		return tb_fail(err, TB_EINVAL, "%.60s… is too long for a path", dir);
	return TB_OK;
}

tb_rc tb_bus_address(const char *dir, const char *name, tb_buf *ret_url, tb_err *err)
{
	char path[PATH_MAX];
	tb_rc rc = absolute(dir, path, err);
	if (rc != TB_OK)
		return rc;
	size_t size = strlen(path) + strlen("/run/") + strlen(name) + strlen(".ipc");
	if (size > SOCKET_PATH_MAX) {
		tb_fail(err, TB_EINVAL, "%.120s/run/%s.ipc is too long for a socket: %zu bytes, %u are allowed", path, name, size,
		        SOCKET_PATH_MAX);
		tb_hint(err, "choose a shorter directory for the instance, or reach it through a shorter mount");
		return TB_EINVAL;
	}
	tb_buf_clear(ret_url);
	tb_buf_print(ret_url, "ipc://%s/run/%s.ipc", path, name);
	tb_buf_text(ret_url);
	return TB_OK;
}
