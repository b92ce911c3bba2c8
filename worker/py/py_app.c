/* SPDX-License-Identifier: MIT
 * The bridge's side of worker/app.h: one table of functions. GIL policy: every function here is
 * called detached but `call`, which runs between `enter` and `leave`; a loop's thread is attached
 * only while asyncio runs and inside a batch. Process: loader and worker. Owns the threads' states.
 * Never lets a handler's SystemExit end a loop. */
#include <stdlib.h>

#include "oarlock/version.h"
#include "shared/manifest.h"
#include "worker/py/py_loop.h"

/* Calls a function of oarlock._worker with the application's coordinates and what the options say.
 * New reference. */
static PyObject *with_target(const char *function)
{
    const struct oar_config *c = oar_py.args->config;
    return PyObject_CallMethod(oar_py.worker, function, "sO{s:i,s:s,s:s}", c->target,
                               c->factory ? Py_True : Py_False, "threads", oar_py.args->n_threads,
                               "gil", c->gil, "loop", oar_py_hooks_tried() ? c->loop : "stock");
}

/* Text of a (str, bool ok) pair; ok false: what went wrong. Malloc'ed. */
static enum oar_status take_pair(PyObject *pair, char **text)
{
    const char *utf8 = NULL;
    int ok = 0;
    if (pair && PyArg_ParseTuple(pair, "sp", &utf8, &ok)) {
        *text = strdup(utf8);
    } else {
        *text = oar_py_exception_text();
    }
    Py_XDECREF(pair);
    return ok ? OAR_OK : OAR_ERR;
}

static enum oar_status py_describe(const struct oar_app_args *args, char **manifest,
                                   struct oar_err *err)
{
    enum oar_status status = oar_py_initialize(args, manifest, err);
    if (status == OAR_OK) {
        status = take_pair(with_target("describe"), manifest);
    }
    return status;
}

/* Logs the exception that is set. */
static enum oar_status could_not(struct oar_err *err, const char *what)
{
    char *text = oar_py_exception_text();
    oar_py.args->host->log_text(OAR_LOG_ERROR, oar_slice_of(text ? text : "no memory"));
    free(text);
    return oar_err_set(err, "the worker could not %s; the reason stands above", what);
}

/* on_worker_start: may start threads. */
static enum oar_status run_hooks(struct oar_err *err)
{
    PyObject *none = PyObject_CallMethod(oar_py.worker, "process_start", NULL);
    enum oar_status status = none ? OAR_OK : could_not(err, "run its start hooks");
    Py_XDECREF(none);
    return status;
}

/* The worker's own import must give the routes that the table was compiled from. */
static enum oar_status load_handlers(const struct oar_app_args *args, struct oar_err *err)
{
    PyObject *pair = with_target("load");
    PyObject *specs = NULL; /* borrowed */
    const char *manifest;
    Py_ssize_t len;
    enum oar_status status = OAR_OK;
    if (!pair || !PyArg_ParseTuple(pair, "s#O!", &manifest, &len, &PyList_Type, &specs)) {
        status = OAR_ERR;
    } else if (oar_manifest_fingerprint((struct oar_slice){manifest, (size_t)len}) !=
               oar_rt(args->routes)->fingerprint) {
        args->host->log(
            OAR_LOG_ERROR,
            "the application's routes are not those that the server started with: its files "
            "have changed, or its routes depend on chance; restart the server");
        status = OAR_CLOSED;
    } else if (oar_py_handlers_load(specs) != 0) {
        status = OAR_ERR;
    }
    if (status == OAR_ERR) {
        could_not(err, "load the application");
    }
    Py_XDECREF(pair);
    return status;
}

static enum oar_status py_start(const struct oar_app_args *args, struct oar_err *err)
{
    char *text = NULL;
    enum oar_status status = oar_py_initialize(args, &text, err);
    free(text);
    if (status == OAR_OK) {
        status = load_handlers(args, err);
    }
    bool needs_pool = false;
    for (int i = 0; i < oar_py.n_handlers; i++) {
        needs_pool = needs_pool || !oar_py.handlers[i].is_async;
    }
    if (status == OAR_OK) { /* while there is no other thread */
        oar_py_share();
        status = run_hooks(err);
    }
    if (status == OAR_OK && needs_pool && oar_py_pool_start() != 0) {
        status = oar_err_set(err, "the pool could not be started; the reason stands above");
    }
    if (status == OAR_OK && oar_py_watch_collections() != 0) {
        status = oar_err_set(err, "the interpreter's collections cannot be watched");
    }
    if (status == OAR_OK) {
        PyEval_SaveThread();
    }
    return status;
}

/* The loop, with the lifespan begun on it: handlers run in copies of its context and see its state. */
static int make_loop(struct oar_py_thread *t)
{
    t->context = oar_py_tasks_thread(t) == 0 ? PyContext_New() : NULL;
    t->poller = oar_py_poller_new(t);
    t->loop = t->context && t->poller
                  ? PyObject_CallMethod(oar_py.worker, "thread_start", "Oi", t->poller, t->index)
                  : NULL;
    t->lifespan_state =
        t->loop ? PyObject_CallMethod(oar_py.worker, "lifespan_start", "OO", t->loop, t->context)
                : NULL;
    return t->lifespan_state ? 0 : -1;
}

