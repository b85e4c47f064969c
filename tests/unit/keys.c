#include "store/keys.h"

#include "fault/fault_disk.h"
#include "store_fixture.h"

#include <sodium.h>
#include <sys/stat.h>

static struct keys keys;

static void setup(void)
{
	dir_make();
	keys_make(&keys);
}

static void teardown(void)
{
	keys_drop(&keys);
	dir_remove();
}

TestSuite(keys, .init = setup, .fini = teardown);
TestSuite(periods, .init = setup, .fini = teardown);

static tb_disk *disk(void)
{
	return tb_disk_system();
}

static tb_key *of_kind(tb_key_kind kind)
{
	return kind == TB_KEY_INSTANCE ? keys.instance : kind == TB_KEY_COLLECTOR ? keys.collector : keys.identity;
}

static tb_buf content_of(const char *path)
{
	tb_buf bytes = { 0 };
	must(tb_disk_read_file(disk(), path, 65536, &bytes, &err));
	return bytes;
}

/* Not synced: thousands are written. */
static void write_private(const char *path, tb_span bytes)
{
	FILE *file = fopen(path, "wb");
	cr_assert_not_null(file);
	fchmod(fileno(file), 0600);
	cr_assert_eq(fwrite(bytes.data, 1, bytes.size, file), bytes.size);
	fclose(file);
}

static int same_key(const tb_key *a, const tb_key *b)
{
	return memcmp(tb_key_public(a), tb_key_public(b), TB_PUBLIC_KEY) == 0 &&
	       memcmp(tb_key_instance(a), tb_key_instance(b), TB_PUBLIC_KEY) == 0 &&
	       memcmp(tb_key_repository(a), tb_key_repository(b), TB_REPOSITORY_ID) == 0;
}

static int opens(const tb_key *identity)
{
	uint8_t box[32 + crypto_box_SEALBYTES], opened[32], secret[32] = "thirty-two bytes of a secret...";
	crypto_box_seal(box, secret, sizeof(secret), tb_key_public(identity));
	return tb_key_unbox(identity, tb_span_of(box, sizeof(box)), opened, &err) == TB_OK &&
	       memcmp(opened, secret, sizeof(secret)) == 0;
}

Test(keys, each_kind_comes_back_from_its_file)
{
	for (tb_key_kind kind = TB_KEY_INSTANCE; kind <= TB_KEY_IDENTITY; kind++) {
		tb_key *again;
		char name[16];
		uint8_t signature[TB_SIGNATURE];
		snprintf(name, sizeof(name), "%d.key", (int)kind);
		must(tb_key_write(disk(), below(name), of_kind(kind), &err));
		must(tb_key_read(disk(), below(name), kind, &again, &err));
		cr_assert(same_key(of_kind(kind), again));
		if (kind == TB_KEY_IDENTITY) {
			cr_assert(opens(again));
		} else {
			tb_key_sign(again, tb_span_text("bytes"), signature);
			must(tb_signature_check(tb_key_public(of_kind(kind)), tb_span_text("bytes"), signature, &err));
		}
		if (kind == TB_KEY_COLLECTOR)
			cr_assert_arr_eq(tb_key_certificate(again), tb_key_certificate(keys.collector), TB_CERTIFICATE);
		tb_key_free(again);
	}
}

Test(keys, files_are_private_and_never_overwritten)
{
	struct stat info;
	must(tb_key_write(disk(), below("k"), keys.identity, &err));
	cr_assert_eq(stat(below("k"), &info), 0);
	cr_assert_eq(info.st_mode & 0777, 0600);
	tb_buf before = content_of(below("k"));
	cr_assert_eq(tb_key_write(disk(), below("k"), keys.instance, &err), TB_EBUSY);
	tb_buf after = content_of(below("k"));
	cr_assert(tb_span_equal(tb_buf_span(&before), tb_buf_span(&after)));
	tb_buf_drop(&before);
	tb_buf_drop(&after);
}

