/* SPDX-License-Identifier: MIT
 * A request's head in one strict pass over its bytes: syntax, framing and the gate's rules
 * together. Process: worker, and the fuzz target. Owns nothing: views are offsets into the caller's
 * bytes. Never allocates, keeps nothing between calls, looks at each byte a bounded number of
 * times.
 *
 * A head that has not arrived whole is parsed again from its first byte once its end is there
 * (conn_in.c looks for the end in new bytes only), so a head is parsed at most twice however slowly
 * it trickles in. */
#include "worker/http_parse.h"

struct head {
    const char *start, *at, *end;
    const struct oar_parse_limits *limits;
    struct oar_parsed *out;
    uint32_t host_field; /* index of the Host field, when hosts is not 0 */
    unsigned hosts, lengths, codings;
    bool close, keep_alive; /* options of the Connection field */
};

/* How a step ended. */
enum step { GO_ON, MORE, REFUSED };

static enum step refuse(struct head *h, enum oar_rule rule)
{
    h->out->rule = rule;
    return REFUSED;
}
#define REFUSE_IF(rule, condition)             \
    do {                                       \
        if (OAR_VIOLATES(rule, condition)) {   \
            return refuse(h, OAR_RULE_##rule); \
        }                                      \
    } while (0)

static uint8_t method_of(const char *p, size_t len)
{
    uint8_t m = OAR_GET;
    if (OAR_LIKELY(len == 3 && memcmp(p, "GET", 3) == 0)) {
        return m;
    }
    while (m < OAR_METHODS && !oar_slice_eq(oar_method_names[m], (struct oar_slice){p, len})) {
        m++;
    }
    return m;
}

static enum step read_method(struct head *h)
{
    enum { LONGEST = 64 };
    size_t len = oar_span(h->at, h->end, OAR_TOKEN);
    if (h->at + len == h->end && len < LONGEST) {
        return MORE;
    }
    REFUSE_IF(METHOD_TOKEN, len == 0 || len >= LONGEST || h->at[len] != ' ');
    h->out->method = method_of(h->at, len);
    REFUSE_IF(METHOD_KNOWN, h->out->method == OAR_METHODS);
    h->at += len + 1;
    return GO_ON;
}

/* Absolute form: RFC 9112 section 3.2.2. Returns the length of "http://authority"; 0: not that
 * form. */
static size_t authority_end(const char *p, size_t len, struct oar_slice *host)
{
    size_t scheme = len > 7 && oar_same_letters(p, "http://", 7)    ? 7
                    : len > 8 && oar_same_letters(p, "https://", 8) ? 8
                                                                    : 0;
    bool named = scheme && len > scheme && p[scheme] != ':'; /* RFC 9110 section 4.2.1 */
    size_t n = named ? oar_host_span(p + scheme, p + len) : 0;
    bool ends = scheme + n == len || p[scheme + n] == '/' || p[scheme + n] == '?';
    *host = (struct oar_slice){p + scheme, n};
    return n > 0 && ends ? scheme + n : 0;
}

static enum step read_target(struct head *h, struct oar_slice *target_host)
{
    struct oar_parsed *out = h->out;
    const char *p = h->at;
    size_t len = oar_span(p, h->end, OAR_TARGET);
    REFUSE_IF(TARGET_LENGTH, len > h->limits->max_target);
    if (p + len == h->end) {
        return MORE;
    }
    REFUSE_IF(TARGET_BYTES, len == 0 || p[len] != ' ');
    bool star = len == 1 && p[0] == '*';
    size_t skip = p[0] == '/' || star ? 0 : authority_end(p, len, target_host);
    REFUSE_IF(TARGET_FORM, p[0] != '/' && skip == 0 && !(star && out->method == OAR_OPTIONS_M));
    const char *question = memchr(p + skip, '?', len - skip);
    REFUSE_IF(TARGET_FRAGMENT, memchr(p, '#', len) != NULL);
    out->path_off = (uint32_t)(p + skip - h->start);
    out->path_len = (uint32_t)(question ? question - p - (ptrdiff_t)skip : (ptrdiff_t)(len - skip));
    out->query_off = out->path_off + out->path_len + (question ? 1 : 0);
    out->query_len = question ? (uint32_t)(p + len - question - 1) : 0;
    if (skip > 0 && out->path_len == 0 && (question || out->method != OAR_OPTIONS_M)) {
        /* RFC 9110 section 4.2.3: an empty path is "/"; the slash before the authority is one */
        out->path_off = (uint32_t)(target_host->ptr - 1 - h->start);
        out->path_len = 1;
    }
    h->at += len + 1;
    return GO_ON;
}

static enum step read_version(struct head *h)
{
    const char *p = h->at;
    size_t left = (size_t)(h->end - p);
    if (OAR_LIKELY(left >= 10 && memcmp(p, "HTTP/1.1\r\n", 10) == 0)) {
        h->out->minor = 1;
        h->at += 10;
        return GO_ON;
    }
    REFUSE_IF(VERSION_SYNTAX, memcmp(p, "HTTP/", OAR_MIN(left, 5u)) != 0);
    if (left < 10) {
        return MORE;
    }
    bool digits = p[5] >= '0' && p[5] <= '9' && p[6] == '.' && p[7] >= '0' && p[7] <= '9';
    REFUSE_IF(VERSION_SYNTAX, !digits);
    REFUSE_IF(VERSION_NUMBER, p[5] != '1');
    REFUSE_IF(LINE_END, p[8] != '\r' || p[9] != '\n');
    h->out->minor = p[7] > '0'; /* RFC 9110 section 2.5: a higher minor version is read as 1.1 */
    h->at += 10;
    return GO_ON;
}

/* Options of the Connection field: RFC 9110 section 7.6.1. */
static void connection_options(struct head *h, struct oar_slice value)
{
    const char *p = value.ptr;
    const char *end = p + value.len;
    while (p < end) { /* an option is all that stands between two commas */
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *last = comma ? comma : end;
        while (p < last && (*p == ' ' || *p == '\t')) {
            p++;
        }
        while (last > p && (last[-1] == ' ' || last[-1] == '\t')) {
            last--;
        }
        size_t len = (size_t)(last - p);
        h->close = h->close || (len == 5 && oar_is_name(p, "close", 5));
        h->keep_alive = h->keep_alive || (len == 10 && oar_is_name(p, "keep-alive", 10));
        p = comma ? comma + 1 : end;
    }
}

static enum step content_length(struct head *h, struct oar_slice value)
{
    uint64_t n = 0;
    REFUSE_IF(LENGTH_DOUBLE, ++h->lengths > 1); /* equal ones too: a proxy may take the other */
    REFUSE_IF(LENGTH_SYNTAX, value.len == 0 || value.len > 18);
    for (size_t i = 0; i < value.len; i++) {
        REFUSE_IF(LENGTH_SYNTAX, value.ptr[i] < '0' || value.ptr[i] > '9');
        n = n * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    h->out->content_length = n;
    return GO_ON;
}

static size_t spaces(const char *p, const char *end)
{
    const char *at = p;
    while (at < end && *at == ' ') {
        at++;
    }
    return (size_t)(at - p);
}

/* A list of codings: RFC 9112 sections 6.1 and 7. Only "chunked" alone is taken. Refused as framing
 * that nobody can read (400): a list that does not end with chunked, names chunked twice or with a
 * parameter, or has an element that is empty or no token; as not implemented (501): other codings
 * before it. */
static enum step transfer_codings(struct head *h, struct oar_slice list)
{
    const char *p = list.ptr;
    const char *end = p + list.len;
    bool chunked = false;
    bool more = true;
    REFUSE_IF(CODING_DOUBLE, ++h->codings > 1);
    REFUSE_IF(CODING_IN_1_0, h->out->minor == 0);
    while (more) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma ? comma : end;
        p += spaces(p, stop);
        size_t name = oar_span(p, stop, OAR_TOKEN);
        const char *behind = p + name + spaces(p + name, stop);
        REFUSE_IF(CODING_FINAL, chunked || name == 0 || (behind < stop && *behind != ';'));
        chunked = name == 7 && oar_is_name(p, "chunked", 7);
        REFUSE_IF(CODING_FINAL, chunked && behind < stop);
        more = comma != NULL;
        p = stop + more;
    }
    REFUSE_IF(CODING_FINAL, !chunked);
    REFUSE_IF(CODING_KNOWN, list.len != 7);
    h->out->chunked = true;
    return GO_ON;
}

/* The fields that concern the server, told apart by the length of their names. `raw` is the value
 * with the white space around it. */
static enum step known_field(struct head *h, const char *name, size_t name_len,
                             struct oar_slice value, struct oar_slice raw)
{
    switch (name_len) {
    case 4:
        if (oar_is_name(name, "host", 4)) {
            REFUSE_IF(HOST_DOUBLE, ++h->hosts > 1);
            REFUSE_IF(HOST_SYNTAX, oar_host_span(value.ptr, value.ptr + value.len) < value.len);
            h->host_field = h->out->n_fields - 1;
        }
        break;
    case 6:
        if (oar_is_name(name, "expect", 6)) {
            REFUSE_IF(EXPECTATION, value.len != 12 || !oar_is_name(value.ptr, "100-continue", 12));
            h->out->expects_100 = h->out->minor > 0;
        }
        break;
    case 10:
        if (oar_is_name(name, "connection", 10)) {
            connection_options(h, value);
        }
        break;
    case 14:
        if (oar_is_name(name, "content-length", 14)) {
            return content_length(h, value);
        }
        break;
    case 17:
        if (oar_is_name(name, "transfer-encoding", 17)) {
            /* white space by RFC 9110 5.6.3, but parsers in use take it for a part of the value */
            REFUSE_IF(CODING_TAB, memchr(raw.ptr, '\t', raw.len));
            return transfer_codings(h, value);
        }
        break;
    default: break;
    }
    return GO_ON;
}

/* One line: name ":" OWS value OWS CRLF. h->at is its first byte, and not CR. */
static enum step read_field(struct head *h)
{
    const char *name = h->at;
    REFUSE_IF(FIELD_FOLDED, *name == ' ' || *name == '\t');
    size_t name_len = oar_span(name, h->end, OAR_TOKEN);
    const char *p = name + name_len;
    if (p == h->end) {
        return MORE;
    }
    REFUSE_IF(FIELD_NAME, name_len == 0 || *p != ':' || name_len > UINT16_MAX);
    do {
        p++;
    } while (p < h->end && (*p == ' ' || *p == '\t'));
    const char *stop = p + oar_span(p, h->end, OAR_VALUE);
    if (stop == h->end) {
        return MORE;
    }
    REFUSE_IF(FIELD_VALUE, *stop != '\r' && *stop != '\n');
    REFUSE_IF(FIELD_END, *stop == '\n');
    if (stop + 1 == h->end) {
        return MORE;
    }
    REFUSE_IF(FIELD_END, stop[1] != '\n');
    const char *last = stop;
    while (last > p && (last[-1] == ' ' || last[-1] == '\t')) {
        last--;
    }
    REFUSE_IF(FIELD_COUNT, h->out->n_fields >= h->limits->max_fields);
    h->out->fields[h->out->n_fields++] = (struct oar_field){
        .name_off = (uint32_t)(name - h->start),
        .name_len = (uint16_t)name_len,
        .value_off = (uint32_t)(p - h->start),
        .value_len = (uint32_t)(last - p),
    };
    h->at = stop + 2;
    return known_field(
        h, name, name_len, (struct oar_slice){p, (size_t)(last - p)},
        (struct oar_slice){name + name_len, (size_t)(stop - name - (ptrdiff_t)name_len)});
}

/* h->at is at CR or another byte that no field starts with. */
static enum step read_end(struct head *h, struct oar_slice target_host)
{
    struct oar_parsed *out = h->out;
    if (h->at + 1 == h->end) {
        return MORE;
    }
    REFUSE_IF(FIELD_END, h->at[1] != '\n');
    h->at += 2;
    REFUSE_IF(HOST_MISSING, h->hosts == 0 && out->minor == 1);
    REFUSE_IF(LENGTH_REQUIRED,
              out->minor == 0 && h->lengths == 0 &&
                  (out->method == OAR_POST || out->method == OAR_PUT || out->method == OAR_PATCH));
    REFUSE_IF(LENGTH_AND_CODING, h->lengths > 0 && h->codings > 0);
    if (OAR_UNLIKELY(target_host.len > 0 && h->hosts > 0)) {
        /* RFC 9112 section 3.2.2: the Host field is ignored, the target says which host is meant */
        struct oar_field *f = &out->fields[h->host_field];
        f->value_off = (uint32_t)(target_host.ptr - h->start);
        f->value_len = (uint32_t)target_host.len;
    }
    out->keep_alive = !h->close && (out->minor == 1 || h->keep_alive);
    out->head_len = (uint32_t)(h->at - h->start);
    return GO_ON;
}

static enum step read_head(struct head *h)
{
    struct oar_slice target_host = {NULL, 0};
    if (h->at < h->end && *h->at == '\r') { /* RFC 9112 2.2: one empty line before is ignored */
        if (h->at + 1 == h->end) {
            return MORE;
        }
        h->at += h->at[1] == '\n' ? 2 : 0;
    }
    enum step step = read_method(h);
    step = step == GO_ON ? read_target(h, &target_host) : step;
    step = step == GO_ON ? read_version(h) : step;
    while (step == GO_ON && h->at < h->end && *h->at != '\r') {
        step = read_field(h);
    }
    if (step == GO_ON && h->at == h->end) {
        step = MORE;
    }
    return step == GO_ON ? read_end(h, target_host) : step;
}

enum oar_parse_result oar_parse_head(const struct oar_parse_limits *limits, const char *head,
                                     size_t len, struct oar_parsed *out)
{
    struct head state = {
        .start = head, .at = head, .end = head + len, .limits = limits, .out = out};
    struct head *h = &state;
    enum oar_parse_result result = OAR_PARSE_MESSAGE;
    out->n_fields = 0;
    out->content_length = 0;
    out->chunked = out->expects_100 = false;
    out->rule = OAR_RULE_NONE;
    enum step step = read_head(h);
    size_t seen = step == GO_ON ? out->head_len : len;
    if (step != REFUSED && OAR_VIOLATES(HEAD_LENGTH, seen > limits->max_head)) {
        step = refuse(h, OAR_RULE_HEAD_LENGTH);
    }
    if (step == REFUSED) {
        result = OAR_PARSE_REFUSED;
    } else if (step == MORE) {
        result = OAR_PARSE_MORE;
    } else if (out->chunked || out->content_length > 0) {
        result = OAR_PARSE_HEAD;
    }
    return result;
}
