/* SPDX-License-Identifier: MIT
 * The supervisor: opens the sockets, runs the loader, forks workers, reaps and starts again, stops.
 * Process: master, PID 1 in a container. Owns the listening sockets, the scoreboard, the route
 * table, the children. It runs no Python, takes no lock that a child can hold, and talks to no
 * client. What to do is decided in policy.c; this file asks and obeys. Signals arrive as libev
 * watchers: handlers only set a flag. */
#include "master/master.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/children.h"
#include "master/decide.h"
#include "master/listeners.h"
#include "master/loader.h"
#include "master/status.h"
#include "oarlock/control.h"
#include "oarlock/log.h"
#include "shared/buf.h"
#include "shared/clock.h"

#define SIGNALS 8

struct master {
    struct ev_loop *ev;
    const struct oar_master_args *args;
    const struct oar_config *config;
    struct oar_decider d;
    struct oar_spawn spawn;
    struct oar_loader loader;
    struct oar_child children[OAR_MAX_WORKERS];
    ev_io control[OAR_MAX_WORKERS];
    ev_io loader_io;
    ev_timer loader_timer, policy_timer;
    ev_signal signals[SIGNALS];
    struct oar_listeners listeners;
    char runtime[128];
    uint32_t generation;
    int ready_fd; /* -1: none, or the line is written */
    bool ended;
};
static struct master m; /* one supervisor a process */

static void happened(enum oar_event event, int index);

static void give_up_masters_things(void *unused)
{
    (void)unused;
    for (int i = 0; i < OAR_MAX_WORKERS; i++) {
        if (m.children[i].pid) {
            close(m.children[i].control_fd);
        }
    }
    if (m.loader.fd >= 0) {
        close(m.loader.fd);
    }
    if (m.ready_fd >= 0) {
        close(m.ready_fd);
    }
    if (m.ev) {
        ev_loop_destroy(m.ev);
    }
}

/* ---- actions ---- */

static void on_control(struct ev_loop *ev, ev_io *io, int events)
{
    enum oar_message_kind kind;
    uint32_t value;
    enum oar_status status;
    int index = (int)(io - m.control);
    (void)events;
    while ((status = oar_control_take(io->fd, &kind, &value)) == OAR_OK) {
        if (kind == OAR_MSG_READY) {
            happened(OAR_EV_READY, index);
        } else if (kind == OAR_MSG_LEAVE) {
            happened(OAR_EV_LEAVE, index);
        } else if (kind == OAR_MSG_CLOSED) {
            happened(OAR_EV_CLOSED, index);
        }
    }
    if (status == OAR_CLOSED) {
        ev_io_stop(ev, io); /* its end is reaped soon */
    }
}

static void spawn(int index)
{
    struct oar_err err;
    if (oar_child_spawn(&m.spawn, (uint32_t)index, m.generation, &m.children[index], &err) !=
        OAR_OK) {
        oar_log(OAR_LOG_ERROR, "%s", err.text);
        happened(OAR_EV_DIED, index);
        return;
    }
    ev_io_init(&m.control[index], on_control, m.children[index].control_fd, EV_READ);
    ev_io_start(m.ev, &m.control[index]);
}

static void ask_to_stop(int index)
{
    if (m.children[index].pid &&
        oar_control_send(m.children[index].control_fd, OAR_MSG_STOP, 0) != OAR_OK) {
        kill(m.children[index].pid, SIGTERM);
    }
}

static void kill_child(struct oar_child *child)
{
    if (child->pid > 0) {
        child->killed = true;
        kill(-child->pid, SIGKILL); /* its group: what a handler has started goes too */
        kill(child->pid, SIGKILL);
    }
}

static void announce(void)
{
    struct oar_buf line = {0};
    char where[OAR_ADDRESS_TEXT];
    oar_buf_printf(&line, "oarlock serves %s on ", m.config->stub ? "the stub" : m.config->target);
    for (int i = 0; i < m.listeners.n; i++) {
        oar_net_describe(m.listeners.fds[i], where, sizeof where);
        oar_buf_printf(&line, "%s%s", i ? ", " : "", where);
    }
    oar_buf_printf(
        &line, " (%s, %d worker%s x %d thread%s), pid %d; stop it with Ctrl-C or kill %d",
        m.runtime, m.d.policy.n_workers, m.d.policy.n_workers == 1 ? "" : "s",
        (int)m.config->threads, m.config->threads == 1 ? "" : "s", (int)getpid(), (int)getpid());
    oar_buf_put(&line, "", 1);
    const char *text = line.failed ? "oarlock serves" : line.data;
    oar_log(OAR_LOG_INFO, "%s", text);
    if (m.ready_fd >= 0) {
        dprintf(m.ready_fd, "%s\n", text);
        close(m.ready_fd);
        m.ready_fd = -1;
    }
    oar_buf_free(&line);
}

