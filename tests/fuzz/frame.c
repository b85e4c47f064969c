/* Frames: what is read can be written again to the same bytes, and a batch of events is what its head says. */
#include "fuzz/fuzz_frames.h"

static void look_at_events(const tb_frame *frame)
{
	tb_auto(tb_buf_drop) tb_buf again = { 0 };
	tb_span body = frame->body, event;
	uint32_t count = 0;
	int more;
	while ((more = tb_events_next(&body, &event)) > 0) {
		hold(event.data >= frame->body.data && event.data + event.size <= frame->body.data + frame->body.size);
		tb_events_append(&again, event);
		count++;
	}
	tb_err err;
	tb_rc rc = tb_events_check(frame, &err);
	hold((rc == TB_OK) == (more == 0 && count == frame->count));
	if (rc != TB_OK)
		fuzz_refused(rc, &err);
	if (more == 0) /* sizes may be longer varints than they need be */
		hold(again.size <= frame->body.size);
}

static void write_again(const tb_frame *frame, tb_span whole)
{
	tb_auto(tb_buf_drop) tb_buf again = { 0 };
	tb_frame_write(&again, frame);
	hold(tb_span_equal(tb_buf_span(&again), whole));
	tb_frame_stamp(again.data, 17);
	tb_span rest = tb_buf_span(&again);
	tb_frame stamped;
	hold(tb_frame_read(&rest, &stamped, NULL) == TB_OK && stamped.time_ns == 17 && stamped.first == frame->first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tb_span input = tb_span_of(data, size);
	int right = (int)fuzz_take(&input, 1) & 1;
	uint8_t *bytes = fuzz_copy(input);
	if (right)
		fuzz_right_frames(bytes, input.size);
	tb_span rest = tb_span_of(bytes, input.size);
	for (;;) {
		tb_span before = rest;
		tb_frame frame;
		tb_err err;
		tb_rc rc = tb_frame_read(&rest, &frame, &err);
		if (rc != TB_OK) {
			hold(rest.data == before.data && rest.size == before.size);
			fuzz_refused(rc, &err);
			break;
		}
		hold(tb_frame_size(&frame) == before.size - rest.size);
		write_again(&frame, tb_span_of(before.data, tb_frame_size(&frame)));
		if (frame.kind == TB_KIND_EVENTS)
			look_at_events(&frame);
	}
	free(bytes);
	return 0;
}
