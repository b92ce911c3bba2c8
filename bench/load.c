/* SPDX-License-Identifier: MIT
 * A load generator lighter than the servers it measures: one thread, epoll, one request repeated.
 * Closed loop (each connection keeps `pipeline` requests in flight) or open loop (--rate: requests
 * are due at fixed times; latency counts from the time a request was due). Every response's status
 * is checked; its length is learned from the first and checked on all. Prints one line of JSON.
 * Process: its own. Owns everything; bounded by --seconds or --requests. Talks to 127.0.0.1 only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "oarlock/base.h"

enum { MOST_CONNECTIONS = 16384, MOST_PIPELINE = 64, BUFFER = 65536, SUB = 32, BUCKETS = 64 * SUB };

struct connection {
    int fd;
    int in_flight; /* requests sent and not answered */
    int unsent;    /* bytes of a request that the socket did not take */
    bool connecting;
    uint64_t due[MOST_PIPELINE]; /* ring: when each was due */
    int first;
    uint32_t have; /* bytes of an incomplete response at the start of buf */
    char *buf;
};

static struct {
    int port, connections, pipeline;
    double seconds, rate;
    uint64_t requests; /* 0: until the time is over */
    bool reconnect;    /* a new connection for each request */
    const char *method, *path, *body, *header;
} opt = {.connections = 64,
         .pipeline = 1,
         .seconds = 2,
         .method = "GET",
         .path = "/",
         .body = "",
         .header = ""};

static struct connection conns[MOST_CONNECTIONS];
static int idle[MOST_CONNECTIONS], n_idle;
static char request[8192], batch[8192 * 8];
static size_t request_len;
static int epoll_fd, timer_fd = -1;
static uint64_t histogram[BUCKETS], sent, completed, errors, bad_status, resets, refused, late_max;
static uint64_t started, ends;
static size_t response_len; /* learned */

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void record(uint64_t ns)
{
    unsigned exponent = ns < SUB ? 0 : 63u - (unsigned)__builtin_clzll(ns) - 4u;
    uint64_t sub = ns >> exponent;
    uint64_t bucket = exponent * (SUB / 2) + sub;
    histogram[OAR_MIN(bucket, (uint64_t)BUCKETS - 1)]++;
}

static uint64_t value_of(uint64_t bucket)
{
    if (bucket < SUB) {
        return bucket;
    }
    uint64_t exponent = bucket / (SUB / 2) - 1;
    return (bucket - exponent * (SUB / 2)) << exponent;
}

static double percentile(double p)
{
    uint64_t total = 0;
    uint64_t seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        total += histogram[i];
    }
    for (uint64_t i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (total && (double)seen >= p * (double)total) {
            return (double)value_of(i) / 1000.0;
        }
    }
    return 0;
}

