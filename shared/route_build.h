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
    uint16_t flags;    /* OAR_ROUTE_* */
    uint64_t max_body; /* bytes, or OAR_BODY_DEFAULT */
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

/* Reads of up to 8 bytes without a call and without reading outside of them. */
static inline uint64_t oar_rt_word(const char *p, size_t len)
{
    uint32_t a = 0, b = 0;
    if (len >= 4) { /* two that may overlap */
        memcpy(&a, p, 4);
        memcpy(&b, p + len - 4, 4);
    } else if (len > 0) {
        a = (uint32_t)(unsigned char)p[0] | (uint32_t)(unsigned char)p[len / 2] << 8;
        b = (unsigned char)p[len - 1];
    }
    return (uint64_t)a << 32 | b;
}

/* Writer's and reader's one hash of a segment below a node. */
static inline uint32_t oar_rt_hash(uint32_t parent, const char *seg, size_t len)
{
    uint64_t h = (parent + 1) * 0x9e3779b97f4a7c15ULL ^ len;
    for (; len > 8; seg += 8, len -= 8) {
        uint64_t w;
        memcpy(&w, seg, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }
    h = (h ^ oar_rt_word(seg, len)) * 0xff51afd7ed558ccdULL;
    return (uint32_t)(h >> 32);
}

static inline bool oar_rt_equal(const char *a, const char *b, size_t len)
{
    for (; len > 8; a += 8, b += 8, len -= 8) {
        uint64_t x, y;
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        if (x != y) {
            return false;
        }
    }
    return oar_rt_word(a, len) == oar_rt_word(b, len);
}

#endif
