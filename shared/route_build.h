/* SPDX-License-Identifier: MIT
 * Compiles routes to the bytes of include/oarlock/route.h. */
#ifndef OARLOCK_ROUTE_BUILD_H
#define OARLOCK_ROUTE_BUILD_H

#include "oarlock/route.h"

/* One route as the manifest gives it. Text is borrowed until oar_route_build returns. */
struct oar_route_spec {
    const char *path, *name, *source; /* source: "file:line" */
    uint8_t methods;
    uint8_t kind, blocking;
    uint16_t handler;
    const struct oar_param_spec *params;
    int n_params;
};
struct oar_param_spec {
    const char *name;    /* as the client spells it */
    const char *segment; /* the path parameter that it takes, for OAR_IN_PATH */
    uint8_t source, type, flags;
};

struct oar_routes {
    const struct oar_route_spec *at;
    size_t count;
    bool redirect_slashes, registration_order, allow_duplicates;
    uint64_t fingerprint;
};

struct oar_built {
    void *bytes; /* owned by the caller: free() */
    size_t size;
    char *warnings; /* owned by the caller; NULL or lines: routes whose order differs from
                       registration */
};

enum oar_status oar_route_build(const struct oar_routes *routes, struct oar_built *out,
                                struct oar_err *err);

/* Writer's and reader's one hash of a segment below a node. */
static inline uint32_t oar_rt_hash(uint32_t parent, const char *seg, size_t len)
{
    uint64_t h = (parent + 1) * 0x9e3779b97f4a7c15ULL ^ len;
    while (len >= 8) {
        uint64_t w;
        memcpy(&w, seg, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
        seg += 8;
        len -= 8;
    }
    uint64_t w = 0;
    memcpy(&w, seg, len);
    h = (h ^ w) * 0xff51afd7ed558ccdULL;
    return (uint32_t)(h >> 32);
}

#endif
