/* SPDX-License-Identifier: MIT
 * Processes that the application forks. */
#ifndef OARLOCK_FORKED_H
#define OARLOCK_FORKED_H

#include "worker/thread.h"

/* The value of oar_worker.draining in a process that was forked from a worker: it is no worker. */
#define OAR_FORKED 2

/* From now on, a process that is forked from this one lets go of the server's sockets and pipes,
 * and of its signal handlers, before any code of the application's runs in it. `own`: descriptors
 * of the worker's beside its listening and accepted sockets; copied. */
void oar_forked_watch(struct oar_worker *w, const int *own, int n_own);
/* Such a process came back out of a handler into the server's code: it ends. */
_Noreturn void oar_forked_end(void);

#endif
