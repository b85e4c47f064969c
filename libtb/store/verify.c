#include "store/verify_parts.h"

#include "base/clock.h"
#include "store/catalog.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

tb_damage *tb_check_damage(tb_check *check, const char *code, const char *path, uint32_t stream, uint32_t row,
                           const char *format, ...)
{
	char detail[512];
	va_list args;
	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	if (check->damage_count == check->damage_capacity) {
		check->damage_capacity = check->damage_capacity ? 2 * check->damage_capacity : 16;
		check->damages = tb_realloc(check->damages, check->damage_capacity * sizeof(*check->damages));
	}
	tb_damage *damage = &check->damages[check->damage_count++];
	*damage = (tb_damage){ .code = code, .stream = stream, .row = row };
	damage->path = tb_strdup(path);
	damage->detail = tb_strdup(detail);
	return damage;
}

tb_check_row *tb_check_row_at(tb_check *check, uint32_t stream, uint32_t row)
{
	return &check->streams[stream].rows[row];
}

void tb_check_row_path(tb_check *check, uint32_t stream, uint32_t row, char ret_path[TB_MANIFEST_PATH])
{
	const tb_archive_entry *entry = &tb_check_row_at(check, stream, row)->entry;
	tb_manifest_path(check->streams[stream].name, entry->last, entry->type->name, entry->id, ret_path);
}

int tb_check_is_damage(tb_rc rc)
{
	return rc == TB_ECORRUPT || rc == TB_EKEY || rc == TB_EUNSUPPORTED || rc == TB_ENOTFOUND || rc == TB_EIO;
}

/* Streams: those with manifests, those with heads, and those that the catalog remembers. */

static void add_stream(tb_check *check, const char *name)
{
	const char *only = check->options->stream;
	if (only != NULL && strcmp(only, name) != 0)
		return;
	for (size_t i = 0; i < check->stream_count; i++)
		if (strcmp(check->streams[i].name, name) == 0)
			return;
	check->streams = tb_realloc(check->streams, (check->stream_count + 1) * sizeof(*check->streams));
	tb_check_stream *stream = &check->streams[check->stream_count++];
	*stream = (tb_check_stream){ 0 };
	snprintf(stream->name, sizeof(stream->name), "%s", name);
}

static tb_rc add_named_by_head(void *context, const char *path, uint64_t size, tb_err *err)
{
	(void)size;
	(void)err;
	char stream[130];
	if (sscanf(path, "heads/%129[^/]/", stream) == 1 && tb_stream_check(stream, NULL) == TB_OK)
		add_stream(context, stream);
	return TB_OK;
}

static tb_rc add_remembered(tb_check *check, tb_err *err)
{
	tb_head *heads;
	size_t count;
	if (check->options->catalog == NULL)
		return TB_OK;
	tb_rc rc = tb_catalog_heads(check->options->catalog, &heads, &count, err);
	if (rc != TB_OK)
		return rc == TB_ENOTFOUND ? TB_OK : rc;
	for (size_t i = 0; i < count; i++) {
		add_stream(check, heads[i].stream);
		tb_check_stream *stream = check->stream_count ? &check->streams[check->stream_count - 1] : NULL;
		if (stream == NULL || strcmp(stream->name, heads[i].stream) != 0)
			continue; /* another than the one asked for */
		stream->has_remembered = 1;
		stream->remembered = heads[i];
	}
	free(heads);
	return TB_OK;
}

static tb_rc add_archived(tb_check *check, tb_err *err)
{
	char **names;
	size_t count;
	tb_rc rc = check->tier->list(check->tier, "heads", add_named_by_head, check, err);
	if (rc == TB_OK)
		rc = tb_archive_streams(check->archive, &names, &count, err);
	if (rc != TB_OK)
		return rc;
	for (size_t i = 0; i < count; i++) {
		add_stream(check, names[i]);
		free(names[i]);
	}
	free(names);
	return TB_OK;
}

static tb_rc find_streams(tb_check *check, tb_err *err)
{
	tb_rc rc = add_remembered(check, err);
	if (rc == TB_OK)
		rc = add_archived(check, err);
	if (rc == TB_OK && check->stream_count == 0 && check->options->stream != NULL)
		return tb_fail(err, TB_ENOTFOUND, "no stream %s in %s", check->options->stream, check->tier->url);
	check->counts.streams = check->stream_count;
	return rc;
}

/* Findings */

static void add_reach(tb_buf *detail, const tb_damage *damage, const tb_finding *finding)
{
	if (finding->from != 0)
		tb_buf_print(detail, "; events %llu..%llu can't be restored", tb_ull(finding->from), tb_ull(finding->to));
	else if (damage->row != TB_NO_ROW)
		tb_buf_print(detail, "; every event can still be restored without it");
}

static void tell_finding(tb_check *check, const tb_damage *damage)
{
	tb_finding finding = { .code = damage->code, .path = damage->path, .stream = "", .backup = "", .type = "",
	                       .harmless = damage->harmless };
	tb_auto(tb_buf_drop) tb_buf detail = { 0 };
	tb_check_reach(check, damage, &finding.from, &finding.to);
	if (damage->stream != TB_NO_ROW)
		finding.stream = check->streams[damage->stream].name;
	if (damage->row != TB_NO_ROW) {
		const tb_check_row *row = tb_check_row_at(check, damage->stream, damage->row);
		finding.backup = row->entry.id;
		finding.type = row->entry.type->name;
	}
	tb_buf_print(&detail, "%s", damage->detail);
	add_reach(&detail, damage, &finding);
	finding.detail = tb_buf_text(&detail);
	check->counts.findings += !damage->harmless;
	if (check->options->finding != NULL)
		check->options->finding(check->options->context, &finding);
}

static tb_rc run(tb_check *check, tb_err *err)
{
	tb_rc rc = find_streams(check, err);
	for (uint32_t i = 0; rc == TB_OK && i < check->stream_count; i++)
		rc = tb_check_stream_read(check, i, err);
	if (rc == TB_OK)
		rc = tb_check_keys(check, err);
	if (rc == TB_OK)
		rc = tb_check_names(check, err);
	for (size_t i = 0; rc == TB_OK && i < check->damage_count; i++)
		tell_finding(check, &check->damages[i]);
	return rc;
}

static void drop(tb_check *check)
{
	for (size_t i = 0; i < check->stream_count; i++) {
		free(check->streams[i].rows);
		free(check->streams[i].gaps);
	}
	for (size_t i = 0; i < check->damage_count; i++) {
		free(check->damages[i].path);
		free(check->damages[i].detail);
	}
	free(check->streams);
	free(check->objects);
	free(check->damages);
}

tb_rc tb_verify(tb_archive *archive, const tb_verify_options *options, tb_verified *ret_verified, tb_err *err)
{
	uint64_t started_ns = tb_mono_ns(tb_clock_system());
	tb_check check = { .archive = archive, .tier = tb_archive_tier(archive), .options = options };
	tb_rc rc = options->identity != NULL ? tb_archive_fits(archive, options->identity, err) : TB_OK;
	if (rc == TB_OK)
		rc = run(&check, err);
	if (rc == TB_OK) {
		check.counts.seconds_ns = tb_mono_ns(tb_clock_system()) - started_ns;
		*ret_verified = check.counts;
	}
	drop(&check);
	return rc;
}
