/* SPDX-License-Identifier: MIT
 * Who drives an event loop: the protocol of worker/driver.h against a model, step by step; and the
 * whole relay with real threads, whose handlers stay for random times.
 * RELAY_STEPS and RELAY_ROUNDS make both longer (make soak); RELAY_SEED repeats a run. */
#include "tests/unit/test.h"

#include <time.h>
#include <unistd.h>

#include "shared/err.c"
#include "worker/relay.c"

static uint64_t number_from(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : fallback;
}

static uint64_t seed;

static uint32_t random_below(uint64_t *state, uint32_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % n;
}

void oar_log(enum oar_log_level level, const char *fmt, ...)
{
    (void)level;
    fail_msg("the relay has complained: %s", fmt);
}

/* ---- the protocol against a model ------------------------------------------------------------- */

enum { ACTORS = 6 };

struct model {
    uint32_t driver;       /* who drives */
    bool inside;           /* the driver is in a handler */
    uint64_t entered;      /* what its enter gave */
    bool lost[ACTORS];     /* in a handler whose loop was taken over */
    uint64_t its[ACTORS];  /* what their enter gave */
    uint64_t seen[ACTORS]; /* what each has seen of the word, some time ago */
    uint64_t takes, stale, gives, steps;
};

static void no_rouse(void *relay)
{
    (void)relay;
}

/* One step of actor `a`, whose outcome the model foretells. */
static void step(struct oar_driver *d, struct model *m, uint32_t a, uint32_t what)
{
    bool drives = m->driver == a;
    if (what == 0 && drives && !m->inside) {
        m->entered = m->its[a] = oar_driver_enter(d);
        m->inside = true;
    } else if (what == 1 && drives && m->inside) {
        assert_true(oar_driver_leave(d, m->entered));
        m->inside = false;
    } else if (what == 1 && m->lost[a]) {
        assert_false(oar_driver_leave(d, m->its[a]));
        oar_driver_caught_up(d);
        m->lost[a] = false;
    } else if (what == 2) {
        m->seen[a] = atomic_load(&d->word);
    } else if (what == 3 && !drives && !m->lost[a] && m->seen[a] & OAR_DRIVER_INSIDE) {
        bool may = m->inside && m->seen[a] == m->entered;
        assert_int_equal(oar_driver_take(d, m->seen[a], a), may);
        if (may) {
            atomic_fetch_add(&d->signs->left, 1);
            m->lost[m->driver] = true;
            m->driver = a;
            m->inside = false;
        }
        m->takes += may;
        m->stale += !may;
    } else if (what == 4 && drives && !m->inside) {
        uint32_t to = (a + 1) % ACTORS;
        if (!m->lost[to]) {
            oar_driver_give(d, to);
            m->driver = to;
            m->gives++;
        }
    }
    m->steps++;
}

static void one_owner_whatever_the_order(void **unused)
{
    (void)unused;
    struct oar_relay_signs signs = {.rouse = no_rouse, .most = ACTORS};
    struct oar_driver d = {.signs = &signs};
    struct model m = {0};
    uint64_t state = seed;
    uint64_t steps = number_from("RELAY_STEPS", 1000000);
    while (m.steps < steps) {
        step(&d, &m, random_below(&state, ACTORS), random_below(&state, 5));
        uint64_t word = atomic_load(&d.word);
        assert_int_equal(oar_driver_number(word), m.driver);
        assert_int_equal(word & OAR_DRIVER_INSIDE, m.inside);
    }
    uint32_t lost = 0;
    for (int i = 0; i < ACTORS; i++) {
        lost += m.lost[i];
    }
    assert_int_equal(signs.left, lost);
    assert_true(m.takes > steps / 1000 && m.stale > steps / 1000 && m.gives > steps / 1000);
}

static void no_handler_without_somebody_to_take_over(void **unused)
{
    (void)unused;
    struct oar_relay_signs signs = {.rouse = no_rouse, .most = 2};
    struct oar_driver d = {0};
    assert_false(oar_driver_may_enter(&d));
    d.signs = &signs;
    assert_true(oar_driver_may_enter(&d));
    atomic_store(&signs.left, 2);
    assert_false(oar_driver_may_enter(&d));
}

/* ---- the relay with threads ------------------------------------------------------------------- */

enum { LOOPS = 2, MOST = 6 };

/* What only the driving thread touches: no atomics, no lock; the sanitizers see who else does. */
struct fake_loop {
    pthread_t driver;
    uint64_t rounds, guard;
    struct oar_thread *t;
};
static struct fake_loop loops[LOOPS];
static _Atomic uint64_t all_rounds, overtaken, came_home;
static _Atomic bool ends;

void oar_thread_wake(struct oar_thread *t)
{
    (void)t;
}

void oar_thread_driven_here(struct oar_thread *t)
{
    loops[t->index].driver = pthread_self();
}

void oar_thread_taken(struct oar_thread *t, void *app_state)
{
    t->app_state = app_state;
    atomic_fetch_add(&overtaken, 1);
    oar_thread_driven_here(t);
}

