/* SPDX-License-Identifier: MIT
 * _oarlock.Exchange: a request's body and a streamed response, seen from Python. Process: worker, any attached thread; notify on the
 * loop's thread. Owns a reference to the exchange, and whatever waits in its places until it is
 * taken out. Never blocks attached. */
#include "worker/py/py.h"

struct exchange_object {
    PyObject_HEAD
    struct oar_exchange *exchange; /* a reference */
};

enum { COPY_DETACHED = 256 * 1024 }; /* bytes */

PyObject *oar_py_exchange_type;

static const struct oar_host *host(void)
{
    return oar_py.args->host;
}

PyObject *oar_py_exchange_new(struct oar_exchange *x)
{
    PyTypeObject *type = (PyTypeObject *)oar_py_exchange_type;
    struct exchange_object *o = x ? (struct exchange_object *)type->tp_alloc(type, 0) : NULL;
    if (o) {
        o->exchange = x;
    } else if (x) {
        host()->drop(x);
    } else {
        PyErr_NoMemory();
    }
    return (PyObject *)o;
}

static void exchange_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    host()->drop(((struct exchange_object *)self)->exchange);
    type->tp_free(self);
    Py_DECREF(type);
}

static struct oar_exchange *of(PyObject *self)
{
    return ((struct exchange_object *)self)->exchange;
}

static PyObject *disconnected(void)
{
    PyErr_SetString(oar_py.client_disconnect, "the client has gone, or has its answer already");
    return NULL;
}

/* A chunk as bytes: text is UTF-8. PyUnicode_AsUTF8AndSize would leave a copy in the application's
 * string for as long as that lives, unless the text is ASCII. */
static int view_chunk(PyObject *chunk, Py_buffer *view)
{
    if (PyUnicode_Check(chunk) && PyUnicode_IS_ASCII(chunk)) {
        return PyBuffer_FillInfo(view, chunk, PyUnicode_DATA(chunk), PyUnicode_GET_LENGTH(chunk), 1,
                                 PyBUF_SIMPLE);
    }
    if (PyUnicode_Check(chunk)) {
        PyObject *utf8 = PyUnicode_AsUTF8String(chunk);
        int rc = utf8 ? PyObject_GetBuffer(utf8, view, PyBUF_SIMPLE) : -1; /* the view keeps it */
        Py_XDECREF(utf8);
        return rc;
    }
    if (!PyObject_CheckBuffer(chunk)) {
        PyErr_Format(PyExc_TypeError, "a streamed response gives bytes or str, not %s",
                     Py_TYPE(chunk)->tp_name);
        return -1;
    }
    return PyObject_GetBuffer(chunk, view, PyBUF_SIMPLE);
}

/* -1: exception set. Detached only to copy so much that others would notice: the lock is never
 * held for longer than it takes to copy, and taking the interpreter again costs up to
 * a switch interval beside a thread that computes. */
