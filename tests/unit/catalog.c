#include "store/catalog.h"

#include "store_fixture.h"

#include <fcntl.h>
#include <unistd.h>

static tb_bank *bank;
static tb_txn *txn;

static void begin(void)
{
	must(tb_bank_open(below("storer"), TB_BANK_WRITER, 0, &bank, &err));
	must(tb_bank_write(bank, &txn, &err));
}

/* Committed and closed, so that a reader may open it in this process. */
static void end(void)
{
	must(tb_txn_commit(txn, &err));
	tb_bank_close(bank);
	bank = NULL;
}

static void setup(void)
{
	dir_make();
	begin();
}

static void teardown(void)
{
	if (bank != NULL) {
		tb_txn_abort(txn);
		tb_bank_close(bank);
	}
	dir_remove();
}

TestSuite(catalog, .init = setup, .fini = teardown);

static tb_rc record(const char *stream, uint64_t chain, uint64_t to, uint8_t fill)
{
	Tb__ManifestFrame frame = TB__MANIFEST_FRAME__INIT;
	uint8_t hash[TB_HASH_SIZE];
	memset(hash, fill, sizeof(hash));
	frame.stream = (char *)stream;
	frame.path = "book/some-name";
	frame.backup = "SEG_20260102T030405Z_0123456789abcdef";
	frame.chain = chain;
	frame.to = to;
	return tb_catalog_manifest(txn, &frame, hash, NOW, &err);
}

Test(catalog, knows_the_objects_it_was_told_of)
{
	uint8_t name[TB_OBJECT_NAME] = { 1 };
	int has;
	must(tb_catalog_has_object(txn, name, &has, &err));
	cr_assert(!has);
	must(tb_catalog_object(txn, name, 5000, NOW, &err));
	must(tb_catalog_has_object(txn, name, &has, &err));
	cr_assert(has);
	end();
	begin();
	must(tb_catalog_has_object(txn, name, &has, &err));
	cr_assert(has);
	name[31] = 1;
	must(tb_catalog_has_object(txn, name, &has, &err));
	cr_assert(!has);
}

Test(catalog, the_head_moves_along_the_chain)
{
	tb_head head;
	must(record("book", 1, 100, 1));
	must(record("book", 2, 200, 2));
	must(record("trades", 1, 7, 3));
	end();
	must(tb_catalog_head(below("storer"), "book", &head, &err));
	cr_assert(head.chain == 2 && head.last == 200 && head.manifest_hash[0] == 2 && head.made_ns == NOW);
	cr_assert_str_eq(head.stream, "book");
}

Test(catalog, the_last_number_never_goes_back)
{
	tb_head head;
	must(record("book", 1, 200, 1));
	must(record("book", 2, 150, 2)); /* a backup that ended before the newest segment */
	end();
	must(tb_catalog_head(below("storer"), "book", &head, &err));
	cr_assert(head.chain == 2 && head.last == 200);
}

Test(catalog, the_same_manifest_again_is_fine_and_another_in_its_place_is_refused)
{
	must(record("book", 1, 100, 1));
	must(record("book", 2, 200, 2));
	must(record("book", 2, 200, 2));
	must(record("book", 1, 100, 1));
	cr_assert_eq(record("book", 2, 200, 9), TB_EREFUSED);
	cr_assert_eq(record("book", 1, 100, 9), TB_EREFUSED);
	cr_assert_eq(record("book", 4, 400, 4), TB_EREFUSED);
	cr_assert_eq(record("trades", 2, 400, 4), TB_EREFUSED);
	cr_assert_eq(record("../x", 1, 400, 4), TB_EINVAL);
	must(record("book", 3, 300, 3));
}

Test(catalog, streams_whose_names_begin_alike_are_apart)
{
	must(record("b", 1, 100, 1));
	must(record("bo", 1, 200, 2));
	must(record("boo", 1, 300, 3));
	tb_head *heads;
	size_t count;
	end();
	must(tb_catalog_heads(below("storer"), &heads, &count, &err));
	cr_assert_eq(count, 3);
	cr_assert_str_eq(heads[0].stream, "b");
	cr_assert_str_eq(heads[2].stream, "boo");
	cr_assert_eq(heads[1].last, 200);
	free(heads);
}

Test(catalog, what_is_not_remembered_is_not_found)
{
	tb_head head, *heads;
	size_t count = 99;
	end();
	must(tb_catalog_heads(below("storer"), &heads, &count, &err));
	cr_assert_eq(count, 0);
	free(heads);
	cr_assert_eq(tb_catalog_head(below("storer"), "book", &head, &err), TB_ENOTFOUND);
	cr_assert_eq(tb_catalog_head(below("nowhere"), "book", &head, &err), TB_ENOTFOUND);
	cr_assert_eq(tb_catalog_heads(below("nowhere"), &heads, &count, &err), TB_ENOTFOUND);
}

Test(catalog, what_was_aborted_was_not_recorded)
{
	int has;
	uint8_t name[TB_OBJECT_NAME] = { 1 };
	must(record("book", 1, 100, 1));
	must(tb_catalog_object(txn, name, 1, NOW, &err));
	tb_txn_abort(txn);
	must(tb_bank_write(bank, &txn, &err));
	must(tb_catalog_has_object(txn, name, &has, &err));
	cr_assert(!has);
	must(record("book", 1, 100, 2));
}

Test(catalog, a_head_that_is_not_one_is_damage)
{
	tb_db heads;
	tb_head head, *all;
	size_t count;
	must(record("book", 1, 7, 1));
	must(tb_txn_db(txn, "heads", &heads, &err));
	must(tb_txn_put(txn, heads, tb_span_text("tape"), tb_span_text("short"), &err));
	end();
	cr_assert_eq(tb_catalog_head(below("storer"), "tape", &head, &err), TB_ECORRUPT);
	cr_assert_eq(tb_catalog_heads(below("storer"), &all, &count, &err), TB_ECORRUPT);
	must(tb_catalog_head(below("storer"), "book", &head, &err));
}

/* An object with its own name, one with another, and a manifest of more bytes than one may have. */
Test(catalog, what_can_not_be_what_its_name_says_is_passed_over_when_it_is_made_anew)
{
	static const char right[] = "objects/ab/abababababababababababababababababababababababababababababababab";
	static const char wrong[] = "objects/ab/ab", large[] = "manifests/book/large";
	char path[300];
	tb_tier *tier;
	tb_catalog_rebuilt rebuilt;
	must(tb_tier_open(tb_disk_system(), below("repository"), 1, &tier, &err));
	must(tier->put(tier, right, tb_span_text("object"), &err));
	must(tier->put(tier, wrong, tb_span_text("object"), &err));
	must(tier->put(tier, large, tb_span_text("manifest"), &err));
	snprintf(path, sizeof(path), "%s/%s", below("repository"), large);
	cr_assert_eq(truncate(path, (off_t)TB_MANIFEST_MAX + 1), 0);
	must(tb_catalog_rebuild(txn, tier, NOW, &rebuilt, &err));
	cr_assert_eq(rebuilt.objects, 1);
	cr_assert_eq(rebuilt.manifests, 0);
	must(tb_catalog_rebuild(txn, tier, NOW, &rebuilt, &err));
	cr_assert_eq(rebuilt.objects, 0, "they are recorded already");
	tb_tier_close(tier);
}
