/* SPDX-License-Identifier: MIT
 * The scoreboard as text for the operator. */
#ifndef OARLOCK_STATUS_H
#define OARLOCK_STATUS_H

#include "oarlock/shm.h"

/* The numbers are the master's own: workers can write what is in the memory. */
void oar_status_log(struct oar_shm *shm, uint32_t n_workers, uint32_t n_threads);

#endif
