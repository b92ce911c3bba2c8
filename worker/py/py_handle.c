/* SPDX-License-Identifier: MIT
 * asyncio's Handle and TimerHandle in C: the same names and meaning (Lib/asyncio/events.py of
 * CPython), for what call_soon, call_at and their like give out. Process: worker, any attached
 * thread; a loop runs its handles on its own thread. A handle owns callback, arguments, context and
 * loop. Never made by a loop in debug mode: there asyncio's own handles remember where they come
 * from. */
#include "worker/py/py_loop.h"

static void drop_callback(struct oar_py_handle *h, PyObject *dropped[3])
{
    dropped[0] = h->callback;
    dropped[1] = h->one;
    dropped[2] = h->args;
    h->callback = h->one = h->args = NULL;
}

PyObject *oar_py_handle_new(PyTypeObject *type, PyObject *loop, PyObject *const *call, Py_ssize_t n,
                            PyObject *context)
{
    struct oar_py_handle *h = (struct oar_py_handle *)type->tp_alloc(type, 0);
    if (!h) {
        return NULL;
    }
    h->loop = Py_NewRef(loop);
    h->callback = Py_NewRef(call[0]);
    h->context = context == Py_None ? PyContext_CopyCurrent() : Py_NewRef(context);
    if (n == 2) {
        h->one = Py_NewRef(call[1]);
    } else if (n > 2) {
        h->args = PyTuple_New(n - 1);
        for (Py_ssize_t i = 1; h->args && i < n; i++) {
            PyTuple_SET_ITEM(h->args, i - 1, Py_NewRef(call[i]));
        }
    }
    if (!h->context || (n > 2 && !h->args)) {
        Py_CLEAR(h);
    }
    return (PyObject *)h;
}

static PyObject *invoke(PyObject *callback, PyObject *one, PyObject *args)
{
    return args  ? PyObject_Call(callback, args, NULL)
           : one ? PyObject_CallOneArg(callback, one)
                 : PyObject_CallNoArgs(callback);
}

/* -1: the exception is one that ends the loop's run. */
static int failed(PyObject *self)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
        PyErr_ExceptionMatches(PyExc_SystemExit)) {
        return -1;
    }
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *loop = ((struct oar_py_handle *)self)->loop;
    PyObject *none = PyObject_CallMethod(loop, "_callback_failed", "OO", self, exception);
    Py_DECREF(exception);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

int oar_py_handle_run(PyObject *self)
{
    struct oar_py_handle *h = (struct oar_py_handle *)self;
    PyObject *held[3] = {NULL, NULL, NULL}; /* owned: a cancel meanwhile must not free them */
    Py_BEGIN_CRITICAL_SECTION(self);
    if (!h->cancelled) {
        held[0] = Py_XNewRef(h->callback);
        held[1] = Py_XNewRef(h->one);
        held[2] = Py_XNewRef(h->args);
    }
    Py_END_CRITICAL_SECTION();
    if (!held[0]) {
        return 0;
    }
    PyObject *result = NULL;
    if (PyContext_Enter(h->context) == 0) {
        result = invoke(held[0], held[1], held[2]);
        PyObject *exception = result ? NULL : PyErr_GetRaisedException();
        int rc = PyContext_Exit(h->context);
        if (exception) {
            PyErr_SetRaisedException(exception);
        } else if (rc != 0) {
            Py_CLEAR(result);
        }
    }
    int rc = result ? 0 : failed(self);
    Py_XDECREF(result);
    for (int i = 0; i < 3; i++) {
        Py_XDECREF(held[i]);
    }
    return rc;
}

static PyObject *handle_run(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (oar_py_handle_run(self) != 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *handle_cancel(PyObject *self, PyObject *unused)
{
    struct oar_py_handle *h = (struct oar_py_handle *)self;
    PyObject *dropped[3] = {NULL, NULL, NULL};
    bool waits = false;
    (void)unused;
    Py_BEGIN_CRITICAL_SECTION(self);
    if (!h->cancelled) {
        h->cancelled = true;
        waits = h->scheduled;
        drop_callback(h, dropped);
    }
    Py_END_CRITICAL_SECTION();
    if (waits) {
        oar_py_loop_timer_cancelled(h->loop);
    }
    for (int i = 0; i < 3; i++) {
        Py_XDECREF(dropped[i]);
    }
    Py_RETURN_NONE;
}

static PyObject *handle_cancelled(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct oar_py_handle *)self)->cancelled);
}

static PyObject *handle_get_context(PyObject *self, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(((struct oar_py_handle *)self)->context);
}

static PyObject *timer_when(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyFloat_FromDouble(((struct oar_py_handle *)self)->when);
}

static PyObject *handle_get(PyObject *self, void *which)
{
    struct oar_py_handle *h = (struct oar_py_handle *)self;
    PyObject *value = NULL;
    Py_BEGIN_CRITICAL_SECTION(self);
    switch (*(const char *)which) {
    case 'c': value = Py_NewRef(h->callback ? h->callback : Py_None); break;
    case 'l': value = Py_NewRef(h->loop); break;
    case 'x': value = Py_NewRef(h->context); break;
    case 'C': value = PyBool_FromLong(h->cancelled); break;
    case 's': value = PyBool_FromLong(h->scheduled); break;
    case 'w': value = PyFloat_FromDouble(h->when); break;
    case 't': value = Py_NewRef(Py_None); break;
    default: /* the arguments */
        value = h->args       ? Py_NewRef(h->args)
                : h->one      ? PyTuple_Pack(1, h->one)
                : h->callback ? PyTuple_New(0)
                              : Py_NewRef(Py_None);
    }
    Py_END_CRITICAL_SECTION();
    return value;
}

