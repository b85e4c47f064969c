#include "fault/fault_disk.h"
#include "fault/repository_builder.h"

#include "leaks.h"
#include "store/verify.h"

static struct repository repository;

#define FINDINGS_MAX 64

static struct {
	char code[32], path[TB_MANIFEST_PATH], stream[130], backup[TB_BACKUP_ID], type[32], detail[600];
	uint64_t from, to;
	int harmless;
} findings[FINDINGS_MAX];
static size_t finding_count;
static tb_verified verified;
static uint64_t bytes_done, bytes_all;

static void make(void)
{
	repository_make(&repository);
}

static void drop(void)
{
	repository_close(&repository);
	fail_on_leaks();
}

TestSuite(verify, .init = make, .fini = drop);

static void take(void *context, const tb_finding *finding)
{
	(void)context;
	cr_assert_lt(finding_count, FINDINGS_MAX);
	size_t i = finding_count++;
	snprintf(findings[i].code, sizeof(findings[i].code), "%s", finding->code);
	snprintf(findings[i].path, sizeof(findings[i].path), "%s", finding->path);
	snprintf(findings[i].stream, sizeof(findings[i].stream), "%s", finding->stream);
	snprintf(findings[i].backup, sizeof(findings[i].backup), "%s", finding->backup);
	snprintf(findings[i].type, sizeof(findings[i].type), "%s", finding->type);
	snprintf(findings[i].detail, sizeof(findings[i].detail), "%s", finding->detail);
	findings[i].from = finding->from;
	findings[i].to = finding->to;
	findings[i].harmless = finding->harmless;
}

static void note_progress(void *context, uint64_t done, uint64_t all)
{
	(void)context;
	bytes_done = done;
	bytes_all = all;
}

static tb_rc run_with(int full, const char *catalog, const char *stream, const tb_key *identity)
{
	tb_archive *archive;
	must(tb_archive_open(tb_disk_system(), repository.url, NULL, tb_key_public(repository.keys.instance),
	                     &archive, &err));
	tb_verify_options options = { .full = full, .catalog = catalog, .stream = stream, .identity = identity, .finding = take,
	                              .progress = note_progress };
	finding_count = 0;
	tb_rc rc = tb_verify(archive, &options, &verified, &err);
	tb_archive_close(archive);
	return rc;
}

static void run(int full)
{
	must(run_with(full, NULL, NULL, NULL));
}

/* Exactly one finding that is damage, and this one. */
static void must_find(const char *code, const char *path, const struct built *built, uint64_t from, uint64_t to)
{
	cr_assert_eq(verified.findings, 1, "%d findings: %s: %s; %s: %s", (int)verified.findings, findings[0].code,
	             findings[0].detail, findings[1].code, findings[1].detail);
	size_t i = 0;
	while (findings[i].harmless)
		i++;
	cr_assert_str_eq(findings[i].code, code);
	cr_assert_str_eq(findings[i].path, path);
	cr_assert_str_eq(findings[i].stream, STREAM);
	cr_assert_str_eq(findings[i].backup, built ? built->id : "");
	cr_assert_str_eq(findings[i].type, built == NULL ? "" : built->is_full ? "FULL" : "SEGMENT");
	cr_assert(findings[i].from == from && findings[i].to == to, "%d..%d: %s", (int)findings[i].from,
	          (int)findings[i].to,
	          findings[i].detail);
	cr_assert_neq(findings[i].detail[0], '\0');
}

Test(verify, a_whole_repository_has_no_findings)
{
	for (int full = 0; full <= 1; full++) {
		run(full);
		cr_assert_eq(finding_count, 0, "%s: %s", findings[0].code, findings[0].detail);
		cr_assert_eq(verified.streams, 1);
		cr_assert_eq(verified.manifests, repository.built_count);
		cr_assert_eq(verified.objects, 8 + repository.built[4].object_count + repository.built[7].object_count);
	}
	cr_assert(bytes_all > 0 && bytes_done == bytes_all);
	must(run_with(1, NULL, NULL, repository.keys.identity));
	cr_assert_eq(finding_count, 0);
}

