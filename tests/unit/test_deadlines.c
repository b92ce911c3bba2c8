/* SPDX-License-Identifier: MIT
 * Deadlines and limits of connections as sentences, on a wire without a kernel: a minute costs
 * nothing, and the server stands still when a test says so. */
#include "tests/unit/test.h"

#include <netinet/in.h>

#include "tests/unit/wire.h"

static struct oar_buf sent[WIRES];

/* A client connects and sends. */
static int client(const char *bytes)
{
    int i = wire_connect();
    oar_buf_free(&sent[i]);
    oar_buf_put(&sent[i], bytes, strlen(bytes));
    wires[i].bytes = sent[i].data;
    wires[i].arrived = sent[i].len;
    return i;
}

static void sends(int i, const char *bytes)
{
    oar_buf_put(&sent[i], bytes, strlen(bytes));
    wires[i].bytes = sent[i].data;
    wires[i].arrived = sent[i].len;
}

static void asks(int i, const char *path, struct wire_ask ask)
{
    struct oar_buf text = {0};
    oar_buf_printf(&text, "GET ");
    wire_target(&text, path, &ask);
    oar_buf_printf(&text, " HTTP/1.1\r\nHost: a\r\n\r\n");
    oar_buf_put(&text, "", 1);
    sends(i, text.data);
    oar_buf_free(&text);
}

static void rounds(void)
{
    for (int i = 0; i < 12; i++) {
        wire_round();
    }
}

/* The server's loop turns all the time. */
static void passes(double seconds)
{
    for (int i = 0; i < 100; i++) {
        wire_clock += seconds / 100;
        wire_round();
    }
    rounds();
}

/* The server stands still: nothing of it runs. */
static void stalls(double seconds)
{
    wire_clock += seconds;
}

static bool open_now(int i)
{
    return wires[i].open && !wires[i].shut;
}

/* Takes what the client has got so far. */
static const char *answer(int i)
{
    static char text[70000];
    size_t n = OAR_MIN(wires[i].got.len, sizeof text - 1);
    if (n > 0) {
        memcpy(text, wires[i].got.data, n);
    }
    text[n] = '\0';
    wires[i].got.len = 0;
    return text;
}

static int begin(void **state)
{
    (void)state;
    wire_seed = 1;
    wire_config.keep_alive = 5;
    wire_config.head_timeout = 2;
    wire_config.body_timeout = 4;
    wire_config.write_timeout = 4;
    wire_config.handler_timeout = 0;
    wire_config.min_rate = 1000;
    wire_config.max_pipeline = 64;
    wire_config.max_connection_memory = 262144;
    wire_config.max_buffered = 900000;
    wire_config.max_connections = WIRES;
    wire_begin();
    return 0;
}

static int end(void **state)
{
    (void)state;
    wire_end();
    for (int i = 0; i < WIRES; i++) {
        oar_buf_free(&sent[i]);
    }
    return 0;
}

#define HELLO "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
#define ECHO "POST /echo?0.0.100.0.0 HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"

static void each_has_its_time(void **state)
{
    int idle = client("");
    int head = client("GET /hel");
    int body = client(ECHO "abc");
    (void)state;
    passes(1.9);
    assert_true(open_now(idle) && open_now(head) && open_now(body));
    passes(0.3);
    assert_contains(answer(head), "HTTP/1.1 408");
    assert_false(open_now(head));
    passes(1.9);
    assert_contains(answer(body), "HTTP/1.1 408");
    assert_true(open_now(idle));
    passes(1);
    assert_false(open_now(idle));
}

static void a_head_that_trickles_is_late(void **state)
{
    int i = client("GET /hello HTTP/1.1\r\nX: ");
    (void)state;
    for (int n = 0; n < 5; n++) {
        passes(0.5);
        if (open_now(i)) {
            sends(i, "y");
        }
    }
    assert_contains(answer(i), "HTTP/1.1 408");
}

/* Issue of the two deadlines: the client's next head must not renew the handler's. */
static void a_trickled_head_does_not_renew_the_handlers_deadline(void **state)
{
    wire_config.handler_timeout = 3;
    wire_end();
    wire_begin();
    int i = client("");
    (void)state;
    asks(i, "/hello", (struct wire_ask){.id = 1, .mode = WIRE_HOLDS});
    passes(1.5);
    for (int n = 0; n < 3; n++) {
        sends(i, "GET /hello HTTP/1.1\r\nHost: a\r\n");
        passes(0.4);
        sends(i, "\r\n");
        passes(0.2);
    }
    assert_contains(answer(i), "HTTP/1.1 504");
    wire_app_answer(1);
    rounds();
}

