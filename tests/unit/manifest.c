#include "store/manifest.h"

#include "store_fixture.h"

static struct keys keys;
static tb_arena *arena;
static tb_buf file;
static uint8_t hash[TB_HASH_SIZE];

/* A segment that fits, for each test to bend. */
static uint8_t object_name[TB_OBJECT_NAME] = { 7 }, before[TB_HASH_SIZE] = { 8 };
static Tb__ObjectRef object;
static Tb__ObjectRef *objects[] = { &object, &object };
static uint64_t rejected[] = { 102, 105 };
static Tb__Manifest manifest;

#define BYTES(data_, size_) ((ProtobufCBinaryData){ .len = (size_), .data = (data_) })

static void setup(void)
{
	dir_make();
	keys_make(&keys);
	arena = tb_arena_new();
	object = (Tb__ObjectRef)TB__OBJECT_REF__INIT;
	object.name = BYTES(object_name, TB_OBJECT_NAME);
	object.size_stored = 5000;
	object.size_plain = 9000;
	manifest = (Tb__Manifest)TB__MANIFEST__INIT;
	manifest.format = TB_MANIFEST_FORMAT;
	manifest.repository = BYTES(keys.repository, TB_REPOSITORY_ID);
	manifest.stream = "book";
	manifest.type = "SEGMENT";
	manifest.backup = "SEG_20260102T030405Z_0123456789abcdef";
	manifest.chain = 2;
	manifest.before = BYTES(before, TB_HASH_SIZE);
	manifest.from = 101;
	manifest.to = 200;
	manifest.objects = objects;
	manifest.n_objects = 1;
	manifest.rejected = rejected;
	manifest.n_rejected = 2;
	manifest.period = BYTES(keys.period.id, TB_PERIOD_ID);
}

static void teardown(void)
{
	tb_arena_free(arena);
	tb_buf_drop(&file);
	keys_drop(&keys);
	dir_remove();
}

TestSuite(manifest, .init = setup, .fini = teardown);
TestSuite(head, .init = setup, .fini = teardown);
TestSuite(repository, .init = dir_make, .fini = dir_remove);

static tb_rc read_file(tb_span bytes, Tb__Manifest **ret_manifest, tb_err *why)
{
	return tb_manifest_read(bytes, tb_key_public(keys.instance), keys.repository, arena, ret_manifest, why);
}

Test(manifest, what_was_written_is_read)
{
	Tb__Manifest *again;
	uint8_t of_file[TB_HASH_SIZE];
	must(tb_manifest_write(&manifest, keys.collector, &file, hash, &err));
	must(read_file(tb_buf_span(&file), &again, &err));
	cr_assert_str_eq(again->stream, "book");
	cr_assert(again->from == 101 && again->to == 200 && again->chain == 2);
	cr_assert_eq(again->n_objects, 1);
	cr_assert_arr_eq(again->objects[0]->name.data, object_name, TB_OBJECT_NAME);
	cr_assert_eq(again->rejected[1], 105);
	tb_manifest_hash(tb_buf_span(&file), of_file);
	cr_assert_arr_eq(hash, of_file, TB_HASH_SIZE);
}

static void is_refused(void *context, tb_span damaged, size_t at)
{
	(void)context;
	tb_err why = { 0 };
	Tb__Manifest *again;
	tb_rc rc = read_file(damaged, &again, &why);
	cr_assert(is_refusal(rc, &why), "at %zu: %s", at, tb_rc_name(rc));
}

Test(manifest, every_cut_and_every_flipped_bit_is_refused)
{
	must(tb_manifest_write(&manifest, keys.collector, &file, hash, &err));
	each_cut(tb_buf_span(&file), is_refused, NULL);
	each_flip(tb_buf_span(&file), is_refused, NULL);
	tb_buf_byte(&file, 0);
	is_refused(NULL, tb_buf_span(&file), file.size);
}

static void is_no_manifest(void *context, tb_span bytes, size_t size)
{
	Tb__Manifest *peeked;
	(void)context, (void)size;
	cr_assert_eq(tb_manifest_peek(bytes, arena, &peeked, &err), TB_ECORRUPT);
}

/* Nothing vouches for it, so what is flipped may be believed; but it is a manifest with a number and an id. */
static void is_peeked_or_refused(void *context, tb_span bytes, size_t size)
{
	Tb__Manifest *peeked;
	(void)context, (void)size;
	tb_rc rc = tb_manifest_peek(bytes, arena, &peeked, &err);
	cr_assert(rc == TB_ECORRUPT || rc == TB_EUNSUPPORTED || (rc == TB_OK && peeked->chain > 0), "%d", (int)rc);
	cr_assert(rc != TB_OK || tb_backup_id_valid(peeked->backup));
}

