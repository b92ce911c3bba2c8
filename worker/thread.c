/* SPDX-License-Identifier: MIT
 * An event-loop thread: its libev loop, and the round that the application's side drives through
 * struct oar_host: take what the pool answered, write, wait, run the batch.
 * Process: worker; every function but wake and respond_elsewhere on the thread itself. Owns the
 * loop, the pool of blocks and all connections. Never touches the interpreter but through struct
 * oar_app. */
#include "worker/thread.h"

#include <stdlib.h>

#include "worker/conn.h"
#include "worker/exchange.h"
#include "worker/http_write.h"

struct oar_watch {
    ev_io io;
    struct oar_link fired; /* in t->fired while ready */
    int events;            /* ready now: OAR_READABLE | OAR_WRITABLE */
    void *data;
};

static void on_poll_timeout(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)timer, (void)events; /* its work is done: ev_run returns */
}

static void on_wake(struct ev_loop *ev, ev_async *wake, int events)
{
    (void)ev, (void)wake, (void)events;
}

/* A thread's part of what the worker may have. */
static uint32_t part(int64_t all, int threads)
{
    return (uint32_t)OAR_MAX(all / threads, 1);
}

void oar_thread_init(struct oar_thread *t, struct oar_worker *w, int index)
{
    t->worker = w;
    t->index = index;
    t->slot = oar_shm_slot(w->shm, w->index * (uint32_t)w->n_threads + (uint32_t)index);
    t->ev = ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL);
    if (!t->ev) {
        return; /* the worker refuses to start */
    }
    ev_set_userdata(t->ev, t);
    oar_list_init(&t->conns);
    oar_list_init(&t->ready);
    oar_list_init(&t->dirty);
    oar_list_init(&t->fired);
    oar_list_init(&t->notices);
    oar_timeout_init(t);
    t->max_connections = part(w->config->max_connections, w->n_threads);
    t->max_in_flight = part(w->config->max_in_flight, w->n_threads);
    t->max_buffered = (size_t)(w->config->max_buffered / w->n_threads);
    ev_init(&t->poll_timer, on_poll_timeout);
    ev_async_init(&t->wake, on_wake);
    ev_async_start(t->ev, &t->wake);
}

void oar_thread_free(struct oar_thread *t)
{
    while (t->ev && !oar_list_empty(&t->conns)) {
        struct oar_conn *c = OAR_CONTAINER_OF(t->conns.next, struct oar_conn, all);
        if (c->first) {
            c->first->state = OAR_REQ_DONE; /* the interpreter is gone: nobody will answer */
        }
        oar_conn_close(c);
    }
    oar_exchange_take_posted(t);
    for (struct oar_exchange *x; (x = oar_exchange_notice(t));) {
        oar_exchange_drop(x);
    }
    oar_buf_free(&t->out);
    oar_pool_drain(&t->pool);
    if (t->ev) {
        ev_loop_destroy(t->ev);
    }
}

void oar_thread_wake(struct oar_thread *t)
{
    ev_async_send(t->ev, &t->wake);
}

static void refresh_date(struct oar_thread *t)
{
    int64_t now = (int64_t)ev_now(t->ev);
    if (OAR_UNLIKELY(now != t->date_second)) {
        t->date_second = now;
        t->date_len = oar_http_date(t->date, sizeof t->date, now);
    }
}

static void drain_if_told(struct oar_thread *t)
{
    if (OAR_LIKELY(!t->worker->draining) || !t->accepting) {
        return;
    }
    oar_accept_stop(t);
    OAR_SET(t->slot->state, OAR_SLOT_DRAINING);
    for (struct oar_link *l = t->conns.next, *next; l != &t->conns; l = next) {
        next = l->next;
        oar_conn_drain(OAR_CONTAINER_OF(l, struct oar_conn, all));
    }
}

static int collect_fired(struct oar_thread *t, struct oar_fired *fired, int room)
{
    int n = 0;
    while (n < room && !oar_list_empty(&t->fired)) {
        struct oar_watch *w = OAR_CONTAINER_OF(oar_list_pop(&t->fired), struct oar_watch, fired);
        fired[n++] = (struct oar_fired){w->io.fd, w->events, w->data};
        w->events = 0;
    }
    return n;
}

static void wait_for_events(struct oar_thread *t, double timeout)
{
    bool busy = !oar_list_empty(&t->ready) || !oar_list_empty(&t->fired) ||
                !oar_list_empty(&t->notices) ||
                atomic_load_explicit(&t->posted, memory_order_relaxed);
    if (timeout > 0 && !busy) {
        ev_now_update(t->ev);
        ev_timer_set(&t->poll_timer, timeout, 0.);
        ev_timer_start(t->ev, &t->poll_timer);
    }
    ev_run(t->ev, timeout == 0 || busy ? EVRUN_NOWAIT : EVRUN_ONCE);
    ev_timer_stop(t->ev, &t->poll_timer);
}

