/* SPDX-License-Identifier: MIT
 * The exchange of a request and the mailbox of its event loop, as both sides see them. */
#include "tests/unit/test.h"

#include "shared/buf.c"
#include "worker/exchange.c"
#include "worker/poll.c"

struct scene {
    struct oar_poll poll;
    struct oar_mailbox mailbox;
    struct oar_request request;
    struct oar_exchange *x; /* the application's reference */
};

static struct scene *begin(void)
{
    struct scene *s = calloc(1, sizeof *s);
    oar_poll_init(&s->poll);
    oar_mailbox_init(&s->mailbox, &s->poll);
    s->x = oar_exchange_share(oar_exchange_get(&s->request, &s->mailbox));
    return s;
}

static void finish(struct scene *s)
{
    oar_exchange_close(&s->request);
    for (struct oar_exchange *x; (x = oar_mailbox_posted(&s->mailbox));) {
        oar_exchange_drop(x);
    }
    for (struct oar_exchange *x; (x = oar_mailbox_notice(&s->mailbox));) {
        oar_exchange_drop(x);
    }
    oar_exchange_drop(s->x);
    oar_poll_free(&s->poll);
    free(s);
}

/* How many exchanges the application has to look at. */
static int noticed(struct scene *s)
{
    int n = 0;
    for (struct oar_exchange *x; (x = oar_mailbox_notice(&s->mailbox)); n++) {
        oar_exchange_drop(x);
    }
    return n;
}

static void give(struct scene *s, size_t len, enum oar_room room)
{
    char *bytes = calloc(1, len);
    assert_int_equal(oar_exchange_write(s->x, bytes, len), room);
    free(bytes);
}

/* Takes what was posted out, as a connection that streams does; the bytes. */
static size_t drained(struct scene *s)
{
    size_t n = 0;
    for (struct oar_exchange *x; (x = oar_mailbox_posted(&s->mailbox));) {
        struct oar_taken taken = oar_exchange_take_out(x, true);
        n += taken.bytes.len;
        oar_buf_free(&taken.bytes);
        oar_exchange_drop(x);
    }
    return n;
}

static void there_is_one_for_a_request(void **state)
{
    struct scene *s = begin();
    (void)state;
    assert_ptr_equal(oar_exchange_get(&s->request, &s->mailbox), s->x);
    finish(s);
}

static void what_is_given_is_posted_once_and_taken_out_whole(void **state)
{
    struct scene *s = begin();
    (void)state;
    assert_true(oar_mailbox_is_empty(&s->mailbox));
    give(s, 10, OAR_ROOM_OK);
    give(s, 20, OAR_ROOM_OK);
    assert_false(oar_mailbox_is_empty(&s->mailbox));
    assert_int_equal(drained(s), 30);
    assert_true(oar_mailbox_is_empty(&s->mailbox));
    finish(s);
}

static void before_the_head_nothing_is_taken_out(void **state)
{
    struct scene *s = begin();
    (void)state;
    give(s, 10, OAR_ROOM_OK);
    oar_exchange_end(s->x, true);
    struct oar_taken taken = oar_exchange_take_out(s->x, false);
    assert_int_equal(taken.bytes.len, 0);
    assert_false(taken.ended);
    taken = oar_exchange_take_out(s->x, true);
    assert_int_equal(taken.bytes.len, 10);
    assert_true(taken.ended);
    oar_buf_free(&taken.bytes);
    finish(s);
}

static void a_window_is_taken_and_then_there_is_no_room(void **state)
{
    struct scene *s = begin();
    (void)state;
    give(s, OAR_STREAM_WINDOW, OAR_ROOM_WAIT);
    assert_int_equal(drained(s), OAR_STREAM_WINDOW); /* still not sent */
    give(s, 1, OAR_ROOM_WAIT);
    finish(s);
}

static void a_waiter_that_is_not_due_is_no_news(void **state)
{
    struct scene *s = begin();
    int one, two;
    bool due;
    (void)state;
    give(s, OAR_STREAM_WINDOW, OAR_ROOM_WAIT);
    assert_int_equal(drained(s), OAR_STREAM_WINDOW);
    assert_true(oar_exchange_arm(s->x, OAR_WAIT_GONE, &one));
    assert_true(oar_exchange_arm(s->x, OAR_WAIT_ROOM, &two));
    oar_exchange_sent(s->x, OAR_STREAM_WINDOW); /* a flush that the socket took nothing of */
    assert_int_equal(noticed(s), 0);
    oar_exchange_sent(s->x, OAR_STREAM_WINDOW - 1);
    assert_int_equal(noticed(s), 1);
    assert_null(oar_exchange_disarm(s->x, OAR_WAIT_GONE, &due));
    assert_ptr_equal(oar_exchange_disarm(s->x, OAR_WAIT_ROOM, &due), &two);
    oar_exchange_sent(s->x, 0); /* the client is still there: nobody who waits is due */
    assert_int_equal(noticed(s), 0);
    oar_request_gone(&s->request, OAR_GONE_LEFT);
    assert_int_equal(noticed(s), 1);
    assert_ptr_equal(oar_exchange_disarm(s->x, OAR_WAIT_GONE, &due), &one);
    finish(s);
}

