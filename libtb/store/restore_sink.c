#include "store/restore.h"

#include "base/clock.h"
#include "wire/event.h"
#include "wire/event_json.h"

#include <errno.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OUT_SIZE (1u << 20)

static const struct scheme {
	const char *prefix;
	tb_sink_kind kind;
	int supported, needs_path;
} schemes[] = {
	{ "json:", TB_SINK_JSON, 1, 1 },
	{ "lmdb:", TB_SINK_LMDB, 1, 1 },
	{ "null:", TB_SINK_NULL, 1, 0 },
	{ "redis://", TB_SINK_NULL, 0, 1 },
	{ "postgres://", TB_SINK_NULL, 0, 1 },
	{ "postgresql://", TB_SINK_NULL, 0, 1 },
};

static tb_rc no_such_target(const char *target, tb_err *err)
{
	tb_fail(err, TB_EINVAL, "can't restore to \"%.200s\"", target ? target : "");
	tb_hint(err, "targets are json:- (standard output), json:FILE, lmdb:DIR and null: (check only)");
	return TB_EINVAL;
}

tb_rc tb_sink_parse(tb_sink *sink, const char *target, int force, tb_err *err)
{
	const struct scheme *scheme = NULL;
	for (size_t i = 0; target != NULL && scheme == NULL && i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strncmp(target, schemes[i].prefix, strlen(schemes[i].prefix)) == 0)
			scheme = &schemes[i];
	if (scheme == NULL)
		return no_such_target(target, err);
	if (!scheme->supported)
		return tb_fail(err, TB_EUNSUPPORTED, "restoring to %s is not in this version", scheme->prefix);
	const char *path = target + strlen(scheme->prefix);
	if ((path[0] != '\0') != scheme->needs_path)
		return no_such_target(target, err);
	int to_stdout = scheme->kind == TB_SINK_JSON && strcmp(path, "-") == 0;
	*sink = (tb_sink){ .kind = scheme->kind, .path = scheme->needs_path && !to_stdout ? path : NULL, .force = force };
	return TB_OK;
}

static tb_rc check_free(const tb_sink *sink, tb_err *err)
{
	tb_disk *disk = tb_disk_system();
	tb_disk_info info;
	tb_rc rc = disk->stat(disk, sink->path, &info, err);
	if (rc == TB_ENOTFOUND)
		return TB_OK;
	if (rc != TB_OK)
		return rc;
	if (info.is_dir != (sink->kind == TB_SINK_LMDB))
		return tb_fail(err, TB_EBUSY, "%s is there already and is %s", sink->path,
		               info.is_dir ? "a directory" : "no directory");
	if (sink->force)
		return TB_OK;
	tb_fail(err, TB_EBUSY, "%s is there already", sink->path);
	tb_hint(err, "--force replaces it once the restored state is whole");
	return TB_EBUSY;
}

static tb_rc check_target(const tb_sink *sink, tb_err *err)
{
	if (sink->path == NULL)
		return TB_OK;
	tb_disk *disk = tb_disk_system();
	tb_disk_info info;
	char *copy = tb_strdup(sink->path);
	const char *parent = dirname(copy);
	tb_rc rc = disk->stat(disk, parent, &info, err);
	if (rc == TB_ENOTFOUND)
		tb_fail(err, rc, "can't restore to %s: there is no directory %s", sink->path, parent);
	free(copy);
	return rc == TB_OK ? check_free(sink, err) : rc;
}

/* A bank that becomes the target is built beside it, to be renamed; all others where there is room for scratch. */
static tb_rc make_scratch(tb_sink *sink, const char *where, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	if (where == NULL)
		where = getenv("TMPDIR");
	if (where == NULL || where[0] == '\0')
		where = "/tmp";
	if (sink->kind == TB_SINK_LMDB) {
		size_t size = strlen(sink->path);
		while (size > 1 && sink->path[size - 1] == '/')
			size--;
		tb_buf_print(&path, "%.*s.restoring-%d-XXXXXX", (int)size, sink->path, (int)getpid());
	} else {
		tb_buf_print(&path, "%s/tb-restore-XXXXXX", where);
	}
	char *made = tb_strdup(tb_buf_text(&path));
	if (mkdtemp(made) == NULL) {
		tb_rc rc = tb_fail_errno(err, errno, "can't make a scratch directory %s", made);
		free(made);
		return rc;
	}
	sink->scratch = made;
	return TB_OK;
}

tb_rc tb_sink_open(tb_sink *sink, const char *scratch, tb_err *err)
{
	tb_rc rc = check_target(sink, err);
	return rc == TB_OK ? make_scratch(sink, scratch, err) : rc;
}

void tb_sink_close(tb_sink *sink)
{
	if (sink->scratch != NULL)
		tb_disk_remove_tree(tb_disk_system(), sink->scratch, NULL);
	free(sink->scratch);
	sink->scratch = NULL;
}

/* Writing entries */

struct out {
	const tb_restore_options *options;
	tb_file *file; /* NULL: standard output */
	uint64_t offset;
	tb_buf bytes;
};

