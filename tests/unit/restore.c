#include "fault/repository_builder.h"

#include "leaks.h"
#include "store/restore.h"
#include "tb/restore.h"

#include <dirent.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

static struct repository repository;

static void make_rooms(void)
{
	must(tb_disk_make_path(tb_disk_system(), below("scratch"), &err));
	must(tb_disk_make_path(tb_disk_system(), below("out"), &err));
	cr_assert_eq(setenv("TMPDIR", below("scratch"), 1), 0);
}

static void make(void)
{
	repository_make(&repository);
	make_rooms();
}

static size_t names_in(const char *path)
{
	size_t count = 0;
	DIR *directory = opendir(path);
	cr_assert_not_null(directory);
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

static void drop(void)
{
	cr_assert_eq(names_in(below("scratch")), 0, "a scratch directory was left");
	repository_close(&repository);
	fail_on_leaks();
}

TestSuite(restore, .init = make, .fini = drop);

static tb_restore_options options_of(tb_moment moment, uint64_t event, const char *target)
{
	return (tb_restore_options){ .repository = repository.url, .identity = repository.identity, .stream = STREAM,
	                             .moment = moment, .event = event, .target = target };
}

static int is_state(const tb_restored *restored, uint64_t event)
{
	uint8_t digest[32];
	model_digest(event, digest);
	return restored->event == event && restored->keys == model_keys(event) &&
	       restored->time_ns == model_effective(event) && memcmp(restored->digest, digest, sizeof(digest)) == 0;
}

Test(restore, every_event_restores_to_the_state_it_had)
{
	for (uint64_t event = 0; event <= 60; event++) {
		tb_restore_options options = options_of(TB_AT_EVENT, event, "null:");
		tb_restored restored;
		must(tb_restore(&options, &restored, &err));
		cr_assert(is_state(&restored, event), "event %d", (int)event);
		int has_sum = event >= 7; /* a segment or backup ends on the way */
		cr_assert_eq(restored.sum_checked, has_sum, "event %d", (int)event);
		const char *base = event >= 44 ? repository.built[7].id : event >= 26 ? repository.built[4].id : "";
		cr_assert_str_eq(restored.backup, base);
		cr_assert_str_eq(restored.passed_over, "");
	}
}

Test(restore, every_event_restores_from_the_first_one_when_there_is_no_backup)
{
	file_remove(&repository, repository.built[4].path);
	file_remove(&repository, repository.built[7].path);
	for (uint64_t event = 0; event <= 60; event += 3) {
		tb_restore_options options = options_of(TB_AT_EVENT, event, "null:");
		tb_restored restored;
		must(tb_restore(&options, &restored, &err));
		cr_assert(is_state(&restored, event), "event %d", (int)event);
		cr_assert_str_eq(restored.backup, "");
	}
}

Test(restore, a_time_restores_to_the_highest_event_that_is_not_later)
{
	uint64_t first = model_effective(1), last = model_effective(60);
	for (uint64_t time = first; time <= last + 4 * SECOND_NS; time += SECOND_NS) {
		tb_restore_options options = options_of(TB_AT_TIME, 0, "null:");
		tb_restored restored;
		uint64_t event = 0;
		options.time_ns = time;
		while (event < 60 && model_effective(event + 1) <= time)
			event++;
		must(tb_restore(&options, &restored, &err));
		cr_assert(is_state(&restored, event), "time %d, event %d not %d", (int)((time - BASE_NS) / SECOND_NS),
		          (int)restored.event, (int)event);
	}
}

Test(restore, a_time_before_the_first_event_is_not_found_and_says_when_that_was)
{
	tb_restore_options options = options_of(TB_AT_TIME, 0, "null:");
	tb_restored restored;
	options.time_ns = model_effective(1) - 1;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ENOTFOUND);
	cr_assert_not_null(strstr(err.text, "the first event is at 2023-11-14T22:13:20"), "%s", err.text);
}

Test(restore, the_latest_is_the_last_stored)
{
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 60));
	cr_assert(restored.sum_checked);
	cr_assert_eq(restored.objects, repository.built[7].object_count + 2);
	cr_assert_eq(restored.events, 15); /* 45..60 less the rejected 55 */
}

Test(restore, a_backup_restores_to_its_own_event)
{
	static const size_t which[] = { 4, 7, 2 }; /* two full ones, and a segment */
	for (size_t i = 0; i < 3; i++) {
		tb_restore_options options = options_of(TB_AT_BACKUP, 0, "null:");
		tb_restored restored;
		options.backup = repository.built[which[i]].id;
		must(tb_restore(&options, &restored, &err));
		cr_assert(is_state(&restored, repository.built[which[i]].to));
	}
	tb_restore_options options = options_of(TB_AT_BACKUP, 0, "null:");
	tb_restored restored;
	options.backup = "FUL_20200101T000000Z_0000000000000000";
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ENOTFOUND);
	cr_assert_not_null(strstr(err.text, options.backup));
}

