/* Keys as text: the key file, and the recovery kit that is printed and typed in again. */
#include "store/key_parts.h"

#include <libgen.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILE_MAX 65536u
#define TITLE "tradebank-key "
#define VERSION "1"
#define CHECK_SIZE 8

/* Text that holds a secret: room is made before it comes in, so that no copy stays behind where it grew. */
#define TEXT_ROOM 4096
static void wipe(tb_buf *text)
{
	if (text->data != NULL)
		sodium_memzero(text->data, text->capacity);
	tb_buf_drop(text);
}

static const char *const kinds[] = { "instance", "collector", "identity" };

static tb_rc not_a_key(tb_err *err, const char *path, const char *why)
{
	tb_fail(err, TB_EKEY, "%s is not a usable key: %s", path, why);
	tb_hint(err, "take the file from its backup, or use the recovery kit");
	return TB_EKEY;
}

/* The key file */

static const struct field {
	const char *label;
	size_t offset, size;
	int collector; /* alone has it */
} fields[] = {
	{ "public: ", offsetof(tb_key, public_key), TB_PUBLIC_KEY, 0 },
	{ "secret: ", offsetof(tb_key, seed), TB_KEY_SEED, 0 },
	{ "instance: ", offsetof(tb_key, instance), TB_PUBLIC_KEY, 0 },
	{ "repository: ", offsetof(tb_key, repository), TB_REPOSITORY_ID, 0 },
	{ "certificate: ", offsetof(tb_key, certificate), TB_CERTIFICATE, 1 },
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static void file_text(const tb_key *key, tb_buf *text)
{
	uint8_t hash[32];
	tb_buf_reserve(text, TEXT_ROOM);
	tb_buf_print(text, TITLE VERSION "\nkind: %s\n", kinds[key->kind]);
	for (size_t i = 0; i < FIELDS; i++) {
		if (fields[i].collector && key->kind != TB_KEY_COLLECTOR)
			continue;
		tb_buf_print(text, "%s", fields[i].label);
		tb_buf_hex(text, (const uint8_t *)key + fields[i].offset, fields[i].size);
		tb_buf_byte(text, '\n');
	}
	crypto_generichash(hash, sizeof(hash), text->data, text->size, NULL, 0);
	tb_buf_print(text, "check: ");
	tb_buf_hex(text, hash, CHECK_SIZE);
	tb_buf_byte(text, '\n');
}

/* Skips a label, reads that many bytes of hex and the line's end; 0 when they aren't there. */
static int take_field(const char **at, const char *label, uint8_t *ret_bytes, size_t size)
{
	size_t label_size = strlen(label);
	char hex[2 * TB_CERTIFICATE + 1];
	if (strncmp(*at, label, label_size) != 0 || strnlen(*at + label_size, 2 * size + 1) < 2 * size + 1)
		return 0;
	memcpy(hex, *at + label_size, 2 * size);
	hex[2 * size] = '\0';
	int taken = tb_unhex(ret_bytes, size, hex) && (*at)[label_size + 2 * size] == '\n';
	sodium_memzero(hex, sizeof(hex));
	*at += label_size + 2 * size + 1;
	return taken;
}

static int take_text(const char **at, const char *text)
{
	size_t size = strlen(text);
	if (strncmp(*at, text, size) != 0)
		return 0;
	*at += size;
	return 1;
}

static int take_fields(const char *at, tb_key_kind kind, tb_key *parts)
{
	if (!take_text(&at, TITLE VERSION "\nkind: ") || !take_text(&at, kinds[kind]) || !take_text(&at, "\n"))
		return 0;
	for (size_t i = 0; i < FIELDS; i++) {
		if (fields[i].collector && kind != TB_KEY_COLLECTOR)
			continue;
		if (!take_field(&at, fields[i].label, (uint8_t *)parts + fields[i].offset, fields[i].size))
			return 0;
	}
	return 1;
}

/* The key of these parts; its text must be the file, byte for byte: nothing in it is unchecked. */
static tb_rc key_of_parts(const tb_key *parts, tb_buf *text, const char *path, tb_key **ret_key, tb_err *err)
{
	tb_key *key;
	tb_rc rc = tb_key_of_seed(parts->kind, parts->seed, &key, err);
	if (rc != TB_OK)
		return rc;
	memcpy(key->instance, parts->instance, TB_PUBLIC_KEY);
	memcpy(key->repository, parts->repository, TB_REPOSITORY_ID);
	memcpy(key->certificate, parts->certificate, TB_CERTIFICATE);
	tb_auto(wipe) tb_buf again = { 0 };
	uint8_t signer[TB_PUBLIC_KEY];
	file_text(key, &again);
	if (!tb_span_equal(tb_buf_span(text), tb_buf_span(&again)))
		rc = not_a_key(err, path, "it was altered: its check does not hold");
	else if (key->kind == TB_KEY_INSTANCE && memcmp(key->instance, key->public_key, TB_PUBLIC_KEY) != 0)
		rc = not_a_key(err, path, "it names another instance");
	else if (key->kind == TB_KEY_COLLECTOR &&
	         (tb_certificate_check(tb_span_of(key->certificate, TB_CERTIFICATE), key->instance, key->repository,
	                               signer, NULL) != TB_OK || memcmp(signer, key->public_key, TB_PUBLIC_KEY) != 0))
		rc = not_a_key(err, path, "its certificate does not hold");
	if (rc != TB_OK)
		tb_key_free(key);
	else
		*ret_key = key;
	return rc;
}

static tb_rc read_key_file(tb_buf *text, const char *path, tb_key_kind kind, tb_key **ret_key, tb_err *err)
{
	const char *content = tb_buf_text(text);
	if (strncmp(content + strlen(TITLE), VERSION "\n", strlen(VERSION "\n")) != 0 && content[strlen(TITLE)] > '1' &&
	    content[strlen(TITLE)] <= '9')
		return tb_fail(err, TB_EUNSUPPORTED, "the key file %s is of a newer format", path);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const char *at = content;
		if (i != kind && take_text(&at, TITLE VERSION "\nkind: ") && take_text(&at, kinds[i]) && *at == '\n')
			return tb_fail(err, TB_EKEY, "%s is the key of kind %s, but one of kind %s is wanted", path, kinds[i],
			               kinds[kind]);
	}
	tb_key *parts = sodium_malloc(sizeof(*parts));
	if (parts == NULL)
		return tb_fail(err, TB_ENOMEM, "no locked memory for a key");
	memset(parts, 0, sizeof(*parts));
	parts->kind = kind;
	tb_rc rc = take_fields(content, kind, parts) ? key_of_parts(parts, text, path, ret_key, err)
	                                             : not_a_key(err, path, "it was cut short or altered");
	sodium_free(parts);
	return rc;
}

