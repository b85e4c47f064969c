/* The pages: tb(1), one for each other program, tb.yaml(5). */
#include "workers/tb/manual/manual.h"

#include "broker/settings.h"
#include "run/config.h"
#include "workers/collector/collector.h"
#include "workers/sealer/sealer.h"
#include "workers/signal/signal.h"
#include "workers/storer/storer.h"

#include <errno.h>
#include <stdio.h>

static const char *const broker_summary = TB_BROKER_SUMMARY;
static const tb_opt *const broker_tables[] = { tb_broker_rows, NULL };
static const tb_opt *const collector_tables[] = { tb_collector_rows, NULL };
static const tb_opt *const sealer_tables[] = { tb_sealer_rows, NULL };
static const tb_opt *const storer_tables[] = { tb_storer_rows, NULL };

const tb_program tb_programs[] = {
	{ "tb-broker", TB_BROKER_USAGE, &broker_summary, tb_broker_own_rows, broker_tables },
	{ "tb-collector", TB_WORKER_USAGE, &collector_worker.summary, tb_worker_rows, collector_tables },
	{ "tb-sealer", TB_WORKER_USAGE, &sealer_worker.summary, tb_worker_rows, sealer_tables },
	{ "tb-signal", TB_WORKER_USAGE, &signal_worker.summary, tb_worker_rows, NULL },
	{ "tb-storer", TB_WORKER_USAGE, &storer_worker.summary, tb_worker_rows, storer_tables },
	{ 0 },
};

static void put_options(tb_buf *to, const tb_opt *rows)
{
	for (; rows != NULL && rows->name != NULL; rows++)
		roff_option(to, rows);
}

static void put_settings(tb_buf *to, const tb_opt *const *tables)
{
	for (; *tables != NULL; tables++)
		for (const tb_opt *row = *tables; row->name != NULL; row++)
			roff_setting(to, row);
}

static void put_exit_codes(tb_buf *to)
{
	roff_section(to, "EXIT STATUS");
	for (int code = 0; code < 8; code++) {
		tb_auto(tb_buf_drop) tb_buf words = { 0 };
		char number[2] = { (char)('0' + code), '\0' };
		for (int rc = 0; rc < TB_RC_COUNT; rc++)
			if (tb_rc_exit((tb_rc)rc) == code)
				tb_buf_print(&words, "%s%s", words.size > 0 ? ", " : "", tb_rc_name((tb_rc)rc));
		if (code == 1)
			tb_buf_print(&words, "; or done, and something is wrong with what was looked at");
		if (words.size > 0)
			roff_item(to, number, tb_buf_text(&words));
	}
}

static void put_verb(tb_buf *to, const tb_verb *verb)
{
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	tb_buf_print(&name, "tb %s", verb->name);
	roff_subsection(to, tb_buf_text(&name));
	roff_usage(to, tb_buf_text(&name), verb->usage);
	roff_text(to, verb->summary);
	put_options(to, verb->rows);
	roff_example(to, verb->example);
}

static void put_absent_verbs(tb_buf *to)
{
	tb_auto(tb_buf_drop) tb_buf names = { 0 };
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++)
		if (verb->run == NULL)
			tb_buf_print(&names, "%s%s", names.size > 0 ? ", " : "", verb->name);
	if (names.size == 0)
		return;
	tb_buf_print(&names, ".");
	roff_section(to, "NOT IN THIS VERSION");
	roff_text(to, tb_buf_text(&names));
}

static void put_see_also(tb_buf *to, const char *but)
{
	tb_auto(tb_buf_drop) tb_buf names = { 0 };
	tb_buf_print(&names, "%s", strcmp(but, "tb") != 0 ? "tb(1), " : "");
	for (const tb_program *program = tb_programs; program->name != NULL; program++)
		if (strcmp(program->name, but) != 0)
			tb_buf_print(&names, "%s(1), ", program->name);
	names.size -= 2;
	tb_buf_print(&names, "%s", strcmp(but, "tb.yaml") != 0 ? ", tb.yaml(5)" : "");
	roff_section(to, "SEE ALSO");
	roff_text(to, tb_buf_text(&names));
}