Test(restore, an_event_that_is_not_stored_yet_says_what_is)
{
	tb_restore_options options = options_of(TB_AT_EVENT, 61, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ENOTFOUND);
	cr_assert_str_eq(err.text, "event 61 of stream book isn't stored yet: the newest stored is 60");
}

Test(restore, a_wrong_call_is_refused_in_words)
{
	static const struct {
		const char *target;
		tb_rc rc;
	} rows[] = {
		{ "file:x", TB_EINVAL },  { "json:", TB_EINVAL }, { "null:x", TB_EINVAL },
		{ "", TB_EINVAL },        { NULL, TB_EINVAL },    { "redis://localhost", TB_EUNSUPPORTED },
		{ "postgres://localhost", TB_EUNSUPPORTED },      { "json:/no/such/directory/x", TB_ENOTFOUND },
	};
	tb_restored restored;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tb_restore_options options = options_of(TB_AT_LATEST, 0, rows[i].target);
		cr_assert_eq(tb_restore(&options, &restored, &err), rows[i].rc, "%s: %s", rows[i].target, err.text);
	}
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	options.stream = "../x";
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_EINVAL);
	options.stream = "other";
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ENOTFOUND);
	cr_assert_not_null(strstr(err.hint, STREAM));
	options.stream = NULL;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_EINVAL);
	options = options_of((tb_moment)17, 0, "null:");
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_EINVAL);
}

Test(restore, another_identity_is_refused)
{
	tb_key *other;
	char path[200];
	must(tb_key_make(TB_KEY_IDENTITY, repository.keys.repository, repository.keys.instance, NOW, &other, &err));
	snprintf(path, sizeof(path), "%s", below("other.key"));
	must(tb_key_write(tb_disk_system(), path, other, &err));
	tb_key_free(other);
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	options.identity = path;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_EKEY);
}

/* Targets */

static tb_span json_bytes(const json_t *line, const char *name, const char *name_b64, tb_buf *to)
{
	const json_t *text = json_object_get(line, name);
	if (text != NULL)
		return tb_span_of(json_string_value(text), json_string_length(text));
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = json_string_value(json_object_get(line, name_b64));
	unsigned bits = 0, count = 0;
	tb_buf_clear(to);
	for (; *at != '\0' && *at != '='; at++) {
		bits = bits << 6 | (unsigned)(strchr(digits, *at) - digits);
		count += 6;
		if (count >= 8) {
			count -= 8;
			tb_buf_byte(to, (uint8_t)(bits >> count));
		}
	}
	return tb_buf_span(to);
}

static void check_json(FILE *file, uint64_t event)
{
	char line[1024];
	tb_buf key_bytes = { 0 }, value_bytes = { 0 };
	for (size_t i = 0; i < MODEL_KEYS; i++) {
		uint64_t put = model_put_of(i, event);
		if (put == 0)
			continue;
		cr_assert_not_null(fgets(line, sizeof(line), file));
		json_t *object = json_loads(line, 0, NULL);
		cr_assert_not_null(object, "%s", line);
		cr_assert_eq(json_object_size(object), 2);
		cr_assert(tb_span_equal(json_bytes(object, "key", "key_b64", &key_bytes), model_key(i)), "%s", line);
		cr_assert(tb_span_equal(json_bytes(object, "value", "value_b64", &value_bytes), model_value(put)), "%s", line);
		json_decref(object);
	}
	cr_assert_null(fgets(line, sizeof(line), file));
	tb_buf_drop(&key_bytes);
	tb_buf_drop(&value_bytes);
}

static void target_of(char target[300], const char *scheme, const char *name)
{
	char path[64];
	snprintf(path, sizeof(path), "out/%s", name);
	snprintf(target, 300, "%s%s", scheme, below(path));
}

Test(restore, json_lines_in_a_file_are_the_state_in_key_order)
{
	char target[300];
	target_of(target, "json:", "state.json");
	for (uint64_t event = 0; event <= 60; event += 10) {
		tb_restore_options options = options_of(TB_AT_EVENT, event, target);
		tb_restored restored;
		options.force = event != 0;
		must(tb_restore(&options, &restored, &err));
		FILE *file = fopen(target + 5, "r");
		cr_assert_not_null(file);
		check_json(file, event);
		fclose(file);
		cr_assert_eq(names_in(below("out")), 1);
	}
}

Test(restore, json_lines_go_to_standard_output)
{
	char path[200];
	snprintf(path, sizeof(path), "%s", below("out/stdout"));
	int saved = dup(STDOUT_FILENO);
	cr_assert_not_null(freopen(path, "w", stdout));
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "json:-");
	tb_restored restored;
	tb_rc rc = tb_restore(&options, &restored, &err);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	must(rc);
	FILE *file = fopen(path, "r");
	check_json(file, 60);
	fclose(file);
}

