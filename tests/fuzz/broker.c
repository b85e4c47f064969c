/* A broker under whatever engines and workers may say, in any order, with restarts between. The input is a list of steps,
 * a byte each and what the step takes from behind it.
 *
 * Each request has one answer. What is durable stays so, and an event once fetched stays what it was. What was finished
 * isn't handed out again. */
#include "fuzz/fuzz_broker.h"

#define STREAMS 3u
#define MEMBERS 3u
#define NUMBERS 4096u
#define IDS_MAX 256u

static const char *const names[STREAMS] = { "book", "orbit", "x" };

static struct known {
	struct {
		uint64_t epoch, durable, generation;
		uint8_t seen[NUMBERS]; /* first byte of the event, 0: not fetched yet */
	} streams[STREAMS];
	struct {
		uint64_t generation, turn[MEMBERS];
		uint64_t ids[IDS_MAX], streams[IDS_MAX], finished[IDS_MAX]; /* streams: of the frames of those ids */
		size_t id_count, finished_count;
	} groups[TB_GROUP_COUNT];
} known;

static char *text_of(const char *text)
{
	return (char *)(uintptr_t)text;
}

static unsigned take_stream(tb_span *input)
{
	return (unsigned)fuzz_take(input, 1) % STREAMS;
}

static unsigned stream_of(uint64_t hash)
{
	unsigned i = 0;
	while (i < STREAMS && tb_stream_hash(names[i]) != hash)
		i++;
	return i;
}

static void learn_durable(unsigned stream, uint64_t durable)
{
	hold(durable >= known.streams[stream].durable);
	known.streams[stream].durable = durable;
}

static int commit(void)
{
	tb_err err;
	tb_rc rc = tb_broker_commit(fuzz_broker.broker, &err);
	hold(rc == TB_OK || err.text[0] != '\0');
	return rc == TB_OK;
}

/* ---- engines */

static void hello(tb_span *input)
{
	Tb__HelloRequest request = TB__HELLO_REQUEST__INIT;
	unsigned stream = take_stream(input), how = (unsigned)fuzz_take(input, 1);
	request.stream = text_of(names[stream]);
	request.outbox = fuzz_id(how & 1);
	request.take_over = how & 2;
	request.epoch = how & 4 ? 0 : known.streams[stream].epoch + (how & 8 ? fuzz_take(input, 1) : 0);
	if (how & 16) {
		request.first = fuzz_take_near(input, known.streams[stream].durable);
		request.last = fuzz_take_near(input, request.first);
	}
	request.shift = how & 64 ? fuzz_take(input, 1) : 0;
	request.ground = how & 128 ? fuzz_take_near(input, request.last) : 0;
	request.delivered = how & 128 ? fuzz_take_near(input, request.ground) : 0;
	unsigned journal = how & 128 ? (unsigned)fuzz_take(input, 1) % 3 : 0;
	if (journal > 0)
		request.journal_id = journal == 1 ? fuzz_binary("a journal's id..", 16) : fuzz_id(4);
	request.renewal = fuzz_id(2 + (how & 1));
	const struct fuzz_asker *asker = fuzz_ask_message(TB_KIND_HELLO, &request.base, (tb_span){ 0 });
	if (how & 32)
		commit();
	const Tb__HelloReply *reply = fuzz_answer(asker, &tb__hello_reply__descriptor, NULL);
	if (reply == NULL || reply->window_frames == 0)
		return;
	hold(reply->epoch >= known.streams[stream].epoch);
	known.streams[stream].epoch = reply->epoch;
	learn_durable(stream, reply->durable);
	hold(reply->first >= 1 && reply->first <= reply->durable + 1 && reply->place >= 1);
	hold(reply->stored <= reply->durable);
}

/* Of a frame: by the byte that its events are made of, so that it can be seen in what is fetched. */
static uint16_t flags_of(uint8_t byte)
{
	return byte >> 6;
}

