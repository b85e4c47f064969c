#include "workers/tb/manual/manual.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	tb_err err = { 0 };
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	if (argc == 3 && strcmp(argv[1], "pages") == 0) {
		if (tb_pages_write(argv[2], &err) == TB_OK)
			return 0;
		fprintf(stderr, "tb-manual: %s\n", err.text);
		return tb_rc_exit(err.rc);
	}
	if (argc == 2 && strcmp(argv[1], "bash") == 0) {
		tb_completion_bash(&text);
		return fputs(tb_buf_text(&text), stdout) < 0 || fflush(stdout) != 0;
	}
	fprintf(stderr, "usage: tb-manual pages DIR | bash\n");
	return 2;
}
