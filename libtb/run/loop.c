#include "run/loop.h"

#include "base/log.h"
#include "frames.pb-c.h"
#include "run/outgoing.h"

#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define REQUEST_TIMEOUT (5 * TB_NS_PER_S)
#define HEALTH_EVERY TB_NS_PER_S
#define WAIT_MAX TB_NS_PER_S
#define RETRY_AFTER (100 * TB_NS_PER_MS)
#define REFUSED_RETRY (5 * TB_NS_PER_S)

struct tb_loop {
	const tb_worker *worker;
	void *self;
	tb_worker_env *env;
	tb_outgoing *outgoing;
	tb_arena *arena;
	int signal_fd;
	int stop;
	int reachable; /* what was last logged of the broker */
	uint8_t journal_id[16], run_id[16];
	int journal_known, run_known;
	uint64_t group_generation;
	uint64_t turn; /* of the last answer that was handled */
	tb_buf period;
	uint64_t wait_ns; /* how long the next take may wait */
	uint64_t health_due, retry_at;
	uint64_t handled;
	char refused[300]; /* why the broker refuses what is put; empty: it doesn't */
};

/* ---- the turn, as workers see it */

tb_rc tb_turn_put(tb_turn *turn, const tb_put *put, tb_err *err)
{
	return tb_outgoing_add(turn->outgoing, turn->txn, put, err);
}

void tb_turn_put_volatile(tb_turn *turn, const tb_put *put, tb_held *frames)
{
	tb_outgoing_add_volatile(turn->outgoing, put, frames);
}

tb_rc tb_turn_forget(tb_turn *turn, uint64_t stream, tb_err *err)
{
	return tb_outgoing_forget(turn->outgoing, turn->txn, stream, err);
}

int tb_turn_waits(const tb_turn *turn)
{
	return tb_outgoing_waits(turn->outgoing);
}

int tb_turn_settled(const tb_turn *turn)
{
	return tb_outgoing_settled(turn->outgoing);
}

