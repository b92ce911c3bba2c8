/* SPDX-License-Identifier: MIT
 * The relay (docs/decisions/012): when a thread stays in a handler for longer than
 * --blocking-threshold, a spare thread takes its event loop over, so that the handler keeps a thread
 * but never the loop. The thread that was left delivers its response as a thread of the pool does.
 * A spare then waits for the next call; a loop's own thread asks for its loop and gets it between
 * two rounds, or at once where the driver is late itself.
 *
 * The lookout looks at every loop's word once a tick. A word that says "inside" and has not changed
 * for as long as a handler may stay is a reason to call a spare. While nobody enters a handler it
 * rests, and whoever enters one rouses it.
 *
 * Process: worker. Owns the spare threads and the lookout. The lock is held for changing seats, never
 * over the application or a system call that may wait. Never touches the interpreter but through
 * struct oar_app. */
#include "worker/relay.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/thread.h"

enum { QUIET_TICKS = 4 }; /* without a handler: the lookout rests */
static const double LONGEST_TICK = 0.005, SHORTEST_TICK = 0.0005; /* seconds */

struct watched {
    uint64_t seen;   /* the word, one tick ago */
    uint64_t called; /* the word for which somebody was called */
    int ticks;       /* that it has been the same */
};

/* ---- spare threads ---------------------------------------------------------------------------- */

struct spare_start {
    struct oar_relay *relay;
    struct oar_seat *seat;
};

/* Under the lock. false: the relay stops. */
static bool wait_for_call(struct oar_relay *r, struct oar_seat *s)
{
    s->state = OAR_SEAT_WAITING;
    while (s->state == OAR_SEAT_WAITING && !r->stopping) {
        pthread_cond_wait(&s->changed, &r->lock);
    }
    bool called = s->state == OAR_SEAT_CALLED;
    s->state = OAR_SEAT_BUSY;
    return called;
}

/* The loop, if its driver is still where it was seen. */
static bool take(struct oar_relay *r, const struct oar_seat *s)
{
    atomic_fetch_add_explicit(&r->signs.left, 1, memory_order_relaxed);
    if (oar_driver_take(&s->target->driver, s->seen, s->number)) {
        return true;
    }
    atomic_fetch_sub_explicit(&r->signs.left, 1, memory_order_relaxed);
    return false;
}

static void *spare_main(void *argument)
{
    struct spare_start start = *(struct spare_start *)argument;
    struct oar_relay *r = start.relay;
    struct oar_seat *s = start.seat;
    const struct oar_app *app = r->worker->app;
    free(argument);
    pthread_setname_np(pthread_self(), "oarlock-spare");
    void *state = app->spare_start();
    pthread_mutex_lock(&r->lock);
    while (state && wait_for_call(r, s)) {
        pthread_mutex_unlock(&r->lock);
        if (take(r, s)) {
            void *home = s->target->home_state;
            oar_thread_taken(s->target, state);
            app->spare_drive(state, s->target, home);
        }
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    if (state) {
        app->spare_stop(state);
    }
    return NULL;
}

/* Under the lock. Where one cannot be had, there will be no more. */
static void add_spare(struct oar_relay *r)
{
    struct spare_start *start = malloc(sizeof *start);
    struct oar_seat *s = &r->spares[r->n_started];
    int rc = start ? 0 : ENOMEM;
    if (rc == 0) {
        *start = (struct spare_start){r, s};
        s->state = OAR_SEAT_BUSY;
        s->number = r->n_started + 1;
        pthread_cond_init(&s->changed, NULL);
        rc = pthread_create(&s->thread, NULL, spare_main, start);
    }
    if (rc == 0) {
        r->n_started++;
    } else {
        free(start);
        r->n_spares = r->n_started;
        r->signs.most = OAR_MIN(r->signs.most, r->n_started);
        oar_log(OAR_LOG_WARNING,
                "cannot start a thread that takes event loops over (%u are there): %s; more `def` "
                "handlers run in the pool; raise the limits of processes and memory",
                r->n_started, strerror(rc));
    }
}

/* ---- the lookout ------------------------------------------------------------------------------ */

/* Under the lock. NULL: none waits. */
static struct oar_seat *somebody_for(struct oar_relay *r, struct oar_thread *t)
{
    struct oar_seat *found = NULL;
    if (t->home.state == OAR_SEAT_WAITING) {
        return &t->home;
    }
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < r->n_started; i++) {
        if (r->spares[i].state == OAR_SEAT_WAITING) {
            found = found ? found : &r->spares[i];
            waiting++;
        }
    }
    if (waiting < 2 && r->n_started < r->n_spares) {
        add_spare(r); /* for the next one, or for this one a tick later */
    }
    return found;
}

