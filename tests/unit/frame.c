#include "base/bytes.h"
#include "events.pb-c.h"
#include "leaks.h"
#include "wire/frame.h"

#include <criterion/criterion.h>

TestSuite(frame, .fini = fail_on_leaks);
TestSuite(kinds, .fini = fail_on_leaks);

static const char body_text[] = "thirty-three bytes stand in here.";

static tb_frame sample(void)
{
	return (tb_frame){ TB_KIND_CUT, 2, 3, UINT64_C(0x0102030405060708), 5, 6, UINT64_C(1800000000000000001),
		           tb_span_of(body_text, 33) };
}

static void assert_equal(const tb_frame *a, const tb_frame *b)
{
	cr_assert_eq(a->kind, b->kind);
	cr_assert_eq(a->flags, b->flags);
	cr_assert_eq(a->count, b->count);
	cr_assert_eq(a->stream, b->stream);
	cr_assert_eq(a->epoch, b->epoch);
	cr_assert_eq(a->first, b->first);
	cr_assert_eq(a->time_ns, b->time_ns);
	cr_assert(tb_span_equal(a->body, b->body));
}

Test(frame, what_is_written_reads_back_and_advances)
{
	tb_frame first = sample(), second = sample(), got;
	second.body = tb_span_of(NULL, 0);
	second.kind = TB_KIND_ANSWER;
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_frame_write(&bytes, &first);
	tb_frame_write(&bytes, &second);
	tb_span rest = tb_buf_span(&bytes);
	cr_assert_eq(tb_frame_read(&rest, &got, NULL), TB_OK);
	assert_equal(&first, &got);
	cr_assert_eq(tb_frame_read(&rest, &got, NULL), TB_OK);
	assert_equal(&second, &got);
	cr_assert_eq(rest.size, 0);
}

Test(frame, the_head_stands_as_drawn)
{
	tb_frame frame = sample();
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_frame_write(&bytes, &frame);
	char hex[2 * 48 + 1];
	tb_hex(hex, bytes.data, 48);
	cr_assert_str_eq(hex, "54424631" "0200" "0200" "21000000" "03000000" "0807060504030201" "0500000000000000"
	                      "0600000000000000" "0100b49376e2fa18");
	cr_assert_eq(tb_get64(bytes.data + 48), tb_check64(body_text, 33));
	cr_assert_eq(tb_get64(bytes.data + 56), tb_check64(bytes.data, 56));
}

Test(frame, built_in_place_or_head_alone_it_is_the_same_bytes)
{
	tb_frame frame = sample();
	tb_auto(tb_buf_drop) tb_buf whole = { 0 }, placed = { 0 };
	tb_frame_write(&whole, &frame);
	tb_buf_append(&placed, "xyz", 3);
	size_t at = tb_frame_begin(&placed);
	cr_assert_eq(at, 3);
	tb_buf_append_span(&placed, frame.body);
	tb_frame_end(&placed, at, &frame);
	cr_assert(tb_span_equal(tb_buf_span(&whole), tb_span_of(placed.data + 3, placed.size - 3)));

	uint8_t head[TB_FRAME_HEAD];
	tb_frame_head(head, &frame);
	cr_assert_arr_eq(head, whole.data, TB_FRAME_HEAD);
	frame.body.data = NULL;
	tb_frame_head(placed.data + 3, &frame);
	cr_assert_arr_eq(placed.data + 3, whole.data, TB_FRAME_HEAD);
}

Test(frame, a_stamp_changes_the_time_and_nothing_else)
{
	tb_frame frame = sample(), got;
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_frame_write(&bytes, &frame);
	tb_frame_stamp(bytes.data, 77);
	tb_span rest = tb_buf_span(&bytes);
	cr_assert_eq(tb_frame_read(&rest, &got, NULL), TB_OK);
	frame.time_ns = 77;
	assert_equal(&frame, &got);
}

Test(frame, cut_at_any_length_it_is_refused_and_nothing_moves)
{
	tb_frame frame = sample(), got;
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_frame_write(&bytes, &frame);
	for (size_t size = 0; size < bytes.size; size++) {
		uint8_t *exact = tb_alloc(size);
		memcpy(exact, bytes.data, size);
		tb_span rest = tb_span_of(exact, size);
		tb_err err;
		cr_assert_eq(tb_frame_read(&rest, &got, &err), TB_ECORRUPT, "cut at %zu", size);
		cr_assert(rest.data == exact && rest.size == size);
		free(exact);
	}
}

