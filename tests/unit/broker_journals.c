/* Journals whose checks all hold, and which yet say what can't be: a broker refuses them, and says what it is. */
#include "broker/broker_state.h"
#include "broker_room.h"

static void set_up(void)
{
	room_begin();
	room_close();
	tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
}

static void tear_down(void)
{
	room_end();
}

TestSuite(broker_journals, .init = set_up, .fini = tear_down);

static tb_journal *journal;

static void journal_open(void)
{
	tb_journal_opened opened;
	tb_journal_options options = { .dir = room.dir, .file_size = 1u << 20, .disk = tb_disk_system(),
		                       .new_id = "a journal's id.." };
	cr_assert_eq(tb_journal_open(&options, NULL, &journal, &opened, &room.err), TB_OK, "%s", room.err.text);
}

static tb_span frame_of(enum tb_kind kind, const char *stream, const ProtobufCMessage *message)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	add_frame(&frame, kind, stream, message);
	return tb_arena_copy(room.arena, tb_buf_span(&frame));
}

static void rotate_to(const Tb__Checkpoint *checkpoint)
{
	tb_rc rc = tb_journal_rotate(journal, frame_of(TB_KIND_CHECKPOINT, NULL, &checkpoint->base), 1, &room.err);
	cr_assert_eq(rc, TB_OK, "%s", room.err.text);
}

static void append(tb_span frame)
{
	uint64_t offset;
	cr_assert_eq(tb_journal_append(journal, frame, 1, 1, &offset, &room.err), TB_OK, "%s", room.err.text);
}

static tb_rc try_open(void)
{
	tb_broker_out out = { &room, room_answer, room_topic };
	tb_broker_options options = room.options;
	options.journal.dir = room.dir;
	options.journal.disk = tb_disk_system();
	options.clock = &room.clock;
	return tb_broker_open(&options, &out, &room.broker, &room.opened, &room.err);
}

static void must_refuse(const char *words)
{
	tb_journal_close(journal);
	tb_rc rc = try_open();
	cr_assert(rc == TB_ECORRUPT || rc == TB_EINVAL, "%s: %s", tb_rc_name(rc), words);
	cr_assert_not_null(strstr(room.err.text, words), "%s", room.err.text);
	tb_disk_remove_tree(tb_disk_system(), room.dir, NULL);
}

static Tb__StreamState stream_state(const char *name)
{
	Tb__StreamState state = TB__STREAM_STATE__INIT;
	state.name = (char *)(uintptr_t)name;
	return state;
}

/* A checkpoint of these streams, in a journal of its own. */
static void begin_with(Tb__StreamState **streams, size_t count)
{
	Tb__Checkpoint checkpoint = TB__CHECKPOINT__INIT;
	checkpoint.streams = streams;
	checkpoint.n_streams = count;
	journal_open();
	rotate_to(&checkpoint);
}

Test(broker_journals, a_checkpoint_of_streams_that_cannot_be_is_refused)
{
	Tb__StreamState book = stream_state("book"), again = stream_state("book"), bad = stream_state("a/b");
	Tb__StreamState *streams[] = { &book, &again };
	begin_with(streams, 2);
	must_refuse("book can't be");

	streams[1] = &bad;
	begin_with(streams, 2);
	must_refuse("a/b");

	char order[200];
	memset(order, 'o', sizeof(order) - 1);
	order[sizeof(order) - 1] = '\0';
	book.last_order = order;
	begin_with(streams, 1);
	must_refuse("book can't be");

	Tb__EpochStart starts[40], *rows[40];
	book.last_order = (char *)(uintptr_t)"";
	for (size_t i = 0; i < 40; i++) {
		tb__epoch_start__init(&starts[i]);
		rows[i] = &starts[i];
	}
	book.epochs = rows;
	book.n_epochs = 40;
	begin_with(streams, 1);
	must_refuse("book can't be");
}

Test(broker_journals, a_checkpoint_of_outboxes_that_cannot_be_is_refused)
{
	static const struct {
		size_t id, count;
		uint64_t first, upto, place;
	} rows[] = {
		{ TB_ID - 1, 1, 1, 10, 1 },         { TB_ID, 1, 0, 10, 1 }, { TB_ID, 1, 12, 10, 1 },
		{ TB_ID, 1, 1, 11, 1 },             { TB_ID, 1, 1, 10, 0 }, { TB_ID, 1, 1, 10, TB_NUMBER_MAX + 1 },
		{ TB_ID, TB_OUTBOXES_KEPT + 1, 1, 10, 1 },
	};
	uint8_t id[TB_ID] = { 3 };
	Tb__OutboxState outbox = TB__OUTBOX_STATE__INIT, *outboxes[TB_OUTBOXES_KEPT + 1];
	Tb__StreamState book = stream_state("book"), *streams[] = { &book };
	for (size_t i = 0; i <= TB_OUTBOXES_KEPT; i++)
		outboxes[i] = &outbox;
	book.durable = 10;
	book.outboxes = outboxes;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		outbox.id = (ProtobufCBinaryData){ rows[i].id, id };
		outbox.first = rows[i].first;
		outbox.upto = rows[i].upto;
		outbox.place = rows[i].place;
		book.n_outboxes = rows[i].count;
		begin_with(streams, 1);
		must_refuse("outboxes of stream book can't be");
	}
}

