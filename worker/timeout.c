/* SPDX-License-Identifier: MIT
 * Deadlines of connections: one libev timer for a thread, set to the earliest end of the six
 * lists. Process: worker, on the loop's thread. Owns the lists' heads. The cost of a deadline does
 * not depend on the number of connections: each list has one duration, so it is in order of expiry
 * by itself. */
#include "worker/conn.h"

/* A thousand connections that were opened together expire together; served requests go between. */
#define EXPIRIES_A_TURN 8

static void on_deadline(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct oar_thread *t = ev_userdata(ev);
    double now = ev_now(ev);
    double next = 0;
    int left = EXPIRIES_A_TURN;
    (void)events;
    for (int kind = 0; kind < OAR_DEADLINES; kind++) {
        struct oar_link *list = &t->deadlines[kind];
        while (!oar_list_empty(list)) {
            struct oar_conn *c = OAR_CONTAINER_OF(list->next, struct oar_conn, deadline);
            if (c->expires > now || left == 0) {
                next = next == 0 || c->expires < next ? c->expires : next;
                break;
            }
            left--;
            oar_list_remove(&c->deadline);
            oar_conn_expired(c);
        }
    }
    ev_timer_stop(ev, timer);
    if (next > 0) {
        ev_timer_set(timer, left == 0 ? 0. : OAR_MAX(next - now, 0.001), 0.);
        ev_timer_start(ev, timer);
    }
}

void oar_timeout_init(struct oar_thread *t)
{
    const struct oar_config *cfg = t->worker->config;
    t->durations[OAR_DL_IDLE] = cfg->keep_alive;
    t->durations[OAR_DL_HEAD] = cfg->head_timeout;
    t->durations[OAR_DL_BODY] = cfg->body_timeout;
    t->durations[OAR_DL_HANDLER] = cfg->handler_timeout;
    t->durations[OAR_DL_WRITE] = cfg->write_timeout;
    t->durations[OAR_DL_LINGER] = 2;
    for (int kind = 0; kind < OAR_DEADLINES; kind++) {
        oar_list_init(&t->deadlines[kind]);
    }
    ev_timer_init(&t->deadline_timer, on_deadline, 0., 0.);
}
