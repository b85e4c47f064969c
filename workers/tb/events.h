/* Events on their way to a reader, for tb events and tb watch: from the broker (events_live.c), by their hash
 * (events_hash.c), and how they are shown (events_show.c). */
#ifndef WORKERS_TB_EVENTS_H
#define WORKERS_TB_EVENTS_H

#include "wire/event.h"
#include "workers/tb/tb.h"

/* The heads of a stream's memory banks, moved along from its first event. */
typedef struct tb_bank_heads {
	void *tree;
	size_t count;
} tb_bank_heads; /* { 0 } are none */

#define TB_BANK_HEADS_MAX 1000000u

typedef struct tb_event_view { /* what is shown, and how */
	const char *stream;
	uint32_t kinds;       /* bits 1 << kind; 0: all */
	const char *pair;     /* NULL: all */
	int json, canonical;
	int from_first;       /* the walk began at event 1: memory signatures are known */
	uint64_t limit;       /* 0: none */
	uint64_t shown;
	tb_bank_heads heads;
	tb_arena *arena;
	tb_buf text;
} tb_event_view;

/* A tb_archived_event_fn. TB_EFULL: the limit is reached (no sentence). */
tb_rc tb_event_show(void *view, const tb_archived_event *event, tb_err *err);
void tb_event_view_drop(tb_event_view *view);
/* "A->B" as it is stored, "A→B". */
void tb_pair_stored(const char *pair, tb_buf *to);

/* What the broker holds of a stream. */
typedef struct tb_live_stream {
	char name[130];
	uint64_t first_held, durable; /* first_held 0: it holds none */
} tb_live_stream;

/* All of them; free with free. */
tb_rc tb_live_streams(tb_bus *bus, tb_arena *arena, tb_live_stream **ret_streams, size_t *ret_count, tb_err *err);
/* Some events from *next on, which is moved behind the last one given; none when it is beyond what is durable. Resets
 * the arena. TB_ENOTFOUND: no such stream, or the journal doesn't hold that event any more. */
tb_rc tb_live_events(tb_bus *bus, tb_arena *arena, const char *stream, uint64_t *next, uint64_t to,
                     tb_archived_event_fn each, void *context, tb_err *err);

/* For a call whose options are those of tb events: gives the stream's events in their order, archived ones and then what
 * the broker holds. ret_live (also on failure): a broker answered. TB_ENOTFOUND: no such stream. */
tb_rc tb_events_read(const tb_call *call, tb_archived_event_fn each, void *context, int *ret_live, tb_err *err);
/* For such a call: the repository, and the broker; NULL: none of this instance answers. */
tb_rc tb_events_archive(const tb_call *call, tb_archive **ret_archive, tb_err *err);
tb_bus *tb_events_bus(const tb_call *call);
/* --hash: shows the events that have it. TB_ENOTFOUND: none. */
tb_rc tb_events_by_hash(const tb_call *call, tb_event_view *view, tb_err *err);

#endif
