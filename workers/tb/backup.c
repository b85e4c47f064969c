/* tb backup: orders put to the broker; the collector that holds the stream runs them. */
#include "frames.pb-c.h"
#include "workers/tb/tb.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REQUEST_TIMEOUT (5 * TB_NS_PER_S)
#define ASK_MAX (2 * TB_NS_PER_S)
#define GONE_TIMES 3
#define STREAMS_MAX 4096

const tb_opt tb_backup_rows[] = {
	{ "type", 't', TB_OPT_TEXT, offsetof(struct backup_options, type), "full",
	  "full|incremental|differential|snapshot|emergency", "TYPE", "What kind of backup.", 1 },
	{ "stream", 's', TB_OPT_TEXT, offsetof(struct backup_options, streams), NULL, NULL, "S",
	  "Of this stream; may be given several times. Default: of each.", 1 },
	{ "wait", 'w', TB_OPT_FLAG, offsetof(struct backup_options, wait), NULL, NULL, NULL,
	  "Wait until each is READY.", 1 },
	{ "timeout", 0, TB_OPT_SPAN, offsetof(struct backup_options, timeout_ns), "60s", "0s..7d", NULL,
	  "How long to wait for all of them.", 1 },
	{ 0 },
};

typedef struct order {
	char stream[130];
	char id[TB_BACKUP_ID];
	int given; /* the broker has it */
} order;

typedef struct ordering {
	tb_call *call;
	const struct backup_options *options;
	const tb_backup_type *type;
	tb_bus *bus;
	tb_arena *arena;
	const Tb__StatReply *stat;
	order *orders;
	size_t count;
	tb_rc worst; /* of those that failed by themselves, the first's code */
} ordering;

static const Tb__StreamStat *find_stream(const Tb__StatReply *stat, const char *name)
{
	for (size_t i = 0; i < stat->n_streams; i++)
		if (strcmp(stat->streams[i]->name, name) == 0)
			return stat->streams[i];
	return NULL;
}

static tb_rc no_such_stream(const Tb__StatReply *stat, const char *name, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf names = { 0 };
	for (size_t i = 0; i < stat->n_streams && names.size < 150; i++)
		tb_buf_print(&names, "%s%s", i ? ", " : "", stat->streams[i]->name);
	tb_fail(err, TB_ENOTFOUND, "there is no stream '%.130s'", name);
	tb_hint(err, names.size ? "there are: %s" : "nothing was published yet%s", names.size ? tb_buf_text(&names) : "");
	return TB_ENOTFOUND;
}

static void add_order(ordering *self, const char *stream)
{
	for (size_t i = 0; i < self->count; i++)
		if (strcmp(self->orders[i].stream, stream) == 0)
			return;
	self->orders = tb_realloc(self->orders, (self->count + 1) * sizeof(*self->orders));
	order *one = &self->orders[self->count++];
	*one = (order){ 0 };
	snprintf(one->stream, sizeof(one->stream), "%s", stream);
	tb_backup_id(self->type, tb_real_ns(self->call->clock), one->id);
}

/* Those that were named, or all but our own. */
static tb_rc choose_streams(ordering *self, tb_err *err)
{
	const char *at = self->options->streams;
	for (size_t i = 0; at == NULL && i < self->stat->n_streams; i++)
		if (strncmp(self->stat->streams[i]->name, "tb.", 3) != 0)
			add_order(self, self->stat->streams[i]->name);
	while (at != NULL && *at != '\0' && self->count < STREAMS_MAX) {
		char name[131];
		size_t size = strcspn(at, ",");
		snprintf(name, sizeof(name), "%.*s", (int)size, at);
		if (find_stream(self->stat, name) == NULL)
			return no_such_stream(self->stat, name, err);
		add_order(self, name);
		at += size + (at[size] == ',');
	}
	if (self->count > 0)
		return TB_OK;
	tb_fail(err, TB_ENOTFOUND, "there is no stream to back up: nothing was published yet");
	return TB_ENOTFOUND;
}

