/* SPDX-License-Identifier: MIT
 * Bytes from the socket to requests in their order.
 * Process: worker, on the connection's thread, without the interpreter. Owns nothing beyond the
 * connection's own memory. Never reads more than the input block, the pipeline depth and --max-body
 * allow.
 *
 * The input block: [ pinned: requests in progress | parsed or thrown away | not parsed | free ].
 * A request's head and body stay where they arrived, unless the body is not there whole; then the
 * head moves to the arena and the body collects in c->body. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "worker/conn.h"
#include "worker/conn_room.h"
#include "worker/dispatch.h"
#include "worker/exchange.h"
#include "worker/timing.h"

OAR_COLD static void discard(struct oar_conn *c)
{
    char waste[4096];
    ssize_t n = recv(c->fd, waste, sizeof waste, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        oar_conn_close(c);
    }
}

/* The client has sent its last byte. A FIN is half of a close, unless the socket knows of the other
 * half, as unix sockets do: RFC 9112 section 9.6. */
OAR_COLD static void end_of_input(struct oar_conn *c)
{
    struct pollfd end = {.fd = c->fd};
    c->eof = true;
    if (poll(&end, 1, 0) > 0 && (end.revents & (POLLHUP | POLLERR))) {
        oar_conn_close(c);
        return;
    }
    if (!c->half_closed) {
        oar_conn_half_closed(c);
    }
    oar_conn_continue(c);
}

bool oar_conn_receive(struct oar_conn *c)
{
    if (OAR_UNLIKELY(c->state == OAR_CONN_LINGERING)) {
        discard(c);
        return true;
    }
    bool room = true;
    if (!c->in) {
        room = (c->in = oar_pool_take(&c->t->pool)) != NULL;
    } else if (OAR_UNLIKELY(c->in->size - c->in_len < OAR_LEAST_ROOM)) {
        if (!oar_conn_has_room(c)) {
            return false; /* requests in progress must be answered first; then it is watched again */
        }
        room = oar_conn_make_room(c);
    }
    if (OAR_UNLIKELY(!room)) {
        oar_log(OAR_LOG_ERROR, "no memory for a request; the connection is closed");
        oar_conn_close(c);
        return true;
    }
    ssize_t n = recv(c->fd, c->in->data + c->in_len, c->in->size - c->in_len, 0);
    if (OAR_LIKELY(n > 0)) {
        c->in_len += (uint32_t)n;
        OAR_ADD(c->t->slot->bytes_in, (uint64_t)n);
        oar_conn_continue(c);
    } else if (n == 0) {
        end_of_input(c);
    } else if (errno == EAGAIN || errno == EINTR) {
        return false;
    } else {
        oar_conn_close(c);
    }
    return true;
}

static void append(struct oar_conn *c, struct oar_request *r)
{
    r->conn = c;
    r->next = NULL;
    if (c->last) {
        c->last->next = r;
    } else {
        c->first = r;
    }
    c->last = r;
    c->n_requests++;
    OAR_ADD(c->t->slot->requests, 1);
}

/* The handler of `reading` has begun, so it cannot simply be given another answer. */
static bool refuse_running(struct oar_conn *c, enum oar_rule rule)
{
    if (c->reading && c->reading->state == OAR_REQ_STREAMING) {
        c->reset = true; /* a part of the response is out: cutting it is all that is left */
        oar_conn_close(c);
        return true;
    }
    if (c->reading && c->reading->state == OAR_REQ_RUNNING) {
        oar_conn_abandon(c, rule);
        return true;
    }
    return false;
}

/* Of a head that is not parsed to its end: whether its answer has a body depends on it. */
static uint8_t method_of(const struct oar_conn *c)
{
    const char *at = c->in ? c->in->data + c->in_at : "";
    size_t len = c->in ? c->in_len - c->in_at : 0;
    size_t blank = len >= 2 && memcmp(at, "\r\n", 2) == 0 ? 2 : 0; /* RFC 9112 section 2.2 */
    bool head = len - blank >= 5 && memcmp(at + blank, "HEAD ", 5) == 0;
    return head ? OAR_HEAD : OAR_GET;
}

