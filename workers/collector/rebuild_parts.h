/* Rebuilding, inside: rebuild.c decides and goes step by step, rebuild_lay.c lays what was read into the bank. */
#ifndef TB_WORKERS_REBUILD_PARTS_H
#define TB_WORKERS_REBUILD_PARTS_H

#include "workers/collector/collector.h"

typedef struct tb_rebuild {
	/* What the broker said when the stream was granted. */
	uint64_t finished, chain;
	uint8_t manifest_hash[TB_HASH_SIZE];

	char why[400];     /* why it is needed, and then why it doesn't go on; empty: it goes on */
	int stuck;         /* it can't by itself */
	uint64_t retry_ns; /* monotonic */
	tb_archive *archive; /* NULL: not open, or there is nothing to read */
	int open;
	tb_archive_entry *entries;
	size_t entry_count, next;
	uint64_t target; /* the last segment's last number */
	size_t base_below; /* bases from this entry on were damaged */
	const tb_archive_entry *base; /* NULL: from the first event */
	Tb__Manifest *full;
	tb_arena *arena, *entry_arena; /* full lives in the one, what is read for an entry in the other */
	uint64_t before_chain; /* of the manifest read last; 0: none */
	uint8_t before_hash[TB_HASH_SIZE];
} tb_rebuild;

/* What stands in the repository of an entry. */
typedef struct tb_read_entry {
	Tb__Manifest *manifest;
	Tb__ManifestPrivate *private_part;
	uint8_t hash[TB_HASH_SIZE];
	tb_buf plain; /* of a segment */
} tb_read_entry;

/* Within the turn's transaction. TB_ECORRUPT: it can't be what the lost bank held; what was laid so far has to go. Any
 * other failure is the bank's. */
tb_rc lay_chunk(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__ObjectRef *object, tb_span plain,
                tb_err *err);
tb_rc lay_segment(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_read_entry *segment, tb_err *err);

#endif
