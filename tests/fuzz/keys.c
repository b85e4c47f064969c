/* Whatever bears keys. The first byte: 0 to 2 a key file of that kind or, of an identity, a recovery kit, 3 the same with
 * a check that holds, 4 an instance's public file, 5 a period's record, 6 the same signed here, 7 a signer's certificate
 * signed here, 8 a wrap, 9 a wrap of this secret, 10 a repository's tradebank.json. */
#include "fuzz/fuzz_file.h"
#include "fuzz/fuzz_keys.h"

#include "store/instance.h"
#include "store/key_parts.h"

/* A key that was read is written as a file that gives the same key. */
static void write_key_again(const tb_key *key)
{
	char path[] = "/dev/shm/tb-fuzz-XXXXXX";
	int fd = mkstemp(path);
	tb_key *again;
	hold(fd >= 0);
	close(fd);
	unlink(path);
	hold(tb_key_write(tb_disk_system(), path, key, NULL) == TB_OK);
	hold(tb_key_read(tb_disk_system(), path, key->kind, &again, NULL) == TB_OK);
	unlink(path);
	hold(memcmp(again->public_key, key->public_key, TB_PUBLIC_KEY) == 0);
	tb_key_free(again);
}

static void read_key_file(tb_span text, tb_key_kind kind)
{
	fuzz_file file = fuzz_file_make(text);
	tb_key *key;
	tb_err err;
	tb_rc rc = tb_key_read(tb_disk_system(), file.path, kind, &key, &err);
	fuzz_file_close(&file);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		return;
	}
	hold(key->kind == kind);
	write_key_again(key);
	tb_key_free(key);
}

static void read_instance_key(tb_span text)
{
	read_key_file(text, TB_KEY_INSTANCE);
}

static void read_collector_key(tb_span text)
{
	read_key_file(text, TB_KEY_COLLECTOR);
}

static void read_identity(tb_span text)
{
	read_key_file(text, TB_KEY_IDENTITY);
}

static void read_checked_key(tb_span text)
{
	tb_auto(tb_buf_drop) tb_buf whole = { 0 };
	uint8_t hash[32];
	tb_buf_append_span(&whole, text);
	crypto_generichash(hash, sizeof(hash), whole.data, whole.size, NULL, 0);
	tb_buf_print(&whole, "check: ");
	tb_buf_hex(&whole, hash, 8);
	tb_buf_print(&whole, "\n");
	for (tb_key_kind kind = TB_KEY_INSTANCE; kind <= TB_KEY_IDENTITY; kind++)
		read_key_file(tb_buf_span(&whole), kind);
}

static void read_public(tb_span text)
{
	fuzz_file file = fuzz_file_make(text);
	uint8_t instance[TB_PUBLIC_KEY], repository[TB_REPOSITORY_ID];
	tb_err err;
	tb_rc rc = tb_instance_public_read(tb_disk_system(), file.path, instance, repository, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	fuzz_file_close(&file);
}

static void read_period(tb_span record)
{
	tb_period period;
	tb_err err;
	tb_rc rc = tb_period_read(record, NULL, &period, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	rc = tb_period_read(record, tb_key_public(fuzz_keys.instance), &period, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
}

static void sign(uint8_t *bytes, size_t size)
{
	tb_key_sign(fuzz_keys.instance, tb_span_of(bytes, size - TB_SIGNATURE), bytes + size - TB_SIGNATURE);
}

static tb_span signed_record(tb_span *input, uint8_t record[TB_PERIOD_RECORD])
{
	memset(record, 0, TB_PERIOD_RECORD);
	tb_span given = fuzz_take_bytes(input, TB_PERIOD_RECORD - TB_SIGNATURE);
	if (given.size > 0)
		memcpy(record, given.data, given.size);
	memcpy(record, "TBPERIOD", 8);
	memcpy(record + 80, tb_key_public(fuzz_keys.instance), TB_PUBLIC_KEY);
	sign(record, TB_PERIOD_RECORD);
	return tb_span_of(record, TB_PERIOD_RECORD);
}

static void read_signed_period(tb_span input)
{
	uint8_t record[TB_PERIOD_RECORD];
	read_period(signed_record(&input, record));
}

static void read_certificate(tb_span input)
{
	uint8_t certificate[TB_CERTIFICATE] = { 0 }, signer[TB_PUBLIC_KEY];
	tb_span given = fuzz_take_bytes(&input, TB_CERTIFICATE - TB_SIGNATURE);
	tb_err err;
	if (given.size > 0)
		memcpy(certificate, given.data, given.size);
	sign(certificate, sizeof(certificate));
	size_t size = sizeof(certificate) - input.size % 2;
	tb_rc rc = tb_certificate_check(tb_span_of(certificate, size), tb_key_public(fuzz_keys.instance),
	                                fuzz_keys.repository, signer, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
}

static void open_keyring(tb_span wrap, const char *path)
{
	struct fuzz_tier tier = fuzz_tier_of(path, wrap);
	tb_keyring *keyring;
	tb_err err;
	tb_rc rc = tb_keyring_open(&tier.tier, fuzz_keys.identity, &keyring, &err);
	if (rc == TB_OK)
		tb_keyring_free(keyring);
	else
		fuzz_refused(rc, &err);
}

static void read_wrap(tb_span wrap)
{
	open_keyring(wrap, fuzz_keys.wrap_path);
}

static void read_made_wrap(tb_span input)
{
	uint8_t wrap[TB_WRAP_SIZE], secret[32] = { 0 };
	char path[TB_WRAP_PATH];
	tb_span given = fuzz_take_bytes(&input, sizeof(secret));
	if (given.size > 0)
		memcpy(secret, given.data, given.size);
	signed_record(&input, wrap);
	memcpy(wrap + 64, fuzz_keys.repository, TB_REPOSITORY_ID);
	crypto_scalarmult_base(wrap + 24, secret);
	sign(wrap, TB_PERIOD_RECORD);
	hold(crypto_box_seal(wrap + TB_PERIOD_RECORD, secret, sizeof(secret), tb_key_public(fuzz_keys.identity)) == 0);
	tb_wrap_path(wrap + 8, tb_key_public(fuzz_keys.identity), path);
	open_keyring(tb_span_of(wrap, sizeof(wrap)), path);
}

static void read_repository(tb_span text)
{
	struct fuzz_tier tier = fuzz_tier_of("tradebank.json", text);
	uint8_t id[TB_REPOSITORY_ID];
	tb_err err;
	tb_rc rc = tb_repository_read(&tier.tier, id, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const ways[])(tb_span input) = {
		read_instance_key, read_collector_key, read_identity, read_checked_key, read_public, read_period,
		read_signed_period, read_certificate, read_wrap, read_made_wrap, read_repository,
	};
	tb_span input = tb_span_of(data, size);
	fuzz_keys_get();
	ways[fuzz_take(&input, 1) % (sizeof(ways) / sizeof(ways[0]))](input);
	return 0;
}
