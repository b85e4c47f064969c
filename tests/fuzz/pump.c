/* The publisher's pump under whatever it may hear and be answered. The input is a list of steps, a byte each and what the
 * step takes from behind it.
 *
 * Whatever it sends is a sound frame of its stream; events go out dense, each as it was accepted, inside a reset or not, the
 * first of an opening before the others of its frame, and none beyond the last; what it believes durable was accepted
 * once. */
#include "fuzz/fuzz_file.h"

#include "bus/bus.h"
#include "bus/publisher_pump.h"
#include "frames.pb-c.h"

#define RING 65536u

static struct room {
	uint64_t now_ns;
	tb_outbox *outbox;
	tb_pump *pump;
	uint8_t inside, apart; /* of the next event, but for what it does itself */
} room;

static uint64_t now(void *self)
{
	return ((struct room *)self)->now_ns;
}

static tb_rc accept_event(tb_span *input)
{
	uint8_t *payload;
	uint8_t how = (uint8_t)fuzz_take(input, 1);
	size_t size = 16 + (how & 0x3f) * 64u;
	tb_reset_step step = how >> 6 == 1 ? TB_RESET_BEGIN : how >> 6 == 2 ? TB_RESET_COMMIT : TB_RESET_NONE;
	tb_rc rc = tb_outbox_reserve(room.outbox, size, &payload, NULL);
	if (rc != TB_OK)
		return rc;
	memset(payload, 0, size);
	tb_put64(payload, tb_outbox_last(room.outbox) + 1 - tb_outbox_shift(room.outbox)); /* its place */
	payload[8] = step != TB_RESET_BEGIN && room.inside;
	payload[9] = room.apart;
	tb_outbox_commit(room.outbox, size, step);
	room.inside = step == TB_RESET_BEGIN || (step == TB_RESET_NONE && room.inside);
	room.apart = 0;
	return TB_OK;
}

static void accept_one(tb_span *input)
{
	accept_event(input);
}

static uint64_t take_number(tb_span *input)
{
	tb_pump_figures figures;
	tb_pump_figures_get(room.pump, &figures);
	return fuzz_take_near(input, fuzz_take(input, 1) & 1 ? figures.durable : tb_outbox_last(room.outbox));
}

static void hear(tb_span *input)
{
	tb_auto(tb_buf_drop) tb_buf told = { 0 };
	Tb__Durable message = TB__DURABLE__INIT;
	tb_pump_figures figures;
	tb_pump_figures_get(room.pump, &figures);
	unsigned how = (unsigned)fuzz_take(input, 1);
	message.run_id.data = (uint8_t *)(uintptr_t) (how & 1 ? "another life" : "this life...");
	message.run_id.len = 12;
	message.epoch = how & 2 ? fuzz_take_near(input, figures.epoch) : figures.epoch;
	message.durable = take_number(input);
	message.stored = how & 4 ? take_number(input) : 0;
	message.again = how & 8 ? 1 : 0;
	message.hello = how & 16 ? 1 : 0;
	tb_control_write(&told, TB_KIND_TOLD, &message.base);
	tb_pump_heard(room.pump, tb_buf_span(&told));
}

static void hear_bytes(tb_span *input)
{
	tb_auto(tb_buf_drop) tb_buf told = { 0 };
	tb_span body = fuzz_take_bytes(input, fuzz_take(input, 1));
	tb_frame_write(&told, &(tb_frame){ .kind = TB_KIND_TOLD, .count = 1, .body = body });
	tb_pump_heard(room.pump, fuzz_take(input, 1) & 1 ? body : tb_buf_span(&told));
}

static void say_hello(tb_span *input)
{
	Tb__HelloRequest request;
	if (!tb_pump_hello(room.pump, &request))
		return;
	hold(request.last == tb_outbox_last(room.outbox));
	hold(request.first == 0 || request.first <= request.last);
	unsigned how = (unsigned)fuzz_take(input, 1);
	if (how & 1) {
		tb_rc rc = (tb_rc)(1 + fuzz_take(input, 1) % (TB_RC_COUNT - 1));
		tb_err err = { .text = "nobody answers" };
		tb_pump_unanswered(room.pump, rc, NULL, &err);
		return;
	}
	Tb__HelloReply reply = TB__HELLO_REPLY__INIT;
	reply.run_id.data = (uint8_t *)(uintptr_t)"this life...";
	reply.run_id.len = how & 2 ? fuzz_take(input, 1) % 13 : 12;
	reply.journal_id = request.renewal;
	reply.place = how & 8 ? fuzz_take_near(input, request.ground + 1) : request.ground + 1;
	reply.renewed = how & 16 && !(how & 8);
	reply.epoch = how & 4 ? fuzz_take(input, 1) : request.epoch + 1;
	reply.durable = how & 8 ? fuzz_take(input, 8) : take_number(input);
	reply.stored = how & 16 ? take_number(input) : 0;
	reply.first = how & 8 ? fuzz_take_near(input, reply.durable + 1) : reply.durable + 1;
	reply.window_frames = how & 32 ? (uint32_t)fuzz_take(input, 2) : 8;
	reply.window_bytes = how & 64 ? fuzz_take(input, 2) : 65536;
	tb_pump_answered(room.pump, &reply);
}

