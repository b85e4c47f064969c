/* tb up and tb down: the processes of an instance on one machine. */
#include "frames.pb-c.h"
#include "run/config.h"
#include "run/notify.h"
#include "store/instance.h"
#include "workers/tb/children.h"
#include "workers/tb/ends.h"
#include "workers/tb/tb.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define HEALTH_FRESH (3 * TB_NS_PER_S)
#define STAT_TIMEOUT (500 * TB_NS_PER_MS)
#define READY_EVERY (100 * TB_NS_PER_MS)
#define NOTICE_FIRST (10 * TB_NS_PER_S)
#define FORMER_MAX (15 * TB_NS_PER_S)
#define FATAL_TIMES 3

const tb_opt tb_up_rows[] = {
	{ "sealers", 0, TB_OPT_UINT, offsetof(struct up_options, sealers), "1", "1..64", NULL,
	  "How many sealers to run: compression is what limits.", 1 },
	{ 0 },
};

const tb_opt tb_down_rows[] = {
	{ "timeout", 0, TB_OPT_SPAN, offsetof(struct down_options, timeout_ns), "20s", "0s..1h", NULL,
	  "How long to wait for the end.", 1 },
	{ 0 },
};

typedef struct up {
	tb_call *call;
	char *dir; /* absolute */
	tb_buf broker; /* its address */
	int lock_fd, signal_fd;
	int ready, stops; /* stops: how often we were told to end */
	children children;
	tb_bus *bus; /* until ready */
	uint64_t ready_due_ns, notice_ns, notice_delay_ns;
} up;

static uint64_t now_of(const up *self)
{
	return tb_mono_ns(self->call->clock);
}

/* ---- before anything is started */

static tb_rc make_instance(const tb_call *call, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf config = { 0 }, kit = { 0 }, path = { 0 };
	tb_config_sample(&config);
	tb_rc rc = tb_instance_make(call->disk, call->dir, tb_buf_span(&config), tb_real_ns(call->clock), &kit, err);
	if (rc == TB_OK)
		rc = tb_disk_write_file(call->disk, tb_below(&path, call->dir, "keys/recovery-kit.txt"), tb_buf_span(&kit),
		                        TB_DISK_PRIVATE, err);
	if (rc == TB_OK)
		fprintf(stderr, "tb up: made an instance in %s; print its recovery kit %s, keep that offline, remove the file\n",
		        call->dir, tb_buf_text(&path));
	return rc;
}

static tb_rc find_instance(up *self, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf repository = { 0 };
	const tb_call *call = self->call;
	const char *dir;
	if (call->dir == NULL)
		return tb_call_dir(call, &dir, err);
	tb_rc rc = tb_instance_check(call->disk, call->dir, NULL);
	if (rc == TB_ENOTFOUND)
		rc = make_instance(call, err);
	else if (rc != TB_OK)
		rc = tb_instance_check(call->disk, call->dir, err);
	if (rc == TB_OK)
		rc = tb_config_repository(call->dir, &repository, err); /* a mistake in tb.yaml is told here, once */
	if (rc != TB_OK)
		return rc;
	self->dir = realpath(call->dir, NULL);
	if (self->dir == NULL)
		return tb_fail_errno(err, errno, "can't follow %s", call->dir);
	return tb_bus_address(self->dir, "broker", &self->broker, err);
}

