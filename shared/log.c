/* SPDX-License-Identifier: MIT
 * Log lines to standard error: "2026-01-31T12:00:00.123Z info  worker 1[4711]: text".
 * Process: all; safe from any thread. Each line is one write(2), so lines of many processes never
 * mix. Owns the process's name. Never blocks on a lock, never allocates for a line; a full pipe or
 * disk loses the line rather than stopping the server. */
#include "oarlock/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static char who[32] = "oarlock";
static enum oar_log_level least = OAR_LOG_INFO;

void oar_log_init(const char *name, enum oar_log_level level)
{
    snprintf(who, sizeof who, "%s", name);
    least = level;
}

static size_t prefix(char *line, size_t room, enum oar_log_level level)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(line, room, "%Y-%m-%dT%H:%M:%S", &utc);
    int more = snprintf(line + n, room - n, ".%03ldZ %-7s %s[%d]: ", now.tv_nsec / 1000000,
                        names[level], who, (int)getpid());
    return more > 0 ? OAR_MIN(n + (size_t)more, room - 1) : n;
}

static void put(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, bytes, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break; /* nobody to tell */
        }
        bytes += n;
        len -= (size_t)n;
    }
}

void oar_log(enum oar_log_level level, const char *fmt, ...)
{
    char line[OAR_LOG_LINE_MAX];
    if (level < least) {
        return;
    }
    size_t n = prefix(line, sizeof line, level);
    va_list args;
    va_start(args, fmt);
    int more = vsnprintf(line + n, sizeof line - n - 1, fmt, args);
    va_end(args);
    n += more > 0 ? OAR_MIN((size_t)more, sizeof line - n - 2) : 0;
    if (more > 0 && (size_t)more >= sizeof line - n) {
        memset(line + n - 3, '.', 3);
    }
    for (size_t i = 0; i < n; i++) { /* a client's bytes must not forge a second line */
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = line[i] == '\t' ? ' ' : '?';
        }
    }
    line[n++] = '\n';
    put(line, n);
}

void oar_log_text(enum oar_log_level level, struct oar_slice text)
{
    char head[128];
    if (level < least || text.len == 0) {
        return;
    }
    size_t n = prefix(head, sizeof head, level);
    size_t room = text.len + (n + 1) * 2;
    for (size_t i = 0; i < text.len; i++) {
        room += text.ptr[i] == '\n' ? n : 0;
    }
    char *all = malloc(room);
    if (!all) {
        put(text.ptr, text.len);
        return;
    }
    size_t used = 0;
    for (size_t at = 0; at < text.len;) {
        const char *end = memchr(text.ptr + at, '\n', text.len - at);
        size_t len = end ? (size_t)(end - (text.ptr + at)) : text.len - at;
        memcpy(all + used, head, n);
        memcpy(all + used + n, text.ptr + at, len);
        used += n + len;
        all[used++] = '\n';
        at += len + 1;
    }
    put(all, used);
    free(all);
}

enum oar_log_level oar_log_level_now(void)
{
    return least;
}