static void a_head_behind_a_handler_has_its_own_deadline(void **state)
{
    int i = client("");
    (void)state;
    asks(i, "/hello", (struct wire_ask){.id = 1, .mode = WIRE_HOLDS});
    rounds();
    sends(i, "GET /hel");
    passes(2.2);
    assert_true(wire_app_answer(1));
    rounds();
    const char *got = answer(i);
    assert_contains(got, "1 ok");
    assert_contains(got, "HTTP/1.1 408");
}

static void the_head_behind_that_has_one_of_its_own(void **state)
{
    int i = client("");
    (void)state;
    asks(i, "/hello", (struct wire_ask){.id = 1, .mode = WIRE_HOLDS});
    sends(i, "GET /hel");
    rounds();
    for (int n = 0; n < 3; n++) { /* the end of one and the beginning of the next come together */
        passes(1.2);
        sends(i, "lo HTTP/1.1\r\nHost: a\r\n\r\nGET /hel");
    }
    passes(2.2);
    assert_true(wire_app_answer(1));
    rounds();
    const char *got = answer(i);
    assert_contains(got, "1 ok");
    assert_contains(got, "HTTP/1.1 408");
}

static void a_stall_is_not_charged_to_who_has_sent_in_time(void **state)
{
    int idle = client("");
    int head = client("GET /hello HTTP/1.1\r\n");
    int body = client(ECHO "a");
    char rest[100];
    (void)state;
    rounds();
    memset(rest, 'b', sizeof rest);
    rest[99] = '\0';
    sends(idle, HELLO);
    sends(head, "Host: a\r\n\r\n");
    sends(body, rest);
    stalls(60);
    rounds();
    assert_contains(answer(idle), "HTTP/1.1 200");
    assert_contains(answer(head), "HTTP/1.1 200");
    assert_contains(answer(body), "HTTP/1.1 200");
    assert_true(open_now(idle) && open_now(head) && open_now(body));
}

static void a_stall_is_charged_to_who_has_sent_nothing(void **state)
{
    int idle = client("");
    int head = client("GET /hello HTTP/1.1\r\n");
    (void)state;
    rounds();
    sends(head, "X: y\r\n"); /* some, and not the rest */
    stalls(60);
    rounds();
    assert_false(open_now(idle));
    assert_contains(answer(head), "HTTP/1.1 408");
}

static void a_client_that_reads_again_after_a_stall_is_not_cut(void **state)
{
    int i = client("");
    (void)state;
    wires[i].room = 100;
    asks(i, "/hello", (struct wire_ask){.id = 1, .answer = 5000});
    rounds();
    wires[i].room = SIZE_MAX / 2; /* the client has taken it all meanwhile */
    stalls(60);
    rounds();
    assert_contains(answer(i), "1 ok");
    assert_true(open_now(i));
}

static void a_client_that_takes_nothing_is_reset(void **state)
{
    int i = client("");
    (void)state;
    wires[i].room = 100;
    asks(i, "/hello", (struct wire_ask){.id = 1, .answer = 5000});
    passes(3.8);
    assert_true(open_now(i));
    passes(0.4);
    assert_false(wires[i].open);
    assert_true(wires[i].cut);
}

static void a_ready_request_has_no_deadline(void **state)
{
    int i = client("");
    (void)state;
    for (int n = 0; n < 8; n++) { /* one batch cannot take them all */
        asks(i, "/hello", (struct wire_ask){.id = (unsigned)n});
    }
    struct oar_conn *c = OAR_CONTAINER_OF(wires[i].io, struct oar_conn, io);
    oar_conn_receive(c);
    assert_int_equal(c->state, OAR_CONN_QUEUED);
    assert_null(c->deadline.link.next);
    stalls(60);
    rounds();
    assert_contains(answer(i), "7 ok");
}

