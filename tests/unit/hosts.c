/* Between hosts: addresses, keys and certificates, and that nobody without them gets anything. */
#include "base/clock.h"
#include "bus/address.h"
#include "bus/host_keys.h"
#include "bus/listen.h"
#include "leaks.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_NS (UINT64_C(86400) * TB_NS_PER_S)
#define LONG_NS (60 * TB_NS_PER_S) /* a bound against hanging, never waited out */

static char directory[32];

static void make_directory(void)
{
	snprintf(directory, sizeof(directory), "/tmp/tb-hosts-XXXXXX");
	cr_assert(mkdtemp(directory));
}

static void remove_directory(void)
{
	tb_disk_remove_tree(tb_disk_system(), directory, NULL);
	fail_on_leaks();
}

TestSuite(addresses, .fini = fail_on_leaks);
TestSuite(host_keys, .init = make_directory, .fini = remove_directory);
TestSuite(between_hosts, .init = make_directory, .fini = remove_directory);

/* ---- addresses */

Test(addresses, an_address_says_whether_it_leaves_the_host_and_how_it_is_protected)
{
	static const struct {
		const char *text;
		tb_rc rc;
		const char *url, *keys;
	} rows[] = {
		{ "ipc:///run/tb/broker.ipc", TB_OK, "ipc:///run/tb/broker.ipc", NULL },
		{ "ipc:///run/a#b/broker.ipc", TB_OK, "ipc:///run/a#b/broker.ipc", NULL },
		{ "tcp://127.0.0.1:7401", TB_OK, "tcp://127.0.0.1:7401", NULL },
		{ "tcp://127.3.2.1:7401", TB_OK, "tcp://127.3.2.1:7401", NULL },
		{ "tcp://localhost:7401", TB_OK, "tcp://localhost:7401", NULL },
		{ "tcp://[::1]:7401", TB_OK, "tcp://[::1]:7401", NULL },
		{ "tcp://10.0.0.1:7401", TB_EREFUSED, NULL, NULL },
		{ "tcp://0.0.0.0:7401", TB_EREFUSED, NULL, NULL },
		{ "tcp://:7401", TB_EREFUSED, NULL, NULL },
		{ "tcp://*:7401", TB_EREFUSED, NULL, NULL },
		{ "tcp://[::]:7401", TB_EREFUSED, NULL, NULL },
		{ "tcp://127.0.0.1.example.org:7401", TB_EREFUSED, NULL, NULL },
		{ "tcp://localhost.example.org:7401", TB_EREFUSED, NULL, NULL },
		{ "tcp://10.0.0.1:7401#unprotected", TB_OK, "tcp://10.0.0.1:7401", NULL },
		{ "tcp://10.0.0.1:7401#protected", TB_EINVAL, NULL, NULL },
		{ "tcp://10.0.0.1:7401#", TB_EINVAL, NULL, NULL },
		{ "tls+tcp://10.0.0.1:7401#/etc/tradebank/host", TB_OK, "tls+tcp://10.0.0.1:7401", "/etc/tradebank/host" },
		{ "tls+tcp://10.0.0.1:7401", TB_EINVAL, NULL, NULL },
		{ "tls+tcp://10.0.0.1:7401#", TB_EINVAL, NULL, NULL },
		{ "ws://127.0.0.1:7401", TB_EINVAL, NULL, NULL },
		{ "TCP://127.0.0.1:7401", TB_EINVAL, NULL, NULL },
		{ "", TB_EINVAL, NULL, NULL },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tb_address address;
		tb_err err = { 0 };
		cr_expect_eq(tb_address_read(rows[i].text, &address, &err), rows[i].rc, "%s: %s", rows[i].text, err.text);
		if (rows[i].rc != TB_OK) {
			cr_expect_neq(err.hint[0] == '\0' && rows[i].rc == TB_EREFUSED, 1, "%s", rows[i].text);
			continue;
		}
		cr_expect_str_eq(address.url, rows[i].url);
		cr_expect_eq(address.keys == NULL, rows[i].keys == NULL);
		if (address.keys != NULL && rows[i].keys != NULL)
			cr_expect_str_eq(address.keys, rows[i].keys);
	}
}

