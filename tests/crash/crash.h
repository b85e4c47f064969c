/* The crash explorer: every state that a power cut could leave of a whole instance, opened.
 *
 *   tb-crash --seeds A..B [--steps N] [--states N] [--deep N]
 *   tb-crash-planted --planted K …      the same with bug K of libtb/base/planted.h built in and awake
 *
 * A run is a seed of the simulator (tests/sim/sim.h) without its faults: an instance is made, engines publish, workers cut,
 * seal and store, backups are ordered, all in one process. Its banks are synced, its disk is the system's. record.c
 * stands before libc's calls and writes down what each of them did below the instance's directory: creations, writes,
 * sizes, syncs, renames, removals, directories and their syncs; also what was stored in mapped files, as it is at each
 * next call. LMDB's calls pass there as the product's own do. Beside each operation stands what had been promised when it
 * was called: which events were told as durable, which as stored, which orders were taken, whether the instance was made.
 *
 * The model (state.c). A cut comes between two operations. Of a file there is then
 *   - what was synced: all of it, with fsync and fdatasync alike; with a file that was opened O_DSYNC the pages of a write;
 *   - of what wasn't, for each page of 4096 bytes any of the versions that it had since, the synced one among them, or
 *     such a version for each of its sectors of 512 bytes (a torn page); independent of other pages and of order;
 *   - any of the sizes that it had since. What lies below the size and was never written reads as zeros.
 * Of names there is what a sync of their directory made sure of, and
 *   - in one half of the states a prefix of the other creations, renames and removals, which includes all that came before
 *     the last sync of anything: what ext4 and XFS do, whose journals keep order;
 *   - in the other half any part of them, but nothing without what came before it of the same name: what POSIX allows.
 * A rename is there or it isn't; whatever lies below a directory that isn't there is gone. A mapped file is never synced:
 * any of the last eight versions of each page seen.
 *
 * For each cut the states are: all written; nothing unsynced; then a seeded choice, each with its own share of pages lost,
 * some of them torn. States that are equal byte for byte are counted once.
 *
 * Each state is laid out where the run was, and opened by the real code without any help (check.c): keys, repository,
 * journal and broker, all banks and their workers, outboxes as after another boot. It holds when
 *   - all of it opens;
 *   - the broker knows each stream as far as was told, durable and stored, and not beyond what was accepted;
 *   - archive and journal together have each durable event, byte for byte, and none that wasn't published; outboxes hold
 *     nothing but accepted events;
 *   - verify finds nothing;
 *   - and in a part of the states (--deep N: one of N): broker and workers run until they rest; then all durable events are
 *     stored, once and in order, every byte is verified, restores to any event give the state that the events make, and
 *     each order that was taken has its one READY record.
 * The time that opening takes is measured as the processor's. */
#ifndef TB_TESTS_CRASH_H
#define TB_TESTS_CRASH_H

#include "sim/sim.h"

#define CRASH_PAGE 4096u
#define CRASH_SECTOR 512u

enum crash_kind {
	CRASH_CREATE,     /* path, file */
	CRASH_WRITE,      /* file, offset, bytes */
	CRASH_SIZE,       /* file, offset: its size from now on */
	CRASH_SYNC,       /* file */
	CRASH_SYNC_PAGES, /* file, offset, size */
	CRASH_RENAME,     /* path, to */
	CRASH_UNLINK,     /* path */
	CRASH_MKDIR,      /* path */
	CRASH_RMDIR,      /* path */
	CRASH_SYNC_DIR,   /* path */
};

/* What had been promised to anybody. */
struct crash_told {
	uint64_t accepted[SIM_ENGINES], durable[SIM_ENGINES], stored[SIM_ENGINES];
	uint64_t given;   /* a bit for each order: taken */
	int made;         /* `tb init` had said so */
};

struct crash_op {
	enum crash_kind kind;
	uint32_t file;
	uint64_t offset, size;
	uint8_t *bytes;
	char *path, *to; /* below the instance's directory; "" is that itself */
	int mapped;      /* a write that came by a mapping: nobody syncs it */
	struct crash_told told; /* before it was called */
};

struct crash_log {
	struct crash_op *ops;
	size_t count, room;
	uint32_t file_count;
};

/* record.c. Everything below root from now on; root itself is taken to be there. told: asked at each operation. */
void crash_record_begin(struct crash_log *log, const char *root, void (*told)(struct crash_told *ret_told));
void crash_record_end(void);
void crash_log_drop(struct crash_log *log);

/* state.c */
struct crash_disk; /* what a disk may hold after the operations that it was told of */
struct crash_disk *crash_disk_new(const struct crash_log *log);
void crash_disk_free(struct crash_disk *disk);
void crash_disk_apply(struct crash_disk *disk, const struct crash_op *op);

/* One state. chance: 0: all written; 1: nothing unsynced; others: a seed. */
struct crash_state;
struct crash_state *crash_state_new(const struct crash_disk *disk, uint64_t chance);
void crash_state_free(struct crash_state *state);
uint64_t crash_state_hash(const struct crash_state *state);
/* Under root, from which everything else is gone then. 0: it can't be. */
int crash_state_lay(const struct crash_state *state, const char *root);
/* For who looks for the reason of a failure. */
void crash_state_print(const struct crash_state *state);

/* check.c: 0 when it doesn't hold; then sim.why says so. */
struct crash_times {
	uint64_t broker_ns, bank_ns, outbox_ns, repository_ns; /* the longest opening of each */
	uint64_t all_ns; /* the longest of all together */
};
int crash_check(const struct crash_told *told, int deep, struct crash_times *times);

#endif
