/* SPDX-License-Identifier: MIT
 * The master's decisions as tables: no process, no clock. */
#include "tests/unit/test.h"

#include "master/decide.c"
#include "master/policy.c"

static struct oar_policy p;
static struct oar_action actions[OAR_MAX_ACTIONS];

/* What an event leads to, as "spawn0 spawn1 ...". */
static const char *on(enum oar_event event, int index, double now)
{
    static const char *const names[] = {
        [OAR_DO_SPAWN] = "spawn",
        [OAR_DO_STOP] = "stop",
        [OAR_DO_KILL] = "kill",
        [OAR_DO_WARN_SLOW_START] = "slow",
        [OAR_DO_WARN_SLOW_END] = "late",
        [OAR_DO_WARN_FAILING] = "failing",
        [OAR_DO_WARN_CRASH_LOOP] = "loop",
        [OAR_DO_WARN_NONE_READY] = "none",
        [OAR_DO_CANCEL] = "cancel",
        [OAR_DO_ANNOUNCE] = "announce",
        [OAR_DO_UNREADY] = "unready",
        [OAR_DO_CLOSE_LISTENERS] = "close",
        [OAR_DO_WARN_CUT] = "cut",
        [OAR_DO_END] = "end",
    };
    static char text[256];
    size_t used = 0;
    int n = oar_policy_event(&p, event, index, now, actions);
    text[0] = '\0';
    for (int i = 0; i < n; i++) {
        bool has_index = actions[i].kind <= OAR_DO_LAST_WITH_INDEX;
        used += (size_t)snprintf(text + used, sizeof text - used, has_index ? "%s%s%d" : "%s%s",
                                 i ? " " : "", names[actions[i].kind], actions[i].index);
    }
    return text;
}

static void init(struct oar_policy *q, int n_workers, double graceful)
{
    const struct oar_policy_limits limits = {
        .n_workers = n_workers, .graceful = graceful, .start = 60, .restarts = 10};
    oar_policy_init(q, &limits);
}

static void serving(void)
{
    init(&p, 2, 20);
    assert_string_equal(on(OAR_EV_LOADED, 0, 0), "spawn0 spawn1");
    assert_string_equal(on(OAR_EV_READY, 1, 1), "");
    assert_string_equal(on(OAR_EV_READY, 0, 2), "announce");
}

static void start_and_stop(void **state)
{
    (void)state;
    serving();
    assert_string_equal(on(OAR_EV_TERM, 0, 100), "stop0 stop1");
    assert_string_equal(on(OAR_EV_TERM, 0, 100.1), ""); /* process and group were told */
    assert_string_equal(on(OAR_EV_CLOSED, 1, 100.1), "");
    assert_string_equal(on(OAR_EV_CLOSED, 0, 100.11), "close");
    assert_string_equal(on(OAR_EV_DIED, 0, 101), "");
    assert_string_equal(on(OAR_EV_DIED, 1, 102), "end");
    assert_int_equal(p.status, 0);
}

static void second_signal_cuts(void **state)
{
    (void)state;
    serving();
    on(OAR_EV_TERM, 0, 100);
    assert_string_equal(on(OAR_EV_TERM, 0, 101), "kill0 kill1");
}

static void graceful_time_ends(void **state)
{
    (void)state;
    serving();
    on(OAR_EV_TERM, 0, 100);
    on(OAR_EV_CLOSED, 0, 101);
    on(OAR_EV_DIED, 1, 105);
    assert_true(oar_policy_next(&p) == 120);
    assert_string_equal(on(OAR_EV_TICK, 0, 120), "kill0 cut");
    assert_string_equal(on(OAR_EV_DIED, 0, 120), "end");
}

static void no_graceful_time(void **state)
{
    (void)state;
    init(&p, 1, 0);
    on(OAR_EV_LOADED, 0, 0);
    on(OAR_EV_READY, 0, 0);
    assert_string_equal(on(OAR_EV_TERM, 0, 5), "stop0");
    assert_string_equal(on(OAR_EV_TICK, 0, 5), "kill0 cut");
    assert_true(oar_policy_next(&p) == 6);
}

static void stop_in_every_phase(void **state)
{
    (void)state;
    init(&p, 2, 20);
    assert_string_equal(on(OAR_EV_TERM, 0, 0), "cancel end"); /* LOADING */
    init(&p, 2, 20);
    on(OAR_EV_LOADED, 0, 0);
    on(OAR_EV_READY, 0, 1);
    assert_string_equal(on(OAR_EV_TERM, 0, 2), "stop0 kill1"); /* STARTING */
    assert_string_equal(on(OAR_EV_READY, 1, 2), "");
    assert_string_equal(on(OAR_EV_DIED, 1, 2), "");
    assert_string_equal(on(OAR_EV_CLOSED, 0, 2), "close");
    assert_string_equal(on(OAR_EV_DIED, 0, 3), "end");
}

