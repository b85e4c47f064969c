#include "run/config.h"

#define BROKER(field) offsetof(tb_broker_config, field)
#define COLLECTOR(field) offsetof(tb_collector_config, field)

const tb_opt tb_broker_rows[] = {
	{ "journal.limit", 0, TB_OPT_SIZE, BROKER(journal_limit), "4GiB", "256MiB..64TiB", NULL,
	  "Room that the journal may take; beyond it nothing new is granted and engines keep events in their outboxes.", 0 },
	{ "journal.keep", 0, TB_OPT_SPAN, BROKER(journal_keep_ns), "1h", "0s..30d", NULL,
	  "How long a journal file stays after everything in it is stored, room permitting.", 0 },
	{ "journal.file-size", 0, TB_OPT_SIZE, BROKER(journal_file_size), "64MiB", "1MiB..4GiB", NULL,
	  "Size of one journal file.", 0 },
	{ "lease", 0, TB_OPT_SPAN, BROKER(lease_ns), "10s", "1s..10min", NULL,
	  "A worker silent for so long loses its leases.", 0 },
	{ "silence", 0, TB_OPT_SPAN, BROKER(silence_ns), "10s", "2s..10min", NULL,
	  "An engine silent for so long loses its window.", 0 },
	{ "window.frames", 0, TB_OPT_UINT, BROKER(window_frames), "64", "2..4096", NULL,
	  "Frames that an engine may have on their way; times publishers.max at most 8192.", 0 },
	{ "window.bytes", 0, TB_OPT_SIZE, BROKER(window_bytes), "4MiB", "128KiB..1GiB", NULL,
	  "Bytes that an engine may have on their way.", 0 },
	{ "publishers.max", 0, TB_OPT_UINT, BROKER(publishers_max), "128", "1..4096", NULL,
	  "Engines that may publish at the same time.", 0 },
	{ "streams.max", 0, TB_OPT_UINT, BROKER(streams_max), "1000", "1..2000", NULL,
	  "Streams that there may be: an engine of a new name is refused beyond it.", 0 },
	{ "listen.request", 0, TB_OPT_TEXT, BROKER(listen_request), NULL, NULL, "URL",
	  "A further address for requests, e.g. tls+tcp://0.0.0.0:7401, for workers and engines on other hosts.", 0 },
	{ "listen.events", 0, TB_OPT_TEXT, BROKER(listen_events), NULL, NULL, "URL",
	  "A further address for events.", 0 },
	{ "listen.topics", 0, TB_OPT_TEXT, BROKER(listen_topics), NULL, NULL, "URL",
	  "A further address for topics.", 0 },
	{ "listen.keys", 0, TB_OPT_TEXT, BROKER(listen_keys), NULL, NULL, "DIR",
	  "Key and certificate for tls+tcp addresses; default: keys/hosts/broker below the instance's directory.", 0 },
	{ "socket.group", 0, TB_OPT_TEXT, BROKER(socket_group), NULL, NULL, "GROUP",
	  "Members of this group, by name or number, may use the broker's sockets, e.g. engines under another user.", 0 },
	{ 0 },
};

const tb_opt tb_collector_rows[] = {
	{ "segment.size", 0, TB_OPT_SIZE, COLLECTOR(segment_size), "8MiB", "64KiB..32MiB", NULL,
	  "A segment is cut when its events take this much.", 0 },
	{ "segment.age", 0, TB_OPT_SPAN, COLLECTOR(segment_age_ns), "1s", "10ms..1h", NULL,
	  "A segment is cut this long after its first event: the most that a loss of the journal may cost.", 0 },
	{ "environment", 0, TB_OPT_TEXT, COLLECTOR(environment), "production", NULL, "NAME",
	  "Written into every backup.", 0 },
	{ "rebuild.identity", 0, TB_OPT_TEXT, COLLECTOR(rebuild_identity), NULL, NULL, "FILE",
	  "An identity, to rebuild a lost bank with; default: keys/identity.key below the instance's directory.", 0 },
	{ "rebuild.repository", 0, TB_OPT_TEXT, COLLECTOR(rebuild_repository), NULL, NULL, "PATH",
	  "The tier to rebuild a lost bank from; default: the instance's repository.", 0 },
	{ 0 },
};

const tb_opt tb_signal_rows[] = {
	{ "rebuild.identity", 0, TB_OPT_TEXT, offsetof(tb_signal_config, rebuild_identity), NULL, NULL, "FILE",
	  "An identity, to rebuild a lost bank with; default: keys/identity.key below the instance's directory.", 0 },
	{ "rebuild.repository", 0, TB_OPT_TEXT, offsetof(tb_signal_config, rebuild_repository), NULL, NULL, "PATH",
	  "The tier to rebuild a lost bank from; default: the instance's repository.", 0 },
	{ 0 },
};

const tb_opt tb_sealer_rows[] = {
	{ "seal.level", 0, TB_OPT_UINT, offsetof(tb_sealer_config, level), "1", "0..19", NULL,
	  "Level of zstd; 0 does not compress.", 0 },
	{ 0 },
};

const tb_opt tb_storer_rows[] = {
	{ "repository", 0, TB_OPT_TEXT, offsetof(tb_storer_config, repository), NULL, NULL, "PATH",
	  "The primary tier, a directory; default: repository below the instance's directory.", 0 },
	{ 0 },
};

const tb_opt *const *tb_config_known(void)
{
	static const tb_opt *const tables[] = { tb_broker_rows, tb_collector_rows, tb_sealer_rows, tb_storer_rows, NULL };
	return tables;
}

static void sample_row(tb_buf *to, const tb_opt *row)
{
	tb_buf_print(to, "# %s\n# %s: %s\n", row->help, row->name, row->fallback != NULL ? row->fallback : "");
}

void tb_config_sample(tb_buf *to)
{
	tb_buf_print(to, "# Tradebank: configuration of this instance. What stands here as a comment is the default.\n"
	                 "# A name with a dot may also be written as a map (journal:, then limit: below it).\n\n");
	for (const tb_opt *const *table = tb_config_known(); *table != NULL; table++)
		for (const tb_opt *row = *table; row->name != NULL; row++)
			sample_row(to, row);
}

tb_rc tb_config_repository(const char *dir, tb_buf *ret_path, tb_err *err)
{
	tb_storer_config config;
	tb_options options;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_buf_print(&path, "%s/tb.yaml", dir);
	tb_options_init(&options, tb_storer_rows, &config);
	tb_rc rc = tb_options_file(&options, tb_buf_text(&path), tb_config_known(), err);
	if (rc == TB_ENOTFOUND)
		rc = TB_OK;
	if (rc == TB_OK)
		rc = tb_options_env(&options, err);
	if (rc == TB_OK) {
		tb_buf_clear(ret_path);
		if (config.repository != NULL)
			tb_buf_print(ret_path, "%s", config.repository);
		else
			tb_buf_print(ret_path, "%s/repository", dir);
	}
	tb_options_drop(&options);
	return rc;
}
