#include "store/archive.h"

#include <stdio.h>
#include <stdlib.h>

struct tb_archive {
	tb_tier *tier;
	tb_keyring *keyring; /* NULL without an identity */
	uint8_t instance[TB_PUBLIC_KEY];
	uint8_t repository[TB_REPOSITORY_ID];
};

/* A failure's sentence with the place in the repository before it, unless it names it already. */
static tb_rc place_failure(tb_err *err, tb_rc rc, const char *path)
{
	if (err == NULL || rc == TB_OK || strstr(err->text, path) != NULL)
		return rc;
	tb_err why = *err;
	tb_fail(err, rc, "%s: %s", path, why.text);
	if (why.hint[0] != '\0')
		tb_hint(err, "%s", why.hint);
	return rc;
}

tb_rc tb_archive_fits(const tb_archive *archive, const tb_key *identity, tb_err *err)
{
	if (memcmp(tb_key_repository(identity), archive->repository, TB_REPOSITORY_ID) == 0)
		return TB_OK;
	tb_fail(err, TB_EKEY, "this identity belongs to another repository than tradebank.json in %s says", archive->tier->url);
	tb_hint(err, "give the identity or recovery kit that was made with this repository");
	return TB_EKEY;
}

static tb_rc take_identity(tb_archive *archive, const tb_key *identity, tb_err *err)
{
	tb_rc rc = tb_archive_fits(archive, identity, err);
	return rc == TB_OK ? tb_keyring_open(archive->tier, identity, &archive->keyring, err) : rc;
}

tb_rc tb_archive_open(tb_disk *disk, const char *url, const tb_key *identity, const uint8_t *instance,
                      tb_archive **ret_archive, tb_err *err)
{
	if (identity == NULL && instance == NULL)
		return tb_fail(err, TB_EKEY, "%s can't be read: without an identity or the instance's verifying key nothing "
		               "in it can be checked", url);
	tb_archive *archive = tb_alloc_zero(1, sizeof(*archive));
	memcpy(archive->instance, instance ? instance : tb_key_instance(identity), TB_PUBLIC_KEY);
	tb_rc rc = tb_tier_open(disk, url, 0, &archive->tier, err);
	if (rc == TB_OK)
		rc = tb_repository_read(archive->tier, archive->repository, err);
	if (rc == TB_OK && identity != NULL)
		rc = take_identity(archive, identity, err);
	if (rc != TB_OK) {
		tb_archive_close(archive);
		return rc;
	}
	*ret_archive = archive;
	return TB_OK;
}

void tb_archive_close(tb_archive *archive)
{
	if (archive == NULL)
		return;
	tb_keyring_free(archive->keyring);
	tb_tier_close(archive->tier);
	free(archive);
}

tb_tier *tb_archive_tier(tb_archive *archive)
{
	return archive->tier;
}

const uint8_t *tb_archive_instance(const tb_archive *archive)
{
	return archive->instance;
}

const uint8_t *tb_archive_repository(const tb_archive *archive)
{
	return archive->repository;
}

int tb_archive_is(const tb_archive_entry *entry, const char *prefix)
{
	return strcmp(entry->type->prefix, prefix) == 0;
}

struct names {
	char **items;
	size_t count;
};

