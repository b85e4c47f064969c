#include "worker_room.h"

#include "bus/bus.h"
#include "wire/event.h"
#include "workers/signal/signal.h"

#include <jansson.h>

#define BACKUP(n) "FUL_20260102T030405Z_000000000000000" #n

static uint64_t durable; /* what the broker says of tb.signals */
static tb_rc stat_answer;

static uint64_t first_held; /* of them in the journal */
static tb_buf journal; /* their frames, from the first on */

/* All that are asked for and held. */
static tb_rc fetched(tb_span request, tb_buf *ret_answer)
{
	ProtobufCMessage *message;
	must(tb_control_read(&request, TB_KIND_FETCH, &tb__fetch_request__descriptor, room.kept, &message, &room.err));
	const Tb__FetchRequest *fetch = (const Tb__FetchRequest *)message;
	cr_assert(fetch->from >= first_held && fetch->to <= durable);
	Tb__FetchReply reply = TB__FETCH_REPLY__INIT;
	Tb__Status status = TB__STATUS__INIT;
	reply.status = &status;
	tb_buf_clear(ret_answer);
	tb_control_write(ret_answer, TB_KIND_ANSWER, &reply.base);
	tb_span rest = tb_buf_span(&journal);
	while (rest.size > 0) {
		const uint8_t *begin = rest.data;
		tb_frame frame;
		must(tb_frame_read(&rest, &frame, &room.err));
		if (frame.first >= fetch->from && frame.first <= fetch->to)
			tb_buf_append(ret_answer, begin, (size_t)(rest.data - begin));
	}
	return TB_OK;
}

static tb_rc asked(unsigned kind, tb_span request, tb_buf *ret_answer)
{
	if (kind == TB_KIND_FETCH)
		return fetched(request, ret_answer);
	cr_assert_eq(kind, TB_KIND_STAT);
	if (stat_answer != TB_OK)
		return tb_fail(&room.err, stat_answer, "no answer");
	Tb__StatReply reply = TB__STAT_REPLY__INIT;
	Tb__Status status = TB__STATUS__INIT;
	Tb__StreamStat stream = TB__STREAM_STAT__INIT, *streams[] = { &stream };
	stream.name = (char *)(uintptr_t)"tb.signals";
	stream.durable = durable;
	stream.first_held = first_held;
	reply.status = &status;
	reply.streams = streams;
	reply.n_streams = durable > 0;
	tb_buf_clear(ret_answer);
	tb_control_write(ret_answer, TB_KIND_ANSWER, &reply.base);
	return TB_OK;
}

static void begin(void)
{
	durable = first_held = 0;
	tb_buf_drop(&journal);
	stat_answer = TB_OK;
	room_make(&signal_worker, NULL, NULL);
	room.env.dir = NULL; /* nobody asks */
	room.asked = asked;
	worker_open();
}

TestSuite(signal, .init = begin, .fini = room_end);

static tb_frame stored_as(const char *stream, const char *type, const char *backup)
{
	static char tier[] = "local";
	char *tiers[] = { tier };
	Tb__Stored stored = TB__STORED__INIT;
	stored.stream = (char *)(uintptr_t)stream;
	stored.type = (char *)(uintptr_t)type;
	stored.backup = (char *)(uintptr_t)backup;
	stored.to = 42;
	stored.bytes_stored = 1000;
	stored.tiers = tiers;
	stored.n_tiers = 1;
	return frame_of(TB_KIND_STORED, "book", 1, &stored.base);
}

static tb_frame stored_of(const char *backup)
{
	return stored_as("book", "FULL", backup);
}

static void turn_with(const tb_frame *frame, uint64_t id)
{
	turn_begin(1);
	must(turn_handle(frame, id));
	turn_end();
}

static void turn_idle(void)
{
	turn_begin(1);
	turn_end();
}

static signal_state *state(void)
{
	return room.self;
}

/* The records as JSON, as a question gets them. */
static size_t listed(const char *stream, const char *backup, uint64_t since, size_t limit)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	signal_filter filter = { .since = since, .limit = limit };
	size_t count;
	snprintf(filter.stream, sizeof(filter.stream), "%s", stream);
	snprintf(filter.backup, sizeof(filter.backup), "%s", backup);
	tb_buf_print(&text, "[");
	must(records_list(state(), &filter, &text, &count, &room.err));
	tb_buf_print(&text, "]");
	json_t *array = json_loadb((const char *)text.data, text.size, 0, NULL);
	cr_assert(json_is_array(array) && json_array_size(array) == count, "%s", tb_buf_text(&text));
	json_decref(array);
	return count;
}

static uint64_t event_number(size_t index)
{
	const struct noted_frame *noted = noted_at(TB_KIND_EVENTS, index);
	cr_assert_not_null(noted);
	return noted->frame.first;
}