static void check_bank(const char *path, uint64_t event)
{
	tb_bank *bank;
	tb_txn *txn;
	tb_db db;
	tb_span value;
	uint64_t count;
	char text[80];
	uint8_t digest[32];
	must(tb_bank_open(path, TB_BANK_READONLY, 0, &bank, &err));
	must(tb_bank_read(bank, &txn, &err));
	must(tb_txn_db(txn, "state", &db, &err));
	must(tb_txn_count(txn, db, &count, &err));
	cr_assert_eq(count, model_keys(event));
	for (size_t i = 0; i < MODEL_KEYS; i++) {
		uint64_t put = model_put_of(i, event);
		cr_assert_eq(tb_txn_get(txn, db, model_key(i), &value, &err), put ? TB_OK : TB_ENOTFOUND);
		cr_assert(put == 0 || tb_span_equal(value, model_value(put)));
	}
	must(tb_txn_db(txn, "meta", &db, &err));
	must(tb_txn_get(txn, db, tb_span_text("stream"), &value, &err));
	cr_assert(tb_span_equal(value, tb_span_text(STREAM)));
	must(tb_txn_get(txn, db, tb_span_text("event"), &value, &err));
	snprintf(text, sizeof(text), "%llu", (unsigned long long)event);
	cr_assert(tb_span_equal(value, tb_span_text(text)));
	must(tb_txn_get(txn, db, tb_span_text("digest"), &value, &err));
	model_digest(event, digest);
	tb_hex(text, digest, sizeof(digest));
	cr_assert(tb_span_equal(value, tb_span_text(text)));
	tb_txn_abort(txn);
	tb_bank_close(bank);
}

Test(restore, an_lmdb_target_holds_the_state_and_says_what_it_is)
{
	char target[300];
	target_of(target, "lmdb:", "bank");
	tb_restore_options options = options_of(TB_AT_EVENT, 33, target);
	tb_restored restored;
	must(tb_restore(&options, &restored, &err));
	check_bank(target + 5, 33);
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_EBUSY);
	cr_assert_not_null(strstr(err.hint, "--force"));
	options.event = 60;
	options.force = 1;
	must(tb_restore(&options, &restored, &err));
	check_bank(target + 5, 60);
	cr_assert_eq(names_in(below("out")), 1);
}

Test(restore, an_existing_target_stays_unless_forced)
{
	char target[300];
	target_of(target, "json:", "mine");
	FILE *file = fopen(target + 5, "w");
	fputs("mine", file);
	fclose(file);
	tb_restore_options options = options_of(TB_AT_LATEST, 0, target);
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_EBUSY);
	char text[8] = "";
	file = fopen(target + 5, "r");
	cr_assert_not_null(fgets(text, sizeof(text), file));
	fclose(file);
	cr_assert_str_eq(text, "mine");
	target_of(target, "lmdb:", "mine"); /* a file is never replaced by a directory */
	options.force = 1;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_EBUSY);
}

Test(restore, a_dry_run_says_what_would_be_read_and_writes_nothing)
{
	char target[300];
	target_of(target, "json:", "state.json");
	tb_restore_options options = options_of(TB_AT_LATEST, 0, target);
	tb_restored dry, real;
	options.dry_run = 1;
	must(tb_restore(&options, &dry, &err));
	cr_assert_eq(names_in(below("out")), 0);
	options.dry_run = 0;
	must(tb_restore(&options, &real, &err));
	cr_assert_eq(dry.event, real.event);
	cr_assert_eq(dry.time_ns, real.time_ns);
	cr_assert_eq(dry.bytes_read, real.bytes_read);
	cr_assert_eq(dry.objects, real.objects);
	cr_assert_str_eq(dry.backup, real.backup);
	options = options_of(TB_AT_EVENT, 44, target); /* where the backup alone leads */
	options.dry_run = 1;
	must(tb_restore(&options, &dry, &err));
	cr_assert_eq(dry.time_ns, model_effective(44));
	cr_assert_eq(dry.events, 0);
}

Test(restore, a_bank_is_restored_to_a_path_that_ends_in_slashes)
{
	char target[300];
	target_of(target, "lmdb:", "bank//");
	tb_restore_options options = options_of(TB_AT_EVENT, 20, target);
	tb_restored restored;
	must(tb_restore(&options, &restored, &err));
	options.force = 1;
	options.event = 30;
	must(tb_restore(&options, &restored, &err));
	check_bank(target + 5, 30);
	cr_assert_eq(names_in(below("out")), 1);
}

static void count_progress(void *context, const tb_restore_progress *progress)
{
	*(tb_restore_progress *)context = *progress;
}

Test(restore, progress_ends_at_the_whole)
{
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restore_progress progress = { 0 };
	tb_restored restored;
	options.progress = count_progress;
	options.context = &progress;
	must(tb_restore(&options, &restored, &err));
	cr_assert(progress.bytes_all > 0 && progress.bytes_done == progress.bytes_all);
	cr_assert_eq(progress.events, restored.events);
}

/* Damage */