static void load_failure(void **state)
{
    (void)state;
    init(&p, 2, 20);
    assert_string_equal(on(OAR_EV_LOAD_FAILED, 0, 0), "cancel end");
    assert_int_equal(p.status, 1);
}

static void death_before_ready_ends_the_start(void **state)
{
    (void)state;
    init(&p, 3, 20);
    on(OAR_EV_LOADED, 0, 0);
    on(OAR_EV_READY, 0, 1);
    assert_string_equal(on(OAR_EV_DIED, 1, 1), "stop0 kill2");
    assert_int_equal(p.status, 1);
    on(OAR_EV_DIED, 2, 1);
    assert_string_equal(on(OAR_EV_DIED, 0, 1), "end");
}

static void a_stable_worker_starts_again_at_once(void **state)
{
    (void)state;
    serving();
    for (int i = 1; i < 4; i++) {
        assert_string_equal(on(OAR_EV_DIED, 0, 100 * i), "spawn0");
        assert_string_equal(on(OAR_EV_READY, 0, 100 * i + 1), "");
    }
}

static void crash_loop_backs_off(void **state)
{
    double now = 100;
    double expected = 0.1;
    (void)state;
    serving();
    assert_string_equal(on(OAR_EV_DIED, 0, now), "spawn0"); /* it had lived long */
    on(OAR_EV_READY, 0, now);
    now += 1;
    assert_string_equal(on(OAR_EV_DIED, 0, now), "spawn0"); /* the first early death is forgiven */
    on(OAR_EV_READY, 0, now);
    for (int i = 0; i < 9; i++) {
        now += 1;
        assert_string_equal(on(OAR_EV_DIED, 0, now), "");
        assert_true(oar_policy_next(&p) - now > expected - 0.001 &&
                    oar_policy_next(&p) - now < expected + 0.001);
        now = oar_policy_next(&p);
        assert_string_equal(on(OAR_EV_TICK, 0, now), "spawn0");
        expected = OAR_MIN(expected * 2, OAR_BACKOFF_MOST);
    }
    on(OAR_EV_READY, 0, now);
    assert_string_equal(on(OAR_EV_DIED, 0, now + 60), "spawn0");
    assert_string_equal(on(OAR_EV_DIED, 1, now + 60),
                        "spawn1"); /* the sibling has its own account */
}

static void slow_start(void **state)
{
    (void)state;
    init(&p, 1, 20);
    on(OAR_EV_LOADED, 0, 0);
    assert_true(oar_policy_next(&p) == 60);
    assert_string_equal(on(OAR_EV_TICK, 0, 60), "kill0 slow0");
    assert_string_equal(on(OAR_EV_DIED, 0, 60), "end");
    assert_int_equal(p.status, 1);
}

/* A second in which the first one sweeps, then a moment for the others; or none of them can. */
static void sockets_are_closed_once_when_the_queues_are_swept(void **state)
{
    (void)state;
    serving();
    on(OAR_EV_TERM, 0, 100);
    assert_true(oar_policy_next(&p) == 100 + OAR_SWEEP_MOST);
    assert_string_equal(on(OAR_EV_CLOSED, 1, 100.1), "");
    assert_true(oar_policy_next(&p) == 100.1 + OAR_SWEEP_MORE);
    assert_string_equal(on(OAR_EV_TICK, 0, 100.1 + OAR_SWEEP_MORE), "close");
    assert_string_equal(on(OAR_EV_CLOSED, 0, 107), "");
    assert_true(oar_policy_next(&p) == 120);
    serving();
    on(OAR_EV_TERM, 0, 100);
    assert_string_equal(on(OAR_EV_TICK, 0, 101), "close");
    serving();
    on(OAR_EV_TERM, 0, 100);
    assert_string_equal(on(OAR_EV_DIED, 0, 100.1), "");
    assert_string_equal(on(OAR_EV_CLOSED, 1, 100.2), "close");
}

static void serving_with_delay(void)
{
    serving();
    p.limit.drain_delay = 5;
    assert_string_equal(on(OAR_EV_TERM, 0, 100), "unready");
    assert_true(oar_policy_next(&p) == 105);
}

