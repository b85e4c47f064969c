#include "fault/repository_builder.h"
#include "store/instance.h"
#include "workers/tb/children.h"
#include "workers/tb/status.h"

#include "leaks.h"

#include <ctype.h>
#include <sys/stat.h>
#include <unistd.h>

static char output[65536], complaint[16384]; /* what the last run printed */

static void make(void)
{
	dir_make();
	unsetenv("TB_DIR");
}

TestSuite(command, .init = make, .fini = dir_remove);
TestSuite(status, .fini = fail_on_leaks);
TestSuite(children, .fini = fail_on_leaks);

static void read_back(int fd, int saved, int to, char *text, size_t size)
{
	ssize_t got = pread(fd, text, size - 1, 0);
	text[got > 0 ? got : 0] = '\0';
	dup2(saved, to);
	close(saved);
	close(fd);
}

static int divert(int from, int *ret_saved)
{
	char name[] = "/tmp/tradebank-out-XXXXXX";
	int fd = mkstemp(name);
	cr_assert_geq(fd, 0);
	unlink(name);
	*ret_saved = dup(from);
	dup2(fd, from);
	return fd;
}

/* Runs tb with these words; its exit code, and what it said in output and complaint. */
static int run(const char *const *words)
{
	static char program[] = "tb";
	char *argv[32] = { program };
	char *copies[32];
	int argc = 1, saved_out, saved_err;
	for (; words[argc - 1] != NULL; argc++)
		argv[argc] = copies[argc] = tb_strdup(words[argc - 1]);
	fflush(stdout);
	fflush(stderr);
	int out = divert(STDOUT_FILENO, &saved_out), errors = divert(STDERR_FILENO, &saved_err);
	int code = tb_command(argc, argv);
	fflush(stdout);
	fflush(stderr);
	read_back(out, saved_out, STDOUT_FILENO, output, sizeof(output));
	read_back(errors, saved_err, STDERR_FILENO, complaint, sizeof(complaint));
	for (int i = 1; i < argc; i++)
		free(copies[i]);
	return code;
}

#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

static void assert_narrow(const char *text)
{
	for (size_t size; *text != '\0'; text += size + (text[size] == '\n')) {
		size = strcspn(text, "\n");
		cr_assert_leq(size, 80, "too wide: %.*s", (int)size, text);
	}
}

/* ---- the table */

Test(command, every_verb_is_told_whole)
{
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++) {
		char start[64];
		snprintf(start, sizeof(start), "tb %s", verb->name);
		cr_assert_not_null(verb->usage, "%s", verb->name);
		cr_assert_eq(strncmp(verb->example, start, strlen(start)), 0, "%s: %s", verb->name, verb->example);
		cr_assert(isupper((unsigned char)verb->summary[0]), "%s", verb->name);
		cr_assert_not_null(strchr(".?", verb->summary[strlen(verb->summary) - 1]), "%s", verb->name);
		cr_assert_eq(verb->rows != NULL, verb->options_size > 0, "%s", verb->name);
		cr_assert_eq(tb_verb_find(verb->name), verb, "%s is there twice", verb->name);
	}
}

Test(command, options_of_verbs_are_the_command_lines_alone_and_fit_their_struct)
{
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++)
		for (const tb_opt *row = verb->rows; row != NULL && row->name != NULL; row++) {
			cr_assert(row->cli_only, "%s --%s", verb->name, row->name);
			cr_assert_lt(row->offset, verb->options_size, "%s --%s", verb->name, row->name);
		}
}

Test(command, an_option_that_repeats_is_an_option_of_its_verb)
{
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++) {
		int found = verb->repeated == NULL;
		for (const tb_opt *row = verb->rows; row != NULL && row->name != NULL && !found; row++)
			found = strcmp(row->name, verb->repeated) == 0 && row->type == TB_OPT_TEXT;
		cr_assert(found, "%s", verb->name);
	}
}

