/* Errors: one small code and one sentence.
 *
 * A function that can fail returns a tb_rc and takes a tb_err, which the caller owns and may leave out (NULL).
 * Whoever knows why it failed writes the sentence; everybody between passes both up untouched. Act on the code,
 * show the text. Outputs named ret_ are set on TB_OK only. */
#ifndef TB_ERRORS_H
#define TB_ERRORS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tb_rc {
	TB_OK = 0,
	TB_EINVAL,       /* the call or its input is wrong */
	TB_ENOTFOUND,    /* no such thing */
	TB_ETIMEOUT,     /* not in the time allowed; it may still happen */
	TB_EUNREACHABLE, /* nobody answers there */
	TB_EBUSY,        /* somebody else holds it; try later */
	TB_EREFUSED,     /* a rule or the present state forbids it */
	TB_EFENCED,      /* a newer process has taken over: stop */
	TB_EFULL,        /* a bounded place is full: nothing was taken */
	TB_EIO,          /* disk or system call failed */
	TB_ENOSPACE,     /* no room on the disk */
	TB_ECORRUPT,     /* bytes are not what was written */
	TB_EKEY,         /* wrong or missing key, or a signature that does not hold */
	TB_EUNSUPPORTED, /* not in this version */
	TB_ENOMEM,       /* no memory */
	TB_EINTERRUPTED, /* a signal asked us to end */
	TB_RC_COUNT
} tb_rc;

typedef struct tb_err {
	tb_rc rc;
	char text[400]; /* what failed: why */
	char hint[240]; /* what to do about it; may be empty */
} tb_err;

/* The exit code of a command that ends with rc: 0 done, 1 damage, 2 call, 3 not found, 4 not reachable or out of
 * time, 5 refused, 6 disk, 7 key. */
int tb_rc_exit(tb_rc rc);

/* A word for the code, e.g. "not found". Never NULL. */
const char *tb_rc_name(tb_rc rc);

#ifdef __cplusplus
}
#endif
#endif
