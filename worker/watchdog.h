/* SPDX-License-Identifier: MIT
 * The thread without Python that every worker has. */
#ifndef OARLOCK_WATCHDOG_H
#define OARLOCK_WATCHDOG_H

#include "oarlock/worker_slot.h"
#include "worker/thread.h"

/* Starts it; it lives as long as the process. */
enum oar_status oar_watchdog_start(struct oar_worker *w, const struct oar_worker_args *args,
                                   struct oar_err *err);

#endif
