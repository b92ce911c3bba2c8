/* SPDX-License-Identifier: MIT
 * Bytes to request views with http-parser; the only file that includes its header.
 * Process: worker, and the fuzz target. Owns nothing: views are offsets into the caller's bytes.
 * Never allocates, never keeps a pointer into the bytes between calls.
 *
 * A head is parsed in one go. Where it has not arrived whole, the parser starts again from the
 * first byte once the end of the head is there (the caller looks for it in new bytes only), so a
 * head is parsed at most twice however slowly it trickles in. A body is fed piece by piece. */
#include "worker/http_parse.h"

#include <http_parser.h>

#include "worker/http_gate.h"

_Static_assert(sizeof(http_parser) <= sizeof(struct oar_parser), "room for http-parser's state");

struct head_context {
    struct oar_parse *parse;
    const struct oar_parse_limits *limits;
    struct oar_parsed *out;
    const char *head;
    bool value_seen; /* of the current field: a second one is a folded line */
    bool complete;   /* the message has no body */
    bool has_body;
};

struct body_context {
    struct oar_slice piece;
    bool complete;
    bool paused; /* one piece a call */
};

static http_parser *parser_of(struct oar_parse *p)
{
    return (http_parser *)(void *)&p->parser;
}

static int refuse(struct oar_parse *p, uint16_t status, const char *why)
{
    p->status = status;
    p->why = why;
    return -1;
}

static int on_url(http_parser *h, const char *at, size_t len)
{
    struct head_context *c = h->data;
    c->out->target_off = (uint32_t)(at - c->head);
    c->out->target_len = (uint32_t)len;
    return len > c->limits->max_target
               ? refuse(c->parse, 414, "the target is longer than --max-target")
               : 0;
}

static int on_field(http_parser *h, const char *at, size_t len)
{
    struct head_context *c = h->data;
    if (c->out->n_fields >= c->limits->max_fields) {
        return refuse(c->parse, 431, "more header fields than --max-fields");
    }
    if (len > UINT16_MAX) {
        return refuse(c->parse, 431, "a field name of more than 65535 bytes");
    }
    c->out->fields[c->out->n_fields++] =
        (struct oar_field){.name_off = (uint32_t)(at - c->head), .name_len = (uint16_t)len};
    c->value_seen = false;
    return 0;
}

static int on_value(http_parser *h, const char *at, size_t len)
{
    struct head_context *c = h->data;
    if (c->value_seen || c->out->n_fields == 0) { /* RFC 9112 section 5.2 */
        return refuse(c->parse, 400, "a folded header line (obs-fold)");
    }
    struct oar_field *f = &c->out->fields[c->out->n_fields - 1];
    f->value_off = (uint32_t)(at - c->head);
    f->value_len = (uint32_t)len;
    c->value_seen = true;
    return 0;
}

static enum oar_method method_of(unsigned method)
{
    enum oar_method m = OAR_METHOD_OTHER;
    switch (method) {
    case HTTP_GET: m = OAR_GET; break;
    case HTTP_HEAD: m = OAR_HEAD; break;
    case HTTP_POST: m = OAR_POST; break;
    case HTTP_PUT: m = OAR_PUT; break;
    case HTTP_PATCH: m = OAR_PATCH; break;
    case HTTP_DELETE: m = OAR_DELETE; break;
    case HTTP_OPTIONS: m = OAR_OPTIONS_M; break;
    case HTTP_TRACE: m = OAR_TRACE; break;
    default: break;
    }
    return m;
}

static int on_headers_complete(http_parser *h)
{
    struct head_context *c = h->data;
    struct oar_parsed *out = c->out;
    out->method = (uint8_t)method_of(h->method);
    out->minor = (uint8_t)h->http_minor;
    out->keep_alive = http_should_keep_alive(h);
    out->chunked = h->flags & F_CHUNKED;
    c->parse->content_length = out->chunked ? UINT64_MAX : h->content_length;
    c->has_body = out->chunked || (h->content_length != UINT64_MAX && h->content_length > 0);
    if (h->http_major != 1 || h->http_minor > 1) {
        return refuse(c->parse, 505, "the version is neither HTTP/1.0 nor HTTP/1.1");
    }
    if (c->has_body) {
        http_parser_pause(h, 1);
    }
    return 0;
}

