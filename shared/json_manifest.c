/* SPDX-License-Identifier: MIT
 * JSON manifest -> route specifications -> route table. A door to cJSON.
 * Process: master; input comes from the loader, which ran the application: nothing in it is
 * trusted. Owns the cJSON tree for one call; specifications borrow its strings. Never keeps a
 * number that is not a small whole one: cJSON stores doubles. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/manifest.h"

struct reader {
    struct oar_route_spec *routes; /* owned */
    struct oar_param_spec *params; /* owned: of all routes, one after the other */
    size_t n_routes, n_params, max_params;
    struct oar_err *err;
};

static const char *text(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static int word(const char *value, const char *const *words, int count)
{
    for (int i = 0; value && i < count; i++) {
        if (strcmp(value, words[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static bool is_true(const cJSON *object, const char *key)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static enum oar_status read_param(struct reader *r, const cJSON *json, const char *path)
{
    static const char *const sources[] = {"path", "query"};
    static const char *const types[] = {"str", "int", "float", "bool", "uuid"};
    int source = word(text(json, "in"), sources, OAR_ARRAY_LEN(sources));
    int type = word(text(json, "type"), types, OAR_ARRAY_LEN(types));
    const char *name = text(json, "name");
    const char *segment = text(json, "segment");
    if (source < 0 || type < 0 || !name || strlen(name) > UINT16_MAX ||
        (source == OAR_IN_PATH && !segment)) {
        return oar_err_set(r->err, "manifest: route '%s' has a parameter that is not understood",
                           path);
    }
    r->params[r->n_params++] = (struct oar_param_spec){
        .name = name,
        .segment = segment,
        .source = (uint8_t)source,
        .type = (uint8_t)type,
        .flags = (uint8_t)((is_true(json, "required") ? OAR_PARAM_REQUIRED : 0) |
                           (is_true(json, "nullable") ? OAR_PARAM_NULLABLE : 0)),
    };
    return OAR_OK;
}

static enum oar_status read_methods(struct reader *r, const cJSON *json, struct oar_route_spec *out)
{
    const cJSON *item;
    cJSON_ArrayForEach (item, cJSON_GetObjectItemCaseSensitive(json, "methods")) {
        int m = 0;
        while (m < OAR_METHODS &&
               !(cJSON_IsString(item) && strcmp(item->valuestring, oar_method_names[m].ptr) == 0)) {
            m++;
        }
        if (m == OAR_METHODS) {
            return oar_err_set(r->err,
                               "%s: route '%s': method '%s' is not one of GET, HEAD, POST, PUT, "
                               "PATCH, DELETE, OPTIONS, TRACE",
                               out->source, out->path,
                               cJSON_IsString(item) ? item->valuestring : "?");
        }
        out->methods |= (uint8_t)(1u << m);
    }
    return out->methods
               ? OAR_OK
               : oar_err_set(r->err, "%s: route '%s' has no method", out->source, out->path);
}

/* "max_body": null, or a whole number of bytes that a double holds exactly. */
static enum oar_status read_max_body(struct reader *r, const cJSON *json,
                                     struct oar_route_spec *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, "max_body");
    double n = cJSON_IsNumber(item) ? item->valuedouble : -1;
    out->max_body = OAR_BODY_DEFAULT;
    if (!item || cJSON_IsNull(item)) {
        return OAR_OK;
    }
    if (!(n >= 0 && n <= 9007199254740992.0)) {
        return oar_err_set(r->err, "%s: %s: max_body is 0 to 2**53 bytes", out->source, out->name);
    }
    out->max_body = (uint64_t)n;
    return OAR_OK;
}

static enum oar_status read_route(struct reader *r, const cJSON *json)
{
    static const char *const kinds[] = {"def", "async"};
    static const char *const blocking[] = {"auto", "no", "yes"};
    struct oar_route_spec *out = &r->routes[r->n_routes];
    int kind = word(text(json, "kind"), kinds, OAR_ARRAY_LEN(kinds));
    int pin = word(text(json, "blocking"), blocking, OAR_ARRAY_LEN(blocking));
    *out = (struct oar_route_spec){.path = text(json, "path"),
                                   .name = text(json, "name"),
                                   .source = text(json, "source"),
                                   .kind = (uint8_t)kind,
                                   .blocking = (uint8_t)pin,
                                   .flags =
                                       (uint16_t)((is_true(json, "stream") ? OAR_ROUTE_STREAM : 0) |
                                                  (is_true(json, "cancel") ? OAR_ROUTE_CANCEL : 0)),
                                   .handler = (uint16_t)r->n_routes,
                                   .params = r->params + r->n_params};
    if (!out->path || !out->name || !out->source || kind < 0 || pin < 0) {
        return oar_err_set(r->err, "manifest: route number %zu is not understood", r->n_routes);
    }
    enum oar_status status = read_methods(r, json, out);
    status = status == OAR_OK ? read_max_body(r, json, out) : status;
    const cJSON *item;
    cJSON_ArrayForEach (item, cJSON_GetObjectItemCaseSensitive(json, "params")) {
        if (status == OAR_OK && out->n_params == OAR_MAX_PARAMS) {
            status = oar_err_set(r->err, "%s: %s has more than %d parameters", out->source,
                                 out->name, OAR_MAX_PARAMS);
        }
        if (status == OAR_OK) {
            status = read_param(r, item, out->path);
            out->n_params++;
        }
    }
    r->n_routes++;
    return status;
}

static enum oar_status read_routes(struct reader *r, const cJSON *routes)
{
    enum oar_status status = OAR_OK;
    const cJSON *item;
    size_t count = 0;
    cJSON_ArrayForEach (item, routes) {
        count++;
        r->max_params +=
            (size_t)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(item, "params"));
    }
    r->routes = calloc(count + 1, sizeof *r->routes);
    r->params = calloc(r->max_params + 1, sizeof *r->params);
    if (!r->routes || !r->params) {
        return oar_err_set(r->err, "no memory for a manifest of %zu routes", count);
    }
    cJSON_ArrayForEach (item, routes) {
        status = status == OAR_OK ? read_route(r, item) : status;
    }
    return status;
}

enum oar_status oar_manifest_compile(struct oar_slice json, bool registration_order,
                                     bool allow_duplicates, struct oar_built *out,
                                     struct oar_err *err)
{
    struct reader r = {.err = err};
    cJSON *root = cJSON_ParseWithLength(json.ptr, json.len);
    const cJSON *routes = cJSON_GetObjectItemCaseSensitive(root, "routes");
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(root, "version");
    enum oar_status status = OAR_OK;
    *out = (struct oar_built){0};
    if (!cJSON_IsArray(routes) || !cJSON_IsNumber(version) || version->valueint != 1) {
        status = oar_err_set(err, "the loader's manifest is not JSON of version 1 (%zu bytes)",
                             json.len);
    }
    if (status == OAR_OK) {
        status = read_routes(&r, routes);
    }
    if (status == OAR_OK) {
        struct oar_routes in = {.at = r.routes,
                                .count = r.n_routes,
                                .redirect_slashes = is_true(root, "redirect_slashes"),
                                .registration_order = registration_order,
                                .allow_duplicates = allow_duplicates,
                                .fingerprint = oar_manifest_fingerprint(json)};
        status = oar_route_build(&in, out, err);
    }
    free(r.routes);
    free(r.params);
    cJSON_Delete(root);
    return status;
}
