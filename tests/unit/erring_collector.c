/* Repositories in which everything is whole and signed, and yet doesn't fit together: a collector erred. Verification says
 * so, and no restore gives a state that never was. */
#include "fault/repository_builder.h"

#include "leaks.h"
#include "store/verify.h"
#include "tb/restore.h"

static struct repository repository;

/* What is damage; and the one of it that was looked for. */
static const char *wanted_code, *wanted_words;
static struct {
	size_t count;
	int is_there;
	char path[TB_MANIFEST_PATH], all[4000];
	uint64_t from, to;
} found;

static void make(void)
{
	model_resets = 0;
	repository_open(&repository);
}

static void drop(void)
{
	repository_close(&repository);
	fail_on_leaks();
}

TestSuite(erring_collector, .init = make, .fini = drop);

static void take(void *context, const tb_finding *finding)
{
	(void)context;
	if (finding->harmless)
		return;
	size_t size = strlen(found.all);
	snprintf(found.all + size, sizeof(found.all) - size, "%s: %s\n", finding->code, finding->detail);
	found.count++;
	if (strcmp(finding->code, wanted_code) != 0 || strstr(finding->detail, wanted_words) == NULL)
		return;
	found.is_there = 1;
	snprintf(found.path, sizeof(found.path), "%s", finding->path);
	found.from = finding->from;
	found.to = finding->to;
}

static void verify_with(const tb_key *identity)
{
	tb_archive *archive;
	tb_verified verified;
	tb_verify_options options = { .full = 1, .identity = identity, .finding = take };
	memset(&found, 0, sizeof(found));
	must(tb_archive_open(tb_disk_system(), repository.url, NULL, tb_key_public(repository.keys.instance), &archive, &err));
	must(tb_verify(archive, &options, &verified, &err));
	cr_assert_eq(verified.findings, found.count);
	tb_archive_close(archive);
}

static void must_find(const char *code, const char *words)
{
	wanted_code = code;
	wanted_words = words;
	verify_with(NULL);
	cr_assert(found.is_there, "%s", found.all);
}

static void must_find_nothing(void)
{
	wanted_code = wanted_words = "";
	verify_with(NULL);
	cr_assert_eq(found.count, 0, "%s", found.all);
}

static tb_rc restore_to(uint64_t event, tb_restored *restored)
{
	tb_restore_options options = { .repository = repository.url, .identity = repository.identity, .stream = STREAM,
		                       .moment = TB_AT_EVENT, .event = event, .target = "null:" };
	return tb_restore(&options, restored, &err);
}

static void restores(uint64_t event)
{
	tb_restored restored;
	uint8_t digest[32];
	must(restore_to(event, &restored));
	model_digest(event, digest);
	cr_assert_eq(restored.event, event);
	cr_assert_arr_eq(restored.digest, digest, sizeof(digest));
}

static void refuses(uint64_t event, const char *words)
{
	tb_restored restored;
	cr_assert_eq(restore_to(event, &restored), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, words), "%s", err.text);
}

Test(erring_collector, an_event_in_two_segments_is_refused)
{
	add_segment(&repository, 7);
	repository.last -= 2;
	add_segment(&repository, 6);
	must_find("segment gap", "it begins at event 6, but the segment before it goes to 7");
	cr_assert_str_eq(found.path, repository.built[1].path);
	cr_assert(found.from == 6 && found.to == 11, "%d..%d", (int)found.from, (int)found.to);
	restores(7);
	refuses(9, "both hold event 6");
	refuses(11, "both hold event 6");
}

Test(erring_collector, events_in_no_segment_are_refused)
{
	add_segment(&repository, 7);
	repository.last += 3;
	add_segment(&repository, 6);
	must_find("segment gap", "events 8..10 are in no segment");
	cr_assert(found.from == 8 && found.to == 16, "%d..%d", (int)found.from, (int)found.to);
	restores(7);
	refuses(9, "events 8..10");
	refuses(16, "events 8..10");
}

Test(erring_collector, a_backup_of_events_that_no_segment_holds_is_told)
{
	add_segment(&repository, 7);
	repository.last += 3;
	add_full(&repository, 11);
	must_find("segment gap", "events 8..10 are in no segment");
	restores(7);
	restores(10); /* the backup itself needs none of them */
	refuses(9, "events 8..9");
}

