/* SPDX-License-Identifier: MIT
 * Which objects threads would fight over on the free-threaded build, and that they do not
 * (docs/decisions/008): what every call of a handler touches - its constants, defaults, closure,
 * bound object - and the types and methods that a request passes through. CPython 3.13 makes
 * functions, code and module globals immortal when a second thread appears, but not these.
 * Process: worker, main thread, before any other thread attaches. Owns nothing. Never touches what a
 * request makes: only objects that live as long as the process. */
#include "worker/py/py_loop.h"

#ifdef Py_GIL_DISABLED

enum { DEEPEST = 8 }; /* tuples in constants in functions in closures */

static void share(PyObject *o, int depth);

/* What an attribute holds, if there is one. */
static void share_attribute(PyObject *o, const char *name, int depth)
{
    PyObject *value = PyObject_GetAttrString(o, name);
    if (value) {
        share(value, depth);
        Py_DECREF(value);
    }
    PyErr_Clear(); /* an attribute that this version does not have is one object less */
}

static void share_items(PyObject *o, int depth)
{
    PyObject *items = PySequence_List(o);
    Py_ssize_t n = items ? PyList_GET_SIZE(items) : 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        share(PyList_GET_ITEM(items, i), depth);
    }
    Py_XDECREF(items);
    PyErr_Clear();
}

static void share_parts(PyObject *o, int depth)
{
    static const char *const parts[] = {
        "__func__",    "__self__",      "__code__", "co_consts", "__defaults__", "__kwdefaults__",
        "__closure__", "cell_contents", "func",     "args",      "keywords"};
    for (size_t i = 0; i < OAR_ARRAY_LEN(parts); i++) {
        share_attribute(o, parts[i], depth);
    }
}

static void share(PyObject *o, int depth)
{
    if (depth > DEEPEST || o == Py_None || PyModule_Check(o) || PyType_Check(o)) {
        return;
    }
    oar_py_immortal(o);
    if (PyTuple_Check(o) || PyFrozenSet_Check(o)) {
        share_items(o, depth + 1);
    } else if (PyFunction_Check(o) || PyMethod_Check(o) || PyCode_Check(o) || PyCell_Check(o) ||
               PyObject_HasAttrString(o, "func")) {
        share_parts(o, depth + 1);
    }
}

/* The type and the methods that are found in it. */
static void share_type(PyObject *type)
{
    PyObject *methods = type ? PyObject_GetAttrString(type, "__dict__") : NULL;
    PyObject *copy = methods ? PyDict_New() : NULL;
    PyObject *key;
    PyObject *value; /* both borrowed */
    Py_ssize_t at = 0;
    if (type) {
        oar_py_immortal(type);
    }
    if (copy && PyDict_Update(copy, methods) == 0) {
        while (PyDict_Next(copy, &at, &key, &value)) {
            if (!PyType_Check(value)) {
                oar_py_immortal(value);
            }
        }
    }
    Py_XDECREF(copy);
    Py_XDECREF(methods);
    PyErr_Clear();
}

static void share_bases(PyObject *type)
{
    PyObject *mro = type ? PyObject_GetAttrString(type, "__mro__") : NULL;
    Py_ssize_t n = mro ? PyTuple_Size(mro) : 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *base = PyTuple_GetItem(mro, i); /* borrowed */
        if (base != (PyObject *)&PyBaseObject_Type) {
            share_type(base);
        }
    }
    Py_XDECREF(mro);
    PyErr_Clear();
}

static void share_handler(const struct oar_py_handler *h)
{
    share(h->call, 0);
    if (h->kwnames) {
        share(h->kwnames, 0);
    }
    for (int i = 0; i < h->n_params; i++) {
        if (h->params[i].standard) {
            share(h->params[i].standard, 0);
        }
    }
    if (h->response_class) {
        share_bases(h->response_class);
    }
}

void oar_py_share(void)
{
    PyObject *const types[] = {oar_py.task_type,
                               oar_py.request_type,
                               oar_py.response_type,
                               oar_py.uuid_type,
                               oar_py.streaming_type,
                               oar_py.background_type,
                               oar_py_completion_type,
                               oar_py_exchange_type,
                               (PyObject *)&oar_py_loop_type,
                               (PyObject *)&oar_py_handle_type,
                               (PyObject *)&oar_py_timer_type,
                               (PyObject *)&oar_py_stand_in_type,
                               (PyObject *)&oar_py_gate_type};
    PyObject *const objects[] = {oar_py.task_kwnames, oar_py.bytes_name, oar_py.set_running_loop,
                                 oar_py.encode_default, oar_py.render_error};
    for (int i = 0; i < oar_py.n_handlers; i++) {
        share_handler(&oar_py.handlers[i]);
    }
    for (size_t i = 0; i < OAR_ARRAY_LEN(types); i++) {
        share_bases(types[i]);
    }
    for (size_t i = 0; i < OAR_ARRAY_LEN(objects); i++) {
        share(objects[i], 0);
    }
}

#else

void oar_py_share(void)
{
}

#endif
