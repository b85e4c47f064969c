/* tb keys: who can restore. */
#include "run/config.h"
#include "store/instance.h"
#include "workers/tb/tb.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

const tb_opt tb_keys_rows[] = {
	{ "repo", 'r', TB_OPT_TEXT, offsetof(struct keys_options, repo), NULL, NULL, "PATH",
	  "The repository; default: the instance's.", 1 },
	{ "valid", 0, TB_OPT_SPAN, offsetof(struct keys_options, valid_ns), "5y", "1s..20y", NULL,
	  "How long a host's certificate holds.", 1 },
	{ "renew", 0, TB_OPT_FLAG, offsetof(struct keys_options, renew), NULL, NULL, NULL,
	  "A host that has key and certificate gets new ones.", 1 },
	{ 0 },
};

/* ---- tb keys list */

static const struct {
	const char *name, *what;
} key_files[] = {
	{ "keys/identity.key", "identity: restores" },
	{ "keys/instance.key", "instance: certifies collectors, signs periods" },
	{ "keys/collector.key", "collector: signs manifests" },
	{ "keys/recovery-kit.txt", "recovery kit: restores" },
};

typedef struct keys_list {
	tb_call *call;
	const char *dir;
	uint8_t instance[TB_PUBLIC_KEY];
	char identity[TB_ID_TEXT]; /* its recipient id; empty: it isn't here */
	char period[2 * TB_PERIOD_ID + 1]; /* the present one; empty: unknown */
	tb_tier *tier;
	tb_table files, wraps;
	json_t *files_json, *wraps_json;
} keys_list;

static void list_file(keys_list *self, size_t index)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	struct stat info;
	const char *name = tb_below(&path, self->dir, key_files[index].name);
	if (stat(name, &info) != 0)
		return;
	int open_to_others = (info.st_mode & 077) != 0;
	tb_table_cell(&self->files, "%s", name);
	tb_table_cell(&self->files, "%04o%s", (unsigned)(info.st_mode & 07777), open_to_others ? " OTHERS CAN READ IT" : "");
	tb_table_cell(&self->files, "%s", key_files[index].what);
	json_array_append_new(self->files_json, json_pack("{s:s, s:s, s:b}", "file", name, "what", key_files[index].what,
	                                                  "private", !open_to_others));
	if (open_to_others)
		self->call->exit = 1;
}

/* The public half alone: a key that others may read is refused by tb_key_read, and must be shown all the same. */
static void read_identity(keys_list *self)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_key *key;
	if (tb_key_read(self->call->disk, tb_below(&path, self->dir, "keys/identity.key"), TB_KEY_IDENTITY, &key, NULL) !=
	    TB_OK)
		return;
	tb_recipient_id(tb_key_public(key), self->identity);
	tb_key_free(key);
}

static void read_present_period(keys_list *self)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 }, record = { 0 };
	tb_period period;
	if (tb_disk_read_file(self->call->disk, tb_below(&path, self->dir, "keys/period.rec"), TB_PERIOD_RECORD, &record,
	                      NULL) == TB_OK &&
	    tb_period_read(tb_buf_span(&record), self->instance, &period, NULL) == TB_OK)
		tb_hex(self->period, period.id, TB_PERIOD_ID);
}

static tb_rc list_wrap(void *context, const char *name, uint64_t size, tb_err *err)
{
	keys_list *self = context;
	tb_auto(tb_buf_drop) tb_buf file = { 0 }, made = { 0 };
	tb_period record;
	tb_err why = { 0 };
	char period[2 * TB_PERIOD_ID + 1] = "";
	(void)size;
	(void)err;
	tb_rc rc = self->tier->get(self->tier, name, TB_WRAP_SIZE, &file, &why);
	if (rc == TB_OK && file.size != TB_WRAP_SIZE)
		rc = tb_fail(&why, TB_ECORRUPT, "%s has %zu bytes, a wrapped key has %u", name, file.size, TB_WRAP_SIZE);
	if (rc == TB_OK)
		rc = tb_period_read(tb_span_of(file.data, TB_PERIOD_RECORD), self->instance, &record, &why);
	if (rc != TB_OK) {
		tb_print_failure("keys", &why);
		self->call->exit = tb_rc_exit(rc);
		return TB_OK;
	}
	const char *recipient = strrchr(name, '/') + 1;
	int own = strcmp(recipient, self->identity) == 0;
	tb_hex(period, record.id, TB_PERIOD_ID);
	tb_print_time(&made, record.made_ns);
	tb_table_cell(&self->wraps, "%s%s", period, strcmp(period, self->period) == 0 ? " (present)" : "");
	tb_table_cell(&self->wraps, "%s", tb_buf_text(&made));
	tb_table_cell(&self->wraps, "%s%s", recipient, own ? " (keys/identity.key)" : "");
	json_array_append_new(self->wraps_json, json_pack("{s:s, s:b, s:o, s:s}", "period", period, "present",
	                                                  strcmp(period, self->period) == 0, "made",
	                                                  tb_json_time(record.made_ns), "recipient", recipient));
	return TB_OK;
}

