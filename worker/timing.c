/* SPDX-License-Identifier: MIT
 * --server-timing: a Server-Timing field (W3C Server Timing) that says how long a request waited for
 * its turn, for the interpreter and for its collections, how long its handler took, and when it was
 * read (CLOCK_MONOTONIC, for a load generator on the same machine). Process: worker, on the
 * connection's thread. Owns nothing: what it keeps lies in the connection's arena. Costs nothing
 * but a test for NULL where the option is not given. */
#include "worker/timing.h"

#include "shared/clock.h"
#include "worker/conn.h"

static bool is_asked(const struct oar_request *r)
{
    bool asked = false;
    for (uint32_t i = 0; i < r->n_fields && !asked; i++) {
        const struct oar_field *f = &r->fields[i];
        asked = f->name_len == 14 && oar_is_name(r->head + f->name_off, "oarlock-timing", 14);
    }
    return asked;
}

void oar_timing_read(struct oar_conn *c, struct oar_request *r)
{
    struct oar_timing *time = NULL;
    if (c->t->worker->timing == OAR_TIMING_ALL || is_asked(r)) {
        time = oar_arena_take(&c->arena, sizeof *time);
    }
    if (time) { /* without memory for it the response goes without the field */
        *time = (struct oar_timing){.read_ns = oar_now_ns(),
                                    .attach_ns = OAR_GET_NOW(c->t->slot->attach_ns)};
        r->timing = time;
    }
}

void oar_timing_called(const struct oar_thread *t, struct oar_request *r)
{
    struct oar_timing *time = r->timing;
    uint64_t attach_ns = OAR_GET_NOW(t->slot->attach_ns);
    time->called_ns = oar_now_ns();
    time->gil_ns += attach_ns - time->attach_ns; /* called again once the batch has entered */
    time->attach_ns = attach_ns;
    time->collect_ns = OAR_GET_NOW(t->slot->gc_ns);
    time->queue_ns = time->called_ns - time->read_ns;
    time->queue_ns -= OAR_MIN(time->queue_ns, time->gil_ns);
}

static char *put(char *to, struct oar_slice s)
{
    memcpy(to, s.ptr, s.len);
    return to + s.len;
}

/* At least `least` digits. */
static char *put_number(char *to, uint64_t n, int least)
{
    char digits[24];
    size_t at = sizeof digits;
    for (; n || least > 0; least--) {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    }
    return put(to, (struct oar_slice){digits + at, sizeof digits - at});
}

/* Milliseconds with three digits behind the point; by hand, since each response would pay printf's
 * price. */
static char *put_ms(char *to, struct oar_slice name, uint64_t ns)
{
    uint64_t us = ns / 1000;
    to = put_number(put(to, name), us / 1000, 1);
    *to++ = '.';
    return put_number(to, us % 1000, 3);
}

size_t oar_timing_field(const struct oar_thread *t, const struct oar_request *r, char *out,
                        size_t room)
{
    const struct oar_timing *time = r->timing;
    uint64_t gil = time->gil_ns;
    uint64_t gc = 0;
    uint64_t handler = 0;
    if (time->called_ns) {
        uint64_t after = oar_now_ns() - time->called_ns;
        /* what the loop's thread waited for is this request's while its handler is the loop's */
        uint64_t waited = time->in_pool ? 0 : OAR_GET_NOW(t->slot->attach_ns) - time->attach_ns;
        gc = OAR_MIN(OAR_GET_NOW(t->slot->gc_ns) - time->collect_ns, after);
        waited = OAR_MIN(waited, after - gc);
        gil += waited;
        handler = after - gc - waited;
    }
    char *to = room >= OAR_TIMING_ROOM ? out : NULL;
    if (to) {
        to = put_ms(to, OAR_LIT("server-timing: queue;dur="), time->queue_ns);
        to = put_ms(to, OAR_LIT(", gil;dur="), gil);
        to = put_ms(to, OAR_LIT(", gc;dur="), gc);
        to = put_ms(to, OAR_LIT(", handler;dur="), handler);
        to = put_number(put(to, OAR_LIT(", read;desc=")), time->read_ns, 1);
        to = put(to, OAR_LIT("\r\n"));
    }
    return to ? (size_t)(to - out) : 0;
}
