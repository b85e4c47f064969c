/* Makes the seeds of all targets below a directory, made-up ones and always the same: make-corpus tests/fuzz/corpus */
#include "backup.pb-c.h"
#include "banks.pb-c.h"
#include "bus/outbox.h"
#include "event_samples.h"
#include "fuzz/fuzz_broker.h"
#include "fuzz/fuzz_hosts.h"
#include "fuzz/fuzz_journal.h"
#include "fuzz/fuzz_keys.h"
#include "run/config.h"
#include "signals.pb-c.h"
#include "store/archive.h"
#include "store/chunker.h"
#include "wire/event_json.h"

#include <openssl/pem.h>
#include <sys/stat.h>
#include <zstd.h>

#define SEED_MAX 4096u
#define TIME UINT64_C(1700000000000000000)

static const char *corpus;
static tb_arena *arena;

static void save(const char *target, const char *name, tb_span seed)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	hold(seed.size > 0 && seed.size <= SEED_MAX);
	tb_buf_print(&path, "%s/%s", corpus, target);
	mkdir(tb_buf_text(&path), 0755);
	tb_buf_print(&path, "/%s", name);
	FILE *file = fopen(tb_buf_text(&path), "wb");
	hold(file != NULL);
	hold(fwrite(seed.data, 1, seed.size, file) == seed.size);
	fclose(file);
}

/* A first byte, then the rest. */
static void save_way(const char *target, const char *name, unsigned way, tb_span rest)
{
	tb_auto(tb_buf_drop) tb_buf seed = { 0 };
	tb_buf_byte(&seed, (uint8_t)way);
	tb_buf_append_span(&seed, rest);
	save(target, name, tb_buf_span(&seed));
}

struct text_seed {
	const char *name;
	unsigned way;
	const char *text;
};

static void save_texts(const char *target, const struct text_seed *seeds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		save_way(target, seeds[i].name, seeds[i].way, tb_span_text(seeds[i].text));
}
#define SAVE_TEXTS(target, seeds) save_texts(target, seeds, sizeof(seeds) / sizeof((seeds)[0]))

/* ---- events */

static tb_span small_event(chance *c, tb_event_kind kind, tb_buf *to, tb_event *event)
{
	do {
		tb_buf_clear(to);
		chance_event(c, kind, event);
		hold(tb_event_pack(to, event, TIME, NULL, NULL) == TB_OK);
	} while (to->size > 600);
	return tb_buf_span(to);
}

static void save_event(chance *c, tb_event_kind kind, int which)
{
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 }, line = { 0 };
	tb_event event;
	char name[64];
	snprintf(name, sizeof(name), "%s-%d", tb_event_kind_name(kind), which);
	save("event", name, small_event(c, kind, &canonical, &event));
	tb_event_to_json(&line, &event, &(tb_event_place){ .stream = "s", .number = 1, .stamp_ns = 1 });
	/* What stands around the event goes: up to the kind, and it. */
	const char *kind_at = strstr(tb_buf_text(&line), "\"kind\":");
	const char *rest = strchr(kind_at, ',');
	tb_auto(tb_buf_drop) tb_buf own = { 0 };
	tb_buf_print(&own, "{%s", rest + 1);
	if (which < 2)
		save("line", name, tb_buf_span(&own));
}

static void make_events(void)
{
	chance c = { .state = 17, .arena = arena };
	for (tb_event_kind kind = TB_EVENT_GHOST; kind <= TB_EVENT_SIGNAL; kind++)
		for (int which = 0; which < 3; which++)
			save_event(&c, kind, which);
	static const char *const lines[] = {
		"{\"time_ns\":1723161253937085768,\"delta\":{\"key\":\"b|61737.63000000\",\"value\":\"0.56854\"}}",
		"{\"delta\":{\"key\":\"order:17\",\"op\":\"delete\"}}",
		"{\"delta\":{\"key\":\"blob\",\"value_b64\":\"AAEC\"}}",
		"{\"deltas\":[{\"key\":\"cash\",\"value\":\"100\"},{\"key_b64\":\"AP8=\",\"op\":\"delete\"}]}",
		"{\"mode\":\"paper\",\"priority\":3,\"tags\":[\"a\"],\"metadata\":{\"z\":\"1\",\"a\":\"2\"},\"reset\":\"begin\"}",
		"{\"ghost\":{\"trigger\":\"t\",\"pair\":\"A->B\",\"bit_phase\":4,\"outcome\":null,\"confidence\":1e-1}}",
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char name[32];
		snprintf(name, sizeof(name), "manual-%zu", i);
		save("line", name, tb_span_text(lines[i]));
	}
}

/* A frame of `count` small events numbered first, first + 1, … */
static void put_events(tb_buf *to, uint64_t first, uint32_t count)
{
	chance c = { .state = first + 5, .arena = arena };
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 };
	tb_event event;
	size_t at = tb_frame_begin(to);
	for (uint32_t i = 0; i < count; i++)
		tb_events_append(to, small_event(&c, TB_EVENT_DELTA, &canonical, &event));
	tb_frame head = { .kind = TB_KIND_EVENTS, .count = count, .stream = tb_stream_hash("book"), .epoch = 1,
		          .first = first, .time_ns = TIME };
	tb_frame_end(to, at, &head);
}

