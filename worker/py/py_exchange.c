/* SPDX-License-Identifier: MIT
 * _oarlock.Exchange: a request's body and a streamed response, seen from Python; and the pump that
 * gives a plain iterator's items to the client. Process: worker, any attached thread; notify on the
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

/* A chunk as bytes: text is UTF-8. */
static int view_chunk(PyObject *chunk, Py_buffer *view)
{
    if (PyUnicode_Check(chunk)) {
        Py_ssize_t len;
        const char *utf8 = PyUnicode_AsUTF8AndSize(chunk, &len);
        return utf8 ? PyBuffer_FillInfo(view, chunk, (void *)utf8, len, 1, PyBUF_SIMPLE) : -1;
    }
    if (!PyObject_CheckBuffer(chunk)) {
        PyErr_Format(PyExc_TypeError, "a streamed response gives bytes or str, not %s",
                     Py_TYPE(chunk)->tp_name);
        return -1;
    }
    return PyObject_GetBuffer(chunk, view, PyBUF_SIMPLE);
}

/* -1: exception set. Detached only while it waits, or copies so much that others would notice: the
 * lock is never held for longer than it takes to copy, and taking the interpreter again costs up to
 * a switch interval beside a thread that computes. */
static int give(struct oar_exchange *x, PyObject *chunk, bool wait, enum oar_room *room)
{
    Py_buffer view;
    if (view_chunk(chunk, &view) != 0) {
        return -1;
    }
    *room = OAR_ROOM_OK;
    if (view.len > 0) { /* a chunk without bytes would be the last: RFC 9112 section 7.1 */
        PyThreadState *state = wait || view.len > COPY_DETACHED ? PyEval_SaveThread() : NULL;
        *room = host()->write(x, view.buf, (size_t)view.len, wait);
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
    if (give(of(self), chunk, false, &room) != 0) {
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
    return PyBool_FromLong(host()->is_gone(of(self)));
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
    const enum oar_waiter places[] = {OAR_WAIT_OVERDUE, OAR_WAIT_GONE};
    for (int i = 0; x && i < 1 + on_gone; i++) {
        if (!host()->arm(x, places[i], Py_NewRef(task))) {
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
        Py_XDECREF((PyObject *)host()->disarm(x, OAR_WAIT_GONE, NULL));
        host()->drop(x);
    }
}

/* ---- streamed responses ----------------------------------------------------------------------- */

/* A generator of a client that has gone ends as Python's do: with GeneratorExit. */
static void close_iterator(PyObject *iterator)
{
    PyObject *close = NULL;
    if (PyObject_GetOptionalAttrString(iterator, "close", &close) == 1) {
        Py_XDECREF(PyObject_CallNoArgs(close));
        Py_DECREF(close);
    }
}

static bool pump_items(struct oar_exchange *x, PyObject *iterator)
{
    enum oar_room room = host()->is_gone(x) ? OAR_ROOM_GONE : OAR_ROOM_OK;
    PyObject *item;
    while (room != OAR_ROOM_GONE && (item = PyIter_Next(iterator))) {
        int rc = give(x, item, true, &room);
        Py_DECREF(item);
        if (rc != 0) {
            break;
        }
    }
    bool ok = !PyErr_Occurred() && room != OAR_ROOM_GONE;
    if (!ok) {
        PyObject *exception = PyErr_GetRaisedException();
        close_iterator(iterator);
        if (exception) {
            PyErr_SetRaisedException(exception);
        }
    }
    return ok;
}

void oar_py_pump(struct oar_py_thread *t, struct oar_py_pump *p)
{
    bool ok = false;
    if (PyContext_Enter(p->context) == 0) {
        ok = pump_items(p->exchange, p->iterator);
        PyObject *exception = PyErr_GetRaisedException();
        if (PyContext_Exit(p->context) != 0) {
            PyErr_Clear();
        }
        if (exception) {
            PyErr_SetRaisedException(exception);
        }
    }
    if (PyErr_Occurred() && PyErr_ExceptionMatches(oar_py.client_disconnect)) {
        PyErr_Clear();
    } else if (PyErr_Occurred()) {
        char *text = oar_py_exception_text();
        struct oar_buf line = {0};
        oar_buf_printf(&line, "%s: a streamed response broke off: %s", p->route,
                       text ? text : "no memory");
        host()->log_text(OAR_LOG_ERROR, (struct oar_slice){line.data, line.len});
        oar_buf_free(&line);
        free(text);
    }
    host()->end(p->exchange, ok);
    oar_py_background_start(t, p->background, p->context, p->route);
    p->background = NULL;
    oar_py_pump_clear(p);
}

void oar_py_pump_clear(struct oar_py_pump *p)
{
    if (p->exchange) {
        host()->drop(p->exchange);
        Py_CLEAR(p->iterator);
        Py_CLEAR(p->context);
        Py_CLEAR(p->background);
        p->exchange = NULL;
    }
}

/* An async iterator: a task on the loop's thread. `background` is stolen. */
static int start_async(struct oar_py_thread *t, struct oar_exchange *x, PyObject *source,
                       PyObject *context, const char *route, PyObject *background)
{
    PyObject *object = oar_py_exchange_new(x);
    PyObject *none =
        object ? PyObject_CallFunction(oar_py.stream_start, "OOOOsOO", object, source, t->loop,
                                       context, route, t->host ? Py_True : Py_False,
                                       background ? background : Py_None)
               : NULL;
    int rc = none ? 0 : -1;
    if (rc != 0 && background) {
        host()->hold(t->home, -1);
    }
    Py_XDECREF(background);
    Py_XDECREF(none);
    Py_XDECREF(object);
    return rc;
}

/* A plain iterator may block: it is the pool's. On a thread of the pool it runs right there, after
 * the head of the response is on its way. */
static int start_plain(struct oar_py_thread *t, struct oar_py_pump *p)
{
    if (!t->host) {
        t->pump = *p;
        return 0;
    }
    if (oar_py_pool_submit(t, &(struct oar_py_job){.from = t, .pump = *p})) {
        return 0;
    }
    if (p->background) {
        host()->hold(t->home, -1);
    }
    oar_py_pump_clear(p);
    return -1;
}

static int start_stream(struct oar_py_thread *t, struct oar_request *r, PyObject *source,
                        PyObject *response, PyObject *context, bool *full)
{
    const char *route = oar_rt_text(oar_py.args->routes, r->route->path_off);
    bool is_async = PyObject_HasAttrString(source, "__aiter__");
    PyObject *iterator = is_async ? Py_NewRef(source) : PyObject_GetIter(source);
    struct oar_exchange *x = iterator ? host()->exchange(r) : NULL;
    int rc = -1;
    if (iterator && !x) {
        PyErr_NoMemory();
    } else if (x) {
        PyObject *background = oar_py_background_take(t, r, response);
        if (is_async) {
            rc = start_async(t, x, iterator, context, route, background);
        } else {
            struct oar_py_pump p = {x, Py_NewRef(iterator), Py_NewRef(context), route, background};
            rc = start_plain(t, &p);
            *full = rc != 0;
        }
    }
    Py_XDECREF(iterator);
    return rc;
}

int oar_py_stream(struct oar_py_thread *t, struct oar_request *r, PyObject *response,
                  PyObject *context, bool *full)
{
    PyObject *source = PyObject_GetAttr(response, oar_py.str_body_iterator);
    *full = false;
    int rc = source ? start_stream(t, r, source, response, context, full) : -1;
    Py_XDECREF(source);
    return rc;
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
    {"gone", get_gone, NULL, "Nobody reads the response any more.", NULL},
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
