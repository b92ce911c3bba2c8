/* SPDX-License-Identifier: MIT
 * Chunked bodies, strictly: RFC 9112 section 7.1.
 *   SIZE -> [EXTENSION] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *   size 0: SIZE_LF -> LINE_START -> (NAME -> VALUE -> LINE_LF -> LINE_START)* -> LAST_LF -> done
 * Process: worker, and the fuzz target. Owns nothing. Never allocates; extensions and trailers are
 * bounded and thrown away, never merged into the header fields. */
#include <strings.h>

#include "worker/http_parse.h"

enum state {
    SIZE_FIRST, /* the first digit */
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LINE_START, /* of the trailers */
    NAME,
    VALUE,
    LINE_LF,
    LAST_LF,
    DONE,
};

enum { MAX_EXTENSION = 256 };

#define REFUSE_IF(rule_, condition)           \
    do {                                      \
        if (OAR_VIOLATES(rule_, condition)) { \
            c->rule = OAR_RULE_##rule_;       \
            return false;                     \
        }                                     \
    } while (0)

static unsigned hex_value(unsigned char b)
{
    return b <= '9' ? (unsigned)b - '0' : (b | 0x20u) - 'a' + 10u;
}

/* Each takes one byte. false: refused. */
static bool size_byte(struct oar_chunks *c, unsigned char b)
{
    if (oar_is(b, OAR_HEX)) {
        REFUSE_IF(CHUNK_OVERFLOW, c->left >> 56 != 0);
        c->left = c->left << 4 | hex_value(b);
        c->state = SIZE;
        return true;
    }
    REFUSE_IF(CHUNK_SIZE, c->state == SIZE_FIRST || (b != '\r' && b != ';'));
    c->state = b == ';' ? EXTENSION : SIZE_LF;
    c->line = 0;
    return true;
}

static bool extension_byte(struct oar_chunks *c, unsigned char b)
{
    if (b == '\r') {
        c->state = SIZE_LF;
        return true;
    }
    REFUSE_IF(CHUNK_EXTENSION, !oar_is(b, OAR_VALUE) || ++c->line > MAX_EXTENSION);
    return true;
}

/* Fields that change how the message is framed or routed must not come after it. */
static bool frames(const struct oar_chunks *c)
{
    static const char *const forbidden[] = {"content-length", "transfer-encoding", "host",
                                            "connection"};
    bool found = false;
    for (size_t i = 0; i < OAR_ARRAY_LEN(forbidden); i++) {
        size_t len = strlen(forbidden[i]);
        found = found || (c->name_len == len && oar_is_name(c->name, forbidden[i], len));
    }
    return found;
}

static bool trailer_byte(struct oar_chunks *c, unsigned char b)
{
    switch (c->state) {
    case LINE_START:
        c->name_len = 0;
        if (b == '\r') {
            c->state = LAST_LF;
            return true;
        }
        c->state = NAME;
        /* fall through */
    case NAME:
        if (b == ':' && c->name_len > 0) {
            REFUSE_IF(TRAILER_FRAMING, frames(c));
            c->state = VALUE;
            return true;
        }
        REFUSE_IF(TRAILER_SYNTAX, !oar_is(b, OAR_TOKEN));
        if (c->name_len < sizeof c->name) {
            c->name[c->name_len++] = (char)b;
        }
        return true;
    case VALUE:
        REFUSE_IF(TRAILER_SYNTAX, b != '\r' && !oar_is(b, OAR_VALUE));
        c->state = b == '\r' ? LINE_LF : VALUE;
        return true;
    default: /* LINE_LF, LAST_LF */
        REFUSE_IF(TRAILER_SYNTAX, b != '\n');
        c->state = c->state == LAST_LF ? DONE : LINE_START;
        return true;
    }
}

static bool frame_byte(struct oar_chunks *c, unsigned char b)
{
    bool ok = true;
    switch (c->state) {
    case SIZE_FIRST:
    case SIZE: ok = size_byte(c, b); break;
    case EXTENSION: ok = extension_byte(c, b); break;
    case SIZE_LF:
        REFUSE_IF(CHUNK_LINE_END, b != '\n');
        c->state = c->left ? DATA : LINE_START;
        break;
    case DATA_CR:
        REFUSE_IF(CHUNK_END, b != '\r');
        c->state = DATA_LF;
        break;
    case DATA_LF:
        REFUSE_IF(CHUNK_END, b != '\n');
        c->state = SIZE_FIRST;
        break;
    default: ok = trailer_byte(c, b); break;
    }
    return ok;
}

enum oar_parse_result oar_parse_chunks(struct oar_chunks *c, size_t max_trailers, const char *bytes,
                                       size_t len, size_t *used, struct oar_slice *piece)
{
    size_t at = 0;
    bool ok = true;
    *piece = (struct oar_slice){bytes, 0};
    while (ok && at < len && c->state != DONE) {
        if (c->state == DATA) {
            size_t n = (size_t)OAR_MIN((uint64_t)(len - at), c->left);
            *piece = (struct oar_slice){bytes + at, n};
            c->left -= n;
            c->state = c->left ? DATA : DATA_CR;
            at += n;
            break;
        }
        bool in_trailers = c->state >= LINE_START;
        ok = frame_byte(c, (unsigned char)bytes[at++]);
        if (ok && in_trailers && OAR_VIOLATES(TRAILER_LENGTH, ++c->trailers > max_trailers)) {
            c->rule = OAR_RULE_TRAILER_LENGTH;
            ok = false;
        }
    }
    *used = at;
    return !ok ? OAR_PARSE_REFUSED : c->state == DONE ? OAR_PARSE_MESSAGE : OAR_PARSE_MORE;
}
