/* What people read: sizes, ages, tables, progress. */
#include "workers/tb/tb.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BAR_WIDTH 24
#define SHOW_EVERY (TB_NS_PER_S / 5)

void tb_print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(value);
}

void tb_print_size(tb_buf *to, uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes / 1024;
	size_t unit = 0;
	if (bytes < 1024) {
		tb_buf_print(to, "%u B", (unsigned)bytes);
		return;
	}
	for (; value >= 1023.95 && unit < 5; unit++)
		value /= 1024;
	tb_buf_print(to, "%.1f %s", value, units[unit]);
}

void tb_print_age(tb_buf *to, uint64_t ns)
{
	static const struct {
		const char *name;
		uint64_t seconds, below; /* for ages below so many seconds */
	} units[] = {
		{ "s", 1, 120 }, { "min", 60, 2 * 3600 }, { "h", 3600, 2 * 86400 }, { "d", 86400, UINT64_MAX },
	};
	uint64_t seconds = ns / TB_NS_PER_S;
	size_t unit = 0;
	if (seconds < 10) {
		tb_buf_print(to, "%.1f s", (double)ns / (double)TB_NS_PER_S);
		return;
	}
	while (seconds >= units[unit].below)
		unit++;
	tb_buf_print(to, "%llu %s", (unsigned long long)(seconds / units[unit].seconds), units[unit].name);
}

void tb_print_time(tb_buf *to, uint64_t ns)
{
	char text[TB_TIME_TEXT_SIZE];
	tb_time_text(text, ns);
	if (ns == 0)
		tb_buf_print(to, "-");
	else
		tb_buf_print(to, "%.19sZ", text);
}

json_t *tb_json_time(uint64_t ns)
{
	char text[TB_TIME_TEXT_SIZE];
	tb_time_text(text, ns);
	return ns == 0 ? json_null() : json_string(text);
}

static void add_cell(tb_table *table, char *text)
{
	table->cells = tb_realloc(table->cells, (table->count + 1) * sizeof(*table->cells));
	table->cells[table->count++] = text;
}

void tb_table_cell(tb_table *table, const char *format, ...)
{
	char text[600];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	add_cell(table, tb_strdup(text));
}

void tb_table_row(tb_table *table, const char *const *texts)
{
	for (; *texts != NULL; texts++)
		add_cell(table, tb_strdup(*texts));
}

static size_t column_width(const tb_table *table, size_t column)
{
	size_t width = 0;
	for (size_t i = column; i < table->count; i += table->columns)
		if (strlen(table->cells[i]) > width)
			width = strlen(table->cells[i]);
	return width;
}

void tb_table_print(const tb_table *table, tb_buf *to)
{
	int widths[32];
	for (size_t i = 0; i < table->columns && i < 32; i++)
		widths[i] = (int)column_width(table, i);
	for (size_t i = 0; i < table->count; i++) {
		size_t column = i % table->columns;
		int last = column + 1 == table->columns;
		if (table->right >> column & 1)
			tb_buf_print(to, "%*s", widths[column], table->cells[i]);
		else
			tb_buf_print(to, "%-*s", last ? 0 : widths[column], table->cells[i]);
		while (last && to->size > 0 && to->data[to->size - 1] == ' ')
			to->size--; /* what is empty at the end leaves no blanks */
		tb_buf_print(to, last ? "\n" : "  ");
	}
}

void tb_table_drop(tb_table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (tb_table){ 0 };
}

void tb_progress_start(tb_progress *progress, const tb_clock *clock, const char *what, const char *unit)
{
	*progress = (tb_progress){
		.clock = clock, .what = what, .unit = unit, .started_ns = tb_mono_ns(clock), .terminal = isatty(STDERR_FILENO),
	};
}

static void print_amount(tb_buf *to, const char *unit, uint64_t amount)
{
	if (unit == NULL)
		tb_print_size(to, amount);
	else
		tb_buf_print(to, "%llu %s", (unsigned long long)amount, unit);
}

static void print_bar(tb_buf *to, double share)
{
	int full = (int)(share * BAR_WIDTH);
	tb_buf_print(to, " [");
	for (int i = 0; i < BAR_WIDTH; i++)
		tb_buf_byte(to, i < full ? '#' : '.');
	tb_buf_print(to, "] %3.0f%%", 100 * share);
}

void tb_progress_tell(tb_progress *progress, uint64_t done, uint64_t all)
{
	tb_auto(tb_buf_drop) tb_buf line = { 0 };
	uint64_t now = tb_mono_ns(progress->clock), passed = now - progress->started_ns;
	if (!progress->terminal || passed < TB_NS_PER_S || now - progress->shown_ns < SHOW_EVERY)
		return;
	double seconds = (double)passed / (double)TB_NS_PER_S, share = all > 0 && done < all ? (double)done / (double)all : 1;
	tb_buf_print(&line, "\r%s", progress->what);
	if (all > 0)
		print_bar(&line, share);
	if (done > 0) {
		tb_buf_print(&line, "  ");
		print_amount(&line, progress->unit, (uint64_t)((double)done / seconds));
		tb_buf_print(&line, "/s");
	}
	tb_buf_print(&line, "  ");
	if (all > 0 && done > 0) {
		tb_print_age(&line, (uint64_t)((double)passed * (1 - share) / share));
		tb_buf_print(&line, " left");
	} else {
		tb_print_age(&line, passed);
	}
	fprintf(stderr, "%s\033[K", tb_buf_text(&line));
	progress->shown_ns = now;
	progress->shown = 1;
}

void tb_progress_end(tb_progress *progress)
{
	if (progress->shown)
		fputs("\r\033[K", stderr);
	progress->shown = 0;
}
