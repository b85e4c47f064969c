/* tb init */
#include "run/config.h"
#include "store/instance.h"
#include "workers/tb/tb.h"

#include <stdio.h>

static tb_rc print_made(const tb_call *call, tb_buf *kit, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf repository = { 0 };
	tb_rc rc = tb_config_repository(call->dir, &repository, err);
	if (rc != TB_OK)
		return rc;
	if (call->json) {
		tb_print_json(json_pack("{s:s, s:s, s:s}", "dir", call->dir, "repository", tb_buf_text(&repository), "kit",
		                        tb_buf_text(kit)));
		return TB_OK;
	}
	/* The kit alone on stdout, so that it can be piped to a printer. */
	fputs(tb_buf_text(kit), stdout);
	fflush(stdout);
	fprintf(stderr,
	        "\nAbove is the recovery kit: print it and keep it offline. With it and the repository everything can be\n"
	        "restored; when this machine is gone, nothing can without it.\n\n"
	        "made  %s\nnext  tb up --dir %s\n",
	        call->dir, call->dir);
	return TB_OK;
}

tb_rc verb_init(tb_call *call, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf config = { 0 }, kit = { 0 };
	if (call->dir == NULL) {
		tb_fail(err, TB_EINVAL, "it isn't said where");
		tb_hint(err, "name a directory that doesn't exist yet with --dir DIR");
		return TB_EINVAL;
	}
	if (tb_instance_check(call->disk, call->dir, NULL) == TB_OK) {
		tb_fail(err, TB_EBUSY, "%s holds an instance already", call->dir);
		tb_hint(err, "`tb up --dir %s` starts it", call->dir);
		return TB_EBUSY;
	}
	tb_config_sample(&config);
	tb_rc rc = tb_instance_make(call->disk, call->dir, tb_buf_span(&config), tb_real_ns(call->clock), &kit, err);
	return rc == TB_OK ? print_made(call, &kit, err) : rc;
}
