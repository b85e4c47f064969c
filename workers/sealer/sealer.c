/* The sealer: a segment's events, or a chunk, into an object. It holds no secret: it seals to the period's public key,
 * which it believes when the instance signed it. Sealing twice makes at worst an object that nothing names. */
#include "workers/sealer/sealer.h"

#include "base/bytes.h"
#include "frames.pb-c.h"
#include "run/config.h"
#include "store/instance.h"

#include <stdlib.h>

#define FETCH_BYTES (4u << 20)
#define FETCH_TIMEOUT (10 * TB_NS_PER_S)
#define KEPT_MAX (12u * 1024 * 1024) /* of a buffer from frame to frame */

typedef struct sealer {
	tb_worker_env *env;
	tb_sealer *sealer;
	uint8_t instance[TB_PUBLIC_KEY], repository[TB_REPOSITORY_ID];
	tb_buf plain, object, frames; /* their memory is used again */
} sealer;

static void sealer_close(void *self)
{
	sealer *s = self;
	tb_sealer_free(s->sealer);
	tb_buf_drop(&s->plain);
	tb_buf_drop(&s->object);
	tb_buf_drop(&s->frames);
	free(s);
}

static tb_rc sealer_open(tb_worker_env *env, void **ret_self, tb_err *err)
{
	const tb_sealer_config *config = env->options;
	sealer *s = tb_alloc_zero(1, sizeof(*s));
	s->env = env;
	s->sealer = tb_sealer_new((int)config->level);
	tb_rc rc = env->key != NULL ? tb_instance_public_read(env->disk, env->key, s->instance, s->repository, err)
	                            : tb_fail(err, TB_EKEY, "no key file is given; name the instance's public file with --key");
	if (rc != TB_OK) {
		sealer_close(s);
		return rc;
	}
	*ret_self = s;
	return TB_OK;
}

/* Frames of one answer that belong to the segment, behind what is there already; *next moves on. */
static tb_rc add_frames(sealer *s, tb_span frames, const Tb__Cut *cut, uint64_t *next, tb_err *err)
{
	while (frames.size > 0 && *next <= cut->to) {
		tb_span rest = frames;
		tb_frame frame;
		tb_rc rc = tb_frame_read(&rest, &frame, err);
		if (rc != TB_OK)
			return rc;
		if (frame.kind != TB_KIND_EVENTS || frame.stream != tb_stream_hash(cut->stream) || frame.first != *next ||
		    frame.count == 0 || frame.count - 1 > cut->to - frame.first)
			return tb_fail(err, TB_EINVAL, "the broker's frames don't fit the cut of %s at %llu", cut->stream,
			               (unsigned long long)*next);
		if (s->plain.size + tb_frame_size(&frame) > TB_PLAIN_MAX)
			return tb_fail(err, TB_EINVAL, "the segment of %s from %llu is too large", cut->stream,
			               (unsigned long long)cut->from);
		tb_buf_append(&s->plain, frames.data, frames.size - rest.size);
		*next += frame.count;
		frames = rest;
	}
	return TB_OK;
}

static tb_rc fetch_segment(sealer *s, tb_turn *turn, const Tb__Cut *cut, tb_err *err)
{
	uint64_t next = cut->from;
	tb_buf_clear(&s->plain);
	while (next <= cut->to) {
		tb_auto(tb_answer_drop) tb_answer answer = { 0 };
		Tb__FetchRequest request = TB__FETCH_REQUEST__INIT;
		Tb__FetchReply *reply;
		request.stream = cut->stream;
		request.from = next;
		request.to = cut->to;
		request.bytes_max = FETCH_BYTES;
		tb_rc rc = tb_bus_fetch(s->env->bus, &request, FETCH_TIMEOUT, turn->arena, &reply, &answer, err);
		uint64_t before = next;
		if (rc == TB_OK)
			rc = add_frames(s, answer.frames, cut, &next, err);
		if (rc != TB_OK)
			return rc;
		if (next == before)
			return tb_fail(err, TB_EINVAL, "the broker has no event %llu of %s", (unsigned long long)next, cut->stream);
	}
	return TB_OK;
}

static void forget_large(tb_buf *buf)
{
	if (buf->capacity > KEPT_MAX)
		tb_buf_drop(buf);
}

