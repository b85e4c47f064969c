/* tb-broker: options, the lock on the instance, the core, its sockets. */
#include "base/log.h"
#include "broker/serve.h"
#include "broker/settings.h"
#include "bus/address.h"
#include "bus/host_keys.h"
#include "bus/listen.h"
#include "run/config.h"
#include "run/notify.h"
#include "run/process.h"
#include "store/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROGRAM "tb-broker"
#define PERIOD_MAX ((size_t)64 * 1024)
/* Of the requests held at once, so many may wait for something to happen; the others are for what is answered now. */
#define WAITING_MAX (TB_SERVE_REQUESTS * 3 / 4)

static tb_log_level level_of(const char *word)
{
	static const char *const words[] = { "debug", "info", "warn", "error" };
	int level = 0;
	while (strcmp(words[level], word) != 0) /* the table of options knows these only */
		level++;
	return (tb_log_level)level;
}

static tb_rc read_args(tb_options *options, const tb_broker_settings *settings, int argc, char **argv, tb_err *err)
{
	int operands;
	tb_rc rc = tb_options_args(options, argc, argv, &operands, err);
	if (rc == TB_OK && operands > 0)
		return tb_fail(err, TB_EINVAL, PROGRAM " takes no operands, but got '%s'", argv[1]);
	if (rc == TB_OK && settings->dir == NULL && !settings->help && !settings->version) {
		tb_fail(err, TB_EINVAL, "--dir is missing");
		tb_hint(err, "name the instance's directory: " PROGRAM " --dir DIR");
		return TB_EINVAL;
	}
	return rc;
}

/* One queue takes what all publishers have on their way; what doesn't fit in it is lost without a word. */
static tb_rc check_windows(const tb_broker_config *config, tb_err *err)
{
	if (config->window_frames * config->publishers_max <= TB_INLET_MESSAGES)
		return TB_OK;
	tb_fail(err, TB_EINVAL, "window.frames (%llu) times publishers.max (%llu) is above %u, what the broker can receive",
	        (unsigned long long)config->window_frames, (unsigned long long)config->publishers_max, TB_INLET_MESSAGES);
	tb_hint(err, "lower one of them in tb.yaml");
	return TB_EINVAL;
}

static tb_rc read_config(tb_options *options, const tb_broker_settings *settings, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = tb_instance_check(tb_disk_system(), settings->dir, err);
	if (rc != TB_OK)
		return rc;
	tb_buf_print(&path, "%s/tb.yaml", settings->dir);
	rc = tb_options_file(options, tb_buf_text(&path), tb_config_known(), err);
	if (rc == TB_OK)
		rc = tb_options_env(options, err);
	return rc == TB_OK ? check_windows(&settings->config, err) : rc;
}

static tb_rc find_group(const char *name, gid_t *ret_group, tb_err *err)
{
	uint64_t number;
	const struct group *group = getgrnam(name);
	if (group != NULL) {
		*ret_group = group->gr_gid;
	} else if (tb_uint_parse(name, &number) && number < UINT32_MAX) {
		*ret_group = (gid_t)number;
	} else {
		tb_fail(err, TB_EINVAL, "socket.group is '%.80s', and there is no such group", name);
		tb_hint(err, "make it with: groupadd %.80s; then make the engines' users members of it", name);
		return TB_EINVAL;
	}
	return TB_OK;
}

/* Sockets lie there: it is nobody else's, but the members of the sockets' group may pass. */
static tb_rc make_run_dir(const tb_broker_settings *settings, tb_err *err)
{
	const char *name = settings->config.socket_group;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	gid_t group;
	tb_buf_print(&path, "%s/run", settings->dir);
	const char *dir = tb_buf_text(&path);
	if ((mkdir(dir, 0700) != 0 && errno != EEXIST) || chmod(dir, 0700) != 0)
		return tb_fail_errno(err, errno, "%s can't be made", dir);
	if (name == NULL)
		return TB_OK;
	tb_rc rc = find_group(name, &group, err);
	if (rc == TB_OK && (chown(dir, (uid_t)-1, group) != 0 || chmod(dir, 0710) != 0)) {
		rc = tb_fail_errno(err, errno, "%s can't be opened to the group %s", dir, name);
		tb_hint(err, "the broker's user has to be a member of that group: usermod -aG %.80s USER", name);
	}
	return rc;
}

static tb_rc fail_locked(int fd, const char *dir, tb_err *err)
{
	char holder[16] = "";
	ssize_t size = pread(fd, holder, sizeof(holder) - 1, 0);
	int digits = size > 0 ? (int)strspn(holder, "0123456789") : 0;
	tb_fail(err, TB_EBUSY, "another broker (process %.*s) serves %s", digits ? digits : 7, digits ? holder : "unknown",
	        dir);
	tb_hint(err, "stop it first, e.g. with: tb down --dir %.160s", dir);
	return TB_EBUSY;
}