/* The recovery kit: rows of 16 bytes in groups of four hex digits, with a check word of four behind '='. The last row
 * is over the others, so that two wrong words can't hide each other. */

#define ROW 16
#define ROW_DIGITS (2 * ROW + 4)
static const char *const rows[] = { "id:", "instance-1:", "instance-2:", "secret-1:", "secret-2:", "whole:" };
enum { ROWS = sizeof(rows) / sizeof(rows[0]), WHOLE = ROWS - 1 };
enum { AT_REPOSITORY = 0, AT_INSTANCE = ROW, AT_SECRET = 3 * ROW, AT_WHOLE = WHOLE * ROW, KIT_SIZE = ROWS * ROW };

static void check_word(int row, const uint8_t bytes[ROW], char ret_word[5])
{
	uint8_t hash[32];
	crypto_generichash_state state;
	crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	crypto_generichash_update(&state, (const uint8_t *)rows[row], strlen(rows[row]));
	crypto_generichash_update(&state, bytes, ROW);
	crypto_generichash_final(&state, hash, sizeof(hash));
	tb_hex(ret_word, hash, 2);
	sodium_memzero(&state, sizeof(state));
}

static void check_whole(const uint8_t kit[KIT_SIZE], uint8_t ret_check[ROW])
{
	crypto_generichash(ret_check, ROW, kit, AT_WHOLE, NULL, 0);
}

