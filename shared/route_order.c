/* SPDX-License-Identifier: MIT
 * Finds routes that win over earlier registered ones only by being more specific: users of FastAPI,
 * where the first registered wins, must hear of it.
 * Process: master. Owns its index until it returns. Never compares all pairs: two patterns can
 * differ in precedence only where they leave the same node of the tree by different edges, so a
 * route meets those that pass through the nodes it leaves by a parameter. */
#include <stdlib.h>

#include "shared/buf.h"
#include "shared/route_pattern.h"

enum { MOST_WARNINGS = 20, MOST_MEETINGS = 5000000 }; /* about 50 ms */

struct passing {    /* routes by node that they pass through, in order of registration */
    uint32_t *from; /* a node's are routes[from[node]] to routes[from[node + 1]] - 1 */
    uint32_t *routes;
};

/* The two leave one node, `late` by the more specific edge. Is there a path that both match? */
static bool overlap(const struct oar_piece *early, int n_early, const struct oar_piece *late,
                    int n_late)
{
    for (int i = 0;; i++) {
        if (i == n_early || i == n_late) {
            return n_early == n_late;
        }
        const struct oar_piece *e = &early[i];
        const struct oar_piece *l = &late[i];
        if (e->edge == OAR_EDGE_PATH || l->edge == OAR_EDGE_PATH) {
            return true;
        }
        bool e_static = e->edge == OAR_EDGE_STATIC;
        bool l_static = l->edge == OAR_EDGE_STATIC;
        if ((e_static && l_static && !oar_slice_eq(e->text, l->text)) ||
            (e_static && !l_static && e->text.len == 0) ||
            (l_static && !e_static && l->text.len == 0)) {
            return false; /* a parameter takes no empty segment */
        }
    }
}

static bool index_nodes(const struct oar_packed_patterns *all, size_t n_routes, uint32_t n_nodes,
                        struct passing *out)
{
    out->from = calloc((size_t)n_nodes + 2, sizeof *out->from);
    out->routes = calloc((size_t)all->from[n_routes] + 1, sizeof *out->routes);
    if (!out->from || !out->routes) {
        return false;
    }
    for (uint32_t i = 0; i < all->from[n_routes]; i++) {
        out->from[all->pieces[i].parent + 2]++; /* two ahead: filling moves it to its place */
    }
    for (uint32_t node = 2; node <= n_nodes + 1; node++) {
        out->from[node] += out->from[node - 1];
    }
    for (uint32_t route = 0; route < n_routes; route++) {
        for (uint32_t i = all->from[route]; i < all->from[route + 1]; i++) {
            out->routes[out->from[all->pieces[i].parent + 1]++] = route;
        }
    }
    return true;
}

/* Warns of what wins over `early` where it leaves a node by its piece number `i`. */
static void meet(const struct oar_routes *in, const struct oar_packed_patterns *all,
                 const struct passing *by_node, uint32_t early, uint32_t i, long *budget, int *n,
                 struct oar_buf *out)
{
    const struct oar_piece *e = &all->pieces[i];
    uint32_t depth = i - all->from[early];
    for (uint32_t at = by_node->from[e->parent]; at < by_node->from[e->parent + 1]; at++) {
        uint32_t late = by_node->routes[at];
        if (*n == MOST_WARNINGS || --*budget < 0) {
            return;
        }
        const struct oar_piece *l = &all->pieces[all->from[late] + depth];
        if (late > early && oar_rt_rank(l->edge) < oar_rt_rank(e->edge) &&
            (in->at[early].methods & in->at[late].methods) &&
            overlap(e, (int)(all->from[early + 1] - i), l,
                    (int)(all->from[late + 1] - all->from[late] - depth))) {
            oar_buf_printf(out,
                           "'%s' (%s) wins over '%s' (%s), which was registered first; "
                           "--route-order registration gives the first one precedence\n",
                           in->at[late].path, in->at[late].source, in->at[early].path,
                           in->at[early].source);
            ++*n;
        }
    }
}

char *oar_route_order_warnings(const struct oar_routes *in, const struct oar_packed_patterns *all,
                               uint32_t n_nodes)
{
    struct oar_buf out = {0};
    struct passing by_node = {0};
    long budget = MOST_MEETINGS;
    int n = 0;
    if (index_nodes(all, in->count, n_nodes, &by_node)) {
        for (uint32_t early = 0; early < in->count; early++) {
            for (uint32_t i = all->from[early]; i < all->from[early + 1]; i++) {
                if (all->pieces[i].edge != OAR_EDGE_STATIC) {
                    meet(in, all, &by_node, early, i, &budget, &n, &out);
                }
            }
        }
    }
    free(by_node.from);
    free(by_node.routes);
    oar_buf_put(&out, "", 1);
    if (out.failed || n == 0) {
        oar_buf_free(&out);
    }
    return out.data;
}
