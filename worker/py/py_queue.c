/* SPDX-License-Identifier: MIT
 * What an asyncio loop has to call: a ring of handles that are ready, a heap of timers.
 * Process: worker, or any Python program; attached. The loop's thread takes out; any thread may put
 * in: on the free-threaded build the lock guards both, and it is never held over a call into
 * Python. Owns references to handles. Knows asyncio's own handles too, by their attributes. */
#include "worker/py/py_loop.h"

#include <math.h>
#include <stdlib.h>

#include "shared/clock.h"

#ifdef Py_GIL_DISABLED
#define LOCK(q) PyMutex_Lock(&(q)->lock)
#define UNLOCK(q) PyMutex_Unlock(&(q)->lock)
#else
#define LOCK(q) ((void)(q))
#define UNLOCK(q) ((void)(q))
#endif

static const double LONGEST_WAIT = 24 * 3600.0; /* as BaseEventLoop */

double oar_py_loop_now(void)
{
    return (double)oar_now_ns() * 1e-9;
}

/* ---- the ready queue ------------------------------------------------------------------------ */

/* Under the lock. */
static bool grow_ready(struct oar_py_queue *q)
{
    size_t capacity = q->capacity ? q->capacity * 2 : 64;
    PyObject **ready = malloc(capacity * sizeof(PyObject *));
    if (ready) {
        for (size_t i = 0; i < q->count; i++) {
            ready[i] = q->ready[(q->first + i) & (q->capacity - 1)];
        }
        free(q->ready);
        q->ready = ready;
        q->first = 0;
        q->capacity = capacity;
    }
    return ready != NULL;
}

/* Takes a reference to the handle. */
int oar_py_queue_push(struct oar_py_queue *q, PyObject *handle)
{
    LOCK(q);
    bool room = q->count < q->capacity || grow_ready(q);
    if (room) {
        q->ready[(q->first + q->count++) & (q->capacity - 1)] = Py_NewRef(handle);
    }
    UNLOCK(q);
    if (!room) {
        PyErr_NoMemory();
    }
    return room ? 0 : -1;
}

/* The caller's to release; NULL: empty. */
PyObject *oar_py_queue_pop(struct oar_py_queue *q)
{
    PyObject *handle = NULL;
    LOCK(q);
    if (q->count > 0) {
        handle = q->ready[q->first];
        q->first = (q->first + 1) & (q->capacity - 1);
        q->count--;
    }
    UNLOCK(q);
    return handle;
}

/* ---- timers --------------------------------------------------------------------------------- */

static bool earlier(const struct oar_py_timer *a, const struct oar_py_timer *b)
{
    return a->when < b->when || (a->when == b->when && a->order < b->order);
}

