/* A broker in a directory of its own, with a clock that stands still and an ear for everything that it says. */
#ifndef TB_TESTS_BROKER_ROOM_H
#define TB_TESTS_BROKER_ROOM_H

#include "broker/broker.h"

#include "base/arena.h"
#include "bus/bus.h"
#include "fault/fault_disk.h"
#include "frames.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#define ASKERS_MAX 8192
#define TOPICS_MAX 4096

static struct broker_room {
	char dir[64];
	uint64_t real_ns, mono_ns;
	tb_clock clock;
	struct fault_disk fault;
	int faulty; /* use it */
	tb_broker_options options;
	tb_broker *broker;
	tb_journal_opened opened;
	tb_err err;
	tb_arena *arena;
	int asked; /* askers so far, from 1 */
	struct { int count; tb_span bytes; } answers[ASKERS_MAX];
	struct { char *topic; tb_span body; } topics[TOPICS_MAX];
	size_t topic_count;
} room;

static inline uint64_t room_real(void *self)
{
	return ((struct broker_room *)self)->real_ns;
}

static inline uint64_t room_mono(void *self)
{
	return ((struct broker_room *)self)->mono_ns;
}

static inline void room_answer(void *self, void *asker, tb_span answer)
{
	uintptr_t number = (uintptr_t)asker;
	(void)self;
	cr_assert(number >= 1 && number < ASKERS_MAX);
	room.answers[number].count++;
	room.answers[number].bytes = tb_arena_copy(room.arena, answer);
}

static inline void room_topic(void *self, tb_span topic, tb_span body)
{
	(void)self;
	cr_assert_lt(room.topic_count, TOPICS_MAX);
	room.topics[room.topic_count].topic = tb_arena_text(room.arena, topic);
	room.topics[room.topic_count++].body = tb_arena_copy(room.arena, body);
}

static inline void room_open(void)
{
	tb_broker_out out = { &room, room_answer, room_topic };
	tb_broker_options options = room.options;
	options.journal.dir = room.dir;
	options.journal.disk = room.faulty ? &room.fault.disk : tb_disk_system();
	options.clock = &room.clock;
	tb_rc rc = tb_broker_open(&options, &out, &room.broker, &room.opened, &room.err);
	cr_assert_eq(rc, TB_OK, "%s", room.err.text);
}

static inline void room_close(void)
{
	tb_broker_close(room.broker);
	room.broker = NULL;
}

static inline void room_reopen(void)
{
	room_close();
	room.options.run_id[0]++;
	room_open();
}

static inline void room_begin(void)
{
	memset(&room, 0, sizeof(room));
	snprintf(room.dir, sizeof(room.dir), "/tmp/tb-broker-XXXXXX");
	cr_assert_not_null(mkdtemp(room.dir));
	room.real_ns = UINT64_C(1700000000) * TB_NS_PER_S;
	room.mono_ns = 5 * TB_NS_PER_S;
	room.clock = (tb_clock){ &room, room_real, room_mono };
	room.arena = tb_arena_new();
	room.options.journal.file_size = 1u << 20;
	memcpy(room.options.journal.new_id, "a journal's id..", 16);
	memcpy(room.options.run_id, "life number 1...", 16);
	fault_disk_init(&room.fault, tb_disk_system());
	room_open();
}

static inline void room_end(void)
{
	room_close();
	fault_disk_drop(&room.fault);
	tb_arena_free(room.arena);
	tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
#ifdef __SANITIZE_ADDRESS__
	if (__lsan_do_recoverable_leak_check())
		abort(); /* the process ends without the check that would see it */
#endif
}

static inline void pass(uint64_t ns)
{
	room.real_ns += ns;
	room.mono_ns += ns;
}

static inline void commit(void)
{
	tb_rc rc = tb_broker_commit(room.broker, &room.err);
	cr_assert_eq(rc, TB_OK, "%s", room.err.text);
}

static inline void tick(void)
{
	tb_broker_tick(room.broker);
	commit();
}

