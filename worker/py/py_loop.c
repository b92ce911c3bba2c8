/* SPDX-License-Identifier: MIT
 * The native half of an asyncio loop (docs/decisions/007): what BaseEventLoop does for every
 * callback - call_soon, call_at, one round of the loop (py_round.c) - with the ready queue and the
 * timers in C. The attributes that BaseEventLoop keeps (Lib/asyncio/base_events.py) live here under
 * the same names, so its other methods work as they are; handles that they make themselves are
 * taken over at the start of a round. In debug mode everything goes that way.
 * Process: worker, each loop on its own thread; call_soon_threadsafe from any. Also any Python
 * program that makes one of our loops. Owns its queue. Never calls a callback but in its own round. */
#include "worker/py/py_loop.h"

void oar_py_loop_timer_cancelled(PyObject *self)
{
    oar_py_queue_timer_cancelled(&((struct oar_py_loop *)self)->queue);
}

bool oar_py_loop_debug(PyObject *self)
{
    return PyObject_TypeCheck(self, &oar_py_loop_type) && ((struct oar_py_loop *)self)->debug;
}

uint64_t oar_py_loop_timers(PyObject *self)
{
    return PyObject_TypeCheck(self, &oar_py_loop_type)
               ? oar_py_queue_order(&((struct oar_py_loop *)self)->queue)
               : 0;
}

bool oar_py_loop_is_busy(PyObject *self, uint64_t timers)
{
    struct oar_py_loop *l = (struct oar_py_loop *)self;
    return !PyObject_TypeCheck(self, &oar_py_loop_type) || l->debug ||
           oar_py_queue_count(&l->queue) > 0 || oar_py_queue_order(&l->queue) != timers ||
           PyObject_Size(l->foreign_ready) != 0 || PyObject_Size(l->foreign_timers) != 0;
}

/* Owned, for the process's life. */
static PyObject *future_type, *future_names, *current_task, *context_name;

int oar_py_loop_init(void)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    future_type = asyncio ? PyObject_GetAttrString(asyncio, "Future") : NULL;
    future_names = future_type ? Py_BuildValue("(s)", "loop") : NULL;
    context_name = future_names ? PyUnicode_InternFromString("context") : NULL;
    current_task = context_name ? PyObject_GetAttrString(asyncio, "current_task") : NULL;
    Py_XDECREF(asyncio);
    return current_task ? 0 : -1;
}

int oar_py_loop_is_inside(const struct oar_py_thread *t)
{
    if (t->in_batch ||
        (PyObject_TypeCheck(t->loop, &oar_py_loop_type) && ((struct oar_py_loop *)t->loop)->runs)) {
        return 1;
    }
    PyObject *task = PyObject_CallOneArg(current_task, t->loop); /* a loop that is not ours */
    int inside = task ? task != Py_None : -1;
    Py_XDECREF(task);
    return inside;
}

static PyObject *loop_create_future(PyObject *self, PyObject *unused)
{
    PyObject *args[] = {NULL, self};
    (void)unused;
    return PyObject_Vectorcall(future_type, args + 1, PY_VECTORCALL_ARGUMENTS_OFFSET, future_names);
}

/* ---- call_soon and its like ----------------------------------------------------------------- */

static bool is_open(const struct oar_py_loop *l)
{
    if (l->closed) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    }
    return !l->closed;
}

/* What a method of asyncio.AbstractEventLoop calls its arguments. */
struct signature {
    const char *method;
    const char *names[2];
    Py_ssize_t positional; /* of `names` */
};

/* The arguments of a call, positional ones first. */
struct call {
    PyObject *const *args; /* borrowed */
    Py_ssize_t n;
    PyObject *context; /* borrowed; None: the caller's */
    PyObject *ordered[2];
};

static bool wrong_name(const struct signature *s, const char *what, PyObject *name)
{
    PyErr_Format(PyExc_TypeError, "%s() got %s argument '%U'", s->method, what, name);
    return false;
}

