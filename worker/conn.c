/* SPDX-License-Identifier: MIT
 * The life of a connection: open, what to wait for, close.
 * Process: worker, on the thread that accepted it. Owns its socket, its input block, its arena and
 * its unsent bytes. Never touches the interpreter, never blocks.
 *
 *                  +--------- keep-alive ----------+
 *                  v                               |
 *   NEW --> IDLE --> HEAD --> [BODY] --> QUEUED --> SERVED or DEAF --> [WRITING] --> [LINGERING]
 *                                                                                        --> GONE
 *
 * The state says what the connection does next, and so what it watches and which deadline it has:
 *   state      what is so                                watches   deadline
 *   IDLE       no request, no byte of one                read      IDLE (keep-alive)
 *   HEAD       a head, or a PROXY header, has begun      read      HEAD
 *   BODY       a body arrives                            read      BODY
 *   QUEUED     in t->ready or t->dirty: the batch, or    as before none
 *              the flush, of this round is next
 *   SERVED     a handler has the first request           read      none: the handler's own pace
 *   DEAF       likewise, and nothing more is read now    nothing   LOOK: has the client gone?
 *   WRITING    the socket does not take all              write     WRITE; nothing is read or run
 *   LINGERING  the last answer is out                    read      LINGER; input is thrown away
 *   GONE       no socket: a handler still runs           nothing   none
 * BODY and HEAD are also states of a connection whose first request is served while the next one
 * arrives. Requests are answered in their order: only the first may run. */
#include "worker/conn.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/conn_room.h"
#include "worker/exchange.h"

static const struct {
    int events, deadline; /* -1: as before; none */
} of_state[OAR_CONN_STATES] = {
    [OAR_CONN_IDLE] = {EV_READ, OAR_DL_IDLE},
    [OAR_CONN_HEAD] = {EV_READ, OAR_DL_HEAD},
    [OAR_CONN_BODY] = {EV_READ, OAR_DL_BODY},
    [OAR_CONN_QUEUED] = {-1, -1},
    [OAR_CONN_SERVED] = {EV_READ, -1},
    [OAR_CONN_DEAF] = {0, OAR_DL_LOOK},
    [OAR_CONN_WRITING] = {EV_WRITE, OAR_DL_WRITE},
    [OAR_CONN_LINGERING] = {EV_READ, OAR_DL_LINGER},
    [OAR_CONN_GONE] = {0, -1},
};

static bool queued(const struct oar_conn *c)
{
    return !oar_list_empty(&c->dirty) || !oar_list_empty(&c->ready);
}

/* What must be so in a state; asked in builds with a sanitizer, which the tests are. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static bool holds(const struct oar_conn *c, enum oar_conn_state state)
{
    bool ok =
        c->state != OAR_CONN_GONE && (c->state != OAR_CONN_LINGERING || state == OAR_CONN_GONE);
    switch (state) {
    case OAR_CONN_IDLE: ok = ok && !c->first && !c->reading && !c->head_partial; break;
    case OAR_CONN_HEAD: ok = ok && (c->head_partial || c->proxy_due); break;
    case OAR_CONN_BODY: ok = ok && c->reading && !c->paused; break;
    case OAR_CONN_QUEUED: ok = ok && queued(c); break;
    case OAR_CONN_SERVED:
    case OAR_CONN_DEAF: ok = ok && c->first && c->first->state != OAR_REQ_READY; break;
    case OAR_CONN_WRITING: ok = ok && oar_conn_unsent(c) > 0; break;
    case OAR_CONN_LINGERING: ok = ok && !queued(c) && oar_conn_unsent(c) == 0; break;
    default: break;
    }
    return ok;
}

#else
static bool holds(const struct oar_conn *c, enum oar_conn_state state)
{
    (void)state;
    return c->state != OAR_CONN_GONE;
}
#endif

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

/* A deadline that runs already is not set again. That of a head that has begun goes on while
 * requests before it are answered. */
