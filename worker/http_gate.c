/* SPDX-License-Identifier: MIT
 * The gate: what a good server must refuse and http-parser (non-strict, unmaintained) lets through.
 * Each rule names its section of RFC 9112 or RFC 9110.
 * Process: worker, and the fuzz target. Owns nothing. Never allocates; looks at each byte of a head
 * a bounded number of times. */
#include "worker/http_gate.h"

#include <strings.h>

/* RFC 9110 section 5.6.2: tchar */
static const unsigned char token_char[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
    ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};
/* RFC 9110 section 5.5: field-vchar, SP, HTAB; obs-text (0x80-0xff) is kept as bytes. */
static const unsigned char value_char[256] = {
    ['\t'] = 1,
    [' ' ... '~'] = 1,
    [0x80 ... 0xff] = 1,
};
/* RFC 3986: no space, no control character; bytes above 0x7f must be percent-encoded. */
static const unsigned char target_char[256] = {['!' ... '~'] = 1};

struct gate {
    const char *head;
    struct oar_parsed *p;
    uint16_t *status;
    const char **why;
};

static bool no(struct gate *g, uint16_t status, const char *why)
{
    *g->status = status;
    *g->why = why;
    return false;
}

static bool all(const char *p, size_t len, const unsigned char *table)
{
    for (size_t i = 0; i < len; i++) {
        if (!table[(unsigned char)p[i]]) {
            return false;
        }
    }
    return true;
}

void oar_gate_unknown_method(const char *head, size_t len, uint16_t *status, const char **why)
{
    size_t n = 0;
    while (n < len && n < 64 && token_char[(unsigned char)head[n]]) {
        n++;
    }
    bool token = n > 0 && n < len && head[n] == ' ';
    *status = token ? 501 : 400; /* RFC 9110 section 15.6.2 */
    *why = token ? "the method is not known" : "the request line does not start with a method";
}

/* RFC 9112 section 3: one SP on each side of the target, CRLF behind the version. */
static bool request_line(struct gate *g)
{
    const char *target = g->head + g->p->target_off;
    const char *after = target + g->p->target_len;
    if (!all(target, g->p->target_len, target_char)) {
        return no(g, 400, "a byte in the target that must be percent-encoded");
    }
    if (g->p->target_off < 2 || target[-1] != ' ' || target[-2] == ' ' ||
        memcmp(after, " HTTP/1.", 8) != 0 || after[9] != '\r' || after[10] != '\n') {
        return no(g, 400, "the request line is not METHOD SP TARGET SP HTTP/1.x CRLF");
    }
    if (target[0] == '*' && (g->p->target_len != 1 || g->p->method != OAR_OPTIONS_M)) {
        return no(g, 400, "the target * is for OPTIONS only");
    }
    return true;
}

/* RFC 9112 section 5: name ":" OWS value OWS CRLF, and nothing between two lines. `line` is where
 * the line must start; returns where the next must start, or NULL. */
static const char *field_line(struct gate *g, const struct oar_field *f, const char *line)
{
    const char *name = g->head + f->name_off;
    const char *colon = name + f->name_len;
    const char *value = f->value_len ? g->head + f->value_off : colon + 1;
    if (name != line) {
        no(g, 400, "a header line is folded, or ends with a bare LF");
        return NULL;
    }
    if (f->name_len == 0 || !all(name, f->name_len, token_char) || *colon != ':') {
        no(g, 400, "a header field's name is not a token right before its colon");
        return NULL;
    }
    for (const char *p = colon + 1; f->value_len && p < value; p++) {
        if (*p != ' ' && *p != '\t') {
            no(g, 400, "a header line is folded");
            return NULL;
        }
    }
    if (!all(value, f->value_len, value_char)) {
        no(g, 400, "a control character in a header field's value");
        return NULL;
    }
    const char *end = value + f->value_len;
    while (*end == ' ' || *end == '\t') {
        end++;
    }
    if (end[0] != '\r' || end[1] != '\n') {
        no(g, 400, "a header line does not end with CRLF");
        return NULL;
    }
    return end + 2;
}

