/* SPDX-License-Identifier: MIT
 * What the event loop offers to the application's side: one table of functions, and the plain data
 * that they take. */
#ifndef OARLOCK_HOST_H
#define OARLOCK_HOST_H

#include "oarlock/config.h"
#include "oarlock/log.h"
#include "oarlock/shm.h"
#include "shared/buf.h"
#include "worker/driver.h"
#include "worker/http_msg.h"

struct oar_thread; /* an event loop; opaque to the application's side */
struct oar_watch;  /* a watched descriptor; opaque */

/* A descriptor that became ready for the application (asyncio's). */
struct oar_fired {
    int fd;
    int events; /* OAR_READABLE | OAR_WRITABLE */
    void *data;
};
#define OAR_READABLE 1
#define OAR_WRITABLE 2

/* Where a request's body stands. */
enum oar_body {
    OAR_BODY_MORE,     /* more will come */
    OAR_BODY_COMPLETE, /* that was all */
    OAR_BODY_CUT, /* the rest will never come: the client left, broke a rule, or was answered */
};
/* Whether anybody reads the response. */
enum oar_gone {
    OAR_GONE_NOT,
    OAR_GONE_LEFT,    /* the client has left, or got another answer */
    OAR_GONE_OVERDUE, /* its other answer is the 504 of --handler-timeout */
};
/* What became of bytes that a handler gave. WAIT: taken; give no more before there is room. GONE:
 * nobody reads the response. */
enum oar_room { OAR_ROOM_OK, OAR_ROOM_WAIT, OAR_ROOM_GONE, OAR_ROOM_NO_MEMORY };
/* What the application can wait for, on the loop's thread. */
enum oar_waiter {
    OAR_WAIT_BODY,    /* body bytes, or the body's end */
    OAR_WAIT_ROOM,    /* room for response bytes */
    OAR_WAIT_GONE,    /* nobody reads the response */
    OAR_WAIT_OVERDUE, /* --handler-timeout has passed; the client has its 504 */
    OAR_WAIT_LEFT,    /* the client has gone, or at least sends no more (FIN) */
    OAR_WAITERS,
};

/* What poll returns when the loop was taken over in a handler (worker/driver.h). The calling thread must
 * not touch the loop before it drives again. */
#define OAR_POLL_LEFT (-1)

/* What the event loop offers. Functions are called on the thread they name, without the
 * interpreter, unless it says otherwise. */
struct oar_host {
    /* Serves until something happened that the application must see, or `timeout` seconds (< 0: for
     * ever; 0: does not wait). Returns the number of descriptors in `fired`, at most `room`. */
    int (*poll)(struct oar_thread *t, double timeout, struct oar_fired *fired, int room);
    struct oar_watch *(*watch)(struct oar_thread *t, int fd, int events, void *data);
    void (*rewatch)(struct oar_thread *t, struct oar_watch *w, int events, void *data);
    void (*unwatch)(struct oar_thread *t, struct oar_watch *w);
    /* Any thread, any signal handler: makes poll return soon. */
    void (*wake)(struct oar_thread *t);
    /* On the loop's thread: request->response of a pending request is complete. It is copied. */
    void (*respond)(struct oar_request *r);
    /* Any thread: the same; response.owned carries the bytes. true: the loop has to be nudged, soon. */
    bool (*respond_elsewhere)(struct oar_thread *t, struct oar_request *r);
    void (*nudge)(struct oar_thread *t); /* any thread: the loop looks before it waits again */
    /* The exchange of a request (worker/exchange.h), from any thread while the request is the
     * application's. `exchange` gives a reference, NULL: no memory; `drop` gives it back.
     * take_body with `wait` blocks: never on a loop's thread, never attached. */
    struct oar_exchange *(*exchange)(struct oar_request *r);
    struct oar_exchange *(*share)(struct oar_exchange *x); /* one more reference */
    void (*drop)(struct oar_exchange *x);
    /* Moves what has come of the body to `into`, the caller's to free. */
    enum oar_body (*take_body)(struct oar_exchange *x, struct oar_buf *into, bool wait);
    enum oar_room (*write)(struct oar_exchange *x, const char *bytes, size_t len);
    /* Keeps `p`, the only one, until there is room. false: that is so already. */
    bool (*park)(struct oar_exchange *x, struct oar_parked *p);
    /* The handler is done with a streamed response; !ok: it failed, the client must notice. */
    void (*end)(struct oar_exchange *x, bool ok);
    bool (*is_gone)(struct oar_exchange *x); /* nobody reads the response */
    /* Likewise, or the client has sent FIN: what most clients do when they leave. It may have closed
     * one half only, so a response is still sent. */
    bool (*has_left)(struct oar_exchange *x);
    /* Keeps `waiter` until what it waits for is so: then app->notify is called. false: it is so
     * already, or the place is taken. */
    bool (*arm)(struct oar_exchange *x, enum oar_waiter which, void *waiter);
    /* Gives the waiter back, NULL: none. With `due`: only if it is due, or the request is over. */
    void *(*disarm)(struct oar_exchange *x, enum oar_waiter which, bool *due);
    /* Drained, or --graceful-timeout has passed: the loop may end. */
    bool (*stopping)(struct oar_thread *t);
    /* Seconds of --graceful-timeout that a drain has left. */
    double (*grace)(struct oar_thread *t);
    /* Any thread: the worker begins to drain, and is replaced when it has ended. */
    void (*retire)(struct oar_thread *t);
    /* Any thread: work that outlives its request begins (+1) or ends (-1); a drain waits for it. */
    void (*hold)(struct oar_thread *t, int change);
    struct oar_slot *(*slot)(struct oar_thread *t);
    /* Taking over (worker/driver.h). The loop's own thread, after OAR_POLL_LEFT: waits until it
     * drives again. A spare, between two calls of poll: does the loop's own thread wait; and the
     * end of the spare's driving. */
    struct oar_driver *(*driver)(struct oar_thread *t);
    void (*wait_for_home)(struct oar_thread *t);
    bool (*home_waits)(const struct oar_thread *t);
    void (*give_home)(struct oar_thread *t);
    /* Who speaks; any thread. `host` points into the request's head. */
    void (*origin)(const struct oar_request *r, struct oar_origin *out);
    void (*log)(enum oar_log_level level, const char *fmt, ...) OAR_PRINTF(2, 3);
    void (*log_text)(enum oar_log_level level, struct oar_slice text);
};

#endif