/* Where a keyword's value goes; NULL: exception set. */
static PyObject **place_of(const struct signature *s, struct call *c, PyObject *name)
{
    for (Py_ssize_t i = 0; i < s->positional; i++) {
        if (PyUnicode_EqualToUTF8(name, s->names[i])) {
            return i < c->n ? NULL : &c->ordered[i];
        }
    }
    return PyUnicode_EqualToUTF8(name, "context") ? &c->context : NULL;
}

/* Keywords other than `context`, or too few arguments. false: exception set. */
static bool read_slowly(struct call *c, const struct signature *s, PyObject *const *args,
                        Py_ssize_t n, PyObject *names)
{
    Py_ssize_t n_names = names ? PyTuple_GET_SIZE(names) : 0;
    *c = (struct call){.args = args, .n = n, .context = Py_None};
    for (Py_ssize_t i = 0; i < n_names; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        PyObject **place = place_of(s, c, name);
        if (!place) {
            return wrong_name(s, "an unexpected or repeated", name);
        }
        *place = args[n + i];
    }
    if (n >= s->positional) {
        return true;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        c->ordered[i] = args[i];
    }
    for (Py_ssize_t i = n; i < s->positional; i++) {
        if (!c->ordered[i]) {
            PyErr_Format(PyExc_TypeError, "%s() missing the required argument '%s'", s->method,
                         s->names[i]);
            return false;
        }
    }
    c->args = c->ordered;
    c->n = s->positional;
    return true;
}

/* asyncio's C code passes a string of its own, which is not the interned one. */
static bool is_context(PyObject *name)
{
    return name == context_name || PyUnicode_EqualToUTF8(name, "context");
}

static bool read_call(struct call *c, const struct signature *s, PyObject *const *args,
                      Py_ssize_t n, PyObject *names)
{
    bool enough = n >= s->positional;
    Py_ssize_t n_names = names ? PyTuple_GET_SIZE(names) : 0;
    c->args = args;
    c->n = n;
    c->context = Py_None;
    if (OAR_LIKELY(enough && n_names == 0)) {
        return true;
    }
    if (OAR_LIKELY(enough && n_names == 1 && is_context(PyTuple_GET_ITEM(names, 0)))) {
        c->context = args[n];
        return true;
    }
    return read_slowly(c, s, args, n, names);
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
                      const struct signature *signature)
{
    struct oar_py_loop *l = (struct oar_py_loop *)self;
    struct call call;
    if (!read_call(&call, signature, args, n, names) || !is_open(l)) {
        return NULL;
    }
    if (OAR_UNLIKELY(l->debug)) {
        return by_asyncio(signature->method, self, args, n, names);
    }
    PyObject *handle =
        oar_py_handle_new(&oar_py_handle_type, self, call.args, call.n, call.context);
    if (handle && oar_py_queue_push(&l->queue, handle) != 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

static PyObject *loop_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                PyObject *names)
{
    static const struct signature signature = {"call_soon", {"callback"}, 1};
    return soon(self, args, n, names, &signature);
}

static PyObject *loop_call_soon_threadsafe(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                           PyObject *names)
{
    struct oar_py_loop *l = (struct oar_py_loop *)self;
    static const struct signature signature = {"call_soon_threadsafe", {"callback"}, 1};
    PyObject *handle = soon(self, args, n, names, &signature);
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
        if (oar_py_queue_push_timer(&((struct oar_py_loop *)self)->queue, handle, when) != 0) {
            Py_CLEAR(handle);
        }
    }
    return handle;
}

/* call_at and call_later: the first argument is a time, or how long from now. The one place where
 * a time comes in: NaN compares as neither early nor late, so the heap would lose its order. */
