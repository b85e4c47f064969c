/* tb status: judging and printing what was gathered. */
#include "workers/tb/ends.h"
#include "workers/tb/status.h"

#include <stdio.h>

#define HEARTBEAT_MAX (3 * TB_NS_PER_S)
#define WINDOW_MAX (30 * TB_NS_PER_S)
#define ROOM_MIN (UINT64_C(1) << 30)

/* ---- judging */

static void judge_process(status *self, const status_process *process)
{
	tb_auto(tb_buf_drop) tb_buf age = { 0 };
	tb_print_age(&age, process->age_ns);
	if (process->age_ns > HEARTBEAT_MAX)
		status_degraded(self, "%s (pid %llu): no heartbeat for %s", process->role, (unsigned long long)process->pid,
		                tb_buf_text(&age));
	else if (strcmp(process->state, "healthy") != 0)
		status_degraded(self, "%s: %s%s%s", process->role, process->state, *process->detail ? ": " : "", process->detail);
}

static void judge_roles(status *self)
{
	for (unsigned group = 1; group < TB_GROUP_COUNT; group++) {
		const char *role = tb_group_find(group)->name;
		size_t i = 0;
		while (i < self->process_count && strcmp(self->processes[i].role, role) != 0)
			i++;
		if (i == self->process_count)
			status_degraded(self, "%s: none is running%s", role,
			                self->up_pid ? "; `tb up` says on its stderr why" : "; `tb up` starts one");
	}
}

static void judge_stream(status *self, const status_stream *stream)
{
	tb_auto(tb_buf_drop) tb_buf age = { 0 };
	tb_print_age(&age, stream->window_ns);
	if (stream->window_ns > WINDOW_MAX)
		status_degraded(self, "%s: %llu events are not stored yet, the oldest for %s", stream->name,
		                (unsigned long long)(stream->durable - stream->stored), tb_buf_text(&age));
	if (stream->live && stream->restorable_to < stream->stored)
		status_degraded(self, "%s: events up to %llu were stored, but the repository holds them to %llu only", stream->name,
		                (unsigned long long)stream->stored, (unsigned long long)stream->restorable_to);
}

static void judge_room(status *self)
{
	tb_auto(tb_buf_drop) tb_buf used = { 0 }, limit = { 0 };
	tb_print_size(&used, self->journal_bytes);
	tb_print_size(&limit, self->journal_limit);
	if (self->reachable && self->journal_bytes / 4 > self->journal_limit / 16 * 3)
		status_degraded(self, "journal: %s of %s; at its limit nothing more is accepted", tb_buf_text(&used),
		                tb_buf_text(&limit));
	if (self->room_all > 0 && (self->room_free < ROOM_MIN || self->room_free < self->room_all / 50))
		status_degraded(self, "tier local: its disk is nearly full");
	if (self->same_disk)
		status_warning(self, "the repository is on the same disk as the journal: one broken disk takes both");
	if (self->identity_beside)
		status_warning(self, "the identity lies beside everything else: who takes this machine can read the backups, and "
		                     "who loses it can't, unless the recovery kit is kept elsewhere");
	if (self->kit_beside)
		status_warning(self, "the recovery kit still lies in %s/keys/recovery-kit.txt: print it, then remove it", self->dir);
}

void status_judge(status *self)
{
	if (self->reachable) {
		for (size_t i = 0; i < self->process_count; i++)
			judge_process(self, &self->processes[i]);
		judge_roles(self);
	} else if (self->up_pid != 0) {
		status_degraded(self, "the broker doesn't answer, though `tb up` runs (pid %d): %s", self->up_pid, self->away.text);
	}
	if (self->up_pid != 0)
		ends_read(self->dir, self->real_ns, self->degraded);
	for (size_t i = 0; i < self->stream_count; i++)
		judge_stream(self, &self->streams[i]);
	judge_room(self);
}

/* ---- for people */

static void print_list(tb_buf *to, const char *word, const json_t *texts)
{
	for (size_t i = 0; i < json_array_size(texts); i++)
		tb_buf_print(to, "%s: %s\n", word, json_string_value(json_array_get(texts, i)));
}

static void print_heading(const status *self, tb_buf *to)
{
	const char *word = json_array_size(self->degraded) == 0 ? "healthy" : "DEGRADED";
	if (!self->reachable)
		word = self->up_pid ? "the broker doesn't answer: from the disk" : "nothing is running: from the disk";
	tb_buf_print(to, "%s: %s\n", self->dir, word);
	print_list(to, "degraded", self->degraded);
	print_list(to, "warning", self->warnings);
}

