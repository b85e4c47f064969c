/* tb publish */
#include "wire/event_json.h"
#include "workers/tb/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define STUCK_NS (30 * TB_NS_PER_S) /* the outbox is full and nothing moves */
#define FULL_WAIT_MS 2
#define PARTING_NS (2 * TB_NS_PER_S) /* for what is on its way when we are asked to end */
#define ARENA_LINES 64               /* share the arena's memory before it is given back */

#define AT(field) offsetof(struct publish_options, field)
const tb_opt tb_publish_rows[] = {
	{ "engine", 'e', TB_OPT_TEXT, AT(engine), NULL, NULL, "NAME", "The engine, whose stream the events are.", 1 },
	{ "wait", 'w', TB_OPT_TEXT, AT(wait), "durable", "accepted|durable|stored", NULL,
	  "What to wait for at the end: accepted survives this process, durable a power cut of the broker's host, stored "
	  "the loss of its journal.", 1 },
	{ "from-line", 'f', TB_OPT_TEXT, AT(from_line), NULL, NULL, "N|auto",
	  "Begin at that line; auto goes on where an earlier run of the same input stopped.", 1 },
	{ "keep-going", 'k', TB_OPT_FLAG, AT(keep_going), NULL, NULL, NULL,
	  "Set bad lines aside in DIR/outbox/NAME.quarantine.jsonl instead of stopping.", 1 },
	{ "timeout", 't', TB_OPT_SPAN, AT(timeout_ns), "60s", NULL, NULL, "How long to wait at the end.", 1 },
	{ 0 },
};

/* The end of a run that can go on later: how. */
static void hint_how_to_go_on(const tb_publishing *run, uint64_t line, tb_err *err)
{
	if (run->automatic)
		tb_hint(err, "the same call goes on from there, once `tb status` is content");
	else
		tb_hint(err, "--from-line %llu goes on from there, once `tb status` is content", tb_ull(line));
}

static void show_progress(tb_publishing *run)
{
	tb_publisher_figures figures;
	if (!run->progress.terminal || run->published % 256 != 0)
		return;
	tb_publisher_figures_get(run->publisher, &figures);
	snprintf(run->shown, sizeof(run->shown), "%s: %llu lines, %llu of them not durable yet", run->options->engine,
	         tb_ull(run->published), tb_ull(figures.accepted - figures.durable));
	tb_progress_tell(&run->progress, run->published, 0);
}

/* Bad lines */

/* A line that a killed run left unfinished is ended, so that the next one stands alone. */
static tb_rc open_quarantine(tb_publishing *run, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_disk *disk = run->call->disk;
	char last = '\n';
	size_t got;
	tb_buf_print(&path, "%s/outbox/%s.quarantine.jsonl", run->dir, run->options->engine);
	int flags = TB_DISK_WRITE | TB_DISK_CREATE | TB_DISK_PRIVATE;
	tb_rc rc = disk->open(disk, tb_buf_text(&path), flags, &run->quarantine, err);
	if (rc == TB_OK)
		rc = disk->size(disk, run->quarantine, &run->quarantine_size, err);
	if (rc == TB_OK && run->quarantine_size > 0)
		rc = disk->read(disk, run->quarantine, run->quarantine_size - 1, &last, 1, &got, err);
	if (rc == TB_OK && last != '\n')
		rc = disk->write(disk, run->quarantine, run->quarantine_size++, "\n", 1, err);
	return rc;
}

static void describe_bad_line(const tb_lines *lines, const char *why, tb_buf *to)
{
	tb_buf_print(to, "{\"line\":%llu,\"why\":", tb_ull(lines->number));
	tb_json_text(to, tb_span_text(why));
	if (tb_text_valid(lines->line)) {
		tb_buf_print(to, ",\"text\":");
		tb_json_text(to, lines->line);
		tb_buf_print(to, "}\n");
	} else {
		tb_buf_print(to, ",\"text_b64\":\"");
		tb_base64(to, lines->line);
		tb_buf_print(to, "\"}\n");
	}
}

static tb_rc quarantine(tb_publishing *run, const char *why, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_disk *disk = run->call->disk;
	tb_rc rc = run->quarantine == NULL ? open_quarantine(run, err) : TB_OK;
	if (rc != TB_OK)
		return rc;
	describe_bad_line(&run->lines, why, &text);
	rc = disk->write(disk, run->quarantine, run->quarantine_size, text.data, text.size, err);
	if (rc == TB_OK)
		rc = disk->sync(disk, run->quarantine, err);
	if (rc != TB_OK)
		return rc;
	run->quarantine_size += text.size;
	run->quarantined++;
	run->unsaid = run->automatic;
	return TB_OK;
}

static tb_rc refuse_line(tb_publishing *run, const tb_err *why, tb_err *err)
{
	if (run->options->keep_going)
		return quarantine(run, why->text, err);
	tb_fail(err, TB_EINVAL, "line %llu: %.340s", tb_ull(run->lines.number), why->text);
	if (run->automatic)
		tb_hint(err, "the lines before it are published: mend it and call again, or give --keep-going");
	else
		tb_hint(err, "the lines before it are published: mend it and go on with --from-line %llu, or give --keep-going",
		        tb_ull(run->lines.number));
	return TB_EINVAL;
}

