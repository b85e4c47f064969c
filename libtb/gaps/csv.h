/* Bars in CSV (RFC 4180, a record a line): a header with the column `time`, and `symbol` if there is one; all other
 * columns are counted only. A time is "2026-01-02 13:05:00" or with T, seconds and their fraction optional, and Z or an
 * offset (+00, -05:00, +0530) behind it. One without an offset is naive: wall clock of a zone that has to be told. */
#ifndef TB_GAPS_CSV_H
#define TB_GAPS_CSV_H

#include "base/err.h"
#include "gaps/zone.h"

#define TB_CSV_LINE_MAX 65536u
#define TB_CSV_COLUMNS_MAX 256u
#define TB_CSV_NONE SIZE_MAX

typedef struct tb_csv { /* as the header says; { 0 } isn't one */
	size_t columns, time_at, symbol_at; /* TB_CSV_NONE: there is no such column */
} tb_csv;

/* Lines come without their newline; a CR at the end doesn't count. TB_EINVAL: what is wrong, without where. */
tb_rc tb_csv_header(tb_span line, tb_csv *ret_csv, tb_err *err);
/* naive: zone of times without offset, or NULL. Symbol: its bytes are put into ret_symbol, instead of what it held. */
tb_rc tb_csv_row(const tb_csv *csv, tb_span line, const tb_zone *naive, int64_t *ret_time_ns, tb_buf *ret_symbol, tb_err *err);
/* The time alone. Naive ones that a change of the clock left out, or that it showed twice, are refused, too. */
tb_rc tb_bar_time(tb_span text, const tb_zone *naive, int64_t *ret_time_ns, tb_err *err);

#endif
