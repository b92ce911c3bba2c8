/* SPDX-License-Identifier: MIT
 * Handlers without sockets: nanoseconds a call costs in the bridge, on one thread and on several, so
 * that what threads share in the interpreter shows and the kernel does not. It stands in for the
 * event loop: struct oar_host, whose poll hands out batches of requests as worker/batch.c does.
 * Process: its own, T threads; a child for the description of the application. Owns everything;
 * bounded by SECONDS. Never opens a socket.
 * usage: inprocess TARGET SECONDS CONCURRENT run MODULE:APP [options of `oarlock run`]
 *   TARGET: /path?query of a GET; CONCURRENT: requests a thread has open at once where they wait
 * Prints one JSON object. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oarlock/log.h"
#include "oarlock/route.h"
#include "shared/arena.h"
#include "shared/clock.h"
#include "shared/manifest.h"
#include "shared/route_build.h"
#include "worker/bridge.h"

extern char **environ;

/* worker/params.c; its header would bring the event loop along. */
enum oar_status oar_params_validate(const void *table, struct oar_request *r,
                                    struct oar_arena *arena, struct oar_buf *detail);

enum { BATCH = 64, MOST_OPEN = 4096 };

/* One of ours; the bridge sees it through a pointer. */
struct oar_thread {
    struct oar_slot slot __attribute__((aligned(OAR_CACHE_LINE)));
    const struct oar_app *app;
    void *state;
    pthread_t id;
    struct oar_request *requests; /* CONCURRENT of them */
    struct oar_request *free;     /* a list, by done_next */
    int index, open;
    uint64_t calls, failed, cpu_ns, wall_ns;
    _Atomic int woken;
};

static struct oar_config config;
static const void *routes;
static int n_open;
static double seconds;
static pthread_barrier_t barrier;
static uint64_t deadline; /* CLOCK_MONOTONIC, ns; set between two waits at the barrier */
static int n_threads;

static uint64_t thread_cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the host ------------------------------------------------------------------------------- */

static void finish(struct oar_thread *t, struct oar_request *r)
{
    t->failed += r->response.status != 200;
    t->calls++;
    r->done_next = t->free;
    t->free = r;
}

static void host_respond(struct oar_request *r)
{
    struct oar_thread *t = (struct oar_thread *)(void *)r->conn;
    t->open--;
    finish(t, r);
}

static void batch(struct oar_thread *t)
{
    t->app->enter(t->state);
    for (int i = 0; i < BATCH && t->free; i++) {
        struct oar_request *r = t->free;
        t->free = r->done_next;
        if (t->app->call(t->state, r) == OAR_CALL_DONE) {
            finish(t, r);
        } else {
            t->open++;
        }
    }
    t->app->leave(t->state);
}

static int host_poll(struct oar_thread *t, double timeout, struct oar_fired *fired, int room)
{
    (void)fired, (void)room;
    if (oar_now_ns() < deadline && t->free) {
        batch(t);
    } else if (timeout != 0 && !t->woken) {
        double wait = timeout < 0 || timeout > 0.001 ? 0.001 : timeout;
        nanosleep(&(struct timespec){.tv_nsec = (long)(wait * 1e9)}, NULL);
    }
    t->woken = 0;
    return 0;
}

static bool host_stopping(struct oar_thread *t)
{
    return oar_now_ns() >= deadline && t->open == 0;
}

static struct oar_watch *host_watch(struct oar_thread *t, int fd, int events, void *data)
{
    (void)t, (void)fd, (void)events, (void)data; /* asyncio's self-pipe: nobody writes to it */
    return malloc(1);
}

static void host_rewatch(struct oar_thread *t, struct oar_watch *w, int events, void *data)
{
    (void)t, (void)w, (void)events, (void)data;
}

static void host_unwatch(struct oar_thread *t, struct oar_watch *w)
{
    (void)t;
    free(w);
}

static void host_wake(struct oar_thread *t)
{
    t->woken = 1;
}

static double host_grace(struct oar_thread *t)
{
    (void)t;
    return 10;
}

static void host_retire(struct oar_thread *t)
{
    (void)t;
    deadline = 0;
}

static struct oar_slot *host_slot(struct oar_thread *t)
{
    return &t->slot;
}

static void host_hold(struct oar_thread *t, int change)
{
    (void)t, (void)change;
}

const struct oar_host oar_host = {
    .poll = host_poll,
    .watch = host_watch,
    .rewatch = host_rewatch,
    .unwatch = host_unwatch,
    .wake = host_wake,
    .respond = host_respond,
    .stopping = host_stopping,
    .grace = host_grace,
    .retire = host_retire,
    .hold = host_hold,
    .slot = host_slot,
    .log = oar_log,
    .log_text = oar_log_text,
};

const struct oar_app *oar_stub_app(void)
{
    return NULL; /* --stub has no interpreter to measure */
}

/* ---- the requests --------------------------------------------------------------------------- */

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "inprocess: %s: %s\n", what, why);
    _exit(1);
}

