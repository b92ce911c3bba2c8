/* SPDX-License-Identifier: MIT
 * The thread without Python that every worker has. */
#ifndef OARLOCK_WATCHDOG_H
#define OARLOCK_WATCHDOG_H

#include "oarlock/worker_slot.h"
#include "worker/thread.h"

/* Started before the application is imported, so that a worker that hangs there hears the master
 * too. It touches the worker's threads from w->up on until it is stopped: stop it before they are
 * freed. */
enum oar_status oar_watchdog_start(struct oar_worker *w, const struct oar_worker_args *args,
                                   struct oar_err *err);
void oar_watchdog_stop(void);

#endif
