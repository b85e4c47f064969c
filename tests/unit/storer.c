#include "worker_room.h"

#include "run/config.h"
#include "store/catalog.h"
#include "workers/storer/storer.h"

#define BOOK "book"

static tb_storer_config config;
static tb_key *key;
static tb_period period;
static tb_tier *tier;

static void begin(void)
{
	config = (tb_storer_config){ 0 };
	room_begin(&storer_worker, &config, NULL);
	must(tb_key_read(tb_disk_system(), below_room("keys/collector.key"), TB_KEY_COLLECTOR, &key, &room.err));
	must(tb_period_read(tb_buf_span(&room.period), NULL, &period, &room.err));
	must(tb_tier_open(tb_disk_system(), below_room("repository"), 0, &tier, &room.err));
}

static void end(void)
{
	tb_tier_close(tier);
	tb_key_free(key);
	room_end();
}

TestSuite(storer, .init = begin, .fini = end);

static tb_frame object_of(const char *plain, uint8_t ret_name[TB_OBJECT_NAME])
{
	tb_auto(tb_buf_drop) tb_buf object = { 0 };
	tb_sealer *sealer = tb_sealer_new(1);
	must(tb_seal(sealer, TB_CONTENT_SEGMENT, tb_span_text(plain), &period, &object, ret_name, &room.err));
	tb_sealer_free(sealer);
	return (tb_frame){ .kind = TB_KIND_OBJECT, .count = 1, .stream = tb_stream_hash(BOOK),
		               .body = tb_arena_copy(room.kept, tb_buf_span(&object)) };
}

/* A segment's manifest of one event, as a collector makes it; what is changed afterwards is a lie. */
static Tb__ManifestFrame *manifest_make(const char *stream, uint64_t chain, uint8_t name[TB_OBJECT_NAME])
{
	tb_auto(tb_buf_drop) tb_buf file = { 0 }, head_file = { 0 };
	uint8_t hash[TB_HASH_SIZE], before[TB_HASH_SIZE] = { 0 };
	char id[TB_BACKUP_ID], path[TB_MANIFEST_PATH];
	tb_backup_id(tb_backup_type_find("SEGMENT"), room.real_ns, id);
	Tb__ObjectRef object = TB__OBJECT_REF__INIT, *objects[] = { &object };
	object.name = (ProtobufCBinaryData){ TB_OBJECT_NAME, name };
	object.size_stored = 1000;
	Tb__Manifest manifest = TB__MANIFEST__INIT;
	manifest.format = TB_MANIFEST_FORMAT;
	manifest.repository = (ProtobufCBinaryData){ TB_REPOSITORY_ID, (uint8_t *)(uintptr_t)tb_key_repository(key) };
	manifest.stream = (char *)(uintptr_t)stream;
	manifest.type = (char *)(uintptr_t)"SEGMENT";
	manifest.backup = id;
	manifest.chain = manifest.from = manifest.to = chain;
	if (chain > 1)
		manifest.before = (ProtobufCBinaryData){ TB_HASH_SIZE, before };
	manifest.n_objects = 1;
	manifest.objects = objects;
	manifest.period = (ProtobufCBinaryData){ TB_PERIOD_ID, period.id };
	must(tb_manifest_write(&manifest, key, &file, hash, &room.err));
	tb_head head = { .chain = chain, .last = chain };
	snprintf(head.stream, sizeof(head.stream), "%s", stream);
	memcpy(head.manifest_hash, hash, TB_HASH_SIZE);
	must(tb_head_write(&head, key, &head_file, &room.err));
	tb_manifest_path(stream, chain, "SEGMENT", id, path);
	Tb__ManifestFrame *frame = tb_arena_alloc(room.kept, sizeof(*frame));
	tb__manifest_frame__init(frame);
	tb_span kept = tb_arena_copy(room.kept, tb_buf_span(&file)), kept_head = tb_arena_copy(room.kept, tb_buf_span(&head_file));
	frame->stream = tb_arena_text(room.kept, tb_span_text(stream));
	frame->path = tb_arena_text(room.kept, tb_span_text(path));
	frame->backup = tb_arena_text(room.kept, tb_span_text(id));
	frame->type = (char *)(uintptr_t)"SEGMENT";
	frame->manifest = (ProtobufCBinaryData){ kept.size, (uint8_t *)(uintptr_t)kept.data };
	frame->head = (ProtobufCBinaryData){ kept_head.size, (uint8_t *)(uintptr_t)kept_head.data };
	frame->chain = frame->from = frame->to = chain;
	frame->n_objects = 1;
	frame->objects = tb_arena_alloc(room.kept, sizeof(*frame->objects));
	tb_span kept_name = tb_arena_copy(room.kept, tb_span_of(name, TB_OBJECT_NAME));
	frame->objects[0] = (ProtobufCBinaryData){ kept_name.size, (uint8_t *)(uintptr_t)kept_name.data };
	return frame;
}

