/* SPDX-License-Identifier: MIT
 * The manifest (JSON that the loader writes) compiled to a route table. */
#ifndef OARLOCK_MANIFEST_H
#define OARLOCK_MANIFEST_H

#include "shared/route_build.h"

/* `json` is the whole manifest; docs/shm-format.md describes it. `out` is the caller's to free. */
enum oar_status oar_manifest_compile(struct oar_slice json, bool registration_order,
                                     bool allow_duplicates, struct oar_built *out,
                                     struct oar_err *err);
/* What a worker compares its own import with. */
uint64_t oar_manifest_fingerprint(struct oar_slice json);

#endif
