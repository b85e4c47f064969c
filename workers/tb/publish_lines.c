/* Lines of an input, be they many megabytes long. */
#include "workers/tb/publish.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define READ_SIZE (256u * 1024)

static tb_rc await_input(const tb_lines *lines, tb_err *err)
{
	struct pollfd fds[] = { { .fd = lines->fd, .events = POLLIN }, { .fd = lines->interrupt_fd, .events = POLLIN } };
	while (poll(fds, 2, -1) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return tb_fail_errno(err, errno, "can't wait for the input");
	if (fds[1].revents != 0)
		return tb_fail(err, TB_EINTERRUPTED, "asked to end");
	return TB_OK;
}

/* Some more bytes, or the end. */
static tb_rc fill(tb_lines *lines, tb_err *err)
{
	tb_buf *bytes = &lines->bytes;
	if (lines->at > 0) {
		bytes->size -= lines->at;
		memmove(bytes->data, bytes->data + lines->at, bytes->size);
		lines->at = 0;
	}
	tb_rc rc = await_input(lines, err);
	if (rc != TB_OK)
		return rc;
	tb_buf_reserve(bytes, READ_SIZE);
	ssize_t got = read(lines->fd, bytes->data + bytes->size, READ_SIZE);
	if (got < 0 && errno != EINTR && errno != EAGAIN)
		return tb_fail_errno(err, errno, "can't read the input");
	lines->ended = got == 0;
	bytes->size += got > 0 ? (size_t)got : 0;
	return TB_OK;
}

static size_t left(const tb_lines *lines)
{
	return lines->bytes.size - lines->at;
}

/* The end of the line that begins at `at`: its newline, or the end of what there is. NULL: not here yet. */
static const uint8_t *find_end(tb_lines *lines)
{
	const uint8_t *begin = lines->bytes.data + lines->at;
	const uint8_t *end = NULL;
	if (left(lines) > lines->searched)
		end = memchr(begin + lines->searched, '\n', left(lines) - lines->searched);
	lines->searched = left(lines);
	return end == NULL && lines->ended ? begin + left(lines) : end;
}

static void pass(tb_lines *lines, const uint8_t *end)
{
	size_t behind = (size_t)(end - lines->bytes.data) + 1;
	lines->at = behind < lines->bytes.size ? behind : lines->bytes.size;
	lines->searched = 0;
}

/* Reads over a line that is too long, and keeps its beginning only. */
static tb_rc cut_line(tb_lines *lines, tb_err *err)
{
	const uint8_t *end;
	size_t kept = lines->line_max < TB_LINES_KEPT ? lines->line_max : TB_LINES_KEPT;
	tb_buf_clear(&lines->cut);
	tb_buf_append(&lines->cut, lines->bytes.data + lines->at, kept);
	lines->searched = 0;
	while ((end = find_end(lines)) == NULL) {
		lines->at = lines->bytes.size;
		lines->searched = 0;
		tb_rc rc = fill(lines, err);
		if (rc != TB_OK)
			return rc;
	}
	pass(lines, end);
	lines->line = tb_buf_span(&lines->cut);
	return tb_fail(err, TB_EINVAL, "it is longer than %zu bytes", lines->line_max);
}

tb_rc tb_lines_next(tb_lines *lines, tb_err *err)
{
	const uint8_t *end;
	tb_rc rc = TB_OK;
	while (rc == TB_OK && (end = find_end(lines)) == NULL && left(lines) <= lines->line_max)
		rc = fill(lines, err);
	if (rc != TB_OK)
		return rc;
	if (lines->ended && left(lines) == 0)
		return TB_ENOTFOUND;
	lines->number++;
	const uint8_t *begin = lines->bytes.data + lines->at;
	if (end == NULL || (size_t)(end - begin) > lines->line_max)
		return cut_line(lines, err);
	lines->line = tb_span_of(begin, (size_t)(end - begin));
	pass(lines, end);
	return TB_OK;
}

tb_rc tb_lines_peek(tb_lines *lines, size_t size, tb_span *ret_bytes, tb_err *err)
{
	tb_rc rc = TB_OK;
	while (rc == TB_OK && left(lines) < size && !lines->ended)
		rc = fill(lines, err);
	if (rc == TB_OK)
		*ret_bytes = tb_span_of(lines->bytes.data + lines->at, left(lines) < size ? left(lines) : size);
	return rc;
}

void tb_lines_drop(tb_lines *lines)
{
	tb_buf_drop(&lines->bytes);
	tb_buf_drop(&lines->cut);
}

int tb_line_blank(tb_span line)
{
	size_t i = 0;
	while (i < line.size && (line.data[i] == ' ' || line.data[i] == '\t' || line.data[i] == '\r'))
		i++;
	return i == line.size;
}
