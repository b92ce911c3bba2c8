/* SPDX-License-Identifier: MIT
 * The application's handlers as C data, from what oarlock._worker.load returns: one tuple a route,
 * (call, is_async, in_pool, status, response_class or None, params, keyword names, adapts),
 * params: ("value", index, default or ...) or ("request",) or ("background",).
 * Process: worker, main thread, before any other thread attaches. Owns the array for the process's
 * life. */
#include <stdlib.h>

#include "worker/py/py.h"

static int load_params(struct oar_py_handler *h, PyObject *params)
{
    h->n_params = (int)PyTuple_Size(params);
    if (h->n_params < 0 || h->n_params > OAR_MAX_PARAMS + 1) {
        PyErr_Format(PyExc_TypeError, "a handler takes at most %d parameters", OAR_MAX_PARAMS);
        return -1;
    }
    h->params = calloc((size_t)h->n_params + 1, sizeof *h->params);
    if (!h->params) {
        PyErr_NoMemory();
        return -1;
    }
    for (int i = 0; i < h->n_params; i++) {
        const char *kind;
        int index = 0;
        PyObject *standard = Py_Ellipsis;             /* borrowed */
        PyObject *param = PyTuple_GetItem(params, i); /* borrowed */
        if (!param || !PyArg_ParseTuple(param, "s|iO", &kind, &index, &standard)) {
            return -1;
        }
        h->params[i].kind = strcmp(kind, "request") == 0      ? OAR_ARG_REQUEST
                            : strcmp(kind, "background") == 0 ? OAR_ARG_BACKGROUND
                                                              : OAR_ARG_VALUE;
        h->wants_request = h->wants_request || h->params[i].kind == OAR_ARG_REQUEST;
        h->params[i].value = (uint16_t)index;
        h->params[i].standard = standard == Py_Ellipsis ? NULL : Py_NewRef(standard);
    }
    return 0;
}

static int load_one(struct oar_py_handler *h, PyObject *spec, Py_ssize_t index)
{
    PyObject *call;
    PyObject *response_class;
    PyObject *params;
    PyObject *keywords; /* all borrowed */
    int is_async;
    int in_pool;
    int status;
    int adapts;
    if (!PyArg_ParseTuple(spec, "OppiOO!O!p", &call, &is_async, &in_pool, &status, &response_class,
                          &PyTuple_Type, &params, &PyTuple_Type, &keywords, &adapts)) {
        return -1;
    }
    h->call = Py_NewRef(call);
    h->is_async = is_async;
    h->in_pool = in_pool;
    h->place = adapts && oar_py.args->config->blocking_threshold > 0
                   ? &oar_py.args->live[index].place
                   : NULL;
    h->status = (uint16_t)status;
    h->response_class = response_class == Py_None ? NULL : Py_NewRef(response_class);
    h->n_keywords = (int)PyTuple_GET_SIZE(keywords);
    h->kwnames = h->n_keywords ? Py_NewRef(keywords) : NULL;
    return load_params(h, params);
}

int oar_py_handlers_load(PyObject *specs)
{
    Py_ssize_t n = PyList_Size(specs);
    if (n < 0) {
        return -1;
    }
    oar_py.handlers = calloc((size_t)n + 1, sizeof *oar_py.handlers);
    if (!oar_py.handlers) {
        PyErr_NoMemory();
        return -1;
    }
    oar_py.n_handlers = (int)n;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *spec = PyList_GetItemRef(specs, i);
        int rc = spec ? load_one(&oar_py.handlers[i], spec, i) : -1;
        Py_XDECREF(spec);
        if (rc != 0) {
            return -1;
        }
    }
    return 0;
}
