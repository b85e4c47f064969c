/* A worker without loop and broker: an instance in a directory that goes away again, a bus that notes what is put, and
 * turns made by hand. A restart closes the worker and opens it from its bank. */
#ifndef TESTS_WORKER_ROOM_H
#define TESTS_WORKER_ROOM_H

#include "leaks.h"
#include "run/outgoing.h"
#include "run/worker.h"
#include "store/instance.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define must(call) cr_assert_eq((call), TB_OK, "%s: %s", #call, room.err.text)
#define NOTED_MAX 4096

struct noted_frame { /* one of a put */
	tb_frame frame;
	size_t put; /* which */
};

static struct worker_room {
	char dir[64];
	const tb_worker *worker;
	void *self;
	tb_worker_env env;
	tb_outgoing *outgoing;
	uint64_t generation; /* that the last turn was told */
	tb_arena *arena, *kept; /* of a turn; of the whole test */
	tb_clock clock;
	uint64_t real_ns, mono_ns;
	tb_turn turn;
	uint64_t wait_ns; /* as the last tick said */
	tb_buf period;    /* what turns are told; empty: not yet */
	tb_err err;
	tb_bus bus;
	tb_rc answer; /* of the bus to puts */
	tb_rc (*asked)(unsigned kind, tb_span request, tb_buf *ret_answer); /* of other verbs; may be NULL */
	Tb__PutRequest *puts[NOTED_MAX];
	size_t put_count;
	struct noted_frame frames[NOTED_MAX];
	size_t frame_count;
} room;

static inline uint64_t room_real(void *self)
{
	return ((struct worker_room *)self)->real_ns;
}

static inline uint64_t room_mono(void *self)
{
	return ((struct worker_room *)self)->mono_ns;
}

static inline void pass(uint64_t ns)
{
	room.real_ns += ns;
	room.mono_ns += ns;
}

static inline const char *below_room(const char *name)
{
	static char paths[4][160];
	static int next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof(paths[0]), "%s/%s", room.dir, name);
	return path;
}

static inline void note_put(tb_span request)
{
	ProtobufCMessage *message;
	must(tb_control_read(&request, TB_KIND_PUT, &tb__put_request__descriptor, room.kept, &message, &room.err));
	cr_assert(room.put_count < NOTED_MAX);
	room.puts[room.put_count] = (Tb__PutRequest *)message;
	tb_span frames = tb_arena_copy(room.kept, request);
	while (frames.size > 0) {
		cr_assert(room.frame_count < NOTED_MAX);
		struct noted_frame *noted = &room.frames[room.frame_count++];
		noted->put = room.put_count;
		must(tb_frame_read(&frames, &noted->frame, &room.err));
	}
	room.put_count++;
}

static inline tb_rc room_request(tb_bus *bus, tb_span request, uint64_t timeout_ns, tb_buf *ret_answer, tb_err *err)
{
	(void)bus;
	(void)timeout_ns;
	tb_frame head;
	must(tb_frame_read_head(request, &head, &room.err));
	if (head.kind != TB_KIND_PUT)
		return room.asked != NULL ? room.asked(head.kind, request, ret_answer)
		                          : tb_fail(err, TB_EUNREACHABLE, "nobody is there");
	if (room.answer == TB_ETIMEOUT || room.answer == TB_EUNREACHABLE || room.answer == TB_EINTERRUPTED)
		return tb_fail(err, room.answer, "no answer");
	if (room.answer == TB_OK)
		note_put(request);
	Tb__PutReply reply = TB__PUT_REPLY__INIT;
	Tb__Status status = TB__STATUS__INIT;
	status.code = room.answer;
	reply.status = &status;
	tb_buf_clear(ret_answer);
	tb_control_write(ret_answer, TB_KIND_ANSWER, &reply.base);
	return TB_OK;
}

static inline void worker_open(void)
{
	int flags = TB_BANK_WRITER | TB_BANK_SCRATCH;
	room.generation = 0;
	must(tb_bank_open(below_room("bank"), flags, UINT64_C(1) << 30, &room.env.bank, &room.err));
	must(tb_outgoing_open(room.env.bank, room.env.member, room.worker->group, &room.outgoing, &room.err));
	must(room.worker->open(&room.env, &room.self, &room.err));
}

static inline void worker_close(void)
{
	if (room.self != NULL)
		room.worker->close(room.self);
	tb_outgoing_free(room.outgoing);
	tb_bank_close(room.env.bank);
	room.self = NULL;
	room.outgoing = NULL;
	room.env.bank = NULL;
}

/* As after a kill -9: what was committed is there, and nothing else. */
static inline void worker_restart(void)
{
	worker_close();
	worker_open();
}

static inline void room_read_period(void)
{
	tb_buf_clear(&room.period);
	must(tb_disk_read_file(tb_disk_system(), below_room("keys/period.rec"), 4096, &room.period, &room.err));
}