Test(keys, a_file_that_others_may_read_is_refused_with_what_to_do)
{
	static const mode_t modes[] = { 0640, 0604, 0620, 0601, 0644 };
	must(tb_key_write(disk(), below("k"), keys.identity, &err));
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		tb_key *key;
		chmod(below("k"), modes[i]);
		cr_assert_eq(tb_key_read(disk(), below("k"), TB_KEY_IDENTITY, &key, &err), TB_EKEY);
		cr_assert_not_null(strstr(err.hint, "chmod 600 "));
	}
}

Test(keys, a_missing_file_is_not_found_and_another_kind_is_named)
{
	tb_key *key;
	cr_assert_eq(tb_key_read(disk(), below("none"), TB_KEY_IDENTITY, &key, &err), TB_ENOTFOUND);
	must(tb_key_write(disk(), below("k"), keys.collector, &err));
	cr_assert_eq(tb_key_read(disk(), below("k"), TB_KEY_IDENTITY, &key, &err), TB_EKEY);
	cr_assert_not_null(strstr(err.text, "collector"));
}

struct reading {
	tb_key_kind kind;
	int may_be_same; /* text around the rows of a kit doesn't count */
};

static void is_refused_as_file(void *context, tb_span damaged, size_t at)
{
	const struct reading *reading = context;
	tb_err why = { 0 };
	tb_key *key;
	write_private(below("damaged"), damaged);
	tb_rc rc = tb_key_read(disk(), below("damaged"), reading->kind, &key, &why);
	if (rc == TB_OK) {
		cr_assert(reading->may_be_same && same_key(key, of_kind(reading->kind)), "at %zu: %s", at, "another key");
		tb_key_free(key);
		return;
	}
	cr_assert(is_refusal(rc, &why), "at %zu: %s", at, tb_rc_name(rc));
}

Test(keys, every_cut_and_every_flipped_bit_of_a_key_file_is_refused)
{
	for (tb_key_kind kind = TB_KEY_INSTANCE; kind <= TB_KEY_IDENTITY; kind++) {
		struct reading reading = { kind, 0 };
		char name[16];
		snprintf(name, sizeof(name), "%d.key", (int)kind);
		must(tb_key_write(disk(), below(name), of_kind(kind), &err));
		tb_buf text = content_of(below(name));
		each_cut(tb_buf_span(&text), is_refused_as_file, &reading);
		each_flip(tb_buf_span(&text), is_refused_as_file, &reading);
		tb_buf_drop(&text);
	}
}

static tb_buf kit_make(void)
{
	tb_buf kit = { 0 };
	tb_key_kit(keys.identity, "file:///srv/repository", &kit);
	return kit;
}

Test(keys, a_kit_says_where_and_gives_the_identity_back)
{
	tb_buf kit = kit_make();
	tb_key *again;
	cr_assert_not_null(strstr(tb_buf_text(&kit), "file:///srv/repository"));
	write_private(below("kit"), tb_buf_span(&kit));
	must(tb_key_read(disk(), below("kit"), TB_KEY_IDENTITY, &again, &err));
	cr_assert(same_key(keys.identity, again));
	cr_assert(opens(again));
	tb_key_free(again);
	tb_buf_drop(&kit);
}

Test(keys, a_kit_typed_carelessly_is_still_read)
{
	tb_buf kit = kit_make(), typed = { 0 };
	tb_key *again;
	for (char *line = strtok((char *)tb_buf_text(&kit), "\n"); line != NULL; line = strtok(NULL, "\n")) {
		if (strchr(line, '=') == NULL)
			continue; /* the rows alone, with capitals, dashes and the line ends of other systems */
		line += strspn(line, " ");
		size_t label = strcspn(line, ":");
		for (size_t i = label; line[i]; i++)
			line[i] = (char)(line[i] >= 'a' && line[i] <= 'f' ? line[i] - 32 : line[i] == ' ' ? '-' : line[i]);
		tb_buf_print(&typed, "%s\r\n", line);
	}
	write_private(below("typed"), tb_buf_span(&typed));
	must(tb_key_read(disk(), below("typed"), TB_KEY_IDENTITY, &again, &err));
	cr_assert(same_key(keys.identity, again));
	tb_key_free(again);
	tb_buf_drop(&kit);
	tb_buf_drop(&typed);
}

