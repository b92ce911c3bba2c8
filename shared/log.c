/* SPDX-License-Identifier: MIT
 * Log lines to standard error: "2026-01-31T12:00:00.123Z info    worker 1[4711]: text".
 * Process: all; safe from any thread. Owns the process's name, and how much each place in the code
 * has said lately. Lines leave in blocks of whole ones (log_out.c), which never waits for a reader:
 * what finds no room is counted, and the number is logged when there is room again. Never blocks on
 * a lock. No byte of a text can move a terminal's cursor or begin a line of its own. */
#include "oarlock/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "shared/clock.h"
#include "shared/log_out.h"
#include "shared/utf8.h"

#define SECOND_NS 1000000000u
#define ESCAPE_MOST 6 /* bytes that one byte, or one sequence, becomes at most */
#define FORMAT_MOST 65536
_Static_assert(OAR_LOG_LINE_MAX < OAR_LOG_BLOCK, "a line leaves whole");

static char who[32] = "oarlock";
static enum oar_log_level least = OAR_LOG_INFO;

static _Atomic uint32_t lost; /* lines that found no room */

/* ---- lines ---- */

/* What one place says in one go, leaving in blocks of whole lines. */
struct block {
    enum oar_log_level level;
    uint32_t lines;
    size_t len;
    char bytes[OAR_LOG_BLOCK];
};

static size_t prefix(char *line, size_t room, enum oar_log_level level, char mark)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(line, room, "%Y-%m-%dT%H:%M:%S", &utc);
    int more = snprintf(line + n, room - n, ".%03ldZ %-7s %s[%d]%c ", now.tv_nsec / 1000000,
                        names[level], who, (int)getpid(), mark);
    return more > 0 ? OAR_MIN(n + (size_t)more, room - 1) : n;
}

static void block_flush(struct block *b)
{
    if (b->len > 0 && !oar_log_out_put(b->bytes, b->len)) {
        atomic_fetch_add(&lost, b->lines);
    }
    b->len = 0;
    b->lines = 0;
}

/* One character as it is written: controls (C0, DEL, C1) and bytes that are no UTF-8 as \xNN or
 * \u00NN, a tab as it is meant. Returns how many bytes of the text it was. */
static size_t escape(const char *text, size_t left, char out[ESCAPE_MOST + 1], size_t *out_len)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t n = oar_utf8_sequence(p, left);
    if (*p == '\t') {
        *out = ' ';
        *out_len = 1;
    } else if (n == 0 || *p < 0x20 || *p == 0x7f) {
        *out_len = (size_t)snprintf(out, ESCAPE_MOST + 1, "\\x%02x", *p);
    } else if (n == 2 && p[0] == 0xc2 && p[1] < 0xa0) {
        *out_len = (size_t)snprintf(out, ESCAPE_MOST + 1, "\\u%04x", p[1]);
    } else {
        memcpy(out, p, n);
        *out_len = n;
    }
    return n ? n : 1;
}

/* Escapes while there is room. Returns how much of the text went in. */
static size_t append(char *out, size_t *used, size_t room, struct oar_slice text)
{
    char one[ESCAPE_MOST + 1];
    size_t at = 0;
    while (at < text.len) {
        size_t len;
        size_t n = escape(text.ptr + at, text.len - at, one, &len);
        if (*used + len > room) {
            break;
        }
        memcpy(out + *used, one, len);
        *used += len;
        at += n;
    }
    return at;
}

/* Where the end of the text begins that takes at most `room` bytes, not before `from`. */
static size_t tail_of(struct oar_slice text, size_t from, size_t room)
{
    char one[ESCAPE_MOST + 1];
    size_t start = text.len - from > room ? text.len - room : from;
    size_t len;
    size_t all = 0;
    while (start < text.len && ((unsigned char)text.ptr[start] & 0xc0) == 0x80) {
        start++;
    }
    for (size_t at = start; at < text.len;) {
        at += escape(text.ptr + at, text.len - at, one, &len);
        all += len;
    }
    while (all > room) {
        start += escape(text.ptr + start, text.len - start, one, &len);
        all -= len;
    }
    return start;
}

