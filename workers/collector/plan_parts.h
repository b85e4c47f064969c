/* A plan, inside: plan.c runs it, dedup.c knows which of its chunks are stored already. */
#ifndef TB_WORKERS_PLAN_PARTS_H
#define TB_WORKERS_PLAN_PARTS_H

#include "workers/collector/collector.h"

#define WINDOW 4 /* chunks of a plan on their way to be sealed */

/* SEALING waits for sealers, and for the segments up to the plan's end to have their manifests; ASKING for the storer's
 * word that the objects of earlier backups, which the manifest will name too, are there. */
enum stage { READING, SEALING, ASKING, MADE };

struct chunk {
	int sealed;
	int reused; /* its object was brought by an earlier backup */
	uint8_t name[TB_OBJECT_NAME];
	uint64_t size_plain, size_stored;
	uint8_t content_hash[TB_HASH_SIZE];
	tb_buf first_key, last_key;
};

struct on_its_way {
	uint64_t index;
	uint64_t sent_ns;
	tb_held *frame; /* NULL: the place is free */
};

typedef struct tb_plan {
	char backup[TB_BACKUP_ID];
	uint8_t id[16];
	uint64_t order_id;
	enum stage stage;
	uint64_t replay_from, started_ns;
	tb_buf resume; /* the key that the next chunk begins with; empty: the first */
	struct chunk *chunks;
	size_t chunk_count, chunk_room, sealed_count, reused_count;
	struct on_its_way window[WINDOW];
	uint64_t to, time_to_ns, stamp_to_ns, keys;
	tb_sum sum;
	int again;   /* the broker restarted: send the window again */
	int present; /* the storer has said that all reused objects are there */
} tb_plan;

/* Begins a run of the order: what stream->plan is afterwards. */
tb_plan *plan_begin(tb_turn *turn, tb_stream *stream, const char *backup, uint64_t order_id);

/* dedup.c. The content hash of the plan's newest chunk; TB_OK: its object is known, and filled in. TB_ENOTFOUND, no
 * sentence: it has to be sealed. */
tb_rc dedup_find(tb_collector *collector, tb_turn *turn, tb_plan *plan, tb_span content, tb_err *err);
/* Remembers what was sealed for the plan. */
tb_rc dedup_learn(tb_collector *collector, tb_turn *turn, const tb_plan *plan, tb_err *err);
/* Asks the storer for what is reused. */
tb_rc dedup_ask(tb_turn *turn, tb_stream *stream, tb_err *err);

#endif
