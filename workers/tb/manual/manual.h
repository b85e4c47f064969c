/* tb-manual: the manual pages and the shell completion, written when Tradebank is built, from the very tables that its
 * programs parse their command lines with. It isn't installed; what it writes is. */
#ifndef WORKERS_TB_MANUAL_MANUAL_H
#define WORKERS_TB_MANUAL_MANUAL_H

#include "workers/tb/tb.h"

/* A program beside tb. */
typedef struct tb_program {
	const char *name; /* "tb-broker" */
	const char *usage;
	const char *const *summary;
	const tb_opt *options;         /* of its command line */
	const tb_opt *const *settings; /* of tb.yaml and of its command line; NULL: none */
} tb_program;

extern const tb_program tb_programs[]; /* ends with a row without a name */

/* ---- roff.c: texts into pages. What it is given is plain text, never markup. */

void roff_title(tb_buf *to, const char *name, int section, const char *summary);
void roff_section(tb_buf *to, const char *heading);
void roff_subsection(tb_buf *to, const char *heading);
void roff_text(tb_buf *to, const char *text); /* its own paragraph */
void roff_usage(tb_buf *to, const char *program, const char *usage);
void roff_example(tb_buf *to, const char *lines);
void roff_item(tb_buf *to, const char *term, const char *text);
void roff_option(tb_buf *to, const tb_opt *row);  /* as on a command line */
void roff_setting(tb_buf *to, const tb_opt *row); /* as in tb.yaml */

/* ---- pages.c and completion.c */

/* Writes each page as NAME.SECTION below dir, which is there. */
tb_rc tb_pages_write(const char *dir, tb_err *err);
void tb_completion_bash(tb_buf *to); /* the tables; completion.bash uses them */

#endif
