/* SPDX-License-Identifier: MIT
 * Sockets, clock and libev's waiting without a kernel: see wire.h. Each __wrap function stands in
 * for the one of its name, for descriptors from WIRE_FD on. */
#include "tests/unit/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct wire wires[WIRES];
uint64_t wire_seed;
double wire_clock, wire_wall;
unsigned wire_progress, wire_events;
struct oar_thread wire_thread;
struct oar_worker wire_worker;
struct oar_config wire_config;

enum { TIMERS = 8 };
static ev_timer *timers[TIMERS];
static ev_loop_callback invoke;

unsigned wire_pick(unsigned n)
{
    wire_seed = wire_seed * 6364136223846793005u + 1442695040888963407u;
    return n ? (unsigned)((wire_seed >> 33) % n) : 0;
}

/* ---- sockets ---- */

int __real_close(int fd);
int __wrap_close(int fd);
ssize_t __wrap_recv(int fd, void *to, size_t room, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
int __wrap_shutdown(int fd, int how);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);

static struct wire *of(int fd)
{
    return fd >= WIRE_FD && fd < WIRE_FD + WIRES ? &wires[fd - WIRE_FD] : NULL;
}

static size_t limited(size_t n, unsigned most)
{
    size_t limit = most ? (size_t)wire_pick(most) + 1 : n; /* OAR_MIN takes its arguments twice */
    return OAR_MIN(n, limit);
}

ssize_t __wrap_recv(int fd, void *to, size_t room, int flags)
{
    struct wire *w = of(fd);
    size_t most = limited(room, w->most_read);
    size_t n = OAR_MIN(w->arrived - w->taken, most);
    (void)flags;
    w->reads++;
    if (w->reset) {
        errno = ECONNRESET;
        return -1;
    }
    if (n == 0 && !(w->fin && w->arrived == w->taken)) {
        errno = EAGAIN;
        return -1;
    }
    if (n > 0) {
        memcpy(to, w->bytes + w->taken, n);
    }
    w->taken += n;
    wire_progress += n > 0;
    return (ssize_t)n;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags)
{
    struct wire *w = of(fd);
    size_t most = limited(len, w->most_write);
    size_t n = OAR_MIN(most, w->room);
    (void)flags;
    if (w->reset || w->shut) {
        errno = EPIPE;
        return -1;
    }
    if (n == 0 && len > 0) {
        errno = EAGAIN;
        return -1;
    }
    oar_buf_put(&w->got, bytes, n);
    w->room -= n;
    wire_progress += n > 0;
    return (ssize_t)n;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t all = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        const struct iovec *v = &message->msg_iov[i];
        ssize_t n = __wrap_send(fd, v->iov_base, v->iov_len, flags);
        if (n < 0) {
            return all > 0 ? all : n;
        }
        all += n;
        if ((size_t)n < v->iov_len) {
            break;
        }
    }
    return all;
}

int __wrap_close(int fd)
{
    struct wire *w = of(fd);
    if (!w) {
        return __real_close(fd);
    }
    w->open = false;
    w->cut = w->cut || w->taken < w->arrived; /* Linux: unread bytes make a close a reset */
    wire_progress++;
    return 0;
}

int __wrap_shutdown(int fd, int how)
{
    (void)how;
    of(fd)->shut = true;
    wire_progress++;
    return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    (void)value, (void)len;
    if (level == SOL_SOCKET && name == SO_LINGER) {
        of(fd)->cut = true;
    }
    return 0;
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
    (void)n, (void)timeout;
    const struct wire *w = of(fds->fd);
    fds->revents = w->reset ? POLLERR | POLLHUP : 0;
    fds->revents |= (short)(w->fin ? fds->events & POLLRDHUP : 0);
    return fds->revents != 0;
}

/* ---- the clock, and libev's timers and waiting ---- */

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
ev_tstamp __wrap_ev_now(struct ev_loop *ev);
void __wrap_ev_now_update(struct ev_loop *ev);
void __wrap_ev_timer_start(struct ev_loop *ev, ev_timer *w);
void __wrap_ev_timer_stop(struct ev_loop *ev, ev_timer *w);
ev_tstamp __wrap_ev_timer_remaining(struct ev_loop *ev, ev_timer *w);
void __wrap_ev_io_start(struct ev_loop *ev, ev_io *w);
void __wrap_ev_io_stop(struct ev_loop *ev, ev_io *w);
void __wrap_ev_set_invoke_pending_cb(struct ev_loop *ev, ev_loop_callback cb);
int __wrap_ev_run(struct ev_loop *ev, int flags);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
    double now = id == CLOCK_REALTIME ? wire_wall : wire_clock;
    ts->tv_sec = (time_t)now;
    ts->tv_nsec = (long)((now - (double)ts->tv_sec) * 1e9);
    return 0;
}

ev_tstamp __wrap_ev_now(struct ev_loop *ev)
{
    (void)ev;
    return wire_wall;
}

