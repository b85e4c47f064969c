/* An event's canonical bytes: what is accepted packs to the same bytes again, and prints as the line that publishes it. */
#include "fuzz/fuzz_events.h"

static tb_arena *arena;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tb_span bytes = tb_span_of(data, size);
	tb_event event;
	tb_reject reject = { 0 };
	tb_err err;
	arena = arena ? arena : tb_arena_new();
	tb_rc unpacked = tb_event_unpack(bytes, arena, &event, &err);
	if (unpacked != TB_OK)
		fuzz_refused(unpacked, &err);
	tb_rc rc = tb_event_check(bytes, arena, &event, &reject, &err);
	hold(unpacked == TB_OK || rc == TB_ECORRUPT);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		hold(reject.code[0] != '\0');
	} else {
		fuzz_event_holds(&event, bytes, arena);
	}
	tb_arena_reset(arena);
	return 0;
}
