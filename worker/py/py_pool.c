/* SPDX-License-Identifier: MIT
 * The pool: threads for jobs that may block (py_jobs.c, py_pump.c say what). One bounded queue for
 * the whole worker. A thread is made when a job comes and none is
 * idle: at once up to a few a core; of --pool-threads auto then as many again as wait, if the scout
 * finds that those there are mostly wait too (docs/decisions/011-pool-size.md).
 * Process: worker. A pool thread runs no event loop; it makes its thread state once, and waits
 * detached. Owns the queue and the threads; what a job's function gets is its own. Never touches a connection; never blocks a loop's thread on its lock
 * for longer than it takes to link one request, or to make one of the first threads. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "shared/clock.h"
#include "worker/py/py.h"

#ifdef Py_GIL_DISABLED
#define FREE_THREADED 1
#else
#define FREE_THREADED 0
#endif
#define AUTO_THREADS 40    /* what Starlette gives a process */
#define AUTO_EAGER 4       /* a core: so many may compute, and are made without asking */
#define SCOUT_NS 50000000u /* how long the scout looks before it says that threads wait */

/* What a thread does, for whoever was kept waiting: written by the thread, read by any. */
struct activity {
    _Atomic(const struct oar_rt_route *) route; /* of the last handler; NULL: none yet */
    _Atomic uint64_t ended;                     /* CLOCK_MONOTONIC, ns; 0: it runs */
    _Atomic uint64_t cpu_before, cpu;           /* ns of CPU time: at its start; all it took */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct oar_job *first, **last; /* those that wait */
    _Atomic int count;
    int capacity;
    int idle;        /* threads that wait for a job, those too that are about to take one */
    int eager, most; /* threads made without asking; at most */
    _Atomic int n_threads;
    _Atomic bool started;
    bool stopping;
    pthread_t *threads;        /* `most` of each */
    struct activity *activity; /* one a thread */
    pthread_t scout;
    pthread_cond_t full; /* for the scout: no thread is idle and jobs wait, or the end */
    bool scouts, scout_waits;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER};

static _Thread_local struct activity *here; /* of this thread of the pool */

static int cpu_share(void)
{
    return OAR_MAX(oar_py.args->cpu_count, 1);
}

/* NULL: the pool ends. */
static struct oar_job *take(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.idle++;
    while (pool.count == 0 && !pool.stopping) {
        pthread_cond_wait(&pool.some, &pool.lock);
    }
    pool.idle--;
    struct oar_job *job = pool.first;
    if (job) {
        pool.first = job->next;
        pool.count--;
    }
    pthread_mutex_unlock(&pool.lock);
    return job;
}

static uint64_t cpu_of(pthread_t thread)
{
    clockid_t clock;
    struct timespec time = {0};
    if (pthread_getcpuclockid(thread, &clock) == 0) {
        clock_gettime(clock, &time);
    }
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void begins(struct activity *a)
{
    OAR_SET(a->cpu_before, cpu_of(pthread_self()));
    OAR_SET(a->ended, 0);
    OAR_SET(a->route, NULL);
}

void oar_py_pool_runs(const struct oar_rt_route *route)
{
    OAR_SET(here->route, route);
}

static void ends(struct activity *a)
{
    OAR_SET(a->cpu, cpu_of(pthread_self()) - OAR_GET_NOW(a->cpu_before));
    OAR_SET(a->ended, oar_now_ns());
}

const struct oar_rt_route *oar_py_pool_suspect(uint64_t since)
{
    const struct oar_rt_route *suspect = NULL;
    uint64_t most = 0;
    for (int i = 0; i < pool.n_threads; i++) {
        const struct activity *a = &pool.activity[i];
        const struct oar_rt_route *route = OAR_GET_NOW(a->route);
        uint64_t ended = OAR_GET_NOW(a->ended);
        uint64_t cpu =
            ended ? OAR_GET_NOW(a->cpu) : cpu_of(pool.threads[i]) - OAR_GET_NOW(a->cpu_before);
        if (route && (ended == 0 || ended >= since) && cpu > most) {
            most = cpu;
            suspect = route;
        }
    }
    return suspect;
}

static void *pool_thread(void *argument)
{
    struct oar_py_thread t = {.index = -1, .state = PyThreadState_New(oar_py.interpreter)};
    struct oar_job *job;
    here = argument;
    while ((job = take())) {
        t.taken_ns = oar_now_ns();
        begins(here);
        PyEval_RestoreThread(t.state);
        job->run(job, &t);
        t.state = PyEval_SaveThread();
        ends(here);
    }
    oar_buf_free(&t.out);
    PyEval_RestoreThread(t.state);
    PyThreadState_Clear(t.state);
    PyThreadState_DeleteCurrent();
    return NULL;
}

/* How soon the loops get the GIL back from handlers in the pool. */
static void set_switch_interval(void)
{
    double seconds = oar_py.args->config->switch_interval;
    PyObject *sys = seconds > 0 ? PyImport_ImportModule("sys") : NULL;
    PyObject *none = sys ? PyObject_CallMethod(sys, "setswitchinterval", "d", seconds) : NULL;
    if (seconds > 0 && !none) {
        PyErr_WriteUnraisable(sys);
    }
    Py_XDECREF(none);
    Py_XDECREF(sys);
}

/* Under the lock. Where one cannot be had, there will be no more. */
static void add_thread(void)
{
    int at = pool.n_threads;
    int rc = pthread_create(&pool.threads[at], NULL, pool_thread, &pool.activity[at]);
    if (rc == 0) {
        pool.n_threads = at + 1; /* its identity is there: others may look */
    } else {
        pool.most = at;
        oar_py.args->host->log(
            at ? OAR_LOG_WARNING : OAR_LOG_ERROR,
            "cannot start pool thread %d%s: %s; raise the limits of processes and memory, or "
            "lower --pool-threads",
            at + 1, at ? ", so the pool stays as it is" : "", strerror(rc));
    }
}

/* CPU seconds of all pool threads, in ns. Under the lock. */
static uint64_t pool_cpu(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < pool.n_threads; i++) {
        sum += cpu_of(pool.threads[i]);
    }
    return sum;
}