void __wrap_ev_now_update(struct ev_loop *ev)
{
    (void)ev;
}

void __wrap_ev_timer_start(struct ev_loop *ev, ev_timer *w)
{
    int i = 0;
    (void)ev;
    while (i < TIMERS && timers[i] && timers[i] != w) {
        i++;
    }
    if (i == TIMERS) {
        abort();
    }
    if (!w->active) {
        timers[i] = w;
        w->at += wire_clock;
        w->active = i + 1;
    }
}

void __wrap_ev_timer_stop(struct ev_loop *ev, ev_timer *w)
{
    (void)ev;
    if (w->active) {
        timers[w->active - 1] = NULL;
        w->active = 0;
    }
}

ev_tstamp __wrap_ev_timer_remaining(struct ev_loop *ev, ev_timer *w)
{
    (void)ev;
    return w->active ? w->at - wire_clock : w->at;
}

void __wrap_ev_io_start(struct ev_loop *ev, ev_io *w)
{
    struct wire *wire = of(w->fd);
    (void)ev;
    w->active = 1;
    if (wire) {
        wire->io = w;
    }
}

void __wrap_ev_io_stop(struct ev_loop *ev, ev_io *w)
{
    struct wire *wire = of(w->fd);
    (void)ev;
    w->active = 0;
    if (wire) {
        wire->io = NULL;
    }
}

static int ready(const struct wire *w)
{
    int events = 0;
    if (w->io) {
        events |= (w->arrived > w->taken || w->fin || w->reset) ? EV_READ : 0;
        events |= (w->room > 0 || w->reset) ? EV_WRITE : 0;
        events &= w->io->events;
    }
    return events;
}

void __wrap_ev_set_invoke_pending_cb(struct ev_loop *ev, ev_loop_callback cb)
{
    (void)ev;
    invoke = cb;
}

/* Timers before descriptors, as libev invokes them. */
int __wrap_ev_run(struct ev_loop *ev, int flags)
{
    unsigned first = wire_pick(WIRES);
    (void)flags;
    if (invoke) {
        invoke(ev);
    }
    for (int i = 0; i < TIMERS; i++) {
        ev_timer *timer = timers[i];
        if (timer && timer->at <= wire_clock && timer->cb) {
            __wrap_ev_timer_stop(ev, timer);
            timer->cb(ev, timer, EV_TIMER);
        }
    }
    for (unsigned i = 0; i < WIRES; i++) {
        struct wire *w = &wires[(first + i) % WIRES];
        int events = ready(w);
        if (events) {
            wire_events++;
            w->io->cb(ev, w->io, events);
        }
    }
    return 1;
}

/* ---- the server's thread ---- */

char wire_pattern[WIRE_PATTERN];

void wire_setup(void)
{
    struct oar_err err;
    struct oar_shm *shm;
    char *arguments[] = {(char[]){"oarlock"}, (char[]){"run"}, (char[]){"--stub"}, NULL};
    char *nothing[] = {NULL};
    oar_log_init("test", OAR_LOG_ERROR);
    if (oar_config_parse(&wire_config, 3, arguments, nothing, &err) != OAR_OK ||
        oar_shm_create(&shm, 1, 1, &err) != OAR_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(2);
    }
    for (size_t i = 0; i < sizeof wire_pattern; i++) {
        wire_pattern[i] = (char)('a' + (i * 31 + i / 97 * 7) % 26);
    }
    wire_worker = (struct oar_worker){.config = &wire_config,
                                      .routes = wire_routes(),
                                      .app = &wire_app,
                                      .shm = shm,
                                      .threads = &wire_thread,
                                      .n_threads = 1};
}

void wire_begin(void)
{
    wire_thread = (struct oar_thread){0};
    for (int i = 0; i < WIRES; i++) {
        oar_buf_free(&wires[i].got);
        wires[i] = (struct wire){0};
    }
    memset(timers, 0, sizeof timers);
    wire_worker.draining = 0;
    oar_thread_init(&wire_thread, &wire_worker, 0);
}

void wire_end(void)
{
    oar_thread_free(&wire_thread);
    wire_app_forget();
    for (int i = 0; i < WIRES; i++) {
        oar_buf_free(&wires[i].got);
    }
}

int wire_connect(void)
{
    static const struct oar_peer peer = {.family = AF_INET, .port = 1, .address = {127, 0, 0, 1}};
    int i = 0;
    while (i < WIRES && wires[i].open) {
        i++;
    }
    if (i == WIRES) {
        abort();
    }
    oar_buf_free(&wires[i].got);
    wires[i] = (struct wire){.open = true, .room = SIZE_MAX / 2};
    oar_conn_open(&wire_thread, WIRE_FD + i, &peer);
    return i;
}

bool wire_round(void)
{
    struct oar_fired fired[4];
    unsigned before = wire_progress;
    oar_host.poll(&wire_thread, wire_pick(2) ? 0 : -1, fired, 4);
    return wire_progress != before;
}
