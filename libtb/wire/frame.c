#include "wire/frame.h"

#include "base/bytes.h"

#include <assert.h>
#include <sodium.h>

static const uint8_t magic[4] = { 'T', 'B', 'F', '1' };

enum { AT_KIND = 4, AT_FLAGS = 6, AT_SIZE = 8, AT_COUNT = 12, AT_STREAM = 16, AT_EPOCH = 24, AT_FIRST = 32,
       AT_TIME = 40, AT_BODY_CHECK = 48, AT_HEAD_CHECK = 56 };

#define BATCH_TAG 0x0a /* field 1 of EventBatch, length-delimited */

void tb_frame_head(uint8_t head[TB_FRAME_HEAD], const tb_frame *frame)
{
	assert(frame->body.size <= TB_FRAME_BODY_MAX);
	const uint8_t *body = frame->body.data ? frame->body.data : head + TB_FRAME_HEAD;
	memcpy(head, magic, sizeof(magic));
	tb_put16(head + AT_KIND, frame->kind);
	tb_put16(head + AT_FLAGS, frame->flags);
	tb_put32(head + AT_SIZE, (uint32_t)frame->body.size);
	tb_put32(head + AT_COUNT, frame->count);
	tb_put64(head + AT_STREAM, frame->stream);
	tb_put64(head + AT_EPOCH, frame->epoch);
	tb_put64(head + AT_FIRST, frame->first);
	tb_put64(head + AT_BODY_CHECK, tb_check64(body, frame->body.size));
	tb_frame_stamp(head, frame->time_ns);
}

void tb_frame_stamp(uint8_t *head, uint64_t time_ns)
{
	tb_put64(head + AT_TIME, time_ns);
	tb_put64(head + AT_HEAD_CHECK, tb_check64(head, AT_HEAD_CHECK));
}

size_t tb_frame_begin(tb_buf *to)
{
	size_t at = to->size;
	tb_buf_reserve(to, TB_FRAME_HEAD);
	to->size += TB_FRAME_HEAD;
	return at;
}

void tb_frame_end(tb_buf *to, size_t at, const tb_frame *frame)
{
	tb_frame whole = *frame;
	whole.body = tb_span_of(to->data + at + TB_FRAME_HEAD, to->size - at - TB_FRAME_HEAD);
	tb_frame_head(to->data + at, &whole);
}

void tb_frame_write(tb_buf *to, const tb_frame *frame)
{
	tb_buf_reserve(to, tb_frame_size(frame));
	size_t at = tb_frame_begin(to);
	tb_buf_append_span(to, frame->body);
	tb_frame_end(to, at, frame);
}

tb_rc tb_frame_read_head(tb_span head, tb_frame *ret_frame, tb_err *err)
{
	const uint8_t *bytes = head.data;
	if (head.size < TB_FRAME_HEAD)
		return tb_fail(err, TB_ECORRUPT, "not a frame: %zu bytes are less than its head", head.size);
	if (memcmp(bytes, magic, sizeof(magic)) != 0)
		return tb_fail(err, TB_ECORRUPT, "not a frame: it does not begin with TBF1");
	if (tb_get64(bytes + AT_HEAD_CHECK) != tb_check64(bytes, AT_HEAD_CHECK))
		return tb_fail(err, TB_ECORRUPT, "damaged frame: its head's check does not hold");
	uint32_t size = tb_get32(bytes + AT_SIZE);
	if (size > TB_FRAME_BODY_MAX)
		return tb_fail(err, TB_ECORRUPT, "not a frame: a body of %u bytes is over the limit of %u", size,
		               TB_FRAME_BODY_MAX);
	*ret_frame = (tb_frame){
		.kind = tb_get16(bytes + AT_KIND),
		.flags = tb_get16(bytes + AT_FLAGS),
		.count = tb_get32(bytes + AT_COUNT),
		.stream = tb_get64(bytes + AT_STREAM),
		.epoch = tb_get64(bytes + AT_EPOCH),
		.first = tb_get64(bytes + AT_FIRST),
		.time_ns = tb_get64(bytes + AT_TIME),
		.body = { NULL, size },
	};
	return TB_OK;
}

tb_rc tb_frame_read(tb_span *from, tb_frame *ret_frame, tb_err *err)
{
	tb_frame frame;
	tb_rc rc = tb_frame_read_head(*from, &frame, err);
	if (rc != TB_OK)
		return rc;
	if (tb_kind_find(frame.kind) == NULL)
		return tb_fail(err, TB_ECORRUPT, "unknown frame: there is no kind %u", frame.kind);
	if (frame.body.size > from->size - TB_FRAME_HEAD)
		return tb_fail(err, TB_ECORRUPT, "frame cut short: %zu of the %zu bytes of its body are there",
		               from->size - TB_FRAME_HEAD, frame.body.size);
	frame.body.data = from->data + TB_FRAME_HEAD;
	if (tb_get64(from->data + AT_BODY_CHECK) != tb_check64(frame.body.data, frame.body.size))
		return tb_fail(err, TB_ECORRUPT, "damaged frame: its body's check does not hold");
	from->data += tb_frame_size(&frame);
	from->size -= tb_frame_size(&frame);
	*ret_frame = frame;
	return TB_OK;
}

uint64_t tb_stream_hash(const char *name)
{
	uint8_t hash[32];
	crypto_generichash(hash, sizeof(hash), (const uint8_t *)name, strlen(name), NULL, 0);
	uint64_t value = tb_get64(hash);
	return value ? value : 1;
}

tb_rc tb_stream_check(const char *name, tb_err *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t size = strnlen(name, 129);
	if (size >= 1 && size <= 128 && name[0] != '.' && name[strspn(name, letters)] == '\0')
		return TB_OK;
	tb_fail(err, TB_EINVAL, "bad name of a stream: \"%.128s\"", name);
	tb_hint(err, "1 to 128 letters, digits, '.', '_' and '-', not beginning with '.'");
	return TB_EINVAL;
}

static size_t varint_size(uint64_t value)
{
	size_t size = 1;
	for (; value >= 0x80; value >>= 7)
		size++;
	return size;
}

size_t tb_events_entry_size(size_t canonical_size)
{
	return 1 + varint_size(canonical_size) + canonical_size;
}

void tb_events_append(tb_buf *body, tb_span canonical)
{
	tb_buf_reserve(body, tb_events_entry_size(canonical.size));
	tb_buf_byte(body, BATCH_TAG);
	tb_put_varint(body, canonical.size);
	tb_buf_append_span(body, canonical);
}

int tb_events_next(tb_span *body, tb_span *ret_canonical)
{
	if (body->size == 0)
		return 0;
	tb_span rest = { body->data + 1, body->size - 1 };
	uint64_t size;
	if (body->data[0] != BATCH_TAG || !tb_get_varint(&rest, &size) || size > rest.size || size > TB_EVENT_MAX)
		return -1;
	*ret_canonical = tb_span_of(rest.data, (size_t)size);
	*body = tb_span_of(rest.data + size, rest.size - (size_t)size);
	return 1;
}

tb_rc tb_events_check(const tb_frame *frame, tb_err *err)
{
	tb_span body = frame->body, canonical;
	uint64_t count = 0;
	int more;
	while ((more = tb_events_next(&body, &canonical)) > 0)
		count++;
	if (more < 0)
		return tb_fail(err, TB_ECORRUPT, "bad frame of events: what follows its event %llu is not an event",
		               (unsigned long long)count);
	if (count != frame->count)
		return tb_fail(err, TB_ECORRUPT, "bad frame of events: it holds %llu, its head says %u",
		               (unsigned long long)count, frame->count);
	return TB_OK;
}