static void look_at(tb_span bytes)
{
	tb_frame frame;
	hold(tb_frame_read(&bytes, &frame, NULL) == TB_OK && bytes.size == 0);
	hold(frame.stream == tb_stream_hash("book"));
	if (frame.kind != TB_KIND_EVENTS) {
		hold(frame.kind == TB_KIND_HEARTBEAT);
		return;
	}
	hold(frame.count > 0 && tb_events_check(&frame, NULL) == TB_OK);
	hold(frame.first >= tb_outbox_first(room.outbox) && frame.first + frame.count - 1 <= tb_outbox_last(room.outbox));
	hold(frame.flags <= (TB_EVENTS_INSIDE | TB_EVENTS_APART));
	tb_span event;
	for (uint64_t number = frame.first; tb_events_next(&frame.body, &event) > 0; number++) {
		hold(event.size >= 16 && tb_get64(event.data) == number - tb_outbox_shift(room.outbox));
		hold(event.data[8] == (frame.flags & TB_EVENTS_INSIDE));
		hold(!event.data[9] || (number == frame.first && frame.flags & TB_EVENTS_APART));
	}
}

static void send(tb_span *input)
{
	tb_span frame;
	for (unsigned left = 1 + fuzz_take(input, 1) % 8; left > 0 && tb_pump_next(room.pump, &frame); left--) {
		look_at(frame);
		if (left % 4 != 3)
			tb_pump_sent(room.pump);
	}
}

static void pass_time(tb_span *input)
{
	room.now_ns += fuzz_take(input, 1) * 20 * TB_NS_PER_MS;
	tb_pump_deadline(room.pump);
	tb_pump_awaits_events(room.pump);
}

static void judge(void)
{
	tb_pump_figures figures;
	tb_err err = { 0 };
	tb_pump_figures_get(room.pump, &figures);
	hold(figures.stored <= figures.durable);
	hold(!figures.granted || figures.durable <= tb_outbox_last(room.outbox));
	tb_rc rc = tb_pump_failure(room.pump, &err);
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const steps[])(tb_span *input) = { accept_one, hear, hear_bytes, say_hello, send, pass_time };
	tb_span input = tb_span_of(data, size);
	char path[] = "/dev/shm/tb-fuzz-XXXXXX";
	tb_outbox_opened opened;
	tb_clock clock = { &room, now, now };
	hold(mkdtemp(path) != NULL);
	tb_auto(tb_buf_drop) tb_buf name = { 0 };
	tb_buf_print(&name, "%s/outbox", path);
	static const uint8_t boot[16] = "this boot.......";
	unsigned how = (unsigned)fuzz_take(&input, 1);
	room.now_ns = 5 * TB_NS_PER_S;
	room.inside = 0;
	room.apart = 1;
	hold(tb_outbox_open(tb_buf_text(&name), "book", RING, boot, &room.outbox, &opened, NULL) == TB_OK);
	for (unsigned left = how % 8; left > 0; left--)
		accept_event(&input);
	if (how & 8) { /* opened once more, after another boot */
		tb_outbox_close(room.outbox);
		room.inside = 0;
		room.apart = 1;
		hold(tb_outbox_open(tb_buf_text(&name), "book", RING, how & 16 ? boot : (const uint8_t *)"another boot....",
		                    &room.outbox, &opened, NULL) == TB_OK);
	}
	room.pump = tb_pump_new("book", room.outbox, &opened, &clock);
	for (int step = 0; step < 300 && input.size > 0; step++) {
		steps[fuzz_take(&input, 1) % (sizeof(steps) / sizeof(steps[0]))](&input);
		judge();
	}
	tb_pump_free(room.pump);
	tb_outbox_close(room.outbox);
	unlink(tb_buf_text(&name));
	rmdir(path);
	return 0;
}
