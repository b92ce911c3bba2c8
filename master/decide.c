/* SPDX-License-Identifier: MIT
 * Asks the policy about one event after the other and has its actions obeyed.
 * Process: master; also linked into the policy's test. Owns nothing. Never enters the policy while
 * its last decision is not obeyed to the end. */
#include "master/decide.h"

void oar_decide(struct oar_decider *d, enum oar_event event, int index)
{
    struct oar_action actions[OAR_MAX_ACTIONS];
    const int room = (int)OAR_ARRAY_LEN(d->queue);
    if (d->n <
        room) { /* an action posts one event at most, and no event asks for W of them twice */
        int at = (d->first + d->n++) % room;
        d->queue[at].event = event;
        d->queue[at].index = index;
    }
    if (d->busy) {
        return;
    }
    d->busy = true;
    while (d->n > 0) {
        int at = d->first;
        d->first = (d->first + 1) % room;
        d->n--;
        int n =
            oar_policy_event(&d->policy, d->queue[at].event, d->queue[at].index, d->now(), actions);
        for (int i = 0; i < n; i++) {
            d->obey(&actions[i]);
        }
    }
    d->busy = false;
}