static void call_somebody(struct oar_relay *r, struct oar_thread *t, struct watched *w)
{
    pthread_mutex_lock(&r->lock);
    struct oar_seat *s = somebody_for(r, t);
    if (s) {
        s->target = t;
        s->seen = w->seen;
        s->state = OAR_SEAT_CALLED;
        w->called = w->seen;
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&r->lock);
}

/* true: something moves here. */
static bool look(struct oar_relay *r, struct oar_thread *t, struct watched *w, int patience)
{
    uint64_t now = atomic_load_explicit(&t->driver.word, memory_order_acquire);
    bool same = now == w->seen;
    bool inside = now & OAR_DRIVER_INSIDE;
    w->ticks = same ? w->ticks + 1 : 0;
    w->seen = now;
    if (inside && w->ticks >= patience && w->called != now) {
        call_somebody(r, t, w);
    }
    return inside || !same;
}

static bool anybody_inside(const struct oar_relay *r)
{
    bool inside = false;
    for (int i = 0; i < r->worker->n_threads; i++) {
        uint64_t word =
            atomic_load_explicit(&r->worker->threads[i].driver.word, memory_order_seq_cst);
        inside = inside || word & OAR_DRIVER_INSIDE;
    }
    return inside;
}

/* Until somebody enters a handler. false: the relay stops. */
static bool rest(struct oar_relay *r)
{
    atomic_store_explicit(&r->signs.resting, true, memory_order_seq_cst);
    pthread_mutex_lock(&r->lock);
    if (anybody_inside(r)) { /* entered before it could see that the lookout rests */
        atomic_store_explicit(&r->signs.resting, false, memory_order_relaxed);
    }
    while (atomic_load_explicit(&r->signs.resting, memory_order_relaxed) && !r->stopping) {
        pthread_cond_wait(&r->rested, &r->lock);
    }
    bool go_on = !r->stopping;
    pthread_mutex_unlock(&r->lock);
    return go_on;
}

static void rouse(void *relay)
{
    struct oar_relay *r = relay;
    if (atomic_exchange_explicit(&r->signs.resting, false, memory_order_relaxed)) {
        pthread_mutex_lock(&r->lock);
        pthread_cond_signal(&r->rested);
        pthread_mutex_unlock(&r->lock);
    }
}

static void *look_out(void *argument)
{
    struct oar_relay *r = argument;
    struct watched *all = calloc((size_t)r->worker->n_threads, sizeof *all);
    double tick = OAR_MAX(OAR_MIN(r->stay, LONGEST_TICK), SHORTEST_TICK);
    int patience = (int)(r->stay / tick + 0.999);
    struct timespec pause = {.tv_nsec = (long)(tick * 1e9)};
    pthread_setname_np(pthread_self(), "oarlock-lookout");
    int quiet = QUIET_TICKS;
    while (all && (quiet < QUIET_TICKS || rest(r))) {
        bool moves = false;
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        for (int i = 0; i < r->worker->n_threads; i++) {
            moves = look(r, &r->worker->threads[i], &all[i], OAR_MAX(patience, 1)) || moves;
        }
        quiet = moves ? 0 : quiet + 1;
    }
    free(all);
    return NULL;
}

