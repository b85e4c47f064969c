/* What the event files of this room share beside the tables of fields. */
#ifndef TB_WIRE_EVENT_RULES_H
#define TB_WIRE_EVENT_RULES_H

#include "wire/event.h"

#define TB_ARROW "\xe2\x86\x92" /* → */
#define TB_ARROW_ASCII "->"

/* Fill the reject (may be NULL) and the sentence in; returns rc. */
tb_rc tb_reject_set(tb_reject *ret_reject, tb_err *err, tb_rc rc, const char *code, const char *field,
                    const char *detail);
/* The same for canonical bytes over TB_EVENT_MAX. */
tb_rc tb_reject_size(tb_reject *ret_reject, tb_err *err, size_t size);

#endif