static void make_frames(void)
{
	tb_auto(tb_buf_drop) tb_buf frames = { 0 }, segment = { 0 };
	put_events(&frames, 1, 3);
	save_way("frame", "events", 0, tb_buf_span(&frames));
	save_way("frame", "events-right", 1, tb_buf_span(&frames));
	tb_frame_write(&frames, &(tb_frame){ .kind = TB_KIND_HEARTBEAT, .count = 1 });
	put_events(&frames, 4, 2);
	save_way("frame", "three", 0, tb_buf_span(&frames));
	save_way("frame", "three-right", 1, tb_buf_span(&frames));

	static const uint8_t head[] = { 4, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 2, 1, 3 };
	tb_buf_append(&segment, head, sizeof(head)); /* 5..9, of which 6 and 8 are rejected */
	put_events(&segment, 5, 2);
	put_events(&segment, 7, 3);
	save("segment", "two-frames", tb_buf_span(&segment));
	tb_buf_clear(&segment);
	static const uint8_t short_head[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	tb_buf_append(&segment, short_head, sizeof(short_head));
	put_events(&segment, 1, 1);
	save("segment", "one-event", tb_buf_span(&segment));
}

/* ---- messages: every field of a message filled in, whatever it is */

static void fill(ProtobufCMessage *message, int depth);

static void fill_value(const ProtobufCFieldDescriptor *field, void *value, int depth)
{
	static uint8_t bytes[32] = "thirty-two bytes of some content";
	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		*(char **)value = (char *)(uintptr_t) (depth % 2 ? "orbit" : "book");
		break;
	case PROTOBUF_C_TYPE_BYTES:
		*(ProtobufCBinaryData *)value = (ProtobufCBinaryData){ field->id % 2 ? 16 : 32, bytes };
		break;
	case PROTOBUF_C_TYPE_MESSAGE: {
		const ProtobufCMessageDescriptor *inner = field->descriptor;
		ProtobufCMessage *part = tb_arena_alloc(arena, inner->sizeof_message);
		protobuf_c_message_init(inner, part);
		fill(part, depth + 1);
		*(ProtobufCMessage **)value = part;
		break;
	}
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)value = 1;
		break;
	case PROTOBUF_C_TYPE_UINT32:
		*(uint32_t *)value = field->id;
		break;
	default:
		*(uint64_t *)value = field->id * UINT64_C(1000);
		break;
	}
}

static size_t value_size(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_UINT32:
		return sizeof(uint32_t);
	default:
		return 8;
	}
}

static void fill(ProtobufCMessage *message, int depth)
{
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		uint8_t *at = (uint8_t *)message + field->offset;
		if (field->label != PROTOBUF_C_LABEL_REPEATED) {
			fill_value(field, at, depth);
			continue;
		}
		size_t size = value_size(field);
		uint8_t *values = tb_arena_alloc(arena, 2 * size);
		fill_value(field, values, depth);
		fill_value(field, values + size, depth + 1);
		*(void **)at = values;
		*(size_t *)((uint8_t *)message + field->quantifier_offset) = 2;
	}
}

/* In the order of the rows in control.c. */
static const ProtobufCMessageDescriptor *const messages[] = {
	&tb__hello_request__descriptor, &tb__hello_reply__descriptor, &tb__put_request__descriptor,
	&tb__put_reply__descriptor, &tb__take_request__descriptor, &tb__take_reply__descriptor,
	&tb__fetch_request__descriptor, &tb__fetch_reply__descriptor, &tb__stat_request__descriptor,
	&tb__stat_reply__descriptor, &tb__heartbeat__descriptor, &tb__durable__descriptor, &tb__cut__descriptor,
	&tb__chunk__descriptor, &tb__sealed__descriptor, &tb__manifest_frame__descriptor, &tb__stored__descriptor,
	&tb__order__descriptor, &tb__announce__descriptor, &tb__health__descriptor, &tb__finish__descriptor,
	&tb__lease__descriptor, &tb__epoch__descriptor, &tb__checkpoint__descriptor, &tb__manifest__descriptor,
	&tb__manifest_private__descriptor, &tb__backup_ready__descriptor, &tb__pending_segment__descriptor,
	&tb__ask__descriptor, &tb__present__descriptor,
};

static void make_messages(void)
{
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		const ProtobufCMessageDescriptor *descriptor = messages[i];
		ProtobufCMessage *message = tb_arena_alloc(arena, descriptor->sizeof_message);
		protobuf_c_message_init(descriptor, message);
		fill(message, 0);
		uint8_t *bytes = tb_arena_alloc(arena, protobuf_c_message_get_packed_size(message));
		char name[64];
		snprintf(name, sizeof(name), "%02zu-%s", i, descriptor->short_name);
		save_way("control", name, (unsigned)i, tb_span_of(bytes, protobuf_c_message_pack(message, bytes)));
	}
}

/* ---- store */

static void make_chunks(void)
{
	tb_chunker chunk = { 0 };
	static const char *const keys[] = { "", "a", "cash", "order:000017", "order:000018", "position:BTC" };
	for (size_t i = 1; i < sizeof(keys) / sizeof(keys[0]); i++) {
		tb_chunker_add(&chunk, tb_span_text(keys[i]), tb_span_text(keys[i - 1]));
		char name[32];
		snprintf(name, sizeof(name), "%zu-entries", i);
		save("chunk", name, tb_buf_span(&chunk.content));
	}
	static uint8_t large[200];
	tb_chunker_add(&chunk, tb_span_text("quote"), tb_span_of(large, sizeof(large)));
	save("chunk", "large-value", tb_buf_span(&chunk.content));
	tb_chunker_drop(&chunk);
}

