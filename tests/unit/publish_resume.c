#include "workers/tb/publish.h"

#include "leaks.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

static void set_up(void)
{
	cr_assert_geq(sodium_init(), 0);
}

TestSuite(publish_resume, .init = set_up, .fini = fail_on_leaks);

static const char line_a[] = "{\"delta\":{\"key\":\"a\",\"value\":\"1\"}}\n";
static const char line_b[] = "{\"delta\":{\"key\":\"b\",\"value\":\"2\"}}\n";

static uint64_t lines_of(const tb_inputs *inputs, const char *beginning)
{
	const tb_input *input = tb_inputs_find(inputs, tb_span_text(beginning));
	return input != NULL ? input->lines : 0;
}

/* Two statements, one of them open. */
static void sample(tb_inputs *inputs)
{
	tb_inputs_note(inputs, tb_span_text(line_a), 17, 0);
	tb_inputs_note(inputs, tb_span_text(line_b), 3, 100);
}

Test(publish_resume, an_input_is_known_by_its_beginning)
{
	tb_inputs inputs = { 0 };
	sample(&inputs);
	cr_assert_eq(lines_of(&inputs, line_a), 17);
	cr_assert_eq(lines_of(&inputs, line_b), 3);
	cr_assert_null(tb_inputs_find(&inputs, tb_span_text("something else")));
	cr_assert_null(tb_inputs_find(&inputs, tb_span_text("")));
	tb_inputs_drop(&inputs);
}

Test(publish_resume, an_input_that_has_grown_is_still_known)
{
	tb_inputs inputs = { 0 };
	char grown[200];
	snprintf(grown, sizeof(grown), "%s%s", line_a, line_b);
	tb_inputs_note(&inputs, tb_span_text(line_a), 1, 0);
	cr_assert_eq(lines_of(&inputs, grown), 1);
	tb_inputs_note(&inputs, tb_span_text(grown), 2, 0);
	cr_assert_eq(inputs.count, 1, "it replaces the statement about its beginning");
	cr_assert_null(tb_inputs_find(&inputs, tb_span_text(line_a)), "a shorter one is another one");
	tb_inputs_drop(&inputs);
}

Test(publish_resume, of_several_that_fit_the_longest_counts)
{
	tb_inputs inputs = { 0 };
	char longer[200], longest[300];
	snprintf(longer, sizeof(longer), "%s%s", line_a, line_b);
	snprintf(longest, sizeof(longest), "%s%s", longer, line_b);
	tb_inputs_note(&inputs, tb_span_text(longer), 2, 0);
	tb_inputs_note(&inputs, tb_span_text(line_a), 1, 0);
	cr_assert_eq(inputs.count, 2);
	cr_assert_eq(lines_of(&inputs, longest), 2);
	tb_inputs_drop(&inputs);
}

Test(publish_resume, closing_turns_events_into_lines)
{
	tb_inputs inputs = { 0 };
	sample(&inputs);
	cr_assert(tb_inputs_open(&inputs));
	tb_inputs_close(&inputs, 109);
	cr_assert_not(tb_inputs_open(&inputs));
	cr_assert_eq(lines_of(&inputs, line_b), 13, "3 lines and events 100 to 109");
	cr_assert_eq(lines_of(&inputs, line_a), 17, "what was closed stays");
	tb_inputs_close(&inputs, 200);
	cr_assert_eq(lines_of(&inputs, line_b), 13, "later events are somebody else's");
	tb_inputs_drop(&inputs);
}

Test(publish_resume, a_run_that_was_killed_before_its_first_event_has_done_nothing)
{
	tb_inputs inputs = { 0 };
	tb_inputs_note(&inputs, tb_span_text(line_a), 5, 100);
	tb_inputs_close(&inputs, 99);
	cr_assert_eq(lines_of(&inputs, line_a), 5);
	tb_inputs_note(&inputs, tb_span_text(line_a), 5, 100);
	tb_inputs_close(&inputs, 40);
	cr_assert_eq(lines_of(&inputs, line_a), 5, "numbers that went back take no lines away");
	tb_inputs_drop(&inputs);
}

/* Runs over three inputs, taken in turns on one stream; each is killed after some events, some of them before any. */
Test(publish_resume, whoever_is_killed_whenever_each_line_is_published_once)
{
	static const char *const names[] = { "first input\n", "second input\n", "third input\n" };
	uint64_t done[3] = { 0 }, last = 0, state = 12345;
	tb_inputs inputs = { 0 };
	for (int run = 0; run < 2000; run++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		size_t which = (state >> 33) % 3;
		uint64_t events = (state >> 40) % 7;
		if (tb_inputs_open(&inputs))
			tb_inputs_close(&inputs, last);
		cr_assert_eq(lines_of(&inputs, names[which]), done[which], "run %d", run);
		if ((state >> 50) % 5 == 0)
			continue; /* killed before it said anything */
		tb_inputs_note(&inputs, tb_span_text(names[which]), done[which], last + 1);
		last += events;
		done[which] += events;
		if ((state >> 55) % 3 == 0) { /* a bad line: set aside, then a new statement */
			done[which]++;
			tb_inputs_note(&inputs, tb_span_text(names[which]), done[which], last + 1);
		}
		if ((state >> 58) % 2 == 0) /* it ended in order */
			tb_inputs_note(&inputs, tb_span_text(names[which]), done[which], 0);
	}
	tb_inputs_drop(&inputs);
}

