#include "bus/host_keys.h"

#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILE_MAX ((size_t)64 * 1024)
#define CA_NAME "ca"
#define CA_YEARS 30
/* Clocks of two hosts may differ so much. */
#define BEFORE_S (24L * 3600)

static void free_pkey(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}

static void free_certificate(X509 **certificate)
{
	X509_free(*certificate);
}

static void free_bio(BIO **bio)
{
	BIO_free_all(*bio);
}

static void drop_secret(tb_buf *buf)
{
	OPENSSL_cleanse(buf->data, buf->size);
	tb_buf_drop(buf);
}

void tb_host_keys_drop(tb_host_keys *keys)
{
	tb_buf_drop(&keys->ca);
	tb_buf_drop(&keys->certificate);
	drop_secret(&keys->key);
}

static const char *below(tb_buf *path, const char *dir, const char *name)
{
	tb_buf_clear(path);
	tb_buf_print(path, "%s/%s", dir, name);
	return tb_buf_text(path);
}

static tb_rc fail_library(tb_err *err, const char *what)
{
	char text[160];
	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	ERR_clear_error();
	return tb_fail(err, TB_EKEY, "%s: %s", what, text);
}

/* ---- reading */

/* No pass phrase is ever asked for. */
static int no_phrase(char *text, int size, int writing, void *context)
{
	(void)text, (void)size, (void)writing, (void)context;
	return 0;
}

static X509 *parse_certificate(const tb_buf *text)
{
	tb_auto(free_bio) BIO *bio = BIO_new_mem_buf(text->data, (int)text->size);
	return bio != NULL ? PEM_read_bio_X509(bio, NULL, no_phrase, NULL) : NULL;
}

static EVP_PKEY *parse_key(const tb_buf *text)
{
	tb_auto(free_bio) BIO *bio = BIO_new_mem_buf(text->data, (int)text->size);
	return bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_phrase, NULL) : NULL;
}

static tb_rc check_private(const char *path, tb_err *err)
{
	struct stat info;
	if (stat(path, &info) != 0 || (info.st_mode & 077) == 0)
		return TB_OK; /* reading says what is wrong with one that isn't there */
	tb_fail(err, TB_EKEY, "%s can be read by others (mode %04o)", path, (unsigned)(info.st_mode & 07777));
	tb_hint(err, "chmod 600 %.200s; if others may have read it, make a new one with `tb keys host NAME --renew`", path);
	return TB_EKEY;
}

static tb_rc read_part(tb_disk *disk, const char *dir, const char *name, tb_buf *ret_text, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_rc rc = tb_disk_read_file(disk, below(&path, dir, name), FILE_MAX, ret_text, err);
	if (rc == TB_ENOTFOUND)
		tb_hint(err, "`tb keys host NAME` on the instance's host makes the directory; copy it whole");
	if (rc == TB_OK)
		tb_buf_text(ret_text);
	return rc;
}

/* Since 1970. Certificates know years up to 9999, nanoseconds only those up to 2554: what is behind is the last of them. */
static uint64_t time_ns(const ASN1_TIME *time)
{
	struct tm parts = { 0 };
	time_t seconds = ASN1_TIME_to_tm(time, &parts) == 1 ? timegm(&parts) : 0;
	if (seconds <= 0)
		return 0;
	return (uint64_t)seconds <= UINT64_MAX / TB_NS_PER_S ? (uint64_t)seconds * TB_NS_PER_S : UINT64_MAX;
}

static tb_rc check_time(const char *dir, const X509 *certificate, uint64_t now_ns, uint64_t *ret_until_ns, tb_err *err)
{
	uint64_t from = time_ns(X509_get0_notBefore(certificate)), until = time_ns(X509_get0_notAfter(certificate));
	if (now_ns < from) {
		tb_fail(err, TB_EKEY, "%s/host.crt isn't valid yet, by this host's clock", dir);
		tb_hint(err, "set the clock");
		return TB_EKEY;
	}
	if (now_ns >= until) {
		tb_fail(err, TB_EKEY, "%s/host.crt has expired", dir);
		tb_hint(err, "`tb keys host NAME --renew` on the instance's host makes a new one; copy the directory again");
		return TB_EKEY;
	}
	*ret_until_ns = until;
	return TB_OK;
}

