#include "workers/tb/events.h"

#include "leaks.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What was shown: stdout goes to a file without a name meanwhile. */
static FILE *shown;
static int stdout_before;
static tb_event_view view;

static void set_up(void)
{
	fflush(stdout);
	stdout_before = dup(STDOUT_FILENO);
	shown = tmpfile();
	cr_assert_not_null(shown);
	cr_assert_geq(dup2(fileno(shown), STDOUT_FILENO), 0);
	view = (tb_event_view){ .stream = "kinds", .json = 1, .from_first = 1, .arena = tb_arena_new() };
}

static void tear_down(void)
{
	fflush(stdout);
	dup2(stdout_before, STDOUT_FILENO);
	close(stdout_before);
	fclose(shown);
	tb_event_view_drop(&view);
	fail_on_leaks();
}

TestSuite(command_events, .init = set_up, .fini = tear_down);

static void pack_ghost(tb_buf *to, const char *pair)
{
	tb_event event;
	tb_event_default(&event, TB_EVENT_GHOST);
	event.body.ghost.event_type = "ghost_trigger";
	event.body.ghost.trigger = "price_spike";
	event.body.ghost.pair = pair;
	event.body.ghost.bit_phase = 4;
	cr_assert_eq(tb_event_pack(to, &event, 1700000000000000000u, NULL, NULL), TB_OK);
}

static void pack_delta(tb_buf *to)
{
	tb_event event;
	tb_event_default(&event, TB_EVENT_DELTA);
	event.body.delta.key = (tb_bytes){ "k", 1 };
	event.body.delta.value = (tb_bytes){ "v", 1 };
	cr_assert_eq(tb_event_pack(to, &event, 1700000000000000000u, NULL, NULL), TB_OK);
}

static tb_rc show(uint64_t number, tb_span canonical, int rejected)
{
	tb_archived_event event = { .number = number, .stamp_ns = 17, .rejected = rejected, .canonical = canonical };
	return tb_event_show(&view, &event, NULL);
}

static tb_rc show_ghost(uint64_t number, const char *pair, int rejected)
{
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 };
	pack_ghost(&canonical, pair);
	return show(number, tb_buf_span(&canonical), rejected);
}

/* The next line that was shown; NULL: there is none. The caller's to free. */
static json_t *next_line(void)
{
	char line[4096];
	return fgets(line, sizeof(line), shown) != NULL ? json_loads(line, 0, NULL) : NULL;
}

static void read_again(void)
{
	fflush(stdout);
	rewind(shown);
}

static void assert_field(const json_t *line, const char *name, const char *text)
{
	const char *value = json_string_value(json_object_get(line, name));
	cr_assert(text == NULL ? value == NULL : value != NULL && strcmp(value, text) == 0, "%s is %s, not %s", name,
	          value ? value : "missing", text ? text : "missing");
}

Test(command_events, the_ascii_arrow_of_a_pair_means_the_stored_one)
{
	tb_auto(tb_buf_drop) tb_buf pair = { 0 };
	tb_pair_stored("BTC->ETH", &pair);
	cr_assert_str_eq(tb_buf_text(&pair), "BTC→ETH");
}

Test(command_events, memory_signatures_chain_within_their_bank_and_rejected_events_are_no_part_of_it)
{
	static const char *const pairs[] = { "A→B", "C→D", "A→B", "A→B" };
	uint8_t head[TB_HASH] = { 0 }, hash[TB_HASH];
	char hex[2 * TB_HASH + 1];
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 };
	pack_ghost(&canonical, "A→B");
	tb_event_hash(tb_buf_span(&canonical), hash);
	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(show_ghost(i + 1, pairs[i], i == 2), TB_OK);
	read_again();
	for (size_t i = 0; i < 4; i++) {
		json_t *line = next_line();
		if (i == 0 || i == 3) {
			tb_memory_signature(head, hash, head);
			tb_hex(hex, head, TB_HASH);
			assert_field(line, "memory_signature", hex);
			tb_hex(hex, hash, TB_HASH);
			assert_field(line, "backup_hash", hex);
		}
		assert_field(line, "rejected", i == 2 ? "rejected" : NULL);
		if (i == 2)
			assert_field(line, "memory_signature", NULL);
		json_decref(line);
	}
}

Test(command_events, a_filter_hides_events_and_their_banks_move_all_the_same)
{
	uint8_t head[TB_HASH] = { 0 }, hash[TB_HASH];
	char hex[2 * TB_HASH + 1];
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 }, delta = { 0 };
	pack_ghost(&canonical, "A→B");
	pack_delta(&delta);
	tb_event_hash(tb_buf_span(&canonical), hash);
	view.limit = 1;
	view.pair = "C→D"; /* the first is hidden by it */
	cr_assert_eq(show_ghost(1, "A→B", 0), TB_OK);
	view.pair = "A→B";
	view.kinds = 1u << TB_EVENT_GHOST;
	cr_assert_eq(show(2, tb_buf_span(&delta), 0), TB_OK);
	cr_assert_eq(show_ghost(3, "A→B", 0), TB_EFULL, "the limit counts what is shown");
	read_again();
	json_t *line = next_line();
	tb_memory_signature(head, hash, head);
	tb_memory_signature(head, hash, head);
	tb_hex(hex, head, TB_HASH);
	assert_field(line, "memory_signature", hex);
	assert_field(line, "event_id", "kinds/3");
	json_decref(line);
	cr_assert_null(next_line());
}

Test(command_events, bytes_that_are_no_event_are_shown_as_such)
{
	view.canonical = 1;
	cr_assert_eq(show(7, tb_span_text("nonsense"), 1), TB_OK);
	read_again();
	json_t *line = next_line();
	assert_field(line, "event_id", "kinds/7");
	assert_field(line, "rejected", "canonical");
	assert_field(line, "canonical_b64", "bm9uc2Vuc2U=");
	json_decref(line);
}

Test(command_events, people_get_a_line_each_with_nothing_that_moves_their_cursor)
{
	tb_event event;
	tb_auto(tb_buf_drop) tb_buf canonical = { 0 };
	char line[500];
	view.json = 0;
	tb_event_default(&event, TB_EVENT_DELTA);
	event.body.delta.key = (tb_bytes){ "k\033[2J", 5 };
	event.body.delta.value = (tb_bytes){ "a\nb", 3 };
	cr_assert_eq(tb_event_pack(&canonical, &event, 1700000000000000000u, NULL, NULL), TB_OK);
	cr_assert_eq(show(1, tb_buf_span(&canonical), 0), TB_OK);
	read_again();
	cr_assert_not_null(fgets(line, sizeof(line), shown));
	cr_assert_null(strchr(line, '\033'));
	cr_assert_not_null(strstr(line, "\"a\\nb\""));
	cr_assert_null(fgets(line, sizeof(line), shown));
}