static tb_rc put_sealed(sealer *s, tb_turn *turn, const tb_frame *from, uint64_t id, Tb__Sealed *sealed,
                        uint8_t name[TB_OBJECT_NAME], tb_err *err)
{
	if (s->object.size > TB_FRAME_BODY_MAX)
		return tb_turn_reject(turn, from, id, NULL, "sealed it is larger than a frame may be", err);
	tb_buf_clear(&s->frames);
	tb_frame_write(&s->frames, &(tb_frame){
		.kind = TB_KIND_OBJECT, .count = 1, .stream = from->stream, .body = tb_buf_span(&s->object),
	});
	sealed->name = (ProtobufCBinaryData){ TB_OBJECT_NAME, name };
	sealed->size_plain = s->plain.size;
	sealed->size_stored = s->object.size;
	size_t at = tb_frame_begin(&s->frames);
	tb_buf_reserve(&s->frames, tb__sealed__get_packed_size(sealed));
	s->frames.size += tb__sealed__pack(sealed, s->frames.data + s->frames.size);
	tb_frame_end(&s->frames, at, &(tb_frame){ .kind = TB_KIND_SEALED, .count = 1, .stream = from->stream, .first = from->first });
	tb_turn_put_volatile(turn, &(tb_put){ .frames = tb_buf_span(&s->frames), .finished = &id, .finished_count = 1 });
	forget_large(&s->plain);
	forget_large(&s->object);
	forget_large(&s->frames);
	return TB_OK;
}

static tb_rc read_period(sealer *s, ProtobufCBinaryData record, tb_period *ret_period, tb_err *err)
{
	return tb_period_read(tb_span_of(record.data, record.len), s->instance, ret_period, err);
}

static tb_rc seal_cut(sealer *s, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	Tb__Cut *cut = tb__cut__unpack(tb_arena_allocator(turn->arena), frame->body.size, frame->body.data);
	tb_period period;
	uint8_t name[TB_OBJECT_NAME];
	if (cut == NULL || cut->from == 0 || cut->to < cut->from)
		return tb_turn_reject(turn, frame, id, NULL, "not a cut", err);
	if (read_period(s, cut->period, &period, err) != TB_OK)
		return tb_turn_reject(turn, frame, id, NULL, "its period isn't signed by the instance", err);
	tb_rc rc = fetch_segment(s, turn, cut, err);
	if (rc == TB_OK)
		rc = tb_seal(s->sealer, TB_CONTENT_SEGMENT, tb_buf_span(&s->plain), &period, &s->object, name, err);
	if (rc != TB_OK)
		return rc;
	Tb__Sealed sealed = TB__SEALED__INIT;
	sealed.from = cut->from;
	sealed.to = cut->to;
	return put_sealed(s, turn, frame, id, &sealed, name, err);
}

static tb_rc seal_chunk(sealer *s, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	Tb__Chunk *chunk = tb__chunk__unpack(tb_arena_allocator(turn->arena), frame->body.size, frame->body.data);
	tb_period period;
	uint8_t name[TB_OBJECT_NAME];
	if (chunk == NULL || chunk->plan.len == 0)
		return tb_turn_reject(turn, frame, id, NULL, "not a chunk", err);
	if (read_period(s, chunk->period, &period, err) != TB_OK)
		return tb_turn_reject(turn, frame, id, NULL, "its period isn't signed by the instance", err);
	tb_buf_clear(&s->plain);
	tb_buf_append(&s->plain, chunk->content.data, chunk->content.len);
	tb_rc rc = tb_seal(s->sealer, TB_CONTENT_CHUNK, tb_buf_span(&s->plain), &period, &s->object, name, err);
	if (rc != TB_OK)
		return rc;
	Tb__Sealed sealed = TB__SEALED__INIT;
	sealed.backup = chunk->backup;
	sealed.plan = chunk->plan;
	sealed.index = chunk->index;
	return put_sealed(s, turn, frame, id, &sealed, name, err);
}

static tb_rc sealer_handle(void *self, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	if (frame->kind == TB_KIND_CUT)
		return seal_cut(self, turn, frame, id, err);
	if (frame->kind == TB_KIND_CHUNK)
		return seal_chunk(self, turn, frame, id, err);
	return tb_turn_reject(turn, frame, id, NULL, "a kind that sealers don't take", err);
}

static tb_rc sealer_tick(void *self, tb_turn *turn, uint64_t *ret_wait_ns, tb_err *err)
{
	(void)self;
	(void)turn;
	(void)err;
	*ret_wait_ns = TB_NS_PER_S;
	return TB_OK;
}

const tb_worker sealer_worker = {
	.name = "sealer",
	.summary = "Compresses and encrypts segments and chunks. Holds no secret.",
	.group = TB_GROUP_SEALER,
	.rows = tb_sealer_rows,
	.options_size = sizeof(tb_sealer_config),
	.key_file = "keys/instance.pub",
	.stateless = 1,
	.take_bytes = 1, /* one at a time: other sealers take the rest */
	.open = sealer_open,
	.handle = sealer_handle,
	.tick = sealer_tick,
	.close = sealer_close,
};