/* Events */

static tb_rc fail_stuck(const tb_publishing *run, tb_err *err)
{
	tb_publisher_figures figures;
	tb_publisher_figures_get(run->publisher, &figures);
	tb_fail(err, TB_ETIMEOUT, "line %llu: the outbox is full, and nothing has moved for 30 s: accepted up to event "
	        "%llu, durable up to %llu", tb_ull(run->lines.number), tb_ull(figures.accepted), tb_ull(figures.durable));
	hint_how_to_go_on(run, run->lines.number, err);
	return TB_ETIMEOUT;
}

/* A full outbox is no failure while the broker takes something out of it. */
static tb_rc publish_event(tb_publishing *run, const tb_event *event, tb_err *err)
{
	struct pollfd fd = { .fd = run->signal_fd, .events = POLLIN };
	tb_publisher_figures before = { 0 }, now;
	uint64_t number, moved_ns = tb_mono_ns(run->call->clock);
	tb_rc rc;
	while ((rc = tb_publish(run->publisher, event, &number, err)) == TB_EFULL) {
		if (poll(&fd, 1, FULL_WAIT_MS) > 0)
			return tb_fail(err, TB_EINTERRUPTED, "asked to end");
		tb_publisher_figures_get(run->publisher, &now);
		if (now.durable != before.durable || now.outbox_used != before.outbox_used)
			moved_ns = tb_mono_ns(run->call->clock);
		before = now;
		if (tb_mono_ns(run->call->clock) - moved_ns > STUCK_NS)
			return fail_stuck(run, err);
		tb_progress_tell(&run->progress, run->published, 0);
	}
	if (rc != TB_OK)
		return rc;
	run->first = run->first != 0 ? run->first : number;
	run->last = number;
	run->published++;
	return TB_OK;
}

static tb_rc publish_line(tb_publishing *run, tb_rc read, tb_err *err)
{
	tb_event event;
	tb_err why = *err;
	tb_rc rc = read;
	if (run->lines.number % ARENA_LINES == 0 || run->lines.line.size > TB_LINES_KEPT)
		tb_arena_reset(run->arena);
	if (rc == TB_OK)
		rc = tb_event_from_json(run->lines.line, run->arena, &event, &why);
	if (rc == TB_OK && (rc = tb_publishing_say(run, err)) != TB_OK)
		return rc;
	if (rc == TB_OK)
		rc = publish_event(run, &event, &why);
	if (rc == TB_EINVAL)
		return refuse_line(run, &why, err);
	if (rc != TB_OK)
		*err = why;
	show_progress(run);
	return rc;
}

/* Blank lines are nothing; others count, and those that were published before are passed. */
static int is_wanted(tb_publishing *run)
{
	if (tb_line_blank(run->lines.line))
		return 0;
	run->ordinal++;
	return run->ordinal > run->lines_done && run->lines.number >= run->from_line;
}

static tb_rc publish_lines(tb_publishing *run, tb_err *err)
{
	tb_rc rc = TB_OK;
	while (rc == TB_OK) {
		rc = tb_lines_next(&run->lines, err);
		if (rc != TB_OK && rc != TB_EINVAL)
			return rc == TB_ENOTFOUND ? TB_OK : rc;
		if (!is_wanted(run)) {
			rc = TB_OK;
			continue;
		}
		rc = publish_line(run, rc, err);
		if (rc == TB_OK)
			run->done_line = run->lines.number;
		else
			run->ordinal--;
	}
	return rc;
}

/* The end */

static void print_result(const tb_publishing *run)
{
	uint64_t first = run->published > 0 ? tb_publisher_number(run->publisher, run->first) : 0;
	uint64_t last = run->published > 0 ? tb_publisher_number(run->publisher, run->last) : 0;
	json_t *result = json_pack("{s:I, s:I, s:I}", "published", (json_int_t)run->published, "first", (json_int_t)first,
	                           "last", (json_int_t)last);
	if (run->options->keep_going)
		json_object_set_new(result, "quarantined", json_integer((json_int_t)run->quarantined));
	tb_print_json(result);
}

static tb_rc fail_interrupted(const tb_publishing *run, const tb_publisher_figures *figures, tb_err *err)
{
	tb_fail(err, TB_EINTERRUPTED, "ended on request behind line %llu: accepted up to event %llu, durable up to %llu",
	        tb_ull(run->done_line), tb_ull(figures->accepted), tb_ull(figures->durable));
	hint_how_to_go_on(run, run->done_line + 1, err);
	return TB_EINTERRUPTED;
}

static tb_rc fail_late(const tb_publishing *run, const tb_publisher_figures *figures, const tb_err *why, tb_err *err)
{
	tb_fail(err, TB_ETIMEOUT, "all is accepted, but not %s in time: accepted up to event %llu, durable up to %llu, "
	        "stored up to %llu: %.200s", run->options->wait, tb_ull(figures->accepted), tb_ull(figures->durable),
	        tb_ull(figures->stored), why->text);
	tb_hint(err, "%s", why->hint);
	return TB_ETIMEOUT;
}

