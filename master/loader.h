/* SPDX-License-Identifier: MIT
 * The loader seen from the master: fork it, collect what it writes, compile the route table. */
#ifndef OARLOCK_LOADER_H
#define OARLOCK_LOADER_H

#include <sys/types.h>

#include "oarlock/worker_slot.h"
#include "shared/buf.h"

struct oar_loader {
    pid_t pid;          /* 0: it is reaped */
    pid_t group;        /* it, and what the application has started in it */
    int status;         /* of its end, once it is reaped */
    int fd;             /* non-blocking; -1: finished */
    struct oar_buf got; /* owned */
};

enum oar_status oar_loader_start(struct oar_loader *l, const struct oar_config *config,
                                 oar_loader_entry entry, void (*in_child)(void *), void *data,
                                 struct oar_err *err);
/* Reads what there is. OAR_AGAIN: more will come; OAR_OK: all has come, or the loader has ended;
 * OAR_ERR: too much. */
enum oar_status oar_loader_read(struct oar_loader *l, struct oar_err *err);
/* Kills the loader and whatever the application has started in it. Before the loader is reaped: its
 * group has no other's number until then. */
void oar_loader_kill(const struct oar_loader *l);
/* The same, and waits for their end; for a process that leaves. */
void oar_loader_end(struct oar_loader *l);
/* After the end: compiles and seals. `runtime` gets the first line. An application's error is
 * logged whole. */
enum oar_status oar_loader_compile(struct oar_loader *l, const struct oar_config *config,
                                   const void **routes, char *runtime, size_t room,
                                   struct oar_err *err);
void oar_loader_free(struct oar_loader *l);

#endif
