/* SPDX-License-Identifier: MIT
 * asyncio's selector for one loop. In a server waiting is where HTTP happens: it detaches from the
 * interpreter, lets the event loop serve a round, attaches again, and returns what is ready for
 * asyncio. A wait within a handler or a callback (nested) serves nothing: it looks at asyncio's own
 * descriptors alone, because the connections are in the middle of a batch. A poller that a Python
 * program makes has a libev loop of its own.
 * Process: worker, each on its own loop's thread; any Python program. Owns references to the keys
 * of watched descriptors. Never waits attached: on the free-threaded build a garbage collection
 * elsewhere would wait for ever. */
#include "worker/py/py_loop.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "worker/poll.h"

struct watched {
    struct oar_watch *watch; /* NULL: this descriptor is not watched */
    PyObject *key;           /* owned: asyncio's SelectorKey */
    int events;
};

struct poller {
    PyObject_HEAD
    struct oar_thread *host;      /* borrowed, longer alive than any Python; NULL: own loop */
    struct oar_py_thread *thread; /* borrowed: that drives; NULL: own loop, or it has ended */
    struct oar_poll own;
    struct watched *by_fd;
    int size;
    _Atomic int nested_wake; /* owned descriptor: ends a nested wait; -1: there was none yet */
};

PyObject *oar_py_poller_new(struct oar_py_thread *t)
{
    PyTypeObject *type = (PyTypeObject *)oar_py_poller_type;
    struct poller *p = (struct poller *)type->tp_alloc(type, 0);
    if (p) {
        p->thread = t;
        p->host = t->home;
        p->nested_wake = -1;
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
        p->nested_wake = -1;
        oar_poll_init(&p->own);
        if (!p->own.ev) {
            PyErr_SetFromErrno(PyExc_OSError);
            Py_CLEAR(p);
        }
    }
    return (PyObject *)p;
}

/* The poller of a thread that has ended polls nothing, whoever still refers to it. */
static bool is_open(const struct poller *p)
{
    if (p->host && !p->thread) {
        PyErr_SetString(PyExc_RuntimeError, "the event loop's thread has ended");
        return false;
    }
    return true;
}

/* ---- waiting -------------------------------------------------------------------------------- */

/* [(key, events)], as selectors.BaseSelector.select gives; None: nothing fired. The keys are looked
 * up here, attached: what was watched when a descriptor fired may have gone since. */
