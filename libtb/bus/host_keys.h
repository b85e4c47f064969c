/* Keys and certificates of an instance's hosts, for tls+tcp:// between them.
 *
 *   keys/hosts/ca/ca.key      P-256; signs certificates; never leaves the instance
 *   keys/hosts/NAME/          a host's, to be copied there whole; one of them is `broker`, where the broker runs
 *     ca.crt                  the instance's: what the other end's certificate must be signed by
 *     host.key  host.crt      this host's
 *
 * X.509 in PEM. A certificate says for what it is: the broker's serves (extended key usage serverAuth, DNS name
 * `broker`), everybody else's asks (clientAuth). So a host whose key is stolen can't play the broker, and addresses may
 * change. Private keys have mode 0600, and are refused when others may read them. */
#ifndef TB_BUS_HOST_KEYS_H
#define TB_BUS_HOST_KEYS_H

#include "base/disk.h"

#define TB_HOST_BROKER "broker" /* the name that asks are answered under */
#define TB_HOST_NAME_MAX 63

/* What one end needs: texts in PEM. */
typedef struct tb_host_keys {
	tb_buf ca, certificate, key;
	uint64_t until_ns; /* the certificate holds until then */
} tb_host_keys;
void tb_host_keys_drop(tb_host_keys *keys); /* wipes the key */

/* Reads a host's directory and checks it: TB_ENOTFOUND: something isn't there. TB_EKEY: others may read the key, key and
 * certificate don't belong together, the certificate isn't of that CA, or its time is over or hasn't come. */
tb_rc tb_host_keys_read(tb_disk *disk, const char *dir, uint64_t now_ns, tb_host_keys *ret_keys, tb_err *err);

/* Makes a host's directory below hosts (DIR/keys/hosts), and the instance's CA when there is none yet. TB_EINVAL: not a
 * name. TB_EBUSY: the host has them; renew: it gets new ones instead. */
typedef struct tb_host_order {
	const char *hosts;
	const char *name;
	const char *instance; /* what the CA is called after */
	uint64_t now_ns, valid_ns;
	int renew;
} tb_host_order;
tb_rc tb_host_keys_make(tb_disk *disk, const tb_host_order *order, tb_err *err);

#endif
