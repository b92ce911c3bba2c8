/* SPDX-License-Identifier: MIT
 * Memory with the lifetime of a connection's requests in progress: taken piece by piece, given back
 * at once. Blocks come from, and go back to, a pool that one thread owns. */
#ifndef OARLOCK_ARENA_H
#define OARLOCK_ARENA_H

#include "oarlock/base.h"
#include "oarlock/limits.h"

struct oar_block {
    struct oar_block *next;
    size_t size; /* bytes of data[] */
    char data[] __attribute__((aligned(16)));
};

/* One per event-loop thread; never shared. */
struct oar_pool {
    struct oar_block *free; /* blocks of OAR_BLOCK_SIZE */
    unsigned kept;
};

struct oar_block *oar_pool_take(struct oar_pool *pool);
void oar_pool_give(struct oar_pool *pool, struct oar_block *block);
void oar_pool_drain(struct oar_pool *pool);

struct oar_arena {
    struct oar_pool *pool; /* borrowed */
    struct oar_block *blocks;
    size_t used;  /* of blocks->data */
    size_t total; /* bytes of all blocks, for the connection's limit */
};

void *oar_arena_more(struct oar_arena *a, size_t size);
/* The block goes the way of the arena's own: what points into it stays valid until the reset. */
void oar_arena_adopt(struct oar_arena *a, struct oar_block *block);
/* Gives every block back. What was taken from the arena is gone. */
void oar_arena_reset(struct oar_arena *a);

/* 16-byte aligned memory, or NULL when there is none. Not zeroed. */
static inline void *oar_arena_take(struct oar_arena *a, size_t size)
{
    size = OAR_ALIGN(size, 16);
    if (OAR_LIKELY(a->blocks && a->blocks->size - a->used >= size)) {
        void *p = a->blocks->data + a->used;
        a->used += size;
        return p;
    }
    return oar_arena_more(a, size);
}

#endif
