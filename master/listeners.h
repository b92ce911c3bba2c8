/* SPDX-License-Identifier: MIT
 * The listening sockets of the server. */
#ifndef OARLOCK_LISTENERS_H
#define OARLOCK_LISTENERS_H

#include "oarlock/config.h"
#include "shared/net.h"

struct oar_listeners {
    int fds[OAR_MAX_LISTENERS];
    struct oar_unix_file files[OAR_MAX_LISTENERS]; /* of those that have one */
    bool inherited[OAR_MAX_LISTENERS];
    int n;
};

/* Opens one for each --bind. After a failure those that are open stay so. */
enum oar_status oar_listeners_open(struct oar_listeners *l, const struct oar_config *config,
                                   struct oar_err *err);
/* For every process at once: a connection that is made now is refused, also while a worker that is
 * stuck in a handler has its copy open. An inherited socket is its owner's, whose queue waits for a
 * successor. */
void oar_listeners_close(struct oar_listeners *l);

#endif