static void page_command(const void *about, tb_buf *to)
{
	(void)about;
	roff_title(to, "tb", 1, "Continuous, verifiable backup for trading engines: the operator's command.");
	roff_section(to, "SYNOPSIS");
	roff_usage(to, "tb", "VERB [OPTION]... [OPERAND]...");
	roff_section(to, "DESCRIPTION");
	roff_text(to, "Engines publish events; what was accepted survives, and any past moment can be brought back, to the event. "
	              "tb makes and runs an instance, says how safe things are, backs up, restores and verifies.");
	roff_text(to, "Results go to stdout. Errors go to stderr as `tb VERB: what failed: why`, with a line `hint: ...` where "
	              "something can be done about it.");
	roff_section(to, "OPTIONS");
	roff_text(to, "Every verb has these; `tb VERB --help` shows its own, too.");
	put_options(to, tb_common_rows);
	roff_section(to, "VERBS");
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++)
		if (verb->run != NULL)
			put_verb(to, verb);
	put_absent_verbs(to);
	put_exit_codes(to);
	roff_section(to, "ENVIRONMENT");
	roff_item(to, "TB_DIR", "The instance's directory, where --dir isn't given.");
	put_see_also(to, "tb");
}

static void page_program(const void *about, tb_buf *to)
{
	const tb_program *program = about;
	tb_auto(tb_buf_drop) tb_buf example = { 0 };
	roff_title(to, program->name, 1, *program->summary);
	roff_section(to, "SYNOPSIS");
	roff_usage(to, program->name, program->usage);
	roff_section(to, "DESCRIPTION");
	roff_text(to, *program->summary);
	roff_text(to, "`tb up` starts it with the others; it can be started alone, too. It stays in the foreground, logs to stderr, "
	              "and ends on SIGTERM.");
	roff_section(to, "OPTIONS");
	put_options(to, program->options);
	for (const tb_opt *const *table = program->settings; table != NULL && *table != NULL; table++)
		put_options(to, *table);
	if (program->settings != NULL) {
		roff_section(to, "CONFIGURATION");
		roff_text(to, "In tb.yaml in the instance's directory, or in the environment, which is the stronger:");
		put_settings(to, program->settings);
	}
	put_exit_codes(to);
	roff_section(to, "EXAMPLES");
	tb_buf_print(&example, "%s --dir /var/lib/tradebank", program->name);
	roff_example(to, tb_buf_text(&example));
	put_see_also(to, program->name);
}

static void page_configuration(const void *about, tb_buf *to)
{
	(void)about;
	roff_title(to, "tb.yaml", 5, "Configuration of a Tradebank instance.");
	roff_section(to, "DESCRIPTION");
	roff_text(to, "A YAML file in the instance's directory; `tb init` writes one in which every setting is a comment with its "
	              "default. A name with a dot may also be written as a map:");
	roff_example(to, "journal:\n  limit: 8GiB");
	roff_text(to, "is journal.limit: 8GiB. A process reads it when it starts. The environment is stronger, and a command line "
	              "stronger than that. Sizes are 512, 64KiB, 8MiB, 2GiB (or KB, MB, GB, powers of ten), times 250us, 1ms, 30s, "
	              "5min, 1h, 7d, 1y.");
	roff_section(to, "SETTINGS");
	put_settings(to, tb_config_known());
	put_see_also(to, "tb.yaml");
}

typedef void (*page_fn)(const void *about, tb_buf *to);

static tb_rc write_page(const char *dir, const char *name, int section, page_fn page, const void *about, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 }, text = { 0 };
	tb_buf_print(&path, "%s/%s.%d", dir, name, section);
	page(about, &text);
	FILE *file = fopen(tb_buf_text(&path), "w");
	if (file == NULL)
		return tb_fail_errno(err, errno, "can't write %s", tb_buf_text(&path));
	size_t written = fwrite(text.data, 1, text.size, file);
	if (fclose(file) != 0 || written != text.size)
		return tb_fail_errno(err, errno, "can't write %s", tb_buf_text(&path));
	return TB_OK;
}

tb_rc tb_pages_write(const char *dir, tb_err *err)
{
	tb_rc rc = write_page(dir, "tb", 1, page_command, NULL, err);
	for (const tb_program *program = tb_programs; rc == TB_OK && program->name != NULL; program++)
		rc = write_page(dir, program->name, 1, page_program, program, err);
	if (rc == TB_OK)
		rc = write_page(dir, "tb.yaml", 5, page_configuration, NULL, err);
	return rc;
}