/* key: below the instance's directory, or NULL. worker_open comes next. */
static inline void room_make(const tb_worker *worker, const void *options, const char *key)
{
	static char key_path[160];
	tb_auto(tb_buf_drop) tb_buf kit = { 0 };
	memset(&room, 0, sizeof(room));
	room.worker = worker;
	strcpy(room.dir, "/tmp/tb-worker-XXXXXX");
	cr_assert_not_null(mkdtemp(room.dir));
	must(tb_keys_init(&room.err));
	room.real_ns = UINT64_C(1700000000) * TB_NS_PER_S;
	room.mono_ns = 5 * TB_NS_PER_S;
	room.clock = (tb_clock){ &room, room_real, room_mono };
	must(tb_instance_make(tb_disk_system(), room.dir, (tb_span){ 0 }, room.real_ns, &kit, &room.err));
	room_read_period();
	snprintf(key_path, sizeof(key_path), "%s/%s", room.dir, key ? key : "");
	room.bus.request = room_request;
	room.env = (tb_worker_env){ .dir = room.dir, .key = key ? key_path : NULL, .bus = &room.bus, .clock = &room.clock,
		                        .disk = tb_disk_system(), .options = options, .member = { 7 }, .wake_fd = -1 };
	room.arena = tb_arena_new();
	room.kept = tb_arena_new();
}

static inline void room_begin(const tb_worker *worker, const void *options, const char *key)
{
	room_make(worker, options, key);
	worker_open();
}

static inline void room_end(void)
{
	worker_close();
	tb_arena_free(room.arena);
	tb_arena_free(room.kept);
	tb_buf_drop(&room.period);
	tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
	fail_on_leaks();
}

/* ---- turns */

static inline void turn_begin(uint64_t generation)
{
	static const uint8_t id[16] = "a journal's id..";
	room.turn = (tb_turn){ .env = &room.env, .arena = room.arena, .now_ns = room.real_ns, .mono_ns = room.mono_ns,
		                   .period = tb_buf_span(&room.period), .journal_id = id, .run_id = id,
		                   .generation = generation, .outgoing = room.outgoing };
	must(tb_bank_write(room.env.bank, &room.turn.txn, &room.err));
	must(tb_outgoing_sweep(room.outgoing, room.turn.txn, &room.err));
	if (room.worker->granted == NULL && generation != room.generation)
		tb_turn_lease(&room.turn, 0, generation);
	room.generation = generation;
}

static inline void turn_flush(void)
{
	uint64_t stream;
	tb_arena *arena = tb_arena_new();
	tb_rc rc = tb_outgoing_flush(room.outgoing, &room.bus, arena, TB_NS_PER_S, &stream, &room.err);
	cr_assert(rc == TB_OK || rc == room.answer, "%s", room.err.text);
	tb_arena_free(arena);
}

/* The turn's transaction is committed; what it queued isn't put yet. */
static inline void turn_commit(void)
{
	must(room.worker->tick(room.self, &room.turn, &room.wait_ns, &room.err));
	must(tb_txn_commit(room.turn.txn, &room.err));
	tb_outgoing_commit(room.outgoing);
	tb_arena_reset(room.arena);
}

static inline void turn_end(void)
{
	turn_commit();
	turn_flush();
}

static inline tb_rc turn_handle(const tb_frame *frame, uint64_t id)
{
	return room.worker->handle(room.self, &room.turn, frame, id, &room.err);
}

/* A frame around a message; it lives as long as the test. */
static inline tb_frame frame_of(enum tb_kind kind, const char *stream, uint64_t first, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *body = tb_arena_alloc(room.kept, size + 1);
	protobuf_c_message_pack(message, body);
	return (tb_frame){ .kind = kind, .count = 1, .stream = tb_stream_hash(stream), .first = first,
		               .body = tb_span_of(body, size) };
}

/* ---- what was put */

static inline const struct noted_frame *noted_at(unsigned kind, size_t index)
{
	for (size_t i = 0; i < room.frame_count; i++)
		if (room.frames[i].frame.kind == kind && index-- == 0)
			return &room.frames[i];
	return NULL;
}

static inline size_t noted_count(unsigned kind)
{
	size_t count = 0;
	for (size_t i = 0; i < room.frame_count; i++)
		count += room.frames[i].frame.kind == kind;
	return count;
}

static inline const void *message_of(const struct noted_frame *noted, const ProtobufCMessageDescriptor *descriptor)
{
	cr_assert_not_null(noted);
	tb_span body = noted->frame.body;
	const void *message = protobuf_c_message_unpack(descriptor, tb_arena_allocator(room.kept), body.size, body.data);
	cr_assert_not_null(message);
	return message;
}

static inline int was_finished(uint64_t id)
{
	for (size_t i = 0; i < room.put_count; i++)
		for (size_t j = 0; j < room.puts[i]->n_finished; j++)
			if (room.puts[i]->finished[j] == id)
				return 1;
	return 0;
}

#endif