static tb_frame frame_with(const Tb__ManifestFrame *manifest)
{
	return frame_of(TB_KIND_MANIFEST, BOOK, manifest->chain, &manifest->base);
}

static void turn_with(const tb_frame *frame, uint64_t id)
{
	turn_begin(1);
	must(turn_handle(frame, id));
	turn_end();
}

static void store_object(uint8_t ret_name[TB_OBJECT_NAME], uint64_t id)
{
	tb_frame object = object_of("some plain bytes", ret_name);
	turn_with(&object, id);
}

static int is_there(const char *path)
{
	uint64_t size;
	return tier->stat(tier, path, &size, NULL) == TB_OK;
}

static tb_rc count_name(void *context, const char *name, uint64_t size, tb_err *err)
{
	(void)name, (void)size, (void)err;
	++*(size_t *)context;
	return TB_OK;
}

static size_t names_below(const char *prefix)
{
	size_t count = 0;
	must(tier->list(tier, prefix, count_name, &count, &room.err));
	return count;
}

Test(storer, an_object_is_stored_under_its_name_and_finished)
{
	uint8_t name[TB_OBJECT_NAME];
	char path[TB_OBJECT_PATH];
	store_object(name, 10);
	tb_object_path(name, path);
	cr_assert(is_there(path));
	cr_assert(was_finished(10));
}

Test(storer, a_manifest_is_stored_with_its_head_and_told_of)
{
	uint8_t name[TB_OBJECT_NAME];
	char head[TB_MANIFEST_PATH];
	store_object(name, 10);
	Tb__ManifestFrame *manifest = manifest_make(BOOK, 1, name);
	tb_frame frame = frame_with(manifest);
	turn_with(&frame, 11);
	tb_head_path(BOOK, 1, head);
	cr_assert(is_there(manifest->path) && is_there(head));
	const Tb__Stored *stored = message_of(noted_at(TB_KIND_STORED, 0), &tb__stored__descriptor);
	cr_assert_str_eq(stored->backup, manifest->backup);
	cr_assert_str_eq(stored->path, manifest->path);
	cr_assert(stored->chain == 1 && stored->to == 1 && stored->n_tiers == 1);
	cr_assert(was_finished(11));
	tb_head remembered;
	worker_close();
	must(tb_catalog_head(below_room("bank"), BOOK, &remembered, &room.err));
	cr_assert_eq(remembered.chain, 1);
	worker_open();
}

Test(storer, the_same_again_is_told_again_and_nothing_changes)
{
	uint8_t name[TB_OBJECT_NAME];
	store_object(name, 10);
	tb_frame first = frame_with(manifest_make(BOOK, 1, name)), second = frame_with(manifest_make(BOOK, 2, name));
	turn_with(&first, 11);
	turn_with(&second, 12);
	worker_restart();
	store_object(name, 10);
	turn_with(&first, 11);
	turn_with(&second, 12);
	cr_assert_eq(names_below("manifests"), 2);
	cr_assert_eq(names_below("heads"), 1);
	cr_assert_geq(noted_count(TB_KIND_STORED), 4);
}

