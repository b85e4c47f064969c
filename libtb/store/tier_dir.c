/* A directory as a tier. */
#include "store/tier.h"

#include "base/planted.h"
#include <inttypes.h>
#include <libgen.h>
#include <sodium.h>
#include <stdlib.h>

#define PATH_BELOW_MAX 512
#define KNOWN_MAX 8192
#define PIECE ((size_t)256 * 1024)

typedef struct dir_tier {
	tb_tier tier;
	tb_disk *disk;
	char *root, *url;
	char **known; /* directories whose entry in their parent this process knows to be synced; sorted */
	size_t known_count;
} dir_tier;

static dir_tier *of(tb_tier *tier)
{
	return (dir_tier *)tier;
}

static const char *path_of(const dir_tier *dir, const char *name, tb_buf *path)
{
	tb_buf_print(path, "%s/%s", dir->root, name);
	return tb_buf_text(path);
}

/* What isn't there says nothing while the whole tier is away. */
static tb_rc still_there(const dir_tier *dir, tb_err *err)
{
	tb_disk_info info;
	if (dir->disk->stat(dir->disk, dir->root, &info, NULL) == TB_OK && info.is_dir)
		return TB_OK;
	tb_fail(err, TB_EIO, "the directory %s of the repository is gone", dir->root);
	tb_hint(err, "is its disk mounted?");
	return TB_EIO;
}

/* Directories */

static int known_find(const dir_tier *dir, const char *path, size_t *ret_at)
{
	size_t low = 0, high = dir->known_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = strcmp(dir->known[middle], path);
		if (order == 0)
			return 1;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_at = low;
	return 0;
}

static void known_forget(dir_tier *dir)
{
	for (size_t i = 0; i < dir->known_count; i++)
		free(dir->known[i]);
	dir->known_count = 0;
}

static void known_add(dir_tier *dir, const char *path)
{
	size_t at = 0;
	if (dir->known_count == KNOWN_MAX)
		known_forget(dir);
	known_find(dir, path, &at); /* it isn't among them: where it belongs is wanted */
	memmove(dir->known + at + 1, dir->known + at, (dir->known_count - at) * sizeof(*dir->known));
	dir->known[at] = tb_strdup(path);
	dir->known_count++;
}

/* Makes path and what is missing above it. The parent is synced even when it is there: who made it may have died in
 * between. */
static tb_rc ensure_dir(dir_tier *dir, const char *path, tb_err *err)
{
	size_t at;
	if (strcmp(path, dir->root) == 0 || known_find(dir, path, &at))
		return TB_OK;
	char *copy = tb_strdup(path);
	const char *parent = dirname(copy);
	tb_rc rc = ensure_dir(dir, parent, err);
	if (rc == TB_OK)
		rc = dir->disk->mkdir(dir->disk, path, err);
	if (rc == TB_OK)
		rc = dir->disk->sync_dir(dir->disk, parent, err);
	if (rc == TB_OK)
		known_add(dir, path);
	free(copy);
	return rc;
}

/* Putting */

static tb_rc write_synced(tb_disk *disk, const char *path, tb_span bytes, tb_err *err)
{
	tb_file *file;
	tb_rc rc = disk->open(disk, path, TB_DISK_WRITE | TB_DISK_CREATE | TB_DISK_EXCLUSIVE, &file, err);
	if (rc != TB_OK)
		return rc;
	rc = disk->write(disk, file, 0, bytes.data, bytes.size, err);
	if (rc == TB_OK && !TB_PLANTED(16))
		rc = disk->sync(disk, file, err);
	disk->close(disk, file);
	return rc;
}

