/* What tb watch and tb wait share: questions about signals. */
#ifndef WORKERS_TB_WATCH_H
#define WORKERS_TB_WATCH_H

#include "workers/tb/tb.h"

typedef struct tb_signals_asked {
	const char *topic, *stream, *backup; /* NULL: any */
	uint64_t since;                      /* numbers above */
	uint64_t limit, wait_ms;
} tb_signals_asked;

/* The matching records and "last", the highest number there is: {"records":[…],"last":N}. */
tb_rc tb_signals_ask(const tb_call *call, const tb_signals_asked *asked, json_t **ret_answer, tb_err *err);
uint64_t tb_signals_last(const json_t *answer);
uint64_t tb_signal_number(const json_t *record);

/* TB_EINVAL: not a topic of signals. */
tb_rc tb_signal_topic_check(const char *topic, tb_err *err);
/* --since, if there is one: its text is a number. */
tb_rc tb_since_read(const char *text, uint64_t *ret_since, tb_err *err);

#endif
