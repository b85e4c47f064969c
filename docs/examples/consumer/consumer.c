/* consumer DIR: publishes two changes of an engine's state to the instance in DIR, waits until they are stored, and brings
 * back the state after the first one. */
#include <tb/publish.h>
#include <tb/restore.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STREAM "consumer"
#define SECOND UINT64_C(1000000000)

static int fail(const tb_err *err)
{
	fprintf(stderr, "consumer: %s (%s)\n", err->text, tb_rc_name(err->rc));
	if (err->hint[0] != '\0')
		fprintf(stderr, "hint: %s\n", err->hint);
	return tb_rc_exit(err->rc);
}

static tb_rc put(tb_publisher *publisher, const char *key, const char *value, uint64_t *ret_number, tb_err *err)
{
	return tb_publish_put(publisher, key, strlen(key), value, strlen(value), ret_number, err);
}

/* ret_first: the number of the first change. */
static tb_rc publish(const char *dir, uint64_t *ret_first, tb_err *err)
{
	const tb_publisher_options options = { .stream = STREAM, .dir = dir };
	tb_publisher *publisher;
	tb_rc rc = tb_publisher_open(&options, &publisher, err);
	if (rc != TB_OK)
		return rc;
	rc = put(publisher, "position:BTC", "0.50", ret_first, err);
	if (rc == TB_OK)
		rc = put(publisher, "position:BTC", "0.75", NULL, err);
	if (rc == TB_OK)
		rc = tb_publisher_wait(publisher, 0, TB_STORED, 30 * SECOND, err);
	tb_publisher_close(publisher);
	return rc;
}

static tb_rc restore(const char *dir, uint64_t event, tb_restored *ret_restored, tb_err *err)
{
	char repository[4096], identity[4096];
	snprintf(repository, sizeof(repository), "%s/repository", dir);
	snprintf(identity, sizeof(identity), "%s/keys/identity.key", dir);
	const tb_restore_options options = {
		.repository = repository, .identity = identity, .stream = STREAM, .moment = TB_AT_EVENT, .event = event,
		.target = "json:-",
	};
	return tb_restore(&options, ret_restored, err);
}

int main(int argc, char **argv)
{
	tb_err err;
	tb_restored restored;
	uint64_t first;
	if (argc != 2) {
		fprintf(stderr, "usage: consumer DIR\n");
		return 2;
	}
	if (publish(argv[1], &first, &err) != TB_OK || restore(argv[1], first, &restored, &err) != TB_OK)
		return fail(&err);
	fprintf(stderr, "event %" PRIu64 ": %" PRIu64 " keys\n", restored.event, restored.keys);
	return 0;
}
