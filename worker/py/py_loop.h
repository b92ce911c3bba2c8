/* SPDX-License-Identifier: MIT
 * The asyncio loop's native half: handles, the ready queue, timers, the poller. Only worker/py/
 * includes this. Functions need an attached thread state. */
#ifndef OARLOCK_PY_LOOP_H
#define OARLOCK_PY_LOOP_H

#include "worker/py/py.h"

/* A callback to be called; `when` and `scheduled` are a timer's. */
struct oar_py_handle {
    PyObject_HEAD
    PyObject *callback; /* owned; NULL: cancelled */
    PyObject *one;      /* owned: the only argument; NULL: none, or several */
    PyObject *args;     /* owned: several, as a tuple */
    PyObject *context;  /* owned */
    PyObject *loop;     /* owned */
    PyObject *weak;
    double when;
    bool cancelled, scheduled;
};
extern PyTypeObject oar_py_handle_type, oar_py_timer_type;

/* What a loop has to call. */
struct oar_py_timer {
    double when;
    uint64_t order; /* of two that are due at once the earlier made goes first */
    PyObject *handle;
};
struct oar_py_queue {
    PyObject **ready; /* owned handles: a ring */
    size_t first, count, capacity;
    struct oar_py_timer *timers; /* owned handles: a heap */
    size_t n_timers, timer_capacity, n_cancelled;
    uint64_t order;
#ifdef Py_GIL_DISABLED
    PyMutex lock;
#endif
};

/* py_queue.c: zeroed memory is an empty queue. Both pushes take a reference of their own. */
int oar_py_queue_push(struct oar_py_queue *q, PyObject *handle);
int oar_py_queue_push_timer(struct oar_py_queue *q, PyObject *handle, double when);
size_t oar_py_queue_count(struct oar_py_queue *q);         /* that are ready */
uint64_t oar_py_queue_order(struct oar_py_queue *q);       /* timers it has ever had */
PyObject *oar_py_queue_pop(struct oar_py_queue *q);        /* the caller's; NULL: none is ready */
void oar_py_queue_timer_cancelled(struct oar_py_queue *q); /* one that is in the heap */
/* Before the wait: lets go of cancelled timers where they cost something. */
void oar_py_queue_tidy(struct oar_py_queue *q);
double oar_py_queue_timeout(struct oar_py_queue *q); /* seconds; < 0: for ever */
int oar_py_queue_take_due(struct oar_py_queue *q);   /* timers that are due become ready */
void oar_py_queue_clear(struct oar_py_queue *q);
int oar_py_queue_traverse(struct oar_py_queue *q, visitproc visit, void *arg);
void oar_py_queue_free(struct oar_py_queue *q); /* after clear */
double oar_py_loop_now(void);                   /* seconds of the loop's clock */
bool oar_py_handle_is_cancelled(PyObject *handle);

/* py_handle.c. call[0] is the callback, then its n - 1 arguments; context None: a copy of the
 * current one. New reference. */
PyObject *oar_py_handle_new(PyTypeObject *type, PyObject *loop, PyObject *const *call, Py_ssize_t n,
                            PyObject *context);
/* Calls it in its context. -1: an exception that ends the loop's run is set. */
int oar_py_handle_run(PyObject *handle);

/* py_loop.c */
struct oar_py_loop {
    PyObject_HEAD
    struct oar_py_queue queue;
    PyObject *poller;                         /* owned; NULL: not bound yet */
    PyObject *thread_id;                      /* owned: _thread_id */
    PyObject *foreign_ready, *foreign_timers; /* owned: _ready, _scheduled */
    bool debug, closed;
    bool runs; /* a round's callbacks are being called */
};

extern PyTypeObject oar_py_loop_type;
int oar_py_loop_init(void); /* once, before any loop */
void oar_py_loop_timer_cancelled(PyObject *loop);
/* Timers it has ever had; 0 for a loop that is not ours. */
uint64_t oar_py_loop_timers(PyObject *loop);
/* Has it anything to do before its next timer, or a timer more than `timers`? */
bool oar_py_loop_is_busy(PyObject *loop, uint64_t timers);
bool oar_py_loop_debug(PyObject *loop); /* false for a loop that is not ours */
/* Is a handler, a callback or a task of the thread's loop running? -1: exception set. */
int oar_py_loop_is_inside(const struct oar_py_thread *t);

/* py_round.c: methods of a loop */
PyObject *oar_py_loop_run_once(PyObject *loop, PyObject *unused);
/* Seconds until the next timer; None: there is none. */
PyObject *oar_py_loop_native_timeout(PyObject *loop, PyObject *unused);
/* What is ready, and the timers that are due, go to _ready. */
PyObject *oar_py_loop_hand_over(PyObject *loop, PyObject *unused);

/* py_poller.c: a poller belongs to a server's thread, or has a libev loop of its own. */
extern PyType_Spec oar_py_poller_spec;
extern PyObject *oar_py_poller_type; /* owned by the module */
PyObject *oar_py_poller_new(struct oar_py_thread *t);
/* Waits, detached. `nested`: within a handler or a callback; serves nothing then. A new list of
 * (key, events), as selectors.BaseSelector.select gives; None: nothing fired; NULL: exception. */
PyObject *oar_py_poller_wait(PyObject *poller, double timeout, bool nested);
/* Are handlers of the thread that it serves being called? */
bool oar_py_poller_is_inside(PyObject *poller);
/* Any thread. */
void oar_py_poller_wake(PyObject *poller);
/* The thread that drives the loop from now on; called by it, or by the one that hands over. */
void oar_py_poller_set_thread(PyObject *poller, struct oar_py_thread *driver);
/* The server's thread ends: lets go of it, whoever still refers to the poller. */
void oar_py_poller_leave(PyObject *poller);

enum { OAR_FIRED_AT_ONCE = 64 };

#endif