static bool more_wanted(void)
{
    return opt.requests ? sent < opt.requests : now_ns() < ends;
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
    c->in_flight = c->unsent = 0;
    c->have = 0;
    c->connecting = true;
    if (c->fd < 0) {
        perror("load: socket");
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
        refused++;
    }
    watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

/* Sends `n` more requests that were due at `due`. */
static void send_requests(struct connection *c, int n, uint64_t due)
{
    size_t len = request_len * (size_t)n;
    for (int i = 0; i < n; i++) {
        c->due[(c->first + c->in_flight++) % MOST_PIPELINE] = due;
    }
    sent += (uint64_t)n;
    ssize_t w = send(c->fd, batch, len, MSG_NOSIGNAL);
    if (w < (ssize_t)len) { /* the socket buffer holds far more than a batch: this is an error */
        errors++;
    }
}

static void refill(struct connection *c)
{
    if (opt.rate > 0) {
        idle[n_idle++] = (int)(c - conns);
        return;
    }
    if (c->in_flight == 0 && more_wanted()) {
        int n = opt.pipeline;
        if (opt.requests && opt.requests - sent < (uint64_t)n) {
            n = (int)(opt.requests - sent);
        }
        send_requests(c, n, now_ns());
    }
}

static void lost(struct connection *c, bool expected)
{
    if (!expected) {
        resets++;
        errors += (uint64_t)c->in_flight;
    }
    close(c->fd);
    for (int i = 0; i < n_idle; i++) {
        if (idle[i] == (int)(c - conns)) {
            idle[i--] = idle[--n_idle];
        }
    }
    if (more_wanted()) {
        open_connection(c);
    } else {
        c->fd = -1;
    }
}

/* Length of the complete response at `p`, 0: not complete. */
static size_t response_at(const char *p, size_t len)
{
    if (response_len && len >= response_len && memcmp(p, "HTTP/1.1 2", 10) == 0) {
        return response_len;
    }
    const char *end = memmem(p, len, "\r\n\r\n", 4);
    if (!end) {
        return 0;
    }
    size_t body = 0;
    for (const char *line = p; line && line < end;
         line = memchr(line, '\n', (size_t)(end - line))) {
        line += *line == '\n';
        if (strncasecmp(line, "content-length:", 15) == 0) {
            body = strtoul(line + 15, NULL, 10);
        }
    }
    size_t total = (size_t)(end - p) + 4 + body;
    if (len < total) {
        return 0;
    }
    if (memcmp(p, "HTTP/1.1 2", 10) != 0) {
        bad_status++;
    } else if (!response_len) {
        response_len = total;
    }
    return total;
}

static void take_responses(struct connection *c, size_t len)
{
    size_t at = 0;
    uint64_t now = now_ns();
    for (size_t n; c->in_flight > 0 && (n = response_at(c->buf + at, len - at)) > 0; at += n) {
        uint64_t due = c->due[c->first];
        c->first = (c->first + 1) % MOST_PIPELINE;
        c->in_flight--;
        completed++;
        record(now - due);
        late_max = OAR_MAX(late_max, now - due);
    }
    c->have = (uint32_t)(len - at);
    memmove(c->buf, c->buf + at, c->have);
    if (c->in_flight == 0) {
        if (opt.reconnect) {
            lost(c, true);
        } else {
            refill(c);
        }
    }
}

static void on_event(struct connection *c, uint32_t events)
{
    if (c->connecting && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            refused++;
            lost(c, true);
            return;
        }
        c->connecting = false;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        refill(c);
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        ssize_t n = recv(c->fd, c->buf + c->have, BUFFER - c->have, 0);
        if (n > 0) {
            take_responses(c, c->have + (size_t)n);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            lost(c, c->in_flight == 0);
        }
    }
}

/* Open loop: everything that is due goes out on idle connections, oldest first. */
static void send_due(void)
{
    static uint64_t next;
    uint64_t now = now_ns();
    uint64_t total = (uint64_t)(opt.rate * opt.seconds);
    while (next < total) {
        uint64_t due = started + (uint64_t)((double)next * 1e9 / opt.rate);
        if (due > now || n_idle == 0) {
            struct itimerspec when = {
                .it_value = {.tv_nsec = due > now ? (long)OAR_MIN(due - now, 999999999u) : 100000}};
            timerfd_settime(timer_fd, 0, &when, NULL);
            return;
        }
        send_requests(&conns[idle[--n_idle]], 1, due);
        next++;
    }
}

static void run(void)
{
    struct epoll_event events[512];
    uint64_t give_up = started + (uint64_t)((opt.seconds + 20) * 1e9);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 512, 100);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL) {
                uint64_t expirations;
                (void)!read(timer_fd, &expirations, sizeof expirations);
            } else {
                on_event(events[i].data.ptr, events[i].events);
            }
        }
        if (opt.rate > 0) {
            send_due();
        }
        uint64_t now = now_ns();
        bool over = opt.requests ? completed + errors >= opt.requests : now >= ends;
        if (over && opt.rate > 0) {
            over = completed + errors >= sent || now > ends + 5000000000u;
        }
        if (over || now > give_up) {
            return;
        }
    }
}