void tb_turn_lease(tb_turn *turn, uint64_t stream, uint64_t generation)
{
	tb_outgoing_lease(turn->outgoing, stream, generation);
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

static tb_rc read_meta(tb_loop *loop, tb_txn *txn, tb_err *err)
{
	tb_db db;
	tb_span value;
	tb_rc rc = tb_txn_db(txn, "meta", &db, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_txn_get(txn, db, tb_span_text("member"), &value, err);
	if (rc == TB_OK && value.size == TB_MEMBER) {
		memcpy(loop->env->member, value.data, TB_MEMBER);
	} else if (rc == TB_ENOTFOUND) {
		randombytes_buf(loop->env->member, TB_MEMBER);
		rc = tb_txn_put(txn, db, tb_span_text("member"), tb_span_of(loop->env->member, TB_MEMBER), err);
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

static tb_rc open_queue(tb_loop *loop, tb_err *err)
{
	tb_txn *txn;
	tb_rc rc = tb_bank_write(loop->env->bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = read_meta(loop, txn, err);
	if (rc == TB_OK)
		rc = tb_txn_commit(txn, err);
	else
		tb_txn_abort(txn);
	if (rc == TB_OK)
		rc = tb_outgoing_open(loop->env->bank, loop->env->member, loop->worker->group, &loop->outgoing, err);
	if (rc == TB_OK && loop->journal_known)
		tb_outgoing_journal(loop->outgoing, loop->journal_id);
	return rc;
}

tb_rc tb_loop_open(const tb_worker *worker, tb_worker_env *env, int signal_fd, tb_loop **ret_loop, tb_err *err)
{
	tb_loop *loop = tb_alloc_zero(1, sizeof(*loop));
	*loop = (tb_loop){ .worker = worker, .env = env, .signal_fd = signal_fd, .reachable = 1 };
	loop->arena = tb_arena_new();
	tb_rc rc = open_queue(loop, err);
	if (rc == TB_OK)
		rc = worker->open(env, &loop->self, err);
	if (rc != TB_OK) {
		tb_loop_close(loop);
		return rc;
	}
	*ret_loop = loop;
	return TB_OK;
}

void tb_loop_close(tb_loop *loop)
{
	if (loop == NULL)
		return;
	if (loop->self != NULL)
		loop->worker->close(loop->self);
	tb_outgoing_free(loop->outgoing);
	tb_arena_free(loop->arena);
	tb_buf_drop(&loop->period);
	free(loop);
}

int tb_loop_stopped(const tb_loop *loop)
{
	return loop->stop;
}

/* ---- one turn */

static enum tb_lease_of lease_of(const tb_loop *loop)
{
	return tb_group_find(loop->worker->group)->lease;
}

static void wake(tb_loop *loop)
{
	struct signalfd_siginfo info;
	if (loop->signal_fd >= 0 && read(loop->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		loop->stop = 1;
	if (loop->worker->woken != NULL)
		loop->worker->woken(loop->self);
}

/* The broker's state as an operator sees it in the log: once when it goes, once when it is back. */
static void note_reachable(tb_loop *loop, tb_rc rc, const tb_err *err)
{
	int away = rc == TB_EUNREACHABLE || rc == TB_ETIMEOUT;
	if (away && loop->reachable)
		tb_log_err(TB_LOG_WARN, "the broker doesn't answer; trying on", err);
	if (rc == TB_OK && !loop->reachable)
		tb_log(TB_LOG_INFO, "the broker answers");
	if (away || rc == TB_OK)
		loop->reachable = !away;
}

static int journal_same(const tb_loop *loop, const Tb__TakeReply *reply)
{
	return loop->journal_known && memcmp(loop->journal_id, reply->journal_id.data, sizeof(loop->journal_id)) == 0;
}

/* What is queued for another journal names frames by their places in it. */
static tb_rc change_journal(tb_loop *loop, tb_txn *txn, const uint8_t id[16], tb_err *err)
{
	tb_db db;
	tb_rc rc = TB_OK;
	if (loop->journal_known && !loop->worker->stateless) {
		tb_fail(err, TB_EUNSUPPORTED, "the broker has another journal than the one this bank was filled from");
		tb_hint(err, "journal/ was lost or replaced: put it back, or restore what you need and make a new instance");
		return TB_EUNSUPPORTED;
	}
	if (loop->journal_known)
		rc = tb_outgoing_clear(loop->outgoing, txn, err);
	if (rc == TB_OK)
		rc = tb_txn_db(txn, "meta", &db, err);
	if (rc == TB_OK)
		rc = tb_txn_put(txn, db, tb_span_text("journal"), tb_span_of(id, sizeof(loop->journal_id)), err);
	if (rc != TB_OK)
		return rc;
	memcpy(loop->journal_id, id, sizeof(loop->journal_id));
	loop->journal_known = 1;
	tb_outgoing_journal(loop->outgoing, loop->journal_id);
	return TB_OK;
}

static tb_rc learn_journal(tb_loop *loop, tb_txn *txn, const Tb__TakeReply *reply, tb_err *err)
{
	if (reply->journal_id.len != 16 || reply->run_id.len != 16)
		return tb_fail(err, TB_EINVAL, "the broker's answer bears no journal id");
	tb_rc rc = journal_same(loop, reply) ? TB_OK : change_journal(loop, txn, reply->journal_id.data, err);
	if (rc != TB_OK)
		return rc;
	if (loop->run_known && memcmp(loop->run_id, reply->run_id.data, 16) != 0 && loop->worker->restarted != NULL)
		loop->worker->restarted(loop->self);
	memcpy(loop->run_id, reply->run_id.data, 16);
	loop->run_known = 1;
	return TB_OK;
}

static tb_rc handle_answer(tb_loop *loop, tb_turn *turn, const Tb__TakeReply *reply, tb_span frames, tb_err *err)
{
	const tb_worker *worker = loop->worker;
	tb_rc rc = learn_journal(loop, turn->txn, reply, err);
	if (rc == TB_OK && lease_of(loop) == TB_LEASE_GROUP && reply->generation != loop->group_generation) {
		loop->group_generation = turn->generation = reply->generation;
		tb_outgoing_lease(loop->outgoing, 0, reply->generation);
		tb_log(TB_LOG_INFO, reply->generation ? "holds the group, generation %llu" : "stands by",
		       (unsigned long long)reply->generation);
	}
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
static tb_rc run_turn(tb_loop *loop, const Tb__TakeReply *reply, tb_span frames, tb_err *err)
{
	tb_turn turn = {
		.env = loop->env,
		.arena = loop->arena,
		.now_ns = tb_real_ns(loop->env->clock),
		.mono_ns = tb_mono_ns(loop->env->clock),
		.period = tb_buf_span(&loop->period),
		.journal_id = loop->journal_id,
		.run_id = loop->run_id,
		.generation = loop->group_generation,
		.outgoing = loop->outgoing,
	};
	tb_rc rc = tb_bank_write(loop->env->bank, &turn.txn, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_outgoing_sweep(loop->outgoing, turn.txn, err);
	if (rc == TB_OK && reply != NULL)
		rc = handle_answer(loop, &turn, reply, frames, err);
	if (rc == TB_OK && loop->run_known)
		rc = loop->worker->tick(loop->self, &turn, &loop->wait_ns, err);
	if (rc == TB_OK)
		rc = tb_txn_commit(turn.txn, err);
	else
		tb_txn_abort(turn.txn);
	if (rc == TB_OK)
		tb_outgoing_commit(loop->outgoing);
	else
		tb_outgoing_abort(loop->outgoing);
	if (turn.generation == 0)
		loop->group_generation = 0;
	/* Only now: what an answer bore that wasn't handled is handed out again. */
	if (rc == TB_OK && reply != NULL)
		loop->turn = reply->turn;
	return rc;
}

/* A while until the next try: also of who was fenced, as it may be granted the lease anew at once. */
static uint64_t retry_in(const tb_loop *loop)
{
	uint64_t now = tb_mono_ns(loop->env->clock);
	return loop->retry_at > now ? loop->retry_at - now : 0;
}

/* What is refused for what it says stays refused, however often this process is started: it stays, takes nothing more,
 * says why in its heartbeat, and asks again now and then, as another broker may take it. */
static void hold_refused(tb_loop *loop, const tb_err *why)
{
	if (loop->refused[0] == '\0')
		tb_log_err(TB_LOG_ERROR, "nothing more is taken until the broker accepts a put", why);
	snprintf(loop->refused, sizeof(loop->refused), "nothing more is taken, as the broker refuses a put: %.220s", why->text);
	loop->retry_at = tb_mono_ns(loop->env->clock) + REFUSED_RETRY;
}

static void note_accepted(tb_loop *loop)
{
	if (loop->refused[0] != '\0')
		tb_log(TB_LOG_INFO, "the broker accepts the put that it had refused");
	loop->refused[0] = '\0';
}

static tb_rc flush(tb_loop *loop, tb_err *err)
{
	uint64_t stream = 0;
	if (retry_in(loop) > 0)
		return TB_OK;
	tb_rc rc = tb_outgoing_flush(loop->outgoing, loop->env->bus, loop->arena, REQUEST_TIMEOUT, &stream, err);
	if (rc != TB_OK) /* else nothing may have been asked */
		note_reachable(loop, rc, err);
	switch (rc) {
	case TB_OK:
		note_accepted(loop);
		return TB_OK;
	case TB_EINVAL:
	case TB_ENOTFOUND:
	case TB_EREFUSED:
		hold_refused(loop, err);
		return TB_OK;
	case TB_EFENCED:
		loop->refused[0] = '\0'; /* whoever holds the lease now decides about it */
		tb_log_err(TB_LOG_WARN, "fenced: another member has taken over", err);
		if (stream == 0)
			loop->group_generation = 0;
		else if (loop->worker->refused != NULL)
			loop->worker->refused(loop->self, stream, err);
		loop->retry_at = tb_mono_ns(loop->env->clock) + RETRY_AFTER;
		return TB_OK;
	case TB_EFULL:
	case TB_ENOSPACE:
	case TB_EBUSY:
		loop->retry_at = tb_mono_ns(loop->env->clock) + RETRY_AFTER;
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

static void tell_health(tb_loop *loop)
{
	uint64_t now = tb_mono_ns(loop->env->clock);
	if (now < loop->health_due || !loop->reachable)
		return;
	loop->health_due = now + HEALTH_EVERY;
	Tb__Health health = TB__HEALTH__INIT;
	health.role = (char *)(uintptr_t)loop->worker->name;
	health.pid = (uint64_t)getpid();
	health.state = (char *)(uintptr_t)"healthy";
	health.handled = loop->handled;
	health.time_ns = tb_real_ns(loop->env->clock);
	if (loop->worker->health != NULL)
		loop->worker->health(loop->self, loop->arena, &health);
	if (loop->refused[0] != '\0') {
		health.state = (char *)(uintptr_t)"critical";
		health.detail = loop->refused;
	}
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	size_t at = tb_frame_begin(&frames);
	size_t size = tb__health__get_packed_size(&health);
	tb_buf_reserve(&frames, size);
	frames.size += tb__health__pack(&health, frames.data + frames.size);
	tb_frame_end(&frames, at, &(tb_frame){ .kind = TB_KIND_HEALTH, .count = 1, .time_ns = health.time_ns });
	Tb__PutRequest request = TB__PUT_REQUEST__INIT;
	request.group = loop->worker->group;
	request.member = (ProtobufCBinaryData){ TB_MEMBER, loop->env->member };
	Tb__PutReply *reply;
	tb_err err = { 0 };
	if (tb_bus_put(loop->env->bus, &request, tb_buf_span(&frames), REQUEST_TIMEOUT, loop->arena, &reply, &err) ==
	    TB_EINTERRUPTED)
		wake(loop);
}

static void fill_take(tb_loop *loop, Tb__TakeRequest *take, uint8_t period_hash[32], uint64_t wait_ns)
{
	take->group = loop->worker->group;
	take->member = (ProtobufCBinaryData){ TB_MEMBER, loop->env->member };
	if (loop->journal_known && !loop->worker->stateless)
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

/* How long a take may wait: what the worker said, but health is told in time, and puts that were refused are tried again
 * not before theirs. */
static uint64_t take_wait(const tb_loop *loop)
{
	uint64_t now = tb_mono_ns(loop->env->clock), retry = retry_in(loop);
	uint64_t until_health = loop->health_due > now ? loop->health_due - now : 0;
	uint64_t wait = loop->wait_ns > retry ? loop->wait_ns : retry;
	return wait < until_health ? wait : until_health;
}

static tb_rc take_once(tb_loop *loop, tb_err *err)
{
	Tb__TakeRequest take = TB__TAKE_REQUEST__INIT;
	Tb__TakeReply *reply = NULL;
	tb_auto(tb_answer_drop) tb_answer answer = { 0 };
	uint8_t period_hash[32];
	uint64_t wait = take_wait(loop);
	fill_take(loop, &take, period_hash, wait);
	tb_rc rc = tb_bus_take(loop->env->bus, &take, wait + REQUEST_TIMEOUT, loop->arena, &reply, &answer, err);
	note_reachable(loop, rc, err);
	loop->wait_ns = WAIT_MAX;
	switch (rc) {
	case TB_OK:
		return run_turn(loop, reply, answer.frames, err);
	case TB_EINTERRUPTED:
		wake(loop);
		return run_turn(loop, NULL, (tb_span){ 0 }, err);
	case TB_EUNREACHABLE:
	case TB_ETIMEOUT:
		return run_turn(loop, NULL, (tb_span){ 0 }, err);
	default:
		return rc;
	}
}

/* A stateless worker has nothing in memory that could be ahead of its bank: when the broker went away in the middle of a
 * turn it just goes on. */
static tb_rc forgive(tb_loop *loop, tb_rc rc)
{
	if (!loop->worker->stateless || (rc != TB_EINTERRUPTED && rc != TB_EUNREACHABLE && rc != TB_ETIMEOUT))
		return rc;
	wake(loop);
	return TB_OK;
}

/* Who leases frames takes no more while what it made of the last ones can't be put: it would pile up in memory. Others
 * go on, as what they take may be what makes room. */
static int is_held_up(const tb_loop *loop)
{
	return loop->refused[0] != '\0' || (lease_of(loop) == TB_LEASE_FRAME && tb_outgoing_waits(loop->outgoing));
}

static void wait_for_retry(tb_loop *loop)
{
	struct pollfd wake_fd = { .fd = loop->env->wake_fd, .events = POLLIN };
	uint64_t now = tb_mono_ns(loop->env->clock), wait = retry_in(loop);
	uint64_t until_health = loop->health_due > now ? loop->health_due - now : 0;
	if (wait > until_health && loop->reachable)
		wait = until_health;
	if (poll(&wake_fd, 1, (int)((wait + TB_NS_PER_MS - 1) / TB_NS_PER_MS)) > 0)
		wake(loop);
}

tb_rc tb_loop_turn(tb_loop *loop, tb_err *err)
{
	tb_rc rc = TB_OK;
	if (is_held_up(loop))
		wait_for_retry(loop);
	else
		rc = forgive(loop, take_once(loop, err));
	if (rc == TB_OK)
		rc = flush(loop, err);
	if (rc == TB_OK)
		tell_health(loop);
	tb_arena_reset(loop->arena);
	return rc;
}