int oar_py_give(struct oar_exchange *x, PyObject *chunk, enum oar_room *room)
{
    Py_buffer view;
    if (view_chunk(chunk, &view) != 0) {
        return -1;
    }
    if (view.len == 0) { /* would be the last chunk: RFC 9112 section 7.1. Does anybody read? */
        *room = host()->is_gone(x) ? OAR_ROOM_GONE : OAR_ROOM_OK;
    } else {
        PyThreadState *state = view.len > COPY_DETACHED ? PyEval_SaveThread() : NULL;
        *room = host()->write(x, view.buf, (size_t)view.len);
        if (state) {
            PyEval_RestoreThread(state);
        }
    }
    PyBuffer_Release(&view);
    if (*room == OAR_ROOM_NO_MEMORY) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static PyObject *exchange_write(PyObject *self, PyObject *chunk)
{
    enum oar_room room;
    if (oar_py_give(of(self), chunk, &room) != 0) {
        return NULL;
    }
    return room == OAR_ROOM_GONE ? disconnected() : PyBool_FromLong(room == OAR_ROOM_WAIT);
}

static PyObject *take(PyObject *self, bool wait)
{
    struct oar_buf body;
    PyObject *bytes = NULL;
    enum oar_body state = host()->take_body(of(self), &body, false);
    if (wait && state == OAR_BODY_MORE && body.len == 0) {
        Py_BEGIN_ALLOW_THREADS
        state = host()->take_body(of(self), &body, true);
        Py_END_ALLOW_THREADS
    }
    if (body.len > 0 || state == OAR_BODY_COMPLETE) {
        bytes = PyBytes_FromStringAndSize(body.data, (Py_ssize_t)body.len);
    } else if (state == OAR_BODY_MORE) {
        bytes = Py_NewRef(Py_None);
    } else {
        disconnected();
    }
    oar_buf_free(&body);
    return bytes;
}

static PyObject *exchange_take(PyObject *self, PyObject *unused)
{
    (void)unused;
    return take(self, false);
}

static PyObject *exchange_take_blocking(PyObject *self, PyObject *unused)
{
    (void)unused;
    return take(self, true);
}

static bool which_of(PyObject *number, enum oar_waiter *which)
{
    long n = PyLong_AsLong(number);
    if (!PyErr_Occurred() && (n < 0 || n >= OAR_WAITERS)) {
        PyErr_Format(PyExc_ValueError, "there is nothing numbered %ld to wait for", n);
    }
    *which = (enum oar_waiter)n;
    return !PyErr_Occurred();
}

static PyObject *exchange_arm(PyObject *self, PyObject *args)
{
    PyObject *number;
    PyObject *waiter; /* both borrowed */
    enum oar_waiter which;
    if (!PyArg_ParseTuple(args, "OO", &number, &waiter) || !which_of(number, &which)) {
        return NULL;
    }
    bool armed = host()->arm(of(self), which, Py_NewRef(waiter));
    if (!armed) {
        Py_DECREF(waiter);
    }
    return PyBool_FromLong(armed);
}

static PyObject *exchange_disarm(PyObject *self, PyObject *number)
{
    enum oar_waiter which;
    if (!which_of(number, &which)) {
        return NULL;
    }
    Py_XDECREF((PyObject *)host()->disarm(of(self), which, NULL));
    Py_RETURN_NONE;
}

static PyObject *exchange_end(PyObject *self, PyObject *args)
{
    int ok;
    const char *text = NULL;
    if (!PyArg_ParseTuple(args, "p|z", &ok, &text)) {
        return NULL;
    }
    if (text) {
        host()->log_text(OAR_LOG_ERROR, oar_slice_of(text));
    }
    host()->end(of(self), ok);
    Py_RETURN_NONE;
}

static PyObject *get_gone(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(host()->has_left(of(self)));
}

/* ---- waiters ---------------------------------------------------------------------------------- */

static void wake_future(PyObject *future)
{
    PyObject *done = PyObject_CallMethod(future, "done", NULL);
    if (done && Py_IsFalse(done)) {
        Py_XDECREF(PyObject_CallMethod(future, "set_result", "O", Py_None));
    }
    Py_XDECREF(done);
}

void oar_py_notify(void *thread, struct oar_exchange *x)
{
    (void)thread;
    for (int which = 0; which < OAR_WAITERS; which++) {
        bool due;
        PyObject *waiter = host()->disarm(x, (enum oar_waiter)which, &due); /* owned */
        if (waiter && (which == OAR_WAIT_BODY || which == OAR_WAIT_ROOM)) {
            wake_future(waiter);
        } else if (waiter && due) {
            Py_XDECREF(PyObject_CallMethod(waiter, "cancel", NULL));
        }
        if (PyErr_Occurred()) {
            PyErr_WriteUnraisable(waiter);
        }
        Py_XDECREF(waiter);
    }
}

void oar_py_arm_cancel(struct oar_request *r, PyObject *task, bool on_gone)
{
    struct oar_exchange *x = host()->exchange(r);
    const enum oar_waiter places[] = {OAR_WAIT_OVERDUE, OAR_WAIT_LEFT};
    for (int i = 0; x && i < 1 + on_gone; i++) {
        if (!host()->arm(x, places[i], Py_NewRef(task))) { /* it is so already */
            PyObject *done = PyObject_CallMethod(task, "cancel", NULL);
            if (!done) {
                PyErr_WriteUnraisable(task);
            }
            Py_XDECREF(done);
            Py_DECREF(task);
        }
    }
    if (x) {
        host()->drop(x);
    }
}

void oar_py_disarm_cancel(struct oar_request *r)
{
    struct oar_exchange *x = host()->exchange(r);
    if (x) {
        Py_XDECREF((PyObject *)host()->disarm(x, OAR_WAIT_OVERDUE, NULL));
        Py_XDECREF((PyObject *)host()->disarm(x, OAR_WAIT_LEFT, NULL));
        host()->drop(x);
    }
}

static PyMethodDef exchange_methods[] = {
    {"write", exchange_write, METH_O,
     "write(chunk, /)\n--\n\nGive a chunk of the response. True: wait for room."},
    {"take", exchange_take, METH_NOARGS,
     "take()\n--\n\nWhat has come of the body; None: nothing yet; b\"\": that was all."},
    {"take_blocking", exchange_take_blocking, METH_NOARGS,
     "take_blocking()\n--\n\nLike take, but waits. Never on an event loop's thread."},
    {"arm", exchange_arm, METH_VARARGS,
     "arm(which, waiter, /)\n--\n\nKeep a waiter. False: it is so already."},
    {"disarm", exchange_disarm, METH_O, "disarm(which, /)\n--\n\nLet the waiter go."},
    {"end", exchange_end, METH_VARARGS,
     "end(ok, log=None, /)\n--\n\nThe streamed response is complete, or broken off."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef exchange_getters[] = {
    {"gone", get_gone, NULL, "The client has gone, or has sent FIN.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot exchange_slots[] = {
    {Py_tp_dealloc, exchange_dealloc},
    {Py_tp_methods, exchange_methods},
    {Py_tp_getset, exchange_getters},
    {0, NULL},
};
PyType_Spec oar_py_exchange_spec = {
    .name = "_oarlock.Exchange",
    .basicsize = sizeof(struct exchange_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = exchange_slots,
};