static int on_head_message_complete(http_parser *h)
{
    struct head_context *c = h->data;
    c->complete = true;
    http_parser_pause(h, 1);
    return 0;
}

static const http_parser_settings head_settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_message_complete = on_head_message_complete,
};

void oar_parse_reset(struct oar_parse *p)
{
    http_parser_init(parser_of(p), HTTP_REQUEST);
    p->in_body = false;
    p->status = 0;
    p->why = NULL;
}

static enum oar_parse_result parser_error(struct oar_parse *p, const http_parser *h,
                                          const char *head, size_t len)
{
    if (p->status == 0) {
        switch (HTTP_PARSER_ERRNO(h)) {
        case HPE_INVALID_METHOD: oar_gate_unknown_method(head, len, &p->status, &p->why); break;
        case HPE_HEADER_OVERFLOW: refuse(p, 431, "the head is longer than --max-head"); break;
        case HPE_INVALID_VERSION: refuse(p, 400, "the version is not HTTP/1.0 or HTTP/1.1"); break;
        default: refuse(p, 400, http_errno_description(HTTP_PARSER_ERRNO(h)));
        }
    }
    return OAR_PARSE_REFUSED;
}

enum oar_parse_result oar_parse_head(struct oar_parse *p, const struct oar_parse_limits *limits,
                                     const char *head, size_t len, struct oar_parsed *out)
{
    struct head_context c = {.parse = p, .limits = limits, .out = out, .head = head};
    http_parser *h = parser_of(p);
    oar_parse_reset(p);
    out->n_fields = 0;
    h->data = &c;
    size_t used = http_parser_execute(h, &head_settings, head, len);
    enum http_errno error = HTTP_PARSER_ERRNO(h);
    if (error == HPE_OK) { /* also when an upgrade was asked for: the message is then complete */
        if (!c.complete && len > limits->max_head) {
            refuse(p, 431, "the head is longer than --max-head");
            return OAR_PARSE_REFUSED;
        }
        if (!c.complete) {
            return OAR_PARSE_MORE;
        }
    } else if (error != HPE_PAUSED || p->status != 0) {
        return parser_error(p, h, head, len);
    }
    /* Paused in on_headers_complete the parser stands before the last LF, else behind it. */
    out->head_len = (uint32_t)(used + (c.complete ? 0 : 1));
    if (out->head_len > limits->max_head) {
        refuse(p, 431, "the head is longer than --max-head");
        return OAR_PARSE_REFUSED;
    }
    if (!oar_gate_head(head, out, &p->status, &p->why)) {
        return OAR_PARSE_REFUSED;
    }
    if (c.complete) {
        return OAR_PARSE_MESSAGE;
    }
    http_parser_pause(h, 0);
    h->data = NULL;
    p->in_body = true;
    static const http_parser_settings quiet;
    http_parser_execute(h, &quiet, "\n", 1);
    return HTTP_PARSER_ERRNO(h) == HPE_OK ? OAR_PARSE_HEAD : parser_error(p, h, head, len);
}

static int on_body(http_parser *h, const char *at, size_t len)
{
    struct body_context *c = h->data;
    c->piece = (struct oar_slice){at, len};
    c->paused = true;
    http_parser_pause(h, 1);
    return 0;
}

static int on_body_message_complete(http_parser *h)
{
    struct body_context *c = h->data;
    c->complete = true;
    http_parser_pause(h, 1);
    return 0;
}

static const http_parser_settings body_settings = {
    .on_body = on_body,
    .on_message_complete = on_body_message_complete,
};

enum oar_parse_result oar_parse_body(struct oar_parse *p, const char *bytes, size_t len,
                                     size_t *used, struct oar_slice *piece)
{
    struct body_context c = {.piece = {NULL, 0}};
    http_parser *h = parser_of(p);
    h->data = &c;
    *used = http_parser_execute(h, &body_settings, bytes, len);
    enum http_errno error = HTTP_PARSER_ERRNO(h);
    *piece = c.piece;
    h->data = NULL;
    if (error == HPE_PAUSED) {
        http_parser_pause(h, 0);
    } else if (error != HPE_OK) {
        return parser_error(p, h, bytes, len);
    }
    return c.complete ? OAR_PARSE_MESSAGE : OAR_PARSE_MORE;
}
