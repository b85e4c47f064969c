#include "workers/tb/resume.h"

#include "wire/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define PACKED (48u * 1024) /* canonical bytes of a deltas event */
#define EVENT_EXTRA 16u     /* of them, what stands around the deltas */
#define ITEM_LEAST 7u       /* a key of one byte and no value */
#define ITEMS (PACKED / ITEM_LEAST)
#define LOOK_EVERY (20 * TB_NS_PER_MS)
#define CONNECT_NS (10 * TB_NS_PER_S)
#define STUCK_NS (30 * TB_NS_PER_S)

static const char *beside_outbox(const tb_resume *resume, const char *suffix, tb_buf *path)
{
	tb_buf_clear(path);
	tb_buf_print(path, "%s/outbox/%s.%s", resume->dir, resume->stream, suffix);
	return tb_buf_text(path);
}

static tb_rc fail_running(const tb_resume *resume, tb_err *err)
{
	tb_fail(err, TB_EBUSY, "the engine %s is running: its outbox is open", resume->stream);
	tb_hint(err, "stop the engine first, let it begin with the restored state, and start it when this is done");
	return TB_EBUSY;
}

/* Whatever comes in the way of a reset that isn't committed: nothing has happened. */
static tb_rc hint_unchanged(tb_rc rc, tb_err *err)
{
	tb_hint(err, "the stream's state is as it was: what was begun is never committed. Call again when that is mended");
	return rc;
}

/* Locks the engine's outbox, without being its publisher. */
static tb_rc lock_engine(const tb_resume *resume, int *ret_fd, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	const char *name = beside_outbox(resume, "outbox", &path);
	int fd = open(name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return tb_fail_errno(err, errno, "can't open %s", name);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		*ret_fd = fd;
		return TB_OK;
	}
	tb_rc rc = errno == EWOULDBLOCK ? fail_running(resume, err) : tb_fail_errno(err, errno, "can't lock %s", name);
	close(fd);
	return rc;
}

tb_rc tb_resume_check(const tb_resume *resume, tb_err *err)
{
	int fd;
	tb_rc rc = lock_engine(resume, &fd, err);
	if (rc == TB_OK)
		close(fd);
	return rc == TB_ENOTFOUND ? TB_OK : rc;
}

/* Waiting */

static tb_rc await_connected(tb_resume *resume, tb_publisher *publisher, tb_err *err)
{
	uint64_t begun = tb_mono_ns(resume->call->clock);
	tb_publisher_figures figures;
	for (;;) {
		tb_publisher_figures_get(publisher, &figures);
		if (figures.connected)
			return TB_OK;
		tb_rc rc = tb_publisher_wait(publisher, 0, TB_STORED, LOOK_EVERY, err); /* says why it can't go on */
		if (rc != TB_OK && rc != TB_ETIMEOUT)
			return rc;
		if (rc == TB_OK)
			poll(NULL, 0, LOOK_EVERY / TB_NS_PER_MS);
		if (tb_mono_ns(resume->call->clock) - begun > CONNECT_NS)
			break;
	}
	tb_fail(err, TB_EUNREACHABLE, "the broker has not answered: nothing was published");
	tb_hint(err, "is it running? `tb status` says; `tb up` starts it");
	return TB_EUNREACHABLE;
}

struct watch { /* of numbers that should move */
	uint64_t durable, used, moved_ns;
};

static tb_rc check_moving(tb_resume *resume, tb_publisher *publisher, struct watch *watch, tb_err *err)
{
	tb_publisher_figures figures;
	uint64_t now = tb_mono_ns(resume->call->clock);
	tb_publisher_figures_get(publisher, &figures);
	if (watch->moved_ns == 0 || figures.durable != watch->durable || figures.outbox_used != watch->used)
		*watch = (struct watch){ figures.durable, figures.outbox_used, now };
	tb_progress_tell(&resume->progress, resume->entries, 0);
	if (now - watch->moved_ns <= STUCK_NS)
		return TB_OK;
	return tb_fail(err, TB_ETIMEOUT, "nothing has moved for 30 s: durable up to event %llu of stream %s, published up "
	               "to %llu", tb_ull(figures.durable), resume->stream, tb_ull(figures.accepted));
}

static tb_rc await_durable(tb_resume *resume, tb_publisher *publisher, tb_err *err)
{
	struct watch watch = { 0 };
	tb_rc rc;
	while ((rc = tb_publisher_wait(publisher, 0, TB_DURABLE, TB_NS_PER_S / 10, err)) == TB_ETIMEOUT) {
		rc = check_moving(resume, publisher, &watch, err);
		if (rc != TB_OK)
			return rc;
	}
	return rc;
}

/* A full outbox is no failure while something leaves it. */
static tb_rc publish(tb_resume *resume, const tb_event *event, uint64_t *ret_number, tb_err *err)
{
	struct watch watch = { 0 };
	tb_rc rc;
	while ((rc = tb_publish(resume->publisher, event, ret_number, err)) == TB_EFULL) {
		rc = check_moving(resume, resume->publisher, &watch, err);
		if (rc != TB_OK)
			return rc;
		poll(NULL, 0, 2);
	}
	return rc;
}

/* Beginning */

/* What the engine's outbox still holds is delivered, under the numbers that it has: then the stream goes on from any
 * other outbox. */
