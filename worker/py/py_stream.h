/* SPDX-License-Identifier: MIT
 * The bridge's exchange, pumps, pool and its jobs. Only worker/py/py.h includes this. Functions need an
 * attached thread state unless they say otherwise. */
#ifndef OARLOCK_PY_STREAM_H
#define OARLOCK_PY_STREAM_H

#include "worker/app.h" /* behind Python.h, which py.h has included */

struct oar_py_thread;

struct oar_py_pump;
#define OAR_BRIEF_NS 200000u /* a job that takes less is over at once */

/* py_exchange.c */
extern PyType_Spec oar_py_exchange_spec;
extern PyObject *oar_py_exchange_type; /* owned by the module */
/* Takes the reference; NULL is taken for a lack of memory. */
PyObject *oar_py_exchange_new(struct oar_exchange *x);
void oar_py_notify(void *thread, struct oar_exchange *x);
/* Gives a chunk of the response, bytes or text. -1: exception set. */
int oar_py_give(struct oar_exchange *x, PyObject *chunk, enum oar_room *room);
/* The task is cancelled when the handler is overdue; with `on_gone` when the client has gone too.
 */
void oar_py_arm_cancel(struct oar_request *r, PyObject *task, bool on_gone);
void oar_py_disarm_cancel(struct oar_request *r);

/* py_pump.c */
/* Starts giving the items of `response` to the client, in the context; its background work follows.
 * -1: exception set, unless the pool is `full`. On a thread of the pool a plain iterator is left in
 * t->pump, to be started when the head of the response is on its way. */
int oar_py_stream(struct oar_py_thread *t, struct oar_request *r, PyObject *response,
                  PyObject *context, bool *full);
/* Gives items, on a thread of the pool, for as long as there is room and no other job waits; then `p`
 * is another thread's, or nothing is left of it. */
void oar_py_pump_run(struct oar_py_pump *p, struct oar_py_thread *t);
void oar_py_pump_hand_over(struct oar_py_pump *p); /* to the pool, which does not refuse it */

/* py_pool.c */
/* Makes the first thread, once; others as jobs need them. -1: there is none, the log says why. */
int oar_py_pool_start(void);
/* The job waits for a pool thread, and runs attached there. false: the queue is full, or there are
 * no threads. Attached or not; no thread is called before oar_py_handed. */
bool oar_py_pool_submit(struct oar_job *job);
void oar_py_handed(void *thread);
/* The same for what belongs to work that was accepted before, so that its number is bounded: it is
 * never refused, and waits in the same line. A thread is called. */
void oar_py_pool_put(struct oar_job *job);
/* The same for the rest of a job that has run: in a line of its own, which takes turns with that. */
void oar_py_pool_go_on(struct oar_job *job);
/* py_attach.c: how soon the loops get the GIL back from handlers in the pool. */
void oar_py_set_switch_interval(void);
/* Other jobs wait for a thread. */
bool oar_py_pool_is_wanted(void);
/* On a thread of the pool: what it runs now, for the scoreboard. */
void oar_py_pool_runs(const struct oar_rt_route *route);
/* On a thread of the pool: the loop is to be nudged, at the latest when this thread has no brief job
 * to run. */
void oar_py_pool_owes(struct oar_thread *loop);
/* It is nudged now: what the thread runs next may take long. */
void oar_py_pool_pays(void);
/* The route whose handler has used most CPU time in the pool at some time since `since`
 * (CLOCK_MONOTONIC, ns). NULL: none ran. */
const struct oar_rt_route *oar_py_pool_suspect(uint64_t since);
/* Ends and joins the threads; call detached. */
void oar_py_pool_stop(void);
/* The thread lost its loop in the handler: delivers the response, and hands over the pump that came
 * with it. Detached on return. */
void oar_py_job_left(struct oar_py_thread *t, struct oar_request *r);

/* py_jobs.c: what the pool's threads run for the loops */
/* The handler of a request, called on the loop's thread `t`. false: no room. */
bool oar_py_job_request(struct oar_py_thread *t, struct oar_request *r);
/* Calls `call` without arguments, then `deliver` with its result and its exception, None for none.
 * -1: exception set. */
int oar_py_job_call(struct oar_py_thread *t, PyObject *call, PyObject *deliver);

/* py_background.c: what the handler's parameter collected, or `response` (NULL: none) carries.
 * Counted, so that a drain waits. New reference; NULL: nothing. */
PyObject *oar_py_background_take(struct oar_py_thread *t, struct oar_request *r,
                                 PyObject *response);
/* Starts it, a round of the loop later. Steals `work`; NULL: nothing. */
void oar_py_background_start(struct oar_py_thread *t, PyObject *work, PyObject *context,
                             const char *route);
void oar_py_background_drop(struct oar_request *r); /* of a handler that failed */

#endif
