/* SPDX-License-Identifier: MIT
 * Connections and intervals: closed loop (each connection keeps `pipeline` requests in flight) or
 * open loop (requests are due at fixed times; latency counts from the time a request was due).
 * Process: the load generator's, one thread, epoll. Owns the connections. Every interval is
 * bounded. Talks to 127.0.0.1 only. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "load/load.h"

struct interval run;
static struct connection conns[MOST_CONNECTIONS];
static int idle[MOST_CONNECTIONS], n_idle, n_connecting;
static int epoll_fd, timer_fd = -1;

static bool more_wanted(void)
{
    return opt.requests ? run.sent < opt.requests : load_now() < run.ends;
}

/* In the proportion of the weights; the same sequence for every server. */
static int next_kind(void)
{
    int at = 0;
    if (n_kinds > 1) {
        run.random ^= run.random << 13;
        run.random ^= run.random >> 7;
        run.random ^= run.random << 17;
        int left = (int)(run.random % (uint64_t)total_weight);
        while (left >= kinds[at].weight) {
            left -= kinds[at++].weight;
        }
    }
    return at;
}

static void watch(struct connection *c, int op, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(epoll_fd, op, c->fd, &e);
}

static void open_connection(struct connection *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)opt.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    c->in_flight = 0;
    c->have = c->unsent = 0;
    c->connecting = true;
    n_connecting++;
    if (c->fd < 0) {
        perror("load: socket");
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
        run.refused++;
    }
    watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void push(struct connection *c, int kind, uint64_t due)
{
    c->ring[(c->first + c->in_flight++) % MOST_PIPELINE] = (struct flight){due, kind};
    run.sent++;
}

/* The rest of a request that is larger than what the socket took. */
static void send_rest(struct connection *c)
{
    ssize_t w = send(c->fd, c->unsent_at, c->unsent, MSG_NOSIGNAL);
    size_t sent = w > 0 ? (size_t)w : 0;
    c->unsent -= sent;
    c->unsent_at += sent;
    if (c->unsent == 0) {
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
}

static void send_one(struct connection *c, uint64_t due)
{
    int n = next_kind();
    bool asks = opt.rate > 0;
    const char *request = asks ? kinds[n].asking : kinds[n].request;
    size_t len = asks ? kinds[n].asking_len : kinds[n].request_len;
    push(c, n, due);
    ssize_t w = send(c->fd, request, len, MSG_NOSIGNAL);
    size_t sent = w > 0 ? (size_t)w : 0;
    if (sent < len) {
        c->unsent = len - sent;
        c->unsent_at = request + sent;
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
}

static void send_batch(struct connection *c, int n)
{
    uint64_t now = load_now();
    for (int i = 0; i < n; i++) {
        push(c, 0, now);
    }
    size_t len = kinds[0].request_len * (size_t)n;
    if (send(c->fd, batch, len, MSG_NOSIGNAL) < (ssize_t)len) {
        run.errors++; /* the socket's buffer holds far more than a batch */
    }
}

/* The connection has no request in flight. */
static void refill(struct connection *c)
{
    if (opt.rate > 0 || !more_wanted()) {
        if (!c->is_idle) {
            c->is_idle = true;
            idle[n_idle++] = (int)(c - conns);
        }
    } else if (opt.pipeline == 1) {
        send_one(c, load_now());
    } else {
        uint64_t left = opt.requests ? opt.requests - run.sent : UINT64_MAX;
        send_batch(c, (int)OAR_MIN((uint64_t)opt.pipeline, left));
    }
}

static void not_idle(struct connection *c)
{
    for (int i = 0; c->is_idle && i < n_idle; i++) {
        if (idle[i] == (int)(c - conns)) {
            idle[i] = idle[--n_idle];
            c->is_idle = false;
        }
    }
}

static void lost(struct connection *c, bool expected)
{
    if (!expected) {
        run.resets++;
        run.errors += (uint64_t)c->in_flight;
    }
    n_connecting -= c->connecting;
    close(c->fd);
    not_idle(c);
    c->in_flight = 0;
    open_connection(c);
}

static void count_parts(const struct response *r, uint64_t due, uint64_t now)
{
    unsigned bucket = histogram_bucket(now - due);
    double before = r->read_ns > due ? (double)(r->read_ns - due) : 0;
    double known = before;
    for (int i = PART_QUEUE; i < PART_WRITE; i++) {
        run.part_sum[bucket][i] += (double)r->part[i];
        known += (double)r->part[i];
    }
    run.part_sum[bucket][PART_QUEUE] += before;
    run.part_sum[bucket][PART_WRITE] += OAR_MAX((double)(now - due) - known, 0);
    run.part_count[bucket]++;
}

/* true: the connection was replaced. */
static bool take_responses(struct connection *c, bool ended)
{
    size_t at = 0;
    bool gone = false;
    uint64_t now = load_now();
    while (c->in_flight > 0 && !gone) {
        const struct flight *f = &c->ring[c->first];
        struct kind *k = &kinds[f->kind];
        struct response r = response_at(k, c->buf + at, c->have - at, ended);
        if (r.len == 0) {
            break;
        }
        if (r.len == SIZE_MAX) {
            lost(c, false);
            return true;
        }
        at += r.len;
        c->first = (c->first + 1) % MOST_PIPELINE;
        c->in_flight--;
        run.completed++;
        run.last_completed = now;
        response_check(k, &r);
        if (now >= run.counts_from && (opt.rate > 0 || opt.requests || now <= run.ends) &&
            (opt.rate <= 0 || f->due >= run.counts_from)) {
            run.counted++;
            histogram_add(&run.latency, now - f->due);
            histogram_add(&k->latency, now - f->due);
            if (r.timed) {
                count_parts(&r, f->due, now);
            }
        }
        gone = r.closes;
    }
    if (gone || (opt.reconnect && c->in_flight == 0)) {
        lost(c, c->in_flight == 0);
        return true;
    }
    c->have -= at;
    memmove(c->buf, c->buf + at, c->have);
    if (c->in_flight == 0) {
        refill(c);
    }
    return false;
}

static void receive(struct connection *c)
{
    if (c->have == c->room) {
        c->room *= 2;
        c->buf = c->room > (size_t)MOST_RESPONSE ? NULL : realloc(c->buf, c->room);
        if (!c->buf) {
            fprintf(stderr, "load: a response is larger than %d bytes\n", MOST_RESPONSE);
            exit(1);
        }
    }
    ssize_t n = recv(c->fd, c->buf + c->have, c->room - c->have, 0);
    if (n > 0) {
        c->have += (size_t)n;
        take_responses(c, false);
    } else if (n == 0 && c->have && c->in_flight && take_responses(c, true)) {
        return; /* the last one ended with the connection, which was replaced */
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        lost(c, c->in_flight == 0);
    }
}

static void on_event(struct connection *c, uint32_t events)
{
    if (c->connecting && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            run.refused++;
            lost(c, true);
            return;
        }
        c->connecting = false;
        n_connecting--;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        refill(c);
    } else if (c->unsent && (events & EPOLLOUT)) {
        send_rest(c);
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        receive(c);
    }
}

/* Open loop: everything that is due goes out on idle connections, oldest first. */
static void send_due(void)
{
    uint64_t total = (uint64_t)(opt.rate * (opt.seconds + opt.ramp));
    while (run.due_sent < total) {
        uint64_t now = load_now();
        uint64_t due = run.started + (uint64_t)((double)run.due_sent * 1e9 / opt.rate);
        if (due > now || n_idle == 0) {
            long wait = due > now ? (long)OAR_MIN(due - now, 999999999u) : 100000;
            struct itimerspec when = {.it_value = {.tv_nsec = OAR_MAX(wait, 1)}};
            timerfd_settime(timer_fd, 0, &when, NULL);
            return;
        }
        struct connection *c = &conns[idle[--n_idle]];
        c->is_idle = false;
        run.late += now - due > 1000000u;
        send_one(c, due);
        run.due_sent++;
    }
}

static uint64_t in_flight(void)
{
    uint64_t n = 0;
    for (int i = 0; i < opt.connections; i++) {
        n += (uint64_t)conns[i].in_flight;
    }
    return n;
}

static bool is_over(uint64_t now)
{
    bool over = opt.requests ? run.completed + run.errors >= opt.requests : now >= run.ends;
    if (over && opt.rate > 0) {
        over = run.due_sent >= (uint64_t)(opt.rate * (opt.seconds + opt.ramp)) ||
               now > run.ends + 5000000000u;
    }
    return over && in_flight() == 0;
}

static void turn(int wait_ms)
{
    struct epoll_event events[512];
    int n = epoll_wait(epoll_fd, events, 512, wait_ms);
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == NULL) {
            uint64_t expirations;
            (void)!read(timer_fd, &expirations, sizeof expirations);
        } else {
            on_event(events[i].data.ptr, events[i].events);
        }
    }
}

