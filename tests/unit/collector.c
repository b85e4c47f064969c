#include "collector_room.h"

TestSuite(collector, .init = collector_begin, .fini = room_end);

Test(collector, events_are_cut_sealed_manifested_and_finished_when_stored)
{
	start(BOOK, 3);
	apply(BOOK, 1, 10);
	apply(BOOK, 11, 10);
	cr_assert_eq(noted_count(TB_KIND_CUT), 0, "too young to be cut");
	cut_now();
	cr_assert_eq(noted_count(TB_KIND_CUT), 1);
	const Tb__Cut *cut = cut_at(0);
	cr_assert_str_eq(cut->stream, BOOK);
	cr_assert(cut->from == 1 && cut->to == 20 && cut->events == 20 && cut->time_from_ns == 0);
	cr_assert_eq(room.puts[0]->generation, 3);
	tb_frame sealed = sealed_cut(cut);
	turn_with(&sealed, 100);
	cr_assert_eq(noted_count(TB_KIND_MANIFEST), 1);
	cr_assert(was_finished(100), "the manifest finishes what told of the object");
	const Tb__ManifestFrame *frame = manifest_frame_at(0);
	const Tb__Manifest *manifest = manifest_of(frame);
	cr_assert_eq(manifest->n_objects, 1);
	cr_assert_eq(memcmp(manifest->objects[0]->name.data, object_name, TB_OBJECT_NAME), 0);
	cr_assert(manifest->n_rejected == 1 && manifest->rejected[0] == 17);
	cr_assert_eq(check_chain(), 1);
	tb_frame stored = stored_of(frame);
	turn_with(&stored, 101);
	cr_assert(was_finished(101));
	cr_assert_eq(room.puts[room.put_count - 1]->finished_to, 20);
}

Test(collector, a_segment_is_cut_when_it_is_large_enough)
{
	config.segment_size = 400;
	start(BOOK, 1);
	for (uint64_t first = 1; first <= 40; first += 4)
		apply(BOOK, first, 4);
	cr_assert_gt(noted_count(TB_KIND_CUT), 1);
	for (size_t i = 0; i < noted_count(TB_KIND_CUT); i++)
		cr_assert_eq(cut_at(i)->from, i ? cut_at(i - 1)->to + 1 : 1);
}

/* An object that can't be compressed has to fit into a frame. */
Test(collector, a_large_frame_does_not_join_a_segment_that_it_would_make_too_large)
{
	start(BOOK, 1);
	apply(BOOK, 1, 1);
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 }, body = { 0 };
	tb_event event;
	size_t size = TB_EVENT_MAX - 200;
	uint8_t *data = tb_alloc_zero(1, size);
	tb_event_default(&event, TB_EVENT_OPAQUE);
	event.time_ns = BASE_NS;
	event.body.opaque.data = (tb_bytes){ data, size };
	must(tb_event_pack(&canonical, &event, BASE_NS, NULL, &room.err));
	tb_events_append(&body, tb_buf_span(&canonical));
	tb_frame frame = { .kind = TB_KIND_EVENTS, .count = 1, .stream = tb_stream_hash(BOOK), .epoch = 1, .first = 2,
		               .time_ns = BASE_NS, .body = tb_buf_span(&body) };
	turn_with(&frame, 0);
	frame.first = 3;
	turn_with(&frame, 0);
	cut_now();
	for (size_t i = 0; i < noted_count(TB_KIND_CUT); i++)
		cr_assert_leq(cut_at(i)->bytes + TB_OBJECT_HEAD + 16, TB_FRAME_BODY_MAX);
	cr_assert_eq(noted_count(TB_KIND_CUT), 2);
	free(data);
}

Test(collector, manifests_are_made_in_order_whatever_order_sealers_finish_in)
{
	start(BOOK, 1);
	for (uint64_t i = 0; i < 4; i++) {
		apply(BOOK, 1 + i * 5, 5);
		cut_now();
	}
	static const size_t order[] = { 2, 3, 1, 0 };
	for (size_t i = 0; i < 4; i++) {
		cr_assert_eq(noted_count(TB_KIND_MANIFEST), 0);
		tb_frame sealed = sealed_cut(cut_at(order[i]));
		turn_with(&sealed, 100 + order[i]);
	}
	cr_assert_eq(noted_count(TB_KIND_MANIFEST), 4);
	cr_assert_eq(check_chain(), 4);
	for (uint64_t i = 0; i < 4; i++)
		cr_assert(was_finished(100 + i));
}

