/* A period that manifests use must have a wrap, or nobody opens what was sealed for it. */
#include "store/verify_parts.h"

#include <stdio.h>
#include <stdlib.h>

struct wraps {
	tb_check *check;
	uint32_t stream;
	const uint8_t *period;
	char whose[TB_WRAP_PATH]; /* the wrap for the identity; empty: there is no identity */
	size_t good;
	int ours; /* it opened */
};

static tb_rc read_wrap(struct wraps *wraps, const char *path, tb_err *why)
{
	tb_check *check = wraps->check;
	tb_auto(tb_buf_drop) tb_buf file = { 0 };
	tb_period period;
	tb_rc rc = check->tier->get(check->tier, path, TB_WRAP_SIZE, &file, why);
	if (rc != TB_OK)
		return rc;
	if (file.size != TB_WRAP_SIZE)
		return tb_fail(why, TB_ECORRUPT, "%s isn't of the size of a wrapped key", path);
	rc = tb_period_read(tb_span_of(file.data, TB_PERIOD_RECORD), tb_archive_instance(check->archive), &period, why);
	if (rc != TB_OK)
		return rc;
	if (memcmp(period.id, wraps->period, TB_PERIOD_ID) != 0 ||
	    memcmp(period.repository, tb_archive_repository(check->archive), TB_REPOSITORY_ID) != 0)
		return tb_fail(why, TB_ECORRUPT, "%s is of another period or repository", path);
	if (strcmp(path, wraps->whose) != 0)
		return TB_OK;
	rc = tb_wrap_try(check->tier, check->options->identity, path, why);
	wraps->ours = rc == TB_OK;
	return rc;
}

static tb_rc check_wrap(void *context, const char *path, uint64_t size, tb_err *err)
{
	(void)size;
	struct wraps *wraps = context;
	tb_err why = { .text = "" };
	tb_rc rc = read_wrap(wraps, path, &why);
	if (rc == TB_OK) {
		wraps->good++;
		return TB_OK;
	}
	if (!tb_check_is_damage(rc)) {
		if (err != NULL)
			*err = why;
		return rc;
	}
	tb_check_damage(wraps->check, "key damaged", path, wraps->stream, TB_NO_ROW, "%s", why.text);
	return TB_OK;
}

static void lose_period(struct wraps *wraps, const char *path, const char *why)
{
	tb_check *check = wraps->check;
	tb_check_stream *stream = &check->streams[wraps->stream];
	for (size_t i = 0; i < stream->row_count; i++)
		if (memcmp(stream->rows[i].period, wraps->period, TB_PERIOD_ID) == 0)
			stream->rows[i].bad = 1;
	tb_check_damage(check, "key missing", path, wraps->stream, TB_NO_ROW, "%s", why)->period = wraps->period;
}

static tb_rc check_period(tb_check *check, uint32_t stream, const tb_check_row *row, tb_err *err)
{
	struct wraps wraps = { .check = check, .stream = stream, .period = row->period };
	char id[2 * TB_PERIOD_ID + 1], path[sizeof(id) + 8];
	tb_hex(id, row->period, TB_PERIOD_ID);
	snprintf(path, sizeof(path), "keys/%s", id);
	if (check->options->identity != NULL)
		tb_wrap_path(row->period, tb_key_public(check->options->identity), wraps.whose);
	tb_rc rc = check->tier->list(check->tier, path, check_wrap, &wraps, err);
	if (rc != TB_OK)
		return rc;
	if (wraps.good == 0) {
		lose_period(&wraps, path, "no wrap of this period is left: nothing sealed for it can be opened");
		return TB_OK;
	}
	if (wraps.whose[0] != '\0' && !wraps.ours)
		lose_period(&wraps, wraps.whose, "nothing that was sealed for this period can be opened by this identity");
	return TB_OK;
}

static int seen_before(const tb_check_stream *stream, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (stream->rows[i].readable && memcmp(stream->rows[i].period, stream->rows[at].period, TB_PERIOD_ID) == 0)
			return 1;
	return 0;
}

static tb_rc check_stream_keys(tb_check *check, uint32_t index, tb_err *err)
{
	const tb_check_stream *stream = &check->streams[index];
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < stream->row_count; i++)
		if (stream->rows[i].readable && !seen_before(stream, i))
			rc = check_period(check, index, &stream->rows[i], err);
	return rc;
}

tb_rc tb_check_keys(tb_check *check, tb_err *err)
{
	tb_rc rc = TB_OK;
	for (uint32_t i = 0; rc == TB_OK && i < check->stream_count; i++)
		rc = check_stream_keys(check, i, err);
	return rc;
}
