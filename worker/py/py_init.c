/* SPDX-License-Identifier: MIT
 * Brings the interpreter up: configuration, search path, the package, and the objects that the
 * bridge uses. Process: loader and worker, on the main thread. Owns oar_py for the life of the
 * process. Never falls back silently: a virtual environment of another version or kind is refused,
 * because an embedded interpreter would give it an empty site-packages and no error. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "worker/py/py.h"

struct oar_py_process oar_py;

#ifdef Py_GIL_DISABLED
#define KIND "t"
#define FLAVOUR "ft"
#else
#define KIND ""
#define FLAVOUR "gil"
#endif
#define LIB_FOLDER "python" Py_STRINGIFY(PY_MAJOR_VERSION) "." Py_STRINGIFY(PY_MINOR_VERSION) KIND

char *oar_py_exception_text(void)
{
    PyObject *exception = PyErr_GetRaisedException();
    PyObject *traceback = exception ? PyImport_ImportModule("traceback") : NULL;
    PyObject *lines =
        traceback ? PyObject_CallMethod(traceback, "format_exception", "O", exception) : NULL;
    PyObject *empty = lines ? PyUnicode_FromString("") : NULL;
    PyObject *text = empty ? PyUnicode_Join(empty, lines) : NULL;
    const char *utf8 = text ? PyUnicode_AsUTF8(text) : NULL;
    char *copy = strdup(utf8 ? utf8 : "an exception that cannot be printed");
    PyErr_Clear(); /* of the attempt to print it */
    Py_XDECREF(text);
    Py_XDECREF(empty);
    Py_XDECREF(lines);
    Py_XDECREF(traceback);
    Py_XDECREF(exception);
    return copy;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Does the environment that holds the executable belong to this version and kind of interpreter? */
static enum oar_status check_venv(const struct oar_app_args *args, struct oar_err *err)
{
    char folder[PATH_MAX];
    char path[PATH_MAX + 64];
    struct stat st;
    snprintf(folder, sizeof folder, "%s", args->python);
    for (int up = 0; up < 2; up++) { /* DIR/bin/python -> DIR */
        char *slash = strrchr(folder, '/');
        if (!slash) {
            return OAR_OK;
        }
        *slash = '\0';
    }
    snprintf(path, sizeof path, "%s/pyvenv.cfg", folder);
    if (stat(path, &st) != 0) {
        return OAR_OK; /* no virtual environment */
    }
    snprintf(path, sizeof path, "%s/lib/" LIB_FOLDER, folder);
    if (is_folder(path)) {
        return OAR_OK;
    }
    return oar_err_set(
        err,
        "the virtual environment %s is not one for CPython %d.%d%s (it has no lib/" LIB_FOLDER
        "); give --python for its interpreter, or make one with: %s -m venv %s-" FLAVOUR,
        folder, PY_MAJOR_VERSION, PY_MINOR_VERSION, *KIND ? " free-threaded" : "", OAR_PYTHON,
        folder);
}

static enum oar_status configure(const struct oar_app_args *args, struct oar_err *err)
{
    PyConfig config;
    char *const argv[] = {(char *)"oarlock"};
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    config.parse_argv = 0;
    config.cpu_count = args->cpu_count > 0 ? args->cpu_count : -1;
    if (!getenv("PYTHONHASHSEED")) {
        config.use_hash_seed = 1;
        config.hash_seed = args->hash_seed;
    }
    PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, args->python);
    if (!PyStatus_Exception(status)) {
        status = PyConfig_SetBytesArgv(&config, 1, argv);
    }
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        return oar_err_set(err, "the interpreter %s cannot start: %s", args->python,
                           status.err_msg ? status.err_msg : "no reason given");
    }
    return OAR_OK;
}

/* sys.path: the application's folder first, the folder of our package last. */
static int extend_path(const struct oar_app_args *args)
{
    char resolved[PATH_MAX];
    PyObject *path = PySys_GetObject("path"); /* borrowed; nothing else runs yet */
    const char *app_dir =
        realpath(args->config->app_dir, resolved) ? resolved : args->config->app_dir;
    PyObject *first = PyUnicode_DecodeFSDefault(app_dir);
    PyObject *last = PyUnicode_DecodeFSDefault(args->package_dir);
    int rc = path && first && last ? PyList_Insert(path, 0, first) : -1;
    if (rc == 0 && *args->package_dir) {
        rc = PyList_Append(path, last);
    }
    Py_XDECREF(first);
    Py_XDECREF(last);
    return rc;
}

