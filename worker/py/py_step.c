/* SPDX-License-Identifier: MIT
 * The first step of a coroutine handler without a task (docs/decisions/006): the coroutine runs in
 * its context at once, and an asyncio.Task is made only when it waits, or when somebody asks for
 * the current task. The task is a stock one. It is given a stand-in for the coroutine that hands
 * out what the first step gave and then delegates, so that no step runs twice. A task that is asked
 * for early starts by waiting on a gate, which opens when the first step is over.
 * Process: worker, on the loop's thread, inside the running loop. A stand-in owns its coroutine.
 * Never enters a context that is entered already; never runs a loop's iteration. */
#include "worker/py/py.h"

/* What the next send gives. */
enum stand_in_state {
    FIRST,    /* the gate: the first step is running */
    RUNNING,  /* nothing: the gate is closed */
    YIELDED,  /* what the first step yielded */
    RETURNED, /* what it returned */
    RAISED,   /* what it raised */
    LIVE,     /* the coroutine's own */
};

struct stand_in {
    PyObject_HEAD
    PyObject *coroutine; /* owned */
    PyObject *pending;   /* owned: the gate, a value or an exception; NULL when LIVE */
    PyObject *late;      /* owned: to be thrown by the next send; NULL: none */
    enum stand_in_state state;
};

/* A future as far as a task that waits on it can tell (asyncio.isfuture's protocol). */
struct gate {
    PyObject_HEAD
    PyObject *loop;   /* owned */
    PyObject *wakeup; /* owned: the task's; NULL: it does not wait yet */
    bool blocking;
};

/* ---- the gate ------------------------------------------------------------------------------- */

static PyObject *gate_add_done_callback(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *callback; /* borrowed */
    (void)kwargs;       /* the context is the one that the first step runs in */
    if (!PyArg_ParseTuple(args, "O", &callback)) {
        return NULL;
    }
    Py_XSETREF(((struct gate *)self)->wakeup, Py_NewRef(callback));
    Py_RETURN_NONE;
}

static PyObject *gate_get_loop(PyObject *self, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(((struct gate *)self)->loop);
}

static PyObject *gate_result(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    Py_RETURN_NONE;
}

/* False: the task remembers that it is to be cancelled, as it does in any running step. */
static PyObject *gate_cancel(PyObject *self, PyObject *args, PyObject *kwargs)
{
    (void)self, (void)args, (void)kwargs;
    Py_RETURN_FALSE;
}

static PyObject *gate_get_blocking(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct gate *)self)->blocking);
}

static int gate_set_blocking(PyObject *self, PyObject *value, void *unused)
{
    (void)unused;
    int truth = value ? PyObject_IsTrue(value) : 0;
    ((struct gate *)self)->blocking = truth > 0;
    return truth < 0 ? -1 : 0;
}

static int gate_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((struct gate *)self)->loop);
    Py_VISIT(((struct gate *)self)->wakeup);
    return 0;
}

static int gate_clear(PyObject *self)
{
    Py_CLEAR(((struct gate *)self)->loop);
    Py_CLEAR(((struct gate *)self)->wakeup);
    return 0;
}

