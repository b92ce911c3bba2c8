/* SPDX-License-Identifier: MIT
 * Responses to bytes, and bytes to the socket.
 * Process: worker, on the connection's thread. oar_conn_respond may run while the batch holds the
 * interpreter, so it only copies; oar_conn_flush, which calls the kernel, never runs inside it.
 * Owns the connection's unsent bytes. Never lets a connection with unsent bytes run another
 * handler. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "worker/conn.h"
#include "worker/exchange.h"
#include "worker/http_write.h"
#include "worker/timing.h"

/* This round's bytes of a connection are one run of t->out. If others wrote behind it, it moves. */
static void open_run(struct oar_conn *c)
{
    struct oar_thread *t = c->t;
    if (oar_list_empty(&c->dirty)) {
        oar_list_append(&t->dirty, &c->dirty);
        c->out_from = c->out_to = t->out.len;
    } else if (c->out_to != t->out.len) {
        oar_buf_put(&c->unsent, t->out.data + c->out_from, c->out_to - c->out_from);
        c->out_from = c->out_to = t->out.len;
    }
}

void oar_conn_raw(struct oar_conn *c, struct oar_slice bytes)
{
    open_run(c);
    oar_buf_put_slice(&c->t->out, bytes);
    c->out_to = c->t->out.len;
}

void oar_conn_count(struct oar_slot *slot, uint16_t status)
{
    unsigned family = status / 100;
    OAR_ADD(slot->responses[family < OAR_ARRAY_LEN(slot->responses) ? family : 0], 1);
}

void oar_conn_free_body(struct oar_conn *c)
{
    c->t->buffered -= c->body.cap;
    oar_buf_free(&c->body);
    c->body_held = false;
}

void oar_conn_forget(struct oar_conn *c, bool close)
{
    struct oar_request *r = c->first;
    do { /* what was pipelined behind a close gets no answer: RFC 9112 section 9.6 */
        c->first = r->next;
        c->n_requests--;
        c->t->in_flight -= r->counted;
        free(r->response.owned);
        r->response.owned = NULL;
        r->state = OAR_REQ_DONE;
        oar_timed_clear(&r->overdue);
        if (OAR_UNLIKELY(atomic_load_explicit(&r->exchange, memory_order_relaxed) != NULL)) {
            oar_exchange_close(r);
        }
        if (c->body_held && r->body.ptr == c->body.data) {
            oar_conn_free_body(c);
        }
        r = c->first;
    } while (close && r);
    if (close) { /* it may have been one of those behind */
        c->reading = NULL;
        c->paused = false;
    }
    if (!c->first) {
        c->last = NULL;
        c->in_pin = 0;
        oar_arena_reset(&c->arena);
    }
}

void oar_conn_head(struct oar_conn *c, const struct oar_request *r, bool close)
{
    struct oar_thread *t = c->t;
    struct oar_slice date = {t->date, t->date_len};
    char timed[sizeof t->date + OAR_TIMING_ROOM];
    open_run(c);
    if (OAR_UNLIKELY(r->timing != NULL)) {
        memcpy(timed, t->date, t->date_len);
        size_t n = oar_timing_field(t, r, timed + t->date_len, sizeof timed - t->date_len);
        date = (struct oar_slice){timed, t->date_len + n};
    }
    oar_http_write(&t->out, r, date, close);
    c->out_to = t->out.len;
}

void oar_conn_respond(struct oar_conn *c, struct oar_request *r)
{
    struct oar_thread *t = c->t;
    bool close = r->response.close || !r->keep_alive || (t->worker->draining && !r->next);
    if (OAR_UNLIKELY(r->response.stream)) {
        oar_stream_begin(c, r);
        return;
    }
    if (OAR_UNLIKELY(c->fd < 0 || c->abandoned)) { /* the client did not wait, or has its answer */
        oar_conn_forget(c, true);
        if (c->fd < 0) {
            oar_conn_close(c);
        }
        return;
    }
    if (OAR_UNLIKELY(c->reading == r)) { /* the handler does not want the rest of the body */
        close = c->refused = true;
        oar_conn_stop_reading(c);
    }
    oar_conn_head(c, r, close);
    c->close_after = c->close_after || close;
    oar_conn_count(t->slot, r->response.status);
    oar_conn_forget(c, close);
}

/* Keeps what the socket did not take. false: no memory for it. */
static bool keep_rest(struct oar_conn *c, const struct iovec *iov, size_t sent)
{
    size_t old = OAR_MIN(sent, iov[0].iov_len);
    c->unsent_at += old;
    sent -= old;
    oar_buf_put(&c->unsent, (char *)iov[1].iov_base + sent, iov[1].iov_len - sent);
    if (c->unsent_at > 0 && c->unsent_at >= c->unsent.len / 2) { /* slide: amortised O(1) a byte */
        memmove(c->unsent.data, c->unsent.data + c->unsent_at, c->unsent.len - c->unsent_at);
        c->unsent.len -= c->unsent_at;
        c->unsent_at = 0;
    }
    return !c->unsent.failed;
}

/* One call of the kernel for what was kept and this round's bytes. -1: the client is gone. */
static ssize_t send_all(const struct oar_conn *c, struct iovec iov[2])
{
    ssize_t n;
    if (iov[0].iov_len == 0) {
        n = send(c->fd, iov[1].iov_base, iov[1].iov_len, MSG_NOSIGNAL);
    } else {
        struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
        n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}

bool oar_conn_flush(struct oar_conn *c)
{
    bool had_rest = oar_conn_unsent(c) > 0;
    struct iovec iov[2] = {{c->unsent.data + c->unsent_at, oar_conn_unsent(c)},
                           {c->t->out.data + c->out_from, c->out_to - c->out_from}};
    size_t all = iov[0].iov_len + iov[1].iov_len;
    oar_list_remove(&c->dirty);
    if (c->t->out.failed || c->unsent.failed) {
        oar_log(OAR_LOG_ERROR, "no memory for a response; the connection is closed");
        oar_conn_close(c);
        return true;
    }
    ssize_t n = send_all(c, iov);
    if (n < 0) {
        oar_conn_close(c);
        return true;
    }
    size_t sent = (size_t)n;
    c->sent += sent;
    OAR_ADD(c->t->slot->bytes_out, sent);
    if (OAR_LIKELY(sent == all)) {
        if (had_rest) {
            oar_buf_free(&c->unsent);
            c->unsent_at = 0;
        }
    } else if (!keep_rest(c, iov, sent)) {
        oar_log(OAR_LOG_ERROR, "no memory for %zu unsent bytes; the connection is closed",
                all - sent);
        oar_conn_close(c);
        return true;
    }
    c->out_from = c->out_to = 0;
    if (OAR_UNLIKELY(c->first && c->first->state == OAR_REQ_STREAMING)) {
        oar_stream_flushed(c);
    }
    oar_conn_continue(c);
    return sent > 0;
}
