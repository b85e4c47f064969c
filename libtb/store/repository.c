#include "store/manifest.h"

#include <jansson.h>

#define NAME "tradebank.json"
#define FORMAT 1
#define SIZE_MAX_BYTES 4096

static void print(tb_buf *text, const uint8_t id[TB_REPOSITORY_ID])
{
	tb_buf_print(text, "{\"format\":%d,\"id\":\"", FORMAT);
	tb_buf_hex(text, id, TB_REPOSITORY_ID);
	tb_buf_print(text, "\"}\n");
}

tb_rc tb_repository_make(tb_tier *tier, const uint8_t id[TB_REPOSITORY_ID], tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	print(&text, id);
	tb_rc rc = tier->put(tier, NAME, tb_buf_span(&text), err);
	if (rc == TB_EREFUSED) {
		tb_fail(err, rc, "%s holds another repository already", tier->url);
		tb_hint(err, "choose another place for this one; a repository belongs to one instance");
	}
	return rc;
}

static tb_rc fail_newer(const char *url, json_int_t format, tb_err *err)
{
	tb_fail(err, TB_EUNSUPPORTED, NAME " in %s says format %lld; this version reads up to %d", url, (long long)format,
	        FORMAT);
	tb_hint(err, "use the version of Tradebank that writes it, or a newer one");
	return TB_EUNSUPPORTED;
}

static tb_rc read_fields(const json_t *root, const char *url, uint8_t ret_id[TB_REPOSITORY_ID], tb_err *err)
{
	uint8_t id[TB_REPOSITORY_ID];
	const json_t *format = json_object_get(root, "format");
	const char *text = json_string_value(json_object_get(root, "id"));
	if (json_is_integer(format) && json_integer_value(format) > FORMAT)
		return fail_newer(url, json_integer_value(format), err);
	if (!json_is_integer(format) || json_integer_value(format) != FORMAT || text == NULL ||
	    !tb_unhex(id, sizeof(id), text))
		return tb_fail(err, TB_ECORRUPT, "damaged repository: " NAME " in %s lacks a format or an id", url);
	memcpy(ret_id, id, sizeof(id));
	return TB_OK;
}

tb_rc tb_repository_read(tb_tier *tier, uint8_t ret_id[TB_REPOSITORY_ID], tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 }, written = { 0 };
	tb_rc rc = tier->get(tier, NAME, SIZE_MAX_BYTES, &text, err);
	if (rc == TB_ENOTFOUND) {
		tb_fail(err, rc, "there is no repository at %s: it has no " NAME, tier->url);
		tb_hint(err, "check the address; is its disk mounted?");
	}
	if (rc != TB_OK)
		return rc;
	json_t *root = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
	if (root == NULL)
		return tb_fail(err, TB_ECORRUPT, "damaged repository: " NAME " in %s is not JSON", tier->url);
	uint8_t id[TB_REPOSITORY_ID];
	rc = read_fields(root, tier->url, id, err);
	json_decref(root);
	if (rc != TB_OK)
		return rc;
	print(&written, id);
	if (!tb_span_equal(tb_buf_span(&text), tb_buf_span(&written)))
		return tb_fail(err, TB_ECORRUPT, "damaged repository: " NAME " in %s isn't as it was written", tier->url);
	memcpy(ret_id, id, sizeof(id));
	return TB_OK;
}
