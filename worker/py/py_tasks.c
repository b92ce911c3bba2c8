/* SPDX-License-Identifier: MIT
 * The tasks that asyncio knows, held weakly: what asyncio.tasks._scheduled_tasks is in Python, in C
 * and in shards. Each event loop of a server adds to a shard of its own; all other threads share
 * one. Process: worker, any attached thread; a task may die on another thread than the one that made
 * it. Owns weak references. Never keeps a task alive. */
#include "worker/py/py.h"

struct shard {
    PyObject *refs;   /* owned: a set of weak references */
    PyObject *remove; /* owned: their callback */
    struct shard *next;
};

static struct shard common;
static struct shard *_Atomic shards = &common; /* only ever grows at its head; read by any thread */

static PyObject *forget(PyObject *refs, PyObject *ref)
{
    if (PySet_Discard(refs, ref) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int shard_make(struct shard *s)
{
    static PyMethodDef method = {"forget", forget, METH_O, NULL};
    s->refs = PySet_New(NULL);
    s->remove = s->refs ? PyCFunction_NewEx(&method, s->refs, NULL) : NULL;
    return s->remove ? 0 : -1;
}

int oar_py_tasks_init(void)
{
    return common.refs ? 0 : shard_make(&common);
}

int oar_py_tasks_thread(struct oar_py_thread *t)
{
    struct shard *s = PyMem_RawCalloc(1, sizeof *s);
    if (!s || shard_make(s) != 0) {
        PyMem_RawFree(s);
        return -1;
    }
    s->next = atomic_load(&shards);
    while (!atomic_compare_exchange_weak(&shards, &s->next, s)) {
    }
    t->tasks = s; /* it stays when the thread ends: its tasks may not have */
    return 0;
}

static struct shard *mine(void)
{
    return oar_py_here && oar_py_here->tasks ? oar_py_here->tasks : &common;
}

static PyObject *task_add(PyObject *module, PyObject *task)
{
    struct shard *s = mine();
    (void)module;
    PyObject *ref = PyWeakref_NewRef(task, s->remove);
    int rc = ref ? PySet_Add(s->refs, ref) : -1;
    Py_XDECREF(ref);
    if (rc != 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *task_discard(PyObject *module, PyObject *task)
{
    (void)module;
    PyObject *ref = PyWeakref_NewRef(task, NULL);
    int rc = ref ? 0 : -1;
    for (struct shard *s = atomic_load(&shards); s && rc == 0; s = s->next) {
        rc = PySet_Discard(s->refs, ref);
    }
    Py_XDECREF(ref);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Adds the living of a shard to the list. */
static int collect(struct shard *s, PyObject *list)
{
    PyObject *refs = PySequence_List(s->refs); /* a copy: tasks die meanwhile */
    int rc = refs ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(refs); i++) {
        PyObject *task;
        rc = PyWeakref_GetRef(PyList_GET_ITEM(refs, i), &task);
        if (rc > 0) {
            rc = PyList_Append(list, task);
            Py_DECREF(task);
        }
    }
    Py_XDECREF(refs);
    return rc;
}

static PyObject *task_list(PyObject *module, PyObject *unused)
{
    PyObject *list = PyList_New(0);
    (void)module, (void)unused;
    for (struct shard *s = atomic_load(&shards); s && list; s = s->next) {
        if (collect(s, list) != 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

PyMethodDef oar_py_tasks_methods[] = {
    {"task_add", task_add, METH_O, NULL},
    {"task_discard", task_discard, METH_O, NULL},
    {"task_list", task_list, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
