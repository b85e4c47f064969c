/* tb restore */
#include "tb/restore.h"

#include "run/config.h"
#include "store/catalog.h"
#include "workers/tb/resume.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* For a forecast, and on the careful side: what one core reads, opens and lays down in a second. */
#define BYTES_A_SECOND 40e6
#define EVENTS_A_SECOND 150e3

#define AT(field) offsetof(struct restore_options, field)
const tb_opt tb_restore_rows[] = {
	{ "stream", 's', TB_OPT_TEXT, AT(stream), NULL, NULL, "S", "The stream whose state it is.", 1 },
	{ "event", 'e', TB_OPT_TEXT, AT(event), NULL, NULL, "N", "As it was after that event; 0: before the first.", 1 },
	{ "at", 0, TB_OPT_TEXT, AT(at), NULL, NULL, "TIME", "As it was then: RFC 3339, or nanoseconds since 1970.", 1 },
	{ "backup", 'b', TB_OPT_TEXT, AT(backup), NULL, NULL, "ID", "As that backup has it.", 1 },
	{ "to", 0, TB_OPT_TEXT, AT(to), NULL, NULL, "TARGET",
	  "json:- (the default; with --resume null:), json:FILE, lmdb:DIR, or null: to only try it.", 1 },
	{ "repo", 0, TB_OPT_TEXT, AT(repo), NULL, NULL, "R", "The repository, instead of the instance's.", 1 },
	{ "key", 0, TB_OPT_TEXT, AT(key), NULL, NULL, "FILE", "The identity or recovery kit, instead of the instance's.",
	  1 },
	{ "force", 0, TB_OPT_FLAG, AT(force), NULL, NULL, NULL, "Replace an existing target.", 1 },
	{ "dry-run", 0, TB_OPT_FLAG, AT(dry_run), NULL, NULL, NULL,
	  "Only say what would be read, and about how long it takes.", 1 },
	{ "all", 0, TB_OPT_FLAG, AT(all), NULL, NULL, NULL, "Every stream (not in this version).", 1 },
	{ "resume", 0, TB_OPT_FLAG, AT(resume), NULL, NULL, NULL,
	  "Then make it the stream's present state, so that the engine goes on from there.", 1 },
	{ 0 },
};

struct restoring {
	const tb_call *call;
	const struct restore_options *options;
	tb_restore_options what;
	tb_buf repository, identity, catalog;
	tb_progress progress;
	tb_resume resume;
};

/* Being told to end: the restore is asked to stop and cleans up; being told once more ends the process at once. */

static volatile sig_atomic_t told_to_end;

static void note_signal(int signo)
{
	(void)signo;
	told_to_end = 1;
}

static int is_told_to_end(void *context)
{
	(void)context;
	return told_to_end;
}

static void catch_signals(void (*handler)(int))
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = handler, .sa_flags = (int)SA_RESETHAND };
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
}

/* What is asked for */

static void tell_progress(void *context, const tb_restore_progress *progress)
{
	tb_progress_tell(context, progress->bytes_done, progress->bytes_all);
}

static tb_rc read_moment(struct restoring *restoring, tb_err *err)
{
	const struct restore_options *options = restoring->options;
	tb_restore_options *what = &restoring->what;
	if ((options->event != NULL) + (options->at != NULL) + (options->backup != NULL) > 1)
		return tb_fail(err, TB_EINVAL, "--event, --at and --backup each say when: only one of them can");
	if (options->event != NULL && !tb_uint_parse(options->event, &what->event))
		return tb_fail(err, TB_EINVAL, "--event is an event's number: '%.100s' is none", options->event);
	if (options->at != NULL && !tb_time_parse(options->at, &what->time_ns)) {
		tb_fail(err, TB_EINVAL, "--at is a time: '%.100s' is none", options->at);
		tb_hint(err, "write it as 2026-01-02T03:04:05.678Z, or as nanoseconds since 1970");
		return TB_EINVAL;
	}
	what->moment = options->event != NULL    ? TB_AT_EVENT
	               : options->at != NULL     ? TB_AT_TIME
	               : options->backup != NULL ? TB_AT_BACKUP
	                                         : TB_AT_LATEST;
	what->backup = options->backup;
	return TB_OK;
}