/* What an action says, if it is to say something. */
static void say(const struct oar_action *a)
{
    const struct oar_config *c = m.config;
    switch (a->kind) {
    case OAR_DO_WARN_CUT:
        oar_log(OAR_LOG_WARNING, "--graceful-timeout (%g s) is over; what is in progress is cut",
                c->graceful_timeout);
        break;
    case OAR_DO_WARN_SLOW_START:
        oar_log(OAR_LOG_ERROR, "worker %d was not ready within --load-timeout (%g s); it is killed",
                a->index, c->load_timeout);
        break;
    case OAR_DO_WARN_SLOW_END:
        oar_log(OAR_LOG_WARNING,
                "worker %d was to leave and is not done within --graceful-timeout (%g s); what is "
                "in progress in it is cut",
                a->index, c->graceful_timeout);
        break;
    case OAR_DO_WARN_FAILING:
        oar_log(
            OAR_LOG_ERROR,
            "worker %d could not be started %d times in a row; the others serve without it, and "
            "it is tried again every %g s. The reason stands above",
            a->index, m.d.policy.child[a->index].failed, OAR_BACKOFF_MOST);
        break;
    case OAR_DO_WARN_CRASH_LOOP:
        oar_log(OAR_LOG_ERROR,
                "no worker serves, and none can be started (worker %d failed %d times in a row, "
                "--restart-limit %d); the server ends with status %d. The reason stands above",
                a->index, m.d.policy.child[a->index].failed, (int)c->restart_limit,
                OAR_STATUS_CRASH_LOOP);
        break;
    case OAR_DO_UNREADY:
        oar_log(OAR_LOG_INFO, "new connections are served for another %g s (--drain-delay)",
                c->drain_delay);
        break;
    case OAR_DO_WARN_NONE_READY:
        oar_log(OAR_LOG_ERROR,
                "no worker has become ready for %g s (--load-timeout and %g s more); the server "
                "ends with status %d. The reasons stand above",
                c->load_timeout + OAR_NONE_READY_MOST, OAR_NONE_READY_MOST, OAR_STATUS_CRASH_LOOP);
        break;
    default: break;
    }
}

static void obey(const struct oar_action *a)
{
    switch (a->kind) {
    case OAR_DO_SPAWN: spawn(a->index); break;
    case OAR_DO_STOP: ask_to_stop(a->index); break;
    case OAR_DO_KILL: kill_child(&m.children[a->index]); break;
    case OAR_DO_CANCEL: oar_loader_kill(&m.loader); break;
    case OAR_DO_ANNOUNCE: announce(); break;
    case OAR_DO_CLOSE_LISTENERS: oar_listeners_close(&m.listeners); break;
    case OAR_DO_END:
        m.ended = true;
        ev_break(m.ev, EVBREAK_ALL);
        break;
    default: say(a); break;
    }
}

/* Not the time of day, which somebody may set. */
static double now_seconds(void)
{
    return (double)oar_now_ns() / 1e9;
}

static void on_policy_timer(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)timer, (void)events;
    happened(OAR_EV_TICK, 0);
}

static void happened(enum oar_event event, int index)
{
    oar_decide(&m.d, event, index);
    if (m.d.busy) {
        return; /* an action of another event's has failed */
    }
    double next = oar_policy_next(&m.d.policy);
    ev_now_update(m.ev);
    ev_timer_stop(m.ev, &m.policy_timer);
    if (next >= 0) {
        ev_timer_init(&m.policy_timer, on_policy_timer, OAR_MAX(next - now_seconds(), 0.001), 0.);
        ev_timer_start(m.ev, &m.policy_timer);
    }
}

/* ---- the loader ---- */

