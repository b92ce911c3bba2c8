/* SPDX-License-Identifier: MIT
 * The gate: what RFC 9112 and RFC 9110 make a good server refuse. One row a rule: name, status,
 * section, text for the client. http_parse.c and http_chunk.c apply them; tests/http has a
 * case for each that fails when the rule is removed (scripts/check_gate.py builds with one rule off
 * at a time). */
#ifndef OARLOCK_HTTP_GATE_H
#define OARLOCK_HTTP_GATE_H

#include "oarlock/base.h"

/* clang-format off */
#define OAR_RULES(RULE)                                                                            \
    RULE(METHOD_TOKEN, 400, "9112 3.1", "the request line does not start with a method and one space") \
    RULE(METHOD_KNOWN, 501, "9110 9.1", "the method is not implemented")                           \
    RULE(TARGET_BYTES, 400, "9112 3.2", "a byte in the target that must be percent-encoded")       \
    RULE(TARGET_LENGTH, 414, "9110 15.5.15", "the target is longer than --max-target")             \
    RULE(TARGET_FORM, 400, "9112 3.2", "the target is neither a path, an http URL nor * for OPTIONS") \
    RULE(TARGET_FRAGMENT, 400, "9112 3.2", "a fragment (#) in the target")                         \
    RULE(TARGET_HOST, 400, "9112 3.2.2", "the target's host differs from the Host field")          \
    RULE(VERSION_SYNTAX, 400, "9112 2.3", "the request line does not end with a space and HTTP/1.1") \
    RULE(VERSION_NUMBER, 505, "9110 15.6.6", "the version is neither HTTP/1.0 nor HTTP/1.1")       \
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
    RULE(CODING_KNOWN, 501, "9112 6.1", "a transfer coding other than chunked")                    \
    RULE(EXPECTATION, 417, "9110 10.1.1", "an expectation other than 100-continue")                \
    RULE(CHUNK_SIZE, 400, "9112 7.1", "a chunk's size is not a hexadecimal number")                \
    RULE(CHUNK_OVERFLOW, 413, "9112 7.1", "a chunk's size is beyond any limit")                    \
    RULE(CHUNK_EXTENSION, 400, "9112 7.1.1", "chunk extensions too long, or with control characters") \
    RULE(CHUNK_LINE_END, 400, "9112 7.1", "a chunk's size line does not end with CRLF")            \
    RULE(CHUNK_END, 400, "9112 7.1", "a chunk's data is not followed by CRLF")                     \
    RULE(TRAILER_LENGTH, 431, "9112 7.1.2", "trailers longer than --max-head")                     \
    RULE(TRAILER_SYNTAX, 400, "9112 7.1.2", "a trailer line is not a field with CRLF")             \
    RULE(TRAILER_FRAMING, 400, "9110 6.5.1", "a trailer that frames or routes the message")
/* clang-format on */

enum oar_rule {
    OAR_RULE_NONE,
#define OAR_ROW(name, ...) OAR_RULE_##name,
    OAR_RULES(OAR_ROW)
#undef OAR_ROW
        OAR_RULES_COUNT
};

struct oar_rule_text {
    const char *name, *section, *text;
    uint16_t status;
};
extern const struct oar_rule_text oar_rules[OAR_RULES_COUNT];

/* scripts/check_gate.py builds with one rule off, to show that some case misses it. */
#ifndef OAR_GATE_OFF
#define OAR_GATE_OFF OAR_RULE_NONE
#endif
#define OAR_VIOLATES(rule, condition) (OAR_RULE_##rule != OAR_GATE_OFF && OAR_UNLIKELY(condition))

/* Bytes of each kind: RFC 9110 sections 5.6.2 and 5.5, RFC 3986. Defined in http_gate.c. */
enum { OAR_TOKEN = 1, OAR_TARGET = 2, OAR_HOST = 4, OAR_VALUE = 8, OAR_HEX = 16 };
extern const unsigned char oar_byte_kind[256];

static inline bool oar_is(unsigned char c, unsigned kind)
{
    return (oar_byte_kind[c] & kind) != 0;
}
/* How many bytes from `p` are of the kind. */
static inline size_t oar_span(const char *p, const char *end, unsigned kind)
{
    const char *at = p;
    while (at < end && oar_is((unsigned char)*at, kind)) {
        at++;
    }
    return (size_t)(at - p);
}
/* ASCII case-insensitive; `lower` is lower-case letters, digits and '-'. */
static inline bool oar_is_name(const char *name, const char *lower, size_t len)
{
    size_t i = 0;
    while (i < len && (name[i] | 0x20) == lower[i]) {
        i++;
    }
    return i == len;
}

#endif
