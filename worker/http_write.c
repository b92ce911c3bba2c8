/* SPDX-License-Identifier: MIT
 * A response as bytes: status line, framing, fields, body.
 * Process: worker. Owns nothing. Never writes a length that is not the body's, nor a body where the
 * request (HEAD) or the status (1xx, 204, 304) forbids one. */
#include "worker/http_write.h"

#include <stdio.h>
#include <time.h>

/* STATUS(code, phrase): RFC 9110 section 15, and RFC 6585 for 428, 429, 431, 511. */
/* clang-format off */
#define STATUSES(STATUS)                                                                           \
    STATUS(100, "Continue") STATUS(101, "Switching Protocols") STATUS(102, "Processing")           \
    STATUS(103, "Early Hints") STATUS(200, "OK") STATUS(201, "Created") STATUS(202, "Accepted")    \
    STATUS(203, "Non-Authoritative Information") STATUS(204, "No Content")                         \
    STATUS(205, "Reset Content") STATUS(206, "Partial Content") STATUS(207, "Multi-Status")        \
    STATUS(300, "Multiple Choices") STATUS(301, "Moved Permanently") STATUS(302, "Found")          \
    STATUS(303, "See Other") STATUS(304, "Not Modified") STATUS(307, "Temporary Redirect")         \
    STATUS(308, "Permanent Redirect") STATUS(400, "Bad Request") STATUS(401, "Unauthorized")       \
    STATUS(402, "Payment Required") STATUS(403, "Forbidden") STATUS(404, "Not Found")              \
    STATUS(405, "Method Not Allowed") STATUS(406, "Not Acceptable")                                \
    STATUS(407, "Proxy Authentication Required") STATUS(408, "Request Timeout")                    \
    STATUS(409, "Conflict") STATUS(410, "Gone") STATUS(411, "Length Required")                     \
    STATUS(412, "Precondition Failed") STATUS(413, "Content Too Large")                            \
    STATUS(414, "URI Too Long") STATUS(415, "Unsupported Media Type")                              \
    STATUS(416, "Range Not Satisfiable") STATUS(417, "Expectation Failed")                         \
    STATUS(418, "I'm a Teapot") STATUS(421, "Misdirected Request")                                 \
    STATUS(422, "Unprocessable Content") STATUS(423, "Locked") STATUS(424, "Failed Dependency")    \
    STATUS(425, "Too Early") STATUS(426, "Upgrade Required") STATUS(428, "Precondition Required")  \
    STATUS(429, "Too Many Requests") STATUS(431, "Request Header Fields Too Large")                \
    STATUS(451, "Unavailable For Legal Reasons") STATUS(500, "Internal Server Error")              \
    STATUS(501, "Not Implemented") STATUS(502, "Bad Gateway") STATUS(503, "Service Unavailable")   \
    STATUS(504, "Gateway Timeout") STATUS(505, "HTTP Version Not Supported")                       \
    STATUS(507, "Insufficient Storage") STATUS(511, "Network Authentication Required")
/* clang-format on */

static const char *const reasons[512] = {
#define ROW(code, phrase) [code] = phrase,
    STATUSES(ROW)
#undef ROW
};

const char *oar_http_reason(unsigned status)
{
    const char *phrase = status < OAR_ARRAY_LEN(reasons) ? reasons[status] : NULL;
    return phrase ? phrase : "";
}

size_t oar_http_date(char *out, size_t room, int64_t now)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)now;
    struct tm t;
    gmtime_r(&seconds, &t);
    int n = snprintf(out, room, "date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", days[t.tm_wday],
                     t.tm_mday, months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
    return n > 0 && (size_t)n < room ? (size_t)n : 0;
}

static char *put(char *to, struct oar_slice s)
{
    memcpy(to, s.ptr, s.len);
    return to + s.len;
}

static char *put_number(char *to, size_t n)
{
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    return put(to, (struct oar_slice){digits + at, sizeof digits - at});
}

static char *put_status_line(char *to, unsigned status)
{
    if (OAR_LIKELY(status == 200)) {
        return put(to, OAR_LIT("HTTP/1.1 200 OK\r\n"));
    }
    to = put(to, OAR_LIT("HTTP/1.1 "));
    to = put_number(to, status);
    *to++ = ' ';
    to = put(to, oar_slice_of(oar_http_reason(status)));
    return put(to, OAR_LIT("\r\n"));
}

void oar_http_write(struct oar_buf *out, const struct oar_request *r, struct oar_slice date,
                    bool close)
{
    const struct oar_response *re = &r->response;
    bool has_body = oar_http_has_body(re->status);
    char *start = oar_buf_room(out, 256 + date.len + re->type.len + re->fields.len + re->body.len);
    if (!start) {
        return;
    }
    char *to = put_status_line(start, re->status);
    if (has_body) {
        if (OAR_LIKELY(!re->stream || re->has_length)) {
            to = put(to, OAR_LIT("content-length: "));
            to = put_number(to, re->has_length ? re->length : re->body.len);
            to = put(to, OAR_LIT("\r\n"));
        } else if (r->minor > 0) {
            to = put(to, OAR_LIT("transfer-encoding: chunked\r\n"));
        }
        if (re->type.len > 0 && !re->head_has_type) {
            to = put(to, OAR_LIT("content-type: "));
            to = put(to, re->type);
            to = put(to, OAR_LIT("\r\n"));
        }
    } else if (re->status == 205) {
        to = put(to, OAR_LIT("content-length: 0\r\n"));
    }
    to = put(to, date);
    if (re->fields.len > 0) {
        to = put(to, re->fields);
    }
    if (close) {
        to = put(to, OAR_LIT("connection: close\r\n"));
    } else if (r->minor == 0) {
        to = put(to, OAR_LIT("connection: keep-alive\r\n"));
    }
    to = put(to, OAR_LIT("\r\n"));
    if (has_body && r->method != OAR_HEAD && re->body.len > 0) {
        to = put(to, re->body);
    }
    out->len += (size_t)(to - start);
}
