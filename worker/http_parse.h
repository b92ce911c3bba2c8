/* SPDX-License-Identifier: MIT
 * Bytes to request views: the head in one strict pass (http_parse.c), bodies by length or chunk
 * (http_chunk.c). Decision 002 says why this is ours. */
#ifndef OARLOCK_HTTP_PARSE_H
#define OARLOCK_HTTP_PARSE_H

#include "worker/http_gate.h"
#include "worker/http_msg.h"

enum oar_parse_result {
    OAR_PARSE_MORE,    /* nothing wrong; the head, or the body, is not complete */
    OAR_PARSE_HEAD,    /* the head is complete, a body follows */
    OAR_PARSE_MESSAGE, /* the request is complete */
    OAR_PARSE_REFUSED, /* answer with the rule's status, then close */
};

struct oar_parse_limits {
    size_t max_head, max_target, max_fields;
};

/* What a head says. Offsets from its first byte. */
struct oar_parsed {
    struct oar_field *fields; /* the caller's room for max_fields */
    uint32_t n_fields;
    uint32_t path_off, path_len, query_off, query_len; /* no path: OPTIONS of the server */
    uint32_t head_len;
    uint8_t method, minor;
    bool keep_alive, chunked, expects_100;
    uint64_t content_length; /* 0: none */
    enum oar_rule rule;      /* after OAR_PARSE_REFUSED */
};

/* The whole head from its first byte, as far as it has arrived. After OAR_PARSE_MORE call again
 * with more bytes, from the first byte; nothing is kept between calls. */
enum oar_parse_result oar_parse_head(const struct oar_parse_limits *limits, const char *head,
                                     size_t len, struct oar_parsed *out);

/* Where a chunked body stands; zero is its start. */
struct oar_chunks {
    uint8_t state;
    uint8_t name_len;  /* of the trailer line so far, up to sizeof name */
    uint32_t line;     /* bytes of extensions in this chunk's line */
    uint32_t trailers; /* bytes of trailers so far */
    uint64_t left;     /* bytes of this chunk's data still to come */
    char name[20];
    enum oar_rule rule; /* after OAR_PARSE_REFUSED */
};

/* Takes bytes up to the end of one run of data, or all. `piece` is that run, inside `bytes`, or
 * empty. OAR_PARSE_MORE, OAR_PARSE_MESSAGE or OAR_PARSE_REFUSED. */
enum oar_parse_result oar_parse_chunks(struct oar_chunks *c, size_t max_trailers, const char *bytes,
                                       size_t len, size_t *used, struct oar_slice *piece);

#endif
