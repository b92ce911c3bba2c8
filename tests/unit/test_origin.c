/* SPDX-License-Identifier: MIT
 * Who is speaking: addresses and networks as text, the PROXY protocol's cases whole and split at
 * every byte, and the hops that Forwarded and X-Forwarded-* name. */
#include "tests/unit/test.h"

#include <arpa/inet.h>

#include "shared/buf.c"
#include "shared/err.c"
#include "shared/peer.c"
#include "worker/forwarded.c"
#include "worker/http_gate.c"
#include "worker/proxy_protocol.c"

#include "tests/unit/case_file.h"

static void print_peer(struct oar_buf *out, const struct oar_peer *p)
{
    char text[INET6_ADDRSTRLEN] = "?";
    inet_ntop(p->family, p->address, text, sizeof text);
    if (p->family == 0) {
        oar_buf_printf(out, "nobody");
        return;
    }
    oar_buf_printf(out, "%s %s %u", p->family == AF_INET ? "tcp4" : "tcp6", text, p->port);
}

/* ---- PROXY protocol ---- */

static void proxy_case(const char *name, const struct oar_buf *bytes,
                       const struct oar_buf *expected)
{
    for (size_t n = 0; n <= bytes->len; n++) { /* what has come so far, in memory of its own */
        struct oar_peer peer = {.family = AF_INET, .address = {10, 0, 0, 1}}; /* the proxy */
        struct oar_buf seen = {0};
        size_t used = 0;
        char *copy = malloc(n + 1);
        memcpy(copy, bytes->data, n);
        enum oar_parse_result r = oar_proxy_parse(copy, n, &peer, &used);
        free(copy);
        if (r == OAR_PARSE_MORE && n < bytes->len) {
            continue;
        }
        if (r == OAR_PARSE_MESSAGE) {
            assert_in_range(used, 1, n);
            print_peer(&seen, &peer);
            oar_buf_printf(&seen, " +%zu", bytes->len - used);
        } else {
            oar_buf_printf(&seen, "%s", r == OAR_PARSE_MORE ? "more" : "refused");
        }
        if (seen.len != expected->len || memcmp(seen.data, expected->data, seen.len) != 0) {
            fail_msg("%s, %zu of %zu bytes: expected '%.*s', saw '%.*s'", name, n, bytes->len,
                     (int)expected->len, expected->data, (int)seen.len, seen.data);
        }
        oar_buf_free(&seen);
    }
}

static void proxy_protocol(void **state)
{
    (void)state;
    assert_true(each_case("tests/http/proxy.case", proxy_case) >= 45);
}

/* ---- addresses and networks ---- */

static void parsed_as(const char *text, const char *expected)
{
    struct oar_buf seen = {0};
    struct oar_peer p;
    if (oar_peer_parse(oar_slice_of(text), &p)) {
        print_peer(&seen, &p);
    } else {
        oar_buf_printf(&seen, "no");
    }
    oar_buf_put(&seen, "", 1);
    if (strcmp(seen.data, expected) != 0) {
        fail_msg("'%s' was read as %s, not %s", text, seen.data, expected);
    }
    oar_buf_free(&seen);
}

static void addresses(void **state)
{
    (void)state;
    parsed_as("192.0.2.1", "tcp4 192.0.2.1 0");
    parsed_as("192.0.2.1:8080", "tcp4 192.0.2.1 8080");
    parsed_as("2001:db8::1", "tcp6 2001:db8::1 0");
    parsed_as("[2001:db8::1]", "tcp6 2001:db8::1 0");
    parsed_as("[2001:db8::1]:80", "tcp6 2001:db8::1 80");
    parsed_as("::ffff:192.0.2.1", "tcp4 192.0.2.1 0");
    parsed_as("[::ffff:192.0.2.1]:1", "tcp4 192.0.2.1 1");
    static const char *const none[] = {
        "",     "unknown", "_hidden", "192.0.2", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:65536",
        "[::1", "[::1]x",  "[::1]:",  "::1]",    "1.2.3.4 ",   "a.example",   "[192.0.2.1"};
    for (size_t i = 0; i < OAR_ARRAY_LEN(none); i++) {
        parsed_as(none[i], "no");
    }
}

static bool has(const char *networks, const char *address)
{
    struct oar_networks set;
    struct oar_peer p = {.family = AF_UNIX};
    struct oar_err err;
    assert_int_equal(oar_networks_parse(networks, "--x", &set, &err), OAR_OK);
    assert_true(strcmp(address, "unix") == 0 || oar_peer_parse(oar_slice_of(address), &p));
    return oar_networks_have(&set, &p);
}

