/* SPDX-License-Identifier: MIT
 * Finds and opens the application's side: a bridge for one interpreter, or the stub. */
#ifndef OARLOCK_BRIDGE_H
#define OARLOCK_BRIDGE_H

#include "worker/app.h"

struct oar_bridge {
    const struct oar_app *app;
    bool free_threaded;
    char version[16]; /* of --python PATH, such as "3.13"; empty: the bridge's own interpreter */
    struct oar_app_args args;                         /* filled but for routes and hash_seed */
    char python[4096], package_dir[4096], path[4096]; /* what args points to */
};

/* Which bridge the configuration asks for, without opening it: fills python, path, package_dir.
 * Runs
 * `--python PATH` once to ask what it is. Master, before any fork. */
enum oar_status oar_bridge_find(const struct oar_config *config, struct oar_bridge *out,
                                struct oar_err *err);
/* Opens it: from here on the process has an interpreter's library. Loader and workers only. */
enum oar_status oar_bridge_open(const struct oar_config *config, struct oar_bridge *bridge,
                                struct oar_err *err);

#endif
