/* tb verify */
#include "store/verify.h"
#include "workers/tb/tb.h"

#include <stdio.h>
#include <unistd.h>

#define AT(field) offsetof(struct verify_options, field)
const tb_opt tb_verify_rows[] = {
	{ "quick", 'q', TB_OPT_FLAG, AT(quick), NULL, NULL, NULL,
	  "Names, sizes, signatures, chains and heads only; without it every byte.", 1 },
	{ "stream", 's', TB_OPT_TEXT, AT(stream), NULL, NULL, "S", "Only that stream.", 1 },
	{ "repo", 0, TB_OPT_TEXT, AT(repo), NULL, NULL, "R", "The repository, instead of the instance's.", 1 },
	{ "key", 0, TB_OPT_TEXT, AT(key), NULL, NULL, "FILE",
	  "An identity or recovery kit: also tries whether it opens the repository.", 1 },
	{ 0 },
};

struct verifying {
	const tb_call *call;
	tb_key *identity; /* NULL: none was given */
	json_t *findings; /* with --json */
	tb_progress progress;
	int color;
};

static json_t *describe_finding(const tb_finding *finding)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:b}", "code", finding->code, "path", finding->path,
	                 "stream", finding->stream, "backup", finding->backup, "type", finding->type, "from",
	                 (json_int_t)finding->from, "to", (json_int_t)finding->to, "detail", finding->detail, "harmless",
	                 finding->harmless);
}

static void print_finding(const struct verifying *verifying, const tb_finding *finding)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	int red = verifying->color && !finding->harmless;
	tb_buf_print(&text, "%s%s: %s", red ? "\033[31m" : "", finding->harmless ? "noticed" : "damaged", finding->code);
	if (finding->path[0] != '\0')
		tb_buf_print(&text, ": %s", finding->path);
	if (finding->backup[0] != '\0')
		tb_buf_print(&text, ", of %s (%s)", finding->backup, finding->type);
	if (finding->stream[0] != '\0')
		tb_buf_print(&text, ", stream %s", finding->stream);
	if (finding->detail[0] != '\0')
		tb_buf_print(&text, ": %s", finding->detail);
	printf("%s%s\n", tb_buf_text(&text), red ? "\033[0m" : "");
}

/* Fields may be empty, or left out. */
static const char *given(const char *text)
{
	return text != NULL ? text : "";
}

static void take_finding(void *context, const tb_finding *found)
{
	struct verifying *verifying = context;
	tb_finding finding = *found;
	finding.path = given(found->path);
	finding.stream = given(found->stream);
	finding.backup = given(found->backup);
	finding.type = given(found->type);
	finding.detail = given(found->detail);
	if (verifying->findings != NULL) {
		json_array_append_new(verifying->findings, describe_finding(&finding));
		return;
	}
	tb_progress_end(&verifying->progress);
	print_finding(verifying, &finding);
}

static void tell_progress(void *context, uint64_t done, uint64_t all)
{
	struct verifying *verifying = context;
	tb_progress_tell(&verifying->progress, done, all);
}

static void print_summary(const struct verifying *verifying, const tb_verified *verified)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	const struct verify_options *options = verifying->call->options;
	tb_buf_print(&text, "%llu streams, %llu manifests, %llu objects, ", tb_ull(verified->streams),
	             tb_ull(verified->manifests), tb_ull(verified->objects));
	tb_print_size(&text, verified->bytes);
	tb_buf_print(&text, options->quick ? ", in " : ", every byte read, in ");
	tb_print_age(&text, verified->seconds_ns);
	if (verified->orphans != 0)
		tb_buf_print(&text, "; %llu objects that nothing names", tb_ull(verified->orphans));
	if (verified->findings != 0)
		tb_buf_print(&text, "\n%llu findings of damage", tb_ull(verified->findings));
	else
		tb_buf_print(&text, "\nno damage found");
	printf("%s\n", tb_buf_text(&text));
}

static void print_json(const struct verifying *verifying, const tb_verified *verified)
{
	const struct verify_options *options = verifying->call->options;
	json_t *object = json_pack(
		"{s:b, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:f, s:O}", "sound", verified->findings == 0, "damage",
		(json_int_t)verified->findings, "full", !options->quick, "streams", (json_int_t)verified->streams, "manifests",
		(json_int_t)verified->manifests, "objects", (json_int_t)verified->objects, "bytes", (json_int_t)verified->bytes,
		"orphans", (json_int_t)verified->orphans, "seconds", (double)verified->seconds_ns / (double)TB_NS_PER_S,
		"findings", verifying->findings);
	json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(object);
}

/* What the instance remembers is about its own repository only. */
static const char *find_catalog(const tb_call *call, tb_buf *path)
{
	const struct verify_options *options = call->options;
	if (call->dir == NULL || options->repo != NULL)
		return NULL;
	const char *catalog = tb_below(path, call->dir, "banks/storer");
	return access(catalog, F_OK) == 0 ? catalog : NULL;
}

static tb_rc verify(struct verifying *verifying, tb_archive *archive, tb_verified *ret_verified, tb_err *err)
{
	const struct verify_options *options = verifying->call->options;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_verify_options what = {
		.full = !options->quick,
		.catalog = find_catalog(verifying->call, &path),
		.stream = options->stream,
		.identity = verifying->identity,
		.finding = take_finding,
		.progress = tell_progress,
		.context = verifying,
	};
	tb_progress_start(&verifying->progress, verifying->call->clock, "verifying", NULL);
	tb_rc rc = tb_verify(archive, &what, ret_verified, err);
	tb_progress_end(&verifying->progress);
	return rc;
}

static tb_rc run(struct verifying *verifying, tb_verified *ret_verified, tb_err *err)
{
	const struct verify_options *options = verifying->call->options;
	tb_archive *archive;
	tb_rc rc = TB_OK;
	if (options->key != NULL)
		rc = tb_key_read(verifying->call->disk, options->key, TB_KEY_IDENTITY, &verifying->identity, err);
	if (rc == TB_OK)
		rc = tb_call_archive_closed(verifying->call, options->repo, verifying->identity, &archive, err);
	if (rc != TB_OK)
		return rc;
	rc = verify(verifying, archive, ret_verified, err);
	tb_archive_close(archive);
	return rc;
}

tb_rc verb_verify(tb_call *call, tb_err *err)
{
	struct verifying verifying = { .call = call, .color = isatty(STDOUT_FILENO) };
	tb_verified verified;
	if (call->json)
		verifying.findings = json_array();
	tb_rc rc = run(&verifying, &verified, err);
	tb_key_free(verifying.identity);
	if (rc == TB_OK && call->json)
		print_json(&verifying, &verified);
	else if (rc == TB_OK)
		print_summary(&verifying, &verified);
	if (rc == TB_OK && verified.findings != 0)
		call->exit = 1;
	json_decref(verifying.findings);
	return rc;
}
