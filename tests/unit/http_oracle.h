/* SPDX-License-Identifier: MIT
 * http-parser as an oracle: what our strict parser takes, the older parser must take, and see the
 * same framing in it. Used by the cases and by the fuzzer. Include it behind http_parse.c. */
#ifndef OARLOCK_HTTP_ORACLE_H
#define OARLOCK_HTTP_ORACLE_H

#include <http_parser.h>

#include "worker/http_parse.h"

struct oracle {
    uint32_t fields;
    bool complete, keep_alive, chunked;
    uint64_t length;
};

static int oracle_field(http_parser *h, const char *at, size_t len)
{
    (void)at, (void)len;
    ((struct oracle *)h->data)->fields++;
    return 0;
}

static int oracle_head(http_parser *h)
{
    struct oracle *o = h->data;
    o->complete = true;
    o->keep_alive = http_should_keep_alive(h);
    o->chunked = h->flags & F_CHUNKED;
    o->length = h->content_length == UINT64_MAX ? 0 : h->content_length;
    return 0;
}

/* http-parser takes any name that begins with "Transfer-Encoding" for that field, and
 * Proxy-Connection for Connection, and refuses a tab behind Content-Length, which is optional white
 * space (RFC 9110 section 5.6.3; seen in 2.9.4). */
static bool oracle_is_mistaken(const struct oar_parsed *p, const char *bytes)
{
    static const char name[] = "transfer-encoding";
    static const char proxy[] = "proxy-connection";
    static const char length[] = "content-length";
    bool mistaken = false;
    for (uint32_t i = 0; i < p->n_fields; i++) {
        const struct oar_field *f = &p->fields[i];
        mistaken = mistaken || (f->name_len > sizeof name - 1 &&
                                oar_is_name(bytes + f->name_off, name, sizeof name - 1));
        mistaken = mistaken || (f->name_len == sizeof proxy - 1 &&
                                oar_is_name(bytes + f->name_off, proxy, sizeof proxy - 1));
        const char *behind = bytes + f->value_off + f->value_len;
        mistaken = mistaken || (f->name_len == sizeof length - 1 &&
                                oar_is_name(bytes + f->name_off, length, sizeof length - 1) &&
                                behind[strspn(behind, " ")] == '\t');
    }
    return mistaken;
}

/* NULL: our parser refuses the head or misses bytes, or both see the same; else what is not. */
static const char *oracle_disagrees(const struct oar_parse_limits *limits, const char *bytes,
                                    size_t len)
{
    struct oar_field fields[100];
    struct oar_parsed p = {.fields = fields};
    http_parser h;
    http_parser_settings settings = {.on_header_field = oracle_field,
                                     .on_headers_complete = oracle_head};
    struct oracle o = {0};
    enum oar_parse_result r = oar_parse_head(limits, bytes, len, &p);
    const char *why = NULL;
    if ((r != OAR_PARSE_HEAD && r != OAR_PARSE_MESSAGE) || oracle_is_mistaken(&p, bytes)) {
        return NULL;
    }
    http_parser_init(&h, HTTP_REQUEST);
    h.data = &o;
    http_parser_execute(&h, &settings, bytes, p.head_len);
    enum http_errno error = HTTP_PARSER_ERRNO(&h);
    if (!o.complete) {
        why = http_errno_name(error);
    } else if (o.fields != p.n_fields) {
        why = "the number of fields";
    } else if (p.minor == 1 && p.keep_alive && !o.keep_alive) {
        /* of 1.0 it misses a keep-alive behind an empty option: ", keep-alive" */
        why = "whether the connection stays";
    } else if (o.chunked != p.chunked || (!p.chunked && o.length != p.content_length)) {
        why = "the framing of the body";
    } else if (OAR_MIN(h.http_minor, 1) != p.minor) {
        why = "the version";
    }
    return why;
}

#endif
