#include "store/manifest.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "wire/frame.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t manifest_magic[8] = { 'T', 'B', 'M', 'A', 'N', 'I', 'F', TB_MANIFEST_FORMAT };
static const uint8_t head_magic[8] = { 'T', 'B', 'H', 'E', 'A', 'D', 0, TB_MANIFEST_FORMAT };
enum { AT_SIZE = 8, AT_ZERO = 12, AT_MESSAGE = 16 };
enum { AT_CHAIN = 8, AT_LAST = 16, AT_HASH = 24, AT_MADE = 56, AT_REPOSITORY = 64, AT_NAME_SIZE = 80, AT_NAME = 82,
       HEAD_BODY = 216 };
#define STREAM_MAX 128
#define SEAL_SIZE (TB_CERTIFICATE + TB_SIGNATURE)

_Static_assert(HEAD_BODY + SEAL_SIZE == TB_HEAD_SIZE, "certificate and signature end the head");

static const tb_backup_type types[] = {
	{ "FULL", "FUL", "full" },
	{ "INCREMENTAL", "INC", "incremental" },
	{ "DIFFERENTIAL", "DIF", "differential" },
	{ "SNAPSHOT", "SNA", "snapshot" },
	{ "EMERGENCY", "EME", "emergency" },
	{ "SEGMENT", "SEG", "segment" },
};
#define TYPES (sizeof(types) / sizeof(types[0]))

const tb_backup_type *tb_backup_type_find(const char *name_prefix_or_word)
{
	for (size_t i = 0; i < TYPES; i++)
		if (strcmp(name_prefix_or_word, types[i].name) == 0 || strcmp(name_prefix_or_word, types[i].prefix) == 0 ||
		    strcmp(name_prefix_or_word, types[i].word) == 0)
			return &types[i];
	return NULL;
}

/* Ids */

void tb_backup_id(const tb_backup_type *type, uint64_t now_ns, char ret_id[TB_BACKUP_ID])
{
	char time[TB_TIME_TEXT_SIZE], chance[17];
	uint8_t bytes[8];
	tb_time_text(time, now_ns);
	randombytes_buf(bytes, sizeof(bytes));
	tb_hex(chance, bytes, sizeof(bytes));
	snprintf(ret_id, TB_BACKUP_ID, "%s_%.4s%.2s%.2sT%.2s%.2s%.2sZ_%s", type->prefix, time, time + 5, time + 8,
	         time + 11, time + 14, time + 17, chance);
}

int tb_backup_id_valid(const char *id)
{
	static const char shape[] = "AAA_00000000T000000Z_xxxxxxxxxxxxxxxx";
	if (strnlen(id, sizeof(shape)) != sizeof(shape) - 1)
		return 0;
	char prefix[4] = { id[0], id[1], id[2], '\0' };
	if (tb_backup_type_find(prefix) == NULL)
		return 0;
	for (size_t i = 3; i < sizeof(shape) - 1; i++) {
		int digit = id[i] >= '0' && id[i] <= '9';
		int hex = digit || (id[i] >= 'a' && id[i] <= 'f');
		int good = shape[i] == '0' ? digit : shape[i] == 'x' ? hex : id[i] == shape[i];
		if (!good)
			return 0;
	}
	return 1;
}

/* Paths */

void tb_manifest_path(const char *stream, uint64_t last, const char *type, const char *id, char ret_path[TB_MANIFEST_PATH])
{
	const tb_backup_type *row = tb_backup_type_find(type);
	snprintf(ret_path, TB_MANIFEST_PATH, "manifests/%.128s/%020llu-%s-%.47s", stream, (unsigned long long)last,
	         row ? row->prefix : "", id);
}

void tb_head_path(const char *stream, uint64_t chain, char ret_path[TB_MANIFEST_PATH])
{
	snprintf(ret_path, TB_MANIFEST_PATH, "heads/%.128s/%020llu", stream, (unsigned long long)chain);
}

/* Twenty digits that fit. */
static int parse_number(const char *text, uint64_t *ret_number)
{
	uint64_t number = 0;
	for (int i = 0; i < 20; i++) {
		unsigned digit = (unsigned)text[i] - '0';
		if (digit > 9 || __builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, digit, &number))
			return 0;
	}
	*ret_number = number;
	return 1;
}