static void networks(void **state)
{
    (void)state;
    assert_true(has("10.0.0.0/8", "10.255.0.1"));
    assert_false(has("10.0.0.0/8", "11.0.0.1"));
    assert_true(has("192.0.2.128/25", "192.0.2.200"));
    assert_false(has("192.0.2.128/25", "192.0.2.100"));
    assert_true(has(" ::1 , 192.0.2.1", "192.0.2.1"));
    assert_false(has("192.0.2.1", "192.0.2.2"));
    assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(has("0.0.0.0/0", "192.0.2.1"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("::ffff:10.0.0.0/8", "10.1.1.1"));
    assert_true(has("unix", "unix"));
    assert_false(has("::/0", "unix"));
    assert_true(has("*", "unix"));
    assert_false(has("", "127.0.0.1"));
    static const char *const wrong[] = {"10.0.0.0/33", "10.0.0.0/", "10.0.0.0/x",
                                        "10/8",        "host",      "::1/129",
                                        "1.2.3.4:5",   "unix:/x",   "1.2.3.4 5.6.7.8"};
    for (size_t i = 0; i < OAR_ARRAY_LEN(wrong); i++) {
        struct oar_networks set;
        struct oar_err err;
        assert_int_equal(oar_networks_parse(wrong[i], "--trusted-proxies", &set, &err), OAR_ERR);
        assert_contains(err.text, "--trusted-proxies");
        assert_contains(err.text, wrong[i]);
    }
}

/* ---- forwarded ---- */

/* "Name: value\n" lines as a request's fields; what is seen, as "peer scheme host". */
static void believed_as(struct oar_forwarding how, const char *networks, const char *from,
                        const char *lines, const char *expected)
{
    struct oar_field fields[16];
    struct oar_request r = {.head = lines, .fields = fields};
    struct oar_networks trusted;
    struct oar_peer peer;
    struct oar_origin o;
    struct oar_err err;
    struct oar_buf seen = {0};
    for (const char *at = lines; *at;) {
        size_t len = strcspn(at, "\n");
        size_t name = strcspn(at, ":");
        fields[r.n_fields++] = (struct oar_field){.name_off = (uint32_t)(at - lines),
                                                  .name_len = (uint16_t)name,
                                                  .value_off = (uint32_t)(at - lines + name + 2),
                                                  .value_len = (uint32_t)(len - name - 2)};
        at += len + 1;
    }
    assert_int_equal(oar_networks_parse(networks, "--x", &trusted, &err), OAR_OK);
    assert_true(oar_peer_parse(oar_slice_of(from), &peer));
    oar_forwarded(how, &trusted, &peer, &r, &o);
    print_peer(&seen, &o.peer);
    oar_buf_printf(&seen, " %s %.*s", o.https ? "https" : "http", (int)o.host.len, o.host.ptr);
    oar_buf_put(&seen, "", 1);
    if (strcmp(seen.data, expected) != 0) {
        fail_msg("%s: expected '%s', saw '%s'", lines, expected, seen.data);
    }
    oar_buf_free(&seen);
}

static void forwarded_as(enum oar_proxy_headers_choice which, const char *from, const char *lines,
                         const char *expected)
{
    believed_as((struct oar_forwarding){which, true, true, true}, "10.0.0.0/8,::1", from, lines,
                expected);
}

static void x_forwarded(void **state)
{
    const enum oar_proxy_headers_choice x = OAR_FORWARDED_X;
    (void)state;
    forwarded_as(OAR_FORWARDED_OFF, "10.0.0.1", "X-Forwarded-For: 192.0.2.1\n",
                 "tcp4 10.0.0.1 0 http ");
    forwarded_as(x, "192.0.2.9", "X-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: https\n",
                 "tcp4 192.0.2.9 0 http ");
    forwarded_as(x, "10.0.0.1",
                 "X-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: HTTPS\nX-Forwarded-Host: a:8\n",
                 "tcp4 192.0.2.1 0 https a:8");
    /* what the client itself has written stands left of the first hop that is not trusted */
    forwarded_as(x, "10.0.0.1", "X-Forwarded-For: 203.0.113.7, 192.0.2.1\n",
                 "tcp4 192.0.2.1 0 http ");
    forwarded_as(x, "10.0.0.1", "X-Forwarded-For: 203.0.113.7, 192.0.2.1 ,10.0.0.2\n",
                 "tcp4 192.0.2.1 0 http ");
    forwarded_as(x, "10.0.0.1", "X-Forwarded-For: 203.0.113.7\nA: b\nx-forwarded-FOR: 10.0.0.2\n",
                 "tcp4 203.0.113.7 0 http ");
    /* proxies that end without a client: nobody, and not one of them */
    forwarded_as(x, "10.0.0.1", "X-Forwarded-For: 10.0.0.3, 10.0.0.2\n", "nobody http ");
    forwarded_as(x, "10.0.0.1", "X-Forwarded-For: 192.0.2.1, unknown\n", "nobody http ");
    forwarded_as(x, "10.0.0.1", "X-Forwarded-For: 192.0.2.1, unknown, 10.0.0.2\n", "nobody http ");
    forwarded_as(x, "10.0.0.1", "X-Forwarded-For: \n", "nobody http ");
    forwarded_as(x, "10.0.0.1", "X-Forwarded-For: , ,\n", "nobody http ");
    forwarded_as(x, "10.0.0.1", "A: b\n", "nobody http ");
    /* quotes mean nothing here: one that the client left open hides no hop */
    forwarded_as(x, "10.0.0.1", "X-Forwarded-For: \"203.0.113.7, 192.0.2.1\n",
                 "tcp4 192.0.2.1 0 http ");
    forwarded_as(x, "::1", "X-Forwarded-For: [2001:db8::1]:80\n", "tcp6 2001:db8::1 80 http ");
    /* the scheme of the hop that saw the client, not of a later one */
    forwarded_as(x, "10.0.0.1",
                 "X-Forwarded-For: 192.0.2.1, 10.0.0.2\nX-Forwarded-Proto: https, http\n",
                 "tcp4 192.0.2.1 0 https ");
    forwarded_as(x, "10.0.0.1", "X-Forwarded-For: 192.0.2.1, 10.0.0.2\nX-Forwarded-Proto: https\n",
                 "tcp4 192.0.2.1 0 https ");
    forwarded_as(x, "10.0.0.1", "X-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: https, http\n",
                 "tcp4 192.0.2.1 0 http ");
    forwarded_as(x, "10.0.0.1", "X-Forwarded-Proto: gopher\nX-Forwarded-Host: a/b\n",
                 "nobody http ");
    forwarded_as(x, "10.0.0.1", "Forwarded: for=192.0.2.1\n", "nobody http ");
    /* a list shorter than the hops belongs to none of them */
    forwarded_as(x, "10.0.0.1",
                 "X-Forwarded-For: 192.0.2.1, 10.0.0.3, 10.0.0.2\nX-Forwarded-Proto: https, https\n"
                 "X-Forwarded-Host: a, b\n",
                 "tcp4 192.0.2.1 0 http ");
}

static void rfc7239(void **state)
{
    const enum oar_proxy_headers_choice f = OAR_FORWARDED_RFC7239;
    (void)state;
    forwarded_as(f, "192.0.2.9", "Forwarded: for=192.0.2.1\n", "tcp4 192.0.2.9 0 http ");
    forwarded_as(f, "10.0.0.1", "Forwarded: for=192.0.2.1\n", "tcp4 192.0.2.1 0 http ");
    forwarded_as(f, "10.0.0.1", "Forwarded: For=\"[2001:db8::1]:4711\";Proto=https;HOST=\"a:8\"\n",
                 "tcp6 2001:db8::1 4711 https a:8");
    forwarded_as(f, "10.0.0.1", "Forwarded: by=10.0.0.1 ; for=192.0.2.1 ; proto=https\n",
                 "tcp4 192.0.2.1 0 https ");
    forwarded_as(f, "10.0.0.1", "Forwarded: for=203.0.113.7;host=evil, for=192.0.2.1;host=good\n",
                 "tcp4 192.0.2.1 0 http good");
    forwarded_as(f, "10.0.0.1",
                 "Forwarded: for=192.0.2.1;proto=https\nForwarded: for=10.0.0.2;proto=http\n",
                 "tcp4 192.0.2.1 0 https ");
    forwarded_as(f, "10.0.0.1", "Forwarded: for=192.0.2.1, for=_hidden, for=10.0.0.2\n",
                 "nobody http ");
    forwarded_as(f, "10.0.0.1", "Forwarded: for=\"192.0.2.1, 10.0.0.2\"\n", "nobody http ");
    forwarded_as(f, "10.0.0.1", "Forwarded: for=\"\\\"\n", "nobody http ");
    forwarded_as(f, "10.0.0.1", "Forwarded: ;;=;for\n", "nobody http ");
    forwarded_as(f, "10.0.0.1", "Forwarded: for=10.0.0.9\n", "nobody http ");
    forwarded_as(f, "10.0.0.1", "X-Forwarded-For: 192.0.2.1\n", "nobody http ");
    /* quotes that the client has left open do not swallow what a proxy has added */
    forwarded_as(f, "10.0.0.1", "Forwarded: for=203.0.113.7;x=\", for=192.0.2.1\n", "nobody http ");
    forwarded_as(f, "10.0.0.1", "Forwarded: for=203.0.113.7;x=\", for=\"[2001:db8::1]:1\"\n",
                 "nobody http ");
    forwarded_as(f, "10.0.0.1", "Forwarded: for=203.0.113.7;x=\"\nForwarded: for=192.0.2.1\n",
                 "tcp4 192.0.2.1 0 http ");
}

/* --proxy-fields: each part by itself. */
static void fields_by_themselves(void **state)
{
    static const char lines[] =
        "X-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: https\n"
        "X-Forwarded-Host: a\nForwarded: for=192.0.2.1;proto=https;host=a\n";
    static const struct {
        bool client, scheme, host;
        const char *expected;
    } cases[] = {
        {false, false, false, "tcp4 10.0.0.1 0 http "},
        {true, false, false, "tcp4 192.0.2.1 0 http "},
        {false, true, false, "tcp4 10.0.0.1 0 https "},
        {false, false, true, "tcp4 10.0.0.1 0 http a"},
        {true, true, false, "tcp4 192.0.2.1 0 https "},
    };
    (void)state;
    for (size_t i = 0; i < OAR_ARRAY_LEN(cases); i++) {
        for (int which = OAR_FORWARDED_X; which <= OAR_FORWARDED_RFC7239; which++) {
            struct oar_forwarding how = {(enum oar_proxy_headers_choice)which, cases[i].client,
                                         cases[i].scheme, cases[i].host};
            believed_as(how, "10.0.0.0/8", "10.0.0.1", lines, cases[i].expected);
        }
    }
}

/* --trusted-proxies "*": nobody can be told from a proxy, so the list's end is the client. */
static void everybody_is_trusted(void **state)
{
    const struct oar_forwarding x = {OAR_FORWARDED_X, true, true, true};
    const struct oar_forwarding f = {OAR_FORWARDED_RFC7239, true, true, true};
    (void)state;
    believed_as(x, "*", "10.0.0.1", "X-Forwarded-For: 192.0.2.1, 10.0.0.2\n",
                "tcp4 192.0.2.1 0 http ");
    believed_as(x, "*", "10.0.0.1", "X-Forwarded-For: unknown, 10.0.0.2\n", "nobody http ");
    believed_as(x, "*", "10.0.0.1", "A: b\n", "nobody http ");
    believed_as(f, "*", "10.0.0.1", "Forwarded: for=192.0.2.1, for=10.0.0.2\n",
                "tcp4 192.0.2.1 0 http ");
    believed_as(f, "*", "10.0.0.1", "Forwarded: for=unknown, for=10.0.0.2\n", "nobody http ");
}

static void endless_hops_are_bounded(void **state)
{
    struct oar_buf lines = {0};
    (void)state;
    oar_buf_printf(&lines, "X-Forwarded-For: 192.0.2.1");
    for (int i = 0; i < 1000; i++) {
        oar_buf_printf(&lines, ",10.0.0.9");
    }
    oar_buf_put(&lines, "\n", 2);
    forwarded_as(OAR_FORWARDED_X, "10.0.0.1", lines.data, "nobody http ");
    oar_buf_free(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proxy_protocol),
        cmocka_unit_test(addresses),
        cmocka_unit_test(networks),
        cmocka_unit_test(x_forwarded),
        cmocka_unit_test(rfc7239),
        cmocka_unit_test(endless_hops_are_bounded),
        cmocka_unit_test(fields_by_themselves),
        cmocka_unit_test(everybody_is_trusted),
    };
    return cmocka_run_group_tests_name("origin", tests, NULL, NULL);
}
