/* SPDX-License-Identifier: MIT
 * Draws sequences of requests, writes them as bytes, and reads the answers: see sequence.h. */
#include "tests/unit/sequence.h"

#include <stdio.h>
#include <stdlib.h>

#include "worker/http_write.h"

/* Bytes that are no request, and the status that answers them. */
static const struct {
    const char *bytes;
    uint16_t status;
} tails[] = {
    {"", 0},
    {"GET /hello HTTP/1.1\r\n\r\n", 400},
    {"GET /hello HTTP/3.0\r\nHost: a\r\n\r\n", 505},
    {"BREW /hello HTTP/1.1\r\nHost: a\r\n\r\n", 501},
    {"\r\n\r\n", 400},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeX", 400},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
    {"POST /nope HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n",
     400},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000000\r\n\r\nabc", 413},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400},
    {"GET /hello HTTP/1.1\r\nHost: a\r\nExpect: cake\r\n\r\n", 417},
    {"GET /hello HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400},
};

static uint32_t length(void)
{
    uint32_t n = 0;
    switch (wire_pick(8)) {
    case 0: break;
    case 1: n = wire_pick(MOST_BODY + 1); break;
    case 2: n = OAR_BLOCK_SIZE - 400 + wire_pick(500); break; /* around an input block's end */
    case 3: n = wire_pick(20000); break;
    default: n = wire_pick(600); break;
    }
    return n;
}

static unsigned most(unsigned small, unsigned large)
{
    unsigned n = 0;
    switch (wire_pick(4)) {
    case 0: n = 1 + wire_pick(small); break;
    case 1: n = 1 + wire_pick(large); break;
    default: break;
    }
    return n;
}

static struct asked draw_request(void)
{
    struct asked a = {.kind = (uint8_t)wire_pick(KINDS)};
    bool has_body = a.kind >= MISS;
    a.framing = (uint8_t)wire_pick(2);
    a.len = has_body ? length() : 0;
    a.from = wire_pick(1000);
    a.padding = (uint16_t)(wire_pick(4) ? wire_pick(40) : wire_pick(3000));
    a.chunk = (uint16_t)(wire_pick(2) ? 1 + wire_pick(200) : 1 + wire_pick(20000));
    a.answer = wire_pick(4) ? wire_pick(100) : wire_pick(60000);
    a.mode = (uint8_t)wire_pick(8);
    a.expects = has_body && wire_pick(12) == 0;
    a.closes = wire_pick(40) == 0;
    a.old = !a.expects && a.framing == BY_LENGTH && wire_pick(20) == 0;
    if (a.old) { /* a stream would end with the connection */
        a.mode &= (uint8_t)~WIRE_STREAMS;
    }
    return a;
}

void sequence_draw(struct sequence *s)
{
    *s = (struct sequence){0};
    s->n = wire_pick(3) ? 1 + wire_pick(4) : wire_pick(MOST_REQUESTS + 1);
    for (unsigned i = 0; i < s->n; i++) {
        s->at[i] = draw_request();
    }
    s->tail = (uint8_t)(wire_pick(5) ? 0 : wire_pick(OAR_ARRAY_LEN(tails)));
    s->spoilt = wire_pick(10) == 0;
    s->ending = (uint8_t)(wire_pick(3) ? wire_pick(2) : wire_pick(ENDINGS));
    s->segment = most(30, 20000);
    s->most_read = most(300, 20000);
    s->most_write = most(3000, 20000);
    s->room = most(3000, 60000);
}

static void put_body(struct oar_buf *out, const struct asked *a)
{
    const char *body = wire_pattern + a->from;
    if (a->framing == BY_LENGTH) {
        oar_buf_put(out, body, a->len);
        return;
    }
    for (uint32_t at = 0; at < a->len;) {
        uint32_t n = OAR_MIN(a->len - at, (uint32_t)a->chunk);
        oar_buf_printf(out, at % 3 ? "%x\r\n" : "%X;a=b\r\n", n);
        oar_buf_put(out, body + at, n);
        oar_buf_printf(out, "\r\n");
        at += n;
    }
    oar_buf_printf(out, a->len % 2 ? "0\r\n\r\n" : "0\r\nX-Trailer: y\r\n\r\n");
}

static void put_request(struct script *s, const struct asked *a, unsigned id)
{
    static const char *const paths[KINDS] = {"/hello", "/hello", "/nope", "/echo", "/stream"};
    static const char *const methods[KINDS] = {"GET", "HEAD", "POST", "POST", "POST"};
    struct oar_buf *out = &s->bytes;
    struct wire_ask ask = {id, a->from, a->kind >= MISS ? a->len : 0, a->answer, a->mode};
    oar_buf_printf(out, "%s ", methods[a->kind]);
    wire_target(out, paths[a->kind], &ask);
    oar_buf_printf(out, " HTTP/1.%d\r\nHost: a\r\nX: %.*s\r\n", !a->old, a->padding, wire_pattern);
    if (a->closes || a->old) {
        oar_buf_printf(out, "Connection: %s\r\n", a->closes ? "close" : "keep-alive");
    }
    if (a->kind >= MISS && a->framing == BY_LENGTH) {
        oar_buf_printf(out, "Content-Length: %u\r\n", a->len);
    } else if (a->kind >= MISS) {
        oar_buf_printf(out, "Transfer-Encoding: chunked\r\n");
    }
    oar_buf_printf(out, "%s\r\n", a->expects ? "Expect: 100-continue\r\n" : "");
    if (a->expects && a->kind >= MISS && (a->len > 0 || a->framing == BY_CHUNKS)) {
        s->gates[s->n_gates++] = out->len;
    }
    if (a->kind >= MISS) {
        put_body(out, a);
    }
}

/* Whether the connection ends behind the answer to it. A client that waits for leave to send a body
 * that nobody wants gets its answer and a close instead. */
static bool ends(const struct asked *a)
{
    bool has_wire_body = a->len > 0 || a->framing == BY_CHUNKS;
    return a->closes || (a->expects && a->kind == MISS && has_wire_body);
}

void sequence_encode(const struct sequence *s, struct script *out)
{
    *out = (struct script){0};
    for (unsigned i = 0; i < s->n; i++) {
        put_request(out, &s->at[i], i);
        if (!out->closes) {
            out->answers++;
            out->closes = ends(&s->at[i]);
        }
    }
    if (s->tail && !out->closes) {
        out->answers++;
        out->closes = true;
        out->refusal = tails[s->tail].status;
    }
    oar_buf_printf(&out->bytes, "%s", tails[s->tail].bytes);
    if (s->spoilt && out->bytes.len > 0) {
        out->bytes.data[wire_pick((unsigned)out->bytes.len)] = (char)wire_pick(256);
    }
}

void sequence_print(const struct sequence *s)
{
    static const char *const kinds[] = {"GET /hello", "HEAD /hello", "POST /nope", "POST /echo",
                                        "POST /stream"};
    static const char *const endings[] = {"stays", "half-closes", "breaks off", "dies"};
    for (unsigned i = 0; i < s->n; i++) {
        const struct asked *a = &s->at[i];
        printf("    %s body %u %s from %u, chunk %u, answer %u, padding %u, mode %u%s%s%s\n",
               kinds[a->kind], a->len, a->framing ? "chunked" : "by length", a->from, a->chunk,
               a->answer, a->padding, a->mode, a->expects ? ", expects" : "",
               a->closes ? ", closes" : "", a->old ? ", HTTP/1.0" : "");
    }
    printf("    tail %u%s; client %s; segments %u, reads %u, writes %u, room %u\n", s->tail,
           s->spoilt ? ", a byte spoilt" : "", endings[s->ending], s->segment, s->most_read,
           s->most_write, s->room);
}

/* ---- reading the answers ---- */

static const char *find(struct oar_slice s, const char *what)
{
    return s.len ? memmem(s.ptr, s.len, what, strlen(what)) : NULL;
}

static void skip(struct oar_slice *s, size_t n)
{
    s->ptr += n;
    s->len -= n;
}

/* The body behind a head; false: not complete. */
static bool take_body(struct oar_slice head, bool none, struct oar_slice *got, struct oar_buf *body)
{
    const char *length_at = find(head, "\r\ncontent-length: ");
    if (none) {
        return true;
    }
    if (length_at) {
        size_t n = strtoul(length_at + 18, NULL, 10);
        if (got->len < n) {
            return false;
        }
        oar_buf_put(body, got->ptr, n);
        skip(got, n);
        return true;
    }
    if (!find(head, "\r\ntransfer-encoding: chunked\r\n")) {
        return true;
    }
    for (;;) {
        const char *line = find(*got, "\r\n");
        size_t n = line ? strtoul(got->ptr, NULL, 16) : 0;
        size_t all = line ? (size_t)(line - got->ptr) + 2 + n + 2 : SIZE_MAX;
        if (got->len < all) {
            return false;
        }
        oar_buf_put(body, line + 2, n);
        skip(got, all);
        if (n == 0) {
            return true;
        }
    }
}

static const char *check_one(const struct asked *a, unsigned id, unsigned status,
                             const struct oar_buf *body)
{
    struct oar_buf expected = {0};
    const char *wrong = NULL;
    if (a->kind == MISS) {
        return status == 404 ? NULL : "another status than 404";
    }
    wire_answer(&expected, id, a->answer, true);
    if (status != 200) {
        wrong = "another status than 200";
    } else if (a->kind != HEAD && (body->len != expected.len ||
                                   memcmp(body->data, expected.data, expected.len) != 0)) {
        wrong = "another body, or the answer to another request";
    }
    oar_buf_free(&expected);
    return wrong;
}

unsigned sequence_continues(struct oar_slice got)
{
    unsigned n = 0;
    for (const char *at; (at = find(got, "HTTP/1.1 100 Continue\r\n\r\n"));) {
        skip(&got, (size_t)(at - got.ptr) + 25);
        n++;
    }
    return n;
}

const char *sequence_check(const struct sequence *s, const struct script *script,
                           struct oar_slice got, bool complete, unsigned *answers)
{
    const char *wrong = NULL;
    *answers = 0;
    while (!wrong && got.len > 0) {
        const char *end = find(got, "\r\n\r\n");
        unsigned status = 0;
        struct oar_buf body = {0};
        if (!end) {
            return complete ? "half a head at the end" : NULL;
        }
        struct oar_slice head = {got.ptr, (size_t)(end - got.ptr) + 2};
        if (head.len < 13 || memcmp(got.ptr, "HTTP/1.1 ", 9) != 0) {
            return "something that is no response";
        }
        status = (unsigned)strtoul(got.ptr + 9, NULL, 10);
        if (s->spoilt) {
            return NULL; /* whether it was a HEAD request is not known: this far and no further */
        }
        skip(&got, head.len + 2);
        if (status == 100) {
            continue;
        }
        unsigned i = *answers;
        bool known = i < s->n;
        bool none = known && s->at[i].kind == HEAD;
        if (!take_body(head, none || status == 204 || status == 304, &got, &body)) {
            oar_buf_free(&body);
            return complete ? "half a body at the end" : NULL;
        }
        if (i >= script->answers) {
            wrong = "an answer too many";
        } else if (script->refusal && i + 1 == script->answers) {
            wrong = status == script->refusal ? NULL : "another status for the malformed request";
        } else if (known) {
            wrong = check_one(&s->at[i], i, status, &body);
        }
        oar_buf_free(&body);
        (*answers)++;
    }
    return wrong                                                  ? wrong
           : complete && !s->spoilt && *answers < script->answers ? "an answer is missing"
                                                                  : NULL;
}
