/* SPDX-License-Identifier: MIT
 * What a handler returned, or raised, as a response.
 *   a Response            its status, header lines and body
 *   anything else         through the route's response_class, or as JSON (FastAPI's meaning)
 *   HTTPException         {"detail": ...} with its status
 *   any other exception   500; the traceback goes to the log, with --debug into the body too
 * Process: worker, any attached thread. The bytes lie in the thread's own buffer until its next
 * response. Never lets an error while answering an error escape: the last resort is a plain 500. */
#include "worker/py/py.h"

/* Copies bytes into the thread's buffer; offsets, because it may move while more is added. */
static size_t keep(struct oar_py_thread *t, const char *bytes, Py_ssize_t len)
{
    size_t at = t->out.len;
    oar_buf_put(&t->out, bytes, (size_t)len);
    return at;
}

static void begin(struct oar_py_thread *t)
{
    if (t->out.failed ||
        t->out.cap > 1u << 20) { /* a big response must not keep its memory for ever */
        oar_buf_free(&t->out);
    }
    t->out.len = 0;
}

void oar_py_respond_plain(struct oar_request *r, uint16_t status)
{
    r->response = (struct oar_response){.status = status, .type = OAR_LIT("application/json")};
    if (status == 503) {
        r->response.fields = OAR_LIT("retry-after: 1\r\n");
        r->response.body = OAR_LIT("{\"detail\":\"Service Unavailable\"}");
    } else {
        r->response.body = OAR_LIT("{\"detail\":\"Internal Server Error\"}");
    }
}

static int from_json(struct oar_py_thread *t, struct oar_request *r, PyObject *value,
                     uint16_t status)
{
    begin(t);
    if (oar_py_json(&t->out, value) != 0) {
        return -1;
    }
    r->response = (struct oar_response){
        .status = status, .type = OAR_LIT("application/json"), .body = {t->out.data, t->out.len}};
    return 0;
}

static long status_of(PyObject *response)
{
    PyObject *code = PyObject_GetAttr(response, oar_py.str_status_code);
    long status = code ? PyLong_AsLong(code) : -1;
    if (status < 200 || status > 599) {
        if (code) {
            PyErr_Format(PyExc_ValueError,
                         "a response's status_code must be a number from 200 to 599, not %R", code);
        }
        status = -1;
    }
    Py_XDECREF(code);
    return status;
}

/* The Content-Length that the handler has given a stream; false: none, or (exception set) nonsense.
 */
static bool length_of(PyObject *response, uint64_t *length)
{
    PyObject *given = PyObject_CallMethod(response, "_content_length", NULL);
    long long n = given ? PyLong_AsLongLong(given) : -1;
    Py_XDECREF(given);
    *length = n < 0 ? 0 : (uint64_t)n;
    return n >= 0;
}

/* The head of a response whose body is the items of an iterator. */
static int from_stream(struct oar_py_thread *t, struct oar_request *r, PyObject *response,
                       PyObject *context)
{
    long status = status_of(response);
    PyObject *head =
        status > 0 ? PyObject_CallMethodNoArgs(response, oar_py.str_render_head) : NULL;
    char *fields;
    Py_ssize_t len;
    bool full = false;
    uint64_t length = 0;
    bool has_length = head && length_of(response, &length);
    int rc = head && !PyErr_Occurred() && PyBytes_AsStringAndSize(head, &fields, &len) == 0
                 ? oar_py_stream(t, r, response, context, &full)
                 : -1;
    if (rc == 0) {
        begin(t);
        keep(t, fields, len);
        r->response = (struct oar_response){.status = (uint16_t)status,
                                            .head_has_type = true,
                                            .stream = true,
                                            .has_length = has_length,
                                            .length = length,
                                            .fields = {t->out.data, (size_t)len},
                                            .body = {t->out.data, 0}};
    } else if (full) {
        oar_py_respond_plain(r, 503);
        rc = 0;
    }
    Py_XDECREF(head);
    return rc;
}

static bool is_streaming(PyObject *response)
{
    return PyObject_TypeCheck(response, (PyTypeObject *)oar_py.streaming_type);
}

