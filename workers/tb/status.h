/* What `tb status` knows before it prints: gathered by status.c, judged by it, printed by status_print.c. */
#ifndef WORKERS_TB_STATUS_H
#define WORKERS_TB_STATUS_H

#include "workers/tb/tb.h"

#define STATUS_TYPES 8

typedef struct status_process {
	char role[24], state[16], detail[240];
	uint64_t pid, handled;
	uint64_t age_ns; /* of its heartbeat */
} status_process;

typedef struct status_backup { /* the newest of a type */
	const tb_backup_type *type;
	char id[TB_BACKUP_ID];
	uint64_t event;
	uint64_t made_ns; /* as its id says; 0: it doesn't */
} status_backup;

typedef struct status_stream {
	char name[130];
	int live; /* the broker knows it; else numbers are those of the archive */
	int connected;
	int applied_known;
	uint64_t epoch, accepted, durable, applied, stored;
	uint64_t window_ns; /* age of the oldest event that is durable and not stored; 0: none */
	char backup_running[TB_BACKUP_ID];
	uint64_t restorable_to; /* from event 1; 0: nothing */
	uint64_t restorable_ns; /* effective time of that event */
	status_backup backups[STATUS_TYPES];
	size_t backup_count;
} status_stream;

typedef struct status {
	const char *dir;
	int reachable; /* the broker answers */
	tb_err away;   /* else: why not */
	int up_pid;    /* of `tb up`; 0: it doesn't run */
	uint64_t real_ns; /* now */
	uint64_t now_ns;  /* now by the broker's clock, while it answers */
	status_process *processes;
	size_t process_count;
	status_stream *streams;
	size_t stream_count;
	uint64_t journal_bytes, journal_limit; /* while the broker answers */
	tb_buf repository;
	uint64_t room_free, room_all; /* of the repository's disk; 0: unknown */
	int same_disk;                /* as the journal's */
	int identity_beside, kit_beside; /* an identity, a recovery kit lies in keys/ */
	json_t *refused;              /* how often something wasn't taken, by cause, since the broker started */
	json_t *degraded, *warnings;  /* texts */
} status;

void status_degraded(status *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
void status_warning(status *self, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* From an answer of the broker. */
void status_take_reply(status *self, const Tb__StatReply *reply);
/* What is wrong with what was gathered, in sentences. */
void status_judge(status *self);
status_stream *status_stream_of(status *self, const char *name); /* adds it when it is new */
void status_drop(status *self);

void status_print(const status *self);
json_t *status_json(const status *self);

#endif
