/* SPDX-License-Identifier: MIT
 * The exchange of one request: see exchange.h.
 * Process: worker; functions of the application's side from any thread, all others on the loop's.
 * Owns the two buffers; counts references. The lock is held for copying bytes, setting flags and
 * waking, never over the interpreter; while it is held and `request` is set, the mailbox lives.
 * Bounded: the loop stops reading a socket when OAR_STREAM_WINDOW bytes of body wait, and a handler
 * is told to wait when that many bytes of its response do. */
#include "worker/exchange.h"

#include <stdlib.h>

void oar_mailbox_init(struct oar_mailbox *m, struct oar_poll *poll)
{
    m->poll = poll;
    oar_list_init(&m->notices);
}

bool oar_mailbox_is_empty(const struct oar_mailbox *m)
{
    return oar_list_empty(&m->notices) && !m->taken &&
           atomic_load_explicit(&m->posted, memory_order_relaxed) == NULL;
}

struct oar_exchange *oar_exchange_get(struct oar_request *r, struct oar_mailbox *m)
{
    struct oar_exchange *x = atomic_load_explicit(&r->exchange, memory_order_acquire);
    if (x) {
        return x;
    }
    x = calloc(1, sizeof *x);
    if (!x) {
        return NULL;
    }
    atomic_init(&x->refs, 1);
    x->mailbox = m;
    x->request = r;
    x->body_state = OAR_BODY_COMPLETE;
    oar_list_init(&x->notice);
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->changed, NULL);
    struct oar_exchange *other = NULL;
    if (!atomic_compare_exchange_strong(&r->exchange, &other, x)) {
        oar_exchange_drop(x);
        x = other;
    } else if (OAR_UNLIKELY(atomic_load(&r->gone) != OAR_GONE_NOT)) {
        pthread_mutex_lock(&x->lock); /* nobody can wait yet */
        x->gone = true;
        x->overdue = atomic_load(&r->gone) == OAR_GONE_OVERDUE;
        pthread_mutex_unlock(&x->lock);
    }
    return x;
}

struct oar_exchange *oar_exchange_share(struct oar_exchange *x)
{
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    return x;
}

void oar_exchange_drop(struct oar_exchange *x)
{
    if (atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) == 1) {
        oar_buf_free(&x->body);
        oar_buf_free(&x->out);
        pthread_cond_destroy(&x->changed);
        pthread_mutex_destroy(&x->lock);
        free(x);
    }
}

/* Under the lock. */
static bool no_room(const struct oar_exchange *x)
{
    return !x->gone && x->request && x->out.len + x->unsent >= OAR_STREAM_WINDOW;
}

/* Under the lock: what the waiter waits for is so. */
static bool is_due(const struct oar_exchange *x, enum oar_waiter which)
{
    bool due = true;
    switch (which) {
    case OAR_WAIT_BODY: due = x->body.len > 0 || x->body_state != OAR_BODY_MORE; break;
    case OAR_WAIT_ROOM: due = !no_room(x); break;
    case OAR_WAIT_GONE: due = x->gone; break;
    case OAR_WAIT_LEFT: due = x->gone || x->half_closed; break;
    case OAR_WAIT_OVERDUE: due = x->overdue; break;
    default: break;
    }
    return due;
}

/* What a change means to others: found under the lock, told after it. */
struct news {
    bool due; /* a waiter of the application has to be looked at */
    struct oar_parked *parked;
};

/* Under the lock: a pool thread that waits for a piece of the body looks again. A waiter that is
 * armed and not due is no reason to enter the interpreter. */
static struct news changed(struct oar_exchange *x)
{
    struct news news = {.parked = no_room(x) ? NULL : x->parked};
    if (news.parked) {
        x->parked = NULL;
    }
    pthread_cond_broadcast(&x->changed);
    for (int i = 0; i < OAR_WAITERS && !news.due; i++) {
        news.due = x->waiter[i] && (!x->request || is_due(x, (enum oar_waiter)i));
    }
    return news;
}