static void sift_up(struct oar_py_queue *q, size_t at)
{
    struct oar_py_timer moving = q->timers[at];
    while (at > 0 && earlier(&moving, &q->timers[(at - 1) / 2])) {
        q->timers[at] = q->timers[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    q->timers[at] = moving;
}

static void sift_down(struct oar_py_queue *q, size_t at)
{
    struct oar_py_timer moving = q->timers[at];
    for (size_t child; (child = 2 * at + 1) < q->n_timers; at = child) {
        child += child + 1 < q->n_timers && earlier(&q->timers[child + 1], &q->timers[child]);
        if (!earlier(&q->timers[child], &moving)) {
            break;
        }
        q->timers[at] = q->timers[child];
    }
    q->timers[at] = moving;
}

/* Under the lock. */
static bool grow_timers(struct oar_py_queue *q)
{
    size_t capacity = q->timer_capacity ? q->timer_capacity * 2 : 64;
    struct oar_py_timer *timers = realloc(q->timers, capacity * sizeof *timers);
    if (timers) {
        q->timers = timers;
        q->timer_capacity = capacity;
    }
    return timers != NULL;
}

/* Takes a reference to the handle. */
int oar_py_queue_push_timer(struct oar_py_queue *q, PyObject *handle, double when)
{
    LOCK(q);
    bool room = q->n_timers < q->timer_capacity || grow_timers(q);
    if (room) {
        q->timers[q->n_timers] = (struct oar_py_timer){when, q->order++, Py_NewRef(handle)};
        sift_up(q, q->n_timers++);
    }
    UNLOCK(q);
    if (!room) {
        PyErr_NoMemory();
    }
    return room ? 0 : -1;
}

/* Under the lock. */
static PyObject *pop_timer(struct oar_py_queue *q)
{
    PyObject *handle = q->timers[0].handle;
    q->timers[0] = q->timers[--q->n_timers];
    if (q->n_timers > 0) {
        sift_down(q, 0);
    }
    return handle;
}

bool oar_py_handle_is_cancelled(PyObject *handle)
{
    bool cancelled = false;
    if (Py_IS_TYPE(handle, &oar_py_timer_type)) {
        cancelled = ((struct oar_py_handle *)handle)->cancelled;
    } else {
        PyObject *truth = PyObject_GetAttrString(handle, "_cancelled");
        cancelled = truth && PyObject_IsTrue(truth) == 1;
        Py_XDECREF(truth);
        PyErr_Clear(); /* a handle without the attribute is run, and says itself what is wrong */
    }
    return cancelled;
}

/* It has left the heap: a later cancel does not count. */
static void unschedule(PyObject *handle)
{
    if (Py_IS_TYPE(handle, &oar_py_timer_type)) {
        ((struct oar_py_handle *)handle)->scheduled = false;
    } else if (PyObject_SetAttrString(handle, "_scheduled", Py_False) != 0) {
        PyErr_Clear();
    }
}

void oar_py_queue_timer_cancelled(struct oar_py_queue *q)
{
    LOCK(q);
    q->n_cancelled++;
    UNLOCK(q);
}

/* The first timer, if it is due by `end` (or cancelled). The caller's; NULL: none. */
static PyObject *next_timer(struct oar_py_queue *q, double end, bool *cancelled)
{
    PyObject *handle = NULL;
    LOCK(q);
    PyObject *head = q->n_timers > 0 ? Py_NewRef(q->timers[0].handle) : NULL;
    UNLOCK(q);
    if (head) {
        *cancelled = oar_py_handle_is_cancelled(head);
        LOCK(q); /* only this thread takes timers out; an earlier one may have come */
        if (q->n_timers > 0 && q->timers[0].handle == head &&
            (*cancelled || q->timers[0].when < end)) {
            handle = pop_timer(q);
            q->n_cancelled -= *cancelled && q->n_cancelled > 0;
        }
        UNLOCK(q);
        Py_DECREF(head);
    }
    if (handle) {
        unschedule(handle);
    }
    return handle;
}

/* Timeouts that never came are most of a busy server's timers: when half of many are cancelled, the
 * heap is made again without them (BaseEventLoop's rule). */
static void compact(struct oar_py_queue *q)
{
    struct oar_py_timer *old = NULL;
    size_t n = 0;
    LOCK(q);
    if (q->n_timers > 100 && q->n_cancelled * 2 > q->n_timers) {
        old = q->timers;
        n = q->n_timers;
        q->timers = NULL;
        q->n_timers = q->timer_capacity = q->n_cancelled = 0;
    }
    UNLOCK(q);
    for (size_t i = 0; i < n; i++) {
        if (oar_py_handle_is_cancelled(old[i].handle)) {
            unschedule(old[i].handle);
        } else if (oar_py_queue_push_timer(q, old[i].handle, old[i].when) != 0) {
            PyErr_WriteUnraisable(old[i].handle);
        }
        Py_DECREF(old[i].handle);
    }
    free(old);
}

/* ---- for a round of the loop ------------------------------------------------------------------ */

size_t oar_py_queue_count(struct oar_py_queue *q)
{
    LOCK(q);
    size_t count = q->count;
    UNLOCK(q);
    return count;
}

uint64_t oar_py_queue_order(struct oar_py_queue *q)
{
    LOCK(q);
    uint64_t order = q->order;
    UNLOCK(q);
    return order;
}

void oar_py_queue_tidy(struct oar_py_queue *q)
{
    bool cancelled;
    compact(q);
    for (PyObject *handle; (handle = next_timer(q, -INFINITY, &cancelled));) {
        Py_DECREF(handle); /* cancelled ones at the head must not wake the loop */
    }
}

double oar_py_queue_timeout(struct oar_py_queue *q)
{
    double timeout = -1;
    LOCK(q);
    if (q->count > 0) {
        timeout = 0;
    } else if (q->n_timers > 0) {
        timeout = OAR_MIN(OAR_MAX(q->timers[0].when - oar_py_loop_now(), 0), LONGEST_WAIT);
    }
    UNLOCK(q);
    return timeout;
}

int oar_py_queue_take_due(struct oar_py_queue *q)
{
    double end = oar_py_loop_now() + 1e-9; /* the clock's resolution, as BaseEventLoop */
    bool cancelled = false;
    int rc = 0;
    for (PyObject *handle; rc == 0 && (handle = next_timer(q, end, &cancelled));) {
        if (!cancelled) {
            rc = oar_py_queue_push(q, handle);
        }
        Py_DECREF(handle);
    }
    return rc;
}

void oar_py_queue_clear(struct oar_py_queue *q)
{
    for (PyObject *handle; (handle = oar_py_queue_pop(q));) {
        Py_DECREF(handle);
    }
    LOCK(q);
    struct oar_py_timer *timers = q->timers;
    size_t n = q->n_timers;
    q->timers = NULL;
    q->n_timers = q->timer_capacity = q->n_cancelled = 0;
    UNLOCK(q);
    for (size_t i = 0; i < n; i++) {
        unschedule(timers[i].handle);
        Py_DECREF(timers[i].handle);
    }
    free(timers);
}

int oar_py_queue_traverse(struct oar_py_queue *q, visitproc visit, void *arg)
{
    for (size_t i = 0; i < q->count; i++) {
        Py_VISIT(q->ready[(q->first + i) & (q->capacity - 1)]);
    }
    for (size_t i = 0; i < q->n_timers; i++) {
        Py_VISIT(q->timers[i].handle);
    }
    return 0;
}

void oar_py_queue_free(struct oar_py_queue *q)
{
    free(q->ready);
    q->ready = NULL;
}
