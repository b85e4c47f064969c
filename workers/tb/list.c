/* tb list and tb show: what a repository's manifests say. No process is needed. */
#include "workers/tb/tb.h"

#include <stdio.h>
#include <stdlib.h>


const tb_opt tb_list_rows[] = {
	{ "stream", 's', TB_OPT_TEXT, offsetof(struct list_options, stream), NULL, NULL, "S", "Only this stream's.", 1 },
	{ "type", 't', TB_OPT_TEXT, offsetof(struct list_options, type), NULL, NULL, "TYPE",
	  "Only of this type: full, incremental, differential, snapshot, emergency, segment.", 1 },
	{ "all", 'a', TB_OPT_FLAG, offsetof(struct list_options, all), NULL, NULL, NULL,
	  "Segments, and Tradebank's own streams, too.", 1 },
	{ "repo", 'r', TB_OPT_TEXT, offsetof(struct list_options, repo), NULL, NULL, "PATH",
	  "The repository; default: the instance's.", 1 },
	{ "key", 'k', TB_OPT_TEXT, offsetof(struct list_options, key), NULL, NULL, "FILE",
	  "An identity or recovery kit, when no --dir is given.", 1 },
	{ 0 },
};

const tb_opt tb_show_rows[] = {
	{ "repo", 'r', TB_OPT_TEXT, offsetof(struct show_options, repo), NULL, NULL, "PATH",
	  "The repository; default: the instance's.", 1 },
	{ "key", 'k', TB_OPT_TEXT, offsetof(struct show_options, key), NULL, NULL, "FILE",
	  "An identity or recovery kit, when no --dir is given.", 1 },
	{ 0 },
};

/* One manifest of a repository, read. */
typedef struct found {
	const char *stream;
	const tb_archive_entry *entry;
	const Tb__Manifest *manifest;
	const uint8_t *hash;
} found;

static const char *word_of(const found *one)
{
	return one->entry->type->word;
}

/* ---- tb list */

typedef struct listing {
	tb_call *call;
	const struct list_options *options;
	tb_archive *archive;
	tb_table table;
} listing;

static int is_wanted(const struct list_options *options, const tb_archive_entry *entry)
{
	if (options->type != NULL)
		return strcmp(entry->type->word, options->type) == 0;
	return options->all || !tb_archive_is(entry, "SEG");
}

static void list_row(listing *self, const found *one)
{
	tb_auto(tb_buf_drop) tb_buf time = { 0 }, stored = { 0 }, plain = { 0 };
	tb_print_time(&time, one->manifest->time_to_ns);
	tb_print_size(&stored, one->manifest->bytes_stored);
	tb_print_size(&plain, one->manifest->bytes_plain);
	tb_table_cell(&self->table, "%s", one->entry->id);
	tb_table_cell(&self->table, "%s", one->stream);
	tb_table_cell(&self->table, "%s", word_of(one));
	tb_table_cell(&self->table, "%llu", (unsigned long long)one->entry->last);
	tb_table_cell(&self->table, "%s", tb_buf_text(&time));
	tb_table_cell(&self->table, "%s", tb_buf_text(&stored));
	tb_table_cell(&self->table, "%s", tb_buf_text(&plain));
	tb_table_cell(&self->table, "%llu", (unsigned long long)one->manifest->records);
}

static json_t *found_json(const found *one)
{
	const Tb__Manifest *manifest = one->manifest;
	return json_pack("{s:s, s:s, s:s, s:I, s:o, s:I, s:o, s:I, s:I, s:I, s:I}", "backup", one->entry->id, "stream",
	                 one->stream, "type", word_of(one), "event", (json_int_t)one->entry->last, "time",
	                 tb_json_time(manifest->time_to_ns), "time_ns", (json_int_t)manifest->time_to_ns, "created",
	                 tb_json_time(manifest->created_ns), "bytes_stored", (json_int_t)manifest->bytes_stored, "bytes_plain",
	                 (json_int_t)manifest->bytes_plain, "records", (json_int_t)manifest->records, "objects",
	                 (json_int_t)manifest->n_objects);
}