static inline void set_deadline(struct oar_conn *c, enum oar_conn_state state)
{
    int kind = of_state[state].deadline;
    if (c->deadline.link.next) {
        if (kind == c->deadline_kind || (state == OAR_CONN_QUEUED && c->head_partial)) {
            return;
        }
        oar_timed_clear(&c->deadline);
    }
    if (kind >= 0) {
        c->deadline_kind = (uint8_t)kind;
        c->moved = kind == OAR_DL_WRITE ? c->sent : c->body_seen;
        oar_timed_set(c->t, &c->deadline, kind);
    }
}

/* The one place that changes c->state. Inlined: most calls name the state. */
static inline __attribute__((always_inline)) void set_state(struct oar_conn *c,
                                                            enum oar_conn_state state)
{
    assert(holds(c, state));
    if (of_state[state].events >= 0) {
        watch(c, of_state[state].events);
    }
    if (c->state != state) {
        c->state = (uint8_t)state;
        set_deadline(c, state);
    }
}

static void on_io(struct ev_loop *ev, ev_io *io, int events)
{
    struct oar_conn *c = OAR_CONTAINER_OF(io, struct oar_conn, io);
    (void)ev;
    if ((events & EV_WRITE) && oar_conn_unsent(c) > 0) {
        (void)oar_conn_flush(c);
    } else if (events & EV_READ) {
        (void)oar_conn_receive(c);
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
    oar_list_append(&t->conns, &c->all);
    t->n_conns++;
    OAR_SET(t->slot->connections, t->n_conns);
    ev_io_init(&c->io, on_io, fd, EV_READ);
    c->proxy_due = t->worker->config->proxy_protocol;
    set_state(c, c->proxy_due ? OAR_CONN_HEAD : OAR_CONN_IDLE);
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
        set_state(c, OAR_CONN_GONE);
        close(c->fd);
        c->fd = -1;
        c->t->n_conns--;
        OAR_SET(c->t->slot->connections, c->t->n_conns);
        oar_list_remove(&c->ready);
        oar_list_remove(&c->dirty);
        c->reading = NULL;
        if (c->first) {
            oar_timed_clear(&c->first->overdue);
        }
        if (is_out(c)) {
            oar_request_gone(c->first, OAR_GONE_LEFT);
        }
    }
    if (!is_out(c)) {
        conn_free(c);
    }
}

/* A client that has closed both halves sends the same FIN as one that still reads, and says which it
 * is only when it is asked: its kernel keeps what it closed for a minute (tcp_fin_timeout), and
 * answers with a reset then. What is sent asks; a response that has nothing to say for long is made
 * to. A unix socket takes none of this and needs none. */
static void ask_who_reads(const struct oar_conn *c)
{
    const int on = 1, idle = 5, again = 15; /* seconds */
    (void)setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPINTVL, &again, sizeof again);
}

void oar_conn_half_closed(struct oar_conn *c)
{
    if (!c->half_closed) {
        ask_who_reads(c);
    }
    c->half_closed = true;
    struct oar_exchange *x = is_out(c) ? oar_exchange_of(c->first) : NULL;
    if (x) {
        oar_exchange_half_closed(x);
    }
}

void oar_conn_look(struct oar_conn *c)
{
    struct pollfd end = {.fd = c->fd, .events = POLLRDHUP};
    bool any = poll(&end, 1, 0) > 0;
    if (any && (end.revents & (POLLHUP | POLLERR))) {
        oar_conn_close(c);
        return;
    }
    if (any && !c->half_closed) {
        oar_conn_half_closed(c);
    }
    oar_timed_set(c->t, &c->deadline, OAR_DL_LOOK);
}

/* RFC 9112 section 9.6: close the sending side, read on for a while, so that the client's unread
 * bytes do not reset the connection before it has seen the response. */