Test(storer, what_was_written_before_a_turn_failed_is_no_hindrance)
{
	uint8_t name[TB_OBJECT_NAME];
	tb_frame object = object_of("some plain bytes", name);
	Tb__ManifestFrame *manifest = manifest_make(BOOK, 1, name);
	tb_frame frame = frame_with(manifest);
	turn_begin(1);
	must(turn_handle(&object, 10));
	must(turn_handle(&frame, 11));
	tb_txn_abort(room.turn.txn); /* killed before the commit */
	tb_outgoing_abort(room.outgoing);
	tb_arena_reset(room.arena);
	cr_assert(is_there(manifest->path));
	worker_restart();
	turn_with(&object, 10);
	turn_with(&frame, 11);
	cr_assert_eq(noted_count(TB_KIND_STORED), 1);
}

static void rename_must(const char *from, const char *to)
{
	cr_assert_eq(rename(below_room(from), below_room(to)), 0);
}

static void hand_out_in_vain(void)
{
	uint8_t name[TB_OBJECT_NAME];
	tb_frame object = object_of("some plain bytes", name);
	turn_begin(1);
	cr_assert_neq(turn_handle(&object, 10), TB_OK);
	tb_txn_abort(room.turn.txn);
	tb_outgoing_abort(room.outgoing);
	tb_arena_reset(room.arena);
	cr_assert_not(was_finished(10));
}

static tb_rc count_entry(void *context, const char *name, int is_dir, tb_err *err)
{
	(void)name, (void)is_dir, (void)err;
	(*(int *)context)++;
	return TB_OK;
}

Test(storer, nothing_is_stored_where_the_repository_is_not_any_more)
{
	int count = 0;
	rename_must("repository", "unmounted");
	must(tb_disk_make_path(tb_disk_system(), below_room("repository"), &room.err));
	hand_out_in_vain();
	must(tb_disk_system()->list(tb_disk_system(), below_room("repository"), count_entry, &count, &room.err));
	cr_assert_eq(count, 0);
	must(tb_disk_remove_tree(tb_disk_system(), below_room("repository"), &room.err));
	rename_must("unmounted", "repository");
	uint8_t name[TB_OBJECT_NAME];
	store_object(name, 10);
	cr_assert(was_finished(10));
}

Test(storer, nothing_is_stored_into_another_repository)
{
	static const uint8_t id[TB_REPOSITORY_ID] = "another's";
	tb_tier *another;
	rename_must("repository", "unmounted");
	must(tb_tier_open(tb_disk_system(), below_room("repository"), 1, &another, &room.err));
	must(tb_repository_make(another, id, &room.err));
	tb_tier_close(another);
	hand_out_in_vain();
}

Test(storer, older_heads_go_but_only_those_of_the_stream)
{
	static const char *const streams[] = { "a", "a-b", "a.b", "ab" };
	uint8_t name[TB_OBJECT_NAME];
	char head[TB_MANIFEST_PATH];
	store_object(name, 10);
	must(tier->put(tier, "heads/a/0000", tb_span_text("not ours"), &room.err));
	must(tier->put(tier, "heads/a/0000000000000000000x", tb_span_text("not ours"), &room.err));
	for (uint64_t chain = 1; chain <= 3; chain++)
		for (size_t i = 0; i < 4; i++) {
			if (chain == 3 && i > 0)
				continue;
			tb_frame frame = frame_with(manifest_make(streams[i], chain, name));
			turn_with(&frame, 20 + chain * 4 + i);
		}
	for (size_t i = 0; i < 4; i++)
		for (uint64_t chain = 1; chain <= 3; chain++) {
			tb_head_path(streams[i], chain, head);
			cr_assert_eq(is_there(head), chain == (i == 0 ? 3 : 2), "%s", head);
		}
	cr_assert(is_there("heads/a/0000") && is_there("heads/a/0000000000000000000x"));
}

