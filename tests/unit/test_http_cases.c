/* SPDX-License-Identifier: MIT
 * tests/http: every case parsed whole and split at every byte; accepted heads are compared with
 * http-parser, the library that the strict parser replaced: what we take, it must take, and see in
 * the same way. */
#include "tests/unit/test.h"

#include "shared/buf.c"
#include "shared/methods.c"
#include "worker/http_chunk.c"
#undef REFUSE_IF
#include "worker/http_gate.c"
#include "worker/http_parse.c"

#include "tests/unit/case_file.h"
#include "tests/unit/http_oracle.h"

static const struct oar_parse_limits limits = {16384, 8192, 100};

/* ---- parsing as a connection does, with `split` bytes first ---- */

static const char *or_dash(uint32_t len)
{
    return len ? "" : "-";
}

/* One request from `bytes`; appends what was seen. `first` bytes arrive before the rest. Returns
 * the bytes that it took; SIZE_MAX: refused, or not complete. */
static size_t one_request(const char *bytes, size_t len, size_t first, struct oar_buf *seen)
{
    struct oar_field fields[100];
    struct oar_parsed p = {.fields = fields};
    char *copy = malloc(first + 1); /* so that ASan sees a read beyond what has arrived */
    memcpy(copy, bytes, first);
    enum oar_parse_result r = oar_parse_head(&limits, copy, first, &p);
    free(copy);
    if (r == OAR_PARSE_MORE) {
        copy = malloc(len + 1);
        memcpy(copy, bytes, len);
        r = oar_parse_head(&limits, copy, len, &p);
        free(copy);
    }
    if (r == OAR_PARSE_REFUSED) {
        oar_buf_printf(seen, "%s", oar_rules[p.rule].name);
        return SIZE_MAX;
    }
    if (r == OAR_PARSE_MORE) {
        oar_buf_printf(seen, "incomplete");
        return SIZE_MAX;
    }
    oar_buf_printf(seen, "%s %.*s%s %.*s%s %d %s", oar_method_names[p.method].ptr, (int)p.path_len,
                   bytes + p.path_off, or_dash(p.path_len), (int)p.query_len, bytes + p.query_off,
                   or_dash(p.query_len), p.minor, p.keep_alive ? "keep" : "close");
    size_t at = p.head_len;
    struct oar_buf body = {0};
    if (p.chunked) {
        struct oar_chunks c = {0};
        r = OAR_PARSE_MORE;
        while (r == OAR_PARSE_MORE && at < len) {
            struct oar_slice piece;
            size_t used;
            size_t until = at < first ? first : len;
            r = oar_parse_chunks(&c, limits.max_head, bytes + at, until - at, &used, &piece);
            oar_buf_put(&body, piece.ptr, piece.len);
            at += used;
        }
        if (r != OAR_PARSE_MESSAGE) {
            seen->len = 0;
            oar_buf_printf(seen, "%s",
                           r == OAR_PARSE_REFUSED ? oar_rules[c.rule].name : "incomplete");
            oar_buf_free(&body);
            return SIZE_MAX;
        }
    } else {
        size_t n = OAR_MIN(p.content_length, len - at);
        oar_buf_put(&body, bytes + at, n);
        at += n;
    }
    if (body.len) {
        oar_buf_printf(seen, " body=");
        oar_buf_put(seen, body.data, body.len);
    }
    oar_buf_free(&body);
    return at;
}

static void all_requests(const char *bytes, size_t len, size_t split, struct oar_buf *seen)
{
    for (size_t at = 0; at < len;) {
        struct oar_buf one = {0};
        size_t first = split > at ? OAR_MIN(split - at, len - at) : len - at;
        size_t n = one_request(bytes + at, len - at, first, &one);
        oar_buf_printf(seen, "%s", at ? " ; " : "");
        oar_buf_put(seen, one.data, one.len);
        oar_buf_free(&one);
        if (n == SIZE_MAX) {
            break;
        }
        at += n;
    }
}

static void agrees_with_http_parser(const char *name, const char *bytes, size_t len)
{
    const char *why = oracle_disagrees(&limits, bytes, len);
    if (why) {
        fail_msg("%s: http-parser sees another request (%s)", name, why);
    }
}