Test(collector, what_is_told_twice_is_finished_and_changes_nothing)
{
	start(BOOK, 1);
	apply(BOOK, 1, 5);
	cut_now();
	tb_frame sealed = sealed_cut(cut_at(0));
	turn_with(&sealed, 100);
	turn_with(&sealed, 100); /* given again: it is finished with its manifest already */
	turn_with(&sealed, 101); /* another sealer's answer to the same cut */
	cr_assert_eq(noted_count(TB_KIND_MANIFEST), 1);
	cr_assert(was_finished(101));
	tb_frame stored = stored_of(manifest_frame_at(0));
	turn_with(&stored, 102);
	turn_with(&stored, 103);
	turn_with(&sealed, 104);
	cr_assert(was_finished(103) && was_finished(104));
	cr_assert_eq(room.puts[room.put_count - 2]->finished_to, 0, "told before: no events are finished by it");
	cr_assert_eq(noted_count(TB_KIND_MANIFEST), 1);
	tb_frame frame = events(BOOK, 1, 5);
	turn_with(&frame, 0);
	cut_now();
	cr_assert_eq(noted_count(TB_KIND_CUT), 1);
}

Test(collector, an_empty_segment_is_never_cut)
{
	start(BOOK, 1);
	for (int i = 0; i < 5; i++)
		cut_now();
	cr_assert_eq(room.put_count, 0);
	cr_assert_eq(room.wait_ns, TB_NS_PER_S);
}

Test(collector, a_segment_waits_no_longer_than_its_age)
{
	start(BOOK, 1);
	pass(300 * TB_NS_PER_MS);
	apply(BOOK, 1, 1);
	cr_assert_eq(room.wait_ns, TB_NS_PER_S);
	pass(400 * TB_NS_PER_MS);
	apply(BOOK, 2, 1);
	cr_assert_eq(room.wait_ns, 600 * TB_NS_PER_MS);
	pass(600 * TB_NS_PER_MS);
	turn_idle();
	cr_assert_eq(cut_at(0)->to, 2);
}

Test(collector, streams_do_not_get_into_each_others_way)
{
	static const char *const names[] = { "a", "b", "b-2", "c" };
	for (size_t i = 0; i < 4; i++)
		start(names[i], i + 1);
	for (uint64_t first = 1; first < 30; first += 3)
		for (size_t i = 0; i < 4; i++)
			apply(names[i], first, 3);
	cut_now();
	cr_assert_eq(noted_count(TB_KIND_CUT), 4);
	for (size_t i = 0; i < 4; i++) {
		const Tb__Cut *cut = cut_at(i);
		const struct noted_frame *noted = noted_at(TB_KIND_CUT, i);
		cr_assert(cut->from == 1 && cut->to == 30);
		cr_assert_eq(room.puts[noted->put]->stream, tb_stream_hash(cut->stream));
		tb_frame sealed = sealed_cut(cut);
		turn_with(&sealed, 100 + i);
		check_sum_at(private_of(manifest_of(manifest_frame_at(i))), 30);
	}
}

Test(collector, chains_of_memory_banks_go_on_across_segments_and_restarts)
{
	uint8_t heads[2][TB_HASH] = { { 0 } }, hash[TB_HASH];
	uint64_t counts[2] = { 0 };
	start(BOOK, 1);
	apply(BOOK, 1, 20);
	cut_now();
	worker_restart();
	Tb__Grant grant = grant_again(BOOK, 2);
	turn_begin(0);
	give_grant(&grant);
	turn_end();
	apply(BOOK, 21, 20);
	cut_now();
	for (size_t i = 0; i < 2; i++) {
		tb_frame sealed = sealed_cut(cut_at(i));
		turn_with(&sealed, 100 + i);
	}
	for (uint64_t number = 1; number <= 40; number++) {
		tb_auto(tb_buf_drop) tb_buf body = { 0 };
		tb_span rest, canonical;
		pack_event(&body, number);
		rest = tb_buf_span(&body);
		cr_assert_eq(tb_events_next(&rest, &canonical), 1);
		if (kind_of(number) != GHOST)
			continue;
		tb_event_hash(canonical, hash);
		tb_memory_signature(heads[number % 2], hash, heads[number % 2]);
		counts[number % 2]++;
	}
	const Tb__ManifestPrivate *message = private_of(manifest_of(manifest_frame_at(1)));
	cr_assert_eq(message->n_heads, 2);
	for (size_t i = 0; i < 2; i++) {
		size_t odd = strcmp(message->heads[i]->pair, "BTC→ETH") == 0;
		cr_assert_eq(message->heads[i]->count, counts[odd]);
		cr_assert_eq(memcmp(message->heads[i]->head.data, heads[odd], TB_HASH), 0);
	}
}

