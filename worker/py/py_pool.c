/* SPDX-License-Identifier: MIT
 * The pool: threads for `def` handlers that may block. One bounded queue for the whole worker.
 * Process: worker. A pool thread runs no event loop; it makes its thread state once, waits
 * detached, and hands finished requests back to the loop's thread that owns the connection. Owns
 * the queue and the threads. Never touches a connection; never blocks a loop's thread on its lock
 * for longer than it takes to link one request. */
#include <pthread.h>
#include <stdlib.h>

#include "worker/py/py.h"

struct job {
    struct oar_request *request;
    struct oar_py_thread *from;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct job *jobs; /* ring */
    int capacity, first, count;
    int n_threads;
    bool stopping;
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

static bool take(struct job *job)
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

static void *pool_thread(void *unused)
{
    struct oar_py_thread t = {.index = -1, .state = PyThreadState_New(oar_py.interpreter)};
    struct job job;
    (void)unused;
    while (take(&job)) {
        PyEval_RestoreThread(t.state);
        t.context = job.from->context; /* borrowed for the call: each handler copies it */
        oar_py_run(&t, job.request);
        t.state = PyEval_SaveThread();
        detach_bytes(&t, job.request);
        oar_py.args->host->respond_elsewhere(job.from->host, job.request);
    }
    oar_buf_free(&t.out);
    PyEval_RestoreThread(t.state);
    PyThreadState_Clear(t.state);
    PyThreadState_DeleteCurrent();
    return NULL;
}

int oar_py_pool_start(int threads, int queue)
{
    pool.jobs = calloc((size_t)queue, sizeof *pool.jobs);
    pool.threads = calloc((size_t)threads, sizeof *pool.threads);
    pool.capacity = queue;
    if (!pool.jobs || !pool.threads) {
        PyErr_NoMemory();
        return -1;
    }
    for (; pool.n_threads < threads; pool.n_threads++) {
        int rc = pthread_create(&pool.threads[pool.n_threads], NULL, pool_thread, NULL);
        if (rc != 0) {
            PyErr_Format(PyExc_OSError, "cannot start pool thread %d of --pool-threads %d: %s",
                         pool.n_threads + 1, threads, strerror(rc));
            return -1;
        }
    }
    return 0;
}

bool oar_py_pool_submit(struct oar_py_thread *t, struct oar_request *r)
{
    pthread_mutex_lock(&pool.lock);
    bool room = pool.count < pool.capacity;
    if (room) {
        pool.jobs[(pool.first + pool.count) % pool.capacity] = (struct job){r, t};
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
