/* SPDX-License-Identifier: MIT
 * Matches a path against the frozen route table: static segments beat {x:int}, {x:float} and
 * {x:uuid}, these beat {x}, that beats {x:path}; with registration order, the earliest route that
 * matches wins. Process: worker (and the master, for `oarlock routes`). Owns nothing, allocates
 * nothing, takes no lock. Never recurses: the tree is walked with a stack of at most
 * OAR_MAX_SEGMENTS + 1 frames, and since it is a tree, each node is visited at most once for a
 * path.
 *
 * Segments are percent-decoded one by one, never "/" (%2F stays as it is). Empty segments count as
 * segments; a segment "." or ".." (also when encoded) matches nothing: docs/routing.md. */
#include "oarlock/route.h"
#include "shared/route_build.h"

/* The path cut at "/" and decoded. `rest[i]` is where segment i starts in the decoded text. */
struct segments {
    int count; /* at most OAR_MAX_SEGMENTS + 1; then the last one is the whole rest */
    struct oar_slice at[OAR_MAX_SEGMENTS + 1];
    const char *end;
};

/* Decodes %XX but %2F into `to`; what is no escape stays. Returns the length. */
static size_t decode(struct oar_slice in, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (c == '%' && i + 2 < in.len) {
            int high = oar_hex(in.ptr[i + 1]);
            int low = oar_hex(in.ptr[i + 2]);
            if (high >= 0 && low >= 0 && (high << 4 | low) != '/') {
                c = (char)(high << 4 | low);
                i += 2;
            }
        }
        to[n++] = c;
    }
    return n;
}

/* Takes the segment from `p` to `stop` in. false: a dot segment. */
static inline bool take(struct segments *s, const char *p, const char *stop)
{
    size_t len = (size_t)(stop - p);
    if (OAR_UNLIKELY(len > 0 && len <= 2 && p[0] == '.' && p[len - 1] == '.')) {
        return false;
    }
    if (s->count <= OAR_MAX_SEGMENTS) { /* deeper ones can only be part of a {x:path} */
        s->at[s->count++] = (struct oar_slice){p, len};
    }
    return true;
}

/* false: a dot segment. Eight bytes at a time: a bit for each "/" among them, exactly. */
static bool cut(struct oar_slice path, struct segments *s)
{
    const char *p = path.ptr + 1;
    const char *end = path.ptr + path.len;
    const char *at = p;
    s->count = 0;
    s->end = end;
    for (; end - at >= 8; at += 8) {
        const uint64_t low7 = 0x7f7f7f7f7f7f7f7fULL;
        uint64_t w;
        memcpy(&w, at, 8);
        w ^= 0x2f2f2f2f2f2f2f2fULL; /* "/" becomes 0 */
        uint64_t slashes = ~(((w & low7) + low7) | w | low7);
        for (; slashes; slashes &= slashes - 1) {
            const char *slash = at + (__builtin_ctzll(slashes) >> 3);
            if (!take(s, p, slash)) {
                return false;
            }
            p = slash + 1;
        }
    }
    for (; at < end; at++) {
        if (*at == '/') {
            if (!take(s, p, at)) {
                return false;
            }
            p = at + 1;
        }
    }
    return take(s, p, end);
}

static bool all_digits(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return false;
        }
    }
    return len > 0;
}

/* Starlette's convertors: int [0-9]+, float [0-9]+(.[0-9]+)?, uuid 8-4-4-4-12 with optional
 * hyphens. */
static bool takes(enum oar_edge edge, struct oar_slice seg)
{
    bool ok = seg.len > 0;
    if (edge == OAR_EDGE_INT) {
        ok = all_digits(seg.ptr, seg.len);
    } else if (edge == OAR_EDGE_FLOAT) {
        const char *dot = ok ? memchr(seg.ptr, '.', seg.len) : NULL;
        size_t whole = dot ? (size_t)(dot - seg.ptr) : seg.len;
        ok = all_digits(seg.ptr, whole) && (!dot || all_digits(dot + 1, seg.len - whole - 1));
    } else if (edge == OAR_EDGE_UUID) {
        static const unsigned char groups[] = {8, 4, 4, 4, 12};
        size_t at = 0;
        for (size_t g = 0; g < sizeof groups && ok; g++) {
            at += g > 0 && at < seg.len && seg.ptr[at] == '-';
            for (size_t i = 0; i < groups[g] && ok; i++, at++) {
                ok = at < seg.len && oar_hex(seg.ptr[at]) >= 0;
            }
        }
        ok = ok && at == seg.len;
    }
    return ok;
}

static uint32_t static_child(const void *table, const struct oar_rt_node *nodes, uint32_t parent,
                             struct oar_slice seg)
{
    const struct oar_rt_header *h = table;
    const uint32_t *slots = (const void *)((const char *)table + h->hash_off);
    uint32_t at = oar_rt_hash(parent, seg.ptr, seg.len) & h->hash_mask;
    for (; slots[at]; at = (at + 1) & h->hash_mask) {
        const struct oar_rt_node *n = &nodes[slots[at]];
        if (n->parent == parent && n->seg_len == seg.len) {
            const char *text = seg.len <= sizeof n->seg ? n->seg : (const char *)table + n->seg_off;
            if (oar_rt_equal(text, seg.ptr, seg.len)) {
                return slots[at];
            }
        }
    }
    return 0;
}

/* The walk: one frame for each segment on the way down. */
struct frame {
    uint32_t node;
    uint8_t edges;    /* that are still to try: bits of oar_rt_rank */
    uint8_t captured; /* parameters captured above this node */
};

