/* Which events can't be restored any more.
 *
 * Event N is reached from a full backup at E ≤ N whose replay begins at R, or from nothing (E = 0, R = 1), when no
 * number in R..N is lost. So a lost segment a..b takes everything from a up to the next full backup that doesn't need
 * it; and a lost backup takes nothing as long as an older one, or the beginning, still leads there. */
#include "store/verify_parts.h"

static int overlaps(uint64_t a_from, uint64_t a_to, uint64_t b_from, uint64_t b_to)
{
	return a_from <= b_to && b_from <= a_to;
}

/* Is every number of from..to there? An empty range is. */
static int whole(const tb_check_stream *stream, uint64_t from, uint64_t to)
{
	for (size_t i = 0; i < stream->gap_count; i++)
		if (overlaps(stream->gaps[i].from, stream->gaps[i].to, from, to))
			return 0;
	for (size_t i = 0; i < stream->row_count; i++) {
		const tb_check_row *row = &stream->rows[i];
		if (row->bad && tb_archive_is(&row->entry, "SEG") && overlaps(row->from, row->to, from, to))
			return 0;
	}
	return 1;
}

static int is_base(const tb_check_row *row)
{
	return tb_archive_is(&row->entry, "FUL") && !row->bad;
}

static int reached(const tb_check_stream *stream, uint64_t number)
{
	if (whole(stream, 1, number))
		return 1;
	for (size_t i = 0; i < stream->row_count; i++) {
		const tb_check_row *row = &stream->rows[i];
		if (is_base(row) && row->to <= number && whole(stream, row->from, number))
			return 1;
	}
	return 0;
}

/* The last number that can't be reached, when `from` can't: rows are in order, so the first base is the nearest. */
static uint64_t lost_to(const tb_check_stream *stream, uint64_t from)
{
	for (size_t i = 0; i < stream->row_count; i++) {
		const tb_check_row *row = &stream->rows[i];
		if (is_base(row) && row->to > from && reached(stream, row->to))
			return row->to - 1;
	}
	return stream->last;
}

static void widen(const tb_check_stream *stream, uint64_t from, uint64_t *low, uint64_t *high)
{
	if (from == 0 || reached(stream, from))
		return;
	uint64_t to = lost_to(stream, from);
	if (*low == 0 || from < *low)
		*low = from;
	if (to > *high)
		*high = to;
}

static uint64_t first_hit(const tb_check_row *row)
{
	return tb_archive_is(&row->entry, "SEG") ? row->from : row->to;
}

void tb_check_reach(tb_check *check, const tb_damage *damage, uint64_t *ret_from, uint64_t *ret_to)
{
	*ret_from = *ret_to = 0;
	if (damage->stream == TB_NO_ROW || damage->harmless)
		return;
	const tb_check_stream *stream = &check->streams[damage->stream];
	if (damage->row != TB_NO_ROW)
		widen(stream, first_hit(&stream->rows[damage->row]), ret_from, ret_to);
	for (size_t i = 0; damage->period != NULL && i < stream->row_count; i++)
		if (memcmp(stream->rows[i].period, damage->period, TB_PERIOD_ID) == 0)
			widen(stream, first_hit(&stream->rows[i]), ret_from, ret_to);
	if (damage->from != 0)
		widen(stream, damage->from, ret_from, ret_to);
}
