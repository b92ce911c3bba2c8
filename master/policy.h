/* SPDX-License-Identifier: MIT
 * What the master does when something happens: pure, no clock, no system call, so that restart
 * storms and stops are table tests.
 *
 *   LOADING --LOADED--> STARTING --all ready--> SERVING --TERM--> LEAVING --delay over--> STOPPING
 *      |                   |                      |  (--drain-delay)                       ^   |
 *      |                   |                      +--- INT, TERM without a delay, ---------+   |
 *      |                   |                           no worker can be started (status 3) |   |
 *      +-------------------+------- TERM, INT, or a failure (status 1) --------------------+   |
 *                                                                        all gone: ENDED <-----+
 *
 * A worker: EMPTY -> STARTING -> READY -> RETIRING -> (death) -> STARTING ...
 *                       |          +----------------> (death) -> BACKOFF -> STARTING ...
 *                       +---------------------------> (death) -> BACKOFF; in STOPPING: -> EMPTY
 *
 * The listening sockets are closed once: in STOPPING, when the queues have been swept. */
#ifndef OARLOCK_POLICY_H
#define OARLOCK_POLICY_H

#include "oarlock/base.h"
#include "oarlock/limits.h"

enum oar_policy_phase {
    OAR_LOADING,
    OAR_STARTING,
    OAR_SERVING,
    OAR_LEAVING, /* not ready for new clients any more, but serves those that come */
    OAR_STOPPING,
    OAR_ENDED
};
enum oar_child_state {
    OAR_CHILD_EMPTY,
    OAR_CHILD_STARTING,
    OAR_CHILD_READY,
    OAR_CHILD_RETIRING, /* finishes what it has, until a deadline */
    OAR_CHILD_BACKOFF
};

enum oar_event {
    OAR_EV_LOADED,      /* the route table is compiled */
    OAR_EV_LOAD_FAILED, /* the loader failed; it has said why */
    OAR_EV_READY,       /* worker `index` serves */
    OAR_EV_LEAVE,       /* worker `index` asks to be retired */
    OAR_EV_CLOSED,      /* worker `index` has swept the queues and accepts no more */
    OAR_EV_DIED,        /* worker `index` has ended */
    OAR_EV_TERM,        /* stop gracefully; a second one: now */
    OAR_EV_INT,         /* the same, without the delay */
    OAR_EV_TICK,        /* oar_policy_next has come */
};

enum oar_action_kind {
    OAR_DO_SPAWN,           /* worker `index` */
    OAR_DO_STOP,            /* ask worker `index` to finish */
    OAR_DO_KILL,            /* worker `index`: SIGKILL */
    OAR_DO_WARN_SLOW_START, /* worker `index` did not become ready in time; it was killed */
    OAR_DO_WARN_SLOW_END,   /* worker `index` did not finish in time; it was killed */
    OAR_DO_WARN_FAILING,    /* worker `index` cannot be started again; others serve */
    OAR_DO_WARN_CRASH_LOOP, /* no worker serves, and `index` cannot be started: the server ends */
    OAR_DO_WARN_NONE_READY, /* no worker has become ready for too long: the server ends */
    OAR_DO_CANCEL,          /* kill the loader */
    OAR_DO_ANNOUNCE,        /* all workers are ready for the first time */
    OAR_DO_UNREADY,         /* the server leaves after the delay */
    OAR_DO_CLOSE_LISTENERS, /* new connections are refused from now on */
    OAR_DO_WARN_CUT,        /* the graceful time is over: what was left is cut */
    OAR_DO_END,             /* exit with policy->status */
};
#define OAR_DO_LAST_WITH_INDEX OAR_DO_WARN_CRASH_LOOP
struct oar_action {
    enum oar_action_kind kind;
    int index;
};

/* How the server ends. */
enum oar_exit_status {
    OAR_STATUS_OK = 0,
    OAR_STATUS_START = 1,      /* it could not start */
    OAR_STATUS_CRASH_LOOP = 3, /* it served, and no worker could be started again */
};

struct oar_policy_child {
    enum oar_child_state state;
    bool closed;  /* it accepts no more */
    double since; /* of the state */
    double leave; /* READY: it is retired then; 0: it is not */
    double ready; /* since when it served, or had */
    double delay; /* of the last back-off */
    int failed;   /* starts in a row that failed */
};

/* What an operator chooses; seconds. */
struct oar_policy_limits {
    int n_workers;
    double graceful, start, drain_delay;
    int restarts; /* failed starts in a row, while no worker serves; 0: no limit */
};

struct oar_policy {
    enum oar_policy_phase phase;
    struct oar_policy_limits limit;
    int n_workers;
    double stop_began, stop_at; /* LEAVING, STOPPING: when, and the end of the delay or the time */
    double close_at;            /* STOPPING: the sockets are closed then at the latest */
    bool closed;                /* they are */
    double none_ready;          /* since when no worker serves; < 0: one does */
    int status;                 /* enum oar_exit_status */
    struct oar_policy_child child[OAR_MAX_WORKERS];
};

/* A worker that lived this long starts again at once; one that did not waits, twice as long each
 * time. */
#define OAR_STABLE_AFTER 10.0
#define OAR_BACKOFF_FIRST 0.1
#define OAR_BACKOFF_MOST 10.0

/* With no worker that serves for this long, beyond the time that one start may take, the server ends. */
#define OAR_NONE_READY_MOST 60.0

/* Signals that come together are one: `timeout` and init systems tell process and group, or all
 * processes of a service, whose workers are not to be retired because the master is stopped. */
#define OAR_TOLD_ONCE 0.2

/* After the first worker has swept the queues, others may for this long; and workers that are all
 * stuck in handlers for this long. */
#define OAR_SWEEP_MORE 0.05
#define OAR_SWEEP_MOST 1.0

/* At most this many actions come of one event. */
#define OAR_MAX_ACTIONS (2 * OAR_MAX_WORKERS + 8)

void oar_policy_init(struct oar_policy *p, const struct oar_policy_limits *limit);
/* Returns the number of actions. `now` in seconds, of any clock that only grows. */
int oar_policy_event(struct oar_policy *p, enum oar_event event, int index, double now,
                     struct oar_action *out);
/* When a TICK is due; < 0: none is. */
double oar_policy_next(const struct oar_policy *p);

#endif