static void a_drain_delay_comes_before_the_stop(void **state)
{
    (void)state;
    serving_with_delay();
    assert_string_equal(on(OAR_EV_TERM, 0, 100.1), "");
    assert_string_equal(on(OAR_EV_DIED, 1, 101), "spawn1"); /* it still serves */
    assert_string_equal(on(OAR_EV_READY, 1, 102), "");
    assert_string_equal(on(OAR_EV_LEAVE, 0, 103), "");
    assert_string_equal(on(OAR_EV_TICK, 0, 104), "");
    assert_string_equal(on(OAR_EV_TICK, 0, 105), "stop0 stop1");
    assert_true(p.stop_at == 125);
    serving_with_delay(); /* twice: at once */
    assert_string_equal(on(OAR_EV_TERM, 0, 101), "stop0 stop1 kill0 kill1");
    serving_with_delay(); /* Ctrl-C does not wait */
    assert_string_equal(on(OAR_EV_INT, 0, 101), "stop0 stop1");
    serving();
    p.limit.drain_delay = 5;
    assert_string_equal(on(OAR_EV_INT, 0, 100), "stop0 stop1");
}

static void retiring_has_a_deadline(void **state)
{
    (void)state;
    serving();
    assert_string_equal(on(OAR_EV_LEAVE, 0, 99.8), "");
    assert_string_equal(on(OAR_EV_LEAVE, 0, 99.9), "");
    assert_string_equal(on(OAR_EV_TICK, 0, 100), "stop0");
    assert_string_equal(on(OAR_EV_LEAVE, 0, 101), ""); /* it was told */
    assert_string_equal(on(OAR_EV_CLOSED, 0, 101), "");
    assert_true(oar_policy_next(&p) == 120);
    assert_string_equal(on(OAR_EV_TICK, 0, 120), "kill0 late0");
    assert_string_equal(on(OAR_EV_TICK, 0, 120.5), "");
    assert_string_equal(on(OAR_EV_DIED, 0, 120.5), "spawn0");
    assert_string_equal(on(OAR_EV_READY, 0, 121), "");
    on(OAR_EV_LEAVE, 1, 199.7); /* in time */
    assert_string_equal(on(OAR_EV_TICK, 0, 200), "stop1");
    assert_string_equal(on(OAR_EV_DIED, 1, 201), "spawn1");
    assert_true(oar_policy_next(&p) == 261);
    on(OAR_EV_READY, 1, 202);
    on(OAR_EV_LEAVE, 0, 300); /* a stop takes over */
    assert_string_equal(on(OAR_EV_TICK, 0, 300.3), "stop0");
    assert_string_equal(on(OAR_EV_TERM, 0, 301), "stop1");
    assert_string_equal(on(OAR_EV_TICK, 0, 321), "close kill0 kill1 cut");
}

/* All processes of a service were told, in any order. */
static void a_stop_just_after_a_wish_to_leave_is_a_stop(void **state)
{
    (void)state;
    serving();
    p.limit.drain_delay = 5;
    on(OAR_EV_LEAVE, 0, 100);
    on(OAR_EV_LEAVE, 1, 100);
    assert_string_equal(on(OAR_EV_TERM, 0, 100.1), "unready");
    assert_true(oar_policy_next(&p) == 105.1);
    assert_string_equal(on(OAR_EV_TICK, 0, 105.1), "stop0 stop1");
}

static void a_crash_loop_without_a_worker_ends_the_server(void **state)
{
    double now = 100;
    (void)state;
    serving();
    on(OAR_EV_DIED, 0, now);
    on(OAR_EV_DIED, 1, now);
    for (int i = 1; i < 10; i++) {
        assert_string_equal(on(OAR_EV_DIED, 0, now), "");
        now = p.child[0].since + p.child[0].delay;
        assert_string_equal(on(OAR_EV_TICK, 0, now), "spawn0");
    }
    assert_string_equal(on(OAR_EV_DIED, 0, now), "kill1 loop0");
    assert_int_equal(p.status, OAR_STATUS_CRASH_LOOP);
    assert_string_equal(on(OAR_EV_DIED, 1, now), "end");
}

static void a_worker_that_cannot_start_is_named_while_others_serve(void **state)
{
    double now = 100;
    (void)state;
    serving();
    on(OAR_EV_DIED, 0, now);
    for (int i = 1; i < 40; i++) {
        assert_string_equal(on(OAR_EV_DIED, 0, now), i % 10 ? "" : "failing0");
        now = p.child[0].since + p.child[0].delay;
        assert_string_equal(on(OAR_EV_TICK, 0, now), "spawn0");
    }
    assert_string_equal(on(OAR_EV_DIED, 1, now), "spawn1"); /* the last one that served */
    assert_string_equal(on(OAR_EV_DIED, 0, now), "kill1 loop0");
}

