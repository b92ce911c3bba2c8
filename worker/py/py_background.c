/* SPDX-License-Identifier: MIT
 * Work that follows a response (oarlock.BackgroundTasks), and the functions of _oarlock that only a
 * server offers: the log, the pool, the GIL's state. Process: worker, any attached thread. A
 * request owns what its handler's parameter collects until the response is made. Never starts
 * before the response was handed to its connection: it begins a round of the loop later. */
#include "worker/py/py.h"

static bool is_empty(PyObject *work)
{
    PyObject *tasks = PyObject_CallMethod(work, "_tasks", NULL);
    Py_ssize_t n = tasks ? PyObject_Size(tasks) : -1;
    if (n < 0) {
        PyErr_WriteUnraisable(work);
    }
    Py_XDECREF(tasks);
    return n <= 0;
}

PyObject *oar_py_background_take(struct oar_py_thread *t, struct oar_request *r, PyObject *response)
{
    PyObject *work = r->background; /* owned now */
    r->background = NULL;
    PyObject *own = response ? PyObject_GetAttr(response, oar_py.str_background) : NULL;
    if (own && own != Py_None) {
        Py_XSETREF(work, Py_NewRef(own));
    }
    Py_XDECREF(own);
    PyErr_Clear(); /* a subclass that does not call Response.__init__ has no such attribute */
    if (work && is_empty(work)) {
        Py_CLEAR(work);
    }
    if (work) {
        oar_py.args->host->hold(t->home, 1);
    }
    return work;
}

void oar_py_background_start(struct oar_py_thread *t, PyObject *work, PyObject *context,
                             const char *route)
{
    if (!work) {
        return;
    }
    PyObject *none = PyObject_CallFunction(oar_py.background_start, "OOOOs", t->loop, context,
                                           t->host ? Py_True : Py_False, work, route);
    if (!none) {
        PyErr_WriteUnraisable(work);
        oar_py.args->host->hold(t->home, -1);
    }
    Py_XDECREF(none);
    Py_DECREF(work);
}

void oar_py_background_drop(struct oar_request *r)
{
    PyObject *work = r->background;
    r->background = NULL;
    Py_XDECREF(work);
}

/* ---- for oarlock's own modules ---------------------------------------------------------------- */

static PyObject *background_done(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (oar_py_here) {
        oar_py.args->host->hold(oar_py_here->host, -1);
    }
    Py_RETURN_NONE;
}

static PyObject *server_log(PyObject *module, PyObject *args)
{
    const char *level;
    const char *text;
    (void)module;
    if (!PyArg_ParseTuple(args, "ss", &level, &text)) {
        return NULL;
    }
    if (!oar_py.args) {
        PySys_FormatStderr("%s: %s\n", level, text);
    } else {
        oar_py.args->host->log_text(*level == 'e'   ? OAR_LOG_ERROR
                                    : *level == 'w' ? OAR_LOG_WARNING
                                                    : OAR_LOG_INFO,
                                    oar_slice_of(text));
    }
    Py_RETURN_NONE;
}

static PyObject *has_pool(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(oar_py_here != NULL);
}

static PyObject *submit(PyObject *module, PyObject *args)
{
    PyObject *call;
    PyObject *deliver; /* both borrowed */
    (void)module;
    if (!PyArg_ParseTuple(args, "OO", &call, &deliver)) {
        return NULL;
    }
    if (!oar_py_here) {
        PyErr_SetString(PyExc_RuntimeError, "the pool belongs to a server's event loops");
        return NULL;
    }
    return oar_py_job_call(oar_py_here, call, deliver) == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *gil_is_on(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    oar_py.gil_is_on = true;
    if (oar_py_here) {
        OAR_SET(oar_py.args->host->slot(oar_py_here->host)->gil, 1);
    }
    Py_RETURN_NONE;
}

static PyObject *is_serving(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(OAR_GET_NOW(oar_py.serves));
}

static PyObject *grace(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyFloat_FromDouble(oar_py_here ? oar_py.args->host->grace(oar_py_here->host) : 0);
}

static PyObject *retire(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (oar_py_here) {
        oar_py.args->host->retire(oar_py_here->host);
    }
    Py_RETURN_NONE;
}

PyMethodDef oar_py_server_methods[] = {
    {"background_done", background_done, METH_NOARGS, NULL},
    {"log", server_log, METH_VARARGS, "log(level, text, /)\n--\n\nLines for the server's log."},
    {"has_pool", has_pool, METH_NOARGS, "has_pool()\n--\n\nIs this an event loop of a server?"},
    {"submit", submit, METH_VARARGS,
     "submit(call, deliver, /)\n--\n\nCall it in the pool, in its turn; then deliver(result, "
     "exception)."},
    {"gil_is_on", gil_is_on, METH_NOARGS, "gil_is_on()\n--\n\nAn extension has turned it on."},
    {"home_waits", oar_py_spare_home_waits, METH_NOARGS,
     "home_waits()\n--\n\nIs a spare thread to give the event loop back to its own thread?"},
    {"is_serving", is_serving, METH_NOARGS, "is_serving()\n--\n\nAre there event loops?"},
    {"grace", grace, METH_NOARGS, "grace()\n--\n\nSeconds of --graceful-timeout that are left."},
    {"retire", retire, METH_NOARGS, "retire()\n--\n\nThe worker drains, and is replaced."},
    {NULL, NULL, 0, NULL},
};
