/* Options as rows: one table gives parser, checks, help, and what `tb config show` prints.
 *
 * A value comes from, the later over the earlier: the row's default, tb.yaml, the environment (TB_ and the name in
 * capitals, '.' and '-' as '_': journal.limit is TB_JOURNAL_LIMIT), the command line (--journal-limit VALUE or
 * --journal-limit=VALUE). Sources may be read in any order (the command line first, as it says where tb.yaml is): a
 * value from a weaker source than the present one's is checked and left out. */
#ifndef TB_RUN_OPTIONS_H
#define TB_RUN_OPTIONS_H

#include "base/buf.h"
#include "base/err.h"

typedef enum tb_opt_type {
	TB_OPT_TEXT, /* char *, owned by the options */
	TB_OPT_FLAG, /* int 0/1: --name alone on the command line (also --name=false); true/false elsewhere */
	TB_OPT_UINT, /* uint64_t */
	TB_OPT_SIZE, /* uint64_t bytes: 512, 64KiB, 8MiB, 2GiB; KB, MB, GB are powers of ten */
	TB_OPT_SPAN  /* uint64_t nanoseconds: 250us, 1ms, 30s, 5min, 1h, 7d, 1y (365d); 0 needs no unit */
} tb_opt_type;

typedef struct tb_opt {
	const char *name; /* "journal.limit"; NULL ends the table */
	char letter;      /* 0, or -x */
	tb_opt_type type;
	size_t offset; /* of the field in the struct */
	const char *fallback; /* default as text; NULL: 0 or none */
	const char *range; /* "1MiB..1TiB" or "a|b|c" for texts; NULL: any */
	const char *value; /* what help calls it, e.g. "DIR"; NULL by type */
	const char *help;  /* one sentence */
	int cli_only;      /* not in tb.yaml or the environment */
} tb_opt;

typedef enum tb_opt_source { TB_FROM_DEFAULT, TB_FROM_FILE, TB_FROM_ENV, TB_FROM_FLAG } tb_opt_source;

typedef struct tb_options {
	const tb_opt *rows;
	void *target; /* the struct that offsets point into */
	tb_opt_source *sources; /* a row each */
	int count;
} tb_options;

/* Sets every default, whatever target held. Texts in target are owned from now on; drop frees them. A table whose
 * default or range doesn't hold ends the process: it is a mistake in the program. */
void tb_options_init(tb_options *options, const tb_opt *rows, void *target);
void tb_options_drop(tb_options *options);

/* Sets one by its name from text; TB_EINVAL names the option, the text and what is allowed; TB_ENOTFOUND: no such (with
 * the nearest name as hint). */
tb_rc tb_options_set(tb_options *options, const char *name, const char *text, tb_opt_source source, tb_err *err);
/* A YAML file of nested maps of scalars ("journal:\n  limit: 4GiB"); a name that isn't in `known` (NULL: in the rows)
 * is TB_EINVAL with line and the nearest known name. Several programs read one file: known lists all their tables, and
 * ends with NULL. A name without a value is left as it is; one given twice is TB_EINVAL. A file that isn't there is
 * TB_ENOTFOUND. */
tb_rc tb_options_file(tb_options *options, const char *path, const tb_opt *const *known, tb_err *err);
/* An empty variable is as good as none. Variables of no row are others' business. */
tb_rc tb_options_env(tb_options *options, tb_err *err);
/* Parses argv[1..argc-1]. Options and operands may mix; "--" ends options; -x VALUE, -xVALUE and flags together (-qj)
 * work. Operands are moved to argv[1..*ret_operands], in their order; argv[0] stays. TB_EINVAL: unknown option (with
 * the nearest name as hint) or bad value. */
tb_rc tb_options_args(tb_options *options, int argc, char **argv, int *ret_operands, tb_err *err);

tb_opt_source tb_options_source(const tb_options *options, const char *name);
const char *tb_options_source_name(tb_opt_source source); /* "default", "file", "environment", "command line" */
/* Appends the value of a row as text, as tb_options_set reads it; nothing for a text that isn't set. */
void tb_options_text(const tb_options *options, const tb_opt *row, tb_buf *to);
/* What help calls its value, e.g. "DIR"; NULL: a flag, it has none. */
const char *tb_opt_value(const tb_opt *row);
/* Appends "1MiB..1TiB, default 4GiB", or as much of it as there is. */
void tb_opt_bounds(const tb_opt *row, tb_buf *to);
/* Help: a line a row, wrapped at 80 columns, with defaults. */
void tb_options_help(const tb_opt *rows, tb_buf *to);

/* A name as that source writes it: journal.limit, TB_JOURNAL_LIMIT, --journal-limit. */
void tb_opt_spell(tb_buf *to, const char *name, tb_opt_source source);
/* Fails with rc as no table of the list (it ends with NULL) has that name, and hints at the nearest that source may
 * set. */
tb_rc tb_opt_unknown(const tb_opt *const *tables, const char *name, tb_opt_source source, tb_rc rc, tb_err *err);
/* Letters to add, drop or change to make a of b; case aside, and '.', '-' and '_' are one. SIZE_MAX: too unlike to be
 * meant (more than one and a quarter of a's letters), or longer than names are. For hints, of verbs too. */
size_t tb_name_distance(const char *a, const char *b);

/* "4096", "64MiB" to bytes, "5min" to nanoseconds; 0 when it isn't one or doesn't fit 64 bits. And back, exactly, in
 * the largest whole unit. */
int tb_uint_parse(const char *text, uint64_t *ret_value);
int tb_size_parse(const char *text, uint64_t *ret_bytes);
int tb_span_parse(const char *text, uint64_t *ret_ns);
void tb_size_text(tb_buf *to, uint64_t bytes);
void tb_span_text_ns(tb_buf *to, uint64_t ns);

#endif
