/* SPDX-License-Identifier: MIT
 * The names of the methods that can be routed (RFC 9110 section 9, RFC 5789), in the order of enum
 * oar_method. Process: all. Constant. */
#include "oarlock/route.h"

const struct oar_slice oar_method_names[OAR_METHODS] = {
    {"GET", 3},   {"HEAD", 4},   {"POST", 4},    {"PUT", 3},
    {"PATCH", 5}, {"DELETE", 6}, {"OPTIONS", 7}, {"TRACE", 5},
};