Test(manifest, without_a_key_it_is_believed_when_it_is_whole)
{
	Tb__Manifest *peeked;
	must(tb_manifest_write(&manifest, keys.collector, &file, hash, &err));
	must(tb_manifest_peek(tb_buf_span(&file), arena, &peeked, &err));
	cr_assert(peeked->chain == manifest.chain && peeked->to == manifest.to);
	each_cut(tb_buf_span(&file), is_no_manifest, NULL);
	each_flip(tb_buf_span(&file), is_peeked_or_refused, NULL);
}

Test(manifest, by_another_instance_or_for_another_repository_is_refused)
{
	struct keys others;
	Tb__Manifest *again;
	uint8_t repository[TB_REPOSITORY_ID] = { 1 };
	keys_make(&others);
	must(tb_manifest_write(&manifest, others.collector, &file, hash, &err));
	cr_assert_eq(read_file(tb_buf_span(&file), &again, &err), TB_EKEY);
	must(tb_manifest_write(&manifest, keys.collector, &file, hash, &err));
	cr_assert_eq(tb_manifest_read(tb_buf_span(&file), tb_key_public(keys.instance), repository, arena, &again, &err), TB_EKEY);
	keys_drop(&others);
}

Test(manifest, a_newer_format_is_named_as_such)
{
	Tb__Manifest *again;
	must(tb_manifest_write(&manifest, keys.collector, &file, hash, &err));
	file.data[7] = 2;
	cr_assert_eq(read_file(tb_buf_span(&file), &again, &err), TB_EUNSUPPORTED);
}

/* Each bends one thing. */
static void no_stream(void) { manifest.stream = "../etc"; }
static void no_type(void) { manifest.type = "PARTIAL"; }
static void word_for_type(void) { manifest.type = "segment"; }
static void id_of_other_type(void) { manifest.backup = "FUL_20260102T030405Z_0123456789abcdef"; }
static void no_chain(void) { manifest.chain = 0; }
static void first_leans(void) { manifest.chain = 1; }
static void no_before(void) { manifest.before = BYTES(NULL, 0); }
static void backwards(void) { manifest.from = 202; }
static void zeroth(void) { manifest.from = 0; }
static void wide(void) { manifest.from = UINT64_MAX; manifest.to = 0; }
static void no_object(void) { manifest.n_objects = 0; }
static void two_objects(void) { manifest.n_objects = 2; }
static void short_name(void) { object.name.len = 31; }
static void tiny_object(void) { object.size_stored = TB_OBJECT_HEAD; }
static void huge_object(void) { object.size_stored = TB_OBJECT_MAX + 1u; }
static void huge_content(void) { object.size_plain = TB_PLAIN_MAX + 1u; }
static void rejected_below(void) { rejected[0] = 100; }
static void rejected_beyond(void) { rejected[1] = 201; }
static void rejected_twice(void) { rejected[0] = rejected[1]; }
static void no_period(void) { manifest.period = BYTES(NULL, 0); }
static void bad_parent(void) { manifest.parent = "yesterday's"; }
static void other_repository(void) { manifest.repository = BYTES(before, TB_REPOSITORY_ID); }
static void other_format(void) { manifest.format = 2; }

Test(manifest, what_does_not_fit_together_is_not_written)
{
	static void (*const bends[])(void) = {
		no_stream, no_type, word_for_type, id_of_other_type, no_chain, first_leans, no_before, backwards, zeroth, wide,
		no_object, two_objects, short_name, tiny_object, huge_object, huge_content, rejected_below, rejected_beyond,
		rejected_twice, no_period, bad_parent, other_repository, other_format,
	};
	for (size_t i = 0; i < sizeof(bends) / sizeof(bends[0]); i++) {
		Tb__Manifest kept = manifest;
		Tb__ObjectRef kept_object = object;
		bends[i]();
		cr_assert_eq(tb_manifest_write(&manifest, keys.collector, &file, hash, &err), TB_EINVAL, "bend %zu", i);
		manifest = kept;
		object = kept_object;
		rejected[0] = 102;
		rejected[1] = 105;
		must(tb_manifest_write(&manifest, keys.collector, &file, hash, &err));
	}
}

Test(manifest, a_backup_of_an_empty_state_fits)
{
	Tb__Manifest *again;
	manifest.type = "FULL";
	manifest.backup = "FUL_20260102T030405Z_0123456789abcdef";
	manifest.chain = 1;
	manifest.before = BYTES(NULL, 0);
	manifest.from = 1;
	manifest.to = 0;
	manifest.n_objects = 0;
	manifest.n_rejected = 0;
	must(tb_manifest_write(&manifest, keys.collector, &file, hash, &err));
	must(read_file(tb_buf_span(&file), &again, &err));
}

