/* SPDX-License-Identifier: MIT
 * The bridge's shared declarations: one interpreter, its threads, its handlers. Only worker/py/
 * includes this. Every PyObject field says owned or borrowed. Functions need an attached thread
 * state unless they say otherwise, and return NULL or -1 with an exception set, as CPython's do. */
#ifndef OARLOCK_PY_H
#define OARLOCK_PY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "shared/buf.h"
#include "worker/app.h"
#include "worker/py/py_stream.h"

/* How one parameter of a handler is filled. */
enum oar_py_arg { OAR_ARG_VALUE, OAR_ARG_REQUEST, OAR_ARG_BACKGROUND };
struct oar_py_param {
    enum oar_py_arg kind;
    uint16_t value;     /* index into request->values */
    PyObject *standard; /* owned: the default; NULL: always sent */
};

struct oar_py_handler {
    PyObject *call;    /* owned */
    PyObject *kwnames; /* owned: names of the keyword-only parameters at the end; NULL: none */
    PyObject *response_class; /* owned; NULL: JSON */
    struct oar_py_param *params;
    int n_params;
    int n_keywords;
    uint16_t status; /* of a plain return value */
    bool is_async;
    bool in_pool;
    _Atomic uint8_t *place; /* in_pool unless it says OAR_PLACE_INLINE; NULL: pinned */
    _Atomic uint32_t quick; /* calls in a row that were */
    bool wants_request;     /* a parameter is the Request */
    _Atomic bool brief;     /* its last call in the pool was over at once */
};

/* Process-wide; written before any other thread attaches, then read-only. */
struct oar_py_process {
    const struct oar_app_args *args;
    PyInterpreterState *interpreter;
    PyThreadState *main_thread;
    struct oar_py_handler *handlers;
    int n_handlers;
    PyObject *worker;            /* owned: module oarlock._worker */
    PyObject *response_type;     /* owned: oarlock.Response */
    PyObject *request_type;      /* owned: oarlock.Request, a subclass of the native one */
    PyObject *request_base;      /* owned: _oarlock.Request */
    PyObject *uuid_type;         /* owned */
    PyObject *task_type;         /* owned: asyncio.Task */
    PyObject *encode_default;    /* owned: oarlock._encode.default */
    PyObject *render_error;      /* owned: oarlock._errors.render */
    PyObject *streaming_type;    /* owned: oarlock.StreamingResponse */
    PyObject *background_type;   /* owned: oarlock.BackgroundTasks */
    PyObject *background_start;  /* owned: oarlock.background.start */
    PyObject *stream_start;      /* owned: oarlock._stream.start */
    PyObject *client_disconnect; /* owned: oarlock.ClientDisconnect */
    PyObject *cancelled_error;   /* owned: asyncio.CancelledError */
    PyObject *taken_over;        /* owned: _oarlock.TakenOver */
    PyObject *set_running_loop;  /* owned: asyncio._set_running_loop */
    PyObject *task_kwnames;      /* owned: ("loop", "context", "eager_start") */
    PyObject *bytes_name;        /* owned: ("bytes",) */
    PyObject *str_status_code, *str_body, *str_render_head, *str_result, *str_body_iterator,
        *str_background, *str_throw, *str_cancel, *str_done,
        *str_add_done_callback;      /* owned, interned */
    bool lazy_tasks;                 /* py_hooks.c: a first step may run without a task */
    _Atomic bool serves;             /* event loops have started */
    bool gil_is_on;                  /* an extension has turned it on, on the free-threaded build */
    struct oar_thread *first_thread; /* borrowed; NULL: not started yet */
};
extern struct oar_py_process oar_py;

/* One event-loop thread, one thread of the pool, or a spare, which borrows what its comments call
 * owned from the loop's own thread. Touched by that thread alone. */
