/* SPDX-License-Identifier: MIT
 * The life of a connection: open, what to wait for, close.
 * Process: worker, on the thread that accepted it. Owns its socket, its input block, its arena and
 * its unsent bytes. Never touches the interpreter, never blocks.
 *
 *   idle --bytes--> head --complete--> [body] --> ready --batch--> running --respond--> written
 *    ^                  \__________________ refused (4xx) ____________________________/      |
 *    +----------------------------------- keep-alive ----------------------------------------+
 *
 * A state is not stored but follows from the fields:
 *   idle      first == NULL, in_at == in_len          deadline IDLE (keep-alive)
 *   head      head_partial                            deadline HEAD
 *   body      reading != NULL                         deadline BODY
 *   ready     first->state == READY, in t->ready      none: the batch is next
 *   running   first->state == RUNNING                 deadline HANDLER, if there is one
 *   streaming first->state == STREAMING               none: the handler's own pace
 *   writing   unsent bytes                            deadline WRITE; nothing is read or run
 * meanwhile lingering lingering                               deadline LINGER; input is thrown away
 * Requests are answered in their order: only the first may run. */
#include "worker/conn.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/exchange.h"

static void on_io(struct ev_loop *ev, ev_io *io, int events)
{
    struct oar_conn *c = OAR_CONTAINER_OF(io, struct oar_conn, io);
    (void)ev;
    if ((events & EV_WRITE) && oar_conn_unsent(c) > 0) {
        oar_conn_flush(c);
    } else if (events & EV_READ) {
        oar_conn_receive(c);
    }
}

void oar_conn_open(struct oar_thread *t, int fd, const struct oar_peer *peer)
{
    struct oar_conn *c = calloc(1, sizeof *c);
    if (!c) {
        oar_log(OAR_LOG_ERROR, "no memory for a connection; it is closed");
        close(fd);
        return;
    }
    c->t = t;
    c->fd = fd;
    c->peer = *peer;
    c->arena.pool = &t->pool;
    oar_list_init(&c->ready);
    oar_list_init(&c->dirty);
    oar_list_init(&c->deadline);
    oar_list_append(&t->conns, &c->all);
    t->n_conns++;
    OAR_SET(t->slot->connections, t->n_conns);
    ev_io_init(&c->io, on_io, fd, EV_READ);
    ev_io_start(t->ev, &c->io);
    c->proxy_due = t->worker->config->proxy_protocol;
    oar_conn_deadline(c, c->proxy_due ? OAR_DL_HEAD : OAR_DL_IDLE);
    if (c->proxy_due && !oar_networks_have(&t->worker->trusted, &c->peer)) {
        oar_conn_count_refusal(t->slot, OAR_RULE_PROXY_HEADER);
        oar_log(OAR_LOG_DEBUG, "closed a connection from outside of --trusted-proxies");
        oar_conn_close(c);
    }
}

static void conn_free(struct oar_conn *c)
{
    if (c->first) {
        oar_conn_forget(c, true);
    }
    oar_arena_reset(&c->arena);
    if (c->in) {
        oar_pool_give(&c->t->pool, c->in);
    }
    oar_conn_free_body(c);
    oar_buf_free(&c->unsent);
    oar_list_remove(&c->all);
    free(c);
}

/* The application has the first request and must be heard before the struct may go. */
static bool is_out(const struct oar_conn *c)
{
    return c->first && (c->first->state == OAR_REQ_RUNNING || c->first->state == OAR_REQ_STREAMING);
}

/* What is not sent is thrown away, and the client learns it. A plain close would leave up to
 * net.ipv4.tcp_wmem[2] bytes in the kernel until TCP gives up, and a response that is cut could
 * look whole. */
static void set_reset(const struct oar_conn *c)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

void oar_conn_close(struct oar_conn *c)
{
    if (c->fd >= 0) {
        if (c->reset) {
            set_reset(c);
        }
        ev_io_stop(c->t->ev, &c->io);
        close(c->fd);
        c->fd = -1;
        c->t->n_conns--;
        OAR_SET(c->t->slot->connections, c->t->n_conns);
        oar_list_remove(&c->ready);
        oar_list_remove(&c->dirty);
        oar_list_remove(&c->deadline);
        c->reading = NULL;
        if (is_out(c)) {
            oar_request_gone(c->first, OAR_GONE_LEFT);
        }
    }
    if (!is_out(c)) {
        conn_free(c);
    }
}

void oar_conn_deadline(struct oar_conn *c, enum oar_deadline kind)
{
    struct oar_thread *t = c->t;
    bool first = oar_list_empty(&t->deadlines[kind]);
    oar_list_remove(&c->deadline);
    c->deadline_kind = (uint8_t)kind;
    c->expires = ev_now(t->ev) + t->durations[kind];
    oar_list_append(&t->deadlines[kind], &c->deadline);
    if (first && (!ev_is_active(&t->deadline_timer) ||
                  ev_timer_remaining(t->ev, &t->deadline_timer) > t->durations[kind])) {
        ev_timer_stop(t->ev, &t->deadline_timer);
        ev_timer_set(&t->deadline_timer, t->durations[kind], 0.);
        ev_timer_start(t->ev, &t->deadline_timer);
    }
}