/* Who reads it may take long: a signal has to get through. */
static tb_rc write_stdout(const tb_restore_options *options, tb_span bytes, tb_err *err)
{
	while (bytes.size != 0) {
		tb_rc rc = tb_restore_go_on(options, err);
		if (rc != TB_OK)
			return rc;
		ssize_t size = write(STDOUT_FILENO, bytes.data, bytes.size);
		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			return tb_fail_errno(err, errno, "can't write to standard output");
		bytes = tb_span_of(bytes.data + size, bytes.size - (size_t)size);
	}
	return TB_OK;
}

static tb_rc out_flush(struct out *out, tb_err *err)
{
	tb_disk *disk = tb_disk_system();
	tb_rc rc = out->file == NULL ? write_stdout(out->options, tb_buf_span(&out->bytes), err)
	                             : disk->write(disk, out->file, out->offset, out->bytes.data, out->bytes.size, err);
	out->offset += out->bytes.size;
	tb_buf_clear(&out->bytes);
	return rc;
}

static void put_text(tb_buf *to, const char *name, tb_span bytes)
{
	int is_text = tb_text_valid(bytes);
	tb_buf_print(to, "\"%s%s\":", name, is_text ? "" : "_b64");
	if (is_text) {
		tb_json_text(to, bytes);
		return;
	}
	tb_buf_byte(to, '"');
	tb_base64(to, bytes);
	tb_buf_byte(to, '"');
}

static tb_rc out_entry(struct out *out, tb_span key, tb_span value, tb_err *err)
{
	tb_buf *to = &out->bytes;
	tb_buf_byte(to, '{');
	put_text(to, "key", key);
	tb_buf_byte(to, ',');
	put_text(to, "value", value);
	tb_buf_append(to, "}\n", 2);
	return to->size >= OUT_SIZE ? out_flush(out, err) : TB_OK;
}

/* Walking */

static void digest_entry(EVP_MD_CTX *digest, tb_span key, tb_span value)
{
	EVP_DigestUpdate(digest, key.data, key.size);
	EVP_DigestUpdate(digest, "=", 1);
	EVP_DigestUpdate(digest, value.data, value.size);
	EVP_DigestUpdate(digest, "\n", 1);
}

static tb_rc tell_entry(const tb_sink *sink, tb_span key, tb_span value, tb_err *err)
{
	const tb_restore_options *options = sink->options;
	if (options->entry == NULL)
		return TB_OK;
	return options->entry(options->entry_context, key.data, key.size, value.data, value.size, err);
}