static tb_rc check(const char *dir, const tb_host_keys *keys, uint64_t now_ns, uint64_t *ret_until_ns, tb_err *err)
{
	tb_auto(free_certificate) X509 *ca = parse_certificate(&keys->ca);
	tb_auto(free_certificate) X509 *certificate = parse_certificate(&keys->certificate);
	tb_auto(free_pkey) EVP_PKEY *key = parse_key(&keys->key);
	ERR_clear_error();
	if (ca == NULL || certificate == NULL || key == NULL)
		return tb_fail(err, TB_EKEY, "%s/%s can't be read as what it should be", dir,
		               ca == NULL ? "ca.crt" : certificate == NULL ? "host.crt" : "host.key");
	int belongs = X509_check_private_key(certificate, key) == 1;
	int is_signed = X509_verify(certificate, X509_get0_pubkey(ca)) == 1;
	ERR_clear_error();
	if (belongs && is_signed)
		return check_time(dir, certificate, now_ns, ret_until_ns, err);
	tb_fail(err, TB_EKEY, belongs ? "%s/host.crt isn't signed by %s/ca.crt" : "%s/host.crt is of another key than %s/host.key",
	        dir, dir);
	tb_hint(err, "copy the whole directory again, as `tb keys host NAME` made it");
	return TB_EKEY;
}

tb_rc tb_host_keys_read(tb_disk *disk, const char *dir, uint64_t now_ns, tb_host_keys *ret_keys, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_host_keys keys = { 0 };
	tb_rc rc = check_private(below(&path, dir, "host.key"), err);
	if (rc == TB_OK)
		rc = read_part(disk, dir, "ca.crt", &keys.ca, err);
	if (rc == TB_OK)
		rc = read_part(disk, dir, "host.crt", &keys.certificate, err);
	if (rc == TB_OK)
		rc = read_part(disk, dir, "host.key", &keys.key, err);
	if (rc == TB_OK)
		rc = check(dir, &keys, now_ns, &keys.until_ns, err);
	if (rc == TB_OK)
		*ret_keys = keys;
	else
		tb_host_keys_drop(&keys);
	return rc;
}

/* ---- making */

struct issuer {
	X509 *certificate;
	EVP_PKEY *key;
};

static void issuer_drop(struct issuer *issuer)
{
	X509_free(issuer->certificate);
	EVP_PKEY_free(issuer->key);
}

/* What a certificate is for, as extensions: a row each. */
struct extension {
	int nid;
	const char *value;
};
static const struct extension of_ca[] = {
	{ NID_basic_constraints, "critical,CA:TRUE,pathlen:0" }, { NID_key_usage, "critical,keyCertSign,cRLSign" }, { 0, NULL }
};
static const struct extension of_broker[] = {
	{ NID_basic_constraints, "critical,CA:FALSE" }, { NID_key_usage, "critical,digitalSignature" },
	{ NID_ext_key_usage, "serverAuth" },            { NID_subject_alt_name, "DNS:" TB_HOST_BROKER },
	{ 0, NULL }
};
static const struct extension of_others[] = {
	{ NID_basic_constraints, "critical,CA:FALSE" }, { NID_key_usage, "critical,digitalSignature" },
	{ NID_ext_key_usage, "clientAuth" }, { 0, NULL }
};

static int add_extensions(X509 *certificate, const struct extension *extensions)
{
	int done = 1;
	for (const struct extension *row = extensions; done && row->nid != 0; row++) {
		X509_EXTENSION *made = X509V3_EXT_conf_nid(NULL, NULL, row->nid, row->value);
		done = made != NULL && X509_add_ext(certificate, made, -1) == 1;
		X509_EXTENSION_free(made);
	}
	return done;
}

static int set_serial(X509 *certificate)
{
	BIGNUM *number = BN_new();
	int done = number != NULL && BN_rand(number, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
	           BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
	BN_free(number);
	return done;
}

struct subject {
	const char *organization, *name;
	const struct extension *extensions;
	uint64_t now_ns, valid_ns;
};

static int set_names(X509 *certificate, const struct subject *subject, const X509 *issuer)
{
	X509_NAME *name = X509_get_subject_name(certificate);
	return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const uint8_t *)subject->organization, -1, -1, 0) == 1 &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)subject->name, -1, -1, 0) == 1 &&
	       X509_set_issuer_name(certificate, issuer != NULL ? X509_get_subject_name(issuer) : name) == 1;
}

