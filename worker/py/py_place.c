/* SPDX-License-Identifier: MIT
 * Where a `def` runs that says nothing about it (docs/decisions/005): in the pool, until it has
 * been quick so often that it is promoted to the event loop's thread, where a call is several times
 * cheaper; back in the pool at its first call there that was not. Process: worker; a loop's thread,
 * or one of the pool. Owns nothing: the decision is the scoreboard's, shared by all workers. Never
 * promotes a handler that raises: an object that only one thread may use must fail as it did
 * before. */
#include "worker/py/py.h"

#include "shared/clock.h"

enum { PROMOTED_AFTER = 64 }; /* quick calls in a row; doubled by each demotion */

bool oar_py_place_here(const struct oar_py_handler *h)
{
    return atomic_load_explicit(h->place, memory_order_relaxed) & OAR_PLACE_INLINE;
}

/* One of the threads that find the same out at once wins, and says so. */
static void move_to(const struct oar_py_handler *h, const struct oar_request *r, uint8_t from,
                    uint8_t to, double ms)
{
    const char *path = oar_rt_text(oar_py.args->routes, r->route->path_off);
    if (!atomic_compare_exchange_strong_explicit(h->place, &from, to, memory_order_relaxed,
                                                 memory_order_relaxed)) {
        return;
    }
    if (to & OAR_PLACE_INLINE) {
        oar_py.args->host->log(OAR_LOG_INFO,
                               "%s: its `def` is always quick, so it runs on the event loop's "
                               "thread from now on (blocking=True keeps it in the pool)",
                               path);
    } else {
        oar_py.args->host->log(OAR_LOG_INFO,
                               "%s: its `def` took %.1f ms on the event loop's thread, so it runs "
                               "in the pool again (--blocking-threshold)",
                               path, ms);
    }
}

/* `here`: on the event loop's thread. */
static void ran(struct oar_py_handler *h, const struct oar_request *r, uint64_t ns, bool here)
{
    uint64_t threshold = (uint64_t)(oar_py.args->config->blocking_threshold * 1e9);
    uint8_t place = atomic_load_explicit(h->place, memory_order_relaxed);
    unsigned demotions = place / OAR_PLACE_DEMOTED;
    if (place & OAR_PLACE_INLINE) {
        if (here && OAR_UNLIKELY(ns > threshold)) {
            unsigned more = OAR_MIN(demotions + 1, OAR_PLACE_MOST);
            atomic_store_explicit(&h->quick, 0, memory_order_relaxed);
            move_to(h, r, place, (uint8_t)(more * OAR_PLACE_DEMOTED), (double)ns / 1e6);
        }
    } else if (ns > threshold / 4 || r->response.status >= 500) {
        atomic_store_explicit(&h->quick, 0, memory_order_relaxed);
    } else if (atomic_fetch_add_explicit(&h->quick, 1, memory_order_relaxed) + 1 ==
               (uint32_t)PROMOTED_AFTER << demotions) {
        move_to(h, r, place, place | OAR_PLACE_INLINE, 0);
    }
}

void oar_py_place_run(struct oar_py_thread *t, struct oar_request *r)
{
    struct oar_py_handler *h = &oar_py.handlers[r->route->handler];
    uint64_t before = h->place ? oar_now_ns() : 0;
    oar_py_run(t, r);
    if (h->place) {
        ran(h, r, oar_now_ns() - before, t->driver != NULL);
    }
}

/* How long it stayed is known from the overtaking on: nobody looked at a clock before. */
static void count_overtaking(const struct oar_py_thread *t, const struct oar_request *r)
{
    struct oar_route_live *live = &oar_py.args->live[r->route->handler];
    uint64_t stay = (uint64_t)(oar_py.args->config->blocking_threshold * 1e9);
    uint64_t ns = oar_now_ns() - OAR_GET_NOW(t->driver->taken_ns) + stay;
    OAR_ADD_SHARED(live->overtaken, 1);
    if (ns > OAR_GET_NOW(live->longest_ns)) {
        OAR_SET(live->longest_ns, ns); /* two threads at once: one of two long ones stands */
    }
}

enum oar_call oar_py_place_run_here(struct oar_py_thread *t, struct oar_request *r)
{
    if (!oar_py_inside_begin(t)) {
        oar_py_respond_error(t, r);
        return OAR_CALL_DONE;
    }
    oar_py_place_run(t, r);
    if (OAR_LIKELY(oar_py_inside_end(t))) {
        return OAR_CALL_DONE;
    }
    count_overtaking(t, r);
    oar_py_job_left(t, r);
    return OAR_CALL_LEFT;
}
