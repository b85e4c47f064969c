/* Segments: a manifest's numbers, then frames whose checks are put right. Each number is given once and in order. */
#include "fuzz/fuzz_frames.h"

#include "store/archive.h"

struct given {
	const Tb__Manifest *manifest;
	uint64_t next, effective_ns;
	size_t rejected;
};

static tb_rc give(void *context, const tb_archived_event *event, tb_err *err)
{
	struct given *given = context;
	(void)err;
	hold(event->number == given->next++);
	hold(event->effective_ns >= given->effective_ns);
	given->effective_ns = event->effective_ns;
	given->rejected += event->rejected != 0;
	return TB_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	tb_span input = tb_span_of(data, size);
	Tb__Manifest manifest = TB__MANIFEST__INIT;
	uint64_t rejected[16];
	manifest.stream = (char *)(uintptr_t)"book";
	manifest.backup = (char *)(uintptr_t)"SEG_20260102T030405Z_0123456789abcdef";
	manifest.from = 1 + fuzz_take(&input, 7); /* as manifests are read, it isn't 0 */
	manifest.to = fuzz_take_near(&input, manifest.from);
	manifest.time_from_ns = fuzz_take(&input, 8);
	manifest.rejected = rejected;
	for (size_t left = fuzz_take(&input, 1) % 17; left > 0; left--)
		rejected[manifest.n_rejected++] = fuzz_take_near(&input, manifest.from);
	uint8_t *bytes = fuzz_copy(input);
	fuzz_right_frames(bytes, input.size);
	for (size_t at = 0; at + TB_FRAME_HEAD <= input.size; at += TB_FRAME_HEAD + tb_get32(bytes + at + 8)) {
		tb_put64(bytes + at + 16, tb_stream_hash("book"));
		tb_put64(bytes + at + 56, tb_check64(bytes + at, 56));
	}
	tb_span plain = tb_span_of(bytes, input.size);
	struct given given = { &manifest, manifest.from, manifest.time_from_ns, 0 };
	tb_err err;
	tb_rc checked = tb_segment_check(plain, &manifest, &err);
	if (checked != TB_OK)
		fuzz_refused(checked, &err);
	hold(tb_segment_events(plain, &manifest, give, &given, &err) == checked);
	if (checked == TB_OK) {
		hold(given.next == manifest.to + 1);
		hold(given.rejected == manifest.n_rejected);
	}
	free(bytes);
	return 0;
}