Test(addresses, one_that_is_too_long_is_refused)
{
	char text[2 * TB_ADDRESS_MAX] = "ipc:///";
	tb_address address;
	memset(text + 7, 'a', TB_ADDRESS_MAX - 7);
	cr_assert_eq(tb_address_read(text, &address, NULL), TB_EINVAL);
	text[TB_ADDRESS_MAX - 1] = '\0';
	cr_assert_eq(tb_address_read(text, &address, NULL), TB_OK);
}

Test(addresses, only_what_is_encrypted_gets_keys_and_only_when_it_has_none)
{
	static const char *const rows[][2] = {
		{ "tls+tcp://a:1", "tls+tcp://a:1#/keys" },
		{ "tls+tcp://a:1#/own", "tls+tcp://a:1#/own" },
		{ "tcp://a:1", "tcp://a:1" },
		{ "ipc:///a", "ipc:///a" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tb_auto(tb_buf_drop) tb_buf text = { 0 };
		tb_address_print(&text, rows[i][0], "/keys");
		cr_expect_str_eq(tb_buf_text(&text), rows[i][1]);
	}
}

/* What is read prints as it was written, but for what isn't told on. */
static void is_address_or_refused(const char *text)
{
	tb_address address;
	tb_auto(tb_buf_drop) tb_buf again = { 0 };
	tb_err err = { 0 };
	tb_rc rc = tb_address_read(text, &address, &err);
	if (rc != TB_OK) {
		cr_assert(rc == TB_EINVAL || rc == TB_EREFUSED);
		cr_assert_neq(err.text[0], '\0', "%s", text);
		return;
	}
	tb_address_print(&again, address.url, address.keys);
	if (strncmp(text, "tcp://", 6) != 0)
		cr_assert_str_eq(tb_buf_text(&again), text);
	else
		cr_assert_eq(strncmp(tb_buf_text(&again), text, again.size), 0, "%s", text);
}

Test(addresses, one_cut_or_flipped_anywhere_is_read_as_it_stands_or_refused)
{
	static const char *const rows[] = { "ipc:///run/tb/broker.ipc", "tcp://127.0.0.1:7401", "tcp://[::1]:7401",
		                            "tcp://10.0.0.1:7401#unprotected", "tls+tcp://box2:7401#/etc/tradebank/host" };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[64];
		size_t size = strlen(rows[i]);
		for (size_t cut = 0; cut <= size; cut++) {
			snprintf(text, sizeof(text), "%.*s", (int)cut, rows[i]);
			is_address_or_refused(text);
		}
		for (size_t bit = 0; bit < size * 8; bit++) {
			text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
			is_address_or_refused(text);
			text[bit / 8] = rows[i][bit / 8];
		}
	}
}

/* ---- keys */

static uint64_t now_ns(void)
{
	return tb_real_ns(tb_clock_system());
}

/* Two instances, a and b; ret_dir gets the host's. */
static tb_rc make(const char *instance, const char *name, uint64_t at_ns, uint64_t valid_ns, int renew, char ret_dir[96],
                  tb_err *err)
{
	char hosts[64];
	snprintf(hosts, sizeof(hosts), "%s/%s", directory, instance);
	snprintf(ret_dir, 96, "%s/%s", hosts, name);
	const tb_host_order order = { hosts, name, instance, at_ns, valid_ns, renew };
	return tb_host_keys_make(tb_disk_system(), &order, err);
}

static void made(const char *instance, const char *name, char ret_dir[96])
{
	tb_err err = { 0 };
	cr_assert_eq(make(instance, name, now_ns(), DAY_NS, 0, ret_dir, &err), TB_OK, "%s", err.text);
}

static tb_rc read_at(const char *dir, uint64_t at_ns, tb_err *err)
{
	tb_host_keys keys = { 0 };
	tb_rc rc = tb_host_keys_read(tb_disk_system(), dir, at_ns, &keys, err);
	if (rc == TB_OK)
		tb_host_keys_drop(&keys);
	return rc;
}

static void file_read(const char *dir, const char *name, tb_buf *ret_bytes)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	cr_assert_eq(tb_disk_read_file(tb_disk_system(), path, 65536, ret_bytes, NULL), TB_OK);
}