void oar_conn_refuse(struct oar_conn *c, enum oar_rule rule)
{
    uint16_t status = oar_rules[rule].status;
    const char *why = oar_rules[rule].text;
    oar_conn_count_refusal(c->t->slot, rule);
    if (refuse_running(c, rule)) {
        return;
    }
    bool begun = c->reading != NULL; /* its head was taken */
    struct oar_request *r = begun ? c->reading : oar_arena_take(&c->arena, sizeof *r);
    uint8_t method = method_of(c);
    c->close_after = c->refused = true;
    oar_conn_stop_reading(c); /* what follows cannot be trusted to be a request */
    oar_log(OAR_LOG_DEBUG, "refused a request with %u: %s", status, why);
    if (!r) {
        return;
    }
    if (!begun) {
        memset(r, 0, sizeof *r);
        r->method = method;
        append(c, r);
    }
    if (!c->body_held) { /* what has come of a body that nobody will read */
        oar_conn_free_body(c);
    }
    r->minor = 1;
    r->keep_alive = false;
    oar_dispatch_error(c, r, status, why);
    r->state = OAR_REQ_READY;
}

/* A request for a head that has been parsed; NULL: no memory. */
static struct oar_request *request_new(struct oar_conn *c, const char *head,
                                       const struct oar_parsed *p, bool whole)
{
    struct oar_request *r = oar_arena_take(&c->arena, sizeof *r);
    struct oar_field *fields = oar_arena_take(&c->arena, p->n_fields * sizeof *fields);
    char *copy = whole ? NULL : oar_arena_take(&c->arena, p->head_len);
    if (!r || !fields || (!whole && !copy)) {
        return NULL;
    }
    memcpy(fields, p->fields, p->n_fields * sizeof *fields);
    if (copy) {
        memcpy(copy, head, p->head_len);
    }
    memset(r, 0, offsetof(struct oar_request, match)); /* match is written by the match */
    r->response = (struct oar_response){0};
    r->overdue.link.next = NULL;
    r->head = copy ? copy : head;
    r->head_len = p->head_len;
    r->method = p->method;
    r->minor = p->minor;
    r->keep_alive = p->keep_alive && c->t->keeps_alive;
    r->expects_100 = p->expects_100;
    r->chunked = p->chunked;
    r->n_fields = p->n_fields;
    r->fields = fields;
    r->path_off = p->path_off;
    r->path_len = p->path_len;
    r->query_off = p->query_off;
    r->query_len = p->query_len;
    append(c, r);
    return r;
}

/* No end of a head among the bytes that have come since the last look. */
static bool head_still_open(struct oar_conn *c)
{
    const char *data = c->in->data;
    uint32_t at = OAR_MAX(c->in_at, c->in_scanned > 3 ? c->in_scanned - 3 : 0);
    c->in_scanned = c->in_len;
    while (at < c->in_len) {
        const char *lf = memchr(data + at, '\n', c->in_len - at);
        if (!lf) {
            return true;
        }
        at = (uint32_t)(lf - data) + 1;
        bool crlf = at + 1 < c->in_len && data[at] == '\r' && data[at + 1] == '\n';
        if (crlf || (at < c->in_len && data[at] == '\n')) {
            return false;
        }
    }
    return true;
}

static uint64_t body_limit(const struct oar_conn *c, const struct oar_request *r)
{
    uint64_t limit = (uint64_t)c->t->worker->config->max_body;
    return r->call_app && r->route->max_body != OAR_BODY_DEFAULT ? r->route->max_body : limit;
}

static void refuse_length(struct oar_conn *c, const struct oar_request *r)
{
    bool own = r->call_app && r->route->max_body != OAR_BODY_DEFAULT;
    oar_conn_refuse(c, own ? OAR_RULE_ROUTE_BODY_LENGTH : OAR_RULE_BODY_LENGTH);
}

/* A head or a body follows another one behind a handler: the state stays, the deadline is new. */
static void renew_deadline(struct oar_conn *c, enum oar_conn_state state, enum oar_deadline kind)
{
    if (c->state == state && !c->deadline.link.next) {
        c->moved = 0;
        oar_timed_set(c->t, &c->deadline, kind);
    }
}

