/* SPDX-License-Identifier: MIT
 * The bridge's exchange, pumps and pool. Only worker/py/py.h includes this. Functions need an
 * attached thread state unless they say otherwise. */
#ifndef OARLOCK_PY_STREAM_H
#define OARLOCK_PY_STREAM_H

#include "worker/app.h" /* behind Python.h, which py.h has included */

struct oar_py_thread;

/* A plain iterator whose items are a response's body. */
struct oar_py_pump {
    struct oar_exchange *exchange; /* a reference; NULL: nothing to do */
    PyObject *iterator, *context;  /* owned */
    const char *route;             /* for the log */
    PyObject *background;          /* owned: what follows the last item; NULL: nothing */
};

/* Work for the pool: a handler to call, or only an iterator to exhaust. */
struct oar_py_job {
    struct oar_request *request; /* NULL: none */
    PyObject *call;              /* owned: to be called without arguments; NULL: none */
    PyObject *deliver;           /* owned: gets its result and its exception, None for none */
    struct oar_py_thread *from;  /* the loop's thread that it came from */
    struct oar_py_pump pump;
};

/* py_exchange.c */
extern PyType_Spec oar_py_exchange_spec;
extern PyObject *oar_py_exchange_type; /* owned by the module */
/* Takes the reference; NULL is taken for a lack of memory. */
PyObject *oar_py_exchange_new(struct oar_exchange *x);
void oar_py_notify(void *thread, struct oar_exchange *x);
/* The task is cancelled when the handler is overdue; with `on_gone` when the client has gone too.
 */
void oar_py_arm_cancel(struct oar_request *r, PyObject *task, bool on_gone);
void oar_py_disarm_cancel(struct oar_request *r);
/* Starts giving the items of `response` to the client, in the context; its background work follows.
 * -1: exception set, unless the pool is `full`. */
int oar_py_stream(struct oar_py_thread *t, struct oar_request *r, PyObject *response,
                  PyObject *context, bool *full);
/* Runs the iterator to its end, waiting for the client where it must. Clears `p`. */
void oar_py_pump(struct oar_py_thread *t, struct oar_py_pump *p);
void oar_py_pump_clear(struct oar_py_pump *p);

/* py_pool.c */
/* Makes the first thread, once; others as jobs need them. -1: there is none, the log says why. */
int oar_py_pool_start(void);
/* The job waits for a pool thread. false: the queue is full, or there are no threads. */
bool oar_py_pool_submit(struct oar_py_thread *t, const struct oar_py_job *job);
/* The route whose handler has used most CPU time in the pool at some time since `since`
 * (CLOCK_MONOTONIC, ns). NULL: none ran. */
const struct oar_rt_route *oar_py_pool_suspect(uint64_t since);
/* Ends and joins the threads; call detached. */
void oar_py_pool_stop(void);
/* Delivers the response of a thread that does not drive, and starts the pump that came with it.
 * Detached on return. */
void oar_py_pool_deliver(struct oar_py_thread *t, struct oar_request *r);

/* py_background.c: what the handler's parameter collected, or `response` (NULL: none) carries.
 * Counted, so that a drain waits. New reference; NULL: nothing. */
PyObject *oar_py_background_take(struct oar_py_thread *t, struct oar_request *r,
                                 PyObject *response);
/* Starts it, a round of the loop later. Steals `work`; NULL: nothing. */
void oar_py_background_start(struct oar_py_thread *t, PyObject *work, PyObject *context,
                             const char *route);
void oar_py_background_drop(struct oar_request *r); /* of a handler that failed */

#endif
