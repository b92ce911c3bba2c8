/* SPDX-License-Identifier: MIT
 * An application in C whose targets say what its handlers do: see wire.h.
 *   GET  /hello   POST /echo (body collected)   POST /stream (body in pieces) */
#include <stdio.h>
#include <stdlib.h>

#include "shared/route_build.h"
#include "tests/unit/wire.h"

enum { MOST_WAITING = 512 };

/* A handler that runs. */
struct waiting {
    struct oar_request *r;
    struct oar_exchange *x; /* a reference, NULL: has none */
    struct wire_ask ask;
    size_t seen;    /* of the body */
    size_t written; /* of a response in pieces */
    bool asked, ok, streaming, full;
    struct oar_buf answer;
};
static struct waiting waiting[MOST_WAITING];
static unsigned n_waiting;
bool wire_app_may_hold;
static struct oar_buf quick; /* the answer of a call that does not wait */

void wire_target(struct oar_buf *out, const char *path, const struct wire_ask *ask)
{
    oar_buf_printf(out, "%s?%u.%u.%u.%u.%u", path, ask->id, ask->from, ask->len, ask->answer,
                   ask->mode);
}

void wire_answer(struct oar_buf *out, unsigned id, unsigned answer, bool ok)
{
    oar_buf_printf(out, "%u %s ", id, ok ? "ok" : "bad");
    oar_buf_put(out, wire_pattern, answer);
}

static bool same(const struct wire_ask *ask, size_t at, struct oar_slice piece)
{
    return at + piece.len <= ask->len &&
           (piece.len == 0 || memcmp(piece.ptr, wire_pattern + ask->from + at, piece.len) == 0);
}

static struct wire_ask read_target(const struct oar_request *r)
{
    struct wire_ask ask = {0};
    char text[80] = "";
    size_t len = OAR_MIN((size_t)r->query_len, sizeof text - 1);
    memcpy(text, oar_request_query(r).ptr, len);
    (void)sscanf(text, "%u.%u.%u.%u.%u", &ask.id, &ask.from, &ask.len, &ask.answer, &ask.mode);
    ask.from = OAR_MIN(ask.from, 70000u); /* bytes that a test has spoilt */
    ask.len = OAR_MIN(ask.len, 70000u);
    ask.answer = OAR_MIN(ask.answer, 150000u);
    ask.mode &= wire_app_may_hold ? UINT32_MAX : WIRE_HOLDS - 1u;
    return ask;
}

static enum oar_call call(void *state, struct oar_request *r)
{
    struct wire_ask ask = read_target(r);
    bool streams_in = r->streams_body;
    bool ok = same(&ask, 0, r->body) && r->body.len == ask.len;
    (void)state;
    wire_progress++;
    wire_clock += ask.mode & WIRE_STALLS ? 60 : 0;
    if (streams_in || ask.mode & (WIRE_LATER | WIRE_STREAMS | WIRE_HOLDS)) {
        struct waiting *w = &waiting[n_waiting++];
        if (n_waiting == MOST_WAITING) {
            abort();
        }
        *w = (struct waiting){.r = r, .ask = ask, .ok = streams_in || ok};
        w->x = streams_in || ask.mode & (WIRE_STREAMS | WIRE_HOLDS) ? oar_host.exchange(r) : NULL;
        return OAR_CALL_PENDING;
    }
    quick.len = 0;
    wire_answer(&quick, ask.id, ask.answer, ok);
    r->response.status = 200;
    r->response.type = OAR_LIT("text/plain");
    r->response.body = (struct oar_slice){quick.data, quick.len};
    return OAR_CALL_DONE;
}

static void leave_list(struct waiting *w)
{
    if (w->x) {
        oar_host.drop(w->x);
    }
    oar_buf_free(&w->answer);
    *w = waiting[--n_waiting];
    wire_progress++;
}

/* The whole response at once. */
static void respond(struct waiting *w)
{
    struct oar_request *r = w->r;
    struct oar_buf body = {0};
    wire_answer(&body, w->ask.id, w->ask.answer, w->ok);
    r->response.status = 200;
    r->response.type = OAR_LIT("text/plain");
    r->response.body = (struct oar_slice){body.data, body.len};
    bool elsewhere = w->ask.mode & WIRE_ELSEWHERE;
    leave_list(w);
    if (elsewhere) {
        r->response.owned = body.data;
        oar_host.respond_elsewhere(&wire_thread, r);
    } else {
        oar_host.respond(r);
        oar_buf_free(&body);
    }
}

