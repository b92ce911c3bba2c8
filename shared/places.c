/* SPDX-License-Identifier: MIT
 * Where the files of an installation lie. Process: master. Owns nothing. Never reads them. */
#include "shared/places.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

bool oar_places_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

void oar_places_own(char *out, size_t room)
{
    ssize_t n = readlink("/proc/self/exe", out, room - 1);
    out[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(out, '/');
    if (slash) {
        *slash = '\0';
    }
}

bool oar_places_find(const char *folder, const char *const *candidates, int n, const char *probe,
                     char *out, size_t room)
{
    char path[PATH_MAX];
    for (int i = 0; i < n; i++) {
        int len = snprintf(path, sizeof path, "%s/%s/%s", folder, candidates[i], probe);
        if (len > 0 && (size_t)len < sizeof path && oar_places_exists(path)) {
            char resolved[PATH_MAX];
            snprintf(path, sizeof path, "%s/%s", folder, candidates[i]);
            len = realpath(path, resolved) ? snprintf(out, room, "%s", resolved) : -1;
            return len > 0 && (size_t)len < room;
        }
    }
    return false;
}
