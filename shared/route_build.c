/* SPDX-License-Identifier: MIT
 * Compiles routes to the frozen bytes of include/oarlock/route.h: grows the tree of patterns and
 * refuses conflicts with both handlers' file:line. Process: master (the loader's manifest comes from the application, so every length
 * is checked). Owns its growing arrays until oar_route_build returns; the caller owns the result.
 * Never runs in a worker. */
#include "shared/route_build.h"

#include <stdio.h>
#include <stdlib.h>

#include "shared/buf.h"
#include "shared/route_pattern.h"

struct builder {
    const struct oar_routes *in;
    struct oar_buf nodes, routes, params, strings;
    struct oar_buf pieces; /* of all patterns: struct oar_piece */
    struct oar_buf from;   /* where each route's begin: uint32_t */
    uint32_t *hash;        /* grows with the nodes */
    uint32_t hash_mask;
    struct oar_err *err;
};

static struct oar_rt_node *node_at(struct builder *b, uint32_t i)
{
    return (struct oar_rt_node *)(void *)b->nodes.data + i;
}
static uint32_t node_count(const struct builder *b)
{
    return (uint32_t)(b->nodes.len / sizeof(struct oar_rt_node));
}

static uint32_t put_string(struct builder *b, struct oar_slice s)
{
    uint32_t at = (uint32_t)b->strings.len;
    oar_buf_put_slice(&b->strings, s);
    oar_buf_put(&b->strings, "", 1);
    return at;
}

static void hash_insert(struct builder *b, uint32_t node)
{
    const struct oar_rt_node *n = node_at(b, node);
    const char *text = n->seg_len <= sizeof n->seg ? n->seg : b->strings.data + n->seg_off;
    uint32_t at = oar_rt_hash(n->parent, text, n->seg_len) & b->hash_mask;
    while (b->hash[at]) {
        at = (at + 1) & b->hash_mask;
    }
    b->hash[at] = node;
}

/* Keeps the table at most a third full: an unknown segment ends after about one probe. */
static bool hash_reserve(struct builder *b)
{
    uint32_t need = (node_count(b) + 1) * 3;
    if (b->hash && b->hash_mask + 1 >= need) {
        return true;
    }
    uint32_t size = 64;
    while (size < need * 2) {
        size *= 2;
    }
    uint32_t *bigger = calloc(size, sizeof *bigger);
    if (!bigger) {
        return false;
    }
    free(b->hash);
    b->hash = bigger;
    b->hash_mask = size - 1;
    for (uint32_t i = 1; i < node_count(b); i++) {
        if (node_at(b, i)->via == OAR_EDGE_STATIC) {
            hash_insert(b, i);
        }
    }
    return true;
}

static uint32_t find_static(struct builder *b, uint32_t parent, struct oar_slice seg)
{
    uint32_t at = oar_rt_hash(parent, seg.ptr, seg.len) & b->hash_mask;
    for (; b->hash[at]; at = (at + 1) & b->hash_mask) {
        const struct oar_rt_node *n = node_at(b, b->hash[at]);
        const char *text = n->seg_len <= sizeof n->seg ? n->seg : b->strings.data + n->seg_off;
        if (n->parent == parent && n->seg_len == seg.len && oar_rt_equal(text, seg.ptr, seg.len)) {
            return b->hash[at];
        }
    }
    return 0;
}

/* The child of `parent` for the piece, made where it is missing. 0: no memory. */
static uint32_t child_for(struct builder *b, uint32_t parent, const struct oar_piece *piece)
{
    bool is_static = piece->edge == OAR_EDGE_STATIC;
    uint32_t child = 0;
    if (!hash_reserve(b)) {
        return 0;
    }
    child = is_static ? find_static(b, parent, piece->text) : node_at(b, parent)->edge[piece->edge];
    if (child) {
        return child;
    }
    child = node_count(b);
    struct oar_rt_node fresh = {.parent = parent, .via = (uint8_t)piece->edge};
    if (is_static) {
        fresh.seg_len = (uint16_t)piece->text.len;
        memcpy(fresh.seg, piece->text.ptr, OAR_MIN(piece->text.len, sizeof fresh.seg));
        fresh.seg_off = piece->text.len > sizeof fresh.seg ? put_string(b, piece->text) : 0;
    } else {
        node_at(b, parent)->edge[piece->edge] = child;
    }
    node_at(b, parent)->edges |= (uint8_t)(1u << oar_rt_rank(piece->edge));
    oar_buf_put(&b->nodes, &fresh, sizeof fresh);
    if (b->nodes.failed) {
        return 0;
    }
    if (is_static) {
        hash_insert(b, child);
    }
    return child;
}

