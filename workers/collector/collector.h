/* The collector: validates what engines published, keeps each stream's state, cuts segments, runs plans, and makes the
 * manifests.
 *
 *   collector.c  the worker: which frame goes where
 *   stream.c     a stream's record in the bank and in memory; grants
 *   apply.c      events into the state
 *   reset.c      replacements of the state
 *   segment.c    cuts and segments on their way to being stored
 *   chain.c      manifests and heads
 *   plan.c       backups
 *   dedup.c      chunks that are stored already
 *   index.c      hashes of events
 *   agree.c      does the bank go on from where the broker says that the stream stands?
 *   rebuild.c    when it doesn't: the stream's part of the bank is made anew from a tier (rebuild_lay.c)
 *
 * Bank: "streams" (CollectorStream by stream), "state:<stream>" and "beside:<stream>" (the state, and what an open
 * reset fills; the stream's record says which is which), "segments" (PendingSegment by stream, from), "heads" and
 * "moved" (bank chains, all of them and those that the open segment moved), "backups" (CollectorBackup by id), "chunks"
 * (dedup.c), "index" and "index_runs" (store/event_index.h), "links" (hashes of manifests, agree.c). In memory is only
 * what the bank says, and plans, which start anew when they are lost. */
#ifndef TB_WORKERS_COLLECTOR_H
#define TB_WORKERS_COLLECTOR_H

#include "banks.pb-c.h"
#include "frames.pb-c.h"
#include "run/config.h"
#include "run/worker.h"
#include "store/archive.h"
#include "store/chunker.h"
#include "store/event_index.h"
#include "store/instance.h"
#include "wire/event.h"

struct op; /* a delta that waits to be applied: apply.c */
struct moved;

typedef struct tb_stream {
	struct tb_stream *next;
	uint64_t id; /* hash of the name */
	char name[130];
	tb_db state;
	uint64_t generation; /* of its lease; 0: not held */
	int blocked;         /* it can't be taken by this bank; `why` says why */
	char why[200];

	uint64_t applied, effective_ns, stamp_ns;
	tb_sum sum;
	uint64_t keys;
	int swapped;                       /* which of the two databases is the state's */
	tb_db beside;                      /* what the open reset has so far; empty when none is open */
	uint64_t reset_begin, reset_epoch; /* the open one's first number (0: none is open) and epoch */
	tb_sum beside_sum;
	uint64_t beside_keys;
	uint64_t segment_from, segment_bytes, segment_time_from_ns, segment_stamp_from_ns;
	uint64_t *rejected;
	size_t rejected_count, rejected_room;
	uint64_t segment_due_ns; /* monotonic; 0: the segment is empty */
	uint64_t chain;
	uint8_t manifest_hash[TB_HASH_SIZE];
	uint64_t manifested, stored;
	int dirty; /* its record has to be written */
	/* Segments up to recut_to were cut by another bank: this one ends them where that one did. */
	uint64_t recut_to, recut_end; /* recut_end: of the open one; 0: not told yet */
	int rebuilding, clearing;     /* see proto/banks.proto */
	char rebuild_base[TB_BACKUP_ID];
	uint64_t rebuild_chunk;
	int suspect;                /* something came that doesn't fit what the bank says */
	struct tb_rebuild *rebuild; /* the bank's part is to be, or is being, made anew; nothing else is done; or NULL */

	struct op *ops; /* of this turn, hashed by key */
	size_t op_count, op_room;
	struct moved *moved; /* of this turn */
	size_t moved_count, moved_room;
	tb_event_index *index;
	tb_index_entry *hashes; /* of this turn's events */
	size_t hash_count, hash_room;
	struct tb_plan *plan; /* the one that runs, or NULL */
} tb_stream;

typedef struct tb_collector {
	tb_worker_env *env;
	const tb_collector_config *config;
	tb_key *key;
	uint8_t chunk_secret[32]; /* keys the content hashes of chunks; stays in the bank */
	tb_db streams_db, segments_db, heads_db, moved_db, backups_db, chunks_db, links_db;
	tb_stream *streams;
	tb_sealer *sealer; /* seals the private parts of manifests */
	int period_known;
	tb_period period;
	uint8_t period_record[TB_PERIOD_RECORD];
	tb_stream *rebuilding; /* the one that is being made anew; others wait */
	size_t chunk_bytes; /* of all plans' chunks that are on their way to be sealed */
} tb_collector;

/* stream.c */
tb_rc stream_load_all(tb_collector *collector, tb_txn *txn, tb_err *err);
tb_rc stream_granted(tb_collector *collector, tb_turn *turn, const Tb__Grant *grant, tb_err *err);
tb_stream *stream_find(tb_collector *collector, uint64_t id);
tb_rc stream_write(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err);
void stream_free_all(tb_collector *collector);
/* As of a stream that nobody has published to yet; only what is in memory. */
void stream_blank(tb_stream *stream);
/* Its lease is let go here; the broker grants it anew, and hands out again what is open. */
void stream_let_go(tb_collector *collector, tb_turn *turn, tb_stream *stream);

/* agree.c. What the broker says of the stream and what the bank says. */
typedef struct tb_agreement {
	int agrees;       /* the bank goes on from there */
	const char *why;  /* not: why */
} tb_agreement;
tb_rc agree_check(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Grant *grant,
                  tb_agreement *ret_agreement, tb_err *err);
