/* Every name in the repository: objects against what manifests say of them, all else for being where it belongs. */
#include "store/verify_parts.h"

#include <stdio.h>
#include <stdlib.h>

#define ORPHANS_NAMED 20

static int compare_objects(const void *a, const void *b)
{
	return memcmp(((const tb_check_object *)a)->name, ((const tb_check_object *)b)->name, TB_OBJECT_NAME);
}

/* The first of those with that name: several manifests may name one object. NULL: nobody does. */
static tb_check_object *find_object(tb_check *check, const uint8_t name[TB_OBJECT_NAME])
{
	size_t low = 0, high = check->object_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (memcmp(check->objects[middle].name, name, TB_OBJECT_NAME) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == check->object_count || memcmp(check->objects[low].name, name, TB_OBJECT_NAME) != 0)
		return NULL;
	return &check->objects[low];
}

static int same_object(const tb_check *check, const tb_check_object *object, const tb_check_object *first)
{
	return object < check->objects + check->object_count && memcmp(object->name, first->name, TB_OBJECT_NAME) == 0;
}

static void hit_object(tb_check *check, const tb_check_object *object, const char *code, const char *path,
                       const char *why)
{
	tb_check_row_at(check, object->stream, object->row)->bad = 1;
	tb_check_damage(check, code, path, object->stream, object->row, "%s", why);
}

static tb_rc read_bytes(tb_check *check, const tb_check_object *first, const char *path, const char **ret_fault,
                        tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	uint8_t name[TB_OBJECT_NAME], period[TB_PERIOD_ID];
	tb_content content;
	uint64_t plain;
	tb_rc rc = check->tier->get(check->tier, path, TB_OBJECT_MAX, &bytes, err);
	if (rc == TB_EIO || rc == TB_ECORRUPT) {
		*ret_fault = rc == TB_EIO ? "the disk can't read it" : "it is larger than an object can be";
		return TB_OK;
	}
	if (rc != TB_OK)
		return rc;
	tb_object_name(tb_buf_span(&bytes), name);
	const tb_check_row *row = tb_check_row_at(check, first->stream, first->row);
	tb_content wanted = tb_archive_is(&row->entry, "SEG") ? TB_CONTENT_SEGMENT : TB_CONTENT_CHUNK;
	if (memcmp(name, first->name, sizeof(name)) != 0)
		*ret_fault = "its bytes aren't those of its name";
	else if (tb_object_head(tb_buf_span(&bytes), &content, &plain, period, NULL) != TB_OK)
		*ret_fault = "it was never an object";
	else if (content != wanted || plain != first->size_plain || memcmp(period, row->period, sizeof(period)) != 0)
		*ret_fault = "it is another content, size or period than its manifest says";
	return TB_OK;
}

static void tell_progress(tb_check *check, uint64_t size)
{
	check->bytes_done += size;
	if (check->options->progress != NULL)
		check->options->progress(check->options->context, check->bytes_done, check->bytes_all);
}

static tb_rc check_object(tb_check *check, tb_check_object *first, const char *path, uint64_t size, tb_err *err)
{
	const char *fault = NULL;
	tb_rc rc = TB_OK;
	check->counts.objects++;
	check->counts.bytes += size;
	if (check->options->full && size == first->size_stored) {
		rc = read_bytes(check, first, path, &fault, err);
		tell_progress(check, size);
	}
	if (rc == TB_ENOTFOUND)
		return TB_OK; /* gone since it was listed: not seen */
	if (rc != TB_OK)
		return rc;
	for (tb_check_object *object = first; same_object(check, object, first); object++) {
		object->seen = 1;
		if (size != object->size_stored) {
			char why[120];
			snprintf(why, sizeof(why), "it has %llu bytes, its manifest says %llu", tb_ull(size),
			         tb_ull(object->size_stored));
			hit_object(check, object, "object size", path, why);
		} else if (fault != NULL) {
			hit_object(check, object, "object damaged", path, fault);
		}
	}
	return TB_OK;
}

static void note_stray(tb_check *check, const char *path, const char *why)
{
	tb_check_damage(check, "stray name", path, TB_NO_ROW, TB_NO_ROW, "%s", why)->harmless = 1;
}

