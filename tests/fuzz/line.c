/* A line of JSON: what is read and keeps the rules packs to an event that is accepted and prints as the same line. */
#include "fuzz/fuzz_events.h"

static tb_arena *arena;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 };
	tb_event event, checked;
	tb_reject reject = { 0 };
	tb_err err;
	arena = arena ? arena : tb_arena_new();
	tb_rc rc = tb_event_from_json(tb_span_of(data, size), arena, &event, &err);
	if (rc == TB_OK)
		rc = tb_event_pack(&canonical, &event, UINT64_C(1700000000000000000), &reject, &err);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		hold(canonical.size == 0);
	} else {
		hold(tb_event_check(tb_buf_span(&canonical), arena, &checked, NULL, &err) == TB_OK);
		fuzz_event_holds(&checked, tb_buf_span(&canonical), arena);
	}
	tb_arena_reset(arena);
	return 0;
}