static void print_processes(const status *self, tb_buf *to)
{
	tb_table table = { .columns = 5 };
	tb_table_row(&table, (const char *const[]){ "PROCESS", "PID", "STATE", "HEARTBEAT", "DETAIL", NULL });
	for (size_t i = 0; i < self->process_count; i++) {
		const status_process *process = &self->processes[i];
		tb_auto(tb_buf_drop) tb_buf age = { 0 };
		tb_print_age(&age, process->age_ns);
		tb_table_cell(&table, "%s", process->role);
		if (process->pid != 0)
			tb_table_cell(&table, "%llu", (unsigned long long)process->pid);
		else
			tb_table_cell(&table, "-");
		tb_table_cell(&table, "%s", process->state);
		tb_table_cell(&table, "%s ago", tb_buf_text(&age));
		tb_table_cell(&table, "%s", process->detail);
	}
	tb_buf_byte(to, '\n');
	tb_table_print(&table, to);
	tb_table_drop(&table);
}

static void number_cell(tb_table *table, int known, uint64_t number)
{
	if (known)
		tb_table_cell(table, "%llu", (unsigned long long)number);
	else
		tb_table_cell(table, "-");
}

static void window_cell(tb_table *table, const status_stream *stream)
{
	tb_auto(tb_buf_drop) tb_buf age = { 0 };
	tb_print_age(&age, stream->window_ns);
	if (!stream->live)
		tb_table_cell(table, "unknown");
	else if (stream->durable <= stream->stored)
		tb_table_cell(table, "none");
	else
		tb_table_cell(table, "%llu events, %s", (unsigned long long)(stream->durable - stream->stored), tb_buf_text(&age));
}

static const char *engine_of(const status_stream *stream)
{
	if (strncmp(stream->name, "tb.", 3) == 0)
		return "our own";
	return !stream->live ? "unknown" : stream->connected ? "connected" : "away";
}

static void print_streams(const status *self, tb_buf *to)
{
	static const char *const heads[] = { "STREAM", "ENGINE", "ACCEPTED", "DURABLE", "APPLIED", "STORED",
		                                 "DATA-LOSS WINDOW", NULL };
	tb_table table = { .columns = 7, .right = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 };
	tb_table_row(&table, heads);
	for (size_t i = 0; i < self->stream_count; i++) {
		const status_stream *stream = &self->streams[i];
		tb_table_cell(&table, "%s", stream->name);
		tb_table_cell(&table, "%s", engine_of(stream));
		number_cell(&table, stream->live, stream->accepted);
		number_cell(&table, stream->live, stream->durable);
		number_cell(&table, stream->applied_known, stream->applied);
		number_cell(&table, 1, stream->stored);
		window_cell(&table, stream);
	}
	tb_table_print(&table, to);
	tb_table_drop(&table);
}

static void print_restorable(const status *self, tb_buf *to)
{
	tb_table table = { .columns = 3 };
	tb_table_row(&table, (const char *const[]){ "STREAM", "RESTORABLE", "UP TO", NULL });
	for (size_t i = 0; i < self->stream_count; i++) {
		const status_stream *stream = &self->streams[i];
		tb_auto(tb_buf_drop) tb_buf time = { 0 };
		tb_print_time(&time, stream->restorable_ns);
		tb_table_cell(&table, "%s", stream->name);
		if (stream->restorable_to > 0)
			tb_table_cell(&table, "events 1 to %llu", (unsigned long long)stream->restorable_to);
		else
			tb_table_cell(&table, "nothing yet");
		tb_table_cell(&table, "%s", tb_buf_text(&time));
	}
	tb_table_print(&table, to);
	tb_table_drop(&table);
}

static void print_backups(const status *self, tb_buf *to)
{
	tb_table table = { .columns = 5, .right = 1 << 3 };
	tb_table_row(&table, (const char *const[]){ "STREAM", "LAST BACKUP", "ID", "EVENT", "MADE", NULL });
	for (size_t i = 0; i < self->stream_count; i++) {
		const status_stream *stream = &self->streams[i];
		for (size_t j = 0; j < stream->backup_count; j++) {
			const status_backup *backup = &stream->backups[j];
			tb_auto(tb_buf_drop) tb_buf age = { 0 };
			tb_print_age(&age, self->now_ns > backup->made_ns ? self->now_ns - backup->made_ns : 0);
			tb_table_cell(&table, "%s", stream->name);
			tb_table_cell(&table, "%s", backup->type->word);
			tb_table_cell(&table, "%s", backup->id);
			tb_table_cell(&table, "%llu", (unsigned long long)backup->event);
			tb_table_cell(&table, "%s ago", tb_buf_text(&age));
		}
		if (*stream->backup_running)
			tb_table_row(&table, (const char *const[]){ stream->name, "running", stream->backup_running, "", "", NULL });
	}
	if (table.count > table.columns) {
		tb_buf_byte(to, '\n');
		tb_table_print(&table, to);
	}
	tb_table_drop(&table);
}

static void print_refused(const status *self, tb_buf *to)
{
	const char *cause, *before = "\nrefused  ";
	json_t *count;
	json_object_foreach (self->refused, cause, count) {
		tb_buf_print(to, "%s%s: %lld", before, cause, (long long)json_integer_value(count));
		before = ", ";
	}
}

