/* SPDX-License-Identifier: MIT
 * Bodies piece by piece: what handlers post through the exchange becomes bytes of the response, and
 * what they took of a request's body lets the socket be read again.
 * Process: worker, on the connection's thread, without the interpreter. Owns nothing: bytes are in
 * the exchange, then in the round's output. Never holds more of a response than a window and what
 * the handler gave at once. */
#include "worker/conn.h"
#include "worker/dispatch.h"
#include "worker/exchange.h"
#include "worker/http_write.h"

static bool has_body(const struct oar_request *r)
{
    return r->method != OAR_HEAD && oar_http_has_body(r->response.status);
}

void oar_stream_begin(struct oar_conn *c, struct oar_request *r)
{
    struct oar_thread *t = c->t;
    struct oar_exchange *x = oar_exchange_of(r); /* the application has made it */
    r->state = OAR_REQ_STREAMING;
    oar_timed_clear(&r->overdue);
    if (!r->counted) {
        r->counted = true;
        t->in_flight++;
    }
    if (c->fd < 0 || c->abandoned) {
        oar_request_gone(r, OAR_GONE_LEFT);
    } else {
        r->closes = r->response.close || !r->keep_alive || t->worker->draining ||
                    (r->minor == 0 && has_body(r) && !r->response.has_length);
        oar_conn_count(t->slot, r->response.status);
        oar_conn_head(c, r, r->closes);
        if (!has_body(r)) {
            oar_request_gone(r, OAR_GONE_LEFT); /* the handler's pump ends; so does the response */
        }
    }
    oar_exchange_post(x); /* not at once: the end of the response could free the connection */
}

static void put_chunk(struct oar_conn *c, struct oar_request *r, struct oar_buf *piece)
{
    if (piece->len == 0 || !has_body(r)) {
        return;
    }
    if (r->response.has_length) {
        r->response.length -= piece->len; /* serve() has seen that it is no more */
    }
    if (r->response.has_length || r->minor == 0) { /* the close ends it: RFC 9112 section 6.3 */
        oar_conn_raw(c, (struct oar_slice){piece->data, piece->len});
    } else {
        struct oar_buf size = {0};
        oar_buf_printf(&size, "%zx\r\n", piece->len);
        oar_conn_raw(c, (struct oar_slice){size.data, size.len});
        oar_conn_raw(c, (struct oar_slice){piece->data, piece->len});
        oar_conn_raw(c, OAR_LIT("\r\n"));
        c->t->out.failed = c->t->out.failed || size.failed;
        oar_buf_free(&size);
    }
}

/* A stream whose handler has said how long it is, and is wrong: the client must not take the bytes
 * for the next response's, nor the part for the whole. */
static bool breaks_its_length(const struct oar_request *r, size_t more, bool over)
{
    const void *routes = r->conn->t->worker->routes;
    uint64_t left = r->response.length;
    if (!r->response.has_length || !has_body(r) || (more <= left && !(over && more < left))) {
        return false;
    }
    oar_log(OAR_LOG_ERROR, "%s: a streamed response is %s than its Content-Length; it was cut off",
            oar_rt_text(routes, r->route->path_off), more > left ? "longer" : "shorter");
    return true;
}

static void finish(struct oar_conn *c, struct oar_request *r, bool aborted)
{
    aborted = aborted && has_body(r);
    bool close = r->closes || aborted;
    if (has_body(r) && !aborted && r->minor > 0 && !r->response.has_length) {
        oar_conn_raw(c, OAR_LIT("0\r\n\r\n"));
    }
    if (c->reading == r) { /* the rest of the request's body is not wanted */
        close = c->refused = true;
        oar_conn_stop_reading(c);
    }
    c->close_after = c->close_after || close;
    bool looks_whole = aborted && r->minor == 0; /* no last chunk is missing: a reset says it */
    oar_conn_forget(c, close);
    if (looks_whole) {
        c->reset = true;
        oar_conn_close(c);
    } else if (oar_list_empty(&c->dirty)) {
        oar_conn_continue(c);
    }
}

/* The handler has taken body bytes, or wants the first. */
static void resume(struct oar_conn *c, struct oar_request *r, bool wanted, size_t waiting)
{
    if (wanted && r->expects_100 && c->reading == r && r->state == OAR_REQ_RUNNING) {
        r->expects_100 = false;
        oar_conn_raw(c, OAR_LIT("HTTP/1.1 100 Continue\r\n\r\n")); /* RFC 9110 section 10.1.1 */
    }
    if (c->paused && c->reading == r && waiting < OAR_STREAM_WINDOW) {
        c->paused = false;
        oar_conn_continue(c);
    }
}

void oar_stream_serve(struct oar_exchange *x)
{
    struct oar_request *r = x->request;
    if (!r) {
        return;
    }
    struct oar_conn *c = r->conn;
    bool streams = r->state == OAR_REQ_STREAMING;
    struct oar_taken taken = oar_exchange_take_out(x, streams);
    if (c->fd >= 0 && !c->abandoned) {
        if (OAR_UNLIKELY(streams && !taken.aborted &&
                         breaks_its_length(r, taken.bytes.len, taken.ended))) {
            taken.bytes.len = 0;
            taken.ended = taken.aborted = true;
            oar_request_gone(r, OAR_GONE_LEFT); /* the iterator ends: nobody takes more of it */
        }
        put_chunk(c, r, &taken.bytes);
        resume(c, r, taken.body_wanted, taken.body_waiting);
    }
    oar_buf_free(&taken.bytes);
    if (taken.ended && (c->fd < 0 || c->abandoned)) {
        oar_conn_forget(c, true);
        if (c->fd < 0) {
            oar_conn_close(c);
        }
    } else if (taken.ended) {
        finish(c, r, taken.aborted);
    }
}

void oar_stream_flushed(struct oar_conn *c)
{
    struct oar_exchange *x = atomic_load_explicit(&c->first->exchange, memory_order_acquire);
    oar_exchange_sent(x, oar_conn_unsent(c));
}

void oar_conn_abandon(struct oar_conn *c, enum oar_rule rule)
{
    uint16_t status = oar_rules[rule].status;
    const char *why = oar_rules[rule].text;
    struct oar_thread *t = c->t;
    struct oar_request *running = c->first;
    struct oar_request answer = {.minor = running->minor, .method = running->method, .conn = c};
    oar_log(OAR_LOG_DEBUG, "answered %u in place of a handler: %s", status, why);
    oar_dispatch_error(c, &answer, status, why);
    oar_conn_count(t->slot, status);
    oar_conn_head(c, &answer, true);
    c->abandoned = c->close_after = c->refused = true;
    oar_timed_clear(&running->overdue);
    oar_conn_stop_reading(c);
    oar_request_gone(running, rule == OAR_RULE_HANDLER_DEADLINE ? OAR_GONE_OVERDUE : OAR_GONE_LEFT);
}
