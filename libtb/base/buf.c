#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void out_of_memory(size_t size)
{
	fprintf(stderr, "tradebank: out of memory, wanted %zu bytes\n", size);
	abort();
}

void *tb_alloc(size_t size)
{
	void *memory = malloc(size ? size : 1);
	if (memory == NULL)
		out_of_memory(size);
	return memory;
}

void *tb_alloc_zero(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size ? size : 1);
	if (memory == NULL)
		out_of_memory(count * size);
	return memory;
}

void *tb_realloc(void *old, size_t size)
{
	void *memory = realloc(old, size ? size : 1);
	if (memory == NULL)
		out_of_memory(size);
	return memory;
}

char *tb_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	return memcpy(tb_alloc(size), text, size);
}

int tb_span_compare(tb_span a, tb_span b)
{
	size_t common = a.size < b.size ? a.size : b.size;
	int order = common ? memcmp(a.data, b.data, common) : 0;
	if (order != 0)
		return order;
	return a.size < b.size ? -1 : a.size > b.size;
}

void tb_buf_reserve(tb_buf *buf, size_t more)
{
	if (more <= buf->capacity - buf->size)
		return;
	size_t wanted = buf->size + more;
	size_t capacity = buf->capacity ? buf->capacity : 64;
	while (capacity < wanted)
		capacity += capacity / 2;
	buf->data = tb_realloc(buf->data, capacity);
	buf->capacity = capacity;
}

void tb_buf_append(tb_buf *buf, const void *data, size_t size)
{
	if (size == 0)
		return;
	tb_buf_reserve(buf, size);
	memcpy(buf->data + buf->size, data, size);
	buf->size += size;
}

void tb_buf_append_span(tb_buf *buf, tb_span span)
{
	tb_buf_append(buf, span.data, span.size);
}

void tb_buf_byte(tb_buf *buf, uint8_t byte)
{
	tb_buf_append(buf, &byte, 1);
}

void tb_buf_print(tb_buf *buf, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int size = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (size > 0) {
		tb_buf_reserve(buf, (size_t)size + 1);
		vsnprintf((char *)buf->data + buf->size, (size_t)size + 1, format, again);
		buf->size += (size_t)size;
	}
	va_end(again);
}

void tb_buf_hex(tb_buf *buf, const void *data, size_t size)
{
	tb_buf_reserve(buf, size * 2 + 1);
	tb_hex((char *)buf->data + buf->size, data, size);
	buf->size += size * 2;
}

const char *tb_buf_text(tb_buf *buf)
{
	tb_buf_reserve(buf, 1);
	buf->data[buf->size] = '\0';
	return (const char *)buf->data;
}

void tb_buf_drop(tb_buf *buf)
{
	if (buf == NULL)
		return;
	free(buf->data);
	*buf = (tb_buf){ 0 };
}

void tb_buf_swap(tb_buf *a, tb_buf *b)
{
	tb_buf held = *a;
	*a = *b;
	*b = held;
}

void tb_hex(char *out, const void *data, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = data;
	for (size_t i = 0; i < size; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[2 * size] = '\0';
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int tb_unhex(void *out, size_t size, const char *text)
{
	uint8_t *bytes = out;
	for (size_t i = 0; i < size; i++) {
		int high = digit(text[2 * i]);
		int low = high < 0 ? -1 : digit(text[2 * i + 1]);
		if (low < 0)
			return 0;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return text[2 * size] == '\0';
}