static int stop_after(void *context)
{
	size_t *left = context;
	return *left == 0 || --*left == 0;
}

Test(restore, who_stops_it_at_any_moment_finds_the_target_as_it_was)
{
	char target[300];
	tb_rc rc = TB_EINTERRUPTED;
	target_of(target, "json:", "state");
	for (size_t left = 1; rc == TB_EINTERRUPTED; left++) {
		size_t countdown = left;
		tb_restore_options options = options_of(TB_AT_LATEST, 0, target);
		tb_restored restored;
		options.stopped = stop_after;
		options.context = &countdown;
		rc = tb_restore(&options, &restored, &err);
		cr_assert(rc == TB_OK ? left > 3 : rc == TB_EINTERRUPTED, "%s", err.text);
		cr_assert_eq(names_in(below("out")), rc == TB_OK);
	}
}

Test(restore, a_flipped_bit_in_the_last_object_leaves_no_target)
{
	static const char *const schemes[] = { "json:", "lmdb:" };
	flip_bit(&repository, repository.built[9].objects[0], 1001);
	for (size_t i = 0; i < 2; i++) {
		char target[300];
		target_of(target, schemes[i], "state");
		tb_restore_options options = options_of(TB_AT_LATEST, 0, target);
		tb_restored restored;
		cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
		cr_assert_not_null(strstr(err.text, repository.built[9].id), "%s", err.text);
		cr_assert_not_null(strstr(err.text, "51..60"), "%s", err.text);
		cr_assert_eq(names_in(below("out")), 0);
	}
}

Test(restore, a_failed_restore_with_force_leaves_the_old_target)
{
	char target[300];
	target_of(target, "lmdb:", "bank");
	tb_restore_options options = options_of(TB_AT_EVENT, 20, target);
	tb_restored restored;
	must(tb_restore(&options, &restored, &err));
	file_remove(&repository, repository.built[9].objects[0]);
	options.event = 60;
	options.force = 1;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	check_bank(target + 5, 20);
	cr_assert_eq(names_in(below("out")), 1);
}

Test(restore, a_missing_object_is_named_with_where_it_was_looked_for)
{
	const char *object = repository.built[8].objects[0];
	file_remove(&repository, object);
	tb_restore_options options = options_of(TB_AT_EVENT, 50, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "payload missing"), "%s", err.text);
	cr_assert_not_null(strstr(err.text, object), "%s", err.text);
	cr_assert_not_null(strstr(err.text, repository.url), "%s", err.text);
}

Test(restore, a_damaged_backup_is_passed_over_for_an_older_one_and_that_is_said)
{
	file_remove(&repository, repository.built[7].objects[1]);
	tb_restore_options options = options_of(TB_AT_EVENT, 58, "null:");
	tb_restored restored;
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 58));
	cr_assert_str_eq(restored.backup, repository.built[4].id);
	cr_assert_str_eq(restored.passed_over, repository.built[7].id);
	flip_bit(&repository, repository.built[4].path, 1000); /* the older one too: from the first event, then */
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 58));
	cr_assert_str_eq(restored.backup, "");
	options.moment = TB_AT_BACKUP; /* but that very backup can't be had */
	options.backup = repository.built[7].id;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "payload missing"), "%s", err.text);
}

Test(restore, with_a_damaged_backup_and_a_segment_lost_the_backup_is_what_is_told)
{
	file_remove(&repository, repository.built[7].objects[1]);
	file_remove(&repository, repository.built[8].objects[0]); /* 45..50: on every way */
	tb_restore_options options = options_of(TB_AT_EVENT, 58, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, repository.built[7].objects[1]), "%s", err.text);
}

Test(restore, only_what_needs_a_lost_segment_is_lost)
{
	file_remove(&repository, repository.built[2].objects[0]); /* 9..20: the first full backup needs it from 12 on */
	for (uint64_t event = 0; event <= 60; event++) {
		tb_restore_options options = options_of(TB_AT_EVENT, event, "null:");
		tb_restored restored;
		tb_rc rc = tb_restore(&options, &restored, &err);
		cr_assert_eq(rc, event < 9 || event >= 44 ? TB_OK : TB_ECORRUPT, "event %d", (int)event);
		cr_assert(rc != TB_OK || is_state(&restored, event));
	}
}

Test(restore, swapped_objects_are_refused)
{
	file_swap(&repository, repository.built[8].objects[0], repository.built[9].objects[0]);
	tb_restore_options options = options_of(TB_AT_EVENT, 50, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
}

Test(restore, a_missing_manifest_names_the_events_that_are_in_no_segment)
{
	file_remove(&repository, repository.built[8].path);
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "45..50"), "%s", err.text);
}

