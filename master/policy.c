/* SPDX-License-Identifier: MIT
 * The master's decisions. The machine is drawn in policy.h; FROM -> TO [function]:
 *   LOADING -> STARTING [on_loaded]        LOADING -> ENDED [stop: nothing to wait for]
 *   STARTING -> SERVING [on_ready]         STARTING -> STOPPING [on_died, on_tick, stop]
 *   SERVING -> STOPPING [stop]             STOPPING -> ENDED [finish_if_empty]
 * Process: master; also linked into its test. Owns nothing. Never reads a clock, calls the system,
 * logs. */
#include "master/policy.h"

struct out {
    struct oar_action *at;
    int n;
};

static void act(struct out *o, enum oar_action_kind kind, int index)
{
    o->at[o->n++] = (struct oar_action){kind, index};
}

static void enter(struct oar_policy *p, int index, enum oar_child_state state, double now)
{
    p->child[index].state = state;
    p->child[index].since = now;
}

static bool alive(const struct oar_policy *p, int index)
{
    return p->child[index].state == OAR_CHILD_STARTING || p->child[index].state == OAR_CHILD_READY;
}

void oar_policy_init(struct oar_policy *p, int n_workers, double graceful, double start_limit)
{
    *p = (struct oar_policy){.phase = OAR_LOADING,
                             .n_workers = n_workers,
                             .graceful = graceful,
                             .start_limit = start_limit};
}

static void finish_if_empty(struct oar_policy *p, struct out *o)
{
    for (int i = 0; i < p->n_workers; i++) {
        if (alive(p, i)) {
            return;
        }
    }
    p->phase = OAR_ENDED;
    act(o, OAR_DO_END, 0);
}

static void cut(struct oar_policy *p, struct out *o)
{
    for (int i = 0; i < p->n_workers; i++) {
        if (alive(p, i)) {
            act(o, OAR_DO_KILL, i);
        }
    }
}

static void stop(struct oar_policy *p, double now, struct out *o)
{
    if (p->phase == OAR_STOPPING || p->phase == OAR_ENDED) { /* told twice: cut */
        if (now - p->stop_began >= OAR_TOLD_ONCE) {
            cut(p, o);
        }
        return;
    }
    if (p->phase == OAR_LOADING) {
        act(o, OAR_DO_CANCEL, 0);
    }
    p->phase = OAR_STOPPING;
    p->stop_began = now;
    p->stop_at = now + p->graceful;
    for (int i = 0; i < p->n_workers; i++) {
        if (p->child[i].state == OAR_CHILD_READY) {
            act(o, OAR_DO_STOP, i);
        } else if (p->child[i].state == OAR_CHILD_STARTING) {
            act(o, OAR_DO_KILL, i); /* it serves nobody yet */
        }
    }
    finish_if_empty(p, o);
}

static void on_loaded(struct oar_policy *p, double now, struct out *o)
{
    if (p->phase != OAR_LOADING) {
        return;
    }
    p->phase = OAR_STARTING;
    for (int i = 0; i < p->n_workers; i++) {
        enter(p, i, OAR_CHILD_STARTING, now);
        act(o, OAR_DO_SPAWN, i);
    }
}

static void on_ready(struct oar_policy *p, int index, double now, struct out *o)
{
    bool all = true;
    if (p->child[index].state != OAR_CHILD_STARTING) {
        return;
    }
    enter(p, index, OAR_CHILD_READY, now);
    for (int i = 0; i < p->n_workers; i++) {
        all = all && p->child[i].state == OAR_CHILD_READY;
    }
    if (p->phase == OAR_STARTING && all) {
        p->phase = OAR_SERVING;
        act(o, OAR_DO_ANNOUNCE, 0);
    }
}

static void on_died(struct oar_policy *p, int index, double now, struct out *o)
{
    struct oar_policy_child *c = &p->child[index];
    bool stable = c->state == OAR_CHILD_READY && now - c->since >= OAR_STABLE_AFTER;
    bool was_ready = c->state == OAR_CHILD_READY;
    if (p->phase == OAR_STOPPING) {
        enter(p, index, OAR_CHILD_EMPTY, now);
        finish_if_empty(p, o);
    } else if (p->phase == OAR_STARTING && !was_ready) { /* the others would fail in the same way */
        enter(p, index, OAR_CHILD_EMPTY, now);
        p->status = 1;
        stop(p, now, o);
    } else if (stable || (was_ready && c->delay == 0)) {
        c->delay = stable ? 0 : OAR_BACKOFF_FIRST / 2; /* the next early death waits */
        enter(p, index, OAR_CHILD_STARTING, now);
        act(o, OAR_DO_SPAWN, index);
    } else {
        c->delay = OAR_MIN(OAR_MAX(c->delay * 2, OAR_BACKOFF_FIRST), OAR_BACKOFF_MOST);
        enter(p, index, OAR_CHILD_BACKOFF, now);
    }
}

static void on_tick(struct oar_policy *p, double now, struct out *o)
{
    if (p->phase == OAR_STOPPING) {
        if (now >= p->stop_at) {
            cut(p, o);
            act(o, OAR_DO_WARN_CUT, 0);
            p->stop_at = now + 1; /* a SIGKILL is not refused; but a reap may be late */
        }
        return;
    }
    for (int i = 0; i < p->n_workers; i++) {
        struct oar_policy_child *c = &p->child[i];
        if (c->state == OAR_CHILD_BACKOFF && now >= c->since + c->delay) {
            enter(p, i, OAR_CHILD_STARTING, now);
            act(o, OAR_DO_SPAWN, i);
        } else if (c->state == OAR_CHILD_STARTING && p->start_limit > 0 &&
                   now >= c->since + p->start_limit) {
            c->since = now; /* once */
            act(o, OAR_DO_KILL, i);
            act(o, OAR_DO_WARN_SLOW_START, i);
        }
    }
}

int oar_policy_event(struct oar_policy *p, enum oar_event event, int index, double now,
                     struct oar_action *out)
{
    struct out o = {out, 0};
    switch (event) {
    case OAR_EV_LOADED: on_loaded(p, now, &o); break;
    case OAR_EV_READY: on_ready(p, index, now, &o); break;
    case OAR_EV_DIED: on_died(p, index, now, &o); break;
    case OAR_EV_LEAVE: act(&o, OAR_DO_STOP, index); break;
    case OAR_EV_TICK: on_tick(p, now, &o); break;
    case OAR_EV_LOAD_FAILED:
        p->status = 1;
        stop(p, now, &o);
        break;
    case OAR_EV_TERM: stop(p, now, &o); break;
    }
    return o.n;
}

double oar_policy_next(const struct oar_policy *p)
{
    double next = p->phase == OAR_STOPPING ? p->stop_at : -1;
    for (int i = 0; i < p->n_workers && p->phase != OAR_STOPPING; i++) {
        const struct oar_policy_child *c = &p->child[i];
        double due = -1;
        if (c->state == OAR_CHILD_BACKOFF) {
            due = c->since + c->delay;
        } else if (c->state == OAR_CHILD_STARTING && p->start_limit > 0) {
            due = c->since + p->start_limit;
        }
        next = due >= 0 && (next < 0 || due < next) ? due : next;
    }
    return next;
}
