/* SPDX-License-Identifier: MIT
 * What every fuzz target includes first. */
#ifndef OARLOCK_FUZZ_H
#define OARLOCK_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer reports an abort with the input that led to it. */
#define MUST(condition)                                         \
    do {                                                        \
        if (!(condition)) {                                     \
            fprintf(stderr, "does not hold: %s\n", #condition); \
            abort();                                            \
        }                                                       \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
