/* SPDX-License-Identifier: MIT
 * The pool: threads for `def` handlers that may block, and for the plain iterators of streamed
 * responses. One bounded queue for the whole worker; the threads are made when the first job comes.
 * Process: worker. A pool thread runs no event loop; it makes its thread state once, waits
 * detached, and hands finished requests back to the loop's thread that owns the connection. Owns
 * the queue and the threads. Never touches a connection; never blocks a loop's thread on its lock
 * for longer than it takes to link one request. */
#include <pthread.h>
#include <stdlib.h>

#include "worker/py/py.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct oar_py_job *jobs; /* ring */
    int capacity, first, count;
    int n_threads;
    bool started, stopping;
    pthread_t *threads;
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

/* Runs the handler. Its response, or the head of it, goes to the client before any iterator runs. */
static void call(struct oar_py_thread *t, struct oar_py_job *job)
{
    t->context = job->from->context; /* borrowed for the call: each handler copies it */
    t->loop = job->from->loop;       /* borrowed: where its async iterators run */
    t->lifespan_state = job->from->lifespan_state; /* borrowed */
    oar_py_place_run(t, job->request);
    t->state = PyEval_SaveThread();
    detach_bytes(t, job->request);
    oar_py.args->host->respond_elsewhere(job->from->host, job->request);
    PyEval_RestoreThread(t->state);
    job->pump = t->pump;
    t->pump = (struct oar_py_pump){0};
}

static void *pool_thread(void *unused)
{
    struct oar_py_thread t = {.index = -1, .state = PyThreadState_New(oar_py.interpreter)};
    struct oar_py_job job;
    (void)unused;
    while (take(&job)) {
        PyEval_RestoreThread(t.state);
        if (job.request) {
            call(&t, &job);
        }
        if (job.pump.exchange) {
            oar_py_pump(&job.pump);
        }
        t.state = PyEval_SaveThread();
    }
    oar_buf_free(&t.out);
    PyEval_RestoreThread(t.state);
    PyThreadState_Clear(t.state);
    PyThreadState_DeleteCurrent();
    return NULL;
}

/* Under the lock. */
static int start_threads(int threads, int queue)
{
    int rc = 0;
    pool.jobs = calloc((size_t)queue, sizeof *pool.jobs);
    pool.threads = calloc((size_t)threads, sizeof *pool.threads);
    pool.capacity = queue;
    if (!pool.jobs || !pool.threads) {
        return ENOMEM;
    }
    while (rc == 0 && pool.n_threads < threads) {
        rc = pthread_create(&pool.threads[pool.n_threads], NULL, pool_thread, NULL);
        pool.n_threads += rc == 0;
    }
    return rc;
}

int oar_py_pool_start(void)
{
    int threads = oar_py.args->pool_threads;
    int rc = 0;
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
    pool.jobs = NULL;
    pool.threads = NULL;
    pool.n_threads = pool.capacity = 0;
}