static void file_write(const char *dir, const char *name, tb_span bytes)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *file = fopen(path, "wb"); /* not by way of the disk: nothing has to be synced, and it is done often */
	cr_assert(file);
	cr_assert_eq(fwrite(bytes.data, 1, bytes.size, file), bytes.size);
	cr_assert_eq(fclose(file), 0);
}

static void copy(const char *from, const char *to, const char *name)
{
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	file_read(from, name, &bytes);
	file_write(to, name, tb_buf_span(&bytes));
}

Test(host_keys, what_is_made_is_read_again_and_is_private)
{
	char dir[96], path[160];
	struct stat info;
	made("a", "box2", dir);
	cr_assert_eq(read_at(dir, now_ns(), NULL), TB_OK);
	cr_assert_eq(stat(dir, &info), 0);
	cr_assert_eq(info.st_mode & 0777, 0700);
	snprintf(path, sizeof(path), "%s/host.key", dir);
	cr_assert_eq(stat(path, &info), 0);
	cr_assert_eq(info.st_mode & 0777, 0600);
	snprintf(path, sizeof(path), "%s/a/ca/ca.key", directory);
	cr_assert_eq(stat(path, &info), 0);
	cr_assert_eq(info.st_mode & 0777, 0600);
}

Test(host_keys, a_host_keeps_what_it_has_unless_it_is_to_be_renewed)
{
	char dir[96];
	tb_auto(tb_buf_drop) tb_buf first = { 0 }, second = { 0 };
	made("a", "box2", dir);
	file_read(dir, "host.key", &first);
	cr_assert_eq(make("a", "box2", now_ns(), DAY_NS, 0, dir, NULL), TB_EBUSY);
	file_read(dir, "host.key", &second);
	cr_assert(tb_span_equal(tb_buf_span(&first), tb_buf_span(&second)));
	cr_assert_eq(make("a", "box2", now_ns(), DAY_NS, 1, dir, NULL), TB_OK);
	file_read(dir, "host.key", &second);
	cr_assert_not(tb_span_equal(tb_buf_span(&first), tb_buf_span(&second)));
	cr_assert_eq(read_at(dir, now_ns(), NULL), TB_OK);
}

Test(host_keys, names_are_names_and_not_paths)
{
	static const char *const names[] = { "", ".", "..", "../x", "a/b", "ca", "-x", "a b", "a\n", "ä",
		"0123456789012345678901234567890123456789012345678901234567890123" };
	char dir[96];
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_expect_eq(make("a", names[i], now_ns(), DAY_NS, 0, dir, NULL), TB_EINVAL, "'%s'", names[i]);
}

Test(host_keys, a_certificate_is_refused_before_its_time_and_after)
{
	char dir[96];
	tb_err err;
	uint64_t now = now_ns() / TB_NS_PER_S * TB_NS_PER_S; /* certificates know seconds */
	cr_assert_eq(make("a", "box2", now, 10 * DAY_NS, 0, dir, NULL), TB_OK);
	cr_assert_eq(read_at(dir, now - DAY_NS, NULL), TB_OK, "clocks may differ by a day");
	cr_assert_eq(read_at(dir, now - DAY_NS - TB_NS_PER_S, NULL), TB_EKEY);
	cr_assert_eq(read_at(dir, now + 10 * DAY_NS - TB_NS_PER_S, NULL), TB_OK);
	cr_assert_eq(read_at(dir, now + 10 * DAY_NS, &err), TB_EKEY);
	cr_assert(strstr(err.text, "expired"));
	cr_assert(strstr(err.hint, "--renew"));
}

Test(host_keys, a_certificate_that_holds_beyond_what_a_time_can_say_holds_to_the_last)
{
	char dir[96];
	tb_host_keys keys = { 0 };
	tb_err err = { 0 };
	cr_assert_eq(make("a", "box2", now_ns(), UINT64_MAX, 0, dir, NULL), TB_OK);
	cr_assert_eq(tb_host_keys_read(tb_disk_system(), dir, now_ns(), &keys, &err), TB_OK, "%s", err.text);
	cr_assert_eq(keys.until_ns, UINT64_MAX);
	tb_host_keys_drop(&keys);
}

