/* Writing errors: for those who know why. See tb/errors.h for those who read them. */
#ifndef TB_BASE_ERR_H
#define TB_BASE_ERR_H

#include "tb/errors.h"

/* Write the sentence and return rc, so that a caller can write `return tb_fail(err, TB_EINVAL, …);`. Clears the hint. */
tb_rc tb_fail(tb_err *err, tb_rc rc, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same from errno: ENOSPC and EDQUOT become TB_ENOSPACE, ENOENT TB_ENOTFOUND, EACCES, EPERM and EROFS
 * TB_EREFUSED, ENOMEM TB_ENOMEM, all else TB_EIO. Appends ": " and strerror. */
tb_rc tb_fail_errno(tb_err *err, int errnum, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Add a hint to a failure already written; err may be NULL here as well. */
void tb_hint(tb_err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