static void list_entry(listing *self, const char *stream, const tb_archive_entry *entry)
{
	tb_arena *arena = tb_arena_new();
	Tb__Manifest *manifest;
	uint8_t hash[TB_HASH_SIZE];
	tb_err err = { 0 };
	if (tb_archive_manifest(self->archive, stream, entry, arena, &manifest, hash, &err) == TB_OK) {
		found one = { stream, entry, manifest, hash };
		if (self->call->json)
			tb_print_json(found_json(&one));
		else
			list_row(self, &one);
	} else { /* one that is damaged doesn't hide the others */
		tb_print_failure("list", &err);
		self->call->exit = tb_rc_exit(err.rc);
	}
	tb_arena_free(arena);
}

static tb_rc list_stream(listing *self, const char *stream, tb_err *err)
{
	tb_archive_entry *entries;
	size_t count;
	tb_rc rc = tb_archive_list(self->archive, stream, &entries, &count, err);
	if (rc != TB_OK)
		return rc;
	for (size_t i = 0; i < count; i++)
		if (is_wanted(self->options, &entries[i]))
			list_entry(self, stream, &entries[i]);
	free(entries);
	return TB_OK;
}

static tb_rc list_all(listing *self, tb_err *err)
{
	char **names;
	size_t count;
	tb_rc rc = tb_archive_streams(self->archive, &names, &count, err);
	if (rc != TB_OK)
		return rc;
	for (size_t i = 0; i < count && rc == TB_OK; i++)
		if (self->options->all || strncmp(names[i], "tb.", 3) != 0)
			rc = list_stream(self, names[i], err);
	tb_names_free(names, count);
	return rc;
}

static tb_rc check_type(const char *type, tb_err *err)
{
	static const char *const words[] = { "full", "incremental", "differential", "snapshot", "emergency", "segment", NULL };
	for (size_t i = 0; type != NULL && words[i] != NULL; i++)
		if (strcmp(type, words[i]) == 0)
			return TB_OK;
	return type == NULL ? TB_OK : tb_name_unknown("type", type, words, "--type ", err);
}

tb_rc verb_list(tb_call *call, tb_err *err)
{
	listing self = { .call = call, .options = call->options };
	static const char *const heads[] = { "BACKUP", "STREAM", "TYPE", "EVENT", "TIME", "STORED", "PLAIN", "RECORDS", NULL };
	self.table = (tb_table){ .columns = 8, .right = 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 };
	tb_rc rc = check_type(self.options->type, err);
	if (rc == TB_OK)
		rc = tb_call_archive(call, self.options->repo, self.options->key, &self.archive, err);
	if (rc != TB_OK)
		return rc;
	tb_table_row(&self.table, heads);
	rc = self.options->stream != NULL ? list_stream(&self, self.options->stream, err) : list_all(&self, err);
	if (rc == TB_OK && !call->json) {
		tb_auto(tb_buf_drop) tb_buf text = { 0 };
		tb_table_print(&self.table, &text);
		fputs(self.table.count > self.table.columns ? tb_buf_text(&text) : "no backups yet\n", stdout);
	}
	tb_table_drop(&self.table);
	tb_archive_close(self.archive);
	return rc;
}

/* ---- tb show */

/* How many segments hold events of [from, to]. They follow each other, so a name tells where one begins, too. */
static size_t count_leaned_on(const tb_archive_entry *entries, size_t count, uint64_t from, uint64_t to)
{
	uint64_t before = 0;
	size_t segments = 0;
	for (size_t i = 0; i < count; i++) {
		if (!tb_archive_is(&entries[i], "SEG"))
			continue;
		segments += from <= to && entries[i].last >= from && before < to;
		before = entries[i].last;
	}
	return segments;
}

static void line_text(tb_buf *to, const char *name, const char *text)
{
	tb_buf_print(to, "%-12s %s\n", name, *text ? text : "-");
}

static void line_hex(tb_buf *to, const char *name, const uint8_t *data, size_t size)
{
	tb_buf_print(to, "%-12s ", name);
	tb_buf_hex(to, data, size);
	tb_buf_print(to, size ? "\n" : "-\n");
}

