/* Restoring, inside: what is read (restore_plan.c), the state while it is built (restore_state.c), and where it goes
 * (restore_sink.c). For the restore files of this room only; callers use tb/restore.h.
 *
 * The state at event N is the chunks of a FULL backup, then the events of its replay_from..N in order; or, without one,
 * the events of 1..N. The chunks were read while deltas were being applied: what stands between replay_from and the
 * backup's own event lays them right, and only from that event on does the state mean anything. A reset that was open
 * when the backup began lies behind replay_from as a whole. */
#ifndef TB_STORE_RESTORE_H
#define TB_STORE_RESTORE_H

#include "store/archive.h"
#include "store/bank.h"
#include "store/chunker.h"
#include "tb/restore.h"

/* What is kept of a segment's manifest: a stream may have very many. */
typedef struct tb_segment_row {
	char id[TB_BACKUP_ID];
	uint64_t from, to, chain, time_from_ns, time_to_ns;
	uint8_t hash[TB_HASH_SIZE], before[TB_HASH_SIZE];
	uint8_t object[TB_OBJECT_NAME];
	uint64_t size_stored, size_plain;
	uint64_t *rejected; /* in the plan's arena */
	size_t rejected_count;
	int has_sum;
	tb_sum sum; /* at `to` */
} tb_segment_row;

typedef struct tb_restore_plan {
	tb_archive *archive;
	const char *stream;
	tb_archive_entry *entries;
	size_t entry_count;
	int has_head, has_remembered;
	tb_head head, remembered;
	uint64_t stored_last; /* highest number that a manifest's name tells of */
	uint64_t event;       /* the one to restore to */
	const tb_archive_entry *only; /* the backup that was asked for; NULL: whichever leads there */

	/* One way there: */
	const tb_archive_entry *base; /* NULL: from the first event */
	Tb__Manifest *full;           /* its manifest, in the arena */
	Tb__ManifestPrivate *full_private;
	uint8_t full_hash[TB_HASH_SIZE];
	uint64_t replay_from;
	tb_segment_row *rows;
	size_t row_count, row_capacity;
	uint64_t bytes_all, objects;
	tb_arena *arena;
	uint64_t broken_to; /* after a failure: the last number of the segment that failed; 0: it was the backup itself */
} tb_restore_plan;

/* Looks at what there is and decides the event. plan is dropped by the caller also when this fails. */
tb_rc tb_plan_open(tb_restore_plan *plan, tb_archive *archive, const tb_restore_options *options, tb_err *err);
/* The way from one backup (NULL: from the first event): reads its manifest and those of the segments up to the event,
 * and checks that they fit together. TB_ECORRUPT with broken_to when they don't. */
tb_rc tb_plan_way(tb_restore_plan *plan, const tb_archive_entry *base, tb_err *err);
void tb_plan_drop(tb_restore_plan *plan);
/* Reads a manifest; one that is gone or not signed by this instance's signer is TB_ECORRUPT here. */
tb_rc tb_plan_manifest(tb_restore_plan *plan, const tb_archive_entry *entry, tb_arena *arena,
                       Tb__Manifest **ret_manifest,
                       uint8_t ret_hash[TB_HASH_SIZE], tb_err *err);
/* As much of a manifest as reading the segment's events needs; borrows from row. */
Tb__Manifest tb_row_manifest(const tb_restore_plan *plan, const tb_segment_row *row);

/* The highest number whose effective time isn't later. TB_ENOTFOUND: the first event is later. */
tb_rc tb_plan_event_at(tb_restore_plan *plan, uint64_t time_ns, uint64_t *ret_event, tb_err *err);

typedef struct tb_state_op tb_state_op;
typedef struct tb_entries {
	tb_bank *bank; /* database "state": key to value; NULL: not made yet */
	tb_db db;
	tb_sum sum;
	uint64_t keys;
} tb_entries;

typedef struct tb_state {
	char *path;
	tb_entries present;
	tb_entries beside; /* what an open reset has so far; empty when none is open */
	int swapped;       /* present is the bank in path/beside, beside the one in path */
	int reset_open;
	uint64_t reset_epoch;
	tb_state_op *ops; /* deltas not applied yet, all to the same entries: of each key only the last one counts */
	size_t op_count;
	size_t event_count; /* in the arena since the last flush */
	tb_arena *arena;
} tb_state;

tb_rc tb_state_open(tb_state *state, const char *path, tb_err *err); /* path: a directory of its own */
void tb_state_close(tb_state *state); /* NULL and { 0 } are fine; the directory stays, with the bank in it */
tb_rc tb_state_reset(tb_state *state, tb_err *err); /* empty again */
/* Lays a chunk's entries behind what is there. last_key: of the chunk before, replaced. Bytes that aren't a chunk, or
 * bounds (NULL: unknown) that aren't its own: TB_ECORRUPT. */
tb_rc tb_state_chunk(tb_state *state, tb_span plain, const Tb__ChunkPrivate *bounds, tb_buf *last_key, tb_err *err);
/* Takes an event's deltas, or what it says about a reset; its bytes must stay until the next flush. Other kinds change
 * nothing, nor do rejected ones, except that any event may discard an open reset (tb_events_discard). */
tb_rc tb_state_event(tb_state *state, const tb_archived_event *event, tb_err *err);
tb_rc tb_state_flush(tb_state *state, tb_err *err);
/* Puts the present state into the bank in path, if it isn't there, and empties what is beside it. */
tb_rc tb_state_settle(tb_state *state, tb_err *err);

typedef enum tb_sink_kind { TB_SINK_NULL, TB_SINK_JSON, TB_SINK_LMDB } tb_sink_kind;

typedef struct tb_sink {
	tb_sink_kind kind;
	const char *path; /* borrowed; NULL: none, or stdout */
	int force;
	char *scratch; /* directory in which the state is built */
	const tb_restore_options *options; /* who is told each entry, too, and who may stop it */
} tb_sink;

/* Fails with TB_EINTERRUPTED when whoever called it wants it to stop. */
tb_rc tb_restore_go_on(const tb_restore_options *options, tb_err *err);

/* TB_EINVAL: no such scheme. TB_EUNSUPPORTED: not in this version. */
tb_rc tb_sink_parse(tb_sink *sink, const char *target, int force, tb_err *err);
/* TB_EBUSY: the target exists. Makes the scratch directory. */
tb_rc tb_sink_open(tb_sink *sink, const char *scratch, tb_err *err);
/* Walks the whole state in key order: digest, keys and bytes of restored are set, and the target is written if the sink
 * is of entries. */
tb_rc tb_sink_write(tb_sink *sink, tb_state *state, tb_restored *restored, tb_err *err);
/* Once the state is closed: what is left to do for the target to stand. */
tb_rc tb_sink_finish(tb_sink *sink, tb_err *err);
void tb_sink_close(tb_sink *sink); /* removes the scratch directory */
/* For a sink that is the bank itself: writes who and when it is into it, and syncs it. */
tb_rc tb_sink_label(tb_sink *sink, tb_state *state, const char *stream, const tb_restored *restored, tb_err *err);

#endif
