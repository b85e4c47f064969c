/* A broker on a disk in memory, with a clock of its own and an ear for every answer. */
#ifndef TB_FUZZ_BROKER_H
#define TB_FUZZ_BROKER_H

#include "base/arena.h"
#include "broker/broker.h"
#include "bus/bus.h"
#include "frames.pb-c.h"
#include "fuzz/fuzz_disk.h"

#define FUZZ_ASKERS 512

static struct fuzz_broker {
	struct fuzz_disk disk;
	uint64_t file_size;
	uint64_t real_ns, mono_ns;
	tb_clock clock;
	tb_broker *broker;
	unsigned lives;
	tb_arena *arena; /* an input's */
	size_t asked;
	struct fuzz_asker {
		int answers;
		int gone; /* with an earlier life of the broker */
		tb_span answer;
	} askers[FUZZ_ASKERS];
} fuzz_broker;

static inline uint64_t fuzz_real(void *self)
{
	return ((struct fuzz_broker *)self)->real_ns;
}

static inline uint64_t fuzz_mono(void *self)
{
	return ((struct fuzz_broker *)self)->mono_ns;
}

static inline void fuzz_answered(void *self, void *asker, tb_span answer)
{
	(void)self;
	struct fuzz_asker *own = asker;
	hold(own->answers++ == 0 && !own->gone);
	own->answer = tb_arena_copy(fuzz_broker.arena, answer);
}

static inline void fuzz_topic(void *self, tb_span topic, tb_span body)
{
	(void)self, (void)body;
	hold(topic.size > 0 && memchr(topic.data, '\0', topic.size) == NULL);
}

static inline tb_rc fuzz_broker_open(tb_err *err)
{
	struct fuzz_broker *room = &fuzz_broker;
	tb_broker_out out = { room, fuzz_answered, fuzz_topic };
	tb_broker_options options = {
		.journal = { .dir = fuzz_dir(), .file_size = room->file_size, .disk = &room->disk.disk,
		             .new_id = "a journal's id.." },
		.journal_keep_ns = 10 * TB_NS_PER_S, .volatile_max = 4096, .waiting_max = 8, .publishers_max = 2,
		.clock = &room->clock, .run_id = "a life .........", .period = tb_span_text("a period's record"),
	};
	options.run_id[7] = (uint8_t)++room->lives;
	tb_journal_opened opened;
	return tb_broker_open(&options, &out, &room->broker, &opened, err);
}

static inline void fuzz_broker_close(void)
{
	tb_broker_close(fuzz_broker.broker);
	fuzz_broker.broker = NULL;
	for (size_t i = 0; i < fuzz_broker.asked; i++)
		fuzz_broker.askers[i].gone = 1;
}

static inline void fuzz_broker_begin(uint64_t file_size)
{
	struct fuzz_broker *room = &fuzz_broker;
	memset(room, 0, sizeof(*room));
	fuzz_disk_init(&room->disk);
	room->file_size = file_size;
	room->real_ns = UINT64_C(1700000000) * TB_NS_PER_S;
	room->mono_ns = 5 * TB_NS_PER_S;
	room->clock = (tb_clock){ room, fuzz_real, fuzz_mono };
	room->arena = tb_arena_new();
}

static inline void fuzz_broker_end(void)
{
	fuzz_broker_close();
	fuzz_disk_drop(&fuzz_broker.disk);
	tb_arena_free(fuzz_broker.arena);
}

static inline void fuzz_pass(uint64_t ns)
{
	fuzz_broker.real_ns += ns;
	fuzz_broker.mono_ns += ns;
}

/* NULL when no more can be asked. */
static inline struct fuzz_asker *fuzz_ask(tb_span request)
{
	if (fuzz_broker.asked == FUZZ_ASKERS)
		return NULL;
	struct fuzz_asker *asker = &fuzz_broker.askers[fuzz_broker.asked++];
	tb_broker_request(fuzz_broker.broker, asker, request);
	return asker;
}

static inline struct fuzz_asker *fuzz_ask_message(enum tb_kind kind, const ProtobufCMessage *message, tb_span frames)
{
	tb_auto(tb_buf_drop) tb_buf request = { 0 };
	tb_control_write(&request, kind, message);
	tb_buf_append_span(&request, frames);
	return fuzz_ask(tb_buf_span(&request));
}

/* NULL when there is no answer, or none without an error. ret_frames may be NULL. */
static inline void *fuzz_answer(const struct fuzz_asker *asker, const ProtobufCMessageDescriptor *descriptor,
                                tb_span *ret_frames)
{
	ProtobufCMessage *message;
	if (asker == NULL || asker->answers == 0)
		return NULL;
	tb_span bytes = asker->answer;
	hold(tb_control_read(&bytes, TB_KIND_ANSWER, descriptor, fuzz_broker.arena, &message, NULL) == TB_OK);
	const Tb__Status *status = ((Tb__StatReply *)message)->status; /* first in each of them */
	hold(status != NULL && status->code < TB_RC_COUNT && (status->code == TB_OK) == (status->text[0] == '\0'));
	if (ret_frames != NULL)
		*ret_frames = bytes;
	return status->code == TB_OK ? message : NULL;
}

static inline ProtobufCBinaryData fuzz_binary(const void *data, size_t size)
{
	return (ProtobufCBinaryData){ size, (uint8_t *)(uintptr_t)data };
}

static inline ProtobufCBinaryData fuzz_id(unsigned number)
{
	uint8_t *id = tb_arena_alloc(fuzz_broker.arena, 16);
	memset(id, (int)('a' + number), 16);
	return fuzz_binary(id, 16);
}

#endif
