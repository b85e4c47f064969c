/* Where things are: the instance's directory, its repository, its broker, its signal worker, who runs it. */
#include "run/config.h"
#include "store/instance.h"
#include "workers/tb/tb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

const char *tb_below(tb_buf *path, const char *dir, const char *name)
{
	tb_buf_clear(path);
	tb_buf_print(path, "%s/%s", dir, name);
	return tb_buf_text(path);
}

tb_rc tb_call_dir(const tb_call *call, const char **ret_dir, tb_err *err)
{
	if (call->dir == NULL) {
		tb_fail(err, TB_EINVAL, "no instance is named");
		tb_hint(err, "name its directory with --dir DIR, or set TB_DIR");
		return TB_EINVAL;
	}
	tb_rc rc = tb_instance_check(call->disk, call->dir, err);
	if (rc == TB_OK)
		*ret_dir = call->dir;
	return rc;
}

static tb_rc open_for_instance(const tb_call *call, const char *repo, tb_archive **ret_archive, tb_err *err)
{
	uint8_t instance[TB_PUBLIC_KEY], repository[TB_REPOSITORY_ID];
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = tb_instance_public_read(call->disk, tb_below(&path, call->dir, "keys/instance.pub"), instance, repository,
	                                   err);
	return rc == TB_OK ? tb_archive_open(call->disk, repo, NULL, instance, ret_archive, err) : rc;
}

/* repo: as given, or NULL, and then set to the instance's. */
static tb_rc find_repository(const tb_call *call, int has_key, const char **repo, tb_buf *path, tb_err *err)
{
	const char *dir;
	tb_rc rc = TB_OK;
	if (*repo != NULL && !has_key && call->dir == NULL) {
		tb_fail(err, TB_EKEY, "nothing in %s can be checked without a key", *repo);
		tb_hint(err, "give an identity or recovery kit with --key FILE, or the instance with --dir DIR");
		return TB_EKEY;
	}
	if (*repo == NULL || !has_key)
		rc = tb_call_dir(call, &dir, err);
	if (rc == TB_OK && *repo == NULL) {
		rc = tb_config_repository(call->dir, path, err);
		*repo = tb_buf_text(path);
	}
	return rc;
}

tb_rc tb_call_archive(const tb_call *call, const char *repo, const char *key, tb_archive **ret_archive, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_key *identity = NULL;
	tb_rc rc = find_repository(call, key != NULL, &repo, &path, err);
	if (rc == TB_OK && key == NULL)
		return open_for_instance(call, repo, ret_archive, err);
	if (rc == TB_OK)
		rc = tb_key_read(call->disk, key, TB_KEY_IDENTITY, &identity, err);
	if (rc == TB_OK)
		rc = tb_archive_open(call->disk, repo, identity, NULL, ret_archive, err);
	tb_key_free(identity);
	return rc;
}

tb_rc tb_call_archive_closed(const tb_call *call, const char *repo, const tb_key *identity, tb_archive **ret_archive,
                             tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = find_repository(call, identity != NULL, &repo, &path, err);
	if (rc != TB_OK)
		return rc;
	return identity == NULL ? open_for_instance(call, repo, ret_archive, err)
	                        : tb_archive_open(call->disk, repo, NULL, tb_key_instance(identity), ret_archive, err);
}

tb_rc tb_call_bus(const tb_call *call, tb_bus **ret_bus, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf url = { 0 };
	const char *dir;
	tb_rc rc = tb_call_dir(call, &dir, err);
	if (rc == TB_OK)
		rc = tb_bus_address(dir, "broker", &url, err);
	/* Not by connecting: a bare connect would harm the listener. */
	if (rc == TB_OK && access(tb_buf_text(&url) + strlen("ipc://"), F_OK) != 0) {
		rc = tb_fail(err, TB_EUNREACHABLE, "no broker runs in %s", dir);
		tb_hint(err, "`tb up --dir %s` starts it", dir);
	}
	return rc == TB_OK ? tb_bus_dial(tb_buf_text(&url), -1, ret_bus, err) : rc;
}

tb_rc tb_call_ask(const tb_call *call, const json_t *question, uint64_t timeout_ns, json_t **ret_answer, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf url = { 0 }, answer = { 0 };
	const char *dir;
	json_error_t wrong;
	char *text = json_dumps(question, JSON_COMPACT);
	tb_rc rc = tb_call_dir(call, &dir, err);
	if (rc == TB_OK)
		rc = tb_bus_address(dir, "signals", &url, err);
	if (rc == TB_OK)
		rc = tb_ask(tb_buf_text(&url), tb_span_text(text), timeout_ns, -1, &answer, err);
	free(text);
	if (rc == TB_EUNREACHABLE)
		tb_hint(err, "is it running? `tb status` says; `tb up` starts it");
	if (rc != TB_OK)
		return rc;
	json_t *value = json_loadb((const char *)answer.data, answer.size, JSON_REJECT_DUPLICATES, &wrong);
	if (value == NULL)
		return tb_fail(err, TB_ECORRUPT, "the signal worker's answer isn't JSON: %s", wrong.text);
	const char *refusal = json_string_value(json_object_get(value, "error"));
	if (refusal != NULL) {
		tb_fail(err, TB_EREFUSED, "the signal worker refused: %s", refusal);
		json_decref(value);
		return TB_EREFUSED;
	}
	*ret_answer = value;
	return TB_OK;
}

void tb_names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

static int read_pid(int fd)
{
	char text[32];
	ssize_t size = pread(fd, text, sizeof(text) - 1, 0);
	text[size > 0 ? size : 0] = '\0';
	return (int)strtol(text, NULL, 10);
}

tb_rc tb_up_pid(const char *dir, int *ret_pid, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	const char *name = tb_below(&path, dir, "run/up.lock");
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return tb_fail_errno(err, errno, "can't open %s", name);
	if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0) {
		if (fd >= 0)
			close(fd);
		tb_fail(err, TB_ENOTFOUND, "not running: no `tb up` runs in %s", dir);
		tb_hint(err, "`tb up --dir %s` starts it", dir);
		return TB_ENOTFOUND;
	}
	tb_rc rc = errno == EWOULDBLOCK ? TB_OK : tb_fail_errno(err, errno, "can't test the lock %s", name);
	if (rc == TB_OK)
		*ret_pid = read_pid(fd);
	close(fd);
	return rc;
}