Test(host_keys, those_of_another_instance_or_host_or_that_others_may_read_are_refused)
{
	char ours[96], other[96], theirs[96], path[160];
	made("a", "box2", ours);
	made("a", "box3", other);
	made("b", "box2", theirs);
	copy(ours, other, "host.key");
	cr_assert_eq(read_at(other, now_ns(), NULL), TB_EKEY, "of another host's key");
	copy(ours, theirs, "ca.crt");
	cr_assert_eq(read_at(theirs, now_ns(), NULL), TB_EKEY, "of another instance");
	snprintf(path, sizeof(path), "%s/host.key", ours);
	cr_assert_eq(chmod(path, 0640), 0);
	cr_assert_eq(read_at(ours, now_ns(), NULL), TB_EKEY);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(read_at(ours, now_ns(), NULL), TB_ENOTFOUND);
}

/* A final newline may go. */
Test(host_keys, cut_short_anywhere_they_are_refused)
{
	static const char *const names[] = { "ca.crt", "host.crt", "host.key" };
	char dir[96];
	made("a", "box2", dir);
	for (size_t i = 0; i < 3; i++) {
		tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
		file_read(dir, names[i], &bytes);
		for (size_t size = 0; size + 1 < bytes.size; size++) {
			file_write(dir, names[i], tb_span_of(bytes.data, size));
			cr_expect_eq(read_at(dir, now_ns(), NULL), TB_EKEY, "%s at %zu", names[i], size);
		}
		file_write(dir, names[i], tb_buf_span(&bytes));
	}
	cr_assert_eq(read_at(dir, now_ns(), NULL), TB_OK);
}

Test(host_keys, an_authority_that_is_damaged_makes_no_host)
{
	static const char *const names[] = { "ca.crt", "ca.key" };
	char dir[96], ca[96];
	made("a", "box2", dir);
	snprintf(ca, sizeof(ca), "%s/a/ca", directory);
	for (size_t i = 0; i < 2; i++) {
		tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
		tb_err err = { 0 };
		file_read(ca, names[i], &bytes);
		file_write(ca, names[i], tb_span_of(bytes.data, bytes.size / 2));
		cr_expect_eq(make("a", "box3", now_ns(), DAY_NS, 0, dir, &err), TB_EKEY);
		cr_expect(strstr(err.text, "/a/ca/ca."), "%s", err.text);
		cr_expect_eq(read_at(dir, now_ns(), NULL), TB_ENOTFOUND);
		file_write(ca, names[i], tb_buf_span(&bytes));
	}
	cr_assert_eq(make("a", "box3", now_ns(), DAY_NS, 0, dir, NULL), TB_OK);
}

/* Nobody sits at a broker's terminal, and a question there would wait for ever. */
Test(host_keys, one_behind_a_pass_phrase_is_refused_without_asking_for_it)
{
	char dir[96];
	made("a", "box2", dir);
	file_write(dir, "host.key", tb_span_text("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
	                                         "DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
	                                         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	                                         "-----END EC PRIVATE KEY-----\n"));
	cr_assert_eq(read_at(dir, now_ns(), NULL), TB_EKEY);
}

Test(host_keys, a_certificate_with_any_letter_of_its_body_changed_is_refused)
{
	char dir[96];
	tb_auto(tb_buf_drop) tb_buf bytes = { 0 };
	made("a", "box2", dir);
	file_read(dir, "host.crt", &bytes);
	size_t begin = strlen("-----BEGIN CERTIFICATE-----\n"), end = bytes.size - strlen("\n-----END CERTIFICATE-----\n");
	while (bytes.data[end - 1] == '=') /* bits behind the last byte mean nothing */
		end--;
	for (size_t at = begin; at + 1 < end; at++) {
		uint8_t was = bytes.data[at];
		if (was == '\n')
			continue;
		bytes.data[at] = was == 'A' ? 'B' : 'A';
		file_write(dir, "host.crt", tb_buf_span(&bytes));
		cr_expect_eq(read_at(dir, now_ns(), NULL), TB_EKEY, "letter %zu", at);
		bytes.data[at] = was;
	}
}

/* ---- between hosts */

static char secured[64]; /* the server's address, without keys */

