/* SPDX-License-Identifier: MIT
 * Handlers on a driving thread, and spare threads that drive (docs/decisions/012). While a `def`
 * runs on the thread that drives its event loop, that thread is in all things a thread of the pool:
 * it has no running loop and no part in one. When the handler has ended the thread is the loop's
 * again, unless the loop was taken over meanwhile: then it delivers as the pool does.
 * Process: worker. A spare makes its thread state once; what it drives belongs to the loop's own
 * thread and is borrowed. Never touches the loop after it was taken over. */
#include <stdlib.h>

#include "worker/py/py_loop.h"

/* ---- a handler on the driving thread ---------------------------------------------------------- */

static int set_running_loop(PyObject *loop)
{
    PyObject *none = PyObject_CallOneArg(oar_py.set_running_loop, loop);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

static bool hide_loop(struct oar_py_thread *t)
{
    t->hides_loop = t->hides_loop || set_running_loop(Py_None) == 0;
    return t->hides_loop;
}

void oar_py_show_loop(struct oar_py_thread *t)
{
    if (set_running_loop(t->loop) != 0) {
        PyErr_WriteUnraisable(t->loop);
    }
    t->hides_loop = false;
}

bool oar_py_inside_begin(struct oar_py_thread *t)
{
    if (!hide_loop(t)) {
        return false;
    }
    oar_py_here = NULL;
    t->host = NULL;
    t->caller = t->owner;
    t->lost = false;
    t->is_inside = true;
    t->protected = t->driver->signs != NULL;
    if (t->protected) {
        t->inside = oar_driver_enter(t->driver);
    }
    return true;
}

bool oar_py_inside_end(struct oar_py_thread *t)
{
    if (!t->is_inside) {
        return !t->lost;
    }
    t->is_inside = false;
    t->lost = t->protected && !oar_driver_leave(t->driver, t->inside);
    if (OAR_UNLIKELY(t->lost)) {
        oar_driver_caught_up(t->driver); /* as in the pool, until the thread drives again */
        return false;
    }
    t->host = t->home;
    oar_py_here = t;
    return true;
}

/* ---- a spare ---------------------------------------------------------------------------------- */

void *oar_py_spare_start(void)
{
    struct oar_py_thread *t = calloc(1, sizeof *t);
    if (t) {
        t->is_spare = true;
        t->state = PyThreadState_New(oar_py.interpreter);
    }
    if (!t || !t->state) {
        oar_py.args->host->log(OAR_LOG_WARNING,
                               "no memory for a thread that takes event loops over");
        free(t);
        t = NULL;
    }
    return t;
}

/* What belongs to the loop is its own thread's, and borrowed. */
static void borrow(struct oar_py_thread *t, struct oar_thread *host, struct oar_py_thread *own)
{
    t->host = t->home = host;
    t->owner = own;
    t->driver = own->driver;
    t->loop = own->loop;
    t->context = own->context;
    t->poller = own->poller;
    t->lifespan_state = own->lifespan_state;
    t->needs = own->needs;
    t->tasks = own->tasks;
    t->index = own->index;
    t->hides_loop = t->in_batch = false;
    t->timers_seen = 0;
}

void oar_py_spare_drive(void *state, struct oar_thread *host, void *own)
{
    struct oar_py_thread *t = state;
    borrow(t, host, own);
    oar_py_poller_set_thread(t->poller, t);
    oar_py_here = t;
    oar_py_attach(t);
    PyObject *left = NULL;
    while (!left) {
        left = PyObject_CallMethod(oar_py.worker, "drive", "O", t->loop);
        if (!left) {
            PyErr_WriteUnraisable(t->loop);
        }
    }
    bool lost = left == Py_True;
    Py_DECREF(left);
    t->state = PyEval_SaveThread();
    oar_py_here = NULL;
    if (!lost) {
        oar_py_poller_set_thread(t->poller, t->owner);
        oar_py.args->host->give_home(host);
    }
    t->host = NULL;
}

void oar_py_spare_stop(void *state)
{
    struct oar_py_thread *t = state;
    PyEval_RestoreThread(t->state);
    PyThreadState_Clear(t->state);
    PyThreadState_DeleteCurrent();
    oar_buf_free(&t->out);
    free(t);
}

/* The loop's own thread, attached nowhere: waits until it drives again. */
void oar_py_spare_wait_for_home(struct oar_py_thread *t)
{
    t->host = t->home;
    oar_py.args->host->wait_for_home(t->home);
    oar_py_poller_set_thread(t->poller, t);
    oar_py_here = t;
}

/* home_waits() -> bool: a driving spare is to give the loop back. */
PyObject *oar_py_spare_home_waits(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(oar_py_here && oar_py.args->host->home_waits(oar_py_here->host));
}
