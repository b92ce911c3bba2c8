/* SPDX-License-Identifier: MIT
 * Room for what a client sends: the input block of a connection. */
#ifndef OARLOCK_CONN_ROOM_H
#define OARLOCK_CONN_ROOM_H

#include "worker/conn.h"

/* A read into less than this is not worth a call. */
#define OAR_LEAST_ROOM 2048
/* Whether bytes that came now could be taken. */
bool oar_conn_has_room(const struct oar_conn *c);
/* Makes it, where there is little or none left. false: no memory. */
OAR_COLD bool oar_conn_make_room(struct oar_conn *c);

/* Requests behind one that is in progress wait in the input once there are enough of them. */
static inline bool oar_conn_may_parse_more(const struct oar_conn *c)
{
    const struct oar_config *cfg = c->t->worker->config;
    return !c->first ||
           (c->n_requests < cfg->max_pipeline && !c->body_held && c->last->keep_alive &&
            c->arena.total < (size_t)cfg->max_connection_memory);
}

/* Bytes at the start of the block that requests in progress point to. A request whose body still
 * arrives has its head in the arena; when it is the first, all before it are answered. */
static inline uint32_t oar_conn_pinned(const struct oar_conn *c)
{
    return c->first && c->first != c->reading ? c->in_pin : 0;
}

#endif
