/* The broker's core from inside: what its files share.
 *
 *   broker.c          opening, gathering, committing, timers
 *   broker_apply.c    what each journalled frame does to the state: the same on gathering and on replay
 *   broker_checkpoint.c  the state as a frame, and back
 *   broker_files.c    the journal's files: rotation, room, what may be dropped
 *   broker_streams.c  streams, and what their publishers are told
 *   broker_publish.c  events, heartbeats, hello
 *   broker_outboxes.c  what of an outbox has come, and under which numbers it goes on
 *   broker_ask.c      requests: reading, waiting, answering
 *   broker_put.c, broker_checks.c, broker_take.c, broker_fetch.c, broker_stat.c  the other verbs
 *   broker_leases.c   granting, lapsing, rejecting
 *   broker_index.c    where a stream's events are in the journal
 *   leases.c          groups, members, open frames
 *
 * A frame changes the state when it is gathered. Before the commit nobody is told anything of it; when the commit fails
 * the process ends. So between commits the state is what is on disk, and a checkpoint may be made of it. */
#ifndef TB_BROKER_STATE_H
#define TB_BROKER_STATE_H

#include "base/arena.h"
#include "broker/broker.h"
#include "broker/leases.h"
#include "control.pb-c.h"
#include "frames.pb-c.h"

#define TB_STREAMS_MAX 4096u
#define TB_STREAM_SLOTS 8192u
#define TB_EPOCHS_KEPT 32u
#define TB_OUTBOXES_KEPT 32u
#define TB_ORDER_MAX 128u
#define TB_NUMBER_MAX (UINT64_MAX / 4)
#define TB_ID 16
#define TB_SUM 32
#define TB_SIGNALS "tb.signals"

/* AGAIN, HELLO and LIMITED (numbers alone) are told at most every 50 ms since the last accepted frame. */
enum tb_tell { TB_TELL_NUMBERS = 1, TB_TELL_AGAIN = 2, TB_TELL_HELLO = 4, TB_TELL_LIMITED = 8 };

/* Why something that came was not taken. Up to TB_REFUSED_SENSELESS it can't have been meant; what follows also comes
 * from honest peers whose frames were lost or who were overtaken. Named in broker_stat.c. */
enum tb_refusal {
	TB_REFUSED_FRAME,     /* bytes that are no frame */
	TB_REFUSED_KIND,      /* a frame of a kind that isn't for there */
	TB_REFUSED_EVENTS,    /* a body that isn't what its head says */
	TB_REFUSED_SENSELESS, /* a request that makes no sense */
	TB_REFUSED_STREAM,    /* of a stream that nobody said hello for */
	TB_REFUSED_EPOCH,     /* of another epoch, or without a window */
	TB_REFUSED_NUMBER,    /* not the next number */
	TB_REFUSED_FENCED,    /* under a lease or an epoch that another has by now, or that nobody has */
	TB_REFUSED_HOST,      /* connections without a certificate that holds: they got nowhere */
	TB_REFUSED_REQUEST,   /* any other request that may not be granted, or not now */
	TB_REFUSALS
};

/* What came of an outbox: its event at `place` is number `first` of the stream, and so on up to `upto`; of the present
 * one up to the highest. Before that place is nothing that isn't in the stream. */
typedef struct tb_outbox_known {
	uint8_t id[TB_ID];
	uint64_t first, place, upto;
} tb_outbox_known;

typedef struct tb_stream {
	char *name;
	char *topic; /* "durable/<name>" */
	uint64_t hash;
	uint32_t index;
	/* journalled */
	uint64_t epoch;
	uint8_t outbox[TB_ID];
	uint64_t gathered; /* highest number in the batch or the journal */
	uint64_t durable;
	uint64_t durable_stamp_ns;
	uint64_t stored; /* finished by the collectors */
	uint64_t cut;
	uint64_t chain;
	uint8_t manifest_hash[TB_SUM];
	uint64_t generation;
	uint8_t member[TB_MEMBER_ID]; /* holder of its lease, when generation isn't 0 */
	struct { uint64_t epoch, first; } epochs[TB_EPOCHS_KEPT];
	uint32_t epoch_count;
	tb_outbox_known outboxes[TB_OUTBOXES_KEPT]; /* the present one last */
	uint32_t outbox_count;
	tb_opens open; /* for the group that leases streams */
	uint64_t order; /* offset of the open ORDER; 0: none */
	char last_order[TB_ORDER_MAX + 1];
	/* of its publisher; gone with the process */
	int window;
	uint64_t accepted;
	uint64_t heard_ns;
	uint64_t again_ns, hello_ns; /* when it was told so last; 0: not since the last accepted frame */
	int held_up; /* frames of it were dropped for want of room */
	unsigned tell; /* what it will be told at the commit */
	/* what the put that is being checked has done so far */
	uint64_t put, put_cut, put_chain, put_last;
	int put_order;
	/* what the take that is being answered says of it */
	uint64_t ask, ask_generation, ask_next;
	/* where the reading of its events stands */
	uint64_t read_next, read_offset;
} tb_stream;

