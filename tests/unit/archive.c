#include "fault/fault_disk.h"
#include "fault/repository_builder.h"

#include "leaks.h"

static struct repository repository;

static void make(void)
{
	repository_make(&repository);
}

static void drop(void)
{
	repository_close(&repository);
	fail_on_leaks();
}

TestSuite(archive, .init = make, .fini = drop);

static tb_archive *open_archive(void)
{
	tb_archive *archive;
	must(tb_archive_open(tb_disk_system(), repository.url, repository.keys.identity, NULL, &archive, &err));
	return archive;
}

Test(archive, streams_and_manifests_come_in_order)
{
	tb_archive *archive = open_archive();
	char **names;
	size_t count;
	must(tb_archive_streams(archive, &names, &count, &err));
	cr_assert_eq(count, 1);
	cr_assert_str_eq(names[0], STREAM);
	free(names[0]);
	free(names);
	tb_archive_entry *entries;
	must(tb_archive_list(archive, STREAM, &entries, &count, &err));
	cr_assert_eq(count, repository.built_count);
	for (size_t i = 0; i < count; i++) /* made in that order, and segments before backups of the same number */
		cr_assert_str_eq(entries[i].id, repository.built[i].id);
	free(entries);
	tb_archive_close(archive);
}

Test(archive, an_unknown_stream_is_not_found_and_the_known_ones_are_named)
{
	tb_archive *archive = open_archive();
	tb_archive_entry *entries;
	size_t count;
	cr_assert_eq(tb_archive_list(archive, "other", &entries, &count, &err), TB_ENOTFOUND);
	cr_assert_not_null(strstr(err.hint, STREAM), "%s", err.hint);
	tb_archive_close(archive);
}

Test(archive, names_that_are_no_manifests_are_skipped)
{
	must(repository.tier->put(repository.tier, "manifests/book/notes.txt", tb_span_text("x"), &err));
	must(repository.tier->put(repository.tier, "manifests/readme", tb_span_text("x"), &err));
	tb_archive *archive = open_archive();
	tb_archive_entry *entries;
	size_t count;
	must(tb_archive_list(archive, STREAM, &entries, &count, &err));
	cr_assert_eq(count, repository.built_count);
	free(entries);
	tb_archive_close(archive);
}

Test(archive, without_identity_or_verifying_key_nothing_opens)
{
	tb_archive *archive;
	cr_assert_eq(tb_archive_open(tb_disk_system(), repository.url, NULL, NULL, &archive, &err), TB_EKEY);
}

Test(archive, with_the_verifying_key_alone_manifests_are_read_and_objects_are_not)
{
	tb_archive *archive;
	tb_arena *arena = tb_arena_new();
	tb_archive_entry *entries;
	size_t count;
	Tb__Manifest *manifest;
	uint8_t hash[TB_HASH_SIZE];
	tb_buf plain = { 0 };
	must(tb_archive_open(tb_disk_system(), repository.url, NULL, tb_key_public(repository.keys.instance), &archive,
	                     &err));
	must(tb_archive_list(archive, STREAM, &entries, &count, &err));
	must(tb_archive_manifest(archive, STREAM, &entries[0], arena, &manifest, hash, &err));
	cr_assert_eq(tb_archive_object(archive, manifest->objects[0], TB_CONTENT_SEGMENT, &plain, &err), TB_EKEY);
	free(entries);
	tb_arena_free(arena);
	tb_archive_close(archive);
}

Test(archive, an_identity_of_another_repository_is_refused)
{
	tb_archive *archive;
	tb_key *instance, *identity;
	uint8_t other[TB_REPOSITORY_ID] = { 1 };
	must(tb_key_make(TB_KEY_INSTANCE, other, NULL, NOW, &instance, &err));
	must(tb_key_make(TB_KEY_IDENTITY, other, instance, NOW, &identity, &err));
	cr_assert_eq(tb_archive_open(tb_disk_system(), repository.url, identity, NULL, &archive, &err), TB_EKEY);
	tb_key_free(instance);
	tb_key_free(identity);
}

Test(archive, a_manifest_under_another_name_is_noticed)
{
	tb_buf bytes = { 0 };
	char path[TB_MANIFEST_PATH];
	struct built *built = &repository.built[0];
	file_read(&repository, built->path, &bytes);
	tb_manifest_path(STREAM, 8, "SEGMENT", built->id, path);
	file_write(&repository, path, tb_buf_span(&bytes));
	tb_archive *archive = open_archive();
	tb_arena *arena = tb_arena_new();
	Tb__Manifest *manifest;
	uint8_t hash[TB_HASH_SIZE];
	tb_archive_entry entry = { .last = 8, .type = tb_backup_type_find("SEGMENT") };
	memcpy(entry.id, built->id, sizeof(entry.id));
	cr_assert_eq(tb_archive_manifest(archive, STREAM, &entry, arena, &manifest, hash, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, path), "%s", err.text);
	tb_buf_drop(&bytes);
	tb_arena_free(arena);
	tb_archive_close(archive);
}

