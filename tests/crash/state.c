/* The model of a disk; see crash.h. What was synced is applied at once, what wasn't is held back, page by page. */
#include "crash.h"

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>

#define MAPPED_VERSIONS 8
#define IS_DIR UINT32_MAX

struct piece { /* of an unsynced write: within one page */
	uint64_t page;
	uint32_t from, size;
	const uint8_t *bytes; /* the log's; NULL: zeros */
};

struct disk_file {
	tb_buf synced;
	uint64_t check; /* over synced, when check_known */
	int check_known;
	struct piece *pieces;
	size_t piece_count, piece_room;
	uint64_t *sizes; /* since the last sync */
	size_t size_count, size_room;
	uint64_t size; /* the present one */
};

struct entry {
	const char *path; /* the log's */
	uint32_t file;    /* or IS_DIR */
};

struct entries {
	struct entry *at;
	size_t count, room;
};

struct crash_disk {
	struct disk_file *files;
	size_t file_count;
	struct entries durable;
	const struct crash_op **names; /* operations on names whose directory wasn't synced since */
	size_t name_count, name_room;
	size_t sealed; /* so many of them came before the last sync of anything */
};

struct laid {
	struct entry entry;
	tb_span bytes;
	tb_buf own;
	uint64_t check;
};

struct crash_state {
	struct laid *files; /* and directories, each before what is in it */
	size_t count;
	uint64_t hash;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t z = (a ^ b * UINT64_C(0x9e3779b97f4a7c15)) + UINT64_C(0xd1342543de82ef95);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* ---- names */

static struct entry *entry_find(const struct entries *entries, const char *path)
{
	for (size_t i = 0; i < entries->count; i++)
		if (strcmp(entries->at[i].path, path) == 0)
			return &entries->at[i];
	return NULL;
}

static void entry_remove(struct entries *entries, const char *path)
{
	struct entry *entry = entry_find(entries, path);
	if (entry == NULL)
		return;
	size_t at = (size_t)(entry - entries->at);
	memmove(entry, entry + 1, (--entries->count - at) * sizeof(*entry));
}

static void entry_set(struct entries *entries, const char *path, uint32_t file)
{
	entry_remove(entries, path);
	if (entries->count == entries->room) {
		entries->room += 64;
		entries->at = tb_realloc(entries->at, entries->room * sizeof(*entries->at));
	}
	entries->at[entries->count++] = (struct entry){ path, file };
}

static void entries_apply(struct entries *entries, const struct crash_op *op)
{
	const struct entry *entry;
	if (op->kind == CRASH_CREATE || op->kind == CRASH_MKDIR)
		entry_set(entries, op->path, op->kind == CRASH_MKDIR ? IS_DIR : op->file);
	if (op->kind == CRASH_RENAME && (entry = entry_find(entries, op->path)) != NULL)
		entry_set(entries, op->to, entry->file);
	if (op->kind != CRASH_CREATE && op->kind != CRASH_MKDIR)
		entry_remove(entries, op->path);
}

static int same_name(const struct crash_op *a, const struct crash_op *b)
{
	return strcmp(a->path, b->path) == 0 || (a->to && strcmp(a->to, b->path) == 0) ||
	       (b->to && (strcmp(a->path, b->to) == 0 || (a->to && strcmp(a->to, b->to) == 0)));
}

/* Whoever is chosen brings what came before it of the same name. */
static void choose_before(const struct crash_disk *disk, uint8_t *chosen)
{
	for (size_t i = disk->name_count; i-- > 0;)
		for (size_t j = 0; chosen[i] && j < i; j++)
			if (same_name(disk->names[i], disk->names[j]))
				chosen[j] = 1;
}

static int is_in(const char *path, const char *dir)
{
	const char *slash = strrchr(path, '/');
	size_t size = slash != NULL ? (size_t)(slash - path) : 0;
	return strlen(dir) == size && strncmp(path, dir, size) == 0;
}

static void sync_dir(struct crash_disk *disk, const char *dir)
{
	uint8_t *chosen = tb_alloc_zero(disk->name_count + 1, 1);
	size_t left = 0, sealed = 0;
	for (size_t i = 0; i < disk->name_count; i++)
		chosen[i] = is_in(disk->names[i]->path, dir) || (disk->names[i]->to && is_in(disk->names[i]->to, dir));
	choose_before(disk, chosen);
	for (size_t i = 0; i < disk->name_count; i++) {
		if (chosen[i]) {
			entries_apply(&disk->durable, disk->names[i]);
			continue;
		}
		sealed += i < disk->sealed;
		disk->names[left++] = disk->names[i];
	}
	disk->name_count = left;
	disk->sealed = sealed;
	free(chosen);
}

static void name_add(struct crash_disk *disk, const struct crash_op *op)
{
	if (disk->name_count == disk->name_room) {
		disk->name_room += 64;
		disk->names = tb_realloc(disk->names, disk->name_room * sizeof(*disk->names));
	}
	disk->names[disk->name_count++] = op;
}

/* ---- contents */

static void resize(tb_buf *buf, uint64_t size)
{
	if (size > buf->size) {
		tb_buf_reserve(buf, size - buf->size);
		memset(buf->data + buf->size, 0, size - buf->size);
	}
	buf->size = size;
}

static void put(tb_buf *buf, uint64_t offset, const uint8_t *bytes, size_t size)
{
	if (offset + size > buf->size)
		resize(buf, offset + size);
	if (bytes != NULL)
		memcpy(buf->data + offset, bytes, size);
	else
		memset(buf->data + offset, 0, size);
}

static void piece_add(struct disk_file *file, struct piece piece)
{
	if (file->piece_count == file->piece_room) {
		file->piece_room = file->piece_room ? file->piece_room * 2 : 64;
		file->pieces = tb_realloc(file->pieces, file->piece_room * sizeof(*file->pieces));
	}
	file->pieces[file->piece_count++] = piece;
}

static void size_set(struct disk_file *file, uint64_t size)
{
	if (file->size_count == file->size_room) {
		file->size_room = file->size_room ? file->size_room * 2 : 16;
		file->sizes = tb_realloc(file->sizes, file->size_room * sizeof(*file->sizes));
	}
	file->sizes[file->size_count++] = size;
	file->size = size;
}

static void write_pieces(struct disk_file *file, uint64_t offset, const uint8_t *bytes, uint64_t size)
{
	while (size > 0) {
		uint32_t from = (uint32_t)(offset % CRASH_PAGE);
		uint32_t part = size < CRASH_PAGE - from ? (uint32_t)size : CRASH_PAGE - from;
		piece_add(file, (struct piece){ offset / CRASH_PAGE, from, part, bytes });
		offset += part;
		size -= part;
		bytes = bytes != NULL ? bytes + part : NULL;
	}
}

/* The pieces of pages first..last become synced. */
static void sync_pages(struct disk_file *file, uint64_t first, uint64_t last)
{
	size_t left = 0;
	for (size_t i = 0; i < file->piece_count; i++) {
		const struct piece *piece = &file->pieces[i];
		if (piece->page < first || piece->page > last)
			file->pieces[left++] = *piece;
		else
			put(&file->synced, piece->page * CRASH_PAGE + piece->from, piece->bytes, piece->size);
	}
	file->piece_count = left;
	file->size_count = 0;
	resize(&file->synced, file->size);
	file->check_known = 0;
}

/* Of a mapped page older versions are taken to have reached the disk long ago. */
static void settle_mapped(struct disk_file *file, uint64_t page)
{
	size_t versions = 0, oldest = 0;
	for (size_t i = file->piece_count; i-- > 0;) {
		if (file->pieces[i].page != page)
			continue;
		versions++;
		oldest = i;
	}
	if (versions <= MAPPED_VERSIONS)
		return;
	const struct piece *piece = &file->pieces[oldest];
	put(&file->synced, page * CRASH_PAGE + piece->from, piece->bytes, piece->size);
	memmove(file->pieces + oldest, file->pieces + oldest + 1, (--file->piece_count - oldest) * sizeof(*piece));
	file->check_known = 0;
}

static void write_file(struct disk_file *file, const struct crash_op *op)
{
	write_pieces(file, op->offset, op->bytes, op->size);
	if (op->offset + op->size > file->size)
		size_set(file, op->offset + op->size);
	if (op->mapped)
		settle_mapped(file, op->offset / CRASH_PAGE);
}

/* What a shorter file let go of reads as zeros when it grows again. */
static void size_file(struct disk_file *file, uint64_t size)
{
	if (size < file->size)
		write_pieces(file, size, NULL, file->size - size);
	if (size != file->size)
		size_set(file, size);
}

/* ---- the disk */

struct crash_disk *crash_disk_new(const struct crash_log *log)
{
	struct crash_disk *disk = tb_alloc_zero(1, sizeof(*disk));
	disk->file_count = log->file_count;
	disk->files = tb_alloc_zero(log->file_count + 1, sizeof(*disk->files));
	return disk;
}

void crash_disk_free(struct crash_disk *disk)
{
	for (size_t i = 0; i < disk->file_count; i++) {
		tb_buf_drop(&disk->files[i].synced);
		free(disk->files[i].pieces);
		free(disk->files[i].sizes);
	}
	free(disk->files);
	free(disk->durable.at);
	free(disk->names);
	free(disk);
}

void crash_disk_apply(struct crash_disk *disk, const struct crash_op *op)
{
	struct disk_file *file = &disk->files[op->file];
	switch (op->kind) {
	case CRASH_WRITE:
		write_file(file, op);
		return;
	case CRASH_SIZE:
		size_file(file, op->offset);
		return;
	case CRASH_SYNC:
		sync_pages(file, 0, UINT64_MAX);
		disk->sealed = disk->name_count;
		return;
	case CRASH_SYNC_PAGES:
		sync_pages(file, op->offset / CRASH_PAGE, (op->offset + op->size - 1) / CRASH_PAGE);
		disk->sealed = disk->name_count;
		return;
	case CRASH_SYNC_DIR:
		disk->sealed = disk->name_count;
		sync_dir(disk, op->path);
		return;
	default:
		name_add(disk, op);
	}
}

/* ---- states: names */

static void choose_names(const struct crash_disk *disk, uint64_t chance, uint8_t *chosen)
{
	uint64_t any = mix(chance, 1);
	size_t count = disk->name_count;
	if (chance == 0 || (chance > 1 && any % 2 == 0)) {
		size_t kept = chance == 0 ? count : disk->sealed + any / 2 % (count - disk->sealed + 1);
		memset(chosen, 1, kept);
		return;
	}
	for (size_t i = 0; chance > 1 && i < count; i++)
		chosen[i] = mix(any, i) % 2 == 0;
	choose_before(disk, chosen);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

static int is_reached(const struct entries *entries, const char *path)
{
	char above[512];
	snprintf(above, sizeof(above), "%s", path);
	for (char *slash; (slash = strrchr(above, '/')) != NULL;) {
		*slash = '\0';
		const struct entry *entry = bsearch(&(struct entry){ above, 0 }, entries->at, entries->count, sizeof(*entry), by_path);
		if (entry == NULL || entry->file != IS_DIR)
			return 0;
	}
	return 1;
}

/* ---- states: contents */

/* Of each page, how many of its unsynced pieces got there; 0 for most of them when much is lost. */
static uint32_t pieces_kept(uint64_t chance, uint64_t page, uint64_t sector, uint32_t count)
{
	uint64_t share = mix(chance, 2) % 8, any = mix(mix(chance, page), 3);
	int torn = mix(chance, 4) % 2 == 0 && any % 4 == 0;
	if (torn)
		any = mix(any, sector);
	if (chance <= 1)
		return chance == 0 ? count : 0;
	if (any / 8 % 8 < share)
		return count;
	return any / 64 % 2 ? 0 : (uint32_t)(any / 128 % (count + 1));
}

static void put_sectors(tb_buf *own, uint64_t chance, const struct piece *piece, uint32_t index, uint32_t count)
{
	uint32_t at = piece->from, end = piece->from + piece->size;
	while (at < end) {
		uint32_t next = (at / CRASH_SECTOR + 1) * CRASH_SECTOR;
		next = next < end ? next : end;
		if (index < pieces_kept(chance, piece->page, at / CRASH_SECTOR, count))
			put(own, piece->page * CRASH_PAGE + at, piece->bytes ? piece->bytes + (at - piece->from) : NULL, next - at);
		at = next;
	}
}

static uint64_t choose_size(const struct disk_file *file, uint64_t chance)
{
	uint64_t any = mix(chance, 5);
	if (chance == 0 || (chance > 1 && any % 2 == 0))
		return file->size;
	if (chance == 1 || file->size_count == 0)
		return file->synced.size;
	uint64_t which = any / 2 % (file->size_count + 1);
	return which == 0 ? file->synced.size : file->sizes[which - 1];
}

static void lay_pieces(const struct disk_file *file, uint64_t chance, tb_buf *own)
{
	uint64_t pages = 0;
	for (size_t i = 0; i < file->piece_count; i++)
		pages = file->pieces[i].page >= pages ? file->pieces[i].page + 1 : pages;
	uint32_t *counts = tb_alloc_zero(2 * pages, sizeof(*counts)), *indices = counts + pages;
	for (size_t i = 0; i < file->piece_count; i++)
		counts[file->pieces[i].page]++;
	for (size_t i = 0; i < file->piece_count; i++) {
		const struct piece *piece = &file->pieces[i];
		put_sectors(own, chance, piece, indices[piece->page]++, counts[piece->page]);
	}
	free(counts);
}

static void lay_file(struct disk_file *file, uint64_t chance, struct laid *laid)
{
	if (file->piece_count == 0 && file->size_count == 0) {
		if (!file->check_known)
			file->check = tb_check64(file->synced.data, file->synced.size);
		file->check_known = 1;
		laid->check = file->check;
		laid->bytes = tb_buf_span(&file->synced);
		return;
	}
	tb_buf_append(&laid->own, file->synced.data, file->synced.size);
	if (file->piece_count > 0)
		lay_pieces(file, chance, &laid->own);
	resize(&laid->own, choose_size(file, chance));
	laid->bytes = tb_buf_span(&laid->own);
	laid->check = tb_check64(laid->bytes.data, laid->bytes.size);
}

/* ---- states */

struct crash_state *crash_state_new(const struct crash_disk *disk, uint64_t chance)
{
	struct crash_state *state = tb_alloc_zero(1, sizeof(*state));
	struct entries entries = { 0 };
	uint8_t *chosen = tb_alloc_zero(disk->name_count + 1, 1);
	for (size_t i = 0; i < disk->durable.count; i++)
		entry_set(&entries, disk->durable.at[i].path, disk->durable.at[i].file);
	choose_names(disk, chance, chosen);
	for (size_t i = 0; i < disk->name_count; i++)
		if (chosen[i])
			entries_apply(&entries, disk->names[i]);
	free(chosen);
	qsort(entries.at, entries.count, sizeof(*entries.at), by_path);
	state->files = tb_alloc_zero(entries.count + 1, sizeof(*state->files));
	for (size_t i = 0; i < entries.count; i++) {
		if (!is_reached(&entries, entries.at[i].path))
			continue;
		struct laid *laid = &state->files[state->count++];
		laid->entry = entries.at[i];
		if (laid->entry.file != IS_DIR)
			lay_file(&disk->files[laid->entry.file], chance > 1 ? mix(chance, laid->entry.file + 100) + 2 : chance, laid);
		state->hash += mix(tb_check64(laid->entry.path, strlen(laid->entry.path)), laid->check);
	}
	free(entries.at);
	return state;
}

void crash_state_free(struct crash_state *state)
{
	for (size_t i = 0; i < state->count; i++)
		tb_buf_drop(&state->files[i].own);
	free(state->files);
	free(state);
}

uint64_t crash_state_hash(const struct crash_state *state)
{
	return state->hash;
}

static tb_rc lay_one(const struct laid *laid, const char *path)
{
	tb_disk *disk = tb_disk_system();
	tb_file *file;
	if (laid->entry.file == IS_DIR)
		return disk->mkdir(disk, path, NULL);
	tb_rc rc = disk->open(disk, path, TB_DISK_WRITE | TB_DISK_CREATE | TB_DISK_PRIVATE, &file, NULL);
	if (rc != TB_OK)
		return rc;
	rc = disk->write(disk, file, 0, laid->bytes.data, laid->bytes.size, NULL);
	disk->close(disk, file);
	return rc;
}

int crash_state_lay(const struct crash_state *state, const char *root)
{
	tb_disk *disk = tb_disk_system();
	tb_disk_remove_tree(disk, root, NULL);
	tb_rc rc = disk->mkdir(disk, root, NULL);
	for (size_t i = 0; rc == TB_OK && i < state->count; i++) {
		tb_auto(tb_buf_drop) tb_buf path = { 0 };
		tb_buf_print(&path, "%s/%s", root, state->files[i].entry.path);
		rc = lay_one(&state->files[i], tb_buf_text(&path));
	}
	return rc == TB_OK;
}

void crash_state_print(const struct crash_state *state)
{
	for (size_t i = 0; i < state->count; i++)
		printf("  %10zu %016llx %s%s\n", state->files[i].bytes.size, (unsigned long long)state->files[i].check,
		       state->files[i].entry.path, state->files[i].entry.file == IS_DIR ? "/" : "");
}
