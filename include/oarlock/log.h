/* SPDX-License-Identifier: MIT
 * The log: one line, one write(2), so that lines of many processes never mix. */
#ifndef OARLOCK_LOG_H
#define OARLOCK_LOG_H

#include "oarlock/base.h"

enum oar_log_level { OAR_LOG_DEBUG, OAR_LOG_INFO, OAR_LOG_WARNING, OAR_LOG_ERROR };

/* A line is cut at this many bytes, "..." at its end; a traceback is written by oar_log_text. */
#define OAR_LOG_LINE_MAX 2048

/* Who speaks ("master", "worker 1"). The text is copied. Process-wide; set before threads start. */
void oar_log_init(const char *who, enum oar_log_level least);
enum oar_log_level oar_log_level_now(void);
void oar_log(enum oar_log_level level, const char *fmt, ...) OAR_PRINTF(2, 3);
/* Several lines (a traceback), each with the same prefix, in one write where it fits. */
void oar_log_text(enum oar_log_level level, struct oar_slice text);

#endif
