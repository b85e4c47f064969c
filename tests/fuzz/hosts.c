/* Keys and certificates of hosts. The first byte: which of the three files is the input (modulo 3: the CA's certificate,
 * the host's, its key), the others being right; and how it is (divided by 3): 0 the file's text, 1 what stands in it,
 * armoured here, 2 the same, and a certificate is signed here by the CA. What is taken holds at that time. */
#include "fuzz/fuzz_disk.h"
#include "fuzz/fuzz_hosts.h"

#include "bus/host_keys.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#define PARTS 3u
#define DIR "/hosts"

static const struct part {
	const char *path, *armour, *right;
} parts[PARTS] = {
	{ DIR "/ca.crt", "CERTIFICATE", fuzz_ca_crt },
	{ DIR "/host.crt", "CERTIFICATE", fuzz_host_crt },
	{ DIR "/host.key", "PRIVATE KEY", fuzz_host_key },
};

static void put_bio(tb_buf *to, BIO *bio)
{
	char *data;
	long size = BIO_get_mem_data(bio, &data);
	tb_buf_append(to, data, (size_t)size);
	BIO_free_all(bio);
}

/* Nothing has no armour. */
static void put_armoured(tb_buf *to, const struct part *part, tb_span bytes)
{
	BIO *bio = BIO_new(BIO_s_mem());
	hold(PEM_write_bio(bio, part->armour, "", bytes.data, (long)bytes.size) > 0 || bytes.size == 0);
	put_bio(to, bio);
}

static EVP_PKEY *ca_key(void)
{
	static EVP_PKEY *key;
	if (key != NULL)
		return key;
	BIO *bio = BIO_new_mem_buf(fuzz_ca_key, -1);
	key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	hold(key != NULL);
	BIO_free_all(bio);
	return key;
}

/* As it is when it isn't a certificate, or can't be signed. */
static void put_signed(tb_buf *to, const struct part *part, tb_span bytes)
{
	const uint8_t *at = bytes.data;
	X509 *certificate = d2i_X509(NULL, &at, (long)bytes.size);
	BIO *bio = BIO_new(BIO_s_mem());
	if (certificate != NULL && X509_sign(certificate, ca_key(), EVP_sha256()) > 0 &&
	    PEM_write_bio_X509(bio, certificate) == 1) {
		put_bio(to, bio);
	} else {
		BIO_free_all(bio);
		put_armoured(to, part, bytes);
	}
	X509_free(certificate);
}

static void lay(struct fuzz_disk *disk, const struct part *part, unsigned how, tb_span input)
{
	tb_buf *to = &fuzz_node_make(&disk->disk, part->path)->bytes;
	if (how == 0)
		tb_buf_append_span(to, input);
	else if (how == 1 || part->right == fuzz_host_key)
		put_armoured(to, part, input);
	else
		put_signed(to, part, input);
}

static void read_keys(struct fuzz_disk *disk)
{
	tb_host_keys keys = { 0 };
	tb_err err;
	tb_rc rc = tb_host_keys_read(&disk->disk, DIR, FUZZ_HOSTS_NOW, &keys, &err);
	if (rc != TB_OK) {
		fuzz_refused(rc, &err);
		hold(rc == TB_EKEY && keys.key.size == 0);
		return;
	}
	hold(keys.until_ns > FUZZ_HOSTS_NOW);
	tb_host_keys_drop(&keys);
	rc = tb_host_keys_read(&disk->disk, DIR, UINT64_MAX - 1, &keys, &err);
	hold(rc == TB_OK ? keys.until_ns == UINT64_MAX : rc == TB_EKEY);
	if (rc == TB_OK)
		tb_host_keys_drop(&keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz_disk disk;
	tb_span input = tb_span_of(data, size);
	unsigned way = (unsigned)fuzz_take(&input, 1), which = way % PARTS;
	fuzz_disk_init(&disk);
	for (unsigned i = 0; i < PARTS; i++)
		lay(&disk, &parts[i], i == which ? way / PARTS % 3 : 0, i == which ? input : tb_span_text(parts[i].right));
	read_keys(&disk);
	fuzz_disk_drop(&disk);
	return 0;
}
