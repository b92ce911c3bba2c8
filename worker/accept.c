/* SPDX-License-Identifier: MIT
 * Accepts from sockets that all threads of all workers share, gated by the thread's fair share:
 * decision 001. A thread with more connections than its share leaves a new one to the others for a
 * moment (PATIENCE), then takes it after all: nobody waits for balance longer than that. Process:
 * worker, on each loop's thread. Owns accepted descriptors until a connection has them. Never spins
 * when descriptors run out: accepting pauses, what is open is served. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/clock.h"
#include "worker/conn.h"

#define PATIENCE \
    0.010 /* seconds; half of it is the usual wait, a fifth of the 50 ms that are promised */
#define EXHAUSTED_PAUSE 0.100
#define STUCK 0.100
#define ACCEPTS_A_TURN 8 /* served requests go between */

/* A thread that waits for events takes a connection at once. One that has been at something else
 * for STUCK seconds is not waited for. Not sooner: a thread that only lost its core for a moment
 * counts, or another one, maybe a worker that has just started, would take all that comes. */
static bool takes_connections(const struct oar_slot *s, uint64_t now)
{
    uint64_t since = OAR_GET_NOW(s->phase_since);
    bool late = now > since && now - since > (uint64_t)(STUCK * 1e9);
    return OAR_GET_NOW(s->state) == OAR_SLOT_SERVING &&
           (OAR_GET_NOW(s->phase) == OAR_PHASE_WAIT || !late);
}

/* The most connections that a thread may have and take another: 1.125 x the mean of those that take
 * some, + 1. */
static uint32_t find_fair_share(const struct oar_thread *t)
{
    struct oar_shm *shm = t->worker->shm;
    uint32_t slots = t->worker->n_slots;
    uint64_t now = oar_now_ns();
    uint64_t sum = 0;
    uint32_t taking = 0;
    for (uint32_t i = 0; i < slots; i++) {
        const struct oar_slot *s = oar_shm_slot(shm, i);
        if (s == t->slot || takes_connections(s, now)) {
            sum += OAR_GET_NOW(s->connections);
            taking++;
        }
    }
    return taking < 2 ? UINT32_MAX : (uint32_t)(sum * 9 / ((uint64_t)taking * 8)) + 1;
}

/* May this thread take one more now? The slots of all threads are read at most once a millisecond,
 * unless the answer is no, whatever the number of connections that come. */
static bool has_room(struct oar_thread *t)
{
    bool news = t->n_conns > t->fair_share && t->now > t->share_since;
    if (news || t->now >= t->share_since + 0.001) {
        t->share_since = t->now;
        t->fair_share = find_fair_share(t);
    }
    return t->n_conns <= t->fair_share;
}

static void pause_accepting(struct oar_thread *t, double seconds)
{
    for (int i = 0; i < t->worker->n_listeners; i++) {
        ev_io_stop(t->ev, &t->accept[i]);
    }
    ev_timer_stop(t->ev, &t->accept_timer);
    ev_timer_set(&t->accept_timer, seconds, 0.);
    ev_timer_start(t->ev, &t->accept_timer);
}

static struct oar_peer peer_of(const struct sockaddr_storage *from)
{
    struct oar_peer peer = {.family = (uint8_t)from->ss_family};
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)from;
        peer.port = ntohs(in->sin_port);
        memcpy(peer.address, &in->sin_addr, 4);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)from;
        peer.port = ntohs(in->sin6_port);
        memcpy(peer.address, &in->sin6_addr, 16);
        oar_peer_unmap(&peer);
    }
    return peer;
}

/* One connection from the listener. false: there is none now, or none can be taken. */
static bool take_one(struct oar_thread *t, int listener)
{
    struct sockaddr_storage from = {.ss_family = AF_UNIX};
    socklen_t len = sizeof from;
    int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        struct oar_peer peer = peer_of(&from);
        OAR_ADD(t->slot->accepted, 1);
        if (t->n_conns >= t->max_connections) {
            oar_conn_evict_idle(t);
        }
        oar_conn_open(t, fd, &peer);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        oar_log(OAR_LOG_ERROR,
                "cannot accept: %s; %u connections are open in this thread. "
                "Raise the limit of open files, or lower --max-connections",
                errno == EMFILE ? "no file descriptor is left (RLIMIT_NOFILE)"
                                : "the system is out of memory or files",
                t->n_conns);
        pause_accepting(t, EXHAUSTED_PAUSE);
    }
    return false;
}

/* No connection can be taken: there are as many as may be, and none that is idle could make room. */
static bool full(const struct oar_thread *t)
{
    return t->n_conns >= t->max_connections && oar_list_empty(&t->deadlines[OAR_DL_IDLE]);
}

static void on_accept(struct ev_loop *ev, ev_io *io, int events)
{
    struct oar_thread *t = ev_userdata(ev);
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        if (full(t)) {
            pause_accepting(t, EXHAUSTED_PAUSE);
            break;
        }
        if (!has_room(t)) {
            pause_accepting(t, PATIENCE);
            break;
        }
        if (!take_one(t, io->fd)) {
            break;
        }
    }
}

/* Patience is over: one connection from each listener is taken whatever the share. */
static void on_pause_over(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct oar_thread *t = ev_userdata(ev);
    (void)events;
    ev_timer_stop(ev, timer);
    if (!t->accepting) {
        return;
    }
    for (int i = 0; i < t->worker->n_listeners; i++) {
        ev_io_start(ev, &t->accept[i]);
    }
    for (int i = 0; i < t->worker->n_listeners && !full(t); i++) {
        if (!take_one(t, t->worker->listeners[i]) && ev_is_active(timer)) {
            break; /* out of descriptors: paused again */
        }
    }
}

void oar_accept_start(struct oar_thread *t)
{
    ev_init(&t->accept_timer, on_pause_over);
    for (int i = 0; i < t->worker->n_listeners; i++) {
        ev_io_init(&t->accept[i], on_accept, t->worker->listeners[i], EV_READ);
        ev_io_start(t->ev, &t->accept[i]);
    }
    t->accepting = true;
}

/* Stops accepting, after taking what the kernel has queued: those clients were promised an answer.
 */
void oar_accept_stop(struct oar_thread *t)
{
    if (!t->accepting) {
        return;
    }
    t->accepting = false;
    ev_timer_stop(t->ev, &t->accept_timer);
    for (int i = 0; i < t->worker->n_listeners; i++) {
        ev_io_stop(t->ev, &t->accept[i]);
        int64_t left = t->worker->config->backlog;
        while (left-- > 0 && !full(t) && take_one(t, t->worker->listeners[i])) {
        }
        ev_timer_stop(t->ev, &t->accept_timer); /* a lack of descriptors may have started it */
    }
}
