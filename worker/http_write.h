/* SPDX-License-Identifier: MIT
 * A response as bytes. */
#ifndef OARLOCK_HTTP_WRITE_H
#define OARLOCK_HTTP_WRITE_H

#include "shared/buf.h"
#include "worker/http_msg.h"

/* Appends head and body of r->response. `date` is a whole "date: ..." line or empty. */
void oar_http_write(struct oar_buf *out, const struct oar_request *r, struct oar_slice date,
                    bool close);
/* RFC 9110 section 15's phrase; "" for a status that it does not name. */
const char *oar_http_reason(unsigned status);
/* Whether the status may have a body: RFC 9110 sections 6.4.1 and 15; 205 has none, and says so with
 * a length of 0 (section 15.3.6). */
static inline bool oar_http_has_body(unsigned status)
{
    return status >= 200 && status != 204 && status != 205 && status != 304;
}
/* "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" (RFC 9110 section 5.6.7); returns the length. */
size_t oar_http_date(char *out, size_t room, int64_t now);

#endif
