/* SPDX-License-Identifier: MIT
 * The pool: threads for `def` handlers that may block, and for the plain iterators of streamed
 * responses. One bounded queue for the whole worker; the threads are made when the first job comes.
 * Process: worker. A pool thread runs no event loop; it makes its thread state once, waits
 * detached, and hands finished requests back to the loop's thread that owns the connection. Owns
 * the queue and the threads. Never touches a connection; never blocks a loop's thread on its lock
 * for longer than it takes to link one request. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "shared/clock.h"
#include "worker/py/py.h"

/* What a thread does, for whoever was kept waiting: written by the thread, read by any. */
struct activity {
    _Atomic(const struct oar_rt_route *) route; /* of the last handler; NULL: none yet */
    _Atomic uint64_t ended;                     /* CLOCK_MONOTONIC, ns; 0: it runs */
    _Atomic uint64_t cpu_before, cpu;           /* ns of CPU time: at its start; all it took */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct oar_py_job *jobs; /* ring */
    int capacity, first, count;
    int n_threads;
    _Atomic bool started;
    bool stopping;
    pthread_t *threads;
    struct activity *activity; /* one a thread */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER};

/* The response's bytes leave the thread's buffer with the request: the loop's thread frees them. */
static void detach_bytes(struct oar_py_thread *t, struct oar_request *r)
{
    if (t->out.data && r->response.body.ptr >= t->out.data &&
        r->response.body.ptr <= t->out.data + t->out.len) {
        r->response.owned = t->out.data;
        t->out = (struct oar_buf){0};
    }
}