/* As asyncio writes its own: <Handle f() at file:1>, <TimerHandle when=1.0 cancelled>. */
static PyObject *handle_repr(PyObject *self)
{
    return PyObject_CallMethod(((struct oar_py_handle *)self)->loop, "_describe_handle", "O", self);
}

static PyObject *timer_compare(PyObject *a, PyObject *b, int op)
{
    if (!Py_IS_TYPE(a, &oar_py_timer_type) || !Py_IS_TYPE(b, &oar_py_timer_type)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    double x = ((struct oar_py_handle *)a)->when;
    double y = ((struct oar_py_handle *)b)->when;
    bool same = a == b;
    switch (op) {
    case Py_EQ: return PyBool_FromLong(same);
    case Py_NE: return PyBool_FromLong(!same);
    case Py_LT: return PyBool_FromLong(x < y);
    case Py_LE: return PyBool_FromLong(x < y || same);
    case Py_GT: return PyBool_FromLong(x > y);
    default: return PyBool_FromLong(x > y || same);
    }
}

static Py_hash_t timer_hash(PyObject *self)
{
    PyObject *when = PyFloat_FromDouble(((struct oar_py_handle *)self)->when);
    Py_hash_t hash = when ? PyObject_Hash(when) : -1;
    Py_XDECREF(when);
    return hash;
}

static int handle_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct oar_py_handle *h = (struct oar_py_handle *)self;
    Py_VISIT(h->callback);
    Py_VISIT(h->one);
    Py_VISIT(h->args);
    Py_VISIT(h->context);
    Py_VISIT(h->loop);
    return 0;
}

static int handle_clear(PyObject *self)
{
    struct oar_py_handle *h = (struct oar_py_handle *)self;
    Py_CLEAR(h->callback);
    Py_CLEAR(h->one);
    Py_CLEAR(h->args);
    return 0;
}

static void handle_dealloc(PyObject *self)
{
    struct oar_py_handle *h = (struct oar_py_handle *)self;
    PyObject_GC_UnTrack(self);
    if (h->weak) {
        PyObject_ClearWeakRefs(self);
    }
    handle_clear(self);
    Py_CLEAR(h->context);
    Py_CLEAR(h->loop);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef handle_methods[] = {
    {"cancel", handle_cancel, METH_NOARGS, "cancel($self, /)\n--\n\nDo not call the callback."},
    {"cancelled", handle_cancelled, METH_NOARGS, "cancelled($self, /)\n--\n\nWas it cancelled?"},
    {"get_context", handle_get_context, METH_NOARGS,
     "get_context($self, /)\n--\n\nThe context that the callback runs in."},
    {"_run", handle_run, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyMethodDef timer_methods[] = {
    {"when", timer_when, METH_NOARGS,
     "when($self, /)\n--\n\nThe time it is due, in seconds of the loop's clock."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef handle_getset[] = {
    {"_callback", handle_get, NULL, NULL, (void *)"c"},
    {"_args", handle_get, NULL, NULL, (void *)"a"},
    {"_loop", handle_get, NULL, NULL, (void *)"l"},
    {"_context", handle_get, NULL, NULL, (void *)"x"},
    {"_cancelled", handle_get, NULL, NULL, (void *)"C"},
    {"_source_traceback", handle_get, NULL, NULL, (void *)"t"},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyGetSetDef timer_getset[] = {
    {"_when", handle_get, NULL, NULL, (void *)"w"},
    {"_scheduled", handle_get, NULL, NULL, (void *)"s"},
    {NULL, NULL, NULL, NULL, NULL},
};
/* Static types are immortal: their reference counts are no line that threads share. */
PyTypeObject oar_py_handle_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_oarlock.Handle",
    .tp_doc = "A callback that the loop will call, as asyncio.Handle.",
    .tp_basicsize = sizeof(struct oar_py_handle),
    .tp_weaklistoffset = offsetof(struct oar_py_handle, weak),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = handle_dealloc,
    .tp_traverse = handle_traverse,
    .tp_clear = handle_clear,
    .tp_methods = handle_methods,
    .tp_getset = handle_getset,
    .tp_repr = handle_repr,
};
PyTypeObject oar_py_timer_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_oarlock.TimerHandle",
    .tp_doc = "A callback that the loop will call at a time, as asyncio.TimerHandle.",
    .tp_basicsize = sizeof(struct oar_py_handle),
    .tp_base = &oar_py_handle_type,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = handle_dealloc,
    .tp_traverse = handle_traverse,
    .tp_clear = handle_clear,
    .tp_methods = timer_methods,
    .tp_getset = timer_getset,
    .tp_richcompare = timer_compare,
    .tp_hash = timer_hash,
};
