/* tb publish, inside: the lines of an input (publish_lines.c), how far earlier runs came with which input
 * (publish_resume.c), going on from there (publish_open.c), and the run itself (publish.c). */
#ifndef WORKERS_TB_PUBLISH_H
#define WORKERS_TB_PUBLISH_H

#include "tb/publish.h"
#include "workers/tb/tb.h"

/* ---- lines */

#define TB_LINES_KEPT 65536u /* of a line that is too long */

typedef struct tb_lines {
	int fd;           /* borrowed */
	int interrupt_fd; /* -1, or a descriptor that ends reading when it is readable */
	size_t line_max;
	uint64_t number; /* of the line read last, from 1, blank ones too */
	tb_span line;    /* it, without its newline; until the next call */
	tb_buf bytes, cut;
	size_t at, searched; /* of bytes: what was given, and how much behind it holds no newline */
	int ended;
} tb_lines; /* { .fd, .interrupt_fd, .line_max } is one */

/* The next line; the last needs no newline. TB_ENOTFOUND: there is none (no sentence). TB_EINVAL: it is longer than
 * line_max; `line` is its beginning. TB_EINTERRUPTED. */
tb_rc tb_lines_next(tb_lines *lines, tb_err *err);
/* What comes next, size bytes of it or all there are, without taking it. */
tb_rc tb_lines_peek(tb_lines *lines, size_t size, tb_span *ret_bytes, tb_err *err);
void tb_lines_drop(tb_lines *lines);
int tb_line_blank(tb_span line);

/* ---- inputs
 *
 * For each input, known by its beginning, one statement that holds whatever happens next: so many of its lines (blank
 * ones don't count) are done with, and the lines behind them are the events `first`, `first` + 1, … as far as the
 * stream goes. It is written before the first of those events is accepted, so a process that is killed at any moment
 * leaves the number of its last event as the number of its last line. Before anything else is published on the stream
 * the statement is closed: the events become lines, and `first` 0. */

#define TB_INPUT_BEGINNING 65536u
#define TB_INPUTS_MAX 256u /* are remembered; the oldest is forgotten */
#define TB_INPUT_HASH 32

typedef struct tb_input {
	uint8_t hash[TB_INPUT_HASH]; /* BLAKE2b-256 of its first `size` bytes */
	uint64_t size;               /* at most TB_INPUT_BEGINNING; less when it had no more then */
	uint64_t lines;
	uint64_t first; /* 0: closed */
} tb_input;

typedef struct tb_inputs { /* { 0 } are none; the newest last */
	tb_input *items;
	size_t count;
} tb_inputs;

/* As a file's text. TB_ECORRUPT: it isn't one. */
tb_rc tb_inputs_read(tb_span text, tb_inputs *ret_inputs, tb_err *err);
void tb_inputs_write(const tb_inputs *inputs, tb_buf *to);
void tb_inputs_drop(tb_inputs *inputs);

/* The one that begins so: all TB_INPUT_BEGINNING bytes, or the whole input. One that was shorter when it was noted has
 * grown since: of several it is the longest. NULL: not known. */
tb_input *tb_inputs_find(const tb_inputs *inputs, tb_span beginning);
int tb_inputs_open(const tb_inputs *inputs); /* is there one to close? */
void tb_inputs_close(tb_inputs *inputs, uint64_t last); /* last: highest number accepted */
/* Makes or renews the statement about the input that begins so; it is the newest then. */
void tb_inputs_note(tb_inputs *inputs, tb_span beginning, uint64_t lines, uint64_t first);

/* The file; one that isn't there holds none. */
tb_rc tb_inputs_load(tb_disk *disk, const char *path, tb_inputs *ret_inputs, tb_err *err);
tb_rc tb_inputs_save(tb_disk *disk, const char *path, const tb_inputs *inputs, tb_err *err);

/* ---- a run */

typedef struct tb_publishing {
	const tb_call *call;
	const struct publish_options *options;
	const char *dir;
	tb_promise promise;
	int automatic;      /* --from-line auto */
	uint64_t from_line; /* else where to begin */
	int signal_fd;      /* readable when asked to end; stays so */
	tb_lines lines;
	tb_arena *arena; /* a line's */
	tb_publisher *publisher;

	/* what publish_open.c knows */
	int lock_fd; /* the folder's statements are ours while it is locked */
	tb_buf inputs_path, beginning;
	tb_inputs inputs;
	uint64_t lines_done; /* of this input, by earlier runs; blank ones don't count */
	int unsaid;          /* the statement doesn't hold for the next line */

	uint64_t ordinal;   /* of the line at hand, or of the last one done with; blank ones not counted */
	uint64_t done_line; /* the last one done with, as lines are numbered */
	uint64_t published, first, last, quarantined;
	tb_file *quarantine;
	uint64_t quarantine_size;
	tb_progress progress;
	char shown[120];
} tb_publishing;

/* Opens publisher and, with automatic, what earlier runs left; the lines must be open. */
tb_rc tb_publishing_open(tb_publishing *run, tb_err *err);
/* Before each event: makes the statement hold for the line at hand. */
tb_rc tb_publishing_say(tb_publishing *run, tb_err *err);
/* At the end, when all that was published is durable: lines are done with, whatever is published next. */
tb_rc tb_publishing_settle(tb_publishing *run, tb_err *err);
void tb_publishing_close(tb_publishing *run);

int tb_publishing_asked_to_end(const tb_publishing *run);
/* Until number (0: the last) has the promise, or timeout, or a signal (TB_EINTERRUPTED) unless deaf. */
tb_rc tb_publishing_await(tb_publishing *run, tb_promise promise, uint64_t timeout_ns, int deaf, tb_err *err);

#endif
