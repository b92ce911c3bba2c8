/* SPDX-License-Identifier: MIT
 * The native half of oarlock.Request: an own copy of the request's bytes, and getters that make
 * Python objects when they are asked for. Process: worker; made on the thread that runs the
 * handler, used from any. Owns its copy, so it may outlive the response. Immutable after creation:
 * no lock. Never interns a client's text. */
#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>

#include "worker/http_msg.h"
#include "worker/py/py.h"

struct request_object {
    PyObject_HEAD
    PyObject *path_params;         /* owned: name -> value as the handler gets it */
    PyObject *lifespan_state;      /* owned: the loop's */
    struct oar_exchange *exchange; /* a reference; NULL: there was no memory for one */
    struct oar_peer peer;
    bool https;
    uint32_t host_off, host_len; /* as a proxy said it; 0: the Host field holds */
    uint32_t head_len, body_len;
    uint32_t path_off, path_len, query_off, query_len;
    uint32_t n_fields;
    uint8_t method, minor;
    bool streams;             /* the body comes through the exchange */
    struct oar_field *fields; /* owned: one block with the bytes */
    char *bytes;              /* head, then body */
};

static int copy_bytes(struct request_object *o, const struct oar_request *r)
{
    size_t fields_size = r->n_fields * sizeof *r->fields;
    o->fields = malloc(fields_size + r->head_len + r->body.len + 1);
    if (!o->fields || r->body.len > UINT32_MAX) {
        PyErr_NoMemory();
        return -1;
    }
    o->bytes = (char *)o->fields + fields_size;
    if (fields_size) {
        memcpy(o->fields, r->fields, fields_size);
    }
    memcpy(o->bytes, r->head, r->head_len);
    if (r->body.len) {
        memcpy(o->bytes + r->head_len, r->body.ptr, r->body.len);
    }
    return 0;
}

/* New reference: a segment as Starlette's convertor gives it; `kind` is behind the name in the
 * pattern: ":int}" or "}". A number of more digits than Python reads stays text. */
static PyObject *path_value(struct oar_slice segment, const char *kind)
{
    PyObject *text = PyUnicode_DecodeUTF8(segment.ptr, (Py_ssize_t)segment.len, "replace");
    PyObject *value = NULL;
    if (text && strncmp(kind, ":int}", 5) == 0) {
        value = PyObject_CallOneArg((PyObject *)&PyLong_Type, text);
    } else if (text && strncmp(kind, ":float}", 7) == 0) {
        value = PyFloat_FromString(text);
    } else if (text && strncmp(kind, ":uuid}", 6) == 0) {
        value = PyObject_CallOneArg(oar_py.uuid_type, text);
    } else {
        return text;
    }
    if (!value && text && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        return text;
    }
    Py_XDECREF(text);
    return value;
}

static int add_path_params(struct request_object *o, const struct oar_request *r)
{
    const void *routes = oar_py.args->routes;
    const char *p = oar_rt_text(routes, r->route->path_off);
    o->path_params = PyDict_New();
    for (uint32_t i = 0; o->path_params && i < r->match.n_params; i++) {
        const char *open = strchr(p, '{');
        size_t len = open ? strcspn(open + 1, ":}") : 0;
        PyObject *name = open ? PyUnicode_FromStringAndSize(open + 1, (Py_ssize_t)len) : NULL;
        PyObject *value = name ? path_value(r->match.params[i], open + 1 + len) : NULL;
        int rc = value ? PyDict_SetItem(o->path_params, name, value) : -1;
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (rc != 0) {
            return -1;
        }
        p = open + 1;
    }
    return o->path_params ? 0 : -1;
}

PyObject *oar_py_request_new(const struct oar_py_thread *t, const struct oar_request *r)
{
    PyTypeObject *type = (PyTypeObject *)oar_py.request_type;
    struct request_object *o = (struct request_object *)type->tp_alloc(type, 0);
    if (!o) {
        return NULL;
    }
    struct oar_origin origin;
    o->lifespan_state = Py_XNewRef(t->lifespan_state);
    oar_py.args->host->origin(r, &origin);
    o->peer = origin.peer;
    o->https = origin.https;
    o->host_len = (uint32_t)origin.host.len;
    o->host_off = origin.host.len ? (uint32_t)(origin.host.ptr - r->head) : 0;
    o->head_len = r->head_len;
    o->body_len = (uint32_t)r->body.len;
    o->path_off = r->path_off;
    o->path_len = r->path_len;
    o->query_off = r->query_off;
    o->query_len = r->query_len;
    o->n_fields = r->n_fields;
    o->method = r->method;
    o->minor = r->minor;
    o->streams = r->streams_body;
    o->exchange = oar_py.args->host->exchange((struct oar_request *)r);
    if (copy_bytes(o, r) != 0 || add_path_params(o, r) != 0) {
        Py_DECREF(o);
        return NULL;
    }
    return (PyObject *)o;
}

static int request_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((struct request_object *)self)->path_params);
    Py_VISIT(((struct request_object *)self)->lifespan_state);
    return 0;
}

