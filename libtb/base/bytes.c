#include "base/bytes.h"

#include <xxhash.h>

uint64_t tb_check64(const void *data, size_t size)
{
	return XXH3_64bits(data, size);
}

void tb_put_varint(tb_buf *buf, uint64_t value)
{
	uint8_t bytes[10];
	size_t size = 0;
	while (value >= 0x80) {
		bytes[size++] = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	bytes[size++] = (uint8_t)value;
	tb_buf_append(buf, bytes, size);
}

int tb_get_varint(tb_span *from, uint64_t *ret_value)
{
	uint64_t value = 0;
	for (size_t i = 0; i < from->size && i < 10; i++) {
		if (i == 9 && from->data[i] > 1)
			return 0;
		value |= (uint64_t)(from->data[i] & 0x7f) << (7 * i);
		if (from->data[i] < 0x80) {
			*ret_value = value;
			from->data += i + 1;
			from->size -= i + 1;
			return 1;
		}
	}
	return 0;
}