static void line_time(tb_buf *to, const char *name, uint64_t ns)
{
	char text[TB_TIME_TEXT_SIZE];
	tb_time_text(text, ns);
	line_text(to, name, ns ? text : "");
}

static void line_number(tb_buf *to, const char *name, uint64_t number)
{
	tb_buf_print(to, "%-12s %llu\n", name, (unsigned long long)number);
}

static void line_sizes(tb_buf *to, const Tb__Manifest *manifest)
{
	tb_buf_print(to, "%-12s %zu, %llu bytes (", "objects", manifest->n_objects, (unsigned long long)manifest->bytes_stored);
	tb_print_size(to, manifest->bytes_stored);
	tb_buf_print(to, ") stored of %llu (", (unsigned long long)manifest->bytes_plain);
	tb_print_size(to, manifest->bytes_plain);
	tb_buf_print(to, ")\n");
}

static void line_leans(tb_buf *to, const found *one, size_t segments)
{
	const Tb__Manifest *manifest = one->manifest;
	tb_buf_print(to, "%-12s ", "leans on");
	if (segments > 0)
		tb_buf_print(to, "%zu segment%s, for events %llu to %llu", segments, segments > 1 ? "s" : "",
		             (unsigned long long)manifest->from, (unsigned long long)manifest->to);
	if (*manifest->parent)
		tb_buf_print(to, "%s%s", segments ? "; " : "", manifest->parent);
	tb_buf_print(to, segments || *manifest->parent ? "\n" : "nothing\n");
}

static void print_found(const found *one, size_t segments)
{
	const Tb__Manifest *manifest = one->manifest;
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	char path[TB_MANIFEST_PATH];
	tb_manifest_path(one->stream, one->entry->last, one->entry->type->name, one->entry->id, path);
	line_text(&text, "backup", one->entry->id);
	line_text(&text, "stream", one->stream);
	line_text(&text, "type", word_of(one));
	line_number(&text, "event", manifest->to);
	line_time(&text, "time", manifest->time_to_ns);
	if (tb_archive_is(one->entry, "SEG"))
		line_number(&text, "first event", manifest->from);
	else
		line_leans(&text, one, segments);
	line_number(&text, "records", manifest->records);
	line_sizes(&text, manifest);
	line_number(&text, "rejected", manifest->n_rejected);
	line_time(&text, "started", manifest->started_ns);
	line_time(&text, "created", manifest->created_ns);
	line_text(&text, "source", manifest->source);
	line_text(&text, "environment", manifest->environment);
	line_number(&text, "chain", manifest->chain);
	line_hex(&text, "before", manifest->before.data, manifest->before.len);
	line_hex(&text, "hash", one->hash, TB_HASH_SIZE);
	line_hex(&text, "period", manifest->period.data, manifest->period.len);
	line_text(&text, "manifest", path);
	fputs(tb_buf_text(&text), stdout);
}

static json_t *json_hex(const uint8_t *data, size_t size)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_buf_hex(&text, data, size);
	return json_string(tb_buf_text(&text));
}

static json_t *objects_json(const Tb__Manifest *manifest)
{
	json_t *all = json_array();
	for (size_t i = 0; i < manifest->n_objects; i++) {
		const Tb__ObjectRef *object = manifest->objects[i];
		json_array_append_new(all, json_pack("{s:o, s:I, s:I}", "name", json_hex(object->name.data, object->name.len),
		                                     "bytes_stored", (json_int_t)object->size_stored, "bytes_plain",
		                                     (json_int_t)object->size_plain));
	}
	return all;
}

static json_t *leans_json(const found *one, size_t segments)
{
	const Tb__Manifest *manifest = one->manifest;
	if (segments == 0 && *manifest->parent == '\0')
		return json_null();
	return json_pack("{s:I, s:I, s:I, s:o}", "segments", (json_int_t)segments, "from", (json_int_t)manifest->from, "to",
	                 (json_int_t)manifest->to, "parent",
	                 *manifest->parent ? json_string(manifest->parent) : json_null());
}

