/* What the tb command reads of its own. The first byte (modulo 3): 0 what `tb publish --from-line auto` notes of its
 * inputs: a text that is read is written as one that reads the same; 1 lines: whatever comes, all of it is given, once and
 * in order; 2 what `tb up` notes of the processes that end: only texts come of it. */
#include "fuzz/fuzz_file.h"

#include "workers/tb/ends.h"
#include "workers/tb/publish.h"

static void read_notes(tb_span text)
{
	tb_auto(tb_inputs_drop) tb_inputs inputs = { 0 }, same = { 0 };
	tb_auto(tb_buf_drop) tb_buf once = { 0 }, twice = { 0 };
	tb_err err;
	tb_rc rc = tb_inputs_read(text, &inputs, &err);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		return;
	}
	hold(inputs.count <= TB_INPUTS_MAX);
	tb_inputs_write(&inputs, &once);
	hold(tb_inputs_read(tb_buf_span(&once), &same, &err) == TB_OK);
	tb_inputs_write(&same, &twice);
	hold(tb_span_equal(tb_buf_span(&once), tb_buf_span(&twice)));
	tb_inputs_find(&inputs, text);
	tb_inputs_note(&inputs, text, 3, 4);
	hold(tb_inputs_open(&inputs));
	tb_inputs_close(&inputs, 7);
	hold(!tb_inputs_open(&inputs));
}

/* Each line with its newline behind it, but for the last, gives the text again. */
static void read_lines(tb_span input)
{
	size_t line_max = 1 + fuzz_take(&input, 2);
	fuzz_file file = fuzz_file_make(input);
	hold(lseek(file.fd, 0, SEEK_SET) == 0);
	tb_lines lines = { .fd = file.fd, .interrupt_fd = -1, .line_max = line_max };
	size_t at = 0;
	uint64_t count = 0;
	tb_span peeked;
	tb_err err;
	hold(tb_lines_peek(&lines, 100, &peeked, &err) == TB_OK);
	hold(tb_span_equal(peeked, tb_span_of(input.data, input.size < 100 ? input.size : 100)));
	for (;;) {
		tb_rc rc = tb_lines_next(&lines, &err);
		if (rc == TB_ENOTFOUND)
			break;
		hold(rc == TB_OK || rc == TB_EINVAL);
		hold(lines.number == ++count);
		const uint8_t *end = memchr(input.data + at, '\n', input.size - at);
		size_t size = end != NULL ? (size_t)(end - (input.data + at)) : input.size - at;
		hold((rc == TB_OK) == (size <= line_max));
		hold(rc != TB_OK || lines.line.size == size);
		hold(lines.line.size <= size && memcmp(lines.line.data, input.data + at, lines.line.size) == 0);
		tb_line_blank(lines.line);
		at += size + (end != NULL);
	}
	hold(at == input.size);
	tb_lines_drop(&lines);
	fuzz_file_close(&file);
}

static void read_ends(tb_span text)
{
	json_t *degraded = json_array(), *late = json_array(), *one;
	size_t i;
	ends_parse(text, 1000, degraded);
	ends_parse(text, INT64_MAX, late);
	hold(json_array_size(late) == 0 && json_array_size(degraded) <= text.size / 8);
	json_array_foreach (degraded, i, one)
		hold(json_is_string(one) && json_string_length(one) > 0);
	json_decref(late);
	json_decref(degraded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const ways[])(tb_span input) = { read_notes, read_lines, read_ends };
	tb_span input = tb_span_of(data, size);
	ways[fuzz_take(&input, 1) % (sizeof(ways) / sizeof(ways[0]))](input);
	return 0;
}
