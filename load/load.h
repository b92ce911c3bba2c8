/* SPDX-License-Identifier: MIT
 * The load generator's own contract: kinds of request, what is counted of each, connections. */
#ifndef OARLOCK_LOAD_H
#define OARLOCK_LOAD_H

#include "oarlock/base.h"

enum {
    MOST_CONNECTIONS = 16384,
    MOST_PIPELINE = 64,
    MOST_KINDS = 64,
    MOST_REQUEST = 1 << 20,
    MOST_RESPONSE = 64 << 20,
    FIRST_BUFFER = 16384,
    SUB = 32, /* buckets for each doubling: a value is known to 3 % */
    BUCKETS = 64 * SUB,
    STATUS_LINE = 12, /* bytes of a status line that are compared: "HTTP/1.1 200" */
};

/* Where a response's time went, as the server's Server-Timing field says (ns). */
enum part { PART_QUEUE, PART_GIL, PART_GC, PART_HANDLER, PART_WRITE, PARTS };

struct histogram {
    uint64_t count[BUCKETS];
    uint64_t all, most;
};

/* One kind of request. Written by main's thread only. */
struct kind {
    char name[64];
    int weight;
    int status;       /* expected; 0: any 2xx */
    bool is_volatile; /* the body may differ from response to response */
    bool is_head;     /* the method is HEAD: its response has no body */
    char *request;
    size_t request_len;
    char *asking; /* the same, asking the server where its time goes: in an open loop */
    size_t asking_len;
    char *body; /* of the first good response */
    size_t body_len;
    bool learned;
    /* of a head that varies in nothing but its date: how to know it again without parsing it */
    size_t head_len; /* 0: every response is parsed */
    size_t length_at, length_len;
    char status_line[STATUS_LINE];
    char length_line[48];                  /* its Content-Length line */
    uint64_t good, bad_status, mismatched; /* since the last run began */
    int learned_status, last_status;
    struct histogram latency;
};

struct flight {
    uint64_t due; /* CLOCK_MONOTONIC, ns: when the request was to be sent */
    int kind;
};

struct connection {
    int fd;
    int in_flight; /* requests sent and not answered */
    bool connecting, is_idle;
    struct flight ring[MOST_PIPELINE];
    int first;
    size_t have, room; /* bytes of incomplete responses in buf */
    size_t unsent;     /* bytes of a request that the socket did not take */
    const char *unsent_at;
    char *buf;
};

/* A complete response at the start of some bytes. */
struct response {
    size_t len; /* 0: not complete; SIZE_MAX: not HTTP */
    int status;
    const char *head;
    const char *body; /* of a chunked one: with its framing */
    size_t body_len;
    bool closes, timed;
    uint64_t read_ns;     /* when the server had read the request; CLOCK_MONOTONIC */
    uint64_t part[PARTS]; /* ns; PART_QUEUE: after the reading */
};

struct options {
    int port, connections, pipeline;
    double seconds, ramp, rate;
    uint64_t requests; /* 0: until the time is over */
    bool reconnect;    /* a new connection for each request */
    bool commands;
    const char *kinds_file, *method, *path, *body, *header;
};
extern struct options opt;
extern struct kind kinds[MOST_KINDS];
extern int n_kinds, total_weight;
extern char *batch; /* pipelined copies of the only kind's request */

/* What one interval has counted. */
struct interval {
    uint64_t started, counts_from, ends;
    uint64_t sent, completed, counted, errors, resets, refused, due_sent;
    uint64_t late, last_completed; /* sends more than a millisecond after they were due */
    struct histogram latency;
    double part_sum[BUCKETS][PARTS];
    uint64_t part_count[BUCKETS];
    uint64_t random;
};
extern struct interval run;

/* load.c */
void load_init(void);
void load_open_all(void); /* anew, where they are open */
void load_settle(void);   /* waits until all are connected, ten seconds at most */
void load_interval(void);
/* report.c: one line of JSON. */
void load_report(double cpu_seconds);

uint64_t load_now(void);
void histogram_add(struct histogram *h, uint64_t ns);
double histogram_us(const struct histogram *h, double p);
unsigned histogram_bucket(uint64_t ns);

/* A response that is the kind's learned one is known without being parsed. `ended`: the server has
 * closed the connection, no byte follows. */
struct response response_at(const struct kind *k, const char *p, size_t len, bool ended);
/* parse.c: any other, by http-parser. `is_head`: the answer of a HEAD. */
struct response response_parse(const char *p, size_t len, bool is_head, bool ended);
/* Counts it; false: it was not what was expected. */
bool response_check(struct kind *k, const struct response *r);

/* Reads `FILE`: for each kind a line "NAME WEIGHT STATUS VOLATILE LENGTH", then LENGTH bytes of
 * request, then a newline. Returns how many; writes why on standard error and returns 0. */
int kinds_read(const char *path);
/* FNV-1a: bodies of two servers are compared by it. */
uint64_t body_hash(const char *body, size_t len);

#endif