static bool is_name(const char *name, const struct oar_field *f, struct oar_slice wanted)
{
    return f->name_len == wanted.len && strncasecmp(name, wanted.ptr, wanted.len) == 0;
}

/* RFC 3986 section 3.2.2, loosely: what a host and port may be made of. */
static bool host_value(const char *p, size_t len)
{
    static const unsigned char host_char[256] = {
        ['!'] = 1, ['$'] = 1,         ['%'] = 1,         ['&'] = 1,         ['\''] = 1, ['('] = 1,
        [')'] = 1, ['*'] = 1,         ['+'] = 1,         [','] = 1,         ['-'] = 1,  ['.'] = 1,
        [':'] = 1, [';'] = 1,         ['='] = 1,         ['['] = 1,         [']'] = 1,  ['_'] = 1,
        ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
    };
    return all(p, len, host_char);
}

static bool fields(struct gate *g)
{
    const char *line = memchr(g->head + g->p->target_off + g->p->target_len, '\n', g->p->head_len);
    int hosts = 0;
    int lengths = 0;
    line++;
    for (uint32_t i = 0; i < g->p->n_fields; i++) {
        const struct oar_field *f = &g->p->fields[i];
        const char *name = g->head + f->name_off;
        line = field_line(g, f, line);
        if (!line) {
            return false;
        }
        if (is_name(name, f, OAR_LIT("host"))) { /* RFC 9112 section 3.2 */
            hosts++;
            if (!host_value(g->head + f->value_off, f->value_len)) {
                return no(g, 400, "the Host field is not a host and port");
            }
        } else if (is_name(name, f, OAR_LIT("content-length"))) {
            if (++lengths > 1) { /* RFC 9112 section 6.3: equal values too, for a proxy may see them
                                    otherwise */
                return no(g, 400, "more than one Content-Length field");
            }
        } else if (is_name(name, f, OAR_LIT("expect"))) { /* RFC 9110 section 10.1.1 */
            if (f->value_len != 12 ||
                strncasecmp(g->head + f->value_off, "100-continue", 12) != 0) {
                return no(g, 417, "an expectation other than 100-continue");
            }
            g->p->expects_100 = g->p->minor > 0;
        } else if (is_name(name, f, OAR_LIT("transfer-encoding"))) {
            if (g->p->minor == 0) { /* RFC 9112 section 6.1 */
                return no(g, 400, "Transfer-Encoding in an HTTP/1.0 request");
            }
            if (f->value_len != 7 || strncasecmp(g->head + f->value_off, "chunked", 7) != 0) {
                return no(g, 501, "a transfer coding other than chunked");
            }
        }
    }
    if (line[0] != '\r' || line[1] != '\n') {
        return no(g, 400, "the head does not end with CRLF CRLF");
    }
    if (hosts > 1 || (hosts == 0 && g->p->minor == 1)) {
        return no(g, 400, hosts ? "more than one Host field" : "no Host field");
    }
    return true;
}

bool oar_gate_head(const char *head, struct oar_parsed *parsed, uint16_t *status, const char **why)
{
    struct gate g = {head, parsed, status, why};
    parsed->expects_100 = false;
    return request_line(&g) && fields(&g);
}

void oar_gate_target(const char *head, const struct oar_parsed *parsed, struct oar_request *out)
{
    const char *p = head + parsed->target_off;
    size_t len = parsed->target_len;
    uint32_t skip = 0;
    if (len > 0 && p[0] != '/' && p[0] != '*') { /* absolute form: RFC 9112 section 3.2.2 */
        const char *scheme = memchr(p, ':', len);
        size_t after = scheme ? (size_t)(scheme - p) + 3 : len;
        const char *slash = after < len ? memchr(p + after, '/', len - after) : NULL;
        skip = (uint32_t)(slash ? (size_t)(slash - p) : len);
    }
    const char *question = memchr(p + skip, '?', len - skip);
    out->path_off = parsed->target_off + skip;
    out->path_len = (uint32_t)(question ? (size_t)(question - p) - skip : len - skip);
    out->query_off = out->path_off + out->path_len + (question ? 1 : 0);
    out->query_len = question ? (uint32_t)(p + len - question - 1) : 0;
}