Test(command, every_verb_helps_with_an_example_in_eighty_columns)
{
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++) {
		cr_assert_eq(RUN(verb->name, "--help"), 0);
		cr_assert_not_null(strstr(output, verb->example), "%s", output);
		cr_assert_not_null(strstr(output, "--json"), "%s", output);
		cr_assert_str_empty(complaint);
		assert_narrow(output);
		char first[sizeof(output)];
		strcpy(first, output);
		cr_assert_eq(RUN("help", verb->name), 0);
		cr_assert_str_eq(output, first);
	}
}

Test(command, the_overview_names_every_verb_in_eighty_columns)
{
	cr_assert_eq(RUN("--help"), 0);
	for (const tb_verb *verb = tb_verbs; verb->name != NULL; verb++)
		cr_assert_not_null(strstr(output, verb->name), "%s", verb->name);
	assert_narrow(output);
	cr_assert_eq(run((const char *const[]){ NULL }), 2);
	cr_assert_str_empty(output);
	cr_assert_not_null(strstr(complaint, "usage: tb VERB"));
}

/* ---- wrong calls */

Test(command, codes_and_sentences_are_those_of_the_contract)
{
	static const struct {
		const char *words[8];
		int code;
		const char *says;
	} calls[] = {
		{ { "stauts" }, 2, "tb: there is no verb 'stauts'\nhint: did you mean `tb status`?\n" },
		{ { "zzzzzz" }, 2, "tb: there is no verb 'zzzzzz'\nhint: `tb --help` lists them\n" },
		{ { "backup", "--wiat" }, 2, "tb backup: there is no option --wiat\nhint: did you mean --wait?\n" },
		{ { "list", "--type", "ful" }, 2, "tb list: there is no type 'ful'\nhint: did you mean `--type full`?\n" },
		{ { "backup", "--type", "incremental" }, 5, "tb backup: backups of type incremental are not in this version\n" },
		{ { "backup", "--type", "weekly" }, 2, "tb backup: --type: \"weekly\" is not one of full|" },
		{ { "backup", "--stream" }, 2, "tb backup: --stream wants a value behind it\n" },
		{ { "drill" }, 5, "tb drill: this verb is not in this version\n" },
		{ { "expire", "--dry-run" }, 5, "tb expire: this verb is not in this version\n" },
		{ { "keys", "export" }, 5, "tb keys: `tb keys export` is not in this version\n" },
		{ { "keys", "lsit" }, 2, "tb keys: there is no action 'lsit'\nhint: did you mean `tb keys list`?\n" },
		{ { "status", "now" }, 2, "tb status: 'now' is too much here\nhint: usage: tb status --dir DIR\n" },
		{ { "status" }, 2, "tb status: no instance is named\nhint: name its directory with --dir DIR, or set TB_DIR\n" },
		{ { "status", "--dir", "/nowhere" }, 3, "tb status: /nowhere holds no instance" },
		{ { "init" }, 2, "tb init: it isn't said where\n" },
		{ { "show" }, 2, "tb show: it isn't said which backup\n" },
		{ { "show", "17" }, 2, "tb show: '17' is no backup's id\n" },
		{ { "list", "--repo", "/nowhere" }, 7, "tb list: nothing in /nowhere can be checked without a key\n" },
		{ { "up", "--sealers", "0" }, 2, "tb up: --sealers: \"0\" is not a whole number in 1..64\n" },
	};
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		cr_assert_eq(run(calls[i].words), calls[i].code, "%s: %s", calls[i].words[0], complaint);
		cr_assert_eq(strncmp(complaint, calls[i].says, strlen(calls[i].says)), 0, "%s", complaint);
		cr_assert_str_empty(output);
	}
}

