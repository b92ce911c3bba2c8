/* SPDX-License-Identifier: MIT
 * Checks a route table before it is read: every offset, count and index, and what the matcher takes
 * for granted (a tree, an empty slot in the hash, as many captures as a route expects), so that
 * matching a table that passes reads nothing outside of it and ends. Process: worker, when it maps
 * the table; the master's commands. Owns nothing. Never changes the table. */
#include "oarlock/route.h"

struct table {
    const char *bytes;
    uint64_t size;
    const struct oar_rt_header *h;
    const struct oar_rt_route *routes;
    const struct oar_rt_node *nodes;
    const struct oar_rt_param *params;
    const uint32_t *slots;
};

static bool inside(uint64_t offset, uint64_t count, uint64_t each, uint64_t size)
{
    return offset % 8 == 0 && offset <= size && count * each <= size - offset;
}

/* Text of `len` bytes and the NUL behind it; the last byte of a table is NUL. */
static bool is_text(const struct table *t, uint64_t offset, uint64_t len)
{
    return offset >= t->h->strings_off && offset + len < t->size;
}

static bool header(const struct table *t)
{
    const struct oar_rt_header *h = t->h;
    uint64_t slots = (uint64_t)h->hash_mask + 1;
    return inside(h->routes_off, h->n_routes, sizeof *t->routes, t->size) &&
           inside(h->nodes_off, h->n_nodes, sizeof *t->nodes, t->size) && h->n_nodes > 0 &&
           inside(h->params_off, h->n_params, sizeof *t->params, t->size) &&
           inside(h->hash_off, slots, sizeof *t->slots, t->size) && (slots & h->hash_mask) == 0 &&
           h->strings_off < t->size && t->bytes[t->size - 1] == '\0';
}

static bool param(const struct table *t, const struct oar_rt_route *r, const struct oar_rt_param *p)
{
    return is_text(t, p->name_off, p->name_len) && p->source <= OAR_IN_QUERY &&
           p->type <= OAR_TYPE_UUID &&
           (p->source != OAR_IN_PATH || p->path_index < r->n_path_params);
}

static bool route(const struct table *t, const struct oar_rt_route *r)
{
    uint64_t first = (uint64_t)r->params_off - t->h->params_off;
    bool ok = is_text(t, r->path_off, r->path_len) && is_text(t, r->name_off, r->name_len) &&
              is_text(t, r->source_off, 0) && r->n_params <= OAR_MAX_PARAMS &&
              r->n_path_params <= OAR_MAX_PATH_PARAMS && r->handler < t->h->n_routes &&
              r->kind <= OAR_HANDLER_ASYNC && r->blocking <= OAR_BLOCKING_YES &&
              r->params_off >= t->h->params_off && first % sizeof *t->params == 0 &&
              first / sizeof *t->params + r->n_params <= t->h->n_params;
    for (uint64_t i = 0; ok && i < r->n_params; i++) {
        ok = param(t, r, &t->params[first / sizeof *t->params + i]);
    }
    return ok;
}

/* Parameters on the way from the root to the node; more than a route can have: damaged. Parents
 * stand before their children. */
static unsigned captures(const struct table *t, uint32_t node)
{
    unsigned n = 0;
    unsigned depth = 0;
    for (; node > 0 && depth <= OAR_MAX_SEGMENTS; node = t->nodes[node].parent, depth++) {
        n += t->nodes[node].via != OAR_EDGE_STATIC;
    }
    return node == 0 ? n : OAR_MAX_PATH_PARAMS + 1;
}

static bool node(const struct table *t, uint32_t i)
{
    const struct oar_rt_node *n = &t->nodes[i];
    bool ok = (i == 0 ? n->parent == 0 : n->parent < i) && n->via <= OAR_EDGE_STATIC &&
              (n->seg_len <= sizeof n->seg || is_text(t, n->seg_off, n->seg_len)) &&
              n->edges < 1u << (OAR_EDGES + 1);
    unsigned n_captures = ok ? captures(t, i) : 0;
    ok = ok && n_captures <= OAR_MAX_PATH_PARAMS;
    for (int m = 0; ok && m < OAR_METHODS; m++) {
        ok = n->route[m] <= t->h->n_routes &&
             (!n->route[m] || (i > 0 && t->routes[n->route[m] - 1].n_path_params == n_captures));
    }
    for (int e = 0; ok && e < OAR_EDGES; e++) { /* a child has one parent: the walk is of a tree */
        uint32_t child = n->edge[e];
        bool there = (n->edges & 1u << oar_rt_rank((enum oar_edge)e)) != 0;
        ok = child < t->h->n_nodes && there == (child != 0) &&
             (!child || (t->nodes[child].parent == i && t->nodes[child].via == e));
    }
    return ok;
}

/* A search for what is not there ends at an empty slot; a node is in the table once at most. */
static bool hash(const struct table *t)
{
    uint64_t used = 0;
    uint64_t slots = (uint64_t)t->h->hash_mask + 1;
    bool ok = true;
    for (uint64_t i = 0; ok && i < slots; i++) {
        uint32_t at = t->slots[i];
        used += at != 0;
        ok = at < t->h->n_nodes && (!at || t->nodes[at].via == OAR_EDGE_STATIC);
    }
    return ok && used < slots;
}

enum oar_status oar_route_check(const void *bytes, size_t size, struct oar_err *err)
{
    const struct oar_rt_header *h = bytes;
    if (size < sizeof *h || h->magic != OAR_ROUTE_MAGIC || h->version != OAR_ROUTE_VERSION ||
        h->size != size) {
        return oar_err_set(err, "the route table is not one of version %d", OAR_ROUTE_VERSION);
    }
    struct table t = {.bytes = bytes, .size = size, .h = h};
    bool ok = header(&t);
    if (ok) {
        t.routes = (const void *)(t.bytes + h->routes_off);
        t.nodes = (const void *)(t.bytes + h->nodes_off);
        t.params = (const void *)(t.bytes + h->params_off);
        t.slots = (const void *)(t.bytes + h->hash_off);
    }
    for (uint32_t i = 0; ok && i < h->n_routes; i++) {
        ok = route(&t, &t.routes[i]);
    }
    for (uint32_t i = 0; ok && i < h->n_nodes; i++) {
        ok = node(&t, i);
    }
    return ok && hash(&t)
               ? OAR_OK
               : oar_err_set(err, "the route table is damaged: an offset points outside of it");
}
