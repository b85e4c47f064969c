#include "base/disk.h"

#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

tb_rc tb_disk_read_file(tb_disk *disk, const char *path, size_t size_max, tb_buf *ret_bytes, tb_err *err)
{
	tb_file *file;
	tb_rc rc = disk->open(disk, path, TB_DISK_READ, &file, err);
	if (rc != TB_OK)
		return rc;
	uint64_t size;
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	rc = disk->size(disk, file, &size, err);
	if (rc == TB_OK && size > size_max)
		rc = tb_fail(err, TB_EINVAL, "%s has %llu bytes, more than the %zu it may have", path,
		             (unsigned long long)size, size_max);
	if (rc == TB_OK) {
		tb_buf_reserve(&bytes, size + 1);
		rc = disk->read(disk, file, 0, bytes.data, size, &bytes.size, err);
	}
	disk->close(disk, file);
	if (rc == TB_OK)
		tb_buf_swap(ret_bytes, &bytes);
	return rc;
}

static tb_rc write_whole(tb_disk *disk, const char *path, tb_span bytes, int flags, tb_err *err)
{
	tb_file *file;
	tb_rc rc = disk->open(disk, path, TB_DISK_WRITE | TB_DISK_CREATE | TB_DISK_EXCLUSIVE | flags, &file, err);
	if (rc != TB_OK)
		return rc;
	rc = disk->write(disk, file, 0, bytes.data, bytes.size, err);
	if (rc == TB_OK)
		rc = disk->sync(disk, file, err);
	disk->close(disk, file);
	return rc;
}

static tb_rc sync_parent(tb_disk *disk, const char *path, tb_err *err)
{
	char *copy = tb_strdup(path);
	tb_rc rc = disk->sync_dir(disk, dirname(copy), err);
	free(copy);
	return rc;
}

tb_rc tb_disk_write_file(tb_disk *disk, const char *path, tb_span bytes, int flags, tb_err *err)
{
	static atomic_uint counter;
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	tb_buf_print(&name, "%s.tmp-%d-%u", path, (int)getpid(), atomic_fetch_add(&counter, 1));
	const char *beside = tb_buf_text(&name);
	tb_rc rc = write_whole(disk, beside, bytes, flags & TB_DISK_PRIVATE, err);
	if (rc == TB_OK)
		rc = disk->rename(disk, beside, path, err);
	if (rc != TB_OK) {
		disk->unlink(disk, beside, NULL);
		return rc;
	}
	return sync_parent(disk, path, err);
}

tb_rc tb_disk_make_path(tb_disk *disk, const char *path, tb_err *err)
{
	tb_disk_info info;
	if (disk->stat(disk, path, &info, NULL) == TB_OK && info.is_dir)
		return TB_OK;
	char *copy = tb_strdup(path);
	tb_rc rc = TB_OK;
	char *parent = dirname(copy);
	if (strcmp(parent, path) != 0 && strcmp(parent, ".") != 0 && strcmp(parent, "/") != 0)
		rc = tb_disk_make_path(disk, parent, err);
	free(copy);
	if (rc == TB_OK)
		rc = disk->mkdir(disk, path, err);
	if (rc == TB_OK)
		rc = sync_parent(disk, path, err);
	return rc;
}

struct removal {
	tb_disk *disk;
	const char *path;
};

static tb_rc remove_entry(void *context, const char *name, int is_dir, tb_err *err)
{
	struct removal *removal = context;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_buf_print(&path, "%s/%s", removal->path, name);
	if (is_dir)
		return tb_disk_remove_tree(removal->disk, tb_buf_text(&path), err);
	return removal->disk->unlink(removal->disk, tb_buf_text(&path), err);
}

tb_rc tb_disk_remove_tree(tb_disk *disk, const char *path, tb_err *err)
{
	struct removal removal = { disk, path };
	tb_rc rc = disk->list(disk, path, remove_entry, &removal, err);
	if (rc == TB_OK)
		rc = disk->unlink(disk, path, err);
	return rc;
}
