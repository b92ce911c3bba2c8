/* SPDX-License-Identifier: MIT
 * Reads the pattern of one route: "/items/{item_id:int}/raw" as its segments.
 * Process: master. Owns nothing: the pieces point into the route's path. Never accepts what the
 * matcher could not match; says which route, at which file:line, and why. */
#include "shared/route_pattern.h"

#include <string.h>

static enum oar_status parse_param(const struct oar_route_spec *r, struct oar_slice inner,
                                   struct oar_piece *out, struct oar_err *err)
{
    static const struct {
        struct oar_slice name;
        enum oar_edge edge;
    } convertors[] = {{{"int", 3}, OAR_EDGE_INT},
                      {{"float", 5}, OAR_EDGE_FLOAT},
                      {{"uuid", 4}, OAR_EDGE_UUID},
                      {{"str", 3}, OAR_EDGE_STR},
                      {{"path", 4}, OAR_EDGE_PATH}};
    const char *colon = memchr(inner.ptr, ':', inner.len);
    out->text = (struct oar_slice){inner.ptr, colon ? (size_t)(colon - inner.ptr) : inner.len};
    out->edge = OAR_EDGE_STR;
    if (out->text.len == 0) {
        return oar_err_set(err, "%s: route '%s' has a parameter without a name", r->source,
                           r->path);
    }
    if (!colon) {
        return OAR_OK;
    }
    struct oar_slice convertor = {colon + 1, inner.len - out->text.len - 1};
    for (size_t i = 0; i < OAR_ARRAY_LEN(convertors); i++) {
        if (oar_slice_eq(convertor, convertors[i].name)) {
            out->edge = convertors[i].edge;
            return OAR_OK;
        }
    }
    return oar_err_set(
        err, "%s: route '%s' has an unknown convertor '%.*s'; give int, float, uuid, str or path",
        r->source, r->path, OAR_FMT(convertor));
}

static enum oar_status parse_segment(const struct oar_route_spec *r, struct oar_slice seg,
                                     bool last, struct oar_piece *out, struct oar_err *err)
{
    bool braces = memchr(seg.ptr, '{', seg.len) || memchr(seg.ptr, '}', seg.len);
    if (!braces) {
        *out = (struct oar_piece){.edge = OAR_EDGE_STATIC, .text = seg};
        if (seg.len > 0 && seg.len <= 2 && seg.ptr[0] == '.' && seg.ptr[seg.len - 1] == '.') {
            return oar_err_set(err, "%s: route '%s' has a dot segment, which no request can match",
                               r->source, r->path);
        }
        return OAR_OK;
    }
    if (seg.len < 2 || seg.ptr[0] != '{' ||
        memchr(seg.ptr, '}', seg.len) != seg.ptr + seg.len - 1) {
        return oar_err_set(
            err, "%s: route '%s': a parameter must be a whole segment, not part of '%.*s'",
            r->source, r->path, OAR_FMT(seg));
    }
    enum oar_status status = parse_param(r, (struct oar_slice){seg.ptr + 1, seg.len - 2}, out, err);
    if (status == OAR_OK && out->edge == OAR_EDGE_PATH && !last) {
        status = oar_err_set(
            err, "%s: route '%s': {%.*s:path} takes the whole rest, so nothing may follow it",
            r->source, r->path, OAR_FMT(out->text));
    }
    return status;
}

enum oar_status oar_pattern_parse(const struct oar_route_spec *r, struct oar_pattern *out,
                                  struct oar_err *err)
{
    enum oar_status status = OAR_OK;
    const char *p = r->path;
    out->count = 0;
    if (*p != '/') {
        return oar_err_set(err, "%s: route '%s' must start with '/'", r->source, r->path);
    }
    while (status == OAR_OK && *p == '/') {
        const char *end = strchr(p + 1, '/');
        size_t len = end ? (size_t)(end - p - 1) : strlen(p + 1);
        if (out->count == OAR_MAX_SEGMENTS) {
            return oar_err_set(err, "%s: route '%s' has more than %d segments", r->source, r->path,
                               OAR_MAX_SEGMENTS);
        }
        status =
            parse_segment(r, (struct oar_slice){p + 1, len}, !end, &out->at[out->count++], err);
        p += 1 + len;
    }
    return status;
}
