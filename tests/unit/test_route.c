/* SPDX-License-Identifier: MIT
 * Route table: manifest to bytes to matches. */
#include "tests/unit/test.h"

#include "shared/buf.c"
#include "shared/err.c"
#include "shared/fingerprint.c"
#include "shared/json_manifest.c"
#include "shared/methods.c"
#include "shared/route_build.c"
#include "shared/route_check.c"
#include "shared/route_match.c"
#include "shared/route_order.c"
#include "shared/route_pattern.c"

static struct oar_err err;
static struct oar_built built;

/* Routes as "METHOD[,METHOD] path" lines. */
static enum oar_status build(const char *const *routes, size_t n, bool registration,
                             bool duplicates)
{
    struct oar_buf json = {0};
    oar_buf_printf(&json, "{\"version\":1,\"redirect_slashes\":true,\"routes\":[");
    for (size_t i = 0; i < n; i++) {
        const char *space = strchr(routes[i], ' ');
        oar_buf_printf(
            &json,
            "%s{\"path\":\"%s\",\"name\":\"h%zu\",\"source\":\"app.py:%zu\",\"kind\":\"def\",\"blocking\":\"auto\",\"params\":[],\"methods\":[",
            i ? "," : "", space + 1, i, i + 1);
        for (const char *p = routes[i]; p < space;) {
            size_t len = strcspn(p, ", ");
            oar_buf_printf(&json, "%s\"%.*s\"", p > routes[i] ? "," : "", (int)len, p);
            p += len + (p[len] == ',');
        }
        oar_buf_printf(&json, "]}");
    }
    oar_buf_printf(&json, "]}");
    free(built.bytes);
    free(built.warnings);
    enum oar_status status = oar_manifest_compile((struct oar_slice){json.data, json.len},
                                                  registration, duplicates, &built, &err);
    oar_buf_free(&json);
    if (status == OAR_OK) {
        assert_int_equal(oar_route_check(built.bytes, built.size, &err), OAR_OK);
    }
    return status;
}
#define BUILD(...)                                                                            \
    build((const char *const[]){__VA_ARGS__}, OAR_ARRAY_LEN(((const char *[]){__VA_ARGS__})), \
          false, false)

static struct oar_match found;
static char scratch[4096];

static enum oar_match_result match(enum oar_method m, const char *path)
{
    return oar_route_match(built.bytes, m, oar_slice_of(path), scratch, &found);
}

/* The path of the route that takes it, or a word for the other outcomes. */
static const char *who(enum oar_method m, const char *path)
{
    static const char *const others[] = {"", "none", "method", "options", "redirect"};
    enum oar_match_result r = match(m, path);
    return r == OAR_MATCH_FOUND ? oar_rt_text(built.bytes, found.route->path_off) : others[r];
}

static void precedence(void **state)
{
    (void)state;
    assert_int_equal(BUILD("GET /{p:path}", "GET /a/{x}", "GET /a/{n:int}", "GET /a/{f:float}",
                           "GET /a/{u:uuid}", "GET /a/me", "GET /"),
                     OAR_OK);
    assert_string_equal(who(OAR_GET, "/"), "/");
    assert_string_equal(who(OAR_GET, "/a/me"), "/a/me");
    assert_string_equal(who(OAR_GET, "/a/12"), "/a/{n:int}");
    assert_string_equal(who(OAR_GET, "/a/1.5"), "/a/{f:float}");
    assert_string_equal(who(OAR_GET, "/a/123e4567-e89b-12d3-a456-426614174000"), "/a/{u:uuid}");
    assert_string_equal(who(OAR_GET, "/a/other"), "/a/{x}");
    assert_string_equal(who(OAR_GET, "/a/b/c"), "/{p:path}");
    assert_slice_equal(found.params[0], "a/b/c");
    assert_string_equal(who(OAR_GET, "/a/"), "/{p:path}");
}

static void backtracking(void **state)
{
    (void)state;
    assert_int_equal(BUILD("GET /a/b/c", "GET /a/{x}/d", "GET /{y}/b/e", "GET /{y}/{z}/{w:int}"),
                     OAR_OK);
    assert_string_equal(who(OAR_GET, "/a/b/c"), "/a/b/c");
    assert_string_equal(who(OAR_GET, "/a/b/d"), "/a/{x}/d");
    assert_slice_equal(found.params[0], "b");
    assert_string_equal(who(OAR_GET, "/a/b/e"), "/{y}/b/e");
    assert_string_equal(who(OAR_GET, "/a/b/9"), "/{y}/{z}/{w:int}");
    assert_int_equal(found.n_params, 3);
    assert_slice_equal(found.params[2], "9");
    assert_string_equal(who(OAR_GET, "/a/b/x"), "none");
}