static void events(tb_span *input)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	uint8_t event[200];
	unsigned stream = take_stream(input), how = (unsigned)fuzz_take(input, 1);
	uint64_t first = how & 1 ? fuzz_take_near(input, known.streams[stream].durable + 1) : known.streams[stream].durable + 1;
	uint64_t epoch = how & 2 ? fuzz_take_near(input, known.streams[stream].epoch) : known.streams[stream].epoch;
	unsigned count = 1 + (how >> 4);
	size_t size = how & 4 ? sizeof(event) : 3;
	memset(event, (int)(1 + fuzz_take(input, 1)), size);
	size_t at = tb_frame_begin(&frame);
	for (unsigned i = 0; i < count; i++)
		tb_events_append(&frame, tb_span_of(event, size));
	tb_frame head = { .kind = TB_KIND_EVENTS, .count = how & 8 ? (uint32_t)fuzz_take(input, 1) : count,
		          .flags = flags_of(event[0]), .stream = tb_stream_hash(names[stream]), .epoch = epoch,
		          .first = first };
	tb_frame_end(&frame, at, &head);
	tb_broker_event(fuzz_broker.broker, tb_buf_span(&frame));
}

static void heartbeat(tb_span *input)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 };
	unsigned stream = take_stream(input);
	Tb__Heartbeat message = TB__HEARTBEAT__INIT;
	message.last = fuzz_take_near(input, known.streams[stream].durable);
	if (fuzz_take(input, 1) & 1)
		message.run_id = fuzz_id(3);
	uint8_t body[64];
	tb_frame head = { .kind = TB_KIND_HEARTBEAT, .stream = tb_stream_hash(names[stream]),
		          .epoch = known.streams[stream].epoch };
	head.body = tb_span_of(body, tb__heartbeat__pack(&message, body));
	tb_frame_write(&frame, &head);
	tb_broker_event(fuzz_broker.broker, tb_buf_span(&frame));
}

/* ---- workers */

static void put_message(tb_buf *to, enum tb_kind kind, unsigned stream, const ProtobufCMessage *message)
{
	size_t at = tb_frame_begin(to), size = protobuf_c_message_get_packed_size(message);
	tb_buf_reserve(to, size);
	to->size += protobuf_c_message_pack(message, to->data + to->size);
	tb_frame_end(to, at, &(tb_frame){ .kind = (uint16_t)kind, .count = 1, .stream = tb_stream_hash(names[stream]) });
}

static void put_cut(tb_buf *to, tb_span *input)
{
	Tb__Cut cut = TB__CUT__INIT;
	unsigned stream = take_stream(input);
	cut.stream = text_of(names[stream]);
	cut.from = fuzz_take(input, 1);
	cut.to = fuzz_take_near(input, known.streams[stream].durable);
	put_message(to, TB_KIND_CUT, stream, &cut.base);
}

static void put_manifest(tb_buf *to, tb_span *input)
{
	Tb__ManifestFrame manifest = TB__MANIFEST_FRAME__INIT;
	unsigned stream = take_stream(input);
	manifest.stream = text_of(names[stream]);
	manifest.chain = fuzz_take(input, 1);
	manifest.manifest = fuzz_id((unsigned)manifest.chain);
	put_message(to, TB_KIND_MANIFEST, stream, &manifest.base);
}

static void put_order(tb_buf *to, tb_span *input)
{
	Tb__Order order = TB__ORDER__INIT;
	char backup[200];
	unsigned stream = take_stream(input);
	order.stream = text_of(names[stream]);
	fuzz_take_text(input, backup, sizeof(backup));
	order.backup = backup;
	put_message(to, TB_KIND_ORDER, stream, &order.base);
}

static void put_chunk(tb_buf *to, tb_span *input)
{
	Tb__Chunk chunk = TB__CHUNK__INIT;
	unsigned stream = take_stream(input);
	chunk.stream = text_of(names[stream]);
	chunk.plan = fuzz_id((unsigned)fuzz_take(input, 1) % 4);
	chunk.index = fuzz_take(input, 1);
	chunk.content = fuzz_id(0);
	put_message(to, TB_KIND_CHUNK, stream, &chunk.base);
}