static void print_rooms(const status *self, tb_buf *to)
{
	if (self->reachable) {
		tb_buf_print(to, "\njournal  ");
		tb_print_size(to, self->journal_bytes);
		tb_buf_print(to, " of ");
		tb_print_size(to, self->journal_limit);
		print_refused(self, to);
	}
	tb_buf_print(to, "\ntier     local  %.*s  ", (int)self->repository.size, (const char *)self->repository.data);
	tb_print_size(to, self->room_free);
	tb_buf_print(to, " free of ");
	tb_print_size(to, self->room_all);
	tb_buf_print(to, "%s\ndrill    never\n", self->same_disk ? "  (same disk as the journal)" : "");
}

void status_print(const status *self)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	print_heading(self, &text);
	if (self->process_count > 0)
		print_processes(self, &text);
	tb_buf_byte(&text, '\n');
	if (self->stream_count > 0) {
		print_streams(self, &text);
		tb_buf_byte(&text, '\n');
		print_restorable(self, &text);
		print_backups(self, &text);
	} else {
		tb_buf_print(&text, "no streams yet: nothing was published\n");
	}
	print_rooms(self, &text);
	fputs(tb_buf_text(&text), stdout);
}

/* ---- for scripts */

static json_t *number_or_null(int known, uint64_t number)
{
	return known ? json_integer((json_int_t)number) : json_null();
}

static json_t *process_json(const status_process *process)
{
	return json_pack("{s:s, s:o, s:s, s:I, s:s, s:I}", "role", process->role, "pid",
	                 number_or_null(process->pid != 0, process->pid), "state", process->state, "heartbeat_age_ms",
	                 (json_int_t)(process->age_ns / TB_NS_PER_MS), "detail", process->detail, "handled",
	                 (json_int_t)process->handled);
}

static json_t *backups_json(const status_stream *stream)
{
	json_t *all = json_object();
	for (size_t i = 0; i < stream->backup_count; i++) {
		const status_backup *backup = &stream->backups[i];
		json_object_set_new(all, backup->type->word,
		                    json_pack("{s:s, s:I, s:o}", "backup", backup->id, "event", (json_int_t)backup->event, "made",
		                              tb_json_time(backup->made_ns)));
	}
	return all;
}

static json_t *restorable_json(const status_stream *stream)
{
	if (stream->restorable_to == 0)
		return json_null();
	return json_pack("{s:i, s:I, s:o, s:I}", "from", 1, "to", (json_int_t)stream->restorable_to, "time",
	                 tb_json_time(stream->restorable_ns), "time_ns", (json_int_t)stream->restorable_ns);
}

static json_t *stream_json(const status_stream *stream)
{
	json_t *object = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:I}", "stream", stream->name, "connected",
	                           stream->live ? json_boolean(stream->connected) : json_null(), "epoch",
	                           number_or_null(stream->live, stream->epoch), "accepted",
	                           number_or_null(stream->live, stream->accepted), "durable",
	                           number_or_null(stream->live, stream->durable), "applied",
	                           number_or_null(stream->applied_known, stream->applied), "stored",
	                           (json_int_t)stream->stored);
	json_t *window = json_null();
	if (stream->live)
		window = json_pack("{s:I, s:f}", "events",
		                   (json_int_t)(stream->durable > stream->stored ? stream->durable - stream->stored : 0), "seconds",
		                   (double)stream->window_ns / (double)TB_NS_PER_S);
	json_object_set_new(object, "data_loss_window", window);
	json_object_set_new(object, "restorable", restorable_json(stream));
	json_object_set_new(object, "last_backups", backups_json(stream));
	json_object_set_new(object, "backup_running",
	                    *stream->backup_running ? json_string(stream->backup_running) : json_null());
	return object;
}

json_t *status_json(const status *self)
{
	json_t *processes = json_array(), *streams = json_array();
	const char *path = self->repository.size ? (const char *)self->repository.data : "";
	for (size_t i = 0; i < self->process_count; i++)
		json_array_append_new(processes, process_json(&self->processes[i]));
	for (size_t i = 0; i < self->stream_count; i++)
		json_array_append_new(streams, stream_json(&self->streams[i]));
	json_t *tier = json_pack("{s:s, s:o, s:I, s:I, s:b}", "tier", "local", "path",
	                         json_stringn(path, self->repository.size), "free", (json_int_t)self->room_free, "size",
	                         (json_int_t)self->room_all, "same_disk_as_journal", self->same_disk);
	json_t *journal = json_null();
	if (self->reachable)
		journal = json_pack("{s:I, s:I}", "bytes", (json_int_t)self->journal_bytes, "limit",
		                    (json_int_t)self->journal_limit);
	return json_pack("{s:s, s:b, s:o, s:b, s:O, s:O, s:o, s:o, s:o, s:O, s:[o], s:n, s:b}", "dir", self->dir, "running",
	                 self->reachable, "up_pid", number_or_null(self->up_pid != 0, (uint64_t)self->up_pid), "healthy",
	                 self->reachable && json_array_size(self->degraded) == 0, "degraded", self->degraded, "warnings",
	                 self->warnings, "processes", processes, "streams", streams, "journal", journal, "refused", self->refused,
	                 "tiers", tier, "last_drill", "identity_beside", self->identity_beside);
}