static PyObject *attribute(const char *module, const char *name)
{
    PyObject *m = PyImport_ImportModule(module);
    PyObject *a = m ? PyObject_GetAttrString(m, name) : NULL;
    Py_XDECREF(m);
    return a;
}

/* The objects that the bridge uses on every request, fetched once. */
static int fetch_objects(void)
{
    oar_py.worker = PyImport_ImportModule("oarlock._worker");
    oar_py.response_type = oar_py.worker ? attribute("oarlock.responses", "Response") : NULL;
    oar_py.request_type = oar_py.response_type ? attribute("oarlock.requests", "Request") : NULL;
    oar_py.request_base = oar_py.request_type ? attribute("_oarlock", "Request") : NULL;
    oar_py.uuid_type = oar_py.request_base ? attribute("uuid", "UUID") : NULL;
    oar_py.task_type = oar_py.uuid_type ? attribute("asyncio", "Task") : NULL;
    oar_py.encode_default = oar_py.task_type ? attribute("oarlock._encode", "default") : NULL;
    oar_py.render_error = oar_py.encode_default ? attribute("oarlock._errors", "render") : NULL;
    oar_py.streaming_type =
        oar_py.render_error ? attribute("oarlock.responses", "StreamingResponse") : NULL;
    oar_py.background_type =
        oar_py.streaming_type ? attribute("oarlock.background", "BackgroundTasks") : NULL;
    oar_py.background_start =
        oar_py.background_type ? attribute("oarlock.background", "start") : NULL;
    oar_py.stream_start = oar_py.background_start ? attribute("oarlock._stream", "start") : NULL;
    oar_py.client_disconnect =
        oar_py.stream_start ? attribute("oarlock.exceptions", "ClientDisconnect") : NULL;
    oar_py.cancelled_error =
        oar_py.client_disconnect ? attribute("asyncio", "CancelledError") : NULL;
    oar_py.set_running_loop =
        oar_py.cancelled_error ? attribute("asyncio", "_set_running_loop") : NULL;
    oar_py.task_kwnames =
        oar_py.set_running_loop ? Py_BuildValue("(sss)", "loop", "context", "eager_start") : NULL;
    oar_py.bytes_name = oar_py.task_kwnames ? Py_BuildValue("(s)", "bytes") : NULL;
    oar_py.str_status_code = PyUnicode_InternFromString("status_code");
    oar_py.str_body = PyUnicode_InternFromString("body");
    oar_py.str_render_head = PyUnicode_InternFromString("_render_head");
    oar_py.str_result = PyUnicode_InternFromString("result");
    oar_py.str_body_iterator = PyUnicode_InternFromString("body_iterator");
    oar_py.str_background = PyUnicode_InternFromString("background");
    oar_py.str_throw = PyUnicode_InternFromString("throw");
    oar_py.str_cancel = PyUnicode_InternFromString("cancel");
    oar_py.str_done = PyUnicode_InternFromString("done");
    oar_py.str_add_done_callback = PyUnicode_InternFromString("add_done_callback");
    return oar_py.bytes_name && !PyErr_Occurred() ? 0 : -1;
}

enum oar_status oar_py_initialize(const struct oar_app_args *args, char **text, struct oar_err *err)
{
    oar_py.args = args;
    if (PyImport_AppendInittab("_oarlock", PyInit__oarlock) != 0) {
        return oar_err_set(err, "cannot add the built-in module _oarlock");
    }
    if (check_venv(args, err) != OAR_OK || configure(args, err) != OAR_OK) {
        return OAR_ERR;
    }
    oar_py.interpreter = PyInterpreterState_Get();
    oar_py.main_thread = PyThreadState_Get();
    if (extend_path(args) != 0 || fetch_objects() != 0 || oar_py_hooks_install() != 0) {
        *text = oar_py_exception_text();
        return oar_err_set(
            err, "the package oarlock cannot be imported from %s: %.800s",
            *args->package_dir ? args->package_dir : "the interpreter's site-packages", *text);
    }
    return OAR_OK;
}
