/* tb.yaml, for each program's table: what is refused names the file and a line. */
#include "fuzz/fuzz_file.h"

#include "run/config.h"

static void read_for(const fuzz_file *file, const tb_opt *rows)
{
	union {
		tb_broker_config broker;
		tb_collector_config collector;
		tb_sealer_config sealer;
		tb_storer_config storer;
	} target;
	tb_options options;
	tb_err err;
	tb_options_init(&options, rows, &target);
	tb_rc rc = tb_options_file(&options, file->path, tb_config_known(), &err);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		hold(strstr(err.text, file->path) != NULL);
	}
	for (const tb_opt *row = rows; row->name != NULL; row++) {
		tb_auto(tb_buf_drop) tb_buf text = { 0 };
		tb_options_text(&options, row, &text);
		if (text.size > 0)
			hold(tb_options_set(&options, row->name, tb_buf_text(&text), TB_FROM_FLAG, &err) == TB_OK);
	}
	tb_options_drop(&options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_file file = fuzz_file_make(tb_span_of(data, size));
	read_for(&file, tb_broker_rows);
	read_for(&file, tb_collector_rows);
	read_for(&file, tb_sealer_rows);
	read_for(&file, tb_storer_rows);
	fuzz_file_close(&file);
	return 0;
}