Test(collector, without_a_period_no_events_are_asked_for)
{
	tb_buf_clear(&room.period);
	start(BOOK, 1);
	Tb__Held **held;
	size_t count;
	room.worker->held(room.self, room.kept, &held, &count);
	cr_assert(count == 1 && held[0]->next == UINT64_MAX);
	room_read_period();
	turn_idle();
	room.worker->held(room.self, room.kept, &held, &count);
	cr_assert(count == 1 && held[0]->next == 1);
}

/* ---- grants */

static void cut_and_manifest(void)
{
	start(BOOK, 1);
	apply(BOOK, 1, 10);
	cut_now();
	tb_frame sealed = sealed_cut(cut_at(0));
	turn_with(&sealed, 100);
}

static const tb_stream *book(void)
{
	return stream_find(room.self, tb_stream_hash(BOOK));
}

Test(collector, a_stream_that_went_on_elsewhere_is_not_taken)
{
	uint8_t other[TB_HASH_SIZE] = { 1 };
	cut_and_manifest();
	for (int i = 0; i < 6; i++) {
		Tb__Grant grant = grant_again(BOOK, (uint64_t)i + 2);
		switch (i) {
		case 0: break;
		case 1: grant.finished = 11; break;
		case 2: grant.cut = 11; break;
		case 3: grant.chain = 2; break;
		case 4: grant.manifest_hash = (ProtobufCBinaryData){ sizeof(other), other }; break;
		case 5: grant.durable = 9; break;
		}
		turn_begin(0);
		give_grant(&grant);
		turn_end();
		cr_assert_eq(book()->blocked, i == 5, "%d", i);
		int overtaken = i == 1 || i == 3 || i == 4; /* a cut behind what it has applied it makes again, in its place */
		cr_assert_eq(book()->rebuild != NULL, overtaken, "%d", i);
		Tb__Health health = TB__HEALTH__INIT;
		health.state = (char *)(uintptr_t)"healthy";
		room.worker->health(room.self, room.kept, &health);
		/* Degraded: its manifest isn't stored, and is waited for. */
		cr_assert_str_eq(health.state, overtaken ? "degraded" : i == 5 ? "critical" : "healthy");
	}
	size_t before = room.put_count;
	apply(BOOK, 11, 5);
	cut_now();
	cr_assert_eq(room.put_count, before);
	cr_assert_eq(book()->applied, 10);
}

Test(collector, a_stream_that_is_revoked_or_fenced_is_let_go_of)
{
	for (int fenced = 0; fenced < 2; fenced++) {
		start(BOOK, 2 + (uint64_t)fenced);
		Tb__Held **held;
		size_t count;
		if (fenced) {
			room.worker->refused(room.self, tb_stream_hash(BOOK), &room.err);
		} else {
			turn_begin(0);
			must(room.worker->revoked(room.self, &room.turn, tb_stream_hash(BOOK), &room.err));
			turn_end();
		}
		room.worker->held(room.self, room.kept, &held, &count);
		cr_assert_eq(count, 0);
		apply(BOOK, 1, 5);
		cr_assert_eq(book()->applied, 0);
	}
}

/* ---- what can't be right */

static void rejected(const tb_frame *frame, uint64_t id)
{
	size_t before = noted_count(TB_KIND_REJECT);
	turn_with(frame, id);
	cr_assert_eq(noted_count(TB_KIND_REJECT), before + 1);
	cr_assert(was_finished(id));
	cr_assert_eq(noted_count(TB_KIND_MANIFEST), 1);
}

