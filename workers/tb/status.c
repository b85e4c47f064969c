/* tb status: gathering, from the broker's answer and from the repository. */
#include "frames.pb-c.h"
#include "run/config.h"
#include "workers/tb/status.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

#define STAT_TIMEOUT (2 * TB_NS_PER_S)

static void add_text(json_t *to, const char *format, va_list args)
{
	char text[600];
	vsnprintf(text, sizeof(text), format, args);
	json_array_append_new(to, json_string(text));
}

void status_degraded(status *self, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add_text(self->degraded, format, args);
	va_end(args);
}

void status_warning(status *self, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add_text(self->warnings, format, args);
	va_end(args);
}

status_stream *status_stream_of(status *self, const char *name)
{
	for (size_t i = 0; i < self->stream_count; i++)
		if (strcmp(self->streams[i].name, name) == 0)
			return &self->streams[i];
	self->streams = tb_realloc(self->streams, (self->stream_count + 1) * sizeof(*self->streams));
	status_stream *stream = &self->streams[self->stream_count++];
	*stream = (status_stream){ 0 };
	snprintf(stream->name, sizeof(stream->name), "%s", name);
	return stream;
}

void status_drop(status *self)
{
	free(self->processes);
	free(self->streams);
	tb_buf_drop(&self->repository);
	json_decref(self->refused);
	json_decref(self->degraded);
	json_decref(self->warnings);
}

/* ---- from the broker */

static status_process *add_process(status *self)
{
	self->processes = tb_realloc(self->processes, (self->process_count + 1) * sizeof(*self->processes));
	status_process *process = &self->processes[self->process_count++];
	*process = (status_process){ 0 };
	return process;
}

static void take_health(status *self, const Tb__Health *health)
{
	status_process *process = add_process(self);
	snprintf(process->role, sizeof(process->role), "%s", health->role);
	snprintf(process->state, sizeof(process->state), "%s", health->state);
	snprintf(process->detail, sizeof(process->detail), "%s", health->detail);
	process->pid = health->pid;
	process->handled = health->handled;
	process->age_ns = self->now_ns > health->time_ns ? self->now_ns - health->time_ns : 0;
	for (size_t i = 0; i < health->n_applied; i++) {
		status_stream *stream = status_stream_of(self, health->applied[i]->stream);
		stream->applied_known = 1;
		if (health->applied[i]->number > stream->applied)
			stream->applied = health->applied[i]->number;
	}
}

static void take_broker(status *self, const Tb__StatReply *reply)
{
	status_process *process = add_process(self);
	int held_up = *reply->held_up != '\0';
	snprintf(process->role, sizeof(process->role), "broker");
	snprintf(process->state, sizeof(process->state), held_up ? "degraded" : "healthy");
	snprintf(process->detail, sizeof(process->detail), "%s", reply->held_up);
	self->journal_bytes = reply->journal_bytes;
	self->journal_limit = reply->journal_limit;
}

static void take_stream(status *self, const Tb__StreamStat *stat)
{
	status_stream *stream = status_stream_of(self, stat->name);
	stream->live = 1;
	stream->connected = stat->connected;
	stream->epoch = stat->epoch;
	stream->durable = stat->durable;
	/* What is durable was accepted, whatever the last heartbeat said. */
	stream->accepted = stat->accepted > stat->durable ? stat->accepted : stat->durable;
	stream->stored = stat->stored;
	if (stat->durable > stat->stored && self->now_ns > stat->durable_stamp_ns)
		stream->window_ns = self->now_ns - stat->durable_stamp_ns;
	snprintf(stream->backup_running, sizeof(stream->backup_running), "%s", stat->backup_running);
}

static void take_group(status *self, const Tb__GroupStat *stat)
{
	const tb_group_row *row = tb_group_find(stat->group);
	if (row != NULL && stat->rejected > 0)
		status_degraded(self, "%s: %llu frames were rejected; `rejected` in %s/logs/%s.log says why", row->name,
		                (unsigned long long)stat->rejected, self->dir, row->name);
	if (row != NULL && stat->tired > 0)
		status_degraded(self, "%s: %llu segments were tried five times without result, and are tried on; %s/logs/%s.log "
		                "says why", row->name, (unsigned long long)stat->tired, self->dir, row->name);
}