static void print_row(tb_buf *to, int row, const uint8_t bytes[ROW])
{
	char word[5];
	tb_buf_print(to, "    %-12s", rows[row]);
	for (int i = 0; i < ROW; i += 2) {
		tb_buf_byte(to, ' ');
		tb_buf_hex(to, bytes + i, 2);
	}
	check_word(row, bytes, word);
	tb_buf_print(to, " = %s\n", word);
}

void tb_key_kit(const tb_key *identity, const char *repository_url, tb_buf *to)
{
	uint8_t kit[KIT_SIZE];
	memcpy(kit + AT_REPOSITORY, identity->repository, TB_REPOSITORY_ID);
	memcpy(kit + AT_INSTANCE, identity->instance, TB_PUBLIC_KEY);
	memcpy(kit + AT_SECRET, identity->seed, TB_KEY_SEED);
	check_whole(kit, kit + AT_WHOLE);
	tb_buf_reserve(to, TEXT_ROOM + 2 * strlen(repository_url));
	tb_buf_print(to, "TRADEBANK RECOVERY KIT\n\n"
	                 "Whoever has this page can read every backup in the repository, and without it or the key file\n"
	                 "nobody can. Print it, keep it away from the machines it is to bring back, and leave no copy.\n\n"
	                 "    address:     %s\n", repository_url);
	for (int row = 0; row < ROWS; row++)
		print_row(to, row, kit + row * ROW);
	tb_buf_print(to, "\nTo restore, type this page into a file that only you can read (chmod 600 FILE); the six rows\n"
	                 "with a '=' are what counts, spaces don't. Then\n\n"
	                 "    tb restore --stream NAME --repo %s --key FILE\n", repository_url);
	sodium_memzero(kit, sizeof(kit));
}

/* The digits of a row, whatever stands between them; 0 when it has others than 36. */
static int row_digits(const char *at, const char *end, char ret_digits[ROW_DIGITS + 1])
{
	int count = 0;
	for (; at < end; at++) {
		if (strchr(" \t\r=-", *at) != NULL)
			continue;
		if (count == ROW_DIGITS)
			return 0;
		ret_digits[count++] = *at;
	}
	ret_digits[count] = '\0';
	return count == ROW_DIGITS;
}

static int read_row(int row, const char *at, const char *end, uint8_t ret_bytes[ROW])
{
	char digits[ROW_DIGITS + 1], word[5];
	uint8_t typed[2], wanted[2];
	int good = row_digits(at, end, digits) && tb_unhex(typed, 2, digits + 2 * ROW);
	if (good) {
		digits[2 * ROW] = '\0';
		good = tb_unhex(ret_bytes, ROW, digits);
	}
	if (good) {
		check_word(row, ret_bytes, word);
		good = tb_unhex(wanted, 2, word) && memcmp(typed, wanted, 2) == 0;
	}
	sodium_memzero(digits, sizeof(digits));
	return good;
}

/* Finds each row at the beginning of some line. ret_row: the first one that is missing or mistyped. */
static int read_rows(const char *text, uint8_t ret_kit[KIT_SIZE], int *ret_row, int *ret_found)
{
	int good = 0;
	*ret_found = 0;
	for (const char *line = text; *line != '\0';) {
		const char *end = line + strcspn(line, "\n");
		const char *at = line + strspn(line, " \t");
		for (int row = 0; row < ROWS; row++) {
			size_t size = strlen(rows[row]);
			if (strncmp(at, rows[row], size) != 0)
				continue;
			*ret_found = 1;
			if (read_row(row, at + size, end, ret_kit + row * ROW))
				good |= 1 << row;
		}
		line = *end ? end + 1 : end;
	}
	for (*ret_row = 0; *ret_row < ROWS && good >> *ret_row & 1;)
		++*ret_row;
	return *ret_row == ROWS;
}

