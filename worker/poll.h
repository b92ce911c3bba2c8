/* SPDX-License-Identifier: MIT
 * One libev loop that an asyncio loop polls: waiting with a timeout, being woken, and descriptors
 * watched for the application. In a server's thread it is the loop that HTTP runs on; the bridge
 * has one of its own for loops outside of a server. */
#ifndef OARLOCK_POLL_H
#define OARLOCK_POLL_H

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>

#include "shared/list.h"
#include "worker/app.h"

struct oar_poll {
    struct ev_loop *ev; /* owned; NULL: it could not be made */
    ev_timer timer;
    ev_async wake, nudge;
    struct oar_link fired;    /* watches that are ready */
    bool woken;               /* since its owner has cleared it */
    bool nudged;              /* likewise */
    _Atomic pthread_t driver; /* the thread that waits here, or did last */
};

void oar_poll_init(struct oar_poll *p);
void oar_poll_free(struct oar_poll *p);
/* Waits `timeout` seconds at most (< 0: for ever; 0: not at all) for the first events, and runs
 * their callbacks. */
void oar_poll_wait(struct oar_poll *p, double timeout);
/* Takes at most `room` of those that are ready. */
int oar_poll_collect(struct oar_poll *p, struct oar_fired *fired, int room);
/* Any thread, any signal handler. */
void oar_poll_wake(struct oar_poll *p);
/* Any thread: the wait ends for the sake of the event loop; asyncio need not look. Nothing on the
 * thread that drives it, which looks by itself before it waits. */
void oar_poll_nudge(struct oar_poll *p);

/* The calling thread waits here from now on, and looks for what others have left before it does. */
void oar_poll_driven_here(struct oar_poll *p);

struct oar_watch *oar_poll_watch(struct oar_poll *p, int fd, int events, void *data);
void oar_poll_rewatch(struct oar_poll *p, struct oar_watch *w, int events, void *data);
void oar_poll_unwatch(struct oar_poll *p, struct oar_watch *w);

#endif