typedef struct tb_asking tb_asking;

typedef struct tb_verb {
	enum tb_kind kind;
	const ProtobufCMessageDescriptor *request;
	size_t size_max; /* of the request without its frames: more is not even looked at */
	int bears_frames; /* else nothing may stand behind it: it would be held for as long as the request waits */
	/* On arrival: check, and gather what has to be kept. */
	tb_rc (*decide)(tb_broker *broker, tb_asking *ask, tb_span frames, tb_err *err);
	/* Before waiting ones are answered: what has become possible meanwhile. May be NULL. */
	void (*again)(tb_broker *broker, tb_asking *ask);
	/* Answer. 0: there is nothing yet, and it isn't final. */
	int (*tell)(tb_broker *broker, tb_asking *ask, int final);
} tb_verb;

struct tb_asking {
	void *asker;
	const tb_verb *verb;
	tb_arena *arena;
	const ProtobufCMessage *request;
	tb_err err; /* rc: how it went */
	uint64_t deadline_ns; /* waits until then */
	size_t size;          /* bytes that it holds, as asked and as read */
	uint64_t serial;
	tb_stream *stream;
	int repeated;   /* a put that was done before */
	int superseded; /* its member has asked anew */
	uint64_t epoch; /* that a hello was let in under */
};

/* What a file of the journal began with. */
typedef struct tb_mark {
	uint64_t offset;
	uint64_t stamp_ns;  /* of its checkpoint: nothing before it is newer */
	uint64_t *durable;  /* by index of the stream */
	size_t count;
} tb_mark;

typedef struct tb_index tb_index; /* of one file, see broker_index.c */
#define TB_INDEXES_KEPT 4

struct tb_broker {
	tb_broker_options options;
	tb_broker_out out;
	tb_journal *journal;
	uint64_t started_ns;

	tb_stream **streams;
	uint32_t stream_count;
	tb_stream *slots[TB_STREAM_SLOTS];
	tb_group_state groups[TB_GROUP_COUNT];
	uint64_t volatile_bytes, volatile_next;
	tb_buf period;
	uint8_t period_hash[TB_SUM];

	tb_buf batch;
	uint32_t batch_count;
	tb_err failure; /* a gathered frame that couldn't be applied */
	uint64_t stamp_ns; /* of the last batch */
	int changed; /* waiting requests may find something */

	tb_stream **tell;
	uint32_t tell_count;
	uint64_t unknown_ns[64]; /* when publishers of unknown streams were told last, by hash */
	tb_buf told;
	tb_buf topics; /* put out at the commit: u32 size of the topic, u32 of the body, both */
	uint32_t windows; /* granted */

	tb_asking **asks; /* waiting, oldest first */
	size_t ask_count, ask_capacity;
	size_t waiting_bytes; /* held by all of them */
	tb_asking **spare;
	size_t spare_count, spare_capacity;
	uint64_t serial;
	tb_buf answer, frames, leased;
	tb_arena *turn;

	tb_mark *marks; /* a file each, oldest first */
	size_t mark_count;
	uint64_t file_begun; /* the offset behind the present file's checkpoint */
	tb_err stuck; /* why there is no next file; rc TB_OK: there will be */
	int no_room;  /* for events */
	uint64_t upkeep_ns; /* when the timers run next */
	int files_due; /* to be looked at when nothing is gathered */
	uint64_t refused[TB_REFUSALS];

	tb_index *indexes[TB_INDEXES_KEPT];
	tb_index *index; /* of the present file */
	uint64_t index_used;
};

/* broker.c */
/* Into the batch, and into the state. bytes: the whole frame as it came, or empty to have it written. */
void tb_gather(tb_broker *broker, const tb_frame *frame, tb_span bytes);
void tb_gather_message(tb_broker *broker, enum tb_kind kind, const ProtobufCMessage *message);
/* Put out with the commit, or now when nothing is gathered. */
void tb_topic_later(tb_broker *broker, tb_span topic, tb_span body);
void tb_topics_flush(tb_broker *broker);
static inline uint64_t tb_broker_mono(const tb_broker *broker)
{
	return tb_mono_ns(broker->options.clock);
}

