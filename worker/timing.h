/* SPDX-License-Identifier: MIT
 * --server-timing: where a request's time went, in a field of its response. */
#ifndef OARLOCK_WORKER_TIMING_H
#define OARLOCK_WORKER_TIMING_H

#include "worker/thread.h"

enum { OAR_TIMING_ROOM = 256 }; /* bytes of a field, at most */

/* Its head has been read. */
void oar_timing_read(struct oar_conn *c, struct oar_request *r);
/* Its handler is called now, on the loop's thread. */
void oar_timing_called(const struct oar_thread *t, struct oar_request *r);
/* The field, as bytes; 0: no room. */
size_t oar_timing_field(const struct oar_thread *t, const struct oar_request *r, char *out,
                        size_t room);

#endif
