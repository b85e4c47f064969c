/* run/ends.json: what `tb up` writes of the processes that end again and again, status reads. */
#include "workers/tb/ends.h"

#include "base/disk.h"
#include "leaks.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define NOW (UINT64_C(1800000000) * TB_NS_PER_S)

static char directory[32];
static json_t *told;

static void make(void)
{
	char run[48];
	snprintf(directory, sizeof(directory), "/tmp/tb-ends-XXXXXX");
	cr_assert(mkdtemp(directory));
	snprintf(run, sizeof(run), "%s/run", directory);
	cr_assert_eq(tb_disk_make_path(tb_disk_system(), run, NULL), TB_OK);
	told = json_array();
}

static void end(void)
{
	json_decref(told);
	tb_disk_remove_tree(tb_disk_system(), directory, NULL);
	fail_on_leaks();
}

TestSuite(ends, .init = make, .fini = end);

static child one(const char *name, unsigned failures, const char *why, const char *hint)
{
	child made = { .failures = failures, .code = 6, .due_ns = 5 * TB_NS_PER_S };
	snprintf(made.name, sizeof(made.name), "%s", name);
	snprintf(made.why, sizeof(made.why), "%s", why);
	snprintf(made.hint, sizeof(made.hint), "%s", hint);
	return made;
}

/* One that ended often, one that did once, and one whose hint isn't text. */
static void write_three(tb_buf *ret_text)
{
	child items[] = { one("sealer-2", 3, "the key is gone", "make one"), one("storer", 1, "an accident", ""),
		          one("signal", 2, "no room", "\xff\xfe") };
	const children all = { .items = items, .count = 3 };
	char path[64];
	ends_write(&all, directory, NOW, TB_NS_PER_S);
	snprintf(path, sizeof(path), "%s/run/ends.json", directory);
	cr_assert_eq(tb_disk_read_file(tb_disk_system(), path, 65536, ret_text, NULL), TB_OK);
}

static const char *text_of(size_t index)
{
	const char *text = json_string_value(json_array_get(told, index));
	return text != NULL ? text : "";
}

Test(ends, those_that_end_in_a_row_are_told_until_they_have_lived)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	write_three(&text);
	ends_read(directory, NOW, told);
	cr_assert_eq(json_array_size(told), 2);
	cr_assert_str_eq(text_of(0), "sealer-2 ended with exit code 6: the key is gone (3 times in a row; it is started again); "
	                             "make one");
	cr_assert(strstr(text_of(1), "; its log says why"), "%s", text_of(1));
	json_array_clear(told);
	uint64_t until = NOW + 4 * TB_NS_PER_S + CHILD_LIVED_LONG; /* it is started again in 4 seconds */
	ends_read(directory, until - 1, told);
	cr_assert_eq(json_array_size(told), 2);
	json_array_clear(told);
	ends_read(directory, until, told);
	cr_assert_eq(json_array_size(told), 0);
}

Test(ends, without_the_file_nothing_is_told)
{
	ends_read(directory, NOW, told);
	cr_assert_eq(json_array_size(told), 0);
}

Test(ends, cut_anywhere_it_says_nothing)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	write_three(&text);
	for (size_t size = 0; size < text.size; size++)
		ends_parse(tb_span_of(text.data, size), NOW, told);
	cr_assert_eq(json_array_size(told), 0);
	ends_parse(tb_buf_span(&text), NOW, told);
	cr_assert_eq(json_array_size(told), 2);
}

Test(ends, with_any_bit_flipped_it_says_texts_or_nothing)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	write_three(&text);
	for (size_t bit = 0; bit < text.size * 8; bit++) {
		text.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ends_parse(tb_buf_span(&text), NOW, told);
		cr_assert_leq(json_array_size(told), 2);
		for (size_t i = 0; i < json_array_size(told); i++)
			cr_assert(strstr(text_of(i), " times in a row"), "%s", text_of(i));
		json_array_clear(told);
		text.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

Test(ends, a_time_that_is_none_is_over)
{
	ends_parse(tb_span_text("{\"ends\":[{\"name\":\"a\",\"times\":2,\"how\":\"b\",\"hint\":\"\",\"until\":-1},"
	                        "{\"name\":\"a\",\"times\":2,\"how\":\"b\",\"hint\":\"\"}]}"), NOW, told);
	cr_assert_eq(json_array_size(told), 0);
}
