/* SPDX-License-Identifier: MIT
 * The master's decisions. The machine is drawn in policy.h; FROM -> TO [function]:
 *   LOADING -> STARTING [on_loaded]        LOADING -> ENDED [stop: nothing to wait for]
 *   STARTING -> SERVING [on_ready]         STARTING -> STOPPING [give_up]
 *   SERVING -> LEAVING [on_told]           SERVING, LEAVING -> STOPPING [stop, give_up]
 *   STOPPING -> ENDED [finish_if_empty]
 * Process: master; also linked into its test. Owns nothing. Never reads a clock, calls the system,
 * logs. Says first what is to be done and then what is to be logged. */
#include "master/policy.h"

struct out {
    struct oar_action *at;
    int n;
};

static void act(struct out *o, enum oar_action_kind kind, int index)
{
    o->at[o->n++] = (struct oar_action){kind, index};
}

static bool alive(const struct oar_policy_child *c)
{
    return c->state == OAR_CHILD_STARTING || c->state == OAR_CHILD_READY ||
           c->state == OAR_CHILD_RETIRING;
}

static int count(const struct oar_policy *p, enum oar_child_state state)
{
    int n = 0;
    for (int i = 0; i < p->n_workers; i++) {
        n += p->child[i].state == state;
    }
    return n;
}

static void enter(struct oar_policy *p, int index, enum oar_child_state state, double now)
{
    p->child[index].state = state;
    p->child[index].since = now;
    if (count(p, OAR_CHILD_READY) + count(p, OAR_CHILD_RETIRING) > 0) {
        p->none_ready = -1;
    } else if (p->none_ready < 0) {
        p->none_ready = now;
    }
}

static void spawn(struct oar_policy *p, int index, double now, struct out *o)
{
    enter(p, index, OAR_CHILD_STARTING, now);
    p->child[index].closed = false;
    p->child[index].leave = 0;
    act(o, OAR_DO_SPAWN, index);
}

void oar_policy_init(struct oar_policy *p, const struct oar_policy_limits *limit)
{
    *p = (struct oar_policy){
        .phase = OAR_LOADING, .limit = *limit, .n_workers = limit->n_workers, .none_ready = -1};
}

/* ---- the end ---- */

static void finish_if_empty(struct oar_policy *p, struct out *o)
{
    for (int i = 0; i < p->n_workers; i++) {
        if (alive(&p->child[i])) {
            return;
        }
    }
    p->phase = OAR_ENDED;
    act(o, OAR_DO_END, 0);
}

static void cut(struct oar_policy *p, struct out *o)
{
    for (int i = 0; i < p->n_workers; i++) {
        if (alive(&p->child[i])) {
            act(o, OAR_DO_KILL, i);
        }
    }
}

/* The queues are shared: one worker that has swept them is enough, and a little patience for those
 * that could not take all of it. */
static void close_if_swept(struct oar_policy *p, double now, struct out *o)
{
    bool all = true;
    bool any = false;
    for (int i = 0; i < p->n_workers; i++) {
        all = all && (p->child[i].closed || !alive(&p->child[i]));
        any = any || p->child[i].closed;
    }
    p->close_at = any ? OAR_MIN(p->close_at, now + OAR_SWEEP_MORE) : p->close_at;
    if (!p->closed && (all || now >= p->close_at)) {
        p->closed = true;
        act(o, OAR_DO_CLOSE_LISTENERS, 0);
    }
}

static void stop(struct oar_policy *p, double now, struct out *o)
{
    if (p->phase == OAR_LOADING) {
        act(o, OAR_DO_CANCEL, 0);
    }
    p->phase = OAR_STOPPING;
    p->stop_began = now;
    p->stop_at = now + p->limit.graceful;
    p->close_at = now + OAR_SWEEP_MOST;
    for (int i = 0; i < p->n_workers; i++) {
        struct oar_policy_child *c = &p->child[i];
        if (c->state == OAR_CHILD_READY) {
            act(o, OAR_DO_STOP, i);
        } else if (c->state == OAR_CHILD_STARTING) {
            act(o, OAR_DO_KILL, i); /* it serves nobody yet */
        } else if (c->state == OAR_CHILD_RETIRING) {
            c->closed = false; /* what it swept was swept before this stop */
        }
    }
    finish_if_empty(p, o);
}

static void give_up(struct oar_policy *p, enum oar_exit_status status, double now, struct out *o)
{
    p->status = status;
    stop(p, now, o);
}

