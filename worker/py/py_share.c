/* SPDX-License-Identifier: MIT
 * Which objects threads would fight over on the free-threaded build, and that they do not
 * (docs/decisions/008): what every call of a handler touches - its constants, defaults, closure,
 * method - and the types and methods that a request passes through. CPython 3.13 makes
 * functions, code and module globals immortal when a second thread appears, but not these.
 * Process: worker, main thread, while there is no other thread. Owns nothing. Never touches what a
 * request makes, and no object of a type that an application can define; never runs code of its. */
#include "worker/py/py_loop.h"

#ifdef Py_GIL_DISABLED

enum { DEEPEST = 8 }; /* tuples in constants in functions in closures */

static PyTypeObject *partial_type; /* borrowed: functools lives as long as the process */

static void share(PyObject *o, int depth);

/* What an attribute of an object of an exact built-in type holds. */
static void share_attribute(PyObject *o, const char *name, int depth)
{
    PyObject *value = PyObject_GetAttrString(o, name);
    if (value) {
        share(value, depth);
        Py_DECREF(value);
    }
    PyErr_Clear(); /* an empty cell; an attribute that this version does not have */
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

/* The attributes whose values are shared too; NULL: none, or not a type that is known. */
static const char *const *parts_of(PyObject *o)
{
    static const struct {
        PyTypeObject *type;
        const char *parts[4];
    } known[] = {{&PyFunction_Type, {"__code__", "__defaults__", "__closure__"}},
                 {&PyCode_Type, {"co_consts"}},
                 {&PyCell_Type, {"cell_contents"}},
                 {&PyMethod_Type, {"__func__", "__self__"}},
                 {NULL, {"func", "args"}}}; /* functools.partial */
    for (size_t i = 0; i < OAR_ARRAY_LEN(known); i++) {
        if (Py_IS_TYPE(o, known[i].type ? known[i].type : partial_type)) {
            return known[i].parts;
        }
    }
    return NULL;
}

/* Objects without parts that a constant or a default may be. */
static bool is_plain(PyObject *o)
{
    return PyUnicode_CheckExact(o) || PyBytes_CheckExact(o) || PyLong_CheckExact(o) ||
           PyFloat_CheckExact(o) || PyComplex_CheckExact(o);
}

/* Nothing but these exact types: an object of the application's own class may run code when it is
 * looked at, and may be meant to be freed. None of the types can be subclassed, or only the exact
 * one is taken. */
static void share(PyObject *o, int depth)
{
    const char *const *parts = parts_of(o);
    bool items = PyTuple_CheckExact(o) || PyFrozenSet_CheckExact(o);
    if (depth > DEEPEST || !(parts || items || is_plain(o))) {
        return;
    }
    oar_py_immortal(o);
    if (items) {
        share_items(o, depth + 1);
    }
    for (; parts && *parts; parts++) {
        share_attribute(o, *parts, depth + 1);
    }
}

static bool is_method(PyObject *o)
{
    return PyFunction_Check(o) || Py_IS_TYPE(o, &PyMethodDescr_Type) ||
           Py_IS_TYPE(o, &PyGetSetDescr_Type) || Py_IS_TYPE(o, &PyMemberDescr_Type) ||
           Py_IS_TYPE(o, &PyWrapperDescr_Type) || Py_IS_TYPE(o, &PyProperty_Type) ||
           Py_IS_TYPE(o, &PyStaticMethod_Type) || Py_IS_TYPE(o, &PyClassMethod_Type);
}

/* The type and the methods that are found in it. */
static void share_type(PyObject *type)
{
    if (!Py_IS_TYPE(type, &PyType_Type)) { /* a metaclass's code would run */
        return;
    }
    PyObject *methods = PyObject_GetAttrString(type, "__dict__");
    PyObject *copy = methods ? PyDict_New() : NULL;
    PyObject *key;
    PyObject *value; /* both borrowed */
    Py_ssize_t at = 0;
    oar_py_immortal(type);
    if (copy && PyDict_Update(copy, methods) == 0) {
        while (PyDict_Next(copy, &at, &key, &value)) {
            if (is_method(value)) {
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
    bool plain = type && Py_IS_TYPE(type, &PyType_Type);
    PyObject *mro = plain ? PyObject_GetAttrString(type, "__mro__") : NULL;
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

/* Writing the count of an object that another thread counts as well could free it. */
static bool are_threads(void)
{
    PyThreadState *first = PyInterpreterState_ThreadHead(oar_py.interpreter);
    return PyThreadState_Next(first) != NULL;
}

void oar_py_share(void)
{
    PyObject *functools = PyImport_ImportModule("functools");
    PyObject *partial = functools ? PyObject_GetAttrString(functools, "partial") : NULL;
    partial_type = (PyTypeObject *)partial;
    Py_XDECREF(partial);
    Py_XDECREF(functools);
    if (!partial_type || are_threads()) {
        PyErr_Clear();
        oar_py.args->host->log(OAR_LOG_INFO,
                               "the application starts a thread while it is imported: its handlers "
                               "share their constants at a cost (start it in on_worker_start)");
        return;
    }
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