static tb_rc add_stream(void *context, const char *name, uint64_t size, tb_err *err)
{
	(void)size;
	(void)err;
	struct names *names = context;
	char stream[130], id[TB_BACKUP_ID];
	uint64_t last;
	const tb_backup_type *type;
	if (!tb_manifest_path_parse(name, stream, &last, &type, id))
		return TB_OK;
	if (names->count != 0 && strcmp(names->items[names->count - 1], stream) == 0)
		return TB_OK; /* names come in order: a stream's stand together */
	names->items = tb_realloc(names->items, (names->count + 1) * sizeof(*names->items));
	names->items[names->count++] = tb_strdup(stream);
	return TB_OK;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

tb_rc tb_archive_streams(tb_archive *archive, char ***ret_names, size_t *ret_count, tb_err *err)
{
	struct names names = { tb_alloc(1), 0 };
	tb_rc rc = archive->tier->list(archive->tier, "manifests", add_stream, &names, err);
	if (rc != TB_OK) {
		for (size_t i = 0; i < names.count; i++)
			free(names.items[i]);
		free(names.items);
		return rc;
	}
	/* '/' sorts behind '-' and '.', so that paths of "a" stand behind those of "a-b". */
	qsort(names.items, names.count, sizeof(*names.items), compare_names);
	*ret_names = names.items;
	*ret_count = names.count;
	return TB_OK;
}

struct entries {
	tb_archive_entry *items;
	size_t count, capacity;
};

static tb_rc add_entry(void *context, const char *name, uint64_t size, tb_err *err)
{
	(void)size;
	(void)err;
	struct entries *entries = context;
	char stream[130];
	tb_archive_entry entry;
	if (!tb_manifest_path_parse(name, stream, &entry.last, &entry.type, entry.id))
		return TB_OK;
	if (entries->count == entries->capacity) {
		entries->capacity = entries->capacity ? 2 * entries->capacity : 64;
		entries->items = tb_realloc(entries->items, entries->capacity * sizeof(entry));
	}
	entries->items[entries->count++] = entry;
	return TB_OK;
}

static int compare_entries(const void *a, const void *b)
{
	const tb_archive_entry *x = a, *y = b;
	if (x->last != y->last)
		return x->last < y->last ? -1 : 1;
	int backups = !tb_archive_is(x, "SEG") - !tb_archive_is(y, "SEG");
	return backups != 0 ? backups : strcmp(x->id, y->id);
}

static tb_rc no_such_stream(tb_archive *archive, const char *stream, tb_err *err)
{
	char **names;
	size_t count;
	tb_rc rc = tb_archive_streams(archive, &names, &count, err);
	if (rc != TB_OK)
		return rc;
	tb_auto(tb_buf_drop) tb_buf known = { 0 };
	for (size_t i = 0; i < count; i++) {
		if (known.size < 180)
			tb_buf_print(&known, "%s%s", i ? ", " : "", names[i]);
		free(names[i]);
	}
	free(names);
	tb_fail(err, TB_ENOTFOUND, "no stream %s in %s", stream, archive->tier->url);
	if (count == 0)
		tb_hint(err, "nothing has been stored there yet");
	else
		tb_hint(err, "there %s: %s", count == 1 ? "is" : "are", tb_buf_text(&known));
	return TB_ENOTFOUND;
}

tb_rc tb_archive_list(tb_archive *archive, const char *stream, tb_archive_entry **ret_entries, size_t *ret_count,
                      tb_err *err)
{
	tb_rc rc = tb_stream_check(stream, err);
	if (rc != TB_OK)
		return rc;
	char prefix[TB_MANIFEST_PATH];
	snprintf(prefix, sizeof(prefix), "manifests/%s", stream);
	struct entries entries = { 0 };
	rc = archive->tier->list(archive->tier, prefix, add_entry, &entries, err);
	if (rc == TB_OK && entries.count == 0)
		rc = no_such_stream(archive, stream, err);
	if (rc != TB_OK) {
		free(entries.items);
		return rc;
	}
	qsort(entries.items, entries.count, sizeof(*entries.items), compare_entries);
	*ret_entries = entries.items;
	*ret_count = entries.count;
	return TB_OK;
}

/* A manifest may have been copied under another's name: signed, but not what the name says. */
static tb_rc check_name(const Tb__Manifest *manifest, const char *stream, const tb_archive_entry *entry, tb_err *err)
{
	if (strcmp(manifest->stream, stream) == 0 && strcmp(manifest->type, entry->type->name) == 0 &&
	    strcmp(manifest->backup, entry->id) == 0 && manifest->to == entry->last)
		return TB_OK;
	return tb_fail(err, TB_ECORRUPT, "it isn't what its name says, but %s %s of stream %s up to event %llu",
	               manifest->type, manifest->backup, manifest->stream, tb_ull(manifest->to));
}

tb_rc tb_archive_manifest(tb_archive *archive, const char *stream, const tb_archive_entry *entry, tb_arena *arena,
                          Tb__Manifest **ret_manifest, uint8_t ret_hash[TB_HASH_SIZE], tb_err *err)
{
	char path[TB_MANIFEST_PATH];
	tb_manifest_path(stream, entry->last, entry->type->name, entry->id, path);
	tb_auto(tb_buf_drop) tb_buf file = { 0 };
	tb_rc rc = archive->tier->get(archive->tier, path, TB_MANIFEST_MAX, &file, err);
	Tb__Manifest *manifest = NULL;
	if (rc == TB_OK)
		rc = tb_manifest_read(tb_buf_span(&file), archive->instance, archive->repository, arena, &manifest, err);
	if (rc == TB_OK)
		rc = check_name(manifest, stream, entry, err);
	if (rc != TB_OK)
		return place_failure(err, rc, path);
	tb_manifest_hash(tb_buf_span(&file), ret_hash);
	*ret_manifest = manifest;
	return TB_OK;
}

static tb_rc open_private(tb_archive *archive, const Tb__Manifest *manifest, tb_arena *arena,
                          Tb__ManifestPrivate **ret_private, tb_err *err)
{
	if (archive->keyring == NULL)
		return tb_fail(err, TB_EKEY, "its private part is sealed, and no identity was given");
	tb_auto(tb_buf_drop) tb_buf plain = { 0 };
	tb_span box = tb_span_of(manifest->private_box.data, manifest->private_box.len);
	tb_rc rc = tb_unseal(archive->keyring, TB_CONTENT_PRIVATE, box, &plain, err);
	if (rc != TB_OK)
		return rc;
	/* The message's texts and bytes are copied by unpacking. */
	Tb__ManifestPrivate *private = tb__manifest_private__unpack(tb_arena_allocator(arena), plain.size, plain.data);
	if (private == NULL)
		return tb_fail(err, TB_ECORRUPT, "its private part isn't a message");
	*ret_private = private;
	return TB_OK;
}

tb_rc tb_archive_private(tb_archive *archive, const Tb__Manifest *manifest, tb_arena *arena,
                         Tb__ManifestPrivate **ret_private, tb_err *err)
{
	tb_rc rc = open_private(archive, manifest, arena, ret_private, err);
	return place_failure(err, rc, manifest->backup);
}

/* Before anything is opened the bytes must be those that were named. */
static tb_rc fetch_object(tb_archive *archive, const Tb__ObjectRef *object, const char *path, tb_buf *ret_bytes,
                          tb_err *err)
{
	tb_rc rc = archive->tier->get(archive->tier, path, TB_OBJECT_MAX, ret_bytes, err);
	if (rc == TB_ENOTFOUND) {
		tb_fail(err, rc, "payload missing: %s isn't in %s", path, archive->tier->url);
		tb_hint(err, "tb verify names the backups and events that it hits");
		return rc;
	}
	if (rc != TB_OK)
		return rc;
	uint8_t name[TB_OBJECT_NAME];
	tb_object_name(tb_buf_span(ret_bytes), name);
	if (ret_bytes->size == object->size_stored && memcmp(name, object->name.data, sizeof(name)) == 0)
		return TB_OK;
	tb_fail(err, TB_ECORRUPT, "%s is damaged: its %zu bytes aren't those of its name", path, ret_bytes->size);
	tb_hint(err, "tb verify names the backups and events that it hits");
	return TB_ECORRUPT;
}

tb_rc tb_archive_object(tb_archive *archive, const Tb__ObjectRef *object, tb_content content, tb_buf *ret_plain,
                        tb_err *err)
{
	if (archive->keyring == NULL)
		return tb_fail(err, TB_EKEY, "objects are sealed, and no identity was given");
	if (object->name.len != TB_OBJECT_NAME)
		return tb_fail(err, TB_ECORRUPT, "an object's name has %zu bytes instead of 32", object->name.len);
	char path[TB_OBJECT_PATH];
	tb_object_path(object->name.data, path);
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_auto(tb_buf_drop) tb_buf plain = { 0 };
	tb_rc rc = fetch_object(archive, object, path, &bytes, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_unseal(archive->keyring, content, tb_buf_span(&bytes), &plain, err);
	if (rc == TB_OK && plain.size != object->size_plain)
		rc = tb_fail(err, TB_ECORRUPT, "it holds %zu bytes, its manifest says %llu", plain.size,
		             tb_ull(object->size_plain));
	if (rc != TB_OK)
		return place_failure(err, rc, path);
	tb_buf_swap(ret_plain, &plain);
	return TB_OK;
}

/* Chain numbers have 20 digits, so that the newest is the last in byte order. Other names aren't heads'. */
static tb_rc newest_name(void *context, const char *name, uint64_t size, tb_err *err)
{
	(void)size;
	(void)err;
	char *newest = context;
	size_t room = strlen(name) + 1;
	const char *number = strrchr(name, '/') + 1;
	if (strspn(number, "0123456789") == 20 && number[20] == '\0' && room <= TB_MANIFEST_PATH && strcmp(name,
	                                                                                                   newest) > 0)
		memcpy(newest, name, room);
	return TB_OK;
}

static tb_rc read_head(tb_archive *archive, const char *stream, const char *path, tb_head *ret_head, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf file = { 0 };
	char named[TB_MANIFEST_PATH];
	tb_head head;
	tb_rc rc = archive->tier->get(archive->tier, path, TB_HEAD_SIZE, &file, err);
	if (rc == TB_OK)
		rc = tb_head_read(tb_buf_span(&file), archive->instance, archive->repository, &head, err);
	if (rc != TB_OK)
		return place_failure(err, rc, path);
	tb_head_path(head.stream, head.chain, named);
	if (strcmp(head.stream, stream) != 0 || strcmp(named, path) != 0)
		return tb_fail(err, TB_ECORRUPT, "%s isn't what its name says, but %s", path, named);
	*ret_head = head;
	return TB_OK;
}

tb_rc tb_archive_head(tb_archive *archive, const char *stream, tb_head *ret_head, tb_err *err)
{
	/* The storer writes a newer one and removes the older while we look. */
	enum { TRIES = 5 };
	char prefix[TB_MANIFEST_PATH];
	tb_rc rc = tb_stream_check(stream, err);
	if (rc != TB_OK)
		return rc;
	snprintf(prefix, sizeof(prefix), "heads/%s", stream);
	for (int i = 0; i < TRIES; i++) {
		char newest[TB_MANIFEST_PATH] = "";
		rc = archive->tier->list(archive->tier, prefix, newest_name, newest, err);
		if (rc != TB_OK)
			return rc;
		if (newest[0] == '\0')
			return tb_fail(err, TB_ENOTFOUND, "no head of stream %s in %s", stream, archive->tier->url);
		rc = read_head(archive, stream, newest, ret_head, err);
		if (rc != TB_ENOTFOUND)
			return rc;
	}
	return rc;
}
