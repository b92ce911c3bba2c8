/* SPDX-License-Identifier: MIT
 * Who drives an event loop. A `def` handler runs on the thread that drives its loop; while it does,
 * another thread may take the loop over (docs/decisions/012). One word says who drives, whether it
 * is inside such a handler, and in which turn, so that taking is one compare-and-swap and an old
 * observation never succeeds.
 *
 *   driving --enter--> inside --leave--> driving        the driver itself
 *                      inside --take---> driving        another thread, which drives from then on
 *   driving --give---> driving                           the driver, to a thread that waits for it
 *
 * Only the thread whose number is in the word touches the event loop, its connections and the
 * asyncio loop on it. A thread whose leave fails has lost the loop and touches none of them. */
#ifndef OARLOCK_DRIVER_H
#define OARLOCK_DRIVER_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "oarlock/base.h"

#define OAR_DRIVER_INSIDE 1u       /* may be taken */
#define OAR_DRIVER_HOME 0u         /* the number of the loop's own thread */
#define OAR_DRIVER_MOST 0x7fffu    /* numbers of spare threads: 1 to this */
#define OAR_DRIVER_TURN 0x10000ull /* turns are counted in the bits from here on */

/* What a worker's loops share with their lookout (worker/relay.c). */
struct oar_relay_signs {
    _Atomic bool resting;  /* the lookout sleeps until somebody enters a handler */
    _Atomic uint32_t left; /* threads inside a handler whose loop was taken over */
    uint32_t most;         /* no handler is entered on a driving thread when so many are */
    void (*rouse)(void *); /* ends the lookout's rest */
    void *relay;           /* its argument */
};

struct oar_driver {
    _Atomic uint64_t word;
    _Atomic uint64_t taken_ns; /* CLOCK_MONOTONIC: when it was taken last. Writer: who took it */
    struct oar_relay_signs *signs; /* NULL: nobody takes loops over, so handlers need not enter */
};

static inline uint64_t oar_driver_number(uint64_t word)
{
    return word >> 1 & OAR_DRIVER_MOST;
}

/* May a handler run on the driving thread? Else there might be no thread left to take over. */
static inline bool oar_driver_may_enter(const struct oar_driver *d)
{
    return d->signs && atomic_load_explicit(&d->signs->left, memory_order_relaxed) < d->signs->most;
}

/* The driver: a handler begins. Returns what leave wants. */
static inline uint64_t oar_driver_enter(struct oar_driver *d)
{
    uint64_t word = atomic_load_explicit(&d->word, memory_order_relaxed);
    assert(!(word & OAR_DRIVER_INSIDE));
    word = (word + OAR_DRIVER_TURN) | OAR_DRIVER_INSIDE;
    atomic_store_explicit(&d->word, word, memory_order_seq_cst);
    if (OAR_UNLIKELY(atomic_load_explicit(&d->signs->resting, memory_order_seq_cst))) {
        d->signs->rouse(d->signs->relay);
    }
    return word;
}

/* It has ended. false: the loop was taken over meanwhile and is not this thread's any more. */
static inline bool oar_driver_leave(struct oar_driver *d, uint64_t entered)
{
    uint64_t word = entered;
    return atomic_compare_exchange_strong_explicit(&d->word, &word,
                                                   entered & ~(uint64_t)OAR_DRIVER_INSIDE,
                                                   memory_order_acq_rel, memory_order_acquire);
}

static inline uint64_t oar_driver_next(uint64_t word, uint32_t number)
{
    uint64_t low = OAR_DRIVER_TURN - 1;
    return ((word & ~low) + OAR_DRIVER_TURN) | (uint64_t)number << 1;
}

/* Another thread: takes the loop from a driver that is still where it was `seen`. */
static inline bool oar_driver_take(struct oar_driver *d, uint64_t seen, uint32_t number)
{
    assert(seen & OAR_DRIVER_INSIDE);
    return atomic_compare_exchange_strong_explicit(&d->word, &seen, oar_driver_next(seen, number),
                                                   memory_order_acq_rel, memory_order_acquire);
}

/* The driver hands the loop to the thread `number`. */
static inline void oar_driver_give(struct oar_driver *d, uint32_t number)
{
    uint64_t word = atomic_load_explicit(&d->word, memory_order_relaxed);
    assert(!(word & OAR_DRIVER_INSIDE));
    atomic_store_explicit(&d->word, oar_driver_next(word, number), memory_order_release);
}

/* The left thread: its handler has ended. */
static inline void oar_driver_caught_up(struct oar_driver *d)
{
    atomic_fetch_sub_explicit(&d->signs->left, 1, memory_order_relaxed);
}

#endif
