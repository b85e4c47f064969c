#include "broker/settings.h"

#include <stdio.h>

#define AT(field) offsetof(tb_broker_settings, field)

const tb_opt tb_broker_own_rows[] = {
	{ "dir", 'd', TB_OPT_TEXT, AT(dir), NULL, NULL, "DIR",
	  "The instance's directory: configuration, journal, sockets.", 1 },
	{ "log-level", 0, TB_OPT_TEXT, AT(log_level), "info", "debug|info|warn|error", "LEVEL",
	  "The least important entries that are written to stderr.", 1 },
	{ "help", 'h', TB_OPT_FLAG, AT(help), NULL, NULL, NULL, "This text.", 1 },
	{ "version", 'V', TB_OPT_FLAG, AT(version), NULL, NULL, NULL, "The version.", 1 },
	{ 0 },
};

static size_t rows_count(const tb_opt *rows)
{
	size_t count = 0;
	while (rows[count].name != NULL)
		count++;
	return count;
}

tb_opt *tb_broker_settings_rows(void)
{
	size_t own = rows_count(tb_broker_own_rows), more = rows_count(tb_broker_rows);
	tb_opt *rows = tb_alloc_zero(own + more + 1, sizeof(*rows));
	memcpy(rows, tb_broker_own_rows, own * sizeof(*rows));
	memcpy(rows + own, tb_broker_rows, more * sizeof(*rows));
	return rows;
}

void tb_broker_settings_help(const tb_opt *rows)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_buf_print(&text, "usage: tb-broker " TB_BROKER_USAGE "\n\n" TB_BROKER_SUMMARY "\n\n");
	tb_options_help(rows, &text);
	tb_buf_print(&text, "\nexample: tb-broker --dir /var/lib/tradebank\n");
	fputs(tb_buf_text(&text), stdout);
}