static tb_rc read_options(struct restoring *restoring, tb_err *err)
{
	const struct restore_options *options = restoring->options;
	if (options->all)
		return tb_not_yet("--all", err);
	if (options->stream == NULL) {
		tb_fail(err, TB_EINVAL, "it isn't said of which stream");
		tb_hint(err, "name it with --stream S; `tb list` knows them");
		return TB_EINVAL;
	}
	tb_restore_options *what = &restoring->what;
	what->stream = options->stream;
	what->target = options->to != NULL ? options->to : options->resume ? "null:" : "json:-";
	what->force = options->force;
	what->dry_run = options->dry_run;
	what->progress = tell_progress;
	what->stopped = is_told_to_end;
	what->context = &restoring->progress;
	return read_moment(restoring, err);
}

/* Where it comes from */

/* What the instance remembers of its own repository. Restoring must not depend on it: one that can't be read is said to
 * be so, and done without. */
static void find_catalog(struct restoring *restoring)
{
	tb_err err = { 0 };
	tb_head head;
	const char *path = tb_below(&restoring->catalog, restoring->call->dir, "banks/storer");
	if (access(path, F_OK) != 0)
		return;
	tb_rc rc = tb_catalog_head(path, restoring->options->stream, &head, &err);
	if (rc == TB_OK || rc == TB_ENOTFOUND)
		restoring->what.catalog = path;
	else
		fprintf(stderr, "tb restore: warning: whether the repository is complete can't be told: %s\n", err.text);
}

static tb_rc find_source(struct restoring *restoring, tb_err *err)
{
	const struct restore_options *options = restoring->options;
	tb_restore_options *what = &restoring->what;
	const char *dir = NULL;
	tb_rc rc = TB_OK;
	what->repository = options->repo;
	what->identity = options->key;
	if (options->repo == NULL || options->key == NULL)
		rc = tb_call_dir(restoring->call, &dir, err);
	if (rc != TB_OK && restoring->call->dir == NULL) {
		tb_hint(err, "name the instance with --dir DIR, or both --repo and --key");
		return rc;
	}
	if (rc == TB_OK && options->key == NULL)
		what->identity = tb_below(&restoring->identity, dir, "keys/identity.key");
	if (rc == TB_OK && options->repo == NULL) {
		rc = tb_config_repository(dir, &restoring->repository, err);
		what->repository = tb_buf_text(&restoring->repository);
		find_catalog(restoring);
	}
	return rc;
}

/* Where it goes */

/* The state is told to the reset while it is written to the target; the reset is committed when all of that is done. */
static tb_rc prepare_resume(struct restoring *restoring, tb_err *err)
{
	tb_resume *resume = &restoring->resume;
	*resume = (tb_resume){ .call = restoring->call, .stream = restoring->options->stream };
	tb_rc rc = tb_call_dir(restoring->call, &resume->dir, err);
	if (rc == TB_OK)
		rc = tb_resume_check(resume, err);
	restoring->what.entry = tb_resume_entry;
	restoring->what.entry_context = resume;
	return rc;
}

/* What came of it */

static json_t *describe(const struct restoring *restoring, const tb_restored *restored)
{
	char digest[65];
	int dry = restoring->options->dry_run;
	tb_hex(digest, restored->digest, 32);
	json_t *object = json_pack(
		"{s:s, s:I, s:I, s:o, s:I, s:I, s:f, s:o, s:o, s:I, s:I, s:b}", "stream", restoring->options->stream, "event",
		(json_int_t)restored->event, "time_ns", (json_int_t)restored->time_ns, "time", tb_json_time(restored->time_ns),
		"keys", (json_int_t)restored->keys, "bytes", (json_int_t)restored->bytes, "seconds",
		(double)restored->seconds_ns / (double)TB_NS_PER_S, "digest", dry ? json_null() : json_string(digest), "backup",
		restored->backup[0] ? json_string(restored->backup) : json_null(), "objects", (json_int_t)restored->objects,
		"events", (json_int_t)restored->events, "sum_checked", restored->sum_checked);
	json_object_set_new(object, "bytes_read", json_integer((json_int_t)restored->bytes_read));
	if (restoring->resume.commit != 0) {
		json_object_set_new(object, "begin", json_integer((json_int_t)restoring->resume.begin));
		json_object_set_new(object, "commit", json_integer((json_int_t)restoring->resume.commit));
	}
	if (restored->passed_over[0] != '\0')
		json_object_set_new(object, "passed_over", json_string(restored->passed_over));
	return object;
}