/* broker_apply.c */
tb_rc tb_apply(tb_broker *broker, const tb_frame *frame, uint64_t offset, tb_err *err);
/* One of a group's open frames, wherever it is. stream: for groups that lease streams; may be NULL. */
tb_opens *tb_group_opens(tb_group_state *group, tb_stream *stream);
tb_open *tb_volatile_find(tb_group_state *group, uint64_t id);
void tb_volatile_add(tb_broker *broker, const tb_frame *frame, tb_span bytes, uint64_t key);
void tb_volatile_remove(tb_broker *broker, tb_group_state *group, tb_open *open);
/* A message from a frame's body, in the turn's arena. TB_ECORRUPT. */
tb_rc tb_body_read(tb_arena *arena, const tb_frame *frame, const ProtobufCMessageDescriptor *descriptor,
                   ProtobufCMessage **ret_message, tb_err *err);

/* broker_checkpoint.c */
void tb_checkpoint_write(tb_broker *broker, tb_buf *to);
tb_rc tb_checkpoint_apply(tb_broker *broker, const Tb__Checkpoint *checkpoint, tb_err *err);
void tb_period_set(tb_broker *broker, tb_span period);

/* broker_files.c */
tb_rc tb_files_open(tb_broker *broker, tb_err *err);
void tb_files_close(tb_broker *broker);
tb_rc tb_files_rotate(tb_broker *broker, tb_err *err); /* when it is time and there is room */
void tb_files_drop(tb_broker *broker);
void tb_files_check_room(tb_broker *broker);
int tb_room_for_events(const tb_broker *broker, size_t size); /* in this batch */
tb_rc tb_room_for_put(const tb_broker *broker, size_t size, int makes_room, tb_err *err);
uint64_t tb_first_held(const tb_broker *broker, const tb_stream *stream);
/* The file whose events of the stream include number (≤ durable). */
size_t tb_file_of(const tb_broker *broker, const tb_stream *stream, uint64_t number);

/* broker_index.c */
void tb_index_add(tb_broker *broker, const tb_stream *stream, uint64_t first, uint64_t offset);
void tb_index_rotate(tb_broker *broker);
void tb_index_forget(tb_broker *broker, uint64_t below);
void tb_index_close(tb_broker *broker);
/* Append the EVENTS frame that holds number (first held ≤ number ≤ durable) to `to`. */
tb_rc tb_events_read(tb_broker *broker, tb_stream *stream, uint64_t number, tb_buf *to, tb_frame *ret_frame,
                     tb_err *err);

/* broker_streams.c */
tb_stream *tb_stream_find(const tb_broker *broker, uint64_t hash);
/* NULL when there is no such stream. */
tb_stream *tb_stream_named(const tb_broker *broker, const char *name);
/* May there be a stream of this name? TB_EREFUSED: its hash is another's. TB_EFULL. */
tb_rc tb_stream_possible(const tb_broker *broker, const char *name, tb_err *err);
tb_stream *tb_stream_add(tb_broker *broker, const char *name);
void tb_streams_close(tb_broker *broker);
void tb_stream_tell(tb_broker *broker, tb_stream *stream, unsigned what);
void tb_stream_tell_unknown(tb_broker *broker, uint64_t hash);
void tb_tell_flush(tb_broker *broker);
/* What was gathered of the streams is on disk. */
void tb_streams_settle(tb_broker *broker);
void tb_epoch_gather(tb_broker *broker, const char *name, uint64_t epoch, uint64_t first, const uint8_t *outbox,
                     uint64_t place);

/* broker_outboxes.c: what is known of the outboxes that a stream was published from */
void tb_outbox_note(tb_stream *stream, const uint8_t *id, uint64_t first, uint64_t place);
typedef struct tb_terms {
	uint64_t first, place;
	int renewed;
} tb_terms;
/* How the numbers of an outbox that opens go on. stream: NULL when there is none yet. TB_EUNSUPPORTED. */
tb_rc tb_terms_find(const tb_broker *broker, const tb_stream *stream, const Tb__HelloRequest *request,
                    tb_terms *ret_terms, tb_err *err);
/* The same epoch again: does it still hold what comes next? */
tb_rc tb_terms_again(const tb_stream *stream, const Tb__HelloRequest *request, tb_err *err);

/* broker_publish.c */
void tb_publishers_check(tb_broker *broker);
tb_rc tb_hello_decide(tb_broker *broker, tb_asking *ask, tb_span frames, tb_err *err);
int tb_hello_tell(tb_broker *broker, tb_asking *ask, int final);

