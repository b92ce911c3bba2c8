/* SPDX-License-Identifier: MIT
 * A worker process from birth to exit: start the watchdog, open the bridge, start the application, start the threads,
 * say ready, serve, stop. Thread 0 is the process's main thread, where Python's signal handlers
 * run. Process: worker (and, for oar_loader_run, the loader). Owns the threads' memory for the life
 * of the process. Never returns to the master's code: the caller passes the result to _exit. */
#include "worker/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "oarlock/control.h"
#include "worker/forked.h"
#include "worker/thread.h"
#include "worker/timing.h"
#include "worker/watchdog.h"

struct starting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int done, failed;
    struct oar_err err;
};

struct thread_start {
    struct oar_thread *thread;
    struct starting *starting;
};

static void report(struct starting *s, enum oar_status status, const struct oar_err *err)
{
    pthread_mutex_lock(&s->lock);
    s->done++;
    if (status != OAR_OK && !s->failed++) {
        s->err = *err;
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* Both ends of a thread's life; between them the application's side drives the loop. */
static enum oar_status begin(struct oar_thread *t, struct oar_err *err)
{
    if (!t->ev) {
        return oar_err_set(err, "cannot make an event loop: %s", strerror(errno));
    }
    enum oar_status status = t->worker->app->thread_start(t, t->index, &t->app_state, err);
    t->home_state = t->app_state;
    if (status == OAR_OK) {
        oar_accept_start(t);
        OAR_SET(t->slot->state, OAR_SLOT_SERVING);
    }
    return status;
}

/* Its loop may end long before the others', and is stuck nowhere then. */
static void run(struct oar_thread *t)
{
    t->worker->app->thread_run(t->home_state);
    OAR_SET(t->slot->phase, OAR_PHASE_WAIT);
}

static void *thread_main(void *argument)
{
    struct thread_start start = *(struct thread_start *)argument;
    struct oar_err err;
    free(argument);
    enum oar_status status = begin(start.thread, &err);
    report(start.starting, status, &err);
    if (status == OAR_OK) {
        run(start.thread);
        start.thread->worker->app->thread_stop(start.thread->home_state);
    }
    return NULL;
}

static enum oar_status start_others(struct oar_worker *w, pthread_t *ids, struct oar_err *err)
{
    static struct starting s = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                .changed = PTHREAD_COND_INITIALIZER};
    for (int i = 1; i < w->n_threads; i++) {
        struct thread_start *start = malloc(sizeof *start);
        if (!start) {
            return oar_err_set(err, "no memory for thread %d", i);
        }
        *start = (struct thread_start){&w->threads[i], &s};
        int rc = pthread_create(&ids[i], NULL, thread_main, start);
        if (rc != 0) {
            free(start);
            return oar_err_set(err, "cannot start thread %d of %d: %s", i, w->n_threads,
                               strerror(rc));
        }
    }
    pthread_mutex_lock(&s.lock);
    while (s.done < w->n_threads - 1) {
        pthread_cond_wait(&s.changed, &s.lock);
    }
    enum oar_status status = s.failed ? oar_err_set(err, "%s", s.err.text) : OAR_OK;
    pthread_mutex_unlock(&s.lock);
    return status;
}

static enum oar_status serve(struct oar_worker *w, const struct oar_worker_args *args,
                             pthread_t *ids, struct oar_err *err)
{
    w->threads = calloc((size_t)w->n_threads, sizeof *w->threads);
    if (!w->threads) {
        return oar_err_set(err, "no memory for %d threads", w->n_threads);
    }
    for (int i = 0; i < w->n_threads; i++) {
        oar_thread_init(&w->threads[i], w, i);
    }
    uint32_t most = (uint32_t)(w->config->pool_threads ? w->config->pool_threads : OAR_POOL_AUTO);
    w->up = 1;
    if (oar_relay_start(&w->relay, w, most, err) != OAR_OK || start_others(w, ids, err) != OAR_OK ||
        begin(&w->threads[0], err) != OAR_OK) {
        return OAR_ERR;
    }
    if (oar_control_send(args->control_fd, OAR_MSG_READY, 0) != OAR_OK) {
        return oar_err_set(err, "cannot tell the master: %s", strerror(errno));
    }
    run(&w->threads[0]);
    for (int i = 1; i < w->n_threads; i++) { /* all threads end before the interpreter does */
        pthread_join(ids[i], NULL);
    }
    w->app->thread_stop(w->threads[0].home_state);
    oar_relay_stop(&w->relay);
    w->app->stop();
    oar_watchdog_stop(); /* not before: the interpreter's end may hang when the master dies */
    for (int i = 0; i < w->n_threads; i++) {
        oar_thread_free(&w->threads[i]);
    }
    return OAR_OK;
}

int oar_worker_run(const struct oar_worker_args *args, const struct oar_bridge *found,
                   uint32_t hash_seed, int cpu_count)
{
    static struct oar_bridge bridge; /* its texts must outlive this function's callers */
    static struct oar_worker w;
    struct oar_err err;
    pthread_t ids[OAR_MAX_THREADS] = {0};
    bridge = *found;
    w = (struct oar_worker){.config = args->config,
                            .routes = args->routes,
                            .shm = args->shm,
                            .listeners = args->listeners,
                            .n_listeners = args->n_listeners,
                            .index = args->index,
                            .forwarded = oar_config_forwarded(args->config),
                            .timing = (enum oar_server_timing_choice)args->config->server_timing,
                            .n_slots = args->n_workers * args->n_threads,
                            .n_threads = (int)args->n_threads};
    oar_shm_protect(args->shm);
    enum oar_status status =
        oar_networks_parse(args->config->trusted_proxies, "--trusted-proxies", &w.trusted, &err);
    if (status == OAR_OK) {
        status = oar_watchdog_start(&w, args, &err);
    }
    if (status == OAR_OK) {
        status = oar_bridge_open(args->config, &bridge, &err);
    }
    if (status == OAR_OK) {
        w.app = bridge.app;
        bridge.args.routes = args->routes;
        bridge.args.hash_seed = hash_seed;
        bridge.args.cpu_count = cpu_count;
        bridge.args.n_threads = w.n_threads;
        bridge.args.live = oar_shm_routes(args->shm);
        status = w.app->start(&bridge.args, &err);
        if (w.draining == OAR_FORKED) {
            oar_forked_end();
        }
    }
    if (status == OAR_OK) {
        status = serve(&w, args, ids, &err);
    }
    oar_watchdog_stop();
    if (status == OAR_OK) {
        free(w.threads); /* else some may still run: the process ends now */
    }
    if (status == OAR_CLOSED) {
        return OAR_EXIT_CHANGED;
    }
    if (status != OAR_OK) {
        oar_log_text(OAR_LOG_ERROR, oar_slice_of(err.text));
        return OAR_EXIT_START;
    }
    return OAR_EXIT_OK;
}

static void write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR) {
            break; /* the master is gone */
        }
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

