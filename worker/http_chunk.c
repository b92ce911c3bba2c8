/* SPDX-License-Identifier: MIT
 * Chunked bodies, strictly: RFC 9112 section 7.1.
 *   SIZE -> [extensions] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *   extensions (section 7.1.1): (";" name ["=" (token | quoted)])*, white space around ";" and "="
 *   size 0: SIZE_LF -> LINE_START -> (NAME -> VALUE -> LINE_LF -> LINE_START)* -> LAST_LF -> done
 * Process: worker, and the fuzz target. Owns nothing. Never allocates; extensions and trailers are
 * bounded and thrown away, never merged into the header fields. */
#include "worker/http_parse.h"

enum state {
    SIZE_FIRST, /* the first digit */
    SIZE,
    BEFORE_SEMICOLON, /* white space; ";" must follow */
    BEFORE_NAME,      /* behind ";" */
    EXT_NAME,
    BEHIND_NAME,  /* white space; ";" or "=" must follow */
    BEFORE_VALUE, /* behind "=" */
    EXT_VALUE,
    QUOTED,
    QUOTED_PAIR, /* behind a backslash */
    BEHIND_QUOTED,
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

/* Of a byte in a chunk's line. */
enum kind { CR, BLANK, SEMICOLON, EQUALS, QUOTE, BACKSLASH, TOKEN, TEXT, OTHER, KINDS };

static enum kind kind_of(unsigned char b)
{
    enum kind kind = OTHER;
    switch (b) {
    case '\r': kind = CR; break;
    case ' ':
    case '\t': kind = BLANK; break;
    case ';': kind = SEMICOLON; break;
    case '=': kind = EQUALS; break;
    case '"': kind = QUOTE; break;
    case '\\': kind = BACKSLASH; break;
    default:
        if (oar_is(b, OAR_TOKEN)) {
            kind = TOKEN;
        } else if (oar_is(b, OAR_VALUE)) {
            kind = TEXT;
        }
    }
    return kind;
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
    enum kind kind = kind_of(b);
    REFUSE_IF(CHUNK_SIZE, c->state == SIZE_FIRST || kind > SEMICOLON);
    static const uint8_t next[KINDS] = {
        [CR] = SIZE_LF, [BLANK] = BEFORE_SEMICOLON, [SEMICOLON] = BEFORE_NAME};
    c->state = next[kind];
    c->line = 0;
    return true;
}

static bool extension_byte(struct oar_chunks *c, unsigned char b)
{
    static const uint8_t next[SIZE_LF][KINDS] = {
        /* SIZE_FIRST: refused */
        [BEFORE_SEMICOLON] = {[BLANK] = BEFORE_SEMICOLON, [SEMICOLON] = BEFORE_NAME},
        [BEFORE_NAME] = {[BLANK] = BEFORE_NAME, [TOKEN] = EXT_NAME},
        [EXT_NAME] = {[CR] = SIZE_LF,
                      [BLANK] = BEHIND_NAME,
                      [SEMICOLON] = BEFORE_NAME,
                      [EQUALS] = BEFORE_VALUE,
                      [TOKEN] = EXT_NAME},
        [BEHIND_NAME] = {[BLANK] = BEHIND_NAME, [SEMICOLON] = BEFORE_NAME, [EQUALS] = BEFORE_VALUE},
        [BEFORE_VALUE] = {[BLANK] = BEFORE_VALUE, [QUOTE] = QUOTED, [TOKEN] = EXT_VALUE},
        [EXT_VALUE] = {[CR] = SIZE_LF,
                       [BLANK] = BEFORE_SEMICOLON,
                       [SEMICOLON] = BEFORE_NAME,
                       [TOKEN] = EXT_VALUE},
        [QUOTED] = {[BLANK] = QUOTED,
                    [SEMICOLON] = QUOTED,
                    [EQUALS] = QUOTED,
                    [QUOTE] = BEHIND_QUOTED,
                    [BACKSLASH] = QUOTED_PAIR,
                    [TOKEN] = QUOTED,
                    [TEXT] = QUOTED},
        [QUOTED_PAIR] = {[BLANK... TEXT] = QUOTED},
        [BEHIND_QUOTED] = {[CR] = SIZE_LF, [BLANK] = BEFORE_SEMICOLON, [SEMICOLON] = BEFORE_NAME},
    };
    uint8_t to = next[c->state][kind_of(b)];
    REFUSE_IF(CHUNK_EXTENSION, to == SIZE_FIRST || ++c->line > MAX_EXTENSION);
    c->state = to;
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
    default: ok = c->state < SIZE_LF ? extension_byte(c, b) : trailer_byte(c, b);
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