Test(publish_resume, only_so_many_are_remembered)
{
	tb_inputs inputs = { 0 };
	char name[32];
	for (unsigned i = 0; i <= TB_INPUTS_MAX; i++) {
		snprintf(name, sizeof(name), "input %u\n", i);
		tb_inputs_note(&inputs, tb_span_text(name), i, 0);
	}
	cr_assert_eq(inputs.count, TB_INPUTS_MAX);
	cr_assert_null(tb_inputs_find(&inputs, tb_span_text("input 0\n")));
	cr_assert_eq(lines_of(&inputs, name), TB_INPUTS_MAX);
	tb_inputs_drop(&inputs);
}

static void assert_same(const tb_inputs *a, const tb_inputs *b)
{
	cr_assert_eq(a->count, b->count);
	for (size_t i = 0; i < a->count; i++) {
		cr_assert_arr_eq(a->items[i].hash, b->items[i].hash, TB_INPUT_HASH);
		cr_assert_eq(a->items[i].size, b->items[i].size);
		cr_assert_eq(a->items[i].lines, b->items[i].lines);
		cr_assert_eq(a->items[i].first, b->items[i].first);
	}
}

Test(publish_resume, what_is_written_reads_back)
{
	tb_inputs inputs = { 0 }, back;
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	sample(&inputs);
	tb_inputs_write(&inputs, &text);
	cr_assert_eq(tb_inputs_read(tb_buf_span(&text), &back, NULL), TB_OK);
	assert_same(&inputs, &back);
	tb_inputs_drop(&back);
	tb_inputs_drop(&inputs);
}

Test(publish_resume, a_text_cut_anywhere_is_refused)
{
	tb_inputs inputs = { 0 }, back;
	tb_err err;
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	sample(&inputs);
	tb_inputs_write(&inputs, &text);
	for (size_t size = 0; size < text.size - 1; size++) /* the newline isn't missed */
		cr_assert_eq(tb_inputs_read(tb_span_of(text.data, size), &back, &err), TB_ECORRUPT, "cut at %zu", size);
	tb_inputs_drop(&inputs);
}

Test(publish_resume, a_flipped_bit_is_refused_or_still_a_statement)
{
	tb_inputs inputs = { 0 }, back;
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	sample(&inputs);
	tb_inputs_write(&inputs, &text);
	for (size_t bit = 0; bit < 8 * text.size; bit++) {
		text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (tb_inputs_read(tb_buf_span(&text), &back, NULL) == TB_OK) {
			for (size_t i = 0; i < back.count; i++)
				cr_assert(back.items[i].size > 0 && back.items[i].size <= TB_INPUT_BEGINNING);
			tb_inputs_drop(&back);
		}
		text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	tb_inputs_drop(&inputs);
}

Test(publish_resume, statements_that_make_no_sense_are_refused)
{
	static const char *const texts[] = {
		"", "null", "[]", "{}", "{\"inputs\":{}}", "{\"inputs\":[{}]}",
		"{\"inputs\":[{\"begins\":\"00\",\"size\":1,\"lines\":0,\"first\":0}]}",
		"{\"inputs\":[{\"begins\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"size\":1,"
		"\"lines\":-1,\"first\":0}]}",
		"{\"inputs\":[{\"begins\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"size\":65537,"
		"\"lines\":1,\"first\":0}]}",
	};
	tb_inputs back;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		cr_assert_eq(tb_inputs_read(tb_span_text(texts[i]), &back, NULL), TB_ECORRUPT, "%s", texts[i]);
}

Test(publish_resume, the_file_is_replaced_whole_and_one_that_is_not_there_holds_none)
{
	char dir[] = "/tmp/tb-publish-resume-XXXXXX", path[64];
	tb_inputs inputs = { 0 }, back;
	tb_err err;
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/book.inputs", dir);
	cr_assert_eq(tb_inputs_load(tb_disk_system(), path, &back, &err), TB_OK);
	cr_assert_eq(back.count, 0);
	sample(&inputs);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(tb_inputs_save(tb_disk_system(), path, &inputs, &err), TB_OK, "%s", err.text);
		cr_assert_eq(tb_inputs_load(tb_disk_system(), path, &back, &err), TB_OK, "%s", err.text);
		assert_same(&inputs, &back);
		tb_inputs_drop(&back);
		tb_inputs_close(&inputs, 110);
	}
	cr_assert_eq(tb_disk_write_file(tb_disk_system(), path, tb_span_text("{\"inputs\":"), 0, &err), TB_OK);
	cr_assert_eq(tb_inputs_load(tb_disk_system(), path, &back, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, path));
	tb_inputs_drop(&inputs);
	cr_assert_eq(tb_disk_remove_tree(tb_disk_system(), dir, &err), TB_OK);
}