static int from_whole(struct oar_py_thread *t, struct oar_request *r, PyObject *response)
{
    long status = status_of(response);
    PyObject *head =
        status > 0 ? PyObject_CallMethodNoArgs(response, oar_py.str_render_head) : NULL;
    PyObject *body = head ? PyObject_GetAttr(response, oar_py.str_body) : NULL;
    char *fields;
    Py_ssize_t fields_len;
    Py_buffer view;
    int rc = -1;
    if (body && PyBytes_AsStringAndSize(head, &fields, &fields_len) == 0 &&
        PyObject_GetBuffer(body, &view, PyBUF_SIMPLE) == 0) {
        begin(t);
        size_t body_at = keep(t, view.buf, view.len);
        size_t fields_at = keep(t, fields, fields_len);
        rc = t->out.failed ? -1 : 0;
        r->response = (struct oar_response){.status = (uint16_t)status,
                                            .head_has_type = true,
                                            .fields = {t->out.data + fields_at, (size_t)fields_len},
                                            .body = {t->out.data + body_at, (size_t)view.len}};
        PyBuffer_Release(&view);
        if (rc != 0) {
            PyErr_NoMemory();
        }
    }
    Py_XDECREF(head);
    Py_XDECREF(body);
    return rc;
}

/* A Response, and what follows it. */
static int from_response(struct oar_py_thread *t, struct oar_request *r, PyObject *response,
                         PyObject *context)
{
    if (is_streaming(response)) {
        return from_stream(t, r, response, context);
    }
    int rc = from_whole(t, r, response);
    if (rc == 0) {
        oar_py_background_start(t, oar_py_background_take(t, r, response), context,
                                oar_rt_text(oar_py.args->routes, r->route->path_off));
    }
    return rc;
}

/* Any value but a Response, through the route's response_class. */
static int from_class(struct oar_py_thread *t, struct oar_request *r,
                      const struct oar_py_handler *h, PyObject *value, PyObject *context)
{
    PyObject *response = PyObject_CallFunction(h->response_class, "Oi", value, (int)h->status);
    int rc = response ? from_response(t, r, response, context) : -1;
    Py_XDECREF(response);
    return rc;
}

void oar_py_respond(struct oar_py_thread *t, struct oar_request *r, PyObject *value,
                    PyObject *context)
{
    const struct oar_py_handler *h = &oar_py.handlers[r->route->handler];
    bool plain = PyDict_CheckExact(value);
    int rc;
    if (!plain && PyObject_TypeCheck(value, (PyTypeObject *)oar_py.response_type)) {
        rc = from_response(t, r, value, context);
    } else if (h->response_class) {
        rc = from_class(t, r, h, value, context);
    } else {
        rc = from_json(t, r, value, h->status);
        if (OAR_UNLIKELY(rc == 0 && r->background)) {
            oar_py_background_start(t, oar_py_background_take(t, r, NULL), context,
                                    oar_rt_text(oar_py.args->routes, r->route->path_off));
        }
    }
    if (rc != 0) {
        oar_py_respond_error(t, r);
    }
}

/* A handler that ended because its client has gone did nothing wrong. */
static bool left_alone(struct oar_request *r)
{
    struct oar_exchange *x = atomic_load_explicit(&r->exchange, memory_order_acquire);
    return x && oar_py.args->host->has_left(x) &&
           (PyErr_ExceptionMatches(oar_py.client_disconnect) ||
            PyErr_ExceptionMatches(oar_py.cancelled_error));
}

void oar_py_respond_error(struct oar_py_thread *t, struct oar_request *r)
{
    oar_py_background_drop(r);
    if (PyErr_Occurred() && left_alone(r)) {
        PyErr_Clear();
        oar_py_respond_plain(r, 500); /* nobody reads it */
        return;
    }
    PyObject *exception = PyErr_GetRaisedException();
    const char *route = r->route ? oar_rt_text(oar_py.args->routes, r->route->path_off) : "?";
    PyObject *rendered = exception ? PyObject_CallFunction(oar_py.render_error, "Osi", exception,
                                                           route, (int)oar_py.args->config->debug)
                                   : NULL;
    PyObject *response; /* borrowed, as is log */
    PyObject *log;
    const char *text;
    if (rendered && PyArg_ParseTuple(rendered, "OO", &response, &log)) {
        Py_ssize_t len = 0;
        text = log == Py_None ? NULL : PyUnicode_AsUTF8AndSize(log, &len);
        if (text) {
            oar_py.args->host->log_text(OAR_LOG_ERROR, (struct oar_slice){text, (size_t)len});
        }
    } else {
        response = NULL;
    }
    if (!response || from_whole(t, r, response) != 0) {
        char *why = oar_py_exception_text();
        oar_py.args->host->log(OAR_LOG_ERROR, "%s: an error could not be reported: %s", route,
                               why ? why : "?");
        free(why);
        oar_py_respond_plain(r, 500);
    }
    if (r->response.status >= 500) {
        OAR_ADD_SHARED(oar_py.args->host->slot(t->home)->handler_errors, 1);
    }
    PyErr_Clear(); /* e.g. a log text that is not UTF-8: the response is complete */
    Py_XDECREF(rendered);
    Py_XDECREF(exception);
}
