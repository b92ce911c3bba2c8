/* SPDX-License-Identifier: MIT
 * The relay: spare threads that take event loops over from threads that stay in a handler, and the
 * lookout that calls them. Only files of worker/ include this. */
#ifndef OARLOCK_RELAY_H
#define OARLOCK_RELAY_H

#include <pthread.h>

#include "oarlock/err.h"
#include "worker/driver.h"

struct oar_thread;
struct oar_worker;

/* A thread that can be called to drive a loop: a spare, or a loop's own thread that waits for it. */
enum oar_seat_state {
    OAR_SEAT_ABSENT,  /* a spare that has not been started */
    OAR_SEAT_BUSY,    /* starts, drives, or ends a handler */
    OAR_SEAT_WAITING, /* may be called */
    OAR_SEAT_CALLED,  /* is to take `target` as it was `seen` */
    OAR_SEAT_GIVEN,   /* drives: the loop was handed over by its driver */
};
struct oar_seat {
    pthread_cond_t changed;
    enum oar_seat_state state; /* under the relay's lock, as are the next two */
    struct oar_thread *target;
    uint64_t seen;
    uint32_t number; /* in the driver's word; OAR_DRIVER_HOME: a loop's own thread */
    pthread_t thread;
};

struct oar_relay {
    struct oar_relay_signs signs;
    struct oar_worker *worker;
    pthread_mutex_t lock;
    pthread_cond_t rested; /* for the lookout */
    struct oar_seat *spares;
    uint32_t n_spares, n_started;
    double stay;   /* seconds that a handler may keep its loop */
    bool stopping; /* under the lock */
    bool started;
    pthread_t lookout;
};

/* Before the worker's threads serve. Does nothing when the application or --blocking-threshold 0
 * asks for no taking over. */
enum oar_status oar_relay_start(struct oar_relay *r, struct oar_worker *w, uint32_t most,
                                struct oar_err *err);
/* After all loops have ended: ends and joins its threads. */
void oar_relay_stop(struct oar_relay *r);
/* A loop's own thread whose loop was taken over: returns when the thread drives again. */
void oar_relay_wait_for_home(struct oar_thread *t);
/* A driving spare: is the loop's own thread waiting for it? */
bool oar_relay_home_waits(const struct oar_thread *t);
/* A driving spare, between two rounds: hands the loop to its own thread. */
void oar_relay_give_home(struct oar_thread *t);

#endif
