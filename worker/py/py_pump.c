/* SPDX-License-Identifier: MIT
 * Streamed responses: an async iterator becomes a task on its loop; a plain one is pumped: its items,
 * made one at a time by threads of the pool, go to the client until it ends, raises, or the client has
 * gone. Where the client is behind, the pump is parked in the exchange and holds no thread; where other
 * jobs wait, it goes behind them. Process: worker, any attached thread; resume on the loop's. A pump
 * owns its iterator and a reference to the exchange, until it ends. Never starts an iterator before
 * the head of its response was handed over; never runs it in two threads at once. */
#include <stdlib.h>

#include "shared/clock.h"
#include "worker/py/py.h"

/* A plain iterator whose items are a response's body. */
struct oar_py_pump {
    struct oar_job job;
    struct oar_parked parked;
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

/* How it goes on after some items. */
enum pace {
    PACE_AGAIN, /* at once, after the jobs that wait */
    PACE_PARK,  /* when there is room */
    PACE_DONE,  /* that was the last */
    PACE_BROKE, /* no more: the iterator has raised (exception set), or nobody reads */
};

/* In the pump's context. One item is made at a time, and none before there is room for it. */
static enum pace give_items(struct oar_exchange *x, PyObject *iterator)
{
    enum oar_room room = host()->is_gone(x) ? OAR_ROOM_GONE : OAR_ROOM_OK;
    enum pace pace = PACE_AGAIN;
    do {
        PyObject *item = room == OAR_ROOM_GONE ? NULL : PyIter_Next(iterator);
        int rc = item ? oar_py_give(x, item, &room) : 0;
        Py_XDECREF(item);
        if (room == OAR_ROOM_GONE || rc != 0 || PyErr_Occurred()) {
            pace = PACE_BROKE;
        } else if (!item) {
            pace = PACE_DONE;
        } else if (room == OAR_ROOM_WAIT) {
            pace = PACE_PARK;
        }
    } while (pace == PACE_AGAIN && !oar_py_pool_is_wanted());
    if (pace == PACE_BROKE) {
        PyObject *exception = PyErr_GetRaisedException();
        close_iterator(iterator);
        if (exception) {
            PyErr_SetRaisedException(exception);
        }
    }
    return pace;
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

static void finish(struct oar_py_pump *p, struct oar_py_thread *t, bool ok)
{
    report(p);
    host()->end(p->exchange, ok);
    oar_py_background_start(t, p->background, p->context, p->route);
    p->background = NULL;
    pump_free(p);
}

void oar_py_pump_run(struct oar_py_pump *p, struct oar_py_thread *t)
{
    enum pace pace = PACE_BROKE;
    uint64_t began = oar_now_ns();
    t->loop = p->from->loop; /* borrowed */
    t->home = p->from->home;
    if (PyContext_Enter(p->context) == 0) {
        pace = give_items(p->exchange, p->iterator);
        PyObject *exception = PyErr_GetRaisedException();
        if (PyContext_Exit(p->context) != 0) {
            PyErr_Clear();
        }
        if (exception) {
            PyErr_SetRaisedException(exception);
        }
    }
    p->job.brief = oar_now_ns() - began < OAR_BRIEF_NS;
    if (pace == PACE_DONE || pace == PACE_BROKE) {
        finish(p, t, pace == PACE_DONE);
    } else if (pace == PACE_AGAIN || !host()->park(p->exchange, &p->parked)) {
        oar_py_pool_go_on(&p->job);
    } /* else another thread may have it by now */
}

static void run(struct oar_job *job, void *thread)
{
    oar_py_pump_run(OAR_CONTAINER_OF(job, struct oar_py_pump, job), thread);
}

void oar_py_pump_hand_over(struct oar_py_pump *p)
{
    oar_py_pool_go_on(&p->job);
}

static void resume(struct oar_parked *parked)
{
    oar_py_pool_go_on(&OAR_CONTAINER_OF(parked, struct oar_py_pump, parked)->job);
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
            .parked = {.resume = resume},
            .exchange = x,
            .from = t->host ? t->owner : t->caller,
            .iterator = Py_NewRef(iterator),
            .context = Py_NewRef(context),
            .background = background,
            .route = route,
        };
        if (!t->host) {
            t->pump = p;
            rc = 0;
        } else if (oar_py_pool_start() == 0 && oar_py_pool_submit(&p->job)) {
            oar_py_handed(t);
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
        (void)oar_py_inside_end(t); /* who gives the items depends on whose thread this is by now */
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
