/* SPDX-License-Identifier: MIT
 * Waiting on libev for an asyncio loop. Process: worker, on the loop's thread (oar_poll_wake and
 * oar_poll_nudge: any); also any Python program that makes one of our loops. Owns the libev loop and the watches. Never
 * uses the default loop: that one takes the exit status of the application's subprocesses. */
#include "worker/poll.h"

#include <stdlib.h>

struct oar_watch {
    ev_io io;
    struct oar_poll *poll;
    struct oar_link fired; /* in poll->fired while ready */
    int events;            /* ready now: OAR_READABLE | OAR_WRITABLE */
    void *data;
};

static void on_timeout(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)timer, (void)events; /* its work is done: ev_run returns */
}

static void on_wake(struct ev_loop *ev, ev_async *wake, int events)
{
    struct oar_poll *p = OAR_CONTAINER_OF(wake, struct oar_poll, wake);
    (void)ev, (void)events;
    p->woken = true;
}

static void on_nudge(struct ev_loop *ev, ev_async *nudge, int events)
{
    struct oar_poll *p = OAR_CONTAINER_OF(nudge, struct oar_poll, nudge);
    (void)ev, (void)events;
    p->nudged = true;
}

void oar_poll_init(struct oar_poll *p)
{
    p->ev = ev_loop_new(EVFLAG_NOENV | EVBACKEND_EPOLL);
    oar_list_init(&p->fired);
    ev_init(&p->timer, on_timeout);
    ev_async_init(&p->wake, on_wake);
    ev_async_init(&p->nudge, on_nudge);
    if (p->ev) {
        ev_async_start(p->ev, &p->wake);
        ev_async_start(p->ev, &p->nudge);
    }
}

void oar_poll_free(struct oar_poll *p)
{
    if (p->ev) {
        ev_loop_destroy(p->ev);
    }
    p->ev = NULL;
}

void oar_poll_driven_here(struct oar_poll *p)
{
    atomic_store_explicit(&p->driver, pthread_self(), memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* before it looks for what others have left */
}

void oar_poll_wait(struct oar_poll *p, double timeout)
{
    atomic_store_explicit(&p->driver, pthread_self(), memory_order_relaxed);
    if (timeout > 0) {
        ev_now_update(p->ev);
        ev_timer_set(&p->timer, timeout, 0.);
        ev_timer_start(p->ev, &p->timer);
    }
    ev_run(p->ev, timeout == 0 ? EVRUN_NOWAIT : EVRUN_ONCE);
    ev_timer_stop(p->ev, &p->timer);
}

int oar_poll_collect(struct oar_poll *p, struct oar_fired *fired, int room)
{
    int n = 0;
    while (n < room && !oar_list_empty(&p->fired)) {
        struct oar_watch *w = OAR_CONTAINER_OF(oar_list_pop(&p->fired), struct oar_watch, fired);
        fired[n++] = (struct oar_fired){w->io.fd, w->events, w->data};
        w->events = 0;
    }
    return n;
}

void oar_poll_wake(struct oar_poll *p)
{
    ev_async_send(p->ev, &p->wake);
}

void oar_poll_nudge(struct oar_poll *p)
{
    atomic_thread_fence(memory_order_seq_cst); /* after what was left for the driver */
    pthread_t driver = atomic_load_explicit(&p->driver, memory_order_relaxed);
    if (!pthread_equal(driver, pthread_self())) {
        ev_async_send(p->ev, &p->nudge);
    }
}

static void on_watch(struct ev_loop *ev, ev_io *io, int events)
{
    struct oar_watch *w = OAR_CONTAINER_OF(io, struct oar_watch, io);
    (void)ev;
    w->events |= (events & EV_READ ? OAR_READABLE : 0) | (events & EV_WRITE ? OAR_WRITABLE : 0);
    if (oar_list_empty(&w->fired)) {
        oar_list_append(&w->poll->fired, &w->fired);
    }
}

static int to_ev(int events)
{
    return (events & OAR_READABLE ? EV_READ : 0) | (events & OAR_WRITABLE ? EV_WRITE : 0);
}

struct oar_watch *oar_poll_watch(struct oar_poll *p, int fd, int events, void *data)
{
    struct oar_watch *w = calloc(1, sizeof *w);
    if (w) {
        w->poll = p;
        w->data = data;
        oar_list_init(&w->fired);
        ev_io_init(&w->io, on_watch, fd, to_ev(events));
        ev_io_start(p->ev, &w->io);
    }
    return w;
}

void oar_poll_rewatch(struct oar_poll *p, struct oar_watch *w, int events, void *data)
{
    w->data = data;
    ev_io_stop(p->ev, &w->io);
    ev_io_set(&w->io, w->io.fd, to_ev(events));
    ev_io_start(p->ev, &w->io);
}

void oar_poll_unwatch(struct oar_poll *p, struct oar_watch *w)
{
    ev_io_stop(p->ev, &w->io);
    oar_list_remove(&w->fired);
    free(w);
}