/* A file as it was before, whichever way it is damaged: never another state. */
static void never_wrong(const char *path, size_t step)
{
	tb_buf bytes = { 0 };
	file_read(&repository, path, &bytes);
	size_t bits = bytes.size * 8, refused = 0;
	tb_buf_drop(&bytes);
	for (size_t bit = 0; bit < bits; bit += step) {
		flip_bit(&repository, path, bit);
		for (int latest = 0; latest <= 1; latest++) {
			tb_restore_options options = options_of(latest ? TB_AT_LATEST : TB_AT_EVENT, 57, "null:");
			tb_restored restored;
			tb_rc rc = tb_restore(&options, &restored, &err);
			refused += rc != TB_OK;
			cr_assert(rc == TB_OK ? is_state(&restored, latest ? 60 : 57) : is_refusal(rc, &err), "%s bit %zu: %s",
			          path,
			          bit, err.text);
		}
		flip_bit(&repository, path, bit);
	}
	cr_assert(refused > 0, "%s", path);
}

Test(restore, a_flipped_bit_anywhere_never_gives_another_state)
{
	char head[TB_MANIFEST_PATH];
	newest_head(&repository, head);
	never_wrong(head, 31);
	never_wrong(repository.built[9].path, 61);
	never_wrong(repository.built[9].objects[0], 47);
	never_wrong(repository.keys.wrap_path, 29);
	never_wrong("tradebank.json", 11);
}

Test(restore, a_state_that_differs_from_the_recorded_sum_is_refused)
{
	repository.wrong_sums = 1;
	add_segment(&repository, 2);
	tb_restore_options options = options_of(TB_AT_EVENT, 62, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "61..62"), "%s", err.text);
	options.event = 61; /* before it nothing is wrong */
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 61));
}

Test(restore, a_manifest_of_another_history_breaks_the_chain)
{
	struct built kept = repository.built[9];
	repository.built_count--; /* the same numbers once more, after another past */
	repository.last = 50;
	repository.before[0] ^= 1;
	file_remove(&repository, kept.path);
	file_remove(&repository, "heads/book/00000000000000000010");
	add_segment(&repository, 10);
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "chain"), "%s", err.text);
}

/* Manifests that are signed and lie */

static tb_rc restore_latest_backup(void)
{
	tb_restore_options options = options_of(TB_AT_BACKUP, 0, "null:");
	tb_restored restored;
	options.backup = repository.built[repository.built_count - 1].id;
	return tb_restore(&options, &restored, &err);
}

static void replay_from_nothing(Tb__Manifest *manifest, Tb__ManifestPrivate *private)
{
	(void)private;
	manifest->from = 0;
}

Test(restore, a_backup_that_names_no_event_to_be_replayed_from_is_refused)
{
	repository.lie = replay_from_nothing;
	add_full(&repository, 61);
	cr_assert_eq(restore_latest_backup(), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "can't be replayed from event 0"), "%s", err.text);
}

static void describe_one_less(Tb__Manifest *manifest, Tb__ManifestPrivate *private)
{
	(void)manifest;
	private->n_chunks--;
}

Test(restore, a_backup_that_describes_other_objects_than_it_names_is_refused)
{
	repository.lie = describe_one_less;
	add_full(&repository, 61);
	cr_assert_eq(restore_latest_backup(), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "names 3 objects and describes 2"), "%s", err.text);
}

static void take_the_backups_number(Tb__Manifest *manifest, Tb__ManifestPrivate *private)
{
	(void)private;
	manifest->chain = repository.built[7].chain;
}

Test(restore, a_segment_with_its_backups_number_breaks_the_chain)
{
	struct built last = repository.built[9];
	roll_back(&repository, 8);
	repository.built_count = 8;
	repository.last = 44;
	memcpy(repository.before, repository.built[7].head.manifest_hash, TB_HASH_SIZE);
	repository.lie = take_the_backups_number;
	add_segment(&repository, 16);
	tb_restore_options options = options_of(TB_AT_EVENT, last.to, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "the chain of stream book is broken between backup"), "%s", err.text);
}

static void leave_out_the_sum(Tb__Manifest *manifest, Tb__ManifestPrivate *private)
{
	(void)manifest;
	private->sum.len = 0;
}

Test(restore, without_a_recorded_sum_it_says_that_none_was_compared)
{
	repository.lie = leave_out_the_sum;
	add_full(&repository, 61);
	tb_restore_options options = options_of(TB_AT_EVENT, 60, "null:");
	tb_restored restored;
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 60));
	cr_assert_not(restored.sum_checked);
}

Test(restore, a_segment_without_a_private_part_is_laid_and_no_sum_compared)
{
	add_full(&repository, 61);
	repository.no_private = 1;
	add_segment(&repository, 2);
	tb_restore_options options = options_of(TB_AT_EVENT, 62, "null:");
	tb_restored restored;
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 62));
}

/* Places that can't be used */

Test(restore, without_a_place_for_scratch_nothing_is_restored)
{
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	options.scratch = "/no/such/directory";
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ENOTFOUND);
	tb_state state;
	cr_assert_eq(tb_state_open(&state, "/no/such/directory/state", &err), TB_ENOTFOUND);
}

