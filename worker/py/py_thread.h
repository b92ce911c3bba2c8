/* SPDX-License-Identifier: MIT
 * A thread of the bridge, and the functions of spare threads (docs/decisions/012). Only worker/py/py.h
 * includes this. Functions need an attached thread state unless they say otherwise. */
#ifndef OARLOCK_PY_THREAD_H
#define OARLOCK_PY_THREAD_H

#include "shared/buf.h"
#include "worker/app.h" /* behind Python.h, which py.h has included */

/* One event-loop thread, one thread of the pool, or a spare, which borrows what its comments call
 * owned from the loop's own thread. Touched by that thread alone. */
struct oar_py_thread {
    /* NULL in the pool, and inside a `def` that runs on a driving thread */
    struct oar_thread *host;
    struct oar_thread *home;      /* host; in the pool that of the job's loop */
    struct oar_py_thread *owner;  /* the loop's own thread: this one, or that a spare drives for */
    struct oar_py_thread *caller; /* borrowed: in the pool the loop's own thread that called */
    struct oar_driver *driver;    /* of the loop; NULL in the pool */
    uint64_t inside;              /* what oar_driver_enter gave */
    bool is_inside;               /* a `def` runs on this driving thread */
    bool protected;               /* it has entered: the loop may be taken over */
    bool lost;                    /* it was */
    bool hides_loop;              /* asyncio sees no running loop here, though there is one */
    bool is_spare;
    PyThreadState *state;
    PyObject *loop;           /* owned: the asyncio loop; NULL in the pool */
    PyObject *context;        /* owned: copied for each handler */
    PyObject *poller;         /* owned */
    PyObject *lifespan_state; /* owned: dict; request.state begins as a copy */
    bool serves;              /* the loop runs to serve: it is told when the worker has drained */
    struct oar_buf out;       /* body, then header lines, of the response being made */
    struct oar_py_pump *pump; /* in the pool: to run once the response's head is sent */
    struct oar_py_step *step; /* the first step that is running; NULL: none */
    uint8_t *needs;           /* owned, by handler: how regularly it has needed a task of late */
    struct shard *tasks;      /* py_tasks.c's; NULL in the pool */
    uint64_t timers_seen;     /* of the loop, when it began to wait */
    bool asked;               /* somebody wanted to know the current task */
    bool in_batch;            /* handlers are being called */
    uint64_t woken_ns, taken_ns; /* in the pool: when it was called, when it took its job */
    int index;
};
/* The event-loop thread that this is; NULL elsewhere. */
extern _Thread_local struct oar_py_thread *oar_py_here __attribute__((tls_model("initial-exec")));

/* py_spare.c. Before a coroutine handler, and at the end of a batch: asyncio knows the running loop
 * again, which is hidden once for all the `def`s that follow each other in a batch. */
void oar_py_show_loop(struct oar_py_thread *t);
/* A `def` begins on the driving thread; it sees no running loop. false: exception set. */
bool oar_py_inside_begin(struct oar_py_thread *t);
/* It has ended, or the rest of it concerns the loop. false: the loop was taken over, and the thread
 * goes on as one of the pool. A second call says the same. */
bool oar_py_inside_end(struct oar_py_thread *t);
void *oar_py_spare_start(void);
void oar_py_spare_drive(void *state, struct oar_thread *host, void *own);
void oar_py_spare_stop(void *state);
void oar_py_spare_wait_for_home(struct oar_py_thread *t); /* detached */
PyObject *oar_py_spare_home_waits(PyObject *module, PyObject *unused);

#endif