static tb_rc busy_with(const Tb__StreamStat *stream, tb_err *err)
{
	tb_fail(err, TB_EBUSY, "stream %s is busy with backup %s", stream->name, stream->backup_running);
	tb_hint(err, "`tb wait BACKUP_READY --backup %s` ends when it is done", stream->backup_running);
	return TB_EBUSY;
}

static void print_by(tb_buf *to)
{
	char host[128] = "";
	gethostname(host, sizeof(host) - 1);
	const char *user = getenv("USER");
	tb_buf_print(to, "%s@%s", user != NULL && *user ? user : "uid", host);
}

static tb_rc put_order(ordering *self, order *one, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf frame = { 0 }, by = { 0 };
	const Tb__StreamStat *stream = find_stream(self->stat, one->stream);
	if (*stream->backup_running)
		return busy_with(stream, err);
	print_by(&by);
	Tb__Order message = TB__ORDER__INIT;
	message.stream = one->stream;
	message.type = (char *)(uintptr_t)self->type->name;
	message.backup = one->id;
	message.by = (char *)(uintptr_t)tb_buf_text(&by);
	size_t size = tb__order__get_packed_size(&message), at = tb_frame_begin(&frame);
	tb_buf_reserve(&frame, size);
	frame.size += tb__order__pack(&message, frame.data + frame.size);
	tb_frame_end(&frame, at, &(tb_frame){ .kind = TB_KIND_ORDER, .count = 1, .stream = tb_stream_hash(one->stream),
	                                      .time_ns = tb_real_ns(self->call->clock) });
	Tb__PutRequest request = TB__PUT_REQUEST__INIT;
	Tb__PutReply *reply;
	request.journal_id = self->stat->journal_id;
	tb_rc rc = tb_bus_put(self->bus, &request, tb_buf_span(&frame), REQUEST_TIMEOUT, self->arena, &reply, err);
	one->given = rc == TB_OK;
	return rc;
}

/* One of several that fails doesn't keep the others from being made. */
static void note_failure(ordering *self, const tb_err *err)
{
	tb_print_failure("backup", err);
	if (self->worst == TB_OK)
		self->worst = err->rc;
}

static void print_order(const ordering *self, const order *one, const json_t *record)
{
	if (!self->call->json) {
		if (record == NULL)
			printf("%s\n", one->id);
		fflush(stdout);
		return;
	}
	json_t *object = json_pack("{s:s, s:s, s:s, s:b}", "backup", one->id, "stream", one->stream, "type",
	                           self->type->word, "ready", record != NULL);
	if (record != NULL)
		json_object_update_missing(object, (json_t *)(uintptr_t)record);
	tb_print_json(object);
}

static void order_all(ordering *self)
{
	for (size_t i = 0; i < self->count; i++) {
		tb_err err = { 0 };
		if (put_order(self, &self->orders[i], &err) != TB_OK)
			note_failure(self, &err);
		else if (!self->call->json || !self->options->wait)
			print_order(self, &self->orders[i], NULL);
	}
}

/* ---- waiting */

/* Asks once; the answer is held back for two seconds at most, one at a terminal, so that we show life and see an order
 * that was given up. *ret_record: NULL when it isn't ready yet. */
static tb_rc ask_ready(ordering *self, const order *one, uint64_t left_ns, int terminal, json_t **ret_record, tb_err *err)
{
	uint64_t most = terminal ? TB_NS_PER_S : ASK_MAX, wait_ns = left_ns < most ? left_ns : most;
	json_t *answer, *question = json_pack("{s:s, s:s, s:I}", "topic", "BACKUP_READY", "backup", one->id, "wait_ms",
	                                      (json_int_t)(wait_ns / TB_NS_PER_MS));
	tb_rc rc = tb_call_ask(self->call, question, wait_ns + REQUEST_TIMEOUT, &answer, err);
	json_decref(question);
	if (rc != TB_OK)
		return rc;
	*ret_record = json_incref(json_array_get(json_object_get(answer, "records"), 0));
	json_decref(answer);
	return TB_OK;
}

