/* SPDX-License-Identifier: MIT
 * Fuzzes the manifest reader, the route compiler, the matcher and the check of a table: up to the
 * first NUL a manifest, behind it paths, one a line, up to the next NUL; behind that what is changed
 * in the table: 2 bytes which word of it, 4 bytes what is added to the word. Holds: what compiles passes the check that readers make; captured
 * parameters lie in the path or in the scratch room; a damaged table is refused or stays inside. */
#include "tests/fuzz/fuzz.h"

#include "shared/buf.c"
#include "shared/err.c"
#include "shared/fingerprint.c"
#include "shared/json_manifest.c"
#include "shared/methods.c"
#include "shared/route_build.c"
#include "shared/route_check.c"
#include "shared/route_match.c"
#include "shared/route_order.c"
#include "shared/route_pattern.c"

static bool lies_in(const char *p, size_t len, const char *from, size_t room)
{
    return p >= from && p + len <= from + room;
}

static void match_all(const void *table, const char *paths, size_t len)
{
    while (len > 0) {
        const char *end = memchr(paths, '\n', len);
        size_t n = end ? (size_t)(end - paths) : len;
        char *path = malloc(n + 1), *scratch = malloc(n + 1);
        struct oar_match found;
        MUST(path && scratch);
        memcpy(path, paths, n);
        for (int m = 0; m <= OAR_METHOD_OTHER; m++) {
            if (oar_route_match(table, (enum oar_method)m, (struct oar_slice){path, n}, scratch,
                                &found) == OAR_MATCH_FOUND) {
                MUST(found.route && found.n_params <= OAR_MAX_PATH_PARAMS);
                for (uint32_t i = 0; i < found.n_params; i++) {
                    MUST(lies_in(found.params[i].ptr, found.params[i].len, path, n) ||
                         lies_in(found.params[i].ptr, found.params[i].len, scratch, n));
                }
            }
        }
        free(path);
        free(scratch);
        paths += n + (end != NULL);
        len -= n + (end != NULL);
    }
}

static void read_texts(const void *table)
{
    const struct oar_rt_header *h = oar_rt(table);
    size_t sum = 0;
    for (uint32_t i = 0; i < h->n_routes; i++) {
        const struct oar_rt_route *r = &oar_rt_routes(table)[i];
        sum += strlen(oar_rt_text(table, r->path_off)) + strlen(oar_rt_text(table, r->name_off)) +
               strlen(oar_rt_text(table, r->source_off));
        for (int p = 0; p < r->n_params; p++) {
            const struct oar_rt_param *param = &oar_rt_params(table, r)[p];
            sum += strlen(oar_rt_text(table, param->name_off));
            MUST(param->source != OAR_IN_PATH || param->path_index < r->n_path_params);
        }
    }
    MUST(sum < (size_t)-1);
}

static void damage(const struct oar_built *built, const char *paths, size_t paths_len,
                   const uint8_t *changes, size_t len)
{
    struct oar_err err;
    char *copy = malloc(built->size);
    MUST(copy);
    memcpy(copy, built->bytes, built->size);
    for (; len >= 6; changes += 6, len -= 6) {
        uint32_t add, word;
        size_t at = (size_t)(changes[0] | changes[1] << 8) % (built->size / 4) * 4;
        memcpy(&add, changes + 2, 4);
        memcpy(&word, copy + at, 4);
        word += add;
        memcpy(copy + at, &word, 4);
    }
    if (oar_route_check(copy, built->size, &err) == OAR_OK) {
        read_texts(copy);
        match_all(copy, paths, paths_len);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = memchr(data, '\0', size);
    size_t manifest = nul ? (size_t)(nul - data) : size;
    const char *paths = nul ? (const char *)nul + 1 : "";
    size_t rest = nul ? size - manifest - 1 : 0;
    const char *end = memchr(paths, '\0', rest);
    size_t paths_len = end ? (size_t)(end - paths) : rest;
    struct oar_err err;
    for (int order = 0; order < 2; order++) {
        struct oar_built built = {0};
        if (oar_manifest_compile((struct oar_slice){(const char *)data, manifest}, order == 1,
                                 order == 1, &built, &err) == OAR_OK) {
            MUST(oar_route_check(built.bytes, built.size, &err) == OAR_OK);
            match_all(built.bytes, paths, paths_len);
            if (end) {
                damage(&built, paths, paths_len, (const uint8_t *)end + 1, rest - paths_len - 1);
            }
        }
        free(built.bytes);
        free(built.warnings);
    }
    return 0;
}