static void take_refusals(status *self, const Tb__StatReply *reply)
{
	for (size_t i = 0; i < reply->n_refusals; i++)
		json_object_set_new(self->refused, reply->refusals[i]->cause, json_integer((json_int_t)reply->refusals[i]->count));
	if (reply->streams_max == 0)
		return;
	if (reply->n_streams >= reply->streams_max)
		status_degraded(self, "there are %zu streams, and no room for another: see streams.max in tb.yaml", reply->n_streams);
	else if (reply->n_streams > reply->streams_max / 10 * 9)
		status_warning(self, "there are %zu streams, and %u are the most: see streams.max in tb.yaml", reply->n_streams,
		               reply->streams_max);
}

void status_take_reply(status *self, const Tb__StatReply *reply)
{
	self->reachable = 1;
	self->now_ns = reply->now_ns;
	take_broker(self, reply);
	for (size_t i = 0; i < reply->n_streams; i++)
		take_stream(self, reply->streams[i]);
	for (size_t i = 0; i < reply->n_health; i++) {
		Tb__Health *health = tb__health__unpack(NULL, reply->health[i].len, reply->health[i].data);
		if (health != NULL)
			take_health(self, health);
		tb__health__free_unpacked(health, NULL);
	}
	for (size_t i = 0; i < reply->n_groups; i++)
		take_group(self, reply->groups[i]);
	take_refusals(self, reply);
}

/* The broker's stamp of the first event that isn't stored yet: exact, where its answer knows only the newest's. */
static void refine_window(status *self, tb_bus *bus, tb_arena *arena, status_stream *stream)
{
	Tb__FetchRequest request = TB__FETCH_REQUEST__INIT;
	Tb__FetchReply *reply;
	tb_auto(tb_answer_drop) tb_answer answer = { 0 };
	tb_frame frame;
	request.stream = stream->name;
	request.from = request.to = stream->stored + 1;
	request.bytes_max = 1;
	if (tb_bus_fetch(bus, &request, STAT_TIMEOUT, arena, &reply, &answer, NULL) == TB_OK && answer.frames.size > 0 &&
	    tb_frame_read(&answer.frames, &frame, NULL) == TB_OK && frame.time_ns < self->now_ns)
		stream->window_ns = self->now_ns - frame.time_ns;
}

static tb_rc ask_broker(const tb_call *call, status *self, tb_err *err)
{
	tb_arena *arena = tb_arena_new();
	tb_bus *bus = NULL;
	Tb__StatReply *reply;
	tb_rc rc = tb_call_bus(call, &bus, err);
	if (rc == TB_OK)
		rc = tb_bus_stat(bus, STAT_TIMEOUT, arena, &reply, err);
	if (rc == TB_OK)
		status_take_reply(self, reply);
	for (size_t i = 0; rc == TB_OK && i < self->stream_count; i++)
		if (self->streams[i].window_ns > 0)
			refine_window(self, bus, arena, &self->streams[i]);
	tb_bus_close(bus);
	tb_arena_free(arena);
	return rc;
}

/* ---- from the disk */

/* When a backup was made, as its id says: FUL_20260102T030405Z_… */
static uint64_t time_of_id(const char *id)
{
	struct tm tm = { 0 };
	const char *text = strchr(id, '_');
	if (text == NULL || strptime(text + 1, "%Y%m%dT%H%M%SZ", &tm) == NULL)
		return 0;
	return (uint64_t)timegm(&tm) * TB_NS_PER_S;
}

static void take_backup(status_stream *stream, const tb_archive_entry *entry)
{
	size_t i = 0;
	while (i < stream->backup_count && stream->backups[i].type != entry->type)
		i++;
	if (i == STATUS_TYPES)
		return;
	if (i == stream->backup_count)
		stream->backup_count++;
	else if (strcmp(entry->id, stream->backups[i].id) < 0)
		return; /* ids of a type sort by time */
	stream->backups[i].type = entry->type;
	stream->backups[i].event = entry->last;
	stream->backups[i].made_ns = time_of_id(entry->id);
	snprintf(stream->backups[i].id, sizeof(stream->backups[i].id), "%s", entry->id);
}

