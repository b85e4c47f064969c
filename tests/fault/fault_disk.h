/* A disk that breaks on command, around another one.
 *
 * What the room under test reads is the file system's cache: it is the disk below. Beside it stands, for each file,
 * what would be left after a power cut: the bytes of the last good sync, under the names of the last sync of their
 * directory. A failed sync loses the file's pages as Linux does: they can still be read, and a later sync that succeeds
 * doesn't bring them to the disk. Directories themselves are never lost.
 *
 *   struct fault_disk fault;
 *   fault_disk_init(&fault, tb_disk_system());
 *   … use &fault.disk …
 *   fault_disk_fail(&fault, FAULT_SYNC, 1, TB_EIO);   the next sync fails, those after it work
 *   fault_disk_cut(&fault, 3);                         the power goes at the third call: it and all others fail
 *   fault_disk_crash(&fault, 0, 100);                  the files as they are found afterwards: nothing unsynced, but
 *                                                      for the first 100 of all unsynced bytes; the disk works again
 *   fault_disk_drop(&fault);
 *
 * Files are held in memory: for small ones. Failures of its own end the test. */
#ifndef TB_TESTS_FAULT_DISK_H
#define TB_TESTS_FAULT_DISK_H

#include "base/disk.h"

#include <stdio.h>
#include <stdlib.h>

enum fault_call {
	FAULT_OPEN = 1,
	FAULT_READ = 2,
	FAULT_WRITE = 4,
	FAULT_SYNC = 8,
	FAULT_ALLOCATE = 16,
	FAULT_TRUNCATE = 32,
	FAULT_RENAME = 64,
	FAULT_UNLINK = 128,
	FAULT_SYNC_DIR = 256,
	FAULT_MKDIR = 512,
	FAULT_LIST = 1024,
	FAULT_SIZE = 2048,
	FAULT_CHANGE = FAULT_WRITE | FAULT_SYNC | FAULT_ALLOCATE | FAULT_TRUNCATE | FAULT_RENAME | FAULT_UNLINK |
	               FAULT_SYNC_DIR | FAULT_MKDIR,
	FAULT_ANY = 4095,
};

/* A change to a file's bytes since its last sync: bytes written at offset, or a new size. */
struct fault_change {
	int resize;
	uint64_t offset;
	tb_buf bytes;
};

struct fault_node {
	char *name;    /* now; NULL when it has none */
	char *durable; /* after a power cut; NULL: not to be found */
	tb_buf image;  /* what would be in it */
	struct fault_change *changes;
	size_t change_count;
};

struct fault_file {
	tb_file *under;
	struct fault_node *node;
};

struct fault_disk {
	tb_disk disk; /* for the room under test */
	tb_disk *under;
	struct fault_node **nodes;
	size_t node_count;
	unsigned calls;        /* which calls count for fail_at */
	unsigned long counted; /* since fault_disk_fail or fault_disk_cut */
	unsigned long fail_at; /* 0: none */
	tb_rc fail_rc;
	size_t through; /* bytes of a failing write that get into the cache; set it after fault_disk_fail */
	int power;      /* the failing call takes the power away */
	int dark;
};

static inline void fault_must(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fault disk: %s\n", what);
	abort();
}

static inline tb_rc fault_strike(struct fault_disk *fault, unsigned call, tb_err *err)
{
	if (fault->dark)
		return tb_fail(err, TB_EIO, "the power is off");
	if ((fault->calls & call) == 0 || ++fault->counted != fault->fail_at)
		return TB_OK;
	fault->dark = fault->power;
	return tb_fail(err, fault->fail_rc, "call %lu fails as the test wants it", fault->fail_at);
}

static inline struct fault_node *fault_node_add(struct fault_disk *fault, const char *name)
{
	struct fault_node *node = (struct fault_node *)tb_alloc_zero(1, sizeof(*node));
	node->name = tb_strdup(name);
	fault->nodes = (struct fault_node **)tb_realloc(fault->nodes, (fault->node_count + 1) * sizeof(*fault->nodes));
	fault->nodes[fault->node_count++] = node;
	return node;
}

