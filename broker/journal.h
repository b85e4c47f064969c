/* The journal: the broker's append-only files of batches of frames.
 *
 * A file is named by the global offset of its first byte ("journal/<16 hex digits>.tbj"), preallocated and zeroed. An
 * offset is a place in the journal as a whole and means something only together with the journal's random id.
 *
 * File head, 64 bytes:
 *    0 8 bytes "TBJRNL\0\1"   8 16 bytes journal id   24 u64 offset of this file   32 u64 nominal file size
 *   40 16 zero bytes         56 u64 check over bytes 0..55
 * then batch records, each 8-aligned:
 *    0 u32 magic "TBB1"    4 u32 count of frames    8 u64 offset of this record   16 u64 body size
 *   24 u64 head check of the batch before (0 before the first of all)            32 u64 known synced
 *   40 u64 broker's stamp  48 u64 body check        56 u64 head check over bytes 0..55
 *   64 body: the frames, one behind the other; zeros up to the next multiple of 8
 * The first record of each file is one CHECKPOINT frame. A file is made under a temporary name, synced with its
 * checkpoint, renamed, and only then used, after everything in the file before it is synced: so in all but the last
 * file every batch is whole, or damaged.
 *
 * `known synced` is the offset up to which everything was synced when the record was written. Opening reads the last
 * file from its head. At the first record that is not whole it looks on: a whole record behind it (right offset, head
 * check) that knows more than this offset as synced means damage, and opening is refused (TB_ECORRUPT, with file and
 * offset). Otherwise that is a torn tail: it is cut, what follows is zeroed, everything after the last known-synced
 * offset is written again from memory and synced (pages that were read may never have reached the disk), and only then
 * open returns.
 *
 * Damage is also: a file shorter than its nominal size (it had that size before it got its name), a file without a
 * whole checkpoint, a file that ends before the next one begins, and whole records that don't follow one another.
 *
 * A failed write or sync stops the journal for good (TB_EIO or TB_ENOSPACE now, TB_EIO from then on). */
#ifndef TB_BROKER_JOURNAL_H
#define TB_BROKER_JOURNAL_H

#include "base/disk.h"
#include "wire/frame.h"

#define TB_JOURNAL_ID 16
#define TB_JOURNAL_BATCH_HEAD 64u
#define TB_JOURNAL_BATCH_MAX (256u * 1024 * 1024)

typedef struct tb_journal tb_journal;

typedef struct tb_journal_options {
	const char *dir;      /* made when missing */
	uint64_t file_size;   /* a file is full from here; its last batch may run over. 0: 64 MiB; at least 4096. */
	tb_disk *disk;
	uint8_t new_id[TB_JOURNAL_ID]; /* for a journal that has to be made */
} tb_journal_options;

/* Told of each frame of the last file, the checkpoint first, before open returns; nothing for a new journal. offset is
 * that of the frame's head, stamp the batch's. */
typedef struct tb_journal_replay {
	void *self;
	tb_rc (*frame)(void *self, uint64_t offset, const tb_frame *frame, uint64_t stamp_ns, tb_err *err);
} tb_journal_replay;

typedef struct tb_journal_opened {
	int made;              /* a new journal: nothing was there */
	uint64_t cut_at;       /* 0, or where a torn tail was cut */
	uint64_t cut_bytes;    /* bytes that were not zero behind it */
	uint64_t rewritten;    /* bytes written again and synced */
} tb_journal_opened;

/* TB_EBUSY: another process has it open (a lock on dir/lock). TB_ECORRUPT: damage, see above; what replay was told so
 * far is then worth nothing. TB_EUNSUPPORTED: a newer version's files. replay may be NULL. */
tb_rc tb_journal_open(const tb_journal_options *options, const tb_journal_replay *replay, tb_journal **ret_journal,
                      tb_journal_opened *ret_opened, tb_err *err);
void tb_journal_close(tb_journal *journal);

const uint8_t *tb_journal_id(const tb_journal *journal);

/* Append a batch of `count` frames, whole or not at all; on TB_OK it is on disk. ret_offset: of the first frame's head;
 * the others follow it one behind the other. Borrows frames. TB_EINVAL: not `count` whole frames, or more than
 * TB_JOURNAL_BATCH_MAX. TB_EREFUSED: no checkpoint yet. TB_ENOSPACE may also come from a full file that could not grow:
 * then nothing was written, and the journal has not stopped. */
tb_rc tb_journal_append(tb_journal *journal, tb_span frames, uint32_t count, uint64_t stamp_ns, uint64_t *ret_offset,
                        tb_err *err);
/* The offset that the first frame of the next batch will have. */
uint64_t tb_journal_next(const tb_journal *journal);

/* Time to rotate? Then make the next file, beginning with this frame (a whole CHECKPOINT frame) as its checkpoint. On
 * failure the journal goes on in the present file; TB_ENOSPACE may be tried again later. But when it can't be told
 * whether the new file's name is on disk, the journal stops, as after a failed sync. A new journal is due at once:
 * nothing can be appended before its first checkpoint. */
int tb_journal_due(const tb_journal *journal);
tb_rc tb_journal_rotate(tb_journal *journal, tb_span checkpoint_frame, uint64_t stamp_ns, tb_err *err);

/* Append the whole frame at offset, its checks verified, to `to`. TB_ENOTFOUND: that offset is no longer held.
 * TB_ECORRUPT: no frame begins there or it is damaged. */
tb_rc tb_journal_read(tb_journal *journal, uint64_t offset, tb_buf *to, tb_err *err);

/* Files, oldest first. */
size_t tb_journal_file_count(const tb_journal *journal);
uint64_t tb_journal_file_offset(const tb_journal *journal, size_t index);
/* Every frame of a file, its checkpoint first, and whether the next file goes on from it. One batch is held at a time.
 * The callback may read, append, rotate and drop. */
tb_rc tb_journal_scan(tb_journal *journal, size_t index, const tb_journal_replay *each, tb_err *err);
/* Only its checkpoint. */
tb_rc tb_journal_checkpoint(tb_journal *journal, size_t index, const tb_journal_replay *each, tb_err *err);

uint64_t tb_journal_bytes(const tb_journal *journal); /* on disk, all files */
/* Remove the files that lie wholly before offset; never the last one. */
tb_rc tb_journal_drop(tb_journal *journal, uint64_t offset, tb_err *err);

#endif
