/* SPDX-License-Identifier: MIT
 * What the event loop and the application tell each other about one request while its handler
 * runs: body bytes one way, response bytes the other, and that the client has gone. Made only for
 * requests that need it. A leaf: it knows neither connections nor Python. What handlers give lies
 * in the mailbox of the request's event loop until the batch takes it from there. */
#ifndef OARLOCK_EXCHANGE_H
#define OARLOCK_EXCHANGE_H

#include <pthread.h>

#include "shared/buf.h"
#include "shared/list.h"
#include "worker/app.h"
#include "worker/poll.h"

/* The exchanges of one event loop that somebody has to look at. */
struct oar_mailbox {
    struct oar_poll *poll;                 /* nudged when the first is posted */
    _Atomic(struct oar_exchange *) posted; /* by handlers: pushed by any thread */
    /* the loop's thread alone */
    struct oar_exchange *taken; /* posted, and not looked at yet */
    struct oar_link notices;    /* the application has to look */
};

struct oar_exchange {
    _Atomic unsigned refs; /* the request's, the application's objects, the mailbox's lists */
    struct oar_mailbox *mailbox;
    struct oar_exchange *posted_next; /* of mailbox->posted */
    _Atomic bool posted;
    struct oar_link notice;      /* in mailbox->notices */
    struct oar_request *request; /* NULL once it is answered. Written by the loop's thread, under
                                    the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a thread of the pool waits for a piece of the body */
    /* under the lock */
    struct oar_buf body; /* received, not yet taken */
    struct oar_buf out;  /* given by the handler, not yet taken by the loop */
    size_t unsent;       /* bytes of the response that the socket has not taken */
    enum oar_body body_state;
    bool body_wanted;    /* the handler has asked for it: 100 Continue may be sent */
    bool half_closed;    /* the client has sent FIN; maybe it still reads */
    bool gone;           /* nobody reads the response: the client left, or got another answer */
    bool overdue;        /* gone, because of --handler-timeout */
    bool ended, aborted; /* the response, by the handler */
    struct oar_parked *parked; /* waits for room; NULL: nobody */
    void *waiter[OAR_WAITERS]; /* the application's own; it must take them out again */
};

/* What the loop's thread takes out for the connection. */
struct oar_taken {
    struct oar_buf bytes; /* of the response; the taker's to free */
    bool ended, aborted;  /* the response is complete, or cut */
    bool body_wanted;     /* 100 Continue may be sent */
    size_t body_waiting;  /* bytes of the request's body that the handler has not taken */
};

/* ---- the loop's side: on the loop's thread ---- */

void oar_mailbox_init(struct oar_mailbox *m, struct oar_poll *poll);
/* Somebody has to look: the loop must not wait. */
bool oar_mailbox_is_empty(const struct oar_mailbox *m);
/* The next that a handler has posted to, with a reference; NULL: none. */
struct oar_exchange *oar_mailbox_posted(struct oar_mailbox *m);
/* The next that the application must look at, with a reference; NULL: none. */
struct oar_exchange *oar_mailbox_notice(struct oar_mailbox *m);

/* Body bytes for the handler. false: no memory. `full`: read no more for now. */
bool oar_exchange_put_body(struct oar_exchange *x, struct oar_slice piece, bool *full);
void oar_exchange_end_body(struct oar_exchange *x, enum oar_body state);
/* Nobody will read the response any more; with or without an exchange. */
void oar_request_gone(struct oar_request *r, enum oar_gone why);
/* The client sends no more: it has gone, or it has closed one half and still reads. */
void oar_exchange_half_closed(struct oar_exchange *x);
/* What the handler has given and asked for; bytes and end only when the response `streams`, that
 * is, its head was sent. */
struct oar_taken oar_exchange_take_out(struct oar_exchange *x, bool streams);
/* The connection has taken or sent bytes: `unsent` are left. */
void oar_exchange_sent(struct oar_exchange *x, size_t unsent);
/* The request is answered: the exchange, and the request's reference to it, are let go. */
void oar_exchange_close(struct oar_request *r);
/* The loop takes out before it waits again. */
void oar_exchange_post(struct oar_exchange *x);

/* ---- the application's side: any thread; struct oar_host has the words ---- */

/* The request's exchange, made if there is none; NULL: no memory. Borrowed from the request. */
struct oar_exchange *oar_exchange_get(struct oar_request *r, struct oar_mailbox *m);
struct oar_exchange *oar_exchange_share(struct oar_exchange *x);
void oar_exchange_drop(struct oar_exchange *x);
enum oar_body oar_exchange_take_body(struct oar_exchange *x, struct oar_buf *into, bool wait);
enum oar_room oar_exchange_write(struct oar_exchange *x, const char *bytes, size_t len);
bool oar_exchange_park(struct oar_exchange *x, struct oar_parked *p);
void oar_exchange_end(struct oar_exchange *x, bool ok);
bool oar_exchange_is_gone(struct oar_exchange *x);
bool oar_exchange_has_left(struct oar_exchange *x);
bool oar_exchange_arm(struct oar_exchange *x, enum oar_waiter which, void *waiter);
void *oar_exchange_disarm(struct oar_exchange *x, enum oar_waiter which, bool *due);

#endif
