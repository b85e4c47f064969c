/* An outbox file, as its parts: a byte of bits (1 the checks of head, marks and hint are put right, 2 those of the
 * records, 4 another boot), then 248 bytes of head, 48 of each marks, 16 of the hint, and the beginning of the ring; the
 * rest of the file is zeros. What was opened takes an event more, and opens again with it and all the others. */
#include "fuzz/fuzz_file.h"

#include "bus/outbox.h"
#include "wire/frame.h"

#define RING 65536u
#define FILE_SIZE (8192u + RING)

static const uint8_t boot[16] = "this boot.......", other_boot[16] = "another boot....";

static void lay(uint8_t *at, tb_span *input, size_t size)
{
	tb_span part = fuzz_take_bytes(input, size);
	if (part.size > 0)
		memcpy(at, part.data, part.size);
}

/* word: u32 size, u32 flags */
static uint64_t record_check(uint64_t place, uint64_t word, tb_span payload)
{
	uint8_t bytes[24];
	tb_put64(bytes, place);
	tb_put64(bytes + 8, word);
	tb_put64(bytes + 16, tb_check64(payload.data, payload.size));
	return tb_check64(bytes, sizeof(bytes));
}

static void right_records(uint8_t *ring)
{
	for (size_t at = 0; at + 24 <= RING;) {
		uint32_t size = tb_get32(ring + at);
		if (size == 0 || size > RING - at - 24)
			return;
		tb_put64(ring + at + 16,
		         record_check(tb_get64(ring + at + 8), tb_get64(ring + at), tb_span_of(ring + at + 24, size)));
		at += 24 + ((size + 7) & ~(size_t)7);
	}
}

static void right_heads(uint8_t *file)
{
	memcpy(file, "TBOUT\0\0\1", 8);
	tb_put64(file + 24, RING);
	tb_put64(file + 504, tb_check64(file, 504));
	for (int i = 0; i < 2; i++)
		tb_put64(file + 4096 + i * 512 + 40, tb_check64(file + 4096 + i * 512, 40));
	tb_put64(file + 5128, tb_check64(file + 5120, 8));
}

static void read_all(tb_outbox *outbox)
{
	uint64_t cursor = 0, first = tb_outbox_first(outbox), last = tb_outbox_last(outbox);
	tb_span event;
	uint32_t flags;
	tb_err err;
	for (uint64_t number = first; number <= last && number - first < 4096; number++)
		hold(tb_outbox_read(outbox, number, &cursor, &event, &flags, &err) == TB_OK && event.size > 0 &&
		     flags <= (TB_EVENTS_INSIDE | TB_EVENTS_APART));
	cursor = 0;
	hold(tb_outbox_read(outbox, last + 1, &cursor, &event, &flags, &err) == TB_ENOTFOUND);
	hold(tb_outbox_used(outbox) <= tb_outbox_size(outbox));
}

static uint32_t flags_of(tb_outbox *outbox, uint64_t number)
{
	uint64_t cursor = 0;
	uint32_t flags;
	tb_span event;
	tb_err err;
	hold(tb_outbox_read(outbox, number, &cursor, &event, &flags, &err) == TB_OK);
	return flags;
}

/* The first of an opening, whatever stands before it. */
static int add(tb_outbox *outbox)
{
	uint8_t *payload;
	tb_err err;
	uint64_t last = tb_outbox_last(outbox);
	tb_rc rc = tb_outbox_reserve(outbox, 40, &payload, &err);
	if (rc != TB_OK) {
		hold(rc == TB_EFULL);
		return 0;
	}
	memset(payload, 0xee, 40);
	hold(tb_outbox_commit(outbox, 40, TB_RESET_NONE) == last + 1);
	hold(flags_of(outbox, last + 1) == TB_EVENTS_APART);
	return 1;
}

static void open_again(const fuzz_file *file, tb_outbox **ret_outbox, tb_outbox_opened *ret_opened)
{
	tb_err err;
	tb_rc rc = tb_outbox_open(file->path, "book", RING, boot, ret_outbox, ret_opened, &err);
	if (rc != TB_OK)
		fprintf(stderr, "%s\n", err.text);
	hold(rc == TB_OK);
}

static void use(const fuzz_file *file, tb_outbox *outbox)
{
	tb_outbox_opened opened;
	uint64_t first = tb_outbox_first(outbox), last = tb_outbox_last(outbox);
	hold(first >= 1 && first <= last + 1);
	read_all(outbox);
	last += (uint64_t)add(outbox);
	tb_outbox_close(outbox);
	open_again(file, &outbox, &opened);
	hold(!opened.other_boot && !opened.made && opened.first == first && opened.last == last);
	read_all(outbox);
	tb_outbox_mark(outbox, last, last);
	hold(tb_outbox_first(outbox) == last + 1);
	hold(add(outbox));
	tb_outbox_terms terms = { 7, last + 8, last + 1 - tb_outbox_shift(outbox), boot, NULL };
	hold(tb_outbox_settle(outbox, &terms, NULL) == TB_OK && tb_outbox_epoch(outbox) == 7);
	tb_outbox_close(outbox);
	open_again(file, &outbox, &opened);
	hold(opened.first == last + 8 && opened.last == last + 8 && !opened.unsettled);
	tb_outbox_close(outbox);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[FILE_SIZE];
	tb_span input = tb_span_of(data, size);
	unsigned bits = (unsigned)fuzz_take(&input, 1);
	memset(bytes, 0, sizeof(bytes));
	lay(bytes, &input, 248);
	lay(bytes + 4096, &input, 48);
	lay(bytes + 4608, &input, 48);
	lay(bytes + 5120, &input, 16);
	lay(bytes + 8192, &input, RING);
	if (bits & 2)
		right_records(bytes + 8192);
	if (bits & 1)
		right_heads(bytes);
	fuzz_file file = fuzz_file_make(tb_span_of(bytes, sizeof(bytes)));
	tb_outbox *outbox;
	tb_outbox_opened opened;
	tb_err err;
	tb_rc rc = tb_outbox_open(file.path, "book", RING, bits & 4 ? other_boot : boot, &outbox, &opened, &err);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
	} else {
		tb_outbox_close(outbox);
		open_again(&file, &outbox, &opened);
		if (opened.last < UINT64_MAX / 4) /* no numbers are left near the highest */
			use(&file, outbox);
		else
			tb_outbox_close(outbox);
	}
	fuzz_file_close(&file);
	return 0;
}
