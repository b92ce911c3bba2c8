/* SPDX-License-Identifier: MIT
 * The option parser: precedence, kinds of value, and that every message names thing, value and way
 * out. */
#include "tests/unit/test.h"

#include "shared/buf.c"
#include "shared/config.c"
#include "shared/config_help.c"
#include "shared/config_names.c"
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
    assert_int_equal(cfg.max_body, 8 << 20);
    assert_true(cfg.max_body * 32 <= cfg.max_buffered); /* docs/http.md says so */
    assert_true(cfg.keep_alive == 75);
    assert_int_equal(cfg.log_level, OAR_LEVEL_INFO); /* a CHOICE: the row makes the enum */
    assert_int_equal(cfg.proxy_headers, OAR_FORWARDED_OFF);
    assert_int_equal(PARSE(NULL, "run", "m:app", "--proxy-headers", "forwarded",
                           "--log-level=error", "--route-order", "registration"),
                     OAR_OK);
    assert_int_equal(cfg.proxy_headers, OAR_FORWARDED_RFC7239);
    assert_int_equal(oar_config_forwarded(&cfg).which, OAR_FORWARDED_RFC7239);
    assert_int_equal(cfg.log_level, OAR_LEVEL_ERROR);
    assert_int_equal(cfg.route_order, OAR_ROUTE_ORDER_REGISTRATION);
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
        {{"oarlock", "run", "m:a", "--max-bdoy", "2"}, {"--max-bdoy", "did you mean --max-body"}},
        {{"oarlock", "run", "m:a", "--work", "2"}, {"--work", "did you mean --workers", "--help"}},
        {{"oarlock", "run", "m:a", "--trusted=*"}, {"--trusted", "did you mean --trusted-proxies"}},
        {{"oarlock", "run", "m:a", "--no-debug=1"},
         {"--no-debug takes no value", "'1'", "--debug"}},
        {{"oarlock", "run", "m:a", "--no-debug=0"},
         {"--no-debug takes no value", "'0'", "--debug"}},
        {{"oarlock", "run", "main.py"}, {"'main.py' names a file", "such as main:app"}},
        {{"oarlock", "run", "main.py:api"}, {"'main.py:api' names a file", "such as main:api"}},
        {{"oarlock", "run", "./src/main.py"}, {"names a file", "such as main:app --app-dir ./src"}},
        {{"oarlock", "run", "/main.py:x"}, {"names a file", "such as main:x --app-dir /"}},
        {{"oarlock", "run", "src/main:x"}, {"names a file", "such as main:x --app-dir src"}},
        {{"oarlock", "run", "main:"}, {"'main:' does not name", "such as main:app"}},
        {{"oarlock", "run", ":app"}, {"':app' does not name", "such as main:app"}},
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
        for (int k = 0; k < 3 && cases[i].says[k]; k++) {
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

static void lists_in_the_environment_are_split(void **state)
{
    char *env[] = {"OARLOCK_BIND=127.0.0.1:1,[::1]:2 , unix:/x,,", NULL};
    char *too_many[] = {"OARLOCK_BIND=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", NULL};
    char *empty[] = {"OARLOCK_BIND=", NULL};
    (void)state;
    assert_int_equal(PARSE(env, "run", "m:a"), OAR_OK);
    assert_int_equal(cfg.bind.count, 3);
    assert_string_equal(cfg.bind.at[0], "127.0.0.1:1");
    assert_string_equal(cfg.bind.at[1], "[::1]:2");
    assert_string_equal(cfg.bind.at[2], "unix:/x");
    assert_string_equal(env[0], "OARLOCK_BIND=127.0.0.1:1,[::1]:2 , unix:/x,,");
    assert_int_equal(PARSE(too_many, "run", "m:a"), OAR_ERR);
    assert_contains(err.text, "OARLOCK_BIND: given more than 16 times");
    assert_int_equal(PARSE(empty, "run", "m:a"), OAR_OK);
    assert_string_equal(cfg.bind.at[0], "127.0.0.1:8000");
}

static void unknown_variables_are_named(void **state)
{
    char *env[] = {"X=1",
                   "OARLOCK_MAX_BODYS=1",
                   "OARLOCK_WORKERS=2",
                   "OARLOCK_CACHE=/x",
                   "OARLOCK_SERVICE_HOST=10.0.0.1",
                   "OARLOCK_PORT_80_TCP=x",
                   "OARLOCK_=1",
                   "OARLOCK_TRUSTED_PROXYS=*",
                   "OARLOCK_COLOUR=red",
                   NULL};
    static const char *const says[] = {
        "OARLOCK_MAX_BODYS, which is no option; did you mean OARLOCK_MAX_BODY;", "OARLOCK_, which",
        "OARLOCK_TRUSTED_PROXYS, which is no option; did you mean OARLOCK_TRUSTED_PROXIES;",
        "OARLOCK_COLOUR, which is no option; `oarlock --help`"};
    char text[300];
    size_t n = 0;
    (void)state;
    for (size_t at = 0; oar_config_unknown(env, &at, text, sizeof text); n++) {
        assert_true(n < OAR_ARRAY_LEN(says));
        assert_contains(text, says[n]);
    }
    assert_int_equal(n, OAR_ARRAY_LEN(says));
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
        cmocka_unit_test(lists_in_the_environment_are_split),
        cmocka_unit_test(unknown_variables_are_named),
        cmocka_unit_test(flags),
        cmocka_unit_test(every_option_is_in_help),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
