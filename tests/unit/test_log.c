/* SPDX-License-Identifier: MIT
 * Lines of the log: what is escaped, what is left out, what one place may say. */
#include "tests/unit/test.h"

#include "shared/log.c"
#include "shared/log_out.c"

static char got[1 << 20];
static int ends[2];

static void begin(void)
{
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    oar_log_init("test", OAR_LOG_INFO);
    sink.kind = OWN;
    sink.fd = ends[1];
}

/* What was logged, without the time before "warning" and the like. */
static const char *end(void)
{
    ssize_t n = read(ends[0], got, sizeof got - 1);
    got[n > 0 ? n : 0] = '\0';
    close(ends[0]);
    close(ends[1]);
    return got;
}

static const char *text_of(const char *line)
{
    const char *mark = strstr(line, "]: ");
    return mark ? mark + 3 : "";
}

static void controls_are_escaped(void **state)
{
    (void)state;
    begin();
    oar_log(OAR_LOG_INFO, "%s",
            "a\tb\x1b[2J\r\n\x7f caf\xc3\xa9 \xc2\x9b \x9b \xf0\x9f\x98\x80 \xed\xa0\x80");
    assert_string_equal(text_of(end()), "a b\\x1b[2J\\x0d\\x0a\\x7f caf\xc3\xa9 \\u009b \\x9b "
                                        "\xf0\x9f\x98\x80 \\xed\\xa0\\x80\n");
}

static void a_line_keeps_its_ends(void **state)
{
    static char longest[70000];
    (void)state;
    for (size_t len = 900; len < sizeof longest; len += len < 2200 ? 1 : 997) {
        memset(longest, 'x', len);
        memcpy(longest, "first", 5);
        memcpy(longest + len - 4, "last", 5);
        begin();
        oar_log(OAR_LOG_INFO, "%s", longest);
        const char *line = end();
        size_t n = strlen(line);
        assert_true(n <= OAR_LOG_LINE_MAX && line[n - 1] == '\n');
        assert_memory_equal(text_of(line), "first", 5);
        if (len < FORMAT_MOST) {
            assert_memory_equal(line + n - 5, "last", 4);
        }
        assert_true(strstr(line, "bytes are left out") || strlen(text_of(line)) == len + 1);
    }
}

static void escapes_do_not_pass_the_room(void **state)
{
    static char evil[30000];
    (void)state;
    for (int seed = 0; seed < 300; seed++) {
        srand((unsigned)seed);
        size_t len = (size_t)rand() % sizeof evil;
        for (size_t i = 0; i < len; i++) {
            evil[i] = (char)(rand() % 3 ? rand() % 256 : "\xe2\x82\xac\x1b"[rand() % 4]);
        }
        begin();
        oar_log_text(OAR_LOG_INFO, (struct oar_slice){evil, len});
        for (const char *line = end(), *next; *line; line = next + 1) {
            next = strchr(line, '\n');
            assert_non_null(next);
            assert_true(next - line < OAR_LOG_LINE_MAX);
            for (const char *p = line; p < next; p++) {
                assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
            }
        }
    }
}

static int lines_of(const char *text)
{
    int n = 0;
    for (; *text; text++) {
        n += *text == '\n';
    }
    return n;
}

static void a_text_is_marked_and_bounded(void **state)
{
    static char text[400000];
    size_t n = 0;
    (void)state;
    begin();
    oar_log_text(OAR_LOG_INFO, OAR_LIT("one\n\nthree"));
    const char *out = end();
    assert_int_equal(lines_of(out), 3);
    assert_non_null(strstr(out, "]: one\n"));
    assert_non_null(strstr(out, "]| \n"));
    assert_non_null(strstr(out, "]| three\n"));

    for (int i = 0; i < 5000; i++) {
        n += (size_t)sprintf(text + n, "line %d\n", i);
    }
    begin();
    oar_log_text(OAR_LOG_INFO, (struct oar_slice){text, n});
    out = end();
    assert_int_equal(lines_of(out), OAR_LOG_TEXT_LINES + 1);
    assert_non_null(strstr(out, "]: line 0\n"));
    assert_non_null(strstr(out, "]| line 199\n"));
    assert_non_null(strstr(out, "]| [4600 lines are left out]\n"));
    assert_non_null(strstr(out, "]| line 4800\n"));
    assert_non_null(strstr(out, "]| line 4999\n"));
}

