/* SPDX-License-Identifier: MIT
 * One event-loop thread: what its files share. Only files of worker/ include this. */
#ifndef OARLOCK_THREAD_H
#define OARLOCK_THREAD_H

#include <pthread.h>

#include "shared/arena.h"
#include "shared/buf.h"
#include "shared/list.h"
#include "worker/app.h"
#include "worker/exchange.h"
#include "worker/origin.h"
#include "worker/poll.h"
#include "worker/relay.h"

/* Deadlines of one kind have one duration, so a list in order of entry is in order of expiry:
 * entering, leaving and finding the next are O(1), whatever the number of connections. All but
 * HANDLER belong to connections, which have one at a time: what the client has to do next.
 * HANDLER belongs to the request that runs. */
enum oar_deadline {
    OAR_DL_IDLE,
    OAR_DL_HEAD,
    OAR_DL_BODY,
    OAR_DL_WRITE,
    OAR_DL_LINGER,
    OAR_DL_LOOK, /* the socket is not read: has the client gone? */
    OAR_DL_HANDLER,
    OAR_DEADLINES
};

/* What the threads of a worker share; read-only once they run, but for draining. */
struct oar_worker {
    const struct oar_config *config;
    const void *routes;
    const struct oar_app *app;
    struct oar_shm *shm;
    uint32_t n_slots; /* of all workers */
    const int *listeners;
    int n_listeners;
    uint32_t index; /* of this worker */
    struct oar_forwarding forwarded;
    enum oar_server_timing_choice timing;
    struct oar_networks trusted; /* proxies */
    _Atomic int draining; /* 1: finish what is there; OAR_FORKED: this process is no worker */
    _Atomic int up;       /* the threads' structures are there */
    struct oar_thread *threads;
    int n_threads;
    struct oar_relay relay;
    void (*ask_to_leave)(void); /* any thread: the master sets it a deadline */
};

struct oar_thread {
    struct oar_poll poll;
    struct ev_loop *ev; /* poll's */
    struct oar_worker *worker;
    struct oar_slot *slot;
    struct oar_driver driver; /* whose all below is, but for what any thread may touch */
    void *app_state;          /* of the driving thread: app->thread_start's, or spare_start's */
    void *home_state;         /* app->thread_start's */
    struct oar_seat home;     /* the loop's own thread, when it waits for its loop */
    _Atomic bool home_waits;
    struct oar_conn *running; /* its first request is in a handler on the driving thread */
    int index;
    bool accepting;
    bool entered;         /* the batch holds the interpreter */
    bool handed;          /* requests were handed over, and no thread was called for them yet */
    bool app_is_busy;     /* the last batch left work for the application's loop */
    bool told;            /* the application knows that the loop may end */
    uint64_t drain_began; /* oar_now_ns(); 0: not yet */
    struct oar_pool pool;
    struct oar_buf out;    /* responses of this round, connection by connection */
    struct oar_link conns; /* all */
    struct oar_link ready; /* have a request whose turn it is */
    struct oar_link dirty; /* have output in `out` */
    uint32_t n_conns;
    uint32_t in_flight;                      /* requests whose handlers run, or stream */
    size_t buffered;                         /* bytes of request bodies that are held */
    uint32_t max_connections, max_in_flight; /* this thread's part of the worker's */
    size_t max_buffered;
    bool keeps_alive; /* --keep-alive is not 0 */
    double now;       /* CLOCK_MONOTONIC, seconds: read after each wait and after each batch */
    struct oar_link deadlines[OAR_DEADLINES]; /* of struct oar_timed */
    double durations[OAR_DEADLINES];          /* seconds; 0: no deadline of this kind */
    ev_timer deadline_timer, accept_timer;
    double share_since;  /* when `fair_share` was found; accept.c's */
    uint32_t fair_share; /* connections that this thread may have */
    ev_io accept[OAR_MAX_LISTENERS];
    _Atomic(struct oar_request *)
        done;                   /* answered by the pool: pushed by any thread, taken by this one */
    struct oar_mailbox mailbox; /* exchanges that have news */
    struct oar_field fields[OAR_MAX_FIELDS]; /* of the head that is being parsed */
    char date[40];                           /* "date: ...\r\n" */
    size_t date_len;
    int64_t date_second;
};

/* thread.c */
void oar_thread_init(struct oar_thread *t, struct oar_worker *w, int index);
void oar_thread_free(struct oar_thread *t);
extern const struct oar_host oar_host;
/* Any thread. */
void oar_thread_wake(struct oar_thread *t);
/* The calling thread has taken the loop from one that stays in a handler: it ends the batch that
 * was left. */
void oar_thread_taken(struct oar_thread *t, void *app_state);
/* The calling thread drives the loop from now on. */
void oar_thread_driven_here(struct oar_thread *t);
/* Reads the clock: t->now is the present again. */
void oar_thread_look_at_clock(struct oar_thread *t);
/* What the pool has answered, and handlers have posted, goes to the connections. */
void oar_thread_take_done(struct oar_thread *t);

/* accept.c */
void oar_accept_start(struct oar_thread *t);
void oar_accept_stop(struct oar_thread *t);

/* timeout.c */
void oar_timeout_init(struct oar_thread *t);
/* From now on, in place of whatever deadline it was. */
void oar_timed_set(struct oar_thread *t, struct oar_timed *d, enum oar_deadline kind);

static inline void oar_timed_clear(struct oar_timed *d)
{
    if (d->link.next) {
        oar_list_remove(&d->link);
        d->link.next = NULL;
    }
}

/* batch.c */
/* false: the loop was taken over in a handler; it must not be touched. */
bool oar_batch_run(struct oar_thread *t);
/* What the thread that was left cannot do any more. */
void oar_batch_end_left(struct oar_thread *t);
/* What the pool has answered, and what handlers have posted, goes to the connections. */
void oar_batch_take_done(struct oar_thread *t);
/* Writes what the connections have to say. May queue connections for the next batch. */
void oar_batch_flush(struct oar_thread *t);

#endif