static void the_end_of_the_request_gives_every_waiter_back(void **state)
{
    struct scene *s = begin();
    int one;
    bool due;
    (void)state;
    assert_true(oar_exchange_arm(s->x, OAR_WAIT_OVERDUE, &one));
    oar_exchange_close(&s->request);
    assert_int_equal(noticed(s), 1);
    assert_ptr_equal(oar_exchange_disarm(s->x, OAR_WAIT_OVERDUE, &due), &one);
    assert_false(due);
    finish(s);
}

struct seen {
    struct oar_parked parked;
    int resumed;
};

static void resume(struct oar_parked *p)
{
    OAR_CONTAINER_OF(p, struct seen, parked)->resumed++;
}

static void what_is_parked_is_resumed_once_when_there_is_room(void **state)
{
    struct scene *s = begin();
    struct seen seen = {.parked = {resume}};
    (void)state;
    assert_false(oar_exchange_park(s->x, &seen.parked)); /* there is room */
    give(s, OAR_STREAM_WINDOW, OAR_ROOM_WAIT);
    assert_true(oar_exchange_park(s->x, &seen.parked));
    drained(s);
    oar_exchange_sent(s->x, OAR_STREAM_WINDOW);
    assert_int_equal(seen.resumed, 0);
    oar_exchange_sent(s->x, 100);
    oar_exchange_sent(s->x, 0);
    assert_int_equal(seen.resumed, 1);
    assert_int_equal(noticed(s), 0); /* the interpreter is not entered for it */
    finish(s);
    assert_int_equal(seen.resumed, 1);
}

static void what_is_parked_is_resumed_when_nobody_reads(void **state)
{
    struct scene *s = begin();
    struct seen seen = {.parked = {resume}};
    (void)state;
    give(s, OAR_STREAM_WINDOW, OAR_ROOM_WAIT);
    assert_true(oar_exchange_park(s->x, &seen.parked));
    oar_request_gone(&s->request, OAR_GONE_LEFT);
    assert_int_equal(seen.resumed, 1);
    finish(s);
    s = begin();
    give(s, OAR_STREAM_WINDOW, OAR_ROOM_WAIT);
    assert_true(oar_exchange_park(s->x, &seen.parked));
    finish(s); /* the request is answered otherwise */
    assert_int_equal(seen.resumed, 2);
}

static void an_exchange_that_is_made_late_knows_that_the_client_has_gone(void **state)
{
    struct scene *s = begin();
    struct oar_request late = {0};
    int one;
    (void)state;
    oar_request_gone(&late, OAR_GONE_OVERDUE);
    struct oar_exchange *x = oar_exchange_get(&late, &s->mailbox);
    assert_true(oar_exchange_is_gone(x));
    assert_false(oar_exchange_arm(x, OAR_WAIT_OVERDUE, &one));
    oar_exchange_close(&late);
    finish(s);
}

static void a_body_in_pieces(void **state)
{
    struct scene *s = begin();
    struct oar_buf got;
    bool full;
    (void)state;
    oar_exchange_end_body(s->x, OAR_BODY_MORE);
    assert_int_equal(oar_exchange_take_body(s->x, &got, false), OAR_BODY_MORE);
    assert_int_equal(got.len, 0);
    assert_true(oar_exchange_take_out(s->x, false).body_wanted);
    assert_true(oar_exchange_put_body(s->x, OAR_LIT("abc"), &full));
    assert_false(full);
    oar_exchange_end_body(s->x, OAR_BODY_COMPLETE);
    assert_int_equal(oar_exchange_take_body(s->x, &got, true), OAR_BODY_MORE);
    assert_int_equal(got.len, 3);
    oar_buf_free(&got);
    assert_int_equal(oar_exchange_take_body(s->x, &got, true), OAR_BODY_COMPLETE);
    finish(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_is_one_for_a_request),
        cmocka_unit_test(what_is_given_is_posted_once_and_taken_out_whole),
        cmocka_unit_test(before_the_head_nothing_is_taken_out),
        cmocka_unit_test(a_window_is_taken_and_then_there_is_no_room),
        cmocka_unit_test(a_waiter_that_is_not_due_is_no_news),
        cmocka_unit_test(the_end_of_the_request_gives_every_waiter_back),
        cmocka_unit_test(what_is_parked_is_resumed_once_when_there_is_room),
        cmocka_unit_test(what_is_parked_is_resumed_when_nobody_reads),
        cmocka_unit_test(an_exchange_that_is_made_late_knows_that_the_client_has_gone),
        cmocka_unit_test(a_body_in_pieces),
    };
    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
