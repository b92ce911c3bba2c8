/* SPDX-License-Identifier: MIT
 * Coroutine handlers: their first step, their task, and the hooks that make it. Only
 * worker/py/py.h includes this. Functions need an attached thread state. */
#ifndef OARLOCK_PY_ASYNC_H
#define OARLOCK_PY_ASYNC_H

/* A coroutine's first step. All but `coroutine` and `context` (borrowed) appear when it is asked
 * for its task. */
struct oar_py_step {
    PyObject *coroutine, *context;
    PyObject *task, *stand_in, *gate; /* owned */
};
enum oar_step { OAR_STEP_RETURNED, OAR_STEP_RAISED, OAR_STEP_TASK };

/* py_task.c: starts the coroutine (stolen) as a task. The context is entered, and has been left on
 * return. PENDING: the task's end will respond. */
enum oar_call oar_py_task_start(struct oar_py_thread *t, struct oar_request *r, PyObject *coroutine,
                                PyObject *context);
extern PyType_Spec oar_py_completion_spec;
extern PyObject *oar_py_completion_type; /* owned by the module */

/* py_step.c: runs the first step without a task, in the context, which is entered and has been left
 * on return. `result` (new reference): the return value, NULL
 * and the exception set, or the task that goes on with it (and may be done). */
enum oar_step oar_py_step(struct oar_py_thread *t, PyObject *coroutine, PyObject *context,
                          PyObject **result);
/* Within it: the task, made for who asks. New reference. */
PyObject *oar_py_step_current(struct oar_py_thread *t);
PyObject *oar_py_task_new(struct oar_py_thread *t, PyObject *coroutine, PyObject *context,
                          bool eager);
extern PyTypeObject oar_py_gate_type, oar_py_stand_in_type;

/* py_hooks.c: what is not in CPython's documentation */
bool oar_py_hooks_tried(void); /* this version is in the table */
int oar_py_hooks_install(void);
/* The loop's current task (None: none) becomes `task`; gives the one before. New reference. */
PyObject *oar_py_swap_task(PyObject *loop, PyObject *task);
/* The object is never freed and its references are not counted: threads can share it. Only while
 * nobody else has it. Does nothing where that is not needed, or not known to work. */
void oar_py_immortal(PyObject *o);

/* py_tasks.c: the set of tasks that asyncio holds weakly */
struct shard;
int oar_py_tasks_init(void);
int oar_py_tasks_thread(struct oar_py_thread *t); /* once for each event-loop thread */
extern PyMethodDef oar_py_tasks_methods[];

/* py_share.c: makes what threads share immortal, on the free-threaded build. */
void oar_py_share(void);

#endif
