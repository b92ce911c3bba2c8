/* SPDX-License-Identifier: MIT
 * Responses as bytes, JSON strings, dates, and the arena that requests live in. */
#include "tests/unit/test.h"

#include "shared/arena.c"
#include "shared/buf.c"
#include "worker/http_write.c"

static struct oar_buf out;

static const char *written(uint16_t status, uint8_t method, uint8_t minor, const char *body,
                           bool close)
{
    struct oar_request r = {
        .method = method,
        .minor = minor,
        .response = {.status = status, .type = OAR_LIT("text/plain"), .body = oar_slice_of(body)}};
    out.len = 0;
    oar_http_write(&out, &r, OAR_LIT("date: D\r\n"), close);
    oar_buf_put(&out, "", 1);
    return out.data;
}

static void framing(void **state)
{
    (void)state;
    assert_string_equal(written(200, OAR_GET, 1, "hi", false),
                        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n"
                        "date: D\r\n\r\nhi");
    assert_string_equal(written(200, OAR_HEAD, 1, "hi", false), /* the length, not the body */
                        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n"
                        "date: D\r\n\r\n");
    assert_string_equal(written(204, OAR_GET, 1, "hi", false), /* neither */
                        "HTTP/1.1 204 No Content\r\ndate: D\r\n\r\n");
    assert_string_equal(written(304, OAR_GET, 1, "hi", true),
                        "HTTP/1.1 304 Not Modified\r\ndate: D\r\nconnection: close\r\n\r\n");
    assert_string_equal(written(200, OAR_GET, 0, "", false),
                        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-type: text/plain\r\n"
                        "date: D\r\nconnection: keep-alive\r\n\r\n");
    assert_contains(written(299, OAR_GET, 1, "", false), "HTTP/1.1 299 \r\n");
}

/* A stream is chunked, up to the close on HTTP/1.0, or as long as its handler has said. */
static void streams(void **state)
{
    struct oar_request r = {
        .method = OAR_GET, .minor = 1, .response = {.status = 200, .stream = true}};
    (void)state;
    for (int i = 0; i < 4; i++) {
        static const char *const framing_of[] = {"transfer-encoding: chunked\r\n", "",
                                                 "content-length: 18446744073709551615\r\n",
                                                 "content-length: 18446744073709551615\r\n"};
        char expected[256];
        r.minor = i % 2 == 0;
        r.response.has_length = i >= 2;
        r.response.length = UINT64_MAX; /* the longest number */
        out.len = 0;
        oar_http_write(&out, &r, OAR_LIT("date: D\r\n"), false);
        oar_buf_put(&out, "", 1);
        snprintf(expected, sizeof expected, "HTTP/1.1 200 OK\r\n%sdate: D\r\n%s\r\n", framing_of[i],
                 r.minor ? "" : "connection: keep-alive\r\n");
        assert_string_equal(out.data, expected);
    }
}

static void dates(void **state)
{
    char text[64];
    (void)state;
    size_t n = oar_http_date(text, sizeof text, 784111777);
    assert_int_equal(n, strlen("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
    assert_memory_equal(text, "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", n);
    assert_int_equal(oar_http_date(text, 10, 784111777), 0); /* no room: no line */
}

static void json_strings(void **state)
{
    static const struct {
        const char *in, *expected;
    } cases[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"\"\\/", "\"\\\"\\\\/\""},
        {"\b\f\n\r\t\x01\x1f", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\""},
        {"\x7f", "\"\x7f\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\xff", "\"\xef\xbf\xbd\""},                 /* no UTF-8 */
        {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""}, /* overlong */
    };
    (void)state;
    for (size_t i = 0; i < OAR_ARRAY_LEN(cases); i++) {
        char *copy = malloc(strlen(cases[i].in) + 1);
        memcpy(copy, cases[i].in, strlen(cases[i].in));
        out.len = 0;
        oar_buf_put_json(&out, (struct oar_slice){copy, strlen(cases[i].in)});
        oar_buf_put(&out, "", 1);
        assert_string_equal(out.data, cases[i].expected);
        free(copy);
    }
}

static void arenas(void **state)
{
    struct oar_pool pool = {0};
    struct oar_arena a = {.pool = &pool};
    (void)state;
    for (size_t size = 1; size < 100000; size = size * 3 + 1) { /* small ones and beyond a block */
        char *p = oar_arena_take(&a, size);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, 0xa5, size);
    }
    oar_arena_reset(&a);
    assert_null(a.blocks);
    assert_true(pool.kept > 0); /* usual blocks are kept for the next request, odd ones are not */
    assert_non_null(oar_arena_take(&a, 8));
    oar_arena_reset(&a);
    oar_pool_drain(&pool);
    assert_int_equal(pool.kept, 0);
}

static int done(void **state)
{
    (void)state;
    oar_buf_free(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(framing),      cmocka_unit_test(streams), cmocka_unit_test(dates),
        cmocka_unit_test(json_strings), cmocka_unit_test(arenas),
    };
    return cmocka_run_group_tests_name("http_write", tests, NULL, done);
}
