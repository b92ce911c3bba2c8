/* SPDX-License-Identifier: MIT
 * What the master does when something happens: pure, no clock, no system call, so that restart
 * storms and stops are table tests.
 *
 *   LOADING --LOADED--> STARTING --all ready--> SERVING --TERM--> STOPPING --all gone--> ENDED
 *      |                   |                                          ^
 *      +-------------------+---- TERM, or a failure (exit status 1) --+
 *
 * A worker: EMPTY -> STARTING -> READY -> (death) -> BACKOFF -> STARTING ...; in STOPPING: ->
 * EMPTY. */
#ifndef OARLOCK_POLICY_H
#define OARLOCK_POLICY_H

#include "oarlock/base.h"
#include "oarlock/limits.h"

enum oar_policy_phase { OAR_LOADING, OAR_STARTING, OAR_SERVING, OAR_STOPPING, OAR_ENDED };
enum oar_child_state { OAR_CHILD_EMPTY, OAR_CHILD_STARTING, OAR_CHILD_READY, OAR_CHILD_BACKOFF };

enum oar_event {
    OAR_EV_LOADED,      /* the route table is compiled */
    OAR_EV_LOAD_FAILED, /* the loader failed; it has said why */
    OAR_EV_READY,       /* worker `index` serves */
    OAR_EV_DIED,        /* worker `index` has ended */
    OAR_EV_LEAVE,       /* worker `index` asks to be retired */
    OAR_EV_TERM,        /* stop gracefully; a second one: now */
    OAR_EV_TICK,        /* oar_policy_next has come */
};

enum oar_action_kind {
    OAR_DO_SPAWN,           /* worker `index` */
    OAR_DO_STOP,            /* ask worker `index` to finish */
    OAR_DO_KILL,            /* worker `index`: SIGKILL */
    OAR_DO_CANCEL,          /* kill the loader */
    OAR_DO_ANNOUNCE,        /* all workers are ready for the first time */
    OAR_DO_WARN_CUT,        /* the graceful time is over: what is left is cut */
    OAR_DO_WARN_SLOW_START, /* worker `index` did not become ready in time; it is killed */
    OAR_DO_END,             /* exit with policy->status */
};
struct oar_action {
    enum oar_action_kind kind;
    int index;
};

struct oar_policy_child {
    enum oar_child_state state;
    double since; /* of the state */
    double delay; /* of the last back-off */
};

struct oar_policy {
    enum oar_policy_phase phase;
    int n_workers;
    double graceful, start_limit; /* seconds */
    double stop_began, stop_at;   /* STOPPING: its start, and the end of the graceful time */
    bool announced;
    int status; /* of the exit */
    struct oar_policy_child child[OAR_MAX_WORKERS];
};

/* A worker that lived this long starts again at once; one that did not waits, twice as long each
 * time. */
#define OAR_STABLE_AFTER 10.0
#define OAR_BACKOFF_FIRST 0.1
#define OAR_BACKOFF_MOST 10.0

/* Signals that come together are one: `timeout` and init systems tell process and group. */
#define OAR_TOLD_ONCE 0.2

/* At most this many actions come of one event. */
#define OAR_MAX_ACTIONS (2 * OAR_MAX_WORKERS + 4)

void oar_policy_init(struct oar_policy *p, int n_workers, double graceful, double start_limit);
/* Returns the number of actions. `now` in seconds, of any clock that only grows. */
int oar_policy_event(struct oar_policy *p, enum oar_event event, int index, double now,
                     struct oar_action *out);
/* When a TICK is due; < 0: none is. */
double oar_policy_next(const struct oar_policy *p);

#endif