Test(archive, the_newest_head_is_read_whatever_older_ones_lie_about)
{
	char path[TB_MANIFEST_PATH];
	tb_buf file = { 0 };
	tb_head head;
	tb_head_path(STREAM, 3, path);
	must(tb_head_write(&repository.built[2].head, repository.keys.collector, &file, &err));
	must(repository.tier->put(repository.tier, path, tb_buf_span(&file), &err));
	tb_archive *archive = open_archive();
	must(tb_archive_head(archive, STREAM, &head, &err));
	cr_assert_eq(head.chain, repository.built_count);
	cr_assert_eq(tb_archive_head(archive, "other", &head, &err), TB_ENOTFOUND);
	tb_buf_drop(&file);
	tb_archive_close(archive);
}

struct seen {
	uint64_t next, count;
};

static tb_rc see(void *context, const tb_archived_event *event, tb_err *why)
{
	(void)why;
	struct seen *seen = context;
	tb_buf canonical = { 0 };
	cr_assert_eq(event->number, seen->next);
	model_event(event->number, &canonical);
	cr_assert(tb_span_equal(event->canonical, tb_buf_span(&canonical)));
	tb_buf_drop(&canonical);
	cr_assert_eq(event->rejected, model_op(event->number) == OP_REJECTED);
	cr_assert_eq(event->stamp_ns, model_stamp(event->number));
	cr_assert_eq(event->effective_ns, model_effective(event->number));
	cr_assert_eq(event->epoch, 1);
	seen->next++;
	seen->count++;
	return TB_OK;
}

Test(archive, every_range_of_events_comes_back_as_it_was_published)
{
	tb_archive *archive = open_archive();
	for (uint64_t from = 1; from <= 62; from += 5) {
		for (uint64_t to = from; to <= 64; to += 7) {
			struct seen seen = { .next = from };
			uint64_t last, end = to < 60 ? to : 60;
			must(tb_archive_events(archive, STREAM, from, to, see, &seen, &last, &err));
			cr_assert_eq(last, from <= 60 ? end : from - 1);
			cr_assert_eq(seen.count, from <= 60 ? end + 1 - from : 0);
		}
	}
	tb_archive_close(archive);
}

static tb_rc stop_at_ten(void *context, const tb_archived_event *event, tb_err *why)
{
	(void)context;
	return event->number == 10 ? tb_fail(why, TB_EINTERRUPTED, "enough") : TB_OK;
}

Test(archive, who_looks_at_events_can_end_the_walk)
{
	tb_archive *archive = open_archive();
	uint64_t last;
	cr_assert_eq(tb_archive_events(archive, STREAM, 1, 60, stop_at_ten, NULL, &last, &err), TB_EINTERRUPTED);
	tb_archive_close(archive);
}

Test(archive, a_missing_object_and_a_missing_segment_are_named)
{
	tb_archive *archive = open_archive();
	struct seen seen = { .next = 1 };
	uint64_t last;
	file_remove(&repository, repository.built[2].objects[0]);
	cr_assert_eq(tb_archive_events(archive, STREAM, 1, 60, see, &seen, &last, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "payload missing"), "%s", err.text);
	cr_assert_not_null(strstr(err.text, "9..20"), "%s", err.text);
	file_remove(&repository, repository.built[2].path);
	seen.next = 1;
	cr_assert_eq(tb_archive_events(archive, STREAM, 1, 60, see, &seen, &last, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "9..20"), "%s", err.text);
	tb_archive_close(archive);
}

Test(archive, events_whose_segment_is_missing_are_damage_also_when_all_that_is_wanted_lies_in_it)
{
	tb_archive *archive = open_archive();
	struct seen seen = { .next = 10 };
	uint64_t last;
	file_remove(&repository, repository.built[2].path);
	cr_assert_eq(tb_archive_events(archive, STREAM, 10, 12, see, &seen, &last, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "10..20"), "%s", err.text);
	tb_archive_close(archive);
}

Test(archive, a_head_under_another_name_is_noticed)
{
	tb_buf bytes = { 0 };
	tb_head head;
	file_read(&repository, "heads/book/00000000000000000010", &bytes);
	file_write(&repository, "heads/book/00000000000000000011", tb_buf_span(&bytes));
	tb_archive *archive = open_archive();
	cr_assert_eq(tb_archive_head(archive, STREAM, &head, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "0011 isn't what its name says"), "%s", err.text);
	tb_buf_drop(&bytes);
	tb_archive_close(archive);
}

