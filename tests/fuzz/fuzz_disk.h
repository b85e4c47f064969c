/* A disk in memory: a handful of files by their paths, and directories that are always there. A lock is the one thing
 * that a journal takes beside its disk, so the directory of a journal is a real one. */
#ifndef TB_FUZZ_DISK_H
#define TB_FUZZ_DISK_H

#include "base/disk.h"
#include "fuzz/fuzz.h"

#include <errno.h>
#include <unistd.h>

#define FUZZ_FILES 64
#define FUZZ_FILE_MAX (1u << 20)

struct fuzz_disk {
	tb_disk disk;
	struct fuzz_node {
		char path[96]; /* empty: none */
		tb_buf bytes;
	} nodes[FUZZ_FILES];
};

static inline struct fuzz_node *fuzz_node_find(tb_disk *disk, const char *path)
{
	struct fuzz_disk *own = (struct fuzz_disk *)disk->self;
	for (size_t i = 0; i < FUZZ_FILES; i++)
		if (strcmp(own->nodes[i].path, path) == 0)
			return &own->nodes[i];
	return NULL;
}

static inline struct fuzz_node *fuzz_node_make(tb_disk *disk, const char *path)
{
	struct fuzz_node *node = fuzz_node_find(disk, path);
	if (node == NULL)
		node = fuzz_node_find(disk, "");
	hold(node != NULL && strlen(path) < sizeof(node->path));
	strcpy(node->path, path);
	return node;
}

static inline tb_rc fuzz_no_file(const char *path, tb_err *err)
{
	return tb_fail_errno(err, ENOENT, "can't open %s", path);
}

static inline tb_rc fuzz_resize(struct fuzz_node *node, uint64_t size, tb_err *err)
{
	if (size > FUZZ_FILE_MAX)
		return tb_fail(err, TB_ENOSPACE, "%s would have %llu bytes", node->path, (unsigned long long)size);
	if (size > node->bytes.size) {
		tb_buf_reserve(&node->bytes, size - node->bytes.size);
		memset(node->bytes.data + node->bytes.size, 0, size - node->bytes.size);
	}
	node->bytes.size = size;
	return TB_OK;
}

static inline tb_rc fuzz_disk_open(tb_disk *disk, const char *path, int flags, tb_file **ret_file, tb_err *err)
{
	struct fuzz_node *node = fuzz_node_find(disk, path);
	if (node == NULL && !(flags & TB_DISK_CREATE))
		return fuzz_no_file(path, err);
	if (node != NULL && (flags & TB_DISK_EXCLUSIVE))
		return tb_fail(err, TB_EBUSY, "%s is there already", path);
	*ret_file = (tb_file *)fuzz_node_make(disk, path);
	return TB_OK;
}

static inline void fuzz_disk_close(tb_disk *disk, tb_file *file)
{
	(void)disk, (void)file;
}

static inline tb_rc fuzz_disk_read(tb_disk *disk, tb_file *file, uint64_t offset, void *data, size_t size,
                                   size_t *ret_size, tb_err *err)
{
	struct fuzz_node *node = (struct fuzz_node *)file;
	(void)disk, (void)err;
	uint64_t left = offset < node->bytes.size ? node->bytes.size - offset : 0;
	*ret_size = size < left ? size : (size_t)left;
	if (*ret_size > 0)
		memcpy(data, node->bytes.data + offset, *ret_size);
	return TB_OK;
}

static inline tb_rc fuzz_disk_write(tb_disk *disk, tb_file *file, uint64_t offset, const void *data, size_t size,
                                    tb_err *err)
{
	struct fuzz_node *node = (struct fuzz_node *)file;
	(void)disk;
	if (offset + size > node->bytes.size) {
		tb_rc rc = fuzz_resize(node, offset + size, err);
		if (rc != TB_OK)
			return rc;
	}
	if (size > 0)
		memcpy(node->bytes.data + offset, data, size);
	return TB_OK;
}

static inline tb_rc fuzz_disk_sync(tb_disk *disk, tb_file *file, tb_err *err)
{
	(void)disk, (void)file, (void)err;
	return TB_OK;
}

