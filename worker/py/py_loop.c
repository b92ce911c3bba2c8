/* SPDX-License-Identifier: MIT
 * The native half of an asyncio loop (docs/decisions/007): what BaseEventLoop does for every
 * callback - call_soon, call_at, one round of the loop - with the ready queue and the timers in C.
 * The attributes that BaseEventLoop keeps (Lib/asyncio/base_events.py) live here under the same
 * names, so its other methods work as they are; handles that they make themselves are taken over at
 * the start of a round. In debug mode everything goes that way.
 * Process: worker, each loop on its own thread; call_soon_threadsafe from any. Also any Python
 * program that makes one of our loops. Owns its queue. Never calls a callback but in its own round. */
#include "worker/py/py_loop.h"

struct loop {
    PyObject_HEAD
    struct oar_py_queue queue;
    PyObject *poller;                         /* owned; NULL: not bound yet */
    PyObject *thread_id;                      /* owned: _thread_id */
    PyObject *foreign_ready, *foreign_timers; /* owned: _ready, _scheduled */
    bool debug, closed;
};

void oar_py_loop_timer_cancelled(PyObject *self)
{
    oar_py_queue_timer_cancelled(&((struct loop *)self)->queue);
}

bool oar_py_loop_debug(PyObject *self)
{
    return PyObject_TypeCheck(self, &oar_py_loop_type) && ((struct loop *)self)->debug;
}

uint64_t oar_py_loop_timers(PyObject *self)
{
    return PyObject_TypeCheck(self, &oar_py_loop_type)
               ? oar_py_queue_order(&((struct loop *)self)->queue)
               : 0;
}

bool oar_py_loop_is_busy(PyObject *self, uint64_t timers)
{
    struct loop *l = (struct loop *)self;
    return !PyObject_TypeCheck(self, &oar_py_loop_type) || l->debug ||
           oar_py_queue_count(&l->queue) > 0 || oar_py_queue_order(&l->queue) != timers ||
           PyObject_Size(l->foreign_ready) != 0 || PyObject_Size(l->foreign_timers) != 0;
}

static PyObject *future_type, *future_names; /* owned, for the process's life */

int oar_py_loop_init(void)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    future_type = asyncio ? PyObject_GetAttrString(asyncio, "Future") : NULL;
    future_names = future_type ? Py_BuildValue("(s)", "loop") : NULL;
    Py_XDECREF(asyncio);
    return future_names ? 0 : -1;
}

static PyObject *loop_create_future(PyObject *self, PyObject *unused)
{
    PyObject *args[] = {NULL, self};
    (void)unused;
    return PyObject_Vectorcall(future_type, args + 1, PY_VECTORCALL_ARGUMENTS_OFFSET, future_names);
}

/* ---- call_soon and its like ----------------------------------------------------------------- */

static bool is_open(const struct loop *l)
{
    if (l->closed) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    }
    return !l->closed;
}

/* The keyword-only argument `context`; NULL: exception set. Borrowed. */
static PyObject *context_of(PyObject *const *args, Py_ssize_t n, PyObject *names,
                            const char *function, Py_ssize_t positional)
{
    PyObject *context = Py_None;
    Py_ssize_t n_names = names ? PyTuple_GET_SIZE(names) : 0;
    if (n < positional) {
        PyErr_Format(PyExc_TypeError, "%s() missing a required positional argument", function);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n_names; i++) {
        if (!PyUnicode_EqualToUTF8(PyTuple_GET_ITEM(names, i), "context")) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function,
                         PyTuple_GET_ITEM(names, i));
            return NULL;
        }
        context = args[n + i];
    }
    return context;
}

/* In debug mode asyncio's own method, which checks more and remembers where a callback is from. */
static PyObject *by_asyncio(const char *method, PyObject *self, PyObject *const *args, Py_ssize_t n,
                            PyObject *names)
{
    PyObject *all[16];
    PyObject *base = PyObject_GetAttrString(self, "_base_loop");
    PyObject *function = base ? PyObject_GetAttrString(base, method) : NULL;
    PyObject *result = NULL;
    Py_ssize_t n_names = names ? PyTuple_GET_SIZE(names) : 0;
    PyObject **given =
        n + n_names + 1 <= 16 ? all : PyMem_New(PyObject *, (size_t)(n + n_names + 1));
    if (function && given) {
        given[0] = self;
        memcpy(given + 1, args, (size_t)(n + n_names) * sizeof *args);
        result = PyObject_Vectorcall(function, given, (size_t)n + 1, names);
    } else if (!given) {
        PyErr_NoMemory();
    }
    if (given != all) {
        PyMem_Free(given);
    }
    Py_XDECREF(function);
    Py_XDECREF(base);
    return result;
}

