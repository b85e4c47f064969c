/* The recorder: libc's calls that change files, with a note of what they did. Calls of shared libraries (LMDB) come here,
 * too: the program's own symbols stand before libc's. One thread. */
#undef _FORTIFY_SOURCE /* its inline calls have the names of these */
#include "crash.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS 1024
#define NAMES_STEP 64
#define MAPS_MAX 64

struct descriptor {
	int is_file, is_dir;
	uint32_t file;
	char *dir;
	int each_synced; /* O_DSYNC */
};

struct name {
	char *path;
	uint32_t file;
};

struct map {
	uint8_t *at, *seen;
	size_t size;
	uint32_t file;
};

static struct recorder {
	struct crash_log *log; /* NULL: nothing is recorded */
	void (*told)(struct crash_told *ret_told);
	char root[128];
	struct descriptor descriptors[DESCRIPTORS];
	struct name *names;
	size_t name_count, name_room;
	struct map maps[MAPS_MAX];
} recorder;

/* The call behind this one. */
#define REAL(name) ((__typeof__(&name))real_call(#name))

static void *real_call(const char *name)
{
	void *call = dlsym(RTLD_NEXT, name);
	if (call == NULL)
		abort();
	return call;
}

/* ---- the log */

static struct crash_op *op_add(enum crash_kind kind)
{
	struct crash_log *log = recorder.log;
	if (log->count == log->room) {
		log->room = log->room ? log->room * 2 : 1024;
		log->ops = tb_realloc(log->ops, log->room * sizeof(*log->ops));
	}
	struct crash_op *op = &log->ops[log->count++];
	*op = (struct crash_op){ .kind = kind };
	recorder.told(&op->told);
	return op;
}

static void op_write(uint32_t file, uint64_t offset, const void *bytes, size_t size, int mapped)
{
	struct crash_op *op = op_add(CRASH_WRITE);
	op->file = file;
	op->offset = offset;
	op->size = size;
	op->mapped = mapped;
	op->bytes = memcpy(tb_alloc(size), bytes, size);
}

static void op_size(uint32_t file, uint64_t size)
{
	struct crash_op *op = op_add(CRASH_SIZE);
	op->file = file;
	op->offset = size;
}

void crash_log_drop(struct crash_log *log)
{
	for (size_t i = 0; i < log->count; i++) {
		free(log->ops[i].bytes);
		free(log->ops[i].path);
		free(log->ops[i].to);
	}
	free(log->ops);
	*log = (struct crash_log){ 0 };
}

/* ---- names */

/* Below the root: what follows it, "" for itself; NULL: elsewhere. */
static const char *below_root(const char *path)
{
	size_t size = strlen(recorder.root);
	if (recorder.log == NULL || strncmp(path, recorder.root, size) != 0 || (path[size] != '/' && path[size] != '\0'))
		return NULL;
	return path[size] == '/' ? path + size + 1 : path + size;
}

static struct name *name_find(const char *path)
{
	for (size_t i = 0; i < recorder.name_count; i++)
		if (strcmp(recorder.names[i].path, path) == 0)
			return &recorder.names[i];
	return NULL;
}

static void name_remove(const char *path)
{
	struct name *name = name_find(path);
	if (name == NULL)
		return;
	free(name->path);
	*name = recorder.names[--recorder.name_count];
}

static void name_set(const char *path, uint32_t file)
{
	name_remove(path);
	if (recorder.name_count == recorder.name_room) {
		recorder.name_room += NAMES_STEP;
		recorder.names = tb_realloc(recorder.names, recorder.name_room * sizeof(*recorder.names));
	}
	recorder.names[recorder.name_count++] = (struct name){ tb_strdup(path), file };
}

/* ---- mappings: what was stored there is looked for before each operation. */

static void map_look(struct map *map)
{
	for (size_t at = 0; at < map->size; at += CRASH_PAGE) {
		size_t size = map->size - at < CRASH_PAGE ? map->size - at : CRASH_PAGE;
		if (memcmp(map->at + at, map->seen + at, size) == 0)
			continue;
		op_write(map->file, at, map->at + at, size, 1);
		memcpy(map->seen + at, map->at + at, size);
	}
}

static void maps_look(void)
{
	for (size_t i = 0; i < MAPS_MAX; i++)
		if (recorder.maps[i].at != NULL)
			map_look(&recorder.maps[i]);
}

static void map_forget(struct map *map)
{
	free(map->seen);
	*map = (struct map){ 0 };
}