static enum oar_status conflict(struct builder *b, const struct oar_route_spec *r, int method,
                                uint16_t other)
{
    const struct oar_rt_route *old =
        (const struct oar_rt_route *)(void *)b->routes.data + other - 1;
    return oar_err_set(b->err,
                       "%.*s %s is routed twice: %s (%s) and %s (%s); remove one or give "
                       "--allow-duplicate-routes to keep the first",
                       OAR_FMT(oar_method_names[method]), r->path, b->strings.data + old->name_off,
                       b->strings.data + old->source_off, r->name, r->source);
}

/* Route number `index` ends at `node`. */
static enum oar_status end_route(struct builder *b, uint32_t node, const struct oar_route_spec *r,
                                 uint16_t index)
{
    struct oar_rt_node *n = node_at(b, node);
    n->allow |= (uint16_t)(1u << OAR_OPTIONS_M);
    for (int m = 0; m < OAR_METHODS; m++) {
        if (!(r->methods & 1u << m)) {
            continue;
        }
        if (n->route[m] == 0) {
            n->route[m] = index;
            n->allow |= (uint16_t)(1u << m);
        } else if (!b->in->allow_duplicates) {
            return conflict(b, r, m, n->route[m]);
        }
    }
    n->allow |= (uint16_t)(n->allow & 1u << OAR_GET ? 1u << OAR_HEAD : 0);
    node_at(b, 0)->allow |= n->allow;
    return OAR_OK;
}

static enum oar_status put_params(struct builder *b, const struct oar_route_spec *r,
                                  const struct oar_pattern *pattern)
{
    for (int i = 0; i < r->n_params; i++) {
        const struct oar_param_spec *p = &r->params[i];
        struct oar_rt_param out = {.source = p->source, .type = p->type, .flags = p->flags};
        int captured = 0;
        bool found = p->source != OAR_IN_PATH;
        for (int s = 0; s < pattern->count && !found; s++) {
            if (pattern->at[s].edge != OAR_EDGE_STATIC) {
                found = oar_slice_eq(pattern->at[s].text, oar_slice_of(p->segment));
                out.path_index = (uint8_t)captured++;
            }
        }
        if (!found) {
            return oar_err_set(b->err, "%s: route '%s' has no parameter '{%s}'", r->source, r->path,
                               p->segment);
        }
        out.name_off = put_string(b, oar_slice_of(p->name));
        out.name_len = (uint16_t)strlen(p->name);
        oar_buf_put(&b->params, &out, sizeof out);
    }
    return OAR_OK;
}

static enum oar_status add_route(struct builder *b, size_t order, struct oar_pattern *pattern)
{
    const struct oar_route_spec *r = &b->in->at[order];
    uint32_t node = 0;
    int captures = 0;
    if (strlen(r->path) > UINT16_MAX || strlen(r->name) > UINT16_MAX ||
        r->n_params > OAR_MAX_PARAMS) {
        return oar_err_set(b->err,
                           "%s: route '%.60s...' is too long or has more than %d parameters",
                           r->source, r->path, OAR_MAX_PARAMS);
    }
    for (int i = 0; i < pattern->count; i++) {
        captures += pattern->at[i].edge != OAR_EDGE_STATIC;
        pattern->at[i].parent = node;
        node = child_for(b, node, &pattern->at[i]);
        if (!node) {
            return oar_err_set(b->err, "no memory for the route table");
        }
    }
    if (captures > OAR_MAX_PATH_PARAMS) {
        return oar_err_set(b->err, "%s: route '%s' has more than %d path parameters", r->source,
                           r->path, OAR_MAX_PATH_PARAMS);
    }
    struct oar_rt_route out = {
        .path_off = put_string(b, oar_slice_of(r->path)),
        .name_off = put_string(b, oar_slice_of(r->name)),
        .source_off = put_string(b, oar_slice_of(r->source)),
        .path_len = (uint16_t)strlen(r->path),
        .name_len = (uint16_t)strlen(r->name),
        .params_off = (uint32_t)b->params.len,
        .n_params = (uint16_t)r->n_params,
        .handler = r->handler,
        .order = (uint16_t)order,
        .methods = r->methods,
        .kind = r->kind,
        .blocking = r->blocking,
        .n_path_params = (uint8_t)captures,
        .flags = r->flags,
        .max_body = r->max_body,
    };
    oar_buf_put(&b->routes, &out, sizeof out);
    enum oar_status status = put_params(b, r, pattern);
    return status == OAR_OK ? end_route(b, node, r, (uint16_t)(order + 1)) : status;
}

