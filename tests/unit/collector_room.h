/* A collector in a room, and what a broker, a sealer and a storer would tell it. */
#ifndef TESTS_COLLECTOR_ROOM_H
#define TESTS_COLLECTOR_ROOM_H

#include "base/bytes.h"
#include "model_events.h"
#include "worker_room.h"
#include "workers/collector/collector.h"

#define BOOK "book"
#define BACKUP_A "FUL_20260102T030405Z_0123456789abcdef"
#define BACKUP_B "FUL_20260102T030405Z_fedcba9876543210"

static tb_collector_config config;

static inline void collector_begin(void)
{
	config = (tb_collector_config){ .segment_size = 8u << 20, .segment_age_ns = TB_NS_PER_S };
	config.environment = (char *)(uintptr_t)"test";
	room_begin(&collector_worker, &config, "keys/collector.key");
}

/* ---- events */

static inline tb_frame events(const char *stream, uint64_t first, uint32_t count)
{
	tb_auto(tb_buf_drop) tb_buf body = { 0 };
	for (uint32_t i = 0; i < count; i++)
		pack_event(&body, first + i);
	tb_span kept = tb_arena_copy(room.kept, tb_buf_span(&body));
	return (tb_frame){ .kind = TB_KIND_EVENTS, .count = count, .stream = tb_stream_hash(stream), .epoch = 1,
		               .first = first, .time_ns = BASE_NS, .body = kept };
}

/* ---- the broker's side */

static inline Tb__Grant grant_of(const char *stream, uint64_t generation)
{
	Tb__Grant grant = TB__GRANT__INIT;
	grant.name = (char *)(uintptr_t)stream;
	grant.stream = tb_stream_hash(stream);
	grant.generation = generation;
	grant.durable = UINT64_MAX - 1;
	grant.first_held = 1;
	return grant;
}

/* What a broker would know that has everything that was put. */
static inline Tb__Grant grant_again(const char *stream, uint64_t generation)
{
	Tb__Grant grant = grant_of(stream, generation);
	for (size_t i = 0; i < room.put_count; i++)
		if (room.puts[i]->stream == grant.stream && room.puts[i]->finished_to > grant.finished)
			grant.finished = room.puts[i]->finished_to;
	for (size_t i = 0; i < room.frame_count; i++) {
		const struct noted_frame *noted = &room.frames[i];
		if (noted->frame.stream != grant.stream)
			continue;
		if (noted->frame.kind == TB_KIND_CUT) {
			const Tb__Cut *cut = message_of(noted, &tb__cut__descriptor);
			grant.cut = cut->to > grant.cut ? cut->to : grant.cut;
		} else if (noted->frame.kind == TB_KIND_MANIFEST) {
			const Tb__ManifestFrame *manifest = message_of(noted, &tb__manifest_frame__descriptor);
			if (manifest->chain <= grant.chain)
				continue;
			uint8_t *hash = tb_arena_alloc(room.kept, TB_HASH_SIZE);
			tb_manifest_hash(tb_span_of(manifest->manifest.data, manifest->manifest.len), hash);
			grant.chain = manifest->chain;
			grant.manifest_hash = (ProtobufCBinaryData){ TB_HASH_SIZE, hash };
		}
	}
	return grant;
}

static inline void give_grant(const Tb__Grant *grant)
{
	must(room.worker->granted(room.self, &room.turn, grant, &room.err));
}

static inline void give(const tb_frame *frame, uint64_t id)
{
	must(turn_handle(frame, id));
}

/* A turn with one frame. */
static inline void turn_with(const tb_frame *frame, uint64_t id)
{
	turn_begin(0);
	give(frame, id);
	turn_end();
}

static inline void turn_idle(void)
{
	turn_begin(0);
	turn_end();
}

static inline void start(const char *stream, uint64_t generation)
{
	Tb__Grant grant = grant_of(stream, generation);
	turn_begin(0);
	give_grant(&grant);
	turn_end();
}

static inline void apply(const char *stream, uint64_t first, uint32_t count)
{
	tb_frame frame = events(stream, first, count);
	turn_with(&frame, 0);
}

/* The open segment's time is over. */
static inline void cut_now(void)
{
	pass(TB_NS_PER_S);
	turn_idle();
}

/* Puts may be put again; NULL: there aren't so many. */
static inline const Tb__Cut *cut_at(size_t index)
{
	uint64_t last = 0;
	for (size_t i = 0; i < noted_count(TB_KIND_CUT); i++) {
		const Tb__Cut *cut = message_of(noted_at(TB_KIND_CUT, i), &tb__cut__descriptor);
		if (cut->to <= last && strcmp(cut->stream, BOOK) == 0)
			continue;
		last = cut->to;
		if (index-- == 0)
			return cut;
	}
	return NULL;
}

static inline const Tb__ManifestFrame *manifest_frame_at(size_t index)
{
	uint64_t last = 0;
	for (size_t i = 0; i < noted_count(TB_KIND_MANIFEST); i++) {
		const Tb__ManifestFrame *frame = message_of(noted_at(TB_KIND_MANIFEST, i), &tb__manifest_frame__descriptor);
		if (frame->chain <= last && strcmp(frame->stream, BOOK) == 0)
			continue;
		last = frame->chain;
		if (index-- == 0)
			return frame;
	}
	return NULL;
}

static inline const Tb__Chunk *chunk_at(size_t index)
{
	return message_of(noted_at(TB_KIND_CHUNK, index), &tb__chunk__descriptor);
}

