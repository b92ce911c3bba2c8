/* SPDX-License-Identifier: MIT
 * Where the files of an installation lie: beside the executable, in the source tree or installed. */
#ifndef OARLOCK_PLACES_H
#define OARLOCK_PLACES_H

#include "oarlock/base.h"

bool oar_places_exists(const char *path);
/* The folder of the running executable; empty: unknown. */
void oar_places_own(char *out, size_t room);
/* First of `folder`/`candidates`[i] that holds `probe`, resolved; false: none. */
bool oar_places_find(const char *folder, const char *const *candidates, int n, const char *probe,
                     char *out, size_t room);

#endif
