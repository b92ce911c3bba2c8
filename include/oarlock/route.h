/* SPDX-License-Identifier: MIT
 * The route table: a file format (docs/design.md 4). Position-independent bytes, offsets from
 * the start of the table, little-endian as the machine. Writer: the master, once (route_build.c).
 * Readers: every process of a generation, through a read-only mapping (route_match.c). Format:
 * docs/shm-format.md. */
#ifndef OARLOCK_ROUTE_H
#define OARLOCK_ROUTE_H

#include "oarlock/err.h"
#include "oarlock/limits.h"

#define OAR_ROUTE_MAGIC 0x6c6274726b6c726fULL /* "orlkrtbl" */
#define OAR_ROUTE_VERSION 3

/* clang-format off */
enum oar_method {
    OAR_GET, OAR_HEAD, OAR_POST, OAR_PUT, OAR_PATCH, OAR_DELETE, OAR_OPTIONS_M, OAR_TRACE,
    OAR_METHODS,                     /* how many */
    OAR_METHOD_OTHER = OAR_METHODS,  /* known to the parser, never routed */
};
extern const struct oar_slice oar_method_names[OAR_METHODS];

/* What an edge of the tree takes. Lower wins: docs/design.md section 5. */
enum oar_edge { OAR_EDGE_INT, OAR_EDGE_FLOAT, OAR_EDGE_UUID, OAR_EDGE_STR, OAR_EDGE_PATH, OAR_EDGES,
                OAR_EDGE_STATIC = OAR_EDGES };
/* clang-format on */

enum oar_param_source { OAR_IN_PATH, OAR_IN_QUERY };
enum oar_param_type { OAR_TYPE_STR, OAR_TYPE_INT, OAR_TYPE_FLOAT, OAR_TYPE_BOOL, OAR_TYPE_UUID };

/* Of a route. */
#define OAR_ROUTE_STREAM \
    1u /* the handler starts at the end of the head and reads the body itself */
#define OAR_ROUTE_CANCEL 2u /* the handler is cancelled when the client has gone */
/* max_body: --max-body holds */
#define OAR_BODY_DEFAULT UINT64_MAX

#define OAR_PARAM_REQUIRED 1u
#define OAR_PARAM_NULLABLE 2u

struct oar_rt_param {
    uint32_t name_off; /* as the client spells it */
    uint16_t name_len;
    uint8_t source;     /* enum oar_param_source */
    uint8_t type;       /* enum oar_param_type */
    uint8_t flags;      /* OAR_PARAM_* */
    uint8_t path_index; /* of the captured segment, for OAR_IN_PATH */
    uint16_t zero;
};
_Static_assert(sizeof(struct oar_rt_param) == 12, "format");

enum oar_handler_kind { OAR_HANDLER_DEF, OAR_HANDLER_ASYNC };
enum oar_blocking { OAR_BLOCKING_AUTO, OAR_BLOCKING_NO, OAR_BLOCKING_YES };

struct oar_rt_route {
    uint32_t path_off, name_off,
        source_off; /* NUL-terminated: "/items/{id}", handler name, "file:line" */
    uint16_t path_len, name_len;
    uint32_t params_off;
    uint16_t n_params;
    uint16_t handler; /* index into the application's handlers */
    uint16_t order;   /* of registration */
    uint8_t methods;  /* bit mask of enum oar_method */
    uint8_t kind;     /* enum oar_handler_kind */
    uint8_t blocking; /* enum oar_blocking */
    uint8_t n_path_params;
    uint16_t flags;    /* OAR_ROUTE_* */
    uint64_t max_body; /* bytes */
};
_Static_assert(sizeof(struct oar_rt_route) == 40, "format");

/* One place in the tree of segments: a cache line, with the routes that end there. Children are
 * found by hash of (parent, segment) in one table for the whole tree, so that a step costs one
 * probe and one node. */
struct oar_rt_node {
    uint32_t edge[OAR_EDGES]; /* node index of the child behind each kind of parameter; 0: none */
    uint32_t parent;
    uint16_t route[OAR_METHODS]; /* that ends here: index + 1; 0: method not allowed */
    uint16_t
        allow; /* bit mask, HEAD and OPTIONS as answered included; 0: no route ends here. In the
                       root, where none can end: of all routes together */
    uint16_t seg_len;
    uint8_t edges; /* which there are: bit oar_rt_rank(edge) */
    uint8_t via;   /* enum oar_edge that leads here */
    uint16_t zero;
    uint32_t seg_off; /* whole segment, where it is longer than seg[] */
    char seg[12];     /* start of the segment */
};
_Static_assert(sizeof(struct oar_rt_node) == OAR_CACHE_LINE, "format");

/* Order in which the edges of a node are tried: static, int, float, uuid, str, path. */
static inline unsigned oar_rt_rank(enum oar_edge edge)
{
    return ((unsigned)edge + 1) % (OAR_EDGES + 1);
}

#define OAR_RT_REDIRECT_SLASHES 1u
#define OAR_RT_REGISTRATION_ORDER 2u

struct oar_rt_header {
    uint64_t magic;
    uint32_t version, size;
    uint64_t fingerprint; /* of the canonical manifest: a worker whose own import differs must not
                             serve */
    uint32_t flags;
    uint32_t n_routes, n_nodes, n_params;
    uint32_t routes_off, nodes_off, params_off, strings_off;
    uint32_t hash_off, hash_mask; /* uint32_t node indexes, 0: empty; linear probing */
};
_Static_assert(sizeof(struct oar_rt_header) == 64, "format");

struct oar_route_table; /* the mapped bytes; starts with struct oar_rt_header */

enum oar_match_result {
    OAR_MATCH_FOUND,
    OAR_MATCH_NONE,    /* 404 */
    OAR_MATCH_METHOD,  /* 405; allow is set */
    OAR_MATCH_OPTIONS, /* OPTIONS of the server, or of a path that has other methods; allow is set */
    OAR_MATCH_REDIRECT, /* 307: the path with its last slash added or taken away exists */
};

struct oar_match {
    const struct oar_rt_route *route;
    uint32_t n_params;
    uint32_t allow; /* bit mask of enum oar_method */
    struct oar_slice
        params[OAR_MAX_PATH_PARAMS]; /* into path or scratch; percent-decoded, but for %2F */
};

/* Is this a table that this version can read? Checks every offset and index once. */
enum oar_status oar_route_check(const void *bytes, size_t size, struct oar_err *err);
/* `path` starts with "/" and has no query; for OPTIONS of the server in general it is "*" or empty.
 * `scratch` holds the decoded path: at least path.len bytes. */
enum oar_match_result oar_route_match(const void *table, enum oar_method method,
                                      struct oar_slice path, char *scratch, struct oar_match *out);

static inline const struct oar_rt_header *oar_rt(const void *table)
{
    return table;
}
static inline const struct oar_rt_route *oar_rt_routes(const void *table)
{
    return (const void *)((const char *)table + oar_rt(table)->routes_off);
}
static inline const struct oar_rt_param *oar_rt_params(const void *table,
                                                       const struct oar_rt_route *r)
{
    return (const void *)((const char *)table + r->params_off);
}
static inline const char *oar_rt_text(const void *table, uint32_t offset)
{
    return (const char *)table + offset;
}

#endif
