#include "workers/collector/collector.h"

#include <sodium.h>

static tb_rc seal_private(tb_collector *collector, tb_turn *turn, Tb__Manifest *manifest,
                          const Tb__ManifestPrivate *private_part, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf plain = { 0 }, box = { 0 };
	uint8_t name[TB_OBJECT_NAME];
	size_t size = tb__manifest_private__get_packed_size(private_part);
	tb_buf_reserve(&plain, size + 1);
	plain.size = tb__manifest_private__pack(private_part, plain.data);
	tb_rc rc = tb_seal(collector->sealer, TB_CONTENT_PRIVATE, tb_buf_span(&plain), &collector->period, &box, name, err);
	if (rc == TB_OK) {
		tb_span copy = tb_arena_copy(turn->arena, tb_buf_span(&box));
		manifest->private_box = (ProtobufCBinaryData){ copy.size, (uint8_t *)(uintptr_t)copy.data };
	}
	return rc;
}

static void fill_common(tb_collector *collector, tb_turn *turn, tb_stream *stream, Tb__Manifest *manifest)
{
	manifest->format = TB_MANIFEST_FORMAT;
	manifest->repository =
		(ProtobufCBinaryData){ TB_REPOSITORY_ID, (uint8_t *)(uintptr_t)tb_key_repository(collector->key) };
	manifest->stream = stream->name;
	manifest->chain = stream->chain + 1;
	if (stream->chain > 0)
		manifest->before = (ProtobufCBinaryData){ TB_HASH_SIZE, stream->manifest_hash };
	manifest->generation = stream->generation;
	manifest->created_ns = turn->now_ns;
	manifest->source = (char *)(uintptr_t) "tradebank " TB_VERSION;
	manifest->environment = collector->config->environment;
	for (size_t i = 0; i < manifest->n_objects; i++) {
		manifest->bytes_plain += manifest->objects[i]->size_plain;
		manifest->bytes_stored += manifest->objects[i]->size_stored;
	}
}

static tb_rc write_head(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Manifest *manifest,
                        const uint8_t hash[TB_HASH_SIZE], tb_buf *ret_head, tb_err *err)
{
	/* A backup may end before the newest segment: the head's last number is the stream's. */
	uint64_t last = manifest->to > stream->manifested ? manifest->to : stream->manifested;
	tb_head head = { .chain = manifest->chain, .last = last, .made_ns = turn->now_ns };
	memcpy(head.stream, stream->name, sizeof(head.stream));
	memcpy(head.manifest_hash, hash, TB_HASH_SIZE);
	return tb_head_write(&head, collector->key, ret_head, err);
}

static void fill_frame(tb_stream *stream, const Tb__Manifest *manifest, Tb__ManifestFrame *frame, tb_turn *turn)
{
	frame->stream = stream->name;
	frame->chain = manifest->chain;
	frame->backup = manifest->backup;
	frame->type = manifest->type;
	frame->from = manifest->from;
	frame->to = manifest->to;
	frame->bytes_plain = manifest->bytes_plain;
	frame->bytes_stored = manifest->bytes_stored;
	frame->records = manifest->records;
	frame->time_ns = manifest->time_to_ns;
	frame->started_ns = manifest->started_ns;
	frame->n_objects = manifest->n_objects;
	frame->objects = tb_arena_alloc(turn->arena, (manifest->n_objects + 1) * sizeof(*frame->objects));
	for (size_t i = 0; i < manifest->n_objects; i++)
		frame->objects[i] = manifest->objects[i]->name;
}

tb_rc chain_append(tb_collector *collector, tb_turn *turn, tb_stream *stream, Tb__Manifest *manifest,
                   const Tb__ManifestPrivate *private_part, const uint64_t *finished, size_t finished_count, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf file = { 0 }, head = { 0 }, frames = { 0 };
	uint8_t hash[TB_HASH_SIZE];
	char path[TB_MANIFEST_PATH];
	fill_common(collector, turn, stream, manifest);
	tb_rc rc = seal_private(collector, turn, manifest, private_part, err);
	if (rc == TB_OK)
		rc = tb_manifest_write(manifest, collector->key, &file, hash, err);
	if (rc == TB_OK)
		rc = write_head(collector, turn, stream, manifest, hash, &head, err);
	if (rc != TB_OK)
		return rc;
	Tb__ManifestFrame frame = TB__MANIFEST_FRAME__INIT;
	fill_frame(stream, manifest, &frame, turn);
	tb_manifest_path(stream->name, manifest->to, manifest->type, manifest->backup, path);
	frame.path = path;
	frame.manifest = (ProtobufCBinaryData){ file.size, file.data };
	frame.head = (ProtobufCBinaryData){ head.size, head.data };
	collector_frame(&frames, TB_KIND_MANIFEST, stream, manifest->chain, &frame.base);
	rc = collector_put(turn, stream, tb_buf_span(&frames), finished, finished_count, 0, err);
	if (rc != TB_OK)
		return rc;
	stream->chain = manifest->chain;
	memcpy(stream->manifest_hash, hash, TB_HASH_SIZE);
	stream->dirty = 1;
	return agree_remember(collector, turn, stream, err);
}
