/* SPDX-License-Identifier: MIT
 * UTF-8 as Unicode 15, table 3-7 defines it: no overlong forms, no surrogates, nothing above
 * U+10FFFF. */
#ifndef OARLOCK_UTF8_H
#define OARLOCK_UTF8_H

#include "oarlock/base.h"

/* Length of the valid sequence at `p` (1-4), or 0 where there is none. `left` is at least 1. */
static inline size_t oar_utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char a = p[0];
    size_t len = 0;
    if (a < 0x80) {
        len = 1;
    } else if (a >= 0xc2 && a <= 0xdf) {
        len = 2;
    } else if (a >= 0xe0 && a <= 0xef) {
        len = 3;
    } else if (a >= 0xf0 && a <= 0xf4) {
        len = 4;
    }
    if (len == 0 || len > left) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool bad = (a == 0xe0 && p[1] < 0xa0) || (a == 0xed && p[1] > 0x9f) ||
               (a == 0xf0 && p[1] < 0x90) || (a == 0xf4 && p[1] > 0x8f);
    return bad ? 0 : len;
}

#endif