static void put_a_file_there(void *context, const tb_restore_progress *progress)
{
	(void)progress;
	must(tb_disk_write_file(tb_disk_system(), context, tb_span_text("mine"), 0, &err));
}

Test(restore, a_target_that_somebody_made_meanwhile_stays)
{
	char target[300];
	target_of(target, "json:", "state.json");
	tb_restore_options options = options_of(TB_AT_LATEST, 0, target);
	tb_restored restored;
	options.progress = put_a_file_there;
	options.context = target + 5;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_EBUSY);
	cr_assert_eq(names_in(below("out")), 1, "and nothing is left beside it");
}

Test(restore, a_directory_that_can_not_be_moved_aside_stays)
{
	char target[300];
	target_of(target, "lmdb:", "bank");
	tb_restore_options options = options_of(TB_AT_EVENT, 20, target);
	tb_restored restored;
	must(tb_restore(&options, &restored, &err));
	strcat(target, "/.");
	options.force = 1;
	options.event = 30;
	cr_assert_neq(tb_restore(&options, &restored, &err), TB_OK);
	check_bank(target + 5, 20);
}

Test(restore, an_event_whose_bytes_are_none_is_damage)
{
	tb_state state;
	tb_archived_event event = { .number = 7, .canonical = tb_span_text("\xff") };
	must(tb_state_open(&state, below("scratch/state"), &err));
	cr_assert_eq(tb_state_event(&state, &event, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "event 7"), "%s", err.text);
	tb_state_close(&state);
	must(tb_disk_remove_tree(tb_disk_system(), below("scratch/state"), &err));
}

Test(restore, a_time_within_a_damaged_segment_is_not_guessed)
{
	tb_restore_options options = options_of(TB_AT_TIME, 0, "null:");
	tb_restored restored;
	options.time_ns = model_effective(15);
	flip_bit(&repository, repository.built[2].objects[0], 1001);
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	file_remove(&repository, repository.built[2].objects[0]);
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "payload missing"), "%s", err.text);
}

/* The state */

Test(restore, more_deltas_than_are_kept_at_once_leave_the_last_of_each_key)
{
	enum { EVENTS = 70000, KEYS = 100 };
	tb_state state;
	tb_buf frames = { 0 };
	size_t *ends = tb_alloc((EVENTS + 1) * sizeof(*ends));
	ends[0] = 0;
	must(tb_state_open(&state, below("scratch/state"), &err));
	for (uint64_t i = 1; i <= EVENTS; i++) {
		char key[16], value[16];
		tb_event event;
		tb_event_default(&event, TB_EVENT_DELTA);
		snprintf(key, sizeof(key), "%d", (int)(i % KEYS));
		snprintf(value, sizeof(value), "%d", (int)i);
		event.body.delta.key = (tb_bytes){ key, strlen(key) };
		event.body.delta.remove = i % 3 == 0;
		if (!event.body.delta.remove)
			event.body.delta.value = (tb_bytes){ value, strlen(value) };
		must(tb_event_pack(&frames, &event, NOW, NULL, &err));
		ends[i] = frames.size;
	}
	for (uint64_t i = 1; i <= EVENTS; i++) {
		tb_archived_event event = { .number = i };
		event.canonical = tb_span_of(frames.data + ends[i - 1], ends[i] - ends[i - 1]);
		must(tb_state_event(&state, &event, &err));
	}
	must(tb_state_flush(&state, &err));
	tb_sum sum = { 0 };
	uint64_t keys = 0;
	for (uint64_t i = EVENTS - KEYS + 1; i <= EVENTS; i++) {
		char key[16], value[16];
		if (i % 3 == 0)
			continue;
		snprintf(key, sizeof(key), "%d", (int)(i % KEYS));
		snprintf(value, sizeof(value), "%d", (int)i);
		tb_sum_add(&sum, tb_span_text(key), tb_span_text(value));
		keys++;
	}
	cr_assert_eq(state.present.keys, keys);
	cr_assert_eq(memcmp(&state.present.sum, &sum, sizeof(sum)), 0);
	tb_state_close(&state);
	must(tb_disk_remove_tree(tb_disk_system(), below("scratch/state"), &err));
	tb_buf_drop(&frames);
	free(ends);
}

Test(restore, a_commit_without_its_begin_is_damage)
{
	tb_state state;
	tb_event event;
	tb_buf canonical = { 0 };
	must(tb_state_open(&state, below("scratch/state"), &err));
	tb_event_default(&event, TB_EVENT_RESET);
	event.body.reset.commit = 1;
	must(tb_event_pack(&canonical, &event, NOW, NULL, &err));
	tb_archived_event archived = { .number = 12, .canonical = tb_buf_span(&canonical) };
	cr_assert_eq(tb_state_event(&state, &archived, &err), TB_ECORRUPT);
	cr_assert_str_eq(err.text, "event 12 commits a reset, but none is open");
	tb_state_close(&state);
	must(tb_disk_remove_tree(tb_disk_system(), below("scratch/state"), &err));
	tb_buf_drop(&canonical);
}