/* The file of that name; one that was there before is taken to be on the disk as it is. NULL: there is none. */
static inline struct fault_node *fault_node_find(struct fault_disk *fault, const char *name)
{
	for (size_t i = 0; i < fault->node_count; i++)
		if (fault->nodes[i]->name != NULL && strcmp(fault->nodes[i]->name, name) == 0)
			return fault->nodes[i];
	tb_disk_info info;
	if (fault->under->stat(fault->under, name, &info, NULL) != TB_OK || info.is_dir)
		return NULL;
	struct fault_node *node = fault_node_add(fault, name);
	node->durable = tb_strdup(name);
	fault_must(tb_disk_read_file(fault->under, name, SIZE_MAX / 2, &node->image, NULL) == TB_OK, "can't read a file");
	return node;
}

static inline void fault_node_rename(struct fault_node *node, const char *name)
{
	free(node->name);
	node->name = name != NULL ? tb_strdup(name) : NULL;
}

static inline void fault_image_resize(tb_buf *image, uint64_t size)
{
	if (size > image->size) {
		tb_buf_reserve(image, size - image->size);
		memset(image->data + image->size, 0, size - image->size);
	}
	image->size = size;
}

static inline void fault_image_write(tb_buf *image, uint64_t offset, const void *data, size_t size)
{
	if (size == 0)
		return;
	if (offset + size > image->size)
		fault_image_resize(image, offset + size);
	memcpy(image->data + offset, data, size);
}

static inline void fault_changes_forget(struct fault_node *node)
{
	for (size_t i = 0; i < node->change_count; i++)
		tb_buf_drop(&node->changes[i].bytes);
	free(node->changes);
	node->changes = NULL;
	node->change_count = 0;
}

static inline void fault_change_add(struct fault_node *node, int resize, uint64_t offset, const void *data, size_t size)
{
	node->changes =
		(struct fault_change *)tb_realloc(node->changes, (node->change_count + 1) * sizeof(*node->changes));
	struct fault_change *change = &node->changes[node->change_count++];
	*change = (struct fault_change){ .resize = resize, .offset = offset };
	tb_buf_append(&change->bytes, data, size);
}

static inline void fault_changes_settle(struct fault_node *node)
{
	for (size_t i = 0; i < node->change_count; i++) {
		const struct fault_change *change = &node->changes[i];
		if (change->resize)
			fault_image_resize(&node->image, change->offset);
		else
			fault_image_write(&node->image, change->offset, change->bytes.data, change->bytes.size);
	}
	fault_changes_forget(node);
}

static inline tb_rc fault_open(tb_disk *disk, const char *path, int flags, tb_file **ret_file, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	struct fault_node *node = fault_node_find(fault, path);
	tb_file *under;
	tb_rc rc = fault_strike(fault, FAULT_OPEN, err);
	if (rc == TB_OK)
		rc = fault->under->open(fault->under, path, flags, &under, err);
	if (rc != TB_OK)
		return rc;
	struct fault_file *file = (struct fault_file *)tb_alloc(sizeof(*file));
	*file = (struct fault_file){ under, node != NULL ? node : fault_node_add(fault, path) };
	*ret_file = (tb_file *)file;
	return TB_OK;
}

static inline void fault_close(tb_disk *disk, tb_file *file)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	if (file != NULL)
		fault->under->close(fault->under, ((struct fault_file *)file)->under);
	free(file);
}

static inline tb_rc fault_read(tb_disk *disk, tb_file *file, uint64_t offset, void *data, size_t size,
                               size_t *ret_size, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	tb_rc rc = fault_strike(fault, FAULT_READ, err);
	if (rc != TB_OK)
		return rc;
	return fault->under->read(fault->under, ((struct fault_file *)file)->under, offset, data, size, ret_size, err);
}

static inline tb_rc fault_write(tb_disk *disk, tb_file *file, uint64_t offset, const void *data, size_t size,
                                tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	struct fault_file *own = (struct fault_file *)file;
	int was_dark = fault->dark;
	tb_rc struck = fault_strike(fault, FAULT_WRITE, err);
	/* The write at which the power goes was under way: any of its bytes may have reached the disk. */
	if (!was_dark && fault->dark)
		fault_change_add(own->node, 0, offset, data, size);
	if (fault->dark)
		return struck;
	if (struck != TB_OK)
		size = size < fault->through ? size : fault->through;
	fault_change_add(own->node, 0, offset, data, size);
	tb_rc rc = fault->under->write(fault->under, own->under, offset, data, size, err);
	return struck != TB_OK ? struck : rc;
}