/* Under the lock. More jobs than threads that are free for them. */
static bool saturated(void)
{
    return pool.count > pool.idle && pool.n_threads < pool.most && !pool.stopping;
}

static void scout_pause(uint64_t until)
{
    struct timespec time = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    while (!pool.stopping && pthread_cond_timedwait(&pool.full, &pool.lock, &time) == 0) {
    }
}

/* Threads that wait are cheap, and more of them serve more. Threads that compute only take turns,
 * and the event loops with them: where those there are use half of what the interpreter can give,
 * they stay as many. */
static void *scout(void *unused)
{
    uint64_t cores = FREE_THREADED ? (uint64_t)cpu_share() : 1;
    (void)unused;
    pthread_mutex_lock(&pool.lock);
    while (!pool.stopping && pool.n_threads < pool.most) {
        if (!saturated()) {
            pool.scout_waits = true;
            pthread_cond_wait(&pool.full, &pool.lock);
            pool.scout_waits = false;
            continue;
        }
        uint64_t began = oar_now_ns(), cpu = pool_cpu();
        scout_pause(began + SCOUT_NS);
        uint64_t took = oar_now_ns() - began;
        bool they_wait = pool_cpu() - cpu < took * cores / 2;
        for (int n = pool.count - pool.idle; n > 0 && they_wait && saturated(); n--) {
            add_thread();
        }
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* Under the lock, when a job has been added. */
static void grow(void)
{
    bool more = saturated();
    if (more && pool.n_threads < pool.eager) {
        add_thread();
    } else if (more && !pool.scouts) {
        pool.scouts = pthread_create(&pool.scout, NULL, scout, NULL) == 0;
    } else if (more && pool.scout_waits) {
        pthread_cond_signal(&pool.full);
    }
}

/* Under the lock: what the threads need, and the first of them, so that a process that may have
 * none says so at its start. */
static void make_ready(void)
{
    const struct oar_config *config = oar_py.args->config;
    int asked = (int)config->pool_threads;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool.full, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pool.most = asked ? asked : AUTO_THREADS;
    pool.eager = asked ? asked : OAR_MIN(AUTO_THREADS, AUTO_EAGER * cpu_share());
    pool.capacity = (int)config->pool_queue;
    pool.threads = calloc((size_t)pool.most, sizeof *pool.threads);
    pool.activity = calloc((size_t)pool.most, sizeof *pool.activity);
    if (pool.threads && pool.activity) {
        add_thread();
    } else {
        oar_py.args->host->log(OAR_LOG_ERROR, "no memory for --pool-threads %d", pool.most);
    }
}

int oar_py_pool_start(void)
{
    if (!pool.started) {
        set_switch_interval(); /* not under the lock: it runs Python */
        pthread_mutex_lock(&pool.lock);
        if (!pool.started) {
            make_ready();
            pool.started = true;
        }
        pthread_mutex_unlock(&pool.lock);
    }
    return pool.n_threads > 0 ? 0 : -1;
}

/* Under the lock. */
static void add(struct oar_job *job)
{
    job->next = NULL;
    *(pool.first ? pool.last : &pool.first) = job;
    pool.last = &job->next;
    pool.count++;
    grow();
    pthread_cond_signal(&pool.some);
}

bool oar_py_pool_submit(struct oar_job *job)
{
    if (oar_py_pool_start() != 0) {
        return false;
    }
    pthread_mutex_lock(&pool.lock);
    bool room = pool.count < pool.capacity;
    if (room) {
        add(job);
    }
    pthread_mutex_unlock(&pool.lock);
    return room;
}

void oar_py_pool_put(struct oar_job *job)
{
    pthread_mutex_lock(&pool.lock);
    add(job);
    pthread_mutex_unlock(&pool.lock);
}

bool oar_py_pool_is_wanted(void)
{
    return pool.count > 0;
}

void oar_py_pool_stop(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.stopping = true;
    pthread_cond_broadcast(&pool.some);
    if (pool.scouts) {
        pthread_cond_signal(&pool.full);
    }
    pthread_mutex_unlock(&pool.lock);
    if (pool.scouts) {
        pthread_join(pool.scout, NULL);
    }
    for (int i = 0; i < pool.n_threads; i++) {
        pthread_join(pool.threads[i], NULL);
    }
    free(pool.threads);
    free(pool.activity);
    pool.activity = NULL;
    pool.threads = NULL;
    pool.n_threads = pool.capacity = 0;
}
