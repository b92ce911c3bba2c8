/* SPDX-License-Identifier: MIT
 * The door of http-parser: reads a response that is not known by its bytes, and what the server
 * says of its time. Process: the load generator's. Owns nothing. Never keeps state between two
 * calls: a response that is not complete is read again from its start, whose body costs nothing. */
#include <http_parser.h>
#include <stdlib.h>
#include <strings.h>

#include "load/load.h"

/* A response while it is parsed. */
struct parsing {
    struct response r;
    bool is_head; /* the answer of a HEAD: has no body, whatever its fields say */
    bool is_timing, complete;
};

/* "queue;dur=0.012, gil;dur=..., gc;dur=..., handler;dur=..., read;desc=123": milliseconds. */
static void read_timing(struct response *r, const char *at, size_t len)
{
    static const char *const names[] = {"queue;dur=", ", gil;dur=", ", gc;dur=", ", handler;dur="};
    static const char read_at[] = ", read;desc=";
    char value[256];
    char *next = value;
    memcpy(value, at, OAR_MIN(len, sizeof value - 1));
    value[OAR_MIN(len, sizeof value - 1)] = '\0';
    for (int i = 0; i < PART_WRITE; i++) {
        if (strncmp(next, names[i], strlen(names[i])) != 0) {
            return;
        }
        double ms = strtod(next + strlen(names[i]), &next);
        r->part[i] = ms > 0 ? (uint64_t)(ms * 1e6) : 0;
    }
    if (strncmp(next, read_at, sizeof read_at - 1) == 0) {
        r->read_ns = strtoull(next + sizeof read_at - 1, NULL, 10);
        r->timed = true;
    }
}

static int on_field(http_parser *h, const char *at, size_t len)
{
    static const char timing[] = "Server-Timing";
    struct parsing *s = h->data;
    s->is_timing = len == sizeof timing - 1 && strncasecmp(at, timing, len) == 0;
    return 0;
}

static int on_value(http_parser *h, const char *at, size_t len)
{
    struct parsing *s = h->data;
    if (s->is_timing) {
        read_timing(&s->r, at, len);
    }
    return 0;
}

/* Pauses, so that http_parser_execute() says where the body begins. 1: there is none. */
static int on_head(http_parser *h)
{
    const struct parsing *s = h->data;
    http_parser_pause(h, 1);
    return s->is_head;
}

static int on_end(http_parser *h)
{
    struct parsing *s = h->data;
    s->complete = true;
    s->r.closes = !http_should_keep_alive(h);
    http_parser_pause(h, 1);
    return 0;
}

static const struct http_parser_settings settings = {.on_header_field = on_field,
                                                     .on_header_value = on_value,
                                                     .on_headers_complete = on_head,
                                                     .on_message_complete = on_end};

struct response response_parse(const char *p, size_t len, bool is_head, bool ended)
{
    http_parser h;
    struct parsing s = {.r = {.head = p}, .is_head = is_head};
    if (!memmem(p, len, "\r\n\r\n", 4)) {
        return (struct response){.len = 0}; /* so fields are seen whole */
    }
    http_parser_init(&h, HTTP_RESPONSE);
    h.data = &s;
    size_t at = http_parser_execute(&h, &settings, p, len); /* up to the head's last line feed */
    bool sized = h.content_length != UINT64_MAX && h.content_length > (uint64_t)MOST_RESPONSE;
    if (HTTP_PARSER_ERRNO(&h) != HPE_PAUSED || (sized && !is_head)) {
        return (struct response){.len = SIZE_MAX};
    }
    s.r.status = (int)h.status_code;
    s.r.body = p + at + 1;
    http_parser_pause(&h, 0);
    at += http_parser_execute(&h, &settings, p + at, len - at);
    if (!s.complete && ended && HTTP_PARSER_ERRNO(&h) == HPE_OK) {
        http_parser_execute(&h, &settings, p + at, 0); /* a body that ends with the connection */
    }
    if (s.complete) {
        s.r.len = at;
        s.r.body_len = s.r.len - (size_t)(s.r.body - p);
    } else if (HTTP_PARSER_ERRNO(&h) != HPE_OK) {
        s.r.len = SIZE_MAX;
    }
    return s.r;
}