/* Resets */

static void make_resets(void)
{
	repository_make_resets(&repository);
	make_rooms();
}

TestSuite(restore_resets, .init = make_resets, .fini = drop);

Test(restore_resets, every_event_restores_to_the_state_it_had)
{
	for (uint64_t event = 0; event <= 60; event++) {
		tb_restore_options options = options_of(TB_AT_EVENT, event, "null:");
		tb_restored restored;
		must(tb_restore(&options, &restored, &err));
		cr_assert(is_state(&restored, event), "event %d", (int)event);
		cr_assert_eq(restored.sum_checked, event >= 7, "event %d", (int)event);
	}
}

Test(restore_resets, a_way_that_ends_in_damage_leaves_nothing_to_the_next)
{
	for (size_t i = 0; i < repository.built_count; i++) {
		tb_buf bytes = { 0 };
		file_read(&repository, repository.built[i].objects[0], &bytes);
		file_remove(&repository, repository.built[i].objects[0]);
		for (uint64_t event = 44; event <= 60; event++) {
			tb_restore_options options = options_of(TB_AT_EVENT, event, "null:");
			tb_restored restored;
			tb_rc rc = tb_restore(&options, &restored, &err);
			cr_assert(rc == TB_OK ? is_state(&restored, event) : rc == TB_ECORRUPT, "event %d: %s", (int)event, err.text);
		}
		file_write(&repository, repository.built[i].objects[0], tb_buf_span(&bytes));
		tb_buf_drop(&bytes);
	}
}

/* A reset is committed among what is laid over the newer backup, and then the sum doesn't fit. The
 * other backup of that event is right. */
Test(restore_resets, a_way_that_fails_behind_a_commit_leaves_nothing_to_the_next)
{
	repository_close(&repository);
	repository_open(&repository);
	make_rooms();
	add_segment(&repository, 27);
	add_full(&repository, 12);
	repository.wrong_sums = 1;
	add_full(&repository, 13);
	tb_restore_options options = options_of(TB_AT_EVENT, 27, "null:");
	tb_restored restored;
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 27));
	cr_assert_str_eq(restored.backup, repository.built[1].id);
	cr_assert_str_eq(restored.passed_over, repository.built[2].id);
}

Test(restore_resets, from_the_first_event_on_it_is_the_same)
{
	file_remove(&repository, repository.built[4].path);
	file_remove(&repository, repository.built[7].path);
	for (uint64_t event = 0; event <= 60; event++) {
		tb_restore_options options = options_of(TB_AT_EVENT, event, "null:");
		tb_restored restored;
		must(tb_restore(&options, &restored, &err));
		cr_assert(is_state(&restored, event), "event %d", (int)event);
		cr_assert_str_eq(restored.backup, "");
	}
}

/* Whichever of its two places the state was built in, the target is the same: the bank and nothing beside it. */
Test(restore_resets, an_lmdb_target_holds_the_state_alone)
{
	static const uint64_t events[] = { 10, 20, 24, 26, 40, 49, 53, 60 }; /* no, one or two commits on the way */
	char target[300];
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		target_of(target, "lmdb:", "bank");
		tb_restore_options options = options_of(TB_AT_EVENT, events[i], target);
		tb_restored restored;
		options.force = 1;
		must(tb_restore(&options, &restored, &err));
		check_bank(target + 5, events[i]);
		cr_assert_eq(names_in(target + 5), 2, "event %d", (int)events[i]); /* data.mdb, lock.mdb */
	}
}

/* Being told */

struct told {
	tb_buf text;
	size_t count, stop_at;
};

static tb_rc note_entry(void *context, const void *key, size_t key_size, const void *value, size_t value_size, tb_err *why)
{
	struct told *told = context;
	if (told->count++ == told->stop_at)
		return tb_fail(why, TB_EFENCED, "enough");
	tb_buf_append(&told->text, key, key_size);
	tb_buf_byte(&told->text, '=');
	tb_buf_append(&told->text, value, value_size);
	tb_buf_byte(&told->text, '\n');
	return TB_OK;
}

Test(restore_resets, each_entry_is_told_in_order_beside_the_target)
{
	static const char *const schemes[] = { "null:", "json:", "lmdb:" };
	for (size_t i = 0; i < 3; i++) {
		char target[300];
		uint8_t digest[32], told_digest[32];
		struct told told = { .stop_at = SIZE_MAX };
		target_of(target, schemes[i], schemes[i][0] == 'j' ? "told.json" : "told.bank");
		tb_restore_options options = options_of(TB_AT_EVENT, 50, i == 0 ? schemes[0] : target);
		tb_restored restored;
		options.entry = note_entry;
		options.entry_context = &told;
		must(tb_restore(&options, &restored, &err));
		model_digest(50, digest);
		SHA256(told.text.data, told.text.size, told_digest);
		cr_assert_eq(told.count, model_keys(50));
		cr_assert_eq(memcmp(digest, told_digest, 32), 0);
		tb_buf_drop(&told.text);
	}
	cr_assert_eq(names_in(below("out")), 2);
}