static void what_is_not_read_has_no_deadline(void **state)
{
    int i = client("");
    (void)state;
    wire_config.max_pipeline = 1;
    asks(i, "/hello", (struct wire_ask){.id = 1, .mode = WIRE_HOLDS});
    for (int n = 0; n < 500;
         n++) { /* more than the input block takes, cut in the middle of a head */
        asks(i, "/hello", (struct wire_ask){.id = 2});
    }
    sends(i, "GET /he");
    passes(20);
    assert_true(open_now(i));
    assert_true(wires[i].taken < wires[i].arrived);
    sends(i, "llo HTTP/1.1\r\nHost: a\r\n\r\n");
    wire_app_answer(1);
    passes(1);
    const char *got = answer(i);
    assert_contains(got, "1 ok");
    assert_null(strstr(got, "HTTP/1.1 408"));
}

/* Requests in progress fill the input block, the next head has begun at its end. */
static void a_head_across_the_end_of_the_block_is_read(void **state)
{
    struct oar_buf one = {0};
    int i = client("");
    (void)state;
    asks(i, "/hello", (struct wire_ask){.id = 1, .mode = WIRE_HOLDS});
    oar_buf_printf(&one, "GET /hello?2.0.0.0.0 HTTP/1.1\r\nHost: a\r\nX: %.*s\r\n\r\n", 1100,
                   wire_pattern);
    oar_buf_put(&one, "", 1);
    for (int n = 0; n < 20; n++) {
        sends(i, one.data);
    }
    oar_buf_free(&one);
    passes(10);
    assert_true(wires[i].taken == wires[i].arrived);
    wire_app_answer(1);
    passes(0.1);
    const char *got = answer(i);
    assert_null(strstr(got, "HTTP/1.1 408"));
    for (int n = 0; n < 20; n++) {
        got = strstr(got, "2 ok");
        assert_non_null(got);
        got++;
    }
}

static void a_fin_behind_what_is_not_read_is_seen(void **state)
{
    int i = client("");
    (void)state;
    asks(i, "/hello", (struct wire_ask){.id = 1, .mode = WIRE_HOLDS});
    for (int n = 0; n < 500; n++) {
        asks(i, "/hello", (struct wire_ask){.id = 2});
    }
    rounds();
    assert_false(oar_host.has_left(wire_app_exchange(1)));
    wires[i].fin = true;
    passes(0.9);
    assert_true(oar_host.has_left(wire_app_exchange(1)));
    assert_false(oar_host.is_gone(wire_app_exchange(1)));
    wire_app_answer(1);
    rounds();
    const char *got = answer(i);
    assert_contains(got, "1 ok");
    assert_contains(got, "2 ok");
    assert_false(wires[i].open);
}

static void a_step_of_the_wall_clock_expires_nothing(void **state)
{
    int i = client("");
    (void)state;
    rounds();
    wire_wall += 1e6;
    rounds();
    assert_true(open_now(i));
    wire_wall -= 2e6;
    passes(5.2);
    assert_false(open_now(i));
}

static void time_in_handlers_is_not_the_clients(void **state)
{
    int i = client(HELLO);
    (void)state;
    rounds();
    asks(i, "/hello", (struct wire_ask){.id = 3, .mode = WIRE_STALLS});
    rounds(); /* the handler stays for a minute, on the loop's thread */
    assert_contains(answer(i), "3 ok");
    assert_true(open_now(i));
    passes(4.8);
    assert_true(open_now(i));
    passes(0.4);
    assert_false(open_now(i));
}

/* ---- 0 ---- */

static void keep_alive_0_closes_behind_the_answer(void **state)
{
    wire_config.keep_alive = 0;
    wire_end();
    wire_begin();
    int i = client("");
    (void)state;
    passes(1);
    assert_true(open_now(i));
    sends(i, HELLO HELLO);
    rounds();
    const char *got = answer(i);
    assert_contains(got, "HTTP/1.1 200");
    assert_contains(got, "connection: close");
    assert_null(strstr(strstr(got, "HTTP/1.1 200") + 1, "HTTP/1.1"));
    assert_false(open_now(i));
    int silent = client("");
    passes(2.2); /* its head is due */
    assert_false(open_now(silent));
}

static void head_body_and_write_0_are_no_limit(void **state)
{
    wire_config.head_timeout = wire_config.body_timeout = wire_config.write_timeout = 0;
    wire_end();
    wire_begin();
    int head = client("GET /hello HTTP/1.1\r\n");
    int body = client(ECHO "a");
    int slow = client("");
    (void)state;
    wires[slow].room = 100;
    asks(slow, "/hello", (struct wire_ask){.id = 1, .answer = 5000});
    passes(100000);
    assert_true(open_now(head) && open_now(body) && open_now(slow));
}