/* Starts that fail by taking too long: not for hours. */
static void no_worker_for_long_ends_the_server(void **state)
{
    (void)state;
    serving();
    on(OAR_EV_DIED, 1, 100);
    on(OAR_EV_DIED, 0, 100);
    assert_string_equal(on(OAR_EV_TICK, 0, 160), "kill0 slow0 kill1 slow1");
    on(OAR_EV_DIED, 0, 160);
    on(OAR_EV_DIED, 1, 160);
    on(OAR_EV_TICK, 0, 160.1);
    assert_true(oar_policy_next(&p) == 160 + OAR_NONE_READY_MOST);
    assert_string_equal(on(OAR_EV_TICK, 0, 220), "kill0 kill1 none");
    assert_int_equal(p.status, OAR_STATUS_CRASH_LOOP);
}

/* Its clients are being answered: that is no want of workers. */
static void a_worker_that_drains_for_long_does_not_end_the_server(void **state)
{
    (void)state;
    init(&p, 1, 600);
    on(OAR_EV_LOADED, 0, 0);
    on(OAR_EV_READY, 0, 1);
    on(OAR_EV_LEAVE, 0, 100);
    assert_string_equal(on(OAR_EV_TICK, 0, 101), "stop0");
    assert_true(oar_policy_next(&p) == 701);
    assert_string_equal(on(OAR_EV_TICK, 0, 400), "");
    assert_string_equal(on(OAR_EV_DIED, 0, 400), "spawn0");
    assert_true(oar_policy_next(&p) == 460); /* a start has its time from now on */
    assert_string_equal(on(OAR_EV_READY, 0, 402), "");
}

/* --load-timeout 0 */
static void a_start_without_a_limit_does_not_end_the_server(void **state)
{
    (void)state;
    serving();
    p.limit.start = 0;
    on(OAR_EV_DIED, 0, 100);
    on(OAR_EV_DIED, 1, 100);
    assert_true(oar_policy_next(&p) < 0);
    assert_string_equal(on(OAR_EV_TICK, 0, 10000), "");
    assert_string_equal(on(OAR_EV_READY, 0, 10001), "");
}

/* ---- the queue ---- */

static struct oar_decider d;
static char said[256];
static int fails; /* spawns from this worker on fail */

static double no_clock(void)
{
    return 0;
}

static void note(const struct oar_action *a)
{
    static const char *const names[] = {
        [OAR_DO_SPAWN] = "spawn", [OAR_DO_STOP] = "stop", [OAR_DO_KILL] = "kill"};
    size_t used = strlen(said);
    const char *name = a->kind <= OAR_DO_KILL ? names[a->kind] : "end";
    snprintf(said + used, sizeof said - used, "%s%s%d", used ? " " : "", name, a->index);
    if (a->kind == OAR_DO_SPAWN && a->index >= fails) {
        oar_decide(&d, OAR_EV_DIED, a->index);
    }
}

/* Workers 2 and 3 were spawned after the decision to stop, and nobody killed them. */
static void a_failed_fork_is_decided_after_the_others(void **state)
{
    (void)state;
    d = (struct oar_decider){.obey = note, .now = no_clock};
    init(&d.policy, 4, 20);
    fails = 1;
    oar_decide(&d, OAR_EV_LOADED, 0);
    assert_string_equal(said, "spawn0 spawn1 spawn2 spawn3 kill0 kill2 kill3");
    assert_int_equal(d.policy.phase, OAR_STOPPING);
    oar_decide(&d, OAR_EV_DIED, 0);
    assert_int_equal(d.policy.phase, OAR_ENDED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_and_stop),
        cmocka_unit_test(second_signal_cuts),
        cmocka_unit_test(graceful_time_ends),
        cmocka_unit_test(no_graceful_time),
        cmocka_unit_test(stop_in_every_phase),
        cmocka_unit_test(load_failure),
        cmocka_unit_test(death_before_ready_ends_the_start),
        cmocka_unit_test(a_stable_worker_starts_again_at_once),
        cmocka_unit_test(crash_loop_backs_off),
        cmocka_unit_test(slow_start),
        cmocka_unit_test(sockets_are_closed_once_when_the_queues_are_swept),
        cmocka_unit_test(a_drain_delay_comes_before_the_stop),
        cmocka_unit_test(retiring_has_a_deadline),
        cmocka_unit_test(a_stop_just_after_a_wish_to_leave_is_a_stop),
        cmocka_unit_test(a_crash_loop_without_a_worker_ends_the_server),
        cmocka_unit_test(a_worker_that_cannot_start_is_named_while_others_serve),
        cmocka_unit_test(no_worker_for_long_ends_the_server),
        cmocka_unit_test(a_worker_that_drains_for_long_does_not_end_the_server),
        cmocka_unit_test(a_start_without_a_limit_does_not_end_the_server),
        cmocka_unit_test(a_failed_fork_is_decided_after_the_others),
    };
    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
