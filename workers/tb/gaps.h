/* What tb gaps is made of: the verb and its bars (gaps.c), a stream's bars (gaps_stream.c), the report (gaps_show.c). */
#ifndef WORKERS_TB_GAPS_H
#define WORKERS_TB_GAPS_H

#include "gaps/csv.h"
#include "gaps/gaps.h"
#include "workers/tb/tb.h"

typedef struct tb_gaps_run {
	const tb_call *call;
	const struct gaps_options *options;
	tb_calendar calendar;
	tb_schedule schedule;
	tb_day from, to;
	const tb_zone *naive; /* NULL: times need an offset */
	tb_bars bars;
	uint64_t seen;   /* bars, of whatever symbol */
	tb_buf symbol;   /* the one that the bars are of */
	int symbol_known;
	uint64_t repaired;
	tb_progress progress;
	tb_gap_report report;
} tb_gaps_run;

/* A bar that was read. TB_EINVAL: it is of another symbol, and it wasn't said which one is meant. */
tb_rc tb_gaps_add(tb_gaps_run *run, int64_t time_ns, tb_span symbol, tb_err *err);
tb_rc tb_gaps_read_stream(tb_gaps_run *run, tb_err *err);

void tb_gaps_print(const tb_gaps_run *run);
void tb_gaps_print_json(const tb_gaps_run *run);

#endif
