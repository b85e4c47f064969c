/* tb events --hash: events by their backup_hash. The collector's bank has an index from hashes to numbers; what it
 * points at is fetched and hashed before it is shown. What the index doesn't cover, or all of it where there is none,
 * is read from end to end. */
#include "store/event_index.h"
#include "workers/tb/events.h"

#include <stdio.h>
#include <stdlib.h>

#define TELL_EACH 1024u /* events */

struct name_list {
	char **names;
	size_t count;
};

struct numbers {
	uint64_t *list;
	size_t count, room;
};

struct finding {
	const tb_call *call;
	const struct events_options *options;
	uint8_t hash[TB_HASH];
	uint64_t from, to; /* wanted */
	tb_archive *archive;
	tb_bus *bus;   /* NULL: no broker answers */
	tb_bank *bank; /* NULL: no index */
	tb_arena *arena;
	tb_live_stream *live;
	size_t live_count;
	tb_event_view *view;
	tb_progress progress;
	uint64_t read;
};

/* ---- reading */

static tb_rc give(void *context, const tb_archived_event *event, tb_err *err)
{
	struct finding *finding = context;
	uint8_t hash[TB_HASH];
	if (++finding->read % TELL_EACH == 0)
		tb_progress_tell(&finding->progress, finding->read, 0);
	tb_event_hash(event->canonical, hash);
	if (memcmp(hash, finding->hash, TB_HASH) != 0)
		return TB_OK;
	tb_progress_end(&finding->progress);
	return tb_event_show(finding->view, event, err);
}

static uint64_t durable_of(const struct finding *finding, const char *stream)
{
	for (size_t i = 0; i < finding->live_count; i++)
		if (strcmp(finding->live[i].name, stream) == 0)
			return finding->live[i].durable;
	return 0;
}

static tb_rc read_archive(struct finding *finding, const char *stream, uint64_t *next, uint64_t to, tb_err *err)
{
	uint64_t last;
	tb_rc rc = tb_archive_events(finding->archive, stream, *next, to, give, finding, &last, err);
	if (rc == TB_OK)
		*next = last + 1;
	return rc == TB_ENOTFOUND ? TB_OK : rc; /* nothing of it is archived yet */
}

/* What the journal let go of while the archive was read is archived by now. */
static tb_rc read_events(struct finding *finding, const char *stream, uint64_t from, uint64_t to, tb_err *err)
{
	uint64_t next = from, durable = durable_of(finding, stream), before = 0;
	tb_rc rc = from <= to ? read_archive(finding, stream, &next, to, err) : TB_OK;
	if (to > durable)
		to = durable;
	while (rc == TB_OK && next <= to && next != before) {
		before = next;
		rc = tb_live_events(finding->bus, finding->arena, stream, &next, to, give, finding, err);
		if (rc == TB_ENOTFOUND)
			rc = read_archive(finding, stream, &next, to, err);
	}
	return rc;
}

/* ---- the index */

static tb_rc note_number(void *context, uint64_t number, tb_err *err)
{
	struct numbers *numbers = context;
	(void)err;
	if (numbers->count == numbers->room) {
		numbers->room = numbers->room ? numbers->room * 2 : 16;
		numbers->list = tb_realloc(numbers->list, numbers->room * sizeof(*numbers->list));
	}
	numbers->list[numbers->count++] = number;
	return TB_OK;
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return left < right ? -1 : left > right;
}

/* One short look into the bank: who writes to it isn't held up. */
static tb_rc ask_index(const struct finding *finding, const char *stream, struct numbers *numbers, uint64_t *ret_from,
                       uint64_t *ret_to, tb_err *err)
{
	tb_txn *txn;
	tb_event_index *index = NULL;
	tb_rc rc = tb_bank_read(finding->bank, &txn, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_event_index_open(txn, tb_stream_hash(stream), &index, err);
	if (rc == TB_OK)
		rc = tb_event_index_find(index, txn, finding->hash, note_number, numbers, err);
	if (rc == TB_OK)
		tb_event_index_covers(index, ret_from, ret_to);
	tb_event_index_free(index);
	tb_txn_abort(txn);
	if (numbers->count > 0)
		qsort(numbers->list, numbers->count, sizeof(*numbers->list), compare_numbers);
	return rc == TB_ENOTFOUND ? TB_OK : rc; /* a bank without an index covers nothing */
}

static tb_rc read_found(struct finding *finding, const char *stream, const struct numbers *numbers, tb_err *err)
{
	tb_rc rc = TB_OK;
	for (size_t i = 0; rc == TB_OK && i < numbers->count; i++) {
		uint64_t number = numbers->list[i], before = finding->read;
		if (number < finding->from || number > finding->to)
			continue;
		rc = read_events(finding, stream, number, number, err);
		if (rc == TB_OK && finding->read == before)
			fprintf(stderr, "tb events: the index names event %llu of stream %s, which isn't archived, and no broker "
			        "gives it\n", tb_ull(number), stream);
	}
	return rc;
}

/* What stands before the index, or all of it: that may take long. */
static tb_rc read_before(struct finding *finding, const char *stream, uint64_t to, tb_err *err)
{
	if (to < finding->from)
		return TB_OK;
	if (finding->bank != NULL)
		fprintf(stderr, "tb events: the index knows stream %s only in part: reading the rest of it\n", stream);
	return read_events(finding, stream, finding->from, to, err);
}

static tb_rc find_in_stream(struct finding *finding, const char *stream, tb_err *err)
{
	struct numbers numbers = { 0 };
	uint64_t from = 0, to = 0;
	tb_rc rc = finding->bank != NULL ? ask_index(finding, stream, &numbers, &from, &to, err) : TB_OK;
	finding->view->stream = stream;
	if (rc == TB_OK && from != 1)
		rc = read_before(finding, stream, from == 0 || from > finding->to ? finding->to : from - 1, err);
	if (rc == TB_OK)
		rc = read_found(finding, stream, &numbers, err);
	if (rc == TB_OK && from != 0 && to < finding->to) /* what came since */
		rc = read_events(finding, stream, to >= finding->from ? to + 1 : finding->from, finding->to, err);
	free(numbers.list);
	return rc;
}

/* ---- where */

static void add_name(struct name_list *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->names[i], name) == 0)
			return;
	list->names = tb_realloc(list->names, (list->count + 1) * sizeof(*list->names));
	list->names[list->count++] = tb_strdup(name);
}

