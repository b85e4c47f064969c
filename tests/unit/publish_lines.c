#include "workers/tb/publish.h"

#include "leaks.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

TestSuite(publish_lines, .fini = fail_on_leaks);

/* Lines of a text, out of a file without a name. */
static tb_lines lines_of(const void *text, size_t size, size_t line_max)
{
	FILE *file = tmpfile();
	cr_assert_not_null(file);
	cr_assert_eq(fwrite(text, 1, size, file), size);
	fflush(file);
	rewind(file);
	tb_lines lines = { .fd = dup(fileno(file)), .interrupt_fd = -1, .line_max = line_max };
	fclose(file);
	cr_assert_geq(lines.fd, 0);
	lseek(lines.fd, 0, SEEK_SET);
	return lines;
}

static void done(tb_lines *lines)
{
	close(lines->fd);
	tb_lines_drop(lines);
}

static void assert_line(tb_lines *lines, uint64_t number, const char *text)
{
	tb_err err;
	cr_assert_eq(tb_lines_next(lines, &err), TB_OK, "line %d", (int)number);
	cr_assert_eq(lines->number, number);
	cr_assert(tb_span_equal(lines->line, tb_span_text(text)), "'%.*s'", (int)lines->line.size, lines->line.data);
}

static void assert_end(tb_lines *lines)
{
	for (int i = 0; i < 2; i++)
		cr_assert_eq(tb_lines_next(lines, NULL), TB_ENOTFOUND);
}

Test(publish_lines, each_is_given_and_the_last_needs_no_newline)
{
	tb_lines lines = lines_of("one\n\n  \ntwo\r\nthree", 18, 100);
	assert_line(&lines, 1, "one");
	assert_line(&lines, 2, "");
	assert_line(&lines, 3, "  ");
	assert_line(&lines, 4, "two\r");
	assert_line(&lines, 5, "three");
	assert_end(&lines);
	done(&lines);
}

Test(publish_lines, an_empty_input_has_none)
{
	tb_lines lines = lines_of("", 0, 100);
	assert_end(&lines);
	done(&lines);
}

Test(publish_lines, a_newline_at_the_end_begins_no_line)
{
	tb_lines lines = lines_of("one\n", 4, 100);
	assert_line(&lines, 1, "one");
	assert_end(&lines);
	done(&lines);
}

Test(publish_lines, blanks_are_told_from_text)
{
	cr_assert(tb_line_blank(tb_span_text("")));
	cr_assert(tb_line_blank(tb_span_text(" \t\r")));
	cr_assert_not(tb_line_blank(tb_span_text(" {}")));
}

Test(publish_lines, one_of_many_reads_is_given_whole)
{
	size_t size = 3u * 1024 * 1024;
	char *text = tb_alloc(2 * size + 2);
	memset(text, 'a', size);
	text[size] = '\n';
	memset(text + size + 1, 'b', size);
	text[2 * size + 1] = '\n';
	tb_lines lines = lines_of(text, 2 * size + 2, size);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(tb_lines_next(&lines, NULL), TB_OK);
		cr_assert_eq(lines.line.size, size);
		cr_assert(lines.line.data[0] == "ab"[i] && lines.line.data[size - 1] == "ab"[i]);
	}
	assert_end(&lines);
	free(text);
	done(&lines);
}

static void assert_too_long(tb_lines *lines, uint64_t number, const char *beginning)
{
	tb_err err;
	cr_assert_eq(tb_lines_next(lines, &err), TB_EINVAL);
	cr_assert_not_null(strstr(err.text, "longer than 4 bytes"));
	cr_assert_eq(lines->number, number);
	cr_assert(tb_span_equal(lines->line, tb_span_text(beginning)));
}

Test(publish_lines, one_that_is_too_long_is_read_over_and_the_next_one_given)
{
	tb_lines lines = lines_of("1234\n12345\nab\n123456789", 23, 4);
	assert_line(&lines, 1, "1234");
	assert_too_long(&lines, 2, "1234");
	assert_line(&lines, 3, "ab");
	assert_too_long(&lines, 4, "1234");
	assert_end(&lines);
	done(&lines);
}

Test(publish_lines, one_that_is_longer_than_memory_allows_is_read_over_too)
{
	size_t size = 2u * 1024 * 1024;
	char *text = tb_alloc(size + 5);
	memset(text, 'a', size);
	memcpy(text + size, "\nend\n", 5);
	tb_lines lines = lines_of(text, size + 5, 4);
	assert_too_long(&lines, 1, "aaaa");
	assert_line(&lines, 2, "end");
	assert_end(&lines);
	cr_assert_lt(lines.bytes.capacity, 1024 * 1024);
	free(text);
	done(&lines);
}

Test(publish_lines, looking_ahead_takes_nothing)
{
	tb_span bytes;
	tb_lines lines = lines_of("one\ntwo\n", 8, 100);
	cr_assert_eq(tb_lines_peek(&lines, 5, &bytes, NULL), TB_OK);
	cr_assert(tb_span_equal(bytes, tb_span_text("one\nt")));
	cr_assert_eq(tb_lines_peek(&lines, 500, &bytes, NULL), TB_OK);
	cr_assert(tb_span_equal(bytes, tb_span_text("one\ntwo\n")));
	assert_line(&lines, 1, "one");
	assert_line(&lines, 2, "two");
	assert_end(&lines);
	done(&lines);
}

Test(publish_lines, reading_ends_when_asked_to)
{
	int pipes[2];
	tb_err err;
	cr_assert_eq(pipe(pipes), 0);
	tb_lines lines = { .fd = pipes[0], .interrupt_fd = eventfd(1, 0), .line_max = 100 };
	cr_assert_eq(tb_lines_next(&lines, &err), TB_EINTERRUPTED);
	close(lines.interrupt_fd);
	close(pipes[1]);
	done(&lines);
}