static void methods(void **state)
{
    (void)state;
    assert_int_equal(BUILD("GET /x", "POST,PUT /x", "DELETE /{y}"), OAR_OK);
    assert_string_equal(who(OAR_HEAD, "/x"), "/x");
    assert_string_equal(who(OAR_PUT, "/x"), "/x");
    assert_string_equal(who(OAR_DELETE, "/x"), "/{y}"); /* the less specific route has the method */
    assert_string_equal(who(OAR_PATCH, "/x"), "method");
    assert_int_equal(found.allow, 1 << OAR_GET | 1 << OAR_HEAD | 1 << OAR_POST | 1 << OAR_PUT |
                                      1 << OAR_DELETE | 1 << OAR_OPTIONS_M);
    assert_string_equal(who(OAR_OPTIONS_M, "/x"), "options");
    assert_string_equal(who(OAR_METHOD_OTHER, "/x"), "method");
    assert_string_equal(who(OAR_GET, "/y"), "method");
    /* the server in general: RFC 9110 section 9.3.7 */
    assert_int_equal(BUILD("GET /a", "POST,PUT /b/{x}"), OAR_OK);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(who(OAR_OPTIONS_M, i ? "*" : ""), "options");
        assert_int_equal(found.allow, 1u << OAR_GET | 1u << OAR_HEAD | 1u << OAR_POST |
                                          1u << OAR_PUT | 1u << OAR_OPTIONS_M);
        assert_string_equal(who(OAR_GET, i ? "*" : ""), "none");
    }
    assert_string_equal(who(OAR_OPTIONS_M, "/*"), "none");
}

static void decoding(void **state)
{
    (void)state;
    assert_int_equal(BUILD("GET /caf\xc3\xa9", "GET /{x}/end", "GET /f/{p:path}"), OAR_OK);
    assert_string_equal(who(OAR_GET, "/caf%C3%A9"), "/caf\xc3\xa9");
    assert_string_equal(who(OAR_GET, "/a%2Fb/end"), "/{x}/end");
    assert_slice_equal(found.params[0], "a%2Fb"); /* never of "/" */
    assert_string_equal(who(OAR_GET, "/a%20b/end"), "/{x}/end");
    assert_slice_equal(found.params[0], "a b");
    assert_string_equal(who(OAR_GET, "/%zz/end"), "/{x}/end");
    assert_slice_equal(found.params[0], "%zz");
    assert_string_equal(who(OAR_GET, "/%4/end"), "/{x}/end");
    assert_string_equal(who(OAR_GET, "/f/%2e%2e/etc"), "none");
    assert_string_equal(who(OAR_GET, "/f/../etc"), "none");
    assert_string_equal(who(OAR_GET, "/f/..."), "/f/{p:path}");
    assert_string_equal(who(OAR_GET, "/f/a//b"), "/f/{p:path}");
    assert_slice_equal(found.params[0], "a//b");
    assert_string_equal(who(OAR_GET, "//end"), "none"); /* {x} takes no empty segment */
    assert_string_equal(who(OAR_GET, ""), "none");
    assert_string_equal(who(OAR_GET, "x"), "none");
}

static void slashes(void **state)
{
    (void)state;
    assert_int_equal(BUILD("GET /a", "GET /b/", "POST /c/{x}"), OAR_OK);
    assert_string_equal(who(OAR_GET, "/a/"), "redirect");
    assert_string_equal(who(OAR_GET, "/b"), "redirect");
    assert_string_equal(who(OAR_POST, "/c/1/"), "redirect");
    assert_string_equal(who(OAR_GET, "/c/1/"), "none");
    assert_string_equal(who(OAR_GET, "/a//"), "none");
    assert_string_equal(who(OAR_GET, "/"), "none");
}

static void registration_order(void **state)
{
    const char *routes[] = {"GET /{x}", "GET /me", "GET /{n:int}"};
    (void)state;
    assert_int_equal(build(routes, 3, false, false), OAR_OK);
    assert_string_equal(who(OAR_GET, "/me"), "/me");
    assert_non_null(built.warnings);
    assert_contains(built.warnings, "'/me' (app.py:2) wins over '/{x}' (app.py:1)");
    assert_contains(built.warnings, "'/{n:int}' (app.py:3) wins over '/{x}' (app.py:1)");
    assert_int_equal(build(routes, 3, true, false), OAR_OK);
    assert_null(built.warnings);
    assert_string_equal(who(OAR_GET, "/me"), "/{x}");
    assert_string_equal(who(OAR_GET, "/7"), "/{x}");
}

