/* SPDX-License-Identifier: MIT
 * Path and query text to typed values, by the rules of pydantic's lax mode as FastAPI applies them,
 * and FastAPI's 422 body where they do not fit. Process: worker, on the connection's thread,
 * without the interpreter. Values lie in the connection's arena. Never makes a Python object; never
 * allocates more than the target's length and the errors. */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "shared/utf8.h"
#include "worker/dispatch.h"

struct validation {
    const void *routes;
    struct oar_request *r;
    struct oar_arena *arena;
    struct oar_buf *detail;
    int errors;
};

/* application/x-www-form-urlencoded; `to` has room for in.len bytes. */
static struct oar_slice form_decode(struct oar_slice in, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i] == '+' ? ' ' : in.ptr[i];
        int high = c == '%' && i + 2 < in.len ? oar_hex(in.ptr[i + 1]) : -1;
        int low = high >= 0 ? oar_hex(in.ptr[i + 2]) : -1;
        if (low >= 0) {
            c = (char)(high << 4 | low);
            i += 2;
        }
        to[n++] = c;
    }
    return (struct oar_slice){to, n};
}

/* The last value of `name` in the query, decoded into the arena; false: not there. */
static bool query_value(struct validation *v, struct oar_slice name, struct oar_slice *value)
{
    struct oar_slice query = oar_request_query(v->r);
    const char *end = query.ptr + query.len;
    bool found = false;
    for (const char *p = query.ptr; p < end;) {
        const char *stop = memchr(p, '&', (size_t)(end - p));
        stop = stop ? stop : end;
        const char *equals = memchr(p, '=', (size_t)(stop - p));
        struct oar_slice key = {p, (size_t)((equals ? equals : stop) - p)};
        struct oar_slice text = equals ? (struct oar_slice){equals + 1, (size_t)(stop - equals - 1)}
                                       : (struct oar_slice){stop, 0};
        char decoded[256];
        if (key.len <= sizeof decoded &&
            (memchr(key.ptr, '%', key.len) || memchr(key.ptr, '+', key.len))) {
            key = form_decode(key, decoded);
        }
        if (oar_slice_eq(key, name)) {
            *value = text;
            found = true;
        }
        p = stop + 1;
    }
    if (found && (memchr(value->ptr, '%', value->len) || memchr(value->ptr, '+', value->len))) {
        char *room = oar_arena_take(v->arena, value->len);
        *value = room ? form_decode(*value, room) : (struct oar_slice){"", 0};
    }
    return found;
}

/* What Rust's str::trim takes off, as far as ASCII goes. */
static struct oar_slice trim(struct oar_slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || (s.ptr[0] >= '\t' && s.ptr[0] <= '\r'))) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 &&
           (s.ptr[s.len - 1] == ' ' || (s.ptr[s.len - 1] >= '\t' && s.ptr[s.len - 1] <= '\r'))) {
        s.len--;
    }
    return s;
}

/* Digits with single underscores between them, and a fraction of zeros: "1_000", "7.0". The digits
 * go to `to` (room for s.len + 1, NUL-terminated); 0: not a whole number. */
static size_t integer_digits(struct oar_slice s, char *to)
{
    size_t n = 0;
    size_t i = 0;
    if (s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
        if (s.ptr[0] == '-') {
            to[n++] = '-';
        }
        i = 1;
    }
    size_t first = i;
    for (; i < s.len && s.ptr[i] != '.'; i++) {
        bool digit = s.ptr[i] >= '0' && s.ptr[i] <= '9';
        bool bridge = s.ptr[i] == '_' && i > first && s.ptr[i - 1] != '_' && i + 1 < s.len &&
                      s.ptr[i + 1] != '.';
        if (!digit && !bridge) {
            return 0;
        }
        if (digit) {
            to[n++] = s.ptr[i];
        }
    }
    bool any = i > first;
    if (i < s.len && ++i == s.len) {
        return 0; /* "7." */
    }
    for (; i < s.len; i++) {
        if (s.ptr[i] != '0') {
            return 0;
        }
    }
    to[n] = '\0';
    return any ? n : 0;
}

static bool to_int(struct validation *v, struct oar_slice text, struct oar_value *out)
{
    enum { PYDANTIC_MOST_DIGITS = 4300 };
    struct oar_slice s = trim(text);
    char *digits = s.len <= PYDANTIC_MOST_DIGITS ? oar_arena_take(v->arena, s.len + 1) : NULL;
    size_t n = digits ? integer_digits(s, digits) : 0;
    if (n == 0) {
        return false;
    }
    errno = 0;
    out->tag = OAR_VAL_INT;
    out->i = strtoll(digits, NULL, 10);
    if (errno == ERANGE) {
        out->tag = OAR_VAL_BIG;
        out->text = (struct oar_slice){digits, n};
    }
    return true;
}

/* The application may set any locale for the process, and strtod would read "1.5" by its decimal
 * sign. */
static locale_t c_locale;
static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}
static double read_float(const char *text, char **end)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_c_locale);
    return strtod_l(text, end, c_locale);
}

/* Rust's f64::from_str: a decimal float, or inf, infinity, nan with a sign; no hexadecimal. */
static bool to_float(struct validation *v, struct oar_slice text, struct oar_value *out)
{
    struct oar_slice s = trim(text);
    char *copy = s.len > 0 && s.len < 4300 ? oar_arena_take(v->arena, s.len + 1) : NULL;
    size_t n = 0;
    for (size_t i = 0; copy && i < s.len; i++) {
        char c = s.ptr[i];
        bool bridge = c == '_' && i > 0 && s.ptr[i - 1] >= '0' && s.ptr[i - 1] <= '9' &&
                      i + 1 < s.len && s.ptr[i + 1] >= '0' && s.ptr[i + 1] <= '9';
        if (c == 'x' || c == 'X' || c == '(' || c == '\0') {
            return false; /* strtod's hexadecimal and nan(...) */
        }
        if (!bridge) {
            copy[n++] = c;
        }
    }
    if (n == 0) {
        return false;
    }
    char *end;
    copy[n] = '\0';
    out->tag = OAR_VAL_FLOAT;
    out->f = read_float(copy, &end);
    return end == copy + n && !strchr("\t\n\v\f\r ", copy[0]);
}

