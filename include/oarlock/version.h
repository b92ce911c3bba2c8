/* SPDX-License-Identifier: MIT
 * The version, and the id that binary and bridge must share. */
#ifndef OARLOCK_VERSION_H
#define OARLOCK_VERSION_H

#define OAR_VERSION "0.1.0"
/* Bumped whenever struct oar_host, struct oar_app or what they point to changes shape. */
#define OAR_BRIDGE_ABI 7

#endif