static void take_done(struct oar_thread *t)
{
    if (OAR_UNLIKELY(atomic_load_explicit(&t->done, memory_order_relaxed) != NULL)) {
        oar_batch_take_done(t);
    }
    if (OAR_UNLIKELY(atomic_load_explicit(&t->posted, memory_order_relaxed) != NULL)) {
        oar_exchange_take_posted(t);
    }
}

/* Handlers run at most once a round, after the wait: `timeout` was computed before they could ask
 * the application's loop for anything. */
static int host_poll(struct oar_thread *t, double timeout, struct oar_fired *fired, int room)
{
    drain_if_told(t);
    take_done(t);
    oar_batch_flush(t); /* responses of handlers that had waited leave before the thread waits */
    bool finished = t->worker->draining && t->n_conns == 0;
    wait_for_events(t, finished ? 0 : timeout);
    refresh_date(t);
    drain_if_told(t);
    take_done(t);
    if (!oar_list_empty(&t->ready) || !oar_list_empty(&t->dirty) || !oar_list_empty(&t->notices)) {
        oar_batch_run(t);
    }
    return collect_fired(t, fired, room);
}

static void on_watch(struct ev_loop *ev, ev_io *io, int events)
{
    struct oar_thread *t = ev_userdata(ev);
    struct oar_watch *w = OAR_CONTAINER_OF(io, struct oar_watch, io);
    w->events |= (events & EV_READ ? OAR_READABLE : 0) | (events & EV_WRITE ? OAR_WRITABLE : 0);
    if (oar_list_empty(&w->fired)) {
        oar_list_append(&t->fired, &w->fired);
    }
}

static int to_ev(int events)
{
    return (events & OAR_READABLE ? EV_READ : 0) | (events & OAR_WRITABLE ? EV_WRITE : 0);
}

static struct oar_watch *host_watch(struct oar_thread *t, int fd, int events, void *data)
{
    struct oar_watch *w = calloc(1, sizeof *w);
    if (w) {
        w->data = data;
        oar_list_init(&w->fired);
        ev_io_init(&w->io, on_watch, fd, to_ev(events));
        ev_io_start(t->ev, &w->io);
    }
    return w;
}

static void host_rewatch(struct oar_thread *t, struct oar_watch *w, int events, void *data)
{
    w->data = data;
    ev_io_stop(t->ev, &w->io);
    ev_io_set(&w->io, w->io.fd, to_ev(events));
    ev_io_start(t->ev, &w->io);
}

static void host_unwatch(struct oar_thread *t, struct oar_watch *w)
{
    ev_io_stop(t->ev, &w->io);
    oar_list_remove(&w->fired);
    free(w);
}

static void host_respond(struct oar_request *r)
{
    oar_conn_respond(r->conn, r);
}

static void host_respond_elsewhere(struct oar_thread *t, struct oar_request *r)
{
    struct oar_request *top = atomic_load_explicit(&t->done, memory_order_relaxed);
    do {
        r->done_next = top;
    } while (!atomic_compare_exchange_weak_explicit(&t->done, &top, r, memory_order_release,
                                                    memory_order_relaxed));
    if (!top) {
        oar_thread_wake(t);
    }
}

static bool host_stopping(struct oar_thread *t)
{
    return t->worker->draining && !t->accepting && t->n_conns == 0 && oar_list_empty(&t->conns);
}

static struct oar_slot *host_slot(struct oar_thread *t)
{
    return t->slot;
}

static void host_origin(const struct oar_request *r, struct oar_origin *out)
{
    const struct oar_worker *w = r->conn->t->worker;
    oar_forwarded(w->forwarded, &w->trusted, &r->conn->peer, r, out);
}

const struct oar_host oar_host = {
    .poll = host_poll,
    .watch = host_watch,
    .rewatch = host_rewatch,
    .unwatch = host_unwatch,
    .wake = oar_thread_wake,
    .respond = host_respond,
    .respond_elsewhere = host_respond_elsewhere,
    .exchange = oar_exchange_open,
    .share = oar_exchange_share,
    .drop = oar_exchange_drop,
    .take_body = oar_exchange_take_body,
    .write = oar_exchange_write,
    .end = oar_exchange_end,
    .is_gone = oar_exchange_is_gone,
    .arm = oar_exchange_arm,
    .disarm = oar_exchange_disarm,
    .stopping = host_stopping,
    .slot = host_slot,
    .origin = host_origin,
    .log = oar_log,
    .log_text = oar_log_text,
};
