/* SPDX-License-Identifier: MIT
 * The pool: threads for jobs that may block (py_jobs.c, py_pump.c say what). One bounded queue for
 * the whole worker. A thread is made when a job comes and none is
 * idle: at once up to a few a core; of --pool-threads auto then as many again as wait, if the scout
 * finds that those there are mostly wait too (docs/decisions/011-pool-size.md).
 * Process: worker. A pool thread runs no event loop; it makes its thread state once, and waits
 * detached. Owns the queue and the threads; what a job's function gets is its own. Never touches a connection; never blocks a loop's thread on its lock
 * for longer than it takes to link one request, or to make one of the first threads. */
#include <pthread.h>
#include <sched.h>
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
#define TICK_NS 1000000u
#define OWE_NS 100000u     /* a response waits no longer for others of its thread */
#define LET_GO_NS 1000000u /* no thread keeps the interpreter longer for its jobs without asking */

/* What a thread does, for whoever was kept waiting: written by the thread, read by any. */
struct activity {
    _Atomic(const struct oar_rt_route *) route; /* of the last handler; NULL: none yet */
    _Atomic uint64_t ended;                     /* CLOCK_MONOTONIC, ns; 0: it runs */
    _Atomic uint64_t cpu_before, cpu;           /* ns of CPU time: at its start; all it took */
    _Atomic(struct oar_thread *) owed;          /* a loop that is to be nudged; NULL: none */
    uint64_t owed_since;                        /* this and what follows: the thread's alone */
    bool brief;                                 /* counted in pool.brief */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct oar_job *first, **last; /* those that wait */
    _Atomic int count;
    int capacity;
    int idle;        /* threads that wait, and were not called */
    int called;      /* calls that no thread has followed yet */
    int coming;      /* threads that will look for a job: called, or just made */
    int brief;       /* threads that run a brief job, and will look for another */
    uint64_t taken;  /* jobs, ever */
    int eager, most; /* threads made without asking; at most */
    _Atomic int n_threads;
    _Atomic bool started;
    bool stopping;
    pthread_t *threads;        /* `most` of each */
    struct activity *activity; /* one a thread */
    pthread_t scout;
    pthread_cond_t full; /* for the scout: no thread is idle and jobs wait, or the end */
    bool scouts, scout_waits;
    pthread_t ticker;
    pthread_cond_t tick; /* for the ticker: it is to begin, or to end */
    bool ticks, ticker_waits;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER};

static _Thread_local struct activity *here; /* of this thread of the pool */