static tb_rc empty_engine(tb_resume *resume, tb_err *err)
{
	tb_publishing *run = &resume->run;
	tb_rc rc = tb_publishing_open(run, err);
	if (rc == TB_EBUSY)
		return fail_running(resume, err);
	if (rc == TB_OK)
		rc = await_connected(resume, run->publisher, err);
	if (rc == TB_OK)
		rc = await_durable(resume, run->publisher, err);
	if (rc != TB_OK)
		return rc;
	tb_publisher_close(run->publisher);
	run->publisher = NULL;
	return lock_engine(resume, &resume->engine_fd, err);
}

static tb_rc open_own(tb_resume *resume, tb_err *err)
{
	tb_disk *disk = resume->call->disk;
	const char *path = beside_outbox(resume, "resume", &resume->outbox);
	tb_publisher_options options = { .stream = resume->stream, .dir = resume->dir, .outbox = path };
	tb_rc rc = disk->unlink(disk, path, err); /* of a run that was killed */
	if (rc == TB_OK || rc == TB_ENOTFOUND)
		rc = tb_publisher_open(&options, &resume->publisher, err);
	return rc == TB_OK ? await_connected(resume, resume->publisher, err) : rc;
}

static tb_rc publish_reset(tb_resume *resume, int commit, uint64_t *ret_number, tb_err *err)
{
	tb_event event;
	tb_event_default(&event, TB_EVENT_RESET);
	event.body.reset.commit = commit;
	return publish(resume, &event, ret_number, err);
}

static tb_rc begin(tb_resume *resume, tb_err *err)
{
	resume->options = (struct publish_options){ .engine = (char *)(uintptr_t)resume->stream, .timeout_ns = CONNECT_NS };
	resume->run = (tb_publishing){
		.call = resume->call, .options = &resume->options, .dir = resume->dir, .signal_fd = -1, .lock_fd = -1,
	};
	resume->arena = tb_arena_new();
	resume->items = tb_alloc(ITEMS * sizeof(*resume->items));
	tb_progress_start(&resume->progress, resume->call->clock, "publishing the restored state", "keys");
	tb_rc rc = empty_engine(resume, err);
	if (rc == TB_OK)
		rc = open_own(resume, err);
	return rc == TB_OK ? publish_reset(resume, 0, &resume->begin, err) : rc;
}

/* Entries */

static tb_rc publish_items(tb_resume *resume, tb_err *err)
{
	tb_event event;
	if (resume->count == 0)
		return TB_OK;
	tb_event_default(&event, TB_EVENT_DELTAS);
	event.body.deltas.items = resume->items;
	event.body.deltas.count = resume->count;
	tb_rc rc = publish(resume, &event, NULL, err);
	resume->entries += resume->count;
	resume->count = resume->size = 0;
	tb_arena_reset(resume->arena);
	return rc;
}

static size_t item_size(size_t key_size, size_t value_size)
{
	return tb_events_entry_size(tb_events_entry_size(key_size) + tb_events_entry_size(value_size));
}

static tb_bytes keep(tb_resume *resume, const void *data, size_t size)
{
	tb_span copy = tb_arena_copy(resume->arena, tb_span_of(data, size));
	return (tb_bytes){ copy.data, copy.size };
}

static tb_rc add_entry(tb_resume *resume, const void *key, size_t key_size, const void *value, size_t value_size,
                       tb_err *err)
{
	size_t size = item_size(key_size, value_size);
	tb_rc rc = resume->begin == 0 ? begin(resume, err) : TB_OK;
	if (rc == TB_OK && resume->size + size > PACKED - EVENT_EXTRA)
		rc = publish_items(resume, err);
	if (rc != TB_OK)
		return rc;
	resume->items[resume->count++] = (tb_delta){
		.key = keep(resume, key, key_size), .value = keep(resume, value, value_size),
	};
	resume->size += size;
	return TB_OK;
}

tb_rc tb_resume_entry(void *self, const void *key, size_t key_size, const void *value, size_t value_size, tb_err *err)
{
	tb_rc rc = add_entry(self, key, key_size, value, value_size, err);
	return rc == TB_OK || rc == TB_EBUSY || rc == TB_EUNREACHABLE ? rc : hint_unchanged(rc, err);
}

/* The end */

static tb_rc await_commit(tb_resume *resume, tb_err *err)
{
	tb_rc rc = await_durable(resume, resume->publisher, err);
	if (rc == TB_ETIMEOUT)
		tb_hint(err, "whether event %llu, the commit, got there isn't known: call again, it does no harm",
		        tb_ull(resume->commit));
	return rc;
}

/* The commit leaves when everything else has arrived: what can fail has failed by then. */
tb_rc tb_resume_commit(tb_resume *resume, tb_err *err)
{
	tb_rc rc = resume->begin == 0 ? begin(resume, err) : TB_OK;
	if (rc == TB_EBUSY || rc == TB_EUNREACHABLE)
		return rc;
	if (rc == TB_OK)
		rc = publish_items(resume, err);
	if (rc == TB_OK)
		rc = await_durable(resume, resume->publisher, err);
	if (rc == TB_OK)
		rc = publish_reset(resume, 1, &resume->commit, err);
	if (rc != TB_OK)
		return hint_unchanged(rc, err);
	return await_commit(resume, err);
}

void tb_resume_drop(tb_resume *resume)
{
	if (resume->arena == NULL)
		return;
	tb_progress_end(&resume->progress);
	tb_publisher_close(resume->publisher);
	if (resume->outbox.size > 0)
		resume->call->disk->unlink(resume->call->disk, tb_buf_text(&resume->outbox), NULL);
	tb_publishing_close(&resume->run);
	if (resume->engine_fd > 0)
		close(resume->engine_fd);
	tb_buf_drop(&resume->outbox);
	tb_arena_free(resume->arena);
	free(resume->items);
}