/* ---- the test ---- */

static const char *file;

static void run_case(const char *name, const struct oar_buf *bytes, const struct oar_buf *expected)
{
    size_t most = OAR_MIN(bytes->len, (size_t)1200); /* long ones: their start and their end */
    for (size_t k = 0; k <= most; k++) {
        size_t split = k < most / 2 ? k + 1 : bytes->len - (most - k);
        struct oar_buf seen = {0};
        all_requests(bytes->data, bytes->len, split, &seen);
        if (seen.len != expected->len || memcmp(seen.data, expected->data, seen.len) != 0) {
            fail_msg("%s: %s, split at %zu of %zu: expected '%.*s', saw '%.*s'", file, name, split,
                     bytes->len, (int)expected->len, expected->data, (int)seen.len, seen.data);
        }
        oar_buf_free(&seen);
    }
    agrees_with_http_parser(name, bytes->data, bytes->len);
}

static int run_file(const char *path)
{
    file = path;
    return each_case(path, run_case);
}

static void accepted(void **state)
{
    (void)state;
    assert_true(run_file("tests/http/requests.case") >= 100);
}

static void refused(void **state)
{
    (void)state;
    assert_true(run_file("tests/http/refused.case") >= 150);
}

static void smuggling(void **state)
{
    (void)state;
    assert_true(run_file("tests/http/smuggling.case") >= 100);
}

static void every_rule_has_a_case(void **state)
{
    char *text = calloc(1, 1 << 20);
    FILE *f = fopen("tests/http/refused.case", "r");
    (void)state;
    assert_non_null(f);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    for (int r = 1; r < OAR_RULE_BODY_LENGTH; r++) { /* the gate's; limits come behind */
        char ending[64];
        snprintf(ending, sizeof ending, " | %s\n", oar_rules[r].name);
        assert_contains(text, ending);
    }
    fclose(f);
    free(text);
}

static void every_truncation_is_incomplete_or_refused_for_good(void **state)
{
    /* A prefix of a good request never reads as a complete one, and is never refused. */
    static const char good[] =
        "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: y\r\n\r\nabc";
    struct oar_field fields[100];
    (void)state;
    for (size_t n = 0; n < sizeof good - 4; n++) {
        struct oar_parsed p = {.fields = fields};
        char *copy = malloc(n + 1);
        memcpy(copy, good, n);
        assert_int_equal(oar_parse_head(&limits, copy, n, &p), OAR_PARSE_MORE);
        free(copy);
    }
}

/* What the fields say of the host, and the path, of one request. */
static void host_is(const char *head, const char *expected)
{
    struct oar_field fields[100];
    struct oar_parsed p = {.fields = fields};
    char seen[200] = "none";
    assert_int_equal(oar_parse_head(&limits, head, strlen(head), &p), OAR_PARSE_MESSAGE);
    for (uint32_t i = 0; i < p.n_fields; i++) {
        if (fields[i].name_len == 4 && oar_is_name(head + fields[i].name_off, "host", 4)) {
            snprintf(seen, sizeof seen, "%.*s", (int)fields[i].value_len,
                     head + fields[i].value_off);
        }
    }
    assert_string_equal(seen, expected);
}

/* RFC 9112 section 3.2.2: the received Host field is ignored. */
static void an_absolute_target_says_the_host(void **state)
{
    (void)state;
    host_is("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "a");
    host_is("GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", "b");
    host_is("GET http://b:81/x HTTP/1.1\r\nX: y\r\nHost: a:80\r\nZ: Host\r\n\r\n", "b:81");
    host_is("GET https://[::1]:8?q HTTP/1.1\r\nHost:\r\n\r\n", "[::1]:8");
    host_is("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "b");
    host_is("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "a");
    host_is("GET http://b/ HTTP/1.0\r\nX: y\r\n\r\n", "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted),
        cmocka_unit_test(refused),
        cmocka_unit_test(smuggling),
        cmocka_unit_test(every_rule_has_a_case),
        cmocka_unit_test(an_absolute_target_says_the_host),
        cmocka_unit_test(every_truncation_is_incomplete_or_refused_for_good),
    };
    return cmocka_run_group_tests_name("http_cases", tests, NULL, NULL);
}
