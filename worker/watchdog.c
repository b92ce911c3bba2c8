/* SPDX-License-Identifier: MIT
 * The watchdog: waits for the master's word and for the master's death, passes on who asks this
 * worker to leave, and names a handler that keeps an event loop.
 * Process: worker, a thread of its own that never attaches to the interpreter, so it works while
 * every other thread is stuck in Python. Owns the control socket and the death pipe's end. Never
 * allocates after its start; leaves with _exit when the master is gone, because a clean end may
 * never come. */
#include "worker/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "oarlock/control.h"
#include "oarlock/route.h"
#include "shared/clock.h"
#include "worker/forked.h"
#include "worker/signals.h"

#define TICK_MS 250
#define DRAIN_TICK_MS 5
/* Words of this process to its watchdog: */
#define WORD_TERM 'T' /* SIGTERM to this process, or it wants to go */
#define WORD_QUIT 'Q' /* the threads are about to be freed */

enum { CONTROL, DEATH, OWN, SOURCES };

static struct oar_worker *worker;
static pthread_t thread;
static bool started;
static int own_pipe[2] = {-1, -1};
static struct pollfd sources[SOURCES];
static bool told_closed;

/* An event loop that stays at one place is named within a second, then at growing intervals, and
 * when it goes on. */
#define STAY_NS 700000000u
#define STAY_AGAIN_NS 60000000000u
static struct stay {
    uint64_t turns, since, next;
    uint32_t phase;
    bool said;
    char where[600];
} stays[OAR_MAX_THREADS];
static uint64_t looked;

static void begin_drain(void)
{
    worker->draining = 1;
    for (int i = 0; i < worker->n_threads && worker->up; i++) {
        oar_thread_wake(&worker->threads[i]);
    }
}

static void obey_master(void)
{
    enum oar_message_kind kind;
    uint32_t value;
    enum oar_status status;
    while ((status = oar_control_take(sources[CONTROL].fd, &kind, &value)) == OAR_OK) {
        if (kind == OAR_MSG_STOP) {
            begin_drain();
        }
    }
    if (status == OAR_CLOSED) {
        sources[CONTROL].fd = -1; /* the death pipe says the rest */
    }
}

/* false: the watchdog itself is to end. A worker does not leave on its own account: the master has
 * its successor ready, and a deadline. */
static bool hear_own(void)
{
    char word;
    bool go_on = true;
    while (read(own_pipe[0], &word, 1) == 1) {
        go_on = go_on && word != WORD_QUIT;
        if (word == WORD_TERM &&
            oar_control_send(sources[CONTROL].fd, OAR_MSG_LEAVE, 0) != OAR_OK) {
            begin_drain();
        }
    }
    return go_on;
}

/* All threads of all workers accept from the same queues, so one that has emptied them is enough. */
static void say_closed(void)
{
    for (int i = 0; i < worker->n_threads && !told_closed; i++) {
        if (OAR_GET_NOW(worker->threads[i].slot->state) == OAR_SLOT_DRAINING) {
            told_closed = true;
            oar_control_send(sources[CONTROL].fd, OAR_MSG_CLOSED, 0);
        }
    }
}

/* ---- who stays too long ---- */

static const char *where(const struct oar_slot *slot, uint32_t phase, char *out, size_t room)
{
    const struct oar_rt_header *h = worker->routes;
    uint32_t route = OAR_GET_NOW(slot->route);
    if (phase == OAR_PHASE_GIL) {
        snprintf(out, room, "waiting for the interpreter, which another thread keeps");
    } else if (phase == OAR_PHASE_HANDLER && route > 0 && h && route <= h->n_routes) {
        const struct oar_rt_route *r = &oar_rt_routes(h)[route - 1];
        snprintf(out, room, "inside the handler of %s (%s, %s)", oar_rt_text(h, r->path_off),
                 oar_rt_text(h, r->name_off), oar_rt_text(h, r->source_off));
    } else {
        snprintf(out, room, "inside a task or a callback of asyncio's");
    }
    return out;
}

