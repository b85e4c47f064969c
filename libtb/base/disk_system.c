#include "base/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct tb_file {
	int fd;
	char path[];
};

static tb_rc system_open(tb_disk *disk, const char *path, int flags, tb_file **ret_file, tb_err *err)
{
	(void)disk;
	int how = O_CLOEXEC | (flags & TB_DISK_WRITE ? O_RDWR : O_RDONLY);
	if (flags & TB_DISK_CREATE)
		how |= O_CREAT;
	if (flags & TB_DISK_EXCLUSIVE)
		how |= O_EXCL;
	int fd = open(path, how, flags & TB_DISK_PRIVATE ? 0600 : 0644);
	if (fd < 0 && errno == EEXIST)
		return tb_fail(err, TB_EBUSY, "%s is there already", path);
	if (fd < 0)
		return tb_fail_errno(err, errno, "can't open %s", path);
	size_t size = strlen(path) + 1;
	tb_file *file = tb_alloc(sizeof(*file) + size);
	file->fd = fd;
	memcpy(file->path, path, size);
	*ret_file = file;
	return TB_OK;
}

static void system_close(tb_disk *disk, tb_file *file)
{
	(void)disk;
	if (file == NULL)
		return;
	close(file->fd);
	free(file);
}

static tb_rc system_read(tb_disk *disk, tb_file *file, uint64_t offset, void *data, size_t size, size_t *ret_size,
                         tb_err *err)
{
	(void)disk;
	size_t done = 0;
	while (done < size) {
		ssize_t got = pread(file->fd, (char *)data + done, size - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return tb_fail_errno(err, errno, "can't read %s at %llu", file->path, (unsigned long long)offset);
		if (got == 0)
			break;
		done += (size_t)got;
	}
	*ret_size = done;
	return TB_OK;
}

static tb_rc system_write(tb_disk *disk, tb_file *file, uint64_t offset, const void *data, size_t size, tb_err *err)
{
	(void)disk;
	size_t done = 0;
	while (done < size) {
		ssize_t put = pwrite(file->fd, (const char *)data + done, size - done, (off_t)(offset + done));
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return tb_fail_errno(err, errno, "can't write %s at %llu", file->path, (unsigned long long)offset);
		done += (size_t)put;
	}
	return TB_OK;
}

static tb_rc system_sync(tb_disk *disk, tb_file *file, tb_err *err)
{
	(void)disk;
	if (fdatasync(file->fd) != 0)
		return tb_fail_errno(err, errno, "can't sync %s", file->path);
	return TB_OK;
}

static tb_rc system_allocate(tb_disk *disk, tb_file *file, uint64_t size, tb_err *err)
{
	(void)disk;
	int errnum = posix_fallocate(file->fd, 0, (off_t)size);
	if (errnum != 0)
		return tb_fail_errno(err, errnum, "can't allocate %llu bytes for %s", (unsigned long long)size, file->path);
	return TB_OK;
}

static tb_rc system_truncate(tb_disk *disk, tb_file *file, uint64_t size, tb_err *err)
{
	(void)disk;
	if (ftruncate(file->fd, (off_t)size) != 0)
		return tb_fail_errno(err, errno, "can't truncate %s", file->path);
	return TB_OK;
}

static tb_rc system_size(tb_disk *disk, tb_file *file, uint64_t *ret_size, tb_err *err)
{
	(void)disk;
	struct stat info;
	if (fstat(file->fd, &info) != 0)
		return tb_fail_errno(err, errno, "can't stat %s", file->path);
	*ret_size = (uint64_t)info.st_size;
	return TB_OK;
}

static tb_rc system_stat(tb_disk *disk, const char *path, tb_disk_info *ret_info, tb_err *err)
{
	(void)disk;
	struct stat info;
	if (stat(path, &info) != 0)
		return tb_fail_errno(err, errno, "can't stat %s", path);
	*ret_info = (tb_disk_info){
		.size = (uint64_t)info.st_size,
		.modified_ns = (uint64_t)info.st_mtim.tv_sec * 1000000000u + (uint64_t)info.st_mtim.tv_nsec,
		.device = (uint64_t)info.st_dev,
		.is_dir = S_ISDIR(info.st_mode),
	};
	return TB_OK;
}

static tb_rc system_rename(tb_disk *disk, const char *from, const char *to, tb_err *err)
{
	(void)disk;
	if (rename(from, to) != 0)
		return tb_fail_errno(err, errno, "can't rename %s to %s", from, to);
	return TB_OK;
}

static tb_rc system_unlink(tb_disk *disk, const char *path, tb_err *err)
{
	(void)disk;
	if (remove(path) != 0)
		return tb_fail_errno(err, errno, "can't remove %s", path);
	return TB_OK;
}

static tb_rc system_mkdir(tb_disk *disk, const char *path, tb_err *err)
{
	(void)disk;
	struct stat info;
	if (mkdir(path, 0755) == 0)
		return TB_OK;
	int errnum = errno;
	if (errnum == EEXIST && stat(path, &info) == 0 && S_ISDIR(info.st_mode))
		return TB_OK;
	return tb_fail_errno(err, errnum, "can't make the directory %s", path);
}

static tb_rc system_sync_dir(tb_disk *disk, const char *path, tb_err *err)
{
	(void)disk;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return tb_fail_errno(err, errno, "can't open the directory %s", path);
	tb_rc rc = fsync(fd) == 0 ? TB_OK : tb_fail_errno(err, errno, "can't sync the directory %s", path);
	close(fd);
	return rc;
}

static tb_rc system_list(tb_disk *disk, const char *path, tb_disk_entry_fn each, void *context, tb_err *err)
{
	(void)disk;
	DIR *dir = opendir(path);
	if (dir == NULL)
		return tb_fail_errno(err, errno, "can't list %s", path);
	tb_rc rc = TB_OK;
	for (struct dirent *entry; rc == TB_OK && (entry = readdir(dir)) != NULL;) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		int is_dir = entry->d_type == DT_DIR;
		struct stat info;
		if (entry->d_type == DT_UNKNOWN && fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0)
			is_dir = S_ISDIR(info.st_mode);
		rc = each(context, entry->d_name, is_dir, err);
	}
	closedir(dir);
	return rc;
}

tb_disk *tb_disk_system(void)
{
	static tb_disk disk = {
		.open = system_open, .close = system_close, .read = system_read, .write = system_write,
		.sync = system_sync, .allocate = system_allocate, .truncate = system_truncate, .size = system_size,
		.stat = system_stat, .rename = system_rename, .unlink = system_unlink, .mkdir = system_mkdir,
		.sync_dir = system_sync_dir, .list = system_list,
	};
	return &disk;
}
