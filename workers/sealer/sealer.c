/* The sealer: a segment's events, or a chunk, into an object. It holds no secret: it seals to the period's public key,
 * which it believes when the instance signed it. Sealing twice makes at worst an object that nothing names. */
#include "workers/sealer/sealer.h"

#include "frames.pb-c.h"
#include "run/config.h"
#include "store/instance.h"

#include <stdlib.h>

#define FETCH_BYTES (4u << 20)
#define FETCH_TIMEOUT (10 * TB_NS_PER_S)
#define KEPT_MAX (12u * 1024 * 1024) /* of a buffer from segment to segment */

typedef struct sealer {
	tb_worker_env *env;
	tb_sealer *sealer;
	uint8_t instance[TB_PUBLIC_KEY], repository[TB_REPOSITORY_ID];
	tb_buf plain; /* a segment that came in several answers; its memory is used again */
} sealer;

static void sealer_close(void *self)
{
	sealer *s = self;
	tb_sealer_free(s->sealer);
	tb_buf_drop(&s->plain);
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

/* How many bytes of an answer's frames belong to the segment; *next moves on. */
static tb_rc pass_frames(tb_span frames, const Tb__Cut *cut, uint64_t *next, size_t *ret_size, tb_err *err)
{
	tb_span rest = frames;
	while (rest.size > 0 && *next <= cut->to) {
		tb_frame frame;
		tb_rc rc = tb_frame_read(&rest, &frame, err);
		if (rc != TB_OK)
			return rc;
		if (frame.kind != TB_KIND_EVENTS || frame.stream != tb_stream_hash(cut->stream) || frame.first != *next ||
		    frame.count == 0 || frame.count - 1 > cut->to - frame.first)
			return tb_fail(err, TB_EINVAL, "the broker's frames don't fit the cut of %s at %llu", cut->stream,
			               (unsigned long long)*next);
		*next += frame.count;
	}
	*ret_size = frames.size - rest.size;
	return TB_OK;
}

static tb_rc fetch_some(sealer *s, tb_turn *turn, const Tb__Cut *cut, uint64_t *next, tb_answer *ret_answer,
                        tb_span *ret_frames, tb_err *err)
{
	Tb__FetchRequest request = TB__FETCH_REQUEST__INIT;
	Tb__FetchReply *reply;
	uint64_t before = *next;
	size_t size = 0;
	request.stream = cut->stream;
	request.from = *next;
	request.to = cut->to;
	request.bytes_max = FETCH_BYTES;
	tb_rc rc = tb_bus_fetch(s->env->bus, &request, FETCH_TIMEOUT, turn->arena, &reply, ret_answer, err);
	if (rc == TB_OK)
		rc = pass_frames(ret_answer->frames, cut, next, &size, err);
	if (rc == TB_OK && *next == before)
		rc = tb_fail(err, TB_EINVAL, "the broker has no event %llu of %s", (unsigned long long)before, cut->stream);
	if (rc == TB_OK)
		*ret_frames = tb_span_of(ret_answer->frames.data, size);
	return rc;
}

/* The segment's frames: within the answer, when one bore them all, which is how large ones come, else in s->plain. */
static tb_rc fetch_segment(sealer *s, tb_turn *turn, const Tb__Cut *cut, tb_answer *answer, tb_span *ret_plain, tb_err *err)
{
	uint64_t next = cut->from;
	tb_buf_clear(&s->plain);
	for (;;) {
		tb_span frames;
		tb_answer_drop(answer);
		tb_rc rc = fetch_some(s, turn, cut, &next, answer, &frames, err);
		if (rc != TB_OK)
			return rc;
		if (s->plain.size + frames.size > TB_PLAIN_MAX)
			return tb_fail(err, TB_EINVAL, "the segment of %s from %llu is too large", cut->stream,
			               (unsigned long long)cut->from);
		if (next > cut->to && s->plain.size == 0) {
			*ret_plain = frames;
			return TB_OK;
		}
		tb_buf_append_span(&s->plain, frames);
		if (next > cut->to)
			break;
	}
	tb_answer_drop(answer);
	*ret_plain = tb_buf_span(&s->plain);
	return TB_OK;
}

struct sealing {
	tb_content content;
	tb_span plain;
	tb_period period;
	Tb__Sealed *sealed;
};

/* The object, sealed where its frame is built, and the word of it behind. */
static tb_rc make_frames(sealer *s, const struct sealing *sealing, const tb_frame *from, tb_buf *frames, int *ret_large,
                         tb_err *err)
{
	uint8_t name[TB_OBJECT_NAME];
	Tb__Sealed *sealed = sealing->sealed;
	size_t at = tb_frame_begin(frames);
	tb_rc rc = tb_seal_append(s->sealer, sealing->content, sealing->plain, &sealing->period, frames, name, err);
	if (rc != TB_OK)
		return rc;
	sealed->size_plain = sealing->plain.size;
	sealed->size_stored = frames->size - at - TB_FRAME_HEAD;
	*ret_large = sealed->size_stored > TB_FRAME_BODY_MAX;
	if (*ret_large)
		return TB_OK;
	tb_frame_end(frames, at, &(tb_frame){ .kind = TB_KIND_OBJECT, .count = 1, .stream = from->stream });
	sealed->name = (ProtobufCBinaryData){ TB_OBJECT_NAME, name };
	at = tb_frame_begin(frames);
	tb_buf_reserve(frames, tb__sealed__get_packed_size(sealed));
	frames->size += tb__sealed__pack(sealed, frames->data + frames->size);
	tb_frame_end(frames, at, &(tb_frame){ .kind = TB_KIND_SEALED, .count = 1, .stream = from->stream, .first = from->first });
	return TB_OK;
}

static tb_rc put_sealed(sealer *s, tb_turn *turn, const tb_frame *from, uint64_t id, const struct sealing *sealing,
                        tb_err *err)
{
	int large = 0;
	tb_held *frames = tb_held_new();
	tb_rc rc = make_frames(s, sealing, from, &frames->bytes, &large, err);
	if (rc == TB_OK && large)
		rc = tb_turn_reject(turn, from, id, NULL, "sealed it is larger than a frame may be", err);
	else if (rc == TB_OK)
		tb_turn_put_volatile(turn, &(tb_put){ .finished = &id, .finished_count = 1 }, frames);
	tb_held_release(frames);
	if (s->plain.capacity > KEPT_MAX)
		tb_buf_drop(&s->plain);
	return rc;
}

static tb_rc read_period(sealer *s, ProtobufCBinaryData record, tb_period *ret_period, tb_err *err)
{
	return tb_period_read(tb_span_of(record.data, record.len), s->instance, ret_period, err);
}

static tb_rc seal_cut(sealer *s, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	Tb__Cut *cut = tb__cut__unpack(tb_arena_allocator(turn->arena), frame->body.size, frame->body.data);
	Tb__Sealed sealed = TB__SEALED__INIT;
	struct sealing sealing = { .content = TB_CONTENT_SEGMENT, .sealed = &sealed };
	tb_auto(tb_answer_drop) tb_answer answer = { 0 };
	if (cut == NULL || cut->from == 0 || cut->to < cut->from)
		return tb_turn_reject(turn, frame, id, NULL, "not a cut", err);
	if (read_period(s, cut->period, &sealing.period, err) != TB_OK)
		return tb_turn_reject(turn, frame, id, NULL, "its period isn't signed by the instance", err);
	tb_rc rc = fetch_segment(s, turn, cut, &answer, &sealing.plain, err);
	if (rc != TB_OK)
		return rc;
	sealed.from = cut->from;
	sealed.to = cut->to;
	return put_sealed(s, turn, frame, id, &sealing, err);
}

static tb_rc seal_chunk(sealer *s, tb_turn *turn, const tb_frame *frame, uint64_t id, tb_err *err)
{
	Tb__Chunk *chunk = sealer_read_chunk(frame->body, turn->arena);
	Tb__Sealed sealed = TB__SEALED__INIT;
	struct sealing sealing = { .content = TB_CONTENT_CHUNK, .sealed = &sealed };
	if (chunk == NULL || chunk->plan.len == 0)
		return tb_turn_reject(turn, frame, id, NULL, "not a chunk", err);
	if (read_period(s, chunk->period, &sealing.period, err) != TB_OK)
		return tb_turn_reject(turn, frame, id, NULL, "its period isn't signed by the instance", err);
	sealing.plain = tb_span_of(chunk->content.data, chunk->content.len);
	sealed.backup = chunk->backup;
	sealed.plan = chunk->plan;
	sealed.index = chunk->index;
	return put_sealed(s, turn, frame, id, &sealing, err);
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