int tb_manifest_path_parse(const char *path, char ret_stream[130], uint64_t *ret_last, const tb_backup_type **ret_type,
                           char ret_id[TB_BACKUP_ID])
{
	char stream[STREAM_MAX + 2], again[TB_MANIFEST_PATH];
	uint64_t last;
	const char *name = strrchr(path, '/');
	if (strncmp(path, "manifests/", 10) != 0 || name == NULL || name < path + 10 || name - (path + 10) > STREAM_MAX)
		return 0;
	memcpy(stream, path + 10, (size_t)(name - (path + 10)));
	stream[name - (path + 10)] = '\0';
	name++;
	if (tb_stream_check(stream, NULL) != TB_OK || strnlen(name, 26) < 26 || !parse_number(name, &last))
		return 0;
	const char *id = name + 25;
	if (!tb_backup_id_valid(id))
		return 0;
	const char prefix[4] = { id[0], id[1], id[2], '\0' };
	const tb_backup_type *type = tb_backup_type_find(prefix);
	tb_manifest_path(stream, last, type->name, id, again);
	if (strcmp(again, path) != 0)
		return 0;
	memcpy(ret_stream, stream, strlen(stream) + 1);
	memcpy(ret_id, id, strlen(id) + 1);
	*ret_last = last;
	*ret_type = type;
	return 1;
}

/* Certificate and signature, at the end of both files */

static void put_seal(tb_buf *file, const tb_key *signer)
{
	uint8_t signature[TB_SIGNATURE];
	tb_buf_append(file, tb_key_certificate(signer), TB_CERTIFICATE);
	tb_key_sign(signer, tb_buf_span(file), signature);
	tb_buf_append(file, signature, sizeof(signature));
}

static tb_rc check_seal(tb_span file, const char *what, const uint8_t instance[TB_PUBLIC_KEY],
                        const uint8_t repository[TB_REPOSITORY_ID], tb_err *err)
{
	uint8_t signer[TB_PUBLIC_KEY];
	tb_err why = { 0 };
	tb_span body = { file.data, file.size - TB_SIGNATURE };
	tb_span certificate = { file.data + file.size - SEAL_SIZE, TB_CERTIFICATE };
	tb_rc rc = tb_certificate_check(certificate, instance, repository, signer, &why);
	if (rc == TB_OK)
		rc = tb_signature_check(signer, body, file.data + body.size, &why);
	return rc == TB_OK ? TB_OK : tb_fail(err, rc, "%s refused: %s", what, why.text);
}

static tb_rc check_magic(tb_span file, const uint8_t magic[8], size_t size_min, const char *what, tb_err *err)
{
	if (file.size < size_min)
		return tb_fail(err, TB_ECORRUPT, "not a %s, or cut short: %zu bytes are too few", what, file.size);
	if (memcmp(file.data, magic, 7) != 0 || file.data[7] == 0)
		return tb_fail(err, TB_ECORRUPT, "not a %s: it does not begin as one", what);
	if (file.data[7] > magic[7])
		return tb_fail(err, TB_EUNSUPPORTED, "the %s has format %u; this version reads up to %u", what, file.data[7],
		               TB_MANIFEST_FORMAT);
	return TB_OK;
}

/* Manifests */

static int objects_fit(const Tb__Manifest *manifest)
{
	for (size_t i = 0; i < manifest->n_objects; i++) {
		const Tb__ObjectRef *object = manifest->objects[i];
		if (object->name.len != TB_OBJECT_NAME || object->size_stored <= TB_OBJECT_HEAD ||
		    object->size_stored > TB_OBJECT_MAX || object->size_plain > TB_PLAIN_MAX)
			return 0;
	}
	return 1;
}

static int rejected_fit(const Tb__Manifest *manifest)
{
	uint64_t least = manifest->from;
	for (size_t i = 0; i < manifest->n_rejected; i++) {
		uint64_t number = manifest->rejected[i];
		if (number < least || number > manifest->to)
			return 0;
		least = number + 1;
	}
	return 1;
}

static int id_fits(const char *id, const tb_backup_type *type)
{
	return tb_backup_id_valid(id) && strncmp(id, type->prefix, 3) == 0;
}

