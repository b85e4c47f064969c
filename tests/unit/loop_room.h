/* The loop of a worker, between a worker that notes what it is told and a broker that has one answer to every take. */
#ifndef TESTS_LOOP_ROOM_H
#define TESTS_LOOP_ROOM_H

#include "run/loop.h"
#include "worker_room.h"

#include <fcntl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define JOURNAL "a journal's id.."
#define OTHER_JOURNAL "another journal."

/* The broker's next answers. */
static struct {
	tb_rc silence; /* no answer, and why */
	Tb__TakeReply reply;
	Tb__Leased lease, *leased[1];
	Tb__Grant grant, *grants[1];
	uint64_t revoked;
	tb_buf frames;
	const Tb__TakeRequest *take; /* the last one */
	int takes;
} broker;

/* The worker's next deeds. */
static struct {
	tb_worker worker;
	tb_rc (*handle)(tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err);
	tb_rc (*tick)(tb_turn *turn, tb_err *err);
	tb_rc opens; /* how */
	uint64_t wait_ns;
	tb_buf did; /* what was called, in words */
	tb_loop *loop;
	int signal_fds[2]; /* of a pipe: the loop has the first */
} it;

static inline ProtobufCBinaryData binary(const void *data, size_t size)
{
	return (ProtobufCBinaryData){ size, (uint8_t *)(uintptr_t)data };
}

/* ---- the worker */

static inline tb_rc it_open(tb_worker_env *env, void **ret_self, tb_err *err)
{
	(void)env;
	if (it.opens != TB_OK)
		return tb_fail(err, it.opens, "the worker can't be opened");
	*ret_self = &it;
	return TB_OK;
}

static inline tb_rc it_granted(void *self, tb_turn *turn, const Tb__Grant *grant, tb_err *err)
{
	(void)self, (void)err;
	tb_turn_lease(turn, grant->stream, grant->generation);
	tb_buf_print(&it.did, "granted %s; ", grant->name);
	return TB_OK;
}

static inline tb_rc it_revoked(void *self, tb_turn *turn, uint64_t stream, tb_err *err)
{
	(void)self, (void)err;
	tb_turn_lease(turn, stream, 0);
	tb_buf_print(&it.did, "revoked %llu; ", (unsigned long long)stream);
	return TB_OK;
}

static inline tb_rc it_handle(void *self, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	(void)self;
	tb_buf_print(&it.did, "handle %llu; ", (unsigned long long)id);
	return it.handle != NULL ? it.handle(turn, frame, id, err) : TB_OK;
}

static inline tb_rc it_tick(void *self, tb_turn *turn, uint64_t *ret_wait_ns, tb_err *err)
{
	(void)self;
	tb_buf_print(&it.did, "tick; ");
	*ret_wait_ns = it.wait_ns;
	return it.tick != NULL ? it.tick(turn, err) : TB_OK;
}

static inline void it_restarted(void *self)
{
	(void)self;
	tb_buf_print(&it.did, "restarted; ");
}

static inline void it_woken(void *self)
{
	(void)self;
	tb_buf_print(&it.did, "woken; ");
}

static inline void it_refused(void *self, uint64_t stream, const tb_err *err)
{
	(void)self, (void)err;
	tb_buf_print(&it.did, "refused %llu; ", (unsigned long long)stream);
}

static inline void it_health(void *self, tb_arena *arena, Tb__Health *health)
{
	(void)self;
	health->detail = tb_arena_text(arena, tb_span_text("as the worker says"));
}

static inline void it_close(void *self)
{
	(void)self;
	tb_buf_print(&it.did, "close; ");
}

/* ---- the broker */

static inline tb_rc answer_take(unsigned kind, tb_span request, tb_buf *ret_answer)
{
	ProtobufCMessage *message;
	cr_assert_eq(kind, TB_KIND_TAKE);
	must(tb_control_read(&request, TB_KIND_TAKE, &tb__take_request__descriptor, room.kept, &message, &room.err));
	broker.take = (const Tb__TakeRequest *)message;
	broker.takes++;
	if (broker.silence != TB_OK)
		return tb_fail(&room.err, broker.silence, "the take got no answer");
	tb_buf_clear(ret_answer);
	tb_control_write(ret_answer, TB_KIND_ANSWER, &broker.reply.base);
	tb_buf_append_span(ret_answer, tb_buf_span(&broker.frames));
	return TB_OK;
}

/* Answers bear one frame from now on. */
static inline void hand_out(uint64_t id, size_t size)
{
	tb__leased__init(&broker.lease);
	broker.lease.id = id;
	broker.leased[0] = &broker.lease;
	broker.reply.leased = broker.leased;
	broker.reply.n_leased = 1;
	tb_buf_clear(&broker.frames);
	uint8_t *body = tb_arena_alloc(room.kept, size);
	memset(body, 'x', size);
	tb_frame_write(&broker.frames, &(tb_frame){ .kind = TB_KIND_CUT, .count = 1, .stream = 5, .body = tb_span_of(body, size) });
}

static inline void hand_out_nothing(void)
{
	broker.reply.n_leased = 0;
	tb_buf_clear(&broker.frames);
}

/* ---- the loop */

static inline void loop_open(void)
{
	must(tb_loop_open(&it.worker, &room.env, it.signal_fds[0], &it.loop, &room.err));
}

static inline void loop_close(void)
{
	tb_loop_close(it.loop);
	it.loop = NULL;
}

/* As after a kill -9: only the bank is left. */
static inline void loop_restart(void)
{
	loop_close();
	memset(room.env.member, 0, TB_MEMBER);
	tb_buf_clear(&it.did);
	loop_open();
}

static inline void loop_begin(tb_group group, int stateless)
{
	memset(&it, 0, sizeof(it));
	memset(&broker, 0, sizeof(broker));
	it.worker = (tb_worker){ .name = "scripted", .group = group, .stateless = stateless, .open = it_open,
		                     .granted = it_granted, .revoked = it_revoked, .handle = it_handle, .tick = it_tick,
		                     .restarted = it_restarted, .woken = it_woken, .refused = it_refused,
		                     .health = it_health, .close = it_close };
	room_make(&it.worker, NULL, NULL);
	room.asked = answer_take;
	cr_assert_eq(pipe2(it.signal_fds, O_NONBLOCK | O_CLOEXEC), 0);
	room.env.wake_fd = it.signal_fds[0];
	tb__take_reply__init(&broker.reply);
	broker.reply.journal_id = binary(JOURNAL, 16);
	broker.reply.run_id = binary("a broker's run..", 16);
	must(tb_bank_open(below_room("bank"), TB_BANK_WRITER | TB_BANK_SCRATCH, UINT64_C(1) << 24, &room.env.bank, &room.err));
	loop_open();
}

static inline void loop_end(void)
{
	loop_close();
	tb_buf_drop(&it.did);
	tb_buf_drop(&broker.frames);
	close(it.signal_fds[0]);
	close(it.signal_fds[1]);
	room_end();
}

/* Somebody asks for the end. */
static inline void signal_end(void)
{
	struct signalfd_siginfo info = { .ssi_signo = 15 };
	cr_assert_eq(write(it.signal_fds[1], &info, sizeof(info)), (ssize_t)sizeof(info));
}

static inline tb_rc turn(void)
{
	tb_buf_clear(&it.did);
	return tb_loop_turn(it.loop, &room.err);
}

static inline const char *did(void)
{
	return tb_buf_text(&it.did);
}

/* Puts besides those of health. */
static inline size_t puts_of_work(void)
{
	return room.put_count - noted_count(TB_KIND_HEALTH);
}

#endif
