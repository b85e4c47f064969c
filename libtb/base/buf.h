/* Spans borrow bytes until the call returns; buffers own them. */
#ifndef TB_BASE_BUF_H
#define TB_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define tb_auto(drop) __attribute__((cleanup(drop)))

typedef struct tb_span {
	const uint8_t *data;
	size_t size;
} tb_span;

typedef struct tb_buf {
	uint8_t *data;
	size_t size;
	size_t capacity;
} tb_buf; /* { 0 } is an empty one */

static inline tb_span tb_span_of(const void *data, size_t size)
{
	return (tb_span){ (const uint8_t *)data, size };
}
static inline tb_span tb_span_text(const char *text)
{
	return tb_span_of(text, strlen(text));
}
static inline tb_span tb_buf_span(const tb_buf *buf)
{
	return (tb_span){ buf->data, buf->size };
}
static inline int tb_span_equal(tb_span a, tb_span b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
/* memcmp order, the shorter first: the byte order of keys. */
int tb_span_compare(tb_span a, tb_span b);

/* Growing never fails: out of memory ends the process, as a half-grown one could not keep its promises. What comes
 * from outside is bounded before it reaches here. */
void tb_buf_reserve(tb_buf *buf, size_t more); /* room for `more` bytes beyond size */
void tb_buf_append(tb_buf *buf, const void *data, size_t size);
void tb_buf_append_span(tb_buf *buf, tb_span span);
void tb_buf_byte(tb_buf *buf, uint8_t byte);
void tb_buf_print(tb_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tb_buf_hex(tb_buf *buf, const void *data, size_t size);
const char *tb_buf_text(tb_buf *buf); /* NUL-terminated, the NUL not counted; valid until the next change */
static inline void tb_buf_clear(tb_buf *buf)
{
	buf->size = 0;
}
void tb_buf_drop(tb_buf *buf); /* frees; the buffer is empty again */
void tb_buf_swap(tb_buf *a, tb_buf *b);

/* malloc and realloc that end the process instead of returning NULL. */
void *tb_alloc(size_t size);
void *tb_alloc_zero(size_t count, size_t size);
void *tb_realloc(void *old, size_t size);
char *tb_strdup(const char *text);

/* Hex text of size*2 characters and a NUL into out; and back: 0 when text is not exactly size bytes of hex. */
void tb_hex(char *out, const void *data, size_t size);
int tb_unhex(void *out, size_t size, const char *text);

#endif
