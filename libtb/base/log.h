/* One line an entry, on stderr: time level program key=value text. Only loops and mains log; libraries return errors.
 * Nothing secret is ever given to it. */
#ifndef TB_BASE_LOG_H
#define TB_BASE_LOG_H

#include "base/err.h"

typedef enum tb_log_level { TB_LOG_DEBUG, TB_LOG_INFO, TB_LOG_WARN, TB_LOG_ERROR } tb_log_level;

void tb_log_open(const char *program, tb_log_level least);
void tb_log(tb_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "what: text" and the hint, if any, in a line of its own. */
void tb_log_err(tb_log_level level, const char *what, const tb_err *err);

#endif
