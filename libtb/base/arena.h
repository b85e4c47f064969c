/* An arena: memory for one turn, all of it given back at once. Feeds protobuf-c's unpack, which then frees nothing. */
#ifndef TB_BASE_ARENA_H
#define TB_BASE_ARENA_H

#include "base/buf.h"

#include <protobuf-c/protobuf-c.h>

typedef struct tb_arena tb_arena;

tb_arena *tb_arena_new(void);
void tb_arena_free(tb_arena *arena);
void *tb_arena_alloc(tb_arena *arena, size_t size); /* 16-aligned, not zeroed; never NULL */
size_t tb_arena_size(const tb_arena *arena);        /* bytes that it has taken */
void tb_arena_reset(tb_arena *arena);               /* everything handed out so far is gone; keeps one block */
tb_span tb_arena_copy(tb_arena *arena, tb_span bytes);
char *tb_arena_text(tb_arena *arena, tb_span bytes); /* a NUL-terminated copy */
ProtobufCAllocator *tb_arena_allocator(tb_arena *arena);

#endif