static void no_needless_warnings(void **state)
{
    (void)state;
    assert_int_equal(BUILD("GET /me", "GET /{x}", "POST /{y}/a", "GET /b/a", "GET /{z}/c",
                           "GET /d/e", "GET /q/r/{s}", "GET /q/r/"),
                     OAR_OK);
    assert_null(built.warnings);
}

static void conflicts(void **state)
{
    const char *routes[] = {"GET /u/{id}", "POST,GET /u/{name}"};
    (void)state;
    assert_int_equal(build(routes, 2, false, false), OAR_ERR);
    assert_contains(err.text, "GET /u/{name} is routed twice");
    assert_contains(err.text, "app.py:1");
    assert_contains(err.text, "app.py:2");
    assert_contains(err.text, "--allow-duplicate-routes");
    assert_int_equal(build(routes, 2, false, true), OAR_OK);
    assert_string_equal(who(OAR_GET, "/u/1"), "/u/{id}");
    assert_string_equal(who(OAR_POST, "/u/1"), "/u/{name}");
}

static void bad_patterns(void **state)
{
    static const char *const cases[][2] = {
        {"GET x", "must start with '/'"},
        {"GET /a{b}", "whole segment"},
        {"GET /{}", "without a name"},
        {"GET /{x:number}", "unknown convertor 'number'"},
        {"GET /{p:path}/more", "nothing may follow"},
        {"GET /a/../b", "dot segment"},
        {"PURGE /x", "'PURGE' is not one of GET"},
        {"GET /{x", "whole segment"},
    };
    (void)state;
    for (size_t i = 0; i < OAR_ARRAY_LEN(cases); i++) {
        assert_int_equal(build(&cases[i][0], 1, false, false), OAR_ERR);
        assert_contains(err.text, cases[i][1]);
        assert_contains(err.text, "app.py:1");
    }
}

static void deep_paths(void **state)
{
    char path[4000];
    (void)state;
    assert_int_equal(BUILD("GET /{a}/{b}", "GET /{p:path}"), OAR_OK);
    for (size_t i = 0; i + 1 < sizeof path; i += 2) {
        memcpy(path + i, "/x", 2);
    }
    path[sizeof path - 1] = '\0';
    assert_string_equal(who(OAR_GET, path), "/{p:path}");
    assert_int_equal(found.params[0].len, sizeof path - 2);
    memset(path, '/', sizeof path - 1);
    assert_string_equal(who(OAR_GET, path), "/{p:path}");
}

static void long_segments_and_many_routes(void **state)
{
    enum { N = 3000 };
    const char **routes = calloc(N, sizeof *routes);
    char text[128];
    (void)state;
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "GET /api/%s%d/{id:int}",
                 i % 2 ? "a-segment-of-more-than-28-bytes-" : "r", i);
        routes[i] = strdup(text);
    }
    assert_int_equal(build(routes, N, false, false), OAR_OK);
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "/api/%s%d/7", i % 2 ? "a-segment-of-more-than-28-bytes-" : "r",
                 i);
        assert_int_equal(match(OAR_GET, text), OAR_MATCH_FOUND);
        assert_int_equal(found.route->order, i);
        free((void *)routes[i]);
    }
    assert_int_equal(match(OAR_GET, "/api/a-segment-of-more-than-28-bytes-2/7"), OAR_MATCH_NONE);
    free(routes);
}

static void manifests_that_are_none(void **state)
{
    static const char *const cases[] = {"",
                                        "{",
                                        "[]",
                                        "{\"version\":2,\"routes\":[]}",
                                        "{\"version\":1}",
                                        "{\"version\":1,\"routes\":[{}]}",
                                        "{\"version\":1,\"routes\":[3]}"};
    (void)state;
    for (size_t i = 0; i < OAR_ARRAY_LEN(cases); i++) {
        struct oar_built b;
        assert_int_equal(oar_manifest_compile(oar_slice_of(cases[i]), false, false, &b, &err),
                         OAR_ERR);
        assert_null(b.bytes);
    }
}

