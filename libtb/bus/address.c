#include "bus/address.h"

#include <arpa/inet.h>
#include <stdio.h>

#define UNPROTECTED "unprotected"

enum scheme_kind { PATH, OPEN, SECURED };

static const struct scheme {
	const char *begins;
	enum scheme_kind kind;
} schemes[] = { { "ipc://", PATH }, { "tcp://", OPEN }, { "tls+tcp://", SECURED } };

static const struct scheme *scheme_of(const char *text)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++)
		if (strncmp(text, schemes[i].begins, strlen(schemes[i].begins)) == 0)
			return &schemes[i];
	return NULL;
}

int tb_address_is_path(const char *text)
{
	const struct scheme *scheme = scheme_of(text);
	return scheme != NULL && scheme->kind == PATH;
}

/* A name that merely begins like a number of the loopback is somebody else's. */
static int is_loopback(const char *host_port)
{
	char host[TB_ADDRESS_MAX];
	struct in_addr number;
	const char *colon = strrchr(host_port, ':');
	snprintf(host, sizeof(host), "%.*s", (int)(colon != NULL ? (size_t)(colon - host_port) : strlen(host_port)), host_port);
	if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
		return 1;
	return inet_pton(AF_INET, host, &number) == 1 && ntohl(number.s_addr) >> 24 == 127;
}

static tb_rc check_open(const tb_address *address, const char *behind, tb_err *err)
{
	if (behind != NULL && strcmp(behind, UNPROTECTED) != 0)
		return tb_fail(err, TB_EINVAL, "%s: behind # only '" UNPROTECTED "' makes sense, not '%.80s'", address->url, behind);
	if (behind != NULL || is_loopback(address->url + strlen("tcp://")))
		return TB_OK;
	tb_fail(err, TB_EREFUSED, "%s leaves this host unprotected: nothing is encrypted, whoever reaches it may do everything",
	        address->url);
	tb_hint(err, "use tls+tcp:// with keys made by `tb keys host NAME`; where the network itself is safe, write "
	                    "%.100s#" UNPROTECTED, address->url);
	return TB_EREFUSED;
}

static tb_rc check_secured(const tb_address *address, tb_err *err)
{
	if (address->keys != NULL && *address->keys != '\0')
		return TB_OK;
	tb_fail(err, TB_EINVAL, "%s: it isn't said where this host's key and certificate lie", address->url);
	tb_hint(err, "name the directory that `tb keys host NAME` made, with --tls DIR or as %.100s#DIR", address->url);
	return TB_EINVAL;
}

static tb_rc fail_unknown(const char *text, tb_err *err)
{
	tb_fail(err, TB_EINVAL, "'%.200s' isn't an address", text);
	tb_hint(err, "addresses are ipc://PATH, tls+tcp://HOST:PORT and, on one host, tcp://127.0.0.1:PORT");
	return TB_EINVAL;
}

tb_rc tb_address_read(const char *text, tb_address *ret_address, tb_err *err)
{
	tb_address address = { .keys = NULL };
	const struct scheme *scheme = scheme_of(text);
	if (scheme == NULL)
		return fail_unknown(text, err);
	const char *mark = scheme->kind != PATH ? strchr(text, '#') : NULL; /* a path may hold any character */
	size_t size = mark != NULL ? (size_t)(mark - text) : strlen(text);
	if (size >= sizeof(address.url))
		return fail_unknown(text, err);
	memcpy(address.url, text, size);
	address.url[size] = '\0';
	const char *behind = mark != NULL ? mark + 1 : NULL;
	tb_rc rc = TB_OK;
	if (scheme->kind == SECURED) {
		address.keys = behind;
		rc = check_secured(&address, err);
	} else if (scheme->kind == OPEN) {
		rc = check_open(&address, behind, err);
	}
	if (rc == TB_OK)
		*ret_address = address;
	return rc;
}

void tb_address_print(tb_buf *to, const char *url, const char *keys)
{
	const struct scheme *scheme = scheme_of(url);
	tb_buf_print(to, "%s", url);
	if (keys != NULL && scheme != NULL && scheme->kind == SECURED && strchr(url, '#') == NULL)
		tb_buf_print(to, "#%s", keys);
}