Test(command, an_option_that_repeats_is_joined_and_nothing_else_moves)
{
	static const struct {
		const char *words[10], *become[10];
	} cases[] = {
		{ { "x", "--stream", "a", "-w", "--stream=b", "c" }, { "x", "--stream=a,b", "-w", "c" } },
		{ { "x", "-w", "--stream", "a" }, { "x", "-w", "--stream=a" } },
		{ { "x", "--streams", "a", "--stream" }, { "x", "--streams", "a", "--stream" } },
		{ { "x", "--", "--stream", "a" }, { "x", "--", "--stream", "a" } },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *argv[10];
		int argc = 0, count = 0;
		for (; cases[i].words[argc] != NULL; argc++)
			argv[argc] = (char *)(uintptr_t)cases[i].words[argc];
		char *joined = tb_args_join("stream", &argc, argv);
		for (; cases[i].become[count] != NULL; count++)
			cr_assert_str_eq(argv[count], cases[i].become[count]);
		cr_assert_eq(argc, count);
		free(joined);
	}
}

/* ---- an instance */

Test(command, init_prints_the_kit_alone_and_refuses_a_second_time)
{
	const char *at = below("instance");
	struct stat info;
	cr_assert_eq(RUN("init", "--dir", at), 0);
	cr_assert_eq(strncmp(output, "TRADEBANK RECOVERY KIT\n", 23), 0, "%s", output);
	cr_assert_not_null(strstr(complaint, "print it and keep it offline"));
	cr_assert_not_null(strstr(complaint, "tb up --dir"));
	cr_assert_eq(stat(below("instance/keys/identity.key"), &info), 0);
	cr_assert_eq(info.st_mode & 07777, 0600);
	cr_assert_eq(RUN("init", "--dir", at), 5);
	cr_assert_str_empty(output);
	cr_assert_eq(RUN("init", "--dir", dir), 5);
}

Test(command, the_kit_that_init_printed_opens_the_repository)
{
	const char *at = below("instance"), *kit = below("kit");
	cr_assert_eq(RUN("init", "--dir", at), 0);
	must(tb_disk_write_file(tb_disk_system(), kit, tb_span_text(output), TB_DISK_PRIVATE, &err));
	cr_assert_eq(RUN("list", "--repo", below("instance/repository"), "--key", kit), 0, "%s", complaint);
	cr_assert_str_eq(output, "no backups yet\n");
}

Test(command, the_environment_names_the_instance_and_the_command_line_another)
{
	cr_assert_eq(RUN("init", "--dir", below("one")), 0);
	setenv("TB_DIR", below("one"), 1);
	cr_assert_eq(RUN("list"), 0, "%s", complaint);
	cr_assert_eq(RUN("list", "--dir", "/nowhere"), 3);
}

Test(command, with_nothing_running_status_reads_the_disk_and_says_so)
{
	cr_assert_eq(RUN("init", "--dir", below("one")), 0);
	cr_assert_eq(RUN("status", "--dir", below("one")), 4);
	cr_assert_not_null(strstr(output, "nothing is running: from the disk\n"), "%s", output);
	cr_assert_not_null(strstr(output, "warning: the identity lies beside everything else"), "%s", output);
	cr_assert_eq(RUN("status", "--json", "--dir", below("one")), 4);
	json_t *object = json_loads(output, 0, NULL);
	cr_assert(json_is_object(object), "%s", output);
	cr_assert(json_is_false(json_object_get(object, "running")));
	cr_assert(json_is_false(json_object_get(object, "healthy")));
	json_decref(object);
}

Test(command, where_nothing_runs_down_finds_nothing_and_backup_reaches_nobody)
{
	cr_assert_eq(RUN("init", "--dir", below("one")), 0);
	cr_assert_eq(RUN("down", "--dir", below("one")), 3);
	cr_assert_not_null(strstr(complaint, "not running"), "%s", complaint);
	cr_assert_eq(RUN("backup", "--dir", below("one")), 4);
}