Test(erring_collector, two_manifests_of_one_number_are_refused)
{
	char head[TB_MANIFEST_PATH];
	add_segment(&repository, 7);
	add_segment(&repository, 4);
	newest_head(&repository, head);
	file_remove(&repository, head);
	repository.built_count--;
	add_segment(&repository, 5);
	must_find("chain broken", "there are two with this number");
	restores(7);
	refuses(16, "isn't the one that the head names");
}

Test(erring_collector, a_manifest_that_follows_another_history_is_refused)
{
	add_segment(&repository, 7);
	repository.before[0] ^= 1;
	add_segment(&repository, 4);
	must_find("chain broken", "the one before it isn't the one that it was made after");
	restores(7);
	refuses(11, "is broken");
}

/* Which of the two is the wrong one can't be known. */
Test(erring_collector, a_backup_that_follows_another_history_is_refused)
{
	add_segment(&repository, 7);
	add_segment(&repository, 4);
	repository.before[0] ^= 1;
	add_full(&repository, 9);
	add_segment(&repository, 5);
	must_find("chain broken", "the one before it isn't the one that it was made after");
	restores(7);
	refuses(16, "broken between backup");
}

/* A segment whose object is something else, but for its name and size. */
static void add_odd_segment(tb_content content, tb_span plain, int raw)
{
	struct built *built = new_built(&repository, 0, repository.last + 1, repository.last + 3);
	uint8_t name[TB_OBJECT_NAME];
	Tb__Manifest manifest = TB__MANIFEST__INIT;
	Tb__ManifestPrivate private = TB__MANIFEST_PRIVATE__INIT;
	Tb__ObjectRef ref, *refs[1] = { &ref };
	put_object(&repository, content, plain, built, &ref, name);
	if (raw) {
		tb_object_name(plain, name);
		tb_object_path(name, built->objects[0]);
		must(repository.tier->put(repository.tier, built->objects[0], plain, &err));
		ref.size_stored = plain.size;
	}
	manifest.n_objects = 1;
	manifest.objects = refs;
	put_manifest(&repository, built, &manifest, &private);
	repository.last = built->to;
}

Test(erring_collector, an_object_that_never_was_one_is_refused)
{
	static uint8_t junk[300];
	add_segment(&repository, 7);
	add_odd_segment(TB_CONTENT_SEGMENT, tb_span_of(junk, sizeof(junk)), 1);
	must_find("object damaged", "it was never an object");
	restores(7);
	refuses(10, "not an object");
}

Test(erring_collector, a_chunk_in_place_of_a_segment_is_refused)
{
	add_segment(&repository, 7);
	add_odd_segment(TB_CONTENT_CHUNK, tb_span_text("anything"), 0);
	must_find("object damaged", "another content");
	restores(7);
	refuses(10, "a chunk, not a segment");
}

Test(erring_collector, a_segment_that_ends_early_is_refused)
{
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	add_segment(&repository, 7);
	segment_frames(8, 9, &frames);
	add_odd_segment(TB_CONTENT_SEGMENT, tb_buf_span(&frames), 0);
	restores(7);
	refuses(10, "it ends there");
}

/* A backup of one chunk, which the manifest describes so. */
static void add_odd_full(tb_span plain, const char *first_key, const char *last_key, uint64_t size_plain)
{
	struct built *built = new_built(&repository, 1, repository.last + 1, repository.last);
	uint8_t name[TB_OBJECT_NAME];
	Tb__Manifest manifest = TB__MANIFEST__INIT;
	Tb__ManifestPrivate private = TB__MANIFEST_PRIVATE__INIT;
	Tb__ObjectRef ref, *refs[1] = { &ref };
	Tb__ChunkPrivate chunk = TB__CHUNK_PRIVATE__INIT, *chunks[1] = { &chunk };
	put_object(&repository, TB_CONTENT_CHUNK, plain, built, &ref, name);
	ref.size_plain = size_plain != 0 ? size_plain : plain.size;
	chunk.first_key = (ProtobufCBinaryData){ strlen(first_key), (uint8_t *)(uintptr_t)first_key };
	chunk.last_key = (ProtobufCBinaryData){ strlen(last_key), (uint8_t *)(uintptr_t)last_key };
	manifest.n_objects = private.n_chunks = 1;
	manifest.objects = refs;
	private.chunks = chunks;
	put_manifest(&repository, built, &manifest, &private);
}

/* Asked for by name, a backup is not done without. */
static void refuses_backup(const struct built *built, const char *words)
{
	tb_restored restored;
	tb_restore_options options = { .repository = repository.url, .identity = repository.identity, .stream = STREAM,
		                       .moment = TB_AT_BACKUP, .backup = built->id, .target = "null:" };
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, words), "%s", err.text);
}