static tb_rc write_beside(dir_tier *dir, const char *parent, const char *path, tb_span bytes, tb_err *err)
{
	uint64_t chance;
	tb_auto(tb_buf_drop) tb_buf beside = { 0 };
	randombytes_buf(&chance, sizeof(chance));
	tb_buf_print(&beside, "%s/.tmp-%016" PRIx64, parent, chance);
	tb_rc rc = write_synced(dir->disk, tb_buf_text(&beside), bytes, err);
	if (rc == TB_OK)
		rc = dir->disk->rename(dir->disk, tb_buf_text(&beside), path, err);
	if (rc != TB_OK)
		dir->disk->unlink(dir->disk, tb_buf_text(&beside), NULL);
	return rc;
}

static tb_rc compare_open(tb_disk *disk, tb_file *file, tb_span bytes, int *ret_same, tb_err *err)
{
	uint64_t size;
	tb_auto(tb_buf_drop) tb_buf piece = { 0 };
	tb_rc rc = disk->size(disk, file, &size, err);
	int same = rc == TB_OK && size == bytes.size;
	tb_buf_reserve(&piece, PIECE);
	for (size_t at = 0; rc == TB_OK && same && at < bytes.size; at += PIECE) {
		size_t wanted = bytes.size - at < PIECE ? bytes.size - at : PIECE;
		rc = disk->read(disk, file, at, piece.data, wanted, &piece.size, err);
		same = rc == TB_OK && tb_span_equal(tb_buf_span(&piece), tb_span_of(bytes.data + at, wanted));
	}
	if (rc == TB_OK)
		*ret_same = same;
	return rc;
}

static tb_rc compare_file(tb_disk *disk, const char *path, tb_span bytes, int *ret_same, tb_err *err)
{
	tb_file *file;
	tb_rc rc = disk->open(disk, path, TB_DISK_READ, &file, err);
	if (rc != TB_OK)
		return rc;
	rc = compare_open(disk, file, bytes, ret_same, err);
	disk->close(disk, file);
	return rc;
}

/* TB_ENOTFOUND: nothing is there yet. */
static tb_rc compare(dir_tier *dir, const char *name, const char *path, tb_span bytes, tb_err *err)
{
	tb_disk_info info;
	int same = 0;
	tb_rc rc = dir->disk->stat(dir->disk, path, &info, err);
	if (rc == TB_OK && !info.is_dir)
		rc = compare_file(dir->disk, path, bytes, &same, err);
	if (rc != TB_OK || same)
		return rc;
	tb_fail(err, TB_EREFUSED, "%s is there already with other bytes, and nothing in %s is ever replaced", name,
	        dir->url);
	tb_hint(err, "run tb verify: either it is damaged, or two instances write into one repository");
	return TB_EREFUSED;
}

static tb_rc put_at(dir_tier *dir, const char *name, const char *path, tb_span bytes, tb_err *err)
{
	char *copy = tb_strdup(path);
	const char *parent = dirname(copy);
	tb_rc rc = ensure_dir(dir, parent, err);
	if (rc == TB_OK)
		rc = compare(dir, name, path, bytes, err);
	if (rc == TB_ENOTFOUND)
		rc = write_beside(dir, parent, path, bytes, err);
	/* Also when it was there: who put it may have died before its name was on disk. */
	if (rc == TB_OK && !TB_PLANTED(17))
		rc = dir->disk->sync_dir(dir->disk, parent, err);
	free(copy);
	return rc;
}

static tb_rc dir_put(tb_tier *tier, const char *name, tb_span bytes, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = tb_tier_name_check(name, err);
	if (rc == TB_OK)
		rc = put_at(of(tier), name, path_of(of(tier), name, &path), bytes, err);
	if (rc != TB_OK)
		known_forget(of(tier)); /* somebody may have removed directories */
	if (rc != TB_ENOTFOUND)
		return rc;
	rc = still_there(of(tier), err);
	return rc != TB_OK ? rc : tb_fail(err, TB_EIO, "can't put %s into %s: its directory was removed", name, of(tier)->url);
}

/* Getting */