Test(verify, a_repository_without_streams_is_whole)
{
	for (size_t i = 0; i < repository.built_count; i++)
		file_remove(&repository, repository.built[i].path);
	file_remove(&repository, "heads/book/00000000000000000010");
	run(1);
	cr_assert_eq(verified.findings, 0);
	cr_assert_eq(verified.streams, 0);
	cr_assert_gt(verified.orphans, 0);
}

Test(verify, a_lost_segment_hits_what_needs_it_and_no_more)
{
	static const struct {
		size_t built;
		uint64_t from, to;
	} rows[] = {
		{ 0, 1, 25 },  /* the backup at 26 is replayed from 12 */
		{ 2, 9, 43 },  /* that one needs 12..20, so the next is the one at 44 */
		{ 5, 27, 43 },
		{ 6, 36, 43 }, /* the one at 44 lays nothing over */
		{ 8, 45, 60 },
		{ 9, 51, 60 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct built *built = &repository.built[rows[i].built];
		tb_buf bytes = { 0 };
		file_read(&repository, built->objects[0], &bytes);
		file_remove(&repository, built->objects[0]);
		run(0);
		must_find("object missing", built->objects[0], built, rows[i].from, rows[i].to);
		file_write(&repository, built->objects[0], tb_buf_span(&bytes));
		flip_bit(&repository, built->objects[0], 1234);
		run(0);
		cr_assert_eq(verified.findings, 0); /* bytes aren't looked at */
		run(1);
		must_find("object damaged", built->objects[0], built, rows[i].from, rows[i].to);
		flip_bit(&repository, built->objects[0], 1234);
		tb_buf_drop(&bytes);
	}
}

Test(verify, a_lost_backup_hits_nothing_while_segments_lead_there)
{
	struct built *built = &repository.built[7];
	file_remove(&repository, built->objects[0]);
	run(0);
	must_find("object missing", built->objects[0], built, 0, 0);
	cr_assert_not_null(strstr(findings[0].detail, "every event can still be restored"), "%s", findings[0].detail);
}

Test(verify, a_lost_backup_hits_what_only_it_led_to)
{
	file_remove(&repository, repository.built[7].objects[0]);
	file_remove(&repository, repository.built[2].objects[0]);
	run(0);
	cr_assert_eq(verified.findings, 2);
	for (size_t i = 0; i < 2; i++) {
		int is_full = strcmp(findings[i].type, "FULL") == 0;
		cr_assert_eq(findings[i].from, is_full ? 44 : 9);
		cr_assert_eq(findings[i].to, 60);
	}
}

Test(verify, swapped_objects_are_both_found)
{
	file_swap(&repository, repository.built[8].objects[0], repository.built[9].objects[0]);
	run(1);
	cr_assert_eq(verified.findings, 2);
}

Test(verify, an_object_cut_short_is_found_by_its_size)
{
	struct built *built = &repository.built[9];
	tb_buf bytes = { 0 };
	file_read(&repository, built->objects[0], &bytes);
	bytes.size--;
	file_write(&repository, built->objects[0], tb_buf_span(&bytes));
	run(0);
	must_find("object size", built->objects[0], built, 51, 60);
	run(1);
	must_find("object size", built->objects[0], built, 51, 60);
	tb_buf_drop(&bytes);
}

Test(verify, a_missing_manifest_is_found_in_chain_and_numbers)
{
	file_remove(&repository, repository.built[5].path);
	run(0);
	must_find("manifest missing", "", NULL, 27, 43);
}

Test(verify, a_missing_manifest_of_a_backup_is_found_in_the_chain)
{
	file_remove(&repository, repository.built[4].path);
	run(0);
	must_find("manifest missing", "", NULL, 0, 0);
}

Test(verify, the_newest_manifest_missing_is_found_by_the_head)
{
	file_remove(&repository, repository.built[9].path);
	run(0);
	must_find("manifest missing", "", NULL, 51, 60);
}

Test(verify, all_manifests_missing_are_found_by_the_head)
{
	for (size_t i = 0; i < repository.built_count; i++)
		file_remove(&repository, repository.built[i].path);
	run(0);
	must_find("manifest missing", "", NULL, 1, 60);
}

Test(verify, a_damaged_manifest_is_one_finding_with_the_numbers_of_its_name)
{
	flip_bit(&repository, repository.built[5].path, 8 * 100);
	run(0);
	must_find("manifest signature", repository.built[5].path, &repository.built[5], 27, 43);
	flip_bit(&repository, repository.built[5].path, 8 * 100);
	flip_bit(&repository, repository.built[9].path, 3);
	run(0);
	must_find("manifest damaged", repository.built[9].path, &repository.built[9], 51, 60);
}

Test(verify, two_damages_at_once_are_both_told)
{
	flip_bit(&repository, repository.built[5].path, 800);
	file_remove(&repository, repository.built[9].path);
	run(0);
	cr_assert_eq(verified.findings, 2);
}

Test(verify, a_missing_head_and_a_damaged_one_are_found)
{
	char head[TB_MANIFEST_PATH];
	newest_head(&repository, head);
	flip_bit(&repository, head, 300);
	run(0);
	must_find("head damaged", "heads/" STREAM, NULL, 0, 0);
	file_remove(&repository, head);
	run(0);
	must_find("head missing", "heads/" STREAM, NULL, 0, 0);
}

Test(verify, an_older_head_put_back_is_found)
{
	char head[TB_MANIFEST_PATH];
	newest_head(&repository, head);
	file_remove(&repository, head);
	put_head(&repository, &repository.built[8]);
	run(0);
	must_find("rolled back", "heads/" STREAM, NULL, 0, 0);
}

Test(verify, a_repository_rolled_back_is_found_with_the_catalog_alone)
{
	repository_remember(&repository, repository.built_count);
	must(run_with(0, repository.catalog, NULL, NULL));
	cr_assert_eq(verified.findings, 0);
	roll_back(&repository, 8);
	must(run_with(0, repository.catalog, NULL, NULL));
	must_find("rolled back", "", NULL, 45, 60);
	run(0);
	cr_assert_eq(verified.findings, 0);
}

Test(verify, without_a_catalog_where_one_is_said_to_be_nothing_is_remembered)
{
	must(run_with(0, below("nowhere"), NULL, NULL));
	cr_assert_eq(finding_count, 0);
	cr_assert_eq(verified.streams, 1);
}

Test(verify, a_stream_that_vanished_is_found_with_the_catalog)
{
	repository_remember(&repository, repository.built_count);
	for (size_t i = 0; i < repository.built_count; i++)
		file_remove(&repository, repository.built[i].path);
	file_remove(&repository, "heads/book/00000000000000000010");
	must(run_with(0, repository.catalog, NULL, NULL));
	cr_assert_geq(verified.findings, 1);
	int found = 0;
	for (size_t i = 0; i < finding_count; i++)
		found += strcmp(findings[i].code, "rolled back") == 0 && findings[i].from == 1 && findings[i].to == 60;
	cr_assert_eq(found, 1);
}

Test(verify, a_manifest_written_anew_breaks_the_chain)
{
	struct built kept = repository.built[9];
	repository.built_count--;
	repository.last = 50;
	file_remove(&repository, kept.path);
	file_remove(&repository, "heads/book/00000000000000000010");
	struct built *anew = add_segment(&repository, 10); /* signed, but its `before` isn't the hash of the ninth */
	run(0);
	must_find("chain broken", anew->path, anew, 51, 60);
}

Test(verify, a_missing_key_takes_everything)
{
	file_remove(&repository, repository.keys.wrap_path);
	run(0);
	cr_assert_eq(verified.findings, 1);
	cr_assert_str_eq(findings[0].code, "key missing");
	cr_assert(findings[0].from == 1 && findings[0].to == 60, "%s", findings[0].detail);
}

/* Behind the signed record lies the box, and only its recipient can tell. */
Test(verify, a_key_that_does_not_open_is_found_by_its_identity)
{
	flip_bit(&repository, repository.keys.wrap_path, 8 * 200);
	run(1);
	cr_assert_eq(verified.findings, 0);
	must(run_with(0, NULL, NULL, repository.keys.identity));
	cr_assert_eq(verified.findings, 2);
	cr_assert_str_eq(findings[0].code, "key damaged");
	cr_assert_str_eq(findings[0].path, repository.keys.wrap_path);
	cr_assert(findings[1].from == 1 && findings[1].to == 60, "%s", findings[1].detail);
}

Test(verify, an_identity_that_no_key_is_for_opens_nothing)
{
	tb_key *other;
	must(tb_key_make(TB_KEY_IDENTITY, repository.keys.repository, repository.keys.instance, NOW, &other, &err));
	must(run_with(0, NULL, NULL, other));
	tb_key_free(other);
	cr_assert_eq(verified.findings, 1);
	cr_assert_str_eq(findings[0].code, "key missing");
	cr_assert(findings[0].from == 1 && findings[0].to == 60, "%s", findings[0].detail);
}

Test(verify, an_identity_of_another_repository_is_refused_before_anything_is_read)
{
	uint8_t elsewhere[TB_REPOSITORY_ID] = { 9 };
	tb_key *other;
	must(tb_key_make(TB_KEY_IDENTITY, elsewhere, repository.keys.instance, NOW, &other, &err));
	cr_assert_eq(run_with(0, NULL, NULL, other), TB_EKEY);
	tb_key_free(other);
	cr_assert_not_null(strstr(err.text, "another repository"), "%s", err.text);
	cr_assert_eq(finding_count, 0);
}

Test(verify, a_damaged_key_is_found)
{
	flip_bit(&repository, repository.keys.wrap_path, 8 * 30);
	run(0);
	cr_assert_eq(verified.findings, 2); /* it was the only one */
	cr_assert_str_eq(findings[0].code, "key damaged");
	cr_assert_str_eq(findings[0].path, repository.keys.wrap_path);
	cr_assert_str_eq(findings[1].code, "key missing");
}

Test(verify, orphans_and_strays_are_told_as_harmless)
{
	struct built loose = { .object_count = 0 };
	Tb__ObjectRef ref;
	uint8_t name[TB_OBJECT_NAME];
	put_object(&repository, TB_CONTENT_CHUNK, tb_span_text("x"), &loose, &ref, name);
	must(repository.tier->put(repository.tier, "notes.txt", tb_span_text("x"), &err));
	must(repository.tier->put(repository.tier, "objects/ab/abc", tb_span_text("x"), &err));
	must(repository.tier->put(repository.tier, "manifests/book/x", tb_span_text("x"), &err));
	must(repository.tier->put(repository.tier, "heads/book/x", tb_span_text("x"), &err));
	must(repository.tier->put(repository.tier, "keys/x", tb_span_text("x"), &err));
	run(1);
	cr_assert_eq(verified.orphans, 1);
	cr_assert_eq(finding_count, 6);
	for (size_t i = 0; i < finding_count; i++) {
		cr_assert(findings[i].harmless, "%s %s: %s", findings[i].code, findings[i].path, findings[i].detail);
		cr_assert_str_eq(findings[i].code, strcmp(findings[i].path, loose.objects[0]) == 0 ? "orphan" : "stray name");
	}
	cr_assert_eq(verified.findings, 0);
}

Test(verify, one_stream_can_be_verified_alone)
{
	must(run_with(1, NULL, STREAM, NULL));
	cr_assert_eq(finding_count, 0);
	cr_assert_eq(run_with(1, NULL, "other", NULL), TB_ENOTFOUND);
}

static void every_flip_is_found(const char *path, size_t step)
{
	tb_buf bytes = { 0 };
	file_read(&repository, path, &bytes);
	size_t bits = bytes.size * 8;
	tb_buf_drop(&bytes);
	for (size_t bit = 0; bit < bits; bit += step) {
		flip_bit(&repository, path, bit);
		run(1);
		cr_assert_gt(verified.findings, 0, "%s bit %zu", path, bit);
		flip_bit(&repository, path, bit);
	}
}

Test(verify, every_flipped_bit_of_objects_manifests_and_heads_is_found)
{
	char head[TB_MANIFEST_PATH];
	newest_head(&repository, head);
	every_flip_is_found(repository.built[7].objects[0], 1);
	every_flip_is_found(repository.built[1].path, 29);
	every_flip_is_found(repository.built[7].path, 31);
	every_flip_is_found(head, 11);
}

Test(verify, any_single_file_that_goes_is_found)
{
	run(1);
	for (size_t i = 0; i < repository.built_count; i++) {
		tb_buf bytes = { 0 };
		file_read(&repository, repository.built[i].path, &bytes);
		file_remove(&repository, repository.built[i].path);
		run(0);
		cr_assert_geq(verified.findings, 1, "%s", repository.built[i].path);
		file_write(&repository, repository.built[i].path, tb_buf_span(&bytes));
		for (size_t k = 0; k < repository.built[i].object_count; k++) {
			file_read(&repository, repository.built[i].objects[k], &bytes);
			file_remove(&repository, repository.built[i].objects[k]);
			run(0);
			must_find("object missing", repository.built[i].objects[k], &repository.built[i], findings[0].from,
			          findings[0].to);
			file_write(&repository, repository.built[i].objects[k], tb_buf_span(&bytes));
		}
		tb_buf_drop(&bytes);
	}
	run(1);
	cr_assert_eq(finding_count, 0);
}

Test(verify, another_streams_remembered_head_is_left_alone)
{
	tb_bank *bank;
	tb_txn *txn;
	uint8_t hash[TB_HASH_SIZE] = { 1 };
	Tb__ManifestFrame frame = TB__MANIFEST_FRAME__INIT;
	frame.stream = (char *)"tape";
	frame.path = frame.backup = (char *)"x";
	frame.chain = frame.to = 1;
	repository_remember(&repository, 10);
	must(tb_bank_open(repository.catalog, TB_BANK_WRITER, 0, &bank, &err));
	must(tb_bank_write(bank, &txn, &err));
	must(tb_catalog_manifest(txn, &frame, hash, NOW, &err));
	must(tb_txn_commit(txn, &err));
	tb_bank_close(bank);
	must(run_with(0, repository.catalog, NULL, NULL));
	cr_assert_gt(verified.findings, 0);
	must(run_with(0, repository.catalog, STREAM, NULL));
	cr_assert_eq(verified.findings, 0);
}

Test(verify, a_backup_that_was_rolled_back_is_found_though_no_event_is_lost)
{
	repository_remember(&repository, 8);
	roll_back(&repository, 7);
	must(run_with(0, repository.catalog, NULL, NULL));
	cr_assert_eq(verified.findings, 1);
	cr_assert_str_eq(findings[0].code, "rolled back");
}

static tb_rc run_on(tb_disk *disk)
{
	tb_archive *archive;
	must(tb_archive_open(disk, repository.url, NULL, tb_key_public(repository.keys.instance), &archive, &err));
	tb_verify_options options = { .full = 1, .finding = take };
	finding_count = 0;
	tb_rc rc = tb_verify(archive, &options, &verified, &err);
	tb_archive_close(archive);
	return rc;
}

/* Whatever the disk can't read is a finding or the end, and never passed over. */
Test(verify, a_disk_that_can_not_read_is_never_taken_for_a_whole_repository)
{
	struct fault_disk fault;
	size_t found = 0;
	fault_disk_init(&fault, tb_disk_system());
	for (unsigned long nth = 1; nth < 60; nth++) {
		fault_disk_fail(&fault, FAULT_READ, nth + 2, TB_EIO); /* behind those of opening */
		tb_rc rc = run_on(&fault.disk);
		if (fault.counted < nth + 2)
			break;
		cr_assert(rc != TB_OK || verified.findings > 0, "read %lu", nth);
		for (size_t i = 0; i < finding_count; i++)
			found += strstr(findings[i].detail, "the disk can't read it") != NULL;
	}
	cr_assert_gt(found, 0);
	fault_disk_drop(&fault);
}
