/* SPDX-License-Identifier: MIT
 * A growable run of bytes, and JSON strings written into it.
 * Process: all. Owns the bytes of each buffer until oar_buf_free. Never aborts: a failed allocation
 * sets `failed`, further appends do nothing, and the caller checks once at the end. */
#include "shared/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/utf8.h"

char *oar_buf_room(struct oar_buf *b, size_t more)
{
    if (OAR_LIKELY(b->cap - b->len >= more && !b->failed)) {
        return b->data + b->len;
    }
    size_t cap = b->cap ? b->cap : 256;
    while (cap - b->len < more && cap < SIZE_MAX / 2) {
        cap *= 2;
    }
    char *data = b->failed || cap - b->len < more ? NULL : realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return NULL;
    }
    b->data = data;
    b->cap = cap;
    return data + b->len;
}

void oar_buf_room_within(struct oar_buf *b, size_t more, size_t most)
{
    size_t cap = OAR_MIN(OAR_MAX(b->cap * 2, b->len + more), most);
    char *data = b->cap - b->len < more && cap >= b->len + more ? realloc(b->data, cap) : NULL;
    if (data) {
        b->data = data;
        b->cap = cap;
    }
}

void oar_buf_put(struct oar_buf *b, const void *bytes, size_t len)
{
    char *to = len ? oar_buf_room(b, len) : NULL;
    if (to) {
        memcpy(to, bytes, len);
        b->len += len;
    }
}

void oar_buf_printf(struct oar_buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int need = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *to = need > 0 ? oar_buf_room(b, (size_t)need + 1) : NULL;
    if (to) {
        va_start(args, fmt);
        vsnprintf(to, (size_t)need + 1, fmt, args);
        va_end(args);
        b->len += (size_t)need;
    }
}

void oar_buf_free(struct oar_buf *b)
{
    free(b->data);
    *b = (struct oar_buf){0};
}

static void put_json_special(struct oar_buf *b, unsigned char c)
{
    static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof short_forms; i += 2) {
        if ((unsigned char)short_forms[i] == c) {
            char two[2] = {'\\', short_forms[i + 1]};
            oar_buf_put(b, two, 2);
            return;
        }
    }
    oar_buf_printf(b, "\\u%04x", c);
}

void oar_buf_put_json(struct oar_buf *b, struct oar_slice s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t run = 0; /* start of bytes that go through unchanged */
    oar_buf_put(b, "\"", 1);
    for (size_t i = 0; i < s.len;) {
        size_t len = oar_utf8_sequence(p + i, s.len - i);
        if (len == 0 || (len == 1 && (p[i] < 0x20 || p[i] == '"' || p[i] == '\\'))) {
            oar_buf_put(b, p + run, i - run);
            if (len == 0) {
                oar_buf_put(b, "\xef\xbf\xbd", 3);
            } else {
                put_json_special(b, p[i]);
            }
            run = i + 1;
            len = 1;
        }
        i += len;
    }
    oar_buf_put(b, p + run, s.len - run);
    oar_buf_put(b, "\"", 1);
}
