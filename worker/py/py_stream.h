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
};

/* Work for the pool: a handler to call, or only an iterator to exhaust. */
struct oar_py_job {
    struct oar_request *request; /* NULL: none */
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
/* Starts giving the items of `source` to the client, in the context. -1: exception set, unless the
 * pool is `full`. */
int oar_py_stream(struct oar_py_thread *t, struct oar_request *r, PyObject *source,
                  PyObject *context, bool *full);
/* Runs the iterator to its end, waiting for the client where it must. Clears `p`. */
void oar_py_pump(struct oar_py_pump *p);
void oar_py_pump_clear(struct oar_py_pump *p);

/* py_pool.c */
/* Makes the threads, once. Not 0: not all of them, the log says why; < 0: none. */
int oar_py_pool_start(void);
/* The job waits for a pool thread. false: the queue is full, or there are no threads. */
bool oar_py_pool_submit(struct oar_py_thread *t, const struct oar_py_job *job);
/* Ends and joins the threads; call detached. */
void oar_py_pool_stop(void);

#endif
