/* SPDX-License-Identifier: MIT
 * Streamed responses: an async iterator becomes a task on its loop; a plain one is pumped, in a thread
 * of the pool: its items go to the client until it ends, raises, or the client has gone. Process:
 * worker, any attached thread. A pump owns its iterator and a reference to the exchange, until it ends.
 * Never starts an iterator before the head of its response was handed over. */
#include <stdlib.h>

#include "worker/py/py.h"

/* A plain iterator whose items are a response's body. */
struct oar_py_pump {
    struct oar_job job;
    struct oar_exchange *exchange; /* a reference */
    struct oar_py_thread *from;    /* the loop's thread */
    PyObject *iterator, *context;  /* owned */
    PyObject *background;          /* owned: what follows the last item; NULL: nothing */
    const char *route;             /* for the log */
};

static const struct oar_host *host(void)
{
    return oar_py.args->host;
}

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
        int rc = oar_py_give(x, item, true, &room);
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

static void pump_free(struct oar_py_pump *p)
{
    host()->drop(p->exchange);
    Py_DECREF(p->iterator);
    Py_DECREF(p->context);
    Py_XDECREF(p->background);
    PyMem_RawFree(p);
}

/* Reports the exception that is set, if there is one. */
static void report(const struct oar_py_pump *p)
{
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
}

void oar_py_pump_run(struct oar_py_pump *p, struct oar_py_thread *t)
{
    bool ok = false;
    t->loop = p->from->loop; /* borrowed */
    t->home = p->from->host;
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
    report(p);
    host()->end(p->exchange, ok);
    oar_py_background_start(t, p->background, p->context, p->route);
    p->background = NULL;
    pump_free(p);
}

static void run(struct oar_job *job, void *thread)
{
    oar_py_pump_run(OAR_CONTAINER_OF(job, struct oar_py_pump, job), thread);
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

/* A plain iterator may block: it is the pool's. On a thread of the pool it begins right there, after
 * the head of the response is on its way. The exchange and `background` are stolen. */
static int start_plain(struct oar_py_thread *t, struct oar_exchange *x, PyObject *iterator,
                       PyObject *context, const char *route, PyObject *background, bool *full)
{
    struct oar_py_pump *p = PyMem_RawMalloc(sizeof *p);
    int rc = -1;
    if (!p) {
        PyErr_NoMemory();
        host()->drop(x);
        Py_XDECREF(background);
    } else {
        *p = (struct oar_py_pump){
            .job = {.run = run},
            .exchange = x,
            .from = t->host ? t : t->caller,
            .iterator = Py_NewRef(iterator),
            .context = Py_NewRef(context),
            .background = background,
            .route = route,
        };
        if (!t->host) {
            t->pump = p;
            rc = 0;
        } else if (oar_py_pool_submit(&p->job)) {
            rc = 0;
        } else {
            *full = true;
            pump_free(p);
        }
    }
    if (rc != 0 && background) {
        host()->hold(t->home, -1);
    }
    return rc;
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
            rc = start_plain(t, x, iterator, context, route, background, full);
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