static PyObject *soon(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names,
                      const char *method)
{
    struct loop *l = (struct loop *)self;
    PyObject *context = context_of(args, n, names, method, 1);
    if (!context || !is_open(l)) {
        return NULL;
    }
    if (OAR_UNLIKELY(l->debug)) {
        return by_asyncio(method, self, args, n, names);
    }
    PyObject *handle = oar_py_handle_new(&oar_py_handle_type, self, args, n, context);
    if (handle && oar_py_queue_push(&l->queue, handle) != 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

static PyObject *loop_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                PyObject *names)
{
    return soon(self, args, n, names, "call_soon");
}

static PyObject *loop_call_soon_threadsafe(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                           PyObject *names)
{
    struct loop *l = (struct loop *)self;
    PyObject *handle = soon(self, args, n, names, "call_soon_threadsafe");
    if (handle && l->poller) {
        oar_py_poller_wake(l->poller);
    }
    return handle;
}

/* args[1] is the callback. */
static PyObject *call_at(PyObject *self, double when, PyObject *const *args, Py_ssize_t n,
                         PyObject *context)
{
    PyObject *handle = oar_py_handle_new(&oar_py_timer_type, self, args + 1, n - 1, context);
    if (handle) {
        ((struct oar_py_handle *)handle)->when = when;
        ((struct oar_py_handle *)handle)->scheduled = true;
        if (oar_py_queue_push_timer(&((struct loop *)self)->queue, handle, when) != 0) {
            Py_CLEAR(handle);
        }
    }
    return handle;
}

/* call_at and call_later: args[0] is a time, or how long from now. */
static PyObject *schedule(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names,
                          bool later)
{
    struct loop *l = (struct loop *)self;
    const char *method = later ? "call_later" : "call_at";
    PyObject *context = context_of(args, n, names, method, 2);
    if (!context) {
        return NULL;
    }
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, later ? "delay must not be None" : "when cannot be None");
        return NULL;
    }
    if (!is_open(l)) {
        return NULL;
    }
    if (OAR_UNLIKELY(l->debug)) {
        return by_asyncio(method, self, args, n, names);
    }
    double when = PyFloat_AsDouble(args[0]);
    if (when == -1 && PyErr_Occurred()) {
        return NULL;
    }
    return call_at(self, later ? oar_py_loop_now() + when : when, args, n, context);
}

static PyObject *loop_call_at(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    return schedule(self, args, n, names, false);
}

static PyObject *loop_call_later(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                 PyObject *names)
{
    return schedule(self, args, n, names, true);
}

static PyObject *loop_time(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return PyFloat_FromDouble(oar_py_loop_now());
}

static PyObject *loop_get_debug(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct loop *)self)->debug);
}

static PyObject *loop_is_closed(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct loop *)self)->closed);
}

static PyObject *loop_is_running(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *id = ((struct loop *)self)->thread_id;
    return PyBool_FromLong(id && id != Py_None);
}