/* As a collector puts one, and with its content before the rest. */
static void make_chunk_body(void)
{
	static uint8_t content[300], plan[16] = "the plan's id...", period[40] = "the period's record";
	tb_auto(tb_buf_drop) tb_buf body = { 0 }, turned = { 0 };
	Tb__Chunk chunk = TB__CHUNK__INIT;
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)(i * 7);
	chunk.stream = (char *)(uintptr_t)"book";
	chunk.backup = (char *)(uintptr_t)"FUL_20260102T030405Z_0123456789abcdef";
	chunk.plan = fuzz_binary(plan, sizeof(plan));
	chunk.index = 300;
	chunk.content = fuzz_binary(content, sizeof(content));
	chunk.period = fuzz_binary(period, sizeof(period));
	tb_buf_reserve(&body, tb__chunk__get_packed_size(&chunk));
	body.size = tb__chunk__pack(&chunk, body.data);
	save("chunk_body", "whole", tb_buf_span(&body));
	tb_buf_print(&turned, "\x2a\x05""first");
	tb_buf_append_span(&turned, tb_buf_span(&body));
	save("chunk_body", "twice", tb_buf_span(&turned));
	chunk.content.len = 0;
	body.size = tb__chunk__pack(&chunk, body.data);
	save("chunk_body", "empty", tb_buf_span(&body));
}

static void make_objects(void)
{
	tb_sealer *sealer = tb_sealer_new(3);
	tb_auto(tb_buf_drop) tb_buf object = { 0 }, inner = { 0 };
	uint8_t name[TB_OBJECT_NAME], packed[256];
	tb_span plain = tb_span_text("ghost orbit flip ghost orbit flip ghost orbit flip ghost orbit flip ghost orbit flip");
	hold(tb_seal(sealer, TB_CONTENT_CHUNK, plain, &fuzz_keys.period, &object, name, NULL) == TB_OK);
	save_way("object", "whole-packed", 0, tb_buf_span(&object));
	hold(tb_seal(sealer, TB_CONTENT_SEGMENT, tb_span_text("short"), &fuzz_keys.period, &object, name, NULL) == TB_OK);
	save_way("object", "whole-plain", 0, tb_buf_span(&object));
	size_t packed_size = ZSTD_compress(packed, sizeof(packed), plain.data, plain.size, 3);
	uint8_t head[7] = { 2, 1, 1, (uint8_t)plain.size };
	tb_buf_append(&inner, head, sizeof(head));
	tb_buf_append(&inner, packed, packed_size);
	save_way("object", "inside-packed", 1, tb_buf_span(&inner));
	tb_buf_clear(&inner);
	head[0] = 3, head[2] = 0;
	tb_buf_append(&inner, head, sizeof(head));
	tb_buf_append_span(&inner, plain);
	save_way("object", "inside-plain", 1, tb_buf_span(&inner));
	save_way("object", "to-seal", 2, plain);
	tb_sealer_free(sealer);
}

static Tb__Manifest *manifest_of(const char *type, const char *id, size_t objects)
{
	static uint8_t bytes[TB_OBJECT_HEAD + 40] = "bytes";
	Tb__Manifest *manifest = tb_arena_alloc(arena, sizeof(*manifest));
	tb__manifest__init(manifest);
	manifest->format = TB_MANIFEST_FORMAT;
	manifest->repository = fuzz_binary(fuzz_keys.repository, TB_REPOSITORY_ID);
	manifest->stream = (char *)(uintptr_t)"book";
	manifest->type = (char *)(uintptr_t)type;
	manifest->backup = (char *)(uintptr_t)id;
	manifest->chain = 2;
	manifest->before = fuzz_binary(bytes, TB_HASH_SIZE);
	manifest->from = 5;
	manifest->to = 17;
	manifest->time_to_ns = TIME;
	manifest->period = fuzz_binary(fuzz_keys.period.id, TB_PERIOD_ID);
	manifest->private_box = fuzz_binary(bytes, sizeof(bytes));
	manifest->n_objects = objects;
	manifest->objects = tb_arena_alloc(arena, objects * sizeof(*manifest->objects));
	for (size_t i = 0; i < objects; i++) {
		Tb__ObjectRef *object = manifest->objects[i] = tb_arena_alloc(arena, sizeof(*object));
		tb__object_ref__init(object);
		object->name = fuzz_binary(bytes, TB_OBJECT_NAME);
		object->size_stored = 400;
		object->size_plain = 1000;
	}
	return manifest;
}

static void save_manifest(const char *name, const Tb__Manifest *manifest)
{
	tb_auto(tb_buf_drop) tb_buf file = { 0 };
	uint8_t hash[TB_HASH_SIZE];
	char both[64];
	hold(tb_manifest_write(manifest, fuzz_keys.collector, &file, hash, NULL) == TB_OK);
	snprintf(both, sizeof(both), "file-%s", name);
	save_way("manifest", both, 0, tb_buf_span(&file));
	snprintf(both, sizeof(both), "message-%s", name);
	save_way("manifest", both, 1, tb_span_of(file.data + 16, file.size - 16 - 144 - 64));
}