Test(keys, a_mistyped_row_of_a_kit_is_named)
{
	tb_buf kit = kit_make();
	tb_key *key;
	char *row = strstr((char *)tb_buf_text(&kit), "secret-2:") + 14;
	*row = *row == '0' ? '1' : '0';
	write_private(below("kit"), tb_buf_span(&kit));
	cr_assert_eq(tb_key_read(disk(), below("kit"), TB_KEY_IDENTITY, &key, &err), TB_EKEY);
	cr_assert_not_null(strstr(err.text, "secret-2:"));
	tb_buf_drop(&kit);
}

Test(keys, no_cut_and_no_flipped_bit_makes_another_key_of_a_kit)
{
	struct reading reading = { TB_KEY_IDENTITY, 1 };
	tb_buf kit = kit_make();
	char *rows = strstr((char *)tb_buf_text(&kit), "    id:"), *end = strstr(rows, "\n\n") + 1;
	each_cut(tb_buf_span(&kit), is_refused_as_file, &reading);
	each_flip(tb_span_of(rows, (size_t)(end - rows)), is_refused_as_file, &reading);
	tb_buf_drop(&kit);
}

Test(keys, a_collector_is_certified_by_its_instance_for_its_repository)
{
	uint8_t signer[TB_PUBLIC_KEY], other[TB_REPOSITORY_ID] = { 1 };
	tb_span certificate = tb_span_of(tb_key_certificate(keys.collector), TB_CERTIFICATE);
	must(tb_certificate_check(certificate, tb_key_public(keys.instance), keys.repository, signer, &err));
	cr_assert_arr_eq(signer, tb_key_public(keys.collector), TB_PUBLIC_KEY);
	cr_assert_eq(tb_certificate_check(certificate, tb_key_public(keys.instance), other, signer, &err), TB_EKEY);
	cr_assert_eq(tb_certificate_check(certificate, tb_key_public(keys.collector), keys.repository, signer, &err), TB_EKEY);
}

static void certificate_is_refused(void *context, tb_span damaged, size_t at)
{
	(void)context;
	tb_err why = { 0 };
	uint8_t signer[TB_PUBLIC_KEY];
	tb_rc rc = tb_certificate_check(damaged, tb_key_public(keys.instance), keys.repository, signer, &why);
	cr_assert(is_refusal(rc, &why), "at %zu: %s", at, tb_rc_name(rc));
}

Test(keys, every_cut_and_every_flipped_bit_of_a_certificate_is_refused)
{
	tb_span certificate = tb_span_of(tb_key_certificate(keys.collector), TB_CERTIFICATE);
	each_cut(certificate, certificate_is_refused, NULL);
	each_flip(certificate, certificate_is_refused, NULL);
}

Test(periods, a_record_says_what_it_was_made_for)
{
	tb_period period;
	must(tb_period_read(tb_span_of(keys.record, TB_PERIOD_RECORD), NULL, &period, &err));
	cr_assert_arr_eq(period.instance, tb_key_public(keys.instance), TB_PUBLIC_KEY);
	cr_assert_arr_eq(period.repository, keys.repository, TB_REPOSITORY_ID);
	cr_assert_eq(period.made_ns, NOW);
	cr_assert_eq(tb_period_read(tb_span_of(keys.record, TB_PERIOD_RECORD), tb_key_public(keys.collector), &period, &err),
	             TB_EKEY);
}

static void record_is_refused(void *context, tb_span damaged, size_t at)
{
	tb_err why = { 0 };
	tb_period period;
	tb_rc rc = tb_period_read(damaged, context, &period, &why);
	cr_assert(is_refusal(rc, &why), "at %zu: %s", at, tb_rc_name(rc));
}

Test(periods, every_cut_and_every_flipped_bit_of_a_record_is_refused)
{
	tb_span record = tb_span_of(keys.record, TB_PERIOD_RECORD);
	each_cut(record, record_is_refused, (void *)tb_key_public(keys.instance));
	each_flip(record, record_is_refused, (void *)tb_key_public(keys.instance));
	each_flip(record, record_is_refused, NULL);
}