static void answer(void *self, tb_question *question, tb_span text)
{
	++*(int *)self;
	tb_question_answer(question, text);
}

static tb_rc serve(const char *keys, int *asked, tb_server **ret_server, tb_err *err)
{
	tb_server *server;
	tb_auto(tb_buf_drop) tb_buf address = { 0 };
	char path[64];
	*asked = 0;
	snprintf(path, sizeof(path), "ipc://%s/broker.ipc", directory);
	snprintf(secured, sizeof(secured), "tls+tcp://127.0.0.1:%d", 20000 + (int)getpid() % 20000);
	tb_address_print(&address, secured, keys);
	cr_assert_eq(tb_server_listen(path, 4, answer, asked, &server, NULL), TB_OK);
	tb_rc rc = tb_server_also(server, tb_buf_text(&address), err);
	if (rc == TB_OK)
		*ret_server = server;
	else
		tb_server_close(server);
	return rc;
}

static tb_server *served(const char *keys, int *asked)
{
	tb_server *server = NULL;
	tb_err err = { 0 };
	cr_assert_eq(serve(keys, asked, &server, &err), TB_OK, "%s", err.text);
	return server;
}

struct asker {
	const char *keys;
	uint64_t timeout_ns;
	tb_rc rc;
	tb_err err;
	atomic_int done;
};

static void *ask(void *arg)
{
	struct asker *asker = arg;
	tb_auto(tb_buf_drop) tb_buf address = { 0 }, reply = { 0 };
	tb_address_print(&address, secured, asker->keys);
	asker->rc = tb_ask(tb_buf_text(&address), tb_span_text("open?"), asker->timeout_ns, -1, &reply, &asker->err);
	atomic_store(&asker->done, 1);
	return NULL;
}

static struct asker asked_as(tb_server *server, const char *keys, uint64_t timeout_ns)
{
	struct asker asker = { .keys = keys, .timeout_ns = timeout_ns };
	pthread_t thread;
	cr_assert_eq(pthread_create(&thread, NULL, ask, &asker), 0);
	while (!atomic_load(&asker.done)) {
		struct pollfd poller = { .fd = tb_server_fd(server), .events = POLLIN };
		poll(&poller, 1, 20);
		tb_server_poll(server);
	}
	pthread_join(thread, NULL);
	return asker;
}

/* Long enough to be turned away several times; the result doesn't depend on it. */
#define REFUSED_NS TB_NS_PER_S

Test(between_hosts, a_host_of_the_instance_is_answered)
{
	char broker[96], host[96];
	int asked;
	made("a", TB_HOST_BROKER, broker);
	made("a", "box2", host);
	tb_server *server = served(broker, &asked);
	struct asker asker = asked_as(server, host, LONG_NS);
	cr_assert_eq(asker.rc, TB_OK, "%s", asker.err.text);
	cr_assert_eq(asked, 1);
	cr_assert_eq(tb_server_turned_away(server), 0);
	tb_server_close(server);
}

Test(between_hosts, a_host_of_another_instance_gets_nothing_even_if_it_believes_in_ours_and_is_counted)
{
	char broker[96], theirs[96];
	int asked;
	made("a", TB_HOST_BROKER, broker);
	made("b", "box2", theirs);
	tb_server *server = served(broker, &asked);
	struct asker asker = asked_as(server, theirs, REFUSED_NS);
	cr_assert_eq(asker.rc, TB_EUNREACHABLE);
	cr_assert(strstr(asker.err.text, "isn't the broker of this instance"), "%s", asker.err.text);
	cr_assert_eq(asked, 0);
	for (int i = 0; i < 600 && tb_server_turned_away(server) == 0; i++)
		usleep(100 * 1000);
	cr_assert_gt(tb_server_turned_away(server), 0);
	tb_server_close(server);
}