static void warn(int i)
{
    oar_log(OAR_LOG_WARNING, "warning %d", i);
}

static void a_place_is_limited_and_the_rest_is_counted(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < 100; i++) {
        warn(i);
        oar_log(OAR_LOG_INFO, "info %d", i);
    }
    oar_log(OAR_LOG_WARNING, "another place");
    for (size_t i = 0; i < OAR_ARRAY_LEN(places); i++) {
        places[i].began -= SECOND_NS; /* a second later */
    }
    oar_log_settle();
    const char *out = end();
    assert_int_equal(lines_of(out), OAR_LOG_LINES_A_SECOND + 100 + 2);
    assert_non_null(strstr(out, "]: warning 19\n"));
    assert_null(strstr(out, "]: warning 20\n"));
    assert_non_null(strstr(out, "]: another place\n"));
    assert_non_null(
        strstr(out, "80 more of this kind within a second are not logged: warning 0\n"));
}

static void stacks_are_told_apart_and_messages_are_not(void **state)
{
    char text[200];
    (void)state;
    begin();
    for (int i = 0; i < 60; i++) {
        int n = sprintf(text, "Traceback:\n  File \"a.py\", line %d\nValueError: %d", i % 2, i);
        oar_log_text(OAR_LOG_ERROR, (struct oar_slice){text, (size_t)n});
    }
    assert_int_equal(lines_of(end()), 2 * OAR_LOG_TEXTS_A_SECOND * 3);
}

static void a_message_cannot_make_a_stack_of_its_own(void **state)
{
    char text[200];
    (void)state;
    begin();
    for (int i = 0; i < 60; i++) {
        int n = sprintf(text,
                        "Traceback:\n  File \"a.py\", line 9\n    raise\nValueError: x\n"
                        "Traceback:\n  File \"%d\"\n",
                        i);
        oar_log_text(OAR_LOG_ERROR, (struct oar_slice){text, (size_t)n});
    }
    assert_int_equal(lines_of(end()), OAR_LOG_TEXTS_A_SECOND * 6);
}

static void a_full_pipe_loses_lines_and_says_so(void **state)
{
    char piece[4096];
    (void)state;
    begin();
    fcntl(ends[1], F_SETPIPE_SZ, 4096);
    memset(piece, 'x', sizeof piece);
    while (write(ends[1], piece, sizeof piece) > 0) {
    }
    uint64_t before = oar_now_ns();
    for (int i = 0; i < 1000; i++) {
        oar_log(OAR_LOG_INFO, "line %d", i);
    }
    assert_true(oar_now_ns() - before < 500 * 1000000u); /* one wait of 20 ms a second */
    assert_true(read(ends[0], piece, sizeof piece) > 0);
    oar_log(OAR_LOG_INFO, "read again");
    const char *out = end();
    assert_non_null(strstr(out, "]: 1000 lines of this log are lost"));
    assert_non_null(strstr(out, "]: read again\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controls_are_escaped),
        cmocka_unit_test(a_line_keeps_its_ends),
        cmocka_unit_test(escapes_do_not_pass_the_room),
        cmocka_unit_test(a_text_is_marked_and_bounded),
        cmocka_unit_test(a_place_is_limited_and_the_rest_is_counted),
        cmocka_unit_test(stacks_are_told_apart_and_messages_are_not),
        cmocka_unit_test(a_message_cannot_make_a_stack_of_its_own),
        cmocka_unit_test(a_full_pipe_loses_lines_and_says_so),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
