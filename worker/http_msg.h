/* SPDX-License-Identifier: MIT
 * A request as the handler's side sees it, and a response as the handler's side gives it: plain
 * data. */
#ifndef OARLOCK_HTTP_MSG_H
#define OARLOCK_HTTP_MSG_H

#include <stdatomic.h>

#include "oarlock/route.h"
#include "shared/list.h"
#include "shared/peer.h"

struct oar_conn;
struct oar_exchange;

/* A place in one of the thread's lists of deadlines (worker/timeout.c). Zeroed: in none. */
struct oar_timed {
    struct oar_link link;
    double expires; /* seconds of CLOCK_MONOTONIC */
};

/* Who speaks, and to what: behind proxies not the connection's peer. */
struct oar_origin {
    struct oar_peer peer;
    bool https; /* the client spoke TLS with a proxy */
    struct oar_slice
        host; /* what an absolute target or a proxy names; empty: the Host field holds */
};

/* A header field; offsets from struct oar_request.head. Names are as the client spelt them. */
struct oar_field {
    uint32_t name_off, value_off;
    uint16_t name_len;
    uint16_t zero;
    uint32_t value_len;
};

/* A parameter after validation (params.c). */
enum oar_value_tag {
    OAR_VAL_DEFAULT, /* not sent: the handler's default */
    OAR_VAL_INT,     /* i */
    OAR_VAL_BIG,     /* text: a decimal number beyond 64 bits, optional sign, no other characters */
    OAR_VAL_FLOAT,   /* f */
    OAR_VAL_BOOL,    /* i */
    OAR_VAL_STR,     /* text */
    OAR_VAL_UUID,    /* uuid */
};
struct oar_value {
    enum oar_value_tag tag;
    union {
        int64_t i;
        double f;
        struct oar_slice text;
        uint8_t uuid[16];
    };
};

enum oar_request_state {
    OAR_REQ_READING,   /* body still arrives */
    OAR_REQ_READY,     /* waits for its turn: call_app says who answers */
    OAR_REQ_RUNNING,   /* the handler has it; only the application's side may touch response */
    OAR_REQ_STREAMING, /* the head is sent; the handler gives the body through the exchange */
    OAR_REQ_DONE,      /* answered */
};

struct oar_response {
    uint16_t status;
    bool head_has_type;      /* fields holds a content-type */
    bool close;              /* no other request on this connection */
    bool stream;             /* the body comes through the exchange; `body` is empty */
    bool has_length;         /* of a stream: the handler has said how long it is, so no chunks */
    uint64_t length;         /* bytes of it that are still to come */
    struct oar_slice type;   /* content-type of the body; empty: none. Static or the arena's */
    struct oar_slice fields; /* whole lines, each with CRLF. Valid until the response is written */
    struct oar_slice body;   /* valid until the response is written */
    char *owned;             /* freed (free) after the response was written: pool threads' bytes */
};

/* Lifetime: from the head's last byte to the written response. In the connection's arena. */
/* With --server-timing: what a request waited for, in nanoseconds. Writer: the thread of its
 * connection, then the pool's thread that runs it. */
struct oar_timing {
    uint64_t read_ns, called_ns; /* CLOCK_MONOTONIC; 0: not yet */
    uint64_t queue_ns, gil_ns;
    uint64_t attach_ns, collect_ns; /* the slot's counters, when last looked at */
    bool in_pool;
};

/* Something to run in a thread of the application's own. It lies in what it is about. */
struct oar_job {
    struct oar_job *next; /* of those that wait */
    void (*run)(struct oar_job *job, void *thread);
    bool brief; /* such jobs have been over at once: no other thread is called meanwhile */
};

/* Something that has given as much of a response as there is room for. `resume` is called once, on
 * the loop's thread, without the interpreter, when there is room again or nobody reads any more. */
struct oar_parked {
    void (*resume)(struct oar_parked *p);
};

struct oar_request {
    struct oar_request *next;      /* of the connection, in order of arrival */
    struct oar_request *done_next; /* thread's stack of requests that the pool has answered */
    struct oar_conn *conn;
    const char *head; /* first byte of the request line, in the connection's input */
    uint32_t head_len;
    uint8_t state;  /* enum oar_request_state */
    uint8_t method; /* enum oar_method */
    uint8_t minor;  /* HTTP/1.minor */
    bool keep_alive;
    bool call_app;    /* else response is complete: 404, 405, 307, 422 */
    bool expects_100; /* Expect: 100-continue, not yet answered */
    bool chunked;
    bool streams_body;    /* the handler began before the body had come, and reads it itself */
    bool counted;         /* in thread->in_flight */
    bool closes;          /* with OAR_REQ_STREAMING: the head said Connection: close */
    _Atomic uint8_t gone; /* enum oar_gone. Writer: the loop's thread; any thread may look */
    uint32_t n_fields;
    const struct oar_field *fields;
    uint32_t path_off, path_len; /* without the query */
    uint32_t query_off, query_len;
    struct oar_slice body;
    const struct oar_rt_route *route;
    _Atomic(struct oar_exchange *) exchange; /* a reference; made when it is needed */
    struct oar_value *values;                /* route->n_params of them, in the arena */
    void *background; /* the application's: what it does after the response; it clears it */
    struct oar_timing *timing; /* NULL: nobody asked */
    struct oar_match match; /* captured segments point into head or the arena; zeroed up to here */
    struct oar_response response;
    struct oar_timed overdue; /* --handler-timeout, while the handler runs. The loop's thread */
    struct oar_job job;       /* the application's: the handler, while it waits for a thread */
    void *caller;             /* likewise: the thread that called */
};

static inline struct oar_slice oar_request_path(const struct oar_request *r)
{
    return (struct oar_slice){r->head + r->path_off, r->path_len};
}
static inline struct oar_slice oar_request_query(const struct oar_request *r)
{
    return (struct oar_slice){r->head + r->query_off, r->query_len};
}

#endif
