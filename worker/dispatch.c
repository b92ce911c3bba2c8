/* SPDX-License-Identifier: MIT
 * Matches a request, validates its parameters, and answers from shared memory what needs no Python:
 * 404, 405 with Allow, 307 for the other trailing slash, OPTIONS, 422. Process: worker, on the
 * connection's thread, without the interpreter. Owns nothing: everything lies in the connection's
 * arena. Never decides by itself to close a healthy connection. */
#include "worker/dispatch.h"

#include <stdio.h>

#include "worker/http_write.h"

static const struct oar_slice json_type = {"application/json", 16};

/* The buffer's bytes, copied to the arena; the buffer is freed. */
static struct oar_slice to_arena(struct oar_conn *c, struct oar_buf *b)
{
    char *copy = b->failed ? NULL : oar_arena_take(&c->arena, b->len ? b->len : 1);
    struct oar_slice s = {copy, copy ? b->len : 0};
    if (copy && b->len) {
        memcpy(copy, b->data, b->len);
    }
    oar_buf_free(b);
    return s;
}

static void reply(struct oar_request *r, uint16_t status, struct oar_slice body)
{
    r->call_app = false;
    r->response = (struct oar_response){.status = status, .type = json_type, .body = body};
}

void oar_dispatch_error(struct oar_conn *c, struct oar_request *r, uint16_t status,
                        const char *detail)
{
    struct oar_buf body = {0};
    oar_buf_put_slice(&body, OAR_LIT("{\"detail\":"));
    oar_buf_put_json(&body, oar_slice_of(detail));
    oar_buf_put(&body, "}", 1);
    reply(r, status, to_arena(c, &body));
}

static struct oar_slice allow_field(struct oar_conn *c, uint32_t allow)
{
    struct oar_buf field = {0};
    const char *separator = "";
    oar_buf_put_slice(&field, OAR_LIT("allow: "));
    for (int m = 0; m < OAR_METHODS; m++) {
        if (allow & 1u << m) {
            oar_buf_printf(&field, "%s%s", separator, oar_method_names[m].ptr);
            separator = ", ";
        }
    }
    oar_buf_put(&field, "\r\n", 2);
    return to_arena(c, &field);
}

/* FastAPI's redirect: the same target with the path's last slash added or taken away. */
static void redirect(struct oar_conn *c, struct oar_request *r)
{
    struct oar_buf field = {0};
    struct oar_slice path = oar_request_path(r);
    bool has = path.ptr[path.len - 1] == '/';
    /* "//host" would send the client elsewhere: such a path is not redirected */
    if (path.len > 1 && path.ptr[1] == '/') {
        oar_dispatch_error(c, r, 404, "Not Found");
        return;
    }
    oar_buf_printf(&field, "location: %.*s%s%s%.*s\r\n", (int)(path.len - has), path.ptr,
                   has ? "" : "/", r->query_len ? "?" : "", OAR_FMT(oar_request_query(r)));
    reply(r, 307, (struct oar_slice){"", 0});
    r->response.type = (struct oar_slice){"", 0};
    r->response.fields = to_arena(c, &field);
}

static void found(struct oar_conn *c, struct oar_request *r)
{
    struct oar_buf detail = {0};
    r->route = r->match.route;
    r->call_app = true;
    if (r->route->n_params == 0) {
        return;
    }
    r->values = oar_arena_take(&c->arena, r->route->n_params * sizeof *r->values);
    if (!r->values) {
        oar_dispatch_error(c, r, 503, "no memory for the request");
        return;
    }
    if (oar_params_validate(c->t->worker->routes, r, &c->arena, &detail) != OAR_OK) {
        reply(r, 422, to_arena(c, &detail));
    }
    oar_buf_free(&detail);
}

void oar_dispatch_prepare(struct oar_conn *c, struct oar_request *r)
{
    struct oar_slice path = oar_request_path(r);
    char *scratch = oar_arena_take(&c->arena, path.len + 1);
    if (!scratch) {
        oar_dispatch_error(c, r, 503, "no memory for the request");
        return;
    }
    if (r->method == OAR_METHOD_OTHER) {
        oar_dispatch_error(c, r, 501, "the method is not implemented");
        return;
    }
    switch (oar_route_match(c->t->worker->routes, (enum oar_method)r->method, path, scratch,
                            &r->match)) {
    case OAR_MATCH_FOUND: found(c, r); break;
    case OAR_MATCH_NONE: oar_dispatch_error(c, r, 404, "Not Found"); break;
    case OAR_MATCH_METHOD:
        oar_dispatch_error(c, r, 405, "Method Not Allowed");
        r->response.fields = allow_field(c, r->match.allow);
        break;
    case OAR_MATCH_OPTIONS:
        reply(r, 204, (struct oar_slice){"", 0});
        r->response.fields = allow_field(c, r->match.allow);
        break;
    case OAR_MATCH_REDIRECT: redirect(c, r); break;
    }
}
