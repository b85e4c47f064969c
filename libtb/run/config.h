/* What tb.yaml may say: a table for each program, all in one place, so that every program knows every name. */
#ifndef TB_RUN_CONFIG_H
#define TB_RUN_CONFIG_H

#include "run/options.h"

typedef struct tb_broker_config {
	uint64_t journal_limit, journal_keep_ns, journal_file_size;
	uint64_t lease_ns, silence_ns;
	uint64_t window_frames, window_bytes, publishers_max, streams_max;
	char *listen_request, *listen_events, *listen_topics; /* beside the sockets below DIR/run; may be NULL */
	char *listen_keys;  /* of tls+tcp:// addresses; NULL: DIR/keys/hosts/broker */
	char *socket_group; /* NULL: the sockets are the owner's alone */
} tb_broker_config;

typedef struct tb_collector_config {
	uint64_t segment_size;
	uint64_t segment_age_ns;
	char *environment;
	char *rebuild_identity;   /* NULL: DIR/keys/identity.key */
	char *rebuild_repository; /* NULL: the instance's */
} tb_collector_config;

typedef struct tb_sealer_config {
	uint64_t level;
} tb_sealer_config;

typedef struct tb_storer_config {
	char *repository; /* NULL: DIR/repository */
} tb_storer_config;

typedef struct tb_signal_config {
	char *rebuild_identity, *rebuild_repository; /* as the collector's */
} tb_signal_config;

extern const tb_opt tb_signal_rows[]; /* names of the collector's, too */
extern const tb_opt tb_broker_rows[], tb_collector_rows[], tb_sealer_rows[], tb_storer_rows[];

/* All tables, NULL at the end. */
const tb_opt *const *tb_config_known(void);

/* What `tb init` writes: every option with its default, commented out, and its sentence. */
void tb_config_sample(tb_buf *to);

/* The repository of an instance: what its tb.yaml and environment say, or DIR/repository. */
tb_rc tb_config_repository(const char *dir, tb_buf *ret_path, tb_err *err);

#endif
