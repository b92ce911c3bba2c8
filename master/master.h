/* SPDX-License-Identifier: MIT
 * The supervisor. */
#ifndef OARLOCK_MASTER_H
#define OARLOCK_MASTER_H

#include "oarlock/worker_slot.h"

struct oar_master_args {
    const struct oar_config *config; /* workers and threads are resolved: no "auto" */
    oar_loader_entry loader;
    oar_worker_entry worker;
};

/* Serves until told to stop. Returns the exit status. */
int oar_master_run(const struct oar_master_args *args);
/* `oarlock routes`: loads, prints the table to standard output. Returns the exit status. */
int oar_master_routes(const struct oar_master_args *args);
/* The container's share of cores: affinity and cgroup quota. */
int oar_cpu_share(void);

/* `oarlock routes --live PID`: what the scoreboard of a running server says of its routes. */
int oar_master_live(int pid);

#endif
