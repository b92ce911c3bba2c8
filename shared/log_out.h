/* SPDX-License-Identifier: MIT
 * Where log lines go. Private to the log. */
#ifndef OARLOCK_LOG_OUT_H
#define OARLOCK_LOG_OUT_H

#include <stdbool.h>
#include <stddef.h>

/* A pipe takes this many bytes entirely or not at all, so lines of many processes never mix. */
#define OAR_LOG_BLOCK 4096

/* Looks what standard error is. Once, before there are threads. */
void oar_log_out_open(void);
/* A block of whole lines, at most OAR_LOG_BLOCK bytes. false: it, or its end, found no room. */
bool oar_log_out_put(const char *bytes, size_t len);

#endif