/* ---- a loop's own thread ---------------------------------------------------------------------- */

bool oar_relay_home_waits(const struct oar_thread *t)
{
    return atomic_load_explicit(&t->home_waits, memory_order_acquire);
}

void oar_relay_give_home(struct oar_thread *t)
{
    struct oar_relay *r = &t->worker->relay;
    pthread_mutex_lock(&r->lock);
    assert(oar_relay_home_waits(t));
    t->app_state = t->home_state;
    atomic_store_explicit(&t->home_waits, false, memory_order_relaxed);
    t->home.state = OAR_SEAT_GIVEN; /* also where the lookout has called it for an old word */
    oar_driver_give(&t->driver, OAR_DRIVER_HOME);
    pthread_cond_signal(&t->home.changed);
    pthread_mutex_unlock(&r->lock);
}

void oar_relay_wait_for_home(struct oar_thread *t)
{
    struct oar_relay *r = &t->worker->relay;
    bool taken = false;
    pthread_mutex_lock(&r->lock);
    t->home.state = OAR_SEAT_WAITING;
    atomic_store_explicit(&t->home_waits, true, memory_order_release);
    pthread_mutex_unlock(&r->lock);
    oar_thread_wake(t);
    pthread_mutex_lock(&r->lock);
    while (t->home.state != OAR_SEAT_GIVEN && !taken) {
        if (t->home.state == OAR_SEAT_CALLED) {
            taken = take(r, &t->home);
            t->home.state = OAR_SEAT_WAITING;
        } else {
            pthread_cond_wait(&t->home.changed, &r->lock);
        }
    }
    t->home.state = OAR_SEAT_BUSY;
    atomic_store_explicit(&t->home_waits, false, memory_order_relaxed);
    pthread_mutex_unlock(&r->lock);
    if (taken) {
        oar_thread_taken(t, t->home_state);
    } else {
        oar_thread_driven_here(t);
    }
}

/* ---- start and stop --------------------------------------------------------------------------- */

enum oar_status oar_relay_start(struct oar_relay *r, struct oar_worker *w, uint32_t most,
                                struct oar_err *err)
{
    r->worker = w;
    r->stay = w->config->blocking_threshold;
    if (!w->app->spare_drive || r->stay <= 0) {
        return OAR_OK;
    }
    r->n_spares = OAR_MIN(most + (uint32_t)w->n_threads, OAR_DRIVER_MOST);
    r->spares = calloc(r->n_spares, sizeof *r->spares);
    if (!r->spares) {
        return oar_err_set(err, "no memory for %u threads that take event loops over", r->n_spares);
    }
    r->signs.most = most;
    r->signs.rouse = rouse;
    r->signs.relay = r;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->rested, NULL);
    sigset_t all;
    sigset_t before; /* signals are the main thread's, where Python's handlers run */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&r->lookout, NULL, look_out, r);
    if (rc == 0) {
        pthread_mutex_lock(&r->lock);
        add_spare(r);
        pthread_mutex_unlock(&r->lock);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        return oar_err_set(err, "cannot start the lookout for slow handlers: %s", strerror(rc));
    }
    r->started = true;
    for (int i = 0; i < w->n_threads; i++) {
        pthread_cond_init(&w->threads[i].home.changed, NULL);
        w->threads[i].home.target = &w->threads[i];
        w->threads[i].home.state = OAR_SEAT_BUSY;
        w->threads[i].driver.signs = &r->signs;
    }
    return OAR_OK;
}

void oar_relay_stop(struct oar_relay *r)
{
    if (!r->started) {
        return;
    }
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_signal(&r->rested);
    for (uint32_t i = 0; i < r->n_started; i++) {
        pthread_cond_signal(&r->spares[i].changed);
    }
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->lookout, NULL);
    for (uint32_t i = 0; i < r->n_started; i++) {
        pthread_join(r->spares[i].thread, NULL);
    }
    free(r->spares);
    r->spares = NULL;
    r->started = false;
}