Test(between_hosts, a_certificate_whose_time_is_over_gets_nothing)
{
	char broker[96], host[96];
	int asked;
	tb_err err;
	made("a", TB_HOST_BROKER, broker);
	cr_assert_eq(make("a", "box2", now_ns() - 5 * DAY_NS, DAY_NS, 0, host, NULL), TB_OK);
	tb_server *server = served(broker, &asked);
	struct asker asker = asked_as(server, host, REFUSED_NS);
	cr_assert_eq(asker.rc, TB_EKEY);
	cr_assert(strstr(asker.err.text, "expired"));
	cr_assert_eq(asked, 0);
	tb_server_close(server);
	cr_assert_eq(make("a", TB_HOST_BROKER, now_ns() - 5 * DAY_NS, DAY_NS, 1, broker, NULL), TB_OK);
	cr_assert_eq(serve(broker, &asked, &server, &err), TB_EKEY);
}

Test(between_hosts, a_host_can_not_play_the_broker)
{
	char impostor[96], host[96];
	int asked;
	made("a", "box3", impostor);
	made("a", "box2", host);
	tb_server *server = served(impostor, &asked);
	struct asker asker = asked_as(server, host, REFUSED_NS);
	cr_assert_eq(asker.rc, TB_EUNREACHABLE);
	cr_assert_eq(asked, 0);
	tb_server_close(server);
}

Test(between_hosts, what_is_sent_in_the_clear_to_an_encrypted_port_gets_nothing)
{
	char broker[96], plain[64];
	int asked;
	tb_auto(tb_buf_drop) tb_buf reply = { 0 };
	made("a", TB_HOST_BROKER, broker);
	tb_server *server = served(broker, &asked);
	snprintf(plain, sizeof(plain), "%s", secured + strlen("tls+"));
	cr_assert_eq(tb_ask(plain, tb_span_text("open?"), REFUSED_NS, -1, &reply, NULL), TB_EUNREACHABLE);
	cr_assert_eq(asked, 0);
	tb_server_close(server);
}

Test(between_hosts, without_keys_nothing_listens_and_nothing_is_dialed)
{
	char broker[96];
	int asked;
	tb_server *server;
	tb_bus *bus;
	tb_err err;
	made("a", TB_HOST_BROKER, broker);
	cr_assert_eq(serve(NULL, &asked, &server, &err), TB_EINVAL);
	cr_assert(strstr(err.hint, "tb keys host"));
	cr_assert_eq(serve("/nonexistent", &asked, &server, &err), TB_ENOTFOUND);
	cr_assert_eq(tb_bus_dial("tls+tcp://127.0.0.1:9#/nonexistent", -1, &bus, NULL), TB_ENOTFOUND);
	cr_assert_eq(tb_bus_dial("tcp://192.0.2.1:9", -1, &bus, NULL), TB_EREFUSED);
}

Test(between_hosts, a_port_that_is_missing_or_is_none_is_told_at_once)
{
	tb_inlet *inlet;
	tb_bus *bus;
	tb_err err = { 0 };
	cr_assert_eq(tb_bus_dial("tcp://127.0.0.1", -1, &bus, &err), TB_EINVAL, "%s", err.text);
	cr_assert_not_null(strstr(err.text, "can't be dialed"), "%s", err.text);
	cr_assert_eq(tb_inlet_listen("tcp://127.0.0.1:none", &inlet, &err), TB_EINVAL, "%s", err.text);
	cr_assert_not_null(strstr(err.text, "can't be listened on"), "%s", err.text);
}

/* ---- the sockets' group */

static mode_t mode_of(const char *path, gid_t *ret_group)
{
	struct stat info;
	cr_assert_eq(stat(path, &info), 0);
	*ret_group = info.st_gid;
	return info.st_mode & 0777;
}

Test(between_hosts, a_path_is_its_owners_alone_until_a_group_is_admitted)
{
	char path[64], address[80];
	tb_inlet *inlet;
	gid_t group, own = getgid(), given = getuid() == 0 ? 4242 : own;
	snprintf(path, sizeof(path), "%s/events.ipc", directory);
	snprintf(address, sizeof(address), "ipc://%s", path);
	cr_assert_eq(tb_inlet_listen(address, &inlet, NULL), TB_OK);
	cr_assert_eq(mode_of(path, &group), 0600);
	cr_assert_eq(tb_inlet_admit(inlet, given, NULL), TB_OK);
	cr_assert_eq(mode_of(path, &group), 0660);
	cr_assert_eq(group, given);
	tb_inlet_close(inlet);
}