static void on_told(struct oar_policy *p, bool at_once, double now, struct out *o)
{
    bool leaving = p->phase == OAR_LEAVING;
    if (leaving && now - p->stop_began >= OAR_TOLD_ONCE) {
        stop(p, now, o);
        if (!at_once) {
            cut(p, o); /* told twice */
        }
    } else if (p->phase == OAR_STOPPING && now - p->stop_began >= OAR_TOLD_ONCE) {
        cut(p, o);
    } else if (p->phase == OAR_SERVING && !at_once && p->limit.drain_delay > 0) {
        p->phase = OAR_LEAVING;
        p->stop_began = now;
        p->stop_at = now + p->limit.drain_delay;
        act(o, OAR_DO_UNREADY, 0);
    } else if (p->phase < OAR_LEAVING) {
        stop(p, now, o);
    }
}

/* ---- workers ---- */

static void on_loaded(struct oar_policy *p, double now, struct out *o)
{
    if (p->phase != OAR_LOADING) {
        return;
    }
    p->phase = OAR_STARTING;
    for (int i = 0; i < p->n_workers; i++) {
        spawn(p, i, now, o);
    }
}

static void on_ready(struct oar_policy *p, int index, double now, struct out *o)
{
    struct oar_policy_child *c = &p->child[index];
    if (c->state != OAR_CHILD_STARTING || p->phase == OAR_STOPPING) {
        return;
    }
    enter(p, index, OAR_CHILD_READY, now);
    c->ready = now;
    c->failed = 0;
    if (p->phase == OAR_STARTING && count(p, OAR_CHILD_READY) == p->n_workers) {
        p->phase = OAR_SERVING;
        act(o, OAR_DO_ANNOUNCE, 0);
    }
}

static void on_leave(struct oar_policy *p, int index, double now, struct out *o)
{
    struct oar_policy_child *c = &p->child[index];
    if (p->phase >= OAR_LEAVING) {
        return; /* all of them leave */
    }
    if (c->state == OAR_CHILD_READY) {
        c->leave = c->leave > 0 ? c->leave : now + OAR_TOLD_ONCE;
    } else if (c->state == OAR_CHILD_STARTING) {
        act(o, OAR_DO_KILL, index); /* it serves nobody yet */
    }
}

/* A start has failed while the server serves. Others go on; without any, there is an end to it. */
static void on_failed_start(struct oar_policy *p, int index, double now, struct out *o)
{
    struct oar_policy_child *c = &p->child[index];
    c->failed++;
    if (p->limit.restarts == 0 || c->failed < p->limit.restarts) {
        return;
    }
    if (count(p, OAR_CHILD_READY) + count(p, OAR_CHILD_RETIRING) == 0) {
        give_up(p, OAR_STATUS_CRASH_LOOP, now, o);
        act(o, OAR_DO_WARN_CRASH_LOOP, index);
    } else if (c->failed % p->limit.restarts == 0) {
        act(o, OAR_DO_WARN_FAILING, index);
    }
}

static void on_died(struct oar_policy *p, int index, double now, struct out *o)
{
    struct oar_policy_child *c = &p->child[index];
    bool had_served = c->state == OAR_CHILD_READY || c->state == OAR_CHILD_RETIRING;
    bool stable = had_served && now - c->ready >= OAR_STABLE_AFTER;
    if (p->phase == OAR_STOPPING) {
        enter(p, index, OAR_CHILD_EMPTY, now);
        finish_if_empty(p, o);
        if (p->phase == OAR_STOPPING) {
            close_if_swept(p, now, o);
        }
    } else if (p->phase == OAR_STARTING && !had_served) { /* others would fail in the same way */
        enter(p, index, OAR_CHILD_EMPTY, now);
        give_up(p, OAR_STATUS_START, now, o);
    } else if (stable || (had_served && c->delay == 0)) {
        c->delay = stable ? 0 : OAR_BACKOFF_FIRST / 2; /* the next early death waits */
        spawn(p, index, now, o);
    } else {
        c->delay = OAR_MIN(OAR_MAX(c->delay * 2, OAR_BACKOFF_FIRST), OAR_BACKOFF_MOST);
        enter(p, index, OAR_CHILD_BACKOFF, now);
        if (!had_served) {
            on_failed_start(p, index, now, o);
        }
    }
}