/* Step by step, as a loop would. */
static inline void pass_ticking(uint64_t seconds)
{
	for (uint64_t i = 0; i < seconds; i++) {
		pass(TB_NS_PER_S);
		tick();
	}
}

/* ---- messages */

static inline ProtobufCBinaryData binary(const void *data, size_t size)
{
	return (ProtobufCBinaryData){ size, (uint8_t *)(uintptr_t)data };
}

static inline ProtobufCBinaryData id16(char letter)
{
	uint8_t *id = tb_arena_alloc(room.arena, 16);
	memset(id, letter, 16);
	return binary(id, 16);
}

static inline int send_request(enum tb_kind kind, const ProtobufCMessage *message, tb_span frames)
{
	tb_auto(tb_buf_drop) tb_buf request = { 0 };
	tb_control_write(&request, kind, message);
	tb_buf_append_span(&request, frames);
	cr_assert_lt(room.asked + 1, ASKERS_MAX);
	int asker = ++room.asked;
	tb_broker_request(room.broker, (void *)(uintptr_t)asker, tb_buf_span(&request));
	return asker;
}

static inline int answered(int asker)
{
	return room.answers[asker].count;
}

/* The message of an answer; ret_frames: what follows it. */
static inline void *answer_of(int asker, const ProtobufCMessageDescriptor *descriptor, tb_span *ret_frames)
{
	ProtobufCMessage *message = NULL;
	cr_assert_eq(answered(asker), 1, "request %d was answered %d times", asker, answered(asker));
	tb_span bytes = room.answers[asker].bytes;
	tb_rc rc = tb_control_read(&bytes, TB_KIND_ANSWER, descriptor, room.arena, &message, &room.err);
	cr_assert_eq(rc, TB_OK, "%s", room.err.text);
	if (ret_frames != NULL)
		*ret_frames = bytes;
	return message;
}

static inline void expect_code(const Tb__Status *status, tb_rc rc)
{
	cr_assert_not_null(status);
	cr_assert_eq(status->code, rc, "%s, not %s: %s", tb_rc_name((tb_rc)status->code), tb_rc_name(rc), status->text);
	cr_assert((rc == TB_OK) == (status->text[0] == '\0'));
}

/* ---- engines */

static inline tb_span events_frame(const char *stream, uint64_t epoch, uint64_t first, uint32_t count, size_t size)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	uint8_t *event = tb_arena_alloc(room.arena, size);
	size_t at = tb_frame_begin(&frame);
	for (uint32_t i = 0; i < count; i++) {
		memset(event, (int)(first + i), size);
		tb_events_append(&frame, tb_span_of(event, size));
	}
	tb_frame head = { .kind = TB_KIND_EVENTS, .count = count, .stream = tb_stream_hash(stream), .epoch = epoch,
		              .first = first };
	tb_frame_end(&frame, at, &head);
	return tb_arena_copy(room.arena, tb_buf_span(&frame));
}

static inline void publish(const char *stream, uint64_t epoch, uint64_t first, uint32_t count)
{
	tb_broker_event(room.broker, events_frame(stream, epoch, first, count, 20));
}

static inline void heartbeat(const char *stream, uint64_t epoch, uint64_t last)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	uint8_t body[32];
	Tb__Heartbeat message = TB__HEARTBEAT__INIT;
	message.last = last;
	message.run_id = binary(room.options.run_id, 16);
	tb_frame head = { .kind = TB_KIND_HEARTBEAT, .stream = tb_stream_hash(stream), .epoch = epoch,
		              .body = tb_span_of(body, tb__heartbeat__pack(&message, body)) };
	tb_frame_write(&frame, &head);
	tb_broker_event(room.broker, tb_buf_span(&frame));
}

static inline int say_hello(const char *stream, char outbox, uint64_t epoch, uint64_t first, uint64_t last,
                            int take_over)
{
	Tb__HelloRequest request = TB__HELLO_REQUEST__INIT;
	request.stream = (char *)(uintptr_t)stream;
	request.outbox = id16(outbox);
	request.epoch = epoch;
	request.first = first;
	request.last = last;
	request.take_over = take_over;
	request.ground = epoch > 0 ? last : 0; /* the broker has answered it before */
	request.renewal = id16('R');
	return send_request(TB_KIND_HELLO, &request.base, (tb_span){ 0 });
}

