/* SPDX-License-Identifier: MIT
 * A worker process, and the loader: what main.c hands to the master. */
#ifndef OARLOCK_WORKER_H
#define OARLOCK_WORKER_H

#include "oarlock/worker_slot.h"
#include "worker/bridge.h"

/* Serves until it is told to stop; returns the exit status. `bridge` was found by the master. */
int oar_worker_run(const struct oar_worker_args *args, const struct oar_bridge *bridge,
                   uint32_t hash_seed, int cpu_count);
/* Imports the application and writes 'M' and the manifest, or 'E' and what went wrong, to `fd`. */
int oar_loader_run(const struct oar_config *config, const struct oar_bridge *bridge,
                   uint32_t hash_seed, int cpu_count, int fd);

#endif
