/* SPDX-License-Identifier: MIT
 * What a worker is born with, and how it ends. What it and the master say meanwhile: control.h. */
#ifndef OARLOCK_WORKER_SLOT_H
#define OARLOCK_WORKER_SLOT_H

#include "oarlock/config.h"
#include "oarlock/shm.h"

/* Exit statuses of a worker. */
enum oar_worker_exit {
    OAR_EXIT_OK = 0,
    OAR_EXIT_START = 70,   /* could not start; it has logged why */
    OAR_EXIT_CHANGED = 71, /* its own import differs from the manifest: the files have changed */
    OAR_EXIT_ORPHAN = 72,  /* the master died */
};

/* Everything is borrowed from the master's memory as it was at the fork. */
struct oar_worker_args {
    const struct oar_config *config;
    struct oar_shm *shm;
    uint32_t n_workers, n_threads; /* the scoreboard has slots for so many */
    const void *routes;
    const int *listeners;
    int n_listeners;
    uint32_t index;
    int control_fd; /* the worker's end of the socket pair */
    int death_fd;   /* end of file: the master is gone */
};

/* main.c gives these to the master: it knows both sides. They run in a forked child and return the
 * child's exit status. */
typedef int (*oar_worker_entry)(const struct oar_worker_args *args);
/* Writes the manifest, or 'E' and a message, and OAR_LOADER_END to `fd`. The end of the pipe says
 * nothing: processes that the application has forked while it was imported hold it too. */
#define OAR_LOADER_END '\0'
typedef int (*oar_loader_entry)(const struct oar_config *config, int fd);

#endif