static void prepare_request(void)
{
    size_t body = strlen(opt.body);
    int n = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s",
                     opt.method, opt.path, opt.port, opt.header, *opt.header ? "\r\n" : "");
    if (body) {
        n += snprintf(request + n, sizeof request - (size_t)n,
                      "Content-Type: application/json\r\nContent-Length: %zu\r\n", body);
    }
    n += snprintf(request + n, sizeof request - (size_t)n, "\r\n%s", opt.body);
    request_len = (size_t)n;
    if (request_len * (size_t)opt.pipeline > sizeof batch || request_len >= sizeof request) {
        fprintf(stderr, "load: the request is too long\n");
        exit(2);
    }
    for (int i = 0; i < opt.pipeline; i++) {
        memcpy(batch + (size_t)i * request_len, request, request_len);
    }
}

static void report(double elapsed)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double user = (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6;
    double sys = (double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec / 1e6;
    printf(
        "{\"requests\": %llu, \"seconds\": %.4f, \"rate\": %.1f, \"errors\": %llu, \"bad_status\": %llu, "
        "\"resets\": %llu, \"refused\": %llu, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, "
        "\"p999_us\": %.1f, \"max_us\": %.1f, \"generator_cpu\": %.4f}\n",
        (unsigned long long)completed, elapsed, (double)completed / elapsed,
        (unsigned long long)errors, (unsigned long long)bad_status, (unsigned long long)resets,
        (unsigned long long)refused, percentile(.5), percentile(.9), percentile(.99),
        percentile(.999), (double)late_max / 1000.0, user + sys);
}

static void usage(void)
{
    fprintf(
        stderr,
        "usage: load --port N [--path /] [--connections 64] [--pipeline 1] [--seconds 2 | --requests N]\n"
        "            [--rate R] [--reconnect] [--method M] [--body TEXT] [--header 'Name: value']\n"
        "repeats one request to 127.0.0.1:N and prints one line of JSON\n");
    exit(2);
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", 1, 0, 'p'},     {"path", 1, 0, 'a'},      {"connections", 1, 0, 'c'},
        {"pipeline", 1, 0, 'l'}, {"seconds", 1, 0, 's'},   {"requests", 1, 0, 'n'},
        {"rate", 1, 0, 'r'},     {"reconnect", 0, 0, 'x'}, {"method", 1, 0, 'm'},
        {"body", 1, 0, 'b'},     {"header", 1, 0, 'h'},    {0, 0, 0, 0}};
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (o) {
        case 'p': opt.port = atoi(optarg); break;
        case 'a': opt.path = optarg; break;
        case 'c': opt.connections = atoi(optarg); break;
        case 'l': opt.pipeline = atoi(optarg); break;
        case 's': opt.seconds = atof(optarg); break;
        case 'n':
            opt.requests = strtoull(optarg, NULL, 10);
            opt.seconds = 600;
            break;
        case 'r': opt.rate = atof(optarg); break;
        case 'x': opt.reconnect = true; break;
        case 'm': opt.method = optarg; break;
        case 'b': opt.body = optarg; break;
        case 'h': opt.header = optarg; break;
        default: usage();
        }
    }
    if (opt.port <= 0 || opt.connections < 1 || opt.connections > MOST_CONNECTIONS ||
        opt.pipeline < 1 || opt.pipeline > MOST_PIPELINE || opt.seconds <= 0) {
        usage();
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    prepare_request();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (opt.rate > 0) {
        struct epoll_event e = {.events = EPOLLIN};
        timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &e);
    }
    started = now_ns();
    ends = started + (uint64_t)(opt.seconds * 1e9);
    for (int i = 0; i < opt.connections; i++) {
        conns[i].buf = malloc(BUFFER);
        open_connection(&conns[i]);
    }
    run();
    report((double)(now_ns() - started) / 1e9);
    return 0;
}
