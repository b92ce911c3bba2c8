/* SPDX-License-Identifier: MIT
 * Fuzzes the manifest reader, the route compiler and the matcher: up to the first NUL a manifest,
 * behind it paths, one a line. Holds: what compiles passes the check that readers make; captured
 * parameters lie in the path or in the scratch room; a damaged table is refused or stays inside. */
#include "tests/fuzz/fuzz.h"

#include "shared/buf.c"
#include "shared/err.c"
#include "shared/fingerprint.c"
#include "shared/json_manifest.c"
#include "shared/methods.c"
#include "shared/route_build.c"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = memchr(data, '\0', size);
    size_t manifest = nul ? (size_t)(nul - data) : size;
    struct oar_err err;
    for (int order = 0; order < 2; order++) {
        struct oar_built built = {0};
        if (oar_manifest_compile((struct oar_slice){(const char *)data, manifest}, order == 1,
                                 order == 1, &built, &err) == OAR_OK) {
            MUST(oar_route_check(built.bytes, built.size, &err) == OAR_OK);
            if (nul) {
                match_all(built.bytes, (const char *)nul + 1, size - manifest - 1);
            }
        }
        free(built.bytes);
        free(built.warnings);
    }
    return 0;
}
