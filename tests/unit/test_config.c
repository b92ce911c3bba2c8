/* SPDX-License-Identifier: MIT
 * The option parser: precedence, kinds of value, and that every message names thing, value and way
 * out. */
#include "tests/unit/test.h"

#include "shared/buf.c"
#include "shared/config.c"
#include "shared/config_help.c"
#include "shared/err.c"
#include "shared/peer.c"

static struct oar_config cfg;
static struct oar_err err;

static enum oar_status parse(char **env, int argc, char **argv)
{
    char *none[] = {NULL};
    return oar_config_parse(&cfg, argc, argv, env ? env : none, &err);
}
#define PARSE(env, ...)                                                  \
    parse(env, (int)OAR_ARRAY_LEN(((char *[]){"oarlock", __VA_ARGS__})), \
          (char *[]){"oarlock", __VA_ARGS__})

static void defaults(void **state)
{
    (void)state;
    assert_int_equal(PARSE(NULL, "run", "m:app"), OAR_OK);
    assert_string_equal(cfg.target, "m:app");
    assert_int_equal(cfg.bind.count, 1);
    assert_string_equal(cfg.bind.at[0], "127.0.0.1:8000");
    assert_int_equal(cfg.workers, 0);
    assert_int_equal(cfg.max_head, 16384);
    assert_true(cfg.keep_alive == 75);
    assert_false(cfg.debug);
}

static void command_line_beats_environment(void **state)
{
    char *env[] = {"OARLOCK_WORKERS=3",
                   "OARLOCK_THREADS=2",
                   "OARLOCK_BIND=1.2.3.4:1",
                   "OARLOCK_DEBUG=yes",
                   "X=1",
                   NULL};
    (void)state;
    assert_int_equal(
        PARSE(env, "run", "m:app", "--workers", "5", "--bind=[::1]:9", "--bind", "unix:/x"),
        OAR_OK);
    assert_int_equal(cfg.workers, 5);
    assert_int_equal(cfg.threads, 2);
    assert_int_equal(cfg.bind.count, 2);
    assert_string_equal(cfg.bind.at[0], "[::1]:9");
    assert_true(cfg.debug);
}

static void units(void **state)
{
    (void)state;
    assert_int_equal(PARSE(NULL, "run", "m:a", "--max-head", "32k", "--keep-alive", "250ms",
                           "--max-body=2g", "--load-timeout", "2m"),
                     OAR_OK);
    assert_int_equal(cfg.max_head, 32768);
    assert_true(cfg.keep_alive == 0.25);
    assert_int_equal(cfg.max_body, 2ll << 30);
    assert_true(cfg.load_timeout == 120);
}

static void mistakes(void **state)
{
    static const struct {
        char *argv[5];
        const char *says[3];
    } cases[] = {
        {{"oarlock", "run", "m:a", "--workers", "many"}, {"--workers", "'many'", "auto"}},
        {{"oarlock", "run", "m:a", "--workers", "100000"}, {"--workers", "100000", "1 to 512"}},
        {{"oarlock", "run", "m:a", "--max-head", "12q"}, {"--max-head", "12q", "16k"}},
        {{"oarlock", "run", "m:a", "--keep-alive", "inf"}, {"--keep-alive", "inf", "250ms"}},
        {{"oarlock", "run", "m:a", "--workrs", "2"},
         {"--workrs", "did you mean --workers", "--help"}},
        {{"oarlock", "run", "m:a", "--log-level", "loud"}, {"--log-level", "'loud'", "debug|info"}},
        {{"oarlock", "run", "m:a", "--bind"}, {"--bind", "needs a value", "ADDR"}},
        {{"oarlock", "run", "main"}, {"'main'", "module:attribute", "main:app"}},
        {{"oarlock", "run"}, {"no application", "module:attribute", "main:app"}},
        {{"oarlock", "rum", "m:a"}, {"'rum'", "run", "--help"}},
        {{"oarlock", "run", "m:a", "n:b"}, {"two applications", "m:a", "n:b"}},
    };
    (void)state;
    for (size_t i = 0; i < OAR_ARRAY_LEN(cases); i++) {
        int argc = 0;
        while (argc < 5 && cases[i].argv[argc]) {
            argc++;
        }
        assert_int_equal(parse(NULL, argc, (char **)cases[i].argv), OAR_ERR);
        for (int k = 0; k < 3; k++) {
            assert_contains(err.text, cases[i].says[k]);
        }
    }
}

static void environment_mistake_names_the_variable(void **state)
{
    char *env[] = {"OARLOCK_MAX_HEAD=big", NULL};
    (void)state;
    assert_int_equal(PARSE(env, "run", "m:a"), OAR_ERR);
    assert_contains(err.text, "OARLOCK_MAX_HEAD");
}

static void flags(void **state)
{
    char *env[] = {"OARLOCK_DEBUG=1", NULL};
    (void)state;
    assert_int_equal(PARSE(env, "run", "m:a", "--no-debug"), OAR_OK);
    assert_false(cfg.debug);
    assert_int_equal(PARSE(NULL, "run", "--stub"), OAR_OK);
    assert_true(cfg.stub);
}

static void every_option_is_in_help(void **state)
{
    char *text = calloc(1, 65536);
    int fds[2];
    (void)state;
    assert_int_equal(pipe(fds), 0);
    oar_config_help(fds[1]);
    assert_true(read(fds[0], text, 65535) > 0);
    for (size_t i = 0; i < oar_options_count; i++) {
        assert_contains(text, oar_options[i].flag);
    }
    close(fds[0]);
    close(fds[1]);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(command_line_beats_environment),
        cmocka_unit_test(units),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(environment_mistake_names_the_variable),
        cmocka_unit_test(flags),
        cmocka_unit_test(every_option_is_in_help),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
