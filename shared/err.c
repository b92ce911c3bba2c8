/* SPDX-License-Identifier: MIT
 * Formats the sentence of a failure into the caller's struct oar_err.
 * Process: all. Owns nothing. Never allocates, never exits. */
#include "oarlock/err.h"

#include <stdarg.h>
#include <stdio.h>

enum oar_status oar_err_set(struct oar_err *err, const char *fmt, ...)
{
    if (err) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
    }
    return OAR_ERR;
}
