/* What bus_nng.c needs beside itself. Private to it: no other file sees nng. */
#ifndef TB_BUS_NNG_PARTS_H
#define TB_BUS_NNG_PARTS_H

#include "base/err.h"

#include <nng/nng.h>

tb_rc tb_nng_fail(tb_err *err, int error, const char *address, const char *what); /* "ADDRESS WHAT: why" */

/* Made for an address of bus/address.h and not started yet; the address has been read, and so have the keys. */
tb_rc tb_nng_dialer(nng_socket nng, const char *address, nng_dialer *ret_dialer, tb_err *err);
tb_rc tb_nng_listener(nng_socket nng, const char *address, nng_listener *ret_listener, tb_err *err);

/* Connections that ended by whose doing. */
typedef struct tb_nng_turned {
	uint64_t by_us;   /* before a word: the other end showed no certificate that holds here, or spoke something else */
	uint64_t by_peer; /* it hung up, be it before a word or after long */
} tb_nng_turned;
tb_nng_turned tb_nng_turned_at_dialer(nng_dialer dialer);
tb_nng_turned tb_nng_turned_at_listener(nng_listener listener);

/* Closes a socket (nng_close.c). 0: it isn't closed, and may still use what belongs to it. */
int tb_nng_close(nng_socket nng);

#endif
