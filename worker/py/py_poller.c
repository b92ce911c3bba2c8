/* SPDX-License-Identifier: MIT
 * asyncio's selector for one loop. In a server waiting is where HTTP happens: it detaches from the
 * interpreter, lets the event loop serve a round, attaches again, and returns what is ready for
 * asyncio. A poller that a Python program makes has a libev loop of its own.
 * Process: worker, each on its own loop's thread; any Python program. Owns references to the keys
 * of watched descriptors. Never waits attached: on the free-threaded build a garbage collection
 * elsewhere would wait for ever. */
#include "worker/py/py_loop.h"

#include <fcntl.h>

#include "worker/poll.h"

struct watched {
    struct oar_watch *watch; /* NULL: this descriptor is not watched */
    PyObject *key;           /* owned: asyncio's SelectorKey */
};

struct poller {
    PyObject_HEAD
    struct oar_py_thread *thread; /* borrowed; NULL: it polls its own loop */
    struct oar_poll own;
    struct watched *by_fd;
    int size;
};

PyObject *oar_py_poller_new(struct oar_py_thread *t)
{
    PyTypeObject *type = (PyTypeObject *)oar_py_poller_type;
    struct poller *p = (struct poller *)type->tp_alloc(type, 0);
    if (p) {
        p->thread = t;
    }
    return (PyObject *)p;
}

static PyObject *poller_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) > 0 || kwargs) {
        PyErr_SetString(PyExc_TypeError, "Poller() takes no arguments");
        return NULL;
    }
    struct poller *p = (struct poller *)type->tp_alloc(type, 0);
    if (p) {
        oar_poll_init(&p->own);
        if (!p->own.ev) {
            PyErr_SetFromErrno(PyExc_OSError);
            Py_CLEAR(p);
        }
    }
    return (PyObject *)p;
}

PyObject *oar_py_poller_list(const struct oar_fired *fired, int n)
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

static int wait_in_server(struct poller *p, double timeout, struct oar_fired *fired, int room)
{
    const struct oar_host *host = oar_py.args->host;
    p->thread->timers_seen = oar_py_loop_timers(p->thread->loop);
    PyEval_SaveThread();
    int n = host->poll(p->thread->host, timeout, fired, room);
    oar_py_attach(p->thread);
    if (p->thread->serves && host->stopping(p->thread->host)) {
        PyObject *none = PyObject_CallMethod(p->thread->loop, "stop", NULL);
        if (!none) {
            return -1;
        }
        Py_DECREF(none);
        p->thread->serves = false;
    }
    return n;
}

int oar_py_poller_wait(PyObject *self, double timeout, struct oar_fired *fired, int room)
{
    struct poller *p = (struct poller *)self;
    int n;
    if (p->thread) {
        n = wait_in_server(p, timeout, fired, room);
    } else {
        Py_BEGIN_ALLOW_THREADS
        oar_poll_wait(&p->own, oar_list_empty(&p->own.fired) ? timeout : 0);
        Py_END_ALLOW_THREADS
        n = oar_poll_collect(&p->own, fired, room);
    }
    return n < 0 || PyErr_CheckSignals() != 0 ? -1 : n;
}

void oar_py_poller_wake(PyObject *self)
{
    struct poller *p = (struct poller *)self;
    if (p->thread) {
        oar_py.args->host->wake(p->thread->host);
    } else {
        oar_poll_wake(&p->own);
    }
}

static PyObject *poller_select(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct oar_fired fired[OAR_FIRED_AT_ONCE];
    double timeout = -1;
    if (nargs > 0 && args[0] != Py_None) {
        timeout = PyFloat_AsDouble(args[0]);
        if (timeout == -1.0 && PyErr_Occurred()) {
            return NULL;
        }
        timeout = timeout < 0 ? 0 : timeout;
    }
    int n = oar_py_poller_wait(self, timeout, fired, OAR_FIRED_AT_ONCE);
    return n < 0 ? NULL : oar_py_poller_list(fired, n);
}

static void change_watch(struct poller *p, struct watched *w, int events, PyObject *key)
{
    if (p->thread) {
        oar_py.args->host->rewatch(p->thread->host, w->watch, events, key);
    } else {
        oar_poll_rewatch(&p->own, w->watch, events, key);
    }
}

static struct oar_watch *start_watch(struct poller *p, int fd, int events, PyObject *key)
{
    return p->thread ? oar_py.args->host->watch(p->thread->host, fd, events, key)
                     : oar_poll_watch(&p->own, fd, events, key);
}

static void stop_watch(struct poller *p, struct watched *w)
{
    if (p->thread) {
        oar_py.args->host->unwatch(p->thread->host, w->watch);
    } else {
        oar_poll_unwatch(&p->own, w->watch);
    }
    w->watch = NULL;
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
    if (fcntl(fd, F_GETFD) < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (grow(p, fd) != 0) {
        return NULL;
    }
    struct watched *w = &p->by_fd[fd];
    if (w->watch) {
        change_watch(p, w, events, key);
    } else {
        w->watch = start_watch(p, fd, events, key);
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
        stop_watch(p, &p->by_fd[fd]);
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
            stop_watch(p, &p->by_fd[fd]);
        }
        Py_XDECREF(p->by_fd[fd].key);
    }
    PyMem_Free(p->by_fd);
    if (!p->thread) {
        oar_poll_free(&p->own);
    }
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
    {Py_tp_new, poller_make},
    {Py_tp_dealloc, poller_dealloc},
    {Py_tp_methods, poller_methods},
    {0, NULL},
};
PyType_Spec oar_py_poller_spec = {
    .name = "_oarlock.Poller",
    .basicsize = sizeof(struct poller),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = poller_slots,
};