static int open_lock(const up *self, const char *name, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	int fd = open(tb_below(&path, self->dir, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		tb_fail_errno(err, errno, "can't open %s", tb_buf_text(&path));
	return fd;
}

/* Whoever only looks at the lock holds it for a moment, too: try again before believing it. */
static tb_rc take_lock(up *self, tb_err *err)
{
	self->lock_fd = open_lock(self, "run/up.lock", err);
	if (self->lock_fd < 0)
		return err->rc;
	int held;
	for (int i = 0; (held = flock(self->lock_fd, LOCK_EX | LOCK_NB) != 0) && errno == EWOULDBLOCK && i < 5; i++)
		poll(NULL, 0, 20);
	if (held && errno != EWOULDBLOCK)
		return tb_fail_errno(err, errno, "can't lock %s/run/up.lock", self->dir);
	if (held) {
		int pid = 0;
		tb_up_pid(self->dir, &pid, NULL);
		tb_fail(err, TB_EBUSY, "already running, pid %d", pid);
		tb_hint(err, "`tb status --dir %s` says how it is, `tb down --dir %s` ends it", self->dir, self->dir);
		return TB_EBUSY;
	}
	if (ftruncate(self->lock_fd, 0) != 0 || dprintf(self->lock_fd, "%d\n", (int)getpid()) < 0)
		return tb_fail_errno(err, errno, "can't write %s/run/up.lock", self->dir);
	return TB_OK;
}

/* How often we are told to end, from what has arrived. */
static void read_signals(up *self)
{
	struct signalfd_siginfo info;
	while (read(self->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		if (info.ssi_signo != SIGCHLD)
			self->stops++;
}

static void wait_signals(up *self, uint64_t ns)
{
	struct pollfd wait = { .fd = self->signal_fd, .events = POLLIN };
	poll(&wait, 1, (int)((ns + TB_NS_PER_MS - 1) / TB_NS_PER_MS));
	read_signals(self);
}

/* After a kill -9 of `tb up` its processes end by themselves; until then they hold journal and banks. */
static tb_rc await_former(up *self, tb_err *err)
{
	uint64_t deadline = now_of(self) + FORMER_MAX;
	int told = 0;
	self->children.life_fd = open_lock(self, "run/children.lock", err);
	if (self->children.life_fd < 0)
		return err->rc;
	while (flock(self->children.life_fd, LOCK_EX | LOCK_NB) != 0 && self->stops == 0) {
		if (errno != EWOULDBLOCK)
			return tb_fail_errno(err, errno, "can't lock %s/run/children.lock", self->dir);
		if (now_of(self) > deadline) {
			tb_fail(err, TB_EBUSY, "processes of an earlier run still run in %s", self->dir);
			tb_hint(err, "see them with `pgrep -af -- '--dir %s'` and end them", self->dir);
			return TB_EBUSY;
		}
		if (!told++)
			fprintf(stderr, "tb up: waiting for the processes of an earlier run to end\n");
		wait_signals(self, READY_EVERY);
	}
	return TB_OK;
}

static tb_rc open_signals(up *self, tb_err *err)
{
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigaddset(&mask, SIGCHLD);
	/* Before the bus has threads: they inherit it. */
	if (sigprocmask(SIG_BLOCK, &mask, &self->children.mask) != 0)
		return tb_fail_errno(err, errno, "can't block signals");
	signal(SIGPIPE, SIG_IGN);
	self->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	return self->signal_fd >= 0 ? TB_OK : tb_fail_errno(err, errno, "can't watch for signals");
}

/* ---- until ready */

static int is_heard(const child *one, const Tb__StatReply *reply)
{
	for (size_t i = 0; i < reply->n_health; i++) {
		Tb__Health *health = tb__health__unpack(NULL, reply->health[i].len, reply->health[i].data);
		if (health == NULL)
			continue;
		int heard = one->pid > 0 && health->pid == (uint64_t)one->pid &&
		            (health->time_ns > reply->now_ns || reply->now_ns - health->time_ns < HEALTH_FRESH);
		tb__health__free_unpacked(health, NULL);
		if (heard)
			return 1;
	}
	return 0;
}

/* Who hasn't been heard of; reply NULL: the broker itself. */
static void find_missing(const up *self, const Tb__StatReply *reply, tb_buf *ret_names)
{
	tb_buf_clear(ret_names);
	if (reply == NULL)
		tb_buf_print(ret_names, "%s", self->children.items[0].name);
	for (size_t i = 1; reply != NULL && i < self->children.count; i++)
		if (!is_heard(&self->children.items[i], reply))
			tb_buf_print(ret_names, "%s%s", ret_names->size ? ", " : "", self->children.items[i].name);
}

static void tell_ready(up *self)
{
	self->ready = 1;
	tb_bus_close(self->bus);
	self->bus = NULL;
	if (self->call->json)
		tb_print_json(json_pack("{s:b, s:s, s:i, s:s}", "ready", 1, "dir", self->dir, "pid", (int)getpid(), "broker",
		                        tb_buf_text(&self->broker)));
	else
		printf("ready dir=%s pid=%d broker=%s\n", self->dir, (int)getpid(), tb_buf_text(&self->broker));
	fflush(stdout);
	tb_notify("READY=1");
}

static void check_ready(up *self)
{
	tb_auto(tb_buf_drop) tb_buf missing = { 0 };
	tb_arena *arena = tb_arena_new();
	Tb__StatReply *reply = NULL;
	tb_rc rc = tb_bus_stat(self->bus, STAT_TIMEOUT, arena, &reply, NULL);
	uint64_t now = now_of(self);
	find_missing(self, rc == TB_OK ? reply : NULL, &missing);
	if (rc == TB_OK && missing.size == 0) {
		tell_ready(self);
	} else if (rc != TB_EINTERRUPTED && now >= self->notice_ns) {
		fprintf(stderr, "tb up: not ready yet, waiting for %s; logs are in %s/logs\n", tb_buf_text(&missing), self->dir);
		self->notice_delay_ns *= 2;
		self->notice_ns = now + self->notice_delay_ns;
	}
	self->ready_due_ns = now + READY_EVERY;
	tb_arena_free(arena);
}

/* ---- keeping them running */

/* What no restart mends: a wrong call, a refusal, a key. */
static const struct {
	int code;
	tb_rc rc;
} fatal[] = { { 2, TB_EINVAL }, { 5, TB_EREFUSED }, { 7, TB_EKEY } };

static tb_rc judge_end(const up *self, const child *one, tb_err *err)
{
	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal) && !self->ready; i++)
		if (one->code == fatal[i].code && one->same_code >= FATAL_TIMES) {
			tb_fail(err, fatal[i].rc, "%s doesn't start (%u times exit code %d): %s", one->name, one->same_code, one->code,
			        *one->why ? one->why : "it doesn't say why");
			tb_hint(err, "%s%s%s", one->hint, *one->hint ? "; its log is " : "its log is ", one->log);
			return fatal[i].rc;
		}
	return TB_OK;
}

static tb_rc take_ends(up *self, tb_err *err)
{
	tb_rc rc = TB_OK;
	for (child *one; rc == TB_OK && (one = children_reap(&self->children, now_of(self))) != NULL;) {
		tb_auto(tb_buf_drop) tb_buf text = { 0 };
		child_back_off(one, now_of(self));
		rc = judge_end(self, one, err);
		child_describe(one, &text);
		if (rc == TB_OK)
			tb_buf_print(&text, "; restart in %llu ms", (unsigned long long)(one->delay_ns / TB_NS_PER_MS));
		if (one->failures > 2)
			tb_buf_print(&text, " (%u times in a row)", one->failures);
		fprintf(stderr, "tb up: %s %s\n", one->name, tb_buf_text(&text));
		ends_write(&self->children, self->dir, tb_real_ns(self->call->clock), now_of(self));
	}
	return rc;
}

/* Starts who is due; returns how long nobody else is. */
static uint64_t start_due(up *self)
{
	uint64_t now = now_of(self), next = now + 10 * TB_NS_PER_S;
	for (size_t i = 0; i < self->children.count; i++) {
		child *one = &self->children.items[i];
		tb_err err = { 0 };
		if (one->pid == 0 && one->due_ns <= now && child_start(&self->children, one, now, &err) != TB_OK) {
			one->failures++;
			child_back_off(one, now);
			fprintf(stderr, "tb up: %s; trying again in %llu ms\n", err.text,
			        (unsigned long long)(one->delay_ns / TB_NS_PER_MS));
		}
		if (one->pid == 0 && one->due_ns < next)
			next = one->due_ns;
	}
	if (!self->ready && self->ready_due_ns < next)
		next = self->ready_due_ns;
	return next > now ? next - now : 0;
}

static tb_rc keep_running(up *self, tb_err *err)
{
	tb_rc rc = tb_bus_dial(tb_buf_text(&self->broker), self->signal_fd, &self->bus, err);
	self->notice_delay_ns = NOTICE_FIRST;
	self->notice_ns = now_of(self) + NOTICE_FIRST;
	while (rc == TB_OK && self->stops == 0) {
		uint64_t wait_ns = start_due(self);
		if (!self->ready && now_of(self) >= self->ready_due_ns)
			check_ready(self);
		else
			wait_signals(self, wait_ns);
		read_signals(self);
		rc = take_ends(self, err);
	}
	return rc;
}

/* ---- the end */

static size_t running_in(const children *all, size_t from, size_t to)
{
	size_t count = 0;
	for (size_t i = from; i < to; i++)
		count += all->items[i].pid > 0;
	return count;
}

static void signal_in(const children *all, size_t from, size_t to, int signo)
{
	for (size_t i = from; i < to; i++) {
		const child *one = &all->items[i];
		if (one->pid > 0 && signo == SIGKILL)
			fprintf(stderr, "tb up: %s, pid %d, doesn't end: killed\n", one->name, (int)one->pid);
		if (one->pid > 0)
			kill(one->pid, signo);
	}
}

/* Ends children [from, to); who hasn't ended at the deadline, or when we are told once more, is killed. */
static void end_range(up *self, size_t from, size_t to, uint64_t deadline_ns)
{
	int told = self->stops, killed = 0;
	signal_in(&self->children, from, to, SIGTERM);
	while (running_in(&self->children, from, to) > 0) {
		wait_signals(self, READY_EVERY);
		while (children_reap(&self->children, now_of(self)) != NULL)
			continue;
		if (!killed && (self->stops > told || now_of(self) > deadline_ns)) {
			signal_in(&self->children, from, to, SIGKILL);
			killed = 1;
		}
	}
}

/* Workers first: what they finish they can still put. */
static void end_all(up *self)
{
	uint64_t now = now_of(self);
	end_range(self, 1, self->children.count, now + 7 * TB_NS_PER_S);
	end_range(self, 0, 1, now + 10 * TB_NS_PER_S);
}

static void up_close(up *self)
{
	tb_bus_close(self->bus);
	const int fds[] = { self->children.life_fd, self->lock_fd, self->signal_fd };
	for (int i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	children_drop(&self->children);
	tb_buf_drop(&self->broker);
	free(self->dir);
}

tb_rc verb_up(tb_call *call, tb_err *err)
{
	const struct up_options *options = call->options;
	up self = { .call = call, .lock_fd = -1, .signal_fd = -1 };
	self.children.life_fd = -1;
	tb_rc rc = find_instance(&self, err);
	if (rc == TB_OK)
		rc = open_signals(&self, err);
	if (rc == TB_OK)
		rc = take_lock(&self, err);
	if (rc == TB_OK)
		rc = await_former(&self, err);
	if (rc == TB_OK)
		rc = children_init(&self.children, self.dir, (unsigned)options->sealers, err);
	if (rc == TB_OK) {
		rc = keep_running(&self, err);
		tb_notify("STOPPING=1");
		end_all(&self);
		if (rc == TB_OK)
			fprintf(stderr, "tb up: ended\n");
	}
	up_close(&self);
	return rc;
}

/* ---- tb down */

static tb_rc wait_down(const tb_call *call, const char *dir, int pid, uint64_t timeout_ns, tb_err *err)
{
	char what[64];
	tb_progress progress;
	uint64_t deadline = tb_mono_ns(call->clock) + timeout_ns;
	snprintf(what, sizeof(what), "waiting for pid %d to end", pid);
	tb_progress_start(&progress, call->clock, what, NULL);
	int other = pid;
	tb_rc rc = TB_OK;
	while ((rc = tb_up_pid(dir, &other, err)) == TB_OK && other == pid && tb_mono_ns(call->clock) < deadline) {
		tb_progress_tell(&progress, 0, 0);
		poll(NULL, 0, 50);
	}
	tb_progress_end(&progress);
	if (rc == TB_ENOTFOUND || (rc == TB_OK && other != pid))
		return TB_OK; /* it has ended; another may have started already */
	if (rc != TB_OK)
		return rc;
	tb_fail(err, TB_ETIMEOUT, "pid %d was told to end and hasn't yet", pid);
	tb_hint(err, "look into %s/logs; as a last resort `kill -9 %d`: nothing accepted is lost by that", dir, pid);
	return TB_ETIMEOUT;
}

tb_rc verb_down(tb_call *call, tb_err *err)
{
	const struct down_options *options = call->options;
	const char *dir;
	int pid = 0;
	tb_rc rc = tb_call_dir(call, &dir, err);
	if (rc == TB_OK)
		rc = tb_up_pid(dir, &pid, err);
	for (int i = 0; rc == TB_OK && pid <= 1 && i < 20; i++) {
		poll(NULL, 0, 50); /* it has the lock and hasn't written its pid yet */
		rc = tb_up_pid(dir, &pid, err);
	}
	if (rc != TB_OK)
		return rc;
	if (pid <= 1)
		return tb_fail(err, TB_ECORRUPT, "%s/run/up.lock is held, but there is no pid in it", dir);
	if (kill(pid, SIGTERM) != 0 && errno != ESRCH)
		return tb_fail_errno(err, errno, "can't end pid %d", pid);
	rc = wait_down(call, dir, pid, options->timeout_ns, err);
	if (rc == TB_OK && call->json)
		tb_print_json(json_pack("{s:b, s:i}", "ended", 1, "pid", pid));
	else if (rc == TB_OK)
		printf("ended, pid %d\n", pid);
	return rc;
}