static void linger(struct oar_conn *c)
{
    c->in_at = c->in_len = c->in_pin = 0;
    shutdown(c->fd, SHUT_WR);
    set_state(c, OAR_CONN_LINGERING);
}

/* The last answer is sent. What the client has sent beyond it, and nobody has read, would make the
 * close a reset, and that could take the answer from the client. */
OAR_COLD static void close_or_linger(struct oar_conn *c)
{
    char waste[4096];
    bool more = c->refused || c->in_at < c->in_len || recv(c->fd, waste, sizeof waste, 0) > 0;
    if (more && !c->eof) {
        linger(c);
    } else {
        oar_conn_close(c);
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

/* What the connection waits for, when there is nothing to do at once. */
static enum oar_conn_state next_state(const struct oar_conn *c)
{
    enum oar_conn_state state = c->first ? OAR_CONN_SERVED : OAR_CONN_IDLE;
    if (OAR_LIKELY(!c->in)) {
        state = c->proxy_due ? OAR_CONN_HEAD : state;
    } else if (c->paused || !oar_conn_has_room(c)) {
        state = OAR_CONN_DEAF;
    } else if (c->reading) {
        state = OAR_CONN_BODY;
    } else if (c->head_partial || c->proxy_due) {
        state = OAR_CONN_HEAD;
    }
    return c->eof ? OAR_CONN_DEAF : state;
}

/* Leave to send the body, once it is this request's turn: RFC 9110 section 10.1.1. */
static inline bool owes_continue(const struct oar_conn *c)
{
    return c->reading && c->reading->expects_100 && c->first == c->reading &&
           !c->reading->streams_body;
}

void oar_conn_continue(struct oar_conn *c)
{
    if (c->fd < 0 || c->state == OAR_CONN_LINGERING) {
        return;
    }
    if (queued(c)) {
        return; /* the batch, or the flush, comes back here */
    }
    if (oar_conn_unsent(c) > 0) {
        set_state(c, OAR_CONN_WRITING);
        return;
    }
    oar_conn_parse(c);
    if (c->fd < 0) {
        return; /* what was sent cut a response that streams */
    }
    if (c->first && c->first->state == OAR_REQ_READY && !queued(c)) {
        oar_list_append(&c->t->ready, &c->ready);
    } else if (owes_continue(c)) {
        c->reading->expects_100 = false;
        oar_conn_raw(c, OAR_LIT("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    if (queued(c)) {
        set_state(c, OAR_CONN_QUEUED);
        return;
    }
    give_input_back(c);
    if ((!c->first || c->abandoned) && c->close_after) {
        close_or_linger(c);
    } else if (c->eof && (!c->first || c->first == c->reading)) {
        oar_conn_close(c); /* all is answered; nobody waits for the answer to half a request */
    } else if (!c->first && !c->head_partial && c->t->worker->draining) {
        oar_conn_close(c);
    } else {
        set_state(c, next_state(c));
    }
}

void oar_conn_drain(struct oar_conn *c)
{
    if (c->state == OAR_CONN_IDLE && !oar_conn_receive(c)) {
        oar_conn_close(c); /* a request that is already in the socket is served */
    }
}

void oar_conn_evict_idle(struct oar_thread *t)
{
    const int TRIES = 8;
    uint32_t before = t->n_conns;
    for (int i = 0; i < TRIES && t->n_conns == before; i++) {
        struct oar_link *oldest = t->deadlines[OAR_DL_IDLE].next;
        if (oldest == &t->deadlines[OAR_DL_IDLE]) {
            break;
        }
        struct oar_conn *c = OAR_CONTAINER_OF(oldest, struct oar_conn, deadline.link);
        if (!oar_conn_receive(
                c)) { /* else it is not idle: a request, or its end, was in the socket */
            oar_conn_count_refusal(t->slot, OAR_RULE_EVICTED);
            oar_conn_close(c);
            return;
        }
    }
}
