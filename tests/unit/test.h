/* SPDX-License-Identifier: MIT
 * What every unit test includes first: cmocka and its needs. A test includes the .c it tests. */
#ifndef OARLOCK_TEST_H
#define OARLOCK_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "oarlock/base.h"

#define assert_slice_equal(s, text)                         \
    do {                                                    \
        assert_int_equal((s).len, strlen(text));            \
        assert_memory_equal((s).ptr, (text), strlen(text)); \
    } while (0)
#define assert_contains(haystack, needle)                          \
    do {                                                           \
        if (!strstr((haystack), (needle))) {                       \
            fail_msg("'%s' is not in '%s'", (needle), (haystack)); \
        }                                                          \
    } while (0)

#endif
