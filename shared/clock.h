/* SPDX-License-Identifier: MIT
 * The monotonic clock. */
#ifndef OARLOCK_CLOCK_H
#define OARLOCK_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds since some moment before the start of the process. */
static inline uint64_t oar_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