static void make_manifests(void)
{
	static uint64_t rejected[] = { 6, 9, 17 };
	Tb__Manifest *segment = manifest_of("SEGMENT", "SEG_20260102T030405Z_0123456789abcdef", 1);
	segment->rejected = rejected;
	segment->n_rejected = 3;
	save_manifest("segment", segment);
	save_manifest("full", manifest_of("FULL", "FUL_20260102T030405Z_0123456789abcdef", 3));
	Tb__Manifest *first = manifest_of("FULL", "FUL_20260102T030405Z_ffffffffffffffff", 0);
	first->chain = 1;
	first->before.len = first->private_box.len = 0;
	first->from = 1, first->to = 0;
	save_manifest("first", first);

	tb_auto(tb_buf_drop) tb_buf file = { 0 };
	tb_head head = { .stream = "book", .chain = 3, .last = 17, .made_ns = TIME };
	hold(tb_head_write(&head, fuzz_keys.collector, &file, NULL) == TB_OK);
	save_way("manifest", "head-file", 2, tb_buf_span(&file));
	save_way("manifest", "head-body", 3, tb_span_of(file.data, 216));
	static const struct text_seed texts[] = {
		{ "path", 4, "manifests/book/00000000000000000017-FUL-FUL_20260102T030405Z_0123456789abcdef" },
		{ "path-highest", 4, "manifests/a.b-c_d/18446744073709551615-SEG-SEG_20260102T030405Z_0123456789abcdef" },
		{ "path-too-high", 4, "manifests/book/18446744073709551616-SEG-SEG_20260102T030405Z_0123456789abcdef" },
		{ "id", 5, "INC_20260102T030405Z_0123456789abcdef" },
		{ "type", 5, "full" },
	};
	SAVE_TEXTS("manifest", texts);
}

static void save_key(const char *name, unsigned way, const tb_key *key)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	char path[] = "/tmp/tb-corpus-XXXXXX";
	int fd = mkstemp(path);
	hold(fd >= 0);
	close(fd);
	unlink(path);
	hold(tb_key_write(tb_disk_system(), path, key, NULL) == TB_OK);
	hold(tb_disk_read_file(tb_disk_system(), path, 4096, &text, NULL) == TB_OK);
	unlink(path);
	save_way("keys", name, way, tb_buf_span(&text));
	char right[64];
	snprintf(right, sizeof(right), "%s-right", name);
	save_way("keys", right, 3, tb_span_of(text.data, (size_t)(strstr(tb_buf_text(&text), "check: ") - (char *)text.data)));
}

static void make_keys(void)
{
	tb_auto(tb_buf_drop) tb_buf kit = { 0 }, text = { 0 };
	const struct fuzz_keys *keys = &fuzz_keys;
	save_key("instance", 0, keys->instance);
	save_key("collector", 1, keys->collector);
	save_key("identity", 2, keys->identity);
	tb_key_kit(keys->identity, "/var/tb/repository", &kit);
	save_way("keys", "kit", 2, tb_buf_span(&kit));
	tb_buf_print(&text, "tradebank-instance 1\ninstance: ");
	tb_buf_hex(&text, tb_key_public(keys->instance), TB_PUBLIC_KEY);
	tb_buf_print(&text, "\nrepository: ");
	tb_buf_hex(&text, keys->repository, TB_REPOSITORY_ID);
	tb_buf_print(&text, "\n");
	save_way("keys", "public", 4, tb_buf_span(&text));
	save_way("keys", "period", 5, tb_span_of(keys->record, TB_PERIOD_RECORD));
	save_way("keys", "period-signed", 6, tb_span_of(keys->record, TB_PERIOD_RECORD - TB_SIGNATURE));
	save_way("keys", "certificate", 7, tb_span_of(tb_key_certificate(keys->collector), TB_CERTIFICATE - TB_SIGNATURE));
	save_way("keys", "wrap", 8, tb_buf_span(&keys->wrap));
	save_way("keys", "wrap-made", 9, tb_span_of(keys->record, 120));
	static const struct text_seed texts[] = {
		{ "repository", 10, "{\"format\":1,\"id\":\"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\"}\n" },
		{ "repository-newer", 10, "{\"format\":2,\"id\":\"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\"}\n" },
	};
	SAVE_TEXTS("keys", texts);
}

/* What stands in a file in PEM. */
static void unarmour(const char *text, tb_buf *to)
{
	char *name, *head;
	uint8_t *bytes;
	long size;
	BIO *bio = BIO_new_mem_buf(text, -1);
	hold(PEM_read_bio(bio, &name, &head, &bytes, &size) == 1);
	tb_buf_append(to, bytes, (size_t)size);
	OPENSSL_free(name);
	OPENSSL_free(head);
	OPENSSL_free(bytes);
	BIO_free_all(bio);
}

static void make_hosts(void)
{
	static const struct {
		const char *name, *text;
	} files[] = { { "ca.crt", fuzz_ca_crt }, { "host.crt", fuzz_host_crt }, { "host.key", fuzz_host_key } };
	for (unsigned i = 0; i < 3; i++) {
		tb_auto(tb_buf_drop) tb_buf inside = { 0 };
		char name[32];
		unarmour(files[i].text, &inside);
		save_way("hosts", files[i].name, i, tb_span_text(files[i].text));
		snprintf(name, sizeof(name), "%s-inside", files[i].name);
		save_way("hosts", name, 3 + i, tb_buf_span(&inside));
		if (files[i].text == fuzz_host_crt)
			save_way("hosts", "host.crt-signed", 6 + i, tb_buf_span(&inside));
	}
}

/* ---- texts */

