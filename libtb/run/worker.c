#include "run/worker.h"

#include "base/log.h"
#include "bus/address.h"
#include "run/config.h"
#include "run/loop.h"
#include "run/notify.h"
#include "run/process.h"
#include "store/instance.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct common {
	char *dir, *broker, *tls, *key, *bank, *log_level;
	int help, version;
};

const tb_opt tb_worker_rows[] = {
	{ "dir", 'd', TB_OPT_TEXT, offsetof(struct common, dir), NULL, NULL, "DIR",
	  "The instance's directory: configuration, keys, banks, sockets.", 1 },
	{ "broker", 'b', TB_OPT_TEXT, offsetof(struct common, broker), NULL, NULL, "URL",
	  "The broker's address, e.g. tls+tcp://10.0.0.1:7401.", 1 },
	{ "tls", 0, TB_OPT_TEXT, offsetof(struct common, tls), NULL, NULL, "DIR",
	  "For a broker at tls+tcp://HOST:PORT: this host's keys, a copy of what `tb keys host NAME` made.", 1 },
	{ "key", 'k', TB_OPT_TEXT, offsetof(struct common, key), NULL, NULL, "FILE",
	  "The key file of this worker.", 1 },
	{ "bank", 0, TB_OPT_TEXT, offsetof(struct common, bank), NULL, NULL, "DIR",
	  "Where its bank lies; below --dir when not given.", 1 },
	{ "log-level", 0, TB_OPT_TEXT, offsetof(struct common, log_level), "info", "debug|info|warn|error", "LEVEL",
	  "The least important entries that are written to stderr.", 1 },
	{ "help", 'h', TB_OPT_FLAG, offsetof(struct common, help), NULL, NULL, NULL, "This text.", 1 },
	{ "version", 'V', TB_OPT_FLAG, offsetof(struct common, version), NULL, NULL, NULL, "The version.", 1 },
	{ 0 },
};

struct process {
	const tb_worker *worker;
	tb_worker_env env;
	tb_buf program; /* its name */
	tb_buf key;     /* env.key */
	int signal_fd;
	tb_loop *loop;
};

/* ---- options */

static size_t rows_count(const tb_opt *rows)
{
	size_t count = 0;
	while (rows != NULL && rows[count].name != NULL)
		count++;
	return count;
}

/* The common rows and the worker's own behind them, over one struct: its own stands behind the common one. */
static tb_opt *join_rows(const tb_worker *worker)
{
	size_t common = rows_count(tb_worker_rows), own = rows_count(worker->rows);
	tb_opt *rows = tb_alloc_zero(common + own + 1, sizeof(*rows));
	memcpy(rows, tb_worker_rows, common * sizeof(*rows));
	for (size_t i = 0; i < own; i++) {
		rows[common + i] = worker->rows[i];
		rows[common + i].offset += sizeof(struct common);
	}
	return rows;
}

static tb_rc read_sources(const struct common *common, tb_options *options, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = TB_OK;
	if (common->dir != NULL)
		rc = tb_instance_check(tb_disk_system(), common->dir, err);
	if (rc == TB_OK && common->dir != NULL) {
		tb_buf_print(&path, "%s/tb.yaml", common->dir);
		rc = tb_options_file(options, tb_buf_text(&path), tb_config_known(), err);
	}
	return rc == TB_OK ? tb_options_env(options, err) : rc;
}

static tb_rc read_options(const struct common *common, tb_options *options, const tb_worker *worker, int argc,
                          char **argv, tb_err *err)
{
	int operands;
	tb_rc rc = tb_options_args(options, argc, argv, &operands, err);
	if (rc == TB_OK && operands > 0)
		rc = tb_fail(err, TB_EINVAL, "%s takes no operands, but got '%s'", worker->name, argv[1]);
	if (rc == TB_OK && common->dir == NULL && common->broker == NULL && !common->help && !common->version) {
		rc = tb_fail(err, TB_EINVAL, "neither --dir nor --broker is given");
		tb_hint(err, "name the instance's directory with --dir, or the broker's address with --broker");
	}
	return rc == TB_OK && !common->help && !common->version ? read_sources(common, options, err) : rc;
}

/* ---- opening */

static void name_key(struct process *process, const struct common *common)
{
	if (common->key != NULL)
		tb_buf_print(&process->key, "%s", common->key);
	else if (common->dir != NULL && process->worker->key_file != NULL)
		tb_buf_print(&process->key, "%s/%s", common->dir, process->worker->key_file);
	process->env.key = process->key.size > 0 ? tb_buf_text(&process->key) : NULL;
}

static tb_rc open_bank(struct process *process, const struct common *common, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	if (common->bank != NULL)
		tb_buf_print(&path, "%s", common->bank);
	else if (common->dir != NULL)
		tb_buf_print(&path, "%s/banks/%s", common->dir, process->worker->name);
	else
		tb_buf_print(&path, "/var/lib/tradebank/%s", process->worker->name);
	tb_rc rc = tb_disk_make_path(process->env.disk, tb_buf_text(&path), err);
	if (rc == TB_OK)
		rc = tb_bank_open(tb_buf_text(&path), TB_BANK_WRITER, 0, &process->env.bank, err);
	return rc;
}

