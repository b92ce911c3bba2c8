/* SPDX-License-Identifier: MIT
 * Bytes to request views. The door to http-parser: its header is included by http_parse.c alone. */
#ifndef OARLOCK_HTTP_PARSE_H
#define OARLOCK_HTTP_PARSE_H

#include "worker/http_msg.h"

/* Room for an http_parser; http_parse.c asserts that it is enough. */
struct oar_parser {
    uint64_t opaque[4];
};

enum oar_parse_result {
    OAR_PARSE_MORE,    /* all bytes are taken; the request is not complete */
    OAR_PARSE_HEAD,    /* the head is complete, a body follows */
    OAR_PARSE_MESSAGE, /* the request is complete */
    OAR_PARSE_REFUSED, /* answer parse->status, then close */
};

struct oar_parse_limits {
    size_t max_head, max_target, max_fields;
};

/* The state of one request's parsing, kept by the connection between reads. */
struct oar_parse {
    struct oar_parser parser;
    bool in_body;            /* the head is complete */
    uint16_t status;         /* after OAR_PARSE_REFUSED */
    const char *why;         /* static text, for the response and the log */
    uint64_t content_length; /* UINT64_MAX: chunked or none */
};

/* What a call found. Offsets from the head's first byte. */
struct oar_parsed {
    struct oar_field *fields; /* caller's room for max_fields */
    uint32_t n_fields;
    uint32_t target_off, target_len;
    uint8_t method, minor;
    bool keep_alive, chunked, expects_100, upgrade;
    uint32_t head_len;
};

void oar_parse_reset(struct oar_parse *p);
/* The whole head from its first byte, as far as it has arrived. OAR_PARSE_MORE: call again with
 * more bytes, from the first byte. */
enum oar_parse_result oar_parse_head(struct oar_parse *p, const struct oar_parse_limits *limits,
                                     const char *head, size_t len, struct oar_parsed *out);
/* Body bytes behind the head, or behind the last call's. `piece` is a run of body in `bytes` (may
 * be empty); `used` bytes are taken. */
enum oar_parse_result oar_parse_body(struct oar_parse *p, const char *bytes, size_t len,
                                     size_t *used, struct oar_slice *piece);

#endif
