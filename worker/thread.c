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
#include "worker/forked.h"
#include "worker/http_write.h"

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
    oar_poll_init(&t->poll);
    t->ev = t->poll.ev;
    if (!t->ev) {
        return; /* the worker refuses to start */
    }
    ev_set_userdata(t->ev, t);
    oar_list_init(&t->conns);
    oar_list_init(&t->ready);
    oar_list_init(&t->dirty);
    oar_list_init(&t->notices);
    oar_timeout_init(t);
    t->max_connections = part(w->config->max_connections, w->n_threads);
    t->max_in_flight = part(w->config->max_in_flight, w->n_threads);
    t->max_buffered = (size_t)(w->config->max_buffered / w->n_threads);
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
    oar_poll_free(&t->poll);
}

void oar_thread_wake(struct oar_thread *t)
{
    oar_poll_wake(&t->poll);
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
    if (OAR_LIKELY(!t->worker->draining)) {
        return;
    }
    if (t->worker->draining == OAR_FORKED) {
        oar_forked_end();
    }
    if (!t->accepting) {
        return;
    }
    oar_accept_stop(t);
    OAR_SET(t->slot->state, OAR_SLOT_DRAINING);
    for (struct oar_link *l = t->conns.next, *next; l != &t->conns; l = next) {
        next = l->next;
        oar_conn_drain(OAR_CONTAINER_OF(l, struct oar_conn, all));
    }
}

static void wait_for_events(struct oar_thread *t, double timeout)
{
    bool busy = !oar_list_empty(&t->ready) || !oar_list_empty(&t->poll.fired) ||
                !oar_list_empty(&t->notices) ||
                atomic_load_explicit(&t->posted, memory_order_relaxed);
    oar_poll_wait(&t->poll, busy ? 0 : timeout);
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

static bool host_stopping(struct oar_thread *t)
{
    return t->worker->draining && !t->accepting && t->n_conns == 0 && oar_list_empty(&t->conns) &&
           OAR_GET_NOW(t->slot->background) == 0;
}

/* One round: true, if handlers may have run. They run at most once a round, after the wait. */
static bool run_round(struct oar_thread *t, double timeout)
{
    drain_if_told(t);
    take_done(t);
    oar_batch_flush(t); /* responses of handlers that had waited leave before the thread waits */
    wait_for_events(t, host_stopping(t) ? 0 : timeout);
    refresh_date(t);
    drain_if_told(t);
    take_done(t);
    if (oar_list_empty(&t->ready) && oar_list_empty(&t->dirty) && oar_list_empty(&t->notices)) {
        return false;
    }
    oar_batch_run(t);
    return true;
}

/* Rounds whose handlers leave nothing to the application's loop follow each other without it: the
 * interpreter is taken once for each, for the batch. `timeout` was computed before they ran, so any
 * other round is the last; and all are after a while, for whatever else that loop looks at. */
static int host_poll(struct oar_thread *t, double timeout, struct oar_fired *fired, int room)
{
    const double AT_LEAST_EVERY = 0.02; /* seconds */
    double began = ev_now(t->ev);
    double left = timeout;
    bool again = true;
    t->poll.woken = false;
    OAR_SET(t->slot->phase, OAR_PHASE_WAIT);
    while (again) {
        t->app_is_busy = false;
        again = run_round(t, left) && timeout != 0 && !t->app_is_busy && !t->poll.woken &&
                oar_list_empty(&t->poll.fired) && !t->worker->draining;
        double elapsed = ev_now(t->ev) - began;
        left = timeout < 0 ? timeout : timeout - elapsed;
        again = again && elapsed < AT_LEAST_EVERY && (timeout < 0 || left > 0);
    }
    OAR_ADD(t->slot->turns, 1);
    OAR_SET(t->slot->phase, OAR_PHASE_TASKS);
    return oar_poll_collect(&t->poll, fired, room);
}

static struct oar_watch *host_watch(struct oar_thread *t, int fd, int events, void *data)
{
    return oar_poll_watch(&t->poll, fd, events, data);
}

static void host_rewatch(struct oar_thread *t, struct oar_watch *w, int events, void *data)
{
    oar_poll_rewatch(&t->poll, w, events, data);
}

static void host_unwatch(struct oar_thread *t, struct oar_watch *w)
{
    oar_poll_unwatch(&t->poll, w);
}

static void host_respond(struct oar_request *r)
{
    oar_conn_respond(r->conn, r);
}

static void host_respond_elsewhere(struct oar_thread *t, struct oar_request *r)
{
    struct oar_request *top = atomic_load_explicit(&t->done, memory_order_relaxed);
    if (OAR_UNLIKELY(t->worker->draining == OAR_FORKED)) {
        oar_forked_end();
    }
    do {
        r->done_next = top;
    } while (!atomic_compare_exchange_weak_explicit(&t->done, &top, r, memory_order_release,
                                                    memory_order_relaxed));
    if (!top) {
        oar_thread_wake(t);
    }
}

static void host_hold(struct oar_thread *t, int change)
{
    OAR_ADD_SHARED(t->slot->background, (uint32_t)change);
    if (change < 0) {
        oar_thread_wake(t); /* the drain may be over */
    }
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
    .hold = host_hold,
    .slot = host_slot,
    .origin = host_origin,
    .log = oar_log,
    .log_text = oar_log_text,
};