/* An operator's own file, named as no name in a repository may be. */
Test(storer, a_stray_file_beside_the_heads_does_not_stop_it)
{
	uint8_t name[TB_OBJECT_NAME];
	store_object(name, 10);
	tb_frame frame = frame_with(manifest_make(BOOK, 1, name));
	turn_with(&frame, 11);
	must(tb_disk_write_file(tb_disk_system(), below_room("repository/heads/book/00 copy"), tb_span_text("x"), 0, &room.err));
	frame = frame_with(manifest_make(BOOK, 2, name));
	turn_with(&frame, 12);
	cr_assert_eq(noted_count(TB_KIND_STORED), 2);
}

/* Neither stored nor finished, so that it comes again; and what follows goes on. */
static void held(const tb_frame *frame, uint64_t id)
{
	Tb__Health health = TB__HEALTH__INIT;
	size_t rejects = noted_count(TB_KIND_REJECT), stored = noted_count(TB_KIND_STORED), names = names_below("");
	turn_with(frame, id);
	cr_assert_not(was_finished(id));
	cr_assert_eq(noted_count(TB_KIND_REJECT), rejects);
	cr_assert_eq(noted_count(TB_KIND_STORED), stored);
	cr_assert_eq(names_below(""), names);
	storer_worker.health(room.self, room.arena, &health);
	cr_assert_str_eq(health.state, "critical");
	cr_assert_not_null(strstr(health.detail, "manifest"));
}

Test(storer, a_manifest_that_is_not_the_next_of_its_chain_is_held_and_not_written)
{
	uint8_t name[TB_OBJECT_NAME];
	store_object(name, 10);
	static const uint64_t chains[] = { 2, 7 };
	for (size_t i = 0; i < 2; i++) {
		tb_frame frame = frame_with(manifest_make(BOOK, chains[i], name));
		held(&frame, 20 + i);
	}
	cr_assert_eq(names_below("manifests") + names_below("heads"), 0);
	tb_frame first = frame_with(manifest_make(BOOK, 1, name));
	turn_with(&first, 30);
	cr_assert(was_finished(30));
}

Test(storer, a_manifest_whose_object_was_never_stored_is_held)
{
	uint8_t name[TB_OBJECT_NAME] = { 1 };
	Tb__ManifestFrame *manifest = manifest_make(BOOK, 1, name);
	tb_frame frame = frame_with(manifest);
	held(&frame, 20);
	cr_assert_eq(names_below("manifests"), 0);
}

static void rejected(const tb_frame *frame)
{
	static uint64_t id = 100;
	size_t before = noted_count(TB_KIND_REJECT), names = names_below("");
	turn_with(frame, ++id);
	cr_assert_eq(noted_count(TB_KIND_REJECT), before + 1);
	cr_assert(was_finished(id));
	cr_assert_eq(names_below(""), names, "and nothing is written");
}

Test(storer, a_manifest_goes_where_its_stream_and_numbers_say_and_nowhere_else)
{
	uint8_t name[TB_OBJECT_NAME];
	store_object(name, 10);
	static const char *const paths[] = {
		"", "manifests/other/00000000000000000001-SEG-x", "manifests/book/../../../tmp/x", "tradebank.json", "keys/a/b",
		"heads/book/00000000000000000009", "/tmp/tradebank-x", "objects/ab/abcd", "manifests/book/x",
	};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		Tb__ManifestFrame *manifest = manifest_make(BOOK, 1, name);
		manifest->path = (char *)(uintptr_t)paths[i];
		tb_frame frame = frame_with(manifest);
		rejected(&frame);
	}
	static const char *const streams[] = { "", ".", "..", "../x", "a/b", ".hidden", "a b" };
	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		Tb__ManifestFrame *manifest = manifest_make(BOOK, 1, name);
		tb_auto(tb_buf_drop) tb_buf path = { 0 };
		tb_buf_print(&path, "manifests/%s/%020d-SEG-%s", streams[i], 1, manifest->backup);
		manifest->stream = (char *)(uintptr_t)streams[i];
		manifest->path = (char *)(uintptr_t)tb_buf_text(&path);
		tb_frame frame = frame_with(manifest);
		rejected(&frame);
	}
}