static int cpu_share(void)
{
    return OAR_MAX(oar_py.args->cpu_count, 1);
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

static void *pool_thread(void *argument);

/* Under the lock. Where one cannot be had, there will be no more. */
static void add_thread(void)
{
    int at = pool.n_threads;
    int rc = pthread_create(&pool.threads[at], NULL, pool_thread, &pool.activity[at]);
    if (rc == 0) {
        pool.n_threads = at + 1; /* its identity is there: others may look */
        pool.coming++;
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
    return pool.count > pool.idle + pool.coming && pool.n_threads < pool.most && !pool.stopping;
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
        for (int n = pool.count - pool.idle - pool.coming; n > 0 && they_wait && saturated(); n--) {
            add_thread();
        }
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* Under the lock: jobs wait that no thread has come for. */
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

/* Under the lock. */
static void call_thread(void)
{
    if (pool.idle > 0) {
        pool.idle--;
        pool.coming++;
        pool.called++;
        pthread_cond_signal(&pool.some);
    } else {
        grow();
    }
}

/* The loop that has responses to take is nudged. Any thread: what another has paid is paid. */
static void pay(struct activity *a)
{
    struct oar_thread *loop = OAR_GET_NOW(a->owed)
                                  ? atomic_exchange_explicit(&a->owed, NULL, memory_order_acq_rel)
                                  : NULL;
    if (loop) {
        oar_py.args->host->nudge(loop);
    }
}

/* While jobs wait for threads that run brief ones, or loops for what such a thread owes: looks every
 * millisecond whether they still come. Sleeps after 20 ms in which there was nothing to look after. */
static void *ticker(void *unused)
{
    uint64_t seen = 0;
    int quiet = 0;
    (void)unused;
    pthread_mutex_lock(&pool.lock);
    while (!pool.stopping) {
        if (quiet > 20) {
            pool.ticker_waits = true;
            pthread_cond_wait(&pool.tick, &pool.lock);
            pool.ticker_waits = false;
            quiet = 0;
        }
        uint64_t until = oar_now_ns() + TICK_NS;
        struct timespec time = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
        pthread_cond_timedwait(&pool.tick, &pool.lock, &time);
        quiet = pool.taken == seen && pool.count == 0 ? quiet + 1 : 0;
        if (pool.count > 0 && pool.taken == seen && pool.coming == 0) {
            call_thread();
        }
        seen = pool.taken;
        for (int i = 0; i < pool.n_threads; i++) {
            pay(&pool.activity[i]);
        }
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* Under the lock: the ticker looks from now on. false: there is none. */
static bool ticks(void)
{
    if (!pool.ticks) {
        pool.ticks = pthread_create(&pool.ticker, NULL, ticker, NULL) == 0;
    } else if (pool.ticker_waits) {
        pthread_cond_signal(&pool.tick);
    }
    return pool.ticks;
}

/* Under the lock: a thread is called for the jobs that wait, unless one comes anyway. Those that it
 * takes will call the next. */
static void need_thread(void)
{
    int cores = FREE_THREADED ? cpu_share() : 1;
    if (pool.count > 0 && pool.coming == 0 && (pool.brief < cores || !ticks())) {
        call_thread();
    }
}

/* ---- a thread of the pool ---- */

void oar_py_pool_owes(struct oar_thread *loop)
{
    struct oar_thread *other = OAR_GET_NOW(here->owed);
    if (other && other != loop) {
        pay(here);
    }
    if (!OAR_GET_NOW(here->owed)) {
        here->owed_since = oar_now_ns();
    }
    atomic_store_explicit(&here->owed, loop, memory_order_release);
}

/* Under the lock. */
static struct oar_job *first_job(struct activity *a)
{
    struct oar_job *job = pool.first;
    pool.brief -= a->brief;
    a->brief = job && job->brief;
    pool.brief += a->brief;
    if (job) {
        pool.first = job->next;
        pool.count--;
        pool.taken++;
    }
    return job;
}

/* The next job; NULL: there is none, and the thread is counted as idle. A nudge that is owed waits
 * for another brief job, and for no longer; the ticker is the guard for those that are not so brief
 * after all. `coming`: the first one after a call. */
static struct oar_job *take(struct oar_py_thread *t, bool coming)
{
    t->taken_ns = oar_now_ns();
    pthread_mutex_lock(&pool.lock);
    pool.coming -= coming;
    struct oar_job *job = first_job(here);
    if (job) {
        need_thread();
    } else {
        pool.idle++;
    }
    bool owes = OAR_GET_NOW(here->owed) != NULL;
    bool may_owe = owes && job && job->brief && t->taken_ns - here->owed_since < OWE_NS && ticks();
    pthread_mutex_unlock(&pool.lock);
    if (owes && !may_owe) {
        pay(here);
    }
    return job;
}

/* Detached: waits for a call. false: the pool ends. */
static bool wait_for_call(void)
{
    pthread_mutex_lock(&pool.lock);
    while (pool.called == 0 && !pool.stopping) {
        pthread_cond_wait(&pool.some, &pool.lock);
    }
    bool runs = pool.called > 0 || pool.count > 0;
    if (pool.called > 0) {
        pool.called--;
    } else {
        pool.idle--;
        pool.coming++;
    }
    pthread_mutex_unlock(&pool.lock);
    return runs;
}

/* Between two jobs: others that want the interpreter, or to stop the world, get their turn. */
static void let_others(struct oar_py_thread *t)
{
    bool waits = OAR_GET_NOW(oar_py_loops_wait) > 0;
    if (FREE_THREADED || waits || t->taken_ns - t->woken_ns > LET_GO_NS) {
        t->state = PyEval_SaveThread();
        for (int i = 0; i < 4 && !FREE_THREADED && OAR_GET_NOW(oar_py_loops_wait) > 0; i++) {
            sched_yield();
        }
        PyEval_RestoreThread(t->state);
        t->woken_ns = t->taken_ns;
    }
}

/* Takes the interpreter first, then jobs for as long as there are any: they pay for it together, and
 * whoever gets the interpreter because a handler blocks has something to do with it. */
static void run_jobs(struct oar_py_thread *t)
{
    struct oar_job *job;
    bool coming = true;
    t->woken_ns = oar_now_ns();
    begins(here);
    PyEval_RestoreThread(t->state);
    while ((job = take(t, coming))) {
        if (!coming) {
            let_others(t);
        }
        coming = false;
        job->run(job, t);
    }
    t->state = PyEval_SaveThread();
    ends(here);
}

static void *pool_thread(void *argument)
{
    struct oar_py_thread t = {.index = -1, .state = PyThreadState_New(oar_py.interpreter)};
    here = argument;
    do {
        run_jobs(&t);
    } while (wait_for_call());
    oar_buf_free(&t.out);
    PyEval_RestoreThread(t.state);
    PyThreadState_Clear(t.state);
    PyThreadState_DeleteCurrent();
    return NULL;
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
    pthread_cond_init(&pool.tick, &monotonic);
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
        oar_py_set_switch_interval(); /* not under the lock: it runs Python */
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
}

bool oar_py_pool_submit(struct oar_job *job)
{
    pthread_mutex_lock(&pool.lock);
    bool room = pool.count < pool.capacity && pool.n_threads > 0;
    if (room) {
        add(job);
    }
    pthread_mutex_unlock(&pool.lock);
    return room;
}

void oar_py_handed(void *thread)
{
    (void)thread;
    pthread_mutex_lock(&pool.lock);
    need_thread();
    pthread_mutex_unlock(&pool.lock);
}

void oar_py_pool_put(struct oar_job *job)
{
    pthread_mutex_lock(&pool.lock);
    add(job);
    need_thread();
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
    if (pool.ticks) {
        pthread_cond_signal(&pool.tick);
    }
    pthread_mutex_unlock(&pool.lock);
    if (pool.scouts) {
        pthread_join(pool.scout, NULL);
    }
    if (pool.ticks) {
        pthread_join(pool.ticker, NULL);
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
