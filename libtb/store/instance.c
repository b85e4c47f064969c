#include "store/instance.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct making {
	tb_disk *disk;
	const char *dir;
	uint64_t now_ns;
	uint8_t repository[TB_REPOSITORY_ID];
	tb_key *instance, *collector, *identity;
};

static const char *below(tb_buf *path, const char *dir, const char *name)
{
	tb_buf_clear(path);
	tb_buf_print(path, "%s/%s", dir, name);
	return tb_buf_text(path);
}

static tb_rc found_entry(void *context, const char *name, int is_dir, tb_err *err)
{
	(void)is_dir;
	tb_fail(err, TB_EBUSY, "%s isn't empty: it holds %s", (const char *)context, name);
	tb_hint(err, "name a directory that doesn't exist yet, or an empty one");
	return TB_EBUSY;
}

static tb_rc check_empty(tb_disk *disk, const char *dir, tb_err *err)
{
	tb_disk_info info;
	tb_rc rc = disk->stat(disk, dir, &info, NULL);
	if (rc == TB_ENOTFOUND)
		return TB_OK;
	if (rc == TB_OK && !info.is_dir)
		return tb_fail(err, TB_EBUSY, "%s is there and is no directory", dir);
	return disk->list(disk, dir, found_entry, (void *)(uintptr_t)dir, err);
}

static tb_rc make_dirs(struct making *making, tb_err *err)
{
	static const char *const names[] = { "keys", "run", "banks", "outbox", "journal", "logs", "repository" };
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = tb_disk_make_path(making->disk, making->dir, err);
	for (size_t i = 0; rc == TB_OK && i < sizeof(names) / sizeof(names[0]); i++) {
		const char *name = below(&path, making->dir, names[i]);
		rc = tb_disk_make_path(making->disk, name, err);
		if (rc == TB_OK && strcmp(names[i], "repository") != 0 && chmod(name, 0700) != 0)
			rc = tb_fail_errno(err, errno, "can't close %s to others", name);
	}
	return rc;
}

static tb_rc make_key(struct making *making, tb_key_kind kind, const char *name, tb_key **ret_key, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = tb_key_make(kind, making->repository, making->instance, making->now_ns, ret_key, err);
	if (rc == TB_OK)
		rc = tb_key_write(making->disk, below(&path, making->dir, name), *ret_key, err);
	return rc;
}

static tb_rc make_public(struct making *making, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 }, text = { 0 };
	tb_buf_print(&text, "tradebank-instance 1\ninstance: ");
	tb_buf_hex(&text, tb_key_public(making->instance), TB_PUBLIC_KEY);
	tb_buf_print(&text, "\nrepository: ");
	tb_buf_hex(&text, making->repository, TB_REPOSITORY_ID);
	tb_buf_print(&text, "\n");
	return tb_disk_write_file(making->disk, below(&path, making->dir, "keys/instance.pub"), tb_buf_span(&text), 0, err);
}

static tb_rc make_repository(struct making *making, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 }, wraps = { 0 };
	uint8_t record[TB_PERIOD_RECORD], recipient[1][TB_PUBLIC_KEY];
	tb_period period;
	tb_tier *tier = NULL;
	memcpy(recipient[0], tb_key_public(making->identity), TB_PUBLIC_KEY);
	tb_rc rc = tb_period_make(making->instance, recipient, 1, making->now_ns, record, &wraps, err);
	if (rc == TB_OK)
		rc = tb_period_read(tb_span_of(record, sizeof(record)), NULL, &period, err);
	if (rc == TB_OK)
		rc = tb_tier_open(making->disk, below(&path, making->dir, "repository"), 1, &tier, err);
	if (rc == TB_OK)
		rc = tb_repository_make(tier, making->repository, err);
	if (rc == TB_OK) {
		char id[2 * TB_PERIOD_ID + 1], name[TB_ID_TEXT];
		tb_hex(id, period.id, TB_PERIOD_ID);
		tb_recipient_id(recipient[0], name);
		tb_buf_clear(&path);
		tb_buf_print(&path, "keys/%s/%s", id, name);
		rc = tier->put(tier, tb_buf_text(&path), tb_buf_span(&wraps), err);
	}
	tb_tier_close(tier);
	if (rc == TB_OK)
		rc = tb_disk_write_file(making->disk, below(&path, making->dir, "keys/period.rec"),
		                        tb_span_of(record, sizeof(record)), 0, err);
	return rc;
}