static void make_texts(void)
{
	static const struct text_seed texts[] = {
		{ "time", 0, "2026-01-02T03:04:05.123456789Z" },
		{ "time-offset", 0, "2024-02-29T23:59:60+05:30" },
		{ "time-number", 0, "1767323045123456789" },
		{ "count", 1, "18446744073709551615" },
		{ "size", 2, "64MiB" },
		{ "size-of-ten", 2, "3GB" },
		{ "span", 3, "250us" },
		{ "span-years", 3, "2y" },
		{ "stream", 6, "book.spot_BTC-1" },
		{ "tier", 6, "objects/ab/abcdef" },
		{ "tier-up", 6, "objects/../x" },
		{ "address-path", 7, "ipc:///run/tb/a#b/broker.ipc" },
		{ "address-loopback", 7, "tcp://127.0.0.1:7401" },
		{ "address-ipv6", 7, "tcp://[::1]:7401" },
		{ "address-unprotected", 7, "tcp://10.0.0.1:7401#unprotected" },
		{ "address-open", 7, "tcp://10.0.0.1:7401" },
		{ "address-secured", 7, "tls+tcp://box2.example:7401#/etc/tradebank/host" },
		{ "hash", 6, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\0\x08" },
	};
	SAVE_TEXTS("text", texts);
	save_way("text", "names", 4, tb_span_of("journal.limit\0journal-limits", 28));
	static const char args[] = "--journal-limit=2GiB\0--dir\0/var/tb\0-h\0--\0operand";
	save_way("text", "args", 5, tb_span_of(args, sizeof(args)));
}

static void make_options(void)
{
	tb_auto(tb_buf_drop) tb_buf sample = { 0 };
	tb_config_sample(&sample);
	save("options", "sample", tb_span_of(sample.data, sample.size < 3000 ? sample.size : 3000));
	static const char *const files[] = {
		"journal:\n  limit: 4GiB\n  keep: 1h\nlease: 10s\n",
		"# nothing\n",
		"journal: {limit: 4GiB, keep: '2h'}\nseal:\n  level: 3\n",
		"a:\n  - list\n",
		"journal:\n  limit: lots\n",
		"journal: &x\n  limit: 4GiB\nother: *x\n",
		"---\njournal:\n---\nx: y\n",
		"journal:\n  limit: 4GiB\n  limit: 5GiB\n",
	};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char name[32];
		snprintf(name, sizeof(name), "file-%zu", i);
		save("options", name, tb_span_text(files[i]));
	}
}

static void make_questions(void)
{
	static const char *const questions[] = {
		"{}",
		"{\"topic\":\"BACKUP_READY\",\"stream\":\"book\",\"since\":17,\"wait_ms\":30000}",
		"{\"backup\":\"FUL_20260102T030405Z_0123456789abcdef\",\"limit\":1}",
		"{\"since\":3}",
		"{\"since\":-1}",
		"[1,2",
	};
	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		char name[32];
		snprintf(name, sizeof(name), "%zu", i);
		save("question", name, tb_span_text(questions[i]));
	}
	static const struct text_seed inputs[] = {
		{ "notes", 0, "{\"inputs\":[{\"begins\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\","
		              "\"size\":65536,\"lines\":17,\"first\":0},{\"begins\":"
		              "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\",\"size\":5,\"lines\":0,"
		              "\"first\":4}]}\n" },
		{ "notes-none", 0, "{\"inputs\":[]}" },
		{ "ends", 2, "{\"ends\":[{\"name\":\"sealer-1\",\"times\":3,\"how\":\"ended with exit code 6\",\"hint\":\"chmod\","
		             "\"until\":4102444800000000000},{\"name\":\"storer\",\"times\":2,\"how\":\"was killed\","
		             "\"hint\":\"\",\"until\":1700000000000000000}]}\n" },
		{ "ends-none", 2, "{\"ends\":[]}" },
		{ "lines", 1, "\x09 one\n\n  \ntwo two two two two two two two\nlast" },
	};
	SAVE_TEXTS("input", inputs);
	static const char lines[] = "\x05\0one\nlonger than five\n\nend\n";
	save_way("input", "lines-short", 1, tb_span_of(lines, sizeof(lines) - 1));
}

/* ---- broker */

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct fuzz_node *)a)->path, ((const struct fuzz_node *)b)->path);
}

static void save_journal(const char *target, const char *name, struct fuzz_disk *disk)
{
	tb_auto(tb_buf_drop) tb_buf seed = { 0 };
	tb_buf_byte(&seed, FUZZ_CHECKS | FUZZ_CHAIN);
	qsort(disk->nodes, FUZZ_FILES, sizeof(disk->nodes[0]), by_path);
	for (size_t i = 0; i < FUZZ_FILES; i++) {
		tb_span bytes = tb_buf_span(&disk->nodes[i].bytes);
		if (disk->nodes[i].path[0] == '\0')
			continue;
		while (bytes.size > 0 && bytes.data[bytes.size - 1] == 0)
			bytes.size--;
		uint8_t size[2];
		tb_put16(size, (uint16_t)bytes.size);
		tb_buf_append(&seed, size, sizeof(size));
		tb_buf_append_span(&seed, bytes);
	}
	save(target, name, tb_buf_span(&seed));
	seed.data[0] = 0;
	char raw[64];
	snprintf(raw, sizeof(raw), "%s-raw", name);
	save(target, raw, tb_buf_span(&seed));
}

