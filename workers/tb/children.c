#include "workers/tb/children.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DELAY_FIRST (20 * TB_NS_PER_MS)
#define DELAY_MAX (5 * TB_NS_PER_S)
#define LOG_TAIL 8192
#define LOG_SIZE_MAX (16 * 1024 * 1024)

/* In the order of starting. */
static const char *const roles[] = { "broker", "storer", "collector", "sealer", "signal" };
enum { ROLE_COUNT = sizeof(roles) / sizeof(*roles) };

static tb_rc find_programs(char folder[PATH_MAX], tb_err *err)
{
	ssize_t size = readlink("/proc/self/exe", folder, PATH_MAX - 1);
	if (size <= 0)
		return tb_fail_errno(err, errno, "can't find out where this program lies");
	folder[size] = '\0';
	*strrchr(folder, '/') = '\0';
	return TB_OK;
}

static tb_rc child_init(child *one, const char *folder, const char *dir, const char *role, unsigned number, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	int args = 0;
	snprintf(one->name, sizeof(one->name), number > 1 ? "%s-%u" : "%s", role, number);
	tb_buf_print(&text, "%s/tb-%s", folder, role);
	one->args[args++] = tb_strdup(tb_buf_text(&text));
	one->args[args++] = tb_strdup("--dir");
	one->args[args++] = tb_strdup(dir);
	if (number > 1) {
		one->args[args++] = tb_strdup("--bank");
		tb_buf_clear(&text);
		tb_buf_print(&text, "%s/banks/%s", dir, one->name);
		one->args[args++] = tb_strdup(tb_buf_text(&text));
	}
	tb_buf_clear(&text);
	tb_buf_print(&text, "%s/logs/%s.log", dir, one->name);
	one->log = tb_strdup(tb_buf_text(&text));
	if (access(one->args[0], X_OK) == 0)
		return TB_OK;
	tb_fail_errno(err, errno, "can't start %s", one->args[0]);
	tb_hint(err, "the programs tb-broker, tb-storer and so on belong beside tb itself");
	return TB_ENOTFOUND;
}

tb_rc children_init(children *all, const char *dir, unsigned sealers, tb_err *err)
{
	char folder[PATH_MAX];
	tb_rc rc = find_programs(folder, err);
	all->items = tb_alloc_zero(ROLE_COUNT + sealers, sizeof(*all->items));
	for (size_t i = 0; i < ROLE_COUNT; i++) {
		unsigned wanted = strcmp(roles[i], "sealer") == 0 ? sealers : 1;
		for (unsigned number = 1; number <= wanted && rc == TB_OK; number++)
			rc = child_init(&all->items[all->count++], folder, dir, roles[i], number, err);
	}
	return rc;
}

void children_drop(children *all)
{
	for (size_t i = 0; i < all->count; i++) {
		for (int j = 0; j < CHILD_ARGS; j++)
			free(all->items[i].args[j]);
		free(all->items[i].log);
	}
	free(all->items);
	*all = (children){ 0 };
}

/* After fork: only what is safe beside the parent's other threads. Never returns. */
static void become(const children *all, const child *one, pid_t parent, int log_fd)
{
	static const char failed[] = "can't start this program\n";
	prctl(PR_SET_PDEATHSIG, SIGTERM); /* whatever kills the parent, we end cleanly */
	if (getppid() != parent)
		_exit(0);
	setpgid(0, 0); /* the terminal's Ctrl-C is for the parent, which ends us in order */
	int null_fd = open("/dev/null", O_RDONLY);
	if (dup2(null_fd, STDIN_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 || dup2(log_fd, STDERR_FILENO) < 0 ||
	    dup2(all->life_fd, 3) < 0)
		_exit(126);
	close_range(4, ~0U, 0);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &all->mask, NULL);
	execv(one->args[0], one->args);
	ssize_t written = write(STDERR_FILENO, failed, sizeof(failed) - 1);
	(void)written;
	_exit(127);
}

