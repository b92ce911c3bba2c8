/* SPDX-License-Identifier: MIT
 * Coroutine handlers. One that is not known to need a task is stepped without (py_step.c); one that
 * has needed it of late starts as an asyncio.Task with eager_start (Python 3.12), which is cheaper
 * when a task is needed. Either has ended, if it never waits, when the call returns; one that waits
 * goes on as that task. Process: worker, on the loop's thread, inside the running loop. A
 * completion owns its reference to the task for as long as it waits; the request is the event
 * loop's and stays until it is answered. */
#include "worker/py/py_loop.h"

#include "shared/clock.h"

/* The done callback: called by asyncio with the task. */
struct completion {
    PyObject_HEAD
    struct oar_request *request; /* borrowed; NULL once it is answered */
    PyObject *context;           /* owned: the handler's, for what it streams */
    /* owned until it is done: asyncio itself holds tasks weakly, and one that waits for what only it
     * refers to would be collected. The collector does not look into a completion. */
    PyObject *task;
    bool cancels; /* the exchange holds the task */
};

/* Completes the response from a task that is done. */
static void take_result(struct oar_py_thread *t, struct oar_request *r, PyObject *task,
                        PyObject *context)
{
    PyObject *result = PyObject_CallMethodNoArgs(task, oar_py.str_result);
    if (result) {
        oar_py_respond(t, r, result, context);
        Py_DECREF(result);
    } else {
        oar_py_respond_error(t, r);
    }
}

static PyObject *completion_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct completion *c = (struct completion *)self;
    PyObject *task; /* borrowed */
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "O", &task)) {
        return NULL;
    }
    struct oar_request *r = c->request;
    if (r) {
        c->request = NULL;
        if (c->cancels) {
            oar_py_disarm_cancel(r);
        }
        take_result(oar_py_here, r, task, c->context); /* whoever drives the loop by now */
        oar_py.args->host->respond(r);
        Py_CLEAR(c->task);
    }
    Py_RETURN_NONE;
}

static void completion_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((struct completion *)self)->context);
    Py_XDECREF(((struct completion *)self)->task);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot completion_slots[] = {
    {Py_tp_call, completion_call},
    {Py_tp_dealloc, completion_dealloc},
    {0, NULL},
};
PyType_Spec oar_py_completion_spec = {
    .name = "_oarlock.Completion",
    .basicsize = sizeof(struct completion),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = completion_slots,
};

/* The response will come when the task ends. -1: exception set. */
static int respond_later(struct oar_request *r, PyObject *task, PyObject *context)
{
    bool on_gone = r->route->flags & OAR_ROUTE_CANCEL;
    PyTypeObject *type = (PyTypeObject *)oar_py_completion_type;
    struct completion *c = (struct completion *)type->tp_alloc(type, 0);
    if (!c) {
        return -1;
    }
    c->request = r;
    c->context = Py_NewRef(context);
    c->cancels = on_gone || oar_py.args->config->handler_timeout > 0;
    PyObject *none = PyObject_CallMethodOneArg(task, oar_py.str_add_done_callback, (PyObject *)c);
    if (!none) {
        c->request = NULL;
    } else {
        c->task = Py_NewRef(task);
    }
    if (none && c->cancels) {
        oar_py_arm_cancel(r, task, on_gone);
    }
    Py_DECREF(c);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

/* The response of a handler whose task is made. */
static enum oar_call follow(struct oar_py_thread *t, struct oar_request *r, PyObject *task,
                            PyObject *context)
{
    enum oar_call call = OAR_CALL_DONE;
    PyObject *done = PyObject_CallMethodNoArgs(task, oar_py.str_done);
    if (done && Py_IsTrue(done)) {
        take_result(t, r, task, context);
    } else if (done && respond_later(r, task, context) == 0) {
        call = OAR_CALL_PENDING;
    } else {
        oar_py_respond_error(t, r);
    }
    Py_XDECREF(done);
    return call;
}

static enum oar_call start_lazily(struct oar_py_thread *t, struct oar_request *r,
                                  PyObject *coroutine, PyObject *context, bool *needed)
{
    enum oar_call call = OAR_CALL_DONE;
    PyObject *result;
    enum oar_step step = oar_py_step(t, coroutine, context, &result);
    *needed = step == OAR_STEP_TASK;
    switch (step) {
    case OAR_STEP_RETURNED: oar_py_respond(t, r, result, context); break;
    case OAR_STEP_TASK: call = follow(t, r, result, context); break;
    case OAR_STEP_RAISED: oar_py_respond_error(t, r); break;
    }
    Py_XDECREF(result);
    return call;
}

static enum oar_call start_eagerly(struct oar_py_thread *t, struct oar_request *r,
                                   PyObject *coroutine, PyObject *context, bool *needed)
{
    enum oar_call call = OAR_CALL_DONE;
    t->asked = false;
    if (PyContext_Exit(context) != 0) { /* the task enters it */
        PyErr_Clear();                  /* the handler's function has meddled with contexts */
    }
    PyObject *task = oar_py_task_new(t, coroutine, context, true);
    if (task) {
        call = follow(t, r, task, context);
        Py_DECREF(task);
    } else { /* KeyboardInterrupt and SystemExit leave the constructor: they are this request's, not
                the loop's */
        oar_py_respond_error(t, r);
    }
    *needed = call == OAR_CALL_PENDING || t->asked;
    return call;
}

/* Needing a task counts four times as much as not needing one: the price of a wrong guess. */
enum { NEED = 4, NEEDS_REGULARLY = 8, MOST = 16 };

/* In debug mode a step that keeps the loop for long is reported, as asyncio reports a callback. */
static void report_slow(struct oar_py_thread *t, const struct oar_request *r, uint64_t ns)
{
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *none =
        PyObject_CallMethod(t->loop, "_first_step_took", "sd",
                            oar_rt_text(oar_py.args->routes, r->route->path_off), (double)ns / 1e9);
    if (!none) {
        PyErr_WriteUnraisable(t->loop);
    }
    Py_XDECREF(none);
    PyErr_SetRaisedException(exception);
}

enum oar_call oar_py_task_start(struct oar_py_thread *t, struct oar_request *r, PyObject *coroutine,
                                PyObject *context)
{
    uint8_t *needs = &t->needs[r->route->handler];
    bool lazily = oar_py.lazy_tasks && *needs < NEEDS_REGULARLY;
    bool debug = oar_py_loop_debug(t->loop);
    uint64_t before = OAR_UNLIKELY(debug) ? oar_now_ns() : 0;
    bool needed;
    enum oar_call call = (lazily ? start_lazily : start_eagerly)(t, r, coroutine, context, &needed);
    if (OAR_UNLIKELY(debug)) {
        report_slow(t, r, oar_now_ns() - before);
    }
    if (needed) {
        *needs = (uint8_t)OAR_MIN(*needs + NEED, MOST);
    } else if (*needs > 0) {
        --*needs;
    }
    Py_DECREF(coroutine);
    return call;
}