Test(command, a_key_that_others_may_read_is_shown_and_is_exit_code_one)
{
	cr_assert_eq(RUN("init", "--dir", below("one")), 0);
	cr_assert_eq(RUN("keys", "list", "--dir", below("one")), 0, "%s", complaint);
	cr_assert_null(strstr(output, "OTHERS"));
	cr_assert_not_null(strstr(output, "(present)"));
	cr_assert_eq(chmod(below("one/keys/collector.key"), 0644), 0);
	cr_assert_eq(RUN("keys", "list", "--dir", below("one")), 1);
	cr_assert_not_null(strstr(output, "0644 OTHERS CAN READ IT"), "%s", output);
}

Test(command, keys_new_makes_a_private_identity_once)
{
	struct stat info;
	tb_key *key;
	char recipient[TB_ID_TEXT];
	cr_assert_eq(RUN("init", "--dir", below("one")), 0);
	cr_assert_eq(RUN("keys", "new", below("second.key"), "--dir", below("one")), 0, "%s", complaint);
	cr_assert_eq(stat(below("second.key"), &info), 0);
	cr_assert_eq(info.st_mode & 07777, 0600);
	must(tb_key_read(tb_disk_system(), below("second.key"), TB_KEY_IDENTITY, &key, &err));
	tb_recipient_id(tb_key_public(key), recipient);
	tb_key_free(key);
	cr_assert_eq(strncmp(output, recipient, strlen(recipient)), 0);
	cr_assert_eq(RUN("keys", "new", below("second.key"), "--dir", below("one")), 5);
}

/* ---- a repository */

static struct repository repository;

static void make_repository(void)
{
	unsetenv("TB_DIR");
	repository_make(&repository);
}

static void drop_repository(void)
{
	repository_close(&repository);
}

TestSuite(command_repository, .init = make_repository, .fini = drop_repository);

static size_t lines(const char *text)
{
	size_t count = 0;
	for (; *text != '\0'; text++)
		count += *text == '\n';
	return count;
}

Test(command_repository, list_shows_backups_and_segments_when_asked)
{
	cr_assert_eq(RUN("list", "--repo", repository.url, "--key", repository.identity), 0, "%s", complaint);
	cr_assert_eq(lines(output), 1 + 2, "%s", output);
	cr_assert_lt(strstr(output, repository.built[4].id), strstr(output, repository.built[7].id));
	cr_assert_eq(RUN("list", "--all", "--repo", repository.url, "--key", repository.identity), 0);
	cr_assert_eq(lines(output), 1 + repository.built_count);
	cr_assert_eq(RUN("list", "--type", "segment", "--repo", repository.url, "--key", repository.identity), 0);
	cr_assert_eq(lines(output), 1 + repository.built_count - 2);
	cr_assert_eq(RUN("list", "--stream", "other", "--repo", repository.url, "--key", repository.identity), 3);
}

Test(command_repository, list_in_json_is_an_object_a_line)
{
	cr_assert_eq(RUN("list", "--json", "--repo", repository.url, "--key", repository.identity), 0);
	cr_assert_eq(lines(output), 2);
	json_t *object = json_loads(output, JSON_DISABLE_EOF_CHECK, NULL);
	cr_assert_str_eq(json_string_value(json_object_get(object, "backup")), repository.built[4].id);
	cr_assert_str_eq(json_string_value(json_object_get(object, "stream")), STREAM);
	cr_assert_str_eq(json_string_value(json_object_get(object, "type")), "full");
	cr_assert_eq(json_integer_value(json_object_get(object, "event")), 26);
	json_decref(object);
}

Test(command_repository, a_damaged_manifest_hides_no_other_and_is_exit_code_one)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", repository.url, repository.built[4].path);
	cr_assert_eq(truncate(path, 100), 0);
	cr_assert_eq(RUN("list", "--repo", repository.url, "--key", repository.identity), 1);
	cr_assert_not_null(strstr(output, repository.built[7].id));
	cr_assert_not_null(strstr(complaint, repository.built[4].path), "%s", complaint);
}