static void loader_ended(enum oar_status status, const struct oar_err *err)
{
    ev_io_stop(m.ev, &m.loader_io);
    ev_timer_stop(m.ev, &m.loader_timer);
    oar_loader_free(&m.loader);
    oar_loader_kill(&m.loader);
    if (status != OAR_OK) {
        oar_log(OAR_LOG_ERROR, "%s", err->text);
    }
    happened(status == OAR_OK ? OAR_EV_LOADED : OAR_EV_LOAD_FAILED, 0);
}

static void read_loader(void)
{
    struct oar_err err;
    enum oar_status status = oar_loader_read(&m.loader, &err);
    if (status == OAR_AGAIN || m.d.policy.phase != OAR_LOADING) {
        return;
    }
    if (status == OAR_OK) {
        status = oar_loader_compile(&m.loader, m.config, &m.spawn.routes, m.runtime,
                                    sizeof m.runtime, &err);
    }
    loader_ended(status, &err);
}

static void on_loader(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev, (void)io, (void)events;
    read_loader();
}

static void on_loader_timeout(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct oar_err err;
    (void)ev, (void)timer, (void)events;
    oar_err_set(
        &err,
        "importing %s took longer than --load-timeout (%g s); raise it, or find what the import waits for",
        m.config->target, m.config->load_timeout);
    loader_ended(OAR_ERR, &err);
}

/* The loader serves nobody, and neither does what the application starts in it. */
static void give_up_servers_things(void *unused)
{
    give_up_masters_things(unused);
    for (int i = 0; i < m.listeners.n; i++) {
        close(m.listeners.fds[i]);
    }
    close(m.spawn.death_read);
    close(m.spawn.death_write);
}

static enum oar_status start_loader(struct oar_err *err)
{
    if (oar_loader_start(&m.loader, m.config, m.args->loader, give_up_servers_things, NULL, err) !=
        OAR_OK) {
        return OAR_ERR;
    }
    ev_io_init(&m.loader_io, on_loader, m.loader.fd, EV_READ);
    ev_io_start(m.ev, &m.loader_io);
    ev_timer_init(&m.loader_timer, on_loader_timeout, m.config->load_timeout, 0.);
    if (m.config->load_timeout > 0) { /* 0: no limit */
        ev_timer_start(m.ev, &m.loader_timer);
    }
    return OAR_OK;
}

/* ---- signals ---- */

static void on_stop_signal(struct ev_loop *ev, ev_signal *w, int events)
{
    (void)ev, (void)events;
    bool first = m.d.policy.phase < OAR_LEAVING;
    happened(w->signum == SIGINT ? OAR_EV_INT : OAR_EV_TERM, 0);
    if (first) {
        oar_log(OAR_LOG_INFO, "SIG%s: stopping", sigabbrev_np(w->signum));
    }
}

/* Signals that other servers reload, upgrade and scale on: nobody loses a server for trying. */
static void on_unserved_signal(struct ev_loop *ev, ev_signal *w, int events)
{
    (void)ev, (void)events;
    oar_log(OAR_LOG_WARNING,
            "SIG%s: this version cannot reload, upgrade or scale while it serves; restart the "
            "server instead",
            sigabbrev_np(w->signum));
}

static void on_status_signal(struct ev_loop *ev, ev_signal *w, int events)
{
    (void)ev, (void)w, (void)events;
    if (m.spawn.shm) {
        oar_status_log(m.spawn.shm, m.spawn.n_workers, m.spawn.n_threads);
    }
}

static void reaped(pid_t pid, int status)
{
    char how[200];
    for (int i = 0; i < m.d.policy.n_workers; i++) {
        if (m.children[i].pid == pid) {
            bool killed = m.children[i].killed;
            bool early = m.d.policy.child[i].state == OAR_CHILD_STARTING;
            oar_child_describe(status, killed, how, sizeof how);
            ev_io_stop(m.ev, &m.control[i]);
            close(m.children[i].control_fd);
            m.children[i] = (struct oar_child){.control_fd = -1};
            oar_child_clear_slots(&m.spawn, (uint32_t)i);
            /* Somebody told it to. */
            bool well = killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0 && !early);
            bool expected = m.d.policy.phase == OAR_STOPPING && well;
            happened(OAR_EV_DIED, i);
            oar_log(expected ? OAR_LOG_DEBUG
                    : well   ? OAR_LOG_INFO
                             : OAR_LOG_ERROR,
                    "worker %d [%d] %s%s", i, (int)pid, how,
                    early && WIFEXITED(status) ? " before it was ready" : "");
        }
    }
}