static void map_add(void *at, size_t size, uint32_t file)
{
	size_t i = 0;
	while (i < MAPS_MAX && recorder.maps[i].at != NULL)
		i++;
	if (i == MAPS_MAX)
		abort();
	recorder.maps[i] = (struct map){ at, memcpy(tb_alloc(size), at, size), size, file };
}

/* ---- beginning and end */

void crash_record_begin(struct crash_log *log, const char *root, void (*told)(struct crash_told *ret_told))
{
	recorder = (struct recorder){ .log = log, .told = told };
	snprintf(recorder.root, sizeof(recorder.root), "%s", root);
}

void crash_record_end(void)
{
	maps_look();
	for (size_t i = 0; i < MAPS_MAX; i++)
		map_forget(&recorder.maps[i]);
	for (size_t i = 0; i < recorder.name_count; i++)
		free(recorder.names[i].path);
	for (size_t i = 0; i < DESCRIPTORS; i++)
		free(recorder.descriptors[i].dir);
	free(recorder.names);
	recorder = (struct recorder){ 0 };
}

/* ---- descriptors */

static struct descriptor *descriptor_of(int fd)
{
	return recorder.log != NULL && fd >= 0 && fd < DESCRIPTORS ? &recorder.descriptors[fd] : NULL;
}

static struct descriptor *file_of(int fd)
{
	struct descriptor *descriptor = descriptor_of(fd);
	return descriptor != NULL && descriptor->is_file ? descriptor : NULL;
}

static void opened_file(struct descriptor *descriptor, const char *path, int flags, int was_there)
{
	struct name *name = name_find(path);
	descriptor->is_file = 1;
	descriptor->each_synced = (flags & O_DSYNC) != 0;
	if (was_there && name != NULL) {
		descriptor->file = name->file;
		return;
	}
	struct crash_op *op = op_add(CRASH_CREATE);
	op->path = tb_strdup(path);
	op->file = descriptor->file = recorder.log->file_count++;
	name_set(path, op->file);
}

static void opened(int fd, const char *path, int flags, int was_there)
{
	struct stat info;
	struct descriptor *descriptor = descriptor_of(fd);
	if (descriptor == NULL || fstat(fd, &info) != 0)
		abort();
	free(descriptor->dir);
	*descriptor = (struct descriptor){ 0 };
	maps_look();
	if (S_ISDIR(info.st_mode)) {
		descriptor->is_dir = 1;
		descriptor->dir = tb_strdup(path);
		return;
	}
	opened_file(descriptor, path, flags, was_there);
	if (flags & O_TRUNC)
		op_size(descriptor->file, 0);
}

static int open_noted(const char *path, int flags, mode_t mode)
{
	const char *below = below_root(path);
	int was_there = below == NULL || access(path, F_OK) == 0;
	int fd = REAL(open)(path, flags, mode);
	if (below != NULL && fd >= 0)
		opened(fd, below, flags, was_there);
	return fd;
}

int open(const char *path, int flags, ...)
{
	va_list args;
	va_start(args, flags);
	mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return open_noted(path, flags, mode);
}

int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
	return open_noted(path, flags, 0);
}

int close(int fd)
{
	struct descriptor *descriptor = descriptor_of(fd);
	if (descriptor != NULL) {
		free(descriptor->dir);
		*descriptor = (struct descriptor){ 0 };
	}
	return REAL(close)(fd);
}

/* ---- writes and sizes */

static void wrote(const struct descriptor *descriptor, uint64_t offset, const void *bytes, size_t size)
{
	op_write(descriptor->file, offset, bytes, size, 0);
	if (!descriptor->each_synced)
		return;
	struct crash_op *op = op_add(CRASH_SYNC_PAGES);
	op->file = descriptor->file;
	op->offset = offset;
	op->size = size;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	struct descriptor *descriptor = file_of(fd);
	if (descriptor != NULL)
		maps_look();
	ssize_t put = REAL(pwrite)(fd, bytes, size, offset);
	if (descriptor != NULL && put > 0)
		wrote(descriptor, (uint64_t)offset, bytes, (size_t)put);
	return put;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	struct descriptor *descriptor = file_of(fd);
	if (descriptor != NULL)
		maps_look();
	ssize_t put = REAL(write)(fd, bytes, size);
	if (descriptor != NULL && put > 0)
		wrote(descriptor, (uint64_t)(lseek(fd, 0, SEEK_CUR) - put), bytes, (size_t)put);
	return put;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	struct descriptor *descriptor = file_of(fd);
	if (descriptor != NULL)
		maps_look();
	ssize_t put = REAL(writev)(fd, parts, count);
	if (descriptor == NULL || put <= 0)
		return put;
	uint64_t at = (uint64_t)(lseek(fd, 0, SEEK_CUR) - put);
	size_t left = (size_t)put;
	for (int i = 0; i < count && left > 0; i++) {
		size_t size = parts[i].iov_len < left ? parts[i].iov_len : left;
		wrote(descriptor, at, parts[i].iov_base, size);
		at += size;
		left -= size;
	}
	return put;
}