Test(storer, what_is_no_manifest_and_no_object_is_rejected)
{
	uint8_t name[TB_OBJECT_NAME];
	store_object(name, 10);
	for (int i = 0; i < 5; i++) {
		Tb__ManifestFrame *manifest = manifest_make(BOOK, 1, name);
		switch (i) {
		case 0: manifest->chain = 0; break;
		case 1: manifest->head.len--; break;
		case 2: manifest->type = (char *)(uintptr_t)"NONE"; break;
		case 3: manifest->backup = (char *)(uintptr_t)"SEG_x"; break;
		case 4: manifest->to = 2; break;
		}
		tb_frame frame = frame_with(manifest);
		rejected(&frame);
	}
	static const unsigned kinds[] = { TB_KIND_OBJECT, TB_KIND_MANIFEST, TB_KIND_CUT };
	for (size_t i = 0; i < 3; i++) {
		tb_frame frame = { .kind = (uint16_t)kinds[i], .count = 1, .stream = 1, .body = tb_span_text("\xff\xff no message") };
		rejected(&frame);
	}
}

/* ---- a catalog that is lost, or that another storer went on without */

static void store_chain(uint64_t from, uint64_t to)
{
	uint8_t name[TB_OBJECT_NAME];
	store_object(name, 100 + from);
	for (uint64_t chain = from; chain <= to; chain++) {
		tb_frame frame = frame_with(manifest_make(BOOK, chain, name));
		turn_with(&frame, chain);
		cr_assert(was_finished(chain));
	}
}

static void remove_bank(void)
{
	must(tb_disk_remove_tree(tb_disk_system(), below_room("bank"), &room.err));
}

Test(storer, a_lost_catalog_is_filled_from_the_repository)
{
	tb_head before, after;
	store_chain(1, 3);
	worker_close();
	must(tb_catalog_head(below_room("bank"), BOOK, &before, &room.err));
	remove_bank();
	worker_open();
	worker_close();
	must(tb_catalog_head(below_room("bank"), BOOK, &after, &room.err));
	cr_assert(after.chain == 3 && after.last == before.last);
	cr_assert_eq(memcmp(after.manifest_hash, before.manifest_hash, TB_HASH_SIZE), 0);
	worker_open();
	store_chain(4, 5);
}

/* What lies there under a name that isn't its own is nobody's. */
Test(storer, a_catalog_is_not_filled_with_what_lies_there_by_accident)
{
	char path[160];
	store_chain(1, 1);
	worker_close();
	must(tier->put(tier, "objects/ab/abcd", tb_span_text("x"), &room.err));
	must(tier->put(tier, "manifests/book/00000000000000000009-SEG-SEG_20260102T030405Z_0123456789abcdef",
	               tb_span_text("x"), &room.err));
	snprintf(path, sizeof(path), "manifests/%s/README", BOOK);
	must(tier->put(tier, path, tb_span_text("x"), &room.err));
	remove_bank();
	worker_open();
	store_chain(2, 2);
}

static void keep_bank_as(const char *name)
{
	char from[160], to[160];
	worker_close();
	snprintf(from, sizeof(from), "%s", below_room("bank"));
	snprintf(to, sizeof(to), "%s", below_room(name));
	rename(from, to);
}

/* Two storers, one of which stood by for a while. */
Test(storer, a_catalog_that_is_behind_learns_what_another_stored)
{
	store_chain(1, 2);
	keep_bank_as("old");
	worker_open();
	store_chain(3, 4);
	keep_bank_as("new");
	rename(below_room("old"), below_room("bank"));
	worker_open();
	store_chain(5, 6);
}
