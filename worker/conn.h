/* SPDX-License-Identifier: MIT
 * A client's connection. Only files of worker/ include this; the states are drawn in conn.c. */
#ifndef OARLOCK_CONN_H
#define OARLOCK_CONN_H

#include "worker/thread.h"

/* What the connection does next; drawn in conn.c, changed by conn.c's set_state alone. */
enum oar_conn_state {
    OAR_CONN_NEW,
    OAR_CONN_IDLE,
    OAR_CONN_HEAD,
    OAR_CONN_BODY,
    OAR_CONN_QUEUED,
    OAR_CONN_SERVED,
    OAR_CONN_DEAF,
    OAR_CONN_WRITING,
    OAR_CONN_LINGERING,
    OAR_CONN_GONE,
    OAR_CONN_STATES
};

struct oar_conn {
    ev_io io;
    struct oar_thread *t;
    struct oar_link all, ready, dirty; /* of the thread's lists */
    struct oar_timed deadline;         /* of the state */
    struct oar_peer peer;
    int fd;                /* -1: the client is gone; a running handler keeps the struct */
    uint8_t state;         /* enum oar_conn_state */
    uint8_t deadline_kind; /* enum oar_deadline, the last that was set */
    uint8_t n_requests;    /* in first..last */
    bool proxy_due;    /* the connection has to begin with a PROXY header, which is not there yet */
    bool eof;          /* the client sends no more; what it sent is still answered */
    bool half_closed;  /* its FIN has been seen, maybe behind bytes that are not read yet */
    bool close_after;  /* close when everything is written */
    bool refused;      /* bytes of the client may be unread: linger before closing */
    bool abandoned;    /* the client got another answer while the handler still runs */
    bool paused;       /* the handler of `reading` is behind: the socket is not read */
    bool reset;        /* close with a reset: the response is cut */
    bool head_partial; /* a head has begun to arrive */
    bool body_held;    /* `body` belongs to a request that is not answered yet */
    struct oar_block *in;     /* input; NULL while idle */
    uint32_t in_len;          /* bytes received */
    uint32_t in_at;           /* first byte that is not parsed yet */
    uint32_t in_pin;          /* bytes before this are part of requests in progress */
    uint32_t in_scanned;      /* with head_partial: no end of head before this */
    struct oar_chunks chunks; /* of `reading`, when it is chunked */
    uint64_t body_left;       /* of `reading`, when it has a length */
    uint64_t body_seen;       /* bytes of `reading`'s body */
    double body_since;        /* t->now when `reading`'s head was complete */
    uint64_t moved;           /* bytes received or sent, when the deadline was set */
    uint64_t sent;            /* bytes, ever */
    struct oar_request *first, *last;
    struct oar_request *reading; /* its body is arriving */
    struct oar_arena arena;      /* reset when no request is left */
    struct oar_buf body;
    size_t out_from, out_to; /* this round's bytes in t->out */
    struct oar_buf unsent;   /* what the socket did not take */
    size_t unsent_at;
};

/* conn.c */
/* Takes the descriptor. */
void oar_conn_open(struct oar_thread *t, int fd, const struct oar_peer *peer);
/* The client is gone or must go. Frees the struct unless a handler still runs. */
void oar_conn_close(struct oar_conn *c);
/* What can go on goes on: parse, queue for the batch, watch, deadline. After any change of state.
 */
void oar_conn_continue(struct oar_conn *c);
void oar_conn_drain(struct oar_conn *c);
/* The connection that has been idle for the longest time is closed, for a new one. */
OAR_COLD void oar_conn_evict_idle(struct oar_thread *t);
/* The client has sent FIN: handlers that ask may know. */
OAR_COLD void oar_conn_half_closed(struct oar_conn *c);
/* In OAR_CONN_DEAF, now and then: has it? */
OAR_COLD void oar_conn_look(struct oar_conn *c);

/* conn_in.c: bytes to requests */
/* Reads once and goes on with what came. false: there was nothing, and nothing has changed; after
 * true the connection may be gone. */
bool oar_conn_receive(struct oar_conn *c);
void oar_conn_parse(struct oar_conn *c);
/* Queues a response that closes the connection, for a request that cannot be understood. */
OAR_COLD void oar_conn_refuse(struct oar_conn *c, enum oar_rule rule);

/* conn_out.c: responses to bytes */
void oar_conn_free_body(struct oar_conn *c);
void oar_conn_respond(struct oar_conn *c, struct oar_request *r);
/* Sends what there is and goes on. false: the socket takes nothing, and nothing has changed; after
 * true the connection may be gone. */
bool oar_conn_flush(struct oar_conn *c);
void oar_conn_raw(struct oar_conn *c, struct oar_slice bytes);
void oar_conn_count(struct oar_slot *slot, uint16_t status);
/* Head, and body unless it streams, of a response. */
void oar_conn_head(struct oar_conn *c, const struct oar_request *r, bool close);
/* The first request, which is answered, leaves the connection; with `close` the others too. */
void oar_conn_forget(struct oar_conn *c, bool close);

/* The request's exchange, made if there is none; NULL: no memory. Borrowed from the request. */
static inline struct oar_exchange *oar_exchange_of(struct oar_request *r)
{
    return oar_exchange_get(r, &r->conn->t->mailbox);
}

/* conn_stream.c: bodies piece by piece, through the exchange */
/* The head of a streamed response; its body follows. */
void oar_stream_begin(struct oar_conn *c, struct oar_request *r);
/* Takes what the handler has posted: response bytes, the end, the wish for more body. */
void oar_stream_serve(struct oar_exchange *x);
/* After a flush: the handler may have room. */
void oar_stream_flushed(struct oar_conn *c);
/* Answers in place of a handler that still runs, and closes; what the handler says is thrown away.
 */
void oar_conn_abandon(struct oar_conn *c, enum oar_rule rule);

/* Enough of its responses wait: no other handler runs for it before they are sent. */
static inline bool oar_conn_has_much(const struct oar_conn *c)
{
    return c->out_to - c->out_from + c->unsent.len >=
           (size_t)c->t->worker->config->max_connection_memory;
}

/* Nothing more that comes is read as a body or a request. */
static inline void oar_conn_stop_reading(struct oar_conn *c)
{
    c->reading = NULL;
    c->paused = c->head_partial = false;
    c->in_at = c->in_len;
}

static inline void oar_conn_count_refusal(struct oar_slot *slot, enum oar_rule rule)
{
    OAR_ADD(slot->refused, 1);
    OAR_ADD(slot->refused_by[rule], 1);
}

static inline size_t oar_conn_unsent(const struct oar_conn *c)
{
    return c->unsent.len - c->unsent_at;
}

#endif
