/* SPDX-License-Identifier: MIT
 * Python values to JSON text, with the results of json.dumps(ensure_ascii=False, separators=(",",
 * ":")) after FastAPI's jsonable_encoder. Types that C does not know go through
 * oarlock._encode.default, which returns simpler ones.
 * Defined answers: NaN and infinities, which JSON does not have, are null, as pydantic and
 * JavaScript write them: a number that a client sent must not become a 500. A lone surrogate is
 * written as its \uXXXX escape, so that Python's json reads the same string back. Nesting is
 * bounded by MAX_DEPTH, which is more than Request.json() takes.
 * Process: worker; and tools through _oarlock.dumps. Owns nothing. On the free-threaded build a
 * container that another thread changes meanwhile is an error or a mixed view, never a crash:
 * strong references only, dictionaries inside a critical section. */
#include "worker/py/py.h"

#define MAX_DEPTH 400

struct encoder {
    struct oar_buf *out;
    int depth;
};

static int encode(struct encoder *e, PyObject *value);

/* Bytes that must be escaped: RFC 8259 section 7. */
static const unsigned char special[256] = {[0 ... 31] = 1, ['"'] = 1, ['\\'] = 1};

static void put_escape(struct oar_buf *out, unsigned char c)
{
    static const char letters[128] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                      ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    static const char digits[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    bool has_letter = letters[c] != 0;
    if (has_letter) {
        text[1] = letters[c];
    }
    oar_buf_put(out, text, has_letter ? 2 : 6);
}

static void put_ascii(struct oar_buf *out, const char *p, Py_ssize_t len)
{
    char *to = oar_buf_room(out, (size_t)len + 2);
    Py_ssize_t at = 0;
    if (!to) {
        return;
    }
    *to++ = '"';
    while (at < len && !special[(unsigned char)p[at]]) {
        at++;
    }
    memcpy(to, p, (size_t)at);
    out->len += (size_t)at + 1;
    if (OAR_LIKELY(at == len)) {
        to[at] = '"';
        out->len++;
        return;
    }
    for (Py_ssize_t run = at; at <= len; at++) {
        if (at == len || special[(unsigned char)p[at]]) {
            oar_buf_put(out, p + run, (size_t)(at - run));
            if (at < len) {
                put_escape(out, (unsigned char)p[at]);
            }
            run = at + 1;
        }
    }
    oar_buf_put(out, "\"", 1);
}

/* One character beyond ASCII, as UTF-8; a surrogate, which UTF-8 cannot hold, as its escape. `to`
 * has room for 6 bytes. Returns how many it takes. */
static size_t write_char(char *to, Py_UCS4 c)
{
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    static const char digits[] = "0123456789abcdef";
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (c >= 0xd800 && c <= 0xdfff) {
        const char text[6] = {'\\',          'u', 'd', digits[(c >> 8) & 15], digits[(c >> 4) & 15],
                              digits[c & 15]};
        memcpy(to, text, sizeof text);
        return sizeof text;
    }
    for (size_t k = n; k-- > 0; c >>= 6) {
        to[k] = (char)(k > 0 ? 0x80 | (c & 0x3f) : lead[n] | c);
    }
    return n;
}

/* Text beyond ASCII, written from the string's own characters. PyUnicode_AsUTF8AndSize would be
 * shorter, but leaves a UTF-8 copy in the string for as long as the string lives: the strings are
 * the application's, and may be all that it holds in memory. */
static void put_unicode(struct oar_buf *out, PyObject *str)
{
    enum { AT_ONCE = 512, LONGEST = 6 };
    Py_ssize_t len = PyUnicode_GET_LENGTH(str);
    int kind = PyUnicode_KIND(str);
    const void *data = PyUnicode_DATA(str);
    oar_buf_put(out, "\"", 1);
    for (Py_ssize_t at = 0; at < len;) {
        Py_ssize_t stop = Py_MIN(len, at + AT_ONCE);
        char *to = oar_buf_room(out, (size_t)(stop - at) * LONGEST);
        if (!to) {
            return;
        }
        char *start = to;
        for (; at < stop; at++) {
            Py_UCS4 c = PyUnicode_READ(kind, data, at);
            if (c >= 0x80) {
                to += write_char(to, c);
            } else if (!special[c]) {
                *to++ = (char)c;
            } else {
                break;
            }
        }
        out->len += (size_t)(to - start);
        if (at < stop) {
            put_escape(out, (unsigned char)PyUnicode_READ(kind, data, at));
            at++;
        }
    }
    oar_buf_put(out, "\"", 1);
}

static void put_str(struct encoder *e, PyObject *str)
{
    if (OAR_LIKELY(PyUnicode_IS_ASCII(str))) {
        put_ascii(e->out, PyUnicode_DATA(str), PyUnicode_GET_LENGTH(str));
    } else {
        put_unicode(e->out, str);
    }
}

static int put_int(struct encoder *e, PyObject *value)
{
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(value, &overflow);
    char digits[24];
    size_t at = sizeof digits;
    if (n == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (overflow) {
        PyObject *text = PyLong_Type.tp_repr(value);
        Py_ssize_t len = 0;
        const char *utf8 = text ? PyUnicode_AsUTF8AndSize(text, &len) : NULL;
        if (utf8) {
            oar_buf_put(e->out, utf8, (size_t)len);
        }
        Py_XDECREF(text);
        return utf8 ? 0 : -1;
    }
    unsigned long long u = n < 0 ? 0ULL - (unsigned long long)n : (unsigned long long)n;
    do {
        digits[--at] = (char)('0' + u % 10);
        u /= 10;
    } while (u);
    if (n < 0) {
        digits[--at] = '-';
    }
    oar_buf_put(e->out, digits + at, sizeof digits - at);
    return 0;
}

static int put_float(struct encoder *e, PyObject *value)
{
    double d = PyFloat_AS_DOUBLE(value);
    if (!isfinite(d)) {
        oar_buf_put(e->out, "null", 4);
        return 0;
    }
    char *text = PyOS_double_to_string(d, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (!text) {
        return -1;
    }
    oar_buf_put(e->out, text, strlen(text));
    PyMem_Free(text);
    return 0;
}

/* A float as an object's key: those that JSON does not have keep their names, as in JavaScript. */
static int put_float_key(struct encoder *e, PyObject *key)
{
    double d = PyFloat_AS_DOUBLE(key);
    if (isnan(d)) {
        oar_buf_put_slice(e->out, OAR_LIT("NaN"));
    } else if (isinf(d)) {
        oar_buf_put_slice(e->out, d > 0 ? OAR_LIT("Infinity") : OAR_LIT("-Infinity"));
    } else {
        return put_float(e, key);
    }
    return 0;
}

/* What default() gives for a value that JSON does not have: the application's code, which may run
 * rounds of the event loop. The thread's buffer is then that of other responses. */
static PyObject *simplified(struct encoder *e, PyObject *value)
{
    struct oar_buf begun = *e->out;
    *e->out = (struct oar_buf){0};
    PyObject *simpler = PyObject_CallOneArg(oar_py.encode_default, value);
    oar_buf_free(e->out);
    *e->out = begun;
    return simpler;
}

/* json.dumps's keys: strings, and numbers, booleans and None as strings; others through default().
 */
static int put_key(struct encoder *e, PyObject *key)
{
    if (PyUnicode_Check(key)) {
        put_str(e, key);
        return 0;
    }
    if (key == Py_None || PyBool_Check(key) || PyLong_Check(key) || PyFloat_Check(key)) {
        oar_buf_put(e->out, "\"", 1);
        int rc = PyFloat_Check(key) ? put_float_key(e, key) : encode(e, key);
        oar_buf_put(e->out, "\"", 1);
        return rc;
    }
    PyObject *simpler = simplified(e, key);
    int rc = -1;
    if (simpler && (PyUnicode_Check(simpler) || PyLong_Check(simpler) || PyFloat_Check(simpler) ||
                    simpler == Py_None)) {
        rc = put_key(e, simpler);
    } else if (simpler) {
        PyErr_Format(PyExc_TypeError, "a JSON object's key must be a string or number, not %s",
                     Py_TYPE(key)->tp_name);
    }
    Py_XDECREF(simpler);
    return rc;
}

static int put_members(struct encoder *e, PyObject *dict)
{
    Py_ssize_t pos = 0;
    Py_ssize_t size = PyDict_GET_SIZE(dict);
    PyObject *key;
    PyObject *value;
    int rc = 0;
    bool first = true;
    while (rc == 0 && PyDict_Next(dict, &pos, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        if (!first) {
            oar_buf_put(e->out, ",", 1);
        }
        first = false;
        rc = put_key(e, key);
        oar_buf_put(e->out, ":", 1);
        rc = rc == 0 ? encode(e, value) : rc;
        Py_DECREF(key);
        Py_DECREF(value);
        if (rc == 0 && PyDict_GET_SIZE(dict) != size) {
            PyErr_SetString(PyExc_RuntimeError, "dictionary changed size while it was encoded");
            rc = -1;
        }
    }
    return rc;
}

static int put_dict(struct encoder *e, PyObject *dict)
{
    int rc;
    oar_buf_put(e->out, "{", 1);
    Py_BEGIN_CRITICAL_SECTION(dict);
    rc = put_members(e, dict);
    Py_END_CRITICAL_SECTION();
    oar_buf_put(e->out, "}", 1);
    return rc;
}

/* New reference; NULL without an exception: the end. Another thread may change a list meanwhile. */
static PyObject *item_at(PyObject *sequence, Py_ssize_t i)
{
    if (!PyList_Check(sequence)) {
        return i < PyTuple_GET_SIZE(sequence) ? Py_NewRef(PyTuple_GET_ITEM(sequence, i)) : NULL;
    }
    PyObject *item = i < PyList_Size(sequence) ? PyList_GetItemRef(sequence, i) : NULL;
    if (!item && PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_IndexError)) {
        PyErr_Clear(); /* it has become shorter */
    }
    return item;
}

static int put_sequence(struct encoder *e, PyObject *sequence)
{
    PyObject *item;
    int rc = 0;
    oar_buf_put(e->out, "[", 1);
    for (Py_ssize_t i = 0; rc == 0 && (item = item_at(sequence, i)); i++) {
        if (i > 0) {
            oar_buf_put(e->out, ",", 1);
        }
        rc = encode(e, item);
        Py_DECREF(item);
    }
    oar_buf_put(e->out, "]", 1);
    return PyErr_Occurred() ? -1 : rc;
}

static int put_other(struct encoder *e, PyObject *value)
{
    PyObject *simpler = simplified(e, value);
    int rc = simpler ? encode(e, simpler) : -1;
    Py_XDECREF(simpler);
    return rc;
}

static int encode_nested(struct encoder *e, PyObject *value)
{
    int rc;
    if (++e->depth > MAX_DEPTH) {
        PyErr_Format(PyExc_ValueError,
                     "the value is nested deeper than %d levels, or contains itself", MAX_DEPTH);
        return -1;
    }
    if (PyDict_Check(value)) {
        rc = put_dict(e, value);
    } else if (PyList_Check(value) || PyTuple_CheckExact(value)) {
        rc = put_sequence(e, value);
    } else {
        rc = put_other(e, value);
    }
    e->depth--;
    return rc;
}

static int encode(struct encoder *e, PyObject *value)
{
    int rc = 0;
    if (PyUnicode_CheckExact(value)) {
        put_str(e, value);
    } else if (value == Py_None) {
        oar_buf_put(e->out, "null", 4);
    } else if (value == Py_True) {
        oar_buf_put(e->out, "true", 4);
    } else if (value == Py_False) {
        oar_buf_put(e->out, "false", 5);
    } else if (PyLong_CheckExact(value)) {
        rc = put_int(e, value);
    } else if (PyFloat_CheckExact(value)) {
        rc = put_float(e, value);
    } else {
        rc = encode_nested(e, value);
    }
    return rc;
}

int oar_py_json(struct oar_buf *out, PyObject *value)
{
    struct encoder e = {out, 0};
    int rc = encode(&e, value);
    if (rc == 0 && out->failed) {
        PyErr_NoMemory();
        rc = -1;
    }
    return rc;
}