/* Restored all the same, from the first event on. */
static void passes_over(const struct built *built)
{
	tb_restored restored;
	uint8_t digest[32];
	must(restore_to(built->to, &restored));
	model_digest(built->to, digest);
	cr_assert_arr_eq(restored.digest, digest, sizeof(digest));
	cr_assert_str_eq(restored.passed_over, built->id);
}

Test(erring_collector, a_chunk_that_is_not_what_its_manifest_says_is_refused)
{
	static const char entries[] = "\x01" "b" "\x01" "v" "\x01" "d" "\x01" "w", falling[] = "\x01" "d" "\x01" "v" "\x01" "b" "\x00";
	const struct {
		tb_span plain;
		const char *first_key, *last_key;
		uint64_t size_plain;
		const char *words;
	} rows[] = {
		{ tb_span_of(entries, 8), "a", "d", 0, "begins with another key" },
		{ tb_span_of(entries, 8), "b", "c", 0, "ends with another key" },
		{ tb_span_of(entries, 7), "b", "d", 0, "aren't whole" },
		{ tb_span_of(falling, 7), "d", "b", 0, "don't ascend" },
		{ tb_span_of(entries, 8), "b", "d", 9, "its manifest says 9" },
	};
	add_segment(&repository, 7);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		add_odd_full(rows[i].plain, rows[i].first_key, rows[i].last_key, rows[i].size_plain);
		const struct built *built = &repository.built[repository.built_count - 1];
		refuses_backup(built, rows[i].words);
		passes_over(built);
		add_segment(&repository, 2);
	}
}

/* ---- keys */

static void put_wrap(const char *name, tb_span bytes)
{
	char path[TB_WRAP_PATH + 32];
	const char *end = strrchr(repository.keys.wrap_path, '/');
	snprintf(path, sizeof(path), "%.*s/%s", (int)(end - repository.keys.wrap_path), repository.keys.wrap_path, name);
	must(repository.tier->put(repository.tier, path, bytes, &err));
}

Test(erring_collector, wraps_that_are_of_nothing_here_are_told)
{
	static const char *const someone = "00112233445566778899aabbccddeeff";
	add_segment(&repository, 7);
	put_wrap(someone, tb_span_text("short"));
	must_find("key damaged", "isn't of the size of a wrapped key");
	cr_assert_eq(found.count, 1);
	file_remove(&repository, found.path);

	tb_auto(tb_buf_drop) tb_buf wrap = { 0 };
	uint8_t record[TB_PERIOD_RECORD];
	const void *recipient = tb_key_public(repository.keys.identity);
	must(tb_period_make(repository.keys.instance, recipient, 1, NOW, record, &wrap, &err));
	put_wrap(someone, tb_buf_span(&wrap));
	must_find("key damaged", "another period or repository");
	cr_assert_eq(found.from, 0);
}

Test(erring_collector, a_wrap_that_does_not_open_is_found_by_who_has_the_identity)
{
	tb_auto(tb_buf_drop) tb_buf wrap = { 0 };
	uint8_t record[TB_PERIOD_RECORD];
	char path[TB_WRAP_PATH];
	const void *recipient = tb_key_public(repository.keys.identity);
	struct keys *keys = &repository.keys;
	add_segment(&repository, 7);
	must(tb_period_make(keys->instance, recipient, 1, NOW, record, &wrap, &err));
	must(tb_period_read(tb_span_of(record, sizeof(record)), NULL, &keys->period, &err));
	wrap.data[TB_PERIOD_RECORD + 50] ^= 1;
	tb_wrap_path(keys->period.id, tb_key_public(keys->identity), path);
	must(repository.tier->put(repository.tier, path, tb_buf_span(&wrap), &err));
	add_segment(&repository, 4);
	must_find_nothing();
	wanted_code = "key missing";
	verify_with(keys->identity);
	cr_assert(found.is_there && found.count == 2, "%s", found.all); /* damaged, and so missing */
	cr_assert(found.from == 8 && found.to == 11, "%d..%d", (int)found.from, (int)found.to);
	restores(7);
	tb_restored restored;
	tb_rc rc = restore_to(11, &restored);
	cr_assert(rc == TB_EKEY || rc == TB_ECORRUPT, "%s: %s", tb_rc_name(rc), err.text);
}