/* A thread that has been at one place since `since` or a tick before that. */
static void look_at(int index, uint64_t now)
{
    struct stay *s = &stays[index];
    const struct oar_slot *slot = worker->threads[index].slot;
    uint32_t phase = OAR_GET_NOW(slot->phase);
    uint64_t turns = OAR_GET_NOW(slot->turns);
    bool stays_there =
        phase == s->phase && turns == s->turns &&
        (phase == OAR_PHASE_HANDLER || phase == OAR_PHASE_TASKS || phase == OAR_PHASE_GIL);
    double seconds = (double)(now - s->since) / 1e9;
    if (stays_there && now - s->since >= s->next) {
        where(slot, phase, s->where, sizeof s->where);
        s->next = OAR_MIN(s->next * 2, s->next + STAY_AGAIN_NS);
        s->said = true;
        oar_log(
            OAR_LOG_WARNING,
            "event loop %d has been %s for %.1f s; its other clients, timers and deadlines wait. "
            "A `def` that blocks belongs into the pool (blocking=True), and what blocks in an "
            "`async def` into run_in_threadpool()",
            index, s->where, seconds);
    } else if (!stays_there) {
        if (s->said) {
            oar_log(OAR_LOG_WARNING, "event loop %d goes on; it has been %s for %.1f s", index,
                    s->where, seconds);
        }
        *s = (struct stay){.phase = phase, .turns = turns, .since = now, .next = STAY_NS};
    }
}

static void look_at_all(void)
{
    uint64_t now = oar_now_ns();
    if (!worker->up || now - looked < TICK_MS * 1000000u) {
        return;
    }
    looked = now;
    for (int i = 0; i < worker->n_threads; i++) {
        look_at(i, now);
    }
}

static void *watch(void *unused)
{
    (void)unused;
    for (;;) {
        bool awaited = worker->draining && worker->up && !told_closed;
        if (poll(sources, SOURCES, awaited ? DRAIN_TICK_MS : TICK_MS) < 0 && errno != EINTR) {
            _exit(OAR_EXIT_ORPHAN);
        }
        oar_log_settle();
        look_at_all();
        if (sources[DEATH].revents) {
            oar_log(OAR_LOG_ERROR, "the master is gone; this worker leaves too");
            _exit(OAR_EXIT_ORPHAN);
        }
        if (sources[CONTROL].revents) {
            obey_master();
        }
        if (sources[OWN].revents && !hear_own()) {
            break;
        }
        if (worker->draining && worker->up) {
            say_closed();
        }
    }
    return NULL;
}

static void ask_to_leave(void)
{
    ssize_t n = write(own_pipe[1], &(char){WORD_TERM}, 1);
    (void)n; /* full: it has been asked often enough */
}

enum oar_status oar_watchdog_start(struct oar_worker *w, const struct oar_worker_args *args,
                                   struct oar_err *err)
{
    pthread_attr_t attr;
    sigset_t all, before;
    worker = w;
    w->ask_to_leave = ask_to_leave;
    if (pipe2(own_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        return oar_err_set(err, "cannot make a pipe: %s", strerror(errno));
    }
    sources[CONTROL] = (struct pollfd){.fd = args->control_fd, .events = POLLIN};
    sources[DEATH] = (struct pollfd){.fd = args->death_fd, .events = POLLIN};
    sources[OWN] = (struct pollfd){.fd = own_pipe[0], .events = POLLIN};
    const int own[] = {own_pipe[0], own_pipe[1], args->control_fd, args->death_fd};
    oar_forked_watch(w, own, OAR_ARRAY_LEN(own));
    oar_signals_install(own_pipe[1], WORD_TERM);
    /* Signals belong to the main thread: Python's handlers run there. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 * 1024);
    int rc = pthread_create(&thread, &attr, watch, NULL);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    started = rc == 0;
    return started ? OAR_OK : oar_err_set(err, "cannot start the watchdog: %s", strerror(rc));
}

void oar_watchdog_stop(void)
{
    if (started && write(own_pipe[1], &(char){WORD_QUIT}, 1) == 1) {
        pthread_join(thread, NULL);
        started = false;
    }
}