Test(archive, a_repository_that_can_not_be_listed_to_its_end_has_no_streams_to_tell_of)
{
	struct fault_disk fault;
	tb_archive *archive;
	char **names;
	size_t count;
	must(tb_disk_make_path(tb_disk_system(), file_of(&repository, "manifests/later"), &err));
	fault_disk_init(&fault, tb_disk_system());
	must(tb_archive_open(&fault.disk, repository.url, repository.keys.identity, NULL, &archive, &err));
	fault_disk_fail(&fault, FAULT_LIST, 3, TB_EIO); /* behind "book" */
	cr_assert_eq(tb_archive_streams(archive, &names, &count, &err), TB_EIO);
	tb_archive_close(archive);
	fault_disk_drop(&fault);
}

static tb_rc private_of_the_next(const tb_key *identity)
{
	struct built *built = add_segment(&repository, 2);
	tb_archive *archive;
	tb_arena *arena = tb_arena_new();
	Tb__Manifest *manifest;
	Tb__ManifestPrivate *private;
	uint8_t hash[TB_HASH_SIZE];
	tb_archive_entry entry = { .last = built->to, .type = tb_backup_type_find("SEGMENT") };
	memcpy(entry.id, built->id, sizeof(entry.id));
	must(tb_archive_open(tb_disk_system(), repository.url, identity, tb_key_public(repository.keys.instance), &archive,
	                     &err));
	must(tb_archive_manifest(archive, STREAM, &entry, arena, &manifest, hash, &err));
	tb_rc rc = tb_archive_private(archive, manifest, arena, &private, &err);
	cr_assert(rc == TB_OK || strstr(err.text, built->id) != NULL, "%s", err.text);
	tb_arena_free(arena);
	tb_archive_close(archive);
	return rc;
}

Test(archive, the_private_part_opens_for_an_identity_alone)
{
	cr_assert_eq(private_of_the_next(repository.keys.identity), TB_OK);
	cr_assert_eq(private_of_the_next(NULL), TB_EKEY);
}

Test(archive, a_private_part_that_is_no_message_is_damage)
{
	repository.junk_private = 1;
	cr_assert_eq(private_of_the_next(repository.keys.identity), TB_ECORRUPT);
}

Test(archive, an_object_without_a_whole_name_is_not_looked_for)
{
	tb_archive *archive = open_archive();
	uint8_t name[TB_OBJECT_NAME] = { 1 };
	tb_buf plain = { 0 };
	Tb__ObjectRef object = TB__OBJECT_REF__INIT;
	object.name = (ProtobufCBinaryData){ TB_OBJECT_NAME - 1, name };
	cr_assert_eq(tb_archive_object(archive, &object, TB_CONTENT_SEGMENT, &plain, &err), TB_ECORRUPT);
	tb_archive_close(archive);
}

static Tb__Manifest segment_manifest(void)
{
	Tb__Manifest manifest = TB__MANIFEST__INIT;
	manifest.stream = (char *)STREAM;
	manifest.backup = (char *)"SEG_test";
	manifest.from = 9;
	manifest.to = 20;
	return manifest;
}

static void must_be_refused(void *context, tb_span damaged, size_t at)
{
	tb_err why = { .text = "" };
	cr_assert_eq(tb_segment_check(damaged, context, &why), TB_ECORRUPT, "at %zu", at);
	cr_assert_not_null(strstr(why.text, "9..20"));
}

Test(archive, a_segment_cut_anywhere_is_refused)
{
	Tb__Manifest manifest = segment_manifest();
	tb_buf frames = { 0 };
	segment_frames(9, 20, &frames);
	must(tb_segment_check(tb_buf_span(&frames), &manifest, &err));
	each_cut(tb_buf_span(&frames), must_be_refused, &manifest);
	tb_buf_drop(&frames);
}

Test(archive, a_segment_with_any_bit_flipped_is_refused)
{
	Tb__Manifest manifest = segment_manifest();
	tb_buf frames = { 0 };
	segment_frames(9, 20, &frames);
	each_flip(tb_buf_span(&frames), must_be_refused, &manifest);
	tb_buf_drop(&frames);
}

Test(archive, a_segment_of_other_numbers_or_another_stream_is_refused)
{
	Tb__Manifest manifest = segment_manifest();
	tb_buf frames = { 0 };
	segment_frames(9, 21, &frames);
	cr_assert_eq(tb_segment_check(tb_buf_span(&frames), &manifest, &err), TB_ECORRUPT);
	tb_buf_clear(&frames);
	segment_frames(10, 20, &frames);
	cr_assert_eq(tb_segment_check(tb_buf_span(&frames), &manifest, &err), TB_ECORRUPT);
	tb_buf_clear(&frames);
	segment_frames(9, 20, &frames);
	manifest.stream = (char *)"another";
	cr_assert_eq(tb_segment_check(tb_buf_span(&frames), &manifest, &err), TB_ECORRUPT);
	tb_buf_drop(&frames);
}