static PyObject *loop_add_callback(PyObject *self, PyObject *handle)
{
    if (!oar_py_handle_is_cancelled(handle) &&
        oar_py_queue_push(&((struct loop *)self)->queue, handle) != 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *loop_timer_handle_cancelled(PyObject *self, PyObject *handle)
{
    PyObject *scheduled = PyObject_GetAttrString(handle, "_scheduled");
    int waits = scheduled ? PyObject_IsTrue(scheduled) : -1;
    Py_XDECREF(scheduled);
    if (waits < 0) {
        return NULL;
    }
    if (waits) {
        oar_py_loop_timer_cancelled(self);
    }
    Py_RETURN_NONE;
}

/* ---- a round -------------------------------------------------------------------------------- */

/* What asyncio's own methods have put into _ready and _scheduled. */
static int take_foreign(struct loop *l)
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

static int wait_for_events(PyObject *self, struct loop *l, double timeout)
{
    struct oar_fired fired[OAR_FIRED_AT_ONCE];
    int n = oar_py_poller_wait(l->poller, timeout, fired, OAR_FIRED_AT_ONCE);
    if (n <= 0) {
        return n;
    }
    PyObject *list = oar_py_poller_list(fired, n);
    PyObject *none = list ? PyObject_CallMethod(self, "_process_events", "O", list) : NULL;
    Py_XDECREF(list);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

static int run_handle(PyObject *self, struct loop *l, PyObject *handle)
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

static PyObject *loop_run_once(PyObject *self, PyObject *unused)
{
    struct loop *l = (struct loop *)self;
    (void)unused;
    if (!l->poller) {
        PyErr_SetString(PyExc_RuntimeError, "the loop has no poller");
        return NULL;
    }
    PyObject *stopping = PyObject_GetAttrString(self, "_stopping");
    int stops = stopping ? PyObject_IsTrue(stopping) : -1;
    Py_XDECREF(stopping);
    if (stops < 0 || take_foreign(l) != 0) {
        return NULL;
    }
    oar_py_queue_tidy(&l->queue);
    double timeout = stops ? 0 : oar_py_queue_timeout(&l->queue);
    if (wait_for_events(self, l, timeout) != 0 || take_foreign(l) != 0 ||
        oar_py_queue_take_due(&l->queue) != 0) {
        return NULL;
    }
    int rc = 0;
    for (size_t n = oar_py_queue_count(&l->queue); rc == 0 && n > 0;
         n--) { /* those that come meanwhile wait a round */
        PyObject *handle = oar_py_queue_pop(&l->queue);
        rc = handle ? run_handle(self, l, handle) : 0;
        Py_XDECREF(handle);
    }
    if (rc != 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- attributes that BaseEventLoop keeps ------------------------------------------------------ */

static PyObject *loop_get_flag(PyObject *self, void *which)
{
    struct loop *l = (struct loop *)self;
    return PyBool_FromLong(*(const char *)which == 'd' ? l->debug : l->closed);
}

static int loop_set_flag(PyObject *self, PyObject *value, void *which)
{
    struct loop *l = (struct loop *)self;
    int truth = value ? PyObject_IsTrue(value) : 0;
    if (truth >= 0 && *(const char *)which == 'd') {
        l->debug = truth;
    } else if (truth >= 0) {
        l->closed = truth;
        if (truth) {
            oar_py_queue_clear(&l->queue);
        }
    }
    return truth < 0 ? -1 : 0;
}

static PyObject **object_at(struct loop *l, char which)
{
    return which == 't' ? &l->thread_id : which == 'r' ? &l->foreign_ready : &l->foreign_timers;
}

static PyObject *loop_get_object(PyObject *self, void *which)
{
    PyObject *value = *object_at((struct loop *)self, *(const char *)which);
    return Py_NewRef(value ? value : Py_None);
}

static int loop_set_object(PyObject *self, PyObject *value, void *which)
{
    Py_XSETREF(*object_at((struct loop *)self, *(const char *)which), Py_XNewRef(value));
    return 0;
}

static PyObject *loop_bind(PyObject *self, PyObject *poller)
{
    if (!PyObject_TypeCheck(poller, (PyTypeObject *)oar_py_poller_type)) {
        PyErr_SetString(PyExc_TypeError, "a loop is bound to a Poller");
        return NULL;
    }
    Py_XSETREF(((struct loop *)self)->poller, Py_NewRef(poller));
    Py_RETURN_NONE;
}

static int loop_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct loop *l = (struct loop *)self;
    int rc = oar_py_queue_traverse(&l->queue, visit, arg);
    if (rc != 0) {
        return rc;
    }
    Py_VISIT(l->poller);
    Py_VISIT(l->thread_id);
    Py_VISIT(l->foreign_ready);
    Py_VISIT(l->foreign_timers);
    return 0;
}

static int loop_clear(PyObject *self)
{
    struct loop *l = (struct loop *)self;
    oar_py_queue_clear(&l->queue);
    Py_CLEAR(l->poller);
    Py_CLEAR(l->thread_id);
    Py_CLEAR(l->foreign_ready);
    Py_CLEAR(l->foreign_timers);
    return 0;
}

static void loop_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    loop_clear(self);
    oar_py_queue_free(&((struct loop *)self)->queue);
    Py_TYPE(self)->tp_free(self);
}

#define FAST(f) (PyCFunction)(void (*)(void))(f), METH_FASTCALL | METH_KEYWORDS
static PyMethodDef loop_methods[] = {
    {"call_soon", FAST(loop_call_soon), NULL},
    {"call_soon_threadsafe", FAST(loop_call_soon_threadsafe), NULL},
    {"call_later", FAST(loop_call_later), NULL},
    {"call_at", FAST(loop_call_at), NULL},
    {"create_future", loop_create_future, METH_NOARGS, NULL},
    {"time", loop_time, METH_NOARGS, NULL},
    {"get_debug", loop_get_debug, METH_NOARGS, NULL},
    {"is_closed", loop_is_closed, METH_NOARGS, NULL},
    {"is_running", loop_is_running, METH_NOARGS, NULL},
    {"_add_callback", loop_add_callback, METH_O, NULL},
    {"_timer_handle_cancelled", loop_timer_handle_cancelled, METH_O, NULL},
    {"_run_once", loop_run_once, METH_NOARGS, NULL},
    {"_bind", loop_bind, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef loop_getset[] = {
    {"_debug", loop_get_flag, loop_set_flag, NULL, (void *)"d"},
    {"_closed", loop_get_flag, loop_set_flag, NULL, (void *)"c"},
    {"_thread_id", loop_get_object, loop_set_object, NULL, (void *)"t"},
    {"_ready", loop_get_object, loop_set_object, NULL, (void *)"r"},
    {"_scheduled", loop_get_object, loop_set_object, NULL, (void *)"s"},
    {NULL, NULL, NULL, NULL, NULL},
};
/* Static types are immortal: their reference counts are no line that threads share. */
PyTypeObject oar_py_loop_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_oarlock.LoopCore",
    .tp_basicsize = sizeof(struct loop),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_new = PyType_GenericNew,
    .tp_dealloc = loop_dealloc,
    .tp_traverse = loop_traverse,
    .tp_clear = loop_clear,
    .tp_methods = loop_methods,
    .tp_getset = loop_getset,
};