Test(manifest, types_are_found_by_each_of_their_names)
{
	cr_assert_str_eq(tb_backup_type_find("FULL")->word, "full");
	cr_assert_str_eq(tb_backup_type_find("EME")->name, "EMERGENCY");
	cr_assert_str_eq(tb_backup_type_find("segment")->prefix, "SEG");
	cr_assert_null(tb_backup_type_find("Full"));
	cr_assert_null(tb_backup_type_find(""));
}

Test(manifest, ids_bear_type_and_time_and_are_never_the_same)
{
	char one[TB_BACKUP_ID], other[TB_BACKUP_ID];
	tb_backup_id(tb_backup_type_find("full"), NOW, one);
	tb_backup_id(tb_backup_type_find("full"), NOW, other);
	cr_assert_eq(strncmp(one, "FUL_20260102T030405Z_", 21), 0, "%s", one);
	cr_assert(tb_backup_id_valid(one) && tb_backup_id_valid(other));
	cr_assert_str_neq(one, other);
}

Test(manifest, what_is_no_id_is_told)
{
	static const char *const bad[] = {
		"", "FUL", "XXX_20260102T030405Z_0123456789abcdef", "FUL_20260102T030405Z_0123456789abcde",
		"FUL_20260102T030405Z_0123456789abcdef0", "FUL_20260102T030405Z_0123456789abcdeG",
		"FUL_2026010 T030405Z_0123456789abcdef", "ful_20260102T030405Z_0123456789abcdef",
		"FUL_20260102T030405Z/0123456789abcdef", "FUL_20260102T030405Z_0123456789ABCDEF",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert(!tb_backup_id_valid(bad[i]), "%s", bad[i]);
}

Test(manifest, paths_say_stream_number_and_type_and_are_parsed_back)
{
	char path[TB_MANIFEST_PATH], stream[130], id[TB_BACKUP_ID], longest[129] = { 0 };
	uint64_t last;
	const tb_backup_type *type;
	tb_manifest_path("book", 200, "SEGMENT", manifest.backup, path);
	cr_assert_str_eq(path, "manifests/book/00000000000000000200-SEG-SEG_20260102T030405Z_0123456789abcdef");
	cr_assert(tb_manifest_path_parse(path, stream, &last, &type, id));
	cr_assert_str_eq(stream, "book");
	cr_assert_str_eq(id, manifest.backup);
	cr_assert(last == 200 && strcmp(type->name, "SEGMENT") == 0);
	memset(longest, 's', 128);
	tb_manifest_path(longest, UINT64_MAX, "SEGMENT", manifest.backup, path);
	cr_assert(tb_manifest_path_parse(path, stream, &last, &type, id));
	cr_assert(last == UINT64_MAX && strcmp(stream, longest) == 0);
	tb_head_path("book", 17, path);
	cr_assert_str_eq(path, "heads/book/00000000000000000017");
}

Test(manifest, what_is_no_path_of_a_manifest_is_told)
{
	static const char *const bad[] = {
		"", "manifests", "manifests/", "manifests/book", "manifests//00000000000000000200-SEG-x",
		"manifests/book/200-SEG-SEG_20260102T030405Z_0123456789abcdef",
		"manifests/book/00000000000000000200-FUL-SEG_20260102T030405Z_0123456789abcdef",
		"manifests/book/00000000000000000200-SEG-SEG_20260102T030405Z_0123456789abcdef.old",
		"manifests/book/99999999999999999999-SEG-SEG_20260102T030405Z_0123456789abcdef",
		"manifests/book/0000000000000000020x-SEG-SEG_20260102T030405Z_0123456789abcdef",
		"manifests/../00000000000000000200-SEG-SEG_20260102T030405Z_0123456789abcdef",
		"manifests/a/b/00000000000000000200-SEG-SEG_20260102T030405Z_0123456789abcdef",
		"heads/book/00000000000000000200",
	};
	char stream[130], id[TB_BACKUP_ID];
	uint64_t last;
	const tb_backup_type *type;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert(!tb_manifest_path_parse(bad[i], stream, &last, &type, id), "%s", bad[i]);
}

static tb_head some_head(void)
{
	tb_head head = { .stream = "book", .chain = 9, .last = 200, .made_ns = NOW };
	memset(head.manifest_hash, 3, TB_HASH_SIZE);
	return head;
}

static tb_rc read_head(tb_span bytes, tb_head *ret_head, tb_err *why)
{
	return tb_head_read(bytes, tb_key_public(keys.instance), keys.repository, ret_head, why);
}

Test(head, what_was_written_is_read)
{
	tb_head head = some_head(), again;
	must(tb_head_write(&head, keys.collector, &file, &err));
	cr_assert_eq(file.size, TB_HEAD_SIZE);
	must(read_head(tb_buf_span(&file), &again, &err));
	cr_assert_str_eq(again.stream, "book");
	cr_assert(again.chain == 9 && again.last == 200 && again.made_ns == NOW);
	cr_assert_arr_eq(again.manifest_hash, head.manifest_hash, TB_HASH_SIZE);
	memset(head.stream, 's', 128);
	must(tb_head_write(&head, keys.collector, &file, &err));
	must(read_head(tb_buf_span(&file), &again, &err));
	cr_assert_str_eq(again.stream, head.stream);
	memset(head.stream, 's', 129);
	cr_assert_eq(tb_head_write(&head, keys.collector, &file, &err), TB_EINVAL);
}

static void head_is_refused(void *context, tb_span damaged, size_t at)
{
	(void)context;
	tb_err why = { 0 };
	tb_head head;
	tb_rc rc = read_head(damaged, &head, &why);
	cr_assert(is_refusal(rc, &why), "at %zu: %s", at, tb_rc_name(rc));
}

Test(head, every_cut_and_every_flipped_bit_is_refused)
{
	tb_head head = some_head();
	must(tb_head_write(&head, keys.collector, &file, &err));
	each_cut(tb_buf_span(&file), head_is_refused, NULL);
	each_flip(tb_buf_span(&file), head_is_refused, NULL);
	tb_buf_byte(&file, 0);
	head_is_refused(NULL, tb_buf_span(&file), file.size);
}

Test(head, a_manifest_is_no_head_and_a_head_no_manifest)
{
	tb_head head = some_head();
	must(tb_head_write(&head, keys.collector, &file, &err));
	is_refused(NULL, tb_buf_span(&file), 0);
	must(tb_manifest_write(&manifest, keys.collector, &file, hash, &err));
	head_is_refused(NULL, tb_buf_span(&file), 0);
}

static tb_tier *tier_open(void)
{
	tb_tier *tier;
	must(tb_tier_open(tb_disk_system(), below("repository"), 1, &tier, &err));
	return tier;
}

Test(repository, is_made_once_and_read)
{
	uint8_t id[TB_REPOSITORY_ID] = { 1, 2, 3 }, other[TB_REPOSITORY_ID] = { 4 }, again[TB_REPOSITORY_ID];
	tb_tier *tier = tier_open();
	cr_assert_eq(tb_repository_read(tier, again, &err), TB_ENOTFOUND);
	must(tb_repository_make(tier, id, &err));
	must(tb_repository_make(tier, id, &err));
	cr_assert_eq(tb_repository_make(tier, other, &err), TB_EREFUSED);
	must(tb_repository_read(tier, again, &err));
	cr_assert_arr_eq(id, again, TB_REPOSITORY_ID);
	tb_tier_close(tier);
}

Test(repository, of_a_newer_format_or_damaged_is_told)
{
	static const struct {
		const char *text;
		tb_rc rc;
	} rows[] = {
		{ "{\"format\":2,\"id\":\"00112233445566778899aabbccddeeff\"}", TB_EUNSUPPORTED },
		{ "{\"format\":1,\"id\":\"0011\"}", TB_ECORRUPT },
		{ "{\"format\":1}", TB_ECORRUPT },
		{ "{\"id\":\"00112233445566778899aabbccddeeff\"}", TB_ECORRUPT },
		{ "[]", TB_ECORRUPT },
		{ "", TB_ECORRUPT },
		{ "{\"format\":1,\"id\":\"00112233445566778899aabbccddeeff\"", TB_ECORRUPT },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t id[TB_REPOSITORY_ID];
		tb_tier *tier = tier_open();
		must(tier->remove(tier, "tradebank.json", &err));
		must(tier->put(tier, "tradebank.json", tb_span_text(rows[i].text), &err));
		cr_assert_eq(tb_repository_read(tier, id, &err), rows[i].rc, "%s", rows[i].text);
		tb_tier_close(tier);
	}
}

Test(head, one_that_was_signed_for_another_repository_is_refused)
{
	tb_head head = some_head(), again;
	must(tb_head_write(&head, keys.collector, &file, &err));
	file.data[64] ^= 1; /* of the repository's id */
	tb_key_sign(keys.collector, tb_span_of(file.data, file.size - TB_SIGNATURE), file.data + file.size - TB_SIGNATURE);
	cr_assert_eq(read_head(tb_buf_span(&file), &again, &err), TB_EKEY);
	cr_assert_not_null(strstr(err.text, "of another repository"), "%s", err.text);
}
