/* A put that the broker refuses: the loop with a bus that answers what it is told to. */
#include "run/loop.h"

#include "leaks.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static char dir[64];
static uint64_t now_ns;
static tb_loop *loop;
static tb_err err;
static struct {
	tb_bus bus;
	tb_rc answer; /* to puts that aren't health */
	unsigned takes, puts, refused;
	char state[32], detail[300]; /* of the last health */
} fake;

static uint64_t get_now(void *self)
{
	(void)self;
	return now_ns;
}

static const tb_clock fake_clock = { .real_ns = get_now, .mono_ns = get_now };

static void answer_take(tb_buf *ret_answer)
{
	static uint8_t id[16] = { 1 };
	Tb__TakeReply reply = TB__TAKE_REPLY__INIT;
	Tb__Status status = TB__STATUS__INIT;
	fake.takes++;
	reply.status = &status;
	reply.journal_id = reply.run_id = (ProtobufCBinaryData){ sizeof(id), id };
	reply.generation = 1;
	tb_control_write(ret_answer, TB_KIND_ANSWER, &reply.base);
}

static void note_health(const tb_frame *frame)
{
	Tb__Health *health = tb__health__unpack(NULL, frame->body.size, frame->body.data);
	cr_assert(health != NULL);
	snprintf(fake.state, sizeof(fake.state), "%s", health->state);
	snprintf(fake.detail, sizeof(fake.detail), "%s", health->detail);
	tb__health__free_unpacked(health, NULL);
}

static void answer_put(tb_span frames, tb_buf *ret_answer)
{
	Tb__PutReply reply = TB__PUT_REPLY__INIT;
	Tb__Status status = TB__STATUS__INIT;
	tb_frame frame;
	reply.status = &status;
	if (frames.size > 0) {
		cr_assert_eq(tb_frame_read(&frames, &frame, &err), TB_OK);
		note_health(&frame);
	} else {
		fake.puts++;
		fake.refused += fake.answer != TB_OK;
		status.code = fake.answer;
		status.text = (char *)(uintptr_t) "it says something that can't be";
	}
	tb_control_write(ret_answer, TB_KIND_ANSWER, &reply.base);
}

static tb_rc fake_request(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *ret_err)
{
	tb_arena *arena = tb_arena_new();
	ProtobufCMessage *message;
	tb_span rest = request;
	(void)bus, (void)timeout_ns;
	tb_buf_clear(ret_answer);
	if (tb_control_read(&rest, TB_KIND_PUT, &tb__put_request__descriptor, arena, &message, ret_err) == TB_OK)
		answer_put(rest, ret_answer);
	else
		answer_take(ret_answer);
	tb_arena_free(arena);
	return TB_OK;
}

/* A worker that finishes one frame in its first turn. */

static tb_rc open_worker(tb_worker_env *env, void **ret_self, tb_err *ret_err)
{
	(void)env, (void)ret_err;
	*ret_self = tb_alloc_zero(1, sizeof(int));
	return TB_OK;
}

static tb_rc handle(void *self, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *ret_err)
{
	(void)self, (void)turn, (void)frame, (void)id, (void)ret_err;
	return TB_OK;
}

static tb_rc tick(void *self, tb_turn *turn, uint64_t *ret_wait_ns, tb_err *ret_err)
{
	int *done = self;
	static const uint64_t id = 64;
	*ret_wait_ns = 0;
	if ((*done)++)
		return TB_OK;
	return tb_turn_put(turn, &(tb_put){ .finished = &id, .finished_count = 1 }, ret_err);
}

static const tb_worker worker = {
	.name = "storer", .group = TB_GROUP_STORER, .open = open_worker, .handle = handle, .tick = tick, .close = free,
};
static tb_worker_env env;

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/tb-loop-XXXXXX");
	cr_assert(mkdtemp(dir) != NULL);
	fake.bus.request = fake_request;
	now_ns = 1000 * TB_NS_PER_S;
	env = (tb_worker_env){ .bus = &fake.bus, .disk = tb_disk_system(), .clock = &fake_clock };
	env.wake_fd = eventfd(1, 0); /* always readable: nobody waits in earnest */
	cr_assert_eq(tb_bank_open(dir, TB_BANK_WRITER | TB_BANK_SCRATCH, 1 << 24, &env.bank, NULL), TB_OK);
	cr_assert_eq(tb_loop_open(&worker, &env, -1, &loop, &err), TB_OK);
}

static void teardown(void)
{
	tb_loop_close(loop);
	close(env.wake_fd);
	tb_bank_close(env.bank);
	tb_disk_remove_tree(tb_disk_system(), dir, NULL);
	fail_on_leaks();
}

TestSuite(loop_refused, .init = setup, .fini = teardown);

static void turn_after(uint64_t ns)
{
	now_ns += ns;
	cr_assert_eq(tb_loop_turn(loop, &err), TB_OK, "%s", err.text);
}

Test(loop_refused, a_put_that_is_accepted_leaves_it_healthy)
{
	turn_after(0);
	turn_after(TB_NS_PER_S);
	cr_assert_eq(fake.puts, 1);
	cr_assert_eq(fake.takes, 2);
	cr_assert_str_eq(fake.state, "healthy");
}

static void check_refused(tb_rc answer)
{
	fake.answer = answer;
	turn_after(0);
	unsigned takes = fake.takes;
	for (int i = 0; i < 40; i++)
		turn_after(TB_NS_PER_S / 10);
	cr_assert_eq(fake.refused, 1, "put %u times within four seconds", fake.refused);
	cr_assert_eq(fake.takes, takes, "more was taken");
	cr_assert_str_eq(fake.state, "critical");
	cr_assert(strstr(fake.detail, "it says something that can't be") != NULL, "%s", fake.detail);
}

Test(loop_refused, a_put_that_is_refused_for_what_it_says_is_told_and_not_sent_again_and_again)
{
	check_refused(TB_EINVAL);
}

Test(loop_refused, so_is_one_of_a_stream_that_is_not_known)
{
	check_refused(TB_ENOTFOUND);
}

Test(loop_refused, so_is_one_that_a_rule_forbids)
{
	check_refused(TB_EREFUSED);
}

Test(loop_refused, it_goes_on_when_the_put_is_accepted_after_all)
{
	check_refused(TB_EINVAL);
	unsigned takes = fake.takes;
	fake.answer = TB_OK;
	turn_after(6 * TB_NS_PER_S);
	turn_after(TB_NS_PER_S);
	turn_after(TB_NS_PER_S);
	cr_assert_eq(fake.puts, 2);
	cr_assert_gt(fake.takes, takes);
	cr_assert_str_eq(fake.state, "healthy");
}

Test(loop_refused, a_put_that_is_refused_for_want_of_room_holds_nothing_up)
{
	fake.answer = TB_ENOSPACE;
	turn_after(0);
	turn_after(TB_NS_PER_S);
	cr_assert_eq(fake.takes, 2);
	cr_assert_str_eq(fake.state, "healthy");
}
