/* Publishing: what a trading process calls.
 *
 * A publisher puts events into its outbox, a memory-mapped ring file of its own, and never waits for the network: a
 * background thread carries them to the broker. Three promises can be waited for:
 *   accepted  when tb_publish returns: the event survives this process's crash
 *   durable   the broker has synced it: it survives a power cut of the broker's host
 *   stored    sealed and synced on the primary tier: it survives the loss of the broker's journal
 * Events have numbers 1, 2, 3 … in their stream, dense, never restarting. A number is final when it is durable.
 *
 * One publisher is for one thread at a time, except tb_publisher_figures and tb_publisher_wait, which any thread may call.
 * An outbox is open once: a second process is refused (TB_EBUSY). */
#ifndef TB_PUBLISH_H
#define TB_PUBLISH_H

#include "tb/errors.h"
#include "tb/events.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tb_publisher tb_publisher;

typedef struct tb_publisher_options {
	const char *stream;      /* the engine's name: letters, digits, '.', '_', '-' */
	const char *outbox;      /* path of the ring file; made when missing */
	uint64_t outbox_size;    /* bytes of a new one; 0: 65 MiB; a little more than twice the largest event */
	const char *events_url;  /* broker's addresses, e.g. ipc:///run/tb/events.ipc: where PUB frames go, … */
	const char *topics_url;  /* … where durable numbers come from, … */
	const char *request_url; /* … and where hello is said */
	const char *dir;         /* instead of the three urls: an instance's directory on this machine */
	const char *host_keys;   /* for tls+tcp:// urls: a copy of the directory that `tb keys host NAME` made for this host */
} tb_publisher_options;

typedef enum tb_promise { TB_ACCEPTED, TB_DURABLE, TB_STORED } tb_promise;

typedef struct tb_publisher_figures {
	uint64_t accepted, durable, stored; /* highest numbers; 0: none */
	uint64_t epoch;
	uint64_t begun; /* its first number: what was accepted before and not delivered begins there. 0: no answer yet */
	uint64_t outbox_used, outbox_size; /* bytes */
	int connected;                     /* the broker granted a window and is heard */
	uint64_t frames_sent, went_back;   /* frames given to the bus; times it had to go back for lost ones */
} tb_publisher_figures;

/* Opens the outbox and starts the background thread. Works while the broker is down: an outbox that has been used before
 * goes on at its next number. Where the broker has to say first how numbers go on (a new outbox, or the first opening
 * after the host's boot, or after one that it never answered) it is waited for two seconds; without its answer they go on
 * provisionally, in a new outbox from 1. When it answers that the stream has gone on elsewhere, whatever was accepted here
 * and not delivered takes the numbers behind that, once, in its order (tb_publisher_number).
 * TB_EBUSY: the outbox is open elsewhere. TB_ECORRUPT: it is damaged. TB_EUNSUPPORTED: it can't be decided what of it the
 * broker has got; nothing is sent, and the sentence says what to do. */
tb_rc tb_publisher_open(const tb_publisher_options *options, tb_publisher **ret_publisher, tb_err *err);

/* Stops the thread and closes the outbox; what isn't durable yet stays in it and goes out at the next opening. NULL is
 * fine. To lose no time then, wait for TB_DURABLE first. */
void tb_publisher_close(tb_publisher *publisher);

/* Accept one event. TB_EINVAL: it breaks a rule (the sentence says which). TB_EFULL: the outbox is full: nothing was
 * taken; the broker is away or too slow. TB_EFENCED: a newer process publishes this stream. After a lasting failure:
 * that one. ret_number may be NULL. */
tb_rc tb_publish(tb_publisher *publisher, const tb_event *event, uint64_t *ret_number, tb_err *err);

/* The common ones. Time is now. */
tb_rc tb_publish_put(tb_publisher *publisher, const void *key, size_t key_size, const void *value, size_t value_size,
                     uint64_t *ret_number, tb_err *err);
tb_rc tb_publish_delete(tb_publisher *publisher, const void *key, size_t key_size, uint64_t *ret_number, tb_err *err);

/* An event as its canonical bytes (proto/events.proto): checked, not changed. */
tb_rc tb_publish_canonical(tb_publisher *publisher, const void *canonical, size_t size, uint64_t *ret_number, tb_err *err);

/* Until that number (0: the last accepted) has the promise. TB_ETIMEOUT; TB_EINVAL: it was not accepted yet; TB_EFENCED or
 * another lasting failure of the publisher; TB_EINTERRUPTED: it is being closed. */
tb_rc tb_publisher_wait(tb_publisher *publisher, uint64_t number, tb_promise promise, uint64_t timeout_ns, tb_err *err);

/* The number that an event has now which was given `number` in this opening. It can have changed once, when the broker
 * answered for the first time; a number that was told as durable is final. */
uint64_t tb_publisher_number(tb_publisher *publisher, uint64_t number);

void tb_publisher_figures_get(tb_publisher *publisher, tb_publisher_figures *ret_figures);

#ifdef __cplusplus
}
#endif
#endif
