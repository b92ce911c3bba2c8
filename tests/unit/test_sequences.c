/* SPDX-License-Identifier: MIT
 * Any sequence of valid requests, cut into segments anywhere and read in pieces of any size, gets
 * exactly its answers, in order; the connection is closed when its client has gone; what is
 * malformed gets an answer and a close. Never a silence: nothing here needs a deadline, and time
 * stands still.
 *   build/unit/test_sequences [--sequences N] [--seed S] [--only I]
 * A failure is made smaller before it is printed. */
#include "tests/unit/test.h"

#include <signal.h>
#include <unistd.h>

#include "tests/unit/sequence.h"

/* What happens between the clients of one thread. */
struct trial {
    unsigned n_clients;
    struct sequence client[CLIENTS];
    int64_t pipeline, memory;
    uint64_t schedule;
};

/* A client while it runs. */
struct client {
    const struct sequence *s;
    struct script script;
    struct wire *w;
    size_t stop; /* sends no more than this: BREAKS, DIES */
    unsigned segment;
    unsigned passed; /* gates: interim responses in the first `seen` bytes */
    size_t seen;
    bool ended;
};

static char wrong[256];
static uint64_t current_seed, current_index;

static void draw(struct trial *t)
{
    *t = (struct trial){.n_clients = 1 + (wire_pick(4) == 0)};
    for (unsigned i = 0; i < t->n_clients; i++) {
        sequence_draw(&t->client[i]);
    }
    t->pipeline = wire_pick(2) ? 64 : 1 + wire_pick(8);
    t->memory = wire_pick(2) ? 262144 : 4096 + wire_pick(40000);
    t->schedule = (uint64_t)wire_pick(1u << 30) << 20 ^ wire_pick(1u << 30);
}

/* Pieces of some bytes are for short sequences; a long one has a thousand pieces at most. */
static unsigned scaled(unsigned limit, size_t all)
{
    return limit ? OAR_MAX(limit, (unsigned)(all / 500)) : 0;
}

/* Where the client may send up to now: it waits for leave at gates. */
static size_t sends_up_to(struct client *c)
{
    size_t most = OAR_MIN(c->script.bytes.len, c->stop);
    if (c->script.n_gates > 0 && !c->s->spoilt) {
        unsigned passed = c->passed;
        if (c->seen != c->w->got.len) {
            struct oar_slice got = {c->w->got.data, c->w->got.len};
            passed = c->passed = sequence_continues(got);
            c->seen = got.len;
        }
        most = passed < c->script.n_gates ? OAR_MIN(most, c->script.gates[passed]) : most;
    }
    return most;
}

/* The client does something. true: it did. */
static bool client_step(struct client *c)
{
    struct wire *w = c->w;
    size_t most = sends_up_to(c);
    if (!w->open) {
        return false;
    }
    if (w->arrived < most && !c->ended) {
        size_t n = c->segment ? 1 + wire_pick(c->segment) : most;
        w->arrived = OAR_MIN(w->arrived + n, most);
        return true;
    }
    if (c->s->room && w->room == 0) {
        w->room = 1 + wire_pick(scaled(c->s->room, (size_t)60000 * c->s->n));
        return true;
    }
    bool all_sent = w->arrived == OAR_MIN(c->script.bytes.len, c->stop);
    bool ends_now = (c->s->ending != STAYS && all_sent) || w->shut;
    if (!c->ended && ends_now) {
        c->ended = true;
        *(c->s->ending == DIES ? &w->reset : &w->fin) = true;
        return true;
    }
    return false;
}

static bool step(struct client *clients, unsigned n)
{
    unsigned which = wire_pick(4);
    bool moved = false;
    if (which == 0) {
        moved = client_step(&clients[wire_pick(n)]);
    } else if (which == 1) {
        moved = wire_app_step();
    } else {
        moved = wire_round();
    }
    return moved;
}

/* Until nothing moves, whoever is asked. false: the loop turns without an end. */
static bool settle(struct client *clients, unsigned n)
{
    unsigned idle = 0;
    unsigned events = wire_events;
    unsigned progress = wire_progress;
    for (unsigned steps = 0; idle < 6; steps++) {
        bool moved = false;
        for (unsigned i = 0; i < 3; i++) {
            moved = step(clients, n) || moved;
        }
        if (moved) {
            idle = 0;
            continue;
        }
        for (unsigned i = 0; i < n; i++) { /* nothing by chance: all of them, then */
            moved = client_step(&clients[i]) || moved;
        }
        for (unsigned i = wire_app_waiting() * 4; i > 0; i--) {
            moved = wire_app_step() || moved;
        }
        moved = wire_round() || moved;
        idle = moved ? 0 : idle + 1;
        if (wire_progress != progress) {
            progress = wire_progress;
            events = wire_events;
        } else if (wire_events - events > 200) {
            return false;
        }
    }
    return true;
}