Test(signal, a_stored_backup_becomes_one_numbered_event_then_is_announced)
{
	tb_frame frame = stored_of(BACKUP(1));
	turn_with(&frame, 10);
	const struct noted_frame *event = noted_at(TB_KIND_EVENTS, 0), *announced = noted_at(TB_KIND_ANNOUNCE, 0);
	cr_assert(event->frame.first == 1 && event->frame.stream == tb_stream_hash("tb.signals"));
	cr_assert_gt(announced->put, event->put, "only what is durable is told");
	cr_assert(was_finished(10));
	must(tb_events_check(&event->frame, &room.err));
	tb_span body = event->frame.body, canonical;
	tb_event read;
	tb_events_next(&body, &canonical);
	must(tb_event_check(canonical, room.kept, &read, NULL, &room.err));
	cr_assert_str_eq(read.body.signal.type, "BACKUP_READY");
	Tb__BackupReady *ready = tb__backup_ready__unpack(tb_arena_allocator(room.kept), read.body.signal.record.size,
	                                                  read.body.signal.record.data);
	cr_assert_not_null(ready);
	cr_assert(ready->number == 1 && ready->event == 42);
	cr_assert_str_eq(ready->backup, BACKUP(1));
	const Tb__Announce *topic = message_of(announced, &tb__announce__descriptor);
	cr_assert_str_eq(topic->topic, "BACKUP_READY/book");
	topic = message_of(noted_at(TB_KIND_ANNOUNCE, 1), &tb__announce__descriptor);
	cr_assert_str_eq(topic->topic, "json/BACKUP_READY/book");
}

Test(signal, a_backup_has_one_record_however_often_it_is_told_of)
{
	tb_frame frame = stored_of(BACKUP(1));
	turn_with(&frame, 10);
	turn_with(&frame, 11);
	worker_restart();
	turn_with(&frame, 12);
	cr_assert_eq(state()->last, 1);
	cr_assert(was_finished(11) && was_finished(12));
	for (size_t i = 0; i < noted_count(TB_KIND_EVENTS); i++)
		cr_assert_eq(event_number(i), 1);
}

Test(signal, segments_raise_none)
{
	tb_frame frame = stored_as("book", "SEGMENT", "SEG_20260102T030405Z_0000000000000001");
	turn_with(&frame, 10);
	cr_assert_eq(room.frame_count, 0);
	cr_assert(was_finished(10));
}

Test(signal, numbers_go_on_after_a_restart_and_nothing_is_told_before_it_is_durable)
{
	tb_frame frame = stored_of(BACKUP(1));
	turn_with(&frame, 10);
	turn_idle();
	cr_assert_eq(listed("", "", 0, 100), 1);
	room.answer = TB_ETIMEOUT;
	frame = stored_of(BACKUP(2));
	turn_with(&frame, 11);
	for (int i = 0; i < 3; i++)
		turn_idle();
	cr_assert_eq(listed("", "", 0, 100), 1);
	worker_restart();
	turn_idle();
	cr_assert_eq(listed("", "", 0, 100), 0, "after a restart it isn't known yet what is durable");
	room.answer = TB_OK;
	turn_idle();
	turn_idle();
	cr_assert_eq(listed("", "", 0, 100), 2);
	cr_assert_eq(event_number(noted_count(TB_KIND_EVENTS) - 1), 2);
	frame = stored_of(BACKUP(3));
	turn_with(&frame, 12);
	cr_assert_eq(event_number(noted_count(TB_KIND_EVENTS) - 1), 3);
}

Test(signal, who_only_stands_by_tells_nothing)
{
	tb_frame frame = stored_of(BACKUP(1));
	turn_with(&frame, 10);
	worker_restart();
	for (int i = 0; i < 3; i++) {
		turn_begin(0);
		turn_end();
	}
	cr_assert_eq(listed("", "", 0, 100), 0);
	cr_assert_eq(room.wait_ns, TB_NS_PER_S, "and doesn't turn in circles");
}