static int request_clear(PyObject *self)
{
    Py_CLEAR(((struct request_object *)self)->path_params);
    Py_CLEAR(((struct request_object *)self)->lifespan_state);
    return 0;
}

static void request_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    request_clear(self);
    free(((struct request_object *)self)->fields);
    if (((struct request_object *)self)->exchange) {
        oar_py.args->host->drop(((struct request_object *)self)->exchange);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static struct request_object *of(PyObject *self)
{
    return (struct request_object *)self;
}

static PyObject *get_method(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(oar_method_names[of(self)->method].ptr);
}

static PyObject *get_raw_path(PyObject *self, void *unused)
{
    (void)unused;
    return PyBytes_FromStringAndSize(of(self)->bytes + of(self)->path_off, of(self)->path_len);
}

static PyObject *get_query_string(PyObject *self, void *unused)
{
    (void)unused;
    return PyBytes_FromStringAndSize(of(self)->bytes + of(self)->query_off, of(self)->query_len);
}

static PyObject *get_http_version(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(of(self)->minor ? "1.1" : "1.0");
}

static PyObject *get_content(PyObject *self, void *unused)
{
    (void)unused;
    return PyBytes_FromStringAndSize(of(self)->bytes + of(self)->head_len, of(self)->body_len);
}

static PyObject *get_path_params(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef(of(self)->path_params);
}

static PyObject *get_raw_headers(PyObject *self, void *unused)
{
    struct request_object *o = of(self);
    PyObject *list = PyList_New(o->n_fields);
    (void)unused;
    for (uint32_t i = 0; list && i < o->n_fields; i++) {
        const struct oar_field *f = &o->fields[i];
        PyObject *name = PyBytes_FromStringAndSize(o->bytes + f->name_off, f->name_len);
        for (Py_ssize_t k = 0; name && k < f->name_len;
             k++) { /* names are case-insensitive: lower case, as ASGI has them */
            char *c = &PyBytes_AS_STRING(name)[k];
            *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
        }
        PyObject *value = PyBytes_FromStringAndSize(o->bytes + f->value_off, f->value_len);
        PyObject *pair = name && value ? PyTuple_Pack(2, name, value) : NULL;
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (!pair) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, pair);
        }
    }
    return list;
}

static PyObject *get_client(PyObject *self, void *unused)
{
    const struct oar_peer *peer = &of(self)->peer;
    char text[INET6_ADDRSTRLEN];
    (void)unused;
    if ((peer->family != AF_INET && peer->family != AF_INET6) ||
        !inet_ntop(peer->family, peer->address, text, sizeof text)) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(si)", text, (int)peer->port);
}

static PyObject *get_exchange(PyObject *self, void *unused)
{
    struct oar_exchange *x = of(self)->exchange;
    (void)unused;
    return oar_py_exchange_new(x ? oar_py.args->host->share(x) : NULL);
}

static PyObject *get_streams(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(of(self)->streams);
}

static PyObject *get_scheme(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(of(self)->https ? "https" : "http");
}

static PyObject *get_host(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_DecodeLatin1(of(self)->bytes + of(self)->host_off, of(self)->host_len, NULL);
}

static PyObject *get_lifespan_state(PyObject *self, void *unused)
{
    (void)unused;
    PyObject *state = ((struct request_object *)self)->lifespan_state;
    return state ? Py_NewRef(state) : PyDict_New();
}

static PyGetSetDef getters[] = {
    {"method", get_method, NULL, "The method, in upper case.", NULL},
    {"raw_path", get_raw_path, NULL, "The path as the client sent it: bytes, percent-encoded.",
     NULL},
    {"query_string", get_query_string, NULL, "What stood behind the question mark: bytes.", NULL},
    {"http_version", get_http_version, NULL, "\"1.0\" or \"1.1\".", NULL},
    {"_content", get_content, NULL, "The body that had come when the handler began: bytes.", NULL},
    {"path_params", get_path_params, NULL,
     "The path parameters by name, each as its convertor gives it: {x} is text, {x:int} an int.",
     NULL},
    {"raw_headers", get_raw_headers, NULL,
     "Pairs of bytes, names in lower case, in the order of arrival.", NULL},
    {"_exchange", get_exchange, NULL, "The exchange with the event loop.", NULL},
    {"_streams", get_streams, NULL, "The body comes through the exchange, not as content.", NULL},
    {"_scheme", get_scheme, NULL, "\"https\" where a trusted proxy says so, else \"http\".", NULL},
    {"_host", get_host, NULL, "The host that a trusted proxy names, or \"\".", NULL},
    {"_lifespan_state", get_lifespan_state, NULL, "What the lifespan yielded.", NULL},
    {"_client", get_client, NULL, "(host, port), or None on a unix socket.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot request_slots[] = {
    {Py_tp_dealloc, request_dealloc},
    {Py_tp_traverse, request_traverse},
    {Py_tp_clear, request_clear},
    {Py_tp_getset, getters},
    {0, NULL},
};
PyType_Spec oar_py_request_spec = {
    .name = "_oarlock.Request",
    .basicsize = sizeof(struct request_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = request_slots,
};