static enum oar_status py_thread_start(struct oar_thread *host, int index, void **state,
                                       struct oar_err *err)
{
    struct oar_py_thread *t = calloc(1, sizeof *t);
    if (!t) {
        return oar_err_set(err, "no memory for a thread");
    }
    t->host = host;
    t->home = host;
    t->owner = t;
    t->driver = oar_py.args->host->driver(host);
    t->index = index;
    if (index == 0) {
        oar_py.first_thread = host;
    }
    if (oar_py.gil_is_on) {
        OAR_SET(oar_py.args->host->slot(host)->gil, 1);
    }
    t->needs = calloc((size_t)oar_py.n_handlers + 1, 1);
    if (!t->needs) {
        free(t);
        return oar_err_set(err, "no memory for a thread");
    }
    oar_py_here = t;
    t->state = index == 0 ? oar_py.main_thread : PyThreadState_New(oar_py.interpreter);
    PyEval_RestoreThread(t->state);
    int rc = make_loop(t);
    char *text = rc == 0 ? NULL : oar_py_exception_text();
    PyEval_SaveThread();
    *state = t;
    if (rc != 0) {
        oar_py.args->host->log_text(OAR_LOG_ERROR, oar_slice_of(text ? text : "no memory"));
        oar_err_set(err, "the application's %s on event loop %d failed; the reason stands above",
                    t->loop ? "lifespan" : "loop", index);
    }
    free(text);
    return rc == 0 ? OAR_OK : OAR_ERR;
}

static bool serve(struct oar_py_thread *t)
{
    t->serves = true;
    PyObject *none = PyObject_CallMethod(oar_py.worker, "thread_run", "O", t->loop);
    t->serves = false;
    if (!none) {
        char *text = oar_py_exception_text();
        oar_py.args->host->log_text(OAR_LOG_ERROR, oar_slice_of(text ? text : "no memory"));
        free(text);
    }
    Py_XDECREF(none);
    return none != NULL;
}

/* A loop that fails before it has drained would leave its connections to nobody: the worker drains,
 * this loop with it as far as it can, and is replaced. */
static void py_thread_run(void *state)
{
    struct oar_py_thread *t = state;
    PyEval_RestoreThread(t->state);
    OAR_SET(oar_py.serves, true);
    if (!serve(t)) {
        oar_py.args->host->log(OAR_LOG_ERROR,
                               "event loop %d failed, the reason stands above; the worker drains "
                               "and is replaced",
                               t->index);
        oar_py.args->host->retire(t->host);
        serve(t);
    }
    PyEval_SaveThread();
}

/* By index. Handlers and iterators that outlast their loop (--graceful-timeout) still refer to it,
 * until the pool and the spares have ended. */
static struct oar_py_thread *ended[OAR_MAX_THREADS];

/* Attached. */
static void free_ended(void)
{
    for (int i = 0; i < OAR_MAX_THREADS; i++) {
        struct oar_py_thread *t = ended[i];
        if (t) {
            Py_CLEAR(t->loop);
            Py_CLEAR(t->poller);
            Py_CLEAR(t->context);
            Py_CLEAR(t->lifespan_state);
            free(t->needs);
            free(t);
        }
        ended[i] = NULL;
    }
}

static void py_thread_stop(void *state)
{
    struct oar_py_thread *t = state;
    PyEval_RestoreThread(t->state);
    PyObject *none = PyObject_CallMethod(oar_py.worker, "thread_stop", "O", t->loop);
    if (!none) {
        PyErr_WriteUnraisable(t->loop);
    }
    Py_XDECREF(none);
    oar_py_poller_leave(t->poller); /* whoever keeps the loop, or failed to close it */
    oar_buf_free(&t->out);
    oar_py_here = NULL;
    ended[t->index] = t;
    if (t->index == 0) {
        PyEval_SaveThread();
    } else {
        PyThreadState_Clear(t->state);
        PyThreadState_DeleteCurrent();
    }
}

static void py_stop(void)
{
    oar_py_pool_stop();
    PyEval_RestoreThread(oar_py.main_thread);
    free_ended();
    PyObject *none = PyObject_CallMethod(oar_py.worker, "process_stop", NULL);
    if (!none) {
        PyErr_WriteUnraisable(oar_py.worker);
    }
    Py_XDECREF(none);
    if (Py_FinalizeEx() != 0) {
        oar_py.args->host->log(OAR_LOG_WARNING,
                               "the interpreter could not flush its output when it ended");
    }
}

static void py_enter(void *state)
{
    oar_py_attach(state);
    ((struct oar_py_thread *)state)->in_batch = true;
}

static bool py_leave(void *state)
{
    struct oar_py_thread *t = state;
    if (t->hides_loop) {
        oar_py_show_loop(t);
    }
    t->in_batch = false;
    bool busy = oar_py_loop_is_busy(t->loop, t->timers_seen);
    t->state = PyEval_SaveThread();
    return busy;
}

__attribute__((visibility("default"))) const struct oar_app *oar_bridge(uint32_t abi);

const struct oar_app *oar_bridge(uint32_t abi)
{
    static const struct oar_app app = {
        .abi = OAR_BRIDGE_ABI,
        .runtime = "CPython " PY_VERSION,
#ifdef Py_GIL_DISABLED
        .flavour = "free-threaded",
        .free_threaded = true,
#else
        .flavour = "with the GIL",
        .free_threaded = false,
#endif
        .version = Py_STRINGIFY(PY_MAJOR_VERSION) "." Py_STRINGIFY(PY_MINOR_VERSION),
        .python = OAR_PYTHON,
        .describe = py_describe,
        .start = py_start,
        .thread_start = py_thread_start,
        .thread_run = py_thread_run,
        .thread_stop = py_thread_stop,
        .stop = py_stop,
        .hand_over = oar_py_hand_over,
        .handed = oar_py_handed,
        .enter = py_enter,
        .call = oar_py_call,
        .notify = oar_py_notify,
        .leave = py_leave,
        .spare_start = oar_py_spare_start,
        .spare_drive = oar_py_spare_drive,
        .spare_stop = oar_py_spare_stop,
    };
    return abi == OAR_BRIDGE_ABI ? &app : NULL;
}