static const char *check_answers(struct client *c)
{
    struct oar_slice got = {c->w->got.data, c->w->got.len};
    bool whole = c->s->ending <= HALF;
    unsigned answers;
    const char *bad = sequence_check(c->s, &c->script, got, whole, &answers);
    if (!bad && whole && !c->s->spoilt) {
        bad = c->w->cut ? "closed with bytes unread: the client may lose its answer" : NULL;
        bad = !bad && c->script.closes && c->w->open ? "not closed" : bad;
    }
    return bad;
}

/* NULL: as it must be. */
static const char *run_clients(struct client *clients, unsigned n)
{
    if (!settle(clients, n)) {
        return "the loop is woken again and again, and nothing moves";
    }
    for (unsigned i = 0; i < n; i++) {
        const char *bad = check_answers(&clients[i]);
        if (bad) {
            return bad;
        }
        clients[i].w->fin = true; /* the client is content, and leaves */
        clients[i].ended = true;
    }
    if (!settle(clients, n)) {
        return "the loop is woken again and again by a client that has gone";
    }
    if (wire_thread.n_conns != 0 || !oar_list_empty(&wire_thread.conns)) {
        return "the client has gone, the connection is still there";
    }
    if (wire_thread.buffered != 0 || wire_thread.in_flight != 0 || wire_app_waiting() != 0) {
        return "bytes or requests are still counted";
    }
    return NULL;
}

static const char *run(const struct trial *t)
{
    struct client clients[CLIENTS] = {0};
    wire_seed = t->schedule;
    wire_config.max_pipeline = t->pipeline;
    wire_config.max_connection_memory = t->memory;
    for (unsigned i = 0; i < t->n_clients; i++) {
        const struct sequence *s = &t->client[i];
        struct client *c = &clients[i];
        *c = (struct client){.s = s, .stop = SIZE_MAX};
        sequence_encode(s, &c->script);
        c->w = &wires[wire_connect()];
        c->w->bytes = c->script.bytes.data;
        c->segment = scaled(s->segment, c->script.bytes.len);
        c->w->most_read = scaled(s->most_read, c->script.bytes.len);
        c->w->most_write = scaled(s->most_write, (size_t)60000 * s->n);
        c->w->room = s->room ? 1 + wire_pick(s->room) : SIZE_MAX / 2;
        if (s->ending >= BREAKS) {
            c->stop = wire_pick((unsigned)c->script.bytes.len + 1);
        }
    }
    const char *bad = run_clients(clients, t->n_clients);
    for (unsigned i = 0; i < t->n_clients; i++) {
        oar_buf_free(&clients[i].script.bytes);
    }
    if (bad) { /* a fresh thread: this one may hold anything */
        wire_end();
        wire_begin();
    }
    return bad;
}

/* ---- making it smaller ---- */

static bool fails(struct trial *t)
{
    for (int i = 0; i < 40; i++) {
        struct trial again = *t;
        again.schedule = t->schedule + (uint64_t)i * 7919;
        const char *bad = run(&again);
        if (bad) {
            snprintf(wrong, sizeof wrong, "%s", bad);
            *t = again;
            return true;
        }
    }
    return false;
}

static bool try_it(struct trial *best, struct trial smaller)
{
    if (memcmp(best, &smaller, sizeof smaller) == 0 || !fails(&smaller)) {
        return false;
    }
    *best = smaller;
    return true;
}

static bool shrink_request(struct trial *best, unsigned c, unsigned i)
{
    struct trial t = *best;
    bool any = false;
    memmove(&t.client[c].at[i], &t.client[c].at[i + 1],
            (t.client[c].n - i - 1) * sizeof t.client[c].at[0]);
    t.client[c].n--;
    if (try_it(best, t)) {
        return true;
    }
#define SMALLER(field, value)                 \
    do {                                      \
        t = *best;                            \
        struct asked *a = &t.client[c].at[i]; \
        a->field = (value);                   \
        any = try_it(best, t) || any;         \
    } while (0)
    SMALLER(len, a->len / 2);
    SMALLER(len, a->len ? a->len - 1 : 0);
    SMALLER(answer, 0);
    SMALLER(padding, 0);
    SMALLER(mode, 0);
    SMALLER(framing, BY_LENGTH);
    SMALLER(expects, false);
    SMALLER(closes, false);
    SMALLER(old, false);
    SMALLER(from, 0);
    SMALLER(kind, a->kind == HELLO ? HELLO : a->kind - 1);
#undef SMALLER
    return any;
}