static inline tb_rc fault_sync(tb_disk *disk, tb_file *file, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	struct fault_node *node = ((struct fault_file *)file)->node;
	tb_rc rc = fault_strike(fault, FAULT_SYNC, err);
	if (rc == TB_OK)
		fault_changes_settle(node);
	else if (!fault->dark)
		fault_changes_forget(node);
	return rc;
}

static inline tb_rc fault_allocate(tb_disk *disk, tb_file *file, uint64_t size, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	struct fault_file *own = (struct fault_file *)file;
	uint64_t before = 0;
	tb_rc rc = fault_strike(fault, FAULT_ALLOCATE, err);
	if (rc == TB_OK)
		rc = fault->under->size(fault->under, own->under, &before, err);
	if (rc == TB_OK)
		rc = fault->under->allocate(fault->under, own->under, size, err);
	if (rc == TB_OK && size > before)
		fault_change_add(own->node, 1, size, NULL, 0);
	return rc;
}

static inline tb_rc fault_truncate(tb_disk *disk, tb_file *file, uint64_t size, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	struct fault_file *own = (struct fault_file *)file;
	tb_rc rc = fault_strike(fault, FAULT_TRUNCATE, err);
	if (rc == TB_OK)
		rc = fault->under->truncate(fault->under, own->under, size, err);
	if (rc == TB_OK)
		fault_change_add(own->node, 1, size, NULL, 0);
	return rc;
}

static inline tb_rc fault_size(tb_disk *disk, tb_file *file, uint64_t *ret_size, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	tb_rc rc = fault_strike(fault, FAULT_SIZE, err);
	return rc != TB_OK ? rc : fault->under->size(fault->under, ((struct fault_file *)file)->under, ret_size, err);
}

static inline tb_rc fault_stat(tb_disk *disk, const char *path, tb_disk_info *ret_info, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	tb_rc rc = fault_strike(fault, FAULT_SIZE, err);
	return rc != TB_OK ? rc : fault->under->stat(fault->under, path, ret_info, err);
}

static inline tb_rc fault_rename(tb_disk *disk, const char *from, const char *to, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	struct fault_node *node = fault_node_find(fault, from), *replaced = fault_node_find(fault, to);
	tb_rc rc = fault_strike(fault, FAULT_RENAME, err);
	if (rc == TB_OK)
		rc = fault->under->rename(fault->under, from, to, err);
	if (rc != TB_OK)
		return rc;
	if (replaced != NULL)
		fault_node_rename(replaced, NULL);
	if (node != NULL)
		fault_node_rename(node, to);
	return TB_OK;
}

static inline tb_rc fault_unlink(tb_disk *disk, const char *path, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	struct fault_node *node = fault_node_find(fault, path);
	tb_rc rc = fault_strike(fault, FAULT_UNLINK, err);
	if (rc == TB_OK)
		rc = fault->under->unlink(fault->under, path, err);
	if (rc == TB_OK && node != NULL)
		fault_node_rename(node, NULL);
	return rc;
}

static inline tb_rc fault_mkdir(tb_disk *disk, const char *path, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	tb_rc rc = fault_strike(fault, FAULT_MKDIR, err);
	return rc != TB_OK ? rc : fault->under->mkdir(fault->under, path, err);
}

static inline int fault_is_in(const char *name, const char *dir)
{
	const char *slash = name != NULL ? strrchr(name, '/') : NULL;
	return slash != NULL && strlen(dir) == (size_t)(slash - name) && strncmp(name, dir, strlen(dir)) == 0;
}

static inline tb_rc fault_sync_dir(tb_disk *disk, const char *path, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	tb_rc rc = fault_strike(fault, FAULT_SYNC_DIR, err);
	for (size_t i = 0; rc == TB_OK && i < fault->node_count; i++) {
		struct fault_node *node = fault->nodes[i];
		if (!fault_is_in(node->name, path) && !fault_is_in(node->durable, path))
			continue;
		free(node->durable);
		node->durable = node->name != NULL ? tb_strdup(node->name) : NULL;
	}
	return rc;
}

static inline tb_rc fault_list(tb_disk *disk, const char *path, tb_disk_entry_fn each, void *context, tb_err *err)
{
	struct fault_disk *fault = (struct fault_disk *)disk->self;
	tb_rc rc = fault_strike(fault, FAULT_LIST, err);
	return rc != TB_OK ? rc : fault->under->list(fault->under, path, each, context, err);
}

