/* SPDX-License-Identifier: MIT
 * A route's pattern, cut into segments; and where precedence differs from registration. */
#ifndef OARLOCK_ROUTE_PATTERN_H
#define OARLOCK_ROUTE_PATTERN_H

#include "shared/route_build.h"

struct oar_piece {
    enum oar_edge edge;
    uint32_t parent;       /* the tree's node that this piece leaves; set by the builder */
    struct oar_slice text; /* the static text, or the parameter's name */
};

struct oar_pattern {
    int count;
    struct oar_piece at[OAR_MAX_SEGMENTS];
};

/* Pieces of all routes, packed: a route's are pieces[from[i]] to pieces[from[i + 1]] - 1. */
struct oar_packed_patterns {
    const struct oar_piece *pieces;
    const uint32_t *from; /* one more than there are routes */
};

enum oar_status oar_pattern_parse(const struct oar_route_spec *route, struct oar_pattern *out,
                                  struct oar_err *err);

/* Lines that name routes which win over earlier registered ones only by being more specific; NULL:
 * none. Owned by the caller. */
char *oar_route_order_warnings(const struct oar_routes *in, const struct oar_packed_patterns *all,
                               uint32_t n_nodes);

#endif