static tb_rc walk_entries(const tb_sink *sink, tb_cursor *cursor, EVP_MD_CTX *digest, struct out *out,
                          tb_restored *restored, tb_err *err)
{
	tb_span key, value;
	restored->keys = restored->bytes = 0;
	tb_rc rc = tb_cursor_seek(cursor, (tb_span){ 0 }, &key, &value, err);
	while (rc == TB_OK) {
		digest_entry(digest, key, value);
		restored->keys++;
		restored->bytes += key.size + value.size;
		rc = tb_restore_go_on(sink->options, err);
		if (rc == TB_OK && out != NULL)
			rc = out_entry(out, key, value, err);
		if (rc == TB_OK)
			rc = tell_entry(sink, key, value, err);
		if (rc != TB_OK)
			return rc;
		rc = tb_cursor_next(cursor, &key, &value, err);
	}
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

static tb_rc walk_state(const tb_sink *sink, tb_state *state, struct out *out, tb_restored *restored, tb_err *err)
{
	tb_txn *txn;
	tb_cursor *cursor;
	tb_rc rc = tb_bank_read(state->present.bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	if (digest == NULL || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
		rc = tb_fail(err, TB_ENOMEM, "can't compute SHA-256");
	if (rc == TB_OK)
		rc = tb_cursor_open(txn, state->present.db, &cursor, err);
	if (rc == TB_OK) {
		rc = walk_entries(sink, cursor, digest, out, restored, err);
		tb_cursor_close(cursor);
	}
	if (rc == TB_OK)
		EVP_DigestFinal_ex(digest, restored->digest, NULL);
	EVP_MD_CTX_free(digest);
	tb_txn_abort(txn);
	return rc;
}

static void name_beside(const tb_sink *sink, const char *what, tb_buf *to)
{
	size_t size = strlen(sink->path);
	while (size > 1 && sink->path[size - 1] == '/')
		size--;
	tb_buf_print(to, "%.*s.%s-%d", (int)size, sink->path, what, (int)getpid());
}

static tb_rc write_json(tb_sink *sink, tb_state *state, struct out *out, tb_restored *restored, tb_err *err)
{
	tb_disk *disk = tb_disk_system();
	tb_rc rc = walk_state(sink, state, out, restored, err);
	if (rc == TB_OK)
		rc = out_flush(out, err);
	if (rc == TB_OK && sink->path != NULL)
		rc = disk->sync(disk, out->file, err);
	return rc;
}

static tb_rc write_json_file(tb_sink *sink, tb_state *state, tb_restored *restored, tb_err *err)
{
	tb_disk *disk = tb_disk_system();
	struct out out = { .options = sink->options };
	tb_auto(tb_buf_drop) tb_buf beside = { 0 };
	name_beside(sink, "restoring", &beside);
	disk->unlink(disk, tb_buf_text(&beside), NULL); /* of a process that had our number and was killed */
	tb_rc rc = disk->open(disk, tb_buf_text(&beside),
	                      TB_DISK_WRITE | TB_DISK_CREATE | TB_DISK_EXCLUSIVE | TB_DISK_PRIVATE,
	                      &out.file, err);
	if (rc != TB_OK)
		return rc;
	rc = write_json(sink, state, &out, restored, err);
	disk->close(disk, out.file);
	tb_buf_drop(&out.bytes);
	if (rc != TB_OK)
		disk->unlink(disk, tb_buf_text(&beside), NULL);
	return rc;
}

tb_rc tb_sink_write(tb_sink *sink, tb_state *state, tb_restored *restored, tb_err *err)
{
	if (sink->kind != TB_SINK_JSON)
		return walk_state(sink, state, NULL, restored, err);
	if (sink->path != NULL)
		return write_json_file(sink, state, restored, err);
	struct out out = { .options = sink->options };
	fflush(stdout);
	tb_rc rc = write_json(sink, state, &out, restored, err);
	tb_buf_drop(&out.bytes);
	return rc;
}

static tb_rc put_label(tb_txn *txn, tb_db db, const char *name, const char *value, tb_err *err)
{
	return tb_txn_put(txn, db, tb_span_text(name), tb_span_text(value), err);
}

tb_rc tb_sink_label(tb_sink *sink, tb_state *state, const char *stream, const tb_restored *restored, tb_err *err)
{
	if (sink->kind != TB_SINK_LMDB)
		return TB_OK;
	tb_txn *txn;
	tb_db db;
	char event[24], time[24], digest[65];
	snprintf(event, sizeof(event), "%llu", tb_ull(restored->event));
	snprintf(time, sizeof(time), "%llu", tb_ull(restored->time_ns));
	tb_hex(digest, restored->digest, sizeof(restored->digest));
	const char *labels[][2] = { { "stream", stream }, { "event", event }, { "time_ns", time }, { "digest", digest } };
	tb_rc rc = tb_state_settle(state, err);
	if (rc == TB_OK)
		rc = tb_bank_write(state->present.bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_txn_db(txn, "meta", &db, err);
	for (size_t i = 0; rc == TB_OK && i < sizeof(labels) / sizeof(labels[0]); i++)
		rc = put_label(txn, db, labels[i][0], labels[i][1], err);
	if (rc != TB_OK) {
		tb_txn_abort(txn);
		return rc;
	}
	rc = tb_txn_commit(txn, err);
	return rc == TB_OK ? tb_bank_sync(state->present.bank, err) : rc;
}

/* Standing */

static tb_rc sync_parent(const tb_sink *sink, tb_err *err)
{
	tb_disk *disk = tb_disk_system();
	char *copy = tb_strdup(sink->path);
	tb_rc rc = disk->sync_dir(disk, dirname(copy), err);
	free(copy);
	return rc;
}

/* The old directory goes aside first, and comes back when the new one can't take its place. */
static tb_rc replace_directory(tb_sink *sink, tb_err *err)
{
	tb_disk *disk = tb_disk_system();
	tb_auto(tb_buf_drop) tb_buf aside = { 0 };
	name_beside(sink, "replaced", &aside);
	tb_rc old = disk->rename(disk, sink->path, tb_buf_text(&aside), err);
	if (old != TB_OK && old != TB_ENOTFOUND)
		return old;
	tb_rc rc = disk->rename(disk, sink->scratch, sink->path, err);
	if (rc != TB_OK) {
		if (old == TB_OK)
			disk->rename(disk, tb_buf_text(&aside), sink->path, NULL);
		return rc;
	}
	free(sink->scratch);
	sink->scratch = NULL;
	rc = sync_parent(sink, err);
	if (rc == TB_OK && old == TB_OK)
		rc = tb_disk_remove_tree(disk, tb_buf_text(&aside), err);
	return rc;
}

static tb_rc replace_file(tb_sink *sink, tb_err *err)
{
	tb_disk *disk = tb_disk_system();
	tb_auto(tb_buf_drop) tb_buf beside = { 0 };
	name_beside(sink, "restoring", &beside);
	tb_rc rc = check_free(sink, err);
	if (rc == TB_OK)
		rc = disk->rename(disk, tb_buf_text(&beside), sink->path, err);
	if (rc == TB_OK)
		return sync_parent(sink, err);
	disk->unlink(disk, tb_buf_text(&beside), NULL);
	return rc;
}

tb_rc tb_sink_finish(tb_sink *sink, tb_err *err)
{
	if (sink->path == NULL)
		return TB_OK;
	if (sink->kind == TB_SINK_JSON)
		return replace_file(sink, err);
	tb_rc rc = check_free(sink, err);
	return rc == TB_OK ? replace_directory(sink, err) : rc;
}
