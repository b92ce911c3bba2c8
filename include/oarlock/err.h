/* SPDX-License-Identifier: MIT
 * How a function says how it ended, and where it puts the sentence for the operator. */
#ifndef OARLOCK_ERR_H
#define OARLOCK_ERR_H

#include "oarlock/base.h"

enum oar_status {
    OAR_OK,     /* done */
    OAR_AGAIN,  /* nothing wrong: not yet (would block, more bytes needed) */
    OAR_CLOSED, /* the other side is gone */
    OAR_ERR,    /* failed; struct oar_err says why */
};

/* One sentence that names the thing, the value and the way out. Owned by the caller. */
struct oar_err {
    char text[1024];
};

/* Fills `err` (may be NULL). Returns OAR_ERR, so that `return oar_err_set(...)` reads well. */
enum oar_status oar_err_set(struct oar_err *err, const char *fmt, ...) OAR_PRINTF(2, 3);

#endif