static double forecast(const tb_restored *restored)
{
	return (double)restored->bytes_read / BYTES_A_SECOND + (double)restored->events / EVENTS_A_SECOND;
}

static void print_read(tb_buf *to, const struct restoring *restoring, const tb_restored *restored)
{
	tb_buf_print(to, "from     %s\n", restored->backup[0] ? restored->backup : "the first event");
	tb_buf_print(to, restoring->options->dry_run ? "to read " : "read    ");
	tb_buf_print(to, " %llu objects, ", tb_ull(restored->objects));
	tb_print_size(to, restored->bytes_read);
	tb_buf_print(to, ", %llu events\n", tb_ull(restored->events));
}

static void print_summary(tb_buf *to, const struct restoring *restoring, const tb_restored *restored)
{
	tb_buf_print(to, "stream   %s\nevent    %llu\ntime     ", restoring->options->stream, tb_ull(restored->event));
	char time[TB_TIME_TEXT_SIZE];
	tb_time_text(time, restored->time_ns);
	tb_buf_print(to, "%s\n", restored->time_ns != 0 ? time : "-");
	print_read(to, restoring, restored);
	if (restoring->options->dry_run) {
		tb_buf_print(to, "takes    about ");
		tb_print_age(to, (uint64_t)(forecast(restored) * (double)TB_NS_PER_S));
		tb_buf_print(to, "\n");
		return;
	}
	tb_buf_print(to, "keys     %llu\nbytes    %llu\nseconds  %.3f\ndigest   ", tb_ull(restored->keys),
	             tb_ull(restored->bytes), (double)restored->seconds_ns / (double)TB_NS_PER_S);
	tb_buf_hex(to, restored->digest, 32);
	tb_buf_print(to, "\nsum      %s\n",
	             restored->sum_checked ? "equal to the recorded one" : "none is recorded on the way");
	if (restoring->resume.commit != 0)
		tb_buf_print(to, "resumed  by the reset of events %llu..%llu: the engine goes on from it\n",
		             tb_ull(restoring->resume.begin), tb_ull(restoring->resume.commit));
}

static void warn(const struct restoring *restoring, const tb_restored *restored)
{
	if (restored->passed_over[0] != '\0')
		fprintf(stderr, "tb restore: warning: backup %s is damaged and was done without: `tb verify` tells more\n",
		        restored->passed_over);
	if (restored->remembered_last > restored->event && restoring->what.moment == TB_AT_LATEST)
		fprintf(stderr, "tb restore: warning: events up to %llu were stored once; the repository has only up to %llu\n",
		        tb_ull(restored->remembered_last), tb_ull(restored->event));
}

static void print_result(const struct restoring *restoring, const tb_restored *restored)
{
	int state_on_stdout = strcmp(restoring->what.target, "json:-") == 0 && !restoring->options->dry_run;
	FILE *to = state_on_stdout ? stderr : stdout;
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	fflush(stdout);
	warn(restoring, restored);
	if (restoring->call->json) {
		json_t *object = describe(restoring, restored);
		json_dumpf(object, to, JSON_COMPACT | JSON_REAL_PRECISION(6));
		fputc('\n', to);
		json_decref(object);
		return;
	}
	print_summary(&text, restoring, restored);
	fputs(tb_buf_text(&text), to);
}

tb_rc verb_restore(tb_call *call, tb_err *err)
{
	struct restoring restoring = { .call = call, .options = call->options };
	tb_restored restored;
	tb_rc rc = read_options(&restoring, err);
	if (rc == TB_OK)
		rc = find_source(&restoring, err);
	if (rc == TB_OK && restoring.options->resume && !restoring.options->dry_run)
		rc = prepare_resume(&restoring, err);
	if (rc == TB_OK) {
		tb_progress_start(&restoring.progress, call->clock, "restoring", NULL);
		catch_signals(note_signal);
		rc = tb_restore(&restoring.what, &restored, err);
		catch_signals(SIG_DFL);
		tb_progress_end(&restoring.progress);
	}
	if (rc == TB_OK && restoring.what.entry != NULL)
		rc = tb_resume_commit(&restoring.resume, err);
	if (rc == TB_OK)
		print_result(&restoring, &restored);
	tb_resume_drop(&restoring.resume);
	tb_buf_drop(&restoring.repository);
	tb_buf_drop(&restoring.identity);
	tb_buf_drop(&restoring.catalog);
	return rc;
}
