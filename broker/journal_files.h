/* The journal from inside: what its four files share. journal.c writes, journal_open.c opens and cuts, journal_walk.c
 * knows the bytes of a file and walks them, journal_read.c reads the files of an open journal. */
#ifndef TB_BROKER_JOURNAL_FILES_H
#define TB_BROKER_JOURNAL_FILES_H

#include "broker/journal.h"

#define TB_JOURNAL_FILE_HEAD 64u
#define TB_JOURNAL_TEMPORARY ".tmp"

typedef struct tb_journal_file {
	uint64_t offset;
	uint64_t size; /* allocated on disk; at least the nominal size */
} tb_journal_file;

struct tb_journal {
	tb_disk *disk;
	char *dir;
	int lock;
	uint8_t id[TB_JOURNAL_ID];
	uint64_t file_size; /* nominal, of files to be made */

	tb_journal_file *files; /* oldest first; none in a new journal */
	size_t file_count;
	tb_file *last;    /* the newest one, to write and read; NULL in a new journal */
	uint64_t begun;   /* end of its checkpoint */
	uint64_t full_at; /* it is full from here */
	uint64_t tail;    /* the offset of the next record: all before is synced, all behind reads as zeros */
	uint64_t zeroed;  /* zeros were written up to here, and not only allocated */
	uint64_t check;   /* head check of the last record */

	tb_file *reader; /* the older file that was read last */
	uint64_t reader_offset;
	tb_buf scratch;
	tb_err stopped; /* why it stopped; rc is TB_OK as long as it hasn't */
};

typedef struct tb_journal_record {
	uint32_t count;
	uint64_t offset;
	uint64_t body_size;
	uint64_t before; /* head check of the record before */
	uint64_t synced;
	uint64_t stamp_ns;
	uint64_t body_check;
	uint64_t check;
} tb_journal_record;

/* "<dir>/<offset>.tbj<suffix>" */
const char *tb_journal_path(tb_buf *path, const char *dir, uint64_t offset, const char *suffix);
/* TB_ECORRUPT, with file, offset and place in the file. */
tb_rc tb_journal_damaged(tb_err *err, const char *path, uint64_t file_offset, uint64_t offset, const char *why);

void tb_journal_head_write(uint8_t head[TB_JOURNAL_FILE_HEAD], const uint8_t *id, uint64_t offset, uint64_t nominal);
/* Reads and judges a file's head; ret_id and ret_nominal are what it says. TB_EUNSUPPORTED: a newer format. */
tb_rc tb_journal_head_read(tb_disk *disk, tb_file *file, const char *path, uint64_t offset,
                           uint8_t ret_id[TB_JOURNAL_ID], uint64_t *ret_nominal, tb_err *err);

/* Size of a record on disk, head and padding included. */
static inline uint64_t tb_journal_record_size(uint64_t body_size)
{
	return TB_JOURNAL_BATCH_HEAD + ((body_size + 7) & ~UINT64_C(7));
}
/* Fills the head in, and record->check. */
void tb_journal_record_write(uint8_t head[TB_JOURNAL_BATCH_HEAD], tb_journal_record *record);
/* 0 when these bytes are not the head of the record at offset. */
int tb_journal_record_read(const uint8_t head[TB_JOURNAL_BATCH_HEAD], uint64_t offset, tb_journal_record *ret_record);

/* Writes zeros at a place in the file. */
tb_rc tb_journal_write_zeros(tb_disk *disk, tb_file *file, uint64_t place, uint64_t size, tb_err *err);

/* A walk over a file's records. It holds one of them, and those before it that weren't known to be synced when it was
 * written: in a file of this version none. */
typedef struct tb_journal_walk {
	tb_disk *disk;
	tb_file *file; /* borrowed */
	const char *path;
	uint64_t file_offset;
	uint64_t at;        /* where the next record begins */
	uint64_t end;       /* nothing is read from here on */
	uint64_t check;     /* head check of the record before `at` */
	uint64_t doubtful;  /* when the record at `at` isn't whole: the first offset that may be wrong */
	uint64_t held_from; /* the offset of the first byte in `held` */
	tb_buf held;
	tb_journal_record record;
	tb_span body;
} tb_journal_walk;

void tb_journal_walk_init(tb_journal_walk *walk, tb_disk *disk, tb_file *file, const char *path, uint64_t file_offset,
                          uint64_t end);
void tb_journal_walk_drop(tb_journal_walk *walk);
/* The next record, all its checks verified, into record and body. TB_ECORRUPT: it is not whole; nothing moved. */
tb_rc tb_journal_walk_next(tb_journal_walk *walk, tb_err *err);
/* Does the record that comes next go on from the one with this head check? Nothing moves. */
tb_rc tb_journal_walk_expect(tb_journal_walk *walk, uint64_t check, tb_err *err);
/* Tell of each frame of the present record; each may be NULL to verify them only. */
tb_rc tb_journal_walk_tell(const tb_journal_walk *walk, const tb_journal_replay *each, tb_err *err);

#endif
