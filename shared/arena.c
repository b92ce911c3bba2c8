/* SPDX-License-Identifier: MIT
 * Blocks, a pool that keeps them, and arenas that string them together.
 * Process: worker; a pool and its arenas belong to one thread. Owns every block between take and
 * give. Never aborts: no memory is NULL, and the caller answers 503. */
#include "shared/arena.h"

#include <stdlib.h>

static struct oar_block *block_new(size_t size)
{
    struct oar_block *b = size <= SIZE_MAX - sizeof *b ? malloc(sizeof *b + size) : NULL;
    if (b) {
        b->next = NULL;
        b->size = size;
    }
    return b;
}

struct oar_block *oar_pool_take(struct oar_pool *pool)
{
    struct oar_block *b = pool->free;
    if (b) {
        pool->free = b->next;
        pool->kept--;
        b->next = NULL;
        return b;
    }
    return block_new(OAR_BLOCK_SIZE - sizeof *b);
}

void oar_pool_give(struct oar_pool *pool, struct oar_block *block)
{
    if (pool->kept >= OAR_BLOCK_KEEP || block->size != OAR_BLOCK_SIZE - sizeof *block) {
        free(block);
        return;
    }
    block->next = pool->free;
    pool->free = block;
    pool->kept++;
}

void oar_pool_drain(struct oar_pool *pool)
{
    while (pool->free) {
        struct oar_block *b = pool->free;
        pool->free = b->next;
        free(b);
    }
    pool->kept = 0;
}

void *oar_arena_more(struct oar_arena *a, size_t size)
{
    struct oar_block *b = size <= OAR_BLOCK_SIZE / 4 ? oar_pool_take(a->pool) : block_new(size);
    if (!b) {
        return NULL;
    }
    a->total += b->size;
    if (size > OAR_BLOCK_SIZE / 4 &&
        a->blocks) { /* a big one goes behind: the current keeps its room */
        b->next = a->blocks->next;
        a->blocks->next = b;
        return b->data;
    }
    b->next = a->blocks;
    a->blocks = b;
    a->used = size;
    return b->data;
}

void oar_arena_adopt(struct oar_arena *a, struct oar_block *block)
{
    struct oar_block **place = a->blocks ? &a->blocks->next : &a->blocks;
    if (!a->blocks) {
        a->used = block->size; /* it has no room of the arena's */
    }
    block->next = *place;
    *place = block;
    a->total += block->size;
}

void oar_arena_reset(struct oar_arena *a)
{
    while (a->blocks) {
        struct oar_block *b = a->blocks;
        a->blocks = b->next;
        oar_pool_give(a->pool, b);
    }
    a->used = 0;
    a->total = 0;
}
