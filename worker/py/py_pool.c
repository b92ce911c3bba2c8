/* SPDX-License-Identifier: MIT
 * The pool: threads for jobs that may block (py_jobs.c and py_pump.c say what; py_pool_size.c, how many
 * threads). Two lines of jobs for the whole worker: handlers and calls, bounded by --pool-queue; and
 * iterators of streamed responses that go on, bounded by the requests in flight. Process: worker. A
 * pool thread runs no event loop; it makes its thread state once, and waits detached. Owns the lines
 * and the threads; what a job's function gets is its own. Never touches a connection; never blocks a
 * loop's thread on its lock for longer than it takes to link a job, or to make one of the first
 * threads. */
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "shared/clock.h"
#include "worker/py/py_pool.h"

struct oar_py_pool oar_py_pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                  .some = PTHREAD_COND_INITIALIZER};
static _Thread_local struct activity *here; /* of this thread of the pool */

static void begins(struct activity *a)
{
    OAR_SET(a->cpu_before, oar_py_cpu_of(pthread_self()));
    OAR_SET(a->ended, 0);
    OAR_SET(a->route, NULL);
}

void oar_py_pool_runs(const struct oar_rt_route *route)
{
    OAR_SET(here->route, route);
}

static void ends(struct activity *a)
{
    OAR_SET(a->cpu, oar_py_cpu_of(pthread_self()) - OAR_GET_NOW(a->cpu_before));
    OAR_SET(a->ended, oar_now_ns());
}

const struct oar_rt_route *oar_py_pool_suspect(uint64_t since)
{
    const struct oar_rt_route *suspect = NULL;
    uint64_t most = 0;
    for (int i = 0; i < oar_py_pool.n_threads; i++) {
        const struct activity *a = &oar_py_pool.activity[i];
        const struct oar_rt_route *route = OAR_GET_NOW(a->route);
        uint64_t ended = OAR_GET_NOW(a->ended);
        uint64_t cpu = ended ? OAR_GET_NOW(a->cpu)
                             : oar_py_cpu_of(oar_py_pool.threads[i]) - OAR_GET_NOW(a->cpu_before);
        if (route && (ended == 0 || ended >= since) && cpu > most) {
            most = cpu;
            suspect = route;
        }
    }
    return suspect;
}

static void *pool_thread(void *argument);

void oar_py_pool_add_thread(void)
{
    int at = oar_py_pool.n_threads;
    int rc = pthread_create(&oar_py_pool.threads[at], NULL, pool_thread, &oar_py_pool.activity[at]);
    if (rc == 0) {
        oar_py_pool.n_threads = at + 1; /* its identity is there: others may look */
        oar_py_pool.coming++;
    } else {
        oar_py_pool.most = at;
        oar_py.args->host->log(
            at ? OAR_LOG_WARNING : OAR_LOG_ERROR,
            "cannot start pool thread %d%s: %s; raise the limits of processes and memory, or "
            "lower --pool-threads",
            at + 1, at ? ", so the pool stays as it is" : "", strerror(rc));
    }
}