static bool shrink_client(struct trial *best, unsigned c)
{
    bool any = false;
#define SMALLER(field, value)              \
    do {                                   \
        struct trial t = *best;            \
        struct sequence *s = &t.client[c]; \
        s->field = (value);                \
        any = try_it(best, t) || any;      \
    } while (0)
    SMALLER(tail, 0);
    SMALLER(spoilt, false);
    SMALLER(ending, STAYS);
    SMALLER(segment, 0);
    SMALLER(most_read, 0);
    SMALLER(most_write, 0);
    SMALLER(room, 0);
#undef SMALLER
    for (unsigned i = best->client[c].n; i-- > 0;) {
        any = shrink_request(best, c, i) || any;
    }
    return any;
}

static void shrink(struct trial *best)
{
    bool any = true;
    for (int rounds = 0; any && rounds < 60; rounds++) {
        struct trial t = *best;
        any = false;
        if (t.n_clients == 2) {
            t.n_clients = 1;
            any = try_it(best, t);
            t.client[0] = t.client[1];
            any = any || try_it(best, t);
        }
        for (unsigned c = 0; c < best->n_clients; c++) {
            any = shrink_client(best, c) || any;
        }
        t = *best;
        t.pipeline = 64;
        any = try_it(best, t) || any;
        t = *best;
        t.memory = 262144;
        any = try_it(best, t) || any;
    }
}

static void print(const struct trial *t)
{
    printf("  %s\n  --max-pipeline %ld --max-connection-memory %ld, schedule %llu\n", wrong,
           (long)t->pipeline, (long)t->memory, (unsigned long long)t->schedule);
    for (unsigned i = 0; i < t->n_clients; i++) {
        printf("  client %u:\n", i);
        sequence_print(&t->client[i]);
    }
}

static uint64_t seed_of(uint64_t seed, uint64_t index)
{
    return (seed * 1000003u + index) * 0x9e3779b97f4a7c15u;
}

/* Returns whether all of them went well. */
static bool run_many(uint64_t seed, uint64_t from, uint64_t to)
{
    bool ok = true;
    current_seed = seed;
    wire_begin();
    for (uint64_t i = from; ok && i < to; i++) {
        struct trial t;
        current_index = i;
        wire_seed = seed_of(seed, i);
        draw(&t);
        const char *bad = run(&t);
        if (bad) {
            printf("sequence %llu of seed %llu fails: %s\n", (unsigned long long)i,
                   (unsigned long long)seed, bad);
            snprintf(wrong, sizeof wrong, "%s", bad);
            fflush(stdout);
            shrink(&t);
            print(&t);
            ok = false;
        }
    }
    wire_end();
    return ok;
}

static void on_crash(int number)
{
    char line[96];
    int n = snprintf(line, sizeof line, "signal %d in sequence %llu of seed %llu\n", number,
                     (unsigned long long)current_index, (unsigned long long)current_seed);
    (void)!write(2, line, (size_t)n);
    signal(number, SIG_DFL);
    raise(number);
}

static void sequences_get_their_answers(void **state)
{
    (void)state;
    assert_true(run_many(1, 0, 3000));
}

int main(int argc, char **argv)
{
    uint64_t n = 0;
    uint64_t seed = 1;
    uint64_t from = 0;
    wire_setup();
    signal(SIGABRT, on_crash);
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--sequences") == 0) {
            n = value;
        } else if (strcmp(argv[i], "--seed") == 0) {
            seed = value;
        } else if (strcmp(argv[i], "--only") == 0) {
            from = value;
            n = value + 1;
        }
    }
    if (n > 0) {
        bool ok = run_many(seed, from, n);
        printf("%s: %llu sequences, seed %llu\n", ok ? "no failure" : "FAILED",
               (unsigned long long)(n - from), (unsigned long long)seed);
        return !ok;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(sequences_get_their_answers)};
    return cmocka_run_group_tests_name("sequences", tests, NULL, NULL);
}
