#include "leaks.h"
#include "run/notify.h"

#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

TestSuite(notify, .fini = fail_on_leaks);

/* A socket at that address ('@': abstract), as systemd would hold it. */
static int listen_at(const char *address)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	size_t size = strlen(address);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	memcpy(name.sun_path, address, size);
	if (address[0] == '@')
		name.sun_path[0] = '\0';
	cr_assert_eq(bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)), 0);
	cr_assert_eq(setenv("NOTIFY_SOCKET", address, 1), 0);
	return fd;
}

static void expect(int fd, const char *state)
{
	char got[64] = "";
	tb_notify(state);
	cr_assert_eq(recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT), (ssize_t)strlen(state));
	cr_assert_str_eq(got, state);
	close(fd);
}

Test(notify, a_path_and_an_abstract_address_are_told)
{
	char address[64];
	snprintf(address, sizeof(address), "/tmp/tb-notify-%d", (int)getpid());
	expect(listen_at(address), "READY=1");
	unlink(address);
	snprintf(address, sizeof(address), "@tb-notify-%d", (int)getpid());
	expect(listen_at(address), "STOPPING=1");
}

Test(notify, with_nobody_to_tell_it_says_nothing)
{
	static const char *const nobodies[] = { "", "relative", "/tmp/tb-notify-none", "@tb-notify-none" };
	char longest[200] = "/";
	unsetenv("NOTIFY_SOCKET");
	tb_notify("READY=1");
	for (size_t i = 0; i < sizeof(nobodies) / sizeof(nobodies[0]); i++) {
		setenv("NOTIFY_SOCKET", nobodies[i], 1);
		tb_notify("READY=1");
	}
	memset(longest + 1, 'x', sizeof(longest) - 2);
	setenv("NOTIFY_SOCKET", longest, 1);
	tb_notify("READY=1");
}
