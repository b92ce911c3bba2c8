/* SPDX-License-Identifier: MIT
 * What the interpreter costs an event loop: time waited for it, and for its garbage collections, in
 * the scoreboard; a long wait is blamed on the route whose handler used the interpreter meanwhile in
 * the pool. Process: worker. Owns nothing. Never takes the interpreter for longer than its caller
 * asked. */
#include "worker/py/py.h"

#include "shared/clock.h"

_Atomic int oar_py_loops_wait;
static const uint64_t LONG_NS = 10 * 1000 * 1000; /* two of Python's own switch intervals */

static void keep_longest(_Atomic uint64_t *longest, uint64_t ns)
{
    if (ns > OAR_GET_NOW(*longest)) {
        OAR_SET(*longest, ns); /* two threads at once: one of two long ones stands */
    }
}

static void blame(uint64_t ns)
{
    const struct oar_rt_route *route = oar_py_pool_suspect(oar_now_ns() - ns);
    if (route) {
        struct oar_route_live *live = &oar_py.args->live[route->handler];
        OAR_ADD_SHARED(live->blamed, 1);
        OAR_ADD_SHARED(live->blamed_ns, ns);
    }
}

void oar_py_attach(struct oar_py_thread *t)
{
    struct oar_slot *slot = oar_py.args->host->slot(t->host);
    uint64_t before = oar_now_ns();
#ifndef Py_GIL_DISABLED /* the pool's threads let go between two jobs */
    atomic_fetch_add_explicit(&oar_py_loops_wait, 1, memory_order_relaxed);
    PyEval_RestoreThread(t->state);
    atomic_fetch_sub_explicit(&oar_py_loops_wait, 1, memory_order_relaxed);
#else
    PyEval_RestoreThread(t->state);
#endif
    uint64_t ns = oar_now_ns() - before;
    OAR_ADD(slot->attach_count, 1);
    OAR_ADD(slot->attach_ns, ns);
    if (OAR_UNLIKELY(ns > LONG_NS)) {
        keep_longest(&slot->attach_longest_ns, ns);
        blame(ns);
    }
}

void oar_py_set_switch_interval(void)
{
    double seconds = oar_py.args->config->switch_interval;
    PyObject *sys = seconds > 0 ? PyImport_ImportModule("sys") : NULL;
    PyObject *none = sys ? PyObject_CallMethod(sys, "setswitchinterval", "d", seconds) : NULL;
    if (seconds > 0 && !none) {
        PyErr_WriteUnraisable(sys);
    }
    Py_XDECREF(none);
    Py_XDECREF(sys);
}

/* gc.callbacks calls it with the interpreter held, or the world stopped: never two at once. */
static PyObject *collection(PyObject *module, PyObject *args)
{
    static uint64_t began;
    const char *phase;
    PyObject *info; /* borrowed */
    (void)module;
    if (!PyArg_ParseTuple(args, "sO", &phase, &info)) {
        return NULL;
    }
    if (strcmp(phase, "start") == 0) {
        began = oar_now_ns();
    } else if (oar_py.first_thread) {
        struct oar_slot *slot =
            oar_py.args->host->slot(oar_py_here ? oar_py_here->host : oar_py.first_thread);
        uint64_t ns = oar_now_ns() - began;
        OAR_ADD_SHARED(slot->gc_count, 1);
        OAR_ADD_SHARED(slot->gc_ns, ns);
        keep_longest(&slot->gc_longest_ns, ns);
    }
    Py_RETURN_NONE;
}

int oar_py_watch_collections(void)
{
    static PyMethodDef method = {"oarlock_collection", collection, METH_VARARGS, NULL};
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *callbacks = gc ? PyObject_GetAttrString(gc, "callbacks") : NULL;
    PyObject *function = callbacks ? PyCFunction_NewEx(&method, NULL, NULL) : NULL;
    int rc = function ? PyList_Append(callbacks, function) : -1;
    Py_XDECREF(function);
    Py_XDECREF(callbacks);
    Py_XDECREF(gc);
    return rc;
}