static void on_closed(struct oar_policy *p, int index, double now, struct out *o)
{
    p->child[index].closed = true;
    if (p->phase == OAR_STOPPING) {
        close_if_swept(p, now, o);
    }
}

/* ---- time ---- */

/* When something is due for a child by itself; < 0: never. */
static double due(const struct oar_policy *p, const struct oar_policy_child *c)
{
    switch (c->state) {
    case OAR_CHILD_BACKOFF: return c->since + c->delay;
    case OAR_CHILD_STARTING: return p->limit.start > 0 ? c->since + p->limit.start : -1;
    case OAR_CHILD_READY: return c->leave > 0 && p->phase < OAR_LEAVING ? c->leave : -1;
    case OAR_CHILD_RETIRING: return c->since + p->limit.graceful;
    default: return -1;
    }
}

static void on_due(struct oar_policy *p, int index, double now, struct out *o)
{
    struct oar_policy_child *c = &p->child[index];
    if (c->state == OAR_CHILD_BACKOFF) {
        spawn(p, index, now, o);
        return;
    }
    if (c->state == OAR_CHILD_READY) {
        enter(p, index, OAR_CHILD_RETIRING, now);
        act(o, OAR_DO_STOP, index);
        return;
    }
    act(o, OAR_DO_KILL, index);
    act(o, c->state == OAR_CHILD_STARTING ? OAR_DO_WARN_SLOW_START : OAR_DO_WARN_SLOW_END, index);
    c->since = now + 1; /* a SIGKILL is not refused; but a reap may be late */
}

/* When the server gives up for want of a worker; < 0: not. */
static double give_up_at(const struct oar_policy *p)
{
    bool counts = p->limit.restarts > 0 && p->limit.start > 0 && p->none_ready >= 0 &&
                  (p->phase == OAR_SERVING || p->phase == OAR_LEAVING);
    return counts ? p->none_ready + p->limit.start + OAR_NONE_READY_MOST : -1;
}

static void on_tick(struct oar_policy *p, double now, struct out *o)
{
    if (p->phase == OAR_STOPPING) {
        close_if_swept(p, now, o);
        if (now >= p->stop_at) {
            cut(p, o);
            act(o, OAR_DO_WARN_CUT, 0);
            p->stop_at = now + 1; /* a SIGKILL is not refused; but a reap may be late */
        }
        return;
    }
    for (int i = 0; i < p->n_workers; i++) {
        double at = due(p, &p->child[i]);
        if (at >= 0 && now >= at) {
            on_due(p, i, now, o);
        }
    }
    if (give_up_at(p) >= 0 && now >= give_up_at(p)) {
        give_up(p, OAR_STATUS_CRASH_LOOP, now, o);
        act(o, OAR_DO_WARN_NONE_READY, 0);
    } else if (p->phase == OAR_LEAVING && now >= p->stop_at) {
        stop(p, now, o);
    }
}

int oar_policy_event(struct oar_policy *p, enum oar_event event, int index, double now,
                     struct oar_action *out)
{
    struct out o = {out, 0};
    if (p->phase == OAR_ENDED) {
        return 0;
    }
    switch (event) {
    case OAR_EV_LOADED: on_loaded(p, now, &o); break;
    case OAR_EV_READY: on_ready(p, index, now, &o); break;
    case OAR_EV_LEAVE: on_leave(p, index, now, &o); break;
    case OAR_EV_CLOSED: on_closed(p, index, now, &o); break;
    case OAR_EV_DIED: on_died(p, index, now, &o); break;
    case OAR_EV_TICK: on_tick(p, now, &o); break;
    case OAR_EV_LOAD_FAILED:
        if (p->phase == OAR_LOADING) {
            give_up(p, OAR_STATUS_START, now, &o);
        }
        break;
    case OAR_EV_TERM: on_told(p, false, now, &o); break;
    case OAR_EV_INT: on_told(p, true, now, &o); break;
    }
    return o.n;
}

static double earlier(double a, double b)
{
    return b >= 0 && (a < 0 || b < a) ? b : a;
}

double oar_policy_next(const struct oar_policy *p)
{
    if (p->phase == OAR_STOPPING) {
        return p->closed ? p->stop_at : OAR_MIN(p->stop_at, p->close_at);
    }
    double next = p->phase == OAR_LEAVING ? p->stop_at : -1;
    for (int i = 0; i < p->n_workers; i++) {
        next = earlier(next, due(p, &p->child[i]));
    }
    return earlier(next, give_up_at(p));
}
