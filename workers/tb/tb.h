/* tb, the operator's command: what its verbs share. Private to this folder and its test.
 *
 * A verb is a row of tb_verbs (verbs.c) and a declaration at the end of this file. Its function gets the call: options
 * and operands are read and checked. It prints its result on stdout and returns; a failure's sentence is printed by the
 * caller as `tb VERB: what failed: why`, with its hint, and its code becomes the exit code. */
#ifndef WORKERS_TB_TB_H
#define WORKERS_TB_TB_H

#include "base/clock.h"
#include "base/disk.h"
#include "bus/bus.h"
#include "run/options.h"
#include "store/archive.h"

#include <jansson.h>

typedef struct tb_call {
	const struct tb_verb *verb;
	const char *dir; /* --dir or TB_DIR as given; NULL: neither (tb_call_dir complains) */
	int json;
	const void *options; /* the struct that the verb's rows fill */
	char **operands;
	int operand_count;
	int exit; /* the exit code when the function returns TB_OK: 0, or e.g. 1 for something wrong that was found */
	tb_disk *disk;
	const tb_clock *clock;
} tb_call;

typedef tb_rc (*tb_verb_fn)(tb_call *call, tb_err *err);

typedef struct tb_verb {
	const char *name;
	const char *summary; /* one sentence for the list and the help */
	const char *usage;   /* what stands behind `tb NAME ` */
	const char *example; /* a whole line, as it is typed */
	const tb_opt *rows;  /* its own options, cli_only; NULL: none. --dir, --json and --help are everybody's */
	size_t options_size; /* of the struct they fill */
	tb_verb_fn run;      /* NULL: not in this version */
	int operands_max;
	const char *repeated; /* an option that may be given more than once: its field gets "a,b,c"; NULL: none */
} tb_verb;

extern const tb_verb tb_verbs[]; /* ends with a row without a name */
const tb_verb *tb_verb_find(const char *name);
extern const tb_opt tb_common_rows[]; /* --dir, --json and --help */

/* The whole command; returns the exit code. argv is rearranged. */
int tb_command(int argc, char **argv);

/* Takes every --name VALUE and --name=VALUE out of argv and puts one with all values, joined by commas, where the first
 * stood; returns its text, the caller's to free, or NULL when there was none. A value that is missing stays as it is,
 * for the parser to complain about. */
char *tb_args_join(const char *name, int *argc, char **argv);

/* Fails as there is no `what` of that name, with the nearest of the names (NULL at their end) as hint: TB_EINVAL. */
tb_rc tb_name_unknown(const char *what, const char *name, const char *const *names, const char *before, tb_err *err);
/* TB_EUNSUPPORTED: "what is not in this version". */
tb_rc tb_not_yet(const char *what, tb_err *err);
void tb_print_failure(const char *verb, const tb_err *err);

/* ---- where things are (open.c) */

/* The instance's directory, which must hold one: TB_EINVAL when none was given. */
tb_rc tb_call_dir(const tb_call *call, const char **ret_dir, tb_err *err);
const char *tb_below(tb_buf *path, const char *dir, const char *name); /* "DIR/name", in path */
/* The repository: repo when given, else the instance's. key: an identity or kit, which can open what is sealed; NULL:
 * the instance's verifying key, enough for names and manifests. */
tb_rc tb_call_archive(const tb_call *call, const char *repo, const char *key, tb_archive **ret_archive, tb_err *err);
/* The same with nothing opened that is sealed, whether the identity could or not. identity: NULL, or borrowed. */
tb_rc tb_call_archive_closed(const tb_call *call, const char *repo, const tb_key *identity, tb_archive **ret_archive,
                             tb_err *err);
/* A bus to the instance's broker. TB_EUNREACHABLE at once when there is none, not even a dead one's socket. */
tb_rc tb_call_bus(const tb_call *call, tb_bus **ret_bus, tb_err *err);
/* Asks the signal worker; TB_EUNREACHABLE hints at `tb up`. */
tb_rc tb_call_ask(const tb_call *call, const json_t *question, uint64_t timeout_ns, json_t **ret_answer, tb_err *err);
void tb_names_free(char **names, size_t count);

/* run/up.lock, which `tb up` holds while it runs. TB_OK: held; pid is 0 when it is not known yet. TB_ENOTFOUND: not
 * held: nothing was started by `tb up`, or it has ended. */
tb_rc tb_up_pid(const char *dir, int *ret_pid, tb_err *err);

/* ---- what people read (print.c) */