Test(command_repository, show_tells_what_a_backup_leans_on)
{
	const char *fuzzy = repository.built[4].id, *exact = repository.built[7].id;
	cr_assert_eq(RUN("show", fuzzy, "--repo", repository.url, "--key", repository.identity), 0, "%s", complaint);
	cr_assert_not_null(strstr(output, "leans on     2 segments, for events 12 to 26\n"), "%s", output);
	cr_assert_eq(RUN("show", exact, "--repo", repository.url, "--key", repository.identity), 0);
	cr_assert_not_null(strstr(output, "leans on     nothing\n"), "%s", output);
	cr_assert_eq(RUN("show", "--json", fuzzy, "--repo", repository.url, "--key", repository.identity), 0);
	json_t *object = json_loads(output, 0, NULL);
	cr_assert_eq(json_integer_value(json_object_get(json_object_get(object, "leans_on"), "segments")), 2);
	cr_assert_eq(json_array_size(json_object_get(object, "objects")), repository.built[4].object_count);
	cr_assert_eq(json_integer_value(json_object_get(object, "chain")), 5);
	json_decref(object);
}

Test(command_repository, a_backup_that_is_not_there_is_not_found)
{
	cr_assert_eq(RUN("show", "FUL_20260102T030405Z_0123456789abcdef", "--repo", repository.url, "--key",
	                 repository.identity), 3);
	cr_assert_eq(strncmp(complaint, "tb show: there is no backup FUL_", 32), 0, "%s", complaint);
}

/* ---- status, judged */

#define T0 UINT64_C(1767323045000000000)

typedef struct room { /* a broker's answer, all well, to be made worse */
	Tb__StatReply reply;
	Tb__StreamStat stream, *streams[1];
	Tb__Health health[4];
	Tb__StreamFigure figure, *figures[1];
	uint8_t packed[4][256];
	ProtobufCBinaryData healths[4];
	status status;
} room;

static void room_init(room *room)
{
	static const char *const roles[] = { "collector", "sealer", "storer", "signal" };
	*room = (struct room){ .reply = TB__STAT_REPLY__INIT, .stream = TB__STREAM_STAT__INIT,
		                   .figure = TB__STREAM_FIGURE__INIT };
	room->stream.name = (char *)"book";
	room->stream.connected = 1;
	room->stream.accepted = room->stream.durable = room->stream.stored = 100;
	room->stream.durable_stamp_ns = T0 - TB_NS_PER_S;
	room->streams[0] = &room->stream;
	room->figure.stream = (char *)"book";
	room->figure.number = 99;
	room->figures[0] = &room->figure;
	for (int i = 0; i < 4; i++) {
		room->health[i] = (Tb__Health)TB__HEALTH__INIT;
		room->health[i].role = (char *)(uintptr_t)roles[i];
		room->health[i].state = (char *)"healthy";
		room->health[i].pid = 100 + (uint64_t)i;
		room->health[i].time_ns = T0 - TB_NS_PER_S / 2;
	}
	room->health[0].n_applied = 1;
	room->health[0].applied = room->figures;
	room->reply.n_streams = 1;
	room->reply.streams = room->streams;
	room->reply.n_health = 4;
	room->reply.health = room->healths;
	room->reply.now_ns = T0;
	room->reply.journal_bytes = 1 << 20;
	room->reply.journal_limit = 1 << 30;
	room->reply.streams_max = 1000;
	room->status = (status){
		.dir = "/x", .refused = json_object(), .degraded = json_array(), .warnings = json_array(),
	};
}

/* The reasons, joined by '|'. */
static const char *judge(room *room)
{
	static char text[2000];
	for (int i = 0; i < 4; i++) {
		room->healths[i].len = tb__health__pack(&room->health[i], room->packed[i]);
		room->healths[i].data = room->packed[i];
	}
	status_take_reply(&room->status, &room->reply);
	status_stream_of(&room->status, "book")->restorable_to = 100;
	status_judge(&room->status);
	text[0] = '\0';
	for (size_t i = 0; i < json_array_size(room->status.degraded); i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? "|" : "",
		         json_string_value(json_array_get(room->status.degraded, i)));
	return text;
}