/* The hash of the stream's newest manifest is remembered under its number; those before `chain` are forgotten. */
tb_rc agree_remember(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err);
tb_rc agree_forget(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t chain, tb_err *err);

/* rebuild.c. Wanted from this grant on. */
void rebuild_want(tb_collector *collector, tb_stream *stream, const Tb__Grant *grant, const char *why);
void rebuild_drop(tb_collector *collector, tb_stream *stream); /* what is in memory; none: fine */
/* A piece of it. ret_wait_ns: until the next one. */
tb_rc rebuild_step(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t *ret_wait_ns, tb_err *err);
/* What an operator is told, appended. 1: it can't go on by itself. */
int rebuild_tell(const tb_collector *collector, const tb_stream *stream, tb_buf *to);

/* apply.c: a frame of events; then flush at the end of the turn or before a cut. */
tb_rc apply_frame(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_frame *frame, tb_err *err);
tb_rc apply_flush(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err);
/* An archived event, from replay_from on; before that only its hash counts. Its bytes must stay until the flush.
 * TB_ECORRUPT: it isn't one that a collector would have applied. */
tb_rc apply_archived(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_archived_event *archived,
                     uint64_t replay_from, tb_err *err);
void apply_drop(tb_stream *stream);

/* reset.c: between begin and commit deltas go to the database beside, which the commit makes the state. A new begin, or
 * a frame that doesn't go on from the begin (wire/frame.h), discards what is open. */
tb_rc reset_see(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint16_t flags, uint64_t epoch, tb_err *err);
tb_rc reset_begin(tb_collector *collector, tb_turn *turn, tb_stream *stream, uint64_t number, uint64_t epoch,
                  tb_err *err);
tb_rc reset_commit(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err); /* one is open */

/* segment.c. Is the open segment one that another bank has cut? */
static inline int segment_is_recut(const tb_stream *stream)
{
	return stream->segment_from <= stream->recut_to;
}
/* Finds out where such a one ends, if that was told. */
tb_rc segment_learn_end(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err);
/* A segment that is manifested already waits to be told as stored. */
tb_rc segment_await(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Manifest *manifest, tb_err *err);
tb_rc segment_cut(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err); /* nothing open: TB_OK */
tb_rc segment_sealed(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Sealed *sealed, uint64_t id,
                     tb_err *err);
tb_rc segment_stored(tb_collector *collector, tb_turn *turn, tb_stream *stream, const tb_frame *frame,
                     const Tb__Stored *stored, uint64_t id, tb_err *err);

/* chain.c: signs the manifest as the next of its stream's chain and queues it for the storer. Fills in what every
 * manifest has (format, repository, chain, before, period, environment, sizes, private part). */
tb_rc chain_append(tb_collector *collector, tb_turn *turn, tb_stream *stream, Tb__Manifest *manifest,
                   const Tb__ManifestPrivate *private_part, const uint64_t *finished, size_t finished_count, tb_err *err);

/* apply.c: where a memory bank's chain stands, as a segment's manifest says. */
tb_rc apply_head(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__BankHead *head, tb_err *err);

/* plan.c */
tb_rc plan_ordered(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Order *order, uint64_t id,
                   tb_err *err);
tb_rc plan_sealed(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Sealed *sealed, uint64_t id,
                  tb_err *err);
tb_rc plan_stored(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Stored *stored, uint64_t id,
                  tb_err *err);
tb_rc plan_present(tb_collector *collector, tb_turn *turn, tb_stream *stream, const Tb__Present *answer, uint64_t id,
                   tb_err *err);
tb_rc plan_step(tb_collector *collector, tb_turn *turn, tb_stream *stream, int *ret_more, tb_err *err);
void plan_broker_restarted(tb_stream *stream);
void plan_drop(tb_collector *collector, tb_stream *stream);
/* A backup whose manifest is stored already. */
tb_rc plan_note_stored(tb_collector *collector, tb_turn *turn, tb_stream *stream, const char *id, uint64_t to,
                       tb_err *err);
/* Those that were made and not stored, as far as this bank knows: it was wrong. */
tb_rc plan_forget_unstored(tb_collector *collector, tb_turn *turn, tb_stream *stream, tb_err *err);

/* dedup.c: a chunk's content that was read back from its object. */
tb_rc dedup_note(tb_collector *collector, tb_turn *turn, const Tb__Manifest *full, const Tb__ObjectRef *object,
                 tb_span content, tb_err *err);

/* index.c: each event that is applied, or rejected; then step at the end of the turn. ret_more: it should come soon. */
void index_note(tb_stream *stream, const uint8_t backup_hash[TB_HASH], uint64_t number);
tb_rc index_step(tb_turn *turn, tb_stream *stream, int *ret_more, tb_err *err);
void index_drop(tb_stream *stream);

extern const tb_worker collector_worker;

/* Queue `frames` under the stream's lease, finishing the given frames. */
tb_rc collector_put(tb_turn *turn, tb_stream *stream, tb_span frames, const uint64_t *finished, size_t finished_count,
                    uint64_t finished_to, tb_err *err);
/* Append a frame of that kind around a packed message. */
void collector_frame(tb_buf *to, enum tb_kind kind, const tb_stream *stream, uint64_t first,
                     const ProtobufCMessage *message);
/* 16 bytes: stream, number, big-endian: keys of "segments". */
tb_span collector_key(uint8_t bytes[16], const tb_stream *stream, uint64_t number);

#endif
