#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int exit;
} rows[TB_RC_COUNT] = {
	[TB_OK] = { "done", 0 },
	[TB_EINVAL] = { "invalid", 2 },
	[TB_ENOTFOUND] = { "not found", 3 },
	[TB_ETIMEOUT] = { "out of time", 4 },
	[TB_EUNREACHABLE] = { "not reachable", 4 },
	[TB_EBUSY] = { "busy", 5 },
	[TB_EREFUSED] = { "refused", 5 },
	[TB_EFENCED] = { "fenced", 5 },
	[TB_EFULL] = { "full", 5 },
	[TB_EIO] = { "input/output error", 6 },
	[TB_ENOSPACE] = { "no space", 6 },
	[TB_ECORRUPT] = { "damaged", 1 },
	[TB_EKEY] = { "wrong key", 7 },
	[TB_EUNSUPPORTED] = { "not in this version", 5 },
	[TB_ENOMEM] = { "no memory", 6 },
	[TB_EINTERRUPTED] = { "interrupted", 4 },
};

int tb_rc_exit(tb_rc rc)
{
	return (unsigned)rc < TB_RC_COUNT ? rows[rc].exit : 6;
}

const char *tb_rc_name(tb_rc rc)
{
	return (unsigned)rc < TB_RC_COUNT ? rows[rc].name : "unknown";
}

static tb_rc write_text(tb_err *err, tb_rc rc, const char *format, va_list args)
{
	if (err == NULL)
		return rc;
	err->rc = rc;
	err->hint[0] = '\0';
	vsnprintf(err->text, sizeof(err->text), format, args);
	return rc;
}

tb_rc tb_fail(tb_err *err, tb_rc rc, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	write_text(err, rc, format, args);
	va_end(args);
	return rc;
}

static tb_rc rc_of_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
		return TB_ENOSPACE;
	case ENOENT:
		return TB_ENOTFOUND;
	case EACCES:
	case EPERM:
	case EROFS:
		return TB_EREFUSED;
	case ENOMEM:
		return TB_ENOMEM;
	default:
		return TB_EIO;
	}
}

/* What may be done about it, whatever it was that failed. */
static const char *hint_of_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
		return "free some room on that disk; nothing half-written is left behind";
	case EACCES:
	case EPERM:
		return "call it as the user whom that belongs to, or give this one access to it";
	case EROFS:
		return "that file system is mounted read-only: mount it for writing, or name another place";
	default:
		return "";
	}
}

tb_rc tb_fail_errno(tb_err *err, int errnum, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	tb_rc rc = write_text(err, rc_of_errno(errnum), format, args);
	va_end(args);
	if (err != NULL) {
		size_t used = strlen(err->text);
		snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerror(errnum));
		tb_hint(err, "%s", hint_of_errno(errnum));
	}
	return rc;
}

void tb_hint(tb_err *err, const char *format, ...)
{
	if (err == NULL)
		return;
	va_list args;
	va_start(args, format);
	vsnprintf(err->hint, sizeof(err->hint), format, args);
	va_end(args);
}