Test(status, where_all_is_well_nothing_is_degraded)
{
	room room;
	room_init(&room);
	cr_assert_str_eq(judge(&room), "");
	const status_stream *stream = status_stream_of(&room.status, "book");
	cr_assert_eq(stream->applied, 99);
	cr_assert_eq(stream->window_ns, 0);
	cr_assert_eq(room.status.process_count, 5);
	json_t *object = status_json(&room.status);
	cr_assert(json_is_true(json_object_get(object, "healthy")));
	json_decref(object);
	status_drop(&room.status);
}

Test(status, each_trouble_has_its_reason)
{
	static const struct {
		const char *what, *reason;
	} troubles[] = {
		{ "role missing", "signal: none is running; `tb up` starts one" },
		{ "heartbeat old", "sealer (pid 101): no heartbeat for 14 s" },
		{ "state", "storer: unhealthy: no room" },
		{ "held up", "broker: degraded: the journal is full" },
		{ "journal", "journal: 800.0 MiB of 1.0 GiB; at its limit nothing more is accepted" },
		{ "window", "book: 10 events are not stored yet, the oldest for 60 s" },
		{ "streams", "there are 1 streams, and no room for another: see streams.max in tb.yaml" },
		{ "tired", "sealer: 3 segments were tried five times without result, and are tried on; /x/logs/sealer.log says why" },
	};
	Tb__GroupStat group = TB__GROUP_STAT__INIT, *groups[] = { &group };
	group.group = TB_GROUP_SEALER;
	group.tired = 3;
	for (size_t i = 0; i < sizeof(troubles) / sizeof(*troubles); i++) {
		room room;
		room_init(&room);
		switch (i) {
		case 0: room.reply.n_health = 3; break;
		case 1: room.health[1].time_ns = T0 - 14 * TB_NS_PER_S; break;
		case 2: room.health[2].state = (char *)"unhealthy"; room.health[2].detail = (char *)"no room"; break;
		case 3: room.reply.held_up = (char *)"the journal is full"; break;
		case 4: room.reply.journal_bytes = 800 << 20; break;
		case 5: room.stream.stored = 90; room.stream.durable_stamp_ns = T0 - 60 * TB_NS_PER_S; break;
		case 6: room.reply.streams_max = 1; break;
		case 7: room.reply.groups = groups; room.reply.n_groups = 1; break;
		}
		cr_assert_str_eq(judge(&room), troubles[i].reason, "%s", troubles[i].what);
		status_drop(&room.status);
	}
}

Test(status, what_was_not_taken_is_told_by_its_cause_and_is_no_trouble)
{
	room room;
	Tb__Refusal refusal = TB__REFUSAL__INIT, *refusals[] = { &refusal };
	room_init(&room);
	refusal.cause = (char *)"no frames";
	refusal.count = 12;
	room.reply.refusals = refusals;
	room.reply.n_refusals = 1;
	cr_assert_str_eq(judge(&room), "");
	json_t *object = status_json(&room.status);
	cr_assert_eq(json_integer_value(json_object_get(json_object_get(object, "refused"), "no frames")), 12);
	json_decref(object);
	status_drop(&room.status);
}

Test(status, a_heartbeat_of_less_than_three_seconds_is_fresh)
{
	room room;
	room_init(&room);
	room.health[1].time_ns = T0 - 2900 * TB_NS_PER_MS;
	room.health[2].time_ns = T0 + TB_NS_PER_S; /* clocks differ */
	cr_assert_str_eq(judge(&room), "");
	status_drop(&room.status);
}

Test(status, what_was_stored_and_is_gone_from_the_repository_is_told)
{
	room room;
	room_init(&room);
	room.stream.accepted = room.stream.durable = room.stream.stored = 120;
	cr_assert_str_eq(judge(&room), "book: events up to 120 were stored, but the repository holds them to 100 only");
	status_drop(&room.status);
}

