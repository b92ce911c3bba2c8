/* SPDX-License-Identifier: MIT
 * Why a request is refused. One row a reason: name, status, section of its RFC, text for the client.
 * Workers apply them and count them in the scoreboard; the master names them in its status. */
#ifndef OARLOCK_RULES_H
#define OARLOCK_RULES_H

#include "oarlock/base.h"

/* clang-format off */
#define OAR_RULES(RULE)                                                                            \
    RULE(METHOD_TOKEN, 400, "9112 3.1", "the request line does not start with a method and one space") \
    RULE(METHOD_KNOWN, 501, "9110 9.1", "the method is not implemented")                           \
    RULE(TARGET_BYTES, 400, "9112 3.2", "a byte in the target that must be percent-encoded")       \
    RULE(TARGET_LENGTH, 414, "9110 15.5.15", "the target is longer than --max-target")             \
    RULE(TARGET_FORM, 400, "9112 3.2", "the target is neither a path, an http URL nor * for OPTIONS") \
    RULE(TARGET_FRAGMENT, 400, "9112 3.2", "a fragment (#) in the target")                         \
    RULE(VERSION_SYNTAX, 400, "9112 2.3", "the request line does not end with a space and HTTP/1.1") \
    RULE(VERSION_NUMBER, 505, "9110 15.6.6", "the major version of HTTP is not 1")                  \
    RULE(LINE_END, 400, "9112 2.2", "the request line does not end with CRLF")                     \
    RULE(HEAD_LENGTH, 431, "6585 5", "the head is longer than --max-head")                         \
    RULE(FIELD_COUNT, 431, "6585 5", "more header fields than --max-fields")                       \
    RULE(FIELD_FOLDED, 400, "9112 5.2", "a folded header line (obs-fold)")                         \
    RULE(FIELD_NAME, 400, "9112 5.1", "a field name is not a token right before its colon")        \
    RULE(FIELD_VALUE, 400, "9110 5.5", "a control character in a field value")                     \
    RULE(FIELD_END, 400, "9112 2.2", "a header line does not end with CRLF")                       \
    RULE(HOST_MISSING, 400, "9112 3.2", "no Host field")                                           \
    RULE(HOST_DOUBLE, 400, "9112 3.2", "more than one Host field")                                 \
    RULE(HOST_SYNTAX, 400, "9110 7.2", "the Host field is not a host and port")                    \
    RULE(LENGTH_SYNTAX, 400, "9110 8.6", "Content-Length is not a whole number")                   \
    RULE(LENGTH_DOUBLE, 400, "9112 6.3", "more than one Content-Length field")                     \
    RULE(LENGTH_AND_CODING, 400, "9112 6.1", "both Content-Length and Transfer-Encoding")          \
    RULE(CODING_IN_1_0, 400, "9112 6.1", "Transfer-Encoding in an HTTP/1.0 request")               \
    RULE(CODING_DOUBLE, 400, "9112 6.1", "more than one Transfer-Encoding field")                  \
    RULE(CODING_FINAL, 400, "9112 6.3", "chunked is not the last transfer coding, once and without parameters") \
    RULE(CODING_KNOWN, 501, "9112 6.1", "a transfer coding other than chunked")                    \
    RULE(CODING_TAB, 400, "9112 11.2", "a tab around Transfer-Encoding or inside it")              \
    RULE(LENGTH_REQUIRED, 411, "9110 15.5.12", "an HTTP/1.0 POST, PUT or PATCH without Content-Length") \
    RULE(EXPECTATION, 417, "9110 10.1.1", "an expectation other than 100-continue")                \
    RULE(CHUNK_SIZE, 400, "9112 7.1", "a chunk's size is not a hexadecimal number")                \
    RULE(CHUNK_OVERFLOW, 413, "9112 7.1", "a chunk's size is beyond any limit")                    \
    RULE(CHUNK_EXTENSION, 400, "9112 7.1.1", "a chunk extension that is too long or not ;name=value") \
    RULE(CHUNK_LINE_END, 400, "9112 7.1", "a chunk's size line does not end with CRLF")            \
    RULE(CHUNK_END, 400, "9112 7.1", "a chunk's data is not followed by CRLF")                     \
    RULE(TRAILER_LENGTH, 431, "9112 7.1.2", "trailers longer than --max-head")                     \
    RULE(TRAILER_SYNTAX, 400, "9112 7.1.2", "a trailer line is not a field with CRLF")             \
    RULE(TRAILER_FRAMING, 400, "9110 6.5.1", "a trailer that frames or routes the message")

/* Refusals that are not the gate's: deadlines and limits. Status 0: closed without an answer. */
#define OAR_LIMITS(LIMIT)                                                                          \
    LIMIT(BODY_LENGTH, 413, "9110 15.5.14", "the body is longer than --max-body")                  \
    LIMIT(ROUTE_BODY_LENGTH, 413, "9110 15.5.14", "the body is longer than the route's max_body")  \
    LIMIT(HEAD_DEADLINE, 408, "9110 15.5.9", "the head took longer than --head-timeout")           \
    LIMIT(BODY_DEADLINE, 408, "9110 15.5.9",                                                       \
          "the body took longer than --body-timeout, slower than --min-rate")                      \
    LIMIT(HANDLER_DEADLINE, 504, "9110 15.6.5", "the handler took longer than --handler-timeout")  \
    LIMIT(IN_FLIGHT, 503, "9110 15.6.4", "more requests are in progress than --max-in-flight")     \
    LIMIT(BUFFERED, 503, "9110 15.6.4", "the bodies in this worker are more than --max-buffered")  \
    LIMIT(MEMORY, 503, "9110 15.6.4", "no memory for the request")                                 \
    LIMIT(PROXY_HEADER, 0, "proxy-protocol 2", "no PROXY header from a trusted proxy")             \
    LIMIT(EVICTED, 0, "9112 9.5", "an idle connection made room for a new one at --max-connections")
/* clang-format on */

enum oar_rule {
    OAR_RULE_NONE,
#define OAR_ROW(name, ...) OAR_RULE_##name,
    OAR_RULES(OAR_ROW) OAR_LIMITS(OAR_ROW)
#undef OAR_ROW
        OAR_RULES_COUNT
};
/* Room in the scoreboard. */
#define OAR_MAX_RULES 56
_Static_assert(OAR_RULES_COUNT <= OAR_MAX_RULES, "the scoreboard has a counter for each rule");

#endif