static int set_times(X509 *certificate, const struct subject *subject)
{
	time_t now = (time_t)(subject->now_ns / TB_NS_PER_S);
	long valid = (long)(subject->valid_ns / TB_NS_PER_S);
	return X509_time_adj_ex(X509_getm_notBefore(certificate), 0, -BEFORE_S, &now) != NULL &&
	       X509_time_adj_ex(X509_getm_notAfter(certificate), (int)(valid / 86400), valid % 86400, &now) != NULL;
}

/* A new key and its certificate; by: who signs it, NULL: itself. */
static tb_rc issue(const struct subject *subject, const struct issuer *by, struct issuer *ret_made, tb_err *err)
{
	struct issuer made = { X509_new(), EVP_EC_gen("P-256") };
	int done = made.certificate != NULL && made.key != NULL && X509_set_version(made.certificate, 2) == 1 &&
	           set_serial(made.certificate) &&
	           set_names(made.certificate, subject, by != NULL ? by->certificate : NULL) &&
	           set_times(made.certificate, subject) && X509_set_pubkey(made.certificate, made.key) == 1 &&
	           add_extensions(made.certificate, subject->extensions) &&
	           X509_sign(made.certificate, by != NULL ? by->key : made.key, EVP_sha256()) > 0;
	if (done) {
		*ret_made = made;
		return TB_OK;
	}
	issuer_drop(&made);
	return fail_library(err, "no certificate can be made");
}

static tb_rc write_bio(tb_disk *disk, const char *path, BIO *bio, int flags, tb_err *err)
{
	char *data;
	long size = BIO_get_mem_data(bio, &data);
	return tb_disk_write_file(disk, path, tb_span_of(data, (size_t)size), flags, err);
}

static tb_rc write_certificate(tb_disk *disk, const char *path, X509 *certificate, tb_err *err)
{
	tb_auto(free_bio) BIO *bio = BIO_new(BIO_s_mem());
	if (bio == NULL || PEM_write_bio_X509(bio, certificate) != 1)
		return fail_library(err, path);
	return write_bio(disk, path, bio, 0, err);
}

static tb_rc write_key(tb_disk *disk, const char *path, EVP_PKEY *key, tb_err *err)
{
	tb_auto(free_bio) BIO *bio = BIO_new(BIO_s_secmem()); /* is wiped */
	if (bio == NULL || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return fail_library(err, path);
	return write_bio(disk, path, bio, TB_DISK_PRIVATE, err);
}

static tb_rc make_private_dir(tb_disk *disk, const char *path, tb_err *err)
{
	tb_rc rc = tb_disk_make_path(disk, path, err);
	if (rc == TB_OK && chmod(path, 0700) != 0)
		rc = tb_fail_errno(err, errno, "can't close %s to others", path);
	return rc;
}

/* The certificate last: what has one is whole. */
static tb_rc write_both(tb_disk *disk, const char *dir, const char *stem, const struct issuer *made, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf key = { 0 }, certificate = { 0 };
	tb_buf_print(&key, "%s/%s.key", dir, stem);
	tb_buf_print(&certificate, "%s/%s.crt", dir, stem);
	tb_rc rc = write_key(disk, tb_buf_text(&key), made->key, err);
	return rc == TB_OK ? write_certificate(disk, tb_buf_text(&certificate), made->certificate, err) : rc;
}

static tb_rc make_ca(tb_disk *disk, const tb_host_order *order, const char *dir, struct issuer *ret_ca, tb_err *err)
{
	const struct subject subject = { order->instance, "Tradebank hosts", of_ca, order->now_ns,
		                             CA_YEARS * UINT64_C(365) * 86400 * TB_NS_PER_S };
	struct issuer made;
	tb_rc rc = make_private_dir(disk, dir, err);
	if (rc == TB_OK)
		rc = issue(&subject, NULL, &made, err);
	if (rc != TB_OK)
		return rc;
	rc = write_both(disk, dir, CA_NAME, &made, err);
	if (rc == TB_OK)
		*ret_ca = made;
	else
		issuer_drop(&made);
	return rc;
}

static tb_rc open_ca(tb_disk *disk, const tb_host_order *order, const char *dir, struct issuer *ret_ca, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 }, certificate = { 0 };
	tb_auto(drop_secret) tb_buf key = { 0 };
	tb_rc rc = tb_disk_read_file(disk, below(&path, dir, CA_NAME ".crt"), FILE_MAX, &certificate, err);
	if (rc == TB_ENOTFOUND)
		return make_ca(disk, order, dir, ret_ca, err);
	if (rc == TB_OK)
		rc = check_private(below(&path, dir, CA_NAME ".key"), err);
	if (rc == TB_OK)
		rc = tb_disk_read_file(disk, tb_buf_text(&path), FILE_MAX, &key, err);
	if (rc != TB_OK)
		return rc;
	struct issuer ca = { parse_certificate(&certificate), parse_key(&key) };
	if (ca.certificate != NULL && ca.key != NULL && X509_check_private_key(ca.certificate, ca.key) == 1) {
		*ret_ca = ca;
		return TB_OK;
	}
	issuer_drop(&ca);
	return fail_library(err, tb_buf_text(&path));
}