/* broker_ask.c */
/* Append the answer and hand the asker back. reply's first field is its Status, which `status` fills. */
void tb_ask_answer(tb_broker *broker, tb_asking *ask, const ProtobufCMessage *reply, tb_span frames);
void tb_ask_status(const tb_asking *ask, Tb__Status *status);
tb_rc tb_ask_journal(const tb_broker *broker, ProtobufCBinaryData journal_id, tb_err *err);
/* Its group, its member noted as seen. */
tb_rc tb_ask_member(tb_broker *broker, uint32_t number, ProtobufCBinaryData id, tb_group_state **ret_group,
                    tb_member **ret_member, tb_err *err);
void tb_ask_wait(tb_broker *broker, tb_asking *ask, uint64_t wait_ns);
/* Those that wait: let them decide again; answer those that find something, all whose time is over. */
void tb_asks_again(tb_broker *broker);
void tb_asks_serve(tb_broker *broker);
uint64_t tb_asks_deadline(const tb_broker *broker);
void tb_asks_give_back(tb_broker *broker); /* memory of many that waited once */
void tb_asks_close(tb_broker *broker);

static inline ProtobufCBinaryData tb_binary(const void *data, size_t size)
{
	return (ProtobufCBinaryData){ size, (uint8_t *)(uintptr_t)data };
}
static inline ProtobufCBinaryData tb_journal_name(const tb_broker *broker)
{
	return tb_binary(tb_journal_id(broker->journal), TB_JOURNAL_ID);
}
static inline ProtobufCBinaryData tb_run_name(const tb_broker *broker)
{
	return tb_binary(broker->options.run_id, TB_ID);
}

/* broker_put.c */
tb_rc tb_put_decide(tb_broker *broker, tb_asking *ask, tb_span frames, tb_err *err);
int tb_put_tell(tb_broker *broker, tb_asking *ask, int final);

/* broker_checks.c: may this frame of a put be kept, was it kept before, and how is it kept? */
typedef struct tb_put {
	const Tb__PutRequest *request;
	tb_group_state *group;
	tb_member *member; /* NULL: a client without an id */
	tb_stream *stream; /* under whose lease; NULL */
	tb_arena *arena;
	uint64_t serial;
} tb_put;
typedef struct tb_verdict {
	int keep;     /* 0: it was kept before */
	uint64_t key; /* of a chunk */
} tb_verdict;
typedef struct tb_check {
	enum tb_kind kind;
	unsigned groups; /* who may put it: bits */
	int leased;      /* only under the lease */
	size_t size_max; /* of its body */
	/* May fill the frame's head in. ret_verdict says keep when it comes. */
	tb_rc (*check)(tb_broker *broker, const tb_put *put, tb_frame *frame, tb_verdict *ret_verdict, tb_err *err);
	void (*keep)(tb_broker *broker, const tb_put *put, const tb_frame *frame, tb_span bytes, const tb_verdict *verdict);
} tb_check;
const tb_check *tb_check_find(unsigned kind);

/* broker_leases.c */
#define TB_ATTEMPTS_MAX 5u
/* Notes at the streams what the take says of them, under a new serial of its own. */
void tb_lease_note_held(tb_broker *broker, tb_asking *ask);
/* first: on arrival, when what the member doesn't know of its leases shows that it started anew. */
void tb_lease_grant(tb_broker *broker, tb_asking *ask, int first);
/* What answers after this turn bore was never received. */
void tb_lease_release_lost(tb_broker *broker, tb_group_state *group, tb_member *member, uint64_t turn);
void tb_leases_reject(tb_broker *broker, unsigned group);
/* A segment's events are nowhere else: it is tried for ever, behind everything else, and status says so. */
static inline int tb_stays_open(const tb_open *open)
{
	return open->kind == TB_KIND_CUT;
}
void tb_leases_check(tb_broker *broker);
static inline int tb_stream_held_by(const tb_stream *stream, const uint8_t *member)
{
	return stream->generation != 0 && tb_member_same(stream->member, member);
}

/* broker_take.c */
tb_rc tb_take_decide(tb_broker *broker, tb_asking *ask, tb_span frames, tb_err *err);
void tb_take_again(tb_broker *broker, tb_asking *ask);
int tb_take_tell(tb_broker *broker, tb_asking *ask, int final);

/* broker_fetch.c */
tb_rc tb_fetch_decide(tb_broker *broker, tb_asking *ask, tb_span frames, tb_err *err);
int tb_fetch_tell(tb_broker *broker, tb_asking *ask, int final);

/* broker_stat.c */
tb_rc tb_stat_decide(tb_broker *broker, tb_asking *ask, tb_span frames, tb_err *err);
int tb_stat_tell(tb_broker *broker, tb_asking *ask, int final);

#endif
