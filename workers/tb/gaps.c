/* tb gaps: bars from a file or a stream, held against a calendar. */
#include "workers/tb/gaps.h"

#include "workers/tb/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define AT(field) offsetof(struct gaps_options, field)
const tb_opt tb_gaps_rows[] = {
	{ "calendar", 'c', TB_OPT_TEXT, AT(calendar), NULL, NULL, "C",
	  "The market calendar: co-fx, 24x7, one in DIR/calendars, or a file (with a / in it).", 1 },
	{ "from", 0, TB_OPT_TEXT, AT(from), NULL, NULL, "D", "The first day, as 2026-01-02.", 1 },
	{ "to", 0, TB_OPT_TEXT, AT(to), NULL, NULL, "D", "The last day, which belongs to it.", 1 },
	{ "csv", 0, TB_OPT_TEXT, AT(csv), NULL, NULL, "FILE", "Bars as CSV with a column named time; - is stdin.", 1 },
	{ "zone", 'z', TB_OPT_TEXT, AT(zone), NULL, NULL, "Z",
	  "The zone of times in the file that have no offset, such as UTC or America/Bogota.", 1 },
	{ "stream", 's', TB_OPT_TEXT, AT(stream), NULL, NULL, "S", "The bars of a stream instead, archived and live.", 1 },
	{ "symbol", 0, TB_OPT_TEXT, AT(symbol), NULL, NULL, "X", "Only bars of that symbol; needed where there are several.",
	  1 },
	{ "repair-zone", 0, TB_OPT_FLAG, AT(repair_zone), NULL, NULL, NULL,
	  "Read a time outside of sessions as the calendar's wall clock when it is within them then.", 1 },
	{ "ranges", 0, TB_OPT_FLAG, AT(ranges), NULL, NULL, NULL, "Also what to fetch, the most urgent first.", 1 },
	{ "points", 0, TB_OPT_UINT, AT(points), "5000", "1..1000000", "N", "With --ranges: bars that one call may fetch.", 1 },
	{ "patterns", 0, TB_OPT_FLAG, AT(patterns), NULL, NULL, NULL, "Also when gaps begin, and how long they are.", 1 },
	{ "repo", 0, TB_OPT_TEXT, AT(repo), NULL, NULL, "R", "The stream's repository, instead of the instance's.", 1 },
	{ "key", 0, TB_OPT_TEXT, AT(key), NULL, NULL, "FILE", "The identity or recovery kit, instead of the instance's.",
	  1 },
	{ 0 },
};

/* Bars */

tb_rc tb_gaps_add(tb_gaps_run *run, int64_t time_ns, tb_span symbol, tb_err *err)
{
	tb_span known = tb_buf_span(&run->symbol);
	if (++run->seen % 4096 == 0)
		tb_progress_tell(&run->progress, run->seen, 0);
	if (!run->symbol_known) {
		tb_buf_append_span(&run->symbol, symbol);
		run->symbol_known = 1;
	} else if (!tb_span_equal(known, symbol)) {
		if (run->options->symbol != NULL)
			return TB_OK;
		tb_fail(err, TB_EINVAL, "there are bars of '%.*s' and of '%.*s'", (int)(known.size < 60 ? known.size : 60),
		        known.size ? (const char *)known.data : "", (int)(symbol.size < 60 ? symbol.size : 60),
		        symbol.size ? (const char *)symbol.data : "");
		tb_hint(err, "say which are meant with --symbol");
		return TB_EINVAL;
	}
	return tb_bars_add(&run->bars, time_ns, err);
}

static tb_rc fail_line(const tb_gaps_run *run, uint64_t line, const tb_err *why, tb_err *err)
{
	tb_fail(err, why->rc, "%.150s:%llu: %.220s", run->options->csv, tb_ull(line), why->text);
	if (why->hint[0] != '\0')
		tb_hint(err, "%s", why->hint);
	return why->rc;
}