static void journal_append(tb_journal *journal, uint64_t first)
{
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	uint64_t offset;
	put_events(&frames, first, 1);
	tb_frame_write(&frames, &(tb_frame){ .kind = TB_KIND_PERIOD, .count = 1, .body = tb_span_text("period") });
	hold(tb_journal_append(journal, tb_buf_span(&frames), 2, TIME, &offset, NULL) == TB_OK);
}

static void make_gaps(void)
{
	static const struct text_seed seeds[] = {
		{ "csv", 0, "time,symbol,open\n2026-01-02 13:05:00,USD/COP,4321.5\n2026-01-02 13:10:00+00:00,\"A, \"\"B\"\"\",1\n" },
		{ "csv-crlf", 0, "\xef\xbb\xbfopen,time\r\n1,2026-03-08T02:30:00\r\n" },
		{ "calendar", 1, "name: A\nzone: America/New_York\ninterval: 5min\nsessions:\n  - days: mon-fri\n    open: \"09:30\"\n"
		                 "    close: \"16:00\"\nholidays:\n  fixed: { 01-01: a }\n  next-monday: { 02-28: b }\n"
		                 "  easter: { -2: c }\n  dates: { 2026-03-04: d }\n" },
		{ "calendar-nights", 1, "zone: UTC\ninterval: 1h\nsessions: [ { days: \"sun, mon-thu\", open: \"17:00\", close: \"16:00\" } ]\n" },
		{ "ics", 2, "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20260302\r\n"
		            "RRULE:FREQ=YEARLY\r\nSUMMARY:a\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:2\r\nDTSTART;VALUE=DATE:20260305\r\n"
		            "DTEND;VALUE=DATE:20260307\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n" },
		{ "time", 3, "2026-01-02 13:05:00.25-05:00" },
		{ "time-naive", 3, "2026-11-01 01:30:00" },
	};
	SAVE_TEXTS("gaps", seeds);
}

static void make_journal(const char *name, int files)
{
	static struct fuzz_disk disk;
	fuzz_disk_init(&disk);
	tb_journal_options options = { .dir = fuzz_dir(), .file_size = FUZZ_JOURNAL_FILE, .disk = &disk.disk,
		                       .new_id = "a journal's id.." };
	tb_auto(tb_buf_drop) tb_buf checkpoint = { 0 };
	tb_journal_opened opened;
	tb_journal *journal;
	tb_frame_write(&checkpoint, &(tb_frame){ .kind = TB_KIND_CHECKPOINT, .count = 1 });
	hold(tb_journal_open(&options, NULL, &journal, &opened, NULL) == TB_OK);
	for (int file = 0; file < files; file++) {
		hold(tb_journal_rotate(journal, tb_buf_span(&checkpoint), TIME, NULL) == TB_OK);
		journal_append(journal, (uint64_t)file * 10 + 1);
		journal_append(journal, (uint64_t)file * 10 + 2);
	}
	tb_journal_close(journal);
	save_journal("journal", name, &disk);
	fuzz_disk_drop(&disk);
}

static void broker_step(void)
{
	hold(tb_broker_commit(fuzz_broker.broker, NULL) == TB_OK);
}

static void broker_hello(const char *stream)
{
	Tb__HelloRequest hello = TB__HELLO_REQUEST__INIT;
	hello.stream = (char *)(uintptr_t)stream;
	hello.outbox = fuzz_id(0);
	hello.renewal = fuzz_id(1);
	hello.take_over = 1;
	fuzz_ask_message(TB_KIND_HELLO, &hello.base, (tb_span){ 0 });
	broker_step();
}

static void broker_put(unsigned group, const char *stream, enum tb_kind kind, const ProtobufCMessage *message)
{
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	Tb__PutRequest put = TB__PUT_REQUEST__INIT;
	uint8_t *body = tb_arena_alloc(arena, protobuf_c_message_get_packed_size(message));
	tb_frame frame = { .kind = (uint16_t)kind, .count = 1, .stream = tb_stream_hash(stream) };
	frame.body = tb_span_of(body, protobuf_c_message_pack(message, body));
	tb_frame_write(&frames, &frame);
	put.group = group;
	put.generation = group != TB_GROUP_NONE ? 1 : 0;
	put.stream = group != TB_GROUP_NONE ? frame.stream : 0;
	put.member = fuzz_id(1);
	const struct fuzz_asker *asker = fuzz_ask_message(TB_KIND_PUT, &put.base, tb_buf_span(&frames));
	broker_step();
	hold(fuzz_answer(asker, &tb__put_reply__descriptor, NULL) != NULL);
}

static void broker_take(unsigned group)
{
	Tb__TakeRequest take = TB__TAKE_REQUEST__INIT;
	take.group = group;
	take.member = fuzz_id(1);
	fuzz_ask_message(TB_KIND_TAKE, &take.base, (tb_span){ 0 });
	broker_step();
}

