/* SPDX-License-Identifier: MIT
 * Path and query text to values, and FastAPI's 422 body: no interpreter, no connection. */
#include "tests/unit/test.h"

#include <locale.h>

#include "shared/arena.c"
#include "shared/buf.c"
#include "shared/err.c"
#include "shared/fingerprint.c"
#include "shared/json_manifest.c"
#include "shared/methods.c"
#include "shared/route_build.c"
#include "shared/route_match.c"
#include "shared/route_order.c"
#include "shared/route_pattern.c"
#include "worker/params.c"

static struct oar_pool pool;
static struct oar_arena arena = {.pool = &pool};
static struct oar_value value;
static struct oar_buf detail;

/* One query parameter `q` of a type, validated against a query. */
static bool valid(const char *type, const char *query, bool required)
{
    struct oar_err err;
    struct oar_built built;
    struct oar_buf json = {0};
    static char *head; /* of its own size, so that ASan sees a read beyond; values point into it */
    free(head);
    head = malloc(strlen(query) + 1);
    struct oar_match found;
    char scratch[8];
    memcpy(head, query, strlen(query));
    oar_buf_printf(&json,
                   "{\"version\":1,\"redirect_slashes\":true,\"routes\":[{\"path\":\"/\",\"name\":"
                   "\"h\",\"source\":\"a.py:1\",\"kind\":\"def\",\"blocking\":\"auto\",\"methods\":"
                   "[\"GET\"],\"params\":[{\"name\":\"q\",\"in\":\"query\",\"type\":\"%s\","
                   "\"required\":%s,\"nullable\":false}]}]}",
                   type, required ? "true" : "false");
    assert_int_equal(
        oar_manifest_compile((struct oar_slice){json.data, json.len}, false, false, &built, &err),
        OAR_OK);
    oar_buf_free(&json);
    assert_int_equal(oar_route_match(built.bytes, OAR_GET, oar_slice_of("/"), scratch, &found),
                     OAR_MATCH_FOUND);
    struct oar_request r = {
        .head = head, .query_len = (uint32_t)strlen(query), .route = found.route, .values = &value};
    oar_buf_free(&detail);
    detail = (struct oar_buf){0};
    bool ok = oar_params_validate(built.bytes, &r, &arena, &detail) == OAR_OK;
    oar_buf_put(&detail, "", 1);
    free(built.bytes);
    free(built.warnings);
    return ok;
}

static int done(void **state)
{
    (void)state;
    oar_arena_reset(&arena);
    oar_pool_drain(&pool);
    oar_buf_free(&detail);
    return 0;
}

static void integers(void **state)
{
    static const struct {
        const char *query;
        int64_t expected;
    } good[] = {{"q=0", 0},
                {"q=-7", -7},
                {"q=%2B7", 7},
                {"q=007", 7},
                {"q=1_000", 1000},
                {"q=+12+", 12},
                {"q=1.0", 1},
                {"a=b&q=3", 3},
                {"q=1&q=2", 2},
                {"q=9223372036854775807", INT64_MAX},
                {"q=-9223372036854775808", INT64_MIN}};
    static const char *const bad[] = {"q=",   "q",     "q=1.5", "q=seven", "q=1__0", "q=_1",
                                      "q=1_", "q=0x1", "q=--1", "q=1e3",   "q=%00",  "q=1 2"};
    (void)state;
    for (size_t i = 0; i < OAR_ARRAY_LEN(good); i++) {
        if (!valid("int", good[i].query, true)) {
            fail_msg("%s is refused: %s", good[i].query, detail.data);
        }
        assert_int_equal(value.tag, OAR_VAL_INT);
        assert_int_equal(value.i, good[i].expected);
    }
    for (size_t i = 0; i < OAR_ARRAY_LEN(bad); i++) {
        if (valid("int", bad[i], true)) {
            fail_msg("%s is taken as %lld", bad[i], (long long)value.i);
        }
        assert_contains(detail.data, "\"type\":\"int_parsing\"");
    }
    assert_true(valid("int", "q=92233720368547758080", true));
    assert_int_equal(value.tag, OAR_VAL_BIG);
    assert_slice_equal(value.text, "92233720368547758080");
}

