#include "base/arena.h"

#include <stdlib.h>

#define BLOCK_SIZE ((size_t)64 * 1024)

struct block {
	struct block *next;
	size_t size, used;
	_Alignas(16) uint8_t bytes[];
};

struct tb_arena {
	struct block *blocks; /* the newest first */
	ProtobufCAllocator allocator;
};

static void *pb_alloc(void *arena, size_t size)
{
	return tb_arena_alloc(arena, size);
}

static void pb_free(void *arena, void *memory)
{
	(void)arena;
	(void)memory;
}

tb_arena *tb_arena_new(void)
{
	tb_arena *arena = tb_alloc_zero(1, sizeof(*arena));
	arena->allocator = (ProtobufCAllocator){ pb_alloc, pb_free, arena };
	return arena;
}

static void free_blocks(struct block *block)
{
	while (block != NULL) {
		struct block *next = block->next;
		free(block);
		block = next;
	}
}

void tb_arena_free(tb_arena *arena)
{
	if (arena == NULL)
		return;
	free_blocks(arena->blocks);
	free(arena);
}

void *tb_arena_alloc(tb_arena *arena, size_t size)
{
	size = (size + 15) & ~(size_t)15;
	struct block *block = arena->blocks;
	if (block == NULL || block->size - block->used < size) {
		size_t room = size > BLOCK_SIZE ? size : BLOCK_SIZE;
		block = tb_alloc(sizeof(*block) + room);
		*block = (struct block){ .next = arena->blocks, .size = room };
		arena->blocks = block;
	}
	void *memory = block->bytes + block->used;
	block->used += size;
	return memory;
}

size_t tb_arena_size(const tb_arena *arena)
{
	size_t size = 0;
	for (const struct block *block = arena->blocks; block != NULL; block = block->next)
		size += block->size;
	return size;
}

void tb_arena_reset(tb_arena *arena)
{
	struct block *block = arena->blocks;
	if (block == NULL)
		return;
	free_blocks(block->next);
	block->next = NULL;
	block->used = 0;
	if (block->size > BLOCK_SIZE) {
		free(block);
		arena->blocks = NULL;
	}
}

tb_span tb_arena_copy(tb_arena *arena, tb_span bytes)
{
	uint8_t *copy = tb_arena_alloc(arena, bytes.size ? bytes.size : 1);
	if (bytes.size)
		memcpy(copy, bytes.data, bytes.size);
	return tb_span_of(copy, bytes.size);
}

char *tb_arena_text(tb_arena *arena, tb_span bytes)
{
	char *copy = tb_arena_alloc(arena, bytes.size + 1);
	if (bytes.size)
		memcpy(copy, bytes.data, bytes.size);
	copy[bytes.size] = '\0';
	return copy;
}

ProtobufCAllocator *tb_arena_allocator(tb_arena *arena)
{
	return &arena->allocator;
}