/* The head is complete, a body follows. false: refused. */
static bool begin_body(struct oar_conn *c, struct oar_request *r, uint64_t length)
{
    bool nothing_yet = c->in_at == c->in_len;
    c->reading = r;
    c->chunks = (struct oar_chunks){0};
    c->body_left = length;
    c->body_seen = 0;
    c->body_since = c->t->now;
    if (length > body_limit(c, r)) {
        refuse_length(c, r);
        return false;
    }
    if (r->expects_100 && nothing_yet && !r->call_app) {
        /* the client waits for leave, and there is none: RFC 9110 section 10.1.1 */
        c->reading = NULL;
        c->close_after = c->refused = true;
        r->keep_alive = false;
        r->state = OAR_REQ_READY;
        return false;
    }
    if (r->call_app && (r->route->flags & OAR_ROUTE_STREAM)) {
        struct oar_exchange *x = oar_exchange_of(r);
        if (!x) {
            oar_conn_refuse(c, OAR_RULE_MEMORY);
            return false;
        }
        r->streams_body = true;
        oar_exchange_end_body(x, OAR_BODY_MORE);
        r->state = OAR_REQ_READY;
    }
    /* leave is given when the handler asks for the body, or when it is the request's turn */
    r->expects_100 = r->expects_100 && nothing_yet;
    renew_deadline(c, OAR_CONN_BODY, OAR_DL_BODY);
    return true;
}

static bool parse_head(struct oar_conn *c)
{
    struct oar_thread *t = c->t;
    const struct oar_config *cfg = t->worker->config;
    const struct oar_parse_limits limits = {(size_t)cfg->max_head, (size_t)cfg->max_target,
                                            (size_t)cfg->max_fields};
    struct oar_parsed parsed = {.fields = t->fields};
    const char *head = c->in->data + c->in_at;
    size_t len = c->in_len - c->in_at;
    if (c->head_partial && len <= limits.max_head && head_still_open(c)) {
        return false;
    }
    enum oar_parse_result result = oar_parse_head(&limits, head, len, &parsed);
    if (result == OAR_PARSE_MORE) {
        c->head_partial = true;
        c->in_scanned = c->in_len;
        renew_deadline(c, OAR_CONN_HEAD, OAR_DL_HEAD);
        return false;
    }
    if (c->head_partial) {
        c->head_partial = false;
        oar_timed_clear(&c->deadline); /* another head has a deadline of its own */
    }
    if (result == OAR_PARSE_REFUSED) {
        oar_conn_refuse(c, parsed.rule);
        return false;
    }
    struct oar_request *r = request_new(c, head, &parsed, result == OAR_PARSE_MESSAGE);
    if (!r) {
        oar_conn_refuse(c, OAR_RULE_MEMORY);
        return false;
    }
    c->in_at += parsed.head_len;
    if (OAR_UNLIKELY(t->worker->timing != OAR_TIMING_OFF)) {
        oar_timing_read(c, r);
    }
    oar_dispatch_prepare(c, r);
    if (result == OAR_PARSE_MESSAGE) {
        c->in_pin = c->in_at;
        r->state = OAR_REQ_READY;
        return true;
    }
    return begin_body(c, r, parsed.content_length);
}

/* The body that is to blame when there are too many: it holds many bytes, and has held them for
 * long. Who has just come is not to pay for who came to stay. NULL: there is none but complete ones,
 * which are their handlers'. */
static struct oar_conn *find_hog(struct oar_thread *t)
{
    struct oar_conn *hog = NULL;
    double most = 0;
    for (struct oar_link *l = t->conns.next; l != &t->conns; l = l->next) {
        struct oar_conn *c = OAR_CONTAINER_OF(l, struct oar_conn, all);
        bool collects = c->fd >= 0 && c->reading && !c->reading->streams_body;
        double weight = collects ? (double)c->body.cap * (t->now - c->body_since + 0.001) : 0;
        if (weight > most) {
            most = weight;
            hog = c;
        }
    }
    return hog;
}

/* Too many bytes of bodies are held: others than `c` give theirs up. false: it is c that must. */
OAR_COLD static bool others_give_way(const struct oar_conn *c)
{
    struct oar_thread *t = c->t;
    while (t->buffered > t->max_buffered) {
        struct oar_conn *hog = find_hog(t);
        if (!hog || hog == c) {
            return false;
        }
        oar_conn_refuse(hog, OAR_RULE_BUFFERED);
        oar_conn_continue(hog);
    }
    return true;
}

