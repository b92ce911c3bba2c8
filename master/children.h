/* SPDX-License-Identifier: MIT
 * Forking, signalling and reaping. Private to the master. */
#ifndef OARLOCK_CHILDREN_H
#define OARLOCK_CHILDREN_H

#include <sys/types.h>

#include "oarlock/worker_slot.h"

struct oar_child {
    pid_t pid;      /* 0: none */
    int control_fd; /* the master's end; -1: none */
    bool killed;    /* by the master */
};

struct oar_spawn {
    const struct oar_config *config;
    struct oar_shm *shm;
    uint32_t n_workers, n_threads; /* the scoreboard has slots for so many */
    const void *routes;
    const int *listeners;
    int n_listeners;
    int death_read, death_write; /* the parent-death pipe */
    oar_worker_entry entry;
    /* Runs first in the child: gives up what is the master's alone. */
    void (*in_child)(void *data);
    void *data;
};

/* The parent-death pipe: the master keeps the writing end open for its life, children poll the
 * other. */
enum oar_status oar_death_pipe(struct oar_spawn *s, struct oar_err *err);
enum oar_status oar_child_spawn(const struct oar_spawn *s, uint32_t index, uint32_t generation,
                                struct oar_child *out, struct oar_err *err);
/* A child in its own process group, with default signals. 0 in the child. */
pid_t oar_child_fork(const char *name, uint32_t index);
/* Marks the slots of a worker that is gone. */
void oar_child_clear_slots(const struct oar_spawn *s, uint32_t index);
/* "was killed by signal 9 (Killed)", "exited with status 70"; `killed`: by the master, which has said why */
void oar_child_describe(int status, bool killed, char *out, size_t room);

#endif