static inline Tb__HelloReply *hello_reply(int asker)
{
	return answer_of(asker, &tb__hello_reply__descriptor, NULL);
}

/* An engine comes, and is let in. */
static inline uint64_t connect_engine(const char *stream, char outbox)
{
	int asker = say_hello(stream, outbox, 0, 0, 0, 1);
	commit();
	expect_code(hello_reply(asker)->status, TB_OK);
	return hello_reply(asker)->epoch;
}

/* Events 1..last of a stream, durable. */
static inline uint64_t make_stream(const char *stream, uint32_t last)
{
	uint64_t epoch = connect_engine(stream, 'o');
	publish(stream, epoch, 1, last);
	commit();
	return epoch;
}

/* ---- topics */

static inline size_t topic_count(const char *topic)
{
	size_t count = 0;
	for (size_t i = 0; i < room.topic_count; i++)
		count += strcmp(room.topics[i].topic, topic) == 0;
	return count;
}

static inline tb_span topic_last(const char *topic)
{
	for (size_t i = room.topic_count; i-- > 0;)
		if (strcmp(room.topics[i].topic, topic) == 0)
			return room.topics[i].body;
	cr_assert_fail("nothing was said on %s", topic);
	return (tb_span){ 0 };
}

/* The last that the stream's publisher was told. */
static inline Tb__Durable *told(const char *stream)
{
	char topic[160];
	ProtobufCMessage *message = NULL;
	snprintf(topic, sizeof(topic), "durable/%s", stream);
	tb_span body = topic_last(topic);
	cr_assert_eq(tb_control_read(&body, TB_KIND_TOLD, &tb__durable__descriptor, room.arena, &message, NULL), TB_OK);
	cr_assert_eq(body.size, 0);
	return (Tb__Durable *)message;
}

/* ---- workers */

static inline void add_frame(tb_buf *to, enum tb_kind kind, const char *stream, const ProtobufCMessage *message)
{
	size_t at = tb_frame_begin(to);
	if (message != NULL) {
		size_t size = protobuf_c_message_get_packed_size(message);
		tb_buf_reserve(to, size);
		to->size += protobuf_c_message_pack(message, to->data + to->size);
	}
	tb_frame_end(to, at, &(tb_frame){ .kind = kind, .count = 1, .stream = stream ? tb_stream_hash(stream) : 0 });
}

static inline void add_bytes(tb_buf *to, enum tb_kind kind, const char *stream, size_t size)
{
	size_t at = tb_frame_begin(to);
	tb_buf_reserve(to, size);
	memset(to->data + to->size, 'x', size);
	to->size += size;
	tb_frame_end(to, at, &(tb_frame){ .kind = kind, .count = 1, .stream = stream ? tb_stream_hash(stream) : 0 });
}

static inline void add_cut(tb_buf *to, const char *stream, uint64_t from, uint64_t last)
{
	Tb__Cut cut = TB__CUT__INIT;
	cut.stream = (char *)(uintptr_t)stream;
	cut.from = from;
	cut.to = last;
	add_frame(to, TB_KIND_CUT, stream, &cut.base);
}

static inline void add_manifest(tb_buf *to, const char *stream, uint64_t chain)
{
	Tb__ManifestFrame manifest = TB__MANIFEST_FRAME__INIT;
	manifest.stream = (char *)(uintptr_t)stream;
	manifest.chain = chain;
	manifest.manifest = id16((char)('a' + chain % 20));
	add_frame(to, TB_KIND_MANIFEST, stream, &manifest.base);
}

static inline void add_order(tb_buf *to, const char *stream, const char *backup)
{
	Tb__Order order = TB__ORDER__INIT;
	order.stream = (char *)(uintptr_t)stream;
	order.backup = (char *)(uintptr_t)backup;
	add_frame(to, TB_KIND_ORDER, stream, &order.base);
}

