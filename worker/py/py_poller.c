/* SPDX-License-Identifier: MIT
 * asyncio's selector for one thread: select() is where HTTP happens. It detaches from the
 * interpreter, lets the event loop serve a round, attaches again, and returns what is ready for
 * asyncio. Process: worker, each on its own loop's thread. Owns references to the keys of watched
 * descriptors. Never waits attached: on the free-threaded build a garbage collection elsewhere
 * would wait for ever. */
#include "worker/py/py.h"

struct watched {
    struct oar_watch *watch; /* NULL: this descriptor is not watched */
    PyObject *key;           /* owned: asyncio's SelectorKey */
};

struct poller {
    PyObject_HEAD
    struct oar_py_thread *thread; /* borrowed */
    struct watched *by_fd;
    int size;
    bool told; /* the loop has been asked to stop */
};

enum { FIRED_AT_ONCE = 64 };

PyObject *oar_py_poller_new(struct oar_py_thread *t)
{
    PyTypeObject *type = (PyTypeObject *)oar_py_poller_type;
    struct poller *p = (struct poller *)type->tp_alloc(type, 0);
    if (p) {
        p->thread = t;
    }
    return (PyObject *)p;
}

static PyObject *result_list(const struct oar_fired *fired, int n)
{
    PyObject *list = PyList_New(n);
    for (int i = 0; list && i < n; i++) {
        PyObject *pair = Py_BuildValue("(Oi)", (PyObject *)fired[i].data, fired[i].events);
        if (!pair) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, pair);
        }
    }
    return list;
}

static PyObject *poller_select(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct poller *p = (struct poller *)self;
    const struct oar_host *host = oar_py.args->host;
    struct oar_fired fired[FIRED_AT_ONCE];
    double timeout = -1;
    int n;
    if (nargs > 0 && args[0] != Py_None) {
        timeout = PyFloat_AsDouble(args[0]);
        if (timeout == -1.0 && PyErr_Occurred()) {
            return NULL;
        }
        timeout = timeout < 0 ? 0 : timeout;
    }
    Py_BEGIN_ALLOW_THREADS
    n = host->poll(p->thread->host, timeout, fired, FIRED_AT_ONCE);
    Py_END_ALLOW_THREADS
    if (PyErr_CheckSignals() != 0) {
        return NULL;
    }
    if (host->stopping(p->thread->host) && !p->told) {
        PyObject *none = PyObject_CallMethod(p->thread->loop, "stop", NULL);
        if (!none) {
            return NULL;
        }
        Py_DECREF(none);
        p->told = true;
    }
    return result_list(fired, n);
}

static int grow(struct poller *p, int fd)
{
    int size = p->size ? p->size : 64;
    while (size <= fd) {
        size *= 2;
    }
    if (size > p->size) {
        struct watched *bigger = PyMem_Realloc(p->by_fd, (size_t)size * sizeof *bigger);
        if (!bigger) {
            PyErr_NoMemory();
            return -1;
        }
        memset(bigger + p->size, 0, (size_t)(size - p->size) * sizeof *bigger);
        p->by_fd = bigger;
        p->size = size;
    }
    return 0;
}

static PyObject *poller_watch(PyObject *self, PyObject *args)
{
    struct poller *p = (struct poller *)self;
    int fd;
    int events;
    PyObject *key; /* borrowed */
    if (!PyArg_ParseTuple(args, "iiO", &fd, &events, &key)) {
        return NULL;
    }
    if (fd < 0 || (events & ~(OAR_READABLE | OAR_WRITABLE))) {
        PyErr_Format(PyExc_ValueError, "cannot watch descriptor %d for events %d", fd, events);
        return NULL;
    }
    if (grow(p, fd) != 0) {
        return NULL;
    }
    struct watched *w = &p->by_fd[fd];
    if (w->watch) {
        oar_py.args->host->rewatch(p->thread->host, w->watch, events, key);
    } else {
        w->watch = oar_py.args->host->watch(p->thread->host, fd, events, key);
        if (!w->watch) {
            return PyErr_NoMemory();
        }
    }
    Py_XSETREF(w->key, Py_NewRef(key));
    Py_RETURN_NONE;
}

static PyObject *poller_unwatch(PyObject *self, PyObject *argument)
{
    struct poller *p = (struct poller *)self;
    int fd = PyLong_AsInt(argument);
    if (fd == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (fd >= 0 && fd < p->size && p->by_fd[fd].watch) {
        oar_py.args->host->unwatch(p->thread->host, p->by_fd[fd].watch);
        p->by_fd[fd].watch = NULL;
        Py_CLEAR(p->by_fd[fd].key);
    }
    Py_RETURN_NONE;
}

static void poller_dealloc(PyObject *self)
{
    struct poller *p = (struct poller *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (int fd = 0; fd < p->size; fd++) {
        if (p->by_fd[fd].watch) {
            oar_py.args->host->unwatch(p->thread->host, p->by_fd[fd].watch);
        }
        Py_XDECREF(p->by_fd[fd].key);
    }
    PyMem_Free(p->by_fd);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef poller_methods[] = {
    {"select", (PyCFunction)(void (*)(void))poller_select, METH_FASTCALL,
     "select(timeout=None, /)\n--\n\nServe, and return [(key, events)] as selectors.BaseSelector.select does."},
    {"watch", poller_watch, METH_VARARGS,
     "watch(fd, events, key, /)\n--\n\nStart or change watching a descriptor."},
    {"unwatch", poller_unwatch, METH_O, "unwatch(fd, /)\n--\n\nStop watching a descriptor."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot poller_slots[] = {
    {Py_tp_dealloc, poller_dealloc},
    {Py_tp_methods, poller_methods},
    {0, NULL},
};
PyType_Spec oar_py_poller_spec = {
    .name = "_oarlock.Poller",
    .basicsize = sizeof(struct poller),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = poller_slots,
};