/* On the loop's thread. The application looks at its waiters in the next batch. */
static void tell(struct oar_exchange *x, struct news news)
{
    if (news.due && oar_list_empty(&x->notice)) {
        oar_list_append(&x->mailbox->notices, &oar_exchange_share(x)->notice);
    }
    if (news.parked) {
        news.parked->resume(news.parked);
    }
}

bool oar_exchange_put_body(struct oar_exchange *x, struct oar_slice piece, bool *full)
{
    pthread_mutex_lock(&x->lock);
    oar_buf_put(&x->body, piece.ptr, piece.len);
    bool ok = !x->body.failed;
    struct news news = changed(x);
    *full = x->body.len >= OAR_STREAM_WINDOW;
    pthread_mutex_unlock(&x->lock);
    tell(x, news);
    return ok;
}

void oar_exchange_end_body(struct oar_exchange *x, enum oar_body state)
{
    pthread_mutex_lock(&x->lock);
    x->body_state = state;
    struct news news = changed(x);
    pthread_mutex_unlock(&x->lock);
    tell(x, news);
}

static void set_gone(struct oar_exchange *x, enum oar_gone why)
{
    pthread_mutex_lock(&x->lock);
    x->gone = true;
    x->overdue = x->overdue || why == OAR_GONE_OVERDUE;
    if (x->body_state == OAR_BODY_MORE) {
        x->body_state = OAR_BODY_CUT;
    }
    struct news news = changed(x);
    pthread_mutex_unlock(&x->lock);
    tell(x, news);
}

/* The mark comes before the look for an exchange: whoever makes one meanwhile finds the mark. */
void oar_request_gone(struct oar_request *r, enum oar_gone why)
{
    atomic_store(&r->gone, (uint8_t)why);
    struct oar_exchange *x = atomic_load(&r->exchange);
    if (x) {
        set_gone(x, why);
    }
}

void oar_exchange_half_closed(struct oar_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    x->half_closed = true;
    struct news news = changed(x);
    pthread_mutex_unlock(&x->lock);
    tell(x, news);
}

void oar_exchange_sent(struct oar_exchange *x, size_t unsent)
{
    pthread_mutex_lock(&x->lock);
    x->unsent = unsent;
    struct news news = changed(x);
    pthread_mutex_unlock(&x->lock);
    tell(x, news);
}

void oar_exchange_close(struct oar_request *r)
{
    struct oar_exchange *x = atomic_load_explicit(&r->exchange, memory_order_acquire);
    if (!x) {
        return;
    }
    pthread_mutex_lock(&x->lock);
    x->request = NULL;
    if (x->body_state == OAR_BODY_MORE) {
        x->body_state = OAR_BODY_CUT;
    }
    struct news news = changed(x);
    pthread_mutex_unlock(&x->lock);
    tell(x, news);
    atomic_store_explicit(&r->exchange, NULL, memory_order_relaxed);
    oar_exchange_drop(x);
}

/* Any thread, under the lock: the loop has something to take. */
static bool must_post(struct oar_exchange *x)
{
    if (!x->request || atomic_exchange_explicit(&x->posted, true, memory_order_acq_rel)) {
        return false;
    }
    oar_exchange_share(x);
    return true;
}

static void post(struct oar_exchange *x)
{
    struct oar_mailbox *m = x->mailbox;
    struct oar_exchange *top = atomic_load_explicit(&m->posted, memory_order_relaxed);
    do {
        x->posted_next = top;
    } while (!atomic_compare_exchange_weak_explicit(&m->posted, &top, x, memory_order_release,
                                                    memory_order_relaxed));
    if (!top) {
        oar_poll_nudge(m->poll);
    }
}

void oar_exchange_post(struct oar_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    if (must_post(x)) {
        post(x);
    }
    pthread_mutex_unlock(&x->lock);
}

struct oar_exchange *oar_mailbox_posted(struct oar_mailbox *m)
{
    struct oar_exchange *x = m->taken;
    if (!x) {
        x = atomic_exchange_explicit(&m->posted, NULL, memory_order_acquire);
    }
    if (x) {
        m->taken = x->posted_next;
        atomic_store_explicit(&x->posted, false, memory_order_release);
    }
    return x;
}