/* How the lines ended and whether the promise came; what failed first is told. */
static tb_rc finish(tb_publishing *run, tb_rc rc, tb_err *err)
{
	tb_publisher_figures figures;
	tb_err why = { 0 }, unsettled;
	int ending = rc == TB_EINTERRUPTED || rc == TB_EFENCED || rc == TB_ETIMEOUT;
	tb_rc waited = tb_publishing_await(run, run->promise, ending ? PARTING_NS : run->options->timeout_ns, ending, &why);
	if (waited == TB_EINTERRUPTED && rc == TB_OK) {
		waited = tb_publishing_await(run, run->promise, PARTING_NS, 1, &why);
		rc = waited == TB_OK ? TB_OK : TB_EINTERRUPTED;
	}
	tb_publisher_figures_get(run->publisher, &figures);
	if (figures.durable >= figures.accepted && tb_publishing_settle(run, &unsettled) != TB_OK && rc == TB_OK) {
		*err = unsettled;
		rc = unsettled.rc;
	}
	tb_progress_end(&run->progress);
	print_result(run);
	if (rc == TB_EINTERRUPTED)
		return fail_interrupted(run, &figures, err);
	if (rc != TB_OK || waited == TB_OK)
		return rc;
	if (waited == TB_ETIMEOUT)
		return fail_late(run, &figures, &why, err);
	*err = why;
	return waited;
}

/* The beginning */

static tb_rc read_from_line(tb_publishing *run, tb_err *err)
{
	const char *text = run->options->from_line;
	run->automatic = text != NULL && strcmp(text, "auto") == 0;
	if (text == NULL || run->automatic)
		return TB_OK;
	if (tb_uint_parse(text, &run->from_line) && run->from_line > 0)
		return TB_OK;
	return tb_fail(err, TB_EINVAL, "--from-line is a line's number, from 1, or auto: '%.100s' is neither", text);
}

static tb_rc read_options(tb_publishing *run, tb_err *err)
{
	const struct publish_options *options = run->options;
	static const char *const promises[] = {
		[TB_ACCEPTED] = "accepted", [TB_DURABLE] = "durable", [TB_STORED] = "stored",
	};
	if (options->engine == NULL) {
		tb_fail(err, TB_EINVAL, "it isn't said whose events these are");
		tb_hint(err, "name the engine with --engine NAME: its stream gets them");
		return TB_EINVAL;
	}
	tb_rc rc = tb_stream_check(options->engine, err);
	if (rc == TB_OK && strncmp(options->engine, "tb.", 3) == 0)
		rc = tb_fail(err, TB_EINVAL, "streams whose names begin with 'tb.' are Tradebank's own");
	while (strcmp(promises[run->promise], options->wait) != 0)
		run->promise++;
	if (rc == TB_OK)
		rc = read_from_line(run, err);
	return rc == TB_OK ? tb_call_dir(run->call, &run->dir, err) : rc;
}

static tb_rc open_input(tb_publishing *run, tb_err *err)
{
	const tb_call *call = run->call;
	const char *name = call->operand_count > 0 ? call->operands[0] : "-";
	run->lines.fd = strcmp(name, "-") == 0 ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
	return run->lines.fd >= 0 ? TB_OK : tb_fail_errno(err, errno, "can't open %s", name);
}

/* From here on a signal is something to read, so that the run can end in order. */
static tb_rc catch_signals(tb_publishing *run, tb_err *err)
{
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	run->signal_fd = run->lines.interrupt_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return run->signal_fd >= 0 ? TB_OK : tb_fail_errno(err, errno, "can't wait for signals");
}

static tb_rc run_publish(tb_publishing *run, tb_err *err)
{
	tb_rc rc = open_input(run, err);
	if (rc == TB_OK)
		rc = catch_signals(run, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_publishing_open(run, err);
	if (rc == TB_EINTERRUPTED)
		print_result(run); /* whoever ends us gets an answer */
	if (rc != TB_OK)
		return rc;
	snprintf(run->shown, sizeof(run->shown), "%s", run->options->engine);
	tb_progress_start(&run->progress, run->call->clock, run->shown, "lines");
	return finish(run, publish_lines(run, err), err);
}

tb_rc verb_publish(tb_call *call, tb_err *err)
{
	tb_publishing run = {
		.call = call, .options = call->options, .signal_fd = -1, .lock_fd = -1,
		.lines = { .fd = -1, .interrupt_fd = -1, .line_max = TB_JSON_LINE_MAX },
	};
	tb_rc rc = read_options(&run, err);
	if (rc != TB_OK)
		return rc;
	run.arena = tb_arena_new();
	rc = run_publish(&run, err);
	tb_publishing_close(&run);
	call->disk->close(call->disk, run.quarantine);
	if (run.lines.fd > STDIN_FILENO)
		close(run.lines.fd);
	if (run.signal_fd >= 0)
		close(run.signal_fd);
	tb_lines_drop(&run.lines);
	tb_arena_free(run.arena);
	return rc;
}