static void remove_made(struct making *making)
{
	static const char *const names[] = { "keys", "run", "banks", "outbox", "journal", "logs", "repository" };
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	making->disk->unlink(making->disk, below(&path, making->dir, "tb.yaml"), NULL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		tb_disk_remove_tree(making->disk, below(&path, making->dir, names[i]), NULL);
}

tb_rc tb_instance_make(tb_disk *disk, const char *dir, tb_span config, uint64_t now_ns, tb_buf *ret_kit, tb_err *err)
{
	struct making making = { .disk = disk, .dir = dir, .now_ns = now_ns };
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = check_empty(disk, dir, err);
	if (rc != TB_OK)
		return rc;
	randombytes_buf(making.repository, TB_REPOSITORY_ID);
	rc = make_dirs(&making, err);
	if (rc == TB_OK)
		rc = make_key(&making, TB_KEY_INSTANCE, "keys/instance.key", &making.instance, err);
	if (rc == TB_OK)
		rc = make_key(&making, TB_KEY_COLLECTOR, "keys/collector.key", &making.collector, err);
	if (rc == TB_OK)
		rc = make_key(&making, TB_KEY_IDENTITY, "keys/identity.key", &making.identity, err);
	if (rc == TB_OK)
		rc = make_public(&making, err);
	if (rc == TB_OK)
		rc = make_repository(&making, err);
	/* The configuration last: an instance is one when it has it. */
	if (rc == TB_OK)
		rc = tb_disk_write_file(disk, below(&path, dir, "tb.yaml"), config, 0, err);
	if (rc == TB_OK)
		tb_key_kit(making.identity, below(&path, dir, "repository"), ret_kit);
	else
		remove_made(&making);
	tb_key_free(making.instance);
	tb_key_free(making.collector);
	tb_key_free(making.identity);
	return rc;
}

tb_rc tb_instance_check(tb_disk *disk, const char *dir, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_disk_info info;
	tb_rc rc = disk->stat(disk, below(&path, dir, "tb.yaml"), &info, err);
	if (rc == TB_ENOTFOUND) {
		tb_fail(err, TB_ENOTFOUND, "%s holds no instance: there is no tb.yaml in it", dir);
		tb_hint(err, "make one with `tb init --dir %s`", dir);
	}
	return rc;
}

static int read_field(const char *text, const char *name, uint8_t *ret_bytes, size_t size)
{
	const char *at = strstr(text, name);
	char hex[2 * 64 + 1];
	if (at == NULL || size > 64 || strlen(at + strlen(name)) < 2 * size)
		return 0;
	memcpy(hex, at + strlen(name), 2 * size);
	hex[2 * size] = '\0';
	return tb_unhex(ret_bytes, size, hex);
}

tb_rc tb_instance_public_read(tb_disk *disk, const char *path, uint8_t ret_instance[TB_PUBLIC_KEY],
                              uint8_t ret_repository[TB_REPOSITORY_ID], tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	uint8_t instance[TB_PUBLIC_KEY], repository[TB_REPOSITORY_ID];
	tb_rc rc = tb_disk_read_file(disk, path, 4096, &bytes, err);
	if (rc != TB_OK)
		return rc;
	const char *text = tb_buf_text(&bytes);
	if (strncmp(text, "tradebank-instance 1\n", 21) != 0 || !read_field(text, "\ninstance: ", instance, sizeof(instance)) ||
	    !read_field(text, "\nrepository: ", repository, sizeof(repository))) {
		tb_fail(err, TB_EKEY, "%s isn't an instance's public file", path);
		tb_hint(err, "it is keys/instance.pub of the instance's directory");
		return TB_EKEY;
	}
	memcpy(ret_instance, instance, sizeof(instance));
	memcpy(ret_repository, repository, sizeof(repository));
	return TB_OK;
}