static void begin_stream(struct waiting *w)
{
    wire_answer(&w->answer, w->ask.id, w->ask.answer, w->ok);
    w->streaming = true;
    w->r->response.status = 200;
    w->r->response.type = OAR_LIT("text/plain");
    w->r->response.stream = true;
    wire_progress++;
    if (w->ask.mode & WIRE_ELSEWHERE) {
        if (oar_host.respond_elsewhere(&wire_thread, w->r)) {
            oar_host.nudge(&wire_thread);
        }
    } else {
        oar_host.respond(w->r);
    }
}

/* Takes what has come of the body. true: it is all there, or never will be. */
static bool read_body(struct waiting *w)
{
    struct oar_buf piece = {0};
    enum oar_body state = oar_host.take_body(w->x, &piece, false);
    w->ok = w->ok && same(&w->ask, w->seen, (struct oar_slice){piece.data, piece.len});
    w->seen += piece.len;
    wire_progress += piece.len > 0 || !w->asked;
    w->asked = true;
    oar_buf_free(&piece);
    if (state != OAR_BODY_MORE) {
        w->ok = w->ok && state == OAR_BODY_COMPLETE && w->seen == w->ask.len;
    }
    return state != OAR_BODY_MORE;
}

static void write_some(struct waiting *w)
{
    if (w->full) { /* armed and taken back: is there room? */
        w->full = oar_host.arm(w->x, OAR_WAIT_ROOM, w);
        if (w->full) {
            oar_host.disarm(w->x, OAR_WAIT_ROOM, NULL);
            return;
        }
    }
    size_t left = w->answer.len - w->written;
    size_t most = (size_t)wire_pick(wire_pick(4) ? 200 : 60000) + 1;
    size_t n = OAR_MIN(left, most);
    enum oar_room room = OAR_ROOM_OK;
    if (n > 0) {
        room = oar_host.write(w->x, w->answer.data + w->written, n);
        w->written += n;
        wire_progress++;
    }
    w->full = room == OAR_ROOM_WAIT;
    if (room == OAR_ROOM_GONE || w->written == w->answer.len) {
        oar_host.end(w->x, room != OAR_ROOM_GONE);
        leave_list(w);
    }
}

bool wire_app_step(void)
{
    unsigned before = wire_progress;
    if (n_waiting == 0) {
        return false;
    }
    struct waiting *w = &waiting[wire_pick(n_waiting)];
    bool impatient = w->ask.mode & WIRE_IMPATIENT;
    if (w->streaming) {
        write_some(w);
    } else if (w->ask.mode & WIRE_HOLDS) {
        return false;
    } else if (w->x && w->r->streams_body && !impatient && !read_body(w)) {
        return wire_progress != before;
    } else if (w->ask.mode & WIRE_STREAMS) {
        begin_stream(w);
    } else {
        respond(w);
    }
    return wire_progress != before;
}

unsigned wire_app_waiting(void)
{
    return n_waiting;
}

static struct waiting *find(unsigned id)
{
    for (unsigned i = 0; i < n_waiting; i++) {
        if (waiting[i].ask.id == id) {
            return &waiting[i];
        }
    }
    return NULL;
}

bool wire_app_answer(unsigned id)
{
    struct waiting *w = find(id);
    if (w) {
        respond(w);
    }
    return w != NULL;
}

struct oar_exchange *wire_app_exchange(unsigned id)
{
    struct waiting *w = find(id);
    return w ? w->x : NULL;
}

void wire_app_forget(void)
{
    while (n_waiting > 0) {
        leave_list(&waiting[0]);
    }
    oar_buf_free(&quick);
}

static void notify(void *state, struct oar_exchange *x)
{
    (void)state, (void)x;
}

const struct oar_app wire_app = {.runtime = "test", .call = call, .notify = notify};

const void *wire_routes(void)
{
    static struct oar_built built;
    const struct oar_route_spec specs[] = {
        {.path = "/hello",
         .name = "hello",
         .source = "t:1",
         .methods = 1u << OAR_GET,
         .max_body = OAR_BODY_DEFAULT},
        {.path = "/echo",
         .name = "echo",
         .source = "t:2",
         .methods = 1u << OAR_POST,
         .max_body = OAR_BODY_DEFAULT,
         .handler = 1},
        {.path = "/stream",
         .name = "stream",
         .source = "t:3",
         .methods = 1u << OAR_POST,
         .max_body = OAR_BODY_DEFAULT,
         .handler = 2,
         .flags = OAR_ROUTE_STREAM},
    };
    const struct oar_routes routes = {.at = specs, .count = 3, .redirect_slashes = true};
    struct oar_err err;
    if (!built.bytes && oar_route_build(&routes, &built, &err) != OAR_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(2);
    }
    return built.bytes;
}