int ftruncate(int fd, off_t size)
{
	int rc = REAL(ftruncate)(fd, size);
	struct descriptor *descriptor = file_of(fd);
	if (rc != 0 || descriptor == NULL)
		return rc;
	maps_look();
	op_size(descriptor->file, (uint64_t)size);
	return rc;
}

int posix_fallocate(int fd, off_t offset, off_t size)
{
	struct stat info;
	int rc = REAL(posix_fallocate)(fd, offset, size);
	struct descriptor *descriptor = file_of(fd);
	if (rc != 0 || descriptor == NULL || fstat(fd, &info) != 0)
		return rc;
	maps_look();
	op_size(descriptor->file, (uint64_t)info.st_size);
	return rc;
}

/* ---- syncs */

static void synced(int fd)
{
	struct descriptor *descriptor = descriptor_of(fd);
	if (descriptor == NULL || (!descriptor->is_file && !descriptor->is_dir))
		return;
	maps_look();
	struct crash_op *op = op_add(descriptor->is_dir ? CRASH_SYNC_DIR : CRASH_SYNC);
	op->file = descriptor->file;
	if (descriptor->is_dir)
		op->path = tb_strdup(descriptor->dir);
}

int fsync(int fd)
{
	int rc = REAL(fsync)(fd);
	if (rc == 0)
		synced(fd);
	return rc;
}

int fdatasync(int fd)
{
	int rc = REAL(fdatasync)(fd);
	if (rc == 0)
		synced(fd);
	return rc;
}

/* ---- names */

int rename(const char *from, const char *to)
{
	const char *below = below_root(from), *there = below_root(to);
	int rc = REAL(rename)(from, to);
	if (rc != 0 || below == NULL || there == NULL)
		return rc;
	struct name *name = name_find(below);
	if (name == NULL)
		abort(); /* a directory: the model knows none that move */
	maps_look();
	struct crash_op *op = op_add(CRASH_RENAME);
	op->path = tb_strdup(below);
	op->to = tb_strdup(there);
	uint32_t file = name->file;
	name_remove(below);
	name_set(there, file);
	return rc;
}

static void removed(const char *path, enum crash_kind kind)
{
	const char *below = below_root(path);
	if (below == NULL || *below == '\0')
		return;
	maps_look();
	op_add(kind)->path = tb_strdup(below);
	name_remove(below);
}

int unlink(const char *path)
{
	int rc = REAL(unlink)(path);
	if (rc == 0)
		removed(path, CRASH_UNLINK);
	return rc;
}

int rmdir(const char *path)
{
	int rc = REAL(rmdir)(path);
	if (rc == 0)
		removed(path, CRASH_RMDIR);
	return rc;
}

int remove(const char *path)
{
	return unlink(path) == 0 ? 0 : errno == EISDIR || errno == EPERM ? rmdir(path) : -1;
}

int mkdir(const char *path, mode_t mode)
{
	int rc = REAL(mkdir)(path, mode);
	const char *below = below_root(path);
	if (rc != 0 || below == NULL || *below == '\0')
		return rc;
	maps_look();
	op_add(CRASH_MKDIR)->path = tb_strdup(below);
	return rc;
}

/* ---- mappings */

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	void *map = REAL(mmap)(at, size, protection, flags, fd, offset);
	struct descriptor *descriptor = map != MAP_FAILED && (flags & MAP_SHARED) && (protection & PROT_WRITE) ? file_of(fd)
	                                                                                                       : NULL;
	if (descriptor != NULL)
		map_add(map, size, descriptor->file);
	return map;
}

int munmap(void *at, size_t size)
{
	if (recorder.log != NULL)
		maps_look();
	for (size_t i = 0; i < MAPS_MAX && recorder.log != NULL; i++)
		if (recorder.maps[i].at == at)
			map_forget(&recorder.maps[i]);
	return REAL(munmap)(at, size);
}
