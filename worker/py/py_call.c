/* SPDX-License-Identifier: MIT
 * Calls handlers: validated values become Python objects, the handler runs in a context of its own,
 * its result becomes the response. Process: worker; a loop's thread, or a thread of the pool. Owns
 * references for the length of a call. Never makes a thread state, never leaves an exception set
 * behind it. */
#include "worker/py/py.h"

static PyObject *uuid_object(const uint8_t *bytes)
{
    PyObject *raw = PyBytes_FromStringAndSize((const char *)bytes, 16);
    PyObject *args[] = {raw};
    PyObject *uuid = raw ? PyObject_Vectorcall(oar_py.uuid_type, args, 0, oar_py.bytes_name) : NULL;
    Py_XDECREF(raw);
    return uuid;
}

/* New reference. Text of a client is never interned: on the free-threaded build that would be for
 * ever. */
static PyObject *value_object(const struct oar_value *v, PyObject *standard)
{
    PyObject *o = NULL;
    switch (v->tag) {
    case OAR_VAL_DEFAULT: o = Py_NewRef(standard ? standard : Py_None); break;
    case OAR_VAL_INT: o = PyLong_FromLongLong(v->i); break;
    case OAR_VAL_BIG: o = PyLong_FromString(v->text.ptr, NULL, 10); break;
    case OAR_VAL_FLOAT: o = PyFloat_FromDouble(v->f); break;
    case OAR_VAL_BOOL: o = PyBool_FromLong((long)v->i); break;
    case OAR_VAL_STR:
        o = PyUnicode_DecodeUTF8(v->text.ptr, (Py_ssize_t)v->text.len, "replace");
        break;
    case OAR_VAL_UUID: o = uuid_object(v->uuid); break;
    }
    return o;
}

/* New reference; the request keeps one until its response is made. */
static PyObject *background_object(struct oar_request *r)
{
    PyObject *work = PyObject_CallNoArgs(oar_py.background_type);
    Py_XSETREF(*(PyObject **)&r->background, Py_XNewRef(work));
    return work;
}

PyObject *oar_py_invoke(const struct oar_py_thread *t, const struct oar_py_handler *h,
                        struct oar_request *r)
{
    PyObject *args[OAR_MAX_PARAMS + 2];
    PyObject *result = NULL;
    int n = 0;
    if (h->n_params == 0) {
        return PyObject_CallNoArgs(h->call);
    }
    for (; n < h->n_params; n++) {
        const struct oar_py_param *p = &h->params[n];
        args[n + 1] = p->kind == OAR_ARG_VALUE     ? value_object(&r->values[p->value], p->standard)
                      : p->kind == OAR_ARG_REQUEST ? oar_py_request_new(t, r)
                                                   : background_object(r);
        if (!args[n + 1]) {
            goto out;
        }
    }
    result = PyObject_Vectorcall(
        h->call, args + 1, (size_t)(h->n_params - h->n_keywords) | PY_VECTORCALL_ARGUMENTS_OFFSET,
        h->kwnames);
out:
    while (n-- > 0) {
        Py_DECREF(args[n + 1]);
    }
    return result;
}

void oar_py_leave_context(PyObject *context)
{
    PyObject *exception = PyErr_GetRaisedException();
    if (PyContext_Exit(context) != 0) { /* the handler has meddled with contexts: its error wins */
        PyErr_Clear();
    }
    PyErr_SetRaisedException(exception);
}

void oar_py_run(struct oar_py_thread *t, struct oar_request *r)
{
    const struct oar_py_handler *h = &oar_py.handlers[r->route->handler];
    PyObject *context = PyContext_Copy(t->context);
    PyObject *result = NULL;
    if (context && PyContext_Enter(context) == 0) {
        result = oar_py_invoke(t, h, r);
        oar_py_leave_context(context);
    }
    if (result) {
        oar_py_respond(t, r, result, context);
        Py_DECREF(result);
    } else {
        oar_py_respond_error(t, r);
    }
    Py_XDECREF(context);
}

/* In the request's context: what the handler's function gave (stolen), as a coroutine. */
static PyObject *as_coroutine(PyObject *result)
{
    if (OAR_LIKELY(result && PyCoro_CheckExact(result))) {
        return result;
    }
    PyObject *coroutine =
        result ? PyObject_CallMethod(oar_py.worker, "awaited", "O", result) : NULL;
    Py_XDECREF(result);
    return coroutine;
}

/* The function itself runs in the request's context too: a decorator may set a variable before it
 * makes the coroutine. */
static enum oar_call start_async(struct oar_py_thread *t, struct oar_request *r,
                                 const struct oar_py_handler *h)
{
    enum oar_call call = OAR_CALL_DONE;
    PyObject *context = PyContext_Copy(t->context);
    bool entered = context && PyContext_Enter(context) == 0;
    PyObject *coroutine = entered ? as_coroutine(oar_py_invoke(t, h, r)) : NULL;
    if (coroutine) {
        call = oar_py_task_start(t, r, coroutine, context);
    } else {
        if (entered) {
            oar_py_leave_context(context);
        }
        oar_py_respond_error(t, r);
    }
    Py_XDECREF(context);
    return call;
}

/* A parameter is the request: its exchange is made here, on the loop's thread, so that the handler
 * knows of a client that leaves while it waits for the pool. */
static void make_exchange(struct oar_request *r)
{
    struct oar_exchange *x = oar_py.args->host->exchange(r);
    if (x) {
        oar_py.args->host->drop(x);
    }
}

/* A `def` on the driving thread: pinned there, or quick; and somebody is there to take the loop over.
 * Without the relay (--blocking-threshold 0) a pinned one runs here unprotected. */
static bool runs_here(const struct oar_py_thread *t, const struct oar_py_handler *h)
{
    bool wanted = !h->in_pool || (h->place && oar_py_place_here(h));
    return wanted && (oar_driver_may_enter(t->driver) || (!h->in_pool && !t->driver->signs));
}

/* Needs no interpreter. */
enum oar_call oar_py_hand_over(void *thread, struct oar_request *r)
{
    const struct oar_py_handler *h = &oar_py.handlers[r->route->handler];
    if (h->is_async || runs_here(thread, h)) {
        return OAR_CALL_INSIDE;
    }
    if (h->wants_request) {
        make_exchange(r);
    }
    if (oar_py_job_request(thread, r)) {
        return OAR_CALL_PENDING;
    }
    oar_py_respond_plain(r, 503);
    return OAR_CALL_DONE;
}

enum oar_call oar_py_call(void *thread, struct oar_request *r)
{
    struct oar_py_thread *t = thread;
    const struct oar_py_handler *h = &oar_py.handlers[r->route->handler];
    if (h->wants_request) {
        make_exchange(r);
    }
    if (!h->is_async) { /* hand_over has looked */
        return oar_py_place_run_here(t, r);
    }
    if (OAR_UNLIKELY(t->hides_loop)) {
        oar_py_show_loop(t);
    }
    return start_async(t, r, h);
}