static tb_rc find_file(dir_tier *dir, const char *name, tb_buf *path, uint64_t *ret_size, tb_err *err)
{
	tb_disk_info info;
	tb_rc rc = tb_tier_name_check(name, err);
	if (rc != TB_OK)
		return rc;
	rc = dir->disk->stat(dir->disk, path_of(dir, name, path), &info, err);
	if (rc == TB_ENOTFOUND)
		rc = still_there(dir, err);
	else if (rc == TB_OK && !info.is_dir) {
		*ret_size = info.size;
		return TB_OK;
	}
	if (rc == TB_OK)
		return tb_fail(err, TB_ENOTFOUND, "there is no %s in %s", name, dir->url);
	return rc;
}

static tb_rc dir_stat(tb_tier *tier, const char *name, uint64_t *ret_size, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	return find_file(of(tier), name, &path, ret_size, err);
}

static tb_rc dir_get(tb_tier *tier, const char *name, size_t size_max, tb_buf *ret_bytes, tb_err *err)
{
	dir_tier *dir = of(tier);
	uint64_t size;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = find_file(dir, name, &path, &size, err);
	if (rc == TB_OK && size > size_max)
		rc = tb_fail(err, TB_ECORRUPT, "%s in %s has %llu bytes, more than the %zu it may have", name, dir->url,
		             (unsigned long long)size, size_max);
	if (rc == TB_OK)
		rc = tb_disk_read_file(dir->disk, tb_buf_text(&path), size_max, ret_bytes, err);
	return rc;
}

static tb_rc dir_holds(tb_tier *tier, const char *name, tb_span bytes, int *ret_same, tb_err *err)
{
	dir_tier *dir = of(tier);
	uint64_t size;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = find_file(dir, name, &path, &size, err);
	if (rc == TB_OK)
		rc = compare_file(dir->disk, tb_buf_text(&path), bytes, ret_same, err);
	return rc;
}

static tb_rc dir_remove(tb_tier *tier, const char *name, tb_err *err)
{
	dir_tier *dir = of(tier);
	uint64_t size;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = dir_stat(tier, name, &size, err);
	if (rc == TB_OK)
		rc = dir->disk->unlink(dir->disk, path_of(dir, name, &path), err);
	if (rc == TB_ENOTFOUND)
		return TB_OK;
	if (rc != TB_OK)
		return rc;
	return dir->disk->sync_dir(dir->disk, dirname((char *)tb_buf_text(&path)), err);
}

/* Listing */

struct entry {
	char *name; /* of a directory with '/' at its end, which makes the order that of whole paths */
	uint64_t size;
};

struct listing {
	dir_tier *dir;
	const char *path;
	struct entry *entries;
	size_t count, capacity;
};

static void listing_drop(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		free(listing->entries[i].name);
	free(listing->entries);
}

static void listing_add(struct listing *listing, const char *name, const tb_disk_info *info)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	if (listing->count == listing->capacity) {
		listing->capacity = listing->capacity ? listing->capacity * 2 : 64;
		listing->entries = tb_realloc(listing->entries, listing->capacity * sizeof(*listing->entries));
	}
	tb_buf_print(&text, "%s%s", name, info->is_dir ? "/" : "");
	listing->entries[listing->count++] = (struct entry){ tb_strdup(tb_buf_text(&text)), info->size };
}