struct walk {
    const void *table;
    const struct oar_rt_node *nodes;
    enum oar_method method;
    struct oar_match *out;
    bool registration; /* look at every match and keep the earliest */
    struct oar_slice captured[OAR_MAX_PATH_PARAMS];
};

/* The path ends at `node`: takes its route for the method. true: the walk is over. */
static bool arrive(struct walk *w, uint32_t node, uint32_t n_captured)
{
    const struct oar_rt_node *n = &w->nodes[node];
    uint16_t route = w->method < OAR_METHODS ? n->route[w->method] : 0;
    if (!route && w->method == OAR_HEAD) {
        route = n->route[OAR_GET];
    }
    w->out->allow |= n->allow;
    if (!route) {
        return false;
    }
    const struct oar_rt_route *found = &oar_rt_routes(w->table)[route - 1];
    if (!w->registration || !w->out->route || found->order < w->out->route->order) {
        w->out->route = found;
        w->out->n_params = n_captured;
        for (uint32_t i = 0; i < n_captured; i++) {
            w->out->params[i] = w->captured[i];
        }
    }
    return !w->registration;
}

/* Child of `f` behind the edge of this rank, if it takes the segment. 0: none. */
static inline uint32_t step(struct walk *w, const struct frame *f, unsigned rank,
                            struct oar_slice seg)
{
    uint32_t child = 0;
    if (rank == 0) {
        child = static_child(w->table, w->nodes, f->node, seg);
    } else if (takes((enum oar_edge)(rank - 1), seg)) {
        child = w->nodes[f->node].edge[rank - 1];
        w->captured[f->captured] = seg;
    }
    return child;
}

static void search(struct walk *w, const struct segments *s)
{
    const unsigned path_rank = oar_rt_rank(OAR_EDGE_PATH);
    struct frame stack[OAR_MAX_SEGMENTS + 1];
    int depth = 0;
    stack[0] = (struct frame){0, w->nodes[0].edges, 0};
    while (depth >= 0) {
        struct frame *f = &stack[depth];
        struct oar_slice seg = s->at[depth];
        if (f->edges == 0) {
            depth--;
            continue;
        }
        unsigned rank = (unsigned)__builtin_ctz(f->edges);
        f->edges &= (uint8_t)(f->edges - 1);
        if (rank == path_rank) { /* takes all that is left, the empty rest too */
            w->captured[f->captured] = (struct oar_slice){seg.ptr, (size_t)(s->end - seg.ptr)};
            if (arrive(w, w->nodes[f->node].edge[OAR_EDGE_PATH], f->captured + 1u)) {
                return;
            }
            continue;
        }
        uint32_t child = step(w, f, rank, seg);
        if (!child) {
            continue;
        }
        uint8_t captured = (uint8_t)(f->captured + (rank > 0));
        if (depth + 1 == s->count) {
            if (arrive(w, child, captured)) {
                return;
            }
        } else if (depth < OAR_MAX_SEGMENTS) {
            stack[++depth] = (struct frame){child, w->nodes[child].edges, captured};
        }
    }
}

static void find(const void *table, enum oar_method method, const struct segments *s,
                 struct oar_match *out)
{
    const struct oar_rt_header *h = table;
    struct walk w; /* field by field: captured[] needs no zeros */
    w.table = table;
    w.nodes = (const void *)((const char *)table + h->nodes_off);
    w.method = method;
    w.out = out;
    w.registration = (h->flags & OAR_RT_REGISTRATION_ORDER) != 0;
    out->route = NULL;
    out->n_params = 0;
    out->allow = 0;
    search(&w, s);
}

/* Would the path with its last slash added or taken away be served? */
static bool other_slash(const void *table, enum oar_method method, struct segments *s)
{
    struct oar_match other;
    int last = s->count - 1;
    if (last > 0 && s->at[last].len == 0) {
        s->count--;
        s->end = s->at[last].ptr - 1;
    } else if (s->count <= OAR_MAX_SEGMENTS && s->at[last].len > 0) {
        s->at[s->count++] = (struct oar_slice){s->end, 0};
    } else {
        return false;
    }
    find(table, method, s, &other);
    return other.route != NULL;
}

enum oar_match_result oar_route_match(const void *table, enum oar_method method,
                                      struct oar_slice path, char *scratch, struct oar_match *out)
{
    struct segments s;
    enum oar_match_result result = OAR_MATCH_NONE;
    if (OAR_UNLIKELY(memchr(path.ptr, '%', path.len) != NULL)) {
        path.len = decode(path, scratch);
        path.ptr = scratch;
    }
    out->route = NULL;
    out->allow = 0;
    if (OAR_UNLIKELY(path.len == 0 || path.ptr[0] != '/')) { /* RFC 9110 section 9.3.7 */
        out->allow = ((const struct oar_rt_node *)(const void *)((const char *)table +
                                                                 oar_rt(table)->nodes_off))
                         ->allow;
        return method == OAR_OPTIONS_M ? OAR_MATCH_OPTIONS : OAR_MATCH_NONE;
    }
    if (!cut(path, &s)) {
        return OAR_MATCH_NONE;
    }
    find(table, method, &s, out);
    if (out->route) {
        result = OAR_MATCH_FOUND;
    } else if (out->allow) {
        result = method == OAR_OPTIONS_M ? OAR_MATCH_OPTIONS : OAR_MATCH_METHOD;
    } else if ((oar_rt(table)->flags & OAR_RT_REDIRECT_SLASHES) && other_slash(table, method, &s)) {
        result = OAR_MATCH_REDIRECT;
    }
    return result;
}
