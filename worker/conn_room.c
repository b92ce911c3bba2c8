/* SPDX-License-Identifier: MIT
 * Room for what a client sends.
 * Process: worker, on the connection's thread, without the interpreter. Owns nothing beyond the
 * connection's input block. Never makes room for bytes that only wait for earlier requests to be
 * answered: the client is slowed down instead.
 *
 * The input block: [ pinned: requests in progress | parsed or thrown away | not parsed | free ].
 * What is not parsed slides up to what is pinned; when even that leaves little room, it moves to
 * another block, and the block that requests in progress point to stays with them in the arena. */
#include "worker/conn_room.h"

#include <stdlib.h>

static size_t biggest(const struct oar_conn *c)
{
    return (size_t)c->t->worker->config->max_head + OAR_BLOCK_SIZE;
}

/* What is in the block waits for more bytes, not for requests before it to be answered. */
static bool wants_more(const struct oar_conn *c)
{
    return c->reading || c->head_partial || c->proxy_due ||
           (c->in_at == c->in_len && oar_conn_may_parse_more(c));
}

bool oar_conn_has_room(const struct oar_conn *c)
{
    return !c->in || c->in_len < c->in->size || c->in_at > oar_conn_pinned(c) ||
           (wants_more(c) && (oar_conn_pinned(c) > 0 || c->in->size < biggest(c)));
}

/* What is not parsed yet moves up to what is pinned. */
static void slide(struct oar_conn *c)
{
    c->in_pin = oar_conn_pinned(c);
    uint32_t by = c->in_at - c->in_pin;
    if (by > 0) {
        memmove(c->in->data + c->in_at - by, c->in->data + c->in_at, c->in_len - c->in_at);
        c->in_scanned -= OAR_MIN(c->in_scanned, by);
        c->in_len -= by;
        c->in_at -= by;
    }
}

/* What is not parsed yet moves to a block with more room. A block that requests in progress point
 * to stays with them, in the arena. */
OAR_COLD static bool move_on(struct oar_conn *c)
{
    uint32_t tail = c->in_len - c->in_at;
    bool usual = tail + OAR_LEAST_ROOM <= OAR_BLOCK_SIZE - sizeof(struct oar_block);
    struct oar_block *b = usual ? oar_pool_take(&c->t->pool) : malloc(sizeof *b + biggest(c));
    if (!b) {
        return false;
    }
    if (!usual) {
        b->next = NULL;
        b->size = biggest(c);
    }
    memcpy(b->data, c->in->data + c->in_at, tail);
    if (oar_conn_pinned(c) > 0) {
        oar_arena_adopt(&c->arena, c->in);
    } else {
        oar_pool_give(&c->t->pool, c->in);
    }
    c->in_scanned -= OAR_MIN(c->in_scanned, c->in_at);
    c->in = b;
    c->in_len = tail;
    c->in_at = c->in_pin = 0;
    return true;
}

/* Makes room, as oar_conn_has_room promises, where there is little or none. false: no memory. */
bool oar_conn_make_room(struct oar_conn *c)
{
    slide(c);
    bool moves = c->in->size - c->in_len < OAR_LEAST_ROOM && wants_more(c) &&
                 (oar_conn_pinned(c) > 0 || c->in->size < biggest(c));
    return (moves && move_on(c)) || c->in_len < c->in->size;
}