/* Most handlers are quick; some stay for up to 5 ms. */
static void handler(uint64_t *state)
{
    if (random_below(state, 2000) == 0) {
        struct timespec stay = {.tv_nsec = 1000 * random_below(state, 5000)};
        nanosleep(&stay, NULL);
    }
}

/* One round on the driving thread. false: the loop is somebody else's now. */
static bool round_of(struct fake_loop *l, uint64_t *state)
{
    struct oar_driver *d = &l->t->driver;
    assert(pthread_equal(l->driver, pthread_self()));
    l->guard++;
    l->rounds++;
    atomic_fetch_add_explicit(&all_rounds, 1, memory_order_relaxed);
    assert(l->guard == l->rounds);
    if (oar_driver_may_enter(d)) {
        uint64_t word = oar_driver_enter(d);
        handler(state);
        if (!oar_driver_leave(d, word)) {
            oar_driver_caught_up(d);
            return false;
        }
    }
    assert(pthread_equal(l->driver, pthread_self()));
    return true;
}

static void *fake_start(void)
{
    return calloc(1, sizeof(uint64_t));
}

static void fake_drive(void *state, struct oar_thread *t, void *home)
{
    assert(home == t->home_state && t->app_state == state);
    bool mine = true;
    while (mine && !oar_relay_home_waits(t)) {
        mine = round_of(&loops[t->index], state);
    }
    if (mine) {
        oar_relay_give_home(t);
    }
}

static void fake_stop(void *state)
{
    free(state);
}

static const struct oar_app fake_app = {
    .spare_start = fake_start, .spare_drive = fake_drive, .spare_stop = fake_stop};

static void *home_main(void *argument)
{
    struct fake_loop *l = argument;
    uint64_t state = seed + (uint64_t)l->t->index;
    oar_thread_driven_here(l->t);
    while (!atomic_load_explicit(&ends, memory_order_relaxed)) {
        if (!round_of(l, &state)) {
            oar_relay_wait_for_home(l->t);
            atomic_fetch_add(&came_home, 1);
            assert(l->t->app_state == l->t->home_state);
        }
    }
    return NULL;
}

/* A worker's life: its loops run until `rounds` have been done, then end, then the relay. */
static void live(uint64_t rounds)
{
    static struct oar_thread threads[LOOPS];
    struct oar_config config = {.blocking_threshold = 0.001};
    struct oar_worker w = {
        .config = &config, .app = &fake_app, .threads = threads, .n_threads = LOOPS};
    struct oar_err err;
    pthread_t ids[LOOPS];
    memset(threads, 0, sizeof threads);
    memset(loops, 0, sizeof loops);
    atomic_store(&ends, false);
    atomic_store(&all_rounds, 0);
    assert_int_equal(oar_relay_start(&w.relay, &w, MOST, &err), OAR_OK);
    for (int i = 0; i < LOOPS; i++) {
        threads[i].worker = &w;
        threads[i].index = i;
        threads[i].home_state = threads[i].app_state = &threads[i];
        loops[i].t = &threads[i];
    }
    for (int i = 0; i < LOOPS; i++) {
        pthread_create(&ids[i], NULL, home_main, &loops[i]);
    }
    struct timespec pause = {.tv_nsec = 1000000};
    while (atomic_load_explicit(&all_rounds, memory_order_relaxed) < rounds) {
        nanosleep(&pause, NULL);
    }
    atomic_store(&ends, true);
    for (int i = 0; i < LOOPS; i++) {
        pthread_join(ids[i], NULL);
        assert_int_equal(threads[i].driver.word & OAR_DRIVER_INSIDE, 0);
        assert_int_equal(oar_driver_number(threads[i].driver.word), OAR_DRIVER_HOME);
    }
    oar_relay_stop(&w.relay);
    assert_int_equal(w.relay.signs.left, 0);
}

static void loops_move_on_and_come_home(void **unused)
{
    (void)unused;
    uint64_t rounds = number_from("RELAY_ROUNDS", 400000);
    enum { LIVES = 4 };
    for (int i = 0; i < LIVES; i++) {
        live(rounds / LIVES);
    }
    assert_true(atomic_load(&overtaken) > 10);
    assert_true(atomic_load(&came_home) > 0);
}

static void threshold_0_takes_nothing_over(void **unused)
{
    (void)unused;
    struct oar_config config = {.blocking_threshold = 0};
    struct oar_worker w = {.config = &config, .app = &fake_app};
    struct oar_err err;
    assert_int_equal(oar_relay_start(&w.relay, &w, MOST, &err), OAR_OK);
    assert_false(w.relay.started);
    oar_relay_stop(&w.relay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_owner_whatever_the_order),
        cmocka_unit_test(no_handler_without_somebody_to_take_over),
        cmocka_unit_test(loops_move_on_and_come_home),
        cmocka_unit_test(threshold_0_takes_nothing_over),
    };
    seed = number_from("RELAY_SEED", (uint64_t)time(NULL));
    print_message("RELAY_SEED=%llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