/* A body has its deadline again for as long as it keeps up --min-rate. */
static bool keeps_up(const struct oar_conn *c)
{
    double least = (double)c->t->worker->config->min_rate * c->t->durations[c->deadline_kind];
    uint64_t now = c->deadline_kind == OAR_DL_BODY ? c->body_seen : c->sent;
    return least > 0 && (double)(now - c->moved) >= least;
}

void oar_conn_expired(struct oar_conn *c)
{
    enum oar_deadline kind = c->deadline_kind;
    if ((kind == OAR_DL_BODY || kind == OAR_DL_WRITE) && keeps_up(c)) {
        c->moved = kind == OAR_DL_BODY ? c->body_seen : c->sent;
        oar_conn_deadline(c, kind);
        return;
    }
    OAR_ADD(c->t->slot->timeouts, 1);
    if (c->proxy_due) { /* a proxy that says nothing would not understand HTTP */
        oar_conn_close(c);
        return;
    }
    switch (kind) {
    case OAR_DL_HEAD: oar_conn_refuse(c, OAR_RULE_HEAD_DEADLINE); break;
    case OAR_DL_BODY: oar_conn_refuse(c, OAR_RULE_BODY_DEADLINE); break;
    case OAR_DL_HANDLER:
        oar_conn_count_refusal(c->t->slot, OAR_RULE_HANDLER_DEADLINE);
        oar_conn_abandon(c, OAR_RULE_HANDLER_DEADLINE);
        break;
    case OAR_DL_WRITE: c->reset = true; /* fall through */
    default: oar_conn_close(c); return;
    }
    oar_conn_continue(c);
}

/* RFC 9112 section 9.6: close the sending side, read on for a while, so that the client's unread
 * bytes do not reset the connection before it has seen the response. */
static void linger(struct oar_conn *c)
{
    c->lingering = true;
    c->in_at = c->in_len = c->in_pin = 0;
    shutdown(c->fd, SHUT_WR);
    oar_conn_deadline(c, OAR_DL_LINGER);
}

static void watch(struct oar_conn *c, int events)
{
    if (events != (c->io.events & (EV_READ | EV_WRITE)) || !ev_is_active(&c->io)) {
        ev_io_stop(c->t->ev, &c->io);
        ev_io_set(&c->io, c->fd, events);
        if (events) {
            ev_io_start(c->t->ev, &c->io);
        }
    }
}

static void give_input_back(struct oar_conn *c)
{
    if (c->in && c->in_at == c->in_len && !c->first && !c->reading) {
        oar_pool_give(&c->t->pool, c->in);
        c->in = NULL;
        c->in_at = c->in_len = c->in_pin = 0;
    }
}

/* The deadline for what the connection waits for; one that runs already is not set anew. */
static void set_deadline(struct oar_conn *c)
{
    bool handler =
        c->first && c->first->state == OAR_REQ_RUNNING && c->t->durations[OAR_DL_HANDLER] > 0;
    enum oar_deadline kind = c->reading && !c->paused          ? OAR_DL_BODY
                             : c->head_partial || c->proxy_due ? OAR_DL_HEAD
                             : handler                         ? OAR_DL_HANDLER
                                                               : OAR_DL_IDLE;
    if (kind == OAR_DL_IDLE && c->first) {
        oar_list_remove(&c->deadline); /* a handler has all the time it wants */
    } else if (kind == OAR_DL_IDLE || oar_list_empty(&c->deadline) || c->deadline_kind != kind) {
        c->moved = c->body_seen;
        oar_conn_deadline(c, kind);
    }
}

static void wait_for_input(struct oar_conn *c)
{
    bool full = c->in && c->in_len == c->in->size;
    watch(c, !c->eof && !full && !c->paused ? EV_READ : 0);
    set_deadline(c);
}

void oar_conn_continue(struct oar_conn *c)
{
    if (c->fd < 0 || c->lingering) {
        return;
    }
    if (oar_conn_unsent(c) > 0) {
        watch(c, EV_WRITE);
        return;
    }
    if (!oar_list_empty(&c->dirty) || !oar_list_empty(&c->ready)) {
        return; /* the batch, or the flush, comes back here */
    }
    oar_conn_parse(c);
    if (c->fd < 0 || !oar_list_empty(&c->dirty)) {
        return; /* what was sent cut a response that streams, or got an answer at once */
    }
    if (c->first && c->first->state == OAR_REQ_READY) {
        oar_list_append(&c->t->ready, &c->ready);
        return;
    }
    give_input_back(c);
    if ((!c->first || c->abandoned) && c->close_after) {
        if (c->refused && !c->eof) {
            linger(c);
        } else {
            oar_conn_close(c);
        }
    } else if (!c->first && !c->reading && c->eof) {
        oar_conn_close(c);
    } else if (c->t->worker->draining && !c->first && !c->reading && !c->head_partial) {
        oar_conn_close(c);
    } else {
        wait_for_input(c);
    }
}

void oar_conn_drain(struct oar_conn *c)
{
    bool idle = !c->first && !c->reading && !c->head_partial && oar_conn_unsent(c) == 0 &&
                oar_list_empty(&c->dirty) && !c->lingering;
    if (idle && c->fd >= 0) {
        oar_conn_receive(c); /* a request that is already in the socket is served */
    }
}
