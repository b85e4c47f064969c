#include "store/seal.h"

#include "base/bytes.h"
#include "store_fixture.h"

static struct keys keys;
static tb_keyring *keyring;
static tb_sealer *sealer;
static tb_buf object, plain;
static uint8_t name[TB_OBJECT_NAME];

static void setup(void)
{
	dir_make();
	keys_make(&keys);
	keyring = keyring_make(&keys);
	sealer = tb_sealer_new(1);
}

static void teardown(void)
{
	tb_sealer_free(sealer);
	tb_keyring_free(keyring);
	keys_drop(&keys);
	tb_buf_drop(&object);
	tb_buf_drop(&plain);
	dir_remove();
}

TestSuite(seal, .init = setup, .fini = teardown);

static void seal(tb_span bytes)
{
	must(tb_seal(sealer, TB_CONTENT_CHUNK, bytes, &keys.period, &object, name, &err));
}

static tb_span filled(tb_buf *buf, size_t size, const char *with)
{
	tb_buf_clear(buf);
	while (buf->size < size)
		tb_buf_append(buf, with, strlen(with) < size - buf->size ? strlen(with) : size - buf->size);
	return tb_buf_span(buf);
}

/* Doesn't compress, and is the same each time. */
static tb_span noise(tb_buf *buf, size_t size)
{
	tb_buf_clear(buf);
	for (uint64_t i = 0, check; buf->size < size; i++) {
		check = tb_check64(&i, sizeof(i));
		tb_buf_append(buf, &check, sizeof(check) < size - buf->size ? sizeof(check) : size - buf->size);
	}
	return tb_buf_span(buf);
}

Test(seal, what_was_sealed_opens_again)
{
	static const size_t sizes[] = { 0, 1, 2, 31, 32, 33, 1000, 65536, 1 << 20, 5000000 };
	tb_buf bytes = { 0 };
	for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		tb_span in = i % 2 ? filled(&bytes, sizes[i / 2], "order:17=4321.5\n") : noise(&bytes, sizes[i / 2]);
		tb_content content;
		uint64_t size;
		uint8_t period[TB_PERIOD_ID];
		seal(in);
		must(tb_unseal(keyring, TB_CONTENT_CHUNK, tb_buf_span(&object), &plain, &err));
		cr_assert(tb_span_equal(tb_buf_span(&plain), in));
		must(tb_object_head(tb_buf_span(&object), &content, &size, period, &err));
		cr_assert(content == TB_CONTENT_CHUNK && size == in.size);
		cr_assert_arr_eq(period, keys.period.id, TB_PERIOD_ID);
	}
	tb_buf_drop(&bytes);
}

Test(seal, the_name_is_the_hash_of_the_bytes)
{
	uint8_t again[TB_OBJECT_NAME];
	char path[TB_OBJECT_PATH], hex[65];
	seal(tb_span_text("hello"));
	tb_object_name(tb_buf_span(&object), again);
	cr_assert_arr_eq(name, again, TB_OBJECT_NAME);
	tb_hex(hex, name, TB_OBJECT_NAME);
	tb_object_path(name, path);
	cr_assert_eq(strlen(path), 8 + 3 + 64);
	cr_assert_eq(strncmp(path, "objects/", 8), 0);
	cr_assert_eq(strncmp(path + 8, hex, 2), 0);
	cr_assert_str_eq(path + 11, hex);
}

Test(seal, the_plain_bytes_are_nowhere_in_the_object)
{
	static const char secret[] = "position:BTC=61737.63";
	tb_buf bytes = { 0 };
	for (size_t size = sizeof(secret) - 1; size < 100000; size *= 7) {
		seal(filled(&bytes, size, secret));
		for (size_t at = 0; at + 8 < sizeof(secret); at++)
			cr_assert_null(memmem(object.data, object.size, secret + at, 8));
	}
	tb_buf_drop(&bytes);
}

Test(seal, sealing_twice_gives_two_objects_and_both_open)
{
	tb_buf first = { 0 };
	uint8_t first_name[TB_OBJECT_NAME];
	seal(tb_span_text("the same"));
	tb_buf_append_span(&first, tb_buf_span(&object));
	memcpy(first_name, name, sizeof(name));
	seal(tb_span_text("the same"));
	cr_assert(memcmp(name, first_name, sizeof(name)) != 0);
	cr_assert(memcmp(object.data + TB_OBJECT_HEAD, first.data + TB_OBJECT_HEAD, 8) != 0);
	must(tb_unseal(keyring, TB_CONTENT_CHUNK, tb_buf_span(&first), &plain, &err));
	cr_assert(tb_span_equal(tb_buf_span(&plain), tb_span_text("the same")));
	tb_buf_drop(&first);
}