struct oar_py_thread {
    struct oar_thread
        *host; /* NULL in the pool, and inside a `def` that runs on a driving thread */
    struct oar_thread *home;      /* host; in the pool that of the job's loop */
    struct oar_py_thread *owner;  /* the loop's own thread: this one, or that a spare drives for */
    struct oar_py_thread *caller; /* borrowed: in the pool the loop's own thread that called */
    struct oar_driver *driver;    /* of the loop; NULL in the pool */
    uint64_t inside;              /* what oar_driver_enter gave */
    bool is_inside;               /* a `def` runs on this driving thread */
    bool protected;               /* it has entered: the loop may be taken over */
    bool lost;                    /* it was */
    bool hides_loop;              /* asyncio sees no running loop here, though there is one */
    bool is_spare;
    PyThreadState *state;
    PyObject *loop;           /* owned: the asyncio loop; NULL in the pool */
    PyObject *context;        /* owned: copied for each handler */
    PyObject *poller;         /* owned */
    PyObject *lifespan_state; /* owned: dict; request.state begins as a copy */
    bool serves;              /* the loop runs to serve: it is told when the worker has drained */
    struct oar_buf out;       /* body, then header lines, of the response being made */
    struct oar_py_pump *pump; /* in the pool: to run once the response's head is sent */
    struct oar_py_step *step; /* the first step that is running; NULL: none */
    uint8_t *needs;           /* owned, by handler: how regularly it has needed a task of late */
    struct shard *tasks;      /* py_tasks.c's; NULL in the pool */
    uint64_t timers_seen;     /* of the loop, when it began to wait */
    bool asked;               /* somebody wanted to know the current task */
    bool in_batch;            /* handlers are being called */
    uint64_t woken_ns, taken_ns; /* in the pool: when it was called, when it took its job */
    int index;
};
/* The event-loop thread that this is; NULL elsewhere. */
extern _Thread_local struct oar_py_thread *oar_py_here __attribute__((tls_model("initial-exec")));

/* py_module.c: what `import _oarlock` gives, built in or as an extension. */
PyMODINIT_FUNC PyInit__oarlock(void);

/* py_init.c. `text` (malloc'ed) gets what went wrong where it is longer than `err` holds. */
enum oar_status oar_py_initialize(const struct oar_app_args *args, char **text,
                                  struct oar_err *err);
/* Fetches the exception as text for the operator. Clears it. */
char *oar_py_exception_text(void);

/* py_handlers.c: the application's handlers as C data. -1: exception set. */
int oar_py_handlers_load(PyObject *specs);

/* py_call.c */
enum oar_call oar_py_call(void *thread, struct oar_request *r);
enum oar_call oar_py_hand_over(void *thread, struct oar_request *r); /* detached */
/* Calls the handler in a context of its own; completes r->response, errors included. Any thread. */
void oar_py_run(struct oar_py_thread *t, struct oar_request *r);
/* Leaves an entered context. Keeps the exception that is set. */
void oar_py_leave_context(PyObject *context);
/* What the handler returned. New reference. */
PyObject *oar_py_invoke(const struct oar_py_thread *t, const struct oar_py_handler *h,
                        struct oar_request *r);

/* py_attach.c: takes the interpreter for a loop's thread, and accounts for the wait. */
void oar_py_attach(struct oar_py_thread *t);
extern _Atomic int oar_py_loops_wait; /* how many do; 0 without the GIL */
/* Accounts for the interpreter's collections from now on. -1: exception set. */
int oar_py_watch_collections(void);

extern PyMethodDef oar_py_server_methods[];
/* py_place.c: where a `def` that is not pinned runs */
bool oar_py_place_here(const struct oar_py_handler *h);
/* Calls the handler on the driving thread, where it sees no running loop, as in the pool. DONE, or
 * LEFT: see worker/app.h. */
enum oar_call oar_py_place_run_here(struct oar_py_thread *t, struct oar_request *r);
/* Calls it, and remembers how long it took. */
void oar_py_place_run(struct oar_py_thread *t, struct oar_request *r);

/* py_respond.c: completes r->response from a return value, or from the exception that is set. The
 * bytes lie in t->out until the thread's next response. */
void oar_py_respond(struct oar_py_thread *t, struct oar_request *r, PyObject *value,
                    PyObject *context);
void oar_py_respond_error(struct oar_py_thread *t, struct oar_request *r);
void oar_py_respond_plain(struct oar_request *r, uint16_t status);

/* py_request.c */
PyObject *oar_py_request_new(const struct oar_py_thread *t, const struct oar_request *r);
extern PyType_Spec oar_py_request_spec;

/* py_spare.c. Before a coroutine handler, and at the end of a batch: asyncio knows the running loop
 * again, which is hidden once for all the `def`s that follow each other in a batch. */
void oar_py_show_loop(struct oar_py_thread *t);
/* A `def` begins on the driving thread; it sees no running loop. false: exception set. */
bool oar_py_inside_begin(struct oar_py_thread *t);
/* It has ended, or the rest of it concerns the loop. false: the loop was taken over, and the thread
 * goes on as one of the pool. A second call says the same. */
bool oar_py_inside_end(struct oar_py_thread *t);
void *oar_py_spare_start(void);
void oar_py_spare_drive(void *state, struct oar_thread *host, void *own);
void oar_py_spare_stop(void *state);
void oar_py_spare_wait_for_home(struct oar_py_thread *t); /* detached */
PyObject *oar_py_spare_home_waits(PyObject *module, PyObject *unused);

#include "worker/py/py_async.h"
#include "worker/py/py_json.h"

#endif