/* A run of body. Bodies that arrived whole stay where they are. */
static bool body_piece(struct oar_conn *c, struct oar_slice piece, bool whole)
{
    struct oar_request *r = c->reading;
    r->expects_100 = false; /* the client did not wait */
    c->body_seen += piece.len;
    if (c->body_seen > body_limit(c, r)) {
        refuse_length(c, r);
        return false;
    }
    if (r->streams_body) {
        bool ok = oar_exchange_put_body(oar_exchange_of(r), piece, &c->paused);
        if (!ok) {
            oar_conn_refuse(c, OAR_RULE_MEMORY);
        }
        return ok;
    }
    if (whole) {
        r->body = piece;
        c->in_pin = (uint32_t)(piece.ptr + piece.len - c->in->data);
        return true;
    }
    size_t before = c->body.cap;
    if (!r->chunked) { /* the whole length is known: doubling stops there */
        oar_buf_room_within(&c->body, piece.len, c->body.len + (size_t)c->body_left);
    }
    oar_buf_put(&c->body, piece.ptr, piece.len);
    c->t->buffered += c->body.cap - before;
    if (c->body.failed || (c->t->buffered > c->t->max_buffered && !others_give_way(c))) {
        oar_conn_refuse(c, c->body.failed ? OAR_RULE_MEMORY : OAR_RULE_BUFFERED);
        return false;
    }
    return true;
}

static void body_complete(struct oar_conn *c)
{
    struct oar_request *r = c->reading;
    if (r->streams_body) {
        oar_exchange_end_body(oar_exchange_of(r), OAR_BODY_COMPLETE);
    } else {
        if (c->body.len > 0) {
            r->body = (struct oar_slice){c->body.data, c->body.len};
            c->body_held = true;
        }
        r->state = OAR_REQ_READY;
    }
    c->reading = NULL;
    c->paused = false;
    oar_timed_clear(&c->deadline); /* another body has a deadline of its own */
}

static bool parse_chunks(struct oar_conn *c)
{
    struct oar_slice piece;
    size_t used;
    enum oar_parse_result result =
        oar_parse_chunks(&c->chunks, (size_t)c->t->worker->config->max_head, c->in->data + c->in_at,
                         c->in_len - c->in_at, &used, &piece);
    if (result == OAR_PARSE_REFUSED) {
        oar_conn_refuse(c, c->chunks.rule);
        return false;
    }
    c->in_at += (uint32_t)used;
    if (piece.len > 0 && !body_piece(c, piece, false)) {
        return false;
    }
    if (result == OAR_PARSE_MESSAGE) {
        body_complete(c);
    }
    return true;
}

static bool parse_body(struct oar_conn *c)
{
    if (c->reading->chunked) {
        return parse_chunks(c);
    }
    size_t n = OAR_MIN((size_t)(c->in_len - c->in_at), (size_t)c->body_left);
    struct oar_slice piece = {c->in->data + c->in_at, n};
    c->in_at += (uint32_t)n;
    if (!body_piece(c, piece, c->body.len == 0 && n == c->body_left)) {
        return false;
    }
    c->body_left -= n;
    if (c->body_left == 0) {
        body_complete(c);
    }
    return true;
}

/* The header before the first request. What is none closes the connection without a word: the
 * other side does not speak HTTP yet. */
static bool parse_proxy(struct oar_conn *c)
{
    size_t used = 0;
    enum oar_parse_result result =
        oar_proxy_parse(c->in->data + c->in_at, c->in_len - c->in_at, &c->peer, &used);
    if (result == OAR_PARSE_MESSAGE) {
        c->in_at += (uint32_t)used;
        c->proxy_due = false;
        oar_peer_unmap(&c->peer);
    } else if (result == OAR_PARSE_REFUSED) {
        oar_conn_count_refusal(c->t->slot, OAR_RULE_PROXY_HEADER);
        oar_log(OAR_LOG_DEBUG, "closed a connection that does not begin with a PROXY header");
        c->close_after = true; /* oar_conn_continue closes */
        c->in_at = c->in_len;
    }
    return result == OAR_PARSE_MESSAGE;
}

void oar_conn_parse(struct oar_conn *c)
{
    bool goes_on = true;
    while (goes_on && c->in && !c->close_after) {
        if (c->paused) {
            break;
        }
        if (c->in_at == c->in_len) { /* all is parsed: only what is pinned stays */
            c->in_at = c->in_len = c->in_pin = oar_conn_pinned(c);
            break;
        }
        if (c->proxy_due) {
            goes_on = parse_proxy(c);
        } else if (c->reading) {
            goes_on = parse_body(c);
        } else if (oar_conn_may_parse_more(c)) {
            goes_on = parse_head(c);
        } else {
            goes_on = false;
        }
    }
}