static tb_rc look_at_object(tb_check *check, const char *path, uint64_t size, tb_err *err)
{
	uint8_t name[TB_OBJECT_NAME];
	char proper[TB_OBJECT_PATH] = "";
	const char *last = strrchr(path, '/') + 1;
	if (strlen(last) == 2 * TB_OBJECT_NAME && tb_unhex(name, sizeof(name), last))
		tb_object_path(name, proper);
	if (strcmp(path, proper) != 0) {
		note_stray(check, path, "it isn't an object's name");
		return TB_OK;
	}
	tb_check_object *object = find_object(check, name);
	if (object != NULL)
		return check_object(check, object, path, size, err);
	if (check->options->stream == NULL && check->counts.orphans++ < ORPHANS_NAMED)
		tb_check_damage(check, "orphan", path, TB_NO_ROW, TB_NO_ROW, "no manifest names it")->harmless = 1;
	return TB_OK;
}

static tb_rc look_at_manifest(tb_check *check, const char *path, uint64_t size, tb_err *err)
{
	(void)size;
	(void)err;
	char stream[130], id[TB_BACKUP_ID];
	uint64_t last;
	const tb_backup_type *type;
	if (!tb_manifest_path_parse(path, stream, &last, &type, id))
		note_stray(check, path, "it isn't a manifest's name");
	return TB_OK;
}

static tb_rc look_at_head(tb_check *check, const char *path, uint64_t size, tb_err *err)
{
	(void)size;
	(void)err;
	char stream[130], proper[TB_MANIFEST_PATH] = "";
	unsigned long long chain;
	if (sscanf(path, "heads/%129[^/]/%20llu", stream, &chain) == 2)
		tb_head_path(stream, chain, proper);
	if (strcmp(path, proper) != 0)
		note_stray(check, path, "it isn't a head's name");
	return TB_OK;
}

static tb_rc look_at_key(tb_check *check, const char *path, uint64_t size, tb_err *err)
{
	(void)size;
	(void)err;
	static const char hex[] = "0123456789abcdef";
	const char *id = path + strlen("keys/");
	if (strspn(id, hex) != 32 || id[32] != '/' || strspn(id + 33, hex) != 32 || id[65] != '\0')
		note_stray(check, path, "it isn't a wrapped key's name");
	return TB_OK;
}

static tb_rc look_at_root(tb_check *check, const char *path, uint64_t size, tb_err *err)
{
	(void)check;
	(void)path;
	(void)size;
	(void)err;
	return TB_OK; /* was read when the archive was opened */
}

static const struct place {
	const char *prefix;
	tb_rc (*look)(tb_check *check, const char *path, uint64_t size, tb_err *err);
} places[] = {
	{ "objects/", look_at_object }, { "manifests/", look_at_manifest },    { "heads/", look_at_head },
	{ "keys/", look_at_key },       { "tradebank.json", look_at_root },
};

static tb_rc look_at_name(void *context, const char *path, uint64_t size, tb_err *err)
{
	tb_check *check = context;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (strncmp(path, places[i].prefix, strlen(places[i].prefix)) == 0)
			return places[i].look(check, path, size, err);
	note_stray(check, path, "nothing of a repository has such a name");
	return TB_OK;
}

static void count_bytes(tb_check *check)
{
	for (size_t i = 0; i < check->object_count; i++)
		if (i == 0 || memcmp(check->objects[i].name, check->objects[i - 1].name, TB_OBJECT_NAME) != 0)
			check->bytes_all += check->objects[i].size_stored;
}

static void note_missing(tb_check *check)
{
	for (size_t i = 0; i < check->object_count; i++) {
		char path[TB_OBJECT_PATH];
		if (check->objects[i].seen)
			continue;
		tb_object_path(check->objects[i].name, path);
		hit_object(check, &check->objects[i], "object missing", path, "it isn't in the repository");
	}
}

tb_rc tb_check_names(tb_check *check, tb_err *err)
{
	if (check->object_count != 0)
		qsort(check->objects, check->object_count, sizeof(*check->objects), compare_objects);
	count_bytes(check);
	tb_rc rc = check->tier->list(check->tier, "", look_at_name, check, err);
	if (rc == TB_OK)
		note_missing(check);
	return rc;
}