/* ---- children */

Test(children, delays_double_to_five_seconds_and_begin_anew)
{
	static const uint64_t delays_ms[] = { 20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000 };
	child one = { .failures = 0 };
	for (size_t i = 0; i < sizeof(delays_ms) / sizeof(*delays_ms); i++) {
		one.failures++;
		child_back_off(&one, T0);
		cr_assert_eq(one.delay_ns, delays_ms[i] * TB_NS_PER_MS);
		cr_assert_eq(one.due_ns, T0 + one.delay_ns);
	}
	one.failures = 1; /* it had lived for a while */
	child_back_off(&one, T0);
	cr_assert_eq(one.delay_ns, 20 * TB_NS_PER_MS);
}

Test(children, the_reason_of_an_end_is_the_last_error_in_the_log)
{
	static const struct {
		const char *log, *why, *hint;
	} cases[] = {
		{ "", "", "" },
		{ "2026-01-02T03:04:05.123Z info  tb-storer[7] started\n"
		  "2026-01-02T03:04:05.123Z error tb-storer[7] ends: the disk is full\n"
		  "2026-01-02T03:04:05.123Z error tb-storer[7] ends: hint: make room\n"
		  "2026-01-02T03:04:05.123Z info  tb-storer[7] ended\n", "the disk is full", "make room" },
		{ "2026-01-02T03:04:05.123Z error tb-storer[7] first\n"
		  "2026-01-02T03:04:05.123Z error tb-storer[7] first: hint: old\n"
		  "2026-01-02T03:04:05.123Z error tb-storer[7] ends: second\n", "second", "" },
		{ "can't start this program\n\n", "can't start this program", "" },
		{ "free(): invalid pointer", "free(): invalid pointer", "" },
	};
	char why[100], hint[100];
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		log_last_error(cases[i].log, why, sizeof(why), hint, sizeof(hint));
		cr_assert_str_eq(why, cases[i].why);
		cr_assert_str_eq(hint, cases[i].hint);
	}
}

Test(children, an_end_is_described_by_code_or_signal)
{
	tb_buf text = { 0 };
	child one = { .code = 6, .why = "no room" };
	child_describe(&one, &text);
	cr_assert_str_eq(tb_buf_text(&text), "ended with exit code 6: no room");
	tb_buf_clear(&text);
	one.code = -9;
	child_describe(&one, &text);
	cr_assert_str_eq(tb_buf_text(&text), "was killed by signal 9 (Killed)");
	tb_buf_drop(&text);
}

/* ---- print */

Test(status, sizes_and_ages_are_short)
{
	static const struct {
		uint64_t value;
		const char *size;
	} sizes[] = { { 0, "0 B" }, { 1023, "1023 B" }, { 1024, "1.0 KiB" }, { 1536, "1.5 KiB" }, { 1048575, "1.0 MiB" },
		          { UINT64_MAX, "16.0 EiB" } };
	static const struct {
		uint64_t ms;
		const char *age;
	} ages[] = { { 0, "0.0 s" },        { 1500, "1.5 s" },    { 10000, "10 s" },      { 119000, "119 s" },
		         { 120000, "2 min" },   { 7199000, "119 min" }, { 7200000, "2 h" },   { 172800000, "2 d" } };
	tb_buf text = { 0 };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		tb_buf_clear(&text);
		tb_print_size(&text, sizes[i].value);
		cr_assert_str_eq(tb_buf_text(&text), sizes[i].size);
	}
	for (size_t i = 0; i < sizeof(ages) / sizeof(*ages); i++) {
		tb_buf_clear(&text);
		tb_print_age(&text, ages[i].ms * TB_NS_PER_MS);
		cr_assert_str_eq(tb_buf_text(&text), ages[i].age);
	}
	tb_buf_drop(&text);
}