static tb_rc not_ready(const ordering *self, const order *one, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf span = { 0 };
	tb_span_text_ns(&span, self->options->timeout_ns);
	tb_fail(err, TB_ETIMEOUT, "%s of stream %s wasn't ready within %s", one->id, one->stream, tb_buf_text(&span));
	tb_hint(err, "it goes on: `tb wait BACKUP_READY --backup %s`; `tb status` says what holds it up", one->id);
	return TB_ETIMEOUT;
}

/* Is the order still open? What is no longer open and doesn't become READY either was refused by the collector. */
static int is_open(ordering *self, const order *one)
{
	Tb__StatReply *stat;
	if (tb_bus_stat(self->bus, REQUEST_TIMEOUT, self->arena, &stat, NULL) != TB_OK)
		return 1;
	const Tb__StreamStat *stream = find_stream(stat, one->stream);
	return stream == NULL || strcmp(stream->backup_running, one->id) == 0;
}

static tb_rc given_up(const ordering *self, const order *one, tb_err *err)
{
	tb_fail(err, TB_EREFUSED, "%s of stream %s was given up: no backup came of the order", one->id, one->stream);
	tb_hint(err, "the collector says why in %s/logs/collector.log", self->call->dir);
	return TB_EREFUSED;
}

static tb_rc wait_one(ordering *self, const order *one, uint64_t deadline_ns, tb_err *err)
{
	char what[TB_BACKUP_ID + 16];
	tb_progress progress;
	json_t *record = NULL;
	tb_rc rc = TB_OK;
	int gone = 0;
	snprintf(what, sizeof(what), "waiting for %s", one->id);
	tb_progress_start(&progress, self->call->clock, what, NULL);
	for (;;) {
		uint64_t now = tb_mono_ns(self->call->clock);
		rc = ask_ready(self, one, deadline_ns > now ? deadline_ns - now : 0, progress.terminal, &record, err);
		gone = is_open(self, one) ? 0 : gone + 1;
		if (rc != TB_OK || record != NULL || now >= deadline_ns || gone == GONE_TIMES)
			break;
		tb_progress_tell(&progress, 0, 0);
	}
	tb_progress_end(&progress);
	if (rc == TB_OK && record == NULL)
		return gone == GONE_TIMES ? given_up(self, one, err) : not_ready(self, one, err);
	if (rc == TB_OK)
		print_order(self, one, record);
	json_decref(record);
	return rc;
}

static void wait_all(ordering *self)
{
	uint64_t deadline = tb_mono_ns(self->call->clock) + self->options->timeout_ns;
	for (size_t i = 0; i < self->count; i++) {
		tb_err err = { 0 };
		if (self->orders[i].given && wait_one(self, &self->orders[i], deadline, &err) != TB_OK)
			note_failure(self, &err);
	}
}

tb_rc verb_backup(tb_call *call, tb_err *err)
{
	ordering self = { .call = call, .options = call->options };
	Tb__StatReply *stat;
	self.type = tb_backup_type_find(self.options->type);
	if (strcmp(self.options->type, "full") != 0) {
		tb_fail(err, TB_EUNSUPPORTED, "backups of type %s are not in this version", self.options->type);
		tb_hint(err, "use --type full");
		return TB_EUNSUPPORTED;
	}
	tb_rc rc = tb_call_bus(call, &self.bus, err);
	if (rc != TB_OK)
		return rc;
	self.arena = tb_arena_new();
	rc = tb_bus_stat(self.bus, REQUEST_TIMEOUT, self.arena, &stat, err);
	if (rc == TB_EUNREACHABLE)
		tb_hint(err, "is it running? `tb status` says; `tb up` starts it");
	self.stat = stat;
	if (rc == TB_OK)
		rc = choose_streams(&self, err);
	if (rc == TB_OK) {
		order_all(&self);
		if (self.options->wait)
			wait_all(&self);
		call->exit = tb_rc_exit(self.worst);
	}
	tb_bus_close(self.bus);
	tb_arena_free(self.arena);
	free(self.orders);
	return rc;
}