/* TB_ENOTFOUND without a sentence: there is no line. */
static tb_rc read_header(tb_gaps_run *run, tb_lines *lines, tb_csv *ret_csv, tb_err *err)
{
	tb_err why;
	tb_rc rc = tb_lines_next(lines, &why);
	if (rc == TB_ENOTFOUND)
		return tb_fail(err, TB_EINVAL, "%.200s is empty: its first line should name the columns", run->options->csv);
	if (rc == TB_OK)
		rc = tb_csv_header(lines->line, ret_csv, &why);
	return rc == TB_OK ? TB_OK : fail_line(run, lines->number, &why, err);
}

static tb_rc read_row(tb_gaps_run *run, const tb_csv *csv, tb_span line, tb_buf *symbol, tb_err *err)
{
	int64_t time_ns;
	tb_rc rc = tb_csv_row(csv, line, run->naive, &time_ns, symbol, err);
	if (rc != TB_OK)
		return rc;
	if (csv->symbol_at != TB_CSV_NONE)
		return tb_gaps_add(run, time_ns, tb_buf_span(symbol), err);
	return tb_gaps_add(run, time_ns, tb_buf_span(&run->symbol), err);
}

static tb_rc read_rows(tb_gaps_run *run, tb_lines *lines, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf symbol = { 0 };
	tb_csv csv;
	tb_err why;
	tb_rc rc = read_header(run, lines, &csv, err);
	if (rc != TB_OK)
		return rc;
	for (;;) {
		rc = tb_lines_next(lines, &why);
		if (rc == TB_ENOTFOUND)
			return TB_OK;
		if (rc == TB_OK && tb_line_blank(lines->line))
			continue;
		if (rc == TB_OK)
			rc = read_row(run, &csv, lines->line, &symbol, &why);
		if (rc != TB_OK)
			return fail_line(run, lines->number, &why, err);
	}
}

static tb_rc read_csv(tb_gaps_run *run, tb_err *err)
{
	const char *path = run->options->csv;
	int own = strcmp(path, "-") != 0;
	tb_lines lines = { .fd = own ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO, .interrupt_fd = -1,
		               .line_max = TB_CSV_LINE_MAX };
	if (lines.fd < 0)
		return tb_fail_errno(err, errno, "can't read %.200s", path);
	tb_rc rc = read_rows(run, &lines, err);
	tb_lines_drop(&lines);
	if (own)
		close(lines.fd);
	return rc;
}

static tb_rc read_bars(tb_gaps_run *run, tb_err *err)
{
	const char *symbol = run->options->symbol;
	if (symbol != NULL) {
		tb_buf_append_span(&run->symbol, tb_span_text(symbol));
		run->symbol_known = 1;
	}
	tb_progress_start(&run->progress, run->call->clock, "reading bars", "bars");
	tb_rc rc = run->options->csv != NULL ? read_csv(run, err) : tb_gaps_read_stream(run, err);
	tb_progress_end(&run->progress);
	if (rc == TB_OK && symbol != NULL && run->seen > 0 && run->bars.count == 0)
		return tb_fail(err, TB_ENOTFOUND, "there is no bar of the symbol '%.60s'", symbol);
	if (rc == TB_OK && run->options->repair_zone)
		run->repaired = tb_bars_repair(&run->bars, &run->calendar);
	return rc;
}

/* The calendar */

/* Shipped calendars lie in share/ beside the bin/ that this program is in. */
static void shipped_folder(tb_buf *to)
{
	char program[PATH_MAX];
	ssize_t size = readlink("/proc/self/exe", program, sizeof(program) - 1);
	program[size > 0 ? size : 0] = '\0';
	for (int i = 0; i < 2; i++) {
		char *slash = strrchr(program, '/');
		if (slash != NULL)
			*slash = '\0';
	}
	tb_buf_print(to, "%s/share/tradebank/calendars", program);
}

static int find_in(tb_buf *path, const char *folder, const char *name)
{
	tb_buf_clear(path);
	tb_buf_print(path, "%s/%s.yaml", folder, name);
	return access(tb_buf_text(path), F_OK) == 0;
}

