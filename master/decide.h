/* SPDX-License-Identifier: MIT
 * The policy with a queue before it: what happens while its actions are obeyed (a fork that fails)
 * is decided after all of them, never between two of them. */
#ifndef OARLOCK_DECIDE_H
#define OARLOCK_DECIDE_H

#include "master/policy.h"

struct oar_decider {
    struct oar_policy policy;
    void (*obey)(const struct oar_action *action);
    double (*now)(void); /* seconds of a clock that only grows */
    bool busy;
    int first, n;
    struct {
        enum oar_event event;
        int index;
    } queue[4 * OAR_MAX_WORKERS];
};

/* Decides, unless that is going on already: then it is decided when its turn comes. */
void oar_decide(struct oar_decider *d, enum oar_event event, int index);

#endif
