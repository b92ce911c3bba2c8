/* SPDX-License-Identifier: MIT
 * How many threads the pool has (docs/decisions/011-pool-size.md): made at once up to a few a core;
 * then as many again as jobs wait, if the scout finds that the threads mostly wait too. Process: worker.
 * Owns the scout, a thread without Python. Never takes a thread back. */
#include <time.h>

#include "shared/clock.h"
#include "worker/py/py_pool.h"

int oar_py_cpu_share(void)
{
    return OAR_MAX(oar_py.args->cpu_count, 1);
}

uint64_t oar_py_cpu_of(pthread_t thread)
{
    clockid_t clock;
    struct timespec time = {0};
    if (pthread_getcpuclockid(thread, &clock) == 0) {
        clock_gettime(clock, &time);
    }
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* CPU seconds of all pool threads, in ns. Under the lock. */
static uint64_t pool_cpu(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < oar_py_pool.n_threads; i++) {
        sum += oar_py_cpu_of(oar_py_pool.threads[i]);
    }
    return sum;
}

/* Under the lock. More jobs than threads that are free for them. */
static bool saturated(void)
{
    return oar_py_pool.count > oar_py_pool.idle + oar_py_pool.coming &&
           oar_py_pool.n_threads < oar_py_pool.most && !oar_py_pool.stopping;
}

static void scout_pause(uint64_t until)
{
    struct timespec time = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    while (!oar_py_pool.stopping &&
           pthread_cond_timedwait(&oar_py_pool.full, &oar_py_pool.lock, &time) == 0) {
    }
}

/* Threads that wait are cheap, and more of them serve more. Threads that compute only take turns,
 * and the event loops with them: where those there are use half of what the interpreter can give,
 * they stay as many. */
static void *scout(void *unused)
{
    uint64_t cores = FREE_THREADED ? (uint64_t)oar_py_cpu_share() : 1;
    (void)unused;
    pthread_mutex_lock(&oar_py_pool.lock);
    while (!oar_py_pool.stopping && oar_py_pool.n_threads < oar_py_pool.most) {
        if (!saturated()) {
            oar_py_pool.scout_waits = true;
            pthread_cond_wait(&oar_py_pool.full, &oar_py_pool.lock);
            oar_py_pool.scout_waits = false;
            continue;
        }
        uint64_t began = oar_now_ns(), cpu = pool_cpu();
        scout_pause(began + SCOUT_NS);
        uint64_t took = oar_now_ns() - began;
        bool they_wait = pool_cpu() - cpu < took * cores / 2;
        for (int n = oar_py_pool.count - oar_py_pool.idle - oar_py_pool.coming;
             n > 0 && they_wait && saturated(); n--) {
            oar_py_pool_add_thread();
        }
    }
    pthread_mutex_unlock(&oar_py_pool.lock);
    return NULL;
}

void oar_py_pool_grow(void)
{
    bool more = saturated();
    if (more && oar_py_pool.n_threads < oar_py_pool.eager) {
        oar_py_pool_add_thread();
    } else if (more && !oar_py_pool.scouts) {
        oar_py_pool.scouts = pthread_create(&oar_py_pool.scout, NULL, scout, NULL) == 0;
    } else if (more && oar_py_pool.scout_waits) {
        pthread_cond_signal(&oar_py_pool.full);
    }
}
