/* SPDX-License-Identifier: MIT
 * The only file that knows more of CPython than its documentation says, and for which versions that
 * was tried. What it offers is optional: on a version that is not in the table the bridge does the
 * same by documented means, slower, and says so in the log.
 *   current_task, all_tasks   replaced, so that a handler's task is made when somebody asks (006)
 *   asyncio's set of tasks    in C, a part for each event loop: threads do not meet in it (006)
 *   oar_py_swap_task          a round within a task's step runs other tasks (nest_asyncio's way)
 *   oar_py_immortal           an object that threads share stops counting its references (008)
 * Process: loader and worker, before the application is imported. Owns the replaced functions.
 * Never changes what the replaced functions mean. */
#include "worker/py/py.h"

#define TRIED_MOST 13 /* 3.13 is the first version that the bridge compiles for */

static PyObject *original_current_task, *original_all_tasks; /* owned, for the process's life */
_Thread_local struct oar_py_thread *oar_py_here __attribute__((tls_model("initial-exec")));

bool oar_py_hooks_tried(void)
{
    return PY_MAJOR_VERSION == 3 && PY_MINOR_VERSION <= TRIED_MOST;
}

/* Is this loop, or the running one, stepping a handler for the first time? */
static bool in_first_step(PyObject *loop)
{
    const struct oar_py_thread *t = oar_py_here;
    return t && t->step && (loop == Py_None || loop == t->loop);
}

static PyObject *current_task(PyObject *module, PyObject *const *args, Py_ssize_t n,
                              PyObject *names)
{
    (void)module;
    PyObject *task = PyObject_Vectorcall(original_current_task, args, (size_t)n, names);
    if (task && oar_py_here) {
        oar_py_here->asked = true;
    }
    /* A task that is stepped eagerly within the handler's step is the current one. */
    PyObject *loop = n > 0 || names ? args[0] : Py_None; /* borrowed; `loop` is the one argument */
    if (task == Py_None && in_first_step(loop)) {
        Py_SETREF(task, oar_py_step_current(oar_py_here));
    }
    return task;
}

static PyObject *all_tasks(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    (void)module;
    PyObject *loop = n > 0 || names ? args[0] : Py_None; /* borrowed */
    if (in_first_step(loop)) {
        PyObject *task = oar_py_step_current(oar_py_here);
        if (!task) {
            return NULL;
        }
        Py_DECREF(task);
    }
    return PyObject_Vectorcall(original_all_tasks, args, (size_t)n, names);
}

static PyMethodDef replacements[] = {
    {"current_task", (PyCFunction)(void (*)(void))current_task, METH_FASTCALL | METH_KEYWORDS,
     "current_task($module, /, loop=None)\n--\n\nThe running task, as asyncio.current_task says."},
    {"all_tasks", (PyCFunction)(void (*)(void))all_tasks, METH_FASTCALL | METH_KEYWORDS,
     "all_tasks($module, /, loop=None)\n--\n\nThe tasks that are not done, as asyncio.all_tasks "
     "says."},
};

/* In both places where it is to be found. */
static int replace(PyObject *asyncio, PyObject *tasks, PyMethodDef *with, PyObject **original)
{
    PyObject *function = PyCFunction_NewEx(with, NULL, NULL);
    *original = PyObject_GetAttrString(tasks, with->ml_name);
    int rc = function && *original && PyObject_SetAttrString(tasks, with->ml_name, function) == 0 &&
                     PyObject_SetAttrString(asyncio, with->ml_name, function) == 0
                 ? 0
                 : -1;
    Py_XDECREF(function);
    return rc;
}

int oar_py_hooks_install(void)
{
    int rc = 0;
    if (!oar_py_hooks_tried()) {
        oar_py.args->host->log(OAR_LOG_WARNING,
                               "CPython " PY_VERSION " is newer than this build knows: coroutines "
                               "start as asyncio's own eager tasks, which cost more");
        return 0;
    }
    if (strcmp(oar_py.args->config->loop, "stock") == 0) {
        return 0;
    }
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *tasks = asyncio ? PyObject_GetAttrString(asyncio, "tasks") : NULL;
    rc = tasks && replace(asyncio, tasks, &replacements[0], &original_current_task) == 0 &&
                 replace(asyncio, tasks, &replacements[1], &original_all_tasks) == 0
             ? 0
             : -1;
    if (rc == 0) { /* in Python, because a class with methods is made most plainly there */
        PyObject *hooks = PyImport_ImportModule("oarlock._hooks");
        PyObject *none = hooks ? PyObject_CallMethod(hooks, "shard_tasks", NULL) : NULL;
        rc = none ? 0 : -1;
        Py_XDECREF(none);
        Py_XDECREF(hooks);
    }
    oar_py.lazy_tasks = rc == 0;
    Py_XDECREF(tasks);
    Py_XDECREF(asyncio);
    return rc;
}

PyObject *oar_py_swap_task(PyObject *loop, PyObject *task)
{
    PyObject *tasks = PyImport_ImportModule("asyncio.tasks");
    PyObject *swap = NULL;
    PyObject *before = NULL;
    int found = tasks ? PyObject_GetOptionalAttrString(tasks, "_swap_current_task", &swap) : -1;
    if (found > 0) {
        before = PyObject_CallFunctionObjArgs(swap, loop, task, NULL);
    } else if (found == 0) { /* asyncio says then that a task is running */
        before = Py_NewRef(Py_None);
    }
    Py_XDECREF(swap);
    Py_XDECREF(tasks);
    return before;
}

void oar_py_immortal(PyObject *o)
{
#if !defined(Py_GIL_DISABLED)
    (void)o; /* nobody contends for a reference count */
#elif PY_MINOR_VERSION <= TRIED_MOST
    if (PyObject_IS_GC(o)) {
        PyObject_GC_UnTrack(o);
    }
    o->ob_tid = 0; /* owned by no thread, as what CPython makes immortal */
    o->ob_ref_local = UINT32_MAX;
    o->ob_ref_shared = 0;
#else
    PyUnstable_Object_EnableDeferredRefcount(o); /* 3.14 and later */
#endif
}
