#include "run/worker.h"

#include "base/log.h"
#include "frames.pb-c.h"
#include "run/config.h"
#include "run/notify.h"
#include "run/outgoing.h"
#include "store/instance.h"

#include <errno.h>
#include <sodium.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define REQUEST_TIMEOUT (5 * TB_NS_PER_S)
#define HEALTH_EVERY TB_NS_PER_S
#define WAIT_MAX TB_NS_PER_S

struct common {
	char *dir, *broker, *key, *bank, *log_level;
	int help, version;
};

static const tb_opt common_rows[] = {
	{ "dir", 'd', TB_OPT_TEXT, offsetof(struct common, dir), NULL, NULL, "DIR",
	  "The instance's directory: configuration, keys, banks, sockets.", 1 },
	{ "broker", 'b', TB_OPT_TEXT, offsetof(struct common, broker), NULL, NULL, "URL",
	  "The broker's address, e.g. ipc:///run/tradebank/broker.ipc.", 1 },
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

struct loop {
	const tb_worker *worker;
	void *self;
	tb_worker_env env;
	tb_outgoing *outgoing;
	tb_arena *arena;
	int signal_fd;
	int stop;
	int reachable; /* what was last logged of the broker */
	uint8_t journal_id[16], run_id[16];
	int journal_known, run_known;
	uint64_t group_generation;
	uint64_t turn;
	tb_buf period;
	uint64_t health_due, retry_at;
	uint64_t handled;
};

/* ---- the turn, as workers see it */

tb_rc tb_turn_put(tb_turn *turn, const tb_put *put, tb_err *err)
{
	return tb_outgoing_add(turn->outgoing, turn->txn, put, err);
}

void tb_turn_put_volatile(tb_turn *turn, const tb_put *put)
{
	tb_outgoing_add_volatile(turn->outgoing, put);
}

int tb_turn_settled(const tb_turn *turn)
{
	return tb_outgoing_settled(turn->outgoing);
}

void tb_turn_lease(tb_turn *turn, uint64_t stream, uint64_t generation)
{
	tb_outgoing_lease(turn->outgoing, stream, generation);
}

tb_rc tb_turn_drop_queued(tb_turn *turn, uint64_t stream, tb_err *err)
{
	return tb_outgoing_drop(turn->outgoing, turn->txn, stream, err);
}

tb_rc tb_turn_reject(tb_turn *turn, const tb_frame *frame, uint64_t id, const tb_put *under, const char *reason,
                     tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	tb_log(TB_LOG_ERROR, "rejected a frame of kind %u of stream %016llx: %s", frame->kind,
	       (unsigned long long)frame->stream, reason);
	tb_frame reject = *frame;
	reject.kind = TB_KIND_REJECT;
	if (frame->body.size > TB_FRAME_PACKED)
		reject.body.size = TB_FRAME_PACKED; /* enough to see what it was */
	tb_frame_write(&frames, &reject);
	tb_put put = under != NULL ? *under : (tb_put){ 0 };
	put.frames = tb_buf_span(&frames);
	put.finished = &id;
	put.finished_count = 1;
	return tb_turn_put(turn, &put, err);
}

/* ---- opening */

static tb_rc read_options(struct common *common, tb_options *options, const tb_worker *worker, tb_options *own, int argc,
                          char **argv, tb_err *err)
{
	(void)worker;
	int operands;
	tb_rc rc = tb_options_args(options, argc, argv, &operands, err);
	if (rc == TB_OK && operands > 0)
		rc = tb_fail(err, TB_EINVAL, "%s takes no operands, but got '%s'", worker->name, argv[1]);
	if (rc == TB_OK && common->dir == NULL && common->broker == NULL && !common->help && !common->version) {
		rc = tb_fail(err, TB_EINVAL, "neither --dir nor --broker is given");
		tb_hint(err, "name the instance's directory with --dir, or the broker's address with --broker");
	}
	if (rc == TB_OK && own != NULL && common->dir != NULL) {
		tb_auto(tb_buf_drop) tb_buf path = { 0 };
		tb_buf_print(&path, "%s/tb.yaml", common->dir);
		rc = tb_options_file(own, tb_buf_text(&path), tb_config_known(), err);
		if (rc == TB_ENOTFOUND)
			rc = TB_OK;
	}
	if (rc == TB_OK && own != NULL)
		rc = tb_options_env(own, err);
	return rc;
}

static tb_rc read_meta(struct loop *loop, tb_txn *txn, tb_err *err)
{
	tb_db db;
	tb_span value;
	tb_rc rc = tb_txn_db(txn, "meta", &db, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_txn_get(txn, db, tb_span_text("member"), &value, err);
	if (rc == TB_OK && value.size == TB_MEMBER) {
		memcpy(loop->env.member, value.data, TB_MEMBER);
	} else if (rc == TB_ENOTFOUND) {
		randombytes_buf(loop->env.member, TB_MEMBER);
		rc = tb_txn_put(txn, db, tb_span_text("member"), tb_span_of(loop->env.member, TB_MEMBER), err);
	}
	if (rc != TB_OK)
		return rc;
	rc = tb_txn_get(txn, db, tb_span_text("journal"), &value, err);
	if (rc == TB_OK && value.size == 16) {
		memcpy(loop->journal_id, value.data, 16);
		loop->journal_known = 1;
	}
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

static tb_rc open_bank(struct loop *loop, const struct common *common, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	if (common->bank != NULL)
		tb_buf_print(&path, "%s", common->bank);
	else if (common->dir != NULL)
		tb_buf_print(&path, "%s/banks/%s", common->dir, loop->worker->name);
	else
		tb_buf_print(&path, "/var/lib/tradebank/%s", loop->worker->name);
	int flags = TB_BANK_WRITER | (loop->worker->bank_scratch ? TB_BANK_SCRATCH : 0);
	tb_rc rc = tb_disk_make_path(loop->env.disk, tb_buf_text(&path), err);
	if (rc == TB_OK)
		rc = tb_bank_open(tb_buf_text(&path), flags, 0, &loop->env.bank, err);
	tb_txn *txn;
	if (rc == TB_OK)
		rc = tb_bank_write(loop->env.bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = read_meta(loop, txn, err);
	if (rc == TB_OK)
		rc = tb_txn_commit(txn, err);
	else
		tb_txn_abort(txn);
	if (rc == TB_OK)
		rc = tb_outgoing_open(loop->env.bank, loop->env.member, loop->worker->group, &loop->outgoing, err);
	if (rc == TB_OK && loop->journal_known)
		tb_outgoing_journal(loop->outgoing, loop->journal_id);
	return rc;
}

static tb_rc open_signals(struct loop *loop, tb_err *err)
{
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	loop->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	loop->env.wake_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN, .data.fd = loop->signal_fd };
	if (loop->signal_fd < 0 || loop->env.wake_fd < 0 ||
	    epoll_ctl(loop->env.wake_fd, EPOLL_CTL_ADD, loop->signal_fd, &event) != 0)
		return tb_fail_errno(err, errno, "can't watch for signals");
	return TB_OK;
}

static tb_rc open_loop(struct loop *loop, const struct common *common, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf url = { 0 };
	tb_rc rc = open_signals(loop, err);
	if (rc == TB_OK && common->broker != NULL)
		tb_buf_print(&url, "%s", common->broker);
	else if (rc == TB_OK)
		rc = tb_bus_address(common->dir, "broker", &url, err);
	if (rc == TB_OK)
		rc = open_bank(loop, common, err);
	if (rc == TB_OK)
		rc = tb_bus_dial(tb_buf_text(&url), loop->env.wake_fd, &loop->env.bus, err);
	if (rc == TB_OK)
		rc = loop->worker->open(&loop->env, &loop->self, err);
	return rc;
}

static void close_loop(struct loop *loop)
{
	if (loop->self != NULL)
		loop->worker->close(loop->self);
	tb_bus_close(loop->env.bus);
	tb_outgoing_free(loop->outgoing);
	tb_bank_close(loop->env.bank);
	tb_arena_free(loop->arena);
	tb_buf_drop(&loop->period);
	if (loop->signal_fd >= 0)
		close(loop->signal_fd);
	if (loop->env.wake_fd >= 0)
		close(loop->env.wake_fd);
}

/* ---- one turn */

static void wake(struct loop *loop)
{
	struct signalfd_siginfo info;
	if (read(loop->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		loop->stop = 1;
	if (loop->worker->woken != NULL)
		loop->worker->woken(loop->self);
}

/* The broker's state as an operator sees it in the log: once when it goes, once when it is back. */
static void note_reachable(struct loop *loop, tb_rc rc, const tb_err *err)
{
	int away = rc == TB_EUNREACHABLE || rc == TB_ETIMEOUT;
	if (away && loop->reachable)
		tb_log_err(TB_LOG_WARN, "the broker doesn't answer; trying on", err);
	if (rc == TB_OK && !loop->reachable)
		tb_log(TB_LOG_INFO, "the broker answers");
	if (away || rc == TB_OK)
		loop->reachable = !away;
}

static tb_rc learn_journal(struct loop *loop, tb_txn *txn, const Tb__TakeReply *reply, tb_err *err)
{
	if (reply->journal_id.len != 16 || reply->run_id.len != 16)
		return tb_fail(err, TB_EINVAL, "the broker's answer bears no journal id");
	if (loop->journal_known && memcmp(loop->journal_id, reply->journal_id.data, 16) != 0 && !loop->worker->bank_scratch) {
		tb_fail(err, TB_EUNSUPPORTED, "the broker has another journal than the one this bank was filled from");
		tb_hint(err, "carrying a bank over to a new journal is not in this version");
		return TB_EUNSUPPORTED;
	}
	if (!loop->journal_known || loop->worker->bank_scratch) {
		memcpy(loop->journal_id, reply->journal_id.data, 16);
		tb_outgoing_journal(loop->outgoing, loop->journal_id);
		tb_db db;
		tb_rc rc = tb_txn_db(txn, "meta", &db, err);
		if (rc == TB_OK && !loop->journal_known)
			rc = tb_txn_put(txn, db, tb_span_text("journal"), tb_span_of(loop->journal_id, 16), err);
		if (rc != TB_OK)
			return rc;
		loop->journal_known = 1;
	}
	if (loop->run_known && memcmp(loop->run_id, reply->run_id.data, 16) != 0 && loop->worker->restarted != NULL)
		loop->worker->restarted(loop->self);
	memcpy(loop->run_id, reply->run_id.data, 16);
	loop->run_known = 1;
	return TB_OK;
}

static tb_rc handle_answer(struct loop *loop, tb_turn *turn, const Tb__TakeReply *reply, tb_span frames, tb_err *err)
{
	const tb_worker *worker = loop->worker;
	tb_rc rc = learn_journal(loop, turn->txn, reply, err);
	if (rc == TB_OK && tb_group_find(worker->group)->lease == TB_LEASE_GROUP && reply->generation != loop->group_generation) {
		loop->group_generation = turn->generation = reply->generation;
		tb_outgoing_lease(loop->outgoing, 0, reply->generation);
		tb_log(TB_LOG_INFO, reply->generation ? "holds the group, generation %llu" : "stands by",
		       (unsigned long long)reply->generation);
	}
	loop->turn = reply->turn;
	if (reply->period.len > 0) {
		tb_buf_clear(&loop->period);
		tb_buf_append(&loop->period, reply->period.data, reply->period.len);
		turn->period = tb_buf_span(&loop->period);
	}
	for (size_t i = 0; rc == TB_OK && i < reply->n_revoked && worker->revoked != NULL; i++)
		rc = worker->revoked(loop->self, turn, reply->revoked[i], err);
	for (size_t i = 0; rc == TB_OK && i < reply->n_grants && worker->granted != NULL; i++)
		rc = worker->granted(loop->self, turn, reply->grants[i], err);
	tb_frame frame;
	for (size_t i = 0; rc == TB_OK && i < reply->n_leased; i++) {
		rc = tb_frame_read(&frames, &frame, err);
		if (rc == TB_OK)
			rc = worker->handle(loop->self, turn, &frame, reply->leased[i]->id, err);
		loop->handled++;
	}
	return rc;
}

/* Handle what was taken (reply may be NULL: only tick), in one transaction. */
static tb_rc run_turn(struct loop *loop, const Tb__TakeReply *reply, tb_span frames, uint64_t *ret_wait_ns, tb_err *err)
{
	tb_turn turn = {
		.env = &loop->env,
		.arena = loop->arena,
		.now_ns = tb_real_ns(loop->env.clock),
		.mono_ns = tb_mono_ns(loop->env.clock),
		.period = tb_buf_span(&loop->period),
		.journal_id = loop->journal_id,
		.run_id = loop->run_id,
		.generation = loop->group_generation,
		.outgoing = loop->outgoing,
	};
	tb_rc rc = tb_bank_write(loop->env.bank, &turn.txn, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_outgoing_sweep(loop->outgoing, turn.txn, err);
	if (rc == TB_OK && reply != NULL)
		rc = handle_answer(loop, &turn, reply, frames, err);
	if (rc == TB_OK && loop->run_known)
		rc = loop->worker->tick(loop->self, &turn, ret_wait_ns, err);
	if (rc == TB_OK)
		rc = tb_txn_commit(turn.txn, err);
	else
		tb_txn_abort(turn.txn);
	if (rc == TB_OK)
		tb_outgoing_commit(loop->outgoing);
	else
		tb_outgoing_abort(loop->outgoing);
	return rc;
}

static tb_rc flush(struct loop *loop, tb_err *err)
{
	uint64_t stream = 0;
	if (tb_mono_ns(loop->env.clock) < loop->retry_at)
		return TB_OK;
	tb_rc rc = tb_outgoing_flush(loop->outgoing, loop->env.bus, loop->arena, REQUEST_TIMEOUT, &stream, err);
	note_reachable(loop, rc, err);
	switch (rc) {
	case TB_EFENCED:
		tb_log_err(TB_LOG_WARN, "fenced: another member has taken over", err);
		if (stream == 0)
			loop->group_generation = 0;
		else if (loop->worker->refused != NULL)
			loop->worker->refused(loop->self, stream, err);
		return TB_OK;
	case TB_EFULL:
	case TB_ENOSPACE:
	case TB_EBUSY:
		loop->retry_at = tb_mono_ns(loop->env.clock) + 100 * TB_NS_PER_MS;
		return TB_OK;
	case TB_EINTERRUPTED:
		wake(loop);
		return TB_OK;
	case TB_EUNREACHABLE:
	case TB_ETIMEOUT:
		return TB_OK;
	default:
		return rc;
	}
}

static void tell_health(struct loop *loop)
{
	uint64_t now = tb_mono_ns(loop->env.clock);
	if (now < loop->health_due || !loop->reachable)
		return;
	loop->health_due = now + HEALTH_EVERY;
	Tb__Health health = TB__HEALTH__INIT;
	health.role = (char *)(uintptr_t)loop->worker->name;
	health.pid = (uint64_t)getpid();
	health.state = (char *)(uintptr_t)"healthy";
	health.handled = loop->handled;
	health.time_ns = tb_real_ns(loop->env.clock);
	if (loop->worker->health != NULL)
		loop->worker->health(loop->self, loop->arena, &health);
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	size_t at = tb_frame_begin(&frames);
	size_t size = tb__health__get_packed_size(&health);
	tb_buf_reserve(&frames, size);
	frames.size += tb__health__pack(&health, frames.data + frames.size);
	tb_frame_end(&frames, at, &(tb_frame){ .kind = TB_KIND_HEALTH, .count = 1, .time_ns = health.time_ns });
	Tb__PutRequest request = TB__PUT_REQUEST__INIT;
	request.group = loop->worker->group;
	request.member = (ProtobufCBinaryData){ TB_MEMBER, loop->env.member };
	Tb__PutReply *reply;
	tb_err err = { 0 };
	if (tb_bus_put(loop->env.bus, &request, tb_buf_span(&frames), REQUEST_TIMEOUT, loop->arena, &reply, &err) ==
	    TB_EINTERRUPTED)
		wake(loop);
}

static void fill_take(struct loop *loop, Tb__TakeRequest *take, uint8_t period_hash[32], uint64_t wait_ns)
{
	take->group = loop->worker->group;
	take->member = (ProtobufCBinaryData){ TB_MEMBER, loop->env.member };
	if (loop->journal_known && !loop->worker->bank_scratch)
		take->journal_id = (ProtobufCBinaryData){ 16, loop->journal_id };
	take->bytes_max = loop->worker->take_bytes ? loop->worker->take_bytes : 4u << 20;
	take->wait_ms = (uint32_t)((wait_ns + TB_NS_PER_MS - 1) / TB_NS_PER_MS);
	take->generation = loop->group_generation;
	take->turn = loop->turn;
	if (loop->period.size > 0) {
		crypto_generichash(period_hash, 32, loop->period.data, loop->period.size, NULL, 0);
		take->period_known = (ProtobufCBinaryData){ 32, period_hash };
	}
	if (loop->worker->held != NULL)
		loop->worker->held(loop->self, loop->arena, &take->held, &take->n_held);
}

static tb_rc take_once(struct loop *loop, uint64_t *wait_ns, tb_err *err)
{
	Tb__TakeRequest take = TB__TAKE_REQUEST__INIT;
	Tb__TakeReply *reply = NULL;
	tb_auto(tb_answer_drop) tb_answer answer = { 0 };
	uint8_t period_hash[32];
	uint64_t now = tb_mono_ns(loop->env.clock), until_health = loop->health_due > now ? loop->health_due - now : 0;
	uint64_t wait = *wait_ns < until_health ? *wait_ns : until_health;
	fill_take(loop, &take, period_hash, wait);
	tb_rc rc = tb_bus_take(loop->env.bus, &take, wait + REQUEST_TIMEOUT, loop->arena, &reply, &answer, err);
	note_reachable(loop, rc, err);
	*wait_ns = WAIT_MAX;
	switch (rc) {
	case TB_OK:
		return run_turn(loop, reply, answer.frames, wait_ns, err);
	case TB_EINTERRUPTED:
		wake(loop);
		return run_turn(loop, NULL, (tb_span){ 0 }, wait_ns, err);
	case TB_EUNREACHABLE:
	case TB_ETIMEOUT:
		return run_turn(loop, NULL, (tb_span){ 0 }, wait_ns, err);
	default:
		return rc;
	}
}

/* A worker whose bank may be lost has nothing in memory that could be ahead of it: when the broker went away in the
 * middle of a turn it just goes on. */
static tb_rc forgive(struct loop *loop, tb_rc rc)
{
	if (!loop->worker->bank_scratch || (rc != TB_EINTERRUPTED && rc != TB_EUNREACHABLE && rc != TB_ETIMEOUT))
		return rc;
	wake(loop);
	return TB_OK;
}

static tb_rc run(struct loop *loop, tb_err *err)
{
	uint64_t wait_ns = 0;
	tb_rc rc = TB_OK;
	while (rc == TB_OK && !loop->stop) {
		rc = forgive(loop, take_once(loop, &wait_ns, err));
		if (rc == TB_OK)
			rc = flush(loop, err);
		if (rc == TB_OK)
			tell_health(loop);
		tb_arena_reset(loop->arena);
	}
	return rc;
}

/* ---- the program */

static void print_help(const tb_worker *worker)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_buf_print(&text, "usage: tb-%s --dir DIR | --broker URL --key FILE [--bank DIR]\n\n%s\n\n", worker->name,
	             worker->summary);
	tb_options_help(common_rows, &text);
	if (worker->rows != NULL)
		tb_options_help(worker->rows, &text);
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

static tb_rc work(struct loop *loop, struct common *common, const void *own, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf key = { 0 };
	if (common->key == NULL && common->dir != NULL && loop->worker->key_file != NULL)
		tb_buf_print(&key, "%s/%s", common->dir, loop->worker->key_file);
	else if (common->key != NULL)
		tb_buf_print(&key, "%s", common->key);
	loop->env.dir = common->dir;
	loop->env.key = key.size ? tb_buf_text(&key) : NULL;
	loop->env.options = own;
	tb_rc rc = tb_keys_init(err);
	if (rc == TB_OK)
		rc = open_loop(loop, common, err);
	if (rc == TB_OK) {
		tb_log(TB_LOG_INFO, "started");
		tb_notify("READY=1");
		rc = run(loop, err);
	}
	return rc;
}

int tb_worker_main(const tb_worker *worker, int argc, char **argv)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL); /* before the first thread: they inherit it */
	struct common common;
	tb_options options, own;
	tb_err err = { 0 };
	void *fields = worker->rows != NULL ? tb_alloc_zero(1, worker->options_size) : NULL;
	tb_options_init(&options, common_rows, &common);
	if (fields != NULL)
		tb_options_init(&own, worker->rows, fields);
	tb_auto(tb_buf_drop) tb_buf program = { 0 };
	tb_buf_print(&program, "tb-%s", worker->name);
	tb_log_open(tb_buf_text(&program), TB_LOG_INFO);
	struct loop loop = {
		.worker = worker, .arena = tb_arena_new(), .signal_fd = -1, .reachable = 1,
		.env = { .disk = tb_disk_system(), .clock = tb_clock_system(), .wake_fd = -1 },
	};
	tb_rc rc = read_options(&common, &options, worker, fields != NULL ? &own : NULL, argc, argv, &err);
	if (rc == TB_OK && common.help) {
		print_help(worker);
	} else if (rc == TB_OK && common.version) {
		printf("tb-%s %s\n", worker->name, TB_VERSION);
	} else if (rc == TB_OK) {
		tb_log_open(tb_buf_text(&program), level_of(common.log_level));
		rc = work(&loop, &common, fields, &err);
	}
	if (rc != TB_OK)
		tb_log_err(TB_LOG_ERROR, "ends", &err);
	else if (loop.stop)
		tb_log(TB_LOG_INFO, "ended");
	close_loop(&loop);
	tb_options_drop(&options);
	if (fields != NULL)
		tb_options_drop(&own);
	free(fields);
	return tb_rc_exit(rc);
}