/* Under the lock. */
static void call_thread(void)
{
    if (oar_py_pool.idle > 0) {
        oar_py_pool.idle--;
        oar_py_pool.coming++;
        oar_py_pool.called++;
        pthread_cond_signal(&oar_py_pool.some);
    } else {
        oar_py_pool_grow();
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
    pthread_mutex_lock(&oar_py_pool.lock);
    while (!oar_py_pool.stopping) {
        if (quiet > 20) {
            oar_py_pool.ticker_waits = true;
            pthread_cond_wait(&oar_py_pool.tick, &oar_py_pool.lock);
            oar_py_pool.ticker_waits = false;
            quiet = 0;
        }
        uint64_t until = oar_now_ns() + TICK_NS;
        struct timespec time = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
        pthread_cond_timedwait(&oar_py_pool.tick, &oar_py_pool.lock, &time);
        quiet = oar_py_pool.taken == seen && oar_py_pool.count == 0 ? quiet + 1 : 0;
        if (oar_py_pool.count > 0 && oar_py_pool.taken == seen && oar_py_pool.coming == 0) {
            call_thread();
        }
        seen = oar_py_pool.taken;
        for (int i = 0; i < oar_py_pool.n_threads; i++) {
            pay(&oar_py_pool.activity[i]);
        }
    }
    pthread_mutex_unlock(&oar_py_pool.lock);
    return NULL;
}

/* Under the lock: the ticker looks from now on. false: there is none. */
static bool ticks(void)
{
    if (!oar_py_pool.ticks) {
        oar_py_pool.ticks = pthread_create(&oar_py_pool.ticker, NULL, ticker, NULL) == 0;
    } else if (oar_py_pool.ticker_waits) {
        pthread_cond_signal(&oar_py_pool.tick);
    }
    return oar_py_pool.ticks;
}

/* Under the lock: a thread is called for the jobs that wait, unless one comes anyway. Those that it
 * takes will call the next. */
static void need_thread(void)
{
    int cores = FREE_THREADED ? oar_py_cpu_share() : 1;
    if (oar_py_pool.count > 0 && oar_py_pool.coming == 0 &&
        (oar_py_pool.brief < cores || !ticks())) {
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

void oar_py_pool_pays(void)
{
    pay(here);
}

/* Under the lock. */
static struct oar_job *first_job(struct activity *a)
{
    bool goes_on =
        oar_py_pool.fresh.count == 0 || (oar_py_pool.going_on.count > 0 && !oar_py_pool.went_on);
    struct line *line = goes_on ? &oar_py_pool.going_on : &oar_py_pool.fresh;
    struct oar_job *job = line->count > 0 ? line->first : NULL;
    oar_py_pool.went_on = goes_on;
    oar_py_pool.brief -= a->brief;
    a->brief = job && job->brief;
    oar_py_pool.brief += a->brief;
    if (job) {
        line->first = job->next;
        line->count--;
        oar_py_pool.count--;
        oar_py_pool.taken++;
    }
    return job;
}

/* The next job; NULL: there is none, and the thread is counted as idle. A nudge that is owed waits
 * for another brief job, and for no longer; the ticker is the guard for those that are not so brief
 * after all. `coming`: the first one after a call. */
static struct oar_job *take(struct oar_py_thread *t, bool coming)
{
    t->taken_ns = oar_now_ns();
    pthread_mutex_lock(&oar_py_pool.lock);
    oar_py_pool.coming -= coming;
    struct oar_job *job = first_job(here);
    if (job) {
        need_thread();
    } else {
        oar_py_pool.idle++;
    }
    bool owes = OAR_GET_NOW(here->owed) != NULL;
    bool may_owe = owes && job && job->brief && t->taken_ns - here->owed_since < OWE_NS && ticks();
    pthread_mutex_unlock(&oar_py_pool.lock);
    if (owes && !may_owe) {
        pay(here);
    }
    return job;
}

/* Detached: waits for a call. false: the pool ends. */
static bool wait_for_call(void)
{
    pthread_mutex_lock(&oar_py_pool.lock);
    while (oar_py_pool.called == 0 && !oar_py_pool.stopping) {
        pthread_cond_wait(&oar_py_pool.some, &oar_py_pool.lock);
    }
    bool runs = oar_py_pool.called > 0 || oar_py_pool.count > 0;
    if (oar_py_pool.called > 0) {
        oar_py_pool.called--;
    } else {
        oar_py_pool.idle--;
        oar_py_pool.coming++;
    }
    pthread_mutex_unlock(&oar_py_pool.lock);
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
    pthread_cond_init(&oar_py_pool.full, &monotonic);
    pthread_cond_init(&oar_py_pool.tick, &monotonic);
    pthread_condattr_destroy(&monotonic);
    oar_py_pool.most = asked ? asked : AUTO_THREADS;
    oar_py_pool.eager = asked ? asked : OAR_MIN(AUTO_THREADS, AUTO_EAGER * oar_py_cpu_share());
    oar_py_pool.capacity = (int)config->pool_queue;
    oar_py_pool.threads = calloc((size_t)oar_py_pool.most, sizeof *oar_py_pool.threads);
    oar_py_pool.activity = calloc((size_t)oar_py_pool.most, sizeof *oar_py_pool.activity);
    if (oar_py_pool.threads && oar_py_pool.activity) {
        oar_py_pool_add_thread();
    } else {
        oar_py.args->host->log(OAR_LOG_ERROR, "no memory for --pool-threads %d", oar_py_pool.most);
    }
}

int oar_py_pool_start(void)
{
    if (!oar_py_pool.started) {
        oar_py_set_switch_interval(); /* not under the lock: it runs Python */
        pthread_mutex_lock(&oar_py_pool.lock);
        if (!oar_py_pool.started) {
            make_ready();
            oar_py_pool.started = true;
        }
        pthread_mutex_unlock(&oar_py_pool.lock);
    }
    return oar_py_pool.n_threads > 0 ? 0 : -1;
}

/* Under the lock. */
static void add(struct line *line, struct oar_job *job)
{
    job->next = NULL;
    *(line->count > 0 ? line->last : &line->first) = job;
    line->last = &job->next;
    line->count++;
    oar_py_pool.count++;
}

static void put(struct line *line, struct oar_job *job)
{
    pthread_mutex_lock(&oar_py_pool.lock);
    add(line, job);
    need_thread();
    pthread_mutex_unlock(&oar_py_pool.lock);
}

bool oar_py_pool_submit(struct oar_job *job)
{
    pthread_mutex_lock(&oar_py_pool.lock);
    bool room = oar_py_pool.fresh.count < oar_py_pool.capacity && oar_py_pool.n_threads > 0;
    if (room) {
        add(&oar_py_pool.fresh, job);
    }
    pthread_mutex_unlock(&oar_py_pool.lock);
    return room;
}

void oar_py_handed(void *thread)
{
    (void)thread;
    pthread_mutex_lock(&oar_py_pool.lock);
    need_thread();
    pthread_mutex_unlock(&oar_py_pool.lock);
}

void oar_py_pool_put(struct oar_job *job)
{
    put(&oar_py_pool.fresh, job);
}

void oar_py_pool_go_on(struct oar_job *job)
{
    put(&oar_py_pool.going_on, job);
}

bool oar_py_pool_is_wanted(void)
{
    return oar_py_pool.count > 0;
}

void oar_py_pool_stop(void)
{
    pthread_mutex_lock(&oar_py_pool.lock);
    oar_py_pool.stopping = true;
    pthread_cond_broadcast(&oar_py_pool.some);
    if (oar_py_pool.scouts) {
        pthread_cond_signal(&oar_py_pool.full);
    }
    if (oar_py_pool.ticks) {
        pthread_cond_signal(&oar_py_pool.tick);
    }
    pthread_mutex_unlock(&oar_py_pool.lock);
    if (oar_py_pool.scouts) {
        pthread_join(oar_py_pool.scout, NULL);
    }
    if (oar_py_pool.ticks) {
        pthread_join(oar_py_pool.ticker, NULL);
    }
    for (int i = 0; i < oar_py_pool.n_threads; i++) {
        pthread_join(oar_py_pool.threads[i], NULL);
    }
    free(oar_py_pool.threads);
    free(oar_py_pool.activity);
    oar_py_pool.activity = NULL;
    oar_py_pool.threads = NULL;
    oar_py_pool.n_threads = oar_py_pool.capacity = 0;
}
