#include "store/catalog_parts.h"

#include "base/bytes.h"
#include "wire/frame.h"

#include <stdlib.h>

/* objects    name → u64 size, u64 time it was stored
 * manifests  stream, NUL, u64 big-endian chain number → 32 hash of the file, u64 time, path below manifests/
 * heads      stream → u64 chain number, u64 last number, 32 hash, u64 time it was remembered */
#define OBJECTS "objects"
#define MANIFESTS "manifests"
#define HEADS "heads"
enum { AT_CHAIN = 0, AT_LAST = 8, AT_HASH = 16, AT_TIME = 48, HEAD_SIZE = 56 };
#define STREAM_MAX 128

tb_rc tb_catalog_object(tb_txn *txn, const uint8_t name[TB_OBJECT_NAME], uint64_t size, uint64_t now_ns, tb_err *err)
{
	tb_db objects;
	uint8_t value[16];
	tb_rc rc = tb_txn_db(txn, OBJECTS, &objects, err);
	if (rc != TB_OK)
		return rc;
	tb_put64(value, size);
	tb_put64(value + 8, now_ns);
	return tb_txn_put(txn, objects, tb_span_of(name, TB_OBJECT_NAME), tb_span_of(value, sizeof(value)), err);
}

tb_rc tb_catalog_has_object(tb_txn *txn, const uint8_t name[TB_OBJECT_NAME], int *ret_has, tb_err *err)
{
	tb_db objects;
	tb_span value;
	tb_rc rc = tb_txn_db(txn, OBJECTS, &objects, err);
	if (rc == TB_OK)
		rc = tb_txn_get(txn, objects, tb_span_of(name, TB_OBJECT_NAME), &value, err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	*ret_has = rc == TB_OK;
	return TB_OK;
}

/* Heads */

static tb_rc read_head(tb_span stream, tb_span value, tb_head *ret_head, tb_err *err)
{
	if (stream.size > STREAM_MAX || value.size != HEAD_SIZE)
		return tb_fail(err, TB_ECORRUPT, "damaged catalog: a remembered head has %zu bytes", value.size);
	tb_head head = {
		.chain = tb_get64(value.data + AT_CHAIN),
		.last = tb_get64(value.data + AT_LAST),
		.made_ns = tb_get64(value.data + AT_TIME),
	};
	memcpy(head.stream, stream.data, stream.size);
	memcpy(head.manifest_hash, value.data + AT_HASH, TB_HASH_SIZE);
	*ret_head = head;
	return TB_OK;
}

static tb_rc get_head(tb_txn *txn, const char *stream, tb_head *ret_head, tb_err *err)
{
	tb_db heads;
	tb_span value;
	tb_rc rc = tb_txn_db(txn, HEADS, &heads, err);
	if (rc == TB_OK)
		rc = tb_txn_get(txn, heads, tb_span_text(stream), &value, err);
	if (rc != TB_OK)
		return rc;
	return read_head(tb_span_text(stream), value, ret_head, err);
}

static tb_rc put_head(tb_txn *txn, const tb_head *head, tb_err *err)
{
	tb_db heads;
	uint8_t value[HEAD_SIZE];
	tb_rc rc = tb_txn_db(txn, HEADS, &heads, err);
	if (rc != TB_OK)
		return rc;
	tb_put64(value + AT_CHAIN, head->chain);
	tb_put64(value + AT_LAST, head->last);
	memcpy(value + AT_HASH, head->manifest_hash, TB_HASH_SIZE);
	tb_put64(value + AT_TIME, head->made_ns);
	return tb_txn_put(txn, heads, tb_span_text(head->stream), tb_span_of(value, sizeof(value)), err);
}

/* Manifests */

static size_t manifest_key(const char *stream, uint64_t chain, uint8_t key[STREAM_MAX + 9])
{
	size_t size = strlen(stream) + 1;
	memcpy(key, stream, size);
	tb_put64_be(key + size, chain);
	return size + 8;
}

static tb_rc is_recorded(tb_txn *txn, const Tb__ManifestFrame *manifest, const uint8_t hash[TB_HASH_SIZE], int *ret_same,
                         tb_err *err)
{
	tb_db manifests;
	tb_span value;
	uint8_t key[STREAM_MAX + 9];
	size_t size = manifest_key(manifest->stream, manifest->chain, key);
	tb_rc rc = tb_txn_db(txn, MANIFESTS, &manifests, err);
	if (rc == TB_OK)
		rc = tb_txn_get(txn, manifests, tb_span_of(key, size), &value, err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	*ret_same = rc == TB_OK && value.size > TB_HASH_SIZE && memcmp(value.data, hash, TB_HASH_SIZE) == 0;
	return TB_OK;
}

static tb_rc record(tb_txn *txn, const Tb__ManifestFrame *manifest, const uint8_t hash[TB_HASH_SIZE], uint64_t now_ns,
                    tb_err *err)
{
	tb_db manifests;
	uint8_t key[STREAM_MAX + 9], time[8];
	tb_auto(tb_buf_drop) tb_buf value = { 0 };
	size_t size = manifest_key(manifest->stream, manifest->chain, key);
	tb_rc rc = tb_txn_db(txn, MANIFESTS, &manifests, err);
	if (rc != TB_OK)
		return rc;
	tb_put64(time, now_ns);
	tb_buf_append(&value, hash, TB_HASH_SIZE);
	tb_buf_append(&value, time, sizeof(time));
	tb_buf_append_span(&value, tb_span_text(manifest->path));
	return tb_txn_put(txn, manifests, tb_span_of(key, size), tb_buf_span(&value), err);
}

static tb_rc move_head(tb_txn *txn, const tb_head *before, const Tb__ManifestFrame *manifest,
                       const uint8_t hash[TB_HASH_SIZE], uint64_t now_ns, tb_err *err)
{
	tb_head head = {
		.chain = manifest->chain,
		.last = manifest->to > before->last ? manifest->to : before->last,
		.made_ns = now_ns,
	};
	memcpy(head.stream, manifest->stream, strlen(manifest->stream)); /* tb_stream_check bounded it */
	memcpy(head.manifest_hash, hash, TB_HASH_SIZE);
	return put_head(txn, &head, err);
}

tb_rc tb_catalog_manifest(tb_txn *txn, const Tb__ManifestFrame *manifest, const uint8_t hash[TB_HASH_SIZE],
                          uint64_t now_ns, tb_err *err)
{
	tb_head before = { 0 };
	int same = 0;
	tb_rc rc = tb_stream_check(manifest->stream, err);
	if (rc == TB_OK)
		rc = is_recorded(txn, manifest, hash, &same, err);
	if (rc != TB_OK || same)
		return rc;
	rc = get_head(txn, manifest->stream, &before, err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	if (manifest->chain != before.chain + 1)
		return tb_fail(err, TB_EREFUSED, "manifest %s of %s has number %llu in its chain, but %llu is the next",
		               manifest->backup, manifest->stream, (unsigned long long)manifest->chain,
		               (unsigned long long)before.chain + 1);
	rc = record(txn, manifest, hash, now_ns, err);
	return rc == TB_OK ? move_head(txn, &before, manifest, hash, now_ns, err) : rc;
}

/* Of manifests that lie there in any order: the head's last number is the highest, its place the end of the chain. */
static tb_rc find_head(tb_txn *txn, const Tb__Manifest *manifest, const uint8_t hash[TB_HASH_SIZE], uint64_t now_ns,
                       tb_err *err)
{
	tb_head head = { 0 };
	tb_rc rc = get_head(txn, manifest->stream, &head, err);
	if (rc != TB_OK && rc != TB_ENOTFOUND)
		return rc;
	memcpy(head.stream, manifest->stream, strlen(manifest->stream));
	if (manifest->to > head.last)
		head.last = manifest->to;
	if (manifest->chain > head.chain) {
		head.chain = manifest->chain;
		memcpy(head.manifest_hash, hash, TB_HASH_SIZE);
		head.made_ns = now_ns;
	}
	return put_head(txn, &head, err);
}

tb_rc tb_catalog_found(tb_txn *txn, const Tb__Manifest *manifest, const char *path, const uint8_t hash[TB_HASH_SIZE],
                       uint64_t now_ns, int *ret_new, tb_err *err)
{
	Tb__ManifestFrame frame = TB__MANIFEST_FRAME__INIT;
	int same = 0;
	frame.stream = manifest->stream;
	frame.chain = manifest->chain;
	frame.path = (char *)(uintptr_t)path;
	tb_rc rc = is_recorded(txn, &frame, hash, &same, err);
	*ret_new = !same;
	if (rc != TB_OK || same)
		return rc;
	rc = record(txn, &frame, hash, now_ns, err);
	return rc == TB_OK ? find_head(txn, manifest, hash, now_ns, err) : rc;
}

/* Readers */

static tb_rc open_to_read(const char *path, tb_bank **ret_bank, tb_txn **ret_txn, tb_err *err)
{
	tb_bank *bank;
	tb_rc rc = tb_bank_open(path, TB_BANK_READONLY, 0, &bank, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_bank_read(bank, ret_txn, err);
	if (rc == TB_OK)
		*ret_bank = bank;
	else
		tb_bank_close(bank);
	return rc;
}

tb_rc tb_catalog_head(const char *path, const char *stream, tb_head *ret_head, tb_err *err)
{
	tb_bank *bank;
	tb_txn *txn;
	tb_rc rc = tb_stream_check(stream, err);
	if (rc == TB_OK)
		rc = open_to_read(path, &bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = get_head(txn, stream, ret_head, err);
	if (rc == TB_ENOTFOUND)
		tb_fail(err, rc, "the catalog %s remembers no stream \"%s\"", path, stream);
	tb_txn_abort(txn);
	tb_bank_close(bank);
	return rc;
}

struct heads {
	tb_head *rows;
	size_t count, capacity;
};

static tb_rc collect(tb_cursor *cursor, struct heads *heads, tb_err *err)
{
	tb_span stream, value;
	tb_rc rc = tb_cursor_seek(cursor, (tb_span){ 0 }, &stream, &value, err);
	while (rc == TB_OK) {
		if (heads->count == heads->capacity) {
			heads->capacity = heads->capacity ? heads->capacity * 2 : 16;
			heads->rows = tb_realloc(heads->rows, heads->capacity * sizeof(*heads->rows));
		}
		rc = read_head(stream, value, &heads->rows[heads->count], err);
		heads->count += rc == TB_OK;
		if (rc == TB_OK)
			rc = tb_cursor_next(cursor, &stream, &value, err);
	}
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

static tb_rc collect_all(tb_txn *txn, struct heads *heads, tb_err *err)
{
	tb_db db;
	tb_cursor *cursor;
	tb_rc rc = tb_txn_db(txn, HEADS, &db, err);
	if (rc == TB_OK)
		rc = tb_cursor_open(txn, db, &cursor, err);
	if (rc != TB_OK)
		return rc == TB_ENOTFOUND ? TB_OK : rc; /* nothing was stored yet */
	rc = collect(cursor, heads, err);
	tb_cursor_close(cursor);
	return rc;
}

tb_rc tb_catalog_heads(const char *path, tb_head **ret_heads, size_t *ret_count, tb_err *err)
{
	tb_bank *bank;
	tb_txn *txn;
	struct heads heads = { 0 };
	tb_rc rc = open_to_read(path, &bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = collect_all(txn, &heads, err);
	tb_txn_abort(txn);
	tb_bank_close(bank);
	if (rc != TB_OK) {
		free(heads.rows);
		return rc;
	}
	*ret_heads = heads.rows;
	*ret_count = heads.count;
	return TB_OK;
}