static void begin(void)
{
    memset(&run, 0, sizeof run);
    run.random = 0x9e3779b97f4a7c15u;
    run.started = load_now();
    run.counts_from = run.started + (uint64_t)(opt.ramp * 1e9);
    run.ends = run.counts_from + (uint64_t)(opt.seconds * 1e9);
    for (int i = 0; i < n_kinds; i++) {
        kinds[i].good = kinds[i].bad_status = kinds[i].mismatched = 0;
        memset(&kinds[i].latency, 0, sizeof kinds[i].latency);
    }
    if (opt.rate <= 0) { /* closed loop: every connection that has nothing to do begins */
        while (n_idle > 0 && more_wanted()) {
            struct connection *c = &conns[idle[--n_idle]];
            c->is_idle = false;
            refill(c);
        }
    }
}

void load_interval(void)
{
    begin();
    uint64_t give_up = run.ends + 30000000000u;
    do {
        if (opt.rate > 0) {
            send_due();
        }
        turn(20);
    } while (!is_over(load_now()) && load_now() < give_up);
    run.errors += in_flight();
}

void load_open_all(void)
{
    for (int i = 0; i < opt.connections; i++) {
        if (!conns[i].buf) {
            conns[i].room = FIRST_BUFFER;
            conns[i].buf = malloc(FIRST_BUFFER);
            open_connection(&conns[i]);
        } else {
            lost(&conns[i], true);
        }
    }
}

/* Connections that the server has closed meanwhile are opened anew before the next interval. */
void load_settle(void)
{
    uint64_t end = load_now() + 10000000000u;
    do {
        turn(n_connecting ? 20 : 0);
    } while (n_connecting > 0 && load_now() < end);
}

void load_init(void)
{
    struct epoll_event e = {.events = EPOLLIN};
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &e);
}