/* ---- who makes room ---- */

#define POST "POST /echo?0.0.1.0.0 HTTP/1.1\r\nHost: a\r\n"

static void the_hog_makes_room_for_a_new_body(void **state)
{
    struct oar_buf some = {0};
    int hogs[3];
    (void)state;
    oar_buf_printf(&some, POST "Content-Length: 300001\r\n\r\n%.*s", 150000, wire_pattern);
    oar_buf_put(&some, "", 1);
    for (int n = 0; n < 3; n++) {
        hogs[n] = client(some.data);
        sends(hogs[n], some.data + some.len - 100001);
        passes(0.3);
    }
    int i = client(POST "Content-Length: 200000\r\n\r\n");
    sends(i, some.data + some.len - 100001);
    rounds();
    passes(0.1);
    sends(i, some.data + some.len - 100001);
    rounds();
    assert_contains(answer(hogs[0]), "HTTP/1.1 503"); /* as large as others, for the longest time */
    assert_contains(answer(i), "HTTP/1.1 200");
    assert_true(open_now(hogs[1]) && open_now(hogs[2]));
    oar_buf_free(&some);
}

/* ---- none is starved by others ---- */

static void looks_starve_no_handlers_deadline(void **state)
{
    enum { CLIENTS = 12 }; /* more than expire in a turn */
    int last = 0;
    wire_config.handler_timeout = 3;
    wire_end();
    wire_begin();
    (void)state;
    for (unsigned n = 0; n < CLIENTS; n++) {
        last = client("");
        asks(last, "/hello", (struct wire_ask){.id = n, .mode = WIRE_HOLDS});
        wires[last].fin = true; /* looked after every half-second from now on */
    }
    rounds();
    for (int n = 0; n < 20; n++) { /* a loop whose turns take so long that all are due in each */
        wire_clock += 0.6;
        wire_round();
    }
    assert_contains(answer(last), "HTTP/1.1 504");
    for (unsigned n = 0; n < CLIENTS; n++) {
        wire_app_answer(n);
    }
}

static void a_fast_body_starves_no_handlers_deadline(void **state)
{
    struct oar_buf some = {0};
    wire_config.handler_timeout = 5;
    wire_end();
    wire_begin();
    (void)state;
    oar_buf_printf(&some, POST "Content-Length: 150000\r\n\r\n%.*s", 149999, wire_pattern);
    oar_buf_put(&some, "", 1);
    int fast = client("");
    wires[fast].most_read = 200;
    sends(fast, some.data);
    int i = client("");
    asks(i, "/hello", (struct wire_ask){.id = 1, .mode = WIRE_HOLDS});
    for (int n = 0; n < 105; n++) { /* something is in the socket all the time */
        wire_clock += 0.05;
        wire_round();
    }
    assert_true(wires[fast].taken < wires[fast].arrived);
    assert_contains(answer(i), "HTTP/1.1 504");
    wire_app_answer(1);
    oar_buf_free(&some);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(each_has_its_time),
        T(a_head_that_trickles_is_late),
        T(a_trickled_head_does_not_renew_the_handlers_deadline),
        T(a_head_behind_a_handler_has_its_own_deadline),
        T(the_head_behind_that_has_one_of_its_own),
        T(a_stall_is_not_charged_to_who_has_sent_in_time),
        T(a_stall_is_charged_to_who_has_sent_nothing),
        T(a_client_that_reads_again_after_a_stall_is_not_cut),
        T(a_client_that_takes_nothing_is_reset),
        T(a_ready_request_has_no_deadline),
        T(what_is_not_read_has_no_deadline),
        T(a_head_across_the_end_of_the_block_is_read),
        T(a_fin_behind_what_is_not_read_is_seen),
        T(a_step_of_the_wall_clock_expires_nothing),
        T(time_in_handlers_is_not_the_clients),
        T(keep_alive_0_closes_behind_the_answer),
        T(head_body_and_write_0_are_no_limit),
        T(the_hog_makes_room_for_a_new_body),
        T(looks_starve_no_handlers_deadline),
        T(a_fast_body_starves_no_handlers_deadline),
    };
#undef T
    wire_setup();
    wire_app_may_hold = true;
    return cmocka_run_group_tests_name("deadlines", tests, NULL, NULL);
}