static PyObject *schedule(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names,
                          const struct signature *signature, bool later)
{
    struct oar_py_loop *l = (struct oar_py_loop *)self;
    struct call call;
    if (!read_call(&call, signature, args, n, names)) {
        return NULL;
    }
    if (call.args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, later ? "delay must not be None" : "when cannot be None");
        return NULL;
    }
    double when = PyFloat_AsDouble(call.args[0]);
    if ((when == -1 && PyErr_Occurred()) || !is_open(l)) {
        return NULL;
    }
    if (when != when) {
        PyErr_Format(PyExc_ValueError, "%s(): the time is NaN (not a number)", signature->method);
        return NULL;
    }
    if (OAR_UNLIKELY(l->debug)) {
        return by_asyncio(signature->method, self, args, n, names);
    }
    return call_at(self, later ? oar_py_loop_now() + when : when, call.args, call.n, call.context);
}

static PyObject *loop_call_at(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    static const struct signature signature = {"call_at", {"when", "callback"}, 2};
    return schedule(self, args, n, names, &signature, false);
}

static PyObject *loop_call_later(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                 PyObject *names)
{
    static const struct signature signature = {"call_later", {"delay", "callback"}, 2};
    return schedule(self, args, n, names, &signature, true);
}

static PyObject *loop_time(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return PyFloat_FromDouble(oar_py_loop_now());
}

static PyObject *loop_get_debug(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct oar_py_loop *)self)->debug);
}

static PyObject *loop_is_closed(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct oar_py_loop *)self)->closed);
}

static PyObject *loop_is_running(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *id = ((struct oar_py_loop *)self)->thread_id;
    return PyBool_FromLong(id && id != Py_None);
}

static PyObject *loop_add_callback(PyObject *self, PyObject *handle)
{
    if (!oar_py_handle_is_cancelled(handle) &&
        oar_py_queue_push(&((struct oar_py_loop *)self)->queue, handle) != 0) {
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

/* ---- attributes that BaseEventLoop keeps ------------------------------------------------------ */

static PyObject *loop_get_flag(PyObject *self, void *which)
{
    struct oar_py_loop *l = (struct oar_py_loop *)self;
    return PyBool_FromLong(*(const char *)which == 'd' ? l->debug : l->closed);
}

static int loop_set_flag(PyObject *self, PyObject *value, void *which)
{
    struct oar_py_loop *l = (struct oar_py_loop *)self;
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

static PyObject **object_at(struct oar_py_loop *l, char which)
{
    return which == 't' ? &l->thread_id : which == 'r' ? &l->foreign_ready : &l->foreign_timers;
}

static PyObject *loop_get_object(PyObject *self, void *which)
{
    PyObject *value = *object_at((struct oar_py_loop *)self, *(const char *)which);
    return Py_NewRef(value ? value : Py_None);
}

static int loop_set_object(PyObject *self, PyObject *value, void *which)
{
    Py_XSETREF(*object_at((struct oar_py_loop *)self, *(const char *)which), Py_XNewRef(value));
    return 0;
}

static PyObject *loop_bind(PyObject *self, PyObject *poller)
{
    if (!PyObject_TypeCheck(poller, (PyTypeObject *)oar_py_poller_type)) {
        PyErr_SetString(PyExc_TypeError, "a loop is bound to a Poller");
        return NULL;
    }
    Py_XSETREF(((struct oar_py_loop *)self)->poller, Py_NewRef(poller));
    Py_RETURN_NONE;
}

static int loop_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct oar_py_loop *l = (struct oar_py_loop *)self;
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
    struct oar_py_loop *l = (struct oar_py_loop *)self;
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
    oar_py_queue_free(&((struct oar_py_loop *)self)->queue);
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
    {"_run_once", oar_py_loop_run_once, METH_NOARGS, NULL},
    {"_native_timeout", oar_py_loop_native_timeout, METH_NOARGS, NULL},
    {"_hand_over", oar_py_loop_hand_over, METH_NOARGS, NULL},
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
    .tp_basicsize = sizeof(struct oar_py_loop),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_new = PyType_GenericNew,
    .tp_dealloc = loop_dealloc,
    .tp_traverse = loop_traverse,
    .tp_clear = loop_clear,
    .tp_methods = loop_methods,
    .tp_getset = loop_getset,
};