static inline void fault_disk_init(struct fault_disk *fault, tb_disk *under)
{
	*fault = (struct fault_disk){
		.disk = {
			.self = fault, .open = fault_open, .close = fault_close, .read = fault_read, .write = fault_write,
			.sync = fault_sync, .allocate = fault_allocate, .truncate = fault_truncate, .size = fault_size,
			.stat = fault_stat, .rename = fault_rename, .unlink = fault_unlink, .mkdir = fault_mkdir,
			.sync_dir = fault_sync_dir, .list = fault_list,
		},
		.under = under,
	};
}

static inline void fault_node_drop(struct fault_node *node)
{
	fault_changes_forget(node);
	tb_buf_drop(&node->image);
	free(node->name);
	free(node->durable);
	free(node);
}

static inline void fault_disk_drop(struct fault_disk *fault)
{
	for (size_t i = 0; i < fault->node_count; i++)
		fault_node_drop(fault->nodes[i]);
	free(fault->nodes);
	fault->nodes = NULL;
	fault->node_count = 0;
}

/* The nth of these calls from now on fails with rc; a failing write leaves nothing, or `through` bytes. */
static inline void fault_disk_fail(struct fault_disk *fault, unsigned calls, unsigned long nth, tb_rc rc)
{
	fault->calls = calls;
	fault->counted = 0;
	fault->fail_at = nth;
	fault->fail_rc = rc;
	fault->through = 0;
	fault->power = 0;
}

/* The power goes at the nth call from now on that changes anything. */
static inline void fault_disk_cut(struct fault_disk *fault, unsigned long nth)
{
	fault_disk_fail(fault, FAULT_CHANGE, nth, TB_EIO);
	fault->power = 1;
}

/* Bytes written and neither synced nor lost. */
static inline uint64_t fault_disk_unsynced(const struct fault_disk *fault)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < fault->node_count; i++)
		for (size_t j = 0; j < fault->nodes[i]->change_count; j++)
			bytes += fault->nodes[i]->changes[j].bytes.size;
	return bytes;
}

/* Of its unsynced bytes, the first of which has number *at, those from..to-1 get into its image. */
static inline void fault_node_tear(struct fault_node *node, uint64_t *at, uint64_t from, uint64_t to)
{
	for (size_t i = 0; i < node->change_count; i++) {
		const struct fault_change *change = &node->changes[i];
		uint64_t begin = from > *at ? from - *at : 0, end = to > *at ? to - *at : 0;
		end = end < change->bytes.size ? end : change->bytes.size;
		if (begin < end)
			fault_image_write(&node->image, change->offset + begin, change->bytes.data + begin, end - begin);
		*at += change->bytes.size;
	}
	fault_changes_forget(node);
}

static inline void fault_node_put_back(struct fault_disk *fault, struct fault_node *node)
{
	fault_node_rename(node, node->durable);
	if (node->name == NULL)
		return;
	tb_disk *under = fault->under;
	tb_file *file;
	fault_must(under->open(under, node->name, TB_DISK_WRITE | TB_DISK_CREATE, &file, NULL) == TB_OK &&
	                   under->truncate(under, file, node->image.size, NULL) == TB_OK &&
	                   under->write(under, file, 0, node->image.data, node->image.size, NULL) == TB_OK,
	           "can't put a file back");
	under->close(under, file);
}

/* After the power cut: only what was synced is there, and of all unsynced bytes, in the order of files and writes,
 * those with numbers from..to-1. Whoever had files open must close them first. */
static inline void fault_disk_crash(struct fault_disk *fault, uint64_t from, uint64_t to)
{
	uint64_t at = 0;
	for (size_t i = 0; i < fault->node_count; i++)
		if (fault->nodes[i]->name != NULL)
			fault->under->unlink(fault->under, fault->nodes[i]->name, NULL);
	for (size_t i = 0; i < fault->node_count; i++) {
		fault_node_tear(fault->nodes[i], &at, from, to);
		fault_node_put_back(fault, fault->nodes[i]);
	}
	fault_disk_fail(fault, 0, 0, TB_OK);
	fault->dark = 0;
}

#endif