static void prepare(struct oar_thread *t, const char *target)
{
    static struct oar_pool pool;
    struct oar_arena *arena = calloc(1, sizeof *arena);
    struct oar_buf detail = {0};
    const char *query = strchr(target, '?');
    size_t path_len = query ? (size_t)(query - target) : strlen(target);
    t->requests = calloc((size_t)n_open, sizeof *t->requests);
    arena->pool = &pool;
    for (int i = 0; i < n_open; i++) {
        struct oar_request *r = &t->requests[i];
        char *scratch = oar_arena_take(arena, path_len + 1);
        r->conn = (struct oar_conn *)(void *)t;
        r->head = target;
        r->method = OAR_GET;
        r->minor = 1;
        r->path_len = (uint32_t)path_len;
        r->query_off = (uint32_t)path_len + 1;
        r->query_len = query ? (uint32_t)strlen(query + 1) : 0;
        if (oar_route_match(routes, OAR_GET, oar_request_path(r), scratch, &r->match) !=
            OAR_MATCH_FOUND) {
            fail(target, "no route");
        }
        r->route = r->match.route;
        r->values = oar_arena_take(arena, (r->route->n_params + 1u) * sizeof *r->values);
        if (r->route->n_params && oar_params_validate(routes, r, arena, &detail) != OAR_OK) {
            fail(target, detail.data);
        }
        r->done_next = t->free;
        t->free = r;
    }
}

/* ---- the application ------------------------------------------------------------------------ */

/* In a child, because an interpreter is started once in a process. */
static void compile(struct oar_bridge bridge)
{
    struct oar_err err;
    struct oar_buf text = {0};
    int pair[2];
    if (pipe(pair) != 0) {
        fail("pipe", strerror(errno));
    }
    pid_t pid = fork();
    if (pid == 0) {
        char *manifest = NULL;
        bool ok = oar_bridge_open(&config, &bridge, &err) == OAR_OK &&
                  bridge.app->describe(&bridge.args, &manifest, &err) == OAR_OK;
        for (size_t at = 0, n = manifest ? strlen(manifest) : 0; at < n;) {
            ssize_t wrote = write(pair[1], manifest + at, n - at);
            at += wrote > 0 ? (size_t)wrote : n;
        }
        _exit(!ok);
    }
    close(pair[1]);
    char piece[4096];
    for (ssize_t n; (n = read(pair[0], piece, sizeof piece)) > 0;) {
        oar_buf_put(&text, piece, (size_t)n);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    struct oar_built built;
    if (status != 0) {
        fail("the application", text.len ? text.data : "it cannot be described");
    }
    if (oar_manifest_compile((struct oar_slice){text.data, text.len}, false, false, &built, &err) !=
        OAR_OK) {
        fail("the routes", err.text);
    }
    routes = built.bytes;
}

static void *thread_main(void *argument)
{
    struct oar_thread *t = argument;
    struct oar_err err;
    if (t->app->thread_start(t, t->index, &t->state, &err) != OAR_OK) {
        fail("thread_start", err.text);
    }
    pthread_barrier_wait(&barrier);
    if (t->index == 0) {
        deadline = oar_now_ns() + (uint64_t)(seconds * 1e9);
    }
    pthread_barrier_wait(&barrier);
    uint64_t cpu = thread_cpu(), began = oar_now_ns();
    t->app->thread_run(t->state);
    t->cpu_ns = thread_cpu() - cpu;
    t->wall_ns = oar_now_ns() - began;
    if (t->index != 0) {
        t->app->thread_stop(t->state);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct oar_err err;
    static struct oar_bridge bridge;
    if (argc < 5) {
        fail("usage", "inprocess TARGET SECONDS CONCURRENT run MODULE:APP [options]");
    }
    oar_log_init("bench", OAR_LOG_WARNING);
    const char *target = argv[1];
    seconds = atof(argv[2]);
    n_open = OAR_MIN(OAR_MAX(atoi(argv[3]), 1), MOST_OPEN);
    if (oar_config_parse(&config, argc - 3, argv + 3, environ, &err) != OAR_OK ||
        oar_bridge_find(&config, &bridge, &err) != OAR_OK) {
        fail("options", err.text);
    }
    n_threads = config.threads ? (int)config.threads : 1;
    config.threads = n_threads;
    config.pool_threads = 1;
    compile(bridge);
    if (oar_bridge_open(&config, &bridge, &err) != OAR_OK) {
        fail("bridge", err.text);
    }
    bridge.args.routes = routes;
    bridge.args.n_threads = n_threads;
    bridge.args.live = calloc(OAR_MAX_ROUTES + 1, sizeof *bridge.args.live);
    if (bridge.app->start(&bridge.args, &err) != OAR_OK) {
        fail("start", err.text);
    }
    struct oar_thread *threads =
        aligned_alloc(OAR_CACHE_LINE, (size_t)n_threads * sizeof(struct oar_thread));
    memset(threads, 0, (size_t)n_threads * sizeof *threads);
    pthread_barrier_init(&barrier, NULL, (unsigned)n_threads);
    for (int i = 0; i < n_threads; i++) {
        threads[i].app = bridge.app;
        threads[i].index = i;
        prepare(&threads[i], target);
    }
    for (int i = 1; i < n_threads; i++) {
        pthread_create(&threads[i].id, NULL, thread_main, &threads[i]);
    }
    thread_main(&threads[0]);
    for (int i = 1; i < n_threads; i++) {
        pthread_join(threads[i].id, NULL);
    }
    uint64_t calls = 0, cpu = 0, wall = 0, failed = 0;
    for (int i = 0; i < n_threads; i++) {
        calls += threads[i].calls;
        cpu += threads[i].cpu_ns;
        failed += threads[i].failed;
        wall = OAR_MAX(wall, threads[i].wall_ns);
    }
    printf("{\"threads\": %d, \"calls\": %llu, \"failed\": %llu, \"per_second\": %.0f, "
           "\"cpu_ns\": %.1f}\n",
           n_threads, (unsigned long long)calls, (unsigned long long)failed,
           (double)calls / ((double)wall / 1e9), (double)cpu / (double)OAR_MAX(calls, 1));
    fflush(stdout);
    _exit(failed ? 1 : 0); /* the interpreter's end is not what is measured */
}
