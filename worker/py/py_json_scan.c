/* SPDX-License-Identifier: MIT
 * What a request body in JSON may not hold although Python's json reads it: more levels than
 * recursion is good for, NaN and infinities, half a surrogate pair, numbers that no float holds.
 * One pass over the bytes, before they are parsed; whether they are JSON at all is for json.loads
 * to say. Process: worker. Owns nothing, keeps nothing, never recurses. */
#include "worker/py/py.h"

#include <math.h>

#include "oarlock/base.h"

/* As many as pydantic's parser takes. An answer may have more, so that a body fits into one. */
#define MOST_LEVELS 200
/* A float of fewer characters without an exponent is below 1.8e308. */
#define SAFE_NUMBER 300

/* Numbers that python/oarlock/_body.py knows. */
enum rule { RULE_NONE, RULE_LEVELS, RULE_CONSTANT, RULE_SURROGATE, RULE_RANGE };

struct scan {
    const char *p;
    const char *end; /* there stands a NUL: it is a bytes object's */
    int levels;
    enum rule broken; /* the first */
    const char *where;
};

static void complain(struct scan *s, enum rule rule, const char *where)
{
    if (s->broken == RULE_NONE) {
        s->broken = rule;
        s->where = where;
    }
}

/* The code unit of a \uXXXX escape at p; -1: there is none. */
static int escaped_unit(const struct scan *s, const char *p)
{
    int unit = 0;
    if (s->end - p < 6 || p[0] != '\\' || p[1] != 'u') {
        return -1;
    }
    for (int i = 2; i < 6; i++) {
        int digit = oar_hex(p[i]);
        if (digit < 0) {
            return -1;
        }
        unit = unit << 4 | digit;
    }
    return unit;
}

/* At a backslash in a string. */
static void skip_escape(struct scan *s)
{
    int unit = escaped_unit(s, s->p);
    if (unit >= 0xd800 && unit <= 0xdbff) {
        int low = escaped_unit(s, s->p + 6);
        if (low >= 0xdc00 && low <= 0xdfff) {
            s->p += 12;
            return;
        }
    }
    if (unit >= 0xd800 && unit <= 0xdfff) {
        complain(s, RULE_SURROGATE, s->p);
    }
    s->p += OAR_MIN(unit >= 0 ? 6 : 2, s->end - s->p);
}

/* Behind the opening quote. */
static void skip_string(struct scan *s)
{
    while (s->p < s->end && *s->p != '"') {
        if (*s->p == '\\') {
            skip_escape(s);
        } else {
            s->p++;
        }
    }
    s->p += s->p < s->end;
}

static void skip_number(struct scan *s)
{
    const char *start = s->p;
    bool fraction = false;
    bool exponent = false;
    for (; s->p < s->end; s->p++) {
        char c = *s->p;
        bool is_exponent = c == 'e' || c == 'E';
        if (!is_exponent && c != '.' && c != '-' && c != '+' && (c < '0' || c > '9')) {
            break;
        }
        exponent = exponent || is_exponent;
        fraction = fraction || c == '.';
    }
    if (exponent || (fraction && s->p - start > SAFE_NUMBER)) {
        char *stop; /* the number ends before or at s->p, whatever follows there */
        double d = PyOS_string_to_double(start, &stop, NULL);
        if (PyErr_Occurred()) {
            PyErr_Clear(); /* no number: json.loads says where */
        } else if (!isfinite(d)) {
            complain(s, RULE_RANGE, start);
        }
    }
}

static void scan(struct scan *s)
{
    while (s->p < s->end && s->broken != RULE_LEVELS) {
        char c = *s->p;
        if (c == '"') {
            s->p++;
            skip_string(s);
        } else if ((c >= '0' && c <= '9') || (c == '-' && s->end - s->p > 1 && s->p[1] != 'I')) {
            skip_number(s);
        } else {
            if (c == '[' || c == '{') {
                if (++s->levels > MOST_LEVELS) {
                    s->broken = RULE_LEVELS; /* whatever else is wrong: nobody may parse it */
                    s->where = s->p;
                }
            } else if (c == ']' || c == '}') {
                s->levels--;
            } else if (c == 'N' || c == 'I') {
                complain(s, RULE_CONSTANT, s->p);
            }
            s->p++;
        }
    }
}

PyObject *oar_py_json_scan(PyObject *module, PyObject *body)
{
    char *bytes;
    Py_ssize_t len;
    (void)module;
    if (PyBytes_AsStringAndSize(body, &bytes, &len) != 0) {
        return NULL;
    }
    struct scan s = {.p = bytes, .end = bytes + len};
    scan(&s);
    if (s.broken == RULE_NONE) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(in)", (int)s.broken, (Py_ssize_t)(s.where - bytes));
}