Test(restore_resets, who_is_told_can_end_it_and_then_there_is_no_target)
{
	static const char *const schemes[] = { "json:", "lmdb:" };
	for (size_t i = 0; i < 2; i++) {
		char target[300];
		struct told told = { .stop_at = 1 };
		target_of(target, schemes[i], "state");
		tb_restore_options options = options_of(TB_AT_EVENT, 50, target);
		tb_restored restored;
		options.entry = note_entry;
		options.entry_context = &told;
		cr_assert_eq(tb_restore(&options, &restored, &err), TB_EFENCED);
		cr_assert_str_eq(err.text, "enough");
		cr_assert_eq(names_in(below("out")), 0);
		tb_buf_drop(&told.text);
	}
}

Test(restore_resets, nothing_is_told_of_a_state_that_does_not_hold)
{
	struct told told = { .stop_at = SIZE_MAX };
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	flip_bit(&repository, repository.built[9].objects[0], 1001);
	options.entry = note_entry;
	options.entry_context = &told;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_eq(told.count, 0);
}

/* Rolled back */

Test(restore, a_repository_rolled_back_is_noticed_with_the_catalog)
{
	repository_remember(&repository, repository.built_count);
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	options.catalog = repository.catalog;
	must(tb_restore(&options, &restored, &err));
	cr_assert_eq(restored.remembered_last, 60);
	roll_back(&repository, 9);
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_str_eq(err.text, "the repository ends at event 50 of stream book, but 60 was stored");
	cr_assert_not_null(strstr(err.hint, "--event 50"), "%s", err.hint);
	options.moment = TB_AT_EVENT;
	options.event = 50;
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 50));
	cr_assert_eq(restored.remembered_last, 60);
	options.event = 55;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
}

Test(restore, without_a_catalog_a_repository_rolled_back_looks_whole)
{
	roll_back(&repository, 9);
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	options.catalog = repository.catalog; /* there is none: no harm */
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 50));
}

Test(restore, a_repository_cut_short_is_noticed_by_its_head)
{
	file_remove(&repository, repository.built[9].path);
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_str_eq(err.text, "the repository ends at event 50 of stream book, but 60 was stored");
	options.moment = TB_AT_EVENT;
	options.event = 50;
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 50));
}

Test(restore, all_manifests_gone_are_noticed_by_the_head)
{
	for (size_t i = 0; i < repository.built_count; i++)
		file_remove(&repository, repository.built[i].path);
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_str_eq(err.text, "all manifests of stream book are gone from the repository, but event 60 was stored");
}

Test(restore, without_a_head_only_a_named_event_is_restored)
{
	char head[TB_MANIFEST_PATH];
	newest_head(&repository, head);
	file_remove(&repository, head);
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.hint, "--event 60"), "%s", err.hint);
	options.moment = TB_AT_EVENT;
	options.event = 60;
	must(tb_restore(&options, &restored, &err));
}

Test(restore, another_history_than_the_remembered_one_is_refused)
{
	struct built *built = &repository.built[9];
	built->head.manifest_hash[5] ^= 1;
	repository_remember(&repository, repository.built_count);
	tb_restore_options options = options_of(TB_AT_EVENT, 57, "null:");
	tb_restored restored;
	options.catalog = repository.catalog;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "isn't the one that was stored"), "%s", err.text);
}

Test(restore, a_newest_manifest_that_the_head_does_not_name_is_refused)
{
	struct built *ninth = &repository.built[8], tenth = repository.built[9];
	file_remove(&repository, tenth.path);
	repository.built_count--; /* written anew after the same past: the chain is whole, the head is the first one's */
	repository.last = 50;
	memcpy(repository.before, ninth->head.manifest_hash, TB_HASH_SIZE);
	file_remove(&repository, "heads/book/00000000000000000010");
	add_segment(&repository, 10);
	file_remove(&repository, "heads/book/00000000000000000010");
	put_head(&repository, &tenth);
	tb_restore_options options = options_of(TB_AT_EVENT, 57, "null:");
	tb_restored restored;
	cr_assert_eq(tb_restore(&options, &restored, &err), TB_ECORRUPT);
	cr_assert_not_null(strstr(err.text, "isn't the one that the head names"), "%s", err.text);
	options.event = 50;
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 50));
}

Test(restore, manifests_newer_than_the_head_count_as_stored)
{
	char head[TB_MANIFEST_PATH];
	newest_head(&repository, head);
	file_remove(&repository, head);
	put_head(&repository, &repository.built[8]); /* the storer died between manifest and head */
	tb_restore_options options = options_of(TB_AT_LATEST, 0, "null:");
	tb_restored restored;
	must(tb_restore(&options, &restored, &err));
	cr_assert(is_state(&restored, 60));
}