void tb_print_json(json_t *value); /* one line on stdout, now; takes the value */
void tb_print_size(tb_buf *to, uint64_t bytes); /* "12.3 MiB" */
void tb_print_age(tb_buf *to, uint64_t ns);     /* "0.4 s", "12 s", "5 min", "3 h", "2 d" */
void tb_print_time(tb_buf *to, uint64_t ns);    /* to the second, UTC; "-" for 0 */
json_t *tb_json_time(uint64_t ns);              /* a text to the nanosecond, or null for 0 */

/* A table: columns as wide as their widest cell, two blanks between. */
typedef struct tb_table {
	size_t columns;
	unsigned right; /* bit i: column i stands to the right */
	char **cells;
	size_t count;
} tb_table;
void tb_table_cell(tb_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tb_table_row(tb_table *table, const char *const *texts); /* NULL at their end */
void tb_table_print(const tb_table *table, tb_buf *to);
void tb_table_drop(tb_table *table);

/* Progress on stderr for what takes over a second: a bar, rate and time left, or without `all` just how long it has
 * been. Says nothing when stderr is no terminal. End wipes the line. */
typedef struct tb_progress {
	const tb_clock *clock;
	const char *what; /* "waiting for FUL_…" */
	const char *unit; /* "events"; NULL: bytes */
	uint64_t started_ns, shown_ns;
	int terminal, shown;
} tb_progress;
void tb_progress_start(tb_progress *progress, const tb_clock *clock, const char *what, const char *unit);
void tb_progress_tell(tb_progress *progress, uint64_t done, uint64_t all);
void tb_progress_end(tb_progress *progress);

/* ---- verbs: function, option rows, and the struct that they fill */

tb_rc verb_init(tb_call *call, tb_err *err);

struct up_options {
	uint64_t sealers;
};
extern const tb_opt tb_up_rows[];
tb_rc verb_up(tb_call *call, tb_err *err);

struct down_options {
	uint64_t timeout_ns;
};
extern const tb_opt tb_down_rows[];
tb_rc verb_down(tb_call *call, tb_err *err);

tb_rc verb_status(tb_call *call, tb_err *err);

struct backup_options {
	char *type, *streams;
	int wait;
	uint64_t timeout_ns;
};
extern const tb_opt tb_backup_rows[];
tb_rc verb_backup(tb_call *call, tb_err *err);

struct list_options {
	char *stream, *type, *repo, *key;
	int all;
};
extern const tb_opt tb_list_rows[];
tb_rc verb_list(tb_call *call, tb_err *err);

struct show_options {
	char *repo, *key;
};
extern const tb_opt tb_show_rows[];
tb_rc verb_show(tb_call *call, tb_err *err);

struct keys_options {
	char *repo;
	uint64_t valid_ns;
	int renew;
};
extern const tb_opt tb_keys_rows[];
tb_rc verb_keys(tb_call *call, tb_err *err);
tb_rc tb_keys_host(tb_call *call, const char *dir, tb_err *err); /* `tb keys host NAME` (keys_host.c) */

struct publish_options {
	char *engine, *wait, *from_line;
	int keep_going;
	uint64_t timeout_ns;
};
extern const tb_opt tb_publish_rows[];
tb_rc verb_publish(tb_call *call, tb_err *err);

struct flush_options {
	uint64_t timeout_ns;
};
extern const tb_opt tb_flush_rows[];
tb_rc verb_flush(tb_call *call, tb_err *err);

struct watch_options {
	char *stream, *since;
	uint64_t count, timeout_ns;
};
extern const tb_opt tb_watch_rows[];
tb_rc verb_watch(tb_call *call, tb_err *err);

struct wait_options {
	char *stream, *backup, *since;
	uint64_t timeout_ns;
};
extern const tb_opt tb_wait_rows[];
tb_rc verb_wait(tb_call *call, tb_err *err);

struct restore_options {
	char *stream, *event, *at, *backup, *to, *repo, *key;
	int force, dry_run, all, resume;
};
extern const tb_opt tb_restore_rows[];
tb_rc verb_restore(tb_call *call, tb_err *err);

struct verify_options {
	char *stream, *repo, *key;
	int quick;
};
extern const tb_opt tb_verify_rows[];
tb_rc verb_verify(tb_call *call, tb_err *err);

struct events_options {
	char *stream, *kind, *pair, *hash, *repo, *key;
	uint64_t from, to, limit;
	int canonical;
};
extern const tb_opt tb_events_rows[];
tb_rc verb_events(tb_call *call, tb_err *err);

struct gaps_options {
	char *calendar, *from, *to, *csv, *zone, *stream, *symbol, *repo, *key;
	int repair_zone, ranges, patterns;
	uint64_t points;
};
extern const tb_opt tb_gaps_rows[];
tb_rc verb_gaps(tb_call *call, tb_err *err);

#endif
