/* SPDX-License-Identifier: MIT
 * The scoreboard: what every event-loop thread is doing. A file format in shared memory
 * (docs/design.md section 4): offsets, no pointers; each field names its one writer. Format: docs/shm-format.md.
 * Readers load with relaxed order and take nothing for granted: a worker may die between two
 * stores. */
#ifndef OARLOCK_SHM_H
#define OARLOCK_SHM_H

#include <stdatomic.h>

#include "oarlock/err.h"
#include "oarlock/limits.h"
#include "oarlock/rules.h"

#define OAR_SHM_MAGIC 0x64726f6273726c6fULL
#define OAR_SHM_VERSION 5
/* Bytes before the first slot's part: a page by itself on every machine, which workers cannot write.
 * What lies where is known from constants and from what a process was born with; nobody computes an
 * address or a loop's end from what is in memory that workers can write. */
#define OAR_SHM_HEADER 65536

enum oar_slot_state {
    OAR_SLOT_EMPTY,    /* no thread: writer master */
    OAR_SLOT_STARTING, /* writer master, before the fork */
    OAR_SLOT_SERVING,  /* writer thread */
    OAR_SLOT_DRAINING, /* writer thread: accepts no more, finishes what it has */
    OAR_SLOT_STATES,
};

enum oar_phase {
    OAR_PHASE_WAIT,  /* for events, and what needs no interpreter */
    OAR_PHASE_TASKS, /* the application's loop runs: tasks, callbacks */
    OAR_PHASE_GIL,   /* waits for the interpreter */
    OAR_PHASE_HANDLER,
    OAR_PHASE_WRITE,
};

struct oar_slot {
    /* first line: what the slot is. Writer: the master while EMPTY or STARTING, then the thread */
    _Atomic uint32_t state;       /* enum oar_slot_state */
    _Atomic int32_t pid;          /* writer master */
    _Atomic uint32_t generation;  /* writer master */
    _Atomic uint32_t connections; /* open now: accept.c's fair share reads those of all slots */
    _Atomic uint32_t phase;       /* enum oar_phase */
    _Atomic uint32_t route;       /* index + 1 of the route whose handler runs inline; 0: none */
    _Atomic uint64_t phase_since; /* CLOCK_MONOTONIC, ns: the thread's last sign of life */
    _Atomic uint64_t turns; /* grows with each handler called and each return to the application's
                               loop: the watchdog sees by it who stays where */
    char pad0[OAR_CACHE_LINE - 40];
    /* second and third line: counters since the slot's start. Writer: the thread */
    _Atomic uint64_t accepted;
    _Atomic uint64_t requests;
    _Atomic uint64_t responses[6]; /* by class: [2] counts 2xx; [0] those without a class */
    _Atomic uint64_t handler_errors;
    _Atomic uint64_t refused;  /* requests that no handler saw: sum of refused_by */
    _Atomic uint64_t timeouts; /* connections closed, or requests refused, by a deadline */
    _Atomic uint64_t bytes_in, bytes_out;
    _Atomic uint64_t attach_count; /* acquisitions of the interpreter */
    _Atomic uint64_t attach_ns;    /* time waited for them */
    _Atomic uint64_t pool_calls;   /* handlers handed to the pool */
    /* fourth line: rare events, counted by whichever thread of the worker meets them */
    _Atomic uint64_t attach_longest_ns;
    _Atomic uint64_t gc_count, gc_ns, gc_longest_ns; /* the interpreter's collections */
    _Atomic uint32_t background;                     /* BackgroundTasks that are not done */
    _Atomic uint32_t gil; /* 1: an extension has turned it on (free-threaded interpreter) */
    char pad1[OAR_CACHE_LINE - 40];
    _Atomic uint64_t refused_by[OAR_MAX_RULES]; /* by enum oar_rule */
    char pad2[OAR_CACHE_LINE];
};
_Static_assert(sizeof(struct oar_slot) == 12 * OAR_CACHE_LINE, "format");

/* What is found out about a route while it serves; shared by all workers. Written rarely, by
 * whichever thread finds out. `place`: where its `def` runs (two threads that find out at once
 * agree). */
struct oar_route_live {
    _Atomic uint8_t place;
    char pad[3];
    _Atomic uint32_t blamed;     /* times that an event loop waited long for the interpreter while
                                   this route's handler used it in the pool */
    _Atomic uint64_t blamed_ns;  /* how long in all */
    _Atomic uint64_t longest_ns; /* that its `def` stayed on a driving thread after that was late */
    _Atomic uint32_t overtaken;  /* times that an event loop was taken over while it ran */
    char pad2[4];
};
_Static_assert(sizeof(struct oar_route_live) == 32, "format");
#define OAR_PLACE_INLINE 1u  /* on the event loop's thread; else in the pool */
#define OAR_PLACE_DEMOTED 2u /* added for each demotion, up to OAR_PLACE_MOST times */
#define OAR_PLACE_MOST 6u

/* Written by the master before the first fork. For those who find the memory under /proc. */
struct oar_shm {
    uint64_t magic;
    uint32_t version, size;
    uint32_t n_workers,
        n_threads; /* slots = workers x threads; slot of (w, t) is w * n_threads + t */
    uint32_t slots_off, slot_size;
    int32_t master_pid;
    uint32_t routes_off; /* OAR_MAX_ROUTES + 1 of struct oar_route_live */
    char pad[OAR_SHM_HEADER - 40];
};
_Static_assert(sizeof(struct oar_shm) == OAR_SHM_HEADER, "format");
#define OAR_SHM_ROUTES_OFF OAR_SHM_HEADER
#define OAR_SHM_SLOTS_OFF \
    (OAR_SHM_ROUTES_OFF + \
     OAR_ALIGN((OAR_MAX_ROUTES + 1) * sizeof(struct oar_route_live), OAR_CACHE_LINE))

size_t oar_shm_size(uint32_t n_workers, uint32_t n_threads);
/* Maps fresh zeroed shared memory, inherited over fork. Its descriptor stays open: that is how
 * `oarlock routes --live` finds it under /proc. */
#define OAR_SHM_NAME "oarlock-scoreboard"
#define OAR_ROUTES_NAME "oarlock-routes"
enum oar_status oar_shm_create(struct oar_shm **out, uint32_t n_workers, uint32_t n_threads,
                               struct oar_err *err);

/* In a worker: the header is read-only from now on. */
void oar_shm_protect(struct oar_shm *shm);

static inline struct oar_slot *oar_shm_slot(struct oar_shm *shm, uint32_t i)
{
    return (struct oar_slot *)(void *)((char *)shm + OAR_SHM_SLOTS_OFF) + i;
}

static inline struct oar_route_live *oar_shm_routes(struct oar_shm *shm)
{
    return (struct oar_route_live *)(void *)((char *)shm + OAR_SHM_ROUTES_OFF);
}

#define OAR_SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define OAR_GET_NOW(field) atomic_load_explicit(&(field), memory_order_relaxed)
/* More than one writer: for what is rare. */
#define OAR_ADD_SHARED(field, n) atomic_fetch_add_explicit(&(field), (n), memory_order_relaxed)
/* One writer, so no read-modify-write instruction is needed. */
#define OAR_ADD(field, n) OAR_SET(field, OAR_GET_NOW(field) + (n))

#endif
