/* SPDX-License-Identifier: MIT
 * The tools that are Python: compare, tune, doctor. */
#ifndef OARLOCK_TOOLS_H
#define OARLOCK_TOOLS_H

#include "oarlock/err.h"

bool oar_tools_has(const char *name);
/* Replaces this process by `python -m oarlock NAME ...`. Returns only when that cannot be. */
enum oar_status oar_tools_exec(char **argv, struct oar_err *err);

#endif
