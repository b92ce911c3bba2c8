/* SPDX-License-Identifier: MIT
 * JSON, both ways: what handlers return, and what request bodies may hold. py.h includes this. */
#ifndef OARLOCK_PY_JSON_H
#define OARLOCK_PY_JSON_H

#include "shared/buf.h"

/* py_json.c: appends `value` as JSON. -1: exception set. */
int oar_py_json(struct oar_buf *out, PyObject *value);

/* py_json_scan.c: _oarlock.scan_json(bytes). New reference: None, or (which rule, byte offset). */
PyObject *oar_py_json_scan(PyObject *module, PyObject *body);

#endif