static inline void add_chunk(tb_buf *to, const char *stream, char plan, uint64_t index, size_t size)
{
	Tb__Chunk chunk = TB__CHUNK__INIT;
	chunk.stream = (char *)(uintptr_t)stream;
	chunk.plan = id16(plan);
	chunk.index = index;
	uint8_t *content = tb_arena_alloc(room.arena, size);
	memset(content, plan, size);
	chunk.content = binary(content, size);
	add_frame(to, TB_KIND_CHUNK, stream, &chunk.base);
}

static inline void add_announce(tb_buf *to, const char *topic, const char *body)
{
	Tb__Announce announce = TB__ANNOUNCE__INIT;
	announce.topic = (char *)(uintptr_t)topic;
	announce.body = binary(body, strlen(body));
	add_frame(to, TB_KIND_ANNOUNCE, NULL, &announce.base);
}

struct put_by {
	tb_group group;
	char member; /* 0: none */
	uint64_t generation;
	const char *stream;
	const uint64_t *finished;
	size_t count;
	uint64_t finished_to;
};

static inline int put_frames(const struct put_by *by, tb_buf *frames)
{
	Tb__PutRequest request = TB__PUT_REQUEST__INIT;
	request.group = by->group;
	if (by->member != 0)
		request.member = id16(by->member);
	request.generation = by->generation;
	request.stream = by->stream != NULL ? tb_stream_hash(by->stream) : 0;
	request.finished = (uint64_t *)(uintptr_t)by->finished;
	request.n_finished = by->count;
	request.finished_to = by->finished_to;
	int asker = send_request(TB_KIND_PUT, &request.base, frames != NULL ? tb_buf_span(frames) : (tb_span){ 0 });
	if (frames != NULL)
		tb_buf_clear(frames);
	return asker;
}

static inline Tb__PutReply *put_reply(int asker)
{
	return answer_of(asker, &tb__put_reply__descriptor, NULL);
}

/* Put and commit; how it went. Frames are empty again. */
static inline tb_rc put_now(const struct put_by *by, tb_buf *frames)
{
	int asker = put_frames(by, frames);
	commit();
	return (tb_rc)put_reply(asker)->status->code;
}

static inline int put_was_repeated(void)
{
	return put_reply(room.asked)->repeated_put;
}

struct take_by {
	tb_group group;
	char member;
	uint64_t generation, turn;
	uint32_t wait_ms;
	uint64_t bytes_max;
	int nothing;
	const char *streams[8]; /* held */
	uint64_t generations[8], nexts[8];
	const char *period_known;
};

static inline int take_frames(const struct take_by *by)
{
	Tb__TakeRequest request = TB__TAKE_REQUEST__INIT;
	Tb__Held held[8], *rows[8];
	request.group = by->group;
	request.member = id16(by->member);
	request.generation = by->generation;
	request.turn = by->turn;
	request.wait_ms = by->wait_ms;
	request.bytes_max = by->bytes_max;
	request.nothing = by->nothing;
	for (size_t i = 0; i < 8 && by->streams[i] != NULL; i++) {
		tb__held__init(&held[i]);
		held[i].stream = tb_stream_hash(by->streams[i]);
		held[i].generation = by->generations[i];
		held[i].next = by->nexts[i];
		rows[request.n_held++] = &held[i];
	}
	request.held = rows;
	return send_request(TB_KIND_TAKE, &request.base, (tb_span){ 0 });
}

struct taken {
	Tb__TakeReply *reply;
	tb_frame frames[256];
	size_t count;
};

static inline struct taken taken_by(int asker)
{
	struct taken taken = { 0 };
	tb_span bytes;
	taken.reply = answer_of(asker, &tb__take_reply__descriptor, &bytes);
	while (bytes.size > 0) {
		cr_assert_lt(taken.count, 256);
		cr_assert_eq(tb_frame_read(&bytes, &taken.frames[taken.count++], NULL), TB_OK);
	}
	cr_assert_eq(taken.reply->n_leased, taken.count);
	return taken;
}