Test(frame, any_flipped_bit_is_noticed)
{
	tb_frame frame = sample(), got;
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_frame_write(&bytes, &frame);
	for (size_t bit = 0; bit < bytes.size * 8; bit++) {
		bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		tb_span rest = tb_buf_span(&bytes);
		cr_assert_eq(tb_frame_read(&rest, &got, NULL), TB_ECORRUPT, "bit %zu", bit);
		bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

Test(frame, a_body_over_the_limit_is_refused_by_its_head)
{
	tb_frame frame = sample(), got;
	uint8_t head[TB_FRAME_HEAD];
	tb_frame_head(head, &frame);
	tb_put32(head + 8, TB_FRAME_BODY_MAX);
	tb_frame_stamp(head, 1);
	cr_assert_eq(tb_frame_read_head(tb_span_of(head, sizeof(head)), &got, NULL), TB_OK);
	cr_assert_eq(got.body.size, TB_FRAME_BODY_MAX);
	cr_assert_null(got.body.data);
	tb_put32(head + 8, TB_FRAME_BODY_MAX + 1);
	tb_frame_stamp(head, 1);
	cr_assert_eq(tb_frame_read_head(tb_span_of(head, sizeof(head)), &got, NULL), TB_ECORRUPT);
}

Test(frame, a_kind_that_does_not_exist_is_refused)
{
	tb_frame frame = sample(), got;
	frame.kind = 63;
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	tb_frame_write(&bytes, &frame);
	tb_span rest = tb_buf_span(&bytes);
	cr_assert_eq(tb_frame_read(&rest, &got, NULL), TB_ECORRUPT);
	cr_assert_eq(rest.size, bytes.size);
}

Test(frame, a_stream_s_hash_is_the_beginning_of_blake2b_of_its_name)
{
	cr_assert_eq(tb_stream_hash("book"), UINT64_C(0x7496f76abf9ea704)); /* little-endian 04 a7 9e bf 6a f7 96 74 */
	cr_assert_neq(tb_stream_hash("book"), tb_stream_hash("Book"));
	cr_assert_neq(tb_stream_hash(""), 0);
}

Test(frame, a_stream_s_name_is_also_a_file_name)
{
	char longest[130];
	memset(longest, 'a', sizeof(longest));
	longest[128] = '\0';
	const char *good[] = { "a", "book", "tb.signals", "A-b_c.9", "-", "a..b", longest };
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		cr_assert_eq(tb_stream_check(good[i], NULL), TB_OK, "%s", good[i]);
	longest[128] = 'a';
	longest[129] = '\0';
	const char *bad[] = { "", ".", "..", ".a", "a/b", "a b", "é", "a\n", longest };
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert_eq(tb_stream_check(bad[i], NULL), TB_EINVAL, "%s", bad[i]);
}

Test(frame, a_batch_holds_its_events_in_order_and_protobuf_reads_it)
{
	static const size_t sizes[] = { 0, 1, 127, 128, 16383, 16384, 70000 };
	enum { COUNT = sizeof(sizes) / sizeof(*sizes) };
	tb_auto(tb_buf_drop) tb_buf body = { 0 };
	uint8_t *bytes = tb_alloc_zero(70000, 1);
	for (size_t i = 0; i < COUNT; i++) {
		size_t before = body.size;
		tb_events_append(&body, tb_span_of(bytes, sizes[i]));
		cr_assert_eq(body.size - before, tb_events_entry_size(sizes[i]));
	}
	tb_frame frame = { .kind = TB_KIND_EVENTS, .count = COUNT, .body = tb_buf_span(&body) };
	cr_assert_eq(tb_events_check(&frame, NULL), TB_OK);
	frame.count++;
	cr_assert_eq(tb_events_check(&frame, NULL), TB_ECORRUPT);
	tb_span rest = tb_buf_span(&body), canonical;
	for (size_t i = 0; i < COUNT; i++) {
		cr_assert_eq(tb_events_next(&rest, &canonical), 1);
		cr_assert_eq(canonical.size, sizes[i]);
	}
	cr_assert_eq(tb_events_next(&rest, &canonical), 0);
	free(bytes);

	static const uint8_t two[] = { 0x0a, 2, 0x20, 1, 0x0a, 2, 0x20, 3 };
	Tb__EventBatch *batch = tb__event_batch__unpack(NULL, sizeof(two), two);
	cr_assert_not_null(batch);
	cr_assert_eq(batch->n_events, 2);
	cr_assert_eq(batch->events[1]->priority, 3);
	tb__event_batch__free_unpacked(batch, NULL);
}

Test(frame, a_batch_cut_or_flipped_anywhere_is_read_within_its_bounds)
{
	tb_auto(tb_buf_drop) tb_buf body = { 0 };
	for (int i = 0; i < 3; i++)
		tb_events_append(&body, tb_span_of(body_text, 33));
	tb_span canonical;
	for (size_t size = 0; size < body.size; size++) {
		tb_frame frame = { .kind = TB_KIND_EVENTS, .count = 3, .body = tb_span_of(body.data, size) };
		cr_assert_eq(tb_events_check(&frame, NULL), TB_ECORRUPT, "cut at %zu", size);
	}
	for (size_t bit = 0; bit < body.size * 8; bit++) {
		body.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		tb_span rest = tb_buf_span(&body);
		while (tb_events_next(&rest, &canonical) > 0)
			cr_assert(canonical.data >= body.data && canonical.data + canonical.size <= body.data + body.size);
		body.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

Test(kinds, rows_are_found_by_number_and_read_small)
{
	const tb_kind_row *row = tb_kind_find(TB_KIND_STORED);
	cr_assert_str_eq(row->name, "stored");
	cr_assert_eq(row->keep, TB_KEEP_DURABLE);
	cr_assert_eq(row->groups, TB_GROUP_BIT(COLLECTOR) | TB_GROUP_BIT(SIGNAL));
	cr_assert_str_eq(tb_kind_find(TB_KIND_TOLD)->name, "told");
	cr_assert_null(tb_kind_find(0));
	cr_assert_null(tb_kind_find(63));
	cr_assert_null(tb_kind_find(70000));
}

Test(kinds, groups_say_what_a_member_leases)
{
	cr_assert_str_eq(tb_group_find(TB_GROUP_COLLECTOR)->name, "collector");
	cr_assert_eq(tb_group_find(TB_GROUP_COLLECTOR)->lease, TB_LEASE_STREAM);
	cr_assert_eq(tb_group_find(TB_GROUP_STORER)->lease, TB_LEASE_GROUP);
	cr_assert_null(tb_group_find(TB_GROUP_NONE));
	cr_assert_null(tb_group_find(TB_GROUP_COUNT));
}