static void put_announce(tb_buf *to, tb_span *input)
{
	Tb__Announce announce = TB__ANNOUNCE__INIT;
	char topic[300];
	fuzz_take_text(input, topic, sizeof(topic));
	announce.topic = topic;
	announce.body = fuzz_id(0);
	put_message(to, TB_KIND_ANNOUNCE, 0, &announce.base);
}

static void put_bytes(tb_buf *to, tb_span *input)
{
	tb_frame frame = { .kind = (uint16_t)(fuzz_take(input, 1) % 64), .count = 1 };
	frame.stream = tb_stream_hash(names[take_stream(input)]);
	frame.flags = (uint16_t)fuzz_take(input, 1);
	frame.first = fuzz_take(input, 1);
	frame.body = fuzz_take_bytes(input, fuzz_take(input, 1));
	tb_frame_write(to, &frame);
}

static void put(tb_span *input)
{
	static void (*const ways[])(tb_buf *to, tb_span *input) = { put_cut, put_manifest, put_order, put_chunk, put_announce,
		                                                    put_bytes };
	tb_auto(tb_buf_drop) tb_buf frames = { 0 };
	Tb__PutRequest request = TB__PUT_REQUEST__INIT;
	uint64_t finished[8], ours[8];
	size_t ours_count = 0;
	unsigned group = (unsigned)fuzz_take(input, 1) % (TB_GROUP_COUNT + 1), how = (unsigned)fuzz_take(input, 1);
	unsigned stream = take_stream(input), known_group = group % TB_GROUP_COUNT;
	request.group = group;
	if (how & 1)
		request.member = fuzz_id((unsigned)fuzz_take(input, 1) % MEMBERS);
	request.stream = how & 2 ? tb_stream_hash(names[stream]) : 0;
	request.generation = how & 2 ? known.streams[stream].generation : known.groups[known_group].generation;
	if (how & 4)
		request.generation = fuzz_take_near(input, request.generation);
	if (how & 8)
		request.finished_to = fuzz_take_near(input, known.streams[stream].durable);
	request.finished = finished;
	for (unsigned left = how >> 4 & 3; left > 0 && known.groups[known_group].id_count > 0; left--) {
		size_t at = fuzz_take(input, 1) % known.groups[known_group].id_count;
		finished[request.n_finished++] = known.groups[known_group].ids[at];
		/* under another stream's lease it isn't open, as if it were finished already */
		if (group != TB_GROUP_COLLECTOR || known.groups[known_group].streams[at] == request.stream)
			ours[ours_count++] = known.groups[known_group].ids[at];
	}
	for (unsigned left = how >> 6 & 3; left > 0; left--)
		ways[fuzz_take(input, 1) % (sizeof(ways) / sizeof(ways[0]))](&frames, input);
	const struct fuzz_asker *asker = fuzz_ask_message(TB_KIND_PUT, &request.base, tb_buf_span(&frames));
	if (!commit() || fuzz_answer(asker, &tb__put_reply__descriptor, NULL) == NULL)
		return;
	for (size_t i = 0; i < ours_count && known.groups[known_group].finished_count < IDS_MAX; i++)
		known.groups[known_group].finished[known.groups[known_group].finished_count++] = ours[i];
}

static void hand_out(unsigned group, const Tb__TakeReply *reply, tb_span frames)
{
	tb_frame frame;
	for (size_t i = 0; i < reply->n_leased; i++) {
		uint64_t id = reply->leased[i]->id;
		hold(tb_frame_read(&frames, &frame, NULL) == TB_OK);
		if (id == 0)
			continue;
		for (size_t j = 0; j < known.groups[group].finished_count; j++)
			hold(known.groups[group].finished[j] != id);
		if (known.groups[group].id_count == IDS_MAX)
			continue;
		known.groups[group].streams[known.groups[group].id_count] = frame.stream;
		known.groups[group].ids[known.groups[group].id_count++] = id;
	}
	hold(frames.size == 0);
}

