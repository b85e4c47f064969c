/* Little-endian integers in byte strings, at any alignment, and the 64-bit check.
 *
 * The check is XXH3-64 (xxhash 0.8, seed 0). It is against accidents, not against people: names, boxes and signatures
 * are against people. */
#ifndef TB_BASE_BYTES_H
#define TB_BASE_BYTES_H

#include "base/buf.h"

static inline void tb_put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)value;
	at[1] = (uint8_t)(value >> 8);
}
static inline void tb_put32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}
static inline void tb_put64(uint8_t *at, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}
static inline uint16_t tb_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}
static inline uint32_t tb_get32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}
static inline uint64_t tb_get64(const uint8_t *at)
{
	return (uint64_t)tb_get32(at) | (uint64_t)tb_get32(at + 4) << 32;
}
/* Big-endian, so that LMDB's byte order is the numbers' order. */
static inline void tb_put64_be(uint8_t *at, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		at[i] = (uint8_t)(value >> (56 - 8 * i));
}
static inline uint64_t tb_get64_be(const uint8_t *at)
{
	uint64_t value = 0;
	for (int i = 0; i < 8; i++)
		value = value << 8 | at[i];
	return value;
}

uint64_t tb_check64(const void *data, size_t size);

/* Protobuf's variable-length integers. Put: appends. Get: 0 when the bytes end or it is longer than ten bytes. */
void tb_put_varint(tb_buf *buf, uint64_t value);
int tb_get_varint(tb_span *from, uint64_t *ret_value); /* advances from */

#endif
