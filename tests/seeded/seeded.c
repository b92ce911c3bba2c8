/* SPDX-License-Identifier: MIT
 * A Python extension with a heap overflow and a data race in it, to prove that `make asan` and
 * `make tsan` see one inside a worker. Process: worker of tests/e2e/test_seeded.py alone. Never
 * built for, nor loaded by, anything else. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdlib.h>

static PyObject *overflow(PyObject *module, PyObject *unused)
{
    static volatile size_t size = 8; /* so that the compiler, and UBSan with it, cannot know */
    volatile char *block = malloc(size);
    (void)module, (void)unused;
    char beyond = block ? block[size] : 0; /* one byte behind the block */
    free((void *)block);
    return PyLong_FromLong(beyond);
}

static long counter;

static void *count(void *unused)
{
    for (int i = 0; i < 100000; i++) {
        counter++;
    }
    return unused;
}

static PyObject *race(PyObject *module, PyObject *unused)
{
    pthread_t other;
    (void)module, (void)unused;
    if (pthread_create(&other, NULL, count, NULL) == 0) {
        count(NULL);
        pthread_join(other, NULL);
    }
    return PyLong_FromLong(counter);
}

static PyMethodDef methods[] = {
    {"overflow", overflow, METH_NOARGS, "Reads one byte beyond a block."},
    {"race", race, METH_NOARGS, "Counts in two threads without a lock."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "seeded",
                                        .m_methods = methods, .m_slots = slots};

PyMODINIT_FUNC PyInit_seeded(void);

PyMODINIT_FUNC PyInit_seeded(void)
{
    return PyModuleDef_Init(&definition);
}