Test(seal, repetition_shrinks_and_noise_is_stored_as_it_is)
{
	tb_buf bytes = { 0 };
	seal(filled(&bytes, 1 << 20, "order:17=4321.5\n"));
	cr_assert_lt(object.size, (size_t)1 << 14);
	cr_assert_eq(object.data[9], 1);
	seal(noise(&bytes, 1 << 20));
	cr_assert_eq(object.size, ((size_t)1 << 20) + TB_OBJECT_HEAD + 16);
	cr_assert_eq(object.data[9], 0);
	tb_buf_drop(&bytes);
}

Test(seal, a_higher_level_is_smaller)
{
	tb_buf bytes = { 0 }, other = { 0 };
	for (uint32_t i = 0; i < 200000; i++)
		tb_buf_print(&bytes, "%s ", (const char *const[]){ "bid", "ask", "61737.63", "61738", "filled", "0.5", "open" }
		                                [tb_check64(&i, sizeof(i)) % 1000 % 7]);
	seal(tb_buf_span(&bytes));
	tb_sealer *strong = tb_sealer_new(15);
	must(tb_seal(strong, TB_CONTENT_CHUNK, tb_buf_span(&bytes), &keys.period, &other, name, &err));
	cr_assert_lt(other.size, object.size);
	must(tb_unseal(keyring, TB_CONTENT_CHUNK, tb_buf_span(&other), &plain, &err));
	cr_assert(tb_span_equal(tb_buf_span(&plain), tb_buf_span(&bytes)));
	tb_sealer_free(strong);
	tb_buf_drop(&bytes);
	tb_buf_drop(&other);
}

Test(seal, a_key_that_can_not_encrypt_fails_and_leaves_nothing)
{
	tb_period bad = keys.period;
	memset(bad.public_key, 0, sizeof(bad.public_key));
	tb_buf_append(&object, "before", 6);
	cr_assert_eq(tb_seal(sealer, TB_CONTENT_CHUNK, tb_span_text("secret"), &bad, &object, name, &err), TB_EKEY);
	cr_assert_eq(object.size, 0);
}

Test(seal, too_much_for_one_object_is_refused)
{
	uint8_t byte = 0;
	cr_assert_eq(tb_seal(sealer, TB_CONTENT_CHUNK, tb_span_of(&byte, TB_PLAIN_MAX + 1u), &keys.period, &object, name, &err),
	             TB_EINVAL);
}

Test(seal, another_identity_does_not_open_it)
{
	struct keys others;
	keys_make(&others);
	tb_tier *tier;
	tb_keyring *other;
	must(tb_tier_open(tb_disk_system(), below("other"), 1, &tier, &err));
	must(tier->put(tier, others.wrap_path, tb_buf_span(&others.wrap), &err));
	must(tb_keyring_open(tier, others.identity, &other, &err));
	seal(tb_span_text("secret"));
	cr_assert_eq(tb_unseal(other, TB_CONTENT_CHUNK, tb_buf_span(&object), &plain, &err), TB_EKEY);
	cr_assert_eq(plain.size, 0);
	tb_keyring_free(other);
	tb_tier_close(tier);
	keys_drop(&others);
}

Test(seal, content_of_another_sort_is_refused)
{
	seal(tb_span_text("a chunk"));
	cr_assert_eq(tb_unseal(keyring, TB_CONTENT_SEGMENT, tb_buf_span(&object), &plain, &err), TB_ECORRUPT);
	cr_assert_eq(tb_unseal(keyring, TB_CONTENT_PRIVATE, tb_buf_span(&object), &plain, &err), TB_ECORRUPT);
}

Test(seal, a_newer_format_is_named_as_such)
{
	seal(tb_span_text("a chunk"));
	object.data[7] = 2;
	cr_assert_eq(tb_unseal(keyring, TB_CONTENT_CHUNK, tb_buf_span(&object), &plain, &err), TB_EUNSUPPORTED);
}

static void is_refused(void *context, tb_span damaged, size_t at)
{
	(void)context;
	tb_err why = { 0 };
	tb_rc rc = tb_unseal(keyring, TB_CONTENT_CHUNK, damaged, &plain, &why);
	cr_assert(is_refusal(rc, &why), "at %zu: %s %s", at, tb_rc_name(rc), why.text);
	cr_assert_eq(plain.size, 0);
}

Test(seal, every_cut_and_every_flipped_bit_is_refused_and_gives_no_bytes)
{
	tb_buf bytes = { 0 };
	for (int compressed = 0; compressed < 2; compressed++) {
		seal(compressed ? filled(&bytes, 200, "abc") : noise(&bytes, 40));
		cr_assert_eq(object.data[9], compressed);
		each_cut(tb_buf_span(&object), is_refused, NULL);
		each_flip(tb_buf_span(&object), is_refused, NULL);
		tb_buf_byte(&object, 0);
		is_refused(NULL, tb_buf_span(&object), object.size);
	}
	tb_buf_drop(&bytes);
}
