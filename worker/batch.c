/* SPDX-License-Identifier: MIT
 * The middle of a round: requests whose turn it is go through the application, then all output
 * leaves. Three phases: what was parsed and matched before needed no interpreter, nor do requests that
 * are handed to the application's own threads, which are called once for all of them; the interpreter
 * is entered once, for at most OAR_BATCH_REQUESTS requests or OAR_BATCH_USEC, and only if a request
 * needs it; then it is left, and the sockets are written. Process: worker, on the loop's thread.
 * Owns nothing. Never calls the kernel while it is inside, but to call a thread. */
#include "shared/clock.h"
#include "worker/conn.h"
#include "worker/dispatch.h"
#include "worker/exchange.h"
#include "worker/timing.h"

/* Threads are called for all that was handed over, once. */
static void handed(struct oar_thread *t)
{
    if (OAR_UNLIKELY(t->handed)) {
        t->handed = false;
        t->worker->app->handed(t->app_state);
    }
}

static void enter(struct oar_thread *t)
{
    handed(t);
    if (t->worker->app->enter) {
        OAR_SET(t->slot->phase, OAR_PHASE_GIL);
        t->worker->app->enter(t->app_state);
    }
    t->entered = true;
    OAR_SET(t->slot->phase, OAR_PHASE_HANDLER);
}

static void leave(struct oar_thread *t)
{
    if (t->entered && t->worker->app->leave) {
        t->app_is_busy = t->worker->app->leave(t->app_state);
    }
    t->entered = false;
    OAR_SET(t->slot->route, 0);
    OAR_SET(t->slot->phase, OAR_PHASE_WRITE);
}

/* Handlers that wait are bounded; those that answer at once do not count. */
static bool too_many(const struct oar_thread *t)
{
    return t->in_flight >= t->max_in_flight;
}

static enum oar_call call(struct oar_thread *t, struct oar_request *r)
{
    const struct oar_app *app = t->worker->app;
    enum oar_call result = OAR_CALL_INSIDE;
    r->state = OAR_REQ_RUNNING;
    if (OAR_UNLIKELY(r->conn->half_closed)) {
        oar_conn_half_closed(r->conn);
    }
    if (app->hand_over) {
        if (OAR_UNLIKELY(r->timing != NULL)) {
            oar_timing_called(t, r);
        }
        result = app->hand_over(t->app_state, r);
        t->handed = t->handed || result == OAR_CALL_PENDING;
    }
    if (result != OAR_CALL_INSIDE) {
        if (t->entered) { /* a handler of this batch may take long */
            handed(t);
        }
        return result;
    }
    if (!t->entered) {
        enter(t);
    }
    t->running = r->conn;
    OAR_SET(t->slot->route, (uint32_t)(r->route - oar_rt_routes(t->worker->routes)) + 1);
    OAR_ADD(t->slot->turns, 1);
    if (OAR_UNLIKELY(r->timing != NULL)) {
        oar_timing_called(t, r);
    }
    return app->call(t->app_state, r);
}

enum ran { RAN_ON, RAN_WAITS, RAN_LEFT };

/* Runs the first request. RAN_ON: it is answered, the next may follow. */
static enum ran run_first(struct oar_thread *t, struct oar_conn *c)
{
    struct oar_request *r = c->first;
    enum oar_call result = OAR_CALL_DONE;
    if (r->call_app && OAR_UNLIKELY(too_many(t))) {
        oar_dispatch_error(c, r, 503, oar_rules[OAR_RULE_IN_FLIGHT].text);
        oar_conn_count_refusal(t->slot, OAR_RULE_IN_FLIGHT);
        r->response.fields = OAR_LIT("retry-after: 1\r\n");
    }
    if (r->call_app) {
        result = call(t, r);
    }
    if (OAR_UNLIKELY(result == OAR_CALL_LEFT)) {
        return RAN_LEFT;
    }
    if (result == OAR_CALL_DONE) {
        oar_conn_respond(c, r);
    } else {
        r->counted = true;
        t->in_flight++;
        oar_timed_set(t, &r->overdue, OAR_DL_HANDLER);
    }
    return result == OAR_CALL_DONE && !oar_conn_has_much(c) ? RAN_ON : RAN_WAITS;
}

/* Exchanges with news for the application: it is entered for them. */
static void notify(struct oar_thread *t)
{
    for (struct oar_exchange *x; (x = oar_mailbox_notice(&t->mailbox));) {
        if (!t->entered) {
            enter(t);
        }
        t->worker->app->notify(t->app_state, x);
        oar_exchange_drop(x);
    }
}

void oar_batch_flush(struct oar_thread *t)
{
    for (struct oar_link *l; (l = oar_list_pop(&t->dirty));) {
        oar_conn_flush(OAR_CONTAINER_OF(l, struct oar_conn, dirty));
    }
    if (t->out.failed || t->out.cap > 1u << 20) { /* a big response must not stay for ever */
        oar_buf_free(&t->out);
    }
    t->out.len = 0;
}

void oar_batch_end_left(struct oar_thread *t)
{
    struct oar_conn *c = t->running;
    c->first->counted = true; /* it waits, as in the pool */
    t->in_flight++;
    oar_thread_look_at_clock(t);
    oar_timed_set(t, &c->first->overdue, OAR_DL_HANDLER);
    t->entered = false;
    t->app_is_busy = true;
    OAR_SET(t->slot->route, 0);
    if (oar_list_empty(&c->dirty)) {
        oar_conn_continue(c);
    }
    oar_batch_flush(t);
    OAR_SET(t->slot->phase, OAR_PHASE_WAIT);
}

bool oar_batch_run(struct oar_thread *t)
{
    uint64_t deadline = 0;
    int count = 0;
    bool spent = false;
    struct oar_link *l;
    notify(t);
    while (!spent && (l = oar_list_pop(&t->ready))) {
        struct oar_conn *c = OAR_CONTAINER_OF(l, struct oar_conn, ready);
        enum ran ran = RAN_ON;
        while (!spent && c->first && c->first->state == OAR_REQ_READY &&
               (ran = run_first(t, c)) == RAN_ON) {
            count++;
            if (count % 8 == 0) {
                uint64_t now = oar_now_ns();
                deadline = deadline ? deadline : now + OAR_BATCH_USEC * 1000u;
                spent = count >= OAR_BATCH_REQUESTS || now > deadline;
            }
        }
        if (OAR_UNLIKELY(ran == RAN_LEFT)) {
            return false;
        }
        bool more = c->first && c->first->state == OAR_REQ_READY;
        if (more && spent && !oar_conn_has_much(c)) {
            oar_list_append(&t->ready, &c->ready); /* first again in the next round */
        } else if (oar_list_empty(&c->dirty)) {
            oar_conn_continue(c); /* its request waits: watch for the client going away */
        }
    }
    handed(t);
    leave(t);
    oar_thread_look_at_clock(t); /* no client pays for the time that handlers took */
    oar_batch_flush(t);
    OAR_SET(t->slot->phase, OAR_PHASE_WAIT);
    return true;
}

void oar_batch_take_done(struct oar_thread *t)
{
    struct oar_request *r = atomic_exchange_explicit(&t->done, NULL, memory_order_acquire);
    while (r) {
        struct oar_request *next = r->done_next;
        oar_conn_respond(r->conn, r);
        r = next;
    }
    for (struct oar_exchange *x; (x = oar_mailbox_posted(&t->mailbox));) {
        oar_stream_serve(x);
        oar_exchange_drop(x);
    }
}