/* Streams, events, leases, and an order, a cut and a manifest that are open. */
static void make_broker_journal(void)
{
	tb_auto(tb_buf_drop) tb_buf events = { 0 };
	fuzz_broker_begin(FUZZ_JOURNAL_FILE);
	hold(fuzz_broker_open(NULL) == TB_OK);
	save_journal("broker_replay", "new", &fuzz_broker.disk);
	fuzz_broker_close();
	hold(fuzz_broker_open(NULL) == TB_OK);
	broker_hello("book");
	broker_hello("orbit");
	put_events(&events, 1, 2);
	tb_broker_event(fuzz_broker.broker, tb_buf_span(&events));
	broker_step();
	broker_take(TB_GROUP_COLLECTOR);
	broker_take(TB_GROUP_STORER);
	Tb__Order order = TB__ORDER__INIT;
	order.stream = (char *)(uintptr_t)"book";
	order.backup = (char *)(uintptr_t)"FUL_20260102T030405Z_0123456789abcdef";
	broker_put(TB_GROUP_NONE, "book", TB_KIND_ORDER, &order.base);
	Tb__Cut cut = TB__CUT__INIT;
	cut.stream = order.stream;
	cut.from = 1, cut.to = 2;
	broker_put(TB_GROUP_COLLECTOR, "book", TB_KIND_CUT, &cut.base);
	Tb__ManifestFrame manifest = TB__MANIFEST_FRAME__INIT;
	manifest.stream = order.stream;
	manifest.chain = 1;
	broker_put(TB_GROUP_COLLECTOR, "book", TB_KIND_MANIFEST, &manifest.base);
	tb_broker_close(fuzz_broker.broker);
	fuzz_broker.broker = NULL;
	save_journal("broker_replay", "busy", &fuzz_broker.disk);
	fuzz_broker_end();
}

/* Steps of broker.c: 0 hello, 1 events, 2 heartbeat, 3 put, 4 take, 5 fetch, 6 stat, 7 request, 8 event, 9 bytes,
 * 10 commit, 11 time, 12 restart. */
static void make_broker_steps(void)
{
	static const uint8_t publishing[] = { 0, 0, 2, 10, 0, 0, 34, 1, 0, 0, 65, 10, 6, 1, 0, 64, 66, 1, 0, 1, 1, 67, 10, 6, 2, 0,
		                              1, 0, 10, 5, 0, 1, 1, 5, 0, 10, 0, 200, 0, 11, 5, 12, 1, 6, 5, 0, 1, 1 };
	static const uint8_t working[] = { 0, 0, 34, 1, 0, 64, 65, 10, 6, 4, 1, 0, 0, 4, 1, 32, 0, 0, 1, 0, 0, 0, 0, 0,
		                           3, 1, 67, 0, 0, 0, 0, 1, 0, 4, 2, 0, 1, 4, 2, 0, 1, 3, 2, 17, 0, 1, 0,
		                           3, 1, 75, 0, 0, 0, 1, 0, 1, 0, 4, 3, 0, 2, 4, 3, 0, 2, 6, 12, 0, 4, 2, 0, 1, 6 };
	static const uint8_t orders[] = { 0, 0, 34, 1, 0, 64, 65, 10, 6, 3, 0, 64, 0, 2, 0, 'F', 'U', 'L', 0, 4, 1, 0, 0,
		                          4, 1, 32, 0, 0, 1, 0, 0, 0, 0, 3, 1, 67, 0, 0, 3, 0, 1, 2, 4, 2, 0, 1, 11, 110,
		                          4, 1, 4, 1, 20, 11, 30, 3, 0, 64, 0, 4, 'B', 'A', 'C', 'K', 0, 6 };
	static const uint8_t nonsense[] = { 7, 0, 3, 10, 1, 'x', 0, 8, 3, 1, 2, 3, 9, 4, 'T', 'B', 'F', '1', 7, 2, 2, 8, 1, 0,
		                            7, 3, 0, 0, 6, 12, 0, 6 };
	/* events of each flag, and an outbox that comes again with what it knows, from this journal and from another */
	static const uint8_t places[] = {
		0, 0, 34, 1, 0, 0, 10, 10, 6, 1, 0, 16, 130, 10, 6, 1, 0, 0, 70, 10, 6, 1, 0, 0, 200, 10, 6,
		0, 0, 0xb2, 253, 5, 255, 255, 1, 1, 0, 0, 9, 10, 6, 5, 0, 1, 1, /* the same: 2..7, of which 5 and 6 may have come */
		0, 0, 0xb3, 1, 2, 255, 0, 1, 1, 0, 0, 9, 10, 6, 5, 0, 1, 1, /* another one of this journal, delivered */
		12, 1, 0, 0, 0xf2, 254, 4, 1, 254, 0, 2, 1, 0, 0, 70, 10, /* the first again, moved, of another journal */
		0, 0, 0xb3, 0, 2, 255, 254, 1, 5, 0, 1, 1, 6 }; /* the other one again, behind what has come of it: renewed */
	/* an order that is finished under the lease of another stream than its own */
	static const uint8_t elsewhere[] = { 0, 0, 0, 0, 10, 6, 3, 0, 64, 54, 2, 0, 76, 0, 4, 1, 0, 0, 4, 1, 32, 0,
		                             0, 1, 83, 83, 6, 2, 55, 55, 55, 55, 0, 0, 0, 70, 0, 4, 1, 0, 0, 4, 1, 32 };
	static uint8_t filling[240]; /* large frames of events until the journal is at its limit */
	size_t at = 0;
	filling[at++] = 0, filling[at++] = 0, filling[at++] = 34;
	while (at + 6 < sizeof(filling)) {
		filling[at++] = 1, filling[at++] = 0, filling[at++] = 0xf4, filling[at++] = 'y';
		filling[at++] = 10, filling[at++] = 6;
	}
	save("broker", "publishing", tb_span_of(publishing, sizeof(publishing)));
	save("broker", "working", tb_span_of(working, sizeof(working)));
	save("broker", "elsewhere", tb_span_of(elsewhere, sizeof(elsewhere)));
	save("broker", "places", tb_span_of(places, sizeof(places)));
	save("broker", "orders", tb_span_of(orders, sizeof(orders)));
	save("broker", "nonsense", tb_span_of(nonsense, sizeof(nonsense)));
	save("broker", "filling", tb_span_of(filling, at));
}

