/* SPDX-License-Identifier: MIT
 * What the event loop and the application tell each other about one request while its handler
 * runs: body bytes one way, response bytes the other, and that the client has gone. Made only for
 * requests that need it. The loop's side is here; the application reaches the rest through struct
 * oar_host. */
#ifndef OARLOCK_EXCHANGE_H
#define OARLOCK_EXCHANGE_H

#include <pthread.h>

#include "shared/buf.h"
#include "worker/thread.h"

struct oar_exchange {
    _Atomic unsigned refs; /* the request's, the application's objects, the lists of the thread */
    struct oar_thread *thread;
    struct oar_exchange *posted_next; /* of thread->posted */
    _Atomic bool posted;
    struct oar_link notice; /* in thread->notices: the application has to look. The loop's thread */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a thread of the pool waits for body, for room, or for the end */
    /* under the lock */
    struct oar_request *request; /* NULL once it is answered; only the loop's thread follows it */
    struct oar_buf body;         /* received, not yet taken */
    struct oar_buf out;          /* given by the handler, not yet taken by the loop */
    size_t unsent;               /* bytes of the response that the socket has not taken */
    enum oar_body body_state;
    bool body_wanted;    /* the handler has asked for it: 100 Continue may be sent */
    bool half_closed;    /* the client has sent FIN; maybe it still reads */
    bool gone;           /* nobody reads the response: the client left, or got another answer */
    bool overdue;        /* gone, because of --handler-timeout */
    bool ended, aborted; /* the response, by the handler */
    void *waiter[OAR_WAITERS]; /* the application's own; it must take them out again */
};

/* The request's exchange, made if there is none; NULL: no memory. Borrowed from the request. */
struct oar_exchange *oar_exchange_of(struct oar_request *r);
struct oar_exchange *oar_exchange_share(struct oar_exchange *x);
void oar_exchange_drop(struct oar_exchange *x);
/* Body bytes for the handler. false: no memory. `full`: read no more for now. */
bool oar_exchange_put_body(struct oar_exchange *x, struct oar_slice piece, bool *full);
void oar_exchange_end_body(struct oar_exchange *x, enum oar_body state);
/* Nobody will read the response any more. */
void oar_exchange_gone(struct oar_exchange *x, bool overdue);
/* The client sends no more: it has gone, or it has closed one half and still reads. */
void oar_exchange_half_closed(struct oar_exchange *x);
/* The connection has taken or sent bytes: `unsent` are left. */
void oar_exchange_sent(struct oar_exchange *x, size_t unsent);
/* The request is answered: the exchange, and the request's reference to it, are let go. */
void oar_exchange_close(struct oar_request *r);
/* The loop looks at the exchange before it waits again. Any thread. */
void oar_exchange_post(struct oar_exchange *x);
/* What handlers have posted since the last call goes to the connections. */
void oar_exchange_take_posted(struct oar_thread *t);
/* Takes the next exchange that the application must look at, with a reference; NULL: none. */
struct oar_exchange *oar_exchange_notice(struct oar_thread *t);

/* The application's side: struct oar_host has the words. */
struct oar_exchange *oar_exchange_open(struct oar_request *r);
enum oar_body oar_exchange_take_body(struct oar_exchange *x, struct oar_buf *into, bool wait);
enum oar_room oar_exchange_write(struct oar_exchange *x, const char *bytes, size_t len, bool wait);
void oar_exchange_end(struct oar_exchange *x, bool ok);
bool oar_exchange_is_gone(struct oar_exchange *x);
bool oar_exchange_has_left(struct oar_exchange *x);
bool oar_exchange_arm(struct oar_exchange *x, enum oar_waiter which, void *waiter);
void *oar_exchange_disarm(struct oar_exchange *x, enum oar_waiter which, bool *due);

#endif