static inline tb_rc fuzz_disk_allocate(tb_disk *disk, tb_file *file, uint64_t size, tb_err *err)
{
	struct fuzz_node *node = (struct fuzz_node *)file;
	(void)disk;
	return size > node->bytes.size ? fuzz_resize(node, size, err) : TB_OK;
}

static inline tb_rc fuzz_disk_truncate(tb_disk *disk, tb_file *file, uint64_t size, tb_err *err)
{
	(void)disk;
	return fuzz_resize((struct fuzz_node *)file, size, err);
}

static inline tb_rc fuzz_disk_size(tb_disk *disk, tb_file *file, uint64_t *ret_size, tb_err *err)
{
	(void)disk, (void)err;
	*ret_size = ((struct fuzz_node *)file)->bytes.size;
	return TB_OK;
}

static inline tb_rc fuzz_disk_stat(tb_disk *disk, const char *path, tb_disk_info *ret_info, tb_err *err)
{
	const struct fuzz_node *node = fuzz_node_find(disk, path);
	(void)err;
	*ret_info = (tb_disk_info){ .is_dir = node == NULL, .size = node != NULL ? node->bytes.size : 0 };
	return TB_OK;
}

static inline tb_rc fuzz_disk_unlink(tb_disk *disk, const char *path, tb_err *err)
{
	struct fuzz_node *node = fuzz_node_find(disk, path);
	if (node == NULL)
		return fuzz_no_file(path, err);
	node->path[0] = '\0';
	tb_buf_clear(&node->bytes);
	return TB_OK;
}

static inline tb_rc fuzz_disk_rename(tb_disk *disk, const char *from, const char *to, tb_err *err)
{
	struct fuzz_node *node = fuzz_node_find(disk, from);
	if (node == NULL)
		return fuzz_no_file(from, err);
	fuzz_disk_unlink(disk, to, NULL);
	hold(strlen(to) < sizeof(node->path));
	strcpy(node->path, to);
	return TB_OK;
}

static inline tb_rc fuzz_disk_mkdir(tb_disk *disk, const char *path, tb_err *err)
{
	(void)disk, (void)path, (void)err;
	return TB_OK;
}

static inline tb_rc fuzz_disk_list(tb_disk *disk, const char *path, tb_disk_entry_fn each, void *context, tb_err *err)
{
	struct fuzz_disk *own = (struct fuzz_disk *)disk->self;
	size_t size = strlen(path);
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < FUZZ_FILES; i++) {
		const char *name = own->nodes[i].path;
		if (strncmp(name, path, size) == 0 && name[size] == '/')
			rc = each(context, name + size + 1, 0, err);
	}
	return rc;
}

static inline void fuzz_disk_init(struct fuzz_disk *disk)
{
	memset(disk, 0, sizeof(*disk));
	disk->disk = (tb_disk){
		.self = disk, .open = fuzz_disk_open, .close = fuzz_disk_close, .read = fuzz_disk_read,
		.write = fuzz_disk_write, .sync = fuzz_disk_sync, .allocate = fuzz_disk_allocate,
		.truncate = fuzz_disk_truncate, .size = fuzz_disk_size, .stat = fuzz_disk_stat, .rename = fuzz_disk_rename,
		.unlink = fuzz_disk_unlink, .mkdir = fuzz_disk_mkdir, .sync_dir = fuzz_disk_mkdir, .list = fuzz_disk_list,
	};
}

static inline void fuzz_disk_drop(struct fuzz_disk *disk)
{
	for (size_t i = 0; i < FUZZ_FILES; i++)
		tb_buf_drop(&disk->nodes[i].bytes);
}

/* Where the lock lies. Made once; whoever ends well takes it away. */
static char fuzz_dir_path[64];

static inline void fuzz_dir_remove(void)
{
	char lock[80];
	snprintf(lock, sizeof(lock), "%s/lock", fuzz_dir_path);
	unlink(lock);
	rmdir(fuzz_dir_path);
}

static inline const char *fuzz_dir(void)
{
	if (fuzz_dir_path[0] != '\0')
		return fuzz_dir_path;
	strcpy(fuzz_dir_path, "/tmp/tb-fuzz-XXXXXX");
	hold(mkdtemp(fuzz_dir_path) != NULL);
	atexit(fuzz_dir_remove);
	return fuzz_dir_path;
}

#endif