/* A line keeps its beginning and its end. */
static void block_add(struct block *b, char mark, struct oar_slice text)
{
    char line[OAR_LOG_LINE_MAX];
    const size_t room = sizeof line - 1; /* the newline */
    size_t n = prefix(line, sizeof line, b->level, mark);
    size_t begun = n;
    size_t in = append(line, &n, room, text);
    if (in < text.len) {
        n = begun;
        in = append(line, &n, room / 2, text);
        size_t tail = tail_of(text, in, room - n - 64);
        n += (size_t)snprintf(line + n, 64, " [%zu bytes are left out] ", tail - in);
        append(line, &n, room, (struct oar_slice){text.ptr + tail, text.len - tail});
    }
    line[n++] = '\n';
    if (b->len + n > sizeof b->bytes) {
        block_flush(b);
    }
    memcpy(b->bytes + b->len, line, n);
    b->len += n;
    b->lines++;
}

static void block_format(struct block *b, char mark, const char *fmt, ...) OAR_PRINTF(3, 4);
static void block_format(struct block *b, char mark, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    block_add(b, mark, oar_slice_of(text));
}

/* The end of the line that begins at `at`, or of the text. */
static size_t line_end(struct oar_slice text, size_t at)
{
    const char *end = memchr(text.ptr + at, '\n', text.len - at);
    return end ? (size_t)(end - text.ptr) : text.len;
}

/* ---- how much one place may say ---- */

/* Places share a row if their hashes do; then they share its limit. */
static struct place {
    atomic_flag busy; /* tried, never waited for */
    uint64_t began;
    uint32_t said, left_out;
    char sample[80];
} places[64];

static uint64_t hash(uint64_t h, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        h = (h ^ (unsigned char)bytes[i]) * 1099511628211u;
    }
    return h;
}

/* Says what was left out in a second that is over. Called with `busy` held. */
static void place_settle(struct place *p, struct block *b)
{
    if (p->left_out) {
        block_format(b, ':', "%u more of this kind within a second are not logged: %s", p->left_out,
                     p->sample);
    }
    p->left_out = 0;
    p->said = 0;
}

/* May this place speak? `text` is kept as the sample of what is left out. */
static bool may_speak(uint64_t id, uint32_t most, struct oar_slice text, struct block *b)
{
    struct place *p = &places[(id ^ id >> 17) % OAR_ARRAY_LEN(places)];
    uint64_t now = oar_now_ns();
    bool yes = true;
    if (b->level < OAR_LOG_WARNING || atomic_flag_test_and_set(&p->busy)) {
        return true; /* another thread speaks there now: not worth waiting */
    }
    if (now - p->began >= SECOND_NS) {
        place_settle(p, b);
        p->began = now;
        snprintf(p->sample, sizeof p->sample, "%.*s",
                 (int)OAR_MIN(line_end(text, 0), sizeof p->sample), text.ptr);
    }
    yes = p->said < most;
    p->said += yes;
    p->left_out += !yes;
    atomic_flag_clear(&p->busy);
    return yes;
}

static void settle(struct block *b)
{
    uint32_t n = atomic_exchange(&lost, 0);
    if (n > 0) {
        struct block note = {.level = OAR_LOG_WARNING};
        block_format(&note, ':',
                     "%u lines of this log are lost: nobody read standard error, or it was full",
                     n);
        if (!oar_log_out_put(note.bytes, note.len)) {
            atomic_fetch_add(&lost, n);
        }
    }
    for (size_t i = 0; i < OAR_ARRAY_LEN(places) && b; i++) {
        struct place *p = &places[i];
        if (!atomic_flag_test_and_set(&p->busy)) {
            if (p->left_out && oar_now_ns() - p->began >= SECOND_NS) {
                place_settle(p, b);
            }
            atomic_flag_clear(&p->busy);
        }
    }
}

/* ---- the calls ---- */

void oar_log_init(const char *name, enum oar_log_level level)
{
    snprintf(who, sizeof who, "%s", name);
    least = level;
    oar_log_out_open();
    atomic_store(&lost, 0); /* the parent's to say */
    memset(places, 0, sizeof places);
}

