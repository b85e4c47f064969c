/* The broker's core, without sockets: events and requests in, answers and topics out.
 *
 * A turn: events, requests and tick, in any order and number, then one tb_broker_commit, always. What has to be kept is
 * gathered into one batch; commit appends and syncs it, and only then tells anybody: durable numbers on topics, answers
 * to requests. As long as anything is gathered no request is answered, so no answer ever leans on what is not on disk;
 * a request that finds nothing gathered is answered in its own call. A take or fetch that finds nothing waits in the
 * broker until there is something or its time is over (tb_broker_tick).
 *
 * Rules: it accepts only the next number of a stream's present epoch and tells the publisher of anything else to go on
 * from the durable number; puts are done once by (group, input), cuts by number, manifests by chain number; a put under
 * an older generation is fenced; one order a stream at a time. A frame leased five times without result goes to the
 * rejects: a REJECT frame whose flags are the group's number and whose body is the whole frame.
 *
 * A frame of a leased stream or group is handed out once a generation, once more when the answer that bore it was lost
 * (the next request names an older turn), and once more after a restart of the broker: at least once. Finished is
 * finished once.
 *
 * When the journal is at its limit, or its disk is full, events are held up: hello grants a window of no frames, a
 * publisher that has one is told its numbers without progress, and is asked again when there is room. Puts that finish
 * something are taken as long as the present file has room for them.
 *
 * Topics: "durable/<stream>" bears TOLD frames, "health" the bodies of HEALTH frames, others what is announced. A stream
 * that the broker doesn't know has no name here: its publisher is told on "durable/#<hash, 16 hex digits>". */
#ifndef TB_BROKER_BROKER_H
#define TB_BROKER_BROKER_H

#include "base/clock.h"
#include "broker/journal.h"

typedef struct tb_broker tb_broker;

/* Zero means the default. */
typedef struct tb_broker_options {
	tb_journal_options journal;
	uint64_t journal_limit;   /* bytes; at least four files. Events are held up an eighth (two files) before. 4 GiB */
	uint64_t journal_keep_ns; /* finished files are kept so long, room permitting. 1 h */
	uint64_t lease_ns;        /* a member silent for so long loses its leases. 10 s */
	uint64_t silence_ns;      /* a publisher silent for so long loses its window. 10 s */
	uint32_t window_frames;   /* of each publisher: 64 */
	uint64_t window_bytes;    /* of each publisher: 4 MiB */
	uint32_t publishers_max;  /* 128: the sum of all windows stays below the receive buffer */
	uint32_t streams_max;     /* 1000: a hello for one more is refused */
	uint64_t volatile_max;    /* bytes of volatile frames held: 48 MiB */
	uint32_t waiting_max;     /* requests that may wait at once: 1024, holding 512 KiB each at most and 128 KiB on the
	                           * average; others are answered as if their time was over */
	const tb_clock *clock;
	uint8_t run_id[16];       /* random, of this life */
	tb_span period;           /* the instance's present period record, or empty; borrowed until open returns */
} tb_broker_options;

/* Where answers and topics go. Called from event, commit, request and tick; spans are borrowed. */
typedef struct tb_broker_out {
	void *self;
	void (*answer)(void *self, void *asker, tb_span answer);
	void (*topic)(void *self, tb_span topic, tb_span body); /* goes out as topic NUL body */
} tb_broker_out;

tb_rc tb_broker_open(const tb_broker_options *options, const tb_broker_out *out, tb_broker **ret_broker,
                     tb_journal_opened *ret_opened, tb_err *err);
/* Requests that still wait are not answered: their askers are gone with the sockets. */
void tb_broker_close(tb_broker *broker);

/* A message from the engines' socket: EVENTS or HEARTBEAT. Anything else is counted and dropped. */
void tb_broker_event(tb_broker *broker, tb_span message);
/* A request; asker is handed back with the answer, exactly once. */
void tb_broker_request(tb_broker *broker, void *asker, tb_span request);
/* End of a turn. A failure is final: the process must end (a failed sync is never retried). */
tb_rc tb_broker_commit(tb_broker *broker, tb_err *err);
/* Timers: waiting requests, leases, silent publishers, files to drop, a full journal. Returns the monotonic time at
 * which it wants to be called again. A commit follows it like everything else. */
uint64_t tb_broker_tick(tb_broker *broker);
/* Bytes gathered for the next batch, so that the caller knows when to stop draining. */
/* So many connections have been turned away so far, for status. */
void tb_broker_turned_away(tb_broker *broker, uint64_t count);
size_t tb_broker_gathered(const tb_broker *broker);

#endif