static void on_child(struct ev_loop *ev, ev_signal *w, int events)
{
    int status;
    siginfo_t info = {0};
    (void)ev, (void)w, (void)events;
    /* Strangers too: the master is a subreaper. */
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid > 0) {
        pid_t pid = info.si_pid;
        bool loader = pid == m.loader.pid;
        if (loader) {
            oar_loader_kill(&m.loader);
            m.loader.pid = 0;
        }
        if (waitpid(pid, &status, WNOHANG) == pid) {
            m.loader.status = loader ? status : m.loader.status;
            reaped(pid, status);
        }
        if (m.loader.pid == 0 && m.loader.fd >= 0) {
            read_loader(); /* its pipe may stay open without it */
        }
        info.si_pid = 0;
    }
}

static void watch_signals(void)
{
    static const struct {
        int number;
        void (*then)(struct ev_loop *ev, ev_signal *w, int events);
    } rows[SIGNALS] = {
        {SIGTERM, on_stop_signal},     {SIGINT, on_stop_signal},      {SIGQUIT, on_stop_signal},
        {SIGCHLD, on_child},           {SIGUSR1, on_status_signal},   {SIGHUP, on_unserved_signal},
        {SIGUSR2, on_unserved_signal}, {SIGTTIN, on_unserved_signal},
    };
    for (int i = 0; i < SIGNALS; i++) {
        ev_signal_init(&m.signals[i], rows[i].then, rows[i].number);
        ev_signal_start(m.ev, &m.signals[i]);
    }
    signal(SIGTTOU, SIG_IGN); /* else a log line to a terminal that another job has would stop us */
}

/* ---- set-up and end ---- */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void close_all(void)
{
    oar_listeners_close(&m.listeners);
    oar_loader_end(&m.loader);
    if (m.ev) {
        ev_loop_destroy(m.ev);
    }
}

static enum oar_status set_up(const struct oar_master_args *args, struct oar_err *err)
{
    m = (struct master){.args = args, .config = args->config, .loader = {.fd = -1}};
    m.ready_fd = (int)m.config->ready_fd;
    const struct oar_policy_limits limits = {.n_workers = (int)m.config->workers,
                                             .graceful = m.config->graceful_timeout,
                                             .start = m.config->load_timeout,
                                             .drain_delay = m.config->drain_delay,
                                             .restarts = (int)m.config->restart_limit};
    oar_policy_init(&m.d.policy, &limits);
    m.d.obey = obey;
    m.d.now = now_seconds;
    oar_config_warn(m.config);
    raise_descriptor_limit();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    signal(SIGPIPE, SIG_IGN);
    m.ev = ev_loop_new(EVFLAG_NOENV);
    if (!m.ev) {
        return oar_err_set(err, "cannot make an event loop: %s", strerror(errno));
    }
    ev_init(&m.policy_timer, on_policy_timer);
    watch_signals();
    if (oar_listeners_open(&m.listeners, m.config, err) != OAR_OK ||
        oar_shm_create(&m.spawn.shm, (uint32_t)m.config->workers, (uint32_t)m.config->threads,
                       err) != OAR_OK ||
        oar_death_pipe(&m.spawn, err) != OAR_OK) {
        return OAR_ERR;
    }
    m.spawn.config = m.config;
    m.spawn.n_workers = (uint32_t)m.config->workers;
    m.spawn.n_threads = (uint32_t)m.config->threads;
    m.spawn.listeners = m.listeners.fds;
    m.spawn.n_listeners = m.listeners.n;
    m.spawn.entry = args->worker;
    m.spawn.in_child = give_up_masters_things;
    m.generation = 1;
    return start_loader(err);
}

int oar_master_run(const struct oar_master_args *args)
{
    struct oar_err err;
    if (set_up(args, &err) != OAR_OK) {
        oar_log(OAR_LOG_ERROR, "%s", err.text);
        m.d.policy.status = 1;
    } else {
        while (!m.ended) {
            ev_run(m.ev, 0);
        }
        static const char *const why[] = {[OAR_STATUS_OK] = "stopped",
                                          [OAR_STATUS_START] = "stopped because it could not start",
                                          [OAR_STATUS_CRASH_LOOP] =
                                              "stopped because no worker could be started again"};
        oar_log(m.d.policy.status ? OAR_LOG_ERROR : OAR_LOG_INFO, "%s", why[m.d.policy.status]);
    }
    close_all();
    return m.d.policy.status;
}
