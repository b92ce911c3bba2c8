/* SPDX-License-Identifier: MIT
 * `oarlock compare`, `tune` and `doctor` are Python, outside of any server: this finds a python for
 * them and becomes it. Process: the one that the user started, before it is a master. Owns nothing.
 * Never starts a tool in a process that serves. */
#include "master/tools.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/places.h"

enum { MOST_ARGUMENTS = 1024 };

bool oar_tools_has(const char *name)
{
    return strcmp(name, "compare") == 0 || strcmp(name, "tune") == 0 || strcmp(name, "doctor") == 0;
}

/* The environment's own, the one that the build chose, or the first on PATH. */
static void find_python(const char *folder, char *out, size_t room)
{
    const char *venv = getenv("VIRTUAL_ENV");
    char path[PATH_MAX];
    snprintf(out, room, "python3");
    if (venv && *venv) {
        snprintf(out, room, "%s/bin/python", venv);
        return;
    }
    int n = snprintf(path, sizeof path, "%s/python-gil", folder);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "r") : NULL;
    if (f) {
        if (fgets(path, sizeof path, f)) {
            path[strcspn(path, "\n")] = '\0';
            snprintf(out, room, "%s", path);
        }
        fclose(f);
    }
}

enum oar_status oar_tools_exec(char **argv, struct oar_err *err)
{
    static const char *const packages[] = {"../python", "../lib/oarlock/python", "../.."};
    char folder[PATH_MAX];
    char package[PATH_MAX] = "";
    char python[PATH_MAX];
    char *arguments[MOST_ARGUMENTS] = {python, "-m", "oarlock"};
    int n = 3;
    oar_places_own(folder, sizeof folder);
    find_python(folder, python, sizeof python);
    if (!oar_places_find(folder, packages, OAR_ARRAY_LEN(packages), "oarlock/__init__.py", package,
                         sizeof package)) {
        return oar_err_set(err, "%s: the package oarlock is not beside %s/oarlock", argv[1],
                           folder);
    }
    const char *before = getenv("PYTHONPATH");
    char *path = NULL;
    if (asprintf(&path, "%s%s%s", package, before ? ":" : "", before ? before : "") < 0) {
        return oar_err_set(err, "%s: no memory", argv[1]);
    }
    setenv("PYTHONPATH", path, 1);
    free(path);
    for (int i = 1; argv[i] && n < MOST_ARGUMENTS - 1; i++) {
        arguments[n++] = argv[i];
    }
    execvp(python, arguments);
    return oar_err_set(err, "%s: cannot run %s: %s", argv[1], python, strerror(errno));
}