static tb_rc list_streams(const struct finding *finding, struct name_list *list, tb_err *err)
{
	if (finding->options->stream != NULL) {
		add_name(list, finding->options->stream);
		return TB_OK;
	}
	tb_rc rc = tb_archive_streams(finding->archive, &list->names, &list->count, err);
	for (size_t i = 0; rc == TB_OK && i < finding->live_count; i++)
		add_name(list, finding->live[i].name);
	return rc;
}

/* The instance's, unless another repository is meant. */
static void open_index(struct finding *finding)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_err why;
	tb_rc rc = TB_ENOTFOUND;
	if (finding->call->dir != NULL && finding->options->repo == NULL)
		rc = tb_bank_open(tb_below(&path, finding->call->dir, "banks/collector"), TB_BANK_READONLY, 0, &finding->bank,
		                  &why);
	if (rc == TB_OK)
		return;
	finding->bank = NULL;
	fprintf(stderr, "tb events: %s%s: reading every event\n", rc == TB_ENOTFOUND ? "there is no index here" : "no index: ",
	        rc == TB_ENOTFOUND ? "" : why.text);
}

static tb_rc open_places(struct finding *finding, tb_err *err)
{
	tb_rc rc = tb_events_archive(finding->call, &finding->archive, err);
	if (rc != TB_OK)
		return rc;
	finding->bus = tb_events_bus(finding->call);
	if (finding->bus != NULL &&
	    tb_live_streams(finding->bus, finding->arena, &finding->live, &finding->live_count, NULL) != TB_OK) {
		tb_bus_close(finding->bus);
		finding->bus = NULL;
	}
	open_index(finding);
	return TB_OK;
}

static tb_rc not_found(const struct finding *finding, tb_err *err)
{
	const char *stream = finding->options->stream;
	tb_fail(err, TB_ENOTFOUND, "no event%s%s has the hash %s", stream != NULL ? " of stream " : "",
	        stream != NULL ? stream : "", finding->options->hash);
	if (finding->bus == NULL)
		tb_hint(err, "no broker answers here: what isn't archived yet wasn't looked at");
	return TB_ENOTFOUND;
}

static tb_rc find_all(struct finding *finding, tb_err *err)
{
	struct name_list list = { 0 };
	tb_rc rc = open_places(finding, err);
	if (rc == TB_OK)
		rc = list_streams(finding, &list, err);
	tb_progress_start(&finding->progress, finding->call->clock, "reading events", "events");
	for (size_t i = 0; rc == TB_OK && i < list.count; i++)
		rc = find_in_stream(finding, list.names[i], err);
	tb_progress_end(&finding->progress);
	tb_names_free(list.names, list.count);
	if (rc == TB_EFULL)
		return TB_OK; /* as many as were wanted */
	return rc == TB_OK && finding->view->shown == 0 ? not_found(finding, err) : rc;
}

tb_rc tb_events_by_hash(const tb_call *call, tb_event_view *view, tb_err *err)
{
	const struct events_options *options = call->options;
	struct finding finding = {
		.call = call, .options = options, .from = options->from ? options->from : 1,
		.to = options->to ? options->to : UINT64_MAX, .view = view,
	};
	if (!tb_unhex(finding.hash, sizeof(finding.hash), options->hash)) {
		tb_fail(err, TB_EINVAL, "'%.80s' is no hash", options->hash);
		tb_hint(err, "a backup_hash is 64 hexadecimal digits, as `tb events --json` prints it");
		return TB_EINVAL;
	}
	view->from_first = 0; /* single events don't tell where their memory bank stands */
	finding.arena = tb_arena_new();
	tb_rc rc = find_all(&finding, err);
	free(finding.live);
	tb_bank_close(finding.bank);
	tb_bus_close(finding.bus);
	tb_archive_close(finding.archive);
	tb_arena_free(finding.arena);
	return rc;
}
