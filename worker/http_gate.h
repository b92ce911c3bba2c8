/* SPDX-License-Identifier: MIT
 * The gate: what RFC 9112 and RFC 9110 make a good server refuse; the rules are in
 * include/oarlock/rules.h. http_parse.c and http_chunk.c apply them; tests/http has a
 * case for each that fails when the rule is removed (scripts/check_gate.py builds with one rule off
 * at a time). */
#ifndef OARLOCK_HTTP_GATE_H
#define OARLOCK_HTTP_GATE_H

#include "oarlock/rules.h"

struct oar_rule_text {
    const char *name, *section, *text;
    uint16_t status;
};
extern const struct oar_rule_text oar_rules[OAR_RULES_COUNT];

/* scripts/check_gate.py builds with one rule off, to show that some case misses it. */
#ifndef OAR_GATE_OFF
#define OAR_GATE_OFF OAR_RULE_NONE
#endif
#ifdef OAR_GATE_NONE /* bench/internet.py gate: what all rules together cost */
#define OAR_VIOLATES(rule, condition) (false && (condition))
#else
#define OAR_VIOLATES(rule, condition) (OAR_RULE_##rule != OAR_GATE_OFF && OAR_UNLIKELY(condition))
#endif

/* Bytes of each kind: RFC 9110 sections 5.6.2 and 5.5, RFC 3986. Defined in http_gate.c. */
enum { OAR_TOKEN = 1, OAR_TARGET = 2, OAR_HOST = 4, OAR_VALUE = 8, OAR_HEX = 16, OAR_DIGIT = 32 };
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
/* How many bytes from `p` are a host with or without a port: RFC 3986 section 3.2.2. */
size_t oar_host_span(const char *p, const char *end);
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