static PyObject *keys_of(const struct poller *p, const struct oar_fired *fired, int n)
{
    PyObject *list = n > 0 ? PyList_New(0) : Py_NewRef(Py_None);
    for (int i = 0; list && i < n; i++) {
        if (fired[i].fd >= p->size || !p->by_fd[fired[i].fd].key) {
            continue;
        }
        PyObject *pair = Py_BuildValue("(Oi)", p->by_fd[fired[i].fd].key, fired[i].events);
        if (!pair || PyList_Append(list, pair) != 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(pair);
    }
    return list;
}

void oar_py_poller_set_thread(PyObject *self, struct oar_py_thread *driver)
{
    ((struct poller *)self)->thread = driver;
}

/* The loop's root task ends the loop (oarlock._worker). */
static int tell_if_drained(struct oar_py_thread *t)
{
    if (OAR_LIKELY(!t->owner->serves || !oar_py.args->host->stopping(t->home))) {
        return 0;
    }
    PyObject *none = PyObject_CallMethod(oar_py.worker, "thread_drained", "O", t->loop);
    t->owner->serves = !none; /* it is told again after a failure */
    Py_XDECREF(none);
    return none ? 0 : -1;
}

/* The loop was taken over while this thread was in a handler. A spare has no more to do with it; the
 * loop's own thread waits for it below its run_forever. Attached on return. -1: exception set. */
static int after_loss(struct oar_py_thread *t)
{
    t->in_batch = false;
    if (t->is_spare) {
        PyEval_RestoreThread(t->state);
        PyErr_SetNone(oar_py.taken_over);
        return -1;
    }
    oar_py_spare_wait_for_home(t);
    oar_py_attach(t);
    oar_py_show_loop(t);
    PyObject *id = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    int rc = id ? PyObject_SetAttrString(t->loop, "_thread_id", id) : -1;
    Py_XDECREF(id);
    return rc;
}

static PyObject *wait_in_server(struct poller *p, double timeout)
{
    struct oar_fired fired[OAR_FIRED_AT_ONCE];
    struct oar_py_thread *t = p->thread;
    t->timers_seen = oar_py_loop_timers(t->loop);
    t->state = PyEval_SaveThread();
    int n = oar_py.args->host->poll(p->host, timeout, fired, OAR_FIRED_AT_ONCE);
    if (OAR_LIKELY(n != OAR_POLL_LEFT)) {
        oar_py_attach(t);
    } else if (after_loss(t) != 0) {
        return NULL;
    }
    PyObject *list = keys_of(p, fired, n);
    if (list && tell_if_drained(t) != 0) {
        Py_CLEAR(list);
    }
    return list;
}

static PyObject *wait_alone(struct poller *p, double timeout)
{
    struct oar_fired fired[OAR_FIRED_AT_ONCE];
    Py_BEGIN_ALLOW_THREADS
    oar_poll_wait(&p->own, oar_list_empty(&p->own.fired) ? timeout : 0);
    Py_END_ALLOW_THREADS
    return keys_of(p, fired, oar_poll_collect(&p->own, fired, OAR_FIRED_AT_ONCE));
}

/* What asyncio watches, and the descriptor that ends the wait. PyMem_Malloc'ed; NULL: exception. */
static struct pollfd *nested_set(const struct poller *p, nfds_t *n)
{
    struct pollfd *set = PyMem_Malloc(((size_t)p->size + 1) * sizeof *set);
    if (!set) {
        PyErr_NoMemory();
        return NULL;
    }
    set[0] = (struct pollfd){.fd = p->nested_wake, .events = POLLIN};
    *n = 1;
    for (int fd = 0; fd < p->size; fd++) {
        if (p->by_fd[fd].watch) {
            set[(*n)++] = (struct pollfd){
                .fd = fd,
                .events = (short)((p->by_fd[fd].events & OAR_READABLE ? POLLIN : 0) |
                                  (p->by_fd[fd].events & OAR_WRITABLE ? POLLOUT : 0))};
        }
    }
    return set;
}

static int take_fired(const struct poller *p, const struct pollfd *set, nfds_t n,
                      struct oar_fired *fired)
{
    const short broken = POLLERR | POLLHUP | POLLNVAL; /* as libev: ready for all it waits for */
    int count = 0;
    for (nfds_t i = 1; i < n && count < OAR_FIRED_AT_ONCE; i++) {
        int events = (set[i].revents & (POLLIN | broken) ? OAR_READABLE : 0) |
                     (set[i].revents & (POLLOUT | broken) ? OAR_WRITABLE : 0);
        events &= set[i].fd < p->size ? p->by_fd[set[i].fd].events : 0;
        if (events) {
            fired[count++] = (struct oar_fired){.fd = set[i].fd, .events = events};
        }
    }
    return count;
}

static PyObject *wait_nested(struct poller *p, double timeout)
{
    struct oar_fired fired[OAR_FIRED_AT_ONCE];
    uint64_t count;
    nfds_t n;
    if (p->nested_wake < 0) { /* a wake-up from before it existed is not to be slept through */
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0) {
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        p->nested_wake = fd;
        timeout = 0;
    }
    struct pollfd *set = nested_set(p, &n);
    if (!set) {
        return NULL;
    }
    timeout = OAR_MIN(timeout, 86400.0); /* seconds: what a time_t holds, whatever was asked */
    struct timespec wait = {.tv_sec = (time_t)timeout,
                            .tv_nsec = (long)((timeout - (double)(time_t)timeout) * 1e9)};
    Py_BEGIN_ALLOW_THREADS
    ppoll(set, n, timeout < 0 ? NULL : &wait, NULL);
    Py_END_ALLOW_THREADS
    ssize_t taken = set[0].revents ? read(p->nested_wake, &count, sizeof count) : 0;
    (void)taken; /* empty: nothing is lost */
    int n_fired = take_fired(p, set, n, fired);
    PyMem_Free(set);
    return keys_of(p, fired, n_fired);
}

PyObject *oar_py_poller_wait(PyObject *self, double timeout, bool nested)
{
    struct poller *p = (struct poller *)self;
    if (!is_open(p)) {
        return NULL;
    }
    PyObject *list;
    if (!p->thread) {
        list = wait_alone(p, timeout);
    } else if (OAR_UNLIKELY(nested || p->thread->in_batch)) {
        list = wait_nested(p, timeout);
    } else {
        list = wait_in_server(p, timeout);
    }
    if (list &&
        PyErr_CheckSignals() != 0) { /* what fired fires again: watches are level-triggered */
        Py_CLEAR(list);
    }
    return list;
}

void oar_py_poller_wake(PyObject *self)
{
    struct poller *p = (struct poller *)self;
    if (!p->host) {
        oar_poll_wake(&p->own);
        return;
    }
    oar_py.args->host->wake(p->host);
    if (OAR_UNLIKELY(p->nested_wake >= 0)) {
        ssize_t put = write(p->nested_wake, &(uint64_t){1}, sizeof(uint64_t));
        (void)put; /* full: it will wake all the same */
    }
}

bool oar_py_poller_is_inside(PyObject *self)
{
    const struct oar_py_thread *t = ((struct poller *)self)->thread;
    return t && t->in_batch;
}

static PyObject *poller_select(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    struct poller *p = (struct poller *)self;
    double timeout = -1;
    if (nargs > 0 && args[0] != Py_None) {
        timeout = PyFloat_AsDouble(args[0]);
        if (timeout == -1.0 && PyErr_Occurred()) {
            return NULL;
        }
        if (timeout != timeout) {
            PyErr_SetString(PyExc_ValueError, "the timeout is NaN (not a number)");
            return NULL;
        }
        timeout = timeout < 0 ? 0 : timeout;
    }
    int nested = p->thread ? oar_py_loop_is_inside(p->thread) : 0;
    PyObject *list = nested < 0 ? NULL : oar_py_poller_wait(self, timeout, nested);
    if (list == Py_None) {
        Py_SETREF(list, PyList_New(0));
    }
    return list;
}

/* ---- what is watched -------------------------------------------------------------------------- */

static void change_watch(struct poller *p, struct watched *w, int events, PyObject *key)
{
    if (p->host) {
        oar_py.args->host->rewatch(p->host, w->watch, events, key);
    } else {
        oar_poll_rewatch(&p->own, w->watch, events, key);
    }
}

static struct oar_watch *start_watch(struct poller *p, int fd, int events, PyObject *key)
{
    return p->host ? oar_py.args->host->watch(p->host, fd, events, key)
                   : oar_poll_watch(&p->own, fd, events, key);
}

static void stop_watch(struct poller *p, struct watched *w)
{
    if (p->host) {
        oar_py.args->host->unwatch(p->host, w->watch);
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
    if (!PyArg_ParseTuple(args, "iiO", &fd, &events, &key) || !is_open(p)) {
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
    w->events = events;
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

static int poller_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct poller *p = (struct poller *)self;
    for (int fd = 0; fd < p->size; fd++) {
        Py_VISIT(p->by_fd[fd].key);
    }
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int poller_clear(PyObject *self)
{
    struct poller *p = (struct poller *)self;
    for (int fd = 0; fd < p->size; fd++) {
        if (p->by_fd[fd].watch) {
            stop_watch(p, &p->by_fd[fd]);
        }
        Py_CLEAR(p->by_fd[fd].key);
    }
    return 0;
}

void oar_py_poller_leave(PyObject *self)
{
    poller_clear(self);
    ((struct poller *)self)->thread = NULL;
}

static void poller_dealloc(PyObject *self)
{
    struct poller *p = (struct poller *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    poller_clear(self);
    PyMem_Free(p->by_fd);
    if (!p->host) {
        oar_poll_free(&p->own);
    }
    if (p->nested_wake >= 0) {
        close(p->nested_wake);
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
    {Py_tp_new, poller_make},    {Py_tp_dealloc, poller_dealloc}, {Py_tp_traverse, poller_traverse},
    {Py_tp_clear, poller_clear}, {Py_tp_methods, poller_methods}, {0, NULL},
};
PyType_Spec oar_py_poller_spec = {
    .name = "_oarlock.Poller",
    .basicsize = sizeof(struct poller),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = poller_slots,
};
