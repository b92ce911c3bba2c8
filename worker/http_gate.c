/* SPDX-License-Identifier: MIT
 * The gate's rules and byte classes as data.
 * Process: worker, and the fuzz targets. Constant. */
#include "worker/http_gate.h"

const struct oar_rule_text oar_rules[OAR_RULES_COUNT] = {
#define OAR_ROW(name_, status_, section_, text_) \
    [OAR_RULE_##name_] = {.name = #name_, .section = section_, .text = text_, .status = status_},
    OAR_RULES(OAR_ROW) OAR_LIMITS(OAR_ROW)
#undef OAR_ROW
};

/* clang-format off */
#define T OAR_TOKEN
#define R OAR_TARGET
#define H OAR_HOST
#define V OAR_VALUE
#define X OAR_HEX
#define D OAR_DIGIT
const unsigned char oar_byte_kind[256] = {
    ['\t'] = V, [' '] = V,
    ['!'] = T | R | H | V, ['"'] = R | V, ['#'] = T | R | V, ['$'] = T | R | H | V, ['%'] = T | R | H | V,
    ['&'] = T | R | H | V, ['\''] = T | R | H | V, ['('] = R | H | V, [')'] = R | H | V,
    ['*'] = T | R | H | V, ['+'] = T | R | H | V, [','] = R | H | V, ['-'] = T | R | H | V,
    ['.'] = T | R | H | V, ['/'] = R | V, ['0' ... '9'] = T | R | H | V | X | D, [':'] = R | V,
    [';'] = R | H | V, ['<'] = R | V, ['='] = R | H | V, ['>'] = R | V, ['?'] = R | V, ['@'] = R | V,
    ['A' ... 'F'] = T | R | H | V | X, ['G' ... 'Z'] = T | R | H | V, ['['] = R | V, ['\\'] = R | V,
    [']'] = R | V, ['^'] = T | R | V, ['_'] = T | R | H | V, ['`'] = T | R | V,
    ['a' ... 'f'] = T | R | H | V | X, ['g' ... 'z'] = T | R | H | V, ['{'] = R | V, ['|'] = T | R | V,
    ['}'] = R | V, ['~'] = T | R | H | V, [0x80 ... 0xff] = V,
};
/* clang-format on */

size_t oar_host_span(const char *p, const char *end)
{
    const char *at = p;
    if (at < end && *at == '[') {
        do {
            at++;
        } while (at < end && (oar_is((unsigned char)*at, OAR_HEX) || *at == ':' || *at == '.'));
        if (at == end || *at != ']') {
            return 0;
        }
        at++;
    } else {
        at += oar_span(at, end, OAR_HOST);
    }
    if (at < end && *at == ':') {
        at++;
        at += oar_span(at, OAR_MIN(end, at + 5), OAR_DIGIT);
    }
    return (size_t)(at - p);
}