static tb_rc list_wraps(keys_list *self, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	const struct keys_options *options = self->call->options;
	tb_rc rc = TB_OK;
	if (options->repo != NULL)
		tb_buf_print(&path, "%s", options->repo);
	else
		rc = tb_config_repository(self->dir, &path, err);
	if (rc == TB_OK)
		rc = tb_tier_open(self->call->disk, tb_buf_text(&path), 0, &self->tier, err);
	if (rc == TB_OK)
		rc = self->tier->list(self->tier, "keys", list_wrap, self, err);
	return rc;
}

static void print_keys(keys_list *self)
{
	tb_auto(tb_buf_drop) tb_buf text = { 0 };
	tb_buf_print(&text, "instance  ");
	tb_buf_hex(&text, self->instance, TB_PUBLIC_KEY);
	tb_buf_print(&text, "\nidentity  %s\n\n", *self->identity ? self->identity : "none that can be read here");
	tb_table_print(&self->files, &text);
	tb_buf_byte(&text, '\n');
	tb_table_print(&self->wraps, &text);
	fputs(tb_buf_text(&text), stdout);
}

static void print_keys_json(keys_list *self)
{
	char instance[2 * TB_PUBLIC_KEY + 1];
	tb_hex(instance, self->instance, TB_PUBLIC_KEY);
	tb_print_json(json_pack("{s:s, s:o, s:O, s:O}", "instance", instance, "identity",
	                        *self->identity ? json_string(self->identity) : json_null(), "files", self->files_json,
	                        "periods", self->wraps_json));
}

static tb_rc run_list(tb_call *call, const char *dir, tb_err *err)
{
	keys_list self = { .call = call, .dir = dir };
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	uint8_t repository[TB_REPOSITORY_ID];
	tb_rc rc = tb_instance_public_read(call->disk, tb_below(&path, dir, "keys/instance.pub"), self.instance, repository,
	                                   err);
	if (rc != TB_OK)
		return rc;
	self.files = self.wraps = (tb_table){ .columns = 3 };
	self.files_json = json_array();
	self.wraps_json = json_array();
	tb_table_row(&self.files, (const char *const[]){ "FILE", "MODE", "WHAT", NULL });
	tb_table_row(&self.wraps, (const char *const[]){ "PERIOD", "MADE", "RECIPIENT", NULL });
	for (size_t i = 0; i < sizeof(key_files) / sizeof(*key_files); i++)
		list_file(&self, i);
	read_identity(&self);
	read_present_period(&self);
	rc = list_wraps(&self, err);
	if (rc == TB_OK)
		(call->json ? print_keys_json : print_keys)(&self);
	tb_tier_close(self.tier);
	tb_table_drop(&self.files);
	tb_table_drop(&self.wraps);
	json_decref(self.files_json);
	json_decref(self.wraps_json);
	return rc;
}

/* ---- tb keys new FILE */

static tb_rc run_new(tb_call *call, const char *dir, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_key *instance = NULL, *key = NULL;
	char recipient[TB_ID_TEXT];
	if (call->operand_count < 2) {
		tb_fail(err, TB_EINVAL, "it isn't said where the new key goes");
		tb_hint(err, "usage: tb keys new FILE");
		return TB_EINVAL;
	}
	const char *file = call->operands[1];
	tb_rc rc = tb_key_read(call->disk, tb_below(&path, dir, "keys/instance.key"), TB_KEY_INSTANCE, &instance, err);
	if (rc == TB_OK)
		rc = tb_key_make(TB_KEY_IDENTITY, tb_key_repository(instance), instance, tb_real_ns(call->clock), &key, err);
	if (rc == TB_OK)
		rc = tb_key_write(call->disk, file, key, err);
	if (rc == TB_OK) {
		tb_recipient_id(tb_key_public(key), recipient);
		if (call->json)
			tb_print_json(json_pack("{s:s, s:s}", "file", file, "recipient", recipient));
		else
			printf("%s\n", recipient);
		fprintf(stderr, "tb keys: this identity opens nothing yet: making it a recipient comes with rotation, which is not "
		                "in this version\n");
	}
	tb_key_free(key);
	tb_key_free(instance);
	return rc;
}

/* ---- */

static const struct {
	const char *name;
	tb_rc (*run)(tb_call *call, const char *dir, tb_err *err); /* NULL: not in this version */
} actions[] = { { "list", run_list }, { "new", run_new }, { "host", tb_keys_host }, { "rotate", NULL }, { "export", NULL } };

enum { ACTION_COUNT = sizeof(actions) / sizeof(*actions) };

static tb_rc find_action(const char *name, size_t *ret_index, tb_err *err)
{
	const char *names[ACTION_COUNT + 1] = { 0 };
	for (size_t i = 0; i < ACTION_COUNT; i++) {
		names[i] = actions[i].name;
		if (strcmp(name, names[i]) == 0) {
			*ret_index = i;
			return TB_OK;
		}
	}
	return tb_name_unknown("action", name, names, "tb keys ", err);
}

tb_rc verb_keys(tb_call *call, tb_err *err)
{
	const char *dir;
	char name[32];
	size_t index = 0;
	tb_rc rc = call->operand_count > 0 ? find_action(call->operands[0], &index, err) : TB_OK;
	snprintf(name, sizeof(name), "`tb keys %s`", actions[index].name);
	if (rc == TB_OK && actions[index].run == NULL)
		return tb_not_yet(name, err);
	if (rc == TB_OK)
		rc = tb_call_dir(call, &dir, err);
	return rc == TB_OK ? actions[index].run(call, dir, err) : rc;
}