static void gate_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    gate_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef gate_methods[] = {
    {"add_done_callback", (PyCFunction)(void (*)(void))gate_add_done_callback,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"get_loop", gate_get_loop, METH_NOARGS, NULL},
    {"result", gate_result, METH_NOARGS, NULL},
    {"cancel", (PyCFunction)(void (*)(void))gate_cancel, METH_VARARGS | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef gate_getset[] = {
    {"_asyncio_future_blocking", gate_get_blocking, gate_set_blocking, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
/* Static types are immortal: their reference counts are no line that threads share. */
PyTypeObject oar_py_gate_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_oarlock.Gate",
    .tp_basicsize = sizeof(struct gate),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = gate_dealloc,
    .tp_traverse = gate_traverse,
    .tp_clear = gate_clear,
    .tp_methods = gate_methods,
    .tp_getset = gate_getset,
};

static PyObject *gate_new(PyObject *loop)
{
    struct gate *g = (struct gate *)oar_py_gate_type.tp_alloc(&oar_py_gate_type, 0);
    if (g) {
        g->loop = Py_NewRef(loop);
        g->blocking = true;
    }
    return (PyObject *)g;
}

/* ---- the stand-in --------------------------------------------------------------------------- */

static PySendResult finish_throw(PyObject *yielded, PyObject **result)
{
    *result = yielded;
    if (yielded) {
        return PYGEN_NEXT;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return PYGEN_ERROR;
    }
    PyObject *stop = PyErr_GetRaisedException();
    *result = PyObject_GetAttrString(stop, "value");
    Py_DECREF(stop);
    return *result ? PYGEN_RETURN : PYGEN_ERROR;
}

static PySendResult stand_in_send(PyObject *self, PyObject *value, PyObject **result)
{
    struct stand_in *s = (struct stand_in *)self;
    enum stand_in_state state = s->state;
    if (OAR_LIKELY(state == LIVE)) {
        if (OAR_LIKELY(!s->late)) {
            return PyIter_Send(s->coroutine, value, result);
        }
        PyObject *late = s->late;
        s->late = NULL;
        PyObject *yielded = PyObject_CallMethodOneArg(s->coroutine, oar_py.str_throw, late);
        Py_DECREF(late);
        return finish_throw(yielded, result);
    }
    if (state == RUNNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        *result = NULL;
        return PYGEN_ERROR;
    }
    s->state = state == FIRST ? RUNNING : LIVE;
    *result = s->pending;
    s->pending = NULL;
    if (state == RAISED) {
        PyErr_SetRaisedException(*result);
        *result = NULL;
        return PYGEN_ERROR;
    }
    return state == RETURNED ? PYGEN_RETURN : PYGEN_NEXT;
}

static PyObject *stand_in_send_method(PyObject *self, PyObject *value)
{
    PyObject *result;
    switch (stand_in_send(self, value, &result)) {
    case PYGEN_NEXT: return result;
    case PYGEN_RETURN: {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        Py_DECREF(result);
        if (stop) {
            PyErr_SetRaisedException(stop);
        }
        return NULL;
    }
    default: return NULL;
    }
}

static PyObject *stand_in_next(PyObject *self)
{
    return stand_in_send_method(self, Py_None);
}

/* What the first step yielded is to be cancelled before the task waits on it: as a task does whose
 * step cancelled it. Where that cannot be, the exception waits for the next send. -1: exception. */
static int cancel_pending(struct stand_in *s, PyObject *exception)
{
    int cancelled = 0;
    if (s->pending != Py_None) {
        PyObject *args = PyObject_GetAttrString(exception, "args");
        PyObject *answer = NULL;
        PyObject *cancel = args ? PyObject_GetAttr(s->pending, oar_py.str_cancel) : NULL;
        if (cancel) {
            answer = PyObject_Call(cancel, args, NULL);
        }
        cancelled = answer ? PyObject_IsTrue(answer) : -1;
        Py_XDECREF(answer);
        Py_XDECREF(cancel);
        Py_XDECREF(args);
    }
    if (cancelled == 0) {
        s->late = Py_NewRef(exception);
    }
    return cancelled < 0 ? -1 : 0;
}

static PyObject *stand_in_throw(PyObject *self, PyObject *args)
{
    struct stand_in *s = (struct stand_in *)self;
    PyObject *exception = PyTuple_Size(args) > 0 ? PyTuple_GetItem(args, 0) : NULL; /* borrowed */
    if (s->state == LIVE || !exception || !PyExceptionInstance_Check(exception)) {
        Py_CLEAR(s->late);
        PyObject *method = PyObject_GetAttr(s->coroutine, oar_py.str_throw);
        PyObject *result = method ? PyObject_Call(method, args, NULL) : NULL;
        Py_XDECREF(method);
        return result;
    }
    if (s->state == YIELDED && cancel_pending(s, exception) != 0) {
        return NULL;
    }
    if (s->state == YIELDED || s->state == RAISED) {
        PyObject *result;
        stand_in_send(self, Py_None, &result);
        return result;
    }
    s->state = LIVE; /* a step that cancelled its task and then returned: the task is cancelled */
    Py_CLEAR(s->pending);
    PyErr_SetRaisedException(Py_NewRef(exception));
    return NULL;
}

static PyObject *stand_in_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyObject_CallMethod(((struct stand_in *)self)->coroutine, "close", NULL);
}

/* __name__, __qualname__, cr_frame and the like are the coroutine's. */
static PyObject *stand_in_getattro(PyObject *self, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (!value && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        value = PyObject_GetAttr(((struct stand_in *)self)->coroutine, name);
    }
    return value;
}

static PyObject *stand_in_repr(PyObject *self)
{
    return PyObject_Repr(((struct stand_in *)self)->coroutine);
}

static int stand_in_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct stand_in *s = (struct stand_in *)self;
    Py_VISIT(s->coroutine);
    Py_VISIT(s->pending);
    Py_VISIT(s->late);
    return 0;
}

static int stand_in_clear(PyObject *self)
{
    struct stand_in *s = (struct stand_in *)self;
    Py_CLEAR(s->coroutine);
    Py_CLEAR(s->pending);
    Py_CLEAR(s->late);
    return 0;
}

static void stand_in_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    stand_in_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef stand_in_methods[] = {
    {"send", stand_in_send_method, METH_O, NULL},
    {"throw", stand_in_throw, METH_VARARGS, NULL},
    {"close", stand_in_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyAsyncMethods stand_in_async = {.am_await = Py_NewRef, .am_send = stand_in_send};
PyTypeObject oar_py_stand_in_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_oarlock.HandlerCoroutine",
    .tp_basicsize = sizeof(struct stand_in),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = stand_in_dealloc,
    .tp_traverse = stand_in_traverse,
    .tp_clear = stand_in_clear,
    .tp_methods = stand_in_methods,
    .tp_as_async = &stand_in_async,
    .tp_iter = Py_NewRef,
    .tp_iternext = stand_in_next,
    .tp_getattro = stand_in_getattro,
    .tp_repr = stand_in_repr,
};

/* `pending` is stolen. */
static PyObject *stand_in_new(PyObject *coroutine, enum stand_in_state state, PyObject *pending)
{
    struct stand_in *s =
        pending ? (struct stand_in *)oar_py_stand_in_type.tp_alloc(&oar_py_stand_in_type, 0) : NULL;
    if (s) {
        s->coroutine = Py_NewRef(coroutine);
        s->state = state;
        s->pending = pending;
    } else {
        Py_XDECREF(pending);
    }
    return (PyObject *)s;
}

/* ---- the first step ------------------------------------------------------------------------- */

PyObject *oar_py_task_new(struct oar_py_thread *t, PyObject *coroutine, PyObject *context,
                          bool eager)
{
    PyObject *args[] = {NULL, coroutine, t->loop, context, eager ? Py_True : Py_False};
    return PyObject_Vectorcall(oar_py.task_type, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                               oar_py.task_kwnames);
}

/* In the first step: the task that it will be. It is made eagerly, which enters its context: that
 * is left for as long. In a context within the context that cannot be; then the loop starts it. */
static int make_task(struct oar_py_thread *t, struct oar_py_step *s)
{
    bool eager = PyContext_Exit(s->context) == 0;
    if (!eager) {
        PyErr_Clear();
    }
    Py_XSETREF(s->gate, gate_new(t->loop));
    Py_XSETREF(s->stand_in,
               s->gate ? stand_in_new(s->coroutine, eager ? FIRST : RUNNING, Py_NewRef(s->gate))
                       : NULL);
    s->task = s->stand_in ? oar_py_task_new(t, s->stand_in, s->context, eager) : NULL;
    if (eager && PyContext_Enter(s->context) != 0) {
        Py_CLEAR(s->task);
    }
    return s->task ? 0 : -1;
}

PyObject *oar_py_step_current(struct oar_py_thread *t)
{
    struct oar_py_step *s = t->step;
    if (!s->task && make_task(t, s) != 0) {
        return NULL;
    }
    return Py_NewRef(s->task);
}

/* The first step is over: its outcome (stolen) is what the task's next step finds. */
static void settle(struct oar_py_step *s, PySendResult how, PyObject *outcome)
{
    struct stand_in *stand_in = (struct stand_in *)s->stand_in;
    PyObject *wakeup = ((struct gate *)s->gate)->wakeup; /* borrowed */
    Py_XSETREF(stand_in->pending, outcome);
    stand_in->state = how == PYGEN_RETURN ? RETURNED : how == PYGEN_NEXT ? YIELDED : RAISED;
    if (wakeup) {
        PyObject *none = PyObject_CallOneArg(wakeup, s->gate);
        if (!none) { /* KeyboardInterrupt or SystemExit: the task holds it too */
            PyErr_Clear();
        }
        Py_XDECREF(none);
    } /* else the loop was asked to start it */
}

/* Steps the coroutine in its context, which is entered, and leaves that. */
static PySendResult first_step(struct oar_py_thread *t, struct oar_py_step *s, PyObject **outcome)
{
    *outcome = NULL;
    t->step = s;
    PySendResult how = PyIter_Send(s->coroutine, Py_None, outcome);
    t->step = NULL;
    if (how == PYGEN_ERROR) {
        *outcome = PyErr_GetRaisedException();
    }
    if (s->task) {
        settle(s, how, *outcome);
        *outcome = NULL;
    }
    if (PyContext_Exit(s->context) != 0) { /* the handler has meddled with contexts */
        PyErr_Clear();
    }
    return how;
}

enum oar_step oar_py_step(struct oar_py_thread *t, PyObject *coroutine, PyObject *context,
                          PyObject **result)
{
    struct oar_py_step s = {.coroutine = coroutine, .context = context};
    enum oar_step step = OAR_STEP_TASK;
    PyObject *outcome;
    PySendResult how = first_step(t, &s, &outcome);
    *result = NULL;
    if (s.task) {
        *result = s.task;
    } else if (how == PYGEN_RETURN) {
        *result = outcome;
        step = OAR_STEP_RETURNED;
    } else if (how == PYGEN_NEXT) {
        PyObject *stand_in = stand_in_new(coroutine, YIELDED, outcome);
        *result = stand_in ? oar_py_task_new(t, stand_in, context, true) : NULL;
        Py_XDECREF(stand_in);
    } else if (outcome) {
        PyErr_SetRaisedException(outcome);
    }
    Py_XDECREF(s.stand_in);
    Py_XDECREF(s.gate);
    return *result ? step : OAR_STEP_RAISED;
}
