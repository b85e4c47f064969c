/* The disk as a table of functions, so that tests can tear writes, fail syncs and cut the power.
 *
 * Everything that must survive (journal, outbox file creation, tiers, key files) goes through here. Paths are plain;
 * errors name path and operation. Nothing is retried: after a failed sync the pages are unknown, and the caller must
 * stop using the file. */
#ifndef TB_BASE_DISK_H
#define TB_BASE_DISK_H

#include "base/buf.h"
#include "base/err.h"

typedef struct tb_file tb_file;
typedef struct tb_disk tb_disk;

enum tb_disk_flags {
	TB_DISK_READ = 0,
	TB_DISK_WRITE = 1,     /* read and write */
	TB_DISK_CREATE = 2,    /* make it if it isn't there */
	TB_DISK_EXCLUSIVE = 4, /* with CREATE: TB_EBUSY when it is there */
	TB_DISK_PRIVATE = 8,   /* with CREATE: mode 0600, else 0644 less umask */
};

typedef struct tb_disk_info {
	uint64_t size;
	uint64_t modified_ns;
	uint64_t device;
	int is_dir;
} tb_disk_info;

/* One entry of a directory; return TB_OK to go on. "." and ".." are left out. Order is unspecified. */
typedef tb_rc (*tb_disk_entry_fn)(void *context, const char *name, int is_dir, tb_err *err);

struct tb_disk {
	void *self;
	tb_rc (*open)(tb_disk *disk, const char *path, int flags, tb_file **ret_file, tb_err *err);
	void (*close)(tb_disk *disk, tb_file *file); /* NULL is fine; does not sync */
	/* Reads up to size bytes at offset; fewer only at the end of the file. */
	tb_rc (*read)(tb_disk *disk, tb_file *file, uint64_t offset, void *data, size_t size, size_t *ret_size, tb_err *err);
	/* Writes all or fails; what a failed write left in the file is unknown. */
	tb_rc (*write)(tb_disk *disk, tb_file *file, uint64_t offset, const void *data, size_t size, tb_err *err);
	tb_rc (*sync)(tb_disk *disk, tb_file *file, tb_err *err); /* fdatasync */
	tb_rc (*allocate)(tb_disk *disk, tb_file *file, uint64_t size, tb_err *err); /* real blocks, zeroed, size set */
	tb_rc (*truncate)(tb_disk *disk, tb_file *file, uint64_t size, tb_err *err);
	tb_rc (*size)(tb_disk *disk, tb_file *file, uint64_t *ret_size, tb_err *err);
	tb_rc (*stat)(tb_disk *disk, const char *path, tb_disk_info *ret_info, tb_err *err);
	tb_rc (*rename)(tb_disk *disk, const char *from, const char *to, tb_err *err); /* replaces; no sync */
	tb_rc (*unlink)(tb_disk *disk, const char *path, tb_err *err); /* one that isn't there: TB_ENOTFOUND */
	tb_rc (*mkdir)(tb_disk *disk, const char *path, tb_err *err);  /* one that is there already is fine */
	tb_rc (*sync_dir)(tb_disk *disk, const char *path, tb_err *err);
	tb_rc (*list)(tb_disk *disk, const char *path, tb_disk_entry_fn each, void *context, tb_err *err);
};

/* The real one. Shared, never freed. */
tb_disk *tb_disk_system(void);

/* Made of the table's calls, so they break as it breaks: */

/* The whole file; TB_EINVAL when larger than size_max. */
tb_rc tb_disk_read_file(tb_disk *disk, const char *path, size_t size_max, tb_buf *ret_bytes, tb_err *err);
/* Write beside under a temporary name ("<path>.tmp-<pid>-<counter>"), sync, rename over path, sync the directory: a
 * reader sees the old file or the new one whole. flags: TB_DISK_PRIVATE. On failure nothing is left. */
tb_rc tb_disk_write_file(tb_disk *disk, const char *path, tb_span bytes, int flags, tb_err *err);
/* mkdir for each part that is missing, and sync of each parent that gained one. */
tb_rc tb_disk_make_path(tb_disk *disk, const char *path, tb_err *err);
/* Removes a directory and everything below. */
tb_rc tb_disk_remove_tree(tb_disk *disk, const char *path, tb_err *err);

#endif
