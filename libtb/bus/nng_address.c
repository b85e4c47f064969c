#include "bus/nng_parts.h"

#include "base/clock.h"
#include "bus/address.h"
#include "bus/host_keys.h"

#include <nng/supplemental/tls/tls.h>

static tb_rc rc_of(int error)
{
	static const struct {
		int error;
		tb_rc rc;
	} rows[] = {
		{ NNG_EINVAL, TB_EINVAL },     { NNG_EADDRINVAL, TB_EINVAL }, { NNG_ENOTSUP, TB_EINVAL },
		{ NNG_EADDRINUSE, TB_EBUSY },  { NNG_EPERM, TB_EREFUSED },    { NNG_ENOENT, TB_ENOTFOUND },
		{ NNG_ENOMEM, TB_ENOMEM },     { NNG_ENOSPC, TB_ENOSPACE },   { NNG_EAGAIN, TB_EBUSY },
		{ NNG_ECRYPTO, TB_EKEY },      { NNG_EPEERAUTH, TB_EKEY },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].error == error)
			return rows[i].rc;
	return TB_EIO;
}

tb_rc tb_nng_fail(tb_err *err, int error, const char *address, const char *what)
{
	return tb_fail(err, rc_of(error), "%s %s: %s", address, what, nng_strerror(error));
}

/* ---- TLS: who dials asks for the broker by that name, wherever it is; both ends verify. Version 1.2 is what the
 * library's engine speaks; it takes a later one when it can. */

static int configure(nng_tls_config *config, nng_tls_mode mode, tb_host_keys *keys)
{
	int error = nng_tls_config_version(config, NNG_TLS_1_2, NNG_TLS_1_3);
	if (error == 0)
		error = nng_tls_config_ca_chain(config, tb_buf_text(&keys->ca), NULL);
	if (error == 0)
		error = nng_tls_config_own_cert(config, tb_buf_text(&keys->certificate), tb_buf_text(&keys->key), NULL);
	if (error == 0)
		error = nng_tls_config_auth_mode(config, NNG_TLS_AUTH_MODE_REQUIRED);
	if (error == 0 && mode == NNG_TLS_MODE_CLIENT)
		error = nng_tls_config_server_name(config, TB_HOST_BROKER);
	return error;
}

static tb_rc open_tls(const tb_address *address, nng_tls_mode mode, nng_tls_config **ret_config, tb_err *err)
{
	tb_auto(tb_host_keys_drop) tb_host_keys keys = { 0 };
	nng_tls_config *config = NULL;
	tb_rc rc = tb_host_keys_read(tb_disk_system(), address->keys, tb_real_ns(tb_clock_system()), &keys, err);
	if (rc != TB_OK)
		return rc;
	int error = nng_tls_config_alloc(&config, mode);
	if (error == 0)
		error = configure(config, mode, &keys);
	if (error == 0) {
		*ret_config = config;
		return TB_OK;
	}
	if (config != NULL)
		nng_tls_config_free(config);
	return tb_nng_fail(err, error, address->keys, "can't be used for tls");
}

/* *ret_tls: NULL for what isn't encrypted. */
static tb_rc read_address(const char *text, nng_tls_mode mode, tb_address *ret_address, nng_tls_config **ret_tls,
                          tb_err *err)
{
	*ret_tls = NULL;
	tb_rc rc = tb_address_read(text, ret_address, err);
	return rc == TB_OK && ret_address->keys != NULL ? open_tls(ret_address, mode, ret_tls, err) : rc;
}

/* ---- */

tb_rc tb_nng_dialer(nng_socket nng, const char *text, nng_dialer *ret_dialer, tb_err *err)
{
	tb_address address;
	nng_dialer dialer;
	nng_tls_config *tls;
	tb_rc rc = read_address(text, NNG_TLS_MODE_CLIENT, &address, &tls, err);
	if (rc != TB_OK)
		return rc;
	int error = nng_dialer_create(&dialer, nng, address.url);
	if (error == 0) {
		nng_dialer_set_bool(dialer, NNG_OPT_TCP_KEEPALIVE, true); /* tcp's alone */
		if (tls != NULL && (error = nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, tls)) != 0)
			nng_dialer_close(dialer);
	}
	if (tls != NULL)
		nng_tls_config_free(tls); /* the dialer holds it */
	if (error != 0)
		return tb_nng_fail(err, error, address.url, "can't be dialed");
	*ret_dialer = dialer;
	return TB_OK;
}

tb_rc tb_nng_listener(nng_socket nng, const char *text, nng_listener *ret_listener, tb_err *err)
{
	tb_address address;
	nng_listener listener;
	nng_tls_config *tls;
	tb_rc rc = read_address(text, NNG_TLS_MODE_SERVER, &address, &tls, err);
	if (rc != TB_OK)
		return rc;
	int error = nng_listener_create(&listener, nng, address.url);
	if (error == 0) {
		nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, 0600);   /* ipc's alone */
		nng_listener_set_bool(listener, NNG_OPT_TCP_KEEPALIVE, true); /* tcp's alone */
		if (tls != NULL && (error = nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, tls)) != 0)
			nng_listener_close(listener);
	}
	if (tls != NULL)
		nng_tls_config_free(tls);
	if (error != 0)
		return tb_nng_fail(err, error, address.url, "can't be listened on");
	*ret_listener = listener;
	return TB_OK;
}

/* ---- what was turned away: nng counts it beside each dialer and listener */

static nng_stat *child_of(nng_stat *scope, const char *name)
{
	nng_stat *child = nng_stat_child(scope);
	while (child != NULL && strcmp(nng_stat_name(child), name) != 0)
		child = nng_stat_next(child);
	return child;
}

/* nng 1.5's own search gives the first of that kind, whatever its id. */
static nng_stat *find_scope(nng_stat *all, const char *kind, int id)
{
	for (nng_stat *scope = nng_stat_child(all); scope != NULL; scope = nng_stat_next(scope)) {
		nng_stat *number = strcmp(nng_stat_name(scope), kind) == 0 ? child_of(scope, "id") : NULL;
		if (number != NULL && nng_stat_value(number) == (uint64_t)id)
			return scope;
	}
	return NULL;
}

static uint64_t sum_of(nng_stat *scope, const char *const *names)
{
	uint64_t sum = 0;
	for (size_t i = 0; names[i] != NULL; i++) {
		nng_stat *count = child_of(scope, names[i]);
		sum += count != NULL ? nng_stat_value(count) : 0;
	}
	return sum;
}

static tb_nng_turned turned_at(const char *kind, int id)
{
	static const char *const by_us[] = { "auth", "proto", NULL }, *const by_peer[] = { "other", "disconnect", NULL };
	tb_nng_turned turned = { 0 };
	nng_stat *all;
	if (nng_stats_get(&all) != 0)
		return turned;
	nng_stat *scope = find_scope(all, kind, id);
	if (scope != NULL)
		turned = (tb_nng_turned){ sum_of(scope, by_us), sum_of(scope, by_peer) };
	nng_stats_free(all);
	return turned;
}

tb_nng_turned tb_nng_turned_at_dialer(nng_dialer dialer)
{
	return turned_at("dialer", nng_dialer_id(dialer));
}

tb_nng_turned tb_nng_turned_at_listener(nng_listener listener)
{
	return turned_at("listener", nng_listener_id(listener));
}