/* What doesn't fit, as a word; NULL: everything does. */
static const char *misfit(const Tb__Manifest *manifest)
{
	const tb_backup_type *type = tb_backup_type_find(manifest->type);
	int is_segment = type != NULL && strcmp(type->name, "SEGMENT") == 0;
	const struct {
		int good;
		const char *word;
	} rules[] = {
		{ tb_stream_check(manifest->stream, NULL) == TB_OK, "stream" },
		{ type != NULL && strcmp(type->name, manifest->type) == 0, "type" },
		{ type != NULL && id_fits(manifest->backup, type), "backup" },
		{ manifest->repository.len == TB_REPOSITORY_ID, "repository" },
		{ manifest->chain >= 1, "chain" },
		{ manifest->before.len == (manifest->chain == 1 ? 0 : TB_HASH_SIZE), "before" },
		{ manifest->from <= manifest->to || manifest->from - manifest->to == 1, "from" },
		{ !is_segment || (manifest->from >= 1 && manifest->from <= manifest->to), "from" },
		{ !is_segment || manifest->n_objects == 1, "objects" },
		{ objects_fit(manifest), "objects" },
		{ rejected_fit(manifest), "rejected" },
		{ manifest->period.len == TB_PERIOD_ID, "period" },
		{ manifest->parent[0] == '\0' || tb_backup_id_valid(manifest->parent), "parent" },
		{ manifest->private_box.len == 0 || manifest->private_box.len > TB_OBJECT_HEAD, "private_box" },
	};
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (!rules[i].good)
			return rules[i].word;
	return NULL;
}

tb_rc tb_manifest_write(const Tb__Manifest *manifest, const tb_key *signer, tb_buf *ret_file,
                        uint8_t ret_hash[TB_HASH_SIZE], tb_err *err)
{
	const char *word = misfit(manifest);
	if (word == NULL && manifest->format != TB_MANIFEST_FORMAT)
		word = "format";
	if (word == NULL && memcmp(manifest->repository.data, tb_key_repository(signer), TB_REPOSITORY_ID) != 0)
		word = "repository";
	if (word != NULL)
		return tb_fail(err, TB_EINVAL, "can't write the manifest %s: its %s doesn't fit", manifest->backup, word);
	size_t size = tb__manifest__get_packed_size(manifest);
	if (size > TB_MANIFEST_MAX - AT_MESSAGE - SEAL_SIZE)
		return tb_fail(err, TB_EINVAL, "can't write the manifest %s: %zu bytes are too many", manifest->backup, size);
	uint8_t head[AT_MESSAGE] = { 0 };
	memcpy(head, manifest_magic, sizeof(manifest_magic));
	tb_put32(head + AT_SIZE, (uint32_t)size);
	tb_buf_clear(ret_file);
	tb_buf_append(ret_file, head, sizeof(head));
	tb_buf_reserve(ret_file, size + SEAL_SIZE);
	ret_file->size += tb__manifest__pack(manifest, ret_file->data + ret_file->size);
	put_seal(ret_file, signer);
	tb_manifest_hash(tb_buf_span(ret_file), ret_hash);
	return TB_OK;
}

static tb_rc check_message(const Tb__Manifest *manifest, const uint8_t repository[TB_REPOSITORY_ID], tb_err *err)
{
	if (manifest->format > TB_MANIFEST_FORMAT)
		return tb_fail(err, TB_EUNSUPPORTED, "the manifest has format %u; this version reads up to %u", manifest->format,
		               TB_MANIFEST_FORMAT);
	const char *word = manifest->format == TB_MANIFEST_FORMAT ? misfit(manifest) : "format";
	if (word != NULL)
		return tb_fail(err, TB_ECORRUPT, "the manifest is signed, but its %s doesn't fit", word);
	if (memcmp(manifest->repository.data, repository, TB_REPOSITORY_ID) != 0)
		return tb_fail(err, TB_EKEY, "the manifest is of another repository");
	return TB_OK;
}

/* The message's bytes. */
static tb_rc find_message(tb_span file, tb_span *ret_message, tb_err *err)
{
	tb_rc rc = check_magic(file, manifest_magic, AT_MESSAGE + SEAL_SIZE, "manifest", err);
	if (rc != TB_OK)
		return rc;
	size_t size = file.size - AT_MESSAGE - SEAL_SIZE;
	if (file.size > TB_MANIFEST_MAX || tb_get32(file.data + AT_SIZE) != size || tb_get32(file.data + AT_ZERO) != 0)
		return tb_fail(err, TB_ECORRUPT, "damaged manifest: it has %zu bytes, its head says otherwise", file.size);
	*ret_message = tb_span_of(file.data + AT_MESSAGE, size);
	return TB_OK;
}