static void begin_with_group(uint32_t group, const uint64_t *offsets, size_t count, uint64_t stream)
{
	Tb__Checkpoint checkpoint = TB__CHECKPOINT__INIT;
	Tb__GroupState state = TB__GROUP_STATE__INIT, *groups[] = { &state };
	Tb__OpenFrame frames[4], *rows[4];
	for (size_t i = 0; i < count; i++) {
		tb__open_frame__init(&frames[i]);
		frames[i].offset = offsets[i];
		frames[i].kind = TB_KIND_CUT;
		frames[i].stream = stream;
		rows[i] = &frames[i];
	}
	state.group = group;
	state.open = rows;
	state.n_open = count;
	checkpoint.groups = groups;
	checkpoint.n_groups = 1;
	journal_open();
	rotate_to(&checkpoint);
}

Test(broker_journals, a_checkpoint_of_open_frames_that_cannot_be_is_refused)
{
	begin_with_group(TB_GROUP_COUNT, NULL, 0, 0);
	must_refuse("group");
	begin_with_group(TB_GROUP_SEALER, (const uint64_t[]){ 500, 500 }, 2, 0);
	must_refuse("open frame at 500 can't be");
	begin_with_group(TB_GROUP_SEALER, (const uint64_t[]){ 500, 400 }, 2, 0);
	must_refuse("open frame at 400 can't be");
	begin_with_group(TB_GROUP_COLLECTOR, (const uint64_t[]){ 500 }, 1, tb_stream_hash("nobody"));
	must_refuse("open frame at 500 can't be");
}

Test(broker_journals, a_second_checkpoint_in_a_file_is_refused)
{
	Tb__StreamState book = stream_state("book"), *streams[] = { &book };
	Tb__Checkpoint checkpoint = TB__CHECKPOINT__INIT;
	begin_with(streams, 1);
	append(frame_of(TB_KIND_CHECKPOINT, NULL, &checkpoint.base));
	must_refuse("in the middle");
}

Test(broker_journals, a_stream_that_only_an_older_file_knows_is_refused)
{
	Tb__StreamState book = stream_state("book"), *streams[] = { &book };
	Tb__Checkpoint checkpoint = TB__CHECKPOINT__INIT;
	begin_with(streams, 1);
	rotate_to(&checkpoint);
	must_refuse("book, a newer one doesn't");
}

Test(broker_journals, frames_of_what_there_is_not_are_refused)
{
	Tb__Cut cut = TB__CUT__INIT;
	Tb__Finish finish = TB__FINISH__INIT;
	Tb__Lease lease = TB__LEASE__INIT;
	Tb__Epoch epoch = TB__EPOCH__INIT;
	Tb__Heartbeat heartbeat = TB__HEARTBEAT__INIT;
	finish.group = 77;
	lease.group = TB_GROUP_STORER;
	epoch.stream = (char *)(uintptr_t)"../x";
	tb_frame reject = { .kind = TB_KIND_REJECT, .count = 1, .flags = 77 };
	tb_auto(tb_buf_drop) tb_buf rejected = { 0 };
	tb_frame_write(&rejected, &reject);
	const struct {
		tb_span frame;
		const char *words;
	} rows[] = {
		{ frame_of(TB_KIND_CUT, "nobody", &cut.base), "stream" },
		{ frame_of(TB_KIND_EVENTS, "nobody", NULL), "stream" },
		{ frame_of(TB_KIND_MANIFEST, "nobody", NULL), "stream" },
		{ frame_of(TB_KIND_ORDER, "nobody", NULL), "stream" },
		{ frame_of(TB_KIND_SEALED, "nobody", NULL), "stream" },
		{ frame_of(TB_KIND_FINISH, NULL, &finish.base), "group 77" },
		{ frame_of(TB_KIND_LEASE, NULL, &lease.base), "a lease" },
		{ frame_of(TB_KIND_EPOCH, NULL, &epoch.base), "../x" },
		{ frame_of(TB_KIND_HEARTBEAT, NULL, &heartbeat.base), "journalled" },
		{ tb_buf_span(&rejected), "group 77" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin_with(NULL, 0);
		append(rows[i].frame);
		must_refuse(rows[i].words);
	}
}

Test(broker_journals, bodies_that_are_no_messages_are_refused)
{
	static const enum tb_kind kinds[] = { TB_KIND_CUT, TB_KIND_MANIFEST, TB_KIND_ORDER, TB_KIND_FINISH, TB_KIND_LEASE,
		                              TB_KIND_EPOCH };
	Tb__StreamState book = stream_state("book"), *streams[] = { &book };
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		tb_auto(tb_buf_drop) tb_buf frame = { 0 };
		add_bytes(&frame, kinds[i], "book", 7);
		begin_with(streams, 1);
		append(tb_buf_span(&frame));
		must_refuse(" ");
	}
}
