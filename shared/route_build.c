/* SPDX-License-Identifier: MIT
 * Compiles routes to the frozen bytes of include/oarlock/route.h: parses patterns, grows the tree,
 * refuses conflicts with both handlers' file:line, warns where precedence differs from
 * registration. Process: master (the loader's manifest comes from the application, so every length
 * is checked). Owns its growing arrays until oar_route_build returns; the caller owns the result.
 * Never runs in a worker. */
#include "shared/route_build.h"

#include <stdio.h>
#include <stdlib.h>

#include "shared/buf.h"

/* A pattern cut into its segments. */
struct pattern {
    int count;
    struct piece {
        enum oar_edge edge;
        struct oar_slice text; /* the static text, or the parameter's name */
    } at[OAR_MAX_SEGMENTS];
};

struct builder {
    const struct oar_routes *in;
    struct oar_buf nodes, leaves, routes, params, strings;
    uint32_t *hash; /* grows with the nodes */
    uint32_t hash_mask;
    struct oar_err *err;
};

static struct oar_rt_node *node_at(struct builder *b, uint32_t i)
{
    return (struct oar_rt_node *)(void *)b->nodes.data + i;
}
static struct oar_rt_leaf *leaf_at(struct builder *b, uint32_t i)
{
    return (struct oar_rt_leaf *)(void *)b->leaves.data + i;
}
static uint32_t node_count(const struct builder *b)
{
    return (uint32_t)(b->nodes.len / sizeof(struct oar_rt_node));
}

static enum oar_status parse_param(const struct oar_route_spec *r, struct oar_slice inner,
                                   struct piece *out, struct oar_err *err)
{
    static const struct {
        struct oar_slice name;
        enum oar_edge edge;
    } convertors[] = {{{"int", 3}, OAR_EDGE_INT},
                      {{"float", 5}, OAR_EDGE_FLOAT},
                      {{"uuid", 4}, OAR_EDGE_UUID},
                      {{"str", 3}, OAR_EDGE_STR},
                      {{"path", 4}, OAR_EDGE_PATH}};
    const char *colon = memchr(inner.ptr, ':', inner.len);
    out->text = (struct oar_slice){inner.ptr, colon ? (size_t)(colon - inner.ptr) : inner.len};
    out->edge = OAR_EDGE_STR;
    if (out->text.len == 0) {
        return oar_err_set(err, "%s: route '%s' has a parameter without a name", r->source,
                           r->path);
    }
    if (!colon) {
        return OAR_OK;
    }
    struct oar_slice convertor = {colon + 1, inner.len - out->text.len - 1};
    for (size_t i = 0; i < OAR_ARRAY_LEN(convertors); i++) {
        if (oar_slice_eq(convertor, convertors[i].name)) {
            out->edge = convertors[i].edge;
            return OAR_OK;
        }
    }
    return oar_err_set(
        err, "%s: route '%s' has an unknown convertor '%.*s'; give int, float, uuid, str or path",
        r->source, r->path, OAR_FMT(convertor));
}

static enum oar_status parse_segment(const struct oar_route_spec *r, struct oar_slice seg,
                                     bool last, struct piece *out, struct oar_err *err)
{
    bool braces = memchr(seg.ptr, '{', seg.len) || memchr(seg.ptr, '}', seg.len);
    if (!braces) {
        *out = (struct piece){OAR_EDGE_STATIC, seg};
        if (seg.len > 0 && seg.len <= 2 && seg.ptr[0] == '.' && seg.ptr[seg.len - 1] == '.') {
            return oar_err_set(err, "%s: route '%s' has a dot segment, which no request can match",
                               r->source, r->path);
        }
        return OAR_OK;
    }
    if (seg.len < 2 || seg.ptr[0] != '{' ||
        memchr(seg.ptr, '}', seg.len) != seg.ptr + seg.len - 1) {
        return oar_err_set(
            err, "%s: route '%s': a parameter must be a whole segment, not part of '%.*s'",
            r->source, r->path, OAR_FMT(seg));
    }
    enum oar_status status = parse_param(r, (struct oar_slice){seg.ptr + 1, seg.len - 2}, out, err);
    if (status == OAR_OK && out->edge == OAR_EDGE_PATH && !last) {
        status = oar_err_set(
            err, "%s: route '%s': {%.*s:path} takes the whole rest, so nothing may follow it",
            r->source, r->path, OAR_FMT(out->text));
    }
    return status;
}

