/* What fuzz targets share. A target is one file with LLVMFuzzerTestOneInput: libFuzzer drives it when the tree is built
 * with TB_FUZZ, replay.c otherwise. It ends the process when something doesn't hold.
 *
 * Bytes with checks, signatures or boxes around them would never get past those by chance. Such a target takes a first
 * byte that says whether what guards the bytes is put right before they are read. */
#ifndef TB_FUZZ_H
#define TB_FUZZ_H

#include "base/buf.h"
#include "base/bytes.h"
#include "tb/errors.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define hold(what) \
	((what) ? (void)0 : (fprintf(stderr, "%s:%d: doesn't hold: %s\n", __FILE__, __LINE__, #what), abort()))

/* The next bytes of an input as a number, little-endian; behind its end there are zeros. */
static inline uint64_t fuzz_take(tb_span *input, size_t size)
{
	uint64_t value = 0;
	for (size_t i = 0; i < size && input->size > 0; i++) {
		value |= (uint64_t)input->data[0] << (8 * i);
		*input = tb_span_of(input->data + 1, input->size - 1);
	}
	return value;
}

/* That many bytes, or all that are left. */
static inline tb_span fuzz_take_bytes(tb_span *input, size_t size)
{
	size = size < input->size ? size : input->size;
	tb_span taken = tb_span_of(input->data, size);
	if (size > 0) /* data may be NULL */
		*input = tb_span_of(input->data + size, input->size - size);
	return taken;
}

/* A text of at most size - 1 bytes without NUL: what the input says up to its first one, or its end. */
static inline void fuzz_take_text(tb_span *input, char *text, size_t size)
{
	size_t length = 0;
	while (length + 1 < size && input->size > 0) {
		char next = (char)fuzz_take(input, 1);
		if (next == '\0')
			break;
		text[length++] = next;
	}
	text[length] = '\0';
}

/* A number close to another: what is just right or just wrong is more interesting than chance. */
static inline uint64_t fuzz_take_near(tb_span *input, uint64_t number)
{
	return number + (uint64_t)(int64_t)(int8_t)fuzz_take(input, 1);
}

static inline void fuzz_refused(tb_rc rc, const tb_err *err)
{
	hold(rc > TB_OK && rc < TB_RC_COUNT);
	hold(err->rc == rc);
	hold(err->text[0] != '\0');
}

#endif