static void print_found_json(const found *one, size_t segments)
{
	const Tb__Manifest *manifest = one->manifest;
	char path[TB_MANIFEST_PATH];
	tb_manifest_path(one->stream, one->entry->last, one->entry->type->name, one->entry->id, path);
	json_t *object = found_json(one);
	json_object_set_new(object, "objects", objects_json(manifest)); /* the list in place of the count */
	json_t *more = json_pack("{s:I, s:o, s:I, s:I, s:o, s:s, s:s, s:o, s:o, s:o, s:s}", "from", (json_int_t)manifest->from,
	                         "leans_on", leans_json(one, segments), "rejected", (json_int_t)manifest->n_rejected, "chain",
	                         (json_int_t)manifest->chain, "started", tb_json_time(manifest->started_ns), "source",
	                         manifest->source, "environment", manifest->environment, "before",
	                         json_hex(manifest->before.data, manifest->before.len), "hash",
	                         json_hex(one->hash, TB_HASH_SIZE), "period",
	                         json_hex(manifest->period.data, manifest->period.len), "manifest", path);
	json_object_update(object, more);
	json_decref(more);
	tb_print_json(object);
}

static tb_rc show_entry(tb_call *call, tb_archive *archive, const char *stream, const tb_archive_entry *entries,
                        size_t count, const tb_archive_entry *entry, tb_err *err)
{
	tb_arena *arena = tb_arena_new();
	Tb__Manifest *manifest;
	uint8_t hash[TB_HASH_SIZE];
	tb_rc rc = tb_archive_manifest(archive, stream, entry, arena, &manifest, hash, err);
	if (rc == TB_OK) {
		found one = { stream, entry, manifest, hash };
		int segment = tb_archive_is(entry, "SEG");
		size_t leaned_on = segment ? 0 : count_leaned_on(entries, count, manifest->from, manifest->to);
		(call->json ? print_found_json : print_found)(&one, leaned_on);
	}
	tb_arena_free(arena);
	return rc;
}

/* TB_ENOTFOUND: it isn't one of this stream's. */
static tb_rc show_of_stream(tb_call *call, tb_archive *archive, const char *stream, const char *id, tb_err *err)
{
	tb_archive_entry *entries;
	size_t count, i = 0;
	tb_rc rc = tb_archive_list(archive, stream, &entries, &count, err);
	if (rc != TB_OK)
		return rc;
	while (i < count && strcmp(entries[i].id, id) != 0)
		i++;
	rc = i < count ? show_entry(call, archive, stream, entries, count, &entries[i], err) : TB_ENOTFOUND;
	free(entries);
	return rc;
}

tb_rc verb_show(tb_call *call, tb_err *err)
{
	const struct show_options *options = call->options;
	tb_archive *archive;
	char **names;
	size_t count;
	if (call->operand_count == 0) {
		tb_fail(err, TB_EINVAL, "it isn't said which backup");
		tb_hint(err, "`tb list` prints the ids there are");
		return TB_EINVAL;
	}
	const char *id = call->operands[0];
	if (!tb_backup_id_valid(id)) {
		tb_fail(err, TB_EINVAL, "'%.100s' is no backup's id", id);
		tb_hint(err, "ids look like FUL_20260102T030405Z_0123456789abcdef; `tb list` prints those there are");
		return TB_EINVAL;
	}
	tb_rc rc = tb_call_archive(call, options->repo, options->key, &archive, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_archive_streams(archive, &names, &count, err);
	if (rc == TB_OK) {
		tb_fail(err, TB_ENOTFOUND, "there is no backup %s in %s", id, tb_archive_tier(archive)->url);
		tb_hint(err, "`tb list` prints those there are; one that was just ordered is here when it is READY");
		rc = TB_ENOTFOUND;
		for (size_t i = 0; i < count && rc == TB_ENOTFOUND; i++)
			rc = show_of_stream(call, archive, names[i], id, err);
		tb_names_free(names, count);
	}
	tb_archive_close(archive);
	return rc;
}
