/* SPDX-License-Identifier: MIT
 * The only door between the event loop and handlers. Two implementations: the Python bridge
 * (worker/py/py_app.c, in a shared object for one interpreter) and the C stub (worker/stub.c).
 * Everything crosses as plain data and two tables of functions; neither side links to the other. */
#ifndef OARLOCK_APP_H
#define OARLOCK_APP_H

#include "oarlock/config.h"
#include "oarlock/log.h"
#include "oarlock/shm.h"
#include "worker/host.h"

struct oar_thread; /* an event loop; opaque to the application's side */

enum oar_call {
    OAR_CALL_DONE,    /* request->response is complete, valid until the next call on this thread */
    OAR_CALL_PENDING, /* host->respond will be called later */
    /* The loop was taken over in the handler (worker/driver.h). The response has been given with
     * respond_elsewhere, and the thread is detached. */
    OAR_CALL_LEFT,
    OAR_CALL_INSIDE, /* hand_over only: it is for `call` */
};

/* What a process is born with. Borrowed for its life. */
struct oar_app_args {
    const struct oar_host *host;
    const struct oar_config *config;
    const void *routes;      /* the mapped route table; NULL in the loader */
    const char *python;      /* the executable that the interpreter stands for (sys.executable) */
    const char *package_dir; /* folder that holds the package `oarlock`; "" when it is installed */
    const char *bridge_path; /* the shared object itself */
    uint32_t hash_seed;
    int cpu_count;
    int n_threads;
    struct oar_route_live *live; /* the scoreboard's, by handler; NULL in the loader */
};

struct oar_app {
    uint32_t abi; /* OAR_BRIDGE_ABI */
    /* "CPython 3.13.5", "free-threaded": for the line that says what serves. */
    const char *runtime, *flavour;
    const char *version; /* "3.13": must be that of the executable it stands for */
    const char *python;  /* the executable it was built for */
    bool free_threaded;
    /* Loader: imports the application; `manifest` gets malloc'ed text, after a failure what went
     * wrong. */
    enum oar_status (*describe)(const struct oar_app_args *args, char **manifest,
                                struct oar_err *err);
    /* Worker, main thread: interpreter and application are ready, and not attached, on return. */
    enum oar_status (*start)(const struct oar_app_args *args, struct oar_err *err);
    /* Each thread; thread 0 is the one that called start. */
    enum oar_status (*thread_start)(struct oar_thread *t, int index, void **state,
                                    struct oar_err *err);
    void (*thread_run)(void *state); /* calls host->poll until host->stopping */
    void (*thread_stop)(void *state);
    void (*stop)(void); /* main thread, after all others have ended */
    /* Not entered: gives the request to a thread of the application's own, if it is for one. NULL:
     * none is. `handed`: after some of them. */
    enum oar_call (*hand_over)(void *state, struct oar_request *r);
    void (*handed)(void *state);
    /* The batch: enter, call for each request, leave. */
    void (*enter)(void *state); /* counts itself in the scoreboard */
    enum oar_call (*call)(void *state, struct oar_request *r);
    /* In a batch: waiters of the exchange may be due. NULL: the application never arms any. */
    void (*notify)(void *state, struct oar_exchange *x);
    /* true: the application's loop has something to do, so poll must return to it. */
    bool (*leave)(void *state);
    /* Spare threads (worker/relay.c), each on its own; all NULL: the application takes no loop
     * over. `spare_start` returns the thread's state, NULL after saying why in the log. spare_drive
     * runs the loop `t`, whose own thread has the state `home`: it calls host->poll until that
     * returns OAR_POLL_LEFT, or until it has called host->give_home. */
    void *(*spare_start)(void);
    void (*spare_drive)(void *state, struct oar_thread *t, void *home);
    void (*spare_stop)(void *state);
};

/* The symbol that a bridge exports. */
typedef const struct oar_app *(*oar_bridge_entry)(uint32_t abi);
#define OAR_BRIDGE_SYMBOL "oar_bridge"

const struct oar_app *oar_stub_app(void);

#endif
