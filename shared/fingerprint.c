/* SPDX-License-Identifier: MIT
 * The fingerprint of a manifest: master and workers compare what they imported.
 * Process: master, worker (in the bridge). Owns nothing. */
#include "shared/manifest.h"

uint64_t oar_manifest_fingerprint(struct oar_slice json)
{
    uint64_t h =
        0xcbf29ce484222325ULL; /* FNV-1a: not against an attacker, against a changed file */
    for (size_t i = 0; i < json.len; i++) {
        h = (h ^ (unsigned char)json.ptr[i]) * 0x100000001b3ULL;
    }
    return h;
}
