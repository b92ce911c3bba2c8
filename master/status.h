/* SPDX-License-Identifier: MIT
 * The scoreboard as text for the operator. */
#ifndef OARLOCK_STATUS_H
#define OARLOCK_STATUS_H

#include "oarlock/shm.h"

void oar_status_log(struct oar_shm *shm);

#endif