static bool take(struct oar_py_job *job)
{
    pthread_mutex_lock(&pool.lock);
    while (pool.count == 0 && !pool.stopping) {
        pthread_cond_wait(&pool.some, &pool.lock);
    }
    bool got = pool.count > 0;
    if (got) {
        *job = pool.jobs[pool.first];
        pool.first = (pool.first + 1) % pool.capacity;
        pool.count--;
    }
    pthread_mutex_unlock(&pool.lock);
    return got;
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

static void begins(struct activity *a, const struct oar_rt_route *route)
{
    OAR_SET(a->cpu_before, cpu_of(pthread_self()));
    OAR_SET(a->ended, 0);
    OAR_SET(a->route, route);
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

/* Runs the handler. Its response, or the head of it, goes to the client before any iterator runs. */
static void call(struct oar_py_thread *t, struct oar_py_job *job)
{
    t->context = job->from->context; /* borrowed for the call: each handler copies it */
    t->loop = job->from->loop;       /* borrowed: where its async iterators run */
    t->lifespan_state = job->from->lifespan_state; /* borrowed */
    t->home = job->from->host;
    oar_py_place_run(t, job->request);
    t->state = PyEval_SaveThread();
    detach_bytes(t, job->request);
    oar_py.args->host->respond_elsewhere(job->from->host, job->request);
    PyEval_RestoreThread(t->state);
    job->pump = t->pump;
    t->pump = (struct oar_py_pump){0};
}

/* The outcome is delivered when no frame of the call is left: another thread will look at the
 * traceback of an exception. */
static void run_call(struct oar_py_job *job)
{
    PyObject *result = PyObject_CallNoArgs(job->call);
    PyObject *exception = result ? NULL : PyErr_GetRaisedException();
    PyObject *none = PyObject_CallFunctionObjArgs(job->deliver, result ? result : Py_None,
                                                  exception ? exception : Py_None, NULL);
    if (!none) { /* the loop is closed: nobody waits */
        PyErr_Clear();
    }
    Py_XDECREF(none);
    Py_XDECREF(exception);
    Py_XDECREF(result);
    Py_DECREF(job->call);
    Py_DECREF(job->deliver);
}

/* --server-timing: it waited in the queue until `taken`, then for the interpreter. */
static void began_in_pool(struct oar_timing *time, uint64_t taken)
{
    uint64_t now = oar_now_ns();
    time->queue_ns += taken - time->called_ns;
    time->gil_ns += now - taken;
    time->called_ns = now;
    time->in_pool = true;
}

static void *pool_thread(void *argument)
{
    struct activity *activity = argument;
    struct oar_py_thread t = {.index = -1, .state = PyThreadState_New(oar_py.interpreter)};
    struct oar_py_job job;
    while (take(&job)) {
        struct oar_timing *timing = job.request ? job.request->timing : NULL;
        uint64_t taken = OAR_UNLIKELY(timing != NULL) ? oar_now_ns() : 0;
        begins(activity, job.request ? job.request->route : NULL);
        PyEval_RestoreThread(t.state);
        if (OAR_UNLIKELY(timing != NULL)) {
            began_in_pool(timing, taken);
        }
        if (job.request) {
            call(&t, &job);
        }
        if (job.pump.exchange) {
            t.loop = job.from->loop; /* borrowed */
            t.home = job.from->host;
            oar_py_pump(&t, &job.pump);
        }
        if (job.call) {
            run_call(&job);
        }
        t.state = PyEval_SaveThread();
        ends(activity);
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

/* Under the lock. */
static int start_threads(int threads, int queue)
{
    int rc = 0;
    pool.jobs = calloc((size_t)queue, sizeof *pool.jobs);
    pool.threads = calloc((size_t)threads, sizeof *pool.threads);
    pool.activity = calloc((size_t)threads, sizeof *pool.activity);
    pool.capacity = queue;
    if (!pool.jobs || !pool.threads || !pool.activity) {
        return ENOMEM;
    }
    while (rc == 0 && pool.n_threads < threads) {
        rc = pthread_create(&pool.threads[pool.n_threads], NULL, pool_thread,
                            &pool.activity[pool.n_threads]);
        pool.n_threads += rc == 0;
    }
    return rc;
}

int oar_py_pool_start(void)
{
    int asked = (int)oar_py.args->config->pool_threads;
    int threads = asked ? asked : OAR_MIN(32, 4 * oar_py.args->cpu_count);
    int rc = 0;
    if (!pool.started) {
        set_switch_interval(); /* not under the lock: it runs Python */
    }
    pthread_mutex_lock(&pool.lock);
    if (!pool.started) {
        pool.started = true;
        rc = start_threads(threads, (int)oar_py.args->config->pool_queue);
    }
    int n = pool.n_threads;
    pthread_mutex_unlock(&pool.lock);
    if (rc != 0) {
        oar_py.args->host->log(OAR_LOG_ERROR,
                               "cannot start pool thread %d of --pool-threads %d: %s", n + 1,
                               threads, strerror(rc));
    }
    return n > 0 ? rc : -1;
}

bool oar_py_pool_submit(struct oar_py_thread *t, const struct oar_py_job *job)
{
    if (oar_py_pool_start() < 0) {
        return false;
    }
    pthread_mutex_lock(&pool.lock);
    bool room = pool.count < pool.capacity;
    if (room) {
        pool.jobs[(pool.first + pool.count) % pool.capacity] = *job;
        pool.count++;
        pthread_cond_signal(&pool.some);
    }
    pthread_mutex_unlock(&pool.lock);
    if (room) {
        struct oar_slot *slot = oar_py.args->host->slot(t->host);
        OAR_ADD(slot->pool_calls, 1);
    }
    return room;
}

void oar_py_pool_stop(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.stopping = true;
    pthread_cond_broadcast(&pool.some);
    pthread_mutex_unlock(&pool.lock);
    for (int i = 0; i < pool.n_threads; i++) {
        pthread_join(pool.threads[i], NULL);
    }
    free(pool.jobs);
    free(pool.threads);
    free(pool.activity);
    pool.activity = NULL;
    pool.jobs = NULL;
    pool.threads = NULL;
    pool.n_threads = pool.capacity = 0;
}