int oar_loader_run(const struct oar_config *config, const struct oar_bridge *found,
                   uint32_t hash_seed, int cpu_count, int fd)
{
    static struct oar_bridge bridge;
    struct oar_err err;
    char *manifest = NULL;
    pid_t own = getpid();
    bridge = *found;
    enum oar_status status = oar_bridge_open(config, &bridge, &err);
    if (status == OAR_OK) {
        bridge.args.hash_seed = hash_seed;
        bridge.args.cpu_count = cpu_count;
        bridge.args.n_threads = (int)config->threads;
        status = bridge.app->describe(&bridge.args, &manifest, &err);
        if (getpid() != own) {
            oar_forked_end();
        }
    }
    if (status == OAR_OK) {
        char line[256]; /* what serves, for the line that says so */
        int n = snprintf(line, sizeof line, "M%s %s\n", bridge.app->runtime, bridge.app->flavour);
        write_all(fd, line, (size_t)n);
        write_all(fd, manifest, strlen(manifest));
    } else {
        write_all(fd, "E", 1);
        write_all(fd, manifest ? manifest : err.text, strlen(manifest ? manifest : err.text));
    }
    write_all(fd, &(char){OAR_LOADER_END}, 1);
    free(manifest);
    return status == OAR_OK ? OAR_EXIT_OK : OAR_EXIT_START;
}