static tb_rc find_calendar(const tb_call *call, const char *name, tb_buf *path, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf own = { 0 }, shipped = { 0 };
	if (strchr(name, '/') != NULL) {
		tb_buf_print(path, "%s", name);
		return TB_OK;
	}
	shipped_folder(&shipped);
	if ((call->dir != NULL && find_in(path, tb_below(&own, call->dir, "calendars"), name)) ||
	    find_in(path, tb_buf_text(&shipped), name))
		return TB_OK;
	tb_fail(err, TB_ENOTFOUND, "there is no calendar '%.60s'", name);
	tb_hint(err, "co-fx and 24x7 are shipped, in %.100s; a file is named with a / in it, as ./mine.yaml",
	        tb_buf_text(&shipped));
	return TB_ENOTFOUND;
}

static tb_rc read_calendar(tb_gaps_run *run, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = find_calendar(run->call, run->options->calendar, &path, err);
	if (rc == TB_OK)
		rc = tb_calendar_load(run->call->disk, tb_buf_text(&path), &run->calendar, err);
	if (rc == TB_OK)
		rc = tb_schedule_make(&run->calendar, run->from, run->to, &run->schedule, err);
	return rc;
}

/* The call */

static tb_rc read_day(const char *name, const char *text, tb_day *ret_day, tb_err *err)
{
	if (text == NULL)
		return tb_fail(err, TB_EINVAL, "it isn't said for which days: --%s is missing", name);
	if (!tb_day_parse(tb_span_text(text), ret_day))
		return tb_fail(err, TB_EINVAL, "--%s: '%.40s' is not a day such as 2026-01-02, from %d to %d", name, text,
		               TB_YEAR_FIRST, TB_YEAR_LAST);
	return TB_OK;
}

static tb_rc check_options(tb_gaps_run *run, tb_err *err)
{
	const struct gaps_options *options = run->options;
	if (options->calendar == NULL) {
		tb_fail(err, TB_EINVAL, "it isn't said against which calendar");
		tb_hint(err, "--calendar co-fx or --calendar 24x7 are shipped");
		return TB_EINVAL;
	}
	if ((options->csv != NULL) == (options->stream != NULL))
		return tb_fail(err, TB_EINVAL, "bars come either from --csv FILE or from --stream S");
	if (options->zone != NULL && options->csv == NULL)
		return tb_fail(err, TB_EINVAL, "--zone is for --csv: a stream's times are instants");
	tb_rc rc = read_day("from", options->from, &run->from, err);
	if (rc == TB_OK)
		rc = read_day("to", options->to, &run->to, err);
	if (rc == TB_OK && options->zone != NULL)
		rc = tb_zone_find(options->zone, &run->naive, err);
	return rc == TB_OK && options->stream != NULL ? tb_stream_check(options->stream, err) : rc;
}

static void note_future(const tb_gaps_run *run)
{
	uint32_t slots = run->schedule.slot_count;
	int64_t now_s = (int64_t)(tb_real_ns(run->call->clock) / TB_NS_PER_S);
	if (slots > 0 && tb_schedule_slot_s(&run->schedule, slots - 1) > now_s)
		fprintf(stderr, "tb gaps: the period ends after now: what is still to come is missing, too\n");
}

static tb_rc find_gaps(tb_gaps_run *run, tb_err *err)
{
	tb_rc rc = check_options(run, err);
	if (rc == TB_OK)
		rc = read_calendar(run, err);
	if (rc == TB_OK)
		rc = read_bars(run, err);
	if (rc != TB_OK)
		return rc;
	note_future(run);
	tb_gaps_find(&run->calendar, &run->schedule, &run->bars, &run->report);
	if (run->call->json)
		tb_gaps_print_json(run);
	else
		tb_gaps_print(run);
	return TB_OK;
}

tb_rc verb_gaps(tb_call *call, tb_err *err)
{
	tb_gaps_run run = { .call = call, .options = call->options };
	tb_rc rc = find_gaps(&run, err);
	if (rc == TB_OK && run.report.missing > 0)
		call->exit = 1;
	tb_gap_report_drop(&run.report);
	tb_bars_drop(&run.bars);
	tb_buf_drop(&run.symbol);
	tb_schedule_drop(&run.schedule);
	tb_calendar_drop(&run.calendar);
	return rc;
}