tb_rc tb_manifest_peek(tb_span file, tb_arena *arena, Tb__Manifest **ret_manifest, tb_err *err)
{
	tb_span message;
	tb_rc rc = find_message(file, &message, err);
	if (rc != TB_OK)
		return rc;
	Tb__Manifest *manifest = tb__manifest__unpack(tb_arena_allocator(arena), message.size, message.data);
	if (manifest == NULL || manifest->chain == 0 || !tb_backup_id_valid(manifest->backup))
		return tb_fail(err, TB_ECORRUPT, "damaged manifest: its message is none");
	*ret_manifest = manifest;
	return TB_OK;
}

tb_rc tb_manifest_read(tb_span file, const uint8_t instance[TB_PUBLIC_KEY], const uint8_t repository[TB_REPOSITORY_ID],
                       tb_arena *arena, Tb__Manifest **ret_manifest, tb_err *err)
{
	tb_span message;
	tb_rc rc = find_message(file, &message, err);
	if (rc == TB_OK)
		rc = check_seal(file, "manifest", instance, repository, err);
	if (rc != TB_OK)
		return rc;
	Tb__Manifest *manifest = tb__manifest__unpack(tb_arena_allocator(arena), message.size, message.data);
	if (manifest == NULL)
		return tb_fail(err, TB_ECORRUPT, "the manifest is signed, but its message is none");
	rc = check_message(manifest, repository, err);
	if (rc == TB_OK)
		*ret_manifest = manifest;
	return rc;
}

void tb_manifest_hash(tb_span file, uint8_t ret_hash[TB_HASH_SIZE])
{
	crypto_generichash(ret_hash, TB_HASH_SIZE, file.data, file.size, NULL, 0);
}

/* Heads */

tb_rc tb_head_write(const tb_head *head, const tb_key *signer, tb_buf *ret_file, tb_err *err)
{
	uint8_t body[HEAD_BODY] = { 0 };
	tb_rc rc = tb_stream_check(head->stream, err);
	if (rc != TB_OK)
		return rc;
	size_t size = strlen(head->stream);
	memcpy(body, head_magic, sizeof(head_magic));
	tb_put64(body + AT_CHAIN, head->chain);
	tb_put64(body + AT_LAST, head->last);
	memcpy(body + AT_HASH, head->manifest_hash, TB_HASH_SIZE);
	tb_put64(body + AT_MADE, head->made_ns);
	memcpy(body + AT_REPOSITORY, tb_key_repository(signer), TB_REPOSITORY_ID);
	tb_put16(body + AT_NAME_SIZE, (uint16_t)size);
	memcpy(body + AT_NAME, head->stream, size);
	tb_buf_clear(ret_file);
	tb_buf_append(ret_file, body, sizeof(body));
	put_seal(ret_file, signer);
	return TB_OK;
}

static int name_fits(const uint8_t *file)
{
	size_t size = tb_get16(file + AT_NAME_SIZE);
	if (size > STREAM_MAX)
		return 0;
	for (size_t i = AT_NAME + size; i < HEAD_BODY; i++)
		if (file[i] != 0)
			return 0;
	return memchr(file + AT_NAME, '\0', size) == NULL;
}

tb_rc tb_head_read(tb_span file, const uint8_t instance[TB_PUBLIC_KEY], const uint8_t repository[TB_REPOSITORY_ID],
                   tb_head *ret_head, tb_err *err)
{
	tb_rc rc = check_magic(file, head_magic, TB_HEAD_SIZE, "head", err);
	if (rc != TB_OK)
		return rc;
	if (file.size != TB_HEAD_SIZE)
		return tb_fail(err, TB_ECORRUPT, "damaged head: it has %zu bytes, not %u", file.size, TB_HEAD_SIZE);
	rc = check_seal(file, "head", instance, repository, err);
	if (rc != TB_OK)
		return rc;
	if (memcmp(file.data + AT_REPOSITORY, repository, TB_REPOSITORY_ID) != 0)
		return tb_fail(err, TB_EKEY, "the head is of another repository");
	tb_head head = {
		.chain = tb_get64(file.data + AT_CHAIN),
		.last = tb_get64(file.data + AT_LAST),
		.made_ns = tb_get64(file.data + AT_MADE),
	};
	memcpy(head.manifest_hash, file.data + AT_HASH, TB_HASH_SIZE);
	if (name_fits(file.data))
		memcpy(head.stream, file.data + AT_NAME, tb_get16(file.data + AT_NAME_SIZE));
	if (head.chain == 0 || tb_stream_check(head.stream, NULL) != TB_OK)
		return tb_fail(err, TB_ECORRUPT, "the head is signed, but its parts don't fit");
	*ret_head = head;
	return TB_OK;
}
