/* SPDX-License-Identifier: MIT
 * From a parsed request to who answers it. */
#ifndef OARLOCK_DISPATCH_H
#define OARLOCK_DISPATCH_H

#include "worker/conn.h"

/* Matches and validates: either r->call_app is set, or r->response is complete. No interpreter. */
void oar_dispatch_prepare(struct oar_conn *c, struct oar_request *r);
/* Fills r->response with {"detail": "..."}. */
void oar_dispatch_error(struct oar_conn *c, struct oar_request *r, uint16_t status,
                        const char *detail);

/* params.c: fills r->values. OAR_ERR: `detail` holds FastAPI's list of errors, as JSON. */
enum oar_status oar_params_validate(const void *routes, struct oar_request *r,
                                    struct oar_arena *arena, struct oar_buf *detail);

#endif
