#include "base/err.h"
#include "base/log.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <string.h>

Test(errors, what_the_system_says_becomes_a_code_that_can_be_acted_on)
{
	static const struct {
		int errnum;
		tb_rc rc;
	} rows[] = {
		{ ENOSPC, TB_ENOSPACE }, { EDQUOT, TB_ENOSPACE }, { ENOENT, TB_ENOTFOUND }, { EACCES, TB_EREFUSED },
		{ EPERM, TB_EREFUSED },  { EROFS, TB_EREFUSED },  { ENOMEM, TB_ENOMEM },    { EIO, TB_EIO },
		{ EBADF, TB_EIO },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tb_err err = { .hint = "an old one" };
		cr_assert_eq(tb_fail_errno(&err, rows[i].errnum, "can't do %s", "it"), rows[i].rc);
		cr_assert_eq(err.rc, rows[i].rc);
		cr_assert_eq(strncmp(err.text, "can't do it: ", 13), 0, "%s", err.text);
		cr_assert_not_null(strstr(err.text, strerror(rows[i].errnum)));
		cr_assert_null(strstr(err.hint, "an old one"));
		cr_assert_eq(tb_fail_errno(NULL, rows[i].errnum, "can't"), rows[i].rc);
	}
}

Test(errors, every_code_has_a_word_and_an_exit_code)
{
	for (tb_rc rc = TB_OK; rc < TB_RC_COUNT; rc++) {
		cr_assert_neq(tb_rc_name(rc)[0], '\0');
		cr_assert((tb_rc_exit(rc) == 0) == (rc == TB_OK));
		cr_assert(tb_rc_exit(rc) >= 0 && tb_rc_exit(rc) <= 7);
	}
	cr_assert_not_null(tb_rc_name((tb_rc)99));
	cr_assert_neq(tb_rc_exit((tb_rc)99), 0);
}

Test(errors, a_sentence_that_is_too_long_is_cut_and_no_more)
{
	tb_err err;
	char text[1000];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	tb_fail(&err, TB_EIO, "%s", text);
	cr_assert_eq(strlen(err.text), sizeof(err.text) - 1);
	tb_hint(&err, "%s", text);
	cr_assert_eq(strlen(err.hint), sizeof(err.hint) - 1);
	tb_fail_errno(&err, ENOENT, "%s", text);
	cr_assert_lt(strlen(err.text), sizeof(err.text));
}

Test(log, what_came_from_outside_forges_no_lines, .init = cr_redirect_stderr)
{
	tb_err err;
	tb_log_open("tb-test", TB_LOG_WARN);
	tb_log(TB_LOG_INFO, "not told");
	tb_fail(&err, TB_EIO, "a name with\na line of its own");
	tb_hint(&err, "look at\rit");
	tb_log_err(TB_LOG_ERROR, "it", &err);
	fflush(stderr);
	char told[4096];
	size_t size = fread(told, 1, sizeof(told) - 1, cr_get_redirected_stderr());
	told[size] = '\0';
	size_t lines = 0;
	for (const char *at = told; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	cr_assert_eq(lines, 2, "%s", told);
	cr_assert_not_null(strstr(told, "it: a name with a line of its own"));
	cr_assert_not_null(strstr(told, "hint: look at it"));
	cr_assert_null(strstr(told, "not told"));
}

Test(log, a_line_that_is_too_long_is_cut_and_still_ends, .init = cr_redirect_stderr)
{
	char text[9000];
	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	tb_log_open("tb-test", TB_LOG_DEBUG);
	tb_log(TB_LOG_DEBUG, "%s", text);
	fflush(stderr);
	char told[16384];
	size_t size = fread(told, 1, sizeof(told), cr_get_redirected_stderr());
	cr_assert_gt(size, 100);
	cr_assert_eq(told[size - 1], '\n');
	cr_assert_eq(memchr(told, '\n', size), told + size - 1);
}
