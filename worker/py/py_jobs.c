/* SPDX-License-Identifier: MIT
 * What the pool's threads run for the event loops: handlers of requests, and calls of
 * run_in_threadpool. Process: worker, an attached thread of the pool; the functions that submit on a
 * loop's thread. Owns a call's objects until it has run. Never touches a request once it was handed
 * back to its loop. */
#include <stdlib.h>

#include "shared/clock.h"
#include "worker/py/py.h"

struct call {
    struct oar_job job;
    PyObject *call, *deliver; /* owned */
};

static void count(const struct oar_py_thread *t)
{
    struct oar_slot *slot = oar_py.args->host->slot(t->home);
    OAR_ADD(slot->pool_calls, 1);
}

/* The response's bytes leave the thread's buffer with the request: the loop's thread frees them. */
static void detach_bytes(struct oar_py_thread *t, struct oar_request *r)
{
    if (t->out.data && r->response.body.ptr >= t->out.data &&
        r->response.body.ptr <= t->out.data + t->out.len) {
        r->response.owned = t->out.data;
        t->out = (struct oar_buf){0};
    }
}

/* To its loop: any thread of the pool, attached (nothing here blocks). */
static void deliver(struct oar_py_thread *t, struct oar_request *r, struct oar_thread *home)
{
    detach_bytes(t, r);
    if (oar_py.args->host->respond_elsewhere(home, r)) {
        oar_py_pool_owes(home);
    }
}

void oar_py_job_left(struct oar_py_thread *t, struct oar_request *r)
{
    struct oar_py_pump *pump = t->pump;
    t->pump = NULL;
    detach_bytes(t, r);
    if (oar_py.args->host->respond_elsewhere(t->home, r)) {
        oar_py.args->host->nudge(t->home);
    }
    if (pump) {
        oar_py_pump_hand_over(pump);
    }
    t->state = PyEval_SaveThread();
}

/* --server-timing: it waited in the queue until it was taken, or for a thread that came from there and
 * waited for the interpreter. */
static void began_in_pool(struct oar_timing *time, uint64_t woken)
{
    uint64_t now = oar_now_ns();
    uint64_t taken = OAR_MIN(OAR_MAX(woken, time->called_ns), now);
    time->queue_ns += taken - time->called_ns;
    time->gil_ns += now - taken;
    time->called_ns = now;
    time->in_pool = true;
}

/* Its response, or the head of it, goes to the client before any iterator runs. */
static void run_request(struct oar_job *job, void *thread)
{
    struct oar_py_thread *t = thread;
    struct oar_request *r = OAR_CONTAINER_OF(job, struct oar_request, job);
    struct oar_py_thread *from = r->caller;
    struct oar_py_handler *h = &oar_py.handlers[r->route->handler];
    uint64_t began = t->taken_ns;
    if (OAR_UNLIKELY(atomic_load_explicit(&r->gone, memory_order_relaxed) != OAR_GONE_NOT)) {
        oar_py_respond_plain(r, 503); /* nobody waits, nobody reads it: the handler does not run */
        deliver(t, r, from->home);
        return;
    }
    oar_py_pool_runs(r->route);
    if (OAR_UNLIKELY(r->timing != NULL)) {
        began_in_pool(r->timing, t->woken_ns);
    }
    t->caller = from;
    t->context = from->context;               /* borrowed for the call: each handler copies it */
    t->loop = from->loop;                     /* borrowed: where its async iterators run */
    t->lifespan_state = from->lifespan_state; /* borrowed */
    t->home = from->home;
    oar_py_place_run(t, r);
    struct oar_py_pump *pump = t->pump;
    t->pump = NULL;
    deliver(t, r, from->home);
    if (pump) {
        oar_py_pool_pays(); /* the head does not wait for an iterator that may block */
    }
    bool brief = !pump && oar_now_ns() - began < OAR_BRIEF_NS;
    if (brief != atomic_load_explicit(&h->brief, memory_order_relaxed)) {
        atomic_store_explicit(&h->brief, brief, memory_order_relaxed);
    }
    if (pump) {
        oar_py_pump_run(pump, t);
    }
}

bool oar_py_job_request(struct oar_py_thread *t, struct oar_request *r)
{
    const struct oar_py_handler *h = &oar_py.handlers[r->route->handler];
    r->caller = t->owner; /* whoever drives for it */
    r->job.run = run_request;
    r->job.brief = atomic_load_explicit(&h->brief, memory_order_relaxed);
    bool room = oar_py_pool_submit(&r->job);
    if (room) {
        count(t);
    }
    return room;
}

/* The outcome is delivered when no frame of the call is left: another thread will look at the
 * traceback of an exception. */
static void run_call(struct oar_job *job, void *thread)
{
    struct call *c = OAR_CONTAINER_OF(job, struct call, job);
    (void)thread;
    PyObject *result = PyObject_CallNoArgs(c->call);
    PyObject *exception = result ? NULL : PyErr_GetRaisedException();
    PyObject *none = PyObject_CallFunctionObjArgs(c->deliver, result ? result : Py_None,
                                                  exception ? exception : Py_None, NULL);
    if (!none) { /* the loop is closed: nobody waits */
        PyErr_Clear();
    }
    Py_XDECREF(none);
    Py_XDECREF(exception);
    Py_XDECREF(result);
    Py_DECREF(c->call);
    Py_DECREF(c->deliver);
    PyMem_RawFree(c);
}

int oar_py_job_call(struct oar_py_thread *t, PyObject *call, PyObject *deliver)
{
    struct call *c = oar_py_pool_start() == 0 ? PyMem_RawMalloc(sizeof *c) : NULL;
    if (!c) {
        PyErr_SetString(PyExc_RuntimeError, "the pool has no thread; the server's log says why");
        return -1;
    }
    *c = (struct call){
        .job = {.run = run_call}, .call = Py_NewRef(call), .deliver = Py_NewRef(deliver)};
    oar_py_pool_put(&c->job);
    count(t);
    return 0;
}
