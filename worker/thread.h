/* SPDX-License-Identifier: MIT
 * One event-loop thread: what its files share. Only files of worker/ include this. */
#ifndef OARLOCK_THREAD_H
#define OARLOCK_THREAD_H

#include <pthread.h>

#include "shared/arena.h"
#include "shared/buf.h"
#include "shared/list.h"
#include "worker/app.h"
#include "worker/origin.h"
#include "worker/poll.h"

/* Deadlines of one kind have one duration, so a list in order of entry is in order of expiry:
 * entering, leaving and finding the next are O(1), whatever the number of connections. */
enum oar_deadline {
    OAR_DL_IDLE,
    OAR_DL_HEAD,
    OAR_DL_BODY,
    OAR_DL_HANDLER,
    OAR_DL_WRITE,
    OAR_DL_LINGER,
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
    enum oar_forwarded forwarded;
    enum oar_timing_mode timing;
    struct oar_networks trusted; /* proxies */
    _Atomic int draining; /* 1: finish what is there; OAR_FORKED: this process is no worker */
    _Atomic int up;       /* the threads' structures are there */
    struct oar_thread *threads;
    int n_threads;
};

struct oar_thread {
    struct oar_poll poll;
    struct ev_loop *ev; /* poll's */
    struct oar_worker *worker;
    struct oar_slot *slot;
    void *app_state; /* app->thread_start's */
    int index;
    bool accepting;
    bool entered;     /* the batch holds the interpreter */
    bool app_is_busy; /* the last batch left work for the application's loop */
    struct oar_pool pool;
    struct oar_buf out;      /* responses of this round, connection by connection */
    struct oar_link conns;   /* all */
    struct oar_link ready;   /* have a request whose turn it is */
    struct oar_link dirty;   /* have output in `out` */
    struct oar_link notices; /* exchanges that the application must look at */
    uint32_t n_conns;
    uint32_t in_flight;                      /* requests whose handlers run, or stream */
    size_t buffered;                         /* bytes of request bodies that are held */
    uint32_t max_connections, max_in_flight; /* this thread's part of the worker's */
    size_t max_buffered;
    struct oar_link deadlines[OAR_DEADLINES];
    double durations[OAR_DEADLINES];
    ev_timer deadline_timer, accept_timer;
    ev_io accept[OAR_MAX_LISTENERS];
    _Atomic(struct oar_request *)
        done; /* answered by the pool: pushed by any thread, taken by this one */
    _Atomic(struct oar_exchange *) posted; /* have news from handlers: likewise */
    pthread_t self;
    struct oar_field fields[OAR_MAX_FIELDS]; /* of the head that is being parsed */
    char date[40];                           /* "date: ...\r\n" */
    size_t date_len;
    int64_t date_second;
};

struct oar_exchange;

/* thread.c */
void oar_thread_init(struct oar_thread *t, struct oar_worker *w, int index);
void oar_thread_free(struct oar_thread *t);
extern const struct oar_host oar_host;
/* Any thread. */
void oar_thread_wake(struct oar_thread *t);

/* accept.c */
void oar_accept_start(struct oar_thread *t);
void oar_accept_stop(struct oar_thread *t);

/* timeout.c */
void oar_timeout_init(struct oar_thread *t);

/* batch.c */
void oar_batch_run(struct oar_thread *t);
void oar_batch_take_done(struct oar_thread *t);
/* Writes what the connections have to say. May queue connections for the next batch. */
void oar_batch_flush(struct oar_thread *t);

#endif