static tb_rc open_log(child *one, int *ret_fd, tb_err *err)
{
	struct stat info;
	tb_auto(tb_buf_drop) tb_buf older = { 0 };
	tb_buf_print(&older, "%s.1", one->log);
	if (stat(one->log, &info) == 0 && info.st_size > LOG_SIZE_MAX)
		rename(one->log, tb_buf_text(&older));
	int fd = open(one->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return tb_fail_errno(err, errno, "can't open %s", one->log);
	one->log_from = fstat(fd, &info) == 0 ? (uint64_t)info.st_size : 0;
	*ret_fd = fd;
	return TB_OK;
}

tb_rc child_start(const children *all, child *one, uint64_t now_ns, tb_err *err)
{
	int log_fd = -1;
	pid_t parent = getpid();
	tb_rc rc = open_log(one, &log_fd, err);
	if (rc != TB_OK)
		return rc;
	pid_t pid = fork();
	if (pid == 0)
		become(all, one, parent, log_fd);
	if (pid < 0)
		rc = tb_fail_errno(err, errno, "can't start %s", one->name);
	else
		one->pid = pid;
	one->started_ns = now_ns;
	close(log_fd);
	return rc;
}

static void copy_line(char *to, size_t size, const char *line, const char *skip)
{
	const char *text = strstr(line, "] "); /* behind time, level, name and pid */
	text = text != NULL ? text + 2 : line;
	if (strncmp(text, skip, strlen(skip)) == 0)
		text += strlen(skip);
	snprintf(to, size, "%s", text);
}

void log_last_error(const char *log, char *ret_why, size_t why_size, char *ret_hint, size_t hint_size)
{
	int found = 0;
	char line[1024];
	*ret_why = *ret_hint = '\0';
	while (*log != '\0') {
		size_t size = strcspn(log, "\n");
		snprintf(line, sizeof(line), "%.*s", (int)size, log);
		log += size + (log[size] == '\n');
		int error = strstr(line, "Z error ") != NULL, hint = error && strstr(line, ": hint: ") != NULL;
		if (hint) {
			snprintf(ret_hint, hint_size, "%s", strstr(line, ": hint: ") + 8);
		} else if (error || (!found && *line != '\0')) {
			copy_line(ret_why, why_size, line, "ends: ");
			*ret_hint = '\0';
		}
		found |= error;
	}
}

static void read_why(child *one)
{
	char text[LOG_TAIL + 1];
	struct stat info;
	int fd = open(one->log, O_RDONLY | O_CLOEXEC);
	ssize_t size = 0;
	if (fd >= 0 && fstat(fd, &info) == 0) {
		uint64_t from = one->log_from, end = (uint64_t)info.st_size;
		if (end > LOG_TAIL && end - LOG_TAIL > from)
			from = end - LOG_TAIL;
		size = pread(fd, text, LOG_TAIL, (off_t)from);
	}
	if (fd >= 0)
		close(fd);
	text[size > 0 ? size : 0] = '\0';
	log_last_error(text, one->why, sizeof(one->why), one->hint, sizeof(one->hint));
}

static void take_end(child *one, int status, uint64_t now_ns)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
	int soon = now_ns - one->started_ns < CHILD_LIVED_LONG;
	one->same_code = soon && one->failures > 0 && code == one->code ? one->same_code + 1 : 1;
	one->failures = soon ? one->failures + 1 : 1;
	one->code = code;
	one->pid = 0;
	read_why(one);
}

child *children_reap(children *all, uint64_t now_ns)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < all->count; i++)
			if (all->items[i].pid == pid) {
				take_end(&all->items[i], status, now_ns);
				return &all->items[i];
			}
	return NULL;
}

void child_back_off(child *one, uint64_t now_ns)
{
	if (one->failures <= 1 || one->delay_ns == 0)
		one->delay_ns = DELAY_FIRST;
	else
		one->delay_ns = 2 * one->delay_ns < DELAY_MAX ? 2 * one->delay_ns : DELAY_MAX;
	one->due_ns = now_ns + one->delay_ns;
}

void child_describe(const child *one, tb_buf *to)
{
	if (one->code < 0)
		tb_buf_print(to, "was killed by signal %d (%s)", -one->code, strsignal(-one->code));
	else
		tb_buf_print(to, "ended with exit code %d%s%s", one->code, *one->why ? ": " : "", one->why);
}
