/* Going on where an earlier run of the same input stopped. */
#include "bus/outbox.h"
#include "workers/tb/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <unistd.h>

#define LOOK_EVERY_MS 20

static const char *beside_outbox(const tb_publishing *run, tb_buf *path, const char *suffix)
{
	tb_buf_clear(path);
	tb_buf_print(path, "%s/outbox/%s.%s", run->dir, run->options->engine, suffix);
	return tb_buf_text(path);
}

/* The outbox is locked only while it is open, and it is opened twice: nobody may publish in between. */
static tb_rc lock(tb_publishing *run, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = tb_disk_make_path(run->call->disk, tb_below(&path, run->dir, "outbox"), err);
	if (rc != TB_OK)
		return rc;
	const char *name = beside_outbox(run, &path, "lock");
	run->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (run->lock_fd < 0)
		return tb_fail_errno(err, errno, "can't open %s", name);
	if (flock(run->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return TB_OK;
	if (errno != EWOULDBLOCK)
		return tb_fail_errno(err, errno, "can't lock %s", name);
	tb_fail(err, TB_EBUSY, "another `tb publish` runs for the engine %s", run->options->engine);
	tb_hint(err, "a stream has one publishing process at a time; wait for the other one, or end it");
	return TB_EBUSY;
}

static tb_rc read_boot_id(uint8_t ret_id[16], tb_err *err)
{
	static const char name[] = "/proc/sys/kernel/random/boot_id";
	char text[40] = { 0 }, digits[40] = { 0 };
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	size_t count = 0;
	if (fd >= 0)
		close(fd);
	if (got < 0)
		return tb_fail_errno(err, errno, "can't read %s", name);
	for (const char *c = text; *c != '\0' && *c != '\n'; c++)
		if (*c != '-')
			digits[count++] = *c;
	return tb_unhex(ret_id, 16, digits) ? TB_OK : tb_fail(err, TB_EIO, "%s holds no boot id", name);
}

/* The last number that the outbox itself accepted: a publisher may hear of higher ones, of another outbox's, as soon as
 * it is open. Not known when the outbox is gone, or may have lost its end with the power. */
static tb_rc find_last(const tb_publishing *run, int *ret_known, uint64_t *ret_last, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_outbox *outbox;
	tb_outbox_opened opened;
	uint8_t boot_id[16];
	const char *name = beside_outbox(run, &path, "outbox");
	*ret_known = 0;
	if (access(name, F_OK) != 0)
		return TB_OK;
	tb_rc rc = read_boot_id(boot_id, err);
	if (rc == TB_OK)
		rc = tb_outbox_open(name, run->options->engine, 0, boot_id, &outbox, &opened, err);
	if (rc != TB_OK)
		return rc;
	tb_outbox_close(outbox);
	*ret_known = !opened.unsettled;
	*ret_last = opened.last;
	return TB_OK;
}

int tb_publishing_asked_to_end(const tb_publishing *run)
{
	struct pollfd fd = { .fd = run->signal_fd, .events = POLLIN };
	return poll(&fd, 1, 0) > 0;
}

static tb_rc fail_unconfirmed(const tb_publishing *run, tb_err *err)
{
	tb_err why = { 0 };
	/* Nothing has to be waited for here; a publisher that can't go on says so. */
	tb_rc rc = tb_publisher_wait(run->publisher, 0, TB_STORED, 0, &why);
	if (rc != TB_OK && rc != TB_ETIMEOUT) {
		*err = why;
		return rc;
	}
	tb_fail(err, TB_EUNREACHABLE, "the broker has not said how the numbers of the stream %s go on",
	        run->options->engine);
	tb_hint(err, "is it running? `tb status` says; `tb up` starts it. Nothing was published");
	return TB_EUNREACHABLE;
}

/* Until the broker has confirmed how numbers go on: only then they can't move any more. */
static tb_rc await_broker(tb_publishing *run, tb_err *err)
{
	struct pollfd fd = { .fd = run->signal_fd, .events = POLLIN };
	tb_publisher_figures figures;
	uint64_t begun = tb_mono_ns(run->call->clock);
	for (;;) {
		tb_publisher_figures_get(run->publisher, &figures);
		if (figures.connected)
			return TB_OK;
		if (tb_mono_ns(run->call->clock) - begun > run->options->timeout_ns)
			return fail_unconfirmed(run, err);
		if (poll(&fd, 1, LOOK_EVERY_MS) > 0)
			return tb_fail(err, TB_EINTERRUPTED, "asked to end; nothing was published");
	}
}

static uint64_t last_accepted(const tb_publishing *run)
{
	tb_publisher_figures figures;
	tb_publisher_figures_get(run->publisher, &figures);
	return figures.accepted;
}

static tb_rc open_publisher(tb_publishing *run, tb_err *err)
{
	tb_publisher_options options = { .stream = run->options->engine, .dir = run->dir };
	return tb_publisher_open(&options, &run->publisher, err);
}

static tb_rc save(tb_publishing *run, tb_err *err)
{
	return tb_inputs_save(run->call->disk, tb_buf_text(&run->inputs_path), &run->inputs, err);
}

/* What earlier runs published is counted, before anything else may follow it. */
static tb_rc take_stock(tb_publishing *run, int known, uint64_t last, tb_err *err)
{
	int open = tb_inputs_open(&run->inputs);
	if (open)
		tb_inputs_close(&run->inputs, known ? last : last_accepted(run));
	if (run->automatic) {
		const tb_input *input = tb_inputs_find(&run->inputs, tb_buf_span(&run->beginning));
		run->lines_done = input != NULL ? input->lines : 0;
		run->unsaid = 1;
	}
	return open ? save(run, err) : TB_OK;
}

static tb_rc read_beginning(tb_publishing *run, tb_err *err)
{
	tb_span beginning;
	tb_rc rc = tb_lines_peek(&run->lines, TB_INPUT_BEGINNING, &beginning, err);
	if (rc == TB_OK)
		tb_buf_append_span(&run->beginning, beginning);
	return rc;
}

tb_rc tb_publishing_open(tb_publishing *run, tb_err *err)
{
	int known = 1;
	uint64_t last = 0;
	beside_outbox(run, &run->inputs_path, "inputs");
	tb_rc rc = run->automatic ? read_beginning(run, err) : TB_OK;
	if (rc == TB_OK)
		rc = lock(run, err);
	if (rc == TB_OK)
		rc = tb_inputs_load(run->call->disk, tb_buf_text(&run->inputs_path), &run->inputs, err);
	if (rc == TB_OK && tb_inputs_open(&run->inputs))
		rc = find_last(run, &known, &last, err);
	if (rc == TB_OK)
		rc = open_publisher(run, err);
	if (rc == TB_OK && (run->automatic || !known))
		rc = await_broker(run, err);
	return rc == TB_OK ? take_stock(run, known, last, err) : rc;
}

tb_rc tb_publishing_say(tb_publishing *run, tb_err *err)
{
	if (!run->unsaid)
		return TB_OK;
	/* Lines that are done with are so for good, also if this host loses its power. */
	tb_rc rc = tb_publishing_await(run, TB_DURABLE, run->options->timeout_ns, 0, err);
	if (rc != TB_OK)
		return rc;
	tb_inputs_note(&run->inputs, tb_buf_span(&run->beginning), run->ordinal - 1, last_accepted(run) + 1);
	rc = save(run, err);
	run->unsaid = rc != TB_OK;
	return rc;
}

tb_rc tb_publishing_settle(tb_publishing *run, tb_err *err)
{
	if (!run->automatic || run->ordinal <= run->lines_done)
		return TB_OK;
	tb_inputs_note(&run->inputs, tb_buf_span(&run->beginning), run->ordinal, 0);
	return save(run, err);
}

tb_rc tb_publishing_await(tb_publishing *run, tb_promise promise, uint64_t timeout_ns, int deaf, tb_err *err)
{
	uint64_t begun = tb_mono_ns(run->call->clock), passed = 0;
	tb_rc rc = TB_ETIMEOUT;
	while (rc == TB_ETIMEOUT && passed <= timeout_ns) {
		if (!deaf && tb_publishing_asked_to_end(run))
			return tb_fail(err, TB_EINTERRUPTED, "asked to end");
		uint64_t left = timeout_ns - passed;
		rc = tb_publisher_wait(run->publisher, 0, promise, left < TB_NS_PER_S / 10 ? left : TB_NS_PER_S / 10, err);
		passed = tb_mono_ns(run->call->clock) - begun;
		tb_progress_tell(&run->progress, run->published, 0);
	}
	return rc;
}

void tb_publishing_close(tb_publishing *run)
{
	tb_publisher_close(run->publisher);
	if (run->lock_fd >= 0)
		close(run->lock_fd);
	tb_inputs_drop(&run->inputs);
	tb_buf_drop(&run->inputs_path);
	tb_buf_drop(&run->beginning);
}
