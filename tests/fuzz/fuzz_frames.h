/* Frames whose checks are put right, so that what is in them is looked at. */
#ifndef TB_FUZZ_FRAMES_H
#define TB_FUZZ_FRAMES_H

#include "fuzz/fuzz.h"
#include "wire/frame.h"

/* As many frames, one behind the other, as the bytes look like. */
static inline void fuzz_right_frames(uint8_t *bytes, size_t size)
{
	while (size >= TB_FRAME_HEAD) {
		uint32_t body = tb_get32(bytes + 8);
		if (body > size - TB_FRAME_HEAD)
			tb_put32(bytes + 8, body = (uint32_t)(size - TB_FRAME_HEAD));
		memcpy(bytes, "TBF1", 4);
		tb_put64(bytes + 48, tb_check64(bytes + TB_FRAME_HEAD, body));
		tb_put64(bytes + 56, tb_check64(bytes, 56));
		bytes += TB_FRAME_HEAD + body;
		size -= TB_FRAME_HEAD + body;
	}
}

/* A copy of exactly that size. */
static inline uint8_t *fuzz_copy(tb_span bytes)
{
	uint8_t *copy = tb_alloc(bytes.size ? bytes.size : 1);
	if (bytes.size > 0)
		memcpy(copy, bytes.data, bytes.size);
	return copy;
}

#endif
