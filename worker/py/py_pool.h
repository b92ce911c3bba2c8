/* SPDX-License-Identifier: MIT
 * The pool as its two files see it: py_pool.c has the jobs and the threads, py_pool_size.c says when
 * there are to be more threads. */
#ifndef OARLOCK_PY_POOL_H
#define OARLOCK_PY_POOL_H

#include <pthread.h>

#include "worker/py/py.h"

#ifdef Py_GIL_DISABLED
#define FREE_THREADED 1
#else
#define FREE_THREADED 0
#endif
#define AUTO_THREADS OAR_POOL_AUTO
#define AUTO_EAGER 4       /* a core: so many may compute, and are made without asking */
#define SCOUT_NS 50000000u /* how long the scout looks before it says that threads wait */
#define TICK_NS 1000000u
#define OWE_NS 100000u     /* a response waits no longer for others of its thread */
#define LET_GO_NS 1000000u /* no thread keeps the interpreter longer for its jobs without asking */

/* What a thread does, for whoever was kept waiting: written by the thread, read by any. */
struct activity {
    _Atomic(const struct oar_rt_route *) route; /* of the last handler; NULL: none yet */
    _Atomic uint64_t ended;                     /* CLOCK_MONOTONIC, ns; 0: it runs */
    _Atomic uint64_t cpu_before, cpu;           /* ns of CPU time: at its start; all it took */
    _Atomic(struct oar_thread *) owed;          /* a loop that is to be nudged; NULL: none */
    uint64_t owed_since;                        /* this and what follows: the thread's alone */
    bool brief;                                 /* counted in pool.brief */
};

/* Jobs in order. */
struct line {
    struct oar_job *first, **last;
    int count;
};

struct oar_py_pool {
    pthread_mutex_t lock;
    pthread_cond_t some;
    /* Those that wait: handlers and calls; iterators that go on. They take turns, so that a handler
     * waits for one item of a response at most, however many are streamed. */
    struct line fresh, going_on;
    bool went_on;      /* whose turn it was */
    _Atomic int count; /* of both */
    int capacity;
    int idle;        /* threads that wait, and were not called */
    int called;      /* calls that no thread has followed yet */
    int coming;      /* threads that will look for a job: called, or just made */
    int brief;       /* threads that run a brief job, and will look for another */
    uint64_t taken;  /* jobs, ever */
    int eager, most; /* threads made without asking; at most */
    _Atomic int n_threads;
    _Atomic bool started;
    bool stopping;
    pthread_t *threads;        /* `most` of each */
    struct activity *activity; /* one a thread */
    pthread_t scout;
    pthread_cond_t full; /* for the scout: no thread is idle and jobs wait, or the end */
    bool scouts, scout_waits;
    pthread_t ticker;
    pthread_cond_t tick; /* for the ticker: it is to begin, or to end */
    bool ticks, ticker_waits;
};
extern struct oar_py_pool oar_py_pool;

int oar_py_cpu_share(void);
/* ns of CPU time that the thread has used. */
uint64_t oar_py_cpu_of(pthread_t thread);
/* Under the lock. Where one cannot be had, there will be no more. */
void oar_py_pool_add_thread(void);
/* Under the lock: jobs wait that no thread has come for. */
void oar_py_pool_grow(void);

#endif