static void learn_grants(const Tb__TakeReply *reply)
{
	for (size_t i = 0; i < reply->n_grants; i++) {
		unsigned stream = stream_of(reply->grants[i]->stream);
		if (stream == STREAMS)
			continue;
		hold(reply->grants[i]->generation >= known.streams[stream].generation);
		known.streams[stream].generation = reply->grants[i]->generation;
		learn_durable(stream, reply->grants[i]->durable);
		hold(reply->grants[i]->finished <= reply->grants[i]->durable);
		hold(reply->grants[i]->cut <= reply->grants[i]->durable);
	}
}

static void take(tb_span *input)
{
	Tb__TakeRequest request = TB__TAKE_REQUEST__INIT;
	Tb__Held held[STREAMS], *rows[STREAMS];
	unsigned group = (unsigned)fuzz_take(input, 1) % (TB_GROUP_COUNT + 1), how = (unsigned)fuzz_take(input, 1);
	unsigned member = (unsigned)fuzz_take(input, 1) % MEMBERS, known_group = group % TB_GROUP_COUNT;
	request.group = group;
	request.member = fuzz_id(member);
	request.turn = how & 1 ? fuzz_take(input, 1) : known.groups[known_group].turn[member];
	request.generation = how & 2 ? fuzz_take(input, 1) : known.groups[known_group].generation;
	request.wait_ms = how & 4 ? 100 * (uint32_t)fuzz_take(input, 1) : 0;
	request.bytes_max = how & 8 ? fuzz_take(input, 2) : 0;
	request.nothing = how & 16 ? 1 : 0;
	request.held = rows;
	for (unsigned i = 0; i < STREAMS && how & 32; i++) {
		tb__held__init(rows[i] = &held[i]);
		held[i].stream = tb_stream_hash(names[i]);
		held[i].generation = fuzz_take_near(input, known.streams[i].generation);
		held[i].next = fuzz_take(input, 1);
		request.n_held++;
	}
	const struct fuzz_asker *asker = fuzz_ask_message(TB_KIND_TAKE, &request.base, (tb_span){ 0 });
	tb_span frames;
	if (!commit())
		return;
	const Tb__TakeReply *reply = fuzz_answer(asker, &tb__take_reply__descriptor, &frames);
	if (reply == NULL)
		return;
	known.groups[known_group].turn[member] = reply->turn;
	known.groups[known_group].generation = reply->generation;
	hand_out(known_group, reply, frames);
	learn_grants(reply);
}

static void see_events(unsigned stream, tb_span frames, uint64_t from)
{
	uint64_t next = 0;
	tb_frame frame;
	while (frames.size > 0) {
		hold(tb_frame_read(&frames, &frame, NULL) == TB_OK && frame.kind == TB_KIND_EVENTS);
		hold(tb_events_check(&frame, NULL) == TB_OK);
		hold(next == 0 ? frame.first <= from && from < frame.first + frame.count : frame.first == next);
		tb_span body = frame.body, event;
		for (next = frame.first; tb_events_next(&body, &event) > 0; next++) {
			if (next >= NUMBERS || event.size == 0)
				continue;
			hold(frame.flags == flags_of(event.data[0]));
			uint8_t *seen = &known.streams[stream].seen[next];
			hold(*seen == 0 || *seen == event.data[0]);
			*seen = event.data[0];
		}
	}
}

