/* tb flush: what a dead engine's outbox still holds is published, behind whatever its stream has come to since. Done again,
 * it finds nothing more to do. */
#include "bus/outbox.h"
#include "tb/publish.h"
#include "workers/tb/tb.h"

#include <poll.h>
#include <stdio.h>

#define LOOK_EVERY_MS 5

const tb_opt tb_flush_rows[] = {
	{ "timeout", 0, TB_OPT_SPAN, offsetof(struct flush_options, timeout_ns), "60s", "100ms..1d", NULL,
	  "How long to wait for the broker to have it all.", 1 },
	{ 0 },
};

struct flushing {
	const tb_call *call;
	const char *path, *dir;
	char stream[129];
	uint64_t deadline_ns;
	tb_publisher *publisher;
};

static tb_rc find_outbox(struct flushing *flushing, tb_err *err)
{
	const tb_call *call = flushing->call;
	if (call->operand_count == 0) {
		tb_fail(err, TB_EINVAL, "it isn't said which outbox");
		tb_hint(err, "name its file: an engine's is DIR/outbox/NAME.outbox, if it was given no other");
		return TB_EINVAL;
	}
	flushing->path = call->operands[0];
	tb_rc rc = tb_call_dir(call, &flushing->dir, err);
	return rc == TB_OK ? tb_outbox_stream(flushing->path, flushing->stream, err) : rc;
}

static tb_rc open_publisher(struct flushing *flushing, tb_err *err)
{
	tb_publisher_options options = { .stream = flushing->stream, .dir = flushing->dir, .outbox = flushing->path };
	tb_rc rc = tb_publisher_open(&options, &flushing->publisher, err);
	if (rc == TB_EBUSY)
		tb_hint(err, "its engine lives and publishes what it holds by itself");
	return rc;
}

static uint64_t time_left(const struct flushing *flushing)
{
	uint64_t now = tb_mono_ns(flushing->call->clock);
	return flushing->deadline_ns > now ? flushing->deadline_ns - now : 0;
}

/* Until the broker has said from which number on. */
static tb_rc await_terms(struct flushing *flushing, tb_publisher_figures *figures, tb_err *err)
{
	for (;;) {
		tb_err why = { 0 };
		tb_publisher_figures_get(flushing->publisher, figures);
		if (figures->begun != 0)
			return TB_OK;
		tb_rc rc = tb_publisher_wait(flushing->publisher, 0, TB_STORED, 0, &why);
		if (rc != TB_OK && rc != TB_ETIMEOUT) {
			*err = why;
			return rc;
		}
		if (time_left(flushing) == 0) {
			tb_fail(err, TB_EUNREACHABLE, "the broker has not answered; what %s holds stays there", flushing->path);
			tb_hint(err, "is it running? `tb status` says; `tb up` starts it");
			return TB_EUNREACHABLE;
		}
		poll(NULL, 0, LOOK_EVERY_MS);
	}
}

static void tell(const struct flushing *flushing, const tb_publisher_figures *figures)
{
	uint64_t count = figures->accepted + 1 - figures->begun;
	uint64_t first = count > 0 ? figures->begun : 0, last = count > 0 ? figures->accepted : 0;
	if (flushing->call->json)
		tb_print_json(json_pack("{s:s, s:I, s:I, s:I}", "stream", flushing->stream, "published", (json_int_t)count, "first",
		                        (json_int_t)first, "last", (json_int_t)last));
	else if (count == 0)
		printf("stream %s: the outbox held nothing that the broker hadn't\n", flushing->stream);
	else
		printf("stream %s: %llu events of the outbox are published, as %llu to %llu\n", flushing->stream, tb_ull(count),
		       tb_ull(first), tb_ull(last));
}

static tb_rc flush(struct flushing *flushing, tb_err *err)
{
	tb_publisher_figures figures;
	tb_rc rc = open_publisher(flushing, err);
	if (rc == TB_OK)
		rc = await_terms(flushing, &figures, err);
	if (rc == TB_OK && figures.accepted >= figures.begun)
		rc = tb_publisher_wait(flushing->publisher, 0, TB_DURABLE, time_left(flushing), err);
	tb_publisher_close(flushing->publisher);
	if (rc == TB_OK)
		tell(flushing, &figures);
	return rc;
}

tb_rc verb_flush(tb_call *call, tb_err *err)
{
	const struct flush_options *options = call->options;
	struct flushing flushing = { .call = call, .deadline_ns = tb_mono_ns(call->clock) + options->timeout_ns };
	tb_rc rc = find_outbox(&flushing, err);
	return rc == TB_OK ? flush(&flushing, err) : rc;
}
