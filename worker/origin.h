/* SPDX-License-Identifier: MIT
 * Who is speaking, when proxies stand between: the PROXY protocol before the first request, and the
 * Forwarded and X-Forwarded-* fields of each. */
#ifndef OARLOCK_ORIGIN_H
#define OARLOCK_ORIGIN_H

#include "oarlock/config.h"
#include "worker/http_parse.h"

/* forwarded.c: what the fields say, if the connection's peer is trusted; else out->peer is `peer`.
 * Hops are followed from the nearest as long as they are trusted; out->peer is of family 0 when they
 * end without a client. out->host is that of a target in absolute form, unless a proxy names one. */
void oar_forwarded(struct oar_forwarding how, const struct oar_networks *trusted,
                   const struct oar_peer *peer, const struct oar_request *r,
                   struct oar_origin *out);

/* proxy_protocol.c: OAR_PARSE_MORE, OAR_PARSE_MESSAGE (`used` bytes were the header; `peer` is
 * its source, of family 0 when it names none) or OAR_PARSE_REFUSED. */
enum oar_parse_result oar_proxy_parse(const char *bytes, size_t len, struct oar_peer *peer,
                                      size_t *used);

#endif
