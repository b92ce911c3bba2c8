/* SPDX-License-Identifier: MIT
 * The middle of a round: requests whose turn it is go through the application, then all output
 * leaves. Three phases: what was parsed and matched before needed no interpreter; the interpreter
 * is entered once, for at most OAR_BATCH_REQUESTS requests or OAR_BATCH_USEC, and only if a request
 * needs it; then it is left, and the sockets are written. Process: worker, on the loop's thread.
 * Owns nothing. Never calls the kernel while it is inside. */
#include "shared/clock.h"
#include "worker/conn.h"
#include "worker/dispatch.h"
#include "worker/exchange.h"
#include "worker/timing.h"

static void enter(struct oar_thread *t)
{
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

/* Runs the first request. true: it is answered, the next may follow. */
static bool run_first(struct oar_thread *t, struct oar_conn *c)
{
    struct oar_request *r = c->first;
    enum oar_call result = OAR_CALL_DONE;
    if (r->call_app && OAR_UNLIKELY(too_many(t))) {
        oar_dispatch_error(c, r, 503, oar_rules[OAR_RULE_IN_FLIGHT].text);
        oar_conn_count_refusal(t->slot, OAR_RULE_IN_FLIGHT);
        r->response.fields = OAR_LIT("retry-after: 1\r\n");
    }
    if (r->call_app) {
        if (!t->entered) {
            enter(t);
        }
        OAR_SET(t->slot->route, (uint32_t)(r->route - oar_rt_routes(t->worker->routes)) + 1);
        OAR_ADD(t->slot->turns, 1);
        r->state = OAR_REQ_RUNNING;
        if (OAR_UNLIKELY(r->timing != NULL)) {
            oar_timing_called(t, r);
        }
        result = t->worker->app->call(t->app_state, r);
    }
    if (result == OAR_CALL_DONE) {
        oar_conn_respond(c, r);
    } else {
        r->counted = true;
        t->in_flight++;
    }
    return result == OAR_CALL_DONE && !oar_conn_has_much(c);
}

/* Exchanges with news for the application: it is entered for them. */
static void notify(struct oar_thread *t)
{
    for (struct oar_exchange *x; (x = oar_exchange_notice(t));) {
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

void oar_batch_run(struct oar_thread *t)
{
    uint64_t deadline = 0;
    int count = 0;
    bool spent = false;
    struct oar_link *l;
    notify(t);
    while (!spent && (l = oar_list_pop(&t->ready))) {
        struct oar_conn *c = OAR_CONTAINER_OF(l, struct oar_conn, ready);
        while (!spent && c->first && c->first->state == OAR_REQ_READY && run_first(t, c)) {
            count++;
            if (count % 8 == 0) {
                uint64_t now = oar_now_ns();
                deadline = deadline ? deadline : now + OAR_BATCH_USEC * 1000u;
                spent = count >= OAR_BATCH_REQUESTS || now > deadline;
            }
        }
        bool more = c->first && c->first->state == OAR_REQ_READY;
        if (more && spent && !oar_conn_has_much(c)) {
            oar_list_append(&t->ready, &c->ready); /* first again in the next round */
        } else if (oar_list_empty(&c->dirty)) {
            oar_conn_continue(c); /* its request waits: watch for the client going away */
        }
    }
    leave(t);
    oar_batch_flush(t);
    OAR_SET(t->slot->phase, OAR_PHASE_WAIT);
}

void oar_batch_take_done(struct oar_thread *t)
{
    struct oar_request *r = atomic_exchange_explicit(&t->done, NULL, memory_order_acquire);
    while (r) {
        struct oar_request *next = r->done_next;
        oar_conn_respond(r->conn, r);
        r = next;
    }
}
