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
    static const char *const names[] = {"spawn",    "stop", "kill", "cancel",
                                        "announce", "cut",  "slow", "end"};
    static char text[256];
    size_t used = 0;
    int n = oar_policy_event(&p, event, index, now, actions);
    text[0] = '\0';
    for (int i = 0; i < n; i++) {
        bool has_index =
            actions[i].kind <= OAR_DO_KILL || actions[i].kind == OAR_DO_WARN_SLOW_START;
        used += (size_t)snprintf(text + used, sizeof text - used, has_index ? "%s%s%d" : "%s%s",
                                 i ? " " : "", names[actions[i].kind], actions[i].index);
    }
    return text;
}

static void serving(void)
{
    oar_policy_init(&p, 2, 20, 60);
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
    on(OAR_EV_DIED, 1, 105);
    assert_true(oar_policy_next(&p) == 120);
    assert_string_equal(on(OAR_EV_TICK, 0, 120), "kill0 cut");
    assert_string_equal(on(OAR_EV_DIED, 0, 120), "end");
}

static void no_graceful_time(void **state)
{
    (void)state;
    oar_policy_init(&p, 1, 0, 60);
    on(OAR_EV_LOADED, 0, 0);
    on(OAR_EV_READY, 0, 0);
    assert_string_equal(on(OAR_EV_TERM, 0, 5), "stop0");
    assert_string_equal(on(OAR_EV_TICK, 0, 5), "kill0 cut");
}

static void stop_in_every_phase(void **state)
{
    (void)state;
    oar_policy_init(&p, 2, 20, 60);
    assert_string_equal(on(OAR_EV_TERM, 0, 0), "cancel end"); /* LOADING */
    oar_policy_init(&p, 2, 20, 60);
    on(OAR_EV_LOADED, 0, 0);
    on(OAR_EV_READY, 0, 1);
    assert_string_equal(on(OAR_EV_TERM, 0, 2), "stop0 kill1"); /* STARTING */
    assert_string_equal(on(OAR_EV_READY, 1, 2), "");
    assert_string_equal(on(OAR_EV_DIED, 1, 2), "");
    assert_string_equal(on(OAR_EV_DIED, 0, 3), "end");
}

static void load_failure(void **state)
{
    (void)state;
    oar_policy_init(&p, 2, 20, 60);
    assert_string_equal(on(OAR_EV_LOAD_FAILED, 0, 0), "cancel end");
    assert_int_equal(p.status, 1);
}

static void death_before_ready_ends_the_start(void **state)
{
    (void)state;
    oar_policy_init(&p, 3, 20, 60);
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
    oar_policy_init(&p, 1, 20, 60);
    on(OAR_EV_LOADED, 0, 0);
    assert_true(oar_policy_next(&p) == 60);
    assert_string_equal(on(OAR_EV_TICK, 0, 60), "kill0 slow0");
    assert_string_equal(on(OAR_EV_DIED, 0, 60), "end");
    assert_int_equal(p.status, 1);
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
    oar_policy_init(&d.policy, 4, 20, 60);
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
        cmocka_unit_test(a_failed_fork_is_decided_after_the_others),
    };
    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