/* The lock is the process's as long as the descriptor is open; the file bears its number for people. */
static tb_rc lock_instance(const char *dir, int *ret_fd, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_buf_print(&path, "%s/run/broker.lock", dir);
	int fd = open(tb_buf_text(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return tb_fail_errno(err, errno, "%s can't be opened", tb_buf_text(&path));
	tb_rc rc = TB_OK;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		rc = errno == EWOULDBLOCK ? fail_locked(fd, dir, err)
		                          : tb_fail_errno(err, errno, "%s can't be locked", tb_buf_text(&path));
	else if (ftruncate(fd, 0) != 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		rc = tb_fail_errno(err, errno, "%s can't be written", tb_buf_text(&path));
	if (rc != TB_OK)
		close(fd);
	else
		*ret_fd = fd;
	return rc;
}

/* The instance's present period, or nothing when it has none yet. */
static tb_rc read_period(const char *dir, tb_buf *ret_period, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_buf_print(&path, "%s/keys/period.rec", dir);
	tb_rc rc = tb_disk_read_file(tb_disk_system(), tb_buf_text(&path), PERIOD_MAX, ret_period, err);
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

static void log_opened(const char *journal, const tb_journal_opened *opened)
{
	tb_log(TB_LOG_INFO, "journal %s: %s", journal, opened->made ? "made" : "replayed");
	if (opened->cut_bytes > 0)
		tb_log(TB_LOG_WARN, "journal %s: torn tail of %llu bytes cut at %llu: what stood there was told to nobody", journal,
		       (unsigned long long)opened->cut_bytes, (unsigned long long)opened->cut_at);
	if (opened->rewritten > 0)
		tb_log(TB_LOG_INFO, "journal %s: %llu bytes written again and synced", journal,
		       (unsigned long long)opened->rewritten);
}

static tb_rc open_core(const tb_broker_settings *settings, const tb_broker_out *out, tb_broker **ret_broker, tb_err *err)
{
	const tb_broker_config *config = &settings->config;
	tb_auto(tb_buf_drop) tb_buf journal = { 0 }, period = { 0 };
	tb_journal_opened opened;
	tb_buf_print(&journal, "%s/journal", settings->dir);
	tb_rc rc = read_period(settings->dir, &period, err);
	if (rc != TB_OK)
		return rc;
	tb_broker_options options = {
		.journal = { .dir = tb_buf_text(&journal), .file_size = config->journal_file_size, .disk = tb_disk_system() },
		.journal_limit = config->journal_limit,
		.journal_keep_ns = config->journal_keep_ns,
		.lease_ns = config->lease_ns,
		.silence_ns = config->silence_ns,
		.window_frames = (uint32_t)config->window_frames,
		.window_bytes = config->window_bytes,
		.publishers_max = (uint32_t)config->publishers_max,
		.streams_max = (uint32_t)config->streams_max,
		.waiting_max = WAITING_MAX,
		.clock = tb_clock_system(),
		.period = tb_buf_span(&period),
	};
	randombytes_buf(options.journal.new_id, sizeof(options.journal.new_id));
	randombytes_buf(options.run_id, sizeof(options.run_id));
	rc = tb_broker_open(&options, out, ret_broker, &opened, err);
	if (rc == TB_OK)
		log_opened(options.journal.dir, &opened);
	return rc;
}

static void log_also(const char *url)
{
	if (url == NULL)
		return;
	if (strncmp(url, "tls+", 4) == 0)
		tb_log(TB_LOG_INFO, "listens at %s too, for hosts with a certificate of this instance", url);
	else
		tb_log(TB_LOG_WARN, "listens at %s too: nothing is encrypted there, and whoever reaches it may do everything", url);
}

/* A further address with the keys that it is served with; NULL when there is none. */
static const char *also(tb_buf *to, const tb_broker_settings *settings, const char *url)
{
	tb_auto(tb_buf_drop) tb_buf keys = { 0 };
	if (url == NULL)
		return NULL;
	if (settings->config.listen_keys != NULL)
		tb_buf_print(&keys, "%s", settings->config.listen_keys);
	else
		tb_buf_print(&keys, "%s/keys/hosts/" TB_HOST_BROKER, settings->dir);
	tb_address_print(to, url, tb_buf_text(&keys));
	return tb_buf_text(to);
}

static tb_rc serve_at(tb_serve *serve, const tb_broker_settings *settings, const char *const paths[3], tb_broker *broker,
                      tb_err *err)
{
	const tb_broker_config *config = &settings->config;
	tb_auto(tb_buf_drop) tb_buf request = { 0 }, events = { 0 }, topics = { 0 };
	const tb_serve_urls urls = {
		paths[0], also(&request, settings, config->listen_request),
		paths[1], also(&events, settings, config->listen_events),
		paths[2], also(&topics, settings, config->listen_topics),
	};
	tb_rc rc = tb_serve_listen(serve, &urls, broker, err);
	if (rc != TB_OK)
		return rc;
	tb_log(TB_LOG_INFO, "listens at %s", urls.request);
	log_also(config->listen_request);
	log_also(config->listen_events);
	log_also(config->listen_topics);
	return TB_OK;
}

static tb_rc listen_all(tb_serve *serve, const tb_broker_settings *settings, tb_broker *broker, tb_err *err)
{
	static const char *const names[] = { "broker", "events", "topics" };
	tb_auto(tb_buf_drop) tb_buf request = { 0 }, events = { 0 }, topics = { 0 };
	tb_buf *const bufs[] = { &request, &events, &topics };
	const char *paths[3];
	gid_t group;
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < 3; i++) {
		rc = tb_bus_address(settings->dir, names[i], bufs[i], err);
		paths[i] = tb_buf_text(bufs[i]);
	}
	if (rc == TB_OK)
		rc = serve_at(serve, settings, paths, broker, err);
	if (rc != TB_OK || settings->config.socket_group == NULL)
		return rc;
	rc = find_group(settings->config.socket_group, &group, err);
	return rc == TB_OK ? tb_serve_admit(serve, group, err) : rc;
}

static tb_rc open_signals(int *ret_fd, tb_err *err)
{
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	*ret_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	return *ret_fd >= 0 ? TB_OK : tb_fail_errno(err, errno, "signalfd");
}

/* A journal that can't be written ends the process, whatever kept it from that: nothing after it may be answered. */
static tb_rc serve_until_signal(tb_serve *serve, int signal_fd, tb_err *err)
{
	tb_notify("READY=1");
	tb_err why;
	tb_rc rc = tb_serve_run(serve, signal_fd, &why);
	tb_notify("STOPPING=1");
	if (rc == TB_OK)
		return TB_OK;
	tb_fail(err, TB_EIO, "the journal can't be written: %s", why.text);
	tb_hint(err, "%s", why.hint[0] != '\0' ? why.hint : "look after that disk, then start again: nothing told is lost");
	return TB_EIO;
}

static tb_rc run(const tb_broker_settings *settings, tb_err *err)
{
	int lock_fd = -1, signal_fd = -1;
	tb_broker *broker = NULL;
	tb_serve *serve = tb_serve_new(tb_clock_system());
	tb_rc rc = sodium_init() < 0 ? tb_fail(err, TB_EIO, "libsodium doesn't start") : TB_OK;
	if (rc == TB_OK)
		rc = make_run_dir(settings, err);
	if (rc == TB_OK)
		rc = lock_instance(settings->dir, &lock_fd, err);
	if (rc == TB_OK)
		rc = open_signals(&signal_fd, err);
	if (rc == TB_OK)
		rc = open_core(settings, tb_serve_out(serve), &broker, err);
	if (rc == TB_OK)
		rc = listen_all(serve, settings, broker, err);
	if (rc == TB_OK)
		rc = serve_until_signal(serve, signal_fd, err);
	tb_broker_close(broker);
	tb_serve_free(serve);
	if (signal_fd >= 0)
		close(signal_fd);
	if (lock_fd >= 0)
		close(lock_fd);
	return rc;
}

static tb_rc start(tb_options *options, tb_broker_settings *settings, int argc, char **argv, tb_err *err)
{
	tb_rc rc = read_args(options, settings, argc, argv, err);
	if (rc != TB_OK)
		return rc;
	if (settings->help) {
		tb_broker_settings_help(options->rows);
		return TB_OK;
	}
	if (settings->version) {
		printf(PROGRAM " %s\n", TB_VERSION);
		return TB_OK;
	}
	tb_log_open(PROGRAM, level_of(settings->log_level));
	rc = read_config(options, settings, err);
	if (rc == TB_OK)
		rc = run(settings, err);
	if (rc == TB_OK)
		tb_log(TB_LOG_INFO, "ended: everything that came is in the journal");
	return rc;
}

int main(int argc, char **argv)
{
	tb_process_begin();
	tb_broker_settings settings;
	tb_options options;
	tb_err err = { 0 };
	tb_opt *rows = tb_broker_settings_rows();
	tb_log_open(PROGRAM, TB_LOG_INFO);
	tb_options_init(&options, rows, &settings);
	tb_rc rc = start(&options, &settings, argc, argv, &err);
	if (rc != TB_OK)
		tb_log_err(TB_LOG_ERROR, "ends", &err);
	tb_options_drop(&options);
	free(rows);
	return tb_rc_exit(rc);
}
