#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static const char *program_name = "tradebank";
static tb_log_level level_least = TB_LOG_INFO;

void tb_log_open(const char *program, tb_log_level least)
{
	program_name = program;
	level_least = least;
}

void tb_log(tb_log_level level, const char *format, ...)
{
	static const char *const words[] = { "debug", "info", "warn", "error" };
	if (level < level_least)
		return;
	char line[1024], time[TB_TIME_TEXT_SIZE];
	tb_time_text(time, tb_real_ns(tb_clock_system()));
	int used = snprintf(line, sizeof(line), "%.23sZ %-5s %s[%d] ", time, words[level], program_name, (int)getpid());
	va_list args;
	va_start(args, format);
	int more = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, args);
	va_end(args);
	size_t size = (size_t)used + (more > 0 ? (size_t)more : 0);
	if (size > sizeof(line) - 2)
		size = sizeof(line) - 2;
	for (size_t i = (size_t)used; i < size; i++)
		if ((unsigned char)line[i] < ' ')
			line[i] = ' '; /* what came from outside must not forge lines */
	line[size++] = '\n';
	ssize_t written = write(STDERR_FILENO, line, size); /* one call: lines of several processes don't mix */
	(void)written;
}

void tb_log_err(tb_log_level level, const char *what, const tb_err *err)
{
	tb_log(level, "%s: %s", what, err->text);
	if (err->hint[0])
		tb_log(level, "%s: hint: %s", what, err->hint);
}