Test(collector, what_can_not_be_right_is_rejected_and_harms_nothing)
{
	cut_and_manifest();
	apply(BOOK, 11, 5);
	cut_now();
	const Tb__Cut *cut = cut_at(1);
	uint64_t id = 200;
	static const struct {
		size_t name;
		uint64_t stored, plain;
	} sizes[] = { { 31, 1000, 10 }, { 0, 1000, 10 }, { 32, 120, 10 }, { 32, TB_OBJECT_MAX + 1ull, 10 }, { 32, 1000, UINT64_MAX } };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		Tb__Sealed sealed = TB__SEALED__INIT;
		sealed.name = (ProtobufCBinaryData){ sizes[i].name, object_name };
		sealed.size_stored = sizes[i].stored;
		sealed.size_plain = sizes[i].plain;
		sealed.from = cut->from;
		sealed.to = cut->to;
		tb_frame frame = frame_of(TB_KIND_SEALED, BOOK, 0, &sealed.base);
		rejected(&frame, id++);
	}
	static const struct {
		const char *backup;
		uint64_t from, to;
	} stored[] = { { "", 1, 10 }, { "../x", 1, 10 }, { "SEG_20260102T030405Z_0123456789abcdef", 1, 9 },
		           { "SEG_20260102T030405Z_0123456789abcdef", 11, 15 } /* not given to be stored yet */ };
	for (size_t i = 0; i < sizeof(stored) / sizeof(stored[0]); i++) {
		Tb__Stored message = TB__STORED__INIT;
		message.type = (char *)(uintptr_t)"SEGMENT";
		message.backup = (char *)(uintptr_t)stored[i].backup;
		message.from = stored[i].from;
		message.to = stored[i].to;
		tb_frame frame = frame_of(TB_KIND_STORED, BOOK, 0, &message.base);
		rejected(&frame, id++);
	}
	static const char *const backups[] = { "", "x", "FUL_20260102T030405Z_0123456789abcdeF" };
	for (size_t i = 0; i < 3; i++) {
		tb_frame frame = order_of(BOOK, backups[i]);
		rejected(&frame, id++);
	}
	static const unsigned kinds[] = { TB_KIND_SEALED, TB_KIND_STORED, TB_KIND_ORDER, TB_KIND_OBJECT };
	for (size_t i = 0; i < 4; i++) {
		tb_frame frame = { .kind = (uint16_t)kinds[i], .count = 1, .stream = tb_stream_hash(BOOK),
			               .body = tb_span_text("\xff\xff\xff no message") };
		rejected(&frame, id++);
	}
	for (size_t i = 0; i < room.put_count; i++)
		cr_assert_eq(room.puts[i]->finished_to, 0);
	tb_frame sealed = sealed_cut(cut);
	turn_with(&sealed, id);
	cr_assert_eq(check_chain(), 2);
}

Test(collector, a_gap_in_the_numbers_ends_the_turn)
{
	start(BOOK, 1);
	tb_frame frame = events(BOOK, 2, 3);
	turn_begin(0);
	cr_assert_eq(turn_handle(&frame, 0), TB_EINVAL);
	tb_txn_abort(room.turn.txn);
}

Test(collector, a_damaged_record_in_the_bank_ends_the_turn)
{
	start(BOOK, 1);
	apply(BOOK, 1, 5);
	cut_now();
	tb_frame sealed = sealed_cut(cut_at(0));
	const tb_collector *collector = room.self;
	uint8_t key[16];
	turn_begin(0);
	must(tb_txn_put(room.turn.txn, collector->segments_db, collector_key(key, book(), 1), tb_span_text("\xff"), &room.err));
	cr_assert_eq(turn_handle(&sealed, 100), TB_ECORRUPT);
	tb_txn_abort(room.turn.txn);
	tb_outgoing_abort(room.outgoing);
	turn_begin(0);
	must(tb_txn_put(room.turn.txn, collector->segments_db, collector_key(key, book(), 6), tb_span_text("\xff"), &room.err));
	cr_assert_eq(turn_handle(&sealed, 100), TB_ECORRUPT, "the next one is looked at, too");
	tb_txn_abort(room.turn.txn);
}