static bool to_bool(struct oar_slice s, struct oar_value *out)
{
    static const char *const words[] = {"0", "off", "f", "false", "n", "no",
                                        "1", "on",  "t", "true",  "y", "yes"};
    for (size_t i = 0; i < OAR_ARRAY_LEN(words); i++) {
        if (strlen(words[i]) == s.len && oar_same_letters(words[i], s.ptr, s.len)) {
            out->tag = OAR_VAL_BOOL;
            out->i = i >= OAR_ARRAY_LEN(words) / 2;
            return true;
        }
    }
    return false;
}

/* 32 hex digits, hyphens after the 8th, 12th, 16th and 20th or nowhere; braces or urn:uuid: around.
 */
static bool to_uuid(struct oar_slice s, struct oar_value *out)
{
    int digits = 0;
    if (s.len == 45 && oar_same_letters(s.ptr, "urn:uuid:", 9)) {
        s = (struct oar_slice){s.ptr + 9, 36};
    } else if (s.len == 38 && s.ptr[0] == '{' && s.ptr[37] == '}') {
        s = (struct oar_slice){s.ptr + 1, 36};
    }
    if (s.len != 36 && s.len != 32) {
        return false;
    }
    out->tag = OAR_VAL_UUID;
    for (size_t i = 0; i < s.len; i++) {
        bool hyphen = s.len == 36 && (i == 8 || i == 13 || i == 18 || i == 23);
        int value = oar_hex(s.ptr[i]);
        if (hyphen ? s.ptr[i] != '-' : value < 0) {
            return false;
        }
        if (!hyphen) {
            uint8_t *byte = &out->uuid[digits / 2];
            *byte = (uint8_t)(digits % 2 ? *byte | value : value << 4);
            digits++;
        }
    }
    return true;
}

static bool convert(struct validation *v, uint8_t type, struct oar_slice text,
                    struct oar_value *out)
{
    bool ok = true;
    switch (type) {
    case OAR_TYPE_INT: ok = to_int(v, text, out); break;
    case OAR_TYPE_FLOAT: ok = to_float(v, text, out); break;
    case OAR_TYPE_BOOL: ok = to_bool(text, out); break;
    case OAR_TYPE_UUID: ok = to_uuid(text, out); break;
    default: out->tag = OAR_VAL_STR; out->text = text;
    }
    return ok;
}

/* One entry of FastAPI's "detail"; `text` NULL: the parameter is missing. */
static void complain(struct validation *v, const struct oar_rt_param *p,
                     const struct oar_slice *text)
{
    static const struct {
        const char *type, *message;
    } wrong[] = {
        [OAR_TYPE_STR] = {"string_type", "Input should be a valid string"},
        [OAR_TYPE_INT] = {"int_parsing",
                          "Input should be a valid integer, unable to parse string as an integer"},
        [OAR_TYPE_FLOAT] = {"float_parsing",
                            "Input should be a valid number, unable to parse string as a number"},
        [OAR_TYPE_BOOL] = {"bool_parsing",
                           "Input should be a valid boolean, unable to interpret input"},
        [OAR_TYPE_UUID] = {"uuid_parsing", "Input should be a valid UUID"},
    };
    struct oar_slice name = {oar_rt_text(v->routes, p->name_off), p->name_len};
    oar_buf_printf(v->detail, "%s{\"type\":\"%s\",\"loc\":[\"%s\",",
                   v->errors++ ? "," : "{\"detail\":[", text ? wrong[p->type].type : "missing",
                   p->source == OAR_IN_PATH ? "path" : "query");
    oar_buf_put_json(v->detail, name);
    oar_buf_printf(v->detail,
                   "],\"msg\":\"%s\",\"input\":", text ? wrong[p->type].message : "Field required");
    if (text) {
        oar_buf_put_json(v->detail, *text);
    } else {
        oar_buf_put_slice(v->detail, OAR_LIT("null"));
    }
    oar_buf_put(v->detail, "}", 1);
}

enum oar_status oar_params_validate(const void *routes, struct oar_request *r,
                                    struct oar_arena *arena, struct oar_buf *detail)
{
    struct validation v = {routes, r, arena, detail, 0};
    const struct oar_rt_param *params = oar_rt_params(routes, r->route);
    for (int i = 0; i < r->route->n_params; i++) {
        const struct oar_rt_param *p = &params[i];
        struct oar_value *out = &r->values[i];
        struct oar_slice text = {NULL, 0};
        out->tag = OAR_VAL_DEFAULT;
        if (p->source == OAR_IN_PATH) {
            text = r->match.params[p->path_index];
        } else if (!query_value(&v,
                                (struct oar_slice){oar_rt_text(routes, p->name_off), p->name_len},
                                &text)) {
            if (p->flags & OAR_PARAM_REQUIRED) {
                complain(&v, p, NULL);
            }
            continue;
        }
        if (!convert(&v, p->type, text, out)) {
            complain(&v, p, &text);
        }
    }
    if (v.errors) {
        oar_buf_put(detail, "]}", 2);
    }
    return v.errors ? OAR_ERR : OAR_OK;
}