static void damaged_tables_are_refused(void **state)
{
    (void)state;
    assert_int_equal(BUILD("GET /a/{x}", "GET /b"), OAR_OK);
    char *copy = malloc(built.size);
    for (size_t i = 0; i < sizeof(struct oar_rt_header);
         i += 4) { /* every offset and count of the header */
        memcpy(copy, built.bytes, built.size);
        memset(copy + i, 0xff, 4);
        bool harmless = i >= 16 && i < 28; /* fingerprint and flags */
        assert_int_equal(oar_route_check(copy, built.size, &err) == OAR_OK, harmless);
    }
    assert_int_equal(oar_route_check(built.bytes, built.size - 1, &err), OAR_ERR);
    free(copy);
}

static int free_table(void **state)
{
    (void)state;
    free(built.bytes);
    free(built.warnings);
    return 0;
}

/* A copy of the table with the 4 bytes of a field changed, checked. The copy has its own size, so
 * that ASan sees a read beyond it. */
static char *damaged(size_t at, uint32_t value, size_t bytes, bool *taken)
{
    char *copy = malloc(built.size);
    memcpy(copy, built.bytes, built.size);
    memcpy(copy + at, &value, bytes);
    *taken = oar_route_check(copy, built.size, &err) == OAR_OK;
    return copy;
}

/* Every text, parameter and match of a table that the check has taken. */
static void read_all(const char *table)
{
    static const char *const paths[] = {
        "/a/b",           "/a/17/1.5", "/b", "/", "/long-segment-of-a-path/x/y",
        "/a/b/c/d/e/f/g", "/a//",      "*"};
    const struct oar_rt_header *h = oar_rt(table);
    size_t sum = 0;
    for (uint32_t i = 0; i < h->n_routes; i++) {
        const struct oar_rt_route *r = &oar_rt_routes(table)[i];
        sum += strlen(oar_rt_text(table, r->path_off)) + strlen(oar_rt_text(table, r->name_off)) +
               strlen(oar_rt_text(table, r->source_off));
        for (int p = 0; p < r->n_params; p++) {
            const struct oar_rt_param *param = &oar_rt_params(table, r)[p];
            sum += strlen(oar_rt_text(table, param->name_off)) + param->name_len;
        }
    }
    assert_true(sum > 0);
    for (size_t i = 0; i < OAR_ARRAY_LEN(paths); i++) {
        for (int m = 0; m <= OAR_METHOD_OTHER; m++) {
            struct oar_match match_;
            if (oar_route_match(table, (enum oar_method)m, oar_slice_of(paths[i]), scratch,
                                &match_) == OAR_MATCH_FOUND) {
                assert_true(match_.n_params == match_.route->n_path_params);
                for (int p = 0; p < match_.route->n_params; p++) {
                    const struct oar_rt_param *param = &oar_rt_params(table, match_.route)[p];
                    assert_true(param->source != OAR_IN_PATH ||
                                param->path_index < match_.n_params);
                }
            }
        }
    }
}

static void build_with_params(void)
{
    static const char json[] =
        "{\"version\":1,\"redirect_slashes\":true,\"routes\":["
        "{\"path\":\"/a/{x}/{y:float}\",\"name\":\"f\",\"source\":\"a.py:1\",\"kind\":\"def\","
        "\"blocking\":\"auto\",\"methods\":[\"GET\"],\"params\":["
        "{\"name\":\"x\",\"segment\":\"x\",\"in\":\"path\",\"type\":\"int\",\"required\":true,"
        "\"nullable\":false},"
        "{\"name\":\"q\",\"in\":\"query\",\"type\":\"str\",\"required\":true,\"nullable\":false}]},"
        "{\"path\":\"/long-segment-of-a-path/{p:path}\",\"name\":\"g\",\"source\":\"a.py:2\","
        "\"kind\":\"async\",\"blocking\":\"no\",\"methods\":[\"GET\",\"PUT\"],\"params\":[]},"
        "{\"path\":\"/b\",\"name\":\"h\",\"source\":\"a.py:3\",\"kind\":\"def\","
        "\"blocking\":\"yes\",\"methods\":[\"POST\"],\"params\":[]}]}";
    free(built.bytes);
    free(built.warnings);
    assert_int_equal(oar_manifest_compile(OAR_LIT(json), false, false, &built, &err), OAR_OK);
    assert_int_equal(oar_route_check(built.bytes, built.size, &err), OAR_OK);
}