Test(signal, questions_are_answered_by_number_stream_and_id)
{
	static const char *const ids[] = { BACKUP(1), BACKUP(2), BACKUP(3), BACKUP(4) };
	for (size_t i = 0; i < 4; i++) {
		tb_frame frame = stored_as(i % 2 ? "odd" : "even", "FULL", ids[i]);
		turn_with(&frame, 10 + i);
	}
	turn_idle();
	static const struct {
		const char *stream, *backup;
		uint64_t since;
		size_t limit, count;
	} rows[] = {
		{ "", "", 0, 100, 4 },          { "", "", 0, 3, 3 },           { "", "", 3, 100, 1 },
		{ "", "", 4, 100, 0 },          { "", "", UINT64_MAX, 100, 0 }, { "odd", "", 0, 100, 2 },
		{ "odd", "", 2, 100, 1 },       { "none", "", 0, 100, 0 },     { "", BACKUP(3), 0, 100, 1 },
		{ "", BACKUP(3), 2, 100, 1 },   { "", BACKUP(3), 3, 100, 0 },  { "", BACKUP(9), 0, 100, 0 },
		{ "odd", BACKUP(3), 0, 100, 0 }, { "even", BACKUP(3), 0, 100, 1 }, { "", BACKUP(1), 0, 100, 1 },
		{ "", BACKUP(1), UINT64_MAX, 100, 0 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert_eq(listed(rows[i].stream, rows[i].backup, rows[i].since, rows[i].limit), rows[i].count, "row %zu", i);
}

Test(signal, a_bank_that_lacks_signals_is_not_gone_on_with)
{
	durable = 1;
	turn_begin(1);
	cr_assert_eq(room.worker->tick(room.self, &room.turn, &room.wait_ns, &room.err), TB_EUNSUPPORTED);
	tb_txn_abort(room.turn.txn);
	tb_frame frame = stored_of(BACKUP(1));
	turn_begin(1);
	cr_assert_eq(turn_handle(&frame, 10), TB_EUNSUPPORTED);
	tb_txn_abort(room.turn.txn);
	tb_outgoing_abort(room.outgoing);
	cr_assert_eq(room.put_count, 0);
}

/* What was put so far is durable. */
static void all_is_durable(uint64_t held_from)
{
	tb_buf_clear(&journal);
	durable = noted_count(TB_KIND_EVENTS);
	first_held = held_from;
	for (size_t i = 0; i < durable; i++)
		tb_frame_write(&journal, &noted_at(TB_KIND_EVENTS, i)->frame);
}

static void lose_bank(void)
{
	worker_close();
	must(tb_disk_remove_tree(tb_disk_system(), below_room("bank"), &room.err));
	worker_open();
}

static void turn_under(uint64_t generation)
{
	turn_begin(generation);
	turn_end();
}

Test(signal, a_lost_bank_is_read_again_and_numbers_go_on)
{
	for (int i = 1; i <= 3; i++) {
		tb_frame frame = stored_of(i == 1 ? BACKUP(1) : i == 2 ? BACKUP(2) : BACKUP(3));
		turn_with(&frame, (uint64_t)i);
	}
	all_is_durable(1);
	lose_bank();
	turn_under(5);
	turn_under(5);
	cr_assert_eq(listed("", "", 0, 10), 3);
	tb_frame again = stored_of(BACKUP(2)), next = stored_of(BACKUP(4));
	turn_begin(5);
	must(turn_handle(&again, 12));
	must(turn_handle(&next, 13));
	turn_end();
	cr_assert_eq(noted_count(TB_KIND_EVENTS), 4);
	cr_assert_eq(event_number(3), 4);
	cr_assert(was_finished(12) && was_finished(13));
}

Test(signal, what_was_made_and_not_put_before_another_held_the_lease_is_taken_back)
{
	tb_frame mine = stored_of(BACKUP(1)), others = stored_of(BACKUP(2));
	turn_with(&others, 1); /* this is what the other makes, too */
	all_is_durable(1);
	lose_bank();
	durable = 0;
	room.answer = TB_ETIMEOUT;
	turn_with(&mine, 2); /* number 1 here, and never put */
	room.answer = TB_OK;
	durable = 1;
	turn_under(4);
	turn_under(4);
	cr_assert_eq(noted_count(TB_KIND_EVENTS), 1);
	cr_assert_eq(listed("", BACKUP(1), 0, 10), 0);
	cr_assert_eq(listed("", BACKUP(2), 0, 10), 1);
	turn_begin(4);
	must(turn_handle(&mine, 2));
	turn_end();
	cr_assert_eq(event_number(1), 2);
}

Test(signal, a_broker_that_is_away_is_asked_again)
{
	stat_answer = TB_EUNREACHABLE;
	turn_idle();
	stat_answer = TB_OK;
	turn_idle();
	tb_frame frame = stored_of(BACKUP(1));
	stat_answer = TB_EUNREACHABLE; /* what is known of this generation needn't be asked */
	turn_with(&frame, 10);
	cr_assert_eq(noted_count(TB_KIND_EVENTS), 1);
}

Test(signal, what_can_not_be_right_is_rejected)
{
	static const struct {
		const char *stream, *type, *backup;
	} rows[] = { { "book", "FULL", "" }, { "book", "FULL", "x" }, { "", "FULL", BACKUP(1) }, { "a/b", "FULL", BACKUP(1) },
		         { "book", "", BACKUP(1) }, { "book", "NONE", BACKUP(1) } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tb_frame frame = stored_as(rows[i].stream, rows[i].type, rows[i].backup);
		turn_with(&frame, 10 + i);
		cr_assert_eq(noted_count(TB_KIND_REJECT), i + 1);
		cr_assert(was_finished(10 + i));
	}
	tb_frame frame = { .kind = TB_KIND_SEALED, .count = 1, .stream = 1, .body = tb_span_text("\xff\xff no message") };
	turn_with(&frame, 20);
	frame.kind = TB_KIND_STORED;
	turn_with(&frame, 21);
	cr_assert(was_finished(20) && was_finished(21));
	cr_assert_eq(state()->last, 0);
}
