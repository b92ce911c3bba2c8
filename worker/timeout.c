/* SPDX-License-Identifier: MIT
 * Deadlines: one libev timer for a thread, set to the earliest end of its lists. The cost of a
 * deadline does not depend on the number of connections: each list has one duration, so it is in
 * order of expiry by itself. Process: worker, on the loop's thread. Owns the lists' heads.
 *
 * The deadlines of a connection are about its client: IDLE, HEAD, BODY, WRITE. A client is late only
 * if, after the time has passed, its socket has nothing to read (or takes no byte): the server may
 * have stood still meanwhile. No deadline runs for bytes that the server itself does not read. The
 * handler's deadline belongs to the request that runs, whatever the client does meanwhile. */
#include "worker/conn.h"

/* A thousand connections that were opened together expire together; served requests go between. So
 * many of each kind: clients that are looked after again and again keep no other deadline waiting. */
#define EXPIRIES_A_TURN 8

void oar_timed_set(struct oar_thread *t, struct oar_timed *d, enum oar_deadline kind)
{
    double duration = t->durations[kind];
    oar_timed_clear(d);
    if (duration <= 0) {
        return; /* no limit */
    }
    bool first = oar_list_empty(&t->deadlines[kind]);
    d->expires = t->now + duration;
    oar_list_append(&t->deadlines[kind], &d->link);
    if (first && (!ev_is_active(&t->deadline_timer) ||
                  ev_timer_remaining(t->ev, &t->deadline_timer) > duration)) {
        ev_timer_stop(t->ev, &t->deadline_timer);
        ev_timer_set(&t->deadline_timer, duration, 0.);
        ev_timer_start(t->ev, &t->deadline_timer);
    }
}

/* A body has its deadline again for as long as it keeps up --min-rate. */
static bool keeps_up(struct oar_conn *c, enum oar_deadline kind)
{
    double least = (double)c->t->worker->config->min_rate * c->t->durations[kind];
    uint64_t now = kind == OAR_DL_BODY ? c->body_seen : c->sent;
    bool enough = least > 0 && (double)(now - c->moved) >= least;
    if (enough) {
        c->moved = now;
        oar_timed_set(c->t, &c->deadline, kind);
    }
    return enough;
}

static void refuse_late(struct oar_conn *c, enum oar_rule rule)
{
    OAR_ADD(c->t->slot->timeouts, 1);
    oar_conn_refuse(c, rule);
    oar_conn_continue(c);
}

static void close_late(struct oar_conn *c)
{
    OAR_ADD(c->t->slot->timeouts, 1);
    oar_conn_close(c);
}

/* The connection's deadline has passed. What the client has done meanwhile, or would have done if
 * the server had let it, comes first: then the deadline is looked at again. */
static void conn_expired(struct oar_conn *c, enum oar_deadline kind)
{
    switch (kind) {
    case OAR_DL_IDLE:
        if (!oar_conn_receive(c)) {
            close_late(c);
        }
        break;
    case OAR_DL_HEAD:
        if (oar_conn_receive(c)) {
            break;
        }
        if (c->proxy_due) { /* a proxy that says nothing would not understand HTTP */
            close_late(c);
        } else {
            refuse_late(c, OAR_RULE_HEAD_DEADLINE);
        }
        break;
    case OAR_DL_BODY:
        if (!keeps_up(c, kind) && !oar_conn_receive(c)) {
            refuse_late(c, OAR_RULE_BODY_DEADLINE);
        }
        break;
    case OAR_DL_WRITE:
        if (!keeps_up(c, kind) && !oar_conn_flush(c)) {
            c->reset = true;
            close_late(c);
        }
        break;
    case OAR_DL_LOOK: oar_conn_look(c); break;
    default: close_late(c); break; /* LINGER */
    }
}

static void request_expired(struct oar_request *r)
{
    struct oar_conn *c = r->conn;
    oar_timed_clear(&r->overdue);
    OAR_ADD(c->t->slot->timeouts, 1);
    oar_conn_count_refusal(c->t->slot, OAR_RULE_HANDLER_DEADLINE);
    oar_conn_abandon(c, OAR_RULE_HANDLER_DEADLINE);
    oar_conn_continue(c);
}

/* The first of the list, if its time has passed. */
static struct oar_timed *passed(const struct oar_thread *t, enum oar_deadline kind)
{
    struct oar_link *first = t->deadlines[kind].next;
    struct oar_timed *d = OAR_CONTAINER_OF(first, struct oar_timed, link);
    return first != &t->deadlines[kind] && d->expires <= t->now ? d : NULL;
}

static void set_timer(struct oar_thread *t)
{
    double next = 0;
    for (int kind = 0; kind < OAR_DEADLINES; kind++) {
        struct oar_link *first = t->deadlines[kind].next;
        if (first != &t->deadlines[kind]) {
            double expires = OAR_CONTAINER_OF(first, struct oar_timed, link)->expires;
            next = next == 0 || expires < next ? expires : next;
        }
    }
    ev_timer_stop(t->ev, &t->deadline_timer);
    if (next > 0) {
        ev_timer_set(&t->deadline_timer, OAR_MAX(next - t->now, 0.001), 0.);
        ev_timer_start(t->ev, &t->deadline_timer);
    }
}

static void on_deadline(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct oar_thread *t = ev_userdata(ev);
    struct oar_timed *d;
    (void)timer, (void)events;
    for (int kind = 0; kind < OAR_DL_HANDLER; kind++) {
        for (int left = EXPIRIES_A_TURN; left > 0 && (d = passed(t, kind)); left--) {
            conn_expired(OAR_CONTAINER_OF(d, struct oar_conn, deadline), kind);
        }
    }
    if (passed(t, OAR_DL_HANDLER)) {
        oar_thread_take_done(t); /* one that has answered in time is not late */
    }
    for (int left = EXPIRIES_A_TURN; left > 0 && (d = passed(t, OAR_DL_HANDLER)); left--) {
        request_expired(OAR_CONTAINER_OF(d, struct oar_request, overdue));
    }
    set_timer(t);
}

void oar_timeout_init(struct oar_thread *t)
{
    const struct oar_config *cfg = t->worker->config;
    /* Without keep-alive a connection idles only before its one request: its head is due. */
    t->durations[OAR_DL_IDLE] = cfg->keep_alive > 0 ? cfg->keep_alive : cfg->head_timeout;
    t->keeps_alive = cfg->keep_alive > 0;
    t->durations[OAR_DL_HEAD] = cfg->head_timeout;
    t->durations[OAR_DL_BODY] = cfg->body_timeout;
    t->durations[OAR_DL_WRITE] = cfg->write_timeout;
    t->durations[OAR_DL_LINGER] = 2;
    t->durations[OAR_DL_LOOK] = 0.5;
    t->durations[OAR_DL_HANDLER] = cfg->handler_timeout;
    for (int kind = 0; kind < OAR_DEADLINES; kind++) {
        oar_list_init(&t->deadlines[kind]);
    }
    oar_thread_look_at_clock(t);
    ev_timer_init(&t->deadline_timer, on_deadline, 0., 0.);
}
