/* SPDX-License-Identifier: MIT
 * SIGUSR1: what the scoreboard says, as log lines; one for each event loop, one for each reason for
 * which requests were refused. Process: master. Owns nothing. Never trusts a slot: a state that is
 * none is printed as a number, and a worker may be writing meanwhile. */
#include "master/status.h"

#include <inttypes.h>

#include "oarlock/log.h"

static const char *const states[] = {"empty", "starting", "serving", "draining"};

static void slot_line(uint32_t worker, uint32_t thread, const struct oar_slot *s)
{
    uint32_t state = OAR_GET_NOW(s->state);
    if (state == OAR_SLOT_EMPTY) {
        return;
    }
    oar_log(OAR_LOG_INFO,
            "status: worker %u thread %u [%d] %s: %u connections, %" PRIu64 " accepted, %" PRIu64
            " requests, %" PRIu64 " refused, %" PRIu64 " deadlines passed, %" PRIu64
            " handler errors",
            worker, thread, (int)OAR_GET_NOW(s->pid), state < OAR_SLOT_STATES ? states[state] : "?",
            OAR_GET_NOW(s->connections), OAR_GET_NOW(s->accepted), OAR_GET_NOW(s->requests),
            OAR_GET_NOW(s->refused), OAR_GET_NOW(s->timeouts), OAR_GET_NOW(s->handler_errors));
}

static double per(uint64_t all, uint64_t each)
{
    return each ? (double)all / (double)each : 0;
}

/* What the interpreter cost this loop. */
static void interpreter_line(uint32_t worker, uint32_t thread, const struct oar_slot *s)
{
    uint64_t requests = OAR_GET_NOW(s->requests);
    uint64_t attached = OAR_GET_NOW(s->attach_count);
    if (attached == 0) {
        return;
    }
    oar_log(OAR_LOG_INFO,
            "status: worker %u thread %u: the interpreter taken %.3f times a request, %.2f us "
            "waited a request (longest wait over 10 ms: %.0f ms), %" PRIu64
            " calls in the pool, %u background tasks open, %" PRIu64
            " collections of %.2f ms (longest %.1f ms)%s",
            worker, thread, per(attached, requests), per(OAR_GET_NOW(s->attach_ns), requests) / 1e3,
            (double)OAR_GET_NOW(s->attach_longest_ns) / 1e6, OAR_GET_NOW(s->pool_calls),
            OAR_GET_NOW(s->background), OAR_GET_NOW(s->gc_count),
            per(OAR_GET_NOW(s->gc_ns), OAR_GET_NOW(s->gc_count)) / 1e6,
            (double)OAR_GET_NOW(s->gc_longest_ns) / 1e6,
            OAR_GET_NOW(s->gil) ? "; an extension has turned the GIL on" : "");
}

void oar_status_log(struct oar_shm *shm, uint32_t n_workers, uint32_t n_threads)
{
    static const struct {
        const char *name, *text;
        unsigned status;
    } rules[OAR_RULES_COUNT] = {
#define OAR_ROW(name_, status_, section_, text_) [OAR_RULE_##name_] = {#name_, text_, status_},
        OAR_RULES(OAR_ROW) OAR_LIMITS(OAR_ROW)
#undef OAR_ROW
    };
    uint64_t refused[OAR_RULES_COUNT] = {0};
    for (uint32_t i = 0; i < n_workers * n_threads; i++) {
        const struct oar_slot *s = oar_shm_slot(shm, i);
        slot_line(i / n_threads, i % n_threads, s);
        interpreter_line(i / n_threads, i % n_threads, s);
        for (int rule = 1; rule < OAR_RULES_COUNT; rule++) {
            refused[rule] += OAR_GET_NOW(s->refused_by[rule]);
        }
    }
    for (int rule = 1; rule < OAR_RULES_COUNT; rule++) {
        if (refused[rule]) {
            oar_log(OAR_LOG_INFO, "status: refused %" PRIu64 " with %u %s: %s", refused[rule],
                    rules[rule].status, rules[rule].name, rules[rule].text);
        }
    }
}
