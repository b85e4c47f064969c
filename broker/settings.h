/* What the broker's command line may say, in its own table and in tb.yaml's. */
#ifndef TB_BROKER_SETTINGS_H
#define TB_BROKER_SETTINGS_H

#include "run/config.h"

typedef struct tb_broker_settings {
	tb_broker_config config; /* first: its rows count from here */
	char *dir, *log_level;
	int help, version;
} tb_broker_settings;

#define TB_BROKER_USAGE "--dir DIR [OPTION…]"
#define TB_BROKER_SUMMARY "Takes what engines publish, makes it durable in its journal, and hands it to the workers."
extern const tb_opt tb_broker_own_rows[]; /* not those of config */

/* Both tables as one, to be freed. */
tb_opt *tb_broker_settings_rows(void);
void tb_broker_settings_help(const tb_opt *rows); /* on stdout */

#endif
