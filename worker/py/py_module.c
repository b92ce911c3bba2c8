/* SPDX-License-Identifier: MIT
 * The module _oarlock: built in inside a server, an extension of the same name elsewhere (tools,
 * tests). Process: loader, worker, or any Python program. Owns its types through the module. Never
 * keeps state that a second import could tear down: everything it makes is immutable. */
#include "worker/py/py_loop.h"

#include "oarlock/version.h"

PyObject *oar_py_completion_type, *oar_py_poller_type;

static PyObject *dumps(PyObject *module, PyObject *value)
{
    struct oar_buf out = {0};
    (void)module;
    if (!oar_py.encode_default) { /* outside a server nobody has fetched it yet */
        PyObject *encode = PyImport_ImportModule("oarlock._encode");
        oar_py.encode_default = encode ? PyObject_GetAttrString(encode, "default") : NULL;
        Py_XDECREF(encode);
        if (!oar_py.encode_default) {
            return NULL;
        }
    }
    PyObject *bytes = oar_py_json(&out, value) == 0
                          ? PyBytes_FromStringAndSize(out.data, (Py_ssize_t)out.len)
                          : NULL;
    oar_buf_free(&out);
    return bytes;
}

static PyMethodDef methods[] = {
    {"dumps", dumps, METH_O,
     "dumps(value, /) -> bytes\n--\n\nThe value as JSON, as a handler's return value is encoded."},
    {"scan_json", oar_py_json_scan, METH_O,
     "scan_json(body, /)\n--\n\nThe first thing that a request may not hold: (rule, offset)."},
    {NULL, NULL, 0, NULL},
};

static int add_type(PyObject *module, PyType_Spec *spec, const char *name, PyObject **keep)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    int rc = type ? PyModule_AddObjectRef(module, name, type) : -1;
    if (keep) {
        Py_XSETREF(*keep, Py_XNewRef(type));
    }
    Py_XDECREF(type);
    return rc;
}

static int add_types(PyObject *module)
{
    static PyTypeObject *const plain[] = {&oar_py_gate_type, &oar_py_stand_in_type,
                                          &oar_py_handle_type, &oar_py_timer_type,
                                          &oar_py_loop_type};
    const struct {
        PyType_Spec *spec;
        const char *name;
        PyObject **keep;
    } made[] = {{&oar_py_request_spec, "Request", NULL},
                {&oar_py_poller_spec, "Poller", &oar_py_poller_type},
                {&oar_py_exchange_spec, "Exchange", &oar_py_exchange_type},
                {&oar_py_completion_spec, "Completion", &oar_py_completion_type}};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < OAR_ARRAY_LEN(plain); i++) {
        rc = PyModule_AddType(module, plain[i]);
    }
    for (size_t i = 0; rc == 0 && i < OAR_ARRAY_LEN(made); i++) {
        rc = add_type(module, made[i].spec, made[i].name, made[i].keep);
    }
    return rc;
}

/* Ends a spare thread's driving: no `except Exception` of an application is in its way. */
static int add_exceptions(PyObject *module)
{
    oar_py.taken_over = PyErr_NewExceptionWithDoc("_oarlock.TakenOver",
                                                  "Another thread drives this event loop now.",
                                                  PyExc_BaseException, NULL);
    return oar_py.taken_over ? PyModule_AddObjectRef(module, "TakenOver", oar_py.taken_over) : -1;
}

static int execute(PyObject *module)
{
    return add_types(module) == 0 && add_exceptions(module) == 0 &&
                   PyModule_AddFunctions(module, oar_py_server_methods) == 0 &&
                   PyModule_AddFunctions(module, oar_py_tasks_methods) == 0 &&
                   oar_py_tasks_init() == 0 && oar_py_loop_init() == 0 &&
                   PyModule_AddIntConstant(module, "ABI", OAR_BRIDGE_ABI) == 0 &&
                   PyModule_AddStringConstant(module, "VERSION", OAR_VERSION) == 0
               ? 0
               : -1;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_oarlock",
    .m_doc = "The native part of oarlock. Not for applications: import oarlock.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__oarlock(void)
{
    return PyModuleDef_Init(&definition);
}