static tb_rc key_of_kit(const uint8_t kit[KIT_SIZE], tb_key **ret_key, tb_err *err)
{
	tb_key *key;
	tb_rc rc = tb_key_of_seed(TB_KEY_IDENTITY, kit + AT_SECRET, &key, err);
	if (rc != TB_OK)
		return rc;
	memcpy(key->repository, kit + AT_REPOSITORY, TB_REPOSITORY_ID);
	memcpy(key->instance, kit + AT_INSTANCE, TB_PUBLIC_KEY);
	*ret_key = key;
	return TB_OK;
}

static tb_rc read_kit(tb_buf *text, const char *path, tb_key **ret_key, tb_err *err)
{
	uint8_t kit[KIT_SIZE], whole[ROW];
	int row, found;
	tb_rc rc;
	if (!read_rows(tb_buf_text(text), kit, &row, &found)) {
		rc = not_a_key(err, path, "it is neither a key file nor a recovery kit");
		if (found) {
			tb_fail(err, TB_EKEY, "the recovery kit %s: the row \"%s\" is missing or mistyped", path, rows[row]);
			tb_hint(err, "compare it with the printed page: nine groups of 0-9 and a-f, the last behind '='");
		}
	} else {
		check_whole(kit, whole);
		rc = memcmp(whole, kit + AT_WHOLE, ROW) == 0 ? key_of_kit(kit, ret_key, err)
		                                             : not_a_key(err, path, "its rows don't belong together");
	}
	sodium_memzero(kit, sizeof(kit));
	return rc;
}

/* Files */

static tb_rc check_mode(const char *path, tb_err *err)
{
	struct stat info;
	if (stat(path, &info) != 0 || (info.st_mode & 077) == 0)
		return TB_OK; /* one that isn't there is told by who opens it */
	tb_fail(err, TB_EKEY, "others may read or change the key file %s (mode %04o)", path, (unsigned)info.st_mode & 07777);
	tb_hint(err, "chmod 600 %s", path);
	return TB_EKEY;
}

tb_rc tb_key_read(tb_disk *disk, const char *path, tb_key_kind kind, tb_key **ret_key, tb_err *err)
{
	tb_auto(wipe) tb_buf text = { 0 };
	tb_rc rc = check_mode(path, err);
	if (rc == TB_OK)
		rc = tb_disk_read_file(disk, path, FILE_MAX, &text, err);
	if (rc == TB_EINVAL)
		return not_a_key(err, path, "it is far too large");
	if (rc == TB_ENOTFOUND)
		tb_hint(err, "name the key's file, or one into which the recovery kit was typed");
	if (rc != TB_OK)
		return rc;
	if (kind == TB_KEY_IDENTITY && strncmp(tb_buf_text(&text), TITLE, strlen(TITLE)) != 0)
		return read_kit(&text, path, ret_key, err);
	if (strncmp(tb_buf_text(&text), TITLE, strlen(TITLE)) != 0)
		return not_a_key(err, path, "it does not begin with \"" TITLE "\"");
	return read_key_file(&text, path, kind, ret_key, err);
}

static tb_rc sync_parent(tb_disk *disk, const char *path, tb_err *err)
{
	char *copy = tb_strdup(path);
	tb_rc rc = disk->sync_dir(disk, dirname(copy), err);
	free(copy);
	return rc;
}

/* Never over another file: a key that is gone takes its backups with it. */
tb_rc tb_key_write(tb_disk *disk, const char *path, const tb_key *key, tb_err *err)
{
	tb_auto(wipe) tb_buf text = { 0 };
	tb_file *file;
	file_text(key, &text);
	tb_rc rc = disk->open(disk, path, TB_DISK_WRITE | TB_DISK_CREATE | TB_DISK_EXCLUSIVE | TB_DISK_PRIVATE, &file, err);
	if (rc != TB_OK)
		return rc;
	rc = disk->write(disk, file, 0, text.data, text.size, err);
	if (rc == TB_OK)
		rc = disk->sync(disk, file, err);
	disk->close(disk, file);
	if (rc == TB_OK)
		rc = sync_parent(disk, path, err);
	if (rc != TB_OK)
		disk->unlink(disk, path, NULL);
	return rc;
}