static enum oar_status parse_pattern(const struct oar_route_spec *r, struct pattern *out,
                                     struct oar_err *err)
{
    enum oar_status status = OAR_OK;
    const char *p = r->path;
    out->count = 0;
    if (*p != '/') {
        return oar_err_set(err, "%s: route '%s' must start with '/'", r->source, r->path);
    }
    while (status == OAR_OK && *p == '/') {
        const char *end = strchr(p + 1, '/');
        size_t len = end ? (size_t)(end - p - 1) : strlen(p + 1);
        if (out->count == OAR_MAX_SEGMENTS) {
            return oar_err_set(err, "%s: route '%s' has more than %d segments", r->source, r->path,
                               OAR_MAX_SEGMENTS);
        }
        status =
            parse_segment(r, (struct oar_slice){p + 1, len}, !end, &out->at[out->count++], err);
        p += 1 + len;
    }
    return status;
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
        if (n->parent == parent && n->seg_len == seg.len && memcmp(text, seg.ptr, seg.len) == 0) {
            return b->hash[at];
        }
    }
    return 0;
}

/* The child of `parent` for the piece, made where it is missing. 0: no memory. */
static uint32_t child_for(struct builder *b, uint32_t parent, const struct piece *piece)
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
        node_at(b, parent)->has_static = 1;
    } else {
        node_at(b, parent)->edge[piece->edge] = child;
    }
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

/* Enters route number `index` into the leaf of `node`. */
static enum oar_status end_route(struct builder *b, uint32_t node, const struct oar_route_spec *r,
                                 uint16_t index)
{
    if (node_at(b, node)->leaf == 0) {
        struct oar_rt_leaf fresh = {.allow = 1u << OAR_OPTIONS_M};
        oar_buf_put(&b->leaves, &fresh, sizeof fresh);
        node_at(b, node)->leaf = (uint32_t)(b->leaves.len / sizeof fresh);
    }
    if (b->leaves.failed) {
        return oar_err_set(b->err, "no memory for the route table");
    }
    struct oar_rt_leaf *leaf = leaf_at(b, node_at(b, node)->leaf - 1);
    for (int m = 0; m < OAR_METHODS; m++) {
        if (!(r->methods & 1u << m)) {
            continue;
        }
        if (leaf->route[m] == 0) {
            leaf->route[m] = index;
            leaf->allow |= (uint16_t)(1u << m);
        } else if (!b->in->allow_duplicates) {
            return conflict(b, r, m, leaf->route[m]);
        }
    }
    leaf->allow |= (uint16_t)(leaf->allow & 1u << OAR_GET ? 1u << OAR_HEAD : 0);
    return OAR_OK;
}

static enum oar_status put_params(struct builder *b, const struct oar_route_spec *r,
                                  const struct pattern *pattern)
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

static enum oar_status add_route(struct builder *b, size_t order, const struct pattern *pattern)
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
    PLACE(leaves_off, b->leaves.len);
    PLACE(routes_off, b->routes.len);
    PLACE(params_off, b->params.len);
#undef PLACE
    h.strings_off = (uint32_t)at;
    at += b->strings.len;
    h.size = (uint32_t)at;
    h.n_nodes = node_count(b);
    h.n_routes = (uint32_t)(b->routes.len / sizeof(struct oar_rt_route));
    h.n_leaves = (uint32_t)(b->leaves.len / sizeof(struct oar_rt_leaf));
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
    COPY(h.leaves_off, b->leaves.data, b->leaves.len);
    COPY(h.routes_off, b->routes.data, b->routes.len);
    COPY(h.params_off, b->params.data, b->params.len);
    COPY(h.strings_off, b->strings.data, b->strings.len);
#undef COPY
    out->bytes = bytes;
    out->size = at;
    return OAR_OK;
}

/* ---- where precedence differs from registration ---- */

/* Is there a path that both patterns match, and does the later one win it only by being more
 * specific? */
