/* Addresses of the bus, as texts:
 *
 *   ipc://PATH                    a socket of this host
 *   tcp://HOST:PORT               the loopback alone: 127.0.0.0/8, [::1], localhost
 *   tcp://HOST:PORT#unprotected   any: nothing is encrypted there, and whoever reaches it may do everything
 *   tls+tcp://HOST:PORT#DIR       both ends show certificates of the instance; DIR holds this host's (bus/host_keys.h)
 *
 * What stands behind '#' says how this end goes about it, and isn't told to the other one. */
#ifndef TB_BUS_ADDRESS_H
#define TB_BUS_ADDRESS_H

#include "base/buf.h"
#include "base/err.h"

#define TB_ADDRESS_MAX 320

typedef struct tb_address {
	char url[TB_ADDRESS_MAX]; /* without what stands behind '#' */
	const char *keys;         /* borrows from the text: DIR of tls+tcp://; NULL: not encrypted */
} tb_address;

/* TB_EINVAL: it isn't one. TB_EREFUSED: tcp:// beyond the loopback that isn't said to be unprotected. */
tb_rc tb_address_read(const char *text, tb_address *ret_address, tb_err *err);
/* Appends url, of which tls+tcp:// without a DIR gets this one. keys may be NULL. */
void tb_address_print(tb_buf *to, const char *url, const char *keys);
int tb_address_is_path(const char *text); /* ipc:// */

#endif