static tb_rc open_with(const char *path, tb_span wrap, const tb_key *identity, tb_keyring **ret_keyring, tb_err *why)
{
	tb_tier *tier;
	must(tb_tier_open(disk(), below("repository"), 1, &tier, &err));
	must(tier->remove(tier, path, &err));
	must(tier->put(tier, path, wrap, &err));
	tb_rc rc = tb_keyring_open(tier, identity, ret_keyring, why);
	tb_tier_close(tier);
	return rc;
}

static void wrap_is_refused(void *tier, tb_span damaged, size_t at)
{
	tb_err why = { 0 };
	tb_keyring *keyring;
	char path[32 + TB_WRAP_PATH];
	snprintf(path, sizeof(path), "repository/%s", keys.wrap_path);
	write_private(below(path), damaged);
	tb_rc rc = tb_keyring_open(tier, keys.identity, &keyring, &why);
	cr_assert(is_refusal(rc, &why), "at %zu: %s", at, tb_rc_name(rc));
}

Test(periods, every_cut_and_every_flipped_bit_of_a_wrap_is_refused)
{
	tb_tier *tier;
	must(tb_tier_open(disk(), below("repository"), 1, &tier, &err));
	must(tier->put(tier, keys.wrap_path, tb_buf_span(&keys.wrap), &err));
	each_cut(tb_buf_span(&keys.wrap), wrap_is_refused, tier);
	each_flip(tb_buf_span(&keys.wrap), wrap_is_refused, tier);
	tb_tier_close(tier);
}

Test(periods, the_wrong_identity_has_no_key)
{
	tb_key *other;
	tb_keyring *keyring;
	must(tb_key_make(TB_KEY_IDENTITY, keys.repository, keys.instance, NOW, &other, &err));
	cr_assert_eq(open_with(keys.wrap_path, tb_buf_span(&keys.wrap), other, &keyring, &err), TB_EKEY);
	tb_key_free(other);
}

Test(periods, a_wrap_under_another_periods_name_is_refused)
{
	tb_keyring *keyring;
	char path[TB_WRAP_PATH];
	uint8_t id[TB_PERIOD_ID] = { 9 };
	tb_wrap_path(id, tb_key_public(keys.identity), path);
	cr_assert_eq(open_with(path, tb_buf_span(&keys.wrap), keys.identity, &keyring, &err), TB_ECORRUPT);
}

Test(periods, each_recipient_opens_and_one_bad_wrap_does_not_hide_the_others)
{
	tb_key *second;
	tb_keyring *keyring;
	uint8_t recipients[2][TB_PUBLIC_KEY], record[TB_PERIOD_RECORD], box[48 + 5], opened[5];
	tb_buf wraps[2] = { { 0 }, { 0 } };
	tb_period period;
	char path[TB_WRAP_PATH];
	must(tb_key_make(TB_KEY_IDENTITY, keys.repository, keys.instance, NOW, &second, &err));
	memcpy(recipients[0], tb_key_public(keys.identity), TB_PUBLIC_KEY);
	memcpy(recipients[1], tb_key_public(second), TB_PUBLIC_KEY);
	must(tb_period_make(keys.instance, recipients, 2, NOW, record, wraps, &err));
	must(tb_period_read(tb_span_of(record, sizeof(record)), tb_key_public(keys.instance), &period, &err));
	cr_assert_eq(crypto_box_seal(box, (const uint8_t *)"hello", 5, period.public_key), 0);
	keys.wrap.data[200] ^= 1;
	tb_keyring *damaged;
	cr_assert_eq(open_with(keys.wrap_path, tb_buf_span(&keys.wrap), keys.identity, &damaged, &err), TB_ECORRUPT);
	for (int i = 0; i < 2; i++) {
		const tb_key *identity = i ? second : keys.identity;
		tb_wrap_path(period.id, tb_key_public(identity), path);
		must(open_with(path, tb_buf_span(&wraps[i]), identity, &keyring, &err));
		cr_assert_eq(tb_keyring_count(keyring), 1);
		must(tb_keyring_unbox(keyring, period.id, tb_span_of(box, sizeof(box)), opened, &err));
		cr_assert_eq(memcmp(opened, "hello", 5), 0);
		cr_assert_eq(tb_keyring_unbox(keyring, keys.period.id, tb_span_of(box, sizeof(box)), opened, &err), TB_EKEY);
		cr_assert(i == 1 || strstr(err.hint, "altered") != NULL, "%s", err.hint);
		box[50] ^= 1;
		cr_assert_eq(tb_keyring_unbox(keyring, period.id, tb_span_of(box, sizeof(box)), opened, &err), TB_ECORRUPT);
		box[50] ^= 1;
		tb_keyring_free(keyring);
		tb_buf_drop(&wraps[i]);
	}
	tb_key_free(second);
}

