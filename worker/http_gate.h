/* SPDX-License-Identifier: MIT
 * What RFC 9112 and 9110 demand of a request beyond what http-parser checks. */
#ifndef OARLOCK_HTTP_GATE_H
#define OARLOCK_HTTP_GATE_H

#include "worker/http_parse.h"

/* A head that http-parser took whole. false: answer *status because of *why (static text), then
 * close. */
bool oar_gate_head(const char *head, struct oar_parsed *parsed, uint16_t *status, const char **why);
/* The request line does not start with a method that http-parser knows: 501 or 400? */
void oar_gate_unknown_method(const char *head, size_t len, uint16_t *status, const char **why);
/* Splits the target into path and query, as offsets from the head. */
void oar_gate_target(const char *head, const struct oar_parsed *parsed, struct oar_request *out);

#endif
