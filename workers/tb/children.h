/* The processes that `tb up` starts and keeps running: its direct children. */
#ifndef WORKERS_TB_CHILDREN_H
#define WORKERS_TB_CHILDREN_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#include <signal.h>
#include <sys/types.h>

#define CHILD_ARGS 8
#define CHILD_LIVED_LONG (2 * TB_NS_PER_S) /* an end after that is none of a row */

typedef struct child {
	char name[32]; /* of its log and in messages: "storer", "sealer-2" */
	char *args[CHILD_ARGS]; /* args[0] is the program's path */
	char *log;
	pid_t pid; /* 0: it isn't running */
	uint64_t started_ns, due_ns; /* monotonic; due: of the next start, while it isn't running */
	uint64_t delay_ns; /* before the next start */
	uint64_t log_from; /* what it writes itself begins here */
	unsigned failures; /* in a row, each soon after its start */
	unsigned same_code; /* of them, the newest that ended with the same exit code */
	int code; /* how it last ended: exit code, or minus the signal */
	char why[400], hint[240]; /* the last error that it logged */
} child;

typedef struct children {
	child *items; /* the broker first */
	size_t count;
	int life_fd; /* a lock that each child holds as long as it lives */
	sigset_t mask; /* what the children start with */
} children;

/* broker, storer, collector, sealers, signal; their programs lie beside this one: TB_ENOTFOUND when one is missing. */
tb_rc children_init(children *all, const char *dir, unsigned sealers, tb_err *err);
void children_drop(children *all);

tb_rc child_start(const children *all, child *one, uint64_t now_ns, tb_err *err);
/* Reaps one that has ended, whatever it was, and fills in how and why; NULL: none has. */
child *children_reap(children *all, uint64_t now_ns);
/* Doubles its delay, or begins anew when it had lived for a while, and sets when it is due. */
void child_back_off(child *one, uint64_t now_ns);
/* "ended with exit code 6: <why>". */
void child_describe(const child *one, tb_buf *to);
/* The last error in what a process has logged, without time and name; its hint; else the last line. */
void log_last_error(const char *log, char *ret_why, size_t why_size, char *ret_hint, size_t hint_size);

#endif
