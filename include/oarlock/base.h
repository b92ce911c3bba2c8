/* SPDX-License-Identifier: MIT
 * Slices, literals and attributes that every other file uses. Includes nothing of ours. */
#ifndef OARLOCK_BASE_H
#define OARLOCK_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that somebody else owns. Not NUL-terminated. */
struct oar_slice {
    const char *ptr;
    size_t len;
};

/* A string literal as a slice: pointer and length come from one spelling. */
#define OAR_LIT(s) ((struct oar_slice){(s), sizeof(s) - 1})
/* printf's "%.*s" arguments for a slice. */
#define OAR_FMT(s) (int)(s).len, (s).ptr

#define OAR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define OAR_CONTAINER_OF(p, type, field) ((type *)((char *)(p)-offsetof(type, field)))
#define OAR_MIN(a, b) ((a) < (b) ? (a) : (b))
#define OAR_MAX(a, b) ((a) > (b) ? (a) : (b))
#define OAR_ALIGN(n, to) (((n) + ((to)-1)) & ~((size_t)(to)-1))
#define OAR_CACHE_LINE 64

#define OAR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define OAR_LIKELY(x) __builtin_expect(!!(x), 1)
#define OAR_UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Rare, and never inlined: it would cost its caller registers and stack. */
#define OAR_COLD __attribute__((cold, noinline))

static inline bool oar_slice_eq(struct oar_slice a, struct oar_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* ASCII case-insensitive. strncasecmp follows the locale that an application has set. */
static inline bool oar_same_letters(const char *a, const char *b, size_t len)
{
    size_t i = 0;
    for (; i < len; i++) {
        unsigned char x = (unsigned char)a[i], y = (unsigned char)b[i];
        x |= x >= 'A' && x <= 'Z' ? 0x20 : 0;
        y |= y >= 'A' && y <= 'Z' ? 0x20 : 0;
        if (x != y) {
            break;
        }
    }
    return i == len;
}

/* The value of a hexadecimal digit; -1: it is none. */
static inline int oar_hex(char c)
{
    int v = -1;
    if (c >= '0' && c <= '9') {
        v = c - '0';
    } else if ((c | 32) >= 'a' && (c | 32) <= 'f') {
        v = (c | 32) - 'a' + 10;
    }
    return v;
}
static inline struct oar_slice oar_slice_of(const char *text)
{
    return (struct oar_slice){text, strlen(text)};
}

#endif