Test(periods, a_recipient_that_is_no_key_is_refused_by_its_place)
{
	uint8_t recipients[2][TB_PUBLIC_KEY] = { { 0 } }, record[TB_PERIOD_RECORD];
	tb_buf wraps[2] = { { 0 }, { 0 } };
	memcpy(recipients[0], tb_key_public(keys.identity), TB_PUBLIC_KEY);
	cr_assert_eq(tb_period_make(keys.instance, (const uint8_t(*)[TB_PUBLIC_KEY])recipients, 2, NOW, record, wraps, &err),
	             TB_EKEY);
	cr_assert_not_null(strstr(err.text, "recipient 2"), "%s", err.text);
	tb_buf_drop(&wraps[0]);
	tb_buf_drop(&wraps[1]);
}

Test(periods, a_wrap_of_another_repository_is_refused)
{
	tb_key *identity;
	tb_keyring *keyring;
	char path[TB_WRAP_PATH];
	uint8_t other[TB_REPOSITORY_ID] = { 1 }, record[TB_PERIOD_RECORD];
	tb_buf wrap = { 0 };
	must(tb_key_make(TB_KEY_IDENTITY, other, keys.instance, NOW, &identity, &err));
	const void *recipient = tb_key_public(identity);
	must(tb_period_make(keys.instance, recipient, 1, NOW, record, &wrap, &err));
	tb_period period;
	must(tb_period_read(tb_span_of(record, TB_PERIOD_RECORD), tb_key_public(keys.instance), &period, &err));
	tb_wrap_path(period.id, tb_key_public(identity), path);
	cr_assert_eq(open_with(path, tb_buf_span(&wrap), identity, &keyring, &err), TB_EKEY);
	cr_assert_not_null(strstr(err.text, "another repository"), "%s", err.text);
	tb_buf_drop(&wrap);
	tb_key_free(identity);
}

Test(periods, a_wrap_that_holds_another_periods_key_is_refused)
{
	tb_keyring *keyring;
	uint8_t record[TB_PERIOD_RECORD];
	tb_buf other = { 0 };
	const void *recipient = tb_key_public(keys.identity);
	must(tb_period_make(keys.instance, recipient, 1, NOW, record, &other, &err));
	memcpy(other.data, keys.wrap.data, TB_PERIOD_RECORD);
	cr_assert_eq(open_with(keys.wrap_path, tb_buf_span(&other), keys.identity, &keyring, &err), TB_EKEY);
	cr_assert_not_null(strstr(err.text, "not this period's"), "%s", err.text);
	tb_buf_drop(&other);
}

Test(keys, a_file_far_too_large_is_no_key)
{
	static uint8_t bytes[1 << 20];
	tb_key *key;
	write_private(below("large.key"), tb_span_of(bytes, sizeof(bytes)));
	cr_assert_eq(tb_key_read(disk(), below("large.key"), TB_KEY_IDENTITY, &key, &err), TB_EKEY);
	cr_assert_not_null(strstr(err.text, "far too large"), "%s", err.text);
}

Test(keys, one_that_can_not_be_written_whole_is_not_there)
{
	struct fault_disk fault;
	fault_disk_init(&fault, disk());
	fault_disk_fail(&fault, FAULT_SYNC, 1, TB_EIO);
	cr_assert_eq(tb_key_write(&fault.disk, below("new.key"), keys.identity, &err), TB_EIO);
	fault_disk_fail(&fault, 0, 0, TB_OK);
	must(tb_key_write(&fault.disk, below("new.key"), keys.identity, &err)); /* never over another */
	fault_disk_drop(&fault);
}
