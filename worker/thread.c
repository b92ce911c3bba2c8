/* SPDX-License-Identifier: MIT
 * An event-loop thread: its libev loop, and the round that the application's side drives through
 * struct oar_host: take what the pool answered, write, wait, run the batch.
 * Process: worker; every function but wake and respond_elsewhere on the thread itself. Owns the
 * loop, the pool of blocks and all connections. Never touches the interpreter but through struct
 * oar_app. */
#include "worker/thread.h"

#include <stdlib.h>

#include "shared/clock.h"
#include "worker/conn.h"
#include "worker/forked.h"
#include "worker/http_write.h"

/* A thread's part of what the worker may have. */
static uint32_t part(int64_t all, int threads)
{
    return (uint32_t)OAR_MAX(all / threads, 1);
}

void oar_thread_look_at_clock(struct oar_thread *t)
{
    uint64_t ns = oar_now_ns();
    OAR_SET(t->slot->phase_since, ns);
    t->now = (double)ns * 1e-9;
}

/* Events, once a round, behind the wait: the clock is read for all of them. */
static void run_pending(struct ev_loop *ev)
{
    oar_thread_look_at_clock(ev_userdata(ev));
    ev_invoke_pending(ev);
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
    ev_set_invoke_pending_cb(t->ev, run_pending);
    oar_list_init(&t->conns);
    oar_list_init(&t->ready);
    oar_list_init(&t->dirty);
    oar_mailbox_init(&t->mailbox, &t->poll);
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
    for (struct oar_exchange *x; (x = oar_mailbox_posted(&t->mailbox));) {
        oar_exchange_drop(x);
    }
    for (struct oar_exchange *x; (x = oar_mailbox_notice(&t->mailbox));) {
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
    t->drain_began = oar_now_ns();
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
                !oar_mailbox_is_empty(&t->mailbox);
    oar_poll_wait(&t->poll, busy ? 0 : timeout);
}

void oar_thread_take_done(struct oar_thread *t)
{
    if (OAR_UNLIKELY(atomic_load_explicit(&t->done, memory_order_relaxed) ||
                     atomic_load_explicit(&t->mailbox.posted, memory_order_relaxed))) {
        oar_batch_take_done(t);
    }
}

static double host_grace(struct oar_thread *t)
{
    uint64_t passed = t->drain_began ? oar_now_ns() - t->drain_began : 0;
    return OAR_MAX(t->worker->config->graceful_timeout - (double)passed * 1e-9, 0);
}

static bool is_drained(struct oar_thread *t)
{
    bool begun = t->worker->draining && !t->accepting;
    return begun && ((t->n_conns == 0 && oar_list_empty(&t->conns) &&
                      OAR_GET_NOW(t->slot->background) == 0) ||
                     host_grace(t) <= 0);
}

static bool host_stopping(struct oar_thread *t)
{
    t->told = is_drained(t);
    return t->told;
}

/* How long a round may wait: no longer than until the application can be told to stop. */
static double within_drain(struct oar_thread *t, double timeout)
{
    if (OAR_LIKELY(!t->worker->draining) || t->told) {
        return timeout;
    }
    double grace = is_drained(t) ? 0 : host_grace(t);
    return timeout < 0 ? grace : OAR_MIN(timeout, grace);
}

enum round { ROUND_QUIET, ROUND_RAN, ROUND_LEFT };

/* One round. RAN: handlers may have run. They run at most once a round, after the wait. */
static enum round run_round(struct oar_thread *t, double timeout)
{
    drain_if_told(t);
    oar_thread_take_done(t);
    oar_batch_flush(t); /* responses of handlers that had waited leave before the thread waits */
    wait_for_events(t, within_drain(t, timeout));
    refresh_date(t);
    drain_if_told(t);
    oar_thread_take_done(t);
    if (oar_list_empty(&t->ready) && oar_list_empty(&t->dirty) &&
        oar_list_empty(&t->mailbox.notices)) {
        return ROUND_QUIET;
    }
    return oar_batch_run(t) ? ROUND_RAN : ROUND_LEFT;
}

/* Rounds whose handlers leave nothing to the application's loop follow each other without it: the
 * interpreter is taken once for each, for the batch. `timeout` was computed before they ran, so any
 * other round is the last; and all are after a while, for whatever else that loop looks at. */
static int host_poll(struct oar_thread *t, double timeout, struct oar_fired *fired, int room)
{
    const double AT_LEAST_EVERY = 0.02; /* seconds */
    double began = t->now;
    double left = timeout;
    bool again = true;
    t->poll.woken = false;
    OAR_SET(t->slot->phase, OAR_PHASE_WAIT);
    while (again) {
        t->app_is_busy = false;
        t->poll.nudged = false;
        enum round round = run_round(t, left);
        if (OAR_UNLIKELY(round == ROUND_LEFT)) {
            return OAR_POLL_LEFT;
        }
        again = (round == ROUND_RAN || t->poll.nudged) && timeout != 0 && !t->app_is_busy &&
                !t->poll.woken && oar_list_empty(&t->poll.fired) && !t->worker->draining;
        double elapsed = t->now - began;
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

static bool host_respond_elsewhere(struct oar_thread *t, struct oar_request *r)
{
    struct oar_request *top = atomic_load_explicit(&t->done, memory_order_relaxed);
    if (OAR_UNLIKELY(t->worker->draining == OAR_FORKED)) {
        oar_forked_end();
    }
    do {
        r->done_next = top;
    } while (!atomic_compare_exchange_weak_explicit(&t->done, &top, r, memory_order_release,
                                                    memory_order_relaxed));
    return !top;
}

static void host_nudge(struct oar_thread *t)
{
    oar_poll_nudge(&t->poll);
}

static void host_hold(struct oar_thread *t, int change)
{
    OAR_ADD_SHARED(t->slot->background, (uint32_t)change);
    if (change < 0) {
        oar_thread_wake(t); /* the drain may be over */
    }
}

/* It drains at once, and the master sees to it that this comes to an end. */
static void host_retire(struct oar_thread *t)
{
    t->worker->ask_to_leave();
    t->worker->draining = 1;
    for (int i = 0; i < t->worker->n_threads; i++) {
        oar_thread_wake(&t->worker->threads[i]);
    }
}

void oar_thread_driven_here(struct oar_thread *t)
{
    oar_poll_driven_here(&t->poll);
    t->entered = false;
}

void oar_thread_taken(struct oar_thread *t, void *app_state)
{
    t->app_state = app_state;
    OAR_SET(t->driver.taken_ns, oar_now_ns());
    oar_thread_driven_here(t);
    oar_batch_end_left(t);
}

static struct oar_driver *host_driver(struct oar_thread *t)
{
    return &t->driver;
}

static struct oar_exchange *host_exchange(struct oar_request *r)
{
    struct oar_exchange *x = oar_exchange_of(r);
    return x ? oar_exchange_share(x) : NULL;
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
    .nudge = host_nudge,
    .exchange = host_exchange,
    .share = oar_exchange_share,
    .drop = oar_exchange_drop,
    .take_body = oar_exchange_take_body,
    .write = oar_exchange_write,
    .park = oar_exchange_park,
    .end = oar_exchange_end,
    .is_gone = oar_exchange_is_gone,
    .has_left = oar_exchange_has_left,
    .arm = oar_exchange_arm,
    .disarm = oar_exchange_disarm,
    .stopping = host_stopping,
    .grace = host_grace,
    .retire = host_retire,
    .hold = host_hold,
    .slot = host_slot,
    .driver = host_driver,
    .wait_for_home = oar_relay_wait_for_home,
    .home_waits = oar_relay_home_waits,
    .give_home = oar_relay_give_home,
    .origin = host_origin,
    .log = oar_log,
    .log_text = oar_log_text,
};