static tb_rc open_signals(struct process *process, tb_err *err)
{
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	process->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	process->env.wake_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };
	if (process->signal_fd < 0 || process->env.wake_fd < 0 ||
	    epoll_ctl(process->env.wake_fd, EPOLL_CTL_ADD, process->signal_fd, &event) != 0)
		return tb_fail_errno(err, errno, "can't watch for signals");
	return TB_OK;
}

static tb_rc process_open(struct process *process, const struct common *common, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf url = { 0 };
	name_key(process, common);
	tb_rc rc = tb_keys_init(err);
	if (rc == TB_OK)
		rc = open_signals(process, err);
	if (rc == TB_OK && common->broker != NULL)
		tb_address_print(&url, common->broker, common->tls);
	else if (rc == TB_OK)
		rc = tb_bus_address(common->dir, "broker", &url, err);
	if (rc == TB_OK)
		rc = open_bank(process, common, err);
	if (rc == TB_OK)
		rc = tb_bus_dial(tb_buf_text(&url), process->env.wake_fd, &process->env.bus, err);
	if (rc == TB_OK)
		rc = tb_loop_open(process->worker, &process->env, process->signal_fd, &process->loop, err);
	return rc;
}

static void process_close(struct process *process)
{
	tb_loop_close(process->loop);
	tb_bus_close(process->env.bus);
	tb_bank_close(process->env.bank);
	tb_buf_drop(&process->program);
	tb_buf_drop(&process->key);
	if (process->signal_fd >= 0)
		close(process->signal_fd);
	if (process->env.wake_fd >= 0)
		close(process->env.wake_fd);
}

/* ---- the program */

static void print_help(const tb_worker *worker, const tb_opt *rows)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_buf_print(&text, "usage: tb-%s " TB_WORKER_USAGE "\n\n%s\n\n", worker->name,
	             worker->summary);
	tb_options_help(rows, &text);
	tb_buf_print(&text, "\nexample: tb-%s --dir /var/lib/tradebank\n", worker->name);
	fputs(tb_buf_text(&text), stdout);
}

static tb_log_level level_of(const char *word)
{
	static const char *const words[] = { "debug", "info", "warn", "error" };
	for (int i = 0; i < 4; i++)
		if (strcmp(word, words[i]) == 0)
			return (tb_log_level)i;
	return TB_LOG_INFO;
}

static tb_rc work(struct process *process, const struct common *common, tb_err *err)
{
	tb_rc rc = process_open(process, common, err);
	if (rc == TB_OK) {
		tb_log(TB_LOG_INFO, "started");
		tb_notify("READY=1");
	}
	while (rc == TB_OK && !tb_loop_stopped(process->loop))
		rc = tb_loop_turn(process->loop, err);
	tb_notify("STOPPING=1");
	if (rc == TB_OK)
		tb_log(TB_LOG_INFO, "ended");
	return rc;
}

static tb_rc start(struct process *process, tb_options *options, int argc, char **argv, tb_err *err)
{
	const tb_worker *worker = process->worker;
	const struct common *common = options->target;
	tb_rc rc = read_options(common, options, worker, argc, argv, err);
	if (rc != TB_OK)
		return rc;
	if (common->help) {
		print_help(worker, options->rows);
		return TB_OK;
	}
	if (common->version) {
		printf("tb-%s %s\n", worker->name, TB_VERSION);
		return TB_OK;
	}
	tb_log_open(tb_buf_text(&process->program), level_of(common->log_level));
	process->env.dir = common->dir;
	return work(process, common, err);
}

int tb_worker_main(const tb_worker *worker, int argc, char **argv)
{
	tb_process_begin();
	tb_options options;
	tb_err err = { 0 };
	tb_opt *rows = join_rows(worker);
	struct common *fields = tb_alloc_zero(1, sizeof(*fields) + worker->options_size);
	tb_options_init(&options, rows, fields);
	struct process process = {
		.worker = worker, .signal_fd = -1,
		.env = { .disk = tb_disk_system(), .clock = tb_clock_system(), .wake_fd = -1 },
	};
	process.env.options = worker->rows != NULL ? fields + 1 : NULL;
	tb_buf_print(&process.program, "tb-%s", worker->name);
	tb_log_open(tb_buf_text(&process.program), TB_LOG_INFO);
	tb_rc rc = start(&process, &options, argc, argv, &err);
	if (rc != TB_OK)
		tb_log_err(TB_LOG_ERROR, "ends", &err);
	process_close(&process);
	tb_options_drop(&options);
	free(fields);
	free(rows);
	return tb_rc_exit(rc);
}