/* ---- bus */

static void save_outbox(const char *name, unsigned bits, const char *path)
{
	tb_auto(tb_buf_drop) tb_buf file = { 0 }, seed = { 0 };
	hold(tb_disk_read_file(tb_disk_system(), path, 1u << 20, &file, NULL) == TB_OK);
	memset(file.data + 8, 'i', 16); /* its id and the time that it was made at are of chance */
	memset(file.data + 32, 't', 8);
	tb_buf_append(&seed, file.data, 248);
	tb_buf_append(&seed, file.data + 4096, 48);
	tb_buf_append(&seed, file.data + 4608, 48);
	tb_buf_append(&seed, file.data + 5120, 16);
	tb_buf_append(&seed, file.data + 8192, 600);
	save_way("outbox", name, bits, tb_buf_span(&seed));
}

/* The second begins a reset that the fourth commits. */
static void accept_events(tb_outbox *outbox, unsigned count)
{
	uint8_t *payload;
	for (unsigned i = 0; i < count; i++) {
		hold(tb_outbox_reserve(outbox, 11 + i * 20, &payload, NULL) == TB_OK);
		memset(payload, (int)i, 11 + i * 20);
		tb_outbox_commit(outbox, 11 + i * 20, i == 1 ? TB_RESET_BEGIN : i == 3 ? TB_RESET_COMMIT : TB_RESET_NONE);
	}
}

static void make_outbox(void)
{
	static const uint8_t boot[16] = "this boot.......";
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_outbox *outbox;
	tb_outbox_opened opened;
	tb_buf_print(&path, "%s/outbox", fuzz_dir());
	const char *name = tb_buf_text(&path);
	hold(tb_outbox_open(name, "book", 65536, boot, &outbox, &opened, NULL) == TB_OK);
	save_outbox("new", 1, name);
	accept_events(outbox, 5);
	save_outbox("five", 3, name);
	save_outbox("five-other-boot", 7, name);
	hold(tb_outbox_settle(outbox, &(tb_outbox_terms){ 3, 1, 1, boot, NULL }, NULL) == TB_OK);
	tb_outbox_mark(outbox, 4, 2);
	save_outbox("settled", 3, name);
	tb_outbox_mark(outbox, 5, 5);
	save_outbox("all-stored", 1, name);
	accept_events(outbox, 2);
	hold(tb_outbox_settle(outbox, &(tb_outbox_terms){ 4, 20, 7, boot, NULL }, NULL) == TB_OK);
	save_outbox("moved", 3, name);
	tb_outbox_close(outbox);
	unlink(name);
}

/* Steps of pump.c: 0 accept, 1 hear, 2 hear bytes, 3 hello, 4 send, 5 time. */
static void make_pump(void)
{
	static const uint8_t plain[] = { 3, 3, 0, 1, 0, 4, 1, 5, 1, 4, 7, 1, 0, 0, 0, 0, 1, 5, 4, 0, 1, 4, 3, 1, 4, 1, 0, 0, 0, 5, 40, 4, 7 };
	static const uint8_t losing[] = { 6, 3, 0, 1, 0, 4, 7, 1, 8, 1, 1, 5, 20, 4, 7, 5, 200, 4, 7, 1, 16, 1, 0, 5, 1, 3, 0, 1, 0, 4, 7,
		                          5, 255, 5, 255, 4, 1, 3, 1, 3, 5, 60, 3, 0, 1, 1 };
	static const uint8_t rebooted[] = { 27, 3, 0, 0, 0, 4, 7, 0, 9, 5, 3, 4, 2, 1, 4, 1, 0, 1, 1, 5, 9 };
	static const uint8_t knowing[] = { 0, 3, 8, 5, 0, 0, 0, 0, 0, 0, 0, 0, 3, 5, 3, 4, 7, 2, 3, 8, 1, 24, 0 };
	/* two, a begin and one inside, opened again: one, a begin, one inside, the commit, one */
	static const uint8_t resetting[] = { 12, 1, 2, 65, 3, 0, 4, 0, 66, 0, 4, 0, 130, 0, 5, 3, 0, 1, 0, 0, 1, 4, 7, 5, 40, 4, 7 };
	save("pump", "resetting", tb_span_of(resetting, sizeof(resetting)));
	save("pump", "plain", tb_span_of(plain, sizeof(plain)));
	save("pump", "losing", tb_span_of(losing, sizeof(losing)));
	save("pump", "rebooted", tb_span_of(rebooted, sizeof(rebooted)));
	save("pump", "knowing", tb_span_of(knowing, sizeof(knowing)));
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: make-corpus DIRECTORY\n");
		return 2;
	}
	corpus = argv[1];
	mkdir(corpus, 0755);
	arena = tb_arena_new();
	fuzz_keys_get();
	make_events();
	make_frames();
	make_messages();
	make_chunks();
	make_chunk_body();
	make_objects();
	make_manifests();
	make_keys();
	make_hosts();
	make_texts();
	make_options();
	make_questions();
	make_gaps();
	make_journal("one", 1);
	make_journal("three", 3);
	make_broker_journal();
	make_broker_steps();
	make_outbox();
	make_pump();
	tb_arena_free(arena);
	return 0;
}
