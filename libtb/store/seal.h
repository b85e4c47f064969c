/* Sealing: plain bytes to an object and back.
 *
 * Object:
 *   0 8 bytes "TBOBJCT\1"    8 u8 content (tb_content)   9 u8 compression (0 none, 1 zstd)   10 6 zero bytes
 *  16 u64 plain size        24 16 period id              40 80 box: crypto_box_seal(32-byte object key) to the period
 * 120 XChaCha20-Poly1305 (IETF) under the object key, nonce all zero (the key is used once), with bytes 0..119 as
 *     associated data, of the compressed bytes; 16 bytes tag at its end
 * Its name is BLAKE2b-256 of all its bytes. The object key is fresh and random: sealing twice gives two objects.
 *
 * Only the sealer uses zstd here; what is inside one object is at most TB_PLAIN_MAX bytes. */
#ifndef TB_STORE_SEAL_H
#define TB_STORE_SEAL_H

#include "store/keys.h"

#define TB_OBJECT_NAME 32
#define TB_OBJECT_HEAD 120u
#define TB_PLAIN_MAX (80u * 1024 * 1024)
#define TB_OBJECT_MAX (TB_PLAIN_MAX + TB_PLAIN_MAX / 128 + 4096)

typedef enum tb_content { TB_CONTENT_SEGMENT = 1, TB_CONTENT_CHUNK = 2, TB_CONTENT_PRIVATE = 3 } tb_content;

typedef struct tb_sealer tb_sealer; /* working memory: a zstd context */
tb_sealer *tb_sealer_new(int level); /* zstd's; out of bounds is the nearest */
void tb_sealer_free(tb_sealer *sealer);

/* ret_object is replaced (and empty after a failure: never plain bytes). What doesn't shrink is stored as it is. TB_EINVAL:
 * more than TB_PLAIN_MAX; TB_EKEY: the period's public key can't encrypt. */
tb_rc tb_seal(tb_sealer *sealer, tb_content content, tb_span plain, const tb_period *period, tb_buf *ret_object,
              uint8_t ret_name[TB_OBJECT_NAME], tb_err *err);
/* The same behind what `to` holds, so that an object of many megabytes needn't be copied to where it belongs. After a
 * failure `to` is as before. */
tb_rc tb_seal_append(tb_sealer *sealer, tb_content content, tb_span plain, const tb_period *period, tb_buf *to,
                     uint8_t ret_name[TB_OBJECT_NAME], tb_err *err);
/* TB_ECORRUPT: not an object, cut short, or altered. TB_EKEY: its period isn't in the keyring. TB_EUNSUPPORTED: a newer
 * format. Nothing of the plain bytes is given out before all of them are authentic. */
tb_rc tb_unseal(const tb_keyring *keyring, tb_content content, tb_span object, tb_buf *ret_plain, tb_err *err);
/* The head alone, without a key. */
tb_rc tb_object_head(tb_span object, tb_content *ret_content, uint64_t *ret_plain_size, uint8_t ret_period[TB_PERIOD_ID],
                     tb_err *err);

void tb_object_name(tb_span object, uint8_t ret_name[TB_OBJECT_NAME]);
/* "objects/ab/ab…": room for 80 bytes. */
#define TB_OBJECT_PATH 80
void tb_object_path(const uint8_t name[TB_OBJECT_NAME], char ret_path[TB_OBJECT_PATH]);

#endif