static uint8_t object_name[TB_OBJECT_NAME] = { 0xab };

static inline tb_frame sealed_cut(const Tb__Cut *cut)
{
	Tb__Sealed sealed = TB__SEALED__INIT;
	object_name[1] = (uint8_t)cut->from;
	sealed.name = (ProtobufCBinaryData){ sizeof(object_name), object_name };
	sealed.size_plain = cut->bytes;
	sealed.size_stored = cut->bytes + TB_OBJECT_HEAD + 16;
	sealed.from = cut->from;
	sealed.to = cut->to;
	return frame_of(TB_KIND_SEALED, cut->stream, cut->from, &sealed.base);
}

static inline tb_frame sealed_chunk(const Tb__Chunk *chunk)
{
	Tb__Sealed sealed = TB__SEALED__INIT;
	object_name[1] = (uint8_t)chunk->index;
	sealed.name = (ProtobufCBinaryData){ sizeof(object_name), object_name };
	sealed.size_plain = chunk->content.len;
	sealed.size_stored = chunk->content.len + TB_OBJECT_HEAD + 16;
	sealed.backup = chunk->backup;
	sealed.plan = chunk->plan;
	sealed.index = chunk->index;
	return frame_of(TB_KIND_SEALED, chunk->stream, chunk->index, &sealed.base);
}

static inline tb_frame stored_of(const Tb__ManifestFrame *manifest)
{
	Tb__Stored stored = TB__STORED__INIT;
	stored.stream = manifest->stream;
	stored.backup = manifest->backup;
	stored.type = manifest->type;
	stored.from = manifest->from;
	stored.to = manifest->to;
	stored.chain = manifest->chain;
	return frame_of(TB_KIND_STORED, manifest->stream, manifest->chain, &stored.base);
}

static inline tb_frame order_of(const char *stream, const char *backup)
{
	Tb__Order order = TB__ORDER__INIT;
	order.stream = (char *)(uintptr_t)stream;
	order.type = (char *)(uintptr_t)"FULL";
	order.backup = (char *)(uintptr_t)backup;
	return frame_of(TB_KIND_ORDER, stream, 0, &order.base);
}

/* ---- what stands in a manifest */

static inline const Tb__Manifest *manifest_of(const Tb__ManifestFrame *frame)
{
	uint8_t instance[TB_PUBLIC_KEY], repository[TB_REPOSITORY_ID];
	Tb__Manifest *manifest;
	must(tb_instance_public_read(tb_disk_system(), below_room("keys/instance.pub"), instance, repository, &room.err));
	must(tb_manifest_read(tb_span_of(frame->manifest.data, frame->manifest.len), instance, repository, room.kept,
	                      &manifest, &room.err));
	return manifest;
}

static inline const Tb__ManifestPrivate *private_of(const Tb__Manifest *manifest)
{
	tb_auto(tb_buf_drop) tb_buf plain = { 0 };
	tb_tier *tier;
	tb_key *identity;
	tb_keyring *keyring;
	must(tb_tier_open(tb_disk_system(), below_room("repository"), 0, &tier, &room.err));
	must(tb_key_read(tb_disk_system(), below_room("keys/identity.key"), TB_KEY_IDENTITY, &identity, &room.err));
	must(tb_keyring_open(tier, identity, &keyring, &room.err));
	tb_span box = tb_span_of(manifest->private_box.data, manifest->private_box.len);
	must(tb_unseal(keyring, TB_CONTENT_PRIVATE, box, &plain, &room.err));
	Tb__ManifestPrivate *message =
		tb__manifest_private__unpack(tb_arena_allocator(room.kept), plain.size, plain.data);
	cr_assert_not_null(message);
	tb_keyring_free(keyring);
	tb_key_free(identity);
	tb_tier_close(tier);
	return message;
}

static inline void check_sum_at(const Tb__ManifestPrivate *message, uint64_t at)
{
	tb_sum sum;
	uint64_t keys = model_sum(at, &sum);
	cr_assert_eq(message->keys, keys, "%llu keys at %llu, not %llu", (unsigned long long)message->keys,
	             (unsigned long long)at, (unsigned long long)keys);
	cr_assert(message->sum.len == sizeof(sum) && memcmp(message->sum.data, sum.bytes, sizeof(sum)) == 0);
}

/* All manifests so far: one chain, segments dense, each with the state's sum and time at its end. Returns how many. */
static inline size_t check_chain(void)
{
	uint8_t hash[TB_HASH_SIZE];
	uint64_t chain = 0, last = 0;
	const Tb__ManifestFrame *frame;
	while ((frame = manifest_frame_at(chain)) != NULL) {
		const Tb__Manifest *manifest = manifest_of(frame);
		cr_assert_eq(frame->chain, ++chain);
		cr_assert_eq(manifest->chain, chain);
		cr_assert(chain == 1 || memcmp(manifest->before.data, hash, TB_HASH_SIZE) == 0);
		tb_manifest_hash(tb_span_of(frame->manifest.data, frame->manifest.len), hash);
		cr_assert_eq(manifest->time_to_ns, model_effective(manifest->to));
		check_sum_at(private_of(manifest), manifest->to);
		if (strcmp(manifest->type, "SEGMENT") != 0)
			continue;
		cr_assert_eq(manifest->from, last + 1);
		cr_assert_eq(manifest->time_from_ns, model_effective(last));
		last = manifest->to;
	}
	return chain;
}

#endif