static tb_rc collect(void *context, const char *name, int is_dir, tb_err *err)
{
	(void)is_dir; /* a link to a directory is one too, so ask */
	struct listing *listing = context;
	tb_disk *disk = listing->dir->disk;
	tb_disk_info info;
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	if (name[0] == '.')
		return TB_OK;
	tb_buf_print(&path, "%s/%s", listing->path, name);
	tb_rc rc = disk->stat(disk, tb_buf_text(&path), &info, err);
	if (rc == TB_ENOTFOUND) /* removed meanwhile */
		return TB_OK;
	if (rc == TB_OK && (!info.is_dir || tb_tier_name_check(name, NULL) == TB_OK)) /* lost+found isn't ours to enter */
		listing_add(listing, name, &info);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static tb_rc walk(dir_tier *dir, tb_buf *name, tb_tier_entry_fn each, void *context, tb_err *err);

static tb_rc give(dir_tier *dir, tb_buf *name, const struct entry *entry, tb_tier_entry_fn each, void *context,
                  tb_err *err)
{
	size_t before = name->size;
	size_t size = strlen(entry->name);
	if (before + size > PATH_BELOW_MAX)
		return tb_fail(err, TB_ECORRUPT, "a name below %s/%.80s… is longer than any in a repository", dir->url,
		               tb_buf_text(name));
	tb_buf_append(name, entry->name, size);
	tb_rc rc = entry->name[size - 1] == '/' ? walk(dir, name, each, context, err)
	                                        : each(context, tb_buf_text(name), entry->size, err);
	name->size = before;
	return rc;
}

/* name: the directory below the root, empty or ending with '/'. */
static tb_rc walk(dir_tier *dir, tb_buf *name, tb_tier_entry_fn each, void *context, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_auto(listing_drop) struct listing listing = { .dir = dir };
	listing.path = path_of(dir, tb_buf_text(name), &path);
	tb_rc rc = dir->disk->list(dir->disk, listing.path, collect, &listing, err);
	if (rc == TB_ENOTFOUND)
		return still_there(dir, err);
	if (listing.count > 1)
		qsort(listing.entries, listing.count, sizeof(*listing.entries), by_name);
	for (size_t i = 0; rc == TB_OK && i < listing.count; i++)
		rc = give(dir, name, &listing.entries[i], each, context, err);
	return rc;
}

static tb_rc dir_list(tb_tier *tier, const char *prefix, tb_tier_entry_fn each, void *context, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	tb_rc rc = *prefix ? tb_tier_name_check(prefix, err) : TB_OK;
	if (rc != TB_OK)
		return rc;
	tb_buf_print(&name, "%s%s", prefix, *prefix ? "/" : "");
	return walk(of(tier), &name, each, context, err);
}

/* Opening */

static void dir_close(tb_tier *tier)
{
	dir_tier *dir = of(tier);
	known_forget(dir);
	free(dir->known);
	free(dir->root);
	free(dir->url);
	free(dir);
}

static tb_rc check_root(tb_disk *disk, const char *path, int create, tb_err *err)
{
	tb_disk_info info;
	if (*path == '\0')
		return tb_fail(err, TB_EINVAL, "an empty path is no repository");
	tb_rc rc = create ? tb_disk_make_path(disk, path, err) : TB_OK;
	if (rc == TB_OK)
		rc = disk->stat(disk, path, &info, err);
	if (rc == TB_ENOTFOUND) {
		tb_fail(err, rc, "there is no directory %s", path);
		tb_hint(err, "is its disk mounted?");
		return rc;
	}
	if (rc == TB_OK && !info.is_dir)
		return tb_fail(err, TB_EINVAL, "%s is not a directory", path);
	return rc;
}

tb_rc tb_tier_dir_open(tb_disk *disk, const char *path, const char *url, int create, tb_tier **ret_tier, tb_err *err)
{
	tb_rc rc = check_root(disk, path, create, err);
	if (rc != TB_OK)
		return rc;
	dir_tier *dir = tb_alloc_zero(1, sizeof(*dir));
	dir->disk = disk;
	dir->root = tb_strdup(path);
	for (size_t size = strlen(dir->root); size > 1 && dir->root[size - 1] == '/'; size--)
		dir->root[size - 1] = '\0';
	dir->url = tb_strdup(url);
	dir->known = tb_alloc(KNOWN_MAX * sizeof(*dir->known));
	dir->tier = (tb_tier){ .put = dir_put, .get = dir_get, .holds = dir_holds, .stat = dir_stat, .list = dir_list, .remove = dir_remove,
	                       .close = dir_close, .url = dir->url };
	*ret_tier = &dir->tier;
	return TB_OK;
}
