/* The files of a journal as an input: a first byte of bits, then each file as its size in two bytes and its beginning;
 * the rest of it is zeros. Bits: 1 the checks of all heads, records and frames are put right, 2 each record is said to
 * follow the one before it, 4 as is each file. */
#ifndef TB_FUZZ_JOURNAL_H
#define TB_FUZZ_JOURNAL_H

#include "broker/journal.h"
#include "fuzz/fuzz_disk.h"
#include "fuzz/fuzz_frames.h"

#define FUZZ_JOURNAL_FILES 4
#define FUZZ_JOURNAL_FILE 4096u

enum { FUZZ_CHECKS = 1, FUZZ_CHAIN = 2, FUZZ_FOLLOW = 4 };

struct fuzz_chain {
	uint64_t check;  /* of the record before */
	uint64_t offset; /* where the next file begins */
};

static inline void fuzz_right_record(uint8_t *at, uint64_t size, uint64_t offset, unsigned bits, struct fuzz_chain *chain)
{
	fuzz_right_frames(at + 64, size);
	tb_put64(at + 8, offset);
	if (tb_get64(at + 32) > offset)
		tb_put64(at + 32, offset);
	if (bits & FUZZ_CHAIN)
		tb_put64(at + 24, chain->check);
	tb_put64(at + 48, tb_check64(at + 64, size));
	tb_put64(at + 56, tb_check64(at, 56));
	chain->check = tb_get64(at + 56);
}

/* As many records, one behind the other, as the bytes look like. */
static inline void fuzz_right_file(tb_buf *file, unsigned bits, struct fuzz_chain *chain)
{
	uint8_t *bytes = file->data;
	memcpy(bytes, "TBJRNL\0", 7);
	if (bits & FUZZ_FOLLOW)
		tb_put64(bytes + 24, chain->offset);
	uint64_t begin = tb_get64(bytes + 24);
	chain->offset = begin + file->size;
	tb_put64(bytes + 32, FUZZ_JOURNAL_FILE);
	tb_put64(bytes + 56, tb_check64(bytes, 56));
	for (size_t at = 64; file->size - at >= 64 && memcmp(bytes + at, "TBB1", 4) == 0;) {
		uint64_t size = tb_get64(bytes + at + 16), padded = (size + 7) & ~UINT64_C(7);
		if (size > file->size - at - 64 || padded > file->size - at - 64)
			return;
		memset(bytes + at + 64 + size, 0, padded - size);
		fuzz_right_record(bytes + at, size, begin + at, bits, chain);
		at += 64 + padded;
	}
}

static inline void fuzz_journal_put(struct fuzz_disk *disk, const tb_buf *file)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/%016llx.tbj", fuzz_dir(), (unsigned long long)tb_get64(file->data + 24));
	struct fuzz_node *node = fuzz_node_make(&disk->disk, path);
	tb_buf_clear(&node->bytes);
	tb_buf_append_span(&node->bytes, tb_buf_span(file));
}

static inline void fuzz_journal_lay(struct fuzz_disk *disk, tb_span input)
{
	tb_auto(tb_buf_drop) tb_buf file = { 0 };
	unsigned bits = (unsigned)fuzz_take(&input, 1);
	struct fuzz_chain chain = { 0, 0 };
	for (int i = 0; i < FUZZ_JOURNAL_FILES && input.size > 0; i++) {
		tb_span beginning = fuzz_take_bytes(&input, fuzz_take(&input, 2));
		tb_buf_clear(&file);
		tb_buf_append_span(&file, beginning);
		while (file.size < FUZZ_JOURNAL_FILE)
			tb_buf_byte(&file, 0);
		if (bits & FUZZ_CHECKS)
			fuzz_right_file(&file, bits, &chain);
		fuzz_journal_put(disk, &file);
	}
}

#endif