static void fetch(tb_span *input)
{
	Tb__FetchRequest request = TB__FETCH_REQUEST__INIT;
	unsigned stream = take_stream(input), how = (unsigned)fuzz_take(input, 1);
	request.stream = text_of(names[stream]);
	request.from = how & 1 ? fuzz_take(input, 1) : fuzz_take_near(input, known.streams[stream].durable);
	request.to = how & 2 ? fuzz_take_near(input, request.from) : 0;
	request.bytes_max = how & 4 ? fuzz_take(input, 2) : 0;
	request.wait_ms = how & 8 ? 100 * (uint32_t)fuzz_take(input, 1) : 0;
	const struct fuzz_asker *asker = fuzz_ask_message(TB_KIND_FETCH, &request.base, (tb_span){ 0 });
	tb_span frames;
	const Tb__FetchReply *reply = fuzz_answer(asker, &tb__fetch_reply__descriptor, &frames);
	if (reply == NULL)
		return;
	learn_durable(stream, reply->durable);
	see_events(stream, frames, request.from);
}

static void stat_all(tb_span *input)
{
	(void)input;
	Tb__StatRequest request = TB__STAT_REQUEST__INIT;
	const struct fuzz_asker *asker = fuzz_ask_message(TB_KIND_STAT, &request.base, (tb_span){ 0 });
	const Tb__StatReply *reply = fuzz_answer(asker, &tb__stat_reply__descriptor, NULL);
	for (size_t i = 0; reply != NULL && i < reply->n_streams; i++) {
		unsigned stream = stream_of(tb_stream_hash(reply->streams[i]->name));
		if (stream < STREAMS)
			learn_durable(stream, reply->streams[i]->durable);
		hold(reply->streams[i]->stored <= reply->streams[i]->durable);
	}
}

/* ---- anything at all */

static void raw_request(tb_span *input)
{
	tb_auto(tb_buf_drop) tb_buf request = { 0 };
	tb_frame frame = { .kind = (uint16_t)(TB_KIND_HELLO + fuzz_take(input, 1) % 6), .count = 1 };
	frame.body = fuzz_take_bytes(input, fuzz_take(input, 1));
	tb_frame_write(&request, &frame);
	tb_buf_append_span(&request, fuzz_take_bytes(input, fuzz_take(input, 1)));
	fuzz_ask(tb_buf_span(&request));
}

static void raw_event(tb_span *input)
{
	tb_broker_event(fuzz_broker.broker, fuzz_take_bytes(input, fuzz_take(input, 1)));
}

static void raw_bytes(tb_span *input)
{
	fuzz_ask(fuzz_take_bytes(input, fuzz_take(input, 1)));
}

/* ---- time */

static void commit_now(tb_span *input)
{
	(void)input;
	commit();
}

static void pass_time(tb_span *input)
{
	fuzz_pass(fuzz_take(input, 1) * 100 * TB_NS_PER_MS);
	tb_broker_tick(fuzz_broker.broker);
	commit();
}

static void restart(tb_span *input)
{
	tb_err err;
	if (fuzz_take(input, 1) & 1)
		commit();
	fuzz_broker_close();
	hold(fuzz_broker_open(&err) == TB_OK);
}

/* Long enough for every wait and lease: nobody is left without an answer. */
static void answer_everybody(void)
{
	if (!commit())
		return;
	fuzz_pass(60 * TB_NS_PER_S);
	tb_broker_tick(fuzz_broker.broker);
	if (!commit())
		return;
	for (size_t i = 0; i < fuzz_broker.asked; i++)
		hold(fuzz_broker.askers[i].answers == 1 || fuzz_broker.askers[i].gone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const steps[])(tb_span *input) = { hello, events, heartbeat, put, take, fetch, stat_all, raw_request,
		                                         raw_event, raw_bytes, commit_now, pass_time, restart };
	tb_span input = tb_span_of(data, size);
	memset(&known, 0, sizeof(known));
	fuzz_broker_begin(16384);
	hold(fuzz_broker_open(NULL) == TB_OK);
	for (int step = 0; step < 300 && input.size > 0; step++)
		steps[fuzz_take(&input, 1) % (sizeof(steps) / sizeof(steps[0]))](&input);
	answer_everybody();
	fuzz_broker_end();
	return 0;
}
