/* SPDX-License-Identifier: MIT
 * One round of an asyncio loop: what BaseEventLoop._run_once does. Waits (py_poller.c), takes the
 * timers that are due, calls what is ready. A round within a handler or a callback of the same loop
 * is a nested one. A _run_once that is not ours finds what is ready in asyncio's own queue.
 * Process: worker, or any Python program; on the loop's thread, attached. Owns nothing. Never calls
 * what became ready in the same round. */
#include "worker/py/py_loop.h"

/* What asyncio's own methods have put into _ready and _scheduled. */
static int take_foreign(struct oar_py_loop *l)
{
    Py_ssize_t n = l->foreign_ready ? PyObject_Size(l->foreign_ready) : 0;
    while (n-- > 0) {
        PyObject *handle = PyObject_CallMethod(l->foreign_ready, "popleft", NULL);
        int rc = handle ? oar_py_queue_push(&l->queue, handle) : -1;
        Py_XDECREF(handle);
        if (rc != 0) {
            return -1;
        }
    }
    n = l->foreign_timers ? PyObject_Size(l->foreign_timers) : 0;
    while (n-- > 0) {
        PyObject *handle = PyObject_CallMethod(l->foreign_timers, "pop", NULL);
        PyObject *when = handle ? PyObject_CallMethod(handle, "when", NULL) : NULL;
        double due = when ? PyFloat_AsDouble(when) : -1;
        int rc = when && !PyErr_Occurred() ? oar_py_queue_push_timer(&l->queue, handle, due) : -1;
        Py_XDECREF(when);
        Py_XDECREF(handle);
        if (rc != 0) {
            return -1;
        }
    }
    return n < -1 ? -1 : 0;
}

static int wait_for_events(PyObject *self, struct oar_py_loop *l, double timeout, bool nested)
{
    PyObject *list = oar_py_poller_wait(l->poller, timeout, nested);
    if (!list || list == Py_None) {
        Py_XDECREF(list);
        return list ? 0 : -1;
    }
    PyObject *none = PyObject_CallMethod(self, "_process_events", "O", list);
    Py_DECREF(list);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

static int run_handle(PyObject *self, struct oar_py_loop *l, PyObject *handle)
{
    PyTypeObject *type = Py_TYPE(handle);
    if (OAR_LIKELY(!l->debug && (type == &oar_py_handle_type || type == &oar_py_timer_type))) {
        return oar_py_handle_run(handle);
    }
    PyObject *none = oar_py_handle_is_cancelled(handle) ? Py_NewRef(Py_None)
                     : l->debug ? PyObject_CallMethod(self, "_run_slowly", "O", handle)
                                : PyObject_CallMethod(handle, "_run", NULL);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

/* Calls what was ready at the start; what becomes ready meanwhile waits a round. */
static int run_ready(PyObject *self, struct oar_py_loop *l)
{
    int rc = 0;
    l->runs = true;
    for (size_t n = oar_py_queue_count(&l->queue); rc == 0 && n > 0; n--) {
        PyObject *handle = oar_py_queue_pop(&l->queue); /* NULL: a nested round has called it */
        rc = handle ? run_handle(self, l, handle) : 0;
        Py_XDECREF(handle);
    }
    l->runs = false;
    return rc;
}

static int run_round(PyObject *self, struct oar_py_loop *l, bool nested)
{
    PyObject *stopping = PyObject_GetAttrString(self, "_stopping");
    int stops = stopping ? PyObject_IsTrue(stopping) : -1;
    Py_XDECREF(stopping);
    if (stops < 0 || take_foreign(l) != 0) {
        return -1;
    }
    oar_py_queue_tidy(&l->queue);
    double timeout = stops ? 0 : oar_py_queue_timeout(&l->queue);
    if (wait_for_events(self, l, timeout, nested) != 0 || take_foreign(l) != 0 ||
        oar_py_queue_take_due(&l->queue) != 0) {
        return -1;
    }
    return run_ready(self, l);
}

/* A round within a handler or a callback of the same loop (nest_asyncio, or somebody calls
 * _run_once): its tasks run as if the one that is running now were not. */
static int run_nested(PyObject *self, struct oar_py_loop *l)
{
    struct oar_py_thread *t = oar_py_here && oar_py_here->loop == self ? oar_py_here : NULL;
    struct oar_py_step *step = t ? t->step : NULL;
    bool runs = l->runs;
    if (step) {
        t->step = NULL;
    }
    PyObject *task = oar_py_swap_task(self, Py_None);
    int rc = task ? run_round(self, l, true) : -1;
    l->runs = runs;
    if (step) {
        t->step = step;
    }
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *none = task ? oar_py_swap_task(self, task) : NULL;
    if (task && !none) {
        PyErr_WriteUnraisable(self);
    }
    PyErr_SetRaisedException(exception);
    Py_XDECREF(none);
    Py_XDECREF(task);
    return rc;
}

PyObject *oar_py_loop_run_once(PyObject *self, PyObject *unused)
{
    struct oar_py_loop *l = (struct oar_py_loop *)self;
    (void)unused;
    if (!l->poller) {
        PyErr_SetString(PyExc_RuntimeError, "the loop has no poller");
        return NULL;
    }
    bool nested = l->runs || oar_py_poller_is_inside(l->poller);
    if ((OAR_UNLIKELY(nested) ? run_nested(self, l) : run_round(self, l, false)) != 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- for a _run_once that is not ours ------------------------------------------------------- */

/* Seconds until the next timer; None: there is none. */
PyObject *oar_py_loop_native_timeout(PyObject *self, PyObject *unused)
{
    struct oar_py_loop *l = (struct oar_py_loop *)self;
    (void)unused;
    oar_py_queue_tidy(&l->queue);
    double timeout = oar_py_queue_timeout(&l->queue);
    return timeout < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(timeout);
}

/* What is ready, and the timers that are due, go to _ready. */
PyObject *oar_py_loop_hand_over(PyObject *self, PyObject *unused)
{
    struct oar_py_loop *l = (struct oar_py_loop *)self;
    (void)unused;
    if (oar_py_queue_take_due(&l->queue) != 0) {
        return NULL;
    }
    for (PyObject *handle; (handle = oar_py_queue_pop(&l->queue));) {
        PyObject *none = PyObject_CallMethod(l->foreign_ready, "append", "O", handle);
        Py_DECREF(handle);
        if (!none) {
            return NULL;
        }
        Py_DECREF(none);
    }
    Py_RETURN_NONE;
}