struct oar_exchange *oar_mailbox_notice(struct oar_mailbox *m)
{
    struct oar_link *l = oar_list_pop(&m->notices);
    return l ? OAR_CONTAINER_OF(l, struct oar_exchange, notice) : NULL;
}

struct oar_taken oar_exchange_take_out(struct oar_exchange *x, bool streams)
{
    pthread_mutex_lock(&x->lock);
    struct oar_taken taken = {.body_wanted = x->body_wanted, .body_waiting = x->body.len};
    if (streams) {
        taken.ended = x->ended;
        taken.aborted = x->aborted || x->out.failed;
        taken.bytes = x->out;
        x->out = (struct oar_buf){0};
        x->unsent += taken.bytes.len;
    }
    pthread_mutex_unlock(&x->lock);
    return taken;
}

enum oar_body oar_exchange_take_body(struct oar_exchange *x, struct oar_buf *into, bool wait)
{
    pthread_mutex_lock(&x->lock);
    if (!x->body_wanted && must_post(x)) { /* 100 Continue may be due */
        post(x);
    }
    x->body_wanted = true;
    while (wait && x->body.len == 0 && x->body_state == OAR_BODY_MORE) {
        pthread_cond_wait(&x->changed, &x->lock);
    }
    if (x->body.len >= OAR_STREAM_WINDOW && must_post(x)) { /* the socket is not being read */
        post(x);
    }
    *into = x->body;
    x->body = (struct oar_buf){0};
    enum oar_body state = into->len ? OAR_BODY_MORE : x->body_state;
    pthread_mutex_unlock(&x->lock);
    return state;
}

enum oar_room oar_exchange_write(struct oar_exchange *x, const char *bytes, size_t len)
{
    enum oar_room room = OAR_ROOM_GONE;
    pthread_mutex_lock(&x->lock);
    if (!x->gone && x->request && !x->ended) {
        oar_buf_put(&x->out, bytes, len);
        if (must_post(x)) {
            post(x);
        }
        room = no_room(x) ? OAR_ROOM_WAIT : OAR_ROOM_OK;
        room = x->out.failed ? OAR_ROOM_NO_MEMORY : room;
    }
    pthread_mutex_unlock(&x->lock);
    return room;
}

bool oar_exchange_park(struct oar_exchange *x, struct oar_parked *p)
{
    pthread_mutex_lock(&x->lock);
    bool parks = no_room(x);
    if (parks) {
        x->parked = p;
    }
    pthread_mutex_unlock(&x->lock);
    return parks;
}

void oar_exchange_end(struct oar_exchange *x, bool ok)
{
    pthread_mutex_lock(&x->lock);
    x->ended = true;
    x->aborted = x->aborted || !ok;
    if (must_post(x)) {
        post(x);
    }
    pthread_mutex_unlock(&x->lock);
}

bool oar_exchange_is_gone(struct oar_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool gone = x->gone;
    pthread_mutex_unlock(&x->lock);
    return gone;
}

bool oar_exchange_has_left(struct oar_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool left = x->gone || x->half_closed;
    pthread_mutex_unlock(&x->lock);
    return left;
}

bool oar_exchange_arm(struct oar_exchange *x, enum oar_waiter which, void *waiter)
{
    pthread_mutex_lock(&x->lock);
    bool armed = !x->waiter[which] && !is_due(x, which);
    if (armed) {
        x->waiter[which] = waiter;
    }
    pthread_mutex_unlock(&x->lock);
    return armed;
}

void *oar_exchange_disarm(struct oar_exchange *x, enum oar_waiter which, bool *due)
{
    pthread_mutex_lock(&x->lock);
    void *waiter = x->waiter[which];
    bool is = is_due(x, which);
    if (due && !is && x->request) {
        waiter = NULL; /* stays armed */
    } else {
        x->waiter[which] = NULL;
    }
    if (due) {
        *due = is;
    }
    pthread_mutex_unlock(&x->lock);
    return waiter;
}