/* Lays the parts out behind the header and makes their offsets absolute. */
static enum oar_status emit(struct builder *b, struct oar_built *out)
{
    struct oar_rt_header h = {.magic = OAR_ROUTE_MAGIC,
                              .version = OAR_ROUTE_VERSION,
                              .fingerprint = b->in->fingerprint,
                              .hash_mask = b->hash_mask};
    size_t hash_size = ((size_t)b->hash_mask + 1) * sizeof *b->hash;
    size_t at = OAR_ALIGN(sizeof h, OAR_CACHE_LINE);
    oar_buf_put(&b->strings, "", 1); /* the last byte of a table is NUL */
#define PLACE(field, bytes) (h.field = (uint32_t)at, at = OAR_ALIGN(at + (bytes), OAR_CACHE_LINE))
    PLACE(nodes_off, b->nodes.len);
    PLACE(hash_off, hash_size);
    PLACE(routes_off, b->routes.len);
    PLACE(params_off, b->params.len);
#undef PLACE
    h.strings_off = (uint32_t)at;
    at += b->strings.len;
    h.size = (uint32_t)at;
    h.n_nodes = node_count(b);
    h.n_routes = (uint32_t)(b->routes.len / sizeof(struct oar_rt_route));
    h.n_params = (uint32_t)(b->params.len / sizeof(struct oar_rt_param));
    h.flags = (b->in->redirect_slashes ? OAR_RT_REDIRECT_SLASHES : 0) |
              (b->in->registration_order ? OAR_RT_REGISTRATION_ORDER : 0);
    char *bytes = at < UINT32_MAX ? calloc(1, at) : NULL;
    if (!bytes || b->strings.failed || b->routes.failed || b->params.failed) {
        free(bytes);
        return oar_err_set(b->err, "no memory for a route table of %zu bytes", at);
    }
    for (uint32_t i = 0; i < h.n_nodes; i++) {
        node_at(b, i)->seg_off += h.strings_off;
    }
    for (uint32_t i = 0; i < h.n_routes; i++) {
        struct oar_rt_route *r = (struct oar_rt_route *)(void *)b->routes.data + i;
        r->path_off += h.strings_off;
        r->name_off += h.strings_off;
        r->source_off += h.strings_off;
        r->params_off += h.params_off;
    }
    for (uint32_t i = 0; i < h.n_params; i++) {
        ((struct oar_rt_param *)(void *)b->params.data + i)->name_off += h.strings_off;
    }
    memcpy(bytes, &h, sizeof h);
#define COPY(offset, from, length) ((length) ? memcpy(bytes + (offset), (from), (length)) : NULL)
    COPY(h.nodes_off, b->nodes.data, b->nodes.len);
    COPY(h.hash_off, b->hash, hash_size);
    COPY(h.routes_off, b->routes.data, b->routes.len);
    COPY(h.params_off, b->params.data, b->params.len);
    COPY(h.strings_off, b->strings.data, b->strings.len);
#undef COPY
    out->bytes = bytes;
    out->size = at;
    return OAR_OK;
}

static enum oar_status check_size(const struct oar_routes *in, struct oar_err *err)
{
    if (in->count <= OAR_MAX_ROUTES) {
        return OAR_OK;
    }
    return oar_err_set(err, "the application has %zu routes; oarlock takes at most %d", in->count,
                       OAR_MAX_ROUTES);
}

static enum oar_status add_all(struct builder *b)
{
    enum oar_status status = OAR_OK;
    struct oar_pattern pattern;
    uint32_t from = 0;
    oar_buf_put(&b->from, &from, sizeof from);
    for (size_t i = 0; i < b->in->count && status == OAR_OK; i++) {
        status = oar_pattern_parse(&b->in->at[i], &pattern, b->err);
        if (status == OAR_OK) {
            status = add_route(b, i, &pattern);
            oar_buf_put(&b->pieces, pattern.at, (size_t)pattern.count * sizeof *pattern.at);
            from += (uint32_t)pattern.count;
            oar_buf_put(&b->from, &from, sizeof from);
        }
    }
    return status;
}

enum oar_status oar_route_build(const struct oar_routes *routes, struct oar_built *out,
                                struct oar_err *err)
{
    struct builder b = {.in = routes, .err = err};
    struct oar_rt_node root = {.via = OAR_EDGE_PATH, .allow = 1u << OAR_OPTIONS_M};
    enum oar_status status = check_size(routes, err);
    *out = (struct oar_built){0};
    oar_buf_put(&b.nodes, &root, sizeof root);
    if (status == OAR_OK && (b.nodes.failed || !hash_reserve(&b))) {
        status = oar_err_set(err, "no memory for the route table");
    }
    if (status == OAR_OK) {
        status = add_all(&b);
    }
    if (status == OAR_OK) {
        status = emit(&b, out);
    }
    if (status == OAR_OK && !routes->registration_order && !b.pieces.failed && !b.from.failed) {
        struct oar_packed_patterns all = {(const void *)b.pieces.data, (const void *)b.from.data};
        out->warnings = oar_route_order_warnings(routes, &all, node_count(&b));
    }
    free(b.hash);
    oar_buf_free(&b.nodes);
    oar_buf_free(&b.routes);
    oar_buf_free(&b.params);
    oar_buf_free(&b.strings);
    oar_buf_free(&b.pieces);
    oar_buf_free(&b.from);
    return status;
}