/* Its own function, so that the address to which it returns says which place in the code speaks. */
__attribute__((noinline)) void oar_log(enum oar_log_level level, const char *fmt, ...)
{
    uint64_t place = (uint64_t)(uintptr_t)__builtin_return_address(0);
    char some[OAR_LOG_LINE_MAX];
    char *text = some;
    va_list args;
    va_list again;
    if (level < least) {
        return;
    }
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(some, sizeof some, fmt, args);
    if (n >= (int)sizeof some) { /* rare; without memory it keeps only its beginning */
        size_t room = OAR_MIN((size_t)n + 1, (size_t)FORMAT_MOST);
        char *more = malloc(room);
        text = more ? more : some;
        n = more ? vsnprintf(more, room, fmt, again) : (int)sizeof some - 1;
        n = OAR_MIN(n, (int)room - 1);
    }
    va_end(again);
    va_end(args);
    struct block b = {.level = level};
    struct oar_slice whole = {text, n > 0 ? (size_t)n : 0};
    if (may_speak(place, OAR_LOG_LINES_A_SECOND, whole, &b)) {
        block_add(&b, ':', whole);
    }
    settle(NULL);
    block_flush(&b);
    if (text != some) {
        free(text);
    }
}

/* What tells one traceback from another: its stack, not the client's words in its message. Only the
 * first run of frames is read: the message begins behind it, and may have lines like frames. */
static uint64_t stack_of(struct oar_slice text, uint64_t place)
{
    static const struct oar_slice frame = OAR_LIT("  File \"");
    uint64_t h = place;
    bool within = false;
    for (size_t at = 0, end; at < text.len; at = end + 1) {
        end = line_end(text, at);
        bool is_frame = end - at > frame.len && memcmp(text.ptr + at, frame.ptr, frame.len) == 0;
        if (within && !is_frame && (end == at || text.ptr[at] != ' ')) {
            break;
        }
        if (is_frame) {
            h = hash(h, text.ptr + at, end - at);
        }
        within = within || is_frame;
    }
    return h;
}

/* The end of the text that is logged when its middle is not: whole lines, not before `from`. */
static size_t last_lines(struct oar_slice text, size_t from, size_t bytes, int lines)
{
    size_t start = text.len;
    while (start > from) {
        size_t begin = start - 1; /* of the line that ends at `start` */
        while (begin > from && text.ptr[begin - 1] != '\n') {
            begin--;
        }
        size_t cost = OAR_MIN(start - begin, (size_t)OAR_LOG_LINE_MAX);
        if (lines-- == 0 || cost > bytes) {
            break;
        }
        bytes -= cost;
        start = begin;
    }
    return start;
}

static void add_lines(struct block *b, struct oar_slice text)
{
    const size_t part = OAR_LOG_TEXT_MAX / 2;
    size_t at = 0;
    size_t bytes = part;
    int lines = OAR_LOG_TEXT_LINES / 2;
    bool left_out = false;
    while (at < text.len) {
        size_t end = line_end(text, at);
        size_t cost = OAR_MIN(end - at, (size_t)OAR_LOG_LINE_MAX);
        if (!left_out && (lines-- == 0 || cost > bytes)) {
            size_t start = last_lines(text, at, part, OAR_LOG_TEXT_LINES / 2);
            uint32_t n = 0;
            for (size_t i = at; i < start; i++) {
                n += text.ptr[i] == '\n';
            }
            if (n > 0) {
                block_format(b, '|', "[%u lines are left out]", n);
            }
            left_out = true;
            at = start;
            continue;
        }
        bytes -= left_out ? 0 : cost;
        block_add(b, at == 0 ? ':' : '|', (struct oar_slice){text.ptr + at, end - at});
        at = end + 1;
    }
}

__attribute__((noinline)) void oar_log_text(enum oar_log_level level, struct oar_slice text)
{
    uint64_t place = (uint64_t)(uintptr_t)__builtin_return_address(0);
    if (level < least || text.len == 0) {
        return;
    }
    struct block b = {.level = level};
    if (may_speak(stack_of(text, place), OAR_LOG_TEXTS_A_SECOND, text, &b)) {
        settle(NULL);
        add_lines(&b, text);
    }
    block_flush(&b);
}

void oar_log_settle(void)
{
    struct block b = {.level = OAR_LOG_WARNING};
    settle(&b);
    block_flush(&b);
}

enum oar_log_level oar_log_level_now(void)
{
    return least;
}