static tb_rc read_stream(status *self, tb_archive *archive, const char *name, tb_err *err)
{
	tb_archive_entry *entries;
	const tb_archive_entry *newest = NULL;
	size_t count;
	uint8_t hash[TB_HASH_SIZE];
	Tb__Manifest *manifest;
	tb_rc rc = tb_archive_list(archive, name, &entries, &count, err);
	if (rc != TB_OK)
		return rc;
	status_stream *stream = status_stream_of(self, name);
	for (size_t i = 0; i < count; i++) {
		if (tb_archive_is(&entries[i], "SEG"))
			newest = &entries[i]; /* they come in order */
		else
			take_backup(stream, &entries[i]);
	}
	if (newest != NULL) {
		tb_arena *arena = tb_arena_new();
		rc = tb_archive_manifest(archive, name, newest, arena, &manifest, hash, err);
		stream->restorable_to = newest->last;
		if (rc == TB_OK)
			stream->restorable_ns = manifest->time_to_ns;
		tb_arena_free(arena);
	}
	if (!self->reachable)
		stream->stored = stream->restorable_to;
	free(entries);
	return rc;
}

static tb_rc read_archive(const tb_call *call, status *self, tb_err *err)
{
	tb_archive *archive;
	char **names;
	size_t count;
	tb_rc rc = tb_call_archive(call, NULL, NULL, &archive, err);
	if (rc != TB_OK)
		return rc;
	rc = tb_archive_streams(archive, &names, &count, err);
	if (rc == TB_OK) {
		for (size_t i = 0; i < count; i++) {
			tb_err wrong;
			if (read_stream(self, archive, names[i], &wrong) != TB_OK)
				status_degraded(self, "%s: %s", names[i], wrong.text);
		}
		tb_names_free(names, count);
	}
	tb_archive_close(archive);
	return rc;
}

static const char *plain_path(const char *url)
{
	return strncmp(url, "file://", 7) == 0 ? url + 7 : url;
}

static void read_room(const tb_call *call, status *self)
{
	tb_auto(tb_buf_drop) tb_buf journal = { 0 };
	const char *path = plain_path(tb_buf_text(&self->repository));
	struct statvfs room;
	tb_disk_info here, there;
	if (statvfs(path, &room) == 0) {
		self->room_free = (uint64_t)room.f_bavail * room.f_frsize;
		self->room_all = (uint64_t)room.f_blocks * room.f_frsize;
	}
	self->same_disk = call->disk->stat(call->disk, path, &here, NULL) == TB_OK &&
	                  call->disk->stat(call->disk, tb_below(&journal, self->dir, "journal"), &there, NULL) == TB_OK &&
	                  here.device == there.device;
}

static tb_rc gather(const tb_call *call, status *self, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_disk_info info;
	tb_err wrong;
	tb_rc rc = tb_config_repository(self->dir, &self->repository, err);
	if (rc == TB_OK)
		rc = ask_broker(call, self, &self->away);
	else
		return rc;
	if (rc != TB_OK && rc != TB_EUNREACHABLE && rc != TB_ETIMEOUT) {
		*err = self->away;
		return rc;
	}
	tb_up_pid(self->dir, &self->up_pid, NULL);
	if (read_archive(call, self, &wrong) != TB_OK)
		status_degraded(self, "repository: %s", wrong.text);
	read_room(call, self);
	self->identity_beside =
		call->disk->stat(call->disk, tb_below(&path, self->dir, "keys/identity.key"), &info, NULL) == TB_OK;
	self->kit_beside =
		call->disk->stat(call->disk, tb_below(&path, self->dir, "keys/recovery-kit.txt"), &info, NULL) == TB_OK;
	return TB_OK;
}

tb_rc verb_status(tb_call *call, tb_err *err)
{
	status self = {
		.refused = json_object(), .degraded = json_array(), .warnings = json_array(),
	};
	self.now_ns = self.real_ns = tb_real_ns(call->clock);
	tb_rc rc = tb_call_dir(call, &self.dir, err);
	if (rc == TB_OK)
		rc = gather(call, &self, err);
	if (rc == TB_OK) {
		status_judge(&self);
		if (call->json)
			tb_print_json(status_json(&self));
		else
			status_print(&self);
		call->exit = !self.reachable ? tb_rc_exit(TB_EUNREACHABLE) : json_array_size(self.degraded) > 0;
	}
	status_drop(&self);
	return rc;
}