static void floats(void **state)
{
    static const char *const bad[] = {"q=", "q=x", "q=0x1p3", "q=nan(1)", "q=1,5", "q=1..2"};
    (void)state;
    assert_true(valid("float", "q=1.5", true));
    assert_true(value.tag == OAR_VAL_FLOAT && value.f == 1.5);
    assert_true(valid("float", "q=-1e3", true) && value.f == -1000.0);
    assert_true(valid("float", "q=inf", true) && isinf(value.f));
    for (size_t i = 0; i < OAR_ARRAY_LEN(bad); i++) {
        if (valid("float", bad[i], true)) {
            fail_msg("%s is taken as %f", bad[i], value.f);
        }
    }
}

static void booleans_and_uuids(void **state)
{
    static const uint8_t uuid[16] = {0x12, 0x34, 0x56, 0x78, 0x12, 0x34, 0x12, 0x34,
                                     0x12, 0x34, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc};
    static const char *const forms[] = {"q=12345678-1234-1234-1234-123456789abc",
                                        "q=12345678123412341234123456789ABC",
                                        "q={12345678-1234-1234-1234-123456789abc}",
                                        "q=urn:uuid:12345678-1234-1234-1234-123456789abc"};
    (void)state;
    assert_true(valid("bool", "q=YES", true) && value.tag == OAR_VAL_BOOL && value.i == 1);
    assert_true(valid("bool", "q=off", true) && value.i == 0);
    assert_false(valid("bool", "q=2", true));
    assert_false(valid("bool", "q=", true));
    for (size_t i = 0; i < OAR_ARRAY_LEN(forms); i++) {
        if (!valid("uuid", forms[i], true)) {
            fail_msg("%s is refused", forms[i]);
        }
        assert_memory_equal(value.uuid, uuid, sizeof uuid);
    }
    assert_false(valid("uuid", "q=12345678-1234-1234-1234-123456789ab", true));
    assert_false(valid("uuid", "q=1234567-81234-1234-1234-123456789abc", true));
}

static void strings_and_defaults(void **state)
{
    (void)state;
    assert_true(valid("str", "q=a%20b+c%26%3d", true));
    assert_slice_equal(value.text, "a b c&=");
    assert_true(valid("str", "q=%zz%4", true)); /* what is no escape stays */
    assert_slice_equal(value.text, "%zz%4");
    assert_true(valid("str", "%71=x", true)); /* the name is decoded too */
    assert_slice_equal(value.text, "x");
    assert_true(valid("str", "qq=1", false));
    assert_int_equal(value.tag, OAR_VAL_DEFAULT);
    assert_false(valid("str", "qq=1", true));
    assert_string_equal(detail.data, "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"query\",\"q\"],"
                                     "\"msg\":\"Field required\",\"input\":null}]}");
    assert_false(valid("int", "q=%22%0a%ff", true)); /* the answer is JSON whatever was sent */
    assert_contains(detail.data, "\"input\":\"\\\"\\n\xef\xbf\xbd\"");
}

/* A locale with a decimal comma, made by glibc's localedef: few machines have one installed. */
static bool set_comma_locale(char *folder)
{
    static const char source[] = "comment_char %\nescape_char /\nLC_NUMERIC\n"
                                 "decimal_point \",\"\nthousands_sep \".\"\ngrouping 3\n"
                                 "END LC_NUMERIC\n";
    char command[256];
    char name[64];
    snprintf(name, sizeof name, "%s/source", folder);
    FILE *f = fopen(name, "w");
    fputs(source, f);
    fclose(f);
    snprintf(command, sizeof command,
             "localedef -c -i %s/source -f ANSI_X3.4-1968 %s/comma >/dev/null 2>&1", folder,
             folder);
    (void)!system(command); /* it warns of the other categories */
    setenv("LOCPATH", folder, 1);
    return setlocale(LC_NUMERIC, "comma") != NULL && strtod("1.5", NULL) == 1.0;
}

static void floats_whatever_the_locale(void **state)
{
    char folder[] = "/tmp/oarlock-locale-XXXXXX";
    char command[64];
    (void)state;
    assert_non_null(mkdtemp(folder));
    bool set = set_comma_locale(folder);
    bool point = valid("float", "q=1.5", true) && value.f == 1.5;
    bool comma = valid("float", "q=1,5", true);
    setlocale(LC_NUMERIC, "C");
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    if (!set) {
        print_message("localedef made no locale with a decimal comma\n");
        skip();
    }
    assert_true(point);
    assert_false(comma);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),
        cmocka_unit_test(floats),
        cmocka_unit_test(floats_whatever_the_locale),
        cmocka_unit_test(booleans_and_uuids),
        cmocka_unit_test(strings_and_defaults),
    };
    return cmocka_run_group_tests_name("params", tests, NULL, done);
}