static bool later_wins(const struct pattern *early, const struct pattern *late)
{
    bool decided = false;
    for (int i = 0;; i++) {
        if (i == early->count || i == late->count) {
            return decided && early->count == late->count;
        }
        const struct piece *e = &early->at[i];
        const struct piece *l = &late->at[i];
        if (e->edge == OAR_EDGE_PATH || l->edge == OAR_EDGE_PATH) {
            return decided || (e->edge == OAR_EDGE_PATH && l->edge != OAR_EDGE_PATH);
        }
        bool both_static = e->edge == OAR_EDGE_STATIC && l->edge == OAR_EDGE_STATIC;
        if (both_static && !oar_slice_eq(e->text, l->text)) {
            return false;
        }
        bool empty = (e->edge == OAR_EDGE_STATIC && e->text.len == 0) !=
                     (l->edge == OAR_EDGE_STATIC && l->text.len == 0);
        int rank_e = e->edge == OAR_EDGE_STATIC ? -1 : (int)e->edge;
        int rank_l = l->edge == OAR_EDGE_STATIC ? -1 : (int)l->edge;
        if (empty || (!decided && rank_e < rank_l)) {
            return false;
        }
        decided = decided || rank_l < rank_e;
    }
}

static char *order_warnings(const struct oar_routes *in, const struct pattern *patterns)
{
    enum { MOST = 20 };
    struct oar_buf out = {0};
    long budget = 50 * 1000 * 1000; /* comparisons: about a quarter of a second */
    int n = 0;
    for (size_t early = 0; early < in->count && n < MOST && budget > 0; early++) {
        bool plain = true;
        for (int i = 0; i < patterns[early].count; i++) {
            plain = plain && patterns[early].at[i].edge == OAR_EDGE_STATIC;
        }
        for (size_t late = early + 1; !plain && late < in->count && n < MOST && budget-- > 0;
             late++) {
            if ((in->at[early].methods & in->at[late].methods) &&
                later_wins(&patterns[early], &patterns[late])) {
                oar_buf_printf(&out,
                               "'%s' (%s) wins over '%s' (%s), which was registered first; "
                               "--route-order registration gives the first one precedence\n",
                               in->at[late].path, in->at[late].source, in->at[early].path,
                               in->at[early].source);
                n++;
            }
        }
    }
    oar_buf_put(&out, "", 1);
    if (out.failed || n == 0) {
        oar_buf_free(&out);
    }
    return out.data;
}

static enum oar_status check_size(const struct oar_routes *in, struct oar_err *err)
{
    if (in->count <= OAR_MAX_ROUTES) {
        return OAR_OK;
    }
    return oar_err_set(err, "the application has %zu routes; oarlock takes at most %d", in->count,
                       OAR_MAX_ROUTES);
}

enum oar_status oar_route_build(const struct oar_routes *routes, struct oar_built *out,
                                struct oar_err *err)
{
    struct builder b = {.in = routes, .err = err};
    struct oar_rt_node root = {.via = OAR_EDGE_PATH};
    enum oar_status status = check_size(routes, err);
    struct pattern *patterns = calloc(routes->count + 1, sizeof *patterns);
    *out = (struct oar_built){0};
    oar_buf_put(&b.nodes, &root, sizeof root);
    if (status == OAR_OK && (!patterns || b.nodes.failed || !hash_reserve(&b))) {
        oar_err_set(err, "no memory for the route table");
        status = OAR_ERR;
    }
    for (size_t i = 0; i < routes->count && status == OAR_OK; i++) {
        status = parse_pattern(&routes->at[i], &patterns[i], err);
        if (status == OAR_OK) {
            status = add_route(&b, i, &patterns[i]);
        }
    }
    if (status == OAR_OK) {
        status = emit(&b, out);
    }
    if (status == OAR_OK && !routes->registration_order) {
        out->warnings = order_warnings(routes, patterns);
    }
    free(patterns);
    free(b.hash);
    oar_buf_free(&b.nodes);
    oar_buf_free(&b.leaves);
    oar_buf_free(&b.routes);
    oar_buf_free(&b.params);
    oar_buf_free(&b.strings);
    return status;
}
