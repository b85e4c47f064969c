#include "workers/tb/ends.h"

#include "base/disk.h"

#include <stdlib.h>

#define ENDS_MAX (256 * 1024)
#define TIMES_MIN 2 /* once is an accident, and mended by the restart */

static const char *path_of(const char *dir, tb_buf *path)
{
	tb_buf_print(path, "%s/run/ends.json", dir);
	return tb_buf_text(path);
}

/* What it logged may hold anything. */
static json_t *text_of(const char *text)
{
	json_t *string = json_string(text);
	return string != NULL ? string : json_string("its log says why");
}

/* Until when it counts: the next start, and as long after it as a life has to last to be none of these. */
static json_t *describe(const child *one, uint64_t real_ns, uint64_t mono_ns)
{
	tb_auto(tb_buf_drop) tb_buf how = { 0 };
	uint64_t wait = one->due_ns > mono_ns ? one->due_ns - mono_ns : 0;
	child_describe(one, &how);
	return json_pack("{s:s, s:i, s:o, s:o, s:I}", "name", one->name, "times", (int)one->failures, "how",
	                 text_of(tb_buf_text(&how)), "hint", text_of(one->hint), "until",
	                 (json_int_t)(real_ns + wait + CHILD_LIVED_LONG));
}

void ends_write(const children *all, const char *dir, uint64_t real_ns, uint64_t mono_ns)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	json_t *list = json_array();
	for (size_t i = 0; i < all->count; i++) {
		const child *one = &all->items[i];
		int now = one->pid == 0 || mono_ns - one->started_ns < CHILD_LIVED_LONG;
		if (one->failures >= TIMES_MIN && now)
			json_array_append_new(list, describe(one, real_ns, mono_ns));
	}
	json_t *object = json_pack("{s:o}", "ends", list);
	char *text = json_dumps(object, JSON_COMPACT);
	if (text != NULL)
		tb_disk_write_file(tb_disk_system(), path_of(dir, &path), tb_span_text(text), TB_DISK_PRIVATE, NULL);
	free(text);
	json_decref(object);
}

static void tell(const json_t *one, json_t *degraded)
{
	const char *name, *how, *hint;
	int times;
	if (json_unpack((json_t *)(uintptr_t)one, "{s:s, s:i, s:s, s:s}", "name", &name, "times", &times, "how", &how, "hint",
	                &hint) != 0)
		return;
	json_array_append_new(degraded, json_sprintf("%s %s (%d times in a row; it is started again)%s%s", name, how,
	                                             times, *hint ? "; " : "", hint));
}

void ends_parse(tb_span text, uint64_t real_ns, json_t *degraded)
{
	size_t i;
	json_t *one, *object = json_loadb((const char *)text.data, text.size, 0, NULL);
	json_array_foreach (json_object_get(object, "ends"), i, one) {
		json_int_t until = json_integer_value(json_object_get(one, "until"));
		if (until > 0 && (uint64_t)until > real_ns)
			tell(one, degraded);
	}
	json_decref(object);
}

void ends_read(const char *dir, uint64_t real_ns, json_t *degraded)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 }, bytes = { 0 };
	if (tb_disk_read_file(tb_disk_system(), path_of(dir, &path), ENDS_MAX, &bytes, NULL) == TB_OK)
		ends_parse(tb_buf_span(&bytes), real_ns, degraded);
}
