/* Manifests and heads. The first byte: 0 a manifest's file, 1 its message, which is signed here, 2 a head's file, 3 its
 * body, which is signed here, 4 the path of a manifest, 5 the id of a backup. What is read can be written again and reads
 * the same. */
#include "fuzz/fuzz_keys.h"

#include "store/manifest.h"

static tb_arena *arena;

static void sign(tb_buf *file)
{
	uint8_t signature[TB_SIGNATURE];
	tb_buf_append(file, tb_key_certificate(fuzz_keys.collector), TB_CERTIFICATE);
	tb_key_sign(fuzz_keys.collector, tb_buf_span(file), signature);
	tb_buf_append(file, signature, sizeof(signature));
}

/* What is read with a key is read without one as well. */
static void peek(tb_span file, int is_read)
{
	Tb__Manifest *manifest;
	tb_err err;
	tb_rc rc = tb_manifest_peek(file, arena, &manifest, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	hold(rc == TB_OK ? manifest->chain > 0 && tb_backup_id_valid(manifest->backup) : !is_read);
}

static void read_manifest(tb_span file)
{
	tb_auto(tb_buf_drop) tb_buf again = { 0 };
	Tb__Manifest *manifest, *same;
	uint8_t hash[TB_HASH_SIZE];
	const uint8_t *instance = tb_key_public(fuzz_keys.instance);
	tb_err err;
	tb_rc rc = tb_manifest_read(file, instance, fuzz_keys.repository, arena, &manifest, &err);
	peek(file, rc == TB_OK);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		return;
	}
	hold(tb_manifest_write(manifest, fuzz_keys.collector, &again, hash, &err) == TB_OK);
	hold(tb_manifest_read(tb_buf_span(&again), instance, fuzz_keys.repository, arena, &same, &err) == TB_OK);
	hold(same->to == manifest->to && same->n_objects == manifest->n_objects);
	char path[TB_MANIFEST_PATH], stream[130], id[TB_BACKUP_ID];
	const tb_backup_type *type;
	uint64_t last;
	tb_manifest_path(manifest->stream, manifest->to, manifest->type, manifest->backup, path);
	hold(tb_manifest_path_parse(path, stream, &last, &type, id));
	hold(last == manifest->to && strcmp(stream, manifest->stream) == 0 && strcmp(id, manifest->backup) == 0 &&
	     strcmp(type->name, manifest->type) == 0);
}

static void read_message(tb_span message)
{
	tb_auto(tb_buf_drop) tb_buf file = { 0 };
	uint8_t head[16] = "TBMANIF\1";
	tb_put32(head + 8, (uint32_t)message.size);
	tb_buf_append(&file, head, sizeof(head));
	tb_buf_append_span(&file, message);
	sign(&file);
	read_manifest(tb_buf_span(&file));
}

static void read_head(tb_span file)
{
	tb_auto(tb_buf_drop) tb_buf again = { 0 };
	tb_head head, same;
	const uint8_t *instance = tb_key_public(fuzz_keys.instance);
	tb_err err;
	tb_rc rc = tb_head_read(file, instance, fuzz_keys.repository, &head, &err);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		return;
	}
	hold(tb_head_write(&head, fuzz_keys.collector, &again, &err) == TB_OK);
	hold(tb_head_read(tb_buf_span(&again), instance, fuzz_keys.repository, &same, &err) == TB_OK);
	hold(same.chain == head.chain && same.last == head.last && strcmp(same.stream, head.stream) == 0);
}

static void read_head_body(tb_span body)
{
	tb_auto(tb_buf_drop) tb_buf file = { 0 };
	tb_buf_append_span(&file, fuzz_take_bytes(&body, 216));
	while (file.size < 216)
		tb_buf_byte(&file, 0);
	memcpy(file.data, "TBHEAD\0", 7);
	memcpy(file.data + 64, fuzz_keys.repository, TB_REPOSITORY_ID);
	sign(&file);
	read_head(tb_buf_span(&file));
}

static void parse_path(tb_span input)
{
	char path[600], again[TB_MANIFEST_PATH], stream[130], id[TB_BACKUP_ID];
	const tb_backup_type *type;
	uint64_t last;
	fuzz_take_text(&input, path, sizeof(path));
	if (!tb_manifest_path_parse(path, stream, &last, &type, id))
		return;
	tb_manifest_path(stream, last, type->name, id, again);
	hold(strcmp(path, again) == 0);
}

static void judge_id(tb_span input)
{
	char id[200];
	fuzz_take_text(&input, id, sizeof(id));
	if (tb_backup_id_valid(id))
		hold(strlen(id) < TB_BACKUP_ID);
	const tb_backup_type *type = tb_backup_type_find(id);
	if (type != NULL) {
		tb_backup_id(type, fuzz_take(&input, 8), id);
		hold(tb_backup_id_valid(id));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const ways[])(tb_span input) = { read_manifest, read_message, read_head, read_head_body, parse_path,
		                                       judge_id };
	tb_span input = tb_span_of(data, size);
	arena = arena ? arena : tb_arena_new();
	fuzz_keys_get();
	ways[fuzz_take(&input, 1) % (sizeof(ways) / sizeof(ways[0]))](input);
	tb_arena_reset(arena);
	return 0;
}
