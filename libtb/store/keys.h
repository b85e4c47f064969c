/* Keys: who may seal, sign and restore.
 *
 *   instance   Ed25519; certifies signers and signs periods. keys/instance.key
 *   signer     Ed25519 of a collector, with the instance's certificate. keys/collector.key
 *   identity   X25519; restores. keys/identity.key, or the recovery kit
 *   recipient  an identity's public half
 *   period     X25519; objects are boxed to its public half. Its private half exists only boxed to recipients:
 *              keys/<period id>/<recipient id> in the repository
 *
 * Private halves live in locked memory (sodium_malloc) and in files of mode 0600, lines of text:
 *   tradebank-key 1 \n kind: instance|collector|identity \n public: <hex> \n secret: <hex 32-byte seed> \n
 *   instance: <hex of the instance's verifying key> \n repository: <hex id> \n  and of a collector  certificate: <hex>
 *   \n  last  check: <hex of the first 8 bytes of BLAKE2b-256 over all lines before> \n
 * Exactly these bytes, hex in small letters; of an instance's own key `public` and `instance` are the same.
 *
 * Period record, 184 bytes: 0 "TBPERIOD" 8 16 id  24 32 public key  56 u64 made (ns)  64 16 repository id
 *   80 32 instance's verifying key  112 8 zero  120 64 signature by the instance over bytes 0..119
 * Wrap file (keys/<id>/<recipient>): the period record, then crypto_box_seal(32-byte private half) to the recipient (80
 *   bytes). Ids of recipients: hex of the first 16 bytes of BLAKE2b-256 of their public key.
 * Certificate, 144 bytes: 0 "TBSIGNER" 8 32 signer's verifying key  40 16 repository id  56 u64 made (ns)
 *   64 16 "collector", zero padded  80 64 signature by the instance over bytes 0..79 */
#ifndef TB_STORE_KEYS_H
#define TB_STORE_KEYS_H

#include "base/disk.h"
#include "store/tier.h"

#define TB_PUBLIC_KEY 32
#define TB_SIGNATURE 64
#define TB_REPOSITORY_ID 16
#define TB_PERIOD_ID 16
#define TB_PERIOD_RECORD 184
#define TB_WRAP_SIZE (TB_PERIOD_RECORD + 80)
#define TB_CERTIFICATE 144
#define TB_ID_TEXT 33

typedef struct tb_key tb_key; /* one private key of any kind, in locked memory */

typedef enum tb_key_kind { TB_KEY_INSTANCE, TB_KEY_COLLECTOR, TB_KEY_IDENTITY } tb_key_kind;

typedef struct tb_period {
	uint8_t id[TB_PERIOD_ID];
	uint8_t public_key[TB_PUBLIC_KEY];
	uint8_t repository[TB_REPOSITORY_ID];
	uint8_t instance[TB_PUBLIC_KEY];
	uint64_t made_ns;
} tb_period;

tb_rc tb_keys_init(tb_err *err); /* sodium_init; once a process, before all else */

/* A new one; instance: the instance's key (NULL for the instance itself), which certifies a collector. */
tb_rc tb_key_make(tb_key_kind kind, const uint8_t repository[TB_REPOSITORY_ID], const tb_key *instance, uint64_t now_ns,
                  tb_key **ret_key, tb_err *err);
void tb_key_free(tb_key *key); /* wiped; NULL is fine */
/* Writing: mode 0600, TB_EBUSY when the file is there. Reading: TB_EKEY when it isn't such a key or others may read it
 * (mode & 077), with a hint; TB_ENOTFOUND. */
tb_rc tb_key_write(tb_disk *disk, const char *path, const tb_key *key, tb_err *err);
tb_rc tb_key_read(tb_disk *disk, const char *path, tb_key_kind kind, tb_key **ret_key, tb_err *err);
const uint8_t *tb_key_public(const tb_key *key);
const uint8_t *tb_key_instance(const tb_key *key);    /* the instance's verifying key */
const uint8_t *tb_key_repository(const tb_key *key);
const uint8_t *tb_key_certificate(const tb_key *key); /* of a collector; TB_CERTIFICATE bytes */
void tb_key_sign(const tb_key *key, tb_span bytes, uint8_t ret_signature[TB_SIGNATURE]);
/* Opens what crypto_box_seal made for that identity: box.size - 48 bytes. TB_ECORRUPT: it doesn't open. */
tb_rc tb_key_unbox(const tb_key *identity, tb_span box, uint8_t *ret_plain, tb_err *err);
void tb_recipient_id(const uint8_t public_key[TB_PUBLIC_KEY], char ret_text[TB_ID_TEXT]);

/* The recovery kit: text for a printer, with the identity (groups of hex and check words) and what else a restore
 * needs. tb_key_read of kind IDENTITY also reads a file of it, be it typed in again. Appends; it holds the secret, so
 * wipe `to` (sodium_memzero over its capacity) when done. */
void tb_key_kit(const tb_key *identity, const char *repository_url, tb_buf *to);

/* A new period: its signed record, and its wrap for each recipient. */
tb_rc tb_period_make(const tb_key *instance, const uint8_t (*recipients)[TB_PUBLIC_KEY], size_t recipient_count,
                     uint64_t now_ns, uint8_t ret_record[TB_PERIOD_RECORD], tb_buf *ret_wraps /* one each */, tb_err *err);
/* Reads a record and checks the instance's signature: TB_ECORRUPT: not a record; TB_EKEY: not by that key, or altered.
 * instance: the verifying key it must be of; NULL: any (it is in the record then). */
tb_rc tb_period_read(tb_span record, const uint8_t instance[TB_PUBLIC_KEY], tb_period *ret_period, tb_err *err);
/* "keys/<period id>/<recipient id>": where a wrap lies in the repository. */
#define TB_WRAP_PATH 80
void tb_wrap_path(const uint8_t period[TB_PERIOD_ID], const uint8_t recipient[TB_PUBLIC_KEY], char ret_path[TB_WRAP_PATH]);
/* TB_ECORRUPT: not a certificate; TB_EKEY: not by that instance for that repository, or altered. */
tb_rc tb_certificate_check(tb_span certificate, const uint8_t instance[TB_PUBLIC_KEY],
                           const uint8_t repository[TB_REPOSITORY_ID], uint8_t ret_signer[TB_PUBLIC_KEY], tb_err *err);
tb_rc tb_signature_check(const uint8_t public_key[TB_PUBLIC_KEY], tb_span bytes, const uint8_t signature[TB_SIGNATURE],
                         tb_err *err);

/* Does this wrap open for its recipient, and is what it holds that period's? */
tb_rc tb_wrap_try(tb_tier *tier, const tb_key *identity, const char *path, tb_err *err);

/* What an identity opens: the private halves of all periods in a repository that are wrapped for it. */
typedef struct tb_keyring tb_keyring;
/* TB_EKEY: no period is wrapped for this identity (the wrong key). A damaged wrap is passed over, but named when nothing
 * else opens, or by who then wants its period. */
tb_rc tb_keyring_open(tb_tier *tier, const tb_key *identity, tb_keyring **ret_keyring, tb_err *err);
void tb_keyring_free(tb_keyring *keyring);
size_t tb_keyring_count(const tb_keyring *keyring);
/* Opens what crypto_box_seal made for that period: box.size - 48 bytes. TB_EKEY: no such period here; TB_ECORRUPT: the
 * box doesn't open. */
tb_rc tb_keyring_unbox(const tb_keyring *keyring, const uint8_t period[TB_PERIOD_ID], tb_span box, uint8_t *ret_plain,
                       tb_err *err);

#endif