static tb_rc check_name(const char *name, tb_err *err)
{
	size_t size = strlen(name);
	int fits = size > 0 && size <= TB_HOST_NAME_MAX && name[0] != '.' && name[0] != '-' && strcmp(name, CA_NAME) != 0;
	for (size_t i = 0; fits && i < size; i++)
		fits = isalnum((unsigned char)name[i]) || strchr("._-", name[i]) != NULL;
	if (fits)
		return TB_OK;
	tb_fail(err, TB_EINVAL, "'%.80s' can't be a host's name", name);
	tb_hint(err, "up to %d letters, digits, '.', '_' and '-', and not '" CA_NAME "'", TB_HOST_NAME_MAX);
	return TB_EINVAL;
}

static tb_rc check_new(tb_disk *disk, const tb_host_order *order, const char *dir, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	tb_disk_info info;
	if (order->renew || disk->stat(disk, below(&path, dir, "host.crt"), &info, NULL) != TB_OK)
		return TB_OK;
	tb_fail(err, TB_EBUSY, "the host %s has its key and certificate already: %s", order->name, dir);
	tb_hint(err, "--renew replaces them, by ones that have to be copied there again");
	return TB_EBUSY;
}

static tb_rc make_host(tb_disk *disk, const tb_host_order *order, const struct issuer *ca, const char *dir, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf path = { 0 };
	const struct subject subject = { order->instance, order->name,
		                             strcmp(order->name, TB_HOST_BROKER) == 0 ? of_broker : of_others, order->now_ns,
		                             order->valid_ns };
	struct issuer made = { 0 };
	tb_rc rc = make_private_dir(disk, dir, err);
	if (rc == TB_OK)
		rc = write_certificate(disk, below(&path, dir, "ca.crt"), ca->certificate, err);
	if (rc == TB_OK)
		rc = issue(&subject, ca, &made, err);
	if (rc == TB_OK)
		rc = write_both(disk, dir, "host", &made, err);
	issuer_drop(&made);
	return rc;
}

tb_rc tb_host_keys_make(tb_disk *disk, const tb_host_order *order, tb_err *err)
{
	tb_auto(tb_buf_drop) tb_buf ca_dir = { 0 }, dir = { 0 };
	struct issuer ca = { 0 };
	tb_rc rc = check_name(order->name, err);
	below(&dir, order->hosts, order->name);
	if (rc == TB_OK)
		rc = check_new(disk, order, tb_buf_text(&dir), err);
	if (rc == TB_OK)
		rc = make_private_dir(disk, order->hosts, err);
	if (rc == TB_OK)
		rc = open_ca(disk, order, below(&ca_dir, order->hosts, CA_NAME), &ca, err);
	if (rc == TB_OK)
		rc = make_host(disk, order, &ca, tb_buf_text(&dir), err);
	issuer_drop(&ca);
	return rc;
}