/* Take, commit, and be answered without waiting. The turn is learnt for the next. */
static inline struct taken take_now(struct take_by *by)
{
	int asker = take_frames(by);
	commit();
	struct taken taken = taken_by(asker);
	expect_code(taken.reply->status, TB_OK);
	by->turn = taken.reply->turn;
	if (tb_group_find(by->group)->lease == TB_LEASE_GROUP)
		by->generation = taken.reply->generation;
	return taken;
}

/* Learn the grants of an answer. */
static inline void learn(struct take_by *by, const struct taken *taken)
{
	for (size_t g = 0; g < taken->reply->n_grants; g++) {
		const Tb__Grant *grant = taken->reply->grants[g];
		size_t i = 0;
		while (by->streams[i] != NULL && tb_stream_hash(by->streams[i]) != grant->stream)
			i++;
		cr_assert_lt(i, 8);
		by->streams[i] = grant->name;
		by->generations[i] = grant->generation;
		by->nexts[i] = grant->finished + 1;
	}
}

/* A collector that has all streams there are; its lease of each is of the generation in by->generations. */
static inline struct take_by lease_streams_to(char member)
{
	struct take_by by = { .group = TB_GROUP_COLLECTOR, .member = member };
	struct taken taken = take_now(&by);
	learn(&by, &taken);
	return by;
}

static inline struct take_by lease_group_to(tb_group group, char member)
{
	struct take_by by = { .group = group, .member = member };
	take_now(&by);
	cr_assert_gt(by.generation, 0);
	return by;
}

/* ---- status and events */

static inline Tb__StatReply *stat_now(void)
{
	Tb__StatRequest request = TB__STAT_REQUEST__INIT;
	int asker = send_request(TB_KIND_STAT, &request.base, (tb_span){ 0 });
	commit();
	return answer_of(asker, &tb__stat_reply__descriptor, NULL);
}

static inline Tb__StreamStat *stream_stat(const char *stream)
{
	Tb__StatReply *reply = stat_now();
	for (size_t i = 0; i < reply->n_streams; i++)
		if (strcmp(reply->streams[i]->name, stream) == 0)
			return reply->streams[i];
	return NULL;
}

static inline Tb__GroupStat *group_stat(tb_group group)
{
	Tb__StatReply *reply = stat_now();
	return reply->groups[group - 1];
}

static inline int fetch(const char *stream, uint64_t from, uint64_t to, uint64_t bytes_max, uint32_t wait_ms)
{
	Tb__FetchRequest request = TB__FETCH_REQUEST__INIT;
	request.stream = (char *)(uintptr_t)stream;
	request.from = from;
	request.to = to;
	request.bytes_max = bytes_max;
	request.wait_ms = wait_ms;
	return send_request(TB_KIND_FETCH, &request.base, (tb_span){ 0 });
}

static inline Tb__FetchReply *fetch_reply(int asker, tb_span *ret_frames)
{
	return answer_of(asker, &tb__fetch_reply__descriptor, ret_frames);
}

/* Are these whole frames of the stream that hold from..to without a gap, and not more frames than needed? */
static inline void expect_events(tb_span frames, const char *stream, uint64_t from, uint64_t to)
{
	uint64_t next = 0;
	tb_frame frame = { 0 };
	while (frames.size > 0) {
		cr_assert_eq(tb_frame_read(&frames, &frame, NULL), TB_OK);
		cr_assert_eq(frame.kind, TB_KIND_EVENTS);
		cr_assert_eq(frame.stream, tb_stream_hash(stream));
		cr_assert_eq(tb_events_check(&frame, NULL), TB_OK);
		if (next == 0)
			cr_assert(frame.first <= from && from < frame.first + frame.count);
		else
			cr_assert_eq(frame.first, next);
		next = frame.first + frame.count;
	}
	cr_assert(next > to && next - frame.count <= to, "events end before %llu", (unsigned long long)next);
}

#endif