/* Each field that leads somewhere, in the second of its kind where there is one. */
static void every_offset_is_checked(void **state)
{
#define ROUTE(field) \
    offsetof(struct oar_rt_route, field), sizeof(((struct oar_rt_route *)0)->field), 0
#define NODE(field) offsetof(struct oar_rt_node, field), sizeof(((struct oar_rt_node *)0)->field), 1
#define PARAM(field) \
    offsetof(struct oar_rt_param, field), sizeof(((struct oar_rt_param *)0)->field), 2
    static const struct {
        size_t offset, bytes;
        int part;
        const char *name;
    } fields[] = {
        {ROUTE(path_off), "path_off"},
        {ROUTE(name_off), "name_off"},
        {ROUTE(source_off), "source_off"},
        {ROUTE(path_len), "path_len"},
        {ROUTE(name_len), "name_len"},
        {ROUTE(params_off), "params_off"},
        {ROUTE(n_params), "n_params"},
        {ROUTE(handler), "handler"},
        {ROUTE(kind), "kind"},
        {ROUTE(blocking), "blocking"},
        {ROUTE(n_path_params), "n_path_params"},
        {NODE(parent), "parent"},
        {NODE(via), "via"},
        {NODE(edges), "edges"},
        {NODE(seg_len), "seg_len"},
        {PARAM(name_off), "param name_off"},
        {PARAM(name_len), "param name_len"},
        {PARAM(source), "source"},
        {PARAM(type), "type"},
        {PARAM(path_index), "path_index"},
    };
    (void)state;
    build_with_params();
    const struct oar_rt_header *h = oar_rt(built.bytes);
    const size_t starts[] = {h->routes_off, h->nodes_off + sizeof(struct oar_rt_node),
                             h->params_off};
    for (size_t i = 0; i < OAR_ARRAY_LEN(fields); i++) {
        bool taken;
        free(damaged(starts[fields[i].part] + fields[i].offset, UINT32_MAX, fields[i].bytes,
                     &taken));
        if (taken) {
            fail_msg("%s of all ones is taken", fields[i].name);
        }
    }
    for (uint32_t n = 0; n < h->n_nodes; n++) { /* edges that make a walk go in circles */
        for (int e = 0; e < OAR_EDGES; e++) {
            size_t at = h->nodes_off + n * sizeof(struct oar_rt_node) + (size_t)e * 4;
            for (uint32_t to = 0; to < h->n_nodes; to++) {
                bool taken;
                char *copy = damaged(at, to, 4, &taken);
                assert_int_equal(taken, memcmp(copy, built.bytes, built.size) == 0);
                free(copy);
            }
        }
    }
    bool taken; /* a hash without an empty slot: a search would never end */
    char *full = damaged(0, 0, 0, &taken);
    for (uint32_t i = 0; i <= h->hash_mask; i++) {
        memcpy(full + h->hash_off + i * 4u, &(uint32_t){1}, 4);
    }
    assert_int_equal(oar_route_check(full, built.size, &err), OAR_ERR);
    free(full);
}

static void what_passes_the_check_is_read_safely(void **state)
{
    static const uint32_t values[] = {0,    1,      2,       7,          64,
                                      0xff, 0xffff, 0x10000, 0x7fffffff, UINT32_MAX};
    size_t passed = 0;
    (void)state;
    build_with_params();
    for (size_t at = 0; at + 4 <= built.size; at += 2) {
        for (size_t v = 0; v < OAR_ARRAY_LEN(values) + 4; v++) {
            uint32_t value;
            bool taken;
            memcpy(&value, (char *)built.bytes + at, 4);
            value = v < OAR_ARRAY_LEN(values) ? values[v]
                                              : value + (uint32_t)(v - OAR_ARRAY_LEN(values)) - 2;
            char *copy = damaged(at, value, 4, &taken);
            if (taken) {
                read_all(copy);
                passed++;
            }
            free(copy);
        }
    }
    assert_true(passed > 100); /* text, limits and the fingerprint may be anything */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(precedence),
        cmocka_unit_test(backtracking),
        cmocka_unit_test(methods),
        cmocka_unit_test(decoding),
        cmocka_unit_test(slashes),
        cmocka_unit_test(registration_order),
        cmocka_unit_test(no_needless_warnings),
        cmocka_unit_test(conflicts),
        cmocka_unit_test(bad_patterns),
        cmocka_unit_test(deep_paths),
        cmocka_unit_test(long_segments_and_many_routes),
        cmocka_unit_test(manifests_that_are_none),
        cmocka_unit_test(damaged_tables_are_refused),
        cmocka_unit_test(every_offset_is_checked),
        cmocka_unit_test(what_passes_the_check_is_read_safely),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, free_table);
}
